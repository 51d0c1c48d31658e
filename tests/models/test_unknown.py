"""Unknown tokens: which tokens are, and that a rule cannot name one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from attnprobe.core.errors import AttnprobeError, ModelError, SelectorError
from attnprobe.core.needs import Need, Prediction
from attnprobe.core.texts import Encoding, Sample, Span
from attnprobe.models import Model
from attnprobe.models.tokens import decoder_inputs, given, tokenize, tokenize_target
from attnprobe.results.records import read_results
from attnprobe.rules import parse_rule
from attnprobe.run.explain import unknown_line
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.inner_runs import TinyModels
from tests.support.made_up import encoding
from tests.support.report_pages import details
from tests.support.tokenizers_small import build

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

EMOJI = "The keys near the 🐶 are old, said the pelican."


def words_tokenizer(**declared: str) -> PreTrainedTokenizerFast:
    """A word-level tokenizer whose unknown token only its model knows, unless declared."""
    backend = Tokenizer(
        models.WordLevel({"<oov>": 0, "the": 1, "keys": 2, "are": 3}, unk_token="<oov>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **declared)


def unigram_tokenizer(*, byte_fallback: bool) -> PreTrainedTokenizerFast:
    """A SentencePiece tokenizer that declares no unknown token."""
    pieces = [("<unk>", 0.0), ("▁", -1.0), ("▁the", -1.0), *((c, -5.0) for c in "thekys")]
    if byte_fallback:
        pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=byte_fallback))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


# Which tokens are unknown -------------------------------------------------------------------------


def test_unknown_tokens_of_a_text_are_found_p44(minilm: Model) -> None:
    tokens = minilm.encode(Sample("The 🐶 met a 🐱, and 1,000 keys.")).source
    assert [tokens.pieces[index] for index in tokens.unknown] == ["[UNK]", "[UNK]"]
    assert tokens.unknown == tuple(
        index for index, token_id in enumerate(tokens.ids) if token_id == 100
    )
    # A word of more characters than WordPiece takes.
    assert minilm.encode(Sample(f"a {'x' * 101} b")).source.unknown == (2,)
    assert minilm.encode(Sample("The keys are old.")).source.unknown == ()


@pytest.mark.parametrize(
    ("tokenizer", "text", "unknown"),
    [
        (words_tokenizer(), "the clefs are", (1,)),
        (words_tokenizer(unk_token="<oov>"), "clefs are cloths", (0, 2)),
        # GPT-2's unknown token, start and end are one.
        (words_tokenizer(unk_token="<oov>", eos_token="<oov>"), "the clefs are", (1,)),
        (unigram_tokenizer(byte_fallback=False), "the keyz", (5,)),
        (unigram_tokenizer(byte_fallback=True), "the keyz", ()),
        (build("unigram"), "The keys Ω", (3,)),
        (build("bytebpe"), "The keys Ω 🐶", ()),
        (tiny_tokenizer(), "The keys Ω 🐶", ()),
    ],
)
def test_unknown_tokens_are_found_in_every_tokenizer_family_p44(
    tokenizer: Any, text: str, unknown: tuple[int, ...]
) -> None:
    tokens = tokenize(tokenizer, text)
    assert tokens.unknown == unknown
    assert all(tokens.special[position] is None for position in unknown)
    # The decoder's input has the start token in front.
    shifted = decoder_inputs(tokenize_target(tokenizer, text, start=0)).unknown
    assert shifted == tuple(position + 1 for position in unknown)


def test_an_unknown_token_that_the_text_spells_is_what_it_says_p44(minilm: Model) -> None:
    text = Sample("The [UNK] met a 🐶.", allow_special_tokens=True)
    tokens = minilm.encode(text).source
    assert [index for index, token_id in enumerate(tokens.ids) if token_id == 100] == [2, 5]
    assert tokens.unknown == (5,)
    rule = parse_rule("attends", {"heads": "L0H0", "from": "[UNK]", "to": "met", "min": 0.1})
    assert rule.needs(minilm.encode(text))


def test_unknown_token_ids_are_found_p44(minilm: Model) -> None:
    assert minilm.encode(Sample("", ids=(101, 100, 1996, 100, 102))).source.unknown == (1, 3)
    # What is the end of a text as well is that, where it is given by its id.
    ends = words_tokenizer(unk_token="<oov>", eos_token="<oov>")
    assert given(ends, (1, 0, 0)).unknown == ()


@pytest.mark.parametrize(
    "model",
    [models.WordLevel({"the": 1, "keys": 2}, unk_token="<unk>"), models.Unigram([("a", 0)])],
)
def test_a_tokenizer_that_cannot_read_a_text_is_an_error_of_the_case_p44(
    model: Any,
) -> None:
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    with pytest.raises(ModelError, match="the tokenizer cannot read 'the clefs': "):
        tokenize(tokenizer, "the clefs")


# Rules that name one ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("attends", {"from": "🐶", "to": "keys", "min": 0.1}),
        ("attends", {"from": "are", "to": "🐶", "min": 0.1}),
        ("attends", {"from": "are", "to": "keys", "over": "🐶", "min": 0.1}),
        ("attends", {"from": "are", "to": "the 🐶 are", "min": 0.1}),
        ("attends", {"from": "are", "to": ["keys", {"word": "🐶"}], "min": 0.1}),
        ("attends", {"from": "are", "to": {"chars": [18, 19]}, "min": 0.1}),
        ("ignores", {"from": "are", "to": "🐶", "max": 0.1}),
        ("flow", {"heads": "mean", "from": "are", "to": "🐶", "min": 0.1}),
        ("flow", {"heads": "mean", "from": "🐶", "to": "keys", "min": 0.1}),
        ("pattern", {"is": "vertical", "to": "🐶", "min": 0.1}),
        ("entropy", {"from": "🐶", "max": 0.5}),
        ("distance", {"from": "🐶", "max": 2}),
        ("sink", {"from": "🐶", "max": 0.5}),
        ("effect", {"good": "🐶", "bad": "cabinet", "min": 0.5}),
        ("attends", {"from": "🐶", "to": "keys", "min": 0.1, "confirm": "effect"}),
    ],
)
def test_a_rule_that_names_an_unknown_token_is_an_error_p44(
    minilm: Model, kind: str, arguments: dict[str, Any]
) -> None:
    rule = parse_rule(kind, {"heads": "L1H0", **arguments})
    message = r"🐶.* becomes the unknown token \[UNK\]: the model cannot see this word"
    with pytest.raises(SelectorError, match=message):
        rule.needs(minilm.encode(Sample(EMOJI)))


def test_other_words_of_such_a_text_are_judged_p44(minilm: Model) -> None:
    rule = parse_rule("attends", {"heads": "L3H1", "from": "are", "to": "keys", "min": 0.1})
    (need,) = rule.needs(minilm.encode(Sample(EMOJI)))
    assert isinstance(need, Need)
    assert rule.judge(minilm.collect([need])).outcome == "passed"


@pytest.mark.parametrize(
    "arguments",
    [
        {"pairs": [["Ω", "keys"]]},
        {"pairs": [["clefs", "Ω"]]},
        {"pairs": [["clefs", "keys"]], "possible": [["les", "Ω"]]},
        {"gold": "1-1 2-2"},
    ],
)
def test_alignments_of_an_unknown_token_are_an_error_p44(arguments: dict[str, Any]) -> None:
    model = Model.of(tiny_network("bart"), build("unigram"), name="bart")
    rule = parse_rule("aligns", {"heads": "L0H0", "min_accuracy": 0.5, **arguments})
    read = model.encode(Sample("The keys Ω", target="les clefs Ω"))
    with pytest.raises(SelectorError, match="unknown token <unk>"):
        rule.needs(read)


def test_a_word_that_is_predicted_cannot_be_unknown_p44() -> None:
    model = Model.of(tiny_network("llama", vocab_size=4), words_tokenizer(), name="llama")
    read = model.encode(Sample("the keys are cloths"))
    arguments = {"heads": "L0H0", "from": {"predicts": "cloths"}, "to": "keys", "min": 0.1}
    with pytest.raises(SelectorError, match="unknown token <oov>"):
        parse_rule("attends", arguments).needs(read)


def test_a_readout_of_an_unknown_token_is_an_error_p44() -> None:
    network = tiny_network("llama", vocab_size=4)

    def load_head(kind: Any) -> Any:
        return kind.from_config(network.config).eval()

    model = Model.of(network, words_tokenizer(), name="llama", load_head=load_head)
    sample = Sample("the keys are")
    assert model.read_out([Prediction(sample, Span(4, 8), instead="are")])
    with pytest.raises(AttnprobeError, match="'clefs' becomes the unknown token <oov>"):
        model.read_out([Prediction(sample, Span(4, 8), instead="clefs")])


def test_no_control_pair_has_an_unknown_token_p44() -> None:
    read = encoding("The animals slept near the old river .")
    arguments = {"heads": "L0H0", "from": "animals", "to": "slept", "over": "near", "min": 0.1}
    rule = parse_rule("attends", arguments)
    assert "river" in " ".join(_words_tried(rule, read))
    assert "the" in " ".join(_words_tried(rule, read))
    (at,) = (index for index, piece in enumerate(read.source.pieces) if piece == "river")
    blind = Encoding(read.sample, _with_unknown(read, at), None, read.sites)
    words = _words_tried(rule, blind)
    assert words
    assert "river" not in " ".join(words)


def _with_unknown(read: Encoding, at: int) -> Any:
    return replace(read.source, unknown=(at,))


def _words_tried(rule: Any, read: Encoding) -> list[str]:
    """Every word that takes part in a control pair."""
    tried = rule.chance(read).controls(read, ())
    spelled = read.source.pieces
    chosen = [
        *(tried.queries[index] for index in tried.query),
        *(tried.keys[index] for index in tried.key),
        *(tried.contrasts[index] for index in tried.contrast),
    ]
    return [" ".join(spelled[at] for at in places) for places in chosen]


# Other unknown tokens are reported ----------------------------------------------------------------


def test_unknown_words_of_source_and_target_are_reported_p44() -> None:
    model = Model.of(tiny_network("bart"), build("unigram"), name="bart")
    read = model.encode(Sample("The keys Ω are Σ", target="les clefs Ψ Ω"))
    assert read.unknown_words == ("Ω", "Σ", "Ψ", "Ω")
    count = len(read.source) + len(read.target or ())
    assert unknown_line(read) == [f"4 of {count} tokens are unknown to the model: Ω, Σ, Ψ"]
    assert unknown_line(model.encode(Sample("The keys"))) == []
    assert model.encode(Sample("", ids=(4, 2))).unknown_words == ("<unk>",)
    many = model.encode(Sample(" ".join(map(chr, range(0x10A0, 0x10AB)))))
    assert unknown_line(many)[0].endswith("Ⴇ and 3 more")


def test_unknown_tokens_of_a_text_stand_in_report_and_results_p44(
    minilm: Model, probe: Run, write_cases: Write
) -> None:
    write_cases(
        """
        - id: judged
          text: The keys near the 🐶 are old, said the 🐱.
          expect:
            - attends: {from: are, to: keys, heads: L3H1, min: 0.1}
            - attends: {from: are, to: keys, heads: L3H1, min: 0.999}
        - id: named
          text: The keys near the 🐶 are old.
          expect:
            - attends: {from: are, to: 🐶, heads: L3H1, min: 0.1}
        - id: plain
          text: The keys near the cabinet are old.
          expect: [{attends: {from: are, to: keys, heads: L3H1, min: 0.1}}]
        """
    )
    result = probe(
        "--attn-json=r.json", "--html=r.html", "--self-contained-html", plugin=TinyModels(minilm)
    )
    result.assert_outcomes(passed=1, failed=1, errors=1)
    line = "2 of 14 tokens are unknown to the model: 🐶, 🐱"
    result.stdout.fnmatch_lines(
        [
            "*'🐶' becomes the unknown token [[]UNK[]]: the model cannot see this word*",
            f"*{line}",
            "attnprobe: the texts of 2 checks have words that the model cannot see (unknown "
            "tokens), such as 🐶 in x.attn.yaml::judged",
        ]
    )
    found = {item.id: item for item in read_results(Path("r.json")).cases}
    assert {name: item.unknown_words for name, item in found.items()} == {
        "judged": ("🐶", "🐱"),
        "named": ("🐶",),
        "plain": (),
    }
    assert [entry.outcome for entry in found["named"].expectations] == ["error"]
    assert line in details("judged", "r.html")
