"""Samples that users write, and their tokens as a model reads them.

A position is the 0-based index of a token in the model's sequence, special tokens included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal, NamedTuple, TypeAlias

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.printing import visible
from attnprobe.core.sites import Site, SiteName

# Separates the input texts of `Sample.joined`. A unit separator counts as white space and
# has a word boundary on both sides, whatever its neighbours.
PAIR_BREAK = "\x1f"


class Span(NamedTuple):
    """The characters of a text from `start` up to, but not including, `end`."""

    start: int
    end: int


Which: TypeAlias = Literal["text", "pair", "needle", "haystack", "generated"] | int
_NAMES: Mapping[Which, str] = {
    "text": "the text",
    "pair": "text_pair",
    "needle": "the needle",
    "haystack": "the haystack",
    "generated": "the answer",
}


class Message(NamedTuple):
    """One message of a conversation, by `system`, `user` or another role of its template."""

    role: str
    content: str


class Answer(NamedTuple):
    """What a model generated behind a text.

    Attributes:
        ids: of the tokens, without the one that ends the answer.
        spans: the characters of `text` that each token covers.
    """

    text: str
    ids: tuple[int, ...]
    spans: tuple[Span, ...]

    def until(self, end: int) -> Answer:
        """The answer without the tokens behind one of its characters."""
        count = sum(span.end <= end for span in self.spans)
        return Answer(self.text[:end], self.ids[:count], self.spans[:count])


class Haystack(NamedTuple):
    """A long text with a sentence in it, which the model reads before the text of a sample.

    Attributes:
        text: what the long text is cut from, behind one of its words.
        needle: the sentence.
        depth: the share of the long text before the needle, 0 to 1.
        tokens: the most tokens of the whole sequence.
    """

    text: str
    needle: str
    depth: float
    tokens: int


class InputText(NamedTuple):
    """One of the texts that the model reads as one sequence.

    Attributes:
        which: the text, its pair, a needle, what is around that, or the model's own answer; of a
            conversation the number of the message, from 1.
        start: its first character in `Sample.joined`.
        role: of a message.
    """

    which: Which
    start: int
    text: str
    role: str | None = None

    @property
    def name(self) -> str:
        """The text's name in messages."""
        if self.role is not None:
            return f"message {self.which} ({visible(self.role)})"
        return _NAMES[self.which]

    @property
    def label(self) -> str:
        """What stands before the text for a reader: the role of a message."""
        if self.which == "generated":
            return "answer: "
        return "" if self.role is None else f"{self.role}: "

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def input_texts(text: str, parts: tuple[InputText, ...] = ()) -> tuple[InputText, ...]:
    """The input texts of `Sample.joined`: its parts, or one text that has none."""
    return parts or (InputText("text", 0, text),)


def text_at(span: Span, text: str, parts: tuple[InputText, ...] = ()) -> tuple[InputText, Span]:
    """The input text that holds the start of a span of `text`, and the span counted in it."""
    found = next(part for part in reversed(input_texts(text, parts)) if part.start <= span.start)
    return found, Span(span.start - found.start, span.end - found.start)


@dataclass(frozen=True)
class Sample:
    """The input of one forward pass: its texts and, for an encoder-decoder, a target text.

    The tokenizer puts a text and its pair, or the messages of a conversation, into one sequence.
    Therefore spans count in one string as well, `joined`, and code that reads `Tokens` need not
    distinguish several texts from one.

    Attributes:
        ids: token ids instead of a text, exactly as the model sees them; the text is empty.
        source_language, target_language: the tokenizer's codes of the languages of the text and of
            the target; None for a model without languages, or with one for all texts.
        pair: a second text, which the model reads behind the first (`tokenizer(text, pair)`).
        one_segment: whether separators in the text start no second segment.
        messages: a conversation instead of a text, which the chat template of the tokenizer puts
            into one sequence; the text is empty.
        generation_prompt: whether the conversation ends with the marks that begin an answer.
        generate: how many tokens of its own answer the model reads behind the text, at most.
        answer: what it generated; None before the sample is encoded.
        haystack: a long text with a sentence in it, read before the text.
        filled: the long text before and behind the sentence; None before the sample is encoded.
    """

    text: str
    target: str | None = None
    allow_special_tokens: bool = False
    ids: tuple[int, ...] | None = None
    source_language: str | None = None
    target_language: str | None = None
    pair: str | None = None
    one_segment: bool = False
    messages: tuple[Message, ...] | None = None
    generation_prompt: bool = False
    generate: int | None = None
    answer: Answer | None = None
    haystack: Haystack | None = None
    filled: tuple[str, str] | None = None

    @property
    def joined(self) -> str:
        """The string in which spans count: the text, or all input texts around PAIR_BREAK."""
        return PAIR_BREAK.join(part.text for part in self.parts) if self.parts else self.text

    @property
    def parts(self) -> tuple[InputText, ...]:
        """The input texts of `joined`; empty for one text."""
        text = InputText("text", 0, self.text)
        found: list[InputText] = []
        if self.messages is not None:
            found = [
                InputText(number, 0, message.content, message.role)
                for number, message in enumerate(self.messages, start=1)
            ]
        elif self.pair is not None:
            found = [text, InputText("pair", 0, self.pair)]
        elif self.haystack is not None:
            before, behind = self.filled or ("", "")
            found = [
                InputText("haystack", 0, before),
                InputText("needle", 0, self.haystack.needle),
                InputText("haystack", 0, behind),
                text,
            ]
            found = [part for part in found if part.text]
        if self.answer is not None:
            found = [*(found or [text]), InputText("generated", 0, self.answer.text)]
        lengths = (len(part.text) + len(PAIR_BREAK) for part in found)
        starts = accumulate(lengths, initial=0)
        return tuple(part._replace(start=start) for part, start in zip(found, starts, strict=False))

    @property
    def texts(self) -> tuple[str, ...]:
        """The input texts and the target for a reader, messages behind their roles."""
        target = () if self.target is None else (self.target,)
        parts = input_texts(self.text, self.parts)
        return (*(f"{part.label}{part.text}" for part in parts), *target)

    @property
    def in_one_line(self) -> str:
        """The input texts for a message, with spaces between them."""
        return self.joined.replace(PAIR_BREAK, " ")

    def with_word(self, span: Span, word: str) -> Sample:
        """The sample with a word instead of these characters of `joined`."""
        part, inner = text_at(span, self.joined, self.parts)
        return self._with_part(part, f"{part.text[: inner.start]}{word}{part.text[inner.end :]}")

    def until(self, end: int) -> Sample:
        """The sample cut before a character of `joined`, without the texts behind it."""
        part, (_, end) = text_at(Span(end - 1, end), self.joined, self.parts)
        if part.which == "generated" and self.answer is not None:
            return replace(self, answer=self.answer.until(end))
        cut = replace(self._with_part(part, part.text[:end]), generate=None, answer=None)
        if isinstance(part.which, int) and cut.messages is not None:
            return replace(cut, messages=cut.messages[: part.which], generation_prompt=False)
        if part.which == "needle" and self.filled is not None:
            return replace(cut, text="", filled=(self.filled[0], ""))
        return cut if part.which == "pair" else replace(cut, pair=None)

    @property
    def prompt(self) -> Sample:
        """The sample without the model's own answer."""
        return replace(self, generate=None, answer=None)

    def _with_part(self, part: InputText, text: str) -> Sample:
        """The sample with another text in the place of a part."""
        if part.which in ("generated", "haystack"):
            raise SelectorError(f"the words of {part.name} cannot be replaced")
        if part.which == "pair":
            return replace(self, pair=text)
        if part.which == "needle" and self.haystack is not None:
            return replace(self, haystack=self.haystack._replace(needle=text))
        if self.messages is None or not isinstance(part.which, int):
            return replace(self, text=text)
        messages = list(self.messages)
        messages[part.which - 1] = messages[part.which - 1]._replace(content=text)
        return replace(self, messages=tuple(messages))


def case_fields(sample: Sample) -> dict[str, object]:
    """The keys of a case file that state a sample."""
    fields = {
        "text": None if sample.ids or sample.messages else sample.text,
        "ids": sample.ids,
        "messages": sample.messages and [message._asdict() for message in sample.messages],
        "generation_prompt": (sample.generation_prompt and not sample.generate) or None,
        "generate": sample.generate and {"max_tokens": sample.generate},
        "text_pair": sample.pair,
        "target": sample.target,
        "source_language": sample.source_language,
        "target_language": sample.target_language,
        "allow_special_tokens": sample.allow_special_tokens or None,
        "one_segment": sample.one_segment or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Tokens:
    """The tokens of one text, or of several that the model reads as one sequence.

    Attributes:
        text: the string in which `spans` count, as `Sample.joined`.
        ids: token ids.
        pieces: each token as a reader should see it, special tokens included.
        spans: the characters that each token covers; None for a token without characters, such as
            `[CLS]` and all tokens of a chat template.
        special: the role of each special token (`cls`, `sep`, `bos`, `eos`, `pad`, or `special` for
            any other); None for ordinary tokens.
        unknown: positions of the tokens for characters outside the vocabulary, ascending. An
            unknown token that the text spells out does not count.
        parts: the input texts of `text`; empty for one text.
        segments: the segment of each token (`token_type_ids`); empty for a tokenizer without
            segments.
    """

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    spans: tuple[Span | None, ...]
    special: tuple[str | None, ...]
    unknown: tuple[int, ...] = ()
    parts: tuple[InputText, ...] = ()
    segments: tuple[int, ...] = ()

    def __hash__(self) -> int:
        # Caches look tokens up often, and most fields take longer to hash than these two.
        return hash((self.text, self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The characters of each unknown token, in order; for token ids, the token itself."""
        spans = ((self.spans[at], self.pieces[at]) for at in self.unknown)
        return tuple(self.text[slice(*span)].strip() if span else piece for span, piece in spans)


@dataclass(frozen=True)
class Encoding:
    """A sample as one model reads it.

    Attributes:
        source: tokens of the text.
        target: tokens at the decoder's input positions; None without a target text.
        sites: the model's sites, by name.
    """

    sample: Sample
    source: Tokens
    target: Tokens | None
    sites: Mapping[SiteName, Site]

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The words of all texts that the model reads as unknown tokens."""
        return self.source.unknown_words + (self.target.unknown_words if self.target else ())

    def site(self, name: SiteName | None) -> Site:
        """The named site; for None, the only site of the model.

        Raises:
            ModelError: the model has no such site, or has several and `name` is None.
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
        """Tokens of the target positions (rows) of a site.

        Raises:
            ModelError: cross attention without a target text.
        """
        if site == "encoder":
            return self.source
        if self.target is None and site == "cross":
            raise ModelError("cross attention needs a target text; write target: beside text:")
        return self.target or self.source

    def keys(self, site: SiteName) -> Tokens:
        """Tokens of the source positions (columns) of a site."""
        return self.source if site == "cross" else self.queries(site)
