"""The colours of pictures and pages.

Pictures have a light background of their own, so they use the light colours on any page. In the
style sheet of pages, each name is a variable: `--attn-ink`.
"""

from __future__ import annotations

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
