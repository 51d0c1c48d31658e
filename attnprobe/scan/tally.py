"""The counts of a scan. Their size depends on heads and relations, not on the corpus."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Bools, Floats, in_common
from attnprobe.scan.measures import Totals
from attnprobe.words.looks import LEFT_OUT, OFFSETS

Direction = Literal["dependent-to-head", "head-to-dependent"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
# Heads are chosen on one half of the sentences and judged on the other.
HALVES = 2
Counts = npt.NDArray[np.int64]


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


@dataclass(frozen=True, eq=False)
class KeptArc:
    """One sampled arc, on which greedy sets are chosen or judged.

    Attributes:
        place: number of the sentence, of the arc in it, and of the direction.
        expected: index of the right word.
        others: `[words]`, the other words that can be chosen.
        weights: `[heads, words]`.
    """

    place: tuple[int, int, int]
    expected: int
    others: Bools
    weights: Floats


@dataclass(eq=False)
class Tally:
    """The counts of one model so far, separately for the two halves of the sentences.

    Attributes:
        n: `[groups, halves]`, number of arcs.
        right: `[groups, halves, heads]`, how often each head was right.
        offsets: `[groups, halves, offsets]`, how often the word at each distance was right.
        both: `[groups, halves, heads, offsets]`, how often both were right.
        compared: `[groups, halves]`, number of arcs for which another word can look.
        with_true: `[groups, halves, heads]`, on how many of these each head was right when the true
            word looked.
        with_other: the same, when the other word looked.
        with_both: the same, both times.
        left_out: `[groups, reasons]`, number of arcs that could not be judged.
        tokens: `[corpora, 2]`, number of unknown tokens, and of all tokens but special ones.
        unread: number of sentences that the model cannot read.
        kept: the sampled arcs of each group and half.
    """

    n: Counts
    right: Counts
    offsets: Counts
    both: Counts
    compared: Counts
    with_true: Counts
    with_other: Counts
    with_both: Counts
    left_out: Counts
    tokens: Counts
    totals: Totals
    unread: int = 0
    kept: dict[tuple[int, int], list[KeptArc]] = field(default_factory=dict)

    @classmethod
    def empty(cls, groups: int, heads: int, corpora: int = 1) -> Tally:
        def zeros(*shape: int) -> Counts:
            return np.zeros((groups, *shape), np.int64)

        return cls(
            zeros(HALVES),
            zeros(HALVES, heads),
            zeros(HALVES, len(OFFSETS)),
            zeros(HALVES, heads, len(OFFSETS)),
            zeros(HALVES),
            zeros(HALVES, heads),
            zeros(HALVES, heads),
            zeros(HALVES, heads),
            zeros(len(LEFT_OUT)),
            np.zeros((corpora, 2), np.int64),
            Totals.empty(heads),
        )

    def add(
        self,
        members: Bools,
        right: Bools,
        offsets: Bools,
        compared: Bools,
        with_other: Bools,
    ) -> None:
        """Adds arcs in place.

        Args:
            members: `[arcs, groups × halves]`, where each arc counts.
            right: `[arcs, heads]`, whether each head is right.
            offsets: `[arcs, offsets]`, whether the word at this distance is right.
            compared: `[arcs]`, whether another word can look.
            with_other: `[arcs, heads]`, whether each head is right when the other word looks.
        """
        both = right[:, :, None] & offsets[:, None]
        with_true = right & compared[:, None]
        for total, part in (
            (self.n, np.ones((len(right), 1), np.bool_)),
            (self.right, right),
            (self.offsets, offsets),
            (self.both, both.reshape(len(both), both.shape[1] * both.shape[2])),
            (self.compared, compared[:, None]),
            (self.with_true, with_true),
            (self.with_other, with_other),
            (self.with_both, with_true & with_other),
        ):
            counts = in_common(members.T, part.T).astype(np.int64)
            np.add(total, counts.reshape(total.shape), out=total)

    def unknown_share(self, corpus: int) -> float:
        """The share of a corpus's tokens that are unknown to the model, 0 to 1."""
        unknown, tokens = self.tokens[corpus].tolist()
        return unknown / tokens if tokens else 0.0

    def __add__(self, more: Tally) -> Tally:
        totals = (left + right for left, right in zip(self.totals, more.totals, strict=True))
        return Tally(
            self.n + more.n,
            self.right + more.right,
            self.offsets + more.offsets,
            self.both + more.both,
            self.compared + more.compared,
            self.with_true + more.with_true,
            self.with_other + more.with_other,
            self.with_both + more.with_both,
            self.left_out + more.left_out,
            self.tokens + more.tokens,
            Totals(*totals),
            self.unread + more.unread,
            {
                key: [*self.kept.get(key, ()), *more.kept.get(key, ())]
                for key in self.kept.keys() | more.kept.keys()
            },
        )

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """The tally as named arrays; `of_arrays` reads them."""
        arcs = [(key, arc) for key in sorted(self.kept) for arc in self.kept[key]]
        places = [(*key, *arc.place, arc.expected, len(arc.others)) for key, arc in arcs]
        heads = self.right.shape[-1]
        return {
            "n": self.n,
            "right": self.right,
            "offsets": self.offsets,
            "both": self.both,
            "compared": self.compared,
            "with_true": self.with_true,
            "with_other": self.with_other,
            "with_both": self.with_both,
            "left_out": self.left_out,
            "tokens": self.tokens,
            "unread": np.array(self.unread),
            **{f"totals_{name}": part for name, part in self.totals._asdict().items()},
            "kept_places": np.array(places, np.int64).reshape(len(places), 7),
            "kept_others": np.concatenate([np.zeros(0, bool), *(a.others for _, a in arcs)]),
            "kept_weights": np.concatenate(
                [np.zeros((heads, 0), np.float32), *(arc.weights for _, arc in arcs)], axis=1
            ),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Tally:
        """The tally whose `arrays` these are."""
        totals = Totals(*(arrays[f"totals_{name}"] for name in Totals._fields))
        tally = cls(
            arrays["n"],
            arrays["right"],
            arrays["offsets"],
            arrays["both"],
            arrays["compared"],
            arrays["with_true"],
            arrays["with_other"],
            arrays["with_both"],
            arrays["left_out"],
            arrays["tokens"],
            totals,
            int(arrays["unread"]),
        )
        start = 0
        for group, half, *place, expected, words in arrays["kept_places"].tolist():
            columns = slice(start, start + words)
            start += words
            arc = KeptArc(
                (place[0], place[1], place[2]),
                expected,
                arrays["kept_others"][columns],
                arrays["kept_weights"][:, columns],
            )
            tally.kept.setdefault((group, half), []).append(arc)
        return tally


def pack(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Named arrays as the bytes of an `.npz` file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def unpack(data: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The named arrays of an `.npz` file; pickled objects are refused."""
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        for name in found.files:
            yield name, found[name]
