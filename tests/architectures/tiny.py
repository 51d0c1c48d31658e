"""Tiny networks with random weights, one of each architecture, and a tokenizer for them.

They are no models of anything: they show that attention is read exactly, for every architecture,
in milliseconds and without a download. Weights are drawn wide, so that attention is far from
uniform and a wrong scale or bias cannot hide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerFast
from transformers.configuration_utils import PreTrainedConfig

from attnprobe.core.errors import ModelError
from attnprobe.core.registry import did_you_mean

_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
_VOCABULARY = len(_SPECIAL) + 256

_IDS: dict[str, Any] = {
    "vocab_size": _VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_STACK: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
_GROUPED: dict[str, Any] = {**_STACK, "num_key_value_heads": 2, "head_dim": 8}
_BART: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "decoder_start_token_id": 2,
}

ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "albert": {**_STACK, "embedding_size": 16},
    "bart": _BART,
    "bert": _STACK,
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "deberta_v2": {**_STACK, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {
        "dim": 32,
        "hidden_dim": 64,
        "n_layers": 3,
        "n_heads": 4,
        "max_position_embeddings": 128,
    },
    "electra": {**_STACK, "embedding_size": 16},
    "gemma": _GROUPED,
    "gemma2": {
        **_GROUPED,
        "sliding_window": 6,
        "attn_logit_softcapping": 2.0,
        "query_pre_attn_scalar": 8,
    },
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "gpt_oss": {
        **_GROUPED,
        "sliding_window": 6,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
    },
    "llama": _GROUPED,
    "marian": {**_BART, "decoder_start_token_id": 0},
    "mistral": {**_GROUPED, "sliding_window": 6},
    "modernbert": {**_STACK, "local_attention": 8, "cls_token_id": 1, "sep_token_id": 2},
    "qwen2": {k: v for k, v in _GROUPED.items() if k != "head_dim"},
    "qwen3": _GROUPED,
    "roberta": {**_STACK, "pad_token_id": 0},
    "t5": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_decoder_layers": 3,
        "num_heads": 4,
        "decoder_start_token_id": 0,
    },
}


def tiny_network(architecture: str, *, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A random network of an architecture, in evaluation mode; the same for the same seed.

    Args:
        architecture: a key of `ARCHITECTURES`.
        overrides: configuration values to change.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"unknown architecture {architecture!r}; {did_you_mean(architecture, ARCHITECTURES)}"
        )
    values = {**_IDS, **ARCHITECTURES[architecture], **overrides}
    config = AutoConfig.for_model(architecture.replace("deberta_v2", "deberta-v2"), **values)
    return random_network(config, seed=seed)


def random_network(config: PreTrainedConfig, *, seed: int = 0) -> PreTrainedModel:
    """The base network of a configuration, in evaluation mode; the same for the same seed."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network: PreTrainedModel = AutoModel.from_config(config)
        for name, weights in network.named_parameters():
            if weights.dim() > 1:
                embedding = "embed" in name or "bias" in name or name.startswith("w")
                weights.normal_(0, 1 if embedding else 1.5 / math.sqrt(weights.shape[-1]))
            elif name.endswith(("bias", "sinks", "temp")):
                weights.normal_(0, 0.5)
        for module in network.modules():
            # Training never touches the padding's vector, which starts as zero.
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    network.train(False)
    return network


def tiny_tokenizer(*, start: bool = True, end: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: one token a byte, for the tiny networks' ids.

    Args:
        start, end: whether a text gets a start and an end token.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{'<s> ' if start else ''}$A{' </s>' if end else ''}",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=128,
    )
