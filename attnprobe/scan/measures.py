"""The measures of every head in a scan, besides relations: patterns, entropy, distance, sink.

The formulas are those of the rules, pooled over a corpus: they sum over all rows of all sentences,
count in tokens and include special tokens.
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
    """The name and the unit of a number that every head has; a share lies between 0 and 1."""

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
"""`vertical` is the mass on the strongest column of each sentence. A low normalised entropy is the
pattern `sparse`, a high one `uniform`."""

# Views of longer texts are not shared: few have the same length, and memory grows with its square.
SHARED_UP_TO = 128
# The sums of `MapView.cells` that follow the patterns.
DISTANCE, NEARNESS, WORDS = (len(PATTERNS) + extra for extra in range(3))
SUMS = len(PATTERNS) + 3


class Totals:
    """Sums over rows of maps, for all heads of a site, in one array `[sums, heads]`.

    Attributes:
        cells: `[sums, heads]`: the mass on each pattern, Σ a·|t − s|, the same divided by the row's
            largest distance, the mass on words.
        rows: `[patterns, heads]`, the mass of the rows in which the pattern has a cell.
        entropies: `[2, heads]`, in nats and normalised.
        stripes: `[2, heads]`, as in `MapSums`.
        counts: `[4, heads]`, numbers of rows: all; with more than one key; with a key at a
            distance; all, if rows and columns are of one text, else 0.
    """

    SIZES = (SUMS, len(PATTERNS), 2, 2, 4)

    def __init__(self, sums: Doubles) -> None:
        ends = np.cumsum(self.SIZES)[:-1]
        self.sums = sums
        self.cells, self.rows, self.entropies, self.stripes, self.counts = np.split(sums, ends)

    @classmethod
    def empty(cls, heads: int) -> Totals:
        return cls(np.zeros((sum(cls.SIZES), heads)))

    def add(self, sums: MapSums) -> None:
        """Adds the sums of one forward pass in place."""
        own = self.cells, self.rows, self.entropies, self.stripes
        for total, part in zip(
            own, (sums.cells, sums.rows, sums.entropies, sums.stripes), strict=True
        ):
            np.add(total, part, out=total)

    def add_rows(self, counts: Doubles) -> None:
        """Adds the row counts of a text, `[4, heads]`, in place."""
        np.add(self.counts, counts, out=self.counts)

    def scores(self) -> Doubles:
        """Every measure of every head, `[measures, heads]`; NaN where no row counts."""
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
    """Makes the `MapView`s of texts at a site; texts of one length share the common part."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._shared: dict[tuple[int, int, int | None], tuple[MapView, Doubles]] = {}

    def of(self, encoding: Encoding) -> tuple[dict[int, MapView], Doubles]:
        """The view of each layer, and the counts `[4, heads]` of rows that go with it."""
        site = self.site
        whole = Frame.of(encoding, site)
        # Layers of the same window have the same mask.
        kinds: dict[int | None, tuple[MapView, Doubles]] = {}
        views: dict[int, MapView] = {}
        counts = []
        for layer in site.layers:
            window = site.windows.get(layer)
            if window not in kinds:
                kinds[window] = self._view(whole.in_layer(site, layer), window)
            views[layer], count = kinds[window]
            counts.append(np.repeat(count[:, None], site.heads[layer], axis=1))
        return views, np.concatenate(counts, axis=1)

    def _view(self, frame: Frame, window: int | None) -> tuple[MapView, Doubles]:
        """The view of one text in the layers of one window, and the row counts of one head."""
        key = len(frame.rows), len(frame.columns), window
        if key in self._shared:
            shared, counts = self._shared[key]
        else:
            shared = _shared_view(frame, self.site)
            counts = _counts(shared, one_text=self.site.name != "cross")
            if max(key[:2]) <= SHARED_UP_TO:
                self._shared[key] = shared, counts
        cells, rows = shared.cells.copy(), shared.rows.copy()
        if self.site.name != "cross":
            for number, (name, shape) in enumerate(PATTERNS.items()):
                if name in REPEATED:
                    repeated = shape.cells(frame)
                    cells[number], rows[number] = repeated, repeated.any(axis=-1)
        ordinary = np.array([not group.special for group in frame.columns])
        if frame.causal:
            ordinary[0] = False
        several = frame.visible.sum(axis=-1) > 1
        cells[WORDS] = ordinary & several[:, None]
        return replace(shared, cells=cells, rows=rows), counts


def _shared_view(frame: Frame, site: Site) -> MapView:
    """The part of a view that depends only on the number of tokens and on the mask."""
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
    """The row counts `[4]` of `Totals.counts` for one head."""
    rows = len(view.visible)
    far = view.cells[DISTANCE] * view.visible
    several = view.visible.sum(axis=-1) > 1
    return np.array(
        [rows, several.sum(), far.any(axis=-1).sum(), rows if one_text else 0], np.float64
    )
