"""Finds case files below the folders of a run that it did not collect, or only in part.

pytest silently leaves out files for many reasons: `norecursedirs`, `--ignore` on the command line,
in `addopts` or in PYTEST_ADDOPTS, a conftest.py, a suffix such as `.yml`.
"""

from __future__ import annotations

import glob
import importlib.util
from collections.abc import Collection
from pathlib import Path

import pytest

from attnprobe.run.folders import left_behind


def uncollected(config: pytest.Config, collected: Collection[str]) -> tuple[str, ...]:
    """The case files below the folders of a run that were not collected, sorted.

    A folder that cannot be read counts as a file; its path ends in a slash.

    Args:
        config: the configuration of the run.
        collected: absolute paths, links resolved, of the files whose every item was collected.

    Returns:
        Paths relative to the root of the run, with forward slashes.
    """
    return left_behind(_roots(config), collected, config.rootpath)


def _roots(config: pytest.Config) -> list[Path]:
    """The folders to search: those of the command line, else of `testpaths`, else the root.

    A file or a node id stands for its folder. Paths in `addopts` do not count.
    """
    written = {str(argument) for argument in config.invocation_params.args}
    here = config.invocation_params.dir
    named = [argument.partition("::")[0] for argument in config.args if argument in written]
    if named:
        return [_folder(here / name, name, config) for name in named]
    found = [
        config.rootpath / path
        for pattern in config.getini("testpaths")
        # pytest uses glob as well; Path.glob takes neither "." nor an absolute pattern.
        for path in sorted(glob.glob(pattern, root_dir=config.rootpath, recursive=True))  # noqa: PTH207
    ]
    return [_folder(path, "", config) for path in found] or [config.rootpath]


def _folder(path: Path, module: str, config: pytest.Config) -> Path:
    """The folder of a path; under `--pyargs` the folder of a module's file."""
    if not path.exists() and config.getoption("pyargs", False):
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None:
            return config.rootpath
        path = Path(spec.origin)
    return path if path.is_dir() else path.parent
