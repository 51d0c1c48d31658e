"""The figures of each relation: a head chosen on one half of the sentences, judged on the other."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attnprobe.core.sites import Head
from attnprobe.core.stats import Interval, adjusted_p, paired_p, wilson
from attnprobe.relations.arcs import best_offset_index
from attnprobe.relations.preference import Preference
from attnprobe.scan.greedy_sets import GreedySet, choose_set
from attnprobe.scan.measures import MEASURES
from attnprobe.scan.tally import ArcCounts, ArcGroup, GroupTally, Tally
from attnprobe.words.looks import LEFT_OUT, OFFSETS

SIGNIFICANT = 0.05
CHOSEN, JUDGED = 0, 1


@dataclass(frozen=True)
class JudgedHead:
    """A head that was chosen on one half of the sentences, judged on the other.

    Attributes:
        chosen_on: number of arcs that it was chosen on.
        chosen_accuracy: its accuracy on these, which the choice makes too high.
        n: number of arcs that it was judged on.
        accuracy: its accuracy on these n arcs.
        interval: the 95 % Wilson interval of `accuracy`.
        best_offset: the fixed distance in words that does best on the n arcs.
        offset_accuracy: the accuracy of that distance.
        p: exact McNemar test of the head against that distance, two-sided.
        preference: the head beside itself when another word looks; None if no other word can.
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


class Overall(NamedTuple):
    """A head on the arcs of both halves.

    Attributes:
        n: number of arcs.
        accuracy: share that the head gets right.
        offset_accuracy: share that the best fixed distance gets right.
        p: exact McNemar test of the head against that distance, two-sided.
    """

    n: int
    accuracy: float
    offset_accuracy: float
    p: float


@dataclass(frozen=True, eq=False)
class RelationFigures:
    """The figures of one group.

    Attributes:
        left_out: number of arcs that could not be judged, by reason.
        accuracies: `[2, heads]`, the accuracy of every head on the chosen and on the judged half.
        adjusted: `[heads]`, the one-sided p of "better than the best fixed distance" on the judged
            half, adjusted for false discoveries among all heads.
        overall: the chosen head on all arcs: what a suite that names it will measure.
        liking: the chosen head beside itself when another word looks, on all arcs.
        greedy_set: the set that grew from the chosen head; None if no head gained.
    """

    group: ArcGroup
    best: JudgedHead
    heads_tried: int
    left_out: Mapping[str, int]
    accuracies: npt.NDArray[np.float64]
    adjusted: npt.NDArray[np.float64]
    overall: Overall
    liking: Preference | None
    greedy_set: GreedySet | None

    @property
    def discoveries(self) -> tuple[int, ...]:
        """Indices of the heads better than that distance, at a false discovery rate of 5 %."""
        return tuple(np.flatnonzero(self.adjusted <= SIGNIFICANT).tolist())


def figures(
    tally: GroupTally,
    group: ArcGroup,
    heads: Sequence[Head],
    *,
    min_arcs: int,
    sets: bool = True,
) -> RelationFigures | None:
    """The figures of a group.

    Args:
        tally: the counts of the group.
        sets: whether to choose a greedy set.

    Returns:
        None if either half has fewer arcs than `min_arcs`.
    """
    arcs = tally.arcs
    n, right, offsets, both = arcs.n, arcs.right, arcs.offsets, arcs.both
    if min(n) < max(1, min_arcs):
        return None
    # Among equally good heads the first, so that the choice depends on the numbers alone.
    best = int(right[CHOSEN].argmax())
    at = best_offset_index(offsets[JUDGED])
    p_values = [
        better_p(int(right[JUDGED, head]), int(offsets[JUDGED, at]), int(both[JUDGED, head, at]))
        for head in range(len(heads))
    ]
    greedy_set = None
    if sets:
        greedy_set = choose_set(tally.kept[CHOSEN], tally.kept[JUDGED], first=best)
    return RelationFigures(
        group,
        _judge(arcs, best, heads),
        len(heads),
        {
            reason: int(amount)
            for reason, amount in zip(LEFT_OUT, arcs.left_out, strict=True)
            if amount
        },
        right / n[:, None],
        adjusted_p(p_values),
        _overall(arcs, best),
        _preference(arcs, best, slice(None)),
        greedy_set,
    )


def figures_in_corpus(
    tally: GroupTally, overall: RelationFigures, heads: Sequence[Head], *, min_arcs: int
) -> RelationFigures | None:
    """The figures in one corpus, for a head that was chosen on several.

    The figures of all heads and the greedy set stay those of all corpora.

    Args:
        tally: the counts of the group in this corpus.
        overall: the figures on all corpora.

    Returns:
        None if the corpus has fewer than `min_arcs` arcs in the judged half.
    """
    arcs = tally.arcs
    if arcs.n[JUDGED] < max(1, min_arcs):
        return None
    head = heads.index(overall.best.head)
    return replace(
        overall,
        best=_judge(arcs, head, heads),
        overall=_overall(arcs, head),
        liking=_preference(arcs, head, slice(None)),
    )


def _judge(arcs: ArcCounts, head: int, heads: Sequence[Head]) -> JudgedHead:
    """The figures of a head on both halves; the judged half must have an arc."""
    right, offsets = arcs.right, arcs.offsets
    at = best_offset_index(offsets[JUDGED])
    chosen_on, count = arcs.n.tolist()
    hits, offset_hits = int(right[JUDGED, head]), int(offsets[JUDGED, at])
    both = int(arcs.both[JUDGED, head, at])
    return JudgedHead(
        heads[head],
        chosen_on,
        float(right[CHOSEN, head] / chosen_on) if chosen_on else math.nan,
        count,
        hits / count,
        wilson(hits, count),
        OFFSETS[at],
        offset_hits / count,
        paired_p(hits - both, offset_hits - both),
        _preference(arcs, head, slice(JUDGED, JUDGED + 1)),
    )


def _preference(arcs: ArcCounts, head: int, part: slice) -> Preference | None:
    """A head beside itself when another word looks, on one half or both; None without arcs."""
    n = int(arcs.compared[part].sum())
    if not n:
        return None
    counts = (arcs.with_true, arcs.with_other, arcs.with_both)
    return Preference(n, *(int(count[part, head].sum()) for count in counts))


def _overall(arcs: ArcCounts, head: int) -> Overall:
    n, right, offsets = arcs.n.sum(), arcs.right.sum(axis=0), arcs.offsets.sum(axis=0)
    at = best_offset_index(offsets)
    hits, offset_hits = int(right[head]), int(offsets[at])
    both = int(arcs.both[:, head, at].sum())
    p = paired_p(hits - both, offset_hits - both)
    return Overall(int(n), hits / int(n), offset_hits / int(n), p)


@functools.lru_cache(maxsize=1 << 16)
def _cached_p(better: int, worse: int) -> float:
    return paired_p(better, worse)


def better_p(right: int, offset: int, both: int) -> float:
    """The one-sided p of "the head is better than the distance"; 1 for a head that is no better.

    Args:
        right, offset, both: number of arcs on which the head, the distance, and both are right.
    """
    # The exact McNemar test is symmetric, so the one-sided p is half of the two-sided one.
    return _cached_p(right - both, offset - both) / 2 if right > offset else 1.0


def measure_rows(tally: Tally) -> Mapping[str, npt.NDArray[np.float64]]:
    """Every measure by name, `[heads]`; NaN for a head without rows that count."""
    scores = tally.measured.scores()
    return {measure.name: scores[row] for row, measure in enumerate(MEASURES)}


def as_json(found: RelationFigures, heads: Sequence[Head]) -> dict[str, Any]:
    """The entry of a group in the results file."""
    best = found.best
    greedy_set = found.greedy_set
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
            **found.overall._asdict(),
            "preference": preference_json(found.liking),
        },
        "set": None
        if greedy_set is None
        else {
            "heads": [str(heads[head]) for head in greedy_set.heads],
            "chosen_on": greedy_set.chosen_on,
            "judged_on": greedy_set.n,
            "accuracy": greedy_set.accuracy,
            "first_head_accuracy": greedy_set.alone,
            "gain": greedy_set.gain,
            "p": greedy_set.p,
        },
    }


def preference_json(found: Preference | None) -> dict[str, Any] | None:
    """The entry in the results file of a head beside itself when another word looks."""
    if found is None:
        return None
    return {
        "n": found.n,
        "accuracy": found.share,
        "above_preference": found.lead,
        "p": found.p,
    }


def number(value: float) -> float | None:
    """A number for JSON, which has no NaN; None for a number that was not measured."""
    return None if math.isnan(value) else float(value)
