"""Answers that a model generates, read behind the text."""

from __future__ import annotations

import copy
import random
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, PreTrainedModel

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.needs import Need, Prediction
from attnprobe.core.texts import Message, Sample, Span
from attnprobe.models import Model
from attnprobe.models.answer import end_tokens, generate, read_answer
from attnprobe.models.tokens import decoded_tokens
from attnprobe.results.records import text_sha256
from attnprobe.words.positions import positions
from attnprobe.words.selectors import parse_selector
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support import tokenizers_small
from tests.support.tiny_lm import headed

TEXT = "The old key opens the door of"
ASKED = Sample(TEXT, generate=8)


def causal(architecture: str, **overrides: Any) -> Model:
    tokenizer = tiny_tokenizer(end=False)
    network = headed(architecture, vocab_size=len(tokenizer), **overrides)
    return Model.of(network, tokenizer, name=architecture)


def by_transformers(network: PreTrainedModel, ids: tuple[int, ...], most: int) -> list[int]:
    found = network.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        num_beams=1,
        max_new_tokens=most,
        pad_token_id=0,
    )
    return found[0, len(ids) :].tolist()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_oss"])
def test_the_answer_is_that_of_greedy_generation(architecture: str) -> None:
    model = causal(architecture)
    read = model.encode(ASKED)
    answer = read.sample.answer
    assert answer is not None
    assert 0 < len(answer.ids) <= 8
    prompt = model.encode(Sample(TEXT)).source
    expected = by_transformers(model.network, prompt.ids, 8)
    ends = end_tokens(model.network, model.tokenizer)
    assert list(answer.ids) == [token for token in expected if token not in ends]
    assert read.source.ids == prompt.ids + answer.ids
    assert read.source.text[len(TEXT) + 1 :] == answer.text
    assert answer.text == model.tokenizer.decode(answer.ids, skip_special_tokens=True)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_rows_are_those_of_decoding_step_by_step(architecture: str) -> None:
    model = causal(architecture)
    read = model.encode(ASKED)
    ids, site = read.source.ids, model.sites["decoder"]
    start = len(ids) - len(read.sample.answer.ids)  # type: ignore[union-attr]
    (rows,) = model.collect([Need(ASKED, "decoder", site.layers, tuple(range(len(ids))))])
    network = copy.deepcopy(model.network)
    network.set_attn_implementation("eager")
    cache = DynamicCache(config=network.config)
    # transformers 5.24 has renamed the argument.
    name = "cache" if "cache" in signature(network.forward).parameters else "past_key_values"
    with torch.inference_mode():
        for at in range(start, len(ids) + 1):
            step = ids[:start] if at == start else ids[at - 1 : at]
            outputs = network(
                input_ids=torch.tensor([step]),
                use_cache=True,
                output_attentions=True,
                **{name: cache},
            )
            for layer in site.layers:
                expected = outputs.attentions[layer][0, :, -1].numpy()
                found = rows.at(layer, [at - 1])[:, 0, :at]
                np.testing.assert_allclose(found, expected, atol=1e-5)
            if at < len(ids):
                assert int(outputs.logits[0, -1].argmax()) == ids[at]


def test_an_answer_ends_before_the_end_token_and_a_model_may_say_nothing() -> None:
    model = causal("llama")
    whole = model.encode(ASKED).sample.answer
    assert whole is not None
    model.network.generation_config.eos_token_id = [whole.ids[3], 2]
    stopped = Model.of(model.network, model.tokenizer, name="stops").encode(ASKED).sample.answer
    assert stopped is not None
    assert stopped.ids == whole.ids[:3]
    model.network.generation_config.eos_token_id = whole.ids[0]
    silent = Model.of(model.network, model.tokenizer, name="silent")
    with pytest.raises(SelectorError, match="silent says nothing behind this text"):
        silent.encode(ASKED)
    model.network.generation_config.eos_token_id = 2


def test_the_end_tokens_are_those_of_the_generation_configuration() -> None:
    tokenizer, network = tiny_tokenizer(), headed("llama")
    network.generation_config.eos_token_id = None
    assert end_tokens(network, tokenizer) == {tokenizer.eos_token_id}
    network.generation_config.eos_token_id = [5, 7]
    assert end_tokens(network, tokenizer) == {5, 7}


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_each_step_reads_one_token(architecture: str) -> None:
    network = headed(architecture)
    embeddings = network.get_input_embeddings()
    read: list[int] = []
    embeddings.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[1]))
    generate(network, (1, 9, 8), most=4, ends=())
    assert read == [3, 1, 1, 1]


def test_a_network_without_a_cache_generates_the_same() -> None:
    network = headed("llama")
    plain = network.forward

    class Uncached:
        config = network.config

    def forward(input_ids: torch.Tensor) -> Any:
        return plain(input_ids=input_ids)

    cached = generate(network, (1, 9, 8), most=6, ends=())
    network.forward = forward
    assert generate(network, (1, 9, 8), most=6, ends=()) == cached


def test_a_network_that_is_trained_further_answers_anew() -> None:
    model = causal("llama")
    before = model.encode(ASKED)
    assert model.encode(ASKED) is before
    with torch.no_grad():
        model.network.get_output_embeddings().weight.neg_()
    after = model.encode(ASKED).sample.answer
    assert after is not None
    assert after != before.sample.answer
    prompt = model.encode(Sample(TEXT)).source.ids
    assert list(after.ids) == by_transformers(model.network, prompt, 8)[: len(after.ids)]


def test_generating_leaves_the_network_as_it_was() -> None:
    model = causal("gpt2")
    network = model.network
    network.train(True)
    before = copy.deepcopy(network.generation_config.to_dict())
    torch.manual_seed(3)
    random.seed(3)
    state = torch.get_rng_state(), random.getstate()
    model.encode(ASKED)
    assert network.training
    assert network.generation_config.to_dict() == before
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    network.train(False)


@pytest.mark.parametrize("kind", tokenizers_small.KINDS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_decoded_tokens_spell_their_characters(kind: tokenizers_small.Kind, data: Any) -> None:
    tokenizer = _tokenizer(kind)
    text = data.draw(st.sampled_from(tokenizers_small.CORPUS))
    start = data.draw(st.integers(0, len(text) - 1))
    words = text[start : start + data.draw(st.integers(1, 30))].strip()
    encoded = tokenizer(words, add_special_tokens=False, return_offsets_mapping=True)
    ids = encoded["input_ids"]
    if not words or tokenizer.unk_token_id in ids:
        return
    answer = read_answer(tokenizer, ids)
    assert answer.text == tokenizer.decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    tokens = decoded_tokens(tokenizer, answer)  # checks the spelling of each span
    covered = {at for span in tokens.spans if span for at in range(*span)}
    assert all(at in covered for at, char in enumerate(answer.text) if not char.isspace())
    if answer.text == words and kind == "bytebpe":
        own = [text[slice(*span)].strip() for span in encoded["offset_mapping"]]
        assert len(own) == len(tokens)
        for span, (first, end) in zip(tokens.spans, encoded["offset_mapping"], strict=True):
            assert span is not None
            assert words[slice(*span)].strip() == words[first:end].strip()


_built: dict[str, Any] = {}


def _tokenizer(kind: tokenizers_small.Kind) -> Any:
    if kind not in _built:
        _built[kind] = tokenizers_small.build(kind)
    return _built[kind]


@given(ids=st.lists(st.integers(0, 300), min_size=1, max_size=24))
@settings(max_examples=100, deadline=None)
def test_any_bytes_that_a_model_says_are_read(ids: list[int]) -> None:
    """A random network says bytes that are no characters, and special tokens."""
    tokenizer = _tokenizer("bytebpe")
    ids = [token % len(tokenizer) for token in ids]
    answer = read_answer(tokenizer, ids)
    tokens = decoded_tokens(tokenizer, answer)
    assert tokens.ids == tuple(ids)
    special = set(tokenizer.all_special_ids)
    assert [span is None for span in tokens.spans] == [token in special for token in ids]


def test_selectors_find_words_of_the_answer_alone() -> None:
    model = causal("llama")
    read = model.encode(ASKED)
    tokens, answer = read.source, read.sample.answer
    assert answer is not None
    start = len(tokens) - len(answer.ids)

    def found(written: object) -> tuple[int, ...]:
        return positions(parse_selector(written), tokens)

    first = found({"generated": "first"})
    assert first[0] >= start
    assert found({"generated": {"predicts": "first"}}) == (first[0] - 1,)
    assert set(found({"generated": "all"})) <= set(range(start, len(tokens)))
    assert found({"generated": {"chars": [0, len(answer.text)]}})[-1] == len(tokens) - 1
    assert found("key")[-1] < start
    with pytest.raises(SelectorError, match="does not stand in the answer"):
        found({"generated": "opens"})
    with pytest.raises(SelectorError, match="names a word of the model's own answer, and there"):
        positions(parse_selector({"generated": "all"}), model.encode(Sample(TEXT)).source)


def test_readouts_are_of_the_answer_as_it_was_said() -> None:
    model = causal("llama")
    read = model.encode(ASKED)
    ids, answer = read.source.ids, read.sample.answer
    assert answer is not None
    start = len(ids) - len(answer.ids)
    for at, span in enumerate(answer.spans[:4]):
        shifted = Span(span.start + len(TEXT) + 1, span.end + len(TEXT) + 1)
        word = read.source.text[slice(*shifted)]
        if not word.strip() or "\ufffd" in word:
            continue
        with torch.inference_mode():
            logits = model.network(torch.tensor([ids[: start + at]])).logits[0, -1]
        expected = float(logits.log_softmax(-1)[ids[start + at]])
        (value,) = model.read_out([Prediction(read.sample, shifted)])
        assert value == pytest.approx(expected, abs=1e-5)


def test_a_conversation_is_answered_behind_its_generation_prompt() -> None:
    tokenizer = tiny_tokenizer(end=False)
    tokenizer.backend_tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    network = headed("llama", vocab_size=len(tokenizer))
    model = Model.of(network, tokenizer, name="chat")
    messages = (Message("user", "Which key is old?"),)
    asked = Sample("", messages=messages, generation_prompt=True, generate=5)
    read = model.encode(asked)
    prompt = tokenizer.apply_chat_template(
        [message._asdict() for message in messages], add_generation_prompt=True
    )["input_ids"]
    assert list(read.source.ids[: len(prompt)]) == prompt
    assert list(read.source.ids[len(prompt) :]) == by_transformers(network, tuple(prompt), 5)
    assert [part.name for part in read.source.parts] == ["message 1 (user)", "the answer"]
    assert positions(parse_selector({"message": -1}), read.source) == positions(
        parse_selector({"message": 1}), read.source
    )


def test_models_that_say_nothing_are_refused() -> None:
    encoder = Model.of(tiny_network("bert"), tiny_tokenizer(), name="bert")
    with pytest.raises(ModelError, match="generate: needs a decoder"):
        encoder.encode(ASKED)
    translator = Model.of(headed("marian"), tiny_tokenizer(start=False), name="marian")
    with pytest.raises(ModelError, match="generate: needs a decoder"):
        translator.encode(ASKED)
    bare = Model.of(tiny_network("llama"), tiny_tokenizer(end=False), name="bare")
    with pytest.raises(ModelError, match="bare was handed over without a head"):
        bare.encode(ASKED)
    short = causal("llama", max_position_embeddings=32)
    with pytest.raises(SelectorError, match="and llama takes 32"):
        short.encode(Sample(TEXT, generate=30))


def test_the_hash_of_a_text_says_that_an_answer_follows_not_which() -> None:
    model = causal("llama")
    plain, asked = text_sha256(Sample(TEXT)), text_sha256(ASKED)
    assert plain != asked
    assert text_sha256(model.encode(ASKED).sample) == asked
    assert text_sha256(Sample(TEXT, generate=9)) != asked
