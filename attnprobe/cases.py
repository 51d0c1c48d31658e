"""From the values of a case file to `Case` records, and the JSON Schema that editors use.

All that can be wrong with a file is found here, before any model is loaded: shapes by pydantic,
rules by their own models, words by looking for them in the sentence.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from attnprobe import yamltext
from attnprobe.align import locate
from attnprobe.errors import CaseError, CaseErrors, Mark, SelectorError
from attnprobe.heads import HEAD_SET_SCHEMA, HEADS_SCHEMA
from attnprobe.records import Head, Sample
from attnprobe.registry import did_you_mean
from attnprobe.rules import RULES, Rule, parse_rule
from attnprobe.rules.base import SELECTOR_PART_SCHEMA, SELECTOR_SCHEMA
from attnprobe.yamltext import Document

__all__ = ["Case", "Expectation", "Severity", "load", "parse", "schema"]

KeyPath = tuple[str | int, ...]
Severity = Literal["blocking", "advisory"]

_ID = r"^[A-Za-z0-9_.-]+$"
_COLUMN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_UNSLUGGED = re.compile(r"[^A-Za-z0-9_.-]+")
_ROW_LABEL_LIMIT = 60

Text = Annotated[str, Field(min_length=1)]
Reason = Annotated[str, Field(min_length=1, description="A reason is required.")]
Marks = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...],
    Field(description="pytest marks, for -m.", strict=False),
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

    @property
    def name(self) -> str:
        return self.id if self.row is None else f"{self.id}[{self.row}]"


class _Shell(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Defaults(_Shell):
    """What every rule of the file takes unless it says otherwise."""

    site: Literal["encoder", "decoder", "cross"] | None = None
    heads: Annotated[Any, WithJsonSchema(HEADS_SCHEMA)] = None


class _CaseShell(_Shell):
    """One case: a text, or a template with rows, and what is expected of it."""

    id: Annotated[str, Field(pattern=_ID)]
    text: Text | None = None
    template: Text | None = None
    rows: Annotated[list[dict[str, str]], Field(min_length=1)] | None = None
    target: Text | None = Field(None, description="Target text, for an encoder-decoder.")
    marks: Marks = ()
    severity: Severity | None = None
    xfail: Reason | None = None
    skip: Reason | None = None
    allow_special_tokens: bool = Field(
        False, description="The text may spell special tokens such as [SEP]."
    )
    expect: Annotated[list[dict[str, Any]], Field(min_length=1)]


class _FileShell(_Shell):
    """A file of attention probes."""

    version: Literal[1]
    suite: Annotated[str, Field(pattern=_ID)]
    about: str = ""
    marks: Marks = ()
    severity: Severity = Field("blocking", description="What a failure means to a release gate.")
    defaults: _Defaults = Field(default_factory=_Defaults)
    cases: Annotated[list[_CaseShell], Field(min_length=1)]


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

    def __init__(
        self, document: Document, head_sets: Mapping[str, tuple[Head, ...]]
    ) -> None:
        self.document = document
        self.head_sets = head_sets
        self.errors: dict[tuple[Mark, str], CaseError] = {}

    def cases(self) -> tuple[Case, ...]:
        shell = self._shell()
        found = [
            case
            for index, spec in enumerate(shell.cases)
            for case in self._expand(shell, spec, ("cases", index))
        ]
        self._check_unique(found)
        if self.errors:
            raise CaseErrors(list(self.errors.values()))
        return tuple(found)

    def _shell(self) -> _FileShell:
        if not isinstance(self.document.value, dict):
            raise CaseError(
                "a case file is a mapping that starts with version: 1", self.document.mark(())
            )
        try:
            return _FileShell.model_validate(self.document.value)
        except ValidationError as error:
            self._explain(error, ())
            raise CaseErrors(list(self.errors.values())) from None

    def _expand(self, shell: _FileShell, spec: _CaseShell, path: KeyPath) -> Iterator[Case]:
        if (spec.text is None) == (spec.template is None):
            self._error("a case has either text: or template: with rows:", path)
            return
        if spec.template is None:
            if spec.rows is not None:
                self._error("rows: fill a template:, not a text:", (*path, "rows"), key=True)
                return
            yield self._case(shell, spec, path, None, lambda text, _: text)
            return
        if spec.rows is None:
            self._error("a template: needs rows: with its columns", (*path, "template"), key=True)
            return
        for number, row in enumerate(spec.rows):
            row_path = (*path, "rows", number)
            if not row:
                self._error("this row has no columns", row_path)
                continue
            used: set[str] = set()
            fill = functools.partial(self._fill, row=row, used=used)
            yield self._case(shell, spec, path, (number, row), fill)
            for column in sorted(set(row) - used):
                self._error(
                    f"column {column!r} is not used: write {{{column}}} in the template",
                    (*row_path, column),
                    key=True,
                )

    def _fill(self, text: str, path: KeyPath, *, row: dict[str, str], used: set[str]) -> str:
        def replace(match: re.Match[str]) -> str:
            if match[0] in ("{{", "}}"):
                return match[0][0]
            column = match[1]
            if column is None:
                self._error(f"a lone {match[0]!r}; write it twice to mean the character", path)
                return match[0]
            if column not in row:
                self._error(
                    f"no column {column!r} in the row; {did_you_mean(column, row)}", path
                )
                return match[0]
            used.add(column)
            return row[column]

        return _COLUMN.sub(replace, text)

    def _case(
        self,
        shell: _FileShell,
        spec: _CaseShell,
        path: KeyPath,
        row: tuple[int, dict[str, str]] | None,
        fill: Callable[[str, KeyPath], str],
    ) -> Case:
        text_key = "text" if spec.text is not None else "template"
        sample = Sample(
            text=fill(cast(str, getattr(spec, text_key)), (*path, text_key)),
            target=None if spec.target is None else fill(spec.target, (*path, "target")),
            allow_special_tokens=spec.allow_special_tokens,
        )
        expectations = [
            self._expectation(shell.defaults, entry, sample, (*path, "expect", index), fill)
            for index, entry in enumerate(spec.expect)
        ]
        where = path if row is None else (*path, "rows", row[0])
        return Case(
            suite=shell.suite,
            id=spec.id,
            row=None if row is None else _row_label(*row),
            mark=self.document.mark(where),
            sample=sample,
            expectations=tuple(entry for entry in expectations if entry is not None),
            marks=tuple(dict.fromkeys((*shell.marks, *spec.marks))),
            severity=spec.severity or shell.severity,
            xfail=spec.xfail,
            skip=spec.skip,
        )

    def _expectation(
        self,
        defaults: _Defaults,
        entry: dict[str, Any],
        sample: Sample,
        path: KeyPath,
        fill: Callable[[str, KeyPath], str],
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
            self._error(f"{kind}: takes a mapping of arguments", path)
            return None
        stated = cast(dict[str, Any], _filled(written, path, fill))
        inherited = {
            field: value
            for field in ("site", "heads")
            if field not in stated and (value := getattr(defaults, field)) is not None
        }
        try:
            rule = parse_rule(kind, {**inherited, **stated}, head_sets=self.head_sets)
        except ValidationError as error:
            self._explain(error, path, inherited)
            return None
        for place in rule.places():
            try:
                locate(place.selector, rule.text_of(sample, place.end))
            except SelectorError as error:
                self._error(f"{place.field}: {error}", (*path, place.field))
        return Expectation(rule, {**inherited, **stated}, self.document.key_mark(path))

    def _check_unique(self, cases: list[Case]) -> None:
        seen: dict[str, Case] = {}
        for case in cases:
            first = seen.setdefault(case.name, case)
            if first is not case:
                what = "case id" if case.row is None else "template row"
                self._add(
                    CaseError(
                        f"duplicate {what} {case.name!r}, first used in line {first.mark.line}",
                        case.mark,
                    )
                )

    def _explain(
        self, error: ValidationError, base: KeyPath, inherited: Mapping[str, Any] | None = None
    ) -> None:
        """Files each finding of pydantic under its line, in our words."""
        for finding in error.errors(include_url=False):
            loc = tuple(part for part in finding["loc"] if isinstance(part, int | str))
            if inherited and loc and loc[0] in inherited:
                self._error(f"{loc[0]}: {_reason(finding)}", ("defaults", loc[0]))
                continue
            path = (*base, *loc)
            match finding["type"]:
                case "extra_forbidden":
                    message = f"unknown key {loc[-1]!r}; {did_you_mean(str(loc[-1]), self._keys(base, loc))}"
                    self._error(message, path, key=True)
                case "missing" if loc[-1] == "heads":
                    self._error(
                        "heads: is missing and has no built-in default; name the heads here or "
                        "under defaults:, such as heads: L3H1",
                        path[:-1],
                        key=True,
                    )
                case "missing":
                    self._error(f"{loc[-1]}: is missing", path[:-1], key=len(path) > 1)
                case "string_type":
                    self._error(f"{_name(loc)}{self.document.explain_scalar(path)}", path)
                case _:
                    self._error(f"{_name(loc)}{_reason(finding)}", path)

    def _keys(self, base: KeyPath, loc: KeyPath) -> list[str]:
        """The keys that are known where an unknown one stands."""
        if base:
            fields = RULES[str(base[-1])].model_fields
            return [field.alias or name for name, field in fields.items()]
        model: type[BaseModel] = {"cases": _CaseShell, "defaults": _Defaults}.get(
            str(loc[0]) if len(loc) > 1 else "", _FileShell
        )
        return list(model.model_fields)

    def _error(self, message: str, path: KeyPath, *, key: bool = False) -> None:
        mark = self.document.key_mark(path) if key else self.document.mark(path)
        self._add(CaseError(message, mark))

    def _add(self, error: CaseError) -> None:
        if error.mark is None:
            raise error
        self.errors.setdefault((error.mark, error.message), error)


def _filled(value: object, path: KeyPath, fill: Callable[[str, KeyPath], str]) -> object:
    match value:
        case str():
            return fill(value, path)
        case dict():
            return {key: _filled(item, (*path, key), fill) for key, item in value.items()}
        case list():
            return [_filled(item, (*path, index), fill) for index, item in enumerate(value)]
    return value


def _row_label(number: int, row: dict[str, str]) -> str:
    """The row's values where they are plain words, else its number."""
    values = [value.replace(" ", "_") for value in row.values()]
    label = "-".join(values)
    if _UNSLUGGED.search(label) or len(label) > _ROW_LABEL_LIMIT:
        return str(number)
    return label


def _name(loc: KeyPath) -> str:
    return f"{loc[-1]}: " if loc and isinstance(loc[-1], str) else ""


def _reason(finding: Mapping[str, Any]) -> str:
    return str(finding["msg"]).removeprefix("Value error, ")


def schema() -> dict[str, Any]:
    """The JSON Schema (draft-07) of a case file, for editors."""
    shell = _FileShell.model_json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = {
        **shell.pop("$defs"),
        "headSet": HEAD_SET_SCHEMA,
        "heads": HEADS_SCHEMA,
        "selector": SELECTOR_SCHEMA,
        "selectorPart": SELECTOR_PART_SCHEMA,
    }
    for kind in RULES:
        rule = RULES[kind].model_json_schema(ref_template="#/$defs/{model}")
        definitions |= rule.pop("$defs", {})
        # The defaults of the file may give what the rule itself requires.
        rule["required"] = [key for key in rule["required"] if key not in _Defaults.model_fields]
        definitions[kind] = rule
    definitions["_CaseShell"]["properties"]["expect"]["items"] = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {kind: {"$ref": f"#/$defs/{kind}"} for kind in RULES},
    }
    definitions["_CaseShell"]["oneOf"] = [
        {"required": ["text"], "not": {"anyOf": [{"required": ["template"]}, {"required": ["rows"]}]}},
        {"required": ["template", "rows"], "not": {"required": ["text"]}},
    ]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "attnprobe case file, version 1",
        **{key: value for key, value in shell.items() if key != "title"},
        "$defs": definitions,
    }
