"""From the values of a case file to `Case` records, and the JSON Schema that editors use.

All that can be wrong with a file is found here, before any model is loaded: shapes by pydantic,
rules by their own models, words by looking for them in the sentence.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from attnprobe import yamltext
from attnprobe.align import Chars, Phrase, Selector, locate, parse_selector
from attnprobe.errors import CaseError, CaseErrors, Mark, SelectorError
from attnprobe.heads import HEAD_SET_SCHEMA, HEADS_SCHEMA, RELATION_HEADS_SCHEMA, Heads, parse_heads
from attnprobe.records import Head, Sample, SiteName, Span
from attnprobe.registry import did_you_mean
from attnprobe.rules import RULES, Rule, parse_rule
from attnprobe.rules.base import SELECTOR_PART_SCHEMA, SELECTOR_SCHEMA
from attnprobe.rules.weight import Attends
from attnprobe.yamltext import Document

__all__ = [
    "LEAST",
    "Bound",
    "Case",
    "Contents",
    "CorpusArcs",
    "Expectation",
    "LabelledArcs",
    "LabelledArc",
    "Relation",
    "Severity",
    "load",
    "load_contents",
    "parse",
    "parse_contents",
    "schema",
]

KeyPath = tuple[str | int, ...]
Severity = Literal["blocking", "advisory"]
Fill = Callable[[str, KeyPath], str]

_COLUMN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLAIN = re.compile(r"[A-Za-z0-9. ]+")
_ROW_LABEL_LIMIT = 60
# A relation is judged on at least so many arcs unless it says otherwise.
LEAST = 30
CORPUS_FORMATS = ("conllu", "jsonl", "tsv")
# These act on the item; a case says skip: or xfail: instead, and gives a reason.
_TAKEN_MARKS = (
    "filterwarnings",
    "parametrize",
    "skip",
    "skipif",
    "tryfirst",
    "trylast",
    "usefixtures",
    "xfail",
)


def _version(number: int) -> int:
    if number != 1:
        raise ValueError("this attnprobe reads version: 1")
    return number


def _mark(name: str) -> str:
    if name in _TAKEN_MARKS:
        raise ValueError(
            f"{name!r} means something to pytest itself; take another name, and to leave a case "
            "out or expect its failure write skip: or xfail: with a reason"
        )
    return name


Row = Annotated[dict[str, str], Field(json_schema_extra={"minProperties": 1})]
Id = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Letters, digits, and _ . - only.")
]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Text = Annotated[str, Field(min_length=1)]
Reason = Annotated[str, Field(min_length=1)]
Marks = Annotated[
    list[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$"), AfterValidator(_mark)]],
    Field(description="pytest marks, for -m."),
]


@dataclass(frozen=True, eq=False)
class Expectation:
    """One rule of a case, and where it stands."""

    rule: Rule
    arguments: Mapping[str, Any]
    mark: Mark


@dataclass(frozen=True, eq=False)
class Case:
    """One item of the suite: a sample and all that is expected of it.

    Attributes:
        row: the label of a template row, None for a plain case.
        mark: where the case, or its row, stands.
        model: short name of the model that the case is for; None for the run's first.
        reference: the texts of the file for the same model, which a mean ablation is over.
        related: every rule of the file for the same model, with its text: what a chance rate is
            over.
    """

    suite: str
    id: str
    row: str | None
    mark: Mark
    sample: Sample
    expectations: tuple[Expectation, ...]
    marks: tuple[str, ...]
    severity: Severity
    xfail: str | None
    skip: str | None
    model: str | None = None
    reference: tuple[Sample, ...] = ()
    related: tuple[tuple[Sample, Rule], ...] = ()

    @property
    def name(self) -> str:
        return self.id if self.row is None else f"{self.id}[{self.row}]"


class LabelledArc(NamedTuple):
    """A word of a text and the word that it should look at, both by their characters.

    Attributes:
        group: arcs of one group are never split between choosing a head and judging it.
    """

    sample: Sample
    query: Span
    key: Span
    group: str


@dataclass(frozen=True)
class LabelledArcs:
    """Arcs that the case file itself holds.

    Attributes:
        left_out: how many of its expectations are no arcs, by reason.
    """

    arcs: tuple[LabelledArc, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class CorpusArcs:
    """Arcs of a corpus file, which is read when they are wanted.

    Attributes:
        shown: the file as messages call it.
        labels: names of the relation in the corpus; each with its place in the case file.
        backwards: the head attends to its dependent, not the dependent to its head.
    """

    path: Path
    shown: str
    labels: tuple[tuple[str, Mark], ...]
    backwards: bool


class Bound(NamedTuple):
    """One number that a relation must reach: `accuracy`, 0.5, and where it stands."""

    name: str
    demanded: float
    mark: Mark


@dataclass(frozen=True, eq=False)
class Relation:
    """One item of the suite: how often a head gets a relation right, over many sentences.

    Attributes:
        choose: the heads are candidates; the best on one half of the sentences is judged on the
            other. Otherwise they are one head, or several whose mean is judged.
        seed: of the split.
        least: with fewer judged arcs there is no verdict.
    """

    suite: str
    id: str
    mark: Mark
    source: CorpusArcs | LabelledArcs
    heads: Heads
    choose: bool
    site: SiteName | None
    seed: int
    least: int
    bounds: tuple[Bound, ...]
    marks: tuple[str, ...]
    severity: Severity
    xfail: str | None
    skip: str | None
    model: str | None = None
    row: None = None

    @property
    def name(self) -> str:
        return self.id

    def describe(self) -> str:
        """The relation in words, without the heads: `nsubj, dependent → head`."""
        if isinstance(self.source, LabelledArcs):
            return "labelled pairs"
        names = " or ".join(label for label, _ in self.source.labels)
        ends = "head → dependent" if self.source.backwards else "dependent → head"
        return f"{names}, {ends}"


class Contents(NamedTuple):
    """What a case file holds, each in its order."""

    cases: tuple[Case, ...]
    relations: tuple[Relation, ...]


class _Shell(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Defaults(_Shell):
    """What every rule of the file takes unless it says otherwise."""

    site: Annotated[SiteName | None, Field(description="Which attention.")] = None
    heads: Annotated[Any, WithJsonSchema({"definition": "heads"})] = None


class _CaseShell(_Shell):
    """One case: a text, or a template with rows, and what is expected of it."""

    id: Id
    text: Text | None = Field(None, description="The sentence that the model reads.")
    template: Text | None = Field(
        None, description='A sentence with columns: "The {noun} near the house {verb} old."'
    )
    rows: Annotated[list[Row], Field(min_length=1)] | None = Field(
        None, description="What fills the columns of the template; each row is one item."
    )
    ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = Field(
        None, description="Token ids instead of a text, as the model is to see them."
    )
    repeat: Annotated[int, Field(ge=2)] | None = Field(
        None, description="How many times the ids stand one after the other."
    )
    target: Text | None = Field(None, description="Target text, for an encoder-decoder.")
    model: ModelName | None = Field(
        None, description="Which model the case is for; without it the run's first."
    )
    marks: Marks = []
    severity: Severity | None = Field(
        None, description="What a failure of this case means to a release gate."
    )
    xfail: Reason | None = Field(
        None, description="Why the model is known to fail here; a pass is then a failure."
    )
    skip: Reason | None = Field(None, description="Why the case is not run.")
    allow_special_tokens: bool = Field(
        False, description="The text may spell special tokens such as [SEP]."
    )
    expect: Annotated[
        list[Annotated[dict[str, Any], WithJsonSchema({"definition": "expectation"})]],
        Field(min_length=1, description="The rules, each judged on its own."),
    ]


def _strings(value: object) -> object:
    if not isinstance(value, str | list):
        raise PydanticCustomError("string_type", "takes the name of a relation, or a list of them")
    return [value] if isinstance(value, str) else value


Labels = Annotated[
    list[Text],
    Field(min_length=1),
    BeforeValidator(_strings),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "minLength": 1},
                },
            ]
        }
    ),
]


class _CorpusShell(_Shell):
    """A corpus file, and which of its arcs are meant."""

    conllu: Text | None = Field(
        None, description="A CoNLL-U treebank, by its path from the case file."
    )
    jsonl: Text | None = Field(None, description="LabelledArcs spans, one JSON object a line.")
    tsv: Text | None = Field(None, description="LabelledArcs spans, tab-separated.")
    deprel: Labels | None = Field(
        None, description="The relation as a treebank calls it, its subtypes too; or several."
    )
    relation: Labels | None = Field(
        None, description="The relation as the file of labelled spans calls it; or several."
    )
    direction: Literal["dependent-to-head", "head-to-dependent"] = Field(
        "dependent-to-head", description="Which word attends to which."
    )


def _span_selector(value: object) -> Selector:
    numbers = isinstance(value, list) and all(type(part) is int for part in value)
    found = parse_selector({"chars": value} if numbers else value)
    if len(found.parts) != 1 or not isinstance(found.parts[0], Chars | Phrase):
        raise ValueError("one word of the text, by its characters ([4, 10]) or as it stands there")
    return found


_SpanField = Annotated[
    Selector,
    PlainValidator(_span_selector),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": 2,
                    "maxItems": 2,
                },
                {"definition": "selectorPart"},
            ]
        }
    ),
]


class _SpanShell(_Shell):
    """A text with two words in it: one that attends, and one that it should attend to."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    text: Text = Field(description="The sentence that the model reads.")
    from_: _SpanField = Field(
        alias="from", description="The word that attends: characters [4, 10], or the word itself."
    )
    to: _SpanField = Field(description="The word attended to, in the same forms.")


class _BoundsShell(_Shell):
    """What is demanded; all of it must hold."""

    accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Least share of arcs for which the head looks at the right word."
    )
    above_best_offset: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="By how much the accuracy must lie above that of the best fixed distance.",
    )
    above_offset_p: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Largest p of the exact McNemar test against the best fixed distance; the "
        "head must be the better one.",
    )


def _case_ids(value: object) -> object:
    names = isinstance(value, list) and value and all(isinstance(name, str) for name in value)
    if value == "all" or names:
        return value
    raise ValueError("takes all, or a list of case ids")


class _RelationShell(_Shell):
    """A relation between words, judged over many sentences."""

    id: Id
    from_corpus: Annotated[
        Any,
        WithJsonSchema({"definition": "corpusArcs"}),
        Field(description="Arcs of a corpus file."),
    ] = None
    from_cases: Annotated[
        Literal["all"] | list[str] | None,
        PlainValidator(_case_ids),
        WithJsonSchema(
            {
                "anyOf": [
                    {"const": "all"},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                ]
            }
        ),
    ] = Field(
        None,
        description="What the cases of this file expect: all of them, or the cases of these ids.",
    )
    spans: (
        Annotated[
            list[Annotated[Any, WithJsonSchema({"definition": "labelledSpans"})]],
            Field(min_length=1),
        ]
        | None
    ) = Field(None, description="Texts with two labelled words each.")
    heads: Annotated[
        Any,
        WithJsonSchema({"definition": "relationHeads"}),
        Field(description="Which head is judged: one, the mean of several, or the best of them."),
    ] = None
    site: SiteName | None = Field(
        None, description="Which attention; needed where the model has several."
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="Of the split into the half chosen on and the half judged on."
    )
    least: Annotated[int, Field(ge=1)] = Field(
        LEAST, description="With fewer judged arcs the relation is an error."
    )
    expect: Annotated[
        Any, WithJsonSchema({"definition": "bounds"}), Field(description="What is demanded.")
    ]
    model: ModelName | None = Field(
        None, description="Which model the relation is for; without it the run's first."
    )
    marks: Marks = []
    severity: Severity | None = Field(
        None, description="What a failure of this relation means to a release gate."
    )
    xfail: Reason | None = Field(
        None, description="Why the model is known to fail here; a pass is then a failure."
    )
    skip: Reason | None = Field(None, description="Why the relation is not run.")


class _FileShell(_Shell):
    """A file of attention probes."""

    version: Annotated[
        int,
        AfterValidator(_version),
        WithJsonSchema({"const": 1}),
        Field(description="The version of this format."),
    ]
    suite: Id
    about: str = Field("", description="What the suite is about, in a sentence.")
    model: ModelName | None = Field(
        None, description="Which model the cases are for, unless they say otherwise."
    )
    marks: Marks = []
    severity: Severity = Field("blocking", description="What a failure means to a release gate.")
    # Validated apart, so that one broken case does not hide what is wrong in the others.
    defaults: Annotated[Any, WithJsonSchema({"definition": "defaults"})] = {}
    cases: (
        Annotated[list[Annotated[Any, WithJsonSchema({"definition": "case"})]], Field(min_length=1)]
        | None
    ) = None
    relations: (
        Annotated[
            list[Annotated[Any, WithJsonSchema({"definition": "relation"})]], Field(min_length=1)
        ]
        | None
    ) = None


M = TypeVar("M", bound=BaseModel)


class _Unfilled(Exception):
    """A text has columns that the row does not fill; the errors are already noted."""


def load(
    path: Path, name: str, *, head_sets: Mapping[str, tuple[Head, ...]] | None = None
) -> tuple[Case, ...]:
    """The cases of one file, in its order; as `load_contents`."""
    return load_contents(path, name, head_sets=head_sets).cases


def load_contents(
    path: Path,
    name: str,
    *,
    head_sets: Mapping[str, tuple[Head, ...]] | None = None,
    root: Path | None = None,
) -> Contents:
    """All that one file holds.

    Args:
        name: how the file is called in messages and results.
        head_sets: named head sets of the lock file.
        root: the folder that no corpus may lie outside of; the file's own folder unless given, or
            where the file itself lies outside of it.

    Raises:
        CaseError, CaseErrors: the file cannot be meant as it stands.
    """
    document = yamltext.load(path, name)
    return parse_contents(document, head_sets=head_sets, folder=path.parent, root=root)


def parse(
    document: Document, *, head_sets: Mapping[str, tuple[Head, ...]] | None = None
) -> tuple[Case, ...]:
    """The cases of a document; all of its errors at once."""
    return parse_contents(document, head_sets=head_sets).cases


def parse_contents(
    document: Document,
    *,
    head_sets: Mapping[str, tuple[Head, ...]] | None = None,
    folder: Path | None = None,
    root: Path | None = None,
) -> Contents:
    """The cases and relations of a document; all of its errors at once.

    Args:
        folder: where the paths of corpora start; the working directory unless given.
    """
    return _Parser(document, head_sets or {}, folder or Path(), root).contents()


class _Parser:
    """Walks one document and gathers what is wrong with it."""

    def __init__(
        self,
        document: Document,
        head_sets: Mapping[str, tuple[Head, ...]],
        folder: Path,
        root: Path | None,
    ) -> None:
        self.document = document
        self.head_sets = head_sets
        self.folder = folder.resolve()
        self.root = self.folder if root is None else root.resolve()
        if not self.folder.is_relative_to(self.root):
            self.root = self.folder
        self.errors: dict[tuple[Mark, str], CaseError] = {}
        self.broken_cases = False

    def contents(self) -> Contents:
        value = self.document.value
        if not isinstance(value, dict):
            raise CaseError(
                "a case file is a mapping that starts with version: 1", self.document.mark(())
            )
        for path in _empty(value, ()):
            message = "nothing is written here; write a value, or leave the key out"
            self._error(f"{_name(path)}{message}", path)
        self._raise()
        # Cases are not looked at below a broken head: most of their errors would be its own.
        shell = self._validated(_FileShell, value, ())
        defaults = self._validated(_Defaults, shell.defaults, ("defaults",)) if shell else None
        if shell is None or defaults is None:
            raise CaseErrors(list(self.errors.values()))
        if shell.cases is None and shell.relations is None:
            self._error("cases: is missing; a file holds cases:, relations: or both", ())
        found: list[Case] = []
        relations: list[Relation] = []
        ids: dict[str, Mark] = {}
        for index, written in enumerate(shell.cases or []):
            path = ("cases", index)
            spec = self._validated(_CaseShell, written, path)
            if spec is not None:
                self._check_id("case", spec.id, ids, path)
                found += self._expand(shell, defaults, spec, path)
        self.broken_cases = bool(self.errors)
        for index, written in enumerate(shell.relations or []):
            place: KeyPath = ("relations", index)
            relation = self._validated(_RelationShell, written, place)
            if relation is not None:
                self._check_id("relation", relation.id, ids, place)
                relations += self._relation(shell, defaults, relation, found, place)
        self._raise()
        related = {
            model: tuple(
                (case.sample, expectation.rule)
                for case in found
                if case.model == model
                for expectation in case.expectations
            )
            for model in {case.model for case in found}
        }
        texts = {
            model: tuple(dict.fromkeys(sample for sample, _ in pairs))
            for model, pairs in related.items()
        }
        return Contents(
            tuple(
                replace(case, reference=texts[case.model], related=related[case.model])
                for case in found
            ),
            tuple(relations),
        )

    def _check_id(self, noun: str, name: str, ids: dict[str, Mark], path: KeyPath) -> None:
        mark = self.document.mark((*path, "id"))
        first = ids.setdefault(name, mark)
        if first != mark:
            message = f"duplicate {noun} id {name!r}, first used in line {first.line}"
            self._error(message, (*path, "id"))

    def _raise(self) -> None:
        if self.errors:
            raise CaseErrors(list(self.errors.values()))

    def _validated(self, model: type[M], value: object, path: KeyPath) -> M | None:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            self._explain(error, path, model)
            return None

    def _expand(
        self, shell: _FileShell, defaults: _Defaults, spec: _CaseShell, path: KeyPath
    ) -> Iterator[Case]:
        """The case itself, or one for each row of its template."""
        build = functools.partial(self._case, shell, defaults, spec, path)
        inputs = [given for given in (spec.text, spec.template, spec.ids) if given is not None]
        if len(inputs) != 1:
            self._error("a case has either text:, or template: with rows:, or ids:", path)
        elif spec.repeat is not None and spec.ids is None:
            self._error("repeat: goes with ids:, not with a text", (*path, "repeat"), key=True)
        elif spec.ids is not None and spec.target is not None:
            self._error("ids: go without a target:", (*path, "target"), key=True)
        elif spec.template is None and spec.rows is not None:
            self._error("rows: fill a template:, nothing else", (*path, "rows"), key=True)
        elif spec.template is None:
            yield from build(None, path, lambda text, _: text)
        elif spec.rows is None:
            self._error("a template: needs rows: with its columns", (*path, "template"), key=True)
        else:
            first: dict[frozenset[tuple[str, str]], Mark] = {}
            for number, row in enumerate(spec.rows):
                row_path = (*path, "rows", number)
                mark = self.document.mark(row_path)
                same = first.setdefault(frozenset(row.items()), mark)
                if not row:
                    self._error("this row has no columns", row_path)
                elif same != mark:
                    self._error(f"duplicate row, first written in line {same.line}", row_path)
                else:
                    used: set[str] = set()
                    fill = functools.partial(self._fill, row=row, used=used)
                    label = _row_label(number, [row.get(column, "") for column in spec.rows[0]])
                    yield from build(label, row_path, fill)
                    self._check_used(row, used, row_path)

    def _check_used(self, row: dict[str, str], used: set[str], path: KeyPath) -> None:
        for column in row.keys() - used:
            self._error(
                f"column {column!r} is not used: write {{{column}}} in the template, "
                "or leave it out",
                (*path, column),
                key=True,
            )

    def _fill(self, text: str, path: KeyPath, *, row: dict[str, str], used: set[str]) -> str:
        """The text with the row's columns in it.

        Raises:
            _Unfilled: something is wrong with the text's braces; the errors are noted.
        """
        wrong: list[str] = []

        def replace(match: re.Match[str]) -> str:
            column = match[1]
            if match[0] in ("{{", "}}"):
                return match[0][0]
            if column is None:
                wrong.append(f"a lone {match[0]!r}; write it twice to mean the character")
            elif column not in row:
                wrong.append(f"no column {column!r} in the row; {did_you_mean(column, row)}")
            else:
                used.add(column)
                return row[column]
            return match[0]

        filled = _COLUMN.sub(replace, text)
        for message in wrong:
            self._error(message, path)
        if wrong:
            raise _Unfilled
        return filled

    def _case(
        self,
        shell: _FileShell,
        defaults: _Defaults,
        spec: _CaseShell,
        path: KeyPath,
        row: str | None,
        where: KeyPath,
        fill: Fill,
    ) -> Iterator[Case]:
        """The case of one row; none where its text cannot be filled."""
        key = "text" if spec.text is not None else "template"
        try:
            text = fill(spec.text or spec.template or "", (*path, key))
            target = None if spec.target is None else fill(spec.target, (*path, "target"))
        except _Unfilled:
            return
        ids = None if spec.ids is None else tuple(spec.ids * (spec.repeat or 1))
        for name, written in ((key, text), ("target", target)):
            if written is not None and ids is None and not written.strip():
                self._error(f"{name}: holds no word", where if row else (*path, name))
                return
        sample = Sample(text, target, spec.allow_special_tokens, ids)
        expectations = [
            self._expectation(defaults, entry, sample, (*path, "expect", index), fill)
            for index, entry in enumerate(spec.expect)
        ]
        yield Case(
            suite=shell.suite,
            id=spec.id,
            row=row,
            mark=self.document.mark(where),
            sample=sample,
            expectations=tuple(entry for entry in expectations if entry is not None),
            marks=tuple(dict.fromkeys((*shell.marks, *spec.marks))),
            severity=spec.severity or shell.severity,
            xfail=spec.xfail,
            skip=spec.skip,
            model=spec.model or shell.model,
        )

    def _expectation(
        self,
        defaults: _Defaults,
        entry: dict[str, Any],
        sample: Sample,
        path: KeyPath,
        fill: Fill,
    ) -> Expectation | None:
        if len(entry) != 1:
            self._error(f"one rule an entry, here are {len(entry)}: {', '.join(entry)}", path)
            return None
        ((kind, written),) = entry.items()
        path = (*path, kind)
        if kind not in RULES:
            self._error(f"unknown rule {kind!r}; {did_you_mean(kind, RULES)}", path, key=True)
            return None
        if not isinstance(written, dict):
            self._error(f"{kind}: takes a mapping of arguments, such as {{from: it, ...}}", path)
            return None
        try:
            stated = cast(dict[str, Any], _filled(written, path, fill))
        except _Unfilled:
            return None
        inherited = {
            field: value for field, value in defaults if field not in stated and value is not None
        }
        try:
            rule = parse_rule(kind, {**inherited, **stated}, head_sets=self.head_sets)
        except ValidationError as error:
            self._explain(error, path, RULES[kind], inherited)
            return None
        if sample.target is not None and rule.site is None:
            message = "site: is missing; beside a target: name it: encoder, decoder or cross"
            self._error(message, path, key=True)
            return None
        if sample.target is None and rule.site == "cross":
            message = "cross attention needs a target text; write target: beside text:"
            self._error(message, (*path, "site"), key=True)
            return None
        for place in rule.places():
            try:
                locate(place.selector, rule.text_of(sample, place.end))
            except SelectorError as error:
                self._error(f"{place.field}: {error}", (*path, place.field))
        return Expectation(rule, {**inherited, **stated}, self.document.key_mark(path))

    def _relation(
        self,
        shell: _FileShell,
        defaults: _Defaults,
        spec: _RelationShell,
        cases: Sequence[Case],
        path: KeyPath,
    ) -> Iterator[Relation]:
        """The relation; nothing where it cannot be meant."""
        site = spec.site or defaults.site
        model = spec.model or shell.model
        source = self._source(spec, [case for case in cases if case.model == model], site, path)
        heads = self._relation_heads(spec.heads, defaults.heads, path)
        demanded = self._validated(_BoundsShell, spec.expect, (*path, "expect"))
        if demanded is None or source is None or heads is None:
            return
        bounds = tuple(
            Bound(name, value, self.document.key_mark((*path, "expect", name)))
            for name, value in demanded
            if value is not None
        )
        if not bounds:
            listed = ", ".join(f"{name}:" for name in _BoundsShell.model_fields)
            self._error(
                f"expect: demands nothing; give at least one of {listed}", (*path, "expect")
            )
        yield Relation(
            suite=shell.suite,
            id=spec.id,
            mark=self.document.mark(path),
            source=source,
            heads=heads,
            choose=heads.how == "best",
            site=site,
            seed=spec.seed,
            least=spec.least,
            bounds=bounds,
            marks=tuple(dict.fromkeys((*shell.marks, *spec.marks))),
            severity=spec.severity or shell.severity,
            xfail=spec.xfail,
            skip=spec.skip,
            model=model,
        )

    def _relation_heads(self, written: object, default: object, path: KeyPath) -> Heads | None:
        """The heads of a relation: one, several by their mean, or the best of several.

        A relation asks how often one head is right, so what asks several heads at once is refused.
        """
        place: KeyPath = (*path, "heads")
        whose = ""
        if written is None:
            written, place, whose = default, path, " of defaults:"
        if written is None:
            message = "heads: is missing; name one, such as heads: L3H1, or {in: all, how: best}"
            self._error(message, path, key=True)
            return None
        chosen_on = None
        if isinstance(written, dict):
            chosen_on = written.get("chosen_on")
            written = {key: value for key, value in written.items() if key != "chosen_on"}
        try:
            heads = parse_heads(written, self.head_sets)
        except ValueError as error:
            self._error(f"heads: {error}", place)
            return None
        if isinstance(written, str) and written.startswith("@") and len(heads.members) > 1:
            # A named set of several heads was measured, and named, as their mean.
            heads = replace(heads, how="mean")
        if chosen_on not in (None, "half"):
            message = "takes half: the head is chosen on one half of the sentences and judged on "
            self._error(f"chosen_on: {message}the other", (*place, "chosen_on"))
        elif chosen_on is not None and heads.how != "best":
            message = "chosen_on: goes with how: best; nothing is chosen here"
            self._error(message, (*place, "chosen_on"), key=True)
        one = len(heads.members) == 1 and isinstance(heads.members[0], Head)
        if heads.how not in ("mean", "best") and not (heads.how is None and one):
            self._error(
                f"heads: {heads}{whose} is several heads, and a relation judges one; write "
                "{in: ..., how: best, chosen_on: half} to choose one, or {in: ..., how: mean} for "
                "their mean",
                place,
            )
            return None
        return heads

    def _source(
        self, spec: _RelationShell, cases: Sequence[Case], site: SiteName | None, path: KeyPath
    ) -> CorpusArcs | LabelledArcs | None:
        given = [
            key for key in ("from_corpus", "from_cases", "spans") if getattr(spec, key) is not None
        ]
        if len(given) != 1:
            message = "a relation has exactly one of from_corpus:, from_cases: and spans:"
            self._error(message, path)
            return None
        if spec.from_corpus is not None:
            where = (*path, "from_corpus")
            corpus = self._validated(_CorpusShell, spec.from_corpus, where)
            return None if corpus is None else self._corpus(corpus, where)
        if spec.from_cases is not None:
            return self._labelled(spec.from_cases, cases, site, (*path, "from_cases"))
        arcs = [
            self._span_arc(written, (*path, "spans", index))
            for index, written in enumerate(spec.spans or [])
        ]
        return LabelledArcs(tuple(arc for arc in arcs if arc is not None), {})

    def _corpus(self, spec: _CorpusShell, path: KeyPath) -> CorpusArcs | None:
        """The corpus file, which must be there; it is read when the relation is measured."""
        kinds = [kind for kind in CORPUS_FORMATS if getattr(spec, kind) is not None]
        if len(kinds) != 1:
            self._error("from_corpus: names one file: conllu:, jsonl: or tsv:", path)
            return None
        (kind,) = kinds
        key, other = ("deprel", "relation") if kind == "conllu" else ("relation", "deprel")
        if getattr(spec, other) is not None:
            self._error(
                f"{other}: does not go with {kind}:; write {key}:", (*path, other), key=True
            )
            return None
        labels: list[str] | None = getattr(spec, key)
        if labels is None:
            self._error(f"{key}: is missing; name the relation", path, key=True)
            return None
        written: str = getattr(spec, kind)
        place = (*path, kind)
        file = (self.folder / written).resolve()
        complaint = ""
        if Path(written).is_absolute() or not file.is_relative_to(self.root):
            complaint = (
                "lies outside of the project; name a file in it, from the case file's folder"
            )
        elif not file.name.endswith(f".{kind}"):
            complaint = f"is no .{kind} file"
        elif not file.is_file():
            near = did_you_mean(file.name, _names(file.parent, f".{kind}"))
            complaint = f"is not there; {near}"
        if complaint:
            self._error(f"{kind}: {written!r} {complaint}", place)
            return None
        several = self.document.raw.get((*path, key)) is None
        marks = [
            self.document.mark((*path, key, number) if several else (*path, key))
            for number in range(len(labels))
        ]
        return CorpusArcs(
            path=file,
            shown=file.relative_to(self.root).as_posix(),
            labels=tuple(zip(labels, marks, strict=True)),
            backwards=spec.direction == "head-to-dependent",
        )

    def _span_arc(self, written: object, path: KeyPath) -> LabelledArc | None:
        spec = self._validated(_SpanShell, written, path)
        if spec is None:
            return None
        found: list[Span] = []
        for name, selector in (("from", spec.from_), ("to", spec.to)):
            try:
                found += locate(selector, spec.text)
            except SelectorError as error:
                self._error(f"{name}: {error}", (*path, name))
        if len(found) != 2:
            return None
        query, key = found
        if query.start < key.end and key.start < query.end:
            self._error("from: and to: share characters; a word cannot look at itself", path)
            return None
        return LabelledArc(Sample(spec.text), query, key, spec.text)

    def _labelled(
        self,
        wanted: Literal["all"] | list[str],
        cases: Sequence[Case],
        site: SiteName | None,
        path: KeyPath,
    ) -> LabelledArcs | None:
        """What the cases say about which word should look at which.

        Cases with `xfail` are in: their label is right, and to leave out where the model is known
        to fail would flatter it. Skipped ones are out.
        """
        if self.broken_cases:
            return None  # what is missing may be in one of them
        known = dict.fromkeys(case.id for case in cases)
        if wanted != "all":
            for number, name in enumerate(wanted):
                if name not in known:
                    near = did_you_mean(name, known)
                    self._error(f"no case {name!r} for this model; {near}", (*path, number))
            if not known.keys() >= set(wanted):
                return None
            known = dict.fromkeys(wanted)
        arcs: dict[tuple[Sample, Span, Span], LabelledArc] = {}
        left_out: Counter[str] = Counter()
        for case in cases:
            if case.id not in known:
                continue
            for entry in case.expectations:
                found = _arc(case, entry.rule, site)
                if isinstance(found, LabelledArc):
                    arcs.setdefault(found[:3], found)
                elif found:
                    left_out[found] += 1
        if not arcs:
            message = "from_cases: finds no attends with min:, top: or over: between two words"
            self._error(message, path)
            return None
        return LabelledArcs(tuple(arcs.values()), dict(left_out))

    def _explain(
        self,
        error: ValidationError,
        base: KeyPath,
        model: type[BaseModel],
        inherited: Mapping[str, Any] | None = None,
    ) -> None:
        """Files each finding of pydantic under its line, in our words."""
        for finding in error.errors(include_url=False):
            loc = tuple(part for part in finding["loc"] if isinstance(part, int | str))
            path = (*base, *loc)
            reason = str(finding["msg"]).removeprefix("Value error, ")
            if inherited and loc and loc[0] in inherited:
                path = ("defaults", *loc)
            match finding["type"]:
                case "extra_forbidden":
                    known = [field.alias or key for key, field in model.model_fields.items()]
                    near = did_you_mean(str(loc[-1]), known)
                    self._error(f"unknown key {loc[-1]!r}; {near}", path, key=True)
                case "missing" if loc[-1] == "heads":
                    self._error(
                        "heads: is missing and has no built-in default; name the heads here or "
                        "under defaults:, such as heads: L3H1",
                        base,
                        key=True,
                    )
                case "missing":
                    self._error(f"{loc[-1]}: is missing", base, key=True)
                case "model_type" | "dict_type":
                    self._error(f"{_name(path)}takes a mapping of keys and values", path)
                case "too_short" | "string_too_short":
                    self._error(f"{_name(path)}is empty, it takes at least one", path)
                case "string_type" | "float_type" | "int_type":
                    # Where a number is needed, only text can be told how to become one.
                    meant = finding["type"] == "string_type" or isinstance(finding["input"], str)
                    explained = self.document.explain_scalar(path) if meant else ""
                    self._error(f"{_name(path)}{explained or reason}", path)
                case _:
                    self._error(f"{_name(path if loc else ())}{reason}", path)

    def _error(self, message: str, path: KeyPath, *, key: bool = False) -> None:
        mark = self.document.key_mark(path) if key else self.document.mark(path)
        # The rows of a template share their errors.
        self.errors.setdefault((mark, message), CaseError(message, mark))


def _names(folder: Path, suffix: str) -> list[str]:
    """The files of a folder that end so; none where there is no such folder."""
    return [file.name for file in folder.glob(f"*{suffix}")] if folder.is_dir() else []


def _arc(case: Case, rule: Rule, site: SiteName | None) -> LabelledArc | str:
    """The arc that an expectation labels; else why it is none, "" where it was never meant as one.

    An `attends` that only bounds the weight from above says nothing about where a word looks.
    """
    if not isinstance(rule, Attends) or (rule.min, rule.top, rule.over) == (None, None, None):
        return ""
    if case.skip is not None:
        return "skipped"
    if None not in (rule.site, site) and rule.site != site:
        return "at another site"
    spans: list[Span] = []
    for place in rule.places():
        if place.field == "over":
            continue
        if len(place.selector.parts) != 1:
            return "several words"
        if not isinstance(place.selector.parts[0], Phrase | Chars):
            return "special tokens and predicted words"
        spans += locate(place.selector, rule.text_of(case.sample, place.end))
    query, key = spans
    if rule.site != "cross" and query.start < key.end and key.start < query.end:
        return "a word and itself"
    return LabelledArc(case.sample, query, key, case.id)


def _empty(value: object, path: KeyPath) -> Iterator[KeyPath]:
    """Where a value is left out: `xfail:` without a reason must not read as no xfail."""
    match value:
        case None:
            yield path
        case dict():
            for key, item in value.items():
                yield from _empty(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from _empty(item, (*path, index))


def _filled(value: object, path: KeyPath, fill: Callable[[str, KeyPath], str]) -> object:
    match value:
        case str():
            return fill(value, path)
        case dict():
            return {key: _filled(item, (*path, key), fill) for key, item in value.items()}
        case list():
            return [_filled(item, (*path, index), fill) for index, item in enumerate(value)]
    return value


def _row_label(number: int, values: list[str]) -> str:
    """The row's values where they are plain words, else its number; no two rows share one."""
    label = "-".join(value.replace(" ", "_") for value in values)
    plain = all(map(_PLAIN.fullmatch, values)) and not label.isdigit()
    return label if plain and len(label) <= _ROW_LABEL_LIMIT else str(number)


def _name(path: KeyPath) -> str:
    return f"{path[-1]}: " if path and isinstance(path[-1], str) else ""


class _Editor(GenerateJsonSchema):
    """The schema as an editor wants it: no made-up titles, and no null, which is never meant."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def _editor_schema(model: type[BaseModel]) -> dict[str, Any]:
    found = model.model_json_schema(schema_generator=_Editor)
    del found["title"]
    return cast(dict[str, Any], _linked(found))


def _linked(schema: object) -> object:
    """References of our own put in; pydantic follows its own only.

    In draft-07 all that stands beside a `$ref` is ignored, a description too; hence the allOf.
    """
    match schema:
        case {"definition": str(name), **beside}:
            return {**beside, "allOf": [{"$ref": f"#/definitions/{name}"}]}
        case dict():
            return {key: _linked(value) for key, value in schema.items()}
        case list():
            return [_linked(value) for value in schema]
    return schema


def schema() -> dict[str, Any]:
    """The JSON Schema (draft-07) of a case file, for editors."""
    case = _editor_schema(_CaseShell)
    forms = (("text",), ("template", "rows"), ("ids",))
    beside = {"text": ("rows", "repeat"), "template": ("repeat",), "ids": ("rows",)}
    case["oneOf"] = [
        {"required": [*form], "not": {"anyOf": [{"required": [key]} for key in beside[form[0]]]}}
        for form in forms
    ]
    rules = {kind: _editor_schema(RULES[kind]) for kind in RULES}
    for rule in rules.values():
        # The defaults of the file may give what the rule itself requires.
        rule["required"] = [key for key in rule["required"] if key not in _Defaults.model_fields]
    relation = _editor_schema(_RelationShell)
    relation["oneOf"] = [{"required": [key]} for key in ("from_corpus", "from_cases", "spans")]
    corpus = _editor_schema(_CorpusShell)
    corpus["oneOf"] = []
    for kind in CORPUS_FORMATS:
        label, wrong = ("deprel", "relation") if kind == "conllu" else ("relation", "deprel")
        others = [wrong, *(other for other in CORPUS_FORMATS if other != kind)]
        corpus["oneOf"].append(
            {
                "required": [kind, label],
                "not": {"anyOf": [{"required": [key]} for key in others]},
            }
        )
    bounds = _editor_schema(_BoundsShell)
    bounds["anyOf"] = [{"required": [name]} for name in _BoundsShell.model_fields]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "attnprobe case file, version 1",
        **_editor_schema(_FileShell),
        "anyOf": [{"required": ["cases"]}, {"required": ["relations"]}],
        "definitions": {
            "defaults": _editor_schema(_Defaults),
            "case": case,
            "relation": relation,
            "corpusArcs": corpus,
            "labelledSpans": _editor_schema(_SpanShell),
            "bounds": bounds,
            "expectation": {
                "description": "One rule.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": {kind: {"$ref": f"#/definitions/{kind}"} for kind in rules},
            },
            **rules,
            "heads": HEADS_SCHEMA,
            "headSet": HEAD_SET_SCHEMA,
            "relationHeads": RELATION_HEADS_SCHEMA,
            "selector": SELECTOR_SCHEMA,
            "selectorPart": SELECTOR_PART_SCHEMA,
        },
    }
