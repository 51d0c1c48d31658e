"""Whether position alone does as well as the heads of the run's suites, once it is over.

Like the plugin itself, it is imported by every pytest run in the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from attnprobe.core.names import Key
from attnprobe.plugin import options
from attnprobe.plugin.keys import REPORT, outcomes_key, selection_of

if TYPE_CHECKING:
    from attnprobe.run.order import Habit


class OrderControl:
    """Keeps the outcomes that reports bring, those of workers too."""

    def __init__(self, config: pytest.Config) -> None:
        self._outcomes = config.stash.setdefault(outcomes_key, {})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        facts = getattr(report, REPORT, None)
        if facts:
            case = facts["case"]
            self._outcomes[Key.of(case)] = [entry["outcome"] for entry in case["expectations"]]


def habits_of(config: pytest.Config) -> tuple[Habit, ...]:
    """The rules of position that do as well as the heads of the suites of a run."""
    stated = selection_of(config).pairs
    if not stated:
        return ()
    from attnprobe.run.order import StatedPair, habits

    pairs = [StatedPair(**pair) for pair in stated]
    outcomes = config.stash.get(outcomes_key, {})
    return habits(pairs, outcomes, options.settings(config).default_models)
