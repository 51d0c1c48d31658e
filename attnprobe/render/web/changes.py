"""HTML tables of the changes between two runs: no scripts, all text from users escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnprobe.render.web.html import piece


@dataclass(frozen=True)
class ChangeRow:
    """One case, or relation, before and now.

    Attributes:
        kind: the kind of the change: `broken`, `weaker`, ...
        rule: the rule whose number the row shows.
        before, now: outcome and deciding number.
        by: relative change of that number towards holding: `−20%`; empty if it is not known.
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
    """The paired test of one suite, with formatted numbers.

    Attributes:
        drift: how far its weights have moved; empty where none are compared.
    """

    suite: str
    model: str
    before: str
    now: str
    change: str
    interval: str
    p: str
    drift: str


_MOST_ROWS = 200
# More rows than this are folded, so that the report's own table stays in sight.
_MOST_UNFOLDED = 12


def changes_section(
    title: str,
    *,
    summary: str,
    rows: Sequence[ChangeRow],
    suites: Sequence[SuiteRow],
    notes: Sequence[str] = (),
) -> Markup:
    """A section of a report with the changes, the suites, and notes.

    Args:
        summary: a line above the tables.
        rows: the most important first; the section only counts rows after the first 200.
    """
    return piece(
        "changes",
        title,
        summary=summary,
        rows=rows[:_MOST_ROWS],
        more=max(0, len(rows) - _MOST_ROWS),
        fold=f"{len(rows)} changed cases" if len(rows) > _MOST_UNFOLDED else "",
        suites=suites,
        notes=notes,
    )
