"""A registry that refuses a second entry of one name and suggests the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from attnprobe.core.errors import AttnprobeError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none is known"


class Registry(Generic[T]):
    """Maps names to entries of one kind.

    Args:
        noun: the kind in messages: "rule".
    """

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self.entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """The decorator that registers an entry under `name`.

        Raises:
            AttnprobeError: the name has an entry already.
        """

        def add(entry: T) -> T:
            if name in self.entries:
                raise AttnprobeError(
                    f"{self._noun} {name!r} is already registered by {self.entries[name]!r}"
                )
            self.entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        try:
            return self.entries[name]
        except KeyError:
            raise AttnprobeError(
                f"unknown {self._noun} {name!r}; {did_you_mean(name, self.entries)}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.entries))
