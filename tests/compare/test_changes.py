"""Two runs side by side: kinds of change, and which cases belong together."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

import pytest

from attnprobe.compare.changes import (
    KINDS,
    Kind,
    check_baseline,
    compare_models,
    compare_results,
    pair_models,
)
from attnprobe.compare.describe import lines
from attnprobe.core.errors import ResultsError
from attnprobe.results.records import CaseResult, ExpectationResult, RelationResult, Results
from attnprobe.rules import RULES
from tests.support import made_up_results as made
from tests.support.compared_results import (
    ERR,
    FAIL,
    GAP,
    HOLD,
    SKIP,
    case,
    expected,
    model,
    only,
    run,
)
from tests.support.made_up_results import renumbered

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


def test_a_number_on_another_answer_is_neither_weaker_nor_stronger() -> None:
    old, new = (case(text_sha256="a" * 64, generated=(text,)) for text in ("Paris.", "In Paris."))
    new = replace(new, expectations=(expected(0.3),))
    change = only(old, new)
    assert (change.kind, change.by, change.is_retexted) == ("kept", None, True)
    assert compare_results(run(old), run(new)).warnings == (
        "the answer to 1 case is another than before: cases/x.attn.yaml: one on small",
    )
    assert only(old, replace(new, generated=("Paris.",))).kind == "weaker"
    # Runs of before tell no answer, and a case in error has none.
    assert only(replace(old, generated=()), new).kind == "weaker"
    fails = replace(new, outcome="failed", expectations=(expected(0.1, outcome="failed"),))
    assert only(old, fails).kind == "broken"


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


FAIL_TOO = replace(FAIL, id="two")


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


def test_the_order_of_a_results_file_does_not_matter_p39() -> None:
    cases = [case(id=name, row=row) for name in "ab" for row in (None, "x", "y")]
    forth, back = run(*cases), run(*reversed(cases))
    assert compare_results(forth, back) == compare_results(back, forth)
    assert list(lines(compare_results(forth, back))) == list(lines(compare_results(back, forth)))
