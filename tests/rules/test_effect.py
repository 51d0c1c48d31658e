"""The rule `effect`: which readouts it asks for, and what it makes of their numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from attnprobe.cases import Case, parse, schema, yamltext
from attnprobe.core.errors import CaseErrors, MeasureError, SelectorError
from attnprobe.core.needs import Ablation, AnswerScore, ClassScore, Need, Prediction
from attnprobe.core.sites import Head
from attnprobe.core.texts import Encoding, Sample, Span
from attnprobe.core.verdicts import Verdict
from attnprobe.rules import parse_rule
from attnprobe.rules.base import Rule
from attnprobe.rules.confirm import Confirm
from attnprobe.rules.effect import random_sets
from attnprobe.run.explain import explain
from attnprobe.run.runner import Runner
from tests.support.made_up import FakeReader, encoding, rows
from tests.support.tiny_lm import model

TEXT = "The keys to it are old"
LAYERS = {0: 4, 1: 4, 2: 4}


def rule(**arguments: Any) -> Rule:
    return parse_rule("effect", {"good": "are", "bad": "is", "heads": "L1H2", **arguments})


def read(text: str = TEXT) -> Encoding:
    return encoding(text, heads=LAYERS, site="decoder", causal=True, ends=False)


def judge(stated: Rule, intact: float, ablated: float, draws: Sequence[float]) -> Verdict:
    needs = stated.needs(read())
    assert isinstance(needs[0], Need)
    weights = FakeReader().weights(read())
    return stated.judge([rows(read(), needs[0], weights), intact, ablated, *draws])


# Random heads -------------------------------------------------------------------------------------


def test_random_sets_have_as_many_heads_of_each_layer_and_differ() -> None:
    heads = (Head(1, 2), Head(1, 0), Head(2, 3))
    found = random_sets(heads, {1: 9, 2: 9}, draws=50, seed=3)
    assert len(set(found)) == 50
    assert tuple(sorted(heads)) not in found
    for one in found:
        assert [head.layer for head in one] == [1, 1, 2]
        assert len(set(one)) == 3
        assert all(0 <= head.head < 9 for head in one)
    assert found == random_sets(heads, {1: 9, 2: 9}, draws=50, seed=3)
    assert found != random_sets(heads, {1: 9, 2: 9}, draws=50, seed=4)


def test_where_there_are_few_other_sets_they_are_all_taken() -> None:
    found = random_sets((Head(0, 0), Head(1, 1)), {0: 3, 1: 2}, draws=20, seed=0)
    every = set(itertools.product([Head(0, n) for n in range(3)], [Head(1, n) for n in range(2)]))
    assert set(found) == every - {(Head(0, 0), Head(1, 1))}
    assert random_sets((Head(0, 0), Head(0, 1)), {0: 2}, draws=20, seed=0) == ()


# What it asks for ---------------------------------------------------------------------------------


def test_it_asks_for_the_intact_model_the_heads_and_random_heads() -> None:
    need, intact, ablated, *draws = rule(min=1).needs(read())
    assert need == Need(Sample(TEXT), "decoder", (1,), (3,))  # the row before the word
    span = Span(TEXT.index("are"), TEXT.index("are") + 3)
    assert intact == Prediction(Sample(TEXT), span, "is")
    assert ablated == Prediction(Sample(TEXT), span, "is", Ablation("decoder", (Head(1, 2),)))
    assert {
        one.ablation.heads for one in draws if isinstance(one, Prediction) and one.ablation
    } == {
        (Head(1, 0),),
        (Head(1, 1),),
        (Head(1, 3),),
    }


def classifying(**arguments: Any) -> Rule:
    return parse_rule("effect", {"heads": "L1H2", "min": 1, **arguments})


def test_it_asks_a_classifier_for_a_class_or_an_answer() -> None:
    span = Span(TEXT.index("are"), TEXT.index("are") + 3)
    of_text = classifying(**{"class": "old", "instead": "new"})
    need, intact, ablated, *_ = of_text.needs(read())
    assert isinstance(need, Need)
    assert need.rows == tuple(range(len(read().source)))  # no word decides
    assert intact == ClassScore(Sample(TEXT), "old", None, "new")
    assert ablated == ClassScore(
        Sample(TEXT), "old", None, "new", Ablation("decoder", (Head(1, 2),))
    )
    assert of_text.relation() == "on class old over new"
    of_word = classifying(**{"class": "VERB", "at": "are"})
    _, intact, *_ = of_word.needs(read())
    assert intact == ClassScore(Sample(TEXT), "VERB", span)
    assert of_word.relation() == "on class VERB of are"
    _, intact, *_ = classifying(answer="are").needs(read())
    assert intact == AnswerScore(Sample(TEXT), span)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"class": "old", "good": "are"}, "give words, good: and bad:, or a class:, not both"),
        ({"class": "old", "answer": "are"}, "give a class:, or an answer:, not both"),
        ({"class": "old", "positive": "x"}, "positive: and negative:, or a class:, not both"),
        ({"instead": "old"}, "instead: and at: need class:"),
        ({"good": "are", "at": "are"}, "instead: and at: need class:"),
        ({"class": "old", "instead": "old"}, "class: and instead: are the same class"),
        ({"class": "old", "pool": "cls"}, "negative: and pool: need positive:"),
    ],
)
def test_one_readout_is_named(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        classifying(**arguments)


def test_mean_is_asked_for_by_name() -> None:
    asked = rule(how="mean", min=1, heads=["L1H0", "L2H3"], draws=3).needs(read())
    hows = [one.ablation.how for one in asked if isinstance(one, Prediction) and one.ablation]
    assert hows == ["mean"] * 4


def test_all_heads_of_a_layer_leave_nothing_to_compare_with() -> None:
    with pytest.raises(SelectorError, match="0 other sets of as many heads"):
        rule(heads="L1", min=1).needs(read())
    with pytest.raises(SelectorError, match="3 other sets of as many heads"):
        rule(top=4).needs(read())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "effect demands nothing; give min:, max: or top:"),
        ({"min": 2, "max": 1}, "min: must be below max:"),
        ({"min": 0}, "greater than 0"),
        ({"min": 1, "heads": "mean"}, "ablates all of its heads together"),
        ({"min": 1, "heads": {"in": "L1", "how": "best"}}, "ablates all of its heads together"),
        ({"top": 5, "draws": 4}, "cannot fail"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        rule(**arguments)


def test_a_decoder_needs_the_word() -> None:
    with pytest.raises(SelectorError, match="write good:"):
        parse_rule("effect", {"heads": "L1H2", "min": 1}).needs(read())


# What it makes of the numbers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "ablated", "change"),
    [
        ("lowers", 1.0, 2.5),
        ("lowers", 4.0, -0.5),
        ("raises", 4.0, 0.5),
        ("either", 4.0, 0.5),
        ("either", 1.0, 2.5),
    ],
)
def test_the_change_is_told_in_its_direction(direction: str, ablated: float, change: float) -> None:
    verdict = judge(rule(direction=direction, min=0.7), 3.5, ablated, [3.0, 3.5, 4.5])
    assert verdict.observed == change
    assert verdict.outcome == ("passed" if change > 0.7 else "failed")
    assert verdict.control is not None
    sign = {"lowers": [0.5, 0.0, -1.0], "raises": [-0.5, 0.0, 1.0], "either": [0.5, 0.0, 1.0]}
    draws = sign[direction]
    assert verdict.control.draws == tuple(draws)
    assert verdict.control.mean == pytest.approx(np.mean(draws))
    assert verdict.control.spread == pytest.approx(np.std(draws))
    assert verdict.control.as_much == sum(draw >= change for draw in draws)


@pytest.mark.parametrize(
    ("bounds", "ablated", "outcome"),
    [
        ({"min": 1.0}, 1.9, "passed"),
        ({"min": 1.0}, 2.1, "failed"),
        ({"min": 1.0}, 2.0005, "borderline"),
        ({"max": 0.5}, 2.6, "passed"),
        ({"max": 0.5}, 2.4, "failed"),
        ({"top": 1}, 1.9, "passed"),
        ({"top": 1}, 2.2, "failed"),
        ({"top": 1}, 2.0, "failed"),  # a tie: a draw changes it as much
        ({"top": 2}, 2.0, "passed"),
        ({"min": 0.5, "top": 1}, 2.2, "failed"),
    ],
)
def test_bounds(bounds: dict[str, float], ablated: float, outcome: str) -> None:
    assert judge(rule(**bounds), 3.0, ablated, [2.0, 3.0, 3.5]).outcome == outcome


def test_the_rank_counts_the_draws_that_change_it_as_much() -> None:
    verdict = judge(rule(top=1), 3.0, 2.5, [1.0, 2.0, 2.9])
    assert (verdict.observed, verdict.relation, verdict.demanded) == (3, "<=", 1)
    assert verdict.measure == "rank of the fall among random heads"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_readout_that_is_no_number_is_an_error_p19(bad: float) -> None:
    for values in ([bad, 1, 1, 1, 1], [1, bad, 1, 1, 1], [1, 1, 1, bad, 1]):
        with pytest.raises(MeasureError, match="no number"):
            judge(rule(max=1), values[0], values[1], values[2:])


# From a case file ---------------------------------------------------------------------------------


def suite(expect: str, *texts: str) -> tuple[Case, ...]:
    written = "".join(
        f"  - id: c{number}\n    text: {text}\n    expect: [{expect}]\n"
        for number, text in enumerate(texts)
    )
    head = "version: 1\nsuite: s\ndefaults: {heads: L1H1}\ncases:\n"
    return parse(yamltext.loads((head + written).encode(), "a.attn.yaml"))


def test_a_case_is_judged_by_the_models_own_prediction() -> None:
    (case,) = suite("effect: {good: are, bad: was, min: 0.001, direction: either}", TEXT)
    found = model("llama")
    (finding,) = Runner(found, [case]).judge(case)
    assert finding.verdict is not None
    assert finding.verdict.control is not None
    span = Span(TEXT.index("are"), TEXT.index("are") + 3)
    ablation = Ablation("decoder", (Head(1, 1),))
    intact, ablated = found.read_out(
        [Prediction(Sample(TEXT), span, "was", one) for one in (None, ablation)]
    )
    assert finding.verdict.control.intact == pytest.approx(intact, abs=1e-5)
    assert finding.verdict.observed == pytest.approx(abs(intact - ablated), abs=1e-5)
    assert str(finding.verdict.control) in explain(case, finding)
    assert "of 3 draws as much" in explain(case, finding)


def test_pictures_and_rows_come_along() -> None:
    effect = "effect: {good: are, bad: was, min: 0.001}"
    (case,) = suite(f"{{{effect}}}, {{attends: {{from: are, to: keys, max: 0.9}}}}", TEXT)
    findings = Runner(model("llama"), [case], pictures=True).judge(case)
    assert [finding.error for finding in findings] == [None, None]
    for finding in findings:
        assert finding.matrix is not None
        assert not np.isnan(finding.matrix).any()


def test_a_mean_is_over_the_texts_of_the_file() -> None:
    expect = "effect: {good: are, bad: was, how: mean, min: 0.001, direction: either}"
    texts = (TEXT, "The cats are here and they are old".replace("they are", "they were"))
    first, second = suite(expect, *texts)
    (together,) = Runner(model("llama"), [first, second]).judge(first)
    (selected,) = Runner(model("llama"), [first]).judge(first)
    assert together.verdict is not None
    assert selected.verdict is not None
    assert together.verdict.observed == pytest.approx(selected.verdict.observed, abs=1e-5)
    reference = tuple(map(Sample, texts))
    span = Span(TEXT.index("are"), TEXT.index("are") + 3)
    heads = (Head(1, 1),)
    intact, ablated = model("llama").read_out(
        [
            Prediction(Sample(TEXT), span, "was"),
            Prediction(Sample(TEXT), span, "was", Ablation("decoder", heads, "mean", reference)),
        ]
    )
    assert together.verdict.observed == pytest.approx(abs(intact - ablated), abs=1e-5)


def test_a_word_that_is_not_there_is_found_before_any_run() -> None:
    with pytest.raises(CaseErrors, match="good: "):
        suite("effect: {good: were, bad: was, min: 1}", TEXT)


def test_on_the_attention_object() -> None:
    attention = model("llama").attention(TEXT)
    verdict = attention.judge("effect", good="are", bad="was", heads="L1H1", max=50)
    assert verdict.outcome == "passed"


def test_a_translation_is_read_out() -> None:
    attention = model("marian").attention("The keys are old", target="les clefs sont", site="cross")
    one = attention.judge("effect", good="sont", heads="L1H1", min=0.0001, direction="either")
    whole = attention.judge("effect", heads="L1H1", min=0.0001, direction="either")
    assert one.control is not None
    assert whole.control is not None
    assert whole.control.intact < one.control.intact < 0


# Confirming a verdict on attention ----------------------------------------------------------------


def attending(confirm: object = "effect", **arguments: Any) -> Rule:
    given = {"from": {"predicts": "are"}, "to": "keys", "heads": "L1H2", "min": 0.2}
    return parse_rule("attends", {**given, "confirm": confirm, **arguments})


def confirmed(stated: Rule, weight: float, intact: float, ablated: float, draw: float) -> Verdict:
    need, *readouts = stated.needs(read())
    assert isinstance(need, Need)
    weights = FakeReader().weights(read())
    for matrix in weights.values():
        matrix[...] = 0
        matrix[..., 1] = weight
        matrix[..., 2] = 1 - weight
    draws = [draw] * (len(readouts) - 2)
    return stated.judge([rows(read(), need, weights), intact, ablated, *draws])


def test_a_rule_to_be_confirmed_asks_for_the_readouts_of_effect() -> None:
    bad = {"effect": {"bad": "is", "draws": 30, "seed": 4, "how": "mean"}}
    _, *readouts = attending(bad).needs(read())
    effect = rule(draws=30, seed=4, how="mean", min=1)
    _, *expected = effect.needs(read())
    assert readouts == expected
    # The word that the row predicts is read out; without `predicts`, the word of the row.
    _, intact, *_ = attending(**{"from": "are"}).needs(read())
    assert isinstance(intact, Prediction)
    assert TEXT[slice(*intact.span or ())] == "are"


@pytest.mark.parametrize(
    ("weight", "ablated", "draw", "outcome", "told"),
    [
        (0.5, 1.0, 2.9, "passed", "attends and matters"),
        (0.5, 2.8, 1.0, "passed", "attends, but ablation changes nothing that random heads would"),
        (0.5, 3.5, 3.6, "passed", "attends, but ablation changes nothing"),
        (0.1, 1.0, 2.9, "failed", "does not attend, though ablation changes the prediction"),
        (0.1, 2.9, 2.9, "failed", "does not attend"),
    ],
)
def test_what_ablation_says_stands_beside_the_verdict(
    weight: float, ablated: float, draw: float, outcome: str, told: str
) -> None:
    verdict = confirmed(attending(), weight, 3.0, ablated, draw)
    assert verdict.outcome == outcome
    assert verdict.confirmed is not None
    assert verdict.confirmed.startswith(told)
    assert verdict.control is not None
    assert verdict.control.change == 3.0 - ablated
    required = confirmed(attending({"effect": {"required": True}}), weight, 3.0, ablated, draw)
    fails = outcome == "failed" or "nothing" in told
    assert required.outcome == ("failed" if fails else "passed")
    if required.measure != verdict.measure:
        assert required.bounds[1:] == verdict.bounds
    if fails and outcome == "passed" and ablated < 3.0:
        assert (required.measure, required.relation) == (
            "rank of the fall among random heads",
            "<=",
        )
        assert required.observed > required.demanded == 1
    elif fails and outcome == "passed":
        assert (required.measure, required.relation, required.demanded) == (
            "fall of the readout (nats)",
            ">",
            0,
        )
        assert required.observed == 3.0 - ablated <= 0


def test_a_row_that_does_not_predict_the_word_is_told_so() -> None:
    own = confirmed(attending(**{"from": "are"}), 0.5, 3.0, 3.0, 2.0)
    assert own.confirmed is not None
    assert "this row does not predict the word" in own.confirmed
    ahead = confirmed(attending(), 0.5, 3.0, 3.0, 2.0)
    assert ahead.confirmed is not None
    assert "this row" not in ahead.confirmed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confirm": "efect"}, "confirm takes effect"),
        ({"confirm": {"effect": {"draw": 3}}}, "draw"),
        ({"confirm": {"effect": {}, "other": 1}}, "confirm takes effect"),
        ({"heads": "any"}, "name them, without any, all or mean"),
    ],
)
def test_what_cannot_confirm_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        attending(**arguments)


def test_the_editor_knows_how_to_confirm() -> None:
    effect = schema()["definitions"]["attends"]["properties"]["confirm"]["anyOf"][1]
    assert set(effect["properties"]["effect"]["properties"]) == {
        field.alias or name for name, field in Confirm.model_fields.items()
    }
