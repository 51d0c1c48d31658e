"""One head before and after: two heatmaps on one scale, and a heatmap of their difference."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import WHOLE_PICTURE, Cells
from attnprobe.core.wording import format_short
from attnprobe.render.figures.frame import Scale, signed
from attnprobe.render.figures.heatmap import heatmap
from attnprobe.render.figures.style import Drawing
from attnprobe.render.palette import DIFFERENCE


class Triple(NamedTuple):
    """The heatmaps before and after, and of the difference."""

    old: Drawing
    new: Drawing
    difference: Drawing


def difference_map() -> Colormap:
    """A colour map from brown for less over exactly white for zero to green for more."""
    # Only an odd number of colours has a middle one.
    return LinearSegmentedColormap.from_list("attnprobe-difference", DIFFERENCE, N=257)


def triple(
    old: Floats,
    new: Floats,
    *,
    queries: Sequence[str],
    keys: Sequence[str],
    titles: tuple[str, str, str],
    expected: Cells | None = None,
    contrast: Cells | None = None,
    rows: Collection[int] | None = None,
) -> Triple:
    """Draws attention weights before and after on one scale, and the change (new minus old).

    A fall is brown, a rise green, no change white; the scale of the change is symmetric.

    Args:
        old, new: `[target, source]`; rows that were not captured are NaN.
        queries: the target tokens.
        keys: the source tokens.
        titles: the titles of the three pictures.
        expected, contrast, rows: as in `heatmap`.

    Raises:
        ValueError: weights, tokens, cells or rows do not fit one another.
    """
    if old.shape != new.shape:
        raise ValueError(f"weights of shapes {list(old.shape)} and {list(new.shape)} do not fit")

    change = new - old
    marked = [row for cells in (expected, contrast) if cells for row in cells.rows]
    strip = sorted({*marked, *(rows or ())}) if max(old.shape) > WHOLE_PICTURE else []
    drawn = strip or slice(None)
    top, most = _largest(old[drawn], new[drawn]), _largest(np.abs(change[drawn]))
    scales = Scale(0.0, top), Scale(0.0, top), Scale(-most, most, difference_map())
    names = ("attention weight", "attention weight", "change of attention weight")
    drawings = [
        heatmap(
            values,
            queries=queries,
            keys=keys,
            title=title,
            expected=expected,
            contrast=contrast,
            rows=rows,
            scale=scale,
            measure=name,
            write=format_short if values is not change else signed,
        )
        for values, title, scale, name in zip(
            (old, new, change), titles, scales, names, strict=True
        )
    ]
    return Triple(*drawings)


def _largest(*values: Floats) -> float:
    """The largest finite value; 1 if all are zero."""
    found = np.concatenate([part[np.isfinite(part)] for part in values])
    return float(found.max(initial=0.0)) or 1.0
