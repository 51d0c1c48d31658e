"""From counts to figures: a head chosen on one half of the sentences and judged on the other."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from attnprobe.core.sites import Head
from attnprobe.core.stats import Interval, adjusted_p, paired_p, wilson
from attnprobe.relations.arcs import best_place
from attnprobe.relations.preference import Preference
from attnprobe.scan.measures import MEASURES
from attnprobe.scan.sets import HeadSet, head_set
from attnprobe.scan.tally import Group, Tally
from attnprobe.words.looks import LEFT_OUT, OFFSETS

SIGNIFICANT = 0.05
CHOSEN, JUDGED = 0, 1


@dataclass(frozen=True)
class Judged:
    """A head, chosen on one half of the sentences, on the arcs of the other.

    Attributes:
        chosen_accuracy: on the `chosen_on` arcs that it was chosen on: too good to be true.
        accuracy: on the `n` other arcs, with its 95 % Wilson interval.
        best_offset: the fixed distance in words that does best on these n arcs.
        p: exact McNemar test of the head against that distance, two-sided.
        preference: the head beside itself when another word looks; None where no other word can.
    """

    head: Head
    chosen_on: int
    chosen_accuracy: float
    n: int
    accuracy: float
    interval: Interval
    best_offset: int
    offset_accuracy: float
    p: float
    preference: Preference | None

    @property
    def above(self) -> float:
        """By how much the head is better than the best fixed distance."""
        return self.accuracy - self.offset_accuracy


@dataclass(frozen=True, eq=False)
class RelationFigures:
    """A relation in one direction.

    Attributes:
        left_out: arcs that could not be judged, by the reason why.
        accuracies: `[2, heads]`, of every head on the half chosen on and the half judged on.
        adjusted: `[heads]`, one-sided p of "better than the best fixed distance" on the half judged
            on, adjusted for false discoveries among all heads.
        overall: the chosen head and the best distance on all arcs: what a suite that names the head
            will see.
        liking: the chosen head beside itself when another word looks, on all arcs.
    """

    group: Group
    best: Judged
    heads_tried: int
    left_out: Mapping[str, int]
    accuracies: npt.NDArray[np.float64]
    adjusted: npt.NDArray[np.float64]
    overall: tuple[int, float, float]
    liking: Preference | None
    heads: HeadSet | None

    @property
    def discoveries(self) -> tuple[int, ...]:
        """Heads that are better than the best fixed distance; at most 5 % of them falsely so."""
        return tuple(np.flatnonzero(self.adjusted <= SIGNIFICANT).tolist())


def figures(
    tally: Tally,
    group: int,
    name: Group,
    heads: Sequence[Head],
    *,
    min_arcs: int,
    sets: bool = True,
) -> RelationFigures | None:
    """The figures of a group; None where either half has fewer arcs than `min_arcs`."""
    n = tally.n[group]
    if min(n) < max(1, min_arcs):
        return None
    right, offsets, both = tally.right[group], tally.offsets[group], tally.both[group]
    # Of equally good heads the first, so that the choice depends on the numbers alone.
    best = int(right[CHOSEN].argmax())
    at = best_place(offsets[JUDGED])
    p_values = [
        better_p(int(right[JUDGED, head]), int(offsets[JUDGED, at]), int(both[JUDGED, head, at]))
        for head in range(len(heads))
    ]
    found = None
    if sets:
        found = head_set(
            tally.kept.get((group, CHOSEN), ()), tally.kept.get((group, JUDGED), ()), first=best
        )
    return RelationFigures(
        name,
        _judged(tally, group, best, heads),
        len(heads),
        {
            reason: int(amount)
            for reason, amount in zip(LEFT_OUT, tally.left_out[group], strict=True)
            if amount
        },
        right / n[:, None],
        adjusted_p(p_values),
        _overall(tally, group, best),
        _preference(tally, group, best, slice(None)),
        found,
    )


def within(
    tally: Tally, group: int, one: RelationFigures, heads: Sequence[Head], *, min_arcs: int
) -> RelationFigures | None:
    """The figures of a head that was chosen on several corpora, in one of them.

    What is of all heads, and the head set, stays as it was.

    Args:
        group: that of the relation and direction in this corpus.

    Returns:
        None where fewer than `min_arcs` arcs of the half judged on are of this corpus.
    """
    if tally.n[group, JUDGED] < max(1, min_arcs):
        return None
    head = heads.index(one.best.head)
    return replace(
        one,
        best=_judged(tally, group, head, heads),
        overall=_overall(tally, group, head),
        liking=_preference(tally, group, head, slice(None)),
    )


def _judged(tally: Tally, group: int, head: int, heads: Sequence[Head]) -> Judged:
    """A head on both halves; the half judged on has an arc at least."""
    right, offsets = tally.right[group], tally.offsets[group]
    at = best_place(offsets[JUDGED])
    chosen_on, count = tally.n[group].tolist()
    hits, off = int(right[JUDGED, head]), int(offsets[JUDGED, at])
    joint = int(tally.both[group, JUDGED, head, at])
    return Judged(
        heads[head],
        chosen_on,
        float(right[CHOSEN, head] / chosen_on) if chosen_on else math.nan,
        count,
        hits / count,
        wilson(hits, count),
        OFFSETS[at],
        off / count,
        paired_p(hits - joint, off - joint),
        _preference(tally, group, head, slice(JUDGED, JUDGED + 1)),
    )


def _preference(tally: Tally, group: int, head: int, part: slice) -> Preference | None:
    """A head beside itself when another word looks, on some of the halves."""
    n = int(tally.compared[group, part].sum())
    if not n:
        return None
    counts = (tally.with_true, tally.with_other, tally.with_both)
    return Preference(n, *(int(count[group, part, head].sum()) for count in counts))


def _overall(tally: Tally, group: int, head: int) -> tuple[int, float, float]:
    """How many arcs there are, and how often a head and the best distance are right on them."""
    everything = int(tally.n[group].sum())
    return (
        everything,
        float(tally.right[group, :, head].sum() / everything),
        float(tally.offsets[group].sum(axis=0).max() / everything),
    )


@functools.lru_cache(maxsize=1 << 16)
def _paired(better: int, worse: int) -> float:
    return paired_p(better, worse)


def better_p(right: int, offset: int, both: int) -> float:
    """One-sided p of "the head is better than the distance": 1 for a head that is no better.

    Args:
        right, offset, both: arcs on which the head, the distance, and both are right.
    """
    # Half of the two-sided p: the exact McNemar test is symmetric.
    return _paired(right - both, offset - both) / 2 if right > offset else 1.0


def measure_rows(tally: Tally) -> Mapping[str, npt.NDArray[np.float64]]:
    """Patterns, entropy, distance and sink by name, `[heads]`; NaN where no row has one."""
    scores = tally.totals.scores()
    return {measure.name: scores[row] for row, measure in enumerate(MEASURES)}


def as_json(found: RelationFigures, heads: Sequence[Head]) -> dict[str, Any]:
    """One relation of the results file."""
    best = found.best
    joint = found.heads
    return {
        "relation": found.group.relation,
        "direction": found.group.direction,
        "head": str(best.head),
        "heads_tried": found.heads_tried,
        "chosen_on": best.chosen_on,
        "chosen_accuracy": best.chosen_accuracy,
        "judged_on": best.n,
        "accuracy": best.accuracy,
        "interval": [best.interval.low, best.interval.high],
        "best_offset": best.best_offset,
        "offset_accuracy": best.offset_accuracy,
        "above_best_offset": best.above,
        "p": best.p,
        "preference": preference_json(best.preference),
        "left_out": dict(found.left_out),
        "better_than_offset": {
            str(heads[head]): float(found.adjusted[head]) for head in found.discoveries
        },
        "accuracies": {
            half: {str(head): number(value) for head, value in zip(heads, row, strict=True)}
            for half, row in zip(("chosen", "judged"), found.accuracies, strict=True)
        },
        "overall": {
            "n": found.overall[0],
            "accuracy": found.overall[1],
            "offset_accuracy": found.overall[2],
            "preference": preference_json(found.liking),
        },
        "set": None
        if joint is None
        else {
            "heads": [str(heads[head]) for head in joint.heads],
            "chosen_on": joint.chosen_on,
            "judged_on": joint.n,
            "accuracy": joint.accuracy,
            "first_head_accuracy": joint.alone,
            "gain": joint.gain,
            "p": joint.p,
        },
    }


def preference_json(found: Preference | None) -> dict[str, Any] | None:
    """A head beside itself when another word looks, as results have it."""
    if found is None:
        return None
    return {
        "n": found.n,
        "accuracy": found.share,
        "above_preference": found.lead,
        "p": found.p,
    }


def number(value: float) -> float | None:
    """A number as JSON has it; None for one that was not measured."""
    return None if math.isnan(value) else float(value)
