"""Text from users, made safe to show and measured, for terminals, pictures and pages alike.

Escaping for HTML or XML is left to whoever writes that.
"""

from __future__ import annotations

import unicodedata

import regex

_GRAPHEME = regex.compile(r"\X")
# What acts instead of being shown, what nobody sees, and what XML forbids. Join controls between
# letters or emoji belong to their spelling and stay as they are.
_HIDDEN = regex.compile(
    r"(?!(?<=[^\x00-\x7f])[\u200c\u200d][^\x00-\x7f])"
    r"[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Zs}\ufdd0-\ufdef\ufffe\uffff--\ ]",
    regex.VERSION1 | regex.DOTALL,
)


def visible(text: str) -> str:
    """The text with control, zero-width and unusual space characters as `<U+200B>`.

    Safe to print: no escape sequence and no change of direction survives.
    """
    return _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def display_width(text: str) -> int:
    """Columns that a visible text takes in a terminal: 2 for wide graphemes, 0 for marks."""
    return sum(_columns(grapheme) for grapheme in _GRAPHEME.findall(text))


def _columns(grapheme: str) -> int:
    if unicodedata.east_asian_width(grapheme[0]) in "WF" or "\ufe0f" in grapheme:
        return 2
    return sum(unicodedata.category(char) not in ("Mn", "Me", "Cf") for char in grapheme)


def clip(text: str, columns: int, *, from_end: bool = False) -> str:
    """What fits into so many columns of one end of a text, made visible, and … for the rest."""
    graphemes = [visible(grapheme) for grapheme in _GRAPHEME.findall(text)]
    if from_end:
        graphemes.reverse()
    fitting: list[str] = []
    for grapheme in graphemes:
        columns -= display_width(grapheme)
        if columns < 0:
            fitting.append("…")
            break
        fitting.append(grapheme)
    return "".join(reversed(fitting) if from_end else fitting)


def shortened(text: str, columns: int = 18) -> str:
    """The visible text as a label: of at most so many columns, closed with … where it is longer.

    A text of nothing but spaces shows each as ␣.
    """
    shown = visible(text)
    if not shown.strip():
        shown = "␣" * len(shown)
    if display_width(shown) <= columns:
        return shown
    return clip(shown, columns - 1).removesuffix("…").rstrip() + "…"
