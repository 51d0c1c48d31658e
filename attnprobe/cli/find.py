"""`attnprobe find`: finds the heads by which one word attends to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from attnprobe.cli.base import (
    ONE_MODEL,
    app,
    check_site,
    check_text,
    load,
    print_table,
    say,
    to_file,
    with_load_options,
)
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import SUFFIX
from attnprobe.core.texts import Sample
from attnprobe.models.options import LoadOptions


@app.command()
@with_load_options(*ONE_MODEL)
def find(
    model: Annotated[
        str, typer.Argument(help="A folder, pkg://package/path, a .gguf file or a cached hub id.")
    ],
    text: Annotated[
        str | None,
        typer.Argument(help="A text; words may be marked: [to Maria] said that [from she] is ill."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="The word that attends, where none is marked.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="The word attended to, where none is marked.")
    ] = None,
    over: Annotated[
        str | None, typer.Option("--over", help="A word that competes with it; [over word].")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", help="One more text; repeat for several.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="Texts, one a line; of an encoder-decoder, its target behind a tab."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="The target of TEXT, for an encoder-decoder.")
    ] = None,
    site: Annotated[
        Literal["encoder", "decoder", "cross"] | None,
        typer.Option("--site", help="Needed where the model has several."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many heads to show.")] = 10,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=f"Write the cases to this file (*{SUFFIX}) instead of printing them.",
            callback=to_file,
        ),
    ] = None,
    *,
    options: LoadOptions,
) -> None:
    """Find the heads by which one word attends to another, and print cases for the strongest.

    Where there are several texts, heads are chosen on one half of them and shown on the other.
    """
    if output is not None and not output.name.endswith(SUFFIX):
        raise AttnprobeError(f"--output {output}: the name of a case file ends in {SUFFIX}")
    samples = _samples(text, texts or [], file, target)
    words = {
        "from_": _word("--from", from_),
        "to": _word("--to", to),
        "over": _word("--over", over),
    }
    from attnprobe.find import find as find_heads
    from attnprobe.find import read_marked
    from attnprobe.results.files import write_bytes

    asked = [read_marked(sample, **words) for sample in samples]
    loaded = load(model, options)
    check_site(loaded, site, next(entry.sample.target for entry in asked))
    found = find_heads(loaded, asked, site=site, top=top, batch_tokens=loaded.batch_tokens)
    header, *lines = found.table()
    table = Table(*header)
    for line in lines:
        table.add_row(*line)
    print_table(table)
    say(found.summary)
    if found.heads[0].bound is None:
        return
    if output is None:
        say(f"\n{found.suite()}")
        return
    write_bytes(output, found.suite(output.name.removesuffix(SUFFIX)).encode())
    say(f"written: {output}")


def _samples(
    text: str | None, more: list[str], file: Path | None, target: str | None
) -> list[Sample]:
    """The texts in the order of the command line.

    Raises:
        AttnprobeError: there is none, one is empty, or the file cannot be read.
    """
    given = [*([] if text is None else [text]), *more]
    for written in given:
        check_text("a text", written)
    if target is not None:
        check_text("--target", target)
        if len(given) > 1 or file is not None:
            raise AttnprobeError(
                "--target is of one text; write several into a --file, each target behind a tab"
            )
    samples = [Sample(written, target) for written in given]
    if file is not None:
        if file.exists() and not file.is_file():
            raise AttnprobeError(f"--file {file}: not a regular file")
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise AttnprobeError(f"--file {file}: {error}") from error
        for line in filter(str.strip, lines):
            source, _, aim = line.partition("\t")
            samples.append(Sample(source, aim or None))
    if not samples:
        raise AttnprobeError("there is no text: give TEXT, --text or --file")
    return samples


def _word(option: str, value: str | None) -> object:
    """A word, or a selector in YAML's flow style, such as `{word: it, nth: 2}`."""
    if value is None or not value.lstrip().startswith(("{", "[")):
        return value
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise AttnprobeError(f"{option} {value}: {error}") from None
