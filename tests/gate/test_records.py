"""An outcome that its numbers contradict is not judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.gate.records import contradictions
from attnprobe.rules.base import Demand
from attnprobe.run.pytest_run import run_pytest
from tests.support.made_up_decisions import case, decide, expectation, kinds, many
from tests.support.made_up_results import run


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


@pytest.mark.usefixtures("forks")
def test_the_projects_own_suites_do_not_contradict_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    suites = ("patterns", "coreference", "flow", "relations", "translator-alignment")
    files = [f"cases/{suite}.attn.yaml" for suite in suites]
    done = run_pytest(["-q", "-p", "no:cacheprovider", *files], captures=True)
    assert done.status == 0, done.output
    assert done.results is not None
    stated = [e for item in done.results.items for e in item.expectations]
    assert len({entry.bounds[0].measure for entry in stated}) > 5
    found = [why for e in stated for why in contradictions(e)]
    assert found == []
