"""Work in parts: the k-th of n processes does every n-th piece."""

from __future__ import annotations

import re
from dataclasses import dataclass

from attnprobe.core.errors import AttnprobeError

MOST_PARTS = 1_000_000
# A message names so many missing parts.
MOST_NAMED = 8


@dataclass(frozen=True, order=True)
class Part:
    """One of several parts.

    Attributes:
        index: from 1 to `count`.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str, option: str) -> Part:
        """The part of a text such as `2/3`.

        Raises:
            AttnprobeError: the text is no such part; the message names the option.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if found is None:
            raise AttnprobeError(f"{option} is a part such as 2/3, the second of three")
        part = cls(*map(int, found.groups()))
        if not part.exists:
            raise AttnprobeError(
                f"{option} {part}: the first of n parts is 1/n, the last n/n, and n is at most "
                f"{MOST_PARTS:,}"
            )
        return part

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, number: int) -> bool:
        """Whether the piece with this number, from 0, belongs to this part."""
        return number % self.count == self.index - 1

    @property
    def exists(self) -> bool:
        """Whether there is such a part."""
        return 1 <= self.index <= self.count <= MOST_PARTS

    @property
    def whole(self) -> bool:
        """Whether it is the only part."""
        return self.count == 1


WHOLE = Part(1, 1)
