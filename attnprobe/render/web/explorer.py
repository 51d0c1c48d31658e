"""The explorer: all maps of a model on one text as one page that reacts, without network.

The weights of a head are packed in an element of their own and unpacked when they are first shown.
Small pictures of all heads come with the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from attnprobe.core.arrays import Floats
from attnprobe.core.maps import HeadFigures, Mark, ModelMaps, SiteMaps, TextUnit, TextUnits
from attnprobe.core.printing import as_label
from attnprobe.core.texts import case_fields
from attnprobe.render.web.html import fill, piece
from attnprobe.render.web.maps import (
    pack_fixed,
    pack_map,
    sentence_parts,
    strongest_keys,
)
from attnprobe.render.web.scripts import Script, data_element, script
from attnprobe.render.web.thumbnails import sheet, theme_palette

_SCRIPTS = (
    "maps",
    "explorer_table",
    "explorer_data",
    "explorer_rollout",
    "explorer_overview",
    "explorer_text",
    "explorer_maps",
    "explorer_flow",
    "explorer_tools",
    "explorer",
)
_THUMBNAIL = 64
_NEEDS_ALL = "Rollout of this text needs all weights; this page keeps the strongest keys."
# Beyond this many cells of a map, its weights are packed in 8 bits.
MOST_EXACT = 1024 * 1024
_LEAST_SCALE = 0.001
# Heads that look at a fixed distance, or everywhere, say little about a text.
_BY_PLACE = ("diagonal", "previous", "next", "uniform")


class Explorer(NamedTuple):
    """The explorer as a part of a page, and the policy of its script."""

    element: Markup
    script: Script


def explorer_page(
    shown: ModelMaps, *, marks: Sequence[Mark] = (), top_keys: int | None = None
) -> str:
    """The page of one model on one text, a complete HTML document.

    Args:
        marks: verdicts that the page can show.
        top_keys: how many of the strongest keys of each row are kept; all by default.
    """
    found = explorer([(shown,)], marks=marks, top_keys=top_keys)
    return fill(
        "explorer.html",
        title=f"{shown.model}: attention",
        about=shown.about,
        texts=shown.sample.texts,
        explorer=found,
    )


def explorer(
    samples: Sequence[Sequence[ModelMaps]],
    *,
    labels: Sequence[str] = (),
    marks: Sequence[Mark] = (),
    top_keys: int | None = None,
) -> Explorer:
    """The explorer of some texts, each with the maps of one model or of two.

    Two models are shown in turn and as a difference where they divide the text alike.

    Args:
        labels: a name of each text, needed for several.
    """
    packer = _Packer(top_keys)
    entries = [
        entry
        for number, models in enumerate(samples)
        for entry in packer.entries(models, labels[number] if labels else "")
    ]
    data = {
        "models": list(dict.fromkeys(maps.model for models in samples for maps in models)),
        "entries": entries,
        "palettes": {theme: theme_palette(theme) for theme in ("light", "dark")},
        "marks": [mark._asdict() | {"heads": list(map(str, mark.heads))} for mark in marks],
    }
    found = script(*_SCRIPTS)
    # The script starts with what it draws first; the parser reads the other heads meanwhile.
    blocks = packer.blocks
    early = [blocks.pop(name) for name in _drawn_first(entries[0])]
    parts = [piece("explorer"), data_element("explorer-data", data), *early, found.element]
    return Explorer(Markup("\n").join([*parts, *blocks.values()]) + Markup("\n"), found)


def _drawn_first(entry: Mapping[str, Any]) -> tuple[str, str]:
    """The blocks with the thumbnails and with the head that is shown first."""
    maps = entry["maps"][0]
    return maps["pictures"]["block"], maps["blocks"][entry["start"]]


class _Packer:
    """Packs maps into elements with ids that no other element of the page has."""

    def __init__(self, top_keys: int | None) -> None:
        self.top_keys = top_keys
        self.blocks: dict[str, Markup] = {}

    def entries(self, models: Sequence[ModelMaps], label: str) -> list[dict[str, Any]]:
        """An entry for each site; one for both models where their maps can be compared."""
        found: dict[tuple[object, ...], dict[str, Any]] = {}
        for number, model in enumerate(models):
            for site in model.sites:
                entry = self._entry(site, model, label)
                key = _comparable(site, entry)
                if len(models) > 1 and key in found:
                    found[key]["maps"] += entry["maps"]
                else:
                    found[key if len(models) > 1 else (number, site.name)] = entry
        return list(found.values())

    def _entry(self, site: SiteMaps, model: ModelMaps, label: str) -> dict[str, Any]:
        rows = _units(site.rows)
        maps = self._maps(site)
        return {
            "label": label,
            "site": site.name,
            "causal": site.causal,
            "windows": {str(layer): window for layer, window in site.windows.items()},
            "keyHeads": site.key_heads,
            "rows": rows,
            "columns": None if site.columns is site.rows else _units(site.columns),
            "heads": maps.pop("heads"),
            "start": _first_head(maps["figures"]),
            "maps": [maps | {"model": model.model}],
            "sample": case_fields(model.sample),
        }

    def _maps(self, site: SiteMaps) -> dict[str, Any]:
        heads: list[tuple[int, int]] = []
        figures: list[HeadFigures] = []
        thumbnails: list[Floats] = []
        blocks: list[str] = []
        shares: list[Floats] = []
        sums: list[Floats] = []
        worst: tuple[float, float] = (0.0, 0.0)
        bits = 8 if len(site.rows.tokens) * len(site.columns.tokens) > MOST_EXACT else 16
        for layer in site.layers:
            weights, dropped = layer.weights, None
            if self.top_keys is not None:
                weights = strongest_keys(layer.weights, self.top_keys)
                dropped = (layer.weights - weights).sum(axis=-1)
                shares.append(dropped.ravel())
            for place, map_ in enumerate(weights):
                lost = None if dropped is None else dropped[place]
                packed = pack_map(map_, causal=site.causal, bits=bits, dropped=lost)
                blocks.append(self._block(packed.text))
                worst = (max(worst[0], packed.worst), max(worst[1], packed.worst_sum))
            sums.append(layer.weights.sum(axis=(0, 2)) / len(layer.heads))
            thumbnails += [_thumbnail(map_, site.columns.sinks) for map_ in layer.weights]
            figures += layer.figures
            heads += [(layer.layer, head) for head in layer.heads]
        return {
            "heads": heads,
            "blocks": blocks,
            "bits": bits,
            "worst": [float(f"{value:.2g}") for value in worst],
            "dropped": self._dropped(shares),
            "pictures": self._pictures(thumbnails, max(head for _, head in heads) + 1),
            "figures": [_plain(figure) for figure in figures],
            "flow": None if site.edges is None else self._block(pack_fixed(site.edges)),
            # The mean sum of each row over the heads of a layer, [layers, target].
            "rowSums": self._block(pack_fixed(np.minimum(sums, 1))),
            "noFlow": site.no_flow or (_NEEDS_ALL if self.top_keys and site.edges is None else ""),
        }

    def _dropped(self, shares: Sequence[Floats]) -> dict[str, Any] | None:
        """The share of a row that is left out, 0 to 1: the mean over all rows, and the largest."""
        if self.top_keys is None:
            return None
        rows = np.concatenate(shares)
        return {
            "keys": self.top_keys,
            "mean": round(float(rows.mean()), 6),
            "most": round(float(rows.max()), 6),
        }

    def _pictures(self, thumbnails: Sequence[Floats], columns: int) -> dict[str, Any]:
        found = sheet(thumbnails, columns)
        return {
            "head": found.head,
            "block": self._block(found.tail),
            "columns": columns,
            "rows": -(-len(thumbnails) // columns),
            "size": thumbnails[0].shape,
        }

    def _block(self, packed: str) -> str:
        name = f"explorer-block-{len(self.blocks)}"
        # The parser reads an attribute in half the time of the text of a script element.
        self.blocks[name] = Markup(f'<template id="{name}" data-packed="{packed}"></template>')
        return name


def _first_head(figures: Sequence[Mapping[str, Any]]) -> int:
    """Index of the head that looks most at words: the one that is shown first."""

    def sink(index: int) -> float:
        head = figures[index]
        share: float = 1.0 if head["sink"] is None else head["sink"]
        return share + (head["pattern"] in _BY_PLACE)

    return min(range(len(figures)), key=sink)


def _comparable(site: SiteMaps, entry: Mapping[str, Any]) -> tuple[object, ...]:
    sides = tuple(side.tokens.pieces for side in (site.rows, site.columns))
    return (site.name, site.causal, sides, tuple(entry["heads"]), str(entry["windows"]))


def _units(side: TextUnits) -> dict[str, Any]:
    return {
        "parts": sentence_parts(side.tokens),
        "special": [at for at, role in enumerate(side.tokens.special) if role is not None],
        "sinks": side.sinks,
        "words": [_unit(unit) for unit in side.words],
        "pieces": [_unit(unit) for unit in side.pieces],
    }


def _unit(unit: TextUnit) -> tuple[str, tuple[int, ...], object]:
    return as_label(unit.label), unit.positions, unit.selector


def _plain(figures: HeadFigures) -> dict[str, Any]:
    numbers = {
        **{name: getattr(figures, name) for name in ("entropy", "distance", "sink", "score")},
        **figures.scores,
        "entropy": figures.entropy,
    }
    return {
        **{
            name: None if math.isnan(value) else round(float(value), 4)
            for name, value in numbers.items()
        },
        "pattern": figures.pattern,
        "on": as_label(figures.on) if figures.on else "",
    }


def _thumbnail(weights: Floats, sinks: Sequence[int]) -> Floats:
    """The map in at most 64 × 64 cells, each the largest of its part, as shares of its scale."""
    most = np.delete(weights.max(axis=0), sinks)
    scale = max(float(most.max(initial=0.0)), _LEAST_SCALE)
    shares: Floats = np.minimum(_largest_rows(_largest_rows(weights).T).T / scale, 1)
    return shares.astype(np.float32)


def _largest_rows(weights: Floats) -> Floats:
    """At most 64 rows, each the largest of its part."""
    length = len(weights)
    if length <= _THUMBNAIL:
        return weights
    edges = np.arange(_THUMBNAIL + 1) * length // _THUMBNAIL
    # Much quicker than `np.maximum.reduceat`.
    return np.array([weights[start:end].max(axis=0) for start, end in pairwise(edges)])
