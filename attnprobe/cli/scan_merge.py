"""`attnprobe scan merge`: puts the parts of a scan together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.base import app, say, to_folder
from attnprobe.cli.scan import next_command, output_of, print_findings
from attnprobe.core.names import LOCK


@app.command(name="scan merge")
def scan_merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="The --output folder of each part.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for results, cases and a page of grids.",
            callback=to_folder,
        ),
    ],
    lock: Annotated[
        Path | None,
        typer.Option(
            "--lock",
            help=f"The file that head sets are added to; by default {LOCK} in the root that "
            "pytest will find.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace head sets of other models.")
    ] = False,
) -> None:
    """Write what one scan of all sentences would have written, from scans with --shard."""
    from attnprobe.scan.merge import merge

    where = output_of(output, lock, overwrite=overwrite)
    merged = merge(parts, where)
    print_findings(*merged)
    say(f"next: {next_command(merged.findings.facts.model['ref'], where, lock)}")
