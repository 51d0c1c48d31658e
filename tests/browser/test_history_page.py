"""The page of a history in a real browser."""

from __future__ import annotations

from pathlib import Path

from attnprobe.compare.describe_history import history_html
from tests.support.histories import history
from tests.support.pages import OpenPage, look_faults


def test_the_page_is_readable_everywhere_and_needs_no_script(
    open_page: OpenPage, tmp_path: Path
) -> None:
    lines = ["--" + "+" * 38, "-" * 20 + "+" * 20, "!-+x" * 10, "+" * 40] * 4
    file = tmp_path / "history.html"
    file.write_text(history_html(history(*lines, suites=["a", "b"] * 8)), encoding="utf-8")
    page = open_page(file, java_script_enabled=False)
    assert page.locator("svg").count() == 4
    strip = page.locator("tr .attn-strip").nth(0)
    assert strip.locator("span").all_text_contents() == ["✗"] * 2 + ["✓"] * 38
    assert strip.locator("span").nth(2).get_attribute("title") == "r2"
    assert look_faults(open_page(file)) == []
