"""The page of a comparison: one HTML file with nothing outside of it, and no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnprobe.render.changes import ChangeRow, SuiteRow
from attnprobe.render.html import fill


@dataclass(frozen=True)
class HeadRow:
    """What became of a pinned head.

    Attributes:
        fate: `kept`, `moved to L4H7` or `lost`.
        divergence: from its match, with its unit.
    """

    site: str
    head: str
    fate: str
    divergence: str
    cases: int


@dataclass(frozen=True)
class ChangePictures:
    """A changed case with its pictures.

    Attributes:
        lines: what is said of it.
        svgs: before, now, and their difference; fewer where there is none.
    """

    row: ChangeRow
    lines: tuple[str, ...]
    svgs: tuple[str, ...]
    captions: tuple[str, ...]


def compare_page(
    title: str,
    *,
    subtitle: str,
    counts: dict[str, int],
    rows: Sequence[ChangeRow],
    suites: Sequence[SuiteRow],
    heads: Sequence[HeadRow] = (),
    pictures: Sequence[ChangePictures] = (),
    notes: Sequence[str] = (),
) -> str:
    """A self-contained page; everything in it from users is escaped.

    Args:
        counts: how many cases of each kind.
        rows: the cases that changed, what matters most first.
        pictures: of some of them.
    """
    return fill(
        "compare.html",
        title=title,
        subtitle=subtitle,
        counts=counts,
        rows=rows,
        suites=suites,
        heads=heads,
        pictures=pictures,
        notes=notes,
    )
