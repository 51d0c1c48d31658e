"""The folders of a run: its root, and case files below them that it did not collect."""

from __future__ import annotations

import configparser
import os
import tomllib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from attnprobe.core.names import SUFFIX

# Suffixes of case files, and one that is an easy mistake.
_SUFFIXES = (SUFFIX, SUFFIX.replace(".yaml", ".yml"))
# Files in which pytest finds its configuration, and the section of each.
_CONFIGS = {
    "pytest.ini": "pytest",
    ".pytest.ini": "pytest",
    "tox.ini": "pytest",
    "setup.cfg": "tool:pytest",
}
_PYPROJECT = "pyproject.toml"
_NOT_ENTERED = {".git", "node_modules"}


def run_root(folder: Path) -> Path:
    """The root that pytest gives a run of the tests in a folder, started in its root or here."""
    folder, here = folder.resolve(), Path.cwd().resolve()
    above = (folder, *folder.parents)
    bases = [base for base in above if pytest_config(base) is not None]
    for name in (_PYPROJECT, "setup.py"):
        bases += [base for base in above if (base / name).is_file()]
    if bases:
        return bases[0]
    return here if folder.is_relative_to(here) else folder


def pytest_config(folder: Path) -> Path | None:
    """The file of a folder that configures pytest."""
    for name, section in _CONFIGS.items():
        file = folder / name
        if file.is_file():
            parser = configparser.ConfigParser(interpolation=None, strict=False)
            try:
                parser.read_string(file.read_text(encoding="utf-8"))
            except (configparser.Error, UnicodeDecodeError):
                return file
            if section in parser or name.endswith("pytest.ini"):
                return file
    for name in ("pytest.toml", ".pytest.toml"):
        if (folder / name).is_file():
            return folder / name
    file = folder / _PYPROJECT
    if file.is_file():
        tables = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
        return file if "pytest" in tables else None
    return None


def left_behind(roots: Iterable[Path], collected: Collection[str], top: Path) -> tuple[str, ...]:
    """The case files below some folders that a run did not collect, sorted.

    A folder that cannot be read counts as a file; its path ends in a slash.

    Args:
        collected: absolute paths, links resolved, of the files whose every case was collected.
        top: the root of the run.

    Returns:
        Paths relative to `top`, with forward slashes.
    """
    left = {
        Path(os.path.relpath(path, top)).as_posix() + ("/" if path.is_dir() else "")
        for root in roots
        for path in _case_files(root)
        if os.path.realpath(path) not in collected
    }
    return tuple(sorted(left))


def _case_files(root: Path) -> Iterator[Path]:
    """Yields each case file below a folder, in upper or lower case; visits each folder once."""
    unreadable: list[Path] = []
    seen = set()
    for folder, folders, files in os.walk(
        root, onerror=lambda error: unreadable.append(Path(error.filename)), followlinks=True
    ):
        place = Path(folder)
        real = os.path.realpath(folder)
        if real in seen or (place != root and _is_environment(place)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(set(folders) - _NOT_ENTERED)
        yield from (place / name for name in files if name.lower().endswith(_SUFFIXES))
    yield from unreadable


def _is_environment(folder: Path) -> bool:
    """Whether a folder is a virtual environment, of venv or of conda."""
    return (folder / "pyvenv.cfg").is_file() or (folder / "conda-meta" / "history").is_file()


def shown_path(file: Path, top: Path) -> str:
    """The name of a file in messages and results: relative to the root if it lies below it."""
    return (file.relative_to(top) if file.is_relative_to(top) else file).as_posix()
