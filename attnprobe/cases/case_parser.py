"""Parses an entry of `cases:`: fills rows into its template, parses its rules, looks up words."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from pydantic import ValidationError

from attnprobe.cases.entries import Case, Expectation
from attnprobe.cases.error_collector import ErrorCollector
from attnprobe.cases.shapes import CaseShape, Defaults, FileShape
from attnprobe.cases.yamltext import YamlPath
from attnprobe.core.errors import Mark, SelectorError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.texts import Sample
from attnprobe.rules import RULES, parse_rule
from attnprobe.rules.ranges import most_tokens
from attnprobe.words.heads import HeadSet

Fill = Callable[[str, YamlPath], str]

_COLUMN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLAIN = re.compile(r"[A-Za-z0-9. ]+")
_ROW_LABEL_LIMIT = 60


class _Unfilled(Exception):
    """The row does not fill a text; the errors have been added."""


class CaseParser:
    """Parses the cases of one file."""

    def __init__(self, errors: ErrorCollector, head_sets: Mapping[str, HeadSet]) -> None:
        self.document = errors.document
        self.head_sets = head_sets
        self._errors = errors
        self._error = errors.add

    def cases(
        self, file: FileShape, defaults: Defaults, shape: CaseShape, path: YamlPath
    ) -> Iterator[Case]:
        """The case of an entry, or one case for each row of its template."""
        build = functools.partial(self._case, file, defaults, shape, path)
        inputs = [given for given in (shape.text, shape.template, shape.ids) if given is not None]
        beside = [name for name in ("target", "text_pair") if getattr(shape, name) is not None]
        if len(inputs) != 1:
            self._error("a case has either text:, or template: with rows:, or ids:", path)
        elif shape.repeat is not None and shape.ids is None:
            self._error("repeat: goes with ids:, not with a text", (*path, "repeat"), key=True)
        elif shape.ids is not None and beside:
            self._error(f"ids: go without a {beside[0]}:", (*path, beside[0]), key=True)
        elif shape.ids is not None and shape.source_language is not None:
            message = "ids: are read as they stand, so source_language: says nothing"
            self._error(message, (*path, "source_language"), key=True)
        elif shape.target is None and shape.target_language is not None:
            message = "target_language: goes with a target:"
            self._error(message, (*path, "target_language"), key=True)
        elif shape.template is None and shape.rows is not None:
            self._error("rows: fill a template:, nothing else", (*path, "rows"), key=True)
        elif shape.template is None:
            yield from build(None, path, lambda text, _: text)
        elif shape.rows is None:
            self._error("a template: needs rows: with its columns", (*path, "template"), key=True)
        else:
            first: dict[frozenset[tuple[str, str]], Mark] = {}
            for number, row in enumerate(shape.rows):
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
                    label = _row_label(number, [row.get(column, "") for column in shape.rows[0]])
                    yield from build(label, row_path, fill)
                    self._check_used(row, used, row_path)

    def _check_used(self, row: dict[str, str], used: set[str], path: YamlPath) -> None:
        for column in row.keys() - used:
            self._error(
                f"column {column!r} is not used: write {{{column}}} in the template, "
                "or leave it out",
                (*path, column),
                key=True,
            )

    def _fill(self, text: str, path: YamlPath, *, row: dict[str, str], used: set[str]) -> str:
        """The text with the row's columns filled in; `used` gets the columns.

        Raises:
            _Unfilled: a brace or a column of the text is wrong; the errors have been added.
        """
        problems: list[str] = []

        def replace(match: re.Match[str]) -> str:
            column = match[1]
            if match[0] in ("{{", "}}"):
                return match[0][0]
            if column is None:
                problems.append(f"a lone {match[0]!r}; write it twice to mean the character")
            elif column not in row:
                problems.append(f"no column {column!r} in the row; {did_you_mean(column, row)}")
            else:
                used.add(column)
                return row[column]
            return match[0]

        filled = _COLUMN.sub(replace, text)
        for problem in problems:
            self._error(problem, path)
        if problems:
            raise _Unfilled
        return filled

    def _case(
        self,
        file: FileShape,
        defaults: Defaults,
        shape: CaseShape,
        path: YamlPath,
        row: str | None,
        case_path: YamlPath,
        fill: Fill,
    ) -> Iterator[Case]:
        """The case of one row; nothing if the row cannot fill its text.

        Args:
            path: path of the entry.
            case_path: path of the row, or of the entry if it has no rows.
        """
        key = "text" if shape.text is not None else "template"
        try:
            text = fill(shape.text or shape.template or "", (*path, key))
            target = None if shape.target is None else fill(shape.target, (*path, "target"))
            pair = None if shape.text_pair is None else fill(shape.text_pair, (*path, "text_pair"))
        except _Unfilled:
            return
        ids = None if shape.ids is None else tuple(shape.ids * (shape.repeat or 1))
        for name, written in ((key, text), ("target", target), ("text_pair", pair)):
            if written is not None and ids is None and not written.strip():
                self._error(f"{name}: holds no word", case_path if row else (*path, name))
                return
        sample = Sample(
            text,
            target,
            shape.allow_special_tokens,
            ids,
            source_language=None if ids else shape.source_language or defaults.source_language,
            target_language=target and (shape.target_language or defaults.target_language),
            pair=pair,
            one_segment=shape.one_segment,
        )
        expectations = [
            self._expectation(defaults, entry, sample, (*path, "expect", index), fill)
            for index, entry in enumerate(shape.expect)
        ]
        yield Case(
            suite=file.suite,
            id=shape.id,
            row=row,
            mark=self.document.mark(case_path),
            sample=sample,
            expectations=tuple(entry for entry in expectations if entry is not None),
            marks=tuple(dict.fromkeys((*file.marks, *shape.marks))),
            severity=shape.severity or file.severity,
            xfail=shape.xfail,
            skip=shape.skip,
            model=shape.model or file.model,
        )

    def _expectation(
        self,
        defaults: Defaults,
        entry: dict[str, Any],
        sample: Sample,
        path: YamlPath,
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
            example = RULES[kind].example
            self._error(f"{kind}: takes a mapping of arguments, such as {example}", path)
            return None
        try:
            stated = cast(dict[str, Any], _fill_strings(written, path, fill))
        except _Unfilled:
            return None
        inherited = {
            field: value for field, value in defaults.of_rules().items() if field not in stated
        }
        try:
            rule = parse_rule(kind, {**inherited, **stated}, head_sets=self.head_sets)
        except ValidationError as error:
            self._errors.add_validation_error(error, path, RULES[kind], inherited)
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
                rule.locate(place.selector, sample, place.end)
            except SelectorError as error:
                self._error(f"{place.field}: {error}", (*path, place.field))
        length = len(sample.ids) if sample.ids else most_tokens(rule.text_of(sample, "key"))
        try:
            rule.check_length(length)
        except SelectorError as error:
            self._error(str(error), (*path, str(error).partition(":")[0]))
        return Expectation(rule, {**inherited, **stated}, self.document.key_mark(path))


def _fill_strings(value: object, path: YamlPath, fill: Fill) -> object:
    """A YAML value with every string filled."""
    match value:
        case str():
            return fill(value, path)
        case dict():
            return {key: _fill_strings(item, (*path, key), fill) for key, item in value.items()}
        case list():
            return [_fill_strings(item, (*path, index), fill) for index, item in enumerate(value)]
    return value


def _row_label(number: int, values: list[str]) -> str:
    """The row's values if they are plain words, or else its number; it differs between rows."""
    label = "-".join(value.replace(" ", "_") for value in values)
    plain = all(map(_PLAIN.fullmatch, values)) and not label.isdigit()
    return label if plain and len(label) <= _ROW_LABEL_LIMIT else str(number)
