"""`attnprobe merge`: puts the results of the parts of a run together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.base import app, say, to_json_file


@app.command()
def merge(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS...", help="The --attn-json files of all parts."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The results file of the whole run.", callback=to_json_file
        ),
    ],
) -> None:
    """Write the results of a whole run, from runs with --attn-shard."""
    from attnprobe.run.merge import merge_results
    from attnprobe.run.order import Habit

    found = merge_results(results)
    found.write(output)
    counts = [f"{count} {name}" for name, count in found.summary().items() if count]
    say(f"wrote {output}: {', '.join(counts) or 'no check'}")
    for line in (*found.complaints, *(str(Habit(**vars(habit))) for habit in found.order)):
        say(f"attnprobe: {line}")
