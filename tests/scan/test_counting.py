"""Counts of blocks against slower ways, batches, memory, and what ends a scan."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnprobe.core.errors import MeasureError
from attnprobe.core.names import LOCK
from attnprobe.core.needs import MapNeed, MapSums
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model
from attnprobe.models.survey import survey_batch
from attnprobe.relations.arcs import Trial, measure
from attnprobe.relations.labels import matches
from attnprobe.relations.sentences import Arc, Sentence
from attnprobe.scan import counting, files
from attnprobe.scan.counting import BlockCounter
from attnprobe.scan.output import Output
from attnprobe.scan.report import CHOSEN, JUDGED
from attnprobe.scan.session import Options, Scan, in_process
from attnprobe.scan.tally import Label, arc_groups
from attnprobe.words.looks import FIRST, LATER, LEFT_OUT, UNREADABLE, Among
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.scans import (
    MadeUp,
    block_of,
    corpora,
    corpus,
    plan_of,
    run,
    scanned,
    sentences,
    tiny,
)

# Counts -------------------------------------------------------------------------------------------


def test_a_hash_of_the_text_tosses_a_coin_for_its_half() -> None:
    plan, other = plan_of(seed=0), plan_of(seed=1)
    own = [Sample(f"text {number}") for number in range(4000)]
    sides = [plan.judged(one) for one in own]
    assert sides == [plan.judged(Sample(one.text)) for one in own]
    # Five standard deviations; the two seeds toss two coins.
    assert abs(sum(sides) - 2000) < 5 * 32
    agree = sum(side == other.judged(one) for side, one in zip(sides, own, strict=True))
    assert abs(agree - 2000) < 5 * 32
    # A target belongs to the text.
    targets = [plan.judged(Sample("text", f"target {number}")) for number in range(100)]
    assert 20 < sum(targets) < 80


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
    tally = scanned(model, own, site=site, among=among)
    heads = model.sites[site].all_heads()
    judged = np.array([plan_of(seed=0).judged(one.sample) for one in own.sentences])
    samples = [one.sample for one in own.sentences]
    groups = arc_groups(("det", "nsubj", "nsubj:pass", "obj"), both=site != "cross")
    assert len(tally.labels) == len(groups)
    for group in groups:
        counts = tally.of(group).arcs
        pairs = [
            arc.pair(at, backwards=group.direction == "head-to-dependent")
            for at, sentence in enumerate(own.sentences)
            for arc in sentence.arcs
            if matches(arc.relation, group.relation)
        ]
        hits = measure(
            model,
            Trial(samples, pairs, site=site, sets=[(head,) for head in heads], among=among, seed=0),
        )
        assert counts.n.sum() == len(hits.right)
        for half in (CHOSEN, JUDGED):
            mine = judged[hits.samples] == bool(half)
            right, offsets = hits.right[mine].astype(int), hits.offsets[mine].astype(int)
            assert counts.n[half] == mine.sum()
            assert (counts.right[half] == right.sum(axis=0)).all()
            assert (counts.offsets[half] == offsets.sum(axis=0)).all()
            assert (counts.both[half] == right.T @ offsets).all()
            compared = mine & hits.compared
            true, other = hits.right[compared], hits.other[compared]
            assert counts.compared[half] == compared.sum()
            assert (counts.with_true[half] == true.sum(axis=0)).all()
            assert (counts.with_other[half] == other.sum(axis=0)).all()
            assert (counts.with_both[half] == (true & other).sum(axis=0)).all()
        left_out = dict(zip(LEFT_OUT, counts.left_out.tolist(), strict=True))
        assert {reason: n for reason, n in left_out.items() if n} == hits.left_out
    if architecture == "llama":
        assert tally.arcs.left_out[:, LEFT_OUT.index(LATER)].all()
        assert tally.arcs.left_out[:, LEFT_OUT.index(FIRST)].any() == (among == "words")


def test_the_batch_changes_nothing(bert: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    own = corpus(30)
    large = scanned(bert, own)
    monkeypatch.setattr(counting, "CELLS", 400)
    small = scanned(bert, own, batch_tokens=60)
    assert small.labels == large.labels
    for name, counts in large.arcs._asdict().items():
        assert (getattr(small.arcs, name) == counts).all()
    np.testing.assert_allclose(small.totals.values(), large.totals.values(), rtol=1e-5, atol=1e-4)
    scores = large.measured.scores()
    assert np.isfinite(scores).sum() > 0.9 * scores.size


def test_texts_that_are_too_long_are_counted(bert: Model) -> None:
    long = "the old key " * 40
    arcs = (Arc(Span(0, 3), Span(4, 7), "det"),)
    own = MadeUp((Sentence("long", Sample(long), arcs, 9), *sentences(6)))
    tally = scanned(bert, own, relations=("det",))
    assert tally.unread == 1
    assert tally.arcs.left_out[:, LEFT_OUT.index(UNREADABLE)].tolist() == [1, 1]
    assert tally.labels == (
        Label(0, "det", "dependent-to-head"),
        Label(0, "det", "head-to-dependent"),
    )


def test_weights_that_are_no_numbers_end_a_scan_p19(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("bert")
    for name, weight in model.network.named_parameters():
        if "layer.1" in name and "query.weight" in name:
            weight.data[:] = float("nan")
    with pytest.raises(MeasureError, match=r"encoder L1H0: attention weights are NaN"):
        scanned(model, corpus(3))


def test_out_of_memory_halves_the_batch_p34(bert: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scanned(bert, corpus(9))
    sizes = []

    def small(needs: Sequence[MapNeed], *arguments: Any, **options: Any) -> MapSums:
        sizes.append(len(needs))
        if len(needs) > most:
            raise MemoryError
        return survey_batch(needs, *arguments, **options)

    monkeypatch.setattr("attnprobe.models.model.survey_batch", small)
    most = 2
    tally = scanned(bert, corpus(9))
    assert (tally.arcs.both == expected.arcs.both).all()
    assert max(sizes) > 2
    most = 0
    with pytest.raises(MeasureError, match="out of memory with the maps of a single text"):
        scanned(bert, corpus(9))


def test_several_corpora_are_pooled(bert: Model) -> None:
    one, two = corpus(8, seed=1), corpus(6, seed=2)
    pooled = scanned(bert, one, two)
    parts = [scanned(bert, own) for own in (one, two)]
    for group in arc_groups(("nsubj", "obj", "det"), both=True):
        right = [part.of(group).arcs.right for part in parts]
        assert (pooled.of(group).arcs.right == sum(right)).all()
        for place in (0, 1):
            assert (pooled.of(group, place).arcs.right == right[place]).all()


# Memory -------------------------------------------------------------------------------------------


def test_nothing_is_kept_of_a_sentence(bert: Model) -> None:
    sizes = []
    for count in (20, 80):
        own = corpora(corpus(count), block=5)
        scan = Scan(bert, own, Options(set_arcs=3), in_process(bert))
        steps = scan.go_on()
        for _ in range(3):
            next(steps)
        gc.collect()
        # A block's own needs may still be there, and no more.
        assert sum(type(one) in (MapSums, MapNeed) for one in gc.get_objects()) <= 6
        list(steps)
        (tally,) = scan.counted.tallies
        assert all(len(kept) <= 3 for kept in tally.kept.values())
        arrays = tally.arrays()
        sizes.append(sum(a.nbytes for name, a in arrays.items() if name.startswith(("a", "t"))))
        assert len(arrays["kept_places"]) <= 3 * 2 * len(tally.labels)
    assert sizes[0] == sizes[1]


def test_the_sample_is_that_of_the_smallest_hashes(bert: Model) -> None:
    """By blocks, with places refused on the way, as by sorting all arcs at once."""
    own = corpus(60)
    few = scanned(bert, own, set_arcs=4)
    every = scanned(bert, own, set_arcs=10_000)
    assert few.kept.keys() == every.kept.keys()
    for key, arcs in every.kept.items():
        first = sorted(arcs, key=lambda arc: arc.place)[:4]
        assert [arc.place for arc in few.kept[key]] == [arc.place for arc in first]
        assert len(arcs) == every.arcs.n[key]
    counter = BlockCounter(bert, plan_of(set_arcs=4))
    block = block_of(own)
    # Who counts a block again, as after a loss, refuses nothing that belongs to the sample.
    once, again = counter.count(block), counter.count(block)
    for key, kept in once.kept.items():
        assert [arc.place for arc in again.kept[key]] == [arc.place for arc in kept]


def odd(name: str, texts: Sequence[str]) -> MadeUp:
    """Texts with an arc from their second word to their first."""
    found = []
    for number, text in enumerate(texts):
        first, second, *_ = re.finditer(r"[a-z]+", text)
        arc = Arc(Span(*second.span()), Span(*first.span()), "x")
        found.append(Sentence(f"{name}{number}", Sample(text), (arc,), number + 1))
    return MadeUp(tuple(found), name, Path(f"{name}.tsv"), f"{len(texts):064x}")


def test_unknown_tokens_are_reported_and_refused_above_one_half_p55(
    minilm: Model, tmp_path: Path
) -> None:
    plain, half = odd("plain", ["we see it"] * 3), odd("half", ["we see it 🦤 🦤 🦤"] * 3)
    most = odd("most", ["we see it 🦤 🦤 🦤", "we see it 🦤 🦤 🦤 🦤"])
    ids = minilm.tokenizer("we see it 🦤 🦤 🦤", add_special_tokens=False)["input_ids"]
    assert ids.count(minilm.tokenizer.unk_token_id) * 2 == len(ids) == 6
    for last_one, refused in ((half, False), (most, True)):
        folder = tmp_path / last_one.name
        options = Options(output=Output(folder, lock=folder / LOCK), min_arcs=1)
        scan = Scan(minilm, corpora(plain, last_one), options, in_process(minilm))
        if refused:
            with pytest.raises(MeasureError, match=r"most: 53\.8% of its tokens are unknown"):
                run(scan)
            assert not (folder / LOCK).exists()
            assert not list(folder.glob(f"*{files.SUITE}"))
            # A scan of better texts may take the folder.
            Scan(minilm, corpora(plain), options, in_process(minilm)).begin(resume=False)
            continue
        run(scan)
        told = json.loads((folder / files.RESULTS).read_text())["corpora"]
        assert [one["unknown_share"] for one in told] == [0, 0.5]
        assert "half: unknown tokens: 50.0%" in list(scan.findings.remarks())
        assert not any("plain: unknown" in line for line in scan.findings.remarks())
