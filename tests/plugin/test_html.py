"""The HTML report: tables, pictures, and nothing from users that acts."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import scipy.stats

from attnprobe.render.web.overview import SuiteCount, overview_section
from attnprobe.results.records import read_results
from tests.support.inner_runs import LOADS_TINY, SLOW
from tests.support.report_pages import Page
from tests.support.svg import texts

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
SVG = re.compile(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)")


def report(path: str = "report.html") -> Page:
    return Page(Path(path).read_text(encoding="utf-8"))


def shown(page: Page, name: str) -> str:
    """The HTML that the plugin adds to the first row of a case, "" for none."""
    (key,) = [key for key in page.tests if key.endswith(name)]
    return "".join(extra["content"] for extra in page.tests[key][0]["extras"])


def pictures(page: Page, name: str) -> list[str]:
    return [base64.b64decode(data).decode() for data in SVG.findall(shown(page, name))]


class Cells(HTMLParser):
    """The texts of the table cells of a page, a list for each row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag == "td" and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.replace("\N{NO-BREAK SPACE}", " ")


def overview(path: str = "report.html") -> tuple[str, list[list[str]]]:
    """The sentence and the rows of the section that the report starts with."""
    found = re.search(
        r"<section[^>]*><h2[^>]*>Attention checks</h2><p[^>]*>(.*?)</p>(.*?)</section>",
        Path(path).read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found is not None
    return found[1], [row for row in Cells(found[2]).rows if row]


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
        told = ("--attn-model=tiny", "--html=report.html", f"-n{workers}")
        pytester.runpytest_subprocess(*SLOW, *told)
    else:
        probe("--html=report.html")
    sentence, rows = overview()
    # Of five cases in x: one holds, one fails, one cannot be measured, one is skipped, one a gap.
    assert sentence == (
        "1 of 6 attention checks does not hold, 1 could not be measured, 1 is a known gap, "
        "1 was skipped."
    )
    one_of_three, four_of_four = (
        scipy.stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in ((1, 3), (4, 4))
    )
    assert rows == [
        [
            *("2 failed", "pronouns", "tiny", "1 of 3"),
            *(f"{one_of_three.low:.1%} to {one_of_three.high:.1%}", "1", "mean of 12 heads"),
        ],
        [
            *("holds", "others", "tiny", "4 of 4"),
            *(f"{four_of_four.low:.1%} to {four_of_four.high:.1%}", "", "L1H1, L0H0, L0H2"),
        ],
    ]


def test_the_start_of_the_report_counts_what_was_not_judged(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    probe("--html=report.html", "-k", "gap or later")
    assert overview() == (
        "No attention check was judged, 1 is a known gap, 1 was skipped, 3 were deselected.",
        [["not judged", "pronouns", "tiny", "0 of 0", "", "1", ""]],
    )


def test_the_start_of_the_report_shows_names_as_they_are_p31() -> None:
    name = "<script>alert(1)</script>\x1b"
    count = SuiteCount(name, name, held=1, judged=2, gaps=0, heads=(name,) * 9)
    made = str(overview_section(name, [count]))
    assert "<script" not in made
    assert "\x1b" not in made
    assert made.count("&lt;script&gt;alert(1)&lt;/script&gt;&lt;U+001B&gt;") == 6
    assert "and 6 more" in made


def test_a_report_of_other_tests_alone_does_not_start_with_checks(
    probe: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test_other(): pass")
    probe("--html=report.html").assert_outcomes(passed=1)
    assert "Attention checks" not in Path("report.html").read_text(encoding="utf-8")


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
    page = report()
    assert {name: len(pictures(page, name)) for name in expected} == expected
    # A row for each bound: one of the two expectations that fail has a contrast as well.
    for name, rows in {"holds": 1, "fails": 3, "gap": 1, "unmeasured": 1}.items():
        assert shown(page, name).count("<table") == 1
        assert shown(page, name).count("<tr>") == 1 + rows
    assert shown(page, "later") == ""


def test_a_known_gap_has_its_reason_and_the_run_its_models(probe: Run, write_cases: Write) -> None:
    write_cases(CASES.replace("xfail: known", "xfail: a <b> word is not found"))
    probe("--html=r.html")
    page = Page(Path("r.html").read_text(encoding="utf-8"))
    assert "known gap: a &lt;b&gt; word is not found" in shown(page, "gap")
    assert "known gap" not in shown(page, "fails")
    assert "tiny, float32, device auto" in Path("r.html").read_text(encoding="utf-8")


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
    page = report()
    paragraph = re.compile("<p class=.attnprobe attn-text.>(.*?)</p>")
    assert paragraph.findall(shown(page, "holds")) == ["The &lt;b&gt; dog barks."]
    assert paragraph.findall(shown(page, "fails")) == ["The dog barks."]
    assert paragraph.findall(shown(page, "test_two")) == ["The dog barks.", "Old men saw her"]


@pytest.mark.parametrize(
    "where", ["attnprobe.attention.draw", "attnprobe.run.runner.Runner.pictured"]
)
def test_a_fault_in_a_drawing_is_a_note_and_the_run_goes_on(
    probe: Run, write_cases: Write, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("<img src=x onerror=alert(1)>")

    monkeypatch.setattr(where.replace("attention.draw", "plugin.reports.draw"), fault)
    write_cases(CASES)
    result = probe("--html=report.html", "--attn-json=r.json")
    result.assert_outcomes(passed=1, failed=1, xfailed=1, skipped=1, errors=1)
    note = "no picture: ZeroDivisionError: &lt;img src=x onerror=alert(1)&gt;"
    assert shown(report(), "fails").count(note) == 2
    assert shown(report(), "fails").count("<table") == 1
    assert len(read_results(Path("r.json")).cases) == 5


def test_a_fault_in_the_table_is_a_note_too(
    probe: Run, write_cases: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_: object) -> str:
        raise KeyError("odd")

    monkeypatch.setattr("attnprobe.plugin.reports.expectations_table", fault)
    write_cases(CASES)
    probe("--html=report.html").assert_outcomes(passed=1, failed=1, xfailed=1, skipped=1, errors=1)
    assert "no table: KeyError: " in shown(report(), "holds")


def test_the_picture_shows_the_head_and_the_words(probe: Run, write_cases: Write) -> None:
    write_cases(CASES.replace("min: 0.99}", "heads: L1H2, min: 0.99}", 1))
    probe("--html=report.html", "-k", "fails", "--attn-json=r.json")
    drawn = pictures(report(), "fails")[1]
    ElementTree.fromstring(drawn)
    assert "tiny · L1H2 · fails" in drawn
    assert "attention weight" in drawn
    (case,) = read_results(Path("r.json")).cases
    table = shown(report(), "fails")
    for text in ("barks → dog over The", "L1H2", "&gt;= 0.990", "failed", "passed"):
        assert text in table
    assert f"{case.expectations[1].bounds[0].observed:.3f}" in table


def test_a_failed_word_pair_is_shown_beside_all_heads_of_its_layer(
    probe: Run, write_cases: Write
) -> None:
    one_head = CASES.replace("dog, max: 0.99", "dog, heads: L1H2, max: 0.99")
    write_cases(one_head.replace("over: The, min: 0.99", "over: The, heads: L1H2, min: 0.99"))
    probe("--html=report.html", "--attn-figures=all")
    page = report()
    # The pair that holds, the one that does not, and the other heads of that one's layer.
    held, failed, panel = pictures(page, "fails")
    assert "tiny · all heads of layer 1 · fails" in panel
    assert {f"L1H{number}" for number in range(4)} <= set(texts(panel))
    assert re.findall(r'id="(decided-\w+)"', panel) == ["decided-L1H2"]
    assert not re.search(r'id="decided-', held + failed)
    content = shown(page, "fails")
    folded = content[content.index("<details") : content.index("</details>")]
    assert "all heads of layer 1</summary>" in folded
    assert len(SVG.findall(folded)) == 1
    # What holds has its heatmap alone; the mean of all heads has no deciding layer.
    assert [len(pictures(page, name)) for name in ("holds", "gap")] == [1, 1]
    assert "<details" not in shown(page, "holds") + shown(page, "gap")


def test_a_self_contained_report_refers_to_nothing_outside(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    probe("--html=sub/report.html", "--self-contained-html", "--attn-figures=all")
    assert [path.name for path in Path("sub").iterdir()] == ["report.html"]
    page = report("sub/report.html")
    added = Page("".join(shown(page, name) for name in ("holds", "fails", "gap", "unmeasured")))
    for tag, attributes in [*page.tags, *added.tags]:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "srcset", "data", "poster", "background"):
            assert str(attributes.get(name) or "data:").startswith("data:")
    for drawn in pictures(page, "fails"):
        assert not re.search(r"href=\"(?!#|data:)", drawn)
        assert not re.search(r"url\((?!#)|@import|<script", drawn)


@pytest.mark.parametrize("arguments", [[], ["--self-contained-html"], ["-n0"]])
def test_the_style_of_what_is_added_stands_once_in_the_page(
    probe: Run, write_cases: Write, arguments: list[str]
) -> None:
    write_cases(CASES)
    probe("--html=report.html", "--attn-figures=all", *arguments)
    text = Path("report.html").read_text(encoding="utf-8")
    (style,) = [
        style for style in re.findall(r"<style.*?</style>", text, re.DOTALL) if "attn" in style
    ]
    added = "".join(shown(report(), name) for name in ("holds", "fails", "gap", "unmeasured"))
    assert "style=" not in re.sub(r'base64,[^"]*', "", added)
    classes = {name for found in re.findall(r'class="([^"]*)"', added) for name in found.split()}
    assert {"attnprobe", "attn-passed", "attn-failed", "attn-error"} <= classes
    assert {name for name in classes if f".{name} " not in style} == set()
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
    page = report()
    assert shown(page, "test_it").count("<tr>") == 3
    # Two heatmaps, and all heads of the layer beside the pair that does not hold.
    assert len(pictures(page, "test_it")) == 3
    assert shown(page, "test_it").count("<i>mine</i>") == 1


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
    # What pytest-html's script turns into elements: cells, our tables and pictures, the log.
    pieces = [
        piece
        for rows in page.tests.values()
        for row in rows
        for piece in (
            *row["resultsTableRow"],
            row["testId"],
            row["log"],
            *(extra["content"] for extra in row["extras"]),
        )
    ]
    assert sum("onerror=alert(1)&gt;" in piece for piece in pieces) >= 9
    for tag, attributes in [*page.tags, *Page("".join(pieces)).tags]:
        assert "onerror" not in attributes
        # The template of pytest-html holds an empty image for its gallery.
        assert tag != "img" or re.match(r"data:image/svg\+xml;base64,|$", attributes["src"] or "")
    for name in ("hostile", "passes"):
        for drawn in pictures(page, name):
            tree = ElementTree.fromstring(drawn)
            assert not [node for node in tree.iter() if "onerror" in node.attrib]
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
