"""Chance rates: which other pairs a rule is tried on, how often it passes, what is made of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_up import FakeReader, distributions, encoding, rows, with_site

from attnprobe import yamltext
from attnprobe.align import groups
from attnprobe.cases import Case, parse
from attnprobe.errors import AttnprobeError
from attnprobe.models import Model
from attnprobe.records import LEAST_PAIRS, Chance, Encoding, Need
from attnprobe.results import read_results
from attnprobe.rules import parse_rule
from attnprobe.rules.base import Rule
from attnprobe.rules.chance import QUERIES, Pair, band, trials
from attnprobe.run import CONTROLS, Runner
from attnprobe.stats import wilson

Write = Callable[..., Path]
Run = Callable[..., pytest.RunResult]

# Words:  0 The  1 animals  2 slept  3 near  4 the  5 old  6 river  7 .
READ = encoding("The ani|mals slept near the old riv|er .")
PLACES = ["The", "animals", "slept", "near", "the", "old", "river", "."]
WORDS = st.sampled_from(PLACES)


def rule(from_: object, to: object, kind: str = "attends", **arguments: Any) -> Rule:
    return parse_rule(kind, {"heads": "L0H0", "from": from_, "to": to, **arguments})


def pair_of(stated: Rule, read: Encoding = READ) -> Pair:
    pair = stated.pair(read)
    assert pair is not None
    return pair


def tried(
    stated: Rule, read: Encoding = READ, spoken: Sequence[Pair] = ()
) -> list[tuple[str, str, str]]:
    """From, to and over of each pair, as they are spelled."""
    (site,) = read.sites.values()
    found = trials(pair_of(stated, read).geometry, read, site, site.layers, spoken)

    def spell(positions: Sequence[int]) -> str:
        chosen = {int(at) for at in positions}
        return " ".join(
            group.label for group in groups(read.source) if chosen.issuperset(group.positions)
        )

    contrasts = found.contrasts if found.contrasts is not None else np.zeros_like(found.keys)
    return [
        (spell(found.queries[query]), spell(np.flatnonzero(key)), spell(np.flatnonzero(other)))
        for query, key, other in zip(found.query, found.keys, contrasts, strict=True)
    ]


def chance_of(stated: Rule, weights: Any, read: Encoding = READ) -> Chance:
    pair = pair_of(stated, read)
    (need,) = stated.chance_needs(read, pair)
    return stated.chance([rows(read, need, weights)], pair, [pair])


# Which pairs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "expected"), [(1, 1), (-1, 1), (2, 2), (-3, 2), (4, 3), (7, 3), (8, 4), (-16, 5)]
)
def test_like_distances_share_a_band(distance: int, expected: int) -> None:
    assert band(distance) == expected == 1 + int(math.log2(abs(distance)))


@given(WORDS, WORDS)
def test_pairs_have_the_direction_and_the_distance_of_the_rule(from_: str, to: str) -> None:
    assume(from_ != to)
    step = PLACES.index(to) - PLACES.index(from_)
    expected = {
        (one, other)
        for one in PLACES
        for other in PLACES
        if (there := PLACES.index(other) - PLACES.index(one)) * step > 0
        and int(math.log2(abs(there))) == int(math.log2(abs(step)))
    }
    assert {(one, other) for one, other, _ in tried(rule(from_, to, min=0.3))} == expected


@given(WORDS, WORDS, WORDS)
def test_the_contrast_lies_on_the_side_of_the_rules_own(from_: str, to: str, over: str) -> None:
    assume(len({from_, to, over}) == 3)
    side = PLACES.index(over) - PLACES.index(from_)
    for one, other, against in tried(rule(from_, to, over=over, min=0.3)):
        assert len({one, other, against}) == 3
        assert (PLACES.index(against) - PLACES.index(one)) * side > 0


def test_phrases_are_tried_on_phrases_of_as_many_words() -> None:
    found = tried(rule("near", "old river", min=0.3))
    assert ("The", "slept near", "") in found
    assert {len(key.split()) for _, key, _ in found} == {2}


def test_pairs_that_the_suite_speaks_of_do_not_count() -> None:
    stated = rule("slept", "animals", min=0.3)
    assert ("slept", "animals", "") in tried(stated)
    spoken = [pair_of(stated), pair_of(rule("river", "old", min=0.9))]
    left = tried(stated, spoken=spoken)
    assert ("slept", "animals", "") not in left
    assert ("river", "old", "") not in left
    assert ("old", "the", "") in left


def test_special_tokens_are_no_words_unless_the_rule_names_one() -> None:
    assert all("[" not in one + other for one, other, _ in tried(rule("river", "The", min=0.3)))
    to_cls = tried(rule("river", {"special": "cls"}, min=0.3))
    assert to_cls == [(word, "[CLS]", "") for word in PLACES]
    from_cls = tried(rule({"special": "cls"}, "river", min=0.3))
    assert from_cls == [("[CLS]", word, "") for word in PLACES]


def test_a_row_that_predicts_is_tried_on_rows_that_predict() -> None:
    read = encoding("The keys to it are old .", site="decoder", causal=True, ends=False)
    pair = pair_of(rule({"predicts": "are"}, "keys", min=0.3), read)
    (site,) = read.sites.values()
    found = trials(pair.geometry, read, site, site.layers, ())
    # Rows 0 to 5 predict "keys" to "."; "it" stands two words behind "keys".
    assert found.queries == ((0,), (1,), (2,), (3,), (4,), (5,))
    steps = {
        (found.queries[query][0], int(np.flatnonzero(key)[0]))
        for query, key in zip(found.query, found.keys, strict=True)
    }
    assert steps == {(row, row - back) for row in range(6) for back in (2, 3) if row >= back}


def test_what_a_mask_hides_is_not_tried() -> None:
    read = encoding("a b c d e f g h", ends=False)
    windowed = with_site(read, windows={0: 3})
    assert ("h", "e", "") in tried(rule("f", "d", min=0.3), read)
    assert ("h", "e", "") not in tried(rule("f", "d", min=0.3), windowed)
    assert ("h", "f", "") in tried(rule("f", "d", min=0.3), windowed)


def test_a_word_with_itself_and_a_mixed_union_have_no_control() -> None:
    assert rule("river", "river", min=0.3).pair(READ) is None
    assert rule("river", ["old", {"special": "cls"}], min=0.3).pair(READ) is None


def test_of_a_long_text_some_queries_are_drawn_always_the_same() -> None:
    names = [f"w{number}" for number in range(3 * QUERIES)]
    read = encoding(" ".join(names))
    found = tried(rule("w5", "w4", min=0.3), read)
    queries = {one for one, _, _ in found}
    assert QUERIES - 1 <= len(queries) <= QUERIES
    assert found == tried(rule("w9", "w8", min=0.3), read)


# How often --------------------------------------------------------------------------------------

BOUNDS: dict[str, dict[str, Any]] = {
    "min": {"min": 0.15},
    "max": {"min": 0.05, "max": 0.3},
    "top": {"top": 2},
    "top among all": {"top": 2, "among": "all"},
    "over": {"over": "near"},
    "margin": {"over": "near", "margin": 0.05},
    "ratio": {"over": "near", "ratio": 2, "min": 0.01},
    "renormalised": {"min": 0.2, "renormalise": "words"},
}
HEADS: dict[str, Any] = {
    "one": "L1H1",
    "any": "any",
    "all": {"in": ["L0", "L2H1"], "how": "all"},
    "mean": "mean",
    "best": {"in": "all", "how": "best"},
    "at least": {"in": "all", "how": {"at_least": 3}},
}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(BOUNDS)),
    st.sampled_from(sorted(HEADS)),
    st.sampled_from(["attends", "ignores"]),
)
def test_the_rate_is_that_of_verdicts_on_each_pair(
    seed: int, bound: str, heads: str, kind: str
) -> None:
    """Every control pair stated as a rule of its own and judged gives the same count."""
    bounds = dict(BOUNDS[bound])
    if kind == "ignores":
        bounds.pop("min", None)
        assume(any(name in bounds for name in ("max", "top", "over")))
    weights = distributions(READ, seed)
    stated = rule("river", "slept", kind, **{**bounds, "heads": HEADS[heads]})
    found = chance_of(stated, weights)
    held = pairs = 0
    for from_, to, over in tried(stated, spoken=[pair_of(stated)]):
        words = {"over": over} if over else {}
        own = rule(from_, to, kind, **{**bounds, "heads": HEADS[heads], **words})
        try:
            (need,) = own.needs(READ)
            assert isinstance(need, Need)
            verdict = own.judge([rows(READ, need, weights)])
        except AttnprobeError:
            continue
        slack = {">=": 1, ">": 1, "<=": -1}[verdict.relation] * (
            verdict.observed - verdict.demanded
        )
        if verdict.measure != "rank":
            assume(abs(slack) > 1e-6)
        pairs += 1
        held += verdict.outcome == "passed" or (verdict.outcome == "borderline" and slack >= 0)
    assert (found.passed, found.pairs) == (held, pairs)


def test_a_rate_comes_with_its_wilson_interval_or_not_at_all() -> None:
    few = Chance(3, LEAST_PAIRS - 1)
    assert (few.rate, few.interval) == (None, None)
    assert "chance not known: these texts have 49 other word pairs" in str(few)
    chance = Chance(3, 200)
    share, z, n = 3 / 200, 1.959963984540054, 200
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert chance.rate == share
    assert chance.interval == pytest.approx((middle - half, middle + half))
    assert "holds for 3 of 200 other word pairs of this kind (1.5%, 95 % interval" in str(chance)


def test_on_attention_without_relations_the_rate_is_that_of_the_rule_itself() -> None:
    """Under the null the true pair passes as often as its control says, within binomial bounds."""
    read = encoding("a b c d e f g h")  # words of one token: all pairs alike
    stated = rule("f", "d", min=0.12)
    passed = pairs = true = 0
    runs = 400
    for seed in range(runs):
        weights = distributions(read, seed)
        found = chance_of(stated, weights, read)
        passed, pairs = passed + found.passed, pairs + found.pairs
        (need,) = stated.needs(read)
        assert isinstance(need, Need)
        true += stated.judge([rows(read, need, weights)]).outcome == "passed"
    rate = passed / pairs
    spread = math.sqrt(rate * (1 - rate) / runs)
    assert 0.05 < rate < 0.95
    assert abs(true / runs - rate) < 3 * spread


# In a run ---------------------------------------------------------------------------------------

NOUNS = ("keys", "dogs", "mice", "cows", "songs", "boats")
START = "version: 1\nsuite: s\ndefaults: {heads: L0H0}\ncases:\n"


def suite(count: int = 6, bound: str = "min: 0.2", *, last: str = "") -> tuple[Case, ...]:
    """Cases `The keys near it are old`, each of its own words; `last` changes the last case."""
    text = START
    for number in range(count):
        noun = f"{NOUNS[number % len(NOUNS)]}{number}"
        stated = last if last and number == count - 1 else bound
        text += f"  - id: c{number}\n    text: The {noun} near it are old\n"
        text += f"    expect:\n      - attends: {{from: are, to: {noun}, {stated}}}\n"
    return parse(yamltext.loads(text.encode(), "a.attn.yaml"))


def chances(runner: Runner, cases: Sequence[Case]) -> list[Chance | None]:
    return [
        finding.verdict.chance if finding.verdict else None
        for case in cases
        for finding in runner.judge(case)
    ]


def test_the_rate_is_over_the_other_pairs_of_all_texts_of_the_file() -> None:
    cases = suite(30)
    reader = FakeReader()
    (rate,) = set(chances(Runner(reader, cases, chance_max=0.05), cases))
    passed = pairs = 0
    for case in cases:
        read = reader.encode(case.sample)
        found = chance_of(case.expectations[0].rule, reader.weights(read), read)
        passed, pairs = passed + found.passed, pairs + found.pairs
    assert rate == Chance(passed, pairs)
    assert pairs > LEAST_PAIRS


def test_one_pass_a_text_serves_verdicts_and_chances() -> None:
    cases = suite(5) + suite(5, "top: 1")
    reader = FakeReader()
    chances(Runner(reader, cases, chance_max=0.05), cases)
    texts = [text for texts in reader.passes for text in texts]
    assert sorted(texts) == sorted(case.sample.text for case in cases[:5])


@pytest.mark.parametrize("count", [10, CONTROLS + 40])
def test_promise_39_the_rate_does_not_depend_on_what_is_selected(count: int) -> None:
    cases = suite(count)
    expected = chances(Runner(FakeReader(), cases, chance_max=0.05), cases)
    for chosen in ([cases[-1]], [cases[3], cases[0]], random.Random(1).sample(cases, 5)):
        found = chances(Runner(FakeReader(), chosen, chance_max=0.05), chosen)
        assert set(found) == set(expected)


def test_of_a_large_file_some_texts_are_the_control() -> None:
    cases = suite(CONTROLS + 40)
    reader = FakeReader()
    chances(Runner(reader, cases, chance_max=0.05), cases)
    assert [len(texts) for texts in reader.passes] == [CONTROLS, 40]
    assert len({text for texts in reader.passes for text in texts}) == len(cases)
    # They come first, wherever they stand in the file.
    assert reader.passes[0] != tuple(case.sample.text for case in cases[:CONTROLS])


def test_a_rule_that_passes_for_many_pairs_is_vacuous_but_only_where_it_holds() -> None:
    loose = suite(20, "min: 0.001", last="min: 0.999")
    reader = FakeReader()
    outcomes = [
        finding.verdict.outcome
        for case in loose
        for finding in Runner(reader, loose, chance_max=0.05).judge(case)
        if finding.verdict
    ]
    assert outcomes == ["vacuous"] * 19 + ["failed"]
    allowed = Runner(reader, loose, chance_max=1.0).judge(loose[0])[0].verdict
    assert allowed is not None
    assert allowed.outcome == "passed"


def test_a_text_that_cannot_be_read_is_left_out_of_the_control() -> None:
    cases = suite(12)
    bad = [(cases[0].sample.text, 0)]
    runner = Runner(FakeReader(bad), cases, chance_max=0.05)
    first, *others = [runner.judge(case)[0] for case in cases]
    assert first.error is not None
    rates = {finding.verdict.chance for finding in others if finding.verdict}
    whole = chances(Runner(FakeReader(), cases, chance_max=0.05), cases)[0]
    (rate,) = rates
    assert rate is not None
    assert whole is not None
    assert 0 < rate.pairs < whole.pairs


def test_measured_on_the_demo_model_any_head_is_easy_to_satisfy_and_one_is_not(
    minilm: Model,
) -> None:
    nouns = ("keys", "flowers", "horses", "shoes", "songs", "letters", "lamps", "boats")
    text = START.replace("L0H0", "L3H1")
    for number, noun in enumerate(nouns):
        text += f"  - id: c{number}\n    text: The {noun} near the cabinet are very old.\n"
        text += f"    expect:\n      - attends: {{from: are, to: {noun}, min: 0.3}}\n"
        text += f"      - attends: {{from: are, to: {noun}, min: 0.3, heads: any}}\n"
    cases = parse(yamltext.loads(text.encode(), "a.attn.yaml"))
    runner = Runner(minilm, cases, chance_max=0.05)
    found = [[finding.verdict for finding in runner.judge(case)] for case in cases]
    rates = [verdict.chance.rate for verdict in found[0] if verdict and verdict.chance]
    one, any_ = [rate for rate in rates if rate is not None]
    assert one < 0.1
    assert any_ > 0.3
    assert {verdicts[1].outcome for verdicts in found if verdicts[1]} == {"vacuous"}


# In pytest --------------------------------------------------------------------------------------

LOOSE = """
- id: rows
  template: "The {animal} barks at the {other} near the house of my uncle and sings."
  rows:
    - {animal: dog, other: cat}
    - {animal: seal, other: cow}
    - {animal: fox, other: hen}
    - {animal: wolf, other: owl}
  expect:
    - attends: {from: barks, to: "{animal}", min: 0.001}
"""


def test_vacuous_passes_is_counted_and_fails_under_strict(
    probe: Run, write_cases: Write, tmp_path: Path
) -> None:
    write_cases(LOOSE)
    path = tmp_path / "r.json"
    probe(f"--attn-json={path}").assert_outcomes(passed=4)
    results = read_results(path)
    assert results.summary()["vacuous"] == 4
    chance = results.cases[0].expectations[0].chance
    assert chance is not None
    assert (chance.passed, chance.pairs, chance.rate) == (chance.pairs, chance.pairs, 1.0)
    assert (chance.low, chance.high) == pytest.approx(wilson(chance.pairs, chance.pairs))
    strict = probe("--attn-strict")
    strict.assert_outcomes(failed=4)
    strict.stdout.fnmatch_lines(
        ["*vacuous: attends barks → dog*", "*by chance: holds for * other word pairs*"]
    )
    probe("--attn-strict", "--attn-chance-max=1").assert_outcomes(passed=4)


@pytest.mark.parametrize("value", ["-0.1", "1.5", "half", "nan", ""])
def test_a_share_that_is_none_is_a_usage_error(probe: Run, write_cases: Write, value: str) -> None:
    write_cases(LOOSE)
    result = probe(f"--attn-chance-max={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--attn-chance-max takes a share from 0 to 1*"])


def test_a_probe_in_python_says_that_its_text_is_too_small(
    probe: Run, pytester: pytest.Pytester, tmp_path: Path
) -> None:
    pytester.makepyfile(
        """
        def test_it(attn):
            attn("The dog barks.").attends("barks", "dog", heads="mean", min=0.001)
        """
    )
    path = tmp_path / "r.json"
    probe(f"--attn-json={path}").assert_outcomes(passed=1)
    (case,) = read_results(path).cases
    chance = case.expectations[0].chance
    assert chance is not None
    assert chance.rate is None
    assert chance.pairs < LEAST_PAIRS
    assert "chance not known" in case.expectations[0].message
