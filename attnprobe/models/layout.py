"""Where in a network each site and layer of attention is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Literal

from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from attnprobe.core.errors import ModelError
from attnprobe.core.sites import SITES, Site, SiteName
from attnprobe.models.attention_function import Call, Traced, check_rows
from attnprobe.models.forward import eager, is_encoder_decoder, trace
from attnprobe.models.memory import is_out_of_memory

# The code of a network raises these where it cannot do what it is asked to.
NETWORK_FAILURES = (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Layout:
    """Where in a network each site and layer is computed.

    Attributes:
        calls: the attention call of each site and layer, where the attention function serves it.
        order: all attention calls of a forward, in the order in which they happen.
        served: how weights are read: by the attention function, or from the network's own eager
            weights.
        reason: why the attention function cannot read them, else empty.
    """

    sites: Mapping[SiteName, Site]
    calls: Mapping[tuple[SiteName, int], Call] = field(default_factory=dict)
    order: tuple[Call, ...] = ()
    served: Literal["function", "eager"] = "function"
    reason: str = ""


def _is_causal(network: PreTrainedModel, weights: Tensor) -> bool:
    if not bool(weights.isfinite().all()):
        # `check_rows` refuses NaN, and names the site that the network's kind has.
        return network.config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return not bool(weights.triu(1).any())


def find_layout(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Layout:
    """Finds the sites and layers of a network in one short unpadded forward.

    Args:
        inputs: one sample of at least three tokens. Source and target of an encoder-decoder must
            differ in length, since their lengths tell its sites apart.

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
        for traced in seen:
            found.setdefault(_site_name(network, traced, source, target), []).append(traced)
    except (ModelError, *NETWORK_FAILURES) as error:
        if is_out_of_memory(error):
            raise
        return _eager_layout(network, inputs, str(error))
    missing = [site for site in SITES if site not in found]
    if not seen or (target is not None and missing):
        part = f" its {missing[0]} attention" if seen else ""
        reason = f"{type(network).__name__} does not dispatch{part} through AttentionInterface"
        return _eager_layout(network, inputs, reason)
    if target is None and all(_is_causal(network, traced.weights) for traced in seen):
        found = {"decoder": seen}
    sites: dict[SiteName, Site] = {}
    calls: dict[tuple[SiteName, int], Call] = {}
    for name in SITES:
        if name in found:
            numbers = _layer_numbers([traced.call for traced in found[name]])
            layers = dict(sorted(zip(numbers, found[name], strict=True), key=itemgetter(0)))
            sites[name] = _site(network, name, layers)
            calls.update({(name, number): traced.call for number, traced in layers.items()})
    return Layout(sites, calls, tuple(traced.call for traced in seen))


def _site(network: PreTrainedModel, name: SiteName, layers: Mapping[int, Traced]) -> Site:
    """The site that these layers make up.

    Raises:
        ModelError: a sliding window of no token.
        MeasureError: weights that are no distribution, such as NaN.
    """
    causal = name != "cross" and all(
        _is_causal(network, layer.weights) for layer in layers.values()
    )
    windows: dict[int, int] = {}
    for number, layer in layers.items():
        check_rows(name, number, layer.weights, layer.sink)
        window = window_of(network, number, causal, layer.window)
        # A window counts tokens of one text, so it means nothing across two.
        if window is not None and name != "cross":
            windows[number] = window
    return Site(
        name,
        {number: layer.weights.shape[1] for number, layer in layers.items()},
        causal,
        windows,
        frozenset(number for number, layer in layers.items() if layer.sink is not None),
    )


def _site_name(
    network: PreTrainedModel, traced: Traced, source: int, target: int | None
) -> SiteName:
    """The site of an attention call, by its numbers of queries and keys.

    Args:
        source, target: tokens of the text, and of the target of an encoder-decoder.
    """
    shape = (traced.queries, traced.weights.shape[3])
    if shape == (source, source):
        return "encoder"
    if target is not None and shape == (target, target):
        return "decoder"
    if target is not None and shape == (target, source):
        return "cross"
    raise ModelError(
        f"{type(network).__name__} computes attention of {shape[0]} × {shape[1]} positions at "
        f"{traced.call.path} for {source} tokens; attnprobe reads one position a token"
    )


def _layer_numbers(calls: Sequence[Call]) -> list[int]:
    """The number of each call's layer: the one in its path that differs, else the call's own."""
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
    """The layout of a network that is read from its eager weights.

    Args:
        reason: why the attention function cannot read it.
    """
    try:
        found = eager(network, inputs)
    except ModelError as error:
        raise ModelError(f"{error}. The fast path is closed too: {reason}") from None
    except NETWORK_FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{type(network).__name__} cannot return its attention weights: {error}. The fast "
            f"path is closed too: {reason}"
        ) from error
    if not is_encoder_decoder(network) and all(
        _is_causal(network, layer) for layer in found["encoder"]
    ):
        found = {"decoder": found["encoder"]}
    depth = getattr(network.config.get_text_config(), "num_hidden_layers", None)
    if len(found) == 1 and depth is not None and depth != len(next(iter(found.values()))):
        raise ModelError(
            f"{type(network).__name__} has {depth} layers but returns attention weights of "
            f"{len(next(iter(found.values())))}, and {reason}; attnprobe cannot tell which they are"
        )
    sites = {
        name: _site(
            network,
            name,
            {
                number: Traced(Call(name, number), layer, None, 0)
                for number, layer in enumerate(site)
            },
        )
        for name, site in found.items()
    }
    return Layout(sites, served="eager", reason=reason)


def window_of(network: PreTrainedModel, layer: int, causal: bool, given: int | None) -> int | None:
    """Positions that a layer with a sliding window sees on one side, the row itself included.

    Args:
        given: the window that the layer handed to its attention; without it the configuration
            decides.

    Raises:
        ModelError: a window of no token.
    """
    # As a plain table: attributes of some configurations raise where layers differ.
    config = network.config.get_text_config().to_dict()
    common = config.get("sliding_window")
    window = given
    if given is None:
        window = common
        for kinds, local, size in (
            ("layer_types", "sliding_attention", common),
            ("attention_layers", "local", config.get("window_size")),  # gpt_neo
        ):
            found = config.get(kinds) or ()
            if layer < len(found):
                window = size if found[layer] == local else None
    if window is not None and window < 1:
        raise ModelError(
            f"{type(network).__name__} has a sliding window of {window} tokens in layer {layer}, "
            "so no row sees a token; mend its configuration (sliding_window: null for none)"
        )
    # transformers counts the row itself where rows look back, and not where they look both ways;
    # ModernBERT's layers have added it themselves.
    return window + 1 if window is not None and not causal and window == common else window
