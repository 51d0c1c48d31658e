"""The versions that `make oldest` and `make newest` install, without installing them."""

from __future__ import annotations

import re
from importlib import metadata

from tests.neighbours.outcomes import NEIGHBOURS as RUN
from tests.support.versions import KEPT, NEIGHBOURS, QUICK, ROOT, lower_bounds, requirements


def parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"[0-9]+", version.partition("+")[0])]


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    bounds = lower_bounds()
    assert {"pytest", "scipy", "tokenizers", "typer", "torch"} < bounds.keys()
    assert requirements("oldest") == [
        f"{name}=={bound}" for name, bound in bounds.items() if name not in KEPT
    ]
    assert "torch" not in " ".join(requirements("newest"))


def test_the_tested_versions_are_allowed() -> None:
    """A lower bound above the pinned version could not be installed at all."""
    for name, bound in lower_bounds().items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:  # an extra that the tests do without
            assert name in ("protobuf", "sentencepiece")
            continue
        assert parts(installed) >= parts(bound), name


def test_a_project_runs_beside_every_plugin_that_is_installed_for_it() -> None:
    installed = {name.removeprefix("pytest-") for name in NEIGHBOURS if "==" not in name}
    run = {name.partition(" ")[0] for name in RUN}
    # That of VS Code comes with the editor.
    assert {name.removesuffix("-pytest") for name in installed} == run


def test_the_quick_tests_are_there() -> None:
    assert all((ROOT / path).exists() for path in QUICK)
