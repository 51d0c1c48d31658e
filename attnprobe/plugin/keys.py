"""Where the plugin keeps its things on pytest's objects; imports nothing that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
# Set where the run cannot start because a baseline cannot be read, and nothing else is wrong.
unreadable_key = pytest.StashKey[bool]()
# Probes that were collected, or would have been but for --lf.
seen_key = pytest.StashKey[list[pytest.Item]]()
# The cases of all case files that were read, whatever was selected of them.
cases_key = pytest.StashKey[list["Case"]]()
# The items made of each case file, by its path with links resolved, then by the path it was reached
# by; a second path to the same file makes none.
made_key = pytest.StashKey[dict[str, tuple[str, list[str]]]]()
# Outcomes of the expectations of each record that was reported.
outcomes_key = pytest.StashKey[dict[Key, list[str]]]()
# Attribute of a test report that holds plain data; pytest-xdist carries it to the controller.
REPORT = "attnprobe"


@dataclass
class Selection:
    """What a run collected and what it left out.

    Each worker of pytest-xdist collects everything and sends this to the controller.

    Attributes:
        absent: models that cases name but that were not given, and how many cases.
        absent_suites: suites whose every case is for such a model.
        deselected: keys of probes that -k, -m and the like left out.
        left_out: files that --lf left out unread, by their absolute paths.
        collected: case files of which every item was collected, by their paths with links resolved.
        pairs: the word pairs that cases relate, as plain data.
    """

    absent: dict[str, int] = field(default_factory=dict)
    absent_suites: list[str] = field(default_factory=list)
    deselected: list[Key] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    collected: list[str] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)

    def as_message(self) -> dict[str, Any]:
        """Plain data, which pytest-xdist can send."""
        return vars(self) | {"deselected": [tuple(key) for key in self.deselected]}

    def take(self, message: Mapping[str, Any]) -> None:
        """Takes over what a worker sent; what a worker has none of stays as it is."""
        for name, value in message.items():
            if value:
                setattr(self, name, [Key(*key) for key in value] if name == "deselected" else value)


_selection_key = pytest.StashKey[Selection]()


def selection_of(config: pytest.Config) -> Selection:
    """What the run collected and left out, as far as it is known in this process."""
    return config.stash.setdefault(_selection_key, Selection())
