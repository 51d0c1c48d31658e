"""A comparison in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from attnprobe.compare.changes import compare_results
from attnprobe.compare.describe import change_row, lines, sentence
from attnprobe.results.records import CaseResult
from tests.support.compared_results import FAIL, HOLD, case, expected, model, only, run

# Keys


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


# Paired statistics


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
