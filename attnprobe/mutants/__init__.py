"""The kill table: what a suite says to damaged and to harmless variants of its model."""

from __future__ import annotations

from attnprobe.mutants.trial import (
    CaseOutcome,
    Trial,
    judge_all,
    pinned_heads,
    plan,
    read_otherwise,
    trials,
    try_mutation,
)

__all__ = [
    "CaseOutcome",
    "Trial",
    "judge_all",
    "pinned_heads",
    "plan",
    "read_otherwise",
    "trials",
    "try_mutation",
]
