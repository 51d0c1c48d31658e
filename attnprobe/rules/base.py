"""What every rule is: a frozen model of its arguments, with `needs` and `judge`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.registry import Registry
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.texts import Encoding, Sample, Span
from attnprobe.core.units import MeasureUnit
from attnprobe.core.verdicts import BestOther, Bound, Outcome, Verdict
from attnprobe.rules.chance import WordPairChance
from attnprobe.words.heads import Heads, How, parse_heads
from attnprobe.words.locate import locate
from attnprobe.words.selectors import (
    SPECIAL_NAMES,
    TEXT_KEYS,
    Predicts,
    Selector,
    check_target_selector,
    parse_selector,
)

# A number within this distance of its bound is "borderline": the noise of another machine could
# turn the outcome.
BAND = 1e-3

RULES: Registry[type[Rule]] = Registry("rule")

End = Literal["query", "key"]


def _heads(value: object, info: ValidationInfo) -> Heads:
    if isinstance(value, Heads):
        return value
    return parse_heads(value, (info.context or {}).get("head_sets"))


def _selector(value: object) -> Selector:
    if isinstance(value, bool | int | float):
        raise PydanticCustomError(
            "string_type",
            "a word is text, not {value}; quote it as it stands in the text",
            {"value": repr(value)},
        )
    return parse_selector(value)


_PHRASE = {"type": "string", "minLength": 1}
_NTH = {"type": "integer", "minimum": 1}
_MESSAGE = {"type": "integer", "not": {"const": 0}}
_CHARS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "minItems": 2,
    "maxItems": 2,
}


def _form(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [required],
        "properties": properties,
        "additionalProperties": False,
    }


_WORD: dict[str, Any] = {"$ref": "#/definitions/selectorWord"}
SELECTOR_WORD_SCHEMA: dict[str, Any] = {
    "description": "A word of the text.",
    "anyOf": [
        _PHRASE,
        _form("word", word=_PHRASE, nth=_NTH),
        _form("predicts", predicts=_PHRASE, nth=_NTH),
        _form("chars", chars=_CHARS),
    ],
}
_WORDS = {"anyOf": [_WORD, {"type": "array", "minItems": 1, "items": _WORD}]}
SELECTOR_PART_SCHEMA: dict[str, Any] = {
    "anyOf": [
        _WORD,
        _form("special", special={"enum": list(SPECIAL_NAMES)}, nth=_NTH),
        _form("special", special={"type": "string", "pattern": r"[^\w\s]"}, nth=_NTH),
        *(_form(which, **{which: _WORDS}) for which in TEXT_KEYS),
        _form("message", message=_MESSAGE, word=_PHRASE, nth=_NTH),
        _form("message", message=_MESSAGE, predicts=_PHRASE, nth=_NTH),
        _form("message", message=_MESSAGE, chars=_CHARS),
        _form("role", role=_PHRASE, nth=_NTH),
    ]
}
SELECTOR_SCHEMA: dict[str, Any] = {
    "description": "A phrase as it stands in the text, {word: it, nth: 2} where it stands more "
    "than once, {chars: [10, 16]}, {special: cls}, {predicts: are}, or a list of these; beside a "
    "text_pair: {pair: it} for a word of the second text, {text: it} for one of the first; in "
    "messages: {message: 2, word: it}, {role: system} for a whole message, "
    '{special: "<|im_end|>"} for a mark of the chat template; {needle: it} for a word of a needle; '
    "beside generate: {generated: it}, {generated: all}, {generated: first}.",
    "anyOf": [
        {"$ref": "#/definitions/selectorPart"},
        {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/selectorPart"}},
    ],
}

# The JSON Schema of case files holds the definitions.
HeadsField = Annotated[Heads, PlainValidator(_heads), WithJsonSchema({"definition": "heads"})]
SelectorField = Annotated[
    Selector, PlainValidator(_selector), WithJsonSchema({"definition": "selector"})
]


class Place(NamedTuple):
    """A selector of a rule, the field that holds it, and whether it names rows or columns."""

    field: str
    selector: Selector
    end: End


class Rule(BaseModel, ABC):
    """Base of all rules. A rule sees tokens and attention rows, never a model."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )

    kind: ClassVar[str]
    # The arguments that a Python probe may give without their names.
    positional: ClassVar[tuple[str, ...]] = ()
    # The fields that bound a number; the other fields say which number.
    bounds: ClassVar[frozenset[str]] = frozenset({"min", "max"})
    # Arguments that a message shows to users who wrote none, without heads and site.
    example: ClassVar[str] = "{min: 0.5}"
    # What a message says of keys that belong to another rule.
    misplaced: ClassVar[Mapping[str, str]] = {}

    heads: HeadsField = Field(description="Which heads the rule looks at.")
    site: SiteName | None = Field(
        None, description="Which attention; needed where the model has several."
    )

    @abstractmethod
    def places(self) -> Iterator[Place]:
        """The selectors of the rule; collecting a case file looks them up in the text."""

    @abstractmethod
    def needs(self, encoding: Encoding) -> tuple[Need | Readout, ...]:
        """The rows, or readouts of the model's prediction, that `judge` takes.

        Raises:
            SelectorError: the text or the model lacks a word, head or layer, or no head can
                connect a pair.
        """

    @abstractmethod
    def judge(self, rows: Sequence[Any]) -> Verdict:
        """The verdict.

        Args:
            rows: the answers in the order of `needs`: `Rows`, or a float for a readout.

        Raises:
            MeasureError: the rows hold no distribution.
        """

    def check_length(self, most: int) -> None:
        """Refuses a bound that no text of at most `most` tokens can break, in whatever model.

        Raises:
            SelectorError: names the bound and a value that could be broken.
        """
        return

    def chance(self, encoding: Encoding) -> WordPairChance | None:
        """How a rule on two words of this text is tried on other word pairs of the suite.

        None for a rule, or a text, without two words that others can stand for.

        Raises:
            SelectorError: as `needs`.
        """
        return None

    def everywhere(self, encoding: Encoding) -> Need | None:
        """The request for what `best_other` takes, in all layers of the site.

        None for a rule that demands no head for a word pair.
        """
        return None

    def best_other(self, rows: Rows) -> BestOther | None:
        """The head that does best on the rule's word pair, of those that the rule does not name.

        None if there is none, or none can be judged.

        Args:
            rows: the rows of the word that attends, in the layers to look at.
        """
        return None

    def text_of(self, sample: Sample, end: End) -> str:
        """The text in which spans at this end count characters; two texts as `Sample.joined`."""
        return sample.target or "" if self._in_target(sample, end) else sample.joined

    def locate(self, selector: Selector, sample: Sample, end: End) -> tuple[Span, ...]:
        """The characters of `text_of` that a selector at this end means.

        Raises:
            SelectorError: as `words.locate.locate`; or the selector names one of two texts, and
                lies in the target.
        """
        if not self._in_target(sample, end):
            return locate(selector, sample.joined, parts=sample.parts)
        check_target_selector(selector)
        return locate(selector, sample.target or "")

    def _in_target(self, sample: Sample, end: End) -> bool:
        """Whether a selector at this end names words of the target text."""
        if sample.target is None or self.site == "encoder":
            return False
        return not (self.site == "cross" and end == "key")

    def check_places(self, encoding: Encoding, site: Site) -> None:
        """Refuses selectors that mean nothing at their end of the attention.

        These are `predicts` where no row predicts (at the key end, and where rows see all), and
        `text` and `pair` in a target text: they name the texts of the encoder.

        Raises:
            SelectorError: names the field.
        """
        for place in self.places():
            if self._in_target(encoding.sample, place.end):
                check_target_selector(place.selector)
            if not any(isinstance(part, Predicts) for part in place.selector.parts):
                continue
            if place.end == "key":
                raise SelectorError(
                    f"{place.field}: {place.selector} is a row that predicts, and {place.field}: "
                    "names a column; write the word itself"
                )
            if not site.causal and site.name != "cross":
                raise SelectorError(
                    f"{place.field}: {place.selector} needs a decoder or cross attention: the rows "
                    f"of this {site.name} see the whole text and predict no next word; write the "
                    "word itself"
                )

    def relation(self) -> str:
        """What the rule relates, for readers: `it → animal over street`."""
        return ""

    def describe(self) -> str:
        """The rule in one line."""
        return f"{self.kind} {self.relation()}, {self.heads}"


def parse_rule(
    kind: str, arguments: Mapping[str, Any], *, head_sets: Mapping[str, Any] | None = None
) -> Rule:
    """The rule that a case file or a Python probe states.

    Raises:
        AttnprobeError: there is no rule of this name.
        pydantic.ValidationError: the rule does not take these arguments.
    """
    return RULES[kind].model_validate(dict(arguments), context={"head_sets": head_sets or {}})


def check_numbers(rows: Rows, heads: Collection[Head] | None = None) -> None:
    """Raises MeasureError if a weight is no number, since no comparison with it means anything.

    Args:
        heads: the heads to check; all heads of the captured layers unless given.
    """
    for layer, weights in rows.weights.items():
        for number in np.flatnonzero(~np.isfinite(weights).all(axis=(1, 2))):
            head = Head(layer, int(number))
            if heads is None or head in heads:
                raise MeasureError(f"{head} has attention weights that are no numbers")


class Demand(NamedTuple):
    """A bound on one head, and by how much the head meets it.

    Attributes:
        slack: by how much the head does better than the bound, below zero where it falls short.
            This is the distance of the number from the bound; for a rank or a ratio it is the
            difference of weights behind it, for an accuracy of links that of counts.
        idle: whether no model can fail the bound on this text: at worst it is borderline.
    """

    bound: Bound
    slack: float
    idle: bool

    @classmethod
    def of(
        cls,
        measure: str,
        unit: MeasureUnit,
        observed: float,
        relation: str,
        demanded: float,
        *,
        slack: float | None = None,
        strict: bool | None = None,
        worst: float = -math.inf,
    ) -> Demand:
        """A bound and its outcome.

        Args:
            slack: the distance of the number from its bound unless given.
            strict: whether a slack of exactly zero fails; true for `>` and `<` unless given.
            worst: the least slack that any model can have on this text, where that is known.
        """
        if slack is None:
            slack = observed - demanded if relation in (">=", ">") else demanded - observed
        if strict is None:
            strict = relation in (">", "<")
        outcome = outcome_of(slack, strict=strict)
        idle = worst > -BAND and not (strict and worst <= 0)
        return cls(Bound(measure, unit, observed, relation, demanded, outcome), slack, idle)

    @property
    def ease(self) -> tuple[int, float]:
        """Sorts demands, the hardest first: failed, borderline, passed, then by slack.

        Slack alone would put a failed tie, with a slack of 0, behind a borderline shortfall.
        """
        return ("failed", "borderline", "passed").index(self.bound.outcome), self.slack


def outcome_of(slack: float, *, strict: bool) -> Outcome:
    """`borderline` within the band on either side; an exact tie fails a strict demand."""
    tied = strict and slack == 0
    if abs(slack) < BAND and not tied:
        return "borderline"
    return "passed" if slack > 0 else "failed"


def verdict_of(
    demands: Sequence[Demand], *, left_out: str = "", unbreakable: bool = False, **about: Any
) -> Verdict:
    """The verdict on a head.

    Args:
        demands: all demands on that head. The first one decides; later ones that nothing can
            break are vacuous.
        left_out: a note on what the numbers leave out; it is appended to their measures.
        unbreakable: whether the expectation holds whatever the model does.
        about: the other fields of `Verdict`.
    """
    deciding, *others = demands
    bounds = [
        deciding.bound,
        *(replace(late.bound, outcome="vacuous") if late.idle else late.bound for late in others),
    ]
    outcome = deciding.bound.outcome
    unbreakable = unbreakable and outcome != "failed"
    return Verdict(
        outcome="vacuous" if unbreakable else outcome,
        bounds=tuple(replace(bound, measure=bound.measure + left_out) for bound in bounds),
        unbreakable=unbreakable,
        **about,
    )


def hardest(demands: Iterable[Demand]) -> tuple[Demand, ...]:
    """The demands on a head that must meet them all: the deciding one, then the others.

    A demand that nothing can break decides only if nothing can break the others either.
    """
    return tuple(sorted(demands, key=lambda demand: (demand.idle, *demand.ease)))


def decide(heads: Sequence[Sequence[Demand]], how: How, count: int, *, best: int) -> int:
    """Index of the head that decides.

    The head with the most slack decides `any`, the one with the least `all`, the k-th `at_least
    k`, the head at index `best` decides `best`.

    Args:
        heads: the demands on each head, the hardest first.
    """
    order = sorted(range(len(heads)), key=lambda index: heads[index][0].ease, reverse=True)
    if how == "best":
        return best
    if how == "all":
        return order[-1]
    return order[count - 1 if how == "at_least" else 0]


def is_unbreakable(heads: Sequence[Sequence[Demand]], how: How, count: int) -> bool:
    """Whether the heads hold whatever the model does, given the demands on each head."""
    idle = sum(demands[0].idle for demands in heads)
    needed = {"any": 1, "at_least": count}.get(how, len(heads))
    return idle >= needed
