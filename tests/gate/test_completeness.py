"""The gate cannot pass on nothing: what was not judged, not collected or not measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnprobe.gate import Policy, Waiver
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, RelationResult, read_results
from tests.support.gate_runs import FAILING, HOLDS
from tests.support.inner_runs import LOADS_TINY
from tests.support.made_up_decisions import ON, TODAY, case, decide, expectation, kinds, many
from tests.support.made_up_results import run, said


@pytest.mark.parametrize("outcomes", [(), ("skipped",), ("xfailed",), ("skipped", "xfailed")])
def test_nothing_judged_is_no_pass_p10(outcomes: tuple[str, ...]) -> None:
    decision = decide(run(*(case(f"c{n}", outcome) for n, outcome in enumerate(outcomes))))
    assert decision.exit_code == 2
    assert kinds(decision)[0] == "nothing judged"
    assert decision.sentence.startswith("Cannot judge: no attention check")


def test_nothing_that_blocks_is_no_pass_p10() -> None:
    advisory = run(*many(9, severity="advisory"))
    assert decide(advisory).exit_code == 2
    everything = Waiver(case="cases/*", reason="r", owner="o", expires=TODAY)
    assert decide(run(*many(9, 3)), Policy(waivers=(everything,))).exit_code == 2


def test_cases_for_a_model_that_was_not_given_are_missed_p10() -> None:
    found = run(*many(9), absent={"smollm2": 4})
    decision = decide(found)
    assert (decision.exit_code, kinds(decision)) == (2, ["absent model"])
    assert "4 attention checks are for models that the run was not given: smollm2" in (
        decision.sentence
    )
    assert decide(found, Policy(absent_models=("smollm2",))).exit_code == 0


@pytest.mark.parametrize(
    ("left_out", "told", "others"),
    [
        ({"deselected": 1}, "1 attention check was deselected", "1 more was deselected"),
        ({"deselected": 2}, "2 attention checks were deselected", "2 more were deselected"),
        ({"left_out": ("b.yaml",)}, "1 file was left out by --lf", "1 file was left out by --lf"),
        (
            {"deselected": 2, "left_out": ("b.yaml", "c.yaml")},
            "2 attention checks were deselected, and 2 files were left out by --lf",
            "2 more were deselected and 2 files were left out by --lf",
        ),
    ],
)
def test_checks_that_were_deselected_are_missed_unless_the_policy_lets_them_p10(
    left_out: dict[str, Any], told: str, others: str
) -> None:
    found = run(*many(3), **left_out)
    decision = decide(found)
    assert (decision.exit_code, kinds(decision), decision.notes) == (2, ["deselected"], ())
    assert said(decision) == f"Cannot judge: {told} (0 may be; policy key deselected)."
    most = sum(count if isinstance(count, int) else len(count) for count in left_out.values())
    allowed = decide(found, Policy(deselected=most))
    assert (allowed.exit_code, allowed.notes) == (0, (told,))
    assert allowed.sentence == (
        f"Release may go: 3 attention checks of 1 suite hold on {ON}, none of them by chance; "
        f"{others}."
    )
    assert decide(found, Policy(deselected=most - 1)).exit_code == 2
    assert allowed.as_dict()["deselected"] == left_out.get("deselected", 0)


def test_results_from_before_deselected_are_read(tmp_path: Path) -> None:
    older = run(*many(3), deselected=2).to_json()
    assert older.pop("deselected") == 2
    assert older.pop("left_out") == []
    write_json(tmp_path / "older.json", older)
    decision = decide(read_results(tmp_path / "older.json"))
    assert decision.exit_code == 0
    assert decision.notes == ("the results, of an older version, do not say what was deselected",)


@pytest.mark.parametrize("collected", [8, 10, 50])
def test_executed_must_equal_collected_p38(collected: int) -> None:
    decision = decide(run(*many(9), collected=collected))
    assert (decision.exit_code, kinds(decision)) == (2, ["lost"])
    assert f"9 of {collected} attention checks were executed" in decision.sentence


def test_skipped_cases_are_not_lost_p38() -> None:
    decision = decide(run(*many(9), case("later", "skipped")))
    assert decision.exit_code == 0
    assert decision.notes == ("1 attention check was skipped",)


@pytest.mark.parametrize(
    "odd",
    [
        case("c", expectations=()),
        case("c", expectations=(expectation("failed"),)),
        case("c", expectations=(expectation("error"),)),
        case("c", model="other"),
    ],
)
def test_records_that_contradict_themselves_are_not_judged(odd: CaseResult) -> None:
    decision = decide(run(odd, *many(3)))
    assert (decision.exit_code, kinds(decision)[0]) == (2, "inconsistent")


def test_a_case_that_stands_twice_is_not_judged() -> None:
    decision = decide(run(case("c"), case("c")))
    assert (decision.exit_code, kinds(decision)) == (2, ["inconsistent"])


def test_a_probe_that_states_nothing_is_no_check_p10() -> None:
    empty = case("p", file="probes/test_x.py", expectations=())
    decision = decide(run(empty))
    assert (decision.exit_code, kinds(decision)[0]) == (2, "nothing judged")
    decision = decide(run(empty, *many(3)))
    assert (decision.exit_code, decision.holding) == (0, 3)
    assert "1 attention check states nothing by a rule that holds" in decision.notes
    assert decide(run(replace(empty, outcome="failed"), *many(3))).exit_code == 1


def test_a_python_probe_that_only_expects_failures_is_no_check() -> None:
    probe = case("p", file="probes/test_x.py", expectations=(expectation("failed"),))
    decision = decide(run(probe))
    assert (decision.exit_code, kinds(decision)[0]) == (2, "nothing judged")
    both = replace(probe, expectations=(expectation(), expectation("failed")))
    assert decide(run(both)).exit_code == 0


@pytest.mark.parametrize("outcome", ["passed", "failed", "xfailed"])
def test_what_a_python_probe_could_not_measure_is_an_error_whatever_it_made_of_it(
    outcome: str,
) -> None:
    # pytest.raises around the expectation, or an xfail.
    stated = (expectation(), expectation("error", message="no such word"))
    probe = case("p", outcome, file="probes/test_x.py", expectations=stated)
    decision = decide(run(probe, *many(3)))
    assert (decision.exit_code, kinds(decision)) == (2, ["not measured"])
    assert "no such word" in decision.reasons[0].details[0]


@pytest.mark.parametrize("outcomes", [(), ("passed",)])
def test_a_known_gap_that_was_not_seen_to_fail_was_not_measured(outcomes: tuple[str, ...]) -> None:
    stated = tuple(map(expectation, outcomes))
    decision = decide(run(*many(3), case("gap", "xfailed", expectations=stated, error="flaky")))
    assert decision.lines() == [
        "cannot judge: 1 attention check could not be measured: flaky",
        "  cases/coref.attn.yaml:7: gap on minilm: is marked as a known gap, but no expectation of "
        "it was seen to fail: flaky",
        "Cannot judge: 1 attention check could not be measured: flaky; judged: 3 attention checks "
        f"of 1 suite on {ON}.",
    ]


def test_a_relation_that_was_never_measured_is_no_known_gap() -> None:
    made = vars(case("r", "xfailed", expectations=()))
    found = run(*many(3), relations=(RelationResult(**made, relation="nsubj"),), collected=4)
    assert kinds(decide(found)) == ["not measured"]
    bound = expectation("failed", rule="relation", arguments={"accuracy": 0.7}, chance=None)
    made |= {"expectations": (bound,)}
    found = replace(found, relations=(RelationResult(**made, relation="nsubj"),))
    assert decide(found).notes == ("1 attention check is a known gap",)


@pytest.mark.parametrize("outcome", ["borderline", "vacuous"])
def test_a_known_gap_that_only_a_strict_run_fails_is_one(outcome: str) -> None:
    gap = case("gap", "xfailed", expectations=(expectation(outcome, chance=None),))
    assert decide(run(*many(3), gap)).exit_code == 0


def test_what_an_xfail_kept_from_being_measured_is_no_known_gap_p10(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
) -> None:
    write_cases(HOLDS + HOLDS.replace("holds", "hooked"))
    pytester.makeconftest(
        """
        import pytest
        def pytest_runtest_setup(item):
            if item.name == "hooked": pytest.xfail("flaky")
        """
    )
    pytester.makepyfile(
        test_long="""
        import pytest
        @pytest.mark.xfail
        def test_long(attn):
            attn("dog " * 1000).ignores("dog", "dog", heads="mean", max=0.99)
        """
    )
    probe("--attn-json=r.json").assert_outcomes(passed=1, xfailed=2)
    found = read_results(pytester.path / "r.json")
    decision = decide(found, Policy(chance_max=0.5, own_loader="allow", skipped=0))
    (reason,) = (reason for reason in decision.reasons if reason.kind == "not measured")
    gap = "is marked as a known gap, but no expectation of it was seen to fail: "
    assert reason.details[1] == f"x.attn.yaml:10: hooked on tiny: {gap}flaky"
    assert reason.details[0].startswith(
        f"test_long.py:2: test_long on tiny: {gap}attnprobe.core.errors"
    )
    assert decision.exit_code == 2


@pytest.mark.parametrize(
    ("conftest", "options", "count"),
    [
        # A case for a model that was not given, and not selected either, is not told as absent.
        ("", ("-k", "holds"), 3),
        ("", ("--deselect=x.attn.yaml::fails",), 1),
        ("", ("x.attn.yaml",), 0),
        ("", ("--ignore=test_p.py",), 0),
        # A plugin that tells nobody.
        ("def pytest_collection_modifyitems(items): del items[1:]", (), 4),
        (LOADS_TINY, ("-k", "holds", "-n2"), 3),
    ],
)
def test_the_results_count_what_was_deselected_p10(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
    conftest: str,
    options: tuple[str, ...],
    count: int,
) -> None:
    absent = HOLDS.replace("holds\n", "holds-not\n  model: other\n")
    write_cases(FAILING + absent + absent.replace("holds-not", "elsewhere"))
    pytester.makeconftest(conftest)
    pytester.makepyfile(
        test_p="""
        def test_p(attn): attn("The dog barks.").ignores("barks", "dog", heads="mean", max=0.99)
        def test_plain(): pass
        """
    )
    probe("--attn-json=r.json", *options)
    assert read_results(pytester.path / "r.json").deselected == count


def test_a_file_without_tests_is_not_left_out_by_lf(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
) -> None:
    write_cases(HOLDS)
    pytester.makepyfile(test_empty="x = 1")
    probe("--attn-json=r.json", "--lf").assert_outcomes(passed=1)
    assert read_results(pytester.path / "r.json").left_out == ()
    write_cases(FAILING.replace("pronouns", "others"), name="y.attn.yaml")
    probe("--attn-json=r.json").assert_outcomes(passed=2, failed=1)
    probe("--attn-json=r.json", "--lf").assert_outcomes(failed=1)
    left_out = read_results(pytester.path / "r.json").left_out
    assert "x.attn.yaml" in left_out
    assert "y.attn.yaml" not in left_out


def test_results_of_another_commit_are_not_judged() -> None:
    decision = decide(run(*many(3)), commit="b" * 40)
    assert (decision.exit_code, kinds(decision)) == (2, ["commit"])
    assert decide(run(*many(3)), commit="a" * 40).exit_code == 0
    assert decide(run(*many(3)), commit=None).exit_code == 0
    unknown = run(*many(3), environment={"git_commit": None})
    assert kinds(decide(unknown, commit="a" * 40)) == ["commit"]
    assert decide(unknown, Policy(commit="any"), commit="a" * 40).exit_code == 0
    assert decide(run(*many(3)), Policy(commit="any"), commit="b" * 40).exit_code == 0
