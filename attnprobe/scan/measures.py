"""What a scan tells of every head besides relations: patterns, entropy, distance, sink.

The formulas are those of the rules, pooled over a corpus: sums over all rows of all sentences, in
tokens, special tokens included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from attnprobe.core.needs import MapSums, MapView
from attnprobe.core.sites import Site
from attnprobe.core.texts import Encoding
from attnprobe.rules.frame import SEEN_BY, Doubles, Frame
from attnprobe.rules.pattern import REPEATED, Shape

LOCAL_WINDOW = 2
PATTERNS: Mapping[str, Shape] = {
    "diagonal": Shape("diagonal"),
    "previous": Shape("previous"),
    "next": Shape("next"),
    "offset -2": Shape("offset", offset=-2),
    "offset +2": Shape("offset", offset=2),
    f"local {LOCAL_WINDOW}": Shape("local", window=LOCAL_WINDOW),
    "duplicate": Shape("duplicate"),
    "induction": Shape("induction"),
}


class Measure(NamedTuple):
    """A number of every head.

    Attributes:
        unit: of the number; a share lies between 0 and 1.
    """

    name: str
    unit: str


MEASURES: tuple[Measure, ...] = (
    *(Measure(name, "share") for name in PATTERNS),
    Measure("vertical", "share"),
    Measure("entropy", "nats"),
    Measure("normalised entropy", "0 to 1"),
    Measure("distance", "tokens"),
    Measure("normalised distance", "0 to 1"),
    Measure("sink", "share"),
)
"""`sparse` and `uniform` are low and high normalised entropy; `vertical` is the strongest column of
each sentence."""

# Longer texts are rarely of the same length, and what is kept grows with the square of it.
SHARED_UP_TO = 128
# The rows of `MapView.cells` behind the patterns.
DISTANCE, NEARNESS, WORDS = (len(PATTERNS) + extra for extra in range(3))
SUMS = len(PATTERNS) + 3


class Totals(NamedTuple):
    """Sums over the sentences so far, of all heads of a site.

    Attributes:
        cells: `[sums, heads]`: mass on each pattern, Σ a·|t − s|, the same by the row's largest
            distance, mass on words.
        rows: `[patterns, heads]`, the mass of the rows that have a target.
        entropies: `[2, heads]`, in nats and normalised.
        stripes: `[2, heads]`.
        counts: `[4, heads]`, rows: all; with more than one key; with a distance to look over; all
            where rows and columns are of one text.
    """

    cells: Doubles
    rows: Doubles
    entropies: Doubles
    stripes: Doubles
    counts: Doubles

    @classmethod
    def empty(cls, heads: int) -> Totals:
        shapes = (SUMS, len(PATTERNS), 2, 2, 4)
        return cls(*(np.zeros((rows, heads)) for rows in shapes))

    def add(self, sums: MapSums) -> None:
        """Adds what a forward gave."""
        more = sums.cells, sums.rows, sums.entropies, sums.stripes
        for total, part in zip(self[:4], more, strict=True):
            np.add(total, part, out=total)

    def add_rows(self, counts: Doubles) -> None:
        """Adds rows of a text, `[4, heads]`."""
        np.add(self.counts, counts, out=self.counts)

    def scores(self) -> Doubles:
        """Every measure of every head, `[measures, heads]`; NaN where nothing was counted."""
        patterns = _share(self.cells[: len(PATTERNS)], self.rows)
        every, several, far, placed = self.counts
        return np.array(
            [
                *patterns,
                _share(self.stripes[0], self.stripes[1]),
                _share(self.entropies[0], every),
                _share(self.entropies[1], several),
                _share(self.cells[DISTANCE], placed),
                _share(self.cells[NEARNESS], far),
                np.clip(1 - _share(self.cells[WORDS], several), 0, 1),
            ]
        )


def _share(part: Doubles, whole: Doubles) -> Doubles:
    found = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


class Views:
    """What is to be summed of each text at a site; parts that texts share are made once."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._shared: dict[tuple[int, int, int | None], MapView] = {}

    def of(self, encoding: Encoding) -> tuple[dict[int, MapView], Doubles]:
        """The view of each layer, and the counts `[4, heads]` of rows that go with it."""
        site = self.site
        whole = Frame.of(encoding, site)
        # Layers of one window see alike.
        kinds: dict[int | None, tuple[MapView, Doubles]] = {}
        views: dict[int, MapView] = {}
        counts = []
        for layer in site.layers:
            window = site.windows.get(layer)
            if window not in kinds:
                view = self._view(whole.in_layer(site, layer), window)
                kinds[window] = view, _counts(view, one_text=site.name != "cross")
            views[layer], count = kinds[window]
            counts.append(np.repeat(count[:, None], site.heads[layer], axis=1))
        return views, np.concatenate(counts, axis=1)

    def _view(self, frame: Frame, window: int | None) -> MapView:
        """The view of one text, from what texts of its length share."""
        key = len(frame.rows), len(frame.columns), window
        shared = self._shared.get(key)
        if shared is None:
            shared = _shared(frame, self.site)
            if max(key[:2]) <= SHARED_UP_TO:
                self._shared[key] = shared
        cells, rows = shared.cells.copy(), shared.rows.copy()
        if self.site.name != "cross":
            for number, (name, shape) in enumerate(PATTERNS.items()):
                if name in REPEATED:
                    own = shape.cells(frame)
                    cells[number], rows[number] = own, own.any(axis=-1)
        ordinary = np.array([not group.special for group in frame.columns])
        if frame.causal:
            ordinary[0] = False
        several = frame.visible.sum(axis=-1) > 1
        cells[WORDS] = ordinary & several[:, None]
        return replace(shared, cells=cells, rows=rows)


def _shared(frame: Frame, site: Site) -> MapView:
    """What depends on nothing but how many tokens there are and who sees whom."""
    visible = frame.visible
    cells = np.zeros((SUMS, *visible.shape), np.float32)
    for number, (name, shape) in enumerate(PATTERNS.items()):
        if name not in REPEATED:
            cells[number] = shape.cells(frame)
    count = visible.sum(axis=-1)
    far = np.abs(frame.steps)
    largest = np.where(visible, far, 0).max(axis=-1)
    if site.name != "cross":
        cells[DISTANCE] = far
        cells[NEARNESS] = far / np.maximum(largest, 1)[:, None]
    entropies = np.zeros((2, len(count)), np.float32)
    entropies[0] = 1
    entropies[1, count > 1] = 1 / np.log(count[count > 1])
    seen_by = visible.sum(axis=-2)
    stripe = np.zeros(len(seen_by), np.float32)
    often = seen_by >= SEEN_BY * seen_by.max()
    stripe[often] = seen_by[often]
    rows = np.zeros((len(PATTERNS), len(visible)), np.float32)
    rows[:] = cells[: len(PATTERNS)].any(axis=-1)
    return MapView(cells, rows, entropies, visible, stripe)


def _counts(view: MapView, *, one_text: bool) -> Doubles:
    rows = len(view.visible)
    far = view.cells[DISTANCE] * view.visible
    several = view.visible.sum(axis=-1) > 1
    return np.array(
        [rows, several.sum(), far.any(axis=-1).sum(), rows if one_text else 0], np.float64
    )
