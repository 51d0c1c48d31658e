"""Makes the records of the results file from what was measured and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from attnprobe.cases import Case, Relation, Threshold
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import Verdict
from attnprobe.relations.accuracy import RelationFinding
from attnprobe.results.records import ExpectationResult, ModelResult, text_sha256
from attnprobe.run.content import bound_sha256, expectation_sha256
from attnprobe.run.explain import DOUBTS, other_bounds
from attnprobe.run.judging import Judged

if TYPE_CHECKING:
    from attnprobe.models import Model


def model_record(
    loaded: Model, name: str, *, asked: str, asked_revision: str | None = None
) -> ModelResult:
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
        base_sha256=loaded.base_sha256,
        adapter_sha256=loaded.adapter_sha256,
        quantised=loaded.quantised,
        device_map=loaded.device_map,
    )


def measured(
    stated: object, judged: Sequence[Judged], related: RelationFinding | None
) -> dict[str, Any]:
    """The fields of the record of a case, a relation or a Python probe that measuring fills.

    Args:
        stated: the case or relation; anything else for a probe.
        judged: the expectations that were judged.
        related: the finding of a relation; None if it was skipped or there is no model.
    """
    if isinstance(stated, Relation):
        return _of_relation(stated, related)
    return {
        "expectations": [expectation(entry).as_dict() for entry in judged],
        "text_sha256": _text_of(stated, judged),
        "unknown_words": [word for read in encodings(judged) for word in read.unknown_words],
        "generated": [
            read.sample.answer.text for read in encodings(judged) if read.sample.answer is not None
        ],
    }


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
        best_other=verdict.best_other,
    )


def _text_of(stated: object, judged: Sequence[Judged]) -> str | None:
    """The SHA-256 of the text of a case, or of the first text that a Python probe judged."""
    cases = [stated, *(entry.case for entry in judged)]
    return next((text_sha256(case.sample) for case in cases if isinstance(case, Case)), None)


def encodings(judged: Sequence[Judged]) -> list[Encoding]:
    """The encoding of each text of an item that the model could take."""
    found = {entry.case.sample: entry.finding.encoding for entry in judged}
    return [encoding for encoding in found.values() if encoding is not None]


def _of_relation(stated: Relation, finding: RelationFinding | None) -> dict[str, Any]:
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
