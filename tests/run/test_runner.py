from __future__ import annotations

import random
import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from attnprobe.cases import Case, parse, yamltext
from attnprobe.core.charts import WHOLE_PICTURE
from attnprobe.core.errors import MeasureError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.run.runner import Finding, Runner
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up import FakeReader, distributions, encoding, rows

START = "version: 1\nsuite: s\ndefaults: {heads: L0H0}\ncases:\n"


def suite(*cases: tuple[str, str]) -> tuple[Case, ...]:
    """Cases of a text and its expectations, as a case file has them."""
    text = START + "".join(
        f"  - id: c{number}\n    text: {sentence}\n    expect: [{expect}]\n"
        for number, (sentence, expect) in enumerate(cases)
    )
    return parse(yamltext.loads(text.encode(), "a.attn.yaml"))


KEYS = "The keys are old"
DOGS = "The dogs are here now"
TO_KEYS = "attends: {from: are, to: keys, min: 0.1}"
TO_DOGS = "attends: {from: are, to: dogs, min: 0.1}"
DEEP = "attends: {from: are, to: The, min: 0.1, heads: L2}"


def observed(findings: tuple[Finding, ...]) -> list[float]:
    return [finding.verdict.observed for finding in findings if finding.verdict]


@pytest.fixture(scope="module")
def bert() -> Model:
    return Model.of(tiny_network("bert"), tiny_tokenizer(), name="tiny")


# One pass ---------------------------------------------------------------------------------------


def test_each_text_goes_through_the_model_once() -> None:
    cases = suite(
        (KEYS, TO_KEYS), (DOGS, f"{{{TO_DOGS}}}, {{{DEEP}}}"), (KEYS, DEEP), (KEYS, TO_KEYS)
    )
    reader = FakeReader()
    runner = Runner(reader, cases)
    for case in cases:
        runner.judge(case)
    assert reader.passes == [(KEYS, DOGS)]


HARD = "attends: {from: are, to: The, min: 0.999}"
EASY = "ignores: {from: are, to: The, max: 0.999}"


def test_all_failing_pairs_of_a_block_are_seen_in_all_layers_by_one_more_pass() -> None:
    failing = (DOGS, f"{{{HARD}}}, {{{EASY}}}")
    cases = suite((KEYS, EASY), failing, ("The cats are here", EASY), ("The cows are here", HARD))
    plain, looking = FakeReader(), FakeReader()
    alone = Runner(plain, cases)
    runner = Runner(looking, cases, nearest=True)
    found = [finding for case in cases for finding in runner.judge(case)]
    usual = [finding for case in cases for finding in alone.judge(case)]
    assert looking.passes == [*plain.passes, (DOGS, "The cows are here")]
    for finding, before in zip(found, usual, strict=True):
        assert finding.verdict
        assert before.verdict
        best, narrow = finding.verdict.best_other, before.verdict.best_other
        assert replace(finding.verdict, best_other=narrow) == before.verdict
        if finding.verdict.outcome == "failed":
            assert best
            assert best.layers == (0, 1, 2)
            assert narrow
            assert narrow.layers == (0,)
            assert best.bound.observed >= narrow.bound.observed
        else:
            assert best is None


def test_the_pass_for_other_heads_depends_on_the_block_alone_p39() -> None:
    cases = suite((KEYS, HARD), (DOGS, HARD), ("The cows are here", HARD))
    readers = FakeReader(), FakeReader()
    for reader, order in zip(readers, (cases, cases[::-1]), strict=True):
        runner = Runner(reader, cases, nearest=True)
        for case in order:
            runner.judge(case)
    assert readers[0].passes[:2] == readers[1].passes[:2]


def test_a_text_that_fails_in_the_further_pass_keeps_its_verdict() -> None:
    class Forgetful(FakeReader):
        def collect(self, needs: Sequence[Need], **options: int) -> list[Rows]:
            if any(len(need.layers) > 1 for need in needs):
                raise MeasureError("no room")
            return super().collect(needs, **options)

    (case,) = suite((KEYS, HARD))
    (finding,) = Runner(Forgetful(), [case], nearest=True).judge(case)
    assert finding.verdict
    assert finding.verdict.best_other
    assert finding.verdict.best_other.layers == (0,)


def test_identical_needs_are_computed_once() -> None:
    cases = suite((KEYS, TO_KEYS), (KEYS, f"{{{TO_KEYS}}}, {{{DEEP}}}"), (KEYS, TO_KEYS))
    reader = FakeReader()
    Runner(reader, cases).judge(cases[0])
    assert reader.asked == [
        Need(Sample(KEYS), "encoder", (0,), (3,)),
        Need(Sample(KEYS), "encoder", (2,), (3,)),
    ]


def test_a_real_model_makes_one_forward_for_all_that_is_asked_of_a_text(bert: Model) -> None:
    sentences = [KEYS, DOGS, "The mice are at home", "The cows are not in the field"]
    nouns = ["keys", "dogs", "mice", "cows"]
    cases = suite(
        *(
            (sentence, f"attends: {{from: are, to: {noun}, min: 0.1, heads: {heads}}}")
            for sentence, noun in zip(sentences, nouns, strict=True)
            for heads in ("L0H0", "L1", "all", "mean")
        )
    )
    runner = Runner(bert, cases, batch_tokens=1)
    before = bert.forwards
    findings = [finding for case in cases for finding in runner.judge(case)]
    assert bert.forwards - before == len(sentences)
    assert all(finding.verdict for finding in findings)
    before = bert.forwards
    for case in cases:
        Runner(bert, [case], batch_tokens=1).judge(case)
    assert bert.forwards - before == len(cases)


def test_texts_of_one_length_share_a_forward(bert: Model) -> None:
    cases = suite((KEYS, TO_KEYS), ("The dogs are old", TO_DOGS), ("The cows are old", DEEP))
    before = bert.forwards
    runner = Runner(bert, cases)
    for case in cases:
        runner.judge(case)
    assert bert.forwards - before == 1


def test_a_later_case_on_the_same_text_is_taken_along() -> None:
    cases = suite((KEYS, TO_KEYS), (DOGS, TO_DOGS), (KEYS, DEEP), (DOGS, DEEP))
    reader = FakeReader()
    runner = Runner(reader, cases, block=1)
    for case in cases:
        runner.judge(case)
    assert reader.passes == [(KEYS,), (DOGS,)]


def test_a_block_bounds_what_is_measured_ahead() -> None:
    cases = suite(*((f"The keys are {number}x", TO_KEYS) for number in range(5)))
    reader = FakeReader()
    runner = Runner(reader, cases, block=2)
    runner.judge(cases[0])
    assert [len(texts) for texts in reader.passes] == [2]
    for case in cases[1:]:
        runner.judge(case)
    assert [len(texts) for texts in reader.passes] == [2, 2, 1]


@pytest.mark.parametrize("block", [1, 2, 256])
def test_the_order_does_not_matter(block: int) -> None:
    cases = suite(
        (KEYS, TO_KEYS),
        (DOGS, f"{{{DEEP}}}, {{{TO_DOGS}}}"),
        (KEYS, DEEP),
        ("We are", DEEP.replace("The", "We")),
    )
    expected = [observed(Runner(FakeReader(), [case]).judge(case)) for case in cases]
    assert [len(values) for values in expected] == [1, 2, 1, 1]
    for seed in range(5):
        order = random.Random(seed).sample(range(len(cases)), len(cases))
        runner = Runner(FakeReader(), cases, block=block)
        found = {index: observed(runner.judge(cases[index])) for index in order}
        assert [found[index] for index in range(len(cases))] == expected


def test_the_passes_do_not_depend_on_which_case_comes_first_p39() -> None:
    cases = suite(*((f"The keys are {number}x", TO_KEYS) for number in range(6)))
    expected = None
    for order in ([0, 1, 2, 3, 4, 5], [5, 0], [3, 2, 1]):
        reader = FakeReader()
        runner = Runner(reader, cases, block=2)
        for index in order:
            runner.judge(cases[index])
        if expected is None:
            expected = set(reader.passes)
            assert len(expected) == 3
        assert set(reader.passes) <= expected


def test_a_case_may_be_judged_again_and_one_may_come_unannounced() -> None:
    first, second = suite((KEYS, TO_KEYS), (DOGS, TO_DOGS))
    runner = Runner(FakeReader(), [first])
    assert observed(runner.judge(first)) == observed(runner.judge(first))
    assert observed(runner.judge(second)) == observed(Runner(FakeReader(), [second]).judge(second))


def test_the_verdict_is_that_of_the_rule() -> None:
    (case,) = suite((KEYS, TO_KEYS))
    (finding,) = Runner(FakeReader(), [case]).judge(case)
    read = FakeReader().encode(Sample(KEYS))
    assert finding.expectation is case.expectations[0]
    assert finding.encoding == read
    assert observed((finding,)) == [pytest.approx(float(FakeReader().weights(read)[0][0, 3, 2]))]


# Memory -----------------------------------------------------------------------------------------


class Watched(FakeReader):
    """Remembers, weakly, the rows that it gave out."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[weakref.ref[Rows]] = []

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = 1) -> list[Rows]:
        found = super().collect(needs, batch_tokens=batch_tokens)
        self.given += map(weakref.ref, found)
        return found

    @property
    def alive(self) -> int:
        return sum(reference() is not None for reference in self.given)


def test_rows_are_let_go_once_their_case_is_judged() -> None:
    cases = suite(*((f"The keys are {number}x", TO_KEYS) for number in range(6)))
    reader = Watched()
    runner = Runner(reader, cases, block=3)
    alive = []
    for case in cases:
        runner.judge(case)
        alive.append(reader.alive)
    assert alive == [2, 1, 0, 2, 1, 0]


def test_what_other_workers_judge_is_let_go_with_the_next_block() -> None:
    cases = suite(*((f"The keys are {number}x", TO_KEYS) for number in range(9)))
    reader = Watched()
    runner = Runner(reader, cases, block=3)
    alive = []
    for case in cases[::3]:
        runner.judge(case)
        alive.append(reader.alive)
    assert alive == [2, 2, 2]
    assert [len(texts) for texts in reader.passes] == [3, 3, 3]


def test_a_block_that_was_let_go_is_measured_anew_as_a_whole() -> None:
    cases = suite(*((f"The keys are {number}x", TO_KEYS) for number in range(4)))
    reader = FakeReader()
    runner = Runner(reader, cases, block=2)
    found = {index: observed(runner.judge(cases[index])) for index in (0, 2, 1, 3)}
    assert reader.passes == [reader.passes[0], reader.passes[1], reader.passes[0]]
    assert found == {
        index: observed(Runner(FakeReader(), cases).judge(case)) for index, case in enumerate(cases)
    }


# Errors -----------------------------------------------------------------------------------------


def test_an_error_in_one_text_does_not_take_other_cases_along() -> None:
    cases = suite(
        (KEYS, f"{{{TO_KEYS}}}, {{{DEEP}}}"),
        (DOGS, TO_DOGS),
        (DOGS, DEEP),
        ("The cows are here", DEEP),
        (KEYS, "attends: {from: are, to: keys, min: 0.1, heads: L7H0}"),
    )
    runner = Runner(FakeReader(bad={(DOGS, 2)}), cases)
    findings = {case.id: runner.judge(case) for case in cases}
    assert [len(observed(findings[f"c{number}"])) for number in range(5)] == [2, 1, 0, 1, 0]
    (bad,) = findings["c2"]
    assert isinstance(bad.error, MeasureError)
    assert str(bad.error) == "L2H0 has weights that are no numbers"
    (missing,) = findings["c4"]
    assert "layer 7 has no attention" in str(missing.error)
    assert missing.verdict is None


def test_when_every_text_is_bad_every_case_has_its_error() -> None:
    cases = suite((KEYS, TO_KEYS), (DOGS, f"{{{TO_DOGS}}}, {{{DEEP}}}"))
    reader = FakeReader(bad={(text, layer) for text in (KEYS, DOGS) for layer in (0, 2)})
    runner = Runner(reader, cases, pictures=True)
    for case in cases:
        assert [type(finding.error) for finding in runner.judge(case)] == [MeasureError] * len(
            case.expectations
        )


class Broken(FakeReader):
    """Fails as no reader should, once."""

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = 1) -> list[Rows]:
        if not self.passes:
            self.passes.append(())
            raise RuntimeError("out of luck")
        return super().collect(needs, batch_tokens=batch_tokens)


def test_after_a_fault_the_cases_of_a_block_are_measured_one_by_one() -> None:
    """It may be that of any case of the block, and falls on none that has it not."""
    cases = suite((KEYS, TO_KEYS), (DOGS, TO_DOGS))
    reader = Broken()
    runner = Runner(reader, cases)
    found = [observed(runner.judge(case)) for case in cases]
    assert reader.passes == [(), (KEYS,), (DOGS,)]
    sound = Runner(FakeReader(), cases)
    assert found == [observed(sound.judge(case)) for case in cases]


class Unfit(FakeReader):
    """Raises what is no error of attnprobe on one text."""

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = 1) -> list[Rows]:
        if any(need.sample.text == DOGS for need in needs):
            raise RuntimeError("out of luck")
        return super().collect(needs, batch_tokens=batch_tokens)


def test_a_fault_falls_on_the_case_that_has_it() -> None:
    cases = suite((KEYS, TO_KEYS), (DOGS, TO_DOGS), ("The cats are here", EASY))
    runner = Runner(Unfit(), cases)
    assert len(observed(runner.judge(cases[0]))) == 1
    with pytest.raises(RuntimeError, match="out of luck"):
        runner.judge(cases[1])
    assert len(observed(runner.judge(cases[2]))) == 1


# Pictures ---------------------------------------------------------------------------------------


def test_pictures_come_from_the_same_pass() -> None:
    cases = suite((KEYS, DEEP), (DOGS, "attends: {from: are, to: dogs, min: 0.1, heads: mean}"))
    reader = FakeReader()
    runner = Runner(reader, cases, pictures=True)
    for case in cases:
        (finding,) = runner.judge(case)
        assert finding.verdict is not None
        assert finding.verdict.picture is not None
        weights = reader.weights(reader.encode(case.sample))
        mean = np.mean(
            [weights[head.layer][head.head] for head in finding.verdict.picture.heads], 0
        )
        assert finding.matrix is not None
        np.testing.assert_allclose(finding.matrix, mean, atol=1e-7)
    assert len(reader.passes) == 1


def test_a_picture_may_be_asked_for_later() -> None:
    (case,) = suite((KEYS, DEEP))
    reader = FakeReader()
    (plain,) = Runner(reader, [case]).judge(case)
    assert plain.matrix is None
    later = Runner(reader, []).pictured(plain)
    (at_once,) = Runner(reader, [case], pictures=True).judge(case)
    np.testing.assert_array_equal(later.matrix, at_once.matrix)
    assert later.verdict == plain.verdict


def test_a_long_text_is_pictured_by_its_rows_alone() -> None:
    sentence = " ".join(["The keys are", *(f"w{number}" for number in range(WHOLE_PICTURE))])
    (case,) = suite((sentence, TO_KEYS))
    reader = FakeReader()
    (finding,) = Runner(reader, [case], pictures=True).judge(case)
    assert finding.matrix is not None
    assert [need.rows for need in reader.asked] == [(3,)]
    assert not np.isnan(finding.matrix[3]).any()
    assert np.isnan(np.delete(finding.matrix, 3, axis=0)).all()
    later = Runner(reader, []).pictured(finding)
    np.testing.assert_array_equal(later.matrix, finding.matrix)


PASSES = "attends: {from: are, to: keys, max: 0.999, heads: L1H0}"
FAILS = "attends: {from: are, to: keys, min: 0.999, heads: L1}"


def test_a_word_pair_is_shown_beside_all_heads_of_its_layer() -> None:
    reader = FakeReader()
    cases = suite(
        (KEYS, PASSES),
        (KEYS, FAILS),
        (KEYS, FAILS.replace("attends", "ignores").replace("min: 0.9", "max: 0.0")),
    )
    for case in cases:
        (at_once,) = Runner(reader, [case], pictures=True).judge(case)
        (plain,) = Runner(reader, [case]).judge(case)
        assert plain.panel is None
        for finding in (at_once, Runner(reader, []).pictured(plain)):
            panel, verdict = finding.panel, finding.verdict
            assert panel is not None
            assert verdict is not None
            assert verdict.outcome == ("passed" if case is cases[0] else "failed")
            assert (panel.site, panel.layer) == ("encoder", 1)
            assert [str(head) for head in panel.decided] == [verdict.head]
            weights = reader.weights(reader.encode(case.sample))[1]
            np.testing.assert_array_equal(panel.weights, weights)


@pytest.mark.parametrize(
    "expectation",
    [
        FAILS.replace("L1}", "mean}"),
        "sink: {heads: L1, from: are, min: 0.999}",
    ],
    ids=["several layers", "another rule"],
)
def test_other_findings_have_no_panel(expectation: str) -> None:
    reader = FakeReader()
    (case,) = suite((KEYS, expectation))
    (finding,) = Runner(reader, [case], pictures=True).judge(case)
    assert finding.matrix is not None
    assert finding.panel is None
    assert Runner(reader, []).pictured(finding).panel is None


def test_a_long_text_has_no_panel() -> None:
    sentence = " ".join(["The keys are", *(f"w{number}" for number in range(WHOLE_PICTURE))])
    (case,) = suite((sentence, FAILS))
    (finding,) = Runner(FakeReader(), [case], pictures=True).judge(case)
    assert finding.verdict is not None
    assert finding.verdict.outcome == "failed"
    assert finding.panel is None


def test_an_error_has_no_picture() -> None:
    (case,) = suite((KEYS, DEEP))
    (finding,) = Runner(FakeReader(bad={(KEYS, 2)}), [case], pictures=True).judge(case)
    assert finding.matrix is None
    assert Runner(FakeReader(), []).pictured(finding) is finding


def test_the_made_up_model_gives_distributions() -> None:
    read = encoding("The ke|ys are old", causal=True, site="decoder")
    weights = distributions(read, 0)
    for matrix in weights.values():
        np.testing.assert_allclose(matrix.sum(-1), 1, atol=1e-6)
        assert not np.triu(matrix[0], 1).any()
    found = rows(read, Need(read.sample, "decoder", (1,), (2, 4)), weights)
    np.testing.assert_array_equal(found.at(1, (4,)), weights[1][:, [4]])
    assert Head(1, 1) in read.site("decoder").all_heads()
