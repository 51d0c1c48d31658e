"""How much a run may differ from the one before: `weight:-20%`, `rate:-0.02`, `broken:0`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from attnprobe.compare.changes import Comparison, Kind, Step
from attnprobe.core.errors import ResultsError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.wording import (
    format_change,
    format_number,
    format_percent_change,
    format_stated,
    shorten,
)

LIMITS_HELP = (
    "weight:-20% (no deciding weight falls by more than a fifth), rate:-0.02 (no suite's pass "
    "rate falls by more than 0.02), broken:0, weaker:5, gone:0, new:3 (no more than so many)"
)
_COUNTED: tuple[Kind, ...] = ("broken", "weaker", "gone", "new")
_KNOWN = ("weight", "rate", *_COUNTED)
_NUMBER = re.compile(r"([-+]?)([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})(%?)")
_NAMED = 5  # cases that a message names
_NOTHING_SHARED = "neither run has cases of the other's"


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        kind: `weight` and `rate` bound a fall, the others a count of changes.
        bound: the largest fall, 0 or negative, as a share; or the largest count.
        text: as it was written.
    """

    kind: str
    bound: float
    text: str


def parse_limit(text: str) -> Limit:
    """Reads `NAME:NUMBER`.

    Raises:
        ResultsError: it says something else; the message names what is known.
    """
    kind, colon, written = (part.strip() for part in text.partition(":"))
    if kind not in _KNOWN:
        raise ResultsError(f"unknown limit {text!r}; {did_you_mean(kind, _KNOWN)}: {LIMITS_HELP}")
    found = _NUMBER.fullmatch(written) if colon else None
    if found is None:
        raise ResultsError(f"{text!r} needs a number after {kind}:, as in {LIMITS_HELP}")
    sign, digits, percent = found.groups()
    if kind in _COUNTED:
        if sign == "-" or percent or not digits.isdigit():
            count = int(float(digits))
            raise ResultsError(f"{text!r}: a count is a whole number: {kind}:{count}")
        return Limit(kind, float(digits), text)
    # No fall is larger than all there was: a number from 1 without a sign is meant as per cent.
    hundredths = bool(percent) or float(digits) >= 1
    number = float(digits) / (100 if hundredths else 1)
    if number >= 1:
        raise ResultsError(f"{text!r} lets everything pass: give a fall of less than 100%")
    meant = f"{kind}:-{digits}%" if hundredths else f"{kind}:-{digits}"
    if kind == "weight" and not hundredths:
        meant = f"{kind}:-{format_stated(number * 100)}%"
    if sign != "-" and number:
        raise ResultsError(f"{text!r}: a fall is negative: write {meant}")
    if kind == "weight" and number and not percent:
        raise ResultsError(f"{text!r}: the fall of a weight is relative: write {meant}")
    if hundredths and not percent:
        raise ResultsError(f"{text!r}: a rate is at most 1: write {meant}")
    return Limit(kind, -number, text)


def exceeded(limit: Limit, comparison: Comparison) -> str | None:
    """Why a comparison is beyond the limit; None where it is within.

    The limit of a weight sees every weight that was bounded before, whether it decided or not. It
    is exceeded, too, where no weight is bounded now and a rank or a ratio decides, behind which it
    could fall unseen, and where a case no longer states what the weight was of. A weight that fell
    by at most 0.01 is never too much, however little was left of it.

    Raises:
        ResultsError: the comparison has no number that the limit is about.
    """
    if limit.kind == "weight":
        return _weight(limit, comparison)
    if limit.kind == "rate":
        return _rate(limit, comparison)
    (kind,) = (kind for kind in get_args(Kind) if kind == limit.kind)
    found = comparison.of(kind)
    if len(found) <= limit.bound:
        return None
    places = shorten([change.key.place for change in found], _NAMED)
    return f"{limit.text}: {len(found)} {kind}: {'; '.join(places)}"


def _weight(limit: Limit, comparison: Comparison) -> str | None:
    judged = [
        (change, weight)
        for change in comparison.changes
        for move in change.moves
        for weight in move.weights
    ]
    lost = [
        change
        for change in comparison.changes
        if any(entry.deciding and entry.deciding.unit == "weight" for entry in change.lost)
    ]
    if not judged and not lost:
        raise ResultsError(f"{limit.text}: no weight to compare: {_blind(comparison)}")
    fallen = {change.key.place: f"{change.key.place} (no longer stated)" for change in lost}
    for change, weight in judged:
        if weight.falls_by(-limit.bound):
            fallen[change.key.place] = f"{change.key.place} ({_fall(weight)})"
    if not fallen:
        return None
    listed = "; ".join(shorten(list(fallen.values()), _NAMED))
    return f"{limit.text}: weights fell or are unknown in {len(fallen)}: {listed}"


def _blind(comparison: Comparison) -> str:
    """Why a limit on weights sees none."""
    names = dict.fromkeys(
        move.old.deciding.measure
        for change in comparison.changes
        for move in change.moves
        if move.old.deciding
    )
    if not names:
        return _NOTHING_SHARED
    judged = "; ".join(shorten(list(names), _NAMED))
    return f"what both runs judged is {judged}; limit these with weaker:0"


def _fall(weight: Step) -> str:
    if weight.old is None or weight.new is None:
        return "not measured"
    if weight.gain is None:
        return f"decided by {weight.new.measure} now"
    share = "" if weight.by is None else f" {format_percent_change(weight.by)}"
    return f"{format_number(weight.old.observed)} → {format_number(weight.new.observed)}{share}"


def _rate(limit: Limit, comparison: Comparison) -> str | None:
    if not comparison.suites:
        raise ResultsError(f"{limit.text}: no suite to compare: {_NOTHING_SHARED}")
    # Rates are quotients of counts: a hair of rounding is no fall.
    fallen = [suite for suite in comparison.suites if suite.change < limit.bound - 1e-9]
    if not fallen:
        return None
    texts = [
        f"{suite.suite} on {suite.model} {format_change(suite.change)} ({suite.old_passed} → "
        f"{suite.new_passed} of {suite.n})"
        for suite in fallen
    ]
    return f"{limit.text}: the pass rate fell in {'; '.join(shorten(texts, _NAMED))}"
