"""Memory that does not suffice, on a CPU as on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from attnprobe.core.errors import MeasureError, ModelError
from attnprobe.core.needs import Need
from attnprobe.core.texts import Sample
from attnprobe.models import load
from attnprobe.models.capture import capture
from attnprobe.models.layout import find_layout
from attnprobe.models.memory import is_out_of_memory, longest
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.tiny_lm import model

WHOLE = 2**50


def of_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")


def of_torch() -> None:
    torch.empty(WHOLE, dtype=torch.uint8)


def of_numpy() -> None:
    np.empty(WHOLE, dtype=np.uint8)


def of_python() -> None:
    raise MemoryError


SHORTAGES = {
    of_gpu: r" \(2\.50 GiB at once\)",
    of_torch: r" \(1\.05e\+06 GiB at once\)",
    of_numpy: r" \(1\.00 PiB at once\)",
    of_python: "",
}
every_shortage = pytest.mark.parametrize("shortage", SHORTAGES)
Shortage = Callable[[], None]


def limit(monkeypatch: pytest.MonkeyPatch, most: int, shortage: Shortage) -> list[int]:
    """Makes forwards of more than `most` tokens fail; tells how large those were that came."""
    sizes: list[int] = []

    def limited(network: Any, where: Any, inputs: Any, wanted: Any) -> Any:
        sizes.append(inputs["input_ids"].numel())
        if sizes[-1] > most:
            shortage()
        return capture(network, where, inputs, wanted)

    monkeypatch.setattr("attnprobe.models.model.capture", limited)
    return sizes


def needs(count: int) -> Sequence[Need]:
    return [Need(Sample(f"The keys {n:02}"), "decoder", (0,), (1,)) for n in range(count)]


@every_shortage
def test_out_of_memory_is_tried_again_at_half_the_batch_p34(
    shortage: Shortage, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model("llama").collect(needs(4))
    sizes = limit(monkeypatch, 26, shortage)
    rows = model("llama").collect(needs(4), batch_tokens=52)
    assert sizes == [52, 26, 26]
    for found, alone in zip(rows, expected, strict=True):
        assert found.weights[0] == pytest.approx(alone.weights[0], abs=1e-6)


@every_shortage
def test_out_of_memory_at_half_the_batch_names_size_and_text_p34(
    shortage: Shortage, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 5, shortage)
    told = f"also with 26 tokens in a batch{SHORTAGES[shortage]}; .* text, 'The keys 00', or take"
    with pytest.raises(MeasureError, match=f"^out of memory, {told}"):
        model("llama").collect(needs(4), batch_tokens=52)


def test_another_failure_is_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    sizes = limit(monkeypatch, 0, fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        model("llama").collect(needs(4), batch_tokens=52)
    assert sizes == [52]
    assert not is_out_of_memory(ValueError("out of memory"))


def test_the_longest_text_is_named_by_its_start() -> None:
    texts = [Sample("a" * 50), Sample("b" * 30, pair="c" * 300), Sample("", ids=(1, 2))]
    assert longest(texts) == f"'{'b' * 30} {'c' * 29}…'"
    assert longest(texts[2:]) == "2 ids"


@every_shortage
def test_a_network_without_memory_is_not_read_the_slow_way(
    shortage: Shortage, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_network("bert")
    network.encoder.register_forward_pre_hook(lambda *_: shortage())
    ids = {"input_ids": torch.arange(5, 12)[None], "attention_mask": torch.ones(1, 7).long()}
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        find_layout(network, ids)
    assert is_out_of_memory(caught.value)


@every_shortage
def test_a_model_larger_than_memory_is_named(
    shortage: Shortage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_network("bert").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    monkeypatch.setattr(AutoModel, "from_pretrained", lambda *_, **__: shortage())
    told = f"^out of memory{SHORTAGES[shortage]}: .* does not fit into the memory of cpu; take"
    with pytest.raises(ModelError, match=told):
        load(str(tmp_path), device="cpu")
