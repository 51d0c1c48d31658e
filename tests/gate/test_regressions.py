"""A run against its baseline: what no longer holds, weakened or went missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attnprobe.gate import Decision, Policy
from attnprobe.results.records import ExpectationResult, Results
from tests.support.made_up_decisions import case, decide, expectation, kinds, many
from tests.support.made_up_results import MODEL, run, said


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
