"""From the reference of a model to the folder or file that holds it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from attnprobe.core.errors import ModelError, first_line
from attnprobe.core.names import PACKAGE, file_in_package
from attnprobe.models.adapters import has_adapter
from attnprobe.models.files import PICKLED
from attnprobe.models.gguf import check_gguf
from attnprobe.models.pooling import MODULES, modules_of, pool_of_folder
from attnprobe.models.vocabulary import NAME_ANOTHER

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.*.json",  # from some version of transformers on
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.spm",
)
_SUFFIXES = {Path(name).suffix for name in TOKENIZER_FILES}
# The options of both command lines.
_FETCH = "--attn-online (pytest) or --online (attnprobe) lets it be fetched"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PINNED = re.compile(rf"(?P<id>{_HUB_ID.pattern})@(?P<commit>[0-9a-f]{{40}})")


@dataclass(frozen=True)
class ModelLocation:
    """Where the files of a model lie.

    Attributes:
        path: a folder, or a GGUF file.
        revision: the commit of a hub model.
        pool: how a model of sentence-transformers makes its embeddings, as `pool_of_folder` says.
    """

    path: Path
    revision: str | None = None
    pool: str | None = None

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file."""
        return self.path.is_file()


def locate(ref: str, *, revision: str | None, online: bool, allow_pickle: bool) -> ModelLocation:
    """The folder or GGUF file of a reference, fetched from the hub where that is allowed.

    Raises:
        ModelError: there is no such place, or it cannot be fetched.
    """
    path = file_in_package(ref, ModelError) if ref.startswith(PACKAGE) else _path(ref)
    if path.is_dir():
        _check_files(path)
        return ModelLocation(_network_folder(path), pool=pool_of_folder(path))
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"no such file: {path}")
        check_gguf(path)
        return ModelLocation(path)
    if ref.startswith((PACKAGE, ".")) or not _HUB_ID.fullmatch(ref):
        raise ModelError(
            f"no model at {ref}; give a folder, a .gguf file, pkg://package/path or a hub id"
        )
    patterns = ("*.json", "*.safetensors", *TOKENIZER_FILES, *(PICKLED if allow_pickle else ()))
    found = _from_hub(ref, revision=revision, online=online, patterns=patterns)
    inner = _network_part(found.path)
    if online and (found.path / MODULES).is_file():
        inside = [f"{inner}/{pattern}" for pattern in patterns if inner]
        inside.append("*_Pooling/config.json")
        _from_hub(ref, revision=revision, online=True, patterns=inside, ignored=())
    return replace(found, path=_network_folder(found.path), pool=pool_of_folder(found.path))


def _check_files(folder: Path) -> None:
    """Refuses what is no file: a FIFO would be waited for, and a device may have no end."""
    try:
        for file in folder.iterdir():
            is_folder = file.is_dir() and file.suffix not in _SUFFIXES
            if file.exists() and not (file.is_file() or is_folder):
                raise ModelError(f"{file} is no file")
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read: {error.strerror}") from None


def locate_adapter(ref: str, *, whole: str) -> ModelLocation:
    """The folder of the adapter in a reference `base+adapter`.

    Args:
        whole: that reference.

    Raises:
        ModelError: there is no such folder, or it holds no adapter.
    """
    path = file_in_package(ref, ModelError) if ref.startswith(PACKAGE) else _path(ref)
    if not has_adapter(path):
        raise ModelError(
            f"there is no path {whole}, and no adapter at {ref}; after the + of base+adapter comes "
            "a folder, or pkg://package/path, with an adapter_config.json"
        )
    return ModelLocation(path)


def locate_tokenizer(ref: str, *, online: bool) -> ModelLocation:
    """The location of a tokenizer that is not the model's own. A hub id must name its commit.

    Raises:
        ModelError: as `locate`.
    """
    path = _path(ref)
    if path.is_file() and path.suffix != ".gguf":
        raise ModelError(f"{ref} is a file; name the folder that holds the tokenizer's files")
    pinned = _PINNED.fullmatch(ref)
    if pinned and not path.exists():
        patterns = ("config.json", *TOKENIZER_FILES)
        return _from_hub(pinned["id"], revision=pinned["commit"], online=online, patterns=patterns)
    if path.exists() or ref.startswith((PACKAGE, ".")):
        return locate(ref, revision=None, online=False, allow_pickle=False)
    raise ModelError(
        f"no tokenizer at {ref}; give a folder, pkg://package/path, a .gguf file, or a hub id with "
        "its commit of 40 digits: org/name@COMMIT"
    )


def tokenizer_files(location: ModelLocation) -> list[Path]:
    """The files of the tokenizer in a location; of a GGUF file the file itself.

    Raises:
        ModelError: there are none, where transformers would invent a vocabulary of a few entries.
    """
    if location.is_gguf:
        return [location.path]
    found = _tokenizer_files(location.path)
    if not found:
        raise ModelError(f"no tokenizer in {location.path}; {NAME_ANOTHER}")
    return found


def has_tokenizer(location: ModelLocation) -> bool:
    """Whether a location holds a tokenizer."""
    return location.is_gguf or bool(_tokenizer_files(location.path))


def sentencepiece_file(folder: Path) -> Path | None:
    """The file of SentencePiece in a folder whose only vocabulary it is."""
    if any((folder / name).exists() for name in ("tokenizer.json", "vocab.json", "vocab.txt")):
        return None
    return min(folder.glob("*.model"), default=None)


def _tokenizer_files(folder: Path) -> list[Path]:
    return sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)})


def _path(ref: str) -> Path:
    """The path of a reference, whether or not something is there."""
    try:
        path = Path(ref).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # too long, or the home of nobody
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{ref[:60]!r} is no path: {reason}") from None
    return path


def _network_folder(folder: Path) -> Path:
    """The folder of the network in a model of sentence-transformers; else the folder itself.

    Raises:
        ModelError: `modules.json` cannot be read, or leads out of the folder or to no folder.
    """
    inner = _network_part(folder)
    if not inner:
        return folder
    path = folder / inner
    where = f"{folder / MODULES} places the network in {inner[:60]!r}"
    try:
        inside, there = path.resolve().is_relative_to(folder.resolve()), path.is_dir()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a link to itself
        inside, there = True, False
    if not inside:
        raise ModelError(f"{where}, which is outside of the model's folder")
    if not there:
        raise ModelError(f"{where}, and there is no such folder")
    return path


def _network_part(folder: Path) -> str:
    """Where `modules.json` places the network: empty for the folder itself.

    Old models of sentence-transformers have it in `0_Transformer`, beside `1_Pooling`.
    """
    return next((path for kind, path in modules_of(folder) if kind == "Transformer"), "")


def _from_hub(
    ref: str,
    *,
    revision: str | None,
    online: bool,
    patterns: Sequence[str],
    ignored: Sequence[str] = ("*/*",),
) -> ModelLocation:
    if online and revision is None:
        raise ModelError(
            f"a hub model is loaded by a pinned revision, so that results can be repeated; give "
            f"the commit of {ref}: --attn-revision COMMIT (pytest) or --revision COMMIT (attnprobe)"
        )
    try:
        folder = snapshot_download(
            ref,
            revision=revision,
            local_files_only=not online,
            allow_patterns=list(patterns),
            ignore_patterns=list(ignored),
        )
    except LocalEntryNotFoundError:
        way = "check the connection" if online else _FETCH
        raise ModelError(f"no folder {ref}, and no such hub model in the cache; {way}") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(f"hub model {ref} cannot be fetched: {first_line(error)}") from error
    return ModelLocation(Path(folder), revision=Path(folder).name)
