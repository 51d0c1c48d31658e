"""The checks that hold of every page find what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.support.pages import (
    CANARY,
    OpenPage,
    Watch,
    accessibility_faults,
    look_faults,
    overflow,
)

HEAD = "<!doctype html><html lang=en><meta charset=utf-8><title>x</title><main><h1>x</h1>"


def written(html: str) -> Path:
    file = Path("page.html")
    file.write_text(HEAD + html, encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def watched(browser: Browser, html: str) -> list[str]:
    context = browser.new_context()
    context.add_init_script(CANARY)
    page: Page = context.new_page()
    watch = Watch(page)
    page.goto(written(html).resolve().as_uri())
    found = watch.found()
    context.close()
    return found


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<script>console.error('lost')</script>", "console error: lost"),
        ("<script>console.warn('soon')</script>", "console warning: soon"),
        ("<script>missing()</script>", "error in a script: missing is not defined"),
        ("<img src='https://example.invalid/x.png' alt=x>", "https://example.invalid/x.png"),
        ("<style>@import 'http://example.invalid/x.css';</style>", "http://example.invalid/x.css"),
        ("<script>fetch('https://example.invalid/x').catch(() => 0)</script>", "request: https"),
        ("<script>alert(1)</script>", "dialog: 1"),
        ("<img src=x: onerror='attack(7)' alt=x>", "payload 7 ran"),
        ("<iframe title=x srcdoc='<script>attack(8)</script>'></iframe>", "payload 8 ran"),
    ],
)
def test_what_a_page_may_not_do_is_noticed(chromium: Browser, html: str, fault: str) -> None:
    assert any(fault in found for found in watched(chromium, html))


def test_a_harmless_page_has_no_fault(chromium: Browser, open_page: OpenPage) -> None:
    html = "<p>Words</p><script>console.log('ready')</script><img alt=x src='data:image/gif;base64,"
    html += "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=='>"
    assert watched(chromium, html) == []
    assert look_faults(open_page("page.html")) == []


def test_what_is_wider_than_the_window_is_named(open_page: OpenPage) -> None:
    page = open_page(written("<p class=wide style='width: 500px'>x</p>"), width=390)
    assert overflow(page) == ["p.wide 508 > 390"]
    assert overflow(page, "main") == ["p.wide 508 > 390"]
    assert overflow(page, "h1") == []
    assert overflow(page, "#none") == ["no #none"]
    boxed = "<div style='overflow-x: auto'><p style='width: 500px'>x</p></div>"
    assert overflow(open_page(written(boxed), width=390)) == []


def test_serious_findings_on_accessibility_are_named(open_page: OpenPage) -> None:
    page = open_page(
        written("<p id=pale style='color: #ccc; background: #fff'>pale</p><p id=good>good")
    )
    (fault,) = accessibility_faults(page)
    assert "serious: color-contrast" in fault
    assert 'id="pale"' in fault
    assert accessibility_faults(page, include="#good") == []


def test_theme_and_width_reach_the_page(open_page: OpenPage) -> None:
    page = open_page(written("x"), width=390, theme="dark")
    dark = "[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]"
    assert page.evaluate(dark) == [390, True]
    assert open_page("page.html").evaluate(dark) == [900, False]


def test_tests_of_pages_are_deselected_where_no_browser_is_wanted(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nmarkers = browser: needs one")
    pytester.makepyfile(
        "def test_page(open_page): pass\ndef test_other(): pass\n"
        "def test_mark(request): assert not list(request.node.iter_markers())"
    )
    result = pytester.runpytest_inprocess("-p", "tests.support.pages", "-m", "browser", "--co")
    result.stdout.fnmatch_lines(["*test_page*", "*1/3 tests collected (2 deselected)*"])
    result.stdout.no_fnmatch_line("*test_other*")
    monkeypatch.setenv("ATTNPROBE_NO_BROWSER", "1")
    result = pytester.runpytest_inprocess("-p", "tests.support.pages")
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["browser: none wanted (ATTNPROBE_NO_BROWSER)*"])


def test_where_no_browser_starts_tests_of_pages_fail(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nmarkers = browser: needs one")
    pytester.makepyfile("def test_page(open_page): pass")
    monkeypatch.setenv("ATTNPROBE_BROWSER", str(pytester.path / "none"))
    # In a process of its own: Playwright starts once in a process at a time.
    result = pytester.runpytest_subprocess("-p", "tests.support.pages")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["no Chromium or Chrome starts here; tried */none (*). `make test`*"]
    )
