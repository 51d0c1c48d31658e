"""The application, the console, the loading options and the tables that all commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from attnprobe._version import __version__
from attnprobe.core.errors import AttnprobeError
from attnprobe.models.options import LoadOptions

if TYPE_CHECKING:
    from attnprobe.models import Model

# The widest table, in characters.
_WIDEST = 200


class _Commands(TyperGroup):
    """The commands, of which one has two words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads `scan merge DIR` as a command; a model in such a folder is written ./merge."""
        if args[:2] == ["scan", "merge"]:
            args = ["scan merge", *args[2:]]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="Regression tests for what transformers attend to.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)

# The command line options for fields of `LoadOptions`.
_LOAD_OPTIONS: Mapping[str, Any] = {
    "batch_tokens": Annotated[
        int, typer.Option("--batch-tokens", min=1, help="Padded tokens in one forward pass.")
    ],
    "tokenizer": Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="Another tokenizer than the model's own: a folder, pkg://package/path, a .gguf "
            "file or org/name@COMMIT.",
        ),
    ],
    "source_language": Annotated[
        str | None,
        typer.Option(
            "--source-language",
            help="Language of the texts, by its code in a multilingual tokenizer, such as "
            "eng_Latn.",
        ),
    ],
    "target_language": Annotated[
        str | None, typer.Option("--target-language", help="Language of the target texts.")
    ],
    "device": Annotated[str, typer.Option("--device", help="As in torch, or auto.")],
    "device_map": Annotated[
        str | None,
        typer.Option(
            "--device-map",
            help="In place of --device, for a model that fits no single one: auto, balanced, "
            "balanced_low_0 or sequential, as in transformers.",
        ),
    ],
    "dtype": Annotated[str, typer.Option("--dtype", help="float32, float16 or bfloat16.")],
    "revision": Annotated[str | None, typer.Option("--revision", help="Commit of a hub id.")],
    "online": Annotated[
        bool, typer.Option("--online", help="Allow the model hub; give --revision too.")
    ],
    "ignore_remote_code": Annotated[
        bool,
        typer.Option(
            "--ignore-remote-code",
            help="Load a model that comes with code of its own without that code.",
        ),
    ],
}


MaxUnfolded = Annotated[
    int,
    typer.Option(
        min=1, help="How many times the usual bounds a case file may unfold to, as in the ini file."
    ),
]
# The options of a command that measures one model.
ONE_MODEL = (
    "tokenizer",
    "source_language",
    "target_language",
    "device",
    "device_map",
    "dtype",
    "revision",
    "online",
    "ignore_remote_code",
)


def with_load_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options for loading a model to a command, which receives them as `options`.

    Args:
        names: the fields of `LoadOptions` to add, in the order of the help.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = LoadOptions(**{name: given.pop(name) for name in names})
            command(**given, options=options)

        signature = inspect.signature(command, eval_str=True)
        parameters = [
            *(entry for entry in signature.parameters.values() if entry.name != "options"),
            *(
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=getattr(LoadOptions(), name),
                    annotation=_LOAD_OPTIONS[name],
                )
                for name in names
            ),
        ]
        # Typer reads the signature and the annotations.
        vars(run)["__signature__"] = signature.replace(parameters=parameters)
        run.__annotations__ = {entry.name: entry.annotation for entry in parameters}
        return run

    return decorate


def to_file(path: Path | None) -> Path | None:
    """The path of an output, checked before any work: the callback of an option."""
    return _checked(path, as_json=False)


def to_folder(path: Path | None) -> Path | None:
    """The path of a folder to write, checked before any work: the callback of an option."""
    if path is not None:
        from attnprobe.results.files import check_folder

        check_folder(path)
    return path


def to_json_file(path: Path | None) -> Path | None:
    """As `to_file`, for one of attnprobe's JSON files."""
    return _checked(path, as_json=True)


def _checked(path: Path | None, *, as_json: bool) -> Path | None:
    if path is not None:
        from attnprobe.results.files import check_output

        check_output(path, as_json=as_json)
    return path


def load(ref: str, options: LoadOptions, *, name: str | None = None) -> Model:
    """The model of a command; a terminal shows that it is loading, which takes some seconds."""
    from rich.markup import escape

    from attnprobe.core.printing import harmless

    with Console(stderr=True).status(f"loading {escape(harmless(ref))}"):
        from attnprobe.models import load_model  # with torch

        model = load_model(ref, options, name=name)
    if model.ignored_code:
        typer.echo(
            f"warning: {model.name} comes with code of its own "
            f"({', '.join(model.ignored_code)}), which is ignored; measured is transformers' "
            f"{model.architecture}",
            err=True,
        )
    return model


def check_text(what: str, text: str) -> None:
    """Raises AttnprobeError where a text of the command line is empty or not UTF-8."""
    if not text.strip():
        raise AttnprobeError(f"{what} is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        # The shell passed bytes that are not UTF-8; Python keeps them as lone surrogates.
        raise AttnprobeError(
            f"{what} is not UTF-8; write it in the encoding of the terminal"
        ) from None


def check_site(model: Model, site: str | None, target: str | None) -> None:
    """Checks that a site is named where there are several, and a target where it needs one.

    Raises:
        AttnprobeError: what is missing, as an option.
    """
    if site is None and len(model.sites) > 1:
        offered = ", ".join(model.sites)
        raise AttnprobeError(f"{model.name} has several sites, name one with --site: {offered}")
    if target is None and site != "encoder" and "cross" in model.sites:
        raise AttnprobeError(f"{site} attention needs a target text: --target TEXT")


def say(text: str) -> None:
    """Prints lines as they are, without markup and line breaks, and safe whatever they quote."""
    from attnprobe.core.printing import harmless

    out.print(harmless(text), markup=False, soft_wrap=True)


def plain_table(
    columns: Iterable[str], rows: Iterable[Iterable[str]], *, title: str | None = None
) -> Table:
    """A table of texts that rich prints unchanged: in them, brackets are no markup."""
    table = Table(title=None if title is None else _plain(title), title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(_plain, row))
    return table


def _plain(text: str) -> Text:
    from attnprobe.core.printing import harmless

    return Text(harmless(text))


def print_table(table: Table) -> None:
    """Prints a table and cuts nothing off.

    If it is too wide for the terminal, each cell gets a line of its own with the name of its
    column. A file or a pipe gets longer lines instead.
    """
    wide = Measurement.get(out, out.options.update(max_width=_WIDEST), table).maximum
    if out.is_terminal and wide > out.width:
        out.print(_upright(table))
        return
    width = max(out.width, min(wide, _WIDEST))
    Console(file=out.file, highlight=False, width=width).print(table)


def _upright(table: Table) -> Table:
    """The table with one row for each cell: the name of its column and the cell."""
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
