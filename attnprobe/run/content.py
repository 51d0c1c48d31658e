"""Digests of checks: checks that state the same have equal digests, however they are written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnprobe.cases import Relation
from attnprobe.core.errors import AttnprobeError, Mark
from attnprobe.core.texts import Encoding
from attnprobe.rules.base import Rule
from attnprobe.run.runner import Finding
from attnprobe.words.heads import Heads
from attnprobe.words.positions import positions
from attnprobe.words.selectors import Selector

# Fields that name a relation or say how it is run; they are no part of what it states.
_NO_STATEMENT = {
    "suite",
    "id",
    "row",
    "mark",
    "marks",
    "severity",
    "xfail",
    "skip",
    "model",
    "bounds",
    "source",
}


def expectation_sha256(finding: Finding) -> str | None:
    """The SHA-256 of an expectation on its text, in hex; None if it cannot be judged there.

    Words enter as token positions, heads as layer and number, bounds as numbers. So `L3H1` equals
    a head set with that head alone, and `it` equals `{word: it, nth: 1}`.
    """
    encoding, rule = finding.encoding, finding.expectation.rule
    if encoding is None:
        return None
    try:
        return _digest(_stated(rule, encoding))
    except AttnprobeError:
        return None  # the text or the model lacks a word, a head or a site; the case fails for it


def _stated(rule: Rule, encoding: Encoding) -> dict[str, Any]:
    site = encoding.site(rule.site)
    ends = {place.field: place.end for place in rule.places()}
    stated: dict[str, Any] = {"rule": rule.kind, "sample": _plain(encoding.sample)}
    for name in type(rule).model_fields:
        value = getattr(rule, name)
        if name == "site":
            stated[name] = site.name
        elif name == "heads":
            heads = sorted(rule.heads.resolve(site))
            several = [rule.heads.how, rule.heads.count] if len(heads) > 1 else []
            stated[name] = [[str(head) for head in heads], several]
        elif isinstance(value, Selector):
            at_key = ends.get(name.rstrip("_")) == "key"
            tokens = encoding.keys(site.name) if at_key else encoding.queries(site.name)
            stated[name] = positions(value, tokens)
        else:
            stated[name] = _plain(value)
    return stated


def bound_sha256(relation: Relation, name: str, demanded: float, corpus: str | None) -> str:
    """The SHA-256 of one bound of a relation, in hex.

    Args:
        relation: the relation.
        name: the name of the bound.
        demanded: the number that it demands.
        corpus: the hash of the corpus file; None for arcs in the case file itself.
    """
    fields = {
        field.name: _plain(getattr(relation, field.name))
        for field in dataclasses.fields(relation)
        if field.name not in _NO_STATEMENT
    }
    return _digest({**fields, "arcs": _plain(relation.source), "corpus": corpus, name: demanded})


def _plain(value: Any) -> Any:
    """A value as JSON, without marks and paths; the content of a file is hashed elsewhere."""
    match value:
        case None | bool() | str():
            return value
        case int() | float():
            return float(value)
        case Mark() | Path():
            return None
        case Heads():
            members = sorted(map(str, value.members))
            return [members, [value.how, value.count] if len(members) > 1 else []]
        case Mapping():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
        case set() | frozenset():
            return sorted(map(repr, value))
    if dataclasses.is_dataclass(value):
        stated = {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
            # Without defaults, so that a new field changes no digest.
            if field.name != "shown" and getattr(value, field.name) != field.default
        }
        return {name: _plain(entry) for name, entry in stated.items()}
    return str(value)


def _digest(stated: object) -> str:
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
