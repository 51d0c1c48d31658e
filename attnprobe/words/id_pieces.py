"""Readable pieces of tokens that are given as ids, without a text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Literal

from attnprobe.core.printing import visible
from attnprobe.words.segmentation import word_boundaries
from attnprobe.words.spelling import decode_bytes, token_bytes

# How a tokenizer spells its tokens: byte by byte in the characters of GPT-2; whole words and, after
# `##`, parts of words; or characters, with `▁` for a space, `</w>` for the end of a word.
Spelling = Literal["bytes", "words", "characters"]


def pieces_of_ids(
    raw: Sequence[str], *, verbatim: Collection[int], spelling: Spelling
) -> tuple[str, ...]:
    """Each token as `display_pieces` would show it in the text that the tokens spell together.

    Args:
        raw: the tokenizer's raw tokens (`convert_ids_to_tokens`).
        verbatim: positions of tokens that are no part of a word, such as special ones.
    """
    spelled = [
        b" " if position in verbatim else _spell(token, spelling)
        for position, token in enumerate(raw)
    ]
    # Each byte that is no part of a character becomes one surrogate, so that bytes can be counted.
    text = b"".join(spelled).decode("utf-8", "surrogateescape")
    sizes = (len(char.encode("utf-8", "surrogateescape")) for char in text)
    offset_at = {start: offset for offset, start in enumerate(accumulate(sizes, initial=0))}
    boundaries = word_boundaries(text)
    pieces = []
    starts = accumulate(map(len, spelled), initial=0)
    for position, (token, part, start) in enumerate(zip(raw, spelled, starts, strict=False)):
        found = token if position in verbatim else decode_bytes(part)
        word = found.strip()
        offset = offset_at.get(start)
        if not word:
            pieces.append(visible(found).replace(" ", "␣") or visible(token))
            continue
        if position not in verbatim and offset is not None:
            first = offset + found.index(word)
            # A part of a character is written as its bytes, which differ from the character.
            if first not in boundaries and text[first] == word[0]:
                word = f"##{word}"
        pieces.append(visible(word))
    return tuple(pieces)


def _spell(token: str, spelling: Spelling) -> bytes:
    """The bytes of a token, with spaces between words."""
    if spelling == "bytes":
        return token_bytes(token)
    if spelling == "words":
        begins = not token.startswith("##")
        return f" {token}".encode() if begins else token.removeprefix("##").encode()
    if token.startswith("<0x"):
        return token_bytes(token)
    plain = token.replace("▁", " ")
    return (f"{plain.removesuffix('</w>')} " if plain.endswith("</w>") else plain).encode()
