"""`attends` and `ignores` against plain sums over matrices that are written out or drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import AttnprobeError, MeasureError, ModelError, SelectorError
from attnprobe.core.sites import Head
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import Verdict
from attnprobe.rules import BAND, parse_rule
from attnprobe.rules.base import RULES, Demand, decide, hardest, outcome_of
from attnprobe.rules.frame import LEAST_CONTENT
from tests.support.made_up import distributions, encoding, rows, with_site

# Tokens:  0 [CLS]  1 The  2 ani  3 ##mals  4 slept  5 near  6 the  7 riv  8 ##er  9 .  10 [SEP]
READ = encoding("The ani|mals slept near the riv|er .")
COLUMNS = {
    "The": [1],
    "animals": [2, 3],
    "slept": [4],
    "near": [5],
    "the": [6],
    "river": [7, 8],
    ".": [9],
}
WORDS = st.sampled_from(sorted(COLUMNS))
SEEDS = st.integers(0, 2**32 - 1)
BOUNDS = st.floats(0.01, 0.9)
ALL = tuple((layer, head) for layer in range(3) for head in range(2))
SOME = ((0, 0), (0, 1), (2, 1))
HEADS: dict[str, tuple[Any, tuple[tuple[int, int], ...]]] = {
    "one": ("L1H1", ((1, 1),)),
    "any": ("any", ALL),
    "all": ({"in": ["L0", "L2H1"], "how": "all"}, SOME),
    "best": ({"in": ["L0", "L2H1"], "how": "best"}, SOME),
    "mean": ({"in": ["L0", "L2H1"], "how": "mean"}, SOME),
    "at least 2": ({"in": "all", "how": {"at_least": 2}}, ALL),
}


def judge(
    kind: str, read: Encoding = READ, weights: dict[int, Floats] | int = 0, **arguments: Any
) -> Verdict:
    """The verdict of a rule on weights, or on weights drawn with a seed."""
    if isinstance(weights, int):
        weights = distributions(read, weights)
    if "from_" in arguments:
        arguments["from"] = arguments.pop("from_")
    rule = parse_rule(kind, {"heads": "L0H0", **arguments})
    (need,) = rule.needs(read)
    return rule.judge([rows(read, need, weights)])


def spread(read: Encoding = READ, **columns: float) -> dict[int, Floats]:
    """Every row of every head: these weights on these columns (`_4=0.3`), the rest on the last."""
    (site,) = read.sites.values()
    length = len(read.keys(site.name))
    row = np.zeros(length, np.float32)
    for name, weight in columns.items():
        row[int(name[1:])] = weight
    row[-1] = 1 - row.sum()
    matrix = np.tile(row, (2, len(read.queries(site.name)), 1))
    return dict.fromkeys(site.layers, matrix)


def weight(matrix: Floats, rows: list[int], columns: list[int]) -> float:
    """Mean over rows of the sum over columns, written out."""
    total = 0.0
    for row in rows:
        for column in columns:
            total += float(matrix[row, column])
    return total / len(rows)


# The numbers ------------------------------------------------------------------------------------


def test_the_weight_is_the_sum_over_pieces_to_and_the_mean_over_pieces_from() -> None:
    weights = spread()
    weights[0][0, 2] = [0, 0, 0, 0, 0, 0, 0, 0.125, 0.25, 0, 0.625]
    weights[0][0, 3] = [0.5, 0, 0, 0, 0, 0, 0, 0.25, 0.125, 0.125, 0]
    verdict = judge("attends", weights=weights, from_="animals", to="river", min=0.3)
    assert (verdict.measure, verdict.observed, verdict.relation, verdict.demanded) == (
        "weight",
        0.375,  # ((0.125 + 0.25) + (0.25 + 0.125)) / 2
        ">=",
        0.3,
    )
    assert (verdict.outcome, verdict.head, verdict.heads_tried) == ("passed", "L0H0", 1)
    assert verdict.sink == pytest.approx((0.625 + 0.5) / 2)
    assert verdict.top[:2] == (("river", 0.375), ("[SEP]", 0.3125))
    assert verdict.picture is not None
    assert verdict.picture.heads == (Head(0, 0),)
    assert verdict.picture.rows == (2, 3)
    assert verdict.picture.expected == (7, 8)
    assert verdict.picture.contrast == ()


@settings(max_examples=40)
@given(SEEDS, WORDS, WORDS, BOUNDS, st.sampled_from(sorted(HEADS)))
def test_which_head_decides(seed: int, from_: str, to: str, bound: float, how: str) -> None:
    weights = distributions(READ, seed)
    heads, members = HEADS[how]
    rows_of = [weights[layer][head][COLUMNS[from_]].mean(axis=0) for layer, head in ALL]
    assume(min(row[1:-1].sum() for row in rows_of) > LEAST_CONTENT)
    values = {
        f"L{layer}H{head}": weight(weights[layer][head], COLUMNS[from_], COLUMNS[to])
        for layer, head in members
    }
    if how == "mean":
        values = {f"mean of {len(members)} heads": float(np.mean(list(values.values())))}
    for kind, sign in (("attends", 1), ("ignores", -1)):
        ranked = sorted(values.items(), key=lambda item: -sign * item[1])
        place = {"all": len(ranked) - 1, "at least 2": 1}.get(how, 0)
        head, expected = ranked[place]
        slack = sign * (expected - bound)
        assume(abs(abs(slack) - BAND) > 1e-6)
        bounds: dict[str, Any] = {"min" if sign > 0 else "max": bound}
        verdict = judge(
            kind,
            weights=weights,
            from_=from_,
            to=to,
            heads=heads,
            **bounds,
        )
        assert verdict.observed == pytest.approx(expected, abs=1e-6)
        assert verdict.head == head
        assert verdict.heads_tried == len(members)
        near = "borderline" if abs(slack) < BAND else "failed"
        assert verdict.outcome == ("passed" if slack >= BAND else near)


@settings(max_examples=40)
@given(SEEDS, WORDS)
def test_the_mean_is_taken_over_heads_first(seed: int, to: str) -> None:
    weights = distributions(READ, seed)
    mean = np.mean([weights[layer][head] for layer in range(3) for head in range(2)], axis=0)
    verdict = judge("attends", weights=weights, from_="slept", to=to, heads="mean", top=1)
    others = [
        weight(mean, [4], columns) for word, columns in COLUMNS.items() if word not in ("slept", to)
    ]
    assume(min(abs(weight(mean, [4], COLUMNS[to]) - other) for other in others) > 1e-6)
    rank = 1 + sum(other > weight(mean, [4], COLUMNS[to]) for other in others)
    assert (verdict.observed, verdict.head) == (rank, "mean of 6 heads")


@settings(max_examples=40)
@given(SEEDS, WORDS, WORDS, st.integers(1, 5), st.sampled_from(["words", "all"]))
def test_the_rank_among_other_words(seed: int, from_: str, to: str, top: int, among: str) -> None:
    weights = distributions(READ, seed)
    matrix = weights[0][0]
    assume(matrix[COLUMNS[from_]].mean(axis=0)[1:-1].sum() > LEAST_CONTENT)
    columns = {**COLUMNS, "[CLS]": [0], "[SEP]": [10]} if among == "all" else dict(COLUMNS)
    if among == "words":
        del columns[from_]
    columns.pop(to, None)
    own = weight(matrix, COLUMNS[from_], COLUMNS[to])
    others = [weight(matrix, COLUMNS[from_], other) for other in columns.values()]
    rank = 1 + sum(other > own for other in others)
    nearest = sorted(others, reverse=True)[top - 1]
    assume(abs(abs(own - nearest) - BAND) > 1e-6)
    assume(min(abs(own - other) for other in others) > 1e-6)
    for kind, holds in (("attends", rank <= top), ("ignores", rank > top)):
        verdict = judge(kind, weights=weights, from_=from_, to=to, top=top, among=among)
        assert (verdict.measure, verdict.observed, verdict.demanded) == ("rank", rank, top)
        assert verdict.relation == ("<=" if kind == "attends" else ">")
        near = "passed" if holds else "failed"
        assert verdict.outcome == ("borderline" if abs(own - nearest) < BAND else near)


@settings(max_examples=40)
@given(SEEDS, WORDS, WORDS, WORDS, BOUNDS, st.floats(0.2, 5))
def test_margin_and_ratio(
    seed: int, from_: str, to: str, over: str, margin: float, ratio: float
) -> None:
    assume(to != over)
    weights = distributions(READ, seed)
    assume(weights[0][0][COLUMNS[from_]].mean(axis=0)[1:-1].sum() > LEAST_CONTENT)
    to_weight = weight(weights[0][0], COLUMNS[from_], COLUMNS[to])
    over_weight = weight(weights[0][0], COLUMNS[from_], COLUMNS[over])
    for kind, word in (("attends", f"over {over}"), ("ignores", f"below {over}")):
        more, less = (to_weight, over_weight)[:: 1 if kind == "attends" else -1]
        variants: list[tuple[dict[str, Any], str, float, float, float]] = [
            ({}, "margin", more - less, 0, more - less),
            ({"margin": margin}, "margin", more - less, margin, more - less - margin),
            ({"ratio": ratio}, "ratio", more / less, ratio, more - ratio * less),
        ]
        for stated, name, observed, demanded, slack in variants:
            assume(abs(abs(slack) - BAND) > 1e-6)
            verdict = judge(kind, weights=weights, from_=from_, to=to, over=over, **stated)
            assert verdict.measure == f"{name} {word}"
            assert verdict.observed == pytest.approx(observed, rel=1e-4, abs=1e-6)
            assert verdict.demanded == demanded
            near = "passed" if slack > 0 else "failed"
            assert verdict.outcome == ("borderline" if abs(slack) < BAND else near)
            assert verdict.picture is not None
            assert verdict.picture.contrast == tuple(COLUMNS[over])


def test_the_hardest_of_several_demands_is_told() -> None:
    weights = spread(_5=0.5, _6=0.375)
    stated: dict[str, Any] = {"weights": weights, "from_": "slept", "to": "near", "over": "the"}
    assert judge("attends", **stated, min=0.3).measure == "margin over the"
    assert judge("attends", **stated, min=0.6).measure == "weight"
    verdict = judge("attends", **stated, min=0.3, top=1, margin=0.25, ratio=1.2, max=0.8)
    assert (verdict.measure, verdict.observed, verdict.outcome) == (
        "margin over the",
        0.125,
        "failed",
    )


@settings(max_examples=40)
@given(SEEDS, st.sampled_from(sorted(HEADS)), BOUNDS, st.floats(0.01, 0.5), st.integers(1, 4))
def test_every_bound_is_told_of_the_head_that_decides(
    seed: int, how: str, least: float, margin: float, top: int
) -> None:
    weights = distributions(READ, seed)
    heads, members = HEADS[how]
    rows_of = [weights[layer][head][COLUMNS["animals"]].mean(axis=0) for layer, head in ALL]
    assume(min(row[1:-1].sum() for row in rows_of) > LEAST_CONTENT)
    stated = {"min": least, "max": least + 0.05, "margin": margin, "ratio": 1.5, "top": top}
    verdict = judge(
        "attends", weights=weights, from_="animals", to="river", over="the", heads=heads, **stated
    )
    maps = {f"L{layer}H{head}": weights[layer][head] for layer, head in members}
    mean = np.mean(list(maps.values()), axis=0)
    row = maps.get(verdict.head, mean)[COLUMNS["animals"]].mean(axis=0)
    to, over = float(row[7] + row[8]), float(row[6])
    others = [float(row[at].sum()) for at in ([1], [4], [5], [6], [9])]
    lead = to - sorted(others, reverse=True)[top - 1]
    expected = {
        ("weight", ">="): (to, least, to - least),
        ("weight", "<="): (to, least + 0.05, least + 0.05 - to),
        ("rank", "<="): (1 + sum(other > to for other in others), top, lead),
        ("margin over the", ">="): (to - over, margin, to - over - margin),
        ("ratio over the", ">="): (to / over, 1.5, to - 1.5 * over),
    }
    assume(min(abs(to - other) for other in others) > 1e-6)
    assume(all(abs(abs(slack) - BAND) > 1e-6 for *_, slack in expected.values()))
    told = verdict.bounds
    assert {(one.measure, one.relation) for one in told} == set(expected)
    ranked = []
    for one in told:
        observed, demanded, slack = expected[one.measure, one.relation]
        assert one.observed == pytest.approx(observed, rel=1e-4, abs=1e-6)
        assert one.demanded == demanded
        near = "passed" if slack > 0 else "failed"
        assert one.outcome == ("borderline" if abs(slack) < BAND else near)
        ranked.append((("failed", "borderline", "passed").index(one.outcome), slack))
    assert ranked == sorted(ranked)


@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        ("attends", {"min": 0.3}),
        ("attends", {"max": 0.1}),
        ("attends", {"top": 1}),
        ("attends", {"over": "the"}),
        ("attends", {"over": "the", "margin": 0.1}),
        ("attends", {"over": "the", "ratio": 1.5}),
        ("ignores", {"max": 0.1}),
        ("ignores", {"top": 1}),
        ("ignores", {"over": "the"}),
        ("ignores", {"over": "the", "margin": 0.1}),
        ("ignores", {"over": "the", "ratio": 1.5}),
    ],
)
def test_every_demand_can_hold_and_can_fail(kind: str, stated: dict[str, Any]) -> None:
    much, little = spread(_5=0.5, _6=0.125), spread(_5=0.03125, _6=0.25)
    outcomes = [
        judge(kind, weights=weights, from_="slept", to="near", **stated).outcome
        for weights in (much, little)
    ]
    wants_much = kind == "attends" and "max" not in stated
    assert outcomes == (["passed", "failed"] if wants_much else ["failed", "passed"])


def test_a_set_of_heads_passes_by_any_for_attends_and_by_all_for_ignores() -> None:
    weights = spread(_5=0.125)
    weights[1] = spread(_5=0.5)[1]
    stated: dict[str, Any] = {"from_": "slept", "to": "near", "heads": ["L0", "L1"]}
    attends = judge("attends", weights=weights, min=0.3, **stated)
    ignores = judge("ignores", weights=weights, max=0.3, **stated)
    assert (attends.outcome, attends.head) == ("passed", "L1H0")
    assert (ignores.outcome, ignores.head) == ("failed", "L1H1")


# Bounds and ties --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slack", "strict", "outcome"),
    [
        (0.002, False, "passed"),
        (BAND, False, "passed"),
        (0.0009, False, "borderline"),
        (0.0, False, "borderline"),
        (-0.0009, False, "borderline"),
        (-BAND, False, "failed"),
        (0.0009, True, "borderline"),
        (0.0, True, "failed"),
        (float("nan"), False, "failed"),
        (float("nan"), True, "failed"),
    ],
)
def test_the_borderline_band_lies_around_the_bound_p40(
    slack: float, strict: bool, outcome: str
) -> None:
    assert outcome_of(slack, strict=strict) == outcome


@pytest.mark.parametrize("kind", ["attends", "ignores"])
def test_an_exact_tie_is_no_contrast(kind: str) -> None:
    weights = spread(_5=0.25, _6=0.25)
    verdict = judge(kind, weights=weights, from_="slept", to="near", over="the")
    assert (verdict.outcome, verdict.observed, verdict.relation) == ("failed", 0, ">")


def test_nothing_against_nothing_is_no_contrast() -> None:
    weights = spread(_1=0.5)
    verdict = judge("attends", weights=weights, from_="slept", to="near", over="the", ratio=2)
    assert (verdict.outcome, verdict.observed) == ("failed", 0)


def test_something_against_nothing_is_a_number() -> None:
    weights = spread(_5=0.25)
    verdict = judge("attends", weights=weights, from_="slept", to="near", over="the", ratio=2)
    assert verdict.outcome == "passed"
    assert np.isfinite(verdict.observed)


@pytest.mark.parametrize(
    ("how", "count", "best", "decider"),
    [("any", 0, 0, 1), ("all", 0, 0, 2), ("at_least", 2, 0, 0), ("best", 0, 2, 2)],
)
def test_decide(how: Any, count: int, best: int, decider: int) -> None:
    demands = [[Demand.of("weight", "weight", slack, ">=", 0)] for slack in (0.1, 0.3, -0.2)]
    assert decide(demands, how, count, best=best) == decider


# Sinks ------------------------------------------------------------------------------------------


def test_the_sink_is_what_no_ordinary_word_gets() -> None:
    weights = spread(_0=0.25, _4=0.5)
    assert judge("attends", weights=weights, from_="slept", to="near", min=0.3).sink == 0.5
    # A learned sink takes mass out of the row.
    for matrix in weights.values():
        matrix[..., -1] -= 0.125
    assert judge("attends", weights=weights, from_="slept", to="near", min=0.3).sink == 0.5


def test_the_first_token_of_a_causal_site_is_a_sink() -> None:
    read = encoding("The keys are old .", site="decoder", causal=True, ends=False)
    weights = spread(read, _0=0.75, _1=0.25)
    assert judge("attends", read, weights, from_="are", to="keys", min=0.2).sink == 0.75


# What cannot be judged --------------------------------------------------------------------------


@pytest.mark.parametrize("column", [4, 6, 9])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        ("attends", {"min": 0.1, "heads": "any"}),
        ("attends", {"min": 0.1, "over": "the", "heads": "all"}),
        ("attends", {"top": 1, "heads": "mean"}),
        ("ignores", {"max": 0.9, "heads": {"in": "all", "how": "best"}}),
        ("ignores", {"top": 3, "heads": {"in": "all", "how": {"at_least": 1}}}),
    ],
)
def test_no_verdict_on_what_is_no_number_p19(
    kind: str, stated: dict[str, Any], value: float, column: int
) -> None:
    weights = spread(_5=0.5)
    weights[1] = weights[1].copy()
    weights[1][1, 4, column] = value
    with pytest.raises(MeasureError, match="L1H1 has attention weights that are no numbers"):
        judge(kind, weights=weights, from_="slept", to="near", **stated)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ("L0H2", "no head L0H2 at the encoder site: layer 0 has query heads 0 to 1"),
        ("L3", "layer 3 has no attention at the encoder site; layers with attention: 0 to 2"),
    ],
)
def test_a_rule_on_a_head_that_is_not_there_is_an_error_p22(heads: str, message: str) -> None:
    rule = parse_rule("attends", {"from": "slept", "to": "near", "min": 0.1, "heads": heads})
    with pytest.raises(SelectorError) as caught:
        rule.needs(READ)
    assert message in str(caught.value)


def test_a_rule_on_a_layer_without_attention_is_an_error_p23() -> None:
    read = encoding("The keys are old", heads={0: 2, 3: 2})
    rule = parse_rule("attends", {"from": "are", "to": "keys", "min": 0.1, "heads": "L1H0"})
    with pytest.raises(SelectorError, match="layers with attention: 0, 3"):
        rule.needs(read)


@pytest.mark.parametrize(
    "stated",
    [
        {"from": "keys", "to": "old", "min": 0.1},
        {"from": "keys", "to": {"special": "sep"}, "min": 0.1},
        {"from": "keys", "to": "The", "over": "old"},
        {"from": {"predicts": "keys"}, "to": "keys", "min": 0.1},
    ],
)
@pytest.mark.parametrize("kind", ["attends", "ignores"])
def test_a_causal_site_cannot_look_ahead_p25(kind: str, stated: dict[str, Any]) -> None:
    read = encoding("The keys are old .", site="decoder", causal=True)
    stated = {
        key.replace("min", "max") if kind == "ignores" else key: stated[key] for key in stated
    }
    rule = parse_rule(kind, {"heads": "L0H0", **stated})
    with pytest.raises(SelectorError, match=r"cannot attend to .*: it comes later"):
        rule.needs(read)
    both = encoding("The keys are old .")
    if "predicts" not in str(stated):
        assert rule.needs(both)[0].layers == (0,)


@pytest.mark.parametrize("kind", ["attends", "ignores"])
def test_each_word_of_a_union_must_be_visible_p25(kind: str) -> None:
    read = encoding("The keys are old .", site="decoder", causal=True)
    for union in ({"from": "are", "to": ["keys", "old"]}, {"from": ["The", "are"], "to": "keys"}):
        with pytest.raises(SelectorError, match=r"cannot attend to .*: it comes later"):
            parse_rule(kind, {"heads": "L0H0", "max": 0.1, **union}).needs(read)


def test_each_word_of_a_union_must_lie_in_the_window_p21() -> None:
    read = with_site(READ, windows={0: 4})
    for union in ({"from": "near", "to": ["The", "slept"]}, {"from": ["near", "."], "to": "slept"}):
        rule = parse_rule("ignores", {"heads": "L0H0", "max": 0.1, **union})
        with pytest.raises(SelectorError, match="outside of the sliding window of 4 tokens"):
            rule.needs(read)
        assert rule.needs(with_site(READ, windows={1: 4}))


def test_only_words_in_the_window_compete_for_a_rank_p21() -> None:
    """From near (5) a window of 3 shows ##mals (3) to river's first piece (7)."""
    read = with_site(READ, windows={0: 3})
    stated: dict[str, Any] = {"from_": "near", "to": "slept"}
    weights = spread(_1=0.5, _4=0.1)
    assert judge("ignores", read, weights, top=3, **stated).observed == 1
    assert judge("ignores", READ, weights, top=3, **stated).observed == 2
    with pytest.raises(SelectorError, match="top: 4 decides nothing: only 3 other words compete"):
        judge("ignores", read, weights, top=4, **stated)
    with pytest.raises(SelectorError, match="only 3 other words compete"):
        judge("ignores", read, weights, top=4, heads=["L0H0", "L1H0"], **stated)
    assert judge("ignores", read, weights, top=4, heads="L1H0", **stated).head == "L1H0"


def test_predicts_stands_at_the_query_end_of_a_site_whose_rows_predict() -> None:
    predicts = {"predicts": "old"}
    causal = encoding("The keys are old .", site="decoder", causal=True)
    cross = encoding("The keys", "are old .", site="cross")
    for read, to in ((causal, "keys"), (cross, "keys")):
        assert judge("attends", read, from_=predicts, to=to, min=0.1).heads_tried == 1
    with pytest.raises(SelectorError, match=r"from: .* needs a decoder or cross attention"):
        judge("attends", encoding("The keys are old ."), from_=predicts, to="keys", min=0.1)
    for stated in ({"to": predicts, "min": 0.1}, {"to": "keys", "over": predicts}):
        with pytest.raises(SelectorError, match="names a column; write the word itself"):
            judge("attends", causal, from_="old", **stated)
    rule = parse_rule("entropy", {"heads": "L0H0", "from": predicts, "max": 0.5})
    assert rule.needs(causal)
    with pytest.raises(SelectorError, match=r"from: .* needs a decoder or cross attention"):
        rule.needs(encoding("The keys are old ."))


def test_a_failed_tie_is_harder_than_a_borderline_shortfall() -> None:
    tie = Demand.of("margin", "weight", 0, ">", 0)
    near = Demand.of("weight", "weight", 0.2995, ">=", 0.3)
    short = Demand.of("weight", "weight", 0.2, ">=", 0.3)
    assert hardest([near, tie]) == (tie, near)
    assert hardest([tie, near, short]) == (short, tie, near)
    verdict = judge(
        "attends",
        weights=spread(_1=0.2995, _4=0.2995),
        from_="near",
        to="The",
        over="slept",
        min=0.3,
    )
    assert (verdict.outcome, verdict.measure) == ("failed", "margin over slept")
    assert decide([[tie], [near]], "any", 0, best=0) == 1
    assert decide([[near], [tie]], "all", 0, best=0) == 1


def test_a_causal_rank_counts_visible_words_only() -> None:
    read = encoding("The keys are old .", site="decoder", causal=True)
    stated: dict[str, Any] = {"from_": "are", "to": "keys"}
    assert judge("attends", read, spread(read, _1=0.3, _2=0.2), top=1, **stated).observed == 2
    with pytest.raises(SelectorError, match="top: 2 decides nothing: only 1 other words compete"):
        judge("attends", read, top=2, **stated)


DECODER = encoding("The brown keys of us are old .", site="decoder", causal=True, ends=False)


@pytest.mark.parametrize("kind", ["attends", "ignores"])
def test_the_first_token_of_a_causal_site_competes_among_all_alone(kind: str) -> None:
    weights = spread(DECODER, _0=0.63, _2=0.13, _4=0.05)
    stated = {"from_": "are", "to": "keys", "top": 1}
    bare = judge(kind, DECODER, weights, **stated)
    assert (bare.measure, bare.observed) == ("rank", 1)
    assert (bare.outcome == "passed") is (kind == "attends")
    every = judge(kind, DECODER, weights, among="all", **stated)
    assert (every.observed, every.outcome == "passed") == (2, kind == "ignores")
    # An encoder has no such sink: its first word is a word.
    read = encoding("The brown keys of us are old .", ends=False)
    assert judge(kind, read, spread(read, _0=0.63, _2=0.2), **stated).observed == 2


def test_behind_a_special_token_the_first_word_is_a_word() -> None:
    read = encoding("The brown keys of us are old .", site="decoder", causal=True)
    weights = spread(read, _0=0.2, _1=0.4, _3=0.13)
    assert judge("attends", read, weights, from_="are", to="keys", top=1).observed == 2


def test_a_sink_that_the_rule_names_counts_as_itself() -> None:
    weights = spread(DECODER, _0=0.4, _2=0.3, _3=0.1)
    stated = {"from_": "are", "top": 1}
    assert judge("attends", DECODER, weights, to="The", **stated).observed == 1
    over = judge("attends", DECODER, weights, to="keys", over="The", ratio=0.5, **stated)
    assert (over.measure, over.observed, over.outcome) == ("rank", 2, "failed")
    assert judge("attends", DECODER, weights, to="keys", over="of", **stated).observed == 1
    special = encoding("The keys are old .")
    weights = spread(special, _0=0.5, _2=0.3)
    stated |= {"to": "keys", "over": {"special": "cls"}, "ratio": 0.5}
    assert judge("attends", special, weights, **stated).outcome == "passed"


def test_of_a_first_word_in_pieces_those_behind_the_first_token_compete() -> None:
    read = encoding("Un|believ|able keys are old .", site="decoder", causal=True, ends=False)
    stated = {"from_": "old", "to": "keys", "top": 1}
    for pieces, rank in ((0.1, 1), (0.15, 2)):
        weights = spread(read, _0=0.4, _1=pieces, _2=0.1, _3=0.22)
        verdict = judge("attends", read, weights, **stated)
        assert verdict.observed == rank
    with pytest.raises(SelectorError, match="top: 3 decides nothing: only 2 other words compete"):
        judge("attends", read, from_="old", to="keys", top=3)


def test_cross_attention_relates_two_texts() -> None:
    read = encoding("The cat sleeps", "le chat dort", site="cross")
    weights = spread(read, _1=0.25, _2=0.5)
    verdict = judge("attends", read, weights, from_="chat", to="cat", over="The", top=1)
    assert (verdict.outcome, verdict.measure) == ("passed", "rank")
    assert verdict.picture is not None
    assert (verdict.picture.rows, verdict.picture.expected) == ((2,), (2,))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"to": "near the", "over": "the"}, 'to: "near the" and over: the share tokens'),
        ({"to": "near", "top": 6}, "top: 6 decides nothing: only 5 other words compete"),
        ({"to": "nowhere", "min": 0.1}, "'nowhere' does not stand in the text"),
        ({"to": {"chars": [4, 6]}, "min": 0.1}, "ani"),
    ],
)
def test_what_no_head_could_decide(stated: dict[str, Any], message: str) -> None:
    rule = parse_rule("attends", {"from": "slept", "heads": "L0H0", **stated})
    with pytest.raises(SelectorError) as caught:
        rule.needs(READ)
    assert message in str(caught.value)


def test_a_site_that_the_model_does_not_have() -> None:
    rule = parse_rule(
        "attends", {"from": "slept", "to": "near", "min": 0.1, "heads": "L0", "site": "cross"}
    )
    with pytest.raises(ModelError, match="this model has no cross attention; it has: encoder"):
        rule.needs(READ)


@pytest.mark.parametrize(
    ("kind", "stated", "message"),
    [
        ("attends", {}, "attends demands nothing; give min:, max:, top: or over:"),
        ("ignores", {}, "ignores demands nothing; give max:, top: or over:"),
        ("attends", {"min": 0.1, "margin": 0.1}, "name it with over:"),
        ("ignores", {"max": 0.1, "ratio": 2}, "name it with over:"),
        ("attends", {"min": 0.3, "among": "all"}, "give top: as well"),
        ("attends", {"over": "animal"}, "over: and to: are both animal; compare with another word"),
        ("attends", {"min": 0.3, "max": 0.3}, "min: must be below max:"),
        ("ignores", {"max": 0.1, "min": 0.1}, "Extra inputs are not permitted"),
        ("attends", {"min": 0}, "greater than 0"),
        ("attends", {"min": 1}, "less than 1"),
        ("attends", {"min": float("nan")}, "finite"),
        ("attends", {"min": "0.3"}, "valid number"),
        ("attends", {"min": True}, "valid number"),
        ("attends", {"top": 0}, "greater than or equal to 1"),
        ("attends", {"top": 1.0}, "valid integer"),
        ("attends", {"over": "the", "ratio": 0}, "greater than 0"),
        ("attends", {"min": 0.1, "to": 3.1}, "a word is text, not 3.1; quote it"),
        ("attends", {"min": 0.1, "to": True}, "a word is text, not True; quote it"),
        ("attends", {"min": 0.1, "heads": 3.1}, "3.1 is no head"),
        ("attends", {"min": 0.1, "site": "encodr"}, "'encoder', 'decoder' or 'cross'"),
    ],
)
def test_arguments_that_cannot_be_meant(kind: str, stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_rule(kind, {"from": "it", "to": "animal", "heads": "L0", **stated})
    assert message in str(caught.value)


def test_an_unknown_rule_names_the_nearest_p8() -> None:
    with pytest.raises(AttnprobeError, match="unknown rule 'attend'; did you mean 'attends'"):
        parse_rule("attend", {})


def test_rules_describe_themselves() -> None:
    rule = parse_rule(
        "attends",
        {"from": {"word": "it", "nth": 2}, "to": "the cat", "over": "dog", "heads": "L1"},
    )
    assert rule.describe() == 'attends it (nth: 2) → "the cat" over dog, L1'
    assert {"attends", "ignores"} <= set(RULES)


# Rows that say little ---------------------------------------------------------------------------


def test_renormalised_rows_leave_out_what_is_no_word() -> None:
    weights = spread(_0=0.5, _4=0.1, _5=0.2)  # 0.2 on [SEP]
    verdict = judge(
        "attends", weights=weights, from_="slept", to="near", min=0.3, renormalise="words"
    )
    assert verdict.measure == "weight among words"
    assert verdict.observed == pytest.approx(0.2 / 0.3)
    assert verdict.sink == pytest.approx(0.7)
    raw = judge("attends", weights=weights, from_="slept", to="near", min=0.1)
    assert raw.observed == pytest.approx(0.2)


def test_at_a_causal_site_the_first_token_is_left_out_unless_the_rule_names_it() -> None:
    read = encoding("The keys are old .", site="decoder", causal=True, ends=False)
    weights = spread(read, _0=0.6, _1=0.2, _2=0.2)
    stated = {"min": 0.1, "renormalise": "words"}
    assert judge("attends", read, weights, from_="are", to="keys", **stated).observed == (
        pytest.approx(0.5)
    )
    assert judge("attends", read, weights, from_="are", to="The", **stated).observed == (
        pytest.approx(0.6)
    )


@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        ("attends", {"top": 1}),
        ("attends", {"over": "the"}),
        ("attends", {"min": 0.01, "over": "the"}),
        ("attends", {"min": 0.9, "renormalise": "words"}),
        ("attends", {"min": 0.01, "top": 1, "heads": {"in": ["L0H0", "L0H1"], "how": "all"}}),
        ("attends", {"top": 1, "heads": "mean"}),
        ("ignores", {"max": 0.05}),
        ("ignores", {"top": 2, "heads": "any"}),
    ],
)
def test_a_row_without_words_cannot_be_judged(kind: str, stated: dict[str, Any]) -> None:
    weights = spread(_0=0.5, _5=0.04)  # the rest, 0.46, on [SEP]
    with pytest.raises(MeasureError, match="cannot be judged: words get less than 5% of its row"):
        judge(kind, weights=weights, from_="slept", to="near", **stated)


def test_a_bare_weight_is_met_or_not_whatever_words_get() -> None:
    weights = spread(_0=0.5, _5=0.04)
    assert judge("attends", weights=weights, from_="slept", to="near", min=0.3).outcome == "failed"
    assert judge("attends", weights=weights, from_="slept", to="near", min=0.01).outcome == "passed"
    stated = {"min": 0.3, "over": "the"}
    verdict = judge("attends", weights=weights, from_="slept", to="near", **stated)
    assert (verdict.outcome, verdict.measure) == ("failed", "weight")


def test_of_several_heads_those_decide_that_say_something() -> None:
    weights = spread(_0=0.96, _5=0.04)
    weights[1] = weights[1].copy()
    weights[1][1, 4] = 0
    weights[1][1, 4, [5, 6, 0]] = [0.2, 0.3, 0.5]
    stated: dict[str, Any] = {"over": "the", "from_": "slept", "to": "near"}
    verdict = judge("attends", weights=weights, heads="any", **stated)
    # All others prefer "near", but on 4 % of their rows.
    assert (verdict.outcome, verdict.head, verdict.heads_tried) == ("failed", "L1H1", 6)
    with pytest.raises(MeasureError, match="L0H0 cannot be judged"):
        judge("attends", weights=weights, heads={"in": "all", "how": {"at_least": 2}}, **stated)


def test_words_alone_and_all_tokens_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        judge("attends", from_="slept", to="near", top=1, among="all", renormalise="words")
