"""Draws any chart of a verdict."""

from __future__ import annotations

from functools import singledispatch

from attnprobe.core.charts import Chart, Curves, FlowGraph, HeadGrid, HeadMap, LayerPanel
from attnprobe.core.texts import Encoding
from attnprobe.render.figures.curves import curves
from attnprobe.render.figures.flow_graph import flow_graph
from attnprobe.render.figures.head_grid import head_grid
from attnprobe.render.figures.head_map import head_map
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
