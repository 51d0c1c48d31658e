"""Forks of the test process in place of new ones: what takes seconds to import is there already.

A new process that loads a model imports torch and transformers first, 8 s of work, and a run on two
workers needs two. A fork has a memory, an environment and a working directory of its own as well,
and can be killed; only the imports are those of the test process.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from execnet.gateway_base import ExecModel, Popen2IO
from execnet.gateway_io import Popen2IOMaster


def can_fork() -> bool:
    """Whether a fork can use torch: neither the threads of OpenMP nor a GPU survive one."""
    import torch

    return torch.get_num_threads() == 1 and not torch.cuda.is_initialized()


def use_forks(patch: pytest.MonkeyPatch) -> None:
    """Makes forks of the workers of pytest-xdist and of the pytest below the gate, if possible."""
    if can_fork():
        patch.setattr("execnet.gateway_io.Popen2IOMaster", ForkedIO)
        patch.setattr("attnprobe.run.pytest_run.subprocess", SimpleNamespace(run=run_forked))


def fork(body: Callable[[], int], *, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> int:
    """Starts a process that runs `body` and exits with its result; returns the process id."""
    with warnings.catch_warnings():
        # From Python 3.12 on, since threads do not survive; those of execnet need not.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        gc.freeze()  # what the tests have built is no garbage; pytest looks through it five times
        for number, file in enumerate((stdin, stdout, stderr)):
            os.dup2(file, number)
        _exit_with(body)
    return process


def _exit_with(body: Callable[[], int]) -> NoReturn:
    status = 1
    try:
        # Not what the tests and pytest have put there.
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
        status = body()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001  # nothing may return into the tests
        status = status or 1
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(status)


def run_forked(
    command: Sequence[str], *, env: Mapping[str, str], capture_output: bool, **_: Any
) -> SimpleNamespace:
    """As `subprocess.run` of `python -m pytest`."""

    def body() -> int:
        os.environ.clear()
        os.environ.update(env)
        sys.path.insert(0, str(Path.cwd()))  # as python -m does
        sys.argv = list(command[2:])
        return int(pytest.main(list(command[3:])))

    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        files = {"stdout": stdout.fileno(), "stderr": stderr.fileno()} if capture_output else {}
        _, status = os.waitpid(fork(body, **files), 0)
        for file in (stdout, stderr):
            file.seek(0)
        return SimpleNamespace(
            returncode=os.waitstatus_to_exitcode(status), stdout=stdout.read(), stderr=stderr.read()
        )


class ForkedWorker:
    """As `subprocess.Popen` of `python -c CODE` with pipes, for a worker of pytest-xdist."""

    # Kept, so that no file of an ended worker closes the number of another one in a fork.
    _started: list[ForkedWorker] = []  # noqa: RUF012

    def __init__(self, code: str) -> None:
        child_stdin, own_stdin = os.pipe()
        own_stdout, child_stdout = os.pipe()
        self.stdin = os.fdopen(own_stdin, "wb")
        self.stdout = os.fdopen(own_stdout, "rb")

        def body() -> int:
            # An end that stays open here would keep another worker from noticing that it closed.
            for worker in (*self._started, self):
                if not worker.stdin.closed:
                    os.close(worker.stdin.fileno())
            exec(code, {"__name__": "__main__"})
            return 0

        self.pid = fork(body, stdin=child_stdin, stdout=child_stdout)
        os.close(child_stdin)
        os.close(child_stdout)
        self._started.append(self)

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class ForkedIO(Popen2IOMaster):
    """The connection of execnet to a worker that is a fork."""

    def __init__(self, args: list[str], execmodel: ExecModel) -> None:
        self.popen: Any = ForkedWorker(args[-1])
        Popen2IO.__init__(self, self.popen.stdin, self.popen.stdout, execmodel=execmodel)
