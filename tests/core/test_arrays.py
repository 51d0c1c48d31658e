from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.arrays import in_common, membership

TOKENS = 12
WORDS = st.lists(st.sets(st.integers(0, TOKENS - 1)), max_size=6)


@given(WORDS, WORDS)
def test_words_have_the_tokens_of_both_in_common(
    left: list[set[int]], right: list[set[int]]
) -> None:
    left_rows, right_rows = (
        membership([sorted(word) for word in words], TOKENS) for words in (left, right)
    )
    with np.errstate(all="raise"):
        found = in_common(left_rows, right_rows)
    assert found.shape == (len(left), len(right))
    assert found.tolist() == [[len(one & other) for other in right] for one in left]
