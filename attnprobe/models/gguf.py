"""GGUF files: converted once into a folder of safetensors, which loads in a second.

The folder lies in `$ATTNPROBE_CACHE`, by default `~/.cache/attnprobe`, under the hash of the file
and the versions that made it. It appears whole or not at all, and a damaged one is made again.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import save_file
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from attnprobe.core.errors import ModelError
from attnprobe.core.scratch import scratch
from attnprobe.models.extras import require
from attnprobe.models.files import link_into, read_json_object
from attnprobe.models.panics import panics_as_errors

VERSIONS = (2, 3)
# A hostile header may announce more than any model has, and reading that would never end.
MOST_TENSORS = 2**17
MOST_VALUES = 2**20
# Version of the folders that are written here; it rises whenever their content changes.
FORMAT = 2
# Types of tensors that are not quantised.
PLAIN = ("F64", "F32", "F16", "BF16")
MANIFEST = "attnprobe.json"
WEIGHTS = "model.safetensors"
BLOCK = 2**24


def cache_folder() -> Path:
    """The folder of converted models."""
    given = os.environ.get("ATTNPROBE_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(given).expanduser() if given else home / "attnprobe"


def check_gguf(path: Path) -> None:
    """Checks the header of a file.

    Raises:
        ModelError: it is no GGUF file, or packages that read such files are missing.
    """
    magic, version, tensors, values = _head(path)
    if magic != b"GGUF" or version not in VERSIONS:
        raise ModelError(f"{path} is no GGUF file of version 2 or 3, or it is broken")
    if not 0 < tensors <= MOST_TENSORS or values > MOST_VALUES:
        raise ModelError(f"{path} is broken: its head announces {tensors} tensors")
    require("gguf", f"reading {path.name}")


def _head(path: Path) -> tuple[bytes, int, int, int]:
    """Magic bytes, version, and the numbers of tensors and values; zeros for a shorter file."""
    with path.open("rb") as stream:
        head = stream.read(24)
    if len(head) < 24:
        return b"", 0, 0, 0
    version, tensors, values = (
        int.from_bytes(head[start:end], "little") for start, end in ((4, 8), (8, 16), (16, 24))
    )
    return head[:4], version, tensors, values


def unpacked(path: Path, sha256: str) -> Path:
    """The folder that holds a GGUF file as safetensors; the first call converts the file.

    Args:
        sha256: of the file. The folder's name has it and the versions of the packages, so that
            environments with different versions can share a cache.

    Raises:
        ModelError: the file cannot be read.
    """
    versions = (metadata.version(name) for name in ("transformers", "gguf"))
    folder = cache_folder() / "gguf" / "-".join((sha256[:16], str(FORMAT), *versions))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _is_sound(folder, sha256):
                convert(path, folder, sha256)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be converted: {error}; ATTNPROBE_CACHE names another cache folder"
        ) from error
    return folder


def convert(path: Path, folder: Path, sha256: str) -> None:
    with scratch(folder) as room:
        made, alone = room / "model", room / "source"
        made.mkdir(parents=True)
        alone.mkdir()
        try:
            # Alone in its folder, since transformers also reads files beside it.
            with panics_as_errors():
                _write(link_into(alone, path), made)
        except Exception as error:  # a stranger's file can make the parsers raise anything
            text = (str(error).strip() or "no reason given").splitlines()[0]
            raise ModelError(
                f"{path} cannot be loaded, it may be broken: {type(error).__name__}: {text}"
            ) from error
        manifest = {"sha256": sha256, "files": _sums(made), "quantised": _describe_types(path)}
        (made / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def quantised_in(folder: Path) -> str | None:
    """What of a converted file was quantised: `Q4_1 weights (GGUF), 210 of 211 matrices`."""
    described: str | None = read_json_object(folder / MANIFEST).get("quantised")
    return described


def _describe_types(path: Path) -> str | None:
    from gguf import GGUFReader

    types = [
        tensor.tensor_type.name for tensor in GGUFReader(path).tensors if len(tensor.shape) > 1
    ]
    counts = Counter(name for name in types if name not in PLAIN)
    return (
        "; ".join(
            f"{name} weights (GGUF), {count} of {len(types)} matrices"
            for name, count in counts.most_common()
        )
        or None
    )


def _write(path: Path, folder: Path) -> None:
    """Writes weights in float32, configuration and tokenizer of a GGUF file into a folder."""
    where: dict[str, Any] = {
        "gguf_file": path.name,
        "local_files_only": True,
        "trust_remote_code": False,
    }
    config = AutoConfig.from_pretrained(path.parent, **where)
    _check_layers(config, path)
    # With its head if it has one, since the model may have to predict words.
    kind: Any = AutoModel
    if type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        kind = AutoModelForSeq2SeqLM
    elif type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        kind = AutoModelForCausalLM
    network, info = kind.from_pretrained(
        path.parent, dtype=torch.float32, output_loading_info=True, **where
    )
    absent = sorted(map(str, (*info["missing_keys"], *info["mismatched_keys"])))
    if absent:
        raise ValueError(f"{len(absent)} weights are missing, such as {absent[0]}")
    # save_pretrained refuses networks that were quantised, although these are plain numbers now.
    weights: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, weight in network.state_dict().items():
        if weight.data_ptr() not in seen:  # a tied weight is kept once
            weights[name] = weight.contiguous()
        seen.add(weight.data_ptr())
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    network.config.architectures = [type(network).__name__]
    network.config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path.parent, **where).save_pretrained(folder)


def _check_layers(config: Any, path: Path) -> None:
    """Raises ValueError for more layers than tensors: all layers are made before any is missed."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    _, _, tensors, _ = _head(path)
    if layers > tensors:
        raise ValueError(f"it has {tensors} tensors for {layers} layers")


def _is_sound(folder: Path, sha256: str) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and (manifest.get("sha256"), manifest.get("files")) == (
        sha256,
        _sums(folder),
    )


def _sums(folder: Path) -> dict[str, int]:
    """A checksum of each file; it finds damage, and forgery is no risk in one's own cache."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST:
            total = 0
            with path.open("rb") as stream:
                while block := stream.read(BLOCK):
                    total = zlib.crc32(block, total)
            found[path.name] = total
    return found
