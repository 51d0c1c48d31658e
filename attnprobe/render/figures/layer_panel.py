"""Draws all heads of a layer side by side, with one scale of colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnprobe.core.charts import Cells, LayerPanel
from attnprobe.core.printing import as_label
from attnprobe.core.sites import Head
from attnprobe.render.figures.fonts import width_of
from attnprobe.render.figures.frame import (
    BAR_ROOM,
    LINE,
    PAD,
    SLANT,
    SMALL,
    add_axes,
    bar_height,
    decided_legend,
    draw_bar,
    draw_cells,
    draw_outline,
    draw_slanted,
    frame,
    marked,
    spread,
    step_of,
)
from attnprobe.render.figures.outlines import draw_outlines, outlines_of
from attnprobe.render.figures.style import Drawing
from attnprobe.render.palette import INK, MUTED

_ROOM = 640.0  # all panels of a row
_GAP = 11.0
_CELL = 20.0
_NAME = "attention weight"


def layer_panel(
    chart: LayerPanel,
    *,
    queries: Sequence[str],
    keys: Sequence[str],
    title: str,
    expected: Cells | None = None,
    contrast: Cells | None = None,
) -> Drawing:
    """Draws a small heatmap of each head: source tokens on x, target tokens on y.

    Colours run from 0 to the largest weight of the layer, the same in all panels. Tokens are
    written once beside each row of panels and once below each column; if they would overlap, only
    every second, third … is written. The deciding heads are outlined.

    Args:
        queries: the target tokens.
        keys: the source tokens.
        expected, contrast: cells to outline in each heatmap, as in `heatmap`.

    Raises:
        ValueError: there are no weights, or the tokens do not fit them.
    """
    weights = chart.weights
    if weights.shape[1:] != (len(queries), len(keys)) or not weights.size:
        raise ValueError(
            f"weights of shape {list(weights.shape)} do not fit "
            f"{len(queries)} target and {len(keys)} source tokens"
        )
    heads = [Head(chart.layer, number) for number in range(len(weights))]
    deciding = marked(chart.decided, heads)
    across = _across(len(weights))
    down = math.ceil(len(weights) / across)
    most = max(len(queries), len(keys))
    cell = min(_CELL, (_ROOM / across - _GAP) / most)
    width, height = len(keys) * cell, len(queries) * cell
    size = 7.0 if cell < 11 else SMALL
    rows, columns = [as_label(token) for token in queries], [as_label(token) for token in keys]
    level = max(width_of(label, size) for label in rows)
    slanted = max(
        width_of(label, size) * SLANT - (number + 0.5) * cell
        for number, label in enumerate(columns)
    )
    left = PAD + max(level, slanted) + 8
    below = max(width_of(label, size) for label in columns) * SLANT + size + 6
    pitch, stride = width + _GAP, height + LINE + _GAP / 2
    right = left + across * pitch - _GAP
    body = down * stride - _GAP / 2
    bar = bar_height(body - LINE, _NAME)

    outlines = outlines_of(expected, contrast)
    drawing, top = frame(
        title,
        right + BAR_ROOM - PAD,
        max(body + below, bar),
        (*decided_legend(deciding), *(outline.legend for outline in outlines)),
    )
    scale = spread(weights)
    draw_bar(drawing, right, top - LINE, bar, scale, _NAME)
    step = step_of(cell, size)
    for number, (head, part) in enumerate(zip(heads, weights, strict=True)):
        decided = head in deciding
        x = left + number % across * pitch
        y = top - number // across * stride - LINE
        axes = add_axes(drawing, x, y, width, height)
        draw_cells(axes, part, scale)
        draw_outlines(
            axes,
            outlines,
            rows=range(len(queries)),
            columns=range(len(keys)),
            width=min(2.1, max(0.8, cell / 8)),
            prefix=f"{head}-",
        )
        drawing.write(
            x, y + 4, str(head), size=SMALL, color=INK if decided else MUTED, bold=decided
        )
        if decided:
            box = ((-0.5, -0.5), (len(keys), len(queries)))
            draw_outline(axes, *box, name=f"decided-{head}")
        if number % across == 0:
            for row in range(0, len(rows), step):
                foot = y - (row + 0.5) * cell - 0.36 * size
                drawing.write(x - 5, foot, rows[row], size=size, color=MUTED, align="right")
        if number + across >= len(weights):
            for column in range(0, len(columns), step):
                middle = x + (column + 0.5) * cell
                draw_slanted(drawing, middle, y - height, columns[column], size)
    return drawing


def _across(count: int) -> int:
    """The number of panels in a row: a wide rectangle with as few empty places as possible."""
    least, most = math.ceil(math.sqrt(count)), math.ceil(math.sqrt(2 * count))
    return min(range(least, most + 1), key=lambda across: -count % across)
