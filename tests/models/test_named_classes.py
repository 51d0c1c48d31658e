"""Folders of classes that AutoModel does not choose, and of models that take no text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CanineConfig,
    CanineModel,
    CLIPConfig,
    CLIPModel,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    LlamaForQuestionAnswering,
    PreTrainedModel,
    Qwen2ForQuestionAnswering,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from attnprobe.core.errors import ModelError
from attnprobe.core.needs import Need
from attnprobe.core.texts import Sample
from attnprobe.models import load
from attnprobe.models.twin import random_twin
from tests.architectures.tiny import tiny_network, tiny_tokenizer

TEXT = "The keys near the cabinet are old."


def config(architecture: str) -> Any:
    return tiny_network(architecture).config


def encoder_decoder() -> PreTrainedModel:
    both = EncoderDecoderConfig.from_encoder_decoder_configs(config("bert"), config("bert"))
    both.decoder_start_token_id, both.pad_token_id = 1, 0
    return EncoderDecoderModel(both)


NAMED: dict[str, Callable[[], PreTrainedModel]] = {
    "T5EncoderModel": lambda: T5EncoderModel(config("t5")),
    "EncoderDecoderModel": encoder_decoder,
    "LlamaForQuestionAnswering": lambda: LlamaForQuestionAnswering(config("llama")),
    "Qwen2ForQuestionAnswering": lambda: Qwen2ForQuestionAnswering(config("qwen2")),
}


@pytest.mark.parametrize("name", NAMED)
def test_the_class_that_the_files_name_is_loaded(name: str, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = NAMED[name]().train(False)
    network.save_pretrained(tmp_path)
    tiny_tokenizer(start=False).save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.architecture == name
    sample = Sample(TEXT, "They are." if "cross" in model.sites else None)
    read = model.encode(sample)
    network.set_attn_implementation("eager")
    inputs = {"input_ids": torch.tensor([read.source.ids])}
    if read.target:
        inputs["decoder_input_ids"] = torch.tensor([read.target.ids])
    with torch.no_grad():
        outputs = network(**inputs, output_attentions=True)
    for site, described in model.sites.items():
        field = f"{site}_attentions" if read.target else "attentions"
        rows = tuple(range(len(read.queries(site))))
        (found,) = model.collect([Need(sample, site, described.layers, rows)])
        for layer in described.layers:
            own = getattr(outputs, field)[layer][0]
            np.testing.assert_allclose(found.weights[layer], own, atol=1e-5)
    twin = random_twin(model, seed=1)
    assert (twin.architecture, list(twin.sites)) == (name, list(model.sites))


SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
PICTURES: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}


def sound() -> PreTrainedModel:
    layers: dict[str, Any] = {"conv_dim": (16,), "conv_stride": (2,), "conv_kernel": (3,)}
    groups = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    return Wav2Vec2Model(Wav2Vec2Config(**layers, **groups, **SIZES, num_feat_extract_layers=1))


def clip() -> PreTrainedModel:
    text = {**SIZES, "vocab_size": 261, "max_position_embeddings": 77}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=PICTURES))


@pytest.mark.parametrize("has_tokenizer", [True, False])
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ViTModel(ViTConfig(**PICTURES)), r"takes pictures \(ViTModel\); .* reads texts"),
        (clip, r"takes pictures beside the text \(CLIPModel\); measure its text model"),
        (sound, r"takes sound \(Wav2Vec2Model\)"),
        (
            lambda: CanineModel(CanineConfig(num_hash_buckets=64, **SIZES)),
            r"takes characters, not tokens \(CanineModel\)",
        ),
    ],
    ids=["ViT", "CLIP", "Wav2Vec2", "CANINE"],
)
def test_a_model_that_takes_no_text_says_what_it_takes(
    make: Callable[[], PreTrainedModel], told: str, has_tokenizer: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    make().save_pretrained(folder)
    if has_tokenizer:
        tiny_tokenizer().save_pretrained(folder)
    with pytest.raises(ModelError, match=f"^given {told}"):
        load(folder)


def test_a_text_model_without_a_tokenizer_still_asks_for_one(tmp_path: Path) -> None:
    tiny_network("bert").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no tokenizer in .*name the tokenizer that the network"):
        load(tmp_path)
