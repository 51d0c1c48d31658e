"""Tiny networks that predict words, and hooks before their output projections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from attnprobe.core.sites import SiteName
from attnprobe.models import Model
from tests.architectures.tiny import tiny_network, tiny_tokenizer

HEADS = {
    "bert": AutoModelForMaskedLM,
    "gpt2": AutoModelForCausalLM,
    "llama": AutoModelForCausalLM,
    "gpt_oss": AutoModelForCausalLM,
    "marian": AutoModelForSeq2SeqLM,
}
# Where the output projection of a layer stands in the network with its head.
PROJECTIONS: dict[tuple[str, SiteName], str] = {
    ("bert", "encoder"): "bert.encoder.layer.{}.attention.output.dense",
    ("gpt2", "decoder"): "transformer.h.{}.attn.c_proj",
    ("llama", "decoder"): "model.layers.{}.self_attn.o_proj",
    ("gpt_oss", "decoder"): "model.layers.{}.self_attn.o_proj",
    ("marian", "encoder"): "model.encoder.layers.{}.self_attn.out_proj",
    ("marian", "decoder"): "model.decoder.layers.{}.self_attn.out_proj",
    ("marian", "cross"): "model.decoder.layers.{}.encoder_attn.out_proj",
}


def headed(architecture: str, **overrides: Any) -> Any:
    """A tiny network with a random head of its kind."""
    body = tiny_network(architecture, **overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = HEADS[architecture].from_config(body.config)
        network.get_output_embeddings().weight.data.normal_(0, 0.3)
    setattr(network, network.base_model_prefix, body)
    network.tie_weights()
    for module in network.modules():
        if hasattr(module, "create_weight"):  # positions that are computed, hence not saved
            module.weight.data.copy_(module.create_weight())
    return network.train(False)


_models: dict[str, Model] = {}


def model(architecture: str) -> Model:
    if architecture not in _models:
        tokenizer = tiny_tokenizer(start=architecture != "marian")
        _models[architecture] = Model.of(headed(architecture), tokenizer, name=architecture)
    return _models[architecture]


@contextmanager
def hooked(
    architecture: str, site: SiteName, layer: int, change: Callable[[Tensor], Tensor | None]
) -> Iterator[None]:
    """Changes what comes into an output projection."""
    path = PROJECTIONS[architecture, site].format(layer)
    projection: nn.Module = model(architecture).network.get_submodule(path)

    def hook(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        changed = change(given[0])
        return None if changed is None else (changed, *given[1:])

    handle = projection.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def depth(architecture: str, site: SiteName) -> int:
    found = model(architecture)
    path = PROJECTIONS[architecture, site].format(0)
    weight = found.network.get_submodule(path).weight
    width = weight.shape[0 if architecture == "gpt2" else 1]
    return int(width // found.sites[site].heads[0])


def put(head: int, size: int, vector: Tensor | float) -> Callable[[Tensor], Tensor]:
    def change(given: Tensor) -> Tensor:
        changed = given.clone()
        changed[..., head * size : (head + 1) * size] = vector
        return changed

    return change
