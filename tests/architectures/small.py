"""A small configuration of any text architecture that transformers knows.

Sizes go by the names of the configuration's fields, which most architectures share. `OVERRIDES`
holds what a single architecture needs besides.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

LAYERS = 2
_HALF_DEPTH = 4  # half the head size: what rotary sections add up to

SIZES: Mapping[str, Any] = {
    # ids
    "vocab_size": 261,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "vocab_size_per_layer_input": 261,
    # widths
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim"), 32),
    **dict.fromkeys(("ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner", "d_ff"), 64),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_inner", "dff", "dim_ff"), 64),
    **dict.fromkeys(("ffn_hidden_size", "mlp_hidden_size", "intermediate_size_mlp"), 64),
    **dict.fromkeys(("word_embed_proj_dim", "hidden_size_per_layer_input"), 32),
    "embedding_size": 16,
    "max_position_embeddings": 128,
    **dict.fromkeys(("n_positions", "n_ctx", "max_seq_len", "max_target_positions"), 128),
    # depth
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), LAYERS),
    **dict.fromkeys(("num_encoder_layers", "encoder_num_hidden_layers"), LAYERS),
    # heads
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num"), 2),
    **dict.fromkeys(("head_dim", "d_kv", "d_head", "dim_head", "kv_channels"), 8),
    # windows
    **dict.fromkeys(("sliding_window", "local_attention", "window_size"), 6),
    "keep_window_size": 12,
    "block_size": 4,
    **dict.fromkeys(("lsh_attn_chunk_length", "local_attn_chunk_length"), 40),
    # latent attention
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    "qk_head_dim": 16,
    "index_n_heads": 4,
    "index_head_dim": 16,
    "index_topk": 12,
    "index_kpool": 4,
    "index_block_size": 4,
    "index_topk_blocks": 3,
    # experts
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("top_k_experts", "moe_top_k"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("expert_ffn_hidden_size", "shared_intermediate_size"), 16),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "first_k_dense_replace"), 1),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "num_dense_layers"), 1),
    # state spaces and linear attention
    **dict.fromkeys(("mamba_d_state", "mamba_d_head", "ssm_state_size", "mamba_head_dim"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads"), 8),
    **dict.fromkeys(("mamba_n_groups", "mamba_ngroups", "n_groups"), 1),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 8),
    "mamba_expand": 2,
    "mamba_dt_rank": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    "lru_width": 32,
}

_FULL = "full_attention"
_SECTIONS = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
_HALF_SECTIONS = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.5,
    "mrope_section": [1, 1, 0],
}

OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "bamba": {"num_hidden_layers": 3, "attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {"rope_parameters": {_FULL: _SECTIONS}},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "dots3_note_text": {"num_key_value_heads": 4},
    "embedding_gemma2_text": {"num_kv_shared_layers": 0},
    "esmc": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "funnel": {"architectures": [], "block_sizes": [2, 2], "num_decoder_layers": 1},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "glm4v_moe_text": {"rope_parameters": _HALF_SECTIONS},
    "glm4v_text": {"rope_parameters": _SECTIONS},
    "glm5_next_text": {"num_key_value_heads": 4, "qk_rope_head_dim": 0},
    "glm_image_text": {"rope_parameters": _SECTIONS},
    "glm_ocr_text": {"rope_parameters": _SECTIONS},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {"num_hidden_layers": 3, "layer_types": ["mamba", "attention", "mamba"]},
    "hunyuan_vl_text": {"rope_parameters": _SECTIONS},
    "jamba": {"num_hidden_layers": 3, "attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4, "visual_embed": False},
    "lfm2": {"layer_types": ["conv", _FULL], "num_hidden_layers": 2},
    "lfm2_moe": {"layer_types": ["conv", _FULL], "num_hidden_layers": 2},
    "lilt": {"channel_shrink_ratio": 2, "hidden_size": 48, "num_attention_heads": 4},
    "luke": {"entity_vocab_size": 16},
    "mamba2": {"num_heads": 8},
    "mobilebert": {"normalization_type": "layer_norm", "intra_bottleneck_size": 32},
    "neomme": {"head_dim": 16},
    "qwen2_5_vl_text": {"rope_parameters": _SECTIONS},
    "qwen2_vl_text": {"rope_parameters": _SECTIONS},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 12,
        "indexer_compress_ratio": 4,
        "ngram_vocab_size_base": 97,
        "split_ngram_parts": 2,
    },
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16]},
    "roc_bert": {"pronunciation_vocab_size": 64, "shape_vocab_size": 64},
    "squeezebert": {"embedding_size": 32},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}


def small_config(architecture: str, **given: Any) -> PreTrainedConfig:
    """A configuration of a few thousand weights.

    Args:
        architecture: the model type, such as `gpt_oss`.
        given: values that go before all others.
    """
    return _shrink(CONFIG_MAPPING[architecture], {**OVERRIDES.get(architecture, {}), **given})


def _shrink(kind: type[PreTrainedConfig], given: Mapping[str, Any]) -> PreTrainedConfig:
    default = kind()
    fields = set(inspect.signature(kind).parameters)
    # A field may be stored under a name of its own: attribute_map is from the common name to it.
    known = fields | {common for common, own in kind.attribute_map.items() if own in fields}
    values = {name: size for name, size in SIZES.items() if name in known}
    if "kv_lora_rank" in known:  # latent attention has a key of its own for each head
        values.update({"num_key_value_heads": 4} if "num_key_value_heads" in known else {})
    for name in ("layer_types", "mlp_layer_types", "layers_block_type"):
        pattern = getattr(default, name, None)
        if name in fields and isinstance(pattern, Sequence) and pattern:
            values[name] = list(dict.fromkeys(pattern))
    depth = max([LAYERS, *(len(v) for k, v in values.items() if k.endswith(("_types", "_type")))])
    for name in ("layer_types", "mlp_layer_types", "layers_block_type"):
        if name in values:
            values[name] = (values[name] * depth)[:depth]
            for common in ("num_hidden_layers", "num_layers", "n_layer", "n_layers"):
                if common in values:
                    values[common] = depth
    rope = getattr(default, "rope_parameters", None)
    if "rope_parameters" in fields and isinstance(rope, dict):
        values["rope_parameters"] = _small_rope(rope)
    for name, part in kind.sub_configs.items():
        former = getattr(default, name, None)
        if isinstance(former, PreTrainedConfig) and name not in given:
            values[name] = _shrink(type(former) if part is AutoConfig else part, {})
    return kind(**{**values, **given})


def _small_rope(rope: Mapping[str, Any]) -> dict[str, Any]:
    """The same kind of rotary positions, with sections that fit the small heads."""
    small: dict[str, Any] = {}
    for name, value in rope.items():
        if isinstance(value, Mapping):
            small[name] = _small_rope(value)
        elif name == "mrope_section":
            small[name] = [_HALF_DEPTH - 2, 1, 1]
        elif name == "original_max_position_embeddings":
            small[name] = 64
        else:
            small[name] = value
    return small
