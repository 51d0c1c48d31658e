"""Case files: YAML text, parsers to cases and relations, and the JSON Schema for editors.

This package finds every error in a file before a model is loaded: pydantic checks the shapes, rules
check their arguments, and the parsers look up every word in its sentence.
"""

from __future__ import annotations

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
    identity,
)
from attnprobe.cases.json_schema import schema
from attnprobe.cases.parser import case_files, load, load_contents, parse, parse_contents
from attnprobe.cases.shapes import LEAST

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
    "case_files",
    "identity",
    "load",
    "load_contents",
    "parse",
    "parse_contents",
    "schema",
]
