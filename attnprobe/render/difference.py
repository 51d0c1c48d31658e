"""The same head before and after: two heatmaps on one scale, and their difference."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import WHOLE_PICTURE
from attnprobe.core.wording import format_short
from attnprobe.render.frame import Scale, signed
from attnprobe.render.heatmap import Cells, heatmap
from attnprobe.render.palette import DIFFERENCE
from attnprobe.render.style import Drawing


class Triple(NamedTuple):
    """The three pictures of a case."""

    old: Drawing
    new: Drawing
    difference: Drawing


def difference_map() -> Colormap:
    """Brown for less, green for more, exactly white for zero."""
    # An odd number of colours: the middle one is its own, and so exactly white.
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
    """Draws attention weights before and after on one scale, and the second less the first.

    The difference is brown where there is less and green where there is more now, white at zero,
    its limits as far below zero as above.

    Args:
        old, new: `[target, source]`; rows that were not captured are NaN.
        queries: the target tokens.
        keys: the source tokens.
        titles: of the three pictures.
        expected, contrast, rows: as in `heatmap`.

    Raises:
        ValueError: weights, tokens, cells or rows do not fit one another.
    """
    if old.shape != new.shape:
        raise ValueError(f"weights of shapes {list(old.shape)} and {list(new.shape)} do not fit")

    change = new - old
    marked = [row for cells in (expected, contrast) if cells for row in cells.rows]
    strip = sorted({*marked, *(rows or ())}) if max(old.shape) > WHOLE_PICTURE else []
    shown = strip or slice(None)
    top, most = _largest(old[shown], new[shown]), _largest(np.abs(change[shown]))
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
    """The largest of the finite values; 1 where all are zero."""
    found = np.concatenate([part[np.isfinite(part)] for part in values])
    return float(found.max(initial=0.0)) or 1.0
