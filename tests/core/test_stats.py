"""Wilson's interval against scipy, and that a run needs no scipy for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from attnprobe.core.stats import wilson


@given(st.data(), st.integers(1, 10**6), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_wilson_is_that_of_scipy(data: st.DataObject, count: int, confidence: float) -> None:
    hits = data.draw(st.integers(0, count) | st.sampled_from([0, 1, count]))
    expected = binomtest(hits, count).proportion_ci(confidence, method="wilson")
    found = wilson(hits, count, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (found.low == 0) == (hits == 0)
    assert (found.high == 1) == (hits == count)


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (2, 1), (-1, 5)])
def test_what_is_no_share_has_no_interval(hits: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"{hits} hits of {count}"):
        wilson(hits, count)


def test_an_interval_costs_no_import_of_scipy() -> None:
    code = (
        "import sys\n"
        "from attnprobe.core.stats import wilson\n"
        "wilson(3, 4)\n"
        "assert not any(name.startswith('scipy') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
