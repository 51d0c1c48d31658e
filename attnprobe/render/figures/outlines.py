"""Outlines around the cells of the words in question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from attnprobe.core.charts import Cells
from attnprobe.render.figures.frame import LegendEntry, draw_outline
from attnprobe.render.palette import CONTRAST, EXPECTED


class Outline(NamedTuple):
    """Cells with an outline of a colour and a style of line."""

    name: str
    color: str
    style: str | tuple[int, tuple[int, int]]
    cells: Cells

    @property
    def legend(self) -> LegendEntry:
        return LegendEntry(self.name, self.color, self.style)


def outlines_of(expected: Cells | None, contrast: Cells | None) -> list[Outline]:
    """The outlines of these cells: solid for `expected`, dashed for `contrast`."""
    styles: tuple[tuple[str, str, str | tuple[int, tuple[int, int]], Cells | None], ...] = (
        ("expected", EXPECTED, "solid", expected),
        ("contrast", CONTRAST, (0, (2, 1)), contrast),
    )
    return [Outline(name, color, style, cells) for name, color, style, cells in styles if cells]


def draw_outlines(
    axes: Axes,
    outlines: Sequence[Outline],
    *,
    rows: Sequence[int],
    columns: Sequence[int],
    width: float,
    prefix: str = "",
) -> None:
    """Draws outlines; neighbouring cells of an outline share one box.

    Args:
        rows, columns: the target and source positions that the axes show.
        width: width of the lines.
        prefix: start of the ids of the outlines in the SVG.
    """
    for outline in reversed(outlines):
        down = [number for number, row in enumerate(rows) if row in outline.cells.rows]
        across = [number for number, at in enumerate(columns) if at in outline.cells.columns]
        for row, height in _runs(down):
            for column, breadth in _runs(across):
                draw_outline(
                    axes,
                    (column - 0.5, row - 0.5),
                    (breadth, height),
                    name=f"{prefix}{outline.name}-{rows[row]}-{columns[column]}",
                    color=outline.color,
                    style=outline.style,
                    width=width,
                )


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first number and the length of each run of neighbours: 2 3 4 7 → (2, 3) (7, 1)."""
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            yield numbers[start], end - start
            start = end
