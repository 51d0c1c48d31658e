"""Histories in words, for the terminal and the page alike."""

from __future__ import annotations

from attnprobe.compare.history import CheckLine, History, Shift, Stretch, SuiteLine
from attnprobe.core.stats import wilson
from attnprobe.core.wording import (
    format_change,
    format_p,
    format_percent,
    join_names,
    plural,
)
from attnprobe.render.web.history_page import (
    CheckRow,
    Curve,
    RunRow,
    SuiteCurves,
    history_page,
)
from attnprobe.render.web.overview import SuiteCount

# With fewer checks no p value of a test reaches 0.05.
_FEWEST = 6
_MOST_NAMES = 3
_MOST_EVENTS = 4


def sentence(history: History) -> str:
    """What changed, counted: `5 runs, step 0 to step 24: 3 of 5 checks change; …`."""
    changed = sum(bool(check.events) for check in history.checks)
    parts = [
        f"{changed} of {plural(len(history.checks), 'check')} "
        f"{'changes' if changed == 1 else 'change'}"
    ]
    shifted = {(shift.suite, shift.model): shift for shift in history.shifts}
    if shifted:
        parts.append(f"{plural(len(shifted), 'suite')} rose or fell beyond chance")
    moved = sum(bool(check.heads) for check in history.checks)
    if moved:
        parts.append(f"{plural(moved, 'check passes', 'checks pass')} by other heads than before")
    first, *_, last = history.runs
    return f"{len(history.runs)} runs, {first} to {last}: {', '.join(parts)}."


def run_row(run: str, count: SuiteCount) -> RunRow:
    """The table row of a suite in a run."""
    return RunRow(
        run=run,
        hold=count.hold,
        rate="" if count.pass_rate is None else format_percent(count.pass_rate),
        interval=count.interval,
        slack="" if count.mean_slack is None else format_change(count.mean_slack),
        vacuous=str(count.vacuous),
    )


def describe_shift(history: History, shift: Shift) -> str:
    """A suite that rose or fell: `suite a on b rose between step 0 and step 4: …`."""
    return f"suite {shift.suite} on {shift.model} {_describe_shift(history, shift)}"


def _describe_shift(history: History, shift: Shift) -> str:
    old, new = history.runs[shift.old], history.runs[shift.new]
    return (
        f"{'rose' if shift.rose else 'fell'} between {old} and {new}: {shift.old_held} → "
        f"{shift.new_held} of {plural(shift.n, 'check')} hold (exact McNemar test, p = "
        f"{format_p(shift.p)}, adjusted {format_p(shift.adjusted_p)})"
    )


def describe_events(check: CheckLine) -> str:
    """When a check changes: `appears at step 20, breaks at step 60`; of many events the last."""
    events = [f"{event.word} at {event.run}" for event in check.events]
    if len(events) > _MOST_EVENTS:
        return f"changes {len(events)} times, and at last {events[-1]}"
    return ", ".join(events)


def describe_heads(check: CheckLine) -> str:
    """By which heads a check passes: `L3H1 (step 0 to step 20), then L2H0 (step 40)`."""
    return ", then ".join(
        f"{' and '.join(stretch.heads)} ({_format_runs(stretch)})" for stretch in check.heads
    )


def _format_runs(stretch: Stretch) -> str:
    once = stretch.first == stretch.last
    return stretch.first if once else f"{stretch.first} to {stretch.last}"


def change_lines(history: History) -> list[str]:
    """One line for each suite, check and head set that changed, in this order."""
    return [
        *(describe_shift(history, shift) for shift in history.shifts),
        *(
            f"{check.key.place} {describe_events(check)}"
            for check in history.checks
            if check.events
        ),
        *(
            f"{check.key.place} passes by {describe_heads(check)}"
            for check in history.checks
            if check.heads
        ),
    ]


def notes(history: History) -> list[str]:
    """What was not compared, and why."""
    found = [
        f"in {run}, {plural(count, 'check states', 'checks state')} something else than before, "
        "and nothing of them is compared with earlier runs"
        for run, count in zip(history.runs, history.restated, strict=True)
        if count
    ]
    few = [
        f"{line.suite} on {line.model}"
        for line in history.suites
        if max(count.judged + count.gaps for count in line.counts if count) < _FEWEST
    ]
    if few:
        found.append(
            f"fewer than {_FEWEST} checks cannot rise or fall beyond chance: "
            f"{join_names(few, _MOST_NAMES)}"
        )
    return found


def history_html(history: History) -> str:
    """The history as an HTML page that fetches nothing and needs no script."""
    return history_page(
        sentence(history),
        runs=history.runs,
        suites=[_curves(history, line) for line in history.suites],
        checks=[_check_row(check) for check in history.checks if check.events or check.heads],
        notes=notes(history),
    )


def _curves(history: History, line: SuiteLine) -> SuiteCurves:
    rows = [
        None if count is None else run_row(run, count)
        for run, count in zip(history.runs, line.counts, strict=True)
    ]
    slacks = [None if count is None else count.mean_slack for count in line.counts]
    return SuiteCurves(
        suite=line.suite,
        model=line.model,
        shifts=tuple(
            _describe_shift(history, shift)
            for shift in history.shifts
            if (shift.suite, shift.model) == (line.suite, line.model)
        ),
        rate=Curve(
            "pass rate",
            tuple(None if count is None else count.pass_rate for count in line.counts),
            tuple(
                "" if row is None else f"{row.hold} hold, {row.rate} (95 % {row.interval})"
                for row in rows
            ),
            band=tuple(
                wilson(count.held, count.judged) if count is not None and count.judged else None
                for count in line.counts
            ),
            span=(0.0, 1.0),
            ends=("0 %", "100 %"),
        ),
        slack=Curve(
            "mean slack of weights", tuple(slacks), tuple(row.slack if row else "" for row in rows)
        ),
        rows=tuple(row for row in rows if row is not None),
    )


def _check_row(check: CheckLine) -> CheckRow:
    return CheckRow(
        check=check.key.name,
        file=check.key.file,
        model=check.key.model,
        suite=check.suite,
        statuses=check.statuses,
        events=describe_events(check),
        heads=describe_heads(check),
    )
