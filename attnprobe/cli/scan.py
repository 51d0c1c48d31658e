"""`attnprobe scan`: finds the heads that do a relation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from attnprobe.cli.base import ONE_MODEL, app, load, print_table, say, to_folder, with_load_options
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import LOCK
from attnprobe.core.sites import SITES, SiteName
from attnprobe.models.options import LoadOptions

if TYPE_CHECKING:
    from attnprobe.scan.session import Scan


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
        list[str],
        typer.Option(
            "--corpus",
            help="A .conllu, .jsonl or .tsv file, or pkg://package/path; repeatable.",
        ),
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
        typer.Option(
            "--output",
            "-o",
            help="Folder for results, cases and a page of grids.",
            callback=to_folder,
        ),
    ] = None,
    lock: Annotated[
        Path | None,
        typer.Option(
            "--lock",
            help="With --output: the file that head sets are added to; by default "
            f"{LOCK} in the root that pytest will find.",
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
    from attnprobe.relations.corpus import locate_corpus, read_corpus
    from attnprobe.run.folders import run_root
    from attnprobe.scan.session import Options, Scan

    if site is not None and site not in SITES:
        raise AttnprobeError(f"unknown site {site!r}; one of: {', '.join(SITES)}")
    if resume and output is None:
        raise AttnprobeError("--resume goes on from a folder; name it with --output")
    if lock is not None and output is None:
        raise AttnprobeError("--lock is written by a scan with --output; name a folder with it")
    paths = [locate_corpus(ref) for ref in corpus]
    corpora = [read_corpus(path, ref) for path, ref in zip(paths, corpus, strict=True)]
    root = Path() if output is None else run_root(output)
    if root == Path.cwd().resolve():
        root = Path()
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
        root=root,
        lock=lock or root / LOCK,
        prefix=prefix,
        overwrite=overwrite,
    )
    twin = random_twin(loaded, seed=seed) if control else None
    session = Scan(loaded, twin, corpora, paths, scan_options)
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
    written = session.finish()
    _print(session, written)
    if output is not None and written:
        say(f"next: {_next_command(model, output, root, lock)}")


def _next_command(model: str, output: Path, root: Path, lock: Path | None) -> str:
    """The command that runs the suites that were written."""
    here = root == Path()
    folder = output if here else output.resolve().relative_to(root)
    words = ["pytest", folder.as_posix(), f"--attn-model={model}"]
    if lock is not None:
        words.append(f"--attn-lock={lock.resolve()}")
    start = "" if here else f"cd {shlex.quote(str(root))} && "
    return start + shlex.join(words)


def _print(session: Scan, written: Sequence[Path]) -> None:
    from attnprobe.scan.tables import EXPLANATION

    tables = session.tables
    first, *columns = tables.relation_columns
    table = Table()
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column)
    for row in tables.relation_rows():
        table.add_row(*map(_plain, row))
    measures = Table(*tables.measure_columns)
    for row in tables.measure_rows():
        measures.add_row(*map(_plain, row))
    if session.found:
        print_table(table)
        say(EXPLANATION)
    print_table(measures)
    for line in session.remarks():
        say(line)
    for path in written:
        say(f"wrote {path}")


def _plain(cell: str) -> str:
    """Text that rich and the terminal print unchanged."""
    from rich.markup import escape

    from attnprobe.core.printing import harmless

    return escape(harmless(cell))
