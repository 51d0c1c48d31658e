"""The lock file of named head sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attnprobe.core.errors import ResultsError
from attnprobe.core.names import LOCK
from attnprobe.core.sites import Head
from attnprobe.results.files import encode, locked, read_json, replace_locked
from attnprobe.words.heads import HeadSet

LOCK_SCHEMA = "attnprobe/lock-1"


def read_heads(path: Path) -> Mapping[str, HeadSet]:
    """The head sets of a lock file by name, each with the model that it was chosen on.

    Raises:
        ResultsError: the file is missing, corrupt or of another schema.
    """
    sets = read_json(path, LOCK_SCHEMA, "lock file").get("heads")
    if not isinstance(sets, dict):
        raise ResultsError(f"{path}: corrupt: heads is not an object")
    return {name: _head_set(path, name, entry) for name, entry in sets.items()}


def heads_here() -> Mapping[str, HeadSet]:
    """The head sets of the lock file in the working directory; empty if there is no lock file.

    Raises:
        ResultsError: the file is corrupt or of another schema.
    """
    return read_heads(Path(LOCK)) if Path(LOCK).exists() else {}


def update_heads(
    path: Path, entries: Mapping[str, Mapping[str, Any]], *, overwrite: bool = False
) -> None:
    """Adds named head sets to a lock file; another writer of the file waits.

    Args:
        entries: the sets by name, each with its `heads` and the `weights_sha256` of its model.
        overwrite: whether to replace a set of another model.

    Raises:
        ResultsError: the file is corrupt, cannot be written, or has a set of the same name from
            another model.
    """
    try:
        with locked(path):
            known = _entries(path)
            if not overwrite:
                weights = {name: entry.get("weights_sha256") for name, entry in entries.items()}
                _refuse_foreign(path, known, weights)
            data = {"schema": LOCK_SCHEMA, "heads": {**known, **entries}}
            replace_locked(path, encode(path, data))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {error}") from error


def check_heads(path: Path, names: Iterable[str], *, weights_sha256: str) -> None:
    """Raises ResultsError if the lock file has a set of one of the names from another model."""
    _refuse_foreign(path, _entries(path), dict.fromkeys(names, weights_sha256))


def _entries(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The entries of a lock file; empty if there is no file."""
    if not path.exists():
        return {}
    read_heads(path)
    entries: Mapping[str, Mapping[str, Any]] = read_json(path, LOCK_SCHEMA, "lock file")["heads"]
    return entries


def _refuse_foreign(
    path: Path, known: Mapping[str, Mapping[str, Any]], weights: Mapping[str, str | None]
) -> None:
    for name, digest in weights.items():
        if name in known and known[name].get("weights_sha256") != digest:
            model = known[name].get("model", "another model")
            raise ResultsError(
                f"{path}: {name!r} is a head set of {model}; give these another name with "
                "--prefix, or replace it with --overwrite"
            )


def _head_set(path: Path, name: str, entry: object) -> HeadSet:
    fields = entry if isinstance(entry, dict) else {}
    names = fields.get("heads")
    if not isinstance(names, list) or not names:
        raise ResultsError(f"{path}: corrupt: {name!r} names no heads")
    try:
        heads = tuple(map(Head.parse, names))
    except (TypeError, ValueError):
        heads = ()
    if len(set(heads)) != len(names):
        raise ResultsError(f"{path}: corrupt: {name!r} needs distinct heads, each like L3H1")
    origin = {key: fields.get(key) for key in ("model", "revision", "weights_sha256")}
    for key, value in origin.items():
        if not isinstance(value, str | None):
            raise ResultsError(f"{path}: corrupt: {key} of {name!r} is no text")
    return HeadSet(name, heads, **origin)
