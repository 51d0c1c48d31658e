"""A `▁` of SentencePiece that stands alone: the space before a word belongs to the word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from attnprobe.models.tokens import tokenize
from attnprobe.words.positions import groups, positions
from attnprobe.words.segmentation import words
from attnprobe.words.selectors import selector_of

LETTERS = "abc12é日(),.!"


def letter_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """SentencePiece that spells every word letter by letter, so that each `▁` stands alone."""
    pieces = [("<unk>", 0.0), *((char, -1.0) for char in ("▁", *LETTERS))]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    if kind == "llama":
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence(steps)
    elif kind == "xlmr":
        steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.add_special_tokens(["<mask>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="<mask>")


LETTER_TOKENIZERS = {kind: letter_tokenizer(kind) for kind in ("llama", "xlmr", "t5")}


@pytest.mark.parametrize("kind", LETTER_TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(chunks=st.lists(st.text(LETTERS, min_size=1, max_size=5), min_size=1, max_size=6))
def test_a_space_mark_alone_belongs_to_the_word_behind_it(kind: str, chunks: list[str]) -> None:
    text = " ".join(chunks)
    tokens = tokenize(LETTER_TOKENIZERS[kind], text)
    spelled = LETTER_TOKENIZERS[kind].convert_ids_to_tokens(list(tokens.ids))
    # Read from the pieces alone: a mark opens a chunk, each letter is one more character of it.
    assert "".join(spelled) == "".join(f"▁{chunk}" for chunk in chunks)
    letter_at, mark_of, at = {}, {}, 0
    for index, piece in enumerate(spelled):
        if piece == "▁":
            at += bool(index)  # the space before the chunk
            mark_of[at] = index
        else:
            letter_at[at] = index
            at += 1
    for word in words(text):
        letters = [letter_at[at] for at in range(*word)]
        expected = tuple(
            sorted([*letters, *([mark_of[word.start]] if word.start in mark_of else [])])
        )
        assert positions(selector_of(word, tokens.text, ()), tokens) == expected
        (group,) = [group for group in groups(tokens) if letters[0] in group.positions]
        assert group.positions == expected


@pytest.mark.parametrize(
    ("text", "groups_of_marks"),
    [
        ("a  b", ["a", "␣", "b"]),  # the first of two spaces is nobody's
        ("a b ", ["a", "b", "␣"]),
        ("a <mask> b", ["a", "␣", "<mask>", "b"]),
        ("a ▁", ["a", "▁"]),  # the character itself
    ],
)
def test_a_space_mark_with_no_word_behind_it_stays_a_space(
    text: str, groups_of_marks: list[str]
) -> None:
    tokens = tokenize(LETTER_TOKENIZERS["t5"], text, allow_special_tokens=True)
    assert [group.label for group in groups(tokens)] == groups_of_marks
