"""Gathers what the reports carry, on the controller alone under pytest-xdist."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnprobe.compare.changes import Comparison, compare_models
from attnprobe.compare.describe import change_rows, counts_line, lines, suite_rows
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import PROTECTED, SUFFIX
from attnprobe.core.wording import join_names, plural
from attnprobe.plugin.baseline import Baseline, Compared
from attnprobe.plugin.keys import (
    REPORT,
    selection_of,
)
from attnprobe.plugin.options import settings
from attnprobe.plugin.order_control import habits_of
from attnprobe.plugin.uncollected import uncollected
from attnprobe.render.changes import changes_section
from attnprobe.render.overview import overview_section
from attnprobe.results.environment import environment
from attnprobe.results.files import is_same, write_json
from attnprobe.results.records import (
    CaseOutcome,
    CaseResult,
    ModelResult,
    OrderResult,
    RelationResult,
    Results,
)
from attnprobe.results.summary import in_words, suite_counts
from attnprobe.run.explain import harmless

# pytest went through all that was to run, whatever came of it.
_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
_EXECUTED = ("passed", "failed", "error", "xpassed")


class _Untouched(int):
    """An exit status that can be told from an equal one, which a plugin sets in its place.

    To other plugins it looks as pytest's own.
    """

    def __repr__(self) -> str:
        return repr(pytest.ExitCode(int(self)))

    def __getattr__(self, name: str) -> object:
        return getattr(pytest.ExitCode(int(self)), name)


class Ledger:
    """Writes the results file, compares, and fails a run that must not pass as it is.

    A strict run that judged nothing or left cases out fails, and one beyond the limits of a
    comparison. What fails a run but no test is noted: beside a failed test nothing else shows it.
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
        # With strict or a baseline in the ini file, a run of other tests alone is no mistake.
        self._may_be_empty = "strict" not in chosen.given
        self._asked = bool({"save", "compare"} & chosen.given)
        self._cases: dict[str, dict[str, Any]] = {}
        self._relations: set[str] = set()
        self._models: dict[str, dict[str, Any]] = {}
        # Suites with a case that runs on any model, and those with one that names its model.
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
            if facts["is_relation"]:
                self._relations.add(report.nodeid)
            (self._bound if facts["is_bound"] else self._free).add(facts["case"]["suite"])
            if facts["model"]:
                self._note_model(facts["model"])
            self._collected = facts["collected"]
        if report.failed:
            self._failed.add(report.nodeid)
        elif str(report.outcome) == "rerun":
            # By pytest-rerunfailures, which takes back what failed so far.
            self._failed.discard(report.nodeid)
        case = self._cases.get(report.nodeid)
        if case is not None:
            case["duration_s"] += report.duration
            case["outcome"] = _outcome(report) or case["outcome"]
            if _is_unmeasured(report, case):
                case["error"] = _cause(report)

    def _note_model(self, facts: dict[str, Any]) -> None:
        """Notes a model, of whose workers each may have a device of its own."""
        known = self._models.get(facts["name"], facts)
        self._models[facts["name"]] = facts | {
            key: _together([known[key], facts[key]]) for key in ("device", "dtype")
        }

    def pytest_runtest_logfinish(self) -> None:
        self._count(False)

    def _count(self, reported: bool) -> None:
        """Notes what pytest counts as failed beyond the failures that it reports.

        The session has counted a report before any other plugin gets it. A plugin that runs a test
        again may take a failure back.
        """
        counted = self._session.testsfailed
        self._unreported += max(counted - self._counted - reported, 0)
        self._counted = counted

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            return (yield)
        except session.Failed as stop:
            most = session.config.getoption("maxfail") or 0
            if not 0 < most <= session.testsfailed:  # as -x stops it
                self._complain(session, f"a plugin stopped the run as failed: {stop}")
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        self._found = self._finish(session)
        ended = session.exitstatus
        session.exitstatus = untouched = _Untouched(ended)
        try:
            return (yield)
        except BaseException as error:
            self.broke_off(error)
            raise
        finally:
            code = int(session.exitstatus)
            if session.exitstatus is untouched:
                session.exitstatus = ended
            elif code:
                self._add(f"a plugin set the exit code to {code} when the run was over")

    def broke_off(self, error: BaseException) -> None:
        """Notes what another plugin raised when the run was over."""
        self._add(f"the end of the run failed: {error!r}")

    def _add(self, complaint: str) -> None:
        """Tells what went wrong after all else was told and written."""
        if self._found is None or complaint in self._complaints:
            return
        self._complaints.append(complaint)
        self._write(self._session, replace(self._found, complaints=tuple(self._complaints)))
        terminal = self._session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(f"attnprobe: {harmless(complaint)}", red=True)

    def _finish(self, session: pytest.Session) -> Results:
        """Gathers what the run found, compares and saves it."""
        self._count(False)
        if self._unreported:
            self._complain(
                session,
                f"pytest counts {plural(self._unreported, 'failure')} more than it reported: "
                "a plugin failed the run, as --cov-fail-under does",
            )
        nothing = all(case["outcome"] not in _EXECUTED for case in self._cases.values())
        if self._strict and nothing and (self._cases or not self._may_be_empty):
            self._complain(session, "no probe was judged, which a strict run does not let pass")
        selection = selection_of(session.config)
        if self._strict and selection.absent:
            self._complain(session, "a strict run lets no case go for want of its model")
        habits = habits_of(session.config)
        found = Results(
            environment=environment(
                device=_together(model["device"] for model in self._models.values()),
                dtype=_together(model["dtype"] for model in self._models.values()),
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
            # A case file that cannot be read leaves no record: whoever compares the number
            # executed with the number collected must see that it is missing.
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
            # A case that took its worker with it is missed by the count of those executed.
            other_failures=tuple(
                nodeid
                for nodeid in self._failed - self._cases.keys()
                if not nodeid.partition("::")[0].endswith(SUFFIX)
            ),
            unread=tuple(self._unread),
            uncollected=uncollected(session.config, {*selection.collected, *selection.left_out}),
        )
        try:
            if self._cases or self._broken_files or self._asked:
                self._conclude(session, found)
        finally:
            self._write(session, replace(found, complaints=tuple(self._complaints)))
        return found

    def _write(self, session: pytest.Session, found: Results) -> None:
        """Writes the results file, if one was asked for."""
        if self._path is None:
            return
        try:
            write_json(self._path, found.to_json())
        except ResultsError as error:
            self._path = None
            self._complain(session, str(error))

    def _conclude(self, session: pytest.Session, found: Results) -> None:
        """Compares and saves the run, as far as it was asked for and is whole."""
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
                # The next run would be compared with what was just found wanting.
                unfinished = unfinished or "it would replace the one that the run differs from"
            refused = self._baseline.save(found, unfinished=unfinished)
            if refused:
                self._complain(session, refused)
            else:
                self._saved = self._chosen.save
        first, *others = self._chosen.models or [""]
        if others and self._chosen.all_models and not unfinished:
            with contextlib.suppress(ResultsError):  # two probes of one name cannot be told apart
                self._between = [
                    (first, other, compare_models(found, first, other)) for other in others
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
        if self._path is not None:
            terminalreporter.write_sep("-", f"attnprobe results: {self._path}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        if self._found is not None and self._found.items:
            suites = suite_counts(self._found.items)
            prefix.append(str(overview_section(f"{in_words(self._found)}.", suites)))
        for title, comparison, notes in self._comparisons():
            section = changes_section(
                title,
                summary=counts_line(comparison),
                rows=change_rows(comparison),
                suites=suite_rows(comparison),
                notes=(*self._complaints, *comparison.warnings, *notes),
            )
            prefix.append(str(section))

    def _comparisons(self) -> Iterator[tuple[str, Comparison, list[str]]]:
        """Title, comparison and notes: with the baseline, then between the models of the run."""
        if self._compared is not None:
            yield (
                f"compared with {self._chosen.compare}",
                self._compared.comparison,
                list(_notes(self._compared)),
            )
        for first, other, comparison in self._between:
            yield f"model {other} compared with {first}", comparison, []

    def _complain(self, session: pytest.Session, complaint: str) -> None:
        self._complaints.append(complaint)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _notes(compared: Compared) -> Iterator[str]:
    """What the baseline has and the run has not."""
    for change in compared.stale:
        yield f"stale: {change.key.place} is in the baseline, but no case is left of it"
    count = len(compared.unselected)
    if count:
        yield f"{plural(count, 'entry', 'entries')} of the baseline not selected by this run"


def _together(told: Iterable[str]) -> str | None:
    """Devices or number types, each once: `cuda:0, cuda:1`; None where there are none."""
    return ", ".join(sorted({one for text in told for one in text.split(", ")})) or None


def _is_unmeasured(report: pytest.TestReport, case: dict[str, Any]) -> bool:
    """Whether a test ended before anything of it was measured; an xfail covers that as well."""
    in_setup = report.failed and report.when == "setup"
    return not case["expectations"] and (in_setup or _outcome(report) == "xfailed")


def _cause(report: pytest.TestReport) -> str | None:
    """The first line of what pytest says of a failure."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext if crash is None else crash.message
    first = next(filter(str.strip, text.splitlines()), "").strip()
    return first.removeprefix("Failed: ").removeprefix("_pytest.outcomes.XFailed: ") or None


def _outcome(report: pytest.TestReport) -> CaseOutcome | None:
    """The outcome in pytest's words; None for a phase that went well and decides nothing."""
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
