"""Pieces of HTML for the report: no scripts, no style sheets, everything from users escaped.

The table lies on a light card, as the pictures do, so that it reads on any page.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnprobe.records import Outcome
from attnprobe.render.text import visible

__all__ = ["Finding", "expectations_table", "folded", "picture_figure"]


@dataclass(frozen=True)
class Finding:
    """One row of the table of expectations.

    Attributes:
        rule: the rule's name: `attends`.
        relation: what it relates, in words: `it → animal (over street)`.
        heads: the heads that were asked for.
        observed, demanded: the deciding number and its bound: `weight 0.12`, `≥ 0.3`.
        head: the head that decided or came nearest.
        chance: how often the rule passes for other word pairs; empty where it has none.
        sink: share of the row's mass on special tokens and learned sinks, 0 to 1; None where
            nothing was measured.
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
_BADGES: dict[Outcome, str] = {
    "passed": "#1a7f37",
    "failed": "#cf222e",
    "borderline": "#9a6700",
    "vacuous": "#9a6700",
    "error": "#8250df",
}
_TABLE = Markup(
    '<table style="border-collapse:separate;border-spacing:0;width:auto;margin:8px 0;'
    "background:#fff;color:#1f2328;border-radius:9px;padding:6px 8px;"
    'font:13px/1.4 system-ui,sans-serif">'
    "<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
)
_HEAD = Markup(
    '<th scope="col" style="padding:4px 10px;border:0;text-align:left;color:#59636e">{}</th>'
)
_DATA = Markup(
    '<td style="padding:4px 10px;border:0;border-top:1px solid #d1d9e0;text-align:left;'
    'color:#1f2328;unicode-bidi:isolate">{}</td>'
)
_BADGE = Markup(
    '<span style="background:{};color:#fff;border-radius:9px;padding:1px 8px;'
    'white-space:nowrap">{}</span>'
)
_FIGURE = Markup(
    '<figure style="margin:8px 0"><img src="data:image/svg+xml;base64,{}" alt="{}" '
    'style="max-width:100%;height:auto"><figcaption style="font:13px/1.4 system-ui,sans-serif;'
    'color:#757d87">{}</figcaption></figure>'
)
_FOLDED = Markup(
    '<details style="margin:8px 0"><summary style="font:13px/1.4 system-ui,sans-serif;'
    'color:#757d87;cursor:pointer">{}</summary>{}</details>'
)


def expectations_table(rows: Sequence[Finding]) -> str:
    """An HTML table with one row an expectation, in the order given."""
    head = Markup().join(_HEAD.format(name) for name in _COLUMNS)
    return str(_TABLE.format(head=head, body=Markup().join(map(_row, rows))))


def _row(finding: Finding) -> Markup:
    texts = (
        finding.rule,
        finding.relation,
        finding.heads,
        finding.observed,
        finding.demanded,
        finding.head,
        finding.chance,
    )
    cells = [_DATA.format(visible(text)) for text in texts]
    cells.append(_DATA.format("" if finding.sink is None else f"{finding.sink:.2f}"))
    cells.append(_DATA.format(_BADGE.format(_BADGES[finding.outcome], finding.outcome)))
    return Markup("<tr>{}</tr>").format(Markup().join(cells))


def picture_figure(svg: str, caption: str) -> str:
    """An HTML figure that carries the SVG inside itself, with the caption as alternative text."""
    data = base64.b64encode(svg.encode()).decode()
    return str(_FIGURE.format(data, visible(caption), visible(caption)))


def folded(summary: str, html: str) -> str:
    """The HTML behind a line that opens and closes it."""
    return str(_FOLDED.format(visible(summary), Markup(html)))
