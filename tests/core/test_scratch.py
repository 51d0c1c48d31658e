from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from attnprobe.core.scratch import LeftoverWarning, scratch
from attnprobe.results.files import write_bytes

# Prints a line while the scratch path is in use, then waits to be killed or told to go on.
USER = """
    import sys
    from pathlib import Path
    from attnprobe.core.scratch import scratch

    with scratch(Path(sys.argv[1])) as path:
        if sys.argv[2] == "folder":
            path.mkdir()
            path /= "weights"
        path.write_text("half")
        print("writing", flush=True)
        sys.stdin.readline()
"""


def user(target: Path, kind: str) -> subprocess.Popen[str]:
    """A process that is writing what will become the target."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(USER), str(target), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_run_removes_what_a_killed_one_left_p63(tmp_path: Path, kind: str) -> None:
    target, other = tmp_path / "[1] page.html", tmp_path / "other.html"
    killed, living, elsewhere = user(target, kind), user(target, kind), user(other, kind)
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.glob("*.tmp"))) == 3
    with pytest.warns(LeftoverWarning, match="which a killed run had left behind") as said:
        write_bytes(target, b"whole")
    assert len(said) == 1
    assert target.read_bytes() == b"whole"
    # The two that are in use, of this target and of another, go when their processes end.
    assert len(list(tmp_path.glob("*.tmp"))) == 2
    for process in (living, elsewhere):
        process.communicate("\n")
        assert process.returncode == 0
    assert list(tmp_path.iterdir()) == [target]


def test_a_leftover_stops_no_run_whose_warnings_are_errors_p63(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    killed = user(target, "folder")
    killed.kill()
    killed.communicate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_bytes(target, b"whole")
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_killed_at_any_step_leaves_nothing_after_the_next_p63(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_bytes(b"old")
    step, status = 0, -signal.SIGKILL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftoverWarning)
        while status == -signal.SIGKILL:
            child = os.fork()
            if not child:
                _killed_after(step)
                write_bytes(target, b"new")
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert target.read_bytes() in (b"old", b"new")
            write_bytes(target, b"old")
            assert list(tmp_path.iterdir()) == [target]
            step += 1
    assert status == 0
    assert step > 20  # each line of the writer and of the scratch path was tried


def _killed_after(steps: int) -> None:
    """Kills this process once so many lines of the writer ran."""
    files = {
        sys.modules[module].__file__ for module in (scratch.__module__, write_bytes.__module__)
    }
    left = steps

    def trace(frame: object, event: str, _: object) -> object:
        nonlocal left
        if frame.f_code.co_filename not in files:  # type: ignore[attr-defined]
            return None
        if event == "line":
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
