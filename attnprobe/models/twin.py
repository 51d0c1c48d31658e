"""A random-initialised twin of a model: what its architecture and its words do by themselves."""

from __future__ import annotations

import copy

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel

from attnprobe.models.model import Model

__all__ = ["random_twin"]


def random_twin(model: Model, *, seed: int) -> Model:
    """A model of the same configuration and tokenizer, its weights as before any training.

    The same seed gives the same twin.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: PreTrainedModel = AutoModel.from_config(copy.deepcopy(model.network.config))
    weight = next(model.network.parameters())
    placed: nn.Module = network
    placed.to(device=weight.device, dtype=weight.dtype).train(False)
    return Model.of(
        network,
        model.tokenizer,
        name=f"{model.name}, random-init",
        batch_tokens=model.batch_tokens,
        check=False,
    )
