"""Which other word pairs of a text a rule on two words can be tried on.

A control pair lies as the words of the rule do: the same direction, a like distance, as many words
at each end, and a contrast word, if the rule has one, on the same side. Of two texts its words lie
in the same ones: a pair across them is tried on pairs across them, at a like distance in the
sequence that the model reads. Pairs that the suite itself speaks of are left out, and so are
unknown tokens and what the masks hide. Queries, contrasts and, where there are many, pairs are
drawn by seeds that depend on the text alone: a suite always tries the same pairs.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from attnprobe.core.errors import SelectorError
from attnprobe.core.sites import Site, SiteName
from attnprobe.core.texts import Encoding, Sample, Tokens
from attnprobe.rules.frame import sink_columns
from attnprobe.words.positions import Group, groups, positions
from attnprobe.words.selectors import Predicts, Selector, Special, parse_selector

Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

# Words of a text that are tried as the word that attends, and pairs of a text, at most.
QUERIES = 32
PAIRS = 128
SEED = 0
T = TypeVar("T")


@dataclass(frozen=True)
class Geometry:
    """How the words of a rule lie, in words of the text.

    Attributes:
        row, column: what a control pair has at either end: a `word`, the row that `predicts` a
            word, or a special token by its name.
        widths: how many words the query, the key and the contrast are; 0 for no contrast.
        direction: where the key stands from the query: -1 before, 1 after, 0 in its place; None
            where it does not matter (a special token, or another sequence).
        distance: the `band` of the distance; None where it does not matter.
        contrast: where the contrast stands from the query, as `direction`.
        sinks: whether key and contrast stand where heads park what they have no use for: on the
            first token of a causal site. Where they do not, no control pair does.
        texts: which of two texts the query, the key and the contrast lie in, 0 or 1; 0 where there
            is one text, for a special token, and for no contrast. Not in the representation, which
            the draws depend on: texts without a pair keep their control pairs.
    """

    row: str
    column: str
    widths: tuple[int, int, int]
    direction: int | None = None
    distance: int | None = None
    contrast: int | None = None
    sinks: tuple[bool, bool] = (False, False)
    texts: tuple[int, int, int] = field(default=(0, 0, 0), repr=False)

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
        asked = positions(from_, queries)
        expected = positions(to, keys)
        contrast = positions(over, keys) if over else ()
        row_text = _text_of(_named_by(asked, row), queries)
        key_text, contrast_text = _text_of(expected, keys), _text_of(contrast, keys)
        if row_text is None or key_text is None or contrast_text is None:
            return None
        texts = (row_text, key_text, contrast_text)
        query = _place(asked, _words(queries))
        key = _place(expected, words)
        other = _place(contrast, words) if over else _Place(0, 0)
        widths = (query.width, key.width, other.width)
        sunk = _sunk(keys, site)
        sinks = (not sunk.isdisjoint(expected), not sunk.isdisjoint(contrast))
        if site.name == "cross" or row not in ("word", "predicts") or column != "word":
            return cls(row, column, widths, sinks=sinks, texts=texts)
        step = key.start - query.start
        if step == 0 and row == "word":
            return None
        return cls(
            row,
            column,
            widths,
            direction=_sign(step),
            distance=band(step),
            contrast=_sign(other.start - query.start) if over else None,
            sinks=sinks,
            texts=texts,
        )

    def holds(self, step: int) -> bool:
        """Whether a key so many words to the right of its query lies as the rule's own."""
        return self.distance is None or (
            _sign(step) == self.direction and band(step) == self.distance
        )


class Reach(NamedTuple):
    """What must let a query see a key: all of these layers, or any of them."""

    layers: tuple[int, ...]
    all_of_them: bool


@dataclass(frozen=True)
class Pair:
    """The words that a rule relates in one text, and what control pairs share with them.

    Attributes:
        rows, columns: token positions of the words.
        bounds: what is asked of them; pairs of one geometry and bounds have one chance rate.
        wanted: whether the rule wants the words to be related.
    """

    site: SiteName
    rows: frozenset[int]
    columns: frozenset[int]
    geometry: Geometry
    reach: Reach
    bounds: Hashable
    wanted: bool

    @property
    def kind(self) -> Hashable:
        """What the chance rate depends on."""
        return self.site, self.geometry, self.reach, self.bounds

    @property
    def trials(self) -> Hashable:
        """What the control pairs of a text depend on."""
        return self.site, self.geometry, self.reach, None if self.wanted else self.bounds

    def excluded(self, stated: Iterable[Pair]) -> tuple[Pair, ...]:
        """Of the pairs that the suite states in a text those that are no control for this one.

        These are all that it wants to be related, and those of which it asks the same.
        """
        return tuple(
            one
            for one in stated
            if one.site == self.site and (one.wanted or one.bounds == self.bounds)
        )


@dataclass(frozen=True, eq=False)
class Trials:
    """The pairs of a text that a rule is tried on.

    Attributes:
        queries, keys, contrasts: token positions of each word that takes part.
        query, key, contrast: `[pairs]`, which of them; no contrast for a rule that has none.
        words: how each pair is spelled.
    """

    queries: tuple[tuple[int, ...], ...]
    keys: tuple[tuple[int, ...], ...]
    contrasts: tuple[tuple[int, ...], ...]
    query: Indices
    key: Indices
    contrast: Indices | None
    words: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.query)


class _Place(NamedTuple):
    """The number of the first word, and how many words; a union counts as if they were adjacent."""

    start: int
    width: int


def band(distance: int) -> int:
    """Distances that count as alike: 1, 2 to 3, 4 to 7, 8 to 15 words, and so on; 0 is itself."""
    return abs(distance).bit_length()


def columns_of(words: Sequence[Sequence[int]], length: int) -> Bools:
    """Which columns each word is made of, `[words, source]`."""
    found = np.zeros((len(words), length), bool)
    for index, own in enumerate(words):
        found[index, list(own)] = True
    return found


def _sunk(tokens: Tokens, site: Site) -> set[int]:
    return set(np.flatnonzero(sink_columns(tokens, causal=site.causal)).tolist())


def _sign(step: int) -> int:
    return (step > 0) - (step < 0)


def _kind(selector: Selector) -> str | None:
    kinds = {
        part.name if isinstance(part, Special) else "predicts" if isinstance(part, Predicts) else ""
        for part in selector.parts
    }
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    return kind or "word"


def _named_by(rows: Sequence[int], row: str) -> list[int]:
    """The tokens of the word that a row's selector names: of one that predicts, the next one."""
    return [at + (row == "predicts") for at in rows]


def _text_of(found: Sequence[int], tokens: Tokens) -> int | None:
    """Which of two texts these tokens lie in, 0 or 1; 0 for special tokens, None for both texts."""
    start = tokens.pair_start
    if start is None:
        return 0
    spans = [span for span in (tokens.spans[at] for at in found) if span is not None]
    numbers = {int(span.start >= start) for span in spans}
    return None if len(numbers) > 1 else max(numbers, default=0)


def _words(tokens: Tokens) -> list[Group]:
    return [
        group
        for group in groups(tokens)
        if not group.special and tokens.spans[group.positions[0]] is not None
    ]


def _place(found: Sequence[int], words: Sequence[Group]) -> _Place:
    """The words that these positions touch; a special token stands in the place of a word.

    Between two texts it has the place of the last word before it, whose row predicts the next as
    well.
    """
    touched = [
        number for number, word in enumerate(words) if not set(found).isdisjoint(word.positions)
    ]
    if touched:
        return _Place(touched[0], len(touched))
    before = sum(word.positions[0] < found[0] for word in words)
    return _Place(len(words) if before == len(words) else before - 1, 1)


def _stretches(words: Sequence[Group], width: int) -> list[tuple[int, ...]]:
    """Token positions of each run of so many words, by the number of its first word."""
    return [
        tuple(at for word in words[start : start + width] for at in word.positions)
        for start in range(len(words) - width + 1)
    ]


def _special(name: str, tokens: Tokens) -> tuple[int, ...]:
    """Positions of a special token; none where the text has none."""
    try:
        return positions(parse_selector({"special": name}), tokens)
    except SelectorError:
        return ()


def _queries(
    geometry: Geometry, encoding: Encoding, site: Site
) -> list[tuple[int, tuple[int, ...]]]:
    """The number of the first word of each query, and its token positions; at most QUERIES."""
    tokens = encoding.queries(site.name)
    words = _words(tokens)
    unknown = set(tokens.unknown)
    found: list[tuple[int, tuple[int, ...]]]
    if geometry.row == "predicts":
        before = [
            word.positions[0] - 1
            for word in words
            if word.positions[0] > 0 and unknown.isdisjoint(word.positions)
        ]
        found = [(_place((at,), words).start, (at,)) for at in before]
    elif geometry.row == "word":
        found = [
            (start, rows)
            for start, rows in enumerate(_stretches(words, geometry.widths[0]))
            if unknown.isdisjoint(rows)
        ]
    else:
        rows = _special(geometry.row, tokens)
        found = [(0, rows)] if rows else []
    text = geometry.texts[0]
    found = [
        (start, rows)
        for start, rows in found
        if _text_of(_named_by(rows, geometry.row), tokens) == text
    ]
    return _drawn(found, QUERIES, f"queries {tokens.text}")


def _drawn(found: list[T], most: int, seed: str) -> list[T]:
    """At most so many of them, in their order."""
    if len(found) <= most:
        return found
    chosen = random.Random(f"{SEED} {seed}").sample(range(len(found)), most)
    return [found[index] for index in sorted(chosen)]


def trials(pair: Pair, encoding: Encoding, site: Site, excluded: Collection[Pair]) -> Trials:
    """The pairs of a text that a rule is tried on, at most PAIRS.

    Args:
        pair: the rule's own, of whichever text.
        site: with the windows that the rule's rows see through.
        excluded: pairs of this text that do not count.
    """
    geometry = pair.geometry
    tokens = encoding.keys(site.name)
    words = _words(tokens)
    special = _special(geometry.column, tokens) if geometry.column != "word" else ()
    keys = [special] * bool(special)
    if geometry.column == "word":
        keys = _stretches(words, geometry.widths[1])
    others = _stretches(words, geometry.widths[2]) if geometry.widths[2] else []
    own = site.name != "cross" and geometry.row == "word"
    sunk = _sunk(tokens, site) if geometry.column == "word" else set()
    # A rule that names an unknown token is an error, so no control pair has one.
    unknown = set(tokens.unknown)
    no_key, no_contrast = (unknown | (set() if allowed else sunk) for allowed in geometry.sinks)
    _, key_text, contrast_text = geometry.texts
    seed = f"{_seed(encoding.sample)} {geometry}"
    chance = random.Random(f"{SEED} {seed}")
    queries = _queries(geometry, encoding, site)
    tried: list[tuple[int, int, int]] = []
    for number, (place, rows) in enumerate(queries):
        taken = set(rows) if own else set()
        named = [one.columns for one in excluded if not one.rows.isdisjoint(rows)]
        rivals = [
            start
            for start, other in enumerate(others)
            if (geometry.contrast is None or _sign(start - place) == geometry.contrast)
            and taken.isdisjoint(other)
            and no_contrast.isdisjoint(other)
            and _text_of(other, tokens) == contrast_text
            and _seen(site, pair.reach, rows, other)
        ]
        for start, key in enumerate(keys):
            if not geometry.holds(start - place) or not taken.isdisjoint(key):
                continue
            if not no_key.isdisjoint(key) or _text_of(key, tokens) != key_text:
                continue
            if any(not one.isdisjoint(key) for one in named):
                continue
            if not _seen(site, pair.reach, rows, key):
                continue
            against = [other for other in rivals if set(others[other]).isdisjoint(key)]
            if against or not others:
                tried.append((number, start, chance.choice(against) if against else 0))
    tried = _drawn(tried, PAIRS, f"pairs {seed}")
    used = sorted({number for number, _, _ in tried})
    again = {number: place for place, number in enumerate(used)}
    rows_of = encoding.queries(site.name)
    return Trials(
        tuple(queries[number][1] for number in used),
        tuple(keys),
        tuple(others),
        np.array([again[number] for number, _, _ in tried], np.int64),
        np.array([key for _, key, _ in tried], np.int64),
        np.array([other for _, _, other in tried], np.int64) if geometry.widths[2] else None,
        tuple(
            (_spelled(queries[number][1], rows_of), _spelled(keys[key], tokens))
            for number, key, _ in tried
        ),
    )


def _seed(sample: Sample) -> str:
    """A sample as its draws are seeded.

    Spelled out, so that a field that is added to `Sample` does not change which pairs are drawn.
    """
    return (
        f"Sample(text={sample.joined!r}, target={sample.target!r}, "
        f"allow_special_tokens={sample.allow_special_tokens!r}, ids={sample.ids!r})"
    )


def _spelled(found: Sequence[int], tokens: Tokens) -> str:
    return " ".join(tokens.pieces[at] for at in found).casefold()


def _seen(site: Site, reach: Reach, rows: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether the masks let some row see some column, as the rule demands it of its own."""
    if not site.causal and not site.windows:
        return True
    seen = [
        any(site.sees(layer, row, column) for row in rows for column in columns)
        for layer in reach.layers
    ]
    return all(seen) if reach.all_of_them else any(seen)
