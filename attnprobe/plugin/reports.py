"""Makes the data of a test report: records for the results file and properties for JUnit XML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from attnprobe.cases import Case, Relation, Threshold
from attnprobe.core.printing import visible
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import Verdict
from attnprobe.plugin.content import bound_sha256, expectation_sha256
from attnprobe.plugin.keys import Judged
from attnprobe.relations.accuracy import RelationFinding
from attnprobe.results.records import ExpectationResult, ModelResult, text_sha256
from attnprobe.run.explain import DOUBTS, other_bounds

if TYPE_CHECKING:
    from attnprobe.models import Model


# The prefix of the names of JUnit properties.
PROPERTY = "attnprobe."


def model(loaded: Model, name: str, *, asked: str, asked_revision: str | None) -> ModelResult:
    """The record of a model in the results file.

    Args:
        loaded: the model.
        name: its name in the run.
        asked, asked_revision: the reference and the revision that the options of the run give.
    """
    layers = {layer for site in loaded.sites.values() for layer in site.layers}
    return ModelResult(
        name=name,
        ref=loaded.ref,
        revision=loaded.revision,
        weights_sha256=loaded.weights_sha256,
        tokenizer=loaded.tokenizer_ref,
        tokenizer_sha256=loaded.tokenizer_sha256,
        architecture=loaded.architecture,
        layers=len(layers),
        heads=max(max(site.heads.values()) for site in loaded.sites.values()),
        sites=tuple(loaded.sites),
        weights_format=loaded.weights_format,
        remote_code=loaded.remote_code,
        ignored_code=loaded.ignored_code,
        # The option also applies to the hub models of the run; a folder has no revision.
        asked_revision=asked_revision if loaded.revision else None,
        asked=asked,
        device=loaded.device,
        dtype=loaded.dtype,
        source_language=loaded.source_language,
        target_language=loaded.target_language,
    )


def expectation(judged: Judged) -> ExpectationResult:
    """The record of an expectation in the results file."""
    stated, finding = judged.finding.expectation, judged.finding
    alone = ExpectationResult(
        rule=stated.rule.kind,
        arguments=_plain(stated.arguments),
        outcome="error",
        message=str(finding.error),
        line=stated.mark.line,
        head_sets=stated.rule.heads.sets,
        check_sha256=expectation_sha256(finding),
    )
    return _with_verdict(alone, finding.verdict) if finding.verdict else alone


def _with_verdict(alone: ExpectationResult, verdict: Verdict) -> ExpectationResult:
    said = [str(verdict.deciding)]
    said += [DOUBTS[doubt] for doubt in verdict.doubts if doubt != "vacuous"]
    said += other_bounds(verdict)
    said += verdict.ablated
    if verdict.chance is not None:
        said.append(str(verdict.chance))
    return replace(
        alone,
        outcome=verdict.outcome,
        message="; ".join(said),
        bounds=verdict.bounds,
        head=verdict.head,
        heads_tried=verdict.heads_tried,
        chance=verdict.chance,
        sink=verdict.sink,
        ablation=verdict.control,
        confirmed=verdict.confirmed,
        borderline=verdict.borderline,
        unbreakable=verdict.unbreakable,
    )


def text_of(stated: object, judged: Sequence[Judged]) -> str | None:
    """The SHA-256 of the text of a case, or of the first text that a Python probe judged."""
    cases = [stated, *(entry.case for entry in judged)]
    return next((text_sha256(case.sample) for case in cases if isinstance(case, Case)), None)


def unknown_words(judged: Sequence[Judged]) -> list[str]:
    """The words of all texts of an item that become unknown tokens, which the model cannot see."""
    return [word for encoding in encodings(judged) for word in encoding.unknown_words]


def encodings(judged: Sequence[Judged]) -> list[Encoding]:
    """The encoding of each text of an item that the model could take."""
    found = {entry.case.sample: entry.finding.encoding for entry in judged}
    return [encoding for encoding in found.values() if encoding is not None]


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
        found = {"model": model["name"], "revision": model["revision"] or weights}
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
            f"borderline{end}": entry["borderline"] or None,
            f"unbreakable{end}": entry["unbreakable"] or None,
        }
    return [
        (f"{PROPERTY}{name}", visible(str(value)))
        for name, value in found.items()
        if value is not None
    ]


def _ablation(figures: Mapping[str, Any] | None, end: str) -> dict[str, object]:
    if figures is None:
        return {}
    names = ("intact", "ablated", "change", "mean", "spread", "as_much")
    return {f"ablation_{name}{end}": figures[name] for name in names}


def relation(stated: Relation, finding: RelationFinding | None) -> dict[str, Any]:
    """The fields of a relation's record in the results file, without those of its identity.

    Args:
        stated: the relation.
        finding: what was measured; None if it was skipped or there is no model.
    """
    fields: dict[str, Any] = {"relation": stated.describe(), "expectations": []}
    if finding is None:
        return fields
    found = finding.accuracy
    fields["expectations"] = [
        _bound(stated, bound, finding, verdict).as_dict()
        for bound, verdict in zip_longest(stated.bounds, finding.verdicts)
    ]
    if found is None:
        return fields
    preference = found.preference
    return fields | {
        "n": found.n,
        "accuracy": found.share,
        "interval": list(found.interval),
        "best_offset": found.best_offset,
        "offset_accuracy": found.offset_share,
        "offset_p": found.p,
        "preference_n": preference.n if preference else 0,
        "preference_accuracy": preference.share if preference else None,
        "preference_lead": preference.lead if preference else None,
        "preference_p": preference.p if preference else None,
        "among": stated.among,
        "head": found.head,
        "heads_tried": found.heads_tried,
        "chosen_on": found.chosen_on,
        "judged_on": found.n,
        "left_out": dict(found.left_out),
        "unknown_share": found.unknown,
        "notes": list(found.notes),
        "corpus_sha256": found.sha256,
    }


def _bound(
    stated: Relation, bound: Threshold, finding: RelationFinding, verdict: Verdict | None
) -> ExpectationResult:
    """The record of a bound of a relation, in the form of an expectation of a case.

    Args:
        stated: the relation.
        bound: the bound.
        finding: what was measured of the relation.
        verdict: the verdict on the bound; None if the relation could not be measured.
    """
    alone = ExpectationResult(
        rule="relation",
        arguments={bound.name: bound.demanded},
        outcome="error",
        message=str(finding.error),
        line=bound.mark.line,
        head_sets=stated.heads.sets,
    )
    if verdict is None or finding.accuracy is None:
        return alone
    corpus = finding.accuracy.sha256
    digest = bound_sha256(stated, bound.name, bound.demanded, corpus)
    return replace(_with_verdict(alone, verdict), check_sha256=digest)


def _plain(value: Any) -> Any:
    """A value as plain data for JSON and pytest-xdist; a Python probe may state any object."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
    return str(value)
