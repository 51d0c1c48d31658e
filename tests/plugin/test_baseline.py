"""Baselines in the plugin: saved whole or not at all, compared case by case."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attnprobe.core.texts import Sample
from attnprobe.results.files import write_json
from attnprobe.results.records import read_results, text_sha256
from tests.support.inner_runs import LOADS_TINY

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

MAIN = Path(".attnprobe/main.json")
CASES = """
- id: rows
  template: The {animal} barks.
  rows: [{animal: dog}, {animal: seal}]
  expect:
    - ignores: {from: barks, to: "{animal}", max: 0.99}
- id: fails
  text: The dog barks.
  expect:
    - attends: {from: barks, to: dog, min: 0.99}
"""
FEWER = CASES.partition("- id: fails")[0]
MORE = (
    CASES
    + """
- id: added
  text: The dog barks.
  expect:
    - ignores: {from: barks, to: dog, max: 0.99}
"""
)


def edited(change: Callable[[dict[str, Any]], None], path: Path = MAIN) -> None:
    """Changes what a baseline holds."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    write_json(path, data)


def case(data: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (entry for entry in data["cases"] if entry["nodeid"].endswith(f"::{name}"))
    return dict(found)


_saved: dict[str, bytes] = {}


@pytest.fixture
def baseline(probe: Run, write_cases: Write) -> Callable[[str], None]:
    """Writes a case file and the baseline of it; the run that makes that is made once."""

    def make(text: str) -> None:
        write_cases(text)
        if text not in _saved:
            probe("--attn-save=main")
            _saved[text] = MAIN.read_bytes()
        MAIN.parent.mkdir(exist_ok=True)
        MAIN.write_bytes(_saved[text])

    return make


Make = Callable[[str], None]


# Saving


def test_a_baseline_is_the_results_of_the_run(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    result = probe("--attn-save=main", "--attn-json=r.json")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*attnprobe baseline: *main.json*"])
    assert MAIN.read_bytes() == Path("r.json").read_bytes()
    found = read_results(MAIN)
    assert [item.outcome for item in found.cases] == ["passed", "passed", "failed"]
    assert found.environment["torch"]
    assert found.models[0].architecture


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("main", ".attnprobe/main.json"),
        ("v1.2", ".attnprobe/v1.2.json"),
        ("kept/here.json", "kept/here.json"),
        ("here.json", "here.json"),
    ],
)
def test_a_name_lies_below_the_root_and_a_path_where_told(
    probe: Run, write_cases: Write, given: str, path: str
) -> None:
    write_cases(CASES)
    probe(f"--attn-save={given}")
    assert len(read_results(Path(path)).cases) == 3


@pytest.mark.parametrize("name", ["a b", "..", "-x", "naïve"])
def test_a_name_that_is_none_is_refused(probe: Run, write_cases: Write, name: str) -> None:
    write_cases(CASES)
    result = probe(f"--attn-save={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --attn-save takes a name*"])


UNFINISHED = {
    "exitfirst": ("-x", "no baseline was saved: the run stopped at a failure"),
    "interrupted": ("-pstop", "no baseline was saved: the run was interrupted"),
    "exit": ("-pleave", "no baseline was saved: the run was interrupted"),
    "nothing": ("-kno_such", "no baseline was saved: no probe was judged"),
}
PLUGINS = {
    "stop": "import pytest\ndef pytest_runtest_setup(item):\n    if 'fails' in item.name:\n"
    "        pytest.exit('enough')\n",
    "leave": "import pytest\ndef pytest_runtest_setup(item):\n    if 'fails' in item.name:\n"
    "        pytest.exit('enough', returncode=0)\n",
}


@pytest.mark.parametrize("why", UNFINISHED)
def test_an_unfinished_run_saves_no_baseline_p35(
    probe: Run,
    write_cases: Write,
    pytester: pytest.Pytester,
    why: str,
) -> None:
    write_cases(CASES)
    option, message = UNFINISHED[why]
    for name, text in PLUGINS.items():
        Path(f"{name}.py").write_text(text, encoding="utf-8")
    pytester.syspathinsert()
    result = probe("--attn-save=main", option)
    assert result.ret != pytest.ExitCode.OK or why == "exit"
    result.stdout.fnmatch_lines([f"attnprobe: {message}*"])
    assert not MAIN.exists()


def test_a_run_with_a_file_that_cannot_be_read_saves_no_baseline_p35(
    probe: Run, write_cases: Write
) -> None:
    write_cases(CASES)
    write_cases("- {id: broken}", name="broken.attn.yaml")
    result = probe("--attn-save=main", "--continue-on-collection-errors")
    result.stdout.fnmatch_lines(
        ["attnprobe: no baseline was saved: broken.attn.yaml could not be collected"]
    )
    Path("broken.attn.yaml").unlink()
    Path("test_broken.py").write_text("import no_such_module\n", encoding="utf-8")
    result = probe("--attn-save=main", "--continue-on-collection-errors")
    result.stdout.fnmatch_lines(
        ["attnprobe: no baseline was saved: test_broken.py could not be collected"]
    )
    assert not MAIN.exists()


def test_collect_only_saves_nothing(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    assert probe("--attn-save=main", "--collect-only").ret == pytest.ExitCode.OK
    assert not MAIN.exists()


def test_a_case_of_the_same_key_twice_is_no_baseline(probe: Run, pytester: pytest.Pytester) -> None:
    # Two functions of one name in one module: pytest keeps the last, classes of one name do not.
    pytester.makepyfile(
        test_a="""
        import pytest

        @pytest.mark.parametrize("word", [pytest.param("dog", id="a"), pytest.param("The", id="b")])
        def test_one(attn, word):
            attn("The dog barks.").ignores("barks", word, heads="mean", max=0.99)
        """
    )
    assert probe("--attn-save=main").ret == pytest.ExitCode.OK
    edited(lambda data: data["cases"][1].update(row="a"))
    result = probe("--attn-compare=main")
    assert result.ret == 2
    result.stderr.fnmatch_lines(["ERROR: *main.json: the old run has test_a.py: test_one* twice*"])


# A part of the cases


@pytest.mark.parametrize(
    "part", [["-k", "rows"], ["x.attn.yaml"], ["x.attn.yaml::fails"], ["--ignore=y.attn.yaml"]]
)
def test_a_part_never_replaces_the_whole(probe: Run, write_cases: Write, part: list[str]) -> None:
    write_cases(CASES)
    write_cases(MORE, name="y.attn.yaml")
    probe("--attn-save=main")
    whole = MAIN.read_bytes()
    result = probe("--attn-save=main", *part)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnprobe: no baseline was saved: *main.json has * entries *"])
    assert MAIN.read_bytes() == whole
    probe("--attn-save=part", *part)
    assert read_results(Path(".attnprobe/part.json")).cases


def test_a_run_on_fewer_models_never_replaces_the_whole(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    probe("--attn-model=other=b", "--attn-save=main")
    whole = MAIN.read_bytes()
    probe("--attn-save=main").stdout.fnmatch_lines(["attnprobe: no baseline was saved: *"])
    assert MAIN.read_bytes() == whole


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (CASES.replace("- id: fails", "- id: fails\n  skip: waits"), "is skipped now"),
        (FEWER, "has no case any more"),
    ],
)
def test_what_was_measured_before_is_not_lost_unless_the_file_is_deleted(
    probe: Run, write_cases: Write, baseline: Make, text: str, why: str
) -> None:
    baseline(CASES)
    whole = MAIN.read_bytes()
    write_cases(text)
    result = probe("--attn-save=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            f"attnprobe: no baseline was saved: *main.json has 1 entry measured before that {why}: "
            "x.attn.yaml: fails on *; to drop their results, delete *main.json first"
        ]
    )
    assert MAIN.read_bytes() == whole
    MAIN.unlink()
    assert probe("--attn-save=main").ret == pytest.ExitCode.OK


def test_what_is_skipped_in_both_runs_holds_nothing_up(
    probe: Run, write_cases: Write, baseline: Make
) -> None:
    baseline(CASES.replace("- id: fails", "- id: fails\n  skip: waits"))
    write_cases(FEWER)
    assert probe("--attn-save=main").ret == pytest.ExitCode.OK
    assert [entry.id for entry in read_results(MAIN).cases] == ["rows", "rows"]


def test_a_run_that_measured_nothing_replaces_no_baseline_p35(
    probe: Run, write_cases: Write, baseline: Make
) -> None:
    baseline(CASES)
    whole = MAIN.read_bytes()
    write_cases(CASES.replace("max: 0.99", "max: 0.99, heads: L99H1"))
    result = probe("--attn-save=main")
    result.stdout.fnmatch_lines(
        [
            "attnprobe: no baseline was saved: 2 cases could not be measured: x.attn.yaml: "
            "rows[[]dog[]] on *"
        ]
    )
    assert MAIN.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda data: (
                data["cases"][0].update(outcome="error"),
                data["summary"].update(error=1, passed=1),
            ),
            "1 case could not be measured: x.attn.yaml: *",
        ),
        (lambda data: data.update(models=[]), "no model was judged; delete the file*"),
    ],
)
def test_a_baseline_that_measured_nothing_exits_2_p36(
    probe: Run, baseline: Make, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    baseline(FEWER)
    edited(change)
    result = probe("--attn-compare=main")
    assert result.ret == 2
    result.stderr.fnmatch_lines([f"ERROR: *main.json: {complaint}"])


# Files that are none


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "corrupt"),
        ("{", "corrupt"),
        ("[]", "needs schema"),
        ('{"schema": "attnprobe/results-2"}', "needs schema"),
        ('{"schema": "attnprobe/results-1"}', "corrupt"),
        ('{"benchmarks": []}', "needs schema"),
    ],
)
@pytest.mark.parametrize("option", ["save", "compare"])
def test_a_corrupt_or_foreign_baseline_exits_2_p36(
    probe: Run, write_cases: Write, text: str, complaint: str, option: str
) -> None:
    write_cases(CASES)
    MAIN.parent.mkdir()
    MAIN.write_text(text, encoding="utf-8")
    result = probe(f"--attn-{option}=main", "--attn-json=r.json", "-n2")
    assert result.ret == 2
    # The message alone: no traceback, nothing collected, no worker started.
    assert result.outlines == []
    assert len(result.errlines) == 1
    assert result.errlines[0].startswith(f"ERROR: {MAIN.resolve()}: {complaint}")
    assert MAIN.read_text(encoding="utf-8") == text
    assert not Path("r.json").exists()


def test_a_baseline_of_an_unfinished_run_exits_2_p36(probe: Run, baseline: Make) -> None:
    baseline(CASES)

    def cut(data: dict[str, Any]) -> None:
        data["summary"]["collected"] += 2

    edited(cut)
    result = probe("--attn-compare=main")
    assert result.ret == 2
    result.stderr.fnmatch_lines(["ERROR: *main.json: the old run did not finish: 2 of 5 *"])


def test_a_missing_baseline_exits_2_p36(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    result = probe("--attn-compare=main")
    assert result.ret == 2
    result.stderr.fnmatch_lines(["ERROR: *main.json is not there; save it with --attn-save"])


def test_a_corrupt_baseline_in_the_ini_file_exits_2_p36(
    probe: Run, pytester: pytest.Pytester, write_cases: Write
) -> None:
    write_cases(CASES)
    MAIN.parent.mkdir()
    MAIN.write_text("{")
    pytester.makeini("[pytest]\nattn_compare = main\n")
    result = probe()
    assert (result.ret, len(result.errlines)) == (2, 1)
    # What runs no tests needs no baseline.
    for option in ("--collect-only", "--markers"):
        result = probe(option)
        assert (result.ret, result.errlines) == (0, [])


def test_pytest_ends_as_a_process_with_2_p36(pytester: pytest.Pytester, write_cases: Write) -> None:
    write_cases(CASES)
    MAIN.parent.mkdir()
    MAIN.write_text("{")
    given = ("-p", "no:hypothesispytest", "--attn-model=tiny", "--attn-compare=main")
    result = pytester.runpytest_subprocess(*given)
    assert (result.ret, result.outlines, len(result.errlines)) == (2, [], 1)


# Comparing


def test_nothing_has_changed(probe: Run, baseline: Make) -> None:
    baseline(FEWER)
    result = probe("--attn-compare=main", "--attn-compare-fail=broken:0")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*- attnprobe: compared with *main.json -*",
            "2 kept",
            "suite pronouns on tiny: 2 of 2 → 2 of 2 passed, change +0.000 (95 % *), p = 1, "
            "weights moved by 0.000 on average, 0.000 at most",
        ]
    )


def heavier(data: dict[str, Any]) -> None:
    """The old run: the ignored word got half of what it gets now, and `fails` passed."""
    for entry in data["cases"]:
        for expectation in entry["expectations"]:
            expectation["observed"] *= 2.0 if expectation["rule"] == "attends" else 0.5
        entry["outcome"] = "passed"
    data["summary"] |= {"passed": 3, "failed": 0}


def test_what_broke_and_what_got_weaker_is_listed(probe: Run, baseline: Make) -> None:
    baseline(CASES)
    edited(heavier)
    result = probe("--attn-compare=main")
    now = {entry.nodeid: entry for entry in read_results(MAIN).cases}
    half = now["x.attn.yaml::rows[dog]"].expectations[0].bounds[0].observed
    assert half
    result.stdout.fnmatch_lines(
        [
            "1 broken, 2 weaker",
            "broken   x.attn.yaml: fails on tiny: attends: passed, weight * → failed, * (−50%)",
            f"weaker   x.attn.yaml: rows[[]dog] on tiny: ignores: passed, weight {half:.3f} by *"
            f" → passed, weight {2 * half:.3f} by * (−100%)",
            "suite pronouns on tiny: 3 of 3 → 2 of 3 passed, change −0.333 (95 % *",
        ]
    )


def test_another_text_and_looser_bounds_are_told(
    probe: Run, write_cases: Write, baseline: Make
) -> None:
    baseline(CASES)
    old = read_results(MAIN)
    assert len({entry.text_sha256 for entry in old.cases}) == 2  # a row has the text of the last
    assert None not in {entry.text_sha256 for entry in old.cases}
    changed = CASES.replace("The {animal} barks", "The {animal} barks now")
    write_cases(changed.replace("min: 0.99", "min: 0.5"))
    probe("--attn-compare=main").stdout.fnmatch_lines(
        [
            "3 kept",
            "note: the text of 2 cases is another than before: x.attn.yaml: rows[[]dog] on tiny; "
            "x.attn.yaml: rows[[]seal] on tiny",
            "note: 1 bound is looser than before: x.attn.yaml: fails on tiny: min 0.99 → 0.5",
        ]
    )


def test_the_text_of_a_python_probe_is_the_first_that_it_judges(
    probe: Run, pytester: pytest.Pytester
) -> None:
    def texts(first: str) -> str | None:
        pytester.makepyfile(
            test_p=f"""
            def test_p(attn):
                attn({first!r}).ignores("barks", "dog", heads="mean", max=0.99)
                attn("The seal barks.").ignores("barks", "seal", heads="mean", max=0.99)
            """
        )
        probe("--attn-json=r.json")
        return read_results(Path("r.json")).cases[0].text_sha256

    assert texts("The dog barks.") == text_sha256(Sample("The dog barks."))
    assert texts("A dog barks.") == text_sha256(Sample("A dog barks."))


def test_limits_that_are_exceeded_fail_the_run_and_the_others_do_not(
    probe: Run, baseline: Make
) -> None:
    baseline(CASES.replace("  text:", "  xfail: known\n  text:"))
    edited(heavier)
    edited(lambda data: data["summary"].update(xfailed=0))
    assert probe("--attn-compare=main").ret == pytest.ExitCode.OK
    kept = ("broken:1", "weaker:2", "rate:-0.34", "gone:0", "new:0")
    result = probe("--attn-compare=main", *(f"--attn-compare-fail={limit}" for limit in kept))
    assert result.ret == pytest.ExitCode.OK
    broken = ("broken:0", "weaker:1", "rate:-0.3", "weight:-49%", "weight:-51%")
    result = probe("--attn-compare=main", *(f"--attn-compare-fail={limit}" for limit in broken))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "attnprobe: broken:0: 1 broken: x.attn.yaml: fails on tiny",
            "attnprobe: weaker:1: 2 weaker: x.attn.yaml: rows[[]dog] on tiny; *",
            "attnprobe: rate:-0.3: the pass rate fell in pronouns on tiny −0.333 (3 → 2 of 3)",
            "attnprobe: weight:-49%: weights fell or are unknown in 3: x.attn.yaml: fails on *",
            "attnprobe: weight:-51%: weights fell or are unknown in 2: x.attn.yaml: rows[[]dog] *",
        ]
    )


def test_a_limit_that_nobody_knows_is_a_usage_error(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    result = probe("--attn-compare-fail=broken:0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --attn-compare-fail needs --attn-compare NAME"])
    probe("--attn-save=main")
    result = probe("--attn-compare=main", "--attn-compare-fail=wieght:-20%")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: unknown limit 'wieght:-20%'; did you mean 'weight'*"])


def test_a_case_that_the_baseline_does_not_have_fails_p37(
    probe: Run, write_cases: Write, baseline: Make
) -> None:
    baseline(FEWER)
    write_cases(MORE.replace("min: 0.99", "min: 0.0001"))
    result = probe("--attn-compare=main")
    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["attnprobe: 2 cases are not in the baseline *main.json: save a new one", "2 new, 2 kept"]
    )


def test_an_entry_without_a_case_is_listed_and_fails_if_strict_p37(
    probe: Run, write_cases: Write, baseline: Make
) -> None:
    baseline(CASES)
    write_cases(FEWER)
    result = probe("--attn-compare=main")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["stale: x.attn.yaml: fails on tiny is in the baseline, but no case is left of it"]
    )
    result = probe("--attn-compare=main", "--attn-strict")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnprobe: 1 entry of the baseline without a case, *"])


@pytest.mark.parametrize("part", [["-k", "rows"], ["x.attn.yaml::rows[dog]"]])
def test_what_was_not_selected_is_not_stale(probe: Run, part: list[str], baseline: Make) -> None:
    baseline(CASES)
    result = probe("--attn-compare=main", "--attn-strict", "--attn-compare-fail=gone:0", *part)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["* of the baseline not selected by this run"])
    result.stdout.no_fnmatch_line("stale*")


HOLD = CASES.replace("min: 0.99", "min: 0.0001")
PROBES = """
import pytest

@pytest.mark.parametrize("word", ["dog", "The"])
def test_words(attn, word):
    attn("The dog barks.").ignores("barks", word, heads="mean", max=0.99)

def test_gone(attn):
    attn("The dog barks.").ignores("barks", "dog", heads="mean", max=0.99)
"""
STALE = [
    "stale: test_p.py: test_gone on tiny is in the baseline, but no case is left of it",
    "stale: x.attn.yaml: fails on tiny is in the baseline, but no case is left of it",
]


@pytest.fixture
def fewer(probe: Run, write_cases: Write) -> None:
    """A baseline of three files, and one entry less in two of them."""
    Path("test_p.py").write_text(PROBES, encoding="utf-8")
    write_cases(HOLD)
    write_cases(HOLD, name="y.attn.yaml")
    probe("--attn-save=main").assert_outcomes(passed=9)
    Path("test_p.py").write_text(PROBES.partition("def test_gone")[0], encoding="utf-8")
    write_cases(FEWER)


@pytest.mark.parametrize(
    ("part", "count"),
    [
        (("--deselect=x.attn.yaml::rows[dog]", "--deselect=test_p.py::test_words[dog]"), 2),
        (("-k", "not fails"), 1),
        (("--ignore=y.attn.yaml",), 3),
        (("--ignore-glob=*y.attn*",), 3),
        (("x.attn.yaml", "test_p.py"), 3),
        (("-k", "not fails", "-n2"), 1),
    ],
)
@pytest.mark.usefixtures("fewer")
def test_a_deleted_case_is_stale_whatever_else_is_left_out_p37(
    probe: Run, pytester: pytest.Pytester, part: tuple[str, ...], count: int
) -> None:
    pytester.makeconftest(LOADS_TINY)
    limits = ("--attn-compare-fail=gone:0", "--attn-compare=main", "--attn-strict")
    result = probe(*limits, *part)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "attnprobe: 2 entries of the baseline without a case, which a strict run does not *",
            "attnprobe: gone:0: 2 gone: test_p.py: test_gone on tiny; x.attn.yaml: fails on tiny",
            *STALE,
            f"{count} entr* of the baseline not selected by this run",
        ]
    )


@pytest.mark.usefixtures("fewer")
def test_what_only_lf_leaves_out_is_not_stale(probe: Run, write_cases: Write) -> None:
    write_cases(HOLD.replace("min: 0.0001", "min: 0.99"), name="y.attn.yaml")
    probe().assert_outcomes(passed=6, failed=1)
    result = probe("--attn-compare=main", "--lf", "--attn-json=r.json")
    result.assert_outcomes(failed=1)
    # Of the file with the failure the two others, and all of the two other files.
    result.stdout.fnmatch_lines(["8 entries of the baseline not selected by this run"])
    result.stdout.no_fnmatch_line("stale*")
    found = read_results(Path("r.json"))
    assert (found.deselected, found.left_out) == (2, ("test_p.py", "x.attn.yaml"))


def test_a_model_that_is_not_given_is_missed_if_strict(probe: Run, write_cases: Write) -> None:
    write_cases(FEWER)
    probe("--attn-model=other=b", "--attn-save=main")
    assert probe("--attn-compare=main").ret == pytest.ExitCode.OK
    result = probe("--attn-compare=main", "--attn-strict")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnprobe: 2 entries of the baseline for a model that is not *"])


def test_the_only_model_may_have_another_name(probe: Run, baseline: Make) -> None:
    baseline(FEWER)
    result = probe("--attn-model=distilled=b", "--attn-compare=main", model=None)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["2 kept"])


def test_an_unfinished_run_is_not_compared(probe: Run, baseline: Make) -> None:
    baseline(CASES)
    result = probe("--attn-compare=main", "-x")
    result.stdout.fnmatch_lines(["attnprobe: nothing was compared: the run stopped at a failure"])


def test_a_run_beyond_the_limits_does_not_become_its_own_measure(
    probe: Run, baseline: Make
) -> None:
    baseline(CASES)
    edited(heavier)
    before = MAIN.read_bytes()
    both = ("--attn-compare=main", "--attn-save=main")
    result = probe(*both, "--attn-compare-fail=broken:0")
    result.stdout.fnmatch_lines(["attnprobe: no baseline was saved: it would replace the one *"])
    assert MAIN.read_bytes() == before
    probe(*both)
    assert MAIN.read_bytes() != before


def test_the_ini_file_sets_all_three_and_leaves_other_tests_alone(
    probe: Run, pytester: pytest.Pytester, baseline: Make
) -> None:
    baseline(FEWER)
    pytester.makeini(
        "[pytest]\nattn_compare = main\nattn_save = next\n"
        "attn_compare_fail =\n  broken:0\n  gone:0\n"
    )
    pytester.makepyfile(test_plain="def test_plain(): pass")
    result = probe("--attn-figures=none")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["2 kept"])
    assert Path(".attnprobe/next.json").exists()
    assert probe("test_plain.py").ret == pytest.ExitCode.OK


def test_a_baseline_of_the_ini_file_that_is_not_there_yet(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(FEWER)
    pytester.makepyfile(test_plain="def test_plain(): pass")
    pytester.makeini("[pytest]\nattn_compare = main\n")
    assert probe("test_plain.py").ret == pytest.ExitCode.OK
    result = probe()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnprobe: nothing was compared: *main.json is not there; *"])
    assert probe("--attn-save=main").ret == pytest.ExitCode.OK
    probe("x.attn.yaml").stdout.fnmatch_lines(["2 kept"])


# The report


def test_the_report_has_the_comparison_escaped_p31(probe: Run, baseline: Make) -> None:
    baseline(CASES)

    def hostile(data: dict[str, Any]) -> None:
        heavier(data)
        data["environment"]["platform"] = "<script>alert(1)</script>\x1b[31m"
        data["cases"][0]["expectations"][0]["measure"] = "weight"
        data["cases"][2]["expectations"][0]["head"] = "<img src=x onerror=alert(2)>"

    edited(hostile)
    result = probe("--attn-compare=main", "--html=r.html", "--self-contained-html")
    page = Path("r.html").read_text(encoding="utf-8")
    assert "compared with" in page
    assert "1 broken, 2 weaker" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;U+001B&gt;[31m" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "\x1b" not in "".join(result.outlines)


# Killed, and two at once


_KILLED = """
import os, signal, sys
from pathlib import Path
from attnprobe.results import files, records

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

point, path = sys.argv[1], Path(sys.argv[2])
data = records.read_results(path).to_json()
data["environment"]["python"] = "0" * 100_000

def check(_):
    if point == "before write":
        die()

class Half:
    def __init__(self, file):
        self.file = file
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.file.close()
    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        die()

opened = Path.open
if point == "half written":
    Path.open = lambda self, mode="r", *a, **k: (
        Half(opened(self, mode)) if mode == "wb" else opened(self, mode, *a, **k)
    )
if point == "before fsync":
    os.fsync = die
if point == "before rename":
    Path.replace = die
files.write_json(path, data, check=check)
if point == "after rename":
    die()
"""


@pytest.mark.parametrize(
    "point", ["before write", "half written", "before fsync", "before rename", "after rename"]
)
def test_a_run_killed_while_saving_leaves_a_whole_baseline_p35(
    probe: Run, point: str, baseline: Make
) -> None:
    baseline(FEWER)
    old = MAIN.read_bytes()
    done = subprocess.run([sys.executable, "-c", _KILLED, point, str(MAIN)], check=False)
    assert done.returncode == -signal.SIGKILL
    if point == "after rename":
        assert read_results(MAIN).environment["python"] == "0" * 100_000
    else:
        assert MAIN.read_bytes() == old
    # The next run is not in the way of what was left behind.
    assert probe("--attn-save=main").ret == pytest.ExitCode.OK
    assert MAIN.read_bytes() != b""
    assert sorted(path.name for path in MAIN.parent.iterdir()) == ["main.json", "main.json.lock"]


_SAVES = """
import sys
from pathlib import Path
from attnprobe.results import files, records

path, name = Path(sys.argv[1]), sys.argv[2]
data = records.read_results(path).to_json()
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    data["environment"]["python"] = f"{name} {number} " + name * 50_000
    files.write_json(path, data)
"""


def test_two_runs_that_save_at_once_leave_a_whole_file_p42(probe: Run, baseline: Make) -> None:
    baseline(FEWER)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _SAVES, str(MAIN), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for run in runs:
        assert run.stdout
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin
        run.stdin.write("\n")
        run.stdin.flush()
    while any(run.poll() is None for run in runs):
        read_results(MAIN)  # at no time torn
    assert [run.wait() for run in runs] == [0, 0]
    for run in runs:
        assert run.stdin
        assert run.stdout
        run.stdin.close()
        run.stdout.close()
    written = str(read_results(MAIN).environment["python"])
    assert re.fullmatch(r"(a 39 a{50000})|(b 39 b{50000})", written)


def test_of_two_parts_under_one_name_none_is_lost_p42(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    assert probe("--attn-save=main", "-k", "rows").ret == pytest.ExitCode.OK
    first = MAIN.read_bytes()
    result = probe("--attn-save=main", "-k", "fails")
    result.stdout.fnmatch_lines(["attnprobe: no baseline was saved: *main.json has 2 entries *"])
    assert MAIN.read_bytes() == first


# pytest-xdist


def test_two_workers_compare_with_a_baseline_and_the_models_with_each_other(
    pytester: pytest.Pytester, probe: Run, write_cases: Write
) -> None:
    write_cases(CASES)
    probe("--attn-model=other=b", "--attn-save=main")
    whole = MAIN.read_bytes()
    pytester.makeconftest(LOADS_TINY)
    options = ("--attn-compare=main", "--attn-save=main", "--attn-strict", "--html=r.html")
    result = probe("-n2", "-k", "rows", "--attn-model=other=b", *options)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "attnprobe: no baseline was saved: *main.json has 2 entries that this run did not *",
            "*attnprobe: compared with *main.json*",
            "4 kept",
            "2 entries of the baseline not selected by this run",
            "*attnprobe: model other compared with tiny*",
            "2 kept",
        ]
    )
    assert MAIN.read_bytes() == whole
    page = Path("r.html").read_text(encoding="utf-8")
    assert "4 kept" in page
    assert "model other compared with tiny" in page
    assert page.count("col-model") >= 4
