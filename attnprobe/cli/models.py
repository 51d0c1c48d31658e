"""`attnprobe models`: shows the sites of a model and checks how exactly they are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from attnprobe.cli.base import app, load, print_table, say, with_load_options
from attnprobe.core.errors import AttnprobeError
from attnprobe.models.options import LoadOptions

if TYPE_CHECKING:
    from attnprobe.models import Model
    from attnprobe.models.check import CheckRow
    from attnprobe.models.release import ReleaseRow


@app.command()
@with_load_options("tokenizer", "source_language", "target_language", "ignore_remote_code")
def models(
    model: Annotated[
        str | None,
        typer.Argument(help="A folder, pkg://package/path, a .gguf file or a cached hub id."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare what is read at each site with eager attention."),
    ] = False,
    *,
    options: LoadOptions,
) -> None:
    """Show the sites of a model, or compare what is read of it with its own eager attention.

    Which architectures of transformers are tested is in docs/architectures.md of the project.
    """
    if model is None or (model == "all" and not Path(model).exists()):
        raise AttnprobeError(
            "name a model: a folder, pkg://package/path, a .gguf file or a cached hub id; the "
            "architectures of transformers that are tested are in docs/architectures.md of the "
            "project, which make breadth writes"
        )
    from attnprobe.models.check import check as check_model

    loaded = load(model, options)
    if check:
        _print_differences(check_model(loaded))
        _check_release(loaded)
        return
    say(str(loaded))
    for site in loaded.sites.values():
        heads = sorted(set(site.heads.values()))
        say(
            f"{site.name}: {len(site.layers)} layers of {' or '.join(map(str, heads))} heads"
            f"{', causal' if site.causal else ''}"
        )


def _print_differences(rows: Sequence[CheckRow]) -> None:
    from attnprobe.models.self_check import TOLERANCE

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
    say(
        "Largest difference to eager output_attentions, and of a batch to single texts; float32 is "
        f"refused at load from {TOLERANCE:.0e}"
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
    say(
        "Largest difference to a network that transformers has just loaded, on the ids of the "
        "model's own tokenizer"
    )
    print_table(table)
