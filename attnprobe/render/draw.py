"""One call for every chart that a verdict carries."""

from __future__ import annotations

from functools import singledispatch

from attnprobe.core.charts import Chart, Curves, FlowGraph, HeadGrid, HeadMap, LayerPanel
from attnprobe.core.texts import Encoding
from attnprobe.render.curves import curves
from attnprobe.render.flow_graph import flow_graph
from attnprobe.render.head_grid import head_grid
from attnprobe.render.head_map import head_map
from attnprobe.render.layer_panel import layer_panel
from attnprobe.render.style import Drawing


@singledispatch
def draw_chart(chart: Chart, *, encoding: Encoding, title: str) -> Drawing:
    """Draws a chart; a new kind of chart registers its function here.

    Args:
        encoding: the text that the chart is about; a layer panel takes its tokens from it.
        title: model, head and case.

    Raises:
        ValueError: the numbers of the chart do not fit one another or the text.
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


def caption(chart: Chart) -> str:
    """What a chart shows, in a few words."""
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
