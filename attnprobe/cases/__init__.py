"""From the values of a case file to its cases and relations, and the JSON Schema for editors.

All that can be wrong with a file is found here, before any model is loaded: shapes by pydantic,
rules by their own models, words by looking for them in the sentence.
"""

from __future__ import annotations

from attnprobe.cases.editor import schema
from attnprobe.cases.entries import (
    Case,
    Contents,
    CorpusArcs,
    Expectation,
    LabelledArc,
    LabelledArcs,
    Relation,
    Severity,
    Threshold,
)
from attnprobe.cases.parser import load, load_contents, parse, parse_contents
from attnprobe.cases.shells import LEAST

__all__ = [
    "LEAST",
    "Case",
    "Contents",
    "CorpusArcs",
    "Expectation",
    "LabelledArc",
    "LabelledArcs",
    "Relation",
    "Severity",
    "Threshold",
    "load",
    "load_contents",
    "parse",
    "parse_contents",
    "schema",
]
