"""Which keys of a case go together."""

from __future__ import annotations

from collections.abc import Mapping

from attnprobe.cases.shapes import CaseShape

FORMS = ("text", "template", "ids", "messages")
# For a key, those of which one has to stand beside it, and what a message says without.
NEEDED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "generation_prompt": (("messages",), "generation_prompt: goes with messages:"),
    "repeat": (("ids",), "repeat: goes with ids:, not with a text"),
    "target_language": (("target",), "target_language: goes with a target:"),
    "template": (("rows",), "a template: needs rows: with its columns"),
    "rows": (("template", "messages"), "rows: fill a template: or messages:, nothing else"),
    "needle": (("haystack",), "a needle: needs a haystack: to stand in"),
    "haystack": (("tokens",), "a haystack: needs tokens:, the most that the model is to read"),
    "depth": (("needle",), "depth: goes with needle: and haystack:"),
    "tokens": (("needle",), "tokens: and haystack: go with a needle:"),
}
# For a key, those that do not go with it.
EXCLUDED: Mapping[str, tuple[str, ...]] = {
    "messages": ("text_pair", "source_language"),
    "ids": ("target", "text_pair", "source_language"),
    "generate": ("ids", "text_pair", "target"),
    "needle": ("ids", "messages", "text_pair"),
}
_PLURAL = ("messages", "ids")


def misfit(shape: CaseShape) -> tuple[str, str | None] | None:
    """What is wrong with the keys that a case has together, and at which of them.

    None if they go together; no key if one is missing.
    """
    given = [key for key in CaseShape.model_fields if getattr(shape, key) not in (None, False)]
    if sum(form in given for form in FORMS) != 1:
        return "a case has either text:, or template: with rows:, or ids:, or messages:", None
    for key, excluded in EXCLUDED.items():
        for other in excluded:
            if key in given and other in given:
                goes = "go" if key in _PLURAL else "goes"
                without = f"{other}:" if other in _PLURAL else f"a {other}:"
                return f"{key}: {goes} without {without}", other
    for key, (others, message) in NEEDED.items():
        if key in given and not any(other in given for other in others):
            return message, key
    return None
