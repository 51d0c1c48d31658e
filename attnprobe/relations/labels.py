"""Names of relations, such as `nsubj` and its subtype `nsubj:pass`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


def matches(relation: str, label: str) -> bool:
    """Whether a relation has this label or is a subtype of it.

    The label `nsubj` matches `nsubj:pass`, and `comp` matches `comp:obj@x` of SUD. The label
    `nsubj:pass` matches only itself and its own subtypes.
    """
    return relation == label or relation.startswith((f"{label}:", f"{label}@"))


def relation_names(relations: Iterable[str] | Mapping[str, int]) -> Mapping[str, int]:
    """The number of arcs of each relation and subtype, by name.

    A subtype is omitted if all arcs of the wider relation belong to it.

    Args:
        relations: the relation of each arc, or the number of arcs of each.
    """
    totals: Counter[str] = Counter()
    for relation, count in Counter(relations).items():
        totals.update(dict.fromkeys(_prefixes(relation), count))
    return {
        name: totals[name]
        for name in sorted(totals)
        if all(totals[wider] != totals[name] for wider in _prefixes(name)[:-1])
    }


def _prefixes(relation: str) -> list[str]:
    """A relation after the relations that it is a subtype of: comp, comp:obj, comp:obj@x."""
    cuts = [at for at, char in enumerate(relation) if char in ":@" and at]
    return [*(relation[:at] for at in cuts), relation]
