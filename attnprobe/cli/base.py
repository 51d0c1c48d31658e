"""What all commands share: the application and the console that they print to."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from attnprobe._version import __version__

__all__ = ["app", "out"]

app = typer.Typer(
    help="Regression tests for what transformers attend to.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit
