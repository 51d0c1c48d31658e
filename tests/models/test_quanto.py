"""Weights of quanto, handed over: measured as they compute, and named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from optimum.quanto import freeze, qint4, qint8, quantize

from attnprobe.core.needs import Need
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from tests.architectures.tiny import tiny_network, tiny_tokenizer

# What torch says of the operators that quanto registers.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
TEXTS = (Sample("The keys near the cabinet are old."), Sample("Keys."))


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU quanto compiles what unpacks 4 bits, for which a machine may lack a compiler."""

    def unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
        assert bits == 4
        return torch.cat([packed & 15, packed >> 4])

    library = SimpleNamespace(lib=SimpleNamespace(unpack=unpack))
    monkeypatch.setattr("optimum.quanto.library.extensions.cpp.ext", library)


@pytest.mark.parametrize(
    ("weights", "activations", "frozen", "said"),
    [
        (qint8, None, True, "int8 weights"),
        (qint8, None, False, "int8 weights"),
        (qint4, None, True, "int4 weights"),
        (qint8, qint8, True, "int8 weights and activations"),
    ],
)
def test_quanto_is_measured_as_it_computes_p64(
    weights: Any, activations: Any, frozen: bool, said: str
) -> None:
    network: Any = tiny_network("bert")
    quantize(network, weights=weights, activations=activations)
    if frozen:
        freeze(network)
    model = Model.of(network, tiny_tokenizer(), name="x")
    assert model.quantised == f"{said} (quanto), 19 of 19 linear layers"
    assert model.alone == (activations is not None)
    needs = [
        Need(text, "encoder", (0, 1, 2), tuple(range(len(model.encode(text).source))))
        for text in TEXTS
    ]
    found = model.collect(needs)
    network.config._attn_implementation_internal = "eager"
    for text, rows in zip(TEXTS, found, strict=True):
        ids = torch.tensor([list(model.encode(text).source.ids)])
        with torch.no_grad():
            expected = network(ids, output_attentions=True).attentions
        for layer in range(3):
            np.testing.assert_allclose(rows.weights[layer], expected[layer][0], atol=1e-5)
