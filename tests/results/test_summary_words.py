"""The job summary and the annotations, word for word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from attnprobe.core.verdicts import AblationControl, Chance
from attnprobe.results.records import CaseResult, Results
from attnprobe.results.summary import in_words, markdown, suite_counts, workflow_commands
from tests.support.made_up_results import MODEL, bound, case, expectation, run

LUCKY = Chance(passed=30, pairs=100, distinct=100)


def several(count: int, outcome: Any = "passed", **changes: Any) -> list[CaseResult]:
    return [case(f"{outcome}{number}", outcome, **changes) for number in range(count)]


def stated(outcome: Any, **changes: Any) -> CaseResult:
    return case("x", expectations=(expectation(outcome, **changes),))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (run(), "No attention check ran"),
        (run(collected=2), "No attention check was judged, 2 left no result"),
        (run(*several(1)), "1 attention check holds"),
        (run(*several(2)), "All 2 attention checks hold"),
        (run(*several(1, "failed")), "1 of 1 attention check does not hold"),
        (run(*several(2, "failed")), "2 of 2 attention checks do not hold"),
        (
            run(*several(2), *several(1, "xpassed")),
            "1 of 3 attention checks does not hold, of these 1 is a known gap that holds now",
        ),
        (
            run(*several(2, "xpassed")),
            "2 of 2 attention checks do not hold, of these 2 are known gaps that hold now",
        ),
        (run(*several(1, "error")), "No attention check was judged, 1 could not be measured"),
        (
            run(*several(1), *several(2, "error"), collected=4),
            "1 attention check holds, 2 could not be measured, 1 left no result",
        ),
        (run(*several(1), *several(1, "xfailed")), "1 attention check holds, 1 is a known gap"),
        (run(*several(1), *several(2, "xfailed")), "1 attention check holds, 2 are known gaps"),
        (run(*several(1), *several(1, "skipped")), "1 attention check holds, 1 was skipped"),
        (run(*several(1), *several(2, "skipped")), "1 attention check holds, 2 were skipped"),
        (run(*several(1), deselected=1), "1 attention check holds, 1 was deselected"),
        (run(*several(1), deselected=2), "1 attention check holds, 2 were deselected"),
        (run(*several(1), deselected=None), "1 attention check holds"),
        (run(stated("vacuous")), "1 attention check holds, 1 holds by chance as well"),
        (
            run(*[stated("vacuous")] * 2),
            "All 2 attention checks hold, 2 hold by chance as well",
        ),
        (
            run(stated("vacuous", unbreakable=True)),
            "1 attention check holds, 1 holds whatever the model does",
        ),
        (
            run(*[stated("vacuous", unbreakable=True)] * 2, stated("vacuous")),
            "All 3 attention checks hold, 1 holds by chance as well, 2 hold whatever the model "
            "does",
        ),
        (run(stated("borderline")), "1 attention check holds, 1 is too near to call"),
        (
            run(stated("borderline"), stated("vacuous", borderline=True)),
            "All 2 attention checks hold, 1 holds by chance as well, 2 are too near to call",
        ),
    ],
)
def test_a_run_in_a_sentence(found: Results, words: str) -> None:
    assert in_words(found) == words


OTHERS = (bound("failed", measure="rank", observed=3.0, relation="<=", demanded=1.0),)
DRAWS = AblationControl(2.5, 1.0, 1.5, (0.5, 1.5))
ITEMS = (
    case("fine", expectations=(expectation(chance=LUCKY),), suite="b"),
    case("few", expectations=(expectation(chance=Chance(1, 7, 7)),), suite="b"),
    case("near", expectations=(expectation("borderline"),), suite="b"),
    case("both", expectations=(expectation("vacuous", borderline=True),), suite="b"),
    case("cut", expectations=(expectation(ablation=DRAWS),), suite="b", row="dog"),
    case("one", expectations=(expectation(ablation=replace(DRAWS, draws=(0.5,))),), suite="b"),
    case("gap", "xfailed"),
    case("empty", "error", expectations=()),
    case("lost", "error", expectations=(expectation("error", message="no\n word", observed=None),)),
    case("hint", "failed", severity="advisory"),
    case("bad", "failed", expectations=(expectation("failed", others=OTHERS), expectation())),
    case("closed", "xpassed", expectations=(expectation(others=OTHERS, head=None),)),
    case("late", "skipped"),
)
FAR = replace(MODEL, name="far", ref="a/b", revision="c" * 40, weights_sha256=None)
AWAY = replace(MODEL, name="away", ignored_code=("m.py",))
FOUND = run(*ITEMS, models=(MODEL, FAR, AWAY))
ACCEPTED = {ITEMS[9].key: "waived", ITEMS[10].key: "L3H1 moved to L3H5, and it holds there"}
WRITTEN = Path(__file__).with_name("summary.txt")


def plain(text: str) -> str:
    """Markdown without the marks of code, and with the characters that it escapes."""
    for sign in ("<code>", "</code>"):
        text = text.replace(sign, "")
    for code in range(33, 127):
        text = text.replace(f"&#{code};", chr(code))
    return text


SUMMARIES: dict[str, Callable[[], str]] = {
    "all": lambda: plain(markdown(FOUND, sentence="Release blocked: 3.")),
    "without a sentence": lambda: plain(markdown(run(*several(1)), sentence=" ")),
    "nothing": lambda: plain(markdown(run(models=()))),
    **{
        f"in {room} bytes": partial(lambda room: plain(markdown(FOUND, room=room)), room)
        for room in (1000, 1225, 1226, 1379, 1380, 1470, 1471, 3440, 3441)
    },
    "annotations": lambda: "\n".join(workflow_commands(FOUND, folder="sub")),
    "annotations of a release": lambda: "\n".join(workflow_commands(FOUND, accepted=ACCEPTED)),
}


def written() -> dict[str, str]:
    """The text below each heading of the file."""
    parts = WRITTEN.read_text("utf-8").split("\n=== ")[1:]
    return dict(part.removesuffix("\n").split("\n", 1) for part in parts)


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_summary_is_as_it_is_written(name: str) -> None:
    assert SUMMARIES[name]() == written()[name]


def test_no_other_summary_is_written() -> None:
    assert list(written()) == list(SUMMARIES)


def test_suites_are_counted_with_their_heads() -> None:
    entries = (expectation(head="L1H1"), expectation(head="L0H0"), expectation(head=None))
    items = [case("a", expectations=entries), case("b", expectations=entries[:1])]
    items += [case("c", "error"), case("d", "skipped"), case("e", "xfailed")]
    items += [case("f", model="big"), case("g", suite="a")]
    found = suite_counts(items)
    assert [
        (count.suite, count.model, count.held, count.judged, count.gaps) for count in found
    ] == [
        ("coreference", "minilm", 2, 3, 1),
        ("a", "minilm", 1, 1, 0),
        ("coreference", "big", 1, 1, 0),
    ]
    assert found[0].heads == ("L1H1", "L0H0", "L3H1")
