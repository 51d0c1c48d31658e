"""Verdicts: the outcome of an expectation with its bounds, controls and doubts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, StrictFloat, StrictInt

from attnprobe.core.charts import Chart, Picture
from attnprobe.core.stats import Interval, Spread, wilson
from attnprobe.core.units import OWN_SLACK, MeasureUnit
from attnprobe.core.wording import (
    format_decimals,
    format_interval,
    format_number,
    format_percent,
    plural,
)

# The fewest word pairs, and the fewest different ones, that give a chance rate.
LEAST_PAIRS = 50
LEAST_DISTINCT = 20
Outcome = Literal["passed", "failed", "borderline", "vacuous", "error"]
# A word pair with one of these outcomes names the best other head.
NAMES_OTHERS: tuple[Outcome, ...] = ("failed", "borderline")
# Why an expectation that holds may say little. Vacuous: it holds for other word pairs as well.
# Unbreakable: it holds whatever the model does. Borderline: its number is too near to the bound.
Doubt = Literal["vacuous", "unbreakable", "borderline"]


def doubts(outcome: Outcome, *, borderline: bool, unbreakable: bool) -> tuple[Doubt, ...]:
    """The doubts about an expectation: its outcome names at most one, and may hide another.

    Args:
        borderline: whether the deciding bound is borderline.
        unbreakable: whether no model could fail the expectation on this text.
    """
    found: list[Doubt] = []
    if outcome == "vacuous":
        found.append("unbreakable" if unbreakable else "vacuous")
    if outcome == "borderline" or (outcome == "vacuous" and borderline):
        found.append("borderline")
    return tuple(found)


class Attended(NamedTuple):
    """A candidate word and the weight that a head puts on it."""

    word: str
    weight: float


@dataclass(frozen=True)
class AblationControl:
    """The change of a readout by an ablation, beside the change by as many random heads.

    Attributes:
        intact, ablated: the readout before and after the ablation, in nats or as a difference of
            cosines.
        change: how much the readout fell, rose or moved; the verdict judges this number.
        draws: the same change for each draw of random heads of the same layers.
    """

    intact: StrictFloat
    ablated: StrictFloat
    change: StrictFloat
    draws: tuple[StrictFloat, ...]

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
        passed: for how many pairs the rule passed.
        pairs: how many pairs were tried.
        distinct: how many different pairs of words these are; the rows of a template repeat many.
    """

    passed: StrictInt
    pairs: StrictInt
    distinct: StrictInt

    @property
    def rate(self) -> float | None:
        """The share that passed, 0 to 1; None for too few pairs, or too few different ones."""
        return self.passed / self.pairs if self._enough else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % Wilson interval of the rate; it counts each different pair once."""
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


class BoundKind(NamedTuple):
    """What the bounds of one rule on two texts share: `margin`, `>=`."""

    measure: str
    relation: str

    @classmethod
    def of(cls, measure: str, relation: str) -> BoundKind:
        """The kind of a bound, from its measure, which may name a word: `margin over street`."""
        return cls(measure.partition(" over ")[0].partition(" below ")[0], relation)


@dataclass(frozen=True)
class Bound:
    """A measured number and the demand on it: weight 0.12, demanded >= 0.3.

    Attributes:
        measure: the number's name: `weight among words`, `margin over street`.
        unit: only numbers of the same unit can be compared. A rule of another package may have a
            unit of its own. None for an unknown measure in a file from before there were units.
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
    def kind(self) -> BoundKind:
        return BoundKind.of(self.measure, self.relation)

    @property
    def direction(self) -> int:
        """1 if the number must be large, -1 if it must be small, 0 for any other relation."""
        return 1 if self.relation in (">=", ">") else -1 if self.relation in ("<=", "<") else 0

    @property
    def distance(self) -> float:
        """The distance of the number from the bound in its unit; positive if the bound holds."""
        return self.direction * (self.observed - self.demanded)

    @property
    def slack(self) -> float | None:
        """The distance, if it says how safely the bound holds; None if not.

        A rank or a ratio depends on a difference of weights, an accuracy of links on their count.
        """
        return self.distance if self.direction and self.unit in OWN_SLACK else None

    @property
    def number(self) -> str:
        """The number in words: `rank 3`."""
        return f"{self.measure} {format_number(self.observed, self.unit)}"

    @property
    def limit(self) -> str:
        """The demand in words: `>= 0.300`."""
        return f"{self.relation} {format_number(self.demanded, self.unit)}"

    def __str__(self) -> str:
        return f"{self.number}, demanded {self.limit}"


@dataclass(frozen=True)
class BestOther:
    """The head that does best on a word pair, of those that the expectation does not name.

    Attributes:
        head: `L3H5`.
        bound: its number and the demand on it, the hardest where there are several.
        heads: how many other heads were looked at.
        layers: the layers in which they are, ascending.
    """

    head: str
    bound: Bound
    heads: StrictInt
    layers: Annotated[tuple[StrictInt, ...], Field(min_length=1)]

    def __str__(self) -> str:
        alike = "would fail too" if self.bound.outcome == "failed" else "would hold"
        return (
            f"best other head for this pair: {self.head}, {self.bound.number}, {alike}; the best "
            f"of {plural(self.heads, 'head')} in {_name_layers(self.layers)} is no evidence by "
            "itself"
        )


def _name_layers(layers: tuple[int, ...]) -> str:
    """`layer 3`, `layers 0 to 5`, `layers 1, 3 and 4`."""
    first, last = layers[0], layers[-1]
    if first == last:
        return f"layer {first}"
    if last - first == len(layers) - 1:
        return f"layers {first} to {last}"
    return f"layers {', '.join(map(str, layers[:-1]))} and {last}"


@dataclass(frozen=True)
class Verdict:
    """What was found of one expectation of a case, or of one bound of a relation.

    Attributes:
        bounds: the bounds of one head: the deciding one first, then the others, hardest first.
        head: the head that decided or came nearest: `L3H1`, or `mean of 72 heads`.
        heads_tried: how many heads were judged.
        sink: share of the row's mass on special tokens, learned sinks and, in a causal
            site, the first token; 0 to 1. None for a verdict over many sentences.
        top: the strongest candidate words of that head, strongest first.
        control: for a rule that ablates heads, the ablation beside random heads.
        confirmed: for a rule with `confirm: effect`, what the ablation showed.
        chance: for a rule on two words, how often it passes for other words.
        by_chance: the deciding number for those other words.
        unbreakable: whether the verdict is vacuous because no model could fail it on this text.
        best_other: for a word pair that no named head attends to as demanded, the best other head.
    """

    outcome: Outcome
    bounds: tuple[Bound, ...]
    head: str
    heads_tried: int
    sink: float | None
    top: tuple[Attended, ...] = ()
    picture: Picture | None = None
    charts: tuple[Chart, ...] = ()
    control: AblationControl | None = None
    confirmed: str | None = None
    chance: Chance | None = None
    by_chance: Spread | None = None
    unbreakable: bool = False
    best_other: BestOther | None = None

    @property
    def deciding(self) -> Bound:
        """The bound that decided."""
        return self.bounds[0]

    @property
    def measure(self) -> str:
        """The name of the deciding number: `weight`, `margin over street`, `rank`."""
        return self.deciding.measure

    @property
    def observed(self) -> float:
        """The deciding number."""
        return self.deciding.observed

    @property
    def relation(self) -> str:
        """The demanded relation of the deciding number to `demanded`: `>=`."""
        return self.deciding.relation

    @property
    def demanded(self) -> float:
        """The limit that the deciding number must keep."""
        return self.deciding.demanded

    @property
    def borderline(self) -> bool:
        """Whether the deciding number is too near to its bound, even in a vacuous verdict."""
        return self.deciding.outcome == "borderline"

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """The reasons why a verdict that holds may say little."""
        return doubts(self.outcome, borderline=self.borderline, unbreakable=self.unbreakable)

    @property
    def ablated(self) -> tuple[str, ...]:
        """What the ablation showed, in words; empty if nothing was ablated."""
        return tuple(str(note) for note in (self.confirmed, self.control) if note is not None)
