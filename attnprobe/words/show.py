"""Text as messages show it: underlined, clipped, with code points where letters look alike."""

from __future__ import annotations

import unicodedata

import regex

from attnprobe.core.texts import Span
from attnprobe.words.segmentation import GRAPHEME, split_texts

LINE = 96  # columns of text that a message shows whole
MARGIN = 44  # columns that it shows on either side of a word in a longer text
# Join controls between letters or emoji belong to their spelling and stay as they are.
_HIDDEN = regex.compile(
    r"(?!(?<=[^\x00-\x7f])[\u200c\u200d][^\x00-\x7f])"
    r"[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Zs}--\ ]",
    regex.VERSION1 | regex.DOTALL,
)


def visible(text: str) -> str:
    """The text with control, zero-width and unusual space characters as `<U+200B>`.

    Safe to print: no escape sequence and no change of direction survives.
    """
    return _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def width(text: str) -> int:
    """Columns that a visible text takes in a terminal: 2 for wide graphemes, 0 for marks."""
    return sum(_columns(grapheme) for grapheme in GRAPHEME.findall(text))


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
        own = split_texts(text, pair_start)[span.start >= pair_start]
        text, span = own.text, Span(span.start - own.start, span.end - own.start)
    margin = MARGIN if width(visible(text)) > LINE else LINE
    before = clip(text[: span.start], margin, from_end=True)
    after = clip(text[span.end :], margin, from_end=False)
    marked = visible(text[span.start : span.end])
    return f"{before}{marked}{after}\n{' ' * width(before)}{'^' * max(1, width(marked))}"


def clip(text: str, room: int, *, from_end: bool) -> str:
    """What fits into so many columns of one end of a text, made visible."""
    graphemes = [visible(grapheme) for grapheme in GRAPHEME.findall(text)]
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


def indent(lines: str, by: str = "  ") -> str:
    return "\n".join(by + line for line in lines.split("\n"))


def describe_code_points(text: str) -> str:
    return (
        ", ".join(f"U+{ord(char):04X} {unicodedata.name(char, '(no name)')}" for char in text)
        or "nothing"
    )


def escape(text: str) -> str:
    """A YAML double-quoted scalar in ASCII."""
    escapes = {'"': '\\"', "\\": "\\\\"}
    inner = (
        escapes.get(char)
        or (char if " " <= char <= "~" else None)
        or (f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}")
        for char in text
    )
    return f'"{"".join(inner)}"'


def as_yaml(text: str) -> str:
    """A YAML scalar that reads back as this text inside a flow mapping."""
    plain = regex.fullmatch(r"\p{L}[\p{L}\p{M}]*(?:[ '-][\p{L}\p{M}]+)*", text)
    words_of_yaml = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    if plain and text.casefold() not in words_of_yaml:
        return text
    if visible(text) != text:
        return escape(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
