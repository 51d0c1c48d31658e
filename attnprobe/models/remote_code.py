"""Code that comes with a model: attnprobe never runs it, and refuses models that name some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING
from transformers.utils import (
    CONFIG_NAME,
    FEATURE_EXTRACTOR_NAME,
    PROCESSOR_NAME,
    VIDEO_PROCESSOR_NAME,
)

from attnprobe.core.errors import ModelError
from attnprobe.models.files import read_json_object

# The files in which transformers looks for classes that come with a model.
NETWORK_FILES = (CONFIG_NAME, PROCESSOR_NAME, FEATURE_EXTRACTOR_NAME, VIDEO_PROCESSOR_NAME)
TOKENIZER_FILES = ("tokenizer_config.json",)
KEY = "auto_map"
# With this key, config.json names files that newer versions of transformers read in its place.
VERSIONED = "configuration_files"


def check_remote_code(folder: Path, files: Sequence[str], *, ignore: bool) -> tuple[str, ...]:
    """The files of a folder whose `auto_map` names classes of the model's own.

    transformers silently replaces these classes by its own where it knows the model type. The
    result may be another model: a two-way one may be read as causal.

    Args:
        files: names of the files to look into.
        ignore: whether the model is to be read without its code.

    Raises:
        ModelError: there are such files without `ignore`, or transformers has no class.
    """
    config = folder / CONFIG_NAME
    settings = read_json_object(config) if config.is_file() else {}
    if CONFIG_NAME in files and VERSIONED in settings:
        files = (*files, *sorted(path.name for path in folder.glob("config.*.json")))
    named = {
        name: classes
        for name in files
        if (folder / name).is_file()
        and (classes := sorted(set(_classes(read_json_object(folder / name)))))
    }
    if not named:
        return ()
    where = ", ".join(f"{KEY} of {name}: {', '.join(classes)}" for name, classes in named.items())
    start = f"{folder} comes with code of its own ({where}), which is never run"
    kind = settings.get("model_type")
    known = isinstance(kind, str) and kind in CONFIG_MAPPING
    if CONFIG_NAME in named and not known:
        raise ModelError(
            f"{start}, and transformers has no class for its model type {kind!r}, so it cannot be "
            "measured"
        )
    if not ignore:
        raise ModelError(
            f"{start}, and the class that transformers has in its place may be another model; to "
            "measure that one: --attn-ignore-remote-code (pytest) or --ignore-remote-code "
            "(attnprobe)"
        )
    return tuple(named)


def _classes(value: Any) -> Iterator[str]:
    """The classes that any `auto_map` within a value names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner) if key == KEY else _classes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _classes(inner)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
