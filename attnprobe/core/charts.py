"""Pictures of a verdict, as data; `render` draws them."""

from __future__ import annotations

from dataclasses import dataclass

from attnprobe.core.arrays import Floats
from attnprobe.core.sites import Head, SiteName

# Maps of texts with more tokens than this are not drawn whole.
WHOLE_PICTURE = 40


@dataclass(frozen=True)
class Picture:
    """The heatmap that shows a verdict: which heads, and which cells to mark.

    Attributes:
        heads: one head, or several whose mean is shown.
        rows: target positions of the row in question.
        expected, contrast: source positions of the word that should get the weight, and of the
            word that it is compared with.
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
        measure: what the score is, with its unit: `previous-token score`, `entropy (nats)`.
        scores: `[layers, heads]`; NaN where a layer has fewer heads.
        decided: the heads that decided a verdict, to be marked.
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
        decided: the heads that decided a verdict, to be marked.
    """

    site: SiteName
    layer: int
    weights: Floats
    decided: tuple[Head, ...] = ()


@dataclass(frozen=True, eq=False)
class FlowGraph:
    """How attention flows from words at the top through the layers to words of the input.

    Attributes:
        labels: the words, one a position.
        edges: `[layers, words, words]`, from a word of a layer to the words below it; rows sum
            to 1, the residual connection included.
        start: positions at the top that are followed.
        end: positions of the input to be marked.
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
        measure: what the statistic is, with its unit: `entropy (nats)`.
        values: `[layers, heads]`; NaN where a layer has fewer heads.
    """

    measure: str
    layers: tuple[int, ...]
    values: Floats
    decided: tuple[Head, ...] = ()


@dataclass(frozen=True, eq=False)
class HeadMap:
    """Heads as points in the plane; near points are heads that attend alike.

    Attributes:
        points: `[heads, 2]`.
    """

    measure: str
    heads: tuple[Head, ...]
    points: Floats
    decided: tuple[Head, ...] = ()


Chart = HeadGrid | LayerPanel | FlowGraph | Curves | HeadMap
