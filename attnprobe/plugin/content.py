"""Digests of what checks state: equal checks have equal digests, however they are written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnprobe.align import Selector, positions
from attnprobe.cases import Relation
from attnprobe.errors import AttnprobeError, Mark
from attnprobe.heads import Heads
from attnprobe.records import Encoding, SiteName
from attnprobe.rules.base import Rule
from attnprobe.run import Finding

__all__ = ["bound_sha256", "expectation_sha256"]

# What names a relation or says how it is run, and no part of what it states.
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
    """The digest of an expectation on its text; None where the text was not encoded.

    Words count by their tokens, heads by their numbers and bounds by their values, so that
    `L3H1` and a head set that holds it, or `it` and `{word: it, nth: 1}`, are the same.
    """
    encoding, rule = finding.encoding, finding.expectation.rule
    if encoding is None:
        return None
    try:
        site = encoding.site(rule.site).name
    except AttnprobeError:
        return None
    ends = {place.field.rstrip("_"): place.end for place in rule.places()}
    stated: dict[str, Any] = {"rule": rule.kind, "site": site, "sample": _plain(encoding.sample)}
    for field in type(rule).model_fields:
        value = getattr(rule, field)
        if field == "heads":
            stated[field] = _heads(rule, encoding, site)
        elif isinstance(value, Selector):
            tokens = encoding.keys(site) if ends.get(field.rstrip("_")) == "key" else None
            stated[field] = _words(value, tokens or encoding.queries(site))
        elif field != "site":
            stated[field] = _plain(value)
    return _digest(stated)


def bound_sha256(relation: Relation, name: str, demanded: float, corpus: str | None) -> str:
    """The digest of one bound of a relation.

    Args:
        corpus: the hash of the corpus file; None for arcs of the case file itself.
    """
    fields = {
        field.name: _plain(getattr(relation, field.name))
        for field in dataclasses.fields(relation)
        if field.name not in _NO_STATEMENT
    }
    return _digest({**fields, "arcs": _plain(relation.source), "corpus": corpus, name: demanded})


def _heads(rule: Rule, encoding: Encoding, site: SiteName) -> Any:
    heads = rule.heads
    try:
        resolved = sorted(heads.resolve(encoding.sites[site]))
    except AttnprobeError:
        return _plain(heads)
    several = (heads.how, heads.count) if len(resolved) > 1 else ()
    return [list(map(str, resolved)), list(several)]


def _words(selector: Selector, tokens: Any) -> Any:
    try:
        return sorted(positions(selector, tokens))
    except AttnprobeError:
        return str(selector)


def _plain(value: Any) -> Any:
    """A value as JSON, without its place in a file; a file counts by its content elsewhere."""
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
        fields = [field.name for field in dataclasses.fields(value) if field.name != "shown"]
        return {name: _plain(getattr(value, name)) for name in fields}
    return str(value)


def _digest(stated: object) -> str:
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
