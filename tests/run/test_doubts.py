"""What says little: verdicts that are vacuous, borderline, or both, wherever they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnprobe.cases import parse, yamltext
from attnprobe.core.arrays import Floats
from attnprobe.core.needs import Need, Rows
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Chance, Doubt, Verdict
from attnprobe.gate import judge
from attnprobe.gate.policy import Policy
from attnprobe.results.files import write_json
from attnprobe.results.records import ExpectationResult, read_results
from attnprobe.results.summary import markdown
from attnprobe.rules import BAND, parse_rule
from attnprobe.rules.base import Demand, Rule, verdict_of
from attnprobe.run.explain import explain, headline
from attnprobe.run.runner import Finding, Runner
from tests.support import made_up_results as made
from tests.support.made_up import encoding, rows

Write = Callable[..., Path]
Run = Callable[..., pytest.RunResult]

WORDS = "a b c d e f g h"
CASE = """version: 1
suite: s
defaults: {heads: L0H0}
cases:
"""


class Even:
    """A model that spreads each row evenly, but for half of the band more on the last word."""

    name = "even"

    def __init__(self, more: float = BAND / 2) -> None:
        self._more = more

    def encode(self, sample: Sample) -> Encoding:
        return encoding(sample.text, ends=False)

    def collect(self, needs: Any, **_: Any) -> list[Rows]:
        found = []
        for need in needs:
            read = self.encode(need.sample)
            length = len(read.source)
            row = np.full(length, 1 / length)
            row[-1] += self._more
            weights = np.tile((row / row.sum()).astype(np.float32), (2, length, 1))
            found.append(rows(read, need, dict.fromkeys(range(3), weights)))
        return found


def judged(rule: str, model: Even, count: int = 1) -> list[Verdict]:
    """The verdicts on one case or more, each with a text of its own words."""
    text = CASE
    for number in range(count):
        words = " ".join(f"{word}{number}" for word in WORDS.split())
        text += f"  - id: c{number}\n    text: {words}\n    expect:\n      - {rule}\n"
        text = text.replace("<", "").replace(">", str(number))
    cases = parse(yamltext.loads(text.encode(), "a.attn.yaml"))
    runner = Runner(model, cases, chance_max=0.05)  # type: ignore[arg-type]
    found = [finding.verdict for case in cases for finding in runner.judge(case)]
    return [verdict for verdict in found if verdict is not None]


def test_a_verdict_that_is_vacuous_and_borderline_is_both_p54() -> None:
    bound = 1 / 8 + BAND / 4
    verdicts = judged(f"attends: {{from: b<>, to: g<>, min: {bound}}}", Even(), count=12)
    assert {verdict.outcome for verdict in verdicts} == {"vacuous"}
    assert {verdict.doubts for verdict in verdicts} == {("vacuous", "borderline")}
    chance = verdicts[0].chance
    # An independent count: each control pair has 0.1249 or 0.1254, within 0.001 of the bound.
    assert chance is not None
    assert chance.passed == chance.pairs > 0


def test_letter_over_class_and_class_over_letter_hold_by_chance_alike_p54() -> None:
    """Both orders of a near tie hold by the band, so the control of either must hold as well."""
    for to, over in (("f<>", "g<>"), ("g<>", "f<>")):
        rule = f"attends: {{from: b<>, to: {to}, over: {over}, margin: 0.0002}}"
        verdicts = judged(rule, Even(0.0), count=12)
        assert {verdict.outcome for verdict in verdicts} == {"vacuous"}
        assert all(verdict.borderline for verdict in verdicts)
        assert all(verdict.chance and verdict.chance.rate == 1 for verdict in verdicts)


def test_a_tie_that_fails_the_rule_fails_its_control() -> None:
    verdicts = judged("attends: {from: b<>, to: f<>, over: g<>}", Even(0.0), count=12)
    assert {verdict.outcome for verdict in verdicts} == {"failed"}
    assert all(verdict.chance and verdict.chance.passed == 0 for verdict in verdicts)


# Where it is told

NEAR = made.expectation(
    "vacuous",
    observed=0.3004,
    message="weight 0.300, demanded >= 0.300",
    chance=Chance(30, 100, 80),
    borderline=True,
)
FAR = replace(made.renumbered(NEAR, observed=0.68, outcome="passed"), borderline=False)
IDLE = made.expectation(
    "vacuous",
    rule="entropy",
    arguments={"max": 2.5},
    measure="entropy (nats)",
    observed=1.2,
    relation="<=",
    demanded=2.5,
    unbreakable=True,
)


def reasons(entry: ExpectationResult, **policy: Any) -> dict[str, str]:
    run = made.run(made.case("it", stated=entry))
    decision = judge(run, Policy(**policy), today=date(2026, 1, 1))
    return {reason.kind: "\n".join(reason.lines()) for reason in decision.reasons}


@pytest.mark.parametrize(
    ("entry", "policy", "kinds"),
    [
        (NEAR, {}, {"vacuous", "borderline"}),
        (NEAR, {"borderline": "pass"}, {"vacuous"}),
        # A policy that allows the chance rate is left with the close call, which it must see.
        (NEAR, {"chance_max": 0.5}, {"borderline"}),
        (FAR, {"chance_max": 0.5}, set()),
        # Files of older versions do not say so; their numbers do.
        (replace(NEAR, borderline=False), {"chance_max": 0.5}, {"borderline"}),
        (IDLE, {}, {"vacuous"}),
        (IDLE, {"chance_max": 0.5}, {"vacuous"}),
        (
            replace(made.renumbered(IDLE, observed=2.4996), borderline=True),
            {},
            {"vacuous", "borderline"},
        ),
    ],
)
def test_the_gate_gives_both_reasons_p54(
    entry: ExpectationResult, policy: dict[str, Any], kinds: set[str]
) -> None:
    found = reasons(entry, **policy)
    assert {kind for kind in found if kind in ("vacuous", "borderline")} == kinds
    if "borderline" in kinds:
        assert "too near to call" in found["borderline"]


def test_the_gate_says_that_nothing_can_break_the_bounds_p53() -> None:
    found = reasons(IDLE)
    assert (
        "1 attention check holds whatever the model does: nothing can break its bounds"
        in (found["vacuous"])
    )
    assert "entropy holds whatever the model does: nothing can break" in found["vacuous"]


def test_vacuous_and_borderline_are_both_counted_and_read_back_p54(tmp_path: Path) -> None:
    run = made.run(made.case("a", stated=NEAR), made.case("b", stated=IDLE))
    assert (run.summary()["vacuous"], run.summary()["borderline"]) == (2, 1)
    text = markdown(run)
    assert (
        "1 holds by chance as well, 1 holds whatever the model does, 1 is too near to call" in text
    )
    assert "| vacuous, borderline |" in text
    assert "| vacuous, unbreakable |" in text
    path = tmp_path / "new.json"
    write_json(path, run.to_json())
    assert read_results(path).cases == run.cases
    # A file of an older version has neither field, and is counted as it was.
    older = run.to_json()
    for item in older["cases"]:
        for entry in item["expectations"]:
            del entry["borderline"], entry["unbreakable"]
    older["summary"]["borderline"] = 0
    path = tmp_path / "old.json"
    path.write_text(json.dumps(older))
    doubts = [entry.doubts for case in read_results(path).cases for entry in case.expectations]
    assert doubts == [("vacuous",), ("vacuous",)]


def verdict(doubt: set[Doubt]) -> Verdict:
    idle = "unbreakable" in doubt
    chance = None if idle else Chance(60, 100, 80)
    return Verdict(
        outcome="vacuous",
        bounds=(made.bound("borderline" if "borderline" in doubt else "passed", observed=0.3004),),
        head="L0H0",
        heads_tried=1,
        sink=0.1,
        chance=chance,
        unbreakable=idle,
    )


@pytest.mark.parametrize(
    ("doubt", "first", "line"),
    [
        (
            {"vacuous"},
            "vacuous: holds for 60 of 100 other",
            "holds, but it also holds for too many",
        ),
        (
            {"vacuous", "borderline"},
            "vacuous, and borderline: holds for 60 of 100",
            "to say much; within 0.001 of the bound, too near to call",
        ),
        (
            {"unbreakable"},
            "vacuous: holds whatever the model does (attends",
            ">= 0.300: holds what",
        ),
        (
            {"unbreakable", "borderline"},
            "vacuous, and borderline: holds whatever the model does",
            "whatever the model does; within 0.001",
        ),
    ],
)
def test_the_terminal_names_every_doubt_p54(doubt: set[Doubt], first: str, line: str) -> None:
    rule = "attends: {from: b, to: c, min: 0.3}"
    text = f"{CASE}  - id: a\n    text: {WORDS}\n    expect:\n      - {rule}\n"
    (case,) = parse(yamltext.loads(text.encode(), "a.attn.yaml"))
    finding = Finding(case.expectations[0], None, verdict(doubt), None)
    assert headline([finding]).startswith(first)
    assert line in explain(case, finding)


IDLE_CASE = """
- id: idle
  text: The dog barks.
  expect:
    - entropy: {heads: L0H0, max: 2.9}
"""


def test_a_run_says_which_tests_hold_whatever_the_model_does_p53(
    probe: Run, write_cases: Write, tmp_path: Path
) -> None:
    write_cases(IDLE_CASE)
    path = tmp_path / "r.json"
    passed = probe(f"--attn-json={path}")
    passed.assert_outcomes(passed=1)
    passed.stdout.fnmatch_lines(
        ["attnprobe: 1 test passes, but would whatever the model does (vacuous): *::idle; *"]
    )
    results = read_results(path)
    assert (results.summary()["vacuous"], results.summary()["borderline"]) == (1, 0)
    (entry,) = results.cases[0].expectations
    assert (entry.outcome, entry.unbreakable) == ("vacuous", True)
    assert "holds whatever the model does" in entry.message
    strict = probe("--attn-strict")
    strict.assert_outcomes(failed=1)
    strict.stdout.fnmatch_lines(["FAILED *::idle - vacuous: holds whatever the model does *"])


def test_what_ablation_can_still_fail_is_not_unbreakable() -> None:
    demand = Demand.of("weight", "weight", 0.9, ">=", 0.3, worst=0.7)
    assert verdict_of([demand], unbreakable=True, head="L0H0", heads_tried=1, sink=0).unbreakable
    stated: dict[str, Any] = {"heads": "L0H0", "from": "b", "to": ["a", "b"], "min": 0.3}
    for required in (True, False):
        confirm = {"effect": {"good": "b", "bad": "c", "required": required}}
        rule = parse_rule("attends", {**stated, "confirm": confirm})
        read = encoding(WORDS, site="decoder", causal=True, ends=False, heads={0: 24})
        found = _answers(rule, read)
        assert rule.judge([found, 0.0, -1.0, *[0.0] * 20]).unbreakable is not required
        assert rule.judge([found, 0.0, 1.0, *[0.0] * 20]).outcome == (
            "failed" if required else "vacuous"
        )


def _answers(rule: Rule, read: Encoding) -> Rows:
    need = rule.needs(read)[0]
    assert isinstance(need, Need)
    row: Floats = np.full((24, len(read.source), len(read.source)), 0, np.float32)
    row[..., 0] = 1
    return rows(read, need, {0: row})
