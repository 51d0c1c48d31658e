"""How a count is told."""

from __future__ import annotations

__all__ = ["plural"]


def plural(count: int, one: str, several: str | None = None) -> str:
    """`1 case`, `2 cases`, or what else stands for several: `0 entries`, `2 cases are`."""
    return f"{count} {one if count == 1 else several or one + 's'}"
