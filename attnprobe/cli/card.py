"""`attnprobe card`: writes a run as results into a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.base import app, out, say, to_file


@app.command()
def card(
    results: Annotated[Path, typer.Argument(help="Results file of --attn-json.")],
    file: Annotated[
        Path | None,
        typer.Option(
            "--card", help="Update this model card instead of printing.", callback=to_file
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model, where the run has several.")
    ] = None,
) -> None:
    """Print a run as the model-index of a model card, or put it into one."""
    from attnprobe.results.card import card_yaml, update_card
    from attnprobe.results.records import read_results

    found = read_results(results)
    if file is None:
        out.file.write(card_yaml(found, model=model))
        return
    changed = update_card(file, found, model=model)
    say(f"{file}: {'updated' if changed else 'is up to date'}")
