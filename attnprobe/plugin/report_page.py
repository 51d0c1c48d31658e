"""Puts the HTML report's own section together from the results of a run."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attnprobe.core.errors import ResultsError
from attnprobe.core.names import SUFFIX
from attnprobe.core.printing import harmless
from attnprobe.core.wording import plural
from attnprobe.render.web.report import (
    STATES,
    ReportCase,
    ReportPage,
    State,
    SuiteLine,
    details_page,
    unpack_html,
)
from attnprobe.results.files import write_bytes
from attnprobe.results.records import (
    CaseResult,
    ExpectationResult,
    ModelResult,
    Results,
)
from attnprobe.results.summary import in_words, suite_counts

_SLUG = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_SLUG = 60


def anchor_of(nodeid: str) -> str:
    """The fragment of a link to an item: `case-it-animal-3fa9c1`, the same in every run."""
    name = _SLUG.sub("-", nodeid.rpartition("::")[2]).strip("-")[:_LONGEST_SLUG]
    digest = hashlib.sha256(nodeid.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"case-{name}-{digest}"


def pages_folder(report: str) -> Path:
    """The folder of further pages beside a report: `report-pages` beside `report.html`.

    Args:
        report: the report's path as pytest-html takes it.
    """
    path = Path.cwd() / Path(os.path.expandvars(report)).expanduser()
    return path.with_name(f"{path.stem}-pages")


def page_link(folder: Path, name: str) -> str:
    """The link from a report to a page in its folder."""
    return f"{quote(folder.name)}/{quote(name)}"


def verdict_of(results: Results) -> str:
    """The title of the report: `attnprobe: 2 of 355 checks fail`."""
    counts, doubts = results.states(), results.summary()
    failing = counts["failed"]
    # A case file that cannot be read counts as a case without a result.
    unread = sum(name.endswith(SUFFIX) for name in results.unread)
    unmeasured = counts["error"] - unread
    judged = counts["passed"] + failing
    if failing:
        said = f"{failing} of {plural(judged, 'check')} {'fails' if failing == 1 else 'fail'}"
    elif judged:
        said = "the check holds" if judged == 1 else f"all {judged} checks hold"
    else:
        said = "no check was judged"
    parts = [said]
    if unmeasured:
        parts.append(f"{unmeasured} could not be measured")
    if doubts["vacuous"]:
        parts.append(plural(doubts["vacuous"], "holds by chance as well", "hold by chance as well"))
    if results.unread:
        parts.append(f"{plural(len(results.unread), 'file')} could not be read")
    if results.other_failures:
        parts.append(plural(len(results.other_failures), "other test fails", "other tests fail"))
    part = f", {results.part}" if results.part else ""
    return f"attnprobe{part}: {', '.join(parts)}"


def report_page(
    results: Results,
    pages: Mapping[str, Mapping[str, Any]],
    *,
    complaints: Sequence[str],
    budget: int,
    folder: Path | None,
    hint: str = "",
) -> ReportPage:
    """What the report's section shows.

    Args:
        pages: the page data of each item that was judged, by node id.
        complaints: why the run as a whole fails.
        budget: the most bytes of details.
        folder: where details beyond the budget become pages; None leaves them out.
        hint: what else the run could write about the failures.
    """
    items = sorted(results.items, key=lambda item: (_rank(item), item.place))
    cases = _within(budget, [_case(item, pages.get(item.nodeid, {})) for item in items], folder)
    return ReportPage(
        verdict=verdict_of(results),
        sentence=f"{in_words(results)}.",
        models=tuple(map(_describe_model, results.models)),
        notes=(*complaints, *_describe_beyond(cases, budget)),
        suites=tuple(_suites(results.items)),
        cases=cases,
        hint=hint,
    )


def _within(
    budget: int, cases: Sequence[ReportCase], folder: Path | None
) -> tuple[ReportCase, ...]:
    """The cases; those beyond the budget have their details on a page, or none."""
    kept, room = [], budget
    for case in cases:
        # A failing case stands unpacked in the page.
        size = len(unpack_html(case.body).encode()) if case.fails and case.body else len(case.body)
        fits = size <= room
        room -= size if fits else 0
        kept.append(case if fits else _beyond(case, folder))
    return tuple(kept)


def _beyond(case: ReportCase, folder: Path | None) -> ReportCase:
    """The case without its details, which are written to a page of the folder if there is one."""
    bare = replace(case, body="")
    if folder is None:
        return replace(bare, left_out="its details are beyond the budget of the report")
    name = f"{case.anchor}-details.html"
    try:
        write_bytes(folder / name, details_page(case).encode("utf-8", "backslashreplace"))
    except ResultsError as error:
        return replace(bare, left_out=f"no details: {harmless(str(error))}")
    return replace(bare, page=page_link(folder, name))


def _describe_beyond(cases: Sequence[ReportCase], budget: int) -> Iterator[str]:
    linked = sum(bool(case.page) for case in cases)
    left = sum(bool(case.left_out) for case in cases)
    for count, what in ((linked, "on pages of their own"), (left, "left out")):
        if count:
            yield (
                f"the details of {plural(count, 'case')} are {what}, since they are beyond the "
                f"{budget / 1e6:g} MB of --attn-report-budget"
            )


def state_of(item: CaseResult) -> State:
    """The outcome of an item; one that passes with a doubt has the name of the doubt."""
    if item.state != "passed":
        return item.state
    outcomes = {entry.outcome for entry in item.expectations}
    return (
        "vacuous"
        if "vacuous" in outcomes
        else "borderline"
        if "borderline" in outcomes
        else "passed"
    )


def _rank(item: CaseResult) -> int:
    return list(STATES).index(state_of(item))


def _case(item: CaseResult, page: Mapping[str, Any]) -> ReportCase:
    at, entry = _deciding(item)
    pairs = page.get("pairs", ())
    return ReportCase(
        anchor=anchor_of(item.nodeid),
        name=item.name,
        suite=item.suite,
        model=item.model,
        place=f"{item.file}:{item.line}",
        state=state_of(item),
        pairs=pairs[at] if at < len(pairs) else "",
        finding=_finding(item, entry),
        text=page.get("text", ""),
        body=page.get("body", ""),
    )


def _deciding(item: CaseResult) -> tuple[int, ExpectationResult | None]:
    """The expectation that a line about the item shows: the worst, the first of equals."""
    order = ("error", "failed", "vacuous", "borderline", "passed")
    worst = min(
        enumerate(item.expectations),
        key=lambda entry: (order.index(entry[1].outcome), entry[0]),
        default=None,
    )
    return worst or (0, None)


def _finding(item: CaseResult, entry: ExpectationResult | None) -> str:
    if item.outcome == "xpassed":
        return "a known gap that holds now"
    if entry is None:
        return item.error or ""
    if entry.deciding is None:
        return entry.message.partition("\n")[0]
    failing = sum(found.outcome in ("failed", "error") for found in item.expectations)
    more = f"; {failing} of {len(item.expectations)} expectations fail" if failing > 1 else ""
    return f"{entry.deciding}{more}"


def _suites(items: Iterable[CaseResult]) -> Iterable[SuiteLine]:
    items = tuple(items)
    counts: dict[tuple[str, str], Counter[State]] = {}
    for item in items:
        counts.setdefault((item.suite, item.model), Counter())[state_of(item)] += 1
    for count in suite_counts(items):
        yield SuiteLine(
            count.suite,
            count.model,
            counts[count.suite, count.model],
            count.hold,
            count.interval,
            count.deciding,
        )


def _describe_model(model: ModelResult) -> str:
    weights = model.revision or (
        f"sha256:{model.weights_sha256[:12]}" if model.weights_sha256 else ""
    )
    facts = [
        f"{model.name}: {model.architecture}",
        f"{model.layers} layers of {model.heads} heads",
        f"{model.dtype} on {model.device}",
        model.quantised,
        weights,
    ]
    return ", ".join(fact for fact in facts if fact)
