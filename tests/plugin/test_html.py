"""The HTML report: tables, pictures, and nothing from users that acts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.render.web.report import (
    ReportCase,
    ReportPage,
    State,
    SuiteLine,
    cases_section,
    report_section,
)
from attnprobe.results.records import read_results
from tests.support.eager import eager_weights
from tests.support.inner_runs import LOADS_TINY, TinyModels
from tests.support.report_pages import Page, details, maps, shown_cases

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

CASES = """
- id: holds
  text: The dog barks.
  expect:
    - ignores: {from: barks, to: dog, max: 0.99}
- id: fails
  text: The dog barks.
  expect:
    - ignores: {from: barks, to: dog, max: 0.99}
    - attends: {from: barks, to: dog, over: The, min: 0.99}
- id: gap
  text: The dog barks.
  xfail: known
  expect:
    - attends: {from: barks, to: dog, min: 0.99}
- id: later
  text: The dog barks.
  skip: waits
  expect:
    - attends: {from: barks, to: dog, min: 0.99}
- id: unmeasured
  text: The dog barks.
  expect:
    - attends: {from: barks, to: dog, heads: L7H1, min: 0.99}
"""


def eager_maps(model: Model) -> np.ndarray:
    """transformers' own weights of the cases' text, `[layer, head, target, source]`."""
    layers = eager_weights(model, Sample("The dog barks."), "encoder")
    return np.stack([layers[layer] for layer in sorted(layers)])


# The tokens of the words of that text: each letter is a token, after one special token.
THE, DOG, BARKS = [1, 2, 3], [5, 6, 7], [9, 10, 11, 12, 13]


def eager_pair(model: Model) -> np.ndarray:
    """The weight of barks → dog in each head, `[layer, head]`."""
    return eager_maps(model)[:, :, BARKS][..., DOG].sum(axis=-1).mean(axis=-1)


def report(path: str = "report.html") -> Page:
    return Page(Path(path).read_text(encoding="utf-8"))


def cells(table: str) -> list[str]:
    """The texts of the cells of a map, row by row."""
    return re.findall(r"<td class=[^>]*>([^<]*)", table)


def words(html: str) -> str:
    """The text of a piece of HTML, its blanks joined."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def suites(path: str = "report.html") -> list[str]:
    """The line of each suite in words."""
    text = Path(path).read_text(encoding="utf-8")
    listed = text[text.index('<ul class="attn-suites">') :]
    return [words(line) for line in listed[: listed.index("</ul>")].split("<li>")[1:]]


def run_sentence(path: str = "report.html") -> str:
    text = Path(path).read_text(encoding="utf-8")
    (found,) = re.findall(r'<p class="attn-sentence-of-run">(.*?)</p>', text)
    return str(found)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_report_starts_with_how_many_checks_of_each_suite_hold(
    probe: Run, pytester: pytest.Pytester, write_cases: Write, workers: int
) -> None:
    write_cases(CASES)
    held = (
        "- id: holds\n  text: The dog barks.\n  expect: [{ignores: {from: barks, to: dog, HEAD}}]"
    )
    several = [held.replace("holds", f"h{number}") for number in range(4)]
    heads = ("heads: L1H1", "heads: L0H2", "heads: L1H1", "heads: L0H0")
    pairs = zip(several, heads, strict=True)
    text = "\n".join(one.replace("HEAD", f"max: 0.99, {head}") for one, head in pairs)
    write_cases(text, name="y.attn.yaml")
    file = Path("y.attn.yaml")
    file.write_text(file.read_text(encoding="utf-8").replace("suite: pronouns", "suite: others"))
    if workers:
        pytester.makeconftest(LOADS_TINY)
    probe("--html=report.html", f"-n{workers}")
    # Of five cases in x: one holds, one fails, one cannot be measured, one is skipped, one a gap.
    assert run_sentence() == (
        "1 of 6 attention checks does not hold, 1 could not be measured, 1 is a known gap, "
        "1 was skipped."
    )
    title = "attnprobe: 1 of 6 checks fails, 1 could not be measured"
    page = Path("report.html").read_text(encoding="utf-8")
    assert f'<title id="head-title">{title}</title>' in page
    assert f'<h1 id="title">{title}</h1>' in page
    one_of_three, four_of_four = (
        scipy.stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in ((1, 3), (4, 4))
    )
    assert suites() == [
        "1 failed pronouns tiny 1 failed 1 not measured 1 passed 1 known gap 1 skipped "
        f"1 of 3 hold (95 % interval {one_of_three.low:.1%} to {one_of_three.high:.1%}) "
        "decided by mean of 12 heads",
        "holds others tiny 4 passed "
        f"4 of 4 hold (95 % interval {four_of_four.low:.1%} to {four_of_four.high:.1%}) "
        "decided by L1H1, L0H0, L0H2",
    ]


def test_the_failures_stand_before_the_suites_and_lead_to_their_cases(
    probe: Run, write_cases: Write
) -> None:
    write_cases(CASES)
    probe("--html=report.html", "--attn-json=r.json")
    text = Path("report.html").read_text(encoding="utf-8")
    start, end = text.index('<ol class="attn-failures">'), text.index("</ol>")
    assert end < text.index('<ul class="attn-suites">') < text.index('id="report-cases"')
    lines = text[start:end].split("<li>")[1:]
    (failed,) = [case for case in read_results(Path("r.json")).cases if case.id == "fails"]
    observed = failed.expectations[1].bounds[0].observed
    assert [words(line) for line in lines] == [
        f"failed fails barks → dog over The weight {observed:.3f}, demanded >= 0.990 "
        "pronouns · tiny",
        "not measured unmeasured barks → dog layer 7 has no attention at the encoder site; layers "
        "with attention: 0 to 2 pronouns · tiny",
    ]
    cases = shown_cases()
    for line, name in zip(lines, ("fails", "unmeasured"), strict=True):
        assert f'href="#{cases[name].anchor}"' in line
        # The row of pytest-html has nothing but a link to the same case.
        ((row,),) = [rows for key, rows in report().tests.items() if key.endswith(name)]
        assert f'href="#{cases[name].anchor}"' in row["resultsTableRow"][-1]
        assert row["extras"] == []


def test_failing_cases_are_open_and_need_no_script(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    probe("--html=report.html", "--attn-figures=all")
    found = {
        name: (case.state, case.opened, case.needs_script) for name, case in shown_cases().items()
    }
    assert found == {
        "fails": ("failed", True, False),
        "unmeasured": ("error", True, False),
        "holds": ("passed", False, True),
        "gap": ("gap", False, True),
        "later": ("skipped", False, False),
    }
    # Only what no script needs to build keeps its colours without a style sheet.
    assert "bgcolor=" in details("fails")
    assert "bgcolor=" not in details("holds") + details("gap")


@pytest.mark.parametrize(("most", "folded"), [(2, False), (1, True)])
def test_the_rows_of_many_failures_are_folded(
    probe: Run, write_cases: Write, monkeypatch: pytest.MonkeyPatch, most: int, folded: bool
) -> None:
    monkeypatch.setattr("attnprobe.plugin.ledger.MOST_OPEN_ROWS", most)
    write_cases(CASES)
    probe("--html=report.html", "--attn-figures=none")
    (outcomes,) = re.findall(
        r'"renderCollapsed": (\[.*?\])', unescape(Path("report.html").read_text(encoding="utf-8"))
    )
    rows = ["passed", "xfailed", "skipped", *(["failed", "error"] if folded else [])]
    assert json.loads(outcomes) == rows


def test_a_suite_with_doubtful_passes_does_not_look_green() -> None:
    counts: dict[State, int] = {"passed": 3, "vacuous": 1, "gap": 2}
    line = SuiteLine("s", "m", counts, "4 of 4", "", "")
    assert line.badge == ("vacuous", "1 vacuous")
    assert [(part.badge, part.text) for part in line.segments] == [
        ("vacuous", "1 vacuous"),
        ("passed", "3 passed"),
        ("unjudged", "2 known gaps"),
    ]
    assert sum(part.width for part in line.segments) == pytest.approx(100)
    assert SuiteLine("s", "m", {"passed": 3, "borderline": 1}, "", "", "").badge[0] == "borderline"
    assert SuiteLine("s", "m", {"passed": 3, "gap": 1}, "", "", "").badge == ("passed", "holds")


def test_details_beyond_the_budget_are_left_out_or_pages_of_their_own(
    probe: Run, write_cases: Write
) -> None:
    write_cases(CASES)
    probe("--html=report.html", "--attn-figures=all")
    room = len(details("fails").encode()) + len(details("unmeasured").encode()) + 300
    small = ("--attn-figures=all", f"--attn-report-budget={room / 1e6:.6f}")
    for name, arguments in (("one.html", ["--self-contained-html"]), ("more.html", [])):
        probe(f"--html={name}", *arguments, *small)
        tables = {case: "<table" in details(case, name) for case in shown_cases()}
        assert tables == {
            "fails": True,
            "unmeasured": True,
            "holds": False,
            "gap": False,
            "later": False,
        }
    text = Path("one.html").read_text("utf-8")
    assert "the details of 2 cases are left out, since" in text
    assert "its details are beyond the budget" in shown_cases("one.html")["holds"].details
    assert not Path("one-pages").exists()
    text = Path("more.html").read_text("utf-8")
    assert "the details of 2 cases are on pages of their own, since" in text
    for name in ("holds", "gap"):
        ((link,),) = [
            re.findall(r'<a href="(more-pages/[^"]*)"', shown_cases("more.html")[name].details)
        ]
        assert maps(Path(link).read_text("utf-8")) == maps(details(name))
    assert len(list(Path("more-pages").iterdir())) == 2
    assert "since they are beyond" not in Path("report.html").read_text("utf-8")
    result = probe("--attn-report-budget=many")
    result.stderr.fnmatch_lines(["*--attn-report-budget takes a number of MB, not 'many'"])


def explorer_links(name: str, path: str = "report.html") -> list[str]:
    return re.findall(r'<a href="([^"#]*#?[^"]*)">explore all heads', details(name, path))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_explorer_of_a_failing_case_has_its_verdicts(
    probe: Run, write_cases: Write, pytester: pytest.Pytester, tiny: TinyModels, workers: int
) -> None:
    if workers:
        pytester.makeconftest(LOADS_TINY)
    write_cases(CASES)
    probe("--html=a b.html", "--self-contained-html", "--attn-explorer=failed", f"-n{workers}")
    found = {name: explorer_links(name, "a b.html") for name in shown_cases("a b.html")}
    anchor = shown_cases("a b.html")["fails"].anchor
    page = f"a%20b-pages/{anchor}.html"
    assert found == {
        "holds": [],
        "fails": [f"{page}#mark=0", f"{page}#mark=1"],
        "gap": [],
        "later": [],
        "unmeasured": [],
    }
    (file,) = Path("a b-pages").iterdir()
    assert file.name == f"{anchor}.html"
    (data,) = re.findall(
        r'<script type="application/json" id="explorer-data">(.*?)</script>',
        file.read_text("utf-8"),
    )
    ignored, attended = json.loads(data)["marks"]
    heads = [f"L{layer}H{head}" for layer in range(3) for head in range(4)]
    assert (ignored["heads"], attended["heads"]) == (heads, heads)
    assert (attended["rows"], attended["expected"], attended["contrast"]) == (BARKS, DOG, THE)
    assert attended["label"] == "failed: attends barks → dog over The by mean of 12 heads"
    observed = eager_pair(tiny.model).mean()
    assert attended["bound"] == f"weight {observed:.3f}, demanded >= 0.990"


def test_a_report_without_explorers_says_how_to_get_them(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    probe("--html=report.html", "--attn-explorer=all")
    text = Path("report.html").read_text("utf-8")
    assert "--attn-explorer=failed writes" not in text
    assert len(list(Path("report-pages").iterdir())) == 3  # what was measured: holds, fails, gap
    probe("--html=other.html")
    assert "--attn-explorer=failed writes" in Path("other.html").read_text("utf-8")
    assert not Path("other-pages").exists()


def test_an_explorer_that_cannot_be_written_is_a_note(
    probe: Run, write_cases: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cases(CASES)
    Path("report-pages").write_text("mine")
    probe("--html=report.html", "--attn-explorer=failed").assert_outcomes(
        passed=1, failed=1, xfailed=1, skipped=1, errors=1
    )
    assert "no explorer: " in details("fails")
    assert Path("report-pages").read_text() == "mine"
    monkeypatch.setattr("attnprobe.plugin.explorer_pages.MOST_WEIGHTS", 3 * 4 * 16 * 16 - 1)
    probe("--html=other.html", "--attn-explorer=failed")
    assert "the maps of this text have 3,072 weights, more than a page" in details(
        "fails", "other.html"
    )


def test_a_title_that_the_project_gives_is_kept(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest("def pytest_html_report_title(report): report.title = 'Ours'")
    write_cases(CASES)
    probe("--html=report.html")
    assert '<h1 id="title">Ours</h1>' in Path("report.html").read_text(encoding="utf-8")


def test_the_title_counts_other_tests_that_fail(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test_other(): assert False")
    write_cases(CASES)
    write_cases("- {id: broken}", name="broken.attn.yaml")
    probe("--html=report.html", "-k", "holds or other", "--continue-on-collection-errors")
    title = "attnprobe: the check holds, 1 file could not be read, 1 other test fails"
    assert f'<h1 id="title">{title}</h1>' in Path("report.html").read_text(encoding="utf-8")


def test_the_start_of_the_report_counts_what_was_not_judged(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    probe("--html=report.html", "-k", "gap or later")
    assert run_sentence() == (
        "No attention check was judged, 1 is a known gap, 1 was skipped, 3 were deselected."
    )
    assert suites() == ["not judged pronouns tiny 1 known gap 1 skipped 0 of 0 hold"]


def test_the_start_of_the_report_shows_names_as_they_are_p31() -> None:
    name = "<script>alert(1)</script>\x1b"
    case = ReportCase("case-a-1", name, name, name, name, "failed", name, name, name)
    suite = SuiteLine(name, name, {"failed": 1}, "0 of 1", "", name)
    page = ReportPage(name, name, (name,), (name,), (suite,), (case, case))
    verdict, cases = str(report_section(page)), str(cases_section(page))
    shown = "&lt;script&gt;alert(1)&lt;/script&gt;&lt;U+001B&gt;"
    assert verdict.count(shown) == 3 + 3 + 2 * 5
    assert cases.count(shown) == 2 * 8
    assert cases.count("<script") == 1
    assert "<script" not in verdict
    assert "\x1b" not in verdict + cases


def test_a_report_of_other_tests_alone_does_not_start_with_checks(
    probe: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test_other(): pass")
    probe("--html=report.html").assert_outcomes(passed=1)
    text = Path("report.html").read_text(encoding="utf-8")
    assert 'id="report-verdict"' not in text
    assert '<h1 id="title">report.html</h1>' in text


@pytest.mark.parametrize("arguments", [[], ["--self-contained-html"]])
@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ("failed", {"holds": 0, "fails": 2, "gap": 0, "unmeasured": 0}),
        ("all", {"holds": 1, "fails": 2, "gap": 1, "unmeasured": 0}),
        ("none", {"holds": 0, "fails": 0, "gap": 0, "unmeasured": 0}),
    ],
)
def test_which_cases_get_pictures(
    probe: Run,
    write_cases: Write,
    arguments: list[str],
    figures: str,
    expected: dict[str, int],
) -> None:
    write_cases(CASES)
    chosen = [] if figures == "failed" else [f"--attn-figures={figures}"]
    result = probe("--html=report.html", *arguments, *chosen)
    result.assert_outcomes(passed=1, failed=1, xfailed=1, skipped=1, errors=1)
    assert {name: len(maps(details(name))) for name in expected} == expected
    # A row for each bound: one of the two expectations that fail has a contrast as well.
    for name, rows in {"holds": 1, "fails": 3, "gap": 1, "unmeasured": 1}.items():
        (table,) = re.findall(r'<table class="attn-table">.*?</table>', details(name), re.DOTALL)
        assert table.count("<tr>") == 1 + rows
    assert details("later") == ""


def test_a_known_gap_has_its_reason_and_the_run_its_models(probe: Run, write_cases: Write) -> None:
    write_cases(CASES.replace("xfail: known", "xfail: a <b> word is not found"))
    probe("--html=report.html")
    assert "known gap: a &lt;b&gt; word is not found" in details("gap")
    assert "known gap" not in details("fails")
    text = Path("report.html").read_text(encoding="utf-8")
    assert "tiny, float32, device auto" in text
    (model,) = re.findall("<li>(tiny: [^<]*)</li>", text)
    assert re.fullmatch("tiny: BertModel, 3 layers of 4 heads, float32 on cpu(, .*)?", model)


def test_every_judged_case_shows_its_text(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(CASES.replace("text: The dog barks.", "text: The <b> dog barks.", 1))
    pytester.makepyfile(
        """
        def test_two(attn):
            attn("The dog barks.").ignores("barks", "dog", heads="mean", max=0.99)
            attn("Old men saw her").ignores("men", "her", heads="mean", max=0.99)
            attn("The dog barks.").ignores("barks", "The", heads="mean", max=0.99)
        """
    )
    probe("--html=report.html")
    paragraph = re.compile(r'<p class="attn-sentence" dir="auto">(.*?)</p>')

    def texts(name: str) -> list[str]:
        return [words(text) for text in paragraph.findall(details(name))]

    assert texts("holds") == ["<s> T h e < b > d o g b a r k s . </s>"]
    assert texts("fails") == ["<s> T h e d o g b a r k s . </s>"] * 2
    assert texts("test_two") == [
        "<s> T h e d o g b a r k s . </s>",
        "<s> O l d m e n s a w h e r </s>",
        "<s> T h e d o g b a r k s . </s>",
    ]
    # What is in sight without a script, and what the search finds.
    text = Path("report.html").read_text(encoding="utf-8")
    assert '<p class="attn-text">The &lt;b&gt; dog barks.</p>' in text


@pytest.mark.parametrize(
    "where", ["attnprobe.plugin.case_page.attention_map", "attnprobe.run.runner.Runner.pictured"]
)
def test_a_fault_in_a_drawing_is_a_note_and_the_run_goes_on(
    probe: Run, write_cases: Write, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("<img src=x onerror=alert(1)>")

    monkeypatch.setattr(where, fault)
    write_cases(CASES)
    result = probe("--html=report.html", "--attn-json=r.json")
    result.assert_outcomes(passed=1, failed=1, xfailed=1, skipped=1, errors=1)
    note = "no picture: ZeroDivisionError: &lt;img src=x onerror=alert(1)&gt;"
    assert details("fails").count(note) == 2
    assert details("fails").count("<table") == 1
    assert len(read_results(Path("r.json")).cases) == 5


def test_a_fault_in_the_table_is_a_note_too(
    probe: Run, write_cases: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_: object) -> str:
        raise KeyError("odd")

    monkeypatch.setattr("attnprobe.plugin.case_page.expectations_table", fault)
    write_cases(CASES)
    probe("--html=report.html").assert_outcomes(passed=1, failed=1, xfailed=1, skipped=1, errors=1)
    assert "no table: KeyError: " in details("holds")


def test_a_map_shows_the_weights_of_the_head_to_three_decimals(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(CASES.replace("min: 0.99}", "heads: L1H2, min: 0.99}", 1))
    probe("--html=report.html", "-k", "fails", "--attn-json=r.json")
    shown = details("fails")
    drawn = maps(shown)[1]
    weights = eager_maps(tiny.model)[1, 2]
    # A text of more than 14 tokens shows its numbers when a cell is pointed at.
    told = np.array(cells(drawn), float).reshape(weights.shape)
    assert np.allclose(told, weights, atol=0.0006)
    assert len(re.findall(r'<th scope="col"', drawn)) == len(weights) == 16
    marks = np.array(re.findall(r'<td class="m\d+([^"]*)"', drawn)).reshape(weights.shape)
    for mark, columns in ((" e", DOG), (" c", THE)):
        assert np.argwhere(marks == mark).tolist() == [[row, at] for row in BARKS for at in columns]
    assert {column for _, column in np.argwhere(marks == " s").tolist()} == {0, 15}
    # The sentence is tinted by the mean row of barks; its scale is that of the words.
    row = weights[BARKS].mean(axis=0)
    top = row[1:15].max()
    spans = re.findall(r'<span class="m(\d+)([^"]*)">', shown.split("<article")[2])
    for at in (*THE, *DOG, *BARKS):
        assert int(spans[at][0]) == math.floor(31 * round(float(row[at]), 3) / top + 0.5)
    roles = {at: role.strip() for at, (_, role) in enumerate(spans) if role.strip()}
    assert roles == (
        dict.fromkeys(THE, "attn-over")
        | dict.fromkeys(DOG, "attn-to")
        | dict.fromkeys(BARKS, "attn-from")
        | {0: "s", 15: "s"}
    )
    (case,) = read_results(Path("r.json")).cases
    for text in ("barks → dog over The", "L1H2", "&gt;= 0.990", "failed", "passed"):
        assert text in shown
    assert f"{case.expectations[1].bounds[0].observed:.3f}" in shown


def test_a_failed_word_pair_is_shown_in_every_head(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    one_head = CASES.replace("dog, max: 0.99", "dog, heads: L1H2, max: 0.99")
    write_cases(one_head.replace("over: The, min: 0.99", "over: The, heads: L1H2, min: 0.99"))
    probe("--html=report.html")
    of_pair = eager_pair(tiny.model)
    failed = details("fails").split("<article")[2]
    # A grid of three layers and four heads, with the deciding head outlined.
    grid = failed[failed.index("weight of the pair of every head") :]
    assert np.allclose([float(cell) for cell in cells(grid)], of_pair.ravel(), atol=0.0006)
    (outlined,) = [at for at, mark in enumerate(re.findall(r'<td class="m\d+( e)?"', grid)) if mark]
    assert divmod(outlined, 4) == (1, 2)
    others = of_pair.copy()
    others[1, 2] = -1
    layer, head = np.unravel_index(int(others.argmax()), others.shape)
    nearest = f"best other head for this pair: L{layer}H{head}, weight {others.max():.3f}"
    assert f"{nearest}, would fail too; the best of 11 heads in layers 0 to 2" in failed
    # The heads of the layer as small pictures, each with its weight.
    panel = failed[failed.index("all heads of layer 1</summary>") :]
    captions = re.findall(r"<figcaption>(L[^<]*)</figcaption>", panel)
    assert captions == [
        f"L1H{at} {of_pair[1, at]:.2f}{' decides' if at == 2 else ''}" for at in range(4)
    ]


def test_what_holds_shows_the_heads_that_were_captured_anyway(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(CASES.replace("dog, max: 0.99", "dog, heads: L1H2, max: 0.99"))
    probe("--html=report.html", "--attn-figures=all", "-k", "holds")
    of_pair = eager_pair(tiny.model)[1]
    grid = details("holds").partition("weight of the pair of every head")[2]
    assert np.allclose([float(cell) for cell in cells(grid)], of_pair, atol=0.0006)
    assert re.findall(r'<th scope="row"[^>]*>(\w+)', grid) == ["L1"]


def test_a_self_contained_report_refers_to_nothing_outside(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    probe("--html=sub/report.html", "--self-contained-html", "--attn-figures=all")
    assert [path.name for path in Path("sub").iterdir()] == ["report.html"]
    page = report("sub/report.html")
    cases = shown_cases("sub/report.html").values()
    added = Page("".join(case.details for case in cases))
    for tag, attributes in [*page.tags, *added.tags]:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "srcset", "data", "poster", "background"):
            assert str(attributes.get(name) or "data:").startswith("data:")
        assert str(attributes.get("href") or "#").startswith(("#", "https://pypi.python.org/"))
        assert "style" not in attributes


@pytest.mark.parametrize("arguments", [[], ["--self-contained-html"], ["-n0"]])
def test_the_style_of_what_is_added_stands_once_in_the_page(
    probe: Run, write_cases: Write, arguments: list[str]
) -> None:
    write_cases(CASES)
    probe("--html=report.html", "--attn-figures=all", *arguments)
    text = Path("report.html").read_text(encoding="utf-8")
    style, around = [
        style for style in re.findall(r"<style.*?</style>", text, re.DOTALL) if "attn" in style
    ]
    assert around.count(":root body {") == 1
    assert ":has(" not in style + around  # it slows every change of a large page
    added = "".join(map(details, ("holds", "fails", "gap", "unmeasured")))
    classes = {name for found in re.findall(r'class="([^"]*)"', added) for name in found.split()}
    assert {"attn-sentence", "attn-passed", "attn-failed", "attn-error"} <= classes
    named = set(re.findall(r"\.([a-z][a-z0-9-]*)", style))
    assert {name for name in classes if name.startswith("attn") and name not in named} == set()
    # The names of tests are dark enough to be read on white.
    assert "#environment td, #results-table .collapsible td:not(.col-result) {" in style


def test_a_report_without_models_is_left_alone(probe: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_other(): pass")
    probe("--html=report.html", model=None).assert_outcomes(passed=1)
    assert "attnprobe {" not in Path("report.html").read_text(encoding="utf-8")


def test_without_pytest_html_the_run_works(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    result = probe("-p", "no:html", "--attn-figures=all")
    result.assert_outcomes(passed=1, failed=1, xfailed=1, skipped=1, errors=1)


def test_python_probes_are_in_the_report(probe: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(attn, extras):
            extras.append({"name": "own", "format_type": "html", "content": "<i>mine</i>",
                           "mime_type": None, "extension": None})
            read = attn("The dog barks.")
            read.ignores("barks", "dog", heads="mean", max=0.99)
            read.attends("barks", "dog", heads="L1H1", min=0.99)
            read.attends("barks", "The", heads="L1H1", min=0.99)
        """
    )
    probe("--html=report.html").assert_outcomes(failed=1)
    (table,) = re.findall(r'<table class="attn-table">.*?</table>', details("test_it"), re.DOTALL)
    assert table.count("<tr>") == 3
    assert len(maps(details("test_it"))) == 2
    # What the test itself adds stays in its row.
    ((row,),) = report().tests.values()
    assert [extra["content"] for extra in row["extras"]] == ["<i>mine</i>"]


@pytest.mark.parametrize("workers", [0, 2])
def test_of_a_test_that_runs_again_the_report_has_the_last_outcome(
    probe: Run, pytester: pytest.Pytester, workers: int
) -> None:
    if workers:
        pytester.makeconftest(LOADS_TINY)
    pytester.makepyfile(
        """
        from pathlib import Path

        def test_later(attn):
            runs = Path("runs")
            seen = runs.exists()
            runs.touch()
            bound = 0.99 if seen else 0.0001
            attn("The dog barks.").ignores("barks", "dog", heads="mean", max=bound)

        def test_never(attn):
            attn("The dog barks.").ignores("barks", "dog", heads="mean", max=0.0001)
        """
    )
    probe("--html=report.html", "--reruns=1", f"-n{workers}", "--attn-json=r.json")
    assert [case.outcome for case in read_results(Path("r.json")).cases] == ["passed", "failed"]
    assert run_sentence() == "1 of 2 attention checks does not hold."
    found = shown_cases()
    assert {name: case.state for name, case in found.items()} == {
        "test_never": "failed",
        "test_later": "passed",
    }
    # The details are those of the last run alone: demanded is its bound.
    assert "&lt;= 0.990" in details("test_later")
    assert "&lt;= 0.000" not in details("test_later")
    text = Path("report.html").read_text("utf-8")
    assert text.count('<details class="attn-case"') == 2


HOSTILE = "<img src=x onerror=alert(1)>"


def test_hostile_names_and_texts_are_escaped_p31(probe: Run, write_cases: Write) -> None:
    write_cases(
        f"""
        - id: hostile
          text: '{HOSTILE} barks'
          expect:
            - attends: {{from: barks, to: '{HOSTILE}', min: 0.99}}
        - id: passes
          text: '{HOSTILE} barks'
          expect:
            - ignores: {{from: barks, to: '{HOSTILE}', max: 0.99}}
        """,
        name=f"{HOSTILE}.attn.yaml",
    )
    write_cases("- {id: broken}", name=f"broken {HOSTILE}.attn.yaml")
    probe(
        "--html=report.html",
        "--self-contained-html",
        "--attn-figures=all",
        "--continue-on-collection-errors",
        "--attn-json=r.json",
    ).assert_outcomes(passed=1, failed=1, errors=1)
    page = report()
    assert len(page.tests) == 3
    # What scripts turn into elements: cells and logs by pytest-html's, details by ours.
    pieces = [
        piece
        for rows in page.tests.values()
        for row in rows
        for piece in (*row["resultsTableRow"], row["testId"], row["log"])
    ]
    pieces += [case.details for case in shown_cases().values()]
    assert sum("onerror=alert(1)&gt;" in piece for piece in pieces) >= 9
    for tag, attributes in [*page.tags, *Page("".join(pieces)).tags]:
        assert "onerror" not in attributes
        # The template of pytest-html holds an empty image for its gallery.
        assert tag != "img" or re.match(r"data:image/png;base64,|$", attributes["src"] or "")
    assert {case.file for case in read_results(Path("r.json")).cases} == {f"{HOSTILE}.attn.yaml"}


def test_the_report_writes_into_its_folder_alone_p32(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(CASES.replace("id: fails", "id: .."), name="a/../x.attn.yaml")
    before = set(pytester.path.parent.rglob("*"))
    probe("-p", "no:cacheprovider", "--html=out/report.html", "--attn-json=out/r.json")
    written = set(pytester.path.parent.rglob("*")) - before
    names = sorted(path.relative_to(pytester.path).as_posix() for path in written)
    assert names == [
        "out",
        "out/assets",
        "out/assets/style.css",
        "out/r.json",
        "out/r.json.lock",
        "out/report.html",
    ]


def test_a_file_name_with_a_backslash_breaks_no_report(probe: Run, write_cases: Write) -> None:
    write_cases(CASES, name="a\\N.attn.yaml")
    result = probe("--html=report.html")
    result.assert_outcomes(passed=1, failed=1, xfailed=1, skipped=1, errors=1)
