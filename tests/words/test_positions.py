"""Tokens of words: which belong to a word, which words share one, and the whole messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.errors import SelectorError
from attnprobe.core.texts import PAIR_BREAK, InputText, Sample, Span, Tokens, input_texts, text_at
from attnprobe.words.id_pieces import Spelling, pieces_of_ids
from attnprobe.words.positions import Group, groups, positions, word_matrix
from attnprobe.words.segmentation import strip_span
from attnprobe.words.selectors import parse_selector
from tests.support.made_up import parts_of

Spans = list[tuple[int, int] | None]


def tokens_at(text: str, spans: Spans, **about: object) -> Tokens:
    """Tokens with these spans; those without one are called [X]."""
    placed = tuple(span and Span(*span) for span in spans)
    pieces = tuple(text[slice(*span)] if span else "[X]" for span in placed)
    unknown = about.get("unknown", ())
    special = about.get("special", tuple(None for _ in spans))
    return Tokens(
        *(text, tuple(range(len(spans))), pieces, placed, special, unknown),  # type: ignore[arg-type]
        parts=parts_of(text),
    )


def refusal(value: object, tokens: Tokens) -> list[str]:
    with pytest.raises(SelectorError) as caught:
        positions(parse_selector(value), tokens)
    return str(caught.value).split("\n")


SHARED = tokens_at("a bc de f", [(0, 1), (2, 6), (6, 9)])
PAIR = f"a b{PAIR_BREAK}cd e"


@pytest.mark.parametrize(
    ("value", "tokens", "lines"),
    [
        (
            "bc",
            SHARED,
            [
                "no token boundary there: the token 'bc d' also covers 'd'; select the whole "
                "'bc d'",
                "  a bc de f",
                "    ^^^^",
            ],
        ),
        (
            {"chars": [3, 5]},
            SHARED,
            [
                "no token boundary there: the token 'bc d' also covers 'b' and 'd'; select the "
                "whole 'bc d'",
                "  a bc de f",
                "    ^^^^",
            ],
        ),
        (
            {"pair": {"chars": [1, 2]}},
            tokens_at(PAIR, [(0, 1), (2, 3), (4, 6), (7, 8)]),
            [
                "no token boundary there: the token 'cd' also covers 'c'; select the whole 'cd'",
                "  cd e",
                "  ^^",
            ],
        ),
        (
            "e",
            tokens_at(PAIR, [(0, 1), (2, 3), (4, 6)]),
            ["no token stands for 'e': the tokenizer drops it", "  cd e", "     ^"],
        ),
        (
            "cd",
            tokens_at(PAIR, [(0, 3), (4, 5), (5, 6), (7, 8)], unknown=(2,)),
            [
                "'cd' becomes the unknown token d: the model cannot see this word; name a word of "
                "its vocabulary",
                "  cd e",
                "  ^^",
            ],
        ),
        (
            {"predicts": "a"},
            tokens_at("a b", [(0, 1), (2, 3)]),
            ["nothing predicts 'a': no token stands before it", "  a b", "  ^"],
        ),
        (
            {"pair": {"predicts": "cd"}},
            tokens_at(PAIR, [None, (4, 6), (7, 8)], special=("pad", None, None)),
            ["nothing predicts 'cd': no token stands before it", "  cd e", "  ^^"],
        ),
        (
            {"special": "cls"},
            tokens_at("a", [None, (0, 1), None, None], special=("bos", None, "eos", "pad")),
            [
                "this model puts no cls token around the text; special tokens there: bos ([X]), "
                "eos ([X]), pad ([X])",
            ],
        ),
        (
            {"special": "first"},
            tokens_at("", [None], special=("pad",)),
            [
                "this model puts no first token around the text; special tokens there: pad ([X])",
            ],
        ),
        (
            {"special": "sep"},
            tokens_at("a", [(0, 1)]),
            ["this model puts no sep token around the text; special tokens there: none"],
        ),
    ],
)
def test_what_has_no_tokens_p15(value: object, tokens: Tokens, lines: list[str]) -> None:
    assert refusal(value, tokens) == lines


@pytest.mark.parametrize(
    ("value", "spans", "expected"),
    [
        ("bc", [(0, 1), (1, 4), (4, 6)], (1,)),  # the space before belongs to it
        ("bc", [(0, 2), (2, 5), (5, 7)], (1,)),  # the space behind as well
        ("bc", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], (2, 3)),  # a space alone does not
        ("a", [(0, 1), (2, 4)], (0,)),
        ("de", [(0, 1), (2, 4), (4, 7), (4, 7)], (2, 3)),
        (["de", "a"], [(0, 1), (2, 4), (5, 7)], (0, 2)),
        ({"predicts": "de"}, [(0, 1), (2, 4), (5, 6), (6, 7)], (1,)),
        ({"predicts": "bc"}, [None, (2, 4)], (0,)),
    ],
)
def test_tokens_of_a_word(value: object, spans: Spans, expected: tuple[int, ...]) -> None:
    assert positions(parse_selector(value), tokens_at("a bc de", spans)) == expected


# Groups ------------------------------------------------------------------------------------------

CUTS = st.sets(st.integers(1, 14)).map(sorted)
WORDS = (Span(0, 1), Span(2, 4), Span(5, 7), Span(8, 9), Span(10, 15))


@given(CUTS, st.sets(st.integers(0, 14)), st.sets(st.integers(0, 14)))
def test_words_that_share_a_token_are_one_group(
    cuts: list[int], dropped: set[int], special: set[int]
) -> None:
    """By repeated merging: two words are one as long as some token touches both."""
    text = "a bc de f ghijk"
    pieces = [Span(*cut) for cut in zip([0, *cuts], [*cuts, 15], strict=True)]
    spans: Spans = [None if at in dropped else span for at, span in enumerate(pieces)]
    roles = tuple("special" if at in special else None for at in range(len(spans)))
    tokens = tokens_at(text, spans, special=roles)
    touched = {
        at: {
            number
            for number, word in enumerate(WORDS)
            if span and any(word.start <= char < word.end for char in range(*span))
        }
        for at, span in enumerate(spans)
        if at not in special
    }
    merged: list[tuple[set[int], set[int]]] = []  # words and tokens
    for at, numbers in touched.items():
        if not numbers:
            continue
        near = [group for group in merged if group[0] & numbers]
        merged = [group for group in merged if group not in near]
        merged.append((numbers.union(*(g[0] for g in near)), {at}.union(*(g[1] for g in near))))
    expected = [
        Group(text[WORDS[min(words)].start : WORDS[max(words)].end], tuple(sorted(at)), False)
        for words, at in merged
    ]
    grouped = {at for group in expected for at in group.positions}
    expected += [
        Group(tokens.pieces[at], (at,), at in special)
        for at in range(len(spans))
        if at not in grouped
    ]
    assert groups(tokens) == tuple(sorted(expected, key=lambda group: group.positions))
    assert groups(tokens, WORDS) == groups(tokens)


def test_groups_of_words_that_are_given() -> None:
    tokens = tokens_at("a bc de", [(0, 1), (2, 4), (5, 7)])
    spans = (Span(0, 4), Span(5, 7))
    assert groups(tokens, spans) == (Group("a bc", (0, 1), False), Group("de", (2,), False))


@given(st.integers(0, 2**32 - 1))
def test_weights_of_words_are_sums_to_and_means_from(seed: int) -> None:
    weights = np.random.default_rng(seed).random((2, 3, 5, 6), dtype=np.float32)
    rows = [Group("a", (0, 2), False), Group("b", (4,), False), Group("c", (1, 3), False)]
    columns = [Group("d", (5, 1), False), Group("e", (0, 2, 3), False)]
    found = word_matrix(weights, rows, columns)
    assert found.shape == (2, 3, 3, 2)
    for row, from_ in enumerate(rows):
        for column, to in enumerate(columns):
            cells = weights[:, :, list(from_.positions)][..., list(to.positions)]
            expected = cells.sum(axis=(-1, -2)) / len(from_.positions)
            np.testing.assert_allclose(found[..., row, column], expected, rtol=1e-5)


# Texts -------------------------------------------------------------------------------------------


def test_one_text_and_two() -> None:
    assert input_texts("a b") == (InputText("text", 0, "a b"),)
    parts = Sample("a b", pair="cd e").parts
    assert parts == (InputText("text", 0, "a b"), InputText("pair", 4, "cd e"))
    assert input_texts(PAIR, parts) == parts
    assert [text.name for text in parts] == ["the text", "text_pair"]
    assert text_at(Span(2, 3), PAIR, parts) == (parts[0], Span(2, 3))
    assert text_at(Span(4, 6), PAIR, parts) == (parts[1], Span(0, 2))


@pytest.mark.parametrize(
    ("span", "stripped"),
    [((0, 2), (1, 2)), ((1, 4), (1, 2)), ((2, 4), (4, 4)), ((0, 6), (1, 6)), ((3, 3), (3, 3))],
)
def test_spans_without_white_space(span: tuple[int, int], stripped: tuple[int, int]) -> None:
    assert strip_span(Span(*span), " a  bc") == Span(*stripped)


@pytest.mark.parametrize(
    ("spelling", "raw", "verbatim", "pieces"),
    [
        ("words", ["[CLS]", "the", "##s", "it"], {0}, ["[CLS]", "the", "##s", "it"]),
        ("words", ["##s", "the", "."], (), ["s", "the", "."]),
        ("bytes", ["Ġthe", "s", "Ġ", "Ċ", "it"], (), ["the", "##s", "␣", "<U+000A>", "it"]),
        ("bytes", ["Ã", "©", "x"], (), ["<0xC3>", "<0xA9>", "##x"]),
        ("bytes", ["<s>", "s", "<s>", "s", "s"], {0, 2}, ["<s>", "s", "<s>", "s", "##s"]),
        ("characters", ["▁the", "s", "▁", "▁▁", ","], (), ["the", "##s", "␣", "␣␣", ","]),
        ("characters", ["lo", "w</w>", "er</w>"], (), ["lo", "##w", "er"]),
        ("characters", ["<0xC3>", "<0xA9>", "a"], (), ["<0xC3>", "<0xA9>", "##a"]),
        ("characters", ["", "<m>", ""], {1, 2}, ["", "<m>", ""]),
        ("characters", ["a\u202e"], (), ["a<U+202E>"]),
    ],
)
def test_pieces_of_ids(
    spelling: Spelling, raw: list[str], verbatim: set[int], pieces: list[str]
) -> None:
    assert list(pieces_of_ids(raw, verbatim=verbatim, spelling=spelling)) == pieces
