"""`attnprobe schema` and `attnprobe lint`: the schema and the check of case files."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.base import MaxUnfolded, app, out, say, to_file
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import SUFFIX
from attnprobe.core.wording import plural


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", callback=to_file)
    ] = None,
) -> None:
    """Print the JSON Schema of case files, for editors."""
    from attnprobe.cases import schema as case_schema
    from attnprobe.results.files import write_bytes

    text = json.dumps(case_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        out.file.write(text)
    else:
        write_bytes(output, text.encode())


@app.command()
def lint(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Case files, or folders that hold some.")
    ] = None,
    max_unfolded: MaxUnfolded = 1,
) -> None:
    """Check case files without a model; exit 1 if anything is wrong with one."""
    from attnprobe import cases
    from attnprobe.relations.corpus import read_corpus
    from attnprobe.relations.gather import gather
    from attnprobe.results.lock import heads_here

    head_sets = heads_here()
    files = cases.case_files(paths or [Path("cases")])
    read = functools.cache(read_corpus)
    count = relations = broken = 0
    for file in files:
        if file.exists() and not file.name.endswith(SUFFIX):
            broken += 1
            text = f"{file} is not collected: its name must end in {SUFFIX}"
            say(text)
            continue
        try:
            found = cases.load_contents(
                file,
                str(file),
                head_sets=head_sets,
                root=Path.cwd(),
                max_unfolded=max_unfolded,
            )
            for relation in found.relations:
                gather(relation, read)
            count += len(found.cases)
            relations += len(found.relations)
        except AttnprobeError as error:
            broken += 1
            say(str(error))
    if not files:
        raise AttnprobeError(f"no case file; they end in {SUFFIX}")
    counts = [plural(len(files), "file"), plural(count, "case")]
    if relations:
        counts.append(plural(relations, "relation"))
    say(", ".join([*counts, f"{plural(broken, 'file')} with errors"]))
    if broken:
        raise typer.Exit(1)
