"""Strict runs, in which nothing doubtful passes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attnprobe.results.records import read_results

if TYPE_CHECKING:
    from tests.support.inner_runs import TinyModels
from tests.support.plugin_cases import BOTH, NAMED, ROWS, SKIPPED, Run, Write, weight


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_model_is_a_usage_error(probe: Run, write_cases: Write, given: str) -> None:
    write_cases(BOTH)
    result = probe(f"--attn-model={given}", model=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --attn-model is empty; is a variable not set?"])


def test_borderline_passes_and_fails_under_strict_p40(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    bound = round(weight(tiny, "The dog barks.", "barks", "dog"), 4)
    write_cases(
        f"""
        - id: close
          text: The dog barks.
          expect:
            - attends: {{from: barks, to: dog, min: {bound}}}
        """
    )
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "attnprobe: 1 test passes, but too near to the bound to call (borderline): "
            "x.attn.yaml::close; --attn-strict does not accept that, "
            "nor does the gate unless its policy does"
        ]
    )
    assert read_results(Path("r.json")).summary()["borderline"] == 1
    result = probe("--attn-strict", "--attn-json=r.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["x.attn.yaml:8: borderline: *", "*too near to call*"])
    (case,) = read_results(Path("r.json")).cases
    assert (case.outcome, case.expectations[0].outcome) == ("failed", "borderline")


def test_a_strict_run_that_judged_nothing_fails_p10(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    nothing = "*no probe was judged, which a strict run does not let pass*"
    none, ok, failed = (
        pytest.ExitCode.NO_TESTS_COLLECTED,
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
    )
    assert probe().ret == none
    assert probe("--attn-strict").ret == none
    write_cases(SKIPPED)
    assert probe().ret == ok
    result = probe("--attn-strict")
    assert result.ret == failed
    result.stdout.fnmatch_lines([nothing])
    assert probe("-k", "nowhere").ret == none
    assert probe("-k", "nowhere", "--attn-strict").ret == none
    pytester.makepyfile("def test_other(): pass")
    assert probe("-k", "other").ret == ok
    assert probe("-k", "other", "--attn-strict").ret == failed
    write_cases(ROWS, name="y.attn.yaml")
    result = probe("--attn-strict")
    assert result.ret == ok
    result.stdout.no_fnmatch_line(nothing)


def test_a_strict_run_that_left_out_cases_for_want_of_a_model_fails_p10(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(NAMED)
    assert probe().ret == pytest.ExitCode.OK
    result = probe("--attn-strict")
    result.assert_outcomes(passed=1, deselected=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            "attnprobe: a strict run lets no case go for want of its model",
            "attnprobe: 1 case deselected: for model other, *--attn-model other=REF",
        ]
    )
    assert probe("--attn-strict", "--attn-model=other=b").ret == pytest.ExitCode.OK
    # What is not selected is not missed.
    assert probe("--attn-strict", "-k", "plain").ret == pytest.ExitCode.OK
    pytester.makeini("[pytest]\nattn_strict = true\n")
    pytester.makepyfile("def test_unrelated(): pass")
    assert probe("-k", "unrelated").ret == pytest.ExitCode.OK


def test_strict_in_the_ini_file_leaves_runs_of_other_tests_alone(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nattn_strict = true\n")
    pytester.makepyfile("def test_other(): pass")
    assert probe().ret == pytest.ExitCode.OK
    write_cases(SKIPPED)
    assert probe().ret == pytest.ExitCode.TESTS_FAILED
