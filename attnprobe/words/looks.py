"""Looks: the pairs of words that a relation labels, as token positions and competing words.

In "The dog barked" the relation nsubj labels the pair dog → barked: dog looks, and a head is right
if barked gets more of its weight than any other candidate. The weight from a word is the mean over
its tokens, the weight to a word the sum (Clark et al. 2019, "What Does BERT Look At?", section
4.1). The candidates are the expected word and the words of the text that overlap neither span.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from attnprobe.core.arrays import Bools
from attnprobe.core.errors import SelectorError
from attnprobe.core.sites import Site
from attnprobe.core.texts import Encoding, Span, Tokens
from attnprobe.words.positions import groups, positions_of
from attnprobe.words.segmentation import words as words_of

OFFSETS = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)
"""Fixed distances in words that heads are compared with; negative ones lie to the left."""

# Reasons why a pair is not judged.
UNREADABLE = "the model cannot take the text"
UNKNOWN = "a word of the arc is an unknown token, which the model cannot see"
SPLIT = "no token boundary at an end of a word"
SAME = "both words share characters"
FIRST = "the word looked for holds the first token, a sink that does not compete here"
LATER = "the word looked for comes later, and this site sees only what came before"
FAR = "outside of the sliding window of every layer looked at"
ALONE = "no other word to choose from"
LEFT_OUT = (UNREADABLE, UNKNOWN, SPLIT, SAME, FIRST, LATER, FAR, ALONE)

Among = Literal["words", "all"]
"""What competes: `words` leaves out special tokens and, at a causal site, the first token; `all`
lets these sinks compete as well. The word that looks never competes."""

MOST_UNKNOWN = 0.5
"""Largest share of unknown tokens that a corpus may have."""

Words = tuple[Span, ...] | None
"""The words of a text as its treebank divides it, in order; None for those of `segmentation`."""


@dataclass(frozen=True)
class LabelledPair:
    """A word that looks and the word that it should look at, such as dog → barked.

    Attributes:
        sample: index of the sample.
        query: the characters of the word that looks, in the text of the site's rows.
        key: the characters of the expected word, in the text of the site's columns.
        candidates: the only words that compete with `key`; if empty, all words of the text.
    """

    sample: int
    query: Span
    key: Span
    candidates: tuple[Span, ...] = ()


def other_candidates(named: Sequence[Span], query: Span | None, key: Span) -> tuple[Span, ...]:
    """The words of a list that compete with `key`; the list may contain `key` itself.

    Args:
        query: the word that looks; None if it stands in another text.

    Raises:
        ValueError: the list names no other word, or some of the words share characters.
    """
    others = tuple(dict.fromkeys(span for span in named if span != key))
    if not others:
        raise ValueError("name at least one other word than to:")
    apart = sorted([*others, key, *([] if query is None else [query])])
    if any(left.end > right.start for left, right in pairwise(apart)):
        raise ValueError("share characters with one another, with from: or with to:")
    return others


@dataclass(frozen=True, eq=False)
class Look:
    """One pair as a choice among the words of its text: from dog, between The and barked.

    Attributes:
        rows: token positions of the word that looks.
        expected: index of the right word in `Looks.words`.
        candidates: `[words]`, which words can be chosen, the right one included. A candidate
            outside of a layer's sliding window weighs 0 there.
    """

    rows: tuple[int, ...]
    expected: int
    candidates: Bools


@dataclass(frozen=True, eq=False)
class Looks:
    """The looks of one text, one for each pair that can be judged.

    Attributes:
        words: token positions of each word that a look can choose: the words of the text, then
            labelled spans that are none of these. The candidates of one look share no token.
        offsets: `[looks, offsets]`, whether the right word stands at this distance.
        pairs: index of each look's pair.
        refused: for the index of every other pair, the reason why it cannot be judged.
    """

    words: tuple[tuple[int, ...], ...]
    looks: tuple[Look, ...]
    offsets: Bools
    pairs: tuple[int, ...]
    refused: Mapping[int, str]

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many pairs were refused, by reason."""
        return Counter(self.refused.values())


def find_looks(
    encoding: Encoding,
    site: Site,
    pairs: Sequence[LabelledPair],
    layers: Sequence[int],
    *,
    words: Words = None,
    among: Among = "words",
) -> Looks:
    """The looks of one text.

    Args:
        pairs: pairs of this text; `LabelledPair.sample` is ignored.
        layers: a pair outside of the sliding windows of all these layers is refused.
        words: the words that compete and that distances count, for a sample of one text.
        among: whether sinks compete as well.
    """
    text = _Text(encoding, site, layers, words, among)
    found: dict[int, _Choice] = {}
    refused: dict[int, str] = {}
    for number, pair in enumerate(pairs):
        choice = text.choice(pair)
        if isinstance(choice, str):
            refused[number] = choice
        else:
            found[number] = choice
    columns = tuple(text.columns)
    candidates = _candidates([choice.candidates for choice in found.values()], len(columns))
    distances = np.array([text.distance(pairs[number]) for number in found], np.int64)
    return Looks(
        columns,
        tuple(
            Look(choice.rows, choice.expected, row)
            for choice, row in zip(found.values(), candidates, strict=True)
        ),
        distances[:, None] == np.array(OFFSETS),
        tuple(found),
        refused,
    )


def count_unknown(encoding: Encoding, site: Site) -> tuple[int, int]:
    """The number of unknown tokens in the site's texts, and of all tokens but special ones."""
    texts = [encoding.keys(site.name)]
    if site.name == "cross":
        texts.append(encoding.queries(site.name))
    unknown = sum(len(tokens.unknown) for tokens in texts)
    return unknown, sum(
        special is None or at in tokens.unknown
        for tokens in texts
        for at, special in enumerate(tokens.special)
    )


class _Side:
    """The words of a site's rows or columns, as characters and as tokens."""

    def __init__(self, tokens: Tokens, spans: Words, among: Among) -> None:
        self.tokens = tokens
        every = groups(tokens, spans)
        spans = words_of(tokens.text) if spans is None else spans
        self._starts = [span.start for span in spans]
        self._ends = [span.end for span in spans]
        inked = [span and tokens.text[slice(*span)].strip() for span in tokens.spans]
        self.words = tuple(
            group.positions
            for group in every
            if among == "all" or (not group.special and any(inked[at] for at in group.positions))
        )
        self.owner = {at: number for number, word in enumerate(self.words) for at in word}
        self._tokens_of: dict[Span, tuple[int, ...]] = {}

    def tokens_of(self, span: Span) -> tuple[int, ...]:
        """Token positions of a span; empty if it is unknown, or begins or ends inside a token."""
        if span not in self._tokens_of:
            try:
                found = positions_of(span, self.tokens)
            except SelectorError:
                found = ()
            self._tokens_of[span] = found
        return self._tokens_of[span]

    def unknown(self, span: Span) -> bool:
        """Whether a token of a span is unknown."""
        unknown = [self.tokens.spans[position] for position in self.tokens.unknown]
        return any(token and token.start < span.end and span.start < token.end for token in unknown)

    def before(self, span: Span) -> int:
        """How many words end before a span."""
        return bisect_right(self._ends, span.start)

    def between(self, left: Span, right: Span) -> int:
        """How many words lie between two spans and overlap neither."""
        return max(0, self.before(right) - bisect_left(self._starts, left.end))


@dataclass(frozen=True)
class _Choice:
    """A look before all words of its text are known; the candidates are bits of a number."""

    rows: tuple[int, ...]
    expected: int
    candidates: int


def _candidates(choices: Sequence[int], columns: int) -> Bools:
    """The bits of each number, `[choices, columns]`."""
    width = -(-columns // 8)
    packed = bytearray().join(choice.to_bytes(width, "little") for choice in choices)
    rows = np.frombuffer(packed, np.uint8).reshape(len(choices), width)
    return np.unpackbits(rows, axis=1, count=columns, bitorder="little").view(np.bool_)


class _Text:
    """One text, and what its pairs have in common."""

    def __init__(
        self, encoding: Encoding, site: Site, layers: Sequence[int], spans: Words, among: Among
    ) -> None:
        self.site = site
        self.one_text = site.name != "cross"
        self.keys = _Side(encoding.keys(site.name), spans, among)
        self.queries = (
            self.keys if self.one_text else _Side(encoding.queries(site.name), None, among)
        )
        self.columns = {word: number for number, word in enumerate(self.keys.words)}
        # Rows of a causal site put their spare weight on position 0.
        self._sink = 0 if site.causal and among == "words" else None
        # One layer for each window size: layers of the same window see the same.
        by_window = {site.windows.get(layer): layer for layer in layers}
        self._layers = tuple(by_window.values())
        self._wide = None in by_window
        self._firsts = [word[0] for word in self.keys.words]
        self._open: dict[tuple[int, ...], int] = {}

    def choice(self, pair: LabelledPair) -> _Choice | str:
        """The choice of a pair, or the reason why it cannot be judged."""
        rows, expected = self.queries.tokens_of(pair.query), self.keys.tokens_of(pair.key)
        named = [self.keys.tokens_of(span) for span in pair.candidates]
        if not rows or not expected or not all(named):
            ends = pair.key, *pair.candidates
            unknown = self.queries.unknown(pair.query) or any(map(self.keys.unknown, ends))
            return UNKNOWN if unknown else SPLIT
        if self.one_text and not set(rows).isdisjoint(expected):
            return SAME
        if self._sink in expected:
            return FIRST
        if not self._sees(None, rows, expected):
            return LATER
        if not self._wide and not any(self._sees(layer, rows, expected) for layer in self._layers):
            return FAR
        if named:
            numbers = {self._column(word) for word in named if self._competes(rows, word)}
            others = sum(1 << number for number in numbers)
        else:
            others = self._words(rows) & ~self._owners(expected)
        if not others:
            return ALONE
        number = self._column(expected)
        return _Choice(rows, number, others | 1 << number)

    def distance(self, pair: LabelledPair) -> int:
        """How many words the key lies to the right of the query; labelled spans count as one."""
        if not self.one_text:
            # In two texts, each word's place counts from the start of its own text.
            return self.keys.before(pair.key) - self.queries.before(pair.query)
        if pair.query.start < pair.key.start:
            return self.keys.between(pair.query, pair.key) + 1
        return -self.keys.between(pair.key, pair.query) - 1

    def _column(self, word: tuple[int, ...]) -> int:
        return self.columns.setdefault(word, len(self.columns))

    def _words(self, rows: tuple[int, ...]) -> int:
        """The words of the text that these rows can choose: `_competes` of all, as bits."""
        if rows not in self._open:
            last = max(rows) if self.site.causal else len(self.keys.tokens)
            seen = (1 << bisect_right(self._firsts, last)) - 1
            barred = [] if self._sink is None else [self._sink]
            if self.one_text:
                barred += rows
            self._open[rows] = seen & ~self._owners(barred)
        return self._open[rows]

    def _owners(self, positions: Iterable[int]) -> int:
        """The words of the text that hold any of these tokens, as bits."""
        owners = {self.keys.owner[at] for at in positions if at in self.keys.owner}
        return sum(1 << number for number in owners)

    def _competes(self, rows: tuple[int, ...], word: tuple[int, ...]) -> bool:
        """Whether these rows see a word that is neither a sink nor part of the word that looks."""
        if self._sink in word or (self.one_text and not set(rows).isdisjoint(word)):
            return False
        return self._sees(None, rows, word)

    def _sees(self, layer: int | None, rows: tuple[int, ...], word: tuple[int, ...]) -> bool:
        """Whether any of the rows sees any token of a word.

        Args:
            layer: None ignores sliding windows.
        """
        if layer is None or layer not in self.site.windows:
            return not self.site.causal or min(word) <= max(rows)
        return any(self.site.sees(layer, row, at) for row in rows for at in word)
