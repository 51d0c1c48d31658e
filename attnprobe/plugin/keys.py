"""The stash keys and attributes under which the plugin stores data on pytest's objects.

Every pytest run imports this module, so it imports nothing slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe.core.names import Key

if TYPE_CHECKING:
    from attnprobe.cases import Case
    from attnprobe.relations.accuracy import RelationFinding
    from attnprobe.run.judging import Judged


# The judged expectations of an item: of a case all at once, of a Python probe one more each call.
judged_key: pytest.StashKey[list[Judged]] = pytest.StashKey()
# How many of them the fixtures of a probe judged, before the test itself.
judged_in_setup_key = pytest.StashKey[int]()
# The finding of a relation, on relation items only; None until it is measured.
relation_key: pytest.StashKey[RelationFinding | None] = pytest.StashKey()
# Set if the run cannot start only because a baseline cannot be read.
unreadable_key = pytest.StashKey[bool]()
# Probes that were collected, and those that --lf alone kept from being collected.
seen_key = pytest.StashKey[list[pytest.Item]]()
# The cases of all case files that were read, selected or not.
cases_key = pytest.StashKey[list["Case"]]()
# The text files that their haystacks are read from, links resolved.
texts_key = pytest.StashKey[set[Path]]()
# For each case file, by its path with links resolved: the path that it was first reached by, and
# the node ids of its items. A second path to the same file yields no items.
made_key = pytest.StashKey[dict[str, tuple[str, list[str]]]]()
# The items of all parts of a run, in their order.
planned_key = pytest.StashKey[list[pytest.Item]]()
# Outcomes of the expectations of each record that was reported.
outcomes_key = pytest.StashKey[dict[Key, list[str]]]()
# The attribute of a test report with plain data, which pytest-xdist sends to the controller.
REPORT = "attnprobe"


@dataclass(repr=False)
class Selection:
    """What a run collected and what it left out.

    Each worker of pytest-xdist collects everything and sends its selection to the controller.

    Attributes:
        absent: the number of cases for each model that cases name but that the run lacks.
        absent_suites: suites that have cases for such models only.
        deselected: keys of probes that -k, -m and similar options left out.
        left_out: absolute paths of files that --lf left out unread.
        collected: paths, links resolved, of case files whose every item was collected.
        pairs: the word pairs that cases relate, as plain data.
        planned: the number of probes of all parts of a run; 0 without parts.
        planned_sha256: hash of these probes, in their order; empty without parts.
        files: hashes of their files, of the texts of haystacks and of the lock file, by path;
            empty without parts.
    """

    absent: dict[str, int] = field(default_factory=dict)
    absent_suites: list[str] = field(default_factory=list)
    deselected: list[Key] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    collected: list[str] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    planned: int = 0
    planned_sha256: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def as_message(self) -> dict[str, Any]:
        """The selection as plain data, which pytest-xdist can send."""
        return vars(self) | {"deselected": [tuple(key) for key in self.deselected]}

    def take(self, message: Mapping[str, Any]) -> None:
        """Takes over the non-empty fields of a worker's message."""
        for name, value in message.items():
            if value:
                setattr(self, name, [Key(*key) for key in value] if name == "deselected" else value)


_selection_key = pytest.StashKey[Selection]()


def selection_of(config: pytest.Config) -> Selection:
    """The selection of the run, as far as this process knows it."""
    return config.stash.setdefault(_selection_key, Selection())


def planned_items(session: pytest.Session) -> list[pytest.Item]:
    """The items of all parts of a run, in their order: what the numbers of a part depend on."""
    return session.config.stash.get(planned_key, session.items)
