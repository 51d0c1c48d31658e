"""Sections that stand above the table of the report: no scripts, everything from users escaped.

Styles stand on the elements, for the sections go into other tools' pages; each is a light card, so
that it reads on any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from attnprobe.render.text import visible

__all__ = ["AMBER", "BLUE", "GREEN", "GREY", "PURPLE", "RED", "badge", "grid", "line", "section"]

# Dark enough for white text on them, and to be read on white.
RED, GREEN, AMBER, BLUE, PURPLE, GREY = (
    "#cf222e",
    "#1a7f37",
    "#9a6700",
    "#0969da",
    "#8250df",
    "#59636e",
)
_SECTION = Markup(
    '<section style="margin:16px 0;background:#fff;color:#1f2328;border-radius:9px;'
    'padding:10px 14px;font:13px/1.5 system-ui,sans-serif;overflow-x:auto">'
    '<h2 style="font-size:16px;margin:4px 0;color:#1f2328">{title}</h2>{parts}</section>'
)
_LINE = Markup('<p style="margin:4px 0;color:{colour}">{text}</p>')
_BADGE = Markup(
    '<span style="background:{colour};color:#fff;border-radius:9px;padding:1px 8px;'
    'white-space:nowrap">{text}</span>'
)
_GRID = Markup(
    '<table style="border-collapse:separate;border-spacing:0;width:auto;margin:8px 0">'
    "<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
)
_HEAD = Markup(
    '<th scope="col" style="padding:4px 10px;border:0;text-align:left;color:#59636e">{}</th>'
)
_ROW = Markup("<tr>{}</tr>")
_CELL = Markup(
    '<td style="padding:4px 10px;border:0;border-top:1px solid #d1d9e0;text-align:left;'
    'color:#1f2328;unicode-bidi:isolate;vertical-align:top">{}</td>'
)


def section(title: str, parts: Iterable[Markup]) -> Markup:
    """A card with a title and what this module makes, from top to bottom."""
    return _SECTION.format(title=visible(title), parts=Markup().join(parts))


def line(text: str, colour: str = GREY) -> Markup:
    """A line of text."""
    return _LINE.format(colour=colour, text=visible(text))


def badge(text: str, colour: str) -> Markup:
    """A word on a coloured ground."""
    return _BADGE.format(colour=colour, text=visible(text))


def grid(columns: Sequence[str], rows: Iterable[Sequence[str | Markup]]) -> Markup:
    """A table; a cell is text, or HTML that this package made."""
    return _GRID.format(
        head=Markup().join(_HEAD.format(name) for name in columns),
        body=Markup().join(
            _ROW.format(
                Markup().join(
                    _CELL.format(cell if isinstance(cell, Markup) else visible(cell))
                    for cell in row
                )
            )
            for row in rows
        ),
    )
