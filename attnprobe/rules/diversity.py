"""`diversity`: how differently the heads of a layer attend.

Two heads are compared by the Jensen-Shannon divergence of their rows (Clark et al. 2019, "What
Does BERT Look At?", section 6; they sum over rows, here it is the mean).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import WHOLE_PICTURE, Chart, HeadMap, LayerPanel
from attnprobe.core.errors import SelectorError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import Verdict
from attnprobe.core.wording import plural
from attnprobe.rules.base import (
    RULES,
    Demand,
    Place,
    Rule,
    check_numbers,
    decide,
    hardest,
    is_unbreakable,
    verdict_of,
)
from attnprobe.rules.frame import Doubles, Frame, sink_shares
from attnprobe.rules.ranges import Range, divergence_range
from attnprobe.rules.statistics import entropy

Nats = Annotated[float, Field(gt=0, lt=float(np.log(2)))]
STEPS = 300


def js_divergence(weights: Floats) -> Doubles:
    """Jensen-Shannon divergence of each two heads, mean over rows, `[heads, heads]` in nats.

    `JS(p, q) = H((p + q) / 2) − (H(p) + H(q)) / 2`, from 0 for equal rows to ln 2 for rows that
    share no source. Symmetric; exactly zero on the diagonal. What a learned sink takes of a row
    counts as one more source.

    Args:
        weights: `[heads, target, source]`.
    """
    given = weights.astype(np.float64)
    rest = np.clip(1 - given.sum(axis=-1, keepdims=True), 0, None)
    rows = np.concatenate([given, rest], axis=-1)
    single = entropy(rows)
    found = np.zeros((len(rows), len(rows)))
    for head in range(len(rows) - 1):
        later = slice(head + 1, None)
        both = entropy((rows[head] + rows[later]) / 2)
        found[head, later] = (both - (single[head] + single[later]) / 2).mean(axis=-1)
    return np.clip(found + found.T, 0, np.log(2))


def plane(distances: Doubles) -> Floats:
    """Points in the plane whose distances come near the given ones, `[points, 2]`.

    Metric multidimensional scaling: the classical solution (Torgerson 1952), then SMACOF steps
    that lower the raw stress (de Leeuw 1977). The axes are the principal ones, the wider one
    first, and the point farthest out on an axis lies on its positive side, so that the same
    distances always give the same picture.

    Args:
        distances: symmetric `[points, points]`, zero on the diagonal.
    """
    count = len(distances)
    centre = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-0.5 * centre @ distances**2 @ centre)
    points = vectors[:, -2:] * np.sqrt(np.clip(values[-2:], 0, None))
    for _ in range(STEPS):
        apart = np.linalg.norm(points[:, None] - points, axis=-1)
        pull = -np.divide(distances, apart, out=np.zeros_like(apart), where=apart > 0)
        np.fill_diagonal(pull, -pull.sum(axis=1))
        points = pull @ points / count
    left, sizes, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    points = left * sizes
    farthest = points[np.abs(points).argmax(axis=0), range(points.shape[1])]
    placed: Floats = (points * np.where(farthest < 0, -1, 1)).astype(np.float32)
    return placed


@RULES.register("diversity")
class Diversity(Rule):
    """The heads of a set differ enough from one another, or are alike enough.

    The number is the Jensen-Shannon divergence, mean over the pairs of heads, and so is the slack.
    Without `how` the rule takes all pairs of the set together; any, all or at_least judge each
    layer by the pairs of its heads.
    """

    kind = "diversity"
    example = "{min: 0.1}"

    min: Nats | None = Field(None, description="Least mean divergence of two heads, in nats.")
    max: Nats | None = Field(None, description="Largest mean divergence, in nats (at most ln 2).")

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        if self.heads.how in ("mean", "best"):
            raise ValueError(
                f"diversity compares heads, {self.heads.how} would leave one; write a layer "
                "(heads: L3), a list of heads, or all for every layer"
            )
        if self.min is None and self.max is None:
            raise ValueError("diversity demands nothing; give min: or max:")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min: must be below max:")
        return self

    def places(self) -> Iterator[Place]:
        yield from ()

    def describe(self) -> str:
        return f"diversity, {self.heads}"

    def needs(self, encoding: Encoding) -> tuple[Need, ...]:
        site = encoding.site(self.site)
        layers = sorted({head.layer for heads in self._sets(site) for head in heads})
        everything = tuple(range(len(encoding.queries(site.name))))
        return (Need(encoding.sample, site.name, tuple(layers), everything),)

    def judge(self, rows: Sequence[Rows]) -> Verdict:
        (found,) = rows
        check_numbers(found)
        site = found.encoding.site(self.site)
        sets = self._sets(site)
        weights = [np.stack([found.weights[at.layer][at.head] for at in heads]) for heads in sets]
        between = [js_divergence(of_set) for of_set in weights]
        demands = [
            hardest(self._demands(_mean_of_pairs(apart), self._range(found.encoding, site, heads)))
            for apart, heads in zip(between, sets, strict=True)
        ]
        how = self.heads.how or "all"
        decider = decide(demands, how, self.heads.count, best=0)
        heads = sets[decider]
        pairs = len(heads) * (len(heads) - 1) // 2
        name = str(self.heads) if self.heads.how is None else f"L{heads[0].layer}"
        sinks = sink_shares(weights[decider], found.keys, causal=site.causal)
        return verdict_of(
            demands[decider],
            head=f"mean of {plural(pairs, 'pair')} of {name}",
            heads_tried=sum(map(len, sets)),
            sink=float(sinks.mean()),
            unbreakable=is_unbreakable(demands, how, self.heads.count),
            charts=tuple(_charts(found, heads, between[decider])),
        )

    def _sets(self, site: Site) -> tuple[tuple[Head, ...], ...]:
        """The heads to compare with one another: the whole set, or those of each layer."""
        heads = self.heads.resolve(site)
        sets = [heads]
        if self.heads.how is not None:
            layers = sorted({head.layer for head in heads})
            sets = [tuple(head for head in heads if head.layer == layer) for layer in layers]
        for alone in sets:
            if len(alone) < 2:
                raise SelectorError(
                    f"{alone[0]} has no other head to differ from; name a layer, such as "
                    f"heads: L{alone[0].layer}, or at least two heads"
                )
        if self.heads.how == "at_least" and self.heads.count > len(sets):
            raise SelectorError(
                f"at_least: {self.heads.count} of {len(sets)} layers can never hold"
            )
        return tuple(sets)

    def _range(self, encoding: Encoding, site: Site, heads: Sequence[Head]) -> Range:
        """The divergences that these heads can have; a learned sink counts as one more key."""
        layers = {head.layer for head in heads}
        frame = Frame.of(encoding, site)
        visible = np.logical_or.reduce([frame.in_layer(site, at).visible for at in layers])
        leaky = not site.learned_sinks.isdisjoint(layers)
        return divergence_range(visible.sum(axis=-1) + leaky, len(heads))

    def _demands(self, value: float, possible: Range) -> Iterator[Demand]:
        name = "divergence (nats)"
        low, high = possible
        if self.min is not None:
            yield Demand.of(name, "nats", value, ">=", self.min, worst=low - self.min)
        if self.max is not None:
            yield Demand.of(name, "nats", value, "<=", self.max, worst=self.max - high)


def _mean_of_pairs(between: Doubles) -> float:
    return float(between[np.triu_indices(len(between), 1)].mean())


def _charts(found: Rows, heads: tuple[Head, ...], between: Doubles) -> Iterator[Chart]:
    yield HeadMap("Jensen-Shannon divergence (nats)", heads, plane(between))
    layers = {head.layer for head in heads}
    if len(layers) == 1 and max(len(found.queries), len(found.keys)) <= WHOLE_PICTURE:
        (layer,) = layers
        yield LayerPanel(found.site, layer, found.weights[layer], heads)
