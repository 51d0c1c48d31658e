"""Suites of two runs, tested in pairs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from attnprobe.compare.changes import compare_results
from attnprobe.compare.describe import lines
from attnprobe.core.stats import paired_difference, paired_p
from tests.support.compared_results import ERR, GAP, HOLD, SKIP, case, expected, run, suite_of


def test_a_suite_is_tested_in_pairs() -> None:
    (suite,) = suite_of(20, 1, 6, 3).suites
    assert (suite.suite, suite.model, suite.n) == ("pronouns", "small", 30)
    assert (suite.old_passed, suite.new_passed) == (26, 21)
    # Two-sided binomial: as uneven as 1 of 7, or more so.
    assert suite.p == pytest.approx(2 * binom.cdf(1, 7, 0.5))
    assert suite.change == pytest.approx(-5 / 30)
    assert suite.low < suite.change < suite.high


def test_skipped_cases_are_no_pairs_and_errors_do_not_hold() -> None:
    pairs = [(HOLD, ERR), (HOLD, SKIP), (SKIP, HOLD), (SKIP, SKIP), (GAP, GAP)]
    old, new = (
        run(*(replace(pair[side], id=str(n)) for n, pair in enumerate(pairs))) for side in (0, 1)
    )
    (suite,) = compare_results(old, new).suites
    assert (suite.n, suite.old_passed, suite.new_passed) == (2, 1, 0)


def test_a_suite_says_how_far_its_weights_have_moved() -> None:
    changes = [(0.6, 0.5), (0.4, 0.42), (0.5, 0.5)]
    texts = ["a", "a", "b"]  # the last one has another text now
    old, new = (
        run(
            *(
                replace(
                    case(expected(pair[side])), id=str(n), text_sha256="b" if side else texts[n]
                )
                for n, pair in enumerate(changes)
            )
        )
        for side in (0, 1)
    )
    (retexted,) = compare_results(old, new).suites
    assert (retexted.weights, retexted.mean_drift, retexted.largest_drift) == (1, 0, 0)
    same = replace(new, cases=tuple(replace(item, text_sha256=None) for item in new.cases))
    (suite,) = compare_results(old, same).suites
    assert suite.weights == 3
    assert suite.mean_drift == pytest.approx(0.04)
    assert suite.largest_drift == pytest.approx(0.1)
    assert list(lines(compare_results(old, same)))[-1].endswith(
        ", weights moved by 0.040 on average, 0.100 at most"
    )


def test_a_suite_without_weights_says_nothing_of_them() -> None:
    nothing = case(expected(None, "error"), outcome="error")
    (suite,) = compare_results(run(HOLD), run(nothing)).suites
    assert (suite.weights, suite.mean_drift, suite.largest_drift) == (0, None, None)
    assert "moved" not in "".join(lines(compare_results(run(HOLD), run(nothing))))


def newcombe(both: int, first: int, second: int, neither: int) -> tuple[float, float]:
    """Method 10 of Newcombe 1998, written out from the paper's formulas."""
    n = both + first + second + neither
    z = float(norm.ppf(0.975))

    def wilson(hits: int) -> tuple[float, float]:
        middle = 2 * hits + z**2
        spread = z * math.sqrt(z**2 + 4 * hits * (1 - hits / n))
        return (middle - spread) / (2 * (n + z**2)), (middle + spread) / (2 * (n + z**2))

    p1, p2 = (both + first) / n, (both + second) / n
    (l1, u1), (l2, u2) = wilson(both + first), wilson(both + second)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    product = both * neither - first * second
    corrected = product - n / 2 if product > n / 2 else min(product, 0)
    phi = corrected / math.sqrt(margins) if margins else 0.0
    low = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    high = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return p1 - p2 - math.sqrt(low), p1 - p2 + math.sqrt(high)


counts = st.integers(0, 40)


@given(counts, counts, counts, counts)
def test_the_interval_is_newcombes(both: int, first: int, second: int, neither: int) -> None:
    if both + first + second + neither == 0:
        with pytest.raises(ValueError, match=r".*"):
            paired_difference(0, 0, 0, 0)
        return
    found = paired_difference(both, first, second, neither)
    assert found == pytest.approx(newcombe(both, first, second, neither), abs=1e-9)
    assert (
        -1 <= found.low <= (first - second) / (both + first + second + neither) <= found.high <= 1
    )


def test_the_paired_test_keeps_its_level_and_the_interval_covers() -> None:
    """Seeded simulation under the null, and of a true change."""
    draws, n = 2000, 40
    random = np.random.default_rng(5)
    null = random.multinomial(n, [0.6, 0.1, 0.1, 0.2], draws)
    rejected = sum(paired_p(int(first), int(second)) <= 0.05 for _, first, second, _ in null)
    # An exact test is conservative: its rate is at most 5 %, within what chance allows.
    assert 0 < rejected <= binom.ppf(0.999, draws, 0.05)
    for shares in ([0.6, 0.1, 0.1, 0.2], [0.5, 0.05, 0.25, 0.2]):
        truth = shares[1] - shares[2]
        covered = 0
        for table in random.multinomial(n, shares, 400):
            low, high = paired_difference(*map(int, table))
            covered += low <= truth <= high
        assert covered >= binom.ppf(0.001, 400, 0.95)
