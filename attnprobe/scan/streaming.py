"""Streams the sentences of corpora through a model and counts what its heads get right.

Sentences go through the model in chunks, in the order of the corpora. A scan is saved between
chunks: one that continues from a saved chunk adds the same numbers in the same order, so it gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import membership
from attnprobe.core.errors import CorpusError, SelectorError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import MapNeed, MapSums
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Site, SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.relations.corpus import Corpus, halves
from attnprobe.relations.labels import matches, relation_names
from attnprobe.relations.preference import other_looks
from attnprobe.relations.sentences import Sentence
from attnprobe.scan.measures import Views
from attnprobe.scan.tally import HALVES, ArcGroup, KeptArc, Tally, arc_groups
from attnprobe.words.looks import (
    LEFT_OUT,
    UNREADABLE,
    Among,
    Look,
    Looks,
    count_unknown,
    find_looks,
)

# A chunk has at most so many sentences, and their attention maps at most so many cells.
CHUNK = 256
CHUNK_CELLS = 1 << 22
# Greedy sets are chosen and judged on so many arcs of each group and half.
SET_ARCS = 128

# By sentence, arc in it and direction: the group and half of each sample that contains the arc.
SampledArcs = Mapping[tuple[int, int, int], tuple[tuple[int, int], ...]]


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


@dataclass(frozen=True, eq=False)
class Plan:
    """The sentences and relations of a scan.

    Attributes:
        corpus: for each sentence, the number of its corpus.
        corpora: number of corpora.
        judged: `[sentences]`, whether heads are judged on a sentence, instead of chosen.
        of_label: for each relation name of an arc, the groups for which the arc counts.
        sampled: the arcs on which greedy sets are chosen and judged.
        among: whether sinks compete with words.
    """

    sentences: tuple[Sentence, ...]
    site: SiteName
    groups: tuple[ArcGroup, ...]
    corpus: tuple[int, ...]
    corpora: int
    judged: npt.NDArray[np.bool_]
    of_label: Mapping[str, tuple[int, ...]]
    sampled: SampledArcs
    among: Among
    seed: int
    batch_tokens: int

    @property
    def directions(self) -> int:
        """In how many directions heads can look: cross attention has one."""
        return 1 if self.site == "cross" else 2

    @property
    def counted(self) -> int:
        """The number of groups in a tally: those of all corpora together, then of each corpus."""
        return len(self.groups) * (1 + self.corpora if self.corpora > 1 else 1)

    def within(self, group: int, corpus: int) -> int:
        """The index in a tally of a group in one corpus alone."""
        return group + len(self.groups) * (1 + corpus) if self.corpora > 1 else group


def make_plan(
    model: Surveyor,
    corpora: Sequence[Corpus],
    *,
    site: SiteName | None = None,
    relations: Sequence[str] = (),
    among: Among = "words",
    seed: int = 0,
    set_arcs: int = SET_ARCS,
    batch_tokens: int = BATCH_TOKENS,
) -> Plan:
    """Chooses the relations, the half of each sentence and the sampled arcs of a scan.

    Args:
        site: None for the only site of the model.
        relations: names of relations, which include their subtypes; if empty, all relations.
        among: whether sinks compete with words.
        seed: seed of the halves and the samples.
        set_arcs: the largest number of sampled arcs of each group and half.

    Raises:
        CorpusError: no arc has the relation, or a sentence does not fit the site.
        SelectorError: the model has no such site, or has several and `site` is None.
    """
    chosen = _site(model, site)
    sentences = tuple(sentence for corpus in corpora for sentence in corpus.sentences)
    for corpus in corpora:
        for sentence in corpus.sentences:
            if (sentence.sample.target is not None) != (chosen.name == "cross"):
                expected, found = "a target", "none"
                if chosen.name != "cross":
                    expected, found = "no target", "one"
                raise CorpusError(
                    f"{corpus.name}:{sentence.line}: at the {chosen.name} site a sentence has "
                    f"{expected}, and this one has {found}; name another --site or corpus"
                )
    known = relation_names(arc.relation for sentence in sentences for arc in sentence.arcs)
    for name in relations:
        if not any(matches(relation, name) for relation in known):
            raise CorpusError(f"no arc has the relation {name!r}; {did_you_mean(name, known)}")
    names = tuple(dict.fromkeys(relations)) or tuple(known)
    groups = arc_groups(names, both=chosen.name != "cross")
    labels = {arc.relation for sentence in sentences for arc in sentence.arcs}
    of_label = {
        label: tuple(
            number for number, group in enumerate(groups) if matches(label, group.relation)
        )
        for label in sorted(labels)
    }
    # A repeated sentence goes into one half, whatever its ids.
    ids: dict[Sample, str] = {}
    judged = halves(
        [ids.setdefault(sentence.sample, sentence.id) for sentence in sentences], seed=seed
    )
    return Plan(
        sentences,
        chosen.name,
        groups,
        tuple(number for number, corpus in enumerate(corpora) for _ in corpus.sentences),
        len(corpora),
        judged,
        of_label,
        _sample_arcs(sentences, groups, of_label, judged, seed=seed, count=set_arcs),
        among,
        seed,
        batch_tokens,
    )


def _site(model: Surveyor, name: SiteName | None) -> Site:
    offered = ", ".join(model.sites)
    if name is None and len(model.sites) == 1:
        return next(iter(model.sites.values()))
    if name is None:
        raise SelectorError(f"{model.name} has several sites, name one with --site: {offered}")
    if name not in model.sites:
        raise SelectorError(f"{model.name} has no {name} attention; it has: {offered}")
    return model.sites[name]


def _sample_arcs(
    sentences: Sequence[Sentence],
    groups: Sequence[ArcGroup],
    of_label: Mapping[str, Sequence[int]],
    judged: npt.NDArray[np.bool_],
    *,
    seed: int,
    count: int,
) -> SampledArcs:
    """Draws up to `count` arcs of each group and half by a hash, so that order does not matter."""
    heaps: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for number, sentence in enumerate(sentences):
        for at, arc in enumerate(sentence.arcs):
            text = f"{seed}\0{sentence.id}\0{arc.dependent}\0{arc.head}\0{arc.relation}"
            raw = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            entry = -int.from_bytes(raw), number, at
            for group in of_label[arc.relation]:
                heap = heaps.setdefault((group, int(judged[number])), [])
                if len(heap) < count:
                    heapq.heappush(heap, entry)
                elif entry > heap[0]:
                    heapq.heapreplace(heap, entry)
    found: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for (group, half), heap in sorted(heaps.items()):
        direction = int(groups[group].direction == "head-to-dependent")
        for _, number, at in heap:
            found.setdefault((number, at, direction), []).append((group, half))
    return {key: tuple(value) for key, value in found.items()}


def scan_chunks(
    model: Surveyor, plan: Plan, tally: Tally, *, start: int = 0
) -> Iterator[tuple[int, Tally]]:
    """Yields, after each chunk, the number of sentences done and the tally of all of them.

    A yielded tally never changes, so an interrupted scan keeps a complete one.

    Args:
        tally: the tally of the sentences before `start`.

    Raises:
        MeasureError: a row is not a distribution over the keys that it may see.
    """
    views = Views(model.sites[plan.site])
    for done, chunk, unread in _chunks(model, plan, start):
        more = Tally.empty(plan.counted, tally.right.shape[-1], plan.corpora)
        for number, encoding in chunk:
            more.tokens[plan.corpus[number]] += count_unknown(encoding, encoding.site(plan.site))
        for number in unread:
            more.unread += 1
            for arc in plan.sentences[number].arcs:
                for group in plan.of_label[arc.relation]:
                    more.left_out[group, LEFT_OUT.index(UNREADABLE)] += 1
        _count_chunk(model, plan, more, views, chunk)
        tally = tally + more
        yield done, tally


def _chunks(
    model: Surveyor, plan: Plan, start: int
) -> Iterator[tuple[int, list[tuple[int, Encoding]], list[int]]]:
    """Chunks: the number of sentences done after each, its encodings, its unreadable sentences."""
    chunk: list[tuple[int, Encoding]] = []
    unread: list[int] = []
    cells = 0
    for number in range(start, len(plan.sentences)):
        try:
            encoding = model.encode(plan.sentences[number].sample)
        except SelectorError:
            unread.append(number)
            continue
        size = len(encoding.queries(plan.site)) * len(encoding.keys(plan.site))
        if chunk and (len(chunk) + len(unread) >= CHUNK or cells + size > CHUNK_CELLS):
            yield number, chunk, unread
            chunk, unread, cells = [], [], 0
        chunk.append((number, encoding))
        cells += size
    if start < len(plan.sentences):
        yield len(plan.sentences), chunk, unread


@dataclass(frozen=True, eq=False)
class _Questions:
    """The questions of one sentence: its arcs, then its arcs with another word that looks.

    Attributes:
        members: `[arcs, groups × halves]`, where each arc counts.
        offsets: `[arcs, offsets]`, whether the word at this distance is the right one.
        compared: `[arcs]`, whether a question with another word follows for this arc.
        kept: the place of each sampled arc, and its samples.
    """

    members: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.bool_]
    compared: npt.NDArray[np.bool_]
    kept: tuple[tuple[tuple[int, int, int], tuple[tuple[int, int], ...]], ...]


def _count_chunk(
    model: Surveyor,
    plan: Plan,
    tally: Tally,
    views: Views,
    chunk: Sequence[tuple[int, Encoding]],
) -> None:
    """Adds the counts of a chunk to the tally."""
    needs: list[MapNeed] = []
    asked: list[_Questions] = []
    for number, encoding in chunk:
        need, questions = _need(plan, tally, views, number, encoding)
        needs.append(need)
        asked.append(questions)
    for sums in model.survey(needs, batch_tokens=plan.batch_tokens):
        answered = [asked[index] for index in sums.needs]
        tally.totals.add(sums)
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
        tally.add(
            np.concatenate([questions.members for questions in answered]),
            sums.right[of_arcs],
            np.concatenate([questions.offsets for questions in answered]),
            compared,
            with_other,
        )
        for index, questions, kept in zip(sums.needs, answered, sums.kept, strict=True):
            need = needs[index]
            for at, (place, samples), weights in zip(need.kept, questions.kept, kept, strict=True):
                arc = KeptArc(place, int(need.expected[at]), need.others[at], weights.copy())
                for sample in samples:
                    tally.kept.setdefault(sample, []).append(arc)


def _need(
    plan: Plan, tally: Tally, views: Views, number: int, encoding: Encoding
) -> tuple[MapNeed, _Questions]:
    """The request for one sentence; the tally gets its rows and the arcs that are left out."""
    site = encoding.site(plan.site)
    sentence = plan.sentences[number]
    places = [
        (at, direction)
        for at, arc in enumerate(sentence.arcs)
        if plan.of_label[arc.relation]
        for direction in range(plan.directions)
    ]
    pairs = [sentence.arcs[at].pair(number, backwards=bool(way)) for at, way in places]
    looks = find_looks(encoding, site, pairs, site.layers, words=sentence.words, among=plan.among)
    groups = [_groups(plan, sentence, *place) for place in places]
    _count_left_out(tally, looks, groups)
    half = int(plan.judged[number])
    members = np.zeros((len(looks.looks), *tally.n.shape), np.bool_)
    corpus = plan.corpus[number]
    counted = [
        (row, at)
        for row, pair in enumerate(looks.pairs)
        for group in groups[pair]
        for at in (group, plan.within(group, corpus))
    ]
    rows, columns = np.array(counted, np.int64).reshape(-1, 2).T
    members[rows, columns, half] = True
    kept = [
        (row, (number, *places[pair]))
        for row, pair in enumerate(looks.pairs)
        if (number, *places[pair]) in plan.sampled
    ]
    map_views, counts = views.of(encoding)
    tally.totals.add_rows(counts)
    others = other_looks(
        encoding, site, pairs, looks, site.layers, words=sentence.words, seed=plan.seed
    )
    asked = [*looks.looks, *(look for look in others if look is not None)]
    queries, which = _queries(asked, len(encoding.queries(site.name)))
    words = membership(looks.words, len(encoding.keys(site.name))).T.astype(np.float32, order="C")
    expected = np.array([look.expected for look in asked], np.int64)
    against = np.array([look.candidates for look in asked], np.bool_)
    against = against.reshape(len(asked), len(looks.words))
    against[np.arange(len(expected)), expected] = False
    need = MapNeed(
        encoding.sample,
        site.name,
        map_views,
        queries,
        words,
        which,
        expected,
        against,
        tuple(row for row, _ in kept),
    )
    return need, _Questions(
        members.reshape(len(members), members.shape[1] * HALVES),
        looks.offsets,
        np.array([look is not None for look in others], np.bool_),
        tuple((place, plan.sampled[place]) for _, place in kept),
    )


def _groups(plan: Plan, sentence: Sentence, at: int, direction: int) -> tuple[int, ...]:
    """The groups for which an arc counts in one direction; the two directions alternate."""
    return tuple(
        group
        for group in plan.of_label[sentence.arcs[at].relation]
        if plan.directions == 1 or group % 2 == direction
    )


def _count_left_out(tally: Tally, looks: Looks, groups: Sequence[Sequence[int]]) -> None:
    for pair, reason in looks.refused.items():
        for group in groups[pair]:
            tally.left_out[group, LEFT_OUT.index(reason)] += 1


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
