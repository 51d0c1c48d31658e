"""From the values of a case file to `Case` records, and the JSON Schema that editors use.

All that can be wrong with a file is found here, before any model is loaded: shapes by pydantic,
rules by their own models, words by looking for them in the sentence.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from attnprobe import yamltext
from attnprobe.align import locate
from attnprobe.errors import CaseError, CaseErrors, Mark, SelectorError
from attnprobe.heads import HEAD_SET_SCHEMA, HEADS_SCHEMA
from attnprobe.records import Head, Sample, SiteName
from attnprobe.registry import did_you_mean
from attnprobe.rules import RULES, Rule, parse_rule
from attnprobe.rules.base import SELECTOR_PART_SCHEMA, SELECTOR_SCHEMA
from attnprobe.yamltext import Document

__all__ = ["Case", "Expectation", "Severity", "load", "parse", "schema"]

KeyPath = tuple[str | int, ...]
Severity = Literal["blocking", "advisory"]
Fill = Callable[[str, KeyPath], str]

_COLUMN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLAIN = re.compile(r"[A-Za-z0-9. ]+")
_ROW_LABEL_LIMIT = 60
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
    cases: Annotated[
        list[Annotated[Any, WithJsonSchema({"definition": "case"})]],
        Field(min_length=1),
    ]


M = TypeVar("M", bound=BaseModel)


class _Unfilled(Exception):
    """A text has columns that the row does not fill; the errors are already noted."""


def load(
    path: Path, name: str, *, head_sets: Mapping[str, tuple[Head, ...]] | None = None
) -> tuple[Case, ...]:
    """The cases of one file, in its order.

    Args:
        name: how the file is called in messages and results.
        head_sets: named head sets of the lock file.

    Raises:
        CaseError, CaseErrors: the file cannot be meant as it stands.
    """
    return parse(yamltext.load(path, name), head_sets=head_sets)


def parse(
    document: Document, *, head_sets: Mapping[str, tuple[Head, ...]] | None = None
) -> tuple[Case, ...]:
    """The cases of a document; all of its errors at once."""
    return _Parser(document, head_sets or {}).cases()


class _Parser:
    """Walks one document and gathers what is wrong with it."""

    def __init__(self, document: Document, head_sets: Mapping[str, tuple[Head, ...]]) -> None:
        self.document = document
        self.head_sets = head_sets
        self.errors: dict[tuple[Mark, str], CaseError] = {}

    def cases(self) -> tuple[Case, ...]:
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
        found: list[Case] = []
        ids: dict[str, Mark] = {}
        for index, written in enumerate(shell.cases):
            path = ("cases", index)
            spec = self._validated(_CaseShell, written, path)
            if spec is None:
                continue
            mark = self.document.mark((*path, "id"))
            first = ids.setdefault(spec.id, mark)
            if first != mark:
                self._error(
                    f"duplicate case id {spec.id!r}, first used in line {first.line}",
                    (*path, "id"),
                )
            found += self._expand(shell, defaults, spec, path)
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
        return tuple(
            replace(case, reference=texts[case.model], related=related[case.model])
            for case in found
        )

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
    others = {"text": ("rows", "repeat"), "template": ("repeat",), "ids": ("rows",)}
    case["oneOf"] = [
        {"required": [*form], "not": {"anyOf": [{"required": [key]} for key in others[form[0]]]}}
        for form in forms
    ]
    rules = {kind: _editor_schema(RULES[kind]) for kind in RULES}
    for rule in rules.values():
        # The defaults of the file may give what the rule itself requires.
        rule["required"] = [key for key in rule["required"] if key not in _Defaults.model_fields]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "attnprobe case file, version 1",
        **_editor_schema(_FileShell),
        "definitions": {
            "defaults": _editor_schema(_Defaults),
            "case": case,
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
            "selector": SELECTOR_SCHEMA,
            "selectorPart": SELECTOR_PART_SCHEMA,
        },
    }
