"""Networks that accelerate divides among memory and disk: measured as they are in memory."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig
from transformers import AutoModel, TorchAoConfig

from attnprobe.core.errors import ModelError
from attnprobe.core.needs import Ablation, Need, Similarity
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.models import Model, load
from attnprobe.models.handed_over import network_sha256
from attnprobe.run.records import model_record
from tests.architectures.tiny import tiny_network, tiny_tokenizer

TEXTS = (Sample("The keys near the cabinet are old."), Sample("Keys."))


def weights(model: Model) -> list[np.ndarray]:
    (site,) = model.sites.values()
    found = model.collect(
        [
            Need(text, site.name, site.layers, tuple(range(len(model.encode(text).source))))
            for text in TEXTS
        ]
    )
    return [np.stack([rows.weights[layer] for layer in site.layers]) for rows in found]


def saved(folder: Path, architecture: str = "bert") -> Path:
    tiny_network(architecture).save_pretrained(folder)
    tiny_tokenizer(end=architecture == "bert").save_pretrained(folder)
    return folder


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets accelerate believe that the machine has so many bytes; the rest goes to disk."""

    def limit(size: int) -> None:
        for module in ("accelerate.utils.modeling", "transformers.integrations.accelerate"):
            monkeypatch.setattr(f"{module}.get_max_memory", lambda *_, **__: {"cpu": size})

    return limit


def waiting(network: nn.Module) -> int:
    return sum(weight.is_meta for weight in network.parameters())


@pytest.mark.parametrize(("dtype", "size"), [("float32", 100_000), ("bfloat16", 50_000)])
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_a_model_that_waits_on_disk_is_measured_as_in_memory(
    architecture: str, dtype: str, size: int, little_memory: Callable[[int], None], tmp_path: Path
) -> None:
    folder = saved(tmp_path, architecture)
    plain = load(folder, dtype=dtype)
    little_memory(size)
    model = load(folder, dtype=dtype, device_map="auto")
    assert set(model.network.hf_device_map.values()) == {"cpu", "disk"}
    before = waiting(model.network)
    assert 0 < before < len(list(model.network.parameters()))
    for found, expected in zip(weights(model), weights(plain), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert waiting(model.network) == before
    record = model_record(model, "x", asked=str(folder))
    assert (record.device, record.dtype, record.device_map) == ("cpu", dtype, "auto")
    assert record.weights_sha256 == plain.weights_sha256


def test_readouts_of_a_model_on_disk_are_those_in_memory(
    little_memory: Callable[[int], None], tmp_path: Path
) -> None:
    folder = saved(tmp_path)
    plain = load(folder)
    little_memory(100_000)
    model = load(folder, device_map="sequential")
    assert waiting(model.network)
    asked = [
        Similarity(TEXTS[0], "The doors are old.", ablation=ablation)
        for ablation in (
            None,
            Ablation("encoder", (Head(2, 1),)),
            Ablation("encoder", (Head(2, 1),), "mean", reference=TEXTS),
        )
    ]
    assert model.read_out(asked) == pytest.approx(plain.read_out(asked), abs=1e-6)


def test_the_links_to_the_files_on_disk_go_with_the_network(
    little_memory: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "made")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    little_memory(100_000)
    model = load(folder, device_map="auto")
    assert list(tmp_path.glob("attnprobe-*"))
    del model
    gc.collect()
    assert not list(tmp_path.glob("attnprobe-*"))


@pytest.mark.filterwarnings("ignore")  # of torchao
def test_a_quantised_model_takes_a_device_map(tmp_path: Path) -> None:
    plain, folder = saved(tmp_path / "plain"), tmp_path / "int8"
    options = TorchAoConfig(Int8WeightOnlyConfig())
    AutoModel.from_pretrained(plain, quantization_config=options).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    whole, placed = (
        load(folder, dtype="bfloat16"),
        load(folder, dtype="bfloat16", device_map="auto"),
    )
    assert placed.quantised == "int8 weights (torchao), 19 of 19 linear layers"
    for found, expected in zip(weights(placed), weights(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


# Networks that are handed over --------------------------------------------------------------------

MAP = {
    "embeddings": "cpu",
    "encoder.layer.0": "disk",
    "encoder.layer.1": "cpu",
    "encoder.layer.2": "disk",
    "pooler": "cpu",
}
OFFLOADS: dict[str, Callable[[Any, Path], Any]] = {
    "cpu": lambda network, _: cpu_offload(network),
    "disk": lambda network, folder: disk_offload(network, str(folder)),
    "mixed": lambda network, folder: dispatch_model(
        network, MAP, main_device="cpu", offload_dir=str(folder)
    ),
}


@pytest.mark.parametrize("kind", OFFLOADS)
def test_an_offloaded_network_is_measured_and_left_with_its_hooks_p64(
    kind: str, tmp_path: Path
) -> None:
    plain = tiny_network("bert")
    network = OFFLOADS[kind](copy.deepcopy(plain), tmp_path)
    assert waiting(network)
    hooks = {path: vars(module).get("_hf_hook") for path, module in network.named_modules()}
    before = dict(network.named_parameters())
    model = Model.of(network, tiny_tokenizer(), name="x")
    assert model.device == "cpu"
    expected = weights(Model.of(plain, tiny_tokenizer(), name="y"))
    for found, wanted in zip(weights(model), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert all(weight is before[name] for name, weight in network.named_parameters())
    assert hooks == {path: vars(module).get("_hf_hook") for path, module in network.named_modules()}
    assert model.weights_sha256 == network_sha256(plain)
    ids = torch.tensor([[1, 5, 6, 2]])
    with torch.no_grad():  # its own forward still works
        torch.testing.assert_close(network(ids)[0], plain(ids)[0])


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"device_map": "atuo"},
            "^device map 'atuo' is neither known nor a device; did you mean 'auto'",
        ),
        ({"device_map": "auto", "device": "cpu"}, "^the device 'cpu' and the device map 'auto' ex"),
    ],
)
def test_a_device_map_that_cannot_be_followed_is_refused(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        load(saved(tmp_path), **options)


def test_the_map_may_be_a_device(tmp_path: Path) -> None:
    model = load(saved(tmp_path), device_map="cpu")
    assert (model.device, waiting(model.network)) == ("cpu", 0)


# The options --------------------------------------------------------------------------------------

CASES = """
    version: 1
    suite: s
    cases:
      - id: a
        text: the cat
        expect: [entropy: {from: cat, heads: L0H0, max: 3, min: 0.0001}]
"""


@pytest.mark.parametrize("by", ["option", "ini"])
def test_pytest_takes_a_device_map(
    by: str,
    little_memory: Callable[[int], None],
    pytester: pytest.Pytester,
    tmp_path: Path,
) -> None:
    folder = saved(tmp_path / "made")
    little_memory(100_000)
    pytester.makefile(".attn.yaml", x=CASES)
    given = ["--attn-device-map=auto"] if by == "option" else []
    if by == "ini":
        pytester.makeini("[pytest]\nattn_device_map = auto")
    done = pytester.runpytest_inprocess(
        "-p", "no:hypothesispytest", f"--attn-model=m={folder}", *given
    )
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["attnprobe: *, float32, device map auto"])


def test_a_command_takes_a_device_map(attn: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    folder = saved(tmp_path / "made")
    code, said = attn("show", folder, "the cat", "--heads", "L0H0", "--device-map", "balanced")
    assert code == 0, said
    with pytest.raises(ModelError, match="did you mean 'balanced'"):
        attn("show", folder, "the cat", "--heads", "L0H0", "--device-map", "ballanced")
