"""Draws the flow of attention from words, through the layers, to the words of the input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.path import Path

from attnprobe.core.charts import FlowGraph
from attnprobe.core.printing import as_label
from attnprobe.render.figures.fonts import width_of
from attnprobe.render.figures.frame import (
    LINE,
    PAD,
    SLANT,
    SMALL,
    LegendEntry,
    add_axes,
    frame,
    step_of,
)
from attnprobe.render.figures.style import Drawing
from attnprobe.render.palette import EXPECTED, INK, MUTED, RULE, STROKE

WIDEST = 20.0  # width in points of a line with the whole flow, if the columns have room
LEAST = 0.003  # the least flow of a line that is drawn; a thinner line could not be seen
_Array = npt.NDArray[np.float64]
_LEFT = 34.0
_DOT = 2.2


def flow_graph(chart: FlowGraph, *, title: str) -> Drawing:
    """Draws the flow from the start words, at the top, through each layer to the input.

    The start words share a flow of 1, and each layer's edges divide the flow at a word (rollout).
    The width of a line shows its flow; the red part of it ends at the marked words.

    Raises:
        ValueError: the edges do not fit words and layers, or a position lies outside the text.
    """
    count, layers = len(chart.labels), len(chart.layers)
    if chart.edges.shape != (layers, count, count) or not chart.edges.size:
        raise ValueError(
            f"edges of shape {list(chart.edges.shape)} do not fit {layers} layers of {count} words"
        )
    if not chart.start or not set(chart.start + chart.end) <= set(range(count)):
        raise ValueError("a flow starts and ends at words that the graph has")
    edges = np.nan_to_num(chart.edges.astype(np.float64))
    reach = _reach(edges, chart.start)
    share = _share_that_ends(edges, chart.end)

    labels = [as_label(label) for label in chart.labels]
    across = min(44.0, max(540 / count, 13.0)) if count <= 40 else max(700 / count, 3.0)
    down = min(44.0, max(400 / layers, 16.0))
    width, height = count * across, layers * down
    widths = [width_of(label, SMALL) * SLANT for label in labels]
    above = max(widths[number] for number in chart.start) + SMALL + 8
    slanted = (room - (number + 0.5) * across for number, room in enumerate(widths))
    left = PAD + max(_LEFT, *slanted)
    spill = max(widths[number] + (number + 0.5) * across - width for number in chart.start)
    legend = [LegendEntry("width: share of the flow (rollout)")]
    if chart.end:
        names = as_label(", ".join(labels[number] for number in chart.end), 60)
        legend.append(LegendEntry(f"what ends at {names}", EXPECTED))
    drawing, top = frame(
        title,
        left - PAD + width + max(spill, 8),
        above + height + max(widths) + SMALL + 3 * LINE / 2,
        legend,
    )
    top -= above
    axes = add_axes(drawing, left, top, width, height)
    axes.set_xlim(0, count)
    axes.set_ylim(0, layers)
    _draw_lines(axes, chart, edges, reach, share, min(WIDEST, across))
    _draw_dots(axes, reach, chart)

    for level, layer in enumerate(chart.layers):
        y = top - height + (level + 0.5) * down - 0.36 * SMALL
        drawing.write(left - 8, y, f"L{layer}", size=SMALL, color=MUTED, align="right")
    for number in chart.start:
        x = left + (number + 0.5) * across
        drawing.write(x, top + 9, labels[number], size=SMALL, rotation=45, bold=True)
    marked = set(chart.start + chart.end)
    every = step_of(across, SMALL)
    for number, label in enumerate(labels):
        bold = number in marked
        if number % every == 0 or bold:
            drawing.write(
                left + (number + 0.5) * across + 0.3 * SMALL,
                top - height - 9 - 0.6 * SMALL,
                label,
                size=SMALL,
                color=EXPECTED if number in chart.end else INK if bold else MUTED,
                align="right",
                rotation=45,
                bold=bold,
            )
    return drawing


def _reach(edges: _Array, start: tuple[int, ...]) -> _Array:
    """The flow at each word, `[layers + 1, words]`, the input first."""
    layers, count, _ = edges.shape
    reach = np.zeros((layers + 1, count))
    reach[layers, list(start)] = 1 / len(start)
    for layer in reversed(range(layers)):
        reach[layer] = reach[layer + 1] @ edges[layer]
    return reach


def _share_that_ends(edges: _Array, end: tuple[int, ...]) -> _Array:
    """The share of the flow at each word that ends at the marked words, `[layers + 1, words]`."""
    layers, count, _ = edges.shape
    share = np.zeros((layers + 1, count))
    share[0, list(end)] = 1.0
    for layer in range(layers):
        share[layer + 1] = edges[layer] @ share[layer]
    return share


def _draw_lines(
    axes: Axes, chart: FlowGraph, edges: _Array, reach: _Array, share: _Array, widest: float
) -> None:
    for layer, name in enumerate(chart.layers):
        carried = reach[layer + 1][:, np.newaxis] * edges[layer]
        ending = carried * share[layer]
        for mass, color, kind in ((carried, STROKE, "flow"), (ending, EXPECTED, "end")):
            pairs = np.argwhere(mass >= LEAST)
            pairs = pairs[np.argsort(mass[tuple(pairs.T)], kind="stable")]
            masses = mass[tuple(pairs.T)]
            opacity = 0.35 + 0.45 * np.sqrt(masses) if kind == "flow" else np.full(len(masses), 0.9)
            axes.add_collection(
                PathCollection(
                    [_line(high, low, layer) for high, low in pairs.tolist()],
                    facecolors="none",
                    edgecolors=[(color, alpha) for alpha in opacity.tolist()],
                    linewidths=(widest * masses).tolist(),
                    gid=f"{kind}-L{name}",
                    clip_on=False,
                    zorder=1 if kind == "flow" else 2,
                ),
                autolim=False,
            )


def _line(high: int, low: int, layer: int) -> Path:
    """A curve from a word above a layer to a word below it, vertical at both ends."""
    above, below, middle = (high + 0.5, layer + 1), (low + 0.5, layer), layer + 0.5
    return Path(
        [above, (above[0], middle), (below[0], middle), below],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )


def _draw_dots(axes: Axes, reach: _Array, chart: FlowGraph) -> None:
    levels, words = np.indices(reach.shape).reshape(2, -1)
    # A dot is darker for a larger flow at its word, and grey without any.
    carried = reach.ravel()
    colors = [
        (STROKE, 0.3 + 0.7 * mass**0.5) if mass >= LEAST else RULE for mass in carried.tolist()
    ]
    axes.scatter(words + 0.5, levels, s=_DOT**2, c=colors, linewidths=0, clip_on=False, zorder=3)
    axes.scatter(
        np.array(chart.end) + 0.5,
        np.zeros(len(chart.end)),
        s=30,
        c="none",
        edgecolors=EXPECTED,
        linewidths=1.8,
        clip_on=False,
        zorder=4,
    )
