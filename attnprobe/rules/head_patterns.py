"""What every head does on a text, in a word: `name_patterns`, and the table of all heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from xml.etree import ElementTree

import numpy as np

from attnprobe.core.errors import MeasureError
from attnprobe.core.names import HEAD_NAMES, SortKey
from attnprobe.core.printing import visible
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Head, Site
from attnprobe.core.wording import format_short
from attnprobe.rules.frame import Doubles, Frame, row_mean
from attnprobe.rules.pattern import PatternName, Shape, pattern_scores, strongest_column
from attnprobe.rules.statistics import distance

_SHOWN = 24  # rows of the short table

# A pattern that holds more than half of a head's mass gives the head its name. A window of five
# must hold more, since in short texts it holds half by chance.
NAMED_ABOVE = 0.5
LOCAL_WINDOW = 2
LOCAL_ABOVE = 0.75
UNIFORM_ABOVE = 0.9
SPARSE_BELOW = 0.4


@dataclass(frozen=True)
class HeadPattern:
    """What a head does on a text, by the pattern that says most.

    Attributes:
        pattern: a PatternName, `mixed` where none fits, `sink` where words get too little.
        score: of this pattern: mass from 0 to 1; the normalised entropy for `sparse`, `uniform`
            and `mixed`; NaN for `sink`.
        on: what a vertical stripe stands on.
        scores: of every pattern that was tried.
        distance: mean distance of the attention in the frame's unit; NaN for cross attention.
    """

    head: Head
    pattern: str
    score: float
    on: str | None
    scores: Mapping[str, float]
    distance: float = math.nan


class Patterns(tuple[HeadPattern, ...]):
    """What every head does.

    Its text is a table of the first heads; a notebook shows a table of all heads.
    """

    __slots__ = ()

    def by(self, key: SortKey) -> Self:
        """The heads in another order; heads without the number come last.

        Args:
            key: `head`, `pattern` (by name, the highest score first), `score` (the highest first),
                `entropy` or `distance` (the lowest first).
        """

        def place(head: HeadPattern) -> tuple[object, ...]:
            score = math.inf if math.isnan(head.score) else -head.score
            number = {
                "score": head.score,
                "entropy": head.scores["entropy"],
                "distance": head.distance,
            }.get(key, 0.0)
            match key:
                case "head":
                    return (head.head,)
                case "pattern":
                    return (head.pattern, score, head.head)
                case "score":
                    return (score, head.head)
            return (math.isnan(number), 0.0 if math.isnan(number) else number, head.head)

        return type(self)(sorted(self, key=place))

    def named(self, *patterns: str) -> Self:
        """The heads of these patterns.

        Raises:
            MeasureError: no head can be called so.
        """
        for pattern in patterns:
            if pattern not in HEAD_NAMES:
                raise MeasureError(f"no pattern {pattern!r}; {did_you_mean(pattern, HEAD_NAMES)}")
        return type(self)(head for head in self if head.pattern in patterns)

    def __str__(self) -> str:
        lines = [_COLUMNS[:4], *(head_cells(head)[:4] for head in self[:_SHOWN])]
        wide = [max(len(line[column]) for line in lines) for column in range(3)]
        text = "\n".join(
            f"{head:<{wide[0]}}  {pattern:<{wide[1]}}  {score:>{wide[2]}}  {on}".rstrip()
            for head, pattern, score, on in lines
        )
        more = len(self) - _SHOWN
        return f"{text}\n… and {more} more heads" if more > 0 else text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = ElementTree.Element("table")
        for kind, cells in (("th", _COLUMNS), *(("td", head_cells(head)) for head in self)):
            row = ElementTree.SubElement(table, "tr")
            for cell in cells:
                ElementTree.SubElement(row, kind).text = cell
        return ElementTree.tostring(table, encoding="unicode", method="html")


_COLUMNS = ("head", "pattern", "score", "on", "entropy", "distance")


def head_cells(head: HeadPattern) -> tuple[str, ...]:
    """The cells of a head's row in a table of patterns; a number that does not exist is empty."""
    return (
        str(head.head),
        head.pattern,
        format_short(head.score),
        visible(head.on or ""),
        format_short(head.scores["entropy"]),
        format_short(head.distance),
    )


def name_patterns(
    weights: Doubles, frame: Frame, site: Site, layer: int
) -> tuple[HeadPattern, ...]:
    """What each head of a layer does.

    The first of these that applies names the head: of diagonal, previous, next, duplicate and
    induction the one with the most mass, if that is over half; a vertical stripe to which over
    half of the rows give over half of their mass; a window of two to each side from 0.75; the
    normalised entropy, `uniform` from 0.9, `sparse` up to 0.4; else `mixed`.

    Args:
        weights: `[heads, rows, columns]` in the frame.
    """
    is_cross = site.name == "cross"
    pointing: tuple[PatternName, ...] = ("diagonal", "previous", "next")
    if not is_cross:
        pointing += ("duplicate", "induction")
    tried: dict[str, Doubles] = {}
    for name in (*pointing, "vertical", "local", "sparse"):
        shape = Shape(name, window=LOCAL_WINDOW)
        if shape.possible(frame):
            tried[name] = pattern_scores(weights, frame, shape)
    # A row that sees one key alone has no entropy.
    tried["entropy"] = tried.pop("sparse", np.full(len(weights), np.nan))
    columns = strongest_column(weights, frame)
    distances = np.full(len(weights), np.nan) if is_cross else row_mean(distance(weights, frame))
    found = []
    for number, matrix in enumerate(weights):
        scores = {name: float(values[number]) for name, values in tried.items()}
        stripe = frame.columns[int(columns[number])].label
        striped = float(np.mean(matrix[:, columns[number]] > 0.5)) > 0.5
        pattern = _name_pattern(
            {name: scores[name] for name in pointing if name in scores}, scores, striped
        )
        score = scores[pattern if pattern in scores else "entropy"]
        on = stripe if pattern == "vertical" else None
        far = float(distances[number])
        found.append(HeadPattern(Head(layer, number), pattern, score, on, scores, far))
    return tuple(found)


def _name_pattern(pointing: Mapping[str, float], scores: Mapping[str, float], striped: bool) -> str:
    entropy_ = scores["entropy"]
    if np.isnan([entropy_, *pointing.values()]).all():
        return "sink"
    strongest = max(pointing, key=lambda name: pointing[name])
    if pointing[strongest] > NAMED_ABOVE:
        return strongest
    if striped:
        return "vertical"
    if scores["local"] >= LOCAL_ABOVE:
        return "local"
    if entropy_ >= UNIFORM_ABOVE:
        return "uniform"
    return "sparse" if entropy_ <= SPARSE_BELOW else "mixed"
