"""Networks with quantised weights: what of them is quantised, and by which library.

Read from the modules and tensors of the network itself, since a configuration may say otherwise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.models.extras import require

_TORCH_AO = "torch.ao.nn.quantized"
_QUANTO = "optimum.quanto"
# In the name of a class of tensors: Int8Tensor, Float8Tensor, NF4Tensor.
_FORMAT = re.compile(r"(u?int|float|nf|fp)(\d+)")
# The packages that others are installed by.


class Scheme(NamedTuple):
    """How a module is quantised.

    Attributes:
        numbers: the number type of its weights, such as `int8`.
        library: that quantised them.
        activations: whether its input is quantised as well, by a scale that depends on it.
    """

    numbers: str
    library: str
    activations: bool = False

    def __str__(self) -> str:
        and_activations = " and activations" if self.activations else ""
        return f"{self.numbers} weights{and_activations} ({self.library})"


def quantises_activations(network: nn.Module) -> bool:
    """Whether numbers of a text depend on the texts beside it, by scales taken from all of them."""
    schemes = map(_scheme, network.modules())
    return any(scheme.activations for scheme in schemes if scheme)


def has_quanto(network: nn.Module) -> bool:
    """Whether layers of a network are those of quanto."""
    return any(type(module).__module__.startswith(_QUANTO) for module in network.modules())


def describe_quantised(network: PreTrainedModel) -> str | None:
    """What of a network is quantised: `int8 weights (torchao), 36 of 38 linear layers`.

    Returns:
        None where nothing is.
    """
    quantised: dict[Scheme, Counter[str]] = {}
    all_layers: Counter[str] = Counter()
    for module in network.modules():
        scheme = _scheme(module)
        kind = _kind(module) or ("other layers" if scheme else None)
        if kind:
            all_layers[kind] += 1
            if scheme:
                quantised.setdefault(scheme, Counter())[kind] += 1
    if not quantised:
        return _by_configuration(network)
    return "; ".join(
        f"{scheme}, "
        + " and ".join(f"{count} of {all_layers[kind]} {kind}" for kind, count in counts.items())
        for scheme, counts in quantised.items()
    )


def _by_configuration(network: PreTrainedModel) -> str | None:
    """What the configuration says, where transformers quantised a network in an unknown way."""
    if getattr(network, "hf_quantizer", None) is None:
        return None
    return f"quantised ({_method(network.config.quantization_config)})"


def _kind(module: nn.Module) -> str | None:
    """Which kind of layer a module is, whether quantised or not; None for one without a matrix."""
    name = type(module).__name__
    if "Embedding" in name and isinstance(getattr(module, "num_embeddings", None), int):
        return "embeddings"
    linear = "Linear" in name and not name.endswith("PackedParams")
    return "linear layers" if linear or name == "Conv1D" else None


def _scheme(module: nn.Module) -> Scheme | None:
    """How the weights of a module are quantised; None where they are plain numbers."""
    kind = type(module)
    if kind.__module__.startswith(_TORCH_AO):
        return _scheme_of_torch_ao(module)
    if kind.__module__.startswith(_QUANTO):
        return _scheme_of_quanto(module)
    if kind.__module__.startswith("bitsandbytes") and "Linear" in kind.__name__:
        eight = "8bit" in kind.__name__  # LLM.int8 scales the inputs as well
        return Scheme("int8" if eight else "4-bit", "bitsandbytes", activations=eight)
    for weight in module.parameters(recurse=False):
        if is_packed(weight):
            return _scheme_of_torchao(weight)
    return None


def _scheme_of_torch_ao(module: nn.Module) -> Scheme | None:
    if not isinstance(getattr(module, "_packed_params", None), nn.Module):
        return None  # what packs the parameters of a layer, or no layer with weights
    packed: Any = module._packed_params
    return Scheme(
        _format(packed.dtype), "torch.ao", activations=packed.dtype in (torch.qint8, torch.quint8)
    )


def _scheme_of_quanto(module: nn.Module) -> Scheme | None:
    weights = getattr(module, "weight_qtype", None)
    if weights is None:
        return None
    activations = getattr(module, "activation_qtype", None) is not None
    return Scheme(str(weights.name).removeprefix("q"), "quanto", activations=activations)


def _scheme_of_torchao(weight: Any) -> Scheme:
    name = type(weight).__name__
    target = getattr(weight, "target_dtype", None)
    found = _FORMAT.search(name.lower())
    numbers = _format(target) if target else found[0] if found else "quantised"
    activations = "Activation" in name or any(
        getattr(weight, attribute, None) is not None
        for attribute in ("act_quant_kwargs", "activation_quantization")
    )
    return Scheme(numbers, "torchao", activations=activations)


def _format(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.").removeprefix("q")


def check_library(settings: Mapping[str, Any], folder: Path) -> None:
    """Raises ModelError where a folder's configuration names a library that is missing."""
    given = settings.get("quantization_config")
    method = _method(given) if given else None
    if method == "torchao":
        require(method, f"{folder} is quantised by {method} and")


def check_quantiser(network: PreTrainedModel, folder: Path) -> None:
    """Raises ModelError where transformers took quantised weights for plain numbers."""
    given = getattr(network.config, "quantization_config", None)
    if given is not None and getattr(network, "hf_quantizer", None) is None:
        raise ModelError(
            f"{folder} is quantised by {_method(given)!r}, which transformers does not know; save "
            "it as another library quantises it, such as torchao"
        )


def compute_in(network: nn.Module, dtype: torch.dtype) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Lets quantised weights compute in a number type, whatever type they were quantised from.

    Returns:
        The modules and names of the weights that this replaced, and these.
    """
    replaced = [
        (module, name, weight)
        for module in network.modules()
        for name, weight in module.named_parameters(recurse=False)
        if is_packed(weight) and weight.dtype != dtype
    ]
    for module, name, weight in replaced:
        # A new parameter: what a packed one holds inside is not changed by its `data`.
        setattr(module, name, nn.Parameter(weight.detach().to(dtype), requires_grad=False))
    return replaced


def is_packed(weight: torch.Tensor) -> bool:
    """Whether a tensor of torchao holds others: quantised values, scales."""
    return type(weight).__module__.startswith("torchao")


def _method(given: Any) -> str:
    """The name of the method in a `quantization_config`, which may be transformers' own object."""
    table = given if isinstance(given, Mapping) else vars(given)
    method = table.get("quant_method")
    return str(getattr(method, "value", method))
