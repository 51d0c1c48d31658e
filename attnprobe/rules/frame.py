"""Whole attention maps by token or by word, with or without special tokens.

A frame names the rows and columns that a measure looks at; `view` cuts a layer's weights to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Bools, Floats
from attnprobe.core.errors import SelectorError
from attnprobe.core.sites import Site
from attnprobe.core.texts import Encoding, Tokens
from attnprobe.core.verdicts import Attended
from attnprobe.words.positions import Group, groups, word_matrix

Unit = Literal["tokens", "words"]
SinkKind = Literal["all", "special", "first", "learned"]
F = TypeVar("F", bound=np.floating)
Doubles = npt.NDArray[np.float64]

# A row with less of its mass than this on words says nothing about words: to scale it up would
# amplify noise.
LEAST_CONTENT = 0.05
STRONGEST = 5
# A rule that looks for a stripe considers the columns that enough rows see: at least this share of
# those that see the most visible column. At a causal site one row alone sees the last column.
SEEN_BY = 0.5


@dataclass(frozen=True, eq=False)
class Frame:
    """The rows and columns of a site that a measure looks at; each is a token or a word.

    Attributes:
        rows, columns: the token positions of each.
        row_places, column_places: where each stands in the whole sequence, counted in the unit,
            special tokens included: distances are differences of places.
        visible: `[rows, columns]`, whether the row can see the column.
        codes: a number for each unit of the key sequence; equal tokens or words, equal numbers.
        special: whether special tokens are among rows and columns.
        keys: the tokens of the columns, all of them.
        causal: whether a row sees no later position.
        learned_sink: whether a learned sink takes a share of each row.
    """

    rows: tuple[Group, ...]
    columns: tuple[Group, ...]
    row_places: npt.NDArray[np.int64]
    column_places: npt.NDArray[np.int64]
    visible: Bools
    codes: npt.NDArray[np.int64]
    special: bool
    keys: Tokens
    causal: bool
    learned_sink: bool = False

    @classmethod
    def of(
        cls,
        encoding: Encoding,
        site: Site,
        *,
        unit: Unit = "tokens",
        special: bool = True,
        only: Collection[int] | None = None,
    ) -> Self:
        """The frame of a text; `in_layer` narrows it to what a layer with a window sees.

        Args:
            only: token positions of the rows that count; all rows unless given.

        Raises:
            SelectorError: no row or no column is left.
        """
        keys = encoding.keys(site.name)
        units = token_groups if unit == "tokens" else groups
        rows = [
            (place, group)
            for place, group in enumerate(units(encoding.queries(site.name)))
            if (special or not group.special)
            and (only is None or not set(only).isdisjoint(group.positions))
        ]
        every = units(keys)
        columns = [
            (place, group) for place, group in enumerate(every) if special or not group.special
        ]
        if not rows or not columns:
            raise SelectorError("only special tokens are left, and special: false leaves them out")
        # The last piece of a word sees the most.
        _, last = _ends([group for _, group in rows])
        first, _ = _ends([group for _, group in columns])
        visible = (
            first <= last[:, None] if site.causal else np.ones((len(rows), len(columns)), bool)
        )
        known: dict[tuple[int, ...], int] = {}
        codes = [
            known.setdefault(tuple(keys.ids[at] for at in group.positions), len(known))
            for group in every
        ]
        return cls(
            tuple(group for _, group in rows),
            tuple(group for _, group in columns),
            np.array([place for place, _ in rows]),
            np.array([place for place, _ in columns]),
            visible,
            np.array(codes),
            special,
            keys,
            site.causal,
            bool(site.learned_sinks),
        )

    def in_layer(self, site: Site, layer: int) -> Self:
        """This frame as one layer sees it: with its sliding window, and its learned sink."""
        visible = self.visible
        if layer in site.windows:
            first, last = _ends(self.rows)
            start, stop = _ends(self.columns)
            # Between the nearest pieces of two words; below zero where they overlap.
            gap = np.maximum(start - last[:, None], first[:, None] - stop)
            visible = visible & (gap < site.windows[layer])
        return replace(self, visible=visible, learned_sink=layer in site.learned_sinks)

    @property
    def positions(self) -> tuple[int, ...]:
        """Token positions of the rows, ascending."""
        return tuple(sorted(at for group in self.rows for at in group.positions))

    @cached_property
    def steps(self) -> npt.NDArray[np.int64]:
        """How far to the right of its row each column stands, `[rows, columns]`, in units."""
        steps: npt.NDArray[np.int64] = self.column_places - self.row_places[:, None]
        return steps

    @cached_property
    def gaps(self) -> Doubles:
        """How far from its row each column stands, `[rows, columns]`, in units."""
        return np.abs(self.steps).astype(np.float64)

    @property
    def spare_rows(self) -> int:
        """How many rows `view` may leave out because words get too little of them."""
        silent = self.learned_sink or any(name is not None for name in self.keys.special)
        return len(self.rows) // 2 if silent and not self.special else 0

    def columns_at(self, positions: Collection[int]) -> tuple[int, ...]:
        """Indices of the columns that hold any of these token positions."""
        return _indices(self.columns, positions)

    def rows_at(self, positions: Collection[int]) -> tuple[int, ...]:
        """Indices of the rows that hold any of these token positions."""
        return _indices(self.rows, positions)

    def view(self, weights: Floats) -> Doubles:
        """A layer's weights as this frame sees them, `[heads, rows, columns]`.

        Without special tokens each row is scaled to sum to 1 again. A row with less than
        LEAST_CONTENT of its mass on words is NaN, and so is a head where most rows are.

        Args:
            weights: `[heads, target, source]` of the target positions `positions`.
        """
        at = {position: index for index, position in enumerate(self.positions)}
        rows = [
            Group(group.label, tuple(at[position] for position in group.positions), group.special)
            for group in self.rows
        ]
        found = word_matrix(weights, rows, self.columns).astype(np.float64)
        if self.special:
            return found
        content = found.sum(axis=-1, keepdims=True)
        telling = content >= LEAST_CONTENT
        telling &= telling.mean(axis=-2, keepdims=True) >= 0.5
        scaled = np.full_like(found, np.nan)
        np.divide(found, content, out=scaled, where=telling)
        return scaled


def _indices(words: Sequence[Group], positions: Collection[int]) -> tuple[int, ...]:
    wanted = set(positions)
    return tuple(index for index, word in enumerate(words) if not wanted.isdisjoint(word.positions))


def _ends(words: Sequence[Group]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last token position of each word."""
    first = np.array([word.positions[0] for word in words])
    return first, np.array([word.positions[-1] for word in words])


def elsewhere(site: Site, blind: Sequence[int]) -> str:
    """Advice where the windows of some layers hide what a rule names."""
    wide = [layer for layer in site.layers if layer not in site.windows]
    if wide:
        return f"layers without a window: {', '.join(map(str, wide))}"
    return f"leave out layers {', '.join(map(str, blind))}, or choose nearer words"


@lru_cache(maxsize=16)
def token_groups(tokens: Tokens) -> tuple[Group, ...]:
    """Each token as a group."""
    return tuple(
        Group(piece, (at,), special is not None)
        for at, (piece, special) in enumerate(zip(tokens.pieces, tokens.special, strict=True))
    )


def row_mean(values: Doubles) -> Doubles:
    """Mean over the last axis of `[..., rows]`; rows that are NaN do not count."""
    counted = ~np.isnan(values)
    count = counted.sum(axis=-1)
    total = np.where(counted, values, 0).sum(axis=-1)
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def head_grid(scores: Mapping[int, Doubles]) -> Floats:
    """Scores of each layer's heads as `[layers, heads]`; NaN where a layer has fewer heads."""
    grid = np.full((len(scores), max(map(len, scores.values()))), np.nan, np.float32)
    for row, layer in enumerate(sorted(scores)):
        grid[row, : len(scores[layer])] = scores[layer]
    return grid


def sink_columns(keys: Tokens, *, causal: bool) -> Bools:
    """Columns of sinks: special tokens and, at a causal site, the first token, `[source]`."""
    columns = np.array([name is not None for name in keys.special])
    columns[0] |= causal
    return columns


def sink_shares(
    weights: npt.NDArray[F], keys: Tokens, *, causal: bool, into: SinkKind = "all"
) -> npt.NDArray[F]:
    """Share of each row's mass that no ordinary word gets, `[...]`, from 0 to 1.

    Args:
        weights: `[..., source]`.
        into: `special` tokens, the `first` token, a `learned` sink (what the row lacks to 1), or
            `all` of these; in `all` the first token counts at causal sites only.
    """
    match into:
        case "special":
            special = [name is not None for name in keys.special]
            mass = weights[..., special].sum(axis=-1)
        case "first":
            mass = weights[..., 0]
        case "learned":
            mass = 1 - weights.sum(axis=-1)
        case "all":
            sinks = sink_columns(keys, causal=causal)
            # Runs of words, since a copy of their columns takes most of the time of a long text.
            runs = np.flatnonzero(np.diff(sinks, prepend=1, append=1)).reshape(-1, 2)
            words = np.zeros(weights.shape[:-1], weights.dtype)
            for start, end in runs:
                words += weights[..., start:end].sum(axis=-1)
            mass = 1 - words
    shares: npt.NDArray[F] = np.clip(mass, 0, 1)
    return shares


def strongest_words(distribution: npt.NDArray[F], keys: Tokens) -> tuple[Attended, ...]:
    """The five words that get most of a row `[source]`, the strongest first."""
    found = [
        Attended(group.label, float(distribution[list(group.positions)].sum()))
        for group in groups(keys)
    ]
    return tuple(sorted(found, key=lambda target: -target.weight)[:STRONGEST])
