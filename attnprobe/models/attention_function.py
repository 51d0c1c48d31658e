"""The attention function that transformers calls, and the attention weights that it computes.

It is registered with transformers under the name `attnprobe`. It returns what SDPA returns. For the
layers and query rows that a forward is watched for, it also computes
`softmax(q_row Kᵀ · scale + bias)` in float32, and it ends the forward behind the last of them. Of a
layer whose rows are all read, it returns what these weights make of the values.

A call is known by the path of its module and by how often that module was called before, not by
`layer_idx`, which some networks do not set and others share.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from attnprobe.core.errors import MeasureError, ModelError
from attnprobe.core.sites import Head, SiteName

NAME = "attnprobe"
Edit = Callable[[Tensor], Tensor]
"""Replaces the output `[batch, queries, heads, depth]` of an attention call."""
ReadWhole = Callable[[Tensor, Tensor | None], None]
"""Gets the rows `[batch, heads, queries, keys]` of a call, and the mass of a learned sink."""

ROW_SUM_TOLERANCE = 1e-4
LEAK_TOLERANCE = 1e-6

# `_HANDLED` keywords change a row and are taken into account. `_HARMLESS` ones change none: the
# sliding window and packed positions are in the mask already, the others are bookkeeping.
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

    def to(self, device: torch.device) -> Traced:
        """The same on another device."""
        sink = None if self.sink is None else self.sink.to(device)
        return replace(self, weights=self.weights.to(device), sink=sink)


class _Stop(Exception):
    """Ends a forward when its last wanted row is captured."""


@dataclass
class Watch:
    """What one forward is asked for, and what it has given so far.

    Attributes:
        paths: path of each module of the network, by its identity.
        batch: number of samples.
        rows: row indices `[batch, rows]` of the calls that are wanted; None for all rows of all.
        last: the call behind which the forward ends; None to run to the end.
        edits: replace the outputs of calls.
        whole: get all rows of calls, of which none is kept.
        eager: whether the network computes eager attention, where it has such a function.
        counts: how often each module was called.
        seen: what the wanted calls computed.
    """

    paths: Mapping[int, str]
    batch: int
    rows: Mapping[Call, Tensor] | None = None
    last: Call | None = None
    edits: Mapping[Call, Edit] = field(default_factory=dict)
    whole: Mapping[Call, ReadWhole] = field(default_factory=dict)
    eager: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    seen: list[Traced] = field(default_factory=list)

    def begin(self, module: nn.Module) -> Call:
        """Counts a call of a module."""
        path = self.paths.get(id(module))
        if path is None:
            raise ModelError(f"{type(module).__name__} computes attention outside of its network")
        call = Call(path, self.counts[path])
        self.counts[path] += 1
        return call

    def wanted(self, call: Call, query: Tensor) -> Tensor | None:
        """Row indices `[batch, rows]` that a call must compute; None where it need not."""
        if self.rows is None:
            return torch.arange(query.shape[2], device=query.device).expand(self.batch, -1)
        rows = self.rows.get(call)
        return None if rows is None else rows.to(query.device)

    def missed(self) -> list[Call]:
        """The calls that were asked for and never happened."""
        asked = (*(self.rows or ()), *self.whole, *self.edits)
        return [call for call in asked if self.counts[call.path] <= call.nth]


current_watch: ContextVar[Watch | None] = ContextVar("attnprobe_watch", default=None)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Forwards in this block are watched; one that ends behind its last call ends the block."""
    token = current_watch.set(watch)
    try:
        yield
    except _Stop:
        pass
    finally:
        current_watch.reset(token)


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
        ModelError: a keyword that may change the rows in an unknown way.
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
        attention_mask = _mask_all_but(indices, attention_mask, query, key, causal=causal)
    watch = current_watch.get()
    edit: Edit | None = None
    whole: Tensor | None = None
    if watch is not None:
        call = watch.begin(module)
        rows = watch.wanted(call, query)
        if rows is not None:
            weights, sink = attention_weights(
                query, key, attention_mask, rows, scaling=scaling, causal=causal, **kwargs
            )
            window = kwargs.get("sliding_window")
            watch.seen.append(Traced(call, weights, sink, query.shape[2], window))
        if call in watch.whole:
            whole, sink = attention_weights(
                query, key, attention_mask, None, scaling=scaling, causal=causal, **kwargs
            )
            watch.whole[call](whole, sink)
        if call == watch.last:
            raise _Stop
        edit = watch.edits.get(call)
    # SDPA has neither caps nor sinks; the network brings a function of its own that has.
    needed = any(kwargs.get(name) is not None for name in ("softcap", "s_aux", "sinks"))
    eager = None
    if needed or (watch is not None and watch.eager):
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    result: tuple[Tensor, Tensor | None]
    if eager is not None:
        mask = _additive_mask(attention_mask, query, key, causal=causal)
        result = eager(module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)
    elif needed:
        raise ModelError(f"{type(module).__name__} has no eager_attention_forward to fall back to")
    elif whole is not None:
        # SDPA would compute these weights again.
        result = _output(whole, value), None
    else:
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
    output, returned = result
    return (output if edit is None else edit(output)), returned


def _output(weights: Tensor, value: Tensor) -> Tensor:
    """The output `[batch, queries, heads, depth]` of an attention call with these weights."""
    batch, heads, queries, keys = weights.shape
    grouped = weights.to(value.dtype).reshape(batch, value.shape[1], -1, keys)
    return (grouped @ value).reshape(batch, heads, queries, -1).transpose(1, 2).contiguous()


def _mask_all_but(
    indices: Tensor, mask: Tensor | None, query: Tensor, key: Tensor, *, causal: bool
) -> Tensor:
    """The additive mask that also hides all keys but those at `indices`.

    Args:
        indices: `[batch, queries, chosen]`, as sparse attention chooses them.
    """
    batch, _, queries, _ = query.shape
    if indices.dim() != 3 or indices.shape[:2] != (batch, queries):
        raise ModelError(f"sparse attention of an unknown shape: indices {list(indices.shape)}")
    hidden = torch.ones(batch, queries, key.shape[2], dtype=torch.bool, device=query.device)
    hidden.scatter_(2, indices.long(), False)
    given = _additive_mask(mask, query, key, causal=causal)
    if given is None:
        given = torch.zeros((), dtype=query.dtype, device=query.device)
    return torch.where(hidden[:, None], torch.finfo(query.dtype).min, given)


def _additive_mask(
    mask: Tensor | None, query: Tensor, key: Tensor, *, causal: bool
) -> Tensor | None:
    """The mask that eager attention adds to its scores."""
    if mask is None and causal:
        mask = torch.ones(
            query.shape[2], key.shape[2], dtype=torch.bool, device=query.device
        ).tril()[None, None]
    if mask is None or mask.dtype != torch.bool:
        return mask
    zero = torch.zeros((), dtype=query.dtype, device=query.device)
    return torch.where(mask, zero, torch.finfo(query.dtype).min)


def attention_weights(
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
    """Attention weights of some rows, and the mass that a learned sink takes of each.

    Args:
        rows: query positions `[batch, rows]`; None for every row.

    Returns:
        float32 `[batch, heads, rows, keys]` and `[batch, heads, rows]`; None without a sink.
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
        scores += pick_rows(position_bias, rows).float()
    if mask is not None:
        seen = pick_rows(mask, rows)[..., :keys]
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
        sink = pick_rows(sinks, rows).float()
    else:
        return scores.softmax(dim=-1), None
    both = torch.cat([scores, sink], dim=-1).softmax(dim=-1)
    return both[..., :-1], both[..., -1]


def pick_rows(table: Tensor, rows: Tensor | None) -> Tensor:
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


def check_rows(
    site: SiteName,
    layer: int,
    weights: Tensor,
    sink: Tensor | None,
    *,
    real: Tensor | None = None,
    keys: Tensor | None = None,
    future: Tensor | None = None,
) -> None:
    """Raises MeasureError where rows are not distributions over the keys that they may see.

    Half precision rounds each weight by up to eps / 2 of it, and a row's sum by no more.

    Args:
        weights, sink: as in `Traced`, or of the number type that the network returns.
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
    sums = weights.sum(dim=-1, dtype=torch.float32)
    rounding = torch.finfo(weights.dtype).eps / 2
    refuse(~sums.isfinite(), lambda *_: "attention weights are NaN or Inf; check the model weights")
    whole = sums if sink is None else sums + sink
    refuse(
        (whole - 1).abs() > ROW_SUM_TOLERANCE + rounding,
        lambda *at: f"a row of attention weights sums to {float(whole[at]):.6g} instead of 1",
    )
    if keys is not None and not bool(keys.all()):
        mass = weights @ (~keys).to(weights.dtype)[:, None, :, None]
        refuse(mass[..., 0] > LEAK_TOLERANCE, lambda *_: "attention weight on padding")
    if future is not None:
        later = torch.arange(weights.shape[3], device=weights.device) > future[:, :, None]
        mass = (weights * later[:, None]).sum(dim=-1)
        refuse(mass > LEAK_TOLERANCE, lambda *_: "attention weight on a later position")
