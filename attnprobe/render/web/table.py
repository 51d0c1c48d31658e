"""Pieces of HTML for the report: no scripts, all text from users escaped.

A page with these pieces needs the style sheet (`html.style_sheet`) once. Like pictures, the table
has a light background of its own, so that it is readable on any page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from attnprobe.core.verdicts import Outcome
from attnprobe.render.web.html import piece


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


def expectations_table(rows: Sequence[ExpectationRow]) -> Markup:
    """An HTML table with a row for each bound; the bounds of an expectation are together."""
    return piece("expectations", rows)


def texts(lines: Iterable[str]) -> Markup:
    """An HTML paragraph for each text that is not empty."""
    return piece("texts", lines)


def picture_figure(svg: str, caption: str) -> Markup:
    """An HTML figure with the SVG inside it; the caption is also the alternative text."""
    return piece("figure", svg, caption)


def notes(lines: Sequence[str]) -> Markup:
    """An HTML list of notes on a table; empty if there are none."""
    return piece("notes", lines)


def folded(summary: str, html: Markup) -> Markup:
    """The HTML behind a summary line that opens and closes it."""
    return piece("folded", summary, html)


def missing(what: str, reason: str) -> Markup:
    """An HTML paragraph that explains why a picture or table is missing."""
    return piece("missing", what, reason)
