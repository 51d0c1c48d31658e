"""All maps of a model on one text, with what each head does in a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import SelectorError
from attnprobe.core.maps import HeadFigures, LayerMaps, SiteMaps, TextUnit, TextUnits
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.texts import Encoding, Tokens
from attnprobe.rules.flow import flow_layers, mixing
from attnprobe.rules.frame import Frame, row_mean, sink_columns, token_groups
from attnprobe.rules.head_patterns import name_patterns
from attnprobe.rules.sink import sink_rows
from attnprobe.rules.statistics import distance, entropy
from attnprobe.words.naming import selector_values
from attnprobe.words.positions import Group, groups

# Up to this many tokens a page has what each layer hands on; beyond, it computes that from the maps
# of all heads, up to the second number.
MOST_EDGES = 128
MOST_FLOW = 2048
# Naming patterns takes some tenths of a second for a map of this many tokens.
MOST_PATTERNS = 2048
# The weights that are captured at once: 0.8 GB.
MOST_CELLS = 200_000_000
# The weights that are measured at once: the measures need several copies in double precision.
_AT_ONCE = 1_000_000
# Captures some layers; the second argument is whether they may stay in memory.
Collect = Callable[[Collection[int], bool], Mapping[int, Floats]]


def reached_sites(encoding: Encoding) -> tuple[SiteName, ...]:
    """The sites whose maps this sample has: without a target, an encoder-decoder's encoder."""
    without_target = "cross" in encoding.sites and encoding.target is None
    return tuple(name for name in encoding.sites if name == "encoder" or not without_target)


def describe_site(site: Site) -> str:
    """The size of a site: `encoder: 6 layers × 12 heads`."""
    heads = sorted(set(site.heads.values()))
    return f"{site.name}: {len(site.heads)} layers × {' or '.join(map(str, heads))} heads"


def site_maps(
    encoding: Encoding,
    site: Site,
    collect: Collect,
    *,
    kept: Sequence[Head] | None = None,
    key_heads: int | None = None,
) -> SiteMaps:
    """All maps at a site.

    Args:
        kept: the heads to keep; all of them by default.
        key_heads: number of key-value heads of a layer, if known; they group whole layers only.
    """
    queries, keys = encoding.queries(site.name), encoding.keys(site.name)
    columns = _text_units(keys, causal=site.causal)
    edges, no_flow = None, _no_flow(encoding, site, all_heads=kept is None)
    if not no_flow and len(queries) <= MOST_EDGES:
        edges = mixing(collect(flow_layers(encoding, site), True), causal=site.causal)
    return SiteMaps(
        name=site.name,
        causal=site.causal,
        windows=site.windows,
        key_heads=key_heads if kept is None else None,
        rows=columns if queries is keys else _text_units(queries, causal=False),
        columns=columns,
        layers=_layers(encoding, site, collect, site.all_heads() if kept is None else kept),
        edges=edges,
        no_flow=no_flow,
    )


def _no_flow(encoding: Encoding, site: Site, *, all_heads: bool) -> str:
    """Why a page has no rollout; empty where it has one."""
    length = len(encoding.queries(site.name))
    try:
        flow_layers(encoding, site)
    except SelectorError as error:
        return str(error)
    if length > MOST_FLOW:
        return f"Rollout is drawn for texts of up to {MOST_FLOW:,} tokens."
    if length > MOST_EDGES and not all_heads:
        return f"Rollout of a text of over {MOST_EDGES} tokens needs all heads on the page."
    return ""


def _layers(
    encoding: Encoding, site: Site, collect: Collect, kept: Collection[Head]
) -> Iterator[LayerMaps]:
    """The maps of each layer in order, captured a few layers at a time where they are large."""
    cells = len(encoding.queries(site.name)) * len(encoding.keys(site.name))
    layers = sorted({head.layer for head in kept})
    count = max(1, MOST_CELLS // (cells * max(site.heads.values())))
    at_once = max(1, _AT_ONCE // cells)
    for first in range(0, len(layers), count):
        some = layers[first : first + count]
        for layer, weights in collect(some, count >= len(layers)).items():
            heads = tuple(head for head in range(len(weights)) if Head(layer, head) in kept)
            kept_weights = weights if len(heads) == len(weights) else weights[list(heads)]
            frame = Frame.of(encoding, site).in_layer(site, layer)
            figures = tuple(
                found
                for start in range(0, len(heads), at_once)
                for found in _figures(kept_weights[start : start + at_once], frame, site, layer)
            )
            yield LayerMaps(layer, heads, kept_weights, figures)


def _figures(weights: Floats, frame: Frame, site: Site, layer: int) -> Iterator[HeadFigures]:
    """The figures of some heads of a layer, from their maps `[heads, target, source]`."""
    view = weights.astype(np.float64)
    sinks = row_mean(sink_rows(view, frame)).tolist()
    if len(frame.rows) <= MOST_PATTERNS:
        for head, sink in zip(name_patterns(view, frame, site, layer), sinks, strict=True):
            yield HeadFigures(
                head.scores["entropy"],
                head.distance,
                sink,
                head.pattern,
                head.score,
                head.on or "",
                head.scores,
            )
        return
    far = row_mean(distance(view, frame)) if site.name != "cross" else np.full(len(view), np.nan)
    spread = row_mean(entropy(view, frame.visible))
    yield from map(HeadFigures, spread.tolist(), far.tolist(), sinks)


def _text_units(tokens: Tokens, *, causal: bool) -> TextUnits:
    sinks = np.flatnonzero(sink_columns(tokens, causal=causal))
    return TextUnits(
        tokens=tokens,
        words=_with_selectors(groups(tokens), tokens),
        pieces=_with_selectors(token_groups(tokens), tokens),
        sinks=tuple(sinks.tolist()),
    )


def _with_selectors(units: Sequence[Group], tokens: Tokens) -> tuple[TextUnit, ...]:
    return tuple(
        TextUnit(unit.label, unit.positions, selector)
        for unit, selector in zip(units, selector_values(units, tokens), strict=True)
    )
