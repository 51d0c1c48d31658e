"""What attnprobe reads, beside the model as its own tokenizer and class use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertForMultipleChoice,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5ForConditionalGeneration,
    T5ForSequenceClassification,
)

from attnprobe.core.errors import AttnprobeError, ModelError
from attnprobe.models import Model, attention_function, load
from attnprobe.models.forward import batch_inputs
from attnprobe.models.release import ReleaseRow, network_as_released, release_check
from tests.architectures.sweep import examine
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support import pair_models

TEMPLATE = (
    "<s>{% for message in messages %}{{ message.role }}: {{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %} assistant:{% endif %}"
)


def checked(build: Callable[[], PreTrainedModel], **tokens: Any) -> dict[str, ReleaseRow]:
    tokenizer = tiny_tokenizer(end=False)
    tokenizer.model_max_length = 4096
    for name, value in tokens.items():
        setattr(tokenizer, name, value)
    model = Model.of(build(), tokenizer, name="tiny")
    return {row.kind: row for row in release_check(model, build)}


def of_text(name: str, network: PreTrainedModel, folder: Path) -> Model:
    network.save_pretrained(folder / name)
    tiny_tokenizer(start=name != "t5").save_pretrained(folder / name)
    return load(str(folder / name))


def scale_beyond(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention is read wrongly wherever a text has more tokens than this."""
    right = attention_function.attention_weights

    def wrong(query: torch.Tensor, key: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return right(query * (1.2 if key.shape[2] > keys else 1), key, *args, **kwargs)

    monkeypatch.setattr(attention_function, "attention_weights", wrong)


@pytest.mark.parametrize("name", ["bert", "gpt_oss", "mistral", "deberta_v2", "bart"])
def test_texts_are_read_as_a_fresh_network_returns_them_p50(name: str) -> None:
    rows = checked(partial(tiny_network, name))
    decoder = name in ("gpt_oss", "mistral")
    assert [*rows] == ["text", "long text"] + ["text pair"] * (not decoder)
    assert rows["text"].tokens < 40
    assert rows["long text"].tokens > 90
    for row in rows.values():
        assert (row.problem, row.remark) == ("", "")
        assert row.difference is not None
        assert row.difference <= 5e-5


@pytest.mark.parametrize("name", ["bert", "albert", "deberta_v2", "roberta", "xlnet", "bart"])
def test_two_texts_are_read_as_the_tokenizer_puts_them_together_p46(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pair_models.model(name)
    fresh = partial(pair_models.released, name)
    row = {row.kind: row for row in release_check(model, fresh)}["text pair"]
    assert row.problem == row.remark == ""
    assert row.difference is not None
    assert row.difference <= 5e-5
    if name == "bert":
        batch = batch_inputs

        def one_segment(*args: Any, **kwargs: Any) -> Any:
            return batch(*args, **kwargs | {"segments": ()})

        monkeypatch.setattr("attnprobe.models.model.batch_inputs", one_segment)
        problems = [row.problem for row in release_check(model, fresh) if row.kind == "text pair"]
        assert "text pair: encoder L" in problems[0]


def test_the_long_text_is_longer_than_the_windows_p50() -> None:
    def build(**sizes: int) -> Callable[[], PreTrainedModel]:
        return partial(tiny_network, "mistral", sliding_window=150, **sizes)

    assert checked(build(max_position_embeddings=512))["long text"].tokens > 150
    short = checked(build(max_position_embeddings=128))["long text"]
    assert short.tokens <= 128
    assert short.remark == "not longer than the widest window or block of 150 tokens"


def test_another_network_than_the_released_one_is_found_p50() -> None:
    model = Model.of(tiny_network("llama"), tiny_tokenizer(end=False), name="tiny")
    first, second = release_check(model, partial(tiny_network, "llama", seed=1))
    assert first.problem.startswith("tiny, text: decoder L")
    assert "from LlamaModel as transformers loads and calls it, allowed 5e-04" in first.problem
    assert second.problem.startswith("tiny, long text: decoder L")
    (shallow, _) = release_check(model, partial(tiny_network, "llama", num_hidden_layers=2))
    assert shallow.problem.endswith("LlamaModel returns weights of other sites or layers")


def test_what_is_wrong_in_long_texts_alone_is_found_p50(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scale_beyond(60, monkeypatch)
    rows = checked(partial(tiny_network, "llama"))
    assert rows["text"].problem == ""
    assert rows["long text"].problem.startswith("tiny, long text: decoder L")
    family = examine("llama")
    assert family is not None
    assert family.outcome == "refused"
    assert family.reason.startswith("llama, long text: decoder L")


def test_what_is_wrong_beyond_a_window_is_refused_at_load_p50(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scale_beyond(60, monkeypatch)
    tokenizer = tiny_tokenizer(end=False)
    Model.of(tiny_network("mistral", sliding_window=6), tokenizer, name="narrow")
    with pytest.raises(ModelError, match=r"wide: .* differs from the model's own eager"):
        Model.of(tiny_network("mistral", sliding_window=60), tokenizer, name="wide")


def test_other_ids_than_the_tokenizer_gives_are_found_p50(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = PreTrainedTokenizerFast.__call__

    def without_start(self: Any, *args: Any, **kwargs: Any) -> Any:
        # attnprobe asks for offsets; the tokenizer's own user does not.
        if "return_offsets_mapping" in kwargs:
            kwargs["add_special_tokens"] = False
        return call(self, *args, **kwargs)

    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", without_start)
    assert checked(partial(tiny_network, "llama"))["text"].problem.startswith(
        "tiny, text: token 0 of "
    )


def test_a_chat_is_read_as_its_template_tokenises_it_p47() -> None:
    row = checked(partial(tiny_network, "llama"), chat_template=TEMPLATE)["chat"]
    assert row.problem == row.remark == ""
    expected = "<s>user: The keys near the cabinet are old. assistant:"
    assert row.tokens == len(expected) - len("<s>") + 1
    # A tokenizer that puts a second start before the template's own.
    doubled = checked(partial(tiny_network, "llama"), chat_template=f"<s>{TEMPLATE}")["chat"]
    assert doubled.problem == ""


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no user here') }}", "no user here"),
        ("{{ messages[0].content[0].type.name }}", "'str object' has no attribute 'type'"),
        ("{% for message in messages %}", "Unexpected end of template"),
        ({"rag": "x"}, "multiple chat templates with no default"),
    ],
)
def test_a_template_that_renders_no_plain_chat_is_a_remark_p50(
    template: object, reason: str
) -> None:
    rows = checked(partial(tiny_network, "llama"), chat_template=template)
    assert rows["chat"].remark.startswith("the chat template cannot render it: ")
    assert reason in rows["chat"].remark
    assert rows["chat"].difference is None
    assert [row.problem for row in rows.values()] == ["", "", ""]


def test_the_class_that_the_configuration_names_is_asked_p50(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = T5ForConditionalGeneration(tiny_network("t5").config)
    model = of_text("t5", network, tmp_path)
    assert type(model.network).__name__ == "T5Model"
    fresh = network_as_released(model)
    assert type(fresh) is T5ForConditionalGeneration
    rows = release_check(model, partial(network_as_released, model))
    assert [row.problem for row in rows] == ["", "", ""]
    assert rows[0].architecture == "T5ForConditionalGeneration"
    # The decoder's start of the file is not the one that attnprobe puts there.
    for name in ("config.json", "generation_config.json"):
        file = tmp_path / "t5" / name
        facts = json.loads(file.read_text()) | {"decoder_start_token_id": 5}
        file.write_text(json.dumps(facts))
    other = load(str(tmp_path / "t5"))
    assert "decoder token 0 of " in release_check(other, lambda: fresh)[0].problem


@pytest.mark.parametrize(
    ("kind", "named", "used"),
    [
        (BertModel, "BertForMaskedLM", "BertModel"),  # a body that was saved alone
        (BertForMultipleChoice, "BertForMultipleChoice", "BertModel"),
        (T5ForSequenceClassification, "T5ForSequenceClassification", "T5Model"),
    ],
)
def test_a_head_that_is_not_there_or_classifies_is_left_out_p50(
    kind: Any, named: str, used: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    name = "t5" if kind is T5ForSequenceClassification else "bert"
    of_text(name, kind(tiny_network(name).config), tmp_path)
    config = tmp_path / name / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": [named]}))
    model = load(str(tmp_path / name))
    rows = release_check(model, partial(network_as_released, model))
    assert [(row.architecture, row.problem) for row in rows] == [(used, "")] * 3


def test_a_network_that_was_handed_over_has_no_files_p50() -> None:
    model = Model.of(tiny_network("bert"), tiny_tokenizer(), name="mine")
    with pytest.raises(ModelError, match="mine was handed over as a network"):
        network_as_released(model)


def test_models_check_prints_a_line_for_each_kind_and_fails_on_a_difference_p50(
    attn: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_text("bert", tiny_network("bert"), tmp_path)
    code, printed = attn("models", "--check", tmp_path / "bert")
    assert code == 0
    assert "BertModel" in printed
    lines = [line for line in printed.splitlines() if "equal" in line]
    assert [line.split("│")[2].strip() for line in lines] == [
        "text",
        "long text",
        "text pair",
    ]
    scale_beyond(60, monkeypatch)
    with pytest.raises(AttnprobeError, match=r"^bert, long text: encoder L\dH\d differs by "):
        attn("models", "--check", tmp_path / "bert")
