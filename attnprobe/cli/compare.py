"""`attnprobe compare`: compares two results, or two models on the same cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from attnprobe.cli.base import (
    MaxUnfolded,
    app,
    plain_table,
    print_table,
    say,
    to_file,
    to_json_file,
    with_load_options,
)
from attnprobe.models.options import LoadOptions

if TYPE_CHECKING:
    from attnprobe.compare.runs import RunComparison


@app.command()
@with_load_options("ignore_remote_code")
def compare(
    old: Annotated[
        str, typer.Argument(metavar="A", help="A results file, a baseline's name, or a model.")
    ],
    new: Annotated[
        str, typer.Argument(metavar="B", help="The same, to be compared with the first.")
    ],
    cases: Annotated[
        list[Path] | None,
        typer.Option("--cases", help="For two models: case files or folders, else cases."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="For two models: also the cases that name this model."),
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option("--fail", help="Also exit 1 beyond this: weight:-20%, rate:-0.02, gone:0."),
    ] = None,
    allow_gone: Annotated[
        bool, typer.Option("--allow-gone", help="Do not exit 1 for cases of A that B lacks.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="For two models: as in torch, or auto.")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", help="For two models: float32, float16 or bfloat16.")
    ] = "float32",
    tokenizers: Annotated[
        list[str] | None,
        typer.Option(
            "--tokenizer",
            metavar="A=REF|B=REF",
            help="For two models: another tokenizer than A's or B's own; repeat for both.",
        ),
    ] = None,
    source_languages: Annotated[
        list[str] | None,
        typer.Option(
            "--source-language",
            metavar="A=CODE|B=CODE",
            help="For two models: language of texts that name none; repeat for both.",
        ),
    ] = None,
    target_languages: Annotated[
        list[str] | None,
        typer.Option(
            "--target-language",
            metavar="A=CODE|B=CODE",
            help="For two models: language of targets that name none; repeat for both.",
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", help="Write the comparison to this file.", callback=to_json_file),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page with pictures to this file.", callback=to_file),
    ] = None,
    max_unfolded: MaxUnfolded = 1,
    *,
    options: LoadOptions,
) -> None:
    """Compare two results, or run two models on the same cases and compare them.

    Exit 0: nothing broke or is gone. Exit 1: something did or is. Exit 2: they cannot be compared.
    """
    from attnprobe.compare.runs import compare_runs
    from attnprobe.results.files import write_bytes, write_json

    given = {
        "tokenizer": tokenizers,
        "source-language": source_languages,
        "target-language": target_languages,
    }
    found = compare_runs(
        old,
        new,
        limits=fail or (),
        allow_gone=allow_gone,
        options=options._replace(device=device, dtype=dtype),
        given=given,
        paths=cases or [Path("cases")],
        model=model,
        max_unfolded=max_unfolded,
        draws=html is not None,
        status=Console(stderr=True).status,
    )
    _print(found)
    if json is not None:
        write_json(json, found.as_dict())
    if html is not None:
        write_bytes(html, found.page().encode("utf-8", "backslashreplace"))
    if found.fails:
        raise typer.Exit(1)


def _print(found: RunComparison) -> None:
    from attnprobe.compare.describe import change_rows, counts_line, suite_rows

    comparison = found.comparison
    changed = [
        (row.kind, f"{row.case}\n{row.file}", row.model, row.rule, row.before, row.now, row.by)
        for row in change_rows(comparison)
    ]
    suites = [tuple(vars(suite).values()) for suite in suite_rows(comparison)]
    heads = [tuple(map(str, vars(head).values())) for head in found.heads]
    for columns, rows in (
        (("kind", "case", "model", "rule", "before", "now", "change"), changed),
        (("suite", "model", "before", "now", "change", "95 %", "p", "weights moved"), suites),
        (("site", "head", "now", "divergence", "own place", "cases"), heads),
    ):
        if rows:
            print_table(plain_table(columns, rows))
    for note in (*comparison.warnings, *found.notes):
        say(f"note: {note}")
    for line in found.beyond_lines:
        say(line)
    say(counts_line(comparison))
    say(found.sentence)
