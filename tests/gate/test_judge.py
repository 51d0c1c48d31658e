"""The verdict of the release gate: what it lets go, what it blocks, and what it cannot judge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.verdicts import Chance
from attnprobe.gate import Policy
from tests.support.made_up_decisions import ON, case, decide, expectation, kinds, many
from tests.support.made_up_results import run, said


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
