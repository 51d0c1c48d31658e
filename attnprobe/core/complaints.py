"""What pydantic finds wrong with a value that a user wrote, in plain words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attnprobe.core.registry import did_you_mean
from attnprobe.core.wording import format_stated

_LONGEST = 60
_MAPPING = "is no mapping of keys and values"


def in_words(finding: Mapping[str, Any], *, quoted: bool = False) -> str:
    """What is wrong with the value of a finding, without the name of its key.

    Args:
        finding: one of `ValidationError.errors()`.
        quoted: text in a list needs quotes, as in TOML.
    """
    kind, value, limits = finding["type"], finding["input"], finding.get("ctx", {})
    if kind == "literal_error":
        return _choice(value, limits["expected"])
    if kind in ("list_type", "tuple_type"):
        return _list(value, quoted=quoted)
    if kind in _BOUNDS:
        (limit,) = limits.values()
        return f"{_quote(value)} is out of range; it must be {_BOUNDS[kind]} {format_stated(limit)}"
    if kind in _NUMBERS:
        return _number(value, _NUMBERS[kind])
    if kind == "string_pattern_mismatch" and limits["pattern"] in _PATTERNS:
        return f"{_quote(value)} {_PATTERNS[limits['pattern']]}"
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(value=_quote(value))
    return str(finding["msg"]).removeprefix("Value error, ")


def meant(model: Any, key: str) -> str:
    """What to write instead of a key that a pydantic model does not take."""
    misplaced: Mapping[str, str] = getattr(model, "misplaced", {})
    known = [field.alias or name for name, field in model.model_fields.items()]
    return misplaced.get(key) or did_you_mean(key, known)


def without_seeming_empty(findings: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The findings without those of a list that only seems empty: its entries are refused."""
    every = list(findings)
    return [
        one
        for one in every
        if one["type"] != "too_short"
        or not any(other is not one and _within(other["loc"], one["loc"]) for other in every)
    ]


def _within(place: tuple[str | int, ...], other: tuple[str | int, ...]) -> bool:
    return place[: len(other)] == other


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
    "too_short": "is empty, it takes at least one",
}


def _quote(value: object) -> str:
    """A value as its writer knows it."""
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str | list | dict) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _choice(value: object, expected: str) -> str:
    """`expected` is pydantic's list of the choices: `'blocking' or 'advisory'`."""
    known = expected.replace(" or ", ", ").replace("'", "").split(", ")
    near = did_you_mean(value.lower(), known) if isinstance(value, str) else "known: "
    advice = f"it takes {expected}" if near.startswith("known: ") else near
    return f"{_quote(value)} is not known; {advice}"


def _list(value: object, *, quoted: bool) -> str:
    if isinstance(value, dict):
        return (
            "takes a list, not one mapping"
            if quoted
            else ('takes a list; write "- " before each entry')
        )
    item = json.dumps(value, ensure_ascii=False) if quoted else value
    return f"takes a list, such as [{item}]" if isinstance(value, str) else "takes a list"


def _number(value: object, wanted: str) -> str:
    if not isinstance(value, str):
        return f"{_quote(value)} is not {wanted}"
    for plain, meant in _READINGS:
        try:
            number = meant(value)
        except ValueError:
            continue
        if math.isfinite(number):
            return f"{_quote(value)} is text; write {format_stated(number)}{plain}"
    return f"{_quote(value)} is text; it takes {wanted}"


def _percent(text: str) -> float:
    if not text.endswith("%"):
        raise ValueError(text)
    return float(text[:-1]) / 100


def _with_comma(text: str) -> float:
    if re.search(",[0-9]{3}$", text):
        raise ValueError(text)  # a thousand, perhaps
    return float(text.replace(",", ".", 1))


_READINGS: tuple[tuple[str, Callable[[str], float]], ...] = (
    (" without quotes", float),
    ("", _percent),
    ("", _with_comma),
)
