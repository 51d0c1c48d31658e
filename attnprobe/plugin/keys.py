"""Where the plugin keeps its things on pytest's objects; imports nothing that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from attnprobe.core.names import Key

if TYPE_CHECKING:
    from attnprobe.cases import Case
    from attnprobe.relations.accuracy import RelationFinding
    from attnprobe.run.runner import Finding


class Judged(NamedTuple):
    """One expectation of a case, judged on one model (by name)."""

    case: Case
    model: str
    finding: Finding


# What was judged in an item so far: a case at once, a Python probe call by call.
judged_key = pytest.StashKey[list[Judged]]()
# What was found of a relation, on its items alone; None until it is measured.
relation_key: pytest.StashKey[RelationFinding | None] = pytest.StashKey()
# Models that cases name but that were not given, and how many cases; for pytest-xdist by name.
absent_key = pytest.StashKey[dict[str, int]]()
ABSENT = "attnprobe_absent"
# Suites whose every case is for a model that was not given; for pytest-xdist by name.
absent_suites_key = pytest.StashKey[list[str]]()
ABSENT_SUITES = "attnprobe_absent_suites"
# Set where the run cannot start because a baseline cannot be read, and nothing else is wrong.
unreadable_key = pytest.StashKey[bool]()
# Probes that were collected, or would have been but for --lf.
seen_key = pytest.StashKey[list[pytest.Item]]()
# The keys of those that -k, -m and the like left out, as plain tuples; for pytest-xdist by name.
deselected_key = pytest.StashKey[list[tuple[str, str, str | None, str]]]()
DESELECTED = "attnprobe_deselected"
# Files that --lf left out unread, by their absolute paths.
left_out_key = pytest.StashKey[list[str]]()
LEFT_OUT = "attnprobe_left_out"
# The cases of all case files that were read, whatever was selected of them.
cases_key = pytest.StashKey[list["Case"]]()
# The items made of each case file, by its path with links resolved, then by the path it was reached
# by; a second path to the same file makes none.
made_key = pytest.StashKey[dict[str, tuple[str, list[str]]]]()
# Case files of which every item was collected, by such paths; for pytest-xdist by name.
collected_key = pytest.StashKey[list[str]]()
COLLECTED = "attnprobe_collected"
# The word pairs that cases relate, as plain data; for pytest-xdist by name.
pairs_key = pytest.StashKey[list[dict[str, Any]]]()
PAIRS = "attnprobe_pairs"
# Outcomes of the expectations of each record that was reported.
outcomes_key = pytest.StashKey[dict[Key, list[str]]]()
# Attribute of a test report that holds plain data; pytest-xdist carries it to the controller.
REPORT = "attnprobe"
