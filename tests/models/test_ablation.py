"""Ablated heads and the model's own prediction, against hooks on the output projections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM

from attnprobe.core.errors import MeasureError, ModelError, SelectorError
from attnprobe.core.needs import Ablation, Need, Prediction, Readout
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model, load
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.tiny_lm import HEADS, PROJECTIONS, depth, headed, hooked, model, put

TEXT = "The keys are old"
ARE = Span(9, 12)
TARGET = "les clefs sont"
SONT = Span(10, 14)


def sample(architecture: str) -> tuple[Sample, Span]:
    return (Sample(TEXT, TARGET), SONT) if architecture == "marian" else (Sample(TEXT), ARE)


def by_hand(architecture: str, text: str = TEXT, target: str = TARGET, word: str = "are") -> float:
    """The readout of a word by one plain forward of the network, padding and plan left out."""
    network = model(architecture).network
    tokenizer = model(architecture).tokenizer
    inside = text.index(word) if architecture != "marian" else target.index(word)
    ids = tokenizer(text)["input_ids"]
    count = len(word)  # one token a byte
    given: dict[str, Tensor] = {}
    if architecture == "bert":
        first = 1 + inside
        labels = ids[first : first + count]
        ids[first : first + count] = [tokenizer.mask_token_id] * count
    elif architecture == "marian":
        labels = tokenizer(text_target=target)["input_ids"]
        start = network.config.decoder_start_token_id
        given["decoder_input_ids"] = torch.tensor([[start, *labels[:-1]]])
        first, labels = inside, labels[inside : inside + count]
    else:
        first = inside  # the token before the word: one is added for the start token
        labels = ids[first + 1 : first + 1 + count]
    with torch.inference_mode():
        logits = network(input_ids=torch.tensor([ids]), use_cache=False, **given).logits[0]
    logs = logits[first : first + count].log_softmax(-1)
    return float(logs[range(count), labels].sum())


SITES = list(PROJECTIONS)


@pytest.mark.parametrize(("architecture", "site"), SITES)
@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 1)])
def test_a_head_put_to_zero_is_its_slice_before_the_output_projection(
    architecture: str, site: SiteName, layer: int, head: int
) -> None:
    one, span = sample(architecture)
    word = (one.target or one.text)[slice(*span)]
    ablation = Ablation(site, (Head(layer, head),))
    intact, ablated = model(architecture).read_out(
        [Prediction(one, span), Prediction(one, span, ablation=ablation)]
    )
    assert intact == pytest.approx(by_hand(architecture, word=word), abs=1e-5)
    with hooked(architecture, site, layer, put(head, depth(architecture, site), 0.0)):
        expected = by_hand(architecture, word=word)
    assert ablated == pytest.approx(expected, abs=1e-5)
    assert abs(ablated - intact) > 1e-3


def test_it_is_also_the_columns_of_the_projection_put_to_zero() -> None:
    projection = model("llama").network.get_submodule(PROJECTIONS["llama", "decoder"].format(1))
    ablation = Ablation("decoder", (Head(1, 2), Head(1, 3)))
    (ablated,) = model("llama").read_out([Prediction(Sample(TEXT), ARE, ablation=ablation)])
    former = projection.weight.data.clone()
    size = depth("llama", "decoder")
    try:
        projection.weight.data[:, 2 * size : 4 * size] = 0
        assert ablated == pytest.approx(by_hand("llama"), abs=1e-5)
    finally:
        projection.weight.data.copy_(former)


@pytest.mark.parametrize(("architecture", "site"), SITES)
def test_a_mean_is_over_all_tokens_of_the_reference(architecture: str, site: SiteName) -> None:
    one, span = sample(architecture)
    word = (one.target or one.text)[slice(*span)]
    target = None if one.target is None else "un chat"
    texts = (one, Sample("A cat", target), Sample("The dogs of the house barked", target))
    size = depth(architecture, site)
    found: list[Tensor] = []

    def keep(given: Tensor) -> None:
        found.append(given[..., size : 2 * size].reshape(-1, size).clone())

    path_texts = [(text.text, text.target or TARGET) for text in texts]
    with hooked(architecture, site, 1, keep):
        for text, other in path_texts:
            plain(architecture, text, other)
    mean = torch.cat(found).mean(dim=0)
    ablation = Ablation(site, (Head(1, 1),), "mean", texts)
    (ablated,) = model(architecture).read_out([Prediction(one, span, ablation=ablation)])
    with hooked(architecture, site, 1, put(1, size, mean)):
        assert ablated == pytest.approx(by_hand(architecture, word=word), abs=1e-5)


def plain(architecture: str, text: str, target: str) -> None:
    """One forward over a text as it stands."""
    found = model(architecture)
    given = {"input_ids": torch.tensor([found.tokenizer(text)["input_ids"]])}
    if architecture == "marian":
        labels = found.tokenizer(text_target=target)["input_ids"]
        start = found.network.config.decoder_start_token_id
        given["decoder_input_ids"] = torch.tensor([[start, *labels[:-1]]])
    with torch.inference_mode():
        found.network(**given, use_cache=False)


def test_without_a_reference_the_mean_is_over_the_text_itself() -> None:
    heads = (Head(0, 1),)
    alone, named = model("gpt2").read_out(
        [
            Prediction(Sample(TEXT), ARE, ablation=Ablation("decoder", heads, "mean", reference))
            for reference in ((), (Sample(TEXT),))
        ]
    )
    assert alone == named


@pytest.mark.parametrize("architecture", HEADS)
def test_nothing_ablated_changes_not_one_bit(architecture: str) -> None:
    one, span = sample(architecture)
    site = next(iter(model(architecture).sites))
    (intact,) = model(architecture).read_out([Prediction(one, span)])
    (empty,) = model(architecture).read_out([Prediction(one, span, ablation=Ablation(site, ()))])
    (again,) = model(architecture).read_out([Prediction(one, span)])
    assert intact == empty == again


def test_attention_rows_are_those_of_the_intact_model() -> None:
    need = Need(Sample(TEXT), "decoder", (0, 1, 2), (3, 5))
    (before,) = model("llama").collect([need])
    ablation = Ablation("decoder", (Head(0, 0),))
    model("llama").read_out([Prediction(Sample(TEXT), ARE, ablation=ablation)])
    (after,) = model("llama").collect([need])
    assert all((before.weights[layer] == after.weights[layer]).all() for layer in (0, 1, 2))


@pytest.mark.parametrize("architecture", ["bert", "llama", "marian"])
def test_many_at_once_are_as_each_alone(architecture: str) -> None:
    found = model(architecture)
    one, span = sample(architecture)
    longer = Sample(f"{TEXT} and cold", one.target and f"{one.target} froides")
    asked = [
        Prediction(text, span, ablation=Ablation(site.name, heads))
        for text in (one, longer)
        for site in found.sites.values()
        for heads in ((Head(0, 0),), (Head(1, 1), Head(0, 1)))
    ]
    asked += [Prediction(one, span), Prediction(longer, span, "nowy"[: span.end - span.start])]
    before = found.forwards
    together = found.read_out(asked)
    assert found.forwards - before < len(asked)
    alone = [value for readout in asked for value in found.read_out([readout], batch_tokens=1)]
    # Sums of several logs: float32 has seven digits of them.
    assert together == pytest.approx(alone, rel=1e-6, abs=1e-5)
    assert len({round(value, 4) for value in together}) > 3


# What is read out -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", HEADS)
def test_two_words_are_compared_by_the_difference_of_their_logs(architecture: str) -> None:
    one, span = sample(architecture)
    text = one.target or one.text
    word, other = text[slice(*span)], "xyz" if architecture != "marian" else "wxyz"
    replaced = text.replace(word, other)
    (value,) = model(architecture).read_out([Prediction(one, span, other)])
    good = by_hand(architecture, word=word)
    if architecture == "marian":
        bad = by_hand(architecture, target=replaced, word=other)
    else:
        bad = by_hand(architecture, text=replaced, word=other)
    assert value == pytest.approx(good - bad, abs=1e-4)


def test_words_of_one_token_are_compared_by_their_logits() -> None:
    found = model("gpt2")
    ids = found.tokenizer("The key")["input_ids"][:-1]
    with torch.inference_mode():
        logits = found.network(torch.tensor([ids])).logits[0, -1]
    one, two = (found.tokenizer(letter)["input_ids"][1] for letter in "sz")
    before = found.forwards
    (value,) = found.read_out([Prediction(Sample("The keys"), Span(4, 8), "keyz")])
    assert found.forwards - before == 1
    # "key" is common to both words, so that only the last letter decides.
    assert value == pytest.approx(float(logits[one] - logits[two]), abs=1e-4)


def test_the_whole_translation_is_read_out_without_a_word() -> None:
    found = model("marian")
    one = Sample(TEXT, TARGET)
    (value,) = found.read_out([Prediction(one, None)])
    source = torch.tensor([found.tokenizer(TEXT)["input_ids"]])
    labels = torch.tensor([found.tokenizer(text_target=TARGET)["input_ids"]])
    with torch.inference_mode():
        loss = found.network(input_ids=source, labels=labels).loss
    assert value == pytest.approx(-float(loss) * labels.shape[1], abs=1e-4)


# What cannot be read out --------------------------------------------------------------------------


def test_a_network_without_a_head_is_told_what_it_lacks() -> None:
    bare = Model.of(tiny_network("bert"), tiny_tokenizer(), name="bare")
    with pytest.raises(ModelError, match=r"bare was handed over without a head; .*ForMaskedLM"):
        bare.read_out([Prediction(Sample(TEXT), ARE)])


def test_minilm_cannot_predict_words(minilm: Model) -> None:
    with pytest.raises(ModelError, match=r"cannot predict words: \d+ weights are missing"):
        minilm.read_out([Prediction(Sample(TEXT), ARE)])


def test_heads_of_a_network_read_from_eager_weights_cannot_be_ablated() -> None:
    network = AutoModelForCausalLM.from_config(tiny_network("bloom").config)
    bloom = Model.of(network, tiny_tokenizer(), name="bloom")
    assert bloom.served == "eager"
    (intact,) = bloom.read_out([Prediction(Sample(TEXT), ARE)])
    assert intact < 0
    ablation = Ablation("decoder", (Head(0, 0),))
    with pytest.raises(ModelError, match=r"heads of bloom cannot be ablated: .*use a model"):
        bloom.read_out([Prediction(Sample(TEXT), ARE, ablation=ablation)])


@pytest.mark.parametrize(
    ("site", "head", "complaint"),
    [
        ("encoder", Head(0, 0), "llama has no encoder attention"),
        ("decoder", Head(0, 4), "llama has no L0H4 at decoder"),
        ("decoder", Head(3, 0), "llama has no L3H0 at decoder"),
    ],
)
def test_a_head_that_is_not_there_is_an_error(site: SiteName, head: Head, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        model("llama").read_out([Prediction(Sample(TEXT), ARE, ablation=Ablation(site, (head,)))])


@pytest.mark.parametrize(
    ("architecture", "readout", "complaint"),
    [
        ("marian", Prediction(Sample(TEXT), None), "write target:"),
        ("llama", Prediction(Sample(TEXT), None), "needs a word of the text"),
        ("bert", Prediction(Sample(TEXT), ARE, "is"), "'are' is 3 tokens and 'is' 2"),
    ],
)
def test_a_question_that_cannot_be_asked_is_an_error(
    architecture: str, readout: Readout, complaint: str
) -> None:
    with pytest.raises(SelectorError, match=complaint):
        model(architecture).read_out([readout])


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "marian"])
def test_a_bad_word_that_is_too_long_is_an_error_p15(architecture: str) -> None:
    room = {"n_positions": 64} if architecture == "gpt2" else {"max_position_embeddings": 64}
    network = headed(architecture, **room)
    tokenizer = tiny_tokenizer(start=architecture != "marian")
    found = Model.of(network, tokenizer, name="short")
    one, span = sample(architecture)
    (fits,) = found.read_out([Prediction(one, span)])
    assert fits < 0
    side = "target" if architecture == "marian" else "text"
    with pytest.raises(SelectorError, match=rf"the {side} has \d+ tokens and short takes 64"):
        found.read_out([Prediction(one, span, "x" * 80)])


def test_the_last_piece_of_a_word_takes_no_room_in_a_decoder() -> None:
    found = Model.of(headed("gpt2", n_positions=64), tiny_tokenizer(), name="short")
    # <s>, nine letters and 54 of the word go in; the last is only predicted.
    (value,) = found.read_out([Prediction(Sample(TEXT), ARE, "x" * 55)])
    assert value > 0
    with pytest.raises(SelectorError, match="the text has 65 tokens and short takes 64"):
        found.read_out([Prediction(Sample(TEXT), ARE, "x" * 56)])


def merging(architecture: str) -> Any:
    """A tokenizer that joins a space to an x behind it, else to an s before it."""
    tokenizer = tiny_tokenizer(start=architecture != "marian")
    vocabulary = tokenizer.get_vocab()
    for rare, merged in (("Ā", "Ġx"), ("ā", "sĠ")):
        vocabulary[merged] = vocabulary.pop(rare)
    merges = [("Ġ", "x"), ("s", "Ġ")]
    backend = tokenizer.backend_tokenizer
    backend.model = models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>")
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "marian"])
def test_a_word_that_changes_the_tokens_around_it_is_an_error(architecture: str) -> None:
    found = Model.of(headed(architecture), merging(architecture), name="merging")
    one, span = Sample("The keys are old", "les clefs sont"), Span(9, 12)
    if architecture == "marian":
        span = Span(10, 14)
    else:
        one = Sample(one.text)
    good = "areo" if architecture == "marian" else "yet"
    (value,) = found.read_out([Prediction(one, span, good)])
    assert value != 0
    where = "around" if architecture == "bert" else "before"
    with pytest.raises(SelectorError, match=f"cut into other tokens {where} 'x"):
        found.read_out([Prediction(one, span, "x" + good[1:])])


def test_mean_outputs_are_taken_once_in_a_reading_and_anew_in_the_next() -> None:
    found = Model.of(headed("gpt2"), tiny_tokenizer(), name="gpt2")

    def forwards(*texts: str) -> int:
        before = found.forwards
        asked = [Ablation("decoder", (Head(0, 1),), "mean", (Sample(text),)) for text in texts]
        found.read_out([Prediction(Sample(TEXT), ARE, ablation=one) for one in asked])
        return found.forwards - before

    assert [forwards("a"), forwards("a"), forwards("a", "b", "a")] == [2, 2, 4]


def test_a_decoder_needs_something_before_the_word() -> None:
    found = Model.of(headed("gpt2"), tiny_tokenizer(start=False), name="gpt2")
    with pytest.raises(SelectorError, match="nothing stands before 'The'"):
        found.read_out([Prediction(Sample(TEXT), Span(0, 3))])


def test_a_probability_that_is_no_number_is_an_error_p19() -> None:
    network = headed("gpt2")
    found = Model.of(network, tiny_tokenizer(), name="gpt2")
    network.lm_head.weight.data[7] = float("nan")
    with pytest.raises(MeasureError, match="no number"):
        found.read_out([Prediction(Sample(TEXT), ARE)])


# Models from files --------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["bert", "llama", "marian"])
def test_the_head_is_loaded_when_it_is_first_wanted(architecture: str, tmp_path: Path) -> None:
    expected = model(architecture)
    expected.network.save_pretrained(tmp_path)
    tiny_tokenizer(start=architecture != "marian").save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    assert loaded.network.get_output_embeddings() is None
    one, span = sample(architecture)
    site = next(iter(loaded.sites))
    asked = [Prediction(one, span), Prediction(one, span, ablation=Ablation(site, (Head(1, 1),)))]
    assert loaded.read_out(asked) == pytest.approx(expected.read_out(asked), abs=1e-5)
