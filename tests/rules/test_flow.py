"""`flow` against explicit loops, and against networkx where a problem is solved for us."""

from __future__ import annotations

from typing import Any

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import FlowGraph
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.sites import Site
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.models import Model
from attnprobe.rules import parse_rule
from attnprobe.rules.flow import max_flow, mixing, rollout, through
from attnprobe.words.positions import groups
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up import FakeReader, distributions, encoding, rows, with_site

BRIEF = "The animal didn't cross the street because it was too tired."
# Tokens:  0 [CLS]  1 The  2 ani  3 ##mals  4 slept  5 near  6 the  7 riv  8 ##er  9 .  10 [SEP]
READ = encoding("The ani|mals slept near the riv|er .")
CAUSAL = encoding("The ani|mals slept near the riv|er .", site="decoder", causal=True)
SEEDS = st.integers(0, 2**32 - 1)


def judge(read: Encoding = READ, weights: dict[int, Floats] | int = 0, **arguments: Any) -> Verdict:
    if isinstance(weights, int):
        weights = distributions(read, weights)
    rule = parse_rule("flow", {name.rstrip("_"): value for name, value in arguments.items()})
    (need,) = rule.needs(read)
    return rule.judge([rows(read, need, weights)])


def mixed(weights: dict[int, Floats], *, causal: bool = False) -> list[list[list[float]]]:
    """Â of each layer, cell by cell."""
    found = []
    for layer in sorted(weights):
        heads, length, _ = weights[layer].shape
        matrix = []
        for t in range(length):
            row = [
                sum(float(weights[layer][h, t, s]) for h in range(heads)) / heads
                for s in range(length)
            ]
            if causal:
                total = sum(row)
                row = [row[s] / (t - s + 1) if s <= t else 0.0 for s in range(length)]
                row = [value * total / sum(row) for value in row]
            row[t] += 1
            matrix.append([value / sum(row) for value in row])
        found.append(matrix)
    return found


def rolled(edges: list[list[list[float]]]) -> list[list[list[float]]]:
    """The rollout up to each layer, as sums over the positions between."""
    found = [edges[0]]
    for layer in edges[1:]:
        size = range(len(layer))
        found.append(
            [[sum(layer[t][m] * found[-1][m][s] for m in size) for s in size] for t in size]
        )
    return found


def oracle(edges: Floats) -> Floats:
    """Max-flow by networkx, in fractions."""
    layers, length, _ = edges.shape
    graph = networkx.DiGraph()
    for layer in range(layers):
        for t in range(length):
            for s in range(length):
                graph.add_edge((layer + 1, t), (layer, s), capacity=float(edges[layer, t, s]))
    flows = np.array(
        [
            [networkx.maximum_flow_value(graph, (layers, t), (0, s)) for s in range(length)]
            for t in range(length)
        ]
    )
    shares: Floats = flows / flows.sum(axis=1, keepdims=True)
    return shares


# The numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [READ, CAUSAL], ids=["encoder", "decoder"])
@given(seed=SEEDS)
@settings(max_examples=20)
def test_mixing_and_rollout_are_those_of_explicit_loops(read: Encoding, seed: int) -> None:
    (site,) = read.sites.values()
    weights = distributions(read, seed)
    edges = mixing(weights, causal=site.causal)
    expected = mixed(weights, causal=site.causal)
    np.testing.assert_allclose(edges, expected, atol=1e-6)
    through = rollout(edges)
    np.testing.assert_allclose(through, rolled(expected), atol=1e-6)
    for matrices in (edges, through):
        assert matrices.min() >= 0
        np.testing.assert_allclose(matrices.sum(axis=-1), 1, atol=1e-6)
    if site.causal:
        assert not np.triu(through, 1).any()


@given(SEEDS, st.integers(1, 3), st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_max_flow_is_that_of_networkx(seed: int, layers: int, length: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.full(length, 0.3), (layers, 2, length)).astype(np.float32)
    edges = mixing(dict(enumerate(weights)), causal=False)
    found = max_flow(edges)
    np.testing.assert_allclose(found, oracle(edges), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(max_flow(edges, [length - 1]), found[-1:])


def test_one_layer_flows_as_it_mixes() -> None:
    edges = mixing({0: distributions(READ, 3)[0]}, causal=False)
    np.testing.assert_allclose(max_flow(edges), edges[0], atol=1e-6)
    np.testing.assert_array_equal(rollout(edges)[0], edges[0])


def test_a_bottleneck_holds_the_max_flow_but_not_the_rollout() -> None:
    """Position 2 hears of 0 through 1 alone: 0.5 · 0.5 by rollout, 0.5 by max-flow."""
    low = np.array([[[1, 0, 0], [1, 0, 0], [0, 0, 1]]], np.float32)
    high = np.array([[[1, 0, 0], [0, 1, 0], [0, 1, 0]]], np.float32)
    edges = mixing({0: low, 1: high}, causal=False)
    assert rollout(edges)[1][2].tolist() == [0.25, 0.25, 0.5]
    assert max_flow(edges, [2])[0].tolist() == [pytest.approx(value) for value in (1 / 3,) * 3]


def test_early_tokens_of_a_causal_site_gain_nothing_by_being_seen_often() -> None:
    """Under uniform attention the first token gathers most; normalised, it gets less."""
    length = 8
    uniform = np.tril(np.ones((1, length, length), np.float32))
    uniform /= uniform.sum(axis=-1, keepdims=True)
    layers = dict.fromkeys(range(4), uniform)
    plain = rollout(mixing(layers, causal=False))[-1].sum(axis=0)
    normalised = rollout(mixing(layers, causal=True))[-1].sum(axis=0)
    assert plain[0] / plain.mean() > 2.4
    assert normalised[0] / normalised.mean() < 0.8 * plain[0] / plain.mean()


def test_a_learned_sink_keeps_what_it_took() -> None:
    weights = distributions(CAUSAL, 1)
    halved = {layer: found / 2 for layer, found in weights.items()}
    diagonal = mixing(halved, causal=True)[0].diagonal()
    expected = (1 + (2 * mixing(weights, causal=True)[0].diagonal() - 1) / 2) / 1.5
    np.testing.assert_allclose(diagonal, expected, atol=1e-6)


def test_a_row_of_a_causal_site_does_not_depend_on_what_follows() -> None:
    weights = distributions(CAUSAL, 5)
    whole = rollout(mixing(weights, causal=True))[-1]
    start = rollout(
        mixing({layer: found[:, :6, :6] for layer, found in weights.items()}, causal=True)
    )[-1]
    np.testing.assert_allclose(whole[:6, :6], start, atol=1e-6)


@given(SEEDS, st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_a_window_does_not_change_the_receptive_field(seed: int, window: int) -> None:
    """Against rows counted one by one: those up to row t that see s."""
    read = with_site(CAUSAL, windows={1: window})
    weights = distributions(read, seed)
    edges = mixing(weights, causal=True)
    for layer, found in weights.items():
        length = found.shape[-1]
        seen = np.tri(length, dtype=bool)
        if layer == 1:
            seen &= np.subtract.outer(np.arange(length), np.arange(length)) < window
        count = np.cumsum(seen, axis=0)
        mean = found.astype(np.float64).mean(axis=0)
        shared = np.where(seen, mean / np.maximum(count, 1), 0)
        shared *= mean.sum(axis=1, keepdims=True) / shared.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(edges[layer], (shared + np.eye(length)) / 2, atol=1e-6)


@given(st.dictionaries(st.integers(0, 3), st.integers(1, 5)), st.booleans(), st.integers(1, 4))
@settings(deadline=None)
def test_what_the_windows_of_all_layers_let_through(
    windows: dict[int, int], causal: bool, count: int
) -> None:
    """Against paths: a product of what each layer sees, the residual connection included."""
    site = Site("decoder", dict.fromkeys(range(4), 2), causal, windows)
    layers = tuple(range(count))
    length = 12
    cells = [(q, k) for q in range(length) for k in range(length)]
    reached = np.eye(length, dtype=int)
    for layer in layers:
        seen = np.array([site.sees(layer, q, k) for q, k in cells]).reshape(length, length)
        reached = ((seen | np.eye(length, dtype=bool)).astype(int) @ reached > 0).astype(int)
    together = through(site, layers)
    found = [all(together.sees(layer, q, k) for layer in layers) for q, k in cells]
    assert found == reached.astype(bool).ravel().tolist()


# The rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rollout", "maxflow"])
@pytest.mark.parametrize("read", [READ, CAUSAL], ids=["encoder", "decoder"])
def test_the_share_is_summed_over_pieces_to_and_averaged_over_pieces_from(
    read: Encoding, method: str
) -> None:
    (site,) = read.sites.values()
    weights = distributions(read, 7)
    edges = mixing(weights, causal=site.causal)
    matrix = rollout(edges)[-1] if method == "rollout" else max_flow(edges)
    expected = float(matrix[[7, 8]][:, [2, 3]].sum()) / 2
    verdict = judge(read, weights, from_="river", to="animals", min=0.01, method=method)
    assert verdict.observed == pytest.approx(expected, abs=1e-6)
    assert (verdict.measure, verdict.head) == ("share of the flow", "mean of 6 heads")
    others = sum(matrix[[7, 8]].mean(axis=0)[at] for at in (1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert verdict.sink == pytest.approx(1 - float(others), abs=1e-6)
    assert verdict.picture is None


def test_the_rank_among_other_words() -> None:
    weights = distributions(READ, 2)
    row = rollout(mixing(weights, causal=False))[-1][4]
    columns = {"The": [1], "animals": [2, 3], "near": [5], "the": [6], "river": [7, 8], ".": [9]}
    shares = {word: float(row[places].sum()) for word, places in columns.items()}
    ranked = sorted(shares, key=lambda word: -shares[word])
    for rank, word in enumerate(ranked, 1):
        verdict = judge(READ, weights, from_="slept", to=word, top=2)
        assert (verdict.measure, verdict.observed) == ("rank", rank)
        assert verdict.outcome in (
            ("passed", "borderline") if rank <= 2 else ("failed", "borderline")
        )


@pytest.mark.parametrize("method", ["rollout", "maxflow"])
@pytest.mark.parametrize(
    "stated",
    [{"min": 0.2}, {"max": 0.1}, {"top": 1}, {"over": "the"}, {"over": "the", "margin": 0.1}],
)
def test_every_demand_can_hold_and_can_fail(stated: dict[str, Any], method: str) -> None:
    outcomes = []
    for column in (5, 6):
        matrix = np.zeros((2, len(READ.source), len(READ.source)), np.float32)
        matrix[..., column] = 1
        weights = dict.fromkeys(range(3), matrix)
        verdict = judge(READ, weights, from_="slept", to="near", method=method, **stated)
        outcomes.append(verdict.outcome)
    assert outcomes == (["failed", "passed"] if "max" in stated else ["passed", "failed"])


def test_layers_name_the_uppermost() -> None:
    weights = distributions(READ, 4)
    through = rollout(mixing(weights, causal=False))
    for layers, last in (("L0", 0), ("L0-L1", 1), ("L0-L2", 2), (None, 2)):
        stated = {} if layers is None else {"layers": layers}
        verdict = judge(READ, weights, from_="slept", to="near", min=0.01, **stated)
        assert verdict.observed == pytest.approx(float(through[last][4, 5]), abs=1e-6)
        assert verdict.heads_tried == 2 * (last + 1)


def test_the_chart_holds_the_words_and_what_each_layer_hands_on() -> None:
    weights = distributions(READ, 4)
    (chart,) = judge(READ, weights, from_="river", to="animals", min=0.01).charts
    assert isinstance(chart, FlowGraph)
    assert chart.labels == tuple(word.label for word in groups(READ.source))
    assert (chart.layers, chart.start, chart.end) == ((0, 1, 2), (6,), (2,))
    assert chart.edges.shape == (3, 9, 9)
    np.testing.assert_allclose(chart.edges.sum(axis=-1), 1, atol=1e-6)
    edges = mixing(weights, causal=False)
    assert chart.edges[1, 6, 2] == pytest.approx(float(edges[1][[7, 8]][:, [2, 3]].sum()) / 2)


def test_a_causal_chart_ends_at_the_word_that_is_followed() -> None:
    (chart,) = judge(CAUSAL, 1, from_="near", to="animals", min=0.01).charts
    assert isinstance(chart, FlowGraph)
    assert chart.labels == ("[CLS]", "The", "animals", "slept", "near")
    np.testing.assert_allclose(chart.edges.sum(axis=-1), 1, atol=1e-6)


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"heads": "L1H1"}, "flow takes the mean over all heads"),
        ({"heads": "all"}, "write heads: mean in the rule"),
        ({"site": "cross"}, "flow follows one sequence; write encoder"),
        ({"layers": "L1-L2"}, "should match pattern"),
        ({"min": None}, "flow demands nothing"),
        ({"min": 1.0}, "less than 1"),
        ({"min": 0.5, "max": 0.4}, "min: must be below max:"),
    ],
)
def test_arguments_that_make_no_sense(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse_rule("flow", {"from": "slept", "to": "near", "min": 0.1, **stated})


def test_the_mean_may_be_named() -> None:
    named = judge(READ, 1, from_="slept", to="near", min=0.1, heads="mean")
    assert named.observed == judge(READ, 1, from_="slept", to="near", min=0.1).observed


def test_no_flow_from_the_future_p25() -> None:
    with pytest.raises(SelectorError, match="slept cannot attend to river: it comes later"):
        judge(CAUSAL, from_="slept", to="river", min=0.1)


FAR = encoding("The keys near the old door of the house are small .", site="decoder", causal=True)


@pytest.mark.parametrize("method", ["rollout", "maxflow"])
def test_no_flow_past_the_windows_of_all_layers_p21(method: str) -> None:
    """From "are", at 10, "keys" at 2 is 8 away: three layers must carry 8, and two cannot."""
    narrow = with_site(FAR, windows={0: 4, 1: 4, 2: 3})
    asked = {"from_": "are", "to": "keys", "max": 0.6, "method": method}
    assert judge(narrow, 3, **asked).outcome == "passed"
    with pytest.raises(SelectorError, match=r"nothing of keys reaches are: .* layers 0 to 1"):
        judge(narrow, 3, **asked, layers="L0-L1")
    with pytest.raises(SelectorError, match=r"layers 0 to 2 carry it 7 tokens at most"):
        judge(with_site(FAR, windows={0: 4, 1: 3, 2: 3}), 3, **asked)
    with pytest.raises(SelectorError, match="nothing of keys reaches are"):
        judge(with_site(FAR, windows={0: 4, 1: 3, 2: 3}), 3, from_="are", to="house", over="keys")
    # One layer without a window carries a word anywhere.
    assert judge(with_site(FAR, windows={0: 2, 2: 2}), 3, **asked).outcome == "passed"


def test_words_that_cannot_reach_do_not_compete() -> None:
    narrow = with_site(FAR, windows={0: 2, 1: 2, 2: 2})
    near = {"from_": "are", "to": "house"}
    # Only "of" and "the" are within three tokens besides.
    assert judge(narrow, 3, **near, top=2).measure == "rank"
    with pytest.raises(SelectorError, match="only 2 other words compete"):
        judge(narrow, 3, **near, top=3)


def test_a_window_of_each_layer_does_not_narrow_the_chance_rate() -> None:
    """All pairs that the layers together let through are tried, none that they do not."""
    asked = {"from": "are", "to": "of", "min": 0.01}
    rule = parse_rule("flow", asked)
    tried = {}
    for name, windows in (("narrow", {0: 2, 1: 2, 2: 2}), ("wide", {})):
        read = with_site(FAR, windows=windows)
        chance = rule.chance(read)
        assert chance is not None
        found = chance.controls(read, [])
        (need,) = chance.needs(read, found)
        outcomes = chance.judge([rows(read, need, distributions(read, 3))], found)
        tried[name] = int(outcomes.judged.sum())
    # "are" to "of" is 3 words: pairs of 2 to 3 words are alike, and three tokens reach them all.
    assert tried["narrow"] == tried["wide"] > 10


def test_a_layer_that_is_not_there_names_the_last_one_p22() -> None:
    with pytest.raises(SelectorError, match="no layer 7; the last with attention is 2"):
        judge(READ, from_="slept", to="near", min=0.1, layers="L0-L7")


def test_a_layer_without_attention_breaks_the_flow_p23() -> None:
    hybrid = encoding("The keys are old .", heads={0: 2, 2: 2}, site="decoder", causal=True)
    with pytest.raises(SelectorError, match="layer 1 mixes positions without attention weights"):
        judge(hybrid, from_="are", to="keys", min=0.1)
    assert judge(hybrid, from_="are", to="keys", min=0.01, layers="L0").heads_tried == 2


def test_no_flow_of_what_is_no_number_p19() -> None:
    weights = distributions(READ, 0)
    weights[1][1, 4, 2] = np.nan
    with pytest.raises(MeasureError, match="L1H1 has attention weights that are no numbers"):
        judge(READ, weights, from_="slept", to="near", min=0.1)


def test_a_max_flow_of_a_long_text_is_refused() -> None:
    read = encoding(" ".join(["a"] * 140 + ["slept near"]))
    with pytest.raises(SelectorError, match="maxflow takes minutes on 144 tokens"):
        judge(read, from_="slept", to="near", min=0.1, method="maxflow")
    assert judge(read, from_="slept", to="near", min=0.9).charts == ()


@pytest.mark.parametrize("site", ["decoder", "cross"])
def test_an_encoder_decoder_flows_in_its_encoder_only(site: Any) -> None:
    bart = Model.of(tiny_network("bart"), tiny_tokenizer(), name="tiny")
    sample = Sample("The keys", "Les clés")
    with pytest.raises(SelectorError, match=f"{site} attention of an encoder-decoder is no flow"):
        Attention(bart, sample, site).rollout()
    found = Attention(bart, sample, "encoder").rollout(unit="words")
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)


# The object and the demo model ------------------------------------------------------------------


def test_the_attention_object_gives_tokens_and_words() -> None:
    reader = FakeReader()
    attention = Attention(reader, Sample("The keys are old"))
    edges = mixing(reader.weights(reader.encode(attention.sample)), causal=False)
    np.testing.assert_array_equal(attention.rollout(), rollout(edges))
    np.testing.assert_array_equal(attention.flow(), max_flow(edges))
    assert attention.flow(unit="words").shape == (len(attention.words), len(attention.words))


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "modernbert"])
def test_real_windows_add_up_as_stated(architecture: str) -> None:
    """A network's own masks let a word through exactly where the sum of its windows says so."""
    model = Model.of(tiny_network(architecture), tiny_tokenizer(), name="tiny")
    attention = Attention(model, Sample("The keys near the old door are small."))
    (site,) = model.sites.values()
    assert site.windows
    rolled_out = attention.rollout()
    length = len(attention.tokens)
    for number, layer in enumerate(site.layers):
        together = through(site, site.layers[: number + 1])
        stated = [[together.sees(layer, q, k) for k in range(length)] for q in range(length)]
        assert ((rolled_out[number] > 0) == np.array(stated)).all()


def test_the_sentence_of_the_brief_flows_through_the_demo_model(minilm: Model) -> None:
    attention = Attention(minilm, Sample(BRIEF))
    layers = {layer: attention.weights(f"L{layer}")[None] for layer in range(6)}
    expected = rolled(mixed(layers))
    np.testing.assert_allclose(attention.rollout(), expected, atol=1e-5)
    it, animal = attention.words.index("it"), attention.words.index("animal")
    by_word = attention.rollout(unit="words")[-1]
    verdict = attention.judge("flow", from_="it", to="animal", min=0.01)
    assert verdict.observed == pytest.approx(float(by_word[it, animal]), abs=1e-6)
    flows = attention.flow(unit="words")
    np.testing.assert_allclose(flows.sum(axis=1), 1, atol=1e-5)
    verdict = attention.judge("flow", from_="it", to="animal", min=0.01, method="maxflow")
    assert verdict.observed == pytest.approx(float(flows[it, animal]), abs=1e-6)
