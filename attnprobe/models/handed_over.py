"""Networks that a program hands over: taken out of what wraps them, or refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from os import PathLike
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from attnprobe.core.errors import ModelError
from attnprobe.models.placement import first_unreachable, stored

# The attribute in which a wrapper holds its network: torch.compile, pipelines, data parallelism.
_WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}
# Methods of peft whose layers inside of the network compute what their merged weights do.
ADAPTERS = ("LORA", "ADALORA", "IA3", "LOHA", "LOKR", "OFT", "VERA")
# Options of LoRA by which the adapter acts on some tokens alone.
_BY_TEXT = ("alora_invocation_tokens", "arrow_config")
# The classes of weights of which a process has a part only; those of DeepSpeed have an attribute.
_SHARDED = ("DTensor", "FlatParameter")
# What networks take besides texts, and the inputs without which they do not run.
_TAKEN = {"image": "pictures", "video": "videos", "audio": "sound", "time": "series of numbers"}
_OTHER_INPUTS = ("pixel_values", "pixel_values_videos", "input_features", "input_values", "inputs")
_TEXT_CLASSIFIERS = frozenset(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values())


def unwrapped(given: Any) -> PreTrainedModel:
    """The network of transformers inside of `torch.compile`, `DataParallel`, a pipeline, or kin.

    Of a SentenceTransformer it is the network of its first module, of a model of peft the base with
    the layers of its adapters in it, of an encoder-decoder that classifies texts its body.

    Raises:
        ModelError: there is no such network, or its weights cannot be read or do not all count.
    """
    inner: Any = given
    while inner is not None:
        given = inner
        _check_adapters(given)
        inner = _inner(given)
    kind = type(given).__name__
    if isinstance(given, str | PathLike):
        raise ModelError(
            f"{str(given)!r} is a reference, not a network: load it with attnprobe.load"
        )
    if not isinstance(given, PreTrainedModel):
        raise ModelError(
            f"a {kind} is no network of transformers; hand over a PreTrainedModel, such as "
            "AutoModel.from_pretrained returns"
        )
    _check_weights(given)
    if given.config.is_encoder_decoder and type(given).__name__ in _TEXT_CLASSIFIERS:
        # It finds the end of each text by a token that a batch may lack; its body does without.
        return cast(PreTrainedModel, given.base_model)
    return given


def _inner(given: Any) -> Any:
    """What a wrapper holds; None where it is none."""
    for kind in type(given).__mro__:
        if kind.__name__ in _WRAPPERS:
            return getattr(given, _WRAPPERS[kind.__name__], None)
    if hasattr(given, "peft_config") and not isinstance(given, PreTrainedModel):
        # A PeftModel holds a tuner, and that the network; attributes of both lead further down.
        return getattr(given._modules.get("base_model", given), "model", None)
    if isinstance(given, nn.Sequential) and len(given):
        return getattr(given[0], "auto_model", None)  # a SentenceTransformer, or a CrossEncoder
    if not isinstance(given, nn.Module):
        # A pipeline, or a CrossEncoder of older versions.
        model = getattr(given, "model", None)
        return model if isinstance(model, nn.Module) else None
    return None


def _check_adapters(given: Any) -> None:
    """Raises ModelError where adapters of peft do more than change layers of the network."""
    configs = getattr(given, "peft_config", None)
    for name, config in configs.items() if isinstance(configs, dict) else ():
        method = str(getattr(config.peft_type, "value", config.peft_type))
        start = f"the adapter {name!r} of the {type(given).__name__}"
        if getattr(config, "is_prompt_learning", False):
            raise ModelError(
                f"{start} puts trained tokens beside each text ({method}), which are no words of "
                "it; only adapters that change layers are measured"
            )
        option = next((option for option in _BY_TEXT if getattr(config, option, None)), None)
        if method not in ADAPTERS or option:
            raise ModelError(
                f"{start} is of a kind that is not measured ({option or method}), only "
                f"{', '.join(ADAPTERS)} without {' or '.join(_BY_TEXT)}; hand over what its "
                "merge_and_unload() returns, where it has one"
            )


def _check_weights(network: PreTrainedModel) -> None:
    """Raises ModelError where weights are elsewhere."""
    kind = type(network).__name__
    lost = first_unreachable(network)
    if lost is not None:
        raise ModelError(
            f"{kind} is offloaded without a hook that loads its weights, or they were never "
            f"loaded: {lost} is on the meta device; load the network with device_map"
        )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if hasattr(tensor, "ds_id") or type(tensor).__name__ in _SHARDED:
            raise ModelError(
                f"{kind} is divided among processes (FSDP, ZeRO or tensor parallelism, in {name}), "
                "and no process can run it alone; hand over the gathered network"
            )


def named_class(architectures: Any) -> Any:
    """The class of transformers that a configuration's `architectures` name first, else None."""
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    kind = getattr(transformers, name, None) if isinstance(name, str) else None
    return kind if isinstance(kind, type) and issubclass(kind, PreTrainedModel) else None


def check_takes_text(network: PreTrainedModel, name: str) -> None:
    """Raises ModelError where a network takes no tokens of a text alone."""
    kind = type(network).__name__
    taken = network.input_modalities
    kinds = {taken} if isinstance(taken, str) else set(taken)
    others = [word for modality, word in _TAKEN.items() if modality in kinds]
    if network.config.model_type == "canine":
        raise ModelError(f"{name} takes characters, not tokens ({kind}); attnprobe reads tokens")
    if "text" not in kinds or network.main_input_name in _OTHER_INPUTS:
        raise ModelError(
            f"{name} takes {' and '.join(others) or 'no text'} ({kind}); attnprobe reads texts"
        )
    if hasattr(network, "get_text_features") and others:
        raise ModelError(
            f"{name} takes {' and '.join(others)} beside the text ({kind}); measure its text model "
            "alone, such as CLIPTextModel"
        )


def network_sha256(network: nn.Module) -> str:
    """SHA-256 of the names and values of a network's state, and of how its adapters act."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + b"\0")
        waits = isinstance(value, Tensor) and value.is_meta
        for part in _parts(stored(network, name) if waits else value):
            digest.update(part)
    for name, module in network.named_modules():
        if hasattr(module, "active_adapters") and hasattr(module, "base_layer"):
            # None of this is in the state: which adapters act, and how much.
            acting = (module.active_adapters, module.disable_adapters, module.merged_adapters)
            scaling = getattr(module, "scaling", None)
            digest.update(repr((name, acting, scaling)).encode())
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    """The bytes of an entry of a state; of quantised weights, those of all tensors they pack."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    elif not isinstance(value, Tensor):
        yield repr(value).encode()
    elif hasattr(value, "__tensor_flatten__"):
        names, context = value.__tensor_flatten__()
        yield repr((names, context)).encode()
        for name in names:
            yield from _parts(getattr(value, name))
    else:
        plain = value.dequantize() if value.is_quantized else value
        yield plain.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
