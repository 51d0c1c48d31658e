"""From a reference to a checked model."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from attnprobe.errors import ModelError
from attnprobe.models.gguf import check_gguf, unpacked
from attnprobe.models.model import Model
from attnprobe.names import BATCH_TOKENS, NO_PICKLE, PACKAGE, short_name
from attnprobe.registry import did_you_mean
from attnprobe.results import WeightsFormat

__all__ = ["Model", "load", "weights_of"]

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.spm",
)
# As the two command lines call it.
_FETCH = "--attn-online (pytest) or --online (attnprobe) lets it be fetched"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class _Place:
    """Where the files of a model lie: a folder, or a GGUF file."""

    path: Path
    revision: str | None = None

    @property
    def is_gguf(self) -> bool:
        return self.path.is_file()


def load(
    ref: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    online: bool = False,
    allow_pickle: bool = False,
    batch_tokens: int = BATCH_TOKENS,
    check: bool = True,
) -> Model:
    """Loads a model and compares its attention with its own eager weights.

    Args:
        ref: a folder, a `.gguf` file, `pkg://package/path` (weights inside an installed package,
            which is not imported), or a hub id.
        name: how results call the model; by default the part of `ref` that says most.
        revision: commit of a hub id; must be given with `online`.
        device: as in torch, or `auto`: the GPU where there is one; `auto:3` shares out several.
        dtype: float32, float16 or bfloat16.
        online: whether the hub may be asked; otherwise a hub id must lie in the local cache.
        allow_pickle: whether pickled weights may be opened, which can run any code. Where the
            environment has `ATTNPROBE_NO_PICKLE`, as in a run of the gate, they never are.
        batch_tokens: padded tokens that one forward may hold.
        check: whether one sentence is compared with eager attention.

    Raises:
        ModelError: what is wrong with the reference, the files or the attention, and the way out.
    """
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; {did_you_mean(dtype, DTYPES)}")
    target = _device(device)
    allow_pickle = allow_pickle and not os.environ.get(NO_PICKLE)
    place = _locate(ref, revision=revision, online=online, allow_pickle=allow_pickle)
    weights = _weights_files(place, allow_pickle=allow_pickle)
    digest = _sha256(weights)
    with _quiet():
        folder = unpacked(place.path, digest) if place.is_gguf else place.path
        safe = weights[0].suffix in (".safetensors", ".gguf")

        def build(kind: Any) -> PreTrainedModel:
            with _quiet():
                return _network(kind, folder, DTYPES[dtype], target, safe=safe)

        return Model(
            build(AutoModel),
            _tokenizer(folder),
            name=name or short_name(ref),
            ref=ref,
            revision=place.revision,
            weights_sha256=digest,
            tokenizer_sha256=_sha256(_tokenizer_files(place) or weights),
            batch_tokens=batch_tokens,
            check=check,
            load_head=build,
            weights_format=_format(weights[0]),
        )


def weights_of(ref: str) -> tuple[Path, list[Path]]:
    """The folder of a model, a GGUF file unpacked, and its files of safetensors.

    Raises:
        ModelError: as `load`; pickled weights are refused.
    """
    place = _locate(ref, revision=None, online=False, allow_pickle=False)
    files = _weights_files(place, allow_pickle=False)
    if not place.is_gguf:
        return place.path, files
    with _quiet():
        folder = unpacked(place.path, _sha256(files))
    return folder, sorted(folder.glob("*.safetensors"))


def _device(device: str) -> torch.device:
    kind, _, number = device.partition(":")
    if kind == "auto":
        count = torch.cuda.device_count()
        device = f"cuda:{int(number or 0) % count}" if count else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} cannot be used: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _locate(ref: str, *, revision: str | None, online: bool, allow_pickle: bool) -> _Place:
    path = _in_package(ref) if ref.startswith(PACKAGE) else Path(ref).expanduser()
    if path.is_dir():
        return _Place(path)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"no such file: {path}")
        check_gguf(path)
        return _Place(path)
    if ref.startswith((PACKAGE, ".")) or not _HUB_ID.fullmatch(ref):
        raise ModelError(
            f"no model at {ref}; give a folder, a .gguf file, pkg://package/path or a hub id"
        )
    return _from_hub(ref, revision=revision, online=online, allow_pickle=allow_pickle)


def _in_package(ref: str) -> Path:
    """A path inside an installed package, found without importing it."""
    package, _, inside = ref.removeprefix(PACKAGE).partition("/")
    if not package.isidentifier() or ".." in Path(inside).parts or Path(inside).is_absolute():
        raise ModelError(f"{ref} is no path inside a package; write {PACKAGE}package/path")
    spec = importlib.util.find_spec(package)
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    if not folders:
        raise ModelError(f"package {package} is not installed; {ref} lies in it")
    for folder in folders:
        if (folder / inside).exists():
            return folder / inside
    raise ModelError(f"package {package} has no {inside}; it lies in {folders[0]}")


def _from_hub(ref: str, *, revision: str | None, online: bool, allow_pickle: bool) -> _Place:
    if online and revision is None:
        raise ModelError(
            f"a hub model is loaded by a pinned revision, so that results can be repeated; give "
            f"the commit of {ref}: --attn-revision COMMIT (pytest) or --revision COMMIT (attnprobe)"
        )
    patterns = ["*.json", "*.safetensors", *TOKENIZER_FILES, *(PICKLED if allow_pickle else ())]
    try:
        folder = snapshot_download(
            ref,
            revision=revision,
            local_files_only=not online,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
        )
    except LocalEntryNotFoundError:
        way = "check the connection" if online else _FETCH
        raise ModelError(f"no folder {ref}, and no such hub model in the cache; {way}") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(f"hub model {ref} cannot be fetched: {_first_line(error)}") from error
    return _Place(Path(folder), revision=Path(folder).name)


def _weights_files(place: _Place, *, allow_pickle: bool) -> list[Path]:
    if place.is_gguf:
        return [place.path]
    found = sorted(place.path.glob("*.safetensors"))
    if found:
        return found
    pickled = sorted(path for pattern in PICKLED for path in place.path.glob(pattern))
    if not pickled:
        raise ModelError(f"no weights in {place.path}: no *.safetensors there")
    if not allow_pickle:
        raise ModelError(
            f"{pickled[0]} holds pickled weights, and opening those can run any code; convert them "
            f"to safetensors{_way()}"
        )
    return pickled


def _way() -> str:
    if os.environ.get(NO_PICKLE):
        return ""
    return ", or allow them if you trust their source: --attn-allow-pickle"


def _format(file: Path) -> WeightsFormat:
    match file.suffix:
        case ".safetensors":
            return "safetensors"
        case ".gguf":
            return "gguf"
    return "pickle"


def _tokenizer_files(place: _Place) -> list[Path]:
    if place.is_gguf:
        return []
    return sorted({path for pattern in TOKENIZER_FILES for path in place.path.glob(pattern)})


def _sha256(files: Sequence[Path]) -> str:
    """Digest of a file; of several, the digest over their names and digests."""
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    lines = (f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _network(
    kind: Any, folder: Path, dtype: torch.dtype, device: torch.device, *, safe: bool
) -> PreTrainedModel:
    """The network of a folder as one of transformers' `AutoModel…` classes builds it."""
    try:
        network, info = kind.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            use_safetensors=safe,
        )
    except Exception as error:  # a stranger's files can make the parsers raise anything
        raise ModelError(
            f"{folder} cannot be loaded: {type(error).__name__}: {_first_line(error)}"
        ) from error
    absent = [str(key) for key in (*info["missing_keys"], *info["mismatched_keys"])]
    # Marian's positions are computed, hence in no file; its code lists them under the names that
    # they have in the network with a head.
    computed = network._keys_to_ignore_on_load_missing or ()
    absent = sorted(
        key
        for key in absent
        if "pooler" not in key and f"{network.base_model_prefix}.{key}" not in computed
    )
    if absent:
        raise ModelError(
            f"{len(absent)} weights are missing in {folder}, such as {absent[0]}; they would "
            "be random"
        )
    moved: PreTrainedModel = network.to(device)
    return moved


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ModelError(
            f"no tokenizer can be loaded from {folder}: {_first_line(error)}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines, warnings and progress bars meanwhile; verbosity is restored afterwards."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        # Not all bars go through transformers' own switch: that of a GGUF file does not.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
