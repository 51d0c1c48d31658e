"""Which failed checks moved, on models made up by hand; on real ones in test_end_to_end.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnprobe import cases
from attnprobe.compare.matching import Match
from attnprobe.core.arrays import Floats
from attnprobe.core.errors import ModelError
from attnprobe.core.names import Key
from attnprobe.core.sites import Head
from attnprobe.core.texts import Encoding
from attnprobe.gate import Moved, Policy, cannot_judge, read_decision
from attnprobe.gate.moved import check_old, moved_checks, moved_in_run
from attnprobe.models import LoadOptions
from attnprobe.results.records import CaseResult
from tests.support.made_up import FakeReader
from tests.support.made_up_decisions import case, expectation
from tests.support.made_up_results import MODEL, run

START = "version: 1\nsuite: s\ncases:\n"
PLAIN = 0.002


class Weighing(FakeReader):
    """A model in which some heads put most of each row on the word `dog`."""

    def __init__(self, *heads: str) -> None:
        super().__init__()
        self.heads = {Head.parse(name) for name in heads}

    def weights(self, read: Encoding) -> dict[int, Floats]:
        tokens = read.source
        shape = len(tokens), len(tokens)
        found = {layer: np.full((2, *shape), PLAIN, np.float32) for layer in range(3)}
        for layer, heads in found.items():
            for number, rows in enumerate(heads):
                to = "dog" if Head(layer, number) in self.heads else "[SEP]"
                rows[:, tokens.pieces.index(to)] += 1 - rows[0].sum()
        return found


def match(old: str, new: str, divergence: float = 0.01) -> Match:
    return Match(Head.parse(old), Head.parse(new), divergence, 0.2, 0.05)


EVERY = [f"L{layer}H{head}" for layer in range(3) for head in range(2)]


@dataclass
class Matched:
    """Matches in place of those of real models, and what was asked for."""

    places: Mapping[str, str]
    lost: Sequence[str] = ()
    texts: tuple[str, ...] = ()
    sites: tuple[Any, ...] = ()

    def __call__(self, old: Any, new: Any, samples: Sequence[Any], *, site: Any) -> list[Match]:
        assert (old.name, new.name) == ("fake", "fake")
        assert old is not new
        self.texts = tuple(sample.text for sample in samples)
        self.sites = (*self.sites, site)
        return [
            match(head, self.places.get(head, head), 0.9 if head in self.lost else 0.01)
            for head in EVERY
        ]


@pytest.fixture
def matched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Matched:
    """L0H0 and L1H0 have moved to L2H1 and L1H1, and L0H1 is lost."""
    monkeypatch.chdir(tmp_path)
    made = Matched({"L0H0": "L2H1", "L1H0": "L1H1"}, ["L0H1"])
    monkeypatch.setattr("attnprobe.gate.moved.match_heads", made)
    return made


def write(*stated: str, texts: Sequence[str] = ()) -> dict[Key, CaseResult]:
    """A file with a case for each list of expectations, and the failed record of each."""
    body = START
    for number, expect in enumerate(stated):
        text = texts[number] if texts else "The dog barks ."
        body += f"- id: c{number}\n  text: {text}\n  expect: [{expect}]\n"
    Path("x.attn.yaml").write_text(body)
    items = [
        case(
            entry.id,
            "failed",
            file="x.attn.yaml",
            expectations=tuple(
                expectation("failed", rule=each.rule.kind, arguments=dict(each.arguments))
                for each in entry.expectations
            ),
        )
        for entry in cases.load(Path("x.attn.yaml"), "x.attn.yaml")
    ]
    return {item.key: item for item in items}


def attends(heads: str, least: float = 0.5) -> str:
    return f"attends: {{from: barks, to: dog, min: {least}, heads: {heads}}}"


def sought(items: Mapping[Key, CaseResult], old: FakeReader, new: FakeReader) -> dict[str, Moved]:
    found, _ = moved_checks(items, old=old, new=new, root=Path(), chance_max=0.05, head_sets={})
    return {key.id: moved for key, moved in found.items()}


OLD, NEW = Weighing("L0H0", "L1H0", "L2H0"), Weighing("L2H1", "L1H1", "L2H0")


@pytest.mark.parametrize(
    ("expect", "where"),
    [
        (attends("L0H0"), "L0H0 moved to L2H1"),
        (attends("[L0H0, L1H0]"), "L0H0 moved to L2H1 and L1H0 moved to L1H1"),
        # One stayed, and both are looked for.
        (attends("[L2H0, L0H0]"), "L0H0 moved to L2H1"),
        (f"{attends('L2H0')}, {attends('L0H0')}", "L0H0 moved to L2H1"),
        (f"{attends('L0H0')}, {attends('L0H0', 0.4)}", "L0H0 moved to L2H1"),
        # All stayed: it failed for another reason.
        (attends("L2H0"), None),
        # One of its heads is lost, whatever the other does.
        (attends("[L0H0, L0H1]"), None),
        (f"{attends('L0H0')}, {attends('L0H1', 0.01)}", None),
        (attends("L0H1", 0.01), None),
        # One rule names no single head.
        (f"{attends('L0H0')}, {attends('any')}", None),
    ],
)
def test_a_check_moved_with_its_heads(matched: Matched, expect: str, where: str | None) -> None:
    found = sought(write(expect), OLD, NEW)
    assert [moved.where for moved in found.values()] == ([where] if where else [])


def test_a_head_that_the_new_model_does_not_have_is_lost(
    matched: Matched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "attnprobe.gate.moved.match_heads", lambda *_, **__: [match("L2H1", "L0H0")]
    )
    assert sought(write(attends("L0H0")), OLD, NEW) == {}


def test_it_holds_on_the_old_model_and_at_the_new_place(matched: Matched) -> None:
    items = write(attends("L0H0"), f"{attends('L0H0')}, {attends('L1H0')}")
    assert list(sought(items, OLD, NEW)) == ["c0", "c1"]
    # The first does not need L1H0.
    assert list(sought(items, Weighing("L0H0"), NEW)) == ["c0"]
    assert list(sought(items, OLD, Weighing("L2H1"))) == ["c0"]
    assert sought(items, Weighing("L1H0"), NEW) == {}
    assert sought(items, OLD, Weighing("L1H1", "L0H0")) == {}


def test_a_moved_check_has_the_numbers_of_its_new_place(matched: Matched) -> None:
    items = write(attends("L0H0"))
    (moved,) = sought(items, OLD, NEW).values()
    (item,) = items.values()
    (before,), (now,) = item.expectations, moved.expectations
    assert (now.outcome, now.head) == ("passed", "L2H1")
    assert now.bounds[0].observed == pytest.approx(0.99)
    assert replace(now, outcome="failed", bounds=before.bounds, head="L3H1") == before
    assert moved.chances == (None,)


def test_many_texts_tell_the_chance_at_the_new_place(matched: Matched) -> None:
    """The moved head looks at `dog` from everywhere, and at nothing else."""
    texts = [f"{' '.join(f'w{n}of{text}' for n in range(12))} dog barks ." for text in range(6)]
    found = sought(write(*[attends("L0H0")] * 6, texts=texts), OLD, NEW)
    assert len(found) == 6
    assert {moved.chances for moved in found.values()} == {(0.0,)}


def test_heads_are_matched_on_the_texts_of_the_file_failed_ones_first(matched: Matched) -> None:
    texts = [f"The dog barks w{number} ." for number in range(70)]
    items = write(*[attends("L0H0")] * 70, texts=texts)
    late = {key: item for key, item in items.items() if key.id in ("c68", "c69")}
    assert list(sought(late, OLD, NEW)) == ["c68", "c69"]
    assert matched.texts == (texts[68], texts[69], *texts[:62])
    assert matched.sites == (None,)


def test_each_file_is_matched_by_itself(matched: Matched) -> None:
    items = write(attends("L0H0"))
    Path("y.attn.yaml").write_text(Path("x.attn.yaml").read_text())
    (item,) = items.values()
    both = [item, replace(item, file="y.attn.yaml")]
    found, _ = moved_checks(
        {entry.key: entry for entry in both},
        old=OLD, new=NEW, root=Path(), chance_max=0.05, head_sets={},
    )  # fmt: skip
    assert [key.file for key in found] == ["x.attn.yaml", "y.attn.yaml"]


# In a run ---------------------------------------------------------------------------------------

ALLOWED = {"moved_heads": "allow", "baseline_model": "runs/old"}


class Loaded:
    """Loads made-up models, and notes what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, LoadOptions]] = []
        monkeypatch.setattr("attnprobe.models.load_model", self.load)

    def load(self, ref: str, options: LoadOptions) -> Any:
        self.asked.append((ref, options))
        reader = OLD if ref == "runs/old" else NEW
        facts = {"revision": options.revision, "weights_sha256": "ab" * 32}
        made = Weighing()
        made.heads = reader.heads
        vars(made).update(facts | {"tokenizer_sha256": "cd" * 32})
        return made


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    return Loaded(monkeypatch)


def in_run(items: Mapping[Key, CaseResult], kept: Any = None, **demands: Any) -> Any:
    models = demands.pop("models", (MODEL,))
    policy = Policy.model_validate({**ALLOWED, **demands})
    return moved_in_run(run(*items.values(), models=models), policy, kept)


def test_a_run_is_searched_for_moved_heads(matched: Matched, loaded: Loaded) -> None:
    items = write(attends("L0H0"), attends("L2H0"))
    moved, remarks = in_run(items)
    assert ({key.id: each.where for key, each in moved.items()}, remarks) == (
        {"c0": "L0H0 moved to L2H1"},
        [],
    )
    (old, given), (new, _) = loaded.asked
    assert (old, given, new) == ("runs/old", LoadOptions(), "runs/best")


def test_a_run_names_the_checks_whose_heads_are_lost(matched: Matched, loaded: Loaded) -> None:
    items = write(attends("L0H1"), attends("L0H0"), attends("L2H0"), attends("[L0H1, L0H0]"))
    _, remarks = in_run(items)
    assert remarks == [
        f"lost: x.attn.yaml: {name} on minilm: no head attends as L0H1 did" for name in ("c0", "c3")
    ]
    Path("d.json").write_text(json.dumps(cannot_judge("x", "y").as_dict() | {"notes": remarks}))
    assert read_decision(Path("d.json")) == ("Cannot judge: y.", remarks)


def test_the_old_model_is_loaded_as_the_policy_says(matched: Matched, loaded: Loaded) -> None:
    items = write(attends("L0H0"))
    (key,) = items
    model = replace(MODEL, tokenizer="runs/words")
    assert list(in_run(items, models=(model,), remote_code="ignore")[0]) == [key]
    options = LoadOptions(tokenizer="runs/words", ignore_remote_code=True)
    assert loaded.asked[0] == ("runs/old", options)
    # The tokenizer of the baseline, where one is recorded.
    loaded.asked.clear()
    before = replace(model, tokenizer="runs/letters", name="old")
    kept = run(*[replace(item, model="old") for item in items.values()], models=(before,))
    assert list(in_run(items, kept, baseline="b.json", models=(model,))[0]) == [key]
    assert loaded.asked[0] == ("runs/old", LoadOptions(tokenizer="runs/letters"))
    # Its revision too, which a folder has not.
    moved, remarks = in_run(items, baseline_revision="main")
    assert list(moved) == [key]
    assert (loaded.asked[-2][1].revision, remarks) == ("main", [])


def test_without_leave_or_need_no_model_is_loaded(matched: Matched, loaded: Loaded) -> None:
    items = write(attends("L0H0"))
    assert in_run(items, moved_heads="fail") == ({}, [])
    assert in_run({key: replace(item, outcome="passed") for key, item in items.items()}) == ({}, [])
    assert in_run(items, moved_heads="fail", baseline_model=None) == ({}, [])
    assert loaded.asked == []


def test_each_model_of_a_run_is_searched_by_itself(matched: Matched, loaded: Loaded) -> None:
    items = write(attends("L0H0"))
    (item,) = items.values()
    models = [replace(MODEL, name=name) for name in ("aged", "bad", "minilm")]
    models[1] = replace(models[1], weights_sha256="ef" * 32)
    both = [item, replace(item, model="bad")]
    moved, remarks = in_run({entry.key: entry for entry in both}, models=tuple(models))
    assert list(moved) == [item.key]
    assert remarks == [
        "whether heads of bad moved could not be determined: the weights of runs/best are not "
        "those that were judged"
    ]
    # The old model is loaded once.
    assert [ref for ref, _ in loaded.asked] == ["runs/old", "runs/best", "runs/best"]


# The old model ----------------------------------------------------------------------------------


def refusal(policy: dict[str, Any], **facts: Any) -> str:
    known = {"revision": None, "weights_sha256": "ab" * 32, "tokenizer_sha256": "cd" * 32}
    given = {**known, "recorded": None, **facts}
    try:
        check_old(Policy.model_validate({**ALLOWED, **policy}), **given)
    except ModelError as error:
        return str(error)
    return ""


def test_an_old_model_that_is_pinned_and_recorded() -> None:
    baseline = {"baseline": "b/old.json"}
    assert refusal({}) == ""
    assert refusal({"baseline_revision": "c" * 40}, revision="c" * 40) == ""
    assert refusal(baseline, recorded=MODEL) == ""
    assert refusal(baseline, recorded=replace(MODEL, tokenizer_sha256=None)) == ""
    # Without a baseline in the policy nothing is compared.
    assert refusal({}, recorded=replace(MODEL, weights_sha256=None)) == ""


@pytest.mark.parametrize(
    ("policy", "facts", "message"),
    [
        (
            {"baseline_revision": "main"},
            {},
            "baseline_model runs/old is no hub model, so it has no baseline_revision",
        ),
        (
            {},
            {"revision": "c" * 40},
            "baseline_model runs/old is given without its revision; set baseline_revision = "
            f'"{"c" * 40}" in the policy',
        ),
        (
            {"baseline_revision": "main"},
            {"revision": "c" * 40},
            "baseline_model runs/old is given by main, which another commit can take over; set "
            f'baseline_revision = "{"c" * 40}" in the policy',
        ),
        ({"baseline": "b/old.json"}, {}, "the baseline old.json has no such model"),
        (
            {"baseline": "b/old.json"},
            {"recorded": replace(MODEL, weights_sha256="ef" * 32)},
            "baseline_model runs/old has weights abababababab, but the baseline old.json is of "
            "runs/best with weights efefefefefef; name that model in the policy",
        ),
        (
            {"baseline": "b/old.json"},
            {"recorded": replace(MODEL, weights_sha256=None)},
            "baseline_model runs/old has weights abababababab, but the baseline old.json is of "
            "runs/best with weights unknown; name that model in the policy",
        ),
        (
            {"baseline": "b/old.json"},
            {"recorded": replace(MODEL, tokenizer_sha256="ef" * 32)},
            "baseline_model runs/old is read with another tokenizer than that of the baseline "
            "old.json; name a model with the same tokenizer in the policy",
        ),
    ],
)
def test_an_old_model_that_is_refused(
    policy: dict[str, Any], facts: dict[str, Any], message: str
) -> None:
    assert refusal(policy, **facts) == message
