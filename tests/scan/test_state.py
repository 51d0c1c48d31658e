"""Blocks that are counted apart and put together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.errors import CorpusError, ResultsError
from attnprobe.core.parts import WHOLE, Part
from attnprobe.models import Model
from attnprobe.models.twin import random_twin
from attnprobe.scan.facts import ScanFacts
from attnprobe.scan.findings import Findings
from attnprobe.scan.session import Options, Scan, in_process
from attnprobe.scan.state import Counted, State, merged
from attnprobe.scan.tally import Tally
from tests.support.scans import MadeUp, corpora, corpus, run

BLOCKS = 12


class Counts:
    """The counts of each block of a scan of two corpora, and the scan."""

    def __init__(self, model: Model, part: Part = WHOLE, **options: object) -> None:
        own = corpora(corpus(50, seed=1), corpus(43, seed=2), part=part, block=8)
        engine = in_process(model, random_twin(model, seed=1))
        chosen = Options(set_arcs=5, min_arcs=5, **options)  # type: ignore[arg-type]
        self.scan = Scan(model, own, chosen, engine, control=True)
        self.facts = self.scan.facts
        self.blocks: dict[int, list[Tally]] = {
            number: list(tallies) for number, tallies in engine(self.scan.plan, own, lambda _: True)
        }


@pytest.fixture(scope="module")
def counts(bert: Model) -> Counts:
    return Counts(bert)


def bytes_of(counted: Counted) -> list[tuple[str, bytes]]:
    return [
        (name, array.tobytes())
        for tally in counted.tallies
        for name, array in tally.arrays().items()
    ]


@given(st.data())
def test_random_partitions_give_the_same_bytes(counts: Counts, data: st.DataObject) -> None:
    facts = counts.facts
    assert sorted(counts.blocks) == list(range(BLOCKS + 1))
    whole = Counted.nothing(facts)
    for number in sorted(counts.blocks):
        whole = whole.with_block(number, counts.blocks[number])
    order = data.draw(st.permutations(sorted(counts.blocks)))
    count = data.draw(st.integers(1, 5))
    owners = data.draw(
        st.lists(st.integers(0, count - 1), min_size=len(order), max_size=len(order))
    )
    parts = [Counted.nothing(facts) for _ in range(count)]
    for number, at in zip(order, owners, strict=True):
        parts[at] = parts[at].with_block(number, counts.blocks[number])
    _, found = merged([State(Path(f"{at}"), facts, part) for at, part in enumerate(parts)])
    assert bytes_of(found) == bytes_of(whole)
    assert found.done.all()
    assert facts.sentences_of(found.done) == facts.sentences == 93


def test_a_block_counts_once(counts: Counts) -> None:
    once = Counted.nothing(counts.facts).with_block(3, counts.blocks[3])
    assert once.with_block(3, counts.blocks[3]) is once


def write(folder: Path, facts: ScanFacts, blocks: dict[int, list[Tally]]) -> State:
    counted = Counted.nothing(facts)
    for number, tallies in blocks.items():
        counted = counted.with_block(number, tallies)
    folder.mkdir()
    state = State(folder / "scan-state.npz", facts, counted)
    state.write()
    return State.read(state.path)


@pytest.fixture(scope="module")
def parts(bert: Model, tmp_path_factory: pytest.TempPathFactory) -> list[State]:
    """Three parts of a scan, from their files."""
    folder = tmp_path_factory.mktemp("parts")
    found = [Counts(bert, Part(index, 3)) for index in (1, 2, 3)]
    return [write(folder / str(one.facts.part.index), one.facts, one.blocks) for one in found]


def test_three_parts_are_the_whole(parts: list[State], counts: Counts) -> None:
    facts, found = merged(parts)
    whole = Counted.nothing(counts.facts)
    for number, tallies in counts.blocks.items():
        whole = whole.with_block(number, tallies)
    assert bytes_of(found) == bytes_of(whole)
    results = [
        Findings(one, counted).results(duration_s=0, engine={})
        for one, counted in ((facts, found), (counts.facts, whole))
    ]
    assert results[0] == results[1]
    assert results[0]["relations"]
    assert any(one["set"] for one in results[0]["relations"])


def test_parts_that_do_not_make_a_whole_are_refused(parts: list[State]) -> None:
    first, second, third = parts
    with pytest.raises(ResultsError, match=r"part 2/3 of the scan is missing: name the folders"):
        merged([first, third])
    with pytest.raises(ResultsError, match=r"part 1/3, 2/3 of the scan is missing"):
        merged([third])
    with pytest.raises(ResultsError, match=r"2/scan-state.npz: part 2/3 has sentences that .*2/3"):
        merged([first, second, third, replace(second)])
    done = second.counted.done.copy()
    done[np.flatnonzero(done)[-1]] = False
    unfinished = replace(second, counted=replace(second.counted, done=done))
    with pytest.raises(
        ResultsError,
        match=r"part 2/3 is unfinished, 1 of 4 blocks are missing; scan it again with --resume",
    ):
        merged([first, unfinished, third])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "seed was 0 and is 4"),
        ({"min_arcs": 9}, "min_arcs was 5 and is 9"),
        ({"prefix": "x-"}, "prefix was  and is x-"),
        ({"threads": 2}, "threads was 1 and is 2"),
        ({"attnprobe": "9.9"}, "attnprobe was .* and is 9.9"),
        ({"block": 9}, "block was 8 and is 9"),
        ({"among": "all"}, "among was words and is all"),
        ({"batch_tokens": 7}, "batch_tokens was 8192 and is 7"),
    ],
)
def test_parts_of_different_scans_are_refused(
    parts: list[State], changes: dict[str, object], message: str
) -> None:
    facts = replace(parts[1].facts, **changes)  # type: ignore[arg-type]
    with pytest.raises(ResultsError, match=f"2/scan-state.npz: another scan than .*: {message}"):
        merged([parts[0], replace(parts[1], facts=facts), parts[2]])


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ("model", "weights_sha256"),
        ("model", "tokenizer_sha256"),
        ("environment", "torch"),
        ("environment", "transformers"),
        ("environment", "numpy"),
        ("environment", "dtype"),
    ],
)
def test_parts_of_other_models_or_versions_are_refused(
    parts: list[State], where: str, key: str
) -> None:
    changed = {where: {**getattr(parts[1].facts, where), key: "other"}}
    facts = replace(parts[1].facts, **changed)  # type: ignore[arg-type]
    with pytest.raises(ResultsError, match=r"another scan than .* and is other"):
        merged([parts[0], replace(parts[1], facts=facts), parts[2]])


def test_a_corpus_that_changed_between_parts_is_refused(parts: list[State]) -> None:
    one, two = parts[1].facts.corpora
    facts = replace(parts[1].facts, corpora=(one, replace(two, sha256="f" * 64)))
    with pytest.raises(ResultsError, match=r"corpus made_up.tsv was .* and is fff"):
        merged([parts[0], replace(parts[1], facts=facts), parts[2]])


def test_another_machine_of_the_same_kind_may_count_a_part(parts: list[State]) -> None:
    environment = {**parts[1].facts.environment, "platform": "elsewhere", "device": "cpu:1"}
    facts = replace(parts[1].facts, environment=environment)
    assert merged([parts[0], replace(parts[1], facts=facts), parts[2]])[1].done.all()


@pytest.mark.parametrize("change", ["shorter", "longer line", "other bytes"])
def test_a_corpus_that_changes_under_a_scan_is_told(bert: Model, change: str) -> None:
    own = corpus(40)
    found = corpora(own, block=8)
    scan = Scan(bert, found, Options(), in_process(bert))

    def alter(now: MadeUp) -> None:
        if change == "shorter":
            now.sentences = now.sentences[:20]
        elif change == "longer line":
            later = tuple(replace(one, line=one.line + 1) for one in now.sentences[16:])
            now.sentences = now.sentences[:16] + later
        now.sha256 = "changed"

    alter(own)
    with pytest.raises(CorpusError, match=r"made_up\.tsv: has changed while it was scanned"):
        run(scan)


def test_a_part_of_no_block_is_empty_and_merges(bert: Model) -> None:
    own = [corpora(corpus(9), part=Part(index, 9), block=8) for index in range(1, 10)]
    states = []
    for at, found in enumerate(own):
        scan = Scan(bert, found, Options(), in_process(bert))
        list(scan.go_on())
        states.append(State(Path(str(at)), scan.facts, scan.counted))
    assert [state.counted.done.sum() for state in states] == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    facts, found_all = merged(states)
    assert facts.sentences_of(found_all.done) == 9
