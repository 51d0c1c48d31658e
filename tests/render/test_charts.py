"""The charts of a verdict: read back as XML and pixels, against geometry computed here."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Chart, Curves, FlowGraph, HeadGrid, HeadMap, LayerPanel
from attnprobe.core.errors import MeasureError
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.render.figures.curves import curves
from attnprobe.render.figures.draw import draw_chart
from attnprobe.render.figures.flow_graph import LEAST, WIDEST
from attnprobe.render.figures.frame import signed
from attnprobe.render.figures.labels import spots
from attnprobe.render.figures.style import Drawing, to_svg
from attnprobe.render.palette import EXPECTED
from attnprobe.render.web.charts import caption
from tests.support.charts import (
    ENGLISH,
    EVERY,
    FRENCH,
    LAYERS,
    WORDS,
    curve,
    drawn,
    encoding,
    flow,
    grid,
    head_map,
    panel,
    rows,
)
from tests.support.made_up import FakeReader
from tests.support.svg import HOSTILE, SVG, named, outline_box, places, said, texts, written


def svg_of(chart: Chart) -> str:
    return to_svg(drawn(chart))


def boxes(drawing: Drawing) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each axes, in pixels of the SVG."""
    width, height = drawing.get_size_inches() * 72
    found = [axes.get_position() for axes in drawing.axes]
    return [
        (box.x0 * width, height - box.y1 * height, box.x1 * width, height - box.y0 * height)
        for box in found
    ]


def pixels(drawing: Drawing) -> Floats:
    """The picture at one pixel a point, `[row, column, colour]`."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=72)
    image: Floats = imread(io.BytesIO(buffer.getvalue()))[..., :3]
    return image


def within(svg: str, box: tuple[float, float, float, float], pattern: str) -> list[str]:
    """Texts of this form that begin inside a box."""
    left, top, right, bottom = box
    return [
        text
        for text, x, y in places(svg)
        if left <= x <= right and top <= y <= bottom and re.fullmatch(pattern, text)
    ]


# All charts


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: type(chart).__name__)
def test_title_and_what_is_measured_are_text(chart: Chart) -> None:
    found = texts(svg_of(chart))
    assert "tiny · case" in found
    measure = getattr(chart, "measure", None)
    assert measure is None or any(measure in text for text in found)
    assert caption(chart)


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: type(chart).__name__)
def test_the_same_chart_has_the_same_bytes_p39(chart: Chart) -> None:
    drawing = drawn(chart)
    assert to_svg(drawing) == to_svg(drawing) == svg_of(chart)


def test_another_process_draws_the_same_bytes_p39() -> None:
    program = (
        "import sys, tests.render.test_charts as here\n"
        "sys.stdout.write(''.join(map(here.svg_of, here.EVERY)))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONUTF8": "1", "PYTHONPATH": "."},
        cwd=Path(__file__).parents[2],
    ).stdout.decode()
    assert elsewhere.replace("\r\n", "\n") == "".join(map(svg_of, EVERY))


def test_hostile_text_is_harmless_in_every_chart_p31() -> None:
    count, everything = len(HOSTILE), "".join(HOSTILE)
    charts: tuple[Chart, ...] = (
        HeadGrid(everything, (0,), rows(1, 2)),
        LayerPanel("encoder", 0, rows(2, count, count)),
        FlowGraph(HOSTILE, (0,), rows(1, count, count), (0,), (1, 2)),
        Curves(everything, (0,), rows(1, 2)),
        HeadMap(everything, (Head(0, 0), Head(0, 1)), rows(2, 2)),
    )
    for chart in charts:
        drawing = draw_chart(chart, encoding=encoding(HOSTILE), title=everything)
        root = ElementTree.fromstring(to_svg(drawing))
        assert {element.tag.rpartition("}")[2] for element in root.iter()}.isdisjoint(
            {"script", "img", "foreignObject", "a"}
        )
        attributes = {name for element in root.iter() for name in element.attrib}
        assert not any(name.startswith("on") for name in attributes)


def test_a_mark_on_every_head_is_left_out() -> None:
    everyone = tuple(Head(2, number) for number in range(6))
    assert "decided-" not in svg_of(panel(*everyone))
    assert "decided" not in texts(svg_of(panel(*everyone)))
    assert svg_of(panel(*everyone[:5])).count('id="decided-') == 5
    # A head that the chart does not show is no head to mark, either.
    assert "decided" not in texts(svg_of(panel(Head(3, 0))))
    assert "decided" not in texts(svg_of(grid(Head(2, 3))))


def test_what_has_no_picture_is_refused() -> None:
    nothing: Any = "a string"
    with pytest.raises(TypeError, match="no picture for a str"):
        draw_chart(nothing, encoding=encoding(), title="")


@pytest.mark.parametrize(
    ("chart", "message"),
    [
        (HeadGrid("m", (0,), rows(2, 3)), "do not fit 1 layers"),
        (HeadGrid("m", (), rows(0, 3)), "do not fit 0 layers"),
        (LayerPanel("encoder", 0, rows(2, 3, 4)), "do not fit 4 target and 4 source tokens"),
        (FlowGraph(WORDS, (0,), rows(2, 4, 4), (0,), ()), "1 layers of 4 words"),
        (FlowGraph(WORDS, (0,), rows(1, 4, 4), (), ()), "starts and ends at words"),
        (FlowGraph(WORDS, (0,), rows(1, 4, 4), (0,), (4,)), "starts and ends at words"),
        (Curves("m", (0,), rows(2, 3)), "do not fit 1 layers"),
        (Curves("m", (), rows(0, 3)), "nothing to draw"),
        (HeadMap("m", (Head(0, 0),), rows(2, 2)), "do not fit 1 heads"),
        (HeadMap("m", (Head(0, 0),), np.full((1, 2), np.nan, np.float32)), "no head has a place"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(chart: Chart, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(chart)


# Layer × head grid


def test_grid_names_layers_and_heads_and_writes_every_score() -> None:
    chart = grid()
    found = texts(svg_of(chart))
    assert {"L0", "L2", "L5", "H0", "H1", "H2", "H3", "layer", "head"} <= set(found)
    numbers = [text for text in found if re.fullmatch(r"\d\.\d\d", text)]
    scores = chart.scores.ravel()
    assert numbers == [f"{score:.2f}" for score in scores[np.isfinite(scores)]]


def test_grid_outlines_the_cell_of_the_head_that_decided() -> None:
    chart = grid(Head(5, 2))
    svg = svg_of(chart)
    box = outline_box(svg, "decided-L5H2")
    assert within(svg, box, r"\d\.\d\d") == [f"{chart.scores[2, 2]:.2f}"]
    heads = {text: x for text, x, _ in places(svg)}
    layers = {text: y for text, _, y in places(svg)}
    assert (box[0] + box[2]) / 2 == pytest.approx(heads["H2"], abs=0.01)
    assert box[1] < layers["L5"] < box[3]
    assert re.findall(r'id="(decided[^"]*)"', svg) == ["decided-L5H2"]
    assert "decided" in texts(svg)


def test_grid_colours_are_those_of_the_scores_and_a_missing_head_is_empty() -> None:
    chart = grid()
    drawing = drawn(chart)
    image = pixels(drawing)
    left, top, right, bottom = boxes(drawing)[1]
    across, down = (right - left) / 4, (bottom - top) / 3
    for (layer, head), score in np.ndenumerate(chart.scores):
        corner = image[int(top + layer * down) + 4, int(left + head * across) + 4]
        share = score / np.nanmax(chart.scores)
        expected = (1, 1, 1) if np.isnan(score) else matplotlib.colormaps["viridis"](share)[:3]
        assert corner == pytest.approx(expected, abs=0.02)


def test_grid_with_negative_scores_has_two_colours_about_zero() -> None:
    chart = HeadGrid("effect (nats)", (0,), np.array([[-2, 0, 1]], np.float32))
    drawing = drawn(chart)
    left, top, _, _ = boxes(drawing)[1]
    image = pixels(drawing)
    found = [image[int(top) + 4, int(left + 30 * head) + 4] for head in range(3)]
    for color, share in zip(found, (0.0, 0.5, 0.75), strict=True):
        assert color == pytest.approx(matplotlib.colormaps["BrBG"](share)[:3], abs=0.02)
    assert {"−2.00", "0.00", "1.00"} <= set(texts(to_svg(drawing)))


def test_grid_of_many_heads_has_no_numbers_and_fewer_labels() -> None:
    svg = svg_of(HeadGrid("m", tuple(range(80)), rows(80, 64)))
    found = places(svg)
    # The numbers of the colour bar are all there are.
    assert sum(bool(re.fullmatch(r"\d\.\d+", text)) for text, _, _ in found) < 10
    layers = [y for text, _, y in found if re.fullmatch(r"L\d+", text)]
    assert 20 < len(layers) < 80
    assert min(below - above for above, below in pairwise(layers)) > 8


def test_numbers_of_cells_keep_to_four_figures() -> None:
    assert signed(0.256) == "0.26"
    assert signed(-0.004) == "0.00"
    assert signed(-12.34, 20) == "−12.3"
    assert signed(345.6, 400) == "346"


# Heads of a layer


def test_panel_names_every_head_and_marks_the_one_that_decided() -> None:
    drawing = drawn(panel(Head(2, 1)))
    svg = to_svg(drawing)
    assert [text for text in texts(svg) if text.startswith("L2H")] == [f"L2H{n}" for n in range(6)]
    # The first axes are the colour bar.
    assert outline_box(svg, "decided-L2H1") == pytest.approx(boxes(drawing)[2], abs=0.01)
    assert said(next(named(svg, "decided-L2H1").iter(f"{SVG}path")))["stroke"] == EXPECTED
    title = next((x, y) for text, x, y in places(svg) if text == "L2H1")
    left, top, _, _ = boxes(drawing)[2]
    assert title == pytest.approx((left, top - 4), abs=0.06)


def test_panel_writes_tokens_once_a_row_and_once_a_column_of_panels() -> None:
    found = texts(svg_of(panel()))  # six heads: two rows of three
    assert [found.count(word) for word in WORDS] == [2 + 3] * 4
    found = texts(svg_of(panel(heads=7)))  # two rows of four, the last place empty
    assert [found.count(word) for word in WORDS] == [2 + 4] * 4


def test_panel_has_one_scale_of_colours_for_all_heads() -> None:
    chart = panel()
    drawing = drawn(chart)
    image = pixels(drawing)
    for weights, (left, top, right, bottom) in zip(chart.weights, boxes(drawing)[1:], strict=True):
        across, down = (right - left) / 4, (bottom - top) / 4
        assert across == pytest.approx(down)
        for (row, column), weight in np.ndenumerate(weights):
            middle = image[int(top + (row + 0.5) * down), int(left + (column + 0.5) * across)]
            expected = matplotlib.colormaps["viridis"](weight / chart.weights.max())[:3]
            assert middle == pytest.approx(expected, abs=0.02)


def test_panel_of_cross_attention_has_the_target_on_y_and_the_source_on_x() -> None:
    chart = LayerPanel("cross", 1, rows(2, 5, 4))
    svg = to_svg(draw_chart(chart, encoding=encoding(ENGLISH, FRENCH), title=""))
    level = [text for text, _, _ in places(svg)]
    slanted = [text for text in texts(svg) if text not in level]
    assert [level.count(word) for word in FRENCH] == [1] * 5  # one row of panels
    assert [slanted.count(word) for word in ENGLISH] == [2] * 4


def test_panel_labels_are_thinned_out_where_they_would_overlap() -> None:
    many = tuple(f"t{number}" for number in range(40))
    chart = LayerPanel("encoder", 0, rows(12, 40, 40))
    svg = to_svg(draw_chart(chart, encoding=encoding(many), title=""))
    level = [(text, y) for text, _, y in places(svg) if text in many]
    assert [text for text, _ in level[:14]] == list(many[::3])
    assert min(abs(a - b) for (_, a), (_, b) in pairwise(level)) > 7
    short = to_svg(
        draw_chart(
            LayerPanel("encoder", 0, rows(12, 16, 16)), encoding=encoding(many[:16]), title=""
        )
    )
    assert [texts(short).count(token) for token in many[:16]] == [3 + 4] * 16


def test_panel_rows_without_weights_are_empty() -> None:
    chart = panel(heads=1)
    chart.weights[0, 2] = np.nan
    drawing = drawn(chart)
    left, top, right, bottom = boxes(drawing)[1]
    image = pixels(drawing)
    empty = image[int(top + 2.5 * (bottom - top) / 4), int(left) + 3 : int(right) - 3]
    assert (empty == 1).all()


# Flow


def lines(svg: str, name: str) -> list[tuple[float, float, float, float]]:
    """Upper x, lower x, width and opacity of each line of a group."""
    found = []
    for path in named(svg, name).iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
        style = said(path)
        opacity = float(style.get("stroke-opacity", style.get("opacity", 1)))
        found.append((numbers[0], numbers[-2], float(style["stroke-width"]), opacity))
    return found


@pytest.mark.parametrize("start", [(3,), (1, 2)])
def test_flow_lines_are_as_wide_as_the_mass_that_passes(start: tuple[int, ...]) -> None:
    chart = flow(start=start)
    drawing = drawn(chart)
    svg = to_svg(drawing)
    left, _, right, _ = boxes(drawing)[0]
    pitch = (right - left) / 4
    for level in range(3):
        # What comes down to this layer's upper words: the rows of the product of those above.
        above = np.linalg.multi_dot([np.eye(4), *chart.edges[:level:-1], np.eye(4)])
        mass = np.mean([above[word] for word in start], axis=0)[:, np.newaxis] * chart.edges[level]
        expected = {
            (high, low): WIDEST * mass[high, low]
            for high, low in np.argwhere(mass >= LEAST).tolist()
        }
        found = {
            (round((x - left) / pitch - 0.5), round((y - left) / pitch - 0.5)): (width, opacity)
            for x, y, width, opacity in lines(svg, f"flow-L{LAYERS[level]}")
        }
        assert {pair: width for pair, (width, _) in found.items()} == pytest.approx(
            expected, rel=1e-3
        )
        strongest = sorted(found.values())
        assert [opacity for _, opacity in strongest] == sorted(one for _, one in strongest)


def test_flow_lines_to_the_marked_words_are_as_wide_as_what_ends_there() -> None:
    chart = flow(end=(0, 1))
    drawing = drawn(chart)
    svg = to_svg(drawing)
    assert "what ends at the, animal" in texts(svg)
    left, _, right, _ = boxes(drawing)[0]
    pitch = (right - left) / 4
    for level, layer in enumerate(LAYERS):
        # Every way through the three layers that ends at a marked word, one by one.
        expected: dict[tuple[int, int], float] = {}
        for ways in product(range(4), range(4), (0, 1)):
            upper, middle, low = ways
            mass = chart.edges[2, 3, upper] * chart.edges[1, upper, middle]
            mass *= chart.edges[0, middle, low]
            step = [(middle, low), (upper, middle), (3, upper)][level]
            expected[step] = expected.get(step, 0.0) + WIDEST * mass
        found = {
            (round((x - left) / pitch - 0.5), round((y - left) / pitch - 0.5)): width
            for x, y, width, _ in lines(svg, f"end-L{layer}")
        }
        assert found == pytest.approx(
            {step: width for step, width in expected.items() if width >= WIDEST * LEAST}, rel=1e-3
        )


def test_flow_stacks_layers_from_the_input_up_and_labels_words_below() -> None:
    svg = svg_of(flow())
    layers = {text: y for text, _, y in places(svg)}
    assert layers["L0"] > layers["L2"] > layers["L5"]
    found = texts(svg)
    assert [found.count(word) for word in WORDS] == [1, 1, 1, 2]  # the start word on top, too
    bold = [found.text for found in written(svg) if found.weight == "700"]
    assert sorted(bold) == ["animal", "it", "it", "tiny · case"]


def test_flow_without_marked_words_has_no_red_line() -> None:
    svg = svg_of(flow(end=()))
    assert EXPECTED not in svg


def test_flow_of_many_words_names_the_start_and_the_marked_words() -> None:
    many = tuple(f"t{number}" for number in range(120))
    edges = np.stack([np.eye(120, dtype=np.float32)] * 30)
    svg = svg_of(FlowGraph(many, tuple(range(30)), edges, (101,), (103,)))
    found = texts(svg)
    assert found.count("t101") == 2
    assert found.count("t103") == 1
    assert len([text for text in found if text in many]) < 80


# Curves


def test_curves_lie_at_their_values_by_the_numbers_of_the_axis() -> None:
    chart = curve(Head(2, 1))
    svg = svg_of(chart)
    at = {text: (x, y) for text, x, y in places(svg)}
    per_unit = at["0"][1] - at["1"][1]
    zero = at["0"][1] - 0.36 * 8  # the numbers stand in the middle of their line

    def points(name: str) -> Floats:
        path = next(named(svg, name).iter(f"{SVG}path")).attrib["d"]
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
        return np.array([((zero - y) / per_unit) for y in numbers[1::2]], np.float32)

    np.testing.assert_allclose(points("head-0"), chart.values[:, 0], atol=2e-3)
    np.testing.assert_allclose(points("mean"), np.nanmean(chart.values, axis=1), atol=2e-3)
    mark = next(named(svg, "decided-L2H1").iter(f"{SVG}use"))
    assert (zero - float(mark.attrib["y"])) / per_unit == pytest.approx(
        chart.values[1, 1], abs=2e-3
    )
    assert float(mark.attrib["x"]) == pytest.approx(at["L2"][0], abs=0.01)
    assert {"L2H1", "mean", "entropy (nats)", "layer"} <= set(at)
    assert 0 < at["L2H1"][0] - float(mark.attrib["x"]) < 12


def test_curves_start_at_zero_unless_a_value_is_negative() -> None:
    high = Curves("m", (0, 1), np.array([[5.0], [6.0]], np.float32))
    low = Curves("m", (0, 1), np.array([[-5.0], [6.0]], np.float32))
    assert "0" in texts(svg_of(high))
    assert not any(text.startswith("−") for text in texts(svg_of(high)))
    assert "−5" in texts(svg_of(low))


def test_small_multiples_stand_side_by_side_under_their_names() -> None:
    other = Curves("distance (tokens)", LAYERS, curve().values * 3)
    svg = to_svg(curves([curve(), other], title="t"))
    at = {text: (x, y) for text, x, y in places(svg)}
    assert at["entropy (nats)"][1] == at["distance (tokens)"][1]
    assert at["distance (tokens)"][0] - at["entropy (nats)"][0] > 250
    assert [text for text, _, _ in places(svg)].count("L5") == 2


# Map of heads


def dots(svg: str) -> Floats:
    return np.array(
        [
            (float(use.attrib["x"]), -float(use.attrib["y"]))
            for use in named(svg, "heads").iter(f"{SVG}use")
        ]
    )


def test_map_keeps_the_distances_between_heads() -> None:
    chart = head_map()
    found = dots(svg_of(chart))
    ratios = [
        np.linalg.norm(found[a] - found[b]) / np.linalg.norm(chart.points[a] - chart.points[b])
        for a, b in combinations(range(12), 2)
    ]
    assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-3)


def test_map_colours_by_layer_and_rings_the_head_that_decided() -> None:
    svg = svg_of(head_map(Head(2, 1)))
    styles = [said(use) for use in named(svg, "heads").iter(f"{SVG}use")]
    fills = [style["fill"] for style in styles]
    viridis = [matplotlib.colors.to_hex(matplotlib.colormaps["viridis"](x)) for x in (0, 0.5, 1.0)]
    assert fills == [viridis[2]] + [viridis[0]] * 4 + [viridis[1]] * 4 + [viridis[2]] * 3
    assert [style["stroke"] == EXPECTED for style in styles] == [True] + [False] * 11
    assert {"layer", "0", "1", "2"} <= set(texts(svg))


def test_a_map_of_one_layer_has_no_colour_bar() -> None:
    one = head_map(count=4)
    assert "layer" not in texts(svg_of(one))
    assert len(drawn(one).axes) == len(drawn(head_map(count=8)).axes) - 1
    assert drawn(one).get_size_inches()[0] < drawn(head_map(count=8)).get_size_inches()[0]


def test_map_names_cover_neither_names_nor_points() -> None:
    svg = svg_of(head_map(Head(2, 1), count=60))
    names = [(text, x, y) for text, x, y in places(svg) if re.fullmatch(r"L\d+H\d", text)]
    assert "L2H1" in {text for text, _, _ in names}
    wide, high = 0.62 * 6.5, 0.8 * 6.5
    covered = [(x, y - high, x + wide * len(text), y) for text, x, y in names]
    for a, b in combinations(covered, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for x, y in dots(svg) * (1, -1):
        assert not any(a[0] < x < a[2] and a[1] < y < a[3] for a in covered)
    left_out = 60 - len(names)
    note = f"{left_out} names are left out where they would overlap"
    assert (note in texts(svg)) == bool(left_out)


def test_map_of_heads_at_one_place_leaves_names_out_but_not_that_of_the_deciding_head() -> None:
    heads = tuple(Head(0, number) for number in range(20))
    chart = HeadMap("m", heads, np.zeros((20, 2), np.float32), (Head(0, 19),))
    found = texts(svg_of(chart))
    names = [text for text in found if text.startswith("L0H")]
    assert "L0H19" in names
    assert f"{20 - len(names)} names are left out where they would overlap" in found


def test_map_leaves_out_heads_without_a_place() -> None:
    chart = head_map()
    chart.points[3] = np.nan
    svg = svg_of(chart)
    assert len(dots(svg)) == 11
    assert "L0H3" not in texts(svg)


def test_a_crowded_point_gets_its_name_from_afar() -> None:
    crowd = [(50.0 + x, 50.0 + y) for x in (0, 8, -8) for y in (0, 8, -8)]
    room = (0.0, 0.0, 100.0, 100.0)
    (found, *others) = spots(
        crowd, ["L0H0", *[""] * 8], size=6, dot=4, room=room, far=[60.0] + [0.0] * 8
    )
    assert found is not None
    assert found.far
    assert len(others) == 8
    assert spots(crowd, ["L0H0"] * 9, size=6, dot=4, room=room, far=[0.0] * 9)[0] is None


# Where they are shown


def test_panel_of_the_attention_object_shows_all_heads_of_a_layer() -> None:
    reader = FakeReader()
    attention = Attention(reader, Sample("The dog barks ."))
    svg = to_svg(attention.panel(1))
    assert {"L1H0", "L1H1", "fake · layer 1", "barks", "[CLS]"} <= set(texts(svg))
    weights = reader.weights(reader.encode(Sample("The dog barks .")))[1]
    expected = LayerPanel("encoder", 1, weights)
    reading = reader.encode(Sample("The dog barks ."))
    assert svg == to_svg(draw_chart(expected, encoding=reading, title="fake · layer 1"))
    assert [need.layers for need in reader.asked] == [(1,)]
    with pytest.raises(MeasureError, match="no attention in layer 9 at encoder; in: 0, 1, 2"):
        attention.panel(9)
