"""Reads and writes files atomically: a reader never sees half a file."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from attnprobe.core.errors import ResultsError
from attnprobe.core.jsontext import refuse_duplicate_keys
from attnprobe.core.scratch import scratch, warn_of_leftover

LOCK_TIMEOUT_S = 60
_OWN = "attnprobe/"  # how the schema of each JSON file of attnprobe begins


def is_same(left: Path, right: Path) -> bool:
    """Whether two paths lead to one file, also through links, and also before it exists."""
    if left.exists() and right.exists():
        return left.samefile(right)
    return left.resolve() == right.resolve()


def check_output(path: Path, *, as_json: bool = False) -> None:
    """Checks that a file may be written here. The commands ask before the work that it is for.

    Links are followed: what counts is their target.

    Args:
        as_json: whether the file will be one of attnprobe's JSON files, which replaces only such a
            file or an empty one.

    Raises:
        ResultsError: a device, FIFO, socket or folder is there, or a file of another program; or
            nothing may be written into the folder.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be written: {error}") from None
    if mode is not None and not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
        raise ResultsError(f"{path} is {kind}, which is not replaced; name a file")
    check_folder(path.resolve().parent, path)
    if as_json and mode is not None:
        _check_replaced(path)


def check_folder(folder: Path, path: Path | None = None) -> None:
    """Checks that files may be written into a folder, which need not exist yet.

    Args:
        path: the file in it that a message names, instead of the folder.

    Raises:
        ResultsError: nothing may be written into it, or into the folder that will hold it.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    may = os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in _EFFECTIVE)
    if there.is_dir() and not may:  # what is no folder fails the write
        raise ResultsError(f"{path or folder}: cannot be written: Permission denied: {there}")


_EFFECTIVE = os.supports_effective_ids
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _check_replaced(path: Path) -> None:
    """Raises ResultsError if a file holds something other than JSON of attnprobe."""
    try:
        with path.open("rb") as file:
            # The first bytes of a binary file, which may be large, tell that it is no JSON.
            head = file.read(64)
            data = head + file.read() if b"\0" not in head else head
        value = json.loads(data) if data else {"schema": _OWN}
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        value = None
    if value is None:
        raise ResultsError(f"{path} is not JSON, so it is not replaced; name another file")
    if isinstance(value, dict) and not str(value.get("schema")).startswith(_OWN):
        raise ResultsError(
            f"{path} was not written by attnprobe, so it is not replaced; name another file"
        )


def write_json(path: Path, value: object, *, check: Callable[[Path], None] | None = None) -> None:
    """Writes a JSON file with sorted keys; a reader sees the whole old file or the whole new one.

    Another writer of the same file waits. `<name>.lock` stays beside the file.

    Args:
        check: called with the path before the write, while no other writer has access; if it
            raises, the file stays the same.

    Raises:
        ResultsError: the value contains NaN, an infinity or a type that JSON does not have, or the
            file cannot be written, or the path fails `check_output`.
    """
    data = encode(path, value)
    try:
        with locked(path):
            if check is not None:
                check(path)
            replace_locked(path, data)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {error}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file; a reader sees the whole old file or the whole new one.

    Of several writers at once the last one wins.

    Raises:
        ResultsError: the file cannot be written, or the path fails `check_output`.
    """
    check_output(path)
    try:
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(path) as temporary:
            _replace(path, data, temporary)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {error}") from error


def encode(path: Path, value: object) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=True, indent=1)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be written as JSON: {error}") from None
    # A lone surrogate (from an undecodable file name) becomes \udcxx, which is also JSON's escape.
    return f"{text}\n".encode("utf-8", "backslashreplace")


def locked(path: Path) -> FileLock:
    """The lock for writing a JSON file: an empty file `<name>.lock` beside it.

    Raises:
        ResultsError: the path fails `check_output`, or a file of another program has the name of
            the lock.
    """
    check_output(path, as_json=True)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    check_output(lock)
    if lock.exists() and lock.stat().st_size:  # locking would empty it
        raise ResultsError(f"{path}: cannot be written: its lock {lock} is a file of another use")
    return FileLock(lock, timeout=LOCK_TIMEOUT_S)


def replace_locked(path: Path, data: bytes) -> None:
    """Replaces a file by data, as `write_json` does, while the caller holds its lock."""
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.tmp")
    left = temporary.exists()  # by a killed writer, since nobody else has the lock
    _replace(path, data, temporary)
    if left:
        warn_of_leftover(temporary)


def _replace(path: Path, data: bytes, temporary: Path) -> None:
    """Replaces a file by data that is on disk before any reader can see it."""
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power failure, if the system can open and sync folders."""
    with suppress(OSError):  # the file itself is complete in any case
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def read_json(path: Path, schema: str, what: str) -> dict[str, Any]:
    """The content of a file that attnprobe wrote.

    Args:
        what: the kind of file in messages: `results file`.

    Raises:
        ResultsError: the file is missing, corrupt or of another schema.
    """
    try:
        data = _parse_json(path, path.read_text(encoding="utf-8"), what)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: corrupt: {error}") from None
    found = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(data, dict) or found != schema:
        raise ResultsError(f"{path}: needs schema {schema!r}, has {found!r}")
    return data


def _parse_json(path: Path, text: str, what: str) -> Any:
    """The JSON value in a file's text.

    Raises:
        ResultsError: the text does not begin like JSON, so the user named another kind of file.
        ValueError, RecursionError: the text begins like JSON but has an error.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=refuse_duplicate_keys,
            parse_constant=_refuse_constant,
            parse_int=_parse_int,
        )
    except json.JSONDecodeError as error:
        if not text.strip() or text.lstrip().startswith("{"):
            raise
        raise ResultsError(
            f"{path} is not a {what}: it is not JSON (line {error.lineno}, column {error.colno})"
        ) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _parse_int(digits: str) -> int:
    """A whole number; one that does not fit into 64 bits is no count, and numpy cannot hold it."""
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"a number of {len(digits)} digits counts nothing")
    return number
