"""Checks of a tokenizer's offsets against the spelling of its tokens, and tokens for a reader.

attnprobe uses offsets only after `check_round_trip`.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import regex

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.printing import visible
from attnprobe.core.texts import Span, Tokens
from attnprobe.words.segmentation import has_ink, split_graphemes, strip_span, word_boundaries
from attnprobe.words.show import indent, quoted, underline

_ADVICE = "use the model's fast tokenizer (tokenizer.json), or declare another one"
_SECOND_TEXT = "text_pair: in a case file, pair= in Python, --text-pair with attnprobe show"
_ONE_SEGMENT = (
    "one_segment: true in a case file, one_segment=True in Python, --one-segment with attnprobe "
    "show"
)
_STRAY_BYTE = regex.compile(r"[\udc80-\udcff]")  # as the handler `surrogateescape` decodes it
_BYTE_TOKEN = regex.compile(r"<0x([0-9A-F]{2})>")
# The byte of each character that byte-level tokenizers use (GPT-2's `bytes_to_unicode`).
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(0x100) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + number): byte for number, byte in enumerate(_OTHERS)
}


def place_space_marks(
    raw: Sequence[str],
    spans: Sequence[Span | None],
    special: Sequence[str | None],
    text: str,
) -> tuple[Span | None, ...]:
    """The spans, where each `▁` alone stands for the first character of the word behind it.

    So it does at the start of a text, where no space is. SentencePiece writes ` are` as `▁are`, or
    as `▁` and what follows: both are the word. A `▁` with no word right behind it stays a space.

    Args:
        raw: the tokenizer's raw tokens (`convert_ids_to_tokens`).
        special: as `Tokens.special`.
    """
    placed = list(spans)
    for index, (token, here, behind) in enumerate(zip(raw, spans, spans[1:], strict=False)):
        if (
            token == "▁"
            and here is not None
            and behind is not None
            and here.end == behind.start
            and special[index + 1] is None
            and not has_ink(text[slice(*here)])
            and has_ink(text[behind.start : behind.start + 1])
        ):
            placed[index] = Span(behind.start, behind.start + 1)
    return tuple(placed)


def display_pieces(
    raw: Sequence[str],
    spans: Sequence[Span | None],
    text: str,
    *,
    unknown: Collection[str] = (),
) -> tuple[str, ...]:
    """Each token as a reader should see it: the field `pieces` of `Tokens`.

    A token becomes its characters in the text, without the space before it; `##` precedes a token
    that continues a word. A token for a part of a character becomes its bytes (`<0xE2>`), a token
    of white space a symbol (`␣`, `<U+000A>`). The unknown token and tokens without characters keep
    their raw form.

    Args:
        raw: the tokenizer's raw tokens (`convert_ids_to_tokens`).
        unknown: the raw forms of unknown tokens.
    """
    boundaries = word_boundaries(text)
    pieces = list(raw)
    for cluster, joint in _clusters(_extend_to_graphemes(spans, text)):
        covered = text[joint.start : joint.end]
        if len(cluster) > 1:
            plain = _plain_tokens([raw[index] for index in cluster], covered)
            plain = plain or [covered] * len(cluster)
        elif covered.strip():
            continues_word = strip_span(joint, text).start not in boundaries
            plain = [f"##{covered}" if continues_word else covered]
        else:
            plain = [visible(covered).replace(" ", "␣")]
        for index, piece in zip(cluster, plain, strict=True):
            if raw[index] not in unknown:
                pieces[index] = piece.strip() or raw[index]
    return tuple(visible(piece) for piece in pieces)


def check_round_trip(tokens: Tokens, raw: Sequence[str], *, unknown: Collection[str] = ()) -> None:
    """Checks that the offsets fit the spelling of the tokens.

    Each ordinary token must spell the characters of its span, apart from case, composition, marks
    and spaces; tokens that share a character must spell theirs together. Spans ascend. A token
    covers every letter, digit, symbol and punctuation mark of the text. Unknown tokens may spell
    anything, but cover their characters like others.

    Args:
        raw: the tokenizer's raw tokens (`convert_ids_to_tokens`).
        unknown: the raw forms of unknown tokens.

    Raises:
        ModelError: the offsets are wrong, or no token stands for a character.
    """
    text = tokens.text
    if not len(tokens.ids) == len(tokens.spans) == len(tokens.special) == len(raw):
        raise ModelError("the tokenizer gives another number of offsets than of tokens")
    previous = Span(0, 0)
    for index, span in enumerate(tokens.spans):
        if span is None:
            exempt = tokens.special[index] is not None or raw[index] in unknown
            if not exempt and _plain_tokens([raw[index]], "") is None:
                raise _wrong_offsets(raw[index], "that it stands for no character")
            continue
        if not 0 <= span.start <= span.end <= len(text):
            reason = f"characters {span.start} to {span.end} of a text of {len(text)}"
            raise _wrong_offsets(raw[index], reason)
        # Tokens of one character share its grapheme; sharing more than one is wrong.
        shared = text[span.start : previous.end].strip()
        if (
            span.start < previous.start
            or span.end < previous.end
            or (len(shared) > 1 and len(split_graphemes(shared)) > 1)
        ):
            reason = (
                f"characters {span.start} to {span.end}, after a token at "
                f"{previous.start} to {previous.end}"
            )
            raise _wrong_offsets(raw[index], reason)
        previous = span

    missing = {
        offset
        for offset, char in enumerate(text)
        if unicodedata.category(char)[0] in "LNPS" and char != "\ufffd"
    }
    for cluster, joint in _clusters(_extend_to_graphemes(tokens.spans, text)):
        missing.difference_update(range(*joint))
        covering = [raw[index] for index in cluster]
        must_spell = not any(token in unknown for token in covering)
        if must_spell and _plain_tokens(covering, text[joint.start : joint.end]) is None:
            raise _wrong_offsets(" ".join(covering), quoted(text[joint.start : joint.end]))
    if missing:
        first = min(missing)
        grapheme = next(span for span in split_graphemes(text) if span.start <= first < span.end)
        raise ModelError(
            "the tokenizer reports wrong offsets: no token stands for "
            f"{quoted(text[grapheme.start : grapheme.end])} at character {first}; {_ADVICE}\n"
            + indent(underline(text, grapheme, parts=tokens.parts))
        )


def check_no_special_in_text(tokens: Tokens, special: Mapping[int, str]) -> None:
    """Refuses a text that spells out special tokens, which the model would take for its own.

    Args:
        special: the raw form of each special token, by id. An unknown token is refused only if the
            text spells it out, not if it stands for an unknown word.

    Raises:
        SelectorError: the text spells out a special token.
    """
    for position, span in _spelled_out(tokens, special):
        spelled = special[tokens.ids[position]]
        raise SelectorError(
            f"the text spells out the special token {quoted(spelled)}, which the model "
            "reads as a mark of its own; change the text, or allow it if you mean it: "
            "allow_special_tokens: true in a case file, allow_special_tokens=True in Python, "
            "--allow-special-tokens with attnprobe show\n"
            + indent(underline(tokens.text, span, parts=tokens.parts))
        )


def check_no_separator(tokens: Tokens, separator: int, spelled: str, *, alone: bool) -> None:
    """Refuses a text with words behind a separator that it spells out.

    For a tokenizer that numbers segments: the words would get the segment of those before the
    separator, and the model was trained on another one.

    Args:
        spelled: the raw form of the separator.
        alone: whether the sample has no second text, so that the message can advise one.

    Raises:
        SelectorError: words of the text follow a separator that it spells out.
    """
    for position, span in _spelled_out(tokens, {separator: spelled}):
        behind = zip(tokens.spans[position + 1 :], tokens.special[position + 1 :], strict=True)
        if has_content(name for later, name in behind if later is not None):
            raise SelectorError(
                f"the text spells out the separator {quoted(spelled)}, but what follows it gets "
                "the segment of what precedes it (token_type_ids); "
                + (f"write what follows as a second text: {_SECOND_TEXT}; or " if alone else "")
                + f"declare a model that is used with separators inside of one text: {_ONE_SEGMENT}"
                + "\n"
                + indent(underline(tokens.text, span, parts=tokens.parts))
            )


def has_content(special: Iterable[str | None]) -> bool:
    """Whether any of the tokens is a word, or a `[MASK]` in the place of a word.

    Args:
        special: `Tokens.special` of these tokens.
    """
    return any(name in (None, "special") for name in special)


def _spelled_out(tokens: Tokens, special: Mapping[int, str]) -> Iterator[tuple[int, Span]]:
    """The position and the characters of each special token that the text spells out."""
    for position, (token, span) in enumerate(zip(tokens.ids, tokens.spans, strict=True)):
        if span is None or token not in special:
            continue
        covered = strip_span(span, tokens.text)
        if _fold(tokens.text[covered.start : covered.end]) == _fold(special[token]):
            yield position, covered


def _wrong_offsets(raw: str, reported: str) -> ModelError:
    pieces = [*map(token_bytes, raw.split(" "))]
    plain = b"".join(pieces).decode(errors="replace").replace("▁", " ").strip()
    means = f" (spelling {quoted(plain)})" if plain != raw else ""
    return ModelError(
        f"the tokenizer reports wrong offsets: for the token {quoted(raw)}{means} "
        f"they say {reported}; {_ADVICE}"
    )


def _plain_tokens(raw: Sequence[str], text: str) -> list[str] | None:
    """Raw tokens as plain text, under the first spelling convention by which they spell `text`.

    The conventions are WordPiece's `##` and BPE's `</w>`, no marks or `▁`, and bytes. None if the
    tokens spell another text under each of them.
    """
    folded = _fold(text)
    unmarked = [token.removeprefix("##").removesuffix("</w>") for token in raw]
    for plain in (unmarked, list(raw)):
        if _fold("".join(plain)) == folded:
            return plain
    pieces = [token_bytes(token) for token in raw]
    if _fold(b"".join(pieces).decode(errors="replace")) == folded:
        return [decode_bytes(piece) for piece in pieces]
    return None


@lru_cache(maxsize=8192)
def _fold(text: str) -> str:
    """The text without what normalisers change: case, composition, marks, spaces, controls."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(
        char for char in decomposed if unicodedata.category(char)[0] not in "MZC" and char != "▁"
    )


def token_bytes(token: str) -> bytes:
    """The bytes of a raw token: `<0xE2>`, byte-level characters, or else UTF-8."""
    byte = _BYTE_TOKEN.fullmatch(token)
    if byte:
        return bytes.fromhex(byte[1])
    if all(char in _BYTES for char in token):
        return bytes(_BYTES[char] for char in token)
    return token.encode()


def decode_bytes(given: bytes) -> str:
    """The characters of UTF-8; a byte that is no part of a character is written as `<0xE2>`."""
    return _STRAY_BYTE.sub(
        lambda match: f"<0x{ord(match[0]) - 0xDC00:02X}>",
        given.decode("utf-8", "surrogateescape"),
    )


def _extend_to_graphemes(spans: Sequence[Span | None], text: str) -> list[Span | None]:
    """Spans extended to the end of their last grapheme, or to the start of the next token.

    A normaliser that composes or drops marks reports only the base letter.
    """
    if text.isascii() and "\r" not in text:
        return list(spans)  # each character is a grapheme
    starts = sorted(span.start for span in spans if span is not None)
    ends = [grapheme.end for grapheme in split_graphemes(text)]
    extended: list[Span | None] = []
    for span in spans:
        extended.append(span)
        if span is not None and span.start < span.end <= len(text):
            end = ends[bisect_left(ends, span.end)]
            if end > span.end:
                at = bisect_left(starts, span.end)
                next_start = starts[at : at + 1]
                extended[-1] = Span(span.start, min([end, *next_start]))
    return extended


def _clusters(spans: Sequence[Span | None]) -> Iterator[tuple[list[int], Span]]:
    """Runs of tokens that share characters, each with the characters that it covers.

    Most runs have one token. Tokens without a span are left out.
    """
    run: list[int] = []
    joint = Span(0, 0)
    for index, span in enumerate(spans):
        if span is None:
            continue
        if run and span.start >= joint.end:
            yield run, joint
            run = []
        joint = Span(joint.start, max(joint.end, span.end)) if run else span
        run.append(index)
    if run:
        yield run, joint
