"""The units of measured numbers.

A rule states the unit of each of its numbers. Results files and baselines of earlier versions have
only the number's name: `weight among words`, `margin over street`, `entropy (nats), 2 of 9 rows
left out`. `read_unit` derives the unit from it.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

# `weight` is the unit of attention weights, of their sums over words or rows (the mass on a pattern
# or a sink, the share of a flow) and of differences (margins), renormalised or not.
MeasureUnit = Literal[
    "weight", "rank", "ratio", "links", "match", "nats", "cosine", "distance", "share", "keys", "p"
]
# The units in which the distance from the bound says how safely it holds. A rank or a ratio depends
# on a difference of weights, an accuracy of links on their count; units of other packages are
# unknown.
OWN_SLACK = frozenset(get_args(MeasureUnit)) - {"rank", "ratio", "links"}

_NOTE = re.compile(r", [0-9]+ of [0-9]+ rows left out$")
# The order matters: a margin's name ends with a word of the text, which can look like another name.
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
    """The unit of a number by its name, for files without units.

    None for a name that no rule of attnprobe gives.
    """
    name = without_notes(measure)
    matching = (unit for pattern, unit in _NAMES if re.fullmatch(pattern, name, re.DOTALL))
    return next(matching, None)


def without_notes(measure: str) -> str:
    """The name of a number without the note of how many rows were left out."""
    return _NOTE.sub("", measure)
