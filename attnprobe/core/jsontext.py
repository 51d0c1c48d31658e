"""JSON that says each thing once."""

from __future__ import annotations

from typing import Any


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file, as `object_pairs_hook` of `json.loads`.

    Raises:
        ValueError: a key stands twice, of which JSON readers drop one unseen.
    """
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return entries
