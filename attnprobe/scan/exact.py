"""Sums of floats that come out the same in any order: additions of whole numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attnprobe.core.errors import MeasureError
from attnprobe.rules.frame import Doubles

# A number is kept as its whole part and as multiples of 2⁻⁴⁰ of the rest. Rounding a term once to
# these costs at most 5e-13. The whole parts overflow beyond 9e18.
BITS = 40
_ONE = 1 << BITS
LARGEST = 1 << 62


class ExactSums(NamedTuple):
    """An array of sums, equal bit for bit whatever the order in which its terms were added.

    Floating-point addition depends on the order; addition of integers does not.

    Attributes:
        whole: the largest integer that is not above the sum.
        fraction: the rest in multiples of 2⁻⁴⁰, from 0 to 2⁴⁰ - 1.
    """

    whole: npt.NDArray[np.int64]
    fraction: npt.NDArray[np.int64]

    @classmethod
    def zeros(cls, *shape: int) -> ExactSums:
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64))

    @classmethod
    def of(cls, values: Doubles) -> ExactSums:
        """These numbers, each rounded to a multiple of 2⁻⁴⁰.

        Raises:
            MeasureError: one is no number, or beyond 4e18.
        """
        if not (np.abs(values) < LARGEST).all():  # NaN compares as False
            raise MeasureError("a sum over attention maps is no number, or too large to be kept")
        whole = np.floor(values)
        fraction = np.rint((values - whole) * _ONE).astype(np.int64)
        return cls(whole.astype(np.int64), fraction)._carried()

    def plus(self, more: ExactSums) -> ExactSums:
        """The sums of both.

        Raises:
            MeasureError: a sum is beyond 4e18.
        """
        whole = self.whole + more.whole
        if (np.abs(whole) >= LARGEST).any():
            raise MeasureError("a sum over attention maps is too large to be kept")
        return ExactSums(whole, self.fraction + more.fraction)._carried()

    def values(self) -> Doubles:
        """The sums as floats, rounded once."""
        return self.whole.astype(np.float64) + np.ldexp(self.fraction.astype(np.float64), -BITS)

    def _carried(self) -> ExactSums:
        return ExactSums(self.whole + (self.fraction >> BITS), self.fraction & (_ONE - 1))
