"""Intervals and tests that verdicts carry, all from scipy.

scipy.stats takes a second to import, so each function does it when it is first called: collecting
case files stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["CONFIDENCE", "Interval", "adjusted_p", "paired_p", "wilson"]

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Both ends of a confidence interval of a share, 0 to 1."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.1%} to {self.high:.1%}"


def wilson(hits: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a share (Wilson 1927), without continuity correction.

    Raises:
        ValueError: nothing was counted.
    """
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def paired_p(better: int, worse: int) -> float:
    """Exact McNemar test: how likely so uneven a split of the discordant pairs is, two-sided.

    Args:
        better, worse: pairs in which only the first, or only the second, of two methods is right.
    """
    from scipy.stats import binomtest

    if better + worse == 0:
        return 1.0
    return float(binomtest(better, better + worse).pvalue)


def adjusted_p(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """P values adjusted for false discoveries among them (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    adjusted: npt.NDArray[np.float64] = false_discovery_control(values, method="bh")
    return adjusted
