"""`attnprobe show`: what heads do on one text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from attnprobe.cli.base import app, out, print_table, warn_of, with_load_options
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.wording import format_short
from attnprobe.models.options import LoadOptions

if TYPE_CHECKING:
    from attnprobe.attention import Attention
    from attnprobe.core.verdicts import Attended
    from attnprobe.rules.pattern import HeadPattern, Patterns


FORMATS = (".html", ".svg", ".png")
# Of the patterns that did not name a head, how many are shown, and from which score.
NEXT, NEXT_FROM = 2, 0.1
TOP = 3
LEAST = 0.005  # less would be printed as 0.00
LEGEND = (
    "score: how far the head keeps the pattern, 0 to 1. on: the word that it looks at. entropy: 0 "
    "all weight on one word, 1 spread evenly. runners-up: other patterns that score at least "
    f"{NEXT_FROM}."
)


@app.command()
@with_load_options(
    "tokenizer",
    "source_language",
    "target_language",
    "device",
    "dtype",
    "revision",
    "online",
    "ignore_remote_code",
)
def show(
    model: Annotated[
        str, typer.Argument(help="A folder, pkg://package/path, a .gguf file or a cached hub id.")
    ],
    text: Annotated[str, typer.Argument(help="The text; the source of an encoder-decoder.")],
    text_pair: Annotated[
        str | None,
        typer.Option("--text-pair", help="A second text, as tokenizer(text, text_pair) reads it."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="The target text, for an encoder-decoder.")
    ] = None,
    allow_special_tokens: Annotated[
        bool,
        typer.Option(
            "--allow-special-tokens", help="The text may spell special tokens such as [SEP]."
        ),
    ] = False,
    site: Annotated[
        Literal["encoder", "decoder", "cross"] | None,
        typer.Option("--site", help="Needed where the model has several."),
    ] = None,
    one_segment: Annotated[
        bool,
        typer.Option(
            "--one-segment", help="The text may spell separators: the model is used with them so."
        ),
    ] = False,
    patterns: Annotated[
        bool, typer.Option("--patterns", help="Name the pattern of every head.")
    ] = False,
    heads: Annotated[
        list[str] | None,
        typer.Option(
            "--heads",
            help="L3H1, or the mean of several: L3, L2-L4, mean. More than once for several.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            help=f"With --heads: words shown of each row, {TOP} unless given.",
        ),
    ] = None,
    unit: Annotated[
        Literal["words", "tokens"], typer.Option("--unit", help="What rows and columns are.")
    ] = "words",
    special: Annotated[
        bool,
        typer.Option(
            "--special/--no-special",
            help="Keep special tokens, or leave them out and scale each row to sum to 1.",
        ),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --heads: write .html, .svg or .png."),
    ] = None,
    *,
    options: LoadOptions,
) -> None:
    """Show what heads do on one text: their patterns, what each word attends to, their heatmaps."""
    chosen = heads or []
    _check(chosen, patterns=patterns, top=top, output=output)
    _check_text("the text", text)
    for option, written in (("--text-pair", text_pair), ("--target", target)):
        if written is not None:
            _check_text(option, written)
    from attnprobe.models import load_model
    from attnprobe.results.files import write_bytes
    from attnprobe.run.explain import harmless

    loaded = load_model(model, options)
    warn_of(loaded)
    attention = loaded.attention(
        text,
        pair=text_pair,
        target=target,
        site=site,
        allow_special_tokens=allow_special_tokens,
        one_segment=one_segment,
    )
    if patterns:
        print_table(_pattern_table(attention.patterns(unit=unit, special=special)))
        out.print(LEGEND, soft_wrap=True)
    count = top or TOP
    for one in chosen:
        found = attention.strongest(one, count=count, unit=unit, special=special)
        print_table(_target_table(one, found, count, attention.site))
    if output is not None:
        write_bytes(output, _drawn(attention, loaded.name, chosen, output.suffix, unit, special))
        out.print(harmless(f"written: {output}"), markup=False, soft_wrap=True)


def _check(heads: Sequence[str], *, patterns: bool, top: int | None, output: Path | None) -> None:
    """What can be said before a model is loaded."""
    from attnprobe.words.heads import parse_heads

    if not heads and not patterns:
        raise AttnprobeError("nothing to show: ask for --patterns, or name heads: --heads L3H1")
    if not heads and top is not None:
        raise AttnprobeError("--top counts what a word attends to: name heads, as --heads L3H1")
    for one in heads:
        try:
            parse_heads(one)
        except ValueError as error:
            raise AttnprobeError(f"--heads: {error}") from None
    if output is None:
        return
    if not heads:
        raise AttnprobeError("--output draws heads: name them, as --heads L3H1")
    if output.suffix not in FORMATS:
        raise AttnprobeError(f"--output {output}: it must end in {', '.join(FORMATS)}")
    if output.suffix != ".html" and len(heads) > 1:
        raise AttnprobeError(
            f"--output {output}: one picture holds one --heads; a page for several ends in .html"
        )


def _check_text(what: str, text: str) -> None:
    if not text.strip():
        raise AttnprobeError(f"{what} is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        # The shell handed over bytes; Python keeps them as halves of surrogate pairs.
        raise AttnprobeError(
            f"{what} is not UTF-8; write it in the encoding of the terminal"
        ) from None


def _pattern_table(patterns: Patterns) -> Table:
    table = Table("head", "pattern")
    table.add_column("score", justify="right")
    table.add_column("on")
    table.add_column("entropy", justify="right")
    table.add_column("runners-up")
    for one in patterns:
        table.add_row(
            str(one.head),
            one.pattern,
            format_short(one.score),
            _safe(one.on or ""),
            format_short(one.scores["entropy"]),
            _others(one),
        )
    return table


def _others(one: HeadPattern) -> str:
    """The patterns that come nearest after the one that names the head."""
    others = [
        (name, score)
        for name, score in one.scores.items()
        if name not in (one.pattern, "entropy") and score >= NEXT_FROM
    ]
    others.sort(key=lambda entry: -entry[1])
    return ", ".join(f"{name} {format_short(score)}" for name, score in others[:NEXT])


def _target_table(
    heads: str, found: Sequence[tuple[str, Sequence[Attended]]], top: int, site: str
) -> Table:
    first, second = ("target", "source") if site == "cross" else ("from", "to")
    table = Table(f"{_safe(heads)} {first}")
    for place in range(1, top + 1):
        table.add_column(f"{second} {place}")
    for label, attended in found:
        cells = [
            f"{_safe(one.word)} {format_short(one.weight)}"
            for one in attended
            if one.weight >= LEAST
        ]
        table.add_row(_safe(label), *(cells if attended else ["too little on words"]))
    return table


def _safe(text: str) -> str:
    """A text from outside as a cell of a table: no markup, nothing that acts."""
    from rich.markup import escape

    from attnprobe.core.printing import shortened

    return escape(shortened(text, 40))


def _drawn(
    attention: Attention,
    model: str,
    heads: Sequence[str],
    suffix: str,
    unit: Literal["words", "tokens"],
    special: bool,
) -> bytes:
    """The picture of the heads in the format of a file name."""
    from attnprobe.render.page import page
    from attnprobe.render.style import to_svg
    from attnprobe.render.table import picture_figure

    drawings = [attention.heatmap(one, unit=unit, special=special) for one in heads]
    if suffix == ".svg":
        return to_svg(drawings[0]).encode()
    if suffix == ".png":
        buffer = io.BytesIO()
        drawings[0].savefig(buffer, format="png")
        return buffer.getvalue()
    sample = attention.sample
    return page(
        f"{model}: {attention.site} attention",
        texts=sample.texts,
        parts=[
            picture_figure(to_svg(drawing), one)
            for one, drawing in zip(heads, drawings, strict=True)
        ],
    ).encode()
