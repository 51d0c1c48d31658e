"""Habits of position: suites that the places of their words alone give away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from attnprobe import cases as case_files
from attnprobe.cases import Case, parse, yamltext
from attnprobe.results.records import read_results
from attnprobe.run.order import Habit, best_offset, habits, stated_pairs
from attnprobe.words.looks import OFFSETS
from tests.support.habits import judged
from tests.support.inner_runs import LOADS_TINY

Write = Callable[..., Path]
Run = Callable[..., pytest.RunResult]
CASES = Path(__file__).parents[2] / "cases"


def parsed(*cases: tuple[str, str], extra: str = "", model: str = "") -> list[Case]:
    text = f"version: 1\nsuite: s\n{model}defaults: {{heads: L0H0}}\ncases:\n"
    for number, (sentence, rule) in enumerate(cases):
        text += f"  - id: c{number}\n    text: {sentence}\n    expect: [{rule}]\n{extra}"
    return list(parse(yamltext.loads(text.encode(), "a.attn.yaml")))


def told(*cases: tuple[str, str], extra: str = "") -> tuple[Habit, ...]:
    return judged(parsed(*cases, extra=extra))


def attends(from_: str, to: str, over: str = "") -> str:
    contrast = f", over: {over}" if over else ""
    return f"attends: {{from: {from_}, to: {to}{contrast}, min: 0.1}}"


FIRST = [
    ("The keys near the cabinet are old", attends("are", "keys", "cabinet")),
    ("The dogs behind that very old fence bark", attends("bark", "dogs", "fence")),
    ("Songs of birds are loud", attends("are", "Songs", "birds")),
    ("The letters from a lawyer arrived", attends("arrived", "letters", "lawyer")),
]


def test_to_always_on_one_side_of_over_is_told_with_the_best_offset() -> None:
    (habit,) = told(*FIRST)
    assert habit.habit == '"to" stands before "over"'
    assert (habit.found, habit.pairs, habit.passed, habit.p) == (4, 4, 4, None)
    # 4, 6, 3 and 4 words back; -5 is as far as is tried.
    assert (habit.offset, habit.right) == (-4, 2)
    assert str(habit) == (
        "a.attn.yaml: position alone does as well as the heads in suite s: "
        '"to" stands before "over" in 4 of 4 pairs, and the heads pass in 4; add cases in another '
        "order"
    )


def forty(*, ahead: int, behind: int) -> list[tuple[str, str]]:
    """Pairs whose `to` stands before, or behind, `over`, at many distances."""
    fill = [" ".join(["so"] * count) for count in range(8)]
    found = []
    for number in range(ahead):
        words = f"dog{number} {fill[number % 8]} cat{number} {fill[number // 8]} barks"
        found.append((words, attends("barks", f"dog{number}", f"cat{number}")))
    for number in range(behind):
        words = f"cow{number} {fill[number % 8]} hen{number} {fill[number // 8]} barks"
        found.append((words, attends("barks", f"hen{number}", f"cow{number}")))
    return found


@pytest.mark.parametrize(("ahead", "behind"), [(40, 1), (40, 4), (40, 5), (9, 1), (8, 3), (2, 2)])
def test_a_few_cases_in_the_other_order_are_not_enough(ahead: int, behind: int) -> None:
    found = [one for one in told(*forty(ahead=ahead, behind=behind)) if "before" in one.habit]
    count = ahead + behind
    # The heads are right in all pairs, the habit in `ahead`: the others are discordant.
    p = float(binomtest(behind, behind, alternative="greater").pvalue)
    assert bool(found) == (count >= 10 and p > 0.05)
    if found:
        assert (found[0].found, found[0].pairs, found[0].passed) == (ahead, count, count)
        assert found[0].p == pytest.approx(p)
        assert f"in {ahead} of {count} pairs, and the heads pass in {count}, p " in str(found[0])


@pytest.mark.parametrize("failed", [0, 3, 8, 12])
def test_pairs_that_the_heads_miss_count_against_them(failed: int) -> None:
    """Half of the pairs are in the other order; the heads miss some that a habit finds."""
    cases = parsed(*forty(ahead=12, behind=9))
    found = [one for one in judged(cases, range(failed)) if "before" in one.habit]
    # Right in the heads alone: the nine behind. Right in the habit alone: what the heads miss.
    p = float(binomtest(9, 9 + failed, alternative="greater").pvalue)
    passed = 21 - failed
    assert bool(found) == (passed <= 12 or p > 0.05)
    if found:
        assert found[0].p == pytest.approx(p)
        assert (found[0].found, found[0].passed) == (12, passed)


def test_a_rank_without_contrast_counts_and_an_upper_bound_does_not() -> None:
    sentences = [f"{start} keys are old" for start in ("The", "Both", "His", "Her")]
    (habit,) = told(*((one, "attends: {from: are, to: keys, top: 1}") for one in sentences))
    assert (habit.habit, habit.found) == ('"to" stands 1 word back from "from"', 4)
    assert told(*((one, "attends: {from: are, to: keys, max: 0.9}") for one in sentences)) == ()


def test_a_contrast_that_is_a_special_token_leaves_the_pair() -> None:
    rule = "attends: {from: are, to: keys, over: {special: sep}}"
    sentences = [f"{start} keys are old" for start in ("The", "Both", "His", "Her")]
    (habit,) = told(*((one, rule) for one in sentences))
    assert (habit.habit, habit.found) == ('"to" stands 1 word back from "from"', 4)
    assert told(*((one, rule.replace("keys", "{special: cls}")) for one in sentences)) == ()


def test_one_sided_orders_at_many_distances_are_balanced_by_the_other_order() -> None:
    other = ("Near the cabinet the keys are old", attends("are", "keys", "cabinet"))
    assert told(*FIRST, other) == ()  # too few to be tested, and the heads do better


def test_a_suite_of_which_a_part_did_not_run_is_not_judged() -> None:
    cases = parsed(*FIRST, ("The old keys near a door are red", attends("are", "keys", "door")))
    outcomes = {(case.mark.file, case.id, case.row, "m"): ["passed"] for case in cases}
    assert habits(stated_pairs(cases), outcomes, ["m"])
    key = next(iter(outcomes))
    # What was not measured has no outcome, and the others are judged.
    for unmeasured in (["error"], []):
        (habit,) = habits(stated_pairs(cases), {**outcomes, key: unmeasured}, ["m"])
        assert habit.pairs == 4
    del outcomes[key]
    assert habits(stated_pairs(cases), outcomes, ["m"]) == ()


def test_always_the_same_distance_is_told() -> None:
    found = told(
        *(
            (f"{start} keys are old", attends("are", "keys"))
            for start in ("The", "Both", "His", "Some very")
        )
    )
    assert [habit.habit for habit in found] == ['"to" stands 1 word back from "from"']
    assert (found[0].offset, found[0].right, found[0].pairs) == (-1, 4, 4)


def test_few_pairs_always_lie_somehow() -> None:
    assert told(*FIRST[:3]) == ()


def test_a_pair_counts_once_however_many_cases_state_it() -> None:
    # Three pairs in six cases: too few to tell.
    assert told(*FIRST[:3], *FIRST[:3]) == ()
    ahead = ("Old keys near the cabinet", attends("keys", "Old", "cabinet"))
    (habit,) = told(*FIRST, *FIRST[:2], ahead)
    assert (habit.pairs, habit.found, habit.offset, habit.right) == (5, 5, -4, 2)
    assert habit.habit == '"to" stands before "over"'
    # The same places in another text are another pair: two sentences say "old".
    again = [(sentence.replace("old", "red"), rule) for sentence, rule in FIRST]
    assert told(*FIRST, *again)[0].pairs == 6


def test_known_gaps_and_rules_that_want_nothing_do_not_count() -> None:
    assert told(*FIRST, extra="    xfail: known\n") == ()
    assert (
        told(
            *(
                (text, rule.replace("attends", "ignores").replace(", min: 0.1", ""))
                for text, rule in FIRST
            )
        )
        == ()
    )
    assert told(*((text, "entropy: {from: The, max: 2}") for text, _ in FIRST[:1] * 4)) == ()


def bound(model: str, *rules: tuple[str, str]) -> list[Case]:
    """Cases that name their model, in a file of their own."""
    text = f"version: 1\nsuite: s\nmodel: {model}\ndefaults: {{heads: L0H0}}\ncases:\n"
    for number, (sentence, rule) in enumerate(rules):
        text += f"  - id: {model}{number}\n    text: {sentence}\n    expect: [{rule}]\n"
    return list(parse(yamltext.loads(text.encode(), f"{model}.attn.yaml")))


def test_a_suite_is_judged_whole_on_each_model_that_its_cases_run_on() -> None:
    free = parsed(*FIRST[:3])
    named = bound("m", *FIRST[3:])
    assert judged(free) == judged(named) == ()
    # All four run on m, three on the other.
    (habit,) = judged([*free, *named], models=["m", "other"])
    assert (habit.model, habit.pairs) == ("m", 4)
    assert habit.file == "a.attn.yaml, m.attn.yaml"
    ahead = ("Near the cabinet the keys are old", attends("are", "keys", "cabinet"))
    more = parsed(*FIRST)
    (habit,) = judged([*more, *bound("m", ahead)], models=["m", "other"])
    assert (habit.model, habit.pairs) == ("other", 4)


def test_a_row_that_predicts_stands_before_its_word() -> None:
    found = told(
        *(
            (f"The {noun} are old", f"attends: {{from: {{predicts: are}}, to: The, min: {bound}}}")
            for noun, bound in (("keys", 0.1), ("dogs", 0.2), ("cats", 0.3), ("cows", 0.4))
        )
    )
    assert [habit.offset for habit in found] == [-1]


@given(st.lists(st.integers(-8, 8), min_size=1))
def test_the_best_offset_is_the_most_common_near_one(steps: list[int]) -> None:
    offset, right = best_offset(steps)
    counted = Counter(step for step in steps if step in OFFSETS)
    assert right == max(counted.values(), default=0)
    assert right == counted[offset]
    assert OFFSETS == (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)


def test_the_shipped_suites_have_both_orders() -> None:
    """As long as their cases pass, which the shipped suites' own run shows."""
    files = sorted(CASES.glob("*.attn.yaml"))
    cases = [case for file in files for case in case_files.load(file, file.name)]
    assert [str(habit) for habit in judged(cases)] == []


ONE_SIDED = """
- id: rows
  template: "The {to} near the {over} barks."
  rows:
    - {to: dog, over: cat}
    - {to: seal, over: cow}
    - {to: fox, over: big hen}
    - {to: wolf, over: owl}
  expect:
    - attends: {from: barks, to: "{to}", over: "{over}", min: 0.001}
"""


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_suite_in_two_files_is_one(
    probe: Run, write_cases: Write, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    two, _, _ = ONE_SIDED.partition("    - {to: fox")
    write_cases(f"{two}{ONE_SIDED[ONE_SIDED.index('  expect') :]}")
    write_cases(
        ONE_SIDED.replace(two.partition("rows:")[2].rstrip("\n"), ""),
        name="y.attn.yaml",
        head="model: tiny\n",
    )
    pytester.makeconftest(LOADS_TINY)
    probe("--attn-json=r.json", *workers).stdout.fnmatch_lines(
        [
            "attnprobe: x.attn.yaml, y.attn.yaml: position alone does as well as the heads in "
            "suite pronouns: * in * of 4 pairs, and the heads pass in *"
        ]
    )
    (habit,) = read_results(Path("r.json")).order
    assert (habit.file, habit.suite, habit.model, habit.pairs) == (
        "x.attn.yaml, y.attn.yaml",
        "pronouns",
        "tiny",
        4,
    )
    probe("x.attn.yaml").stdout.no_fnmatch_line("*position alone*")


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_the_run_says_so_and_so_do_the_results(
    probe: Run, write_cases: Write, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    write_cases(ONE_SIDED)
    Path("conftest.py").write_text(LOADS_TINY)
    path = tmp_path / "r.json"
    result = probe(f"--attn-json={path}", *workers)
    line = "attnprobe: x.attn.yaml: position alone does as well as the heads in suite pronouns: *"
    result.stdout.fnmatch_lines([line])
    (habit,) = read_results(path).order
    assert (habit.suite, habit.model, habit.pairs, habit.right) == ("pronouns", "tiny", 4, 3)
    outcomes = [case.outcome for case in read_results(path).cases]
    assert habit.passed == outcomes.count("passed")
    assert habit.found is not None
    assert habit.found >= habit.passed
    # A part of a suite says nothing of the whole.
    result = probe(f"--attn-json={path}", "-k", "dog or seal", *workers)
    result.stdout.no_fnmatch_line("*position alone*")
    assert read_results(path).order == ()
