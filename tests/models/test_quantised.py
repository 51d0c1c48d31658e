"""Quantised networks: folders of torchao, dynamic int8 in memory, and what results say of them."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from torch import nn
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8DynamicActivationIntxWeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    PerAxis,
    PerGroup,
    quantize_,
)
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel, TorchAoConfig

from attnprobe import run_cases
from attnprobe.compare.changes import compare_results
from attnprobe.core.errors import ModelError
from attnprobe.core.needs import Ablation, MapNeed, MapView, Need, Prediction, Similarity
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model, load
from attnprobe.models.check import check
from attnprobe.models.handed_over import network_sha256
from attnprobe.models.quantised import describe_quantised
from attnprobe.results.card import card_yaml
from attnprobe.results.records import read_results
from attnprobe.results.summary import markdown
from attnprobe.run.records import model_record
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up_decisions import case, decide
from tests.support.made_up_results import MODEL, run

# What torch says of itself while it quantises.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
TEXTS = (
    Sample("The keys near the cabinet are old."),
    Sample("Keys."),
    Sample("Nobody knows which of the doors they open."),
)
INT8 = Int8WeightOnlyConfig()
INT4 = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32))


def saved(folder: Path, config: Any, architecture: str = "bert", **options: Any) -> Path:
    """A tiny network that transformers has quantised and saved; random, so it is no good model."""
    plain = folder / "plain"
    tiny_network(architecture).save_pretrained(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = AutoModel.from_pretrained(
            plain, quantization_config=TorchAoConfig(config, **options)
        )
        network.save_pretrained(folder / "int")
    tiny_tokenizer(end=architecture == "bert").save_pretrained(folder / "int")
    return folder / "int"


def eager_weights(network: Any, ids: Sequence[int]) -> np.ndarray:
    """The weights `[layers, heads, target, source]` that a network itself returns for one text."""
    network.train(False).config._attn_implementation_internal = "eager"
    with torch.no_grad():
        found = network(torch.tensor([list(ids)]), output_attentions=True).attentions
    network.config._attn_implementation_internal = "sdpa"
    return torch.cat(found).float().numpy()


def weights(model: Model, *samples: Sample) -> list[np.ndarray]:
    """All weights of each sample, all measured together."""
    (site,) = model.sites.values()
    needs = [
        Need(sample, site.name, site.layers, tuple(range(len(model.encode(sample).source))))
        for sample in samples
    ]
    found = model.collect(needs)
    return [np.stack([rows.weights[layer] for layer in site.layers]) for rows in found]


# Folders of torchao -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "dtype", "bound"),
    [(INT8, "float32", 1e-5), (INT4, "float32", 1e-5), (INT4, "bfloat16", 6e-2)],
)
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_a_folder_of_torchao_is_measured_as_transformers_runs_it_p64(
    config: Any, dtype: str, bound: float, architecture: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path, config, architecture)
    model = load(folder, dtype=dtype)
    (found,) = weights(model, TEXTS[0])
    # The network of the files in float32, which the bound of half precision is a distance to.
    expected = eager_weights(AutoModel.from_pretrained(folder), model.encode(TEXTS[0]).source.ids)
    np.testing.assert_allclose(found, expected, atol=bound)
    plain = eager_weights(tiny_network(architecture), model.encode(TEXTS[0]).source.ids)
    assert abs(found - plain).max() > 1e-4  # the quantised weights, and not others
    bits = "int8" if config is INT8 else "int4"
    layers = 19 if architecture == "bert" else 21
    record = model_record(model, "x", asked=str(folder))
    assert record.quantised == f"{bits} weights (torchao), {layers} of {layers} linear layers"
    assert (record.dtype, record.weights_format) == (dtype, "safetensors")
    content = (folder / "model.safetensors").read_bytes()
    assert record.weights_sha256 == hashlib.sha256(content).hexdigest()


def test_what_is_quantised_is_counted_and_not_taken_from_the_configuration(tmp_path: Path) -> None:
    folder = saved(tmp_path, INT8, modules_to_not_convert=["encoder.layer.1", "pooler"])
    assert load(folder).quantised == "int8 weights (torchao), 12 of 19 linear layers"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("mystery", "is quantised by 'mystery', which transformers does not know; save it as"),
        ("bitsandbytes", "cannot be loaded: .*bitsandbytes"),
        ("gptq", "cannot be loaded: "),
        (None, "cannot be loaded: .*quant_method"),
    ],
)
def test_a_quantisation_that_cannot_be_read_is_refused_p64(
    method: str | None, message: str, tmp_path: Path
) -> None:
    """Weights of an unknown kind would be read as plain numbers."""
    network = tiny_network("bert")
    for module in network.modules():
        if isinstance(module, nn.Linear):
            codes = (module.weight / module.weight.abs().max() * 127).round()
            module.weight = nn.Parameter(codes.detach().to(torch.int8), requires_grad=False)
    network.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "load_in_8bit": method != "gptq"}
    if method in ("mystery", None):
        del config["quantization_config"]["load_in_8bit"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


def test_pickled_weights_of_torchao_are_refused_by_name_p64(tmp_path: Path) -> None:
    folder = saved(tmp_path, INT8)
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pytorch_model\.bin holds pickled weights"):
        load(folder)


def test_an_adapter_is_not_merged_into_a_quantised_base_p49_p64(tmp_path: Path) -> None:
    folder = saved(tmp_path, INT8)
    config = LoraConfig(target_modules=["query"], init_lora_weights=False)
    get_peft_model(tiny_network("bert"), config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match="is an adapter of a quantised base, which a merge would"):
        load(f"{folder}+{tmp_path / 'adapter'}")


# Dynamic int8 in memory ---------------------------------------------------------------------------


def of_torch_ao(network: PreTrainedModel, **options: Any) -> nn.Module:
    part: nn.Module = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, **options)
    return part


def of_torchao(config: Any) -> Callable[[PreTrainedModel], nn.Module]:
    def quantise(network: PreTrainedModel) -> nn.Module:
        quantize_(network, config)
        return network

    return quantise


DYNAMIC: dict[str, Callable[[PreTrainedModel], nn.Module]] = {
    "torch.ao": of_torch_ao,
    "torchao": of_torchao(Int8DynamicActivationInt8WeightConfig()),
    "torchao int4": of_torchao(
        Int8DynamicActivationIntxWeightConfig(weight_granularity=PerGroup(32))
    ),
}


def dynamic(kind: str, architecture: str = "bert", **options: Any) -> Model:
    network = DYNAMIC[kind](tiny_network(architecture))
    tokens = tiny_tokenizer(end=architecture == "bert")
    return Model.of(network, tokens, name="dynamic", **options)


@pytest.mark.parametrize("kind", DYNAMIC)
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_dynamic_int8_is_measured_as_on_the_text_alone_p64(kind: str, architecture: str) -> None:
    model = dynamic(kind, architecture)
    before = model.forwards
    found = weights(model, *TEXTS)
    assert model.forwards - before == len(TEXTS)
    for sample, measured in zip(TEXTS, found, strict=True):
        ids = model.encode(sample).source.ids
        np.testing.assert_allclose(measured, eager_weights(model.network, ids), atol=1e-6)
        (alone,) = weights(model, sample)
        np.testing.assert_array_equal(measured, alone)


def test_texts_of_a_batch_disturb_each_other_in_dynamic_int8() -> None:
    """Why a text is measured alone."""
    network: Any = of_torch_ao(tiny_network("bert")).train(False)
    ids = torch.tensor([[1, 5, 6, 7, 2], [1, 200, 9, 210, 2]])
    with torch.no_grad():
        beside, alone = network(ids)[0][:1], network(ids[:1])[0]
    assert float((beside - alone).abs().max()) > 1e-3


def map_need(model: Model, sample: Sample) -> MapNeed:
    """Asks for a sum over the whole map of each layer, with coefficients that differ."""
    size = len(model.encode(sample).source)
    whole = MapView(
        cells=np.arange(size * size, dtype=np.float32).reshape(1, size, size),
        rows=np.zeros((1, size), np.float32),
        entropies=np.zeros((1, size), np.float32),
        visible=np.ones((size, size), np.bool_),
        stripe=np.zeros(size, np.float32),
    )
    return MapNeed(
        sample,
        "encoder",
        dict.fromkeys(range(3), whole),
        queries=np.eye(1, size, dtype=np.float32),
        words=np.eye(size, 2, dtype=np.float32),
        asked=np.zeros(1, np.int64),
        expected=np.zeros(1, np.int64),
        others=np.array([[False, True]]),
    )


def test_sums_over_maps_of_dynamic_int8_are_those_of_the_text_alone_p64() -> None:
    model = dynamic("torch.ao")
    found = list(model.survey([map_need(model, sample) for sample in TEXTS]))
    assert sorted(sums.needs for sums in found) == [(0,), (1,), (2,)]
    for sums in found:
        ids = model.encode(TEXTS[sums.needs[0]]).source.ids
        maps = eager_weights(model.network, ids)
        coefficients = np.arange(len(ids) ** 2).reshape(len(ids), len(ids))
        expected = (maps * coefficients).sum(axis=(2, 3)).ravel()
        np.testing.assert_allclose(sums.cells[0], expected, rtol=1e-5)


def test_words_that_dynamic_int8_predicts_are_those_of_the_text_alone_p64() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: Any = AutoModelForCausalLM.from_config(tiny_network("llama").config)
    model = Model.of(of_torch_ao(network), tiny_tokenizer(end=False), name="words")
    asked = [Prediction(sample, Span(len(sample.text) - 1, len(sample.text))) for sample in TEXTS]
    found = model.read_out(asked)
    model.network.config._attn_implementation_internal = "eager"
    for readout, value in zip(asked, found, strict=True):
        *before, last = model.encode(readout.sample).source.ids
        with torch.no_grad():
            logits = model.network(torch.tensor([before])).logits[0, -1]
        assert value == pytest.approx(float(logits.log_softmax(-1)[last]), abs=1e-5)


@pytest.mark.parametrize(
    "ablation",
    [
        None,
        Ablation("encoder", (Head(1, 2),)),
        Ablation("encoder", (Head(1, 2),), "mean", reference=TEXTS),
    ],
    ids=["intact", "zero", "mean"],
)
def test_embeddings_of_dynamic_int8_are_those_of_the_text_alone_p64(
    ablation: Ablation | None,
) -> None:
    model = dynamic("torch.ao")
    asked = [
        Similarity(sample, "The doors are old.", "Keys.", ablation=ablation) for sample in TEXTS
    ]
    together = model.read_out(asked)
    assert together == [model.read_out([readout])[0] for readout in asked]
    if ablation is None:
        texts = (TEXTS[0].text, "The doors are old.", "Keys.")
        model.network.config._attn_implementation_internal = "eager"
        with torch.no_grad():
            states = [
                model.network(torch.tensor([model.encode(Sample(text)).source.ids]))[0][0]
                for text in texts
            ]
        text, good, bad = (found.mean(dim=0) for found in states)
        expected = torch.cosine_similarity(text, good, 0) - torch.cosine_similarity(text, bad, 0)
        assert together[0] == pytest.approx(float(expected), abs=1e-6)


def test_the_check_of_all_rows_takes_texts_alone() -> None:
    (row,) = check(dynamic("torch.ao"))
    assert max(row.unpadded, row.right, row.left, row.batch) < 1e-6


CASE = """
version: 1
suite: {suite}
cases:
  - id: keys
    text: The keys near the cabinet are old.
    expect:
      - attends: {{from: are, to: keys, heads: L1H1, min: 0.0001}}
{more}"""
MORE = """
  - id: more
    template: "{{a}} {{b}} are old and nobody knows which of the doors they open."
    rows: [{{a: Keys, b: there}}, {{a: Doors of houses, b: here}}]
    expect:
      - attends: {{from: are, to: old, heads: L2H1, min: 0.0001}}
"""


def test_a_case_of_dynamic_int8_has_the_same_numbers_in_any_suite_p64(tmp_path: Path) -> None:
    model = dynamic("torch.ao")
    found = []
    for name, more in (("alone", ""), ("beside", MORE)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "x.attn.yaml").write_text(CASE.format(suite=name, more=more.format()))
        results = run_cases(model, folder)
        (case,) = [case for case in results.cases if case.id == "keys"]
        found.append(case.expectations[0].deciding)
    assert found[0] == found[1] is not None
    assert (
        results.models[0].quantised
        == "int8 weights and activations (torch.ao), 19 of 19 linear layers"
    )


# What is said -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantise", "expected"),
    [
        (lambda network: network, None),
        (DYNAMIC["torch.ao"], "int8 weights and activations (torch.ao), 19 of 19 linear layers"),
        (
            lambda network: of_torch_ao(network, dtype=torch.float16),
            "float16 weights (torch.ao), 19 of 19 linear layers",
        ),
        (DYNAMIC["torchao"], "int8 weights and activations (torchao), 19 of 19 linear layers"),
        (DYNAMIC["torchao int4"], "int8 weights and activations (torchao), 19 of 19 linear layers"),
        (
            of_torchao(IntxWeightOnlyConfig(weight_dtype=torch.int2, granularity=PerAxis(0))),
            "int2 weights (torchao), 19 of 19 linear layers",
        ),
    ],
)
def test_what_is_quantised_is_read_from_the_network(quantise: Any, expected: str | None) -> None:
    assert describe_quantised(quantise(tiny_network("bert"))) == expected


def test_several_kinds_of_quantised_layers_are_counted_apart() -> None:
    network = tiny_network("bert")
    quantize_(network.encoder.layer[0], INT8)
    quantize_(network.encoder.layer[1], INT4)
    quantize_(
        network.embeddings,
        IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerGroup(32)),
        lambda module, _: isinstance(module, nn.Embedding) and module.num_embeddings > 200,
    )
    assert describe_quantised(network) == (
        "int8 weights (torchao), 1 of 3 embeddings and 6 of 19 linear layers; "
        "int4 weights (torchao), 6 of 19 linear layers"
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_quantised_network_in_memory_is_left_as_it_was_p64(dtype: torch.dtype) -> None:
    network = tiny_network("bert").to(dtype)
    quantize_(network, INT4)
    before = network_sha256(network)
    kept = dict(network.named_parameters())
    model = Model.of(network, tiny_tokenizer(), name="x")
    weights(model, TEXTS[0])
    assert all(weight is kept[name] for name, weight in network.named_parameters())
    assert model.weights_sha256 == network_sha256(network) == before


INT8_OF_NINETEEN = "int8 weights (torchao), 19 of 19 linear layers"
RUN = """
    version: 1
    suite: s
    cases:
      - id: a
        text: the cat
        expect: [entropy: {from: cat, heads: L0H0, max: 3, min: 0.0001}]
"""


def test_a_run_says_at_its_end_and_in_its_files_what_is_quantised(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "made", INT8)
    pytester.makefile(".attn.yaml", x=RUN)
    done = pytester.runpytest_inprocess(
        "-p",
        "no:hypothesispytest",
        f"--attn-model=m={folder}",
        "--attn-json=r.json",
        "--junitxml=r.xml",
        "--html=r.html",
        "--self-contained-html",
    )
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines([f"attnprobe: m: {INT8_OF_NINETEEN}"])
    assert read_results(pytester.path / "r.json").models[0].quantised == INT8_OF_NINETEEN
    assert f'name="attnprobe.quantised" value="{INT8_OF_NINETEEN}"' in Path("r.xml").read_text()
    assert INT8_OF_NINETEEN in Path("r.html").read_text()


HOSTILE = "int8 weights <b>(|`x`)"


def test_summary_card_comparison_and_gate_name_what_is_quantised_p31() -> None:
    plain = run(case("c"))
    found = run(case("c"), models=(replace(MODEL, quantised=HOSTILE),))
    assert HOSTILE not in markdown(found)
    assert "int8 weights &#60;b&#62;" in markdown(found)
    (index,) = yaml.safe_load(card_yaml(found))["model-index"]
    (metric,) = index["results"][0]["metrics"]
    assert metric["args"]["quantised"] == HOSTILE
    assert "quantised" not in card_yaml(plain)
    remark = f"minilm: not quantised before, {HOSTILE} now"
    assert remark in compare_results(plain, found).warnings
    assert not [text for text in compare_results(found, found).warnings if "quantised" in text]
    assert f", {HOSTILE})" in decide(found).sentence
    assert "quantised" not in decide(plain).sentence
