"""Programs that tests start: forks of the test process where that is possible."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.forks import can_fork, fork, use_forks

# The script `attnprobe`, which hands over what it was called with and waits for the exit code.
_SCRIPT = """#!{python} -ISE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as test:
    test.connect({address!r})
    socket.send_fds(test, [b" "], [0, 1, 2])
    test.sendall(json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode())
    test.shutdown(socket.SHUT_WR)
    sys.exit(int(test.recv(8)))
"""


def run_code(code: str, *arguments: str) -> int:
    """The exit code of `python -c CODE`, as `subprocess.run` gives it; what it prints is lost."""
    if not can_fork():
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, check=False, capture_output=True).returncode

    def body() -> int:
        sys.argv = ["-c", *arguments]
        exec(code, {"__name__": "__main__"})
        return 0

    return _ended(body)


@contextmanager
def attnprobe_on_path() -> Iterator[str]:
    """A folder for PATH with an `attnprobe` that is a fork; empty where none is possible."""
    if not can_fork():
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = f"{folder}/socket"
        script = Path(folder) / "attnprobe"
        script.write_text(_SCRIPT.format(python=sys.executable, address=address))
        script.chmod(0o755)
        listener.bind(address)
        listener.listen()
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        try:
            yield folder
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:  # the test is over
            return
        with caller, caller.makefile() as request:
            _, files, *_ = socket.recv_fds(caller, 1, 3)
            status = _ended(partial(_attnprobe, *json.load(request)), *files)
            for file in files:
                os.close(file)
            caller.sendall(str(status).encode())


def _attnprobe(command: list[str], folder: str, variables: dict[str, str]) -> int:
    from attnprobe.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = command
    with pytest.MonkeyPatch.context() as patch:
        use_forks(patch)
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def _ended(body: Callable[[], int], stdin: int = 0, stdout: int = 1, stderr: int = 2) -> int:
    _, status = os.waitpid(fork(body, stdin=stdin, stdout=stdout, stderr=stderr), 0)
    return os.waitstatus_to_exitcode(status)
