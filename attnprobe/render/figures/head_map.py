"""Draws heads as points in a plane: near points are heads with similar attention."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import Rectangle

from attnprobe.core.charts import HeadMap
from attnprobe.core.printing import as_label
from attnprobe.render.figures.frame import (
    BAR_ROOM,
    LINE,
    PAD,
    SMALL,
    LegendEntry,
    Scale,
    add_axes,
    decided_legend,
    draw_bar,
    frame,
    marked,
)
from attnprobe.render.figures.labels import spots
from attnprobe.render.figures.style import Drawing
from attnprobe.render.palette import EXPECTED, INK, MUTED, RULE

_WIDTH = 520.0
_MARGIN = 26.0  # room for names beside the outermost points
_DOT = 3.2
_SIZE = 6.5
_FAR = 60.0  # the largest distance of a name from its point; a line joins them


def head_map(chart: HeadMap, *, title: str) -> Drawing:
    """Draws a point for each head; both directions have the same scale.

    Colours show the layer, with a colour bar if there are several layers. A name that would cover
    another name or a point is left out; deciding heads get their names first. A head without a
    place (NaN) is not drawn.

    Raises:
        ValueError: the points do not fit the heads, or no head has a place.
    """
    if chart.points.shape != (len(chart.heads), 2):
        raise ValueError(
            f"points of shape {list(chart.points.shape)} do not fit {len(chart.heads)} heads"
        )
    placed = np.isfinite(chart.points).all(axis=1)
    if not placed.any():
        raise ValueError("no head has a place on the map")
    # Deciding heads come first, so that they get their names.
    order = sorted(
        np.flatnonzero(placed).tolist(), key=lambda number: chart.heads[number] not in chart.decided
    )
    heads = [chart.heads[number] for number in order]
    deciding = marked(chart.decided, heads)
    points = chart.points[order].astype(np.float64)
    points -= points.min(axis=0)
    wide, high = points.max(axis=0)
    scale = (_WIDTH - 2 * _MARGIN) / max(wide, high, 1e-12)
    height = max(scale * high + 2 * _MARGIN, 160.0)
    at = points * scale
    at += (np.array([_WIDTH, height]) - at.max(axis=0)) / 2

    names = [str(head) for head in heads]
    found = spots(
        [(x, y) for x, y in at.tolist()],
        names,
        size=_SIZE,
        dot=_DOT,
        room=(2, 2, _WIDTH - 2, height - 2),
        far=[_FAR if head in deciding else 0 for head in heads],
    )
    hidden = found.count(None)
    note = f"{hidden} names are left out where they would overlap"
    layers = [head.layer for head in heads]
    several = len(set(layers)) > 1
    drawing, top = frame(
        title,
        _WIDTH + (BAR_ROOM if several else 0),
        height + LINE + 4,
        (*decided_legend(deciding), *([LegendEntry(note)] if hidden else ())),
    )
    shades = Scale(min(layers), max(*layers, min(layers) + 1))
    if several:
        draw_bar(drawing, PAD + _WIDTH, top, height, shades, "layer", whole=True)
    axes = add_axes(drawing, PAD, top, _WIDTH, height)
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(0, height)
    axes.add_patch(Rectangle((0, 0), _WIDTH, height, fill=False, edgecolor=RULE))
    decided = [head in deciding for head in heads]
    axes.scatter(
        at[:, 0],
        at[:, 1],
        s=(2 * _DOT) ** 2,
        c=shades(np.array(layers, np.float32)),
        edgecolors=[EXPECTED if is_decided else INK for is_decided in decided],
        linewidths=[2.2 if is_decided else 0.5 for is_decided in decided],
        zorder=2,
        gid="heads",
    )
    for name, spot, point, bold in zip(names, found, at, decided, strict=True):
        if spot:
            if spot.far:
                ends = np.stack([point, (spot.x, spot.y + _SIZE / 3)])
                axes.plot(ends[:, 0], ends[:, 1], color=INK, linewidth=0.6, zorder=3)
            x, y = PAD + spot.x, top - height + spot.y
            drawing.write(x, y, name, size=_SIZE, color=INK if bold else MUTED, bold=bold)
    near = f"near points attend alike · {as_label(chart.measure, 60)}"
    drawing.write(
        PAD + _WIDTH / 2, top - height - LINE, near, size=SMALL, color=MUTED, align="center"
    )
    return drawing
