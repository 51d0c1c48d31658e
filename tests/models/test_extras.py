"""Packages that only some models need: each missing one is named, with the extra that brings it."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from attnprobe.core.errors import ModelError
from attnprobe.models import load
from attnprobe.models.extras import EXTRAS
from attnprobe.models.loading import load_tokenizer
from attnprobe.models.quantised import check_library
from tests.support.demo_models import MINILM
from tests.support.packages import OURS

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
PACKAGES = {"google.protobuf": "protobuf"}


def gguf(folder: Path) -> None:
    file = folder / "x.gguf"
    file.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + (1).to_bytes(8, "little") + bytes(8))
    load(str(file))


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    load(f"{MINILM}+{folder}")


def pieces(folder: Path) -> None:
    (folder / "spiece.model").write_bytes(b"x")
    load_tokenizer(folder)


def torchao(folder: Path) -> None:
    check_library(json.loads('{"quantization_config": {"quant_method": "torchao"}}'), folder)


def device_map(folder: Path) -> None:
    load(MINILM, device_map="auto")


NEEDING: dict[str, tuple[Callable[[Path], None], str]] = {
    "gguf": (gguf, "reading x.gguf needs"),
    "peft": (adapter, "{folder} holds an adapter, which needs"),
    "sentencepiece": (pieces, "spiece.model is of SentencePiece, which needs"),
    "torchao": (torchao, "{folder} is quantised by torchao and needs"),
    "device-map": (device_map, "a device map needs"),
}


def test_extras_are_those_of_the_project() -> None:
    asked = PROJECT["project"]["optional-dependencies"]
    # Those of corpora and scans are told where they are imported.
    assert set(asked) - set(OURS) - {"parquet", "ray"} == set(EXTRAS) == set(NEEDING)
    for extra, modules in EXTRAS.items():
        packages = sorted(entry.partition(">")[0] for entry in asked[extra])
        assert packages == sorted(PACKAGES.get(module, module) for module in modules)
        required = {entry.partition(">")[0] for entry in PROJECT["project"]["dependencies"]}
        assert required.isdisjoint(packages)


@pytest.mark.parametrize(
    ("extra", "module"), [(extra, module) for extra in EXTRAS for module in EXTRAS[extra]]
)
def test_a_missing_package_is_named_with_its_extra_p64(
    extra: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need, start = NEEDING[extra]
    for other in EXTRAS[extra]:
        present = ModuleType(other)
        present.__spec__ = ModuleSpec(other, None)
        monkeypatch.setitem(sys.modules, other, None if other == module else present)
    with pytest.raises(ModelError) as refused:
        need(tmp_path)
    install = f'{PACKAGES.get(module, module)}: pip install "attnprobe[{extra}]"'
    assert f"{start.format(folder=tmp_path)} {install}" in str(refused.value)
