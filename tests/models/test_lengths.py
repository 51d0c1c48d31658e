"""Networks that change with the length of a text, or with the texts before it and beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.models.capture import capture
from attnprobe.models.check import check
from attnprobe.models.forward import batch_inputs, configurations, trace
from attnprobe.models.layout import find_layout
from attnprobe.models.lengths import LengthRules, length_rules
from attnprobe.models.network_state import MOST_COPIED, preserved
from attnprobe.models.plan import pack
from tests.architectures.small import small_config
from tests.architectures.tiny import random_network, tiny_network, tiny_tokenizer

LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 24,
    "factor": 4.0,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}


def model_of(network: PreTrainedModel) -> Model:
    return Model.of(network, tiny_tokenizer(end=False), name="small")


def small(name: str, **sizes: Any) -> PreTrainedModel:
    return random_network(small_config(name, **sizes))


def text_of(tokens: int) -> str:
    """A text that the tiny tokenizer reads as so many tokens, its start token included."""
    words = "the old keys near the cabinet are here and there "
    return (words * (tokens // len(words) + 1))[: tokens - 1]


def rows_of(model: Model, *lengths: int) -> list[Rows]:
    """All rows of the first site on a text of each length, collected in one call."""
    site = next(iter(model.sites.values()))
    target = None if site.name == "decoder" or len(model.sites) == 1 else "there"
    return model.collect(
        [
            Need(Sample(text_of(length), target), site.name, site.layers, tuple(range(length)))
            for length in lengths
        ]
    )


def eager_alone(build: Callable[[], PreTrainedModel], length: int) -> Mapping[int, np.ndarray]:
    """Weights `[heads, target, source]` of each layer that a fresh network itself returns."""
    network = build()
    network.set_attn_implementation("eager")
    ids = torch.tensor([tiny_tokenizer(end=False)(text_of(length))["input_ids"]])
    assert ids.shape[1] == length
    with torch.no_grad():
        returned = network(input_ids=ids, output_attentions=True).attentions
    kept = [weights[0].numpy() for weights in returned if weights is not None]
    return dict(enumerate(kept))


def assert_alike(rows: Rows, expected: Mapping[int, np.ndarray]) -> None:
    for weights, own in zip(rows.weights.values(), expected.values(), strict=True):
        np.testing.assert_allclose(weights, own, atol=1e-5)


# What a forward leaves behind ---------------------------------------------------------------------


def state(network: nn.Module) -> dict[str, object]:
    """The attributes, tensors, hooks and submodules of a network and its configurations."""

    def plain(value: object) -> object:
        if isinstance(value, Tensor):
            return tuple(value.shape), value.dtype, value.detach().nan_to_num().tolist()
        if isinstance(value, Mapping):
            return {str(key): plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple | set):
            return [plain(part) for part in value]
        known = isinstance(value, str | int | float | None)
        return value if known else type(value).__name__

    assert isinstance(network, PreTrainedModel)
    owners: dict[str, object] = dict(network.named_modules())
    owners |= {f"config {n}": part for n, part in enumerate(configurations(network))}
    return {
        f"{path}.{name}": plain(value)
        for path, owner in owners.items()
        for name, value in vars(owner).items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "big_bird",
        "bigbird_pegasus",
        "codegen",
        "ctrl",
        "deepseek_v32",
        "doge",
        "funnel",
        "gpt_oss",
        "gptj",
        "jamba",
        "m2m_100",
        "phi3",
        "recurrent_gemma",
        "reformer",
        "switch_transformers",
        "t5",
        "xglm",
        "xlnet",
    ],
)
def test_a_network_is_left_as_it_was_p50(name: str) -> None:
    network = small(name)
    before = state(network)
    try:
        model = model_of(network)
        rows_of(model, 30)
        check(network)
    except ModelError:
        assert name == "funnel"  # it is refused, and nevertheless left as it was
    assert state(network) == before


def test_training_goes_on_after_a_measurement_p50() -> None:
    """Frequencies that a forward computes without gradients must not stay in the network."""
    network = tiny_network("llama", rope_parameters=DYNAMIC, max_position_embeddings=24)
    inputs = batch_inputs(network, [list(range(20, 60))])
    network.train()
    trace(network, inputs)
    assert network.training
    network(input_ids=inputs["input_ids"]).last_hidden_state.sum().backward()


class Restless(nn.Module):
    """Changes itself in every way that a forward may."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.table = nn.Buffer(torch.zeros(3), persistent=False)
        self.plain = torch.zeros(3)
        self.mode = "sparse"
        self.seen: list[int] = []
        self.nested = {"sizes": {"first": [1]}}
        self.kept = {1, 2}

    def forward(self) -> None:
        self.mode = "full"
        self.seen.append(len(self.seen))
        self.nested["sizes"]["first"].append(2)
        self.kept.add(3)
        self.table += 1
        self.plain.fill_(7)
        self.table = nn.Buffer(torch.ones(5), persistent=False)
        self.linear = nn.Linear(3, 3)
        self.extra = object()
        del self.kept
        self.register_forward_hook(lambda *_: None)


def test_whatever_a_forward_changes_is_restored_p50() -> None:
    network, config = Restless(), small_config("bert")
    linear = network.linear
    with preserved(network, [config]):
        network()
        config.num_buckets = 8
        assert network.mode == "full"
    assert (network.mode, network.seen, network.kept) == ("sparse", [], {1, 2})
    assert network.nested == {"sizes": {"first": [1]}}
    assert network.table.tolist() == network.plain.tolist() == [0, 0, 0]
    assert network.linear is linear
    assert not hasattr(network, "extra")
    assert not network._forward_hooks
    assert not hasattr(config, "num_buckets")


def test_a_forward_that_fails_is_undone_too_p50() -> None:
    network = Restless()
    network.register_forward_hook(lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError), preserved(network, []):
        network()
    assert network.mode == "sparse"


@pytest.mark.parametrize("what", ["linear.weight", "mask"])
def test_a_network_that_writes_to_its_weights_is_refused_p50(what: str) -> None:
    network = Restless()
    network.mask = nn.Buffer(torch.zeros(MOST_COPIED + 1))
    with (
        pytest.raises(ModelError, match=rf"Restless writes to its own weights .*\({what}\)"),
        torch.inference_mode(),
        preserved(network, []),
    ):
        network.get_parameter(what).add_(1) if "." in what else network.mask.add_(1)


# The texts before it and beside it --------------------------------------------------------------


def longrope() -> PreTrainedModel:
    return tiny_network("llama", rope_parameters=LONGROPE)


def sparse() -> PreTrainedModel:
    return small("deepseek_v32")


def bigbird() -> PreTrainedModel:
    return small("big_bird", block_size=8)


@pytest.mark.parametrize(
    ("build", "lengths"),
    [
        (longrope, (10, 23, 24, 25, 26, 40)),
        (sparse, (11, 12, 13, 60, 61, 100)),
        (lambda: small("mistral_large4_text"), (12, 13, 60, 100)),
        (lambda: small("minimax_m3_vl_text"), (12, 13, 60, 100)),
        (lambda: small("doge"), (12, 13, 60, 100)),
        (lambda: tiny_network("mistral"), (5, 6, 7, 40)),
        (lambda: tiny_network("modernbert"), (5, 6, 7, 40)),
    ],
)
def test_a_text_is_read_alike_alone_beside_others_and_after_others_p50(
    build: Callable[[], PreTrainedModel], lengths: Sequence[int]
) -> None:
    """Also across the length at which the network changes its mode."""
    model = model_of(build())
    together = rows_of(model, *lengths)
    for length, rows in zip(lengths, together, strict=True):
        expected = eager_alone(build, length)
        assert_alike(rows, expected)
        assert_alike(rows_of(model, length)[0], expected)


def test_the_modes_differ_where_they_are_kept_apart_p50() -> None:
    """Else the test above could not fail."""
    network = longrope()
    where = find_layout(network, batch_inputs(network, [list(range(20, 30))]))
    site = where.sites["decoder"]
    ids: list[list[int]] = [tiny_tokenizer(end=False)(text_of(n))["input_ids"] for n in (10, 40)]
    wanted: dict[tuple[SiteName, int], list[range]] = {
        ("decoder", layer): [range(10), range(40)] for layer in site.layers
    }
    mixed = capture(network, where, batch_inputs(network, ids), wanted)
    expected = eager_alone(longrope, 10)
    assert max(abs(mixed["decoder", n][0] - expected[n]).max() for n in site.layers) > 0.1


def test_dynamic_frequencies_do_not_outlive_their_text_p50() -> None:
    def build() -> PreTrainedModel:
        return tiny_network("llama", rope_parameters=DYNAMIC, max_position_embeddings=24)

    network = build()
    where = find_layout(network, batch_inputs(network, [list(range(20, 30))]))

    def read(network: PreTrainedModel, length: int) -> np.ndarray:
        inputs = batch_inputs(network, [list(range(20, 20 + length))])
        rows = capture(network, where, inputs, {("decoder", 2): [range(length)]})
        return rows["decoder", 2][0]

    first = read(network, 30)
    read(network, 60)
    np.testing.assert_array_equal(read(network, 30), first)
    np.testing.assert_array_equal(read(build(), 30), first)
    assert length_rules(network).shared == 24


def test_batches_do_not_mix_what_may_not_be_mixed_p50() -> None:
    lengths = [(9, 0), (30, 0), (3, 0), (10, 0), (31, 0), (30, 0)]
    assert pack(lengths, 1000) == [[2, 0, 3], [1, 5, 4]]
    assert pack(lengths, 1000, shared=10) == [[2, 0, 3], [1, 5], [4]]
    assert pack([(30, 5), (5, 30), (30, 6), (30, 40)], 1000, shared=10) == [[1], [0, 2], [3]]


# Longer than what can be read -------------------------------------------------------------------


def test_bigbird_is_read_up_to_the_length_where_it_attends_in_blocks_p50() -> None:
    model = model_of(bigbird())
    assert rows_of(model, 20)
    network = model.network
    assert network.attention_type == "block_sparse"
    # 3 random blocks of 8 tokens: (5 + 2 · 3) · 8.
    rows_of(model, 88)
    for length in (89, 120):
        with pytest.raises(
            SelectorError,
            match=rf"the text has {length} tokens; from 89 on small attends in blocks .*shorten",
        ):
            rows_of(model, length)


def test_bigbird_below_that_length_equals_a_fresh_one_p50() -> None:
    model = model_of(bigbird())

    def settled() -> PreTrainedModel:
        # Its first short text makes it attend in full; transformers records weights only then.
        network = bigbird()
        network.set_attention_type("original_full")
        return network

    for length, rows in zip((20, 60, 88), rows_of(model, 20, 60, 88), strict=True):
        assert_alike(rows, eager_alone(settled, length))


def test_a_long_text_after_a_short_one_is_still_attended_in_blocks_p50() -> None:
    """The network's own output on a text is that of a fresh network, whatever was read before."""
    network = bigbird()
    rows_of(model_of(network), 20)
    ids = torch.tensor([tiny_tokenizer(end=False)(text_of(120))["input_ids"]])
    with torch.no_grad():
        after, fresh = network(ids), bigbird()(ids)
        full = small("big_bird", block_size=8, attention_type="original_full")(ids)
    assert torch.equal(after.last_hidden_state, fresh.last_hidden_state)
    assert not torch.allclose(full.last_hidden_state, fresh.last_hidden_state, atol=1e-2)


def test_bigbird_in_full_attention_is_read_at_any_length_p50() -> None:
    def build() -> PreTrainedModel:
        return small("big_bird", block_size=8, attention_type="original_full")

    (rows,) = rows_of(model_of(build()), 120)
    assert_alike(rows, eager_alone(build, 120))


@pytest.mark.parametrize(
    ("name", "sizes", "most"),
    [
        ("bigbird_pegasus", {}, 44),
        ("reformer", {}, 40),
        ("llama4_text", {"attention_chunk_size": 40}, 40),
    ],
)
def test_texts_beyond_the_block_length_are_refused_by_name_p50(
    name: str, sizes: dict[str, Any], most: int
) -> None:
    model = model_of(small(name, **sizes))
    rows_of(model, most)
    with pytest.raises(SelectorError, match=rf"from {most + 1} on small attends"):
        rows_of(model, most + 1)


def test_ordinary_networks_have_no_rules() -> None:
    for name in ("bert", "bart", "gpt2", "llama", "mistral", "t5"):
        assert length_rules(tiny_network(name)) == LengthRules()
