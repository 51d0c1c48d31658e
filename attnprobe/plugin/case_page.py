"""Makes the part of the HTML report that shows one item, as plain data for pytest-xdist."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import WHOLE_PICTURE, Cells, HeadGrid, Picture
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.printing import harmless
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Encoding, Tokens
from attnprobe.core.verdicts import Chance, Verdict
from attnprobe.core.wording import format_interval, format_percent, one_line
from attnprobe.relations.accuracy import Accuracy, RelationFinding
from attnprobe.render.web.case import (
    BoundRow,
    ChartView,
    ExpectationRow,
    ExpectationView,
    ExplorerLink,
    MarkedText,
    case_body,
    chart_figure,
    expectations_table,
    missing,
)
from attnprobe.render.web.charts import caption, chart_html, panel_html
from attnprobe.render.web.maps import AttentionMap, sentence_parts
from attnprobe.render.web.report import pack_html
from attnprobe.rules.ranges import visible_columns
from attnprobe.run.explain import DOUBTS, figures, unknown_line
from attnprobe.run.judging import Judged
from attnprobe.run.records import encodings
from attnprobe.run.runner import WORD_PAIRS, Finding

# Of a text that is too long for a whole map, this many source tokens with the most weight.
_MOST_COLUMNS = 24


def case_page(
    judged: Sequence[Judged],
    *,
    pictured: Callable[[Judged], Judged] | None,
    failed: bool,
    explorers: Sequence[ExplorerLink | None] = (),
) -> dict[str, Any]:
    """The page data of a case or a Python probe.

    A note replaces a table or a picture that cannot be made, since the verdict does not need it.

    Args:
        judged: the judged expectations of the item.
        pictured: adds the weights that a picture shows; None for no pictures.
        failed: whether the report shows the case without a script as well.
        explorers: the page of each expectation; empty for none.
    """
    samples = dict.fromkeys(entry.case.sample for entry in judged)
    gap = next((entry.case.xfail for entry in judged if entry.case.xfail), None)
    notes = [*([f"known gap: {gap}"] if gap else []), *_ablations(judged)]
    notes += [line for encoding in encodings(judged) for line in unknown_line(encoding)]
    views = [
        replace(_view(entry, pictured), explorer=link)
        for entry, link in zip(judged, explorers or repeat(None), strict=False)
    ]
    table = _or_note("table", lambda: expectations_table([view.row for view in views]))
    body = case_body(views, table=table, notes=notes, with_colours=failed)
    return {
        "text": "\n".join(text for sample in samples for text in sample.texts if text),
        "pairs": [entry.finding.expectation.rule.relation() for entry in judged],
        "body": pack_html(body),
    }


def relation_page(
    finding: RelationFinding,
    *,
    grid: Callable[[RelationFinding, Accuracy], HeadGrid] | None,
) -> dict[str, Any]:
    """The page data of a relation.

    Args:
        grid: measures the accuracy of single heads; None for no grid.
    """
    relation, found = finding.relation, finding.accuracy
    stated = ("relation", relation.describe(), str(relation.heads))
    # A relation that could not be measured has one row with its error.
    verdicts = finding.verdicts or (None,)
    rows = [_row(*stated, verdict, finding.error) for verdict in verdicts]
    views = [
        ExpectationView(row, bound=verdict.deciding if verdict else None)
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    notes = [f"known gap: {relation.xfail}"] if relation.xfail else []
    notes += figures(found) if found else []
    table = _or_note("table", lambda: expectations_table(rows))
    if grid is not None and found is not None:
        table += _or_note("picture", lambda: _accuracies(found, grid(finding, found)))
    return {
        "text": "",
        "pairs": [relation.describe()] * len(rows),
        "body": pack_html(case_body(views, table=table, notes=notes)),
    }


def _accuracies(found: Accuracy, chart: HeadGrid) -> Markup:
    layers = ", ".join(map(str, chart.layers))
    what = (
        f"each head of layer{'s' * (len(chart.layers) > 1)} {layers}"
        if found.tried is None
        else f"each head that was tried, on the arcs that {found.head} was chosen on"
    )
    return chart_figure(ChartView(f"{chart.measure}, {what}", chart_html(chart), folded=False))


def _or_note(what: str, make: Callable[[], Markup]) -> Markup:
    try:
        return make()
    except Exception as error:  # noqa: BLE001  a rule of another package can raise any error
        return missing(what, harmless(f"{type(error).__name__}: {error}"))


def _view(judged: Judged, pictured: Callable[[Judged], Judged] | None) -> ExpectationView:
    finding = judged.finding
    rule, verdict = finding.expectation.rule, finding.verdict
    row = _row(rule.kind, rule.relation(), str(rule.heads), verdict, finding.error)
    if verdict is None or finding.encoding is None:
        return ExpectationView(row)
    lines = _lines(verdict)
    view = ExpectationView(row, bound=verdict.deciding, by_chance=verdict.by_chance, lines=lines)
    try:
        if pictured is None:
            return replace(view, texts=_texts(finding.encoding, finding))
        return _with_pictures(view, pictured(judged).finding, finding.encoding)
    except Exception as error:  # noqa: BLE001  a rule of another package can raise any error
        reason = harmless(f"{type(error).__name__}: {error}")
        return replace(view, lines=(*lines, f"no picture: {reason}"))


def _lines(verdict: Verdict) -> tuple[str, ...]:
    """What else is known of a verdict, in words."""
    known = (verdict.chance, verdict.best_other)
    return tuple(str(fact) for fact in known if fact is not None)


def _with_pictures(view: ExpectationView, finding: Finding, encoding: Encoding) -> ExpectationView:
    """The view with what its finding has to show: the text alone, or map and charts as well."""
    verdict, matrix = finding.verdict, finding.matrix
    assert verdict is not None
    picture = verdict.picture
    sinks = _sinks(encoding, picture.site) if picture else ()
    charts = [*_other_heads(finding, sinks)]
    for chart in verdict.charts:
        drawn = _or_note("picture", functools.partial(chart_html, chart, sinks))
        charts.append(ChartView(caption(chart), drawn, folded=len(verdict.charts) > 1))
    view = replace(
        view, texts=_texts(encoding, finding), charts=tuple(charts), lines=_lines(verdict)
    )
    if picture is None or matrix is None:
        return view
    shown, note = attention_map(matrix, picture, encoding)
    return replace(view, map=shown, note=note)


def attention_map(matrix: Floats, picture: Picture, encoding: Encoding) -> tuple[AttentionMap, str]:
    """The map of a picture, and a note on what it leaves out.

    Of a text that is too long, it has the rows in question and the columns with the most weight.

    Args:
        matrix: mean weights `[target, source]` of the picture's heads.
    """
    queries, keys = encoding.queries(picture.site).pieces, encoding.keys(picture.site).pieces
    rows, columns, note = list(range(len(queries))), list(range(len(keys))), ""
    if len(rows) > WHOLE_PICTURE:
        rows = sorted(picture.rows)
    if len(columns) > WHOLE_PICTURE:
        strongest = np.argsort(-np.nan_to_num(matrix[rows]).max(axis=0), kind="stable")
        kept = {*strongest[:_MOST_COLUMNS].tolist(), *picture.expected, *picture.contrast}
        note = f"the {len(kept)} columns with the most weight, of {len(columns)}"
        columns = sorted(kept)
    visible = _visible(picture, encoding)
    values = np.where(visible, matrix, np.nan)[np.ix_(rows, columns)]
    shown = AttentionMap(
        rows=tuple(queries[row] for row in rows),
        columns=tuple(keys[column] for column in columns),
        values=values.astype(np.float32),
        sinks=_places(_sinks(encoding, picture.site), columns),
        expected=_cells(picture.rows, picture.expected, rows, columns),
        contrast=_cells(picture.rows, picture.contrast, rows, columns),
    )
    return shown, note


def _visible(picture: Picture, encoding: Encoding) -> npt.NDArray[np.bool_]:
    """Which cells the mask of any of the picture's heads shows, `[target, source]`."""
    site = encoding.site(picture.site)
    rows, length = range(len(encoding.queries(picture.site))), len(encoding.keys(picture.site))
    layers = {head.layer for head in picture.heads}
    seen = [visible_columns(site, layer, rows, length) for layer in layers]
    return functools.reduce(np.logical_or, seen)


def _sinks(encoding: Encoding, site: SiteName) -> tuple[int, ...]:
    """Source positions of special tokens and, at a causal site, of the first token."""
    special = encoding.keys(site).special
    causal = encoding.site(site).causal
    return tuple(at for at, role in enumerate(special) if role is not None or (causal and at == 0))


def _places(positions: Sequence[int], kept: Sequence[int]) -> tuple[int, ...]:
    return tuple(kept.index(at) for at in positions if at in kept)


def _cells(
    targets: Sequence[int], sources: Sequence[int], rows: Sequence[int], columns: Sequence[int]
) -> Cells | None:
    return Cells(_places(targets, rows), _places(sources, columns)) if sources else None


def _texts(encoding: Encoding, finding: Finding) -> tuple[MarkedText, ...]:
    """The text of a finding; a word pair is marked, and its row tints the text."""
    picture = finding.verdict.picture if finding.verdict else None
    if picture is None or finding.expectation.rule.kind not in WORD_PAIRS:
        tokens = [encoding.source, *([encoding.target] if encoding.target else [])]
        return tuple(_marked(text, {}) for text in tokens)
    keys = encoding.keys(picture.site)
    marks = dict.fromkeys(picture.contrast, "over") | dict.fromkeys(picture.expected, "to")
    looking = dict.fromkeys(picture.rows, "from")
    row = None
    if finding.matrix is not None:
        seen = np.where(_visible(picture, encoding), finding.matrix, np.nan)[list(picture.rows)]
        row = np.nan_to_num(seen).mean(axis=0)
        row[np.isnan(seen).all(axis=0)] = np.nan
    sinks = _sinks(encoding, picture.site)
    if picture.site == "cross":
        target = encoding.queries(picture.site)
        return _marked(target, looking), _marked(keys, marks, row, sinks)
    return (_marked(keys, marks | looking, row, sinks),)


def _marked(
    tokens: Tokens,
    marks: Mapping[int, str],
    row: Floats | None = None,
    sinks: Sequence[int] = (),
) -> MarkedText:
    special = tuple(at for at, role in enumerate(tokens.special) if role is not None)
    muted = tuple(sorted({*special, *sinks} if row is not None else special))
    if row is None:
        return MarkedText(sentence_parts(tokens), muted, marks)
    words = np.delete(np.nan_to_num(row), list(muted))
    scale = max(float(words.max(initial=0)), 0.001)
    return MarkedText(sentence_parts(tokens), muted, marks, tuple(map(float, row)), scale)


def _other_heads(finding: Finding, sinks: Sequence[int]) -> Iterator[ChartView]:
    """The other heads of the layer, and the word pair in every head that was captured."""
    pair, panel = finding.pair, finding.panel
    if panel is not None:
        numbers = pair.scores[pair.layers.index(panel.layer)].tolist() if pair else None
        drawn = _or_note("picture", lambda: panel_html(panel, sinks, numbers))
        yield ChartView(f"all heads of layer {panel.layer}", drawn)
    if pair is not None and pair.scores.size > 1:
        yield ChartView("the pair in every head", _or_note("picture", lambda: chart_html(pair)))


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
