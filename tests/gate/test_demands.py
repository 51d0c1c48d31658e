"""What a policy demands: models and suites that must run, least numbers, pass rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.gate import Policy
from attnprobe.results.records import read_results
from tests.support.made_up_decisions import ON, case, decide, expectation, kinds, many
from tests.support.made_up_results import MODEL, run, said

# Models that were given

NEW = replace(MODEL, name="new")


def test_a_model_that_was_given_and_not_judged_is_not_released() -> None:
    found = run(*many(3), given=("minilm", "new"))
    decision = decide(found)
    assert (decision.exit_code, kinds(decision)[0]) == (2, "nothing judged")
    assert "model new was given, and no attention check" in decision.sentence
    for outcome, severity in (("skipped", "blocking"), ("passed", "advisory")):
        other = case("c0", outcome, model="new", severity=severity)
        assert decide(run(*many(3), other, models=(MODEL, NEW))).exit_code == 2
    judged = run(*many(3), *many(1, model="new"), models=(MODEL, NEW), given=("minilm", "new"))
    assert decide(judged).exit_code == 0


def test_suites_and_numbers_count_on_every_model_that_was_given() -> None:
    items = [*many(3), *(replace(c, suite="agreement") for c in many(2, model="new"))]
    found = run(*items, models=(MODEL, NEW), given=("minilm", "new"))
    decision = decide(found, Policy(suites=("agreement",)))
    assert kinds(decision) == ["too few"]
    assert "in suite agreement 0 attention checks of model minilm judged" in decision.sentence
    decision = decide(found, Policy(least=3))
    assert decision.reasons[0].text == (
        "2 attention checks of model new judged, the policy demands 3"
    )
    # Its cases name their model, so it cannot run on the other.
    bound = replace(found, bound=("agreement",))
    assert decide(bound, Policy(suites=("agreement",))).exit_code == 0


def test_a_run_tells_its_models_and_the_suites_that_name_theirs(
    probe: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    for suite, model in (("free", ""), ("own", ", model: b")):
        (pytester.path / f"{suite}.attn.yaml").write_text(
            f"version: 1\nsuite: {suite}\ncases:\n- {{id: c, text: The dog barks.{model}, "
            "expect: [attends: {from: barks, to: dog, max: 0.999, heads: L0H0}]}\n"
        )
    probe("--attn-json=r.json", "--attn-model=a=x", "--attn-model=b=x", model=None)
    found = read_results(pytester.path / "r.json")
    assert (found.given, found.bound) == (("a", "b"), ("own",))
    # What the ini file binds was not given for this run.
    pytester.makeini("[pytest]\nattn_model =\n  a=x\n  b=x\n")
    probe("--attn-json=r.json", "free.attn.yaml", model=None)
    found = read_results(pytester.path / "r.json")
    assert (found.given, [item.model for item in found.items]) == ((), ["a"])


# Amounts and rates


def test_suites_that_must_run() -> None:
    decision = decide(run(*many(3)), Policy(suites=("coreference", "coreferences", "agreement")))
    assert (decision.exit_code, kinds(decision)) == (2, ["missing suite"] * 2)
    assert decision.reasons[0].details == ("known: coreference",)
    assert decision.reasons[1].details == ("did you mean 'coreference'?",)
    skipped = run(*many(3), case("x", "skipped", suite="agreement"))
    assert decide(skipped, Policy(suites=("agreement",))).exit_code == 2


def test_least_numbers() -> None:
    policy = Policy.model_validate({"least": 5, "suite": {"coreference": {"least": 4}}})
    assert decide(run(*many(5)), policy).exit_code == 0
    decision = decide(run(*many(3), case("gap", "xfailed"), case("later", "skipped")), policy)
    assert (decision.exit_code, kinds(decision)) == (2, ["too few", "too few"])
    assert decision.reasons[0].text == (
        "3 attention checks of model minilm judged, the policy demands 5"
    )
    assert "in suite coreference 3 attention checks of model minilm" in decision.reasons[1].text


def test_a_suite_must_have_its_number_on_each_model() -> None:
    policy = Policy.model_validate({"suite": {"coreference": {"least": 4}}})
    other = [replace(c, model="new") for c in many(3)]
    both = run(*many(4), *other, models=(MODEL, replace(MODEL, name="new")))
    assert "of model new" in decide(both, policy).sentence


def test_the_number_of_skipped_checks_can_be_bounded() -> None:
    found = run(*many(3), case("later", "skipped"))
    assert decide(found, Policy(skipped=1)).exit_code == 0
    assert kinds(decide(found, Policy(skipped=0))) == ["skipped"]


def wilson_low(hits: int, count: int) -> float:
    """The lower end of Wilson's interval, from the textbook's formula."""
    z = 1.959963984540054
    centre = hits / count + z * z / (2 * count)
    spread = z * math.sqrt(hits / count * (1 - hits / count) / count + z * z / (4 * count * count))
    return (centre - spread) / (1 + z * z / count)


@settings(deadline=None)  # scipy is imported in the first example
@given(st.integers(1, 120), st.integers(0, 120), st.floats(0.5, 0.97))
def test_a_rate_is_judged_by_the_lower_end_of_its_interval(
    count: int, failed: int, rate: float
) -> None:
    failed = min(failed, count)
    low = wilson_low(count - failed, count)
    assert wilson_low(0, count) < 1e-9
    if abs(low - rate) < 1e-9:
        return
    decision = decide(run(*many(count, failed)), Policy(pass_rate=rate))
    if wilson_low(count, count) < rate - 1e-9:
        assert kinds(decision) == ["too few"]
    elif low >= rate:
        assert decision.exit_code == 0
    else:
        assert kinds(decision) == ["pass rate"]


def test_a_rate_says_how_many_may_fail() -> None:
    policy = Policy.model_validate({"suite": {"coreference": {"pass_rate": 0.7}}})
    decision = decide(run(*many(40, 9)), policy)
    assert wilson_low(34, 40) >= 0.7 > wilson_low(33, 40)
    assert said(decision) == (
        "Release blocked: in suite coreference 9 of 40 attention checks of model minilm do not "
        "hold (allowed to fail: 6)."
    )
    within = decide(run(*many(40, 6)), policy)
    assert within.exit_code == 0
    assert said(within) == (
        f"Release may go: 34 of 40 attention checks of 1 suite hold (6 may fail) on {ON}, "
        "none of them by chance."
    )
    told = [note for note in within.notes if note.startswith("allowed to fail: ")]
    assert [note.partition("yaml:7: ")[2].split()[0] for note in told] == [
        f"c{number}" for number in range(6)
    ]
    assert decide(run(*many(40, 7)), policy).exit_code == 1


def test_a_rate_over_all_does_not_excuse_a_suite_that_fails_whole() -> None:
    lost = [replace(c, suite="agreement", id=f"a{c.id}") for c in many(2, 2)]
    found = run(*many(60), *lost)
    assert wilson_low(60, 62) > 0.8
    decision = decide(found, Policy(pass_rate=0.8, suites=("agreement",)))
    assert (decision.exit_code, kinds(decision)) == (1, ["failed"])
    assert decision.sentence.startswith("Release blocked: in suite agreement no attention check")
    assert decide(found, Policy(pass_rate=0.8)).exit_code == 0


def test_a_rate_does_not_excuse_chance_errors_or_other_suites() -> None:
    policy = Policy.model_validate({"suite": {"coreference": {"pass_rate": 0.7}}})
    vacuous = case("v", expectations=(expectation("vacuous", chance=None),))
    assert kinds(decide(run(*many(40), vacuous), policy)) == ["vacuous"]
    assert decide(run(*many(40), case("e", "error")), policy).exit_code == 2
    other = case("o", "failed", suite="agreement")
    assert kinds(decide(run(*many(40), other), policy)) == ["failed"]
