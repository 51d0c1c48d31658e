"""JSON files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from attnprobe.core.errors import ResultsError
from attnprobe.core.jsontext import refuse_duplicate_keys

LOCK_TIMEOUT_S = 60


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, links included; it may not be there yet."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def write_json(path: Path, value: object, *, check: Callable[[Path], None] | None = None) -> None:
    """Writes a JSON file with sorted keys; a reader finds the old file or the new one, whole.

    Another writer of the same file waits; `<name>.lock` stays beside it.

    Args:
        check: looks at what stands in the file so far, while nobody else can write it; what it
            raises leaves the file as it is.

    Raises:
        ResultsError: the value holds NaN, an infinity or what JSON does not know, or the file
            cannot be written.
    """
    data = encode(path, value)
    try:
        with locked(path):
            if check is not None:
                check(path)
            # Under the lock one name will do, and what a killed writer left is written over.
            replace_file(path.resolve(), data, scratch="tmp")
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {error}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file; a reader finds the old one or the new one, whole.

    No lock is left beside the file. Of several writers at once the last one wins, whole; each has
    a temporary file of its own, which only a kill leaves behind.

    Raises:
        ResultsError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path.resolve(), data, scratch=f"{secrets.token_hex(8)}.tmp")
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {error}") from error


def encode(path: Path, value: object) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=True, indent=1)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be written as JSON: {error}") from None
    # Half a surrogate pair (an undecodable file name) becomes \udcxx, which is JSON's escape too.
    return f"{text}\n".encode("utf-8", "backslashreplace")


def locked(path: Path) -> FileLock:
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_TIMEOUT_S)


def replace_file(path: Path, data: bytes, *, scratch: str) -> None:
    """Puts data in the place of a file, on the disk before any reader can see it.

    Args:
        scratch: ends the name of the temporary file; no other writer may use it meanwhile.
    """
    temporary = path.with_name(f".{path.name}.{scratch}")
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
    """Makes a rename outlast a power cut, where the system can open and sync folders."""
    with suppress(OSError):  # the file itself is there and whole
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def read_json(path: Path, schema: str, what: str) -> dict[str, Any]:
    """The content of a file that attnprobe wrote.

    Args:
        what: it is, for messages: `results file`.

    Raises:
        ResultsError: it is missing, corrupt or of another schema.
    """
    try:
        data = _parsed(path, path.read_text(encoding="utf-8"), what)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: corrupt: {error}") from None
    found = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(data, dict) or found != schema:
        raise ResultsError(f"{path}: needs schema {schema!r}, has {found!r}")
    return data


def _parsed(path: Path, text: str, what: str) -> Any:
    """The JSON of a file.

    Raises:
        ResultsError: it does not begin as such a file does, so it is something else.
        ValueError, RecursionError: it does, and cannot be read on.
    """
    try:
        return json.loads(
            text, object_pairs_hook=refuse_duplicate_keys, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        if not text.strip() or text.lstrip().startswith("{"):
            raise
        raise ResultsError(
            f"{path} is not a {what}: it is not JSON (line {error.lineno}, column {error.colno})"
        ) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
