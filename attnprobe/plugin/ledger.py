"""Gathers what the reports carry, on the controller alone under pytest-xdist."""

from __future__ import annotations

from typing import Any

import pytest

from attnprobe.errors import ResultsError
from attnprobe.names import SUFFIX
from attnprobe.plugin.keys import REPORT, absent_key
from attnprobe.plugin.options import settings
from attnprobe.results import (
    CaseOutcome,
    CaseResult,
    ModelResult,
    Results,
    environment,
    write_json,
)

__all__ = ["Ledger"]

_EXECUTED = ("passed", "failed", "error", "xpassed")


class Ledger:
    """Writes the results file, and fails a strict run that judged nothing or left cases out."""

    def __init__(self, config: pytest.Config) -> None:
        chosen = settings(config)
        self._path = chosen.json
        self._strict = chosen.strict
        # With strict in the ini file, a run of other tests alone is no mistake.
        self._may_be_empty = not config.getoption("attn_strict")
        self._cases: dict[str, dict[str, Any]] = {}
        self._models: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, Any] = {"device": None, "dtype": None, "collected": 0}
        self._broken_files: set[str] = set()
        self._complaints: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and report.nodeid.endswith(SUFFIX):
            self._broken_files.add(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        facts = getattr(report, REPORT, None)
        if facts is not None:
            self._cases[report.nodeid] = facts["case"] | {"duration_s": 0.0}
            if facts["model"]:
                self._models[facts["model"]["name"]] = facts["model"]
                self._seen |= {key: facts[key] for key in ("device", "dtype")}
            self._seen["collected"] = facts["collected"]
        case = self._cases.get(report.nodeid)
        if case is not None:
            case["duration_s"] += report.duration
            case["outcome"] = _outcome(report) or case["outcome"]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        nothing = all(case["outcome"] not in _EXECUTED for case in self._cases.values())
        if self._strict and nothing and (self._cases or not self._may_be_empty):
            self._complain(session, "no probe was judged, which a strict run does not let pass")
        if self._strict and absent_key in session.config.stash:
            self._complain(session, "a strict run lets no case go for want of its model")
        if self._path is None:
            return
        absent: dict[str, int] = session.config.stash.get(absent_key, {})
        found = Results(
            environment=environment(device=self._seen["device"], dtype=self._seen["dtype"]),
            models=tuple(map(ModelResult.from_dict, self._models.values())),
            cases=tuple(map(CaseResult.from_dict, self._cases.values())),
            # A case file that cannot be read leaves no record: whoever compares the number
            # executed with the number collected must see that it is missing.
            collected=self._seen["collected"] + len(self._broken_files),
            absent=absent,
        )
        try:
            write_json(self._path, found.to_json())
        except ResultsError as error:
            self._path = None
            self._complain(session, str(error))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for complaint in self._complaints:
            terminalreporter.write_line(f"attnprobe: {complaint}", red=True)
        if self._path is not None:
            terminalreporter.write_sep("-", f"attnprobe results: {self._path}")

    def _complain(self, session: pytest.Session, complaint: str) -> None:
        self._complaints.append(complaint)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


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
