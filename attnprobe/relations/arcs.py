"""Hits: whether the word that gets most of a head's weight is the right one, arc by arc."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Bools, Floats
from attnprobe.core.errors import AttnprobeError, MeasureError, SelectorError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Rows
from attnprobe.core.reader import Reader
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.texts import Sample
from attnprobe.relations.preference import Preference, other_looks
from attnprobe.words.looks import (
    LEFT_OUT,
    OFFSETS,
    UNREADABLE,
    Among,
    LabelledPair,
    Look,
    Looks,
    Words,
    count_unknown,
    find_looks,
)


def best_offset_index(counts: Sequence[int] | npt.NDArray[np.int64]) -> int:
    """The index in OFFSETS of the distance that is right most often.

    Of equally good distances the nearest wins, and left wins over right.

    Args:
        counts: `[offsets]`, how often the word at each distance is right.
    """
    return min(range(len(OFFSETS)), key=lambda index: (-counts[index], abs(OFFSETS[index])))


# Rows of at most so many samples are in memory at the same time, with about so many weights.
BLOCK = 64
BLOCK_CELLS = 1 << 26


@dataclass(frozen=True, eq=False)
class Hits:
    """Which head sets and fixed distances are right, for each of `n` judged pairs.

    A set is right about dog → barked if, in the mean of its heads, dog gives barked more weight
    than any other candidate; a tie is not right.

    Attributes:
        sets: the head sets.
        samples: `[n]`, the index of each pair's sample.
        right: `[n, sets]`, whether each set is right.
        offsets: `[n, offsets]`, whether the right word stands at each distance.
        compared: `[n]`, whether another word of the sentence can look at the same word.
        other: `[n, sets]`, whether each set is right when that other word looks.
        left_out: the number of pairs that were not judged, by reason.
        unknown: the number of unknown tokens in all texts that the model can take.
        tokens: the number of all their tokens but special ones.
    """

    sets: tuple[tuple[Head, ...], ...]
    samples: npt.NDArray[np.int64]
    right: Bools
    offsets: Bools
    compared: Bools
    other: Bools
    left_out: Mapping[str, int]
    unknown: int
    tokens: int

    def preference(self, number: int = 0) -> Preference | None:
        """The preference control of one set; None if no other word can look.

        Args:
            number: index of the set.
        """
        if not self.compared.any():
            return None
        right, other = self.right[self.compared, number], self.other[self.compared, number]
        return Preference(
            len(right), int(right.sum()), int(other.sum()), int((right & other).sum())
        )


@dataclass(frozen=True, eq=False)
class Trial:
    """Pairs of words, and the head sets that are tried on them.

    Attributes:
        site: required only if the model has several sites.
        sets: head sets; the mean of its heads' weights decides about a set.
        words: the words of each sample; None if no treebank divides it.
        among: whether sinks compete as well.
        seed: seed for drawing the other words that look; None omits the preference control.
    """

    samples: Sequence[Sample]
    pairs: Sequence[LabelledPair]
    site: SiteName | None
    sets: Sequence[Sequence[Head]]
    words: Sequence[Words] | None = None
    among: Among = "words"
    seed: int | None = None


def measure(model: Reader, trial: Trial, *, batch_tokens: int = BATCH_TOKENS) -> Hits:
    """Judges all pairs for all head sets.

    Pairs that cannot be judged (`looks.LEFT_OUT` has the reasons) are counted in `Hits.left_out`.
    If only some heads see both words of a pair, the other heads are wrong about it.

    Raises:
        SelectorError: the site does not have one of the heads.
        MeasureError: a weight is not a number.
    """
    (found,) = measure_all(model, [trial], batch_tokens=batch_tokens)
    if isinstance(found, AttnprobeError):
        raise found
    return found


def measure_all(
    model: Reader, trials: Sequence[Trial], *, batch_tokens: int = BATCH_TOKENS
) -> list[Hits | AttnprobeError]:
    """The hits of each trial, or what `measure` raises for it; trials share forward passes."""
    tallies = [_Tally(trial) for trial in trials]
    try:
        for asked in _blocks(model, tallies):
            answered = model.collect([asking.need for asking in asked], batch_tokens=batch_tokens)
            for asking, rows in zip(asked, answered, strict=True):
                asking.tally.judge(asking, rows)
    except AttnprobeError as error:
        if len(trials) == 1:
            return [error]
        # A text of one trial does not fail the others.
        return [measure_all(model, [trial], batch_tokens=batch_tokens)[0] for trial in trials]
    return [tally.hits() for tally in tallies]


def _blocks(model: Reader, tallies: Sequence[_Tally]) -> Iterator[list[_Asking]]:
    """What the trials ask of some texts at a time, all that they ask of a text together."""
    by_text: dict[Sample, list[tuple[_Tally, int]]] = {}
    for tally in tallies:
        for index in tally.pairs:
            by_text.setdefault(tally.trial.samples[index], []).append((tally, index))
    block: list[_Asking] = []
    texts = cells = 0
    for asking in by_text.values():
        asked = [found for tally, index in asking if (found := tally.ask(model, index))]
        block += asked
        texts, cells = texts + bool(asked), cells + sum(found.cells for found in asked)
        if texts == BLOCK or cells > BLOCK_CELLS:
            yield block
            block, texts, cells = [], 0, 0
    if block:
        yield block


@dataclass(frozen=True, eq=False)
class _Asking:
    """What one trial wants to know of one text.

    Attributes:
        index: the text's index in the trial.
        others: for each look, the same from another word, or None.
        need: the rows of all of them.
        cells: the number of weights in these rows.
    """

    tally: _Tally
    index: int
    looks: Looks
    others: Sequence[Look | None]
    need: Need
    cells: int


class _Judged(NamedTuple):
    """The judged pairs of one text, as in `Hits`."""

    right: Bools
    offsets: Bools
    compared: Bools
    other: Bools


class _Tally:
    """The hits of a trial so far; the texts can come in any order.

    Attributes:
        pairs: the pairs of each text that has any, by its index.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self._sets = tuple(tuple(heads) for heads in trial.sets)
        self._layers = tuple(sorted({head.layer for heads in self._sets for head in heads}))
        self._left_out: Counter[str] = Counter()
        self._unknown = self._tokens = 0
        self._judged: dict[int, _Judged] = {}
        by_sample = attrgetter("sample")
        grouped = groupby(sorted(trial.pairs, key=by_sample), by_sample)
        self.pairs = {index: list(pairs) for index, pairs in grouped}

    def ask(self, model: Reader, index: int) -> _Asking | None:
        """Counts a text and says what to ask of it; None if no pair can be judged."""
        trial, pairs = self.trial, self.pairs[index]
        try:
            encoding = model.encode(trial.samples[index])
        except SelectorError:
            self._left_out[UNREADABLE] += len(pairs)
            return None
        site = encoding.site(trial.site)
        _check_heads(self._sets, site)
        unknown, tokens = count_unknown(encoding, site)
        self._unknown, self._tokens = self._unknown + unknown, self._tokens + tokens
        words = None if trial.words is None else trial.words[index]
        looks = find_looks(encoding, site, pairs, self._layers, words=words, among=trial.among)
        self._left_out.update(looks.refused.values())
        if not looks.looks:
            return None
        others: tuple[Look | None, ...] = (None,) * len(looks.looks)
        if trial.seed is not None:
            others = other_looks(
                encoding, site, pairs, looks, self._layers, words=words, seed=trial.seed
            )
        possible = (look for look in (*looks.looks, *others) if look is not None)
        positions = tuple(sorted({row for look in possible for row in look.rows}))
        need = Need(encoding.sample, site.name, self._layers, positions)
        heads = sum(site.heads[layer] for layer in self._layers)
        cells = heads * len(positions) * len(encoding.keys(site.name))
        return _Asking(self, index, looks, others, need, cells)

    def judge(self, asking: _Asking, rows: Rows) -> None:
        """Judges the pairs of a text by the rows that it needs."""
        looks = asking.looks
        drawn = [look for look in asking.others if look is not None]
        right = _judge(rows, looks.words, [*looks.looks, *drawn], self._sets)
        count = len(looks.looks)
        has_other = np.array([look is not None for look in asking.others])
        by_other = np.zeros((count, len(self._sets)), np.bool_)
        by_other[has_other] = right[count:]
        self._judged[asking.index] = _Judged(right[:count], looks.offsets, has_other, by_other)

    def hits(self) -> Hits:
        """The hits of all texts, in their order."""
        none = np.zeros((0, len(self._sets)), np.bool_)
        nothing = _Judged(none, np.zeros((0, len(OFFSETS)), np.bool_), np.zeros(0, np.bool_), none)
        indices = sorted(self._judged)
        found = [nothing, *(self._judged[index] for index in indices)]
        judged = _Judged(*map(np.concatenate, zip(*found, strict=True)))
        counts = [len(self._judged[index].right) for index in indices]
        return Hits(
            self._sets,
            np.repeat(np.array(indices, np.int64), counts),
            *judged,
            {reason: self._left_out[reason] for reason in LEFT_OUT if self._left_out[reason]},
            self._unknown,
            self._tokens,
        )


def _check_heads(sets: Iterable[Sequence[Head]], site: Site) -> None:
    for heads in sets:
        if not heads:
            raise SelectorError("a head set without a head")
        for head in heads:
            if head.head >= site.heads.get(head.layer, 0):
                raise SelectorError(f"no head {head} at the {site.name} site")


def _judge(
    rows: Rows,
    words: Sequence[tuple[int, ...]],
    looks: Sequence[Look],
    sets: Sequence[tuple[Head, ...]],
) -> Bools:
    """Whether each set is right about each look, `[looks, sets]`."""
    row_of = {position: row for row, position in enumerate(rows.positions)}
    mean = np.zeros((len(looks), len(rows.positions)), np.float32)
    for number, look in enumerate(looks):
        mean[number, [row_of[position] for position in look.rows]] = 1 / len(look.rows)
    columns = np.zeros((len(rows.keys), len(words)), np.float32)
    for number, word in enumerate(words):
        columns[list(word), number] = 1
    layers = sorted(rows.weights)
    weights: dict[int, Floats] = {}
    for layer in layers:
        if not np.isfinite(rows.weights[layer]).all():
            raise MeasureError(f"layer {layer} has attention weights that are no numbers")
        weights[layer] = mean @ (rows.weights[layer] @ columns)
    captured = [Head(layer, head) for layer in layers for head in range(len(weights[layer]))]
    places = {head: place for place, head in enumerate(captured)}
    flat = [places[head] for heads in sets for head in heads]
    counts = np.array([len(heads) for heads in sets])
    # `[sets, looks, words]`, the mean over the heads of each set.
    heads_of_sets = np.concatenate([weights[layer] for layer in layers])[flat]
    totals = np.add.reduceat(heads_of_sets, counts.cumsum() - counts)
    totals /= counts[:, None, None]
    expected = np.array([look.expected for look in looks])[:, None]
    others = np.array([look.candidates for look in looks])
    np.put_along_axis(others, expected, False, axis=-1)
    there = np.take_along_axis(totals, expected[None], axis=-1)[..., 0]
    right: Bools = there > np.where(others, totals, -1).max(axis=-1)
    return right.T
