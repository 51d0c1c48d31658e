"""Pages of pytest-html, read back."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """Every tag of a page with its attributes, and the data that pytest-html embeds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tests: dict[str, list[dict[str, Any]]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        blob = dict(attrs).get("data-jsonblob")
        if blob:
            self.tests = json.loads(blob)["tests"]
