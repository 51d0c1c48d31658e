"""Word-level weights of word pairs, for the verdict on one pair and for many control pairs alike.

The weight of a word pair is the sum over the pieces of the word attended to and the mean over the
pieces of the word that attends (Clark et al. 2019, "What Does BERT Look At?", section 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from attnprobe.core.arrays import Bools, Floats, in_common, membership
from attnprobe.core.sites import Site
from attnprobe.core.texts import Encoding
from attnprobe.core.units import MeasureUnit
from attnprobe.rules.base import BAND, Demand
from attnprobe.rules.chance import Indices, WordPairs
from attnprobe.rules.frame import LEAST_CONTENT, Doubles, sink_columns
from attnprobe.words.positions import Group, groups

Among = Literal["words", "all"]


class Rivals(NamedTuple):
    """The words that compete for a rank with the keys of word pairs.

    Attributes:
        words: of the text.
        competing: `[pairs, words]`, which of them compete with the key of a pair.
    """

    words: tuple[Group, ...]
    competing: Bools


@dataclass(frozen=True)
class WordWeights:
    """What heads give the words of word pairs.

    Attributes:
        to, over: `[pairs, heads]`; over is None without a contrast.
        others: `[pairs, heads, words]`, the words that compete with `to` for a rank; -1 for a word
            that does not compete.
        silent: `[pairs, heads]`, whether words get so little of the row that their order is noise.
        low, high: `[heads]`, the least and the largest value that `to` can have, where known.
    """

    to: Doubles
    over: Doubles | None
    others: Doubles
    silent: Bools
    low: Doubles | None = None
    high: Doubles | None = None


@dataclass(frozen=True)
class Demands:
    """One bound on every pair and head of `WordWeights`: a `Demand` with arrays `[pairs, heads]`.

    Attributes:
        worst: `[heads]`, as in `Demand.of`.
    """

    measure: str
    unit: MeasureUnit
    observed: Doubles
    relation: str
    demanded: float
    slack: Doubles
    strict: Bools
    worst: Doubles | None = None

    def on(self, pair: int, head: int) -> Demand:
        """The demand on one head for one pair."""
        return Demand.of(
            self.measure,
            self.unit,
            float(self.observed[pair, head]),
            self.relation,
            self.demanded,
            slack=float(self.slack[pair, head]),
            strict=bool(self.strict[pair, head]),
            worst=-math.inf if self.worst is None else float(self.worst[head]),
        )

    @property
    def holds(self) -> Bools:
        """Whether the verdict would be passed or borderline, `[pairs, heads]`; see `outcome_of`."""
        holds: Bools = self.ease > -BAND
        return holds

    @property
    def ease(self) -> Doubles:
        """Sorts heads as `Demand.ease` does, `[pairs, heads]`: the slack, where no tie fails."""
        return np.where(self.strict & (self.slack == 0), -BAND, self.slack)


@dataclass(frozen=True, eq=False)
class WordView:
    """How a rule on two words looks at a text: which columns are words, and which words compete.

    Attributes:
        site: with the windows that the rule's rows see through, which for a flow are wider than
            those of a layer.
        layers: the layers of the rule's heads.
        among: whether sinks compete for a rank (`all`) or not (`words`).
        renormalised: whether rows are scaled so that their words alone sum to 1.
    """

    encoding: Encoding
    site: Site
    layers: tuple[int, ...]
    among: Among
    renormalised: bool

    def word_columns(self, named: Sequence[int]) -> Bools:
        """The columns of words, `[source]`: all but those of sinks.

        Args:
            named: columns that the rule names; they count as words, whatever they are.
        """
        words = ~sink_columns(self.encoding.keys(self.site.name), causal=self.site.causal)
        words[list(named)] = True
        return words

    def by_sinks(self, pairs: WordPairs) -> dict[tuple[int, ...], Indices]:
        """The sink columns that pairs name, with the indices of the pairs that name them.

        Pairs that name the same sink columns have the same word columns.
        """
        words = self.word_columns(())
        found: dict[tuple[int, ...], list[int]] = {}
        for index in range(len(pairs)):
            named = tuple(sorted(at for at in pairs.columns(index) if not words[at]))
            found.setdefault(named, []).append(index)
        return {named: np.array(indices) for named, indices in found.items()}

    def rivals(self, pairs: WordPairs, named: Sequence[int]) -> Rivals:
        """The words that compete with the keys of these pairs for a rank.

        Args:
            named: columns that each of the pairs names.
        """
        words = self._competitors(named)
        possible = np.array([self._can_compete(words, query) for query in pairs.queries])
        length = len(self.encoding.keys(self.site.name))
        pieces = membership([word.positions for word in words], length)
        keys = membership(pairs.keys, length)
        shared = in_common(keys, pieces) > 0
        return Rivals(words, possible[pairs.query] & ~shared[pairs.key])

    def weigh(
        self, rows: Floats, pairs: WordPairs, named: Sequence[int], rivals: Rivals | None
    ) -> WordWeights:
        """The weights of these pairs.

        Args:
            rows: `[queries, heads, source]`, in the order of `pairs.queries`.
            named: columns that each of the pairs names.
            rivals: None where the rule asks for no rank.
        """
        scaled, silent = self._scaled(rows, named)
        to = _word_masses(scaled, pairs.keys)[pairs.query, :, pairs.key]
        over = None
        if pairs.contrast is not None:
            over = _word_masses(scaled, pairs.contrasts)[pairs.query, :, pairs.contrast]
        others = np.empty((*to.shape, 0))
        if rivals is not None:
            masses = _word_masses(scaled, [word.positions for word in rivals.words])[pairs.query]
            others = np.where(rivals.competing[:, None], masses, -1.0)
        return WordWeights(to, over, others, silent[pairs.query])

    def _scaled(self, rows: Floats, named: Sequence[int]) -> tuple[Doubles, Bools]:
        """Rows `[queries, heads, source]` as they are judged, and in which words get too little."""
        flat = rows.astype(np.float64).reshape(-1, rows.shape[-1])
        words = self.word_columns(named)
        content = flat[:, words].sum(axis=1)
        silent: Bools = content < LEAST_CONTENT
        if self.renormalised:
            flat = np.where(words, flat, 0) / np.where(silent, 1, content)[:, None]
        return flat.reshape(rows.shape), silent.reshape(rows.shape[:-1])

    def _competitors(self, named: Sequence[int]) -> tuple[Group, ...]:
        """The words of the text that may compete for a rank, without the columns of sinks.

        Heads park on special tokens and on the first token of a causal site what they have no use
        for, so these compete only with `among: all`. Other pieces of the first word compete.

        Args:
            named: columns that the rule names; the first token competes where it is one of them.
        """
        words = groups(self.encoding.keys(self.site.name))
        if self.among == "all":
            return words
        columns = self.word_columns(named)
        without_sinks = (
            replace(word, positions=tuple(at for at in word.positions if columns[at]))
            for word in words
            if not word.special
        )
        return tuple(word for word in without_sinks if word.positions)

    def _can_compete(self, words: Sequence[Group], query: Sequence[int]) -> Bools:
        """Which words may compete with a key of this query for a rank, `[words]`.

        The word that attends does not compete, and neither do words that the query cannot see.
        """
        excluded = () if self.site.name == "cross" or self.among == "all" else query
        layers = (None, *self.layers)
        return np.array(
            [
                set(excluded).isdisjoint(word.positions)
                and all(self.site.connects(layer, query, word.positions) for layer in layers)
                for word in words
            ]
        )


def _word_masses(rows: Doubles, words: Sequence[Sequence[int]]) -> Doubles:
    """Word-level weights, `[..., words]` of `[..., source]`; words are given by their columns."""
    masses = np.empty((*rows.shape[:-1], len(words)))
    for index, columns in enumerate(words):
        masses[..., index] = rows[..., list(columns)].sum(axis=-1)
    return masses
