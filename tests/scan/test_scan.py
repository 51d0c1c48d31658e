"""The scan: counts against slower ways, statistics by simulation, files after a kill."""

from __future__ import annotations

import gc
import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from scipy.stats import binom
from typer.testing import CliRunner

from attnprobe import cases
from attnprobe.cli.base import app, out
from attnprobe.core.errors import AttnprobeError, CorpusError, MeasureError, ResultsError
from attnprobe.core.names import LOCK
from attnprobe.core.needs import MapNeed, MapSums
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.stats import adjusted_p
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model
from attnprobe.models.forward import batch_inputs, eager
from attnprobe.models.twin import random_twin
from attnprobe.relations import accuracy
from attnprobe.relations.arcs import best_place, measure
from attnprobe.relations.corpus import Arc, Corpus, Sentence, halves, matches, read_corpus
from attnprobe.results.files import write_json
from attnprobe.results.lock import LOCK_SCHEMA, read_heads, update_heads
from attnprobe.scan import files, run
from attnprobe.scan.measures import MEASURES
from attnprobe.scan.report import CHOSEN, JUDGED, better_p, figures, measure_rows
from attnprobe.scan.run import make_plan, scan_chunks
from attnprobe.scan.session import Options, Scan
from attnprobe.scan.sets import head_set
from attnprobe.scan.tally import Group, KeptArc, Tally, packed, unpacked
from attnprobe.words.heads import parse_heads
from attnprobe.words.looks import FIRST, LATER, LEFT_OUT, OFFSETS, UNREADABLE, Among, Pair
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.conftest import MINILM

CORPUS = Path(__file__).parents[2] / "cases" / "data" / "english.conllu"
WORDS = ("the", "old", "key", "near", "a", "cabinet", "was", "lost", "in", "some", "house", "we")


def sentences(count: int, *, seed: int = 0, target: bool = False) -> tuple[Sentence, ...]:
    """Random sentences of two to nine words, with one arc a word."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        chosen = random.choice(WORDS, random.integers(2, 10)).tolist()
        text = " ".join(chosen)
        starts = [sum(len(word) + 1 for word in chosen[:at]) for at in range(len(chosen))]
        spans = [Span(start, start + len(word)) for start, word in zip(starts, chosen, strict=True)]
        arcs = []
        for at, span in enumerate(spans):
            other = int(random.choice([place for place in range(len(spans)) if place != at]))
            label = str(random.choice(["nsubj", "nsubj:pass", "obj", "det"]))
            arcs.append(Arc(span, spans[other], label))
        sample = Sample(text, text if target else None)
        found.append(Sentence(f"s{number}", sample, tuple(arcs), number + 1))
    return tuple(found)


def corpus(count: int, **options: Any) -> Corpus:
    return Corpus("made up", sentences(count, **options), f"{count:064x}", ())


def tiny(architecture: str, **overrides: Any) -> Model:
    return Model.of(tiny_network(architecture, **overrides), tiny_tokenizer(), name="tiny")


@pytest.fixture(scope="module")
def bert() -> Model:
    return tiny("bert")


def scanned(model: Model, one: Corpus, **options: Any) -> tuple[run.Plan, Tally]:
    plan = make_plan(model, [one], **options)
    heads = len(model.sites[plan.site].all_heads())
    tally = Tally.empty(len(plan.groups), heads)
    return plan, last(model, plan, tally)


def last(model: Model, plan: run.Plan, tally: Tally) -> Tally:
    """The tally of all sentences."""
    *_, (_, whole) = scan_chunks(model, plan, tally)
    return whole


# Counts -------------------------------------------------------------------------------------------


def test_a_sentence_that_stands_twice_is_on_one_side_of_the_split(bert: Model) -> None:
    own = sentences(40)
    again = tuple(replace(one, id=f"again {one.id}") for one in own)
    plan = make_plan(bert, [Corpus("made up", own + again, "0" * 64, ())])
    assert (plan.judged[:40] == plan.judged[40:]).all()
    assert 0 < plan.judged[:40].sum() < 40
    # What is said twice counts twice, as it does in a relation of a case file.
    assert (plan.judged[:40] == make_plan(bert, [corpus(40)]).judged).all()


@pytest.mark.parametrize(
    ("architecture", "site", "among"),
    [
        ("bert", "encoder", "words"),
        ("llama", "decoder", "words"),
        ("gemma2", "decoder", "words"),
        ("bart", "cross", "words"),
        ("bert", "encoder", "all"),
        ("llama", "decoder", "all"),
    ],
)
def test_counts_are_those_of_measure(architecture: str, site: SiteName, among: Among) -> None:
    tokenizer = tiny_tokenizer()
    if architecture == "llama":  # nothing stands before the first word
        tokenizer.backend_tokenizer.post_processor = None
    model = Model.of(tiny_network(architecture), tokenizer, name="tiny")
    own = corpus(12, target=site == "cross")
    plan, tally = scanned(model, own, site=site, among=among)
    heads = model.sites[site].all_heads()
    judged = halves([one.id for one in own.sentences], seed=0)
    samples = [one.sample for one in own.sentences]
    assert len(plan.groups) == 4 * (1 if site == "cross" else 2)
    for number, group in enumerate(plan.groups):
        pairs = [
            arc.pair(at, backwards=group.direction == "head-to-dependent")
            for at, sentence in enumerate(own.sentences)
            for arc in sentence.arcs
            if matches(arc.relation, group.relation)
        ]
        hits = measure(
            model, samples, pairs, site=site, sets=[(head,) for head in heads], among=among, seed=0
        )
        assert tally.n[number].sum() == len(hits.right)
        for half in (CHOSEN, JUDGED):
            mine = judged[hits.samples] == bool(half)
            right, offsets = hits.right[mine].astype(int), hits.offsets[mine].astype(int)
            assert tally.n[number, half] == mine.sum()
            assert (tally.right[number, half] == right.sum(axis=0)).all()
            assert (tally.offsets[number, half] == offsets.sum(axis=0)).all()
            assert (tally.both[number, half] == right.T @ offsets).all()
            compared = mine & hits.compared
            true, other = hits.right[compared], hits.other[compared]
            assert tally.compared[number, half] == compared.sum()
            assert (tally.with_true[number, half] == true.sum(axis=0)).all()
            assert (tally.with_other[number, half] == other.sum(axis=0)).all()
            assert (tally.with_both[number, half] == (true & other).sum(axis=0)).all()
        left_out = dict(zip(LEFT_OUT, tally.left_out[number].tolist(), strict=True))
        assert {reason: n for reason, n in left_out.items() if n} == hits.left_out
    if architecture == "llama":
        assert tally.left_out[:, LEFT_OUT.index(LATER)].all()
        assert tally.left_out[:, LEFT_OUT.index(FIRST)].any() == (among == "words")


def test_the_batch_changes_nothing(bert: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    own = corpus(30)
    _, large = scanned(bert, own)
    monkeypatch.setattr(run, "CHUNK", 7)
    _, small = scanned(bert, own, batch_tokens=60)
    for name, array in large.arrays().items():
        if name.startswith("totals"):
            np.testing.assert_allclose(small.arrays()[name], array, rtol=1e-5, atol=1e-4)
        elif not name.startswith("kept"):
            assert (small.arrays()[name] == array).all()
    scores = large.totals.scores()
    assert np.isfinite(scores).sum() > 0.9 * scores.size


def plain(model: Model, samples: Sequence[Sample], site: SiteName) -> dict[str, list[float]]:
    """The measures of every head, from eager weights, row by row."""
    where = model.sites[site]
    sums: dict[str, list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]] = {}

    def add(name: str, heads: list[float], counts: list[float]) -> None:
        sums.setdefault(name, []).append((np.array(heads), np.array(counts)))

    for sample in samples:
        read = model.encode(sample)
        tokens = read.queries(site)
        inputs = batch_inputs(
            model.network, [read.source.ids], None if read.target is None else [read.target.ids]
        )
        layers = eager(model.network, inputs, alone=site)[site]
        size, ids = len(tokens), tokens.ids
        per_head: dict[str, tuple[list[float], list[float]]] = {}
        for layer, weights in zip(where.layers, layers, strict=True):
            for matrix in weights[0].double().numpy():
                for name, (value, count) in one_map(
                    matrix, ids, tokens.special, where.causal, where.windows.get(layer), size
                ).items():
                    values, counts = per_head.setdefault(name, ([], []))
                    values.append(value)
                    counts.append(count)
        for name, (values, counts) in per_head.items():
            add(name, values, counts)
    found = {}
    for name, parts in sums.items():
        value, count = (np.sum([part[place] for part in parts], axis=0) for place in (0, 1))
        found[name] = [v / c if c > 0 else math.nan for v, c in zip(value, count, strict=True)]
    return found


def one_map(
    a: npt.NDArray[Any],
    ids: Sequence[int],
    special: Sequence[str | None],
    causal: bool,
    window: int | None,
    n: int,
) -> dict[str, tuple[float, float]]:
    """What one head adds to each measure: a sum, and what it is divided by."""

    def sees(t: int, s: int) -> bool:
        return not (causal and s > t) and (window is None or abs(t - s) < window)

    targets: dict[str, Callable[[int, int], bool]] = {
        "diagonal": lambda t, s: s == t,
        "previous": lambda t, s: s == t - 1,
        "next": lambda t, s: s == t + 1,
        "offset -2": lambda t, s: s == t - 2,
        "offset +2": lambda t, s: s == t + 2,
        "local 2": lambda t, s: abs(s - t) <= 2,
        "duplicate": lambda t, s: s < t and ids[s] == ids[t],
        "induction": lambda t, s: 1 <= s <= t and ids[s - 1] == ids[t],
    }
    found: dict[str, tuple[float, float]] = {}
    for name, is_target in targets.items():
        mass = whole = 0.0
        for t in range(n):
            own = [s for s in range(n) if sees(t, s) and is_target(t, s)]
            if own:
                mass += sum(a[t, s] for s in own)
                whole += a[t].sum()
        found[name] = mass, whole
    seen_by = [[t for t in range(n) if sees(t, s)] for s in range(n)]
    most = max(map(len, seen_by))
    columns = {s: a[rows, s].sum() / len(rows) for s, rows in enumerate(seen_by)
               if len(rows) >= most / 2}  # fmt: skip
    top = max(columns, key=columns.__getitem__)
    found["vertical"] = a[seen_by[top], top].sum(), a[seen_by[top]].sum()
    nats = [-sum(x * math.log(x) for x in row if x > 0) for row in a]
    visible = [[s for s in range(n) if sees(t, s)] for t in range(n)]
    several = [t for t in range(n) if len(visible[t]) > 1]
    far = [t for t in range(n) if any(s != t for s in visible[t])]
    found["entropy"] = sum(nats), n
    found["normalised entropy"] = (
        sum(nats[t] / math.log(len(visible[t])) for t in several),
        len(several),
    )
    reach = [sum(a[t, s] * abs(t - s) for s in range(n)) for t in range(n)]
    found["distance"] = sum(reach), n
    found["normalised distance"] = (
        sum(reach[t] / max(abs(t - s) for s in visible[t]) for t in far),
        len(far),
    )
    ordinary = [s for s in range(n) if special[s] is None and not (causal and s == 0)]
    found["sink"] = sum(1 - a[t, ordinary].sum() for t in several), len(several)
    return found


@pytest.mark.parametrize(
    ("architecture", "site"),
    [
        ("bert", "encoder"),
        ("llama", "decoder"),
        ("gemma2", "decoder"),
        ("bart", "decoder"),
        ("deberta_v2", "encoder"),  # read from its own eager weights
    ],
)
def test_measures_are_those_of_plain_python(architecture: str, site: SiteName) -> None:
    model = tiny(architecture)
    own = corpus(4, target=False)
    if architecture == "bart":
        own = replace(
            own,
            sentences=tuple(
                replace(one, sample=Sample(one.sample.text, one.sample.text))
                for one in own.sentences
            ),
        )
    plan = make_plan(model, [replace(own, sentences=())], site=site)
    plan = replace(
        plan,
        sentences=own.sentences,
        corpus=(0,) * 4,
        judged=np.zeros(4, bool),
        of_label=_none(own),
    )
    tally = last(model, plan, Tally.empty(0, len(model.sites[site].all_heads())))
    expected = plain(model, [one.sample for one in own.sentences], site)
    rows = measure_rows(tally)
    assert set(expected) == {measure.name for measure in MEASURES} == set(rows)
    for name, values in expected.items():
        np.testing.assert_allclose(rows[name], values, rtol=2e-4, atol=2e-5, err_msg=name)


def _none(own: Corpus) -> dict[str, tuple[int, ...]]:
    return {arc.relation: () for one in own.sentences for arc in one.arcs}


def test_measures_are_those_of_the_rules(minilm: Model) -> None:
    text = "The old keys near the cabinet and the old door are lost"
    own = Corpus(
        "one", (Sentence("a", Sample(text), (Arc(Span(0, 3), Span(4, 7), "x"),), 1),), "", ()
    )
    _, tally = scanned(minilm, own)
    rows = measure_rows(tally)
    att = minilm.attention(text)
    for name, expected in {
        "previous": att.pattern("previous"),
        "local 2": att.pattern("local", window=2),
        "offset -2": att.pattern("offset", offset=-2),
        "duplicate": att.pattern("duplicate"),
        "induction": att.pattern("induction"),
        "vertical": att.pattern("vertical"),
        "entropy": att.entropy(),
        "normalised entropy": att.pattern("uniform"),
        "distance": att.distance(),
        "normalised distance": att.distance(normalised=True),
        "sink": att.sink(),
    }.items():
        np.testing.assert_allclose(rows[name], expected.ravel(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_learned_sink_counts() -> None:
    model = tiny("gpt_oss")
    text = "a b c d"
    own = Corpus(
        "one", (Sentence("a", Sample(text), (Arc(Span(0, 1), Span(2, 3), "x"),), 1),), "", ()
    )
    _, tally = scanned(model, own)
    expected = model.attention(text).sink()
    np.testing.assert_allclose(measure_rows(tally)["sink"], expected.ravel(), atol=1e-5)


def test_texts_that_are_too_long_are_counted(bert: Model) -> None:
    own = corpus(6)
    long = "the old key " * 40
    arcs = (Arc(Span(0, 3), Span(4, 7), "det"),)
    own = replace(own, sentences=(Sentence("long", Sample(long), arcs, 9), *own.sentences))
    plan, tally = scanned(bert, own, relations=["det"])
    assert tally.unread == 1
    assert tally.left_out[:, LEFT_OUT.index(UNREADABLE)].tolist() == [1, 1]
    assert plan.groups == (Group("det", "dependent-to-head"), Group("det", "head-to-dependent"))


def test_weights_that_are_no_numbers_end_a_scan_p19(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("bert")
    for name, weight in model.network.named_parameters():
        if "layer.1" in name and "query.weight" in name:
            weight.data[:] = float("nan")
    with pytest.raises(MeasureError, match=r"encoder L1H0: attention weights are NaN"):
        scanned(model, corpus(3))


def test_out_of_memory_halves_the_batch_p34(bert: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = scanned(bert, corpus(9))
    real = Model._survey_batch
    sizes = []

    def small(
        self: Model, needs: Sequence[MapNeed], encodings: Any, batch: Sequence[int]
    ) -> MapSums:
        sizes.append(len(batch))
        if len(batch) > most:
            raise MemoryError
        return real(self, needs, encodings, batch)

    monkeypatch.setattr(Model, "_survey_batch", small)
    most = 2
    _, tally = scanned(bert, corpus(9))
    assert (tally.both == expected.both).all()
    assert max(sizes) > 2
    most = 0
    with pytest.raises(MeasureError, match="out of memory with the maps of a single text"):
        scanned(bert, corpus(9))


def test_several_corpora_are_pooled(bert: Model) -> None:
    one, two = corpus(8, seed=1), corpus(6, seed=2)
    renamed = tuple(replace(sentence, id=f"t{sentence.id}") for sentence in two.sentences)
    two = replace(two, sentences=renamed)
    plan = make_plan(bert, [one, two])
    tally = last(bert, plan, Tally.empty(plan.counted, 12, 2))
    parts = [scanned(bert, own, relations=["nsubj", "obj", "det"])[1] for own in (one, two)]
    names = [group.relation for group in plan.groups]
    for place, name in enumerate(["nsubj", "obj", "det"]):
        pooled = tally.right[names.index(name)].sum(axis=0)
        assert (pooled == sum(part.right[2 * place].sum(axis=0) for part in parts)).all()


# Memory -------------------------------------------------------------------------------------------


def test_nothing_is_kept_of_a_sentence(bert: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CHUNK", 5)
    sizes = []
    for count in (20, 80):
        plan = make_plan(bert, [corpus(count)], set_arcs=3)
        empty = Tally.empty(len(plan.groups), 12)
        steps = scan_chunks(bert, plan, empty)
        for _ in range(3):
            next(steps)
        gc.collect()
        # A chunk's own needs may still be there, and no more.
        assert sum(type(one) in (MapSums, MapNeed) for one in gc.get_objects()) <= 6
        *_, (_, tally) = steps
        assert all(len(kept) <= 3 for kept in tally.kept.values())
        arrays = tally.arrays()
        sizes.append(sum(a.nbytes for name, a in arrays.items() if not name.startswith("kept")))
        assert len(arrays["kept_places"]) <= 3 * 2 * len(plan.groups)
    assert sizes[0] == sizes[1]


# Statistics ---------------------------------------------------------------------------------------

HEADS = [Head(layer, head) for layer in range(6) for head in range(12)]


def simulated(
    random: np.random.Generator, arcs: int, rate: float, lifted: dict[int, float]
) -> Tally:
    """Heads and one fixed distance that are right at the same rate, but for the lifted heads."""
    tally = Tally.empty(1, len(HEADS))
    for half in (CHOSEN, JUDGED):
        rates = np.full(len(HEADS), rate)
        rates[list(lifted)] = list(lifted.values())
        right = random.random((arcs, len(HEADS))) < rates
        offsets = np.zeros((arcs, len(OFFSETS)), bool)
        offsets[:, 4] = random.random(arcs) < rate
        members = np.zeros((arcs, 2), bool)
        members[:, half] = True
        tally.add(members, right, offsets, *uncompared(right))
    return tally


def uncompared(right: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """No arc has another word that can look."""
    return np.zeros(len(right), np.bool_), np.zeros_like(right)


GROUP = Group("x", "dependent-to-head")


def test_false_discoveries_under_the_null_are_rare() -> None:
    random = np.random.default_rng(20260)
    runs, false = 400, 0
    for _ in range(runs):
        found = figures(simulated(random, 120, 0.4, {}), 0, GROUP, HEADS, min_arcs=30)
        assert found is not None
        false += bool(found.discoveries)
    assert false <= binom.ppf(0.999, runs, 0.05)


def test_a_head_that_is_better_is_discovered() -> None:
    random = np.random.default_rng(7)
    hits = false = 0
    for _ in range(40):
        tally = simulated(random, 120, 0.4, {3: 0.75, 30: 0.75})
        found = figures(tally, 0, GROUP, HEADS, min_arcs=30)
        assert found is not None
        hits += {3, 30} <= set(found.discoveries)
        false += len(set(found.discoveries) - {3, 30})
    assert hits >= 36
    assert false <= binom.ppf(0.999, 40 * 70, 0.05)


def test_a_choice_on_one_half_is_honest_and_the_naive_one_is_not() -> None:
    random = np.random.default_rng(99)
    runs, arcs, rate = 200, 60, 0.3
    naive, honest, covered = 0.0, 0.0, 0
    for _ in range(runs):
        found = figures(simulated(random, arcs, rate, {}), 0, GROUP, HEADS, min_arcs=30)
        assert found is not None
        naive += found.best.chosen_accuracy / runs
        honest += found.best.accuracy / runs
        covered += found.best.interval.low <= rate <= found.best.interval.high
    spread = math.sqrt(rate * (1 - rate) / (runs * arcs))
    assert abs(honest - rate) < 3.3 * spread
    assert naive > rate + 0.1
    assert covered >= binom.ppf(0.001, runs, 0.95)


def test_p_of_a_head_is_mcnemar_against_the_best_distance() -> None:
    random = np.random.default_rng(3)
    tally = Tally.empty(1, 72)
    right, offsets = random.random((90, 72)) < 0.5, random.random((90, len(OFFSETS))) < 0.4
    half = random.random(90) < 0.5
    compared, other = random.random(90) < 0.8, random.random((90, 72)) < 0.3
    other &= compared[:, None]
    tally.add(np.stack([~half, half], axis=1), right, offsets, compared, other)
    found = figures(tally, 0, GROUP, HEADS, min_arcs=30)
    assert found is not None
    ours, theirs = right[half], offsets[half]
    at = int(theirs.sum(axis=0).argmax())
    p_values = []
    for head in range(72):
        more = int((ours[:, head] & ~theirs[:, at]).sum())
        less = int((theirs[:, at] & ~ours[:, head]).sum())
        # As many or more by tossing a coin.
        p_values.append(binom.sf(more - 1, more + less, 0.5) if more > less else 1.0)
    np.testing.assert_allclose(found.adjusted, adjusted_p(p_values))
    best = HEADS.index(found.best.head)
    assert best == int(right[~half].sum(axis=0).argmax())
    assert found.best.accuracy == ours[:, best].mean()
    assert found.best.offset_accuracy == theirs[:, at].mean()
    assert found.best.best_offset == OFFSETS[at]
    assert better_p(3, 5, 1) == 1.0
    # The head beside itself where another word looks, on the half that is judged and on all arcs.
    for liking, arcs in ((found.best.preference, compared & half), (found.liking, compared)):
        assert liking is not None
        hit, missed = right[arcs, best], other[arcs, best]
        assert (liking.n, liking.share) == (arcs.sum(), missed.mean())
        assert liking.lead == pytest.approx(hit.mean() - missed.mean())
        more, less = int((hit & ~missed).sum()), int((missed & ~hit).sum())
        assert liking.p == pytest.approx(
            min(1.0, 2 * binom.sf(max(more, less) - 1, more + less, 0.5))
        )


def test_of_distances_that_tie_the_nearest_is_told() -> None:
    tally = Tally.empty(1, 2)
    # -5, -1 and +1 are right on every second arc, as the rule for relations would have it.
    offsets = np.isin(OFFSETS, (-5, -1, 1))[None] & (np.arange(120) % 4 < 2)[:, None]
    halved = np.stack([np.arange(120) % 2 == 0, np.arange(120) % 2 == 1], axis=1)
    right = np.ones((120, 2), bool)
    tally.add(halved, right, offsets, *uncompared(right))
    found = figures(tally, 0, GROUP, HEADS[:2], min_arcs=30)
    assert found is not None
    assert (found.best.best_offset, found.best.offset_accuracy) == (-1, 0.5)
    assert [best_place(row) for row in ([1] * 10, [3, 0, 0, 0, 0, 0, 0, 3, 0, 0])] == [
        OFFSETS.index(-1),
        OFFSETS.index(3),
    ]


def test_too_few_arcs_give_no_figures() -> None:
    tally = simulated(np.random.default_rng(0), 29, 0.5, {})
    assert figures(tally, 0, GROUP, HEADS, min_arcs=30) is None
    assert figures(tally, 0, GROUP, HEADS, min_arcs=29) is not None
    assert figures(Tally.empty(1, 72), 0, GROUP, HEADS, min_arcs=0) is None


def kept(random: np.random.Generator, count: int, heads: int) -> list[KeptArc]:
    """Head 0 and head 1 each know half of the arcs, and what they do not know they leave open."""
    found = []
    for number in range(count):
        words = int(random.integers(3, 7))
        weights = random.random((heads, words)).astype(np.float32) * 0.3
        right = int(random.integers(words))
        weights[number % 2, right] += 0.6
        found.append(KeptArc((number, 0, 0), right, np.arange(words) != right, weights))
    return found


def test_head_sets_are_greedy_and_judged_elsewhere() -> None:
    random = np.random.default_rng(5)
    ours, theirs = kept(random, 60, 8), kept(random, 50, 8)

    def share(arcs: Sequence[KeptArc], heads: Sequence[int]) -> float:
        hits = 0
        for one in arcs:
            total = one.weights[list(heads)].mean(axis=0)
            hits += bool(total[one.expected] > total[one.others].max())
        return hits / len(arcs)

    found = head_set(ours, theirs, first=0)
    assert found is not None
    assert found.heads[:2] == (0, 1)
    chosen = [0]
    while True:
        best = max(range(8), key=lambda h: (h not in chosen, share(ours, [*chosen, h]), -h))
        if share(ours, [*chosen, best]) <= share(ours, chosen):
            break
        chosen.append(best)
    assert list(found.heads) == chosen[: len(found.heads)]
    assert found.accuracy == share(theirs, found.heads)
    assert found.alone == share(theirs, [0])
    assert found.gain > 0.2
    assert found.p < 0.01
    assert head_set(ours[::-1], theirs, first=0) == found
    assert head_set([], theirs, first=0) is None
    alone = [replace(one, weights=one.weights[:1]) for one in ours]
    assert head_set(alone, alone, first=0) is None


# Files --------------------------------------------------------------------------------------------


def folder_of(path: Path) -> dict[str, bytes]:
    """Every file of a scan, without what differs between equal scans."""
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.suffix != ".lock":
            data = file.read_bytes()
            if file.name == files.RESULTS:
                whole = json.loads(data)
                del whole["duration_s"]
                data = json.dumps(whole).encode()
            found[str(file.relative_to(path))] = data
    return found


def tiny_scan(folder: Path, model: Model, *, corpus_size: int = 40, **changes: Any) -> Scan:
    path = folder.parent / "made_up.tsv"
    own = corpus(corpus_size)
    options: dict[str, Any] = {
        "output": folder,
        "lock": folder / LOCK,
        "min_arcs": 5,
        "save_every_s": 0.0,
        "relations": ("det",),
    }
    twin = random_twin(model, seed=1)
    return Scan(model, twin, [own], [path], Options(**(options | changes)))


@pytest.fixture(scope="module")
def uninterrupted(bert: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a scan leaves that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "scan"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "CHUNK", 8)
        whole = tiny_scan(folder, bert)
        assert whole.begin(resume=False) == 0
        assert list(whole.go_on()) == [8, 16, 24, 32, 40]
        whole.finish()
    assert json.loads((folder / files.RESULTS).read_text())["complete"] is True
    assert not (folder / files.STATE).exists()
    return folder_of(folder)


def test_a_scan_that_goes_on_gives_the_same_bytes(
    bert: Model,
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "CHUNK", 8)
    for stop in (0, 3):
        folder = tmp_path / f"stopped-{stop}" / "scan"
        first = tiny_scan(folder, bert)
        first.begin(resume=False)
        steps = first.go_on()
        for _ in range(stop):
            next(steps)
        steps.close()
        if stop:
            first.stop()
        partial = json.loads((folder / files.RESULTS).read_text())
        assert partial["complete"] is False
        assert partial["sentences_done"] == 8 * stop
        assert partial["sentences"] == 40
        second = tiny_scan(folder, bert)
        assert second.begin(resume=True) == 8 * stop
        assert list(second.go_on()) == [8, 16, 24, 32, 40][stop:]
        second.finish()
        assert folder_of(folder) == uninterrupted


def test_a_kill_leaves_a_partial_file_that_says_so_p35(
    bert: Model,
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from attnprobe.scan import run, session
        from tests.scan.test_scan import tiny, tiny_scan
        run.CHUNK, session.SAVE_SHARE = 8, 0
        scan = tiny_scan(Path(sys.argv[1]), tiny("bert"))
        scan.begin(resume=False)
        for done in scan.go_on():
            if done == 16:
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    folder = tmp_path / "scan"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    partial = json.loads((folder / files.RESULTS).read_text())
    assert (partial["complete"], partial["sentences_done"]) == (False, 16)
    assert partial["relations"]
    monkeypatch.setattr(run, "CHUNK", 8)
    resumed = tiny_scan(folder, bert)
    assert resumed.begin(resume=True) == 16
    list(resumed.go_on())
    resumed.finish()
    assert folder_of(folder) == uninterrupted


def test_an_unfinished_scan_is_neither_mixed_nor_lost(bert: Model, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    tiny_scan(folder, bert).begin(resume=False)
    with pytest.raises(ResultsError, match="an unfinished scan lies there; go on with --resume"):
        tiny_scan(folder, bert).begin(resume=False)
    with pytest.raises(ResultsError, match="is another one: seed was 0 and is 4"):
        tiny_scan(folder, bert, seed=4).begin(resume=True)
    with pytest.raises(ResultsError, match="nothing to resume"):
        tiny_scan(tmp_path / "none", bert).begin(resume=True)
    state = folder / files.STATE
    state.write_bytes(state.read_bytes()[:-40])
    with pytest.raises(ResultsError, match="corrupt"):
        tiny_scan(folder, bert).begin(resume=True)
    assert tiny_scan(folder, bert, overwrite=True).begin(resume=False) == 0


def test_head_sets_of_another_model_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    first = {"heads": ["L0H0"], "weights_sha256": "a", "model": "one"}
    update_heads(path, {"x": first, "y": first})
    update_heads(path, {"x": {**first, "heads": ["L1H1"]}})
    assert {name: own.heads for name, own in read_heads(path).items()} == {
        "x": (Head(1, 1),),
        "y": (Head(0, 0),),
    }
    other = {"heads": ["L2H2"], "weights_sha256": "b", "model": "two"}
    with pytest.raises(ResultsError, match=r"'x' is a head set of one; .* --prefix"):
        update_heads(path, {"new": other, "x": other})
    assert set(read_heads(path)) == {"x", "y"}
    update_heads(path, {"x": other}, overwrite=True)
    assert read_heads(path)["x"].heads == (Head(2, 2),)
    # A set that was written by hand is of no known model.
    write_json(path, {"schema": LOCK_SCHEMA, "heads": {"x": {"heads": ["L0H0"]}}})
    with pytest.raises(ResultsError, match="'x' is a head set of another model"):
        update_heads(path, {"x": other})


def test_a_head_set_in_the_way_is_told_before_the_scan(bert: Model, tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    other = {"heads": ["L0H0"], "weights_sha256": "a", "model": "one"}
    update_heads(lock, {"det-dependent-to-head": other})
    with pytest.raises(ResultsError, match=r"is a head set of one; .* --prefix"):
        tiny_scan(tmp_path / "scan", bert, lock=lock).begin(resume=False)
    for changes in ({"prefix": "tiny-"}, {"overwrite": True}):
        scan = tiny_scan(tmp_path / "scan", bert, lock=lock, **changes)
        scan.begin(resume=False)
        list(scan.go_on())
        scan.finish()
    assert {"tiny-det-dependent-to-head", "det-dependent-to-head"} <= set(read_heads(lock))
    # With fewer arcs than a relation asks for, the suite says so.
    few = tiny_scan(tmp_path / "few", bert, corpus_size=10, min_arcs=2, lock=tmp_path / "few.json")
    few.begin(resume=False)
    list(few.go_on())
    few.finish()
    suite = yaml.safe_load((tmp_path / "few" / files.SUITE).read_text())
    assert suite["relations"]
    totals = {
        f"{one['relation']}-{one['direction']}": one["overall"]["n"]
        for one in json.loads((tmp_path / "few" / files.RESULTS).read_text())["relations"]
    }
    assert {one["id"]: one["least"] for one in suite["relations"]}.items() <= totals.items()
    assert 0 < max(totals.values()) < cases.LEAST


def test_a_suite_tells_what_an_untrained_twin_does_as_well(bert: Model, tmp_path: Path) -> None:
    scan = tiny_scan(tmp_path / "scan", bert, relations=())
    scan.begin(resume=False)
    list(scan.go_on())
    scan.finish()
    whole = json.loads((tmp_path / "scan" / files.RESULTS).read_text())
    model, twin = (
        {
            f"{one['relation']}-{one['direction']}".replace(":", "-"): one["accuracy"]
            for one in found
        }
        for found in (whole["relations"], whole["control"]["relations"])
    )
    as_good = [name for name in model if twin[name] >= model[name]]
    assert 0 < len(as_good) < len(model)
    comments = [
        line.removeprefix("# ")
        for line in (tmp_path / "scan" / files.SUITE).read_text().splitlines()
        if line.startswith("#")
    ]
    told = "No better than an untrained twin on the half that both are judged on"
    assert f"{told}: {', '.join(as_good)}." in " ".join(comments)


def test_a_scanned_suite_demands_a_lead_over_word_preference_p56(
    bert: Model, tmp_path: Path
) -> None:
    own = corpus(400)
    options = Options(output=tmp_path / "scan", lock=tmp_path / LOCK)
    scan = Scan(bert, None, [own], [tmp_path / "made_up.tsv"], options)
    scan.begin(resume=False)
    list(scan.go_on())
    scan.finish()
    text = (tmp_path / "scan" / files.SUITE).read_text()
    bounds = {
        one["id"]: one["expect"].get("above_preference")
        for one in yaml.safe_load(text)["relations"]
    }
    expected: dict[str, float | None] = {}
    for one in json.loads((tmp_path / "scan" / files.RESULTS).read_text())["relations"]:
        both = one["preference"], one["overall"]["preference"]
        half = math.floor(50 * min(found["above_preference"] for found in both)) / 100
        holds = half > 0 and all(found["p"] <= 0.05 for found in both)
        name = f"{one['relation']}-{one['direction']}".replace(":", "-")
        expected[name] = half if holds else None
    assert bounds == expected
    # No relation is in random words: what a head finds of one is a liking, as a rule.
    likings = [name for name, bound in bounds.items() if bound is None]
    assert len(likings) > len(bounds) / 2
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line[0] == "#")
    told = "No better than when another word looks, so a liking for some words passes"
    assert f"{told}: {', '.join(likings)}." in comments


@pytest.mark.parametrize(
    ("compared", "other", "demanded", "told"),
    [
        (48, False, 0.5, ""),
        (48, True, None, "No better than when another word looks, so a liking"),
        # A suite that demands a lead needs 30 arcs where another word can look.
        (20, False, None, "Too few arcs where another word can look"),
        (0, False, None, "Too few arcs where another word can look"),
    ],
)
@pytest.mark.parametrize("arcs", [24, 48])
def test_a_scanned_suite_says_why_it_demands_no_lead_over_word_preference_p56(
    arcs: int, compared: int, other: bool, demanded: float | None, told: str
) -> None:
    tally = Tally.empty(1, 1)
    can = np.arange(arcs) * 48 < compared * arcs
    half = np.arange(arcs) % 2 == 1
    hit = np.ones((arcs, 1), np.bool_)
    nowhere = np.zeros((arcs, len(OFFSETS)), np.bool_)
    tally.add(np.stack([~half, half], axis=1), hit, nowhere, can, can[:, None] & other)
    group = Group("nsubj", "dependent-to-head")
    found = figures(tally, 0, group, [Head(0, 0)], min_arcs=1)
    assert found is not None
    text = files.suite_text(
        [found],
        {group: "name"},
        corpus(9),
        suite="s",
        corpus_path=Path("c.jsonl"),
        folder=Path(),
        model="m",
        site="encoder",
        among="words",
        seed=0,
    )
    (entry,) = yaml.safe_load(text)["relations"]
    assert entry["expect"].get("above_preference") == demanded
    assert entry.get("least", 30) == min(arcs, 30)
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line[0] == "#")
    assert (told in comments) if told else "liking" not in comments


def test_what_cannot_be_scanned_is_refused(bert: Model) -> None:
    with pytest.raises(CorpusError, match=r"no arc has the relation 'nsbj'; .*nsubj"):
        make_plan(bert, [corpus(3)], relations=["nsbj"])
    with pytest.raises(
        CorpusError, match="made up:1: at the encoder site a sentence has no target"
    ):
        make_plan(bert, [corpus(3, target=True)])
    with pytest.raises(AttnprobeError, match="tiny has several sites, name one with --site"):
        make_plan(tiny("bart"), [corpus(3)])
    with pytest.raises(AttnprobeError, match="tiny has no cross attention"):
        make_plan(bert, [corpus(3)], site="cross")


def test_a_scan_of_too_few_sentences_says_what_to_do(bert: Model, tmp_path: Path) -> None:
    scan = tiny_scan(tmp_path / "scan", bert, min_arcs=900)
    scan.begin(resume=False)
    list(scan.go_on())
    scan.finish()
    first, second, *_ = scan.remarks()
    assert first == "no relation was judged: lower --min-arcs, or add sentences"
    assert second == "fewer than 900 arcs in a half of the sentences: det 30+37"


def test_the_twin_is_untrained_and_repeatable(minilm: Model) -> None:
    first, again, other = (random_twin(minilm, seed=seed) for seed in (0, 0, 1))
    assert first.weights_sha256 == again.weights_sha256
    assert len({first.weights_sha256, other.weights_sha256, minilm.weights_sha256}) == 3
    assert first.sites.keys() == minilm.sites.keys()
    plain_entropy = first.attention("The keys are old").pattern("uniform")
    assert plain_entropy.min() > 0.95


def test_what_competes_is_part_of_a_scan(bert: Model, tmp_path: Path) -> None:
    for among in ("words", "all"):
        folder = tmp_path / among / "scan"
        scan = tiny_scan(folder, bert, among=among)
        scan.begin(resume=False)
        if among == "words":
            with pytest.raises(ResultsError, match="among was words and is all"):
                tiny_scan(folder, bert, among="all").begin(resume=True)
        list(scan.go_on())
        scan.finish()
        assert json.loads((folder / files.RESULTS).read_text())["among"] == among
        suite = yaml.safe_load((folder / files.SUITE).read_text())
        assert suite["relations"]
        for relation in suite["relations"]:
            assert relation.get("among", "words") == among


def test_hostile_names_do_no_harm(bert: Model, tmp_path: Path) -> None:
    label = "../<script>&{x} - 'n'"
    own = corpus(20)
    hostile = tuple(
        replace(one, arcs=tuple(arc._replace(relation=label) for arc in one.arcs))
        for one in own.sentences
    )
    path = tmp_path / "a.tsv"
    scan = Scan(
        bert,
        None,
        [replace(own, sentences=hostile)],
        [path],
        Options(output=tmp_path / "scan", lock=tmp_path / LOCK, min_arcs=5),
    )
    scan.begin(resume=False)
    list(scan.go_on())
    scan.finish()
    written = {file.name for file in (tmp_path / "scan" / files.GRIDS).iterdir()}
    (name,) = {one for one in written if "dependent-to-head" in one}
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz-._")
    assert "<script>" not in (tmp_path / "scan" / files.GRIDS / name).read_text()
    suite = yaml.safe_load((tmp_path / "scan" / files.SUITE).read_text())
    assert suite["relations"][0]["from_corpus"]["relation"] == label
    assert not (tmp_path / "<script>").exists()


def written(path: Path, count: int, *, seed: int, rare: int) -> Path:
    """A corpus file; its first `rare` sentences alone have the relation `obj`."""
    lines = []
    for number, one in enumerate(sentences(count, seed=seed)):
        arcs = [
            {"from": list(arc.dependent), "to": list(arc.head), "relation": arc.relation}
            for arc in one.arcs
            if arc.relation != "obj" or number < rare
        ]
        entry = {"id": f"{path.stem}-{one.id}", "text": one.sample.text, "arcs": arcs}
        lines.append(json.dumps(entry) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_each_of_two_corpora_gets_a_suite_that_it_passes(bert: Model, tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "large.jsonl", 120, seed=1, rare=120),
        written(tmp_path / "small.jsonl", 24, seed=2, rare=3),
    ]
    corpora = [read_corpus(path) for path in paths]
    options = Options(output=tmp_path / "scan", lock=tmp_path / LOCK, min_arcs=10)
    scan = Scan(bert, None, corpora, paths, options)
    scan.begin(resume=False)
    list(scan.go_on())
    scan.finish()
    names = [
        yaml.safe_load((tmp_path / "scan" / f"{number}-{files.SUITE}").read_text())["suite"]
        for number in (1, 2)
    ]
    assert names == ["scan-tiny-large", "scan-tiny-small"]
    heads = read_heads(tmp_path / LOCK)
    judged: list[list[accuracy.RelationFinding]] = []
    for number in (1, 2):
        file = tmp_path / "scan" / f"{number}-{files.SUITE}"
        suite = cases.load_contents(file, file.name, head_sets=heads, root=tmp_path)
        judged.append([accuracy.judge(relation, bert) for relation in suite.relations])
    for finding in (finding for findings in judged for finding in findings):
        assert finding.error is None, finding.error
        assert finding.verdicts
        assert {one.outcome for one in finding.verdicts} <= {"passed", "borderline"}
        # The bound is what this corpus alone allows.
        assert finding.accuracy is not None
        bound = next(one for one in finding.relation.bounds if one.name == "accuracy")
        assert bound.demanded <= finding.accuracy.share
    large, small = ({finding.relation.id for finding in findings} for findings in judged)
    assert "obj-dependent-to-head" in large - small
    assert len(small) > 2
    text = " ".join((tmp_path / "scan" / f"2-{files.SUITE}").read_text().replace("#", "").split())
    assert re.search("too few of their arcs are of this corpus: [^.]*obj-dependent-to-head", text)
    # The figures that are told are of both together.
    told = {scan.names[one.group]: one.overall[0] for one in scan.found}
    for name in large & small:
        parts = [
            finding.accuracy.n
            for findings in judged
            for finding in findings
            if finding.relation.id == name and finding.accuracy
        ]
        assert told[name] == sum(parts)


def test_suites_are_named_after_model_and_corpus() -> None:
    paths = [Path(name) for name in ("a/dev.tsv", "b/dev.conllu", "c/学.jsonl", "d/x y!.tsv")]
    assert files.suite_names("all MiniLM", paths) == [
        "scan-all-MiniLM-dev",
        "scan-all-MiniLM-dev-2",
        "scan-all-MiniLM",
        "scan-all-MiniLM-x-y",
    ]


def odd(name: str, texts: Sequence[str]) -> Corpus:
    """Texts with an arc from their second word to their first."""
    found = []
    for number, text in enumerate(texts):
        first, second, *_ = re.finditer(r"[a-z]+", text)
        arc = Arc(Span(*second.span()), Span(*first.span()), "x")
        found.append(Sentence(f"{name}{number}", Sample(text), (arc,), number + 1))
    return Corpus(name, tuple(found), f"{len(texts):064x}", ())


def test_unknown_tokens_are_reported_and_refused_above_one_half_p55(
    minilm: Model, tmp_path: Path
) -> None:
    plain, half = odd("plain", ["we see it"] * 3), odd("half", ["we see it 🦤 🦤 🦤"] * 3)
    most = odd("most", ["we see it 🦤 🦤 🦤", "we see it 🦤 🦤 🦤 🦤"])
    ids = minilm.tokenizer("we see it 🦤 🦤 🦤", add_special_tokens=False)["input_ids"]
    assert ids.count(minilm.tokenizer.unk_token_id) * 2 == len(ids) == 6
    for last_one, refused in ((half, False), (most, True)):
        folder = tmp_path / last_one.name
        options = Options(output=folder, lock=folder / LOCK, min_arcs=1)
        paths = [Path("plain.tsv"), Path("last.tsv")]
        scan = Scan(minilm, None, [plain, last_one], paths, options)
        scan.begin(resume=False)
        list(scan.go_on())
        if refused:
            with pytest.raises(MeasureError, match=r"most: 53\.8% of its tokens are unknown"):
                scan.finish()
            assert not (folder / LOCK).exists()
            assert not list(folder.glob(f"*{files.SUITE}"))
            # A scan of better texts may take the folder.
            Scan(minilm, None, [plain], [Path("plain.tsv")], options).begin(resume=False)
            continue
        scan.finish()
        told = json.loads((folder / files.RESULTS).read_text())["corpora"]
        assert [one["unknown_share"] for one in told] == [0, 0.5]
        assert "half: unknown tokens: 50.0%" in list(scan.remarks())
        assert not any("plain: unknown" in line for line in scan.remarks())


@pytest.mark.parametrize("name", ["0_n", "0_totals_rows", "1_kept_places", "fingerprint", "done"])
@pytest.mark.parametrize("harm", ["missing", "of another shape"])
def test_a_damaged_state_of_a_scan_is_refused_p36(
    bert: Model, tmp_path: Path, name: str, harm: str
) -> None:
    folder = tmp_path / "scan"
    tiny_scan(folder, bert).begin(resume=False)
    state = folder / files.STATE
    arrays = dict(unpacked(state.read_bytes()))
    assert name in arrays, list(arrays)
    del arrays[name]
    if harm != "missing":
        arrays[name] = np.array([[1.5, 2.5]])
    state.write_bytes(packed(arrays))
    with pytest.raises(ResultsError, match=r"corrupt: .*; scan anew with --overwrite"):
        tiny_scan(folder, bert).begin(resume=True)


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(out, "_width", 200)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "english.conllu").write_bytes(CORPUS.read_bytes())

    def call(*args: str) -> Any:
        return CliRunner().invoke(
            app, ["scan", MINILM, "--corpus", "data/english.conllu", "--min-arcs", "20", *args]
        )

    return call


def test_the_command_leaves_a_suite_that_passes(
    command: Callable[..., Any], minilm: Model, tmp_path: Path
) -> None:
    result = command("--output", "scan", "--control", "random-init")
    assert result.exit_code == 0, result.output
    assert "L3H1" in result.output
    assert "90 arcs of punctuation left out" in result.output
    whole = json.loads((tmp_path / "scan" / files.RESULTS).read_text())
    assert whole["complete"] is True
    assert whole["sentences_done"] == whole["sentences"] == 74
    det = next(
        one
        for one in whole["relations"]
        if (one["relation"], one["direction"]) == ("det", "dependent-to-head")
    )
    # By the slower way of the rule that judges relations.
    own = read_corpus(CORPUS)
    judged = halves([one.id for one in own.sentences], seed=0)
    samples = [one.sample for one in own.sentences]
    pairs = [
        Pair(number, arc.dependent, arc.head)
        for number, one in enumerate(own.sentences)
        for arc in one.arcs
        if arc.relation == "det" and judged[number]
    ]
    spelled = [one.words for one in own.sentences]
    hits = measure(minilm, samples, pairs, site=None, sets=[(Head(3, 1),)], words=spelled)
    assert det["head"] == "L3H1"
    assert det["judged_on"] == len(hits.right)
    assert det["accuracy"] == hits.right.mean()
    assert det["offset_accuracy"] == hits.offsets.mean(axis=0).max()
    assert det["heads_tried"] == 72
    untrained = whole["control"]["relations"]
    assert max(one["accuracy"] for one in untrained) < det["accuracy"]
    heads = read_heads(tmp_path / LOCK)
    assert heads["det-dependent-to-head"].heads == (Head(3, 1),)
    named = parse_heads("@det-dependent-to-head", heads)
    assert named.sets[0].origin == f"{minilm.name}, weights {minilm.weights_sha256[:12]}"
    assert named.chosen_elsewhere(minilm.weights_sha256) == ()
    entry = json.loads((tmp_path / LOCK).read_text())["heads"]["det-dependent-to-head"]
    assert entry["weights_sha256"] == minilm.weights_sha256
    assert entry["corpora_sha256"] == [own.sha256]
    suite = cases.load_contents(
        tmp_path / "scan" / files.SUITE, "scan.attn.yaml", head_sets=heads, root=tmp_path
    )
    assert len(suite.relations) == len(whole["relations"]) > 3
    for relation in suite.relations:
        finding = accuracy.judge(relation, minilm)
        assert finding.error is None
        assert {one.outcome for one in finding.verdicts} <= {"passed", "borderline"}
        assert finding.verdicts
    grids = {path.name for path in (tmp_path / "scan" / files.GRIDS).iterdir()}
    assert {"det-dependent-to-head.svg", "measure-previous.svg"} <= grids
    assert not any(path.name.endswith(".tmp") for path in tmp_path.rglob("*"))


def test_ctrl_c_leaves_a_scan_that_can_go_on(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CHUNK", 20)
    assert command("--output", "whole", "--lock", "whole.json", "--relation", "det").exit_code == 0
    survey, calls = Model.survey, iter(range(99))

    def interrupted(self: Model, *args: Any, **options: Any) -> Iterator[MapSums]:
        yield from survey(self, *args, **options)
        if next(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Model, "survey", interrupted)
    options = ("--output", "scan", "--lock", "scan.json", "--relation", "det")
    stopped = command(*options)
    assert stopped.exit_code == 130
    assert "stopped after 20 of 74 sentences; go on with --resume" in stopped.output
    partial = json.loads((tmp_path / "scan" / files.RESULTS).read_text())
    assert (partial["complete"], partial["sentences_done"]) == (False, 20)
    resumed = command(*options, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert folder_of(tmp_path / "scan") == folder_of(tmp_path / "whole")
    assert (tmp_path / "scan.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_the_command_refuses_before_it_loads_a_model(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    for args, message in (
        (("--resume",), "--resume goes on from a folder"),
        (("--lock", "x.json"), "--lock is written by a scan with --output; name a folder with it"),
        (("--site", "middle"), "unknown site 'middle'"),
        (("--corpus", "none.conllu"), "none.conllu: cannot be read"),
    ):
        result = command(*args)
        assert isinstance(result.exception, AttnprobeError)
        assert message in str(result.exception)


def test_the_table_in_the_documents_is_the_real_one(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "_width", 220)
    page = (Path(__file__).parents[2] / "docs" / "scan.md").read_text(encoding="utf-8")
    (table,) = [block for block in page.split("```") if block.startswith("text\n┏")]
    result = command("--min-arcs", "30", "--control", "random-init")
    assert table.removeprefix("text\n") in result.output
    assert not Path("scan").exists()
