"""Draws a score of every head as a grid: layers on y, heads on x."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from attnprobe.core.charts import HeadGrid
from attnprobe.core.printing import as_label
from attnprobe.core.sites import Head
from attnprobe.render.figures.fonts import width_of
from attnprobe.render.figures.frame import (
    BAR_ROOM,
    LINE,
    PAD,
    SMALL,
    Digits,
    Scale,
    add_axes,
    bar_height,
    decided_legend,
    draw_bar,
    draw_cells,
    draw_outline,
    frame,
    marked,
    signed,
    spread,
    step_of,
)
from attnprobe.render.figures.style import Drawing
from attnprobe.render.palette import MUTED

_LEFT = 48.0  # room for the names of the layers and of their axis
_NUMBER = (25.0, 11.0)  # the smallest cell that holds a number
_MEASURE = 48


def head_grid(chart: HeadGrid, *, title: str) -> Drawing:
    """Draws a score of every head, brighter is more, with the deciding heads outlined.

    Colours run from 0 to the largest score; with a negative score, the scale is symmetric and in
    two colours. Cells contain their scores if these fit. The cell of a missing head is empty.

    Raises:
        ValueError: there are no scores, or they do not fit the layers.
    """
    scores, layers = chart.scores, chart.layers
    if scores.ndim != 2 or len(scores) != len(layers) or not scores.size:
        raise ValueError(f"scores of shape {list(scores.shape)} do not fit {len(layers)} layers")
    heads = scores.shape[1]
    present = np.argwhere(np.isfinite(scores)).tolist()
    deciding = marked(chart.decided, [Head(layers[layer], head) for layer, head in present])
    across, down = _side(heads, 30.0, 15.0), _side(len(layers), 24.0, 13.0)
    width, height = heads * across, len(layers) * down
    measure = as_label(chart.measure, _MEASURE)
    bar = bar_height(height, measure)
    drawing, top = frame(
        title,
        _LEFT + width + BAR_ROOM,
        max(height + 2 * LINE, bar),
        decided_legend(deciding),
    )
    left = PAD + _LEFT
    scale = spread(scores)
    draw_bar(drawing, left + width, top, bar, scale, measure)
    axes = add_axes(drawing, left, top, width, height)
    draw_cells(axes, scores, scale)
    axes.set_xlim(-0.5, heads - 0.5)
    if across >= _NUMBER[0] and down >= _NUMBER[1]:
        _draw_numbers(drawing, axes, chart, scale)
    step = step_of(down, SMALL)
    for number in range(0, len(layers), step):
        y = top - (number + 0.5) * down - 0.36 * SMALL
        drawing.write(left - 5, y, f"L{layers[number]}", size=SMALL, color=MUTED, align="right")
    step = math.ceil((width_of(f"H{heads}", SMALL) + 2) / across)
    for number in range(0, heads, step):
        x, y = left + (number + 0.5) * across, top - height - 5 - 0.72 * SMALL
        drawing.write(x, y, f"H{number}", size=SMALL, color=MUTED, align="center")
    drawing.write(
        left + width / 2,
        top - height - 2 * LINE + 4,
        "head",
        size=SMALL,
        color=MUTED,
        align="center",
    )
    drawing.write(
        PAD + SMALL, top - height / 2, "layer", size=SMALL, color=MUTED, align="center", rotation=90
    )
    for head in deciding:
        corner = (head.head - 0.5, layers.index(head.layer) - 0.5)
        draw_outline(axes, corner, (1, 1), name=f"decided-{head}")
    return drawing


def _side(count: int, largest: float, smallest: float) -> float:
    """The side of a cell; more than 40 cells shrink below the size of a label."""
    return min(largest, max(460 / count, smallest)) if count <= 40 else max(600 / count, 1.5)


def _draw_numbers(drawing: Drawing, axes: Axes, chart: HeadGrid, scale: Scale) -> None:
    write = partial(signed, high=scale.high)
    drawing.add_artist(Digits(chart.scores, scale, axes, write))
