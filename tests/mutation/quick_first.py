"""A plugin of the runs of mutmut: quick tests run first, since one that fails is enough.

mutmut hands over the tests that reach a change in no order. A model is loaded by the first test
that needs it, in each run anew, so those come last.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

MODELS = {"minilm", "smollm2", "translator", "_tiny_model"}
STATS = Path("mutmut-stats.json")  # in the folder `mutants`, where mutmut runs the tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests by what they took when mutmut ran them all."""
    if not STATS.is_file():
        return
    took: dict[str, float] = json.loads(STATS.read_text("utf-8"))["duration_by_test"]

    def cost(item: pytest.Item) -> tuple[bool, float]:
        return not MODELS.isdisjoint(getattr(item, "fixturenames", ())), took.get(item.nodeid, 0)

    items.sort(key=cost)
