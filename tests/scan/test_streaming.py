"""One pass over a corpus: counts against slower ways, batches, memory, and what ends it."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Sequence
from dataclasses import replace
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
from attnprobe.relations.corpus import Corpus, halves
from attnprobe.relations.labels import matches
from attnprobe.relations.sentences import Arc, Sentence
from attnprobe.scan import files, streaming
from attnprobe.scan.report import CHOSEN, JUDGED
from attnprobe.scan.session import Options, Scan
from attnprobe.scan.streaming import make_plan, scan_chunks
from attnprobe.scan.tally import ArcGroup, Tally
from attnprobe.words.looks import FIRST, LATER, LEFT_OUT, UNREADABLE, Among
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.scans import corpus, last, scanned, sentences, tiny

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
            model,
            Trial(samples, pairs, site=site, sets=[(head,) for head in heads], among=among, seed=0),
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
    monkeypatch.setattr(streaming, "CHUNK", 7)
    _, small = scanned(bert, own, batch_tokens=60)
    for name, array in large.arrays().items():
        if name.startswith("totals"):
            np.testing.assert_allclose(small.arrays()[name], array, rtol=1e-5, atol=1e-4)
        elif not name.startswith("kept"):
            assert (small.arrays()[name] == array).all()
    scores = large.totals.scores()
    assert np.isfinite(scores).sum() > 0.9 * scores.size


def test_texts_that_are_too_long_are_counted(bert: Model) -> None:
    own = corpus(6)
    long = "the old key " * 40
    arcs = (Arc(Span(0, 3), Span(4, 7), "det"),)
    own = replace(own, sentences=(Sentence("long", Sample(long), arcs, 9), *own.sentences))
    plan, tally = scanned(bert, own, relations=["det"])
    assert tally.unread == 1
    assert tally.left_out[:, LEFT_OUT.index(UNREADABLE)].tolist() == [1, 1]
    assert plan.groups == (
        ArcGroup("det", "dependent-to-head"),
        ArcGroup("det", "head-to-dependent"),
    )


def test_weights_that_are_no_numbers_end_a_scan_p19(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("bert")
    for name, weight in model.network.named_parameters():
        if "layer.1" in name and "query.weight" in name:
            weight.data[:] = float("nan")
    with pytest.raises(MeasureError, match=r"encoder L1H0: attention weights are NaN"):
        scanned(model, corpus(3))


def test_out_of_memory_halves_the_batch_p34(bert: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = scanned(bert, corpus(9))
    sizes = []

    def small(needs: Sequence[MapNeed], *arguments: Any, **options: Any) -> MapSums:
        sizes.append(len(needs))
        if len(needs) > most:
            raise MemoryError
        return survey_batch(needs, *arguments, **options)

    monkeypatch.setattr("attnprobe.models.model.survey_batch", small)
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
    monkeypatch.setattr(streaming, "CHUNK", 5)
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
