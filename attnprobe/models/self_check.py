"""The comparison of attention rows with the network's own eager weights, made at every load."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import ModelError
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.models.capture import capture
from attnprobe.models.forward import batch_inputs, eager, is_encoder_decoder, site_masks
from attnprobe.models.layout import Layout
from attnprobe.models.quantised import compute_in, is_packed

TOLERANCE = 5e-4
TOLERANCE_HALF = 1e-2
_HALF = (torch.float16, torch.bfloat16)
# Tokens of the widest sliding window that a load measures.
WIDEST_WINDOW = 256


class Difference(NamedTuple):
    """The largest absolute difference of one layer's weights, and the head that has it."""

    site: SiteName
    head: Head
    value: float


def layer_difference(site: SiteName, layer: int, ours: Floats, expected: Floats) -> Difference:
    """The head of a layer whose weights `[heads, target, source]` differ most."""
    apart = np.abs(ours - expected).max(axis=(1, 2))
    head = int(apart.argmax())
    return Difference(site, Head(layer, head), float(apart[head]))


def largest(found: Iterable[Difference]) -> Difference:
    """The largest difference; NaN counts as larger than any number."""
    return max(found, key=lambda difference: (math.isnan(difference.value), difference.value))


def differences(
    network: PreTrainedModel, where: Layout, inputs: Mapping[str, Tensor]
) -> list[Difference]:
    """The largest difference of each layer to eager `output_attentions`, padding left out.

    Raises:
        ModelError: eager gives no weights, or not of these sites and layers.
    """
    reference = eager(network, inputs, alone=next(iter(where.sites)))
    if {site: len(layers) for site, layers in reference.items()} != {
        site: len(found.layers) for site, found in where.sites.items()
    }:
        raise ModelError(
            f"{type(network).__name__}: attention layers found {_count(where)}, but eager returns "
            f"{', '.join(f'{len(layers)} {site}' for site, layers in reference.items())}"
        )
    found: list[Difference] = []
    for site, layers in reference.items():
        queries, keys = site_masks(site, inputs)
        rows = [tuple(range(int(mask.sum()))) for mask in queries]
        ours = capture(
            network, where, inputs, {(site, layer): rows for layer in where.sites[site].layers}
        )
        for layer, expected in zip(where.sites[site].layers, layers, strict=True):
            of_samples = []
            for sample, weights in enumerate(ours[site, layer]):
                real = expected[sample][:, queries[sample]][:, :, keys[sample]]
                of_samples.append(
                    layer_difference(site, layer, weights, real.float().cpu().numpy())
                )
            found.append(largest(of_samples))
    return found


def _count(where: Layout) -> str:
    return ", ".join(f"{len(site.layers)} {name}" for name, site in where.sites.items())


@contextmanager
def in_float32(network: PreTrainedModel) -> Iterator[None]:
    """Runs a block with the network's weights in float32; afterwards it has its own again.

    Half precision puts a score of some units off by hundredths, in eager attention as in ours, and
    such rounding must not count as misreading. The block takes the memory of a copy in float32.
    """
    halves = [
        (tensor, tensor.data)
        for tensor in (*network.parameters(), *network.buffers())
        if tensor.dtype in _HALF and not is_packed(tensor)
    ]
    packed = compute_in(network, torch.float32)
    try:
        for tensor, data in halves:
            tensor.data = data.float()
        yield
    finally:
        for tensor, data in halves:
            tensor.data = data
        for module, name, weight in packed:
            setattr(module, name, weight)


def self_check(
    network: PreTrainedModel, where: Layout, inputs: Mapping[str, Tensor], *, name: str
) -> None:
    """Raises ModelError where our rows differ from the network's own eager weights."""
    for difference in differences(network, where, inputs):
        _check(network, difference, "from the model's own eager attention", name)


def padding_check(
    network: PreTrainedModel,
    where: Layout,
    source: Sequence[int],
    target: Sequence[int] | None,
    *,
    segments: Sequence[int] = (),
    pad_id: int,
    shared: int | None = None,
    name: str,
) -> None:
    """Raises ModelError where a text has other weights beside a longer one than alone.

    Args:
        segments: of each source token; empty where the tokenizer numbers none.
        shared: as in `pack`; the texts are cut so that the longer one stays within it.
    """
    end = None if shared is None else max(1, shared - 3)
    sources = _and_longer(source[:end])
    numbered = _and_longer(segments[:end])
    targets = _and_longer(target[:end]) if target else None

    def first(count: int) -> dict[tuple[SiteName, int], list[Floats]]:
        inputs = batch_inputs(
            network,
            sources[:count],
            targets[:count] if targets else None,
            segments=numbered[:count],
            pad_id=pad_id,
        )
        wanted = {
            (name, layer): [range(int(mask.sum())) for mask in site_masks(name, inputs)[0]]
            for name, site in where.sites.items()
            for layer in site.layers
        }
        return capture(network, where, inputs, wanted)

    alone, beside = first(1), first(2)
    for (site, layer), weights in alone.items():
        worst = layer_difference(site, layer, weights[0], beside[site, layer][0])
        _check(network, worst, "beside a longer text from the same text alone", name)


def _and_longer(numbers: Sequence[int]) -> list[Sequence[int]]:
    """The numbers, and the same with the last three repeated."""
    return [numbers, [*numbers, *numbers[-3:]]]


def beyond_windows(
    network: PreTrainedModel, where: Layout, *, max_tokens: int | None
) -> dict[str, Tensor] | None:
    """Inputs of random ids, a little longer than the windows of up to `WIDEST_WINDOW` tokens.

    Returns:
        None where there is no such window. Wider ones would cost more than the rest of a load.
    """
    sizes = [window for *_, window in _small_windows(where)]
    if not sizes:
        return None
    length = min(max(sizes) + 8, max_tokens or sys.maxsize)
    words = int(network.config.get_text_config().vocab_size)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(min(5, words - 1), words, (length,), generator=draw).tolist()
    return batch_inputs(network, [ids], [ids] if is_encoder_decoder(network) else None)


def _small_windows(where: Layout) -> list[tuple[Site, int, int]]:
    """The sites and layers with a window of up to `WIDEST_WINDOW` tokens, and its size."""
    return [
        (site, layer, window)
        for site in where.sites.values()
        for layer, window in site.windows.items()
        if window <= WIDEST_WINDOW
    ]


def applied_windows(
    network: PreTrainedModel, where: Layout, inputs: Mapping[str, Tensor] | None
) -> Layout:
    """The layout without those sliding windows that the configuration names and no layer applies.

    Args:
        inputs: from `beyond_windows`.
    """
    if inputs is None:
        return where
    small = _small_windows(where)
    length = inputs["input_ids"].shape[1]
    found = capture(
        network, where, inputs, {(site.name, layer): [range(length)] for site, layer, _ in small}
    )
    sites: dict[SiteName, Site] = dict(where.sites)
    steps = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    for site, layer, window in small:
        if found[site.name, layer][0][:, steps >= window].any():
            windows = dict(sites[site.name].windows)
            del windows[layer]
            sites[site.name] = replace(sites[site.name], windows=windows)
    return replace(where, sites=sites)


def tolerance(network: PreTrainedModel) -> float:
    """The largest allowed difference of a weight, by the network's precision."""
    half = next(network.parameters()).dtype != torch.float32
    return TOLERANCE_HALF if half else TOLERANCE


def _check(network: PreTrainedModel, difference: Difference, than: str, name: str) -> None:
    """Raises ModelError where a difference is larger than allowed, or NaN."""
    allowed = tolerance(network)
    if not difference.value <= allowed:
        site, head, value = difference
        raise ModelError(
            f"{name}: {site} {head} differs {than} by {value:.2g}, allowed "
            f"{allowed:.0e}; attnprobe cannot read it exactly"
        )
