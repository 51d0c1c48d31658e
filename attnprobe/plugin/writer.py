"""Writes the results file at the end of a run, on the controller alone under pytest-xdist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnprobe.plugin.keys import REPORT
from attnprobe.results import CaseResult, ModelResult, Results, environment, write_json

__all__ = ["Writer"]


class Writer:
    """Gathers what the reports carry, from this process or from the workers'."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config = config
        self._path = path
        self._cases: dict[str, dict[str, Any]] = {}
        self._models: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, Any] = {"device": None, "dtype": None, "collected": 0}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        facts = getattr(report, REPORT, None)
        case = self._cases.get(report.nodeid)
        if facts is not None:
            case = self._cases.setdefault(report.nodeid, {"duration_s": 0.0})
            case |= facts["case"]
            if facts["model"]:
                self._models[facts["model"]["name"]] = facts["model"]
                self._seen |= {key: facts[key] for key in ("device", "dtype")}
            self._seen["collected"] = facts["collected"]
        if case is None:
            return
        case["duration_s"] += report.duration
        outcome = self._config.hook.pytest_report_teststatus(report=report, config=self._config)[0]
        # A phase that went well has no word of its own; an error in teardown overrules.
        if outcome:
            case["outcome"] = outcome

    def pytest_sessionfinish(self) -> None:
        found = Results(
            environment=environment(device=self._seen["device"], dtype=self._seen["dtype"]),
            models=tuple(map(ModelResult.from_dict, self._models.values())),
            cases=tuple(CaseResult.from_dict(case) for case in self._cases.values()),
            collected=self._seen["collected"],
        )
        write_json(self._path, found.to_json())

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(f"attnprobe: results in {self._path}")
