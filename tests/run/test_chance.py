"""Chance rates: which other pairs a rule is tried on, how often it passes, what is made of it."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attnprobe.cases import Case, parse, yamltext
from attnprobe.core.arrays import Floats
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.stats import wilson
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import LEAST_DISTINCT, LEAST_PAIRS, Chance
from attnprobe.models import Model
from attnprobe.results.records import read_results
from attnprobe.rules import parse_rule
from attnprobe.rules.attends import Attends
from attnprobe.rules.base import Rule
from attnprobe.rules.chance import (
    PAIRS,
    QUERIES,
    PairOutcomes,
    WordPair,
    WordPairChance,
    WordPairs,
    band,
)
from attnprobe.run.blocks import CONTROLS, Blocks
from attnprobe.run.runner import Runner
from attnprobe.words.positions import groups
from tests.support.made_up import FakeReader, distributions, encoding, rows, with_site

Write = Callable[..., Path]
Run = Callable[..., pytest.RunResult]

# Words:  0 The  1 animals  2 slept  3 near  4 the  5 old  6 river  7 .
READ = encoding("The ani|mals slept near the old riv|er .")
PLACES = ["The", "animals", "slept", "near", "the", "old", "river", "."]
WORDS = st.sampled_from(PLACES)


def rule(from_: object, to: object, kind: str = "attends", **arguments: Any) -> Rule:
    return parse_rule(kind, {"heads": "L0H0", "from": from_, "to": to, **arguments})


def chance_rule(stated: Rule, read: Encoding = READ) -> WordPairChance:
    chance = stated.chance(read)
    assert chance is not None
    return chance


def pair_of(stated: Rule, read: Encoding = READ) -> WordPair:
    return chance_rule(stated, read).pair


def controls_of(
    stated: Rule, read: Encoding = READ, excluded: Sequence[WordPair] = ()
) -> WordPairs:
    return chance_rule(stated, read).controls(read, excluded)


def tried(
    stated: Rule, read: Encoding = READ, excluded: Sequence[WordPair] = ()
) -> list[tuple[str, str, str]]:
    """From, to and over of each pair, as they are spelled."""
    found = controls_of(stated, read, excluded)

    def spell(positions: Sequence[int]) -> str:
        return " ".join(
            group.label
            for group in groups(read.source)
            if set(positions).issuperset(group.positions)
        )

    contrast = found.contrast if found.contrast is not None else [None] * len(found)
    return [
        (
            spell(found.queries[query]),
            spell(found.keys[key]),
            "" if other is None else spell(found.contrasts[other]),
        )
        for query, key, other in zip(found.query, found.key, contrast, strict=True)
    ]


def chance_of(
    stated: Rule, weights: Any, read: Encoding = READ, excluded: Sequence[WordPair] | None = None
) -> tuple[int, int]:
    """For how many pairs the rule passes, and how many were judged."""
    chance = chance_rule(stated, read)
    found = chance.controls(read, [chance.pair] if excluded is None else excluded)
    if not found:
        return 0, 0
    (need,) = chance.needs(read, found)
    outcomes = chance.judge([rows(read, need, weights)], found)
    return int(outcomes.passed[outcomes.judged].sum()), int(outcomes.judged.sum())


def numbers_of(stated: Rule, weights: Any, read: Encoding) -> list[float]:
    """The number of each control pair that was judged, for a rule of one bound."""
    chance = chance_rule(stated, read)
    found = chance.controls(read, [chance.pair])
    (need,) = chance.needs(read, found)
    outcomes = chance.judge([rows(read, need, weights)], found)
    (numbers,) = outcomes.numbers.values()
    return [float(number) for number in numbers[outcomes.judged]]


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
    left = tried(stated, excluded=spoken)
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
    found = controls_of(rule({"predicts": "are"}, "keys", min=0.3), read)
    # Rows 1 to 5 predict "to" to "."; "it" stands two words behind "keys".
    steps = {
        (found.queries[query][0], found.keys[key][0])
        for query, key in zip(found.query, found.key, strict=True)
    }
    assert steps == {(row, row - back) for row in range(6) for back in (2, 3) if row > back}


def test_the_word_before_the_predicted_one_is_tried_in_its_own_place() -> None:
    read = encoding("The keys to it are old .", site="decoder", causal=True, ends=False)
    found = tried(rule({"predicts": "are"}, "it", min=0.3), read)
    assert found == [(word, word, "") for word in ("keys", "to", "it", "are", "old")]


def test_the_first_token_of_a_causal_site_is_tried_only_for_rules_that_name_it() -> None:
    read = encoding("The keys to it are old .", site="decoder", causal=True, ends=False)
    assert "The" not in {key for _, key, _ in tried(rule("are", "keys", min=0.3), read)}
    assert "The" in {key for _, key, _ in tried(rule("are", "The", min=0.3), read)}
    assert "The" not in {over for *_, over in tried(rule("are", "to", over="it", min=0.3), read)}
    assert "The" in {over for *_, over in tried(rule("are", "to", over="The", min=0.3), read)}


def test_what_a_mask_hides_is_not_tried() -> None:
    read = encoding("a b c d e f g h", ends=False)
    windowed = with_site(read, windows={0: 3})
    assert ("h", "e", "") in tried(rule("f", "d", min=0.3), read)
    assert ("h", "e", "") not in tried(rule("f", "d", min=0.3), windowed)
    assert ("h", "f", "") in tried(rule("f", "d", min=0.3), windowed)
    # One layer that sees far is enough, unless a blind one would pass for that alone.
    assert ("h", "e", "") in tried(rule("f", "d", min=0.3, heads="any"), windowed)
    assert ("h", "e", "") not in tried(rule("f", "d", "ignores", max=0.3, heads="any"), windowed)
    assert ("h", "e", "") not in tried(rule("f", "d", over="e", min=0.3, heads="any"), windowed)


def test_pairs_of_another_site_and_token_ids_are_no_pairs_of_this_one() -> None:
    stated = pair_of(rule("slept", "animals", min=0.3))
    elsewhere = replace(stated, site="cross")
    assert stated.excluded([stated, elsewhere]) == (stated,)
    read = replace(READ, sample=replace(READ.sample, ids=READ.source.ids))
    assert rule("slept", "animals", min=0.3).chance(read) is None


def test_a_text_with_fewer_words_than_the_contrast_has_no_control_pairs() -> None:
    stated = rule("slept", "animals", over="old river .", min=0.3)
    assert tried(stated)
    short = chance_rule(stated).controls(encoding("river slept"), ())
    assert len(short) == 0


def test_a_rule_that_wants_nothing_is_not_tried_on_what_it_states() -> None:
    ignores = pair_of(rule("slept", "animals", "ignores", max=0.3))
    other = pair_of(rule("river", "old", "ignores", max=0.1))
    wanted = pair_of(rule("near", "the", min=0.3))
    assert ignores.excluded([ignores, other, wanted]) == (ignores, wanted)
    assert wanted.excluded([ignores, other, wanted]) == (wanted,)


def test_a_word_with_itself_and_a_mixed_union_have_no_control() -> None:
    assert rule("river", "river", min=0.3).chance(READ) is None
    assert rule("river", ["old", {"special": "cls"}], min=0.3).chance(READ) is None


def test_of_a_long_text_some_queries_are_drawn_always_the_same() -> None:
    names = [f"w{number}" for number in range(3 * QUERIES)]
    read = encoding(" ".join(names))
    found = tried(rule("w5", "w4", min=0.3), read)
    queries = {one for one, _, _ in found}
    assert QUERIES - 1 <= len(queries) <= QUERIES
    assert found == tried(rule("w9", "w8", min=0.3), read)
    far = tried(rule("w70", "w5", min=0.3), read)
    assert len(far) == PAIRS
    assert far == tried(rule("w71", "w6", min=0.3), read)


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


CAUSAL = encoding(
    "The ani|mals slept near the old riv|er .", site="decoder", causal=True, ends=False
)
READS = {
    "plain": READ,
    "causal": CAUSAL,
    "windows": with_site(READ, windows={0: 4, 2: 6}),
    "sinks": with_site(CAUSAL, learned_sinks=frozenset({0, 1, 2})),
}


def sunken(weights: dict[int, Floats], share: float, *, learned: bool) -> dict[int, Floats]:
    """The same with a share of each row on the first column, or on a learned sink."""
    found = {layer: matrix * (1 - share) for layer, matrix in weights.items()}
    if not learned:
        for matrix in found.values():
            matrix[..., 0] += share
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(BOUNDS)),
    st.sampled_from(sorted(HEADS)),
    st.sampled_from(["attends", "ignores"]),
    st.sampled_from(sorted(READS)),
    st.sampled_from([0.0, 0.8, 0.97]),
    st.sampled_from(["slept", "The", "animals"]),
)
def test_the_rate_is_that_of_verdicts_on_each_pair(
    seed: int, bound: str, heads: str, kind: str, text: str, share: float, to: str
) -> None:
    """Every control pair stated as a rule of its own and judged gives the same count."""
    read = READS[text]
    bounds = dict(BOUNDS[bound])
    if kind == "ignores":
        bounds.pop("min", None)
        assume(any(name in bounds for name in ("max", "top", "over")))
    weights = sunken(distributions(read, seed), share, learned=text == "sinks")
    stated = rule("river", to, kind, **{**bounds, "heads": HEADS[heads]})
    found = chance_of(stated, weights, read)
    held = pairs = 0
    numbers: list[float] = []
    bound_count = 0
    for from_, key, over in tried(stated, read, excluded=[pair_of(stated, read)]):
        words = {"over": over} if over else {}
        own = rule(from_, key, kind, **{**bounds, "heads": HEADS[heads], **words})
        try:
            (need,) = own.needs(read)
            assert isinstance(need, Need)
            verdict = own.judge([rows(read, need, weights)])
        except AttnprobeError:
            continue
        pairs += 1
        held += verdict.outcome in ("passed", "borderline")
        numbers.append(verdict.observed)
        bound_count = len(verdict.bounds)
    assert found == (held, pairs)
    if bound_count == 1:
        assert numbers_of(stated, weights, read) == pytest.approx(numbers)


def test_the_numbers_of_other_pairs_stand_beside_that_of_the_verdict() -> None:
    cases = suite(30)
    reader = FakeReader()
    runner = Runner(reader, cases, chance_max=0.05)
    found = [runner.judge(case)[0].verdict for case in cases]
    numbers = sorted(
        number
        for case in cases
        for read in [reader.encode(case.sample)]
        for number in numbers_of(case.expectations[0].rule, reader.weights(read), read)
    )
    quantiles = tuple(numbers[math.ceil(share * len(numbers)) - 1] for share in (0.05, 0.5, 0.95))
    for verdict in found:
        assert verdict is not None
        assert verdict.by_chance == pytest.approx(quantiles)
    few = suite(1)
    (alone,) = Runner(reader, few, chance_max=0.05).judge(few[0])
    assert alone.verdict is not None
    assert alone.verdict.by_chance is None  # as the rate: too few pairs


def test_a_rate_comes_with_its_wilson_interval_or_not_at_all() -> None:
    for few in (Chance(3, LEAST_PAIRS - 1, 49), Chance(3, 200, LEAST_DISTINCT - 1)):
        assert (few.rate, few.interval) == (None, None)
        assert f"chance not known: these texts have {few.pairs} other word pairs" in str(few)
    assert Chance(3, LEAST_PAIRS, LEAST_DISTINCT).rate == 3 / LEAST_PAIRS
    # The interval is that of as many pairs as differ.
    chance = Chance(6, 400, 200)
    share, z, n = 3 / 200, 1.959963984540054, 200
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert chance.rate == share
    assert chance.interval == pytest.approx((middle - half, middle + half))
    assert "holds for 6 of 400 other word pairs of this kind, 200 that differ (1.5%, 95" in str(
        chance
    )


def test_on_attention_without_relations_the_rate_is_that_of_the_rule_itself() -> None:
    """Under the null the true pair passes as often as its control says, within binomial bounds."""
    read = encoding("a b c d e f g h")  # words of one token: all pairs alike
    stated = rule("f", "d", min=0.12)
    passed = pairs = true = 0
    runs = 400
    for seed in range(runs):
        weights = distributions(read, seed)
        held, judged = chance_of(stated, weights, read)
        passed, pairs = passed + held, pairs + judged
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
    words: set[tuple[str, ...]] = set()
    for case in cases:
        read = reader.encode(case.sample)
        stated = case.expectations[0].rule
        held, judged = chance_of(stated, reader.weights(read), read)
        passed, pairs = passed + held, pairs + judged
        words.update(tried(stated, read, excluded=[pair_of(stated, read)]))
    assert rate == Chance(passed, pairs, len(words))
    assert pairs > LEAST_PAIRS
    assert pairs > len(words) > LEAST_DISTINCT


def test_one_pass_a_text_serves_verdicts_and_chances() -> None:
    cases = suite(5) + suite(5, "top: 1")
    reader = FakeReader()
    chances(Runner(reader, cases, chance_max=0.05), cases)
    texts = [text for texts in reader.passes for text in texts]
    assert sorted(texts) == sorted(case.sample.text for case in cases[:5])


@pytest.mark.parametrize("count", [10, CONTROLS + 40])
def test_the_chance_rate_does_not_depend_on_what_is_selected_p39(count: int) -> None:
    cases = suite(count)
    expected = chances(Runner(FakeReader(), cases, chance_max=0.05), cases)
    for chosen in ([cases[-1]], [cases[3], cases[0]], random.Random(1).sample(cases, 5)):
        found = chances(Runner(FakeReader(), chosen, chance_max=0.05), chosen)
        assert set(found) == set(expected)


def test_of_a_large_file_some_texts_are_the_control() -> None:
    cases = suite(CONTROLS + 40)
    reader = FakeReader()
    chances(Runner(reader, cases, chance_max=0.05), cases)
    drawn, *blocks = reader.passes
    every = [case.sample.text for case in cases]
    assert len(drawn) == CONTROLS
    assert set(drawn) < set(every)
    # They take a pass of their own, so a new text moves no block before it.
    assert set(drawn) != set(every[:CONTROLS])
    assert [sorted(texts) for texts in blocks] == [
        sorted(every[:CONTROLS]),
        sorted(every[CONTROLS:]),
    ]


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


def test_files_with_the_same_texts_have_chance_rates_of_their_own_p39() -> None:
    first, second = suite(40), suite(40, "min: 0.001")
    alone = chances(Runner(FakeReader(), second, chance_max=0.05), second)
    runner = Runner(FakeReader(), [*first, *second], chance_max=0.05)
    chances(runner, first)
    assert chances(runner, second) == alone
    assert None not in alone


def test_a_case_that_was_not_planned_has_its_rate_as_well() -> None:
    cases = suite(20)
    expected = chances(Runner(FakeReader(), cases, chance_max=0.05), cases)
    runner = Runner(FakeReader(), cases[:5], chance_max=0.05)
    assert chances(runner, [cases[15]]) == [expected[15]]


def test_a_rank_that_a_short_text_has_no_words_for_is_not_tried_there() -> None:
    text = START + (
        "  - id: long\n    text: The old key near the red door is here\n"
        "    expect: [attends: {from: red, to: The, top: 5}]\n"
        "  - id: short\n    text: Dogs bark\n"
        "    expect: [attends: {from: bark, to: Dogs, min: 0.01}]\n"
    )
    cases = parse(yamltext.loads(text.encode(), "a.attn.yaml"))
    long, short = chances(Runner(FakeReader(), cases, chance_max=0.05), cases)
    assert long is not None
    assert short is not None
    assert min(long.pairs, short.pairs) > 0


class Faulty(RuntimeError):
    """What a stranger's rule may raise."""


def test_a_fault_in_one_rule_takes_no_control_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = suite(20, last="min: 0.7")
    expected = chances(Runner(FakeReader(), cases, chance_max=0.05), cases)
    needs = Attends.needs

    def faulty(self: Attends, encoding: Encoding) -> Any:
        if self.min == 0.7:
            raise Faulty("needs")
        return needs(self, encoding)

    monkeypatch.setattr(Attends, "needs", faulty)
    for order in (cases, cases[::-1]):
        runner = Runner(FakeReader(), cases, chance_max=0.05)
        for case in order:
            if case is cases[-1]:
                with pytest.raises(Faulty):
                    runner.judge(case)
            else:
                assert chances(runner, [case]) == expected[:1]


class Together(FakeReader):
    """Gives weights that depend on all texts of a pass, as the last bits of a network's do."""

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = 1) -> list[Rows]:
        texts = "".join(sorted({need.sample.text for need in needs}))
        self.batch = zlib.crc32(texts.encode())
        return super().collect(needs, batch_tokens=batch_tokens)

    def weights(self, read: Encoding) -> dict[int, Floats]:
        return distributions(read, zlib.crc32(read.sample.text.encode(), self.batch))


@pytest.mark.parametrize("faulty", [(), (3,), (0, 3), (3, -1)])
def test_who_judges_a_case_changes_neither_its_numbers_nor_its_fault(
    faulty: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part judges the cases of its blocks, and measures others for the chance rates alone."""
    cases = suite(CONTROLS + 70)
    texts = {cases[place].sample for place in faulty}
    needs = Attends.needs

    def maybe(self: Attends, encoding: Encoding) -> Any:
        if encoding.sample in texts:
            raise Faulty("needs")
        return needs(self, encoding)

    monkeypatch.setattr(Attends, "needs", maybe)

    def judged(chosen: Sequence[Case]) -> dict[str, object]:
        runner = Runner(Together(), cases, chance_max=0.05)
        found: dict[str, object] = {}
        for case in chosen:
            try:
                (finding,) = runner.judge(case)
                assert finding.verdict
                found[case.id] = finding.verdict.observed, finding.verdict.chance
            except Faulty:
                found[case.id] = "fault"
        return found

    whole = judged(cases)
    assert [name for name, found in whole.items() if found == "fault"] == sorted(
        (cases[place].id for place in faulty), key=list(whole).index
    )
    blocks = Blocks(cases, controls=True).cases
    assert [len(own) for own in blocks] == [64, 64, 6]
    for own in blocks:
        assert judged([case for case in cases if case in own]) == {
            case.id: whole[case.id] for case in own
        }


def test_a_rate_that_cannot_be_measured_is_an_error_of_its_own_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = suite(20, last="min: 0.7")
    chance = Attends.chance

    class FaultyChance(WordPairChance):
        def needs(self, encoding: Encoding, pairs: WordPairs) -> tuple[Need, ...]:
            return (Need(encoding.sample, self.pair.site, self.pair.layers, pairs.queries[0]),)

        def judge(self, rows: Sequence[Any], pairs: WordPairs) -> PairOutcomes:
            raise Faulty("no chance")

    def faulty(self: Attends, encoding: Encoding) -> WordPairChance | None:
        found = chance(self, encoding)
        return FaultyChance(found.pair) if found and self.min == 0.7 else found

    monkeypatch.setattr(Attends, "chance", faulty)
    runner = Runner(FakeReader(), cases, chance_max=0.05)
    *others, last = [runner.judge(case)[0] for case in cases]
    assert all(finding.verdict and finding.verdict.chance for finding in others)
    assert "by chance cannot be measured: Faulty: no chance" in str(last.error)


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
    passed = probe(f"--attn-json={path}")
    passed.assert_outcomes(passed=4)
    passed.stdout.fnmatch_lines(
        [
            "attnprobe: 4 tests pass, but would for too many other word pairs as well (vacuous): "
            "x.attn.yaml::rows[[]dog-cat], x.attn.yaml::rows[[]seal-cow], "
            "x.attn.yaml::rows[[]fox-hen] and 1 more; --attn-strict does not accept that, "
            "nor does the gate unless its policy does"
        ]
    )
    results = read_results(path)
    assert results.summary()["vacuous"] == 4
    chance = results.cases[0].expectations[0].chance
    assert chance is not None
    assert (chance.passed, chance.pairs, chance.rate) == (chance.pairs, chance.pairs, 1.0)
    distinct = chance.distinct or 0
    assert LEAST_DISTINCT <= distinct < chance.pairs
    assert chance.interval == pytest.approx(wilson(distinct, distinct))
    strict = probe("--attn-strict")
    strict.assert_outcomes(failed=4)
    strict.stdout.fnmatch_lines(
        ["*vacuous: attends barks → dog*", "*by chance: holds for * other word pairs*"]
    )
    strict.stdout.fnmatch_lines(["FAILED x.attn.yaml::rows[[]dog-cat] - vacuous: holds for *"])
    assert "tests pass" not in strict.stdout.str()
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
