"""What a scan counts: its size depends on heads and relations, not on the corpus."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Floats
from attnprobe.scan.measures import Totals
from attnprobe.words.looks import LEFT_OUT, OFFSETS

Direction = Literal["dependent-to-head", "head-to-dependent"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
# Of the sentences: what heads are chosen on, and what they are judged on.
HALVES = 2
Counts = npt.NDArray[np.int64]


class Group(NamedTuple):
    """One relation, looked at in one direction."""

    relation: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.relation}, {self.direction.replace('-to-', ' → ')}"


def groups_of(relations: Sequence[str], *, both: bool) -> tuple[Group, ...]:
    """All groups of these relations, in their order.

    Args:
        both: whether heads can look in both directions.
    """
    return tuple(
        Group(relation, direction)
        for relation in relations
        for direction in (DIRECTIONS if both else DIRECTIONS[:1])
    )


@dataclass(frozen=True, eq=False)
class KeptArc:
    """One arc of the sample that head sets are chosen and judged on.

    Attributes:
        place: number of the sentence, of the arc in it, and of the direction.
        expected: which of the words is the right answer.
        others: `[words]`, what else can be chosen.
        weights: `[heads, words]`.
    """

    place: tuple[int, int, int]
    expected: int
    others: npt.NDArray[np.bool_]
    weights: Floats


@dataclass(eq=False)
class Tally:
    """The counts of one model so far; groups are doubled by the half that a sentence is in.

    Attributes:
        n: `[groups, halves]`, arcs.
        right: `[groups, halves, heads]`, how often each head was right.
        offsets: `[groups, halves, offsets]`, how often the word at each distance was.
        both: `[groups, halves, heads, offsets]`, how often both were.
        compared: `[groups, halves]`, arcs where another word of the sentence can look.
        with_true, with_other, with_both: `[groups, halves, heads]`, on how many of these each head
            was right when the true word looked, when the other one did, and both times.
        left_out: `[groups, reasons]`, arcs that could not be judged.
        tokens: `[corpora, 2]`, unknown tokens and all tokens but special ones.
        unread: sentences that the model cannot take.
        kept: the sample of each group and half.
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
        members: npt.NDArray[np.bool_],
        right: npt.NDArray[np.bool_],
        offsets: npt.NDArray[np.bool_],
        compared: npt.NDArray[np.bool_],
        other: npt.NDArray[np.bool_],
    ) -> None:
        """Counts arcs.

        Args:
            members: `[arcs, groups × halves]`, what each arc counts for.
            right: `[arcs, heads]`.
            offsets: `[arcs, offsets]`.
            compared: `[arcs]`, whether another word looks at the same word.
            other: `[arcs, heads]`, whether each head is right when it does.
        """
        # Sums of ones in float32 are exact up to 16 million, and a matrix product is fast.
        each = members.T.astype(np.float32)
        hit, off = right.astype(np.float32), offsets.astype(np.float32)
        both = (hit[:, :, None] * off[:, None]).reshape(len(hit), hit.shape[1] * off.shape[1])
        paired = right & compared[:, None]
        for total, part in (
            (self.n, np.ones(len(hit), np.float32)),
            (self.right, hit),
            (self.offsets, off),
            (self.both, both),
            (self.compared, compared),
            (self.with_true, paired),
            (self.with_other, other),
            (self.with_both, paired & other),
        ):
            counted = (each @ part.astype(np.float32, copy=False)).astype(np.int64)
            np.add(total, counted.reshape(total.shape), out=total)

    def unknown_share(self, corpus: int) -> float:
        """The share of the tokens of a corpus that the model does not know, 0 to 1."""
        unknown, tokens = self.tokens[corpus].tolist()
        return unknown / tokens if tokens else 0.0

    def __add__(self, more: Tally) -> Tally:
        totals = (one + other for one, other in zip(self.totals, more.totals, strict=True))
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
        """All of it as named arrays."""
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
        """The tally that `arrays` was called on."""
        totals = Totals(*(arrays[f"totals_{name}"] for name in Totals._fields))
        found = cls(
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
        at = 0
        for group, half, *place, expected, words in arrays["kept_places"].tolist():
            own = slice(at, at + words)
            at += words
            arc = KeptArc(
                (place[0], place[1], place[2]),
                expected,
                arrays["kept_others"][own],
                arrays["kept_weights"][:, own],
            )
            found.kept.setdefault((group, half), []).append(arc)
        return found


def packed(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Named arrays as the bytes of an `.npz` file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def unpacked(data: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """What `packed` packed; pickled objects are refused."""
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        for name in found.files:
            yield name, found[name]
