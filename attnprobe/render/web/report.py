"""The section of the report: the verdict first, then failures, suites, and all cases."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from markupsafe import Markup

from attnprobe.render.web.html import fill, report_piece
from attnprobe.render.web.scripts import script

State = Literal["failed", "error", "vacuous", "borderline", "passed", "gap", "skipped"]
# In the order of their importance: the name, and the badge that it is drawn as.
STATES: Mapping[State, tuple[str, str]] = {
    "failed": ("failed", "failed"),
    "error": ("not measured", "error"),
    "vacuous": ("vacuous", "vacuous"),
    "borderline": ("borderline", "borderline"),
    "passed": ("passed", "passed"),
    "gap": ("known gap", "unjudged"),
    "skipped": ("skipped", "unjudged"),
}
FAILING = ("failed", "error")
_SCRIPTS = ("maps", "report")
# Stands between the details that are packed together; all text of users is free of it.
BETWEEN = "\0"
# The first open cases are drawn at once; the script draws the others when they come in sight.
_AT_ONCE = 10
# Cases in a group, and groups in a room, which the browser draws only where it is in sight.
_GROUP, _ROOM = 10, 5


@dataclass(frozen=True)
class ReportCase:
    """A case, a relation or a Python probe on one model.

    Attributes:
        anchor: the fragment of a link to the case.
        state: its outcome, with the doubts about a case that passes.
        pairs: what the deciding expectation relates: `it → animal over street`.
        finding: the deciding number and its bound, or why nothing was measured.
        text: the texts of the case, for the search and for a page without scripts.
        body: packed details (`pack_html`); empty if there are none.
        page: the address of a page with the details.
        left_out: why there are no details.
    """

    anchor: str
    name: str
    suite: str
    model: str
    place: str
    state: State
    pairs: str
    finding: str
    text: str
    body: str = ""
    page: str = ""
    left_out: str = ""

    @property
    def name_of_state(self) -> str:
        return STATES[self.state][0]

    @property
    def badge(self) -> str:
        return STATES[self.state][1]

    @property
    def fails(self) -> bool:
        return self.state in FAILING


class Segment(NamedTuple):
    """A part of a suite's bar: its badge, its start and width in percent, its text."""

    badge: str
    start: float
    width: float
    text: str


@dataclass(frozen=True)
class SuiteLine:
    """The checks of a suite on a model.

    Attributes:
        counts: the number of checks in each state, in the order of `STATES`.
        hold, interval, heads: how many checks hold, the interval of the rate, the deciding heads.
    """

    suite: str
    model: str
    counts: Mapping[State, int]
    hold: str
    interval: str
    heads: str

    @property
    def badge(self) -> tuple[str, str]:
        """The worst state with its number; known gaps and skipped checks do not count."""
        for state in ("failed", "error", "vacuous", "borderline"):
            if self.counts.get(state):
                name, badge = STATES[state]
                return badge, f"{self.counts[state]} {name}"
        return ("passed", "holds") if self.counts.get("passed") else ("unjudged", "not judged")

    @property
    def segments(self) -> list[Segment]:
        total, start = sum(self.counts.values()) or 1, 0.0
        found = []
        for state, (name, badge) in STATES.items():
            count = self.counts.get(state, 0)
            if count:
                width = 100 * count / total
                plural = "s" if state == "gap" and count > 1 else ""
                found.append(Segment(badge, start, width, f"{count} {name}{plural}"))
                start += width
        return found


@dataclass(frozen=True)
class ReportPage:
    """All that the section shows.

    Attributes:
        verdict: the title of the report.
        sentence: the run in a sentence.
        models: a line for each model.
        notes: complaints about the run.
        hint: what else the run could write about the failures.
    """

    verdict: str
    sentence: str
    models: tuple[str, ...]
    notes: tuple[str, ...]
    suites: tuple[SuiteLine, ...]
    cases: tuple[ReportCase, ...]
    hint: str = ""


class CaseGroup(NamedTuple):
    """Cases whose details are packed together, which takes a third less than each alone.

    Attributes:
        packed: the details, joined by `BETWEEN`; empty if none are packed.
        places: which of these are a case's, by its anchor.
    """

    cases: Sequence[ReportCase]
    packed: str
    places: Mapping[str, int]


def pack_html(html: str) -> str:
    """HTML as base64 of its deflated bytes, which the script of the report unpacks."""
    return base64.b64encode(zlib.compress(html.encode(), 6)).decode()


def unpack_html(packed: str) -> Markup:
    """The HTML of `pack_html`."""
    return Markup(zlib.decompress(base64.b64decode(packed)).decode())


def report_section(page: ReportPage) -> Markup:
    """The first part of the report's section: verdict, failures and suites."""
    failures = [case for case in page.cases if case.fails]
    return report_piece("verdict", page, failures)


def cases_section(page: ReportPage, *, opened: bool = False) -> Markup:
    """The second part: every case, the failing ones or all of them open, and the script."""
    shown = [case for case in page.cases if (case.fails or opened) and case.body]
    bodies = {case.anchor: unpack_html(case.body) for case in shown}
    bodies |= {
        case.anchor: report_piece("drawn_later", case.text, bodies[case.anchor])
        for case in shown[_AT_ONCE:]
    }
    groups = [
        _group(page.cases[start : start + _GROUP], bodies)
        for start in range(0, len(page.cases), _GROUP)
    ]
    rooms = [groups[start : start + _ROOM] for start in range(0, len(groups), _ROOM)]
    suites = list(dict.fromkeys(case.suite for case in page.cases))
    models = list(dict.fromkeys(case.model for case in page.cases))
    states = {
        state: (STATES[state][0], sum(case.state == state for case in page.cases))
        for state in STATES
    }
    element = script(*_SCRIPTS).element
    return report_piece("cases", rooms, bodies, suites, models, states, element)


def _group(cases: Sequence[ReportCase], opened: Collection[str]) -> CaseGroup:
    folded = [case for case in cases if case.body and case.anchor not in opened]
    packed = pack_html(BETWEEN.join(unpack_html(case.body) for case in folded)) if folded else ""
    return CaseGroup(cases, packed, {case.anchor: at for at, case in enumerate(folded)})


def details_page(case: ReportCase) -> str:
    """A page of its own with the details of a case, a complete HTML document."""
    alone = ReportPage("", "", (), (), (), (case,))
    return fill(
        "details.html",
        title=case.name,
        policy=script(*_SCRIPTS).policy,
        section=cases_section(alone, opened=True),
    )


def case_link(anchor: str) -> Markup:
    """The link of a row of pytest-html to the case."""
    return report_piece("case_link", anchor)
