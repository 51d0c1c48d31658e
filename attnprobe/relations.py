"""How often the word that a head looks at most is the other end of a relation.

Clark et al. 2019, "What Does BERT Look At?", section 4: attention to a split word is the sum over
its pieces, from it the mean; special tokens and the word itself are left out. Words are those of
`attnprobe.align.groups`: a span stands for the words that its tokens lie in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from attnprobe.align import Group, groups, positions, selector_of
from attnprobe.attention import Reader
from attnprobe.errors import MeasureError, SelectorError
from attnprobe.names import BATCH_TOKENS
from attnprobe.records import (
    Encoding,
    Floats,
    Head,
    Need,
    Rows,
    Sample,
    Site,
    SiteName,
    Span,
    Tokens,
)

__all__ = [
    "LEFT_OUT",
    "OFFSETS",
    "UNREADABLE",
    "Hits",
    "Look",
    "Looks",
    "Pair",
    "best_place",
    "find_looks",
    "measure",
]

OFFSETS = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)
"""Fixed distances that heads are compared with, in words; below zero to the left."""


def best_place(counts: Sequence[int] | npt.NDArray[np.int64]) -> int:
    """Index in OFFSETS of the distance that is right most often.

    Of distances that are right equally often the nearest, and to the left before the right.

    Args:
        counts: `[offsets]`, how often the word at each distance is right.
    """
    return min(range(len(OFFSETS)), key=lambda place: (-counts[place], abs(OFFSETS[place])))


# Why a pair is not judged.
UNREADABLE = "the model cannot take the text"
SPLIT = "no token boundary at an end of a word"
SAME = "both ends lie in one word"
LATER = "the word looked for comes later, and this site sees only what came before"
FAR = "outside of the sliding window of every layer looked at"
ALONE = "no other word to choose from"
LEFT_OUT = (UNREADABLE, SPLIT, SAME, LATER, FAR, ALONE)

# Samples whose rows are held at a time.
BLOCK = 64
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """Which word looks (a row), and at which (a column).

    Attributes:
        sample: index of the sample.
        query, key: characters of the text that the site's rows and columns are tokens of.
    """

    sample: int
    query: Span
    key: Span


@dataclass(frozen=True, eq=False)
class Hits:
    """What was right, for each pair that could be judged.

    Attributes:
        samples: `[n]`, the sample of each pair.
        right: `[n, sets]`, whether the word that a set (the mean of its heads) looks at most is
            the other end; a tie with another word is not.
        offsets: `[n, offsets]`, whether the word at this distance is.
        left_out: how many pairs were not judged, by the reason why.
    """

    sets: tuple[tuple[Head, ...], ...]
    samples: npt.NDArray[np.int64]
    right: Bools
    offsets: Bools
    left_out: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Look:
    """One pair in one text.

    Attributes:
        rows: token positions of the words that look.
        expected: `[words]`, the words that are the other end.
        candidates: `[words]`, all words that can be chosen; behind a window one weighs nothing.
        offsets: `[offsets]`, whether the word at this distance is the other end.
    """

    rows: tuple[int, ...]
    expected: Bools
    candidates: Bools
    offsets: Bools


@dataclass(frozen=True, eq=False)
class Looks:
    """The pairs of one text that can be judged.

    Attributes:
        words: the columns that a head can choose, special tokens left out.
        pairs: which of the pairs each look is.
        refused: of each of the other pairs, why it cannot be judged.
    """

    words: tuple[Group, ...]
    looks: tuple[Look, ...]
    pairs: tuple[int, ...]
    refused: Mapping[int, str]

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many pairs were refused, by the reason why."""
        return Counter(self.refused.values())

    def seen(self, site: Site, layer: int) -> Bools:
        """Which of the candidates the mask of a layer shows, `[looks, words]`."""
        return np.array(
            [look.candidates & _visible(site, layer, look.rows, self.words) for look in self.looks]
        ).reshape(len(self.looks), len(self.words))


def measure(
    model: Reader,
    samples: Sequence[Sample],
    pairs: Sequence[Pair],
    *,
    site: SiteName | None,
    sets: Sequence[tuple[Head, ...]],
    batch_tokens: int = BATCH_TOKENS,
) -> Hits:
    """Judges all pairs for all head sets.

    A pair that no head of any set can connect, or that no word decides, is left out and counted.
    Where some heads see a pair and others do not, those that do not are wrong.

    Args:
        site: needed only where the model has several.
        sets: each is judged by the mean of its heads' weights.

    Raises:
        SelectorError: a head that the site does not have.
        MeasureError: weights that are no numbers.
    """
    chosen = tuple(tuple(one) for one in sets)
    layers = tuple(sorted({head.layer for heads in chosen for head in heads}))
    left_out: Counter[str] = Counter()
    places: list[int] = []
    right: list[Bools] = []
    offsets: list[Bools] = []
    for block in _blocks(pairs):
        found: dict[int, tuple[Encoding, Looks]] = {}
        needs: dict[int, Need] = {}
        for index, own in block.items():
            try:
                encoding = model.encode(samples[index])
            except SelectorError:
                left_out[UNREADABLE] += len(own)
                continue
            where = encoding.site(site)
            _check_heads(chosen, where)
            looks = find_looks(encoding, where, own, layers)
            left_out.update(looks.refused.values())
            if looks.looks:
                rows = tuple(sorted({row for look in looks.looks for row in look.rows}))
                found[index] = encoding, looks
                needs[index] = Need(encoding.sample, where.name, layers, rows)
        if not needs:
            continue
        answered = model.collect(list(needs.values()), batch_tokens=batch_tokens)
        for (index, (_, looks)), rows_ in zip(found.items(), answered, strict=True):
            right.append(_judge(rows_, looks, chosen))
            offsets.append(np.array([look.offsets for look in looks.looks]))
            places += [index] * len(looks.looks)
    return Hits(
        chosen,
        np.array(places, np.int64),
        np.concatenate([np.zeros((0, len(chosen)), np.bool_), *right]),
        np.concatenate([np.zeros((0, len(OFFSETS)), np.bool_), *offsets]),
        {reason: left_out[reason] for reason in LEFT_OUT if left_out[reason]},
    )


def _blocks(pairs: Sequence[Pair]) -> Iterator[dict[int, list[Pair]]]:
    """The pairs of each sample, some samples at a time."""
    block: dict[int, list[Pair]] = {}
    for index, own in groupby(sorted(pairs, key=lambda pair: pair.sample), lambda p: p.sample):
        block[index] = list(own)
        if len(block) == BLOCK:
            yield block
            block = {}
    if block:
        yield block


def _check_heads(sets: Iterable[Sequence[Head]], site: Site) -> None:
    for heads in sets:
        if not heads:
            raise SelectorError("a head set without a head")
        for head in heads:
            if head.head >= site.heads.get(head.layer, 0):
                raise SelectorError(f"no head {head} at the {site.name} site")


def find_looks(
    encoding: Encoding, site: Site, pairs: Sequence[Pair], layers: Sequence[int]
) -> Looks:
    """The pairs of one text as token positions and words.

    Args:
        pairs: their sample is not looked at.
        layers: a pair behind the windows of all of them is left out.
    """
    text = _Text(encoding, site, layers)
    found: dict[int, Look] = {}
    refused: dict[int, str] = {}
    for number, pair in enumerate(pairs):
        look = text.look(pair)
        if isinstance(look, str):
            refused[number] = look
        else:
            found[number] = look
    return Looks(text.keys.words, tuple(found.values()), tuple(found), refused)


def _words(tokens: Tokens) -> tuple[Group, ...]:
    """The words of a text, without special tokens and tokens that show nothing."""
    inked = [span is not None and bool(tokens.text[slice(*span)].strip()) for span in tokens.spans]
    return tuple(
        group
        for group in groups(tokens)
        if not group.special and any(inked[at] for at in group.positions)
    )


class _Side:
    """The words of one side of a site."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.words = _words(tokens)
        self._owner = {at: word for word, own in enumerate(self.words) for at in own.positions}
        self._touched: dict[Span, frozenset[int]] = {}

    def touched(self, span: Span) -> frozenset[int]:
        """Indices of the words that the tokens of a span lie in; none without whole tokens."""
        if span not in self._touched:
            try:
                at = positions(selector_of(span, self.tokens.pair_start), self.tokens)
            except SelectorError:
                at = ()
            words = (self._owner.get(position) for position in at)
            self._touched[span] = frozenset(word for word in words if word is not None)
        return self._touched[span]


@dataclass(frozen=True, eq=False)
class _Row:
    """Words that look.

    Attributes:
        rows: their token positions.
        candidates, choice: what they can choose from, `[words]` and as indices.
        shown: what any layer shows them.
    """

    rows: tuple[int, ...]
    candidates: Bools
    choice: frozenset[int]
    shown: frozenset[int]


class _Text:
    """One text, with what several of its pairs have in common."""

    def __init__(self, encoding: Encoding, site: Site, layers: Sequence[int]) -> None:
        self.site = site
        self.one_text = site.name != "cross"
        self.keys = _Side(encoding.keys(site.name))
        self.queries = self.keys if self.one_text else _Side(encoding.queries(site.name))
        # Layers of one window see alike.
        self.layers = tuple({site.windows.get(layer): layer for layer in layers}.values())
        self._known: dict[frozenset[int], _Row] = {}

    def look(self, pair: Pair) -> Look | str:
        """A pair as token positions and words, or why it cannot be judged."""
        looking, looked_at = self.queries.touched(pair.query), self.keys.touched(pair.key)
        if not looking or not looked_at:
            return SPLIT
        if self.one_text and not looking.isdisjoint(looked_at):
            return SAME
        row = self._row(looking)
        found = looked_at & row.choice
        if not found:
            return LATER
        if found.isdisjoint(row.shown):
            return FAR
        if len(found) == len(row.choice):
            return ALONE
        expected = np.zeros(len(row.candidates), np.bool_)
        expected[list(found)] = True
        # Across two texts, words are counted in each from its start.
        ends = min(looking), max(looking)
        offsets = np.array([ends[offset > 0] + offset in looked_at for offset in OFFSETS])
        return Look(row.rows, expected, row.candidates, offsets)

    def _row(self, looking: frozenset[int]) -> _Row:
        if looking not in self._known:
            words = self.keys.words
            rows = tuple(
                sorted(at for word in looking for at in self.queries.words[word].positions)
            )
            candidates = _visible(self.site, None, rows, words)
            if self.one_text:
                candidates[list(looking)] = False
            shown = [_visible(self.site, layer, rows, words) for layer in self.layers]
            self._known[looking] = _Row(
                rows,
                candidates,
                frozenset(np.flatnonzero(candidates).tolist()),
                frozenset(np.flatnonzero(np.any(shown, axis=0)).tolist()),
            )
        return self._known[looking]


def _visible(site: Site, layer: int | None, rows: Sequence[int], words: Sequence[Group]) -> Bools:
    """Whether any of the rows sees any piece of each word, `[words]`."""
    if not site.causal and (layer is None or layer not in site.windows):
        return np.ones(len(words), np.bool_)
    return np.array(
        [any(site.sees(layer, row, at) for row in rows for at in word.positions) for word in words]
    )


def _judge(rows: Rows, looks: Looks, sets: Sequence[tuple[Head, ...]]) -> Bools:
    """Whether each set is right about each look, `[looks, sets]`."""
    at = {position: place for place, position in enumerate(rows.positions)}
    mean = np.zeros((len(looks.looks), len(rows.positions)), np.float32)
    for number, look in enumerate(looks.looks):
        mean[number, [at[row] for row in look.rows]] = 1 / len(look.rows)
    columns = np.zeros((len(rows.keys), len(looks.words)), np.float32)
    for number, word in enumerate(looks.words):
        columns[list(word.positions), number] = 1
    layers = sorted(rows.weights)
    weights: dict[int, Floats] = {}
    for layer in layers:
        if not np.isfinite(rows.weights[layer]).all():
            raise MeasureError(f"layer {layer} has attention weights that are no numbers")
        weights[layer] = mean @ (rows.weights[layer] @ columns)
    expected = np.array([look.expected for look in looks.looks])
    candidates = np.array([look.candidates for look in looks.looks])
    right = np.zeros((len(looks.looks), len(sets)), np.bool_)
    for number, heads in enumerate(sets):
        total = np.mean([weights[head.layer][head.head] for head in heads], axis=0)
        there = np.where(expected, total, -1).max(axis=-1)
        elsewhere = np.where(candidates & ~expected, total, -1).max(axis=-1)
        right[:, number] = there > elsewhere
    return right
