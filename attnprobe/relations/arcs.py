"""How often the word that a head looks at most is the other end of a relation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from attnprobe.attention import Reader
from attnprobe.core.arrays import Floats
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
    Bools,
    LabelledPair,
    Look,
    Looks,
    Words,
    count_unknown,
    find_looks,
)


def best_place(counts: Sequence[int] | npt.NDArray[np.int64]) -> int:
    """Index in OFFSETS of the distance that is right most often.

    Of distances that are right equally often the nearest, and to the left before the right.

    Args:
        counts: `[offsets]`, how often the word at each distance is right.
    """
    return min(range(len(OFFSETS)), key=lambda place: (-counts[place], abs(OFFSETS[place])))


# Samples whose rows are held at a time.
BLOCK = 64


@dataclass(frozen=True, eq=False)
class Hits:
    """What was right, for each pair that could be judged.

    Attributes:
        samples: `[n]`, the sample of each pair.
        right: `[n, sets]`, whether the word that a set (the mean of its heads) looks at most is
            the other end; a tie with another word is not.
        offsets: `[n, offsets]`, whether the word at this distance is.
        compared: `[n]`, whether another word of the sentence can look at the same word.
        other: `[n, sets]`, whether a set is right when that other word looks.
        left_out: how many pairs were not judged, by the reason why.
        unknown, tokens: unknown tokens of all texts that the model can take, and all tokens but
            special ones.
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
        """A set beside itself when another word looks; None where no other word can."""
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

    A pair that no head of any set can connect, or that no word decides, is left out and counted.
    Where some heads see a pair and others do not, those that do not are wrong.

    Args:
        site: needed only where the model has several.
        sets: each is judged by the mean of its heads' weights.
        words: of each sample; None where no treebank has its words.
        among: whether sinks compete as well.
        seed: of the draw of the words that look instead; None for no such control.

    Raises:
        SelectorError: a head that the site does not have.
        MeasureError: weights that are no numbers.
    """
    chosen = tuple(tuple(one) for one in sets)
    layers = tuple(sorted({head.layer for heads in chosen for head in heads}))
    left_out: Counter[str] = Counter()
    unknown = tokens = 0
    places: list[int] = []
    right: list[Bools] = []
    offsets: list[Bools] = []
    compared: list[Bools] = []
    other: list[Bools] = []
    for block in _blocks(pairs):
        found: dict[int, tuple[Looks, tuple[Look | None, ...]]] = {}
        needs: dict[int, Need] = {}
        for index, own in block.items():
            try:
                encoding = model.encode(samples[index])
            except SelectorError:
                left_out[UNREADABLE] += len(own)
                continue
            where = encoding.site(site)
            _check_heads(chosen, where)
            these = count_unknown(encoding, where)
            unknown, tokens = unknown + these[0], tokens + these[1]
            spelled = None if words is None else words[index]
            looks = find_looks(encoding, where, own, layers, words=spelled, among=among)
            left_out.update(looks.refused.values())
            if not looks.looks:
                continue
            others: tuple[Look | None, ...] = (None,) * len(looks.looks)
            if seed is not None:
                others = other_looks(encoding, where, own, looks, layers, words=spelled, seed=seed)
            found[index] = looks, others
            asked = (look for look in (*looks.looks, *others) if look is not None)
            rows = tuple(sorted({row for look in asked for row in look.rows}))
            needs[index] = Need(encoding.sample, where.name, layers, rows)
        if not needs:
            continue
        answered = model.collect(list(needs.values()), batch_tokens=batch_tokens)
        for (index, (looks, others)), rows_ in zip(found.items(), answered, strict=True):
            drawn = [look for look in others if look is not None]
            judged = _judge(rows_, looks.words, [*looks.looks, *drawn], chosen)
            count = len(looks.looks)
            has_other = np.array([look is not None for look in others])
            by_other = np.zeros((count, len(chosen)), np.bool_)
            by_other[has_other] = judged[count:]
            right.append(judged[:count])
            offsets.append(looks.offsets)
            compared.append(has_other)
            other.append(by_other)
            places += [index] * count
    empty = np.zeros((0, len(chosen)), np.bool_)
    return Hits(
        chosen,
        np.array(places, np.int64),
        np.concatenate([empty, *right]),
        np.concatenate([np.zeros((0, len(OFFSETS)), np.bool_), *offsets]),
        np.concatenate([np.zeros(0, np.bool_), *compared]),
        np.concatenate([empty, *other]),
        {reason: left_out[reason] for reason in LEFT_OUT if left_out[reason]},
        unknown,
        tokens,
    )


def _blocks(pairs: Sequence[LabelledPair]) -> Iterator[dict[int, list[LabelledPair]]]:
    """The pairs of each sample, some samples at a time."""
    block: dict[int, list[LabelledPair]] = {}
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


def _judge(
    rows: Rows,
    words: Sequence[tuple[int, ...]],
    looks: Sequence[Look],
    sets: Sequence[tuple[Head, ...]],
) -> Bools:
    """Whether each set is right about each look, `[looks, sets]`."""
    at = {position: place for place, position in enumerate(rows.positions)}
    mean = np.zeros((len(looks), len(rows.positions)), np.float32)
    for number, look in enumerate(looks):
        mean[number, [at[row] for row in look.rows]] = 1 / len(look.rows)
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
