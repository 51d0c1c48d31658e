"""Draws statistics of the heads over the layers, as small multiples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from attnprobe.core.charts import Curves
from attnprobe.core.printing import visible
from attnprobe.core.sites import Head
from attnprobe.core.wording import format_tick
from attnprobe.render.figures.fonts import width_of
from attnprobe.render.figures.frame import (
    LINE,
    PAD,
    SMALL,
    LegendEntry,
    Scale,
    add_axes,
    frame,
    marked,
    ticks,
    wrapped,
)
from attnprobe.render.figures.labels import spots
from attnprobe.render.figures.style import Drawing
from attnprobe.render.palette import CARD, EXPECTED, INK, MUTED, RULE, STROKE

_ACROSS = 3
_WIDTH, _HEIGHT = 250.0, 150.0
_LEFT = 30.0  # room for the numbers of the axis
_RIGHT = 34.0  # room for the word mean
_BELOW = 30.0
_GAP = 14.0
_Array = npt.NDArray[np.float64]


def curves(panels: Sequence[Curves], *, title: str) -> Drawing:
    """Draws a panel for each statistic: layers on x, values on y.

    The y axis starts at 0, or below the least value if that is negative. A thin line joins the
    heads of one number (H0 of every layer), the thick line is the mean over a layer's heads. The
    deciding heads are marked and named.

    Raises:
        ValueError: there is no panel, or the values of a panel are empty or do not fit its layers.
    """
    for panel in panels:
        if panel.values.ndim != 2 or len(panel.values) != len(panel.layers):
            raise ValueError(
                f"values of shape {list(panel.values.shape)} do not fit {len(panel.layers)} layers"
            )
    if not panels or not all(panel.values.size for panel in panels):
        raise ValueError("there is nothing to draw: no values")
    across = min(_ACROSS, len(panels))
    names = [wrapped(visible(panel.measure), _WIDTH, SMALL + 1) for panel in panels]
    over = max(map(len, names)) * (LINE - 2) + 4
    pitch, stride = _LEFT + _WIDTH + _RIGHT + _GAP, over + _HEIGHT + _BELOW
    drawing, top = frame(
        title,
        across * pitch - _GAP,
        math.ceil(len(panels) / across) * stride,
        (LegendEntry("thin: heads of one number, thick: mean of the layer"),),
    )
    for number, (panel, lines) in enumerate(zip(panels, names, strict=True)):
        left = PAD + _LEFT + number % across * pitch
        upper = top - number // across * stride
        for index, line in enumerate(lines):
            y = upper - (index + 1) * (LINE - 2) + 4
            drawing.write(left - _LEFT, y, line, size=SMALL + 1, color=INK)
        _draw_panel(drawing, panel, left, upper - over)
    return drawing


def _draw_panel(drawing: Drawing, panel: Curves, left: float, top: float) -> None:
    values = panel.values.astype(np.float64)
    present = np.argwhere(np.isfinite(values)).tolist()
    decided = marked(
        panel.decided, [Head(panel.layers[place], number) for place, number in present]
    )
    panel = replace(panel, decided=decided)
    places = np.arange(len(panel.layers))
    scale = _scale(values)
    axes = add_axes(drawing, left, top, _WIDTH, _HEIGHT)
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_ylim(scale.low, scale.high)
    for tick in ticks(scale):
        axes.axhline(tick, color=RULE, linewidth=0.8 if tick else 1.2, zorder=0)
        y = top - _HEIGHT * (scale.high - tick) / (scale.high - scale.low)
        drawing.write(
            left - 5, y - 0.36 * SMALL, format_tick(tick), size=SMALL, color=MUTED, align="right"
        )
    slot = _WIDTH / len(places)
    step = math.ceil((width_of(f"L{panel.layers[-1]}", SMALL) + 2) / slot)
    for place in range(0, len(places), step):
        x, y = left + (place + 0.5) * slot, top - _HEIGHT - 5 - 0.72 * SMALL
        drawing.write(x, y, f"L{panel.layers[place]}", size=SMALL, color=MUTED, align="center")
    drawing.write(
        left + _WIDTH / 2,
        top - _HEIGHT - _BELOW + 4,
        "layer",
        size=SMALL,
        color=MUTED,
        align="center",
    )
    _draw_lines(axes, panel, values)
    _draw_names(drawing, panel, values, scale, left, top)


def _scale(values: _Array) -> Scale:
    """A scale from 0, or from below a negative least value, to above the largest value."""
    found = values[np.isfinite(values)]
    low, high = float(found.min(initial=0.0)), float(found.max(initial=0.0))
    margin = 0.06 * (high - low) or 1.0
    return Scale(low - margin if low < 0 else 0.0, high + margin)


def _draw_lines(axes: Axes, panel: Curves, values: _Array) -> None:
    places = np.arange(len(panel.layers))
    for number, line in enumerate(values.T):
        axes.plot(
            places,
            line,
            color=STROKE,
            alpha=0.3,
            linewidth=0.9,
            solid_capstyle="round",
            marker="o",
            markersize=2.2,
            markeredgewidth=0,
            clip_on=False,
            gid=f"head-{number}",
        )
    axes.plot(
        places,
        _mean(values),
        color=INK,
        linewidth=2.4,
        solid_capstyle="round",
        marker="o",
        markersize=4,
        clip_on=False,
        zorder=3,
        gid="mean",
    )
    for head in panel.decided:
        place = panel.layers.index(head.layer)
        axes.plot(
            [place],
            [values[place, head.head]],
            color=EXPECTED,
            marker="o",
            markersize=6,
            markeredgecolor=CARD,
            clip_on=False,
            zorder=4,
            gid=f"decided-{head}",
        )


def _mean(values: _Array) -> _Array:
    """The mean over the heads of each layer, `[layers]`; NaN for a layer without heads."""
    present = np.isfinite(values)
    total = np.where(present, values, 0.0).sum(axis=1)
    counts = present.sum(axis=1)
    mean: _Array = np.where(counts, total / np.maximum(counts, 1), np.nan)
    return mean


def _draw_names(
    drawing: Drawing, panel: Curves, values: _Array, scale: Scale, left: float, top: float
) -> None:
    """Writes the names of deciding heads and of the mean beside their points, not on its line."""
    mean = _mean(values)
    places = np.flatnonzero(np.isfinite(mean))
    if not places.size:
        return
    per_unit = _HEIGHT / (scale.high - scale.low)

    def point(place: float, value: float) -> tuple[float, float]:
        x = left + (place + 0.5) * _WIDTH / len(panel.layers)
        return x, top - _HEIGHT + (value - scale.low) * per_unit

    points = []
    for head in panel.decided:
        place = panel.layers.index(head.layer)
        points.append(point(place, values[place, head.head]))
    points.append(point(places[-1], mean[places[-1]]))
    names = [*map(str, panel.decided), "mean"]
    along = np.linspace(places[0], places[-1], 24 * len(places))
    line = [*map(point, along, np.interp(along, places, mean[places]))]
    found = spots(
        points + line,
        names + [""] * len(line),
        size=SMALL,
        dot=2.5,
        room=(left, top - _HEIGHT, left + _WIDTH + _RIGHT, top + SMALL),
        far=[12.0] * len(names) + [0.0] * len(line),
    )
    for name, spot in zip(names, found, strict=False):  # the line has no names
        if spot:
            color = INK if name == "mean" else EXPECTED
            drawing.write(spot.x, spot.y, name, size=SMALL, color=color, bold=True)
