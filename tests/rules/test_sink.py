"""`sink` against plain sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import HeadGrid
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.models import Model
from attnprobe.rules import parse_rule
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up import FakeReader, distributions, encoding, rows, with_site

READ = encoding("The keys are old .")  # 0 [CLS] ... 6 [SEP]
SEEDS = st.integers(0, 2**32 - 1)


def judge(read: Encoding = READ, weights: dict[int, Floats] | int = 0, **arguments: Any) -> Verdict:
    """The verdict of the rule on weights, or on weights drawn with a seed."""
    if isinstance(weights, int):
        weights = distributions(read, weights)
    rule = parse_rule("sink", {"heads": "L0H0", "max": 0.5, **arguments})
    (need,) = rule.needs(read)
    return rule.judge([rows(read, need, weights)])


def learned(weights: dict[int, Floats], share: float) -> dict[int, Floats]:
    """The same weights where a learned sink takes a share of every row."""
    return {layer: matrix * np.float32(1 - share) for layer, matrix in weights.items()}


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans(), st.floats(0, 0.5))
def test_each_kind_of_sink_by_sums(seed: int, causal: bool, share: float) -> None:
    read = with_site(
        encoding("The keys are old .", causal=causal), learned_sinks=frozenset(range(3))
    )
    weights = learned(distributions(read, seed), share)
    matrix = weights[0][0].astype(float)
    counted = range(1, 7) if causal else range(7)

    def mean(columns: list[int]) -> float:
        return sum(matrix[t, s] for t in counted for s in columns) / len(counted)

    expected = {
        "special": mean([0, 6]),
        "first": mean([0]),
        "learned": share,
        "all": 1 - mean([1, 2, 3, 4, 5]),
    }
    for into, value in expected.items():
        assert judge(read, weights, into=into).observed == pytest.approx(value, abs=1e-5)
    assert judge(read, weights).observed == pytest.approx(expected["all"], abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_first_word_of_a_causal_text_is_a_sink(seed: int) -> None:
    read = encoding("The keys are old .", site="decoder", causal=True, ends=False)
    weights = distributions(read, seed)
    expected = np.mean([float(weights[0][0, t, 0]) for t in range(1, 5)])
    assert judge(read, weights).observed == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_row_of_one_word(seed: int) -> None:
    weights = distributions(READ, seed)
    verdict = judge(weights=weights, **{"from": "keys"})
    assert verdict.observed == pytest.approx(
        float(weights[0][0, 2, 0] + weights[0][0, 2, 6]), abs=1e-6
    )
    assert verdict.sink == pytest.approx(verdict.observed, abs=1e-6)


def test_it_can_hold_and_can_fail() -> None:
    parked = np.tile(np.eye(7, dtype=np.float32)[0], (2, 7, 1))
    awake = np.tile(np.eye(7, dtype=np.float32)[2], (2, 7, 1))
    for into in ("all", "special", "first"):
        for weights, high in ((parked, True), (awake, False)):
            layers = dict.fromkeys(range(3), weights)
            least = judge(weights=layers, into=into, max=None, min=0.5).outcome
            most = judge(weights=layers, into=into, max=0.5).outcome
            assert (least, most) == (("passed", "failed") if high else ("failed", "passed"))
    layers = learned(dict.fromkeys(range(3), awake), 0.75)
    read = with_site(READ, learned_sinks=frozenset({0}))
    assert judge(read, layers, into="learned", max=0.5).outcome == "failed"
    assert judge(read, layers, into="learned", max=0.9).outcome == "passed"


def test_the_chart_holds_all_heads_of_the_layers() -> None:
    weights = distributions(READ, 2)
    verdict = judge(weights=weights, heads=["L1H0"])
    (grid,) = verdict.charts
    assert isinstance(grid, HeadGrid)
    assert (grid.measure, grid.layers) == ("sink mass", (1,))
    np.testing.assert_allclose(
        grid.scores, [(weights[1][..., 0] + weights[1][..., 6]).mean(axis=1)], atol=1e-6
    )


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"max": None}, "sink demands nothing; give min: or max:"),
        ({"max": 1.0}, "less than 1"),
        ({"into": "last"}, "'all', 'special', 'first' or 'learned'"),
    ],
)
def test_arguments_that_do_not_fit(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        judge(**stated)
    assert message in str(caught.value)


def test_a_row_that_sees_only_the_first_token_decides_nothing() -> None:
    read = encoding("The keys are old", site="decoder", causal=True, ends=False)
    with pytest.raises(SelectorError, match="sink of The decides nothing"):
        judge(read, **{"from": "The"})


@pytest.mark.parametrize("bound", [{"max": 0.5}, {"max": None, "min": 0.5}])
def test_a_sink_that_is_not_there_decides_nothing(bound: dict[str, Any]) -> None:
    plain = encoding("The keys are old .", site="decoder", causal=True, ends=False)
    with pytest.raises(SelectorError, match="no row sees a special token; write into: first"):
        judge(plain, into="special", **bound)
    with pytest.raises(SelectorError, match="no sink is learned here"):
        judge(plain, into="learned", **bound)
    some = with_site(plain, learned_sinks=frozenset({1}))
    assert judge(some, into="learned", heads="L1H0", **bound).heads_tried == 1
    with pytest.raises(SelectorError, match=r"no sink is learned here \(in layer 0\)"):
        judge(some, into="learned", **bound)


def test_learned_sinks_are_found_in_the_network() -> None:
    sinks = Model.of(tiny_network("gpt_oss"), tiny_tokenizer(), name="tiny").sites["decoder"]
    assert sinks.learned_sinks == set(sinks.layers)
    plain = Model.of(tiny_network("mistral"), tiny_tokenizer(), name="tiny").sites["decoder"]
    assert not plain.learned_sinks


def test_a_sink_behind_the_window_decides_nothing_p21() -> None:
    read = with_site(READ, windows={0: 3})
    with pytest.raises(SelectorError, match=r"no row sees the first token \(in layer 0, with a"):
        judge(read, into="first", **{"from": "are"})
    assert judge(read, into="first", heads="L1H0", **{"from": "are"}).head == "L1H0"


def test_no_sink_of_what_is_no_number_p19() -> None:
    weights = distributions(READ, 0)
    weights[0][0, 3, 3] = np.nan
    with pytest.raises(MeasureError, match="L0H0 has attention weights that are no numbers"):
        judge(weights=weights)


def test_the_object_gives_what_the_rule_gives() -> None:
    attention = Attention(FakeReader(), Sample("The keys are old"))
    for into in ("all", "special", "first"):
        verdict = attention.judge("sink", heads="L1H1", max=0.5, into=into)
        assert attention.sink(into)[1, 1] == pytest.approx(verdict.observed, abs=1e-6)


def test_heads_of_the_demo_model_rest_on_the_first_token(minilm: Model) -> None:
    attention = Attention(minilm, Sample("Nobody could explain where the money had gone."))
    assert attention.sink()[4, 5] > 0.7
    assert attention.sink("first")[4, 5] > 0.6
    assert attention.sink()[0, 2] < 0.25
