"""The records of a run, and the form of the results file.

Workers of pytest-xdist send records as plain dicts. The records of a case do not depend on the
order of the run, except for `duration_s`. Numbers are bit-equal after reading.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    model_validator,
)

from attnprobe._version import __version__
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.core.parts import Part
from attnprobe.core.pydantic_errors import describe_first
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample
from attnprobe.core.units import read_unit
from attnprobe.core.verdicts import (
    AblationControl,
    BestOther,
    Bound,
    Chance,
    Doubt,
    Outcome,
    doubts,
)
from attnprobe.results.files import check_output, read_json, write_json
from attnprobe.words.heads import HeadSet

RESULTS_SCHEMA = "attnprobe/results-1"
# The fields of the deciding bound; in a file they are fields of the expectation.
_NUMBERS = ("measure", "unit", "observed", "relation", "demanded")
# The fields of a run that are lists of names; a file has them sorted.
_LISTS = ("absent_suites", "given", "bound", "other_failures", "unread", "left_out")

WeightsFormat = Literal["safetensors", "gguf", "pickle"]
CaseOutcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]
CheckState = Literal["passed", "failed", "error", "skipped", "gap"]


@dataclass(frozen=True)
class _Record:
    """A frozen dataclass with a plain dict as its written form."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    @functools.cache
    def _adapter(cls) -> TypeAdapter[Self]:
        return TypeAdapter(cls)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """The record of a dict that `as_dict` returned; unknown keys are ignored.

        Raises:
            ResultsError: a field is missing or of another type.
        """
        try:
            return cls._adapter().validate_python(data)
        except ValidationError as error:
            raise ResultsError(describe_first(error, whole=cls.__name__)) from None
        except UnicodeEncodeError:  # pydantic's, of text in place of a number
            raise ResultsError(f"{cls.__name__}: holds half of a surrogate pair") from None


def _read_chance(data: Any, check: Callable[[Any], Chance]) -> Chance:
    """The chance rate of an expectation in a file.

    Older files have no number of distinct pairs; then all pairs count as distinct.

    Raises:
        ValueError: the rate or the interval contradicts the counts.
    """
    if isinstance(data, dict) and data.get("distinct") is None:
        data = {**data, "distinct": data.get("pairs")}
    chance = check(data)
    counts = f"a chance of {chance.passed} of {chance.pairs} pairs"
    if not 0 <= chance.passed <= chance.pairs:
        raise ValueError(f"{counts} cannot be")
    for name, value in _shares(chance).items():
        stored = data.get(name)
        known = isinstance(stored, int | float)
        if known != (value is not None) or not (
            value is None or math.isclose(value, stored, abs_tol=1e-9)
        ):
            raise ValueError(f"{counts} and a {name} of {stored}")
    return chance


def _shares(chance: Chance) -> dict[str, float | None]:
    """The fields of a chance rate that a file has besides the counts."""
    low, high = chance.interval or (None, None)
    return {"rate": chance.rate, "low": low, "high": high}


def _read_ablation(data: Any, check: Callable[[Any], AblationControl]) -> AblationControl:
    """The figures of an ablation in a file.

    Raises:
        ValueError: there are no draws, or a figure contradicts them.
    """
    control = check(data)
    if not control.draws:
        raise ValueError("an ablation has no draws of random heads")
    for name, value in _figures(control).items():
        stored = data.get(name)
        if not isinstance(stored, int | float) or not math.isclose(value, stored, abs_tol=1e-9):
            raise ValueError(f"the draws of an ablation and a {name} of {stored}")
    return control


def _figures(control: AblationControl) -> dict[str, float]:
    """The fields of an ablation that a file has besides the measured ones."""
    return {"mean": control.mean, "spread": control.spread, "as_much": control.as_much}


def _read_head_set(data: Any) -> Any:
    """A head set of a file, in which heads have the form `L3H1`."""
    if isinstance(data, dict) and isinstance(data.get("heads"), list | tuple):
        if not data["heads"]:
            raise ValueError("a head set names no heads")
        return {**data, "heads": tuple(Head.parse(str(head)) for head in data["heads"])}
    return data


@dataclass(frozen=True)
class ExpectationResult(_Record):
    """The finding of one `expect` entry; fields that an error left unmeasured are None.

    In a file, the fields of the deciding bound are fields of the expectation, and the other bounds
    are in `other_bounds`.

    Attributes:
        arguments: the rule's fields as in the case file.
        bounds: the measured numbers and their bounds: the deciding one, then the others on the same
            head, the hardest first. Empty if nothing was measured.
        head: the head that decided or came nearest.
        heads_tried: the number of heads that were tried.
        chance: how often the rule passes for other word pairs; None for a rule without pairs.
        sink: share of the row's mass on special tokens and learned sinks, 0 to 1.
        ablation: what ablation changes, of `effect` and of a verdict that it was to confirm; None
            in files from before there was this field.
        confirmed: the result of an ablation that was to confirm the verdict.
        head_sets: the head sets of the lock file that the expectation names.
        borderline: whether the deciding number is too near to its bound to call; a vacuous
            expectation can be borderline as well.
        unbreakable: whether the expectation is vacuous because no model could fail it on its text.
        best_other: for a word pair whose named heads fail, the best other head that was looked at.
        check_sha256: hash of the text, rule, words, heads and bounds; equal expectations have
            equal hashes. None in older files, or if the expectation could not be judged.
    """

    rule: str
    arguments: Mapping[str, Any]
    outcome: Outcome
    message: str
    line: StrictInt
    bounds: tuple[Bound, ...] = ()
    head: str | None = None
    heads_tried: StrictInt | None = None
    chance: Annotated[Chance, WrapValidator(_read_chance)] | None = None
    sink: StrictFloat | None = None
    ablation: Annotated[AblationControl, WrapValidator(_read_ablation)] | None = None
    confirmed: str | None = None
    head_sets: tuple[Annotated[HeadSet, BeforeValidator(_read_head_set)], ...] = ()
    borderline: bool = False
    unbreakable: bool = False
    best_other: BestOther | None = None
    check_sha256: str | None = None

    @property
    def deciding(self) -> Bound | None:
        """The bound that decided; None if nothing was measured."""
        return self.bounds[0] if self.bounds else None

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """The reasons why the expectation may say little although it holds."""
        return doubts(self.outcome, borderline=self.borderline, unbreakable=self.unbreakable)

    def as_dict(self) -> dict[str, Any]:
        data = super().as_dict()
        first, *others = data.pop("bounds") or [dict.fromkeys(_NUMBERS)]
        first.pop("outcome", None)
        return {
            **data,
            **first,
            "other_bounds": others,
            "chance": self.chance and vars(self.chance) | _shares(self.chance),
            "ablation": self.ablation and vars(self.ablation) | _figures(self.ablation),
            "best_other": self.best_other and data["best_other"] | {"note": str(self.best_other)},
            "head_sets": tuple(
                vars(chosen) | {"heads": tuple(map(str, chosen.heads))} for chosen in self.head_sets
            ),
        }

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        """The fields of the record, from those of a file."""
        if not isinstance(data, dict) or "bounds" in data:
            return data
        first = {name: data.get(name) for name in _NUMBERS}
        outcome = data.get("outcome")
        if outcome == "vacuous":
            # By its number alone, a vacuous expectation holds.
            outcome = "borderline" if data.get("borderline") else "passed"
        if any(first[name] is None for name in _NUMBERS if name != "unit"):
            return data
        others = data.get("other_bounds", ())
        if not isinstance(others, list | tuple):
            return {**data, "bounds": others}
        bounds = [{**first, "outcome": outcome}, *others]
        return {**data, "bounds": tuple(map(_with_unit, bounds))}


def _with_unit(bound: Any) -> Any:
    """A bound of a file; in older files, the measure gives the unit."""
    if isinstance(bound, dict) and bound.get("unit") is None:
        return {**bound, "unit": read_unit(str(bound.get("measure")))}
    return bound


@dataclass(frozen=True)
class CaseResult(_Record):
    """The result of one case on one model.

    Attributes:
        row: the label of a template row; None for a case without a template.
        file: path from the root of the run, with forward slashes.
        error: why the case was not measured, if the fault is not in one expectation; also for a
            known gap.
        text_sha256: `text_sha256` of the judged text; of a probe in Python, the first text. None if
            it is not known, and for relations.
        unknown_words: the words of the texts that became unknown tokens.
        generated: the model's own answers that were judged, one for each text.
    """

    nodeid: str
    id: str
    row: str | None
    file: str
    line: StrictInt
    suite: str
    model: str
    severity: Literal["blocking", "advisory"]
    marks: tuple[str, ...]
    outcome: CaseOutcome
    duration_s: StrictFloat
    expectations: tuple[ExpectationResult, ...]
    error: str | None = field(default=None, kw_only=True)
    text_sha256: str | None = field(default=None, kw_only=True)
    unknown_words: tuple[str, ...] = field(default=(), kw_only=True)
    generated: tuple[str, ...] = field(default=(), kw_only=True)

    def as_dict(self) -> dict[str, Any]:
        return {
            **super().as_dict(),
            "expectations": tuple(entry.as_dict() for entry in self.expectations),
        }

    @property
    def state(self) -> CheckState:
        """What the item counts as, in every count that a user sees.

        A Python probe may catch what it could not measure, or expect it by an xfail; a known gap
        of which no expectation was seen to fail was not measured either.
        """
        found = {entry.outcome for entry in self.expectations}
        match self.outcome:
            case "skipped":
                return "skipped"
            case _ if self.outcome == "error" or "error" in found:
                return "error"
            case "xfailed":
                return "error" if found <= {"passed"} else "gap"
            case "xpassed":
                return "failed"
            case outcome:
                return outcome

    @property
    def key(self) -> Key:
        """The identity of the check, the same in every run."""
        return Key(self.file, self.id, self.row, self.model)

    @property
    def name(self) -> str:
        """The id, with the row of a template: `it-animal[dog]`."""
        return self.key.name

    @property
    def address(self) -> str:
        """File and name in pytest's form; a node id has the model and the worker as well."""
        return f"{self.file}::{self.name}"

    @property
    def place(self) -> tuple[str, int, str, str, str]:
        """The sort key of records of one run."""
        return self.file, self.line, self.row or "", self.model, self.nodeid


@dataclass(frozen=True)
class RelationResult(CaseResult):
    """The result of one relation over many sentences on one model.

    Each of its `expectations` is one bound, such as the bound on the accuracy. Fields that an error
    left unmeasured are None.

    Attributes:
        relation: the relation in words: `nsubj, dependent → head`.
        n: the number of judged arcs.
        accuracy, interval: the share of these arcs that the head gets right, 0 to 1, and its 95 %
            Wilson interval.
        best_offset, offset_accuracy: the fixed distance in words, -5 to 5, that is right most often
            on the same arcs, and its accuracy.
        offset_p: exact McNemar test of the head against that distance, two-sided.
        preference_n: the number of arcs for which another word of the sentence can look at the same
            word.
        preference_accuracy: the accuracy of the head when that other word looks.
        preference_lead: the accuracy on these arcs when the true word looks, minus
            `preference_accuracy`.
        preference_p: exact McNemar test of the two, two-sided.
        among: whether sinks competed with words (`all`) or not (`words`).
        head: the judged head, or `mean of 3 heads`.
        heads_tried: the number of heads that were tried before the choice.
        chosen_on: the number of arcs that the head was chosen on; 0 without a choice.
        judged_on: the number of arcs that the head was judged on.
        left_out: the number of arcs that were not judged, by reason.
        unknown_share: share of unknown tokens among all tokens of the texts but special ones, 0 to
            1.
        notes: remarks on the corpus.
        corpus_sha256: hash of the corpus file; None for arcs of the case file.
    """

    relation: str = ""
    n: StrictInt | None = None
    accuracy: StrictFloat | None = None
    interval: tuple[StrictFloat, StrictFloat] | None = None
    best_offset: StrictInt | None = None
    offset_accuracy: StrictFloat | None = None
    offset_p: StrictFloat | None = None
    preference_n: StrictInt | None = None
    preference_accuracy: StrictFloat | None = None
    preference_lead: StrictFloat | None = None
    preference_p: StrictFloat | None = None
    among: str | None = None
    head: str | None = None
    heads_tried: StrictInt | None = None
    chosen_on: StrictInt | None = None
    judged_on: StrictInt | None = None
    left_out: Mapping[str, StrictInt] = field(default_factory=dict)
    unknown_share: StrictFloat | None = None
    notes: tuple[str, ...] = ()
    corpus_sha256: str | None = None


@dataclass(frozen=True)
class OrderResult(_Record):
    """A rule of position that does as well as a suite's heads; see `attnprobe.run.order.Habit`.

    In older files the last three fields are None, and the rule finds all pairs.
    """

    file: str
    suite: str
    model: str | None
    pairs: StrictInt
    habit: str
    offset: StrictInt
    right: StrictInt
    found: StrictInt | None = None
    passed: StrictInt | None = None
    p: StrictFloat | None = None


@dataclass(frozen=True)
class ModelResult(_Record):
    """A judged model, with the hashes of its files.

    Attributes:
        ref: the reference that was loaded.
        layers: the number of layers.
        heads: the number of query heads in a layer.
        weights_format: the file format of the weights; None if the project's own loader made the
            network.
        tokenizer: reference of the tokenizer; None if it belongs to the model.
        remote_code: whether classes that came with the weights ran; None if it is not known.
        ignored_code: files of the model that name its own code, which did not run.
        asked_revision: the requested revision of a hub model.
        asked: the requested reference; the project's own loader may have loaded another one.
        device, dtype: device and number type of the run, several with commas: `cuda:0, cuda:1`.
            None in older files, in which those of the environment apply.
        source_language, target_language: the default languages of texts and targets, for a
            multilingual tokenizer.
        base_sha256, adapter_sha256: the hashes of base and adapter, which `weights_sha256` covers
            together; None without an adapter.
        quantised: what of the network or of its files is quantised, in words; None where nothing
            is, and in older files.
        device_map: the device map that the model was loaded with; None without one.
    """

    name: str
    ref: str
    revision: str | None
    weights_sha256: str | None
    tokenizer_sha256: str | None
    architecture: str
    layers: StrictInt
    heads: StrictInt
    sites: tuple[SiteName, ...]
    weights_format: WeightsFormat | None = None
    tokenizer: str | None = None
    remote_code: bool | None = None
    ignored_code: tuple[str, ...] = ()
    asked_revision: str | None = None
    asked: str | None = None
    device: str | None = None
    dtype: str | None = None
    source_language: str | None = None
    target_language: str | None = None
    base_sha256: str | None = None
    adapter_sha256: str | None = None
    quantised: str | None = None
    device_map: str | None = None


@dataclass(frozen=True)
class PairRecord(_Record):
    """Two words that a case relates; see `attnprobe.run.order.StatedPair`."""

    suite: str
    file: str
    id: str
    row: str | None
    expectation: Annotated[StrictInt, Field(ge=0)]
    named: str | None
    text: str
    from_: StrictInt
    to: StrictInt
    over: StrictInt | None


@dataclass(frozen=True)
class PartRecord(_Record):
    """What the whole run must know of a part of it.

    Attributes:
        index, count: the part, the first being 1 of n.
        planned: the number of checks of all parts.
        planned_sha256: hash of these checks, in their order.
        files: hashes of their files, of the texts of haystacks and of the lock file, by path.
        options: the options that a verdict depends on.
        broken: the number of case files that could not be read, the same in each part.
        free, bound: suites with cases for any model, and with cases that name one, in this part.
        pairs: the word pairs that all cases state, for the order control.
        default_models: the models of cases that name none.
        source_sha256: hash of the source of attnprobe; see `source_sha256` in `environment`.
    """

    index: StrictInt
    count: StrictInt
    planned: StrictInt
    planned_sha256: str
    files: Mapping[str, str]
    options: Mapping[str, Any]
    broken: StrictInt
    free: tuple[str, ...]
    bound: tuple[str, ...]
    pairs: tuple[PairRecord, ...]
    default_models: tuple[str, ...]
    source_sha256: str = ""

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        if not Part(self.index, self.count).exists:
            raise ValueError(f"there is no {self}")
        return self

    def __str__(self) -> str:
        return f"part {self.index} of {self.count}"


@dataclass(frozen=True, repr=False)
class Results(_Record):
    """One run.

    Attributes:
        environment: the result of `environment`; device and dtype apply to all models.
        collected: the number of cases that were to run. The collection reports it, because a case
            that was lost with a crashed worker leaves no record.
        absent: by model name, the number of cases that were left out because the run was not given
            this model.
        absent_suites: the suites that lost all of their cases in this way.
        deselected: the number of cases and probes that -k, -m and the like left out, without those
            of `absent` and those outside of the command line's paths.
        left_out: files that --lf left out unread.
        uncollected: case files below the folders of the run that it did not collect completely,
            without those of `left_out`; None if it is not known.
        given: names of the models that the command line itself gave. Models of the ini file,
            `addopts` and PYTEST_ADDOPTS appear only in the cases that ran on them.
        bound: suites in which every case that ran names its model, so that no other model can run
            them.
        other_failures: failed tests that are no attention checks.
        unread: files and folders that could not be collected.
        complaints: failures of the run outside of any test: a limit of a comparison, a strict run
            that judged nothing, another plugin.
        part: of a run that was dealt out; None for a whole run.
    """

    environment: Mapping[str, str | None]
    models: tuple[ModelResult, ...]
    cases: tuple[CaseResult, ...]
    collected: StrictInt
    attnprobe: str = __version__
    relations: tuple[RelationResult, ...] = ()
    absent: Mapping[str, StrictInt] = field(default_factory=dict)
    absent_suites: tuple[str, ...] = ()
    deselected: StrictInt | None = None
    left_out: tuple[str, ...] = ()
    uncollected: tuple[str, ...] | None = None
    order: tuple[OrderResult, ...] = ()
    given: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    other_failures: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    part: PartRecord | None = None

    @property
    def items(self) -> tuple[CaseResult, ...]:
        """All cases and relations."""
        return (*self.cases, *self.relations)

    @property
    def missing(self) -> int:
        """The number of items that were to run but have no record; 0 for a finished run."""
        return max(self.collected - len(self.items), 0)

    def states(self) -> Counter[CheckState]:
        """The number of items in each state; what left no record is an error."""
        found = Counter(item.state for item in self.items)
        found["error"] += self.missing
        return found

    def summary(self) -> dict[str, int]:
        """Counts of items by outcome, and of expectations that are borderline, vacuous or both.

        `executed` counts every item that has a record and was not skipped.
        """
        cases = Counter(item.outcome for item in self.items)
        expectations = [entry for item in self.items for entry in item.expectations]
        found = Counter(doubt for entry in expectations for doubt in entry.doubts)
        return {
            "collected": self.collected,
            "executed": cases.total() - cases["skipped"],
            "passed": cases["passed"],
            "failed": cases["failed"],
            "error": cases["error"],
            "skipped": cases["skipped"],
            "xfailed": cases["xfailed"],
            "xpassed": cases["xpassed"],
            "borderline": found["borderline"],
            "vacuous": found["vacuous"] + found["unbreakable"],
        }

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.summary().items() if count)
        return f"<Results: {counts or 'no check'}>"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the results file, which `compare`, `gate`, `summary` and `card` read.

        Raises:
            ResultsError: it cannot be written, or would replace a file of another program.
        """
        file = Path(path)
        check_output(file, as_json=True)
        write_json(file, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The content of the results file, sorted."""
        return {
            "schema": RESULTS_SCHEMA,
            "attnprobe": self.attnprobe,
            "environment": dict(self.environment),
            "models": [
                model.as_dict() for model in sorted(self.models, key=lambda model: model.name)
            ],
            "cases": _sorted(self.cases),
            "relations": _sorted(self.relations),
            "absent": dict(self.absent),
            "deselected": self.deselected,
            **{name: sorted(getattr(self, name)) for name in _LISTS},
            "uncollected": None if self.uncollected is None else sorted(self.uncollected),
            "complaints": list(self.complaints),
            "order": [
                habit.as_dict()
                for habit in sorted(
                    self.order, key=lambda habit: (habit.file, habit.suite, habit.model or "")
                )
            ],
            "summary": self.summary(),
            **({} if self.part is None else {"part": self.part.as_dict()}),
        }


def _sorted(items: Iterable[CaseResult]) -> list[dict[str, Any]]:
    return [item.as_dict() for item in sorted(items, key=lambda item: item.place)]


def text_sha256(sample: Sample) -> str:
    """The hash of a text with its pair and target, or of token ids; the same in every run."""
    parts: list[object] = [sample.text, sample.target, sample.ids]
    # Added only if present, so that other texts keep the hash of existing baselines.
    more = {
        key: value
        for key, value in (
            ("source_language", sample.source_language),
            ("target_language", sample.target_language),
            ("text_pair", sample.pair),
            ("messages", sample.messages),
            ("generation_prompt", sample.generation_prompt or None),
            ("generate", sample.generate),
            ("haystack", sample.haystack),
        )
        if value is not None
    }
    if more:
        parts.append(more)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_results(path: Path) -> Results:
    """Reads a results file or a baseline of a whole run.

    Raises:
        ResultsError: the file is missing, corrupt, of another schema or of a part of a run, or its
            summary does not match its items.
    """
    results = read_part(path)
    if results.part is not None:
        raise ResultsError(
            f"{path}: {results.part} of a run; put the parts together with attnprobe merge"
        )
    return results


def read_part(path: Path) -> Results:
    """As `read_results`, for a whole run or a part of one."""
    data = read_json(path, RESULTS_SCHEMA, "results file")
    summary = data.get("summary")
    required = {
        "collected": summary.get("collected") if isinstance(summary, dict) else None,
        "attnprobe": data.get("attnprobe"),  # the default is the version that reads the file
    }
    try:
        results = Results.from_dict(data | required)
    except ResultsError as error:
        raise ResultsError(f"{path}: corrupt: {error}") from None
    if results.summary() != summary:
        raise ResultsError(f"{path}: corrupt: the summary does not count its items")
    return results
