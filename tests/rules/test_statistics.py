"""`entropy` and `distance` against scipy and plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import entropy as scipy_entropy

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Curves, HeadGrid
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.models import Model
from attnprobe.rules import parse_rule
from attnprobe.rules.statistics import entropy, keys_holding
from tests.support.made_up import FakeReader, distributions, encoding, rows

# Tokens:  0 [CLS]  1 The  2 ani  3 ##mals  4 slept  5 near  6 the  7 riv  8 ##er  9 .  10 [SEP]
TEXT = "The ani|mals slept near the riv|er ."
READ = encoding(TEXT)
GROUPS = [[0], [1], [2, 3], [4], [5], [6], [7, 8], [9], [10]]
SEEDS = st.integers(0, 2**32 - 1)
UNITS = st.sampled_from(["tokens", "words"])


def judge(
    kind: str, read: Encoding = READ, weights: dict[int, Floats] | int = 0, **arguments: Any
) -> Verdict:
    """The verdict of a rule on weights, or on weights drawn with a seed."""
    if isinstance(weights, int):
        weights = distributions(read, weights)
    rule = parse_rule(kind, {"heads": "L0H0", "max": 0.5, **arguments})
    (need,) = rule.needs(read)
    return rule.judge([rows(read, need, weights)])


def units(matrix: Floats, unit: str) -> list[list[float]]:
    """The matrix by token or by word, summed and averaged cell by cell."""
    groups = GROUPS if unit == "words" else [[n] for n in range(len(matrix))]
    return [
        [sum(float(matrix[t, s]) for t in row for s in column) / len(row) for column in groups]
        for row in groups
    ]


def flat(read: Encoding = READ) -> dict[int, Floats]:
    matrix = np.full((2, 11, 11), 1 / 11, np.float32)
    return dict.fromkeys(range(3), matrix)


def on_itself() -> dict[int, Floats]:
    return {layer: np.stack([np.eye(11, dtype=np.float32)] * 2) for layer in range(3)}


@settings(max_examples=40, deadline=None)
@given(SEEDS, UNITS, st.booleans(), st.booleans())
def test_entropy_is_scipys(seed: int, unit: str, normalised: bool, causal: bool) -> None:
    read = encoding(TEXT, causal=causal)
    weights = distributions(read, seed)
    expected = []
    for place, row in enumerate(units(weights[0][1], unit)):
        count = place + 1 if causal else len(row)
        if normalised and count == 1:
            continue
        nats = float(scipy_entropy(row))
        expected.append(nats / math.log(count) if normalised else nats)
    verdict = judge("entropy", read, weights, heads="L0H1", unit=unit, normalised=normalised)
    assert verdict.observed == pytest.approx(float(np.mean(expected)), abs=1e-5)
    assert verdict.measure == ("normalised entropy" if normalised else "entropy (nats)")


def test_both_bounds_are_told() -> None:
    nats = float(np.mean([scipy_entropy(row) for row in distributions(READ, 0)[0][0]]))
    verdict = judge("entropy", min=nats + 0.05, max=nats + 0.1)
    told = [(one.relation, one.outcome) for one in verdict.bounds]
    assert told == [(">=", "failed"), ("<=", "passed")]
    assert verdict.bounds[1].observed == pytest.approx(nats, abs=1e-5)
    assert verdict.bounds[1].demanded == nats + 0.1


@settings(max_examples=40, deadline=None)
@given(SEEDS, UNITS, st.booleans(), st.booleans())
def test_distance_by_loops(seed: int, unit: str, normalised: bool, causal: bool) -> None:
    read = encoding(TEXT, causal=causal)
    weights = distributions(read, seed)
    expected = []
    for t, row in enumerate(units(weights[0][1], unit)):
        mean = sum(a * abs(t - s) for s, a in enumerate(row))
        largest = t if causal else max(t, len(row) - 1 - t)
        if normalised and largest == 0:
            continue
        expected.append(mean / largest if normalised else mean)
    verdict = judge("distance", read, weights, heads="L0H1", unit=unit, normalised=normalised)
    assert verdict.observed == pytest.approx(float(np.mean(expected)), abs=1e-5)
    assert verdict.measure == ("normalised distance" if normalised else f"distance ({unit})")


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_rows_of_one_word(seed: int) -> None:
    weights = distributions(READ, seed)
    matrix = weights[0][0].astype(float)
    by_token = judge("entropy", weights=weights, **{"from": "animals"})
    assert by_token.observed == pytest.approx(
        (scipy_entropy(matrix[2]) + scipy_entropy(matrix[3])) / 2, abs=1e-5
    )
    assert by_token.picture is not None
    assert by_token.picture.rows == (2, 3)
    by_word = judge("entropy", weights=weights, unit="words", **{"from": "animals"})
    assert by_word.observed == pytest.approx(
        float(scipy_entropy(units(weights[0][0], "words")[2])), abs=1e-5
    )
    far = judge("distance", weights=weights, unit="words", **{"from": "animals"})
    row = units(weights[0][0], "words")[2]
    assert far.observed == pytest.approx(sum(a * abs(2 - s) for s, a in enumerate(row)), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_words_alone(seed: int) -> None:
    weights = distributions(READ, seed)
    inner = weights[0][0][1:-1, 1:-1].astype(float)
    content = inner.sum(axis=1)
    said = [row / total for row, total in zip(inner, content, strict=True) if total >= 0.05]
    verdict = judge("entropy", weights=weights, special=False)
    expected = np.mean([scipy_entropy(row) for row in said])
    assert verdict.observed == pytest.approx(float(expected), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).filter(sum))
def test_keys_that_hold_most_of_the_mass(weights: list[float]) -> None:
    row = np.array(weights) / sum(weights)
    held, count = 0.0, 0
    for weight in sorted(row, reverse=True):
        held, count = held + weight, count + 1
        if held >= 0.9 - 1e-9:
            break
    assert keys_holding(row[None]) == [count]


def test_zero_weights_have_no_entropy() -> None:
    assert entropy(np.eye(3)).tolist() == [0, 0, 0]
    assert entropy(np.full((1, 4), 0.25))[0] == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("kind", "low", "high", "bound"),
    [
        ("entropy", on_itself(), flat(), {"bound": 1.0}),
        ("entropy", on_itself(), flat(), {"bound": 0.5, "normalised": True}),
        ("distance", on_itself(), flat(), {"bound": 2.0}),
        ("distance", on_itself(), flat(), {"bound": 1.0, "unit": "words", "special": False}),
        ("distance", on_itself(), flat(), {"bound": 0.3, "normalised": True}),
    ],
)
def test_every_bound_can_hold_and_can_fail(
    kind: str, low: dict[int, Floats], high: dict[int, Floats], bound: dict[str, Any]
) -> None:
    at = bound["bound"]
    stated = {key: value for key, value in bound.items() if key != "bound"}
    for bounds, weights, outcome in (
        ({"max": at}, low, "passed"),
        ({"max": at}, high, "failed"),
        ({"max": None, "min": at}, low, "failed"),
        ({"max": None, "min": at}, high, "passed"),
    ):
        assert judge(kind, weights=weights, **bounds, **stated).outcome == outcome


def test_the_charts_hold_all_heads_of_the_layers() -> None:
    weights = distributions(READ, 1)
    verdict = judge("entropy", weights=weights, heads=["L0H0", "L2H1"])
    curves, grid = verdict.charts
    assert isinstance(curves, Curves)
    assert isinstance(grid, HeadGrid)
    assert (curves.measure, curves.layers) == ("entropy (nats)", (0, 2))
    np.testing.assert_array_equal(curves.values, grid.scores)
    for row, layer in enumerate((0, 2)):
        for head in range(2):
            expected = np.mean([scipy_entropy(row) for row in weights[layer][head].astype(float)])
            assert curves.values[row, head] == pytest.approx(expected, abs=1e-5)
    assert [str(head) for head in grid.decided] == [verdict.head]


@pytest.mark.parametrize(
    ("kind", "stated", "message"),
    [
        ("entropy", {"max": None}, "entropy demands nothing; give min: or max:"),
        ("distance", {"min": 0.6}, "min: must be below max:"),
        ("entropy", {"normalised": True, "max": 1.5}, "give a bound below 1"),
        ("distance", {"max": 0}, "greater than 0"),
        ("distance", {"unit": "letters"}, "'tokens' or 'words'"),
    ],
)
def test_arguments_that_do_not_fit(kind: str, stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        judge(kind, **stated)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["entropy", "distance"])
def test_a_row_that_sees_one_key_decides_nothing(kind: str) -> None:
    read = encoding("The keys are old", site="decoder", causal=True, ends=False)
    with pytest.raises(SelectorError, match="of The decides nothing: the row sees a single"):
        judge(kind, read, **{"from": "The"})


def test_distance_needs_one_sequence() -> None:
    read = encoding("The cat", "le chat", site="cross")
    with pytest.raises(SelectorError, match="distance needs one sequence"):
        judge("distance", read)


def test_special_rows_of_words_alone() -> None:
    with pytest.raises(SelectorError, match="only special tokens are left"):
        judge("entropy", special=False, **{"from": {"special": "cls"}})


@pytest.mark.parametrize("kind", ["entropy", "distance"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_statistic_of_what_is_no_number_p19(kind: str, value: float) -> None:
    weights = distributions(READ, 0)
    weights[0][0, 4, 4] = value
    with pytest.raises(MeasureError, match="L0H0 has attention weights that are no numbers"):
        judge(kind, weights=weights)


def test_the_object_gives_what_the_rules_give() -> None:
    attention = Attention(FakeReader(), Sample("The keys are old"))
    for stated in ({}, {"normalised": True}, {"unit": "words", "special": False}):
        for kind, values in (
            ("entropy", attention.entropy(**stated)),
            ("distance", attention.distance(**stated)),
        ):
            assert values.shape == (3, 2)
            verdict = attention.judge(kind, heads="L2H1", max=0.5, **stated)
            assert values[2, 1] == pytest.approx(verdict.observed, abs=1e-6)


def test_a_head_of_the_demo_model_looks_one_step_back(minilm: Model) -> None:
    attention = Attention(minilm, Sample("What did the teacher say about the exam?"))
    assert attention.entropy()[0, 2] < 0.01
    assert attention.distance(unit="words", special=False)[0, 2] == pytest.approx(1, abs=0.01)
    assert attention.entropy(normalised=True)[0, 3] > 0.85
