"""Pictures, tables and character charts: read back as XML, HTML and pixels."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.image import imread
from rich.cells import cell_len

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Cells
from attnprobe.core.printing import as_label, visible
from attnprobe.core.verdicts import Attended
from attnprobe.render.chart import bars
from attnprobe.render.figures.heatmap import heatmap
from attnprobe.render.figures.style import Drawing, to_svg
from attnprobe.render.palette import CONTRAST, EXPECTED
from attnprobe.render.web.case import BoundRow, ExpectationRow, case_body, expectations_table
from tests.support.svg import HOSTILE, SVG, named, outline_box, places, said, texts, written

XLINK = "{http://www.w3.org/1999/xlink}"
SENTENCE = ["[CLS]", "the", "animal", "didn", "'", "t", "cross", "the", "street", "[SEP]"]


def softmax(rows: int, columns: int, seed: int = 0) -> Floats:
    scores = np.exp(np.random.default_rng(seed).normal(size=(rows, columns)) * 2)
    weights: Floats = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def drawn(
    tokens: Sequence[str],
    *,
    title: str = "tiny · L3H1 · case",
    expected: Cells | None = None,
    contrast: Cells | None = None,
    rows: tuple[int, ...] | None = None,
) -> Drawing:
    return heatmap(
        softmax(len(tokens), len(tokens)),
        queries=tokens,
        keys=tokens,
        title=title,
        expected=expected,
        contrast=contrast,
        rows=rows,
    )


def cell_box(
    drawing: Drawing, shape: tuple[int, int], row: int, column: int, axes: int = 1
) -> tuple[float, float, float, float]:
    """The same for a cell, from the box of its axes alone."""
    width, height = drawing.get_size_inches() * 72
    box = drawing.axes[axes].get_position()
    left, top = box.x0 * width, height - box.y1 * height
    across, down = box.width * width / shape[1], box.height * height / shape[0]
    return (
        left + column * across,
        top + row * down,
        left + (column + 1) * across,
        top + (row + 1) * down,
    )


def test_every_token_is_a_label_on_both_axes() -> None:
    found = texts(to_svg(drawn(SENTENCE)))
    assert all(found.count(token) == 2 * SENTENCE.count(token) for token in SENTENCE)
    assert {"attention weight", "tiny · L3H1 · case"} <= set(found)


def test_each_language_stands_on_its_own_axis() -> None:
    french, english = ["les", "clés"], ["the", "keys", "."]
    svg = to_svg(heatmap(softmax(2, 3), queries=french, keys=english, title=""))
    angles = {found.text: found.angle for found in written(svg)}
    assert [angles[token] for token in french + english] == [0, 0, -45, -45, -45]


def test_outlines_lie_on_their_cells_and_differ_in_colour_and_line() -> None:
    drawing = drawn(
        SENTENCE, expected=Cells(rows=(7,), columns=(2,)), contrast=Cells(rows=(7,), columns=(8,))
    )
    svg = to_svg(drawing)
    assert outline_box(svg, "expected-7-2") == pytest.approx(
        cell_box(drawing, (10, 10), 7, 2), abs=0.01
    )
    assert outline_box(svg, "contrast-7-8") == pytest.approx(
        cell_box(drawing, (10, 10), 7, 8), abs=0.01
    )
    expected, contrast = (
        said(next(named(svg, name).iter(f"{SVG}path"))) for name in ("expected-7-2", "contrast-7-8")
    )
    assert (expected["stroke"], "stroke-dasharray" in expected) == (EXPECTED, False)
    assert (contrast["stroke"], "stroke-dasharray" in contrast) == (CONTRAST, True)
    assert {"expected", "contrast"} <= set(texts(svg))


def test_neighbouring_cells_share_one_outline() -> None:
    drawing = drawn(SENTENCE, expected=Cells(rows=(6,), columns=(3, 4, 5, 8)))
    svg = to_svg(drawing)
    left, top, _, _ = cell_box(drawing, (10, 10), 6, 3)
    _, _, right, bottom = cell_box(drawing, (10, 10), 6, 5)
    assert outline_box(svg, "expected-6-3") == pytest.approx((left, top, right, bottom), abs=0.01)
    assert re.findall(r'id="(expected[^"]*)"', svg) == ["expected-6-3", "expected-6-8"]


def test_cells_are_square() -> None:
    for tokens, shape in ((SENTENCE, (10, 10)), (["t"] * 37, (37, 37))):
        left, top, right, bottom = cell_box(drawn(tokens), shape, 0, 0)
        assert right - left == pytest.approx(bottom - top)


def test_without_outlines_there_is_no_legend() -> None:
    assert not {"expected", "contrast"} & set(texts(to_svg(drawn(SENTENCE))))


@pytest.mark.parametrize("count", [1, 14])
def test_digits_are_the_weights_row_by_row(count: int) -> None:
    tokens = [f"t{number}" for number in range(count)]
    digits = [text for text in texts(to_svg(drawn(tokens))) if re.fullmatch(r"\d\.\d\d", text)]
    assert digits == [f"{weight:.2f}" for weight in softmax(count, count).ravel()]


def test_digits_stand_in_the_middle_of_their_cells() -> None:
    drawing = drawn(SENTENCE)
    weights = softmax(10, 10)
    found = [(x, y) for text, x, y in places(to_svg(drawing)) if re.fullmatch(r"\d\.\d\d", text)]
    assert len(found) == weights.size
    for (x, y), (row, column) in zip(found, np.ndindex(10, 10), strict=True):
        left, top, right, bottom = cell_box(drawing, (10, 10), row, column)
        # 0.00 in DejaVu Sans is 2.23 em wide and 0.73 em high; 8 points to the em.
        assert x + 2.23 * 8 / 2 == pytest.approx((left + right) / 2, abs=0.6)
        assert y - 0.73 * 8 / 2 == pytest.approx((top + bottom) / 2, abs=0.6)


def test_digits_contrast_with_their_cell() -> None:
    svg = to_svg(heatmap(np.eye(2, dtype=np.float32), queries="ab", keys="ab", title=""))
    fills = {found.text: found.fill for found in written(svg)}
    digits = {text: fill for text, fill in fills.items() if re.fullmatch(r"\d\.\d\d", text)}
    assert {text: int(fill[1:3], 16) > 128 for text, fill in digits.items()} == {
        "1.00": False,
        "0.00": True,
    }


def test_above_fourteen_tokens_there_are_no_digits() -> None:
    found = texts(to_svg(drawn(["t"] * 15)))
    assert not any(re.fullmatch(r"\d\.\d\d", text) for text in found)


def test_forty_tokens_are_a_grid_and_more_a_strip_of_the_rows_in_question() -> None:
    tokens = [f"t{number}" for number in range(41)]
    grid = texts(to_svg(drawn(tokens[:40], rows=(3,))))
    strip = texts(to_svg(drawn(tokens, rows=(3, 30))))
    assert all(grid.count(token) == 2 for token in tokens[:40])
    # Once as a column each; the two rows once more on each of the two lines.
    counts = {token: strip.count(token) for token in tokens}
    assert counts == {token: 3 if token in ("t3", "t30") else 1 for token in tokens}


def test_strip_shows_the_weights_of_its_rows_line_by_line() -> None:
    tokens = [f"t{number}" for number in range(90)]
    drawing = drawn(tokens, expected=Cells((50,), (2,)), contrast=Cells((50,), (61,)))
    shown = [np.asarray(axes.images[0].get_array()) for axes in drawing.axes[1:]]
    assert [part.shape for part in shown] == [(1, 30)] * 3
    np.testing.assert_array_equal(np.hstack(shown), softmax(90, 90)[[50]])
    svg = to_svg(drawing)
    assert outline_box(svg, "expected-50-2") == pytest.approx(
        cell_box(drawing, (1, 30), 0, 2, axes=1), abs=0.01
    )
    assert outline_box(svg, "contrast-50-61") == pytest.approx(
        cell_box(drawing, (1, 30), 0, 1, axes=3), abs=0.01
    )


def test_long_text_without_rows_in_question_is_a_grid_with_thinned_labels() -> None:
    tokens = [f"t{number}" for number in range(80)]
    drawing = drawn(tokens)
    assert np.asarray(drawing.axes[1].images[0].get_array()).shape == (80, 80)
    labels = [text for text in texts(to_svg(drawing)) if text in tokens]
    assert labels == tokens[::2] * 2


def test_brightest_pixel_is_the_largest_weight() -> None:
    weights = np.full((5, 5), 0.1, dtype=np.float32)
    weights[3, 1] = 0.6
    drawing = heatmap(weights, queries="abcde", keys="abcde", title="")
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=72)
    pixels = imread(io.BytesIO(buffer.getvalue()))
    corners = np.empty((5, 5, 3))
    for row, column in np.ndindex(5, 5):
        left, top, _, _ = cell_box(drawing, (5, 5), row, column)
        corners[row, column] = pixels[int(top) + 4, int(left) + 4, :3]
    viridis = matplotlib.colormaps["viridis"]
    assert corners[3, 1] == pytest.approx(viridis(1.0)[:3], abs=0.01)
    assert corners[0, 0] == pytest.approx(viridis(1 / 6)[:3], abs=0.01)
    brightness = corners.sum(axis=2)
    assert np.unravel_index(brightness.argmax(), brightness.shape) == (3, 1)


def test_colours_in_the_svg_run_from_zero_to_the_largest_weight() -> None:
    weights = softmax(6, 6)
    svg = to_svg(heatmap(weights, queries="abcdef", keys="abcdef", title=""))
    images = [
        imread(io.BytesIO(base64.b64decode(image.attrib[f"{XLINK}href"].split(",")[1])))
        for image in ElementTree.fromstring(svg).iter(f"{SVG}image")
    ]
    cells = next(image for image in images if image.shape[:2] == (6, 6))
    expected = matplotlib.colormaps["viridis"](weights / weights.max())
    # The image may be stored upside down; its transform turns it.
    assert np.allclose(cells, expected, atol=0.01) or np.allclose(cells[::-1], expected, atol=0.01)


def test_all_weights_zero_is_drawn() -> None:
    zeros = np.zeros((2, 2), dtype=np.float32)
    assert texts(to_svg(heatmap(zeros, queries="ab", keys="ab", title=""))).count("0.00") == 4


@pytest.mark.parametrize(
    ("rows", "columns"), [(0, 0), (2, 3), (3, 2)], ids=["empty", "too wide", "too high"]
)
def test_weights_that_do_not_fit_the_tokens_are_refused(rows: int, columns: int) -> None:
    tokens = ["a", "b"][:rows]
    with pytest.raises(ValueError, match=f"{rows}, {columns}.* {len(tokens)} target"):
        heatmap(softmax(rows, columns), queries=tokens, keys=tokens, title="")


def test_cells_and_rows_outside_the_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        drawn("ab", rows=(2,))
    with pytest.raises(ValueError, match="outside"):
        drawn("ab", expected=Cells((0,), (2,)))
    with pytest.raises(ValueError, match="outside"):
        drawn("ab", contrast=Cells((-1,), (0,)))


def test_long_title_is_broken_not_cut() -> None:
    title = "organisation/a-model-with-a-very-long-name " * 3 + "· L3H1 · " + "case" * 40
    drawing = drawn("abc", title=title)
    lines = [text for text in texts(to_svg(drawing)) if text in title and len(text) > 20]
    assert "".join(lines).replace(" ", "") == title.replace(" ", "")
    assert len(lines) > 3


def test_figure_shows_itself_and_saves_text_as_text(tmp_path: Path) -> None:
    drawing = drawn(SENTENCE)
    drawing.savefig(tmp_path / "it.svg")
    drawing.savefig(str(tmp_path / "it.png"))
    assert (tmp_path / "it.svg").read_text(encoding="utf-8") == drawing._repr_svg_()
    assert "animal" in texts(drawing._repr_svg_())
    height, width, _ = imread(tmp_path / "it.png").shape
    assert (width, height) == pytest.approx(drawing.get_size_inches() * 144, abs=1)


def test_global_settings_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    to_svg(drawn(SENTENCE))
    assert dict(matplotlib.rcParams) == before


def test_foreign_scripts_stay_text_and_raise_no_warning_p14() -> None:
    tokens = ["动物", "הַכֶּלֶב", "الحيوان", "🎉", "👨‍👩‍👧", "é", "می‌روم"]
    found = texts(to_svg(drawn(tokens, title="它 → 动物")))
    assert all(found.count(token) == 2 for token in tokens)
    assert "它 → 动物" in found


def test_hostile_text_is_harmless_in_the_svg_p31() -> None:
    svg = to_svg(drawn(HOSTILE, title="".join(HOSTILE)))
    root = ElementTree.fromstring(svg)
    assert {element.tag.rpartition("}")[2] for element in root.iter()}.isdisjoint(
        {"script", "img", "foreignObject", "a"}
    )
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not any(name.startswith("on") for name in attributes)
    found = texts(svg)
    for label in ("<script>alert(1)<…", "]]>", "&amp;<!--", r"$\frac{1}{2}$", "x" * 17 + "…"):
        assert found.count(label) == 2


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> _Page:
    page = _Page()
    page.feed(str(html))
    return page


def finding(text: str) -> ExpectationRow:
    return ExpectationRow(
        rule=text,
        relation=text,
        heads=text,
        observed=text,
        demanded=text,
        head=text,
        chance=text,
        sink=0.125,
        outcome="failed",
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_harmless_in_html_p31(text: str) -> None:
    page = parsed(expectations_table([finding(text)]))
    assert set(page.tags) == {"table", "thead", "tbody", "tr", "th", "td", "span"}
    assert {name for name, _ in page.attributes} == {"class", "scope"}
    assert page.text.count(visible(text)) >= 7


def test_what_no_template_made_is_escaped_even_as_a_part_of_a_case_p31() -> None:
    table: Any = "<script>"
    made = case_body([], table=table, notes=["<b>"])
    assert "<script" not in made
    assert "<b>" not in made
    assert "<i>x</i>" in case_body([], table=Markup("<i>x</i>"), notes=[])


def test_table_has_one_row_an_expectation() -> None:
    page = parsed(expectations_table([finding("a"), finding("b")]))
    assert page.tags.count("tr") == 3
    assert page.text == (
        "rulefrom → toheadsobserveddemandedheadchancesinkoutcome"
        + "aaaaaaa0.12failed"
        + "bbbbbbb0.12failed"
    )


def test_further_bounds_have_rows_of_their_own() -> None:
    bounds = (BoundRow("rank 3", "<= 1", "failed"), BoundRow("<b>", "> 0", "passed"))
    page = parsed(expectations_table([replace(finding("a"), other_bounds=bounds)]))
    assert page.text.endswith("aaaaaaa0.12failed" + "rank 3<= 1failed" + "<b>> 0passed")
    spans = [value for name, value in page.attributes if name == "rowspan"]
    assert spans == ["3"] * 6  # rule, words, heads, head, chance, sink
    assert page.tags.count("tr") == 1 + 3


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_acts_is_left_in_text_p33(text: str) -> None:
    (line,) = bars([Attended(text, 0.5)], mark={text: "expected"})
    for shown in (line, visible(text), as_label(text)):
        assert shown.isprintable()
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", shown)
        shown.encode()
    assert not line.startswith(":")
    assert line.endswith("← expected")


def test_visible_names_what_cannot_be_shown() -> None:
    assert visible("a\x1b[0m\n\ud800\u202e\uffff") == (
        "a<U+001B>[0m<U+000A><U+D800><U+202E><U+FFFF>"
    )
    assert as_label("  ") == "␣␣"
    assert visible("naïve 动物 👨‍👩‍👧") == "naïve 动物 👨‍👩‍👧"


def test_long_token_is_shortened_to_eighteen_columns() -> None:
    assert as_label("internationalization") == "internationalizat…"
    assert as_label("x" * 18) == "x" * 18
    assert cell_len(as_label("动" * 30)) <= 18


def test_the_same_picture_has_the_same_bytes_p39() -> None:
    program = (
        "import sys, numpy as np\n"
        "from attnprobe.core.charts import Cells\n"
        "from attnprobe.render.figures.heatmap import heatmap\n"
        "from attnprobe.render.figures.style import to_svg\n"
        "weights = np.eye(3, dtype=np.float32)\n"
        "picture = heatmap(weights, queries='abc', keys='abc', title='t',"
        " expected=Cells((0,), (1,)))\n"
        "sys.stdout.write(to_svg(picture))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONUTF8": "1"},
        cwd=Path(__file__).parents[2],
    ).stdout.decode()
    weights = np.eye(3, dtype=np.float32)
    here = heatmap(weights, queries="abc", keys="abc", title="t", expected=Cells((0,), (1,)))
    assert to_svg(here) == to_svg(here) == elsewhere.replace("\r\n", "\n")
    assert "<dc:date>" not in elsewhere


def test_bars_line_up_and_mark_words() -> None:
    lines = bars(
        [Attended("street", 0.5), Attended("动物", 0.25), Attended("[SEP]", 0.03125)],
        width=8,
        mark={"动物": "expected", "street": "contrast"},
    )
    assert lines == [
        "0.50  street  ████████ ← contrast",
        "0.25  动物    ████     ← expected",
        "0.03  [SEP]   ▌",
    ]
    assert len({cell_len(line.partition("█")[0]) for line in lines[:2]}) == 1


def test_bars_of_nothing() -> None:
    assert bars([]) == []
    assert bars([Attended("a", 0.0)]) == ["0.00  a  "]


def test_tables_and_charts_need_no_matplotlib() -> None:
    program = (
        "import sys, attnprobe.render.web.case, attnprobe.render.chart;"
        "sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=root)
    assert done.returncode == 0
