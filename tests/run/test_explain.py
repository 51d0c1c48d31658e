from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.cases import Case, parse, yamltext
from attnprobe.core.errors import CaseError, CaseErrors, MeasureError
from attnprobe.core.printing import display_width, harmless
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.verdicts import Attended, Bound, Chance, Verdict
from attnprobe.run.explain import explain, headline
from attnprobe.run.runner import Finding, Runner
from attnprobe.words.heads import HeadSet
from tests.support.made_up import FakeReader, encoding

SENTENCE = "The animal didn't cross the street because it was too tired."


def case(entry: str, text: str = SENTENCE) -> Case:
    written = (
        "version: 1\nsuite: s\ndefaults: {heads: L3H1}\ncases:\n"
        f"  - id: a\n    text: {json.dumps(text)}\n    expect:\n      - {entry}\n"
    )
    (found,) = parse(yamltext.loads(written.encode(), "cases/a.attn.yaml"))
    return found


VERDICT = Verdict(
    outcome="failed",
    bounds=(Bound("weight", "weight", 0.125, ">=", 0.3, "failed"),),
    head="L3H1",
    heads_tried=1,
    sink=0.25,
    top=(
        Attended("street", 0.5),
        Attended("[SEP]", 0.25),
        Attended("animal", 0.125),
        Attended("the", 0.0625),
        Attended("it", 0.03125),
    ),
)


def changed(**changes: Any) -> Verdict:
    """The verdict with other fields, or another deciding bound."""
    numbers = {name: changes.pop(name) for name in vars(VERDICT.deciding) if name in changes}
    outcome = numbers.get("outcome", VERDICT.outcome)
    number = "passed" if outcome == "vacuous" else outcome
    bound = replace(VERDICT.deciding, **{**numbers, "outcome": number})
    return replace(VERDICT, outcome=outcome, bounds=(bound,), **changes)


def told(found: Case, judged: Verdict | MeasureError) -> str:
    (expectation,) = found.expectations
    if isinstance(judged, Verdict):
        return explain(found, Finding(expectation, None, judged, None))
    return explain(found, Finding(expectation, None, None, judged))


def test_heads_that_other_weights_were_scanned_for_are_told() -> None:
    found = case("attends: {from: it, to: animal, over: street, min: 0.3}")
    (expectation,) = found.expectations
    scanned = HeadSet("subject", (Head(3, 1),), "minilm", None, "53aa51172d142c89" * 4)
    for outcome, told_so in (("failed", True), ("borderline", True), ("passed", False)):
        verdict = replace(VERDICT, outcome=outcome)
        finding = Finding(expectation, None, verdict, None, chosen_elsewhere=(scanned,))
        lines = explain(found, finding).splitlines()
        said = (
            "  heads @subject were chosen on minilm, weights 53aa51172d14; this model has other "
            "weights: scan it again, or see attnprobe compare for where the heads moved"
        )
        assert (said in lines) == told_so
    hostile = replace(scanned, model="\x1b[31m\n::error::x")
    finding = Finding(expectation, None, VERDICT, None, chosen_elsewhere=(hostile,))
    assert "\x1b" not in explain(found, finding)
    assert not re.search(r"^\s*::", explain(found, finding), re.MULTILINE)


def test_a_failure_in_full() -> None:
    found = case("attends: {from: it, to: animal, over: street, min: 0.3}")
    assert (
        told(found, VERDICT)
        == """\
cases/a.attn.yaml:8: failed: attends it → animal over street, L3H1
  │ The animal didn't cross the street because it was too tired.
  │     ^^^^^^                  ^^^^^^         ^^
  │     to                      over           from
  weight 0.125, demanded >= 0.300
  by L3H1; 25% of its row is on special or first tokens
  it attends most to:
    0.50  street  ████████████████████████ ← over
    0.25  [SEP]   ████████████
    0.12  animal  ██████                   ← to
    0.06  the     ███
    0.03  it      █▌"""
    )


@pytest.mark.parametrize(
    ("text", "entry", "lines"),
    [
        (
            "猫は庭で鳥を見た",
            "attends: {from: 見, to: 鳥, over: 庭, min: 0.3}",
            [
                "猫は庭で鳥を見た",
                "    ^^  ^^  ^^",
                "    over    from",
                "        to",
            ],
        ),
        (
            "a b c",
            "attends: {from: a, to: c, over: b, min: 0.3}",
            ["a b c", "^ ^ ^", "from", "  over", "    to"],
        ),
        (
            "the cat saw the dog",
            "attends: {from: {word: the, nth: 2}, to: the cat, min: 0.3}",
            ["the cat saw the dog", "^^^^^^^     ^^^", "to          from"],
        ),
        (
            "the cat saw it",
            "ignores: {from: it, to: [the, saw], max: 0.3}",
            ["the cat saw it", "^^^     ^^^ ^^", "to      to  from"],
        ),
        (
            "the cat",
            "attends: {from: {special: cls}, to: cat, min: 0.3}",
            ["the cat", "    ^^^", "    to"],
        ),
    ],
)
def test_carets_stand_under_the_words(text: str, entry: str, lines: list[str]) -> None:
    written = told(case(entry, text), VERDICT).split("\n")
    assert written[1 : 1 + len(lines)] == [f"  │ {line}" for line in lines]
    assert written[1 + len(lines)].startswith("  weight")


def test_a_long_text_is_broken_with_the_carets_under_each_part() -> None:
    text = (
        "When the committee finally published its long report on the floods, the mayor of the "
        "town thanked the engineers because they had worked through the night."
    )
    entry = "attends: {from: they, to: engineers because, over: committee, min: 0.3}"
    written = told(case(entry, text), VERDICT).split("\n")
    assert written[1:9] == [
        "  │ When the committee finally published its long report on the floods, the",
        "  │          ^^^^^^^^^",
        "  │          over",
        "  │ mayor of the town thanked the engineers because they had worked through",
        "  │                               ^^^^^^^^^^^^^^^^^ ^^^^",
        "  │                               to                from",
        "  │ the night.",
        "  weight 0.125, demanded >= 0.300",
    ]


WORDS = st.sampled_from(["ab", "cde", "人物", "e\u0301", "한글", "g" * 90, ".", " "])


@given(st.lists(WORDS, min_size=1), st.data())
def test_a_text_in_parts_loses_nothing_and_carets_stand_under_the_words(
    words: list[str], data: st.DataObject
) -> None:
    text = " ".join(["q", *words])
    places = [at.span() for at in re.finditer(r"\S+", text)]
    start, end = data.draw(st.sampled_from(places))
    entry = f"attends: {{from: q, to: {{chars: [{start}, {end}]}}, min: 0.3}}"
    written = told(case(entry, text), VERDICT).split("\n")
    lines = [line.removeprefix("  │").removeprefix(" ") for line in written if "  │" in line]
    shown, marked = "", ""
    for above, line in pairwise(["", *lines]):
        if re.fullmatch(r"[ ^]+", line):
            column = 0
            for grapheme in regex.findall(r"\X", above):
                marked += grapheme if line[column : column + 1] == "^" else ""
                column += display_width(grapheme)
        elif not re.fullmatch(r"( *(from|to))+", line):
            assert display_width(line) <= 72
            shown += line
    assert shown.replace(" ", "") == text.replace(" ", "")
    assert marked == ("q" if start == 0 else "q" + text[start:end])


def test_two_texts_are_shown_one_below_the_other() -> None:
    found = parse(
        yamltext.loads(
            b"version: 1\nsuite: s\ncases:\n  - id: a\n    text: the cat\n    target: le chat\n"
            b"    expect: [attends: {from: chat, to: cat, min: 0.3, site: cross, heads: L0}]\n",
            "a",
        )
    )[0]
    assert told(found, VERDICT).split("\n")[1:7] == [
        "  │ le chat",
        "  │    ^^^^",
        "  │    from",
        "  │ the cat",
        "  │     ^^^",
        "  │     to",
    ]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {"head": "L3H4", "heads_tried": 12},
            ["by L3H4, the nearest of 12 tried; 25% of its row is on special or first tokens"],
        ),
        (
            {"head": "mean of 12 heads", "heads_tried": 12},
            ["by mean of 12 heads; 25% of its row is on special or first tokens"],
        ),
        (
            {"outcome": "borderline", "observed": 0.2995},
            ["weight 0.299, demanded >= 0.300: within 0.001 of the bound, too near to call"],
        ),
        (
            {"measure": "rank", "observed": 3, "relation": "<=", "demanded": 1},
            ["rank 3, demanded <= 1"],
        ),
    ],
)
def test_numbers_in_words(changes: dict[str, Any], lines: list[str]) -> None:
    written = told(case("attends: {from: it, to: animal, min: 0.3}"), changed(**changes))
    assert set(lines) <= {line.strip() for line in written.split("\n")}


def test_bound() -> None:
    assert replace(VERDICT.deciding, relation=">", demanded=0.0).limit == "> 0"


def test_every_bound_is_told_the_hardest_first() -> None:
    others = (
        Bound("rank", "rank", 3, "<=", 1, "failed"),
        Bound("margin over a", "weight", 0.0995, ">=", 0.1, "borderline"),
        Bound("weight", "weight", 0.125, "<=", 0.9, "passed"),
    )
    found = case("attends: {from: it, to: animal, over: street, min: 0.3, top: 1, max: 0.9}")
    lines = told(found, replace(VERDICT, bounds=(VERDICT.deciding, *others))).split("\n")
    start = lines.index("  weight 0.125, demanded >= 0.300")
    assert lines[start + 1 : start + 5] == [
        "  rank 3, demanded <= 1: does not hold",
        "  margin over a 0.100, demanded >= 0.100: within 0.001 of the bound, too near to call",
        "  weight 0.125, demanded <= 0.900: holds",
        "  by L3H1; 25% of its row is on special or first tokens",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "weight 0.125, demanded >= 0.3 (attends, L3H1)"),
        (
            {
                "outcome": "vacuous",
                "observed": 0.5,
                "head": "mean of 12 heads",
                "chance": Chance(passed=60, pairs=84, distinct=80),
            },
            "vacuous: holds for 60 of 84 other word pairs (attends, mean of 12 heads)",
        ),
        (
            {"outcome": "borderline", "observed": 0.3004},
            "borderline: weight 0.300, demanded >= 0.3 (attends, L3H1)",
        ),
        (
            {"measure": "rank", "observed": 3, "relation": "<=", "demanded": 1.0},
            "rank 3, demanded <= 1 (attends, L3H1)",
        ),
        ({"demanded": 0.00005}, "weight 0.125, demanded >= 5e-05 (attends, L3H1)"),
    ],
)
def test_one_line_begins_with_the_number_or_what_it_cannot_say(
    changes: dict[str, Any], line: str
) -> None:
    (expectation,) = case("attends: {from: it, to: animal, min: 0.3}").expectations
    failing = Finding(expectation, None, changed(**changes), None)
    assert headline([failing]) == line
    assert headline([failing] * 2, 3) == f"{line}; 2 of 3 expectations fail"


def test_one_line_on_an_error_is_its_first() -> None:
    (expectation,) = case("attends: {from: it, to: animal, min: 0.3}").expectations
    error = MeasureError("no token boundary there\n  The animal")
    assert (
        headline([Finding(expectation, None, None, error)]) == "no token boundary there (attends)"
    )
    hostile = Finding(expectation, None, None, MeasureError("::error::pwned\x1b[31m"))
    assert is_harmless(headline([hostile]))


def test_a_word_that_stands_twice_gets_no_note() -> None:
    found = case(
        "attends: {from: tired, to: {word: the, nth: 1}, over: street, min: 0.3}",
        "the animal saw the street and was tired",
    )
    written = told(found, VERDICT)
    assert "← over" in written
    assert "← to" not in written


def test_each_word_of_a_phrase_gets_its_note() -> None:
    found = case("attends: {from: it, to: animal didn't, over: the street, min: 0.3}")
    top = (Attended("didn't", 0.5), Attended("animal", 0.25), Attended("the", 0.125))
    notes = re.findall(r"\d\d  (\S+) .*← (\w+)", told(found, replace(VERDICT, top=top)))
    assert notes == [("didn't", "to"), ("animal", "to"), ("the", "over")]


def test_an_error_in_full() -> None:
    found = case("attends: {from: it, to: animal, min: 0.3}")
    error = MeasureError("no token boundary there\n  The animal\n      ^^^^")
    assert (
        told(found, error)
        == """\
cases/a.attn.yaml:8: error: attends it → animal, L3H1
  no token boundary there
  │ The animal
  │     ^^^^"""
    )


def test_it_explains_what_a_runner_found() -> None:
    found = case(
        "attends: {from: it, to: animal, top: 1, heads: any}",
        "The animal slept because it was tired",
    )
    (finding,) = Runner(FakeReader(), [found]).judge(found)
    written = explain(found, finding)
    assert "rank" in written
    assert "the nearest of 6 tried" in written
    assert len(written.split("it attends most to:\n")[1].split("\n")) == 5


# Text that would rather act than be read ---------------------------------------------------------

HOSTILE = [
    "::error file=a::pwned it animal",
    "\x1b[31mred\x1b[0m it animal",
    "it\r::error::pwned animal",
    "it\n::error::pwned animal",
    "it\u2028::error::pwned animal",
    "it \u202eanimal",
    "it\x9b31m animal",
]
# GitHub reads a command wherever it opens a line, be it after spaces; lines end in many ways.
ACTS = re.compile(r"(?:^|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029\n])\s*::", re.MULTILINE)
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def is_harmless(text: str) -> bool:
    return not ACTS.search(text) and not CONTROLS.search(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_verdict_on_a_hostile_text_is_harmless_p33(text: str) -> None:
    assert not is_harmless(f"  {text}")
    found = case("attends: {from: it, to: animal, min: 0.3}", text)
    top = (Attended("::error::pwned", 0.5), Attended("\x1b[31m", 0.25))
    written = told(found, replace(VERDICT, top=top))
    assert is_harmless(written)
    assert "animal" in written


@pytest.mark.parametrize("text", HOSTILE)
def test_an_error_about_a_hostile_text_is_harmless_p33(text: str) -> None:
    found = case("attends: {from: it, to: animal, min: 0.3}", text)
    assert is_harmless(told(found, MeasureError(f"a word is missing\n  {text}")))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("word", ["anmial", "nowhere", "\x1b[2J", "it it"])
def test_a_case_error_about_a_hostile_text_is_harmless_p33(text: str, word: str) -> None:
    with pytest.raises((CaseError, CaseErrors)) as caught:
        case(f"attends: {{from: it, to: {json.dumps(word)}, min: 0.3}}", text)
    assert not is_harmless(f"::{caught.value}")
    assert is_harmless(harmless(str(caught.value)))


def test_a_hostile_file_name_prints_no_command_p62() -> None:
    assert harmless("::error.attn.yaml:3:1: no\n  ::warning\x1b") == (
        "│ ::error.attn.yaml:3:1: no\n  │ ::warning<U+001B>"
    )
    assert harmless("a :: b\n  c") == "a :: b\n  c"


@pytest.mark.parametrize(
    ("causal", "among", "noted"),
    [(True, "words", True), (True, "all", False), (False, "words", False)],
)
def test_a_first_token_that_has_most_and_is_not_ranked_says_why(
    causal: bool, among: str, noted: bool
) -> None:
    site: SiteName = "decoder" if causal else "encoder"
    read = encoding("The brown keys are old", site=site, causal=causal, ends=False)
    found = case(f"attends: {{from: are, to: keys, top: 1, among: {among}}}", read.sample.text)
    judged = replace(VERDICT, top=(Attended("The", 0.63), Attended("keys", 0.13)))
    text = explain(found, Finding(found.expectations[0], read, judged, None))
    assert re.search(r"0\.13 +keys .*← to", text)
    assert bool(re.search(r"0\.63 +The .*← a sink, not ranked", text)) is noted
