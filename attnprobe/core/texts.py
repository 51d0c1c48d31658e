"""Texts as users give them, and as a model reads them.

Positions are token positions, 0-based, in the sequence as the model sees it, special tokens
included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from attnprobe.core.errors import ModelError
from attnprobe.core.sites import Site, SiteName

# Stands between the two texts of a pair where both are counted in one string. A unit separator is
# white space and a word boundary on both sides, whatever characters stand there.
PAIR_BREAK = "\x1f"
Side = Literal["source", "target"]


class Span(NamedTuple):
    """Characters `start` (included) to `end` (excluded) of a text."""

    start: int
    end: int


@dataclass(frozen=True)
class Sample:
    """The input of one forward pass: a text or two and, for an encoder-decoder, its target text.

    The tokenizer puts a text and its pair into one sequence, so attnprobe counts in one string as
    well, `joined`: words, spans and token positions of both texts lie in one row of numbers, and
    whatever reads `Tokens` reads two texts as it reads one.

    Attributes:
        ids: token ids instead of a text, exactly as the model is to see them; the text is empty.
        source_language, target_language: codes of the tokenizer, for the text and its target; None
            where the model has none, or one for all texts.
        pair: a second text, which the model reads behind the first (`tokenizer(text, pair)`).
        one_segment: a separator that a text spells out is meant to start no second segment.
    """

    text: str
    target: str | None = None
    allow_special_tokens: bool = False
    ids: tuple[int, ...] | None = None
    source_language: str | None = None
    target_language: str | None = None
    pair: str | None = None
    one_segment: bool = False

    @property
    def joined(self) -> str:
        """The string that spans count in: the text, or both texts with PAIR_BREAK between them."""
        return self.text if self.pair is None else f"{self.text}{PAIR_BREAK}{self.pair}"

    @property
    def pair_start(self) -> int | None:
        """Where the second text starts in `joined`; None where there is no second text."""
        return None if self.pair is None else len(self.text) + len(PAIR_BREAK)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that a reader should see: the text, its pair, the target."""
        return tuple(one for one in (self.text, self.pair, self.target) if one is not None)

    def with_word(self, span: Span, word: str) -> Sample:
        """The sample with another word at these characters of `joined`."""
        start = self.pair_start
        if self.pair is None or start is None or span.end < start:
            return replace(self, text=_put(self.text, span, word))
        return replace(self, pair=_put(self.pair, Span(span.start - start, span.end - start), word))

    def until(self, end: int) -> Sample:
        """The sample up to a character of `joined`; a pair that would be empty is left out."""
        start = self.pair_start
        if self.pair is None or start is None or end <= start:
            return replace(self, text=self.text[:end], pair=None)
        return replace(self, pair=self.pair[: end - start])


def _put(text: str, span: Span, word: str) -> str:
    return f"{text[: span.start]}{word}{text[span.end :]}"


@dataclass(frozen=True)
class Tokens:
    """One tokenised text, or two that the model reads as one sequence.

    Attributes:
        text: the text that `spans` count in; of two texts `Sample.joined`.
        ids: token ids.
        pieces: each token as the reader should see it, special tokens included.
        spans: the characters that each token covers; None for a token that stands for no
            character, such as `[CLS]`.
        special: the name of each special token (`cls`, `sep`, `bos`, `eos`, `pad`, or `special`
            where it has no such name), None for ordinary ones.
        unknown: positions of the unknown tokens, ascending: those that stand for characters that
            the vocabulary lacks. An unknown token that the text itself spells is none of them.
        pair_start: where the second text starts in `text`; None for one text.
        segments: the segment of each token (`token_type_ids`); empty where the tokenizer numbers
            none.
    """

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    spans: tuple[Span | None, ...]
    special: tuple[str | None, ...]
    unknown: tuple[int, ...] = ()
    pair_start: int | None = None
    segments: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """What each unknown token stands for, in order; of token ids the token itself."""
        spans = ((self.spans[at], self.pieces[at]) for at in self.unknown)
        return tuple(self.text[slice(*span)].strip() if span else piece for span, piece in spans)


@dataclass(frozen=True)
class Encoding:
    """A sample as one model reads it.

    Attributes:
        source: tokens of the text.
        target: tokens at the decoder's input positions; None without a target text.
        sites: what the model offers, by name.
    """

    sample: Sample
    source: Tokens
    target: Tokens | None
    sites: Mapping[SiteName, Site]

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The words that the model cannot see: what the unknown tokens of all texts stand for."""
        return self.source.unknown_words + (self.target.unknown_words if self.target else ())

    def site(self, name: SiteName | None) -> Site:
        """The named site, or the only one there is.

        Raises:
            ModelError: the model has no such site, or several and none was named.
        """
        offered = ", ".join(self.sites)
        if name is None:
            if len(self.sites) == 1:
                return next(iter(self.sites.values()))
            raise ModelError(f"this model has several sites, name one: site: {offered}")
        if name not in self.sites:
            raise ModelError(f"this model has no {name} attention; it has: {offered}")
        return self.sites[name]

    def queries(self, site: SiteName) -> Tokens:
        """Tokens of the target positions (rows) of a site."""
        if site == "encoder":
            return self.source
        if self.target is None and site == "cross":
            raise ModelError("cross attention needs a target text; write target: beside text:")
        return self.target or self.source

    def keys(self, site: SiteName) -> Tokens:
        """Tokens of the source positions (columns) of a site."""
        return self.source if site == "cross" else self.queries(site)
