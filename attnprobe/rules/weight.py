"""`attends` and `ignores`: how much one word takes from another.

The weight of a word pair is the sum over the pieces of the word attended to and the mean over the
pieces of the word that attends (Clark et al. 2019, "What Does BERT Look At?", section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from attnprobe.align import groups, positions
from attnprobe.errors import SelectorError
from attnprobe.heads import How
from attnprobe.records import Encoding, Floats, Head, Need, Picture, Rows, Target, Verdict
from attnprobe.rules.base import (
    RULES,
    Demand,
    Place,
    Rule,
    SelectorField,
    decide,
    outcome_of,
)

__all__ = ["Attends", "Ignores"]

Weight = Annotated[float, Field(gt=0, lt=1, strict=False)]
Rank = Annotated[int, Field(ge=1)]
CHART = 5


@dataclass(frozen=True)
class _Seen:
    """What each head sees from the query word: word-level weights.

    Attributes:
        to, over: `[heads]`; over is None without a contrast.
        others: `[heads, candidates]`, the words that compete with `to` for a rank.
        labels: the word of each candidate.
        sink: `[heads]`.
    """

    to: Floats
    over: Floats | None
    others: Floats
    labels: tuple[str, ...]
    sink: Floats


class _Weight(Rule):
    """What `attends` and `ignores` share: two words, perhaps a third, and bounds."""

    from_: SelectorField = Field(alias="from", description="The word that attends (a row).")
    to: SelectorField = Field(description="The word attended to (a column).")
    over: SelectorField | None = Field(None, description="The word to compare with.")
    top: Rank | None = Field(None, description="Rank among the other words; 1 is the strongest.")
    margin: Weight | None = Field(None, description="Least difference in weight to over.")
    ratio: Annotated[float, Field(gt=0, strict=False)] | None = Field(
        None, description="Least quotient of the two weights."
    )
    among: Literal["words", "all"] = Field(
        "words",
        description="What competes for the rank: other words, or also the word itself and "
        "special tokens.",
    )

    positional = ("from", "to")
    default_how: ClassVar[How]

    @model_validator(mode="after")
    def _bounds_that_can_fail(self) -> _Weight:
        if self.over is None and (self.margin is not None or self.ratio is not None):
            raise ValueError("margin and ratio compare with a second word; name it with over:")
        return self

    def places(self) -> Iterator[Place]:
        yield Place("from", self.from_, "query")
        yield Place("to", self.to, "key")
        if self.over is not None:
            yield Place("over", self.over, "key")

    def relation(self) -> str:
        over = f" over {self.over}" if self.over else ""
        return f"{self.from_} → {self.to}{over}"

    def needs(self, encoding: Encoding) -> tuple[Need, ...]:
        site = encoding.site(self.site)
        keys = encoding.keys(site.name)
        rows = positions(self.from_, encoding.queries(site.name))
        expected = positions(self.to, keys)
        if site.causal and min(expected) > max(rows):
            raise SelectorError(
                f"{self.from_} cannot attend to {self.to}: it comes later, and this site sees "
                "only what came before"
            )
        if self.over is not None and set(expected) & set(positions(self.over, keys)):
            raise SelectorError(f"to: {self.to} and over: {self.over} share tokens")
        layers = sorted({head.layer for head in self.heads.resolve(site)})
        return (Need(encoding.sample, site.name, tuple(layers), rows),)

    def judge(self, rows: Sequence[Rows]) -> Verdict:
        (found,) = rows
        site = found.encoding.site(self.site)
        heads = self.heads.resolve(site)
        how = self.heads.how or self.default_how
        queries = positions(self.from_, found.queries)
        expected = positions(self.to, found.keys)
        contrast = positions(self.over, found.keys) if self.over else ()

        distributions = _distributions(found, heads, queries, mean=how == "mean")
        seen = self._see(found, distributions, queries, expected, contrast)
        demands = [self._hardest(seen, index) for index in range(len(distributions))]
        best = int(np.argmax(seen.to)) if self.default_how == "any" else int(np.argmin(seen.to))
        decider = decide(demands, how, self.heads.count, best=best)
        demand = demands[decider]
        return Verdict(
            outcome=outcome_of(demand),
            measure=demand.measure,
            observed=demand.observed,
            relation=demand.relation,
            demanded=demand.demanded,
            head=f"mean of {len(heads)} heads" if how == "mean" else str(heads[decider]),
            heads_tried=len(heads),
            sink=float(seen.sink[decider]),
            top=_top(found, distributions[decider]),
            picture=Picture(
                site=site.name,
                heads=heads if how == "mean" else (heads[decider],),
                rows=queries,
                expected=expected,
                contrast=contrast,
            ),
        )

    def _see(
        self,
        rows: Rows,
        distributions: Floats,
        queries: tuple[int, ...],
        expected: tuple[int, ...],
        contrast: tuple[int, ...],
    ) -> _Seen:
        own = () if rows.site == "cross" or self.among == "all" else queries
        left_out = {*expected, *own}
        candidates = [
            group
            for group in groups(rows.keys)
            if left_out.isdisjoint(group.positions)
            and (self.among == "all" or not group.special)
            and (not rows.encoding.site(rows.site).causal or group.positions[0] <= max(queries))
        ]
        if self.top is not None and self.top > len(candidates):
            raise SelectorError(
                f"top: {self.top} cannot fail: only {len(candidates)} other words compete"
            )
        return _Seen(
            to=_mass(distributions, expected),
            over=_mass(distributions, contrast) if contrast else None,
            others=np.stack([_mass(distributions, group.positions) for group in candidates], axis=1)
            if candidates
            else np.zeros((len(distributions), 0), np.float32),
            labels=tuple(group.label for group in candidates),
            sink=_sink(rows, distributions),
        )

    def _hardest(self, seen: _Seen, index: int) -> Demand:
        return min(self._demands(seen, index), key=lambda demand: demand.slack)

    def _demands(self, seen: _Seen, index: int) -> Iterator[Demand]:
        raise TypeError(f"{type(self).__name__} states no demand")


@RULES.register("attends")
class Attends(_Weight):
    """The word puts enough of its attention on the other word.

    Without `how`, a set of heads passes if any of them does.
    """

    kind = "attends"
    default_how = "any"

    min: Weight | None = Field(None, description="Least attention weight.")
    max: Weight | None = Field(None, description="Largest attention weight.")

    @model_validator(mode="after")
    def _states_a_demand(self) -> Attends:
        if all(bound is None for bound in (self.min, self.max, self.top, self.over)):
            raise ValueError("attends demands nothing; give min:, top: or over:")
        return self

    def _demands(self, seen: _Seen, index: int) -> Iterator[Demand]:
        weight = float(seen.to[index])
        if self.min is not None:
            yield Demand("weight", weight, ">=", self.min, weight - self.min)
        if self.max is not None:
            yield Demand("weight", weight, "<=", self.max, self.max - weight)
        if self.top is not None:
            others = np.sort(seen.others[index])[::-1]
            rank = 1 + int(np.count_nonzero(others > seen.to[index]))
            yield Demand("rank", rank, "<=", self.top, weight - float(others[self.top - 1]))
        if seen.over is not None:
            yield from _contrasts(weight, float(seen.over[index]), self)


@RULES.register("ignores")
class Ignores(_Weight):
    """The word takes little from the other word.

    Without `how`, a set of heads passes only if all of them ignore the word.
    """

    kind = "ignores"
    default_how = "all"

    max: Weight | None = Field(None, description="Largest attention weight.")

    @model_validator(mode="after")
    def _states_a_demand(self) -> Ignores:
        if all(bound is None for bound in (self.max, self.top, self.over)):
            raise ValueError("ignores demands nothing; give max:, top: or over:")
        return self

    def _demands(self, seen: _Seen, index: int) -> Iterator[Demand]:
        weight = float(seen.to[index])
        if self.max is not None:
            yield Demand("weight", weight, "<=", self.max, self.max - weight)
        if self.top is not None:
            others = np.sort(seen.others[index])[::-1]
            rank = 1 + int(np.count_nonzero(others > seen.to[index]))
            slack = float(others[self.top - 1]) - weight
            yield Demand("rank", rank, ">", self.top, slack, strict=True)
        if seen.over is not None:
            yield from _contrasts(float(seen.over[index]), weight, self)


def _contrasts(more: float, less: float, rule: _Weight) -> Iterator[Demand]:
    over = f"over {rule.over}" if rule.kind == "attends" else f"below {rule.over}"
    if rule.margin is not None:
        yield Demand(
            f"margin {over}", more - less, ">=", rule.margin, more - less - rule.margin
        )
    if rule.ratio is not None:
        # A weight of zero is common behind a mask; the quotient must stay a number.
        quotient = more / max(less, float(np.finfo(np.float32).tiny))
        yield Demand(
            f"ratio {over}", quotient, ">=", rule.ratio, more - rule.ratio * less, strict=True
        )
    if rule.margin is None and rule.ratio is None:
        yield Demand(f"margin {over}", more - less, ">", 0.0, more - less, strict=True)


def _distributions(
    rows: Rows, heads: Sequence[Head], queries: Sequence[int], *, mean: bool
) -> Floats:
    """What the query word takes from each token, `[heads, source]`; one row for their mean."""
    by_layer = {
        layer: rows.at(layer, queries).mean(axis=1)
        for layer in sorted({head.layer for head in heads})
    }
    stacked = np.stack([by_layer[head.layer][head.head] for head in heads])
    return stacked.mean(axis=0, keepdims=True) if mean else stacked


def _mass(distributions: Floats, columns: Sequence[int]) -> Floats:
    summed: Floats = distributions[:, list(columns)].sum(axis=1)
    return summed


def _sink(rows: Rows, distributions: Floats) -> Floats:
    """Mass on special tokens, learned sinks and a causal site's first token, `[heads]`."""
    causal = rows.encoding.site(rows.site).causal
    ordinary = [
        position
        for position, special in enumerate(rows.keys.special)
        if special is None and not (causal and position == 0)
    ]
    sink: Floats = np.clip(1 - _mass(distributions, ordinary), 0, 1)
    return sink


def _top(rows: Rows, distribution: Floats) -> tuple[Target, ...]:
    found = [
        Target(group.label, float(distribution[list(group.positions)].sum()))
        for group in groups(rows.keys)
    ]
    return tuple(sorted(found, key=lambda target: -target.weight)[:CHART])
