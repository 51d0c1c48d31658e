"""`attnprobe summary`: a results file as text, and as Markdown for GitHub."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from attnprobe.cli.base import app, out, plain_table, print_table, say, to_file
from attnprobe.core.errors import AttnprobeError, ResultsError

if TYPE_CHECKING:
    from attnprobe.results.summary import Summary


@app.command()
def summary(
    results: Annotated[
        Path | None,
        typer.Argument(help="Results file of --attn-json; may be left out with --decision."),
    ] = None,
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
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", help="Older results, to be compared with case by case."),
    ] = None,
    form: Annotated[
        Literal["text", "markdown"] | None,
        typer.Option("--format", help="By default text on a terminal, and Markdown elsewhere."),
    ] = None,
    comment: Annotated[
        str | None,
        typer.Option(
            "--comment",
            metavar="NAME",
            help="Markdown for a comment on a pull request, which a hidden line names.",
        ),
    ] = None,
    annotations: Annotated[
        bool, typer.Option(help="On GitHub, mark failed checks in their files.")
    ] = True,
) -> None:
    """Print a run, or write it as Markdown; on GitHub, mark failed checks in their files."""
    from attnprobe.results.summary import workflow_commands

    if form == "text" and (output is not None or comment is not None):
        raise AttnprobeError("text is printed; a file and a comment are Markdown")
    told = _read(results, decision, baseline)
    on_github = os.environ.get("GITHUB_STEP_SUMMARY")
    elsewhere = output is not None or comment is not None or bool(on_github)
    if form == "text" or (form is None and not elsewhere and out.is_terminal):
        _print(told)
    else:
        _write(told, output, comment, Path(on_github) if on_github else None)
    if told.results is not None and annotations and os.environ.get("GITHUB_ACTIONS") == "true":
        for line in workflow_commands(told.results, folder=folder()):
            out.file.write(f"{line}\n")


def _read(results: Path | None, decision: Path | None, baseline: Path | None) -> Summary:
    from attnprobe.compare.changes import compare_results, pair_models
    from attnprobe.compare.describe import sentence, summary_tables
    from attnprobe.gate import read_decision
    from attnprobe.results.records import read_results
    from attnprobe.results.summary import Summary

    if results is None and decision is None:
        raise AttnprobeError("name a results file, or a decision of the gate with --decision")
    found = None if results is None else read_results(results)
    told = Summary(found) if decision is None else Summary(found, *read_decision(decision))
    if found is None or baseline is None:
        return told
    before = read_results(baseline)
    comparison = compare_results(before, found, models=pair_models(before, found))
    note = f"against the baseline: {sentence(comparison)}"
    return replace(told, notes=(note, *told.notes), compared=summary_tables(comparison))


def _print(told: Summary) -> None:
    from attnprobe.results.summary import in_words

    for table in told.tables(all_checks=False):
        if table.items:
            print_table(plain_table(table.columns, (row for item in table.items for row in item)))
    for note in told.notes:
        say(f"note: {note}")
    if told.results is not None:
        say(f"{in_words(told.results)}.")
    if told.sentence:
        say(told.sentence)


def _write(told: Summary, output: Path | None, comment: str | None, step: Path | None) -> None:
    """Writes Markdown to a file, to the summary of a step, or prints it."""
    from attnprobe.results.files import write_bytes
    from attnprobe.results.summary import MOST_BYTES, comment_on, markdown_of

    try:
        if comment is None and output is None and step is not None:
            # A step may append to its summary several times; the size limit is for all together.
            with step.open("ab") as file:
                file.write(markdown_of(told, room=MOST_BYTES - file.tell()).encode())
            return
        text = markdown_of(told) if comment is None else comment_on(told, comment)
        if output is None:
            out.file.write(text)
        else:
            write_bytes(output, text.encode())
    except BrokenPipeError:
        raise  # the reader of what is printed went away, which is no fault
    except OSError as error:
        raise ResultsError(f"the summary cannot be written: {error}") from None


def folder() -> str:
    """The working directory relative to the checked-out repository; empty outside of it."""
    root, here = os.environ.get("GITHUB_WORKSPACE"), Path.cwd()
    if root and here.is_relative_to(root):
        return here.relative_to(root).as_posix()
    return ""
