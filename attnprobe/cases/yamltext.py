"""Reads YAML text to plain values, with the place of every value and every key.

This reader is stricter than PyYAML, which resolves ambiguities silently: it refuses duplicate keys,
anchors, aliases, merge keys, tags, second documents, tabs and invisible characters. It builds the
values from the parser's events, so no alias expands and no tag constructs an object. Plain scalars
have the types of YAML 1.1 (`no` is a truth value, `12:30` a number); `Document.explain_scalar`
tells so to a user who meant text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from attnprobe.core.errors import CaseError, Mark
from attnprobe.core.names import MAX_UNFOLDED

MAX_BYTES = 5_000_000
MAX_DEPTH = 64
MAX_VALUES = 500_000
MAX_KEYS = 10_000  # of one mapping
# No number in a case file is longer; PyYAML takes quadratic time for long sexagesimal numbers.
_MAX_NUMBER = 100

YamlPath = tuple[str | int, ...]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# NEL, LS and PS end a line for YAML 1.1 but for no editor, and U+FEFF is a byte order mark.
_REFUSED = re.compile(
    "[^\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n|\r|\n")

# Advice for each problem, by a part of the message of PyYAML or libyaml.
_ADVICE = (
    ("mapping values are not allowed", "check the indentation, and put text that holds a colon "
                                       "and a space in quotes"),
    ("cannot start any token", "put text that starts with this character in quotes"),
    ("unknown escape", "write \\\\ for a backslash, or put the text in single quotes"),
    ("escape", "write the character itself, or \\u and four hexadecimal digits"),
    ("end of stream", "close the quote or the bracket"),
    ("',' or", "separate entries by commas, close the bracket, and put text that holds , : [ ] "
               "{ or } in quotes"),
    ("could not find expected ':'", "write a key as `key: value`, with a space after the colon"),
    ("alphabetic or numeric", "put text that starts with * or & in quotes"),
    ("", "check the indentation, and put text that starts with { [ ' or \" in quotes as a whole"),
)  # fmt: skip


class Scalar(NamedTuple):
    """A scalar as the file spells it; block scalars count as quoted."""

    text: str
    quoted: bool


Start = int
"""A line and a column, which both count from 0: `line << 23 | column`.

A file may have half a million of them, and a mark of libyaml takes five times as much memory.
"""
_COLUMN_BITS = 23
assert MAX_BYTES < 1 << _COLUMN_BITS


class Place(NamedTuple):
    """Where a value stands.

    Attributes:
        start: the start of the value.
        key: the start of its key; None for an entry of a list.
        entries: the places in a list or mapping, by index or key; the text of a scalar.
        quoted: whether it is a quoted scalar.
    """

    start: Start
    key: Start | None
    entries: list[Place] | dict[str, Place] | str
    quoted: bool = False

    @property
    def scalar(self) -> Scalar | None:
        """A scalar as the file spells it; None for a list or mapping."""
        return Scalar(self.entries, self.quoted) if isinstance(self.entries, str) else None


@dataclass(frozen=True)
class Document:
    """One YAML document as plain values. The keys and indices that lead to a value are its path.

    Attributes:
        file: the file name in the marks.
        value: nested dict, list, str, int, float, bool and None.
        root: the place of the value.
    """

    file: str
    value: object
    root: Place

    def mark(self, path: YamlPath) -> Mark:
        """The start of the value at `path`, or of its nearest ancestor."""
        return _mark_at(self._walk(path)[0].start, self.file)

    def key_mark(self, path: YamlPath) -> Mark:
        """The start of the key at `path`; of the value if it has no key."""
        place, depth = self._walk(path)
        is_key = depth == len(path) and place.key is not None
        return _mark_at(place.key if is_key and place.key is not None else place.start, self.file)

    def keys(self, path: YamlPath) -> set[str]:
        """The keys of the mapping at `path`; none for another value."""
        entries = self._walk(path)[0].entries
        return set(entries) if isinstance(entries, dict) else set()

    def raw(self, path: YamlPath) -> Scalar | None:
        """The scalar at `path` as the file spells it; None if there is none."""
        place, depth = self._walk(path)
        return place.scalar if depth == len(path) else None

    def _walk(self, path: YamlPath) -> tuple[Place, int]:
        """The place at `path`, or of its nearest ancestor, and how many steps lead there."""
        place = self.root
        for depth, step in enumerate(path):
            entries: Any = place.entries
            if isinstance(entries, str):
                return place, depth
            try:
                place = entries[step]
            except (LookupError, TypeError):
                return place, depth
        return place, len(path)

    def explain_scalar(self, path: YamlPath) -> str:
        """Why YAML reads a scalar otherwise than it looks, and what to write instead.

        Empty if nothing needs explaining: `path` has no scalar, or has text that looks like text.
        """
        scalar = self.raw(path)
        return "" if scalar is None or scalar.quoted else _explain(scalar.text)


def load(path: Path, name: str, *, times: int = 1) -> Document:
    """Reads one case file.

    Args:
        name: the file name for the marks.
        times: how many times MAX_VALUES the file may hold.

    Raises:
        CaseError: the file cannot be read, or `loads` raises it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CaseError(f"cannot be read: {error.strerror}", Mark(name, 1, 1)) from None
    return loads(data, name, times=times)


def loads(data: bytes, name: str, *, times: int = 1) -> Document:
    """Reads one YAML document from UTF-8 bytes, with or without a byte order mark.

    Raises:
        CaseError: the text is too large, not UTF-8, not valid YAML, or breaks a rule of this
            reader.
    """
    if len(data) > MAX_BYTES:
        raise CaseError(
            f"larger than {MAX_BYTES // 1_000_000} MB; split it into several files",
            Mark(name, 1, 1),
        )
    text = _decode(data, name)
    _check_characters(text, name)
    try:
        return _Builder(name, yaml.parse(text, Loader=LOADER), MAX_VALUES * times).document()
    except yaml.YAMLError as error:
        raise _malformed(error, text, name) from None
    except (ValueError, OverflowError) as error:  # PyYAML on escapes such as "\UFFFFFFFF"
        raise CaseError(f"not valid YAML: {error}", Mark(name, 1, 1)) from None


def _decode(data: bytes, name: str) -> str:
    nul = data.find(b"\0")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if nul < 0 or error.start < nul:
            raise CaseError(
                f"not UTF-8 at byte {error.start} (0x{data[error.start]:02x}); "
                "save the file as UTF-8",
                _mark_of(data[: error.start].decode(), name),
            ) from None
    if nul >= 0:
        raise CaseError(
            f"NUL byte at byte {nul}; save the file as UTF-8 text",
            _mark_of(data[:nul].decode(), name),
        )
    return text.removeprefix("\ufeff")


def _check_characters(text: str, name: str) -> None:
    found = _REFUSED.search(text)
    if found is None:
        return
    mark = _mark_of(text[: found.start()], name)
    if found[0] == "\t":
        raise CaseError('tab; indent with spaces, and in text write "\\t" in double quotes', mark)
    code = ord(found[0])
    raise CaseError(
        f"invisible character U+{code:04X}; remove it, "
        f'or write "\\u{code:04X}" in double quotes where it is meant',
        mark,
    )


def _mark_of(before: str, name: str) -> Mark:
    """The place directly after the text `before`."""
    lines = _LINE_END.split(before.removeprefix("\ufeff"))
    return Mark(name, len(lines), len(lines[-1]) + 1)


def _mark_at(start: Start, name: str) -> Mark:
    return Mark(name, _line(start), (start & ((1 << _COLUMN_BITS) - 1)) + 1)


def _line(start: Start) -> int:
    """The line as editors count."""
    return (start >> _COLUMN_BITS) + 1


def _malformed(error: yaml.YAMLError, text: str, name: str) -> CaseError:
    """PyYAML's message with its place and advice."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return CaseError(f"not valid YAML: {error}", Mark(name, 1, 1))
    problem = error.problem or error.context or "unknown problem"
    where = error.problem_mark or error.context_mark
    begun = error.context_mark
    if error.problem and error.context and begun:
        problem += f", {error.context} on line {begun.line + 1}"
    advice = next(advice for part, advice in _ADVICE if part in problem)
    mark = Mark(name, where.line + 1, where.column + 1) if where else Mark(name, 1, 1)
    return CaseError(f"not valid YAML: {problem}; {advice}", mark)


class _Scalars(SafeConstructor, Resolver):
    """The types of plain scalars, from PyYAML's base classes, which other plugins do not change."""


_SCALARS = _Scalars()
# The characters that a plain scalar of another type than text starts with.
_FIRST = frozenset(_SCALARS.yaml_implicit_resolvers)
# PyYAML's pattern keeps a state for each pair of digits: 360 MB for a number of 5 MB.
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*:[0-9:]*+")
_RESOLVE: Callable[[type[yaml.Node], str, tuple[bool, bool]], str] = _SCALARS.resolve


def _kind(text: str) -> str:
    """YAML 1.1's type of a plain scalar: `str`, `bool`, `int`, `float`, `null`, `merge`, ..."""
    if text and text[0] not in _FIRST:
        return "str"
    if text.isdecimal() and text.isascii() and text[0] != "0":
        return "int"
    if len(text) > _MAX_NUMBER and _SEXAGESIMAL.fullmatch(text):
        return "int"
    return _resolved(text) if len(text) <= _MAX_NUMBER else _resolved.__wrapped__(text)


@lru_cache(maxsize=1024)
def _resolved(text: str) -> str:
    return _RESOLVE(yaml.ScalarNode, text, (True, False)).rpartition(":")[2]


def _number(kind: str, text: str) -> int | float | None:
    """The value of a plain `int` or `float`; None for a malformed one such as `0x_`."""
    if len(text) > _MAX_NUMBER:
        return None
    if text.isdecimal() and text[0] != "0":
        return int(text)
    return _constructed(kind, text)


@lru_cache(maxsize=1024)
def _constructed(kind: str, text: str) -> int | float | None:
    node = yaml.ScalarNode(kind, text)
    try:
        if kind == "int":
            return _SCALARS.construct_yaml_int(node)
        return _SCALARS.construct_yaml_float(node)
    except ValueError:
        return None


_MEANINGS = {"bool": "a truth value", "null": "nothing", "timestamp": "a date"}


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _explain(text: str) -> str:
    """The sentence of `Document.explain_scalar` for a plain scalar."""
    if not text:
        return 'nothing is written here; write "" where empty text is meant'
    kind = _kind(text)
    if kind in ("int", "float"):
        number = _number(kind, text)
        meaning = "a number" if number is None else f"the number {number}"
    elif kind in _MEANINGS:
        meaning = _MEANINGS[kind]
    else:
        return _explain_text(text)
    return f'YAML reads {_short(text)} as {meaning}; write "{_short(text)}"'


def _explain_text(text: str) -> str:
    """The explanation for a float that YAML 1.1 reads as text, such as `1e-3`; else empty."""
    try:
        number = float(text)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    return f"YAML reads {_short(text)} as text; write {yaml.safe_dump(number).split()[0]}"


def _start(event: yaml.Event) -> Start:
    mark = event.start_mark
    assert mark is not None  # PyYAML marks every event that it parses
    return mark.line << _COLUMN_BITS | mark.column


class _Builder:
    """Builds one document from parser events, and refuses what a case file must not contain."""

    def __init__(self, name: str, events: Iterator[yaml.Event], most_values: int) -> None:
        self._name = name
        self._events = events
        self._most_values = most_values
        self._count = 0

    def document(self) -> Document:
        next(self._events)  # start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise self._empty()
        value, root = self._node(next(self._events), None, 0)
        next(self._events)  # end of the document
        event = next(self._events)
        if isinstance(event, yaml.DocumentStartEvent):
            raise self._error("a second document; put it into a file of its own", event)
        if root.scalar == Scalar("", quoted=False):
            raise self._empty()
        return Document(self._name, value, root)

    def _error(self, message: str, event: yaml.Event) -> CaseError:
        return CaseError(message, _mark_at(_start(event), self._name))

    def _empty(self) -> CaseError:
        return CaseError("the file is empty; start it with version: 1", Mark(self._name, 1, 1))

    def _node(self, event: yaml.Event, key: Start | None, depth: int) -> tuple[object, Place]:
        """The value that begins with an event, and its place.

        Args:
            key: the start of its key.
            depth: how many lists and mappings it lies in.
        """
        self._check_node(event)
        self._count += 1
        if self._count > self._most_values:
            raise self._error(
                f"more than {self._most_values:,} values; split the file, or set "
                f"{MAX_UNFOLDED} = {self._most_values // MAX_VALUES + 1} in the ini file",
                event,
            )
        start = _start(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event), Place(start, key, event.value, not event.implicit[0])
        if depth >= MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels", event)
        if isinstance(event, yaml.SequenceStartEvent):
            items, places = self._sequence(depth + 1)
            return items, Place(start, key, places)
        entries, by_key = self._mapping(depth + 1)
        return entries, Place(start, key, by_key)

    def _sequence(self, depth: int) -> tuple[list[object], list[Place]]:
        items: list[object] = []
        places: list[Place] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item, place = self._node(event, None, depth)
            items.append(item)
            places.append(place)
        return items, places

    def _mapping(self, depth: int) -> tuple[dict[str, object], dict[str, Place]]:
        entries: dict[str, object] = {}
        places: dict[str, Place] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            start = _start(event)
            if key in entries:
                first = places[key].key
                lines = _line(first or 0), _line(start)
                where = f"on lines {lines[0]} and {lines[1]}"
                if lines[0] == lines[1]:
                    where = f"twice on line {lines[0]}"
                raise self._error(
                    f"duplicate key {_short(key)!r}, {where}; keep one",
                    event,
                )
            if len(entries) == MAX_KEYS:
                raise self._error(f"more than {MAX_KEYS:,} keys in one mapping", event)
            entries[key], places[key] = self._node(next(self._events), start, depth)
        return entries, places

    def _check_node(self, event: yaml.Event) -> None:
        """Refuses anchors, aliases and tags."""
        anchor: str | None = getattr(event, "anchor", None)
        tag: str | None = getattr(event, "tag", None)
        if anchor is not None:
            what = f"alias *{anchor}" if isinstance(event, yaml.AliasEvent) else f"anchor &{anchor}"
        elif tag is not None:
            what = f"tag {tag.replace('tag:yaml.org,2002:', '!!')}"
        else:
            return
        raise self._error(
            f"{_short(what)} is not read here; write the value out, or quote it if it is text",
            event,
        )

    def _key(self, event: yaml.Event) -> str:
        self._check_node(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error(
                "a list or mapping as a key; write a name, and quote text that holds { or [", event
            )
        if event.implicit[0]:
            if _kind(event.value) == "merge":
                raise self._error("merge key <<; write the keys out", event)
            if not event.value:
                raise self._error("a key is missing; write a name before the colon", event)
        key = self._scalar(event)
        if not isinstance(key, str):
            advice = _explain(event.value)
            if type(key) is int:
                advice += "; where a decimal number is meant, write a point: 0.3"
            raise self._error(f"a key must be text: {advice}", event)
        return key

    def _scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text = event.value
        if not text.isascii() and _SURROGATE.search(text):
            raise self._error(
                "half of a surrogate pair; write the character itself, "
                "or \\U and eight hexadecimal digits",
                event,
            )
        kind = _kind(text) if event.implicit[0] else "str"
        if kind == "null":
            return None
        if kind == "bool":
            return SafeConstructor.bool_values[text.lower()]
        if kind in ("int", "float"):
            number = _number(kind, text)
            if number is not None:
                return number
        if kind in ("int", "float", "timestamp"):
            raise self._error(_explain(text), event)
        return text
