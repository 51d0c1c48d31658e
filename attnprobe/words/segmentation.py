"""Graphemes, words and word boundaries of a text.

Graphemes are the extended grapheme clusters of Unicode Standard Annex 29. A word boundary lies
between two graphemes unless both are word characters. Scripts without spaces (Han, kana, Thai, Lao,
Khmer, Myanmar) have a boundary at every grapheme.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

import regex

from attnprobe.core.printing import GRAPHEME
from attnprobe.core.texts import Span

# Both patterns are matched at the start of a grapheme.
_WORD = regex.compile(r"\p{Cf}*[\p{L}\p{M}\p{N}\p{Pc}]")
# Script extensions count the long mark of kana, whose script is "common", as kana.
_UNSPACED_SCRIPTS = (
    r"(?=[\p{L}\p{M}\p{N}])"
    r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}"
    r"\p{scx=Myanmar}]"
)
_UNSPACED = regex.compile(rf"\p{{Cf}}*{_UNSPACED_SCRIPTS}")
# A run of spaced letters, or another grapheme. Of a grapheme that starts with a format character
# the rest decides, so it stands alone here. Letters of ASCII take the short way.
_UNIT = regex.compile(
    r"(?:[A-Za-z0-9_](?=[\x00-\x7f])"
    rf"|(?=[\p{{L}}\p{{M}}\p{{N}}\p{{Pc}}])(?!{_UNSPACED_SCRIPTS})\X)++"
    rf"|{GRAPHEME.pattern}"
)
_ASCII_UNIT = re.compile(r"\w+|\r\n|\W", re.ASCII)
_FORMAT = regex.compile(r"\p{Cf}")
_INK = regex.compile(r"[^\s\p{Cc}\p{Cf}]")
# Apostrophes, hyphens, soft hyphens and word joiners inside a word belong to it.
_JOINERS = frozenset("'’-\u2010\u2011\u00ad\u2060")


def split_graphemes(text: str) -> tuple[Span, ...]:
    return tuple(Span(*match.span()) for match in GRAPHEME.finditer(text))


def split_at_boundaries(text: str) -> list[str]:
    """The parts of a text between its word boundaries: runs of letters, and single graphemes."""
    if text.isascii():
        return _ASCII_UNIT.findall(text)
    parts = _UNIT.findall(text)
    return _join_letters(parts) if _FORMAT.search(text) else parts


def _join_letters(parts: list[str]) -> list[str]:
    """The parts, with neighbours joined that are letters once their format characters are read."""
    joined: list[str] = []
    run: list[str] = []
    for part in parts:
        if _is_spaced_letter(part):
            run.append(part)
            continue
        if run:
            joined.append("".join(run))
            run = []
        joined.append(part)
    return [*joined, "".join(run)] if run else joined


# A suite asks about the same few texts for every expectation, hence the caches.
@lru_cache(maxsize=256)
def word_boundaries(text: str) -> frozenset[int]:
    """Character offsets at which a word may begin or end."""
    return frozenset((0, *accumulate(map(len, split_at_boundaries(text)))))


@lru_cache(maxsize=256)
def words(text: str) -> tuple[Span, ...]:
    """The words of a text, in order; together they contain every visible character.

    A word is a run of letters, digits and their marks; inner apostrophes and hyphens belong to it
    (`didn't`, `well-known`). In a script without spaces each grapheme is a word. Every other
    visible grapheme, such as a punctuation mark or an emoji, is a word too.
    """
    return tuple(span for span in _words(text) if has_ink(text[span.start : span.end]))


def _words(text: str) -> Iterator[Span]:
    """The words of a text, and its invisible graphemes."""
    end = 0
    # The run of letters before, and the grapheme behind it that may join it to the next run.
    run: Span | None = None
    joiner: Span | None = None
    for part in split_at_boundaries(text):
        span = Span(end, end + len(part))
        end = span.end
        if _is_spaced_letter(part) and run and joiner:
            run, joiner = Span(run.start, end), None
        elif _is_spaced_letter(part):
            run = span
        elif run and not joiner and part[0] in _JOINERS:
            joiner = span
        else:
            yield from filter(None, (run, joiner))
            yield span
            run = joiner = None
    yield from filter(None, (run, joiner))


@lru_cache(maxsize=4096)
def _is_spaced_letter(grapheme: str) -> bool:
    """Whether a grapheme, or a run, is letters or digits of a script that spaces its words."""
    return bool(_WORD.match(grapheme)) and not _UNSPACED.match(grapheme)


def has_ink(text: str) -> bool:
    """Whether a text has a visible character: no space, control or format character."""
    return _INK.search(text) is not None


def strip_span(span: Span, text: str) -> Span:
    """The span without white space at its ends; empty if it covers only white space."""
    covered = text[span.start : span.end]
    start = span.start + len(covered) - len(covered.lstrip())
    return Span(start, start + len(covered.strip()))
