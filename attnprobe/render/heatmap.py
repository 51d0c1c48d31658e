"""The heatmap: who looks at whom, in one head or in the mean of several.

A text of up to 40 tokens is drawn as a grid of all rows. A longer one, where the rows in question
are known, is drawn as a strip of these rows only, broken into lines as text is.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from attnprobe.records import Floats
from attnprobe.render.style import (
    CARD,
    CONTRAST,
    EXPECTED,
    INK,
    MAP,
    MUTED,
    Drawing,
    to_svg,
    width_of,
)
from attnprobe.render.text import shortened, visible

__all__ = ["Cells", "heatmap", "to_svg"]

MOST_WITH_DIGITS = 14
MOST_IN_GRID = 40

# Lengths are in points.
_PAD = 16.0
_TITLE = 11.0
_TITLE_ROOM = 330.0  # a narrow picture grows to this width for its title
_LINE = 15.0
_SMALL = 8.0
_BAR = 9.0
_BAR_GAP = 14.0
_BAR_TEXT = 36.0
_LEAST_BAR = 96.0  # what the name of the colour bar needs
_SLANT = math.sqrt(0.5)  # column labels slant by 45°
_ROW_NAME = "from (target token)"
_COLUMN_NAME = "to (source token)"


@dataclass(frozen=True)
class Cells:
    """The cells of some target positions (rows) and some source positions (columns)."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]


class _Outline(NamedTuple):
    name: str
    color: str
    style: str | tuple[int, tuple[int, int]]
    cells: Cells


@dataclass(frozen=True)
class _Block:
    """Cells that are drawn together: the whole grid, or one line of a strip.

    Attributes:
        rows, columns: the token positions shown.
        row_labels, column_labels: their tokens.
        cell: side of a cell.
        size: type size of the labels.
    """

    rows: Sequence[int]
    columns: Sequence[int]
    row_labels: Sequence[str]
    column_labels: Sequence[str]
    cell: float
    size: float

    @property
    def width(self) -> float:
        return len(self.columns) * self.cell

    @property
    def height(self) -> float:
        return len(self.rows) * self.cell

    @property
    def left(self) -> float:
        """Room that the labels need on the left."""
        slanted = (
            width_of(label, self.size) * _SLANT - (number + 0.5) * self.cell
            for number, label in enumerate(self.column_labels)
        )
        level = max(width_of(label, self.size) for label in self.row_labels) + 1.5 * _SMALL
        return max(level, *slanted) + 6

    @property
    def below(self) -> float:
        """Room that the labels need below."""
        longest = max(width_of(label, self.size) for label in self.column_labels)
        return longest * _SLANT + self.size + 6


def heatmap(
    weights: Floats,
    *,
    queries: Sequence[str],
    keys: Sequence[str],
    title: str,
    expected: Cells | None = None,
    contrast: Cells | None = None,
    rows: Collection[int] | None = None,
) -> Drawing:
    """Draws attention weights: source tokens on x, target tokens on y, brighter is more.

    Colours run from 0 to the largest weight shown. Weights stand in the cells up to 14 tokens.

    Args:
        weights: `[target, source]`.
        queries: the target tokens.
        keys: the source tokens.
        title: model, head and case.
        expected, contrast: cells to outline, the first solid, the second dashed.
        rows: target positions in question; above 40 tokens only these, and those of the outlined
            cells, are drawn.

    Raises:
        ValueError: there are no weights, or tokens, cells or rows do not fit them.
    """
    if weights.shape != (len(queries), len(keys)) or not weights.size:
        raise ValueError(
            f"weights of shape {list(weights.shape)} do not fit "
            f"{len(queries)} target and {len(keys)} source tokens"
        )
    marked = [cells for cells in (expected, contrast) if cells]
    in_question = {row for cells in marked for row in cells.rows}.union(rows or ())
    columns = {column for cells in marked for column in cells.columns}
    if in_question.difference(range(len(queries))) or columns.difference(range(len(keys))):
        raise ValueError("a cell or row to show lies outside the weights")
    blocks = _blocks(queries, keys, sorted(in_question))
    outlines = [
        _Outline(name, color, style, cells)
        for name, color, style, cells in (
            ("expected", EXPECTED, "solid", expected),
            ("contrast", CONTRAST, (0, (2, 1)), contrast),
        )
        if cells
    ]
    title = visible(title)

    left = _PAD + max(block.left for block in blocks)
    bar_left = left + blocks[0].width + _BAR_GAP
    width = max(
        bar_left + _BAR + _BAR_TEXT + _PAD, min(width_of(title, _TITLE), _TITLE_ROOM) + 2 * _PAD
    )
    title_lines = _wrapped(title, width - 2 * _PAD)
    head = _PAD + _LINE * len(title_lines) + (_LINE if outlines else 0) + 8
    body = sum(block.height + block.below for block in blocks) + _LINE
    bar_height = max(blocks[0].height if len(blocks) == 1 else body - _LINE, _LEAST_BAR)
    height = head + max(body, bar_height) + _PAD

    drawing = Drawing(width, height)
    for number, line in enumerate(title_lines):
        drawing.write(_PAD, height - _PAD - _TITLE - number * _LINE, line, size=_TITLE, bold=True)
    if outlines:
        _draw_legend(drawing, outlines, height - head + 10)
    ceiling = float(weights[blocks[0].rows].max()) or 1.0
    top = height - head
    _draw_bar(drawing, bar_left, top, bar_height, ceiling)
    for block in blocks:
        part = weights[np.ix_(block.rows, block.columns)]
        axes = _axes(drawing, left, top, block.width, block.height)
        axes.imshow(part, cmap=MAP, vmin=0, vmax=ceiling, interpolation="none", aspect="auto")
        _draw_separators(axes, block)
        if max(weights.shape) <= MOST_WITH_DIGITS:
            drawing.add_artist(_Digits(part, ceiling, axes))
        _draw_labels(drawing, block, outlines, left, top)
        for outline in reversed(outlines):
            _draw_outline(axes, outline, block)
        top -= block.height + block.below
    _draw_axis_names(drawing, blocks[0], left, height - head, top)
    return drawing


def _blocks(
    queries: Sequence[str], keys: Sequence[str], in_question: Sequence[int]
) -> list[_Block]:
    strip = bool(in_question) and max(len(queries), len(keys)) > MOST_IN_GRID
    shown = in_question if strip else range(len(queries))
    lines = math.ceil(len(keys) / MOST_IN_GRID) if strip else 1
    across = math.ceil(len(keys) / lines)
    most = max(across, len(shown))
    # Large enough for digits, then for a label, then as large as a page has room for.
    cell = min(30.0, max(460 / most, 15.0)) if most <= MOST_IN_GRID else max(600 / most, 1.5)
    return [
        _Block(
            rows=shown,
            columns=columns,
            row_labels=[shortened(queries[row]) for row in shown],
            column_labels=[shortened(keys[column]) for column in columns],
            cell=cell,
            size=9.0 if cell >= 24 else _SMALL,
        )
        for start in range(0, len(keys), across)
        for columns in [range(start, min(start + across, len(keys)))]
    ]


def _wrapped(text: str, width: float) -> list[str]:
    """Lines of at most this width in the title's type."""
    needed = width_of(text, _TITLE)
    return textwrap.wrap(text, max(1, int(len(text) * width / needed))) if needed else []


def _axes(drawing: Drawing, left: float, top: float, width: float, height: float) -> Axes:
    box = Bbox.from_bounds(left, top - height, width, height)
    axes = drawing.add_axes(box.transformed(drawing.points - drawing.transFigure).bounds)
    axes.set_axis_off()
    return axes


def _draw_separators(axes: Axes, block: _Block) -> None:
    rows, columns = len(block.rows), len(block.columns)
    thickness = block.cell / 30
    axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, colors=CARD, linewidths=thickness)
    axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, colors=CARD, linewidths=thickness)


class _Digits(Artist):
    """The weights of a block, written in its cells.

    One artist for all of them: a `Text` for each would double the time of a picture.
    """

    def __init__(self, part: Floats, ceiling: float, axes: Axes) -> None:
        super().__init__()
        self.set_zorder(3)
        self._part = part
        colors = matplotlib.colormaps[MAP](part / ceiling)
        self._bright = colors[..., :3] @ (0.299, 0.587, 0.114) > 0.5
        self._to_pixels = axes.transData

    def draw(self, renderer: RendererBase) -> None:
        font = FontProperties(family="sans-serif", size=_SMALL)
        width, height, _ = renderer.get_text_width_height_descent("0.00", font, ismath=False)
        canvas_height = renderer.get_canvas_width_height()[1]
        pen = renderer.new_gc()
        for (row, column), weight in np.ndenumerate(self._part):
            pen.set_foreground(INK if self._bright[row, column] else CARD)
            x, y = self._to_pixels.transform((column, row)) - (width / 2, height / 2)
            if renderer.flipy():
                y = canvas_height - y
            renderer.draw_text(pen, x, y, f"{weight:.2f}", font, 0)
        pen.restore()


def _draw_labels(
    drawing: Drawing, block: _Block, outlines: Sequence[_Outline], left: float, top: float
) -> None:
    """Tokens beside the rows and below the columns, bold where a cell is outlined.

    Where labels would overlap, every second or third is left out.
    """
    rows = {row for outline in outlines for row in outline.cells.rows}
    columns = {column for outline in outlines for column in outline.cells.columns}
    step = math.ceil(1.3 * block.size / block.cell)
    for number in range(0, len(block.rows), step):
        bold = block.rows[number] in rows
        drawing.write(
            left - 5,
            top - (number + 0.5) * block.cell - 0.36 * block.size,
            block.row_labels[number],
            size=block.size,
            color=INK if bold else MUTED,
            align="right",
            bold=bold,
        )
    for number in range(0, len(block.columns), step):
        bold = block.columns[number] in columns
        drawing.write(
            left + (number + 0.5) * block.cell + 0.3 * block.size,
            top - block.height - 5 - 0.6 * block.size,
            block.column_labels[number],
            size=block.size,
            color=INK if bold else MUTED,
            align="right",
            rotation=45,
            bold=bold,
        )


def _draw_outline(axes: Axes, outline: _Outline, block: _Block) -> None:
    rows = [number for number, row in enumerate(block.rows) if row in outline.cells.rows]
    columns = [
        number for number, column in enumerate(block.columns) if column in outline.cells.columns
    ]
    width = max(2.1, block.cell / 12)
    rim = (CARD, 1.9 * width, "solid", None)  # sets the outline off from any colour
    for row, down in _runs(rows):
        for column, across in _runs(columns):
            name = f"{outline.name}-{block.rows[row]}-{block.columns[column]}"
            for color, thickness, style, gid in (
                rim,
                (outline.color, width, outline.style, name),
            ):
                axes.add_patch(
                    Rectangle(
                        (column - 0.5, row - 0.5),
                        across,
                        down,
                        fill=False,
                        edgecolor=color,
                        linewidth=thickness,
                        linestyle=style,
                        joinstyle="round",
                        clip_on=False,
                        zorder=3,
                        gid=gid,
                    )
                )


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First number and length of each run of neighbours: 2 3 4 7 → (2, 3) (7, 1)."""
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            yield numbers[start], end - start
            start = end


def _draw_legend(drawing: Drawing, outlines: Sequence[_Outline], y: float) -> None:
    x = _PAD
    for outline in outlines:
        drawing.add_artist(
            Rectangle(
                (x + 1, y - 1),
                14,
                8,
                fill=False,
                edgecolor=outline.color,
                linewidth=1.8,
                linestyle=outline.style,
                transform=drawing.points,
            )
        )
        drawing.write(x + 21, y, outline.name, size=_SMALL, color=MUTED)
        x += 33 + width_of(outline.name, _SMALL)


def _draw_bar(drawing: Drawing, left: float, top: float, height: float, ceiling: float) -> None:
    axes = _axes(drawing, left, top, _BAR, height)
    axes.imshow(
        np.linspace(0, 1, 256)[:, np.newaxis],
        cmap=MAP,
        origin="lower",
        interpolation="none",
        aspect="auto",
    )
    for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, ceiling):
        if 0 <= tick <= ceiling:
            y = top - height * (1 - tick / ceiling) - 0.36 * _SMALL
            drawing.write(left + _BAR + 4, y, f"{tick:.3g}", size=_SMALL, color=MUTED)
    drawing.write(
        left + _BAR + _BAR_TEXT - 2,
        top - height / 2,
        "attention weight",
        size=_SMALL,
        color=MUTED,
        align="center",
        rotation=90,
    )


def _draw_axis_names(
    drawing: Drawing, first: _Block, left: float, top: float, bottom: float
) -> None:
    drawing.write(
        left + first.width / 2,
        bottom - _SMALL,
        _COLUMN_NAME,
        size=_SMALL,
        color=MUTED,
        align="center",
    )
    if first.height >= width_of(_ROW_NAME, _SMALL):
        drawing.write(
            _PAD + _SMALL,
            top - first.height / 2,
            _ROW_NAME,
            size=_SMALL,
            color=MUTED,
            align="center",
            rotation=90,
        )
