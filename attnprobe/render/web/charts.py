"""The charts of verdicts for pages: tables, small pictures and inline SVG, all with text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Chart, Curves, FlowGraph, HeadGrid, HeadMap, LayerPanel
from attnprobe.core.printing import as_label
from attnprobe.core.sites import Head
from attnprobe.core.wording import format_short
from attnprobe.render.web.html import chart_piece
from attnprobe.render.web.maps import AttentionMap, map_table
from attnprobe.render.web.thumbnails import thumbnail

# Edges of a flow below this share of the strongest one are not drawn.
_LEAST_FLOW = 0.04
_WIDTH, _HEIGHT = 320.0, 160.0
_LABEL = 12  # columns
# The room of a word, of a layer and of the labels in the drawing of a flow.
_WORD, _LAYER, _ROOM = 34.0, 30.0, 76.0


class Thumbnail(NamedTuple):
    """The picture of a head: a data URL, the head, and a number for its caption."""

    source: str
    head: str
    number: str
    decided: bool


@dataclass(frozen=True)
class Line:
    """A line of a chart: points as SVG has them, a name, and whether its head decided."""

    points: str
    name: str
    decided: bool


class Mark(NamedTuple):
    """A text or a point at a place of a drawing."""

    x: float
    y: float
    text: str
    decided: bool = False


class Edge(NamedTuple):
    """A line of a flow, from a word of a layer to a word of the layer below."""

    x1: float
    y1: float
    x2: float
    y2: float
    width: float
    text: str


@singledispatch
def chart_html(chart: Chart, sinks: Sequence[int] = ()) -> Markup:
    """A chart as HTML.

    Args:
        sinks: source positions that a panel draws muted.

    Raises:
        TypeError: there is no drawing for this type of chart.
    """
    raise TypeError(f"there is no picture for a {type(chart).__name__}")


def caption(chart: Chart) -> str:
    """The caption of a chart."""
    match chart:
        case HeadGrid():
            return f"{chart.measure} of every head"
        case LayerPanel():
            return f"all heads of layer {chart.layer}"
        case FlowGraph():
            return "flow through the layers"
        case Curves():
            return f"{chart.measure} over the layers"
        case HeadMap():
            return f"which heads attend alike: {chart.measure}"


@chart_html.register
def _(chart: HeadGrid, sinks: Sequence[int] = ()) -> Markup:
    scores = np.asarray(chart.scores)
    grid = AttentionMap(
        rows=tuple(f"L{layer}" for layer in chart.layers),
        columns=tuple(f"H{head}" for head in range(scores.shape[1])),
        values=scores,
        signed=bool((scores < 0).any()),
        outlined=tuple(
            (chart.layers.index(head.layer), head.head)
            for head in chart.decided
            if head.layer in chart.layers
        ),
    )
    return chart_piece("grid", map_table(grid, caption=caption(chart)), _range(scores))


def _range(values: Floats) -> str:
    """The range of the colours: `−0.20 to 0.31`."""
    found = values[np.isfinite(values)]
    if not found.size:
        return ""
    return f"{format_short(float(found.min()))} to {format_short(float(found.max()))}"


@chart_html.register
def _(chart: LayerPanel, sinks: Sequence[int] = ()) -> Markup:
    return panel_html(chart, sinks)


def panel_html(
    chart: LayerPanel, sinks: Sequence[int] = (), numbers: Sequence[float] | None = None
) -> Markup:
    """The heads of a layer as small pictures on one scale.

    Args:
        numbers: a number for the caption of each head.
    """
    kept = np.delete(chart.weights, list(sinks), axis=2) if sinks else chart.weights
    scale = max(float(np.nan_to_num(kept).max(initial=0)), 0.001)
    pictures = [
        Thumbnail(
            thumbnail(weights, scale, sinks=sinks),
            str(Head(chart.layer, head)),
            format_short(numbers[head]) if numbers is not None else "",
            Head(chart.layer, head) in chart.decided,
        )
        for head, weights in enumerate(chart.weights)
    ]
    return chart_piece("panel", pictures, format_short(scale), bool(sinks))


@chart_html.register
def _(chart: Curves, sinks: Sequence[int] = ()) -> Markup:
    values = np.asarray(chart.values, np.float64)
    low, high = _span(values)
    step = _WIDTH / max(len(chart.layers) - 1, 1)
    lines = []
    for head in range(values.shape[1]):
        points = [
            f"{layer * step:.1f},{_HEIGHT * (high - value) / (high - low):.1f}"
            for layer, value in enumerate(values[:, head])
            if math.isfinite(value)
        ]
        decided = [entry for entry in chart.decided if entry.head == head]
        name = ", ".join(map(str, decided)) or f"head {head} of each layer"
        lines.append(Line(" ".join(points), name, bool(decided)))
    marks = [
        Mark(
            chart.layers.index(head.layer) * step,
            _HEIGHT * (high - values[chart.layers.index(head.layer), head.head]) / (high - low),
            str(head),
            True,
        )
        for head in chart.decided[:3]
        if head.layer in chart.layers
    ]
    ends = format_short(low), format_short(high), chart.layers[0], chart.layers[-1]
    ordered = sorted(lines, key=lambda line: line.decided)
    return chart_piece("curves", ordered, marks, ends, caption(chart))


def _span(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    found = values[np.isfinite(values)]
    low, high = float(found.min(initial=0)), float(found.max(initial=0))
    return low, high if high > low else low + 1


@chart_html.register
def _(chart: HeadMap, sinks: Sequence[int] = ()) -> Markup:
    points = np.asarray(chart.points, np.float64)
    low = np.nanmin(points, axis=0)
    reach = float(np.nanmax(np.nanmax(points, axis=0) - low)) or 1.0
    places = (points - low) / reach
    marks = [
        Mark(_WIDTH * x, _HEIGHT * 2 * y, str(head), head in chart.decided)
        for head, (x, y) in zip(chart.heads, places, strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    return chart_piece("points", sorted(marks, key=lambda mark: mark.decided), caption(chart))


@chart_html.register
def _(chart: FlowGraph, sinks: Sequence[int] = ()) -> Markup:
    layers, count = len(chart.layers), len(chart.labels)
    reach = _reach(chart)
    strongest = max(float(flow.max()) for flow in reach)
    edges = [
        Edge(
            _x(word),
            _y(layers - 1 - layer),
            _x(below),
            _y(layers - layer),
            1 + 7 * share / strongest,
            f"layer {chart.layers[layer]}: {chart.labels[word]} → {chart.labels[below]} "
            f"{format_short(share)}",
        )
        for layer in range(layers)
        for word in range(count)
        for below in range(count)
        if (share := float(reach[layer][word, below])) >= _LEAST_FLOW * strongest
    ]
    words = [
        *(Mark(_x(at), _ROOM - 8, as_label(chart.labels[at], _LABEL), True) for at in chart.start),
        *(
            Mark(_x(at), _y(layers) + 10, as_label(label, _LABEL), at in chart.end)
            for at, label in enumerate(chart.labels)
        ),
    ]
    levels = [Mark(0, _y(layers - 0.5 - at), f"L{layer}") for at, layer in enumerate(chart.layers)]
    size = _x(count), _y(layers) + _ROOM
    return chart_piece("flow", sorted(edges, key=lambda edge: edge.width), words, levels, size)


def _x(word: float) -> float:
    return 48 + _WORD * word


def _y(row: float) -> float:
    return _ROOM + _LAYER * row


def _reach(chart: FlowGraph) -> list[Floats]:
    """The share of the flow on each edge, `[words, words]` for each layer, from the bottom up."""
    share = np.zeros(len(chart.labels), np.float64)
    share[list(chart.start)] = 1 / len(chart.start)
    found: list[Floats] = []
    for edges in chart.edges[::-1]:
        flow = share[:, None] * np.asarray(edges, np.float64)
        found.insert(0, flow.astype(np.float32))
        share = flow.sum(axis=0)
    return found
