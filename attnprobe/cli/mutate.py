"""`attnprobe mutate` and `attnprobe mutants`: damage a model and test whether suites notice."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from attnprobe.cli.base import (
    MaxUnfolded,
    app,
    load,
    out,
    print_table,
    say,
    to_file,
    to_folder,
    with_load_options,
)
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import SUFFIX, short_name
from attnprobe.core.per_model import split_name
from attnprobe.models.options import LoadOptions, load_options_by_model
from attnprobe.mutants.kinds import KINDS, Mutation, parse_head, parse_kind

if TYPE_CHECKING:
    from attnprobe.cases import Case
    from attnprobe.models import Model
    from attnprobe.mutants.page import ModelFacts


@app.command()
@with_load_options("tokenizer", "ignore_remote_code")
def mutate(
    model: Annotated[
        str, typer.Argument(help="A folder, pkg://package/path, a .gguf file or a cached hub id.")
    ],
    kind: Annotated[str, typer.Option("--kind", help=f"What is done: {', '.join(KINDS)}.")],
    output: Annotated[
        Path,
        typer.Option(
            "--out", help="The folder to write; it must not exist yet.", callback=to_folder
        ),
    ],
    head: Annotated[str | None, typer.Option("--head", help="Which head, such as L3H1.")] = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--with", help="swap-heads: with which head of the layer; else one is chosen."
        ),
    ] = None,
    layer: Annotated[int | None, typer.Option("--layer", help="Which layer, such as 2.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of what is drawn at random.")] = 0,
    *,
    options: LoadOptions,
) -> None:
    """Write a damaged or harmless variant of a model, to see whether a suite notices."""
    mutation = Mutation(
        parse_kind(kind),
        None if head is None else parse_head(head),
        None if other is None else parse_head(other),
        layer,
        seed,
    )
    from attnprobe.mutants.damage import write_mutant

    done = write_mutant(
        model,
        mutation,
        output,
        tokenizer=options.tokenizer,
        ignore_remote_code=options.ignore_remote_code,
    )
    partner = f" with {done.other}" if done.other else ""
    say(f"written: {output} ({mutation}{partner}: {KINDS[mutation.kind]})")


@app.command()
@with_load_options("ignore_remote_code")
def mutants(
    models: Annotated[
        list[str],
        typer.Option("--model", help="[NAME=]REF; several for cases that name their model."),
    ],
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Case files, or folders that hold some.")
    ] = None,
    tokenizers: Annotated[
        list[str] | None,
        typer.Option("--tokenizer", help="[NAME=]REF of a model whose folder has no tokenizer."),
    ] = None,
    source_languages: Annotated[
        list[str] | None,
        typer.Option(
            "--source-language", help="[NAME=]CODE of texts that name no language; repeatable."
        ),
    ] = None,
    target_languages: Annotated[
        list[str] | None,
        typer.Option(
            "--target-language", help="[NAME=]CODE of targets that name none; repeatable."
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", help="Write the tables as Markdown to this file.", callback=to_file),
    ] = None,
    max_unfolded: MaxUnfolded = 1,
    *,
    options: LoadOptions,
) -> None:
    """Run case files on damaged and harmless variants of their models; exit 1 if one slips by.

    Takes minutes: each head that a case names is damaged twice, each layer once.
    """
    from attnprobe.mutants.page import COLUMNS, as_page, cells, summary_line
    from attnprobe.mutants.trial import count_trials, trials
    from attnprobe.results.files import write_bytes

    refs = {name or short_name(ref): ref for name, ref in map(split_name, models)}
    if len(refs) < len(models):
        raise AttnprobeError("two models have the same name; write --model NAME=REF")
    chosen = load_options_by_model(
        options,
        refs,
        {
            "tokenizer": tokenizers,
            "source-language": source_languages,
            "target-language": target_languages,
        },
    )
    cases = _cases(paths or [Path("cases")], max_unfolded)
    found = []
    for name, ref in refs.items():
        of_model = [case for case in cases if (case.model or next(iter(refs))) == name]
        if not of_model:
            raise AttnprobeError(f"no case is for {name}, so its variants would all look fine")
        model = load(ref, chosen[name], name=name)
        total = count_trials(model, of_model)
        finished = []
        with out.status("") as status:
            for trial in trials(model, of_model):
                finished.append(trial)
                done = f"{len(finished)} of {total} variants"
                status.update(escape(f"{name}: {done}, last {trial.variant}"))
        table = Table(*COLUMNS, title=escape(str(model)))
        # What slipped by comes last, next to the line that counts it.
        for trial in sorted(finished, key=lambda trial: not trial.as_wanted):
            table.add_row(*map(escape, cells(trial)))
        print_table(table)
        say(f"{name}: {summary_line(finished)}")
        found.append((_facts(model, of_model), finished))
    if page is not None:
        write_bytes(page, as_page(found).encode())
    if not all(trial.as_wanted for _, trials_of_model in found for trial in trials_of_model):
        raise typer.Exit(1)


def _cases(paths: Sequence[Path], max_unfolded: int) -> list[Case]:
    from attnprobe import cases
    from attnprobe.results.lock import heads_here

    head_sets = heads_here()
    files = cases.case_files(paths)
    if not files:
        raise AttnprobeError(f"no case file; they end in {SUFFIX}")
    read = functools.partial(cases.load_contents, head_sets=head_sets, max_unfolded=max_unfolded)
    return [case for file in files for case in read(file, str(file)).cases]


def _facts(model: Model, cases: Sequence[Case]) -> ModelFacts:
    from attnprobe.mutants.page import ModelFacts

    site = next(iter(model.sites.values()))
    widths = " or ".join(str(width) for width in sorted(set(site.heads.values())))
    return ModelFacts(
        name=model.name,
        architecture=model.architecture,
        size=f"{site.name}, {len(site.layers)} layers of {widths} heads",
        weights_sha256=model.weights_sha256,
        cases=len(cases),
    )
