"""The data of a verdict's pictures, which `render` draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attnprobe.core.arrays import Floats
from attnprobe.core.sites import Head, SiteName

# The map of a text with more tokens than this is not drawn whole.
WHOLE_PICTURE = 40


@dataclass(frozen=True)
class Cells:
    """The cells of some target positions (rows) and some source positions (columns)."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """The heatmap of a verdict: its heads and the cells to mark.

    Attributes:
        heads: one head, or several of which the mean is drawn.
        rows: target positions of the word that attends.
        expected: source positions of the word that should get the weight.
        contrast: source positions of the word that it is compared with.
    """

    site: SiteName
    heads: tuple[Head, ...]
    rows: tuple[int, ...]
    expected: tuple[int, ...]
    contrast: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class HeadGrid:
    """A score of every head, drawn as a layer × head grid.

    Attributes:
        measure: name and unit of the score: `previous-token score`, `entropy (nats)`.
        scores: `[layers, heads]`; NaN where a layer has fewer heads.
        decided: the heads that decided the verdict; the drawing marks them.
    """

    measure: str
    layers: tuple[int, ...]
    scores: Floats
    decided: tuple[Head, ...] = ()


@dataclass(frozen=True, eq=False)
class LayerPanel:
    """All heads of a layer side by side.

    Attributes:
        weights: `[heads, target, source]`.
        decided: the heads that decided the verdict; the drawing marks them.
    """

    site: SiteName
    layer: int
    weights: Floats
    decided: tuple[Head, ...] = ()


@dataclass(frozen=True, eq=False)
class FlowGraph:
    """The flow of attention from words at the top, through the layers, to words of the input.

    Attributes:
        labels: the words, by position.
        edges: `[layers, words, words]`, the share that a word of a layer takes from each word of
            the layer below; a row sums to 1, the residual connection included.
        start: the positions at the top where the flow starts.
        end: the positions of the input that the drawing marks.
    """

    labels: tuple[str, ...]
    layers: tuple[int, ...]
    edges: Floats
    start: tuple[int, ...]
    end: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Curves:
    """A statistic of every head over the layers, drawn as small multiples.

    Attributes:
        measure: name and unit of the statistic: `entropy (nats)`.
        values: `[layers, heads]`; NaN where a layer has fewer heads.
    """

    measure: str
    layers: tuple[int, ...]
    values: Floats
    decided: tuple[Head, ...] = ()


@dataclass(frozen=True, eq=False)
class HeadMap:
    """Heads as points in a plane; near points are heads with similar attention.

    Attributes:
        points: `[heads, 2]`.
    """

    measure: str
    heads: tuple[Head, ...]
    points: Floats
    decided: tuple[Head, ...] = ()


Chart = HeadGrid | LayerPanel | FlowGraph | Curves | HeadMap


def mean_rows(layers: Mapping[int, Floats], heads: Sequence[Head]) -> Floats:
    """The mean of the weights over heads, `[target, source]`, read-only.

    Args:
        layers: weights `[heads, target, source]` of each layer.
    """
    mean: Floats = np.mean([layers[head.layer][head.head] for head in heads], axis=0)
    mean.flags.writeable = False
    return mean


def heads_title(heads: Sequence[Head]) -> str:
    """The heads in a picture's title: `L3H1`, `L3, mean of 12 heads` or `mean of 72 heads`."""
    if len(heads) == 1:
        return str(heads[0])
    layers = {head.layer for head in heads}
    layer = f"L{layers.pop()}, " if len(layers) == 1 else ""
    return f"{layer}mean of {len(heads)} heads"
