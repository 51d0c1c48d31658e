"""Limits on how far numbers may fall, and the units that they hold for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.cases import Case, Expectation
from attnprobe.compare.changes import Comparison, compare_results
from attnprobe.compare.limits import exceeded, parse_limit
from attnprobe.core.errors import Mark, ResultsError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.texts import Encoding
from attnprobe.core.units import read_unit
from attnprobe.core.verdicts import Verdict
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, ExpectationResult, read_results
from attnprobe.rules import RULES, Rule
from attnprobe.rules.base import Demand, Place, parse_rule, verdict_of
from attnprobe.run import records
from attnprobe.run.judging import Judged
from attnprobe.run.runner import Finding
from tests.support import made_up_results as made
from tests.support.compared_results import ERR, HOLD, case, expected, only, run, suite_of
from tests.support.made_up import distributions, encoding, rows

# Kinds


@pytest.mark.parametrize(
    ("old", "new", "weaker"),
    [
        (expected(0.6), expected(0.47), True),
        (expected(0.6), expected(0.49), False),
        (expected(0.6), expected(0.9), False),
        # A fall of at most 0.01 never counts.
        (expected(0.0005, relation="<="), expected(0.0007, relation="<="), False),
        (expected(0.0005, relation="<="), expected(0.0107, relation="<="), True),
        # A weight and a margin share the room left: 0.65 before.
        (expected(0.95), expected(0.05, measure="margin over street", demanded=0.0), True),
        (expected(0.95), expected(0.6, measure="margin over street", demanded=0.0), False),
        # What cannot be compared, or not be measured now, might have fallen.
        (expected(0.95), expected(1, measure="rank", relation="<=", demanded=1), True),
        (expected(1, measure="rank", relation="<=", demanded=1), expected(0.95), True),
        (expected(0.95), expected(None, "error"), True),
        (expected(None, "error"), expected(0.95), False),
        (expected(None, "error"), expected(None, "error"), False),
        (expected(0.95), expected(0.95, arguments={"from": "it", "to": "dog"}), True),
    ],
)
def test_whether_a_change_is_weaker_than_a_share(
    old: ExpectationResult, new: ExpectationResult, weaker: bool
) -> None:
    change = only(case(old), case(new))
    assert change.weaker_than(0.2) is weaker
    # The limit of the plugin is the same judgement, where weights are judged.
    if old.deciding and old.deciding.unit == "weight":
        comparison = compare_results(run(case(old)), run(case(new)))
        assert (exceeded(parse_limit("weight:-20%"), comparison) is not None) is weaker


# Limits


@pytest.mark.parametrize(
    ("text", "kind", "bound"),
    [
        ("weight:-20%", "weight", -0.2),
        ("weight: -2.5%", "weight", -0.025),
        ("weight:0", "weight", 0.0),
        ("rate:-0.02", "rate", -0.02),
        ("rate:-2%", "rate", -0.02),
        ("broken:0", "broken", 0),
        ("gone:3", "gone", 3),
    ],
)
def test_limits_are_read(text: str, kind: str, bound: float) -> None:
    limit = parse_limit(text)
    assert (limit.kind, limit.bound) == (kind, pytest.approx(bound))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wieght:-20%", "did you mean 'weight'.*broken:0"),
        ("", "known: .*"),
        ("weight", "needs a number after weight:"),
        ("weight:-x%", "needs a number"),
        ("weight:nan", "needs a number"),
        ("weight:20%", "a fall is negative: write weight:-20%"),
        ("weight:-0.2", "relative: write weight:-20%"),
        ("rate:0.02", "write rate:-0.02"),
        ("rate:-100%", "lets everything pass"),
        ("weight:-300%", "lets everything pass"),
        ("broken:-1", "a count is a whole number: broken:1"),
        ("broken:1.5", "a count is a whole number: broken:1"),
        ("kept:1", "unknown limit"),
    ],
)
def test_limits_that_cannot_be_meant(text: str, message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "written", "why"),
    [
        ("weight:20", "weight:-20%", "a fall is negative"),
        ("weight:0.2", "weight:-20%", "a fall is negative"),
        ("weight:-20", "weight:-20%", "the fall of a weight is relative"),
        ("weight:-0.2", "weight:-20%", "the fall of a weight is relative"),
        ("weight:+2.5%", "weight:-2.5%", "a fall is negative"),
        ("rate:2", "rate:-2%", "a fall is negative"),
        ("rate:-2", "rate:-2%", "a rate is at most 1"),
        ("rate:.02", "rate:-.02", "a fall is negative"),
        ("broken:5%", "broken:5", "a count is a whole number"),
    ],
)
def test_what_a_wrong_limit_proposes_is_right(text: str, written: str, why: str) -> None:
    with pytest.raises(ResultsError) as caught:
        parse_limit(text)
    verb = "" if written.startswith("broken") else "write "
    assert str(caught.value) == f"{text!r}: {why}: {verb}{written}"
    parse_limit(written)


@given(st.text(max_size=20))
def test_any_text_is_a_limit_or_a_clear_error(text: str) -> None:
    try:
        limit = parse_limit(text)
    except ResultsError:
        return
    assert math.isfinite(limit.bound)


Make = Callable[[], Comparison]
RANK = case(expected(1, measure="rank", relation="<=", demanded=1))


def weaker(by: float) -> Comparison:
    return compare_results(run(case(expected(0.5))), run(case(expected(0.5 * (1 + by)))))


@pytest.mark.parametrize(
    ("limit", "make", "message"),
    [
        ("weight:-20%", lambda: weaker(-0.21), r"one on small \(0.500 → 0.395 −21%\)"),
        ("weight:-20%", lambda: weaker(-0.19), None),
        ("weight:-20%", lambda: weaker(0.5), None),
        ("weight:0", lambda: weaker(-0.021), "weights fell or are unknown in 1"),
        ("weight:0", lambda: weaker(-0.019), None),  # at most 0.01 is never too much
        ("weight:-20%", lambda: compare_results(run(HOLD), run(ERR)), "not measured"),
        ("weight:-20%", lambda: compare_results(run(HOLD), run(RANK)), "decided by rank now"),
        ("rate:-0.1", lambda: suite_of(8, 0, 2, 0), r"pronouns on small −0.200 \(10 → 8 of 10\)"),
        ("rate:-0.2", lambda: suite_of(8, 0, 2, 0), None),
        ("rate:-0.1", lambda: suite_of(8, 2, 2, 0), None),
        ("broken:1", lambda: suite_of(8, 0, 2, 0), "2 broken"),
        ("broken:2", lambda: suite_of(8, 0, 2, 0), None),
        ("broken:0", lambda: suite_of(0, 0, 9, 0), "and 4 more"),
        ("gone:0", lambda: compare_results(run(HOLD), run()), "1 gone"),
        ("new:0", lambda: compare_results(run(), run(HOLD)), "1 new"),
        ("weaker:0", lambda: weaker(-0.3), "1 weaker"),
    ],
)
def test_a_limit_can_fail(limit: str, make: Make, message: str | None) -> None:
    found = exceeded(parse_limit(limit), make())
    if message is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(f"{limit}: ")
        assert re.search(message, found)


ENTROPY = expected(1.2, measure="entropy (nats)", relation="<=", demanded=2.0)


@pytest.mark.parametrize(
    ("limit", "old", "new", "message"),
    [
        ("weight:-20%", case(), None, "no weight to compare: the runs have no case"),
        ("weight:-20%", case(ENTROPY), case(ENTROPY), r"judged is entropy \(nats\); .* weaker:0"),
        ("weight:-20%", RANK, RANK, "judged is rank"),
        ("rate:-0.1", case(), None, "no suite to compare"),
    ],
)
def test_a_limit_that_sees_nothing_of_what_it_limits_is_an_error_p52(
    limit: str, old: CaseResult, new: CaseResult | None, message: str
) -> None:
    comparison = compare_results(run(old), run(*filter(None, [new])))
    with pytest.raises(ResultsError, match=f"^{limit}: {message}|{message}"):
        exceeded(parse_limit(limit), comparison)


WEIGHTS = (
    "weight",
    "weight among words",
    "margin over a, 2 of 9",
    "margin below rank",
    "share of the flow",
    "share of the flow among words",
    "previous mass",
    "induction mass",
    "vertical on , mass, 3 of 9 rows left out",
    "sink mass, 1 of 5 rows left out",
    "mass on the first token",
)


@pytest.mark.parametrize("measure", WEIGHTS)
def test_a_limit_of_weights_sees_every_kind_of_weight_p52(measure: str) -> None:
    old, new = (case(expected(number, measure=measure)) for number in (0.9, 0.35))
    comparison = compare_results(run(old), run(new))
    found = exceeded(parse_limit("weight:-20%"), comparison)
    assert found is not None
    assert "0.900 → 0.350 −61%" in found
    assert exceeded(parse_limit("weight:-70%"), comparison) is None
    assert only(old, new).weaker_than(0.2)


def test_a_limit_of_weights_sees_those_that_did_not_decide_p52() -> None:
    def ranked(weight: float) -> CaseResult:
        bound = made.bound(measure="weight among words", observed=weight)
        rank = expected(1, measure="rank", relation="<=", demanded=1, others=(bound,))
        return case(rank)

    weight = expected(0.35, measure="weight among words")
    for new in (ranked(0.35), case(weight)):
        comparison = compare_results(run(ranked(0.9)), run(new))
        found = exceeded(parse_limit("weight:-20%"), comparison)
        assert found is not None
        assert "0.900 → 0.350" in found
        assert comparison.changes[0].weaker_than(0.2)
    kept = compare_results(run(ranked(0.9)), run(ranked(0.88)))
    assert exceeded(parse_limit("weight:-20%"), kept) is None
    assert not kept.changes[0].weaker_than(0.2)


# Rules on a random map of five words, and the units of their numbers.
MADE: tuple[tuple[str, dict[str, Any], set[str]], ...] = (
    ("attends", {"from": "e", "to": "a", "over": "b", "min": 0.1, "top": 1}, {"weight", "rank"}),
    ("attends", {"from": "e", "to": "a", "min": 0.1, "renormalise": "words"}, {"weight"}),
    (
        "attends",
        {"from": "e", "to": "a", "over": "b", "margin": 0.1, "ratio": 2, "renormalise": "words"},
        {"weight", "ratio"},
    ),
    ("ignores", {"from": "e", "to": "a", "over": "b", "max": 0.1, "top": 1}, {"weight", "rank"}),
    ("sink", {"max": 0.5}, {"weight"}),
    ("entropy", {"max": 1.0, "special": False}, {"nats"}),
    ("entropy", {"max": 0.5, "normalised": True}, {"share"}),
    ("distance", {"max": 1.0}, {"distance"}),
    ("distance", {"max": 0.5, "normalised": True}, {"share"}),
    ("pattern", {"is": "previous", "min": 0.5}, {"weight"}),
    ("pattern", {"is": "vertical", "min": 0.5}, {"weight"}),
    ("pattern", {"is": "previous", "min": 0.5, "form": "match"}, {"match"}),
    ("pattern", {"is": "sparse", "max": 0.5, "keys": 2}, {"share", "keys"}),
    ("diversity", {"max": 0.6, "heads": "L0"}, {"nats"}),
    ("flow", {"from": "e", "to": "a", "min": 0.1, "heads": "mean"}, {"weight"}),
    ("induction", {"min": 0.1}, {"weight"}),
    ("duplicate", {"min": 0.1, "form": "match"}, {"match"}),
    ("aligns", {"pairs": [["a", "a"]], "min_accuracy": 0.5, "max_aer": 0.5}, {"links"}),
    ("effect", {"good": "b", "min": 0.5, "top": 1, "heads": "L0H0"}, {"nats", "rank"}),
    ("effect", {"positive": "x", "min": 0.5}, {"cosine"}),
    (
        "attends",
        {"from": "e", "to": "a", "max": 0.9, "confirm": {"effect": {"required": True}}},
        {"weight", "rank"},
    ),
)
TEXTS = {"induction": "a b a b a", "duplicate": "a b a b a"}


@pytest.mark.parametrize(("kind", "arguments", "units"), MADE)
def test_each_number_of_a_rule_has_a_unit(
    kind: str, arguments: dict[str, Any], units: set[str]
) -> None:
    """Files of earlier versions lack the unit: it is read from the measure, and is the same."""
    read = encoding(TEXTS.get(kind, "a b c d e"), heads={0: 24})
    pieces = read.source.pieces
    read = replace(read, source=replace(read.source, ids=tuple(map(pieces.index, pieces))))
    if kind == "aligns":
        read = encoding("a b c d e", "a b", site="cross")
    rule = parse_rule(kind, {"heads": "L0H0", **arguments})
    verdict = rule.judge(
        [
            rows(read, need, distributions(read, 1))
            if isinstance(need, Need)
            else float(place == 1)
            for place, need in enumerate(rule.needs(read))
        ]
    )
    assert {bound.unit for bound in verdict.bounds} == units
    assert [read_unit(bound.measure) for bound in verdict.bounds] == [
        bound.unit for bound in verdict.bounds
    ]


def test_no_rule_lacks_a_unit() -> None:
    assert {kind for kind, *_ in MADE} == set(RULES)


class Gaze(Rule):
    """A rule as another package may have one, of a number that attnprobe does not know."""

    kind = "gaze"
    min: float

    def places(self) -> Iterator[Place]:
        yield from ()

    def needs(self, encoding: Encoding) -> tuple[Need, ...]:
        return (Need(encoding.sample, "encoder", (0,), (0,)),)

    def judge(self, rows: Sequence[Rows]) -> Verdict:
        number = float(rows[0].weights[0].max())
        demands = [Demand.of("gaze of the day", "weight", number, ">=", self.min)]
        return verdict_of(demands, head="L0H0", heads_tried=1, sink=0.0)


def test_a_limit_of_weights_sees_the_weight_of_a_strange_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RULES, "entries", dict(RULES.entries))
    RULES.register("gaze")(Gaze)
    read = encoding("a b c d e")
    mark = Mark("x.attn.yaml", 7, 1)
    stated = Expectation(parse_rule("gaze", {"heads": "L0H0", "min": 0.3}), {"min": 0.3}, mark)
    stating = Case("s", "one", None, mark, read.sample, (stated,), (), "blocking", None, None)
    (need,) = stated.rule.needs(read)
    found = []
    for place, weight in enumerate((0.9, 0.35)):
        verdict = stated.rule.judge([rows(read, need, {0: np.full((2, 7, 7), weight)})])
        judged = Judged(stating, "small", Finding(stated, read, verdict, None))
        path = tmp_path / f"{place}.json"
        write_json(path, run(case(records.expectation(judged))).to_json())
        found.append(read_results(path))
    exceeds = exceeded(parse_limit("weight:-20%"), compare_results(*found))
    assert exceeds is not None
    assert "0.900 → 0.350 −61%" in exceeds
