"""Checks of a tokenizer's vocabulary against the embedding rows of a network."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.texts import Tokens
from attnprobe.models.forward import is_encoder_decoder
from attnprobe.models.panics import panics_as_errors
from attnprobe.models.tokens import unknown_ids

NAME_ANOTHER = (
    "name the tokenizer that the network was trained with: --attn-tokenizer REF (pytest), "
    "--tokenizer REF (attnprobe), load(..., tokenizer=REF)"
)
# A tokenizer may have this many entries without an embedding row, or this share of its vocabulary,
# before it counts as that of another model.
SPARE_ENTRIES = 16
SPARE_SHARE = 0.1
# Entries of the vocabulary that are read as texts, and the share of them that must be found again.
SAMPLED = 64
LEAST_SHARE = 0.05


class EmbeddingRows(NamedTuple):
    """Rows of the embedding tables; None where a network has no such table.

    Attributes:
        source: of the text.
        target: of the target text of an encoder-decoder.
    """

    source: int | None
    target: int | None


def embedding_rows(network: PreTrainedModel) -> EmbeddingRows:
    """The numbers of token ids that the network has an embedding for."""
    if not is_encoder_decoder(network):
        return EmbeddingRows(_table_rows(network), None)
    encoder, decoder = network.get_encoder(), network.get_decoder()
    return EmbeddingRows(_table_rows(encoder), _table_rows(decoder))


def _table_rows(network: Any) -> int | None:
    try:
        weight = getattr(network.get_input_embeddings(), "weight", None)
    except (AttributeError, NotImplementedError):
        return None
    # Some networks read code points, or have a table for each kind of feature.
    return weight.shape[0] if isinstance(weight, Tensor) and weight.dim() == 2 else None


def check_vocabulary(tokenizer: Any, rows: EmbeddingRows, *, name: str) -> None:
    """Checks that a tokenizer is the network's own and can read texts.

    Raises:
        ModelError: the tokenizer fills less than half of the embedding rows, or has many more
            entries than there are rows, or does not find its own entries in texts.
    """
    size = len(tokenizer)
    for side, count in rows._asdict().items():
        if count is None:
            continue
        table = f"{count} embedding rows" + (f" of the {side}" if rows.target is not None else "")
        if 2 * size < count or size - count > max(SPARE_ENTRIES, SPARE_SHARE * size):
            raise ModelError(
                f"{name}: the tokenizer has {size} entries for {table}, so it is not that of this "
                f"network; {NAME_ANOTHER}"
            )
    tried, found = _own_entries(tokenizer)
    if found <= LEAST_SHARE * tried:
        what = f"of {tried} entries of the tokenizer {found}" if tried else "no word or character"
        raise ModelError(
            f"{name}: {what} come out when they are read as a text, so it cannot read texts; "
            f"{NAME_ANOTHER}"
        )


def _own_entries(tokenizer: Any) -> tuple[int, int]:
    """How many entries of the vocabulary were read as a text, and how many of them were found.

    Byte-level tokenizers have all single characters without any training. So entries of one
    character are read only where there are no longer ones.
    """
    left_out = {*tokenizer.all_special_ids, *unknown_ids(tokenizer)}
    backend = tokenizer.backend_tokenizer
    size = len(tokenizer)
    texts: dict[int, str] = {}
    for token_id in range(0, size, max(1, size // SAMPLED)):
        if token_id not in left_out and tokenizer.convert_ids_to_tokens(token_id) is not None:
            text = backend.decode([token_id]).strip()
            # A part of a character cannot stand alone in a text.
            if text and "\ufffd" not in text:
                texts[token_id] = text
    longer = {token_id: text for token_id, text in texts.items() if len(text) > 1}
    texts = longer or texts
    came_out = sum(_reads_as(backend, text, token_id) for token_id, text in texts.items())
    return len(texts), came_out


def _reads_as(backend: Any, text: str, token_id: int) -> bool:
    """Whether a text has the token among its own."""
    try:
        with panics_as_errors():
            return token_id in backend.encode(text, add_special_tokens=False).ids
    except Exception:  # noqa: BLE001  the tokenizers library has no exception class of its own
        return False


def check_rows(tokens: Tokens, rows: int | None, *, name: str) -> None:
    """Raises SelectorError where the network has no embedding for a token, and names the token."""
    if rows is None:
        return
    for token_id, piece in zip(tokens.ids, tokens.pieces, strict=True):
        if token_id >= rows:
            raise SelectorError(
                f"the token {piece} has the id {token_id}, and {name} has only {rows} embedding "
                "rows: it was added to the tokenizer and not to the network; leave it out of the "
                "text"
            )
