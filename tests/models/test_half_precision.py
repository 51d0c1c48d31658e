"""Networks in half precision whose rows are read from their own eager weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from attnprobe.core.errors import MeasureError
from attnprobe.core.needs import Need
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.models.attention_function import check_rows
from attnprobe.models.capture import capture, survey
from attnprobe.models.forward import batch_inputs
from attnprobe.models.layout import find_layout
from tests.architectures.small import small_config
from tests.architectures.tiny import random_network, tiny_tokenizer

TEXT = Sample("The keys near the cabinet are old.")
# Of the weights in float32. Scores of these random networks are wide, so rounding shows.
BOUNDS = {torch.bfloat16: 0.06, torch.float16: 0.015}
half_precision = pytest.mark.parametrize("dtype", BOUNDS, ids=str)


def returned(network: PreTrainedModel, ids: tuple[int, ...]) -> list[np.ndarray]:
    """The weights that transformers returns, as float32."""
    network = copy.deepcopy(network)
    network.config._attn_implementation = "eager"
    with torch.no_grad():
        found = network(torch.tensor([ids]), output_attentions=True).attentions
    return [layer[0].float().numpy() for layer in found]


@half_precision
@pytest.mark.parametrize("name", ["bloom", "falcon", "gptj", "gpt_neo", "mpnet", "deberta"])
def test_rows_are_those_of_the_network_and_near_those_in_float32(
    name: str, dtype: torch.dtype
) -> None:
    network = random_network(small_config(name)).to(dtype)
    model = Model.of(network, tiny_tokenizer(end=False), name=name)
    # transformers 5.24 gives GPT-J an attention function, whose rows are computed in float32.
    assert model.served == "eager" or name == "gptj"
    (site,) = model.sites.values()
    ids = model.encode(TEXT).source.ids
    (rows,) = model.collect([Need(TEXT, site.name, site.layers, tuple(range(len(ids))))])
    own = returned(network, ids)
    exact = returned(copy.deepcopy(network).float(), ids)
    for layer, weights in rows.weights.items():
        assert weights.dtype == np.float32
        bound = 0 if model.served == "eager" else BOUNDS[dtype]
        np.testing.assert_allclose(weights, own[layer], rtol=0, atol=bound)
        np.testing.assert_allclose(weights, exact[layer], atol=BOUNDS[dtype])


@half_precision
@pytest.mark.parametrize("name", ["bloom", "mpnet"])
def test_whole_maps_of_a_padded_batch_are_the_same_rows(name: str, dtype: torch.dtype) -> None:
    network = random_network(small_config(name)).to(dtype)
    ids = [list(range(5, 17)), list(range(20, 25))]
    where = find_layout(network, batch_inputs(network, ids[:1]))
    (site,) = where.sites
    inputs = batch_inputs(network, ids)
    maps: dict[int, torch.Tensor] = {}
    survey(network, where, inputs, site, maps.__setitem__)
    wanted = {(site, layer): [range(12), range(5)] for layer in (0, 1)}
    rows = capture(network, where, inputs, wanted)
    for layer in (0, 1):
        assert maps[layer].dtype == torch.float32
        for sample, length in enumerate((12, 5)):
            own = maps[layer][sample, :, :length, :length].numpy()
            np.testing.assert_array_equal(rows[site, layer][sample], own)


@half_precision
def test_the_sum_of_a_row_may_be_off_by_rounding_and_no_more_p20(dtype: torch.dtype) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows = (2 * torch.randn(1, 8, 400, 16)).softmax(dim=-1)
    rounded = rows.to(dtype)
    assert float((rounded.float().sum(dim=-1) - 1).abs().max()) > 1e-4
    check_rows("encoder", 0, rounded, None)
    # One weight of one row too large by one part in a hundred of the row.
    wrong = rounded.clone()
    wrong[0, 3, 7, 5] += 0.01
    with pytest.raises(MeasureError, match=r"encoder L0H3: a row of .* sums to 1\.0"):
        check_rows("encoder", 0, wrong, None)
    # In float32 there is no such rounding.
    with pytest.raises(MeasureError, match="sums to"):
        check_rows("encoder", 0, rounded.float(), None)
