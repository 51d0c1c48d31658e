"""Heads that are found, against eager attention and a count of word pairs by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attnprobe
from attnprobe.core.errors import AttnprobeError, SelectorError
from attnprobe.core.texts import Sample
from attnprobe.find import Found, bound_for, find, read_marked
from attnprobe.models import Model
from attnprobe.rules.base import BAND
from attnprobe.words.locate import locate
from attnprobe.words.selectors import parse_selector
from tests.architectures.tiny import tiny_network, tiny_tokenizer

IT = "The animal did not cross the street because it was too tired."
LINES = [
    "[to Maria] told her [over brother] that [from she] was late.",
    "The [to animal] did not cross the [over street] because [from it] was tired.",
    "[to Anna] met the [over man] because [from she] had time.",
]


def eager(model: Model, text: str, **inputs: Any) -> Any:
    """`[layer, head, target, source]` by transformers itself, and the tokens."""
    network: Any = model.network
    tokens = model.tokenizer(text, return_tensors="pt")
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        found = network(**tokens, output_attentions=True, **inputs)
    network.set_attn_implementation("sdpa")
    pieces = model.tokenizer.convert_ids_to_tokens(tokens["input_ids"][0])
    return torch.cat(found.attentions).double().numpy(), pieces


def test_weights_are_those_of_eager_attention_strongest_first(minilm: Model) -> None:
    found = minilm.find(IT, from_="it", to="animal", top=72)
    maps, pieces = eager(minilm, IT)
    expected = maps[:, :, pieces.index("it"), pieces.index("animal")]
    assert found.tried == len(found.heads) == 72
    for entry in found.heads:
        weight = expected[entry.head.layer, entry.head.head]
        assert entry.weights == pytest.approx((weight,), abs=1e-5)
    told = [entry.weights[0] for entry in found.heads]
    assert told == sorted(told, reverse=True)


def test_words_of_several_tokens_and_a_rival(minilm: Model) -> None:
    text = "The keystrokes of unlikely players were recorded."
    found = minilm.find(text, from_="unlikely", to="keystrokes", over="players", top=3)
    maps, pieces = eager(minilm, text)
    spelled = "|".join(pieces)
    assert "unlikely" in spelled.replace("|##", "")
    word = [at for at, piece in enumerate(pieces) if piece in ("keys", "##tro", "##kes")]
    row = [at for at, piece in enumerate(pieces) if piece in ("unlikely", "un", "##likely")]
    assert len(word) == 3
    weight = maps[:, :, row][:, :, :, word].sum(axis=3).mean(axis=2)
    rival = maps[:, :, row][:, :, :, pieces.index("players")].mean(axis=2)
    margins = weight - rival
    best = np.unravel_index(margins.argmax(), margins.shape)
    assert (found.heads[0].head.layer, found.heads[0].head.head) == best
    for entry in found.heads:
        place = entry.head.layer, entry.head.head
        assert entry.mean_margin([0]) == pytest.approx(margins[place], abs=1e-5)


def test_other_pairs_that_pass_are_counted_in_the_whole_text(minilm: Model) -> None:
    """Pairs of the same direction and a like distance, counted here by hand from eager weights."""
    text = "The animal did not cross it because the street was wide"
    found = minilm.find(text, from_="it", to="animal", top=72)
    maps, pieces = eager(minilm, text)
    assert pieces[1:-1] == text.lower().split()  # every word is one token
    count = len(pieces) - 2
    pairs = [
        (row, column)
        for row in range(1, count + 1)
        for column in range(1, row)
        if 4 <= row - column <= 7 and (row, column) != (pieces.index("it"), pieces.index("animal"))
    ]
    some = 0
    for entry in found.heads:
        if entry.bound is None:
            continue
        passed = sum(
            maps[entry.head.layer, entry.head.head, row, column] > entry.bound - BAND
            for row, column in pairs
        )
        assert entry.others == (passed, len(pairs))
        some += passed
    assert some > 20


def test_heads_are_chosen_on_one_half_and_shown_on_the_other(minilm: Model) -> None:
    found = minilm.find(LINES, top=72)
    assert (found.chosen_on, found.shown_on) == ((0, 2), (1,))
    alone = [minilm.find(line, top=72).heads for line in LINES]  # the same weights, text by text
    weights = {
        str(entry.head): [
            next(one for one in heads if one.head == entry.head).weights[0] for heads in alone
        ]
        for entry in found.heads
    }
    for entry in found.heads:
        assert entry.weights == pytest.approx(weights[str(entry.head)], abs=1e-6)
        assert entry.bound == bound_for(min(entry.weights[0], entry.weights[2]))
    margins = [entry.mean_margin((0, 2)) for entry in found.heads]
    assert margins == sorted(margins, reverse=True)
    # The text between had no say: another text in its place leaves the choice as it is.
    other = [LINES[0], "[to Dogs] bark at [over cats] when [from they] run.", LINES[2]]
    assert [entry.head for entry in minilm.find(other, top=72).heads] == [
        entry.head for entry in found.heads
    ]


def test_a_choice_that_does_not_carry_over_is_called_so(minilm: Model) -> None:
    found = minilm.find(LINES)
    best = found.heads[0]
    assert not best.holds(1)
    assert (
        f"{best.head}, chosen on 2 texts, reaches {best.bound} on 0 of 1 other text "
        f"(mean weight {best.weights[1]:.3f}): the choice does not carry over." in found.summary
    )
    assert "no evidence" in minilm.find(LINES[0]).summary


@pytest.mark.parametrize("lines", [LINES, LINES[:1], [IT]], ids=["several", "one", "words"])
def test_the_cases_hold_as_they_are_printed(
    minilm: Model, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = minilm.find(lines, from_="it", to="animal")
    Path("found.attn.yaml").write_text(found.suite(), encoding="utf-8")
    results = attnprobe.run_cases(minilm, "found.attn.yaml")
    states = [item.state for item in results.items]
    held = [found.heads[0].holds(number) for number in range(len(lines))]
    assert states == ["passed" if holds else "gap" for holds in held]
    assert "passed" in states
    numbers = [
        float(re.search(r"weight ([0-9.]+)", line)[1])  # type: ignore[index]
        for line in found.suite().splitlines()
        if "- id:" in line
    ]
    assert numbers == pytest.approx(found.heads[0].weights, abs=6e-4)


def test_cross_attention_leads_from_the_target_to_the_text() -> None:
    network = tiny_network("bart")
    model = Model.of(network, tiny_tokenizer(), name="bart")
    found = model.find("The [to dog] barks.", target="A [from seal] sleeps.", site="cross", top=6)
    assert found.tried == 6
    # The tiny tokenizer has a token for each byte, and one before the text.
    keys = [1 + at for at in range(4, 7)]
    queries = [1 + at for at in range(2, 6)]
    tokenizer: Any = model.tokenizer
    source = tokenizer("The dog barks.", return_tensors="pt")
    target = tokenizer("A seal sleeps.", return_tensors="pt")["input_ids"]
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        ids = torch.cat([torch.full((1, 1), 2), target], dim=1)
        maps = network(**source, decoder_input_ids=ids, output_attentions=True).cross_attentions
    # The decoder's start stands before the tokens of the target.
    rows = [1 + at for at in queries]
    for entry in found.heads:
        weights = maps[entry.head.layer][0, entry.head.head].double().numpy()
        expected = weights[np.ix_(rows, keys)].sum(axis=1).mean()
        assert entry.weights == pytest.approx((expected,), abs=1e-5)
    assert "target: A seal sleeps." in found.suite()


_WORDS = st.lists(
    st.sampled_from(["she", "Ann", "an", "naïve", "犬", "the"]), min_size=2, max_size=8
)


@given(_WORDS, st.data())
def test_marks_name_the_very_word_that_they_stand_at(words: list[str], data: st.DataObject) -> None:
    places = st.integers(0, len(words) - 1)
    first = data.draw(places)
    second = data.draw(places.filter(lambda place: place != first))
    marked = [
        f"[from {word}]" if at == first else f"[to {word}]" if at == second else word
        for at, word in enumerate(words)
    ]
    asked = read_marked(Sample(" ".join(marked)))
    assert asked.sample.text == " ".join(words)
    for value, place in ((asked.from_, first), (asked.to, second)):
        ((start, end),) = locate(parse_selector(value), asked.sample.text)
        assert start == len(" ".join(words[:place])) + (place > 0)
        assert end == start + len(words[place])


def test_marks_stand_in_a_pair_as_well() -> None:
    asked = read_marked(Sample("The [to key] fits.", pair="The [from key] is old."))
    assert (asked.sample.text, asked.sample.pair) == ("The key fits.", "The key is old.")
    assert asked.from_ == {"pair": "key"}
    assert asked.to == {"word": "key", "nth": 1}


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("A dog barks.", {"to": "dog"}, r"no word is marked as \[from \.\.\.\] in 'A dog barks\.'"),
        ("[to A] [to dog] barks.", {"from_": "barks"}, r"\[to \.\.\.\] is marked twice"),
        ("A dog barks.", {"to": {"nth": 2}, "from_": "A"}, "to: a word selector has exactly one"),
        ("A dog barks.", {"to": "cat", "from_": "A"}, "cat"),
    ],
)
def test_what_cannot_be_asked_is_said(
    text: str, words: dict[str, Any], message: str, minilm: Model
) -> None:
    with pytest.raises(SelectorError, match=message):
        minilm.find(text, **words)


def test_no_text_is_an_error(minilm: Model) -> None:
    with pytest.raises(SelectorError, match="give at least one"):
        find(minilm, [])


def test_a_weight_too_small_gives_no_case(minilm: Model) -> None:
    found = minilm.find(IT, from_="it", to="animal", top=72)
    weak = Found(**{**vars(found), "heads": found.heads[-1:]})
    assert weak.heads[0].bound is None
    assert weak.heads[0].others is None
    with pytest.raises(AttnprobeError, match="No head of 72 heads gives the word weight enough"):
        weak.suite()


@pytest.mark.parametrize(
    ("weight", "bound"), [(0.5, 0.4), (0.68, 0.54), (0.024, 0.019), (0.0026, 0.002), (0.002, None)]
)
def test_bounds_leave_a_fifth_and_are_rounded_down(weight: float, bound: float | None) -> None:
    assert bound_for(weight) == bound


def test_a_table_for_a_notebook(minilm: Model) -> None:
    lines = str(minilm.find(LINES, top=2)).splitlines()
    assert re.split(r"  +", lines[0]) == [
        *("head", "weight", "margin", "weight on others", "margin on others", "bound", "holds on"),
        "other pairs that pass",
    ]
    assert len(lines) == 4
