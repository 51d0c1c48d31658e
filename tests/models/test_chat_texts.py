"""Texts that spell special tokens: rendered chat templates, and texts with a start token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers import AutoModel, PreTrainedTokenizerFast

from attnprobe import cases
from attnprobe.cases import yamltext
from attnprobe.core.errors import SelectorError
from attnprobe.core.needs import Need, Prediction, Similarity
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model
from attnprobe.relations.accuracy import judge
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support import tokenizers_small
from tests.support.inner_runs import Run
from tests.support.tiny_lm import headed

MESSAGES = [{"role": "user", "content": "The keys are old."}, {"role": "tool", "content": "ok"}]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|role|>{{ message.role }}\n\n"
    "{{ message.content }}<|turn|>{% endfor %}"
)


def chat_tokenizer(*, template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """As Llama 3 has one: a start token is added, and the marks of the template are unlisted."""
    tokenizer = tiny_tokenizer(end=False)
    tokenizer.backend_tokenizer.add_special_tokens(["<|role|>", "<|turn|>"])
    tokenizer.chat_template = template
    assert "<|role|>" not in tokenizer.all_special_tokens
    return tokenizer


def rendered(tokenizer: Any) -> str:
    return str(tokenizer.apply_chat_template(MESSAGES, tokenize=False))


def chat_ids(tokenizer: Any) -> list[int]:
    ids = tokenizer.apply_chat_template(MESSAGES, tokenize=True, return_dict=False)
    return [int(token_id) for token_id in ids]


@pytest.fixture(scope="module")
def chat() -> Model:
    network = tiny_network("llama", vocab_size=len(chat_tokenizer()))
    return Model.of(network, chat_tokenizer(), name="chat")


# How they are read --------------------------------------------------------------------------------


def test_a_chat_text_is_read_as_its_template_reads_it_p47(chat: Model) -> None:
    tokenizer = chat_tokenizer()
    text = rendered(tokenizer)
    sample = Sample(text, allow_special_tokens=True)
    tokens = chat.encode(sample).source
    expected = chat_ids(tokenizer)
    assert list(tokens.ids) == expected
    assert tokens.ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer(text)["input_ids"] == [tokenizer.bos_token_id, *expected]  # what it does

    marks = [
        (index, text[slice(*span)])
        for index, span in enumerate(tokens.spans)
        if span is not None and tokens.special[index] is not None
    ]
    spelled = ["<s>", "<|role|>", "<|turn|>", "<|role|>", "<|turn|>"]
    assert [mark for _, mark in marks] == spelled
    assert [tokens.pieces[index] for index, _ in marks] == spelled
    assert tokens.special[0] == "bos"

    fresh = AutoModel.from_config(chat.network.config, attn_implementation="eager")
    fresh.load_state_dict(chat.network.state_dict())
    with torch.inference_mode():
        eager = fresh.eval()(torch.tensor([expected]), output_attentions=True).attentions
    every = tuple(range(len(expected)))
    (rows,) = chat.collect([Need(sample, "decoder", (0, 1), every)])
    for layer in (0, 1):
        np.testing.assert_allclose(rows.weights[layer], eager[layer][0], atol=5e-5)


def wordpiece() -> PreTrainedTokenizerFast:
    return tokenizers_small.build("wordpiece")


def without_start() -> PreTrainedTokenizerFast:
    """Qwen's kind: a start token is known, none is added."""
    return tiny_tokenizer(start=False, end=False)


def end_only() -> PreTrainedTokenizerFast:
    return tokenizers_small.build("unigram")


def language_first() -> PreTrainedTokenizerFast:
    """A tokenizer whose first added token has no name of its own."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.add_special_tokens(["[gMASK]"])
    mark = tokenizer.convert_tokens_to_ids("[gMASK]")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[gMASK] <s> $A", special_tokens=[("[gMASK]", mark), ("<s>", 1)]
    )
    return tokenizer


@pytest.mark.parametrize(
    ("build", "text", "as_spelled"),
    [
        (wordpiece, "[CLS] the keys are old [SEP]", True),
        (wordpiece, "[CLS] the keys are old", True),
        (wordpiece, "\n [CLS] the keys are old [SEP]", True),
        (wordpiece, "[SEP] the keys are old", False),
        (wordpiece, "the keys [CLS] are old", False),
        (tiny_tokenizer, "<s>keys</s>", True),
        (tiny_tokenizer, " <s>keys</s>", True),
        (tiny_tokenizer, "keys</s>", False),
        (without_start, "<s>keys", False),  # nothing is added, so both are the same
        (end_only, "</s> keys", False),
        (end_only, "keys </s>", False),
        (language_first, "[gMASK]<s>keys", True),
        (language_first, "<s>keys", False),
    ],
)
def test_only_a_start_token_that_would_be_added_again_is_read_once_p47(
    build: Callable[[], PreTrainedTokenizerFast], text: str, as_spelled: bool
) -> None:
    tokenizer = build()
    model = Model.of(tiny_network("bert", vocab_size=len(tokenizer)), tokenizer, name="any")
    tokens = model.encode(Sample(text, allow_special_tokens=True)).source
    assert list(tokens.ids) == build()(text, add_special_tokens=not as_spelled)["input_ids"]
    special = set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids("[gMASK]")}
    special.discard(tokenizer.unk_token_id)
    for token_id, name, span in zip(tokens.ids, tokens.special, tokens.spans, strict=True):
        assert (name is not None) == (token_id in special)
        assert span is not None or name is not None
    with pytest.raises(SelectorError, match="spells out the special token"):
        model.encode(Sample(text))


def test_an_unknown_word_is_no_start_token_p47() -> None:
    """GPT-2's start, end and unknown token are one."""
    tokenizer = tokenizers_small.gpt2_like()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    model = Model.of(tiny_network("gpt2", vocab_size=4), tokenizer, name="gpt2")
    assert model.encode(Sample("clefs the keys")).source.ids == (0, 0, 1, 2)
    spelled = Sample("<|endoftext|> the keys", allow_special_tokens=True)
    assert model.encode(spelled).source.ids == (0, 1, 2)


@pytest.mark.parametrize(
    ("architecture", "target", "ids"),
    [
        # BART's labels begin with <s>, and its decoder with </s>.
        ("bart", "clefs", lambda read: [2, *read("clefs")["input_ids"][:-1]]),
        ("bart", "<s>clefs</s>", lambda read: [2, *read("<s>clefs", add=False)]),
        ("bart", "</s><s>clefs", lambda read: read("</s><s>clefs", add=False)),
        # T5's labels begin with the text, and its decoder with <pad>.
        ("t5", "clefs", lambda read: [0, *read("clefs", add=False)]),
        ("t5", "<pad>clefs", lambda read: read("<pad>clefs", add=False)),
        ("t5", "<pad>clefs</s>", lambda read: read("<pad>clefs</s>", add=False)),
    ],
)
def test_a_target_that_spells_its_start_has_it_once_p47(
    architecture: str, target: str, ids: Callable[[Any], list[int]]
) -> None:
    tokenizer = tiny_tokenizer(start=architecture == "bart")
    network = tiny_network(architecture)
    start = network.config.decoder_start_token_id
    assert start == {"bart": 2, "t5": 0}[architecture]
    model = Model.of(network, tokenizer, name=architecture)

    def read(text: str, *, add: bool = True) -> Any:
        encoded = tokenizer(text_target=text, add_special_tokens=add)
        return encoded if add else encoded["input_ids"]

    tokens = model.encode(Sample("The keys", target, allow_special_tokens=True)).target
    assert tokens is not None
    assert list(tokens.ids) == ids(read)
    assert tokens.special[0] == "bos"
    assert tokens.ids[:2] != (start, start)


# What a model says is asked of the same ids -------------------------------------------------------


def test_a_word_of_a_chat_text_is_predicted_from_the_ids_of_the_template_p47() -> None:
    network = headed("llama", vocab_size=len(chat_tokenizer()))
    tokenizer = chat_tokenizer()
    text = rendered(tokenizer)
    start = text.index("keys")
    found = Model.of(network, tokenizer, name="chat").read_out(
        [Prediction(Sample(text, allow_special_tokens=True), Span(start, start + 4))]
    )
    ids = chat_ids(tokenizer)
    place = ids.index(tokenizer.convert_tokens_to_ids("k"))
    with torch.inference_mode():
        logs = network(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = sum(logs[index - 1, ids[index]].item() for index in range(place, place + 4))
    assert found == [pytest.approx(expected, abs=1e-4)]


def test_texts_are_embedded_as_they_are_spelled_p47() -> None:
    network, tokenizer = tiny_network("bert"), tiny_tokenizer()
    texts = ["<s>The keys", "<s>Old keys</s>"]
    asked = Similarity(Sample(texts[0], allow_special_tokens=True), texts[1], None, "mean")
    found = Model.of(network, tokenizer, name="bert").read_out([asked])
    vectors = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            vectors.append(network(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy())
    lengths = [np.linalg.norm(vector) for vector in vectors]
    assert found == [pytest.approx(vectors[0] @ vectors[1] / np.prod(lengths), abs=1e-5)]


@pytest.mark.parametrize("target", ["clefs rouges", "<s>clefs rouges", "</s><s>clefs rouges"])
def test_a_word_of_a_target_is_predicted_behind_one_start_p47(target: str) -> None:
    network = headed("marian", decoder_start_token_id=2)
    tokenizer = tiny_tokenizer()  # labels: <s> text </s>
    start = target.index("rouges")
    asked = Prediction(
        Sample("red keys", target, allow_special_tokens=True), Span(start, start + 6)
    )
    found = Model.of(network, tokenizer, name="marian").read_out([asked])
    labels = tokenizer("<s>clefs rouges", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logs = (
            network(
                torch.tensor([tokenizer("red keys")["input_ids"]]),
                decoder_input_ids=torch.tensor([[2, *labels[:-1]]]),
            )
            .logits[0]
            .log_softmax(-1)
        )
    expected = sum(
        logs[index, labels[index]].item() for index in range(len(labels) - 6, len(labels))
    )
    assert found == [pytest.approx(expected, abs=1e-4)]


def test_nothing_predicts_the_start_that_a_target_spells() -> None:
    model = Model.of(headed("marian", decoder_start_token_id=2), tiny_tokenizer(), name="marian")
    asked = Prediction(Sample("keys", "</s>clefs", allow_special_tokens=True), Span(0, 4))
    with pytest.raises(SelectorError, match="'</s>' opens the decoder's input; nothing predicts"):
        model.read_out([asked])


# Where it is allowed ------------------------------------------------------------------------------

REFUSED = (
    "spells out the special token '<s>'.*"
    r"allow_special_tokens: true in a case file, allow_special_tokens=True in Python, "
    r"--allow-special-tokens with attnprobe show"
)


def test_a_notebook_allows_what_the_message_names_p47(chat: Model) -> None:
    text = rendered(chat_tokenizer())
    with pytest.raises(SelectorError, match=REFUSED):
        chat.attention(text)
    found = chat.attention(text, allow_special_tokens=True)
    assert found.tokens[:2] == ("<s>", "<|role|>")


def test_a_mark_that_the_tokenizer_does_not_list_is_refused_as_well_p47(chat: Model) -> None:
    with pytest.raises(SelectorError, match=r"spells out the special token '<\|turn\|>'"):
        chat.attention("The keys<|turn|>are old.")


def test_cases_and_the_fixture_allow_a_spelled_start_p47(
    probe: Run, pytester: pytest.Pytester, write_cases: Callable[..., Path]
) -> None:
    write_cases(
        """
        - id: allowed
          text: <s>the keys are old</s>
          allow_special_tokens: true
          expect: [attends: {from: are, to: keys, min: 0.0001}]
        - id: refused
          text: <s>the keys are old</s>
          expect: [attends: {from: are, to: keys, min: 0.0001}]
        """
    )
    pytester.makepyfile(
        """
        def test_allowed(attn):
            found = attn("<s>the keys", target=None, allow_special_tokens=True)
            assert found.tokens[:2] == ("<s>", "t")
            found.attends("keys", "the", heads="mean", min=0.0001)

        def test_refused(attn):
            attn("<s>the keys")
        """
    )
    result = probe("-rA")
    result.assert_outcomes(passed=2, errors=1, failed=1)
    assert "spells out the special token '<s>'" in result.stdout.str()
    assert "allow_special_tokens=True in Python" in result.stdout.str()


def test_spans_allow_a_spelled_start_p47() -> None:
    text = """
        version: 1
        suite: spans
        relations:
          - id: allowed
            heads: L0H0
            least: 1
            expect: {accuracy: 0.0001}
            spans:
              - {text: "<s>the keys are old", from: are, to: keys, allow_special_tokens: true}
              - {text: "<s>the dogs are old", from: are, to: dogs}
        """
    (relation,) = cases.parse_contents(yamltext.loads(text.encode(), "x.attn.yaml")).relations
    model = Model.of(tiny_network("bert"), tiny_tokenizer(), name="tiny")
    found = judge(relation, model)
    assert found.accuracy is not None
    assert found.accuracy.n == 1
    assert dict(found.accuracy.left_out) == {"the model cannot take the text": 1}


def test_show_allows_a_spelled_start_p47(
    attn: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    tiny_network("bert").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    given = ("show", folder, "<s>the keys</s>", "--heads", "L0H0", "--unit", "tokens")
    with pytest.raises(SelectorError, match=REFUSED):
        attn(*given)
    code, printed = attn(*given, "--allow-special-tokens")
    assert code == 0
    rows = [line for line in printed.splitlines() if line.startswith("│ <s>")]
    assert len(rows) == 1
