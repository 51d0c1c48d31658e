"""Attention rows of a network, read while it runs at full speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import ModelError
from attnprobe.core.sites import SiteName
from attnprobe.models.attention_function import Call, Traced, check_rows, pick_rows
from attnprobe.models.forward import eager, site_masks, watch_forward
from attnprobe.models.layout import Layout

See = Callable[[int, Tensor], None]
"""Gets the number of a layer, and its whole maps `[batch, heads, target, source]`."""
Wanted = Mapping[tuple[SiteName, int], Sequence[Sequence[int]]]
"""For each site and layer, the wanted target positions of each sample of the batch."""


def capture(
    network: PreTrainedModel, where: Layout, inputs: Mapping[str, Tensor], wanted: Wanted
) -> dict[tuple[SiteName, int], list[Floats]]:
    """The wanted rows of a batch, in one forward that stops after the last of them.

    Args:
        where: the layout of the network.
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
            (site, layer): Traced(Call(site, layer), pick_rows(full[site][layer], index), None, 0)
            for (site, layer), (index, _) in rows.items()
        }
    else:
        indices = {where.calls[key]: index for key, (index, _) in rows.items()}
        last = max(indices, key=where.order.index)
        watch, _ = watch_forward(network, inputs, rows=indices, last=last)
        seen = {traced.call: traced for traced in watch.seen}
        # A layer may be on another device than the input.
        device = inputs["input_ids"].device
        taken = {key: seen[where.calls[key]].to(device) for key in rows}
        for (site, layer), traced in taken.items():
            shape = (traced.queries, traced.weights.shape[3])
            _check_shape(network, site, layer, shape, masks[site])
    result: dict[tuple[SiteName, int], list[Floats]] = {}
    for (site, layer), traced in taken.items():
        index, real = rows[site, layer]
        _, keys = masks[site]
        future = index if where.sites[site].causal else None
        check_rows(site, layer, traced.weights, traced.sink, real=real, keys=keys, future=future)
        result[site, layer] = _unpad(traced.weights, real, keys)
    return result


def _check_shape(
    network: PreTrainedModel,
    site: SiteName,
    layer: int,
    shape: tuple[int, int],
    masks: tuple[Tensor, Tensor],
) -> None:
    """Raises ModelError where weights are not those of one position for each token."""
    queries, keys = masks
    if shape != (queries.shape[1], keys.shape[1]):
        raise ModelError(
            f"{type(network).__name__} splits a text of {queries.shape[1]} tokens at {site} layer "
            f"{layer}; attnprobe reads one position a token"
        )


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
        weights = weights.to(real.device)
        sink = None if sink is None else sink.to(real.device)
        _check_shape(network, site, layer, (weights.shape[2], weights.shape[3]), (real, keys))
        check_rows(site, layer, weights, sink, real=real, keys=keys, future=future)
        see(layer, weights.float())

    layers = where.sites[site].layers
    if where.served == "eager":
        found = eager(network, inputs, alone=next(iter(where.sites)))[site]
        for layer in layers:
            show(layer, found[layer], None)
        return
    whole = {where.calls[site, layer]: partial(show, layer) for layer in layers}
    last = max(whole, key=where.order.index)
    watch_forward(network, inputs, rows={}, last=last, whole=whole)


def _pad_rows(positions: Sequence[Sequence[int]], mask: Tensor) -> tuple[Tensor, Tensor]:
    """Row indices `[batch, rows]` in the padded batch, filled with row 0, and which are real."""
    index = torch.zeros(len(positions), max(map(len, positions)), dtype=torch.long)
    real = torch.zeros_like(index, dtype=torch.bool)
    starts = mask.int().argmax(dim=1).tolist()
    for sample, (wanted, start) in enumerate(zip(positions, starts, strict=True)):
        index[sample, : len(wanted)] = torch.tensor(wanted, dtype=torch.long) + start
        real[sample, : len(wanted)] = True
    return index.to(mask.device), real.to(mask.device)


def _unpad(weights: Tensor, real: Tensor, keys: Tensor) -> list[Floats]:
    table = weights.float().cpu().numpy()
    table.flags.writeable = False
    counts = real.sum(dim=1).tolist()
    starts = keys.int().argmax(dim=1).tolist()
    lengths = keys.sum(dim=1).tolist()
    return [
        table[sample, :, :count, start : start + length]
        for sample, (count, start, length) in enumerate(zip(counts, starts, lengths, strict=True))
    ]
