"""The base of the rules on how much one word takes from another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from attnprobe.core.arrays import Bools, Floats
from attnprobe.core.charts import Picture
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.sites import Head
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import BoundKind, Verdict
from attnprobe.core.wording import format_whole_percent
from attnprobe.rules.base import (
    Place,
    Rule,
    SelectorField,
    check_numbers,
    decide,
    hardest,
    verdict_of,
)
from attnprobe.rules.chance import (
    Geometry,
    Indices,
    PairOutcomes,
    PairTokens,
    WordPair,
    WordPairChance,
    WordPairs,
    draw_control_pairs,
)
from attnprobe.rules.frame import LEAST_CONTENT, Doubles, elsewhere, sink_shares, strongest_words
from attnprobe.rules.ranges import Range, mean_weight, visible_columns, weight_range
from attnprobe.rules.word_weights import Demands, WordView, WordWeights
from attnprobe.words.heads import How
from attnprobe.words.positions import positions
from attnprobe.words.selectors import Selector

Weight = Annotated[float, Field(gt=0, lt=1)]
Rank = Annotated[int, Field(ge=1)]
# The fields of a rule that name words; the others say what it demands of them.
_WORD_FIELDS = ("from_", "to", "over", "confirm")


class WeightRule(Rule):
    """Base of `attends`, `ignores` and `flow`: two words, perhaps a third, and bounds."""

    bounds = frozenset({"max", "top", "margin", "ratio"})

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
        description="What competes for the rank: other words, or also the word itself, special "
        "tokens and, at causal sites, the first token.",
    )
    renormalise: Literal["words"] | None = Field(
        None,
        description="words: the row is scaled so that words alone sum to 1, without special "
        "tokens, learned sinks and, at causal sites, the first token.",
    )

    positional = ("from", "to")
    # Whether the rule wants the word to get weight, or little of it.
    wanted: ClassVar[bool]

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        if self.over is None and (self.margin is not None or self.ratio is not None):
            raise ValueError("margin and ratio compare with a second word; name it with over:")
        if self.over is not None and self.over == self.to:
            raise ValueError(f"over: and to: are both {self.to}; compare with another word")
        if self.renormalise is not None and self.among == "all":
            raise ValueError(
                "among: all lets sinks compete, renormalise: words leaves them out; give one of "
                "them"
            )
        if "among" in self.model_fields_set and self.top is None:
            raise ValueError("among: says what competes for a rank; give top: as well")
        bounds = [name for name in ("min", "max", "top", "over") if name in type(self).model_fields]
        if all(getattr(self, name) is None for name in bounds):
            names = ", ".join(f"{name}:" for name in bounds[:-1])
            raise ValueError(f"{self.kind} demands nothing; give {names} or {bounds[-1]}:")
        return self

    def places(self) -> Iterator[Place]:
        yield Place("from", self.from_, "query")
        yield Place("to", self.to, "key")
        if self.over is not None:
            yield Place("over", self.over, "key")

    def relation(self) -> str:
        over = f" over {self.over}" if self.over else ""
        return f"{self.from_} → {self.to}{over}"

    def needs(self, encoding: Encoding) -> tuple[Need | Readout, ...]:
        view = self._view(encoding)
        words = self._find_words(view)
        self._check_windows(view)
        return (self._need(view, words.query),)

    def judge(self, rows: Sequence[Any]) -> Verdict:
        found: Rows = rows[0]
        view = self._view(found.encoding)
        words = self._find_words(view)
        heads = self._heads(found)
        how = self._how
        names = [f"mean of {len(heads)} heads"] if how == "mean" else [str(head) for head in heads]
        distributions = self._distributions(found, (words.query,))
        possible = self._ranges(view, words, heads)
        pairs = words.pairs
        named = words.columns
        rivals = view.rivals(pairs, named) if self.top is not None else None
        weights = replace(
            view.weigh(distributions, pairs, named, rivals),
            low=np.array([entry.low for entry in possible]),
            high=np.array([entry.high for entry in possible]),
        )
        (void,) = self._void(weights)
        judged = np.flatnonzero(~void).tolist()
        if len(judged) < self._least(len(void)):
            raise MeasureError(
                f"{names[int(void.argmax())]} cannot be judged: words get less than "
                f"{format_whole_percent(LEAST_CONTENT)} of its row, the rest goes to special "
                "tokens, to a sink or to the first token"
            )
        bounds = list(self._bounds(weights))
        demands = [hardest(bound.on(0, head) for bound in bounds) for head in judged]
        to = weights.to[0, judged]
        best = int(np.argmax(to) if self.wanted else np.argmin(to))
        place = decide(demands, how, self.heads.count, best=best)
        decider = judged[place]
        distribution = distributions[0, decider]
        return verdict_of(
            demands[place],
            head=names[decider],
            heads_tried=len(heads),
            # A head that holds here whatever it does may say nothing at all in another model.
            unbreakable=all(hardest_on_head.idle for hardest_on_head, *_ in demands),
            sink=float(sink_shares(distribution, found.keys, causal=view.site.causal)),
            top=strongest_words(distribution, found.keys),
            picture=Picture(
                site=found.site,
                heads=heads if how == "mean" else (heads[decider],),
                rows=words.query,
                expected=words.key,
                contrast=words.contrast,
            ),
        )

    def chance(self, encoding: Encoding) -> WordPairChance | None:
        view = self._view(encoding)
        words = self._find_words(view)
        geometry = Geometry.of(encoding, view.site, self.from_, self.to, self.over)
        if geometry is None or encoding.sample.ids is not None:
            return None
        bounds = tuple((name, value) for name, value in self if name not in _WORD_FIELDS)
        pair = WordPair(
            view.site.name,
            frozenset(words.query),
            frozenset(words.key),
            geometry,
            view.layers,
            self._needs_all_layers,
            (self.kind, *bounds),
            self.wanted,
        )
        return _WeightChance(pair, self)

    @property
    def _how(self) -> How:
        return self.heads.how or ("any" if self.wanted else "all")

    def _view(self, encoding: Encoding) -> WordView:
        """How the rule looks at a text."""
        site = encoding.site(self.site)
        layers = tuple(sorted({head.layer for head in self.heads.resolve(site)}))
        return WordView(encoding, site, layers, self.among, self.renormalise is not None)

    def _need(self, view: WordView, rows: tuple[int, ...]) -> Need:
        """What gives these rows."""
        return Need(view.encoding.sample, view.site.name, view.layers, rows)

    def _heads(self, found: Rows) -> tuple[Head, ...]:
        """The heads that are judged, or that a mean is taken of."""
        return self.heads.resolve(found.encoding.site(self.site))

    def _distributions(self, found: Rows, queries: Sequence[Sequence[int]]) -> Floats:
        """What each word takes from each token, `[queries, heads, source]`.

        The mean over the rows of each query; one head where how is mean.

        Raises:
            MeasureError: a weight that is no number.
        """
        wanted = sorted({at for query in queries for at in query})
        rows = self._rows(found, wanted)
        place = {at: index for index, at in enumerate(wanted)}
        return np.stack([rows[:, [place[at] for at in query]].mean(axis=1) for query in queries])

    def _rows(self, found: Rows, wanted: Sequence[int]) -> Floats:
        """What each of these positions takes from each token, `[heads, wanted, source]`."""
        heads = self._heads(found)
        check_numbers(found, heads)
        layers = {layer: found.at(layer, wanted) for layer in {head.layer for head in heads}}
        stacked = np.stack([layers[head.layer][head.head] for head in heads])
        return stacked.mean(axis=0, keepdims=True) if self._how == "mean" else stacked

    def _ranges(self, view: WordView, words: PairTokens, heads: Sequence[Head]) -> list[Range]:
        """Which weights `to` can get, whatever the model does, for each row of a verdict."""
        length = len(view.encoding.keys(view.site.name))
        columns = view.word_columns(words.columns) if view.renormalised else None
        layers = {
            layer: weight_range(
                visible_columns(view.site, layer, words.query, length),
                words.key,
                words=columns,
                leaky=layer in view.site.learned_sinks,
            )
            for layer in view.layers
        }
        ranges = [layers[head.layer] for head in heads]
        return [mean_weight(ranges, scaled=view.renormalised)] if self._how == "mean" else ranges

    def _void(self, weights: WordWeights) -> Bools:
        """Pairs and heads that say nothing, `[pairs, heads]`."""
        return weights.silent

    def _least(self, heads: int) -> int:
        """How many of the heads must say something for a verdict."""
        if self._how in ("all", "mean"):
            return heads
        return self.heads.count if self._how == "at_least" else 1

    def _try_pairs(
        self, distributions: Floats, view: WordView, pairs: WordPairs, named: Sequence[int]
    ) -> PairOutcomes:
        """Whether the rule passes for each pair.

        Args:
            distributions: `[queries, heads, source]`.
            named: the sink columns that each of the pairs names.
        """
        passed, judged = np.zeros(len(pairs), bool), np.zeros(len(pairs), bool)
        ranked = np.arange(len(pairs))
        rivals = None
        if self.top is not None:
            rivals = view.rivals(pairs, named)
            ranked = np.flatnonzero(rivals.competing.sum(axis=1) >= self.top)
            rivals = rivals._replace(competing=rivals.competing[ranked])
        if len(ranked) == 0:
            return PairOutcomes(passed, judged)
        weights = view.weigh(distributions, pairs.only(ranked), named, rivals)
        void, bounds = self._void(weights), list(self._bounds(weights))
        holds = np.logical_and.reduce([~void, *(bound.holds for bound in bounds)])
        every = np.arange(len(ranked))
        strength = np.where(void, -np.inf, weights.to if self.wanted else -weights.to)
        match self._how:
            case "any":
                passed[ranked] = holds.any(axis=1)
            case "at_least":
                passed[ranked] = holds.sum(axis=1) >= self.heads.count
            case "best":
                passed[ranked] = holds[every, strength.argmax(axis=1)]
            case _:
                passed[ranked] = holds.all(axis=1)
        judged[ranked] = (~void).sum(axis=1) >= self._least(void.shape[1])
        numbers = {}
        for bound in bounds:
            found = np.full(len(pairs), np.nan)
            ease = strength if self._how == "best" else np.where(void, -np.inf, bound.ease)
            found[ranked] = bound.observed[every, self._deciding(ease)]
            numbers[BoundKind.of(bound.measure, bound.relation)] = found
        return PairOutcomes(passed, judged, numbers)

    def _deciding(self, ease: Doubles) -> Indices:
        """The head that decides on a bound, by the ease of each head, `[pairs, heads]`."""
        order: Indices = np.argsort(-ease, axis=1, kind="stable")
        place = {"any": 0, "best": 0, "at_least": self.heads.count - 1}.get(self._how, -1)
        return order[:, place]

    def _find_words(self, view: WordView) -> PairTokens:
        """Finds the words among the tokens, and refuses what no head could decide."""
        encoding, site = view.encoding, view.site
        self.check_places(encoding, site)
        keys = encoding.keys(site.name)
        query = positions(self.from_, encoding.queries(site.name))
        key = positions(self.to, keys)
        contrast = positions(self.over, keys) if self.over else ()
        for from_, selector, _ in self._hidden(view, None):
            raise SelectorError(
                f"{from_} cannot attend to {selector}: it comes later, and this site sees only "
                "what came before"
            )
        if set(key) & set(contrast):
            raise SelectorError(f"to: {self.to} and over: {self.over} share tokens")
        words = PairTokens(query, key, contrast)
        if self.top is not None:
            count = view.rivals(words.pairs, words.columns).competing.sum()
            if self.top > count:
                raise SelectorError(
                    f"top: {self.top} decides nothing: only {count} other words compete"
                )
        return words

    @property
    def _needs_all_layers(self) -> bool:
        """Whether a layer that cannot see the words would pass for that alone."""
        return not self.wanted or self.max is not None or self.over is not None

    def _hidden(
        self, view: WordView, layer: int | None
    ) -> Iterator[tuple[Selector, Selector, bool]]:
        """The selectors that a mask keeps from each other, and whether `over` is one of them.

        Each word of a union by itself: half of a union behind the mask would add zeros.
        """
        site = view.site
        queries, keys = view.encoding.queries(site.name), view.encoding.keys(site.name)
        rows = positions(self.from_, queries)
        for selector, compared in ((self.to, False), (self.over, True)):
            if selector is None:
                continue
            columns = positions(selector, keys)
            for part in _parts(selector):
                if not site.connects(layer, rows, positions(part, keys)):
                    yield self.from_, part, compared
            for part in _parts(self.from_):
                if not site.connects(layer, positions(part, queries), columns):
                    yield part, selector, compared

    def _check_windows(self, view: WordView) -> None:
        """Refuses a word behind a sliding window, where a weight of 0 would be a free pass."""
        hidden = {layer: tuple(self._hidden(view, layer)) for layer in view.layers}
        blind = [layer for layer in view.layers if hidden[layer]]
        for layer in blind:
            for from_, selector, compared in hidden[layer]:
                if self._needs_all_layers or compared or len(blind) == len(view.layers):
                    raise SelectorError(
                        f"{from_} cannot attend to {selector} in layer {layer}: it lies outside "
                        f"of the sliding window of {view.site.windows[layer]} tokens; "
                        + elsewhere(view.site, blind)
                    )

    def _bounds(self, weights: WordWeights) -> Iterator[Demands]:
        weight = weights.to
        loose = np.zeros(weight.shape, bool)
        if self.max is not None:
            worst = None if weights.high is None else self.max - weights.high
            slack = self.max - weight
            yield Demands(self._weight, "weight", weight, "<=", self.max, slack, loose, worst)
        if self.top is not None:
            others = np.sort(weights.others)[..., ::-1]
            ranks = 1.0 + (others > weight[..., None]).sum(axis=-1)
            lead = weight - others[..., self.top - 1]
            if self.wanted:
                # The lead is smallest where `top` other words share the row equally.
                worst = np.full(weight.shape[1], -1 / self.top)
                yield Demands("rank", "rank", ranks, "<=", self.top, lead, loose, worst)
            else:
                yield Demands("rank", "rank", ranks, ">", self.top, -lead, ~loose)
        if weights.over is not None:
            yield from (
                self._contrasts(weight, weights.over)
                if self.wanted
                else self._contrasts(weights.over, weight)
            )

    @property
    def _weight(self) -> str:
        """The name of the weight."""
        return "weight" if self.renormalise is None else "weight among words"

    def _contrasts(self, more: Doubles, less: Doubles) -> Iterator[Demands]:
        word = f"{'over' if self.wanted else 'below'} {self.over}"
        name, margin = f"margin {word}", more - less
        loose = np.zeros(margin.shape, bool)
        if self.margin is not None:
            slack = margin - self.margin
            yield Demands(name, "weight", margin, ">=", self.margin, slack, loose)
        if self.ratio is not None:
            # Behind a mask both are zero: the quotient must stay a number, and two zeros are no
            # contrast.
            quotient = more / np.maximum(less, float(np.finfo(np.float32).tiny))
            slack = more - self.ratio * less
            worst = np.full(margin.shape[1], -self.ratio)
            tie = more == 0
            yield Demands(f"ratio {word}", "ratio", quotient, ">=", self.ratio, slack, tie, worst)
        if self.margin is None and self.ratio is None:
            yield Demands(name, "weight", margin, ">", 0.0, margin, ~loose)


@dataclass(frozen=True)
class _WeightChance(WordPairChance):
    """A rule on the weight of a word, tried on control pairs."""

    rule: WeightRule

    def controls(self, encoding: Encoding, stated: Iterable[WordPair]) -> WordPairs:
        return draw_control_pairs(self.pair, encoding, self.rule._view(encoding).site, stated)

    def needs(self, encoding: Encoding, pairs: WordPairs) -> tuple[Need, ...]:
        rows = tuple(sorted({at for query in pairs.queries for at in query}))
        return (self.rule._need(self.rule._view(encoding), rows),)

    def judge(self, rows: Sequence[Any], pairs: WordPairs) -> PairOutcomes:
        found: Rows = rows[0]
        view = self.rule._view(found.encoding)
        distributions = self.rule._distributions(found, pairs.queries)
        passed, judged = np.zeros(len(pairs), bool), np.zeros(len(pairs), bool)
        numbers: dict[BoundKind, Doubles] = {}
        for named, indices in view.by_sinks(pairs).items():
            some = self.rule._try_pairs(distributions, view, pairs.only(indices), named)
            passed[indices], judged[indices] = some.passed, some.judged
            for kind, values in some.numbers.items():
                numbers.setdefault(kind, np.full(len(pairs), np.nan))[indices] = values
        return PairOutcomes(passed, judged, numbers)


class Attending(WeightRule):
    """Base of the rules that want a word to get weight."""

    wanted = True

    bounds = WeightRule.bounds | {"min"}

    min: Weight | None = Field(None, description="Least attention weight.")

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min: must be below max:")
        return self

    def _bounds(self, weights: WordWeights) -> Iterator[Demands]:
        if self.min is not None:
            loose = np.zeros(weights.to.shape, bool)
            slack = weights.to - self.min
            worst = None if weights.low is None else weights.low - self.min
            yield Demands(self._weight, "weight", weights.to, ">=", self.min, slack, loose, worst)
        yield from super()._bounds(weights)

    def _void(self, weights: WordWeights) -> Bools:
        if self.min is None or self.renormalise is not None:
            return weights.silent
        # A bare least weight is met or not, however little is left for the other words.
        alone = self.max is None and self.top is None and self.over is None
        void: Bools = weights.silent & (weights.to >= self.min) & (not alone)
        return void


def _parts(selector: Selector) -> Iterator[Selector]:
    """The words of a union, each as a selector."""
    for part in selector.parts:
        yield Selector((part,))
