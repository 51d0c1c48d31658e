"""Relations, read from the text of a case file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attnprobe.cases import Contents, Relation, parse_contents, yamltext

ROOT = Path(__file__).parents[2]
DATA = ROOT / "cases" / "data"

START = "version: 1\nsuite: s\n"


def read(text: str, **options: Any) -> Contents:
    return parse_contents(yamltext.loads(text.encode(), "a.attn.yaml"), **options)


def one(body: str, before: str = "", **options: Any) -> Relation:
    """The only relation of a file; it stands in line 4."""
    text = f"{START}{before}relations:\n  - {{id: a, {body}}}\n"
    (relation,) = read(text, **options).relations
    return relation
