"""The files of a model's weights: which ones count, whether they are safe, and their hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from transformers.utils import (
    CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)

from attnprobe.core.errors import ModelError
from attnprobe.core.names import NO_PICKLE
from attnprobe.results.records import WeightsFormat

SAFE = ".safetensors"
INDEX = ".index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
# First bytes of a zip file, as torch writes it, and of a bare pickle.
_PICKLED_HEADS = (b"PK\x03\x04", b"\x80")
# Files of torch.distributed.checkpoint, which transformers prefers to all others.
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
# Files that a network is built from besides its weights.
_CONFIGS = ("config*.json", "generation_config.json")


@dataclass(frozen=True)
class Weights:
    """The files that the weights of a folder come from.

    Attributes:
        files: ordered by name. No other file is hashed or read.
        index: the file that names them, where they are shards.
    """

    folder: Path
    files: tuple[Path, ...]
    index: Path | None = None

    @property
    def format(self) -> WeightsFormat:
        """The format of the files: pickle as soon as one of them is pickled."""
        safe = all(path.suffix == SAFE for path in self.files)
        return "safetensors" if safe else "pickle"

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A temporary folder with these files and the configuration, and nothing else.

        transformers loads from it, so that it reads these files and neither spare weights nor an
        adapter beside them.
        """
        files = [*self.files, *([self.index] if self.index else [])]
        files += [path for name in _CONFIGS for path in self.folder.glob(name) if path.is_file()]
        # While the network maps the weights, Windows does not delete a file that is no link.
        with tempfile.TemporaryDirectory(
            prefix="attnprobe-", ignore_cleanup_errors=True
        ) as scratch:
            try:
                for path in files:
                    link_into(Path(scratch), path)
            except OSError as error:
                raise ModelError(f"{self.folder} cannot be read: {error}") from error
            yield Path(scratch)


def find_weights(folder: Path, *, allow_pickle: bool) -> Weights:
    """The files that the weights of a folder come from.

    The choice is that of transformers: the file that the configuration names as
    `transformers_weights`, else `model.safetensors`, else the shards of
    `model.safetensors.index.json`, else the same of `pytorch_model.bin`. No other file counts.

    Raises:
        ModelError: there are none, they are pickled and that is not allowed, or an index names
            what is no file of its folder.
    """
    first = _first(folder, allow_pickle=allow_pickle)
    index = first if _is_index(first) else None
    files = _shards(index) if index else (first,)
    for path in files:
        check_safe(path, allow_pickle=allow_pickle, index=index)
    return Weights(folder, files, index)


def check_safe(path: Path, *, allow_pickle: bool, index: Path | None = None) -> None:
    """Checks that a file of weights can be opened without running code.

    Args:
        index: the index that names the file, if one does.

    Raises:
        ModelError: the file is missing, or pickled without `allow_pickle`, or its content does not
            agree with its name.
    """
    if not path.is_file():
        by = f"; {index.name} names it" if index else ""
        raise ModelError(f"there is no file {path}{by}")
    if path.suffix == SAFE:
        _check_content(path)
    elif not allow_pickle:
        by = f", named in {index.name}," if index else ""
        raise ModelError(
            f"{path}{by} holds pickled weights, and opening those can run any code; convert them "
            f"to safetensors{_advise_pickle()}"
        )


def _first(folder: Path, *, allow_pickle: bool) -> Path:
    """The file of the weights, or the index of its shards."""
    names = sorted(path.name for path in folder.iterdir())
    if distributed := [name for name in names if _DISTRIBUTED.fullmatch(name)]:
        raise ModelError(
            f"{folder / distributed[0]} is part of a distributed checkpoint, which cannot be read; "
            "save the model with save_pretrained"
        )
    config = folder / CONFIG_NAME
    named = read_json_object(config).get("transformers_weights") if config.is_file() else None
    if named is not None:
        return folder / _file_name(named, config)
    for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME):
        if (folder / name).is_file():
            return folder / name
    pickled = sorted(name for pattern in PICKLED for name in names if Path(name).match(pattern))
    if pickled and not allow_pickle:
        return folder / pickled[0]
    found = [*(name for name in names if name.endswith(SAFE)), *pickled]
    others = f"; files of other names are not read: {', '.join(found)}"
    raise ModelError(
        f"no weights in {folder}: neither {SAFE_WEIGHTS_NAME} nor {SAFE_WEIGHTS_INDEX_NAME} is "
        f"there{others if found else ''}"
    )


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, by name.

    Raises:
        ModelError: it cannot be read, or names what is no file of its folder.
    """
    places = read_json_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError(f"{index} is no index of weights: it has no weight_map")
    names = {_file_name(name, index) for name in places.values()}
    return tuple(index.parent / name for name in sorted(names))


def _file_name(name: Any, where: Path) -> str:
    """A file name that `where` gives, which must stay within its folder."""
    plain = isinstance(name, str) and all(
        kind(name).name == name and name not in ("", ".", "..")
        for kind in (PurePosixPath, PureWindowsPath)
    )
    if not plain or (_is_index(Path(name)) and _is_index(where)) or not name.isprintable():
        raise ModelError(
            f"{where} names {name!r} for weights; it may name files of its own folder alone"
        )
    return str(name)


def _is_index(path: Path) -> bool:
    return path.name.endswith(INDEX)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelError: it cannot be read, or holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise ModelError(f"{path} cannot be read: it holds no JSON object")
    return found


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None


def _check_content(path: Path) -> None:
    """Raises ModelError where the content of a file is not safetensors, whatever its name says."""
    with path.open("rb") as stream:
        head = stream.read(9)
    header = int.from_bytes(head[:8], "little")
    if head[8:] == b"{" and header <= path.stat().st_size - 8:
        return
    if head.startswith(_PICKLED_HEADS):
        raise ModelError(
            f"{path} is named as safetensors, but its content is pickled, and opening that can run "
            "any code; convert it to safetensors"
        )
    raise ModelError(f"{path} is no safetensors file, or it is broken")


def _advise_pickle() -> str:
    """How to allow pickled weights, where the environment does not forbid them."""
    if os.environ.get(NO_PICKLE):
        return ""
    return ", or allow them if you trust their source: --attn-allow-pickle"


def sha256(files: Sequence[Path]) -> str:
    """SHA-256 of a file; of several files, the SHA-256 of their digests and names."""
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    lines = (f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def link_into(folder: Path, path: Path) -> Path:
    """Puts a file into a folder under its own name, as a link, or as a copy if links fail."""
    link = folder / path.name
    for put in (os.symlink, os.link, shutil.copyfile):
        try:
            put(path.resolve(), link)
        except OSError:
            continue
        return link
    raise OSError(f"{path.name} can be neither linked nor copied into {folder}")
