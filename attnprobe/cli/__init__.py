"""The command `attnprobe`; each module here has one command, or a few that belong together.

A new command is a new module in this folder that registers itself with `app`. Commands import slow
libraries (torch, transformers, matplotlib) inside their functions.
"""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import sys
import warnings

from rich.console import Console

from attnprobe.cli.base import app
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.printing import harmless

__all__ = ["main"]

# The help lists commands as they register: in the order in which one needs them.
_ORDER = (
    *("init", "files", "show", "find", "scan", "scan_merge"),
    *("merge", "compare", "history", "gate", "summary", "card", "mutate"),
)
for _name in dict.fromkeys((*_ORDER, *(module.name for module in pkgutil.iter_modules(__path__)))):
    importlib.import_module(f"{__name__}.{_name}")


def main() -> None:
    """Runs the command line; an AttnprobeError or OSError is printed and exits with code 2.

    Where nobody reads what is printed, the exit code is 1, and no word is said.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without arrows or minus signs shows escapes instead of an encoding error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _as_line
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # as of `attnprobe schema | head -1`
        _drop_output()
        raise SystemExit(1) from None
    except (AttnprobeError, OSError) as error:  # a path that the system refuses, a full disk
        _drop_output()
        console = Console(stderr=True, highlight=False)
        console.print(harmless(str(error)), markup=False, soft_wrap=True)
        raise SystemExit(2) from None


def _drop_output() -> None:
    """Drops what cannot be printed, which Python would try again at the end of the process."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning without the place in the code that gave it; what `warnings` calls."""
    return harmless(f"warning: {message}\n")
