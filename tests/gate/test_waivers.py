"""Waivers let named checks fail for a while, and expire."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from attnprobe.gate import Policy, Waiver
from attnprobe.gate.policy import SuitePolicy
from tests.support import made_up_results
from tests.support.made_up_decisions import ON, TODAY, case, decide, kinds, many
from tests.support.made_up_results import run, said


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
