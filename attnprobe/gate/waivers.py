"""Waivers: decides which checks may fail for now, and gives the reasons against bad waivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from attnprobe.core.registry import did_you_mean
from attnprobe.core.wording import plural
from attnprobe.gate.check import Check
from attnprobe.gate.policy import Policy, Waiver
from attnprobe.gate.reasons import Reason, blocked, unjudged
from attnprobe.results.records import Results

# The longest time from today that a waiver may run.
_LONGEST = timedelta(days=366)


def is_waived(check: Check, waivers: Sequence[Waiver], today: date) -> bool:
    """Whether a valid waiver covers a check; no waiver excuses a check that was not measured."""
    item = check.item
    return check.state in ("holds", "failed", "vacuous", "borderline") and any(
        waiver.expires >= today and waiver.covers(item.address, item.model) for waiver in waivers
    )


def waiver_reasons(results: Results, policy: Policy, today: date) -> Iterator[Reason]:
    """Reasons for waivers that match no check, run too long or have expired."""
    known = sorted({item.address for item in results.items})
    unknown = [
        f"{waiver.case} ({waiver.owner}): {did_you_mean(waiver.case, known)}"
        for waiver in policy.waivers
        if not any(waiver.covers(item.address, item.model) for item in results.items)
    ]
    if unknown:
        text = plural(len(unknown), "waiver is", "waivers are")
        yield blocked("waiver unknown", f"{text} for no check of this run", unknown)
    endless = [
        f"{waiver.case} ({waiver.owner}): until {waiver.expires}"
        for waiver in policy.waivers
        if waiver.expires > today + _LONGEST
    ]
    if endless:
        text = plural(len(endless), "waiver runs", "waivers run")
        yield unjudged("waiver", f"{text} longer than {_LONGEST.days} days from today", endless)
    expired = [
        f"{waiver.case}: expired on {waiver.expires}, {waiver.owner}: {waiver.reason}"
        for waiver in policy.waivers
        if waiver.expires < today
    ]
    if expired:
        text = plural(len(expired), "waiver has", "waivers have")
        yield blocked("waiver expired", f"{text} expired", expired)
