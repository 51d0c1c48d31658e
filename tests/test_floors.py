"""The house stands on floors: a room imports strictly lower ones, whatever the indentation."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.house import (
    CONFINED,
    FLOORS,
    PACKAGE,
    ROOT,
    arrows,
    code_lines,
    figures,
    figures_on_page,
    imports,
    room_of,
    sources,
    violations,
)


def test_the_house_stands() -> None:
    assert violations(sources(), FLOORS) == []


def test_no_floor_is_listed_for_a_module_that_is_gone() -> None:
    assert sorted(set(FLOORS) - {room_of(module) for module in sources()}) == []


def test_the_architecture_page_has_the_figures_of_the_code() -> None:
    assert figures_on_page() == figures(sources(), FLOORS), "make figures writes them"


def test_only_the_faces_of_packages_say_what_they_export() -> None:
    # In other modules the list would hide names that nobody uses from the linter.
    leaves = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert [path for path in leaves if "__all__" in path.read_text(encoding="utf-8")] == []


def test_a_new_arrow_a_new_room_and_more_code_change_the_figures() -> None:
    floors = {"low": 0, "high": 1, "__init__": 2}
    house = {"__init__": "", "low": "import re", "high": "import re"}
    before = figures(house, floors)
    assert "| 1 | `high` | 0 |  |" in before
    assert "3 rooms on 3 floors, 0 arrows" in before
    with_arrow = figures(house | {"high": "def f():\n    import attnprobe.low"}, floors)
    assert "| 1 | `high` | 0 | low |" in with_arrow
    assert "3 rooms on 3 floors, 1 arrows" in with_arrow
    assert "4 rooms on 3 floors" in figures(house | {"new": ""}, {**floors, "new": 1})
    assert "| 0 | `low` | 100 |" in figures(house | {"low": "x = 1\n" * 80}, floors)


def test_only_code_counts_as_code() -> None:
    source = '''"""What it is.

Over two lines.
"""

import re  # for f


def f() -> str:
    """What it does."""
    # Why.
    return """
    text
    """
'''
    assert code_lines(source) == 5


def test_arrows_lead_from_room_to_room() -> None:
    house = {"a": "", "a.b": "from attnprobe.a import c\nimport attnprobe.low", "low": ""}
    assert arrows(house) == {"a": {"low"}, "low": set()}


def canonical(distribution: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(x for k, v in extras.items() if k != "dev" for x in v)]
    declared = {canonical(re.split(r"[^\w.-]", line)[0]) for line in lines}
    providers = packages_distributions()
    used = {room_of(name) for source in sources().values() for _, name in imports(source)}
    foreign = used - sys.stdlib_module_names - {"attnprobe"}
    undeclared = {
        library
        for library in foreign
        if declared.isdisjoint(map(canonical, providers.get(library, [library])))
    }
    assert undeclared == set()


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("low", "import attnprobe.high", "low:1: low (floor 0) imports high (floor 1)"),
        ("low", "from attnprobe import high", "low (floor 0) imports high (floor 1)"),
        ("low", "from attnprobe.high import x", "low (floor 0) imports high (floor 1)"),
        ("low", "def f():\n    if 1:\n        import attnprobe.high", "low:3: low (floor 0)"),
        ("low", "from attnprobe.level import x", "low (floor 0) imports level (floor 0)"),
        ("low", "from attnprobe import load", "low (floor 0) imports __init__ (floor 2)"),
        ("low", "import_module('attnprobe.high.part')", "low (floor 0) imports high (floor 1)"),
        ("low", "importlib.import_module('torch')", "low:1: torch may not be imported here"),
        ("low", "from . import level", "low:1: relative import"),
        ("low", "def f():\n    from torch import nn", "low:2: torch may not be imported here"),
        ("low", "import transformers.utils", "low:1: transformers may not be imported here"),
        ("low", "import matplotlib.pyplot as plt", "low:1: matplotlib may not be imported here"),
        ("low", "from pytest import Item", "low:1: pytest may not be imported here"),
        ("low", "from _pytest.nodes import Item", "low:1: _pytest may not be imported here"),
        ("new", "", "new: has no floor"),
        ("high.utils", "", "high.utils: name it after what it does"),
        ("high.part", "from attnprobe.high import x", "import circle: high"),
    ],
)
def test_the_check_finds(module: str, source: str, complaint: str) -> None:
    house = {
        "__init__": "",
        "low": "import re\nimport numpy as np",
        "level": "",
        "high": "from attnprobe.high.part import x",
        "high.part": "from attnprobe.low import x",
    }
    floors = {"low": 0, "level": 0, "high": 1, "__init__": 2}
    assert violations(house, floors) == []
    wrong = violations(house | {module: source}, floors)
    assert len(wrong) == 1
    assert complaint in wrong[0]


def test_libraries_are_allowed_where_they_live() -> None:
    for library, homes in CONFINED.items():
        for home in homes:
            assert violations({home: f"import {library}"}, FLOORS) == []


@pytest.mark.parametrize("module", ["attnprobe", "attnprobe.plugin", "attnprobe.cli"])
def test_importing_it_imports_nothing_heavy(module: str) -> None:
    heavy = {*CONFINED, "numpy", "pydantic", "yaml"} - {"pytest", "_pytest"}
    code = f"import sys, pytest; import {module}; print(*sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert module in process.stdout.split()
    assert sorted(heavy & set(process.stdout.split())) == []
