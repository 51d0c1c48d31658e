"""Which other word pairs of a text a rule on two words can be tried on, and how it is tried.

A control pair lies as the words of the rule do: the same direction, a like distance, as many words
at each end, and a contrast word, if the rule has one, on the same side. In a sample of two texts
its words lie in the same texts: a pair across them is tried on pairs across them, at a like
distance in the sequence that the model reads. Pairs that the suite states itself are left out, and
so are unknown tokens and what the masks hide. Queries, contrasts and, where there are many, pairs
are drawn by seeds that depend on the text alone: a suite always tries the same pairs.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Bools
from attnprobe.core.errors import SelectorError
from attnprobe.core.needs import Need
from attnprobe.core.sites import Site, SiteName
from attnprobe.core.texts import Encoding, Sample, Tokens
from attnprobe.core.verdicts import BoundKind
from attnprobe.rules.frame import Doubles, sink_columns
from attnprobe.words.positions import Group, groups, positions
from attnprobe.words.selectors import SPECIAL_NAMES, Predicts, Selector, Special

Indices = npt.NDArray[np.int64]

# The most words of a text that are tried as the word that attends, and the most pairs of a text.
QUERIES = 32
PAIRS = 128
SEED = 0
T = TypeVar("T")


@dataclass(frozen=True)
class Geometry:
    """How the words of a rule lie in its text; control pairs lie alike.

    In "The keys near it are old", `from: are, to: keys` relates two single words, the second three
    words before the first: widths (1, 1, 0), direction -1, distance 2 (the band of two or three
    words). The control pairs are then "are → near", "it → keys" and so on.

    The draws depend on the representation: other names of the fields would draw other pairs.

    Attributes:
        row, column: what stands at either end: a `word`, the row that `predicts` a word, or a
            special token by its name, or as the selector of one.
        widths: how many words the query, the key and the contrast are; 0 for no contrast.
        direction: where the key stands from the query: -1 before, 1 after, 0 in its place; None
            where it does not matter (a special token, or another sequence).
        distance: the `band` of the distance in words; None where it does not matter.
        contrast: where the contrast stands from the query, as `direction`.
        sinks: whether key and contrast stand where heads park what they have no use for: on the
            first token of a causal site. Where they do not, no control pair does.
        texts: which of two texts the query, the key and the contrast lie in, 0 or 1; 0 where there
            is one text, for a special token, and for no contrast. Not in the representation, so
            that samples of one text keep their control pairs.
    """

    row: str | Special
    column: str | Special
    widths: tuple[int, int, int]
    direction: int | None = None
    distance: int | None = None
    contrast: int | None = None
    sinks: tuple[bool, bool] = (False, False)
    texts: tuple[int, int, int] = field(default=(0, 0, 0), repr=False)

    @classmethod
    def of(
        cls, encoding: Encoding, site: Site, from_: Selector, to: Selector, over: Selector | None
    ) -> Self | None:
        """How the words of a rule lie in its text; None where other words cannot lie so."""
        query_tokens, key_tokens = encoding.queries(site.name), encoding.keys(site.name)
        row, column = _kind(from_), _kind(to)
        if row is None or column is None or (over and _kind(over) != "word"):
            return None
        words = _words(key_tokens)
        rows = positions(from_, query_tokens)
        columns = positions(to, key_tokens)
        contrast_columns = positions(over, key_tokens) if over else ()
        row_text = _text_of(_named_by(rows, row), query_tokens)
        key_text = _text_of(columns, key_tokens)
        contrast_text = _text_of(contrast_columns, key_tokens)
        if row_text is None or key_text is None or contrast_text is None:
            return None
        texts = (row_text, key_text, contrast_text)
        query = _stretch_of(rows, _words(query_tokens))
        key = _stretch_of(columns, words)
        contrast = _stretch_of(contrast_columns, words) if over else _Stretch(0, 0)
        widths = (query.width, key.width, contrast.width)
        sunk = _sunk(key_tokens, site)
        sinks = (not sunk.isdisjoint(columns), not sunk.isdisjoint(contrast_columns))
        if site.name == "cross" or row not in ("word", "predicts") or column != "word":
            return cls(row, column, widths, sinks=sinks, texts=texts)
        step = key.start - query.start
        if step == 0 and row == "word":
            return None
        return cls(
            row,
            column,
            widths,
            direction=_sign(step),
            distance=band(step),
            contrast=_sign(contrast.start - query.start) if over else None,
            sinks=sinks,
            texts=texts,
        )

    def fits(self, step: int) -> bool:
        """Whether a key that stands so many words to the right of its query lies alike."""
        return self.distance is None or (
            _sign(step) == self.direction and band(step) == self.distance
        )

    def fits_contrast(self, step: int) -> bool:
        """Whether a contrast that stands so many words to the right of its query lies alike."""
        return self.contrast is None or _sign(step) == self.contrast


@dataclass(frozen=True)
class WordPair:
    """The words that a rule relates in its text, and what control pairs share with them.

    Attributes:
        rows, columns: token positions of the words.
        layers: the layers of the rule's heads.
        every_layer: whether the masks of all these layers must let the query see the key; else one
            that does is enough.
        bounds: what the rule demands; pairs of one geometry and bounds have one chance rate.
        wanted: whether the rule wants the words to be related.
    """

    site: SiteName
    rows: frozenset[int]
    columns: frozenset[int]
    geometry: Geometry
    layers: tuple[int, ...]
    every_layer: bool
    bounds: Hashable
    wanted: bool

    @property
    def rate_key(self) -> Hashable:
        """What the chance rate depends on."""
        return self.site, self.geometry, self.layers, self.every_layer, self.bounds

    @property
    def controls_key(self) -> Hashable:
        """What the control pairs of a text depend on."""
        bounds = None if self.wanted else self.bounds
        return self.site, self.geometry, self.layers, self.every_layer, bounds

    def excluded(self, stated: Iterable[WordPair]) -> tuple[WordPair, ...]:
        """The pairs that must not serve as controls for this one, of those stated in a text.

        These are all pairs that the suite wants to be related, and those of which it demands the
        same.
        """
        return tuple(
            pair
            for pair in stated
            if pair.site == self.site and (pair.wanted or pair.bounds == self.bounds)
        )

    def is_visible(self, site: Site, rows: Sequence[int], columns: Sequence[int]) -> bool:
        """Whether the masks let some row see some column, in every layer or in one."""
        connected = (site.connects(layer, rows, columns) for layer in self.layers)
        return all(connected) if self.every_layer else any(connected)


@dataclass(frozen=True, eq=False)
class WordPairs:
    """Word pairs of one text by token positions.

    The pairs "are → keys" and "are → it" have their query in common: `queries` holds the tokens of
    "are" once, and `query` is `[0, 0]`.

    Attributes:
        queries, keys, contrasts: token positions of each word that may take part.
        query, key, contrast: `[pairs]`, which of them do; no contrast for a rule without `over`.
    """

    queries: tuple[tuple[int, ...], ...]
    keys: tuple[tuple[int, ...], ...]
    contrasts: tuple[tuple[int, ...], ...]
    query: Indices
    key: Indices
    contrast: Indices | None

    def __len__(self) -> int:
        return len(self.query)

    def only(self, indices: Indices) -> Self:
        """The pairs at these indices."""
        contrast = None if self.contrast is None else self.contrast[indices]
        return replace(self, query=self.query[indices], key=self.key[indices], contrast=contrast)

    def columns(self, index: int) -> set[int]:
        """The token positions that a pair names, those of its key and of its contrast."""
        columns = set(self.keys[self.key[index]])
        if self.contrast is not None:
            columns.update(self.contrasts[self.contrast[index]])
        return columns

    def spelled(self, index: int, queries: Tokens, keys: Tokens) -> tuple[str, str]:
        """The query and the key of a pair in lower case."""
        query, key = self.queries[self.query[index]], self.keys[self.key[index]]
        return _spelled(query, queries), _spelled(key, keys)


class PairTokens(NamedTuple):
    """The words that a rule relates in its text, by token positions; perhaps no contrast."""

    query: tuple[int, ...]
    key: tuple[int, ...]
    contrast: tuple[int, ...]

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns that the rule names."""
        return *self.key, *self.contrast

    @property
    def pairs(self) -> WordPairs:
        """These words as the only pair."""
        first = np.zeros(1, np.int64)
        contrast = first if self.contrast else None
        return WordPairs((self.query,), (self.key,), (self.contrast,), first, first, contrast)


class PairOutcomes(NamedTuple):
    """What a rule says of word pairs, `[pairs]`.

    Attributes:
        passed: whether the rule passes for the pair, if only borderline.
        judged: whether the pair could be judged; a pair that could not does not count.
        numbers: for each bound of the rule, the number of the head that decides on it; empty if
            the rule does not tell them.
    """

    passed: Bools
    judged: Bools
    numbers: Mapping[BoundKind, Doubles] = {}


@dataclass(frozen=True)
class WordPairChance(ABC):
    """How a rule on two words is tried on other word pairs of the suite's texts.

    For `attends: {from: are, to: keys, min: 0.3}` the chance rate is the share of control pairs
    whose weight is at least 0.3.

    Attributes:
        pair: the words that the rule relates in its text.
    """

    pair: WordPair

    def controls(self, encoding: Encoding, stated: Iterable[WordPair]) -> WordPairs:
        """The control pairs of a text of the suite.

        Args:
            stated: the pairs that the suite states in this text.

        Raises:
            SelectorError: the text has no such site or layer.
        """
        return draw_control_pairs(self.pair, encoding, encoding.site(self.pair.site), stated)

    @abstractmethod
    def needs(self, encoding: Encoding, pairs: WordPairs) -> tuple[Need, ...]:
        """The rows that `judge` wants of the text of these pairs; there is at least one pair."""

    @abstractmethod
    def judge(self, rows: Sequence[Any], pairs: WordPairs) -> PairOutcomes:
        """For which of the pairs the rule passes.

        Args:
            rows: the `Rows` in the order of `needs`.
        """


class _Stretch(NamedTuple):
    """The number of the first word, and how many words; a union counts as if they were adjacent."""

    start: int
    width: int


def band(distance: int) -> int:
    """Distances that count as alike: 1, 2 to 3, 4 to 7, 8 to 15 words, and so on; 0 is itself."""
    return abs(distance).bit_length()


def draw_control_pairs(
    pair: WordPair, encoding: Encoding, site: Site, stated: Iterable[WordPair]
) -> WordPairs:
    """The word pairs of a text that lie as `pair` does in its text, at most PAIRS.

    Args:
        site: with the windows that the rule's rows see through.
        stated: the pairs that the suite states in this text.
    """
    geometry = pair.geometry
    tokens = encoding.keys(site.name)
    words = _words(tokens)
    keys = _keys(geometry, tokens, words)
    contrasts = _stretches(words, geometry.widths[2]) if geometry.widths[2] else []
    sunk = _sunk(tokens, site) if geometry.column == "word" else set()
    sunk_key, sunk_contrast = geometry.sinks
    _, key_text, contrast_text = geometry.texts
    open_keys = _open(keys, tokens, key_text, set() if sunk_key else sunk)
    open_contrasts = _open(contrasts, tokens, contrast_text, set() if sunk_contrast else sunk)
    excluded = pair.excluded(stated)
    seed = f"{_seed(encoding.sample)} {geometry}"
    chance = random.Random(f"{SEED} {seed}")
    queries = _queries(geometry, encoding, site)
    drawn: list[tuple[int, int, int]] = []
    for number, (place, rows) in enumerate(queries):
        # A word is no control for itself, nor for what the suite says of this query.
        taken = set(rows) if site.name != "cross" and geometry.row == "word" else set()
        related = taken.union(*(near.columns for near in excluded if near.rows & set(rows)))
        against = [
            start
            for start in open_contrasts
            if geometry.fits_contrast(start - place)
            and taken.isdisjoint(contrasts[start])
            and pair.is_visible(site, rows, contrasts[start])
        ]
        for start in open_keys:
            if not geometry.fits(start - place) or not related.isdisjoint(keys[start]):
                continue
            if not pair.is_visible(site, rows, keys[start]):
                continue
            apart = [rival for rival in against if set(contrasts[rival]).isdisjoint(keys[start])]
            if apart or not geometry.widths[2]:
                drawn.append((number, start, chance.choice(apart) if apart else 0))
    drawn = _drawn(drawn, PAIRS, f"pairs {seed}")
    used = sorted({number for number, _, _ in drawn})
    places = {number: place for place, number in enumerate(used)}
    return WordPairs(
        tuple(queries[number][1] for number in used),
        tuple(keys),
        tuple(contrasts),
        np.array([places[number] for number, _, _ in drawn], np.int64),
        np.array([key for _, key, _ in drawn], np.int64),
        np.array([contrast for _, _, contrast in drawn], np.int64) if geometry.widths[2] else None,
    )


def _sunk(tokens: Tokens, site: Site) -> set[int]:
    return set(np.flatnonzero(sink_columns(tokens, causal=site.causal)).tolist())


def _sign(step: int) -> int:
    return (step > 0) - (step < 0)


def _kind(selector: Selector) -> str | Special | None:
    kinds = {
        _kind_of_special(part)
        if isinstance(part, Special)
        else ("predicts" if isinstance(part, Predicts) else "word")
        for part in selector.parts
    }
    return kinds.pop() if len(kinds) == 1 else None


def _kind_of_special(part: Special) -> str | Special:
    """The role's name alone where that says all, so that its control pairs stay what they were."""
    return part.name if part.name in SPECIAL_NAMES and part.nth is None else part


def _named_by(rows: Sequence[int], row: str | Special) -> list[int]:
    """The tokens of the word that a row's selector names: of one that predicts, the next one."""
    return [at + (row == "predicts") for at in rows]


def _text_of(found: Sequence[int], tokens: Tokens) -> int | None:
    """Number of the input text of these tokens; 0 for special tokens, None for several texts."""
    spans = [span for span in (tokens.spans[at] for at in found) if span is not None]
    starts = [part.start for part in tokens.parts[1:]]
    numbers = {bisect_right(starts, span.start) for span in spans}
    return None if len(numbers) > 1 else max(numbers, default=0)


def _words(tokens: Tokens) -> list[Group]:
    return [
        group
        for group in groups(tokens)
        if not group.special and tokens.spans[group.positions[0]] is not None
    ]


def _stretch_of(found: Sequence[int], words: Sequence[Group]) -> _Stretch:
    """The words that these positions touch; a special token takes the place of a word.

    Between two texts it takes the place of the last word before it, whose row predicts the next
    word as well.
    """
    touched = [
        number for number, word in enumerate(words) if not set(found).isdisjoint(word.positions)
    ]
    if touched:
        return _Stretch(touched[0], len(touched))
    before = sum(word.positions[0] < found[0] for word in words)
    return _Stretch(len(words) if before == len(words) else before - 1, 1)


def _stretches(words: Sequence[Group], width: int) -> list[tuple[int, ...]]:
    """Token positions of each run of so many words, by the number of its first word."""
    return [
        tuple(at for word in words[start : start + width] for at in word.positions)
        for start in range(len(words) - width + 1)
    ]


def _special(kind: str | Special, tokens: Tokens) -> tuple[int, ...]:
    """Positions of a special token; none where the text has none."""
    part = kind if isinstance(kind, Special) else Special(kind)
    try:
        return positions(Selector((part,)), tokens)
    except SelectorError:
        return ()


def _queries(
    geometry: Geometry, encoding: Encoding, site: Site
) -> list[tuple[int, tuple[int, ...]]]:
    """The number of the first word of each query, and its token positions; at most QUERIES."""
    tokens = encoding.queries(site.name)
    words = _words(tokens)
    unknown = set(tokens.unknown)
    found: list[tuple[int, tuple[int, ...]]]
    if geometry.row == "predicts":
        before = [
            word.positions[0] - 1
            for word in words
            if word.positions[0] > 0 and unknown.isdisjoint(word.positions)
        ]
        found = [(_stretch_of((at,), words).start, (at,)) for at in before]
    elif geometry.row == "word":
        found = [
            (start, rows)
            for start, rows in enumerate(_stretches(words, geometry.widths[0]))
            if unknown.isdisjoint(rows)
        ]
    else:
        rows = _special(geometry.row, tokens)
        found = [(0, rows)] if rows else []
    text = geometry.texts[0]
    found = [
        (start, rows)
        for start, rows in found
        if _text_of(_named_by(rows, geometry.row), tokens) == text
    ]
    return _drawn(found, QUERIES, f"queries {tokens.text}")


def _keys(geometry: Geometry, tokens: Tokens, words: Sequence[Group]) -> list[tuple[int, ...]]:
    """Token positions of each stretch of words as wide as the key, or of the special token."""
    if geometry.column == "word":
        return _stretches(words, geometry.widths[1])
    special = _special(geometry.column, tokens)
    return [special] if special else []


def _open(
    stretches: Sequence[tuple[int, ...]], tokens: Tokens, text: int, closed: set[int]
) -> list[int]:
    """The stretches that lie in one text, without unknown tokens and without closed columns.

    A rule that names an unknown token is an error, so no control pair has one.
    """
    closed = closed.union(tokens.unknown)
    return [
        start
        for start, columns in enumerate(stretches)
        if closed.isdisjoint(columns) and _text_of(columns, tokens) == text
    ]


def _drawn(found: list[T], most: int, seed: str) -> list[T]:
    """At most `most` of them, drawn by the seed, in their order."""
    if len(found) <= most:
        return found
    chosen = random.Random(f"{SEED} {seed}").sample(range(len(found)), most)
    return [found[index] for index in sorted(chosen)]


def _seed(sample: Sample) -> str:
    """The part of a seed that depends on the sample.

    Spelled out, so that a new field of `Sample` does not change which pairs are drawn.
    """
    return (
        f"Sample(text={sample.joined!r}, target={sample.target!r}, "
        f"allow_special_tokens={sample.allow_special_tokens!r}, ids={sample.ids!r})"
    )


def _spelled(found: Sequence[int], tokens: Tokens) -> str:
    return " ".join(tokens.pieces[at] for at in found).casefold()
