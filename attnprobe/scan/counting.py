"""Counts what the heads of a model get right in a block of sentences.

The counts of a block depend on its sentences, the model and the plan alone: batches are formed
inside it. (A text in another batch differs in its last bits.)
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import membership
from attnprobe.core.errors import SelectorError
from attnprobe.core.needs import MapNeed, MapSums, MapView
from attnprobe.core.sites import Site, SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.relations.labels import matches
from attnprobe.relations.preference import other_looks
from attnprobe.relations.sentences import Arc, Sentence
from attnprobe.scan.corpora import ScanBlock
from attnprobe.scan.exact import ExactSums
from attnprobe.scan.measures import Totals, Views
from attnprobe.scan.tally import (
    DIRECTIONS,
    HALVES,
    ArcCounts,
    Direction,
    KeptArc,
    Label,
    Place,
    Tally,
)
from attnprobe.words.looks import (
    LEFT_OUT,
    UNREADABLE,
    Among,
    Look,
    Looks,
    count_unknown,
    find_looks,
)

# The attention maps that are asked for at once have at most so many cells.
CELLS = 1 << 22


class Surveyor(Protocol):
    """The interface of a model that can be scanned."""

    @property
    def name(self) -> str: ...

    @property
    def sites(self) -> Mapping[SiteName, Site]: ...

    def encode(self, sample: Sample) -> Encoding: ...

    def survey(
        self, needs: Sequence[MapNeed], *, batch_tokens: int | None = ...
    ) -> Iterator[MapSums]: ...


@dataclass(frozen=True)
class Plan:
    """What is counted, which is the same for every block.

    Attributes:
        relations: names of relations, which include their subtypes; if empty, all relations.
        among: whether sinks compete with words.
        seed: of the halves and the samples.
        set_arcs: the number of sampled arcs of each relation, direction and half.
        corpora: number of corpora.
    """

    site: SiteName
    relations: tuple[str, ...]
    among: Among
    seed: int
    set_arcs: int
    batch_tokens: int
    corpora: int

    @property
    def directions(self) -> tuple[Direction, ...]:
        """In which directions heads can look: cross attention has one."""
        return DIRECTIONS[:1] if self.site == "cross" else DIRECTIONS

    def counts(self, label: str) -> bool:
        """Whether arcs with this label are counted."""
        return not self.relations or any(matches(label, name) for name in self.relations)

    def judged(self, sample: Sample) -> bool:
        """Whether heads are judged on a text; on the others they are chosen.

        A hash tosses the coin. So a text that stands twice is on one side, and the side depends on
        the text and the seed alone.
        """
        return bool(_hash(self.seed, sample.joined, sample.target or "") & 1)


class BlockCounter:
    """Counts blocks for one model."""

    def __init__(self, model: Surveyor, plan: Plan, *, sampled: bool = True) -> None:
        """Prepares the counts.

        Args:
            sampled: whether to keep the weights of sampled arcs, for sets of heads.
        """
        self._model = model
        self._plan = plan
        self._site = model.sites[plan.site]
        self._views = Views(self._site)
        self._most = plan.set_arcs if sampled else 0
        self._sampler = _Sampler(self._most)

    def empty(self) -> Tally:
        """A tally of no block."""
        heads = len(self._site.all_heads())
        return Tally.empty(heads, self._plan.corpora, most=self._most)

    def count(self, block: ScanBlock) -> Tally:
        """The tally of one block.

        Raises:
            MeasureError: a row is not a distribution over the keys that it may see.
        """
        plan = self._plan
        labels = tuple(
            sorted(
                Label(block.corpus, name, direction)
                for name in {arc.relation for one in block.sentences for arc in one.arcs}
                if plan.counts(name)
                for direction in plan.directions
            )
        )
        work = _Work(
            labels,
            ArcCounts.zeros(len(labels), len(self._site.all_heads())),
            Totals.empty(len(self._site.all_heads())),
        )
        tokens = np.zeros((plan.corpora, 2), np.int64)
        unread = 0
        chunk: list[tuple[int, Sentence, Encoding]] = []
        cells = 0
        for number, sentence in enumerate(block.sentences, start=block.first):
            try:
                encoding = self._model.encode(sentence.sample)
            except SelectorError:
                unread += 1
                for row in (row for arc in sentence.arcs for row in work.rows(arc)):
                    work.arcs.left_out[row, LEFT_OUT.index(UNREADABLE)] += 1
                continue
            tokens[block.corpus] += count_unknown(encoding, encoding.site(plan.site))
            size = len(encoding.queries(plan.site)) * len(encoding.keys(plan.site))
            if chunk and cells + size > CELLS:
                self._count(work, block.file, chunk)
                chunk, cells = [], 0
            chunk.append((number, sentence, encoding))
            cells += size
        self._count(work, block.file, chunk)
        notes: list[Mapping[str, int]] = [{}] * plan.corpora
        notes[block.corpus] = Counter(block.notes)
        return Tally(
            labels,
            work.arcs,
            tokens,
            ExactSums.of(work.totals.sums),
            unread,
            tuple(notes),
            self._most,
            {
                key: sorted(arcs, key=lambda arc: arc.place)[: self._most]
                for key, arcs in work.kept.items()
            },
        )

    def _count(
        self, work: _Work, file: int, chunk: Sequence[tuple[int, Sentence, Encoding]]
    ) -> None:
        """Adds the counts of some sentences."""
        asked = [self._ask(work, file, *entry) for entry in chunk]
        needs = [questions.need for questions in asked]
        for sums in self._model.survey(needs, batch_tokens=self._plan.batch_tokens):
            answered = [asked[index] for index in sums.needs]
            work.totals.add(sums)
            compared = np.concatenate([questions.compared for questions in answered])
            of_arcs = np.concatenate(
                [
                    np.arange(len(questions.compared) + questions.compared.sum())
                    < len(questions.compared)
                    for questions in answered
                ]
            )
            with_other = np.zeros((len(compared), sums.right.shape[1]), np.bool_)
            with_other[compared] = sums.right[~of_arcs]
            work.arcs.add(
                np.concatenate([questions.places for questions in answered]),
                sums.right[of_arcs],
                np.concatenate([questions.offsets for questions in answered]),
                compared,
                with_other,
            )
            for questions, kept in zip(answered, sums.kept, strict=True):
                need = questions.need
                for at, place, weights in zip(need.kept, questions.kept, kept, strict=True):
                    arc = KeptArc(place, int(need.expected[at]), need.others[at], weights.copy())
                    work.kept.setdefault(questions.of[at], []).append(arc)

    def _ask(
        self, work: _Work, file: int, number: int, sentence: Sentence, encoding: Encoding
    ) -> _Questions:
        """The questions on one sentence; the work gets its rows and the arcs that are left out."""
        plan = self._plan
        site = encoding.site(plan.site)
        places = [(at, arc, row) for at, arc in enumerate(sentence.arcs) for row in work.rows(arc)]
        pairs = [
            arc.pair(number, backwards=work.labels[row].direction != DIRECTIONS[0])
            for _, arc, row in places
        ]
        looks = find_looks(
            encoding, site, pairs, site.layers, words=sentence.words, among=plan.among
        )
        for pair, reason in looks.refused.items():
            work.arcs.left_out[places[pair][2], LEFT_OUT.index(reason)] += 1
        half = int(plan.judged(sentence.sample))
        of = [(places[pair][2], half) for pair in looks.pairs]
        draws = [_draw(plan.seed, sentence, arc) for arc in sentence.arcs]
        kept: dict[int, Place] = {}
        for at, pair in enumerate(looks.pairs):
            arc, _, row = places[pair]
            place = Place(draws[arc], file, number, arc)
            if self._sampler.takes((work.labels[row], half), place):
                kept[at] = place
        views, counts = self._views.of(encoding)
        work.totals.add_rows(counts)
        others = other_looks(
            encoding, site, pairs, looks, site.layers, words=sentence.words, seed=plan.seed
        )
        return _Questions(
            _need(encoding, site, views, looks, others, tuple(kept)),
            of,
            np.array([row * HALVES + half for row, half in of], np.int64),
            looks.offsets,
            np.array([look is not None for look in others], np.bool_),
            tuple(kept.values()),
        )


@dataclass(eq=False)
class _Work:
    """The counts of a block so far."""

    labels: tuple[Label, ...]
    arcs: ArcCounts
    totals: Totals

    def __post_init__(self) -> None:
        self.kept: dict[tuple[int, int], list[KeptArc]] = {}
        self._rows: dict[str, list[int]] = {}
        for row, label in enumerate(self.labels):
            self._rows.setdefault(label.relation, []).append(row)

    def rows(self, arc: Arc) -> Sequence[int]:
        """Where an arc counts: in each direction, dependents that look at their head first."""
        return self._rows.get(arc.relation, ())


@dataclass(frozen=True, eq=False)
class _Questions:
    """The questions on one sentence: its arcs, then its arcs with another word that looks.

    Attributes:
        of: the label and half of each arc.
        places: `[arcs]`, the same in one number: label × halves + half.
        offsets: `[arcs, offsets]`, whether the word at this distance is the right one.
        compared: `[arcs]`, whether a question with another word follows for this arc.
        kept: the place of each arc whose weights are asked for.
    """

    need: MapNeed
    of: Sequence[tuple[int, int]]
    places: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.bool_]
    compared: npt.NDArray[np.bool_]
    kept: tuple[Place, ...]


class _Sampler:
    """Tells which arcs can be among the first of their label and half.

    An arc that is refused has as many arcs before it as a sample has, in blocks that are counted
    as well. So the sample of all blocks is complete, whoever counts which of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # By label and half, the first places so far, in order.
        self._first: dict[tuple[Label, int], list[Place]] = {}

    def takes(self, key: tuple[Label, int], place: Place) -> bool:
        first = self._first.setdefault(key, [])
        at = bisect_left(first, place)
        if at >= self._most:
            return False
        # A block that is counted again must not take the places twice.
        if first[at : at + 1] != [place]:
            first.insert(at, place)
            del first[self._most :]
        return True


def _need(
    encoding: Encoding,
    site: Site,
    views: Mapping[int, MapView],
    looks: Looks,
    others: Sequence[Look | None],
    kept: tuple[int, ...],
) -> MapNeed:
    asked = [*looks.looks, *(look for look in others if look is not None)]
    queries, which = _queries(asked, len(encoding.queries(site.name)))
    words = membership(looks.words, len(encoding.keys(site.name))).T.astype(np.float32, order="C")
    expected = np.array([look.expected for look in asked], np.int64)
    against = np.array([look.candidates for look in asked], np.bool_)
    against = against.reshape(len(asked), len(looks.words))
    against[np.arange(len(expected)), expected] = False
    return MapNeed(
        encoding.sample, site.name, views, queries, words, which, expected, against, kept
    )


def _queries(
    looks: Sequence[Look], length: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The mean over the rows of each word that looks, `[queries, target]`; each look's query."""
    numbers: dict[tuple[int, ...], int] = {}
    which = [numbers.setdefault(look.rows, len(numbers)) for look in looks]
    queries = np.zeros((len(numbers), length), np.float32)
    for rows, number in numbers.items():
        queries[number, list(rows)] = 1 / len(rows)
    return queries, np.array(which, np.int64)


def _draw(seed: int, sentence: Sentence, arc: Arc) -> int:
    return _hash(seed, sentence.id, str(arc.dependent), str(arc.head), arc.relation)


def _hash(*parts: object) -> int:
    """63 bits of a hash, so that numpy's integers hold it."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
