"""Graphemes, words and word boundaries of a text.

Graphemes are the extended grapheme clusters of Unicode Standard Annex 29. A word boundary lies
between two graphemes unless both are word characters. Scripts without spaces (Han, kana, Thai, Lao,
Khmer, Myanmar) have a boundary at every grapheme.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import pairwise

import regex

from attnprobe.core.texts import Span

GRAPHEME = regex.compile(r"\X")
# Both patterns are matched at the start of a grapheme.
_WORD = regex.compile(r"\p{Cf}*[\p{L}\p{M}\p{N}\p{Pc}]")
# Script extensions count the long mark of kana, whose script is "common", as kana.
_UNSPACED = regex.compile(
    r"\p{Cf}*(?=[\p{L}\p{M}\p{N}])"
    r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}"
    r"\p{scx=Myanmar}]"
)
# Apostrophes, hyphens, soft hyphens and word joiners inside a word belong to it.
_JOINERS = frozenset("'’-\u2010\u2011\u00ad\u2060")


# A suite asks about the same few texts for every expectation, hence the caches.
@lru_cache(maxsize=256)
def split_graphemes(text: str) -> tuple[Span, ...]:
    return tuple(Span(*match.span()) for match in GRAPHEME.finditer(text))


@lru_cache(maxsize=256)
def word_boundaries(text: str) -> frozenset[int]:
    """Character offsets at which a word may begin or end."""
    graphemes = split_graphemes(text)
    letters = [_is_spaced_letter(text[start:end]) for start, end in graphemes]
    inner = (
        grapheme.start
        for grapheme, (before, after) in zip(graphemes[1:], pairwise(letters), strict=True)
        if not (before and after)
    )
    return frozenset((0, len(text), *inner))


@lru_cache(maxsize=256)
def words(text: str) -> tuple[Span, ...]:
    """The words of a text, in order; together they contain every visible character.

    A word is a run of letters, digits and their marks; inner apostrophes and hyphens belong to it
    (`didn't`, `well-known`). In a script without spaces each grapheme is a word. Every other
    visible grapheme, such as a punctuation mark or an emoji, is a word too.
    """
    found: list[Span] = []
    graphemes = split_graphemes(text)
    # Whether the last word is a run of letters, and whether the last grapheme joins it to the next.
    in_run = joined = False
    for index, grapheme in enumerate(graphemes):
        is_letter = _is_spaced_letter(text[grapheme.start : grapheme.end])
        if is_letter and in_run:
            found[-1] = Span(found[-1].start, grapheme.end)
            joined = False
        elif (
            in_run
            and not joined
            and text[grapheme.start] in _JOINERS
            and any(
                _is_spaced_letter(text[start:end])
                for start, end in graphemes[index + 1 : index + 2]
            )
        ):
            joined = True
        else:
            if has_ink(text[grapheme.start : grapheme.end]):
                found.append(grapheme)
            in_run, joined = is_letter, False
    return tuple(found)


@lru_cache(maxsize=4096)
def _is_spaced_letter(grapheme: str) -> bool:
    """Whether a grapheme is a letter or digit of a script that separates words by spaces."""
    return bool(_WORD.match(grapheme)) and not _UNSPACED.match(grapheme)


def has_ink(text: str) -> bool:
    """Whether a text has a visible character: no space, control or format character."""
    return not all(char.isspace() or unicodedata.category(char) in ("Cc", "Cf") for char in text)


def strip_span(span: Span, text: str) -> Span:
    """The span without white space at its ends; empty if it covers only white space."""
    covered = text[span.start : span.end]
    start = span.start + len(covered) - len(covered.lstrip())
    return Span(start, start + len(covered.strip()))
