"""Models and case files of a run, read again; and the twins that they are judged on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attnprobe import cases
from attnprobe.core.errors import MeasureError, ModelError, ResultsError
from attnprobe.core.names import Key
from attnprobe.core.sites import Head
from attnprobe.gate import Policy, TwinRun
from attnprobe.gate.reread import check_stated, load_again, recorded_sets, reread, sets_of_run
from attnprobe.gate.twin import judge_twin, judge_twins
from attnprobe.models import LoadOptions
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, text_sha256
from attnprobe.words.heads import HeadSet
from tests.support.made_up import FakeReader
from tests.support.made_up_decisions import case, expectation
from tests.support.made_up_results import MODEL, run

FILE = """\
version: 1
suite: s
defaults: {heads: L0H0}
cases:
- id: a
  text: The dog barks .
  expect: [attends: {from: barks, to: dog, min: 0.001}]
- id: b
  model: minilm
  text: The dog barks .
  expect: [attends: {from: barks, to: dog, min: 0.999}]
- id: c
  model: big
  text: The dog barks .
  expect: [attends: {from: barks, to: dog, min: 0.001}]
- id: d
  text: The dog barks .
  expect: [attends: {from: barks, to: dog, heads: L9H0, min: 0.001}]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(act: Callable[[], object], error: type[Exception] = ResultsError) -> str:
    with pytest.raises(error) as caught:
        act()
    return str(caught.value)


def records(names: str = "abcd", file: str = "x.attn.yaml") -> dict[Key, CaseResult]:
    """The file, and records of some of its cases."""
    Path(file).write_text(FILE)
    found = [record(entry) for entry in cases.load(Path(file), file) if entry.id in names]
    return {item.key: item for item in found}


def record(entry: Any) -> CaseResult:
    stated = tuple(
        expectation(rule=each.rule.kind, arguments=dict(each.arguments))
        for each in entry.expectations
    )
    model = entry.model or "minilm"
    return case(entry.id, file=entry.mark.file, model=model, expectations=stated)


# Models -----------------------------------------------------------------------------------------


def test_a_model_is_loaded_with_the_options_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, LoadOptions]] = []

    def load_model(ref: str, options: LoadOptions) -> Any:
        asked.append((ref, options))
        return MODEL

    monkeypatch.setattr("attnprobe.models.load_model", load_model)
    assert load_again(MODEL, run()) is MODEL
    odd = replace(
        MODEL,
        tokenizer="runs/words",
        revision="c" * 40,
        dtype="float16",
        device_map="auto",
        ignored_code=("m.py",),
        source_language="de",
        target_language="en",
    )
    load_again(odd, run(environment={}))
    plain = LoadOptions()
    assert asked == [
        ("runs/best", plain),
        (
            "runs/best",
            LoadOptions(
                tokenizer="runs/words",
                revision="c" * 40,
                dtype="float16",
                device_map="auto",
                ignore_remote_code=True,
                source_language="de",
                target_language="en",
            ),
        ),
    ]


def test_a_model_that_has_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnprobe.models.load_model", lambda *_: MODEL)
    changed = replace(MODEL, weights_sha256="ef" * 32)
    message = "the weights of runs/best are not those that were judged"
    assert said(lambda: load_again(changed, run()), ModelError) == message
    words = replace(MODEL, tokenizer_sha256="ef" * 32)
    message = "the tokenizer of runs/best is not the one that the run used"
    assert said(lambda: load_again(words, run()), ModelError) == message
    own = replace(words, tokenizer="runs/words")
    message = "the tokenizer of runs/words is not the one that the run used"
    assert said(lambda: load_again(own, run()), ModelError) == message
    assert load_again(replace(MODEL, tokenizer_sha256=None), run()) is MODEL


# Head sets --------------------------------------------------------------------------------------


def test_the_head_sets_of_the_run_come_before_those_of_the_lock_file() -> None:
    ours, theirs = (HeadSet("nouns", (Head(3, number),)) for number in (1, 2))
    verbs = HeadSet("verbs", (Head(0, 0),))
    item = case("a", expectations=(expectation(), expectation(head_sets=(ours, verbs))))
    assert sets_of_run(run()) == {}
    assert sets_of_run(run(item)) == {"nouns": ours, "verbs": verbs}
    heads = {"nouns": {"heads": ["L3H2"]}, "marks": {"heads": ["L5H5"]}}
    write_json(Path("attnprobe.lock.json"), {"schema": "attnprobe/lock-1", "heads": heads})
    marks = HeadSet("marks", (Head(5, 5),))
    assert sets_of_run(run(item)) == {"nouns": ours, "verbs": verbs, "marks": marks}
    assert sets_of_run(run())["nouns"] == theirs
    other = case("b", expectations=(expectation(head_sets=(theirs,)),))
    message = "the results contradict themselves on head set 'nouns'"
    assert said(lambda: recorded_sets(run(item, other))) == message


# Case files -------------------------------------------------------------------------------------


def test_files_are_read_for_the_model_of_the_checks() -> None:
    items = records("ab")
    probe = case("p", file="test_p.py")
    (found,) = reread([*items, probe.key], root=Path(), head_sets={})
    assert [entry.id for entry in found.cases] == ["a", "b", "d"]
    assert [(key.id, key.model, entry.id) for key, entry in found.stated.items()] == [
        ("a", "minilm", "a"),
        ("b", "minilm", "b"),
    ]
    big = [key._replace(model="big") for key in items]
    (found,) = reread(big, root=Path(), head_sets={})
    assert ([entry.id for entry in found.cases], list(found.stated)) == (["a", "c", "d"], [big[0]])


def test_files_are_read_in_their_order_and_must_be_there(here: Path) -> None:
    first, second = records("a", "y.attn.yaml"), records("b")
    found = list(reread([*first, *second], root=here, head_sets={}))
    assert [key.file for file in found for key in file.stated] == ["x.attn.yaml", "y.attn.yaml"]
    Path("y.attn.yaml").unlink()
    message = "no y.attn.yaml here; run the gate in the root of the project"
    assert said(lambda: list(reread(first, root=here, head_sets={}))) == message


def test_a_file_must_state_what_the_results_are_of() -> None:
    (item,) = records("a").values()
    (entry, *_) = cases.load(Path("x.attn.yaml"), "x.attn.yaml")
    known = replace(item, text_sha256=text_sha256(entry.sample))
    for same in (item, known):
        check_stated(same, entry)
    message = "x.attn.yaml: a is not what the results are of; run again"
    stricter = replace(item.expectations[0], arguments={"from": "barks", "to": "dog", "min": 0.002})
    ignoring = replace(item.expectations[0], rule="ignores")
    for other in (
        replace(item, text_sha256="f" * 64),
        replace(item, expectations=(stricter,)),
        replace(item, expectations=(ignoring,)),
        replace(item, expectations=()),
    ):
        assert said(lambda other=other: check_stated(other, entry)) == message
    for gone in (item, known):
        assert said(lambda gone=gone: check_stated(gone, None)) == message


# Twins ------------------------------------------------------------------------------------------


def test_a_twin_is_judged_by_the_bounds_alone() -> None:
    items = records("abd")
    found = judge_twin(items, FakeReader(), seed=7, root=Path(), head_sets={})
    a, b, d = items
    why = "layer 9 has no attention at the encoder site; layers with attention: 0 to 2"
    assert found == TwinRun("minilm", 7, {a: True, b: False}, {d: why})


def test_errors_of_a_check_on_the_twin_are_joined() -> None:
    text = FILE.replace("min: 0.001}]", "min: 0.001}, ignores: {from: barks, to: dog, max: 0.9}]")
    Path("x.attn.yaml").write_text(text)
    items = [record(entry) for entry in cases.load(Path("x.attn.yaml"), "x.attn.yaml")][:1]
    bad = FakeReader([("The dog barks .", 0)])
    found = judge_twin({i.key: i for i in items}, bad, seed=0, root=Path(), head_sets={})
    why = "L0H0 has weights that are no numbers"
    assert (list(found.unmeasured.values()), found.met) == ([f"{why}; {why}"], {})


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """Twins made up by hand; which models and seeds were asked for."""
    asked: list[tuple[Any, int]] = []

    def random_twin(model: Any, *, seed: int) -> FakeReader:
        asked.append((model.ref, seed))
        if model.ref == "runs/bad":
            raise MeasureError("no twin")
        return FakeReader()

    monkeypatch.setattr("attnprobe.models.twin.random_twin", random_twin)
    monkeypatch.setattr(
        "attnprobe.models.load_model", lambda ref, _: SimpleNamespace(**vars(MODEL) | {"ref": ref})
    )
    return asked


def test_each_model_has_a_twin_of_its_own(twin: list[tuple[Any, int]]) -> None:
    items = [*records("ab").values()]
    bad = [replace(item, model="bad") for item in items if item.id == "a"]
    models = (
        replace(MODEL, name="aged"),
        MODEL,
        replace(MODEL, name="bad", ref="runs/bad"),
    )
    found = run(*items, *bad, models=models)
    control = Policy(control="random-init", control_seed=7)
    assert judge_twins(found, Policy()) == []
    keys = [item.key for item in items]
    assert judge_twins(found, control) == [
        TwinRun("minilm", 7, {keys[0]: True, keys[1]: False}),
        TwinRun("bad", 7, fault="no twin"),
    ]
    assert twin == [("runs/best", 7), ("runs/bad", 7)]


def test_what_cannot_block_needs_no_twin(twin: list[tuple[Any, int]]) -> None:
    items = [replace(item, severity="advisory") for item in records("a").values()]
    found = run(*items)
    control = Policy(control="random-init")
    assert (judge_twins(found, control), twin) == ([], [])
    both = control.model_copy(update={"blocking": ("blocking", "advisory")})
    assert len(judge_twins(found, both)) == 1
    # It could block in the baseline, and then still does.
    against = control.model_copy(update={"baseline": Path("b.json")})
    assert len(judge_twins(found, against)) == 1
    assert twin == [("runs/best", 0)] * 2
