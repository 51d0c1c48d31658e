"""Results made up for comparison: cases and models that differ in named fields alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnprobe.compare.changes import Change, Comparison, compare_results
from attnprobe.results.records import CaseResult, ExpectationResult, ModelResult, Results
from tests.support import made_up_results as made


def expected(
    observed: float | None = 0.6, outcome: Any = "passed", **changes: Any
) -> ExpectationResult:
    return made.expectation(outcome, observed=observed, message="", line=7, **changes)


def case(*expectations: ExpectationResult, outcome: str = "passed", **changes: Any) -> CaseResult:
    facts: dict[str, Any] = {
        "nodeid": "x::one",
        "id": "one",
        "row": None,
        "file": "cases/x.attn.yaml",
        "line": 6,
        "suite": "pronouns",
        "model": "small",
        "severity": "blocking",
        "marks": (),
        "outcome": outcome,
        "duration_s": 0.1,
        "expectations": expectations or (expected(),),
    }
    return CaseResult(**facts | changes)


def model(name: str = "small", **changes: Any) -> ModelResult:
    facts: dict[str, Any] = {
        "name": name,
        "ref": name,
        "revision": None,
        "weights_sha256": "a" * 64,
        "tokenizer_sha256": "b" * 64,
        "architecture": "BertModel",
        "layers": 6,
        "heads": 12,
        "sites": ("encoder",),
    }
    return ModelResult(**facts | changes)


def run(*cases: CaseResult, **changes: Any) -> Results:
    facts: dict[str, Any] = {
        "environment": {"torch": "2.0", "git_commit": "abc", "dtype": "float32"},
        "models": (model(),),
        "cases": cases,
        "collected": len(cases),
    }
    return Results(**facts | changes)


def only(old: CaseResult, new: CaseResult) -> Change:
    (change,) = compare_results(run(old), run(new)).changes
    return change


HOLD = case()
FAIL = case(expected(0.1, outcome="failed"), outcome="failed")
ERR = case(expected(None, "error"), outcome="error")
GAP = case(expected(0.1, outcome="failed"), outcome="xfailed")
SKIP = replace(case(), outcome="skipped", expectations=())


def suite_of(both: int, fixed: int, broken: int, neither: int) -> Comparison:
    pairs = [(HOLD, HOLD)] * both + [(FAIL, HOLD)] * fixed
    pairs += [(HOLD, FAIL)] * broken + [(FAIL, FAIL)] * neither
    old, new = (
        run(*(replace(pair[side], id=str(n)) for n, pair in enumerate(pairs))) for side in (0, 1)
    )
    return compare_results(old, new)
