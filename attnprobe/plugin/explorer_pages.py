"""Writes the explorer of a case beside the HTML report, with the case's verdicts on its maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attnprobe.attention import MOST_WEIGHTS, Attention
from attnprobe.core.errors import AttnprobeError, MeasureError
from attnprobe.core.maps import Mark
from attnprobe.core.printing import harmless
from attnprobe.core.reader import Reader
from attnprobe.core.texts import Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.core.wording import format_number, format_percent
from attnprobe.plugin.report_page import page_link
from attnprobe.render.web.case import ExplorerLink
from attnprobe.run.judging import Judged
from attnprobe.run.runner import Finding


def explorer_links(
    judged: Sequence[Judged], model: Reader, *, folder: Path, anchor: str
) -> list[ExplorerLink | None]:
    """Writes a page for each text of an item; the link of each expectation.

    A page takes another forward pass over its text, since it shows all layers and sites.
    """
    links: list[ExplorerLink | None] = [None] * len(judged)
    texts: dict[Sample, list[int]] = {}
    for place, entry in enumerate(judged):
        if entry.finding.verdict is not None:
            texts.setdefault(entry.case.sample, []).append(place)
    for number, places in enumerate(texts.values(), 1):
        name = f"{anchor}{f'-{number}' if number > 1 else ''}.html"
        marks = {place: mark for place in places for mark in _marks(judged[place].finding)}
        try:
            _write(judged[places[0]], model, list(marks.values()), folder / name)
        except AttnprobeError as error:
            note = f"no explorer: {harmless(str(error))}"
            links[places[0]] = ExplorerLink(note=note)
            continue
        for place in places:
            shown = f"#mark={list(marks).index(place)}" if place in marks else ""
            links[place] = ExplorerLink(page_link(folder, name) + shown)
    return links


def _write(first: Judged, model: Reader, marks: Sequence[Mark], path: Path) -> None:
    """Raises AttnprobeError: the page cannot be written, or would be too large."""
    site = marks[0].site if marks else first.finding.expectation.rule.site
    attention = Attention(model, first.case.sample, site)
    if attention.weight_count > MOST_WEIGHTS:
        raise MeasureError(
            f"the maps of this text have {attention.weight_count:,} weights, more than a page "
            "beside a report may have; attnprobe show writes it"
        )
    attention.page(path, marks=marks)


def _marks(finding: Finding) -> Iterator[Mark]:
    """The verdict on the maps; nothing for a rule whose verdict has no cells there."""
    verdict = finding.verdict
    picture = verdict.picture if verdict else None
    if verdict is None or picture is None or not picture.expected:
        return
    rule = finding.expectation.rule
    yield Mark(
        picture.site,
        picture.heads,
        picture.rows,
        picture.expected,
        picture.contrast,
        label=f"{verdict.outcome}: {rule.kind} {rule.relation()} by {verdict.head}",
        bound=str(verdict.deciding),
        chance=_describe_chance(verdict),
    )


def _describe_chance(verdict: Verdict) -> str:
    if verdict.chance is None or verdict.chance.rate is None:
        return ""
    rate = f"holds for {format_percent(verdict.chance.rate)} of other word pairs"
    if verdict.by_chance is None:
        return rate
    usual = format_number(verdict.by_chance.middle, verdict.deciding.unit)
    return f"{rate}, whose middle number is {usual}"
