"""Comparisons in words, for the terminal, the report and the page alike."""

from __future__ import annotations

from collections.abc import Iterator

from attnprobe.compare.changes import KINDS, Change, Comparison, Move, Step, SuiteTest
from attnprobe.core.wording import format_change, format_p, format_percent_change, plural, shorten
from attnprobe.render.web.changes import ChangeRow, SuiteRow
from attnprobe.results.records import ExpectationResult
from attnprobe.results.summary import Table

_MOST_LINES = 40
_NOT_HELD = ("failed", "xfailed", "error")


def main_move(change: Change) -> Move | None:
    """The expectation that explains a change: one with another outcome, else the furthest move."""
    if not change.moves:
        return None
    by_amount = [
        move
        for move in change.moves
        if move.deciding.by is not None and move.deciding.by == change.by
    ]
    turned = [move for move in change.moves if move.old.outcome != move.new.outcome]
    return (turned or by_amount or list(change.moves))[0]


def counts_line(comparison: Comparison) -> str:
    """The number of changes of each kind: `1 broken, 2 weaker, 12 kept`."""
    counts = comparison.counts()
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]) or "no cases"


def sentence(comparison: Comparison) -> str:
    """A summary for a release: `2 of 61 checks that held before no longer hold, 1 is gone.`"""
    gone, lost, weaker = (comparison.of(kind) for kind in ("gone", "broken", "weaker"))
    gaps = [change for change in lost if change.old and change.old.state == "gap"]
    broken = [change for change in lost if change not in gaps]
    held = [
        change
        for change in comparison.changes
        if change.kind != "gone" and change.old and change.old.outcome in ("passed", "xpassed")
    ]
    checks = plural(len(held), "check")
    if not held:
        parts = ["No check held before"]
    elif broken:
        verb = "holds" if len(broken) == 1 else "hold"
        parts = [f"{len(broken)} of {checks} that held before no longer {verb}"]
    elif len(held) == 1:
        parts = ["The one check that held before still holds"]
    else:
        parts = [f"All {checks} that held before still hold"]
    for count, kind in ((len(gone), "gone"), (len(weaker), "weaker")):
        if count:
            parts.append(f"{plural(count, 'is', 'are')} {kind}")
    if gaps:
        parts.append(f"{plural(len(gaps), 'known gap')} could not be measured")
    return f"{', '.join(parts)}."


def change_rows(comparison: Comparison) -> list[ChangeRow]:
    """The table rows of all changes but `kept`, in the order of KINDS."""
    changed = [change for change in comparison.changes if change.kind != "kept"]
    return [
        change_row(change) for change in sorted(changed, key=lambda item: KINDS.index(item.kind))
    ]


def change_row(change: Change) -> ChangeRow:
    """The table row of a change."""
    move = main_move(change)
    before: str = change.old.outcome if change.old else "not there"
    now: str = change.new.outcome if change.new else "not there"
    rule = "" if move is None else move.new.rule
    if change.kind == "gone" and change.lost:
        first, *others = change.lost
        more = f", nor are {len(others)} more" if len(others) > 1 else ", nor is 1 more"
        move, rule = None, first.rule
        before = _describe_outcome(before, first)
        now = f"{now}, of these words no longer stated{more if others else ''}"
    elif move is not None:
        before = _describe_outcome(before, move.old)
        now = _describe_outcome(now, move.new)
    return ChangeRow(
        kind=change.kind,
        case=change.name,
        file=change.key.file,
        model=change.key.model,
        rule=rule,
        before=before,
        now=now,
        by="" if move is None else _relative_change(move.deciding),
    )


def _relative_change(step: Step) -> str:
    """The change of an attention weight in per cent of its old value; empty for other numbers."""
    if step.old is None or step.old.unit != "weight" or step.by is None:
        return ""
    return format_percent_change(step.by)


def suite_rows(comparison: Comparison) -> list[SuiteRow]:
    """The table rows of all suites."""
    return [_suite_row(suite) for suite in comparison.suites]


def summary_tables(comparison: Comparison) -> list[Table]:
    """The suites and the changed checks, as tables of a summary."""
    suites = [
        (suite.suite, suite.model, suite.before, suite.now, suite.change, suite.interval, suite.p)
        for suite in suite_rows(comparison)
    ]
    changed = [
        (row.kind, row.case, row.file, row.model, row.rule, row.before, row.now, row.by)
        for row in change_rows(comparison)
    ]
    return [
        Table(
            "suite",
            ("suite", "model", "held before", "hold now", "change", "95 %", "p"),
            [[row] for row in suites],
            frozenset({"suite", "model"}),
            1 / 4,
        ),
        Table(
            "change",
            ("kind", "check", "file", "model", "rule", "before", "now", "change"),
            [[row] for row in changed],
            frozenset({"check", "file", "model", "rule", "before", "now"}),
            3 / 8,
        ),
    ]


def lines(comparison: Comparison) -> Iterator[str]:
    """The comparison as lines of text."""
    yield counts_line(comparison)
    yield from shorten([_change_line(row) for row in change_rows(comparison)], _MOST_LINES)
    for suite in suite_rows(comparison):
        yield (
            f"suite {suite.suite} on {suite.model}: {suite.before} → {suite.now} passed, change "
            f"{suite.change} (95 % {suite.interval}), p = {suite.p}"
            f"{f', weights moved by {suite.drift}' if suite.drift else ''}"
        )
    for warning in comparison.warnings:
        yield f"note: {warning}"


def _change_line(row: ChangeRow) -> str:
    rule = f"{row.rule}: " if row.rule else ""
    by = f" ({row.by})" if row.by else ""
    return (
        f"{row.kind:<8} {row.file}: {row.case} on {row.model}: {rule}{row.before} → {row.now}{by}"
    )


def _suite_row(suite: SuiteTest) -> SuiteRow:
    return SuiteRow(
        suite=suite.suite,
        model=suite.model,
        before=f"{suite.old_passed} of {suite.n}",
        now=f"{suite.new_passed} of {suite.n}",
        change=format_change(suite.change),
        interval=f"{format_change(suite.low)} to {format_change(suite.high)}",
        p=format_p(suite.p),
        drift=_drift(suite),
    )


def _drift(suite: SuiteTest) -> str:
    """How far the suite's weights have moved: `0.004 on average, 0.021 at most`."""
    if suite.mean_drift is None or suite.largest_drift is None:
        return ""
    return f"{suite.mean_drift:.3f} on average, {suite.largest_drift:.3f} at most"


def _describe_outcome(outcome: str, expectation: ExpectationResult) -> str:
    """The outcome of a case, and the deciding number of one of its expectations."""
    bound = expectation.deciding
    if bound is None:
        return outcome
    head = f" by {expectation.head}" if expectation.head else ""
    note = ""
    if expectation.outcome in ("borderline", "vacuous"):
        note = f" ({' and '.join(expectation.doubts)})"
    elif expectation.outcome == "passed" and outcome in _NOT_HELD:
        note = " (holds)"  # another expectation made the case fail
    return f"{outcome}, {bound.number}{head}{note}"
