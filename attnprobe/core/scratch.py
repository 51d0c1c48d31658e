"""Temporary files and folders, of which a killed run leaves nothing for good."""

from __future__ import annotations

import glob
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from attnprobe.core.printing import visible

_END = ".tmp"
_LOCK = f"{_END}.lock"


class LeftoverWarning(UserWarning):
    """Something that a killed run left behind was removed."""


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A path beside a target for what will become it, a file or a folder.

    What is still there at the end is removed. While the block runs, a lock beside the path is held;
    so what earlier blocks for the target left behind can be told from what others are writing, and
    is removed first, with a LeftoverWarning.

    Args:
        target: a path in a folder that exists.

    Raises:
        OSError: the folder cannot be written.
    """
    _remove_dead(target)
    path = target.with_name(f".{target.name}.{secrets.token_hex(8)}{_END}")
    lock = FileLock(path.with_suffix(_LOCK))
    try:
        with lock:
            try:
                yield path
            finally:
                _remove(path)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)


def warn_of_leftover(path: Path) -> None:
    """Says that something was removed, also where warnings are errors: the work goes on."""
    with suppress(LeftoverWarning):
        warnings.warn(
            f"removed {visible(str(path))}, which a killed run had left behind",
            LeftoverWarning,
            stacklevel=2,
        )


def _remove_dead(target: Path) -> None:
    """Removes what blocks of processes that are gone left behind for a target."""
    for name in target.parent.glob(f".{glob.escape(target.name)}.*{_LOCK}"):
        lock = FileLock(name, timeout=0)
        # Held: another process is writing. Not to be opened: somebody else's to remove.
        with suppress(Timeout, OSError), lock:
            path = name.with_suffix("")
            there = path.exists()
            _remove(path)
            name.unlink()
            if there:
                warn_of_leftover(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
