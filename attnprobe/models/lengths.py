"""How the length of a text, or of a longer one beside it, changes what a network computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from attnprobe.core.errors import SelectorError
from attnprobe.models.forward import configurations


@dataclass(frozen=True)
class LengthRules:
    """Which texts may share a forward, and which are too long to be read.

    Attributes:
        shared: texts of up to this many tokens may share a forward, whatever their lengths. A
            longer text shares it only with texts of its own length. None where all texts may.
        readable: tokens of the longest text whose attention can be read; None without a limit.
        beyond: what the network does with longer texts.
    """

    shared: int | None = None
    readable: int | None = None
    beyond: str = ""

    def check(self, count: int, *, name: str, text: str) -> None:
        """Raises SelectorError where the attention on a text of `count` tokens cannot be read."""
        if self.readable is not None and count > self.readable:
            start = text if len(text) <= 60 else f"{text[:60]}…"
            raise SelectorError(
                f"the text has {count} tokens; from {self.readable + 1} on {name} "
                f"{self.beyond}, which attnprobe does not read; shorten {start!r}"
            )


def length_rules(network: PreTrainedModel) -> LengthRules:
    """The rules of a network, from its configuration.

    - Rotary positions of the kinds `dynamic` and `longrope` take other frequencies from some length
      on, and the longest text of a batch decides for all.
    - Sparse attention keeps a number of best positions. Which of several equal ones it keeps
      depends on the padded length.
    - BigBird attends in blocks from some length on. In evaluation it counts the first block twice
      and returns weights that do not show it.
    - Reformer attends in chunks, by random hashes in some layers.
    - Llama 4 attends within chunks of the text. The rules do not know chunks, so a word outside of
      the row's chunk would count as ignored.
    """
    shared: list[int] = []
    readable: int | None = None
    beyond = ""
    for config in configurations(network):
        # As a plain table: attributes of some configurations raise where layers differ.
        values: dict[str, Any] = config.to_dict()
        shared.extend(_sparse_from(values))
        shared.extend(_rotary_from(values.get("rope_parameters"), values))
        if values.get("attention_type") == "block_sparse":
            readable = (5 + 2 * values["num_random_blocks"]) * values["block_size"]
            beyond = "attends in blocks (attention_type: block_sparse)"
        if config.model_type == "reformer":
            kinds = set(values["attn_layers"])
            readable = min(values[f"{kind}_attn_chunk_length"] for kind in kinds)
            beyond = "attends in chunks"
        if "chunked_attention" in (values.get("layer_types") or ()):
            readable = values["attention_chunk_size"]
            beyond = f"attends within chunks of {readable} tokens"
    if readable is not None:
        shared.append(readable)
    return LengthRules(min(shared, default=None), readable, beyond)


def _sparse_from(values: Mapping[str, Any]) -> Iterator[int]:
    """The numbers of positions that each kind of sparse attention keeps."""
    yield from filter(None, map(values.get, ("index_topk", "indexer_budget", "keep_window_size")))
    blocks, size = values.get("index_topk_blocks"), values.get("index_block_size")
    if blocks and size:
        yield blocks * size


def _rotary_from(rope: object, values: Mapping[str, Any]) -> Iterator[int]:
    """The lengths from which rotary positions change, of all layers or of each kind of layer."""
    if not isinstance(rope, Mapping):
        return
    for part in rope.values():
        yield from _rotary_from(part, values)
    kind = rope.get("rope_type")
    if kind == "longrope":
        yield rope["original_max_position_embeddings"]
    elif isinstance(kind, str) and "dynamic" in kind:
        yield values["max_position_embeddings"]
