"""JSON objects without duplicate keys."""

from __future__ import annotations

from typing import Any


def refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The `object_pairs_hook` of `json.loads` that refuses an ambiguous object.

    Raises:
        ValueError: a key stands twice; `json.loads` alone would silently drop the first.
    """
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return entries
