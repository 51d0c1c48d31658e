"""Confidence intervals and significance tests.

The tests are scipy's, which is imported where one is needed: that takes a second, and every run has
intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """The ends of a confidence interval of a share, 0 to 1, or of a difference of two shares."""

    low: float
    high: float


class Spread(NamedTuple):
    """Where most of some numbers lie: their 5 %, 50 % and 95 % quantiles, each one of them."""

    low: float
    middle: float
    high: float


def spread(numbers: Sequence[float] | npt.NDArray[np.float64]) -> Spread:
    """The spread of some numbers; there is at least one."""
    return Spread(*map(float, np.quantile(numbers, (0.05, 0.5, 0.95), method="inverted_cdf")))


@lru_cache(maxsize=4096)
def wilson(hits: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of the share `hits / count`, without continuity correction.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Raises:
        ValueError: `count` is 0, or there are more hits than that.
    """
    if not 0 <= hits <= count or count == 0:
        raise ValueError(f"{hits} hits of {count} are no share")
    square = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    middle = hits + square / 2
    margin = math.sqrt(square * (hits * (count - hits) / count + square / 4))
    low, high = (end / (count + square) for end in (middle - margin, middle + margin))
    # Of none and of all, the exact ends, which rounding may miss.
    return Interval(low if hits else 0.0, high if hits < count else 1.0)


def paired_p(better: int, worse: int, *, one_sided: bool = False) -> float:
    """The p value of the exact McNemar test of two methods on the same items.

    Args:
        better: number of items on which only the first method is right.
        worse: number of items on which only the second method is right.
        one_sided: whether to test that the first method is better, instead of that they differ.
    """
    from scipy.stats import binomtest

    if better + worse == 0:
        return 1.0
    alternative = "greater" if one_sided else "two-sided"
    return float(binomtest(better, better + worse, alternative=alternative).pvalue)


def paired_difference(
    both: int, first: int, second: int, neither: int, confidence: float = CONFIDENCE
) -> Interval:
    """The interval of the difference of two shares of the same items, first minus second: -1 to 1.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", method 10: Wilson's intervals of the two shares, combined through their
    correlation.

    Args:
        both, first, second, neither: number of items that are hits in both, in one only, in none.

    Raises:
        ValueError: there are no items.
    """
    count = both + first + second + neither
    hits = both + first, both + second
    interval_one, interval_two = (wilson(count_of, count, confidence) for count_of in hits)
    share_one, share_two = (count_of / count for count_of in hits)
    product = float(hits[0] * (count - hits[0]) * hits[1] * (count - hits[1]))
    agreement = float(both * neither - first * second)
    if agreement > 0:
        agreement = max(agreement - count / 2, 0.0)  # the continuity correction of the paper
    phi = agreement / math.sqrt(product) if product else 0.0

    def combine(left: float, right: float) -> float:
        return math.sqrt(max(left**2 - 2 * phi * left * right + right**2, 0.0))

    difference = share_one - share_two
    return Interval(
        max(
            difference - combine(share_one - interval_one.low, interval_two.high - share_two), -1.0
        ),
        min(difference + combine(interval_one.high - share_one, share_two - interval_two.low), 1.0),
    )


def adjusted_p(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """P values adjusted for the false discovery rate (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    adjusted: npt.NDArray[np.float64] = false_discovery_control(values, method="bh")
    return adjusted
