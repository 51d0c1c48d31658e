"""Networks in memory are left as they were found, and measured with the weights of the moment."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

import attnprobe
from attnprobe.core.errors import ModelError
from attnprobe.core.needs import Ablation, Need, Prediction
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model
from attnprobe.models.forward import configurations
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.tiny_lm import headed

TEXT = Sample("The keys near the cabinet are old.")
KINDS = ("bert", "gpt2", "marian", "t5")


def model_of(network: Any) -> Model:
    start = network.config.model_type not in ("marian", "t5")
    return attnprobe.from_network(network, tiny_tokenizer(start=start), name="mine")


def sample(model: Model) -> Sample:
    return Sample(TEXT.text, "Sie sind alt.") if "cross" in model.sites else TEXT


def rows(model: Model) -> list[np.ndarray]:
    text = sample(model)
    needs = [
        Need(text, name, site.layers, tuple(range(len(model.encode(text).queries(name)))))
        for name, site in model.sites.items()
    ]
    return [found.weights[layer] for found in model.collect(needs) for layer in found.weights]


def state(network: Any) -> list[Any]:
    """All that a measurement must leave as it is."""
    hooks = [
        (name, list(table.items()))
        for module in network.modules()
        for name, table in vars(module).items()
        if "hooks" in name and isinstance(table, dict)
    ]
    return [
        [(name, module.training) for name, module in network.named_modules()],
        [
            (name, id(weight), weight.requires_grad, weight._version, weight.data_ptr())
            for name, weight in network.named_parameters()
        ],
        [None if weight.grad is None else weight.grad.clone() for weight in network.parameters()],
        [(name, value.clone()) for name, value in network.state_dict().items()],
        hooks,
        [config._attn_implementation for config in configurations(network)],
        [config.to_dict() for config in configurations(network)],
        [sorted(vars(module)) for module in network.modules()],
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002
        torch.get_rng_state(),
        torch.is_grad_enabled(),
    ]


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor | np.ndarray):
        return bool((left == right).all())
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def as_in_training(architecture: str) -> Any:
    """A network in the middle of a training: dropout, frozen weights, gradients, hooks."""
    network = tiny_network(architecture)
    network.train()
    for name, module in network.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
        if "layers.0" in name or "layer.0" in name:
            module.training = False
    for place, weight in enumerate(network.parameters()):
        weight.requires_grad_(place % 3 > 0)
        weight.grad = torch.ones_like(weight) if place % 3 == 1 else None
    network.config._attn_implementation = "eager"
    return network


def watched(network: Any) -> list[tuple[bool, bool]]:
    """A user's forward hook, which notes the mode of each forward, and draws random numbers."""
    seen: list[tuple[bool, bool]] = []

    def hook(module: nn.Module, *_: Any) -> None:
        seen.append((module.training, torch.is_grad_enabled()))
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002

    kinds = nn.LayerNorm | nn.Dropout
    first = next(module for module in network.modules() if isinstance(module, kinds))
    first.register_forward_hook(hook)
    return seen


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("architecture", KINDS)
def test_a_network_is_left_as_it_was_found(architecture: str) -> None:
    network = as_in_training(architecture)
    seen = watched(network)
    before = state(network)
    model = model_of(network)
    assert same(state(network), before)
    plain = copy.deepcopy(network)
    plain.train(False)
    expected = rows(model_of(plain))
    for found, right in zip(rows(model), expected, strict=True):
        np.testing.assert_array_equal(found, right)  # no dropout
    assert same(state(network), before)
    assert seen
    assert set(seen) == {(False, False)}


@pytest.mark.parametrize("architecture", KINDS)
def test_so_it_is_when_an_error_is_raised_in_the_middle(architecture: str) -> None:
    network = as_in_training(architecture)
    model = model_of(network)
    middle = [
        module for module in network.modules() if isinstance(module, nn.LayerNorm | nn.Linear)
    ]
    handle = middle[2].register_forward_pre_hook(failing)
    before = state(network)
    with pytest.raises(ZeroDivisionError):
        rows(model)
    assert same(state(network), before)
    with pytest.raises(ZeroDivisionError):
        model_of(network)
    assert same(state(network), before)
    handle.remove()


def failing(*_: Any) -> None:
    torch.rand(1)
    raise ZeroDivisionError


def test_the_snapshot_sees_each_change() -> None:
    network = as_in_training("bert")
    last = [*network.modules()][-1]
    changes: list[Callable[[], object]] = [
        network.eval,
        lambda: next(network.parameters()).requires_grad_(True),
        lambda: last.register_forward_hook(failing),
        lambda: setattr(network.config, "_attn_implementation", "sdpa"),
        lambda: setattr(next(network.parameters()), "grad", torch.zeros(261, 32)),
        lambda: next(network.parameters()).data.add_(1),
        random.random,
        np.random.rand,
        lambda: torch.rand(1),
    ]
    for place, change in enumerate(changes):
        before = state(network)
        change()
        assert not same(state(network), before), place


# What training changes ----------------------------------------------------------------------------


def step(network: Any) -> None:
    """A step of an optimizer, and one that the counters of torch do not see."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.data.mul_(0.9)


@pytest.mark.parametrize("architecture", KINDS)
def test_each_measurement_sees_the_weights_of_the_moment(architecture: str) -> None:
    network = tiny_network(architecture)
    model = model_of(network)
    first, digest = rows(model), model.weights_sha256
    step(network)
    second, fresh = rows(model), model_of(network)
    assert any(not np.array_equal(*pair) for pair in zip(first, second, strict=True))
    for found, right in zip(second, rows(fresh), strict=True):
        np.testing.assert_array_equal(found, right)
    assert digest != model.weights_sha256 == fresh.weights_sha256


def test_means_of_heads_are_those_of_the_weights_of_the_moment() -> None:
    network = headed("gpt2")
    model = model_of(network)
    ablation = Ablation("decoder", (Head(0, 1),), "mean", (Sample("Another text."),))
    asked = [Prediction(TEXT, Span(26, 29), ablation=ablation)]
    (first,) = model.read_out(asked)
    step(network)
    assert model.read_out(asked) == model_of(network).read_out(asked) != [first]


def test_a_model_says_where_its_network_is_now() -> None:
    network = tiny_network("bert")
    model = model_of(network)
    network.to(torch.bfloat16)
    assert (model.device, model.dtype) == ("cpu", "bfloat16")


# What trainers put on a network -------------------------------------------------------------------


@pytest.fixture
def no_accelerator() -> Iterator[None]:
    """accelerate keeps the number type of a process's first accelerator, such as a Trainer's."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_autocast_of_accelerate_and_of_the_caller_is_left_out(no_accelerator: None) -> None:
    expected = rows(model_of(tiny_network("gpt2")))
    network = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(tiny_network("gpt2"))
    forward = network.forward
    model = model_of(network)
    with torch.autocast("cpu", torch.bfloat16):
        found = rows(model)
        assert torch.is_autocast_enabled("cpu")
    for ours, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, right)
    assert network.forward is forward


def test_gradient_checkpointing_and_its_hook_do_no_harm() -> None:
    network = tiny_network("llama").train()
    expected = rows(model_of(copy.deepcopy(network)))
    network.activation_checkpointing_enable()
    network.enable_input_require_grads()
    before = state(network)
    for ours, right in zip(rows(model_of(network)), expected, strict=True):
        np.testing.assert_array_equal(ours, right)
    assert same(state(network), before)


def test_from_network_refuses_what_is_none() -> None:
    with pytest.raises(ModelError, match="a Linear is no network of transformers"):
        attnprobe.from_network(nn.Linear(2, 2), tiny_tokenizer(), name="mine")
