"""The counts of a scan, which add up in any order to the same bytes.

The size of a tally depends on heads and labels, not on the corpus. Counts are integers, sums are
exact (`scan/exact.py`), and the sample of arcs is drawn by hash. So blocks of sentences can be
counted anywhere, by anyone, in any order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Bools, Floats
from attnprobe.relations.labels import matches
from attnprobe.scan.exact import BITS, LARGEST, ExactSums
from attnprobe.scan.measures import Totals
from attnprobe.words.looks import LEFT_OUT, OFFSETS

Direction = Literal["dependent-to-head", "head-to-dependent"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
# Heads are chosen on one half of the sentences and judged on the other.
HALVES = 2
# The numbers that a state keeps of an arc: label, half, place and expected word.
_PLACES = 7
# No corpus has as many arcs; sums of parts stay below the largest number of 64 bits.
_MOST = 1 << 42
_MOST_PLACE = np.iinfo(np.int64).max


class ArcGroup(NamedTuple):
    """The arcs of one relation in one direction: nsubj, from the dependent to its head."""

    relation: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.relation}, {self.direction.replace('-to-', ' → ')}"


def arc_groups(relations: Sequence[str], *, both: bool) -> tuple[ArcGroup, ...]:
    """The groups of these relations, in their order.

    Args:
        both: whether heads can look in both directions.
    """
    return tuple(
        ArcGroup(relation, direction)
        for relation in relations
        for direction in (DIRECTIONS if both else DIRECTIONS[:1])
    )


class Label(NamedTuple):
    """What is counted apart: the arcs of one corpus with one label, in one direction."""

    corpus: int
    relation: str
    direction: Direction


class Place(NamedTuple):
    """Where a sampled arc stands. Arcs are sampled by the order of their places.

    Attributes:
        draw: 63 bits of a hash of the arc and the seed.
        file: number of the file among all files.
        sentence: number of the sentence in it.
        arc: number of the arc in it.
    """

    draw: int
    file: int
    sentence: int
    arc: int


@dataclass(frozen=True, eq=False)
class KeptArc:
    """One sampled arc, on which greedy sets are chosen or judged.

    Attributes:
        expected: index of the right word.
        others: `[words]`, the other words that can be chosen.
        weights: `[heads, words]`.
    """

    place: Place
    expected: int
    others: Bools
    weights: Floats


class ArcCounts(NamedTuple):
    """Counts of arcs, for several labels or for one group of them.

    Attributes:
        n: `[..., halves]`, number of arcs.
        right: `[..., halves, heads]`, how often each head was right.
        offsets: `[..., halves, offsets]`, how often the word at each distance was right.
        both: `[..., halves, heads, offsets]`, how often both were right.
        compared: `[..., halves]`, number of arcs for which another word can look.
        with_true: `[..., halves, heads]`, on how many of these each head was right when the true
            word looked.
        with_other: the same, when the other word looked.
        with_both: the same, both times.
        left_out: `[..., reasons]`, number of arcs that could not be judged.
    """

    n: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    both: npt.NDArray[np.int64]
    compared: npt.NDArray[np.int64]
    with_true: npt.NDArray[np.int64]
    with_other: npt.NDArray[np.int64]
    with_both: npt.NDArray[np.int64]
    left_out: npt.NDArray[np.int64]

    @classmethod
    def zeros(cls, labels: int, heads: int) -> ArcCounts:
        of_heads = (HALVES, heads)
        shapes = (
            *((HALVES,), of_heads, (HALVES, len(OFFSETS)), (*of_heads, len(OFFSETS))),
            *((HALVES,), of_heads, of_heads, of_heads, (len(LEFT_OUT),)),
        )
        return cls(*(np.zeros((labels, *shape), np.int64) for shape in shapes))

    def of(self, rows: Sequence[int]) -> ArcCounts:
        """The counts of these labels together."""
        return ArcCounts(*(part[list(rows)].sum(axis=0) for part in self))

    def add(
        self,
        places: npt.NDArray[np.int64],
        right: Bools,
        offsets: Bools,
        compared: Bools,
        with_other: Bools,
    ) -> None:
        """Adds arcs in place.

        Args:
            places: `[arcs]`, where each arc counts: label × halves + half.
            right: `[arcs, heads]`, whether each head is right.
            offsets: `[arcs, offsets]`, whether the word at this distance is right.
            compared: `[arcs]`, whether another word can look.
            with_other: `[arcs, heads]`, whether each head is right when the other word looks.
        """
        with_true = right & compared[:, None]
        for place in np.unique(places):
            chosen = places == place
            at = divmod(int(place), HALVES)
            self.n[at] += chosen.sum()
            self.right[at] += right[chosen].sum(axis=0)
            self.offsets[at] += offsets[chosen].sum(axis=0)
            self.both[at] += (right[chosen, :, None] & offsets[chosen, None]).sum(axis=0)
            self.compared[at] += compared[chosen].sum()
            self.with_true[at] += with_true[chosen].sum(axis=0)
            self.with_other[at] += with_other[chosen].sum(axis=0)
            self.with_both[at] += (with_true & with_other)[chosen].sum(axis=0)


@dataclass(frozen=True, eq=False)
class Tally:
    """What one model's heads do in some blocks of the corpora.

    Attributes:
        labels: in order.
        arcs: `[labels, ...]`.
        tokens: `[corpora, 2]`, number of unknown tokens, and of all tokens but special ones.
        totals: the sums of `Totals`, `[sums, heads]`.
        unread: number of sentences that the model cannot read.
        notes: for each corpus, the counts of what its notes report.
        most: the largest number of kept arcs of each label and half.
        kept: by index of the label and half, the arcs with the first places of all.
    """

    labels: tuple[Label, ...]
    arcs: ArcCounts
    tokens: npt.NDArray[np.int64]
    totals: ExactSums
    unread: int
    notes: tuple[Mapping[str, int], ...]
    most: int
    kept: Mapping[tuple[int, int], Sequence[KeptArc]] = field(default_factory=dict)

    @classmethod
    def empty(cls, heads: int, corpora: int, *, most: int) -> Tally:
        return cls(
            (),
            ArcCounts.zeros(0, heads),
            np.zeros((corpora, 2), np.int64),
            ExactSums.zeros(sum(Totals.SIZES), heads),
            0,
            ({},) * corpora,
            most,
        )

    @property
    def heads(self) -> int:
        """The number of heads."""
        return int(self.arcs.right.shape[-1])

    @property
    def measured(self) -> Totals:
        """The sums of all blocks."""
        return Totals(self.totals.values())

    def unknown_share(self, corpus: int) -> float:
        """The share of a corpus's tokens that are unknown to the model, 0 to 1."""
        unknown, tokens = self.tokens[corpus].tolist()
        return unknown / tokens if tokens else 0.0

    def of(self, group: ArcGroup, corpus: int | None = None) -> GroupTally:
        """The counts of a group, in one corpus or in all of them."""
        rows = [
            row
            for row, label in enumerate(self.labels)
            if label.direction == group.direction
            and matches(label.relation, group.relation)
            and corpus in (None, label.corpus)
        ]
        kept = tuple(
            _first((arc for row in rows for arc in self.kept.get((row, half), ())), self.most)
            for half in range(HALVES)
        )
        return GroupTally(self.arcs.of(rows), kept)

    def __add__(self, more: Tally) -> Tally:
        labels = tuple(sorted({*self.labels, *more.labels}))
        arcs = ArcCounts.zeros(len(labels), self.heads)
        kept: dict[tuple[int, int], Sequence[KeptArc]] = {}
        for part in (self, more):
            rows = [labels.index(label) for label in part.labels]
            for total, counts in zip(arcs, part.arcs, strict=True):
                total[rows] += counts
            for (row, half), found in part.kept.items():
                key = rows[row], half
                kept[key] = _first([*kept.get(key, ()), *found], self.most)
        return Tally(
            labels,
            arcs,
            self.tokens + more.tokens,
            self.totals.plus(more.totals),
            self.unread + more.unread,
            tuple(
                Counter(left) + Counter(right)
                for left, right in zip(self.notes, more.notes, strict=True)
            ),
            self.most,
            kept,
        )

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """The tally as named arrays; `of_arrays` reads them."""
        arcs = [(key, arc) for key in sorted(self.kept) for arc in self.kept[key]]
        places = [(*key, *arc.place, arc.expected) for key, arc in arcs]
        facts = {
            "labels": self.labels,
            "unread": self.unread,
            "notes": [dict(sorted(counts.items())) for counts in self.notes],
        }
        return {
            "facts": np.array(json.dumps(facts)),
            **{f"arcs_{name}": part for name, part in self.arcs._asdict().items()},
            "tokens": self.tokens,
            **{f"totals_{name}": part for name, part in self.totals._asdict().items()},
            "kept_places": np.array(places, np.int64).reshape(len(places), _PLACES),
            "kept_words": np.array([len(arc.others) for _, arc in arcs], np.int64),
            "kept_others": np.concatenate([np.zeros(0, bool), *(a.others for _, a in arcs)]),
            "kept_weights": np.concatenate(
                [np.zeros((self.heads, 0), np.float32), *(arc.weights for _, arc in arcs)], axis=1
            ),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], like: Tally) -> Tally:
        """The tally whose `arrays` these are.

        Args:
            like: an empty tally of the same scan.

        Raises:
            ValueError, KeyError, TypeError: an array is missing, has another type or shape, or
                holds what no scan counts.
        """
        facts = _facts_of(str(arrays["facts"]))
        labels = tuple(
            Label(corpus, str(relation), DIRECTIONS[DIRECTIONS.index(direction)])
            for corpus, relation, direction in facts["labels"]
        )
        notes = tuple(dict(counts) for counts in facts["notes"])
        empty = Tally(
            labels,
            ArcCounts.zeros(len(labels), like.heads),
            like.tokens,
            like.totals,
            facts["unread"],
            notes,
            like.most,
        )
        found = {
            name: _checked(name, arrays[name], part, grows=name.startswith("kept_"))
            for name, part in empty.arrays().items()
            if name != "facts"
        }
        _check_counts(empty, found)
        _check_kept(empty, found)
        kept: dict[tuple[int, int], list[KeptArc]] = {}
        start = 0
        for (row, half, *place, expected), words in zip(
            found["kept_places"].tolist(), found["kept_words"].tolist(), strict=True
        ):
            columns = slice(start, start + words)
            start += words
            arc = KeptArc(
                Place(*place),
                expected,
                found["kept_others"][columns],
                found["kept_weights"][:, columns],
            )
            kept.setdefault((row, half), []).append(arc)
        return Tally(
            labels,
            ArcCounts(*(found[f"arcs_{name}"] for name in ArcCounts._fields)),
            found["tokens"],
            ExactSums(*(found[f"totals_{name}"] for name in ExactSums._fields)),
            empty.unread,
            notes,
            like.most,
            kept,
        )


class GroupTally(NamedTuple):
    """The counts of one group.

    Attributes:
        kept: the sampled arcs of each half.
    """

    arcs: ArcCounts
    kept: tuple[Sequence[KeptArc], ...] = ((),) * HALVES


def _first(arcs: Iterator[KeptArc] | Sequence[KeptArc], count: int) -> list[KeptArc]:
    return sorted(arcs, key=lambda arc: arc.place)[:count]


def _checked(
    name: str, found: npt.NDArray[Any], expected: npt.NDArray[Any], *, grows: bool
) -> npt.NDArray[Any]:
    if found.dtype != expected.dtype or (found.shape != expected.shape and not grows):
        raise ValueError(
            f"{name} is {found.dtype} of shape {found.shape}, not {expected.dtype} of "
            f"{expected.shape}"
        )
    return found


def _facts_of(text: str) -> dict[str, Any]:
    """The facts of a tally, whose numbers are whole ones.

    Raises:
        ValueError: they are others.
    """
    facts = json.loads(text, parse_float=_refuse_number, parse_constant=_refuse_number)
    numbers = [
        *(corpus for corpus, *_ in facts["labels"]),
        *(count for counts in facts["notes"] for count in counts.values()),
        facts["unread"],
    ]
    if not all(type(number) is int and 0 <= number < _MOST for number in numbers):
        raise ValueError("it has numbers that count nothing")
    return dict(facts)


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text[:20]} counts nothing")


def _check_counts(tally: Tally, found: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raises ValueError where counts contradict each other, or belong to another scan."""
    corpora, labels = len(tally.tokens), tally.labels
    in_order = list(labels) == sorted(set(labels))
    if len(tally.notes) != corpora or not in_order or any(at.corpus >= corpora for at in labels):
        raise ValueError("its labels or notes are not those of such a scan")
    arcs = ArcCounts(*(found[f"arcs_{name}"] for name in ArcCounts._fields))
    whole, fraction = (found[f"totals_{name}"] for name in ExactSums._fields)
    n, right, offsets = arcs.n[..., None], arcs.right, arcs.offsets
    pairs = (
        *((right, n), (offsets, n), (arcs.compared, arcs.n), (arcs.both, right[..., None])),
        *((arcs.both, offsets[:, :, None]), (arcs.with_true, right)),
        *((arcs.with_true, arcs.compared[..., None]), (arcs.with_other, arcs.compared[..., None])),
        *((arcs.with_both, arcs.with_true), (arcs.with_both, arcs.with_other)),
        (found["tokens"][:, 0], found["tokens"][:, 1]),
        *((whole, np.int64(LARGEST)), (-np.int64(LARGEST), whole)),
        (fraction, np.int64((1 << BITS) - 1)),
    )
    counts = (*arcs, found["tokens"], fraction)
    bounded = all(((part >= 0) & (part < _MOST)).all() for part in counts)
    if not bounded or not all((less <= more).all() for less, more in pairs):
        raise ValueError("its counts contradict each other")


def _check_kept(tally: Tally, found: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raises ValueError where the arrays of kept arcs do not fit together."""
    places, words, others, weights = (
        found[f"kept_{name}"] for name in ("places", "words", "others", "weights")
    )
    sizes = len(others.ravel())
    if not (
        words.ndim == others.ndim == 1
        and places.shape == (len(words), _PLACES)
        and ((words > 0) & (words <= sizes)).all()
        and words.sum() == sizes
        and weights.shape == (tally.heads, sizes)
        and np.isfinite(weights).all()
    ):
        raise ValueError("its sampled arcs do not fit together")
    most = np.array([len(tally.labels), HALVES, *[_MOST_PLACE] * (_PLACES - 3), 0]) - 1
    inside = (places >= 0) & (places <= most)
    inside[:, -1] = (places[:, -1] >= 0) & (places[:, -1] < words)
    _, kept = np.unique(places[:, :2], axis=0, return_counts=True)
    if not inside.all() or (kept > tally.most).any():
        raise ValueError("its sampled arcs are not those of such a scan")
