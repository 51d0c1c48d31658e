"""Cases with messages instead of a text."""

from __future__ import annotations

import jsonschema
import pytest

from attnprobe.cases import Case, parse, schema, yamltext
from attnprobe.core.errors import CaseError, CaseErrors
from attnprobe.core.texts import Message
from attnprobe.models import Model
from attnprobe.run.explain import explain
from attnprobe.run.runner import Runner
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.inner_runs import Run

VALIDATOR = jsonschema.Draft7Validator(schema())
START = """version: 1
suite: s
defaults: {heads: L0H0}
cases:
  - id: a
"""
MESSAGES = """    messages:
      - {role: system, content: You answer in French.}
      - {role: user, content: What is the capital of France?}
      - {role: user, content: And of Italy?}
"""
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def file(to: str = "French", *, messages: str = MESSAGES, more: str = "") -> str:
    entry = f"attends: {{from: capital, to: {to}, min: 0.001}}"
    return f"{START}{messages}{more}    expect: [{{{entry}}}]\n"


def read(text: str) -> tuple[Case, ...]:
    return parse(yamltext.loads(text.encode(), "a.attn.yaml"))


def errors(text: str) -> list[str]:
    with pytest.raises((CaseError, CaseErrors)) as caught:
        read(text)
    found = getattr(caught.value, "errors", [caught.value])
    return [str(error).removeprefix("a.attn.yaml:") for error in found]


def chat_model() -> Model:
    tokenizer = tiny_tokenizer(end=False)
    tokenizer.backend_tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.chat_template = CHATML
    network = tiny_network("llama", vocab_size=len(tokenizer), max_position_embeddings=512)
    return Model.of(network, tokenizer, name="tiny")


@pytest.mark.parametrize(
    "to",
    [
        "French",
        "{role: system}",
        "{role: user, nth: 2}",
        "{message: -1}",
        "{message: 2, word: the}",
        "{message: 2, chars: [0, 4]}",
        "[What, {message: 1}]",
        "{special: '<|im_end|>', nth: 2}",
        "{special: bos, nth: 2}",
    ],
)
def test_a_case_of_messages(to: str) -> None:
    text = file(to, more="    generation_prompt: true\n")
    (case,) = read(text)
    assert case.sample.messages == (
        Message("system", "You answer in French."),
        Message("user", "What is the capital of France?"),
        Message("user", "And of Italy?"),
    )
    assert (case.sample.text, case.sample.generation_prompt) == ("", True)
    assert VALIDATOR.is_valid(yamltext.loads(text.encode(), "a").value)


def test_rows_fill_messages() -> None:
    rows = "    rows: [{town: Rome}, {town: Oslo}]\n"
    messages = MESSAGES.replace("And of Italy?", '"And of {town}?"')
    text = file("'{town}'", messages=messages, more=rows)
    assert [case.row for case in read(text)] == ["Rome", "Oslo"]
    last = [case.sample.texts[-1] for case in read(text)]
    assert last == ["user: And of Rome?", "user: And of Oslo?"]
    assert VALIDATOR.is_valid(yamltext.loads(text.encode(), "a").value)
    empty = text.replace("And of {town}?", "{town}").replace("Rome", "' '")
    assert errors(empty)[0] == "10:12: content: holds no word"


@pytest.mark.parametrize(
    ("text", "told", "by_schema"),
    [
        (
            file(messages=MESSAGES + "    text: a\n"),
            "5:5: a case has either text:, or template: with rows:, or ids:, or messages:",
            True,
        ),
        (file(more="    text_pair: a\n"), "10:5: messages: go without a text_pair:", True),
        (file(more="    source_language: fr\n"), "10:5: messages: go without a source_langu", True),
        (file(more="    repeat: 2\n"), "10:5: repeat: goes with ids:, not with a text", True),
        (
            file("it", messages="    text: capital it\n", more="    generation_prompt: true\n"),
            "7:5: generation_prompt: goes with messages:",
            True,
        ),
        (file(messages="    messages: []\n"), "6:15: messages: is empty", True),
        (
            file(messages=MESSAGES.replace("role: sys", "rol: sys")),
            "7:10: unknown key 'rol'; did you mean 'role'?",
            True,
        ),
        (file(messages=MESSAGES.replace("role: system, ", "")), "7:9: role: is missing", True),
        (file(messages=MESSAGES.replace("And of Italy?", "' '")), "9:31: content: holds no", False),
        (file("{role: usr}"), "10:44: to: no message has the role 'usr'; did you mean", False),
        (file("{role: user}"), "10:44: to: 2 messages have the role 'user': 2, 3; say", False),
        (file("{message: 4}"), "10:44: to: there is no message 4; their number is 3", False),
        (file("{message: 0}"), "10:44: to: message: is the number of a message, from 1", True),
        (file("{message: '1'}"), "10:44: to: message: is the number of a message, from 1", True),
        (file("{message: 1, special: cls}"), "10:44: to: [CLS] stands in no message; le", True),
        (file("{pair: {message: 1}}"), "10:44: to: {message: ...} stands inside of {pair:", True),
        (file("{pair: {role: user}}"), "10:44: to: {role: ...} stands inside of {pair: ...}", True),
        (file("{role: user, word: it}"), "10:44: to: 'word' does not go with 'role'; known", True),
        (file("{role: 3}"), "10:44: to: a role is text, not 3; quote it as it stands in the", True),
        (file("{special: first, nth: 2}"), "10:44: to: 'nth' does not go with 'special'", False),
        (
            file("Frnch"),
            "10:44: to: 'Frnch' does not stand in any message; nearest: 'French'",
            False,
        ),
    ],
)
def test_what_is_wrong_with_messages(text: str, told: str, by_schema: bool) -> None:
    assert any(line.startswith(told) for line in errors(text))
    if by_schema:
        assert not VALIDATOR.is_valid(yamltext.loads(text.encode(), "a").value)


def test_a_target_has_no_messages() -> None:
    site = "    target: le mot\n"
    text = file("{message: 1}", more=site).replace("from: capital", "site: decoder, from: mot")
    (found,) = errors(text)
    assert "{message: ...} names a word of the text that the encoder reads" in found


def test_no_bound_is_refused_for_the_length_that_a_template_adds() -> None:
    text = file().replace("attends: {from: capital, to: French, min: 0.001}", "entropy: {max: 6}")
    assert read(text)
    plain = "    text: What is the capital?\n"
    with pytest.raises((CaseError, CaseErrors)):
        read(text.replace(MESSAGES, plain))


def test_the_failure_shows_who_says_what() -> None:
    (case,) = read(file("{role: system}").replace("min: 0.001", "min: 0.999"))
    (finding,) = Runner(chat_model(), [case]).judge(case)
    assert explain(case, finding).split("\n")[1:7] == [
        "  │ system: You answer in French.",
        "  │         ^^^^^^^^^^^^^^^^^^^^^",
        "  │         to",
        "  │ user: What is the capital of France?",
        "  │                   ^^^^^^^",
        "  │                   from",
    ]


def test_a_run_measures_messages_and_a_probe_takes_them(
    probe: Run, pytester: pytest.Pytester
) -> None:
    class Chat:
        def pytest_attn_load_model(self, name: str, ref: str) -> Model:
            return chat_model()

    pytester.path.joinpath("a.attn.yaml").write_text(file("{role: system}"), encoding="utf-8")
    pytester.makepyfile(
        """
        import pytest

        ASKED = [{"role": "user", "content": "What is it?"}]

        def test_messages(attn):
            read = attn(messages=ASKED, generation_prompt=True)
            read.attends("it", {"role": "user"}, heads="L0H0", min=0.0001)

        @pytest.mark.parametrize(("text", "options", "told"), [
            ("a", {"messages": ASKED}, "messages= stand for the text; give no other text"),
            (None, {}, "give a text, or messages=, not None"),
            ("a", {"generation_prompt": True}, "generation_prompt= goes with messages="),
            (None, {"messages": [{"role": "user"}]}, "a message is {'role': ..., 'content': ...}"),
        ])
        def test_wrong_arguments(attn, text, options, told):
            with pytest.raises(TypeError) as caught:
                attn(text, **options)
            assert str(caught.value).startswith(told)
        """
    )
    probe(plugin=Chat()).assert_outcomes(passed=6)
