"""Networks that a program hands over: wrapped, compiled, quantised, offloaded, or none at all."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor
from transformers import BartForSequenceClassification, T5ForSequenceClassification, pipeline

from attnprobe.core.errors import MeasureError, ModelError, SelectorError
from attnprobe.core.needs import Need
from attnprobe.core.texts import Sample
from attnprobe.models import Model, load
from attnprobe.models.handed_over import network_sha256
from tests.architectures.tiny import tiny_network, tiny_tokenizer

# What torch and peft say of themselves while they wrap a network.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
TEXT = Sample("The keys near the cabinet are old.")


def model_of(given: Any, architecture: str = "bert") -> Model:
    return Model.of(given, tiny_tokenizer(end=architecture == "bert"), name=architecture)


def weights(model: Model) -> np.ndarray:
    (site,) = model.sites.values()
    rows = tuple(range(len(model.encode(TEXT).source)))
    (found,) = model.collect([Need(TEXT, site.name, site.layers, rows)])
    return np.stack([found.weights[layer] for layer in site.layers])


class FirstModule(nn.Module):
    """The first module of a SentenceTransformer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.auto_model = network


class OldCrossEncoder:
    def __init__(self, network: nn.Module) -> None:
        self.model = network


WRAPPERS = {
    "compiled": torch.compile,
    "data parallel": nn.DataParallel,
    "both": lambda network: nn.DataParallel(torch.compile(network)),
    "pipeline": lambda network: pipeline(
        "feature-extraction", model=network, tokenizer=tiny_tokenizer()
    ),
    "SentenceTransformer": lambda network: nn.Sequential(FirstModule(network), nn.Identity()),
    "CrossEncoder": OldCrossEncoder,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_network_is_unwrapped_p64(wrap: Any) -> None:
    network = tiny_network("bert")
    plain, found = model_of(network), model_of(wrap(network))
    assert found.network is network
    assert found.weights_sha256 == plain.weights_sha256
    np.testing.assert_array_equal(weights(found), weights(plain))


@pytest.mark.parametrize("kind", [BartForSequenceClassification, T5ForSequenceClassification])
def test_a_classifier_that_reads_a_text_twice_is_measured_by_its_body_p64(kind: Any) -> None:
    body = tiny_network(kind.config_class.model_type)
    classifier = kind(body.config).eval()
    classifier.base_model.load_state_dict(body.state_dict())
    need = Need(Sample("The dog barks.", "A dog."), "cross", (0, 1, 2), (0, 2))
    found, plain = (
        Model.of(network, tiny_tokenizer(), name="x").collect([need])[0]
        for network in (classifier, body)
    )
    for layer in need.layers:
        np.testing.assert_array_equal(found.weights[layer], plain.weights[layer])


@pytest.mark.parametrize("architecture", ["bert", "llama"])
@pytest.mark.parametrize(
    "part",
    [
        lambda made: made,
        lambda made: made.base_model,  # the tuner alone
        nn.DataParallel,
        lambda made: nn.Sequential(FirstModule(made), nn.Identity()),
        lambda made: made.get_base_model(),
    ],
    ids=["PeftModel", "LoraModel", "data parallel", "SentenceTransformer", "network"],
)
def test_the_network_is_taken_out_of_a_model_of_peft_p64(part: Any, architecture: str) -> None:
    network = tiny_network(architecture)
    target = "query" if architecture == "bert" else "q_proj"
    made = get_peft_model(network, LoraConfig(target_modules=[target]))
    assert model_of(part(made), architecture).network is network


@pytest.mark.parametrize("parts", ["whole", "layers"])
def test_a_network_compiled_in_place_runs_as_it_was_p64(
    parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_network("bert")
    expected = weights(model_of(copy.deepcopy(network)))

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was compiled")

    if parts == "whole":
        network.compile(backend=refuse)
    else:
        layers = network.encoder.layer
        for place, layer in enumerate(layers):
            layers[place] = torch.compile(layer, backend=refuse)
    np.testing.assert_array_equal(weights(model_of(network)), expected)
    with pytest.raises(Exception, match="was compiled"):  # left as it was found
        network(torch.tensor([[1, 5, 6, 2]]))


def dynamic_int8() -> nn.Module:
    part: nn.Module = torch.ao.quantization.quantize_dynamic(tiny_network("bert"), {nn.Linear})
    return part


def partly_offloaded() -> nn.Module:
    network = tiny_network("bert")
    network.encoder.layer[1].to("meta")
    return network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partly_offloaded, r"BertModel is offloaded.*: encoder\.layer\.1\..* the meta device"),
        (lambda: nn.Linear(2, 2), "a Linear is no network of transformers; hand over a"),
        (lambda: None, "a NoneType is no network"),
        (lambda: "some/folder", "'some/folder' is a reference, not a network: load it"),
        (lambda: Path("folder"), "'folder' is a reference"),
        (nn.Sequential, "a Sequential is no network"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name_p64(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        model_of(make())


def test_quantised_weights_are_hashed_by_all_tensors_that_they_pack_p64() -> None:
    def quantised(second: float) -> nn.Module:
        network = tiny_network("bert")
        dense = network.encoder.layer[1].output.dense
        value = dense.weight.detach()
        packed = TwoTensor(value.clone(), value * second)
        dense.weight = nn.Parameter(packed, requires_grad=False)
        return network

    hashes = [network_sha256(quantised(second)) for second in (1.0, 1.0, 2.0)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_packed_parameters_are_hashed_p64() -> None:
    first, second = dynamic_int8(), dynamic_int8()
    assert network_sha256(first) == network_sha256(second)
    with torch.no_grad():
        changed = tiny_network("bert")
        changed.encoder.layer[2].output.dense.weight[0, 0] += 1
    quantised = torch.ao.quantization.quantize_dynamic(changed, {nn.Linear})
    assert network_sha256(quantised) != network_sha256(first)


# References, networks and configurations that are none --------------------------------------------


@pytest.mark.parametrize(("given", "kind"), [(None, "NoneType"), (3, "int"), ([1], "list")])
def test_load_takes_references_alone(given: Any, kind: str) -> None:
    with pytest.raises(ModelError, match=f"^attnprobe.load takes a reference.* got a {kind}; of a"):
        load(given)


def test_load_says_what_makes_a_model_of_a_network() -> None:
    network: Any = tiny_network("bert")
    with pytest.raises(ModelError, match=r"got a BertModel; .*attnprobe\.from_network\(network"):
        load(network)


def test_load_takes_a_path(tmp_path: Path) -> None:
    tiny_network("bert").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert load(tmp_path, check=False).ref == str(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "site"),
    [
        *((name, "encoder") for name in ("bert", "modernbert", "deberta_v2")),
        *((name, "decoder") for name in ("gpt2", "bloom")),
    ],
)
def test_nan_names_the_site_that_the_network_has_p19(architecture: str, site: str) -> None:
    network = tiny_network(architecture)
    for weight in network.parameters():
        weight.data.fill_(torch.nan)
    with pytest.raises(MeasureError, match=f"^{site} L0H0: attention weights are NaN"):
        model_of(network, architecture)


@pytest.mark.parametrize(("architecture", "size"), [("mistral", 0), ("gemma2", 0), ("mistral", -1)])
def test_a_window_of_no_token_is_named(architecture: str, size: int) -> None:
    network = tiny_network(architecture, sliding_window=size)
    told = f"has a sliding window of {size} tokens in layer 0, so no row .*sliding_window: null"
    with pytest.raises(ModelError, match=told):
        model_of(network, architecture)


def test_a_row_outside_a_long_text_is_refused_in_a_short_message_p22() -> None:
    tokenizer = tiny_tokenizer(end=False)
    tokenizer.model_max_length = 5000
    network = tiny_network("llama", max_position_embeddings=5000)
    model = Model.of(network, tokenizer, name="llama")
    text = Sample("word " * 800)
    with pytest.raises(SelectorError, match=r"no token 9000; 'word .*…' has 0 to 4000$") as caught:
        model.collect([Need(text, "decoder", (0,), (9000,))])
    assert len(str(caught.value)) < 200
