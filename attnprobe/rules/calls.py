"""Rules that a call in Python states, and what is wrong with its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from attnprobe.core.printing import harmless
from attnprobe.core.pydantic_errors import advise_key, describe_error
from attnprobe.rules.base import RULES, Rule, parse_rule


def called_rule(kind: str, arguments: Mapping[str, Any]) -> Rule:
    """The rule that a call in Python states.

    Raises:
        AttnprobeError: there is no rule of this name.
        TypeError: an argument is missing, unknown or invalid.
    """
    __tracebackhide__ = True
    try:
        return parse_rule(kind, arguments)
    except ValidationError as error:
        complaints = [_complaint(kind, entry) for entry in error.errors(include_url=False)]
        raise TypeError(harmless(f"{kind}: {'; '.join(complaints)}")) from None


def _complaint(kind: str, entry: Mapping[str, Any]) -> str:
    """What is wrong with an argument of a rule, and what to write instead."""
    where = [str(part) for part in entry["loc"]]
    match entry["type"]:
        case "missing" if where == ["heads"]:
            return 'name the heads, such as heads="L3H1"'
        case "extra_forbidden" if len(where) == 1:
            return f"unknown argument {where[0]!r}; {advise_key(RULES[kind], where[0])}"
    return ": ".join([*where, describe_error(entry, quoted=True).removeprefix(f"{kind} ")])
