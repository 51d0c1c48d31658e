"""The charts of the report: their numbers, read back from the HTML, against plain numpy."""

from __future__ import annotations

import base64
import io
import re
from itertools import combinations

import numpy as np
import pytest
from matplotlib.image import imread

from attnprobe.core.charts import FlowGraph
from attnprobe.core.sites import Head
from attnprobe.render.web.charts import chart_html
from attnprobe.render.web.thumbnails import thumbnail
from tests.support.charts import EVERY, curve, flow, grid, head_map, panel
from tests.support.svg import HOSTILE

_CELL = re.compile(r'<td class="([^"]*)"[^>]*>([^<]*)')
_LINE = re.compile(
    r'<line class="attn-edge" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" '
    r'stroke-width="([\d.]+)"><title>layer (\d+): (\w+) → (\w+) ([\d.]+)</title>'
)


def test_a_grid_has_the_score_of_each_head_and_outlines_the_deciding_one() -> None:
    chart = grid(Head(2, 1))
    cells = _CELL.findall(chart_html(chart))
    read = [float(text) if text else np.nan for _, text in cells]
    np.testing.assert_allclose(read, chart.scores.ravel(), atol=0.0005001)
    outlined = [at for at, (name, _) in enumerate(cells) if "e" in name.split()]
    assert outlined == [1 * 4 + 1]  # layer 2 is the second of layers 0, 2, 5


def test_a_panel_names_every_head_and_the_one_that_decides() -> None:
    html = chart_html(panel(Head(2, 1)))
    named = re.findall(r"<figcaption>(L2H\d)( decides)?</figcaption>", html)
    assert named == [(f"L2H{head}", " decides" if head == 1 else "") for head in range(6)]
    assert len(set(re.findall(r'src="data:image/png;base64,([^"]+)"', html))) == 6


def test_curves_run_through_the_values_and_leave_out_heads_that_a_layer_lacks() -> None:
    chart = curve(Head(2, 1))
    html = chart_html(chart)
    lines = re.findall(
        r'<polyline class="([^"]*)" fill="none" points="([^"]*)"><title>([^<]*)', html
    )
    assert len(lines) == 4
    top = float(np.nanmax(chart.values))
    drawn = {}
    for name, points, title in lines:
        pairs = [tuple(map(float, point.split(","))) for point in points.split()]
        drawn[title] = (name, pairs)
    assert drawn["L2H1"][0] == "attn-strong"
    expected = [
        (160.0 * at, 160 - 160 * value / top) for at, value in enumerate(chart.values[:, 1])
    ]
    np.testing.assert_allclose(drawn["L2H1"][1], expected, atol=0.051)
    (short,) = [pairs for _, pairs in drawn.values() if len(pairs) == 2]
    np.testing.assert_allclose([x for x, _ in short], [0, 320], atol=0.051)


def test_distances_between_heads_on_the_map_are_in_proportion() -> None:
    chart = head_map(Head(2, 1))
    circles = re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)" r="\d"><title>(L\dH\d)', chart_html(chart))
    places = {head: np.array([float(x), float(y)]) for x, y, head in circles}
    assert set(places) == {str(head) for head in chart.heads}
    points = dict(zip(map(str, chart.heads), chart.points, strict=True))
    ratios = [
        np.linalg.norm(places[left] - places[right]) / np.linalg.norm(points[left] - points[right])
        for left, right in combinations(places, 2)
    ]
    assert np.allclose(ratios, ratios[0], rtol=0.02)


def _paths(chart: FlowGraph) -> dict[tuple[int, int, int], float]:
    """The share of the flow on each edge (layer, word, word below): a sum over all paths."""
    count = len(chart.labels)
    found: dict[tuple[int, int, int], float] = {}
    paths = [((word,), 1 / len(chart.start)) for word in chart.start]
    for layer in reversed(range(len(chart.layers))):
        longer = []
        for path, share in paths:
            for below in range(count):
                carried = share * float(chart.edges[layer][path[-1], below])
                key = (chart.layers[layer], path[-1], below)
                found[key] = found.get(key, 0.0) + carried
                longer.append(((*path, below), carried))
        paths = longer
    return found


@pytest.mark.parametrize("start", [(3,), (1, 2)])
def test_the_lines_of_a_flow_are_the_sums_over_all_paths(start: tuple[int, ...]) -> None:
    chart = flow(start)
    expected = _paths(chart)
    strongest = max(expected.values())
    drawn = {}
    for *_, width, layer, word, below, share in _LINE.findall(chart_html(chart)):
        key = (int(layer), chart.labels.index(word), chart.labels.index(below))
        drawn[key] = float(share)
        assert float(width) == pytest.approx(1 + 7 * expected[key] / strongest, abs=0.051)
        assert float(share) == pytest.approx(expected[key], abs=0.0051)
    assert set(drawn) == {key for key, share in expected.items() if share >= 0.04 * strongest}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_of_a_flow_are_harmless_p31(text: str) -> None:
    chart = flow()
    words = (text, *chart.labels[1:])
    html = chart_html(FlowGraph(words, chart.layers, chart.edges, (0,), (0,)))
    assert not re.search(r"<(script|img)|[\x00-\x09\x0b-\x1f\ud800-\udfff\u202e]", html)


def test_every_chart_has_a_form_for_pages_and_others_are_named() -> None:
    for chart in EVERY:
        assert chart_html(chart)
    with pytest.raises(TypeError, match="there is no picture for a int"):
        chart_html(3)  # type: ignore[arg-type]


def test_the_pixels_of_a_small_picture_are_the_steps_of_the_weights() -> None:
    weights = np.linspace(0, 0.5, 35, dtype=np.float32).reshape(5, 7)
    source = thumbnail(weights, 0.5).partition(",")[2]
    image = imread(io.BytesIO(base64.b64decode(source)))
    assert image.shape == (5, 7, 4)
    steps = np.rint(weights / 0.5 * 15).astype(int).ravel()
    colours: dict[int, set[tuple[float, ...]]] = {}
    for step, pixel in zip(steps, image.reshape(-1, 4), strict=True):
        colours.setdefault(step, set()).add(tuple(pixel.tolist()))
    assert set(map(len, colours.values())) == {1}
    assert len(set.union(*colours.values())) == 16
