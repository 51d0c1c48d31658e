"""The head that does best on a word pair whose named heads fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from attnprobe.core.arrays import Floats
from attnprobe.core.needs import Need, Rows
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import BestOther, Bound, Verdict
from attnprobe.rules.calls import called_rule
from tests.support.made_up import distributions, encoding, rows, with_site

# it is of one piece; animals and streets are of two, in columns 2, 3 and 6, 7.
TEXT = "The ani|mals cross the str|eets when it is dark ."
IT, ANIMALS, STREETS = 9, [2, 3], [6, 7]


def judge(
    read: Encoding, weights: Mapping[int, Floats], kind: str, **arguments: Any
) -> tuple[Verdict, Any]:
    rule = called_rule(kind, {"from": "it", "to": "animals", **arguments})
    needs = [need for need in rule.needs(read) if isinstance(need, Need)]
    return rule.judge([rows(read, need, weights) for need in needs]), rule


def mass(weights: Mapping[int, Floats], columns: list[int]) -> dict[str, float]:
    """The weight from it to a word in every head."""
    return {
        f"L{layer}H{head}": float(maps[IT, columns].sum())
        for layer, found in weights.items()
        for head, maps in enumerate(found)
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("heads", ["L1H0", "L1", "mean", ["L0H1", "L2"], "any"])
def test_the_best_other_head_is_that_of_the_captured_layers(heads: Any, seed: int) -> None:
    read = encoding(TEXT, heads={0: 3, 1: 4, 2: 2})
    weights = distributions(read, seed)
    verdict, rule = judge(read, weights, "attends", heads=heads, min=0.97)
    (need,) = rule.needs(read)
    given = mass(weights, ANIMALS)
    named = {"mean": set(), "any": set(given), "L1": {f"L1H{at}" for at in range(4)}}.get(
        str(heads), {"L0H1", "L2H0", "L2H1"} if isinstance(heads, list) else {heads}
    )
    captured = {name for name in given if int(name[1]) in need.layers}
    others = {name: given[name] for name in captured - named}
    if not others:
        assert verdict.best_other is None
        return
    best = verdict.best_other
    assert best is not None
    assert best.head == max(others, key=lambda name: others[name])
    assert best.bound.observed == pytest.approx(max(others.values()), abs=1e-6)
    assert (best.heads, best.layers) == (
        len(others),
        tuple(sorted({int(name[1]) for name in others})),
    )
    assert best.bound.outcome == "failed"


@pytest.mark.parametrize("seed", range(5))
def test_in_all_layers_it_is_the_best_of_all_heads(seed: int) -> None:
    read = encoding(TEXT, heads={0: 3, 1: 4, 2: 2})
    weights = distributions(read, seed)
    _, rule = judge(read, weights, "attends", heads="L1H0", over="streets", margin=0.01, min=0.001)
    need = rule.everywhere(read)
    assert (need.layers, need.rows) == ((0, 1, 2), (IT,))
    best = rule.best_other(rows(read, need, weights))
    animals, streets = mass(weights, ANIMALS), mass(weights, STREETS)
    # The harder of the two demands decides for each head.
    slack = {
        name: min(animals[name] - 0.001, animals[name] - streets[name] - 0.01)
        for name in animals
        if name != "L1H0"
    }
    assert best.head == max(slack, key=lambda name: slack[name])
    assert best.bound.measure == "margin over streets"
    assert best.bound.observed == pytest.approx(animals[best.head] - streets[best.head], abs=1e-6)
    assert best.bound.outcome == ("passed" if slack[best.head] > 0 else "failed")
    assert best.heads == 8


def test_what_holds_names_no_other_head() -> None:
    read = encoding(TEXT)
    weights = distributions(read, 0)
    least = min(mass(weights, ANIMALS).values())
    verdict, _ = judge(read, weights, "attends", heads="L1H0", min=least / 2)
    assert (verdict.outcome, verdict.best_other) == ("passed", None)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("ignores", {"from": "it", "to": "animals", "max": 0.001}),
        ("entropy", {"max": 0.01}),
        ("sink", {"max": 0.001}),
        ("pattern", {"is": "previous", "min": 0.99}),
    ],
)
def test_rules_that_want_no_head_for_a_pair_name_none(kind: str, arguments: dict[str, Any]) -> None:
    read = encoding(TEXT)
    weights = distributions(read, 0)
    rule = called_rule(kind, {"heads": "L1H0", **arguments})
    needs = [need for need in rule.needs(read) if isinstance(need, Need)]
    found = [rows(read, need, weights) for need in needs]
    verdict = rule.judge(found)
    assert (verdict.outcome, verdict.best_other) == ("failed", None)
    assert rule.everywhere(read) is None
    assert rule.best_other(found[0]) is None


def test_heads_that_cannot_be_judged_are_no_error() -> None:
    read = encoding(TEXT)
    weights = distributions(read, 0)
    weights[1][1] = np.nan
    verdict, _ = judge(read, weights, "attends", heads="L1H0", min=0.99)
    assert (verdict.outcome, verdict.best_other) == ("failed", None)


def test_a_layer_that_cannot_see_the_words_is_left_out() -> None:
    read = with_site(encoding(TEXT), windows={2: 3})
    weights = distributions(read, 0)
    _, rule = judge(read, weights, "attends", heads="L1H0", min=0.99)
    best = rule.best_other(rows(read, rule.everywhere(read), weights))
    assert (best.layers, best.heads) == ((0, 1), 3)
    # Fewer words compete for a rank in a layer that sees fewer.
    read = with_site(encoding(TEXT), windows={2: 9})
    for demand, layers in (({"min": 0.99}, (0, 1, 2)), ({"top": 1}, (0, 1))):
        rule = called_rule("attends", {"from": "it", "to": "animals", "heads": "L1H0", **demand})
        best = rule.best_other(rows(read, rule.everywhere(read), distributions(read, 0)))
        assert best.layers == layers


@pytest.mark.parametrize(
    ("layers", "named"),
    [((3,), "layer 3"), ((0, 1, 2), "layers 0 to 2"), ((1, 3, 4), "layers 1, 3 and 4")],
)
def test_the_sentence_says_what_was_looked_at(layers: tuple[int, ...], named: str) -> None:
    for outcome, word in (("failed", "fail too"), ("passed", "hold"), ("borderline", "hold")):
        bound = Bound("weight", "weight", 0.25, ">=", 0.3, outcome)
        assert str(BestOther("L3H5", bound, 11, layers)) == (
            f"best other head for this pair: L3H5, weight 0.250, would {word}; the best of "
            f"11 heads in {named} is no evidence by itself"
        )


def test_rows_are_not_changed() -> None:
    read = encoding(TEXT)
    weights = distributions(read, 3)
    _, rule = judge(read, weights, "attends", heads="L1H0", min=0.99)
    found: Rows = rows(read, rule.everywhere(read), weights)
    before = {layer: maps.copy() for layer, maps in found.weights.items()}
    rule.best_other(found)
    assert all(np.array_equal(before[layer], found.weights[layer]) for layer in before)
