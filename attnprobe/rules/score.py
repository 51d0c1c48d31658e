"""The base of rules that measure one number of each head and bound it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from attnprobe.core.charts import WHOLE_PICTURE, Chart, HeadGrid, LayerPanel, Picture
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding
from attnprobe.core.units import MeasureUnit
from attnprobe.core.verdicts import Verdict
from attnprobe.core.wording import format_whole_percent
from attnprobe.rules.base import (
    Demand,
    Place,
    Rule,
    check_numbers,
    decide,
    hardest,
    is_unbreakable,
    verdict_of,
)
from attnprobe.rules.frame import (
    LEAST_CONTENT,
    Doubles,
    Frame,
    elsewhere,
    head_grid,
    sink_shares,
    strongest_words,
)
from attnprobe.rules.ranges import Range


class Scored(Rule):
    """A rule on one number of each head, with a lower and an upper bound.

    The slack is in the number's own unit. Without `how`, a set of heads passes if any of them
    does; `mean` takes the mean of their attention first, then the number.
    """

    min: float | None = Field(None, description="Least value.")
    max: float | None = Field(None, description="Largest value.")

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        bounds = self._bounds()
        advice = " or ".join(f"{name}:" for name in bounds)
        for name in ("min", "max"):
            if name not in bounds and getattr(self, name) is not None:
                raise ValueError(f"{name}: cannot bound {self.relation()}; give {advice}")
        if all(getattr(self, name) is None for name in bounds):
            raise ValueError(f"{self.kind} demands nothing; give {advice}")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min: must be below max:")
        return self

    def _bounds(self) -> tuple[str, ...]:
        """The fields of which at least one must be given."""
        return ("min", "max")

    def places(self) -> Iterator[Place]:
        yield from ()

    def needs(self, encoding: Encoding) -> tuple[Need, ...]:
        site = encoding.site(self.site)
        self.check_places(encoding, site)
        frames = self._frames(encoding, site)
        (positions,) = {frame.positions for frame in frames.values()}
        return (Need(encoding.sample, site.name, tuple(frames), positions),)

    def judge(self, rows: Sequence[Rows]) -> Verdict:
        (found,) = rows
        site = found.encoding.site(self.site)
        frames = self._frames(found.encoding, site)
        heads = tuple(head for head in self.heads.resolve(site) if head.layer in frames)
        mean = self.heads.how == "mean"
        check_numbers(found)

        views = {
            layer: frame.view(found.at(layer, frame.positions)) for layer, frame in frames.items()
        }
        scores = {layer: self._score(view, frames[layer]) for layer, view in views.items()}
        judged = [views[head.layer][head.head] for head in heads]
        framed = [frames[head.layer] for head in heads]
        values = [float(scores[head.layer][head.head]) for head in heads]
        names = [str(head) for head in heads]
        if mean:
            # The mean sees what any of its heads sees.
            visible = np.logical_or.reduce([frame.visible for frame in framed])
            leaky = any(frame.learned_sink for frame in framed)
            framed = [replace(framed[0], visible=visible, learned_sink=leaky)]
            judged = [np.mean(judged, axis=0)]
            values = [float(self._score(judged[0][None], framed[0])[0])]
            names = [f"mean of {len(heads)} heads"]
        for name, value in zip(names, values, strict=True):
            if np.isnan(value):
                raise MeasureError(
                    f"{name} cannot be judged: words get less than "
                    f"{format_whole_percent(LEAST_CONTENT)} of its mass in most rows"
                )
        demands = [
            hardest(self._demands(value, view, frame))
            for value, view, frame in zip(values, judged, framed, strict=True)
        ]
        best = int(np.argmax(values) if self._more_is_better() else np.argmin(values))
        how = self.heads.how or "any"
        decider = decide(demands, how, self.heads.count, best=best)
        decided = heads if mean else (heads[decider],)
        frame, view = framed[decider], judged[decider]
        silent = int(np.isnan(view[:, 0]).sum())
        left_out = f", {silent} of {len(view)} rows left out" if silent else ""
        distribution = np.mean(
            [found.at(head.layer, frame.positions)[head.head].mean(axis=0) for head in decided],
            axis=0,
        )
        return verdict_of(
            demands[decider],
            left_out=left_out,
            unbreakable=is_unbreakable(demands, how, self.heads.count),
            head=names[decider],
            heads_tried=len(heads),
            sink=float(sink_shares(distribution, found.keys, causal=site.causal)),
            top=strongest_words(distribution, found.keys),
            picture=self._picture(found, frame, decided, view),
            charts=tuple(self._charts(found, scores, decided)),
        )

    def _frames(self, encoding: Encoding, site: Site) -> dict[int, Frame]:
        """The frame of each layer to be judged.

        A layer whose mask hides what is measured would pass, or fail, by that alone. It is left
        out where another layer may still meet a lower bound.

        Raises:
            SelectorError: nothing can be measured.
        """
        frame = self._frame(encoding, site)
        self._check(frame, site)
        frames: dict[int, Frame] = {}
        refused: dict[int, SelectorError] = {}
        for layer in sorted({head.layer for head in self.heads.resolve(site)}):
            narrowed = frame.in_layer(site, layer)
            try:
                self._check(narrowed, site)
            except SelectorError as reason:
                refused[layer] = reason
            else:
                frames[layer] = narrowed
        enough = self.max is None and self.heads.how in (None, "any", "best") and frames
        if refused and not enough:
            layer, error = next(iter(refused.items()))
            window = (
                f", with a sliding window of {site.windows[layer]} tokens; "
                + elsewhere(site, tuple(refused))
                if layer in site.windows
                else ""
            )
            raise SelectorError(f"{error} (in layer {layer}{window})")
        return frames

    @abstractmethod
    def _frame(self, encoding: Encoding, site: Site) -> Frame:
        """The rows and columns that count; raises SelectorError where there are none."""

    @abstractmethod
    def _check(self, frame: Frame, site: Site) -> None:
        """Raises SelectorError where nothing can be measured in a frame."""

    @abstractmethod
    def _score(self, view: Doubles, frame: Frame) -> Doubles:
        """The number of each head, `[heads]`, of weights `[heads, rows, columns]`."""

    def _range(self, frame: Frame) -> Range:
        """The numbers that a head can have in a frame, whatever the model does."""
        return Range()

    @abstractmethod
    def _measure(self, view: Doubles, frame: Frame) -> str:
        """The name of a head's number, given its weights `[rows, columns]`."""

    @abstractmethod
    def _measure_unit(self) -> MeasureUnit:
        """The unit of the number."""

    @abstractmethod
    def _title(self) -> str:
        """The name of the number for all heads, with its unit."""

    def _more_is_better(self) -> bool:
        return self.min is not None

    def _demands(self, value: float, view: Doubles, frame: Frame) -> Iterator[Demand]:
        name, unit = self._measure(view, frame), self._measure_unit()
        low, high = self._range(frame)
        if self.min is not None:
            yield Demand.of(name, unit, value, ">=", self.min, worst=low - self.min)
        if self.max is not None:
            yield Demand.of(name, unit, value, "<=", self.max, worst=self.max - high)

    def _marked(self, view: Doubles, frame: Frame) -> tuple[int, ...]:
        """Token positions of the columns to outline in the picture."""
        return ()

    def _picture(
        self, found: Rows, frame: Frame, heads: tuple[Head, ...], view: Doubles
    ) -> Picture | None:
        if len(frame.positions) > WHOLE_PICTURE:
            return None
        return Picture(found.site, heads, frame.positions, self._marked(view, frame))

    def _charts(
        self, found: Rows, scores: Mapping[int, Doubles], decided: tuple[Head, ...]
    ) -> Iterator[Chart]:
        yield HeadGrid(self._title(), tuple(sorted(scores)), head_grid(scores), decided)


def layer_panel(found: Rows, decided: tuple[Head, ...]) -> Iterator[LayerPanel]:
    """The heads of the deciding layer side by side, where one layer decided a short text."""
    layers = {head.layer for head in decided}
    whole = len(found.positions) == len(found.queries)
    if len(layers) == 1 and whole and max(len(found.queries), len(found.keys)) <= WHOLE_PICTURE:
        (layer,) = layers
        yield LayerPanel(found.site, layer, found.weights[layer], decided)
