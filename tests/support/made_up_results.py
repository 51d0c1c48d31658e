"""Results made up by hand: a model, a case, a run of some cases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from attnprobe.core.units import read_unit
from attnprobe.core.verdicts import Bound
from attnprobe.gate import Decision
from attnprobe.results.records import CaseResult, ExpectationResult, ModelResult, Results

MODEL = ModelResult(
    name="minilm",
    ref="runs/best",
    revision=None,
    weights_sha256="ab" * 32,
    tokenizer_sha256="cd" * 32,
    architecture="BertModel",
    layers=6,
    heads=12,
    sites=("encoder",),
    weights_format="safetensors",
    remote_code=False,
)


WEIGHT: Mapping[str, Any] = {
    "measure": "weight",
    "observed": 0.68,
    "relation": ">=",
    "demanded": 0.3,
}


def bound(outcome: Any = "passed", **changes: Any) -> Bound:
    """A bound on a weight; of another measure, in the unit that such a measure has."""
    numbers = {**WEIGHT, "outcome": outcome, **changes}
    return Bound(**{"unit": read_unit(numbers["measure"]), **numbers})


def expectation(
    outcome: Any = "passed", *, others: Sequence[Bound] = (), **changes: Any
) -> ExpectationResult:
    """An expectation by its outcome; changes of the deciding bound, or of its other fields.

    Without a number nothing was measured.
    """
    numbers = {name: changes.pop(name) for name in (*WEIGHT, "unit") if name in changes}
    alone = "borderline" if changes.get("borderline") else "passed"
    deciding = alone if outcome == "vacuous" else outcome
    measured = numbers.get("observed", 0) is not None
    stated = ExpectationResult(
        rule="attends",
        arguments={"from": "it", "to": "animal", "min": 0.3},
        outcome=outcome,
        message="weight 0.680, demanded >= 0.300",
        line=9,
        bounds=(bound(deciding, **numbers), *others) if measured else (),
        head="L3H1",
        heads_tried=1,
        sink=0.1,
    )
    return replace(stated, **changes)


def renumbered(stated: ExpectationResult, **changes: Any) -> ExpectationResult:
    """The expectation with another deciding number, or another measure of it."""
    first, *others = stated.bounds
    if "measure" in changes:
        changes.setdefault("unit", read_unit(changes["measure"]))
    return replace(stated, bounds=(replace(first, **changes), *others))


def case(
    id: str, outcome: Any = "passed", stated: ExpectationResult | None = None, **changes: Any
) -> CaseResult:
    """A case of one expectation that came out as the case did, unless it is given."""
    inner = {"passed": "passed", "xpassed": "passed", "error": "error"}.get(outcome, "failed")
    made = CaseResult(
        nodeid=f"cases/coref.attn.yaml::{id}",
        id=id,
        row=None,
        file="cases/coref.attn.yaml",
        line=7,
        suite="coreference",
        model="minilm",
        severity="blocking",
        marks=(),
        outcome=outcome,
        duration_s=0.1,
        expectations=() if outcome == "skipped" else (stated or expectation(inner),),
    )
    return replace(made, **changes)


def run(*cases: CaseResult, **changes: Any) -> Results:
    """A finished run of these cases."""
    made = Results(
        environment={"device": "cpu", "dtype": "float32", "git_commit": "a" * 40},
        models=(MODEL,),
        cases=cases,
        collected=len(cases),
        deselected=0,
        given=("minilm",),
        uncollected=(),
    )
    return replace(made, **changes)


def said(decision: Decision) -> str:
    """The sentence of a decision up to what was judged."""
    return re.sub("; judged: .*", ".", decision.sentence)
