"""Whether a tokenizer's offsets can be trusted, and how its tokens are spelled.

Offsets are trusted only after `check_round_trip`.
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
from attnprobe.words.segmentation import split_graphemes, strip_span, word_boundaries
from attnprobe.words.selectors import quoted
from attnprobe.words.show import indent, underline


def _byte_alphabet() -> dict[str, int]:
    """The characters that byte-level tokenizers write bytes as (GPT-2's `bytes_to_unicode`)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {
        chr(0x100 + number): byte for number, byte in enumerate(hidden)
    }


_BYTES = _byte_alphabet()
_BYTE_TOKEN = regex.compile(r"<0x([0-9A-F]{2})>")


def _as_bytes(spelled: str) -> bytes:
    """The bytes of a raw token, where the tokenizer writes bytes in one of the two usual ways."""
    byte = _BYTE_TOKEN.fullmatch(spelled)
    if byte:
        return bytes.fromhex(byte[1])
    if all(char in _BYTES for char in spelled):
        return bytes(_BYTES[char] for char in spelled)
    return spelled.encode()


@lru_cache(maxsize=8192)
def _fold(text: str) -> str:
    """A text less what normalisers change: case, composition, marks, spaces, controls."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(
        char for char in decomposed if unicodedata.category(char)[0] not in "MZC" and char != "▁"
    )


def _read(spelled: Sequence[str], text: str) -> list[str] | None:
    """Raw tokens in plain text, by the spelling convention that makes them spell `text`.

    Conventions: WordPiece `##` and BPE `</w>`, none (and `▁`), bytes. None if no one fits.
    """
    sought = _fold(text)
    unmarked = [token.removeprefix("##").removesuffix("</w>") for token in spelled]
    for plain in (unmarked, list(spelled)):
        if _fold("".join(plain)) == sought:
            return plain
    pieces = [_as_bytes(token) for token in spelled]
    if _fold(b"".join(pieces).decode(errors="replace")) == sought:
        return [piece.decode(errors="backslashreplace") for piece in pieces]
    return None


def _reach(spans: Sequence[Span | None], text: str) -> list[Span | None]:
    """Spans up to the end of their last grapheme, as far as no other token covers it.

    A normaliser that composes or drops marks reports only the base letter.
    """
    starts = sorted(span.start for span in spans if span is not None)
    ends = [grapheme.end for grapheme in split_graphemes(text)]
    reach: list[Span | None] = []
    for span in spans:
        reach.append(span)
        if span is not None and span.start < span.end <= len(text):
            whole = ends[bisect_left(ends, span.end)]
            if whole > span.end:
                later = starts[bisect_left(starts, span.end) :][:1]
                reach[-1] = Span(span.start, min([whole, *later]))
    return reach


def _clusters(spans: Sequence[Span | None]) -> Iterator[tuple[list[int], Span]]:
    """Runs of tokens that share a character, and what they cover; most tokens are alone.

    Tokens without a span are left out.
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


def display_pieces(
    spelled: Sequence[str],
    spans: Sequence[Span | None],
    text: str,
    *,
    unknown: Collection[str] = (),
) -> tuple[str, ...]:
    """Each token as the reader should see it: the field `pieces` of `Tokens`.

    A token shows its characters as they stand in the text, without the space before it, with `##`
    in front where it goes on inside a run of letters; a token for a part of a character shows its
    bytes (`\\xe2`), one that covers only white space shows that (`␣`, `<U+000A>`), the unknown
    token and tokens without characters their raw form.

    Args:
        spelled: the tokenizer's raw tokens (`convert_ids_to_tokens`).
        unknown: the raw forms of unknown tokens.
    """
    boundaries = word_boundaries(text)
    shown = list(spelled)
    for cluster, joint in _clusters(_reach(spans, text)):
        covered = text[joint.start : joint.end]
        if len(cluster) > 1:
            read = _read([spelled[index] for index in cluster], covered) or [covered] * len(cluster)
        elif covered.strip():
            inside = strip_span(joint, text).start not in boundaries
            read = [f"##{covered}" if inside else covered]
        else:
            read = [visible(covered).replace(" ", "␣")]
        for index, piece in zip(cluster, read, strict=True):
            if spelled[index] not in unknown:
                shown[index] = piece.strip() or spelled[index]
    return tuple(visible(piece) for piece in shown)


def check_round_trip(
    tokens: Tokens, spelled: Sequence[str], *, unknown: Collection[str] = ()
) -> None:
    """Refuses offsets that do not spell the tokens.

    Each ordinary token must spell the characters that its span covers (but for case, composition,
    marks, spaces); tokens that share a character are read together; spans ascend; every letter,
    digit, symbol and punctuation mark of the text is covered. Unknown tokens need not spell
    anything, but cover their characters like others.

    Args:
        spelled: the tokenizer's raw tokens (`convert_ids_to_tokens`).
        unknown: the raw forms of unknown tokens.

    Raises:
        ModelError: the offsets are wrong, or the text has characters without a token.
    """
    text = tokens.text
    if not len(tokens.ids) == len(tokens.spans) == len(tokens.special) == len(spelled):
        raise ModelError("the tokenizer gives another number of offsets than of tokens")
    previous = Span(0, 0)
    for index, span in enumerate(tokens.spans):
        if span is None:
            exempt = tokens.special[index] is not None or spelled[index] in unknown
            if not exempt and _read([spelled[index]], "") is None:
                raise _wrong_offsets(spelled[index], "that it stands for no character")
            continue
        if not 0 <= span.start <= span.end <= len(text):
            reason = f"characters {span.start} to {span.end} of a text of {len(text)}"
            raise _wrong_offsets(spelled[index], reason)
        # Pieces of one character share it; more than one grapheme in common is a wrong offset.
        shared = text[span.start : previous.end].strip()
        if (
            span.start < previous.start
            or span.end < previous.end
            or len(split_graphemes(shared)) > 1
        ):
            reason = (
                f"characters {span.start} to {span.end}, after a token at "
                f"{previous.start} to {previous.end}"
            )
            raise _wrong_offsets(spelled[index], reason)
        previous = span

    missing = {
        offset
        for offset, char in enumerate(text)
        if unicodedata.category(char)[0] in "LNPS" and char != "\ufffd"
    }
    for cluster, joint in _clusters(_reach(tokens.spans, text)):
        missing.difference_update(range(*joint))
        raw = [spelled[index] for index in cluster]
        must_spell = not any(piece in unknown for piece in raw)
        if must_spell and _read(raw, text[joint.start : joint.end]) is None:
            raise _wrong_offsets(" ".join(raw), quoted(text[joint.start : joint.end]))
    if missing:
        first = min(missing)
        grapheme = next(span for span in split_graphemes(text) if span.start <= first < span.end)
        raise ModelError(
            "the tokenizer reports wrong offsets: no token stands for "
            f"{quoted(text[grapheme.start : grapheme.end])} at character {first}; {_ADVICE}\n"
            + indent(underline(text, grapheme, pair_start=tokens.pair_start))
        )


_ADVICE = "use the model's fast tokenizer (tokenizer.json), or declare another one"


def _wrong_offsets(spelled: str, reported: str) -> ModelError:
    raw = [*map(_as_bytes, spelled.split(" "))]
    plain = b"".join(raw).decode(errors="replace").replace("▁", " ").strip()
    means = f" (spelling {quoted(plain)})" if plain != spelled else ""
    return ModelError(
        f"the tokenizer reports wrong offsets: for the token {quoted(spelled)}{means} "
        f"they say {reported}; {_ADVICE}"
    )


def check_no_special_in_text(tokens: Tokens, special: Mapping[int, str]) -> None:
    """Refuses a text that spells out special tokens: the model would take them for its own.

    Args:
        special: raw form of each special token, by id. An unknown token is no offence where it
            stands for an unknown word, only where the text spells it out.

    Raises:
        SelectorError: a token from the text is a special token.
    """
    for position, span in _spelled_out(tokens, special):
        spelled = special[tokens.ids[position]]
        raise SelectorError(
            f"the text spells out the special token {quoted(spelled)}, which the model "
            "reads as a mark of its own; change the text, or allow it if you mean it: "
            "allow_special_tokens: true in a case file, allow_special_tokens=True in Python, "
            "--allow-special-tokens with attnprobe show\n"
            + indent(underline(tokens.text, span, pair_start=tokens.pair_start))
        )


def has_content(special: Iterable[str | None]) -> bool:
    """Whether tokens of a text are more than its frame: words, or `[MASK]` in the place of one.

    Args:
        special: as in `Tokens`.
    """
    return any(name in (None, "special") for name in special)


_SECOND_TEXT = "text_pair: in a case file, pair= in Python, --text-pair with attnprobe show"
_ONE_SEGMENT = (
    "one_segment: true in a case file, one_segment=True in Python, --one-segment with attnprobe "
    "show"
)


def check_no_separator(tokens: Tokens, separator: int, spelled: str, *, alone: bool) -> None:
    """Refuses a text that goes on behind a separator, where the tokenizer numbers segments.

    What follows a typed separator is in the segment of what precedes it; the model was trained on
    another one.

    Args:
        spelled: raw form of the separator.
        alone: the text could have a second one beside it.

    Raises:
        SelectorError: tokens of the text follow a separator that it spells out.
    """
    for position, span in _spelled_out(tokens, {separator: spelled}):
        behind = zip(tokens.spans[position + 1 :], tokens.special[position + 1 :], strict=True)
        if has_content(name for other, name in behind if other is not None):
            raise SelectorError(
                f"the text spells out the separator {quoted(spelled)}, but what follows it gets "
                "the segment of what precedes it (token_type_ids); "
                + (f"write what follows as a second text: {_SECOND_TEXT}; or " if alone else "")
                + f"declare a model that is used with separators inside of one text: {_ONE_SEGMENT}"
                + "\n"
                + indent(underline(tokens.text, span, pair_start=tokens.pair_start))
            )


def _spelled_out(tokens: Tokens, special: Mapping[int, str]) -> Iterator[tuple[int, Span]]:
    """Positions of these special tokens that the text spells out, with their characters."""
    for position, (token, span) in enumerate(zip(tokens.ids, tokens.spans, strict=True)):
        if span is None or token not in special:
            continue
        covered = strip_span(span, tokens.text)
        if _fold(tokens.text[covered.start : covered.end]) == _fold(special[token]):
            yield position, covered
