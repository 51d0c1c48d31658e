"""The weights that eager attention returns, for comparison."""

from __future__ import annotations

import functools

from attnprobe.core.arrays import Floats
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.models.forward import batch_inputs, eager


@functools.cache
def eager_weights(model: Model, sample: Sample, site: SiteName) -> dict[int, Floats]:
    """Each layer's weights `[heads, target, source]` as the network itself returns them."""
    read = model.encode(sample)
    target = None if read.target is None else [read.target.ids]
    inputs = batch_inputs(model.network, [read.source.ids], target)
    layers = eager(model.network, inputs, alone=site)[site]
    numbers = model.sites[site].layers
    return {n: layer[0].numpy() for n, layer in zip(numbers, layers, strict=True)}
