"""The colours of pictures and pages.

Pictures have a light background of their own, so they use the light colours on any page. In the
style sheet of pages, each name is a variable: `--attn-ink`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

INK = "#1f2328"
MUTED = "#59636e"
CARD = "#ffffff"
RULE = "#d1d9e0"  # frames and grid lines

# Dark enough for white text on them, and for reading on white.
RED, GREEN, AMBER, BLUE, PURPLE = "#cf222e", "#1a7f37", "#9a6700", "#0969da", "#8250df"

MAP = "viridis"
STROKE = "#3b528b"  # of viridis: curves and flows
SIGNED = "BrBG"  # for values with negative ones among them
# For differences: brown to green, with exactly white at zero.
DIFFERENCE = ("#543005", "#bf812d", CARD, "#35978f", "#003c30")
# Neither colour occurs in viridis. Solid and dashed lines distinguish them without colour.
EXPECTED = "#ff2d55"
CONTRAST = "#0a84ff"

# Outcomes of a case, and kinds of a change between two runs.
BADGES = {
    "passed": GREEN,
    "failed": RED,
    "borderline": AMBER,
    "vacuous": AMBER,
    "error": PURPLE,
    "unjudged": MUTED,
    "broken": RED,
    "gone": PURPLE,
    "weaker": AMBER,
    "fixed": GREEN,
    "stronger": BLUE,
    "new": MUTED,
    "kept": MUTED,
}
LIGHT = {
    "ink": INK,
    "muted": MUTED,
    "page": "#f6f8fa",
    "card": CARD,
    "rule": RULE,
    "note": "#7d4e00",
    "shade": "#00000038",
}
DARK = {
    "ink": "#e6edf3",
    "muted": "#9aa4ae",
    "page": "#0d1117",
    "card": "#161b22",
    "rule": "#30363d",
    "note": "#d29922",
    "shade": "#000000b0",
}

# Steps of a map on a page. From the colour of the card, lightness changes in one direction, so the
# order of the steps can be seen without colour vision.
STEPS = 32
SEQUENTIAL = {
    "light": (
        "#ffffff",
        "#dcebf3",
        "#b3d3e6",
        "#7fb4d6",
        "#4a90c2",
        "#2a6ba6",
        "#1c4a82",
        "#142a55",
    ),
    "dark": (
        "#161b22",
        "#1d3149",
        "#1f4c74",
        "#1f6d9c",
        "#3391b5",
        "#62b5bd",
        "#a6d8b9",
        "#f0f5b8",
    ),
}
# Differences: brown to green over the colour of the card, half of the steps on each side.
DIVERGING = {
    "light": ("#543005", "#a6681c", "#dfc27d", "#ffffff", "#80cdc1", "#2a8c83", "#003c30"),
    "dark": ("#f6d59a", "#c98a3a", "#6b4a1f", "#161b22", "#1d5952", "#3fa99d", "#a8ebe0"),
}


# Heads shown at once, told apart without red against green; readable as lines on the card.
HEADS = {
    "light": ("#0072b2", "#b34700", "#007a5e", "#9c3f83", "#7a6200", "#4c5b8c"),
    "dark": ("#56b4e9", "#ff9a4d", "#3cc9a0", "#e39bcb", "#e6d04a", "#a9b8ff"),
}


def ramp(anchors: Sequence[str], steps: int) -> tuple[str, ...]:
    """Colours from the first anchor to the last in equal steps, interpolated in sRGB."""
    channels = np.array([[int(anchor[at : at + 2], 16) for at in (1, 3, 5)] for anchor in anchors])
    places = np.linspace(0, len(anchors) - 1, steps)
    mixed = [np.interp(places, np.arange(len(anchors)), channel) for channel in channels.T]
    return tuple(
        "#" + "".join(f"{round(value):02x}" for value in colour)
        for colour in zip(*mixed, strict=True)
    )


def mix(colour: str, with_colour: str, share: float) -> str:
    """A colour with a share of another one, 0 to 1."""
    pairs = [[int(text[at : at + 2], 16) for text in (colour, with_colour)] for at in (1, 3, 5)]
    return "#" + "".join(f"{round(mine + (theirs - mine) * share):02x}" for mine, theirs in pairs)


def ink_on(colour: str) -> str:
    """Black or white: the text colour with the higher contrast on a colour (WCAG 2.2)."""
    return "#000000" if luminance(colour) > _MIDDLE else "#ffffff"


def luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour, 0 to 1 (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def steps_of(theme: str) -> dict[str, str]:
    """The colour of each class of a map's cells: `m0` to `m31`, `n16` to `n1`, `p1` to `p16`."""
    half = STEPS // 2
    signed = ramp(DIVERGING[theme], STEPS + 1)
    return {
        **{f"m{step}": colour for step, colour in enumerate(ramp(SEQUENTIAL[theme], STEPS))},
        **{f"n{half - at}": colour for at, colour in enumerate(signed[:half])},
        **{f"p{at}": colour for at, colour in enumerate(signed[half + 1 :], 1)},
    }


def muted_steps_of(theme: str) -> dict[str, str]:
    """The colours of `steps_of` for sinks: grey, and half as far from the card's colour."""
    card = (LIGHT if theme == "light" else DARK)["card"]
    return {name: mix(_grey(colour), card, 0.5) for name, colour in steps_of(theme).items()}


def _grey(colour: str) -> str:
    linear = luminance(colour)
    encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return "#" + f"{round(255 * encoded):02x}" * 3


# The luminance with equal contrast against black and white.
_MIDDLE = math.sqrt(1.05 * 0.05) - 0.05
