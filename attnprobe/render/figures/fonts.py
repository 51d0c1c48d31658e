"""Widths of texts, and fonts for characters that matplotlib's own font lacks.

In an SVG the browser chooses the glyphs. A PNG or PDF needs an installed font that has them.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Literal

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from attnprobe.core.errors import MissingGlyphWarning
from attnprobe.core.printing import visible

OWN = "DejaVu Sans"  # comes with matplotlib, so always available
# Most letters of other fonts are narrower than this many em, and all emoji.
_LETTER, _EMOJI = 1.1, 1.35
_INDIC, _VOWEL_SIGN = 0.85, 0.45  # from Devanagari to Gujarati
_HINTED = 1.03  # small type is a little wider, because its stems are whole pixels
BOX = "▯"
# Their glyphs are boxes or do not stand at the code points of their characters.
_UNFIT = ("Last Resort", "LastResort", "cmb", "cmex", "cmmi", "cmr", "cmss", "cmsy", "cmtt")
_NAMED = 12


def width_of(text: str, size: float) -> float:
    """The width in points of a text in bold, the wider type; an estimate for other fonts' letters.

    It is the same on all machines, whatever fonts they have.
    """
    return _HINTED * size * sum(map(_advance, text))


@cache
def _advance(char: str) -> float:
    """The width of a character in em."""
    font = _own_font("bold")
    if font.get_char_index(ord(char)):
        font.set_size(1000, 72)
        advance: int = font.load_char(ord(char)).linearHoriAdvance
        return advance / 65536 / 1000
    category = unicodedata.category(char)
    if category in ("Mn", "Me", "Cf"):
        return 0.0
    if "\u0900" <= char < "\u0b00":
        return _VOWEL_SIGN if category == "Mc" else _INDIC
    return _EMOJI if category == "So" and char > "\uffff" else _LETTER


def families_for(characters: Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    """The font families that have the characters, matplotlib's own first, and those that none has.

    Only characters that the own font lacks are looked for, once in a process.
    """
    lacking = sorted({char for char in characters if not _in_own_font(char)})
    families = families_with(tuple(lacking)) if lacking else {}
    return (
        [OWN, *dict.fromkeys(families.values())],
        tuple(char for char in lacking if char not in families),
    )


def with_boxes(text: str, missing: Collection[str]) -> str:
    """The text with a box instead of each missing letter, without missing marks.

    The boxes that matplotlib itself draws are wider than letters, and marks have boxes too.
    """
    return "".join(
        char if char not in missing else "" if unicodedata.category(char)[0] in "MC" else BOX
        for char in text
    )


def warn_missing(characters: tuple[str, ...]) -> None:
    """Warns that no installed font has the characters."""
    named = [f"{visible(char)} (U+{ord(char):04X})" for char in characters[:_NAMED]]
    more = f" and {len(characters) - _NAMED} more" if len(characters) > _NAMED else ""
    warnings.warn(
        f"no installed font has {', '.join(named)}{more}: the picture shows boxes in their place; "
        "install a font with these characters, or save as .svg, where the viewer has its own fonts",
        MissingGlyphWarning,
        stacklevel=2,
    )


@cache
def _own_font(weight: Literal["normal", "bold"]) -> FT2Font:
    return FT2Font(font_manager.findfont(font_manager.FontProperties(family=OWN, weight=weight)))


@cache
def _in_own_font(char: str) -> bool:
    return all(_own_font(weight).get_char_index(ord(char)) for weight in ("normal", "bold"))


@cache
def families_with(characters: tuple[str, ...]) -> dict[str, str]:
    """The family of an installed font for each of the characters; without those that none has."""
    found: dict[str, str] = {}
    for family, path in installed_fonts():
        codes = FT2Font(path).get_charmap()
        found.update(
            {char: family for char in characters if ord(char) in codes and char not in found}
        )
        if len(found) == len(characters):
            break
    return found


def installed_fonts() -> Iterator[tuple[str, str]]:
    """Family and file of each font that matplotlib can draw with, plain ones first."""
    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            manager.addfont(path)  # matplotlib's list may be older than the font
        except (RuntimeError, NotImplementedError, OSError):
            continue  # a font of bitmaps, or no font
    for entry in sorted(
        manager.ttflist,
        key=lambda entry: (entry.style != "normal", abs(_weight(entry.weight) - 400), entry.name),
    ):
        if not entry.name.startswith(_UNFIT):
            yield entry.name, entry.fname


def _weight(weight: str | int) -> int:
    return weight if isinstance(weight, int) else font_manager.weight_dict[weight]
