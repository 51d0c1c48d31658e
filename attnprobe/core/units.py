"""The units of measured numbers, and how to read them from files that do not say them.

A rule says the unit of each of its numbers. Results files and baselines of earlier versions name
each number in words alone: `weight among words`, `margin over street`, `entropy (nats), 2 of 9 rows
left out`.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

# `weight` stands for attention weights, their sums over words or rows (the mass on a pattern or a
# sink, the share of a flow) and the differences of two (margins), scaled to words or not.
MeasureUnit = Literal[
    "weight", "rank", "ratio", "links", "match", "nats", "cosine", "distance", "share", "keys", "p"
]
# The units whose numbers hold by their distance from the bound. A rank or a ratio holds by a
# difference of weights, an accuracy of links by their count; of strange units nothing is known.
OWN_SLACK = frozenset(get_args(MeasureUnit)) - {"rank", "ratio", "links"}

_NOTE = re.compile(r", [0-9]+ of [0-9]+ rows left out$")
# In this order: a margin ends with a word of the text, which may read like the name of a number.
_NAMES: tuple[tuple[str, MeasureUnit], ...] = (
    (r"margin (over|below) .*", "weight"),
    (r"ratio (over|below) .*", "ratio"),
    (r"keys with .*", "keys"),
    (r"rank( of the .*)?", "rank"),
    (r"(weight|share of the flow)( among words)?", "weight"),
    (r"sink mass|mass on .*", "weight"),
    (r".* mass", "weight"),
    (r".* match", "match"),
    (r"(accuracy|AER), row .*", "links"),
    (r"accuracy( above .*)?|lead over .*", "share"),
    (r"exact McNemar p", "p"),
    (r"normalised (entropy|distance)", "share"),
    (r"distance \((tokens|words)\)", "distance"),
    (r".* \(nats\)", "nats"),
    (r".* \(cosine\)", "cosine"),
)


def read_unit(measure: str) -> MeasureUnit | None:
    """The unit of a number by its name; None for a name that no rule of attnprobe gives.

    Only for files that lack the unit.
    """
    name = without_notes(measure)
    matching = (unit for pattern, unit in _NAMES if re.fullmatch(pattern, name, re.DOTALL))
    return next(matching, None)


def without_notes(measure: str) -> str:
    """The name of a number without the note of how many rows were left out."""
    return _NOTE.sub("", measure)
