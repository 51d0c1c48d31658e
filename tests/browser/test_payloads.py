"""The payloads do run where they are markup, so that the tests that use them can fail."""

from __future__ import annotations

from html import escape
from pathlib import Path

from playwright.sync_api import Browser

from tests.support.pages import CANARY, OpenPage, Watch
from tests.support.payloads import PAYLOADS, missing_texts, payload_faults

PLACES = (
    "<p>{}</p>",
    "<p title=\"{}\">x</p>",
    "<p title='{}'>x</p>",
    "<p title=`{}`>x</p>",
    "<script>const x = \"{}\";</script>",
    "<script>const x = '{}';</script>",
    "<script>const x = `{}`;</script>",
    "<script type='application/json'>\"{}\"</script>",
    "<!-- {} -->",
    "<style>p::after {{ content: '{}' }}</style>",
    "<title>{}</title>",
    "<textarea>{}</textarea>",
)  # fmt: skip


def test_there_are_40_different_payloads() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) == 40
    assert all(f"attack({number})" in payload or f"&#40;{number})" in payload
               for number, payload in enumerate(PAYLOADS) if number != 7)  # fmt: skip


def test_each_payload_acts_somewhere_and_is_noticed(chromium: Browser) -> None:
    """Somewhere in a page without escaping it runs, or stands there as markup or code."""
    context = chromium.new_context()
    context.add_init_script(CANARY)
    page = context.new_page()
    watch = Watch(page)
    acted: set[int] = set()
    for place in PLACES:
        for number, payload in enumerate(PAYLOADS):
            if number in acted:
                continue
            page.goto("about:blank")
            page.set_content(f"<meta charset=utf-8><main>{place.format(payload)}</main>")
            if any("payload" in fault for fault in watch.found()) or payload_faults(page):
                acted.add(number)
    context.close()
    assert acted == set(range(len(PAYLOADS)))


def test_escaped_payloads_are_texts(open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    items = "".join(f'<p title="{escape(text)}">{escape(text)}</p>' for text in PAYLOADS)
    file.write_text(f"<!doctype html><meta charset=utf-8><title>x</title>{items}", encoding="utf-8")
    page = open_page(file)
    assert payload_faults(page) == []
    assert missing_texts(page) == []
    assert missing_texts(page, ["not here"]) == ["not here"]


def test_markup_that_waits_for_a_hand_is_found(open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        """<!doctype html><title>x</title>
        <p onclick=attack(1)>x</p>
        <a href=' javascript:attack(1)'>x</a>
        <p x onfocus='attack(1)'>x</p>
        <p attack(1)>x</p>
        <script type=text/plain>attack(1)</script>
        <style>p::after { content: 'attack(1)' }</style>
        <script type=application/json>"attack(1)"</script><p title="attack(1)">attack(1)</p>""",
        encoding="utf-8",
    )
    assert len(payload_faults(open_page(file))) == 6
