"""Head sets: heads whose mean does a relation better than one of them alone.

Clark et al. 2019, section 5, combine heads by training; here heads are added one by one while the
mean of their weights gains. Chosen on one sample of arcs, judged on another of other sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnprobe.core.stats import paired_p
from attnprobe.scan.tally import KeptArc

MOST_HEADS = 6


@dataclass(frozen=True)
class HeadSet:
    """What a set of heads gains over its first head, on arcs of the half that is judged on.

    Attributes:
        heads: indices, in the order in which they were added.
        n: judged arcs; `accuracy` of them were right, and `alone` with the first head.
        chosen_on: arcs that the set was chosen on.
        p: exact McNemar test of the set against its first head.
    """

    heads: tuple[int, ...]
    n: int
    accuracy: float
    alone: float
    chosen_on: int
    p: float

    @property
    def gain(self) -> float:
        return self.accuracy - self.alone


class _Sample:
    """Arcs of several lengths as padded arrays."""

    def __init__(self, arcs: Sequence[KeptArc], heads: int) -> None:
        words = max(len(arc.others) for arc in arcs)
        self.weights = np.zeros((len(arcs), heads, words), np.float32)
        self.expected = np.array([arc.expected for arc in arcs])[:, None, None]
        self.others = np.zeros((len(arcs), 1, words), np.bool_)
        for number, arc in enumerate(arcs):
            own = slice(len(arc.others))
            self.weights[number, :, own] = arc.weights
            self.others[number, 0, own] = arc.others

    def right(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Whether the expected word gets most, `[arcs, ...]`, of weights `[arcs, ..., words]`."""
        there = np.take_along_axis(weights, self.expected, axis=-1)[..., 0]
        elsewhere = np.where(self.others, weights, -1).max(axis=-1)
        right: npt.NDArray[np.bool_] = there > elsewhere
        return right


def head_set(
    chosen_on: Sequence[KeptArc], judged_on: Sequence[KeptArc], *, first: int
) -> HeadSet | None:
    """Adds to the first head the head that gains most, again and again, while any gains.

    None where no head gains, or where there is no arc to choose or to judge on.
    """
    if not chosen_on or not judged_on:
        return None
    heads = len(chosen_on[0].weights)
    # In whatever order the arcs came: the same sample gives the same set.
    ours = _Sample(sorted(chosen_on, key=lambda arc: arc.place), heads)
    found = [first]
    total = ours.weights[:, first : first + 1]
    best = int(ours.right(total).sum())
    while len(found) < min(MOST_HEADS, heads):
        hits = ours.right(total + ours.weights).sum(axis=0)
        hits[found] = -1
        more = int(hits.argmax())
        if hits[more] <= best:
            break
        found.append(more)
        best = int(hits[more])
        total = total + ours.weights[:, more : more + 1]
    if len(found) == 1:
        return None
    theirs = _Sample(judged_on, heads)
    together = theirs.right(theirs.weights[:, found].sum(axis=1, keepdims=True))[:, 0]
    alone = theirs.right(theirs.weights[:, [first]])[:, 0]
    return HeadSet(
        tuple(found),
        len(judged_on),
        float(together.mean()),
        float(alone.mean()),
        len(chosen_on),
        paired_p(int((together & ~alone).sum()), int((alone & ~together).sum())),
    )
