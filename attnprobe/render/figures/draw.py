"""Draws the pictures and charts of a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import (
    Cells,
    Chart,
    Curves,
    FlowGraph,
    HeadGrid,
    HeadMap,
    LayerPanel,
    Picture,
    heads_title,
)
from attnprobe.core.texts import Encoding
from attnprobe.render.figures.curves import curves
from attnprobe.render.figures.flow_graph import flow_graph
from attnprobe.render.figures.head_grid import head_grid
from attnprobe.render.figures.head_map import head_map
from attnprobe.render.figures.heatmap import heatmap
from attnprobe.render.figures.layer_panel import layer_panel
from attnprobe.render.figures.style import Drawing


@singledispatch
def draw_chart(chart: Chart, *, encoding: Encoding, title: str) -> Drawing:
    """Draws a chart; each type of chart registers its own function.

    Args:
        encoding: the text of the chart, of which a layer panel shows the tokens.
        title: model, head and case.

    Raises:
        ValueError: the shapes of the chart's arrays do not fit one another or the text.
        TypeError: no function is registered for the type.
    """
    raise TypeError(f"there is no picture for a {type(chart).__name__}")


@draw_chart.register
def _(chart: HeadGrid, *, encoding: Encoding, title: str) -> Drawing:
    return head_grid(chart, title=title)


@draw_chart.register
def _(chart: LayerPanel, *, encoding: Encoding, title: str) -> Drawing:
    queries, keys = encoding.queries(chart.site).pieces, encoding.keys(chart.site).pieces
    return layer_panel(chart, queries=queries, keys=keys, title=title)


@draw_chart.register
def _(chart: FlowGraph, *, encoding: Encoding, title: str) -> Drawing:
    return flow_graph(chart, title=title)


@draw_chart.register
def _(chart: Curves, *, encoding: Encoding, title: str) -> Drawing:
    return curves([chart], title=title)


@draw_chart.register
def _(chart: HeadMap, *, encoding: Encoding, title: str) -> Drawing:
    return head_map(chart, title=title)


def draw_picture(
    weights: Floats,
    picture: Picture,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    model: str,
    case: str = "",
) -> Drawing:
    """The heatmap of a picture, with model, heads and case in its title.

    Args:
        weights: mean weights `[target, source]` of the picture's heads.
        rows, columns: labels of the rows and columns, to which the picture's positions refer.
    """
    return heatmap(
        weights,
        queries=rows,
        keys=columns,
        title=" · ".join(part for part in (model, heads_title(picture.heads), case) if part),
        expected=Cells(picture.rows, picture.expected) if picture.expected else None,
        contrast=Cells(picture.rows, picture.contrast) if picture.contrast else None,
        rows=picture.rows or None,
    )
