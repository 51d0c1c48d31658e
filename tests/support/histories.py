"""Histories made up by hand: a line of signs for each check, such as `-++`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attnprobe.compare.history import History, history_of
from attnprobe.results.records import Results
from tests.support.compared_results import ERR, FAIL, GAP, HOLD, SKIP, run

SIGNS = {"+": HOLD, "-": FAIL, "x": GAP, "!": ERR, "s": SKIP, " ": None}


def runs_of(*lines: str, suites: Sequence[str] = ()) -> list[tuple[str, Results]]:
    """Runs from one line a check, such as `-++` for a check that appears in the second run."""
    found = []
    for at in range(len(lines[0])):
        items = [
            replace(item, id=f"c{number}", suite=suites[number] if suites else "s")
            for number, line in enumerate(lines)
            if (item := SIGNS[line[at]]) is not None
        ]
        found.append((f"r{at}", run(*items)))
    return found


def history(*lines: str, suites: Sequence[str] = ()) -> History:
    return history_of(runs_of(*lines, suites=suites))
