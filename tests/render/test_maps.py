"""Maps and sentences of pages: their numbers, their colours, their packed form."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attnprobe.core.charts import Cells
from attnprobe.core.texts import Span, Tokens
from attnprobe.render import palette
from attnprobe.render.web.maps import (
    AttentionMap,
    format_thousandths,
    map_table,
    sentence,
    sentence_parts,
)

_CELL = re.compile(r'<td class="([^"]*)"[^>]*>([^<]*)')


def _shown(values: np.ndarray, **fields: object) -> AttentionMap:
    rows = tuple(f"q{at}" for at in range(values.shape[0]))
    columns = tuple(f"k{at}" for at in range(values.shape[1]))
    return AttentionMap(rows, columns, values.astype(np.float32), **fields)  # type: ignore[arg-type]


def _tokens(text: str, *spans: tuple[int, int] | None) -> Tokens:
    pieces = tuple(text[slice(*span)] if span else "[CLS]" for span in spans)
    roles = tuple(None if span else "cls" for span in spans)
    covered = tuple(Span(*span) if span else None for span in spans)
    return Tokens(text, tuple(range(len(spans))), pieces, covered, roles)


@given(arrays(np.float32, (4, 5), elements=st.floats(-1, 1, width=32)))
def test_cells_show_the_weights_to_three_decimals(values: np.ndarray) -> None:
    cells = _CELL.findall(map_table(_shown(values, signed=True), caption="weights"))
    read = [float(text.replace("−", "-")) for _, text in cells]
    assert np.allclose(read, values.ravel(), atol=0.0005001)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (500, ".5"), (123, ".123"), (1000, "1"), (-40, "−.04"), (5, ".005")],
)
def test_a_number_is_short(number: int, text: str) -> None:
    assert format_thousandths(number) == text


def test_a_cell_that_the_mask_hides_is_blank_and_not_zero() -> None:
    cells = _CELL.findall(map_table(_shown(np.array([[1.0, np.nan], [0.0, 1.0]])), caption="w"))
    assert cells == [("m31", "1"), ("h", ""), ("m0", "0"), ("m31", "1")]


def test_sinks_are_marked_and_do_not_eat_the_scale() -> None:
    shown = _shown(np.array([[0.96, 0.04, 0.0], [0.9, 0.02, 0.08]]), sinks=(0,))
    assert shown.scale() == pytest.approx(0.08)
    cells = _CELL.findall(map_table(shown, caption="w"))
    assert [name for name, _ in cells] == ["m31 s", "m16", "m0", "m31 s", "m8", "m31"]


def test_expected_and_contrast_cells_are_outlined_and_their_labels_named() -> None:
    shown = _shown(np.eye(3), expected=Cells((1,), (0, 1)), contrast=Cells((1,), (2,)))
    table = map_table(shown, caption="w")
    assert [name for name, _ in _CELL.findall(table)][3:6] == ["m0 e", "m31 e", "m0 c"]
    assert re.findall(r'class="attn-(\w+)">(?:<span>)?(\w+)', table) == [
        *[("to", "k0"), ("to", "k1"), ("over", "k2")],
        ("from", "q1"),
    ]


def test_labels_and_captions_are_escaped() -> None:
    shown = AttentionMap(("<b>\u202e",), ("&",), np.ones((1, 1), np.float32))
    table = map_table(shown, caption="<script>")
    assert "&lt;b&gt;&lt;U+202E&gt;" in table
    assert "&lt;script&gt;" in table
    assert "<b>" not in table
    assert "<script>" not in table


def test_the_parts_of_a_sentence_join_to_the_text() -> None:
    tokens = _tokens("Der  alte Hut", None, (0, 3), (5, 7), (7, 9), (10, 13), None)
    parts = sentence_parts(tokens)
    assert "".join(part.text for part in parts[1:-1]) == tokens.text
    assert [part.token for part in parts] == [0, 1, None, 2, 3, None, 4, 5]


def test_spaces_before_a_word_are_not_tinted() -> None:
    parts = sentence_parts(_tokens("it  was  ", (0, 2), (2, 3), (3, 7), (7, 9)))
    assert [tuple(part) for part in parts] == [
        *[("it", 0), (" ", 1), (" ", None), ("was", 2)],
        ("  ", 3),
    ]


def test_tokens_that_share_characters_do_not_repeat_them() -> None:
    parts = sentence_parts(_tokens("a🙂b", (0, 1), (1, 2), (1, 2), (2, 3)))
    assert [tuple(part) for part in parts] == [("a", 0), ("🙂", 1), ("b", 3)]


def test_a_sentence_is_tinted_and_marked() -> None:
    html = sentence(
        sentence_parts(_tokens("it was", (0, 2), (3, 6))),
        weights=[0.0, 0.5],
        scale=0.5,
        marks={0: "from", 1: "to"},
    )
    assert html == (
        '<p class="attn-sentence" dir="auto"><span class="m0 attn-from attn-brief">it</span> '
        '<span class="m31 attn-to">was</span></p>'
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_grow_in_one_direction_of_lightness_and_their_text_is_readable(theme: str) -> None:
    colours = palette.steps_of(theme)
    lightness = [palette.luminance(colours[f"m{step}"]) for step in range(palette.STEPS)]
    assert lightness == sorted(lightness, reverse=theme == "light")
    for colour in colours.values():
        levels = sorted([palette.luminance(colour), palette.luminance(palette.ink_on(colour))])
        assert (levels[1] + 0.05) / (levels[0] + 0.05) >= 4.5


def test_colours_for_pages_without_style_sheets_carry_black_text() -> None:
    table = map_table(_shown(np.linspace(0, 1, 40).reshape(4, 10)), caption="w", with_colours=True)
    colours = re.findall(r'bgcolor="(#\w+)"', table)
    assert len(colours) == 40
    for colour in colours:
        assert (palette.luminance(colour) + 0.05) / 0.05 >= 4.5
