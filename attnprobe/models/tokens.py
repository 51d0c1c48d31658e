"""Texts to tokens, as one tokenizer reads them."""

from __future__ import annotations

import re
from typing import Any

from attnprobe.align import (
    check_no_special_in_text,
    check_round_trip,
    display_pieces,
    visible,
)
from attnprobe.errors import ModelError, SelectorError
from attnprobe.records import Span, Tokens

__all__ = ["check_length", "given", "prepare_tokenizer", "tokenize", "with_start"]

_SURROGATE = re.compile(r"[\ud800-\udfff]")
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
        SelectorError: the text spells a special token and that was not declared, or has half of a
            surrogate pair, which is no character.
        ModelError: the tokenizer's offsets do not spell the text.
    """
    half = _SURROGATE.search(text)
    if half is not None:
        raise SelectorError(
            f"the text has U+{ord(half[0]):04X} at character {half.start()}: half of a surrogate "
            "pair, which is no character"
        )
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
    unknown = tokenizer.unk_token

    def role(one: int, span: Span | None) -> str | None:
        if span is None:
            return names.get(one, "special")
        # GPT-2's unknown token is its end of text too: a word that became it is still a word.
        is_word = one == tokenizer.unk_token_id and text[slice(*span)].strip() != unknown
        return None if is_word else names.get(one)

    special = tuple(map(role, ids, spans))
    spelled = tokenizer.convert_ids_to_tokens(list(ids))
    pieces = display_pieces(spelled, spans, text, unknown=unknown)
    tokens = Tokens(text, ids, pieces, spans, special)
    if not allow_special_tokens:
        raw = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
        check_no_special_in_text(tokens, dict(raw))
    check_round_trip(tokens, spelled, unknown=unknown)
    return tokens


def given(tokenizer: Any, ids: tuple[int, ...]) -> Tokens:
    """Token ids that a sample gives instead of a text; they have no characters.

    Raises:
        SelectorError: an id that the vocabulary does not have.
    """
    size = len(tokenizer)
    for one in ids:
        if one >= size:
            raise SelectorError(f"no token has the id {one}: the vocabulary has {size}, from 0")
    names = _special_names(tokenizer)
    return Tokens(
        text="",
        ids=ids,
        pieces=tuple(visible(piece) for piece in tokenizer.convert_ids_to_tokens(list(ids))),
        spans=(None,) * len(ids),
        special=tuple(names.get(one) for one in ids),
    )


def _special_names(tokenizer: Any) -> dict[int, str]:
    """Id of each special token to its name; an unknown token that is nothing else has none."""
    names = dict.fromkeys(tokenizer.all_special_ids, "special")
    for name in reversed(_NAMES):
        one = getattr(tokenizer, f"{name}_token_id", None)
        if one is not None:
            names[one] = name
    unknown = getattr(tokenizer, "unk_token_id", None)
    if names.get(unknown) == "special":
        del names[unknown]
    return names


def check_length(count: int, side: str, most: int | None, *, name: str, text: str) -> None:
    """Raises SelectorError where `count` tokens are more than a model takes.

    Args:
        side: text or target, for the message.
        most: None where there is no limit.
        text: what is to be shortened.
    """
    if most is not None and count > most:
        start = text if len(text) <= 60 else f"{text[:60]}…"
        raise SelectorError(
            f"the {side} has {count} tokens and {name} takes {most}; nothing is cut, so shorten "
            f"{start!r}"
        )


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
