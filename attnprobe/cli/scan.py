"""`attnprobe scan`: finds the heads that do a relation."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attnprobe.cli.base import (
    ONE_MODEL,
    app,
    load,
    plain_table,
    print_table,
    say,
    to_folder,
    with_load_options,
)
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import LOCK
from attnprobe.core.parts import WHOLE, Part
from attnprobe.core.sites import SITES
from attnprobe.models.options import LoadOptions
from attnprobe.scan.pool import Pool

if TYPE_CHECKING:
    from attnprobe.scan.corpora import Corpora
    from attnprobe.scan.findings import Findings
    from attnprobe.scan.output import Output
    from attnprobe.scan.session import Options, Scan


class ControlKind(StrEnum):
    RANDOM_INIT = "random-init"


class EngineKind(StrEnum):
    PROCESS = "process"
    RAY = "ray"


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
            help="A .conllu, .jsonl, .tsv or .parquet file, also .gz, a folder of such files, or "
            "pkg://package/path; repeatable.",
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
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", help="Count the i-th of n parts of the sentences: 2/3. See scan merge."
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            min=1,
            help="Threads of one process; the last bits of numbers depend on it.",
        ),
    ] = 1,
    engine: Annotated[
        EngineKind, typer.Option("--engine", help="What counts: this process, or actors of Ray.")
    ] = EngineKind.PROCESS,
    address: Annotated[
        str | None,
        typer.Option("--address", help="With --engine ray: of a cluster; by default this machine."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="With --engine ray: the number of actors.")
    ] = 1,
    num_gpus: Annotated[
        float, typer.Option("--num-gpus", min=0, help="With --engine ray: GPUs of each actor.")
    ] = 0,
    *,
    options: LoadOptions,
) -> None:
    """Measure every head on every relation of a corpus, and what else it does.

    A head is chosen on one half of the sentences and judged on the other.
    """
    from attnprobe.scan.session import Options

    if site is not None and site not in SITES:
        raise AttnprobeError(f"unknown site {site!r}; one of: {', '.join(SITES)}")
    if resume and output is None:
        raise AttnprobeError("--resume goes on from a folder; name it with --output")
    if lock is not None and output is None:
        raise AttnprobeError("--lock is written by a scan with --output; name a folder with it")
    part = _part(shard)
    if not part.whole and output is None:
        raise AttnprobeError("a part of a scan is written into a folder; name it with --output")
    if _rank() is not None and output is not None:
        output = output / f"part-{part.index}-of-{part.count}"
    pool = None
    if engine is EngineKind.RAY:
        pool = Pool(address, concurrency, threads, num_gpus)
    elif address is not None or concurrency != 1 or num_gpus:
        raise AttnprobeError("--address, --concurrency and --num-gpus are for --engine ray")
    corpora = _inspect(corpus, part)
    where = output_of(output, lock, overwrite=overwrite)
    scan_options = Options(
        site=next((name for name in SITES if name == site), None),
        relations=tuple(relation or ()),
        among=among.value,
        seed=seed,
        min_arcs=min_arcs,
        batch_tokens=options.batch_tokens,
        threads=threads,
        prefix=prefix,
        output=where,
    )
    session = _session(
        model, _on_own_device(options), corpora, scan_options, pool, control=bool(control)
    )
    done = session.begin(resume=resume)
    if resume and not done:
        say(f"{output}: nothing to go on with, so the scan starts with the first sentence")
    try:
        _count(session, done)
    except KeyboardInterrupt:
        session.stop()
        again = f"; go on with --resume --output {output}" if output else ""
        say(f"stopped after {session.done} of {session.total} sentences{again}")
        raise typer.Exit(130) from None
    written = session.finish()
    if not part.whole:
        say(f"wrote {written[0]}: part {part}, {session.done} sentences")
        say("next: attnprobe scan merge FOLDER_OF_EACH_PART... --output DIR")
        return
    print_findings(session.findings, written, session.remarks)
    if output is not None and written:
        say(f"next: {next_command(model, where, lock)}")


def _session(
    ref: str,
    load_options: LoadOptions,
    corpora: Corpora,
    options: Options,
    pool: Pool | None,
    *,
    control: bool,
) -> Scan:
    """The scan, which loads the model; on Ray, each actor loads it again."""
    from attnprobe.models.threads import use_threads
    from attnprobe.models.twin import load_with_twin, random_twin
    from attnprobe.scan.ray_engine import on_ray
    from attnprobe.scan.session import Scan, in_process

    twin_seed = options.seed if control else None
    if pool is None:
        use_threads(options.threads)
        model = load(ref, load_options)
        twin = None if twin_seed is None else random_twin(model, seed=twin_seed)
        return Scan(model, corpora, options, in_process(model, twin), control=control)
    make = functools.partial(
        load_with_twin, ref, load_options, seed=twin_seed, threads=options.threads
    )
    engine = on_ray(make, pool)
    # This process needs the model for what it is, and counts nothing with it.
    model = load(ref, load_options._replace(device="cpu", device_map=None))
    return Scan(
        *(model, corpora, options, engine),
        control=control,
        engine_facts={"name": "ray", "workers": pool.concurrency, "num_gpus": pool.num_gpus},
        device="cuda:0" if pool.num_gpus else None,
    )


def _part(shard: str | None) -> Part:
    """The part of the sentences that this process counts: of --shard, or its rank of torchrun."""
    rank = _rank()
    if shard is not None and rank is not None:
        raise AttnprobeError("torchrun gives each of its processes a part; leave --shard out")
    if shard is not None:
        return Part.parse(shard, "--shard")
    return rank or WHOLE


def _rank() -> Part | None:
    """The part that belongs to this process of torchrun; None without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    return Part(int(os.environ["RANK"]) + 1, int(os.environ["WORLD_SIZE"]))


def _on_own_device(options: LoadOptions) -> LoadOptions:
    """The options with the GPU of this process of torchrun, unless a device is named."""
    if _rank() is None or options.device != "auto":
        return options
    return options._replace(device=f"auto:{os.environ['LOCAL_RANK']}")


def _inspect(refs: Sequence[str], part: Part) -> Corpora:
    """The corpora after a first pass, whose notes are printed."""
    from attnprobe.relations.corpus import locate_corpus
    from attnprobe.relations.stream import CorpusStream, corpus_files
    from attnprobe.scan.corpora import Corpora, CorpusRef

    found = []
    for ref in refs:
        path = locate_corpus(ref)
        streams = [CorpusStream(file, name) for file, name in corpus_files(path, ref)]
        found.append(CorpusRef(ref, path, streams))
    corpora = Corpora.inspect(found, part)
    for at, ref in enumerate(refs):
        for note in corpora.notes_on(at):
            say(f"{ref}: {note}")
    return corpora


def output_of(folder: Path | None, lock: Path | None, *, overwrite: bool) -> Output:
    """Where a scan writes: its folder, and the lock file of the project in which that lies."""
    from attnprobe.run.folders import run_root
    from attnprobe.scan.output import Output

    root = Path() if folder is None else run_root(folder)
    if root == Path.cwd().resolve():
        root = Path()
    return Output(folder, root, lock or root / LOCK, overwrite)


def _count(session: Scan, done: int) -> None:
    """Counts what is left, with a progress bar on a terminal."""
    columns = (TextColumn("sentences"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scan", total=session.total, completed=done)
        for finished in session.go_on():
            progress.update(task, completed=finished)


def next_command(model: str, output: Output, lock: Path | None) -> str:
    """The command that runs the suites that were written."""
    folder, root = output.folder, output.root
    assert folder is not None
    assert root is not None
    here = root == Path()
    shown = folder if here else folder.resolve().relative_to(root)
    words = ["pytest", shown.as_posix(), f"--attn-model={model}"]
    if lock is not None:
        words.append(f"--attn-lock={lock.resolve()}")
    start = "" if here else f"cd {shlex.quote(str(root))} && "
    return start + shlex.join(words)


def print_findings(findings: Findings, written: Sequence[Path], remarks: Sequence[str]) -> None:
    """Prints the tables of a scan, what was not judged, and the files."""
    from attnprobe.scan.tables import EXPLANATION

    tables = findings.tables
    if findings.found:
        table = plain_table(tables.relation_columns, tables.relation_rows())
        table.columns[0].no_wrap = True
        print_table(table)
        say(EXPLANATION)
    print_table(plain_table(tables.measure_columns, tables.measure_rows()))
    for line in (*findings.remarks(), *remarks):
        say(line)
    for path in written:
        say(f"wrote {path}")
