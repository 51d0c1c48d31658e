"""How files are taken apart into values, changed, and put together again.

A grammar parses a file to nested lists, mappings and scalars, so that a change leaves all else of
the file valid. Characters and bytes are garbled afterwards, in some of the inputs.
"""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tomli_w
import yaml

from attnprobe.cases.yamltext import LOADER

# Values at the ends of what types hold, and texts that mean something somewhere.
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 255, 2**31, 2**63 - 1, 2**64, -(2**63), 10**30, 10**400),
    *(0.5, -0.0, 1.5, 1e308, 5e-324, float("nan"), float("inf"), -float("inf")),
    *("", " ", "a", "1", "0.5", "null", "no", "~", "12:30", "2024-01-01", "\n", "\t", "\0", "\r\n"),
    *("\x1b[2J", "\u2028", "\u202e", "\ufeff", "\ud800", "e\u0301", "\u4e2d\u6587", "\U0001f600"),
    *("L0H0", "L999999999999H0", "L-1H0", "mean", "it", "it#0", "{x}", "{", "{}", "*", "%s"),
    *("..", "../../etc/passwd", "/dev/null", "/", "a" * 5000, "a " * 500, "[" * 99, "<b>", "::a::"),
    *([], {}, [[]], {"": None}, [None], {"a": {"b": []}}, ["a", 1], [0, 1], [5, 3]),
)  # fmt: skip
MARKS = (*"\0\t\n\r\"'{}[]:,-#&*!|>%@` \u00e9\u2028", "  ", "\\", "\\u0000", "\ud83d", "\ufeff")
# What the writing of values that no such file can hold ends in.
UNWRITABLE = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, struct.error)


@dataclass(frozen=True)
class Grammar:
    """How a kind of file is read to values and written from them.

    Attributes:
        garbles: in how many places bytes are garbled; one of these numbers is drawn.
    """

    parse: Callable[[bytes], Any]
    write: Callable[[Any, random.Random], bytes]
    garbles: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 0, 0, 1, 2)


def mutate(grammar: Grammar, seeds: list[Any], draw: random.Random) -> bytes:
    """A file like one of the parsed seeds, with some values changed or some bytes garbled."""
    while True:
        tree = copy.deepcopy(draw.choice(seeds))
        try:
            for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 6))):
                tree = _changed(tree, draw.choice(seeds), draw)
            data = grammar.write(tree, draw)
        except UNWRITABLE:
            continue
        for _ in range(draw.choice(grammar.garbles)):
            data = _garbled(data, draw)
        return data


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a tree: a list or mapping, and an index or key of it."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in entries:
        yield tree, key
        if isinstance(value, list | dict):
            yield from places(value)


def _changed(tree: Any, other: Any, draw: random.Random) -> Any:
    """The tree with one of its places changed; `other` lends values."""
    found = list(places(tree)) if isinstance(tree, list | dict) else []
    if not found:
        return draw.choice(HOSTILE)
    parent, key = draw.choice(found)
    match draw.randrange(8):
        case 0 | 1:
            parent[key] = copy.deepcopy(draw.choice(HOSTILE))
        case 2:
            del parent[key]
        case 3:
            giver, place = draw.choice(list(places(other)) or found)
            parent[key] = copy.deepcopy(giver[place])
        case 4:
            _add(parent, key, draw)
        case 5:
            parent[key] = _nested(parent[key], draw)
        case 6:
            parent[key] = _near(parent[key], draw)
        case _ if isinstance(parent, dict):
            parent[draw.choice((f"{key}s", str(key)[:-1], str(key).upper(), ""))] = parent.pop(key)
        case _:
            draw.shuffle(parent)
    return tree


def _add(parent: Any, key: Any, draw: random.Random) -> None:
    """Puts an entry beside another one, often the same once more."""
    value = copy.deepcopy(draw.choice((parent[key], parent[key], draw.choice(HOSTILE))))
    if isinstance(parent, dict):
        parent[str(draw.choice(HOSTILE))[:50]] = value
    else:
        parent[key:key] = [value] * draw.choice((1, 1, 2, 40))


def _nested(value: Any, draw: random.Random) -> Any:
    for _ in range(draw.choice((1, 1, 2, 70, 200))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def _near(value: Any, draw: random.Random) -> Any:
    """A value like another: a number nearby, a text with a part lost, doubled or strange."""
    match value:
        case bool():
            return not value
        case int() | float():
            step = draw.choice((1, -1, 0.5, 1000, 2**40))
            return draw.choice((value + step, -value, value * 2, str(value)))
        case str() if value:
            at = draw.randrange(len(value))
            middle = draw.choice((value[at], value[at] * 3, "", *MARKS, *"aA9"))
            return value[:at] + middle + value[at + 1 :]
        case list() | dict():
            return str(value)
    return draw.choice(HOSTILE)


def _garbled(data: bytes, draw: random.Random) -> bytes:
    """The file with some of its bytes lost, doubled, swapped or replaced."""
    start = draw.randrange(len(data) + 1)
    end = min(len(data), start + draw.choice((0, 1, 1, 2, 8, 100)))
    part = data[start:end]
    mark = draw.choice(MARKS).encode("utf-8", "surrogatepass")
    middle = draw.choice((b"", mark, part * 2, part[::-1], mark * 300, draw.randbytes(len(part))))
    if draw.random() < 0.1:
        return data[:start]
    return data[:start] + middle + data[end:]


# The grammars ------------------------------------------------------------------------------------


def _write_json(tree: Any, draw: random.Random) -> bytes:
    text = json.dumps(tree, ensure_ascii=draw.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _write_yaml(tree: Any, draw: random.Random) -> bytes:
    style = draw.choice((None, False, "json", "json"))
    if style == "json":
        return _write_json(tree, draw)
    text = yaml.dump(
        tree,
        Dumper=_Dumper,
        default_flow_style=style,
        allow_unicode=draw.random() < 0.5,
        sort_keys=False,
        width=draw.choice((20, 80, 10_000)),
    )
    return text.encode("utf-8", "surrogatepass")


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_toml(tree: Any, draw: random.Random) -> bytes:
    if not isinstance(tree, dict):
        raise TypeError("a TOML file is a table")
    return tomli_w.dumps(tree).encode("utf-8", "surrogatepass")


def _parse_lines(data: bytes) -> Any:
    return [json.loads(line) for line in data.decode().splitlines()]


def _write_lines(tree: Any, draw: random.Random) -> bytes:
    lines = tree if isinstance(tree, list) else [tree]
    return b"".join(_write_json(line, draw) + b"\n" for line in lines)


def _parse_cells(data: bytes) -> Any:
    return [line.split("\t") for line in data.decode().split("\n")]


def _write_cells(tree: Any, draw: random.Random) -> bytes:
    rows = tree if isinstance(tree, list) else [tree]
    lines = ("\t".join(map(str, row)) if isinstance(row, list) else str(row) for row in rows)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _parse_yaml(data: bytes) -> Any:
    return yaml.load(data, LOADER)


JSON = Grammar(json.loads, _write_json)
JSON_LINES = Grammar(_parse_lines, _write_lines)
YAML = Grammar(_parse_yaml, _write_yaml)
CELLS = Grammar(_parse_cells, _write_cells)


def _parse_toml(data: bytes) -> Any:
    import tomllib

    return tomllib.loads(data.decode())


TOML = Grammar(_parse_toml, _write_toml)

# GGUF: a head of numbers, keys with typed values, tensors by name, and what follows.
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_TEXT, _ARRAY = 8, 9


def _parse_gguf(data: bytes) -> Any:
    reader = _Reader(data)
    magic, version, tensors, keys = reader.numbers("<4sIQQ")
    found = {
        "magic": magic.decode(),
        "version": version,
        "counts": [None, None],  # those of the lists below
        "keys": [[reader.text(), *reader.typed()] for _ in range(keys)],
        "tensors": [_tensor(reader) for _ in range(tensors)],
    }
    return {**found, "rest": data[reader.at :].decode("latin-1")}


def _tensor(reader: _Reader) -> list[Any]:
    name, (dimensions,) = reader.text(), reader.numbers("<I")
    return [name, list(reader.numbers(f"<{dimensions}Q")), *reader.numbers("<IQ")]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found

    def text(self) -> str:
        (size,) = self.numbers("<Q")
        (found,) = self.numbers(f"<{size}s")
        return str(found.decode())

    def typed(self) -> list[Any]:
        """A type and its value; of an array also the type and the length that it announces."""
        (kind,) = self.numbers("<I")
        if kind != _ARRAY:
            return [kind, self._value(kind)]
        inner, count = self.numbers("<IQ")
        return [kind, [inner, None, [self._value(inner) for _ in range(count)]]]

    def _value(self, kind: int) -> Any:
        return self.text() if kind == _TEXT else self.numbers(f"<{_NUMBERS[kind]}")[0]


def _write_gguf(tree: Any, draw: random.Random) -> bytes:
    counts = [
        len(entries) if count is None else count
        for count, entries in zip(tree["counts"], (tree["tensors"], tree["keys"]), strict=True)
    ]
    parts = [str(tree["magic"]).encode("latin-1", "replace")[:8]]
    parts += [_number("I", tree["version"]), *(_number("Q", count) for count in counts)]
    for name, kind, value in tree["keys"]:
        parts += [_text(name), _number("I", kind), _typed(kind, value)]
    for name, sizes, kind, start in tree["tensors"]:
        parts += [_text(name), _number("I", len(sizes)), *(_number("Q", size) for size in sizes)]
        parts += [_number("I", kind), _number("Q", start)]
    return b"".join((*parts, str(tree["rest"]).encode("latin-1", "replace")))


def _typed(kind: Any, value: Any) -> bytes:
    if isinstance(value, list) and len(value) == 3:
        inner, count, entries = value
        count = len(entries) if count is None else count
        content = b"".join(_typed(inner, entry) for entry in entries)
        return _number("I", inner) + _number("Q", count) + content
    if isinstance(value, str):
        return _text(value)
    return _number(_NUMBERS.get(kind, "I"), value)


def _text(value: Any) -> bytes:
    data = str(value).encode("utf-8", "surrogatepass")
    return _number("Q", len(data)) + data


def _number(form: str, value: Any) -> bytes:
    """A number as a file holds it; a whole one that does not fit is cut to its lowest bits."""
    if form in "fd?":
        return struct.pack(f"<{form}", value)
    size = struct.calcsize(form)
    return (int(value) % 2 ** (8 * size)).to_bytes(size, "little")


GGUF = Grammar(_parse_gguf, _write_gguf)
