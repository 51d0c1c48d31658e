"""How exactly the attention of a network is read: architecture by site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from attnprobe.capture import Padding, batch_inputs, capture, is_encoder_decoder, layout
from attnprobe.models.compare import differences
from attnprobe.models.model import Model
from attnprobe.records import Floats, SiteName

__all__ = ["CheckRow", "check", "random_ids"]

# The longest exceeds the small windows of the tiny networks; sources and targets differ.
SOURCES = (19, 11, 4)
TARGETS = (13, 5, 17)
FIRST_ORDINARY_ID = 5


@dataclass(frozen=True)
class CheckRow:
    """One site of one network.

    Attributes:
        architecture: the network's class.
        layers: true numbers of the layers with attention here.
        heads: query heads of its first layer.
        unpadded, right, left: largest absolute difference to eager `output_attentions` of a single
            text, and of a batch padded on the right and on the left.
        batch: largest absolute difference between the batch padded on the right and single texts.
        served: `function` or `eager`; in the latter case the differences say nothing.
    """

    architecture: str
    site: SiteName
    layers: tuple[int, ...]
    heads: int
    unpadded: float
    right: float
    left: float
    batch: float
    served: str


def check(model: Model | PreTrainedModel, *, seed: int = 0) -> list[CheckRow]:
    """Compares every row of every head with eager weights, on random token ids.

    Raises:
        ModelError, MeasureError: the attention cannot be read at all.
    """
    network = model.network if isinstance(model, Model) else model
    sources, targets = random_ids(network, seed)
    where = layout(network, batch_inputs(network, sources[:1], targets and targets[:1]))

    def inputs(chosen: slice, padding: Padding = "right") -> Mapping[str, torch.Tensor]:
        return batch_inputs(
            network,
            sources[chosen],
            targets and targets[chosen],
            pad_id=getattr(network.config.get_text_config(), "pad_token_id", None) or 0,
            padding=padding,
        )

    def worst(given: Mapping[str, torch.Tensor]) -> dict[SiteName, float]:
        found: dict[SiteName, float] = {}
        for one in differences(network, where, given):
            found[one.site] = max(found.get(one.site, 0.0), one.value)
        return found

    def all_rows(chosen: slice) -> dict[tuple[SiteName, int], list[Floats]]:
        lengths = {"encoder": sources, "decoder": targets or sources, "cross": targets}
        wanted = {
            (name, layer): [range(len(ids)) for ids in (lengths[name] or ())[chosen]]
            for name, site in where.sites.items()
            for layer in site.layers
        }
        return capture(network, where, inputs(chosen), wanted)

    together = all_rows(slice(None))
    alone = [all_rows(slice(number, number + 1)) for number in range(len(sources))]

    def apart(name: SiteName) -> float:
        return max(
            float(abs(together[name, layer][number] - alone[number][name, layer][0]).max())
            for layer in where.sites[name].layers
            for number in range(len(sources))
        )

    single, right, left = (
        worst(inputs(slice(1))),
        worst(inputs(slice(None))),
        worst(inputs(slice(None), "left")),
    )
    return [
        CheckRow(
            type(network).__name__,
            name,
            site.layers,
            site.heads[site.layers[0]],
            single[name],
            right[name],
            left[name],
            apart(name),
            where.served,
        )
        for name, site in where.sites.items()
    ]


def random_ids(
    network: PreTrainedModel, seed: int
) -> tuple[list[list[int]], list[list[int]] | None]:
    """Token ids of some sources and, for an encoder-decoder, targets; the same for a seed."""
    # CANINE reads code points and has no vocabulary.
    words = getattr(network.config.get_text_config(), "vocab_size", 256)
    draw = torch.Generator().manual_seed(seed)

    def texts(lengths: tuple[int, ...]) -> list[list[int]]:
        return [
            torch.randint(FIRST_ORDINARY_ID, words, (n,), generator=draw).tolist() for n in lengths
        ]

    return texts(SOURCES), texts(TARGETS) if is_encoder_decoder(network) else None
