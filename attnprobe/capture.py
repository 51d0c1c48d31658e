"""Attention rows of a transformers network, read while it runs at full speed.

One attention function is registered with transformers under the name `attnprobe`. It returns what
SDPA returns and, only for the layers and query rows that are wanted in this forward, computes
`softmax(q_row Kᵀ · scale + bias)` in float32. The forward stops at the last wanted layer.

Sites are addressed by module path and call number, not by `layer_idx`, which some networks do not
set and others share. A network is busy while `capture` or `layout` runs on it: its configuration
names another attention implementation until they return.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from attnprobe.errors import MeasureError, ModelError
from attnprobe.network_state import preserved
from attnprobe.records import SITES, Floats, Head, Site, SiteName

__all__ = [
    "Call",
    "Edit",
    "Layout",
    "Padding",
    "See",
    "Wanted",
    "batch_inputs",
    "capture",
    "configurations",
    "eager",
    "head_sums",
    "is_encoder_decoder",
    "layout",
    "position_offset",
    "predict",
    "replace_heads",
    "returned_weights",
    "segment_count",
    "site_masks",
    "survey",
    "trace",
]

NAME = "attnprobe"
Padding = Literal["right", "left"]
Edit = Callable[[Tensor], Tensor]
"""What becomes of an attention call's output `[batch, queries, heads, depth]`."""
See = Callable[[int, Tensor], None]
"""What is told of a layer: its number, and its whole maps `[batch, heads, target, source]`."""
Wanted = Mapping[tuple[SiteName, int], Sequence[Sequence[int]]]
"""For each site and layer, the wanted target positions of each sample of the batch."""

# What the code of a network raises where it cannot do what is asked of it.
_FAILURES = (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)
ROW_SUM_TOLERANCE = 1e-4
LEAK_TOLERANCE = 1e-6

# Keywords that change a row are handled below. These change none: dropout is off outside training,
# a sliding window and packed positions have already gone into the mask, the others are bookkeeping.
_HANDLED = frozenset({"position_bias", "softcap", "s_aux", "sinks", "indices"})
_HARMLESS = frozenset(
    {
        "sliding_window",
        "input_ids",
        "position_ids",
        "cache_position",
        "deterministic",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "return_dict",
        "use_cache",
    }
)


@dataclass(frozen=True)
class Call:
    """One attention call of a forward: which module, and which of its calls, from 0."""

    path: str
    nth: int


@dataclass(frozen=True, eq=False)
class Traced:
    """What one attention call computed.

    Attributes:
        weights: float32 `[batch, heads, rows, keys]`.
        sink: float32 `[batch, heads, rows]`, the mass that a learned sink takes; None without one.
        queries: number of query positions of the call.
        window: how many positions a row sees on one side, itself included; None for all.
    """

    call: Call
    weights: Tensor
    sink: Tensor | None
    queries: int
    window: int | None = None


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


class _Stop(Exception):
    """Ends a forward when its last wanted row is captured."""


@dataclass
class _Watch:
    """What one forward is asked for, and what it has given so far."""

    paths: Mapping[int, str]
    batch: int
    rows: Mapping[Call, Tensor] | None
    last: Call | None
    edits: Mapping[Call, Edit] = field(default_factory=dict)
    whole: Mapping[Call, Callable[[Tensor, Tensor | None], None]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    seen: list[Traced] = field(default_factory=list)

    def begin(self, module: nn.Module) -> Call:
        path = self.paths.get(id(module))
        if path is None:
            raise ModelError(f"{type(module).__name__} computes attention outside of its network")
        call = Call(path, self.counts[path])
        self.counts[path] += 1
        return call

    def wanted(self, call: Call, query: Tensor) -> Tensor | None:
        """Row indices `[batch, rows]`; without a plan every row, None where no row is wanted."""
        if self.rows is None:
            return torch.arange(query.shape[2], device=query.device).expand(self.batch, -1)
        return self.rows.get(call)


_watch: ContextVar[_Watch | None] = ContextVar("attnprobe_watch", default=None)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that transformers calls: SDPA's output, and rows on the side.

    Args:
        query: `[batch, heads, queries, depth]`.
        key, value: `[batch, key heads, keys, depth]`.
        attention_mask: bool (True: seen) or additive float, `[batch, 1 or heads, queries, keys]`.

    Raises:
        ModelError: a keyword that is not known to leave the rows as they are.
    """
    unknown = sorted(
        name
        for name, given in kwargs.items()
        if given is not None and name not in _HANDLED and name not in _HARMLESS
    )
    if unknown:
        raise ModelError(
            f"{type(module).__name__} gives its attention a {unknown[0]!r}, which attnprobe cannot "
            "take into account"
        )
    # As in sdpa_attention_forward: a mask says all, and one query alone sees everything.
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    causal = causal and attention_mask is None and query.shape[2] > 1
    # Sparse attention masks by itself under the names eager and sdpa alone.
    indices = kwargs.pop("indices", None)
    if indices is not None:
        attention_mask = _only(indices, attention_mask, query, key, causal=causal)
    watch = _watch.get()
    edit: Edit | None = None
    if watch is not None:
        call = watch.begin(module)
        rows = watch.wanted(call, query)
        if rows is not None:
            weights, sink = _weights(
                query, key, attention_mask, rows, scaling=scaling, causal=causal, **kwargs
            )
            window = kwargs.get("sliding_window")
            watch.seen.append(Traced(call, weights, sink, query.shape[2], window))
        if call in watch.whole:
            watch.whole[call](
                *_weights(
                    query, key, attention_mask, None, scaling=scaling, causal=causal, **kwargs
                )
            )
        if call == watch.last:
            raise _Stop
        edit = watch.edits.get(call)
    result: tuple[Tensor, Tensor | None]
    if all(kwargs.get(name) is None for name in ("softcap", "s_aux", "sinks")):
        result = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **kwargs,
        )
    else:
        # SDPA has neither caps nor sinks; the network brings a function of its own that has.
        own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        if own is None:
            raise ModelError(
                f"{type(module).__name__} has no eager_attention_forward to fall back to"
            )
        mask = _additive(attention_mask, query, key, causal=causal)
        result = own(module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)
    output, own_weights = result
    return (output if edit is None else edit(output)), own_weights


def _only(
    indices: Tensor, mask: Tensor | None, query: Tensor, key: Tensor, *, causal: bool
) -> Tensor:
    """The additive mask, with all keys hidden but those at `indices` `[batch, queries, chosen]`."""
    batch, _, queries, _ = query.shape
    if indices.dim() != 3 or indices.shape[:2] != (batch, queries):
        raise ModelError(f"sparse attention of an unknown shape: indices {list(indices.shape)}")
    hidden = torch.ones(batch, queries, key.shape[2], dtype=torch.bool, device=query.device)
    hidden.scatter_(2, indices.long(), False)
    given = _additive(mask, query, key, causal=causal)
    if given is None:
        given = torch.zeros((), dtype=query.dtype, device=query.device)
    return torch.where(hidden[:, None], torch.finfo(query.dtype).min, given)


def _additive(mask: Tensor | None, query: Tensor, key: Tensor, *, causal: bool) -> Tensor | None:
    """The mask that eager attention adds to its scores."""
    if mask is None and causal:
        mask = torch.ones(
            query.shape[2], key.shape[2], dtype=torch.bool, device=query.device
        ).tril()[None, None]
    if mask is None or mask.dtype != torch.bool:
        return mask
    zero = torch.zeros((), dtype=query.dtype, device=query.device)
    return torch.where(mask, zero, torch.finfo(query.dtype).min)


def _weights(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    *,
    scaling: float | None,
    causal: bool,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sinks: Tensor | None = None,
    **_harmless: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention weights of the rows `[batch, rows]`, and what a learned sink takes of each.

    Args:
        rows: None for every row.
    """
    odd = rows is not None and query.shape[0] != rows.shape[0]
    if query.dim() != 4 or key.dim() != 4 or odd:
        raise ModelError(f"attention of an unknown shape: queries {list(query.shape)}")
    batch, heads, count, depth = query.shape
    key_heads, keys = key.shape[1], key.shape[2]
    floor = torch.finfo(torch.float32).min
    picked = query
    if rows is not None:
        count = rows.shape[1]
        picked = query.gather(2, rows[:, None, :, None].expand(-1, heads, -1, depth))
    # Query heads of a group lie side by side, so a group is one taller matrix: no repeated keys.
    grouped = picked.float().reshape(batch, key_heads, heads // key_heads * count, depth)
    scores = (grouped @ key.float().transpose(2, 3)).reshape(batch, heads, count, keys)
    scores *= depth**-0.5 if scaling is None else scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if position_bias is not None:
        scores += _pick(position_bias, rows).float()
    if mask is not None:
        seen = _pick(mask, rows)[..., :keys]
        if seen.dtype == torch.bool:
            scores.masked_fill_(~seen, floor)
        else:
            scores += seen.float()
    elif causal:
        every = torch.arange(max(count, keys), device=query.device)
        later = every[:keys] > (every[:count] if rows is None else rows)[..., None, :, None]
        scores.masked_fill_(later, floor)
    # A row without any visible key is padding: finite, so that it does not turn into NaN.
    scores.clamp_(min=floor)
    if s_aux is not None:  # one logit a head
        sink = s_aux.float().reshape(1, -1, 1, 1).expand(batch, heads, count, 1)
    elif sinks is not None:  # one logit a head and query
        sink = _pick(sinks, rows).float()
    else:
        return scores.softmax(dim=-1), None
    both = torch.cat([scores, sink], dim=-1).softmax(dim=-1)
    return both[..., :-1], both[..., -1]


def _pick(table: Tensor, rows: Tensor | None) -> Tensor:
    """Rows of `[1 or batch, heads, 1 or queries, keys]` as `[batch, heads, rows, keys]`."""
    table = table[(None,) * (4 - table.dim())]
    if rows is None or table.shape[2] == 1:
        return table
    table = table.expand(rows.shape[0], -1, -1, -1)
    index = rows[:, None, :, None].expand(-1, table.shape[1], -1, table.shape[3])
    return table.gather(2, index)


AttentionInterface.register(NAME, attention)
# Without its mask twin a registered function silently loses padding and causality.
AttentionMaskInterface.register(NAME, sdpa_mask)


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
def _running(network: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Evaluation mode without gradients and with this attention; all restored afterwards.

    What the network changes in itself while it runs is restored as well.
    """
    # Set directly: set_attn_implementation refuses networks that declare no SDPA, such as gpt_oss.
    before = [(config, config._attn_implementation) for config in configurations(network)]
    training = [module for module in network.modules() if module.training]
    try:
        network.train(False)
        for config, _ in before:
            config._attn_implementation_internal = implementation
        with torch.inference_mode(), preserved(network, configurations(network)):
            yield
    finally:
        for config, former in before:
            config._attn_implementation_internal = former
        for module in training:
            module.training = True


def _accepts(network: PreTrainedModel) -> frozenset[str]:
    return frozenset(inspect.signature(network.forward).parameters)


def _takes_segments(network: PreTrainedModel) -> bool:
    return "token_type_ids" in _accepts(network)


def segment_count(network: PreTrainedModel) -> int | None:
    """How many segments the network has embeddings for; None where that is no limit."""
    if not _takes_segments(network):
        return None
    count = getattr(network.config.get_text_config(), "type_vocab_size", None)
    return count if isinstance(count, int) and count > 0 else None


def is_encoder_decoder(network: PreTrainedModel) -> bool:
    return bool(getattr(network.config, "is_encoder_decoder", False))


def _call(network: PreTrainedModel, inputs: Mapping[str, Tensor], **flags: Any) -> Any:
    accepted = _accepts(network)
    if "use_cache" in accepted:
        flags["use_cache"] = False
    return network(**{name: value for name, value in inputs.items() if name in accepted}, **flags)


def _watched(
    network: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    rows: Mapping[Call, Tensor] | None,
    last: Call | None = None,
    whole: Mapping[Call, Callable[[Tensor, Tensor | None], None]] | None = None,
) -> _Watch:
    paths = {id(module): path for path, module in network.named_modules()}
    watch = _Watch(paths, inputs["input_ids"].shape[0], rows, last, whole=whole or {})
    token = _watch.set(watch)
    try:
        with _running(network, NAME):
            _call(network, inputs)
    except _Stop:
        pass
    finally:
        _watch.reset(token)
    return watch


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
            them; a network that takes none is given none.
    """
    device = next(network.parameters()).device

    def pad(ids: Sequence[Sequence[int]], fill: int = pad_id) -> tuple[Tensor, Tensor]:
        width = max(map(len, ids))
        table = torch.full((len(ids), width), fill)
        mask = torch.zeros_like(table)
        for index, one in enumerate(ids):
            place = slice(0, len(one)) if padding == "right" else slice(width - len(one), width)
            table[index, place] = torch.tensor(one)
            mask[index, place] = 1
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
    """The first position of a text: 0, but padding_idx + 1 for RoBERTa and its kin."""
    for path, module in network.named_modules():
        if path.endswith("position_embeddings") and type(module) is nn.Embedding:
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def trace(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> list[Traced]:
    """Every attention call of one forward with all its rows, in the order of the calls.

    Raises:
        ModelError: the network gives its attention something that cannot be taken into account.
    """
    return _watched(network, inputs, None).seen


def eager(
    network: PreTrainedModel, inputs: Mapping[str, Tensor], *, alone: SiteName = "encoder"
) -> dict[SiteName, list[Tensor]]:
    """The network's own eager weights: for each site and layer `[batch, heads, target, source]`.

    Args:
        alone: the name of the only site of a network that is no encoder-decoder.

    Raises:
        ModelError: the network returns no weights.
    """
    with _running(network, "eager"):
        if any(hasattr(module, "set_attention_type") for module in network.modules()):
            # BigBird replaces its attention modules in its first forward on a short text. The hooks
            # that record weights must be put on the new ones.
            _call(network, inputs)
        outputs = _call(network, inputs, output_attentions=True)
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
        found[site] = [layer.float() for layer in layers]
    return found


def _attention_layers(network: PreTrainedModel, returned: Sequence[Any]) -> list[Any]:
    """What a hybrid stack returns, without the layers that have no attention weights.

    Those return None, or decays of linear attention, which are no weights on positions.
    """
    kinds = getattr(network.config.get_text_config(), "layer_types", None) or ()
    if len(kinds) != len(returned):
        kinds = [""] * len(returned)
    pairs = zip(returned, kinds, strict=True)
    return [one for one, kind in pairs if one is not None and kind != "linear_attention"]


def _form(weights: object) -> tuple[int, ...]:
    """Batch, target and source length of `[batch, heads, target, source]`; else nothing."""
    if not isinstance(weights, Tensor) or weights.dim() != 4:
        return ()
    return weights.shape[0], weights.shape[2], weights.shape[3]


def _is_causal(weights: Tensor) -> bool:
    # NaN says nothing here, and is refused by name afterwards.
    return not bool(weights.nan_to_num().triu(1).any())


def layout(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Layout:
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
    except (ModelError, *_FAILURES) as error:
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
                _check(site, number, one.weights, one.sink)
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
    except _FAILURES as error:
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
            _check(site, number, one, None)
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


def capture(
    network: PreTrainedModel, where: Layout, inputs: Mapping[str, Tensor], wanted: Wanted
) -> dict[tuple[SiteName, int], list[Floats]]:
    """The wanted rows of a batch, in one forward that stops after the last of them.

    Args:
        where: the network's `layout`.
        inputs: from `batch_inputs`.
        wanted: positions count in each sample's own tokens, padding left out.

    Returns:
        For each site and layer, for each sample read-only float32 `[heads, rows, source]`.

    Raises:
        MeasureError: a row that is no distribution over the keys that it may see.
    """
    masks = {site: site_masks(site, inputs) for site, _ in wanted}
    rows = {
        (site, layer): _pad_rows(positions, masks[site][0])
        for (site, layer), positions in wanted.items()
    }
    if where.served == "eager":
        full = eager(network, inputs, alone=next(iter(where.sites)))
        taken = {
            (site, layer): Traced(Call(site, layer), _pick(full[site][layer], index), None, 0)
            for (site, layer), (index, _) in rows.items()
        }
    else:
        indices = {where.calls[key]: index for key, (index, _) in rows.items()}
        last = max(indices, key=where.order.index)
        seen = {one.call: one for one in _watched(network, inputs, indices, last).seen}
        missing = [call for call in indices if call not in seen]
        if missing:
            raise ModelError(f"{type(network).__name__} did not call {missing[0].path} this time")
        taken = {key: seen[where.calls[key]] for key in rows}
        for (site, layer), one in taken.items():
            queries, keys = masks[site]
            if (one.queries, one.weights.shape[3]) != (queries.shape[1], keys.shape[1]):
                raise ModelError(
                    f"{type(network).__name__} splits a text of {queries.shape[1]} tokens at "
                    f"{site} layer {layer}; attnprobe reads one position a token"
                )
    result: dict[tuple[SiteName, int], list[Floats]] = {}
    for (site, layer), one in taken.items():
        index, real = rows[site, layer]
        _, keys = masks[site]
        future = index if where.sites[site].causal else None
        _check(site, layer, one.weights, one.sink, real=real, keys=keys, future=future)
        result[site, layer] = _unpad(one.weights, real, keys)
    return result


def survey(
    network: PreTrainedModel,
    where: Layout,
    inputs: Mapping[str, Tensor],
    site: SiteName,
    see: See,
) -> None:
    """Hands the whole maps of every layer of a site to `see`, in one forward that keeps none.

    Rows and columns of padding are there as well, and mean nothing. The forward stops after the
    site's last layer.

    Raises:
        MeasureError: a row that is no distribution over the keys that it may see.
    """
    real, keys = site_masks(site, inputs)
    future = None
    if where.sites[site].causal:
        future = torch.arange(real.shape[1], device=real.device).expand_as(real)

    def show(layer: int, weights: Tensor, sink: Tensor | None) -> None:
        if weights.shape[2:] != (real.shape[1], keys.shape[1]):
            raise ModelError(
                f"{type(network).__name__} splits a text of {real.shape[1]} tokens at {site} layer "
                f"{layer}; attnprobe reads one position a token"
            )
        _check(site, layer, weights, sink, real=real, keys=keys, future=future)
        see(layer, weights)

    layers = where.sites[site].layers
    if where.served == "eager":
        found = eager(network, inputs, alone=next(iter(where.sites)))[site]
        for layer in layers:
            show(layer, found[layer], None)
        return
    whole = {where.calls[site, layer]: partial(show, layer) for layer in layers}
    last = max(whole, key=where.order.index)
    counts = _watched(network, inputs, {}, last, whole).counts
    missing = [call for call in whole if counts[call.path] <= call.nth]
    if missing:
        raise ModelError(f"{type(network).__name__} did not call {missing[0].path} this time")


def replace_heads(chosen: Tensor, by: Tensor | None = None) -> Edit:
    """An edit that puts zeros, or the vectors `by`, in the place of some heads' outputs.

    What a head gives is replaced before the output projection; behind it, heads are mixed.

    Args:
        chosen: bool `[batch, heads]`.
        by: `[heads, depth]`.
    """

    def edit(output: Tensor) -> Tensor:
        _check_output(output, chosen.shape[1])
        other = torch.zeros((), device=output.device) if by is None else by
        return torch.where(chosen[:, None, :, None], other.to(output.dtype), output)

    return edit


def _check_output(output: Tensor, heads: int) -> None:
    if output.dim() != 4 or output.shape[2] != heads:
        raise ModelError(
            f"attention with an output of an unknown shape {list(output.shape)}; heads cannot be "
            "ablated in it"
        )


def head_sums(
    network: PreTrainedModel,
    where: Layout,
    inputs: Mapping[str, Tensor],
    layers: Sequence[tuple[SiteName, int]],
) -> dict[tuple[SiteName, int], tuple[Tensor, int]]:
    """What each head of some layers gives, summed over all tokens of a batch.

    Returns:
        For each site and layer float64 `[heads, depth]`, and the number of tokens.
    """
    found: dict[tuple[SiteName, int], tuple[Tensor, int]] = {}

    def summing(site: SiteName, layer: int) -> Edit:
        real, _ = site_masks(site, inputs)

        def edit(output: Tensor) -> Tensor:
            _check_output(output, where.sites[site].heads[layer])
            found[site, layer] = (output[real].double().sum(dim=0), int(real.sum()))
            return output

        return edit

    edits = {where.calls[key]: summing(*key) for key in layers}
    _edited(network, network, inputs, edits)
    return found


def predict(
    head: PreTrainedModel,
    body: PreTrainedModel,
    where: Layout,
    inputs: Mapping[str, Tensor],
    edits: Mapping[tuple[SiteName, int], Edit],
    *,
    positions: Sequence[int],
) -> Tensor:
    """Logits `[batch, positions, vocabulary]` of a network whose heads' outputs are edited.

    Args:
        head: the network with its language-model head.
        body: the part of it, or all of it, that `where` is the layout of.
        positions: in the padded batch.

    Raises:
        ModelError: the network returns no logits.
    """
    keep = torch.tensor(positions, device=inputs["input_ids"].device)
    limited = "logits_to_keep" in _accepts(head)
    by_call = {where.calls[key]: edit for key, edit in edits.items()}
    flags = {"logits_to_keep": keep} if limited else {}
    logits = getattr(_edited(head, body, inputs, by_call, **flags), "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise ModelError(f"{type(head).__name__} returns no logits of words")
    return logits if limited else logits[:, keep]


def final_states(
    network: PreTrainedModel,
    where: Layout,
    inputs: Mapping[str, Tensor],
    edits: Mapping[tuple[SiteName, int], Edit],
) -> Tensor:
    """Final hidden states `[batch, tokens, width]` of a network whose heads' outputs are edited.

    Raises:
        ModelError: the network returns no hidden states.
    """
    by_call = {where.calls[key]: edit for key, edit in edits.items()}
    base: Any = network.base_model
    states = getattr(_edited(base, network, inputs, by_call), "last_hidden_state", None)
    if not isinstance(states, Tensor) or states.dim() != 3:
        raise ModelError(f"{type(base).__name__} returns no hidden states of its tokens")
    return states


def _edited(
    head: PreTrainedModel,
    body: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    edits: Mapping[Call, Edit],
    **flags: Any,
) -> Any:
    paths = {id(module): path for path, module in body.named_modules()}
    watch = _Watch(paths, inputs["input_ids"].shape[0], {}, None, edits)
    token = _watch.set(watch)
    try:
        with _running(head, NAME):
            outputs = _call(head, inputs, **flags)
    finally:
        _watch.reset(token)
    missing = [call for call in edits if watch.counts[call.path] <= call.nth]
    if missing:
        raise ModelError(f"{type(head).__name__} did not call {missing[0].path} this time")
    return outputs


def site_masks(site: SiteName, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Which query and which key positions `[batch, length]` of a site are real tokens."""
    source = inputs["attention_mask"].bool()
    if "decoder_attention_mask" not in inputs or site == "encoder":
        return source, source
    target = inputs["decoder_attention_mask"].bool()
    return target, (source if site == "cross" else target)


def _pad_rows(positions: Sequence[Sequence[int]], mask: Tensor) -> tuple[Tensor, Tensor]:
    """Row indices `[batch, rows]` in the padded batch, filled with row 0, and which are real."""
    index = torch.zeros(len(positions), max(map(len, positions)), dtype=torch.long)
    real = torch.zeros_like(index, dtype=torch.bool)
    starts = mask.int().argmax(dim=1).tolist()
    for sample, (one, start) in enumerate(zip(positions, starts, strict=True)):
        index[sample, : len(one)] = torch.tensor(one, dtype=torch.long) + start
        real[sample, : len(one)] = True
    return index.to(mask.device), real.to(mask.device)


def _unpad(weights: Tensor, real: Tensor, keys: Tensor) -> list[Floats]:
    table = weights.cpu().numpy()
    table.flags.writeable = False
    counts = real.sum(dim=1).tolist()
    starts = keys.int().argmax(dim=1).tolist()
    lengths = keys.sum(dim=1).tolist()
    return [
        table[sample, :, :count, start : start + length]
        for sample, (count, start, length) in enumerate(zip(counts, starts, lengths, strict=True))
    ]


def _check(
    site: SiteName,
    layer: int,
    weights: Tensor,
    sink: Tensor | None,
    *,
    real: Tensor | None = None,
    keys: Tensor | None = None,
    future: Tensor | None = None,
) -> None:
    """Refuses rows that are no distribution over the keys that they may see.

    Args:
        real: `[batch, rows]`, rows that are not filling; all without it.
        keys: `[batch, keys]`, columns that are not padding.
        future: `[batch, rows]`, the padded position of each row; later columns must be empty.
    """

    def refuse(bad: Tensor, what: Callable[[int, int, int], str]) -> None:
        """`bad` is `[batch, heads, rows]`."""
        if real is not None:
            bad = bad & real[:, None]
        if bool(bad.any()):
            sample, head, row = bad.nonzero()[0].tolist()
            raise MeasureError(f"{site} {Head(layer, head)}: {what(sample, head, row)}")

    # A row with any NaN or Inf has a sum that is not finite.
    sums = weights.sum(dim=-1)
    refuse(~sums.isfinite(), lambda *_: "attention weights are NaN or Inf; check the model weights")
    whole = sums if sink is None else sums + sink
    refuse(
        (whole - 1).abs() > ROW_SUM_TOLERANCE,
        lambda *at: f"a row of attention weights sums to {float(whole[at]):.6g} instead of 1",
    )
    if keys is not None and not bool(keys.all()):
        mass = weights @ (~keys).float()[:, None, :, None]
        refuse(mass[..., 0] > LEAK_TOLERANCE, lambda *_: "attention weight on padding")
    if future is not None:
        later = torch.arange(weights.shape[3], device=weights.device) > future[:, :, None]
        mass = (weights * later[:, None]).sum(dim=-1)
        refuse(mass > LEAK_TOLERANCE, lambda *_: "attention weight on a later position")
