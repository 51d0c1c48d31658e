"""`attnprobe models`: which architectures can be read, and how exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from attnprobe.cli.base import (
    IgnoreRemoteCode,
    SourceLanguage,
    TargetLanguage,
    TokenizerOption,
    app,
    out,
    print_table,
    warn_of,
)
from attnprobe.errors import AttnprobeError

if TYPE_CHECKING:
    from attnprobe.models import Model
    from attnprobe.models.check import CheckRow
    from attnprobe.models.release import ReleaseRow

__all__: list[str] = []


@app.command()
def models(
    model: Annotated[
        str | None,
        typer.Argument(help="A folder, pkg://package/path, a .gguf file or a cached hub id."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare what is read at each site with eager attention."),
    ] = False,
    tokenizer: TokenizerOption = None,
    source_language: SourceLanguage = None,
    target_language: TargetLanguage = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="With --check all: write the table to this file.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="With --check all: write it as Markdown.")
    ] = None,
    ignore_remote_code: IgnoreRemoteCode = False,
) -> None:
    """List the architectures that are tested, or look at the sites of one model.

    With --check all, every text architecture that transformers knows is built small and compared.
    """
    if check and model == "all":
        _check_all(output, page)
        return
    given = {
        "--tokenizer": tokenizer,
        "--source-language": source_language,
        "--target-language": target_language,
    }
    for option, value in given.items():
        if value is not None and model is None:
            raise AttnprobeError(f"{option} is for a model; name one")
    if output or page:
        raise AttnprobeError("--json and --page write the table of attnprobe models --check all")
    from attnprobe.models import load
    from attnprobe.models.check import check as check_model
    from attnprobe.models.tiny import ARCHITECTURES, tiny_network

    if model:
        loaded = load(
            model,
            tokenizer=tokenizer,
            ignore_remote_code=ignore_remote_code,
            source_language=source_language,
            target_language=target_language,
        )
        warn_of(loaded)
    if check:
        checked = [loaded] if model else map(tiny_network, ARCHITECTURES)
        _print_differences([row for network in checked for row in check_model(network)])
        if model:
            _check_release(loaded)
    elif model:
        out.print(str(loaded), markup=False)
        for site in loaded.sites.values():
            heads = sorted(set(site.heads.values()))
            out.print(
                f"{site.name}: {len(site.layers)} layers of {' or '.join(map(str, heads))} heads"
                f"{', causal' if site.causal else ''}"
            )
    else:
        for name in ARCHITECTURES:
            out.print(name)


def _check_all(output: Path | None, page: Path | None) -> None:
    from attnprobe.models import breadth, breadth_page
    from attnprobe.results import write_bytes

    console = Console(stderr=True)
    found = []
    with console.status("building") as status:
        for family in breadth.sweep():
            found.append(family)
            status.update(f"{len(found)} families, last {family.architecture}")
    table = Table("architecture", "network", "outcome", "difference", "batch", "layers", "reason")
    for family in found:
        table.add_row(*breadth_page.cells(family))
    print_table(table)
    out.print(breadth_page.summary_line(found), soft_wrap=True)
    if output is not None:
        write_bytes(output, breadth_page.as_json(found).encode())
    if page is not None:
        write_bytes(page, breadth_page.as_page(found).encode())


def _print_differences(rows: Sequence[CheckRow]) -> None:
    from attnprobe.models.compare import TOLERANCE

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
    out.print(
        "Largest difference to eager output_attentions, and of a batch to single texts; float32 is "
        f"refused at load from {TOLERANCE:.0e}",
        soft_wrap=True,
    )
    print_table(table)


def _check_release(model: Model) -> None:
    from attnprobe.models.release import network_as_released, release_check

    rows = release_check(model, partial(network_as_released, model))
    _print_released(rows)
    for row in rows:
        if row.problem:
            raise AttnprobeError(row.problem)
    if all(row.difference is None for row in rows):
        raise AttnprobeError(f"nothing was compared: {rows[0].remark}")


def _print_released(rows: Sequence[ReleaseRow]) -> None:
    table = Table("architecture", "input", "tokens", "ids", "difference", "remark")
    for row in rows:
        ids = "" if row.difference is None else "equal"
        value = "" if row.difference is None else f"{row.difference:.1e}"
        remark = row.problem or row.remark
        table.add_row(row.architecture, row.kind, str(row.tokens), ids, value, remark)
    out.print(
        "Largest difference to a network that transformers has just loaded, on the ids of the "
        "model's own tokenizer",
        soft_wrap=True,
    )
    print_table(table)
