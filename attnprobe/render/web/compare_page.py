"""The page of a comparison: one HTML file without links to other files.

Its only script is that of the explorer, where two models were compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnprobe.render.web.changes import ChangeRow, SuiteRow
from attnprobe.render.web.explorer import Explorer
from attnprobe.render.web.html import fill
from attnprobe.render.web.maps import AttentionMap, map_table


@dataclass(frozen=True)
class HeadRow:
    """The fate of a head.

    Attributes:
        fate: `kept`, `moved to L4H7` or `lost`; `changed` where no case names the head and it has
            stayed, but attends to something else.
        divergence: the divergence from its match, with the unit.
        own_place: the divergence from the head at the same place.
        cases: the number of cases that name the head.
    """

    site: str
    head: str
    fate: str
    divergence: str
    own_place: str
    cases: int


@dataclass(frozen=True)
class ChangePictures:
    """A changed case with its pictures.

    Attributes:
        lines: the findings before and now, one line for each expectation.
        maps: the maps before, now, and of the difference; possibly fewer.
        captions: of each map.
    """

    row: ChangeRow
    lines: tuple[str, ...]
    maps: tuple[AttentionMap, ...]
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
    explorer: Explorer | None = None,
) -> str:
    """The HTML page of a comparison; all text from users is escaped.

    Args:
        counts: the number of cases of each kind.
        rows: the changed cases, the most important first.
        pictures: pictures of some of these cases.
        explorer: all maps of both models on the texts of these cases.
    """
    drawn = [
        (
            change,
            [
                (map_table(shown, caption=caption), f"{caption}; scale to {shown.scale():.3f}")
                for shown, caption in zip(change.maps, change.captions, strict=True)
            ],
        )
        for change in pictures
    ]
    return fill(
        "compare.html",
        title=title,
        subtitle=subtitle,
        counts=counts,
        rows=rows,
        suites=suites,
        heads=heads,
        pictures=drawn,
        notes=notes,
        explorer=explorer,
    )
