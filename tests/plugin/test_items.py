"""Cases as pytest items: node ids, outcomes, marks, selection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from attnprobe.core.texts import Sample
from attnprobe.results.records import read_results
from tests.support.eager import eager_weights

if TYPE_CHECKING:
    from tests.support.inner_runs import TinyModels
from tests.support.plugin_cases import BOTH, FAILS, HOLDS, NAMED, ROWS, Run, Write, lines, weight

# Items


@pytest.mark.usefixtures("_tiny_model")
def test_node_ids_and_true_lines(pytester: pytest.Pytester, write_cases: Write) -> None:
    path = write_cases(BOTH + ROWS, name="deep/er/x.attn.yaml")
    items, _ = pytester.inline_genitems("--attn-model=tiny")
    assert [item.nodeid for item in items] == [
        f"deep/er/x.attn.yaml::{name}" for name in ("holds", "fails", "rows[dog]", "rows[big_seal]")
    ]
    written = path.read_text().splitlines()
    places = [item.reportinfo() for item in items]
    assert {place[0] for place in places} == {path}
    assert [written[place[1] or 0].strip() for place in places] == [
        "- id: holds",
        "- id: fails",
        "- {animal: dog}",
        "- {animal: big seal}",
    ]
    assert [item.location[1] for item in items] == [place[1] for place in places]


def test_several_models_of_the_command_line_each_get_every_case(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(BOTH + ROWS)
    result = probe("--attn-model=other=folder/of/b", "-v")
    result.assert_outcomes(passed=6, failed=2)
    assert [line.split(" ")[0] for line in lines(result) if re.search(r" (PASS|FAIL)ED", line)] == [
        f"x.attn.yaml::{name}[{model}]"
        for name in ("holds", "fails", "rows[dog]", "rows[big_seal]")
        for model in ("tiny", "other")
    ]
    assert tiny.loaded == [("tiny", "tiny"), ("other", "folder/of/b")]


def test_a_case_runs_on_the_model_that_it_names_else_on_the_first_of_the_ini_file(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(NAMED)
    pytester.makeini("[pytest]\nattn_model =\n  tiny\n  other=b\n")
    probe("--attn-json=r.json", model=None).assert_outcomes(passed=2)
    found = {case.nodeid: case.model for case in read_results(Path("r.json")).cases}
    assert found == {"x.attn.yaml::plain": "tiny", "x.attn.yaml::named": "other"}
    several = {
        "x.attn.yaml::plain[tiny]": "tiny",
        "x.attn.yaml::plain[other]": "other",
        "x.attn.yaml::named": "other",
    }
    probe("--attn-all-models", "--attn-json=r.json", model=None)
    assert {case.nodeid: case.model for case in read_results(Path("r.json")).cases} == several
    # Who names several on the command line means to compare them.
    probe("--attn-model=other=b", "--attn-json=r.json")
    assert {case.nodeid: case.model for case in read_results(Path("r.json")).cases} == several


def test_a_case_for_a_model_that_is_not_given_is_deselected_for_all_to_see(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(NAMED)
    write_cases(BOTH, name="y.attn.yaml", head="model: third\n")
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=1, deselected=3)
    result.stdout.fnmatch_lines(
        [
            "attnprobe: 1 case deselected: for model other, which is not given; "
            "--attn-model other=REF",
            "attnprobe: 2 cases deselected: for model third, *",
        ]
    )
    assert tiny.loaded == [("tiny", "tiny")]
    found = read_results(Path("r.json"))
    assert (found.collected, found.absent) == (1, {"other": 1, "third": 2})
    assert probe("y.attn.yaml").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    quiet = probe("--attn-model=other=b", "--attn-model=third=c")
    quiet.stdout.no_fnmatch_line("attnprobe: * deselected*")


def test_the_same_file_name_in_two_folders(probe: Run, write_cases: Write) -> None:
    write_cases(ROWS, name="a/x.attn.yaml")
    write_cases(ROWS, name="b/x.attn.yaml")
    probe().assert_outcomes(passed=4)


def test_a_failure_lists_all_expectations_with_their_lines(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH)
    result = probe()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ fails _*",
            "weight 0.*, demanded >= 0.99 (attends, mean of 12 heads); 2 of 3 expectations fail",
            "x.attn.yaml:13: failed: attends barks → dog, *",
            "  │ The dog barks.",
            "  │     ^^^ ^^^^^",
            "  │     to  from",
            "  weight 0.*, demanded >= 0.990",
            "  by mean of *",
            "x.attn.yaml:14: failed: attends dog → barks, *",
            "x.attn.yaml:12: passed: ignores barks → dog, *",
            "FAILED x.attn.yaml::fails - weight 0.*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*ExpectationFailed*")


@pytest.mark.parametrize(
    ("columns", "end"),
    [(80, "*..."), (200, " (attends, mean of 12 heads); 2 of 3 expectations fail")],
)
def test_the_summary_line_has_the_number_and_its_bound(
    probe: Run,
    write_cases: Write,
    tiny: TinyModels,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    end: str,
) -> None:
    for name in ("CI", "BUILD_NUMBER"):  # there pytest prints all of a message
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    write_cases(BOTH)
    found = weight(tiny, "The dog barks.", "barks", "dog")
    line = f"FAILED x.attn.yaml::fails - weight {found:.3f}, demanded >= 0.99{end}"
    probe().stdout.fnmatch_lines([line])
    probe("-n0", "--junitxml=r.xml")
    (failure,) = ElementTree.parse("r.xml").iter("failure")
    assert (failure.get("message") or "").startswith(f"weight {found:.3f}, demanded >= 0.99 (")


# Outcomes


def test_xfail_covers_failures_strictly_and_no_errors(probe: Run, write_cases: Write) -> None:
    write_cases(
        f"""
        - id: gap
          text: The dog barks.
          xfail: it looks elsewhere
          expect:
            {FAILS}
        - id: closed
          text: The dog barks.
          xfail: it looks elsewhere
          expect:
            {HOLDS}
        - id: unmeasured
          text: The dog barks.
          xfail: it looks elsewhere
          expect:
            - attends: {{from: barks, to: dog, heads: L77H1, min: 0.99}}
        """
    )
    result = probe("-ra")
    result.assert_outcomes(xfailed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR at setup of unmeasured _*",
            "x.attn.yaml:19: error: attends barks → dog, L77H1",
            "*XPASS(strict)*it looks elsewhere*",
            "XFAIL x.attn.yaml::gap - it looks elsewhere*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:*")


def test_a_skip_has_its_reason_and_needs_no_model(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(
        f"""
        - id: later
          text: The dog barks.
          skip: waits for a longer model
          expect:
            {HOLDS}
        """
    )
    result = probe("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*waits for a longer model"])
    assert tiny.loaded == []


def test_marks_of_the_file_are_declared_by_it(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH + "- {id: marked, marks: [slow], text: A b., expect: [{ignores: "
                "{from: b, to: A, max: 0.99}}]}", head="marks: [coref]\n")  # fmt: skip
    probe("--strict-markers", "-m", "coref").assert_outcomes(passed=2, failed=1)
    probe("--strict-markers", "-m", "slow").assert_outcomes(passed=1, deselected=2)


def test_errors_of_a_file_are_shown_by_line_without_traceback(
    probe: Run, write_cases: Write
) -> None:
    write_cases(
        """
        - id: one
          text: The dog barks.
          expects: []
        - id: two
          text: The dog barks.
          expect:
            - atends: {from: barks, to: dog, min: 0.5}
        """
    )
    write_cases(ROWS, name="fine.attn.yaml")
    result = probe("--continue-on-collection-errors")
    result.assert_outcomes(errors=1, passed=2)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR collecting x.attn.yaml _*",
            "x.attn.yaml:7:5: unknown key 'expects'; *",
            "x.attn.yaml:11:9: unknown rule 'atends'; *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:*")


# Selection


@pytest.mark.parametrize(
    ("arguments", "outcomes"),
    [
        (["-k", "rows and dog"], {"passed": 1, "deselected": 3}),
        (["-k", "big_seal or fails"], {"passed": 1, "failed": 1, "deselected": 2}),
        (["x.attn.yaml::rows[dog]"], {"passed": 1}),
        (["x.attn.yaml::holds", "x.attn.yaml::fails"], {"passed": 1, "failed": 1}),
        (["-x"], {"passed": 1, "failed": 1}),
    ],
)
def test_selecting(
    probe: Run, write_cases: Write, arguments: list[str], outcomes: dict[str, int]
) -> None:
    write_cases(BOTH + ROWS)
    probe(*arguments).assert_outcomes(**outcomes)


def test_last_failed(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH + ROWS)
    probe().assert_outcomes(passed=3, failed=1)
    probe("--lf").assert_outcomes(failed=1)
    probe("-k", "big_seal").assert_outcomes(passed=1, deselected=3)
    write_cases(ROWS.replace("seal}", "seal}\n    - {animal: cat}").replace("0.99", "0.001"))
    probe("-k", "big_seal").assert_outcomes(failed=1, deselected=2)
    probe("--lf").assert_outcomes(failed=1)


def test_collecting_loads_no_model(probe: Run, write_cases: Write, tiny: TinyModels) -> None:
    write_cases(BOTH)
    result = probe("--collect-only", "-q", "--attn-json=r.json")
    assert lines(result)[:2] == ["x.attn.yaml::holds", "x.attn.yaml::fails"]
    assert tiny.loaded == []
    assert not Path("r.json").exists()


def test_junit(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH)
    probe("--junitxml=j.xml")
    suite = ElementTree.parse("j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite.find("testcase[@name='fails']/failure")
    assert failure is not None
    assert "x.attn.yaml:13: failed" in str(failure.text)


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_failing_word_pair_names_the_best_other_head(
    probe: Run, write_cases: Write, tiny: TinyModels, everywhere: bool
) -> None:
    write_cases(BOTH.replace("barks, to: dog, min: 0.99", "barks, to: dog, heads: L1H2, min: 0.99"))
    options = ["--attn-nearest"] if everywhere else []
    result = probe("--junitxml=j.xml", "--attn-json=r.json", *options)
    layers = eager_weights(tiny.model, Sample("The dog barks."), "encoder")
    # Each letter is a token, after a special one.
    given = {
        f"L{layer}H{head}": float(maps[9:14, 5:8].sum(axis=1).mean())
        for layer in (layers if everywhere else [1])
        for head, maps in enumerate(layers[layer])
    }
    del given["L1H2"]
    best = max(given, key=lambda name: given[name])
    looked = "11 heads in layers 0 to 2" if everywhere else "3 heads in layer 1"
    note = (
        f"best other head for this pair: {best}, weight {given[best]:.3f}, would fail too; "
        f"the best of {looked} is no evidence by itself"
    )
    (entry,) = [
        entry
        for case in read_results(Path("r.json")).cases
        for entry in case.expectations
        if entry.rule == "attends" and entry.head == "L1H2"
    ]
    assert str(entry.best_other) == note
    result.stdout.fnmatch_lines([f"  {note}"])
    properties = ElementTree.parse("j.xml").getroot().iter("property")
    assert note in [entry.get("value") for entry in properties]


@pytest.mark.parametrize("arguments", [["-p", "no:terminal"], ["-q"], ["-s"], ["-qq"], ["-vv"]])
def test_other_ways_to_report(probe: Run, write_cases: Write, arguments: list[str]) -> None:
    write_cases(BOTH)
    result = probe(*arguments, "--attn-json=r.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert read_results(Path("r.json")).summary()["passed"] == 1


# The demo model


def test_the_demo_model_resolves_it(
    minilm: Any, pytester: pytest.Pytester, write_cases: Write
) -> None:
    class Demo:
        def pytest_attn_load_model(self) -> Any:
            return minilm

    write_cases(
        """
        - id: it-animal
          text: The animal didn't cross the street because it was too tired.
          expect:
            - attends: {from: it, to: animal, over: street, heads: L3H1, min: 0.3}
        - id: wrong
          text: The animal didn't cross the street because it was too tired.
          expect:
            - attends: {from: it, to: street, heads: L3H1, min: 0.5}
        """
    )
    result = pytester.runpytest_inprocess(
        "--attn-model=demo", "--attn-json=r.json", plugins=[Demo()]
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["    0.68  animal  █*", "    0.05  street *← to"])
    cases = read_results(Path("r.json")).cases
    assert cases[0].expectations[0].bounds[0].observed == pytest.approx(0.677, abs=0.001)
    assert cases[1].expectations[0].bounds[0].observed == pytest.approx(0.050, abs=0.001)
