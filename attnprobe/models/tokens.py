"""From texts to tokens, with the model's own tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from tokenizers.models import Unigram, WordLevel, WordPiece

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.printing import visible
from attnprobe.core.texts import Answer, InputText, Sample, Span, Tokens, input_texts
from attnprobe.models.panics import panics_as_errors
from attnprobe.words.id_pieces import Spelling, pieces_of_ids
from attnprobe.words.spelling import (
    check_no_separator,
    check_no_special_in_text,
    check_round_trip,
    display_pieces,
    has_content,
    place_space_marks,
)

# No vocabulary has a piece for this character.
_NONCHARACTER = "\U0010ffff"
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NAMES = ("cls", "sep", "bos", "eos", "pad")


def prepare_tokenizer(tokenizer: Any) -> None:
    """Switches off the truncation and padding that a tokenizer's file may ask for.

    Raises:
        ModelError: the tokenizer returns no character offsets, or lacks its own unknown token.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(tokenizer).__name__} returns no character offsets, so words cannot be found in "
            "its tokens; use a model with a fast tokenizer (a tokenizer.json)"
        )
    unknown = tokenizer.unk_token
    if unknown is not None and tokenizer.backend_tokenizer.token_to_id(unknown) is None:
        # transformers would look for it without end.
        raise ModelError(
            f"the tokenizer names {visible(unknown)!r} as its unknown token, and its vocabulary "
            "has no such token"
        )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()


class _Encoded(NamedTuple):
    """What a tokenizer returns for a text, or for two.

    Attributes:
        added: whether the tokenizer added the token; tokens of the text are not added.
        offsets: the characters of each token, `[start, end)`, counted in `Sample.joined`.
        segments: of each token; empty where the tokenizer numbers none.
    """

    ids: tuple[int, ...]
    added: tuple[bool, ...]
    offsets: tuple[tuple[int, int], ...]
    segments: tuple[int, ...]


def tokenize(
    tokenizer: Any,
    text: str,
    *,
    pair: str | None = None,
    allow_special_tokens: bool = False,
    one_segment: bool = False,
) -> Tokens:
    """The tokens of a text, or of two, with the special ones that the tokenizer adds.

    A text that spells the start token itself, such as a rendered chat template, gets no special
    tokens: its ids are those of `apply_chat_template(tokenize=True)`.

    Args:
        pair: a second text; the tokenizer's own encoding of pairs puts it behind the first.
        allow_special_tokens: whether the text may spell special tokens.
        one_segment: whether the text may spell separators, which start no second segment.

    Raises:
        SelectorError: the text spells a special token without leave, or has half of a surrogate
            pair, which is no character.
        ModelError: the tokenizer's offsets do not spell the text, or it cannot read the text.
    """
    read = _encode(tokenizer, text, pair)
    if _opening(tokenizer, read, text) in _start_token(read):
        if pair is not None:
            raise SelectorError(
                "the text spells out the start token, which the tokenizer itself puts before two "
                "texts; leave it out"
            )
        read = _encode(tokenizer, text, add_special_tokens=False)
    sample = Sample(text, pair=pair)
    tokens = _tokens(tokenizer, sample.joined, read, sample.parts)
    check_spelled(
        tokenizer,
        tokens,
        allow_special_tokens=allow_special_tokens,
        one_segment=one_segment,
        alone=pair is None,
    )
    return tokens


def tokenize_verbatim(tokenizer: Any, text: str) -> Tokens:
    """The tokens of a text that spells its special tokens itself; nothing is added or refused.

    Raises:
        SelectorError, ModelError: as `tokenize`, but for special tokens in the text.
    """
    return _tokens(tokenizer, text, _encode(tokenizer, text, add_special_tokens=False))


def decoded_tokens(tokenizer: Any, answer: Answer) -> Tokens:
    """The tokens of a generated text; special ones have no characters.

    Raises:
        ModelError: the tokenizer decodes a token to other characters than the token spells.
    """
    marks = special_tokens(tokenizer)
    added = tuple(token in marks for token in answer.ids)
    return _tokens(tokenizer, answer.text, _Encoded(answer.ids, added, answer.spans, ()))


def tokenize_target(
    tokenizer: Any,
    text: str,
    *,
    start: int,
    wraps: bool = False,
    allow_special_tokens: bool = False,
    one_segment: bool = False,
) -> Tokens:
    """The tokens of a target text behind the decoder's start, closing special tokens included.

    A target that spells the decoder's start is the whole sequence, as `generate` takes it. One that
    spells the first token of the labels gets no special token but the decoder's start.

    Args:
        start: id that opens the decoder's input.
        wraps: whether the last token that the tokenizer adds opens it instead.

    Raises:
        SelectorError, ModelError: as `tokenize`.
    """
    read = _encode(tokenizer, text, target=True)
    if wraps and read.added[-1:] == (True,):
        start = read.ids[-1]
    opening = _opening(tokenizer, read, text)
    if opening in (start, *_start_token(read)):
        read = _encode(tokenizer, text, target=True, add_special_tokens=False)
    labels = _tokens(tokenizer, text, read)
    check_spelled(
        tokenizer,
        labels,
        allow_special_tokens=allow_special_tokens,
        one_segment=one_segment,
        alone=False,
    )
    if opening == start:
        place = labels.ids.index(start)
        return replace(
            labels, special=(*labels.special[:place], "bos", *labels.special[place + 1 :])
        )
    (piece,) = _spelled(tokenizer, (start,))
    return Tokens(
        text,
        (start, *labels.ids),
        (piece, *labels.pieces),
        (None, *labels.spans),
        ("bos", *labels.special),
        tuple(position + 1 for position in labels.unknown),
    )


def decoder_inputs(target: Tokens) -> Tokens:
    """The decoder's input positions of a sequence of `tokenize_target`.

    These are all but a closing special token, and all of a sequence whose text spells its start.
    """
    if target.spans[0] is not None or target.special[-1] is None or len(target) == 1:
        return target
    return Tokens(
        target.text,
        target.ids[:-1],
        target.pieces[:-1],
        target.spans[:-1],
        target.special[:-1],
        target.unknown,  # the last token is special, so it is none of them
    )


def check_characters(parts: Iterable[InputText]) -> None:
    """Raises SelectorError where a text has half of a surrogate pair."""
    for part in parts:
        half = _SURROGATE.search(part.text)
        if half is not None:
            raise SelectorError(
                f"{part.name} has U+{ord(half[0]):04X} at character {half.start()}: half of a "
                "surrogate pair, which is no character"
            )


def _encode(
    tokenizer: Any,
    text: str,
    pair: str | None = None,
    *,
    target: bool = False,
    add_special_tokens: bool = True,
) -> _Encoded:
    parts = input_texts(text, Sample(text, pair=pair).parts)
    check_characters(parts)
    try:
        with panics_as_errors():
            encoded = tokenizer(
                **({"text_target": text} if target else {"text": text, "text_pair": pair}),
                add_special_tokens=add_special_tokens,
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
    # The tokenizer's offsets count in each text from its own start.
    starts = [parts[number or 0].start for number in encoded.sequence_ids()]
    return _Encoded(
        tuple(encoded["input_ids"]),
        tuple(bool(flag) for flag in encoded["special_tokens_mask"]),
        tuple(
            (at + start, at + end)
            for at, (start, end) in zip(starts, encoded["offset_mapping"], strict=True)
        ),
        tuple(encoded.get("token_type_ids", ())),
    )


def _start_token(read: _Encoded) -> tuple[int, ...]:
    """The token that the tokenizer adds before a text; empty where it adds none."""
    return read.ids[:1] if read.added[:1] == (True,) else ()


def _opening(tokenizer: Any, read: _Encoded, text: str) -> int | None:
    """The first token of the text itself, white space left out; None where it is unknown."""
    for token_id, added, offsets in zip(read.ids, read.added, read.offsets, strict=True):
        covered = text[slice(*offsets)].strip()
        if not added and covered:
            (spelled,) = _spelled(tokenizer, (token_id,))
            is_unknown = token_id in unknown_ids(tokenizer) and covered != spelled
            return None if is_unknown else token_id
    return None


def _tokens(tokenizer: Any, text: str, read: _Encoded, parts: tuple[InputText, ...] = ()) -> Tokens:
    ids = read.ids
    spans = tuple(
        None if added else Span(*offsets)
        for added, offsets in zip(read.added, read.offsets, strict=True)
    )
    names = _special_names(tokenizer)
    spelled = _spelled(tokenizer, ids)
    fallbacks = unknown_ids(tokenizer)
    unknown = tuple(
        position
        for position, (token_id, span) in enumerate(zip(ids, spans, strict=True))
        if token_id in fallbacks
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
    spans = place_space_marks(spelled, spans, special, text)
    marks = {spelled[position] for position in unknown}
    pieces = display_pieces(spelled, spans, text, unknown=marks)
    tokens = Tokens(text, ids, pieces, spans, special, unknown, parts, read.segments)
    check_round_trip(tokens, spelled, unknown=marks)
    return tokens


def _spelled(tokenizer: Any, ids: tuple[int, ...]) -> list[str]:
    """The raw tokens of ids that the tokenizer gave."""
    found: list[Any] = tokenizer.convert_ids_to_tokens(list(ids))
    if None in found:
        lost = ids[found.index(None)]
        raise ModelError(f"the tokenizer gives the id {lost}, and its vocabulary has no such token")
    return found


def check_spelled(
    tokenizer: Any,
    tokens: Tokens,
    *,
    allow_special_tokens: bool,
    one_segment: bool,
    alone: bool,
) -> None:
    """Raises SelectorError where the text spells a special token without leave."""
    spelled = special_tokens(tokenizer)
    separator = _separator(tokenizer)
    if separator is not None and one_segment:
        spelled = {token_id: mark for token_id, mark in spelled.items() if token_id != separator}
    elif separator is not None:
        check_no_separator(tokens, separator, spelled[separator], alone=alone)
    if not allow_special_tokens:
        check_no_special_in_text(tokens, spelled)


def given(tokenizer: Any, ids: tuple[int, ...], *, one_segment: bool = False) -> Tokens:
    """The tokens of ids that a sample gives instead of a text; they have no characters.

    All of them belong to the first segment, as the tokens of one text do.

    Raises:
        SelectorError: an id that the vocabulary does not have, or a separator with more behind it,
            as between two texts.
    """
    size = len(tokenizer)
    for token_id in ids:
        # A vocabulary may have gaps.
        if token_id >= size or tokenizer.convert_ids_to_tokens(token_id) is None:
            raise SelectorError(
                f"no token has the id {token_id}: the vocabulary has {size}, from 0"
            )
    names = _special_names(tokenizer)
    fallbacks = unknown_ids(tokenizer)
    special = tuple(names.get(token_id) for token_id in ids)
    separator = _separator(tokenizer)
    if separator in ids and not one_segment and has_content(special[ids.index(separator) + 1 :]):
        raise SelectorError(
            f"ids: the separator {separator} stands between tokens, but all of them are of one "
            "segment; write two texts as text: and text_pair:, or one_segment: true if the model "
            "is used with separators inside of one text"
        )
    # GPT-2's unknown token is its end of text too, which is what an id means.
    unknown = tuple(
        position
        for position, (token_id, role) in enumerate(zip(ids, special, strict=True))
        if token_id in fallbacks and role is None
    )
    added = tokenizer.added_tokens_decoder
    pieces = pieces_of_ids(
        tokenizer.convert_ids_to_tokens(list(ids)),
        verbatim={
            position
            for position, token_id in enumerate(ids)
            if token_id in added or special[position] is not None or position in unknown
        },
        spelling=_spelling(tokenizer),
    )
    return Tokens(
        text="",
        ids=ids,
        pieces=pieces,
        spans=(None,) * len(ids),
        special=special,
        unknown=unknown,
        segments=(0,) * len(ids) if _numbers_segments(tokenizer) else (),
    )


def _numbers_segments(tokenizer: Any) -> bool:
    """Whether the tokenizer numbers the segments of two texts for the model."""
    return "token_type_ids" in tokenizer.model_input_names


def _separator(tokenizer: Any) -> int | None:
    """The separator's id of a tokenizer that numbers segments, else None."""
    found = getattr(tokenizer, "sep_token_id", None)
    return found if isinstance(found, int) and _numbers_segments(tokenizer) else None


# The following are read for every text, and a model's tokenizer keeps its vocabulary.


@lru_cache(maxsize=8)
def unknown_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that replace characters which the tokenizer's vocabulary lacks.

    Tokenizers with byte fallback spell such characters byte by byte and have no such id.
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
    """The id of the unknown piece, found by reading a character that no vocabulary has."""
    try:
        with panics_as_errors():
            pieces = model.tokenize(_NONCHARACTER)
    except Exception:  # noqa: BLE001  tokenizers has no exception class of its own
        return  # the model has no unknown piece
    for piece in pieces:
        if model.id_to_token(piece.id) != piece.value:
            yield piece.id


@lru_cache(maxsize=8)
def _spelling(tokenizer: Any) -> Spelling:
    """How the tokenizer spells its tokens."""
    backend = tokenizer.backend_tokenizer
    if isinstance(backend.model, WordPiece | WordLevel):
        return "words"
    part = backend.decoder or backend.pre_tokenizer
    # The state is JSON that names every step, also the steps of a sequence.
    is_byte_level = part is not None and b'"ByteLevel"' in part.__getstate__()
    return "bytes" if is_byte_level else "characters"


@lru_cache(maxsize=8)
def special_tokens(tokenizer: Any) -> Mapping[int, str]:
    """Spelling of each special token, by its id.

    Most marks of a chat template are special in the vocabulary alone: Llama 3's tokenizer lists two
    of its 256 as special tokens.
    """
    added = {
        token_id: token.content
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special
    }
    listed = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    return MappingProxyType(added | dict(listed))


@lru_cache(maxsize=8)
def _special_names(tokenizer: Any) -> Mapping[int | None, str]:
    """Name of each special token by its id; a token that is only the unknown one has none."""
    names: dict[int | None, str] = dict.fromkeys(special_tokens(tokenizer), "special")
    for name in reversed(_NAMES):
        token_id = getattr(tokenizer, f"{name}_token_id", None)
        if token_id is not None:
            names[token_id] = name
    unknown = getattr(tokenizer, "unk_token_id", None)
    if names.get(unknown) == "special":
        del names[unknown]
    return MappingProxyType(names)


def check_length(count: int, side: str, most: int | None, *, name: str, text: str) -> None:
    """Raises SelectorError where `count` tokens are more than a model takes.

    Args:
        side: text or target, for the message.
        most: tokens that the model takes; None where there is no limit.
        text: the text to shorten, for the message.
    """
    if most is not None and count > most:
        start = text if len(text) <= 60 else f"{text[:60]}…"
        raise SelectorError(
            f"the {side} has {count} tokens and {name} takes {most}; nothing is cut, so shorten "
            f"{start!r}"
        )
