"""Attention rows against the network's own, on a tiny network of each architecture."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AttentionMaskInterface, AutoConfig, AutoModel, PreTrainedModel

from attnprobe.core.errors import MeasureError, ModelError
from attnprobe.core.sites import Head
from attnprobe.models import attention_function
from attnprobe.models.capture import capture, survey
from attnprobe.models.check import CheckRow, check
from attnprobe.models.forward import (
    batch_inputs,
    configurations,
    eager,
    running,
    site_masks,
    trace,
)
from attnprobe.models.layout import Layout, find_layout
from attnprobe.models.self_check import differences, padding_check, self_check
from tests.architectures.tiny import ARCHITECTURES, tiny_network

EAGER = {"bloom", "deberta_v2"}
SPLIT = {"bart", "marian", "t5"}
DECODERS = {"bloom", "gemma", "gemma2", "gpt2", "gpt_oss", "llama", "mistral", "qwen2", "qwen3"}
NOT_SDPA = {"gemma2", "gpt_oss"}  # caps and sinks
OWN_POSITIONS = {"bart", "marian"}  # counted from the left edge of the batch, padding included

TEXT = list(range(20, 39))
SHORT = list(range(60, 66))
TARGET = list(range(100, 113))

tiny: Callable[[str], Any] = cache(tiny_network)
checked: Callable[[str], list[CheckRow]] = cache(lambda name: check(tiny(name)))


def inputs_of(name: str, *texts: list[int], **kwargs: Any) -> dict[str, torch.Tensor]:
    targets = [TARGET] * len(texts) if name in SPLIT else None
    return batch_inputs(tiny(name), texts, targets, **kwargs)


def layout_of(name: str) -> Layout:
    return find_layout(tiny(name), inputs_of(name, TEXT))


# Exactness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_row_of_every_head_equals_eager(name: str) -> None:
    rows = checked(name)
    for row in rows:
        assert row.unpadded <= 5e-5
        assert row.right <= 5e-5
        assert row.left <= 5e-5
        assert row.served == ("eager" if name in EAGER else "function")
    sites = {row.site for row in rows}
    if name in SPLIT:
        assert sites == {"encoder", "decoder", "cross"}
    else:
        assert sites == {"decoder" if name in DECODERS else "encoder"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_whole_maps_of_every_layer_equal_eager(name: str) -> None:
    """Each layer gets what the maps of the layer before it made of the values."""
    where, inputs = layout_of(name), inputs_of(name, SHORT, TEXT)
    for site in where.sites:
        maps: dict[int, torch.Tensor] = {}
        survey(tiny(name), where, inputs, site, maps.__setitem__)
        expected = eager(tiny(name), inputs, alone=site)[site]
        queries, keys = site_masks(site, inputs)
        real = (queries[:, None, :, None] * keys[:, None, None]).bool()
        assert list(maps) == list(where.sites[site].layers)
        for layer, found in maps.items():
            off = ((found - expected[layer]) * real).abs()
            assert float(off.max()) <= 5e-5


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_right_equals_single_p24(name: str) -> None:
    assert max(row.batch for row in checked(name)) <= 1e-5


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - OWN_POSITIONS))
def test_padding_left_equals_single_p24(name: str) -> None:
    where = layout_of(name)
    site = next(iter(where.sites))
    wanted = {(site, layer): [range(6), range(19)] for layer in where.sites[site].layers}
    together = capture(tiny(name), where, inputs_of(name, SHORT, TEXT, padding="left"), wanted)
    for index, (text, rows) in enumerate(((SHORT, range(6)), (TEXT, range(19)))):
        single = capture(tiny(name), where, inputs_of(name, text), {key: [rows] for key in wanted})
        for key, weights in single.items():
            np.testing.assert_allclose(together[key][index], weights[0], atol=1e-5)


def test_first_layer_of_bert_equals_a_softmax_written_in_numpy() -> None:
    network = tiny("bert")
    attention = network.encoder.layer[0].attention.self
    hidden = network.embeddings(torch.tensor([TEXT])).detach().numpy()[0].astype(np.float64)

    def project(linear: nn.Linear) -> np.ndarray:
        projected = hidden @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
        return projected.reshape(len(TEXT), 4, 8).transpose(1, 0, 2)

    scores = project(attention.query) @ project(attention.key).transpose(0, 2, 1) / math.sqrt(8)
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    found = capture(
        network, layout_of("bert"), inputs_of("bert", TEXT), {("encoder", 0): [range(19)]}
    )
    np.testing.assert_allclose(found["encoder", 0][0], expected, atol=1e-6)


def test_sliding_window_puts_nothing_outside_the_window() -> None:
    found = capture(
        tiny("mistral"),
        layout_of("mistral"),
        inputs_of("mistral", TEXT),
        {("decoder", 1): [[18]]},
    )
    (row,) = found["decoder", 1][0][0]
    assert np.flatnonzero(row).tolist() == [13, 14, 15, 16, 17, 18]


def test_grouped_queries_are_reported_as_query_heads() -> None:
    config = tiny("llama").config
    assert (config.num_key_value_heads, config.num_attention_heads) == (2, 4)
    assert layout_of("llama").sites["decoder"].heads == {0: 4, 1: 4, 2: 4}


def test_a_learned_sink_is_the_only_excuse_for_a_sum_below_one_p20() -> None:
    network, inputs = tiny("gpt_oss"), inputs_of("gpt_oss", TEXT)
    traced = trace(network, inputs)
    for one in traced:
        assert one.sink is not None
        torch.testing.assert_close(one.weights.sum(-1) + one.sink, torch.ones(1, 4, 19))
        assert float(one.sink.max()) > 0.5
    # The first token sees itself alone: its weight against the sink is a logistic function.
    layer = network.layers[0].self_attn
    query, key = logits_of_first_token(network)
    score = (query * key).sum(-1) * layer.scaling
    expected = torch.sigmoid(layer.sinks - score)
    torch.testing.assert_close(traced[0].sink[0, :, 0], expected.detach(), atol=1e-5, rtol=0)


def logits_of_first_token(network: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Query and key `[heads, depth]` of position 0, where rotary embedding turns both alike."""
    layer = network.layers[0]
    attention = layer.self_attn
    hidden = layer.input_layernorm(network.embed_tokens(torch.tensor(TEXT[:1])))
    query = attention.q_proj(hidden).reshape(4, 8)
    key = attention.k_proj(hidden).reshape(2, 8).repeat_interleave(2, dim=0)
    factor = network.rotary_emb.attention_scaling
    return query * factor, key * factor


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - EAGER))
def test_output_of_the_network_is_untouched_bit_for_bit(name: str) -> None:
    network, inputs = tiny(name), inputs_of(name, TEXT, SHORT)
    outputs: list[torch.Tensor] = []
    hook = network.register_forward_hook(lambda *call: outputs.append(call[2].last_hidden_state))
    plain = "eager" if name in NOT_SDPA else "sdpa"
    try:
        with running(network, plain):
            network(**inputs)
        trace(network, inputs)
    finally:
        hook.remove()
    assert torch.equal(outputs[0], outputs[1])


# Only what is wanted ----------------------------------------------------------------------------


def test_the_forward_stops_before_the_output_of_the_last_wanted_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = tiny("llama")
    ended: list[int] = []
    sdpa: list[object] = []
    for number, layer in enumerate(network.layers):
        monkeypatch.setattr(
            layer, "forward", spied(layer.forward, lambda _, n=number: ended.append(n))
        )
    monkeypatch.setattr(
        attention_function,
        "sdpa_attention_forward",
        spied(attention_function.sdpa_attention_forward, sdpa.append),
    )
    where, inputs = layout_of("llama"), inputs_of("llama", TEXT)
    ended.clear()
    sdpa.clear()
    capture(network, where, inputs, {("decoder", 1): [[4]], ("decoder", 0): [[2]]})
    assert ended == [0]
    assert len(sdpa) == 1


def test_the_decoder_never_runs_for_rows_of_the_encoder() -> None:
    begun: list[int] = []
    network = tiny("t5")
    hook = network.decoder.register_forward_pre_hook(lambda *_: begun.append(1))
    try:
        where, inputs = layout_of("t5"), inputs_of("t5", TEXT)
        begun.clear()
        capture(network, where, inputs, {("encoder", 1): [[4]]})
    finally:
        hook.remove()
    assert begun == []


def test_only_wanted_rows_of_wanted_layers_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    where, inputs = layout_of("bert"), inputs_of("bert", TEXT, SHORT)
    computed: list[torch.Tensor] = []
    monkeypatch.setattr(
        attention_function,
        "attention_weights",
        spied(attention_function.attention_weights, lambda made: computed.append(made[0])),
    )
    found = capture(tiny("bert"), where, inputs, {("encoder", 2): [[3, 17], [5]]})
    assert [tuple(one.shape) for one in computed] == [(2, 4, 2, 19)]
    assert [one.shape for one in found["encoder", 2]] == [(4, 2, 19), (4, 1, 6)]


def spied(function: Callable[..., Any], tell: Callable[[Any], object]) -> Callable[..., Any]:
    def spy(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        tell(result)
        return result

    return spy


def test_results_are_read_only() -> None:
    found = capture(
        tiny("bert"), layout_of("bert"), inputs_of("bert", TEXT), {("encoder", 0): [[1]]}
    )
    with pytest.raises(ValueError, match="read-only"):
        found["encoder", 0][0][0, 0, 0] = 1.0


# Layers -----------------------------------------------------------------------------------------


def test_a_hybrid_stack_keeps_its_true_layer_numbers_p23() -> None:
    config = AutoConfig.for_model(
        "lfm2",
        vocab_size=261,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention", "conv", "full_attention"],
    )
    network = AutoModel.from_config(config)
    inputs = batch_inputs(network, [TEXT])
    where = find_layout(network, inputs)
    assert where.sites["decoder"].heads == {1: 4, 3: 4}
    assert max(one.value for one in differences(network, where, inputs)) <= 5e-5


def test_a_layer_that_is_called_several_times_counts_as_several() -> None:
    where = layout_of("albert")
    assert where.sites["encoder"].layers == (0, 1, 2)
    assert len({call.path for call in where.order}) == 1


# The network is left as it was found --------------------------------------------------------------


def implementations(network: PreTrainedModel) -> list[str | None]:
    return [config._attn_implementation for config in configurations(network)]


@pytest.mark.parametrize("name", ["t5", "gpt_oss", "bloom"])
def test_implementation_and_mode_are_restored(name: str) -> None:
    network = tiny_network(name)
    network.train()
    before = implementations(network)
    where = find_layout(network, inputs_of(name, TEXT))
    site = next(iter(where.sites))
    capture(network, where, inputs_of(name, TEXT), {(site, 0): [[0]]})
    assert implementations(network) == before
    assert all(module.training for module in network.modules())
    assert attention_function.current_watch.get() is None


def test_implementation_is_restored_after_an_exception() -> None:
    network = tiny_network("llama")
    before = implementations(network)

    def fail(*_: object) -> None:
        raise RuntimeError("in the middle of a forward")

    network.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        trace(network, inputs_of("llama", TEXT))
    assert implementations(network) == before
    assert attention_function.current_watch.get() is None
    assert not network.training


# What cannot be read is refused -------------------------------------------------------------------


def test_an_unknown_keyword_is_refused_by_name() -> None:
    query = torch.zeros(1, 1, 4, 8)
    with pytest.raises(ModelError, match="'tilt'"):
        attention_function.attention(nn.Identity(), query, query, query, None, tilt=0.5)


def test_no_attention_at_all_names_the_model_and_the_way_out_p18() -> None:
    config = AutoConfig.for_model(
        "fnet", vocab_size=261, hidden_size=32, intermediate_size=64, num_hidden_layers=2
    )
    network = AutoModel.from_config(config)
    with pytest.raises(ModelError, match=r"FNetModel returns no .* output_attentions=True"):
        find_layout(network, batch_inputs(network, [TEXT]))


def test_nan_names_layer_and_head_p19() -> None:
    network = tiny_network("bert")
    where = find_layout(network, inputs_of("bert", TEXT))
    with torch.no_grad():
        network.encoder.layer[1].attention.self.key.weight[16:24] = torch.nan
    with pytest.raises(MeasureError, match=r"encoder L1H2: .*NaN or Inf"):
        capture(network, where, inputs_of("bert", TEXT), {("encoder", 1): [[3]]})
    with pytest.raises(MeasureError, match=r"encoder L1H2: .*NaN or Inf"):
        find_layout(network, inputs_of("bert", TEXT))


def broken_rows(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    own = attention_function.attention_weights

    def broken(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        weights, sink = own(*args, **kwargs)
        return change(weights), sink

    monkeypatch.setattr(attention_function, "attention_weights", broken)


def test_a_row_that_does_not_sum_to_one_is_refused_p20(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = layout_of("bert")
    broken_rows(monkeypatch, lambda weights: weights * 0.75)
    with pytest.raises(MeasureError, match=r"encoder L2H0: .* sums to 0\.75 instead of 1"):
        capture(tiny("bert"), where, inputs_of("bert", TEXT), {("encoder", 2): [[3]]})


@pytest.mark.parametrize(
    ("texts", "message"),
    [((TEXT, SHORT), "L0H0: attention weight on padding"), ((TEXT,), "on a later position")],
)
def test_weight_on_padding_and_on_the_future_is_refused(
    monkeypatch: pytest.MonkeyPatch, texts: tuple[list[int], ...], message: str
) -> None:
    where = layout_of("gpt2")
    broken_rows(monkeypatch, lambda weights: torch.full_like(weights, 1 / weights.shape[-1]))
    with pytest.raises(MeasureError, match=message):
        capture(
            tiny("gpt2"), where, inputs_of("gpt2", *texts), {("decoder", 0): [[3]] * len(texts)}
        )


def test_a_lost_mask_twin_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    where = layout_of("bert")
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, attention_function.NAME)
    with pytest.raises(MeasureError, match="attention weight on padding"):
        capture(tiny("bert"), where, inputs_of("bert", TEXT, SHORT), {("encoder", 0): [[3], [3]]})


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "gemma2", "gpt_oss"])
def test_the_self_check_refuses_a_wrong_scale(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, inputs = layout_of(name), inputs_of(name, TEXT)
    self_check(tiny(name), where, inputs, name=name)
    own = attention_function.attention_weights

    def wrong(query: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return own(query * 1.01, *args, **kwargs)

    monkeypatch.setattr(attention_function, "attention_weights", wrong)
    with pytest.raises(ModelError, match=rf"{name}: \w+ L0H\d differs from the model's own"):
        self_check(tiny(name), where, inputs, name=name)


@pytest.mark.parametrize(
    ("name", "keyword"),
    [("t5", "position_bias"), ("gemma2", "softcap"), ("gpt_oss", "s_aux")],
)
def test_the_self_check_refuses_a_lost_keyword(
    name: str, keyword: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, inputs = layout_of(name), inputs_of(name, TEXT)
    own = attention_function.attention_weights
    monkeypatch.setattr(
        attention_function,
        "attention_weights",
        lambda *args, **kwargs: own(*args, **{**kwargs, keyword: None}),
    )
    with pytest.raises(ModelError, match="differs from the model's own"):
        self_check(tiny(name), where, inputs, name=name)


def test_a_network_that_looks_at_padding_is_refused() -> None:
    """Nystromformer, served from its eager weights, averages over padding as well."""
    config = AutoConfig.for_model(
        "nystromformer",
        vocab_size=261,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    network = AutoModel.from_config(config)
    for weights in network.parameters():
        if weights.dim() > 1:
            nn.init.normal_(weights, 0, 0.5)
    where = find_layout(network, batch_inputs(network, [TEXT]))
    assert where.served == "eager"
    with pytest.raises(ModelError, match="differs beside a longer text from the same text alone"):
        padding_check(network, where, TEXT, None, pad_id=0, name="nystromformer")


@pytest.mark.parametrize("name", ["bert", "mistral", "gpt_oss", "bart", "deberta_v2"])
def test_the_padding_check_passes_what_masks_padding(name: str) -> None:
    target = TARGET if name in SPLIT else None
    network, where = tiny(name), layout_of(name)
    # It raises where it refuses: see the test above.
    assert padding_check(network, where, TEXT, target, pad_id=0, name=name) is None


def test_differences_name_the_head_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    where = layout_of("bert")

    def shift(weights: torch.Tensor) -> torch.Tensor:
        weights = weights.clone()
        weights[:, 3] = weights[:, 3].flip(-1)
        return weights

    broken_rows(monkeypatch, shift)
    found = differences(tiny("bert"), where, inputs_of("bert", TEXT))
    assert [one.head for one in found] == [Head(0, 3), Head(1, 3), Head(2, 3)]
    assert all(one.value > 0.1 for one in found)
