"""Tables of what changed between two runs, as HTML: no scripts, everything from users escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnprobe.render.html import piece


@dataclass(frozen=True)
class ChangeRow:
    """One case, or relation, before and now.

    Attributes:
        kind: `broken`, `weaker`, ...
        rule: the rule whose number is told.
        before, now: outcome and deciding number.
        by: relative change of that number towards holding: `−20%`; empty where none can be told.
    """

    kind: str
    case: str
    file: str
    model: str
    rule: str
    before: str
    now: str
    by: str


@dataclass(frozen=True)
class SuiteRow:
    """The paired test of one suite, its numbers written out."""

    suite: str
    model: str
    before: str
    now: str
    change: str
    interval: str
    p: str


_MOST = 200
# More rows than this are folded: a report's own table must not be out of sight.
_FEW = 12


def changes_section(
    title: str,
    *,
    summary: str,
    rows: Sequence[ChangeRow],
    suites: Sequence[SuiteRow],
    notes: Sequence[str] = (),
) -> Markup:
    """A section with what changed, the suites, and notes.

    Args:
        summary: one line on top.
        rows: what matters most first; those after the first 200 are counted only.
    """
    return piece(
        "changes",
        title,
        summary=summary,
        rows=rows[:_MOST],
        more=max(0, len(rows) - _MOST),
        fold=f"{len(rows)} changed cases" if len(rows) > _FEW else "",
        suites=suites,
        notes=notes,
    )
