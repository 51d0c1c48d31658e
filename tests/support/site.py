"""Checks the pages that Sphinx built: `make docs`.

Sphinx checks the references of the sources. This reads what came out: every link within the site
leads to a page and an anchor that are there, and no page fetches anything from another machine.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FETCHED = {
    *(("script", "src"), ("link", "href"), ("img", "src"), ("img", "srcset"), ("source", "src")),
    *(("source", "srcset"), ("iframe", "src"), ("object", "data"), ("embed", "src")),
    *(("video", "src"), ("video", "poster"), ("audio", "src"), ("image", "href"), ("use", "href")),
}
_OUTSIDE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_OF_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^\s"')]+)""", re.IGNORECASE)


class PageReader(HTMLParser):
    """The anchors and links of a page, and what it fetches from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched = _OF_STYLES.findall(text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif (tag, name) in _FETCHED and value and _OUTSIDE.match(value):
                self.fetched.append(value)
            elif name in ("href", "src") and value and not urlsplit(value).scheme:
                self.links.append(value)


def complaints(site: Path) -> Iterator[str]:
    """One line for each link that leads nowhere and each thing that a page or a style fetches."""
    pages = {path: PageReader(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in sorted(pages.items()):
        name = path.relative_to(site)
        yield from (f"{name}: fetches {address}" for address in page.fetched)
        for link in page.links:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists():
                yield f"{name}: {link} is not there"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{name}: {link} has no such anchor"
    for path in sorted(site.rglob("*.css")):
        for address in _OF_STYLES.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: fetches {address}"


if __name__ == "__main__":
    found = list(complaints(Path(sys.argv[1]).resolve()))
    sys.exit("\n".join(found) or 0)
