"""`attnprobe compare`: two results, or two models on the same cases."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attnprobe.cli.base import app, load_options_by_model, out, print_table, with_load_options
from attnprobe.core.errors import AttnprobeError, ResultsError
from attnprobe.core.names import LOCK, SUFFIX, short_name
from attnprobe.models.options import LoadOptions
from attnprobe.results.lock import read_heads

if TYPE_CHECKING:
    from attnprobe.cases import Case
    from attnprobe.compare.changes import Comparison
    from attnprobe.render.compare_page import ChangePictures, HeadRow
    from attnprobe.results.records import Results

__all__: list[str] = []

COMPARISON_SCHEMA = "attnprobe/comparison-1"
_MOST_PICTURES = 30
_BASELINES = Path(".attnprobe")
# What pytest exits with when it went through all cases.
_RAN = (0, 1)
_TAIL = 15  # lines of pytest's output that an error quotes


@app.command()
@with_load_options("ignore_remote_code")
def compare(
    old: Annotated[
        str, typer.Argument(metavar="A", help="A results file, a baseline's name, or a model.")
    ],
    new: Annotated[
        str, typer.Argument(metavar="B", help="The same, to be compared with the first.")
    ],
    cases: Annotated[
        list[Path] | None,
        typer.Option("--cases", help="For two models: case files or folders, else cases."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="For two models: also the cases that name this model."),
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option("--fail", help="Also exit 1 beyond this: weight:-20%, rate:-0.02, gone:0."),
    ] = None,
    allow_gone: Annotated[
        bool, typer.Option("--allow-gone", help="Do not exit 1 for cases of A that B lacks.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="For two models: as in torch, or auto.")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", help="For two models: float32, float16 or bfloat16.")
    ] = "float32",
    tokenizers: Annotated[
        list[str] | None,
        typer.Option(
            "--tokenizer",
            metavar="A=REF|B=REF",
            help="For two models: another tokenizer than A's or B's own; repeat for both.",
        ),
    ] = None,
    source_languages: Annotated[
        list[str] | None,
        typer.Option(
            "--source-language",
            metavar="A=CODE|B=CODE",
            help="For two models: language of texts that name none; repeat for both.",
        ),
    ] = None,
    target_languages: Annotated[
        list[str] | None,
        typer.Option(
            "--target-language",
            metavar="A=CODE|B=CODE",
            help="For two models: language of targets that name none; repeat for both.",
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the comparison to this file.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with pictures to this file.")
    ] = None,
    *,
    options: LoadOptions,
) -> None:
    """Compare two results, or run two models on the same cases and compare them.

    Exit 0: nothing broke or is gone. Exit 1: something did or is. Exit 2: they cannot be compared.
    """
    from attnprobe.compare.changes import compare_results, pair_models
    from attnprobe.compare.limits import exceeded, parse_limit
    from attnprobe.results.records import read_results

    limits = [parse_limit(text) for text in fail or ()]
    files = [_results_file(given) for given in (old, new)]
    given = {
        "tokenizer": tokenizers,
        "source-language": source_languages,
        "target-language": target_languages,
    }
    for option, entries in given.items():
        if any(files) and entries:
            raise AttnprobeError(f"--{option} is for two models; results say which one they had")
    if all(files):
        before, after = (read_results(file) for file in files if file)
        found = _Found(compare_results(before, after, models=pair_models(before, after)))
    elif any(files):
        which, other = (old, new) if files[0] else (new, old)
        if not Path(other).exists() and "/" not in other:
            raise AttnprobeError(
                f"no file or baseline is named {other}; {which} is a results file, so give a "
                "second one, or two models"
            )
        raise AttnprobeError(
            f"{which} is a results file and {other} is none; give two results, or two models"
        )
    else:
        common = replace(options, device=device, dtype=dtype)
        chosen = load_options_by_model(common, ("A", "B"), given)
        pair = ((old, chosen["A"]), (new, chosen["B"]))
        found = _two_models(pair, cases or [Path("cases")], model, html)
    if not found.comparison.suites:
        raise ResultsError(f"{old} and {new} have no case in common that both executed")
    if not allow_gone and not any(limit.kind == "gone" for limit in limits):
        limits.append(parse_limit("gone:0"))
    beyond = [text for limit in limits if (text := exceeded(limit, found.comparison))]
    _print(found, beyond)
    if json is not None:
        _write_json(json, old, new, found, beyond)
    if html is not None:
        _write_page(html, old, new, found, beyond)
    if found.comparison.of("broken") or beyond:
        raise typer.Exit(1)


@dataclass
class _Found:
    """All that is told of two runs.

    Attributes:
        heads: that cases pin down, those that are lost or moved first.
        fates: what became of them, as a sentence; empty where all are where they were.
        notes: what could not be shown, and why.
    """

    comparison: Comparison
    heads: Sequence[HeadRow] = ()
    fates: str = ""
    pictures: Sequence[ChangePictures] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """What a release needs to know."""
        from attnprobe.compare.describe import sentence

        return f"{sentence(self.comparison)} {self.fates}".rstrip()


def _results_file(given: str) -> Path | None:
    """The results file that is meant; None for a model."""
    named = _BASELINES / f"{given}.json"
    if named.is_file() and not Path(given).exists():
        return named
    return Path(given) if given.endswith(".json") else None


def _two_models(
    models: Sequence[tuple[str, LoadOptions]],
    paths: Sequence[Path],
    name: str | None,
    html: Path | None,
) -> _Found:
    from attnprobe.compare.changes import compare_results
    from attnprobe.compare.side_by_side import draw_change, fates_sentence, head_fates, head_row
    from attnprobe.models import load_model

    suite, named = _cases(paths)
    name = name or _only_name(named)
    names = [name or short_name(ref) for ref, _ in models]
    console = Console(stderr=True)
    runs: list[Results] = []
    for (ref, options), called in zip(models, names, strict=True):
        with console.status(f"running the cases on {ref}"):
            runs.append(_run(ref, options, called, paths))
    comparison = compare_results(*runs, models={names[0]: names[1]})
    found = _Found(comparison)
    ran = {(_resolved(item.file), item.name) for item in runs[1].items}
    asked = {
        (path, case.name): case
        for path, case in suite
        if (path, case.name) in ran and case.skip is None
    }
    try:
        with console.status("matching heads"):
            labels = names if names[0] != names[1] else [f"{names[0]} {which}" for which in "AB"]
            one, other = (
                load_model(ref, options, name=label)
                for (ref, options), label in zip(models, labels, strict=True)
            )
            fates = head_fates(one, other, asked.values())
        found.heads = [head_row(fate) for fate in fates]
        found.fates = fates_sentence(fates)
    except AttnprobeError as error:
        found.notes.append(f"heads could not be matched: {error}")
        return found
    if html is None:
        return found
    changed = [
        (change, asked[place])
        for change in comparison.of("broken", "weaker", "fixed", "stronger")
        if (place := (_resolved(change.key.file), change.name)) in asked
    ]
    order = {"broken": 0, "weaker": 1, "fixed": 2, "stronger": 3}
    changed.sort(key=lambda entry: order[entry[0].kind])
    with console.status("drawing"):
        found.pictures = [
            draw_change(change, case, one, other) for change, case in changed[:_MOST_PICTURES]
        ]
    if len(changed) > _MOST_PICTURES:
        found.notes.append(f"{len(changed) - _MOST_PICTURES} more changed cases are not drawn")
    return found


def _cases(paths: Sequence[Path]) -> tuple[list[tuple[Path, Case]], set[str | None]]:
    """The cases of case files, each with its file, and the models that cases and relations name."""
    from attnprobe import cases

    head_sets = read_heads(Path(LOCK)) if Path(LOCK).exists() else {}
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise AttnprobeError(f"no such file or folder: {', '.join(missing)}; give --cases PATH")
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path])
        if file.name.endswith(SUFFIX)
    ]
    suite: list[tuple[Path, Case]] = []
    named: set[str | None] = set()
    for file in files:
        contents = cases.load_contents(file, str(file), head_sets=head_sets, root=Path.cwd())
        suite += [(file.resolve(), case) for case in contents.cases]
        named |= {case.model for case in contents.cases}
        named |= {relation.model for relation in contents.relations}
    return suite, named


def _only_name(named: set[str | None]) -> str | None:
    """The one model that all cases name; None where some name none."""
    if None in named or not named:
        return None
    if len(named) > 1:
        known = ", ".join(sorted(name for name in named if name))
        raise AttnprobeError(f"the cases are for several models; name one with --model: {known}")
    return next(iter(named))


def _resolved(file: str) -> Path:
    return Path(file).resolve()


def _run(ref: str, options: LoadOptions, name: str, paths: Sequence[Path]) -> Results:
    """Runs pytest over the cases on one model.

    Raises:
        ResultsError: it did not go through, or measured nothing.
    """
    from attnprobe.results.records import read_results
    from attnprobe.run.explain import harmless

    by_model = {
        "tokenizer": options.tokenizer,
        "source-language": options.source_language,
        "target-language": options.target_language,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        arguments = [
            f"--attn-model={name}={ref}",
            *(f"--attn-{option}={name}={value}" for option, value in by_model.items() if value),
            f"--attn-json={file}",
            f"--attn-device={options.device}",
            f"--attn-dtype={options.dtype}",
            "--attn-figures=none",
            *(["--attn-ignore-remote-code"] if options.ignore_remote_code else []),
            "--rootdir=.",
            *("-q", "-p", "no:cacheprovider"),
            # What the project's ini file says of baselines and of single models is about its runs.
            *("-o", "attn_save=", "-o", "attn_compare=", "-o", "attn_compare_fail="),
            *("-o", "attn_tokenizer="),
            *("-o", "attn_source_language=", "-o", "attn_target_language="),
        ]
        command = [sys.executable, "-m", "pytest", *map(str, paths), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-_TAIL:])
        if done.returncode not in _RAN or not file.exists():
            raise ResultsError(
                f"{ref}: pytest ended with exit code {done.returncode}:\n{harmless(tail)}"
            )
        found = read_results(file)
    if all(item.outcome in ("error", "skipped") for item in found.items):
        raise ResultsError(f"{ref}: no case could be measured:\n{harmless(tail)}")
    return found


def _print(found: _Found, beyond: Sequence[str]) -> None:
    from attnprobe.compare.describe import change_rows, counts_line, suite_rows

    comparison = found.comparison
    rows = change_rows(comparison)
    if rows:
        table = _table("kind", "case", "model", "rule", "before", "now", "change")
        for row in rows:
            case = f"{row.case}\n{row.file}"
            cells = (row.kind, case, row.model, row.rule, row.before, row.now, row.by)
            table.add_row(*map(_plain, cells))
        print_table(table)
    if comparison.suites:
        table = _table("suite", "model", "before", "now", "change", "95 %", "p")
        for suite in suite_rows(comparison):
            table.add_row(*map(_plain, vars(suite).values()))
        print_table(table)
    if found.heads:
        table = _table("site", "head", "now", "divergence", "cases")
        for head in found.heads:
            table.add_row(*(_plain(str(value)) for value in vars(head).values()))
        print_table(table)
    for note in (*comparison.warnings, *found.notes):
        out.print(_plain(f"note: {note}"), soft_wrap=True)
    for text in _beyond(beyond):
        out.print(_plain(text), soft_wrap=True)
    out.print(counts_line(comparison))
    out.print(_plain(found.sentence), soft_wrap=True)


def _beyond(texts: Sequence[str]) -> list[str]:
    return [f"beyond the limit {text}" for text in texts]


def _table(*columns: str) -> Table:
    table = Table(*columns)
    for column in table.columns:
        column.overflow = "fold"
    return table


def _plain(text: str) -> Text:
    """Text as it is: what stands in brackets is a row, not markup."""
    from attnprobe.run.explain import harmless

    return Text(harmless(text))


def _write_json(path: Path, old: str, new: str, found: _Found, beyond: Sequence[str]) -> None:
    from attnprobe.results.files import write_json

    content: dict[str, Any] = {
        "schema": COMPARISON_SCHEMA,
        "old": old,
        "new": new,
        **found.comparison.as_dict(),
        "heads": [vars(head) for head in found.heads],
        "notes": found.notes,
        "beyond": list(beyond),
    }
    write_json(path, content)


def _write_page(path: Path, old: str, new: str, found: _Found, beyond: Sequence[str]) -> None:
    from attnprobe.compare.describe import change_rows, suite_rows
    from attnprobe.render.compare_page import compare_page
    from attnprobe.results.files import write_bytes

    comparison = found.comparison
    page = compare_page(
        f"{old} → {new}",
        subtitle=found.sentence,
        counts={str(kind): count for kind, count in comparison.counts().items()},
        rows=change_rows(comparison),
        suites=suite_rows(comparison),
        heads=found.heads,
        pictures=found.pictures,
        notes=(
            *(f"beyond the limit {text}" for text in beyond),
            *comparison.warnings,
            *found.notes,
        ),
    )
    write_bytes(path, page.encode("utf-8", "backslashreplace"))
