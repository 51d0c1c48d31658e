"""What became of an expectation, with its numbers, controls and doubts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import StrictFloat, StrictInt

from attnprobe.core.charts import Chart, Picture
from attnprobe.core.stats import Interval, wilson
from attnprobe.core.units import OWN_SLACK, MeasureUnit
from attnprobe.core.wording import format_decimals, format_interval, format_number, format_percent

# A chance rate needs at least so many word pairs, and so many that differ.
LEAST_PAIRS = 50
LEAST_DISTINCT = 20
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


class Attended(NamedTuple):
    """A candidate word and the weight that a head puts on it."""

    word: str
    weight: float


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

    passed: StrictInt
    pairs: StrictInt
    distinct: StrictInt

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

    @property
    def number(self) -> str:
        """The number for a reader: `rank 3`."""
        return f"{self.measure} {format_number(self.observed, self.unit)}"

    @property
    def limit(self) -> str:
        """What is demanded, for a reader: `>= 0.300`."""
        return f"{self.relation} {format_number(self.demanded, self.unit)}"

    def __str__(self) -> str:
        return f"{self.number}, demanded {self.limit}"


@dataclass(frozen=True)
class Verdict:
    """What was found of one expectation of a case, or of one bound of a relation.

    Attributes:
        bounds: the measured numbers of one head and what is demanded of them; the first decided,
            the others follow, the hardest first.
        head: the head that decided or came nearest: `L3H1`, or `mean of 72 heads`.
        heads_tried: how many heads were looked at.
        sink: share of the row's mass on special tokens, learned sinks and, in a causal
            site, the first token; 0 to 1. None for a verdict over many sentences.
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
    sink: float | None
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
