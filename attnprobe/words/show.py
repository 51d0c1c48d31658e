"""Text in messages: underlined, clipped, escaped, with code points for letters that look alike."""

from __future__ import annotations

import unicodedata

import regex

from attnprobe.core.printing import clip, display_width, visible
from attnprobe.core.texts import InputText, Span, text_at

LINE = 96  # a message shows a text of up to so many columns whole
MARGIN = 44  # of a longer text it shows so many columns on either side of a word
_WINDOW = 1000  # of so many characters on either side the columns are measured


def quoted(text: str) -> str:
    """The visible text in single quotes, cut where it is long."""
    return f"'{_clip_long(text)}'"


def _clip_long(text: str) -> str:
    return visible(text) if len(text) <= 2 * LINE else clip(text[:_WINDOW], 2 * LINE)


def underline(text: str, span: Span, *, parts: tuple[InputText, ...] = ()) -> str:
    """Two lines for a message: the text around a span, and carets under the span.

    Args:
        parts: the input texts of `text`; the lines show the one that contains the span.
    """
    part, span = text_at(span, text, parts)
    text = part.text
    is_long = len(text) > _WINDOW or display_width(visible(text)) > LINE
    margin = MARGIN if is_long else LINE
    before = clip(text[max(0, span.start - _WINDOW) : span.start], margin, from_end=True)
    after = clip(text[span.end : span.end + _WINDOW], margin)
    marked = _clip_long(text[span.start : span.end])
    carets = "^" * max(1, display_width(marked))
    return f"{before}{marked}{after}\n{' ' * display_width(before)}{carets}"


def indent(lines: str, by: str = "  ") -> str:
    return "\n".join(by + line for line in lines.split("\n"))


def describe_code_points(text: str) -> str:
    """The characters of a text by number and name: `U+00E9 LATIN SMALL LETTER E WITH ACUTE`."""
    return (
        ", ".join(f"U+{ord(char):04X} {unicodedata.name(char, '(no name)')}" for char in text)
        or "nothing"
    )


def escape(text: str) -> str:
    """The text as a double-quoted YAML scalar in ASCII."""
    escapes = {'"': '\\"', "\\": "\\\\"}
    inner = (
        escapes.get(char)
        or (char if " " <= char <= "~" else None)
        or (f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}")
        for char in text
    )
    return f'"{"".join(inner)}"'


def as_yaml(text: str) -> str:
    """The text as a YAML scalar for a flow mapping: `it`, `"a: b"`."""
    plain = regex.fullmatch(r"\p{L}[\p{L}\p{M}]*(?:[ '-][\p{L}\p{M}]+)*", text)
    words_of_yaml = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    if plain and text.casefold() not in words_of_yaml:
        return text
    if visible(text) != text:
        return escape(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
