"""The house stands on floors: a module imports strictly lower ones, whatever the indentation."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A package is one entry: its modules may import each other as long as no circle closes.
FLOORS = {
    "_version": 0,
    "core": 1,
    "words": 2,
    "render": 2,
    "rules": 3,
    "results": 3,
    "cases": 4,
    "attention": 4,
    "models": 5,
    "relations": 5,
    "run": 6,
    "scan": 6,
    "compare": 7,
    "gate": 8,
    "mutants": 8,
    "plugin": 8,
    "cli": 9,
    "__init__": 9,
}

# Who alone may import a library that is slow to import or that ties the house to one face.
CONFINED = {
    "torch": {"models", "mutants"},
    "transformers": {"models", "mutants"},
    "gguf": {"models"},
    "peft": {"models"},
    "huggingface_hub": {"models", "results"},
    "safetensors": {"models", "mutants"},
    "tokenizers": {"models"},
    "matplotlib": {"render"},
    "pytest": {"plugin"},
    "pytest_html": {"plugin"},
    "_pytest": set(),
}

DRAWERS = {"common", "helpers", "misc", "util", "utils"}


def sources(root: Path) -> dict[str, str]:
    """Dotted module names below the package, `render` for `render/__init__.py`, to their text."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a module imports; a leading dot marks a relative import.

    `from a import b` yields `a.b`: whether `b` is a module is for the caller to say.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                start = "." * level + (module or "")
                yield from ((node.lineno, f"{start}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def resolve(name: str, modules: Mapping[str, str]) -> str | None:
    """The module of the package that a dotted name leads to; None for another library."""
    if name.split(".", maxsplit=1)[0] != "attnprobe":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts) or "__init__"


def violations(modules: Mapping[str, str], floors: Mapping[str, int]) -> list[str]:
    """All that breaks the rules of the house, one line each; empty if nothing does."""
    wrong = []
    circles: dict[str, set[str]] = {name: set() for name in modules}
    for module, source in modules.items():
        unit = module.split(".")[0]
        if unit not in floors:
            wrong.append(f"{module}: has no floor; add it to FLOORS")
            continue
        if DRAWERS & set(module.split(".")):
            wrong.append(f"{module}: name it after what it does")
        for line, name in imports(source):
            where, library = f"{module}:{line}", name.split(".")[0]
            if name.startswith("."):
                wrong.append(f"{where}: relative import; write the full name")
            if unit not in CONFINED.get(library, {unit}):
                wrong.append(f"{where}: {library} may not be imported here")
            target = resolve(name, modules)
            if target is None:
                continue
            below = target.split(".")[0]
            if below == unit:
                circles[module].add(target)
            elif below in floors and floors[below] >= floors[unit]:
                wrong.append(
                    f"{where}: {unit} (floor {floors[unit]}) imports "
                    f"{below} (floor {floors[below]})"
                )
    try:
        graphlib.TopologicalSorter(circles).prepare()
    except graphlib.CycleError as error:
        wrong.append(f"import circle: {' -> '.join(reversed(error.args[1]))}")
    return wrong


def test_the_house_stands() -> None:
    assert violations(sources(ROOT / "attnprobe"), FLOORS) == []


def test_no_floor_is_listed_for_a_module_that_is_gone() -> None:
    units = {name.split(".")[0] for name in sources(ROOT / "attnprobe")}
    assert sorted(set(FLOORS) - units) == []


def canonical(distribution: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(x for k, v in extras.items() if k != "dev" for x in v)]
    declared = {canonical(re.split(r"[^\w.-]", line)[0]) for line in lines}
    providers = packages_distributions()
    used = {
        name.split(".")[0]
        for source in sources(ROOT / "attnprobe").values()
        for _, name in imports(source)
    }
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


@pytest.mark.parametrize("module", ["attnprobe", "attnprobe.plugin"])
def test_importing_it_imports_nothing_heavy(module: str) -> None:
    heavy = {*CONFINED, "numpy", "pydantic", "yaml"} - {"pytest", "_pytest"}
    code = f"import sys, pytest; import {module}; print(*sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert module in process.stdout.split()
    assert sorted(heavy & set(process.stdout.split())) == []
