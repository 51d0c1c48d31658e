"""The page of a history: one HTML file without scripts and without links to other files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attnprobe.core.stats import Interval
from attnprobe.core.wording import format_tick
from attnprobe.render.web.html import fill

_WIDTH, _HEIGHT = 320.0, 90.0
_MOST_ROWS = 200


@dataclass(frozen=True)
class RunRow:
    """A suite in one run, with formatted numbers."""

    run: str
    hold: str
    rate: str
    interval: str
    slack: str
    vacuous: str


@dataclass(frozen=True)
class Curve:
    """A number of a suite over the runs.

    Attributes:
        values: of each run; None leaves a gap in the line.
        titles: what each value says.
        band: a confidence interval of each value.
        span: the ends of the scale; None for those of the values and 0.
        ends: the labels of the scale's ends; None for numbers.
    """

    name: str
    values: Sequence[float | None]
    titles: Sequence[str]
    band: Sequence[Interval | None] = ()
    span: tuple[float, float] | None = None
    ends: tuple[str, str] | None = None


@dataclass(frozen=True)
class SuiteCurves:
    """A suite on a model over the runs.

    Attributes:
        shifts: one text for each pair of runs between which it rose or fell.
    """

    suite: str
    model: str
    shifts: tuple[str, ...]
    rate: Curve
    slack: Curve
    rows: tuple[RunRow, ...]


@dataclass(frozen=True)
class CheckRow:
    """A check that changed.

    Attributes:
        statuses: of each run: holds, fails, gap, error or None.
        events: when it changed.
        heads: by which heads it passes, if they changed.
    """

    check: str
    file: str
    model: str
    suite: str
    statuses: Sequence[str | None]
    events: str
    heads: str


class Dot(NamedTuple):
    """A value of a curve in its drawing."""

    x: float
    y: float
    title: str


class Drawing(NamedTuple):
    """A curve as SVG has it: lines and bands as lists of points, and the height of zero."""

    name: str
    lines: list[str]
    bands: list[str]
    dots: list[Dot]
    zero: float | None
    ends: tuple[str, str]


def history_page(
    title: str,
    *,
    runs: Sequence[str],
    suites: Sequence[SuiteCurves],
    checks: Sequence[CheckRow],
    notes: Sequence[str],
) -> str:
    """The HTML page of a history; all text from users is escaped.

    Args:
        title: a sentence on what changed.
        checks: those that changed; the page shows 200 and counts the others.
    """
    drawn = [
        (
            suite,
            [
                draw(curve, runs)
                for curve in (suite.rate, suite.slack)
                if any(value is not None for value in curve.values)
            ],
        )
        for suite in suites
    ]
    return fill(
        "history.html",
        title="History of attention checks",
        subtitle=title,
        runs=runs,
        suites=drawn,
        checks=checks[:_MOST_ROWS],
        more=max(0, len(checks) - _MOST_ROWS),
        notes=notes,
    )


def draw(curve: Curve, runs: Sequence[str]) -> Drawing:
    """The curve, with runs at equal distances."""
    low, high = curve.span or _span([value for value in curve.values if value is not None])
    step = _WIDTH / max(len(curve.values) - 1, 1)

    def point(place: int, value: float) -> str:
        return f"{place * step:.1f},{height(value):.1f}"

    def height(value: float) -> float:
        return _HEIGHT * (high - value) / (high - low)

    values = {place: value for place, value in enumerate(curve.values) if value is not None}
    intervals = {place: ends for place, ends in enumerate(curve.band) if ends is not None}
    return Drawing(
        curve.name,
        lines=[
            " ".join(point(place, values[place]) for place in part) for part in _unbroken(values)
        ],
        bands=[
            " ".join(
                [point(place, intervals[place].high) for place in part]
                + [point(place, intervals[place].low) for place in reversed(part)]
            )
            for part in _unbroken(intervals)
        ],
        dots=[
            Dot(place * step, height(value), f"{runs[place]}: {curve.titles[place]}")
            for place, value in values.items()
        ],
        zero=height(0.0) if low < 0 < high else None,
        ends=curve.ends or (format_tick(low), format_tick(high)),
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(*values, 0.0), max(*values, 0.0)
    return low, high if high > low else low + 1


def _unbroken(places: Iterable[int]) -> list[list[int]]:
    """Places in runs of neighbours."""
    found: list[list[int]] = []
    for place in places:
        if found and found[-1][-1] == place - 1:
            found[-1].append(place)
        else:
            found.append([place])
    return found
