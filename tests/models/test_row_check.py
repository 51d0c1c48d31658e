"""`check_rows` on rows that are written out: what it refuses, what it lets pass, and its words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attnprobe.core.errors import MeasureError
from attnprobe.models.attention_function import LEAK_TOLERANCE, check_rows

SHAPE = (2, 3, 4, 8)  # samples, heads, rows, keys
FAULT = (1, 2, 3)  # the sample, head and row that a test spoils
NAN = "attention weights are NaN or Inf; check the model weights"


def even(dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows that spread over all keys."""
    return torch.full(SHAPE, 1 / SHAPE[-1], dtype=dtype)


def with_weight(key: int, weight: float) -> Tensor:
    """Even rows, one of which has this weight on one key."""
    weights = even()
    weights[(*FAULT, key)] = weight
    return weights


def refused(weights: Tensor, sink: Tensor | None = None, **masks: Any) -> str:
    with pytest.raises(MeasureError) as caught:
        check_rows("decoder", 5, weights, sink, **masks)
    return str(caught.value)


def flags(*shape: int, false_at: tuple[int, ...]) -> Tensor:
    """True everywhere but at one place."""
    marked = torch.ones(shape, dtype=torch.bool)
    marked[false_at] = False
    return marked


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused_with_its_head_p19(value: float) -> None:
    assert refused(with_weight(6, value)) == f"decoder L5H2: {NAN}"
    check_rows("decoder", 5, with_weight(6, value), None, real=flags(2, 4, false_at=(1, 3)))
    elsewhere = flags(2, 4, false_at=(0, 3))
    assert refused(with_weight(6, value), real=elsewhere) == f"decoder L5H2: {NAN}"


@pytest.mark.parametrize("off", [2e-4, -2e-4, 0.5, -0.1])
def test_a_row_that_does_not_sum_to_one_is_refused_p20(off: float) -> None:
    weights = with_weight(0, 0.125 + off)
    assert refused(weights) == (
        f"decoder L5H2: a row of attention weights sums to {1 + off:.6g} instead of 1"
    )
    check_rows("decoder", 5, weights, None, real=flags(2, 4, false_at=(1, 3)))
    check_rows("decoder", 5, weights[:1], None)


@pytest.mark.parametrize("off", [0.8e-4, -0.8e-4])
def test_a_row_may_be_off_by_less_than_a_ten_thousandth_p20(off: float) -> None:
    check_rows("decoder", 5, with_weight(0, 0.125 + off), None)


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_may_be_off_by_its_rounding_as_well_p20(
    dtype: torch.dtype, most: float
) -> None:
    """A weight of 0.125 is off by a step of its number type, its row by as much."""
    step = torch.finfo(dtype).eps / 8
    for steps in range(1, 8):
        weights = even(dtype)
        weights[(*FAULT, 0)] = 0.125 + steps * step
        if steps * step <= most + 1e-4:
            check_rows("decoder", 5, weights, None)
        else:
            assert f"sums to {1 + steps * step:.6g} instead of 1" in refused(weights)


def test_what_a_learned_sink_takes_belongs_to_the_row() -> None:
    sink = torch.full(SHAPE[:-1], 0.25)
    check_rows("decoder", 5, 0.75 * even(), sink)
    assert "sums to 0.75 instead of 1" in refused(0.75 * even())
    assert "sums to 1.25 instead of 1" in refused(even(), sink)
    sink[FAULT] = 0.5
    assert refused(0.75 * even(), sink) == (
        "decoder L5H2: a row of attention weights sums to 1.25 instead of 1"
    )


def moved(key: int, weight: float) -> Tensor:
    """Even rows over all keys but one, to which one row moves this weight from its neighbour."""
    weights = torch.full(SHAPE, 1 / 7)
    weights[..., key] = 0
    weights[(*FAULT, key)] = weight
    weights[(*FAULT, key - 1)] -= weight
    return weights


@pytest.mark.parametrize("key", [1, 7])
@pytest.mark.parametrize("weight", [2e-6, 1e-5, 0.1])
def test_weight_on_padding_is_refused(key: int, weight: float) -> None:
    padded = flags(2, 8, false_at=(1, key))
    assert refused(moved(key, weight), keys=padded) == "decoder L5H2: attention weight on padding"
    check_rows("decoder", 5, moved(key, LEAK_TOLERANCE), None, keys=padded)
    check_rows("decoder", 5, moved(key, weight), None, keys=flags(2, 8, false_at=(0, key)))
    check_rows("decoder", 5, moved(key, weight), None, keys=torch.ones(2, 8, dtype=torch.bool))
    filling = flags(2, 4, false_at=(1, 3))
    check_rows("decoder", 5, moved(key, weight), None, keys=padded, real=filling)


def test_padding_is_summed_over_its_columns() -> None:
    weights = torch.full(SHAPE, 0.0)
    weights[..., 0] = 1
    weights[(*FAULT, slice(4, 8))] = 0.4e-6
    keys = torch.ones(2, 8, dtype=torch.bool)
    keys[:, 4:] = False
    assert refused(weights, keys=keys) == "decoder L5H2: attention weight on padding"


@pytest.mark.parametrize("weight", [2e-6, 1e-5, 0.1])
def test_weight_on_a_later_position_is_refused(weight: float) -> None:
    """Row r of the samples is the token at position r + 2 and r + 1."""
    future = torch.arange(4) + torch.tensor([[2], [1]])
    weights = torch.zeros(SHAPE)
    for sample in range(2):
        for row in range(4):
            weights[sample, :, row, future[sample, row]] = 1  # itself, the last that it sees
    check_rows("decoder", 5, weights, None, future=future)
    leaking = weights.clone()
    leaking[(*FAULT, 5)] += weight
    leaking[(*FAULT, 4)] -= weight
    assert refused(leaking, future=future) == ("decoder L5H2: attention weight on a later position")
    check_rows("decoder", 5, leaking, None)
    check_rows("decoder", 5, leaking, None, future=future + torch.tensor([[0], [1]]))
    filling = flags(2, 4, false_at=(1, 3))
    check_rows("decoder", 5, leaking, None, future=future, real=filling)
    faint = weights.clone()
    faint[(*FAULT, 5)] = LEAK_TOLERANCE
    check_rows("decoder", 5, faint, None, future=future)
    faint[(*FAULT, slice(5, 8))] = 5e-7
    assert refused(faint, future=future).endswith("on a later position")
