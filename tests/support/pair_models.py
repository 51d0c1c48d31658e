"""Small random networks with tokenizers that read two texts, each in the way of its family."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import processors
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

from attnprobe.models import Model
from tests.architectures.tiny import random_network, tiny_network
from tests.support.tokenizers_small import Kind, build

TEXT = "The keys near the cabinet are old."
PAIR = "The animal was tired."
SEGMENTS = ["input_ids", "token_type_ids", "attention_mask"]
XLNET = {"d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 64}


class Family(NamedTuple):
    """How a family of models reads two texts.

    Attributes:
        single, pair: templates of the tokenizer; None for plain concatenation.
        marks: the special tokens of the templates, which the vocabulary has.
        segments: whether the tokenizer gives token_type_ids.
        changes: configuration values of the network.
    """

    architecture: str
    kind: Kind
    single: str
    pair: str | None
    marks: tuple[str, ...]
    segments: bool
    changes: Mapping[str, Any] = {}


_BERT = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ("[CLS]", "[SEP]"))
FAMILIES: Mapping[str, Family] = {
    "bert": Family("bert", "wordpiece", *_BERT, True),
    "albert": Family("albert", "wordpiece", *_BERT, True),
    # Its tokenizer numbers segments, and the network has no embedding for them.
    "deberta_v2": Family("deberta_v2", "wordpiece", *_BERT, True, {"type_vocab_size": 0}),
    "roberta": Family(
        "roberta", "bytebpe", "<s> $A </s>", "<s> $A </s> </s> $B </s>", ("<s>", "</s>"), False
    ),
    "xlnet": Family(
        "xlnet",
        "wordpiece",
        "$A:0 [SEP]:0 [CLS]:2",
        "$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2",
        ("[CLS]", "[SEP]"),
        True,
    ),
    "gpt2": Family("gpt2", "bytebpe", "$A", None, (), False),
    "llama": Family("llama", "bytebpe", "<s> $A", "<s> $A <s> $B", ("<s>",), False),
    # A decoder with the tokenizer of BERT, as Chinese GPT-2 models have it.
    "gpt2-bert": Family("gpt2", "wordpiece", *_BERT, True),
    "bart": Family(
        "bart", "bytebpe", "<s> $A </s>", "<s> $A </s> </s> $B </s>", ("<s>", "</s>"), False
    ),
}


@functools.cache
def tokenizer(name: str) -> PreTrainedTokenizerFast:
    family = FAMILIES[name]
    found = build(family.kind)
    ids = [(mark, found.convert_tokens_to_ids(mark)) for mark in family.marks]
    byte_level = [processors.ByteLevel(trim_offsets=False)] if family.kind == "bytebpe" else []
    template = processors.TemplateProcessing(
        single=family.single, pair=family.pair or "$A $B", special_tokens=ids
    )
    own = [template] if family.pair is not None else []
    found.backend_tokenizer.post_processor = processors.Sequence([*byte_level, *own])
    found.model_input_names = SEGMENTS if family.segments else ["input_ids", "attention_mask"]
    if family.kind == "wordpiece":
        found.add_special_tokens({"mask_token": "[MASK]"})
    found.model_max_length = 128
    return found


def network(name: str, seed: int = 0) -> PreTrainedModel:
    """A network of its own for each call, the same for the same seed."""
    family = FAMILIES[name]
    ids = {"vocab_size": len(tokenizer(name)), "pad_token_id": 2 if family.kind == "bytebpe" else 0}
    if family.architecture == "xlnet":
        return random_network(AutoConfig.for_model("xlnet", **XLNET, **ids), seed=seed)
    return tiny_network(family.architecture, seed=seed, **{**ids, **family.changes})


@functools.cache
def model(name: str) -> Model:
    return Model.of(network(name), tokenizer(name), name=name)


@functools.cache
def released(name: str) -> PreTrainedModel:
    """The same weights in a network that attnprobe has not touched, with eager attention."""
    found = network(name)
    found.set_attn_implementation("eager")
    return found


def weights_as_released(
    name: str, text: str, pair: str | None = None
) -> list[npt.NDArray[np.float32]]:
    """The network's own weights for `tokenizer(text, pair)`: of each layer `[heads, n, n]`."""
    inputs = tokenizer(name)(text, pair, return_tensors="pt")
    with torch.inference_mode():
        if FAMILIES[name].architecture == "bart":
            inputs["decoder_input_ids"] = torch.tensor([[2]])
            found = released(name)(**inputs, output_attentions=True).encoder_attentions
        else:
            found = released(name)(**inputs, output_attentions=True).attentions
    return [layer[0].numpy() for layer in found]
