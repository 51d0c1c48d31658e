"""How a model of sentence-transformers makes one embedding of the states of a text's tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from torch import nn

from attnprobe.core.errors import ModelError
from attnprobe.core.needs import Pool
from attnprobe.models.files import read_json

MODULES = "modules.json"
POOLS: tuple[Pool, ...] = get_args(Pool)
# The names of our pools in the configuration of a pooling; others have no name here.
_MODES = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "lasttoken"}
_PREFIX = "pooling_mode_"
_UNNAMED = "a pooling that its configuration does not name"
# A length of 1 changes no cosine.
_WITHOUT_EFFECT = ("Transformer", "Normalize", "Identity", "Dropout")


def modules_of(folder: Path) -> list[tuple[str, str]]:
    """The class of each module that `modules.json` names, such as Pooling, and its folder.

    Raises:
        ModelError: `modules.json` cannot be read.
    """
    if not (folder / MODULES).is_file():
        return []
    modules = read_json(folder / MODULES)
    found = []
    for module in modules if isinstance(modules, list) else ():
        match module:
            case {"type": str(kind), "path": str(path)}:
                found.append((kind.rpartition(".")[2], path))
    return found


def pool_of_folder(folder: Path) -> str | None:
    """The pooling that `modules.json` names: a `Pool`, or another one in words.

    None where there is no such file, or no pooling in it.

    Raises:
        ModelError: `modules.json` cannot be read.
    """
    return _pool(
        (kind, _settings(folder / path / "config.json") if kind == "Pooling" else {})
        for kind, path in modules_of(folder)
    )


def pool_of_object(given: Any) -> str | None:
    """The same of a SentenceTransformer in memory."""
    if not isinstance(given, nn.Sequential):
        return None
    modules = [(type(module).__name__, vars(module)) for module in given]
    return _pool(modules) if any(kind == "Pooling" for kind, _ in modules) else None


def _settings(file: Path) -> Mapping[str, Any]:
    try:
        found = read_json(file)
    except ModelError:
        return {}
    return found if isinstance(found, dict) else {}


def _pool(modules: Iterable[tuple[str, Mapping[str, Any]]]) -> str | None:
    """The pooling of modules, each with its settings."""
    found: list[str] = []
    for kind, settings in modules:
        if kind == "Pooling":
            found += [_MODES.get(mode, mode) for mode in _modes(settings)] or [_UNNAMED]
        elif kind not in _WITHOUT_EFFECT:
            found.append(f"a module {kind}")
    return " and ".join(found) or None


def _modes(settings: Mapping[str, Any]) -> list[str]:
    """The modes of a pooling: one by its name, or each that is set."""
    mode = settings.get("pooling_mode")
    if isinstance(mode, str):
        return [mode]
    return [
        name.removeprefix(_PREFIX)
        for name, chosen in settings.items()
        if name.startswith(_PREFIX) and chosen is True
    ]
