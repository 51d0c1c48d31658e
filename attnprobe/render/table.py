"""Pieces of HTML for the report: no scripts, everything from users escaped.

Their style sheet stands once in the page. The table lies on a light card, as the pictures do, so
that it reads on any page.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from attnprobe.records import Outcome
from attnprobe.render.text import visible
from attnprobe.wording import format_short

__all__ = [
    "STYLE",
    "BoundRow",
    "Finding",
    "expectations_table",
    "folded",
    "notes",
    "picture_figure",
    "texts",
]


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


_COLUMNS = (
    "rule",
    "from → to",
    "heads",
    "observed",
    "demanded",
    "head",
    "chance",
    "sink",
    "outcome",
)
STYLE = """\
.attnprobe { font: 13px/1.4 system-ui, sans-serif; margin: 8px 0 }
figure.attnprobe img { max-width: 100%; height: auto }
.attnprobe figcaption, .attnprobe summary { color: #757d87 }
.attnprobe summary { cursor: pointer }
table.attnprobe, ul.attnprobe {
  background: #fff; color: #1f2328; border-radius: 9px; padding: 6px 8px; width: auto
}
ul.attnprobe { padding-left: 24px }
table.attnprobe { border-collapse: separate; border-spacing: 0 }
.attnprobe td, .attnprobe li { unicode-bidi: isolate }
#results-table .attnprobe th, #results-table .attnprobe td { padding: 4px 10px; border: 0 }
#results-table .attnprobe th { color: #59636e }
#results-table .attnprobe td { border-top: 1px solid #d1d9e0 }
.attn-text { color: #757d87; unicode-bidi: isolate; padding: 0 18px; max-width: 100ch }
.attn-outcome { color: #fff; border-radius: 9px; padding: 1px 8px; white-space: nowrap }
.attn-passed { background: #1a7f37 }
.attn-failed { background: #cf222e }
.attn-borderline, .attn-vacuous { background: #9a6700 }
.attn-error { background: #8250df }
"""
"""The style sheet of these pieces: for the page that they stand in, once."""
_TABLE = Markup(
    '<table class="attnprobe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
)
_HEAD = Markup('<th scope="col">{}</th>')
_DATA = Markup("<td{rows}>{text}</td>")
_ROWS = Markup(' rowspan="{}"')
_BADGE = Markup('<span class="attn-outcome attn-{0}">{0}</span>')
_FIGURE = Markup(
    '<figure class="attnprobe"><img src="data:image/svg+xml;base64,{}" alt="{}">'
    "<figcaption>{}</figcaption></figure>"
)
_FOLDED = Markup('<details class="attnprobe"><summary>{}</summary>{}</details>')
_TEXT = Markup('<p class="attnprobe attn-text">{}</p>')
_NOTES = Markup('<ul class="attnprobe">{}</ul>')
_NOTE = Markup("<li>{}</li>")


def expectations_table(rows: Sequence[Finding]) -> str:
    """An HTML table with one row a bound, those of an expectation together, in the order given."""
    head = Markup().join(_HEAD.format(name) for name in _COLUMNS)
    return str(_TABLE.format(head=head, body=Markup().join(map(_row, rows))))


def _row(finding: Finding) -> Markup:
    """The rows of an expectation; what its bounds have in common spans them all."""
    count = 1 + len(finding.other_bounds)
    sink = "" if finding.sink is None else format_short(finding.sink)
    first = [
        *(_cell(text, rows=count) for text in (finding.rule, finding.relation, finding.heads)),
        *(_cell(text) for text in (finding.observed, finding.demanded)),
        *(_cell(text, rows=count) for text in (finding.head, finding.chance, sink)),
        _outcome(finding.outcome, finding.doubts),
    ]
    others = [
        [_cell(one.observed), _cell(one.demanded), _outcome(one.outcome)]
        for one in finding.other_bounds
    ]
    row = Markup("<tr>{}</tr>")
    return Markup().join(row.format(Markup().join(cells)) for cells in (first, *others))


def _cell(text: str, *, rows: int = 1) -> Markup:
    return _DATA.format(rows=_ROWS.format(rows) if rows > 1 else "", text=visible(text))


def _outcome(outcome: Outcome, doubts: Sequence[str] = ()) -> Markup:
    badge = _BADGE.format(outcome)
    told = Markup("").join(Markup(" {}").format(visible(doubt)) for doubt in doubts)
    return _DATA.format(rows="", text=badge + told)


def texts(lines: Iterable[str]) -> str:
    """What was read, an HTML paragraph each; nothing for an empty text."""
    return str(Markup().join(_TEXT.format(visible(line)) for line in lines if line))


def picture_figure(svg: str, caption: str) -> str:
    """An HTML figure that carries the SVG inside itself, with the caption as alternative text."""
    data = base64.b64encode(svg.encode()).decode()
    return str(_FIGURE.format(data, visible(caption), visible(caption)))


def notes(lines: Sequence[str]) -> str:
    """An HTML list of notes to a table; nothing for none."""
    entries = Markup().join(_NOTE.format(visible(line)) for line in lines)
    return str(_NOTES.format(entries)) if lines else ""


def folded(summary: str, html: str) -> str:
    """The HTML behind a line that opens and closes it."""
    return str(_FOLDED.format(visible(summary), Markup(html)))
