"""Tests share helpers through tests/support, and reach for no private name of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.house import ROOT, imports

# Named tuples have public methods that begin with an underscore.
PUBLIC = {"_asdict", "_fields", "_make", "_replace"}
# The console of the commands is one of rich: its width and whether it is a terminal can be set at
# its making alone, and tests of narrow tables need both.
ALLOWED = {("out", "_width"), ("out", "_force_terminal")}


def sources() -> Mapping[str, str]:
    """Paths below the root to the text of each module of the tests."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC


def lent_by_tests(source: str) -> Iterator[str]:
    """Imports from modules that pytest itself loads: test modules and conftest.py."""
    for line, name in imports(source):
        parts = name.split(".")
        if parts[0] == "tests" and any(p == "conftest" or p.startswith("test_") for p in parts[1:]):
            yield f"{line}: imports {name}; share it through tests/support"


def private_names(source: str) -> Iterator[str]:
    """Private names of the package: imported, read from what was imported, or patched."""
    tree = ast.parse(source)
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "attnprobe"
        for alias in node.names
    }
    for line, name in imports(source):
        if name.startswith("attnprobe.") and any(map(is_private, name.split("."))):
            yield f"{line}: imports {name}"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                pass
            case ast.Call(
                func=ast.Attribute(attr="setattr"),
                args=[ast.Name(id=owner), ast.Constant(value=str(name)), *_],
            ):
                pass
            case ast.Call(
                func=ast.Attribute(attr="setattr"), args=[ast.Constant(value=str(path)), *_]
            ) if path.startswith("attnprobe."):
                if any(map(is_private, path.split("."))):
                    yield f"{node.lineno}: patches {path}"
                continue
            case _:
                continue
        if owner in imported and is_private(name) and (owner, name) not in ALLOWED:
            yield f"{node.lineno}: reaches for {owner}.{name}"


def test_no_test_imports_another_and_none_reaches_for_private_names() -> None:
    wrong = [
        f"{path}:{complaint}"
        for path, source in sources().items()
        for check in (lent_by_tests, private_names)
        for complaint in check(source)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "source",
    [
        "from tests.gate.test_judge import decide",
        "import tests.gate.test_judge",
        "def f():\n    from tests.conftest import MINILM",
        "from tests.gate import test_judge",
    ],
)
def test_a_helper_of_a_test_module_is_found(source: str) -> None:
    assert len(list(lent_by_tests(source))) == 1
    assert list(lent_by_tests("from tests.support.scans import tiny")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from attnprobe.models.layout import _window",
        "from attnprobe._version import __version__",
        "import attnprobe.models._hidden",
        "from attnprobe.models import layout\nlayout._window(1)",
        "from attnprobe.models import layout as ours\nmonkeypatch.setattr(ours, '_window', None)",
        "monkeypatch.setattr('attnprobe.models.layout._window', None)",
    ],
)
def test_a_private_name_is_found(source: str) -> None:
    assert len(list(private_names(source))) == 1


def test_public_names_and_those_of_others_are_none_of_its_business() -> None:
    source = "from attnprobe import __version__\nfrom attnprobe.core.names import Key\n"
    source += "Key._make([])\nnetwork.config._attn_implementation\nout._width"
    assert list(private_names(source)) == []
