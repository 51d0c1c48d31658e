"""`sink`: how much of its mass a head gives to sinks (Clark et al. 2019, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from attnprobe.core.errors import SelectorError
from attnprobe.core.sites import Site
from attnprobe.core.texts import Encoding
from attnprobe.core.units import MeasureUnit
from attnprobe.rules.base import RULES, Place, SelectorField
from attnprobe.rules.frame import Doubles, Frame, SinkKind, row_mean, sink_shares
from attnprobe.rules.ranges import Range, sink_range
from attnprobe.rules.score import Scored
from attnprobe.words.positions import positions

Share = Annotated[float, Field(gt=0, lt=1)]


def sink_rows(weights: Doubles, frame: Frame, into: SinkKind = "all") -> Doubles:
    """Sink mass of each row, `[..., target]`; NaN for a row that sees only one key.

    Args:
        weights: `[..., target, source]`, in a frame of all tokens.
    """
    mass = sink_shares(weights, frame.keys, causal=frame.causal, into=into)
    return np.where(frame.visible.sum(axis=-1) > 1, mass, np.nan)


@RULES.register("sink")
class Sink(Scored):
    """Little, or much, of the mass goes where no word is; bounds and slack are shares of a row."""

    kind = "sink"
    example = "{from: it, max: 0.9}"
    positional = ("from",)

    from_: SelectorField | None = Field(
        None, alias="from", description="The word whose rows count; all rows without it."
    )
    into: SinkKind = Field(
        "all",
        description="special tokens, the first token, a learned sink, or all of these (the first "
        "token then counts at causal sites only).",
    )
    min: Share | None = Field(None, description="Least share of a row's mass.")
    max: Share | None = Field(None, description="Largest share of a row's mass.")

    def places(self) -> Iterator[Place]:
        if self.from_ is not None:
            yield Place("from", self.from_, "query")

    def relation(self) -> str:
        into = "" if self.into == "all" else f", into {self.into}"
        return f"{f'of {self.from_}' if self.from_ else 'over all rows'}{into}"

    def _frame(self, encoding: Encoding, site: Site) -> Frame:
        only = None
        if self.from_ is not None:
            only = positions(self.from_, encoding.queries(site.name))
        return Frame.of(encoding, site, only=only)

    def _check(self, frame: Frame, site: Site) -> None:
        counted = frame.visible[frame.visible.sum(axis=-1) > 1]
        if not len(counted):
            raise SelectorError(
                f"sink {self.relation()} decides nothing: the row sees a single position"
            )
        if self.into == "learned" and not frame.learned_sink:
            raise SelectorError("into: learned decides nothing: no sink is learned here")
        if self.into == "special" and not counted[:, [at.special for at in frame.columns]].any():
            raise SelectorError(
                "into: special decides nothing: no row sees a special token; write into: first"
            )
        if self.into == "first" and not counted[:, 0].any():
            raise SelectorError("into: first decides nothing: no row sees the first token")

    def _range(self, frame: Frame) -> Range:
        return sink_range(frame, self.into)

    def _score(self, view: Doubles, frame: Frame) -> Doubles:
        return row_mean(sink_rows(view, frame, self.into))

    def _measure(self, view: Doubles, frame: Frame) -> str:
        return self._title()

    def _measure_unit(self) -> MeasureUnit:
        return "weight"

    def _title(self) -> str:
        return {
            "all": "sink mass",
            "special": "mass on special tokens",
            "first": "mass on the first token",
            "learned": "mass on the learned sink",
        }[self.into]
