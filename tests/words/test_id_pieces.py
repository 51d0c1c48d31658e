"""Labels of tokens that a case gives as ids."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.models.tokens import given, tokenize
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.tokenizers_small import CORPUS, KINDS, Kind, build

TEXTS = (
    "the keys near the cabinet are old, and the cat is older.",
    "a well known author praised herself",
    "  two  spaces",
    "日本語の文",
    "läuft über café 😀 unknown",
)


def of_ids(tokenizer: PreTrainedTokenizerFast, *raw: str) -> tuple[str, ...]:
    return given(tokenizer, tuple(tokenizer.convert_tokens_to_ids(list(raw)))).pieces


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_a_text_have_the_labels_of_the_text(kind: Kind, text: str) -> None:
    tokenizer = build(kind)
    if kind == "wordpiece":  # whose tokens are of the text without case and marks
        text = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    tokens = tokenize(tokenizer, text)
    # SentencePiece's mark before the first word has no character in the text.
    expected = tuple(piece.replace("▁", "␣") for piece in tokens.pieces)
    assert given(tokenizer, tokens.ids).pieces == expected


def test_labels_of_byte_level_bpe_are_readable() -> None:
    tokenizer = build("bytebpe")
    assert of_ids(tokenizer, "<s>", "Ġthe", "Ġ", "Ċ", "e") == ("<s>", "the", "␣", "<U+000A>", "e")
    assert of_ids(tokenizer, "Ġthe", "e", "Ġthe", ".") == ("the", "##e", "the", ".")
    assert of_ids(tokenizer, "<s>", "e") == ("<s>", "e")


def test_bytes_that_are_no_character_are_named() -> None:
    tokenizer = tiny_tokenizer()  # a token each byte
    e_acute, stray = ("Ã", "©"), "ĳ"
    assert of_ids(tokenizer, "a", *e_acute, stray, "b") == (
        *("a", "<0xC3>", "<0xA9>", "<0x91>", "b"),
    )
    text = tokenize(tokenizer, "é")
    assert text.pieces[1:3] == ("<0xC3>", "<0xA9>")


def test_labels_of_sentencepiece_with_bytes_are_readable() -> None:
    pieces = [*("<unk>", "<s>", "▁the", "▁", "s", "<0x0A>", "<0xE2>", "é", "▁▁")]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>"
    )
    found = given(tokenizer, tuple(range(len(pieces)))).pieces
    assert found == ("<unk>", "<s>", "the", "␣", "s", "<U+000A>", "<0xE2>", "é", "␣␣")
    assert of_ids(tokenizer, "▁the", "s", "é") == ("the", "##s", "##é")


def test_labels_of_words_and_of_their_parts() -> None:
    assert of_ids(build("wordpiece"), "[CLS]", "the", "##s", "key", ".", "[UNK]", "[SEP]") == (
        *("[CLS]", "the", "##s", "key", ".", "[UNK]", "[SEP]"),
    )
    ends = Tokenizer(models.BPE({"low": 0, "er</w>": 1, "the</w>": 2}, []))
    ends.decoder = decoders.BPEDecoder()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=ends)
    assert given(tokenizer, (2, 0, 1, 2)).pieces == ("the", "low", "##er", "the")


def test_a_tokenizer_without_decoder_is_read_by_what_cuts_its_texts() -> None:
    backend = Tokenizer(models.BPE({"Ġthe": 0, "Ċ": 1}, []))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert given(tokenizer, (0, 1)).pieces == ("the", "<U+000A>")


def test_added_tokens_are_no_bytes() -> None:
    tokenizer = build("bytebpe")
    tokenizer.add_tokens([AddedToken("<é>", special=False), AddedToken("   ", special=False)])
    assert of_ids(tokenizer, "Ġthe", "<é>", "   ", "e") == ("the", "<é>", "␣␣␣", "e")


def test_a_model_labels_ids_so() -> None:
    model = Model.of(tiny_network("gpt2"), tiny_tokenizer(), name="tiny")
    attention = model.attention("a b")
    ids = model.encode(Sample("a b")).source.ids
    assert model.encode(Sample("", ids=ids)).source.pieces == attention.tokens


def test_hostile_pieces_are_visible() -> None:
    tokenizer = build("bytebpe")
    ids = tokenizer("\x1b[31m\u202e" + CORPUS[0][:3])["input_ids"]
    assert not any(
        char in "".join(given(tokenizer, tuple(ids)).pieces) for char in ("\x1b", "\u202e")
    )
