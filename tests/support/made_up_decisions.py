"""Decisions of the gate on made-up checks that seldom hold by chance."""

from __future__ import annotations

from datetime import date
from typing import Any

from attnprobe.core.verdicts import Chance
from attnprobe.gate import Decision, Policy, judge
from attnprobe.results.records import CaseResult, ExpectationResult, Results
from tests.support import made_up_results
from tests.support.made_up_results import MODEL

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
