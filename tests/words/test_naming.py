"""Selectors that name given tokens: the plainest that means exactly these."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.core.texts import PAIR_BREAK, Sample, Span, Tokens
from attnprobe.words.naming import selector_values
from attnprobe.words.positions import Group, groups, positions
from attnprobe.words.selectors import parse_selector
from tests.support.made_up import tokens


def pair_tokens(first: str, second: str) -> Tokens:
    """`[CLS] first [SEP] second [SEP]`, a token each word."""
    text = first + PAIR_BREAK + second
    spans: list[Span | None] = [None]
    for words, offset in ((first, 0), (second, len(first) + 1)):
        at = offset
        for word in words.split(" "):
            spans.append(Span(at, at + len(word)))
            at += len(word) + 1
        spans.append(None)
    special = tuple(
        None if span else ("cls" if not number else "sep") for number, span in enumerate(spans)
    )
    pieces = tuple(text[slice(*span)] if span else "[X]" for span in spans)
    parts = Sample(first, pair=second).parts
    return Tokens(text, tuple(range(len(spans))), pieces, tuple(spans), special, parts=parts)


def units(read: Tokens) -> list[Group]:
    """Each token by itself."""
    return [
        Group(piece, (at,), special is not None)
        for at, (piece, special) in enumerate(zip(read.pieces, read.special, strict=True))
    ]


def test_words_are_named_by_themselves_and_repeated_ones_by_their_place() -> None:
    read = tokens("The c|at saw the cat .")
    assert selector_values(groups(read), read) == (
        {"special": "cls"},
        "The",
        {"word": "cat", "nth": 1},
        "saw",
        "the",
        {"word": "cat", "nth": 2},
        ".",
        {"special": "sep"},
    )


def test_pieces_are_named_by_their_characters() -> None:
    read = tokens("un|like|ly it", ends=False)
    assert selector_values(units(read), read) == (
        {"chars": [0, 2]},
        {"chars": [2, 6]},
        {"chars": [6, 8]},
        "it",
    )


def test_words_of_a_second_text() -> None:
    read = pair_tokens("the old cat", "the dog saw old dog")
    assert selector_values(units(read), read) == (
        {"special": "cls"},
        {"word": "the", "nth": 1},
        {"word": "old", "nth": 1},
        "cat",
        {"special": "sep", "nth": 1},
        {"pair": {"chars": [0, 3]}},
        {"pair": {"chars": [4, 7]}},
        "saw",
        {"pair": {"chars": [12, 15]}},
        {"pair": {"chars": [16, 19]}},
        {"special": "sep", "nth": 2},
    )


def test_a_word_of_the_second_text_whose_place_in_the_first_is_no_unit() -> None:
    read = pair_tokens("the cat", "a cat")
    only_second = [units(read)[5]]
    assert selector_values(only_second, read) == ({"pair": "cat"},)


def test_special_tokens_without_a_name_and_what_nothing_names() -> None:
    spans = (None, Span(0, 1), Span(0, 1), None, Span(1, 2), Span(2, 4))
    read = Tokens("é  a", tuple(range(6)), ("<m>", "x", "y", "", " ", " a"), spans,
                  ("special", None, None, None, None, None))  # fmt: skip
    assert selector_values(units(read), read) == (
        {"special": "first"},
        None,  # two tokens of one character
        None,
        None,  # a token without characters
        None,  # white space
        "a",
    )
    behind = Tokens("a", (0, 1), ("a", "<m>"), (Span(0, 1), None), (None, "special"))
    assert selector_values(units(behind), behind) == ("a", {"special": "<m>"})


def test_no_units_have_no_names() -> None:
    assert selector_values((), tokens("it")) == ()


WORDS = st.lists(
    st.sampled_from(["it", "is", "the c|at", "un|like|ly", "."]), min_size=1, max_size=6
)


@pytest.mark.parametrize("ends", [True, False])
@settings(max_examples=40)
@given(WORDS)
def test_a_name_means_exactly_its_tokens_and_every_word_has_one(
    ends: bool, words: list[str]
) -> None:
    read = tokens(" ".join(words), ends=ends)
    for named in (groups(read), units(read)):
        values = selector_values(named, read)
        for unit, value in zip(named, values, strict=True):
            assert positions(parse_selector(value), read) == unit.positions
            word = read.text[slice(*(read.spans[unit.positions[0]] or (0, 0)))]
            if len(unit.positions) == 1 and read.text.split().count(word) == 1 and word in words:
                assert value == word
