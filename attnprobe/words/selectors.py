"""Word selectors: the forms in which a user names words of a text, and their parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from attnprobe.core.errors import SelectorError
from attnprobe.core.printing import visible
from attnprobe.core.registry import did_you_mean
from attnprobe.core.texts import InputText, Span, Which, text_at

SpecialName = Literal["first", "cls", "sep", "bos", "eos"]
SPECIAL_NAMES: tuple[str, ...] = get_args(SpecialName)
# The keys of a selector that name one of two texts: `{pair: word}`.
TEXT_KEYS: tuple[Which, ...] = get_args(Which)
_KINDS = ("word", "chars", "special", "predicts")


@dataclass(frozen=True)
class Phrase:
    """A word or phrase, spelled as in the text.

    Attributes:
        nth: which occurrence is meant, from 1; None if the selector names none.
        which: which of two texts contains it; None if the selector names none.
    """

    text: str
    nth: int | None = None
    which: Which | None = None

    def __str__(self) -> str:
        return _describe_word(self)


@dataclass(frozen=True)
class Chars:
    """The characters of the text from `start` up to, but not including, `end`."""

    start: int
    end: int
    which: Which | None = None

    def __str__(self) -> str:
        return f"characters {self.start} to {self.end}{_describe_which(self.which)}"


@dataclass(frozen=True)
class Special:
    """The special tokens of one role, or the first token of any kind."""

    name: SpecialName

    def __str__(self) -> str:
        return "the first token" if self.name == "first" else f"[{self.name.upper()}]"


@dataclass(frozen=True)
class Predicts:
    """The token before a word, whose output predicts that word."""

    text: str
    nth: int | None = None
    which: Which | None = None

    def __str__(self) -> str:
        return f"the token before {_describe_word(self)}"


Part: TypeAlias = Phrase | Chars | Special | Predicts


@dataclass(frozen=True)
class Selector:
    """The union of its parts. `str` describes it for a message: `it (nth: 2) + [SEP]`."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return " + ".join(str(part) for part in self.parts)


def parse_selector(value: object) -> Selector:
    """Parses a selector from its YAML value.

    The forms are `it`, `{word: it, nth: 2}`, `{chars: [10, 16]}`, `{special: cls}`,
    `{predicts: are}`, `{predicts: are, nth: 2}`, and a list of these, which is their union. For a
    pair of texts, `{text: it}` and `{pair: it}` name the text; they take every form but `special`.

    Raises:
        ValueError: the value has none of these forms. The message says what to write.
    """
    if isinstance(value, Selector):
        return value
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("an empty list selects nothing; name a word")
        return Selector(tuple(part for entry in value for part in _parse_parts(entry)))
    return Selector(_parse_parts(value))


def check_target_selector(selector: Selector) -> None:
    """Checks a selector of the target text.

    Raises:
        SelectorError: it names the encoder's text or its pair.
    """
    for part in selector.parts:
        if not isinstance(part, Special) and part.which is not None:
            raise SelectorError(
                f"{{{part.which}: ...}} names a word of the text that the encoder reads, and this "
                "is a word of the target; leave it out"
            )


def selector_of(span: Span, text: str, parts: tuple[InputText, ...]) -> Selector:
    """The selector of these characters of a text with these parts."""
    part, inner = text_at(span, text, parts)
    return Selector((Chars(*inner, None if part.which == "text" else part.which),))


def _parse_parts(value: object) -> tuple[Part, ...]:
    """The parts of one entry: several for a list in `{pair: [a, b]}`."""
    which = next((key for key in TEXT_KEYS if isinstance(value, Mapping) and key in value), None)
    if which is None or not isinstance(value, Mapping):
        return (_parse_part(value),)
    if len(value) > 1:
        extra = next(str(key) for key in value if key != which)
        raise ValueError(
            f"{extra!r} does not go beside {which!r}; a selector goes into it whole, such as "
            f"{{{which}: {{word: the, nth: 2}}}}"
        )
    return tuple(_assign_text(part, which) for part in parse_selector(value[which]).parts)


def _assign_text(part: Part, which: Which) -> Part:
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
    kinds = [key for key in value if key in _KINDS]
    if len(kinds) != 1:
        unknown = [key for key in value if key not in (*kinds, "nth")]
        if not kinds and unknown:
            near = did_you_mean(str(unknown[0]), (*_KINDS, *TEXT_KEYS))
            raise ValueError(f"unknown word selector {unknown[0]!r}; {near}")
        raise ValueError("a word selector has exactly one of: " + ", ".join(_KINDS))
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


def _describe_word(part: Phrase | Predicts) -> str:
    word = visible(part.text)
    if any(char.isspace() for char in word):
        word = f'"{word}"'
    nth = "" if part.nth is None else f" (nth: {part.nth})"
    return f"{word}{nth}{_describe_which(part.which)}"


def _describe_which(which: Which | None) -> str:
    return "" if which is None else f" in the {which}"
