from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Picture, mean_rows
from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.render.figures.draw import draw_picture
from attnprobe.render.figures.style import to_svg
from attnprobe.words.positions import groups, word_matrix
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up import FakeReader, encoding

TEXT = "The keys near the door are old."
TARGET = "Les clés sont vieilles."


@pytest.fixture(scope="module")
def bert() -> Model:
    return Model.of(tiny_network("bert"), tiny_tokenizer(), name="tiny")


@pytest.fixture(scope="module")
def bart() -> Model:
    return Model.of(tiny_network("bart"), tiny_tokenizer(), name="tiny")


def eager(architecture: str, which: str, **inputs: list[int]) -> list[Floats]:
    """Each layer's `[heads, target, source]`, as transformers itself gives it."""
    network = tiny_network(architecture)
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        tensors = {name: torch.tensor([ids]) for name, ids in inputs.items()}
        out: Any = network(**tensors, output_attentions=True)
    return [layer[0].numpy() for layer in out[which]]


def test_weights_are_those_of_eager_attention(bert: Model) -> None:
    attention = Attention(bert, Sample(TEXT))
    reference = eager("bert", "attentions", input_ids=list(bert.encode(Sample(TEXT)).source.ids))
    for head in bert.sites["encoder"].all_heads():
        np.testing.assert_allclose(
            attention.weights(str(head)), reference[head.layer][head.head], atol=5e-5
        )
    np.testing.assert_allclose(attention.weights("mean"), np.mean(reference, (0, 1)), atol=5e-5)
    np.testing.assert_allclose(attention.weights("L1"), reference[1].mean(0), atol=5e-5)
    np.testing.assert_allclose(
        attention.weights(["L1H2", "L2H0"]), (reference[1][2] + reference[2][0]) / 2, atol=5e-5
    )


@pytest.mark.parametrize(
    ("site", "which"),
    [
        ("encoder", "encoder_attentions"),
        ("decoder", "decoder_attentions"),
        ("cross", "cross_attentions"),
    ],
)
def test_each_site_of_an_encoder_decoder(bart: Model, site: Any, which: str) -> None:
    sample = Sample(TEXT, TARGET)
    attention = Attention(bart, sample, site)
    read = bart.encode(sample)
    assert read.target is not None
    reference = eager(
        "bart", which, input_ids=list(read.source.ids), decoder_input_ids=list(read.target.ids)
    )
    np.testing.assert_allclose(attention.weights("L1H1"), reference[1][1], atol=5e-5)
    assert attention.weights("L1H1").shape == (
        len(attention.target_tokens),
        len(attention.tokens),
    )
    np.testing.assert_allclose(attention.words_matrix("L0").sum(1), 1, atol=1e-5)
    assert attention.words_matrix("L0").shape == (
        len(attention.target_words),
        len(attention.words),
    )
    if site == "cross":
        assert {"keys", "door"} <= set(attention.words)
        assert {"clés", "sont"} <= set(attention.target_words)


def test_a_site_must_be_named_where_there_are_several(bart: Model) -> None:
    with pytest.raises(ModelError, match="several sites, name one: site: encoder, decoder, cross"):
        Attention(bart, Sample(TEXT, TARGET))


def test_tokens_and_words(bert: Model) -> None:
    attention = Attention(bert, Sample("The keys"))
    assert attention.tokens[0] == "<s>"
    assert attention.tokens[-1] == "</s>"
    assert len(attention.tokens) == 10  # a byte each, and two ends
    assert [word for word in attention.words if word != "␣"] == ["<s>", "The", "keys", "</s>"]
    assert attention.target_tokens == attention.tokens
    assert attention.target_words == attention.words
    assert repr(attention) == "<Attention of tiny at encoder: 'The keys'>"


def test_words_sum_over_columns_and_average_over_rows() -> None:
    reader = FakeReader()
    read = encoding("The ke|ys are old")
    weights = reader.weights(read)[1][1]
    columns = [[0], [1], [2, 3], [4], [5], [6]]
    found = word_matrix(weights, groups(read.source), groups(read.source))
    for row, row_pieces in enumerate(columns):
        for column, pieces in enumerate(columns):
            expected = sum(float(weights[r, c]) for r in row_pieces for c in pieces)
            assert found[row, column] == pytest.approx(expected / len(row_pieces), abs=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_word_rows_of_a_model_sum_to_one(bert: Model) -> None:
    matrix = Attention(bert, Sample(TEXT)).words_matrix("mean")
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)


def test_a_layer_is_measured_once() -> None:
    reader = FakeReader()
    attention = Attention(reader, Sample("The keys are old"))
    assert reader.passes == []
    attention.weights("L1H0")
    attention.weights("L1H1")
    attention.words_matrix("L1")
    assert [need.layers for need in reader.asked] == [(1,)]
    attention.weights("L0-L1")
    assert [need.layers for need in reader.asked] == [(1,), (0,)]


def test_what_is_handed_out_cannot_spoil_what_is_kept() -> None:
    attention = Attention(FakeReader(), Sample("The keys are old"))
    with pytest.raises(ValueError, match="read-only"):
        attention.weights("L0H0")[0, 0] = 1


def test_heads_that_are_not_there() -> None:
    attention = Attention(FakeReader(), Sample("The keys are old"))
    with pytest.raises(SelectorError, match="layer 0 has query heads 0 to 1"):
        attention.weights("L0H2")
    with pytest.raises(ValueError, match="'head 3' is no head"):
        attention.weights("head 3")


def test_judging_is_what_the_rule_does(bert: Model) -> None:
    attention = Attention(bert, Sample(TEXT))
    verdict = attention.judge("attends", from_="are", to="keys", over=None, heads="L1H2", min=0.5)
    words = attention.words
    matrix = attention.words_matrix("L1H2")
    assert verdict.observed == pytest.approx(
        float(matrix[words.index("are"), words.index("keys")]), abs=1e-6
    )
    assert verdict.head == "L1H2"


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("attends", {"from_": "are", "to": "keys", "heads": "L1H2"}, "attends: demands nothing; "),
        ("sink", {"heads": "L1H2"}, "sink: demands nothing; give min: or max:"),
        ("sink", {"min": 0.1}, 'sink: name the heads, such as heads="L3H1"'),
        ("sink", {"heads": "L1H2", "mn": 0.1}, "sink: unknown argument 'mn'; did you mean 'min'?"),
    ],
)
def test_a_rule_that_cannot_be_judged_is_told_in_a_sentence(
    bert: Model, kind: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as refused:
        Attention(bert, Sample(TEXT)).judge(kind, **arguments)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_the_mean_over_heads() -> None:
    random = np.random.default_rng(0)
    layers = {layer: random.random((2, 3, 4), np.float32) for layer in (1, 4)}
    mean = mean_rows(layers, [Head(1, 1), Head(4, 0)])
    np.testing.assert_allclose(mean, (layers[1][1] + layers[4][0]) / 2, atol=1e-7)
    assert mean.dtype == np.float32


def test_a_heatmap_has_title_tokens_and_marked_cells() -> None:
    attention = Attention(FakeReader(), Sample("The keys are old"))
    svg = to_svg(attention.heatmap("L1H0", from_="are", to="keys", over="old"))
    for shown in ("fake · L1H0", "[CLS]", "keys", "attention weight"):
        assert shown in svg
    assert 'id="expected-3-2"' in svg
    assert 'id="contrast-3-4"' in svg
    plain = to_svg(attention.heatmap("mean"))
    assert "fake · mean of 6 heads" in plain
    assert "expected" not in plain
    assert "fake · L1, mean of 2 heads" in to_svg(attention.heatmap("L1"))


def test_a_drawing_names_its_case() -> None:
    reader = FakeReader()
    read = reader.encode(Sample("The keys are old"))
    picture = Picture("encoder", (Head(0, 0),), (3,), (2,))
    svg = to_svg(
        draw_picture(
            reader.weights(read)[0][0],
            picture,
            read.source.pieces,
            read.source.pieces,
            model="tiny",
            case="keys-old",
        )
    )
    assert "tiny · L0H0 · keys-old" in svg


def test_an_unknown_argument_of_a_text_is_refused() -> None:
    model = Model.of(tiny_network("bert"), tiny_tokenizer(), name="tiny")
    with pytest.raises(TypeError, match="unknown argument 'pairs'; did you mean 'pair'"):
        model.attention("The dog barks.", pairs="It is old.")  # type: ignore[call-arg]
    # Ids are no text, and only cases give them.
    with pytest.raises(TypeError, match="unknown argument 'ids'"):
        model.attention("", ids=(5, 6))  # type: ignore[call-arg]
