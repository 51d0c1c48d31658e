"""The details of a case in the report: each expectation in its sentence, on a scale, as a map."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from attnprobe.core.stats import Spread
from attnprobe.core.verdicts import Bound, Outcome
from attnprobe.core.wording import format_number, format_short
from attnprobe.render.web.html import report_piece
from attnprobe.render.web.maps import AttentionMap, Part, map_table, sentence

_GAUGE = 300.0  # the width of a scale


class BoundRow(NamedTuple):
    """A bound that did not decide: `rank 3`, `<= 1`, `failed`."""

    observed: str
    demanded: str
    outcome: Outcome


@dataclass(frozen=True)
class ExpectationRow:
    """One expectation in the table: a row, and another row for each further bound.

    Attributes:
        rule: the rule's name: `attends`.
        relation: the words that the rule relates: `it → animal (over street)`.
        heads: the heads that the expectation names.
        observed, demanded: the deciding number and its bound: `weight 0.12`, `≥ 0.3`.
        head: the head that decided or came nearest.
        chance: how often the rule passes for other word pairs; empty for a rule without pairs.
        sink: share of the row's mass on special tokens and learned sinks, 0 to 1; None if nothing
            was measured.
        other_bounds: the bounds that did not decide.
        doubts: doubts that the outcome does not name.
    """

    rule: str
    relation: str
    heads: str
    observed: str
    demanded: str
    head: str
    chance: str
    sink: float | None
    outcome: Outcome
    other_bounds: tuple[BoundRow, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class MarkedText:
    """A text whose tokens are tinted by weights and marked by their roles.

    Attributes:
        weights: a weight for each token; None tints none.
        scale: the weight of the strongest tint.
        marks: `from`, `to` or `over` for some tokens.
    """

    parts: tuple[Part, ...]
    special: tuple[int, ...]
    marks: Mapping[int, str]
    weights: tuple[float, ...] | None = None
    scale: float = 1.0


class ExplorerLink(NamedTuple):
    """The address of a page with all heads, or why there is none."""

    address: str = ""
    note: str = ""


class ChartView(NamedTuple):
    """A chart with its caption; a folded one opens at a click."""

    caption: str
    html: Markup
    folded: bool = True


@dataclass(frozen=True, eq=False)
class ExpectationView:
    """One expectation of a case as the report shows it.

    Attributes:
        texts: the text, or target and source of cross attention.
        bound: the deciding bound; None if nothing was measured.
        by_chance: its number for other word pairs, where that is known.
        lines: what else is to be said, such as the chance rate.
        map: the weights of the deciding head.
        note: what the map leaves out.
        charts: further charts, in their order.
        explorer: a page with all heads; None if none is wanted.
    """

    row: ExpectationRow
    texts: tuple[MarkedText, ...] = ()
    bound: Bound | None = None
    by_chance: Spread | None = None
    lines: tuple[str, ...] = ()
    map: AttentionMap | None = None
    note: str = ""
    charts: tuple[ChartView, ...] = ()
    explorer: ExplorerLink | None = None


class ChanceMark(NamedTuple):
    """Where the number lies for other word pairs: 90 % of them, and the middle one.

    Attributes:
        start, width, middle: places on the scale, its ends where they lie beyond.
        anchor: which end of the text lies at `text_at`.
    """

    start: float
    width: float
    middle: float
    text_at: float
    anchor: str
    text: str


class Gauge(NamedTuple):
    """A number, its bound, and chance on a scale of `_GAUGE` units.

    Attributes:
        at, bound: the places of the number and of the bound.
        zone: start and width of the part where the bound holds; None for other relations.
        chance: None where it is not known.
    """

    at: float
    bound: float
    zone: tuple[float, float] | None
    low: str
    high: str
    observed: str
    demanded: str
    holds: bool
    chance: ChanceMark | None


def gauge(bound: Bound, by_chance: Spread | None = None) -> Gauge:
    """The scale of a bound: from zero to a round number beyond number, bound and chance.

    Chance widens it to twice the others at most, since a ratio can be beyond all measure.
    """
    values = [bound.observed, bound.demanded]
    most = 2 * max(map(abs, values))
    values += [min(max(number, -most), most) for number in by_chance or ()]
    low, high = min(0.0, *values), max(0.0, *values)
    low = -_round_up(-low) if low < 0 else 0.0
    high = _round_up(high) if high > 0 or low == 0 else 0.0

    def place(value: float) -> float:
        return _GAUGE * min(max((value - low) / (high - low), 0.0), 1.0)

    at, limit = place(bound.observed), place(bound.demanded)
    zones = {1: (limit, _GAUGE - limit), -1: (0.0, limit)}
    return Gauge(
        at,
        limit,
        zones.get(bound.direction),
        format_short(low),
        format_short(high),
        format_number(bound.observed, bound.unit),
        bound.limit,
        bound.outcome != "failed",
        by_chance and _chance_mark(by_chance, bound, place),
    )


def _chance_mark(by_chance: Spread, bound: Bound, place: Callable[[float], float]) -> ChanceMark:
    start, middle, end = map(place, by_chance)
    low, usual, high = map(format_short, by_chance)
    at, anchor = next(
        (edge, name)
        for edge, name, most in ((0.0, "start", 0.4), (middle, "middle", 0.6), (_GAUGE, "end", 1.0))
        if middle <= most * _GAUGE
    )
    text = f"other word pairs: middle {usual}, 90 % from {low} to {high}"
    return ChanceMark(start, max(end - start, 2.0), middle, at, anchor, text)


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten above a positive number; 1 for nearly 1."""
    if value <= 0 or 0.9 < value <= 1:  # no share is above 1
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 2.5, 5, 10, 20) if power * step > value * 1.05)


def expectations_table(rows: Sequence[ExpectationRow]) -> Markup:
    """An HTML table with a row for each bound; the bounds of an expectation are together."""
    return report_piece("expectations", rows)


def chart_figure(view: ChartView) -> Markup:
    """A chart with its caption."""
    return report_piece("chart_figure", view)


def case_body(
    views: Sequence[ExpectationView],
    *,
    table: Markup,
    notes: Sequence[str] = (),
    with_colours: bool = False,
) -> Markup:
    """The details of a case.

    Args:
        table: the table of its expectations, or a note in its place.
        notes: lines on the case as a whole.
        with_colours: whether maps keep their colours without a style sheet.
    """
    parts = [_expectation(view, with_colours) for view in views]
    return report_piece("body", parts, table, notes)


def _expectation(view: ExpectationView, with_colours: bool) -> Markup:
    texts = [
        sentence(
            text.parts,
            special=text.special,
            weights=text.weights,
            scale=text.scale,
            marks=text.marks,
        )
        for text in view.texts
    ]
    shown = view.bound and gauge(view.bound, view.by_chance)
    table, scale, sinks = Markup(), "", False
    if view.map is not None:
        caption = f"attention weights of {view.row.head}"
        table = map_table(view.map, caption=caption, with_colours=with_colours)
        scale, sinks = format_short(view.map.scale()), bool(view.map.sinks)
    return report_piece("expectation", view, texts, shown, table, scale, sinks)


def missing(what: str, reason: str) -> Markup:
    """An HTML paragraph that explains why a picture or table is missing."""
    return report_piece("missing", what, reason)
