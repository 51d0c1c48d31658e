"""Where in a network each site and layer of attention is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor
from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.core.sites import SITES, Site, SiteName
from attnprobe.models.attention_function import Call, Traced, check_rows
from attnprobe.models.forward import eager, is_encoder_decoder, trace

# What the code of a network raises where it cannot do what is asked of it.
NETWORK_FAILURES = (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Layout:
    """Where in a network each site and layer is computed.

    Attributes:
        order: all attention calls of a forward, in the order in which they happen.
        served: by the attention function, or from the network's own eager weights.
        reason: why it is not the attention function, else empty.
    """

    sites: Mapping[SiteName, Site]
    calls: Mapping[tuple[SiteName, int], Call] = field(default_factory=dict)
    order: tuple[Call, ...] = ()
    served: Literal["function", "eager"] = "function"
    reason: str = ""


def _is_causal(weights: Tensor) -> bool:
    # NaN says nothing here, and is refused by name afterwards.
    return not bool(weights.nan_to_num().triu(1).any())


def find_layout(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Layout:
    """Finds the sites and layers of a network in one short unpadded forward.

    Args:
        inputs: one sample of at least three tokens; of an encoder-decoder source and target must
            differ in length, which is how its sites are told apart.

    Raises:
        ModelError: attention that cannot be read, with the way out.
        MeasureError: weights that are no distribution, such as NaN.
    """
    source = inputs["input_ids"].shape[1]
    target = inputs["decoder_input_ids"].shape[1] if is_encoder_decoder(network) else None
    if source < 3 or source == target:
        raise ModelError(f"cannot tell the sites of a model apart by lengths {source} and {target}")
    try:
        seen = trace(network, inputs)
        found: dict[SiteName, list[Traced]] = {}
        for one in seen:
            found.setdefault(_site_of(network, one, source, target), []).append(one)
    except (ModelError, *NETWORK_FAILURES) as error:
        return _eager_layout(network, inputs, str(error))
    missing = [site for site in SITES if site not in found]
    if not seen or (target is not None and missing):
        part = f" its {missing[0]} attention" if seen else ""
        reason = f"{type(network).__name__} does not dispatch{part} through AttentionInterface"
        return _eager_layout(network, inputs, reason)
    if target is None and all(_is_causal(one.weights) for one in seen):
        found = {"decoder": seen}
    sites: dict[SiteName, Site] = {}
    calls: dict[tuple[SiteName, int], Call] = {}
    for site in SITES:
        if site in found:
            numbers = _layer_numbers([one.call for one in found[site]])
            numbered = sorted(zip(numbers, found[site], strict=True), key=lambda pair: pair[0])
            causal = site != "cross" and all(_is_causal(one.weights) for one in found[site])
            heads = {number: one.weights.shape[1] for number, one in numbered}
            # A window counts tokens of one text, so it means nothing across two.
            own = numbered if site != "cross" else []
            windows = {number: _window(network, number, causal, one.window) for number, one in own}
            told = {number: window for number, window in windows.items() if window is not None}
            sinks = frozenset(number for number, one in numbered if one.sink is not None)
            sites[site] = Site(site, heads, causal, told, sinks)
            for number, one in numbered:
                calls[site, number] = one.call
                check_rows(site, number, one.weights, one.sink)
    return Layout(sites, calls, tuple(one.call for one in seen))


def _site_of(network: PreTrainedModel, one: Traced, source: int, target: int | None) -> SiteName:
    shape = (one.queries, one.weights.shape[3])
    if shape == (source, source):
        return "encoder"
    if target is not None and shape == (target, target):
        return "decoder"
    if target is not None and shape == (target, source):
        return "cross"
    raise ModelError(
        f"{type(network).__name__} computes attention of {shape[0]} × {shape[1]} positions at "
        f"{one.call.path} for {source} tokens; attnprobe reads one position a token"
    )


def _layer_numbers(calls: Sequence[Call]) -> list[int]:
    """The number in the paths that tells the layers apart, else the running number of the call."""
    parts = [call.path.split(".") for call in calls]
    numbers = [tuple(int(part) for part in path if part.isdigit()) for path in parts]
    running = list(range(len(calls)))
    if len({call.path for call in calls}) < len(calls) or len(set(map(len, numbers))) != 1:
        return running
    columns = list(zip(*numbers, strict=True))
    varying = [column for column in columns if len(set(column)) > 1] or columns[:1]
    if len(varying) != 1 or len(set(varying[0])) != len(calls):
        return running
    return list(varying[0])


def _eager_layout(network: PreTrainedModel, inputs: Mapping[str, Tensor], reason: str) -> Layout:
    try:
        found = eager(network, inputs)
    except ModelError as error:
        raise ModelError(f"{error}. The fast path is closed too: {reason}") from None
    except NETWORK_FAILURES as error:
        raise ModelError(
            f"{type(network).__name__} cannot return its attention weights: {error}. The fast "
            f"path is closed too: {reason}"
        ) from error
    if not is_encoder_decoder(network) and all(map(_is_causal, found["encoder"])):
        found = {"decoder": found["encoder"]}
    depth = getattr(network.config.get_text_config(), "num_hidden_layers", None)
    if len(found) == 1 and depth is not None and depth != len(next(iter(found.values()))):
        raise ModelError(
            f"{type(network).__name__} has {depth} layers but returns attention weights of "
            f"{len(next(iter(found.values())))}, and {reason}; attnprobe cannot tell which they are"
        )
    sites: dict[SiteName, Site] = {}
    for site, layers in found.items():
        causal = site != "cross" and all(map(_is_causal, layers))
        heads = {number: one.shape[1] for number, one in enumerate(layers)}
        windows = {number: _window(network, number, causal) for number in heads}
        told = {number: window for number, window in windows.items() if window is not None}
        sites[site] = Site(site, heads, causal, told)
        for number, one in enumerate(layers):
            check_rows(site, number, one, None)
    return Layout(sites, served="eager", reason=reason)


def _window(
    network: PreTrainedModel, layer: int, causal: bool, told: int | None = None
) -> int | None:
    """How far a layer with a sliding window sees on one side, the row's own position included.

    Args:
        told: what the layer gave its attention; without it the configuration says.
    """
    # As a plain table: some configurations refuse to tell one value for all layers.
    config = network.config.get_text_config().to_dict()
    common = config.get("sliding_window")
    window = told
    if told is None:
        window = common
        for kinds, local, size in (
            ("layer_types", "sliding_attention", common),
            ("attention_layers", "local", config.get("window_size")),  # gpt_neo
        ):
            found = config.get(kinds) or ()
            if layer < len(found):
                window = size if found[layer] == local else None
    # transformers counts the row itself where rows look back, and not where they look both ways;
    # ModernBERT's layers have added it themselves.
    return window + 1 if window is not None and not causal and window == common else window
