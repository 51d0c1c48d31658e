"""Why a release may not go: reasons, their order, and the words that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from attnprobe.core.wording import plural, shorten

Weight = Literal["cannot judge", "blocked"]

# What the reader must know first comes first; what is not listed comes last.
_ORDER = (
    # cannot judge
    "nothing judged",
    "lost",
    "pytest",
    "inconsistent",
    "commit",
    "no candidate",
    "absent model",
    "deselected",
    "uncollected",
    "baseline",
    "missing suite",
    "too few",
    "not measured",
    "no control",
    "unknown environment",
    "unknown weights",
    "ignored code",
    "waiver",
    # blocked
    "pickle",
    "remote code",
    "unpinned",
    "own loader",
    "dtype",
    "device",
    "failed",
    "pass rate",
    "broken",
    "vacuous",
    "control",
    "gone",
    "borderline",
    "weaker",
    "new",
    "waiver expired",
    "waiver unknown",
    "skipped",
    "advisory",
    "known gaps",
)
_WEIGHTS: tuple[Weight, ...] = ("cannot judge", "blocked")
# Cases that are listed under a reason.
_LISTED = 10


@dataclass(frozen=True)
class Reason:
    """Why a release may not go.

    Attributes:
        weight: whether it blocks the release, or leaves it unjudged.
        kind: one word or two for programs: `failed`, `missing suite`.
        text: half a sentence for a release manager.
        details: one line each, such as the cases that failed.
    """

    weight: Weight
    kind: str
    text: str
    details: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The reason for a reader, the first lines of its details below it."""
        details = (f"  {line}" for line in shorten(self.details, _LISTED))
        return [f"{self.weight}: {self.text}", *details]


def importance(reason: Reason) -> tuple[int, int]:
    """What reasons are sorted by, the most important first."""
    place = _ORDER.index(reason.kind) if reason.kind in _ORDER else len(_ORDER)
    return _WEIGHTS.index(reason.weight), place


def blocked(kind: str, text: str, details: Iterable[str] = ()) -> Reason:
    """A reason that blocks the release."""
    return Reason("blocked", kind, text, tuple(details))


def unjudged(kind: str, text: str, details: Iterable[str] = ()) -> Reason:
    """A reason that leaves the release unjudged."""
    return Reason("cannot judge", kind, text, tuple(details))


def counted(count: int) -> str:
    """`1 attention check`, or how many."""
    return plural(count, "attention check")


def left_out(files: int) -> str:
    """`1 file was left out by --lf`, or how many."""
    return f"{plural(files, 'file was left out', 'files were left out')} by --lf"
