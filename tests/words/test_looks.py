"""Looks of labelled pairs, against their definition written out over the words of made-up texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.texts import Encoding, Sample, Span, Tokens
from attnprobe.words.looks import (
    ALONE,
    FAR,
    FIRST,
    LATER,
    OFFSETS,
    SAME,
    SPLIT,
    UNKNOWN,
    Among,
    LabelledPair,
    Looks,
    count_unknown,
    find_looks,
    other_candidates,
)
from tests.support.made_up import encoding, with_site

#   0 The  4 ani|mals  12 slept  18 near  23 the  27 riv|er  33 .
TEXT = "The ani|mals slept near the riv|er ."
PLAIN = TEXT.replace("|", "")
ENCODER = encoding(TEXT)
DECODER = with_site(encoding(TEXT, site="decoder", causal=True, ends=False), windows={1: 2})
BOTH = encoding(TEXT, "les ani|maux dor|ment", site="cross")


def words_in(text: str) -> list[Span]:
    return [Span(*match.span()) for match in re.finditer(r"\S+", text)]


def spans_in(text: str) -> list[Span]:
    """Words, two words together, pieces of words, and parts of pieces."""
    words = words_in(text)
    pairs = [Span(a.start, b.end) for a, b in pairwise(words)]
    halves = [Span(word.start, word.start + 3) for word in words if word.end > word.start + 3]
    return [*words, *pairs, *halves]


def tokens_of(tokens: Tokens, span: Span) -> tuple[int, ...]:
    """The tokens of a span; empty where one of them reaches out of it."""
    overlapping = [
        (at, covered)
        for at, covered in enumerate(tokens.spans)
        if covered and covered.start < span.end and span.start < covered.end
    ]
    inside = all(span.start <= c.start and c.end <= span.end for _, c in overlapping)
    return tuple(at for at, _ in overlapping) if inside else ()


def distance(read: Encoding, pair: LabelledPair) -> int:
    """In words, from the query to the key."""
    (site,) = read.sites.values()
    words = words_in(read.keys(site.name).text)
    if site.name == "cross":
        rows = words_in(read.queries(site.name).text)
        return sum(word.end <= pair.key.start for word in words) - sum(
            word.end <= pair.query.start for word in rows
        )
    left, right = sorted((pair.query, pair.key))
    between = sum(left.end <= word.start and word.end <= right.start for word in words)
    return (between + 1) * (1 if pair.query < pair.key else -1)


def expected_look(
    read: Encoding, pair: LabelledPair, layers: Sequence[int], among: Among
) -> str | tuple[tuple[int, ...], tuple[int, ...], set[tuple[int, ...]]]:
    """The reason against a pair, or its rows, its right word and the words to choose from."""
    (site,) = read.sites.values()
    queries, keys = read.queries(site.name), read.keys(site.name)
    cross = site.name == "cross"
    rows, key = tokens_of(queries, pair.query), tokens_of(keys, pair.key)
    named = [tokens_of(keys, span) for span in pair.candidates]
    if not rows or not key or not all(named):
        return SPLIT
    if not cross and set(rows) & set(key):
        return SAME
    sinks = {0} if site.causal and among == "words" else set()
    if sinks & set(key):
        return FIRST
    if site.causal and min(key) > max(rows):
        return LATER
    if not any(site.sees(layer, row, at) for layer in layers for row in rows for at in key):
        return FAR
    words = [tokens_of(keys, span) for span in words_in(keys.text)]
    if among == "all":
        words += [(at,) for at, special in enumerate(keys.special) if special is not None]
    barred = sinks if cross else sinks | set(rows)
    if not pair.candidates:
        barred = barred | set(key)
    others = {
        word
        for word in named or words
        if not set(word) & barred and not (site.causal and min(word) > max(rows))
    }
    return (rows, key, {key, *others}) if others else ALONE


def check(
    read: Encoding, looks: Looks, pairs: Sequence[LabelledPair], layers: Sequence[int], among: Among
) -> None:
    found = dict(zip(looks.pairs, zip(looks.looks, looks.offsets, strict=True), strict=True))
    assert sorted([*found, *looks.refused]) == list(range(len(pairs)))
    for number, pair in enumerate(pairs):
        expected = expected_look(read, pair, layers, among)
        if isinstance(expected, str):
            assert looks.refused[number] == expected
            continue
        rows, key, candidates = expected
        look, offsets = found[number]
        assert look.rows == rows
        assert looks.words[look.expected] == key
        assert {looks.words[at] for at in np.flatnonzero(look.candidates)} == candidates
        step = distance(read, pair)
        assert offsets.tolist() == [offset == step for offset in OFFSETS]


@pytest.mark.parametrize("among", ["words", "all"])
@pytest.mark.parametrize("read", [ENCODER, DECODER, BOTH], ids=["encoder", "decoder", "cross"])
def test_every_pair_of_spans_is_a_choice_among_words(read: Encoding, among: Among) -> None:
    (site,) = read.sites.values()
    pairs = [
        LabelledPair(0, query, key)
        for query in spans_in(read.queries(site.name).text)
        for key in spans_in(read.keys(site.name).text)
    ]
    for layers in ([0], [1], [0, 1, 2]):
        looks = find_looks(read, site, pairs, layers, among=among)
        check(read, looks, pairs, layers, among)
        reasons = list(looks.refused.values())
        assert looks.left_out == {reason: reasons.count(reason) for reason in set(reasons)}


WORDS = words_in(PLAIN)


@pytest.mark.parametrize("read", [ENCODER, DECODER], ids=["encoder", "decoder"])
@given(
    query=st.sampled_from(WORDS),
    key=st.sampled_from(WORDS),
    named=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    among=st.sampled_from(["words", "all"]),
)
def test_named_candidates_alone_compete(
    read: Encoding, query: Span, key: Span, named: list[Span], among: Among
) -> None:
    (site,) = read.sites.values()
    pairs = [LabelledPair(0, query, key, tuple(named)), LabelledPair(0, query, key)]
    check(read, find_looks(read, site, pairs, [0], among=among), pairs, [0], among)


def test_words_of_a_treebank_compete_and_are_counted() -> None:
    """The treebank takes "The animals" for one word."""
    words = (Span(0, 11), *WORDS[2:])
    (site,) = ENCODER.sites.values()
    pair = LabelledPair(0, WORDS[3], WORDS[0])
    looks = find_looks(ENCODER, site, [pair, LabelledPair(0, WORDS[3], WORDS[2])], [0], words=words)
    by_piece, by_word = looks.looks
    # Of the word that holds the key, the other pieces do not compete.
    assert {looks.words[at] for at in np.flatnonzero(by_piece.candidates)} == {
        *((1,), (4,), (6,), (7, 8), (9,))
    }
    assert {looks.words[at] for at in np.flatnonzero(by_word.candidates)} == {
        *((1, 2, 3), (4,), (6,), (7, 8), (9,))
    }
    assert [OFFSETS[int(np.flatnonzero(row)[0])] for row in looks.offsets] == [-2, -1]


def test_unknown_words_are_refused_as_such() -> None:
    spans = (None, Span(0, 3), Span(4, 6), Span(7, 9), Span(7, 9), None)
    tokens = Tokens(
        "The ## ☃☃", tuple(range(6)), ("",) * 6, spans, ("cls", *[None] * 4, "sep"), (2,)
    )
    read = Encoding(Sample(tokens.text), tokens, None, ENCODER.sites)
    site = ENCODER.sites["encoder"]
    the, unknown, snow = Span(0, 3), Span(4, 6), Span(7, 9)
    pairs = [
        LabelledPair(0, the, unknown),
        LabelledPair(0, unknown, the),
        LabelledPair(0, the, snow, (unknown,)),
        LabelledPair(0, the, Span(7, 8)),
        LabelledPair(0, the, snow),
    ]
    looks = find_looks(read, site, pairs, [0])
    assert looks.refused == {0: UNKNOWN, 1: UNKNOWN, 2: UNKNOWN, 3: SPLIT}
    assert looks.pairs == (4,)
    assert count_unknown(read, site) == (1, 4)
    special = Tokens(
        tokens.text, tokens.ids, tokens.pieces, spans, ("cls", None, "special", None, None, "sep"),
        (2,),
    )  # fmt: skip
    assert count_unknown(Encoding(Sample(tokens.text), special, None, read.sites), site) == (1, 4)
    target = encoding("le chat").source
    both = Encoding(Sample(tokens.text, target.text), tokens, target, BOTH.sites)
    assert count_unknown(both, BOTH.sites["cross"]) == (1, 6)


def test_only_a_word_that_overlaps_an_unknown_token_is_unknown() -> None:
    spans = (Span(0, 3), Span(3, 5), Span(5, 8), Span(9, 11))
    tokens = Tokens("abc☃☃def it", tuple(range(4)), ("",) * 4, spans, (None,) * 4, (1,))
    read = Encoding(Sample(tokens.text), tokens, None, ENCODER.sites)
    keys = [(0, 2), (2, 3), (2, 4), (4, 5), (3, 5), (4, 6), (5, 6), (6, 8)]
    pairs = [LabelledPair(0, Span(9, 11), Span(*key)) for key in keys]
    looks = find_looks(read, ENCODER.sites["encoder"], pairs, [0])
    assert [looks.refused.get(number) for number in range(len(keys))] == [
        *(SPLIT, SPLIT, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, SPLIT, SPLIT),
    ]


def test_candidates_that_compete_with_a_word() -> None:
    a, b, c, d = Span(0, 2), Span(3, 5), Span(5, 7), Span(8, 9)
    assert other_candidates([c, a, b, c], d, a) == (c, b)
    assert other_candidates([b], None, a) == (b,)
    for named in ([], [a, a]):
        with pytest.raises(ValueError, match=r"^name at least one other word than to:$"):
            other_candidates(named, d, a)
    apart = "^share characters with one another, with from: or with to:$"
    for named, query, key in (
        ([Span(4, 6), b], d, a),
        ([b], Span(4, 7), a),
        ([b], d, Span(1, 4)),
        ([b], b, a),
    ):
        with pytest.raises(ValueError, match=apart):
            other_candidates(named, query, key)
