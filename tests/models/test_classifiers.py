"""Readouts of a model's own classifier, against a plain forward of the same network."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit, log_softmax
from torch import nn
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

import attnprobe
from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.needs import Ablation, AnswerScore, ClassScore, Readout
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model, load
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.tiny_lm import PROJECTIONS

TEXT = Sample("The keys are old")
KEYS = Span(4, 8)
LABELS = {0: "calm", 1: "angry", 2: "glad"}


def with_top(architecture: str, auto: Any, **settings: Any) -> Any:
    """A tiny network with a random classifier on top."""
    body = tiny_network(architecture, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = auto.from_config(body.config)
        for name, weights in network.named_parameters():
            if not name.startswith(f"{network.base_model_prefix}."):
                weights.data.normal_(0, 0.3)
        pooler = getattr(getattr(network, network.base_model_prefix), "pooler", None)
    if pooler is None and hasattr(body, "pooler"):
        body.pooler = None
    setattr(network, network.base_model_prefix, body)
    return network.train(False)


def probed(network: Any) -> Model:
    return Model.of(network, tiny_tokenizer(), name="tiny")


def outputs(network: Any, text: str = TEXT.text, pair: str | None = None) -> Any:
    read = tiny_tokenizer()(text, pair, return_tensors="pt")
    with torch.inference_mode():
        return network(input_ids=read["input_ids"])


def without_head(network: Any, architecture: str, site: SiteName, layer: int, head: int) -> Any:
    """A copy whose output projection takes nothing from the head."""
    damaged = copy.deepcopy(network)
    path = PROJECTIONS[architecture, site].format(layer)
    projection = damaged.get_submodule(path.removeprefix("bert.").removeprefix("model."))
    if not isinstance(projection, nn.Linear):
        raise TypeError(path)
    depth = projection.in_features // damaged.config.num_attention_heads
    projection.weight.data[:, head * depth : (head + 1) * depth] = 0
    return damaged


@pytest.mark.parametrize(
    ("architecture", "site"), [("bert", "encoder"), ("llama", "decoder")], ids=lambda p: p
)
def test_a_class_has_its_log_probability_with_and_without_heads(
    architecture: str, site: SiteName
) -> None:
    network = with_top(architecture, AutoModelForSequenceClassification, id2label=LABELS)
    ablation = Ablation(site, (Head(1, 1),))
    asked: list[Readout] = [
        ClassScore(TEXT, "angry"),
        ClassScore(TEXT, "angry", instead="glad"),
        ClassScore(TEXT, "angry", ablation=ablation),
    ]
    found = probed(network).read_out(asked)
    logs = log_softmax(outputs(network).logits[0].double().numpy())
    damaged = copy.deepcopy(network)
    body = getattr(damaged, damaged.base_model_prefix)
    setattr(damaged, damaged.base_model_prefix, without_head(body, architecture, site, 1, 1))
    expected = log_softmax(outputs(damaged).logits[0].double().numpy())
    assert found == pytest.approx([logs[1], logs[1] - logs[2], expected[1]], abs=1e-5)
    assert abs(found[0] - found[2]) > 1e-4


def test_a_word_has_the_class_of_its_first_token() -> None:
    network = with_top("bert", AutoModelForTokenClassification, id2label=LABELS)
    found = probed(network).read_out(
        [ClassScore(TEXT, "glad", KEYS), ClassScore(TEXT, "glad", KEYS, "calm")]
    )
    logs = log_softmax(outputs(network).logits[0, 1 + KEYS.start].double().numpy())
    assert found == pytest.approx([logs[2], logs[2] - logs[0]], abs=1e-5)


@pytest.mark.parametrize("pair", [None, "Which are old?"])
def test_an_answer_has_a_start_and_an_end(pair: str | None) -> None:
    network = with_top("bert", AutoModelForQuestionAnswering)
    if pair is None:
        one, span, first, text, second = TEXT, KEYS, 1 + KEYS.start, TEXT.text, None
    else:
        # The question comes first; the answer lies in the second text.
        one = Sample(pair, pair=TEXT.text)
        span = Span(*(at + one.parts[1].start for at in KEYS))
        first, text, second = 2 + len(pair) + KEYS.start, pair, TEXT.text
    (found,) = probed(network).read_out([AnswerScore(one, span)])
    tokenizer = tiny_tokenizer()
    ids = tokenizer(text, second, return_tensors="pt")["input_ids"]
    first = ids[0].tolist().index(tokenizer("k")["input_ids"][1])
    with torch.inference_mode():
        given = network(input_ids=ids)
    starts = log_softmax(given.start_logits[0].double().numpy())
    ends = log_softmax(given.end_logits[0].double().numpy())
    assert found == pytest.approx(starts[first] + ends[first + 3], abs=1e-5)


def test_classes_that_do_not_exclude_each_other_have_probabilities_of_their_own() -> None:
    network = with_top(
        "bert",
        AutoModelForSequenceClassification,
        id2label=LABELS,
        problem_type="multi_label_classification",
    )
    found = probed(network).read_out(
        [ClassScore(TEXT, "angry"), ClassScore(TEXT, "angry", instead="calm")]
    )
    logits = outputs(network).logits[0].double().numpy()
    assert found == pytest.approx(
        [log_expit(logits[1]), log_expit(logits[1]) - log_expit(logits[0])], abs=1e-5
    )
    assert np.exp(found[0]) == pytest.approx(expit(logits[1]))


def test_a_single_output_is_read_as_it_is() -> None:
    """As a cross-encoder scores a pair of texts."""
    network = with_top("bert", AutoModelForSequenceClassification, num_labels=1)
    both = Sample(TEXT.text, pair="They rust")
    (found,) = probed(network).read_out([ClassScore(both, "LABEL_0")])
    assert found == pytest.approx(
        float(outputs(network, TEXT.text, "They rust").logits[0, 0]), abs=1e-5
    )
    with pytest.raises(SelectorError, match="single output"):
        probed(network).read_out([ClassScore(both, "LABEL_0", instead="LABEL_0")])


def test_decoders_without_a_padding_token_read_texts_one_by_one() -> None:
    network = with_top("llama", AutoModelForSequenceClassification, id2label=LABELS)
    network.config.pad_token_id = None
    texts = [TEXT, Sample("The rats are old"), Sample("A longer text than these")]
    found = probed(network).read_out([ClassScore(text, "calm") for text in texts])
    expected = [log_softmax(outputs(network, t.text).logits[0].double().numpy())[0] for t in texts]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("readout", "message"),
    [
        (ClassScore(TEXT, "angri"), "no class 'angri'; did you mean 'angry'"),
        (ClassScore(TEXT, "angry", KEYS), "does not give the class of a word"),
        (AnswerScore(TEXT, KEYS), "does not give an answer in the text"),
    ],
)
def test_what_a_classifier_does_not_give_is_told(readout: Readout, message: str) -> None:
    network = with_top("bert", AutoModelForSequenceClassification, id2label=LABELS)
    with pytest.raises((SelectorError, ModelError), match=message):
        probed(network).read_out([readout])


def test_encoder_decoders_are_refused(tmp_path: Path) -> None:
    with_top("bart", AutoModelForSequenceClassification, id2label=LABELS).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="compare words with good:"):
        load(tmp_path).read_out([ClassScore(TEXT, "angry")])


# A classifier of a folder ------------------------------------------------------------------------

CASES = """
version: 1
suite: moods
defaults: {heads: L3H1}
cases:
  - id: sister
    text: My sister was cheerful when she came home.
    expect:
      - effect: {class: glad, instead: sad, max: 20}
      - attends: {from: she, to: sister, min: 0.0001, confirm: {effect: {class: glad}}}
  - id: unknown
    text: My sister was cheerful when she came home.
    expect: [{effect: {class: happy, max: 20}}]
"""


def test_a_fine_tuned_folder_is_probed_with_its_classifier(moods: Model, tmp_path: Path) -> None:
    model, folder = moods, moods.ref
    text = "My sister was cheerful when she came home."
    found = model.read_out([ClassScore(Sample(text), "glad"), ClassScore(Sample(text), "sad")])
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    read = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        logs = log_softmax(plain(**read).logits[0].double().numpy())
    assert found == pytest.approx([logs[1], logs[0]], abs=1e-4)
    assert found[0] > np.log(0.6)  # it has learned something
    # Its weights have the names that those of a classifier of words would have.
    with pytest.raises(ModelError, match="ForSequenceClassification, which does not give the clas"):
        model.read_out([ClassScore(Sample(text), "glad", Span(3, 9))])

    (tmp_path / "moods.attn.yaml").write_text(CASES)
    results = {case.id: case for case in attnprobe.run_cases(model, tmp_path).cases}
    effect, attends = results["sister"].expectations
    assert effect.ablation is not None
    assert effect.ablation.intact == pytest.approx(logs[1] - logs[0], abs=1e-4)
    assert "attends" in (attends.confirmed or "")
    assert results["unknown"].outcome == "error"
    assert "no class 'happy'" in str(results["unknown"].expectations[0].message)
