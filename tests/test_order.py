"""Habits of position: suites that the places of their words alone give away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import LOADS_TINY
from hypothesis import given
from hypothesis import strategies as st

from attnprobe import cases as case_files
from attnprobe import yamltext
from attnprobe.cases import Case, parse
from attnprobe.looks import OFFSETS
from attnprobe.order import Habit, best_offset, habits
from attnprobe.results import read_results

Write = Callable[..., Path]
Run = Callable[..., pytest.RunResult]
CASES = Path(__file__).parent.parent / "cases"


def told(*cases: tuple[str, str], extra: str = "") -> tuple[Habit, ...]:
    text = "version: 1\nsuite: s\ndefaults: {heads: L0H0}\ncases:\n"
    for number, (sentence, rule) in enumerate(cases):
        text += f"  - id: c{number}\n    text: {sentence}\n    expect: [{rule}]\n{extra}"
    return habits(parse(yamltext.loads(text.encode(), "a.attn.yaml")))


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
    assert habit.habit == 'in all 4 pairs with a contrast, "to" stands before "over"'
    # 4, 6, 3 and 4 words back; -5 is as far as is tried.
    assert (habit.offset, habit.right, habit.pairs) == (-4, 2, 4)
    assert str(habit) == (
        "a.attn.yaml: a habit of position would pass suite s: in all 4 pairs with a contrast, "
        '"to" stands before "over" (the best fixed offset of up to 5 words, 4 words back, finds 2 '
        "of 4); add cases in another order"
    )


def test_one_case_in_the_other_order_is_enough() -> None:
    other = ("Near the cabinet the keys are old", attends("are", "keys", "cabinet"))
    assert told(*FIRST, other) == ()


def test_always_the_same_distance_is_told() -> None:
    found = told(
        *(
            (f"{start} keys are old", attends("are", "keys"))
            for start in ("The", "Both", "His", "Some very")
        )
    )
    assert [habit.habit for habit in found] == [
        'in all 4 pairs, "to" stands 1 word back from "from"'
    ]
    assert (found[0].offset, found[0].right) == (-1, 4)


def test_few_pairs_always_lie_somehow() -> None:
    assert told(*FIRST[:3]) == ()


def test_a_pair_counts_once_however_many_cases_state_it() -> None:
    # Three pairs in six cases: too few to tell.
    assert told(*FIRST[:3], *FIRST[:3]) == ()
    ahead = ("Old keys near the cabinet", attends("keys", "Old", "cabinet"))
    (habit,) = told(*FIRST, *FIRST[:2], ahead)
    assert (habit.pairs, habit.offset, habit.right) == (5, -4, 2)
    assert habit.habit.startswith("in all 5 pairs with a contrast")
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
        text += f"  - id: c{number}\n    text: {sentence}\n    expect: [{rule}]\n"
    return list(parse(yamltext.loads(text.encode(), "b.attn.yaml")))


def test_a_suite_is_judged_whole_on_each_model_that_its_cases_run_on() -> None:
    free = [replace(case, model=None) for case in bound("m", *FIRST[:3])]
    named = bound("m", *FIRST[3:])
    assert habits(free) == habits(named) == ()
    # All four run on m.
    (habit,) = habits([*free, *named], ["m"])
    assert (habit.model, habit.pairs) == ("m", 4)
    assert habits([*free, *named], ["other"]) == habits([*free, *named]) == ()
    (habit,) = habits([*free, *named], ["other", "m"])
    assert habit.model == "m"
    # On the other model there are three of five pairs, and those have both orders.
    ahead = ("Near the cabinet the keys are old", attends("are", "keys", "cabinet"))
    more = [replace(case, model=None) for case in bound("m", *FIRST)]
    assert habits([*more, *bound("m", ahead)], ["m"]) == ()
    (habit,) = habits([*more, *bound("m", ahead)], ["m", "other"])
    assert (habit.model, habit.pairs) == (None, 4)


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
    files = sorted(CASES.glob("*.attn.yaml"))
    assert [
        str(habit) for file in files for habit in habits(case_files.load(file, file.name))
    ] == []


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
            "attnprobe: x.attn.yaml, y.attn.yaml: a habit of position would pass suite pronouns: "
            "in all 4 pairs *"
        ]
    )
    (habit,) = read_results(Path("r.json")).order
    assert (habit.file, habit.suite, habit.model, habit.pairs) == (
        "x.attn.yaml, y.attn.yaml",
        "pronouns",
        "tiny",
        4,
    )
    probe("x.attn.yaml").stdout.no_fnmatch_line("*habit of position*")


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_the_run_says_so_and_so_do_the_results(
    probe: Run, write_cases: Write, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    write_cases(ONE_SIDED)
    Path("conftest.py").write_text(
        "def pytest_attn_load_model(name):\n"
        "    from attnprobe.models import Model\n"
        "    from attnprobe.models.tiny import tiny_network, tiny_tokenizer\n"
        "    return Model.of(tiny_network('bert'), tiny_tokenizer(), name=name)\n"
    )
    path = tmp_path / "r.json"
    # What is selected does not change what the file is.
    result = probe(f"--attn-json={path}", "-k", "dog or seal", *workers)
    result.stdout.fnmatch_lines(
        ["attnprobe: x.attn.yaml: a habit of position would pass suite pronouns: in all 4 pairs *"]
    )
    (habit,) = read_results(path).order
    assert (habit.suite, habit.model, habit.pairs, habit.right) == ("pronouns", None, 4, 3)
