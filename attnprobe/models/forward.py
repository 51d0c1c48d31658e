"""Forwards of a network: their inputs, and the state in which the network runs them.

A network is busy while a forward runs: its configuration names another attention implementation
until it returns.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from attnprobe.core.errors import ModelError
from attnprobe.core.sites import SITES, SiteName
from attnprobe.models.attention_function import NAME, Call, Edit, ReadWhole, Traced, Watch, watching
from attnprobe.models.network_state import preserved, random_state_kept
from attnprobe.models.placement import device_of, is_offloaded
from attnprobe.models.quantised import has_quanto, quantises_activations

Padding = Literal["right", "left"]


def configurations(network: PreTrainedModel) -> list[PreTrainedConfig]:
    """Every configuration that a module of the network may read."""
    found: dict[int, PreTrainedConfig] = {}

    def add(config: object) -> None:
        if isinstance(config, PreTrainedConfig) and id(config) not in found:
            found[id(config)] = config
            for name in config.sub_configs:
                add(getattr(config, name, None))

    for module in network.modules():
        add(getattr(module, "config", None))
    return list(found.values())


@contextmanager
def running(network: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Puts a network into evaluation mode, without gradients, with this attention implementation.

    Weights compute in their own number type, also where training lowers the precision. Afterwards
    the network is as it was, including what it changed in itself while it ran, and so are the
    random generators.
    """
    # Set directly: set_attn_implementation refuses networks that declare no SDPA, such as gpt_oss.
    configs = configurations(network)
    before = [(config, config._attn_implementation) for config in configs]
    training = [module for module in network.modules() if module.training]
    try:
        network.train(False)
        for config, _ in before:
            config._attn_implementation_internal = implementation
        with (
            random_state_kept(network),
            _without_gradients(network),
            _uncompiled(),
            preserved(network, configs),
            _in_own_precision(network),
        ):
            yield
    finally:
        for config, former in before:
            config._attn_implementation_internal = former
        for module in training:
            module.training = True


def _without_gradients(network: PreTrainedModel) -> AbstractContextManager[Any]:
    """Inference mode, which the 4-bit weights of quanto cannot run in."""
    return torch.no_grad() if has_quanto(network) else torch.inference_mode()


@contextmanager
def _in_own_precision(network: PreTrainedModel) -> Iterator[None]:
    """Runs a block without autocast: that of the caller, and that which accelerate puts on.

    The network's forward stays replaced; `preserved` puts it back.
    """
    own = vars(network).get("_original_forward")  # where accelerate keeps it
    if own is not None:
        network.forward = own
    with torch.autocast(device_of(network).type, enabled=False):
        yield


def _uncompiled() -> AbstractContextManager[None]:
    """Runs compiled networks as they were: a watched forward would be compiled for every text."""
    if "torch._dynamo" not in sys.modules:  # which is slow to import, and compiles all networks
        return nullcontext()
    forced: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return forced


def accepted_inputs(network: PreTrainedModel) -> frozenset[str]:
    """Names of the arguments that a network's forward takes."""
    return frozenset(inspect.signature(network.forward).parameters)


def _takes_segments(network: PreTrainedModel) -> bool:
    return "token_type_ids" in accepted_inputs(network)


def segment_count(network: PreTrainedModel) -> int | None:
    """How many segments the network has embeddings for; None where that is no limit."""
    if not _takes_segments(network):
        return None
    count = getattr(network.config.get_text_config(), "type_vocab_size", None)
    return count if isinstance(count, int) and count > 0 else None


def is_encoder_decoder(network: PreTrainedModel) -> bool:
    """Whether a network reads a source text and a target text."""
    # The configuration of an encoder alone, such as T5EncoderModel, speaks of the whole model.
    has_decoder = "decoder_input_ids" in accepted_inputs(network)
    return has_decoder and bool(getattr(network.config, "is_encoder_decoder", False))


def call_network(network: PreTrainedModel, inputs: Mapping[str, Tensor], **flags: Any) -> Any:
    """Runs a forward on those of the inputs that the network takes, without a cache."""
    accepted = accepted_inputs(network)
    if "use_cache" in accepted:
        flags["use_cache"] = False
    return network(**{name: value for name, value in inputs.items() if name in accepted}, **flags)


def watch_forward(
    network: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    *,
    rows: Mapping[Call, Tensor] | None = None,
    last: Call | None = None,
    whole: Mapping[Call, ReadWhole] | None = None,
    edits: Mapping[Call, Edit] | None = None,
    head: PreTrainedModel | None = None,
    **flags: Any,
) -> tuple[Watch, Any]:
    """Runs a network with the attention function.

    Args:
        rows, last, whole, edits: as in `Watch`; without `rows` every row of every call is kept.
        head: the network with its language-model head, of which `network` is the body.
        flags: further arguments of the forward.

    Returns:
        What was seen, and the outputs; None for the outputs of a forward that ended early.

    Raises:
        ModelError: a call that is asked for did not happen, or the network gives its attention
            something that cannot be taken into account.
    """
    paths = {id(module): path for path, module in network.named_modules()}
    batch = inputs["input_ids"].shape[0]
    watch = Watch(
        paths,
        batch,
        rows,
        # To its end, where hooks free the weights that they have loaded.
        None if is_offloaded(network) else last,
        edits=edits or {},
        whole=whole or {},
        # Rounding of activations makes tenths of the last bit by which SDPA and eager differ.
        eager=quantises_activations(network),
    )
    run = network if head is None else head
    outputs = None
    with watching(watch), running(run, NAME):
        outputs = call_network(run, inputs, **flags)
    missed = watch.missed()
    if missed:
        raise ModelError(f"{type(run).__name__} did not call {missed[0].path} this time")
    return watch, outputs


def batch_inputs(
    network: PreTrainedModel,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]] | None = None,
    *,
    segments: Sequence[Sequence[int]] = (),
    pad_id: int = 0,
    padding: Padding = "right",
) -> dict[str, Tensor]:
    """Padded input tensors of a forward, on the network's device.

    Args:
        sources: token ids of each sample.
        targets: ids at the decoder's input positions; None for a network without an encoder.
        segments: the segment of each source token (`token_type_ids`), where the tokenizer numbers
            them; networks that take no segments get none.
        padding: the side on which short sequences are filled.
    """
    device = device_of(network)

    def pad(ids: Sequence[Sequence[int]], fill: int = pad_id) -> tuple[Tensor, Tensor]:
        width = max(map(len, ids))
        table = torch.full((len(ids), width), fill)
        mask = torch.zeros_like(table)
        for row, sequence in enumerate(ids):
            start = 0 if padding == "right" else width - len(sequence)
            place = slice(start, start + len(sequence))
            table[row, place] = torch.tensor(sequence)
            mask[row, place] = 1
        return table.to(device), mask.to(device)

    ids, mask = pad(sources)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if any(segments) and _takes_segments(network):
        inputs["token_type_ids"], _ = pad(segments, 0)
    if targets is not None:
        inputs["decoder_input_ids"], inputs["decoder_attention_mask"] = pad(targets)
    elif padding == "left":
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0) + position_offset(network)
    return inputs


def position_offset(network: PreTrainedModel) -> int:
    """The first position of a text: padding_idx + 1 for RoBERTa and its kin, 0 for others."""
    for path, module in network.named_modules():
        if path.endswith("position_embeddings") and type(module) is nn.Embedding:
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def trace(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> list[Traced]:
    """Every attention call of one forward with all its rows, in the order of the calls.

    Raises:
        ModelError: the network gives its attention something that cannot be taken into account.
    """
    return watch_forward(network, inputs)[0].seen


def eager(
    network: PreTrainedModel, inputs: Mapping[str, Tensor], *, alone: SiteName = "encoder"
) -> dict[SiteName, list[Tensor]]:
    """The network's own eager weights: for each site and layer `[batch, heads, target, source]`.

    They have the number type in which the network returns them.

    Args:
        alone: the name of the only site of a network that is no encoder-decoder.

    Raises:
        ModelError: the network returns no weights.
    """
    with running(network, "eager"):
        if any(hasattr(module, "set_attention_type") for module in network.modules()):
            # BigBird replaces its attention modules in its first forward on a short text. The hooks
            # that record weights must be put on the new ones.
            call_network(network, inputs)
        outputs = call_network(network, inputs, output_attentions=True)
    return returned_weights(network, outputs, inputs, alone=alone)


def returned_weights(
    network: PreTrainedModel,
    outputs: Any,
    inputs: Mapping[str, Tensor],
    *,
    alone: SiteName = "encoder",
) -> dict[SiteName, list[Tensor]]:
    """The attention weights in a network's outputs, for the sites and layers that have some.

    Args:
        outputs: of a forward with `output_attentions`.
        inputs: the attention masks of that forward.
        alone: as in `eager`.

    Raises:
        ModelError: the network returned no weights.
    """
    fields: dict[SiteName, str] = {alone: "attentions"}
    if is_encoder_decoder(network):
        fields = {site: f"{site}_attentions" for site in SITES}
    found: dict[SiteName, list[Tensor]] = {}
    for site, name in fields.items():
        layers = _attention_layers(network, getattr(outputs, name, None) or ())
        queries, keys = site_masks(site, inputs)
        form = (*queries.shape, keys.shape[1])
        if not layers or any(_form(layer) != form for layer in layers):
            raise ModelError(
                f"{type(network).__name__} returns no [target, source] attention weights: "
                f"{name} is empty or of another form; use a model whose transformers code supports "
                'attn_implementation="eager" with output_attentions=True'
            )
        found[site] = [layer.to(queries.device) for layer in layers]
    return found


def _attention_layers(network: PreTrainedModel, returned: Sequence[Any]) -> list[Any]:
    """The returned weights of those layers of a hybrid stack that have attention.

    The other layers return None, or decays of linear attention, which are not weights on positions.
    """
    kinds = getattr(network.config.get_text_config(), "layer_types", None) or ()
    if len(kinds) != len(returned):
        kinds = [""] * len(returned)
    layers = zip(returned, kinds, strict=True)
    return [layer for layer, kind in layers if layer is not None and kind != "linear_attention"]


def _form(weights: object) -> tuple[int, ...]:
    """Batch, target and source length of weights `[batch, heads, target, source]`, else empty."""
    if not isinstance(weights, Tensor) or weights.dim() != 4:
        return ()
    return weights.shape[0], weights.shape[2], weights.shape[3]


def site_masks(site: SiteName, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Which query and which key positions `[batch, length]` of a site are real tokens."""
    source = inputs["attention_mask"].bool()
    if "decoder_attention_mask" not in inputs or site == "encoder":
        return source, source
    target = inputs["decoder_attention_mask"].bool()
    return target, (source if site == "cross" else target)
