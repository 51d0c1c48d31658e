"""The pooling that a model of sentence-transformers names is the default of its embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from attnprobe.core.errors import SelectorError
from attnprobe.core.needs import Similarity
from attnprobe.core.texts import Sample
from attnprobe.models import Model, load
from tests.architectures.tiny import tiny_network, tiny_tokenizer

TEXT, POSITIVE = "The keys are old", "The doors are new"
MODULE = "sentence_transformers.models."


def states(text: str) -> Any:
    read = tiny_tokenizer()(text, return_tensors="pt")
    with torch.inference_mode():
        return tiny_network("bert")(input_ids=read["input_ids"]).last_hidden_state[0]


def by_hand(pool: str) -> float:
    take = {"mean": lambda of: of.mean(0), "cls": lambda of: of[0], "lasttoken": lambda of: of[-1]}
    return float(torch.cosine_similarity(*(take[pool](states(t)) for t in (TEXT, POSITIVE)), dim=0))


def folder(tmp_path: Path, settings: object, *more: str, inner: str = "") -> Path:
    """A folder of sentence-transformers, in the old layout where `inner` is `0_Transformer`."""
    network = tmp_path / inner
    tiny_network("bert").save_pretrained(network)
    tiny_tokenizer().save_pretrained(network)
    kinds = [("Transformer", inner), ("Pooling", "1_Pooling")]
    kinds += [(kind, f"{place}_{kind}") for place, kind in enumerate(more, start=2)]
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": MODULE + kind}
        for place, (kind, path) in enumerate(kinds)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    if settings is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    return tmp_path


def similarity(model: Model, pool: Any = None) -> float:
    (found,) = model.read_out([Similarity(Sample(TEXT), POSITIVE, pool=pool)])
    return found


@pytest.mark.parametrize("inner", ["", "0_Transformer"])
@pytest.mark.parametrize(
    ("settings", "pool"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_its_own_pooling_is_the_default(
    tmp_path: Path, settings: object, pool: str, inner: str
) -> None:
    model = load(folder(tmp_path, settings, "Normalize", inner=inner))
    assert similarity(model) == pytest.approx(by_hand(pool), abs=1e-5)
    assert similarity(model, "mean") == pytest.approx(by_hand("mean"), abs=1e-5)
    # A damaged copy of it is compared by the same embedding.
    assert similarity(model.with_network(tiny_network("bert"))) == similarity(model)


@pytest.mark.parametrize(
    ("settings", "more", "told"),
    [
        ({"pooling_mode_max_tokens": True}, (), "by max_tokens, which"),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            (),
            "by cls and mean, which",
        ),
        ({"pooling_mode_mean_tokens": True}, ("Dense",), "by mean and a module Dense, which"),
        ({}, (), "by a pooling that its configuration does not name, which"),
        (None, (), "by a pooling that its configuration does not name, which"),
    ],
)
def test_another_embedding_has_to_be_named(
    tmp_path: Path, settings: object, more: tuple[str, ...], told: str
) -> None:
    model = load(folder(tmp_path, settings, *more))
    with pytest.raises(SelectorError, match=told):
        similarity(model)
    assert similarity(model, "cls") == pytest.approx(by_hand("cls"), abs=1e-5)


def test_without_a_pooling_it_is_the_mean(tmp_path: Path) -> None:
    tiny_network("bert").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert similarity(load(tmp_path)) == pytest.approx(by_hand("mean"), abs=1e-5)


class Transformer(nn.Module):
    """The first module of a SentenceTransformer."""

    def __init__(self) -> None:
        super().__init__()
        self.auto_model = tiny_network("bert")


class Pooling(nn.Module):
    """Its second module."""

    def __init__(self, **modes: bool) -> None:
        super().__init__()
        for name, chosen in modes.items():
            setattr(self, f"pooling_mode_{name}", chosen)


def test_a_sentence_transformer_in_memory_brings_its_pooling() -> None:
    given = nn.Sequential(Transformer(), Pooling(cls_token=True, mean_tokens=False))
    model = Model.of(given, tiny_tokenizer(), name="tiny")
    assert similarity(model) == pytest.approx(by_hand("cls"), abs=1e-5)
    named = Model.of(tiny_network("bert"), tiny_tokenizer(), name="tiny", pool="lasttoken")
    assert similarity(named) == pytest.approx(by_hand("lasttoken"), abs=1e-5)
