"""Packages that only some models need; extras of attnprobe install them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from attnprobe.core.errors import ModelError

# Each extra with the modules that it is for.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "device-map": ("accelerate",),
    "gguf": ("accelerate", "gguf"),
    "peft": ("peft",),
    "sentencepiece": ("google.protobuf", "sentencepiece"),
    "torchao": ("torchao",),
}


def require(extra: str, what: str, advice: str = "") -> None:
    """Raises ModelError where a module of an extra is missing.

    Args:
        what: what needs it, the start of the message.
        advice: what can be done without it, the end of the message.
    """
    missing = [name.rpartition(".")[2] for name in EXTRAS[extra] if not _is_there(name)]
    if missing:
        raise ModelError(
            f'{what} needs {" and ".join(missing)}: pip install "attnprobe[{extra}]"{advice}'
        )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that holds it
        return False
