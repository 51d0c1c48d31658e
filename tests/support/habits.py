"""Habits of position in made-up outcomes of a suite."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attnprobe.cases import Case
from attnprobe.run.order import Habit, habits, stated_pairs


def judged(
    cases: Sequence[Case], failed: Collection[int] = (), models: Sequence[str] = ("m",)
) -> tuple[Habit, ...]:
    """The habits where all expectations hold but those of the cases of these numbers."""
    outcomes = {
        (case.mark.file, case.id, case.row, model): [
            "failed" if number in failed else "passed" for _ in case.expectations
        ]
        for number, case in enumerate(cases)
        for model in ([case.model] if case.model else models)
    }
    return habits(stated_pairs(cases), outcomes, models)
