"""Waivers: which checks may fail for now, and what is wrong with a waiver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from attnprobe.core.registry import did_you_mean
from attnprobe.core.wording import plural
from attnprobe.gate.check import Check
from attnprobe.gate.policy import Policy, Waiver
from attnprobe.gate.reasons import Reason, blocked, unjudged
from attnprobe.results.records import Results

# No waiver may run longer than this.
_LONGEST = timedelta(days=366)


def is_waived(check: Check, waivers: Sequence[Waiver], today: date) -> bool:
    """Whether a check may fail for now; what was not measured has not failed."""
    item = check.item
    return check.state in ("holds", "failed", "vacuous", "borderline") and any(
        waiver.expires >= today and waiver.covers(item.address, item.model) for waiver in waivers
    )


def waiver_reasons(results: Results, policy: Policy, today: date) -> Iterator[Reason]:
    """Waivers that are for no check, that run too long, or that have expired."""
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
