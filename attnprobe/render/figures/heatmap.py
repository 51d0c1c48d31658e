"""Draws the heatmap of one head's attention weights, or of the mean of several heads.

A text of up to 40 tokens is a grid of all rows. Of a longer text only the rows in question are
drawn, if these are known: a strip that is broken into lines, as text is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import WHOLE_PICTURE, Cells
from attnprobe.core.printing import as_label
from attnprobe.core.wording import format_short
from attnprobe.render.figures.fonts import width_of
from attnprobe.render.figures.frame import (
    BAR_ROOM,
    LEAST_BAR,
    LINE,
    PAD,
    SLANT,
    SMALL,
    Digits,
    Scale,
    add_axes,
    draw_bar,
    draw_cells,
    draw_slanted,
    frame,
    frame_cells,
    spread,
    step_of,
)
from attnprobe.render.figures.outlines import Outline, draw_outlines, outlines_of
from attnprobe.render.figures.style import Drawing
from attnprobe.render.palette import CARD, INK, MUTED, RULE

MOST_WITH_DIGITS = 14

_ROW_NAME = "from (target token)"
_COLUMN_NAME = "to (source token)"


@dataclass(frozen=True)
class _Block:
    """Cells that are drawn together: the whole grid, or one line of a strip.

    Attributes:
        rows, columns: the drawn token positions.
        row_labels, column_labels: the tokens at these positions.
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
        """The width of the labels on the left."""
        slanted = (
            width_of(label, self.size) * SLANT - (number + 0.5) * self.cell
            for number, label in enumerate(self.column_labels)
        )
        level = max(width_of(label, self.size) for label in self.row_labels) + 1.5 * SMALL
        return max(level, *slanted) + 6

    @property
    def below(self) -> float:
        """The height of the labels below."""
        longest = max(width_of(label, self.size) for label in self.column_labels)
        return longest * SLANT + self.size + 6


def heatmap(
    weights: Floats,
    *,
    queries: Sequence[str],
    keys: Sequence[str],
    title: str,
    expected: Cells | None = None,
    contrast: Cells | None = None,
    rows: Collection[int] | None = None,
    scale: Scale | None = None,
    measure: str = "attention weight",
    write: Callable[[float], str] = format_short,
) -> Drawing:
    """Draws attention weights: source tokens on x, target tokens on y, brighter is more.

    By default, colours run from 0 to the largest drawn weight. For at most 14 tokens, the cells
    contain their weights.

    Args:
        weights: `[target, source]`.
        queries: the target tokens.
        keys: the source tokens.
        title: model, head and case.
        expected, contrast: cells to outline, `expected` solid and `contrast` dashed.
        rows: target positions in question; above 40 tokens only these rows and those of the
            outlined cells are drawn.
        scale: the colours of the weights.
        measure: name of the numbers, for the colour bar.
        write: formats a weight for its cell.

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
    outlines = outlines_of(expected, contrast)
    left = PAD + max(block.left for block in blocks)
    right = left + blocks[0].width
    body = sum(block.height + block.below for block in blocks) + LINE
    bar_height = max(blocks[0].height if len(blocks) == 1 else body - LINE, LEAST_BAR)
    legend = [outline.legend for outline in outlines]
    drawing, top = frame(title, right + BAR_ROOM - PAD, max(body, bar_height), legend)
    scale = scale or spread(weights[blocks[0].rows])
    draw_bar(drawing, right, top, bar_height, scale, measure)
    _draw_row_name(drawing, blocks[0], top)
    for block in blocks:
        part = weights[np.ix_(block.rows, block.columns)]
        axes = add_axes(drawing, left, top, block.width, block.height)
        draw_cells(axes, part, scale)
        _draw_separators(axes, block, RULE if scale.low < 0 else CARD)
        if max(weights.shape) <= MOST_WITH_DIGITS:
            drawing.add_artist(Digits(part, scale, axes, write))
        _draw_labels(drawing, block, outlines, left, top)
        draw_outlines(
            axes,
            outlines,
            rows=block.rows,
            columns=block.columns,
            width=max(2.1, block.cell / 12),
        )
        top -= block.height + block.below
    x = left + blocks[0].width / 2
    drawing.write(x, top - SMALL, _COLUMN_NAME, size=SMALL, color=MUTED, align="center")
    return drawing


def _blocks(
    queries: Sequence[str], keys: Sequence[str], in_question: Sequence[int]
) -> list[_Block]:
    strip = bool(in_question) and max(len(queries), len(keys)) > WHOLE_PICTURE
    rows = in_question if strip else range(len(queries))
    lines = math.ceil(len(keys) / WHOLE_PICTURE) if strip else 1
    across = math.ceil(len(keys) / lines)
    most = max(across, len(rows))
    # A cell has room for digits, or for a label, or just the room that a page has left.
    cell = min(30.0, max(460 / most, 15.0)) if most <= WHOLE_PICTURE else max(600 / most, 1.5)
    return [
        _Block(
            rows=rows,
            columns=columns,
            row_labels=[as_label(queries[row]) for row in rows],
            column_labels=[as_label(keys[column]) for column in columns],
            cell=cell,
            size=9.0 if cell >= 24 else SMALL,
        )
        for start in range(0, len(keys), across)
        for columns in [range(start, min(start + across, len(keys)))]
    ]


def _draw_separators(axes: Axes, block: _Block, color: str) -> None:
    rows, columns = len(block.rows), len(block.columns)
    thickness = block.cell / 30
    lines = [((at - 0.5, -0.5), (at - 0.5, rows - 0.5)) for at in range(1, columns)]
    lines += [((-0.5, at - 0.5), (columns - 0.5, at - 0.5)) for at in range(1, rows)]
    if lines:
        # In a collection, each line would be a separate element of the SVG; one path has them all.
        codes = [Path.MOVETO, Path.LINETO] * len(lines)
        grid = Path(np.reshape(lines, (-1, 2)), codes)
        axes.add_patch(
            PathPatch(grid, fill=False, edgecolor=color, linewidth=thickness, clip_on=False)
        )
    if color != CARD:  # a cell without change is as white as the card
        frame_cells(axes, rows, columns)


def _draw_labels(
    drawing: Drawing, block: _Block, outlines: Sequence[Outline], left: float, top: float
) -> None:
    """Writes tokens beside rows and below columns, bold beside an outlined cell.

    If labels would overlap, only every second, third … is written.
    """
    rows = {row for outline in outlines for row in outline.cells.rows}
    columns = {column for outline in outlines for column in outline.cells.columns}
    step = step_of(block.cell, block.size)
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
        x = left + (number + 0.5) * block.cell
        bold = block.columns[number] in columns
        label = block.column_labels[number]
        draw_slanted(drawing, x, top - block.height, label, block.size, bold=bold)


def _draw_row_name(drawing: Drawing, first: _Block, top: float) -> None:
    if first.height >= width_of(_ROW_NAME, SMALL):
        drawing.write(
            PAD + SMALL,
            top - first.height / 2,
            _ROW_NAME,
            size=SMALL,
            color=MUTED,
            align="center",
            rotation=90,
        )
