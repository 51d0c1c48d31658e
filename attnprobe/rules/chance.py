"""Which other word pairs of a text a rule on two words can be tried on.

A control pair lies as the words of the rule do: the same direction, a like distance, as many words
at each end, and a contrast word, if the rule has one, on the same side. Pairs that a case of the
suite speaks of are left out, and so is what the mask hides. Query words are drawn by a seed that
depends on the text alone, so the same suite always tries the same pairs.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from attnprobe.align import Group, Predicts, Selector, Special, groups, positions
from attnprobe.records import Encoding, Site, Tokens

__all__ = ["Geometry", "Pair", "Trials", "band", "columns_of", "query_rows", "trials"]

Bools = npt.NDArray[np.bool_]

# Words of a text that are tried as the word that attends.
QUERIES = 32
SEED = 0


@dataclass(frozen=True)
class Geometry:
    """How the words of a rule lie, in words of the text.

    Attributes:
        row, column: what a control pair has at either end: a `word`, the row that `predicts` a
            word, or a special token by its name.
        widths: how many words the query, the key and the contrast are; 0 for no contrast.
        direction: where the key stands from the query: -1 before, 1 after, 0 where it does not
            matter (a special token, or another sequence).
        distance: the `band` of the distance; 0 where it does not matter.
        contrast: where the contrast stands from the query, as `direction`.
    """

    row: str
    column: str
    widths: tuple[int, int, int]
    direction: int = 0
    distance: int = 0
    contrast: int = 0

    @classmethod
    def of(
        cls, encoding: Encoding, site: Site, from_: Selector, to: Selector, over: Selector | None
    ) -> Self | None:
        """How the words of a rule lie in its own text; None where other words cannot lie so."""
        queries, keys = encoding.queries(site.name), encoding.keys(site.name)
        row, column = _kind(from_), _kind(to)
        if row is None or column is None or (over and _kind(over) != "word"):
            return None
        words = _words(keys)
        query = _place(positions(from_, queries), _words(queries))
        key = _place(positions(to, keys), words)
        other = _place(positions(over, keys), words) if over else _Stretch(0, 0)
        widths = (query.width, key.width, other.width)
        if site.name == "cross" or row not in ("word", "predicts") or column != "word":
            return cls(row, column, widths)
        step = key.start - query.start
        if step == 0 and row == "word":
            return None
        return cls(
            row,
            column,
            widths,
            direction=int(np.sign(step)),
            distance=band(step),
            contrast=int(np.sign(other.start - query.start)) if over else 0,
        )


@dataclass(frozen=True)
class Pair:
    """The words that a rule relates in one text, and what control pairs share with them.

    Attributes:
        rows, columns: token positions of the words.
        bounds: what is asked of them; pairs of one geometry and bounds have one chance rate.
        wanted: whether the rule wants the words to be related.
    """

    rows: frozenset[int]
    columns: frozenset[int]
    geometry: Geometry
    bounds: Hashable
    wanted: bool

    @property
    def kind(self) -> Hashable:
        return self.geometry, self.bounds


class _Stretch(NamedTuple):
    """Consecutive words: the number of the first, and how many."""

    start: int
    width: int


@dataclass(frozen=True, eq=False)
class Trials:
    """The pairs of a text that a rule is tried on.

    Attributes:
        queries: token positions of each query.
        query: `[pairs]`, the number of each pair's query.
        keys, contrasts: `[pairs, source]`, the columns of each pair's key and of its contrast; no
            contrasts for a rule that has none.
    """

    queries: tuple[tuple[int, ...], ...]
    query: npt.NDArray[np.int64]
    keys: Bools
    contrasts: Bools | None

    def __len__(self) -> int:
        return len(self.query)


def columns_of(words: Sequence[Sequence[int]], length: int) -> Bools:
    """Which columns each word is made of, `[words, source]`."""
    found = np.zeros((len(words), length), bool)
    for index, own in enumerate(words):
        found[index, list(own)] = True
    return found


def band(distance: int) -> int:
    """Distances that count as alike: 1, 2 to 3, 4 to 7, 8 to 15 words, and so on; 0 is itself."""
    return abs(distance).bit_length()


def _kind(selector: Selector) -> str | None:
    kinds = {
        part.name if isinstance(part, Special) else "predicts" if isinstance(part, Predicts) else ""
        for part in selector.parts
    }
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    return kind or "word"


def _words(tokens: Tokens) -> list[Group]:
    return [group for group in groups(tokens) if not group.special]


def _place(found: Sequence[int], words: Sequence[Group]) -> _Stretch:
    """The first word that these positions touch, and how many they touch.

    A special token before the first word is word -1, one behind the last comes after it.
    """
    touched = [
        number for number, word in enumerate(words) if not set(found).isdisjoint(word.positions)
    ]
    if touched:
        return _Stretch(touched[0], len(touched))
    return _Stretch(-1 if found[0] == 0 else len(words), 1)


def _stretches(words: Sequence[Group], width: int) -> list[tuple[int, ...]]:
    """Token positions of each run of so many words, by the number of its first word."""
    return [
        tuple(at for word in words[start : start + width] for at in word.positions)
        for start in range(len(words) - width + 1)
    ]


def query_rows(geometry: Geometry, encoding: Encoding, site: Site) -> list[tuple[int, ...]]:
    """Token positions of the queries that are tried in a text, at most QUERIES of them."""
    return [rows for _, rows in _queries(geometry, encoding, site)]


def _queries(
    geometry: Geometry, encoding: Encoding, site: Site
) -> list[tuple[int, tuple[int, ...]]]:
    """The number of the first word of each query, and its token positions."""
    tokens = encoding.queries(site.name)
    words = _words(tokens)
    found: list[tuple[int, tuple[int, ...]]]
    if geometry.row == "predicts":
        before = [word.positions[0] - 1 for word in words if word.positions[0] > 0]
        found = [(_place((at,), words).start, (at,)) for at in before]
    elif geometry.row == "word":
        found = list(enumerate(_stretches(words, geometry.widths[0])))
    else:
        rows = _special(geometry.row, tokens)
        return [(0, rows)] if rows else []
    if len(found) > QUERIES:
        chosen = random.Random(f"{SEED} {tokens.text}").sample(range(len(found)), QUERIES)
        found = [found[index] for index in sorted(chosen)]
    return found


def _special(name: str, tokens: Tokens) -> tuple[int, ...]:
    if name == "first":
        return (0,)
    return tuple(at for at, special in enumerate(tokens.special) if special == name)


def trials(
    geometry: Geometry,
    encoding: Encoding,
    site: Site,
    layers: Sequence[int],
    spoken: Collection[Pair],
) -> Trials:
    """The pairs of a text that a rule of this geometry is tried on.

    Args:
        layers: whose windows must let the query see the key.
        spoken: pairs of this text that cases of the suite want to be related.
    """
    tokens = encoding.keys(site.name)
    words = _words(tokens)
    keys = (
        _stretches(words, geometry.widths[1])
        if geometry.column == "word"
        else [one for one in (_special(geometry.column, tokens),) if one]
    )
    others = _stretches(words, geometry.widths[2]) if geometry.widths[2] else []
    own = site.name != "cross" and geometry.row == "word"
    chance = random.Random(f"{SEED} {encoding.sample} {geometry}")
    queries = _queries(geometry, encoding, site)
    tried: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []
    for number, (place, rows) in enumerate(queries):
        taken = set(rows) if own else set()
        named = [one.columns for one in spoken if not one.rows.isdisjoint(rows)]
        rivals = [
            other
            for start, other in enumerate(others)
            if (not geometry.contrast or np.sign(start - place) == geometry.contrast)
            and taken.isdisjoint(other)
            and _seen(site, layers, rows, other)
        ]
        for start, key in enumerate(keys):
            if not _lies(start - place, geometry) or not taken.isdisjoint(key):
                continue
            if any(not one.isdisjoint(key) for one in named) or not _seen(site, layers, rows, key):
                continue
            against = [other for other in rivals if set(other).isdisjoint(key)]
            if against or not geometry.widths[2]:
                tried.append((number, key, chance.choice(against) if against else ()))
    length = len(tokens)
    return Trials(
        tuple(rows for _, rows in queries),
        np.array([number for number, _, _ in tried], np.int64),
        columns_of([key for _, key, _ in tried], length),
        columns_of([other for _, _, other in tried], length) if geometry.widths[2] else None,
    )


def _lies(step: int, geometry: Geometry) -> bool:
    if not geometry.distance:
        return True
    return int(np.sign(step)) == geometry.direction and band(step) == geometry.distance


def _seen(site: Site, layers: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether the masks of all layers let some row see some column."""
    if not site.causal and not site.windows:
        return True
    return all(
        any(site.sees(layer, row, column) for row in rows for column in columns) for layer in layers
    )
