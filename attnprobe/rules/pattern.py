"""`pattern`, `induction` and `duplicate`: shapes that a head's whole map can have.

The scores are those of TransformerLens' `detect_head` ("mul" and "abs"), but rows without a target
do not count: the first token has no previous one, so it says nothing about a head that looks back.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from attnprobe.core.arrays import Bools
from attnprobe.core.charts import Chart
from attnprobe.core.errors import SelectorError
from attnprobe.core.needs import Rows
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding, Tokens
from attnprobe.core.units import MeasureUnit
from attnprobe.core.wording import format_stated
from attnprobe.rules.base import RULES, Demand, Place, SelectorField
from attnprobe.rules.frame import SEEN_BY, Doubles, Frame, Unit, row_mean
from attnprobe.rules.ranges import (
    Range,
    entropy_range,
    keys_range,
    mass_range,
    match_range,
    stripe_range,
)
from attnprobe.rules.score import Scored, layer_panel
from attnprobe.rules.statistics import KEYS_SHARE, check_one_sequence, entropy, keys_holding
from attnprobe.words.positions import positions

PatternName = Literal[
    "diagonal",
    "previous",
    "next",
    "offset",
    "local",
    "vertical",
    "sparse",
    "uniform",
    "duplicate",
    "induction",
]
Form = Literal["mass", "match"]
REPEATED = ("duplicate", "induction")
Share = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Shape:
    """The cells that a pattern is made of.

    Attributes:
        window: reach of `local`, in the frame's unit.
        diagonal: whether `local` counts the position itself.
        offset: steps to the right of `offset`; below zero to the left.
        on: token positions of the stripe of `vertical`; the strongest column if empty.
    """

    name: PatternName
    window: int = 2
    diagonal: bool = True
    offset: int = 0
    on: tuple[int, ...] = ()

    # Heads of a layer are scored one after the other in the same frame.
    @lru_cache(maxsize=10)  # noqa: B019 - shapes are values
    def cells(self, frame: Frame) -> Bools:
        """Where a head of this shape looks, `[rows, columns]`, read-only."""
        steps, columns, rows = frame.steps, frame.column_places, frame.row_places[:, None]
        match self.name:
            case "diagonal":
                found = steps == 0
            case "previous":
                found = steps == -1
            case "next":
                found = steps == 1
            case "offset":
                found = steps == self.offset
            case "local":
                found = (np.abs(steps) <= self.window) & (self.diagonal | (steps != 0))
            case "duplicate":
                found = (frame.codes[columns] == frame.codes[rows]) & (columns < rows)
            case "induction":
                before = frame.codes[columns - 1] == frame.codes[rows]
                found = before & (columns >= 1) & (columns <= rows)
            case _:
                found = np.zeros(steps.shape, bool)
                found[:, list(frame.columns_at(self.on))] = True
        cells: Bools = found & frame.visible
        cells.flags.writeable = False
        return cells

    def possible(self, frame: Frame) -> bool:
        """Whether any row has a target; statistics, and a stripe at no fixed place, need none."""
        if self.name in ("sparse", "uniform") or (self.name == "vertical" and not self.on):
            return bool((frame.visible.sum(axis=-1) > 1).any())
        return bool(self.cells(frame).any())

    def check(self, frame: Frame, site: Site) -> None:
        """Raises SelectorError where no head of this site could have the shape."""
        if self.name not in get_args(PatternName):
            near = did_you_mean(self.name, get_args(PatternName))
            raise SelectorError(f"unknown pattern {self.name!r}; {near}")
        if self.name in REPEATED:
            check_one_sequence(self.name, site)
        if not self.possible(frame):
            raise SelectorError(self._nowhere(frame))

    def _nowhere(self, frame: Frame) -> str:
        ahead = self.name == "next" or (self.name == "offset" and self.offset > 0)
        if ahead and frame.causal:
            return "no head can look ahead here: this site sees only what came before"
        if self.name in REPEATED:
            return (
                f"no row has a target for {self.name}: nothing in this text stands there twice; "
                "write a text that repeats itself"
            )
        return f"no row of this text has a target for {self.name}"


def mass(weights: Doubles, cells: Bools) -> Doubles:
    """Share of the mass that lies on the cells, Σ(A∘D)/ΣA over rows with a cell, `[heads]`.

    Args:
        weights: `[heads, target, source]`; a row that is NaN does not count.
        cells: `[target, source]`, or one map a head.
    """
    counted = cells.any(axis=-1) & ~np.isnan(weights[..., 0])
    hit = np.where(counted, weights.sum(axis=-1, where=cells), 0).sum(axis=-1)
    total = np.where(counted, weights.sum(axis=-1), 0).sum(axis=-1)
    share = np.full(total.shape, np.nan)
    np.divide(hit, total, out=share, where=total > 0)
    return share


def match(weights: Doubles, cells: Bools) -> Doubles:
    """1 − mean over rows with a cell of Σ_s |A − D|, `[heads]`, at most 1.

    1 is the pattern itself; where each row has one cell, 0 is half of the mass. The differences of
    a row are summed, as in TransformerLens: their mean over all cells would be near 1 for any head.
    """
    difference = np.abs(weights - cells).sum(axis=-1)
    return 1 - row_mean(np.where(cells.any(axis=-1), difference, np.nan))


def strongest_column(weights: Doubles, frame: Frame) -> npt.NDArray[np.int64]:
    """Index of the column with the largest mean over the rows that see it, `[heads]`."""
    seen = frame.visible & ~np.isnan(weights[..., :1])
    count = seen.sum(axis=-2)
    total = weights.sum(axis=-2, where=seen)
    most = frame.visible.sum(axis=-2).max()
    mean = np.where(count >= SEEN_BY * most, total / np.maximum(count, 1), -1.0)
    strongest: npt.NDArray[np.int64] = mean.argmax(axis=-1)
    return strongest


def pattern_scores(weights: Doubles, frame: Frame, shape: Shape, form: Form = "mass") -> Doubles:
    """How far each head has a pattern, `[heads]`; NaN for a head that says nothing.

    The normalised entropy for `sparse` and `uniform`, else the share (`mass`) or the `match`.

    Args:
        weights: `[heads, rows, columns]` in the frame.
    """
    if shape.name in ("sparse", "uniform"):
        return row_mean(entropy(weights, frame.visible))
    score = mass if form == "mass" else match
    return score(weights, _cells_of_heads(weights, frame, shape))


def _cells_of_heads(weights: Doubles, frame: Frame, shape: Shape) -> Bools:
    if shape.name != "vertical" or shape.on:
        return shape.cells(frame)
    on = strongest_column(weights, frame)[..., None, None] == np.arange(len(frame.columns))
    stripes: Bools = on & frame.visible
    return stripes


class _Shaped(Scored):
    """Base of the rules on patterns; bounds and slack are in the score."""

    form: Form = Field(
        "mass",
        description="mass: share of the weight on the pattern, 0 to 1; match: 1 less the summed "
        "difference from the pure pattern, at most 1.",
    )
    unit: Unit = Field("tokens", description="Rows and columns are tokens, or whole words.")
    special: bool = Field(
        True,
        description="Whether special tokens count; without them rows are scaled to sum to 1.",
    )
    min: Share | None = Field(None, description="Least score.")
    max: Share | None = Field(None, description="Largest score.")

    @abstractmethod
    def _shape(self, keys: Tokens) -> Shape:
        """The pattern that the rule states."""

    def _frame(self, encoding: Encoding, site: Site) -> Frame:
        return Frame.of(encoding, site, unit=self.unit, special=self.special)

    def _check(self, frame: Frame, site: Site) -> None:
        self._shape(frame.keys).check(frame, site)

    def _score(self, view: Doubles, frame: Frame) -> Doubles:
        return pattern_scores(view, frame, self._shape(frame.keys), self.form)

    def _range(self, frame: Frame) -> Range:
        shape = self._shape(frame.keys)
        if shape.name in ("sparse", "uniform"):
            return entropy_range(frame, normalised=True)
        if shape.name == "vertical" and not shape.on:
            low, high = stripe_range(frame)
            # Of a row with one cell that holds the share m, the match is 2m − 1.
            return Range(low, high) if self.form == "mass" else Range(2 * low - 1, high)
        bounded = mass_range if self.form == "mass" else match_range
        return bounded(frame, shape.cells(frame))

    def _measure(self, view: Doubles, frame: Frame) -> str:
        return self._title()

    def _measure_unit(self) -> MeasureUnit:
        return "weight" if self.form == "mass" else "match"

    def _charts(
        self, found: Rows, scores: Mapping[int, Doubles], decided: tuple[Head, ...]
    ) -> Iterator[Chart]:
        yield from super()._charts(found, scores, decided)
        yield from layer_panel(found, decided)


class _Repeated(_Shaped):
    """Base of `induction` and `duplicate`, which need a text that repeats itself."""

    kind: ClassVar[Literal["induction", "duplicate"]]

    def _shape(self, keys: Tokens) -> Shape:
        return Shape(self.kind)

    def _title(self) -> str:
        return f"{self.kind} {self.form}"


@RULES.register("induction")
class Induction(_Repeated):
    """The head looks at what came after an earlier occurrence of the same token or word.

    Source: Olsson et al. 2022, "In-context Learning and Induction Heads".
    """

    kind = "induction"
    example = "{min: 0.5}"


@RULES.register("duplicate")
class Duplicate(_Repeated):
    """The head looks at earlier occurrences of the same token or word."""

    kind = "duplicate"
    example = "{min: 0.5}"


@RULES.register("pattern")
class Pattern(_Shaped):
    """The head's map has a shape: a diagonal, a stripe, a window, focus or spread."""

    bounds = frozenset({"min", "max", "keys"})
    kind = "pattern"
    example = "{is: previous, min: 0.5}"
    positional = ("is",)

    is_: PatternName = Field(alias="is", description="The shape of the map.")
    window: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Reach of local, in tokens or words to each side."
    )
    diagonal: bool | None = Field(
        None, description="Whether local counts the position itself; true by default."
    )
    offset: int | None = Field(
        None, description="Steps of offset, to the right; below zero to the left."
    )
    to: SelectorField | None = Field(
        None,
        description="What vertical stands on; the strongest column without it.",
    )
    keys: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="How many keys hold 90 % of a row's mass, mean over rows: at most so many for "
        "sparse, at least for uniform.",
    )

    @model_validator(mode="after")
    def _arguments_fit(self) -> Self:
        spread = self.is_ in ("sparse", "uniform")
        for name, fits, owner in (
            ("window", self.is_ == "local", "local"),
            ("diagonal", self.is_ == "local", "local"),
            ("offset", self.is_ == "offset", "offset"),
            ("to", self.is_ == "vertical", "vertical"),
            ("keys", spread, "sparse and uniform"),
        ):
            if getattr(self, name) is not None and not fits:
                raise ValueError(f"{name}: belongs to {owner}, not to {self.is_}")
        if self.is_ == "local" and self.window is None:
            raise ValueError("local needs window:, such as window: 2")
        if self.is_ == "offset" and self.offset is None:
            raise ValueError("offset needs offset:, such as offset: -2")
        if spread and "form" in self.model_fields_set:
            raise ValueError(f"{self.is_} is judged by entropy and has no form:")
        if self.is_ == "local" and self.form == "match":
            raise ValueError("local leaves open which cell of the window; it has no form: match")
        return self

    def check_length(self, most: int) -> None:
        wide = self.is_ == "local" and (self.window or 0) >= most - 1
        if wide and self.min is not None and self.diagonal is not False:
            raise SelectorError(
                f"window: {self.window} takes in all of this text, which has at most {most} "
                "tokens, so nothing can break min:; give a smaller window"
            )
        needed = math.ceil(KEYS_SHARE * most)
        if self.is_ == "sparse" and self.keys is not None and self.keys >= needed:
            raise SelectorError(
                f"keys: {format_stated(self.keys)} cannot be broken: this text has at most {most} "
                f"tokens, and {needed} of them hold 90 % of any row; give fewer"
            )

    def places(self) -> Iterator[Place]:
        if self.to is not None:
            yield Place("to", self.to, "key")

    def relation(self) -> str:
        match self.is_:
            case "offset":
                return f"offset {self.offset:+d}"
            case "local":
                without = " without the diagonal" if self.diagonal is False else ""
                return f"local window {self.window}{without}"
            case "vertical" if self.to is not None:
                return f"vertical on {self.to}"
        return self.is_

    def _bounds(self) -> tuple[str, ...]:
        return {"sparse": ("max", "keys"), "uniform": ("min", "keys")}.get(self.is_, ("min", "max"))

    def _more_is_better(self) -> bool:
        return self.min is not None or self.is_ == "uniform"

    def _shape(self, keys: Tokens) -> Shape:
        return Shape(
            self.is_,
            window=self.window or 0,
            diagonal=self.diagonal is not False,
            offset=self.offset or 0,
            on=positions(self.to, keys) if self.to else (),
        )

    def _measure_unit(self) -> MeasureUnit:
        return "share" if self.is_ in ("sparse", "uniform") else super()._measure_unit()

    def _title(self) -> str:
        if self.is_ in ("sparse", "uniform"):
            return "normalised entropy"
        return f"{self.relation()} {self.form}"

    def _measure(self, view: Doubles, frame: Frame) -> str:
        if self.is_ == "vertical" and self.to is None:
            column = frame.columns[int(strongest_column(view, frame))]
            return f"vertical on {column.label} {self.form}"
        return self._title()

    def _demands(self, value: float, view: Doubles, frame: Frame) -> Iterator[Demand]:
        yield from super()._demands(value, view, frame)
        if self.keys is not None:
            count = float(row_mean(keys_holding(view)))
            low, high = keys_range(frame)
            few = self.is_ == "sparse"
            yield Demand.of(
                "keys with 90 % of the mass",
                "keys",
                count,
                "<=" if few else ">=",
                self.keys,
                worst=self.keys - high if few else low - self.keys,
            )

    def _marked(self, view: Doubles, frame: Frame) -> tuple[int, ...]:
        if self.is_ != "vertical":
            return ()
        on = self._shape(frame.keys).on
        return on or frame.columns[int(strongest_column(view, frame))].positions
