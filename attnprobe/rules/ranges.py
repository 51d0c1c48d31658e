"""The values that a number can have, whatever a model does with a text.

The masks and the number of positions limit every measure: the entropy of a row over n keys is at
most ln n, and a row that sees nothing but a pattern has all of its mass there. No model can break a
bound at the end of such a range, or beyond it, so the bound says nothing about the model. Ranges
may be wider than what a model can reach, never narrower.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Bools
from attnprobe.core.sites import Site
from attnprobe.rules.frame import SEEN_BY, Doubles, Frame, SinkKind, sink_columns

# Tokens that stand for no character: start and end of the text, two or three separators of a pair,
# language codes at either end, a mark of the first word. No tokenizer adds more than half of these.
ADDED_TOKENS = 16


class Range(NamedTuple):
    """The least and the largest value that a number can have."""

    low: float = -math.inf
    high: float = math.inf


def most_tokens(*texts: str) -> int:
    """At least as many tokens as any tokenizer makes of these texts together.

    A tokenizer splits no further than into the UTF-8 bytes of the text, as it stands or as it is
    normalised; the longest form of each character counts: itself, lower case, decomposed (NFKD).
    """
    return ADDED_TOKENS + sum(map(_most_bytes_of_text, texts))


# Each expectation of a case asks about the same text.
@lru_cache(maxsize=64)
def _most_bytes_of_text(text: str) -> int:
    return sum(_most_bytes(character) * count for character, count in Counter(text).items())


@lru_cache(maxsize=4096)
def _most_bytes(character: str) -> int:
    forms = {character, character.lower()}
    forms |= {unicodedata.normalize("NFKD", form) for form in forms}
    return max(len(form.encode("utf-8", "surrogatepass")) for form in forms)


def entropy_range(frame: Frame, *, normalised: bool) -> Range:
    """Range of the mean entropy of the rows, in nats, or as a share of ln n."""
    count = frame.visible.sum(axis=-1)
    if normalised:
        count = count[count > 1]
    highs = np.log(count)
    if _is_leaky(frame):
        # The share of a learned sink is in no term, so each key may have 1/e, where −a ln a peaks.
        highs = np.maximum(highs, np.minimum(count, 2) / math.e)
    if normalised:
        highs = highs / np.log(count)
    return _mean_range(np.zeros(len(count)), highs, frame)


def distance_range(frame: Frame, *, normalised: bool) -> Range:
    """Range of the mean distance of the rows, in the frame's unit, or of its share."""
    far = np.abs(frame.steps)
    lows = np.where(frame.visible, far, np.inf).min(axis=-1)
    highs = np.where(frame.visible, far, 0).max(axis=-1).astype(np.float64)
    if _is_leaky(frame):
        lows = np.zeros(len(lows))
    if normalised:
        counted = highs > 0
        lows, highs = lows[counted] / highs[counted], np.ones(counted.sum())
    return _mean_range(lows, highs, frame)


def sink_range(frame: Frame, into: SinkKind) -> Range:
    """Range of the mean sink mass of the rows, in a frame of all tokens."""
    columns = np.zeros(len(frame.columns), bool)
    match into:
        case "all":
            columns |= sink_columns(frame.keys, causal=frame.causal)
        case "special":
            columns |= np.array([name is not None for name in frame.keys.special])
        case "first":
            columns[0] = True
    visible = frame.visible[frame.visible.sum(axis=-1) > 1]
    highs = (visible & columns).any(axis=-1)
    lows = ~(visible & ~columns).any(axis=-1)
    if frame.learned_sink:
        highs = highs | (into in ("all", "learned"))
        lows = lows & (into == "all")
    return _mean_range(lows.astype(np.float64), highs.astype(np.float64), frame)


def mass_range(frame: Frame, cells: Bools) -> Range:
    """Range of the share of the mass that lies on the cells."""
    counted, forced = _forced(frame, cells)
    lows = forced[counted].astype(np.float64)
    if _is_leaky(frame):
        lows = np.full(len(lows), float(lows.all()))
    return _mean_range(lows, np.ones(len(lows)), frame)


def match_range(frame: Frame, cells: Bools) -> Range:
    """Range of 1 − mean over rows of Σ_s |A − D|.

    A row with c cells that hold a share m differs by c + 1 − 2m.
    """
    counted, forced = _forced(frame, cells)
    size = cells.sum(axis=-1)[counted].astype(np.float64)
    least = 1 - size if _is_leaky(frame) else 2 - size
    return _mean_range(np.where(forced[counted], least, -size), 2 - size, frame)


def stripe_range(frame: Frame) -> Range:
    """Range of the share of the mass on the strongest column.

    The columns to choose from hold at least the mass of the rows that see no others, and the
    strongest of them has at least the mean of their means.
    """
    if frame.spare_rows:
        whole = bool(frame.visible.all())
        return Range(1 / len(frame.columns) if whole else 0.0, 1.0)
    count = frame.visible.sum(axis=-2)
    sought = count >= SEEN_BY * count.max()
    confined = int((~(frame.visible & ~sought).any(axis=-1)).sum())
    low = 0.0 if _is_leaky(frame) else confined / int(count[sought].sum())
    return Range(low, 1.0)


def keys_range(frame: Frame, share: float = 0.9) -> Range:
    """Range of how many keys hold a share of a row's mass, mean over rows."""
    count = frame.visible.sum(axis=-1)
    highs = np.maximum(np.ceil(share * count - 1e-6), 1.0)
    return _mean_range(np.ones(len(count)), highs, frame)


def divergence_range(visible: npt.NDArray[np.int64], heads: int) -> Range:
    """Range of the Jensen-Shannon divergence of heads, mean over their pairs and over rows.

    It is convex in all rows together, so it is largest where each head looks at one key. The
    number of pairs that differ is then largest where the heads are spread evenly over the keys
    (Turán's theorem).

    Args:
        visible: `[rows]`, how many keys each row sees, a learned sink included.
    """
    full, rest = np.divmod(heads, visible)
    alike = rest * (full + 1) * full / 2 + (visible - rest) * full * (full - 1) / 2
    pairs = heads * (heads - 1) / 2
    return Range(0.0, float((1 - alike / pairs).mean() * math.log(2)))


def visible_columns(site: Site, layer: int, queries: Sequence[int], length: int) -> Bools:
    """Which columns the mask of a layer lets each query see, `[queries, source]`."""
    rows, columns = np.array(queries)[:, None], np.arange(length)
    seen = np.ones((len(queries), length), bool)
    if layer in site.windows:
        seen &= np.abs(columns - rows) < site.windows[layer]
    if site.causal:
        seen &= columns <= rows
    return seen


def weight_range(
    visible: Bools, expected: Sequence[int], *, words: Bools | None, leaky: bool
) -> Range:
    """Range of the weight on some columns, mean over the rows.

    Args:
        visible: `[rows, source]`.
        words: `[source]`, the columns that the weights are scaled to; None for the whole row.
        leaky: whether a learned sink takes a share of the rows.
    """
    meant = _columns(expected, visible.shape[1])
    counted: Bools = visible if words is None else visible & words
    highs = _any(counted & meant)
    lows = highs & ~_any(counted & ~meant)
    if words is None:
        return Range(float((lows & (not leaky)).mean()), float(highs.mean()))
    judged = counted.any(axis=-1)
    return _hull(lows[judged].astype(np.float64), highs[judged].astype(np.float64))


def mean_weight(ranges: Sequence[Range], *, scaled: bool) -> Range:
    """Range of the weight in the mean of heads; a scaled weight is a quotient of two means."""
    lows, highs = (np.array(ends) for ends in zip(*ranges, strict=True))
    return _hull(lows, highs) if scaled else Range(float(lows.mean()), float(highs.mean()))


def flow_range(
    visible: Bools,
    queries: Sequence[int],
    expected: Sequence[int],
    *,
    words: Bools | None,
    layers: int,
    maxflow: bool,
) -> Range:
    """Range of the share of a flow that comes from some columns, mean over the queries.

    By the residual connection each layer keeps at least half of a position where it is. In a
    max-flow the flow from the position itself is at least 1/2, from any other at most 1.

    Args:
        visible: `[queries, source]`, by causality alone.
        words: `[source]`, the columns that the shares are scaled to; None for all.
        layers: how many the flow passes.
    """
    meant = _columns(expected, visible.shape[1])
    counted: Bools = visible if words is None else visible & words
    ranges = []
    for row, query in zip(counted, queries, strict=True):
        inside, outside = int((row & meant).sum()), int((row & ~meant).sum())
        if not inside or not outside:
            ranges.append(Range(float(bool(inside)), float(bool(inside))))
            continue
        stays = 0.5**layers
        if maxflow:
            low, high = 0.5 / (0.5 + outside), 0.5 if layers == 1 else inside / (inside + 0.5)
        else:
            low, high = stays, 1 - stays
        # Scaled to words, a share counts for more, unless the position itself is a word.
        itself = bool(row[query])
        ranges.append(
            Range(low if meant[query] else 0.0, high if itself and not meant[query] else 1.0)
        )
    lows, highs = (np.array(ends) for ends in zip(*ranges, strict=True))
    return _hull(lows, highs) if words is not None else Range(lows.mean(), highs.mean())


def _columns(positions: Sequence[int], length: int) -> Bools:
    found = np.zeros(length, bool)
    found[list(positions)] = True
    return found


def _hull(lows: Doubles, highs: Doubles) -> Range:
    """Range of a quotient of sums, each part of which has a range; without parts, any number."""
    return Range(float(lows.min()), float(highs.max())) if len(lows) else Range()


def _forced(frame: Frame, cells: Bools) -> tuple[Bools, Bools]:
    """Which rows have a cell, and which of them see nothing else."""
    counted = _any(cells)
    return counted, counted & ~_any(frame.visible & ~cells)


def _any(cells: Bools) -> Bools:
    """Whether each row has a cell."""
    found: Bools = np.logical_or.reduce(cells, axis=-1)
    return found


def _is_leaky(frame: Frame) -> bool:
    """Whether a learned sink takes a share of the rows that is not scaled away."""
    return frame.learned_sink and frame.special


def _mean_range(lows: Doubles, highs: Doubles, frame: Frame) -> Range:
    """Range of the mean over rows of which the frame may leave some out."""
    count = max(len(lows) - frame.spare_rows, 1)
    return Range(float(np.sort(lows)[:count].mean()), float(np.sort(highs)[-count:].mean()))
