"""The maps of a model on one text, with what a page needs to show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attnprobe.core.arrays import Floats
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample, Tokens


class TextUnit(NamedTuple):
    """A word or a single token of a text.

    Attributes:
        positions: token positions, ascending.
        selector: how a case file names it, as a value of YAML; None where it cannot.
    """

    label: str
    positions: tuple[int, ...]
    selector: object


@dataclass(frozen=True, eq=False)
class TextUnits:
    """The tokens of one side of a map, divided in two ways.

    Attributes:
        words: words and single special tokens.
        pieces: each token.
        sinks: positions of special tokens and, at a causal site, of the first token.
    """

    tokens: Tokens
    words: tuple[TextUnit, ...]
    pieces: tuple[TextUnit, ...]
    sinks: tuple[int, ...]


class HeadFigures(NamedTuple):
    """Statistics of one head's map, by token.

    Attributes:
        entropy: normalised, 0 to 1; NaN where no row sees two keys, as in all of these.
        distance: mean distance in tokens; NaN at cross attention.
        sink: share of the weight on sinks, 0 to 1.
        pattern: its name; empty where patterns were not looked for.
        score: of that pattern.
        on: the word of a vertical stripe.
        scores: of every pattern that was tried.
    """

    entropy: float
    distance: float
    sink: float
    pattern: str = ""
    score: float = math.nan
    on: str = ""
    scores: Mapping[str, float] = {}


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """Maps of a layer: weights `[heads, target, source]`, and figures of each head.

    Attributes:
        heads: the number of each of these heads.
    """

    layer: int
    heads: tuple[int, ...]
    weights: Floats
    figures: tuple[HeadFigures, ...]


@dataclass(frozen=True, eq=False)
class SiteMaps:
    """All maps at one site.

    Attributes:
        windows: the sliding window of each layer that has one.
        key_heads: number of key-value heads that the query heads of a layer share, if known.
        layers: consumed once, one layer after the other, since all of them may not fit in memory.
        edges: what each layer hands on, `[layers, target, source]`, for rollout; None where a page
            computes it from the maps, or has no rollout.
        no_flow: why there is no rollout; empty where there is one.
    """

    name: SiteName
    causal: bool
    windows: Mapping[int, int]
    key_heads: int | None
    rows: TextUnits
    columns: TextUnits
    layers: Iterable[LayerMaps]
    edges: Floats | None = None
    no_flow: str = ""


class Mark(NamedTuple):
    """A verdict to show on the maps.

    Attributes:
        rows, expected, contrast: token positions of the word that attends, of the word that should
            get weight, and of the word that it is compared with.
        heads: one head, or several of which the mean is shown.
        bound, chance: in words: `weight ≥ 0.3`, `12 % of other word pairs`.
    """

    site: SiteName
    heads: tuple[Head, ...]
    rows: tuple[int, ...]
    expected: tuple[int, ...]
    contrast: tuple[int, ...] = ()
    label: str = ""
    bound: str = ""
    chance: str = ""


@dataclass(frozen=True, eq=False)
class ModelMaps:
    """The maps of one model on one text, at some of its sites."""

    model: str
    about: str
    sample: Sample
    sites: Sequence[SiteMaps]
