"""The frozen records that travel through the house; functions elsewhere do the work.

Positions are token positions, 0-based, in the sequence as the model sees it, special tokens
included. Layers and heads are 0-based; a head is always a query head and is written `L3H1`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import StrictFloat

from attnprobe.errors import MeasureError, ModelError
from attnprobe.stats import Interval, wilson
from attnprobe.units import OWN_SLACK, MeasureUnit
from attnprobe.wording import format_decimals, format_interval, format_percent

__all__ = [
    "LEAST_DISTINCT",
    "LEAST_PAIRS",
    "PAIR_BREAK",
    "SITES",
    "WHOLE_PICTURE",
    "Ablation",
    "Attended",
    "Bound",
    "Chance",
    "Chart",
    "Control",
    "Curves",
    "Doubt",
    "Encoding",
    "Floats",
    "FlowGraph",
    "Head",
    "HeadGrid",
    "HeadMap",
    "LayerPanel",
    "MapNeed",
    "MapSums",
    "MapView",
    "Need",
    "Outcome",
    "Picture",
    "Pool",
    "Prediction",
    "Readout",
    "Rows",
    "Sample",
    "Side",
    "Similarity",
    "Site",
    "SiteName",
    "Span",
    "Tokens",
    "Verdict",
    "doubts",
]

# A chance rate needs at least so many word pairs, and so many that differ.
LEAST_PAIRS = 50
LEAST_DISTINCT = 20
# Maps of texts with more tokens than this are not drawn whole.
WHOLE_PICTURE = 40
# Stands between the two texts of a pair where both are counted in one string. A unit separator is
# white space and a word boundary on both sides, whatever characters stand there.
PAIR_BREAK = "\x1f"
_HEAD = re.compile(r"L([0-9]{1,6})H([0-9]{1,6})")

Floats = npt.NDArray[np.float32]
SiteName = Literal["encoder", "decoder", "cross"]
SITES: tuple[SiteName, ...] = ("encoder", "decoder", "cross")
Side = Literal["source", "target"]
Pool = Literal["mean", "cls", "lasttoken"]
Outcome = Literal["passed", "failed", "borderline", "vacuous", "error"]
# Why an expectation that holds may say little: it holds for other word pairs as well, it holds
# whatever the model does, or its number is too near to the bound to call.
Doubt = Literal["vacuous", "unbreakable", "borderline"]


def doubts(outcome: Outcome, *, borderline: bool, unbreakable: bool) -> tuple[Doubt, ...]:
    """The doubts of an expectation by its outcome, which names one, and by what it leaves out."""
    found: list[Doubt] = []
    if outcome == "vacuous":
        found.append("unbreakable" if unbreakable else "vacuous")
    if outcome == "borderline" or (outcome == "vacuous" and borderline):
        found.append("borderline")
    return tuple(found)


class Span(NamedTuple):
    """Characters `start` (included) to `end` (excluded) of a text."""

    start: int
    end: int


class Head(NamedTuple):
    """One query head of one layer."""

    layer: int
    head: int

    @classmethod
    def parse(cls, text: str) -> Head:
        """The head that is written `L3H1`.

        Raises:
            ValueError: it is not written so.
        """
        match = _HEAD.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no head; write L3H1")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


@dataclass(frozen=True)
class Sample:
    """The input of one forward pass: a text or two and, for an encoder-decoder, its target text.

    The tokenizer puts a text and its pair into one sequence, so attnprobe counts in one string as
    well, `joined`: words, spans and token positions of both texts lie in one row of numbers, and
    whatever reads `Tokens` reads two texts as it reads one.

    Attributes:
        ids: token ids instead of a text, exactly as the model is to see them; the text is empty.
        source_language, target_language: codes of the tokenizer, for the text and its target; None
            where the model has none, or one for all texts.
        pair: a second text, which the model reads behind the first (`tokenizer(text, pair)`).
        one_segment: a separator that a text spells out is meant to start no second segment.
    """

    text: str
    target: str | None = None
    allow_special_tokens: bool = False
    ids: tuple[int, ...] | None = None
    source_language: str | None = None
    target_language: str | None = None
    pair: str | None = None
    one_segment: bool = False

    @property
    def joined(self) -> str:
        """The string that spans count in: the text, or both texts with PAIR_BREAK between them."""
        return self.text if self.pair is None else f"{self.text}{PAIR_BREAK}{self.pair}"

    @property
    def pair_start(self) -> int | None:
        """Where the second text starts in `joined`; None where there is no second text."""
        return None if self.pair is None else len(self.text) + len(PAIR_BREAK)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that a reader should see: the text, its pair, the target."""
        return tuple(one for one in (self.text, self.pair, self.target) if one is not None)

    def with_word(self, span: Span, word: str) -> Sample:
        """The sample with another word at these characters of `joined`."""
        start = self.pair_start
        if self.pair is None or start is None or span.end < start:
            return replace(self, text=_put(self.text, span, word))
        return replace(self, pair=_put(self.pair, Span(span.start - start, span.end - start), word))

    def until(self, end: int) -> Sample:
        """The sample up to a character of `joined`; a pair that would be empty is left out."""
        start = self.pair_start
        if self.pair is None or start is None or end <= start:
            return replace(self, text=self.text[:end], pair=None)
        return replace(self, pair=self.pair[: end - start])


def _put(text: str, span: Span, word: str) -> str:
    return f"{text[: span.start]}{word}{text[span.end :]}"


@dataclass(frozen=True)
class Tokens:
    """One tokenised text, or two that the model reads as one sequence.

    Attributes:
        text: the text that `spans` count in; of two texts `Sample.joined`.
        ids: token ids.
        pieces: each token as the reader should see it, special tokens included.
        spans: the characters that each token covers; None for a token that stands for no
            character, such as `[CLS]`.
        special: the name of each special token (`cls`, `sep`, `bos`, `eos`, `pad`, or `special`
            where it has no such name), None for ordinary ones.
        unknown: positions of the unknown tokens, ascending: those that stand for characters that
            the vocabulary lacks. An unknown token that the text itself spells is none of them.
        pair_start: where the second text starts in `text`; None for one text.
        segments: the segment of each token (`token_type_ids`); empty where the tokenizer numbers
            none.
    """

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    spans: tuple[Span | None, ...]
    special: tuple[str | None, ...]
    unknown: tuple[int, ...] = ()
    pair_start: int | None = None
    segments: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """What each unknown token stands for, in order; of token ids the token itself."""
        spans = ((self.spans[at], self.pieces[at]) for at in self.unknown)
        return tuple(self.text[slice(*span)].strip() if span else piece for span, piece in spans)


@dataclass(frozen=True)
class Site:
    """One kind of attention that a model offers.

    Attributes:
        heads: number of query heads of each layer that has attention here; a hybrid stack keeps
            its true layer numbers, so the keys need not be contiguous.
        causal: whether a row sees no later position.
        windows: of the layers with a sliding window, how many positions a row sees on one side,
            itself included.
        learned_sinks: the layers where a learned sink takes a share of each row.
    """

    name: SiteName
    heads: Mapping[int, int]
    causal: bool
    windows: Mapping[int, int] = field(default_factory=dict)
    learned_sinks: frozenset[int] = frozenset()

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted(self.heads))

    def sees(self, layer: int | None, query: int, key: int) -> bool:
        """Whether the mask of a layer lets the row `query` see the column `key`.

        Args:
            layer: None asks for causality alone, whatever the window.
        """
        if self.causal and key > query:
            return False
        window = None if layer is None else self.windows.get(layer)
        return window is None or abs(query - key) < window

    def all_heads(self) -> tuple[Head, ...]:
        return tuple(
            Head(layer, head) for layer in self.layers for head in range(self.heads[layer])
        )


@dataclass(frozen=True)
class Encoding:
    """A sample as one model reads it.

    Attributes:
        source: tokens of the text.
        target: tokens at the decoder's input positions; None without a target text.
        sites: what the model offers, by name.
    """

    sample: Sample
    source: Tokens
    target: Tokens | None
    sites: Mapping[SiteName, Site]

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The words that the model cannot see: what the unknown tokens of all texts stand for."""
        return self.source.unknown_words + (self.target.unknown_words if self.target else ())

    def site(self, name: SiteName | None) -> Site:
        """The named site, or the only one there is.

        Raises:
            ModelError: the model has no such site, or several and none was named.
        """
        offered = ", ".join(self.sites)
        if name is None:
            if len(self.sites) == 1:
                return next(iter(self.sites.values()))
            raise ModelError(f"this model has several sites, name one: site: {offered}")
        if name not in self.sites:
            raise ModelError(f"this model has no {name} attention; it has: {offered}")
        return self.sites[name]

    def queries(self, site: SiteName) -> Tokens:
        """Tokens of the target positions (rows) of a site."""
        if site == "encoder":
            return self.source
        if self.target is None and site == "cross":
            raise ModelError("cross attention needs a target text; write target: beside text:")
        return self.target or self.source

    def keys(self, site: SiteName) -> Tokens:
        """Tokens of the source positions (columns) of a site."""
        return self.source if site == "cross" else self.queries(site)


@dataclass(frozen=True)
class Need:
    """Attention rows that somebody wants of one sample.

    Attributes:
        rows: target positions, ascending.
    """

    sample: Sample
    site: SiteName
    layers: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class MapView:
    """What is summed over the whole map of one sample, in layers that see alike.

    Attributes:
        cells: `[sums, target, source]`, what each weight counts in each sum.
        rows: `[masses, target]`, what the sum of each row counts in each mass.
        entropies: `[means, target]`, what each row's entropy counts in each mean.
        visible: `[target, source]`, whether the row can see the column.
        stripe: `[source]`, what the sum of each column is divided by when the strongest column is
            sought; 0 for a column that is not to be chosen.
    """

    cells: Floats
    rows: Floats
    entropies: Floats
    visible: npt.NDArray[np.bool_]
    stripe: Floats


@dataclass(frozen=True, eq=False)
class MapNeed:
    """What somebody wants of the whole maps of one sample, of every head of a site.

    Attributes:
        views: what is summed, by layer.
        queries: `[queries, target]`, the mean over the tokens of each word that looks.
        words: `[source, words]`, 1 where a token is a piece of a word.
        asked: for each question the index of its query.
        expected: for each question the word that is the right answer.
        others: `[questions, words]`, what else can be chosen.
        kept: the questions whose word weights are wanted as well.
    """

    sample: Sample
    site: SiteName
    views: Mapping[int, MapView]
    queries: Floats
    words: Floats
    asked: npt.NDArray[np.int64]
    expected: npt.NDArray[np.int64]
    others: npt.NDArray[np.bool_]
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class MapSums:
    """What the samples of one forward gave; heads are all of the site's, layer by layer.

    Attributes:
        needs: indices of the needs that it answers.
        cells, rows, entropies: `[sums, heads]`, `[masses, heads]`, `[means, heads]`, summed over
            the samples; entropies in nats.
        stripes: `[2, heads]`: the mass on the strongest column of each sample, and the mass of
            the rows that see it.
        right: `[questions, heads]` of all samples, one after the other: whether the expected word
            gets more than any other candidate.
        kept: for each need, in the order of its `kept`, `[heads, words]`.
    """

    needs: tuple[int, ...]
    cells: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float64]
    entropies: npt.NDArray[np.float64]
    stripes: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    kept: tuple[tuple[Floats, ...], ...]


@dataclass(frozen=True)
class Ablation:
    """Heads whose output is replaced before the output projection mixes it with the others.

    Attributes:
        how: by zero, or by the head's mean output over all tokens of the `reference` texts.
        reference: what a mean is taken over; the text itself where there are none.
    """

    site: SiteName
    heads: tuple[Head, ...]
    how: Literal["zero", "mean"] = "zero"
    reference: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """How likely the model finds a word where it stands, in nats; further from 0 is less likely.

    A decoder is asked after the text before the word, an encoder with the word masked, an
    encoder-decoder after the source and the target before the word.

    Attributes:
        span: the word, in the target text where there is one; None for the whole target.
        instead: another word in its place. The readout is then the difference of the two log
            probabilities, which for words of one token is the difference of their logits.
        ablation: None for the intact model.
    """

    sample: Sample
    span: Span | None
    instead: str | None = None
    ablation: Ablation | None = None


@dataclass(frozen=True)
class Similarity:
    """How much closer a text is to one text than to another, by their embeddings: -2 to 2.

    The cosine of the embeddings of the text and of `positive`, less that of the text and of
    `negative`. An embedding is made of the final hidden states of all tokens, special ones
    included (Reimers & Gurevych 2019, "Sentence-BERT").

    Attributes:
        negative: None for the cosine to `positive` alone.
        pool: the mean over the tokens, or the state of the first or of the last one.
        ablation: None for the intact model; the heads are ablated in all texts.
    """

    sample: Sample
    positive: str
    negative: str | None = None
    pool: Pool = "mean"
    ablation: Ablation | None = None


# What a model says by itself, with heads ablated or not, as one number.
Readout = Prediction | Similarity


@dataclass(frozen=True, eq=False)
class Rows:
    """Attention rows of one sample at one site, read-only.

    Attributes:
        positions: target position of each row, ascending.
        weights: for each layer float32 `[heads, rows, source]`; a row sums to 1, or to 1 less
            the mass that the layer's learned sink takes.
    """

    encoding: Encoding
    site: SiteName
    positions: tuple[int, ...]
    weights: Mapping[int, Floats]

    @property
    def queries(self) -> Tokens:
        return self.encoding.queries(self.site)

    @property
    def keys(self) -> Tokens:
        return self.encoding.keys(self.site)

    def at(self, layer: int, positions: Sequence[int]) -> Floats:
        """Weights `[heads, len(positions), source]` of the rows at these target positions."""
        try:
            picked = [self.positions.index(position) for position in positions]
            return self.weights[layer][:, picked]
        except (ValueError, KeyError):
            raise MeasureError(
                f"rows {list(positions)} of layer {layer} were not captured at {self.site}"
            ) from None


class Attended(NamedTuple):
    """A candidate word and the weight that a head puts on it."""

    word: str
    weight: float


@dataclass(frozen=True)
class Picture:
    """The heatmap that shows a verdict: which heads, and which cells to mark.

    Attributes:
        heads: one head, or several whose mean is shown.
        rows: target positions of the row in question.
        expected, contrast: source positions of the word that should get the weight, and of the
            word that it is compared with.
    """

    site: SiteName
    heads: tuple[Head, ...]
    rows: tuple[int, ...]
    expected: tuple[int, ...]
    contrast: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class HeadGrid:
    """A score of every head, drawn as a layer × head grid.

    Attributes:
        measure: what the score is, with its unit: `previous-token score`, `entropy (nats)`.
        scores: `[layers, heads]`; NaN where a layer has fewer heads.
        decided: the heads that decided a verdict, to be marked.
    """

    measure: str
    layers: tuple[int, ...]
    scores: Floats
    decided: tuple[Head, ...] = ()


@dataclass(frozen=True, eq=False)
class LayerPanel:
    """All heads of a layer side by side.

    Attributes:
        weights: `[heads, target, source]`.
        decided: the heads that decided a verdict, to be marked.
    """

    site: SiteName
    layer: int
    weights: Floats
    decided: tuple[Head, ...] = ()


@dataclass(frozen=True, eq=False)
class FlowGraph:
    """How attention flows from words at the top through the layers to words of the input.

    Attributes:
        labels: the words, one a position.
        edges: `[layers, words, words]`, from a word of a layer to the words below it; rows sum
            to 1, the residual connection included.
        start: positions at the top that are followed.
        end: positions of the input to be marked.
    """

    labels: tuple[str, ...]
    layers: tuple[int, ...]
    edges: Floats
    start: tuple[int, ...]
    end: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Curves:
    """A statistic of every head over the layers, drawn as small multiples.

    Attributes:
        measure: what the statistic is, with its unit: `entropy (nats)`.
        values: `[layers, heads]`; NaN where a layer has fewer heads.
    """

    measure: str
    layers: tuple[int, ...]
    values: Floats
    decided: tuple[Head, ...] = ()


@dataclass(frozen=True, eq=False)
class HeadMap:
    """Heads as points in the plane; near points are heads that attend alike.

    Attributes:
        points: `[heads, 2]`.
    """

    measure: str
    heads: tuple[Head, ...]
    points: Floats
    decided: tuple[Head, ...] = ()


Chart = HeadGrid | LayerPanel | FlowGraph | Curves | HeadMap


@dataclass(frozen=True)
class Control:
    """The change of a readout by an ablation, beside that by as many random heads.

    Attributes:
        intact, ablated: the readout before and after, in nats, or a difference of cosines.
        change: what the verdict is on: by how much the readout fell, rose or moved.
        draws: the same change for each draw of random heads of the same layers.
    """

    intact: float
    ablated: float
    change: float
    draws: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.draws))

    @property
    def spread(self) -> float:
        """Standard deviation over the draws."""
        return float(np.std(self.draws))

    @property
    def as_much(self) -> int:
        """How many draws change the readout at least as much."""
        return sum(draw >= self.change for draw in self.draws)

    def __str__(self) -> str:
        return (
            f"readout {format_decimals(self.intact)} intact, {format_decimals(self.ablated)} "
            f"ablated; random heads of the same layers change it by {format_decimals(self.mean)} ± "
            f"{format_decimals(self.spread)}, {self.as_much} of {len(self.draws)} draws as much"
        )


@dataclass(frozen=True)
class Chance:
    """How often a rule passes for other word pairs of the same texts.

    Attributes:
        passed, pairs: how many pairs were tried, and for how many the rule passed.
        distinct: how many of the pairs are of different words; the rows of a template repeat many.
    """

    passed: int
    pairs: int
    distinct: int

    @property
    def rate(self) -> float | None:
        """The share that passed, 0 to 1; None where too few pairs were tried, or differ."""
        return self.passed / self.pairs if self._enough else None

    @property
    def interval(self) -> Interval | None:
        """95 % Wilson interval of the rate, as if each distinct pair had been tried once."""
        if not self._enough:
            return None
        return wilson(round(self.passed / self.pairs * self.distinct), self.distinct)

    @property
    def _enough(self) -> bool:
        return self.pairs >= LEAST_PAIRS and self.distinct >= LEAST_DISTINCT

    def __str__(self) -> str:
        if self.interval is None:
            return (
                f"chance not known: these texts have {self.pairs} other word pairs of this kind, "
                f"{self.distinct} that differ; it takes {LEAST_PAIRS} and {LEAST_DISTINCT}: add "
                "cases"
            )
        alike = f", {self.distinct} that differ" if self.distinct < self.pairs else ""
        return (
            f"by chance: holds for {self.passed} of {self.pairs} other word pairs of this kind"
            f"{alike} ({format_percent(self.passed / self.pairs)}, 95 % interval "
            f"{format_interval(self.interval)})"
        )


@dataclass(frozen=True)
class Bound:
    """A measured number beside what is demanded of it: weight 0.12, demanded >= 0.3.

    Attributes:
        measure: what the number is, for a reader: `weight among words`, `margin over street`.
        unit: the kind of number that it is, which decides what it is compared with. A rule of
            another package may have a unit of its own; None in a file that was written before
            there were units, for a measure that no rule of attnprobe has.
        outcome: `vacuous` for a bound that no model could break on this text.
    """

    __pydantic_config__: ClassVar[Any] = {"allow_inf_nan": False}

    measure: str
    unit: MeasureUnit | str | None
    observed: StrictFloat
    relation: str
    demanded: StrictFloat
    outcome: Outcome

    @property
    def direction(self) -> int:
        """1 for a least value, -1 for a largest one; 0 where the relation is neither."""
        return 1 if self.relation in (">=", ">") else -1 if self.relation in ("<=", "<") else 0

    @property
    def distance(self) -> float:
        """How far the number is on the side where its bound holds, in its own unit."""
        return self.direction * (self.observed - self.demanded)

    @property
    def slack(self) -> float | None:
        """The distance, where it says by how much the bound holds; None where it does not.

        A rank or a ratio holds by a difference of weights, an accuracy of links by their count.
        """
        return self.distance if self.direction and self.unit in OWN_SLACK else None


@dataclass(frozen=True)
class Verdict:
    """What became of one expectation.

    Attributes:
        bounds: the measured numbers of one head and what is demanded of them; the first decided,
            the others follow, the hardest first.
        head: the head that decided or came nearest: `L3H1`, or `mean of 72 heads`.
        heads_tried: how many heads were looked at.
        sink: share of the row's mass on special tokens, learned sinks and, in a causal
            site, the first token; 0 to 1.
        top: the strongest candidate words of that head, strongest first.
        control: of a rule that ablates heads, what random heads do.
        confirmed: of a rule that was to be confirmed by ablation, what that showed.
        chance: of a rule on two words, how often it passes for others.
        unbreakable: whether the verdict is vacuous because no model could fail it on this text.
    """

    outcome: Outcome
    bounds: tuple[Bound, ...]
    head: str
    heads_tried: int
    sink: float
    top: tuple[Attended, ...] = ()
    picture: Picture | None = None
    charts: tuple[Chart, ...] = ()
    control: Control | None = None
    confirmed: str | None = None
    chance: Chance | None = None
    unbreakable: bool = False

    @property
    def deciding(self) -> Bound:
        """The bound that decided."""
        return self.bounds[0]

    @property
    def measure(self) -> str:
        """What the deciding number is: `weight`, `margin over street`, `rank`."""
        return self.deciding.measure

    @property
    def observed(self) -> float:
        """The deciding number."""
        return self.deciding.observed

    @property
    def relation(self) -> str:
        """How the deciding number is to lie to `demanded`: `>=`."""
        return self.deciding.relation

    @property
    def demanded(self) -> float:
        """The deciding bound."""
        return self.deciding.demanded

    @property
    def borderline(self) -> bool:
        """Whether the deciding number is too near to its bound to call; vacuous or not."""
        return self.deciding.outcome == "borderline"

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Why a verdict that holds may say little."""
        return doubts(self.outcome, borderline=self.borderline, unbreakable=self.unbreakable)

    @property
    def ablated(self) -> tuple[str, ...]:
        """What ablation showed, in words; empty where nothing was ablated."""
        return tuple(str(one) for one in (self.confirmed, self.control) if one is not None)
