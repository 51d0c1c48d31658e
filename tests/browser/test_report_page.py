"""The report of a run in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attnprobe.render.web.html import style_sheet
from attnprobe.render.web.report import ReportCase, ReportPage, cases_section, pack_html
from tests.support.pages import OpenPage, look_faults
from tests.support.report_pages import details, shown_cases

CASES = """
- id: holds
  text: The dog barks.
  expect: [{ignores: {from: barks, to: dog, heads: L1H2, max: 0.99}}]
- id: fails
  text: The dog barks.
  expect: [{attends: {from: barks, to: dog, over: The, heads: L1H2, min: 0.99}}]
- id: gap
  text: The cat sleeps.
  xfail: known
  expect: [{attends: {from: sleeps, to: cat, min: 0.99}}]
"""


@pytest.fixture
def report(probe: Callable[..., pytest.RunResult], write_cases: Callable[..., Path]) -> Path:
    write_cases(CASES)
    probe(
        "--html=report.html",
        "--self-contained-html",
        "--attn-figures=all",
        "--attn-explorer=failed",
    )
    return Path("report.html").resolve()


def test_without_scripts_the_verdict_and_the_failures_are_there(
    open_page: OpenPage, report: Path
) -> None:
    page = open_page(report, java_script_enabled=False)
    assert page.title() == "attnprobe: 1 of 2 checks fails"
    assert page.locator(".attn-failures li").count() == 1
    assert page.locator(".attn-case[open] table.attn-map").first.is_visible()
    assert page.locator(".attn-case[open] .attn-sentence").first.is_visible()


def test_an_opened_case_has_what_was_packed_and_a_closed_one_nothing(
    open_page: OpenPage, report: Path
) -> None:
    anchor = shown_cases(str(report))["holds"].anchor
    page = open_page(report)
    case = page.locator(f"#{anchor}")
    assert case.locator("table").count() == 0
    case.locator("summary").first.click()
    case.locator("table.attn-map").first.wait_for()
    cells = case.locator("table.attn-map").first.locator("td").all_text_contents()
    classes = case.locator("table.attn-map").first.evaluate(
        "table => [...table.tBodies[0].querySelectorAll('td')].map(cell => cell.className)"
    )
    packed = details("holds", str(report))
    assert all(f'<td class="{name}">' in packed for name in classes)
    assert len([cell for cell in cells if cell]) == packed.split("</table>")[0].count("<td class")


def test_a_link_opens_its_case(open_page: OpenPage, report: Path) -> None:
    anchor = shown_cases(str(report))["gap"].anchor
    page = open_page(report, fragment=anchor)
    table = page.locator(f"#{anchor}[open] table.attn-map").first
    table.wait_for()
    assert table.is_visible()


def test_the_explorer_of_a_case_opens_with_its_verdict(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.locator(".attn-case[open] a", has_text="explore all heads").click()
    page.locator(".attn-explorer[data-ready]").wait_for()
    (shown,) = page.locator(".attn-marks [aria-pressed=true]").all_inner_texts()
    assert shown.startswith("failed: attends barks → dog over The by L1H2: weight ")
    assert page.locator(".attn-chips [aria-pressed=true]").inner_text() == "L1H2"
    for mark, word in (("e", "dog"), ("c", "The")):
        (title,) = page.locator(f"[data-part=map] td.{mark}").evaluate_all(
            """cells => cells.map(cell => [cell.parentElement.cells[0],
              cell.closest('table').tHead.rows[0].cells[cell.cellIndex]]
              .map(label => label.textContent).join(' → '))"""
        )
        assert title == f"barks → {word}"


def test_the_filter_shows_what_was_asked_for(open_page: OpenPage, report: Path) -> None:
    page = open_page(report)
    page.keyboard.press("/")
    page.keyboard.type("sleeps")
    assert page.locator(".attn-filter output").inner_text() == "1 of 3 cases"
    assert page.locator(".attn-case:visible b").all_inner_texts() == ["gap"]
    page.locator("input[type=search]").fill("")
    page.locator("input[value=failed]").uncheck()
    assert page.locator(".attn-case:visible b").all_inner_texts() == ["holds", "gap"]


def test_a_cell_is_read_with_the_keyboard_and_sinks_can_have_their_scale(
    open_page: OpenPage, report: Path
) -> None:
    page = open_page(report)
    table = page.locator(".attn-case[open] table.attn-map").first
    table.focus()
    page.keyboard.press("ArrowRight")
    said = page.locator(".attn-case[open] .attn-readout").first.inner_text()
    first = table.locator("tbody td").first.text_content()
    assert float(said.rpartition(" ")[2]) == float(first or "nan")
    page.locator(".attn-switch").first.click()
    numbers = table.evaluate(
        "table => [...table.tBodies[0].querySelectorAll('td')].map("
        "cell => [Number(cell.textContent), cell.classList[0]])"
    )
    assert max(numbers)[1] == "m31"


def test_the_report_is_readable_on_a_phone_and_in_the_dark(
    open_page: OpenPage, report: Path
) -> None:
    page = open_page(report)
    assert look_faults(page, part=".attn-report") == []


def test_open_cases_are_drawn_when_they_come_in_sight(open_page: OpenPage, tmp_path: Path) -> None:
    """The first ten stand in the page; the others are there without scripts and when printed."""
    body = pack_html('<div class="attn-body"><p class="attn-sentence">text</p></div>')
    cases = tuple(
        ReportCase(f"case-{n}", f"c{n}", "s", "m", "x:1", "failed", "", "", "text", body=body)
        for n in range(40)
    )
    section = cases_section(ReportPage("", "", (), (), (), cases))
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><title>t</title>{style_sheet()}{section}", encoding="utf-8")
    details = "#report-cases .attn-sentence"
    assert open_page(file, java_script_enabled=False).locator(details).count() == 40
    page = open_page(file)
    assert page.locator(details).count() < 20
    page.locator("#case-25").scroll_into_view_if_needed()
    page.locator("#case-25 .attn-sentence").wait_for()
    assert page.locator(details).count() < 40
    page.locator("input[type=search]").fill("text")
    assert page.locator(".attn-filter output").inner_text() == "40 of 40 cases"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(details).count() == 40


def test_a_filter_touches_the_styles_of_what_is_in_sight_alone(
    open_page: OpenPage, tmp_path: Path
) -> None:
    """The cases stand in rooms of fifty; the browser skips a room that is out of sight."""
    cases = tuple(
        ReportCase(f"case-{n}", f"c{n}", "s", "m", "x:1", "passed", "a → b", f"weight {n}", "text")
        for n in range(400)
    )
    section = cases_section(ReportPage("", "", (), (), (), cases))
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><title>t</title>{style_sheet()}{section}", encoding="utf-8")
    page = open_page(file)
    rooms = page.locator(".attn-some")
    assert rooms.count() == 8
    drawn = """rooms => rooms.map(room => [...room.children].filter(
      row => row.checkVisibility({ contentVisibilityAuto: true })).length)"""
    assert rooms.evaluate_all(drawn)[3:] == [0] * 5
    page.locator("input[type=search]").fill("c3")  # c3, c30 to c39, c300 to c399
    assert page.locator(".attn-filter output").inner_text() == "111 of 400 cases"
    kept = "rooms => rooms.map(room => room.querySelectorAll('details:not([hidden])').length)"
    assert rooms.evaluate_all(kept) == [11, 0, 0, 0, 0, 0, 50, 50]
    page.locator("input[type=search]").fill("")
    assert rooms.evaluate_all(kept) == [50] * 8
    last = page.locator(".attn-case").last
    last.locator("summary").click()
    assert last.get_attribute("open") is not None
