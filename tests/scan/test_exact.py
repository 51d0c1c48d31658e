"""Sums that do not depend on the order of their terms, against Python's fractions."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.errors import MeasureError
from attnprobe.scan.exact import BITS, ExactSums

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False)


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_bits(numbers: list[float], random: object) -> None:
    terms = [ExactSums.of(np.array([number])) for number in numbers]
    forwards = functools.reduce(ExactSums.plus, terms)
    random.shuffle(terms)  # type: ignore[attr-defined]
    while len(terms) > 1:  # and any tree
        at = random.randrange(len(terms) - 1)  # type: ignore[attr-defined]
        terms[at : at + 2] = [terms[at].plus(terms[at + 1])]
    assert terms[0].whole.tolist() == forwards.whole.tolist()
    assert terms[0].fraction.tolist() == forwards.fraction.tolist()
    # The sum of the terms, each rounded to a multiple of 2⁻⁴⁰, rounded once to a float.
    exact = sum(Fraction(round(Fraction(number) * 2**BITS), 2**BITS) for number in numbers)
    assert abs(Fraction(float(forwards.values()[0])) - exact) <= abs(exact) / 2**52 + Fraction(
        1, 2**80
    )
    assert 0 <= forwards.fraction[0] < 2**BITS


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e19, -1e19])
def test_what_cannot_be_kept_is_an_error(number: float) -> None:
    with pytest.raises(MeasureError, match="no number, or too large"):
        ExactSums.of(np.array([1.0, number]))


def test_sums_do_not_wrap_around() -> None:
    large = ExactSums.of(np.array([4e18]))
    with pytest.raises(MeasureError, match="too large"):
        large.plus(large)
