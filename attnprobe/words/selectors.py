"""Word selectors: the forms in which a user names words of a text, and their parser."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

from attnprobe.core.errors import SelectorError
from attnprobe.core.printing import visible
from attnprobe.core.registry import did_you_mean
from attnprobe.core.texts import InputText, Span, Which, text_at

TextKey: TypeAlias = Literal["text", "pair", "needle", "generated"]
SPECIAL_NAMES = ("first", "cls", "sep", "bos", "eos")
# The keys of a selector that name one of several texts: `{pair: word}`.
TEXT_KEYS: tuple[TextKey, ...] = ("text", "pair", "needle", "generated")
MOST_WORDS = 1_000  # in one selector
LONGEST_PHRASE = 10_000  # characters
_KINDS = ("word", "chars", "special", "predicts")


@dataclass(frozen=True)
class Phrase:
    """A word or phrase, spelled as in the text.

    Attributes:
        text: the phrase; empty for the first word of the text that `which` names.
        nth: which occurrence is meant, from 1; None if the selector names none.
        which: which of several texts contains it, a message by its number, from 1 or, from the last
            one back, from -1; None if the selector names none.
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
    """The special tokens of one role or of one spelling, or the first token of any kind.

    Attributes:
        name: one of SPECIAL_NAMES, or the spelling, such as `<|im_end|>`.
        nth: which of them is meant, from 1; None for all together.
    """

    name: str
    nth: int | None = None

    def __str__(self) -> str:
        nth = "" if self.nth is None else f" (nth: {self.nth})"
        if self.name not in SPECIAL_NAMES:
            return f"{visible(self.name)}{nth}"
        return "the first token" if self.name == "first" else f"[{self.name.upper()}]{nth}"


@dataclass(frozen=True)
class WholeMessage:
    """All tokens of a message, by its number or by its role, or of the model's answer.

    Attributes:
        nth: which message of the role is meant, from 1; None if the selector names none.
    """

    which: Which | None = None
    role: str | None = None
    nth: int | None = None

    def __str__(self) -> str:
        nth = "" if self.nth is None else f" (nth: {self.nth})"
        if self.which == "generated":
            return "the answer"
        if self.role is None:
            return f"message {self.which}"
        return f"the {visible(self.role)} message{nth}"


@dataclass(frozen=True)
class Predicts:
    """The token before a word, whose output predicts that word; fields as of `Phrase`."""

    text: str
    nth: int | None = None
    which: Which | None = None

    def __str__(self) -> str:
        return f"the token before {_describe_word(self)}"


Part: TypeAlias = Phrase | Chars | Special | Predicts | WholeMessage


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
    In a conversation, `{message: 2, word: it}` names the message, `{message: 2}`, `{role: system}`
    and `{role: user, nth: 2}` a whole one. `{needle: it}` names a word of a sentence in a long
    text, `{generated: it}` one of the model's own answer; `{generated: all}` is the whole answer,
    `{generated: first}` its first word, `{generated: {predicts: first}}` the token before.

    Raises:
        ValueError: the value has none of these forms. The message says what to write.
    """
    if isinstance(value, Selector):
        return value
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("an empty list selects nothing; name a word")
        _check_count(value)
        parts = tuple(part for entry in value for part in _parse_parts(entry))
        _check_count(parts)
        return Selector(parts)
    return Selector(_parse_parts(value))


def _check_count(words: Sequence[object]) -> None:
    if len(words) > MOST_WORDS:
        raise ValueError(f"holds {len(words):,} words; it may have {MOST_WORDS:,}")


def check_target_selector(selector: Selector) -> None:
    """Checks a selector of the target text.

    Raises:
        SelectorError: it names the encoder's text or its pair.
    """
    for part in selector.parts:
        if not isinstance(part, Special) and (part.which or isinstance(part, WholeMessage)):
            raise SelectorError(
                f"{{{_text_key(part)}: ...}} names a word of the text that the encoder "
                "reads, and this is a word of the target; leave it out"
            )


def without_answer(selector: Selector) -> Selector:
    """The parts of a selector that can be found before the model has generated its answer."""
    return Selector(
        tuple(part for part in selector.parts if getattr(part, "which", None) != "generated")
    )


def selector_of(span: Span, text: str, parts: tuple[InputText, ...]) -> Selector:
    """The selector of these characters of a text with these parts."""
    part, inner = text_at(span, text, parts)
    return Selector((Chars(*inner, None if part.which == "text" else part.which),))


def _text_key(part: Phrase | Chars | Predicts | WholeMessage) -> str:
    """The key with which a selector names a text."""
    if isinstance(part.which, str):
        return part.which
    return "role" if part.which is None else "message"


def _parse_parts(value: object) -> tuple[Part, ...]:
    """The parts of one entry: several for a list in `{pair: [a, b]}`."""
    if isinstance(value, Mapping) and "message" in value:
        return (_parse_message(value),)
    if isinstance(value, Mapping) and "role" in value:
        return (_parse_role(value),)
    which = next((key for key in TEXT_KEYS if isinstance(value, Mapping) and key in value), None)
    if which is None or not isinstance(value, Mapping):
        return (_parse_part(value),)
    if len(value) > 1:
        extra = next(str(key) for key in value if key != which)
        raise ValueError(
            f"{extra!r} does not go beside {which!r}; a selector goes into it whole, such as "
            f"{{{which}: {{word: the, nth: 2}}}}"
        )
    inner = value[which]
    if which == "generated" and inner == "all":
        return (WholeMessage("generated"),)
    if which == "generated" and inner == "first":
        return (Phrase("", which="generated"),)
    if which == "generated" and inner == {"predicts": "first"}:
        return (Predicts("", which="generated"),)
    return tuple(_assign_text(part, which) for part in parse_selector(inner).parts)


def _parse_message(value: Mapping[object, object]) -> Part:
    number = value["message"]
    if not (_is_int(number) and number != 0):
        raise ValueError(
            f"message: is the number of a message, from 1, or from -1 for the last; not {number!r}"
        )
    which = cast(int, number)
    inner = {key: content for key, content in value.items() if key != "message"}
    if not inner:
        return WholeMessage(which)
    part = _parse_part(inner)
    if isinstance(part, Special):
        raise ValueError(f"{part} stands in no message; leave out message:")
    return replace(part, which=which)


def _parse_role(value: Mapping[object, object]) -> WholeMessage:
    for key in value:
        if key not in ("role", "nth"):
            near = did_you_mean(str(key), ("role", "nth"))
            raise ValueError(
                f"{key!r} does not go with 'role'; {near}; a word of a message is "
                "{message: 2, word: it}"
            )
    return WholeMessage(None, _parse_text(value["role"], "a role"), _parse_nth(value))


def _assign_text(part: Part, which: Which) -> Part:
    if isinstance(part, Special):
        where = "neither" if which in ("text", "pair") else "no"
        raise ValueError(f"{part} stands in {where} text; write {{special: {part.name}}} alone")
    if isinstance(part, WholeMessage) or part.which is not None:
        raise ValueError(f"{{{_text_key(part)}: ...}} stands inside of {{{which}: ...}}; give one")
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
            near = did_you_mean(str(unknown[0]), (*_KINDS, *TEXT_KEYS, "message", "role"))
            raise ValueError(f"unknown word selector {unknown[0]!r}; {near}")
        raise ValueError("a word selector has exactly one of: " + ", ".join(_KINDS))
    kind = kinds[0]
    content = value[kind]
    is_one = kind == "chars" or (kind, content) == ("special", "first")
    allowed = (kind,) if is_one else (kind, "nth")
    for key in value:
        if key not in allowed:
            near = did_you_mean(str(key), allowed)
            raise ValueError(f"{key!r} does not go with {kind!r}; {near}")
    if kind == "chars":
        return _parse_chars(content)
    if kind == "special":
        if content not in SPECIAL_NAMES and not _is_mark(content):
            near = did_you_mean(str(content).lower(), SPECIAL_NAMES)
            raise ValueError(f"unknown special token {content!r}; {near}")
        return Special(_parse_text(content), _parse_nth(value))
    return (Phrase if kind == "word" else Predicts)(_parse_text(content), _parse_nth(value))


def _is_mark(content: object) -> bool:
    """Whether this is no misspelled name of a role: `[MASK]`, `<|im_end|>`."""
    return isinstance(content, str) and re.search(r"[^\w\s]", content) is not None


def _parse_nth(value: Mapping[Any, Any]) -> int | None:
    nth = value.get("nth")
    if nth is not None and not (_is_int(nth) and nth >= 1):
        raise ValueError(f"nth counts the places of a word from 1, it cannot be {nth!r}")
    return cast(int | None, nth)


def _parse_text(value: object, what: str = "a word") -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is text, not {value!r}; quote it as it stands in the text")
    if not value.strip():
        raise ValueError(f"{what} cannot be empty; write it as it stands in the text")
    if len(value) > LONGEST_PHRASE:
        raise ValueError(f"{what} has {len(value):,} characters; it may have {LONGEST_PHRASE:,}")
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
    if not part.text:
        return f"the first word{_describe_which(part.which)}"
    word = visible(part.text)
    if any(char.isspace() for char in word):
        word = f'"{word}"'
    nth = "" if part.nth is None else f" (nth: {part.nth})"
    return f"{word}{nth}{_describe_which(part.which)}"


def _describe_which(which: Which | None) -> str:
    if isinstance(which, int):
        return f" in message {which}"
    if which is None:
        return ""
    return " of the answer" if which == "generated" else f" in the {which}"
