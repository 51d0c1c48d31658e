"""One entry of `cases:` to `Case` records: rows put into their template, words looked up."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from pydantic import ValidationError

from attnprobe.cases.complaints import Complaints, KeyPath
from attnprobe.cases.entries import Case, Expectation
from attnprobe.cases.shells import CaseShell, Defaults, FileShell
from attnprobe.core.errors import Mark, SelectorError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.texts import Sample
from attnprobe.rules import RULES, parse_rule
from attnprobe.rules.ranges import most_tokens
from attnprobe.words.heads import HeadSet

Fill = Callable[[str, KeyPath], str]

_COLUMN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLAIN = re.compile(r"[A-Za-z0-9. ]+")
_ROW_LABEL_LIMIT = 60


class _Unfilled(Exception):
    """A text has columns that the row does not fill; the errors are already noted."""


class CaseParser:
    """Reads the cases of one file."""

    def __init__(self, complaints: Complaints, head_sets: Mapping[str, HeadSet]) -> None:
        self.document = complaints.document
        self.head_sets = head_sets
        self._error = complaints.error
        self._explain = complaints.explain

    def cases(
        self, shell: FileShell, defaults: Defaults, spec: CaseShell, path: KeyPath
    ) -> Iterator[Case]:
        """The case itself, or one for each row of its template."""
        build = functools.partial(self._case, shell, defaults, spec, path)
        inputs = [given for given in (spec.text, spec.template, spec.ids) if given is not None]
        beside = [name for name in ("target", "text_pair") if getattr(spec, name) is not None]
        if len(inputs) != 1:
            self._error("a case has either text:, or template: with rows:, or ids:", path)
        elif spec.repeat is not None and spec.ids is None:
            self._error("repeat: goes with ids:, not with a text", (*path, "repeat"), key=True)
        elif spec.ids is not None and beside:
            self._error(f"ids: go without a {beside[0]}:", (*path, beside[0]), key=True)
        elif spec.ids is not None and spec.source_language is not None:
            message = "ids: are read as they stand, so source_language: says nothing"
            self._error(message, (*path, "source_language"), key=True)
        elif spec.target is None and spec.target_language is not None:
            message = "target_language: goes with a target:"
            self._error(message, (*path, "target_language"), key=True)
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
        shell: FileShell,
        defaults: Defaults,
        spec: CaseShell,
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
            pair = None if spec.text_pair is None else fill(spec.text_pair, (*path, "text_pair"))
        except _Unfilled:
            return
        ids = None if spec.ids is None else tuple(spec.ids * (spec.repeat or 1))
        for name, written in ((key, text), ("target", target), ("text_pair", pair)):
            if written is not None and ids is None and not written.strip():
                self._error(f"{name}: holds no word", where if row else (*path, name))
                return
        sample = Sample(
            text,
            target,
            spec.allow_special_tokens,
            ids,
            source_language=None if ids else spec.source_language or defaults.source_language,
            target_language=target and (spec.target_language or defaults.target_language),
            pair=pair,
            one_segment=spec.one_segment,
        )
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
        defaults: Defaults,
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
            example = RULES[kind].example
            self._error(f"{kind}: takes a mapping of arguments, such as {example}", path)
            return None
        try:
            stated = cast(dict[str, Any], _filled(written, path, fill))
        except _Unfilled:
            return None
        inherited = {
            field: value for field, value in defaults.of_rules().items() if field not in stated
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
                rule.locate(place.selector, sample, place.end)
            except SelectorError as error:
                self._error(f"{place.field}: {error}", (*path, place.field))
        length = len(sample.ids) if sample.ids else most_tokens(rule.text_of(sample, "key"))
        try:
            rule.check_length(length)
        except SelectorError as error:
            self._error(str(error), (*path, str(error).partition(":")[0]))
        return Expectation(rule, {**inherited, **stated}, self.document.key_mark(path))


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
