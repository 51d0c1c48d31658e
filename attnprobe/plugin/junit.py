"""The properties of an item for JUnit XML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnprobe.core.parts import Part
from attnprobe.core.printing import visible

# How their names begin.
PROPERTY = "attnprobe."


def properties(
    entries: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """The properties of an item for JUnit XML, as (name, value).

    The first expectation has `attnprobe.observed` and so on, the second `attnprobe.observed.2`.
    A value that was not measured has no property.

    Args:
        entries: the fields of each `ExpectationResult`, of a case or a relation.
        model: the fields of the item's `ModelResult`.
    """
    found: dict[str, object] = {}
    if model is not None:
        # Only a model from the hub has a revision; the hash of the weights identifies the others.
        weights = model["weights_sha256"] and f"sha256:{model['weights_sha256']}"
        found = {
            "model": model["name"],
            "revision": model["revision"] or weights,
            "quantised": model["quantised"],
        }
    for place, entry in enumerate(entries, 1):
        end = "" if place == 1 else f".{place}"
        measured = entry["demanded"] is not None
        found |= {
            f"rule{end}": entry["rule"],
            f"outcome{end}": entry["outcome"],
            f"observed{end}": entry["observed"],
            f"demanded{end}": f"{entry['relation']} {entry['demanded']}" if measured else None,
            f"head{end}": entry["head"],
            f"chance{end}": entry["chance"] and entry["chance"]["rate"],
            **_ablation(entry["ablation"], end),
            f"best_other{end}": entry["best_other"] and entry["best_other"]["note"],
            f"borderline{end}": entry["borderline"] or None,
            f"unbreakable{end}": entry["unbreakable"] or None,
        }
    return [
        (f"{PROPERTY}{name}", visible(str(value)))
        for name, value in found.items()
        if value is not None
    ]


def of_part(part: Part) -> list[tuple[str, str]]:
    """The property of an item that names the part of the run; none for a whole run."""
    return [] if part.whole else [(f"{PROPERTY}part", f"part {part.index} of {part.count}")]


def _ablation(figures: Mapping[str, Any] | None, end: str) -> dict[str, object]:
    if figures is None:
        return {}
    names = ("intact", "ablated", "change", "mean", "spread", "as_much")
    return {f"ablation_{name}{end}": figures[name] for name in names}
