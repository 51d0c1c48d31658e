"""Text as messages show it: underlined, clipped, with code points where letters look alike."""

from __future__ import annotations

import unicodedata

import regex

from attnprobe.core.printing import clip, display_width, visible
from attnprobe.core.texts import Span
from attnprobe.words.segmentation import split_texts

LINE = 96  # columns of text that a message shows whole
MARGIN = 44  # columns that it shows on either side of a word in a longer text


def underline(text: str, span: Span, *, pair_start: int | None = None) -> str:
    """Two lines for a message: the text around a span, and carets under the span.

    Args:
        pair_start: where the second of two texts starts; only the span's own is shown.
    """
    if pair_start is not None:
        own = split_texts(text, pair_start)[span.start >= pair_start]
        text, span = own.text, Span(span.start - own.start, span.end - own.start)
    margin = MARGIN if display_width(visible(text)) > LINE else LINE
    before = clip(text[: span.start], margin, from_end=True)
    after = clip(text[span.end :], margin)
    marked = visible(text[span.start : span.end])
    carets = " " * display_width(before) + "^" * max(1, display_width(marked))
    return f"{before}{marked}{after}\n{carets}"


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
