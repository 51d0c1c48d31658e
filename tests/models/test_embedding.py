"""How alike a model finds texts, against embeddings made by hand with hooks and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from attnprobe.cases import Case, parse, yamltext
from attnprobe.core.errors import MeasureError, ModelError, SelectorError
from attnprobe.core.needs import Ablation, Need, Pool, Similarity
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.models import Model, load
from attnprobe.rules import parse_rule
from attnprobe.rules.base import Rule
from attnprobe.run.explain import explain
from attnprobe.run.runner import Runner
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up import FakeReader, encoding, rows
from tests.support.tiny_lm import depth, hooked, model, put

TEXT = "The keys are old"
POSITIVE = "Old keys"
NEGATIVE = "The dogs of the house barked"


def embedding(found: Model, text: str, pool: str) -> np.ndarray[Any, Any]:
    """The pooled states of a text alone, by a plain forward of the network."""
    base: Any = found.network.base_model
    ids = torch.tensor([found.tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        states = base(input_ids=ids).last_hidden_state[0].double().numpy()
    picked = {"mean": states.mean(axis=0), "cls": states[0], "lasttoken": states[-1]}
    return np.asarray(picked[pool])


def cosine(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def by_hand(found: Model, pool: str = "mean") -> float:
    text, positive, negative = (embedding(found, one, pool) for one in (TEXT, POSITIVE, NEGATIVE))
    return cosine(text, positive) - cosine(text, negative)


# What it measures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("architecture", ["bert", "llama", "gpt2"])
def test_it_is_a_difference_of_cosines(architecture: str, pool: Pool) -> None:
    found = model(architecture)
    if pool == "cls" and architecture != "bert":
        # It sees none of the others, so its embedding would be the same for every text.
        with pytest.raises(SelectorError, match=r"the first token of .* sees none of the others"):
            found.read_out([Similarity(Sample(TEXT), POSITIVE, NEGATIVE, pool)])
        return
    asked = [
        Similarity(Sample(TEXT), POSITIVE, NEGATIVE, pool),
        Similarity(Sample(TEXT), POSITIVE, None, pool),
    ]
    both, alone = found.read_out(asked)
    assert both == pytest.approx(by_hand(found, pool), abs=1e-5)
    ends = (embedding(found, text, pool) for text in (TEXT, POSITIVE))
    assert alone == pytest.approx(cosine(*ends), abs=1e-5)


@pytest.mark.parametrize(("architecture", "site"), [("bert", "encoder"), ("llama", "decoder")])
def test_heads_are_ablated_in_all_texts(architecture: str, site: Any) -> None:
    found = model(architecture)
    ablation = Ablation(site, (Head(1, 1),))
    intact, ablated = found.read_out(
        [Similarity(Sample(TEXT), POSITIVE, NEGATIVE, "mean", one) for one in (None, ablation)]
    )
    with hooked(architecture, site, 1, put(1, depth(architecture, site), 0.0)):
        expected = by_hand(found)
    assert ablated == pytest.approx(expected, abs=1e-5)
    assert abs(ablated - intact) > 1e-4


def test_a_mean_stands_in_for_a_head() -> None:
    found = model("bert")
    size = depth("bert", "encoder")
    seen: list[torch.Tensor] = []
    with hooked("bert", "encoder", 1, lambda given: seen.append(given[..., :size].clone())):
        embedding(found, NEGATIVE, "mean")
    mean = seen[0].reshape(-1, size).mean(dim=0)
    ablation = Ablation("encoder", (Head(1, 0),), "mean", (Sample(NEGATIVE),))
    asked = Similarity(Sample(TEXT), POSITIVE, NEGATIVE, ablation=ablation)
    (ablated,) = found.read_out([asked])
    with hooked("bert", "encoder", 1, put(0, size, mean)):
        assert ablated == pytest.approx(by_hand(found), abs=1e-5)


def test_many_at_once_are_as_each_alone() -> None:
    found = model("bert")
    asked = [
        Similarity(Sample(text), POSITIVE, negative, pool, ablation)
        for text in (TEXT, NEGATIVE)
        for negative in (None, "cold")
        for pool in ("mean", "cls")
        for ablation in (None, Ablation("encoder", (Head(0, 2),)))
    ]
    before = found.forwards
    together = found.read_out(asked)
    assert found.forwards - before < len(asked)
    alone = [value for one in asked for value in found.read_out([one], batch_tokens=1)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_words_and_texts_can_be_asked_for_together() -> None:
    found = model("bert")
    effects = [
        parse_rule("effect", {"heads": "L1H1", "min": 0.1, **asked})
        for asked in ({"good": "are"}, {"positive": POSITIVE})
    ]
    word, text = (rule.needs(found.encode(Sample(TEXT)))[1] for rule in effects)
    assert not isinstance(word, Need)
    assert not isinstance(text, Need)
    assert found.read_out([text, word, text]) == pytest.approx(
        [*found.read_out([text]), *found.read_out([word]), *found.read_out([text])], abs=1e-6
    )


def test_the_demo_model_finds_a_negation_less_alike(minilm: Model) -> None:
    text, positive, negative = "Nobody came.", "No one came.", "Everybody came."
    (value,) = minilm.read_out([Similarity(Sample(text), positive, negative)])
    ends = [embedding(minilm, one, "mean") for one in (text, positive, negative)]
    assert value == pytest.approx(cosine(ends[0], ends[1]) - cosine(ends[0], ends[2]), abs=1e-5)
    assert value > 0


def test_an_encoder_decoder_has_no_embedding() -> None:
    with pytest.raises(ModelError, match=r"marian is an encoder-decoder, .* words with good:"):
        model("marian").read_out([Similarity(Sample(TEXT, "les clefs"), POSITIVE)])


def test_an_embedding_that_is_no_number_is_an_error_p19() -> None:
    network: Any = tiny_network("bert")
    found = Model.of(network, tiny_tokenizer(), name="broken")
    last = network.encoder.layer[-1].output
    with torch.no_grad():
        last.LayerNorm.weight.zero_()
        last.LayerNorm.bias.zero_()
    with pytest.raises(MeasureError, match="broken gives texts an embedding that is no number"):
        found.read_out([Similarity(Sample(TEXT), POSITIVE)])


def test_the_second_text_of_a_comparison_is_not_cut_p15() -> None:
    with pytest.raises(SelectorError, match="tokens"):
        model("bert").read_out([Similarity(Sample(TEXT), "x" * 5000)])


# The rule -----------------------------------------------------------------------------------------

LAYERS = {0: 4, 1: 4}


def judged(rule: Rule, intact: float, ablated: float) -> Verdict:
    read = encoding(TEXT, heads=LAYERS, site="encoder", causal=False, ends=True)
    need, *readouts = rule.needs(read)
    assert isinstance(need, Need)
    assert need.rows == tuple(range(len(read.source)))
    assert all(isinstance(one, Similarity) for one in readouts)
    draws = [intact] * (len(readouts) - 2)
    return rule.judge([rows(read, need, FakeReader().weights(read)), intact, ablated, *draws])


@pytest.mark.parametrize(("ablated", "outcome"), [(0.1, "passed"), (0.25, "failed")])
def test_effect_tells_what_ablation_does_to_the_likeness(ablated: float, outcome: str) -> None:
    rule = parse_rule(
        "effect", {"heads": "L1H2", "positive": POSITIVE, "negative": NEGATIVE, "min": 0.1}
    )
    verdict = judged(rule, 0.3, ablated)
    assert verdict.outcome == outcome
    assert verdict.measure == "fall of the similarity (cosine)"
    assert verdict.observed == pytest.approx(0.3 - ablated)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"positive": POSITIVE, "good": "are"}, "not both"),
        ({"positive": POSITIVE, "bad": "is"}, "not both"),
        ({"positive": POSITIVE, "negative": POSITIVE}, "are the same text"),
        ({"negative": NEGATIVE, "good": "are"}, "need positive:"),
        ({"pool": "cls", "good": "are"}, "need positive:"),
        ({"positive": ""}, "at least 1 character"),
        ({"positive": POSITIVE, "pool": "max"}, "'mean', 'cls' or 'lasttoken'"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        parse_rule("effect", {"heads": "L1H2", "min": 0.1, **arguments})
    attends = {"from": "are", "to": "keys", "heads": "L1H2", "min": 0.2}
    with pytest.raises(ValidationError, match=complaint):
        parse_rule("attends", {**attends, "confirm": {"effect": arguments}})


@pytest.mark.parametrize(("negative", "most"), [(None, 2), (NEGATIVE, 4)])
def test_no_change_of_cosines_is_larger_than_they_can_be(negative: str | None, most: int) -> None:
    asked = {"heads": "L1H2", "positive": POSITIVE, "negative": negative}
    parse_rule("effect", {**asked, "min": most - 0.1})
    with pytest.raises(ValidationError, match=f"min: must be below {most}"):
        parse_rule("effect", {**asked, "min": most})


@pytest.mark.parametrize("role", ["positive", "negative"])
def test_a_text_is_like_itself_whatever_is_taken_out(role: str) -> None:
    texts = {"positive": POSITIVE, "negative": NEGATIVE, role: TEXT}
    with pytest.raises(SelectorError, match="other texts than the case's own"):
        parse_rule("effect", {"heads": "L1H2", "max": 0.1, **texts}).needs(
            model("bert").encode(Sample(TEXT))
        )


def test_a_change_too_small_to_be_told_from_none_is_not_demanded() -> None:
    with pytest.raises(ValidationError, match=r"min: must be above 0\.001"):
        parse_rule("effect", {"heads": "L1H2", "positive": POSITIVE, "min": 0.001})


def test_a_long_text_is_not_drawn() -> None:
    text = " ".join(["key"] * 15)
    verdict = model("bert").attention(text).judge("effect", heads="L1H1", positive="old", max=1.9)
    assert verdict.picture is None


def suite(expect: str) -> tuple[Case, ...]:
    text = (
        "version: 1\nsuite: s\ndefaults: {heads: L1H1}\ncases:\n"
        f'  - id: a\n    template: "The {{noun}} are old"\n    rows: [{{noun: keys}}]\n'
        f"    expect: [{expect}]\n"
    )
    return parse(yamltext.loads(text.encode(), "a.attn.yaml"))


def test_a_case_is_judged_by_the_models_own_embeddings() -> None:
    asked = f'{{heads: L1H1, positive: "Old {{noun}}", negative: {NEGATIVE}, max: 0.9}}'
    (case,) = suite(f"effect: {asked}")
    found = model("bert")
    (finding,) = Runner(found, [case], pictures=True).judge(case)
    assert finding.verdict is not None
    assert finding.matrix is not None
    intact = by_hand(found)
    with hooked("bert", "encoder", 1, put(1, depth("bert", "encoder"), 0.0)):
        ablated = by_hand(found)
    assert finding.verdict.observed == pytest.approx(intact - ablated, abs=1e-5)
    told = explain(case, finding)
    assert "fall of the similarity (cosine)" in told
    assert f"effect on likeness to 'Old keys' over '{NEGATIVE}'" in told


def test_attention_can_be_confirmed_by_it() -> None:
    effect = f"effect: {{positive: {POSITIVE}, negative: {NEGATIVE}, required: true}}"
    (case,) = suite(f"attends: {{from: are, to: keys, min: 0.0001, confirm: {{{effect}}}}}")
    (finding,) = Runner(model("bert"), [case]).judge(case)
    assert finding.verdict is not None
    assert finding.verdict.control is not None
    assert finding.verdict.confirmed is not None
    assert "predicts" not in finding.verdict.confirmed
    with hooked("bert", "encoder", 1, put(1, depth("bert", "encoder"), 0.0)):
        ablated = by_hand(model("bert"))
    assert finding.verdict.control.ablated == pytest.approx(ablated, abs=1e-5)


def test_a_model_without_a_language_model_head_has_embeddings(minilm: Model) -> None:
    assert load(minilm.ref, name="again").read_out([Similarity(Sample("a"), "a")]) == [
        pytest.approx(1, abs=1e-6)
    ]
