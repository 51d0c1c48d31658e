"""The arcs of a relation, from its corpus or from the case file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attnprobe.cases import CorpusArcs, LabelledArcs, Relation
from attnprobe.core.errors import CaseError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.texts import Sample
from attnprobe.relations.corpus import Corpus, read_corpus
from attnprobe.relations.labels import matches, relation_names
from attnprobe.relations.sentences import Arc, Sentence
from attnprobe.words.looks import LabelledPair, Words

ReadCorpus = Callable[[Path, str], Corpus]


@dataclass(frozen=True)
class Arcs:
    """The arcs of one relation.

    Attributes:
        words: the words of each sample, as its treebank divides it.
        groups: the group of each sample; a split never divides a group.
        left_out: the number of arcs that were not taken, by reason.
        notes: remarks on the corpus file, for its user.
        sha256: hash of the corpus file; None for arcs of the case file.
    """

    samples: tuple[Sample, ...]
    words: tuple[Words, ...]
    groups: tuple[str, ...]
    pairs: tuple[LabelledPair, ...]
    left_out: Mapping[str, int]
    notes: tuple[str, ...] = ()
    sha256: str | None = None


def gather(relation: Relation, read: ReadCorpus = read_corpus) -> Arcs:
    """The arcs of a relation, from its corpus or from the case file.

    Raises:
        CorpusError: the corpus cannot be read.
        CaseError: the corpus has no such relation, or the relation's site or direction does not
            fit its sentences.
    """
    if isinstance(relation.source, LabelledArcs):
        arcs = relation.source.arcs
        groups: dict[Sample, str] = {}
        for arc in arcs:
            groups.setdefault(arc.sample, arc.group)
        numbers = {sample: number for number, sample in enumerate(groups)}
        return Arcs(
            tuple(groups),
            (None,) * len(groups),
            tuple(groups.values()),
            tuple(LabelledPair(numbers[arc.sample], *arc[1:4]) for arc in arcs),
            relation.source.left_out,
        )
    return _corpus_arcs(relation, relation.source, read)


def _corpus_arcs(relation: Relation, source: CorpusArcs, read: ReadCorpus) -> Arcs:
    corpus = read(source.path, source.shown)
    known = {arc.relation for sentence in corpus.sentences for arc in sentence.arcs}
    for label, mark in source.labels:
        if not any(matches(name, label) for name in known):
            near = did_you_mean(label, relation_names(known))
            raise CaseError(f"no relation {label!r} in {corpus.name}; {near}", mark)
    found = [
        (_with_languages(sentence, source), list(_matching(sentence.arcs, source)))
        for sentence in corpus.sentences
    ]
    found = [(sentence, arcs) for sentence, arcs in found if arcs]
    two_texts = any(sentence.sample.target is not None for sentence, _ in found)
    if two_texts and (relation.site != "cross" or source.backwards):
        raise CaseError(
            f"the sentences of {corpus.name} have a target text, and its words look at those of "
            "the text; write site: cross and direction: dependent-to-head",
            relation.mark,
        )
    # Equal sentences with different ids must not be on both sides of a split.
    groups: dict[Sample, str] = {}
    for sentence, _ in found:
        groups.setdefault(sentence.sample, sentence.id)
    texts = tuple(dict.fromkeys((sentence.sample, sentence.words) for sentence, _ in found))
    numbers = {text: number for number, text in enumerate(texts)}
    return Arcs(
        tuple(sample for sample, _ in texts),
        tuple(words for _, words in texts),
        tuple(groups[sample] for sample, _ in texts),
        tuple(
            arc.pair(numbers[sentence.sample, sentence.words], backwards=source.backwards)
            for sentence, arcs in found
            for arc in arcs
        ),
        {},
        corpus.notes,
        corpus.sha256,
    )


def _with_languages(sentence: Sentence, source: CorpusArcs) -> Sentence:
    sample = replace(
        sentence.sample,
        source_language=source.source_language,
        target_language=sentence.sample.target and source.target_language,
    )
    return replace(sentence, sample=sample)


def _matching(arcs: Sequence[Arc], source: CorpusArcs) -> Iterator[Arc]:
    for arc in arcs:
        if any(matches(arc.relation, label) for label, _ in source.labels):
            yield arc
