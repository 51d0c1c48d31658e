"""One streaming pass of a model over a corpus.

Sentences go through the model in chunks, in the order of the corpus. A chunk is the unit of
saving: a scan that goes on from a saved chunk adds the same numbers in the same order, and so gives
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

from attnprobe.core.errors import CorpusError, SelectorError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import MapNeed, MapSums
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Site, SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.relations.corpus import Corpus, Sentence, halves, matches, relation_names
from attnprobe.relations.preference import other_looks
from attnprobe.scan.measures import Views
from attnprobe.scan.tally import HALVES, Group, KeptArc, Tally, groups_of
from attnprobe.words.looks import (
    LEFT_OUT,
    UNREADABLE,
    Among,
    Look,
    Looks,
    count_unknown,
    find_looks,
)

# A chunk ends after so many sentences, or before more cells of their maps than this.
CHUNK = 256
CHUNK_CELLS = 1 << 22
# Arcs of each relation, direction and half that head sets are chosen and judged on.
SET_ARCS = 128

Arcs = Mapping[tuple[int, int, int], tuple[tuple[int, int], ...]]


class Surveyor(Protocol):
    """What a model must offer here."""

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
    """What is scanned.

    Attributes:
        corpus: of each sentence, the number of the corpus that it is of.
        corpora: how many there are.
        judged: of each sentence, whether heads are judged on it, or else chosen on it.
        of_label: for each relation of an arc, the groups that it counts for.
        sampled: the arcs that head sets are made on, by sentence, arc and direction: the group and
            half of each sample that it is in.
        among: whether sinks compete with words.
    """

    sentences: tuple[Sentence, ...]
    site: SiteName
    groups: tuple[Group, ...]
    corpus: tuple[int, ...]
    corpora: int
    judged: npt.NDArray[np.bool_]
    of_label: Mapping[str, tuple[int, ...]]
    sampled: Arcs
    among: Among
    seed: int
    batch_tokens: int

    @property
    def directions(self) -> int:
        return 1 if self.site == "cross" else 2

    @property
    def counted(self) -> int:
        """How many groups a tally has: of several corpora, those of each follow those of all."""
        return len(self.groups) * (1 + self.corpora if self.corpora > 1 else 1)

    def within(self, group: int, corpus: int) -> int:
        """The place in a tally of a group in one corpus alone."""
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
    """Which relations are looked for, on which half each sentence is, which arcs are sampled.

    Args:
        site: needed only where the model has several.
        relations: with their subtypes; every relation of the corpora without it.
        among: whether sinks compete with words.

    Raises:
        CorpusError: a relation that no arc has, or sentences that do not fit the site.
    """
    chosen = _site(model, site)
    sentences = tuple(sentence for corpus in corpora for sentence in corpus.sentences)
    for corpus in corpora:
        for sentence in corpus.sentences:
            if (sentence.sample.target is not None) != (chosen.name == "cross"):
                need, other = "a target", "none"
                if chosen.name != "cross":
                    need, other = "no target", "one"
                raise CorpusError(
                    f"{corpus.name}:{sentence.line}: at the {chosen.name} site a sentence has "
                    f"{need}, and this one has {other}; name another --site or corpus"
                )
    known = relation_names(arc.relation for sentence in sentences for arc in sentence.arcs)
    for name in relations:
        if not any(matches(one, name) for one in known):
            raise CorpusError(f"no arc has the relation {name!r}; {did_you_mean(name, known)}")
    names = tuple(dict.fromkeys(relations)) or tuple(known)
    groups = groups_of(names, both=chosen.name != "cross")
    labels = {arc.relation for sentence in sentences for arc in sentence.arcs}
    of_label = {
        label: tuple(
            number for number, group in enumerate(groups) if matches(label, group.relation)
        )
        for label in sorted(labels)
    }
    # The same sentence twice is on one side of the split, whatever it is called.
    ids: dict[Sample, str] = {}
    judged = halves([ids.setdefault(one.sample, one.id) for one in sentences], seed=seed)
    return Plan(
        sentences,
        chosen.name,
        groups,
        tuple(number for number, corpus in enumerate(corpora) for _ in corpus.sentences),
        len(corpora),
        judged,
        of_label,
        _sampled(sentences, groups, of_label, judged, seed=seed, count=set_arcs),
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


def _sampled(
    sentences: Sequence[Sentence],
    groups: Sequence[Group],
    of_label: Mapping[str, Sequence[int]],
    judged: npt.NDArray[np.bool_],
    *,
    seed: int,
    count: int,
) -> Arcs:
    """The same number of arcs of each group and half, drawn by a hash: whatever their order."""
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
    """After each chunk, how many sentences are done and the tally of all of them.

    A tally is never changed once it is there, so whoever stops here has a whole one.

    Args:
        tally: of the sentences before `start`.

    Raises:
        MeasureError: a row that is no distribution over the keys that it may see.
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
        _add(model, plan, more, views, chunk)
        tally = tally + more
        yield done, tally


def _chunks(
    model: Surveyor, plan: Plan, start: int
) -> Iterator[tuple[int, list[tuple[int, Encoding]], list[int]]]:
    """How many sentences are done after a chunk, those to be read, those that cannot be."""
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
    """The arcs of one sentence that can be judged.

    Attributes:
        members: `[arcs, groups × halves]`, what each counts for.
        offsets: `[arcs, offsets]`.
        compared: `[arcs]`, whether another word looks as well; these questions follow those of
            the arcs.
        kept: of those sampled, the place and the samples.
    """

    members: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.bool_]
    compared: npt.NDArray[np.bool_]
    kept: tuple[tuple[tuple[int, int, int], tuple[tuple[int, int], ...]], ...]


def _add(
    model: Surveyor,
    plan: Plan,
    tally: Tally,
    views: Views,
    chunk: Sequence[tuple[int, Encoding]],
) -> None:
    needs: list[MapNeed] = []
    asked: list[_Questions] = []
    for number, encoding in chunk:
        need, questions = _need(plan, tally, views, number, encoding)
        needs.append(need)
        asked.append(questions)
    for sums in model.survey(needs, batch_tokens=plan.batch_tokens):
        own = [asked[index] for index in sums.needs]
        tally.totals.add(sums)
        compared = np.concatenate([one.compared for one in own])
        # The questions of each text: its arcs, then the same words looked at by others.
        of_arcs = np.concatenate(
            [np.arange(len(one.compared) + one.compared.sum()) < len(one.compared) for one in own]
        )
        other = np.zeros((len(compared), sums.right.shape[1]), np.bool_)
        other[compared] = sums.right[~of_arcs]
        tally.add(
            np.concatenate([one.members for one in own]),
            sums.right[of_arcs],
            np.concatenate([one.offsets for one in own]),
            compared,
            other,
        )
        for index, questions, weights in zip(sums.needs, own, sums.kept, strict=True):
            need = needs[index]
            for at, (place, samples), found in zip(need.kept, questions.kept, weights, strict=True):
                arc = KeptArc(place, int(need.expected[at]), need.others[at], found.copy())
                for sample in samples:
                    tally.kept.setdefault(sample, []).append(arc)


def _need(
    plan: Plan, tally: Tally, views: Views, number: int, encoding: Encoding
) -> tuple[MapNeed, _Questions]:
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
    for row, pair in enumerate(looks.pairs):
        own = [plan.within(group, plan.corpus[number]) for group in groups[pair]]
        members[row, [*groups[pair], *own], half] = True
    kept = [
        (row, (number, *places[pair]))
        for row, pair in enumerate(looks.pairs)
        if (number, *places[pair]) in plan.sampled
    ]
    seen, counts = views.of(encoding)
    tally.totals.add_rows(counts)
    others = other_looks(
        encoding, site, pairs, looks, site.layers, words=sentence.words, seed=plan.seed
    )
    asked = [*looks.looks, *(look for look in others if look is not None)]
    queries, which = _queries(asked, len(encoding.queries(site.name)))
    words = np.zeros((len(encoding.keys(site.name)), len(looks.words)), np.float32)
    for column, word in enumerate(looks.words):
        words[list(word), column] = 1
    expected = np.array([look.expected for look in asked], np.int64)
    against = np.zeros((len(asked), len(looks.words)), np.bool_)
    for row, look in enumerate(asked):
        against[row] = look.candidates
    against[np.arange(len(expected)), expected] = False
    need = MapNeed(
        encoding.sample,
        site.name,
        seen,
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
    """The groups that an arc counts for in a direction: they stand one after the other."""
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
    """The rows of each distinct word that looks, `[queries, target]`, and which look asks which."""
    numbers: dict[tuple[int, ...], int] = {}
    which = [numbers.setdefault(look.rows, len(numbers)) for look in looks]
    queries = np.zeros((len(numbers), length), np.float32)
    for rows, number in numbers.items():
        queries[number, list(rows)] = 1 / len(rows)
    return queries, np.array(which, np.int64)
