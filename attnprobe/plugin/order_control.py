"""The order control: finds suites that a rule of position alone would pass as well as the heads.

For example, any head that takes the first noun wins a suite whose subject always comes first.
Every pytest run imports this module, so it imports nothing slow.
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
    """Stores the outcomes of all reports, including those from workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._outcomes = config.stash.setdefault(outcomes_key, {})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        facts = getattr(report, REPORT, None)
        if facts:
            case = facts["case"]
            self._outcomes[Key.of(case)] = [entry["outcome"] for entry in case["expectations"]]


def habits_of(config: pytest.Config) -> tuple[Habit, ...]:
    """The rules of position that do as well as the heads in suites of the run; empty for none."""
    stated = selection_of(config).pairs
    if not stated or not options.settings(config).part.whole:
        return ()  # of a part, not all outcomes are known
    from attnprobe.run.order import StatedPair, habits

    pairs = [StatedPair(**pair) for pair in stated]
    outcomes = config.stash.get(outcomes_key, {})
    return habits(pairs, outcomes, options.settings(config).default_models)
