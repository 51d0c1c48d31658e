"""Which files a model is loaded from, what its hash covers, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.core.sites import Head
from attnprobe.models import load
from attnprobe.models.files import find_weights
from attnprobe.models.location import locate
from attnprobe.mutants.damage import write_mutant
from attnprobe.mutants.kinds import Mutation
from tests.architectures.tiny import tiny_network, tiny_tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
QUERY = "encoder.layer.0.attention.self.query.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny BERT in one file, and another one in shards."""
    found = {}
    for name, seed, size in (("whole", 0, "1GB"), ("shards", 1, "20KB")):
        found[name] = tmp_path_factory.mktemp("models") / name
        tiny_network("bert", seed=seed).save_pretrained(found[name], max_shard_size=size)
        tiny_tokenizer().save_pretrained(found[name])
    assert len(list(found["shards"].glob("model-*.safetensors"))) > 2
    return found


@pytest.fixture
def whole(made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made["whole"], tmp_path / "whole"))


@pytest.fixture
def shards(made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made["shards"], tmp_path / "shards"))


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shards_hash(folder: Path) -> str:
    lines = [f"{file_hash(path)}  {path.name}\n" for path in sorted(folder.glob("model-*"))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_index(folder: Path, name: Any, index: str = INDEX) -> None:
    """An index that places every weight in one file."""
    places = dict.fromkeys(load_file(folder / WEIGHTS), name)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def save_other(path: Path) -> None:
    """Weights of the same names with other values."""
    save_file(tiny_network("bert", seed=5).state_dict(), path, metadata={"format": "pt"})


def same(network: PreTrainedModel, other: PreTrainedModel) -> bool:
    mine, theirs = network.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[x], theirs[x]) for x in mine)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.write_text, (self.path, "opened")


# What is hashed is what is loaded ----------------------------------------------------------------


@pytest.mark.parametrize(
    "spare", ["consolidated.safetensors", "adapter_model.safetensors", "model.fp16.safetensors"]
)
def test_spare_weights_change_neither_the_network_nor_its_hash_p51(
    spare: str, whole: Path, shards: Path
) -> None:
    for folder, digest in ((whole, file_hash(whole / WEIGHTS)), (shards, shards_hash(shards))):
        save_other(folder / spare)
        (folder / "optimizer.pt").write_bytes(b"pickled")
        model = load(str(folder), check=False)
        assert model.weights_sha256 == digest
        assert same(model.network, AutoModel.from_pretrained(folder))


def test_a_single_file_goes_before_an_index_p51(whole: Path, shards: Path) -> None:
    digest = file_hash(whole / WEIGHTS)
    for path in shards.glob("model*"):
        shutil.copy(path, whole)
    model = load(str(whole), check=False)
    assert model.weights_sha256 == digest
    assert same(model.network, tiny_network("bert", seed=0))
    (whole / WEIGHTS).unlink()
    model = load(str(whole), check=False)
    assert model.weights_sha256 == shards_hash(whole)
    assert same(model.network, tiny_network("bert", seed=1))


def test_the_file_that_the_configuration_names_is_the_one_p51(whole: Path, tmp_path: Path) -> None:
    save_other(whole / "other.safetensors")
    config = json.loads((whole / "config.json").read_text())
    config["transformers_weights"] = "other.safetensors"
    (whole / "config.json").write_text(json.dumps(config))
    model = load(str(whole), check=False)
    assert model.weights_sha256 == file_hash(whole / "other.safetensors")
    assert same(model.network, tiny_network("bert", seed=5))
    write_mutant(str(whole), Mutation("shuffle-queries", Head(1, 0)), tmp_path / "mutant")
    changed = load(str(tmp_path / "mutant"), check=False).network.state_dict()
    torch.testing.assert_close(changed[QUERY], model.network.state_dict()[QUERY], rtol=0, atol=0)

    config["transformers_weights"] = "../other.safetensors"
    (whole / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json names '\.\./other\.safetensors'"):
        load(str(whole))


def test_links_as_in_a_hub_snapshot_are_followed_p51(shards: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--me--tiny" / "snapshots" / "abc"
    blobs = tmp_path / "models--me--tiny" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in shards.iterdir():
        digest = file_hash(path)
        shutil.copy(path, blobs / digest)
        (snapshot / path.name).symlink_to(Path("../../blobs") / digest)
    linked, plain = load(str(snapshot), check=False), load(str(shards), check=False)
    assert linked.weights_sha256 == plain.weights_sha256 == shards_hash(shards)
    assert same(linked.network, plain.network)


def test_a_mutant_is_made_from_the_weights_that_are_loaded_p51(
    shards: Path, tmp_path: Path
) -> None:
    save_other(shards / "spare.safetensors")
    write_mutant(str(shards), Mutation("shuffle-queries", Head(1, 0)), tmp_path / "mutant")
    changed = load_file(tmp_path / "mutant" / WEIGHTS)
    torch.testing.assert_close(
        changed[QUERY], tiny_network("bert", seed=1).state_dict()[QUERY], rtol=0, atol=0
    )


# What is refused ---------------------------------------------------------------------------------


def test_an_index_that_names_pickled_weights_is_refused_unless_allowed_p51(
    whole: Path,
) -> None:
    write_index(whole, "pytorch_model.bin")
    torch.save(tiny_network("bert", seed=5).state_dict(), whole / "pytorch_model.bin")
    (whole / WEIGHTS).rename(whole / "renamed.safetensors")
    with pytest.raises(
        ModelError,
        match=r"pytorch_model\.bin, named in model\.safetensors\.index\.json, holds pickled",
    ):
        load(str(whole))
    allowed = load(str(whole), allow_pickle=True, check=False)
    assert allowed.weights_format == "pickle"
    assert allowed.weights_sha256 == file_hash(whole / "pytorch_model.bin")
    assert same(allowed.network, tiny_network("bert", seed=5))


def test_pickled_shards_are_pickled_p51(whole: Path, tmp_path: Path) -> None:
    write_index(whole, "pytorch_model-1.bin", "pytorch_model.bin.index.json")
    (whole / WEIGHTS).unlink()
    torch.save(tiny_network("bert", seed=5).state_dict(), whole / "pytorch_model-1.bin")
    with pytest.raises(ModelError, match=r"holds pickled weights"):
        load(str(whole))
    allowed = load(str(whole), allow_pickle=True, check=False)
    assert allowed.weights_format == "pickle"
    assert allowed.weights_sha256 == file_hash(whole / "pytorch_model-1.bin")
    assert same(allowed.network, tiny_network("bert", seed=5))
    torch.save({QUERY: Payload(tmp_path / "seen")}, whole / "pytorch_model-1.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(whole), allow_pickle=True)
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("protocol", [2, None], ids=["plain", "torch"])
def test_pickled_content_under_a_safe_name_is_refused_p51(
    allow_pickle: bool, sharded: bool, protocol: int | None, whole: Path, tmp_path: Path
) -> None:
    if sharded:
        write_index(whole, "shard.safetensors")
        (whole / WEIGHTS).unlink()
    path = whole / ("shard.safetensors" if sharded else WEIGHTS)
    if protocol is None:
        torch.save({QUERY: Payload(tmp_path / "seen")}, path)
    else:
        path.write_bytes(pickle.dumps({QUERY: Payload(tmp_path / "seen")}, protocol))
    with pytest.raises(ModelError, match=rf"{path.name} is named as safetensors, but its content"):
        load(str(whole), allow_pickle=allow_pickle)
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08\0\0\0", b"version https://git-lfs.github.com/spec/v1\n", b"\xff" * 64],
    ids=["empty", "cut", "git lfs", "noise"],
)
def test_what_is_no_safetensors_file_is_refused_p51(content: bytes, whole: Path) -> None:
    (whole / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is no safetensors file"):
        load(str(whole))


@pytest.mark.parametrize(
    "name",
    [
        "../whole/model.safetensors",
        "/etc/passwd",
        "sub/x.safetensors",
        "sub\\x.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "..",
        ".",
        "",
        "a\0.safetensors",
        "model.safetensors.index.json",
        None,
        3,
        ["x.safetensors"],
    ],
)
def test_an_index_names_files_of_its_own_folder_alone_p51(name: Any, whole: Path) -> None:
    write_index(whole, name)
    (whole / "sub").mkdir()
    shutil.copy(whole / WEIGHTS, whole / "sub" / "x.safetensors")
    (whole / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"index\.json names .* files of its own folder alone"):
        load(str(whole), allow_pickle=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"index\.json cannot be read"),
        ("[]", r"index\.json cannot be read: it holds no JSON object"),
        ("{}", "is no index of weights"),
        ('{"weight_map": {}}', "is no index of weights"),
        ('{"weight_map": ["x"]}', "is no index of weights"),
        ('{"weight_map": {"a": "x.safetensors"}}', r"no file .*x\.safetensors; model\.safetensors"),
    ],
)
def test_a_broken_index_is_refused_p51(content: str, message: str, whole: Path) -> None:
    (whole / INDEX).write_text(content)
    (whole / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=message):
        load(str(whole))


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "weights.safetensors"])
def test_weights_of_another_name_are_not_read_p51(name: str, whole: Path) -> None:
    (whole / WEIGHTS).rename(whole / name)
    with pytest.raises(ModelError, match=rf"no weights in .*files of other names .*: {name}"):
        load(str(whole))


def test_a_distributed_checkpoint_is_refused_p51(whole: Path) -> None:
    name = "shard-00001-model-00001-of-00002.safetensors"
    shutil.copy(whole / WEIGHTS, whole / name)
    with pytest.raises(ModelError, match=f"{name} is part of a distributed checkpoint"):
        load(str(whole))


def test_a_link_to_nothing_is_no_file_p51(whole: Path) -> None:
    (whole / WEIGHTS).unlink()
    (whole / WEIGHTS).symlink_to("gone")
    with pytest.raises(ModelError, match="no weights in"):
        load(str(whole))


# Where links cannot be made ----------------------------------------------------------------------


def refused(*_: object, **__: object) -> None:
    raise PermissionError(1314, "a required privilege is not held")


@pytest.mark.parametrize("lacking", [("symlink",), ("symlink", "link")])
def test_a_model_is_loaded_where_links_cannot_be_made(
    lacking: tuple[str, ...], shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in lacking:
        monkeypatch.setattr(os, name, refused)
    assert load(str(shards)).weights_sha256 == shards_hash(shards)
    assert not list(tmp_path.glob("attnprobe-*"))
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(shutil, "copyfile", refused)
    with pytest.raises(ModelError, match=r"can be neither linked nor copied into"):
        load(str(shards))
    assert not list(tmp_path.glob("attnprobe-*"))


def test_a_file_that_cannot_be_removed_while_it_is_mapped_is_no_error(
    whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with find_weights(whole, allow_pickle=False).staged():
        monkeypatch.setattr(os, "unlink", refused)
    monkeypatch.undo()
    assert list(tmp_path.glob("attnprobe-*"))


def test_a_tokenizer_for_newer_versions_is_hashed(whole: Path) -> None:
    newer = whole / "tokenizer.4.0.0.json"
    shutil.copy(whole / "tokenizer.json", newer)
    settings = json.loads((whole / "tokenizer_config.json").read_text())
    settings["fast_tokenizer_files"] = [newer.name]
    (whole / "tokenizer_config.json").write_text(json.dumps(settings))
    before = load(str(whole), check=False)
    other = json.loads(newer.read_text())
    other["normalizer"] = {"type": "Lowercase"}
    newer.write_text(json.dumps(other))
    after = load(str(whole), check=False)
    upper, lower = (model.tokenizer("DOG")["input_ids"] for model in (before, after))
    assert upper != lower
    assert before.tokenizer_sha256 != after.tokenizer_sha256


# Models of sentence-transformers ------------------------------------------------------------------


def sentence_model(network: Path, folder: Path, inner: str) -> Path:
    """A model of sentence-transformers with its network in a folder of its own, as of old."""
    shutil.copytree(network, folder / inner)
    write_modules(folder, inner)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


def write_modules(folder: Path, inner: str) -> None:
    kind = "sentence_transformers.models."
    modules = [
        {"idx": 0, "name": "0", "path": inner, "type": f"{kind}Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kind}Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize("inner", ["0_Transformer", ""])
def test_a_sentence_model_is_found_through_its_modules_p51(
    made: dict[str, Path], tmp_path: Path, inner: str
) -> None:
    folder = tmp_path / "sentences"
    if inner:
        sentence_model(made["whole"], folder, inner)
        # The root's own files are of no network.
        (folder / "config.json").write_text('{"__version__": {"transformers": "4.6.1"}}')
    else:
        shutil.copytree(made["whole"], folder)
        write_modules(folder, inner)
    model = load(str(folder), check=False)
    assert model.weights_sha256 == file_hash(made["whole"] / WEIGHTS)
    assert same(model.network, tiny_network("bert", seed=0))
    assert model.tokenizer_sha256 == load(str(made["whole"]), check=False).tokenizer_sha256
    assert model.name == "sentences"


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("..", "outside of the model's folder"),
        ("../whole", "outside of the model's folder"),
        ("/", "outside of the model's folder"),
        ("link", "outside of the model's folder"),
        ("0_Missing", "there is no such folder"),
        ("a\0b", "there is no such folder"),
        ("a" * 5000, "there is no such folder"),
    ],
)
def test_modules_lead_nowhere_but_into_the_folder_p51(
    made: dict[str, Path], whole: Path, tmp_path: Path, inner: str, message: str
) -> None:
    folder = sentence_model(made["whole"], tmp_path / "sentences", "0_Transformer")
    (folder / "link").symlink_to(whole, target_is_directory=True)
    write_modules(folder, inner)
    with pytest.raises(ModelError, match=message):
        load(str(folder))


@pytest.mark.parametrize("text", ["[]", "{}", '[1, {}, {"type": 3, "path": "x"}]'])
def test_modules_that_name_no_network_change_nothing_p51(whole: Path, text: str) -> None:
    (whole / "modules.json").write_text(text)
    assert load(str(whole), check=False).weights_sha256 == file_hash(whole / WEIGHTS)


def test_modules_that_cannot_be_read_are_refused_p51(whole: Path) -> None:
    (whole / "modules.json").write_text("[")
    with pytest.raises(ModelError, match=r"modules\.json cannot be read"):
        load(str(whole))


def test_the_folder_of_a_sentence_model_is_fetched_too_p51(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sentence_model(made["whole"], tmp_path / "snapshot", "0_Transformer")
    asked = []

    def fetch(ref: str, **options: Any) -> str:
        asked.append((options["allow_patterns"], options["ignore_patterns"]))
        return str(folder)

    monkeypatch.setattr("attnprobe.models.location.snapshot_download", fetch)
    found = locate("me/sentences", revision="a" * 40, online=True, allow_pickle=False)
    assert found.path == folder / "0_Transformer"
    (outer, none_inside), (inside, ignored) = asked
    assert (none_inside, ignored) == (["*/*"], [])
    assert inside == [
        *(f"0_Transformer/{pattern}" for pattern in outer),
        "*_Pooling/config.json",
    ]
