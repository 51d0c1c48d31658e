"""Our attention rows against the network's own eager weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attnprobe.capture import Layout, capture, eager
from attnprobe.errors import ModelError
from attnprobe.records import Head, SiteName

__all__ = ["Difference", "differences", "self_check"]

TOLERANCE = 5e-4
TOLERANCE_HALF = 1e-2


class Difference(NamedTuple):
    """The largest absolute difference of one layer's weights, and the head that has it."""

    site: SiteName
    head: Head
    value: float


def differences(
    network: nn.Module, where: Layout, inputs: Mapping[str, Tensor]
) -> list[Difference]:
    """Every row of every layer against eager `output_attentions`, padding left out.

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
    masks = {name: inputs[name].bool() for name in inputs if name.endswith("attention_mask")}
    found: list[Difference] = []
    for site, layers in reference.items():
        split = "decoder_attention_mask" in masks
        queries = masks["decoder_attention_mask" if split and site != "encoder" else "attention_mask"]
        keys = masks["decoder_attention_mask" if split and site == "decoder" else "attention_mask"]
        rows = [tuple(range(int(mask.sum()))) for mask in queries]
        ours = capture(
            network, where, inputs, {(site, layer): rows for layer in where.sites[site].layers}
        )
        for layer, expected in zip(where.sites[site].layers, layers, strict=True):
            worst = torch.zeros(expected.shape[1])
            for sample, weights in enumerate(ours[site, layer]):
                own = expected[sample][:, queries[sample]][:, :, keys[sample]].cpu()
                apart = (torch.tensor(weights) - own).abs().amax(dim=(1, 2))
                worst = torch.maximum(worst, apart)
            head = int(worst.argmax())
            found.append(Difference(site, Head(layer, head), float(worst[head])))
    return found


def _count(where: Layout) -> str:
    return ", ".join(f"{len(site.layers)} {name}" for name, site in where.sites.items())


def self_check(
    network: nn.Module, where: Layout, inputs: Mapping[str, Tensor], *, name: str
) -> None:
    """Raises ModelError where our rows differ from the network's own eager weights."""
    half = next(network.parameters()).dtype != torch.float32
    allowed = TOLERANCE_HALF if half else TOLERANCE
    for one in differences(network, where, inputs):
        if not one.value <= allowed:
            raise ModelError(
                f"{name}: {one.site} {one.head} differs from the model's own eager attention by "
                f"{one.value:.2g}, allowed {allowed:.0e}; attnprobe cannot read it exactly"
            )
