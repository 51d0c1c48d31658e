"""Reasons why a release may not go: their record, their order and the words that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from attnprobe.core.wording import plural, shorten

Weight = Literal["cannot judge", "blocked"]

# The kinds of reasons, the most important first; a kind that is not listed comes last.
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
# The most details that are printed under a reason.
_MOST_DETAILS = 10


@dataclass(frozen=True)
class Reason:
    """Why a release may not go.

    Attributes:
        weight: `blocked`, or `cannot judge` if the reason leaves the release unjudged.
        kind: one or two words for programs, such as `failed` or `missing suite`.
        text: a clause for a release manager; the sentence of the decision may end with it.
        details: lines such as the cases that failed.
    """

    weight: Weight
    kind: str
    text: str
    details: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The lines to print: the reason, then the first of its details, indented."""
        details = (f"  {line}" for line in shorten(self.details, _MOST_DETAILS))
        return [f"{self.weight}: {self.text}", *details]


def importance(reason: Reason) -> tuple[int, int]:
    """The sort key of reasons: the most important reason sorts first."""
    place = _ORDER.index(reason.kind) if reason.kind in _ORDER else len(_ORDER)
    return _WEIGHTS.index(reason.weight), place


def blocked(kind: str, text: str, details: Iterable[str] = ()) -> Reason:
    """A reason that blocks the release."""
    return Reason("blocked", kind, text, tuple(details))


def unjudged(kind: str, text: str, details: Iterable[str] = ()) -> Reason:
    """A reason that leaves the release unjudged."""
    return Reason("cannot judge", kind, text, tuple(details))


def format_checks(count: int) -> str:
    """A number of checks in words, such as `1 attention check` or `3 attention checks`."""
    return plural(count, "attention check")


def format_left_out(files: int) -> str:
    """The number of files that --lf left out, such as `1 file was left out by --lf`."""
    return f"{plural(files, 'file was left out', 'files were left out')} by --lf"
