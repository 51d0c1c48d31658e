"""Checks whose heads moved; on real models in test_end_to_end.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.gate import Moved, Policy, broken_keys
from attnprobe.gate.moved import moved_checks
from attnprobe.results.records import CaseResult
from tests.support.made_up_decisions import ON, case, decide, expectation, kinds, many
from tests.support.made_up_results import run


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
    assert moved_checks(failed("x.attn.yaml", "test_x.py"), chance_max=0.05, **given) == ({}, {})
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
