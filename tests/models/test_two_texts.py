"""Two texts: read as the model's own tokenizer encodes them, wherever attnprobe reads."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from attnprobe.cases import Case, parse, parse_contents, schema, yamltext
from attnprobe.core.errors import AttnprobeError, CaseErrors, CorpusError, ModelError, SelectorError
from attnprobe.core.needs import Ablation, Need, Prediction, Rows, Similarity
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Encoding, Sample, Span
from attnprobe.models import Model
from attnprobe.models.tokens import tokenize_target
from attnprobe.relations.arcs import Trial, measure
from attnprobe.relations.corpus import read_corpus
from attnprobe.results.records import text_sha256
from attnprobe.rules import parse_rule
from attnprobe.run.explain import explain
from attnprobe.run.order import habits, stated_pairs
from attnprobe.run.runner import Runner
from attnprobe.scan.tally import ArcGroup
from attnprobe.words.looks import LabelledPair
from attnprobe.words.positions import groups, positions
from attnprobe.words.segmentation import words
from attnprobe.words.selectors import parse_selector
from tests.support.pair_models import (
    FAMILIES,
    PAIR,
    TEXT,
    model,
    network,
    released,
    tokenizer,
    weights_as_released,
)
from tests.support.scans import MadeUp, scanned

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

BOTH = Sample(TEXT, pair=PAIR)


def all_rows(found: Model, samples: Sequence[Sample], **how: Any) -> list[Rows]:
    site: SiteName = "decoder" if "encoder" not in found.sites else "encoder"
    needs = [
        Need(one, site, found.sites[site].layers, tuple(range(len(found.encode(one).source))))
        for one in samples
    ]
    return found.collect(needs, **how)


# As the model reads them ------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [PAIR, None])
@pytest.mark.parametrize("name", FAMILIES)
def test_weights_are_those_of_the_tokenizers_own_pair_p46(name: str, pair: str | None) -> None:
    sample = Sample(TEXT, pair=pair)
    read = model(name).encode(sample).source
    assert list(read.ids) == tokenizer(name)(TEXT, pair)["input_ids"]
    (rows,) = all_rows(model(name), [sample])
    for layer, expected in enumerate(weights_as_released(name, TEXT, pair)):
        np.testing.assert_allclose(rows.weights[layer], expected, atol=5e-6)


@pytest.mark.parametrize("name", ["bert", "albert", "xlnet", "gpt2-bert"])
def test_segments_reach_the_network_p46(name: str) -> None:
    # Else the test above could not fail: with segments of zeros the weights are others.
    inputs = tokenizer(name)(TEXT, PAIR, return_tensors="pt")
    inputs["token_type_ids"] = torch.zeros_like(inputs["token_type_ids"])
    with torch.inference_mode():
        flat = released(name)(**inputs, output_attentions=True).attentions
    apart = [
        np.abs(ours - layer[0].numpy()).max()
        for ours, layer in zip(weights_as_released(name, TEXT, PAIR), flat, strict=True)
    ]
    assert max(apart) > 0.01


# BART's positions count from the edge of the batch, so it is padded on the right alone.
@pytest.mark.parametrize(
    ("name", "padding"),
    [
        *(
            (name, padding)
            for name in ("bert", "roberta", "llama")
            for padding in ("right", "left")
        ),
        ("bart", "right"),
    ],
)
def test_pairs_in_a_batch_equal_pairs_alone_p46(name: str, padding: str) -> None:
    samples = [BOTH, Sample(TEXT), Sample(PAIR, pair=TEXT), Sample(TEXT, pair=f"{PAIR} {PAIR}")]
    for rows, sample in zip(all_rows(model(name), samples, padding=padding), samples, strict=True):
        expected = weights_as_released(name, sample.text, sample.pair)
        for layer, weights in enumerate(expected):
            np.testing.assert_allclose(rows.weights[layer], weights, atol=1e-5)


def test_the_demo_model_reads_pairs_as_its_tokenizer_does_p46(minilm: Model) -> None:
    from transformers import AutoModel

    fresh = AutoModel.from_config(minilm.network.config, attn_implementation="eager")
    fresh.load_state_dict(minilm.network.state_dict())
    inputs = minilm.tokenizer(TEXT, PAIR, return_tensors="pt")
    with torch.inference_mode():
        expected = fresh.train(False)(**inputs, output_attentions=True).attentions
    found = minilm.attention(TEXT, pair=PAIR)
    for layer, weights in enumerate(expected):
        np.testing.assert_allclose(found.weights(f"L{layer}H1"), weights[0, 1], atol=5e-6)
    typed = minilm.attention(f"{TEXT} [SEP] {PAIR}", one_segment=True)
    assert typed.tokens == found.tokens
    apart = [np.abs(typed.weights(f"L{n}H1") - found.weights(f"L{n}H1")).max() for n in range(6)]
    assert max(apart) > 0.1


def test_a_segment_that_the_network_has_not_is_an_error_p46() -> None:
    one = network("bert")
    one.config.type_vocab_size = 1
    found = Model.of(one, tokenizer("bert"), name="x", check=False)
    found.encode(Sample(TEXT))
    with pytest.raises(ModelError, match="numbers segments up to 1, and the network has 1 from 0"):
        found.encode(BOTH)


# Where words stand --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_words_are_found_in_either_text_p46(name: str) -> None:
    tokens = model(name).encode(BOTH).source
    labels = " ".join(group.label for group in groups(tokens) if not group.special)
    assert labels == "The keys near the cabinet are old . The animal was tired ."
    encoded = tokenizer(name)(TEXT, PAIR, return_offsets_mapping=True)
    for text, side, word in ((TEXT, 0, "cabinet"), (PAIR, 1, "animal"), (PAIR, 1, "The")):
        start = text.index(word)
        expected = [
            at
            for at, (where, (begin, end)) in enumerate(
                zip(encoded.sequence_ids(), encoded["offset_mapping"], strict=True)
            )
            if where == side and begin < start + len(word) and start < end
        ]
        named = parse_selector({"text" if side == 0 else "pair": word})
        assert list(positions(named, tokens)) == expected


@pytest.mark.parametrize(
    ("written", "word", "pair"),
    [
        ("animal", "animal", True),
        ("near the cabinet", "near the cabinet", False),
        ({"word": "the", "nth": 1}, "the", False),
        ({"chars": [0, 3]}, "The", False),
        ({"text": "The"}, "The", False),
        ({"pair": "The"}, "The", True),
        ({"pair": {"word": "The", "nth": 1}}, "The", True),
        ({"pair": {"chars": [4, 10]}}, "animal", True),
        ({"text": {"chars": [4, 8]}}, "keys", False),
    ],
)
def test_selectors_find_words_in_the_named_text_p46(written: object, word: str, pair: bool) -> None:
    tokens = model("bert").encode(BOTH).source
    found = positions(parse_selector(written), tokens)
    own = PAIR if pair else TEXT
    start = own.index(word) + (len(TEXT) + 1 if pair else 0)
    spans = [tokens.spans[at] for at in found]
    covered = {offset for span in spans if span for offset in range(*span)}
    spaces = {start + at for at, char in enumerate(word) if char == " "}
    assert covered == set(range(start, start + len(word))) - spaces


def test_lists_of_words_and_special_tokens_span_both_texts_p46() -> None:
    tokens = model("bert").encode(BOTH).source

    def at(written: object) -> tuple[int, ...]:
        return positions(parse_selector(written), tokens)

    assert at(["keys", {"pair": ["animal", "tired"]}]) == tuple(
        sorted(at("keys") + at("animal") + at("tired"))
    )
    assert at([{"text": "The"}, {"pair": "The"}]) == at({"text": "The"}) + at({"pair": "The"})
    separators = [number for number, one in enumerate(tokens.ids) if one == 3]
    assert at({"special": "sep"}) == tuple(separators)
    assert len(separators) == 2
    decoder = model("llama").encode(BOTH).source
    before = positions(parse_selector({"pair": {"predicts": "animal"}}), decoder)
    assert before == (positions(parse_selector("animal"), decoder)[0] - 1,)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "The",
            "'The' stands 2 times in the two texts; say which one, such as {pair: The}\n"
            "  {text: The}  The keys near the cabinet are old.\n"
            "               ^^^\n"
            "  {pair: The}  The animal was tired.\n"
            "               ^^^",
        ),
        (
            {"predicts": "The"},
            "'The' stands 2 times in the two texts; say which one, such as "
            "{pair: {predicts: The}}\n",
        ),
        (
            {"word": "animal", "nth": 1},
            "'animal' stands in text_pair, not in the text; write {pair: animal}\n"
            "  The animal was tired.\n"
            "      ^^^^^^",
        ),
        ({"pair": "keys"}, "'keys' stands in the text, not in text_pair; write {text: keys}"),
        ({"pair": "tire"}, "'tire' stands in text_pair only as a part of 'tired'"),
        ("tire", "'tire' stands in text_pair only as a part of 'tired'"),
        ("old The", "'old The' does not stand in either text"),
        ({"pair": {"word": "The", "nth": 2}}, "'The' stands once in text_pair, there is no nth: 2"),
        ({"chars": [30, 40]}, "chars: [30, 40] lies outside the text of 34 characters"),
        ({"pair": {"chars": [3, 4]}}, "chars: [3, 4] selects only white space"),
        ({"pair": {"chars": [10, 30]}}, "chars: [10, 30] lies outside text_pair of 21 characters"),
    ],
)
def test_a_selector_that_finds_nothing_says_how_to_name_the_word_p46(
    written: object, message: str
) -> None:
    tokens = model("bert").encode(BOTH).source
    with pytest.raises(SelectorError) as caught:
        positions(parse_selector(written), tokens)
    assert str(caught.value).startswith(message)
    assert "\x1f" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the key. the key", "{pair: {word: key, nth: 2}}"),
        ("dog", "such as {pair: {word: key, nth: 2}}"),
    ],
)
def test_an_ambiguous_word_names_its_places_in_both_texts_p46(text: str, message: str) -> None:
    sample = Sample(text, pair="a key, a key")
    tokens = model("llama").encode(sample).source
    with pytest.raises(SelectorError, match="say which one") as caught:
        positions(parse_selector("key"), tokens)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"pair": "a", "nth": 2}, "'nth' does not go beside 'pair'"),
        ({"pair": {"special": "sep"}}, r"\[SEP\] stands in neither text; write {special: sep}"),
        ({"pair": ["a", {"special": "first"}]}, "the first token stands in neither text"),
        ({"pair": {"text": "a"}}, r"{text: ...} stands inside of {pair: ...}; give one"),
        ({"pair": []}, "an empty list selects nothing"),
        ({"pari": "a"}, "did you mean 'pair'"),
    ],
)
def test_selectors_without_a_meaning_are_refused_p46(written: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_selector(written)


# Typed separators -------------------------------------------------------------------------------


ADVICE = "write what follows as a second text: text_pair: in a case file, pair= in Python"


@pytest.mark.parametrize("name", ["bert", "albert", "deberta_v2", "xlnet"])
@pytest.mark.parametrize("allow", [False, True])
def test_a_typed_separator_is_refused_p46(name: str, allow: bool) -> None:
    typed = f"{TEXT} [SEP] {PAIR}"
    with pytest.raises(SelectorError, match=ADVICE):
        model(name).encode(Sample(typed, allow_special_tokens=allow))
    with pytest.raises(
        SelectorError, match="inside of one text: one_segment: true in a case file"
    ) as caught:
        model(name).encode(Sample(TEXT, pair=typed, allow_special_tokens=allow))
    assert "text_pair" not in str(caught.value)
    for sample in (Sample(typed), Sample(TEXT, pair=typed)):
        read = model(name).encode(replace(sample, one_segment=True)).source
        assert list(read.ids) == tokenizer(name)(sample.text, sample.pair)["input_ids"]


def test_without_segments_a_separator_is_a_special_token_as_any_p46() -> None:
    typed = f"{TEXT}</s></s>{PAIR}"
    with pytest.raises(SelectorError, match="allow_special_tokens: true"):
        model("roberta").encode(Sample(typed))
    read = model("roberta").encode(Sample(typed, allow_special_tokens=True)).source
    assert list(read.ids) == tokenizer("roberta")(typed)["input_ids"]


def test_other_special_tokens_are_declared_as_before_p46() -> None:
    with pytest.raises(SelectorError, match="allow_special_tokens: true"):
        model("bert").encode(Sample("The [MASK] are old.", one_segment=True))
    model("bert").encode(Sample("The [MASK] are old.", allow_special_tokens=True))


def test_a_mask_behind_a_typed_separator_is_refused_as_a_word_is_p46() -> None:
    typed = f"{TEXT} [SEP] [MASK]"
    with pytest.raises(SelectorError, match="gets the segment of what precedes it"):
        model("bert").encode(Sample(typed, allow_special_tokens=True))
    ids = tuple(tokenizer("bert")(typed)["input_ids"])
    with pytest.raises(SelectorError, match="stands between tokens"):
        model("bert").encode(Sample("", ids=ids))
    sample = Sample(typed, allow_special_tokens=True, one_segment=True)
    assert model("bert").encode(sample).source.ids == ids


def test_a_separator_among_token_ids_is_refused_p46() -> None:
    ids = tuple(tokenizer("bert")(TEXT, PAIR)["input_ids"])
    with pytest.raises(SelectorError, match="the separator 3 stands between tokens"):
        model("bert").encode(Sample("", ids=ids))
    read = model("bert").encode(Sample("", ids=ids, one_segment=True)).source
    assert read.segments == (0,) * len(ids)
    one = tuple(tokenizer("bert")(TEXT)["input_ids"])
    assert model("bert").encode(Sample("", ids=one)).source.ids == one


# Case files -------------------------------------------------------------------------------------


START = "version: 1\nsuite: pairs\ndefaults: {heads: mean}\n"


def document(body: str) -> yamltext.Document:
    return yamltext.loads((START + body).encode(), "x.yaml")


def cases_of(body: str) -> tuple[Case, ...]:
    return parse(document(body))


def complaints(body: str) -> list[str]:
    with pytest.raises(CaseErrors) as caught:
        parse_contents(document(body))
    return [str(error) for error in caught.value.errors]


def test_a_case_states_a_second_text_p46() -> None:
    (case,) = cases_of(
        f"cases:\n- id: a\n  text: {TEXT}\n  text_pair: {PAIR}\n  one_segment: true\n  expect:\n"
        "  - attends: {from: animal, to: {text: The}, over: {pair: The}, top: 1}\n"
    )
    assert case.sample == Sample(TEXT, pair=PAIR, one_segment=True)


def test_rows_fill_the_second_text_p46() -> None:
    found = cases_of(
        'cases:\n- id: a\n  template: "The {noun} slept."\n'
        '  text_pair: "A {other} saw the {noun}."\n'
        "  rows:\n  - {noun: cat, other: dog}\n  - {noun: horse, other: cow}\n  expect:\n"
        '  - attends: {from: {pair: "{noun}"}, to: {text: "{noun}"}, over: "{other}", min: 0.1}\n'
    )
    assert [case.sample.pair for case in found] == ["A dog saw the cat.", "A cow saw the horse."]
    assert complaints(
        "cases:\n- id: a\n  template: The {noun} slept.\n  text_pair: A {now}.\n  rows:\n"
        "  - {noun: cat}\n  expect:\n  - sink: {min: 0.1}\n"
    ) == ["x.yaml:7:14: no column 'now' in the row; known: noun"]


CASE = "cases:\n- id: a\n  text: The keys.\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            f"{CASE}  expect:\n  - attends: {{from: keys, to: {{pair: The}}, min: 0.1}}\n",
            "x.yaml:8:31: to: {pair: ...} names a word of a second text, and there is none; write "
            "text_pair: beside text:, or name the word without pair:",
        ),
        (
            f"{CASE}  text_pair: ' '\n  expect:\n  - sink: {{min: 0.1}}\n",
            "x.yaml:7:14: text_pair: holds no word",
        ),
        (
            f"{CASE}  text_pair: 12\n  expect:\n  - sink: {{min: 0.1}}\n",
            "x.yaml:7:14: text_pair: YAML reads 12 as the number 12",
        ),
        (
            f"{CASE}  text_pair: The dog.\n  expect:\n"
            "  - attends: {from: The, to: dog, min: 0.1}\n",
            "x.yaml:9:21: from: 'The' stands 2 times in the two texts; say which one, such as "
            "{pair: The}\n",
        ),
        (
            f"{CASE}  text_pair: The dog.\n  target: Un chien.\n  expect:\n"
            "  - attends: {from: {pair: dog}, to: keys, site: cross, min: 0.1}\n",
            "x.yaml:10:21: from: {pair: ...} names a word of the text that the encoder reads",
        ),
        (
            "cases:\n- id: a\n  ids: [1, 2]\n  text_pair: The dog.\n  expect:\n"
            "  - sink: {min: 0.1}\n",
            "x.yaml:7:3: ids: go without a text_pair:",
        ),
        (
            "relations:\n- id: a\n  heads: L0H0\n  expect: {accuracy: 0.1}\n  spans:\n"
            "  - {text: The keys., from: keys, to: {pair: [0, 3]}}\n",
            "x.yaml:9:39: to: {pair: ...} names a word of a second text",
        ),
    ],
)
def test_mistakes_with_a_second_text_are_found_at_collection_p46(body: str, message: str) -> None:
    found = complaints(body)
    assert any(one.startswith(message) for one in found), found


def test_the_json_schema_knows_the_keys_of_a_second_text_p46() -> None:
    checker = jsonschema.Draft7Validator(schema())
    case: dict[str, Any] = {
        "id": "a",
        "text": "The keys.",
        "text_pair": "The dog.",
        "one_segment": True,
        "expect": [
            {"attends": {"from": {"pair": ["dog", {"word": "The"}]}, "to": {"text": "The"}}}
        ],
    }
    file: dict[str, Any] = {"version": 1, "suite": "a", "cases": [case]}
    assert not list(checker.iter_errors(file))
    spans = [{"text": "a b", "text_pair": "c d", "from": "a", "to": {"pair": "c"}}]
    relation = {"id": "r", "spans": spans, "expect": {"accuracy": 0.5}}
    assert not list(checker.iter_errors({**file, "relations": [relation]}))
    for wrong in (
        {**case, "text_pair": 1},
        {**case, "expect": [{"attends": {"from": {"pair": {"special": "sep"}}, "to": "The"}}]},
        {**case, "expect": [{"attends": {"from": {"pair": "a", "nth": 1}, "to": "The"}}]},
    ):
        assert list(checker.iter_errors({**file, "cases": [wrong]}))


def test_labelled_spans_of_a_relation_read_both_texts_p46() -> None:
    contents = parse_contents(
        document(
            "relations:\n- id: a\n  heads: L0H0\n  expect: {accuracy: 0.1}\n  spans:\n"
            "  - {text: The keys., text_pair: The dog., from: dog, to: {text: The}}\n"
            "  - {text: The keys., text_pair: The dog., from: {pair: [4, 7]}, to: [4, 8]}\n"
        )
    )
    first, second = contents.relations[0].source.arcs
    assert first.sample == second.sample == Sample("The keys.", pair="The dog.")
    assert first[1:3] == ((14, 17), (0, 3))
    assert second[1:3] == ((14, 17), (4, 8))


# What else knows of the pair --------------------------------------------------------------------


def test_a_changed_pair_is_a_changed_text_p46() -> None:
    texts = [
        Sample(TEXT),
        BOTH,
        Sample(PAIR, pair=TEXT),
        Sample(TEXT, pair=TEXT),
        Sample(TEXT, PAIR),
        Sample(f"{TEXT}\x1f{PAIR}"),
    ]
    assert len({text_sha256(one) for one in texts}) == len(texts)
    # The hash of a text without a pair is that of older baselines.
    assert text_sha256(Sample("The keys.")) == (
        "96cdf17e0dd05d9a3d0fc9ff393b953b1af04ad9ae971134e72b125f70b2a322"
    )


# Readouts, relations, scans ---------------------------------------------------------------------


def with_words(name: str, kind: Any) -> tuple[Model, Any]:
    """A model with a random language-model head, and the same network untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        headed = kind.from_config(network(name).config)
    headed.get_output_embeddings().weight.data.normal_(0, 0.3)
    setattr(headed, headed.base_model_prefix, network(name))
    headed.tie_weights()
    headed.train(False)
    return Model.of(copy.deepcopy(headed), tokenizer(name), name=name), headed


@pytest.mark.parametrize("word", ["cabinet", "tired"])
@pytest.mark.parametrize("instead", [None, "key"])
def test_an_encoder_predicts_a_word_of_either_text_p46(word: str, instead: str | None) -> None:
    found, plain = with_words("bert", AutoModelForMaskedLM)
    spans = {"cabinet": TEXT.index("cabinet"), "tired": len(TEXT) + 1 + PAIR.index("tired")}
    span = Span(spans[word], spans[word] + len(word))
    inputs = tokenizer("bert")(TEXT, PAIR, return_tensors="pt")
    at = list(positions(parse_selector(word), found.encode(BOTH).source))
    ids = inputs["input_ids"][0, at].tolist()
    if instead is not None and len(tokenizer("bert")(instead)["input_ids"]) - 2 != len(at):
        with pytest.raises(SelectorError, match="only words of as many tokens"):
            found.read_out([Prediction(BOTH, span, instead)])
        return
    inputs["input_ids"][0, at] = tokenizer("bert").mask_token_id
    with torch.inference_mode():
        logs = plain(**inputs).logits[0, at].double().log_softmax(-1)
    expected = sum(float(row[token]) for row, token in zip(logs, ids, strict=True))
    if instead is not None:
        others = tokenizer("bert")(instead)["input_ids"][1:-1]
        expected -= sum(float(row[token]) for row, token in zip(logs, others, strict=True))
    (value,) = found.read_out([Prediction(BOTH, span, instead)])
    assert value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("word", ["cabinet", "tired"])
def test_a_decoder_predicts_a_word_from_all_before_it_p46(name: str, word: str) -> None:
    found, plain = with_words(name, AutoModelForCausalLM)
    read = found.encode(BOTH).source
    first, *_ = at = positions(parse_selector(word), read)
    start = read.text.index(word)
    ids = torch.tensor([tokenizer(name)(TEXT, PAIR)["input_ids"]])
    with torch.inference_mode():
        logs = plain(input_ids=ids).logits[0].double().log_softmax(-1)
    expected = sum(float(logs[place - 1, ids[0, place]]) for place in at)
    (value,) = found.read_out([Prediction(BOTH, Span(start, start + len(word)))])
    assert value == pytest.approx(expected, abs=1e-4)
    assert first > 0


def test_embeddings_and_ablation_read_the_pair_p46() -> None:
    found = model("bert")

    def states(text: str, pair: str | None, hook: Any = None) -> Any:
        inputs = tokenizer("bert")(text, pair, return_tensors="pt")
        fresh = network("bert")
        if hook is not None:
            fresh.encoder.layer[1].attention.output.dense.register_forward_pre_hook(hook)
        with torch.inference_mode():
            return fresh(**inputs).last_hidden_state[0].double().mean(0)

    def cosine(one: Any, other: Any) -> float:
        return float(torch.nn.functional.cosine_similarity(one, other, dim=0))

    (value,) = found.read_out([Similarity(BOTH, PAIR, TEXT)])
    text = states(TEXT, PAIR)
    expected = cosine(text, states(PAIR, None)) - cosine(text, states(TEXT, None))
    assert value == pytest.approx(expected, abs=1e-5)

    kept: list[Any] = []

    def keep(_: Any, given: Any) -> None:
        kept.append(given[0][0, :, 8:16].double())

    # The mean output of L1H1 over the tokens of a pair stands in for it.
    states(TEXT, PAIR, keep)
    mean = kept[0].mean(0).float()

    def put(_: Any, given: Any) -> Any:
        changed = given[0].clone()
        changed[..., 8:16] = mean
        return (changed,)

    ablation = Ablation("encoder", (Head(1, 1),), "mean", (BOTH,))
    (value,) = found.read_out([Similarity(Sample(TEXT), PAIR, ablation=ablation)])
    assert value == pytest.approx(
        cosine(states(TEXT, None, put), states(PAIR, None, put)), abs=1e-5
    )


def test_relations_and_scans_read_the_pair_p46(tmp_path: Path) -> None:
    """Both count what a plain loop over the eager weights counts."""
    line = {
        "text": TEXT,
        "text_pair": PAIR,
        "arcs": [
            {"from": {"pair": [4, 10]}, "to": [4, 8], "relation": "x"},
            {"from": {"text": [18, 25]}, "to": {"pair": [15, 20]}, "relation": "x"},
        ],
    }
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(line))
    corpus = read_corpus(file)
    (sentence,) = corpus.sentences
    assert sentence.sample == BOTH
    assert [sentence.sample.joined[slice(*arc.head)] for arc in sentence.arcs] == ["keys", "tired"]
    found = model("xlnet")
    tokens = found.encode(BOTH).source
    words = [group.positions for group in groups(tokens) if not group.special]
    layers = weights_as_released("xlnet", TEXT, PAIR)
    heads = found.sites["encoder"].all_heads()
    expected = []
    for arc in sentence.arcs:
        query, key = (
            set(positions(parse_selector({"pair" if which else "text": word}), tokens))
            for which, word in (
                ((1, "animal"), (0, "keys"))
                if arc.head.start < 10
                else ((0, "cabinet"), (1, "tired"))
            )
        )
        rows = sorted(query)
        masses = np.array(
            [
                [layers[layer][head][rows][:, list(word)].sum(1).mean() for word in words]
                for layer, head in heads
            ]
        )
        masses[:, [number for number, word in enumerate(words) if query & set(word)]] = -1
        right = [number for number, word in enumerate(words) if key & set(word)]
        expected.append([bool(row.argmax() in right) for row in masses])
    pairs = [LabelledPair(0, arc.dependent, arc.head) for arc in sentence.arcs]
    hits = measure(found, Trial([BOTH], pairs, site=None, sets=[(head,) for head in heads]))
    assert hits.right.tolist() == expected
    counts = scanned(found, MadeUp(corpus.sentences)).of(ArcGroup("x", "dependent-to-head")).arcs
    assert counts.n.sum() == 2
    assert counts.right.sum(axis=0).tolist() == np.sum(expected, axis=0).tolist()


@pytest.mark.parametrize("wrong", [{"from": {"pair": [0, 99]}}, {"from": {"pear": [0, 2]}}])
def test_spans_beyond_the_second_text_are_refused_p46(
    wrong: dict[str, Any], tmp_path: Path
) -> None:
    arc = {"from": [0, 3], "to": [4, 8], "relation": "x", **wrong}
    file = tmp_path / "a.jsonl"
    for pair in ({"text_pair": PAIR}, {}):
        file.write_text(json.dumps({"text": TEXT, **pair, "arcs": [arc]}))
        with pytest.raises(CorpusError, match=r"a\.jsonl:1"):
            read_corpus(file)


# Chance, order, what a reader sees ----------------------------------------------------------------


LONG = Sample(
    "The keys near the cabinet are old, the author was tired.",
    pair="The animal was wide, the street was old, the dog said it.",
)


def tried(from_: object, to: object, over: object = None) -> tuple[set[str], Encoding]:
    """Which texts the control pairs of a rule lie in: `pair → text over text`."""
    encoding = model("bert").encode(LONG)
    rule = parse_rule(
        "attends", {"heads": "L0H0", "from": from_, "to": to, "over": over, "min": 0.1}
    )
    chance = rule.chance(encoding)
    assert chance is not None
    found = chance.controls(encoding, ())
    assert len(found) > 2
    tokens = encoding.source

    def side(at: Sequence[int]) -> str:
        names = {tokens.segments[place] for place in at if tokens.special[place] is None}
        return " and ".join("pair" if name else "text" for name in sorted(names))

    lie = set()
    for number in range(len(found)):
        end = side(found.queries[found.query[number]]), side(found.keys[found.key[number]])
        if found.contrast is None:
            lie.add(" → ".join(end))
        else:
            lie.add(" → ".join(end) + f" over {side(found.contrasts[found.contrast[number]])}")
    return lie, encoding


@pytest.mark.parametrize(
    ("from_", "to", "over", "expected"),
    [
        ("animal", "author", None, "pair → text"),
        ("author", "animal", None, "text → pair"),
        ("street", "animal", None, "pair → pair"),
        ("author", "keys", None, "text → text"),
        ("animal", "author", "street", "pair → text over pair"),
        ({"special": "cls"}, "street", None, " → pair"),
        ("street", {"special": "sep"}, None, "pair → "),
        ("dog said", "author", None, "pair → text"),
    ],
)
def test_control_pairs_lie_in_the_texts_of_the_rule_p46(
    from_: object, to: object, over: object, expected: str
) -> None:
    assert tried(from_, to, over)[0] == {expected}


def test_a_word_of_both_texts_has_no_control_pairs_p46() -> None:
    rule = parse_rule(
        "attends", {"heads": "L0H0", "from": "animal", "to": ["keys", "dog"], "min": 0.1}
    )
    assert rule.chance(model("bert").encode(LONG)) is None


def test_control_pairs_of_a_decoder_start_at_the_seam_p46() -> None:
    encoding = model("llama").encode(LONG)
    seam = "{pair: {chars: [0, 3]}}"
    rule = parse_rule(
        "attends",
        {
            "heads": "L0H0",
            "from": {"pair": {"predicts": "animal"}},
            "to": "author",
            "min": 0.1,
        },
    )
    chance = rule.chance(encoding)
    assert chance is not None, seam
    found = chance.controls(encoding, ())
    second = encoding.source.ids.index(0, 1)  # the start token of the second text
    assert min(min(rows) for rows in found.queries) >= second
    assert max(max(found.keys[key]) for key in found.key) < second


def test_habits_of_position_count_through_both_texts_p46() -> None:
    written = [
        f"- id: c{number}\n  text: The {noun} slept.\n  text_pair: It was old.\n  expect:\n"
        f"  - attends: {{from: It, to: {noun}, min: 0.1}}\n"
        for number, noun in enumerate(("cat", "dog", "cow", "pig", "fox"))
    ]
    cases = cases_of("cases:\n" + "".join(written))
    outcomes = {(case.mark.file, case.id, case.row, "m"): ["passed"] for case in cases}
    (found,) = habits(stated_pairs(cases), outcomes, ["m"])
    assert found.pairs == 5
    assert '"to" stands 3 words back from "from"' in str(found)


def test_messages_show_both_texts_p46() -> None:
    (case,) = cases_of(
        f"cases:\n- id: a\n  text: {TEXT}\n  text_pair: {PAIR}\n  expect:\n"
        "  - attends: {from: animal, to: {text: The}, over: {pair: The}, min: 0.99, heads: L0H0}\n"
    )
    (finding,) = Runner(model("bert"), [case], pictures=True).judge(case)
    lines = explain(case, finding).split("\n")
    assert lines[0].endswith("attends animal → The in the text over The in the pair, L0H0")
    assert lines[1:7] == [
        "  │ The keys near the cabinet are old.",
        "  │ ^^^",
        "  │ to",
        "  │ The animal was tired.",
        "  │ ^^^ ^^^^^^",
        "  │ over",
    ]
    assert "\x1f" not in "".join(lines)
    assert finding.encoding is not None
    assert finding.matrix is not None
    (weights, *_) = weights_as_released("bert", TEXT, PAIR)
    np.testing.assert_allclose(finding.matrix, weights[0], atol=5e-6)
    from attnprobe.render.figures.draw import draw_picture
    from attnprobe.render.figures.style import to_svg

    assert finding.verdict is not None
    assert finding.verdict.picture is not None
    pieces = finding.encoding.source.pieces
    svg = to_svg(
        draw_picture(finding.matrix, finding.verdict.picture, pieces, pieces, model="bert")
    )
    pieces = finding.encoding.source.pieces
    assert len(pieces) == len(tokenizer("bert")(TEXT, PAIR)["input_ids"])
    for piece in pieces:
        assert f">{piece}<" in svg
    assert "\x1f" not in svg


def test_wrong_arcs_are_shown_in_their_text_p46(minilm: Model) -> None:
    from attnprobe.relations.accuracy import judge
    from attnprobe.run.explain import explain_relation

    contents = parse_contents(
        document(
            "relations:\n- id: a\n  heads: L0H2\n  expect: {accuracy: 0.9}\n  least: 1\n  spans:\n"
            "  - {text: The keys are old., text_pair: The dog slept., from: dog, to: keys}\n"
            "  - {text: The keys are old., text_pair: The dog slept., from: slept, to: keys}\n"
        )
    )
    told = explain_relation(judge(contents.relations[0], minilm))
    assert "│ The keys are old.\n" in told
    assert "│ The dog slept.\n" in told
    assert "1F" not in told


def test_the_command_line_reads_both_texts_p46(
    attn: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    from tests.support.demo_models import MINILM

    text = ("The keys are old.", "--text-pair", "The dog slept.")
    code, told = attn("show", MINILM, *text, "--heads", "L0H0", "--output", tmp_path / "a.html")
    assert code == 0
    assert told.count("[SEP]") >= 2
    page = (tmp_path / "a.html").read_text()
    assert re.search(r"<p [^>]*>The keys are old\.</p>\s*<p [^>]*>The dog slept\.</p>", page)
    with pytest.raises(SelectorError, match="--text-pair with attnprobe show"):
        attn("show", MINILM, "The keys [SEP] are old.", "--heads", "L0H0")
    code, _ = attn("show", MINILM, "The keys [SEP] are old.", "--heads", "L0H0", "--one-segment")
    assert code == 0
    with pytest.raises(AttnprobeError, match="--text-pair is empty"):
        attn("show", MINILM, "The keys", "--text-pair", " ", "--heads", "L0H0")


class PairModel:
    """A plugin that hands over the model of two texts."""

    def pytest_attn_load_model(self) -> Model:
        return model("bert")


def test_python_probes_and_reports_read_both_texts_p46(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    case = """
        - id: {}
          text: The keys near the cabinet are old.
          text_pair: {}
          expect:
            - attends: {{from: animal, to: keys, max: 0.99}}
    """
    write_cases(case.format("a", PAIR) + case.format("b", "The animal was wide."))
    pytester.makepyfile(
        f"""
        import pytest
        from attnprobe.core.errors import AttnprobeError

        def test_pair(attn):
            att = attn("{TEXT}", pair="{PAIR}")
            att.attends({{"pair": "The"}}, {{"text": "The"}}, heads="L0H0", max=0.999)
            assert att.tokens.count("[SEP]") == 2
            with pytest.raises(AttnprobeError, match="{{pair: The}}"):
                att.attends("The", "keys", heads="L0H0", max=0.999)
            with pytest.raises(AttnprobeError, match="text_pair"):
                attn("{TEXT} [SEP] {PAIR}")
            attn("{TEXT} [SEP] {PAIR}", one_segment=True)
            with pytest.raises(ValueError, match="second text is empty"):
                attn("{TEXT}", pair=" ")
        """
    )
    result = probe(".", "--attn-json=r.json", plugin=PairModel())
    result.assert_outcomes(passed=3)
    written = json.loads(Path("r.json").read_text())
    hashes = [one["text_sha256"] for one in written["cases"] if one["id"] in ("a", "b")]
    assert hashes == [
        text_sha256(Sample(TEXT, pair=PAIR)),
        text_sha256(Sample(TEXT, pair="The animal was wide.")),
    ]


# Edges ------------------------------------------------------------------------------------------


def test_a_separator_with_nothing_behind_it_is_a_special_token_as_any_p46() -> None:
    closing = Sample(f"{TEXT} [SEP]")
    with pytest.raises(SelectorError, match="allow_special_tokens: true"):
        model("bert").encode(closing)
    for declared in (
        replace(closing, allow_special_tokens=True),
        replace(closing, one_segment=True),
    ):
        read = model("bert").encode(declared).source
        assert list(read.ids) == tokenizer("bert")(closing.text)["input_ids"]


def test_a_start_token_spelled_before_two_texts_is_refused_p46() -> None:
    spelled = Sample(f"[CLS] {TEXT}", pair=PAIR, allow_special_tokens=True)
    with pytest.raises(SelectorError, match="start token, which the tokenizer itself puts before"):
        model("bert").encode(spelled)


def test_a_separator_typed_into_a_target_is_refused_p46() -> None:
    plain = tokenizer("bert")
    found = Model.of(network("bart"), tokenizer("bart"), name="bart")
    read = tokenize_target(plain, PAIR, start=2)
    assert read.parts == ()
    with pytest.raises(SelectorError, match="inside of one text: one_segment: true") as caught:
        tokenize_target(plain, f"{TEXT} [SEP] {PAIR}", start=2, allow_special_tokens=True)
    assert "text_pair" not in str(caught.value)
    tokenize_target(plain, f"{TEXT} [SEP] {PAIR}", start=2, one_segment=True)
    both = found.encode(Sample(TEXT, PAIR, pair=PAIR))
    assert both.source.parts == both.sample.parts != ()
    with pytest.raises(SelectorError, match="the text that the encoder reads"):
        found.attention(TEXT, pair=PAIR, target=PAIR, site="cross").judge(
            "attends", from_={"pair": "animal"}, to="keys", heads="L0H0", max=0.9
        )


def test_no_word_crosses_the_seam_of_two_texts_p46() -> None:
    """Marks, joiners and line ends at the seam join no word of one text to one of the other."""
    for text, pair in (
        ("well-", "known"),
        ("the keys\r", "\n the keys"),
        ("a", "\u0301b"),
        ("dog\u200d", "\u200dcat"),
        ("The animal", "The animal"),
    ):
        sample = Sample(text, pair=pair)
        tokens = model("llama").encode(sample).source
        for span in words(sample.joined):
            assert (span.end <= len(text)) != (span.start > len(text))
        assert list(tokens.ids) == tokenizer("llama")(text, pair)["input_ids"]
