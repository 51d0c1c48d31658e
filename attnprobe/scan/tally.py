"""What a scan counts: its size depends on heads and relations, not on the corpus."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from attnprobe.records import Floats
from attnprobe.relations import LEFT_OUT, OFFSETS
from attnprobe.scan.measures import Totals

__all__ = [
    "DIRECTIONS",
    "HALVES",
    "Direction",
    "Group",
    "KeptArc",
    "Tally",
    "groups_of",
    "packed",
    "unpacked",
]

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
        expected, others: `[words]`: the right answer, and what else can be chosen.
        weights: `[heads, words]`.
    """

    place: tuple[int, int, int]
    expected: npt.NDArray[np.bool_]
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
        left_out: `[groups, reasons]`, arcs that could not be judged.
        unread: sentences that the model cannot take.
        kept: the sample of each group and half.
    """

    n: Counts
    right: Counts
    offsets: Counts
    both: Counts
    left_out: Counts
    totals: Totals
    unread: int = 0
    kept: dict[tuple[int, int], list[KeptArc]] = field(default_factory=dict)

    @classmethod
    def empty(cls, groups: int, heads: int) -> Tally:
        def zeros(*shape: int) -> Counts:
            return np.zeros((groups, *shape), np.int64)

        return cls(
            zeros(HALVES),
            zeros(HALVES, heads),
            zeros(HALVES, len(OFFSETS)),
            zeros(HALVES, heads, len(OFFSETS)),
            zeros(len(LEFT_OUT)),
            Totals.empty(heads),
        )

    def add(
        self,
        members: npt.NDArray[np.bool_],
        right: npt.NDArray[np.bool_],
        offsets: npt.NDArray[np.bool_],
    ) -> None:
        """Counts arcs.

        Args:
            members: `[arcs, groups × halves]`, what each arc counts for.
            right: `[arcs, heads]`.
            offsets: `[arcs, offsets]`.
        """
        # Sums of ones in float32 are exact up to 16 million, and a matrix product is fast.
        each = members.T.astype(np.float32)
        hit, off = right.astype(np.float32), offsets.astype(np.float32)
        both = (hit[:, :, None] * off[:, None]).reshape(len(hit), hit.shape[1] * off.shape[1])
        self.n += each.sum(axis=1).astype(np.int64).reshape(self.n.shape)
        self.right += (each @ hit).astype(np.int64).reshape(self.right.shape)
        self.offsets += (each @ off).astype(np.int64).reshape(self.offsets.shape)
        self.both += (each @ both).astype(np.int64).reshape(self.both.shape)

    def __add__(self, more: Tally) -> Tally:
        totals = (one + other for one, other in zip(self.totals, more.totals, strict=True))
        return Tally(
            self.n + more.n,
            self.right + more.right,
            self.offsets + more.offsets,
            self.both + more.both,
            self.left_out + more.left_out,
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
        places = [(*key, *arc.place, len(arc.expected)) for key, arc in arcs]
        heads = self.right.shape[-1]
        return {
            "n": self.n,
            "right": self.right,
            "offsets": self.offsets,
            "both": self.both,
            "left_out": self.left_out,
            "unread": np.array(self.unread),
            **{f"totals_{name}": part for name, part in self.totals._asdict().items()},
            "kept_places": np.array(places, np.int64).reshape(len(places), 6),
            "kept_expected": np.concatenate([np.zeros(0, bool), *(a.expected for _, a in arcs)]),
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
            arrays["left_out"],
            totals,
            int(arrays["unread"]),
        )
        at = 0
        for group, half, *place, words in arrays["kept_places"].tolist():
            own = slice(at, at + words)
            at += words
            arc = KeptArc(
                (place[0], place[1], place[2]),
                arrays["kept_expected"][own],
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
