"""`attnprobe summary`: writes a results file as Markdown for GitHub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.base import app, out, to_file
from attnprobe.core.errors import ResultsError


@app.command()
def summary(
    results: Annotated[Path, typer.Argument(help="Results file of --attn-json.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write here; by default to GITHUB_STEP_SUMMARY, else print.",
            callback=to_file,
        ),
    ] = None,
    decision: Annotated[
        Path | None,
        typer.Option("--decision", help="What attnprobe gate --json wrote, to stand on top."),
    ] = None,
    annotations: Annotated[
        bool, typer.Option(help="On GitHub, mark failed checks in their files.")
    ] = True,
) -> None:
    """Write a run as Markdown, and mark failed checks in their files where GitHub runs it."""
    from attnprobe.gate import read_sentence
    from attnprobe.results.files import write_bytes
    from attnprobe.results.records import read_results
    from attnprobe.results.summary import MOST_BYTES, markdown, workflow_commands

    found = read_results(results)
    sentence = read_sentence(decision) if decision is not None else ""
    on_github = os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if output is not None:
            write_bytes(output, markdown(found, sentence=sentence).encode())
        elif on_github:
            # A step may append to its summary several times; the size limit is for all together.
            with Path(on_github).open("ab") as file:
                room = MOST_BYTES - file.tell()
                file.write(markdown(found, room=room, sentence=sentence).encode())
        else:
            out.file.write(markdown(found, sentence=sentence))
    except BrokenPipeError:
        raise  # the reader of what is printed went away, which is no fault
    except OSError as error:
        raise ResultsError(f"the summary cannot be written: {error}") from None
    if annotations and os.environ.get("GITHUB_ACTIONS") == "true":
        for line in workflow_commands(found, folder=folder()):
            out.file.write(f"{line}\n")


def folder() -> str:
    """The working directory relative to the checked-out repository; empty outside of it."""
    root, here = os.environ.get("GITHUB_WORKSPACE"), Path.cwd()
    if root and here.is_relative_to(root):
        return here.relative_to(root).as_posix()
    return ""
