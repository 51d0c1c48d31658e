"""Runs pytest as a child process and reads the results file that the plugin writes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnprobe.core.names import FOR_PARENT
from attnprobe.results.records import Results, read_results

TESTS_FAILED = 1
_COMPLETE = (0, TESTS_FAILED)
_NOTHING_COLLECTED = 5
# The exit codes of pytest after which there is nothing to judge.
_MEANINGS = {
    2: "was interrupted, or could not read its case files or a baseline; its output above says why",
    3: "had an internal error",
    4: "was called in a way it does not understand; its output above says why",
    _NOTHING_COLLECTED: "collected nothing",
}


@dataclass(frozen=True)
class PytestRun:
    """A pytest process that has ended.

    Attributes:
        status: the exit code; negative if a signal killed the process.
        results: None if the run was not complete, or the plugin did not run.
        output: the captured output; empty if it was not captured.
    """

    status: int
    results: Results | None
    output: str = ""

    @property
    def problem(self) -> str:
        """Why the run has no results, as a clause for a message below pytest's output."""
        if self.status in _COMPLETE:
            return (
                "pytest left no results: the plugin did not run, or could not write them; its "
                "output above says why"
            )
        if self.status < 0:
            return f"pytest was killed by signal {-self.status}"
        meaning = _MEANINGS.get(self.status, f"ended with exit code {self.status}")
        start = "no attention check ran: " if self.status == _NOTHING_COLLECTED else ""
        return f"{start}pytest {meaning}"


def run_pytest(
    arguments: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    captures: bool = False,
) -> PytestRun:
    """Runs pytest in the working directory and returns its results.

    Args:
        variables: variables to add to the environment.
        captures: whether to capture the output instead of printing it.

    Raises:
        ResultsError: the results cannot be read.
    """
    # In a temporary folder, no other run's results can be mistaken for these.
    with tempfile.TemporaryDirectory(prefix="attnprobe-") as folder:
        file = Path(folder) / "results.json"
        command = [sys.executable, "-m", "pytest", "--attn-json", str(file), *arguments]
        environment = {**os.environ, FOR_PARENT: str(file), **(variables or {})}
        sys.stdout.flush()
        # The plugin writes the file at the end, so a killed run leaves none.
        done = subprocess.run(
            command, check=False, env=environment, capture_output=captures, text=True
        )
        output = done.stdout + done.stderr if captures else ""
        complete = done.returncode in _COMPLETE and file.exists()
        return PytestRun(done.returncode, read_results(file) if complete else None, output)
