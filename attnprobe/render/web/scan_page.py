"""The page of a scan: one HTML file with its tables and all grids, without a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attnprobe.core.charts import HeadGrid
from attnprobe.render.web.charts import chart_html
from attnprobe.render.web.html import fill


class ScanTable(NamedTuple):
    """A table of a scan with the grids of its lines.

    Attributes:
        notes: what its numbers mean, in words.
        grids: a caption and a grid each.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    grids: Sequence[tuple[str, HeadGrid]]


def scan_page(title: str, *, subtitle: str, tables: Sequence[ScanTable]) -> str:
    """The HTML page of a scan; all text from users is escaped."""
    shown = [
        (table, [(caption, chart_html(grid)) for caption, grid in table.grids]) for table in tables
    ]
    return fill("scan.html", title=title, subtitle=subtitle, tables=shown)
