"""`aligns` against a worked example and against loops over made-up cross-attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from attnprobe import cases
from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import HeadGrid
from attnprobe.core.errors import CaseErrors, MeasureError, ModelError, SelectorError
from attnprobe.core.sites import Head
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.models import Model
from attnprobe.rules import parse_rule
from attnprobe.rules.aligns import accuracy, alignment_error_rate, best_sources
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up import distributions, encoding, rows

# Source:  0 [CLS]  1 the  2 red  3 hou  4 ##se  5 .  6 [SEP]
# Target:  0 [CLS]  1 la  2 mai  3 ##son  4 rouge  5 .  6 [SEP]
READ = encoding("the red hou|se .", "la mai|son rouge .", site="cross")
PAIRS = [["la", "the"], ["maison", "house"], ["rouge", "red"]]
GOLD = {"la": "the", "maison": "house", "rouge": "red"}
SOURCES = {"the": [1], "red": [2], "house": [3, 4], ".": [5]}
OWN = {"la": [1], "maison": [2, 3], "rouge": [4]}
BEFORE = {"la": [0], "maison": [1], "rouge": [3]}
SEEDS = st.integers(0, 2**32 - 1)


def judge(read: Encoding = READ, weights: dict[int, Floats] | int = 0, **arguments: Any) -> Verdict:
    if isinstance(weights, int):
        weights = distributions(read, weights)
    if "gold" not in arguments:
        arguments = {"pairs": PAIRS, **arguments}
    rule = parse_rule("aligns", {"heads": "L0H0", **arguments})
    (need,) = rule.needs(read)
    return rule.judge([rows(read, need, weights)])


def looks(row: int, column: int, weights: dict[int, Floats]) -> None:
    for matrix in weights.values():
        matrix[:, row] = 0
        matrix[:, row, column] = 1


def on_end() -> dict[int, Floats]:
    """All weight on [SEP]."""
    matrix = np.zeros((2, 7, 7), np.float32)
    matrix[..., -1] = 1
    return {layer: matrix.copy() for layer in range(3)}


def chosen(matrix: Floats, places: Mapping[str, list[int]]) -> dict[str, str]:
    """The strongest source word of each target word, cell by cell."""
    found = {}
    for word, at in places.items():
        masses = {
            source: sum(float(matrix[row, column]) for row in at for column in columns) / len(at)
            for source, columns in SOURCES.items()
        }
        if sum(masses.values()) >= 0.05:
            found[word] = max(masses, key=lambda source: masses[source])
    return found


# The numbers ------------------------------------------------------------------------------------


def test_the_error_rate_of_a_worked_example() -> None:
    """4 links: 2 sure, 1 only possible, 1 wrong; 3 are sure in all.

    |A ∩ S| = 2, |A ∩ P| = 3, |A| = 4, |S| = 3: AER = 1 − 5/7.
    """
    sure = {(0, 0), (1, 2), (2, 1)}
    possible = {(3, 1), (3, 2)}
    links = {(0, 0), (1, 2), (2, 3), (3, 1)}
    assert alignment_error_rate(links, sure, possible) == pytest.approx(1 - 5 / 7)
    assert accuracy(links, sure | possible) == 0.75
    assert alignment_error_rate(sure, sure, set()) == 0
    assert alignment_error_rate(sure | possible, sure, possible) == 0
    assert alignment_error_rate({(0, 5)}, sure, possible) == 1


def test_a_row_that_is_hardly_on_words_links_to_none() -> None:
    weights = np.array([[0.3, 0.6, 0.0], [0.03, 0.01, 0.0], [0.0, 0.02, 0.04]])
    assert best_sources(weights).tolist() == [1, -1, 2]


@given(SEEDS, st.sampled_from(["predicts", "own"]))
@settings(max_examples=40)
def test_each_word_is_linked_to_its_strongest_source(seed: int, row: str) -> None:
    weights = distributions(READ, seed)
    found = chosen(weights[0][0], BEFORE if row == "predicts" else OWN)
    right = sum(found.get(word) == source for word, source in GOLD.items())
    assume(len(found) == 3)
    verdict = judge(weights=weights, row=row, min_accuracy=0.5)
    assert verdict.observed == pytest.approx(right / 3)
    assert verdict.outcome == ("passed" if right >= 2 else "failed")
    assert verdict.head == "L0H0"
    verdict = judge(weights=weights, row=row, max_aer=0.5)
    assert verdict.observed == pytest.approx(1 - 2 * right / (len(found) + 3))
    assert verdict.outcome == ("passed" if verdict.observed <= 0.5 else "failed")


def test_the_row_that_predicts_is_the_one_before_the_word() -> None:
    weights = on_end()
    looks(0, 1, weights)
    looks(1, 4, weights)
    looks(3, 2, weights)
    verdict = judge(weights=weights, min_accuracy=1.0)
    assert (verdict.outcome, verdict.observed) == ("passed", 1)
    assert verdict.measure == "accuracy, row that predicts the word"
    # In their own rows: la looks at house, maison (two pieces) at red, rouge at the.
    looks(4, 1, weights)
    own = judge(weights=weights, row="own", min_accuracy=1.0)
    assert (own.outcome, own.observed) == ("failed", 0)
    assert own.measure == "accuracy, row of the word itself"
    assert [target.word for target in own.top] == ["la → house", "maison → red", "rouge → the"]


def test_a_word_whose_row_says_nothing_cannot_be_judged() -> None:
    weights = on_end()
    looks(0, 1, weights)
    looks(1, 3, weights)
    with pytest.raises(
        MeasureError, match="L0H0 cannot be judged: the row that predicts the word rouge has less"
    ):
        judge(weights=weights, min_accuracy=0.5)
    # Another head that says something of every word may still decide.
    weights[1][1, 3] = np.eye(7)[2]
    verdict = judge(weights=weights, heads="any", min_accuracy=0.9)
    assert (verdict.outcome, verdict.head) == ("passed", "L1H1")


def test_both_rows_are_shown_for_all_heads_of_the_layer() -> None:
    weights = distributions(READ, 11)
    shown = judge(weights=weights, heads="L1", row="own", min_accuracy=0.5).charts
    titles = ("accuracy, row of the word itself", "accuracy, row that predicts the word")
    for chart, title, places in zip(shown, titles, (OWN, BEFORE), strict=True):
        assert isinstance(chart, HeadGrid)
        assert (chart.measure, chart.layers, chart.scores.shape) == (title, (1,), (1, 2))
        for head in range(2):
            found = chosen(weights[1][head], places)
            right = sum(found.get(word) == source for word, source in GOLD.items())
            assert chart.scores[0, head] == pytest.approx(right / 3)


def test_a_bound_that_is_met_exactly_has_passed() -> None:
    weights = on_end()
    looks(0, 1, weights)
    looks(1, 3, weights)
    looks(3, 5, weights)
    for bound, outcome in ((2 / 3, "passed"), (0.66, "passed"), (0.67, "failed"), (1.0, "failed")):
        assert judge(weights=weights, min_accuracy=bound).outcome == outcome
    # |A| = |S| = 3 and two of them right: AER = 1 − 4/6.
    for bound, outcome in ((1 / 3, "passed"), (0.34, "passed"), (0.33, "failed"), (0.0, "failed")):
        assert judge(weights=weights, max_aer=bound).outcome == outcome


def test_possible_links_are_right_but_not_demanded() -> None:
    weights = on_end()
    looks(0, 1, weights)
    looks(1, 2, weights)
    looks(3, 2, weights)
    stated: dict[str, Any] = {"weights": weights, "min_accuracy": 0.9}
    assert judge(**stated).observed == pytest.approx(2 / 3)
    assert judge(**stated, possible=[["maison", "red"]]).observed == 1
    lenient = judge(weights=weights, possible=[["maison", "red"]], max_aer=0.5)
    assert lenient.observed == pytest.approx(1 - (2 + 3) / (3 + 3))


def test_pharaoh_links_say_the_same_as_pairs() -> None:
    for seed in range(5):
        weights = distributions(READ, seed)
        pairs = judge(weights=weights, max_aer=0.5, possible=[["maison", "red"]])
        gold = judge(weights=weights, max_aer=0.5, gold="0-0 2-1 1-2 1p1")
        assert (gold.observed, gold.outcome) == (pairs.observed, pairs.outcome)
        assert gold.top == pairs.top


def test_a_union_is_linked_word_by_word() -> None:
    """`ne ... pas` for `not`: both target words must look at it."""
    read = encoding("she does not sleep", "elle ne dort pas", site="cross")
    matrix = np.zeros((2, 6, 6), np.float32)
    matrix[:, :, 1] = 1
    matrix[:, 1] = np.eye(6)[3]  # the row that predicts ne looks at not
    weights = dict.fromkeys(range(3), matrix)
    verdict = judge(read, weights, pairs=[[["ne", "pas"], "not"]], min_accuracy=0.5)
    assert (verdict.observed, verdict.outcome) == (0.5, "passed")


@pytest.mark.parametrize(
    ("how", "place"), [("any", 0), ("best", 0), ("all", 5), ({"at_least": 2}, 1)]
)
def test_which_head_decides(how: Any, place: int) -> None:
    weights = distributions(READ, 8)
    scores = []
    for layer in range(3):
        for head in range(2):
            found = chosen(weights[layer][head], BEFORE)
            scores.append(sum(found.get(word) == source for word, source in GOLD.items()) / 3)
    verdict = judge(weights=weights, heads={"in": "all", "how": how}, min_accuracy=0.5)
    assert verdict.observed == pytest.approx(sorted(scores, reverse=True)[place])
    assert len(set(scores)) > 1
    assert verdict.heads_tried == 6


def test_the_mean_is_taken_over_heads_first() -> None:
    weights = distributions(READ, 8)
    mean = np.mean([weights[layer][head] for layer in range(3) for head in range(2)], axis=0)
    found = chosen(mean, BEFORE)
    right = sum(found.get(word) == source for word, source in GOLD.items())
    verdict = judge(weights=weights, heads="mean", min_accuracy=0.5)
    assert (verdict.observed, verdict.head) == (pytest.approx(right / 3), "mean of 6 heads")


def test_the_picture_is_that_of_the_deciding_head() -> None:
    verdict = judge(min_accuracy=0.5, row="own")
    assert verdict.picture is not None
    assert (verdict.picture.site, verdict.picture.heads) == ("cross", (Head(0, 0),))
    assert verdict.picture.rows == (1, 2, 3, 4)
    expected = distributions(READ, 0)[0][0][1:5][:, [0, 6]].sum(axis=1).mean()
    assert verdict.sink == pytest.approx(float(expected), abs=1e-6)


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"pairs": PAIRS}, "aligns demands nothing; give min_accuracy: or max_aer:"),
        ({"min_accuracy": 0.5}, "aligns needs a sure link"),
        ({"min_accuracy": 0.5, "gold": "0p0"}, "aligns needs a sure link"),
        ({"min_accuracy": 0.5, "gold": "0-0", "pairs": PAIRS}, "not both"),
        ({"min_accuracy": 0.5, "gold": "0:0"}, "'0:0' is no link; write 0-1"),
        ({"min_accuracy": 0.5, "pairs": [["la"]]}, r"a pair is \[target word, source word\]"),
        (
            {"min_accuracy": 0.5, "pairs": [[{"predicts": "la"}, "the"]]},
            "name the word itself; row: predicts takes",
        ),
        ({"min_accuracy": 1.1, "gold": "0-0"}, "less than or equal to 1"),
        ({"max_aer": 0.1, "gold": "0-0", "site": "encoder"}, "'cross'"),
    ],
)
def test_arguments_that_make_no_sense(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse_rule("aligns", {"heads": "L0H0", **stated})


def test_numbers_of_words_that_are_not_there() -> None:
    with pytest.raises(
        SelectorError, match=r"gold: no word 4 in .*; its words are numbered 0 to 3"
    ):
        judge(gold="0-0 4-1", min_accuracy=0.5)


def test_special_tokens_are_no_words_to_align() -> None:
    with pytest.raises(SelectorError, match=r"\[SEP\] is no word; special tokens are left out"):
        judge(pairs=[["la", {"special": "sep"}]], min_accuracy=0.5)


def test_nothing_predicts_the_first_token() -> None:
    read = encoding("the house", "la maison", site="cross", ends=False)
    with pytest.raises(SelectorError, match="nothing predicts la: no token before it"):
        judge(read, pairs=[["la", "the"]], min_accuracy=0.5)


def test_no_alignment_from_what_is_no_number_p19() -> None:
    weights = distributions(READ, 0)
    weights[0][1, 1, 2] = np.nan
    with pytest.raises(MeasureError, match="L0H1 has attention weights that are no numbers"):
        judge(weights=weights, min_accuracy=0.5)


def test_a_model_without_cross_attention() -> None:
    with pytest.raises(ModelError, match="this model has no cross attention"):
        judge(encoding("the red house ."), min_accuracy=0.5)


CASE = """
version: 1
suite: translation
defaults: {site: cross, heads: all}
cases:
  - id: house
    text: the red house .
    target: la maison rouge .
    expect:
      - aligns: {pairs: [[la, the], [MAISON, house]], min_accuracy: 0.5}
"""


def test_words_of_pairs_are_found_in_their_texts_when_the_file_is_read(tmp_path: Any) -> None:
    file = tmp_path / "a.attn.yaml"
    file.write_text(CASE.replace("MAISON", "maison"), encoding="utf-8")
    (case,) = cases.load(file, "a.attn.yaml")
    (entry,) = case.expectations
    assert entry.rule.describe() == "aligns la → the, maison → house, all"
    file.write_text(CASE.replace("MAISON", "chat"), encoding="utf-8")
    with pytest.raises(CaseErrors, match="pairs: 'chat' does not stand in the text"):
        cases.load(file, "a.attn.yaml")


def test_a_real_encoder_decoder() -> None:
    marian = Model.of(tiny_network("marian"), tiny_tokenizer(start=False), name="tiny")
    attention = Attention(marian, Sample("the red house .", "la maison rouge ."), "cross")
    verdict = attention.judge("aligns", pairs=PAIRS, heads="L1H1", row="own", min_accuracy=1.0)
    matrix = attention.words_matrix("L1H1")
    sources = [index for index, word in enumerate(attention.words) if word in SOURCES]
    right = 0
    for target, source in GOLD.items():
        row = matrix[attention.target_words.index(target)]
        right += attention.words[sources[int(np.argmax(row[sources]))]] == source
    assert verdict.observed == pytest.approx(right / 3)
