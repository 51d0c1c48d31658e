"""Collects the data of all reports, writes the results file and compares the run.

Under pytest-xdist only the controller has a ledger.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnprobe.compare.changes import Comparison, compare_models
from attnprobe.compare.describe import change_rows, counts_line, lines, suite_rows
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import FOR_PARENT, PROTECTED, SUFFIX
from attnprobe.core.printing import harmless
from attnprobe.core.wording import join_distinct, join_names, plural
from attnprobe.plugin.baseline import Baseline, Compared
from attnprobe.plugin.keys import (
    REPORT,
    selection_of,
)
from attnprobe.plugin.options import settings
from attnprobe.plugin.order_control import habits_of
from attnprobe.plugin.part import part_record
from attnprobe.plugin.report_page import pages_folder, report_page
from attnprobe.plugin.uncollected import uncollected
from attnprobe.render.web.changes import changes_section
from attnprobe.render.web.report import ReportPage, cases_section, report_section
from attnprobe.results.environment import environment
from attnprobe.results.files import is_same
from attnprobe.results.records import (
    CaseOutcome,
    CaseResult,
    ModelResult,
    OrderResult,
    RelationResult,
    Results,
)
from attnprobe.run.judging import EXECUTED, strict_complaints

# The exit codes of a run that pytest went through to its end, whether or not tests failed.
_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
_EXPLORER_HINT = (
    "--attn-explorer=failed writes a page of all heads for each of them, linked from its case"
)
# The outcomes whose rows pytest-html's table folds; it also folds failing rows if there are many.
_FOLDED_ROWS = ["passed", "xfailed", "skipped"]
MOST_OPEN_ROWS = 50


class _MarkedStatus(int):
    """An exit status whose identity shows whether a plugin replaced it, even by an equal one.

    To other plugins it looks like an `ExitCode` of pytest.
    """

    def __repr__(self) -> str:
        return repr(pytest.ExitCode(int(self)))

    def __getattr__(self, name: str) -> object:
        return getattr(pytest.ExitCode(int(self)), name)


class Ledger:
    """Writes the results file, compares the run, and fails a run that must not pass.

    A strict run fails if it judged nothing or left out cases for want of a model. Any run fails if
    it exceeds the limits of a comparison. The ledger also records failures of the run that belong
    to no test, such as a plugin's, since a failed test would hide them.
    """

    def __init__(self, config: pytest.Config) -> None:
        chosen = settings(config)
        self._chosen = chosen
        self._path = chosen.json
        protected = os.environ.get(PROTECTED)
        if chosen.save is not None and protected and is_same(chosen.save, Path(protected)):
            raise pytest.UsageError(
                f"--attn-save would replace the baseline of the gate's policy, {chosen.save}, "
                "before the gate has judged; write attnprobe gate --keep FILE"
            )
        self._strict = chosen.strict
        self._baseline = Baseline(config, chosen)
        # With `strict` or a baseline in the ini file alone, a run without probes is no mistake.
        self._may_be_empty = "strict" not in chosen.given
        self._needs_probes = bool({"save", "compare"} & chosen.given)
        self._cases: dict[str, dict[str, Any]] = {}
        # What the HTML report shows of each item, and pytest-html's own object for its title.
        self._pages: dict[str, dict[str, Any]] = {}
        self._html: Any = None
        self._relations: set[str] = set()
        self._models: dict[str, dict[str, Any]] = {}
        # Suites that have a case for any model, and suites that have a case for a certain model.
        self._free: set[str] = set()
        self._bound: set[str] = set()
        self._failed: set[str] = set()
        self._counted = 0
        self._unreported = 0
        self._found: Results | None = None
        self._collected = 0
        self._broken_files: set[str] = set()
        self._unread: set[str] = set()
        self._stopped = False
        self._complaints: list[str] = []
        self._saved: Path | None = None
        self._compared: Compared | None = None
        self._between: list[tuple[str, str, Comparison]] = []

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session
        self._baseline.read()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._count(report.failed)
        if report.failed:
            self._unread.add(report.nodeid)
            if report.nodeid.endswith(SUFFIX):
                self._broken_files.add(report.nodeid)

    def pytest_keyboard_interrupt(self) -> None:
        self._stopped = True

    def pytest_internalerror(self) -> None:
        self._stopped = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._count(report.failed and not hasattr(report, "wasxfail"))
        facts = getattr(report, REPORT, None)
        if facts is not None:
            self._cases[report.nodeid] = facts["case"] | {"duration_s": 0.0}
            self._pages[report.nodeid] = facts["page"] or {}
            if facts["is_relation"]:
                self._relations.add(report.nodeid)
            (self._bound if facts["is_bound"] else self._free).add(facts["case"]["suite"])
            if facts["model"]:
                self._note_model(facts["model"])
            self._collected = facts["collected"]
        if report.failed:
            self._failed.add(report.nodeid)
        elif str(report.outcome) == "rerun":
            # pytest-rerunfailures runs the test again, so its failure does not count.
            self._failed.discard(report.nodeid)
        case = self._cases.get(report.nodeid)
        if case is not None:
            case["duration_s"] += report.duration
            case["outcome"] = _outcome(report) or case["outcome"]
            if _is_unmeasured(report, case):
                case["error"] = _cause(report)

    def _note_model(self, facts: dict[str, Any]) -> None:
        """Records a model with the devices and number types of all workers."""
        known = self._models.get(facts["name"], facts)
        self._models[facts["name"]] = facts | {
            key: join_distinct([known[key], facts[key]]) for key in ("device", "dtype")
        }

    def pytest_runtest_logfinish(self) -> None:
        self._count(False)

    def _count(self, reported: bool) -> None:
        """Counts failures of the session that no report explains.

        The session counts a failed report before other plugins get it. The count can fall, since a
        plugin that runs a test again may take a failure back.

        Args:
            reported: whether the present report is a failure.
        """
        failures = self._session.testsfailed
        self._unreported += max(failures - self._counted - reported, 0)
        self._counted = failures

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            return (yield)
        except session.Failed as stop:
            most = session.config.getoption("maxfail") or 0
            if not 0 < most <= session.testsfailed:  # neither -x nor --maxfail stopped it
                self._complain(session, f"a plugin stopped the run as failed: {stop}")
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        self._found = self._finish(session)
        ended = session.exitstatus
        session.exitstatus = marked = _MarkedStatus(ended)
        try:
            return (yield)
        except BaseException as error:
            self.note_crash(error)
            raise
        finally:
            code = int(session.exitstatus)
            if session.exitstatus is marked:
                session.exitstatus = ended
            elif code:
                self._complain_late(f"a plugin set the exit code to {code} when the run was over")

    def note_crash(self, error: BaseException) -> None:
        """Records what another plugin raised after the run was over."""
        self._complain_late(f"the end of the run failed: {error!r}")

    def _complain_late(self, complaint: str) -> None:
        """Prints a complaint about the end of the run and writes the results file again with it."""
        if self._found is None or complaint in self._complaints:
            return
        self._complaints.append(complaint)
        self._write(self._session, replace(self._found, complaints=tuple(self._complaints)))
        terminal = self._session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(f"attnprobe: {harmless(complaint)}", red=True)

    def _finish(self, session: pytest.Session) -> Results:
        """Makes the results of the run; compares, saves and writes them."""
        self._count(False)
        if self._unreported:
            self._complain(
                session,
                f"pytest counts {plural(self._unreported, 'failure')} more than it reported: "
                "a plugin failed the run, as --cov-fail-under does",
            )
        selection = selection_of(session.config)
        if self._strict and self._chosen.part.whole:  # a part may have nothing to judge
            judged = any(case["outcome"] in EXECUTED for case in self._cases.values())
            may_be_empty = self._may_be_empty and not self._cases
            for complaint in strict_complaints(judged or may_be_empty, selection.absent):
                self._complain(session, complaint)
        habits = habits_of(session.config)
        found = Results(
            environment=environment(
                device=join_distinct(model["device"] for model in self._models.values()),
                dtype=join_distinct(model["dtype"] for model in self._models.values()),
            ),
            models=tuple(map(ModelResult.from_dict, self._models.values())),
            cases=tuple(
                CaseResult.from_dict(case)
                for nodeid, case in self._cases.items()
                if nodeid not in self._relations
            ),
            relations=tuple(
                RelationResult.from_dict(self._cases[nodeid]) for nodeid in self._relations
            ),
            # A case file that cannot be read leaves no record. It counts as collected, so that
            # fewer are executed than collected.
            collected=self._collected + len(self._broken_files),
            absent=selection.absent,
            absent_suites=tuple(selection.absent_suites),
            deselected=len(selection.deselected),
            left_out=tuple(
                Path(os.path.relpath(file, session.config.rootpath)).as_posix()
                for file in selection.left_out
            ),
            order=tuple(OrderResult(**vars(habit)) for habit in habits),
            given=self._chosen.candidates,
            bound=tuple(self._bound - self._free),
            # A case file's id without a record is a case that crashed its worker; the number of
            # executed cases shows it.
            other_failures=tuple(
                nodeid
                for nodeid in self._failed - self._cases.keys()
                if not nodeid.partition("::")[0].endswith(SUFFIX)
            ),
            unread=tuple(self._unread),
            uncollected=uncollected(session.config, {*selection.collected, *selection.left_out}),
            part=None
            if self._chosen.part.whole
            else part_record(
                session.config,
                broken=len(self._broken_files),
                free=sorted(self._free),
                bound=sorted(self._bound),
            ),
        )
        try:
            if self._cases or self._broken_files or self._needs_probes:
                self._compare_and_save(session, found)
        finally:
            self._write(session, replace(found, complaints=tuple(self._complaints)))
        return found

    def _write(self, session: pytest.Session, found: Results) -> None:
        """Writes the results file if --attn-json names one."""
        if self._path is None:
            return
        try:
            found.write(self._path)
        except ResultsError as error:
            self._path = None
            self._complain(session, str(error))

    def _compare_and_save(self, session: pytest.Session, found: Results) -> None:
        """Compares and saves the run if the options say so and it is whole."""
        unfinished = self._unfinished(session, found)
        differs = False
        if self._baseline.compares:
            try:
                if unfinished:
                    raise ResultsError(unfinished)
                self._compared = self._baseline.compare(found)
            except ResultsError as error:
                differs = True
                self._complain(session, f"nothing was compared: {error}")
        for complaint in self._compared.complaints if self._compared else ():
            differs = True
            self._complain(session, complaint)
        if self._chosen.save is not None:
            if differs and self._chosen.save == self._chosen.compare:
                # Otherwise the next run would be compared with this faulty one.
                unfinished = unfinished or "it would replace the one that the run differs from"
            refused = self._baseline.save(found, unfinished=unfinished)
            if refused:
                self._complain(session, refused)
            else:
                self._saved = self._chosen.save
        first, *further = self._chosen.models or [""]
        if further and self._chosen.all_models and self._chosen.part.whole and not unfinished:
            with contextlib.suppress(ResultsError):  # two probes may share a name
                self._between = [
                    (first, model, compare_models(found, first, model)) for model in further
                ]

    def _unfinished(self, session: pytest.Session, found: Results) -> str | None:
        """Why the run is not whole; None if it is."""
        if self._stopped or session.exitstatus not in _WHOLE:
            return "the run was interrupted"
        if session.shouldfail or session.shouldstop:
            return "the run stopped at a failure"
        if self._unread:
            return f"{join_names(sorted(self._unread), 3)} could not be collected"
        if found.missing:
            return f"{found.missing} of {found.collected} cases left no result"
        return None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for complaint in self._complaints:
            terminalreporter.write_line(f"attnprobe: {harmless(complaint)}", red=True)
        for title, comparison, notes in self._comparisons():
            terminalreporter.write_sep("-", harmless(f"attnprobe: {title}"))
            for line in (*lines(comparison), *notes):
                terminalreporter.write_line(harmless(line))
        blind = [item for item in self._found.items if item.unknown_words] if self._found else []
        if blind:
            first = blind[0]
            terminalreporter.write_line(
                harmless(
                    f"attnprobe: the texts of {plural(len(blind), 'check')} have words that the "
                    f"model cannot see (unknown tokens), such as {first.unknown_words[0]} in "
                    f"{first.address}"
                ),
                yellow=True,
            )
        if self._saved is not None:
            terminalreporter.write_sep("-", harmless(f"attnprobe baseline: {self._saved}"))
        if self._path is not None and str(self._path) != os.environ.get(FOR_PARENT):
            terminalreporter.write_sep("-", f"attnprobe results: {self._path}")

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_html_report_title(self, report: Any) -> None:
        self._html = report
        self._untitled = report.title
        # The section shows what known gaps and skipped tests are; their rows stay folded.
        if report.data["renderCollapsed"] == ["passed"]:
            report.set_data("renderCollapsed", _FOLDED_ROWS)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        shown = None
        if self._found is not None and self._found.items:
            shown = report_page(
                self._found,
                self._pages,
                complaints=self._complaints,
                budget=self._chosen.report_budget,
                folder=self._pages_folder,
                hint=_EXPLORER_HINT if self._chosen.explorer == "none" else "",
            )
            if self._html is not None:
                self._head_report(self._html, shown)
            prefix.append(str(report_section(shown)))
        for title, comparison, notes in self._comparisons():
            section = changes_section(
                title,
                summary=counts_line(comparison),
                rows=change_rows(comparison),
                suites=suite_rows(comparison),
                notes=(*self._complaints, *comparison.warnings, *notes),
            )
            prefix.append(str(section))
        if shown is not None:
            prefix.append(str(cases_section(shown)))

    def _head_report(self, report: Any, shown: ReportPage) -> None:
        """Gives pytest-html's page the verdict as its title, and folds many failing rows."""
        if report.title == self._untitled:
            report.title = shown.verdict
        many = sum(case.fails for case in shown.cases) > MOST_OPEN_ROWS
        if many and report.data["renderCollapsed"] == _FOLDED_ROWS:
            report.set_data("renderCollapsed", [*_FOLDED_ROWS, "failed", "error"])

    @property
    def _pages_folder(self) -> Path | None:
        """The folder of pages beside the report; None if the report is to be one file."""
        config = self._session.config
        if config.getoption("self_contained_html"):
            return None
        return pages_folder(config.getoption("htmlpath"))

    def _comparisons(self) -> Iterator[tuple[str, Comparison, list[str]]]:
        """Yields title, comparison and notes: of the baseline first, then of each further model."""
        if self._compared is not None:
            yield (
                f"compared with {self._chosen.compare}",
                self._compared.comparison,
                list(_notes(self._compared)),
            )
        for first, model, comparison in self._between:
            yield f"model {model} compared with {first}", comparison, []

    def _complain(self, session: pytest.Session, complaint: str) -> None:
        self._complaints.append(complaint)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _notes(compared: Compared) -> Iterator[str]:
    """Notes on entries of the baseline that the run lacks."""
    for change in compared.stale:
        yield f"stale: {change.key.place} is in the baseline, but no case is left of it"
    count = len(compared.unselected)
    if count:
        yield f"{plural(count, 'entry', 'entries')} of the baseline not selected by this run"


def _is_unmeasured(report: pytest.TestReport, case: dict[str, Any]) -> bool:
    """Whether a test ended before it measured anything, also under an xfail."""
    in_setup = report.failed and report.when == "setup"
    return not case["expectations"] and (in_setup or _outcome(report) == "xfailed")


def _cause(report: pytest.TestReport) -> str | None:
    """The first line of pytest's message about a failure; None if it has none."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext if crash is None else crash.message
    first = next(filter(str.strip, text.splitlines()), "").strip()
    return first.removeprefix("Failed: ").removeprefix("_pytest.outcomes.XFailed: ") or None


def _outcome(report: pytest.TestReport) -> CaseOutcome | None:
    """The outcome in pytest's words; None for a passed setup or teardown, which decides nothing."""
    if report.when in ("setup", "teardown"):
        if report.passed:
            return None
        if report.failed:
            return "error"
    if hasattr(report, "wasxfail"):
        return "xpassed" if report.passed else "xfailed"
    if report.passed:
        return "passed"
    return "failed" if report.failed else "skipped"
