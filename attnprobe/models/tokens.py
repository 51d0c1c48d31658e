"""Texts to tokens, as one tokenizer reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tokenizers.models import Unigram

from attnprobe.align import (
    check_no_special_in_text,
    check_round_trip,
    display_pieces,
    visible,
)
from attnprobe.errors import ModelError, SelectorError
from attnprobe.records import Span, Tokens

__all__ = ["check_length", "given", "prepare_tokenizer", "tokenize", "with_start"]

# No vocabulary has a piece for it.
_NONCHARACTER = "\U0010ffff"
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
        ModelError: the tokenizer's offsets do not spell the text, or it cannot read the text.
    """
    half = _SURROGATE.search(text)
    if half is not None:
        raise SelectorError(
            f"the text has U+{ord(half[0]):04X} at character {half.start()}: half of a surrogate "
            "pair, which is no character"
        )
    try:
        encoded = tokenizer(
            **{"text_target" if target else "text": text},
            truncation=False,
            padding=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            verbose=False,
        )
    except Exception as error:  # the tokenizers library has no exception class of its own
        raise ModelError(
            f"the tokenizer cannot read {visible(text)!r}: {visible(str(error))}"
        ) from error
    ids = tuple(encoded["input_ids"])
    added = [bool(flag) for flag in encoded["special_tokens_mask"]]
    spans = tuple(
        None if mark else Span(*offsets)
        for mark, offsets in zip(added, encoded["offset_mapping"], strict=True)
    )
    names = _special_names(tokenizer)
    spelled = tokenizer.convert_ids_to_tokens(list(ids))
    unknown_ids = _unknown_ids(tokenizer)
    unknown = tuple(
        position
        for position, (token_id, span) in enumerate(zip(ids, spans, strict=True))
        if token_id in unknown_ids
        and span is not None
        and text[slice(*span)].strip() != spelled[position]
    )

    def role(position: int) -> str | None:
        # GPT-2's unknown token is its end of text too: a word that became it is still a word.
        if position in unknown:
            return None
        added_name = "special" if spans[position] is None else None
        return names.get(ids[position], added_name)

    special = tuple(map(role, range(len(ids))))
    marks = {spelled[position] for position in unknown}
    pieces = display_pieces(spelled, spans, text, unknown=marks)
    tokens = Tokens(text, ids, pieces, spans, special, unknown)
    if not allow_special_tokens:
        raw = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
        check_no_special_in_text(tokens, dict(raw))
    check_round_trip(tokens, spelled, unknown=marks)
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
    unknown_ids = _unknown_ids(tokenizer)
    special = tuple(names.get(token_id) for token_id in ids)
    return Tokens(
        text="",
        ids=ids,
        pieces=tuple(visible(piece) for piece in tokenizer.convert_ids_to_tokens(list(ids))),
        spans=(None,) * len(ids),
        special=special,
        # GPT-2's unknown token is its end of text too, which is what an id means.
        unknown=tuple(
            position
            for position, (token_id, role) in enumerate(zip(ids, special, strict=True))
            if token_id in unknown_ids and role is None
        ),
    )


def _unknown_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that the tokenizer puts in place of characters that its vocabulary lacks.

    Byte fallback spells such characters byte by byte and so has none.
    """
    found = {getattr(tokenizer, "unk_token_id", None)}
    model = tokenizer.backend_tokenizer.model
    # Not every tokenizer declares the token that its model falls back to.
    mark = getattr(model, "unk_token", None)
    if mark is not None:
        found.add(model.token_to_id(mark))
    elif isinstance(model, Unigram):
        found.update(_unigram_unknown(model))
    return frozenset(token_id for token_id in found if token_id is not None)


def _unigram_unknown(model: Unigram) -> Iterator[int]:
    """The id of the unknown piece, which the model tells only by falling back to it."""
    try:
        pieces = model.tokenize(_NONCHARACTER)
    except Exception:  # noqa: BLE001  tokenizers has no exception class of its own
        return  # the model has no unknown piece
    for piece in pieces:
        if model.id_to_token(piece.id) != piece.value:
            yield piece.id


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
        tuple(position + 1 for position in tokens.unknown if position < end),
    )
