"""Pages in a real browser: fixtures, and what holds of every page of ours.

A test takes the fixture `open_page`. Each call opens an HTML file in a fresh page:

    page = open_page("report.html", width=390, theme="dark")

At the end of the test, every page that it opened must have logged no error, raised none, asked no
machine for anything, shown no dialog, and run none of the payloads of `tests/support/payloads.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.support import browser as browsers

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

Theme = Literal["light", "dark"]
THEMES: Sequence[Theme] = ("light", "dark")
WIDTHS = (390, 900, 1400)

# The fixture `open_page`.
OpenPage = Callable[..., "Page"]

# Payloads call attack(NUMBER); a page in which one runs remembers it.
CANARY = "window.attacks = []; window.attack = number => { window.attacks.push(number); };"
# A busy machine may keep a page from its script for longer than Playwright waits by itself.
PATIENCE_MS = 120_000
LOCAL = ("file:", "data:", "blob:", "about:")


class Watch:
    """What an open page did that no page of ours may do."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.faults.append(f"error in a script: {error}"))
        page.on("request", self._note_request)
        page.on("dialog", self._note_dialog)

    def _note_message(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text}")

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith(LOCAL):
            self.faults.append(f"request: {request.url}")

    def _note_dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def found(self) -> list[str]:
        """All faults up to now, with the payloads that ran in any frame.

        The question to each frame is answered after the events that came before it.
        """
        ran = [] if self.page.is_closed() else [
            f"payload {number} ran in {frame.url[:60]}"
            for frame in self.page.frames
            for number in frame.evaluate("window.attacks || []")
        ]  # fmt: skip
        return [*self.faults, *ran]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of a process; a test that needs it fails where none starts."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:

        def start(candidate: browsers.Candidate) -> Browser:
            try:
                return playwright.chromium.launch(**browsers.launch_options(candidate))
            except Error as error:
                raise RuntimeError(browsers.first_reason(error.message)) from error

        try:
            _, started = browsers.start_first(start)
        except browsers.NoBrowserError as error:
            pytest.fail(str(error), pytrace=False)
        yield started
        started.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Opens HTML files, each in a page and a context of its own; watches them (see above)."""
    contexts: list[BrowserContext] = []
    watches: list[Watch] = []

    def open_file(
        file: str | Path,
        *,
        width: int = 900,
        height: int = 800,
        theme: Theme = "light",
        fragment: str = "",
        **options: Any,
    ) -> Page:
        """The page once it is loaded; other options are those of Playwright's `new_context`."""
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            reduced_motion="reduce",
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        context.add_init_script(CANARY)
        page = context.new_page()
        watches.append(Watch(page))
        page.goto(Path(file).resolve().as_uri() + (fragment and f"#{fragment}"))
        return page

    yield open_file
    faults = [fault for watch in watches for fault in watch.found()]
    for context in contexts:
        context.close()
    assert faults == []


def pytest_report_header() -> list[str]:
    unwanted = "browser: none wanted (ATTNPROBE_NO_BROWSER); tests of pages are deselected"
    return [unwanted] if browsers.is_unwanted() else []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests that need a browser, and deselects them where the user wants none."""
    pages = [item for item in items if "chromium" in getattr(item, "fixturenames", ())]
    for item in pages:
        item.add_marker("browser")
    if pages and browsers.is_unwanted():
        config.hook.pytest_deselected(items=pages)
        items[:] = [item for item in items if item.get_closest_marker("browser") is None]


def set_look(page: Page, *, width: int, theme: Theme, height: int = 800) -> None:
    """Gives an open page another width and theme."""
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)


def overflow(page: Page, part: str = ":root") -> Sequence[str]:
    """What is wider than the window: the page itself, and elements of `part` that make it so.

    Elements inside a box that scrolls by itself do not count.
    """
    found = page.evaluate(_OVERFLOW, part)
    return [str(name) for name in found]


_OVERFLOW = """part => {
  const width = document.documentElement.clientWidth;
  const scrolls = node => ["auto", "scroll", "hidden", "clip"]
    .includes(getComputedStyle(node).overflowX);
  const boxed = element => {
    const box = element.parentElement;
    if (!box || box === document.body) return false;
    const held = scrolls(box) && box.getBoundingClientRect().right <= width + 1;
    return held || boxed(box);
  };
  const name = element => element.tagName.toLowerCase() + "." + element.className + " "
    + Math.round(element.getBoundingClientRect().right) + " > " + width;
  const root = document.querySelector(part);
  if (!root) return ["no " + part];
  if (document.scrollingElement.scrollWidth <= width && part === ":root") return [];
  return [...root.querySelectorAll("*")]
    .filter(element => element.getBoundingClientRect().right > width + 1)
    .filter(element => element.getClientRects().length && !boxed(element))
    .map(name).slice(0, 8);
}"""


def accessibility_faults(page: Page, *, include: str | None = None) -> Sequence[str]:
    """Serious and critical findings of axe-core, one line each; in all of the page or a part."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=None if include is None else {"include": [include]})
    return [
        f"{rule['impact']}: {rule['id']}: {rule['help']}: {node['html'][:200]} "
        f"({node['any'][0]['message'] if node['any'] else ''})"
        for rule in found.response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def look_faults(page: Page, *, part: str | None = None) -> Sequence[str]:
    """Overflow in every width and theme, accessibility in both themes; `part` limits both."""
    faults = []
    for theme in THEMES:
        for width in WIDTHS:
            set_look(page, width=width, theme=theme)
            faults += [f"{width} {theme}: {name}" for name in overflow(page, part or ":root")]
        faults += [f"{theme}: {fault}" for fault in accessibility_faults(page, include=part)]
    return faults
