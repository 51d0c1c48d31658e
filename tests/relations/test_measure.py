"""Relations on the batch against slow plain numpy on the network's own eager weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Encoding, Sample, Span, Tokens
from attnprobe.models import Model
from attnprobe.relations.arcs import Trial, measure
from attnprobe.relations.corpus import read_corpus
from attnprobe.words.looks import (
    ALONE,
    FAR,
    FIRST,
    LATER,
    OFFSETS,
    SAME,
    SPLIT,
    UNKNOWN,
    UNREADABLE,
    Among,
    LabelledPair,
    Words,
    find_looks,
)
from attnprobe.words.segmentation import words
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.eager import eager_weights
from tests.support.made_up import Reading, encoding

CORPUS = Path(__file__).parents[2] / "cases" / "data" / "english.conllu"


def span(text: str, word: str) -> Span:
    start = text.index(word)
    return Span(start, start + len(word))


def slow(
    model: Model,
    sample: Sample,
    pair: LabelledPair,
    sets: Sequence[Sequence[Head]],
    site: SiteName,
    spelled: Sequence[Span] | None = None,
    among: str = "words",
) -> tuple[list[bool], list[bool]] | None:
    """Clark's rule, token by token, for each set; None where the pair cannot be judged.

    Args:
        spelled: the words of a treebank.
    """
    read = model.encode(sample)
    queries, keys = read.queries(site), read.keys(site)
    where = model.sites[site]

    def inside(tokens: Tokens, wanted: Span) -> list[int] | None:
        """Tokens of a span; None where one of them is unknown or runs over its ends."""
        found = []
        for at, covered in enumerate(tokens.spans):
            letters = [c for c in range(*(covered or (0, 0))) if not tokens.text[c].isspace()]
            within = [wanted.start <= c < wanted.end for c in letters]
            if any(within) and not all(within):
                return None
            if any(within):
                found.append(at)
        return None if set(found) & set(tokens.unknown) else found or None

    def parts(tokens: Tokens) -> list[set[int]]:
        """Tokens of each word; words that share a token are one."""
        found: list[set[int]] = []
        for word in words(tokens.text) if spelled is None else spelled:
            own = {
                at
                for at, covered in enumerate(tokens.spans)
                if covered
                for c in range(*covered)
                if word.start <= c < word.end and not tokens.text[c].isspace()
            }
            for other in [one for one in found if one & own]:
                found.remove(other)
                own |= other
            if own:
                found.append(own)
        if among == "all":
            found += [{at} for at in range(len(tokens)) if not any(at in own for own in found)]
        return found

    rows, wanted = inside(queries, pair.query), inside(keys, pair.key)
    named = [inside(keys, one) for one in pair.candidates]
    if rows is None or wanted is None or None in named:
        return None
    choices = [set(one or ()) for one in named] or parts(keys)
    choices = [one for one in choices if not one & set(wanted)] + [set(wanted)]
    if site != "cross":
        choices = [one for one in choices if not one & set(rows)]
    if where.causal:
        choices = [one for one in choices if min(one) <= max(rows)]
        choices = [one for one in choices if 0 not in one or among == "all"]
    if set(wanted) not in choices or len(choices) == 1:
        return None
    weights = eager_weights(model, sample, site)
    right = []
    for heads in sets:
        mean = np.mean([weights[head.layer][head.head][rows] for head in heads], axis=(0, 1))
        masses = [sum(float(mean[at]) for at in one) for one in choices]
        best = max(masses)
        right.append(masses.count(best) == 1 and choices[masses.index(best)] == set(wanted))
    texts = queries.text, keys.text
    listed = [words(text) if spelled is None else spelled for text in texts]
    first, second = pair.query, pair.key
    if site == "cross":
        ahead = [
            sum(word.end <= end.start for word in of)
            for of, end in zip(listed, (first, second), strict=True)
        ]
        distance = ahead[1] - ahead[0]
    else:
        start, end = sorted((first, second))
        steps = 1 + sum(start.end <= word.start and word.end <= end.start for word in listed[0])
        distance = steps if second == end else -steps
    return right, [distance == offset for offset in OFFSETS]


def check(
    model: Model,
    samples: Sequence[Sample],
    pairs: Sequence[LabelledPair],
    site: SiteName,
    spelled: Sequence[Words] | None = None,
    among: Among = "words",
) -> tuple[int, int]:
    """Compares every head and two sets; how many pairs were judged and left out."""
    heads = model.sites[site].all_heads()
    sets = [*((head,) for head in heads), heads[:3], heads]
    hits = measure(model, Trial(samples, pairs, site=site, sets=sets, words=spelled, among=among))
    judged = 0
    for pair in sorted(pairs, key=lambda pair: pair.sample):
        own = None if spelled is None else spelled[pair.sample]
        text = samples[pair.sample]
        expected = slow(model, text, pair, sets, site, own, among)
        if expected is None:
            continue
        assert hits.samples[judged] == pair.sample
        assert (hits.right[judged].tolist(), hits.offsets[judged].tolist()) == expected
        judged += 1
    assert judged == len(hits.right)
    assert judged + sum(hits.left_out.values()) == len(pairs)
    return judged, len(pairs) - judged


def treebank(
    count: int, file: Path = CORPUS
) -> tuple[list[Sample], list[LabelledPair], list[Words]]:
    """The first sentences of a treebank, with all of their arcs in both directions."""
    sentences = read_corpus(file).sentences[:count]
    pairs = [
        arc.pair(number, backwards=backwards)
        for number, sentence in enumerate(sentences)
        for arc in sentence.arcs
        for backwards in (False, True)
    ]
    return [one.sample for one in sentences], pairs, [one.words for one in sentences]


def test_on_the_demo_model(minilm: Model) -> None:
    samples, pairs, spelled = treebank(5)
    judged, left_out = check(minilm, samples, pairs, "encoder", spelled)
    assert judged > 30
    assert not left_out
    assert check(minilm, samples, pairs[:20], "encoder", spelled, "all") == (20, 0)


# Words that attnprobe cuts in another way than the treebank does: an address is one word there, an
# abbreviation keeps its points, `l'` and `eau` are two, and so are the parts of `can't`.
CUT = """\
# text = Write to anna.b@example.org  in the U.S. now.
1	Write	_	_	_	_	0	root	_	_
2	to	_	_	_	_	3	case	_	_
3	anna.b@example.org	_	_	_	_	1	obl	_	_
4	in	_	_	_	_	6	case	_	_
5	the	_	_	_	_	6	det	_	_
6	U.S.	_	_	_	_	1	obl	_	_
7	now	_	_	_	_	1	advmod	_	SpaceAfter=No
8	.	_	_	_	_	1	punct	_	_

# text = Elle boit l'eau qu'il a.
1	Elle	_	_	_	_	2	nsubj	_	_
2	boit	_	_	_	_	0	root	_	_
3	l'	_	_	_	_	4	det	_	SpaceAfter=No
4	eau	_	_	_	_	2	obj	_	_
5	qu'	_	_	_	_	7	obj	_	SpaceAfter=No
6	il	_	_	_	_	7	nsubj	_	_
7	a	_	_	_	_	4	acl	_	SpaceAfter=No
8	.	_	_	_	_	2	punct	_	_

# text = 我们昨天见了老朋友。
1	我们	_	_	_	_	3	nsubj	_	SpaceAfter=No
2	昨天	_	_	_	_	3	advmod	_	SpaceAfter=No
3	见	_	_	_	_	0	root	_	SpaceAfter=No
4	了	_	_	_	_	3	aux	_	SpaceAfter=No
5	老	_	_	_	_	6	amod	_	SpaceAfter=No
6	朋友	_	_	_	_	3	obj	_	SpaceAfter=No
7	。	_	_	_	_	3	punct	_	_

# text = Kim can't go to the du.
1	Kim	_	_	_	_	4	nsubj	_	_
2	ca	_	_	_	_	4	aux	_	SpaceAfter=No
3	n't	_	_	_	_	4	advmod	_	_
4	go	_	_	_	_	0	root	_	_
5	to	_	_	_	_	8	case	_	_
6	the	_	_	_	_	8	det	_	_
7-8	du	_	_	_	_	_	_	_	SpaceAfter=No
7	de	_	_	_	_	8	x	_	_
8	le	_	_	_	_	4	obl	_	_
9	.	_	_	_	_	4	punct	_	_
"""


@pytest.fixture
def cut(tmp_path: Path) -> tuple[list[Sample], list[LabelledPair], list[Words]]:
    file = tmp_path / "cut.conllu"
    file.write_text(CUT, encoding="utf-8")
    return treebank(9, file)


Treebank = tuple[list[Sample], list[LabelledPair], list[Words]]


@pytest.mark.parametrize("among", ["words", "all"])
def test_a_word_that_is_cut_is_judged_by_the_sum_of_its_parts(
    cut: Treebank, among: Among, minilm: Model
) -> None:
    """A byte is a token of the small models, so that nothing is lost at a token boundary."""
    samples, pairs, spelled = cut
    for architecture, site in (("bert", "encoder"), ("llama", "decoder")):
        model = Model.of(tiny_network(architecture), tiny_tokenizer(), name="tiny")
        judged, left_out = check(model, samples, pairs, site, spelled, among)
        # A decoder's second word has nothing to choose from but the first, unless sinks compete.
        behind = len(pairs) // 2 + (among == "words")
        assert left_out == (0 if architecture == "bert" else behind)
        assert judged + left_out == len(pairs) == 46
    # `can't` is one token up to `n` to MiniLM: its two words are left out.
    judged, left_out = check(minilm, samples, pairs, "encoder", spelled, among)
    hits = measure(minilm, Trial(samples, pairs, site=None, sets=[(Head(0, 0),)], words=spelled))
    assert hits.left_out == {UNKNOWN: left_out - 4, SPLIT: 4}
    assert judged > 2 * left_out > 8


def test_french_elisions_and_other_parts_of_a_word_are_judged(minilm: Model) -> None:
    text = "Elle boit l'eau"
    pair = LabelledPair(0, span(text, "l'"), span(text, "eau"))
    head = Head(2, 3)
    hits = measure(minilm, Trial([Sample(text)], [pair], site=None, sets=[(head,)]))
    weights = eager_weights(minilm, Sample(text), "encoder")[2][3]
    pieces = minilm.encode(Sample(text)).source.pieces
    assert pieces == ("[CLS]", "Elle", "bo", "##it", "l", "'", "ea", "##u", "[SEP]")
    row = weights[[4, 5]].mean(axis=0)
    assert hits.right.tolist() == [[row[6] + row[7] > max(row[1], row[2] + row[3])]]
    assert [OFFSETS[at] for at in np.flatnonzero(hits.offsets[0])] == [1]


def test_named_candidates_are_all_that_competes(minilm: Model) -> None:
    text = "John Smith told Mary about the man whom he saw"
    names = [span(text, "John Smith"), span(text, "Mary")]
    he = Span(len(text) - 6, len(text) - 4)
    samples, head = [Sample(text)], Head(3, 1)
    row = eager_weights(minilm, samples[0], "encoder")[3][1]
    pieces = minilm.encode(samples[0]).source.pieces
    looking = row[pieces.index("he")]
    john = looking[[pieces.index("John"), pieces.index("Smith")]].sum()
    mary = looking[pieces.index("Mary")]
    sides = {}
    for key, other in (names, names[::-1]):
        pair = LabelledPair(0, he, key, (other,))
        hits = measure(minilm, Trial(samples, [pair], site=None, sets=[(head,)]))
        sides[key] = bool(hits.right[0, 0])
        assert check(minilm, samples, [pair], "encoder") == (1, 0)
    assert sides == {names[0]: john > mary, names[1]: mary > john}
    # All words of the text compete otherwise, those of a longer name one by one.
    pairs = [LabelledPair(0, he, key) for key in names]
    assert check(minilm, samples, pairs, "encoder") == (2, 0)
    assert measure(minilm, Trial(samples, pairs, site=None, sets=[(head,)])).right.all()


def unspecial(architecture: str) -> Model:
    """A small model whose tokenizer adds nothing: its first token is the text's."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    return Model.of(tiny_network(architecture), tokenizer, name="tiny")


def test_the_first_token_of_a_decoder_does_not_compete() -> None:
    model = unspecial("llama")
    samples, pairs = all_pairs(TEXTS)
    assert model.encode(samples[0]).source.special[0] is None
    heads = [(head,) for head in model.sites["decoder"].all_heads()]
    judged, left_out = check(model, samples, pairs, "decoder")
    everything, less = check(model, samples, pairs, "decoder", among="all")
    assert everything - judged == less - left_out + 2 * (everything - judged) > 0
    hits = measure(model, Trial(samples, pairs, site=None, sets=heads))
    # Each text has a first word, and each word but one comes after it.
    assert hits.left_out[FIRST] == sum(len(text.split()) - 1 for text in TEXTS)
    with_it = measure(model, Trial(samples, pairs, site=None, sets=heads, among="all"))
    assert FIRST not in with_it.left_out
    # In two-way attention the first token is a word as any other.
    assert check(unspecial("bert"), samples, pairs, "encoder")[1] == 0


def test_a_sink_that_is_not_asked_for_hides_what_a_head_does() -> None:
    """A decoder that rests on its first token, and looks at the word before the last."""

    class Resting(Reading):
        def encode(self, sample: Sample) -> Encoding:
            return encoding(sample.text, site="decoder", causal=True, ends=False)

        def weights(self, read: Encoding) -> dict[int, Floats]:
            size = len(read.source)
            row = np.full(size, 0.1 / max(size - 2, 1), np.float32)
            row[0], row[-2] = 0.7, 0.2
            return {layer: np.tile(row, (2, size, 1)) for layer in range(3)}

    text = "The old keys are here"
    pairs = [LabelledPair(0, span(text, "here"), span(text, key)) for key in ("are", "The")]
    sets = [(Head(0, 0),)]
    hits = measure(Resting(), Trial([Sample(text)], pairs, site=None, sets=sets))
    assert (hits.right.tolist(), hits.left_out) == ([[True]], {FIRST: 1})
    hits = measure(Resting(), Trial([Sample(text)], pairs, site=None, sets=sets, among="all"))
    assert (hits.right.tolist(), hits.left_out) == ([[False], [True]], {})


TEXTS = ("the cat sat", "a big dog ran home", "she saw him")


def all_pairs(texts: Sequence[str]) -> tuple[list[Sample], list[LabelledPair]]:
    """Every word of every text to every other."""
    pairs = [
        LabelledPair(number, span(text, one), span(text, other))
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
    hits = measure(model, Trial(samples, pairs, site=site, sets=[(head,) for head in heads]))
    narrow = [number for number, head in enumerate(heads) if head.layer in windows]
    wide = [number for number, head in enumerate(heads) if head.layer not in windows]
    assert hits.right[:, wide].any()
    assert hits.right[:, narrow].mean() < hits.right[:, wide].mean() + 0.2
    assert FAR not in hits.left_out
    only = measure(model, Trial(samples, pairs, site=site, sets=[(heads[narrow[0]],)]))
    assert only.left_out[FAR] > 0


def test_across_two_texts() -> None:
    model = Model.of(tiny_network("bart"), tiny_tokenizer(), name="tiny")
    sample = Sample("the cat sat here", "le chat est la")
    pairs = [
        LabelledPair(0, span("le chat est la", one), span("the cat sat here", other))
        for one in ("le", "chat", "est")
        for other in ("the", "cat", "sat", "here")
    ]
    judged, left_out = check(model, [sample], pairs, "cross")
    assert (judged, left_out) == (12, 0)


def test_the_order_of_pairs_and_the_batch_do_not_matter(minilm: Model) -> None:
    samples, pairs, _ = treebank(4)
    sets = [(head,) for head in minilm.sites["encoder"].all_heads()]
    one = measure(minilm, Trial(samples, pairs, site=None, sets=sets))
    small = measure(minilm, Trial(samples, pairs, site=None, sets=sets), batch_tokens=40)
    assert (one.right == small.right).all()
    back = measure(minilm, Trial(samples[::-1], pairs, site=None, sets=sets))
    assert back.right.shape[1] == len(sets)


def test_what_is_left_out_is_counted_by_reason(minilm: Model) -> None:
    text = "The old clock isn't in a well-known hall."
    long = "clock " * 600
    samples = [Sample(text), Sample("Go home"), Sample(long)]
    pairs = [
        LabelledPair(0, span(text, "old"), span(text, "clock")),
        LabelledPair(0, span(text, "clo"), span(text, "hall")),  # half a token
        LabelledPair(0, span(text, "well"), span(text, "known")),  # parts of one word are judged
        LabelledPair(0, span(text, "old clock"), span(text, "clock")),
        LabelledPair(1, span("Go home", "Go"), span("Go home", "home")),
        LabelledPair(2, Span(0, 5), Span(6, 11)),
    ]
    hits = measure(minilm, Trial(samples, pairs, site=None, sets=[(Head(0, 0),)]))
    assert hits.samples.tolist() == [0, 0]
    assert hits.left_out == {UNREADABLE: 1, SPLIT: 1, SAME: 1, ALONE: 1}


def test_an_arc_with_an_unknown_word_is_left_out_p55(minilm: Model) -> None:
    text = "The 🦤 saw a 🦤 near the old clock"
    assert minilm.encode(Sample(text)).source.unknown == (2, 5)
    clock, other = span(text, "clock"), Span(12, 13)
    pairs = [
        LabelledPair(0, span(text, "saw"), span(text, "🦤")),
        LabelledPair(0, span(text, "🦤"), span(text, "saw")),
        LabelledPair(0, span(text, "saw"), span(text, "a 🦤 near")),
        LabelledPair(0, span(text, "saw"), clock, (other,)),
        LabelledPair(0, span(text, "clo"), span(text, "saw")),
        LabelledPair(0, span(text, "saw"), clock),  # others of the text may be unknown
    ]
    assert text[slice(*other)] == "🦤"
    hits = measure(minilm, Trial([Sample(text)], pairs, site=None, sets=[(Head(0, 0),)]))
    assert hits.left_out == {UNKNOWN: 4, SPLIT: 1}
    assert len(hits.right) == 1


def test_a_decoder_cannot_look_ahead() -> None:
    model = Model.of(tiny_network("llama"), tiny_tokenizer(), name="tiny")
    samples, pairs = all_pairs(["one two three"])
    hits = measure(model, Trial(samples, pairs, site=None, sets=[(Head(0, 0),)]))
    assert hits.left_out == {LATER: 3, ALONE: 1}
    assert hits.samples.tolist() == [0, 0]


def test_offsets_count_in_words() -> None:
    read = encoding("the old key|s near it slept .")
    text = read.source.text
    pairs = [
        LabelledPair(0, span(text, "it"), span(text, "old")),
        LabelledPair(0, span(text, "the"), span(text, "slept")),
        LabelledPair(0, span(text, "keys"), span(text, "near")),
    ]
    looks = find_looks(read, read.site(None), pairs, [0])
    found = [[OFFSETS[at] for at in np.flatnonzero(row)] for row in looks.offsets]
    assert found == [[-3], [5], [1]]
    # A labelled span counts as one word, and so does the word that it is a part of.
    text = "A well-known old dog sleeps in the sun"
    pairs = [
        LabelledPair(0, span(text, "in"), span(text, "well-known old dog")),
        LabelledPair(0, span(text, "well"), span(text, "known")),
        LabelledPair(0, span(text, "well"), span(text, "old")),
    ]
    read = encoding("A well|-|known old dog sleeps in the sun")
    looks = find_looks(read, read.site(None), pairs, [0])
    found = [[OFFSETS[at] for at in np.flatnonzero(row)] for row in looks.offsets]
    assert found == [[-2], [1], [1]]


def test_a_tie_is_not_right() -> None:
    class Even(Reading):
        def weights(self, read: Encoding) -> dict[int, Floats]:
            size = len(read.source)
            return {layer: np.full((2, size, size), 1 / size, np.float32) for layer in range(3)}

    text = "a b c d"
    pair = LabelledPair(0, span(text, "a"), span(text, "b"))
    hits = measure(Even(), Trial([Sample(text)], [pair], site=None, sets=[(Head(0, 0),)]))
    assert not hits.right.any()


def test_heads_and_weights_that_are_not_there() -> None:
    text = "a b c d"
    pair = LabelledPair(0, span(text, "a"), span(text, "b"))
    for heads in ((Head(9, 0),), (Head(0, 2),), ()):
        with pytest.raises(SelectorError, match="head"):
            measure(Reading(), Trial([Sample(text)], [pair], site=None, sets=[heads]))

    class Broken(Reading):
        def weights(self, read: Encoding) -> dict[int, Floats]:
            return {layer: own * np.nan for layer, own in super().weights(read).items()}

    with pytest.raises(MeasureError, match="no numbers"):
        measure(Broken(), Trial([Sample(text)], [pair], site=None, sets=[(Head(0, 0),)]))
