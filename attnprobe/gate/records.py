"""Whether the records of a run agree with the numbers that stand beside them."""

from __future__ import annotations

import operator
from collections.abc import Iterator

from attnprobe.core.verdicts import Bound, Outcome
from attnprobe.core.wording import format_stated
from attnprobe.results.records import ExpectationResult
from attnprobe.rules import BAND

_HOLDS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
# Sums of shares are off by so much.
_ROUNDING = 1e-9


def contradictions(entry: ExpectationResult) -> Iterator[str]:
    """What the outcome of an expectation cannot be, by its number and its bound."""
    yield from _contradictions(entry.deciding, entry.outcome)


def is_borderline(entry: ExpectationResult) -> bool:
    """Whether the deciding number is too near to its bound to call, vacuous or not.

    Older files do not say that of a vacuous expectation: there the number itself tells.
    """
    if entry.outcome != "vacuous" or entry.borderline:
        return "borderline" in entry.doubts
    slack = entry.deciding.slack if entry.deciding else None
    return slack is not None and abs(slack) < BAND


def other_contradictions(entry: ExpectationResult) -> Iterator[str]:
    """What cannot be of the bounds that did not decide: none may fail where all is said to hold."""
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

    The band is held against the distance of a number from its bound. The slack of a rank, a ratio
    or a count of links lies in another unit, so there the comparison alone can be repeated.
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
