"""Reasons against a run that is worse than its baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attnprobe.compare.changes import (
    Change,
    Comparison,
    check_baseline,
    compare_results,
    pair_models,
)
from attnprobe.core.names import Key
from attnprobe.core.wording import format_floor_percent, format_percent_change, plural
from attnprobe.gate.check import Check, place_of
from attnprobe.gate.demands import is_rated
from attnprobe.gate.policy import Policy
from attnprobe.gate.reasons import Reason, blocked
from attnprobe.results.records import Results


def compared_with(baseline: Results, results: Results) -> Comparison:
    """The comparison of a run with the baseline.

    Raises:
        ResultsError: the baseline is incomplete, or the two cannot be compared.
    """
    check_baseline(baseline)
    pairs = {old: new for old, new in pair_models(baseline, results).items() if old != new}
    return compare_results(baseline, results, models=pairs)


def compared_notes(compared: Comparison) -> list[str]:
    """Notes on the baseline: the number of changes of each kind, and the warnings."""
    counts = ", ".join(f"{count} {kind}" for kind, count in compared.counts().items() if count)
    warnings = [f"baseline: {warning}" for warning in compared.warnings]
    return [f"against the baseline: {counts or 'nothing in common'}", *warnings]


def demoted_keys(compared: Comparison, policy: Policy) -> frozenset[Key]:
    """The keys of checks that could block in the baseline and are advisory now.

    They still block, so that nobody can pass the gate by lowering a severity.
    """
    return frozenset(
        change.key
        for change in compared.changes
        if change.old is not None
        and change.new is not None
        and change.old.severity in policy.blocking
        and change.new.severity not in policy.blocking
    )


def regressions(
    compared: Comparison, policy: Policy, blocking: Sequence[Check]
) -> Iterator[Reason]:
    """Reasons for checks that are broken, gone, new or weaker beyond what the policy allows."""
    allowed = policy.regressions
    states = {check.key: check.state for check in blocking}
    places = {check.key: check.where for check in blocking if check.where}
    broken = [change for change in compared.of("broken") if change.key in states]
    if len(broken) > allowed.broken:
        # A failed check of a suite without a pass rate has a reason of its own already.
        more = [
            change
            for change in broken
            if states[change.key] != "failed"
            or (change.new is not None and is_rated(policy, change.new.suite))
        ]
        if more:
            held = "held in the baseline and no longer"
            words = (f"attention check {held} holds", f"attention checks {held} hold")
            yield _worse("broken", broken, allowed.broken, words, places)
    gone = [
        change
        for change in compared.of("gone")
        if change.old is not None and change.old.severity in policy.blocking
    ]
    if len(gone) > allowed.gone:
        words = (
            "attention check of the baseline was not judged",
            "attention checks of the baseline were not judged",
        )
        yield _worse("gone", gone, allowed.gone, words, places)
    new = [
        change for change in compared.of("new") if states.get(change.key, "skipped") != "skipped"
    ]
    if len(new) > allowed.new:
        words = (
            "attention check is missing from the baseline; save it anew",
            "attention checks are missing from the baseline; save it anew",
        )
        yield _worse("new", new, allowed.new, words, places)
    if allowed.weaker is not None:
        fell = [
            change
            for change in compared.changes
            if states.get(change.key) in ("holds", "moved") and change.weaker_than(allowed.weaker)
        ]
        if fell:
            fall = f"fell by more than {format_floor_percent(allowed.weaker)} against the baseline"
            words = (f"attention check {fall}", f"attention checks {fall}")
            yield _worse("weaker", fell, 0, words, places)


def _worse(
    kind: str,
    changes: Sequence[Change],
    most: int,
    words: tuple[str, str],
    places: Mapping[Key, str],
) -> Reason:
    """The reason for too many changes of one kind, with a line for each.

    Args:
        kind: the kind of the reason.
        changes: the changes.
        most: how many the policy allows.
        words: what is said of one check, and of several.
        places: the new places of moved checks, by key.
    """
    text = f"{plural(len(changes), *words)} (allowed: {most})"
    return blocked(kind, text, (_change_line(change, places) for change in changes))


def _change_line(change: Change, places: Mapping[Key, str]) -> str:
    item = change.new or change.old
    if item is None:
        return change.key.place
    by = "" if change.by is None else f", number {format_percent_change(change.by)}"
    was = change.old.outcome if change.old else "missing"
    now = change.new.outcome if change.new else "missing"
    where = f", {places[change.key]}" if change.key in places else ""
    return f"{place_of(item)}: {was}, now {now}{by}{where}"
