"""Relations as pytest items: outcomes, selection, results, report, with and without xdist.

Three arcs from one word to each of the three others: of these exactly one is right, whatever the
weights, so that the accuracy is a third.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
import scipy.stats  # before the inner runs: pytester forgets what they import

from attnprobe.core.verdicts import Bound
from attnprobe.results.records import CaseResult, RelationResult, read_results
from tests.support.inner_runs import LOADS_TINY
from tests.support.report_pages import details

if TYPE_CHECKING:
    from tests.support.inner_runs import TinyModels

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

TEXTS = ("The dog barks.", "The big seal sang", "Old men saw her", "Some cats slept.")


def arcs(text: str) -> list[dict[str, Any]]:
    """From the third word to each of the three others."""
    spans = [match.span() for match in re.finditer(r"\w+|\.", text)]
    return [{"from": list(spans[2]), "to": list(spans[to]), "relation": "any"} for to in (0, 1, 3)]


CORPUS = "".join(json.dumps({"text": text, "arcs": arcs(text)}) + "\n" for text in TEXTS)


def relation(name: str, *more: str, heads: str = "L0H1", bound: str = "accuracy: 0.2") -> str:
    lines = [
        f"- id: {name}",
        "from_corpus: {jsonl: data/x.jsonl, relation: any}",
        f"heads: {heads}",
        *more,
        f"expect: {{{bound}}}",
    ]
    return "\n  ".join(lines) + "\n"


BEST = "{in: all, how: best, chosen_on: half}"
ALL = "least: 12"
GAP = "xfail: it looks elsewhere"
HOLDS = relation("holds", ALL)
FAILS = relation("fails", ALL, bound="accuracy: 0.2, above_best_offset: 0.1")
SUITE = (
    HOLDS
    + FAILS
    + relation("best", "least: 6", heads=BEST)
    + relation("gap", ALL, GAP, bound="accuracy: 0.5")
    + relation("closed", ALL, GAP)
    + relation("few", "least: 13", GAP)
    + relation("later", "skip: waits", "marks: [slow]")
    + relation("missing", ALL, heads="L77H1")
)


@pytest.fixture
def write(pytester: pytest.Pytester) -> Write:
    """Writes a case file of relations and the corpus beside it."""

    def write(relations: str, *, name: str = "x.attn.yaml", head: str = "") -> Path:
        path = pytester.path / name
        (path.parent / "data").mkdir(parents=True, exist_ok=True)
        (path.parent / "data" / "x.jsonl").write_text(CORPUS, encoding="utf-8")
        start = f"version: 1\nsuite: s\n{head}relations:\n"
        body = "".join(f"  {line}\n" for line in relations.splitlines())
        path.write_text(start + body, encoding="utf-8")
        return path

    return write


# Items


@pytest.mark.usefixtures("_tiny_model")
def test_node_ids_and_true_lines(pytester: pytest.Pytester, write: Write) -> None:
    path = write(HOLDS + FAILS, name="deep/er/x.attn.yaml")
    items, _ = pytester.inline_genitems("--attn-model=tiny")
    assert [item.nodeid for item in items] == [
        f"deep/er/x.attn.yaml::{name}" for name in ("holds", "fails")
    ]
    written = path.read_text().splitlines()
    places = [item.reportinfo() for item in items]
    assert [written[place[1] or 0].strip() for place in places] == ["- id: holds", "- id: fails"]
    assert {place[0] for place in places} == {path}


def test_outcomes_are_those_of_cases(probe: Run, write: Write) -> None:
    write(SUITE)
    result = probe("-ra")
    result.assert_outcomes(passed=2, failed=2, errors=2, xfailed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR at setup of few _*",
            "only 12 arcs can be judged, which is under least: 13; * (few)",
            "x.attn.yaml:*: error: few",
            "  any, dependent → head, L0H1",
            "  only 12 arcs can be judged, which is under least: 13; *",
            "*_ ERROR at setup of missing _*",
            "*layer 77 has no attention at the encoder site*",
            "*_ fails _*",
            "lead over the best fixed distance 0, demanded >= 0.1 (fails, L0H1)",
            "x.attn.yaml:9: failed: fails",
            "  any, dependent → head, L0H1",
            "  lead over the best fixed distance 0, demanded >= 0.100",
            "  exact McNemar p 1, demanded <= 0.05: does not hold",
            "  accuracy 0.333, demanded >= 0.200",
            "  L0H1 is right for 4 of 12 arcs (33.3%, 95 % interval 13.8% to 60.9%)",
            "  the best fixed distance, 1 word to the left, is right for 4 (33.3%); only the head "
            "is right for *, only the distance for *, exact McNemar p *",
            "  with another word of the sentence looking, it is right for 5 (41.7%); only the true "
            "word is right for 2, only the other for 3, exact McNemar p 1",
            "  wrong, 5 of 8:",
            "    │ The dog barks.",
            "    │ *^^^^^*",
            "*_ closed _*",
            "*XPASS(strict)*it looks elsewhere*",
            "SKIPPED*waits",
            "XFAIL x.attn.yaml::gap - it looks elsewhere*",
            "FAILED x.attn.yaml::fails - lead over the best fixed distance 0, *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*ExpectationFailed*")
    result.stdout.no_fnmatch_line("*.py:*")


def test_selection_by_name_mark_and_last_failure(probe: Run, write: Write) -> None:
    write(SUITE, head="marks: [deps]\n")
    probe("-k", "holds or best").assert_outcomes(passed=2, deselected=6)
    probe("--strict-markers", "-m", "slow").assert_outcomes(skipped=1, deselected=7)
    probe("-m", "not deps").assert_outcomes(deselected=8)
    probe("x.attn.yaml::holds").assert_outcomes(passed=1)
    probe("-k", "holds or fails").assert_outcomes(passed=1, failed=1, deselected=6)
    probe("--lf").assert_outcomes(failed=1)
    listed = probe("--collect-only", "-q")
    listed.stdout.fnmatch_lines(["x.attn.yaml::holds", "x.attn.yaml::fails", "x.attn.yaml::best"])


def test_a_relation_for_a_model_that_is_not_given_is_deselected(
    probe: Run, write: Write, tiny: TinyModels
) -> None:
    write(HOLDS + FAILS.replace("least: 12", "least: 12\n  model: other"))
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["attnprobe: 1 case deselected: for model other, *"])
    assert tiny.loaded == [("tiny", "tiny")]
    assert read_results(Path("r.json")).collected == 1
    result = probe("--attn-model=other=b", "--attn-all-models", "-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*x.attn.yaml::holds[[]tiny[]]*", "*x.attn.yaml::fails *"])


def test_a_relation_that_the_run_left_out_can_be_run_by_a_plugin(
    probe: Run, write: Write, pytester: pytest.Pytester
) -> None:
    write(HOLDS + FAILS)
    pytester.makeconftest(
        """
        left_out = []

        def pytest_collection_modifyitems(items):
            left_out.append(items.pop())

        def pytest_runtest_teardown(item):
            left_out[0].runtest()
        """
    )
    result = probe()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ExpectationFailed: lead over the best fixed distan*"])


def test_a_skipped_relation_needs_neither_model_nor_corpus(
    probe: Run, write: Write, tiny: TinyModels
) -> None:
    path = write(relation("later", "skip: waits"))
    (path.parent / "data" / "x.jsonl").write_text("{")
    probe().assert_outcomes(skipped=1)
    assert tiny.loaded == []


def test_cases_and_relations_of_one_file(
    probe: Run, write: Write, pytester: pytest.Pytester
) -> None:
    path = write(
        "- {id: said, from_cases: all, heads: L0H1, least: 1, expect: {above_best_offset: 0.9}}"
    )
    case = (
        "cases:\n  - id: a\n    text: The dog barks.\n    expect:\n"
        "      - attends: {from: barks, to: dog, heads: mean, min: 0.001}\n"
    )
    path.write_text(path.read_text() + case, encoding="utf-8")
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=1, failed=1)
    found = read_results(Path("r.json"))
    assert [case.id for case in found.cases] == ["a"]
    assert [one.id for one in found.relations] == ["said"]
    assert (found.relations[0].n, found.relations[0].offset_accuracy) == (1, 1.0)


def test_what_is_wrong_is_told_when_the_file_is_collected(probe: Run, write: Write) -> None:
    write(HOLDS.replace("accuracy", "acuracy"))
    result = probe()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["x.attn.yaml:8:14: unknown key 'acuracy'; did you mean 'accuracy'?"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_corpus_lies_below_the_root_of_the_run_p32(probe: Run, write: Write) -> None:
    write(HOLDS.replace("data/x.jsonl", "../data/x.jsonl"), name="sub/x.attn.yaml")
    write("- {id: a}", name="y.attn.yaml")
    probe("sub").assert_outcomes(passed=1)
    write(HOLDS.replace("data/x.jsonl", "../../x.jsonl"), name="sub/x.attn.yaml")
    result = probe("sub")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["sub/x.attn.yaml:5:*lies outside of the project*"])


def test_a_model_that_cannot_be_loaded_is_an_error(probe: Run, write: Write) -> None:
    write(HOLDS)
    result = probe("--attn-json=r.json", model=None)
    result.assert_outcomes(errors=1)
    (found,) = read_results(Path("r.json")).relations
    assert (found.outcome, found.n, found.accuracy) == ("error", None, None)


def test_borderline_fails_under_strict_p40(probe: Run, write: Write) -> None:
    write(relation("close", "least: 12", bound="accuracy: 0.3330"))
    probe("--attn-json=r.json").assert_outcomes(passed=1)
    found = read_results(Path("r.json"))
    assert found.summary()["borderline"] == 1
    assert found.relations[0].expectations[0].outcome == "borderline"
    probe("--attn-strict").assert_outcomes(failed=1)


# Results and reports


def test_the_results_file_tells_all(probe: Run, write: Write) -> None:
    write(SUITE, head="severity: advisory\n")
    probe("--attn-json=r.json")
    results = read_results(Path("r.json"))
    assert results.cases == ()
    found = {one.id: one for one in results.relations}
    assert {name: one.outcome for name, one in found.items()} == {
        "holds": "passed",
        "fails": "failed",
        "best": "passed",
        "gap": "xfailed",
        "closed": "failed",
        "few": "error",
        "later": "skipped",
        "missing": "error",
    }
    holds = found["holds"]
    assert isinstance(holds, RelationResult)
    assert isinstance(holds, CaseResult)
    assert (holds.file, holds.line, holds.suite, holds.severity) == (
        "x.attn.yaml",
        5,
        "s",
        "advisory",
    )
    assert (holds.relation, holds.n, holds.accuracy) == ("any, dependent → head", 12, 4 / 12)
    assert (holds.best_offset, holds.offset_accuracy) == (-1, 4 / 12)
    assert (holds.head, holds.heads_tried, holds.chosen_on, holds.judged_on) == ("L0H1", 1, 0, 12)
    assert holds.interval == pytest.approx(
        tuple(scipy.stats.binomtest(4, 12).proportion_ci(0.95, method="wilson"))
    )
    assert holds.offset_p is not None
    assert holds.preference_n is not None
    assert 0 < holds.preference_n <= 12
    assert holds.preference_accuracy is not None
    assert holds.preference_lead is not None
    assert holds.preference_p is not None
    assert holds.among == "words"
    assert (holds.left_out, holds.notes) == ({}, ())
    assert len(holds.corpus_sha256 or "") == 64
    best = found["best"]
    assert (best.n, best.chosen_on, best.judged_on) == (6, 6, 6)
    assert (best.heads_tried or 0) > 1
    accuracy, above = found["fails"].expectations
    assert (accuracy.rule, accuracy.arguments) == ("relation", {"accuracy": 0.2})
    assert accuracy.bounds == (Bound("accuracy", "share", 4 / 12, ">=", 0.2, "passed"),)
    lead, luck = above.bounds
    assert (above.outcome, lead.observed, lead.demanded) == ("failed", 0.0, 0.1)
    assert above.message == (
        "lead over the best fixed distance 0, demanded >= 0.100; "
        "exact McNemar p 1, demanded <= 0.05: does not hold"
    )
    assert (luck.outcome, luck.observed, luck.demanded) == ("failed", 1.0, 0.05)
    few = found["few"]
    assert (few.n, few.accuracy) == (None, None)
    assert few.expectations[0].outcome == "error"
    assert "only 12 arcs" in few.expectations[0].message
    assert found["later"].expectations == ()
    summary = results.summary()
    assert (summary["collected"], summary["executed"], summary["passed"]) == (8, 7, 2)


def timeless(path: str) -> str:
    return re.sub(r'"duration_s": [-+.\de]+', '"duration_s": 0', Path(path).read_text())


def test_two_workers_give_what_one_process_gives_p39(
    pytester: pytest.Pytester, probe: Run, write: Write
) -> None:
    write(SUITE)
    counts = {"passed": 2, "failed": 2, "errors": 2, "xfailed": 1, "skipped": 1}
    probe("--attn-json=1.json", "--html=1.html").assert_outcomes(**counts)
    probe("--attn-json=2.json").assert_outcomes(**counts)
    pytester.makeconftest(LOADS_TINY)
    result = probe("-n2", "--attn-json=3.json", "--html=3.html", "--self-contained-html")
    result.assert_outcomes(**counts)
    assert timeless("1.json") == timeless("2.json") == timeless("3.json")
    for path in ("1.html", "3.html"):
        assert details("fails", path).count('class="attn-table"') == 1
        # A lead, and that it is no luck; then the grid of the layer's heads.
        assert details("fails", path).count("<tr>") == 1 + 3 + 2


def test_junit_has_place_and_reason(probe: Run, write: Write) -> None:
    write(HOLDS + FAILS)
    probe("--junitxml=r.xml")
    cases = ElementTree.parse("r.xml").findall(".//testcase")
    assert [case.get("name") for case in cases] == ["holds", "fails"]
    (failure,) = cases[1].findall("failure")
    assert "4 of 12 arcs" in (failure.text or "")
    told = {one.get("name"): one.get("value") for one in cases[1].iter("property")}
    assert told["attnprobe.rule"] == told["attnprobe.rule.2"] == "relation"
    assert float(told["attnprobe.observed"] or "") == pytest.approx(4 / 12)
    assert told["attnprobe.demanded"] == ">= 0.2"
    assert (told["attnprobe.outcome"], told["attnprobe.outcome.2"]) == ("passed", "failed")


def test_the_report_has_a_table_of_bounds_and_the_figures(probe: Run, write: Write) -> None:
    write(SUITE)
    probe("--html=r.html", "--self-contained-html")
    table = details("fails", "r.html")
    assert table.count('class="attn-table"') == 1
    for text in (
        "any, dependent → head",
        "lead over the best fixed distance 0",
        "&gt;= 0.100",
        "L0H1 is right for 4 of 12 arcs",
        "the best fixed distance, 1 word to the left",
    ):
        assert text in table
    assert "only 12 arcs can be judged" in details("few", "r.html")
    assert details("later", "r.html") == ""
    for name in ("holds", "best", "gap", "closed"):
        assert details(name, "r.html").count('class="attn-table"') == 1


def test_the_report_says_why_a_relation_is_a_known_gap(probe: Run, write: Write) -> None:
    write(SUITE.replace(GAP, "xfail: it looks <b>elsewhere</b>"))
    probe("--html=r.html", "--self-contained-html")
    for name in ("gap", "closed", "few"):
        assert "known gap: it looks &lt;b&gt;elsewhere&lt;/b&gt;</li>" in details(name, "r.html")
    for name in ("holds", "fails", "best"):
        assert "known gap" not in details(name, "r.html")


@pytest.mark.parametrize(
    ("figures", "pictured"),
    [
        ("failed", {"fails", "closed"}),
        ("all", {"holds", "fails", "best", "gap", "closed"}),
        ("none", set()),
    ],
)
def test_a_relation_is_drawn_as_the_accuracy_of_each_head(
    probe: Run, write: Write, figures: str, pictured: set[str]
) -> None:
    write(SUITE)
    chosen = [] if figures == "failed" else [f"--attn-figures={figures}"]
    probe("--html=r.html", "--self-contained-html", "--attn-json=r.json", *chosen)
    found = {one.id: one for one in read_results(Path("r.json")).relations}
    grids = {
        name: re.findall(
            r"<caption>accuracy on.*?</figcaption>", details(name, "r.html"), re.DOTALL
        )
        for name in found
    }
    assert {name for name, drawn in grids.items() if drawn} == pictured
    for name in pictured:
        (grid,) = grids[name]
        cells = re.findall(r'<td class="(m\d+)( e)?">([^<]*)', grid)
        # All heads of the layer of a named head, all of the model where one is chosen.
        assert len(cells) == (12 if name == "best" else 4)
        (decided,) = [at for at, cell in enumerate(cells) if cell[1]]
        layers = re.findall(r'<th scope="row"[^>]*>(L\d)', grid)
        assert f"{layers[decided // 4]}H{decided % 4}" == found[name].head
        arcs = found[name].chosen_on if name == "best" else found[name].n
        assert f"<caption>accuracy on {arcs} arcs of every head</caption>" in grid
        if name != "best":
            assert float(cells[decided][2]) == pytest.approx(found[name].accuracy, abs=0.0006)


def test_a_fault_in_measuring_other_heads_is_a_note(
    probe: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("<img src=x onerror=alert(1)>")

    monkeypatch.setattr("attnprobe.relations.accuracy.head_grid", fault)
    write(FAILS)
    probe("--html=r.html").assert_outcomes(failed=1)
    note = "no picture: ZeroDivisionError: &lt;img src=x onerror=alert(1)&gt;"
    assert details("fails", "r.html").count(note) == 1


def test_what_a_corpus_says_acts_nowhere_p31(
    probe: Run, write: Write, pytester: pytest.Pytester
) -> None:
    evil = "<img src=x onerror=alert(1)>\x1b[31m"
    path = write(
        "- id: a\n  from_corpus: {jsonl: data/x.jsonl, relation: "
        + json.dumps(evil)
        + "}\n  heads: L0H1\n  least: 1\n  expect: {accuracy: 1}"
    )
    text = "::error <script>alert(1)</script> \x1b[31m of it"
    entry = {"text": text, "arcs": [{"from": [2, 7], "to": [9, 15], "relation": evil}] * 2}
    (path.parent / "data" / "x.jsonl").write_text(json.dumps(entry) + "\n")
    result = probe("--html=r.html", "--self-contained-html", "--junitxml=r.xml")
    result.assert_outcomes(failed=1)
    assert "\x1b[31m" not in result.stdout.str()
    assert not re.search(r"^\s*::error", result.stdout.str(), re.MULTILINE)
    table = details("a", "r.html")
    assert "&lt;img src=x" in table
    assert "<img" not in table
    assert "\x1b" not in table
    ElementTree.parse("r.xml")


def test_a_relation_on_a_head_set_of_other_weights_is_told(
    probe: Run, write: Write, pytester: pytest.Pytester, tiny: TinyModels, monkeypatch: Any
) -> None:
    monkeypatch.setattr(tiny.model, "weights_format", "safetensors")
    named = '"@mine"'
    write(
        relation("holds", ALL, heads=named)
        + relation("fails", ALL, heads=named, bound="accuracy: 0.9")
        + relation("few", "least: 13", heads=named)
    )
    entry = {"heads": ["L0H1"], "model": "minilm", "weights_sha256": "53aa51172d142c89" * 4}
    locked = {"schema": "attnprobe/lock-1", "heads": {"mine": entry}}
    (pytester.path / "attnprobe.lock.json").write_text(json.dumps(locked))
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    said = "heads @mine were chosen on minilm, weights 53aa51172d14; this model has other weights"
    assert result.stdout.str().count(said) == 2  # where it fails, and where it is not measured
    for item in read_results(Path("r.json")).relations:
        (bound,) = item.expectations
        assert [own.name for own in bound.head_sets] == ["mine"]
