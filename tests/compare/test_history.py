"""Suites over many runs; every number is computed here by another way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from math import comb
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

import attnprobe
from attnprobe.compare.describe_history import change_lines, history_html, notes, sentence
from attnprobe.compare.history import ALPHA, history_of, read_history
from attnprobe.core.errors import ResultsError
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, RelationResult, Results
from tests.support.compared_results import FAIL, GAP, HOLD, case, expected, model, run
from tests.support.histories import history, runs_of

Attn = Callable[..., tuple[int, str]]


def saved(*runs: tuple[str, Results], folder: str = ".") -> list[Path]:
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder, f"{name}.json") for name, _ in runs]
    for path, (_, results) in zip(paths, runs, strict=True):
        write_json(path, results.to_json())
    return paths


# Checks


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-++-+", "appears at r1, breaks at r3, appears at r4"),
        ("++++", ""),
        ("----", ""),
        ("+!!-+", "cannot be measured at r1, fails at r3, appears at r4"),
        ("+s-", "breaks at r2"),
        ("+ -", "breaks at r2"),
        (" +-", "breaks at r2"),
        ("-xx+", "appears at r3"),
        ("+x-", "breaks at r1"),
        ("-+-+-", "appears at r1, breaks at r2, appears at r3, breaks at r4"),
        ("-+-+-+", "changes 5 times, and at last appears at r5"),
    ],
)
def test_when_a_check_changes(line: str, words: str) -> None:
    found = history(line, "+" * len(line))
    said = [entry for entry in change_lines(found) if ": c0 " in entry]
    assert said == ([f"cases/x.attn.yaml: c0 on small {words}"] if words else [])


def test_a_strict_known_gap_that_holds_has_appeared() -> None:
    """A run fails on it, so that somebody removes the mark."""
    closed = replace(HOLD, outcome="failed")
    found = history_of([("a", run(GAP)), ("b", run(closed))])
    assert found.checks[0].statuses == ("gap", "holds")
    # Without a known gap, another assertion of a probe failed.
    found = history_of([("a", run(HOLD)), ("b", run(closed))])
    assert found.checks[0].statuses == ("holds", "fails")


def relation(digest: str, outcome: str) -> RelationResult:
    entry = expected(0.6, outcome, rule="relation", arguments={"accuracy": 0.5})
    fields = vars(case(entry, outcome=outcome)) | {"head": "L3H1", "corpus_sha256": digest * 64}
    return RelationResult(**fields)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"text_sha256": "a" * 64}, {"text_sha256": "b" * 64}),
        ({"arguments": {"from": "it", "min": 0.3}}, {"arguments": {"from": "it", "min": 0.2}}),
        ({"check_sha256": "a" * 64}, {"check_sha256": "b" * 64}),
        ("a", "b"),
    ],
    ids=["text", "bound", "hash", "corpus"],
)
def test_a_check_that_states_something_else_neither_appears_nor_breaks(old: Any, new: Any) -> None:
    def made(stated: Any, outcome: str) -> Results:
        if isinstance(stated, str):
            item: CaseResult = relation(stated, outcome)
            return run(relations=(item,), collected=1)
        texts = {key: value for key, value in stated.items() if key == "text_sha256"}
        entry = replace(
            expected(0.6 if outcome == "passed" else 0.1, outcome),
            **{key: value for key, value in stated.items() if key not in texts},
        )
        return run(*(case(entry, outcome=outcome, id=f"c{n}", **texts) for n in range(9)))

    runs = [("a", made(old, "failed")), ("b", made(new, "passed"))]
    found = history_of(runs)
    assert change_lines(found) == []
    count = len(found.checks)
    assert found.restated == (0, count)
    what = f"{count} checks state" if count > 1 else "1 check states"
    assert notes(found)[0].startswith(f"in b, {what} something else than before")
    same = history_of([runs[0], ("b", made(old, "passed"))])
    assert len(change_lines(same)) == count + (count > 5)
    assert same.restated == (0, 0)


def test_heads_by_which_a_check_passes() -> None:
    def by(*heads: str | None, outcome: str = "passed") -> Results:
        entries = [expected(0.6, outcome, head=head) for head in heads]
        return run(case(*entries, outcome=outcome), case(id="same"))

    runs = [by("L3H1"), by("L3H1"), by("L1H0", outcome="failed"), by("L3H1", "L2H0"), by("L2H0")]
    found = history_of([(f"r{at}", results) for at, results in enumerate(runs)])
    assert change_lines(found)[-1] == (
        "cases/x.attn.yaml: one on small passes by L3H1 (r0 to r1), then L2H0 and L3H1 (r3), "
        "then L2H0 (r4)"
    )
    assert [check.key.id for check in found.checks if check.heads] == ["one"]


# Suites


def test_the_counts_of_each_run() -> None:
    lines = ("-++", "--+", "xx+", "!+s")
    found = history(*lines)
    (suite,) = found.suites
    assert [(count.held, count.judged, count.gaps) for count in suite.counts if count] == [
        (0, 3, 1),
        (2, 3, 1),
        (3, 3, 0),
    ]
    # Bounds are at 0.3: a check that holds is 0.3 above, one that fails 0.2 below.
    assert [round(count.mean_slack or 9, 6) for count in suite.counts if count] == [
        round(fmean(slacks), 6) for slacks in ((-0.2, -0.2), (0.3, -0.2, 0.3), (0.3, 0.3, 0.3))
    ]
    vacuous = run(case(expected(0.6, "vacuous"), expected(0.6)), replace(GAP, id="b"))
    found = history_of([("a", vacuous), ("b", vacuous)])
    assert [count.vacuous for count in found.suites[0].counts if count] == [1, 1]


def exact(rose: int, fell: int) -> float:
    """The two-sided exact McNemar test, by counting: twice the smaller tail."""
    count = rose + fell
    tail = sum(comb(count, less) for less in range(min(rose, fell) + 1))
    return min(1.0, 2 * tail / 2**count)


def adjusted(values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's: the least p * m / rank of the p values that are not smaller."""
    ranks = sorted(values)
    return [
        min(
            min(1.0, other * len(ranks) / (at + 1))
            for at, other in enumerate(ranks)
            if other >= value
        )
        for value in values
    ]


@settings(max_examples=60)
@given(
    st.lists(st.text("+-x!s ", min_size=4, max_size=4), min_size=6, max_size=30),
    st.integers(1, 3),
)
def test_suites_that_rose_or_fell(lines: list[str], suites: int) -> None:
    lines = ["+" * 4, *lines]  # so that neighbours have a check in common
    named = [f"s{number % suites}" for number in range(len(lines))]
    found = history(*lines, suites=named)
    tests = {}
    for old, new in ((0, 1), (1, 2), (2, 3), (0, 3)):
        for suite in set(named):
            pairs = [
                (line[old] == "+", line[new] == "+")
                for line, name in zip(lines, named, strict=True)
                if name == suite and not {line[old], line[new]} & {"s", " "}
            ]
            rose, fell = pairs.count((False, True)), pairs.count((True, False))
            if rose + fell >= 6:
                held = [sum(pair[side] for pair in pairs) for side in (0, 1)]
                tests[suite, old, new] = (len(pairs), *held, exact(rose, fell))
    values = adjusted([p for *_, p in tests.values()])
    wanted = {
        place: (*test[:3], pytest.approx(test[3]), pytest.approx(value))
        for (place, test), value in zip(tests.items(), values, strict=True)
        if value <= 0.05
    }
    assert ALPHA == 0.05
    assert {
        (shift.suite, shift.old, shift.new): (
            shift.n,
            shift.old_held,
            shift.new_held,
            shift.p,
            shift.adjusted_p,
        )
        for shift in found.shifts
    } == wanted
    assert all(shift.rose == (shift.new_held > shift.old_held) for shift in found.shifts)


def test_a_suite_that_rises_slowly_has_risen_over_all() -> None:
    lines = [line for line in ("-++++", "--+++", "---++", "----+") for _ in range(5)]
    found = history(*lines)
    assert [(shift.old, shift.new) for shift in found.shifts] == [(0, 4)]
    assert change_lines(found)[0] == (
        "suite s on small rose between r0 and r4: 0 → 20 of 20 checks hold (exact McNemar test, "
        "p = 1.9e-06, adjusted 1.9e-06)"
    )
    assert sentence(found) == (
        "5 runs, r0 to r4: 20 of 20 checks change, 1 suite rose or fell beyond chance."
    )
    assert notes(history(*lines[:5])) == [
        "fewer than 6 checks cannot rise or fall beyond chance: s on small"
    ]


# Files


def test_files_stand_as_they_are_named_and_those_of_a_folder_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [
        (f"step-{step:06}", results)
        for step, (_, results) in zip((90, 100, 8), runs_of("+-+"), strict=True)
    ]
    paths = saved(*runs, folder="out/attnprobe")
    Path("out/attnprobe/.hidden.json").write_text("{")
    Path("out/config.json").write_text("{}")
    for given_paths in (["out"], ["out/attnprobe"], [paths[2], paths[0], paths[1]]):
        found = attnprobe.read_history(*given_paths)
        assert found.runs == ("step 8", "step 90", "step 100")
        assert found.checks[0].statuses == ("holds", "holds", "fails")
    saved(("v10", runs[0][1]), ("v9", runs[1][1]), folder="releases")
    assert read_history("releases").runs == ("v9", "v10")
    saved(("v9", runs[0][1]), folder="others")
    assert read_history("releases/v9.json", "others/v9.json").runs == (
        "releases/v9.json",
        "others/v9.json",
    )


def test_a_model_may_get_another_name() -> None:
    old = run(replace(HOLD, model="v1"), models=(model("v1"),))
    new = run(replace(FAIL, model="v2"), models=(model("v2"),))
    found = history_of([("a", old), ("b", new)])
    assert change_lines(found) == ["cases/x.attn.yaml: one on v2 breaks at b"]
    assert [line.model for line in found.suites] == ["v2"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", "b.json: corrupt: "),
        ('{"schema": "attnprobe/gate-1"}', "b.json: needs schema 'attnprobe/results-1', has "),
        (run(HOLD, collected=3), "b did not finish: 2 of 3 cases left no result; run it again"),
        (run(HOLD, HOLD), "b has cases/x.attn.yaml: one on small twice: "),
        (run(replace(HOLD, file="y.attn.yaml")), "b has no check in common with a"),
        (
            run(HOLD, models=(model(heads=8),)),
            "b: small is another network than in a: BertModel with 6 layers of 8 heads (encoder) "
            "instead of BertModel with 6 layers of 12 heads (encoder), and L0H0 of one is not "
            "L0H0 of the other",
        ),
        (None, "a history needs two runs or more; name their results files or a folder"),
    ],
    ids=["cut", "other", "unfinished", "twice", "apart", "network", "one"],
)
def test_what_makes_no_history_is_one_sentence_p36(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = saved(("a", run(HOLD)))
    if isinstance(second, str):
        Path("b.json").write_text(second)
        paths.append(Path("b.json"))
    elif second is not None:
        paths += saved(("b", second))
    with pytest.raises(ResultsError, match=f"^{re.escape(message)}") as found:
        read_history(*paths)
    assert "\n" not in str(found.value)


def test_an_empty_folder_has_no_history(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="has no results files"):
        read_history(tmp_path)


# The command and the page


def test_the_command_prints_tables_and_changes_and_writes_them(attn: Attn) -> None:
    runs = runs_of(*["-++"] * 8, "+++")
    paths = saved(*runs)
    code, printed = attn("history", *paths, "--json", "h.json", "--html", "h.html")
    assert code == 0
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in printed.splitlines()
        if line.startswith("│")
    ]
    low, high = binomtest(1, 9).proportion_ci(method="wilson")
    slack = f"{fmean([*[-0.2] * 8, 0.3]):+.3f}".replace("-", "−")
    assert rows[0] == ["r0", "1 of 9", "11.1%", f"{low:.1%} to {high:.1%}", slack, "0"]
    assert rows[1][:3] == ["r1", "9 of 9", "100.0%"]
    assert printed.splitlines()[-1].startswith("3 runs, r0 to r2: 8 of 9 checks change, 1 suite")
    assert "suite s on small rose between r0 and r1: 1 → 9 of 9 checks hold" in printed
    assert "cases/x.attn.yaml: c0 on small appears at r1" in printed
    written = json.loads(Path("h.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(history_of(runs).as_dict()))
    assert written["schema"] == "attnprobe/history-1"
    assert written["checks"][0]["events"] == [{"word": "appears", "run": "r1"}]
    assert Path("h.html").read_text(encoding="utf-8") == history_html(read_history(*paths))


class Drawn(HTMLParser):
    """The curves of a page: a list of shapes for each drawing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.drawings: list[dict[str, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given_attributes = dict(attrs)
        if tag == "svg":
            self.drawings.append({"polyline": [], "polygon": [], "circle": []})
        elif tag in ("polyline", "polygon"):
            self.drawings[-1][tag].append(str(given_attributes["points"]))
        elif tag == "circle":
            self.drawings[-1][tag].append(f"{given_attributes['cx']},{given_attributes['cy']}")


def values(points: str, low: float, high: float) -> list[tuple[int, float]]:
    """Run and value of each point of a curve of five runs, read back from the drawing."""
    pairs = [tuple(map(float, pair.split(","))) for pair in points.split()]
    return [(round(x / 80), high - y / 90 * (high - low)) for x, y in pairs]


def test_the_curves_of_the_page_are_the_numbers() -> None:
    lines = ["-- ++", "-+ ++", "++ -+", "++ -+"]
    rest = ["+++++"] * 3
    found = history(*lines, *rest, suites=[*["a"] * 4, *["b"] * 3])
    rate, slack, *_ = Drawn(history_html(found)).drawings
    held = {0: 2, 1: 3, 3: 2, 4: 4}
    drawn = [values(points, 0, 1) for points in rate["polyline"]]
    assert [[place for place, _ in part] for part in drawn] == [[0, 1], [3, 4]]
    assert dict(drawn[0] + drawn[1]) == {
        place: pytest.approx(count / 4, abs=0.002) for place, count in held.items()
    }
    assert [values(point, 0, 1)[0] for point in rate["circle"]] == drawn[0] + drawn[1]
    bands = {}
    for points in rate["polygon"]:
        ends = values(points, 0, 1)
        for place in {place for place, _ in ends}:
            bands[place] = sorted(value for at, value in ends if at == place)
    for place, count in held.items():
        low, high = binomtest(count, 4).proportion_ci(method="wilson")
        assert bands[place] == pytest.approx([low, high], abs=0.002)
    means = {place: (0.3 * count - 0.2 * (4 - count)) / 4 for place, count in held.items()}
    low, high = min(0, *means.values()), max(means.values())
    drawn = [values(points, low, high) for points in slack["polyline"]]
    assert dict(drawn[0] + drawn[1]) == {
        place: pytest.approx(mean, abs=0.002) for place, mean in means.items()
    }


def test_a_page_counts_the_checks_that_it_does_not_show() -> None:
    text = history_html(history(*["-+"] * 203))
    assert text.count('<span class="attn-strip">') == 200 + 1
    assert "<p>and 3 more</p>" in text
    assert "Every check is the same in all runs." in history_html(history("++"))
