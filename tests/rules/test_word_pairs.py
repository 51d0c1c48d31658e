"""Rules on two words: the rows that they ask for, at each site, and which words compete there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.needs import Ablation, Need, Prediction
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.rules import BAND, parse_rule
from attnprobe.rules.frame import LEAST_CONTENT
from tests.support.made_up import distributions, encoding, rows, tokens, with_site

#   source:  0 [CLS]  1 The  2 c  3 ##at  4 sleeps  5 in  6 a  7 box  8 [SEP]
#   target:  0 [CLS]  1 le  2 ch  3 ##at  4 dort  5 [SEP]
SOURCE, TARGET = tokens("The c|at sleeps in a box"), tokens("le ch|at dort")
SITES: dict[SiteName, Site] = {
    "encoder": Site("encoder", {0: 23, 1: 23, 3: 23}, causal=False),
    "decoder": Site("decoder", {0: 23, 2: 23}, causal=True),
    "cross": Site("cross", {1: 23, 2: 23}, causal=False),
}
TRANSLATION = Encoding(Sample(SOURCE.text, TARGET.text), SOURCE, TARGET, SITES)
WORDS_OF: dict[SiteName, tuple[str, str, tuple[int, ...]]] = {
    "encoder": ("cat", "box", (2, 3)),
    "decoder": ("dort", "chat", (4,)),
    "cross": ("chat", "box", (2, 3)),
}


def stated(site: SiteName, **arguments: Any) -> dict[str, Any]:
    from_, to, _ = WORDS_OF[site]
    return {"from": from_, "to": to, "site": site, "min": 0.1, **arguments}


@pytest.mark.parametrize(
    ("site", "heads", "layers"),
    [
        ("encoder", "all", (0, 1, 3)),
        ("encoder", ["L3H1", "L0", "L3H0"], (0, 3)),
        ("encoder", "L1-L3", (1, 3)),
        ("decoder", "any", (0, 2)),
        ("decoder", "L2H3", (2,)),
        ("cross", "mean", (1, 2)),
        ("cross", {"in": ["L2H20"], "how": "best"}, (2,)),
    ],
)
def test_the_rows_of_the_word_in_the_layers_of_the_heads_are_asked_for(
    site: SiteName, heads: object, layers: tuple[int, ...]
) -> None:
    rule = parse_rule("attends", stated(site, heads=heads))
    need = Need(TRANSLATION.sample, site, layers, WORDS_OF[site][2])
    assert rule.needs(TRANSLATION) == (need,)
    chance = rule.chance(TRANSLATION)
    assert chance is not None
    assert (chance.pair.site, chance.pair.layers) == (site, layers)
    assert chance.pair.rows == set(WORDS_OF[site][2])
    pairs = chance.controls(TRANSLATION, ())
    (controls,) = chance.needs(TRANSLATION, pairs)
    wanted = tuple(sorted({at for query in pairs.queries for at in query}))
    assert controls == Need(TRANSLATION.sample, site, layers, wanted)


def judge_at(site: SiteName, *readouts: float, **arguments: Any) -> Verdict:
    """The verdict where every row of every head puts half on the word and half on [CLS]."""
    rule = parse_rule("attends", stated(site, **arguments))
    need, *_ = rule.needs(TRANSLATION)
    assert isinstance(need, Need)
    keys = TRANSLATION.keys(site)
    row = np.zeros(len(keys), np.float32)
    row[[0, keys.pieces.index("box" if site != "decoder" else "ch")]] = 0.5
    queries = len(TRANSLATION.queries(site))
    weights = dict.fromkeys(need.layers, np.tile(row, (23, queries, 1)))
    return rule.judge([rows(TRANSLATION, need, weights), *readouts])


@pytest.mark.parametrize("site", SITES)
def test_a_rule_is_judged_at_its_site(site: SiteName) -> None:
    verdict = judge_at(site, heads=f"L{max(SITES[site].layers)}H22")
    assert (verdict.outcome, verdict.observed, verdict.heads_tried) == ("passed", 0.5, 1)
    assert verdict.picture is not None
    assert verdict.picture.site == site


# Confirming ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SITES)
def test_the_heads_of_the_rules_own_site_are_ablated(site: SiteName) -> None:
    layer = max(SITES[site].layers)
    heads = [f"L{layer}H20", f"L{layer}H3"]
    # What is read out must stand in the target.
    confirm = {"effect": {"good": "dort"}}
    rule = parse_rule("attends", stated(site, heads=heads, confirm=confirm))
    need, intact, ablated, *draws = rule.needs(TRANSLATION)
    assert need == Need(TRANSLATION.sample, site, (layer,), WORDS_OF[site][2])
    assert isinstance(intact, Prediction)
    assert (intact.sample, intact.ablation) == (TRANSLATION.sample, None)
    assert isinstance(ablated, Prediction)
    assert ablated.ablation == Ablation(site, (Head(layer, 20), Head(layer, 3)))
    assert len(draws) == 20
    for draw in draws:
        assert isinstance(draw, Prediction)
        assert draw.ablation is not None
        assert (draw.ablation.site, len(draw.ablation.heads)) == (site, 2)
        assert {head.layer for head in draw.ablation.heads} == {layer}


@pytest.mark.parametrize(
    ("site", "from_", "told"),
    [
        ("encoder", "cat", False),
        ("cross", "chat", False),
        ("decoder", "dort", True),
        ("decoder", {"predicts": "dort"}, False),
        ("decoder", ["dort", {"predicts": "dort"}], False),
    ],
)
def test_rows_of_a_causal_site_that_predict_another_word_are_told(
    site: SiteName, from_: object, told: bool
) -> None:
    layer = max(SITES[site].layers)
    arguments = {"heads": f"L{layer}H1", "from": from_, "confirm": {"effect": {"good": "dort"}}}
    verdict = judge_at(site, 3.0, 3.0, *[2.0] * 20, **arguments)
    assert verdict.confirmed is not None
    assert ("this row does not predict the word" in verdict.confirmed) is told
    assert verdict.confirmed.startswith("attends, but ablation changes nothing")


@pytest.mark.parametrize(
    ("ablated", "required", "outcome", "unbreakable"),
    [
        (1.0, False, "vacuous", True),
        (1.0, True, "passed", False),
        (2.9, True, "failed", False),
    ],
)
def test_a_weight_that_no_model_can_miss_is_decided_by_ablation_if_that_is_required(
    ablated: float, required: bool, outcome: str, unbreakable: bool
) -> None:
    read = encoding("The keys are old", heads={0: 23})
    rule = parse_rule(
        "attends",
        {
            "from": "are",
            "to": ["The", "keys", "are", "old"],
            "heads": "L0H1",
            "min": 0.5,
            "renormalise": "words",
            "confirm": {"effect": {"required": required}},
        },
    )
    need, *_ = rule.needs(read)
    assert isinstance(need, Need)
    found = rows(read, need, distributions(read, 0))
    verdict = rule.judge([found, 3.0, ablated, *[2.0] * 20])
    assert (verdict.outcome, verdict.unbreakable) == (outcome, unbreakable)
    assert verdict.bounds[-1].observed == pytest.approx(1)


# Which words compete -----------------------------------------------------------------------------

#   0 Un  1 ##believ  2 ##able  3 keys  4 of  5 us  6 are  7 ol  8 ##d  9 .
DECODER = with_site(
    encoding("Un|believ|able keys of us are ol|d .", site="decoder", causal=True, ends=False),
    windows={1: 4},
)
COLUMNS = {
    "Unbelievable": (0, 1, 2),
    "keys": (3,),
    "of": (4,),
    "us": (5,),
    "are": (6,),
    "old": (7, 8),
    ".": (9,),
}
PLACES = tuple(COLUMNS)
WINDOWS = {0: 99, 1: 4, 2: 99}
HEADS: dict[str, tuple[object, tuple[Head, ...]]] = {
    "L0H1": ("L0H1", (Head(0, 1),)),
    "L1H0": ("L1H0", (Head(1, 0),)),
    "best": ({"in": ["L2H0", "L1H1"], "how": "best"}, (Head(2, 0), Head(1, 1))),
}


def sees(layers: set[int], query: tuple[int, ...], key: tuple[int, ...]) -> bool:
    """Whether in each layer a piece of the query sees a piece of the key."""
    return all(
        any(at <= row and row - at < WINDOWS[layer] for row in query for at in key)
        for layer in layers
    )


@given(
    st.sampled_from(PLACES),
    st.sampled_from(PLACES),
    st.integers(1, 4),
    st.sampled_from(sorted(HEADS)),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_rank_at_a_causal_site_with_windows_p21(
    from_: str, to: str, top: int, heads: str, attends: bool, scaled: bool, seed: int
) -> None:
    selected, members = HEADS[heads]
    layers = {head.layer for head in members}
    query, key = COLUMNS[from_], COLUMNS[to]
    assume(sees(layers, query, key))
    arguments = {"from": from_, "to": to, "heads": selected, "top": top}
    arguments |= {"renormalise": "words"} if scaled else {}
    rule = parse_rule("attends" if attends else "ignores", arguments)
    # The first token is a sink: it competes where the rule names it, and so it does nowhere here.
    rivals = [
        columns
        for word, columns in COLUMNS.items()
        if word not in (from_, to) and sees(layers, query, tuple(set(columns) - {0}))
    ]
    if top > len(rivals):
        with pytest.raises(SelectorError) as caught:
            rule.needs(DECODER)
        only = f"only {len(rivals)} other words compete"
        assert str(caught.value) == f"top: {top} decides nothing: {only}"
        return
    weights = distributions(DECODER, seed)
    need, *_ = rule.needs(DECODER)
    assert isinstance(need, Need)
    mean = {head: weights[head.layer][head.head][list(query)].mean(axis=0) for head in members}
    content = {head: row.sum() - row[0] * (0 not in key) for head, row in mean.items()}
    assume(min(content.values()) > LEAST_CONTENT + 1e-6)
    divisor = content if scaled else dict.fromkeys(members, 1.0)
    values = {head: row[list(key)].sum() / divisor[head] for head, row in mean.items()}
    decider = (max if attends else min)(members, key=lambda head: values[head])
    others = [
        mean[decider][sorted(set(columns) - {0})].sum() / divisor[decider] for columns in rivals
    ]
    lead = float(values[decider] - sorted(others, reverse=True)[top - 1])
    assume(min(abs(values[decider] - other) for other in others) > 1e-6)
    assume(abs(abs(lead) - BAND) > 1e-6)
    rank = 1 + sum(bool(other > values[decider]) for other in others)
    verdict = rule.judge([rows(DECODER, need, weights)])
    assert (verdict.observed, verdict.head) == (rank, str(decider))
    holds = (rank <= top) is attends
    near = "passed" if holds else "failed"
    assert verdict.outcome == ("borderline" if abs(lead) < BAND else near)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bounds", "message"),
    [
        ("attends", {}, "attends demands nothing; give min:, max:, top: or over:"),
        ("ignores", {}, "ignores demands nothing; give max:, top: or over:"),
        *(
            (
                kind,
                {"max": 0.1, name: 0.1},
                "margin and ratio compare with a second word; name it with over:",
            )
            for kind in ("attends", "ignores")
            for name in ("margin", "ratio")
        ),
        (
            "attends",
            {"min": 0.3, "among": "words"},
            "among: says what competes for a rank; give top: as well",
        ),
        ("ignores", {"over": "box"}, "over: and to: are both box; compare with another word"),
        ("attends", {"min": 0.3, "max": 0.3}, "min: must be below max:"),
        ("attends", {"min": 0.31, "max": 0.3}, "min: must be below max:"),
        (
            "attends",
            {"top": 1, "among": "all", "renormalise": "words"},
            "among: all lets sinks compete, renormalise: words leaves them out; give one of them",
        ),
        (
            "attends",
            {"min": 0.1, "confirm": "effect", "heads": "mean"},
            "confirm: effect ablates all of the heads together; name them, without any, all or "
            "mean",
        ),
    ],
)
def test_arguments_that_contradict_each_other(
    kind: str, bounds: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_rule(kind, {"from": "cat", "to": "box", "heads": "L0H0", **bounds})
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


CAUSAL = with_site(encoding("The keys are old .", site="decoder", causal=True), windows={0: 2})
NARROW = with_site(CAUSAL, windows={0: 2, 1: 3, 2: 9})
LATER = "it comes later, and this site sees only what came before"
HIDDEN = "it lies outside of the sliding window of 2 tokens"


@pytest.mark.parametrize(
    ("read", "kind", "names", "message"),
    [
        (CAUSAL, "attends", ("keys", "old"), f"keys cannot attend to old: {LATER}"),
        (CAUSAL, "ignores", ("are", "keys", "old"), f"are cannot attend to old: {LATER}"),
        (CAUSAL, "ignores", (["The", "are"], "keys"), f"The cannot attend to keys: {LATER}"),
        (CAUSAL, "ignores", ("are", ["keys", "."]), f"are cannot attend to .: {LATER}"),
        (
            CAUSAL,
            "attends",
            ("old", "keys", None, "L0H0"),
            f"old cannot attend to keys in layer 0: {HIDDEN}; layers without a window: 1, 2",
        ),
        (
            CAUSAL,
            "ignores",
            ("old", "keys", None, "L0-L1"),
            f"old cannot attend to keys in layer 0: {HIDDEN}; layers without a window: 1, 2",
        ),
        (
            CAUSAL,
            "attends",
            ("old", "are", "keys", "L0-L1"),
            f"old cannot attend to keys in layer 0: {HIDDEN}; layers without a window: 1, 2",
        ),
        (
            NARROW,
            "attends",
            ("old", "The", None, "L0-L1"),
            f"old cannot attend to The in layer 0: {HIDDEN}; leave out layers 0, 1, or choose "
            "nearer words",
        ),
        (CAUSAL, "attends", ("old", "keys", None, "L0-L1"), None),
        (CAUSAL, "attends", ("old", "are", None, "L0H0"), None),
        (NARROW, "attends", ("old", "The", None, "L0-L2"), None),
        (
            CAUSAL,
            "attends",
            ("old", "keys are", "are"),
            'to: "keys are" and over: are share tokens',
        ),
    ],
)
def test_words_that_no_head_can_relate_p25(
    read: Encoding, kind: str, names: tuple[object, ...], message: str | None
) -> None:
    from_, to, over, heads = (*names, None, None)[:4]
    bound = {"min" if kind == "attends" else "max": 0.1}
    arguments = {"from": from_, "to": to, "over": over, "heads": heads or "L1H0", **bound}
    rule = parse_rule(kind, arguments)
    if message is None:
        assert rule.needs(read)
        return
    with pytest.raises(SelectorError) as caught:
        rule.needs(read)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("heads", "head"),
    [
        ("L1H1", "L1H1"),
        ({"in": ["L0H0", "L1H1"], "how": "all"}, "L1H1"),
        ("mean", "mean of 6 heads"),
    ],
)
def test_heads_without_words_are_named(heads: object, head: str) -> None:
    read = encoding("The keys are old .")
    rule = parse_rule("attends", {"from": "are", "to": "keys", "top": 1, "heads": heads})
    need, *_ = rule.needs(read)
    assert isinstance(need, Need)
    weights = distributions(read, 0)
    empty = np.zeros(len(read.source), np.float32)
    empty[[0, 2, -1]] = 0.5, LEAST_CONTENT - 0.01, 0.51 - LEAST_CONTENT
    weights[1] = weights[1].copy()
    weights[1][1] = empty
    if heads == "mean":
        weights = dict.fromkeys(weights, np.tile(empty, (2, len(read.source), 1)))
    with pytest.raises(MeasureError) as caught:
        rule.judge([rows(read, need, weights)])
    assert str(caught.value) == (
        f"{head} cannot be judged: words get less than 5% of its row, the rest goes to special "
        "tokens, to a sink or to the first token"
    )


# What a verdict says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bounds", "told"),
    [
        ("attends", {"min": 0.3}, ("weight", "weight", 0.5, ">=", 0.3, "passed")),
        ("attends", {"max": 0.3}, ("weight", "weight", 0.5, "<=", 0.3, "failed")),
        ("ignores", {"max": 0.3}, ("weight", "weight", 0.5, "<=", 0.3, "failed")),
        ("attends", {"top": 1}, ("rank", "rank", 1, "<=", 1, "passed")),
        ("ignores", {"top": 1}, ("rank", "rank", 1, ">", 1, "failed")),
        ("attends", {"over": "the"}, ("margin over the", "weight", 0.375, ">", 0, "passed")),
        ("ignores", {"over": "the"}, ("margin below the", "weight", -0.375, ">", 0, "failed")),
        (
            "attends",
            {"over": "the", "margin": 0.375},
            ("margin over the", "weight", 0.375, ">=", 0.375, "borderline"),
        ),
        (
            "attends",
            {"over": "the", "ratio": 4.5},
            ("ratio over the", "ratio", 4, ">=", 4.5, "failed"),
        ),
        (
            "ignores",
            {"over": "the", "ratio": 0.2},
            ("ratio below the", "ratio", 0.25, ">=", 0.2, "passed"),
        ),
        (
            "attends",
            {"min": 0.3, "renormalise": "words"},
            ("weight among words", "weight", 0.8, ">=", 0.3, "passed"),
        ),
        (
            "attends",
            {"over": "the", "ratio": 0.0005},
            ("ratio over the", "ratio", 4, ">=", 0.0005, "passed"),
        ),
    ],
)
def test_the_deciding_bound(kind: str, bounds: dict[str, Any], told: tuple[Any, ...]) -> None:
    read = encoding("The ani|mals slept near the riv|er .")
    row = np.zeros(len(read.source), np.float32)
    row[[5, 6, 10]] = 0.5, 0.125, 0.375  # near, the, [SEP]
    rule = parse_rule(kind, {"from": "slept", "to": "near", "heads": "L0H0", **bounds})
    need, *_ = rule.needs(read)
    assert isinstance(need, Need)
    verdict = rule.judge([rows(read, need, {0: np.tile(row, (2, len(read.source), 1))})])
    assert len(verdict.bounds) == 1
    bound = verdict.deciding
    assert (bound.measure, bound.unit, bound.relation, bound.demanded, bound.outcome) == (
        *(told[0], told[1], told[3], told[4], told[5]),
    )
    assert bound.observed == pytest.approx(told[2])
    # A ratio that any weight above zero reaches says nothing.
    assert verdict.unbreakable == (bounds.get("ratio") == 0.0005)


@pytest.mark.parametrize("how", ["any", "all", "best", "mean", {"at_least": 2}])
@pytest.mark.parametrize("kind", ["attends", "ignores"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_what_is_shown_is_of_the_head_that_decided(kind: str, how: object, seed: int) -> None:
    read = encoding("The ani|mals slept near the riv|er .", heads={0: 2, 2: 2})
    words = {"The": [1], "animals": [2, 3], "slept": [4], "the": [6], "river": [7, 8], ".": [9]}
    heads = {"in": ["L2H1", "L0"], "how": how}
    bound = {"min" if kind == "attends" else "max": 0.1}
    rule = parse_rule(
        kind, {"from": "animals", "to": "near", "over": "the", "heads": heads} | bound
    )
    need, *_ = rule.needs(read)
    assert isinstance(need, Need)
    assert (need.layers, need.rows) == ((0, 2), (2, 3))
    weights = distributions(read, seed)
    verdict = rule.judge([rows(read, need, weights)])
    members = (Head(2, 1), Head(0, 0), Head(0, 1))
    by_name = {str(head): weights[head.layer][head.head][2:4].mean(axis=0) for head in members}
    by_name["mean of 3 heads"] = np.mean([by_name[str(head)] for head in members], axis=0)
    row = by_name[verdict.head]
    assert verdict.sink == pytest.approx(row[0] + row[-1], abs=1e-6)
    shares = {word: float(row[columns].sum()) for word, columns in words.items()}
    shares |= {"near": float(row[5]), "[CLS]": float(row[0]), "[SEP]": float(row[-1])}
    strongest = sorted(shares, key=lambda word: -shares[word])[: len(verdict.top)]
    assert [word for word, _ in verdict.top] == strongest
    assert [share for _, share in verdict.top] == pytest.approx(
        [shares[word] for word in strongest]
    )
    assert verdict.picture is not None
    shown = members if how == "mean" else (Head.parse(verdict.head),)
    assert verdict.picture.heads == shown
    assert (verdict.picture.site, verdict.picture.rows) == ("encoder", (2, 3))
    assert (verdict.picture.expected, verdict.picture.contrast) == ((5,), (6,))
    assert verdict.heads_tried == 3
