"""`attnprobe show`: shows what heads do on one text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from attnprobe.cli.base import (
    ONE_MODEL,
    app,
    check_site,
    check_text,
    load,
    out,
    print_table,
    say,
    to_file,
    with_load_options,
)
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import HEAD_NAMES, SortKey
from attnprobe.core.registry import did_you_mean
from attnprobe.core.wording import format_short
from attnprobe.models.options import LoadOptions

if TYPE_CHECKING:
    from attnprobe.attention import Attention
    from attnprobe.core.verdicts import Attended
    from attnprobe.rules.head_patterns import HeadPattern, Patterns

FORMATS = (".html", ".svg", ".png")
# The most runners-up of a head that the table shows, and the least score of one, 0 to 1.
NEXT, NEXT_FROM = 2, 0.1
# The words of a row that are shown by default.
TOP = 3
# The least weight that is shown; a smaller one would be printed as 0.00.
LEAST = 0.005
LEGEND = (
    "score: how far the head keeps the pattern, 0 to 1. on: the word that it looks at. entropy: 0 "
    "all weight on one word, 1 spread evenly. distance: how far it looks, mean in {unit}. "
    f"runners-up: other patterns that score at least {NEXT_FROM}."
)


@app.command()
@with_load_options(*ONE_MODEL)
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
    generate: Annotated[
        int | None,
        typer.Option(
            "--generate",
            min=1,
            help="Read the model's own answer behind the text: so many tokens at most.",
        ),
    ] = None,
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
        bool,
        typer.Option(
            "--patterns",
            help="Name the pattern of every head; the default without --heads and --output.",
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--pattern",
            help=f"Only heads of this pattern, or of several: {', '.join(HEAD_NAMES)}.",
        ),
    ] = None,
    sort: Annotated[
        SortKey | None,
        typer.Option(
            "--sort",
            help="Order of the patterns: by head, unless given; by score, the highest first; by "
            "entropy or distance, the lowest first.",
        ),
    ] = None,
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
    top_keys: Annotated[
        int | None,
        typer.Option(
            "--top-keys",
            min=1,
            help="Keep this many of the strongest keys of each row, for a smaller page.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write a page with all heads, or those of --heads (.html), or the heatmap of "
            "--heads (.svg, .png).",
            callback=to_file,
        ),
    ] = None,
    *,
    options: LoadOptions,
) -> None:
    """Show what heads do on one text: their patterns, what each word attends to, their heatmaps."""
    chosen = heads or []
    patterns = patterns or bool(only or sort) or (not chosen and output is None)
    _check(chosen, only or [], top=top, output=output)
    if top_keys and (output is None or output.suffix != ".html"):
        raise AttnprobeError("--top-keys makes a page smaller: add --output page.html")
    check_text("the text", text)
    if generate is not None and (text_pair, target) != (None, None):
        raise AttnprobeError("--generate goes with a text alone, without --text-pair and --target")
    for option, written in (("--text-pair", text_pair), ("--target", target)):
        if written is not None:
            check_text(option, written)
    from attnprobe.core.printing import harmless
    from attnprobe.results.files import write_bytes

    loaded = load(model, options)
    if site is None and not chosen and not patterns:
        # A page has all sites, and begins with one.
        site = "cross" if target and "cross" in loaded.sites else next(iter(loaded.sites))
    check_site(loaded, site, target)
    attention = loaded.attention(
        text,
        pair=text_pair,
        target=target,
        site=site,
        allow_special_tokens=allow_special_tokens,
        one_segment=one_segment,
        generate=generate,
    )
    if attention.sample.answer is not None:
        say(f"answer: {attention.sample.answer.text}")
    if patterns:
        _print_patterns(attention.patterns(unit=unit, special=special), only, sort, unit)
    count = top or TOP
    for selector in chosen:
        found = attention.strongest(selector, count=count, unit=unit, special=special)
        print_table(_target_table(selector, found, count, attention.site))
    if output is not None:
        if output.suffix == ".html":
            attention.page(output, heads=chosen, top_keys=top_keys)
        else:
            write_bytes(output, _draw(attention, chosen[0], output.suffix, unit, special))
        out.print(harmless(f"written: {output}"), markup=False, soft_wrap=True)


def _check(
    heads: Sequence[str], only: Sequence[str], *, top: int | None, output: Path | None
) -> None:
    """Checks the options before a model is loaded.

    Raises:
        AttnprobeError: options that do not fit together, or heads that are no selector.
    """
    from attnprobe.words.heads import parse_heads

    if not heads and top is not None:
        raise AttnprobeError("--top counts what a word attends to: name heads, as --heads L3H1")
    for selector in heads:
        try:
            parse_heads(selector)
        except ValueError as error:
            raise AttnprobeError(f"--heads: {error}") from None
    for name in only:
        if name not in HEAD_NAMES:
            raise AttnprobeError(f"--pattern {name!r}: {did_you_mean(name, HEAD_NAMES)}")
    if output is None:
        return
    if output.suffix not in FORMATS:
        raise AttnprobeError(f"--output {output}: it must end in {', '.join(FORMATS)}")
    if not heads and output.suffix != ".html":
        raise AttnprobeError(
            f"--output {output}: a picture holds one --heads; a page of all heads ends in .html"
        )
    if output.suffix != ".html" and len(heads) > 1:
        raise AttnprobeError(
            f"--output {output}: one picture holds one --heads; a page for several ends in .html"
        )


def _print_patterns(
    found: Patterns, only: Sequence[str] | None, sort: SortKey | None, unit: str
) -> None:
    if only:
        found = found.named(*only)
    if not found:
        out.print(f"no head is {' or '.join(only or ())} on this text")
        return
    print_table(_pattern_table(found.by(sort or "head")))
    out.print(LEGEND.format(unit=unit), soft_wrap=True)


def _pattern_table(patterns: Patterns) -> Table:
    from attnprobe.rules.head_patterns import head_cells

    table = Table("head", "pattern")
    table.add_column("score", justify="right")
    table.add_column("on")
    table.add_column("entropy", justify="right")
    table.add_column("distance", justify="right")
    table.add_column("runners-up")
    for head in patterns:
        table.add_row(*map(_safe, head_cells(head)), _runners_up(head))
    return table


def _runners_up(head: HeadPattern) -> str:
    """The patterns with the next highest scores and these scores, such as `previous 0.31`."""
    runners_up = [
        (name, score)
        for name, score in head.scores.items()
        if name not in (head.pattern, "entropy") and score >= NEXT_FROM
    ]
    runners_up.sort(key=lambda entry: -entry[1])
    return ", ".join(f"{name} {format_short(score)}" for name, score in runners_up[:NEXT])


def _target_table(
    heads: str, found: Sequence[tuple[str, Sequence[Attended]]], top: int, site: str
) -> Table:
    first, second = ("target", "source") if site == "cross" else ("from", "to")
    table = Table(f"{_safe(heads)} {first}")
    for place in range(1, top + 1):
        table.add_column(f"{second} {place}")
    for label, attended in found:
        cells = [
            f"{_safe(target.word)} {format_short(target.weight)}"
            for target in attended
            if target.weight >= LEAST
        ]
        table.add_row(_safe(label), *(cells if attended else ["too little on words"]))
    return table


def _safe(text: str) -> str:
    """A user's text for a table cell, without markup and control characters, at most 40 columns."""
    from rich.markup import escape

    from attnprobe.core.printing import as_label

    return escape(as_label(text, 40))


def _draw(
    attention: Attention,
    heads: str,
    suffix: str,
    unit: Literal["words", "tokens"],
    special: bool,
) -> bytes:
    """The heatmap of the heads as the bytes of a file with this suffix: .svg or .png."""
    from attnprobe.render.figures.style import to_svg

    drawing = attention.heatmap(heads, unit=unit, special=special)
    if suffix == ".svg":
        return to_svg(drawing).encode()
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png")
    return buffer.getvalue()
