"""Compact SVGs show what matplotlib's own show: both are read back, element by element."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from attnprobe.core.charts import Cells, Curves, FlowGraph, HeadGrid, HeadMap, LayerPanel
from attnprobe.core.sites import Head
from attnprobe.render.figures.compact import compact
from attnprobe.render.figures.curves import curves
from attnprobe.render.figures.flow_graph import flow_graph
from attnprobe.render.figures.head_grid import head_grid
from attnprobe.render.figures.head_map import head_map
from attnprobe.render.figures.heatmap import heatmap
from attnprobe.render.figures.layer_panel import layer_panel
from attnprobe.render.figures.style import Drawing, to_svg
from tests.support.svg import HOSTILE, SVG, said, texts, written

XLINK = "{http://www.w3.org/1999/xlink}"
RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> Any:
    drawn = RANDOM.random(shape, dtype=np.float32) ** 4
    return drawn / drawn.sum(axis=-1, keepdims=True)


def grid_of(count: int) -> Drawing:
    tokens = [f"t{number}" for number in range(count)]
    return heatmap(
        weights(count, count),
        queries=tokens,
        keys=tokens,
        title="tiny · L3H1 · case",
        expected=Cells((1,), (2, 3)),
        contrast=Cells((1,), (0,)),
    )


WORDS = ("the", "动物", "الحيوان", "it")
DRAWINGS = {
    "digits": lambda: grid_of(14),
    "forty tokens": lambda: grid_of(40),
    "foreign": lambda: heatmap(weights(4, 4), queries=WORDS, keys=WORDS, title="它 → 动物"),
    "hostile": lambda: heatmap(
        weights(len(HOSTILE), len(HOSTILE)), queries=HOSTILE, keys=HOSTILE, title="".join(HOSTILE)
    ),
    "panel": lambda: layer_panel(
        LayerPanel("encoder", 2, weights(6, 4, 4), (Head(2, 1),)),
        queries=WORDS,
        keys=WORDS,
        title="panel",
    ),
    "grid": lambda: head_grid(
        HeadGrid("score", (0, 2), np.array([[0.5, np.nan], [-0.25, 1]]), (Head(2, 1),)), title="g"
    ),
    "flow": lambda: flow_graph(FlowGraph(WORDS, (0, 1), weights(2, 4, 4), (3,), (0,)), title="f"),
    "curves": lambda: curves([Curves("entropy", (0, 1, 2), weights(3, 4))], title="c"),
    "map": lambda: head_map(
        HeadMap("m", tuple(Head(layer, 0) for layer in range(5)), weights(5, 2)), title="m"
    ),
}


def as_matplotlib_has_it(drawing: Drawing) -> str:
    buffer = io.BytesIO()
    super(Drawing, drawing).savefig(buffer, format="svg")
    return buffer.getvalue().decode()


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)]


@pytest.fixture(params=DRAWINGS)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    raw = as_matplotlib_has_it(DRAWINGS[request.param]())
    return raw, compact(raw)


def test_texts_are_the_same_in_their_places(pair: tuple[str, str]) -> None:
    raw, small = map(written, pair)
    assert [text for text, *_ in small] == [text for text, *_ in raw]
    assert [found[4:] for found in small] == [found[4:] for found in raw]  # how they look
    for before, after in zip(raw, small, strict=True):
        assert after[1:4] == pytest.approx(before[1:4], abs=0.051)


def test_shapes_are_the_same_in_their_order(pair: tuple[str, str]) -> None:
    raw, small = (
        [
            (node, said(node))
            for node in ElementTree.fromstring(svg).iter()
            if node.tag.removeprefix(SVG) in ("path", "image", "use", "rect")
        ]
        for svg in pair
    )
    assert [node.tag for node, _ in small] == [node.tag for node, _ in raw]
    for (_, before), (_, after) in zip(raw, small, strict=True):
        for name in ("fill", "stroke", "clip-path"):
            assert after.get(name) == before.get(name)
        assert after.get("stroke-linejoin", "round") == before.get("stroke-linejoin", "round")
        for name in ("stroke-width", "stroke-opacity", "fill-opacity", "opacity"):
            found = numbers(after.get(name, "")), numbers(before.get(name, ""))
            assert found[0] == pytest.approx(found[1], abs=1e-5)
        for name in ("d", "x", "y", "width", "height", "stroke-dasharray", "transform"):
            found = numbers(after.get(name, "")), numbers(before.get(name, ""))
            assert found[0] == pytest.approx(found[1], abs=0.0051)
        href = f"{XLINK}href"
        assert after.get(href) == (re.sub(r"\s", "", before[href]) if href in before else None)


def test_what_is_referred_to_is_there_and_ids_are_ours(pair: tuple[str, str]) -> None:
    raw, small = pair
    root = ElementTree.fromstring(small)
    ids = [node.attrib["id"] for node in root.iter() if "id" in node.attrib]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", small))
    assert used <= set(ids)
    ours = set(
        re.findall(r'id="((?:expected|contrast|decided|flow|end|head)-[^"]+|heads|mean)"', raw)
    )
    assert set(ids) == used | ours
    assert root.attrib["viewBox"].split()[2:] == [
        root.attrib[side].removesuffix("pt") for side in ("width", "height")
    ]


@pytest.mark.parametrize(("name", "times"), [("digits", 3), ("forty tokens", 2)])
def test_a_picture_is_so_many_times_smaller(name: str, times: float) -> None:
    raw = as_matplotlib_has_it(DRAWINGS[name]())
    assert len(compact(raw)) < len(raw) / times


def test_nothing_of_the_style_reaches_a_page_around_it(pair: tuple[str, str]) -> None:
    assert "<style" not in pair[1]
    assert "class=" not in pair[1]


def test_files_are_written_in_every_way_that_matplotlib_knows(tmp_path: Path) -> None:
    drawing = grid_of(4)
    small = to_svg(drawing)
    assert len(small) < len(as_matplotlib_has_it(drawing)) / 2
    drawing.savefig(tmp_path / "a.svg")
    drawing.savefig(str(tmp_path / "b"), format="svg")
    text, binary = io.StringIO(), io.BytesIO()
    drawing.savefig(text, format="svg")
    drawing.savefig(binary, format="svg")
    found = {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert found | {text.getvalue(), binary.getvalue().decode()} == {small}
    assert len(list(tmp_path.iterdir())) == 2
    drawing.savefig(tmp_path / "c.pdf")
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")


def test_what_reads_from_right_to_left_is_a_text_of_its_own() -> None:
    tokens = ["שלום", "b", "c"]
    svg = to_svg(heatmap(weights(3, 3), queries=tokens, keys=tokens, title=""))
    alone = [node.text for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert alone.count("שלום") == texts(svg).count("שלום") == 2


def test_a_style_that_is_no_attribute_stays_a_style() -> None:
    """Older versions of matplotlib write the font as one word."""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9.123pt" height="9pt"><g id="text_1">'
        '<text style="font: 700 8px serif; fill: #59636e" x="1.26" y="2" '
        'transform="rotate(-0 1.26 2)">a</text></g><g id="text_2">'
        '<text style="font: 8px serif" x="3" y="4.04" transform="rotate(-90 3 4.04)">b</text>'
        "</g></svg>"
    )
    small = compact(svg)
    assert [(found.x, found.y, found.angle) for found in written(small)] == [
        (1.3, 2, 0),
        (3, 4, -90),
    ]
    assert [found.fill for found in written(small)] == ["#59636e", "#000000"]
    fonts = [said(node)["font"] for node in ElementTree.fromstring(small).iter(f"{SVG}text")]
    assert fonts == ["700 8px serif", "8px serif"]
