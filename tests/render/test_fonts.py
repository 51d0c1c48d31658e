"""Fonts of PNG and PDF, widths of labels, and the places of the titles of axes."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from attnprobe.core.errors import MissingGlyphWarning
from attnprobe.render.figures import fonts
from attnprobe.render.figures.fonts import families_for, width_of
from attnprobe.render.figures.heatmap import heatmap
from attnprobe.render.figures.style import Drawing, to_svg
from tests.support.charts import EVERY, drawn

CHINESE, DEVANAGARI, EMOJI = "动物", "बिल्ली", "🎉"
FOREIGN = CHINESE + DEVANAGARI + EMOJI
LABELS = (
    ["बिल्लियाँअन्तर्राष्ट्रीय", "श्रृंखला", "के"],
    ["动物园里的大熊猫不高兴", "了", "。"],
    ["🎉🎉🎉🎉🎉🎉🎉", "👨‍👩‍👧", "é"],
    ["WWWWWWWWWWWWWWWWWW", "@@@@@@@@@@@@", "iiii"],
    ["الحيواناتوالنباتات", "הַכֶּלֶב", "ქართული"],
)
Install = Callable[[str], str]


@pytest.fixture
def own_fonts_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with no fonts but those that come with matplotlib."""
    own = matplotlib.get_data_path()
    found = [(family, path) for family, path in fonts.installed_fonts() if path.startswith(own)]
    monkeypatch.setattr(fonts, "installed_fonts", lambda: iter(found))
    fonts.families_with.cache_clear()
    yield
    fonts.families_with.cache_clear()


@pytest.fixture
def install(
    own_fonts_only: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Install]:
    """Installs a font whose glyphs are black squares of one em."""
    manager = font_manager.fontManager
    before = list(manager.ttflist)

    def add(characters: str) -> str:
        name = f"Squares{len(manager.ttflist)}"
        path = tmp_path / f"{name}.ttf"
        write_font(path, name, characters)
        manager.addfont(os.fspath(path))
        installed = [*fonts.installed_fonts(), (name, os.fspath(path))]
        monkeypatch.setattr(fonts, "installed_fonts", lambda: iter(installed))
        fonts.families_with.cache_clear()
        return name

    yield add
    manager.ttflist[:] = before


def write_font(path: Path, name: str, characters: str) -> None:
    pen = TTGlyphPen(None)
    for command, point in zip(
        (pen.moveTo, *(pen.lineTo,) * 3), ((0, 0), (0, 1000), (1000, 1000), (1000, 0)), strict=True
    ):
        command(point)
    pen.closePath()
    square = pen.glyph()
    glyphs = [".notdef", *(f"u{ord(char):X}" for char in dict.fromkeys(characters))]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(char): f"u{ord(char):X}" for char in characters})
    builder.setupGlyf(dict.fromkeys(glyphs, square))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def one_line(text: str) -> Drawing:
    drawing = Drawing(100, 40)
    drawing.write(10, 10, text, size=20)
    return drawing


def ink(drawing: Drawing) -> float:
    """The darkened area of a PNG, in square points."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png")
    buffer.seek(0)
    dark = 1 - imread(buffer)[..., :3].mean(axis=-1)
    return float(dark[4:-4, 4:-4].sum()) * 72**2 / 144**2 / (1 - 0x23 / 0xFF)


@pytest.mark.parametrize("text", [CHINESE, DEVANAGARI, EMOJI], ids=["zh", "hi", "emoji"])
def test_a_png_uses_an_installed_font_that_has_the_characters(install: Install, text: str) -> None:
    install("x")
    name = install(text)
    assert families_for(text) == (["DejaVu Sans", name], ())
    letters = len(text) if text is not DEVANAGARI else None
    found = ink(one_line(text))
    if letters:
        assert found == pytest.approx(letters * 20 * 20, rel=0.05)
    assert found > 300


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_characters_without_a_font_are_named_once(own_fonts_only: None, kind: str) -> None:
    drawing = one_line(FOREIGN + "plain")
    with pytest.warns(MissingGlyphWarning) as caught:
        drawing.savefig(io.BytesIO(), format=kind)
    drawing.savefig(io.BytesIO(), format=kind)
    (warning,) = caught
    message = str(warning.message)
    assert message.startswith("no installed font has ")
    for char in set(FOREIGN):
        assert f"{char} (U+{ord(char):04X})" in message
    assert "U+0070" not in message
    assert issubclass(warning.category, UserWarning)


def test_only_what_is_missing_is_named(install: Install) -> None:
    install(CHINESE)
    with pytest.warns(MissingGlyphWarning, match=r"has क \(U\+0915\): the picture shows boxes"):
        one_line("动क").savefig(io.BytesIO(), format="png")


def test_many_missing_characters_are_counted(own_fonts_only: None) -> None:
    han = "".join(chr(0x4E00 + number) for number in range(30))
    with pytest.warns(MissingGlyphWarning, match=r"\(U\+4E0B\) and 18 more: the picture"):
        one_line(han).savefig(io.BytesIO(), format="png")


def test_a_pdf_holds_the_glyphs_of_the_font_that_was_found(install: Install) -> None:
    name = install(CHINESE)
    buffer = io.BytesIO()
    one_line(f"the {CHINESE}").savefig(buffer, format="pdf")
    assert name.encode() in buffer.getvalue()
    assert b"DejaVuSans" in buffer.getvalue()


def test_a_font_of_matplotlib_helps_out(own_fonts_only: None) -> None:
    assert families_for("gℊ") == (["DejaVu Sans", "STIXGeneral"], ())
    assert families_for("die Straße الحيوان") == (["DejaVu Sans"], ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ink(one_line("ℊ")) > 10


def test_an_svg_looks_for_no_font(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> Iterator[tuple[str, str]]:
        raise AssertionError("fonts were looked for")

    monkeypatch.setattr(fonts, "installed_fonts", fail)
    fonts.families_with.cache_clear()
    drawing = one_line(FOREIGN)
    assert FOREIGN in to_svg(drawing)
    drawing.savefig(tmp_path / "it.svg")


def test_fonts_of_bitmaps_and_of_boxes_are_left_out() -> None:
    names = {name for name, _ in fonts.installed_fonts()}
    assert "DejaVu Sans" in names
    assert not [name for name in names if name.startswith(("Last Resort", "cmr"))]


# Widths and places --------------------------------------------------------------------------------


class Measure(Artist):
    """Notes the boxes around the texts of a picture as they are drawn, in points."""

    def __init__(self, drawing: Drawing) -> None:
        super().__init__()
        self.set_zorder(100)
        self.drawing = drawing
        self.boxes: list[Bbox] = []

    def draw(self, renderer: RendererBase) -> None:
        to_points = self.drawing.points.inverted()
        self.boxes = [
            text.get_window_extent(renderer).transformed(to_points) for text in self.drawing.texts
        ]


def boxes(drawing: Drawing) -> list[tuple[Text, Bbox]]:
    """The texts of a picture with the boxes around them, in points."""
    measure = Measure(drawing)
    drawing.add_artist(measure)
    drawing.savefig(io.BytesIO(), format="png")
    return list(zip(drawing.texts, measure.boxes, strict=True))


def overlap(first: Bbox, second: Bbox) -> bool:
    return bool(
        first.x0 < second.x1
        and second.x0 < first.x1
        and first.y0 < second.y1
        and second.y0 < first.y1
    )


@pytest.mark.parametrize("labels", LABELS, ids=["hi", "zh", "emoji", "wide", "rtl"])
@pytest.mark.filterwarnings("ignore::attnprobe.core.errors.MissingGlyphWarning")
def test_titles_of_axes_cover_no_label(labels: list[str]) -> None:
    for count in (3, 9, 25):
        tokens = (labels * count)[:count]
        weights = np.full((count, count), 1 / count, np.float32)
        drawing = heatmap(weights, queries=tokens, keys=tokens, title="t")
        found = boxes(drawing)
        titles = [entry for entry in found if "token)" in entry[0].get_text()]
        assert titles
        width, height = drawing.get_size_inches() * 72
        for text, box in found:
            assert box.x0 > 0
            assert box.y0 > 0
            assert box.x1 < width
            assert box.y1 < height
            for title, around in titles:
                if text is not title:
                    assert not overlap(around, box), (title.get_text(), text.get_text())


def test_the_title_of_rows_stands_left_of_all_labels() -> None:
    drawing = heatmap(
        np.full((9, 9), 1 / 9, np.float32), queries=["WWWWWWWWWWWW"] * 9, keys=["i"] * 9, title="t"
    )
    found = {text.get_text(): box for text, box in boxes(drawing)}
    assert found["from (target token)"].x1 < found["WWWWWWWWWWWW"].x0
    assert found["to (source token)"].y1 < found["i"].y0


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: type(chart).__name__)
def test_names_of_axes_cover_nothing_in_any_chart(chart: object) -> None:
    found = boxes(drawn(chart))  # type: ignore[arg-type]
    names = [entry for entry in found if entry[0].get_text() in ("head", "layer")]
    for (name, around), (text, box) in product(names, found):
        assert text is name or not overlap(around, box), (name.get_text(), text.get_text())


@pytest.mark.parametrize("text", ["the animal", "WWW", "iiii", "Ωмир", "L11H10", "−0.25"])
@pytest.mark.parametrize("bold", [False, True])
def test_no_text_is_wider_than_estimated(text: str, bold: bool) -> None:
    drawing = Drawing(200, 40)
    drawing.write(5, 5, text, size=9, bold=bold)
    ((_, box),) = boxes(drawing)
    assert box.width <= width_of(text, 9) + 0.5
    if bold:
        assert box.width >= 0.85 * width_of(text, 9)
