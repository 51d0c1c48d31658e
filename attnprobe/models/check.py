"""The comparison of every row of a network with its eager attention, site by site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from attnprobe.core.arrays import Floats
from attnprobe.core.sites import SiteName
from attnprobe.models.capture import capture
from attnprobe.models.forward import Padding, batch_inputs, is_encoder_decoder
from attnprobe.models.layout import find_layout
from attnprobe.models.lengths import length_rules
from attnprobe.models.model import Model
from attnprobe.models.plan import pack
from attnprobe.models.quantised import quantises_activations
from attnprobe.models.self_check import differences

# Lengths. The longest exceeds the windows of tiny networks; sources and targets differ.
SOURCES = (19, 11, 4)
TARGETS = (13, 5, 17)
FIRST_ORDINARY_ID = 5


@dataclass(frozen=True)
class CheckRow:
    """The comparison at one site of a network.

    Attributes:
        architecture: the network's class.
        layers: true numbers of the layers with attention here.
        heads: number of query heads in the first of them.
        unpadded, right, left: largest absolute difference to eager `output_attentions` of a single
            text, and of a batch padded on the right and on the left.
        batch: largest absolute difference between the batch padded on the right and single texts.
            Texts that must not share a batch are in batches of their own.
        served: `function`, or `eager`, where the differences say nothing.
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
    where = find_layout(network, batch_inputs(network, sources[:1], targets and targets[:1]))
    texts = range(len(sources))
    batches = pack(
        [(len(sources[text]), len(targets[text]) if targets else 0) for text in texts],
        batch_tokens=1
        if quantises_activations(network)
        else sum(map(len, (*sources, *(targets or ())))) * len(texts),
        shared=length_rules(network).shared,
    )

    def inputs(batch: Sequence[int], padding: Padding = "right") -> Mapping[str, torch.Tensor]:
        return batch_inputs(
            network,
            [sources[text] for text in batch],
            [targets[text] for text in batch] if targets else None,
            pad_id=getattr(network.config.get_text_config(), "pad_token_id", None) or 0,
            padding=padding,
        )

    def worst(chosen: Sequence[Sequence[int]], padding: Padding) -> dict[SiteName, float]:
        found: dict[SiteName, float] = {}
        for batch in chosen:
            for site, _, value in differences(network, where, inputs(batch, padding)):
                found[site] = max(found.get(site, 0.0), value)
        return found

    def all_rows(batch: Sequence[int]) -> dict[tuple[SiteName, int], list[Floats]]:
        queries = {"encoder": sources, "decoder": targets or sources, "cross": targets or ()}
        wanted = {
            (name, layer): [range(len(queries[name][text])) for text in batch]
            for name, site in where.sites.items()
            for layer in site.layers
        }
        return capture(network, where, inputs(batch), wanted)

    alone = [all_rows([text]) for text in texts]
    apart = dict.fromkeys(where.sites, 0.0)
    for batch in batches:
        for (name, layer), rows in all_rows(batch).items():
            for text, weights in zip(batch, rows, strict=True):
                difference = abs(weights - alone[text][name, layer][0]).max()
                apart[name] = max(apart[name], float(difference))

    single = worst([[0]], "right")
    right, left = worst(batches, "right"), worst(batches, "left")
    return [
        CheckRow(
            type(network).__name__,
            name,
            site.layers,
            site.heads[site.layers[0]],
            single[name],
            right[name],
            left[name],
            apart[name],
            where.served,
        )
        for name, site in where.sites.items()
    ]


def random_ids(
    network: PreTrainedModel, seed: int
) -> tuple[list[list[int]], list[list[int]] | None]:
    """Random token ids of sources and, for an encoder-decoder, targets, from a seed."""
    # CANINE reads code points and has no vocabulary.
    words = getattr(network.config.get_text_config(), "vocab_size", 256)
    draw = torch.Generator().manual_seed(seed)

    def texts(lengths: tuple[int, ...]) -> list[list[int]]:
        return [
            torch.randint(FIRST_ORDINARY_ID, words, (n,), generator=draw).tolist() for n in lengths
        ]

    return texts(SOURCES), texts(TARGETS) if is_encoder_decoder(network) else None
