"""The command `attnprobe`: one module a command, or a few that belong together.

A module in this folder that registers its commands with `app` is all that a new command takes.
Each imports what costs (torch, transformers, matplotlib) inside its functions.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import sys

from rich.console import Console

from attnprobe.cli.base import app
from attnprobe.core.errors import AttnprobeError

__all__ = ["main"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def main() -> None:
    """Entry point; an error that attnprobe raises on purpose is a message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # Not every terminal has arrows and minus signs: an escape is better than no verdict.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except AttnprobeError as error:
        from attnprobe.run.explain import harmless

        console = Console(stderr=True, highlight=False)
        console.print(harmless(str(error)), markup=False, soft_wrap=True)
        raise SystemExit(2) from None
