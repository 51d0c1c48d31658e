"""Words of a text: graphemes and the boundaries between them.

A boundary lies between two graphemes (extended grapheme clusters, Unicode Standard Annex 29) that
are not both word characters; scripts that write no spaces (Han, kana, Thai, Lao, Khmer, Myanmar)
have a boundary at every grapheme.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import regex

from attnprobe.core.texts import PAIR_BREAK, Span

Which = Literal["text", "pair"]
WHICH: tuple[Which, ...] = get_args(Which)

GRAPHEME = regex.compile(r"\X")
# Both are matched at the start of a grapheme.
_WORD = regex.compile(r"\p{Cf}*[\p{L}\p{M}\p{N}\p{Pc}]")
# By script extension, so that the long mark of kana (script: common) belongs to kana.
_UNSPACED = regex.compile(
    r"\p{Cf}*(?=[\p{L}\p{M}\p{N}])"
    r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}"
    r"\p{scx=Myanmar}]"
)
# Apostrophes, hyphens, soft hyphen and word joiner hold a word together.
_JOINERS = frozenset("'’-\u2010\u2011\u00ad\u2060")


def _blank(char: str) -> bool:
    """White space, control and format characters: nothing that a reader sees."""
    return char.isspace() or unicodedata.category(char) in ("Cc", "Cf")


def has_ink(text: str) -> bool:
    return not all(map(_blank, text))


# The same few texts are asked about for every expectation of a suite, hence the caches.
@lru_cache(maxsize=256)
def split_graphemes(text: str) -> tuple[Span, ...]:
    return tuple(Span(*match.span()) for match in GRAPHEME.finditer(text))


@lru_cache(maxsize=4096)
def _runs_on(grapheme: str) -> bool:
    """Whether a grapheme is a letter or digit of a script that parts its words by spaces."""
    return bool(_WORD.match(grapheme)) and not _UNSPACED.match(grapheme)


@lru_cache(maxsize=256)
def word_boundaries(text: str) -> frozenset[int]:
    """Offsets at which a word may begin or end."""
    graphemes = split_graphemes(text)
    runs = [_runs_on(text[start:end]) for start, end in graphemes]
    inner = (
        grapheme.start
        for grapheme, (before, after) in zip(graphemes[1:], pairwise(runs), strict=True)
        if not (before and after)
    )
    return frozenset((0, len(text), *inner))


@lru_cache(maxsize=256)
def words(text: str) -> tuple[Span, ...]:
    """The words of a text, in order; together they hold every visible character.

    A word is a run of letters, digits and their marks, held together by inner apostrophes and
    hyphens (`didn't`, `well-known`); in a script without spaces each grapheme is a word, and so is
    any other visible grapheme (punctuation, an emoji).
    """
    found: list[Span] = []
    graphemes = split_graphemes(text)
    # Whether the last word is a run of letters, and whether the last grapheme joins it to the next.
    in_run = joined = False
    for index, grapheme in enumerate(graphemes):
        letters = _runs_on(text[grapheme.start : grapheme.end])
        if letters and in_run:
            found[-1] = Span(found[-1].start, grapheme.end)
            joined = False
        elif (
            in_run
            and not joined
            and text[grapheme.start] in _JOINERS
            and any(_runs_on(text[start:end]) for start, end in graphemes[index + 1 : index + 2])
        ):
            joined = True
        else:
            if has_ink(text[grapheme.start : grapheme.end]):
                found.append(grapheme)
            in_run, joined = letters, False
    return tuple(found)


class TextPart(NamedTuple):
    """One of the texts that a selector can count in, and where it starts in the joined one."""

    which: Which
    start: int
    text: str

    @property
    def name(self) -> str:
        """The text as messages call it."""
        return "the text" if self.which == "text" else "text_pair"


def split_texts(text: str, pair_start: int | None) -> tuple[TextPart, ...]:
    """The one or two texts of a joined one."""
    if pair_start is None:
        return (TextPart("text", 0, text),)
    first = text[: pair_start - len(PAIR_BREAK)]
    return TextPart("text", 0, first), TextPart("pair", pair_start, text[pair_start:])


def strip_span(span: Span, text: str) -> Span:
    """A span less the white space at its ends; empty where it holds nothing else."""
    covered = text[span.start : span.end]
    start = span.start + len(covered) - len(covered.lstrip())
    return Span(start, start + len(covered.strip()))
