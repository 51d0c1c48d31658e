"""Long texts with a sentence in them: how much is read, and where the sentence stands."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.core.errors import SelectorError
from attnprobe.core.texts import PAIR_BREAK, Haystack, Sample
from attnprobe.models import Model
from attnprobe.results.records import text_sha256
from attnprobe.words.positions import positions
from attnprobe.words.segmentation import words
from attnprobe.words.selectors import parse_selector
from tests.architectures.tiny import tiny_tokenizer
from tests.support.tiny_lm import headed

SENTENCES = (
    "A train left the town at noon.",
    'Nobody saw it: "Gone!"',
    "The rain, which had come from the hills, went on for days.",
    "Was it cold?",
    "雨が降った。寒かった。",
    "At 3.5 degrees nobody stays.",
)
HAY = " ".join(SENTENCES * 6)
NEEDLE = "The key lies under the stone."
ASKED = "Where is the key?"


@functools.cache
def decoder() -> Model:
    tokenizer = tiny_tokenizer(end=False)
    tokenizer.model_max_length = 4096
    network = headed("llama", vocab_size=len(tokenizer), max_position_embeddings=4096)
    return Model.of(network, tokenizer, name="tiny")


def sample(depth: float = 0.5, tokens: int = 600, *, hay: str = HAY, text: str = ASKED) -> Sample:
    return Sample(text, haystack=Haystack(hay, NEEDLE, depth, tokens))


@given(depth=st.floats(0, 1), tokens=st.integers(150, 1000))
@settings(max_examples=25, deadline=None)
def test_as_much_is_read_as_fits_and_the_needle_stands_at_its_depth(
    depth: float, tokens: int
) -> None:
    read = decoder().encode(sample(depth, tokens))
    filled = read.sample.filled
    assert filled is not None
    before, behind = filled
    around = " ".join(part for part in (before, NEEDLE, behind) if part)
    written = f"{around}\n{ASKED}"
    # The tokens are those of the whole as one text.
    assert list(read.source.ids) == decoder().tokenizer(written)["input_ids"]
    assert len(read.source) <= tokens
    # It is the beginning of the long text; the needle may stand where that has no space.
    inked = len("".join(before.split()) + "".join(behind.split()))
    end = [at for at, char in enumerate(HAY, start=1) if not char.isspace()][inked - 1]
    taken = HAY[:end]
    assert "".join(taken.split()) == "".join(f"{before}{behind}".split())
    following = next(word for word in words(HAY) if word.start >= end)
    # A token of this tokenizer is a byte.
    assert len(read.source) + len(HAY[end : following.end].encode()) > tokens - 1
    # The needle parts no sentence, and no other place between two is nearer to its depth.
    ends = [0, *(at for at in _ends(taken)), len(taken)]
    assert len(before) in ends
    nearest = min(abs(end - depth * len(taken)) for end in ends)
    assert abs(len(before) - depth * len(taken)) <= nearest + 2  # spaces around it


def _ends(text: str) -> list[int]:
    """Where sentences of HAY end in a text."""
    found, at = [], 0
    for sentence in SENTENCES * 6:
        pieces = (
            [f"{part}。" for part in sentence.split("。") if part]
            if "。" in sentence
            else [sentence]
        )
        for piece in pieces:
            at += len(piece)
            if at <= len(text):
                found.append(at)
        at += 1
    return found


def test_words_of_needle_and_text_are_found_and_those_of_the_long_text_are_not() -> None:
    tokens = decoder().encode(sample()).source
    text = tokens.text
    assert text.split(PAIR_BREAK)[1] == NEEDLE

    def covered(written: object) -> str:
        found = positions(parse_selector(written), tokens)
        spans = [span for at in found if (span := tokens.spans[at]) is not None]
        return text[spans[0].start : spans[-1].end].strip()

    assert covered("stone") == "stone"
    assert covered({"needle": "key"}) == "key"
    assert covered({"text": "key"}) == "key"
    (needle,), (asked,) = (
        [text.index(part) for part in (NEEDLE,)],
        [text.index(ASKED)],
    )
    for name, start in (("needle", needle), ("text", asked)):
        (first, *_) = positions(parse_selector({name: "key"}), tokens)
        span = tokens.spans[first]
        assert span is not None
        assert start <= span.start < start + 20
    with pytest.raises(SelectorError, match="'train' does not stand in either text"):
        covered("train")


def test_a_text_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(SelectorError, match="tokens: 40 leave no room for a haystack"):
        decoder().encode(sample(tokens=40))
    with pytest.raises(SelectorError, match=r"too short: with all of it the text has \d+ tokens"):
        decoder().encode(sample(tokens=3000))
    with pytest.raises(SelectorError, match="and tiny takes 4096"):
        decoder().encode(sample(tokens=5000, hay=HAY * 8))


def test_another_long_text_or_depth_is_another_text() -> None:
    hashes = {text_sha256(sample()), text_sha256(sample(0.6)), text_sha256(sample(hay=HAY[:-1]))}
    assert len({*hashes, text_sha256(sample(tokens=500)), text_sha256(Sample(ASKED))}) == 5
    assert text_sha256(decoder().encode(sample()).sample) == text_sha256(sample())


# Memory: rows of a text of 1,500 tokens cost what the rows hold, not whole maps.

SCRIPT = """
import resource, sys
import torch
from attnprobe.core.needs import Need
from tests.models.test_haystack import HAY, sample, wide_model

model = wide_model()
asked = sample(tokens=1500, hay=HAY * 2)
ids = model.encode(asked).source.ids
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with torch.inference_mode():
    model.network(torch.tensor([ids[:200]]))
start = peak()
if sys.argv[1] == "plain":
    with torch.inference_mode():
        model.network(torch.tensor([ids]))
else:
    layers = model.sites["decoder"].layers
    model.collect([Need(asked, "decoder", layers, (len(ids) - 1,))])
print(len(ids), peak() - start)
"""


def wide_model() -> Model:
    tokenizer = tiny_tokenizer(end=False)
    tokenizer.model_max_length = 4096
    network = headed(
        "llama",
        vocab_size=len(tokenizer),
        max_position_embeddings=4096,
        num_attention_heads=16,
        num_key_value_heads=16,
        num_hidden_layers=2,
    )
    return Model.of(network, tokenizer, name="wide", check=False)


def test_a_long_text_takes_the_memory_of_the_plain_forward() -> None:
    """The whole maps of one layer would take 16 × 1500² × 4 bytes, 137 MB."""
    found = {}
    for way in ("plain", "rows"):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, way],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        length, megabytes = run.stdout.split()[-2:]
        assert int(length) > 1480
        found[way] = float(megabytes)
    assert found["rows"] < found["plain"] + 30
