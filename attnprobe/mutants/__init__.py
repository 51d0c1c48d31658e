"""Tests of a suite on damaged and on harmless variants of its model: the kill table."""

from __future__ import annotations

from attnprobe.mutants.trial import (
    Trial,
    judge_all,
    largest_change,
    pinned_heads,
    plan,
    read_otherwise,
    trials,
    try_mutation,
)

__all__ = [
    "Trial",
    "judge_all",
    "largest_change",
    "pinned_heads",
    "plan",
    "read_otherwise",
    "trials",
    "try_mutation",
]
