"""Texts to tokens, as one tokenizer reads them."""

from __future__ import annotations

from typing import Any

from attnprobe.align import check_no_special_in_text, check_round_trip, display_pieces
from attnprobe.errors import ModelError
from attnprobe.records import Span, Tokens

__all__ = ["prepare_tokenizer", "tokenize", "with_start"]

_NAMES = ("cls", "sep", "bos", "eos", "pad")


def prepare_tokenizer(tokenizer: Any) -> None:
    """Switches off the truncation and padding that a tokenizer file may carry.

    Raises:
        ModelError: the tokenizer tells no character offsets.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(tokenizer).__name__} tells no character offsets, so words cannot be found in "
            "its tokens; use a model with a fast tokenizer (a tokenizer.json)"
        )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()


def tokenize(
    tokenizer: Any, text: str, *, target: bool = False, allow_special_tokens: bool = False
) -> Tokens:
    """The tokens of a text, with the special ones that the tokenizer adds.

    Args:
        target: whether the text is the target of an encoder-decoder.

    Raises:
        SelectorError: the text spells a special token and that was not declared.
        ModelError: the tokenizer's offsets do not spell the text.
    """
    encoded = tokenizer(
        **{"text_target" if target else "text": text},
        truncation=False,
        padding=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        verbose=False,
    )
    ids = tuple(encoded["input_ids"])
    added = [bool(flag) for flag in encoded["special_tokens_mask"]]
    spans = tuple(
        None if mark else Span(*offsets)
        for mark, offsets in zip(added, encoded["offset_mapping"], strict=True)
    )
    names = _special_names(tokenizer)
    special = tuple(
        names.get(one, "special") if mark or one in names else None
        for one, mark in zip(ids, added, strict=True)
    )
    spelled = tokenizer.convert_ids_to_tokens(list(ids))
    unknown = tokenizer.unk_token
    pieces = display_pieces(spelled, spans, text, unknown=unknown)
    tokens = Tokens(text, ids, pieces, spans, special)
    if not allow_special_tokens:
        raw = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
        check_no_special_in_text(tokens, dict(raw))
    check_round_trip(tokens, spelled, unknown=unknown)
    return tokens


def _special_names(tokenizer: Any) -> dict[int, str]:
    """Id of each special token to its name; the unknown token is no special one here."""
    names = dict.fromkeys(tokenizer.all_special_ids, "special")
    for name in reversed(_NAMES):
        one = getattr(tokenizer, f"{name}_token_id", None)
        if one is not None:
            names[one] = name
    names.pop(getattr(tokenizer, "unk_token_id", None), None)
    return names


def with_start(tokenizer: Any, tokens: Tokens, start_id: int) -> Tokens:
    """Decoder inputs of a target text: the start token, then all but the closing special token."""
    end = len(tokens) - 1 if tokens.special and tokens.special[-1] else len(tokens)
    (piece,) = tokenizer.convert_ids_to_tokens([start_id])
    return Tokens(
        tokens.text,
        (start_id, *tokens.ids[:end]),
        (piece, *tokens.pieces[:end]),
        (None, *tokens.spans[:end]),
        ("bos", *tokens.special[:end]),
    )
