"""The preference control: who looks instead, at what, and how often a liking passes for more."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from attnprobe.cases import load_contents
from attnprobe.core.arrays import Floats
from attnprobe.core.errors import MeasureError
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding, Sample, Span, Tokens
from attnprobe.models import Model
from attnprobe.relations.accuracy import judge
from attnprobe.relations.arcs import Hits, Trial, measure
from attnprobe.relations.corpus import read_corpus
from attnprobe.relations.preference import Preference, other_looks
from attnprobe.run.explain import explain_relation
from attnprobe.words.looks import LabelledPair, find_looks
from attnprobe.words.segmentation import words
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.eager import eager_weights
from tests.support.made_up import FakeReader, Reading, distributions, encoding

ROOT = Path(__file__).parents[2]


def tokens_of(tokens: Tokens, span: Span) -> tuple[int, ...]:
    """Tokens that have a visible character in a span."""
    return tuple(
        at
        for at, covered in enumerate(tokens.spans)
        if covered
        and any(
            span.start <= c < span.end and not tokens.text[c].isspace() for c in range(*covered)
        )
    )


def fit(
    read: Encoding, site: Site, pair: LabelledPair, spelled: Sequence[Span], layers: Sequence[int]
) -> set[tuple[int, ...]]:
    """The words that may look instead, by the definition, word by word."""
    tokens = read.keys(site.name)

    def sees(layer: int | None, looking: Sequence[int], key: Sequence[int]) -> bool:
        return any(site.sees(layer, row, at) for row in looking for at in key)

    true, key = tokens_of(tokens, pair.query), tokens_of(tokens, pair.key)
    found = set()
    for word in spelled:
        own = tokens_of(tokens, word)
        if not any(c.isalnum() for c in tokens.text[slice(*word)]) or set(own) & {*true, *key}:
            continue
        seen = [layer for layer in layers if sees(layer, true, key)]
        others = [
            other
            for other in (tokens_of(tokens, one) for one in spelled)
            if not set(other) & {*true, *key, *own}
            and sees(None, true, other)
            and sees(None, own, other)
            and not (site.causal and 0 in other)
        ]
        if others and sees(None, own, key) and all(sees(layer, own, key) for layer in seen):
            found.add(own)
    return found


@pytest.mark.parametrize("architecture", ["bert", "llama", "gemma2"])
def test_the_control_draws_another_word_of_the_sentence_p56(architecture: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    model = Model.of(tiny_network(architecture), tokenizer, name="tiny")
    (site,) = model.sites.values()
    sample = Sample("The old cat, I saw, ran to a dog.")
    read, spelled = model.encode(sample), words(sample.text)
    pairs = [
        LabelledPair(0, one, other) for one in spelled[1:6] for other in spelled if one != other
    ]
    looks = find_looks(read, site, pairs, site.layers)
    drawn: dict[int, set[tuple[int, ...]]] = {}
    for seed in range(120):
        others = other_looks(read, site, pairs, looks, site.layers, words=None, seed=seed)
        for look, other, number in zip(looks.looks, others, looks.pairs, strict=True):
            if other is None:
                continue
            drawn.setdefault(number, set()).add(other.rows)
            assert other.expected == look.expected
            for at, word in enumerate(looks.words):
                seen = not site.causal or min(word) <= max(other.rows)
                mine = bool(look.candidates[at]) and not set(word) & set(other.rows) and seen
                assert bool(other.candidates[at]) is mine
    every = {n: fit(read, site, pairs[n], spelled, site.layers) for n in looks.pairs}
    # Of so many draws each word that may look has been drawn, and no other.
    assert drawn == {number: may for number, may in every.items() if may}
    assert any(len(may) > 4 for may in every.values())
    again = other_looks(read, site, pairs, looks, site.layers, words=None, seed=119)
    assert [one and one.rows for one in again] == [one and one.rows for one in others]


def test_the_other_word_is_judged_as_the_true_one_p56(minilm: Model) -> None:
    sentences = read_corpus(ROOT / "cases" / "data" / "english.conllu").sentences[:6]
    samples = [one.sample for one in sentences]
    spelled = [one.words for one in sentences]
    pairs = [arc.pair(n) for n, one in enumerate(sentences) for arc in one.arcs]
    site = minilm.sites["encoder"]
    sets = [(head,) for head in site.all_heads()]
    hits = measure(minilm, Trial(samples, pairs, site=None, sets=sets, words=spelled, seed=3))
    assert hits.compared.all()
    at = 0
    for number, sample in enumerate(samples):
        read, own = minilm.encode(sample), [pair for pair in pairs if pair.sample == number]
        looks = find_looks(read, site, own, site.layers, words=spelled[number])
        others = other_looks(read, site, own, looks, site.layers, words=spelled[number], seed=3)
        weights = eager_weights(minilm, sample, "encoder")
        for pair, other in zip(own, others, strict=True):
            assert other is not None
            tokens = read.source
            ends = tokens_of(tokens, pair.query), tokens_of(tokens, pair.key)
            groups = {tokens_of(tokens, word) for word in spelled[number] or ()}
            assert other.rows in groups - set(ends)
            for place, (head,) in enumerate(sets):
                row = weights[head.layer][head.head][list(other.rows)].mean(axis=0)
                # Neither of the two words that look competes.
                masses = {word: row[list(word)].sum() for word in groups - {ends[0], other.rows}}
                best = max(masses, key=masses.__getitem__)
                assert hits.other[at, place] == (best == ends[1])
            at += 1
    for place in (0, 37):
        found = hits.preference(place)
        right, other_ = hits.right[:, place], hits.other[:, place]
        assert found is not None
        assert (found.n, found.share) == (len(right), other_.mean())
        assert found.lead == pytest.approx(right.mean() - other_.mean())
        more, less = int((right & ~other_).sum()), int((other_ & ~right).sum())
        assert found.p == scipy.stats.binomtest(more, more + less).pvalue


def test_arcs_where_no_other_word_can_look_are_not_compared() -> None:
    texts = ("a b c", "a b c d", "a b c .")
    samples = [Sample(text) for text in texts]
    pairs = [LabelledPair(number, Span(0, 1), Span(4, 5)) for number in range(3)]
    hits = measure(Reading(), Trial(samples, pairs, site=None, sets=[(Head(0, 0),)], seed=0))
    # `b` has nothing to choose from but `c`, since `a` does not compete; a point is no word.
    assert hits.compared.tolist() == [False, True, True]
    assert not hits.other[0].any()
    found = hits.preference()
    assert found is not None
    assert found.n == 2
    alone = measure(
        Reading(), Trial(samples[:1], pairs[:1], site=None, sets=[(Head(0, 0),)], seed=0)
    )
    assert alone.preference() is None
    without = measure(Reading(), Trial(samples, pairs, site=None, sets=[(Head(0, 0),)]))
    assert not without.compared.any()


def test_named_candidates_do_not_look_instead() -> None:
    text = "ann saw bob while he ran off"
    spans = [Span(*found) for found in ((0, 3), (8, 11), (18, 20))]
    pairs = [LabelledPair(0, spans[2], spans[0], (spans[1],))]
    read = encoding(text)
    looks = find_looks(read, read.site(None), pairs, [0])
    drawn = set()
    for seed in range(60):
        (other,) = other_looks(read, read.site(None), pairs, looks, [0], words=None, seed=seed)
        assert other is not None
        assert (other.candidates == looks.looks[0].candidates).all()
        drawn.add(other.rows)
    assert drawn == {(2,), (4,), (6,), (7,)}


# Type-I rates -------------------------------------------------------------------------------------

SENTENCES, GROUP = 640, 40
COUNT = {0: 12, 1: 12}


class Likes(Reading):
    """Heads that look at the verb, at the noun, or at either, whoever looks; no relation is in it.

    Args:
        causal: whether a row sees no later word.
    """

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def encode(self, sample: Sample) -> Encoding:
        return encoding(sample.text, heads=COUNT, site="decoder", causal=self.causal, ends=False)

    def weights(self, read: Encoding) -> dict[int, Floats]:
        pieces = read.source.pieces
        random = np.random.default_rng(zlib.crc32(read.sample.text.encode()))
        liked = [[2.5 * (piece[0] in "nv"[kind : kind + 1] or kind == 2) for piece in pieces]
                 for kind in range(3)]  # fmt: skip
        found = {}
        for layer in COUNT:
            logits = random.standard_normal((12, len(pieces), len(pieces)))
            logits += np.array(liked)[np.arange(12) % 3][:, None]
            if self.causal:
                logits += np.where(np.tri(len(pieces)), 0, -np.inf)
            weights = np.exp(logits)
            found[layer] = (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
        return found


def shuffled(*, looking: bool, causal: bool) -> tuple[list[Sample], list[LabelledPair]]:
    """Sentences with a noun and a verb, whose relation is lost: one end is a random word.

    Args:
        looking: whether the word that looks is the random one, and the noun is looked at; else
            the verb looks at a random word.
    """
    random = np.random.default_rng(11)
    samples, pairs = [], []
    for number in range(SENTENCES):
        spelled = [f"n{number}", f"v{number}", *(f"w{number}x{at}" for at in range(7))]
        random.shuffle(spelled)
        text = " ".join(spelled)
        fixed = next(at for at, word in enumerate(spelled) if word[0] == ("n" if looking else "v"))
        others = [
            at
            for at in range(len(spelled))
            if at != fixed and not (causal and (at < fixed) is looking)
        ]
        if not others:
            continue
        other = int(random.choice(others))
        spans = words(text)
        ends = (spans[other], spans[fixed]) if looking else (spans[fixed], spans[other])
        pairs.append(LabelledPair(len(samples), *ends))
        samples.append(Sample(text))
    return samples, pairs


def rejected(hits: Hits) -> tuple[int, int, int]:
    """Of tests on 40 arcs each: how many there are, and how often the two controls reject."""
    tests = offset_rejects = preference_rejects = 0
    kept = np.flatnonzero(hits.compared)
    for start in range(0, len(kept) - GROUP + 1, GROUP):
        own = kept[start : start + GROUP]
        at = int(hits.offsets[own].sum(axis=0).argmax())
        for head in range(hits.right.shape[1]):
            right, other = hits.right[own, head], hits.other[own, head]
            offset = hits.offsets[own, at]
            found = Preference(GROUP, *(int(x.sum()) for x in (right, other, right & other)))
            distance = Preference(GROUP, *(int(x.sum()) for x in (right, offset, right & offset)))
            preference_rejects += found.lead > 0 and found.p <= 0.05
            offset_rejects += distance.lead > 0 and distance.p <= 0.05
            tests += 1
    return tests, offset_rejects, preference_rejects


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("looking", [True, False])
def test_a_word_preference_is_no_relation_p56(looking: bool, causal: bool) -> None:
    """The rate of false alarms is at its level in both directions."""
    samples, pairs = shuffled(looking=looking, causal=causal)
    sets = [(Head(layer, head),) for layer in COUNT for head in range(12)]
    hits = measure(Likes(causal=causal), Trial(samples, pairs, site=None, sets=sets, seed=0))
    tests, beyond_offset, beyond_preference = rejected(hits)
    assert tests >= 150
    assert beyond_preference <= scipy.stats.binom.ppf(0.999, tests, 0.05)
    if looking:
        # Heads that like nouns beat every fixed distance: this is what the control is for.
        assert beyond_offset > tests / 4


def test_a_relation_beats_a_word_preference_p56() -> None:
    """Heads that find the noun from the verb alone are told from those that like it."""

    class Finds(Likes):
        def weights(self, read: Encoding) -> dict[int, Floats]:
            found = distributions(read, zlib.crc32(read.sample.text.encode()))
            pieces = read.source.pieces
            noun, verb = (
                next(at for at, piece in enumerate(pieces) if piece[0] == kind) for kind in "nv"
            )
            for layer in found.values():
                layer[:, verb] *= 0.4
                layer[:, verb, noun] += 0.6
            return found

    samples, pairs = shuffled(looking=True, causal=False)
    verbs = []
    for pair in pairs[:240]:
        text = samples[pair.sample].text
        spans = {text[slice(*span)][0]: span for span in words(text)}
        verbs.append(LabelledPair(pair.sample, spans["v"], spans["n"]))
    sets = [(Head(0, head),) for head in range(12)]
    hits = measure(Finds(causal=False), Trial(samples, verbs, site=None, sets=sets, seed=0))
    tests, _, beyond_preference = rejected(hits)
    assert beyond_preference == tests == 72


# What a relation says of it -----------------------------------------------------------------------


SUITE = """\
version: 1
suite: s
defaults: {site: encoder, heads: L3H1}
relations:
  - id: a
    from_corpus: {conllu: english.conllu, deprel: obj, direction: head-to-dependent}
"""


def test_a_relation_may_demand_a_lead_over_another_word_p56(minilm: Model, tmp_path: Path) -> None:
    data = ROOT / "cases" / "data" / "english.conllu"
    (tmp_path / "english.conllu").write_bytes(data.read_bytes())
    file = tmp_path / "a.attn.yaml"

    def found(bounds: str, more: str = "") -> str:
        file.write_text(f"{SUITE}    expect: {{{bounds}}}\n{more}", encoding="utf-8")
        (stated,) = load_contents(file, "a.attn.yaml").relations
        finding = judge(stated, minilm)
        if finding.error is not None:
            return str(finding.error)
        assert finding.accuracy is not None
        liking = finding.accuracy.preference
        assert liking is not None
        text = explain_relation(finding)
        assert (
            f"with another word of the sentence looking, it is right for {liking.other} "
            f"({liking.share:.1%}); only the true word is right for" in text
        )
        (judged,) = finding.verdicts
        if judged.outcome == "failed":
            assert "lead over another word that looks" in text
        return judged.outcome

    whole = read_corpus(data)
    pairs = [
        arc.pair(n, backwards=True)
        for n, one in enumerate(whole.sentences)
        for arc in one.arcs
        if arc.relation == "obj"
    ]
    samples, spelled = zip(*((one.sample, one.words) for one in whole.sentences), strict=True)
    hits = measure(
        minilm, Trial(samples, pairs, site=None, sets=[(Head(3, 1),)], words=spelled, seed=0)
    )
    lead = float(hits.right.mean() - hits.other.mean())
    assert hits.compared.all()
    assert lead > 0.3
    assert found(f"above_preference: {lead - 0.01:.4f}") == "passed"
    assert found(f"above_preference: {lead + 0.01:.4f}") == "failed"
    assert found(f"above_preference: {lead:.4f}") == "borderline"
    assert found("above_preference_p: 0.01") == "passed"
    # A head that rests on one word of each sentence, whoever looks.
    file_heads = SUITE.replace("L3H1", "L0H8")
    file.write_text(file_heads + "    expect: {above_preference_p: 0.05}\n", encoding="utf-8")
    (stated,) = load_contents(file, "a.attn.yaml").relations
    (judged,) = judge(stated, minilm).verdicts
    assert judged.outcome == "failed"


def test_too_few_other_words_are_an_error(tmp_path: Path) -> None:
    spans = "".join(f"      - {{text: w{n} is new, from: new, to: w{n}}}\n" for n in range(40))
    text = f"version: 1\nsuite: s\nrelations:\n  - id: a\n    heads: L0H1\n    spans:\n{spans}"
    file = tmp_path / "a.attn.yaml"
    for bound, error in (("accuracy: 0.1", False), ("above_preference_p: 0.05", True)):
        file.write_text(f"{text}    expect: {{{bound}}}\n", encoding="utf-8")
        (stated,) = load_contents(file, "a.attn.yaml").relations
        finding = judge(stated, FakeReader())
        assert isinstance(finding.error, MeasureError) is error
        if error:
            assert "of 40 judged arcs only 0 have another word" in str(finding.error)
        else:
            assert "no arc has another word in its sentence" in explain_relation(finding)
