"""The records of a run, as the results file has them.

They cross pytest-xdist as plain dicts. The same cases give the same records in whatever order they
ran, but for `duration_s`; numbers read back bit-equal.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
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
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample
from attnprobe.core.units import read_unit
from attnprobe.core.verdicts import Bound, Chance, Doubt, Outcome, doubts
from attnprobe.results.files import read_json
from attnprobe.words.heads import HeadSet

RESULTS_SCHEMA = "attnprobe/results-1"
# The fields of the deciding bound that an expectation of a file has among its own.
_NUMBERS = ("measure", "unit", "observed", "relation", "demanded")
# The fields of a run that are lists of names, and are written in order.
_LISTS = ("absent_suites", "given", "bound", "other_failures", "unread", "left_out")

WeightsFormat = Literal["safetensors", "gguf", "pickle"]
CaseOutcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]


@dataclass(frozen=True)
class _Record:
    """A frozen dataclass that travels as a plain dict."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    @functools.cache
    def _adapter(cls) -> TypeAdapter[Self]:
        return TypeAdapter(cls)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """The record that `as_dict` was called on; keys that it does not know are dropped.

        Raises:
            ResultsError: a field is missing or of another type.
        """
        try:
            return cls._adapter().validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or cls.__name__
            raise ResultsError(f"{place}: {first['msg']}") from None


def _read_chance(data: Any, check: Callable[[Any], Chance]) -> Chance:
    """A chance of a file, whose rate and interval must be those of its counts.

    Files that do not say how many pairs are of different words are read as if all were.
    """
    if isinstance(data, dict) and data.get("distinct") is None:
        data = {**data, "distinct": data.get("pairs")}
    chance = check(data)
    counts = f"a chance of {chance.passed} of {chance.pairs} pairs"
    if not 0 <= chance.passed <= chance.pairs:
        raise ValueError(f"{counts} cannot be")
    for name, value in _shares(chance).items() if isinstance(data, dict) else ():
        stored = data.get(name)
        known = isinstance(stored, int | float)
        if known != (value is not None) or not (
            value is None or math.isclose(value, stored, abs_tol=1e-9)
        ):
            raise ValueError(f"{counts} and a {name} of {stored}")
    return chance


def _shares(chance: Chance) -> dict[str, float | None]:
    """What a file says of a chance beside its counts."""
    low, high = chance.interval or (None, None)
    return {"rate": chance.rate, "low": low, "high": high}


def _read_head_set(data: Any) -> Any:
    """A head set of a file, where heads are written `L3H1`."""
    if isinstance(data, dict) and isinstance(data.get("heads"), list | tuple):
        if not data["heads"]:
            raise ValueError("a head set names no heads")
        return {**data, "heads": tuple(Head.parse(str(head)) for head in data["heads"])}
    return data


@dataclass(frozen=True)
class ExpectationResult(_Record):
    """What became of one `expect` entry; fields that an error left unmeasured are None.

    In a file the numbers of the deciding bound stand beside the other fields, the bounds that did
    not decide under `other_bounds`.

    Attributes:
        arguments: the rule's fields as the case file has them.
        bounds: the measured numbers and what is demanded of them; the first decided, the others
            follow, on the same head, the hardest first. None where nothing was measured.
        head: the head that decided or came nearest.
        chance: how often the rule passes for other word pairs; None where a rule has no pairs.
        sink: share of the row's mass on special tokens and learned sinks, 0 to 1.
        confirmed: where ablation was to confirm the verdict, what it showed.
        head_sets: the sets of the lock file that its heads come from.
        borderline: whether the deciding number is too near to its bound to call; a vacuous
            expectation can be that, too.
        unbreakable: whether it is vacuous because it holds on its text whatever the model does.
        check_sha256: of the text, rule, words, heads and bounds; two expectations that state the
            same have the same. None where it could not be judged, and in older files.
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
    confirmed: str | None = None
    head_sets: tuple[Annotated[HeadSet, BeforeValidator(_read_head_set)], ...] = ()
    borderline: bool = False
    unbreakable: bool = False
    check_sha256: str | None = None

    @property
    def deciding(self) -> Bound | None:
        """The bound that decided; None where nothing was measured."""
        return self.bounds[0] if self.bounds else None

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Why an expectation that holds may say little."""
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
            "head_sets": tuple(
                vars(chosen) | {"heads": tuple(map(str, chosen.heads))} for chosen in self.head_sets
            ),
        }

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        """The fields of an expectation in a file."""
        if not isinstance(data, dict) or "bounds" in data:
            return data
        first = {name: data.get(name) for name in _NUMBERS}
        outcome = data.get("outcome")
        if outcome == "vacuous":
            # It holds, which is all that its number alone can say.
            outcome = "borderline" if data.get("borderline") else "passed"
        if any(first[name] is None for name in _NUMBERS if name != "unit"):
            return data
        others = data.get("other_bounds", ())
        if not isinstance(others, list | tuple):
            return {**data, "bounds": others}
        bounds = [{**first, "outcome": outcome}, *others]
        return {**data, "bounds": tuple(map(_with_unit, bounds))}


def _with_unit(bound: Any) -> Any:
    """A bound of a file; of an earlier version, with the unit that its measure has."""
    if isinstance(bound, dict) and bound.get("unit") is None:
        return {**bound, "unit": read_unit(str(bound.get("measure")))}
    return bound


@dataclass(frozen=True)
class CaseResult(_Record):
    """What became of one case on one model.

    Attributes:
        row: the label of a template row, None for a plain case.
        file: relative to the root of the run, with forward slashes.
        error: why nothing was measured, where it was not an expectation's own fault; of a known
            gap too.
        text_sha256: of the text and target that were judged, as `text_sha256` gives it; of a probe
            in Python, of the first. None where nothing of it is known, as of relations.
        unknown_words: the words of its texts that became unknown tokens, which the model cannot
            see.
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

    def as_dict(self) -> dict[str, Any]:
        return {
            **super().as_dict(),
            "expectations": tuple(entry.as_dict() for entry in self.expectations),
        }

    @property
    def key(self) -> Key:
        """What the check is known by from run to run."""
        return Key(self.file, self.id, self.row, self.model)

    @property
    def name(self) -> str:
        """The id, with the row of a template: `it-animal[dog]`."""
        return self.key.name

    @property
    def address(self) -> str:
        """File and name as pytest writes them; a node id tells the model and worker as well."""
        return f"{self.file}::{self.name}"

    @property
    def place(self) -> tuple[str, int, str, str, str]:
        """What the records of one run are sorted by."""
        return self.file, self.line, self.row or "", self.model, self.nodeid


@dataclass(frozen=True)
class RelationResult(CaseResult):
    """What became of one relation over many sentences on one model.

    Its `expectations` are its bounds, such as that on the accuracy. What an error left unmeasured
    is None.

    Attributes:
        relation: what is related, in words: `nsubj, dependent → head`.
        n: how many arcs were judged; `accuracy` of them were right, with its 95 % Wilson interval.
        best_offset, offset_accuracy: the fixed distance in words, -5 to 5, that does best on the
            same arcs.
        offset_p: exact McNemar test of the head against that distance, two-sided.
        preference_n, preference_accuracy: arcs where another word of the sentence can look at the
            same word, and how often the head is right when it does.
        preference_lead, preference_p: by how much the head is right more often on these arcs when
            the true word looks, and the exact McNemar test, two-sided.
        among: whether sinks competed with words (`all`) or not (`words`).
        head: the head, or `mean of 3 heads`, that was judged; `heads_tried` before it was chosen.
        chosen_on, judged_on: how many arcs a head was chosen on (0 where it was named), and
            judged on.
        left_out: how many arcs were not judged, by reason.
        unknown_share: share of the tokens of all texts, but special ones, that the model does not
            know, 0 to 1.
        notes: what is to be known of the corpus.
        corpus_sha256: of the corpus file; None for arcs of the case file itself.
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
    """A rule of position that does as well as a suite's heads; as `attnprobe.run.order.Habit`.

    In older files the last three are None, and the rule finds all pairs.
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
    """The model that was judged, down to the hashes of its files.

    Attributes:
        layers: number of layers.
        heads: query heads of a layer.
        weights_format: how the weights lay on disk; None where a loader of the project's own made
            the network.
        tokenizer: reference of the tokenizer; None where it is the model's own.
        remote_code: whether classes that came with the weights ran; None where that is not known.
        ignored_code: files of the model that name code of its own, which was not run.
        asked_revision: the revision of a hub model that the run was given.
        asked: the reference that the run was given; a project's own loader may load another.
        device, dtype: that it was judged on; several, as on many workers, `cuda:0, cuda:1`. None
            in older files, where those of the environment hold.
        source_language, target_language: of texts and targets that name none, for a multilingual
            tokenizer.
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


@dataclass(frozen=True)
class Results(_Record):
    """One run.

    Attributes:
        environment: as `environment` gives it; device and dtype are those of all models.
        collected: how many cases were to run. Told by whoever planned the run, since a case that
            a crashed worker took with it leaves no record.
        absent: how many cases were left out because they are for a model that the run was not
            given, by its name.
        absent_suites: the suites whose every case was left out because of that.
        deselected: how many cases and probes -k, -m and the like left out; what no path of the
            command line leads to is none of them, nor are those of `absent`.
        left_out: files that --lf left out unread.
        uncollected: case files below the folders of the run that it did not collect, or only in
            part, but for those of `left_out`; None where that is not known.
        given: names of the models that the command line itself gave; those of the ini file, of
            `addopts` and of PYTEST_ADDOPTS are known by the cases that ran on them.
        bound: suites whose every case that ran names its model: on others they cannot run.
        other_failures: tests that failed and probe no attention.
        unread: files and folders that could not be collected.
        complaints: what failed the run but no test: a limit of a comparison, a strict run that
            judged nothing, another plugin.
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

    @property
    def items(self) -> tuple[CaseResult, ...]:
        """All that pytest ran: cases and relations."""
        return (*self.cases, *self.relations)

    @property
    def missing(self) -> int:
        """How many items were to run and left no record; 0 for a run that finished."""
        return max(self.collected - len(self.items), 0)

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

    def to_json(self) -> dict[str, Any]:
        """The results file's content, sorted."""
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
                    self.order, key=lambda one: (one.file, one.suite, one.model or "")
                )
            ],
            "summary": self.summary(),
        }


def _sorted(items: Iterable[CaseResult]) -> list[dict[str, Any]]:
    return [item.as_dict() for item in sorted(items, key=lambda item: item.place)]


def text_sha256(sample: Sample) -> str:
    """What a text, its pair and its target, or token ids, are known by from run to run."""
    parts: list[object] = [sample.text, sample.target, sample.ids]
    # Only where they are there, so that texts without them keep the hash that baselines know.
    more = {
        key: value
        for key, value in (
            ("source_language", sample.source_language),
            ("target_language", sample.target_language),
            ("text_pair", sample.pair),
        )
        if value is not None
    }
    if more:
        parts.append(more)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_results(path: Path) -> Results:
    """Reads a results file or a baseline.

    Raises:
        ResultsError: it is missing, corrupt, of another schema, or its summary does not count
            its cases.
    """
    data = read_json(path, RESULTS_SCHEMA, "results file")
    summary = data.get("summary")
    told = {
        "collected": summary.get("collected") if isinstance(summary, dict) else None,
        "attnprobe": data.get("attnprobe"),  # without it this version would stand in
    }
    try:
        results = Results.from_dict(data | told)
    except ResultsError as error:
        raise ResultsError(f"{path}: corrupt: {error}") from None
    if results.summary() != summary:
        raise ResultsError(f"{path}: corrupt: the summary does not count its items")
    return results
