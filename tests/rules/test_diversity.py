"""`diversity` against scipy's Jensen-Shannon distance, and the map of heads."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.distance import jensenshannon

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import HeadMap, LayerPanel
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.sites import Head
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.models import Model
from attnprobe.rules import parse_rule
from attnprobe.rules.diversity import js_divergence, plane
from tests.support.made_up import FakeReader, distributions, encoding, rows

READ = encoding("The ani|mals slept near the riv|er .", heads={0: 2, 1: 4, 2: 3})
SEEDS = st.integers(0, 2**32 - 1)


def judge(read: Encoding = READ, weights: dict[int, Floats] | int = 0, **arguments: Any) -> Verdict:
    if isinstance(weights, int):
        weights = distributions(read, weights)
    rule = parse_rule("diversity", {"heads": "L1", **arguments})
    (need,) = rule.needs(read)
    return rule.judge([rows(read, need, weights)])


def by_scipy(first: Floats, second: Floats) -> float:
    """Mean over rows of the squared Jensen-Shannon distance."""
    return float(np.mean(jensenshannon(first, second, axis=-1) ** 2))


def mean_of_pairs(matrices: list[Floats]) -> float:
    return float(np.mean([by_scipy(*pair) for pair in combinations(matrices, 2)]))


# The numbers ------------------------------------------------------------------------------------


@given(SEEDS, st.integers(2, 6), st.integers(1, 5), st.floats(0.05, 5))
@settings(max_examples=40)
def test_the_divergence_is_that_of_scipy(seed: int, heads: int, length: int, flat: float) -> None:
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.full(length + 1, flat), (heads, length))
    found = js_divergence(weights.astype(np.float32))
    assert found.shape == (heads, heads)
    for first in range(heads):
        for second in range(first + 1, heads):
            expected = by_scipy(weights[first], weights[second])
            assert found[first, second] == pytest.approx(expected, abs=2e-6)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(found.diagonal(), 0)
    assert 0 <= found.min() <= found.max() <= np.log(2)


def test_like_heads_are_at_zero_and_heads_without_a_common_source_at_ln_2() -> None:
    left, right = np.eye(4, dtype=np.float32), np.eye(4, k=1, dtype=np.float32)
    right[3, 0] = 1
    found = js_divergence(np.stack([left, left, right]))
    assert found[0, 1] == 0
    assert found[0, 2] == pytest.approx(np.log(2), abs=1e-12)


def test_a_row_counts_once_however_many_there_are() -> None:
    weights = distributions(READ, 1)[1]
    twice = np.concatenate([weights, weights], axis=1)
    np.testing.assert_allclose(js_divergence(twice), js_divergence(weights), atol=1e-12)


def test_a_learned_sink_is_one_more_source() -> None:
    weights = distributions(READ, 1)[1]
    np.testing.assert_allclose(js_divergence(weights[..., :-1]), js_divergence(weights), atol=1e-6)


@given(SEEDS, st.integers(3, 12))
@settings(max_examples=25)
def test_points_of_a_plane_are_found_again(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).standard_normal((count, 2))
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    found = plane(distances)
    again = np.linalg.norm(found[:, None] - found, axis=-1)
    np.testing.assert_allclose(again, distances, atol=1e-4)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    assert np.var(found[:, 0]) >= np.var(found[:, 1]) - 1e-5
    assert (found.max(axis=0) >= -found.min(axis=0) - 1e-5).all()


def test_the_map_has_less_stress_than_the_classical_one_and_is_always_the_same() -> None:
    distances = js_divergence(distributions(encoding("a b c d e", heads={0: 12}), 3)[0])

    def stress(points: Floats) -> float:
        apart = np.linalg.norm(points[:, None] - points, axis=-1)
        return float(((apart - distances) ** 2).sum())

    centre = np.eye(12) - 1 / 12
    values, vectors = np.linalg.eigh(-0.5 * centre @ distances**2 @ centre)
    classical = vectors[:, -2:] * np.sqrt(values[-2:])
    found = plane(distances)
    assert stress(found) < 0.9 * stress(classical)
    np.testing.assert_array_equal(plane(distances), found)
    order = np.random.default_rng(0).permutation(12)
    assert stress(found) == pytest.approx(
        float(
            (
                (
                    np.linalg.norm(found[order][:, None] - found[order], axis=-1)
                    - distances[order][:, order]
                )
                ** 2
            ).sum()
        ),
        rel=1e-6,
    )


def test_like_heads_lie_on_one_point() -> None:
    np.testing.assert_array_equal(plane(np.zeros((3, 3))), 0)
    assert np.linalg.norm(np.subtract(*plane(np.array([[0, 0.5], [0.5, 0]])))) == pytest.approx(0.5)


# The rule ---------------------------------------------------------------------------------------


@given(SEEDS)
@settings(max_examples=20)
def test_a_layer_is_the_mean_over_its_pairs(seed: int) -> None:
    weights = distributions(READ, seed)
    verdict = judge(weights=weights, min=0.1)
    assert verdict.observed == pytest.approx(mean_of_pairs(list(weights[1])), abs=2e-6)
    assert (verdict.measure, verdict.head, verdict.heads_tried) == (
        "divergence (nats)",
        "mean of 6 pairs of L1",
        4,
    )


def test_a_set_may_cross_layers() -> None:
    weights = distributions(READ, 2)
    verdict = judge(weights=weights, heads=["L0H1", "L2H2"], min=0.01)
    assert verdict.observed == pytest.approx(by_scipy(weights[0][1], weights[2][2]), abs=2e-6)
    assert (verdict.head, verdict.heads_tried) == ("mean of 1 pair of [L0H1, L2H2]", 2)
    (chart,) = verdict.charts
    assert isinstance(chart, HeadMap)
    assert chart.heads == (Head(0, 1), Head(2, 2))


@pytest.mark.parametrize(
    ("how", "place"), [("any", 0), ("all", 2), ({"at_least": 2}, 1)], ids=["any", "all", "two"]
)
def test_with_how_each_layer_is_judged_by_its_own_pairs(how: Any, place: int) -> None:
    weights = distributions(READ, 6)
    values = {f"L{layer}": mean_of_pairs(list(weights[layer])) for layer in range(3)}
    for bound, sign in ({"min": 0.3}, 1), ({"max": 0.3}, -1):
        ranked = sorted(values, key=lambda name: -sign * values[name])
        verdict = judge(weights=weights, heads={"in": "all", "how": how}, **bound)
        assert verdict.head.endswith(f" of {ranked[place]}")
        assert verdict.observed == pytest.approx(values[ranked[place]], abs=2e-6)
        assert verdict.heads_tried == 9
        assert verdict.outcome == ("passed" if sign * (verdict.observed - 0.3) > 0 else "failed")


@pytest.mark.parametrize("bound", [{"min": 0.2}, {"max": 0.2}])
def test_every_demand_can_hold_and_can_fail(bound: dict[str, float]) -> None:
    length = len(READ.source)
    left, right = np.eye(length, dtype=np.float32), np.eye(length, dtype=np.float32)[::-1]
    outcomes = [
        judge(weights={1: np.stack([left, left, other, other])}, **bound).outcome
        for other in (right, left)
    ]
    assert outcomes == (["passed", "failed"] if "min" in bound else ["failed", "passed"])


def test_the_sink_is_the_mean_over_the_rows_of_all_heads() -> None:
    weights = distributions(READ, 2)
    expected = float(weights[1][..., [0, -1]].sum(axis=-1).mean())
    assert judge(weights=weights, min=0.1).sink == pytest.approx(expected, abs=1e-6)


def test_the_charts_are_the_map_and_the_layer() -> None:
    weights = distributions(READ, 2)
    points, panel = judge(weights=weights, min=0.1).charts
    assert isinstance(points, HeadMap)
    assert points.heads == tuple(Head(1, head) for head in range(4))
    np.testing.assert_array_equal(points.points, plane(js_divergence(weights[1])))
    assert isinstance(panel, LayerPanel)
    assert panel.layer == 1
    np.testing.assert_array_equal(panel.weights, weights[1])
    long = encoding(" ".join(["a"] * 40), heads={1: 2})
    assert [type(chart) for chart in judge(long, min=0.1).charts] == [HeadMap]


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({}, "diversity demands nothing; give min: or max:"),
        ({"min": 0.7}, "less than 0.69"),
        ({"min": 0.4, "max": 0.2}, "min: must be below max:"),
        ({"heads": "mean", "min": 0.1}, "mean would leave one; write a layer"),
        ({"heads": {"in": "L1", "how": "best"}, "min": 0.1}, "best would leave one"),
    ],
)
def test_arguments_that_make_no_sense(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse_rule("diversity", {"heads": "L1", **stated})


@pytest.mark.parametrize("heads", ["L1H2", {"in": ["L0", "L1H2"], "how": "any"}])
def test_one_head_has_nothing_to_differ_from(heads: Any) -> None:
    with pytest.raises(SelectorError, match=r"L1H2 has no other head to differ from; .*heads: L1,"):
        judge(heads=heads, min=0.1)


def test_more_layers_than_there_are() -> None:
    with pytest.raises(SelectorError, match="at_least: 4 of 3 layers can never hold"):
        judge(heads={"in": "all", "how": {"at_least": 4}}, min=0.1)


def test_no_divergence_of_what_is_no_number_p19() -> None:
    weights = distributions(READ, 0)
    weights[1][2, 4, 2] = np.inf
    with pytest.raises(MeasureError, match="L1H2 has attention weights that are no numbers"):
        judge(weights=weights, min=0.1)


# The object and the demo model ------------------------------------------------------------------


def test_the_attention_object_compares_a_layer_or_any_heads() -> None:
    reader = FakeReader()
    attention = Attention(reader, Sample("The keys are old"))
    weights = reader.weights(reader.encode(attention.sample))
    np.testing.assert_array_equal(attention.divergence(layer=2), js_divergence(weights[2]))
    everything = attention.divergence()
    assert everything.shape == (6, 6)
    np.testing.assert_allclose(everything[4:, 4:], js_divergence(weights[2]), atol=1e-12)
    assert attention.divergence(["L0H1", "L2H0"])[0, 1] == pytest.approx(everything[1, 4])


def test_the_demo_model(minilm: Model) -> None:
    attention = Attention(minilm, Sample("The keys near the cabinet are old."))
    heads = [attention.weights(f"L3H{head}") for head in range(12)]
    found = attention.divergence(layer=3)
    for first, second in combinations(range(12), 2):
        expected = by_scipy(heads[first], heads[second])
        assert found[first, second] == pytest.approx(expected, abs=1e-5)
    verdict = attention.judge("diversity", heads="L3", min=0.01)
    assert verdict.observed == pytest.approx(mean_of_pairs(heads), abs=1e-5)
