"""pytest as a child process whose plugin writes a results file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnprobe.results.records import Results, read_results

TESTS_FAILED = 1
_WENT_THROUGH = (0, TESTS_FAILED)
_NOTHING_COLLECTED = 5
# What pytest's exit codes mean where they leave nothing to be judged.
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
        status: its exit code; negative where a signal killed it.
        results: None where it did not go through, or the plugin did not run.
        output: what it printed, where that was captured.
    """

    status: int
    results: Results | None
    output: str = ""

    @property
    def problem(self) -> str:
        """Why a run has no results, as half a sentence; its output is above."""
        if self.status in _WENT_THROUGH:
            return "pytest left no results: the plugin did not run"
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
    """Runs pytest in the working directory, and reads the results that it leaves.

    Args:
        variables: added to the environment.
        captures: keeps the output instead of printing it.

    Raises:
        ResultsError: the results cannot be read.
    """
    # A folder of this run's own: nobody else's results can be taken for its results.
    with tempfile.TemporaryDirectory(prefix="attnprobe-") as folder:
        file = Path(folder) / "results.json"
        command = [sys.executable, "-m", "pytest", "--attn-json", str(file), *arguments]
        environment = os.environ | (variables or {})
        sys.stdout.flush()
        # The plugin writes the file when the run is over: a run that was killed leaves none.
        done = subprocess.run(
            command, check=False, env=environment, capture_output=captures, text=True
        )
        output = done.stdout + done.stderr if captures else ""
        went_through = done.returncode in _WENT_THROUGH and file.exists()
        return PytestRun(done.returncode, read_results(file) if went_through else None, output)
