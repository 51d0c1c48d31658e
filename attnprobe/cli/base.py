"""What all commands share: the application and the console that they print to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from attnprobe._version import __version__

if TYPE_CHECKING:
    from attnprobe.models import Model

__all__ = [
    "IgnoreRemoteCode",
    "SourceLanguage",
    "TargetLanguage",
    "TokenizerOption",
    "app",
    "out",
    "print_table",
    "warn_of",
]

TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="Another tokenizer than the model's own: a folder, pkg://package/path, a .gguf file "
        "or org/name@COMMIT.",
    ),
]
SourceLanguage = Annotated[
    str | None,
    typer.Option(
        "--source-language",
        help="Language of the texts, by its code in a multilingual tokenizer, such as eng_Latn.",
    ),
]
TargetLanguage = Annotated[
    str | None, typer.Option("--target-language", help="Language of the target texts.")
]
# Columns of text that a table may take on a narrow terminal.
_WIDEST = 200

app = typer.Typer(
    help="Regression tests for what transformers attend to.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)

IgnoreRemoteCode = Annotated[
    bool,
    typer.Option(
        "--ignore-remote-code",
        help="Load a model that comes with code of its own without that code.",
    ),
]


def warn_of(*models: Model) -> None:
    """Prints a line on stderr for each model that was loaded without code that came with it."""
    for model in models:
        if model.ignored_code:
            typer.echo(
                f"warning: {model.name} comes with code of its own "
                f"({', '.join(model.ignored_code)}), which is ignored; measured is transformers' "
                f"{model.architecture}",
                err=True,
            )


def print_table(table: Table) -> None:
    """Prints a table with nothing cut off.

    Where it is too wide for a terminal, each row becomes lines of its own, one a column; a file or
    a pipe gets longer lines instead.
    """
    wide = Measurement.get(out, out.options.update(max_width=_WIDEST), table).maximum
    if out.is_terminal and wide > out.width:
        out.print(_upright(table))
        return
    width = max(out.width, min(wide, _WIDEST))
    Console(file=out.file, highlight=False, width=width).print(table)


def _upright(table: Table) -> Table:
    """The table with a row for each of its cells: the column's name, the cell."""
    turned = Table(title=table.title, show_header=False)
    turned.add_column()
    turned.add_column(overflow="fold")
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for column, cell in zip(table.columns, row, strict=True):
            turned.add_row(column.header, cell, end_section=column is table.columns[-1])
    return turned


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit
