"""Relations on the batch against slow plain numpy on the network's own eager weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from attnprobe import capture
from attnprobe.align import groups
from attnprobe.corpus import read_corpus
from attnprobe.errors import MeasureError, SelectorError
from attnprobe.models import Model
from attnprobe.models.tiny import tiny_network, tiny_tokenizer
from attnprobe.records import Encoding, Floats, Head, Readout, Sample, SiteName, Span, Tokens
from attnprobe.relations import (
    ALONE,
    FAR,
    LATER,
    OFFSETS,
    SAME,
    SPLIT,
    UNREADABLE,
    Pair,
    find_looks,
    measure,
)
from tests.made_up import FakeReader, encoding

CORPUS = Path(__file__).parent.parent / "cases" / "data" / "english.conllu"


def span(text: str, word: str) -> Span:
    start = text.index(word)
    return Span(start, start + len(word))


@functools.cache
def eager_weights(model: Model, sample: Sample, site: SiteName) -> dict[int, Floats]:
    """Each layer's weights `[heads, target, source]` as the network itself returns them."""
    read = model.encode(sample)
    target = None if read.target is None else [read.target.ids]
    inputs = capture.batch_inputs(model.network, [read.source.ids], target)
    layers = capture.eager(model.network, inputs, alone=site)[site]
    numbers = model.sites[site].layers
    return {n: layer[0].numpy() for n, layer in zip(numbers, layers, strict=True)}


def slow(
    model: Model, sample: Sample, pair: Pair, heads: Sequence[Head], site: SiteName
) -> tuple[bool, list[bool]] | None:
    """Clark's rule, word by word; None where the pair cannot be judged."""
    read = model.encode(sample)
    queries, keys = read.queries(site), read.keys(site)
    where = model.sites[site]

    def words(tokens: Tokens) -> list[tuple[int, ...]]:
        shown = [at and tokens.text[slice(*at)].strip() for at in tokens.spans]
        return [
            group.positions
            for group in groups(tokens)
            if not group.special and any(shown[at] for at in group.positions)
        ]

    def holding(tokens: Tokens, own: list[tuple[int, ...]], wanted: Span) -> list[int]:
        at = {
            index
            for index, covered in enumerate(tokens.spans)
            if covered and covered[0] < wanted.end and wanted.start < covered[1]
        }
        return [n for n, positions in enumerate(own) if at & set(positions)]

    rows_of, columns_of = words(queries), words(keys)
    looking = holding(queries, rows_of, pair.query)
    looked_at = holding(keys, columns_of, pair.key)
    rows = [at for word in looking for at in rows_of[word]]
    weights = eager_weights(model, sample, site)
    mean = np.mean([weights[head.layer][head.head] for head in heads], axis=0)[rows].mean(axis=0)
    masses = {}
    for number, positions in enumerate(columns_of):
        own = site != "cross" and number in looking
        seen = not where.causal or min(positions) <= max(rows)
        if seen and not own:
            masses[number] = sum(float(mean[at]) for at in positions)
    right = [number for number in looked_at if number in masses]
    if not right or len(right) == len(masses):
        return None
    best = max(masses, key=masses.__getitem__)
    edge = {True: max(looking), False: min(looking)}
    return best in right, [edge[k > 0] + k in looked_at for k in OFFSETS]


def check(
    model: Model, samples: Sequence[Sample], pairs: Sequence[Pair], site: SiteName
) -> tuple[int, int]:
    """Compares every head and two sets; how many pairs were judged and left out."""
    heads = model.sites[site].all_heads()
    sets = [*((head,) for head in heads), heads[:3], heads]
    hits = measure(model, samples, pairs, site=site, sets=sets)
    judged = 0
    for pair in sorted(pairs, key=lambda pair: pair.sample):
        expected = [slow(model, samples[pair.sample], pair, one, site) for one in sets]
        if expected[0] is None:
            continue
        assert hits.samples[judged] == pair.sample
        assert hits.right[judged].tolist() == [one is not None and one[0] for one in expected]
        assert hits.offsets[judged].tolist() == expected[0][1]
        judged += 1
    assert judged == len(hits.right)
    assert judged + sum(hits.left_out.values()) == len(pairs)
    return judged, len(pairs) - judged


def treebank(count: int) -> tuple[list[Sample], list[Pair]]:
    """The first sentences of the shipped treebank, with all of their arcs in both directions."""
    sentences = read_corpus(CORPUS).sentences[:count]
    pairs = [
        Pair(number, *ends)
        for number, sentence in enumerate(sentences)
        for arc in sentence.arcs
        for ends in ((arc.dependent, arc.head), (arc.head, arc.dependent))
    ]
    return [sentence.sample for sentence in sentences], pairs


def test_on_the_demo_model(minilm: Model) -> None:
    judged, left_out = check(minilm, *treebank(5), "encoder")
    assert judged > 30
    assert not left_out


TEXTS = ("the cat sat", "a big dog ran home", "she saw him")


def all_pairs(texts: Sequence[str]) -> tuple[list[Sample], list[Pair]]:
    """Every word of every text to every other."""
    pairs = [
        Pair(number, span(text, one), span(text, other))
        for number, text in enumerate(texts)
        for one in text.split()
        for other in text.split()
        if one != other
    ]
    return [Sample(text) for text in texts], pairs


@pytest.mark.parametrize("architecture", ["bert", "llama", "gemma2"])
def test_on_other_architectures(architecture: str) -> None:
    model = Model.of(tiny_network(architecture), tiny_tokenizer(), name="tiny")
    (site,) = model.sites
    samples, pairs = all_pairs(TEXTS)
    windows = dict(model.sites[site].windows)
    if not windows:
        judged, left_out = check(model, samples, pairs, site)
        assert (left_out > 0) is model.sites[site].causal
        assert judged > 10
        return
    # A byte is a token here, so that a window of six hides most words: where it hides the word, a
    # head has nothing on it and is wrong.
    heads = model.sites[site].all_heads()
    hits = measure(model, samples, pairs, site=site, sets=[(head,) for head in heads])
    narrow = [number for number, head in enumerate(heads) if head.layer in windows]
    wide = [number for number, head in enumerate(heads) if head.layer not in windows]
    assert hits.right[:, wide].any()
    assert hits.right[:, narrow].mean() < hits.right[:, wide].mean() + 0.2
    assert FAR not in hits.left_out
    only = measure(model, samples, pairs, site=site, sets=[(heads[narrow[0]],)])
    assert only.left_out[FAR] > 0


def test_across_two_texts() -> None:
    model = Model.of(tiny_network("bart"), tiny_tokenizer(), name="tiny")
    sample = Sample("the cat sat here", "le chat est la")
    pairs = [
        Pair(0, span("le chat est la", one), span("the cat sat here", other))
        for one in ("le", "chat", "est")
        for other in ("the", "cat", "sat", "here")
    ]
    judged, left_out = check(model, [sample], pairs, "cross")
    assert (judged, left_out) == (12, 0)


def test_the_order_of_pairs_and_the_batch_do_not_matter(minilm: Model) -> None:
    samples, pairs = treebank(4)
    sets = [(head,) for head in minilm.sites["encoder"].all_heads()]
    one = measure(minilm, samples, pairs, site=None, sets=sets)
    small = measure(minilm, samples, pairs, site=None, sets=sets, batch_tokens=40)
    assert (one.right == small.right).all()
    back = measure(minilm, samples[::-1], pairs, site=None, sets=sets)
    assert back.right.shape[1] == len(sets)


def test_what_is_left_out_is_counted_by_reason(minilm: Model) -> None:
    text = "The old clock isn't in a well-known hall."
    long = "clock " * 600
    samples = [Sample(text), Sample("Go home"), Sample(long)]
    pairs = [
        Pair(0, span(text, "old"), span(text, "clock")),
        Pair(0, span(text, "clo"), span(text, "hall")),  # half a token
        Pair(0, span(text, "well"), span(text, "known")),  # one word of this house
        Pair(1, span("Go home", "Go"), span("Go home", "home")),
        Pair(2, Span(0, 5), Span(6, 11)),
    ]
    hits = measure(minilm, samples, pairs, site=None, sets=[(Head(0, 0),)])
    assert hits.samples.tolist() == [0]
    assert hits.left_out == {UNREADABLE: 1, SPLIT: 1, SAME: 1, ALONE: 1}


def test_a_decoder_cannot_look_ahead() -> None:
    model = Model.of(tiny_network("llama"), tiny_tokenizer(), name="tiny")
    samples, pairs = all_pairs(["one two three"])
    hits = measure(model, samples, pairs, site=None, sets=[(Head(0, 0),)])
    assert hits.left_out == {LATER: 3, ALONE: 1}
    assert hits.samples.tolist() == [0, 0]


def test_offsets_count_in_words() -> None:
    read = encoding("the old key|s near it slept .")
    text = read.source.text
    pairs = [
        Pair(0, span(text, "it"), span(text, "old")),
        Pair(0, span(text, "the"), span(text, "slept")),
        Pair(0, span(text, "keys"), span(text, "near")),
    ]
    looks = find_looks(read, read.site(None), pairs, [0])
    found = [[OFFSETS[at] for at in np.flatnonzero(look.offsets)] for look in looks.looks]
    assert found == [[-3], [5], [1]]


class Reading(FakeReader):
    """A fake that relations can be measured on."""

    def read_out(self, readouts: Sequence[Readout], *, batch_tokens: int = 0) -> list[float]:
        raise NotImplementedError


def test_a_tie_is_not_right() -> None:
    class Even(Reading):
        def weights(self, read: Encoding) -> dict[int, Floats]:
            size = len(read.source)
            return {layer: np.full((2, size, size), 1 / size, np.float32) for layer in range(3)}

    text = "a b c d"
    pair = Pair(0, span(text, "a"), span(text, "b"))
    hits = measure(Even(), [Sample(text)], [pair], site=None, sets=[(Head(0, 0),)])
    assert not hits.right.any()


def test_heads_and_weights_that_are_not_there() -> None:
    text = "a b c d"
    pair = Pair(0, span(text, "a"), span(text, "b"))
    for heads in ((Head(9, 0),), (Head(0, 2),), ()):
        with pytest.raises(SelectorError, match="head"):
            measure(Reading(), [Sample(text)], [pair], site=None, sets=[heads])

    class Broken(Reading):
        def weights(self, read: Encoding) -> dict[int, Floats]:
            return {layer: own * np.nan for layer, own in super().weights(read).items()}

    with pytest.raises(MeasureError, match="no numbers"):
        measure(Broken(), [Sample(text)], [pair], site=None, sets=[(Head(0, 0),)])
