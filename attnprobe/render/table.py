"""Pieces of HTML for the report: no scripts, everything from users escaped.

The style sheet (`html.style_sheet`) stands once in the page. The table lies on a light card, as the
pictures do, so that it reads on any page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from attnprobe.core.verdicts import Outcome
from attnprobe.render.html import piece


class BoundRow(NamedTuple):
    """A bound beside the one that decided: its number, its bound and what became of it."""

    observed: str
    demanded: str
    outcome: Outcome


@dataclass(frozen=True)
class Finding:
    """One expectation in the table: a row, and one more for each further bound.

    Attributes:
        rule: the rule's name: `attends`.
        relation: what it relates, in words: `it → animal (over street)`.
        heads: the heads that were asked for.
        observed, demanded: the deciding number and its bound: `weight 0.12`, `≥ 0.3`.
        head: the head that decided or came nearest.
        chance: how often the rule passes for other word pairs; empty where it has none.
        sink: share of the row's mass on special tokens and learned sinks, 0 to 1; None where
            nothing was measured.
        other_bounds: of several bounds those that did not decide.
        doubts: what the outcome leaves out of why it says little.
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


def expectations_table(rows: Sequence[Finding]) -> Markup:
    """An HTML table with one row a bound, those of an expectation together, in the order given."""
    return piece("expectations", rows)


def texts(lines: Iterable[str]) -> Markup:
    """What was read, an HTML paragraph each; nothing for an empty text."""
    return piece("texts", lines)


def picture_figure(svg: str, caption: str) -> Markup:
    """An HTML figure that carries the SVG inside itself, with the caption as alternative text."""
    return piece("figure", svg, caption)


def notes(lines: Sequence[str]) -> Markup:
    """An HTML list of notes to a table; nothing for none."""
    return piece("notes", lines)


def folded(summary: str, html: Markup) -> Markup:
    """The HTML behind a line that opens and closes it."""
    return piece("folded", summary, html)


def missing(what: str, reason: str) -> Markup:
    """An HTML paragraph in place of what could not be made."""
    return piece("missing", what, reason)
