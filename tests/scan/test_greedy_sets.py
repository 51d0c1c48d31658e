"""Head sets are chosen greedily and judged elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attnprobe.scan.greedy_sets import choose_set
from attnprobe.scan.tally import KeptArc, Place


def kept(random: np.random.Generator, count: int, heads: int) -> list[KeptArc]:
    """Head 0 and head 1 each know half of the arcs, and what they do not know they leave open."""
    found = []
    for number in range(count):
        words = int(random.integers(3, 7))
        weights = random.random((heads, words)).astype(np.float32) * 0.3
        right = int(random.integers(words))
        weights[number % 2, right] += 0.6
        found.append(KeptArc(Place(number, 0, 0, 0), right, np.arange(words) != right, weights))
    return found


def test_head_sets_are_greedy_and_judged_elsewhere() -> None:
    random = np.random.default_rng(5)
    ours, theirs = kept(random, 60, 8), kept(random, 50, 8)

    def share(arcs: Sequence[KeptArc], heads: Sequence[int]) -> float:
        hits = 0
        for one in arcs:
            total = one.weights[list(heads)].mean(axis=0)
            hits += bool(total[one.expected] > total[one.others].max())
        return hits / len(arcs)

    found = choose_set(ours, theirs, first=0)
    assert found is not None
    assert found.heads[:2] == (0, 1)
    chosen = [0]
    while True:
        best = max(range(8), key=lambda h: (h not in chosen, share(ours, [*chosen, h]), -h))
        if share(ours, [*chosen, best]) <= share(ours, chosen):
            break
        chosen.append(best)
    assert list(found.heads) == chosen[: len(found.heads)]
    assert found.accuracy == share(theirs, found.heads)
    assert found.alone == share(theirs, [0])
    assert found.gain > 0.2
    assert found.p < 0.01
    assert choose_set(ours[::-1], theirs, first=0) == found
    assert choose_set([], theirs, first=0) is None
    alone = [replace(one, weights=one.weights[:1]) for one in ours]
    assert choose_set(alone, alone, first=0) is None
