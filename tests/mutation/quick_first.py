"""A plugin of the runs of mutmut, which makes them quick.

mutmut hands over the tests that reach a change, the quick ones first, since one that fails is
enough. But it does not count what sets a test up. The first test that needs a model loads it, in
each run anew, so those come last.

Before it tries changes, mutmut runs their tests on the code as it is. Once is enough.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

MODELS = {"minilm", "smollm2", "translator", "_tiny_model"}
STATS = Path("mutmut-stats.json")  # in the folder `mutants`, where mutmut runs the tests
# Set for a run whose tests have passed on the code as it is.
PASSED = "ATTNPROBE_TESTS_PASSED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests by what they took when mutmut ran them all."""
    if not STATS.is_file():
        return
    took: dict[str, float] = json.loads(STATS.read_text("utf-8"))["duration_by_test"]

    def cost(item: pytest.Item) -> tuple[bool, float]:
        return not MODELS.isdisjoint(getattr(item, "fixturenames", ())), took.get(item.nodeid, 0)

    items.sort(key=cost)
    is_unchanged = os.environ.get("MUTANT_UNDER_TEST") == ""
    if is_unchanged and PASSED in os.environ:
        del items[1:]
