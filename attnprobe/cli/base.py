"""What all commands share: the application and the console that they print to."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from attnprobe._version import __version__

__all__ = ["app", "out", "print_table"]

# Columns of text that a table may take on a narrow terminal.
_WIDEST = 200

app = typer.Typer(
    help="Regression tests for what transformers attend to.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)


def print_table(table: Table) -> None:
    """Prints a table with nothing cut off: on a narrow terminal its lines are longer than that."""
    wide = Measurement.get(out, out.options.update(max_width=_WIDEST), table).maximum
    width = max(out.width, min(wide, _WIDEST))
    Console(file=out.file, highlight=False, width=width).print(table)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit
