"""Bounds on what a case file may hold, and unfold to once its templates are filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attnprobe.cases.yamltext import Document, YamlPath
from attnprobe.core.errors import CaseError
from attnprobe.core.names import MAX_UNFOLDED

BOUNDS: Mapping[str, int] = {
    "cases": 50_000,
    "expectations": 50_000,
    "characters": 10_000_000,
    "token ids": 1_000_000,
    "arcs": 500_000,
    # Each word that an expectation names is looked for in the whole text.
    "characters to look through": 200_000_000,
}
"""The most of each kind in one file."""


class Unfolded:
    """Counts what a file unfolds to, before it is built.

    Args:
        times: how many times BOUNDS the file may unfold to.
    """

    def __init__(self, document: Document, times: int) -> None:
        self._document = document
        self._times = times
        self._counts: Counter[str] = Counter()

    def add(self, noun: str, count: int, path: YamlPath) -> None:
        """Counts things of a kind that the value at `path` unfolds to.

        Raises:
            CaseError: the file has more of them than it may have.
        """
        self._counts[noun] += count
        total = self._counts[noun]
        if total > BOUNDS[noun] * self._times:
            raise CaseError(
                f"up to here the file unfolds to {total:,} {noun}, and it may have "
                f"{BOUNDS[noun] * self._times:,}; split the file, or set {MAX_UNFOLDED} = "
                f"{-(-total // BOUNDS[noun])} in the ini file",
                self._document.mark(path),
            )
