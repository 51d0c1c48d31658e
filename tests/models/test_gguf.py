"""GGUF files: converted once, kept under their hash, and never trusted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from attnprobe.core.errors import ModelError
from attnprobe.core.needs import Need, Prediction
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model, load
from attnprobe.models import gguf as ours
from tests.support.gguf_files import HEADS, write_llama

TEXT = "The keys are old"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ATTNPROBE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_llama(path)
    return path


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were converted so far."""
    made: list[Path] = []
    convert = ours.convert

    def counted(path: Path, folder: Path, sha256: str) -> None:
        made.append(path)
        convert(path, folder, sha256)

    monkeypatch.setattr(ours, "convert", counted)
    return made


def folder_of(cache: Path, path: Path) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    versions = f"{metadata.version('transformers')}-{metadata.version('gguf')}"
    return cache / "gguf" / f"{digest[:16]}-{ours.FORMAT}-{versions}"


def rows(model: Model) -> bytes:
    (found,) = model.collect([Need(Sample(TEXT), "decoder", (0, 1), (2, 3))])
    return b"".join(found.weights[layer].tobytes() for layer in (0, 1))


# Converted once ----------------------------------------------------------------------------------


def test_a_file_is_converted_once(llama: Path, cache: Path, conversions: list[Path]) -> None:
    first = load(str(llama))
    assert first.architecture == "LlamaModel"
    assert first.sites["decoder"].heads == {0: HEADS, 1: HEADS}
    assert first.weights_sha256 == hashlib.sha256(llama.read_bytes()).hexdigest()
    assert first.max_tokens == 128
    second = load(str(llama))
    assert conversions == [llama]
    assert rows(first) == rows(second)
    (value,) = second.read_out([Prediction(Sample(TEXT), Span(9, 12))])
    assert value < 0
    assert (folder_of(cache, llama) / "model.safetensors").is_file()
    assert not list(cache.rglob(".making-*"))


def test_another_file_of_the_same_name_is_another_model(
    llama: Path, cache: Path, tmp_path: Path, conversions: list[Path]
) -> None:
    load(str(llama))
    other = tmp_path / llama.name
    write_llama(other, layers=1)
    assert load(str(other)).sites["decoder"].layers == (0,)
    assert conversions == [llama, other]


def test_the_same_file_elsewhere_is_the_same_model(
    llama: Path, cache: Path, tmp_path: Path, conversions: list[Path]
) -> None:
    load(str(llama))
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(llama.read_bytes())
    assert load(str(copy)).name == "copy.gguf"
    assert conversions == [llama]


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])


def _flip(folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)


def _lose(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _garble(folder: Path) -> None:
    (folder / ours.MANIFEST).write_text("{")


def _swap(folder: Path) -> None:
    manifest = json.loads((folder / ours.MANIFEST).read_text())
    manifest["sha256"] = manifest["sha256"][:16] + "0" * 48
    (folder / ours.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("damage", [_cut, _flip, _lose, _garble, _swap], ids=lambda f: f.__name__)
def test_a_damaged_cache_is_made_again(
    damage: object, llama: Path, cache: Path, conversions: list[Path]
) -> None:
    sound = rows(load(str(llama)))
    assert callable(damage)
    damage(folder_of(cache, llama))
    assert rows(load(str(llama))) == sound
    assert len(conversions) == 2
    load(str(llama))
    assert len(conversions) == 2


def test_two_runs_at_once_convert_once_p42(
    llama: Path, cache: Path, conversions: list[Path]
) -> None:
    digest = hashlib.sha256(llama.read_bytes()).hexdigest()
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(ours.unpacked(llama, digest)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [folder_of(cache, llama)] * 3
    assert conversions == [llama]


def test_other_versions_leave_each_others_folders_alone(
    llama: Path, cache: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(str(llama))
    mine = folder_of(cache, llama)
    made = (mine / "model.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as other:
        other.setattr(metadata, "version", lambda name: f"0.{len(name)}")
        theirs = folder_of(cache, llama)
        load(str(llama))
        assert theirs.is_dir()
    with monkeypatch.context() as later:
        later.setattr(ours, "FORMAT", ours.FORMAT + 1)
        load(str(llama))
    assert len(conversions) == 3
    load(str(llama))
    assert len(conversions) == 3
    assert (mine / "model.safetensors").stat().st_mtime_ns == made


def _refuse(*_: object) -> None:
    raise OSError("no links here")


@pytest.mark.parametrize("missing", [(), ("symlink",), ("symlink", "link")])
def test_what_lies_beside_the_file_is_not_read(
    missing: tuple[str, ...],
    llama: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in missing:
        monkeypatch.setattr(os, name, _refuse)
    beside = tmp_path / "mixed"
    beside.mkdir()
    shutil.copyfile(llama, beside / "tiny.gguf")
    stranger = {"tokenizer_class": "BertTokenizer", "auto_map": {}, "bos_token": "x"}
    (beside / "tokenizer_config.json").write_text(json.dumps(stranger))
    model = load(str(beside / "tiny.gguf"))
    assert model.max_tokens == 128
    assert model.tokenizer.eos_token == "</s>"
    assert sorted(path.name for path in beside.iterdir()) == ["tiny.gguf", "tokenizer_config.json"]


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATTNPROBE_CACHE", str(tmp_path / "here"))
    assert ours.cache_folder() == tmp_path / "here"
    monkeypatch.delenv("ATTNPROBE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ours.cache_folder() == tmp_path / "attnprobe"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert ours.cache_folder() == Path.home() / ".cache" / "attnprobe"


def test_a_cache_that_cannot_be_written_is_an_error(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATTNPROBE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be converted: .*ATTNPROBE_CACHE names another"):
        load(str(llama))


# Hostile files -----------------------------------------------------------------------------------


def broken(content: bytes) -> Iterator[bytes]:
    """The file cut short, with counts out of all proportion, and with noise in it."""
    for share in (0.1, 0.5, 0.9, 0.999):
        yield content[: int(len(content) * share)]
    yield content[:24]
    yield content[:8] + (2**60).to_bytes(8, "little") + content[16:]
    yield content[:16] + (2**60).to_bytes(8, "little") + content[24:]
    yield content[:24] + (2**60).to_bytes(8, "little") + content[32:]
    noise = np.random.default_rng(0).bytes(2000)
    yield content[:60] + noise + content[2060:]
    yield content[:24] + noise


def test_a_hostile_gguf_is_a_clear_error_p30(llama: Path, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    for content in broken(llama.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"hostile\.gguf"):
            load(str(path))
    assert not list(cache.rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (2, "9 weights are missing, such as "),
        # Each layer would be made, and its names looked up, before it is missed.
        (100_000, "ValueError: it has 11 tensors for 100000 layers"),
    ],
)
def test_missing_tensors_are_an_error_p30(
    cache: Path, tmp_path: Path, layers: int, message: str
) -> None:
    path = tmp_path / "short.gguf"
    write_llama(path, layers=1)
    content = path.read_bytes()
    key = content.index(b"llama.block_count") + len("llama.block_count") + 4
    path.write_bytes(content[:key] + layers.to_bytes(4, "little") + content[key + 4 :])
    with pytest.raises(ModelError, match=rf"short\.gguf cannot be loaded.*{message}"):
        load(str(path))


# The demo decoder ---------------------------------------------------------------------------------


def test_smollm2_agrees_with_what_is_known_of_it(smollm2: Model) -> None:
    assert smollm2.weights_sha256.startswith("b179c9523d0e6a0f98a330c7562b6827")
    assert smollm2.sites["decoder"].heads == dict.fromkeys(range(30), 9)
    assert smollm2.max_tokens == 8192
    keys, key, paris = smollm2.read_out(
        [
            Prediction(Sample("The keys to the cabinet are"), Span(24, 27), "is"),
            Prediction(Sample("The key to the cabinets is"), Span(24, 26), "are"),
            Prediction(Sample("The capital of France is Paris"), Span(25, 30), "London"),
        ]
    )
    assert round(keys, 1) == 3.4
    assert round(key, 1) == 2.2
    assert paris > 3
