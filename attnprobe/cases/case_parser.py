"""Parses an entry of `cases:`: fills rows into its template, parses its rules, looks up words."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from attnprobe.cases.bounds import Unfolded
from attnprobe.cases.combinations import misfit
from attnprobe.cases.entries import Case, Expectation
from attnprobe.cases.error_collector import MOST_NAMES, ErrorCollector
from attnprobe.cases.project_files import ProjectFiles
from attnprobe.cases.shapes import CaseShape, Defaults, FileShape, parse_depth
from attnprobe.cases.yamltext import YamlPath
from attnprobe.core.errors import Mark, SelectorError
from attnprobe.core.registry import clip_name, did_you_mean
from attnprobe.core.texts import Haystack, Message, Sample
from attnprobe.core.wording import join_names
from attnprobe.rules import RULES, Rule, parse_rule
from attnprobe.rules.ranges import most_tokens
from attnprobe.words.heads import Heads, HeadSet, parse_heads
from attnprobe.words.selectors import without_answer

Fill = Callable[[str, YamlPath], str]

_COLUMN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLAIN = re.compile(r"[A-Za-z0-9. ]+")
_ROW_LABEL_LIMIT = 60
_LONGEST_TOKEN = 40  # characters of a long text for each token that is to be read


class _Unfilled(Exception):
    """The row does not fill a text; the errors have been added."""


class CaseParser:
    """Parses the cases of one file."""

    def __init__(
        self,
        errors: ErrorCollector,
        head_sets: Mapping[str, HeadSet],
        unfolded: Unfolded,
        files: ProjectFiles,
    ) -> None:
        self.document = errors.document
        self.head_sets = head_sets
        self._unfolded = unfolded
        self._files = files
        self._parsed_heads: Heads | None = None
        self._errors = errors
        self._error = errors.add

    def cases(
        self, file: FileShape, defaults: Defaults, shape: CaseShape, path: YamlPath
    ) -> Iterator[Case]:
        """The case of an entry, or one case for each row of its template."""
        build = functools.partial(self._case, file, defaults, shape, path)
        wrong = misfit(shape)
        if wrong is not None:
            message, key = wrong
            self._error(message, path if key is None else (*path, key), key=key is not None)
        elif shape.rows is None:
            self._count(shape, path, rows=1)
            yield from build(None, path, lambda text, _: text)
        else:
            self._count(shape, path, rows=len(shape.rows))
            self._unfolded.add("characters", _filled_length(shape), (*path, "rows"))
            yield from self._rows(shape.rows, path, build)

    def _count(self, shape: CaseShape, path: YamlPath, *, rows: int) -> None:
        """Counts what an entry unfolds to, but for its characters.

        Raises:
            CaseError: it is beyond a bound.
        """
        add = self._unfolded.add
        add("cases", rows, path)
        add("expectations", rows * len(shape.expect), (*path, "expect"))
        add("token ids", len(shape.ids or ()) * (shape.repeat or 1), (*path, "repeat"))

    def _rows(
        self,
        rows: Sequence[dict[str, str]],
        path: YamlPath,
        build: Callable[[str, YamlPath, Fill], Iterator[Case]],
    ) -> Iterator[Case]:
        """One case for each row of a template."""
        first: dict[frozenset[tuple[str, str]], Mark] = {}
        for number, row in enumerate(rows):
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
                yield from build(_row_label(number, row, rows[0]), row_path, fill)
                self._check_used(row, used, row_path)

    def _check_used(self, row: dict[str, str], used: set[str], path: YamlPath) -> None:
        for column in row.keys() - used:
            self._error(
                f"column {clip_name(column)!r} is not used: write {{{clip_name(column)}}} in the "
                "template, or leave it out",
                (*path, column),
                key=True,
            )

    def _fill(self, text: str, path: YamlPath, *, row: dict[str, str], used: set[str]) -> str:
        """The text with the row's columns filled in; `used` gets the columns.

        Raises:
            _Unfilled: a brace or a column of the text is wrong; the errors have been added.
        """
        complete = True

        def replace(match: re.Match[str]) -> str:
            nonlocal complete
            column = match[1]
            if match[0] in ("{{", "}}"):
                return match[0][0]
            if column in row:
                used.add(column)
                return row[column]
            complete = False
            if column is None:
                self._error(f"a lone {match[0]!r}; write it twice to mean the character", path)
            else:
                name = clip_name(column)
                self._error(f"no column {name!r} in the row; {did_you_mean(column, row)}", path)
            return match[0]

        filled = _COLUMN.sub(replace, text)
        if not complete:
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
        try:
            sample = self._sample(defaults, shape, path, case_path if row else None, fill)
        except _Unfilled:
            return
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

    def _sample(
        self,
        defaults: Defaults,
        shape: CaseShape,
        path: YamlPath,
        row_path: YamlPath | None,
        fill: Fill,
    ) -> Sample:
        """The sample of one row.

        Args:
            row_path: where an empty text is told; None without rows.

        Raises:
            _Unfilled: the row does not fill a text, or leaves it empty; the errors have been added.
        """

        def filled(text: str | None, *key: str | int) -> str | None:
            if text is None:
                return None
            found = fill(text, (*path, *key))
            if not found.strip():
                self._error(f"{key[-1]}: holds no word", row_path or (*path, *key))
                raise _Unfilled
            return found

        target = filled(shape.target, "target")
        messages = shape.messages and tuple(
            Message(message.role, filled(message.content, "messages", number, "content") or "")
            for number, message in enumerate(shape.messages)
        )
        ids = None if shape.ids is None else tuple(shape.ids * (shape.repeat or 1))
        language = shape.source_language or defaults.source_language
        return Sample(
            filled(shape.text, "text") or filled(shape.template, "template") or "",
            target,
            shape.allow_special_tokens,
            ids,
            source_language=None if ids or messages else language,
            target_language=target and (shape.target_language or defaults.target_language),
            pair=filled(shape.text_pair, "text_pair"),
            one_segment=shape.one_segment,
            messages=messages or None,
            generation_prompt=bool(shape.generation_prompt or (messages and shape.generate)),
            generate=None if shape.generate is None else shape.generate.max_tokens,
            haystack=None if shape.needle is None else self._haystack(shape, path, filled),
        )

    def _haystack(
        self, shape: CaseShape, path: YamlPath, filled: Callable[..., str | None]
    ) -> Haystack:
        """The long text of a case, with its needle.

        Args:
            filled: fills a text of the case with its row.

        Raises:
            _Unfilled: as `_sample`, or the file or the depth is wrong; the errors have been added.
        """
        needle = filled(shape.needle, "needle")
        tokens = shape.tokens or 0
        depth = shape.depth if isinstance(shape.depth, float) else filled(shape.depth, "depth")
        try:
            share = parse_depth(depth)
        except ValueError as error:
            self._error(str(error), (*path, "depth"))
            raise _Unfilled from None
        try:
            text = self._files.text(filled(shape.haystack, "haystack") or "")
        except SelectorError as error:
            self._error(f"haystack: {error}", (*path, "haystack"))
            raise _Unfilled from None
        # More is not read, even where each token covers a long word.
        read = text[: _LONGEST_TOKEN * tokens]
        self._unfolded.add("characters", len(read), (*path, "haystack"))
        return Haystack(read, needle or "", share, tokens)

    def _expectation(
        self,
        defaults: Defaults,
        entry: dict[str, Any],
        sample: Sample,
        path: YamlPath,
        fill: Fill,
    ) -> Expectation | None:
        if len(entry) != 1:
            names = join_names(list(map(clip_name, entry)), MOST_NAMES)
            self._error(f"one rule an entry, here are {len(entry)}: {names}", path)
            return None
        ((kind, written),) = entry.items()
        path = (*path, kind)
        if kind not in RULES:
            message = f"unknown rule {clip_name(kind)!r}; {did_you_mean(kind, RULES)}"
            self._error(message, path, key=True)
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
            arguments = {**inherited, **stated}
            if "heads" in inherited:
                arguments["heads"] = self._default_heads(defaults)
            rule = parse_rule(kind, arguments, head_sets=self.head_sets)
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
            sought = len(place.selector.parts) * len(rule.text_of(sample, place.end))
            self._unfolded.add("characters to look through", sought, (*path, place.field))
            selector = place.selector
            if sample.generate is not None:
                selector = without_answer(selector)
            try:
                rule.locate(selector, sample, place.end)
            except SelectorError as error:
                self._error(f"{place.field}: {error}", (*path, place.field))
        self._check_length(rule, sample, path)
        return Expectation(rule, {**inherited, **stated}, self.document.key_mark(path))

    def _check_length(self, rule: Rule, sample: Sample, path: YamlPath) -> None:
        if sample.messages is not None or sample.haystack is not None:
            return  # nobody knows how many tokens a chat template adds
        length = len(sample.ids) if sample.ids else most_tokens(rule.text_of(sample, "key"))
        try:
            rule.check_length(length)
        except SelectorError as error:
            self._error(str(error), (*path, str(error).partition(":")[0]))

    def _default_heads(self, defaults: Defaults) -> object:
        """The heads of `defaults:`, parsed once; as they are written if they have an error."""
        if self._parsed_heads is None:
            try:
                self._parsed_heads = parse_heads(defaults.heads, self.head_sets)
            except ValueError:
                return defaults.heads
        return self._parsed_heads


def _filled_length(shape: CaseShape) -> int:
    """How many characters the texts and expectations of a template have in all of its rows."""
    rows = shape.rows or ()
    plain = 0
    columns: Counter[str] = Counter()
    contents = [message.content for message in shape.messages or ()]
    filled_texts = (
        *(shape.template, shape.target, shape.text_pair, shape.needle, shape.haystack),
        *(shape.depth, contents, shape.expect),
    )
    for text in _strings(filled_texts):
        plain += len(text)
        for match in _COLUMN.finditer(text):
            if match[1] is None:
                plain -= len(match[0]) - 1
            else:
                plain -= len(match[0])
                columns[match[1]] += 1
    filled = sum(
        len(value) * columns[column]
        for row in rows
        for column, value in row.items()
        if column in columns
    )
    return len(rows) * plain + filled


def _strings(value: object) -> Iterator[str]:
    """Every string in a YAML value, but for keys."""
    match value:
        case str():
            yield value
        case dict():
            yield from _strings(list(value.values()))
        case list() | tuple():
            for item in value:
                yield from _strings(item)


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


def _row_label(number: int, row: Mapping[str, str], columns: Collection[str]) -> str:
    """The row's values if they are plain words, or else its number; it differs between rows."""
    if len(columns) > _ROW_LABEL_LIMIT:
        return str(number)
    values = [row.get(column, "") for column in columns]
    label = "-".join(value.replace(" ", "_") for value in values)
    plain = all(map(_PLAIN.fullmatch, values)) and not label.isdigit()
    return label if plain and len(label) <= _ROW_LABEL_LIMIT else str(number)
