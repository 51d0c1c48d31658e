"""The command `attnprobe`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from attnprobe._version import __version__
from attnprobe.errors import AttnprobeError
from attnprobe.names import LOCK, SUFFIX

if TYPE_CHECKING:
    from attnprobe.models.check import CheckRow

__all__ = ["main"]

app = typer.Typer(
    help="Regression tests for what transformers attend to.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_out = Console(highlight=False)


def main() -> None:
    """Entry point; an error that attnprobe raises on purpose is a message and exit code 2."""
    try:
        app()
    except AttnprobeError as error:
        from attnprobe.explain import harmless

        Console(stderr=True, highlight=False).print(harmless(str(error)), markup=False)
        raise SystemExit(2) from None


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        _out.print(__version__)
        raise typer.Exit


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.")
    ] = None,
) -> None:
    """Print the JSON Schema of case files, for editors."""
    from attnprobe.cases import schema as case_schema

    text = json.dumps(case_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        _out.file.write(text)
    else:
        output.write_text(text, encoding="utf-8")


@app.command()
def lint(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Case files, or folders that hold some.")
    ] = None,
) -> None:
    """Check case files without a model; exit 1 if anything is wrong with one."""
    from attnprobe import cases, results
    from attnprobe.explain import harmless

    head_sets = results.read_heads(Path(LOCK)) if Path(LOCK).exists() else {}
    files = [
        file
        for path in paths or [Path("cases")]
        for file in (sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path])
    ]
    count = broken = 0
    for file in files:
        try:
            count += len(cases.load(file, str(file), head_sets=head_sets))
        except AttnprobeError as error:
            broken += 1
            _out.print(harmless(str(error)), markup=False, soft_wrap=True)
    if not files:
        raise AttnprobeError(f"no case file; they end in {SUFFIX}")
    _out.print(f"{len(files)} files, {count} cases, {broken} files with errors")
    if broken:
        raise typer.Exit(1)


@app.command()
def models(
    model: Annotated[
        str | None,
        typer.Argument(help="A folder, pkg://package/path, a .gguf file or a cached hub id."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare each site with eager attention.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--json", help="With --check all: write the table to this file.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="With --check all: write it as Markdown.")
    ] = None,
) -> None:
    """List the architectures that are tested, or look at the sites of one model.

    With --check all, every text architecture that transformers knows is built small and compared.
    """
    if check and model == "all":
        _check_all(output, page)
        return
    if output or page:
        raise AttnprobeError("--json and --page write the table of attnprobe models --check all")
    from attnprobe.models import load
    from attnprobe.models.check import check as check_model
    from attnprobe.models.tiny import ARCHITECTURES, tiny_network

    if check:
        checked = [load(model)] if model else map(tiny_network, ARCHITECTURES)
        _print_differences([row for network in checked for row in check_model(network)])
    elif model:
        loaded = load(model)
        _out.print(str(loaded), markup=False)
        for site in loaded.sites.values():
            heads = sorted(set(site.heads.values()))
            _out.print(
                f"{site.name}: {len(site.layers)} layers of {' or '.join(map(str, heads))} heads"
                f"{', causal' if site.causal else ''}"
            )
    else:
        for name in ARCHITECTURES:
            _out.print(name)


def _check_all(output: Path | None, page: Path | None) -> None:
    from attnprobe.models import breadth, breadth_page

    console = Console(stderr=True)
    found = []
    with console.status("building") as status:
        for family in breadth.sweep():
            found.append(family)
            status.update(f"{len(found)} families, last {family.architecture}")
    table = Table("architecture", "network", "outcome", "difference", "batch", "layers", "reason")
    for family in found:
        table.add_row(*breadth_page.cells(family))
    _out.print(table)
    _out.print(breadth_page.summary_line(found), soft_wrap=True)
    if output is not None:
        output.write_text(breadth_page.as_json(found), encoding="utf-8")
    if page is not None:
        page.write_text(breadth_page.as_page(found), encoding="utf-8")


def _print_differences(rows: Sequence[CheckRow]) -> None:
    table = Table("architecture", "site", "layers", "heads", "served by")
    for column in ("unpadded", "right padding", "left padding", "batch"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.architecture,
            row.site,
            str(len(row.layers)),
            str(row.heads),
            row.served,
            *(f"{value:.1e}" for value in (row.unpadded, row.right, row.left, row.batch)),
        )
    _out.print("Largest difference to eager output_attentions, and of a batch to single texts")
    _out.print(table)
