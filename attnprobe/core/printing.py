"""Text from users, made safe and measured for terminals, pictures and pages.

Code that writes HTML or XML must still escape it.
"""

from __future__ import annotations

import unicodedata

import regex

# A flag first: to find its end, \X alone counts back over all flags before it.
GRAPHEME = regex.compile(
    r"\p{GCB=Regional_Indicator}{2}[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]*+|\X"
)
# Control characters, invisible characters, and characters that XML forbids. Join controls between
# letters or emoji belong to their spelling, so they stay.
_HIDDEN = regex.compile(
    r"(?!(?<=[^\x00-\x7f])[\u200c\u200d][^\x00-\x7f])"
    r"[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Zs}\ufdd0-\ufdef\ufffe\uffff--\ ]",
    regex.VERSION1 | regex.DOTALL,
)


# What GitHub, Azure and TeamCity read as a command, wherever it stands in a line of output.
_COMMAND = regex.compile(r"##(?=\w*\[)")
# What GitHub reads as a command at the start of a line.
_LINE_COMMAND = regex.compile(r"^( *)::", regex.MULTILINE)


def visible(text: str) -> str:
    """The text with control, zero-width and unusual space characters written as `<U+200B>`.

    The result is safe to print within a line: it contains no escape sequence, no change of
    direction and no command to a CI system.
    """
    return no_command(_HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text))


def no_command(text: str) -> str:
    """The text with a bar in each `##[error]` or `##vso[...]`, so that no CI system obeys it."""
    return _COMMAND.sub("##│", text) if "##" in text else text


def harmless(message: str) -> str:
    """Lines that are safe to print, whatever texts and names they quote.

    As `visible`, and a bar precedes `::error` and the like at the start of a line.
    """
    return _LINE_COMMAND.sub(r"\1│ ::", "\n".join(map(visible, message.split("\n"))))


def display_width(text: str) -> int:
    """The columns that a visible text takes in a terminal: 2 for wide graphemes, 0 for marks."""
    return sum(_columns(grapheme) for grapheme in GRAPHEME.findall(text))


def _columns(grapheme: str) -> int:
    if unicodedata.east_asian_width(grapheme[0]) in "WF" or "\ufe0f" in grapheme:
        return 2
    return sum(unicodedata.category(char) not in ("Mn", "Me", "Cf") for char in grapheme)


def clip(text: str, columns: int, *, from_end: bool = False) -> str:
    """The start or the end of the visible text, up to a number of columns; … marks a cut."""
    graphemes = [visible(grapheme) for grapheme in GRAPHEME.findall(text)]
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


def not_blank(text: str) -> str:
    """The visible text; a text of spaces becomes `␣` for each space."""
    seen = visible(text)
    return seen if seen.strip() else "␣" * len(seen)


def as_label(text: str, columns: int = 18) -> str:
    """The visible text as a label of at most so many columns, never blank; … marks a cut."""
    label = not_blank(text)
    if display_width(label) <= columns:
        return label
    return clip(label, columns - 1).removesuffix("…").rstrip() + "…"
