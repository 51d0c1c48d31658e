"""One definition of what failed, what could not be measured and what is a known gap."""

from __future__ import annotations

import dataclasses
import itertools
from typing import get_args

import pytest

from attnprobe.compare.changes import check_baseline
from attnprobe.core.errors import ResultsError
from attnprobe.gate import Policy
from attnprobe.gate.check import check_of
from attnprobe.plugin.report_page import state_of, verdict_of
from attnprobe.results.card import eval_results
from attnprobe.results.records import CaseOutcome, CaseResult
from attnprobe.results.summary import in_words
from tests.support.made_up_results import MODEL, case, expectation, run

PARTS = ((), ("passed",), ("failed",), ("error",), ("passed", "error"), ("failed", "error"))


def item(outcome: CaseOutcome, parts: tuple[str, ...]) -> CaseResult:
    entries = tuple(expectation(outcome=part) for part in parts)  # type: ignore[arg-type]
    return dataclasses.replace(case("c"), outcome=outcome, expectations=entries)


@pytest.mark.parametrize(
    ("outcome", "parts"), list(itertools.product(get_args(CaseOutcome), PARTS))
)
def test_report_summary_card_comparison_and_gate_count_alike(
    outcome: CaseOutcome, parts: tuple[str, ...]
) -> None:
    one = item(outcome, parts)
    results = run(one, case("d"))
    gate = {"known gap": "gap", "holds": "passed", "unstated": "passed"}
    state = check_of(one, Policy(), None).state
    state = gate.get(state, state)
    assert state_of(one) == one.state == state
    words, title = in_words(results), verdict_of(results)
    assert ("could not be measured" in words) == (state == "error")
    assert ("could not be measured" in title) == (state == "error")
    assert ("do not hold" in words or "does not hold" in words) == (state == "failed")
    assert ("fails" in title or " fail" in title) == (state == "failed")
    assert ("known gap," in f"{words}," and "holds now" not in words) == (state == "gap")
    if state == "error":
        with pytest.raises(ResultsError, match="1 check has no result"):
            eval_results(results, model=MODEL.name)
        with pytest.raises(ResultsError, match=r"could not be measured|not measured"):
            check_baseline(results)
        return
    (suite,) = eval_results(results, model=MODEL.name)[1]
    assert suite.metric_args["known_gaps"] == (state == "gap")
    assert suite.metric_args["passed"] == 1 + (state == "passed")
    assert suite.metric_args["n"] == 2 - (state == "skipped")
    check_baseline(results)
