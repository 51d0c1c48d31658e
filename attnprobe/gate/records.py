"""Whether the records of a run agree with the numbers that stand beside them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator

from attnprobe.records import LEAST_DISTINCT, LEAST_PAIRS, Outcome
from attnprobe.results import ExpectationResult
from attnprobe.rules import BAND
from attnprobe.units import is_own_slack, unit_of

__all__ = ["chance_contradictions", "contradictions", "is_borderline", "other_contradictions"]

_HOLDS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
# Sums of shares are off by so much.
_ROUNDING = 1e-9


def contradictions(entry: ExpectationResult) -> Iterator[str]:
    """What the outcome of an expectation cannot be, by its number and its bound."""
    if entry.outcome == "error":
        return
    if entry.observed is None or entry.demanded is None or entry.relation not in _HOLDS:
        yield f"is {entry.outcome} without a number and a bound"
    elif entry.outcome not in _outcomes(entry, entry.observed, entry.relation, entry.demanded):
        bound = f"{entry.relation} {entry.demanded:g}"
        yield f"is {entry.outcome} with {entry.observed:g}, demanded {bound}"


def is_borderline(entry: ExpectationResult) -> bool:
    """Whether the deciding number is too near to its bound to call, vacuous or not.

    Older files do not say that of a vacuous expectation: there the number itself tells.
    """
    if entry.outcome != "vacuous" or entry.borderline:
        return "borderline" in entry.doubts
    if entry.observed is None or entry.demanded is None or not _has_own_slack(entry):
        return False
    return abs(entry.observed - entry.demanded) < BAND


def _has_own_slack(entry: ExpectationResult) -> bool:
    return entry.rule == "relation" or is_own_slack(unit_of(entry.measure))


def other_contradictions(entry: ExpectationResult) -> Iterator[str]:
    """What cannot be of the bounds that did not decide: none may fail where all is said to hold."""
    for bound in entry.bounds()[1:]:
        yield from (f"{bound.measure} {why}" for why in contradictions(bound))
        if bound.outcome == "failed" and entry.outcome not in ("failed", "error"):
            yield f"is {entry.outcome}, though its {bound.measure} failed"


def _outcomes(
    entry: ExpectationResult, observed: float, relation: str, demanded: float
) -> set[Outcome]:
    """The outcomes that these numbers allow.

    The band is held against the distance of a number from its bound. The slack of a rank, a ratio
    or a count of links lies in another unit, so there the comparison alone can be repeated.
    """
    holds = _HOLDS[relation](observed, demanded)
    slack = observed - demanded if relation in (">=", ">") else demanded - observed
    if _has_own_slack(entry):
        tied = slack == 0 and relation in (">", "<")
        if abs(slack) < BAND and not tied:
            return {"borderline", "vacuous"}
        return {"passed", "vacuous"} if holds else {"failed"}
    allowed: set[Outcome] = {"borderline", "vacuous"}
    if holds or abs(slack) < _ROUNDING:
        allowed.add("passed")
    if not holds or abs(slack) < _ROUNDING:
        allowed.add("failed")
    return allowed


def chance_contradictions(entry: ExpectationResult) -> Iterator[str]:
    """What a chance rate cannot be, by the pairs that it was counted on."""
    chance = entry.chance
    if chance is None:
        return
    told = f"has a chance of {chance.passed} of {chance.pairs} pairs"
    if not 0 <= chance.passed <= chance.pairs:
        yield told
    elif chance.rate is None:
        if chance.pairs >= LEAST_PAIRS and (chance.distinct or 0) >= LEAST_DISTINCT:
            yield f"{told} and no rate"
    elif chance.pairs < LEAST_PAIRS or not math.isclose(
        chance.rate, chance.passed / chance.pairs, rel_tol=_ROUNDING, abs_tol=_ROUNDING
    ):
        yield f"{told} and a rate of {chance.rate:g}"
