"""Two runs side by side: kinds of change, paired tests, limits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from attnprobe.cases import Case, Expectation
from attnprobe.compare.changes import (
    KINDS,
    Change,
    Comparison,
    Kind,
    check_baseline,
    compare_models,
    compare_results,
    pair_models,
)
from attnprobe.compare.describe import change_row, lines, sentence
from attnprobe.compare.limits import exceeded, parse_limit
from attnprobe.core.errors import Mark, ResultsError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.stats import paired_difference, paired_p
from attnprobe.core.texts import Encoding
from attnprobe.core.units import read_unit
from attnprobe.core.verdicts import Verdict
from attnprobe.plugin import reports
from attnprobe.plugin.keys import Judged
from attnprobe.results.files import write_json
from attnprobe.results.records import (
    CaseResult,
    ExpectationResult,
    ModelResult,
    RelationResult,
    Results,
    read_results,
)
from attnprobe.rules import RULES, Rule
from attnprobe.rules.base import Demand, Place, parse_rule, verdict_of
from attnprobe.run.runner import Finding
from tests.support import made_up_results as made
from tests.support.made_up import distributions, encoding, rows
from tests.support.made_up_results import renumbered


def expected(
    observed: float | None = 0.6, outcome: Any = "passed", **changes: Any
) -> ExpectationResult:
    return made.expectation(outcome, observed=observed, message="", line=7, **changes)


def case(*expectations: ExpectationResult, outcome: str = "passed", **changes: Any) -> CaseResult:
    facts: dict[str, Any] = {
        "nodeid": "x::one",
        "id": "one",
        "row": None,
        "file": "cases/x.attn.yaml",
        "line": 6,
        "suite": "pronouns",
        "model": "small",
        "severity": "blocking",
        "marks": (),
        "outcome": outcome,
        "duration_s": 0.1,
        "expectations": expectations or (expected(),),
    }
    return CaseResult(**facts | changes)


def model(name: str = "small", **changes: Any) -> ModelResult:
    facts: dict[str, Any] = {
        "name": name,
        "ref": name,
        "revision": None,
        "weights_sha256": "a" * 64,
        "tokenizer_sha256": "b" * 64,
        "architecture": "BertModel",
        "layers": 6,
        "heads": 12,
        "sites": ("encoder",),
    }
    return ModelResult(**facts | changes)


def run(*cases: CaseResult, **changes: Any) -> Results:
    facts: dict[str, Any] = {
        "environment": {"torch": "2.0", "git_commit": "abc", "dtype": "float32"},
        "models": (model(),),
        "cases": cases,
        "collected": len(cases),
    }
    return Results(**facts | changes)


def only(old: CaseResult, new: CaseResult) -> Change:
    (change,) = compare_results(run(old), run(new)).changes
    return change


# Kinds


def test_a_number_on_another_text_is_neither_weaker_nor_stronger() -> None:
    for observed in (0.3, 0.9):
        old, new = (case(text_sha256=letter * 64) for letter in "ab")
        new = replace(new, expectations=(expected(observed),))
        change = only(old, new)
        assert (change.kind, change.by) == ("kept", None)
        assert compare_results(run(old), run(new)).warnings == (
            "the text of 1 case is another than before: cases/x.attn.yaml: one on small",
        )
        # A limit holds the numbers all the same.
        assert change.weaker_than(0.2) == (observed == 0.3)
        # Runs of before tell no text.
        assert only(replace(old, text_sha256=None), new).kind != "kept"
        assert only(old, replace(new, text_sha256=None)).kind != "kept"


def test_a_case_with_another_text_can_break_and_be_mended() -> None:
    held = case(text_sha256="a" * 64)
    fails = case(expected(0.1, outcome="failed"), outcome="failed", text_sha256="b" * 64)
    assert (only(held, fails).kind, only(fails, held).kind) == ("broken", "fixed")


def test_texts_that_changed_are_named() -> None:
    old, new = (
        run(*(case(id=f"c{n}", text_sha256=letter * 64) for n in range(5))) for letter in "ab"
    )
    (warning,) = compare_results(old, new).warnings
    assert warning == (
        "the text of 5 cases is another than before: cases/x.attn.yaml: c0 on small; "
        "cases/x.attn.yaml: c1 on small; cases/x.attn.yaml: c2 on small; and 2 more"
    )


@pytest.mark.parametrize(
    ("rule", "relation", "old", "new", "told"),
    [
        ("attends", ">=", {"min": 0.3}, {"min": 0.2}, "min 0.3 → 0.2"),
        ("attends", ">=", {"min": 0.2}, {"min": 0.3}, ""),
        ("attends", "<=", {"top": 1}, {"top": 3}, "top 1 → 3"),
        ("attends", "<=", {"top": 3}, {"top": 1}, ""),
        ("attends", ">=", {"margin": 0.1, "over": "a"}, {"over": "a"}, "margin 0.1 → none"),
        ("attends", ">=", {"over": "a"}, {"margin": 0.1, "over": "a"}, ""),
        ("attends", ">=", {"ratio": 2.5, "over": "a"}, {"ratio": 2, "over": "a"}, "ratio 2.5 → 2"),
        ("ignores", "<=", {"max": 0.1}, {"max": 0.2}, "max 0.1 → 0.2"),
        ("ignores", "<=", {"max": 0.2}, {"max": 0.1}, ""),
        # The word may not be among so many of the strongest.
        ("ignores", ">", {"top": 3}, {"top": 1}, "top 3 → 1"),
        ("ignores", ">", {"top": 1}, {"top": 3}, ""),
        ("relation", ">=", {"accuracy": 0.7}, {"accuracy": 0.5}, "accuracy 0.7 → 0.5"),
    ],
)
def test_a_bound_that_asks_for_less_is_told(
    rule: str, relation: str, old: dict[str, Any], new: dict[str, Any], told: str
) -> None:
    words = {} if rule == "relation" else {"from": "it", "to": "animal"}
    before, now = (
        case(
            expected(
                rule=rule,
                arguments=words | bounds,
                relation=relation,
                demanded=float(next((v for v in bounds.values() if not isinstance(v, str)), 0.0)),
            )
        )
        for bounds in (old, new)
    )
    change = only(before, now)
    assert change.kind == "kept"
    assert change.loosened == ((told,) if told else ())
    assert compare_results(run(before), run(now)).warnings == (
        (f"1 bound is looser than before: cases/x.attn.yaml: one on small: {told}",) if told else ()
    )


def test_the_bound_that_did_not_decide_tells_its_side_too() -> None:
    rank = made.bound(measure="rank", observed=1.0, relation="<=", demanded=2.0)
    arguments = {"from": "it", "to": "animal", "min": 0.3}
    old = expected(arguments=arguments | {"top": 2}, others=(rank,))
    new = expected(arguments=arguments | {"top": 4, "min": 0.1})
    assert only(case(old), case(new)).loosened == ("min 0.3 → 0.1", "top 2 → 4")


HOLD = case()
FAIL = case(expected(0.1, outcome="failed"), outcome="failed")
ERR = case(expected(None, "error"), outcome="error")
FAIL_TOO = replace(FAIL, id="two")
GAP = case(expected(0.1, outcome="failed"), outcome="xfailed")
SKIP = replace(case(), outcome="skipped", expectations=())


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (HOLD, HOLD, "kept"),
        (HOLD, FAIL, "broken"),
        (HOLD, ERR, "broken"),
        (HOLD, GAP, "broken"),
        (GAP, ERR, "broken"),
        (FAIL, HOLD, "fixed"),
        (ERR, HOLD, "fixed"),
        (GAP, HOLD, "fixed"),
        (FAIL, FAIL, "kept"),
        (FAIL, GAP, "kept"),
        (FAIL, ERR, "weaker"),
        (ERR, FAIL, "stronger"),
        (HOLD, SKIP, "gone"),
        (SKIP, HOLD, "new"),
        (SKIP, SKIP, "kept"),
    ],
)
def test_what_an_outcome_becomes(old: CaseResult, new: CaseResult, kind: str) -> None:
    assert only(old, new).kind == kind


def test_what_stands_in_one_run_alone_is_new_or_gone() -> None:
    found = compare_results(run(case(id="a"), case(id="b")), run(case(id="b"), case(id="c")))
    assert [(change.key[1], change.kind) for change in found.changes] == [
        ("a", "gone"),
        ("b", "kept"),
        ("c", "new"),
    ]
    assert found.changes[0].new is None
    assert found.changes[2].old is None
    assert found.counts() == {kind: int(kind in ("gone", "kept", "new")) for kind in KINDS}
    assert set(KINDS) == set(get_args(Kind))


@pytest.mark.parametrize(
    ("relation", "old", "new", "kind", "by"),
    [
        (">=", 0.6, 0.48, "weaker", -0.2),
        (">=", 0.6, 0.72, "stronger", 0.2),
        (">", 0.5, 0.4, "weaker", -0.2),
        ("<=", 0.5, 0.6, "weaker", -0.2),
        ("<", 0.5, 0.4, "stronger", 0.2),
        # Both tolerances must be exceeded: 5 % of what it was, and 0.01.
        (">=", 0.6, 0.571, "kept", -0.029 / 0.6),
        (">=", 0.6, 0.569, "weaker", -0.031 / 0.6),
        (">=", 0.02, 0.011, "kept", -0.45),
        ("<=", 0.001, 0.012, "weaker", -11.0),
        (">=", 4.0, 3.81, "kept", -0.0475),
        # Without a number to divide by there is a change, but no share.
        ("<=", 0.0, 0.02, "weaker", None),
        ("is", 0.6, 0.1, "kept", None),
    ],
)
def test_a_number_that_moves(
    relation: str, old: float, new: float, kind: str, by: float | None
) -> None:
    before, after = (case(expected(value, relation=relation)) for value in (old, new))
    change = only(before, after)
    assert change.kind == kind
    assert change.by == (by if by is None else pytest.approx(by))


def test_a_failing_case_can_get_weaker_too() -> None:
    assert only(FAIL, case(expected(0.02, outcome="failed"), outcome="failed")).kind == "weaker"


def test_the_largest_fall_is_told_of_several_expectations() -> None:
    arguments = {"from": "it", "to": "street", "max": 0.4}
    other = expected(0.2, rule="ignores", arguments=arguments, relation="<=", demanded=0.4)
    old = case(expected(0.5), other)
    change = only(old, case(expected(0.4), renumbered(other, observed=0.3)))
    assert (change.kind, change.by) == ("weaker", pytest.approx(-0.5))
    change = only(old, case(expected(0.6), renumbered(other, observed=0.3)))
    assert (change.kind, change.by) == ("weaker", pytest.approx(-0.5))
    change = only(old, case(expected(0.6), renumbered(other, observed=0.19)))
    assert (change.kind, change.by) == ("stronger", pytest.approx(0.2))


def test_a_new_bound_is_no_new_expectation_and_another_word_is() -> None:
    old = case(expected(0.6))
    raised = expected(0.4, arguments={"from": "it", "to": "animal", "min": 0.35}, demanded=0.35)
    assert only(old, case(raised)).kind == "weaker"
    other = expected(0.4, arguments={"from": "it", "to": "dog", "min": 0.3})
    change = only(old, case(other))
    assert (change.kind, change.by, change.moves) == ("gone", None, ())
    assert change.lost == old.expectations


def test_an_expectation_that_is_dropped_is_not_kept() -> None:
    other = expected(0.2, rule="ignores", arguments={"from": "it", "to": "street", "max": 0.4})
    whole = case(expected(), other)
    change = only(whole, case())
    assert (change.kind, change.lost) == ("gone", (other,))
    assert only(case(), whole).kind == "kept"
    # What failed and is no longer stated is not mended, and what fails now is broken all the same.
    failing = case(expected(), replace(other, outcome="failed"), outcome="failed")
    assert only(failing, case()).kind == "gone"
    assert only(whole, FAIL).kind == "broken"
    assert only(whole, FAIL).lost == (other,)
    # Where the model could not be had, nothing was stated: not measured is what is to be told.
    assert only(failing, replace(ERR, expectations=())).kind == "weaker"
    (told, *_) = [
        line for line in lines(compare_results(run(whole), run(case()))) if "gone" in line
    ][1:]
    assert "ignores: passed, weight 0.200 by L3H1 → passed, of these words no longer stated" in told
    assert compare_results(run(whole), run(case())).suites == ()


def test_only_the_bounds_that_a_rule_declares_may_change() -> None:
    def diagonal(offset: int, least: float) -> ExpectationResult:
        arguments = {"is": "diagonal", "offset": offset, "min": least}
        return expected(0.6, rule="pattern", measure="score", arguments=arguments)

    assert only(case(diagonal(-1, 0.3)), case(diagonal(-1, 0.4))).kind == "kept"
    assert only(case(diagonal(-1, 0.3)), case(diagonal(2, 0.3))).kind == "gone"
    unknown = expected(rule="theirs", arguments={"min": 0.1, "window": 2})
    assert only(case(unknown), case(replace(unknown, arguments={"min": 0, "window": 2}))).lost == ()
    assert only(case(unknown), case(replace(unknown, arguments={"min": 0.1, "window": 3}))).lost


def test_a_bound_of_a_relation_is_known_by_its_name() -> None:
    accuracy = expected(0.8, rule="relation", measure="accuracy", arguments={"accuracy": 0.5})
    above = renumbered(accuracy, observed=0.1, measure="above")
    above = replace(above, arguments={"above_best_offset": 0.05})
    assert only(case(accuracy, above), case(above, accuracy)).by == 0
    for name in ("above_offset_p", "above_preference_p"):
        small, large = (replace(accuracy, arguments={name: value}) for value in (0.01, 0.05))
        assert only(case(small), case(large)).loosened == (f"{name} 0.01 → 0.05",)
        assert only(case(large), case(small)).loosened == ()
    assert only(case(accuracy), case(replace(accuracy, arguments={"accuracy": 0.6}))).kind == "kept"
    assert only(case(accuracy, above), case(accuracy)).lost == (above,)
    lead = renumbered(above, measure="accuracy above distance +1")
    other = renumbered(lead, measure="accuracy above distance -1", observed=0.05)
    assert only(case(lead), case(other)).by == pytest.approx(-0.5)


# Numbers that say which number is judged, and are no bounds on it.
_SAYING = {"window", "offset", "draws", "seed"}


def test_every_number_that_a_rule_takes_is_a_bound_or_says_which() -> None:
    for name in RULES:
        rule = RULES[name]
        numbers = {
            field.alias or key
            for key, field in rule.model_fields.items()
            if re.search(r"\b(int|float)\b", str(field.annotation))
        }
        assert numbers - _SAYING == rule.bounds, name


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


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (run(case(), case(id="two", outcome="error")), "1 case could not be .*x.attn.yaml: two on"),
        (run(case(), models=()), "no model was judged"),
        (run(case(), collected=2), "did not finish"),
        (run(case(), case()), "twice"),
    ],
)
def test_a_baseline_that_measured_nothing_is_refused_p36(bad: Results, message: str) -> None:
    check_baseline(run(case(), FAIL_TOO))
    with pytest.raises(ResultsError, match=message):
        check_baseline(bad)


def test_the_same_rule_twice_is_paired_in_order() -> None:
    old = case(expected(0.6), expected(0.9))
    change = only(old, case(expected(0.6), expected(0.45)))
    assert [move.deciding.by for move in change.moves] == [0, pytest.approx(-0.5)]


def test_a_weight_and_a_margin_are_compared_by_the_room_left() -> None:
    margin = expected(0.05, measure="margin over street", relation=">", demanded=0.0)
    change = only(case(expected(0.6)), case(margin))
    (move,) = change.moves
    assert (change.kind, change.by) == ("weaker", None)
    assert move.deciding.gain == pytest.approx(0.05 - (0.6 - 0.3))


def test_a_rank_and_a_weight_are_compared_by_outcome_and_that_is_said() -> None:
    rank = expected(2, measure="rank", relation="<=", demanded=2)
    found = compare_results(run(case(expected(0.6))), run(case(rank)))
    assert (found.changes[0].kind, found.changes[0].by) == ("kept", None)
    assert any("another kind of number" in warning for warning in found.warnings)
    turned = case(replace(rank, outcome="failed"), outcome="failed")
    gap = replace(case(expected(0.6)), outcome="failed")
    assert only(gap, turned).kind == "weaker"


def test_relations_are_compared_as_cases_are() -> None:
    bound = expected(0.8, rule="accuracy", measure="accuracy", arguments={}, demanded=0.5)
    relation = RelationResult(**{**vars(case(bound, id="subject")), "relation": "nsubj"})
    fallen = replace(relation, expectations=(renumbered(bound, observed=0.6),))
    found = compare_results(
        run(relations=(relation,), collected=1), run(relations=(fallen,), collected=1)
    )
    assert [(change.key[1], change.kind) for change in found.changes] == [("subject", "weaker")]
    assert found.suites[0].n == 1


# Keys


def test_node_ids_do_not_matter() -> None:
    assert only(case(nodeid="a"), case(nodeid="b@worker")).kind == "kept"


def test_models_of_other_names_are_mapped() -> None:
    old = run(case(model="old"), models=(model("old"),))
    new = run(case(model="new"), models=(model("new", weights_sha256="c" * 64),))
    assert {change.kind for change in compare_results(old, new).changes} == {"new", "gone"}
    found = compare_results(old, new, models={"old": "new"})
    assert [(change.key[3], change.kind) for change in found.changes] == [("new", "kept")]
    assert found.warnings == ("old → new: weights sha256 aaaaaaaaaaaa… before, cccccccccccc… now",)
    with pytest.raises(ResultsError, match="the old run has no model 'odl'; it has: old"):
        compare_results(old, new, models={"odl": "new"})
    with pytest.raises(ResultsError, match="the new run has no model 'nwe'; it has: new"):
        compare_results(old, new, models={"old": "nwe"})


def test_models_pair_by_name_or_as_the_only_ones_left() -> None:
    def of(*names: str) -> Results:
        return run(models=tuple(map(model, names)))

    assert pair_models(of("a"), of("b")) == {"a": "b"}
    assert pair_models(of("a", "b"), of("b", "c")) == {"b": "b", "a": "c"}
    assert pair_models(of("a", "b"), of("c")) == {}
    assert pair_models(of("a", "b"), of("a")) == {"a": "a"}


def test_a_key_twice_is_refused() -> None:
    with pytest.raises(ResultsError, match=r"the new run has cases/x.attn.yaml: one\[a\] on small"):
        compare_results(run(), run(case(row="a"), case(row="a", nodeid="other")))


def test_an_unfinished_run_is_refused_p38() -> None:
    whole, cut = run(case()), run(case(), collected=3)
    with pytest.raises(ResultsError, match="the old run did not finish: 2 of 3 cases"):
        compare_results(cut, whole)
    with pytest.raises(ResultsError, match="the new run did not finish"):
        compare_results(whole, cut)
    with pytest.raises(ResultsError, match="did not finish"):
        compare_models(cut, "small", "small")


def test_two_models_of_one_run_on_what_both_ran() -> None:
    both = [case(model="a"), case(expected(0.4), model="b")]
    found = compare_models(run(*both, case(id="own", model="a")), "a", "b")
    assert [(change.key, change.kind) for change in found.changes] == [
        (("cases/x.attn.yaml", "one", None, "b"), "weaker")
    ]


def test_what_else_differs_is_said() -> None:
    old = run(case())
    new = run(
        case(),
        environment={"torch": "2.1", "git_commit": "def", "dtype": "bfloat16", "device": "cpu"},
        attnprobe="9",
    )
    assert compare_results(old, new).warnings == (
        f"attnprobe {old.attnprobe} before, 9 now",
        "device unknown before, cpu now",
        "dtype float32 before, bfloat16 now",
        "torch 2.0 before, 2.1 now",
    )
    assert compare_results(old, old).warnings == ()


def test_a_sentence_says_what_a_release_needs_to_know() -> None:
    def told(old: Sequence[CaseResult], new: Sequence[CaseResult]) -> str:
        return sentence(compare_results(run(*old), run(*new)))

    held = [case(id=name) for name in "abc"]
    fell = case(expected(0.4), id="b")
    failed = replace(FAIL, id="c")
    assert told(held, held) == "All 3 checks that held before still hold."
    assert told(held, [held[0], fell, failed]) == (
        "1 of 3 checks that held before no longer holds, 1 is weaker."
    )
    assert told([*held, case(id="d")], [replace(FAIL, id="b"), failed, held[0]]) == (
        "2 of 3 checks that held before no longer hold, 1 is gone."
    )
    assert told(held[:1], held[:1]) == "The one check that held before still holds."
    assert told([failed], [failed]) == "No check held before."
    assert told([failed], [replace(held[2], outcome="passed")]) == "No check held before."


def test_it_is_said_that_an_expectation_held_in_a_case_that_failed() -> None:
    other = expected(0.1, arguments={"from": "it", "to": "street"}, outcome="failed")
    before = case(expected(), other, outcome="failed")
    now = case(expected(0.6, demanded=0.7, outcome="failed"), other, outcome="failed")
    row = change_row(only(before, now))
    assert row.before == "failed, weight 0.600 by L3H1 (holds)"
    assert row.now == "failed, weight 0.600 by L3H1"


def test_another_network_is_said_first() -> None:
    other = model(architecture="GPT2LMHeadModel", layers=12, sites=("decoder",))
    (warning,) = compare_results(run(case()), run(case(), models=(other,))).warnings
    assert warning.startswith(
        "small: another network: BertModel with 6 layers of 12 heads (encoder) before, "
        "GPT2LMHeadModel with 12 layers of 12 heads (decoder) now; "
    )


def test_the_order_of_a_results_file_does_not_matter_p39() -> None:
    cases = [case(id=name, row=row) for name in "ab" for row in (None, "x", "y")]
    forth, back = run(*cases), run(*reversed(cases))
    assert compare_results(forth, back) == compare_results(back, forth)
    assert list(lines(compare_results(forth, back))) == list(lines(compare_results(back, forth)))


# Paired statistics


def suite_of(both: int, fixed: int, broken: int, neither: int) -> Comparison:
    pairs = [(HOLD, HOLD)] * both + [(FAIL, HOLD)] * fixed
    pairs += [(HOLD, FAIL)] * broken + [(FAIL, FAIL)] * neither
    old, new = (
        run(*(replace(pair[side], id=str(n)) for n, pair in enumerate(pairs))) for side in (0, 1)
    )
    return compare_results(old, new)


def test_a_suite_is_tested_in_pairs() -> None:
    (suite,) = suite_of(20, 1, 6, 3).suites
    assert (suite.suite, suite.model, suite.n) == ("pronouns", "small", 30)
    assert (suite.old_passed, suite.new_passed) == (26, 21)
    # Two-sided binomial: as uneven as 1 of 7, or more so.
    assert suite.p == pytest.approx(2 * binom.cdf(1, 7, 0.5))
    assert suite.change == pytest.approx(-5 / 30)
    assert suite.low < suite.change < suite.high


def test_skipped_cases_are_no_pairs_and_errors_do_not_hold() -> None:
    pairs = [(HOLD, ERR), (HOLD, SKIP), (SKIP, HOLD), (SKIP, SKIP), (GAP, GAP)]
    old, new = (
        run(*(replace(pair[side], id=str(n)) for n, pair in enumerate(pairs))) for side in (0, 1)
    )
    (suite,) = compare_results(old, new).suites
    assert (suite.n, suite.old_passed, suite.new_passed) == (2, 1, 0)


def newcombe(both: int, first: int, second: int, neither: int) -> tuple[float, float]:
    """Method 10 of Newcombe 1998, written out from the paper's formulas."""
    n = both + first + second + neither
    z = float(norm.ppf(0.975))

    def wilson(hits: int) -> tuple[float, float]:
        middle = 2 * hits + z**2
        spread = z * math.sqrt(z**2 + 4 * hits * (1 - hits / n))
        return (middle - spread) / (2 * (n + z**2)), (middle + spread) / (2 * (n + z**2))

    p1, p2 = (both + first) / n, (both + second) / n
    (l1, u1), (l2, u2) = wilson(both + first), wilson(both + second)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    product = both * neither - first * second
    corrected = product - n / 2 if product > n / 2 else min(product, 0)
    phi = corrected / math.sqrt(margins) if margins else 0.0
    low = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    high = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return p1 - p2 - math.sqrt(low), p1 - p2 + math.sqrt(high)


counts = st.integers(0, 40)


@given(counts, counts, counts, counts)
def test_the_interval_is_newcombes(both: int, first: int, second: int, neither: int) -> None:
    if both + first + second + neither == 0:
        with pytest.raises(ValueError, match=r".*"):
            paired_difference(0, 0, 0, 0)
        return
    found = paired_difference(both, first, second, neither)
    assert found == pytest.approx(newcombe(both, first, second, neither), abs=1e-9)
    assert (
        -1 <= found.low <= (first - second) / (both + first + second + neither) <= found.high <= 1
    )


def test_the_paired_test_keeps_its_level_and_the_interval_covers() -> None:
    """Seeded simulation under the null, and of a true change."""
    draws, n = 2000, 40
    random = np.random.default_rng(5)
    null = random.multinomial(n, [0.6, 0.1, 0.1, 0.2], draws)
    rejected = sum(paired_p(int(first), int(second)) <= 0.05 for _, first, second, _ in null)
    # An exact test is conservative: its rate is at most 5 %, within what chance allows.
    assert 0 < rejected <= binom.ppf(0.999, draws, 0.05)
    for shares in ([0.6, 0.1, 0.1, 0.2], [0.5, 0.05, 0.25, 0.2]):
        truth = shares[1] - shares[2]
        covered = 0
        for table in random.multinomial(n, shares, 400):
            low, high = paired_difference(*map(int, table))
            covered += low <= truth <= high
        assert covered >= binom.ppf(0.001, 400, 0.95)


def test_the_comparison_in_the_documents_is_what_is_printed() -> None:
    weights = {"it-animal": (0.677, 0.12), "it-cake": (0.66, 0.48), "it-far": (0.784, 0.784)}
    old, new = (
        run(
            *(
                replace(
                    FAIL if pair[side] < 0.3 else HOLD,
                    id=name,
                    suite="coreference",
                    file="cases/coreference.attn.yaml",
                    model=which,
                    expectations=(
                        expected(pair[side], outcome="failed" if pair[side] < 0.3 else "passed"),
                    ),
                )
                for name, pair in weights.items()
            ),
            models=(model(which),),
        )
        for side, which in enumerate(("minilm", "distilled"))
    )
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    found = compare_results(old, new, models={"minilm": "distilled"})
    assert "```text\n" + "\n".join(lines(found)) + "\n```" in page


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
        ("weight:-20%", case(), None, "no weight to compare: neither run has cases"),
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
    monkeypatch.setattr(RULES, "_entries", {kind: RULES[kind] for kind in RULES})
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
        write_json(path, run(case(reports.expectation(judged))).to_json())
        found.append(read_results(path))
    exceeds = exceeded(parse_limit("weight:-20%"), compare_results(*found))
    assert exceeds is not None
    assert "0.900 → 0.350 −61%" in exceeds
