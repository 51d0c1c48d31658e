"""`attends` and `ignores`: how much one word takes from another.

The weight of a word pair is the sum over the pieces of the word attended to and the mean over the
pieces of the word that attends (Clark et al. 2019, "What Does BERT Look At?", section 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Picture
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding
from attnprobe.core.units import MeasureUnit
from attnprobe.core.verdicts import Verdict
from attnprobe.core.wording import format_whole_percent
from attnprobe.rules.base import (
    BAND,
    RULES,
    Demand,
    Place,
    Rule,
    SelectorField,
    Tried,
    check_numbers,
    decide,
    hardest,
    verdict_of,
)
from attnprobe.rules.chance import Geometry, Pair, Reach, Trials, columns_of, trials
from attnprobe.rules.effect import ConfirmField, Effect
from attnprobe.rules.frame import (
    LEAST_CONTENT,
    Bools,
    Doubles,
    elsewhere,
    sink_columns,
    sink_shares,
    strongest_words,
)
from attnprobe.rules.ranges import Range, mean_weight, visible_columns, weight_range
from attnprobe.words.heads import How
from attnprobe.words.positions import Group, groups, positions
from attnprobe.words.selectors import Predicts, Selector

Weight = Annotated[float, Field(gt=0, lt=1)]
Rank = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Words:
    """Where a rule looks in one text: token positions, and the words that compete for a rank."""

    queries: tuple[int, ...]
    expected: tuple[int, ...]
    contrast: tuple[int, ...]
    candidates: tuple[Group, ...]


@dataclass(frozen=True)
class _Seen:
    """Word-level weights that words are seen with; an entry is a head, or a head on one pair.

    Attributes:
        to, over: `[entries]`; over is None without a contrast.
        others: `[entries, words]`, the words that compete with `to` for a rank; -1 for one that
            does not.
        silent: `[entries]`, whether words get so little of the row that their order is noise.
        low, high: `[entries]`, the least and the largest value that `to` can have, where known.
    """

    to: Doubles
    over: Doubles | None
    others: Doubles
    silent: Bools
    low: Doubles | None = None
    high: Doubles | None = None


@dataclass(frozen=True)
class _Demands:
    """One bound on every entry of a `_Seen`: a `Demand` with arrays, `[entries]`."""

    measure: str
    unit: MeasureUnit
    observed: Doubles
    relation: str
    demanded: float
    slack: Doubles
    strict: Bools
    worst: Doubles | None = None

    def on(self, entry: int) -> Demand:
        return Demand.of(
            self.measure,
            self.unit,
            float(self.observed[entry]),
            self.relation,
            self.demanded,
            slack=float(self.slack[entry]),
            strict=bool(self.strict[entry]),
            worst=-math.inf if self.worst is None else float(self.worst[entry]),
        )

    @property
    def holds(self) -> Bools:
        """Whether a verdict on the entry would hold: passed or borderline, see `outcome_of`."""
        tied = self.strict & (self.slack == 0)
        held: Bools = (self.slack > -BAND) & ~tied
        return held


# The fields of a rule that name words; the others say what is asked of them.
_WORDS = ("from_", "to", "over", "confirm")


class _Weight(Rule):
    """What `attends` and `ignores` share: two words, perhaps a third, and bounds."""

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
    # Whether the word should get weight; else it should be left out.
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

    def needs(self, encoding: Encoding) -> tuple[Need | Readout, ...]:
        site, layers = self._view(encoding)
        pair = self._pair(encoding)
        self._check_windows(encoding, site, layers)
        return (Need(encoding.sample, site.name, layers, pair.queries),)

    def judge(self, rows: Sequence[Any]) -> Verdict:
        found: Rows = rows[0]
        site = found.encoding.site(self.site)
        heads = self.heads.resolve(site)
        pair = self._pair(found.encoding)
        captured = self._rows(found, heads, pair.queries)
        return self._verdict(found, pair, captured.mean(axis=1), heads)

    @property
    def _how(self) -> How:
        return self.heads.how or ("any" if self.wanted else "all")

    def _rows(self, found: Rows, heads: Sequence[Head], queries: Sequence[int]) -> Floats:
        """What each position takes, `[heads, queries, source]`; one head where how is mean.

        Raises:
            MeasureError: a weight that is no number.
        """
        check_numbers(found, heads)
        layers = {layer: found.at(layer, queries) for layer in {head.layer for head in heads}}
        stacked = np.stack([layers[head.layer][head.head] for head in heads])
        return stacked.mean(axis=0, keepdims=True) if self._how == "mean" else stacked

    def _verdict(
        self, found: Rows, pair: Words, distributions: Floats, heads: tuple[Head, ...]
    ) -> Verdict:
        """The verdict on `[heads, source]`; one row where how is mean."""
        how = self._how
        names = [f"mean of {len(heads)} heads"] if how == "mean" else [str(one) for one in heads]
        named = (*pair.expected, *pair.contrast)
        scaled, silent = self._scaled(distributions, found, named)
        possible = self._ranges(found.encoding, pair, heads)
        seen = _Seen(
            to=_mass(scaled, pair.expected),
            over=_mass(scaled, pair.contrast) if pair.contrast else None,
            others=_masses(scaled, [word.positions for word in pair.candidates]),
            silent=silent,
            low=np.array([entry.low for entry in possible]),
            high=np.array([entry.high for entry in possible]),
        )
        void = self._void(seen)
        judged = np.flatnonzero(~void).tolist()
        if len(judged) < self._least(len(void)):
            raise MeasureError(
                f"{names[int(void.argmax())]} cannot be judged: words get less than "
                f"{format_whole_percent(LEAST_CONTENT)} of its row, the rest goes to special "
                "tokens, to a sink or to the first token"
            )
        bounds = list(self._bounds(seen))
        demands = [hardest(bound.on(entry) for bound in bounds) for entry in judged]
        best = int(np.argmax(seen.to[judged]) if self.wanted else np.argmin(seen.to[judged]))
        place = decide(demands, how, self.heads.count, best=best)
        decider = judged[place]
        return verdict_of(
            demands[place],
            head=names[decider],
            heads_tried=len(heads),
            # A head that holds here whatever it does may say nothing at all in another model.
            unbreakable=all(hardest_on_head.idle for hardest_on_head, *_ in demands),
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

    def _scaled(
        self, distributions: Floats, found: Rows, named: Sequence[int]
    ) -> tuple[Doubles, Bools]:
        """Rows `[entries, source]` as they are judged, and in which of them words get too little.

        Args:
            named: columns that the rule names; they count as words, whatever they are.
        """
        rows = distributions.astype(np.float64)
        words = self._word_columns(found.encoding, named)
        content = rows[:, words].sum(axis=1)
        silent: Bools = content < LEAST_CONTENT
        if self.renormalise is not None:
            rows = np.where(words, rows, 0) / np.where(silent, 1, content)[:, None]
        return rows, silent

    def _word_columns(self, encoding: Encoding, named: Sequence[int]) -> Bools:
        """The columns without sinks, `[source]`, but for those that the rule names."""
        site = encoding.site(self.site)
        words = ~sink_columns(encoding.keys(site.name), causal=site.causal)
        words[list(named)] = True
        return words

    def _ranges(self, encoding: Encoding, pair: Words, heads: Sequence[Head]) -> list[Range]:
        """Which weights `to` can get, whatever the model does, for each entry of a verdict."""
        site = encoding.site(self.site)
        length = len(encoding.keys(site.name))
        words = None
        if self.renormalise is not None:
            words = self._word_columns(encoding, (*pair.expected, *pair.contrast))
        layers = {
            layer: weight_range(
                visible_columns(site, layer, pair.queries, length),
                pair.expected,
                words=words,
                leaky=layer in site.learned_sinks,
            )
            for layer in {head.layer for head in heads}
        }
        each = [layers[head.layer] for head in heads]
        return [mean_weight(each, scaled=words is not None)] if self._how == "mean" else each

    def _void(self, seen: _Seen) -> Bools:
        """Entries that say nothing, `[entries]`."""
        return seen.silent

    # By chance ----------------------------------------------------------------------------------

    def _view(self, encoding: Encoding) -> tuple[Site, tuple[int, ...]]:
        """The site as the rule's rows see it, and the layers that are looked at."""
        site = encoding.site(self.site)
        return site, tuple(sorted({head.layer for head in self.heads.resolve(site)}))

    def pair(self, encoding: Encoding) -> Pair | None:
        site, layers = self._view(encoding)
        pair = self._pair(encoding)
        geometry = Geometry.of(encoding, site, self.from_, self.to, self.over)
        if geometry is None or encoding.sample.ids is not None:
            return None
        bounds = tuple((name, value) for name, value in self if name not in _WORDS)
        return Pair(
            site.name,
            frozenset(pair.queries),
            frozenset(pair.expected),
            geometry,
            Reach(layers, all_of_them=self._needs_all_layers),
            (self.kind, *bounds),
            self.wanted,
        )

    def trials(self, encoding: Encoding, pair: Pair, excluded: Collection[Pair]) -> Trials:
        site, _ = self._view(encoding)
        return trials(pair, encoding, site, excluded)

    def chance_needs(self, encoding: Encoding, tried: Trials) -> tuple[Need, ...]:
        site, layers = self._view(encoding)
        wanted = tuple(sorted({at for rows in tried.queries for at in rows}))
        return (Need(encoding.sample, site.name, layers, wanted),)

    def chance(self, rows: Sequence[Any], tried: Trials) -> Tried:
        found: Rows = rows[0]
        heads = self.heads.resolve(found.encoding.site(self.site))
        captured = self._rows(found, heads, found.positions)
        at = {position: index for index, position in enumerate(found.positions)}
        rows_of = [captured[:, [at[row] for row in query]].mean(axis=1) for query in tried.queries]
        distributions = np.stack(rows_of)
        # Columns where no word is count as words for the pairs that name them, as in a verdict.
        sunk = sink_columns(found.keys, causal=found.encoding.site(found.site).causal)
        alike: dict[tuple[int, ...], list[int]] = {}
        for index in range(len(tried)):
            columns = set(tried.keys[tried.key[index]])
            if tried.contrast is not None:
                columns.update(tried.contrasts[tried.contrast[index]])
            named = tuple(sorted(at for at in columns if sunk[at]))
            alike.setdefault(named, []).append(index)
        held, judged = np.zeros(len(tried), bool), np.zeros(len(tried), bool)
        for named, indices in alike.items():
            chosen = np.array(indices)
            if self.top is not None:
                rivals = self._rivals(found, tried, chosen, named)
                enough = rivals.sum(axis=1) >= self.top
                chosen, rivals = chosen[enough], rivals[enough]
            else:
                rivals = np.zeros((len(chosen), 0), bool)
            if len(chosen):
                own = self._passes(found, tried, chosen, distributions, rivals, named)
                held[chosen], judged[chosen] = own
        return Tried(held, judged)

    def _rivals(
        self,
        found: Rows,
        tried: Trials,
        chosen: npt.NDArray[np.int64],
        named: Sequence[int],
    ) -> Bools:
        """Which words compete with each chosen pair's key for a rank, `[pairs, words]`."""
        words = self._competitors(found.encoding, named)
        possible = np.stack(
            [self._possible(found.encoding, words, query) for query in tried.queries]
        )
        made_of = columns_of([word.positions for word in words], len(found.keys))
        keys = columns_of(tried.keys, len(found.keys))
        # As integers: how many tokens a key and a word share.
        shared = keys.astype(int) @ made_of.T.astype(int) > 0
        rivals: Bools = possible[tried.query[chosen]] & ~shared[tried.key[chosen]]
        return rivals

    def _passes(
        self,
        found: Rows,
        tried: Trials,
        chosen: npt.NDArray[np.int64],
        distributions: Floats,
        rivals: Bools,
        named: Sequence[int],
    ) -> Tried:
        """Whether the rule passes for each chosen pair, `[chosen]`.

        Args:
            distributions: `[queries, heads, source]`.
            rivals: `[chosen, words]`; no words where no rank is asked for.
            named: columns without a word that these pairs name.
        """
        queries, heads, length = distributions.shape
        flat, quiet = self._scaled(distributions.reshape(-1, length), found, named)
        rows = flat.reshape(queries, heads, length)
        query, key = tried.query[chosen], tried.key[chosen]
        # Summed as in a verdict: a tie there is a tie here, to the last bit.
        to = _masses(rows, tried.keys)[query, :, key]
        over = None
        if tried.contrast is not None:
            against = _masses(rows, tried.contrasts)
            over = against[query, :, tried.contrast[chosen]].ravel()
        others = np.empty((to.size, 0))
        if rivals.shape[1]:
            words = self._competitors(found.encoding, named)
            masses = _masses(rows, [word.positions for word in words])[query]
            others = np.where(rivals[:, None], masses, -1.0).reshape(to.size, -1)
        silent = quiet.reshape(queries, heads)[query]
        seen = _Seen(to.ravel(), over, others, silent.ravel())
        void = self._void(seen).reshape(to.shape)
        bounds = [bound.holds.reshape(to.shape) for bound in self._bounds(seen)]
        holds = np.logical_and.reduce([~void, *bounds])
        match self._how:
            case "any":
                held = holds.any(axis=1)
            case "at_least":
                held = holds.sum(axis=1) >= self.heads.count
            case "best":
                ranked = np.where(void, -np.inf, to if self.wanted else -to)
                held = holds[np.arange(len(chosen)), ranked.argmax(axis=1)]
            case _:
                held = holds.all(axis=1)
        return Tried(held, (~void).sum(axis=1) >= self._least(heads))

    def _least(self, heads: int) -> int:
        """How many of the heads must say something for a verdict."""
        if self._how in ("all", "mean"):
            return heads
        return self.heads.count if self._how == "at_least" else 1

    def _pair(self, encoding: Encoding) -> Words:
        """Finds the words among the tokens, and refuses what no head could decide."""
        site, _ = self._view(encoding)
        self.check_places(encoding, site)
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
            return Words(queries, expected, contrast, ())
        words = self._competitors(encoding, (*expected, *contrast))
        possible = self._possible(encoding, words, queries)
        candidates = tuple(
            word
            for word, one in zip(words, possible, strict=True)
            if one and set(expected).isdisjoint(word.positions)
        )
        if self.top > len(candidates):
            raise SelectorError(
                f"top: {self.top} decides nothing: only {len(candidates)} other words compete"
            )
        return Words(queries, expected, contrast, candidates)

    def _competitors(self, encoding: Encoding, named: Sequence[int]) -> tuple[Group, ...]:
        """The words of the text that may compete for a rank, without the columns of sinks.

        Heads park on special tokens and on the first token of a causal site what they have no use
        for, so these do not compete unless `among: all` lets them. Other pieces of the first word
        do.

        Args:
            named: columns that the rule names; the first token competes where it is one of them.
        """
        site = encoding.site(self.site)
        keys = encoding.keys(site.name)
        words = groups(keys)
        if self.among == "all":
            return words
        columns = self._word_columns(encoding, named)
        kept = (
            replace(word, positions=tuple(at for at in word.positions if columns[at]))
            for word in words
            if not word.special
        )
        return tuple(word for word in kept if word.positions)

    def _possible(
        self, encoding: Encoding, words: Sequence[Group], queries: Sequence[int]
    ) -> Bools:
        """Which words may compete with a key of this query for a rank, `[words]`."""
        site, layers = self._view(encoding)
        own = () if site.name == "cross" or self.among == "all" else queries
        possible = [
            set(own).isdisjoint(word.positions)
            and all(_connected(site, layer, queries, word.positions) for layer in (None, *layers))
            for word in words
        ]
        return np.array(possible)

    @property
    def _needs_all_layers(self) -> bool:
        """Whether a layer that cannot see the words would pass for that alone."""
        return not self.wanted or self.max is not None or self.over is not None

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
                if self._needs_all_layers or compared or len(blind) == len(layers):
                    raise SelectorError(
                        f"{from_} cannot attend to {selector} in layer {layer}: it lies outside "
                        f"of the sliding window of {site.windows[layer]} tokens; "
                        + elsewhere(site, blind)
                    )

    def _bounds(self, seen: _Seen) -> Iterator[_Demands]:
        weight = seen.to
        loose = np.zeros(len(weight), bool)
        if self.max is not None:
            worst = None if seen.high is None else self.max - seen.high
            slack = self.max - weight
            yield _Demands(self._weight, "weight", weight, "<=", self.max, slack, loose, worst)
        if self.top is not None:
            others = np.sort(seen.others, axis=1)[:, ::-1]
            ranks = 1.0 + (others > weight[:, None]).sum(axis=1)
            lead = weight - others[:, self.top - 1]
            if self.wanted:
                # So many words can have at most an equal share of the row each.
                worst = np.full(len(weight), -1 / self.top)
                yield _Demands("rank", "rank", ranks, "<=", self.top, lead, loose, worst)
            else:
                yield _Demands("rank", "rank", ranks, ">", self.top, -lead, ~loose)
        if seen.over is not None:
            yield from (
                self._contrasts(weight, seen.over)
                if self.wanted
                else self._contrasts(seen.over, weight)
            )

    @property
    def _weight(self) -> str:
        """What the weight is called."""
        return "weight" if self.renormalise is None else "weight among words"

    def _contrasts(self, more: Doubles, less: Doubles) -> Iterator[_Demands]:
        word = f"{'over' if self.wanted else 'below'} {self.over}"
        name, margin = f"margin {word}", more - less
        loose = np.zeros(len(margin), bool)
        if self.margin is not None:
            slack = margin - self.margin
            yield _Demands(name, "weight", margin, ">=", self.margin, slack, loose)
        if self.ratio is not None:
            # Behind a mask both are zero: the quotient must stay a number, and nothing against
            # nothing is no contrast.
            quotient = more / np.maximum(less, float(np.finfo(np.float32).tiny))
            slack = more - self.ratio * less
            worst = np.full(len(margin), -self.ratio)
            tie = more == 0
            yield _Demands(f"ratio {word}", "ratio", quotient, ">=", self.ratio, slack, tie, worst)
        if self.margin is None and self.ratio is None:
            yield _Demands(name, "weight", margin, ">", 0.0, margin, ~loose)


class Attending(_Weight):
    """What the rules share that want a word to get weight."""

    wanted = True

    bounds = _Weight.bounds | {"min"}

    min: Weight | None = Field(None, description="Least attention weight.")

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min: must be below max:")
        return self

    def _bounds(self, seen: _Seen) -> Iterator[_Demands]:
        if self.min is not None:
            loose = np.zeros(len(seen.to), bool)
            slack = seen.to - self.min
            worst = None if seen.low is None else seen.low - self.min
            yield _Demands(self._weight, "weight", seen.to, ">=", self.min, slack, loose, worst)
        yield from super()._bounds(seen)

    def _void(self, seen: _Seen) -> Bools:
        if self.min is None or self.renormalise is not None:
            return seen.silent
        # A bare least weight is met or not, however little is left for the other words.
        alone = self.max is None and self.top is None and self.over is None
        void: Bools = seen.silent & (seen.to >= self.min) & (not alone)
        return void


@RULES.register("attends")
class Attends(Attending):
    """The word puts enough of its attention on the other word.

    Without `how`, a set of heads passes if any of them does.
    """

    kind = "attends"
    example = "{from: it, to: animal, min: 0.3}"

    confirm: ConfirmField | None = Field(
        None,
        description="effect: also ablate the heads and tell whether the model's own prediction "
        "changes more than without as many random heads.",
    )

    @model_validator(mode="after")
    def _can_be_confirmed(self) -> Self:
        if self.confirm is not None and self.heads.how is not None:
            raise ValueError(
                "confirm: effect ablates all of the heads together; name them, without any, all or "
                "mean"
            )
        return self

    def needs(self, encoding: Encoding) -> tuple[Need | Readout, ...]:
        needs = super().needs(encoding)
        effect = self._effect()
        return needs if effect is None else (*needs, *effect.readouts(encoding))

    def judge(self, rows: Sequence[Any]) -> Verdict:
        verdict = super().judge(rows)
        effect = self._effect()
        if effect is None or self.confirm is None:
            return verdict
        predicts = any(isinstance(part, Predicts) for part in self.from_.parts)
        site = rows[0].encoding.site(self.site)
        if self.confirm.required and verdict.unbreakable:
            # The ablation can still fail it.
            verdict = replace(verdict, outcome=verdict.deciding.outcome, unbreakable=False)
        return self.confirm.judge(
            verdict, effect.control(rows[1:]), predicts=predicts or not site.causal
        )

    def _effect(self) -> Effect | None:
        """The rule by which the verdict is confirmed."""
        if self.confirm is None:
            return None
        return self.confirm.rule(self.heads, self.site, self.from_)


@RULES.register("ignores")
class Ignores(_Weight):
    """The word takes little from the other word.

    Without `how`, a set of heads passes only if all of them ignore the word.
    """

    kind = "ignores"
    example = "{from: it, to: street, max: 0.1}"
    wanted = False
    misplaced: ClassVar[Mapping[str, str]] = {"min": "ignores takes max:, the most that it may get"}


def _parts(selector: Selector) -> Iterator[Selector]:
    """The words of a union, each as a selector of its own."""
    for part in selector.parts:
        yield Selector((part,))


def _connected(site: Site, layer: int | None, rows: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether the mask of a layer lets any of the rows see any of the columns."""
    if not site.causal and not site.windows:
        return True
    return any(site.sees(layer, row, column) for row in rows for column in columns)


def _mass(distributions: Doubles, columns: Sequence[int]) -> Doubles:
    """Sum over columns, `[...]` of `[..., source]`."""
    summed: Doubles = distributions[..., list(columns)].sum(axis=-1)
    return summed


def _masses(distributions: Doubles, words: Sequence[Sequence[int]]) -> Doubles:
    """Word-level weights, `[..., words]`, of words given by their columns."""
    found = np.empty((*distributions.shape[:-1], len(words)))
    for index, columns in enumerate(words):
        found[..., index] = _mass(distributions, columns)
    return found


def _sink(rows: Rows, distribution: Floats) -> float:
    """Mass of `[source]` on special tokens, learned sinks and a causal site's first token."""
    causal = rows.encoding.site(rows.site).causal
    return float(sink_shares(distribution, rows.keys, causal=causal))
