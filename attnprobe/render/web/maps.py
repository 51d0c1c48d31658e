"""Attention maps and sentences as HTML, and packed for the script of a page.

A map is an HTML table: text is the browser's work, a screen reader reads each cell with its row and
column, and it needs no script. The tables are joined from strings, because a template takes twenty
times as long. `assets/maps.js` builds the same table from packed numbers.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup, escape

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Cells
from attnprobe.core.printing import as_label, visible
from attnprobe.core.texts import Tokens
from attnprobe.render.palette import CARD, STEPS, mix, steps_of

MOST_WITH_DIGITS = 14
_LEAST_SCALE = 0.001
_LABEL = 18  # columns
_BRIEF = 5  # characters
# A longer text scrolls in a box of its own; spaces are parts as well.
_MOST_IN_SIGHT = 300
_NAN = -0x8000


class Part(NamedTuple):
    """A piece of a sentence; `token` is None for characters between tokens."""

    text: str
    token: int | None


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """A map of weights between tokens or words.

    Attributes:
        rows, columns: labels of the target and source positions.
        values: `[target, source]`; NaN where the mask hides the source or nothing was captured.
        sinks: source positions that are drawn muted and have no part in the scale: special tokens,
            and the first token of a causal site.
        expected, contrast: cells to outline.
        outlined: single cells to outline as expected ones, by row and column.
        signed: whether the values are differences, drawn in two colours from zero.
        top: the value of the strongest colour, where several maps share a scale.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Floats
    sinks: tuple[int, ...] = ()
    expected: Cells | None = None
    contrast: Cells | None = None
    signed: bool = False
    outlined: tuple[tuple[int, int], ...] = ()
    top: float | None = None

    def scale(self) -> float:
        """The value of the strongest colour: `top`, or the largest magnitude outside the sinks."""
        if self.top is not None:
            return self.top
        kept = np.delete(self.values, self.sinks, axis=1) if self.sinks else self.values
        found = np.abs(kept[np.isfinite(kept)])
        return max(float(found.max(initial=0.0)), _LEAST_SCALE)


def thousandths(values: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The values in thousandths, rounded half to even; _NAN for NaN."""
    return np.nan_to_num(np.rint(np.asarray(values, np.float64) * 1000), nan=_NAN).astype(np.int64)


@cache
def format_thousandths(number: int) -> str:
    """A value as a cell shows it: 0, .5, .123, 1, −.04."""
    text = f"{abs(number) / 1000:.3f}".rstrip("0").rstrip(".")
    return ("−" if number < 0 else "") + (text.removeprefix("0") or "0")


def step(number: int, scale: float, *, signed: bool) -> str:
    """The class of the colour of a value in thousandths, for a scale up to `scale`."""
    share = min(abs(number) / (1000 * scale), 1.0)
    if not signed:
        return f"m{math.floor(share * (STEPS - 1) + 0.5)}"
    at = math.floor(share * (STEPS // 2) + 0.5)
    return f"{'n' if number < 0 else 'p'}{at}" if at else "m0"


def map_table(shown: AttentionMap, *, caption: str, with_colours: bool = False) -> Markup:
    """The table of a map. Up to 14 tokens, its cells show their numbers.

    Args:
        caption: says to a screen reader what the numbers are.
        with_colours: whether cells carry their colour in an attribute as well, for a page whose
            policy forbids style sheets.
    """
    scale = shown.scale()

    @cache
    def cell(number: int, mark: str) -> str:
        if number == _NAN:
            return f'<td class="h{mark}">'
        name = step(number, scale, signed=shown.signed)
        colour = f' bgcolor="{_plain_colours()[name]}"' if with_colours else ""
        return f'<td class="{name}{mark}"{colour}>{format_thousandths(number)}'

    head = "".join(
        f'<th scope="col"{_label_class(shown, column, of_row=False)}><span>{_escape(label)}</span>'
        for column, label in enumerate(shown.columns)
    )
    numbers = thousandths(shown.values).tolist()
    plain = {number: cell(number, "") for number in set(chain.from_iterable(numbers))}

    def cells(row: int) -> str:
        texts = [plain[number] for number in numbers[row]]
        for column, mark in _marks(shown, row).items():
            texts[column] = cell(numbers[row][column], mark)
        return "".join(texts)

    body = "".join(
        f'<tr><th scope="row"{_label_class(shown, row, of_row=True)}>{_escape(label)}{cells(row)}'
        for row, label in enumerate(shown.rows)
    )
    digits = " attn-digits" if max(len(shown.rows), len(shown.columns)) <= MOST_WITH_DIGITS else ""
    return Markup(
        f'<table class="attn-map{digits}"><caption>{escape(visible(caption))}</caption>'
        f"<thead><tr><td></td>{head}</thead><tbody>{body}</tbody></table>"
    )


@lru_cache(maxsize=10_000)
def _escape(text: str) -> str:
    return str(escape(as_label(text, _LABEL)))


def _label_class(shown: AttentionMap, at: int, *, of_row: bool) -> str:
    """The class of a label beside an outlined cell: from, to or over."""
    for cells, name in ((shown.expected, "to"), (shown.contrast, "over")):
        if cells and at in (cells.rows if of_row else cells.columns):
            return f' class="attn-{"from" if of_row else name}"'
    return ""


def _marks(shown: AttentionMap, row: int) -> dict[int, str]:
    """The further classes of cells of a row, by column: e expected, c contrast, s sink."""
    marks: dict[int, str] = defaultdict(str, dict.fromkeys(shown.sinks, " s"))
    for cells, mark in ((shown.expected, " e"), (shown.contrast, " c")):
        if cells and row in cells.rows:
            for column in cells.columns:
                marks[column] += mark
    for at, column in shown.outlined:
        if at == row:
            marks[column] += " e"
    return marks


@cache
def _plain_colours() -> dict[str, str]:
    """Light colours for black text, by the class of a step."""
    return {name: mix(colour, CARD, 0.55) for name, colour in steps_of("light").items()}


def sentence_parts(tokens: Tokens) -> tuple[Part, ...]:
    """The text in pieces: each token, and the characters between tokens.

    A token without characters, such as `[CLS]`, is its own piece at its place in the sequence.
    Where tokens share characters (bytes of an emoji), the first has them all. Spaces before a word
    are none of its characters.
    """
    parts: list[Part] = []
    end = 0
    for at, (span, piece) in enumerate(zip(tokens.spans, tokens.pieces, strict=True)):
        if span is None:
            parts.append(Part(as_label(piece), at))
            continue
        start = max(span.start, end)
        # A space that belongs to a token, as in byte-level BPE, is not part of the word.
        word = tokens.text[start : span.end].lstrip(" ")
        start = span.end - len(word) if word else start
        if start > end:
            parts.append(Part(_between(tokens, end, start), None))
        if span.end > start:
            parts.append(Part(visible(tokens.text[start : span.end]), at))
            end = span.end
    if end < len(tokens.text):
        parts.append(Part(_between(tokens, end, len(tokens.text)), None))
    return tuple(parts)


def _between(tokens: Tokens, start: int, end: int) -> str:
    """Characters that no token has; between two input texts stands a space."""
    breaks = {part.start - 1 for part in tokens.parts[1:]}
    return visible("".join(" " if at in breaks else tokens.text[at] for at in range(start, end)))


def sentence(
    parts: Sequence[Part],
    *,
    special: Collection[int] = (),
    weights: Sequence[float] | None = None,
    scale: float = 1.0,
    marks: Mapping[int, str] | None = None,
) -> Markup:
    """A paragraph with the text; tokens are tinted by a weight and marked by their role.

    Args:
        special: tokens without characters in the text.
        weights: a weight for each token; None tints none.
        scale: the weight of the strongest tint.
        marks: `from`, `to` or `over` for some tokens.
    """
    marks = marks or {}
    spans = "".join(
        _span(part, special, weights, scale, marks, brief=_is_brief(parts, at, marks))
        for at, part in enumerate(parts)
    )
    long = ' attn-long" tabindex="0' if len(parts) > _MOST_IN_SIGHT else ""
    return Markup(f'<p class="attn-sentence{long}" dir="auto">{spans}</p>')


def _is_brief(parts: Sequence[Part], at: int, marks: Mapping[int, str]) -> bool:
    """Whether the name of a token's role would run into that of the next word."""
    if at + 2 >= len(parts) or len(parts[at].text) >= _BRIEF:
        return False
    word, space, next_word = parts[at : at + 3]
    return word.token in marks and space.token is None and next_word.token in marks


def _span(
    part: Part,
    special: Collection[int],
    weights: Sequence[float] | None,
    scale: float,
    marks: Mapping[int, str],
    *,
    brief: bool,
) -> str:
    text = str(escape(part.text))
    if part.token is None:
        return text
    classes = []
    if weights is not None and math.isfinite(weights[part.token]):
        (number,) = thousandths(np.array([weights[part.token]])).tolist()
        classes.append(step(number, scale, signed=False))
    if part.token in special:
        classes.append("s")
    if part.token in marks:
        classes.append(f"attn-{marks[part.token]}")
    if brief:
        classes.append("attn-brief")
    return f'<span class="{" ".join(classes)}">{text}</span>'


def strongest_keys(weights: Floats, count: int) -> Floats:
    """The weights of the strongest keys of each row, and 0 for the others.

    Args:
        weights: `[heads, target, source]`.
    """
    if count >= weights.shape[-1]:
        return weights
    least = np.partition(weights, -count, axis=-1)[..., -count, None]
    kept: Floats = np.where(weights >= least, weights, np.float32(0))
    return kept


class Packed(NamedTuple):
    """The weights of a head as a script reads them back.

    Attributes:
        text: the weights, packed.
        worst, worst_sum: the largest error of a weight, and of the sum of a row.
    """

    text: str
    worst: float
    worst_sum: float


def pack_map(weights: Floats, *, causal: bool, bits: int, dropped: Floats | None = None) -> Packed:
    """The weights of a head, packed: 16 bits hold thousandths, 8 bits hold 255ths.

    What the mask hides is packed as 0. Of a causal map only the lower triangle is packed, column
    by column, since columns compress better than rows.

    Args:
        weights: `[target, source]`.
        dropped: what each row lacks, `[target]`; packed behind the weights.
    """
    steps = np.float32(1000 if bits == 16 else 255)
    rounded = np.rint(weights * steps)
    numbers = rounded.astype(np.uint16 if bits == 16 else np.uint8)
    if causal:
        numbers = np.ascontiguousarray(numbers.T)[_upper_triangle(len(numbers))]
    numbers = numbers.ravel()
    if dropped is not None:
        numbers = np.concatenate([numbers, np.rint(dropped * steps).astype(numbers.dtype)])
    if bits == 16:
        numbers = np.concatenate([numbers >> 8, numbers & 0xFF]).astype(np.uint8)
    error = rounded / steps - weights
    worst_sum = float(np.abs(error.sum(axis=-1)).max())
    return Packed(_deflate(numbers, level=6), float(np.abs(error).max()), worst_sum)


@lru_cache(maxsize=1)
def _upper_triangle(length: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.triu(np.ones((length, length), bool))


def pack_fixed(values: Floats) -> str:
    """Values from 0 to 1 in 16 bits, packed; the largest error is 1/131070."""
    numbers = np.rint(values.ravel().astype(np.float64) * 0xFFFF).astype(np.uint16)
    return _deflate(np.concatenate([numbers >> 8, numbers & 0xFF]).astype(np.uint8))


def _deflate(numbers: np.ndarray[Any, np.dtype[np.uint8]], level: int = 9) -> str:
    return base64.b64encode(zlib.compress(numbers.tobytes(), level)).decode()
