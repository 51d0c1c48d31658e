"""`entropy` and `distance`: how spread a row is, and how far it reaches.

Entropy: Clark et al. 2019, section 3.3. Mean distance: Vig & Belinkov 2019, "Analyzing the
Structure of Attention in a Transformer Language Model".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from attnprobe.core.arrays import Bools
from attnprobe.core.charts import Chart, Curves
from attnprobe.core.errors import SelectorError
from attnprobe.core.needs import Rows
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding
from attnprobe.core.units import MeasureUnit
from attnprobe.core.wording import format_short, format_stated
from attnprobe.rules.base import RULES, Place, SelectorField
from attnprobe.rules.frame import Doubles, Frame, Unit, head_grid, row_mean
from attnprobe.rules.ranges import Range, distance_range, entropy_range
from attnprobe.rules.score import Scored
from attnprobe.words.positions import positions

Amount = Annotated[float, Field(gt=0)]


def entropy(weights: Doubles, visible: Bools | None = None) -> Doubles:
    """Entropy of each row in nats, −Σ a ln a with 0 ln 0 = 0.

    Args:
        weights: `[..., target, source]`.
        visible: `[target, source]`; given, each row is divided by ln n for its n visible keys,
            and a row with one visible key is NaN.

    Returns:
        `[..., target]`.
    """
    logs = np.zeros_like(weights)
    np.log(weights, out=logs, where=weights > 0)
    nats: Doubles = 0 - (weights * logs).sum(axis=-1)
    if visible is None:
        return nats
    count = np.broadcast_to(visible.sum(axis=-1), nats.shape)
    normalised = np.full(nats.shape, np.nan)
    np.divide(nats, np.log(count), out=normalised, where=count > 1)
    return normalised


def distance(weights: Doubles, frame: Frame, *, normalised: bool = False) -> Doubles:
    """Mean distance of each row, Σ_s a·|t − s|, in the frame's unit, `[..., target]`.

    Args:
        weights: `[..., target, source]`.
        normalised: divide by the row's largest possible distance; a row that sees only itself
            is NaN.
    """
    mean: Doubles = np.einsum("...ts,ts->...t", weights, frame.gaps)
    if not normalised:
        return mean
    largest = np.broadcast_to(np.where(frame.visible, frame.gaps, 0).max(axis=-1), mean.shape)
    share = np.full(mean.shape, np.nan)
    np.divide(mean, largest, out=share, where=largest > 0)
    return share


def check_one_sequence(what: str, site: Site) -> None:
    """Raises SelectorError for cross attention: its rows and columns are two sequences."""
    if site.name == "cross":
        raise SelectorError(f"{what} needs one sequence; cross attention relates two")


# `keys` of a pattern counts the keys that hold this share of a row's mass.
KEYS_SHARE = 0.9


def keys_holding(weights: Doubles, share: float = KEYS_SHARE) -> Doubles:
    """How many keys, strongest first, hold this share of each row's mass, `[..., target]`."""
    held = np.cumsum(np.sort(weights, axis=-1)[..., ::-1], axis=-1)
    # Keys that miss the share by rounding alone hold it.
    enough = share * held[..., -1:] - 1e-9
    count: Doubles = 1.0 + (held < enough).sum(axis=-1)
    return np.where(np.isnan(held[..., -1]), np.nan, count)


class Statistic(Scored):
    """A statistic of one word's rows, or the mean over all rows."""

    from_: SelectorField | None = Field(
        None, alias="from", description="The word whose rows count; all rows without it."
    )
    unit: Unit = Field("tokens", description="Rows and columns are tokens, or whole words.")
    special: bool = Field(
        True,
        description="Whether special tokens count; without them rows are scaled to sum to 1.",
    )
    normalised: bool = Field(False, description="Divide by the largest possible value of the row.")
    min: Amount | None = Field(None, description="Least value; in 0 to 1 where normalised.")
    max: Amount | None = Field(None, description="Largest value; in 0 to 1 where normalised.")

    positional = ("from",)

    @model_validator(mode="after")
    def _bounds_in_range(self) -> Self:
        if self.normalised and max(self.min or 0, self.max or 0) >= 1:
            raise ValueError("normalised values lie between 0 and 1; give a bound below 1")
        return self

    def places(self) -> Iterator[Place]:
        if self.from_ is not None:
            yield Place("from", self.from_, "query")

    def relation(self) -> str:
        return f"of {self.from_}" if self.from_ else "over all rows"

    def _frame(self, encoding: Encoding, site: Site) -> Frame:
        only = None
        if self.from_ is not None:
            only = positions(self.from_, encoding.queries(site.name))
        return Frame.of(encoding, site, unit=self.unit, special=self.special, only=only)

    def _check_max(self, most: int, largest: float, limit: str) -> None:
        """Refuses an upper bound beyond the largest value that a text of `most` tokens allows."""
        if self.max is not None and not self.normalised and self.max >= largest:
            raise SelectorError(
                f"max: {format_stated(self.max)} cannot be broken: this text has at most {most} "
                f"tokens, whatever the tokenizer, so the {self.kind} is at most {limit}; give less"
            )

    def _check(self, frame: Frame, site: Site) -> None:
        if not (frame.visible.sum(axis=-1) > 1).any():
            raise SelectorError(
                f"{self.kind} {self.relation()} decides nothing: the row sees a single position"
            )

    def _measure(self, view: Doubles, frame: Frame) -> str:
        return self._title()

    def _charts(
        self, found: Rows, scores: Mapping[int, Doubles], decided: tuple[Head, ...]
    ) -> Iterator[Chart]:
        if len(scores) > 1:
            yield Curves(self._title(), tuple(sorted(scores)), head_grid(scores), decided)
        yield from super()._charts(found, scores, decided)


@RULES.register("entropy")
class Entropy(Statistic):
    """The rows are focused or spread enough; bounds and slack are in nats, 0 to ln n.

    Normalised by ln n for n visible keys, 0 to 1; rows with one visible key are left out.
    """

    kind = "entropy"
    example = "{from: it, max: 1.5}"

    def check_length(self, most: int) -> None:
        self._check_max(most, math.log(most), f"ln {most} = {format_short(math.log(most))} nats")

    def _range(self, frame: Frame) -> Range:
        return entropy_range(frame, normalised=self.normalised)

    def _score(self, view: Doubles, frame: Frame) -> Doubles:
        return row_mean(entropy(view, frame.visible if self.normalised else None))

    def _measure_unit(self) -> MeasureUnit:
        return "share" if self.normalised else "nats"

    def _title(self) -> str:
        return "normalised entropy" if self.normalised else "entropy (nats)"


@RULES.register("distance")
class Distance(Statistic):
    """The rows look near or far enough; bounds and slack are in tokens or words.

    Normalised by the row's largest possible distance, 0 to 1.
    """

    kind = "distance"
    example = "{from: it, max: 3}"

    def _check(self, frame: Frame, site: Site) -> None:
        check_one_sequence("distance", site)
        super()._check(frame, site)

    def check_length(self, most: int) -> None:
        self._check_max(most, most - 1, f"{most - 1} {self.unit}")

    def _range(self, frame: Frame) -> Range:
        return distance_range(frame, normalised=self.normalised)

    def _score(self, view: Doubles, frame: Frame) -> Doubles:
        return row_mean(distance(view, frame, normalised=self.normalised))

    def _measure_unit(self) -> MeasureUnit:
        return "share" if self.normalised else "distance"

    def _title(self) -> str:
        return "normalised distance" if self.normalised else f"distance ({self.unit})"
