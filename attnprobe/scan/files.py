"""The files of a scan: head sets and case files."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from attnprobe.cases import LEAST
from attnprobe.core.names import SUFFIX
from attnprobe.core.printing import visible
from attnprobe.core.sites import Head
from attnprobe.scan.report import SIGNIFICANT, RelationFigures, preference_json
from attnprobe.scan.tally import ArcGroup
from attnprobe.words.looks import Among

RESULTS = "scan.json"
SUITE = f"scan{SUFFIX}"
PAGE = "scan.html"
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


def set_names(groups: Sequence[ArcGroup], prefix: str) -> Mapping[ArcGroup, str]:
    """A name for each group, for its head set and relation: `nsubj-dependent-to-head`."""
    names: dict[ArcGroup, str] = {}
    for group in groups:
        plain = _UNFIT.sub("-", f"{prefix}{group.relation}-{group.direction}").strip("-")
        name, number = plain, 2
        while name in names.values():
            name, number = f"{plain}-{number}", number + 1
        names[group] = name
    return names


def suite_names(model: str, corpora: Sequence[Path]) -> list[str]:
    """A name for the suite of each corpus: `scan-minilm-english`."""
    names: list[str] = []
    for path in corpora:
        parts = (_UNFIT.sub("-", part).strip("-") for part in ("scan", model, path.stem))
        plain = name = "-".join(part for part in parts if part)
        number = 2
        while name in names:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names


def lock_entries(
    found: Sequence[RelationFigures],
    heads: Sequence[Head],
    names: Mapping[ArcGroup, str],
    origin: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Head sets for the lock file, by name.

    Each group has a set with the chosen head. A second one has the greedy set, if it is
    significantly better on the judged half.

    Args:
        origin: the model, corpora and options, which every entry contains.
    """
    entries: dict[str, dict[str, Any]] = {}
    for relation in found:
        best, name = relation.best, names[relation.group]
        common = {
            **origin,
            "relation": relation.group.relation,
            "direction": relation.group.direction,
            "heads_tried": relation.heads_tried,
        }
        entries[name] = {
            **common,
            "heads": [str(best.head)],
            "accuracy": best.accuracy,
            "interval": list(best.interval),
            "judged_on": best.n,
            "best_offset": best.best_offset,
            "offset_accuracy": best.offset_accuracy,
            "p": best.p,
            "preference": preference_json(best.preference),
        }
        greedy_set = relation.greedy_set
        if greedy_set is not None and greedy_set.gain > 0 and greedy_set.p <= SIGNIFICANT:
            entries[f"{name}-set"] = {
                **common,
                "heads": [str(heads[head]) for head in greedy_set.heads],
                "accuracy": greedy_set.accuracy,
                "judged_on": greedy_set.n,
                "gain": greedy_set.gain,
                "p": greedy_set.p,
            }
    return entries


def suite_text(
    found: Sequence[RelationFigures],
    names: Mapping[ArcGroup, str],
    *,
    suite: str,
    few: Sequence[str] = (),
    untrained: Collection[str] = (),
    source: str,
    model: str,
    site: str,
    languages: Mapping[str, str] = MappingProxyType({}),
    among: Among,
    seed: int,
) -> str:
    """A case file that demands of the model what the scan found, for the relations of one corpus.

    The bounds come from the judged half: an accuracy at the lower end of its Wilson interval and,
    if the head is better than the best fixed distance, half of the difference.

    Args:
        found: the figures in this corpus.
        suite: the name of the suite.
        few: names of relations with too few arcs in this corpus.
        untrained: names of relations that the untrained twin gets right as often.
        source: the corpus as the case file names it, from its own folder.
        languages: the languages of the texts, by their key in a case file.

    Returns:
        The text of the file; empty if there is no relation to judge.
    """
    kind = source.removesuffix(".gz").rpartition(".")[2]
    key = "deprel" if kind == "conllu" else "relation"
    relations: list[dict[str, Any]] = []
    without_bound: list[str] = []
    positional: list[str] = []
    preferring: list[str] = []
    uncompared: list[str] = []
    for figures in found:
        name, relation = names[figures.group], figures.group.relation
        accuracy, above_offset, above_preference = bounds(figures)
        if accuracy <= 0:
            without_bound.append(name)
            continue
        if above_offset <= 0:
            positional.append(name)
        if above_preference <= 0:
            (preferring if _has_control(figures) else uncompared).append(name)
        entry: dict[str, Any] = {
            "id": name,
            "from_corpus": {kind: source, key: relation, "direction": figures.group.direction},
            "heads": f"@{name}",
        }
        if among != "words":
            entry["among"] = among
        if _least_arcs(figures) < LEAST:
            entry["least"] = _least_arcs(figures)
        entry["expect"] = {"accuracy": accuracy}
        if above_offset > 0:
            entry["expect"]["above_best_offset"] = above_offset
        if above_preference > 0:
            entry["expect"]["above_preference"] = above_preference
        relations.append(entry)
    if not relations:
        return ""
    comments = [
        f"# Written by attnprobe scan for {visible(model)}, seed {seed}: heads were chosen on one",
        "# half of the sentences, bounds come from the other half.",
    ]
    for text, ids in (
        ("No better than a fixed distance, so position alone passes", positional),
        ("No better than when another word looks, so a liking for some words passes", preferring),
        (
            "Too few arcs where another word can look, so a liking for some words may pass",
            uncompared,
        ),
        (
            "No better than an untrained twin on the half that both are judged on",
            [entry["id"] for entry in relations if entry["id"] in untrained],
        ),
        ("Left out, for their bound would be zero", without_bound),
        ("Left out, for too few of their arcs are of this corpus", few),
    ):
        if ids:
            comments += textwrap.wrap(
                f"{text}: {', '.join(ids)}.",
                width=96,
                initial_indent="# ",
                subsequent_indent="# ",
                break_on_hyphens=False,
            )
    content = {
        "version": 1,
        "suite": suite,
        "about": "What attnprobe scan found: relations that a head gets right.",
        "defaults": {"site": site, **languages},
        "relations": relations,
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(comments) + "\n" + text


def bounds(figures: RelationFigures) -> tuple[float, float, float]:
    """The bounds for a suite, rounded down to two decimals; 0 for one that cannot be demanded.

    They are an accuracy, a lead over the best fixed distance, and a lead over the same head when
    another word looks. A lead is half of what the scan found, so that a release may lose some of
    it. A suite judges the head on all arcs, so the bounds must hold on these as well.
    """
    overall = figures.overall
    least = min(figures.best.interval.low, overall.accuracy)
    above_offset = 0.0
    if figures.best.above > 0 and max(figures.best.p, overall.p) <= SIGNIFICANT:
        lead = min(figures.best.above, overall.accuracy - overall.offset_accuracy)
        above_offset = max(0.0, lead / 2)
    above_preference = 0.0
    preferences = figures.best.preference, figures.liking
    if _has_control(figures) and all(found and found.p <= SIGNIFICANT for found in preferences):
        lead = min(found.lead for found in preferences if found is not None)
        above_preference = max(0.0, lead / 2)
    least, above_offset, above_preference = (
        math.floor(value * 100) / 100 for value in (least, above_offset, above_preference)
    )
    return least, above_offset, above_preference


def _least_arcs(figures: RelationFigures) -> int:
    """The fewest arcs on which a suite judges the head."""
    return min(LEAST, figures.overall.n)


def _has_control(figures: RelationFigures) -> bool:
    """Whether another word can look on enough arcs to demand a lead over it."""
    if figures.best.preference is None or figures.liking is None:
        return False
    return figures.liking.n >= _least_arcs(figures)
