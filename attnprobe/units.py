"""The unit of a measured number, read from the name that results give it.

A results file names each number in words: `weight among words`, `margin over street`,
`entropy (nats), 2 of 9 rows left out`. Everything that treats numbers by their kind (limits,
comparisons, the checks of the gate) asks here.
"""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["Unit", "is_own_slack", "unit_of", "without_notes"]

Unit = Literal[
    "weight", "rank", "ratio", "links", "match", "nats", "cosine", "distance", "share", "keys"
]

_NOTE = re.compile(r", [0-9]+ of [0-9]+ rows left out$")
# In this order: a margin ends with a word of the text, which may read like the name of a number.
_NAMES: tuple[tuple[str, Unit], ...] = (
    (r"margin (over|below) .*", "weight"),
    (r"ratio (over|below) .*", "ratio"),
    (r"keys with .*", "keys"),
    (r"rank( of the .*)?", "rank"),
    (r"(weight|share of the flow)( among words)?", "weight"),
    (r"sink mass|mass on .*", "weight"),
    (r".* mass", "weight"),
    (r".* match", "match"),
    (r"(accuracy|AER), row .*", "links"),
    (r"normalised (entropy|distance)", "share"),
    (r"distance \((tokens|words)\)", "distance"),
    (r".* \(nats\)", "nats"),
    (r".* \(cosine\)", "cosine"),
)
# A rank or a ratio holds by a difference of weights, an accuracy by a count of links.
_OTHER_SLACK: frozenset[Unit] = frozenset({"rank", "ratio", "links"})


def unit_of(measure: str | None) -> Unit | None:
    """The unit of a number; None for a name that no rule of attnprobe gives.

    `weight` stands for attention weights, their sums over words or rows (the mass on a pattern or
    a sink, the share of a flow) and the differences of two (margins), scaled to words or not.
    """
    name = without_notes(measure or "")
    matching = (unit for pattern, unit in _NAMES if re.fullmatch(pattern, name, re.DOTALL))
    return next(matching, None)


def without_notes(measure: str) -> str:
    """The name of a number without the note of how many rows were left out."""
    return _NOTE.sub("", measure)


def is_own_slack(unit: Unit | None) -> bool:
    """Whether the slack of such a number is its distance from the bound."""
    return unit is not None and unit not in _OTHER_SLACK
