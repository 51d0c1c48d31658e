"""What a test report carries: plain data for the results file, HTML for pytest-html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe.attention import draw
from attnprobe.explain import bound, number
from attnprobe.plugin.keys import Judged
from attnprobe.render.table import Finding, expectations_table, picture_figure
from attnprobe.results import ExpectationResult, ModelResult

if TYPE_CHECKING:
    from attnprobe.models import Model

__all__ = ["expectation", "extra", "html", "identity", "model"]


def identity(item: pytest.Item) -> dict[str, Any]:
    """How the results file names an item: a case by its file, a Python probe by its function."""
    path, line, _ = item.location
    found = {"nodeid": item.nodeid, "file": path, "line": (line or 0) + 1}
    case = getattr(item, "case", None)
    if case is not None:
        return found | {
            "id": case.id,
            "row": case.row,
            "suite": case.suite,
            "severity": case.severity,
            "marks": list(case.marks),
        }
    call = getattr(item, "callspec", None)
    return found | {
        "id": getattr(item, "originalname", item.name),
        "row": call.id if call else None,
        "suite": item.path.stem,
        "severity": "blocking",
        "marks": sorted({mark.name for mark in item.iter_markers()} - {"parametrize"}),
    }


def model(loaded: Model) -> ModelResult:
    """The model as the results file describes it."""
    layers = {layer for site in loaded.sites.values() for layer in site.layers}
    return ModelResult(
        name=loaded.name,
        ref=loaded.ref,
        revision=loaded.revision,
        weights_sha256=loaded.weights_sha256,
        tokenizer_sha256=loaded.tokenizer_sha256,
        architecture=loaded.architecture,
        layers=len(layers),
        heads=max(max(site.heads.values()) for site in loaded.sites.values()),
        sites=tuple(loaded.sites),
    )


def expectation(judged: Judged) -> ExpectationResult:
    """One expectation as it stands in the results file."""
    stated, verdict = judged.finding.expectation, judged.finding.verdict
    if verdict is None:
        return ExpectationResult(
            rule=stated.rule.kind,
            arguments=stated.arguments,
            outcome="error",
            message=str(judged.finding.error),
            line=stated.mark.line,
        )
    return ExpectationResult(
        rule=stated.rule.kind,
        arguments=stated.arguments,
        outcome=verdict.outcome,
        message=f"{verdict.measure} {number(verdict.observed)}, demanded {bound(verdict)}",
        line=stated.mark.line,
        measure=verdict.measure,
        observed=verdict.observed,
        relation=verdict.relation,
        demanded=verdict.demanded,
        head=verdict.head,
        heads_tried=verdict.heads_tried,
        sink=verdict.sink,
    )


def extra(content: str) -> dict[str, str]:
    """A piece of HTML as pytest-html takes it."""
    return {"name": "attention", "format_type": "html", "content": content}


def html(judged: Sequence[Judged], *, pictures: bool) -> str:
    """The table of an item's expectations, and under it the picture of each."""
    table = expectations_table([_row(entry) for entry in judged])
    return table + "".join(_figure(entry) for entry in judged if pictures)


def _row(judged: Judged) -> Finding:
    rule, verdict = judged.finding.expectation.rule, judged.finding.verdict
    if verdict is None:
        return Finding(
            rule=rule.kind,
            relation=rule.relation(),
            heads=str(rule.heads),
            observed=str(judged.finding.error),
            demanded="",
            head="",
            sink=None,
            outcome="error",
        )
    return Finding(
        rule=rule.kind,
        relation=rule.relation(),
        heads=str(rule.heads),
        observed=f"{verdict.measure} {number(verdict.observed)}",
        demanded=bound(verdict),
        head=verdict.head,
        sink=verdict.sink,
        outcome=verdict.outcome,
    )


def _figure(judged: Judged) -> str:
    finding, verdict = judged.finding, judged.finding.verdict
    if verdict is None or verdict.picture is None or finding.matrix is None:
        return ""
    if finding.encoding is None:
        return ""
    from attnprobe.render.style import to_svg

    drawing = draw(
        finding.matrix, verdict.picture, finding.encoding, judged.model, judged.case.name
    )
    return picture_figure(to_svg(drawing), finding.expectation.rule.describe())
