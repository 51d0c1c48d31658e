"""What is worth knowing besides the verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from attnprobe.compare import Key
from attnprobe.gate.check import Check, key_of
from attnprobe.gate.policy import Policy
from attnprobe.gate.reasons import counted

__all__ = ["notes_on"]


def notes_on(
    checks: Sequence[Check],
    waived: Sequence[Check],
    kept: Sequence[Check],
    policy: Policy,
    demoted: Collection[Key],
) -> Iterator[str]:
    """What became of checks that do not count against the release.

    Args:
        checks: all of the run; `waived` and `kept` are its two parts.
        demoted: checks that are judged as the baseline had them.
    """
    for check in checks:
        if check.state == "moved":
            yield f"moved: {check.line}"
    for check in waived:
        state = "holds, the waiver is no longer needed" if check.state == "holds" else check.why
        yield f"waived: {check.item.file}::{check.item.name} on {check.item.model}: {state}"
    for check in kept:
        if key_of(check.item) in demoted:
            yield f"judged as blocking, as in the baseline: {check.line}"
        elif check.item.severity not in policy.blocking and check.state in (
            "failed",
            "error",
            "vacuous",
            "borderline",
        ):
            yield f"advisory: {check.line}"
    for state, one, several in (
        ("skipped", "was skipped", "were skipped"),
        ("known gap", "is a known gap", "are known gaps"),
        ("unstated", "states nothing by a rule that holds", "state nothing by a rule that holds"),
    ):
        count = sum(check.state == state for check in kept)
        if count:
            yield f"{counted(count)} {one if count == 1 else several}"
