"""Tables of what changed between two runs, as HTML: no scripts, everything from users escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnprobe.render.section import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    badge,
    grid,
    line,
    section,
)
from attnprobe.render.text import visible

__all__ = ["ChangeRow", "SuiteRow", "changes_section"]

# The colour of each kind of change.
_COLOURS = {
    "broken": RED,
    "gone": PURPLE,
    "weaker": AMBER,
    "fixed": GREEN,
    "stronger": BLUE,
    "new": GREY,
    "kept": GREY,
}


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
_FOLDED = Markup(
    '<details><summary style="cursor:pointer;color:#59636e">{} changed cases</summary>{}</details>'
)
_CASE = Markup('{}<br><span style="color:#59636e">{}</span>')


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
    parts = [line(summary)]
    if rows:
        parts.append(_changes(rows))
    if suites:
        columns = ("suite", "model", "passed before", "passed now", "change", "95 %", "p")
        parts.append(
            grid(
                columns,
                (
                    (one.suite, one.model, one.before, one.now, one.change, one.interval, one.p)
                    for one in suites
                ),
            )
        )
    return section(title, [*parts, *(line(note, AMBER) for note in notes)])


def _changes(rows: Sequence[ChangeRow]) -> Markup:
    table = grid(
        ("", "case", "model", "rule", "before", "now", "change"),
        (
            (
                badge(row.kind, _COLOURS[row.kind]),
                _CASE.format(visible(row.case), visible(row.file)),
                *(row.model, row.rule, row.before, row.now, row.by),
            )
            for row in rows[:_MOST]
        ),
    )
    if len(rows) > _MOST:
        table += line(f"and {len(rows) - _MOST} more")
    return _FOLDED.format(len(rows), table) if len(rows) > _FEW else table
