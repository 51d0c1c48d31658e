"""Plays a page of docs/: writes its files, runs its commands, compares what they print.

A `yaml` or `toml` block whose first line is a comment with a path is that file. Lines of `sh`
blocks are commands, with `# exit 1` behind one that ends so. Each line of a `text` block stands in
what the block before printed; `…` stands for anything. `python` blocks run in the folder.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from attnprobe import cli
from tests.support.forks import can_fork, run_forked, use_forks

QUIET = "-q -p no:cacheprovider -p no:hypothesispytest"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(.*?)(?:  # exit (\d))?$")
_FILE = re.compile(r"# (\S+\.(?:attn\.yaml|toml))\n")


@dataclass(frozen=True)
class Done:
    """A command that ran, and what it printed."""

    code: int
    lines: tuple[str, ...]


def run(tool: str, arguments: list[str], folder: Path) -> Done:
    """A command in this process; pytest is a fork of it, or a new process."""
    with pytest.MonkeyPatch.context() as patch:
        use_forks(patch)
        patch.chdir(folder)
        patch.setenv("PYTEST_ADDOPTS", QUIET)
        patch.delenv("GITHUB_ACTIONS", raising=False)
        return _pytest(arguments) if tool == "pytest" else _attnprobe(arguments)


def _attnprobe(arguments: list[str]) -> Done:
    result = CliRunner().invoke(cli.app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, tuple(result.stdout.splitlines()))


def _pytest(arguments: list[str]) -> Done:
    command, env = [sys.executable, "-m", "pytest", *arguments], dict(os.environ)
    done: SimpleNamespace | subprocess.CompletedProcess[str]
    if can_fork():
        done = run_forked(command, env=env, capture_output=True)
    else:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return Done(done.returncode, tuple(done.stdout.splitlines()))


def play(page: str, folder: Path, *, unnamed: str = "") -> dict[str, Done]:
    """What each command of a page did.

    Args:
        unnamed: the file that a `yaml` block without a path is.

    Raises:
        AssertionError: a command ends or prints otherwise than the page says.
    """
    done: dict[str, Done] = {}
    last: list[str] = []
    command = ""
    for language, text in _BLOCK.findall(page):
        named = _FILE.match(text)
        if language == "yaml":
            write(folder / (named[1] if named else unnamed), text)
        elif language == "toml" and named:
            # The page shows what --init has written; later policies are written by hand.
            if "--init" in command:
                shown = (folder / named[1]).read_text(encoding="utf-8")
                assert text.removeprefix(named[0]) == shown.removeprefix(named[0])
            write(folder / named[1], text)
            command = ""
        elif language == "sh":
            last = []
            for line in text.splitlines():
                command, code = _COMMAND.fullmatch(line).groups()  # type: ignore[union-attr]  # it matches any line
                tool, *arguments = shlex.split(command)
                assert tool in ("attnprobe", "pytest")
                done[command] = run(tool, arguments, folder)
                assert done[command].code == int(code or 0), (command, done[command].lines)
                last += done[command].lines
        elif language == "python":
            last = run_code(text, folder) or last
        elif language == "text":
            for line in text.splitlines():
                parts = line.split("…")
                assert [shown for shown in last if all(part in shown for part in parts)], last
    return done


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def run_code(code: str, folder: Path) -> list[str]:
    """Runs a block of Python, and returns the lines that it prints."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchao
        patch.chdir(folder)
        with redirect_stdout(printed):
            exec(code, {})
    return printed.getvalue().splitlines()
