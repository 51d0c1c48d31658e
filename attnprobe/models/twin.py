"""A randomly initialised twin of a model, which shows what the architecture does by itself."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.models.loading import load_model
from attnprobe.models.model import Model
from attnprobe.models.options import LoadOptions
from attnprobe.models.placement import device_of
from attnprobe.models.threads import use_threads


def random_twin(model: Model, *, seed: int) -> Model:
    """A model of the same configuration and tokenizer with weights as before any training.

    The same seed gives the same twin. Its language-model head is untrained as well, and is drawn at
    the first prediction.

    Raises:
        ModelError: transformers cannot build the network from its configuration alone.
    """

    def build(kind: Any) -> PreTrainedModel:
        return _untrained(kind, model, seed)

    network = build(type(model.network))

    def with_head(kind: Any) -> PreTrainedModel:
        whole = build(kind)
        part = whole.base_model_prefix
        if type(getattr(whole, part, None)) is type(network):
            # A head that is tied to the embeddings is then tied to those of this network.
            setattr(whole, part, network)
            whole.tie_weights()
        return whole

    return model.with_network(
        network, name=f"{model.name}, random-init", check=False, load_head=with_head
    )


def load_with_twin(
    ref: str, options: LoadOptions, *, seed: int | None, threads: int
) -> tuple[Model, Model | None]:
    """A model and its untrained twin, in a process of their own.

    Args:
        seed: of the twin; None makes none.
        threads: that torch uses in this process. The last bits of numbers can depend on it.
    """
    use_threads(threads)
    model = load_model(ref, options)
    return model, None if seed is None else random_twin(model, seed=seed)


def _untrained(kind: Any, model: Model, seed: int) -> PreTrainedModel:
    config = copy.deepcopy(model.network.config)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            make = kind._from_config if issubclass(kind, PreTrainedModel) else kind.from_config
            network: PreTrainedModel = make(config)
    except Exception as error:  # a stranger's configuration can make the parsers raise anything
        raise ModelError(
            f"no untrained twin of {model.name} can be built: {type(error).__name__}: {error}"
        ) from error
    weight = next(model.network.parameters())
    placed: nn.Module = network
    placed.to(device=device_of(model.network), dtype=weight.dtype).train(False)
    return network
