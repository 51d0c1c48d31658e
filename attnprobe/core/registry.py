"""A registry that refuses a second entry of one name and suggests the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

from attnprobe.core.errors import AttnprobeError
from attnprobe.core.wording import join_names

T = TypeVar("T")


# The time to compare two names grows with the square of their lengths.
LONGEST_NAME = 100
# Among more names than this, only those that start like the searched one are compared with it.
_MOST_COMPARED = 500
_MOST_LISTED = 50


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or else the known names."""
    names = sorted(known)
    near = nearest(name, names, count=1)
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return "none is known"
    listed = [clip_name(known_name) for known_name in names[:_MOST_LISTED]]
    return f"known: {join_names(listed + names[_MOST_LISTED:], _MOST_LISTED)}"


def nearest(name: str, known: Sequence[str], *, count: int) -> list[str]:
    """The known names most similar to a name, the most similar first; none for a long name."""
    if len(name) > LONGEST_NAME:
        return []
    if len(known) > _MOST_COMPARED:
        same_start = (text for text in known if text[:1].casefold() == name[:1].casefold())
        known = list(islice(same_start, _MOST_COMPARED))
    names = [text for text in known if len(text) <= 2 * LONGEST_NAME]
    return difflib.get_close_matches(name, names, n=count)


def clip_name(name: str) -> str:
    """A name in a message, cut where it is long."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


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
