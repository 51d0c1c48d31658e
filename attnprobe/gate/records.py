"""Checks whether recorded outcomes agree with the recorded numbers and bounds."""

from __future__ import annotations

import operator
from collections.abc import Iterator

from attnprobe.core.verdicts import Bound, Outcome
from attnprobe.core.wording import format_stated
from attnprobe.results.records import ExpectationResult
from attnprobe.rules import BAND

_HOLDS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
# The rounding error of sums of shares.
_ROUNDING = 1e-9


def contradictions(entry: ExpectationResult) -> Iterator[str]:
    """Says how the outcome of an expectation contradicts its deciding bound, if it does."""
    yield from _contradictions(entry.deciding, entry.outcome)


def is_borderline(entry: ExpectationResult) -> bool:
    """Whether the deciding number is too near to its bound to call, in vacuous expectations too.

    Files of older versions do not record that for a vacuous expectation, so the number decides.
    """
    if entry.outcome != "vacuous" or entry.borderline:
        return "borderline" in entry.doubts
    slack = entry.deciding.slack if entry.deciding else None
    return slack is not None and abs(slack) < BAND


def other_contradictions(entry: ExpectationResult) -> Iterator[str]:
    """Says how the other bounds contradict an expectation: its outcome, or their own numbers."""
    for bound in entry.bounds[1:]:
        yield from (f"{bound.measure} {why}" for why in _contradictions(bound, bound.outcome))
        if bound.outcome == "failed" and entry.outcome not in ("failed", "error"):
            yield f"is {entry.outcome}, though its {bound.measure} failed"


def _contradictions(bound: Bound | None, outcome: Outcome) -> Iterator[str]:
    if outcome == "error":
        return
    if bound is None or not bound.direction:
        yield f"is {outcome} without a number and a bound"
    elif outcome not in _outcomes(bound):
        demanded = f"{bound.relation} {format_stated(bound.demanded)}"
        yield f"is {outcome} with {format_stated(bound.observed)}, demanded {demanded}"


def _outcomes(bound: Bound) -> set[Outcome]:
    """The outcomes that the numbers of a bound allow.

    A number within `BAND` of its bound is borderline. Ranks, ratios and counts of links have no
    slack in that unit, so for them only the comparison itself can be repeated.
    """
    holds = _HOLDS[bound.relation](bound.observed, bound.demanded)
    if bound.slack is not None:
        tied = bound.slack == 0 and bound.relation in (">", "<")
        if abs(bound.slack) < BAND and not tied:
            return {"borderline", "vacuous"}
        return {"passed", "vacuous"} if holds else {"failed"}
    allowed: set[Outcome] = {"borderline", "vacuous"}
    if holds or abs(bound.distance) < _ROUNDING:
        allowed.add("passed")
    if not holds or abs(bound.distance) < _ROUNDING:
        allowed.add("failed")
    return allowed
