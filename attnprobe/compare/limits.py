"""Limits on the differences of two runs: `weight:-20%`, `rate:-0.02`, `broken:0`."""

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
_MOST_NAMED = 5  # cases that a message names
_NOTHING_SHARED = "the runs have no case in common"


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        kind: `weight` and `rate` limit a fall, the others a number of changes.
        bound: the largest fall as a share, 0 or negative; or the largest count.
        text: the limit as the user wrote it.
    """

    kind: str
    bound: float
    text: str


def parse_limit(text: str) -> Limit:
    """Reads `NAME:NUMBER`.

    Raises:
        ResultsError: the text is no limit; the message lists the possible ones.
    """
    kind, colon, value = (part.strip() for part in text.partition(":"))
    if kind not in _KNOWN:
        raise ResultsError(f"unknown limit {text!r}; {did_you_mean(kind, _KNOWN)}: {LIMITS_HELP}")
    found = _NUMBER.fullmatch(value) if colon else None
    if found is None:
        raise ResultsError(f"{text!r} needs a number after {kind}:, as in {LIMITS_HELP}")
    sign, digits, percent = found.groups()
    if kind in _COUNTED:
        if sign == "-" or percent or not digits.isdigit():
            count = int(float(digits))
            raise ResultsError(f"{text!r}: a count is a whole number: {kind}:{count}")
        return Limit(kind, float(digits), text)
    # No fall is larger than 100 %, so a number from 1 on must mean per cent.
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
    """How a comparison exceeds a limit; None if it does not.

    The limit `weight` applies to every weight that had a bound before, whether it decided or not.
    The limit is also exceeded if a rank or a ratio decides now and no weight has a bound, because a
    fall could go unnoticed, and if the case no longer states the expectation. A fall of at most
    0.01 never exceeds it.

    Raises:
        ResultsError: the comparison has no number of this kind.
    """
    if limit.kind == "weight":
        return _weight(limit, comparison)
    if limit.kind == "rate":
        return _rate(limit, comparison)
    (kind,) = (kind for kind in get_args(Kind) if kind == limit.kind)
    found = comparison.of(kind)
    if len(found) <= limit.bound:
        return None
    places = shorten([change.key.place for change in found], _MOST_NAMED)
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
        raise ResultsError(f"{limit.text}: no weight to compare: {_why_no_weight(comparison)}")
    fallen = {change.key.place: f"{change.key.place} (no longer stated)" for change in lost}
    for change, weight in judged:
        if weight.falls_by(-limit.bound):
            fallen[change.key.place] = f"{change.key.place} ({_describe_fall(weight)})"
    if not fallen:
        return None
    places = "; ".join(shorten(list(fallen.values()), _MOST_NAMED))
    return f"{limit.text}: weights fell or are unknown in {len(fallen)}: {places}"


def _why_no_weight(comparison: Comparison) -> str:
    names = dict.fromkeys(
        move.old.deciding.measure
        for change in comparison.changes
        for move in change.moves
        if move.old.deciding
    )
    if not names:
        return _NOTHING_SHARED
    judged = "; ".join(shorten(list(names), _MOST_NAMED))
    return f"what both runs judged is {judged}; limit these with weaker:0"


def _describe_fall(weight: Step) -> str:
    if weight.old is None or weight.new is None:
        return "not measured"
    if weight.gain is None:
        return f"decided by {weight.new.measure} now"
    share = "" if weight.by is None else f" {format_percent_change(weight.by)}"
    return f"{format_number(weight.old.observed)} → {format_number(weight.new.observed)}{share}"


def _rate(limit: Limit, comparison: Comparison) -> str | None:
    if not comparison.suites:
        raise ResultsError(f"{limit.text}: no suite to compare: {_NOTHING_SHARED}")
    # Rates are quotients, so a difference by rounding is no fall.
    fallen = [suite for suite in comparison.suites if suite.change < limit.bound - 1e-9]
    if not fallen:
        return None
    texts = [
        f"{suite.suite} on {suite.model} {format_change(suite.change)} ({suite.old_passed} → "
        f"{suite.new_passed} of {suite.n})"
        for suite in fallen
    ]
    return f"{limit.text}: the pass rate fell in {'; '.join(shorten(texts, _MOST_NAMED))}"
