"""From words in a text to token positions, by character offsets.

A user names a word; attention has rows and columns of tokens. This module finds the word's
characters (`locate`), the tokens that stand for them (`positions`), and splits a whole text into
words (`words`, `groups`). It trusts a tokenizer's offsets only after `check_round_trip`.

A phrase matches where both its ends are word boundaries. A boundary lies between two graphemes
(extended grapheme clusters, Unicode Standard Annex 29) that are not both word characters; scripts
that write no spaces (Han, kana, Thai, Lao, Khmer, Myanmar) have a boundary at every grapheme.
"""

from __future__ import annotations

import difflib
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import regex

from attnprobe.errors import ModelError, SelectorError
from attnprobe.records import PAIR_BREAK, Floats, Span, Tokens
from attnprobe.registry import did_you_mean

__all__ = [
    "Chars",
    "Group",
    "Phrase",
    "Predicts",
    "Selector",
    "Special",
    "SpecialName",
    "Which",
    "check_in_target",
    "check_no_separator",
    "check_no_special_in_text",
    "check_round_trip",
    "display_pieces",
    "groups",
    "has_content",
    "locate",
    "parse_selector",
    "positions",
    "selector_of",
    "underline",
    "visible",
    "width",
    "word_matrix",
    "words",
]

SpecialName = Literal["first", "cls", "sep", "bos", "eos"]
SPECIAL_NAMES: tuple[str, ...] = get_args(SpecialName)
Which = Literal["text", "pair"]
WHICH: tuple[Which, ...] = get_args(Which)

MOST_PLACES = 10  # places of an ambiguous word that a message shows
LINE = 96  # columns of text that a message shows whole
MARGIN = 44  # columns that it shows on either side of a word in a longer text

_GRAPHEME = regex.compile(r"\X")
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
# Join controls between letters or emoji belong to their spelling and stay as they are.
_HIDDEN = regex.compile(
    r"(?!(?<=[^\x00-\x7f])[\u200c\u200d][^\x00-\x7f])"
    r"[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Zs}--\ ]",
    regex.VERSION1 | regex.DOTALL,
)


# Selectors --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phrase:
    """A word or phrase as it stands in the text; `nth` counts from 1.

    Attributes:
        which: the one of two texts that it stands in; None where the selector does not say.
    """

    text: str
    nth: int | None = None
    which: Which | None = None

    def __str__(self) -> str:
        return _named(self)


@dataclass(frozen=True)
class Chars:
    """Characters `start` (included) to `end` (excluded) of the text."""

    start: int
    end: int
    which: Which | None = None

    def __str__(self) -> str:
        return f"characters {self.start} to {self.end}{_side(self.which)}"


@dataclass(frozen=True)
class Special:
    """A special token by its role, or the first token whatever it is."""

    name: SpecialName

    def __str__(self) -> str:
        return "the first token" if self.name == "first" else f"[{self.name.upper()}]"


@dataclass(frozen=True)
class Predicts:
    """The token before a word: the position whose output predicts that word."""

    text: str
    nth: int | None = None
    which: Which | None = None

    def __str__(self) -> str:
        return f"the token before {_named(self)}"


Part: TypeAlias = Phrase | Chars | Special | Predicts


@dataclass(frozen=True)
class Selector:
    """A union of parts; as a string it reads well in a message."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return " + ".join(str(part) for part in self.parts)


def parse_selector(value: object) -> Selector:
    """A selector from its YAML value.

    Forms: `it`, `{word: it, nth: 2}`, `{chars: [10, 16]}`, `{special: cls}`, `{predicts: are}`,
    `{predicts: are, nth: 2}`, and a list of these, which is their union. Where there are two texts,
    `{text: it}` and `{pair: it}` say which one a word stands in, and take all forms but special.

    Raises:
        ValueError: the value has none of these forms; the message says what to write.
    """
    if isinstance(value, Selector):
        return value
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("an empty list selects nothing; name a word")
        return Selector(tuple(part for entry in value for part in _parse_parts(entry)))
    return Selector(_parse_parts(value))


def _parse_parts(value: object) -> tuple[Part, ...]:
    """The parts of one entry: several where `{pair: [a, b]}` holds a list."""
    which = next((name for name in WHICH if isinstance(value, Mapping) and name in value), None)
    if which is None or not isinstance(value, Mapping):
        return (_parse_part(value),)
    if len(value) > 1:
        other = next(str(key) for key in value if key != which)
        raise ValueError(
            f"{other!r} does not go beside {which!r}; a selector goes into it whole, such as "
            f"{{{which}: {{word: the, nth: 2}}}}"
        )
    return tuple(_in_text(part, which) for part in parse_selector(value[which]).parts)


def _in_text(part: Part, which: Which) -> Part:
    if isinstance(part, Special):
        raise ValueError(f"{part} stands in neither text; write {{special: {part.name}}} alone")
    if part.which is not None:
        raise ValueError(f"{{{part.which}: ...}} stands inside of {{{which}: ...}}; give one")
    return replace(part, which=which)


def _parse_part(value: object) -> Part:
    if isinstance(value, str):
        return Phrase(_parse_text(value))
    if not isinstance(value, Mapping):
        if isinstance(value, list | tuple):
            raise ValueError("a list of words holds words, not lists; write one flat list")
        if value is None:
            raise ValueError("no word given; write the word as it stands in the text")
        raise ValueError(f"a word is text, not {value!r}; quote it as it stands in the text")
    kinds = [key for key in value if key in ("word", "chars", "special", "predicts")]
    if len(kinds) != 1:
        unknown = [key for key in value if key not in (*kinds, "nth")]
        if not kinds and unknown:
            near = did_you_mean(str(unknown[0]), ("word", "chars", "special", "predicts", *WHICH))
            raise ValueError(f"unknown word selector {unknown[0]!r}; {near}")
        raise ValueError("a word selector has exactly one of: word, chars, special, predicts")
    kind = kinds[0]
    allowed = (kind, "nth") if kind in ("word", "predicts") else (kind,)
    for key in value:
        if key not in allowed:
            near = did_you_mean(str(key), allowed)
            raise ValueError(f"{key!r} does not go with {kind!r}; {near}")
    content = value[kind]
    if kind == "chars":
        return _parse_chars(content)
    if kind == "special":
        if content not in SPECIAL_NAMES:
            near = did_you_mean(str(content).lower(), SPECIAL_NAMES)
            raise ValueError(f"unknown special token {content!r}; {near}")
        return Special(content)
    nth = value.get("nth")
    if nth is not None and not (_is_int(nth) and nth >= 1):
        raise ValueError(f"nth counts the places of a word from 1, it cannot be {nth!r}")
    return (Phrase if kind == "word" else Predicts)(_parse_text(content), nth)


def _parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a word is text, not {value!r}; quote it as it stands in the text")
    if not value.strip():
        raise ValueError("a word cannot be empty; write it as it stands in the text")
    return value


def _parse_chars(value: object) -> Chars:
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(_is_int(number) for number in value)
        and 0 <= value[0] < value[1]
    ):
        return Chars(value[0], value[1])
    raise ValueError(
        f"chars takes [start, end] with 0 <= start < end, such as [10, 16], not {value!r}"
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Text made safe and measured for a terminal -----------------------------------------------------


def visible(text: str) -> str:
    """The text with control, zero-width and unusual space characters as `<U+200B>`.

    Safe to print: no escape sequence and no change of direction survives.
    """
    return _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def width(text: str) -> int:
    """Columns that a visible text takes in a terminal: 2 for wide graphemes, 0 for marks."""
    return sum(_columns(grapheme) for grapheme in _GRAPHEME.findall(text))


def _columns(grapheme: str) -> int:
    if unicodedata.east_asian_width(grapheme[0]) in "WF" or "\ufe0f" in grapheme:
        return 2
    return sum(unicodedata.category(char) not in ("Mn", "Me", "Cf") for char in grapheme)


def underline(text: str, span: Span, *, pair_start: int | None = None) -> str:
    """Two lines for a message: the text around a span, and carets under the span.

    Args:
        pair_start: where the second of two texts starts; only the span's own is shown.
    """
    if pair_start is not None:
        own = _texts(text, pair_start)[span.start >= pair_start]
        text, span = own.text, Span(span.start - own.start, span.end - own.start)
    margin = MARGIN if width(visible(text)) > LINE else LINE
    before = _clip(text[: span.start], margin, from_end=True)
    after = _clip(text[span.end :], margin, from_end=False)
    marked = visible(text[span.start : span.end])
    return f"{before}{marked}{after}\n{' ' * width(before)}{'^' * max(1, width(marked))}"


def _clip(text: str, room: int, *, from_end: bool) -> str:
    """What fits into so many columns of one end of a text, made visible."""
    graphemes = [visible(grapheme) for grapheme in _GRAPHEME.findall(text)]
    if from_end:
        graphemes.reverse()
    kept: list[str] = []
    for grapheme in graphemes:
        room -= width(grapheme)
        if room < 0:
            kept.append("…")
            break
        kept.append(grapheme)
    return "".join(reversed(kept) if from_end else kept)


def _indent(lines: str, by: str = "  ") -> str:
    return "\n".join(by + line for line in lines.split("\n"))


def _quoted(text: str) -> str:
    return f"'{visible(text)}'"


def _named(part: Phrase | Predicts) -> str:
    name = visible(part.text)
    if any(char.isspace() for char in name):
        name = f'"{name}"'
    return f"{name}{'' if part.nth is None else f' (nth: {part.nth})'}{_side(part.which)}"


def _side(which: Which | None) -> str:
    return "" if which is None else f" in the {which}"


# Words ------------------------------------------------------------------------------------------


def _blank(char: str) -> bool:
    """White space, control and format characters: nothing that a reader sees."""
    return char.isspace() or unicodedata.category(char) in ("Cc", "Cf")


def _has_ink(text: str) -> bool:
    return not all(map(_blank, text))


# The same few texts are asked about for every expectation of a suite, hence the caches.


@lru_cache(maxsize=256)
def _graphemes(text: str) -> tuple[Span, ...]:
    return tuple(Span(*match.span()) for match in _GRAPHEME.finditer(text))


@lru_cache(maxsize=4096)
def _runs_on(grapheme: str) -> bool:
    """Whether a grapheme is a letter or digit of a script that parts its words by spaces."""
    return bool(_WORD.match(grapheme)) and not _UNSPACED.match(grapheme)


@lru_cache(maxsize=256)
def _boundaries(text: str) -> frozenset[int]:
    """Offsets at which a word may begin or end."""
    graphemes = _graphemes(text)
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
    graphemes = _graphemes(text)
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
            if _has_ink(text[grapheme.start : grapheme.end]):
                found.append(grapheme)
            in_run, joined = letters, False
    return tuple(found)


# From a selector to characters ------------------------------------------------------------------


def check_in_target(selector: Selector) -> None:
    """Raises SelectorError where a selector of the target text names the text or its pair."""
    for part in selector.parts:
        if not isinstance(part, Special) and part.which is not None:
            raise SelectorError(
                f"{{{part.which}: ...}} names a word of the text that the encoder reads, and this "
                "is a word of the target; leave it out"
            )


class _Text(NamedTuple):
    """One of the texts that a selector can count in, and where it starts in the joined one."""

    which: Which
    start: int
    text: str

    @property
    def name(self) -> str:
        """The text as messages call it."""
        return "the text" if self.which == "text" else "text_pair"


def _texts(text: str, pair_start: int | None) -> tuple[_Text, ...]:
    """The one or two texts of a joined one."""
    if pair_start is None:
        return (_Text("text", 0, text),)
    first = text[: pair_start - len(PAIR_BREAK)]
    return _Text("text", 0, first), _Text("pair", pair_start, text[pair_start:])


def selector_of(span: Span, pair_start: int | None) -> Selector:
    """The selector of some characters of a text, or of two as `Sample.joined`."""
    if pair_start is None or span.start < pair_start:
        return Selector((Chars(*span),))
    return Selector((Chars(span.start - pair_start, span.end - pair_start, "pair"),))


def locate(selector: Selector, text: str, *, pair_start: int | None = None) -> tuple[Span, ...]:
    """The characters that a selector means, one span for each of its parts, in their order.

    A `Special` has no characters and gives no span; a `Predicts` gives the word predicted. Of two
    texts, a phrase without `nth` is sought in both; `nth` and `chars` count in the first unless the
    selector says which.

    Args:
        text: two texts as `Sample.joined`.
        pair_start: where the second of two texts starts.

    Raises:
        SelectorError: a word is missing, or ambiguous, or differs from the text in characters
            that look alike; characters outside the text; `{pair: ...}` without a second text.
    """
    texts = _texts(text, pair_start)
    return tuple(
        _locate_chars(part, texts) if isinstance(part, Chars) else _locate_word(part, texts)
        for part in selector.parts
        if not isinstance(part, Special)
    )


def _counted_in(part: Phrase | Predicts | Chars, texts: Sequence[_Text]) -> _Text:
    """The text that a selector counts in: the one it names, else the first."""
    for own in texts:
        if own.which == (part.which or "text"):
            return own
    raise SelectorError(
        "{pair: ...} names a word of a second text, and there is none; write text_pair: beside "
        "text:, or name the word without pair:"
    )


def _locate_chars(part: Chars, texts: Sequence[_Text]) -> Span:
    own = _counted_in(part, texts)
    if part.end > len(own.text):
        raise SelectorError(
            f"chars: [{part.start}, {part.end}] lies outside {own.name} of {len(own.text)} "
            "characters"
        )
    if not _has_ink(own.text[part.start : part.end]):
        raise SelectorError(
            f"chars: [{part.start}, {part.end}] selects only white space\n"
            + _indent(underline(own.text, Span(part.start, part.end)))
        )
    return Span(own.start + part.start, own.start + part.end)


def _locate_word(part: Phrase | Predicts, texts: Sequence[_Text]) -> Span:
    anywhere = part.which is None and part.nth is None
    sought = texts if anywhere else [_counted_in(part, texts)]
    places = [(own, span) for own in sought for span in _places(part.text, own.text)]
    if not places:
        elsewhere = None if anywhere else _elsewhere(part, sought[0], texts)
        raise SelectorError(elsewhere or _missing(part.text, sought))
    where = sought[0].name if len(sought) == 1 else "the two texts"
    if part.nth is None and len(places) > 1:
        form = _forms(part, places, texts)[1]
        raise SelectorError(
            f"{_quoted(part.text)} stands {len(places)} times in {where}; "
            f"say which one, such as {form}\n{_listed(part, places, texts)}"
        )
    nth = part.nth or 1
    if nth > len(places):
        times = "once" if len(places) == 1 else f"{len(places)} times"
        raise SelectorError(
            f"{_quoted(part.text)} stands {times} in {where}, there is no nth: {nth}\n"
            f"{_listed(part, places, texts)}"
        )
    own, span = places[nth - 1]
    return Span(own.start + span.start, own.start + span.end)


def _forms(
    part: Phrase | Predicts, places: Sequence[tuple[_Text, Span]], texts: Sequence[_Text]
) -> list[str]:
    """How to write a selector of each place."""
    kind = "word" if isinstance(part, Phrase) else "predicts"
    counts = Counter(own.which for own, _ in places)
    seen: Counter[Which] = Counter()
    forms = []
    for own, _ in places:
        seen[own.which] += 1
        nth = f", nth: {seen[own.which]}" if counts[own.which] > 1 else ""
        plain = kind == "word" and not nth
        form = _yaml(part.text) if plain else f"{{{kind}: {_yaml(part.text)}{nth}}}"
        counted = len(texts) == 1 or (nth and own.which == "text")
        forms.append(form if counted else f"{{{own.which}: {form}}}")
    return forms


def _elsewhere(part: Phrase | Predicts, own: _Text, texts: Sequence[_Text]) -> str | None:
    """What to write for a word that stands in the other text alone."""
    for other in texts:
        places = [(other, span) for span in _places(part.text, other.text)]
        if places:
            return (
                f"{_quoted(part.text)} stands in {other.name}, not in {own.name}; write "
                f"{_forms(part, places, texts)[0]}\n" + _indent(underline(other.text, places[0][1]))
            )
    return None


def _occurrences(phrase: str, text: str) -> Iterator[Span]:
    """Every place of a substring; places may overlap."""
    start = text.find(phrase)
    while start >= 0:
        yield Span(start, start + len(phrase))
        start = text.find(phrase, start + 1)


def _places(phrase: str, text: str) -> list[Span]:
    found = list(_occurrences(phrase, text))
    if not found:
        return []
    boundaries = _boundaries(text)
    return [span for span in found if boundaries.issuperset(span)]


def _listed(
    part: Phrase | Predicts, places: Sequence[tuple[_Text, Span]], texts: Sequence[_Text]
) -> str:
    """The places of a word, each with what names it; `nth` alone where there is one text."""
    lines = []
    forms = _forms(part, places, texts)
    for number, (own, span) in enumerate(places[:MOST_PLACES]):
        label = f"  nth: {number + 1}  " if len(texts) == 1 else f"  {forms[number]}  "
        line, carets = underline(own.text, span).split("\n")
        lines += [label + line, " " * width(label) + carets]
    if len(places) > MOST_PLACES:
        lines.append(f"  and {len(places) - MOST_PLACES} more")
    return "\n".join(lines)


def _missing(phrase: str, texts: Sequence[_Text]) -> str:
    """Why a phrase is not found, with the place in the texts that comes nearest."""
    for own in texts:
        alike = _look_alike(phrase, own.text)
        if alike:
            found = own.text[alike.start : alike.end]
            return (
                f"{_quoted(phrase)} stands in {own.name} in other characters: "
                f"{_differences(phrase, found)}; write it as in {own.name}: {_escaped(found)}\n"
                + _indent(underline(own.text, alike))
            )
    for own in texts:
        inside = next(_occurrences(phrase, own.text), None)
        if inside:
            whole = _whole(inside, own.text)
            return (
                f"{_quoted(phrase)} stands in {own.name} only as a part of "
                f"{_quoted(own.text[whole.start : whole.end])}\n"
                + _indent(underline(own.text, whole))
            )
    where = texts[0].name if len(texts) == 1 else "either text"
    nearest = [(own.text, span) for own in texts for span in _nearest(phrase, own.text)]
    if not nearest:
        shown = "\n".join(f"  {_clip(own.text, LINE, from_end=False)}" for own in texts)
        return f"{_quoted(phrase)} does not stand in {where}{_meant(phrase)}:\n{shown}"
    names = ", ".join(_quoted(text[span.start : span.end]) for text, span in nearest)
    place = _indent(underline(*nearest[0]))
    return f"{_quoted(phrase)} does not stand in {where}; nearest: {names}\n{place}"


def _whole(span: Span, text: str) -> Span:
    """The words that a span touches."""
    touched = [word for word in words(text) if word.start < span.end and span.start < word.end]
    return Span(
        min([span.start, *(word.start for word in touched)]),
        max([span.end, *(word.end for word in touched)]),
    )


def _nearest(phrase: str, text: str) -> list[Span]:
    """Up to three stretches of as many words as the phrase has, most alike first."""
    count = max(1, len(words(phrase)))
    spans = words(text)
    stretches: dict[str, Span] = {}
    for first, last in zip(spans, spans[count - 1 :], strict=False):
        stretch = Span(first.start, last.end)
        stretches.setdefault(text[stretch.start : stretch.end].casefold(), stretch)
    return [stretches[name] for name in difflib.get_close_matches(phrase.casefold(), stretches)]


_PLAIN = str.maketrans({"’": "'", "\u2010": "-", "\u2011": "-"})


def _plain(grapheme: str) -> str:
    """A grapheme without what the eye cannot tell: composition, zero width, kind of space."""
    composed = unicodedata.normalize("NFKC", grapheme).translate(_PLAIN)
    return "".join(
        " " if char.isspace() else char
        for char in composed
        if unicodedata.category(char) != "Cf" and not 0xFE00 <= ord(char) <= 0xFE0F
    )


def _look_alike(phrase: str, text: str) -> Span | None:
    """Where the text shows the phrase in other characters."""
    graphemes = [span for span in _graphemes(text) if _plain(text[span.start : span.end])]
    plain = "".join(_plain(text[span.start : span.end]) for span in graphemes)
    origin = [span for span in graphemes for _ in _plain(text[span.start : span.end])]
    boundaries = _boundaries(text)
    sought = "".join(map(_plain, _GRAPHEME.findall(phrase)))
    if not sought:
        return None
    for start, end in _occurrences(sought, plain):
        span = Span(origin[start].start, origin[end - 1].end)
        begins = start == 0 or origin[start - 1] != origin[start]
        ends = end == len(origin) or origin[end] != origin[end - 1]
        if begins and ends and boundaries.issuperset(span):
            return span
    return None


def _differences(phrase: str, found: str) -> str:
    matcher = difflib.SequenceMatcher(a=found, b=phrase, autojunk=False)
    return "; ".join(
        f"the text has {_code_points(found[a:b])} "
        f"where the selector has {_code_points(phrase[c:d])}"
        for operation, a, b, c, d in matcher.get_opcodes()
        if operation != "equal"
    )


def _code_points(text: str) -> str:
    return (
        ", ".join(f"U+{ord(char):04X} {unicodedata.name(char, '(no name)')}" for char in text)
        or "nothing"
    )


def _escaped(text: str) -> str:
    """A YAML double-quoted scalar in ASCII."""
    escapes = {'"': '\\"', "\\": "\\\\"}
    inner = (
        escapes.get(char)
        or (char if " " <= char <= "~" else None)
        or (f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}")
        for char in text
    )
    return f'"{"".join(inner)}"'


def _yaml(text: str) -> str:
    """A YAML scalar that reads back as this text inside a flow mapping."""
    plain = regex.fullmatch(r"\p{L}[\p{L}\p{M}]*(?:[ '-][\p{L}\p{M}]+)*", text)
    words_of_yaml = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    if plain and text.casefold() not in words_of_yaml:
        return text
    if visible(text) != text:
        return _escaped(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# From a selector to tokens ----------------------------------------------------------------------


@lru_cache(maxsize=4096)
def positions(selector: Selector, tokens: Tokens) -> tuple[int, ...]:
    """The token positions that a selector means, ascending.

    A word's tokens are those whose visible characters lie in it: a token such as ` are` counts by
    `are`, and byte-level pieces that share one character all count.

    Raises:
        SelectorError: as `locate`; or a token covers more than the word, or none covers it, or it
            is an unknown token; or there is no such special token, or no token before a predicted
            word.
    """
    found: set[int] = set()
    for part in selector.parts:
        if isinstance(part, Special):
            found.update(_special_positions(part, tokens))
            continue
        (span,) = locate(Selector((part,)), tokens.text, pair_start=tokens.pair_start)
        pieces = _word_positions(span, tokens)
        _check_known(span, pieces, tokens)
        if isinstance(part, Predicts):
            pieces = [_before(part, span, pieces[0], tokens)]
        found.update(pieces)
    return tuple(sorted(found))


def _special_positions(part: Special, tokens: Tokens) -> list[int]:
    if part.name == "first":
        found = [index for index, name in enumerate(tokens.special) if name != "pad"][:1]
    else:
        found = [index for index, name in enumerate(tokens.special) if name == part.name]
    if found:
        return found
    names = zip(tokens.special, tokens.pieces, strict=True)
    here = sorted({f"{name} ({visible(piece)})" for name, piece in names if name is not None})
    raise SelectorError(
        f"this model puts no {part.name} token around the text; "
        f"special tokens there: {', '.join(here) or 'none'}"
    )


def _word_positions(span: Span, tokens: Tokens) -> list[int]:
    text = tokens.text
    found: list[int] = []
    for index, covered in enumerate(tokens.spans):
        if covered is None or covered.end <= span.start or span.end <= covered.start:
            continue
        inner = Span(max(covered.start, span.start), min(covered.end, span.end))
        if not text[inner.start : inner.end].strip():
            continue
        before, after = text[covered.start : inner.start], text[inner.end : covered.end]
        if _has_ink(before) or _has_ink(after):
            raise SelectorError(_no_token_boundary(span, index, tokens))
        found.append(index)
    if not found:
        raise SelectorError(
            f"no token stands for {_quoted(text[span.start : span.end])}: the tokenizer drops it\n"
            + _indent(underline(text, span, pair_start=tokens.pair_start))
        )
    return found


def _check_known(span: Span, pieces: Sequence[int], tokens: Tokens) -> None:
    """Refuses a word that the vocabulary lacks: its token would be that of any such word."""
    unknown = [index for index in pieces if index in tokens.unknown]
    if unknown:
        raise SelectorError(
            f"{_quoted(tokens.text[slice(*span)])} becomes the unknown token "
            f"{tokens.pieces[unknown[0]]}: the model cannot see this word; name a word of its "
            "vocabulary\n" + _indent(underline(tokens.text, span, pair_start=tokens.pair_start))
        )


def _no_token_boundary(span: Span, index: int, tokens: Tokens) -> str:
    text = tokens.text
    token = _stripped(tokens.spans[index] or span, text)
    also = [text[token.start : span.start].strip(), text[span.end : token.end].strip()]
    whole = Span(min(token.start, span.start), max(token.end, span.end))
    return (
        f"no token boundary there: the token {_quoted(text[token.start : token.end])} also covers "
        f"{' and '.join(_quoted(rest) for rest in also if rest)}; "
        f"select the whole {_quoted(text[whole.start : whole.end])}\n"
        + _indent(underline(text, token, pair_start=tokens.pair_start))
    )


def _before(part: Predicts, span: Span, first: int, tokens: Tokens) -> int:
    if first == 0 or tokens.special[first - 1] == "pad":
        raise SelectorError(
            f"nothing predicts {_quoted(part.text)}: no token stands before it\n"
            + _indent(underline(tokens.text, span, pair_start=tokens.pair_start))
        )
    return first - 1


def _stripped(span: Span, text: str) -> Span:
    """A span less the white space at its ends; empty where it holds nothing else."""
    covered = text[span.start : span.end]
    start = span.start + len(covered) - len(covered.lstrip())
    return Span(start, start + len(covered.strip()))


@dataclass(frozen=True)
class Group:
    """Token positions that belong together.

    Attributes:
        label: the word as in the text, or the special token, or white space made visible.
        positions: token positions, ascending.
        special: whether this is a special token.
    """

    label: str
    positions: tuple[int, ...]
    special: bool


@lru_cache(maxsize=256)
def groups(tokens: Tokens, spans: tuple[Span, ...] | None = None) -> tuple[Group, ...]:
    """All token positions, each in exactly one group, ordered by their first position.

    Tokens of one word form a group; words that share a token form one together. A special token,
    and a token that shows nothing, stand alone.

    Args:
        spans: the words of the text, in order and apart; those of `words` by default.
    """
    text = tokens.text
    spans = words(text) if spans is None else spans
    owner = {offset: number for number, word in enumerate(spans) for offset in range(*word)}
    touched: dict[int, list[int]] = {}
    # The first of the words that a word shares tokens with; a token touches consecutive words.
    first_of = list(range(len(spans)))
    for index, (span, special) in enumerate(zip(tokens.spans, tokens.special, strict=True)):
        if span is None or special is not None:
            continue
        covered = _stripped(span, text)
        numbers = [owner[at] for at in range(covered.start, covered.end) if at in owner]
        if numbers:
            touched[index] = numbers
            for number in range(numbers[0] + 1, numbers[-1] + 1):
                first_of[number] = number - 1
    for number, earlier in enumerate(first_of):
        first_of[number] = first_of[earlier] if earlier < number else number
    last_of = {first: number for number, first in enumerate(first_of)}

    members: dict[int, list[int]] = {}
    for index, numbers in touched.items():
        members.setdefault(first_of[numbers[0]], []).append(index)
    found = [
        Group(text[spans[first].start : spans[last_of[first]].end], tuple(indices), special=False)
        for first, indices in members.items()
    ]
    found += [
        Group(tokens.pieces[index], (index,), special=special is not None)
        for index, special in enumerate(tokens.special)
        if index not in touched
    ]
    return tuple(sorted(found, key=lambda group: group.positions))


def word_matrix(weights: Floats, rows: Sequence[Group], columns: Sequence[Group]) -> Floats:
    """Token weights `[..., target, source]` to words: mean over row pieces, sum over column pieces.

    Clark et al. 2019, "What Does BERT Look At?", section 4.1.
    """
    summed = np.stack([weights[..., list(word.positions)].sum(-1) for word in columns], axis=-1)
    means = [summed[..., list(word.positions), :].mean(axis=-2) for word in rows]
    return np.stack(means, axis=-2)


# What a tokenizer says about its own tokens -----------------------------------------------------


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
    ends = [grapheme.end for grapheme in _graphemes(text)]
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
    boundaries = _boundaries(text)
    shown = list(spelled)
    for cluster, joint in _clusters(_reach(spans, text)):
        covered = text[joint.start : joint.end]
        if len(cluster) > 1:
            read = _read([spelled[index] for index in cluster], covered) or [covered] * len(cluster)
        elif covered.strip():
            inside = _stripped(joint, text).start not in boundaries
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
        if span.start < previous.start or span.end < previous.end or len(_graphemes(shared)) > 1:
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
            raise _wrong_offsets(" ".join(raw), _quoted(text[joint.start : joint.end]))
    if missing:
        first = min(missing)
        grapheme = next(span for span in _graphemes(text) if span.start <= first < span.end)
        raise ModelError(
            "the tokenizer reports wrong offsets: no token stands for "
            f"{_quoted(text[grapheme.start : grapheme.end])} at character {first}; {_ADVICE}\n"
            + _indent(underline(text, grapheme, pair_start=tokens.pair_start))
        )


_ADVICE = "use the model's fast tokenizer (tokenizer.json), or declare another one"


def _wrong_offsets(spelled: str, reported: str) -> ModelError:
    raw = [*map(_as_bytes, spelled.split(" "))]
    plain = b"".join(raw).decode(errors="replace").replace("▁", " ").strip()
    means = f" (spelling {_quoted(plain)})" if plain != spelled else ""
    return ModelError(
        f"the tokenizer reports wrong offsets: for the token {_quoted(spelled)}{means} "
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
            f"the text spells out the special token {_quoted(spelled)}, which the model "
            "reads as a mark of its own; change the text, or allow it if you mean it: "
            "allow_special_tokens: true in a case file, allow_special_tokens=True in Python, "
            "--allow-special-tokens with attnprobe show\n"
            + _indent(underline(tokens.text, span, pair_start=tokens.pair_start))
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
                f"the text spells out the separator {_quoted(spelled)}, but what follows it gets "
                "the segment of what precedes it (token_type_ids); "
                + (f"write what follows as a second text: {_SECOND_TEXT}; or " if alone else "")
                + f"declare a model that is used with separators inside of one text: {_ONE_SEGMENT}"
                + "\n"
                + _indent(underline(tokens.text, span, pair_start=tokens.pair_start))
            )


def _spelled_out(tokens: Tokens, special: Mapping[int, str]) -> Iterator[tuple[int, Span]]:
    """Positions of these special tokens that the text spells out, with their characters."""
    for position, (token, span) in enumerate(zip(tokens.ids, tokens.spans, strict=True)):
        if span is None or token not in special:
            continue
        covered = _stripped(span, tokens.text)
        if _fold(tokens.text[covered.start : covered.end]) == _fold(special[token]):
            yield position, covered


def _meant(phrase: str) -> str:
    """What to write instead of a phrase that spells a special token, or has curly quotes."""
    name = phrase.strip("[]<>").lower()
    if name in SPECIAL_NAMES and name != phrase.lower():
        return f"; write {{special: {name}}}"
    if phrase[0] in "\u201c\u201d\u2018\u2019":
        return "; the curly quotes are part of the word, write straight quotes"
    return ""
