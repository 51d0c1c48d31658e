"""Greedy sets: heads whose mean gets a relation right more often than the best head alone.

Heads are added one by one, as long as the mean of their weights gains. The set is chosen on one
sample of arcs and judged on another from other sentences. Clark et al. 2019, section 5, combine
heads by training instead.
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
class GreedySet:
    """A set of heads and its accuracy on the judged half.

    Attributes:
        heads: indices, in the order in which they were added.
        n: number of judged arcs.
        accuracy: share of these that the set gets right.
        alone: share of these that its first head gets right.
        chosen_on: number of arcs that the set was chosen on.
        p: exact McNemar test of the set against its first head, two-sided.
    """

    heads: tuple[int, ...]
    n: int
    accuracy: float
    alone: float
    chosen_on: int
    p: float

    @property
    def gain(self) -> float:
        """By how much the set is better than its first head."""
        return self.accuracy - self.alone


class _Sample:
    """Arcs with different numbers of words as padded arrays."""

    def __init__(self, arcs: Sequence[KeptArc], heads: int) -> None:
        words = max(len(arc.others) for arc in arcs)
        self.weights = np.zeros((len(arcs), heads, words), np.float32)
        self.expected = np.array([arc.expected for arc in arcs])[:, None, None]
        self.others = np.zeros((len(arcs), 1, words), np.bool_)
        for number, arc in enumerate(arcs):
            columns = slice(len(arc.others))
            self.weights[number, :, columns] = arc.weights
            self.others[number, 0, columns] = arc.others

    def right(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Whether the expected word gets most, `[arcs, ...]`, of weights `[arcs, ..., words]`."""
        expected = np.take_along_axis(weights, self.expected, axis=-1)[..., 0]
        strongest_other = np.where(self.others, weights, -1).max(axis=-1)
        right: npt.NDArray[np.bool_] = expected > strongest_other
        return right


def choose_set(
    chosen_on: Sequence[KeptArc], judged_on: Sequence[KeptArc], *, first: int
) -> GreedySet | None:
    """The set that grows from the first head by the head that gains most, while one gains.

    Returns:
        None if no head gains, or if either sample has no arcs.
    """
    if not chosen_on or not judged_on:
        return None
    heads = len(chosen_on[0].weights)
    # Sorted, so that the set does not depend on the order in which the arcs were counted.
    chosen = _Sample(sorted(chosen_on, key=lambda arc: arc.place), heads)
    members = [first]
    total = chosen.weights[:, first : first + 1]
    best = int(chosen.right(total).sum())
    while len(members) < min(MOST_HEADS, heads):
        hits = chosen.right(total + chosen.weights).sum(axis=0)
        hits[members] = -1
        candidate = int(hits.argmax())
        if hits[candidate] <= best:
            break
        members.append(candidate)
        best = int(hits[candidate])
        total = total + chosen.weights[:, candidate : candidate + 1]
    if len(members) == 1:
        return None
    judged = _Sample(judged_on, heads)
    together = judged.right(judged.weights[:, members].sum(axis=1, keepdims=True))[:, 0]
    alone = judged.right(judged.weights[:, [first]])[:, 0]
    return GreedySet(
        tuple(members),
        len(judged_on),
        float(together.mean()),
        float(alone.mean()),
        len(chosen_on),
        paired_p(int((together & ~alone).sum()), int((alone & ~together).sum())),
    )
