"""From counts to figures: statistics of chosen heads, by simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from attnprobe.core.sites import Head
from attnprobe.core.stats import adjusted_p
from attnprobe.relations.arcs import best_offset_index
from attnprobe.scan.report import CHOSEN, JUDGED, better_p, figures
from attnprobe.scan.tally import ArcCounts, ArcGroup, GroupTally
from attnprobe.words.looks import OFFSETS

HEADS = [Head(layer, head) for layer in range(6) for head in range(12)]


def simulated(
    random: np.random.Generator, arcs: int, rate: float, lifted: dict[int, float]
) -> GroupTally:
    """Heads and one fixed distance that are right at the same rate, but for the lifted heads."""
    counts = ArcCounts.zeros(1, len(HEADS))
    for half in (CHOSEN, JUDGED):
        rates = np.full(len(HEADS), rate)
        rates[list(lifted)] = list(lifted.values())
        right = random.random((arcs, len(HEADS))) < rates
        offsets = np.zeros((arcs, len(OFFSETS)), bool)
        offsets[:, 4] = random.random(arcs) < rate
        counts.add(np.full(arcs, half), right, offsets, *uncompared(right))
    return GroupTally(counts.of([0]))


def uncompared(right: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """No arc has another word that can look."""
    return np.zeros(len(right), np.bool_), np.zeros_like(right)


GROUP = ArcGroup("x", "dependent-to-head")


def test_false_discoveries_under_the_null_are_rare() -> None:
    random = np.random.default_rng(20260)
    runs, false = 400, 0
    for _ in range(runs):
        found = figures(simulated(random, 120, 0.4, {}), GROUP, HEADS, min_arcs=30)
        assert found is not None
        false += bool(found.discoveries)
    assert false <= binom.ppf(0.999, runs, 0.05)


def test_a_head_that_is_better_is_discovered() -> None:
    random = np.random.default_rng(7)
    hits = false = 0
    for _ in range(40):
        tally = simulated(random, 120, 0.4, {3: 0.75, 30: 0.75})
        found = figures(tally, GROUP, HEADS, min_arcs=30)
        assert found is not None
        hits += {3, 30} <= set(found.discoveries)
        false += len(set(found.discoveries) - {3, 30})
    assert hits >= 36
    assert false <= binom.ppf(0.999, 40 * 70, 0.05)


def test_a_choice_on_one_half_is_honest_and_the_naive_one_is_not() -> None:
    random = np.random.default_rng(99)
    runs, arcs, rate = 200, 60, 0.3
    naive, honest, covered = 0.0, 0.0, 0
    for _ in range(runs):
        found = figures(simulated(random, arcs, rate, {}), GROUP, HEADS, min_arcs=30)
        assert found is not None
        naive += found.best.chosen_accuracy / runs
        honest += found.best.accuracy / runs
        covered += found.best.interval.low <= rate <= found.best.interval.high
    spread = math.sqrt(rate * (1 - rate) / (runs * arcs))
    assert abs(honest - rate) < 3.3 * spread
    assert naive > rate + 0.1
    assert covered >= binom.ppf(0.001, runs, 0.95)


def test_p_of_a_head_is_mcnemar_against_the_best_distance() -> None:
    random = np.random.default_rng(3)
    counts = ArcCounts.zeros(1, 72)
    right, offsets = random.random((90, 72)) < 0.5, random.random((90, len(OFFSETS))) < 0.4
    half = random.random(90) < 0.5
    compared, other = random.random(90) < 0.8, random.random((90, 72)) < 0.3
    other &= compared[:, None]
    counts.add(half.astype(int), right, offsets, compared, other)
    found = figures(GroupTally(counts.of([0])), GROUP, HEADS, min_arcs=30)
    assert found is not None
    ours, theirs = right[half], offsets[half]
    at = int(theirs.sum(axis=0).argmax())
    p_values = []
    for head in range(72):
        more = int((ours[:, head] & ~theirs[:, at]).sum())
        less = int((theirs[:, at] & ~ours[:, head]).sum())
        # As many or more by tossing a coin.
        p_values.append(binom.sf(more - 1, more + less, 0.5) if more > less else 1.0)
    np.testing.assert_allclose(found.adjusted, adjusted_p(p_values))
    best = HEADS.index(found.best.head)
    assert best == int(right[~half].sum(axis=0).argmax())
    assert found.best.accuracy == ours[:, best].mean()
    assert found.best.offset_accuracy == theirs[:, at].mean()
    assert found.best.best_offset == OFFSETS[at]
    assert better_p(3, 5, 1) == 1.0
    # The head beside itself where another word looks, on the half that is judged and on all arcs.
    for liking, arcs in ((found.best.preference, compared & half), (found.liking, compared)):
        assert liking is not None
        hit, missed = right[arcs, best], other[arcs, best]
        assert (liking.n, liking.share) == (arcs.sum(), missed.mean())
        assert liking.lead == pytest.approx(hit.mean() - missed.mean())
        more, less = int((hit & ~missed).sum()), int((missed & ~hit).sum())
        assert liking.p == pytest.approx(
            min(1.0, 2 * binom.sf(max(more, less) - 1, more + less, 0.5))
        )


def test_of_distances_that_tie_the_nearest_is_told() -> None:
    counts = ArcCounts.zeros(1, 2)
    # -5, -1 and +1 are right on every second arc, as the rule for relations would have it.
    offsets = np.isin(OFFSETS, (-5, -1, 1))[None] & (np.arange(120) % 4 < 2)[:, None]
    right = np.ones((120, 2), bool)
    counts.add(np.arange(120) % 2, right, offsets, *uncompared(right))
    found = figures(GroupTally(counts.of([0])), GROUP, HEADS[:2], min_arcs=30)
    assert found is not None
    assert (found.best.best_offset, found.best.offset_accuracy) == (-1, 0.5)
    assert [best_offset_index(row) for row in ([1] * 10, [3, 0, 0, 0, 0, 0, 0, 3, 0, 0])] == [
        OFFSETS.index(-1),
        OFFSETS.index(3),
    ]


def test_too_few_arcs_give_no_figures() -> None:
    tally = simulated(np.random.default_rng(0), 29, 0.5, {})
    assert figures(tally, GROUP, HEADS, min_arcs=30) is None
    assert figures(tally, GROUP, HEADS, min_arcs=29) is not None
    assert figures(GroupTally(ArcCounts.zeros(1, 72).of([0])), GROUP, HEADS, min_arcs=0) is None
