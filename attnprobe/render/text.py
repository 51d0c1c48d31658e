"""Text from users, made fit to be shown in a picture, a page or a terminal."""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size

# What XML forbids, or what acts instead of being shown: controls, line and paragraph separators,
# bidirectional overrides, lone surrogates, noncharacters. Joiners stay: emoji and Persian need
# them.
_UNSHOWN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def visible(text: str) -> str:
    r"""The text with each character that acts or cannot be shown written as its escape.

    A line feed becomes `\n`, the escape character `\x1b`, a lone surrogate `\ud800`; a text of
    nothing but spaces shows each as ␣. All else stays as it is; escaping for XML or HTML is left
    to whoever writes that.
    """
    shown = _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return shown if shown.strip() else "␣" * len(shown)


def shortened(text: str, cells: int = 18) -> str:
    """The visible text, cut to `cells` terminal columns and closed with … where it is longer."""
    shown = visible(text)
    return shown if cell_len(shown) <= cells else set_cell_size(shown, cells - 1).rstrip() + "…"
