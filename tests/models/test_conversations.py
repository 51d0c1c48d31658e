"""Conversations: messages are read as the tokenizer's chat template writes them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, PreTrainedTokenizerFast

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.needs import Need, Prediction
from attnprobe.core.texts import Message, Sample, Span, Tokens
from attnprobe.models import Model
from attnprobe.models.chat import tokenize_messages
from attnprobe.models.tokens import prepare_tokenizer
from attnprobe.results.records import text_sha256
from attnprobe.words.naming import selector_values
from attnprobe.words.positions import groups, positions
from attnprobe.words.segmentation import words
from attnprobe.words.selectors import parse_selector
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support import tokenizers_small
from tests.support.tiny_lm import headed

# As published templates are: with a system message of their own, with stripped contents, with
# roles that alternate and other names of roles.
CHATML = (
    "{% for message in messages %}{% if loop.first and message.role != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}"
    "<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}"
    "{% endif %}{{ bos_token }}{% for message in turns %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message.role == 'user' %}[INST] {{ system if loop.first else '' }}"
    "{{ message.content }} [/INST]{% else %} {{ message.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MARKS = {
    CHATML: ["<|im_start|>", "<|im_end|>"],
    LLAMA: ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    MISTRAL: [],
    GEMMA: ["<start_of_turn>", "<end_of_turn>"],
}
TEMPLATES = pytest.mark.parametrize("template", MARKS, ids=["chatml", "llama", "mistral", "gemma"])
WHITE = ("␣", "<U+000A>")
SYSTEM = Message("system", "You answer in French.")
ASKED = Message("user", " What is the capital of France?\n")
ANSWER = Message("assistant", "Paris is the capital.")
AGAIN = Message("user", "And of Italy?")


def chat_tokenizer(template: str, *, byte_pairs: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = tokenizers_small.build("bytebpe") if byte_pairs else tiny_tokenizer(end=False)
    tokenizer.backend_tokenizer.add_special_tokens(MARKS.get(template, MARKS[CHATML]))
    tokenizer.chat_template = template
    prepare_tokenizer(tokenizer)
    return tokenizer


def template_ids(tokenizer: Any, sample: Sample) -> list[int]:
    """What transformers makes of the messages."""
    found: list[int] = tokenizer.apply_chat_template(
        [message._asdict() for message in sample.messages or ()],
        add_generation_prompt=sample.generation_prompt,
        return_dict=False,
    )
    return found


def conversation(*messages: Message, **options: Any) -> Sample:
    return Sample("", messages=messages, **options)


def read(*messages: Message, template: str = CHATML, **options: Any) -> Tokens:
    return tokenize_messages(chat_tokenizer(template), conversation(*messages, **options))


def refusal(*messages: Message, template: str = CHATML, **options: Any) -> str:
    with pytest.raises(SelectorError) as caught:
        read(*messages, template=template, **options)
    return str(caught.value)


# How they are read -------------------------------------------------------------------------------

# SmolLM2's vocabulary lacks the bytes of control characters and of the rarest planes.
CHARACTERS = st.characters(max_codepoint=0x1FFFF, exclude_categories=["Cs", "Cc", "Cn"])
CONTENTS = st.text(
    st.sampled_from(" \n\t.?*[]'éß日\u0301\u200d🙂") | CHARACTERS, min_size=1, max_size=12
).map(lambda text: text.replace("<", "("))


def check_reading(tokenizer: Any, sample: Sample) -> None:
    tokens = tokenize_messages(tokenizer, sample)
    assert list(tokens.ids) == template_ids(tokenizer, sample)
    for part in sample.parts:
        inside = [
            at
            for at, span in enumerate(tokens.spans)
            if span is not None and part.start <= span.start and span.end <= part.end
        ]
        assert {tokens.special[at] for at in inside} <= {None}
        spelled = tokenizer.decode([tokens.ids[at] for at in inside])
        assert spelled.strip() == part.text.strip()
    for token_id, span, special in zip(tokens.ids, tokens.spans, tokens.special, strict=True):
        assert (span is None) == (special is not None)
        spelled = tokenizer.decode([token_id]).strip()
        if span is not None and "\ufffd" not in spelled:
            assert tokens.text[slice(*span)].strip() == spelled


@pytest.mark.parametrize("kind", ["bytes", "byte pairs", "smollm2"])
@TEMPLATES
@settings(max_examples=25)
@given(
    contents=st.lists(CONTENTS, min_size=1, max_size=4), system=st.booleans(), prompt=st.booleans()
)
def test_ids_are_those_of_the_template_and_spans_spell_the_messages(
    template: str, kind: str, contents: list[str], system: bool, prompt: bool, tokenizers: Any
) -> None:
    first = [Message("system", contents[0])] if system and template is not GEMMA else []
    turns = [
        Message("assistant" if number % 2 else "user", content)
        for number, content in enumerate(contents[len(first) :])
    ]
    if turns:
        sample = conversation(*first, *turns, generation_prompt=prompt)
        check_reading(tokenizers(template, kind), sample)


@pytest.fixture(scope="module")
def tokenizers(smollm2: Model) -> Any:
    built: dict[tuple[str, str], Any] = {}

    def tokenizer(template: str, kind: str) -> Any:
        if (template, kind) not in built:
            if kind == "smollm2":
                built[template, kind] = copy.deepcopy(smollm2.tokenizer)
                built[template, kind].backend_tokenizer.add_special_tokens(MARKS[template])
                built[template, kind].chat_template = template
            else:
                built[template, kind] = chat_tokenizer(template, byte_pairs=kind == "byte pairs")
        return built[template, kind]

    return tokenizer


def test_tokens_of_the_template_are_special_and_no_words() -> None:
    tokens = read(ASKED, ANSWER, generation_prompt=True)
    assert tokens.text == f"{ASKED.content}\x1f{ANSWER.content}"
    assert [part.name for part in tokens.parts] == ["message 1 (user)", "message 2 (assistant)"]
    of_template = "".join(
        piece.removeprefix("##")
        for piece, span in zip(tokens.pieces, tokens.spans, strict=True)
        if span is None
    )
    assert of_template.startswith("<|im_start|>system<U+000A>You")
    assert of_template.endswith("<|im_end|><U+000A><|im_start|>assistant<U+000A>")
    assert {tokens.special[at] for at, span in enumerate(tokens.spans) if span is None} == {
        "special"
    }
    labels = [group.label for group in groups(tokens) if not group.special]
    assert [label for label in labels if label not in WHITE] == [
        *("What", "is", "the", "capital", "of", "France", "?"),
        *("Paris", "is", "the", "capital", "."),
    ]


def test_stripped_messages_keep_their_characters() -> None:
    tokens = read(ASKED, template=LLAMA)
    found = positions(parse_selector("What"), tokens)
    assert [tokens.spans[at] for at in found] == [Span(at, at + 1) for at in range(1, 5)]
    assert tokens.special[0] == "bos"
    assert tokens.ids.count(1) == 1


def test_rows_are_those_of_eager_attention() -> None:
    tokenizer = chat_tokenizer(CHATML)
    network = tiny_network("llama", vocab_size=len(tokenizer), max_position_embeddings=512)
    model = Model.of(network, tokenizer, name="chat")
    attention = model.attention(
        messages=[ASKED._asdict(), ANSWER._asdict()], generation_prompt=True
    )
    ids = template_ids(tokenizer, attention.sample)
    fresh = AutoModel.from_config(network.config, attn_implementation="eager")
    fresh.load_state_dict(network.state_dict())
    with torch.inference_mode():
        eager = fresh.eval()(torch.tensor([ids]), output_attentions=True).attentions
    (rows,) = model.collect([Need(attention.sample, "decoder", (1,), tuple(range(len(ids))))])
    np.testing.assert_allclose(rows.weights[1], eager[1][0], atol=5e-5)
    np.testing.assert_allclose(attention.weights("L1H2"), eager[1][0, 2], atol=5e-5)


def test_a_word_of_a_message_is_predicted_from_the_ids_of_the_template() -> None:
    tokenizer = chat_tokenizer(CHATML)
    network = headed("llama", vocab_size=len(tokenizer), max_position_embeddings=512)
    sample = conversation(ASKED, ANSWER, AGAIN)
    start = sample.joined.index("capital", sample.parts[1].start)
    asked = Prediction(sample, Span(start, start + 7), "keys")
    found = Model.of(network, tokenizer, name="chat").read_out([asked])
    expected = []
    for word in ("capital", "keys"):
        changed = conversation(ASKED, Message("assistant", f"Paris is the {word}"))
        ids = template_ids(tokenizer, changed)[: -len("_\n")]
        with torch.inference_mode():
            logs = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        places = range(len(ids) - len(word), len(ids))
        expected.append(sum(logs[at - 1, ids[at]].item() for at in places))
    assert found == [pytest.approx(expected[0] - expected[1], abs=1e-4)]


# What cannot be read -----------------------------------------------------------------------------

ADVICE = "write the rendered conversation as text: with allow_special_tokens: true"
EACH = "{% for message in messages %}"


@pytest.mark.parametrize(
    ("template", "messages", "problem"),
    [
        (
            MISTRAL,
            [ANSWER, ASKED],
            "the chat template refuses these messages: roles must alternate user/assistant",
        ),
        (
            GEMMA,
            [SYSTEM, ASKED],
            "the chat template refuses these messages: System role not supported",
        ),
        (
            "{{ messages[0]['content']",
            [ASKED],
            "the chat template refuses these messages: unexpected end of template, expected "
            "'end of print statement'.",
        ),
        (
            EACH + "{% if message.role != 'system' %}{{ message.content }}{% endif %}{% endfor %}",
            [SYSTEM, ASKED],
            f"the chat template leaves out message 1 (system); {ADVICE}",
        ),
        (
            EACH + "{{ message.content }}; {{ message.content }}{% endfor %}",
            [ASKED],
            f"the chat template repeats message 1 (user); {ADVICE}",
        ),
        *(
            (
                template,
                [ASKED, ANSWER],
                "the chat template changes a message, or the order of the messages, so that their "
                f"words cannot be found; {ADVICE}",
            )
            for template in (
                EACH + "{{ message.content | replace('capital', 'town') }}\n{% endfor %}",
                "{% for message in messages | reverse %}{{ message.content }}\n{% endfor %}",
                EACH
                + "{{ 'Q: ' if 'capital' in message.content }}{{ message.content }}{% endfor %}",
            )
        ),
        (
            CHATML,
            [Message("user", "ab\ud800")],
            "message 1 (user) has U+D800 at character 2: half of a surrogate pair, which is no "
            "character",
        ),
    ],
)
def test_what_a_template_may_not_do(template: str, messages: list[Message], problem: str) -> None:
    assert refusal(*messages, template=template) == problem


def test_a_tokenizer_without_a_template_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(ModelError) as caught:
        tokenize_messages(tokenizer, conversation(ASKED))
    assert str(caught.value) == (
        "the tokenizer has no chat template, which messages: need; name the tokenizer of a chat "
        "model with --attn-tokenizer, or write the conversation as text:"
    )


def test_a_mark_typed_into_a_message_is_refused() -> None:
    typed = Message("user", "Hello<|im_end|>")
    lines = refusal(ASKED, typed).split("\n")
    assert lines[0].startswith("the text spells out the special token '<|im_end|>', which")
    assert lines[1:] == ["  Hello<|im_end|>", "       ^^^^^^^^^^"]
    sample = conversation(ASKED, typed, allow_special_tokens=True)
    tokenizer = chat_tokenizer(CHATML)
    tokens = tokenize_messages(tokenizer, sample)
    assert list(tokens.ids) == template_ids(tokenizer, sample)
    (at,) = (at for at, span in enumerate(tokens.spans) if span and tokens.special[at])
    assert tokens.pieces[at] == "<|im_end|>"


@pytest.mark.parametrize(
    ("content", "covered"), [("keys", "  Q:keys\n  ^^^^^^"), ("old keys", "  Q:old keys\n  ^^^^^")]
)
def test_a_token_of_message_and_template_is_refused(content: str, covered: str) -> None:
    vocabulary = {
        word: number for number, word in enumerate(["?", "Q:keys", "Q:old", "keys", "Q:", "old"])
    }
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?")
    tokenizer.chat_template = EACH + "Q:{{ message.content }}{% endfor %}"
    with pytest.raises(SelectorError) as caught:
        tokenize_messages(tokenizer, conversation(Message("user", content)))
    token = covered.split("\n", maxsplit=1)[0].split(maxsplit=1)[0]
    assert str(caught.value) == (
        f"the token '{token}' covers characters of a message and others of the chat template, so "
        f"it belongs to neither; begin and end messages in another way, or {ADVICE}\n{covered}"
    )
    tokenizer.chat_template = EACH + "Q: {{ message.content }}{% endfor %}"
    tokens = tokenize_messages(tokenizer, conversation(Message("user", content)))
    assert tokens.special[0] == "special"
    assert set(tokens.special[1:]) == {None}


# Selectors ---------------------------------------------------------------------------------------

TOKENS = read(SYSTEM, ASKED, ANSWER, AGAIN, generation_prompt=True)


def selected(value: object, tokens: Tokens = TOKENS) -> str:
    """The pieces of a selector's tokens; of bytes, the word."""
    found = positions(parse_selector(value), tokens)
    return "".join(tokens.pieces[at].removeprefix("##") for at in found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("French", "French"),
        ({"role": "system"}, "YouanswerinFrench."),
        ({"role": "assistant"}, "Parisisthecapital."),
        ({"role": "user", "nth": 2}, "AndofItaly?"),
        ({"message": -1}, "AndofItaly?"),
        ({"message": 1, "word": "in"}, "in"),
        ({"message": 2, "chars": [1, 5]}, "What"),
        ({"message": -2, "word": "is"}, "is"),
        ([{"message": 1}, "Paris"], "YouanswerinFrench.Paris"),
        ({"special": "<|im_start|>", "nth": 2}, "<|im_start|>"),
        ({"special": "<|im_end|>"}, "<|im_end|>" * 4),
    ],
)
def test_what_a_selector_means(value: object, expected: str) -> None:
    assert selected(value).replace("␣", "").replace("<U+000A>", "") == expected


def test_a_selector_means_the_right_one_of_several() -> None:
    tokens = TOKENS
    ends = [at for at, piece in enumerate(tokens.pieces) if piece == "<|im_end|>"]
    third = positions(parse_selector({"special": "<|im_end|>", "nth": 3}), tokens)
    assert third == (ends[2],)
    for number in (2, 3):
        found = positions(parse_selector({"message": number, "word": "capital"}), tokens)
        assert ends[number - 2] < found[0] < ends[number - 1]
        before = positions(parse_selector({"message": number, "predicts": "capital"}), tokens)
        assert before == (found[0] - 1,)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            "capital",
            "'capital' stands 2 times in the messages; say which one, such as {message: 3, word: "
            "capital}\n"
            "  {message: 2, word: capital}   What is the capital of France?<U+000A>\n"
            "                                            ^^^^^^^\n"
            "  {message: 3, word: capital}  Paris is the capital.\n"
            "                                            ^^^^^^^",
        ),
        (
            {"message": 4, "word": "Paris"},
            "'Paris' stands in message 3 (assistant), not in message 4 (user); write {message: 3, "
            "word: Paris}\n  Paris is the capital.\n  ^^^^^",
        ),
        (
            "Rome",
            "'Rome' does not stand in any message:\n  You answer in French.\n"
            "   What is the capital of France?<U+000A>\n  Paris is the capital.\n  And of Italy?",
        ),
        (
            {"word": "is", "nth": 2},
            "is (nth: 2): nth and chars count in one message; name it: {message: 1, word: it, "
            "nth: 2}",
        ),
        ({"message": 5}, "there is no message 5; their number is 4"),
        ({"message": -5, "word": "is"}, "there is no message -5; their number is 4"),
        (
            {"role": "user"},
            "2 messages have the role 'user': 2, 4; say which one, such as {role: user, nth: 2}",
        ),
        ({"role": "user", "nth": 3}, "there is no {role: user, nth: 3}; messages of it: 2"),
        ({"role": "usr"}, "no message has the role 'usr'; did you mean 'user'?"),
        (
            {"pair": "is"},
            "{pair: ...} names one of two texts, and these are messages; write {message: 1, word: "
            "it}",
        ),
        (
            {"special": "<|im_end|>", "nth": 9},
            "there is no <|im_end|> (nth: 9); special tokens of this name: 4",
        ),
    ],
)
def test_what_a_selector_cannot_mean(value: object, problem: str) -> None:
    with pytest.raises(SelectorError) as caught:
        selected(value)
    assert str(caught.value) == problem


@pytest.mark.parametrize("value", [{"role": "user"}, {"message": 1, "word": "keys"}])
def test_a_text_has_no_messages(value: dict[str, object]) -> None:
    tokens = Tokens("keys", (1,), ("keys",), (Span(0, 4),), (None,))
    with pytest.raises(SelectorError) as caught:
        selected(value, tokens)
    assert str(caught.value) == (
        f"{{{next(iter(value))}: ...}} names one of several messages, and this is a text; write "
        "messages: instead of text:, or name a word of the text"
    )


def test_each_word_and_mark_is_named_by_a_selector_that_means_it() -> None:
    tokens = read(SYSTEM, ASKED, ANSWER, AGAIN)
    spans = words(tokens.text)
    units = groups(tokens, spans)
    for unit, value in zip(units, selector_values(units, tokens), strict=True):
        if unit.label in WHITE and not unit.special:
            assert value is None
        elif not unit.special or unit.label.startswith("<|"):
            assert positions(parse_selector(value), tokens) == unit.positions


# Identity ----------------------------------------------------------------------------------------


def test_roles_contents_and_the_prompt_are_the_identity_of_a_conversation() -> None:
    samples = [
        conversation(ASKED),
        conversation(ASKED, generation_prompt=True),
        conversation(ASKED._replace(role="assistant")),
        conversation(ASKED, ANSWER),
        conversation(Message("user", f"{ASKED.content}\x1f{ANSWER.content}")),
        Sample(ASKED.content),
    ]
    assert len({text_sha256(sample) for sample in samples}) == len(samples)
    assert text_sha256(conversation(ASKED)) == text_sha256(conversation(Message(*ASKED)))
