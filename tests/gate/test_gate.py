"""The release gate: what it lets go, what it blocks, and what it says it cannot judge."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from attnprobe import cli
from attnprobe.core.errors import ModelError, PolicyError, ResultsError
from attnprobe.core.names import Key
from attnprobe.core.sites import Head
from attnprobe.core.verdicts import Chance
from attnprobe.gate import (
    Decision,
    Moved,
    Policy,
    Waiver,
    broken_keys,
    find_policy,
    judge,
    read_policy,
)
from attnprobe.gate.moved import moved_checks
from attnprobe.gate.policy import SuitePolicy
from attnprobe.gate.records import contradictions
from attnprobe.gate.reread import load_again
from attnprobe.models import LoadOptions
from attnprobe.results.environment import environment
from attnprobe.results.files import write_json
from attnprobe.results.records import (
    CaseResult,
    ExpectationResult,
    OrderResult,
    RelationResult,
    Results,
    read_results,
)
from attnprobe.rules.base import Demand
from attnprobe.words.heads import HeadSet
from tests.conftest import LOADS_TINY
from tests.support import made_up_results
from tests.support.made_up_results import MODEL, run, said

TODAY = date(2026, 11, 24)
# The model of the made-up runs, as the last line names it.
ON = f"minilm (runs/best, sha256 {MODEL.weights_sha256[:12]})"
RARELY = Chance(passed=1, pairs=100, distinct=100)


def expectation(outcome: Any = "passed", **changes: Any) -> ExpectationResult:
    """One that seldom holds by chance."""
    numbers = {"failed": {"observed": 0.1}, "borderline": {"observed": 0.3005}}.get(outcome, {})
    return made_up_results.expectation(outcome, **{"chance": RARELY, **numbers, **changes})


def case(id: str, outcome: Any = "passed", **changes: Any) -> CaseResult:
    inner = {"passed": "passed", "xpassed": "passed", "error": "error"}.get(outcome, "failed")
    return made_up_results.case(id, outcome, expectation(inner), **changes)


def many(count: int, failed: int = 0, **changes: Any) -> list[CaseResult]:
    return [
        case(f"c{number}", "failed" if number < failed else "passed", **changes)
        for number in range(count)
    ]


def decide(results: Results, policy: Policy | None = None, **more: Any) -> Decision:
    return judge(results, policy or Policy(), today=TODAY, **more)


def kinds(decision: Decision) -> list[str]:
    return [reason.kind for reason in decision.reasons]


# A run that may go, and what spoils it


def test_a_run_that_holds_may_go() -> None:
    decision = decide(run(*many(254)))
    assert (decision.exit_code, decision.reasons, decision.notes) == (0, (), ())
    assert decision.sentence == (
        f"Release may go: 254 attention checks of 1 suite hold on {ON}, none of them by chance."
    )
    assert decision.lines() == [decision.sentence]


def test_nothing_is_said_of_chance_where_it_is_not_known() -> None:
    unknown = [None, Chance(passed=1, pairs=7, distinct=7)]
    cases = [case(f"c{n}", expectations=(expectation(chance=c),)) for n, c in enumerate(unknown)]
    decision = decide(run(*cases, case("known")))
    assert decision.sentence == f"Release may go: 3 attention checks of 1 suite hold on {ON}."
    assert decision.notes[0].startswith("2 of 3 expectations have no chance rate")


def test_a_suite_that_position_gives_away_is_told() -> None:
    order = OrderResult("x", "coreference", None, 9, "take the first of the two words", -2, 8)
    decision = decide(run(*many(3), order=(order,)))
    assert decision.exit_code == 0
    assert decision.notes == (
        "position alone does as well as the heads in suite coreference: take the first of the two "
        "words",
    )


def test_heads_that_were_chosen_on_other_weights_are_told() -> None:
    other = HeadSet("subject", (Head(3, 1),), "minilm", None, "53aa51172d142c89" * 4)
    own = replace(other, name="own", weights_sha256=MODEL.weights_sha256)
    unknown = HeadSet("mine", (Head(3, 1),))
    cases = [
        case("a", expectations=(expectation(head_sets=(other, own)), expectation())),
        case("b", expectations=(expectation(head_sets=(other,)),) * 2),
        case("c", expectations=(expectation(head_sets=(unknown,)),)),
    ]
    decision = decide(run(*cases))
    assert decision.exit_code == 0
    assert decision.notes == (
        "heads @subject of 2 attention checks were chosen on minilm, weights 53aa51172d14; model "
        "minilm has other weights: scan it again, or see attnprobe compare for where the heads "
        "moved",
        "heads @mine of 1 attention check on model minilm: the lock file does not say on which "
        "weights they were chosen",
    )
    # The hash of a network that a project's own loader built is of another kind.
    made = replace(MODEL, weights_format=None)
    found = decide(run(*cases[:2], models=(made,)), Policy(own_loader="allow"))
    assert (found.exit_code, found.notes) == (0, ())


def test_results_from_before_head_sets_are_read(tmp_path: Path) -> None:
    older = run(*many(3)).to_json()
    for item in older["cases"]:
        for entry in item["expectations"]:
            del entry["head_sets"]
    write_json(tmp_path / "r.json", older)
    assert read_results(tmp_path / "r.json") == run(*many(3))


def test_one_failed_check_blocks() -> None:
    decision = decide(run(*many(40, 9)))
    assert decision.exit_code == 1
    assert said(decision) == (
        "Release blocked: in suite coreference 9 of 40 attention checks of model minilm do not "
        "hold (allowed to fail: 0)."
    )
    lines = decision.lines()
    assert lines[1] == (
        "  cases/coref.attn.yaml:7: c0 on minilm: attends weight 0.680, demanded >= 0.300, by L3H1"
    )
    assert len(lines) == 1 + 9 + 1


def test_the_worst_suite_comes_first_and_long_lists_are_cut() -> None:
    cases = [*many(30, 12), *(replace(c, suite="agreement", id=f"a{c.id}") for c in many(4, 3))]
    decision = decide(run(*cases))
    assert "suite agreement 3 of 4" in decision.reasons[0].text
    assert said(decision).endswith("(allowed to fail: 0); 1 more reason above.")
    assert "  and 2 more" in decision.lines()


def test_severities_that_advise_are_told_and_do_not_block() -> None:
    cases = [*many(3), case("hint", "failed", severity="advisory")]
    decision = decide(run(*cases))
    assert decision.exit_code == 0
    assert decision.holding == 3
    assert "advisory: cases/coref.attn.yaml:7: hint on minilm" in decision.notes[0]
    strict = decide(run(*cases), Policy(blocking=("blocking", "advisory")))
    assert strict.exit_code == 1


def test_a_known_gap_that_holds_is_a_failure() -> None:
    for outcome, inner in (("failed", "passed"), ("xpassed", "passed")):
        odd = case("gap", outcome, expectations=(expectation(inner),))
        decision = decide(run(odd, *many(3)))
        assert decision.exit_code == 1
        assert "known gap" in decision.reasons[0].details[0]


def test_what_could_not_be_measured_is_not_judged() -> None:
    decision = decide(run(*many(5), case("bad", "error")))
    assert (decision.exit_code, kinds(decision)) == (2, ["not measured"])
    assert said(decision) == "Cannot judge: 1 attention check could not be measured."


@pytest.mark.parametrize("rate", [0.051, 0.5])
def test_a_rule_that_holds_by_chance_blocks(rate: float) -> None:
    passed = round(rate * 1000)
    often = Chance(passed=passed, pairs=1000, distinct=1000)
    lucky = case("lucky", expectations=(expectation(), expectation(chance=often)))
    decision = decide(run(*many(3), lucky))
    assert (decision.exit_code, kinds(decision)) == (1, ["vacuous"])
    assert "1 attention check holds by chance" in decision.sentence
    assert f"{passed} of 1000 other word pairs" in decision.reasons[0].details[0]
    assert decide(run(lucky), Policy(chance_max=0.5)).exit_code == 0


def test_the_gates_own_bound_on_chance_counts_not_that_of_the_run() -> None:
    often = Chance(passed=8, pairs=100, distinct=100)
    lenient = case("c", expectations=(expectation("vacuous", chance=often),))
    assert decide(run(lenient), Policy(chance_max=0.1)).exit_code == 0
    unknown = case("c", expectations=(expectation("vacuous", chance=None),))
    assert decide(run(unknown)).exit_code == 1


def test_a_number_too_near_to_its_bound_fails_p40() -> None:
    near = case("near", expectations=(expectation("borderline"),))
    decision = decide(run(*many(3), near))
    assert (decision.exit_code, kinds(decision)) == (1, ["borderline"])
    assert said(decision) == (
        "Release blocked: 1 attention check is too near to its bound to call."
    )
    assert decide(run(near), Policy(borderline="pass")).exit_code == 0


# It cannot pass on nothing


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
    assert decision.notes == ("the results, of an older version, do not tell what was deselected",)


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


HOLDS = """
- id: holds
  text: The dog barks.
  expect:
    - ignores: {from: barks, to: dog, max: 0.99}
"""


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


OUTCOMES = st.sampled_from(["passed", "failed", "error", "skipped", "xfailed", "xpassed"])
INNER = st.sampled_from(["passed", "failed", "borderline", "vacuous", "error"])


@given(
    st.lists(st.tuples(OUTCOMES, st.lists(INNER, max_size=2)), max_size=5),
    st.integers(-1, 2),
)
def test_it_lets_nothing_go_unless_all_holds(found: list[tuple[str, list[str]]], more: int) -> None:
    cases = [
        case(f"c{n}", outcome, expectations=tuple(expectation(i, chance=None) for i in inner))
        for n, (outcome, inner) in enumerate(found)
    ]
    decision = decide(run(*cases, collected=max(0, len(cases) + more)))
    idle = ("skipped", "xfailed")
    ran = [
        (outcome, inner)
        for outcome, inner in found
        if outcome not in idle
        or (outcome == "xfailed" and ("error" in inner or set(inner) <= {"passed"}))
    ]
    good = all(outcome == "passed" and inner and set(inner) == {"passed"} for outcome, inner in ran)
    whole = more == 0 or len(cases) + more < 0
    assert (decision.exit_code == 0) == bool(ran and good and whole)
    assert decision.lines()[-1] == decision.sentence


# What failed besides attention checks


@pytest.mark.parametrize("severity", ["blocking", "advisory"])
@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("other_failures", "pytest failed for 1 test that is no attention check"),
        ("unread", "pytest failed for 1 file that could not be read"),
        ("complaints", "pytest failed for 1 reason of its own"),
    ],
)
def test_a_failed_check_hides_nothing_else_that_failed(
    severity: str, field: str, text: str
) -> None:
    found = run(*many(3), case("c9", "failed", severity=severity), **{field: ("tests/x.py",)})
    waived = Waiver(case="*::c9", reason="r", owner="o", expires=TODAY)
    for policy in (Policy(), Policy(waivers=(waived,))):
        decision = decide(found, policy)
        assert (decision.exit_code, kinds(decision)[0]) == (2, "pytest")
        assert decision.reasons[0].text == text
        assert decision.reasons[0].details == ("tests/x.py",)


def test_a_run_tells_what_else_failed_in_it(
    probe: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        test_one="def test_broken(): assert False\ndef test_fine(): pass",
        test_two="import nothing_of_this_name",
        test_three="""
        import pytest
        @pytest.fixture
        def breaks():
            yield
            raise OSError
        def test_late(breaks): pass
        @pytest.mark.xfail
        def test_gap(): assert False
        def test_probe(attn): assert False
        """,
    )
    probe("--attn-json=r.json", "--continue-on-collection-errors", "--attn-strict")
    found = read_results(pytester.path / "r.json")
    assert found.other_failures == ("test_one.py::test_broken", "test_three.py::test_late")
    assert found.unread == ("test_two.py",)
    assert found.complaints == ()
    assert found.given == ("tiny",)
    assert [item.outcome for item in found.items] == ["failed"]

    # With its own complaint: nothing was judged.
    probe("--attn-json=r.json", "--attn-strict", "test_one.py")
    (complaint,) = read_results(pytester.path / "r.json").complaints
    assert complaint.startswith("no probe was judged")


FAILING = f"""{HOLDS}
- id: fails
  text: The dog barks.
  expect:
    - attends: {{from: barks, to: dog, min: 0.99}}
"""
LIKE_COV = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    result = yield
    if not hasattr(session.config, "workerinput"):
        session.testsfailed += 1
    return result
"""
OUTSIDE = {
    "counted": (
        LIKE_COV,
        "pytest counts 1 failure more than it reported: a plugin failed the run*",
    ),
    "stopped": (
        "def pytest_runtest_teardown(item): item.session.shouldfail = 'too slow'",
        "a plugin stopped the run as failed: too slow",
    ),
    "status": (
        "def pytest_sessionfinish(session): session.exitstatus = 1",
        "a plugin set the exit code to 1 when the run was over",
    ),
    "status in pytest's own words": (
        "import pytest\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_sessionfinish(session):\n"
        "    yield\n"
        "    session.exitstatus = pytest.ExitCode.TESTS_FAILED",
        "a plugin set the exit code to 1 when the run was over",
    ),
    "exit": (
        "import pytest\ndef pytest_sessionfinish(): pytest.exit('no disk', returncode=1)",
        "the end of the run failed: Exit('no disk')",
    ),
}


@pytest.mark.parametrize("how", OUTSIDE)
def test_a_plugin_that_fails_the_run_is_told_beside_a_failed_check(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
    how: str,
) -> None:
    text, told = OUTSIDE[how]
    write_cases(FAILING)
    pytester.makeconftest(text)
    result = probe("--attn-json=r.json", *(["-k", "fails"] if how == "stopped" else []))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (complaint,) = read_results(pytester.path / "r.json").complaints
    assert fnmatch(complaint, told)
    result.stdout.fnmatch_lines([f"attnprobe: {told}"])
    assert len([line for line in result.outlines if complaint in line]) == 1


@pytest.mark.parametrize("error", ["OSError('no disk')", "SystemExit(1)"])
def test_a_plugin_that_fails_after_the_run_is_told(
    write_cases: Callable[..., Path], pytester: pytest.Pytester, error: str
) -> None:
    # To pytest that is exit code 1, as for a failed test.
    write_cases(FAILING)
    pytester.makeconftest(LOADS_TINY + f"def pytest_unconfigure(): raise {error}")
    given = ("-p", "no:hypothesispytest", "--attn-model=tiny", "--attn-json=r.json")
    result = pytester.runpytest_subprocess(*given)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (complaint,) = read_results(pytester.path / "r.json").complaints
    assert complaint == f"the end of the run failed: {error}"


def test_what_fails_a_run_with_its_tests_is_no_plugin(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
) -> None:
    write_cases(FAILING)
    pytester.makeconftest(
        """
        def pytest_sessionfinish(session, exitstatus):
            assert exitstatus == session.exitstatus == 1
            if session.testsfailed == 0: session.exitstatus = 0
        """
    )
    pytester.makepyfile(
        test_one="""
        import pytest
        @pytest.fixture
        def breaks():
            yield
            raise OSError
        def test_twice(breaks): assert False
        @pytest.mark.xfail(strict=True)
        def test_gap(): pass
        @pytest.mark.xfail
        def test_known(): assert False
        def test_parts(subtests):
            for part in range(2):
                with subtests.test(part=part): assert False
        """,
        test_two="import nothing_of_this_name",
    )
    for options in (["--continue-on-collection-errors"], ["--maxfail=1", "x.attn.yaml"]):
        result = probe("--attn-json=r.json", *options)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert read_results(pytester.path / "r.json").complaints == ()


def test_a_test_that_passes_when_it_is_run_again_has_not_failed(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
) -> None:
    """As pytest-rerunfailures does it where a subtest failed: it takes the failure back."""
    write_cases(FAILING)
    pytester.makepyfile("def test_one(): pass")
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_call(item):
            if item.name != "test_one":
                return
            for outcome in ("failed", "rerun"):
                report = pytest.TestReport(item.nodeid, item.location, {}, outcome, "", "call")
                item.ihook.pytest_runtest_logreport(report=report)
            item.session.testsfailed -= 1
        """
        + textwrap.indent(LIKE_COV, " " * 8)
    )
    probe("--attn-json=r.json")
    found = read_results(pytester.path / "r.json")
    assert found.other_failures == ()
    (complaint,) = found.complaints
    assert complaint.startswith("pytest counts 1 failure more than it reported")


# Models that were given


NEW = replace(MODEL, name="new")


def test_a_model_that_was_given_and_not_judged_is_not_released() -> None:
    found = run(*many(3), given=("minilm", "new"))
    decision = decide(found)
    assert (decision.exit_code, kinds(decision)[0]) == (2, "nothing judged")
    assert "model new was given, and no attention check" in decision.sentence
    for outcome, severity in (("skipped", "blocking"), ("passed", "advisory")):
        other = case("c0", outcome, model="new", severity=severity)
        assert decide(run(*many(3), other, models=(MODEL, NEW))).exit_code == 2
    judged = run(*many(3), *many(1, model="new"), models=(MODEL, NEW), given=("minilm", "new"))
    assert decide(judged).exit_code == 0


def test_suites_and_numbers_count_on_every_model_that_was_given() -> None:
    items = [*many(3), *(replace(c, suite="agreement") for c in many(2, model="new"))]
    found = run(*items, models=(MODEL, NEW), given=("minilm", "new"))
    decision = decide(found, Policy(suites=("agreement",)))
    assert kinds(decision) == ["too few"]
    assert "in suite agreement 0 attention checks of model minilm judged" in decision.sentence
    decision = decide(found, Policy(least=3))
    assert decision.reasons[0].text == (
        "2 attention checks of model new judged, the policy demands 3"
    )
    # Its cases name their model, so it cannot run on the other.
    bound = replace(found, bound=("agreement",))
    assert decide(bound, Policy(suites=("agreement",))).exit_code == 0


def test_a_run_tells_its_models_and_the_suites_that_name_theirs(
    probe: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    for suite, model in (("free", ""), ("own", ", model: b")):
        (pytester.path / f"{suite}.attn.yaml").write_text(
            f"version: 1\nsuite: {suite}\ncases:\n- {{id: c, text: The dog barks.{model}, "
            "expect: [attends: {from: barks, to: dog, max: 0.999, heads: L0H0}]}\n"
        )
    probe("--attn-json=r.json", "--attn-model=a=x", "--attn-model=b=x", model=None)
    found = read_results(pytester.path / "r.json")
    assert (found.given, found.bound) == (("a", "b"), ("own",))
    # What the ini file binds was not given for this run.
    pytester.makeini("[pytest]\nattn_model =\n  a=x\n  b=x\n")
    probe("--attn-json=r.json", "free.attn.yaml", model=None)
    found = read_results(pytester.path / "r.json")
    assert (found.given, [item.model for item in found.items]) == ((), ["a"])


# Numbers beside their outcomes


@pytest.mark.parametrize(
    ("outcome", "numbers"),
    [
        ("passed", {"observed": 0.1}),
        ("passed", {"observed": 0.3005}),
        ("failed", {"observed": 0.68}),
        ("borderline", {"observed": 0.4}),
        ("vacuous", {"observed": 0.1}),
        ("passed", {"observed": 0.68, "relation": "<="}),
        ("passed", {"observed": None}),
        ("passed", {"relation": "about"}),
        ("passed", {"measure": "rank", "observed": 3.0, "relation": "<=", "demanded": 2.0}),
        ("failed", {"measure": "ratio over x", "observed": 3.0, "demanded": 2.0}),
        ("passed", {"measure": "margin over x", "observed": 0.0, "relation": ">", "demanded": 0.0}),
    ],
)
def test_an_outcome_that_its_numbers_contradict_is_not_judged(
    outcome: str, numbers: dict[str, Any]
) -> None:
    item = "failed" if outcome == "failed" else "passed"
    odd = case("odd", item, expectations=(expectation(outcome, **numbers),))
    decision = decide(run(odd, *many(3)))
    assert (decision.exit_code, kinds(decision)[0]) == (2, "inconsistent")
    assert "odd on minilm: attends " in decision.reasons[0].details[0]


@given(
    st.sampled_from(["passed", "failed", "borderline"]),
    st.sampled_from([">=", ">", "<=", "<"]),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_the_outcome_of_a_rule_is_never_a_contradiction(
    claimed: Any, relation: str, observed: float, demanded: float
) -> None:
    demand = Demand.of("weight", "weight", observed, relation, demanded)
    stated = expectation(claimed, observed=observed, relation=relation, demanded=demanded)
    assert (not list(contradictions(stated))) == (claimed == demand.bound.outcome)


def test_weights_that_are_not_known_are_not_judged() -> None:
    found = run(*many(3), models=(replace(MODEL, weights_sha256=None),))
    decision = decide(found)
    assert (decision.exit_code, kinds(decision)) == (2, ["unknown weights"])
    assert decide(found, Policy(own_loader="allow")).exit_code == 0


def test_the_projects_own_suites_do_not_contradict_themselves(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "cases/patterns.attn.yaml",
         "cases/coreference.attn.yaml", "cases/flow.attn.yaml", "cases/relations.attn.yaml",
         "cases/translator-alignment.attn.yaml", f"--attn-json={tmp_path / 'r.json'}"],
        cwd=root, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    stated = [e for item in read_results(tmp_path / "r.json").items for e in item.expectations]
    assert len({entry.bounds[0].measure for entry in stated}) > 5
    found = [why for e in stated for why in contradictions(e)]
    assert found == []


# Amounts and rates


def test_suites_that_must_run() -> None:
    decision = decide(run(*many(3)), Policy(suites=("coreference", "coreferences", "agreement")))
    assert (decision.exit_code, kinds(decision)) == (2, ["missing suite"] * 2)
    assert decision.reasons[0].details == ("known: coreference",)
    assert decision.reasons[1].details == ("did you mean 'coreference'?",)
    skipped = run(*many(3), case("x", "skipped", suite="agreement"))
    assert decide(skipped, Policy(suites=("agreement",))).exit_code == 2


def test_least_numbers() -> None:
    policy = Policy.model_validate({"least": 5, "suite": {"coreference": {"least": 4}}})
    assert decide(run(*many(5)), policy).exit_code == 0
    decision = decide(run(*many(3), case("gap", "xfailed"), case("later", "skipped")), policy)
    assert (decision.exit_code, kinds(decision)) == (2, ["too few", "too few"])
    assert decision.reasons[0].text == (
        "3 attention checks of model minilm judged, the policy demands 5"
    )
    assert "in suite coreference 3 attention checks of model minilm" in decision.reasons[1].text


def test_a_suite_must_have_its_number_on_each_model() -> None:
    policy = Policy.model_validate({"suite": {"coreference": {"least": 4}}})
    other = [replace(c, model="new") for c in many(3)]
    both = run(*many(4), *other, models=(MODEL, replace(MODEL, name="new")))
    assert "of model new" in decide(both, policy).sentence


def test_the_number_of_skipped_checks_can_be_bounded() -> None:
    found = run(*many(3), case("later", "skipped"))
    assert decide(found, Policy(skipped=1)).exit_code == 0
    assert kinds(decide(found, Policy(skipped=0))) == ["skipped"]


def wilson_low(hits: int, count: int) -> float:
    """The lower end of Wilson's interval, from the textbook's formula."""
    z = 1.959963984540054
    centre = hits / count + z * z / (2 * count)
    spread = z * math.sqrt(hits / count * (1 - hits / count) / count + z * z / (4 * count * count))
    return (centre - spread) / (1 + z * z / count)


@settings(deadline=None)  # scipy is imported in the first example
@given(st.integers(1, 120), st.integers(0, 120), st.floats(0.5, 0.97))
def test_a_rate_is_judged_by_the_lower_end_of_its_interval(
    count: int, failed: int, rate: float
) -> None:
    failed = min(failed, count)
    low = wilson_low(count - failed, count)
    assert wilson_low(0, count) < 1e-9
    if abs(low - rate) < 1e-9:
        return
    decision = decide(run(*many(count, failed)), Policy(pass_rate=rate))
    if wilson_low(count, count) < rate - 1e-9:
        assert kinds(decision) == ["too few"]
    elif low >= rate:
        assert decision.exit_code == 0
    else:
        assert kinds(decision) == ["pass rate"]


def test_a_rate_says_how_many_may_fail() -> None:
    policy = Policy.model_validate({"suite": {"coreference": {"pass_rate": 0.7}}})
    decision = decide(run(*many(40, 9)), policy)
    assert wilson_low(34, 40) >= 0.7 > wilson_low(33, 40)
    assert said(decision) == (
        "Release blocked: in suite coreference 9 of 40 attention checks of model minilm do not "
        "hold (allowed to fail: 6)."
    )
    within = decide(run(*many(40, 6)), policy)
    assert within.exit_code == 0
    assert said(within) == (
        f"Release may go: 34 of 40 attention checks of 1 suite hold (6 may fail) on {ON}, "
        "none of them by chance."
    )
    told = [note for note in within.notes if note.startswith("allowed to fail: ")]
    assert [note.partition("yaml:7: ")[2].split()[0] for note in told] == [
        f"c{number}" for number in range(6)
    ]
    assert decide(run(*many(40, 7)), policy).exit_code == 1


def test_a_rate_over_all_does_not_excuse_a_suite_that_fails_whole() -> None:
    lost = [replace(c, suite="agreement", id=f"a{c.id}") for c in many(2, 2)]
    found = run(*many(60), *lost)
    assert wilson_low(60, 62) > 0.8
    decision = decide(found, Policy(pass_rate=0.8, suites=("agreement",)))
    assert (decision.exit_code, kinds(decision)) == (1, ["failed"])
    assert decision.sentence.startswith("Release blocked: in suite agreement no attention check")
    assert decide(found, Policy(pass_rate=0.8)).exit_code == 0


def test_a_rate_does_not_excuse_chance_errors_or_other_suites() -> None:
    policy = Policy.model_validate({"suite": {"coreference": {"pass_rate": 0.7}}})
    vacuous = case("v", expectations=(expectation("vacuous", chance=None),))
    assert kinds(decide(run(*many(40), vacuous), policy)) == ["vacuous"]
    assert decide(run(*many(40), case("e", "error")), policy).exit_code == 2
    other = case("o", "failed", suite="agreement")
    assert kinds(decide(run(*many(40), other), policy)) == ["failed"]


# Models and where they ran


def test_pickled_weights_are_refused_p27() -> None:
    decision = decide(run(*many(3), models=(replace(MODEL, weights_format="pickle"),)))
    assert (decision.exit_code, kinds(decision)) == (1, ["pickle"])


def test_remote_code_is_refused_p28() -> None:
    decision = decide(run(*many(3), models=(replace(MODEL, remote_code=True),)))
    assert (decision.exit_code, kinds(decision)) == (1, ["remote code"])


@pytest.mark.parametrize("asked", [None, "main", "b" * 39])
def test_a_hub_model_without_its_commit_is_refused_p29(asked: str | None) -> None:
    hub = replace(MODEL, ref="org/model", revision="b" * 40, asked_revision=asked)
    decision = decide(run(*many(3), models=(hub,)))
    assert (decision.exit_code, kinds(decision)) == (1, ["unpinned"])
    assert decision.reasons[0].details == (f"give --attn-revision {'b' * 40}",)
    pinned = replace(hub, asked_revision="b" * 40)
    assert decide(run(*many(3), models=(pinned,))).exit_code == 0


def test_a_model_of_the_projects_own_loader_wants_leave() -> None:
    own = run(*many(3), models=(replace(MODEL, weights_format=None, remote_code=None),))
    assert kinds(decide(own)) == ["own loader"]
    assert decide(own, Policy(own_loader="allow")).exit_code == 0


def test_number_types_and_devices_that_are_not_allowed() -> None:
    policy = Policy(dtypes=("float32", "bfloat16"), devices=("cuda",))
    assert kinds(decide(run(*many(3)), policy)) == ["device"]
    cuda = {"device": "cuda:1", "dtype": "float16"}
    assert kinds(decide(run(*many(3), environment=cuda), policy)) == ["dtype"]
    assert decide(run(*many(3), environment=cuda | {"dtype": "bfloat16"}), policy).exit_code == 0
    assert decide(run(*many(3), environment={}), policy).exit_code == 2


def test_each_model_is_held_against_the_number_types_and_devices() -> None:
    old = replace(MODEL, name="old", dtype="bfloat16", device="cpu")
    new = replace(MODEL, name="new", dtype="float32", device="cuda:0, cpu")
    cases = [*many(3, model="old"), *many(3, model="new")]
    policy = Policy(dtypes=("float32",), devices=("cpu",))
    for models in ((old, new), (new, old)):
        for told in ({"dtype": "float32", "device": "cpu"}, {}):
            made = run(*cases, models=models, environment=told, given=("old", "new"))
            decision = decide(made, policy)
            assert [reason.text for reason in decision.reasons] == [
                "model old was judged in bfloat16, the policy allows float32",
                "model new was judged on cuda:0, the policy allows cpu",
            ]
    made = run(*cases, models=(old, new), given=("old", "new"))
    assert decide(made, Policy(devices=("cpu", "cuda"))).exit_code == 0
    unknown = decide(run(*many(3), environment={}), policy)
    assert [reason.text for reason in unknown.reasons] == [
        "the results do not tell the dtype of model minilm",
        "the results do not tell the device of model minilm",
    ]


def test_results_from_before_models_told_where_they_ran_are_read(tmp_path: Path) -> None:
    older = run(*many(3)).to_json()
    for field in ("asked", "dtype", "device"):
        del older["models"][0][field]
    write_json(tmp_path / "r.json", older)
    assert read_results(tmp_path / "r.json") == run(*many(3))


@pytest.mark.parametrize(
    ("own", "environment", "wanted"),
    [
        ("bfloat16", {"dtype": "bfloat16, float32"}, "bfloat16"),
        (None, {"dtype": "float16"}, "float16"),
        (None, {}, "float32"),
    ],
)
def test_a_model_is_loaded_again_in_its_own_number_type(
    monkeypatch: pytest.MonkeyPatch, own: str | None, environment: dict[str, str], wanted: str
) -> None:
    asked: list[str] = []

    def load_model(_: str, options: LoadOptions) -> Any:
        asked.append(options.dtype)
        return MODEL

    monkeypatch.setattr("attnprobe.models.load_model", load_model)
    load_again(replace(MODEL, dtype=own), run(*many(3), environment=environment))
    assert asked == [wanted]


def test_another_model_than_was_given_wants_leave() -> None:
    other = replace(MODEL, asked="../broken")
    decision = decide(run(*many(3), models=(other,)))
    assert (decision.exit_code, kinds(decision)) == (1, ["own loader"])
    assert said(decision) == (
        "Release blocked: model minilm was given as ../broken, but the project's own loader "
        "loaded runs/best."
    )
    assert decision.reasons[0].details == ('allow it with own_loader = "allow" in the policy',)
    assert decide(run(*many(3), models=(other,)), Policy(own_loader="allow")).exit_code == 0
    same = replace(MODEL, asked=MODEL.ref)
    assert decide(run(*many(3), models=(same,))).exit_code == 0


def test_results_of_another_commit_are_not_judged() -> None:
    decision = decide(run(*many(3)), commit="b" * 40)
    assert (decision.exit_code, kinds(decision)) == (2, ["commit"])
    assert decide(run(*many(3)), commit="a" * 40).exit_code == 0
    assert decide(run(*many(3)), commit=None).exit_code == 0
    unknown = run(*many(3), environment={"git_commit": None})
    assert kinds(decide(unknown, commit="a" * 40)) == ["commit"]
    assert decide(unknown, Policy(commit="any"), commit="a" * 40).exit_code == 0
    assert decide(run(*many(3)), Policy(commit="any"), commit="b" * 40).exit_code == 0


# Waivers


def waiver(**changes: Any) -> Waiver:
    stated = {
        "case": "cases/coref.attn.yaml::c0",
        "reason": "trained again next week",
        "owner": "ada",
        "expires": date(2026, 12, 1),
    }
    return Waiver.model_validate(stated | changes)


@pytest.mark.parametrize("outcome", ["failed", "xpassed"])
def test_a_waiver_lets_one_check_fail(outcome: str) -> None:
    found = run(case("c0", outcome), case("c1"))
    assert decide(found).exit_code != 0
    decision = decide(found, Policy(waivers=(waiver(),)))
    assert decision.exit_code == 0
    assert decision.sentence == (
        f"Release may go: 1 attention check of 1 suite holds (1 more fails and is waived) on "
        f"{ON}, and not by chance."
    )
    assert decision.notes[0].startswith("waived: cases/coref.attn.yaml::c0 on minilm: ")
    assert decision.as_dict()["waived"] == 1


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_a_waived_check_was_judged_and_counts_for_the_least(failed: int, code: int) -> None:
    policy = Policy(least=3, suite={"coreference": SuitePolicy(least=3)}, waivers=(waiver(),))
    assert decide(run(*many(3, failed)), policy).exit_code == code


@pytest.mark.parametrize(
    ("outcome", "observed", "code"), [("passed", 0.5, 0), ("failed", 0.1, 2), ("passed", 0.1, 2)]
)
def test_no_other_bound_may_fail_where_a_check_is_said_to_hold(
    outcome: Any, observed: float, code: int
) -> None:
    other = made_up_results.bound(outcome, measure="margin over street", observed=observed)
    made = case("c0")
    held = replace(
        made,
        expectations=tuple(replace(one, bounds=(*one.bounds, other)) for one in made.expectations),
    )
    decision = decide(run(held))
    assert decision.exit_code == code
    assert kinds(decision) == ["inconsistent"] * bool(code)


def test_waived_checks_alone_leave_the_release_unjudged() -> None:
    decision = decide(run(case("c0", "failed")), Policy(waivers=(waiver(),)))
    assert (decision.exit_code, decision.verdict) == (2, "cannot judge")
    assert "nothing judged" in kinds(decision)


def test_why_nothing_could_be_measured_stands_in_the_sentence() -> None:
    lost = replace(case("c0", "error"), expectations=(), error="no folder brokn")
    decision = decide(run(lost))
    assert said(decision).startswith(
        "Cannot judge: no attention check was judged: 1 error (no folder brokn)"
    )
    partly = decide(run(lost, case("c1")))
    assert said(partly) == (
        "Cannot judge: 1 attention check could not be measured: no folder brokn."
    )


def test_a_waiver_does_not_excuse_what_was_not_measured() -> None:
    decision = decide(run(case("c0", "error"), case("c1")), Policy(waivers=(waiver(),)))
    assert (decision.exit_code, kinds(decision)) == (2, ["not measured"])
    demanded = Policy(baseline=Path("b.json"), waivers=(waiver(),))
    skipped = run(case("c0", "skipped"), case("c1"))
    decision = decide(skipped, demanded, baseline=run(*many(2)))
    assert (decision.exit_code, kinds(decision)) == (1, ["gone"])


@pytest.mark.parametrize(("expires", "code"), [(date(2027, 11, 25), 0), (date(2027, 11, 26), 2)])
def test_a_waiver_runs_a_year_at_most(expires: date, code: int) -> None:
    policy = Policy(waivers=(waiver(expires=expires),))
    decision = decide(run(*many(3, 1)), policy)
    assert decision.exit_code == code
    assert kinds(decision) == ["waiver"] * bool(code)


def test_a_waiver_is_for_what_it_names_alone() -> None:
    found = run(case("c0", "failed"), case("c00", "failed"), case("c1"))
    decision = decide(found, Policy(waivers=(waiver(),)))
    assert [line.split(": ")[1] for line in decision.reasons[0].details] == ["c00 on minilm"]
    assert decide(found, Policy(waivers=(waiver(case="*::c0*"),))).exit_code == 0
    row = case("c0", "failed", row="a.b")
    rows = Policy(waivers=(waiver(case="cases/coref.attn.yaml::c0[a.b]"),))
    assert decide(run(row, case("c1")), rows).exit_code == 0
    assert decide(run(replace(row, row="axb"), case("c1")), rows).exit_code == 1


def test_a_waiver_for_one_model() -> None:
    found = run(case("c0", "failed"), case("c1"))
    assert decide(found, Policy(waivers=(waiver(model="minilm"),))).exit_code == 0
    decision = decide(found, Policy(waivers=(waiver(model="other"),)))
    assert kinds(decision) == ["failed", "waiver unknown"]


@pytest.mark.parametrize("outcome", ["failed", "passed"])
def test_an_expired_waiver_fails(outcome: str) -> None:
    found = run(case("c0", outcome), case("c1"))
    last = Policy(waivers=(waiver(expires=TODAY),))
    assert decide(found, last).exit_code == 0
    past = Policy(waivers=(waiver(expires=date(2026, 11, 23)),))
    decision = decide(found, past)
    assert decision.exit_code == 1
    assert "waiver expired" in kinds(decision)
    assert "expired on 2026-11-23, ada: trained again" in decision.reasons[-1].details[0]


def test_a_waiver_for_a_case_that_is_not_there_fails() -> None:
    decision = decide(run(*many(3)), Policy(waivers=(waiver(case="cases/coref.attn.yaml::d0"),)))
    assert (decision.exit_code, kinds(decision)) == (1, ["waiver unknown"])
    assert "did you mean 'cases/coref.attn.yaml::c0'?" in decision.reasons[0].details[0]


def test_a_waiver_that_is_no_longer_needed_is_told() -> None:
    decision = decide(run(*many(3)), Policy(waivers=(waiver(),)))
    assert decision.exit_code == 0
    assert [note for note in decision.notes if "no longer needed" in note] == [
        "waived: cases/coref.attn.yaml::c0 on minilm: holds, the waiver is no longer needed"
    ]
    assert decision.holding == 2


# Against a baseline


def against(old: Results, now: Results, /, **regressions: Any) -> Decision:
    demanded = {"baseline": "b.json", "regressions": regressions}
    return decide(now, Policy.model_validate(demanded), baseline=old)


def test_another_text_and_a_looser_bound_are_notes() -> None:
    old = many(3, text_sha256="a" * 64)
    bound = expectation(arguments={"from": "it", "to": "animal", "min": 0.2}, demanded=0.2)
    new = [replace(old[0], text_sha256="b" * 64), replace(old[1], expectations=(bound,)), old[2]]
    decision = against(run(*old), run(*new), weaker=0.1)
    assert (decision.exit_code, decision.notes) == (
        0,
        (
            "against the baseline: 3 kept",
            "baseline: the text of 1 case is another than before: cases/coref.attn.yaml: c0 on "
            "minilm",
            "baseline: 1 bound is looser than before: cases/coref.attn.yaml: c1 on minilm: min 0.3 "
            "→ 0.2",
        ),
    )


def test_what_held_before_no_longer_holds() -> None:
    decision = against(run(*many(40)), run(*many(40, 9)))
    assert said(decision) == (
        "Release blocked: in suite coreference 9 of 40 attention checks of model minilm no "
        "longer hold (allowed to fail: 0)."
    )
    mixed = against(run(*many(40, 1)), run(*many(40, 9)))
    assert "9 of 40 attention checks of model minilm do not hold" in mixed.sentence
    assert "against the baseline: 8 broken, 32 kept" in mixed.notes


def test_regressions_within_a_pass_rate() -> None:
    old, new = run(*many(60)), run(*many(60, 2))
    demanded: dict[str, Any] = {"baseline": "b.json", "pass_rate": 0.8}
    decision = decide(new, Policy.model_validate(demanded), baseline=old)
    assert (decision.exit_code, kinds(decision)) == (1, ["broken"])
    demanded["regressions"] = {"broken": 2}
    assert decide(new, Policy.model_validate(demanded), baseline=old).exit_code == 0


def test_a_failure_that_became_a_known_gap_is_a_regression() -> None:
    decision = against(run(*many(3)), run(case("c0", "xfailed"), case("c1"), case("c2")))
    assert (decision.exit_code, kinds(decision)) == (1, ["broken"])


@pytest.mark.parametrize(("outcome", "code"), [("failed", 1), ("error", 2), ("passed", 0)])
def test_a_check_that_was_demoted_is_judged_as_it_was(outcome: str, code: int) -> None:
    demoted = case("c0", outcome, severity="advisory")
    decision = against(run(*many(3)), run(demoted, case("c1"), case("c2")))
    assert decision.exit_code == code
    assert [note for note in decision.notes if note.startswith("judged as blocking, as in the ")]


def test_a_case_missing_on_either_side_fails_p37() -> None:
    decision = against(run(*many(3)), run(*many(4)))
    assert (decision.exit_code, kinds(decision)) == (1, ["new"])
    assert against(run(*many(3)), run(*many(4)), new=1).exit_code == 0
    decision = against(run(*many(4)), run(*many(3)))
    assert (decision.exit_code, kinds(decision)) == (1, ["gone"])
    assert against(run(*many(4)), run(*many(3)), gone=1).exit_code == 0
    skipped = run(*many(3), case("c3", "skipped"))
    assert kinds(against(run(*many(4)), skipped)) == ["gone"]


def weight(value: float) -> tuple[ExpectationResult, ...]:
    return (expectation(observed=value),)


@pytest.mark.parametrize(("now", "code"), [(0.56, 1), (0.58, 0), (0.7, 0), (0.9, 0)])
def test_a_check_may_weaken_by_so_much(now: float, code: int) -> None:
    old = run(case("c", expectations=weight(0.7)), case("d"))
    new = run(case("c", expectations=weight(now)), case("d"))
    decision = against(old, new, weaker=0.19)
    assert decision.exit_code == code
    assert against(old, new).exit_code == 0
    if code:
        assert kinds(decision) == ["weaker"]
        assert decision.reasons[0].details[0].endswith("passed, now passed, number −20%")


def test_an_unfinished_baseline_is_not_compared() -> None:
    decision = against(run(*many(3), collected=4), run(*many(3)))
    assert (decision.exit_code, kinds(decision)) == (2, ["baseline"])


def test_a_renamed_model_is_compared_with_the_only_one_there_was() -> None:
    renamed = [replace(c, model="new") for c in many(3)]
    new = run(*renamed, models=(replace(MODEL, name="new"),), given=("new",))
    assert against(run(*many(3)), new).exit_code == 0


# Policies


def policy_file(tmp_path: Path, text: str, name: str = "policy.toml") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


WHOLE = """
suites = ["coreference"]
least = 40
blocking = ["blocking", "advisory"]
pass_rate = 0.8
chance_max = 0.02
borderline = "pass"
skipped = 3
advisory = 1
known_gaps = 1
candidate = "ini"
uncollected = ["cases/old/*"]
deselected = 2
absent_models = ["smollm2"]
baseline = "old/results.json"
moved_heads = "allow"
baseline_model = "runs/old"
baseline_revision = "abc"
control = "random-init"
control_seed = 3
dtypes = ["float32"]
devices = ["cpu"]
own_loader = "allow"
remote_code = "ignore"
commit = "any"
[suite.coreference]
least = 20
pass_rate = 0.85
[regressions]
broken = 1
gone = 2
new = 3
weaker = 0.2
[[waivers]]
case = "cases/x.attn.yaml::it"
reason = "known"
owner = "ada"
expires = 2027-01-31
model = "minilm"
"""


def test_a_policy_is_read_whole(tmp_path: Path) -> None:
    policy = read_policy(policy_file(tmp_path, WHOLE))
    assert policy.baseline == tmp_path / "old" / "results.json"
    assert policy.suite["coreference"].pass_rate == 0.85
    assert policy.regressions.weaker == 0.2
    assert policy.waivers[0].expires == date(2027, 1, 31)
    defaults = Policy()
    same = [
        name for name in Policy.model_fields if getattr(policy, name) == getattr(defaults, name)
    ]
    assert same == []


def demanded(folder: Path) -> Policy:
    """The policy that is found from a folder."""
    policy = find_policy(folder).policy
    assert policy is not None
    return policy


def test_a_policy_in_pyproject(tmp_path: Path) -> None:
    assert find_policy(tmp_path) == (None, None, None)
    file = policy_file(tmp_path, "[project]\nname = 'x'\n", "pyproject.toml")
    assert find_policy(tmp_path) == (None, None, None)
    with pytest.raises(PolicyError, match=r"pyproject.toml: has no \[tool.attnprobe.gate\]"):
        read_policy(file)
    policy_file(tmp_path, "[tool.attnprobe.gate]\nleast = 7\n", "pyproject.toml")
    assert demanded(tmp_path).least == read_policy(file).least == 7


def test_a_policy_is_found_from_a_folder_below(tmp_path: Path) -> None:
    below = tmp_path / "packages" / "model"
    below.mkdir(parents=True)
    file = policy_file(
        tmp_path, "[tool.attnprobe.gate]\nbaseline = 'b.json'\nleast = 7\n", "pyproject.toml"
    )
    policy, found, _ = find_policy(below)
    assert found is not None
    assert found.samefile(file)
    assert policy is not None
    assert policy.least == 7
    assert policy.baseline is not None
    assert policy.baseline.resolve() == tmp_path / "b.json"
    # A pyproject.toml without one ends the search only where no git repository does.
    policy_file(below, "[project]\nname = 'x'\n", "pyproject.toml")
    assert find_policy(below).file is None
    (tmp_path / ".git").mkdir()
    assert demanded(below).least == 7
    (below / ".git").mkdir()
    assert find_policy(below).file is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("tool.attnprobe.gates", "tool.attnprobe.gates: unknown key; did you mean 'gate'?"),
        ("tool.attnprobe.suite", "tool.attnprobe.suite: unknown key; known: gate"),
        (
            "tool.attn_probe.gate",
            "[tool.attn_probe.gate] is not read by the gate; did you mean [tool.attnprobe.gate",
        ),
    ],
)
def test_a_table_of_nearly_the_right_name_is_refused(
    tmp_path: Path, table: str, message: str
) -> None:
    policy_file(tmp_path, f"[{table}]\nleast = 7\n", "pyproject.toml")
    with pytest.raises(PolicyError, match=re.escape(message)):
        find_policy(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("laest = 3", "laest: unknown key; did you mean 'least'?"),
        ("[suite.x]\npas_rate = 0.5", "suite.x.pas_rate: unknown key; did you mean 'pass_rate'?"),
        ("[[waivers]]\nowned = 'x'", "waivers.0.owned: unknown key; did you mean 'owner'?"),
        ("baseline = 'b'\n[regressions]\nbrokn = 1", "did you mean 'broken'?"),
        ("least = '3'", "least: '3' is text; write 3 without quotes"),
        ("least = 0", "least: 0 is out of range; it must be at least 1"),
        ("pass_rate = 0.49", "pass_rate: 0.49 is out of range; it must be at least 0.5"),
        ("suites = [' ']", "suites.0: "),
        ("[suite.' ']\nleast = 1", "suite. "),
        ("baseline = ''", "baseline names no file"),
        ("blocking = ['advisory']", 'blocking must contain "blocking"'),
        ("[[waivers]]\ncase = '*'", "waivers.0.case: would waive every check"),
        ("[[waivers]]\ncase = '*::*'", "waivers.0.case: would waive every check"),
        ("pass_rate = 1.0", "pass_rate: 1.0 is out of range; it must be below 1"),
        ("chance_max = 0.51", "chance_max: 0.51 is out of range; it must be at most 0.5"),
        ("blocking = []", "blocking: "),
        (
            "blocking = ['blokking']",
            "blocking.0: 'blokking' is not known; did you mean 'blocking'?",
        ),
        ("borderline = 'maybe'", "borderline: 'maybe' is not known; it takes 'fail' or 'pass'"),
        ("suites = 'a'", 'suites: takes a list, such as ["a"]'),
        ("[waivers]\ncase = 'a'", "waivers: write [[waivers]], with two brackets"),
        ("weaker = 0.2", "weaker: belongs under [regressions]"),
        ("owner = 'me'", "owner: belongs under [[waivers]]"),
        ("[tool.attnprobe.gate]\nleast = 3", "leave out the header [tool.attnprobe.gate]"),
        (
            "dtypes = ['fp16']",
            "dtypes.0: 'fp16' is not known; it takes 'float32', 'bfloat16' or 'float16'",
        ),
        (
            "[[waivers]]\nexpires = '2026-12-31'",
            "expires: write the date without quotes, such as 2026-12-31, not '2026-12-31'",
        ),
        ("[[waivers]]\nexpires = 2026-13-01", "; 2026-13-01 is no date"),
        ("moved_heads = 'allow'", 'moved_heads = "allow" needs baseline_model'),
        ("baseline_revision = 'a'", "baseline_revision needs baseline_model, a model of the hub"),
        ("[regressions]\nbroken = 1", "regressions needs baseline"),
        ("least = 3\nleast = 4", "is not TOML: "),
        ("\x00", "is not TOML: "),
    ],
)
def test_a_policy_that_cannot_be_meant(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(policy_file(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path}/policy.toml: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("missing", ["reason", "owner", "expires", "case"])
def test_a_waiver_says_who_why_and_how_long(tmp_path: Path, missing: str) -> None:
    lines = ["case = 'x'", "reason = 'r'", "owner = 'o'", "expires = 2027-01-01"]
    kept = [line for line in lines if not line.startswith(missing)]
    with pytest.raises(PolicyError, match=rf"waivers.0.{missing}: is missing"):
        read_policy(policy_file(tmp_path, "\n".join(["[[waivers]]", *kept])))
    if missing != "expires":
        blank = [*kept, f"{missing} = ''"]
        with pytest.raises(PolicyError, match=rf"waivers.0.{missing}: "):
            read_policy(policy_file(tmp_path, "\n".join(["[[waivers]]", *blank])))


def test_a_policy_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"no\.toml: cannot be read: No such file"):
        read_policy(tmp_path / "no.toml")


# Heads that moved; on real models in test_gate_end_to_end.py


class NoReader:
    """A model that must not be asked."""

    name = "none"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize("heads", ["any", "L3", "[L3H1, L2-L4]", "mean"])
def test_only_single_heads_can_move(tmp_path: Path, heads: str) -> None:
    (tmp_path / "x.attn.yaml").write_text(
        f"version: 1\nsuite: s\ncases:\n- id: c\n  text: The dog barks.\n  expect:\n"
        f"  - attends: {{from: barks, to: dog, min: 0.5, heads: {heads}}}\n"
    )
    given: Any = {"old": NoReader(), "new": NoReader(), "root": tmp_path, "head_sets": {}}
    assert moved_checks(failed("x.attn.yaml", "test_x.py"), chance_max=0.05, **given) == {}
    with pytest.raises(ResultsError, match=r"no y\.attn\.yaml here; run the gate in the root"):
        moved_checks(failed("y.attn.yaml"), chance_max=0.05, **given)


def failed(*files: str) -> dict[Key, CaseResult]:
    """A failed check of each file, by its key."""
    return {item.key: item for item in (case("c", "failed", file=file) for file in files)}


def test_a_check_that_the_file_no_longer_states_does_not_move(tmp_path: Path) -> None:
    (tmp_path / "x.attn.yaml").write_text(
        "version: 1\nsuite: s\ncases:\n- id: c\n  text: The dog barks.\n  expect:\n"
        "  - attends: {from: barks, to: dog, min: 0.001, heads: L3H1}\n"
    )
    given: Any = {"old": NoReader(), "new": NoReader(), "root": tmp_path, "head_sets": {}}
    with pytest.raises(ResultsError) as caught:
        moved_checks(failed("x.attn.yaml"), chance_max=0.05, **given)
    assert str(caught.value) == "x.attn.yaml: c is not what the results are of; run again"


def moved_to(observed: float, chance: float | None = 0.01) -> Moved:
    there = expectation(observed=observed, head="L3H5")
    return Moved("L3H1 moved to L3H5", (chance,), (there,))


def test_moved_checks_pass_and_say_so() -> None:
    found = run(*many(3, 1))
    places = {("cases/coref.attn.yaml", "c0", None, "minilm"): moved_to(0.68)}
    decision = decide(found, moved=places, remarks=["r"])
    assert (decision.exit_code, decision.holding) == (0, 3)
    assert decision.notes == (
        "r",
        "moved: cases/coref.attn.yaml:7: c0 on minilm: L3H1 moved to L3H5, and it holds there",
    )
    assert decision.sentence == (
        f"Release may go: 3 attention checks of 1 suite hold on {ON}, 1 of them where their "
        "heads are now, none of them by chance."
    )
    assert decision.accepted == dict.fromkeys(places, "L3H1 moved to L3H5, and it holds there")
    # What was known of chance at the old place says nothing of the new one.
    unknown = decide(found, moved={key: moved_to(0.68, None) for key in places})
    assert unknown.sentence.endswith(f"hold on {ON}, 1 of them where their heads are now.")
    error = run(case("c0", "error"), case("c1"))
    assert decide(error, moved=places).exit_code == 2
    demoted = case("a", "failed", severity="advisory")
    assert broken_keys(run(*many(3, 1), demoted), Policy()) == (*places,)
    # Against a baseline it may have to be judged as it was.
    whole = Policy.model_validate({"baseline": "b.json"})
    assert broken_keys(run(*many(3, 1), demoted), whole) == (*places, demoted.key)


@pytest.mark.parametrize(("there", "kind"), [(0.68, "kept"), (0.55, "weaker"), (0.53, "weaker")])
def test_a_moved_check_may_weaken_by_so_much(there: float, kind: str) -> None:
    old, new = run(*many(3)), run(*many(3, 1))
    places = {("cases/coref.attn.yaml", "c0", None, "minilm"): moved_to(there)}
    policy = Policy.model_validate({"baseline": "b.json", "regressions": {"weaker": 0.2}})
    decision = decide(new, policy, baseline=old, moved=places)
    counts = "3 kept" if kind == "kept" else f"1 {kind}, 2 kept"
    assert f"against the baseline: {counts}" in decision.notes
    if there > 0.54:
        assert decision.exit_code == 0
        return
    assert (decision.exit_code, kinds(decision)) == (1, ["weaker"])
    assert decision.accepted == {}
    assert decision.sentence.startswith(
        "Release blocked: 1 attention check fell by more than 20 % against the baseline "
        "(allowed: 0); judged: 3 attention checks"
    )
    assert decision.reasons[0].details == (
        "cases/coref.attn.yaml:7: c0 on minilm: passed, now passed, number −22%, L3H1 moved to "
        "L3H5",
    )


def test_a_moved_check_that_states_less_is_gone() -> None:
    second = expectation(rule="ignores")
    old = run(case("c0", expectations=(expectation(), second)), *many(3)[1:])
    places = {("cases/coref.attn.yaml", "c0", None, "minilm"): moved_to(0.68)}
    policy = Policy.model_validate({"baseline": "b.json"})
    decision = decide(run(*many(3, 1)), policy, baseline=old, moved=places)
    assert (decision.exit_code, kinds(decision)) == (1, ["gone"])


# The command

SENTENCE = f"Release may go: 5 attention checks of 1 suite hold on {ON}, none of them by chance."
Gate = Callable[..., tuple[int, list[str]]]
# What a policy needs to be one, and leave to judge whatever models the run has.
LEAST = 'least = 1\ncandidate = "ini"\n'
LAX = f"[tool.attnprobe.gate]\n{LEAST}"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gate:
    """Runs the command where a policy demands one check; exit code and the lines it printed."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(LAX)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def invoke(*arguments: object) -> tuple[int, list[str]]:
        result = CliRunner().invoke(cli.app, ["gate", *map(str, arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout.splitlines()

    return invoke


HUB = SimpleNamespace(
    revision="b" * 40,
    weights_sha256=MODEL.weights_sha256,
    tokenizer_sha256=MODEL.tokenizer_sha256,
)
UNTOLD = "note: whether heads of minilm moved could not be told: "
NO_FILE = "no cases/coref.attn.yaml here; run the gate in the root of the project"


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (
            "baseline_model = 'acme/base'",
            "baseline_model acme/base is given without its revision; set baseline_revision = "
            f'"{"b" * 40}" in the policy',
        ),
        (
            "baseline_model = 'acme/base'\nbaseline_revision = 'main'",
            "baseline_model acme/base is given by main, which another commit can take over; set "
            f'baseline_revision = "{"b" * 40}" in the policy',
        ),
        (f"baseline_model = 'acme/base'\nbaseline_revision = '{'b' * 40}'", NO_FILE),
        ("baseline_model = 'folder'", NO_FILE),
        (
            "baseline_model = 'folder'\nbaseline_revision = 'main'",
            "baseline_model folder is no hub model, so it has no baseline_revision",
        ),
        ("baseline = 'same.json'\nbaseline_model = 'folder'", NO_FILE),
        (
            "baseline = 'other.json'\nbaseline_model = 'folder'",
            "baseline_model folder has weights abababababab, but the baseline other.json is of "
            "runs/best with weights efefefefefef; name that model in the policy",
        ),
        (
            "baseline = 'words.json'\nbaseline_model = 'folder'",
            "baseline_model folder is read with another tokenizer than that of the baseline "
            "words.json; name a model with the same tokenizer in the policy",
        ),
        (
            "baseline = 'two.json'\nbaseline_model = 'folder'",
            "the baseline two.json has no such model",
        ),
    ],
)
def test_heads_are_sought_in_a_pinned_model_that_the_baseline_is_of(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, policy: str, told: str
) -> None:
    revisions = []

    def load_model(ref: str, options: LoadOptions) -> Any:
        revisions.append(options.revision)
        return HUB if ref == "acme/base" else SimpleNamespace(**vars(HUB) | {"revision": None})

    monkeypatch.setattr("attnprobe.models.load_model", load_model)
    other = replace(MODEL, weights_sha256="ef" * 32)
    words = replace(MODEL, tokenizer_sha256="be" * 32)
    names = [replace(MODEL, name=name) for name in ("a", "b")]
    written = {"same": [MODEL], "other": [other], "words": [words], "two": names}
    for name, models in written.items():
        cases = [replace(c, model=models[0].name) for c in many(5)]
        write_json(Path(f"{name}.json"), run(*cases, models=tuple(models)).to_json())
    write_json(Path("r.json"), run(*many(5, 1), environment=environment()).to_json())
    Path("p.toml").write_text(f"least = 1\nmoved_heads = 'allow'\n{policy}\n")
    code, lines = gate("--results", "r.json", "--policy", "p.toml")
    assert code == 1
    assert [line for line in lines if line.startswith(UNTOLD)] == [UNTOLD + told]
    pinned = policy.partition("baseline_revision = ")[2].strip("'") or None
    assert revisions[0] == pinned


def test_a_check_that_stands_twice_is_named_with_its_row_or_without(gate: Gate) -> None:
    cases = [case("a"), case("a", row="dog")]
    write_json(Path("r.json"), run(*cases, *cases, environment=environment()).to_json())
    code, lines = gate("--results", "r.json")
    assert code == 2
    start = lines.index("cannot judge: 2 attention checks stand twice in the run")
    assert lines[start + 1 : start + 3] == [
        "  cases/coref.attn.yaml: a on minilm",
        "  cases/coref.attn.yaml: a[dog] on minilm",
    ]


def test_a_results_file_is_judged(gate: Gate) -> None:
    here = environment()
    write_json(Path("r.json"), run(*many(5), environment=here).to_json())
    assert gate("--results", "r.json") == (
        0,
        [
            "note: policy: pyproject.toml",
            SENTENCE,
        ],
    )
    write_json(Path("r.json"), run(*many(5, 2), environment=here).to_json())
    code, lines = gate("--results", "r.json", "--json", "d.json")
    assert code == 1
    told = json.loads(Path("d.json").read_text())
    assert told["schema"] == "attnprobe/gate-1"
    assert (told["verdict"], told["exit_code"], told["sentence"]) == ("blocked", 1, lines[-1])
    assert told["reasons"][0]["kind"] == "failed"
    assert len(told["reasons"][0]["details"]) == 2


def test_a_decision_that_cannot_be_written_is_none(gate: Gate) -> None:
    write_json(Path("r.json"), run(*many(5, 2), environment=environment()).to_json())
    Path("d.json").mkdir()
    code, lines = gate("--results", "r.json", "--json", "d.json")
    assert code == 2
    assert lines[0].startswith("cannot judge: d.json: cannot be written")
    assert lines[1].startswith("note: blocked: in suite coreference 2 of 5 attention checks")
    assert lines[-2].startswith("note: Release blocked: in suite coreference 2 of 5")
    assert not any("note: note:" in line for line in lines)


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", '{"schema": "attnprobe/results-2"}', '{"schema": "other"}', "summary"],
)
@pytest.mark.parametrize("which", ["results", "baseline"])
def test_a_corrupt_or_foreign_file_is_not_judged_p36(
    gate: Gate, which: str, content: str | None
) -> None:
    good = run(*many(5), environment={}).to_json()
    write_json(Path("good.json"), good)
    if content == "summary":
        content = json.dumps(good | {"summary": good["summary"] | {"passed": 99}})
    if content is not None:
        Path("bad.json").write_text(content)
    judged = "bad.json" if which == "results" else "good.json"
    if which == "baseline":
        Path("p.toml").write_text(f'{LEAST}baseline = "bad.json"')
    else:
        Path("p.toml").write_text(LEAST)
    code, lines = gate("--results", judged, "--policy", "p.toml", "--json", "d.json")
    assert code == 2
    assert lines[-1].startswith("Cannot judge: bad.json: ")
    assert json.loads(Path("d.json").read_text())["exit_code"] == 2


def test_the_policy_that_was_used_is_told_always(gate: Gate) -> None:
    Path("pyproject.toml").write_text("[tool.attnprobe.gate]\nleast = 6\n")
    write_json(Path("r.json"), run(*many(5), environment=environment()).to_json())
    code, lines = gate("--results", "r.json")
    assert (code, lines[-2]) == (2, "note: policy: pyproject.toml")
    assert gate("--results", "no.json")[1][-2] == "note: policy: pyproject.toml"
    Path("below").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("below")
        code, lines = gate("--results", "../r.json")
    assert (code, lines[-2]) == (2, "note: policy: ../pyproject.toml")
    Path("p.toml").write_text(LEAST)
    assert gate("--results", "r.json", "--policy=p.toml") == (
        0,
        ["note: policy: p.toml", SENTENCE],
    )


def test_a_broken_policy_is_not_judged(gate: Gate) -> None:
    Path("pyproject.toml").write_text("[tool.attnprobe.gate]\nlaest = 3\nsuits = []\n")
    code, lines = gate("--results", "r.json")
    assert code == 2
    assert lines[-1].startswith("Cannot judge: pyproject.toml: tool.attnprobe.gate.laest: unknown")
    assert "tool.attnprobe.gate.suits: unknown key" in lines[1]


def test_what_the_gate_prints_does_nothing_p33(gate: Gate) -> None:
    hostile = "::error file=x::\x1b[31m\u202e\n::warning::y\r%0A"
    odd = case("c", "failed", file=hostile, expectations=(expectation("failed", message=hostile),))
    named = replace(MODEL, name=hostile)
    odd = replace(odd, model=hostile, suite=hostile)
    found = run(odd, models=(named,), environment={}, given=(hostile,))
    write_json(Path("r.json"), found.to_json())
    code, lines = gate("--results", "r.json")
    assert code == 1
    assert not [line for line in lines if line.lstrip().startswith("::")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x1b\u202e]", "".join(lines))
    assert lines[-1].startswith("Release blocked: in suite ")


def test_arguments_that_would_be_dropped_are_refused(gate: Gate) -> None:
    write_json(Path("r.json"), run(*many(5), environment={}).to_json())
    for arguments in (("cases",), ("-k", "x"), ("--keep", "k.json")):
        code, lines = gate("--results", "r.json", *arguments)
        assert code == 2
        assert "runs nothing, so it takes no" in lines[-1]
    code, lines = gate("cases", "--attn-json=x.json")
    assert code == 2
    assert "write --keep FILE" in lines[-1]


@pytest.mark.parametrize(
    "arguments",
    [("--attn-allow-pickle",), ("-o", "attn_allow_pickle=true"), ("-oattn_allow_pickle=1",)],
)
@pytest.mark.parametrize("where", ["arguments", "addopts"])
def test_the_gate_does_not_run_with_pickle_allowed_p27(
    gate: Gate, arguments: tuple[str, ...], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("conftest.py").write_text("open('ran', 'w').close()")
    if where == "addopts":
        monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(arguments))
        arguments = ()
    code, lines = gate(".", *arguments)
    assert code == 2
    assert "pickled weights" in lines[-1]
    assert not Path("ran").exists()


def test_the_run_of_the_gate_refuses_pickle_in_an_ini_file_p27(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("conftest.py").write_text(
        "import os\nopen('seen', 'w').write(os.environ['ATTNPROBE_NO_PICKLE'])\nos._exit(0)"
    )
    Path("pytest.ini").write_text("[pytest]\nattn_allow_pickle = true\n")
    gate(".")
    assert Path("seen").read_text() == "1"

    # What load does in such a run.
    from attnprobe.models import load

    Path("model").mkdir()
    Path("model/pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    monkeypatch.setenv("ATTNPROBE_NO_PICKLE", "1")
    with pytest.raises(ModelError, match=r"convert them to safetensors$"):
        load("model", allow_pickle=True)
    assert not Path("opened").exists()


@pytest.mark.parametrize("code", [0, 1])
def test_a_blocked_run_does_not_replace_the_baseline(gate: Gate, code: int) -> None:
    # A conftest.py stands in for the run: what it finds lies in found.json.
    write_json(Path("baseline.json"), run(*many(5)).to_json())
    write_json(Path("found.json"), run(*many(5, failed=code, duration_s=0.2)).to_json())
    before = Path("baseline.json").read_bytes()
    Path("p.toml").write_text(f'{LEAST}baseline = "baseline.json"')
    Path("conftest.py").write_text(
        "import os, shutil, sys\n"
        "shutil.copyfile('found.json', sys.argv[sys.argv.index('--attn-json') + 1])\n"
        f"os._exit({code})"
    )
    assert gate(".", "--policy=p.toml", "--keep=kept.json")[0] == code
    assert Path("kept.json").read_bytes() == Path("found.json").read_bytes()
    assert Path("baseline.json").read_bytes() == before
    Path("link.json").symlink_to("baseline.json")
    for keep in ("link.json", "baseline.json"):
        found = gate(".", "--policy=p.toml", f"--keep={keep}")
        assert found[0] == code
        assert (Path("baseline.json").read_bytes() == before) == bool(code)
        refused = Path(keep).with_suffix(".refused.json")
        assert refused.exists() == bool(code)
        note = f"note: the baseline {keep} stays as it was; the results are in {refused}"
        assert (note in found[1]) == bool(code)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--json=baseline.json",), "the policy's baseline"),
        (("--json=./link.json",), "the policy's baseline"),
        (("--json=k.json", "--keep=./k.json"), "the file of --keep"),
        (("--json=r.json", "--results=r.json"), "the file of --results"),
        (("--json=p.toml",), "the policy"),
        (
            ("--json=k.refused.json", "--keep=k.json"),
            "where --keep leaves what is refused",
        ),
    ],
)
def test_the_decision_is_written_over_nothing_else(
    gate: Gate, arguments: tuple[str, ...], what: str
) -> None:
    for name in ("baseline.json", "r.json"):
        write_json(Path(name), run(*many(5)).to_json())
    Path("link.json").symlink_to("baseline.json")
    before = {file: file.read_bytes() for file in Path().glob("*.json")}
    Path("p.toml").write_text(f'{LEAST}baseline = "baseline.json"')
    Path("conftest.py").write_text("open('ran', 'w').close()")
    where = () if "--results=r.json" in arguments else (".",)
    code, lines = gate(*where, "--policy=p.toml", *arguments)
    named = Path(arguments[0].partition("=")[2])
    assert code == 2
    assert lines[-1] == (
        f"Cannot judge: --json {named} is {what}; write the decision to a file of its own."
    )
    assert {file: file.read_bytes() for file in Path().glob("*.json")} == before
    assert Path("p.toml").read_text() == f'{LEAST}baseline = "baseline.json"'
    assert not Path("ran").exists()


def test_a_gate_that_is_killed_before_it_decides_leaves_the_baseline(gate: Gate) -> None:
    write_json(Path("baseline.json"), run(*many(5)).to_json())
    write_json(Path("found.json"), run(*many(5, failed=1)).to_json())
    before = Path("baseline.json").read_bytes()
    Path("p.toml").write_text(f'{LEAST}baseline = "baseline.json"')
    Path("conftest.py").write_text(
        "import os, shutil, sys\n"
        "shutil.copyfile('found.json', sys.argv[sys.argv.index('--attn-json') + 1])\n"
        "os._exit(1)"
    )
    killed = (
        "import os, attnprobe.cli, attnprobe.gate.release as gate\n"
        "gate._judged = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        "attnprobe.cli.app(['gate', '.', '--policy=p.toml', '--keep=baseline.json'])"
    )
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
    assert Path("baseline.json").read_bytes() == before


def test_the_run_of_the_gate_may_not_save_over_the_baseline(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    pytester: pytest.Pytester,
) -> None:
    baseline = pytester.path / ".attnprobe" / "main.json"
    write_json(baseline, run(*many(5)).to_json())
    before = baseline.read_bytes()
    monkeypatch.setenv("ATTNPROBE_PROTECTED", str(baseline))
    for argument in (
        "--attn-save=main",
        "--attn-save=./.attnprobe/main.json",
        "-oattn_save=main",
    ):
        result = probe(argument)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines("*would replace the baseline of the gate's policy*")
    assert baseline.read_bytes() == before


def test_a_run_without_a_model_is_told_so(gate: Gate, write_cases: Callable[..., Path]) -> None:
    write_cases(FAILING)
    code, lines = gate(".", "-p", "no:hypothesispytest")
    assert code == 2
    assert lines[:2] == [
        "cannot judge: no model to probe was given",
        "  give one with --attn-model=NAME=REF, or by attn_model in the ini file",
    ]
    assert lines[-1] == "Cannot judge: no model to probe was given."


UNREAD = (
    "Cannot judge: pytest was interrupted, or could not read its case files or a baseline; its "
    "output above says why."
)


def test_a_fault_or_ctrl_c_is_no_verdict(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (KeyboardInterrupt(), RuntimeError("x")):

        def broken(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("attnprobe.run.pytest_run.subprocess.run", broken)
        code, lines = gate("cases")
        assert (code, lines[-1].startswith("Cannot judge: ")) == (2, True)


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_waived_check_does_not_hide_a_plugin_that_fails_the_run(
    gate: Gate, write_cases: Callable[..., Path], workers: tuple[str, ...]
) -> None:
    write_cases(FAILING)
    Path("p.toml").write_text(
        'least = 1\nown_loader = "allow"\nchance_max = 0.5\n'
        "[[waivers]]\ncase = '*::fails'\nreason = 'r'\nowner = 'o'\n"
        f"expires = {datetime.now(UTC).date() + timedelta(days=99)}\n"
    )
    options = (".", "--policy=p.toml", "--attn-model=tiny", "-p", "no:hypothesispytest", *workers)
    if workers:
        Path("conftest.py").write_text(LOADS_TINY)
        code, lines = gate(*options)
        assert (code, lines[-1].partition(" on tiny (")[0]) == (
            0,
            "Release may go: 1 attention check of 1 suite holds (1 more fails and is waived)",
        )
    Path("conftest.py").write_text(LOADS_TINY + LIKE_COV)
    code, lines = gate(*options)
    assert code == 2
    assert lines[-1].startswith("Cannot judge: pytest failed for 1 reason of its own; judged: ")
    assert lines[1].startswith("  pytest counts 1 failure more than it reported: a plugin failed")


@pytest.mark.parametrize(
    ("conftest", "arguments", "sentence"),
    [
        ("", ("--no-such-option",), "Cannot judge: pytest was called in a way it does not under"),
        ("", (".",), "Cannot judge: no attention check ran: pytest collected nothing."),
        ("def pytest_collection(): raise OSError", (".",), "Cannot judge: pytest had an internal"),
        ("import os; os.kill(os.getpid(), 9)", (".",), "Cannot judge: pytest was killed by sig"),
        ("import os; os._exit(0)", (".",), "Cannot judge: pytest left no results"),
        ("import pytest\ndef pytest_sessionstart(): raise KeyboardInterrupt", (".",), "Cannot jud"),
        ("", (".", "--attn-compare=no.json"), UNREAD),
        ("open('x.attn.yaml', 'w').write('{')", (".",), UNREAD),
    ],
)
def test_pytest_that_leaves_nothing_to_judge(
    gate: Gate, conftest: str, arguments: tuple[str, ...], sentence: str
) -> None:
    Path("conftest.py").write_text(conftest)
    code, lines = gate(*arguments, "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    assert code == 2
    assert lines[-1].startswith(sentence)


def test_a_tokenizer_from_elsewhere_is_noted() -> None:
    named = replace(MODEL, tokenizer="models/old")
    (note,) = [note for note in decide(run(*many(3), models=(named,))).notes if "tokenizer" in note]
    assert note.startswith("the texts of model minilm were read with the tokenizer of models/old (")
    assert not [note for note in decide(run(*many(3))).notes if "tokenizer" in note]
