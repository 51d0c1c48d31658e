"""Intervals and tests that verdicts carry, all from scipy.

scipy.stats takes a second to import, so each function does it when it is first called: collecting
case files stays quick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Both ends of a confidence interval of a share, 0 to 1."""

    low: float
    high: float


@lru_cache(maxsize=4096)
def wilson(hits: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a share (Wilson 1927), without continuity correction.

    Raises:
        ValueError: nothing was counted.
    """
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def paired_p(better: int, worse: int, *, one_sided: bool = False) -> float:
    """Exact McNemar test: how likely so uneven a split of the discordant pairs is.

    Args:
        better, worse: pairs in which only the first, or only the second, of two methods is right.
        one_sided: asks whether the first is the better one, not whether they differ.
    """
    from scipy.stats import binomtest

    if better + worse == 0:
        return 1.0
    alternative = "greater" if one_sided else "two-sided"
    return float(binomtest(better, better + worse, alternative=alternative).pvalue)


def paired_difference(
    both: int, first: int, second: int, neither: int, confidence: float = CONFIDENCE
) -> Interval:
    """Interval of the difference of two shares of the same pairs, the first less the second.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", method 10: Wilson's intervals of the two shares, joined by their
    correlation. Both ends are -1 to 1.

    Args:
        both, first, second, neither: how many pairs are hits in both, in one alone, in none.

    Raises:
        ValueError: nothing was counted.
    """
    count = both + first + second + neither
    hits = both + first, both + second
    one, two = (wilson(found, count, confidence) for found in hits)
    share_one, share_two = (found / count for found in hits)
    product = float(hits[0] * (count - hits[0]) * hits[1] * (count - hits[1]))
    agreement = float(both * neither - first * second)
    if agreement > 0:
        agreement = max(agreement - count / 2, 0.0)  # the continuity correction of the paper
    phi = agreement / math.sqrt(product) if product else 0.0

    def joined(left: float, right: float) -> float:
        return math.sqrt(max(left**2 - 2 * phi * left * right + right**2, 0.0))

    difference = share_one - share_two
    return Interval(
        max(difference - joined(share_one - one.low, two.high - share_two), -1.0),
        min(difference + joined(one.high - share_one, share_two - two.low), 1.0),
    )


def adjusted_p(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """P values adjusted for false discoveries among them (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    adjusted: npt.NDArray[np.float64] = false_discovery_control(values, method="bh")
    return adjusted
