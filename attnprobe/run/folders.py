"""Finds case files below the folders of a run that it did not collect, or only in part."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from attnprobe.core.names import SUFFIX

# Suffixes of case files, and one that is an easy mistake.
_SUFFIXES = (SUFFIX, SUFFIX.replace(".yaml", ".yml"))
_NOT_ENTERED = {".git", "node_modules"}


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
