"""Hits: whether the word that gets most of a head's weight is the right one, arc by arc."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from attnprobe.attention import Reader
from attnprobe.core.arrays import Bools, Floats
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Rows
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


# The number of samples whose rows are in memory at the same time.
BLOCK = 64


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


def measure(
    model: Reader,
    samples: Sequence[Sample],
    pairs: Sequence[LabelledPair],
    *,
    site: SiteName | None,
    sets: Sequence[tuple[Head, ...]],
    words: Sequence[Words] | None = None,
    among: Among = "words",
    seed: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Hits:
    """Judges all pairs for all head sets.

    Pairs that cannot be judged (`looks.LEFT_OUT` has the reasons) are counted in `Hits.left_out`.
    If only some heads see both words of a pair, the other heads are wrong about it.

    Args:
        site: required only if the model has several sites.
        sets: head sets; the mean of its heads' weights decides about a set.
        words: the words of each sample; None if no treebank divides it.
        among: whether sinks compete as well.
        seed: seed for drawing the other words that look; None omits the preference control.

    Raises:
        SelectorError: the site does not have one of the heads.
        MeasureError: a weight is not a number.
    """
    sets = tuple(tuple(heads) for heads in sets)
    layers = tuple(sorted({head.layer for heads in sets for head in heads}))
    left_out: Counter[str] = Counter()
    unknown = tokens = 0
    sample_indices: list[int] = []
    right: list[Bools] = []
    offsets: list[Bools] = []
    compared: list[Bools] = []
    other: list[Bools] = []
    for block in _blocks(pairs):
        found: dict[int, tuple[Looks, tuple[Look | None, ...]]] = {}
        needs: dict[int, Need] = {}
        for index, sample_pairs in block.items():
            try:
                encoding = model.encode(samples[index])
            except SelectorError:
                left_out[UNREADABLE] += len(sample_pairs)
                continue
            text_site = encoding.site(site)
            _check_heads(sets, text_site)
            text_unknown, text_tokens = count_unknown(encoding, text_site)
            unknown, tokens = unknown + text_unknown, tokens + text_tokens
            text_words = None if words is None else words[index]
            looks = find_looks(
                encoding, text_site, sample_pairs, layers, words=text_words, among=among
            )
            left_out.update(looks.refused.values())
            if not looks.looks:
                continue
            others: tuple[Look | None, ...] = (None,) * len(looks.looks)
            if seed is not None:
                others = other_looks(
                    encoding, text_site, sample_pairs, looks, layers, words=text_words, seed=seed
                )
            found[index] = looks, others
            possible = (look for look in (*looks.looks, *others) if look is not None)
            positions = tuple(sorted({row for look in possible for row in look.rows}))
            needs[index] = Need(encoding.sample, text_site.name, layers, positions)
        if not needs:
            continue
        answered = model.collect(list(needs.values()), batch_tokens=batch_tokens)
        for (index, (looks, others)), rows in zip(found.items(), answered, strict=True):
            drawn = [look for look in others if look is not None]
            judged = _judge(rows, looks.words, [*looks.looks, *drawn], sets)
            count = len(looks.looks)
            has_other = np.array([look is not None for look in others])
            by_other = np.zeros((count, len(sets)), np.bool_)
            by_other[has_other] = judged[count:]
            right.append(judged[:count])
            offsets.append(looks.offsets)
            compared.append(has_other)
            other.append(by_other)
            sample_indices += [index] * count
    empty = np.zeros((0, len(sets)), np.bool_)
    return Hits(
        sets,
        np.array(sample_indices, np.int64),
        np.concatenate([empty, *right]),
        np.concatenate([np.zeros((0, len(OFFSETS)), np.bool_), *offsets]),
        np.concatenate([np.zeros(0, np.bool_), *compared]),
        np.concatenate([empty, *other]),
        {reason: left_out[reason] for reason in LEFT_OUT if left_out[reason]},
        unknown,
        tokens,
    )


def _blocks(pairs: Sequence[LabelledPair]) -> Iterator[dict[int, list[LabelledPair]]]:
    """The pairs of each sample, by its index, in blocks of at most BLOCK samples."""
    block: dict[int, list[LabelledPair]] = {}
    by_sample = attrgetter("sample")
    for index, sample_pairs in groupby(sorted(pairs, key=by_sample), by_sample):
        block[index] = list(sample_pairs)
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
    expected = np.array([look.expected for look in looks])[:, None]
    others = np.array([look.candidates for look in looks])
    np.put_along_axis(others, expected, False, axis=-1)
    right = np.zeros((len(looks), len(sets)), np.bool_)
    for number, heads in enumerate(sets):
        total = np.mean([weights[head.layer][head.head] for head in heads], axis=0)
        there = np.take_along_axis(total, expected, axis=-1)[:, 0]
        right[:, number] = there > np.where(others, total, -1).max(axis=-1)
    return right
