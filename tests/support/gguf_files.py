"""GGUF files with random weights, as llama.cpp would write them."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.architectures.tiny import tiny_tokenizer

# The output embeddings are the input's, as in SmolLM2.
LAYERS, WIDTH, HEADS, KEY_HEADS, INNER = 2, 32, 4, 2, 64


def write_llama(path: Path, *, layers: int = LAYERS) -> None:
    """A tiny Llama with random weights, as llama.cpp would write it."""
    tokenizer = tiny_tokenizer(end=False)
    vocabulary = tokenizer.get_vocab()
    tokens = [*sorted(vocabulary, key=vocabulary.__getitem__), "th"]
    types = [gguf.TokenType.CONTROL] * 5 + [gguf.TokenType.NORMAL] * (len(tokens) - 5)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    random = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        values = random.normal(0, 1 / np.sqrt(shape[-1]), shape)
        writer.add_tensor(name, np.float32(values if len(shape) > 1 else np.ones(shape)))

    add("token_embd.weight", len(tokens), WIDTH)
    add("output_norm.weight", WIDTH)
    keys = WIDTH // HEADS * KEY_HEADS
    for layer in range(layers):
        start = f"blk.{layer}."
        add(f"{start}attn_norm.weight", WIDTH)
        add(f"{start}ffn_norm.weight", WIDTH)
        add(f"{start}attn_q.weight", WIDTH, WIDTH)
        add(f"{start}attn_k.weight", keys, WIDTH)
        add(f"{start}attn_v.weight", keys, WIDTH)
        add(f"{start}attn_output.weight", WIDTH, WIDTH)
        add(f"{start}ffn_gate.weight", INNER, WIDTH)
        add(f"{start}ffn_up.weight", INNER, WIDTH)
        add(f"{start}ffn_down.weight", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
