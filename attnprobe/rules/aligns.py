"""`aligns`: whether cross-attention finds the source words that the target words translate.

A target word links to the source word that gets most of its row. Gold links are sure or possible
(Och & Ney 2003, "A Systematic Comparison of Various Statistical Alignment Models"). Only target
words with a gold link are scored; special tokens are no candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import ceil, floor
from typing import Annotated, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import HeadGrid, Picture
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.texts import Encoding, Span, Tokens
from attnprobe.core.verdicts import Attended, Verdict
from attnprobe.core.wording import format_whole_percent
from attnprobe.rules.base import (
    RULES,
    Demand,
    Place,
    Rule,
    SelectorField,
    check_numbers,
    decide,
    hardest,
    is_unbreakable,
    verdict_of,
)
from attnprobe.rules.frame import LEAST_CONTENT, Doubles, head_grid, sink_shares
from attnprobe.words.positions import Group, groups, positions, word_matrix
from attnprobe.words.selectors import Predicts, Selector, selector_of

Link = tuple[int, int]
Row = Literal["predicts", "own"]
SHOWN = 5
# A bound such as 0.9 of 10 words is no whole number of words in floating point.
ROUNDING = 1e-9

_LINK = re.compile(r"([0-9]{1,6})([-p])([0-9]{1,6})")
_ROWS: Mapping[Row, str] = {
    "predicts": "row that predicts the word",
    "own": "row of the word itself",
}


def best_sources(weights: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """The source word that gets most of each row, `[..., target]`; -1 for none.

    A row with less than 0.05 of its mass on words links to nothing.

    Args:
        weights: `[..., target, source]` by word, without special tokens.
    """
    telling = weights.sum(axis=-1) >= LEAST_CONTENT
    return np.where(telling, weights.argmax(axis=-1), -1)


def accuracy(links: Set[Link], gold: Set[Link]) -> float:
    """Share of the target words of the gold that have a link of the gold, 0 to 1."""
    targets = {target for target, _ in gold}
    return len({target for target, _ in links & gold}) / len(targets)


def alignment_error_rate(links: Set[Link], sure: Set[Link], possible: Set[Link]) -> float:
    """AER, 0 to 1: `1 − (|A ∩ S| + |A ∩ P|) / (|A| + |S|)`; a sure link is possible, too."""
    hits = len(links & sure) + len(links & (possible | sure))
    return 1 - hits / (len(links) + len(sure))


@dataclass(frozen=True)
class _Gold:
    """The gold links of one text, as indices of words.

    Attributes:
        targets: the words that are scored.
        sources: the words that compete, which are all words of the text.
        possible: the possible links, sure ones included.
    """

    targets: tuple[Group, ...]
    sources: tuple[Group, ...]
    sure: frozenset[Link]
    possible: frozenset[Link]

    def rows(self, row: Row) -> tuple[tuple[int, ...], ...]:
        """For each target word the token positions of its rows."""
        if row == "own":
            return tuple(word.positions for word in self.targets)
        return tuple((word.positions[0] - 1,) for word in self.targets)

    @property
    def worst(self) -> frozenset[Link]:
        """Links that are as wrong as a head's links can be; some words have no wrong link."""
        return frozenset(
            (
                target,
                min(
                    range(len(self.sources)),
                    key=lambda at: ((target, at) in self.possible, (target, at) in self.sure),
                ),
            )
            for target in range(len(self.targets))
        )

    def links(self, sources: Sequence[int]) -> frozenset[Link]:
        return frozenset((target, int(at)) for target, at in enumerate(sources) if at >= 0)


def _check_pair(pair: list[Selector]) -> list[Selector]:
    if len(pair) != 2:
        raise ValueError(f"a pair is [target word, source word], not {len(pair)} words")
    for selector in pair:
        if any(isinstance(part, Predicts) for part in selector.parts):
            raise ValueError("name the word itself; row: predicts takes the row that predicts it")
    return pair


def _check_gold(gold: str) -> str:
    for link in gold.split():
        if not _LINK.fullmatch(link):
            raise ValueError(
                f"{link!r} is no link; write 0-1 for source word 0 and target word 1, and 0p1 for "
                "a link that is only possible"
            )
    return gold


LinkPair = Annotated[
    list[SelectorField],
    AfterValidator(_check_pair),
    Field(json_schema_extra={"minItems": 2, "maxItems": 2}),
]


@RULES.register("aligns")
class Aligns(Rule):
    """The words of the target look at the source words that they translate.

    Without `how`, a set of heads passes if any of them does. A number counts links, so its slack
    is taken from half a link below the least count that holds: a bound met exactly has passed.
    """

    bounds = frozenset({"min_accuracy", "max_aer"})
    kind = "aligns"
    example = "{pairs: [[the, la], [house, maison]], min_accuracy: 0.9}"
    positional = ("pairs",)

    site: Literal["cross"] = Field("cross", description="Cross attention, the only one possible.")
    pairs: list[LinkPair] = Field([], description="Sure links: [[target word, source word], ...].")
    possible: list[LinkPair] = Field([], description="Links that are right but not demanded.")
    gold: Annotated[str, AfterValidator(_check_gold)] = Field(
        "",
        description="Links by word numbers, source-target: 0-0 1-2, or 1p2 if only possible. "
        "Words are what spaces part, counted from 0.",
    )
    row: Row = Field(
        "predicts",
        description="Which row is judged: the one before the word, whose output predicts it, or "
        "the word's own. Both are shown.",
    )
    min_accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Least share of target words linked to a gold source word."
    )
    max_aer: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Largest alignment error rate."
    )

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        if self.min_accuracy is None and self.max_aer is None:
            raise ValueError("aligns demands nothing; give min_accuracy: or max_aer:")
        if not self.pairs and "-" not in self.gold:
            raise ValueError(
                "aligns needs a sure link; give pairs: [[target word, source word]] or gold: 0-0"
            )
        if self.gold and (self.pairs or self.possible):
            raise ValueError("give the links as pairs: and possible:, or as gold:, not both")
        return self

    def places(self) -> Iterator[Place]:
        for field, pairs in (("pairs", self.pairs), ("possible", self.possible)):
            for target, source in pairs:
                yield Place(field, target, "query")
                yield Place(field, source, "key")

    def relation(self) -> str:
        if self.gold:
            return self.gold
        return ", ".join(f"{target} → {source}" for target, source in self.pairs)

    def needs(self, encoding: Encoding) -> tuple[Need, ...]:
        site = encoding.site(self.site)
        gold = self._gold(encoding)
        rows = {at for row in get_args(Row) for places in gold.rows(row) for at in places}
        if min(rows) < 0:
            raise SelectorError(f"nothing predicts {gold.targets[0].label}: no token before it")
        layers = sorted({head.layer for head in self.heads.resolve(site)})
        return (Need(encoding.sample, site.name, tuple(layers), tuple(sorted(rows))),)

    def judge(self, rows: Sequence[Rows]) -> Verdict:
        (found,) = rows
        check_numbers(found)
        gold = self._gold(found.encoding)
        heads = self.heads.resolve(found.encoding.site(self.site))
        how = self.heads.how or "any"
        views = {
            layer: _word_rows(found, weights, gold, self.row)
            for layer, weights in found.weights.items()
        }
        judged = np.stack([views[head.layer][head.head] for head in heads])
        if how == "mean":
            judged = judged.mean(axis=0, keepdims=True)
        chosen = best_sources(judged)
        links = [gold.links(sources) for sources in chosen]
        demands = [hardest(self._demands(head_links, gold)) for head_links in links]
        scores = [accuracy(head_links, gold.possible) for head_links in links]
        decider = decide(demands, how, self.heads.count, best=int(np.argmax(scores)))
        decided = heads if how == "mean" else (heads[decider],)
        name = f"mean of {len(heads)} heads" if how == "mean" else str(decided[0])
        for word, source in zip(gold.targets, chosen[decider], strict=True):
            if source < 0:
                raise MeasureError(
                    f"{name} cannot be judged: the {_ROWS[self.row]} {word.label} has less than "
                    f"{format_whole_percent(LEAST_CONTENT)} of its mass on words"
                )
        picked = [at for places in gold.rows(self.row) for at in places]
        distribution = np.mean(
            [found.at(head.layer, picked)[head.head].mean(axis=0) for head in decided], axis=0
        )
        return verdict_of(
            demands[decider],
            head=name,
            heads_tried=len(heads),
            sink=float(sink_shares(distribution, found.keys, causal=False)),
            unbreakable=is_unbreakable(demands, how, self.heads.count),
            top=_first_links(judged[decider], gold),
            picture=Picture(found.site, decided, tuple(sorted(set(picked))), ()),
            charts=tuple(
                HeadGrid(
                    f"accuracy, {_ROWS[row]}",
                    tuple(sorted(found.weights)),
                    head_grid(_accuracies(found, gold, row)),
                    decided,
                )
                for row in sorted(_ROWS, key=lambda row: row != self.row)
            ),
        )

    def _demands(self, links: Set[Link], gold: _Gold) -> Iterator[Demand]:
        where = _ROWS[self.row]
        if self.min_accuracy is not None:
            yield Demand.of(
                f"accuracy, {where}",
                "links",
                accuracy(links, gold.possible),
                ">=",
                self.min_accuracy,
                slack=_accuracy_slack(links, gold, self.min_accuracy),
                worst=_accuracy_slack(gold.worst, gold, self.min_accuracy),
            )
        if self.max_aer is not None:
            yield Demand.of(
                f"AER, {where}",
                "links",
                alignment_error_rate(links, gold.sure, gold.possible),
                "<=",
                self.max_aer,
                slack=_aer_slack(links, gold, self.max_aer),
                worst=_aer_slack(gold.worst, gold, self.max_aer),
            )

    def _gold(self, encoding: Encoding) -> _Gold:
        """The gold links as words of this text.

        Raises:
            SelectorError: the text lacks a word, or the word is a special token.
        """
        queries, keys = encoding.queries(self.site), encoding.keys(self.site)
        targets, sources = _words_of(queries), _words_of(keys)
        sure: set[Link] = set()
        possible: set[Link] = set()
        for target, source, is_sure in self._stated_links(queries, keys):
            links = {
                (row, column)
                for row in _word_indices(target, queries, targets)
                for column in _word_indices(source, keys, sources)
            }
            possible |= links
            if is_sure:
                sure |= links
        named = sorted({target for target, _ in possible})
        at = {target: index for index, target in enumerate(named)}
        return _Gold(
            tuple(targets[target] for target in named),
            sources,
            frozenset((at[target], source) for target, source in sure),
            frozenset((at[target], source) for target, source in possible),
        )

    def _stated_links(
        self, queries: Tokens, keys: Tokens
    ) -> Iterator[tuple[Selector, Selector, bool]]:
        for pairs, sure in ((self.pairs, True), (self.possible, False)):
            for target, source in pairs:
                yield target, source, sure
        for link in self.gold.split():
            if match := _LINK.fullmatch(link):
                source, target = _word_at(match[1], keys), _word_at(match[3], queries)
                yield target, source, match[2] == "-"


def _accuracy_slack(links: Set[Link], gold: _Gold, demanded: float) -> float:
    """How many more links are right than needed, counted from half a link below, as a share."""
    count = len(gold.targets)
    least = ceil(demanded * count - ROUNDING)
    return (round(accuracy(links, gold.possible) * count) - least + 0.5) / count


def _aer_slack(links: Set[Link], gold: _Gold, demanded: float) -> float:
    """How many more errors are allowed, counted from half an error above, as a share."""
    count = len(links) + len(gold.sure)
    most = floor(demanded * count + ROUNDING)
    observed = alignment_error_rate(links, gold.sure, gold.possible)
    return (most - round(observed * count) + 0.5) / count


def _words_of(tokens: Tokens) -> tuple[Group, ...]:
    return tuple(word for word in groups(tokens) if not word.special)


def _word_indices(selector: Selector, tokens: Tokens, words: Sequence[Group]) -> tuple[int, ...]:
    """Indices of the words that a selector names."""
    found = set(positions(selector, tokens))
    touched = tuple(
        index for index, word in enumerate(words) if not found.isdisjoint(word.positions)
    )
    if not touched:
        raise SelectorError(f"{selector} is no word; special tokens are left out of alignments")
    return touched


def _word_at(number: str, tokens: Tokens) -> Selector:
    """The word of this number, counted between spaces from 0."""
    words = list(re.finditer(r"\S+", tokens.text))
    if int(number) >= len(words):
        raise SelectorError(
            f"gold: no word {number} in {tokens.text!r}; its words are numbered 0 to "
            f"{len(words) - 1}"
        )
    return selector_of(Span(*words[int(number)].span()), tokens.text, tokens.parts)


def _word_rows(found: Rows, weights: Floats, gold: _Gold, row: Row) -> Floats:
    """What each target word takes from each source word, `[heads, targets, sources]`."""
    at = {position: index for index, position in enumerate(found.positions)}
    words = [
        Group(word.label, tuple(at[position] for position in places), special=False)
        for word, places in zip(gold.targets, gold.rows(row), strict=True)
    ]
    return word_matrix(weights, words, gold.sources)


def _accuracies(found: Rows, gold: _Gold, row: Row) -> dict[int, Doubles]:
    """The accuracy of every head of the captured layers."""
    return {
        layer: np.array(
            [
                accuracy(gold.links(sources), gold.possible)
                for sources in best_sources(_word_rows(found, weights, gold, row))
            ]
        )
        for layer, weights in found.weights.items()
    }


def _first_links(weights: Floats, gold: _Gold) -> tuple[Attended, ...]:
    """The first five links with their weights, wrong links first."""
    found = []
    for target, source in enumerate(best_sources(weights)):
        if source >= 0:
            label = f"{gold.targets[target].label} → {gold.sources[source].label}"
            link = Attended(label, float(weights[target, source]))
            found.append(((target, int(source)) in gold.possible, link))
    return tuple(link for _, link in sorted(found, key=lambda entry: entry[0])[:SHOWN])
