"""`attnprobe history`: suites over many runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnprobe.cli.base import app, plain_table, print_table, say, to_file, to_json_file

if TYPE_CHECKING:
    from attnprobe.compare.history import History

_MOST_LINES = 40


@app.command()
def history(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Results files in their order, or folders of them, such as a training leaves."
        ),
    ],
    json: Annotated[
        Path | None,
        typer.Option("--json", help="Write the history to this file.", callback=to_json_file),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page with curves to this file.", callback=to_file),
    ] = None,
) -> None:
    """Show suites over many runs: when a relation appears, when it breaks, by which heads.

    The files of a folder are ordered by name, in which numbers count as numbers.
    """
    from attnprobe.compare.describe_history import history_html
    from attnprobe.compare.history import read_history
    from attnprobe.results.files import write_bytes, write_json

    found = read_history(*runs)
    _print(found)
    if json is not None:
        write_json(json, found.as_dict())
    if html is not None:
        write_bytes(html, history_html(found).encode("utf-8", "backslashreplace"))


def _print(found: History) -> None:
    from attnprobe.compare.describe_history import change_lines, notes, run_row, sentence
    from attnprobe.core.wording import shorten

    for line in found.suites:
        print_table(
            plain_table(
                ("run", "hold", "pass rate", "95 %", "mean slack", "vacuous"),
                (
                    vars(run_row(run, count)).values()
                    for run, count in zip(found.runs, line.counts, strict=True)
                    if count is not None
                ),
                title=f"{line.suite} on {line.model}",
            )
        )
    for note in notes(found):
        say(f"note: {note}")
    for change in shorten(change_lines(found), _MOST_LINES):
        say(change)
    say(sentence(found))
