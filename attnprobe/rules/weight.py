"""`attends` and `ignores`: how much one word takes from another.

The weight of a word pair is the sum over the pieces of the word attended to and the mean over the
pieces of the word that attends (Clark et al. 2019, "What Does BERT Look At?", section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from attnprobe.align import Group, Selector, groups, positions
from attnprobe.errors import SelectorError
from attnprobe.heads import How
from attnprobe.records import Encoding, Floats, Head, Need, Picture, Rows, Site, Verdict
from attnprobe.rules.base import (
    RULES,
    Demand,
    Place,
    Rule,
    SelectorField,
    check_numbers,
    decide,
    hardest,
    outcome_of,
)
from attnprobe.rules.frame import elsewhere, sink_shares, strongest_words

__all__ = ["Attends", "Ignores"]

Weight = Annotated[float, Field(gt=0, lt=1)]
Rank = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class _Pair:
    """Where a rule looks in one text: token positions, and the words that compete for a rank."""

    queries: tuple[int, ...]
    expected: tuple[int, ...]
    contrast: tuple[int, ...]
    candidates: tuple[Group, ...]


@dataclass(frozen=True)
class _Seen:
    """What each head sees from the query word: word-level weights.

    Attributes:
        to, over: `[heads]`; over is None without a contrast.
        others: `[heads, candidates]`, the words that compete with `to` for a rank.
    """

    to: Floats
    over: Floats | None
    others: Floats


class _Weight(Rule):
    """What `attends` and `ignores` share: two words, perhaps a third, and bounds."""

    from_: SelectorField = Field(alias="from", description="The word that attends (a row).")
    to: SelectorField = Field(description="The word attended to (a column).")
    over: SelectorField | None = Field(None, description="The word to compare with.")
    max: Weight | None = Field(None, description="Largest attention weight.")
    top: Rank | None = Field(None, description="Rank among the other words; 1 is the strongest.")
    margin: Weight | None = Field(None, description="Least difference between the two weights.")
    ratio: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Least quotient of the two weights."
    )
    among: Literal["words", "all"] = Field(
        "words",
        description="What competes for the rank: other words, or also the word itself and "
        "special tokens.",
    )

    positional = ("from", "to")
    # Whether the word should get weight; else it should be left out.
    wanted: ClassVar[bool]

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        if self.over is None and (self.margin is not None or self.ratio is not None):
            raise ValueError("margin and ratio compare with a second word; name it with over:")
        if "among" in self.model_fields_set and self.top is None:
            raise ValueError("among: says what competes for a rank; give top: as well")
        bounds = [name for name in ("min", "max", "top", "over") if name in type(self).model_fields]
        if all(getattr(self, name) is None for name in bounds):
            listed = ", ".join(f"{name}:" for name in bounds[:-1])
            raise ValueError(f"{self.kind} demands nothing; give {listed} or {bounds[-1]}:")
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
        layers = sorted({head.layer for head in self.heads.resolve(site)})
        pair = self._pair(encoding, site, layers)
        self._check_windows(encoding, site, layers)
        return (Need(encoding.sample, site.name, tuple(layers), pair.queries),)

    def judge(self, rows: Sequence[Rows]) -> Verdict:
        (found,) = rows
        site = found.encoding.site(self.site)
        heads = self.heads.resolve(site)
        pair = self._pair(found.encoding, site, sorted({head.layer for head in heads}))
        how = self.heads.how or ("any" if self.wanted else "all")

        distributions = _distributions(found, heads, pair.queries, mean=how == "mean")
        return self._verdict(found, pair, distributions, heads, how)

    def _verdict(
        self, found: Rows, pair: _Pair, distributions: Floats, heads: tuple[Head, ...], how: How
    ) -> Verdict:
        """The verdict on `[heads, source]`; one row where how is mean."""
        seen = _Seen(
            to=_mass(distributions, pair.expected),
            over=_mass(distributions, pair.contrast) if pair.contrast else None,
            others=_masses(distributions, pair.candidates),
        )
        demands = [hardest(self._demands(seen, index)) for index in range(len(distributions))]
        best = int(np.argmax(seen.to) if self.wanted else np.argmin(seen.to))
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
            sink=_sink(found, distributions[decider]),
            top=strongest_words(distributions[decider], found.keys),
            picture=Picture(
                site=found.site,
                heads=heads if how == "mean" else (heads[decider],),
                rows=pair.queries,
                expected=pair.expected,
                contrast=pair.contrast,
            ),
        )

    def _pair(self, encoding: Encoding, site: Site, layers: Sequence[int] = ()) -> _Pair:
        """Finds the words among the tokens, and refuses what no head could decide.

        Args:
            layers: whose windows a word must lie in to compete for a rank.
        """
        self.check_predicts(site)
        keys = encoding.keys(site.name)
        queries = positions(self.from_, encoding.queries(site.name))
        expected = positions(self.to, keys)
        contrast = positions(self.over, keys) if self.over else ()
        for from_, selector, _ in self._hidden(encoding, site, None):
            raise SelectorError(
                f"{from_} cannot attend to {selector}: it comes later, and this site sees only "
                "what came before"
            )
        if set(expected) & set(contrast):
            raise SelectorError(f"to: {self.to} and over: {self.over} share tokens")
        if self.top is None:
            return _Pair(queries, expected, contrast, ())
        own = () if site.name == "cross" or self.among == "all" else queries
        candidates = tuple(
            group
            for group in groups(keys)
            if {*expected, *own}.isdisjoint(group.positions)
            and (self.among == "all" or not group.special)
            and all(_connected(site, layer, queries, group.positions) for layer in (None, *layers))
        )
        if self.top > len(candidates):
            raise SelectorError(
                f"top: {self.top} decides nothing: only {len(candidates)} other words compete"
            )
        return _Pair(queries, expected, contrast, candidates)

    def _hidden(
        self, encoding: Encoding, site: Site, layer: int | None
    ) -> Iterator[tuple[Selector, Selector, bool]]:
        """Words that a mask keeps from each other, and whether it is the word to compare with.

        Each word of a union by itself: half of a union behind the mask would add zeros.
        """
        queries, keys = encoding.queries(site.name), encoding.keys(site.name)
        rows = positions(self.from_, queries)
        for selector, compared in ((self.to, False), (self.over, True)):
            if selector is None:
                continue
            columns = positions(selector, keys)
            for part in _parts(selector):
                if not _connected(site, layer, rows, positions(part, keys)):
                    yield self.from_, part, compared
            for part in _parts(self.from_):
                if not _connected(site, layer, positions(part, queries), columns):
                    yield part, selector, compared

    def _check_windows(self, encoding: Encoding, site: Site, layers: Sequence[int]) -> None:
        """Refuses a word behind a sliding window, where a weight of 0 would be a free pass."""
        hidden = {layer: tuple(self._hidden(encoding, site, layer)) for layer in layers}
        blind = [layer for layer in layers if hidden[layer]]
        for layer in blind:
            for from_, selector, compared in hidden[layer]:
                free = not self.wanted or self.max is not None or compared
                if free or len(blind) == len(layers):
                    raise SelectorError(
                        f"{from_} cannot attend to {selector} in layer {layer}: it lies outside "
                        f"of the sliding window of {site.windows[layer]} tokens; "
                        + elsewhere(site, blind)
                    )

    def _demands(self, seen: _Seen, index: int) -> Iterator[Demand]:
        weight = float(seen.to[index])
        if self.max is not None:
            yield Demand("weight", weight, "<=", self.max, self.max - weight)
        if self.top is not None:
            others = np.sort(seen.others[index])[::-1]
            rank = 1 + int(np.count_nonzero(others > seen.to[index]))
            lead = weight - float(others[self.top - 1])
            if self.wanted:
                yield Demand("rank", rank, "<=", self.top, lead)
            else:
                yield Demand("rank", rank, ">", self.top, -lead, strict=True)
        if seen.over is not None:
            over = float(seen.over[index])
            yield from (
                self._contrasts(weight, over) if self.wanted else self._contrasts(over, weight)
            )

    def _contrasts(self, more: float, less: float) -> Iterator[Demand]:
        word = f"{'over' if self.wanted else 'below'} {self.over}"
        margin = more - less
        if self.margin is not None:
            yield Demand(f"margin {word}", margin, ">=", self.margin, margin - self.margin)
        if self.ratio is not None:
            # Behind a mask both are zero: the quotient must stay a number, and nothing against
            # nothing is no contrast.
            quotient = more / max(less, float(np.finfo(np.float32).tiny))
            slack = more - self.ratio * less
            yield Demand(f"ratio {word}", quotient, ">=", self.ratio, slack, strict=more == 0)
        if self.margin is None and self.ratio is None:
            yield Demand(f"margin {word}", margin, ">", 0.0, margin, strict=True)


@RULES.register("attends")
class Attends(_Weight):
    """The word puts enough of its attention on the other word.

    Without `how`, a set of heads passes if any of them does.
    """

    kind = "attends"
    wanted = True

    min: Weight | None = Field(None, description="Least attention weight.")

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min: must be below max:")
        return self

    def _demands(self, seen: _Seen, index: int) -> Iterator[Demand]:
        if self.min is not None:
            weight = float(seen.to[index])
            yield Demand("weight", weight, ">=", self.min, weight - self.min)
        yield from super()._demands(seen, index)


@RULES.register("ignores")
class Ignores(_Weight):
    """The word takes little from the other word.

    Without `how`, a set of heads passes only if all of them ignore the word.
    """

    kind = "ignores"
    wanted = False


def _parts(selector: Selector) -> Iterator[Selector]:
    """The words of a union, each as a selector of its own."""
    for part in selector.parts:
        yield Selector((part,))


def _connected(site: Site, layer: int | None, rows: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether the mask of a layer lets any of the rows see any of the columns."""
    return any(site.sees(layer, row, column) for row in rows for column in columns)


def _distributions(
    rows: Rows, heads: Sequence[Head], queries: Sequence[int], *, mean: bool
) -> Floats:
    """What the query word takes from each token, `[heads, source]`; one row for their mean.

    Raises:
        MeasureError: a weight that is no number.
    """
    check_numbers(rows, heads)
    by_layer = {
        layer: rows.at(layer, queries).mean(axis=1)
        for layer in sorted({head.layer for head in heads})
    }
    stacked = np.stack([by_layer[head.layer][head.head] for head in heads])
    return stacked.mean(axis=0, keepdims=True) if mean else stacked


def _mass(distributions: Floats, columns: Sequence[int]) -> Floats:
    """Sum over columns, `[heads]`."""
    summed: Floats = distributions[:, list(columns)].sum(axis=1)
    return summed


def _masses(distributions: Floats, words: Sequence[Group]) -> Floats:
    """Word-level weights, `[heads, words]`."""
    masses = [_mass(distributions, word.positions) for word in words]
    return np.array(masses, np.float32).reshape(len(words), len(distributions)).T


def _sink(rows: Rows, distribution: Floats) -> float:
    """Mass of `[source]` on special tokens, learned sinks and a causal site's first token."""
    causal = rows.encoding.site(rows.site).causal
    return float(sink_shares(distribution, rows.keys, causal=causal))
