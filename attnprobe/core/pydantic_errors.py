"""Errors of pydantic in plain words, most of them for the user who wrote the value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from attnprobe.core.registry import did_you_mean
from attnprobe.core.wording import format_stated

_LONGEST = 60
_MAPPING = "is no mapping of keys and values"


def describe_first(error: ValidationError, *, whole: str) -> str:
    """The first error of data that a program wrote: its place, and pydantic's words.

    Args:
        whole: what the place is called where no field is at fault.
    """
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


def describe_error(error: Mapping[str, Any], *, quoted: bool = False) -> str:
    """What is wrong with a value, without the name of its key: `7 is out of range; ...`.

    Args:
        error: one of `ValidationError.errors()`.
        quoted: whether text in a list needs quotes, as in TOML.
    """
    kind, value, limits = error["type"], error["input"], error.get("ctx", {})
    if kind == "literal_error":
        return _describe_choice(value, limits["expected"])
    if kind in ("list_type", "tuple_type"):
        return _describe_list(value, quoted=quoted)
    if kind in _BOUNDS:
        (limit,) = limits.values()
        return f"{_quote(value)} is out of range; it must be {_BOUNDS[kind]} {format_stated(limit)}"
    if kind in _NUMBERS:
        return _describe_number(value, _NUMBERS[kind])
    if kind == "string_pattern_mismatch" and limits["pattern"] in _PATTERNS:
        return f"{_quote(value)} {_PATTERNS[limits['pattern']]}"
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(**{**limits, "value": _quote(value)})
    return str(error["msg"]).removeprefix("Value error, ")


def advise_key(model: Any, key: str) -> str:
    """Advice for a key that a pydantic model does not have: `did you mean 'nth'?`."""
    misplaced: Mapping[str, str] = getattr(model, "misplaced", {})
    known = [field.alias or name for name, field in model.model_fields.items()]
    return misplaced.get(key) or did_you_mean(key, known)


def drop_implied_errors(errors: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The errors without "too short" for a list whose entries have errors of their own."""
    errors = list(errors)
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(
            entry is not error and _lies_within(entry["loc"], error["loc"]) for entry in errors
        )
    ]


def _lies_within(inner: tuple[str | int, ...], outer: tuple[str | int, ...]) -> bool:
    return inner[: len(outer)] == outer


_PATTERNS = {
    r"\S": "is blank; write a name",
    r"^[A-Za-z0-9_.-]+$": "may hold letters, digits, _ . - only",
    r"^[A-Za-z][A-Za-z0-9_]*$": "may hold letters, digits and _ only, and starts with a letter",
    r"^L0(-L[0-9]{1,6})?$": "is no range of layers from the first; write L0-L3",
}
_BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}
_NUMBERS = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "finite_number": "a finite number",
}
_SENTENCES = {
    "bool_type": "{value} is no truth value; write true or false without quotes",
    "date_type": "write the date without quotes, such as 2026-12-31, not {value}",
    "dict_type": f"{{value}} {_MAPPING}",
    "missing": "is missing",
    "model_type": f"{{value}} {_MAPPING}",
    "path_type": "{value} is no path; it takes one text",
    "string_too_short": "is empty, it takes at least one character",
    "string_type": "{value} is not one text",
    "string_too_long": "{value} is too long; it may have {max_length} characters",
    "too_long": "holds {actual_length} entries; it may have {max_length}",
    "too_short": "is empty, it takes at least one",
}


def _quote(value: object) -> str:
    """A value as its author wrote it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str | list | dict) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _describe_choice(value: object, expected: str) -> str:
    """The message for a value besides the choices, which pydantic lists as `'a', 'b' or 'c'`."""
    known = expected.replace(" or ", ", ").replace("'", "").split(", ")
    near = did_you_mean(value.lower(), known) if isinstance(value, str) else "known: "
    advice = f"it takes {expected}" if near.startswith("known: ") else near
    return f"{_quote(value)} is not known; {advice}"


def _describe_list(value: object, *, quoted: bool) -> str:
    if isinstance(value, dict):
        return (
            "takes a list, not one mapping"
            if quoted
            else 'takes a list; write "- " before each entry'
        )
    if not isinstance(value, str):
        return "takes a list"
    item = json.dumps(value, ensure_ascii=False) if quoted else value
    return f"takes a list, such as [{item}]"


def _describe_number(value: object, expected: str) -> str:
    if not isinstance(value, str):
        return f"{_quote(value)} is not {expected}"
    for advice, parse in _NUMBER_PARSERS:
        try:
            number = parse(value)
        except ValueError:
            continue
        if math.isfinite(number):
            return f"{_quote(value)} is text; write {format_stated(number)}{advice}"
    return f"{_quote(value)} is text; it takes {expected}"


def _parse_percent(text: str) -> float:
    if not text.endswith("%"):
        raise ValueError(text)
    return float(text[:-1]) / 100


def _parse_comma(text: str) -> float:
    if re.search(",[0-9]{3}$", text):
        raise ValueError(text)  # the comma may separate thousands
    return float(text.replace(",", ".", 1))


_NUMBER_PARSERS: tuple[tuple[str, Callable[[str], float]], ...] = (
    (" without quotes", float),
    ("", _parse_percent),
    ("", _parse_comma),
)
