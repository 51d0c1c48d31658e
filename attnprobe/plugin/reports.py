"""Makes the data of a test report: records for the results file and HTML for pytest-html."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from attnprobe.attention import draw
from attnprobe.cases import Case, Relation, Threshold
from attnprobe.core.charts import Chart, HeadGrid, LayerPanel
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.printing import visible
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import Chance, Verdict
from attnprobe.core.wording import format_interval, format_percent, one_line
from attnprobe.plugin.album import Album
from attnprobe.plugin.content import bound_sha256, expectation_sha256
from attnprobe.plugin.keys import Judged
from attnprobe.relations.accuracy import Accuracy, RelationFinding
from attnprobe.render.web.table import (
    BoundRow,
    ExpectationRow,
    expectations_table,
    folded,
    missing,
    notes,
    picture_figure,
    texts,
)
from attnprobe.results.records import ExpectationResult, ModelResult, text_sha256
from attnprobe.run.explain import DOUBTS, figures, harmless, other_bounds, unknown_line

if TYPE_CHECKING:
    from attnprobe.models import Model


NO_ALBUM = Album(None)
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
    return [word for encoding in _encodings(judged) for word in encoding.unknown_words]


def _encodings(judged: Sequence[Judged]) -> list[Encoding]:
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
            f"borderline{end}": entry["borderline"] or None,
            f"unbreakable{end}": entry["unbreakable"] or None,
        }
    return [
        (f"{PROPERTY}{name}", visible(str(value)))
        for name, value in found.items()
        if value is not None
    ]


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


def relation_html(
    finding: RelationFinding,
    model: str,
    *,
    grid: Callable[[RelationFinding, Accuracy], HeadGrid] | None,
    album: Album = NO_ALBUM,
) -> Markup:
    """HTML with the table of a relation's bounds, its figures and a grid of all heads.

    Args:
        finding: what was measured of the relation.
        model: the name of the model.
        grid: measures the accuracy of single heads; None for no grid.
        album: the cache of pictures.
    """
    stated = ("relation", finding.relation.describe(), str(finding.relation.heads))
    # A relation that could not be measured has one row with its error.
    rows = [_row(*stated, verdict, finding.error) for verdict in finding.verdicts or (None,)]
    gap = finding.relation.xfail
    lines = [f"known gap: {gap}"] if gap else []
    lines += figures(finding.accuracy) if finding.accuracy else []
    table = _or_note("table", lambda: expectations_table(rows) + notes(lines))
    found = finding.accuracy
    if grid is None or found is None:
        return table
    return table + _or_note(
        "picture", lambda: _accuracies(finding, found, grid(finding, found), model, album)
    )


def _accuracies(
    finding: RelationFinding, found: Accuracy, chart: HeadGrid, model: str, album: Album
) -> Markup:
    from attnprobe.render.figures.head_grid import head_grid
    from attnprobe.render.figures.style import to_svg

    relation = finding.relation
    title = f"{model} · {chart.measure} · {relation.id}"
    layers = ", ".join(map(str, chart.layers))
    what = (
        f"each head of layer{'s' * (len(chart.layers) > 1)} {layers}"
        if found.tried is None
        else f"each head that was tried, on the arcs that {found.head} was chosen on"
    )
    svg = album.picture(lambda: to_svg(head_grid(chart, title=title)), chart, title)
    return picture_figure(svg, f"{relation.describe()} · {chart.measure}, {what}")


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


def extra(content: Markup) -> dict[str, str | None]:
    """A piece of HTML in the form that pytest-html accepts."""
    return {
        "name": "attention",
        "format_type": "html",
        "content": str(content),
        "mime_type": None,
        "extension": None,
    }


def html(
    judged: Sequence[Judged],
    *,
    pictured: Callable[[Judged], Judged] | None,
    album: Album = NO_ALBUM,
) -> Markup:
    """HTML with the table of an item's expectations and the pictures of each below it.

    A note replaces a table or a picture that cannot be made, since the verdict does not need it.

    Args:
        judged: the judged expectations of the item.
        pictured: adds the weights that a picture shows; None for no pictures.
        album: the cache of pictures.
    """
    samples = dict.fromkeys(entry.case.sample for entry in judged)
    heading = texts(text for sample in samples for text in sample.texts)
    gap = next((entry.case.xfail for entry in judged if entry.case.xfail), None)
    remarks = [*([f"known gap: {gap}"] if gap else []), *_ablations(judged)]
    remarks += [line for encoding in _encodings(judged) for line in unknown_line(encoding)]
    table = _or_note("table", lambda: expectations_table(list(map(_case_row, judged))))
    table += notes(remarks)
    if pictured is None:
        return heading + table
    return heading + table + Markup().join(_pictures(entry, pictured, album) for entry in judged)


def _or_note(what: str, make: Callable[[], Markup]) -> Markup:
    try:
        return make()
    except Exception as error:  # noqa: BLE001  a rule of another package can raise any error
        return missing(what, harmless(f"{type(error).__name__}: {error}"))


def _case_row(judged: Judged) -> ExpectationRow:
    rule, finding = judged.finding.expectation.rule, judged.finding
    return _row(rule.kind, rule.relation(), str(rule.heads), finding.verdict, finding.error)


def _row(
    rule: str, relation: str, heads: str, verdict: Verdict | None, error: AttnprobeError | None
) -> ExpectationRow:
    """The row of the table for an expectation of a case or a bound of a relation."""
    if verdict is None:
        return ExpectationRow(
            rule=rule,
            relation=relation,
            heads=heads,
            observed=one_line(str(error)),
            demanded="",
            head="",
            chance="",
            sink=None,
            outcome="error",
        )
    return ExpectationRow(
        rule=rule,
        relation=relation,
        heads=heads,
        observed=verdict.deciding.number,
        demanded=verdict.deciding.limit,
        head=verdict.head,
        chance=_rate(verdict.chance),
        sink=verdict.sink,
        outcome=verdict.outcome,
        doubts=tuple(DOUBTS[doubt] for doubt in verdict.doubts if doubt != verdict.outcome),
        other_bounds=tuple(
            BoundRow(bound.number, bound.limit, bound.outcome) for bound in verdict.bounds[1:]
        ),
    )


def _ablations(judged: Sequence[Judged]) -> Iterator[str]:
    """The effects of ablations, compared with those of random heads; a line for each."""
    for entry in judged:
        rule, verdict = entry.finding.expectation.rule, entry.finding.verdict
        if verdict is not None and verdict.control is not None:
            yield f"{rule.kind} {rule.relation()}: {'; '.join(verdict.ablated)}"


def _rate(chance: Chance | None) -> str:
    """A chance rate with its interval, such as `2.0% of 404 (0.9% to 4.9%)`; empty for none."""
    if chance is None:
        return ""
    if chance.rate is None or chance.interval is None:
        return f"too few pairs ({chance.pairs})"
    return f"{format_percent(chance.rate)} of {chance.pairs} ({format_interval(chance.interval)})"


def _pictures(judged: Judged, pictured: Callable[[Judged], Judged], album: Album) -> Markup:
    """The heatmap of an expectation and its charts below it; several charts are folded.

    The panel with all heads of the deciding layer, drawn for a failed word pair, is always folded.
    """
    verdict, encoding = judged.finding.verdict, judged.finding.encoding
    if verdict is None or encoding is None:
        return Markup()
    panels: list[LayerPanel] = []

    def heatmap() -> Markup:
        whole = pictured(judged)
        if whole.finding.panel is not None:
            panels.append(whole.finding.panel)
        return _heatmap(whole, verdict, encoding, album)

    first = _or_note("picture", heatmap)
    drawn = [
        _or_note("picture", functools.partial(_chart, judged, chart, encoding, album))
        for chart in (*verdict.charts, *panels)
    ]
    charts = Markup().join(drawn)
    if len(drawn) < 2 and not panels:
        return first + charts
    summary = f"{len(drawn)} charts" if len(drawn) > 1 else f"all heads of layer {panels[0].layer}"
    return first + folded(summary, charts)


def _heatmap(judged: Judged, verdict: Verdict, encoding: Encoding, album: Album) -> Markup:
    matrix, picture = judged.finding.matrix, verdict.picture
    if picture is None or matrix is None:
        return Markup()

    def drawn() -> str:
        from attnprobe.render.figures.style import to_svg

        return to_svg(draw(matrix, picture, encoding, judged.model, judged.case.name))

    svg = album.picture(drawn, matrix, picture, _labels(encoding), judged.model, judged.case.name)
    return picture_figure(svg, judged.finding.expectation.rule.describe())


def _chart(judged: Judged, chart: Chart, encoding: Encoding, album: Album) -> Markup:
    from attnprobe.render.figures.draw import caption, draw_chart

    title = f"{judged.model} · {caption(chart)} · {judged.case.name}"

    def drawn() -> str:
        from attnprobe.render.figures.style import to_svg

        return to_svg(draw_chart(chart, encoding=encoding, title=title))

    svg = album.picture(drawn, chart, _labels(encoding), title)
    rule = judged.finding.expectation.rule
    return picture_figure(svg, f"{rule.describe()} · {caption(chart)}")


def _labels(encoding: Encoding) -> tuple[object, ...]:
    """The tokens that a picture of this text may show."""
    target = encoding.target.pieces if encoding.target else ()
    return encoding.source.pieces, target
