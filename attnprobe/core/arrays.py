"""Array types, and words as rows of booleans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def membership(words: Sequence[Sequence[int]], tokens: int) -> Bools:
    """Which tokens belong to each word, `[words, tokens]`."""
    found = np.zeros((len(words), tokens), np.bool_)
    rows = [number for number, word in enumerate(words) for _ in word]
    found[rows, [at for word in words for at in word]] = True
    return found


def in_common(left: Bools, right: Bools) -> Floats:
    """How many tokens each word of one has in common with each word of the other, `[left, right]`.

    Args:
        left, right: the tokens of each word, `[words, tokens]`.
    """
    # Sums of ones in float32 are exact up to 16 million, and a matrix product of floats is fast.
    # OpenBLAS may report invalid values of the memory with which it fills up its blocks.
    with np.errstate(invalid="ignore"):
        counts: Floats = left.astype(np.float32) @ right.T.astype(np.float32)
    return counts
