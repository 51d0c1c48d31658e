"""`attnprobe scan`: finds the heads that do a relation."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from attnprobe.cli.base import ONE_MODEL, app, load, print_table, say, with_load_options
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import LOCK
from attnprobe.core.sites import SITES, SiteName
from attnprobe.core.wording import format_interval, format_p, format_percent, format_percent_change
from attnprobe.models.options import LoadOptions

if TYPE_CHECKING:
    from attnprobe.scan.greedy_sets import GreedySet
    from attnprobe.scan.session import Scan

# How many heads the table of measures names for each measure.
STRONGEST = 3


class ControlKind(StrEnum):
    RANDOM_INIT = "random-init"


class Among(StrEnum):
    WORDS = "words"
    ALL = "all"


@app.command()
@with_load_options("batch_tokens", *ONE_MODEL)
def scan(
    model: Annotated[
        str, typer.Argument(help="A folder, pkg://package/path, a .gguf file or a hub id.")
    ],
    corpus: Annotated[
        list[Path], typer.Option("--corpus", help="A .conllu, .jsonl or .tsv file; repeatable.")
    ],
    relation: Annotated[
        list[str] | None,
        typer.Option("--relation", help="Only this relation and its subtypes; repeatable."),
    ] = None,
    site: Annotated[
        str | None, typer.Option("--site", help="encoder, decoder or cross; if there are several.")
    ] = None,
    among: Annotated[
        Among,
        typer.Option(
            "--among",
            help="What competes: words, or all: special tokens and a decoder's first token too.",
        ),
    ] = Among.WORDS,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the halves, samples and control.")
    ] = 0,
    min_arcs: Annotated[
        int, typer.Option("--min-arcs", min=1, help="Fewest arcs in each half of the sentences.")
    ] = 30,
    control: Annotated[
        ControlKind | None,
        typer.Option("--control", help="Scan an untrained twin beside the model."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for results, cases and grids."),
    ] = None,
    lock: Annotated[
        Path | None,
        typer.Option(
            "--lock", help=f"With --output: the file that head sets are added to; default {LOCK}."
        ),
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Put before the names of head sets.")
    ] = "",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the unfinished scan in the folder, if there is one."
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Drop an unfinished scan, and head sets of other models."),
    ] = False,
    *,
    options: LoadOptions,
) -> None:
    """Measure every head on every relation of a corpus, and what else it does.

    A head is chosen on one half of the sentences and judged on the other.
    """
    from attnprobe.relations.corpus import read_corpus
    from attnprobe.scan.session import Options, Scan

    if site is not None and site not in SITES:
        raise AttnprobeError(f"unknown site {site!r}; one of: {', '.join(SITES)}")
    if resume and output is None:
        raise AttnprobeError("--resume goes on from a folder; name it with --output")
    if lock is not None and output is None:
        raise AttnprobeError("--lock is written by a scan with --output; name a folder with it")
    corpora = [read_corpus(path) for path in corpus]
    for source in corpora:
        for note in source.notes:
            say(f"{source.name}: {note}")

    from attnprobe.models.twin import random_twin

    loaded = load(model, options)
    named: SiteName | None = next((name for name in SITES if name == site), None)
    scan_options = Options(
        site=named,
        relations=tuple(relation or ()),
        among=among.value,
        seed=seed,
        min_arcs=min_arcs,
        batch_tokens=options.batch_tokens,
        output=output,
        lock=lock or Path(LOCK),
        prefix=prefix,
        overwrite=overwrite,
    )
    twin = random_twin(loaded, seed=seed) if control else None
    session = Scan(loaded, twin, corpora, list(corpus), scan_options)
    done = session.begin(resume=resume)
    if resume and not done:
        say(f"{output}: nothing to go on with, so the scan starts with the first sentence")
    console = Console(stderr=True)
    columns = (TextColumn("sentences"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("scan", total=session.total, completed=done)
            for finished in session.go_on():
                progress.update(task, completed=finished)
    except KeyboardInterrupt:
        session.stop()
        where = f"; go on with --resume --output {output}" if output else ""
        say(f"stopped after {session.done} of {session.total} sentences{where}")
        raise typer.Exit(130) from None
    _print(session, session.finish())


def _print(session: Scan, written: Sequence[Path]) -> None:
    from attnprobe.core.printing import harmless

    table = Table()
    table.add_column("relation", no_wrap=True)
    columns = ("head", "chosen", "held out", "95 %", "best offset", "p", "preference", "p")
    for column in (*columns, "better", "set"):
        table.add_column(column)
    if session.twin is not None:
        table.add_column("untrained")
    for finding in session.found:
        best, joint, preference = finding.best, finding.greedy_set, finding.best.preference
        cells = [
            harmless(str(finding.group)),
            str(best.head),
            f"{format_percent(best.chosen_accuracy)} of {best.chosen_on}",
            f"{format_percent(best.accuracy)} of {best.n}",
            format_interval(best.interval),
            f"{best.best_offset:+d}: {format_percent(best.offset_accuracy)}",
            format_p(best.p),
            "" if preference is None else f"{format_percent(preference.share)} of {preference.n}",
            "" if preference is None else format_p(preference.p),
            f"{len(finding.discoveries)} of {finding.heads_tried}",
            "" if joint is None else _describe_set(joint),
        ]
        if session.twin is not None:
            twin = session.control_of(finding.group)
            cells.append(
                "" if twin is None else f"{twin.best.head}: {format_percent(twin.best.accuracy)}"
            )
        table.add_row(*(_plain(cell) for cell in cells))
    measures = Table("what heads do", "unit", "strongest", "median")
    if session.twin is not None:
        measures.add_column("untrained, strongest")
    for row in session.measure_table(STRONGEST):
        measures.add_row(*(_plain(cell) for cell in row))
    if session.found:
        print_table(table)
        say(
            "A head is chosen on one half of the sentences and judged on the other. p: exact "
            "McNemar test of that head against the word at the best fixed distance. preference: "
            "how often the head is right when another word of the sentence looks, and the same "
            "test against that. better: heads "
            "that are better than that distance at a false discovery rate of 5 %. set: heads whose "
            "mean is better than the head alone, and what of that is left on the other half."
        )
    print_table(measures)
    for line in session.remarks():
        say(line)
    for path in written:
        say(f"wrote {path}")


def _describe_set(joint: GreedySet) -> str:
    gain = format_percent_change(joint.gain, decimals=1)
    return f"{len(joint.heads)} heads {gain} (p {format_p(joint.p)})"


def _plain(cell: str) -> str:
    """Text that rich prints unchanged."""
    from rich.markup import escape

    return escape(cell)
