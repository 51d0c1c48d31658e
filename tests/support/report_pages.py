"""Pages of pytest-html, read back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from attnprobe.render.web.report import BETWEEN, unpack_html

_PACKED = re.compile(r'<script type="text/plain">([^<]*)</script>')
_PLACE = re.compile(r'<div class="attn-body" data-place="(\d+)">')
_NAME = re.compile(r"<summary>.*?<b>(.*?)</b>", re.DOTALL)
_START = re.compile(
    r'<details class="attn-case" id="([^"]*)".*?data-state="(\w+)"( open)?>', re.DOTALL
)


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


@dataclass(frozen=True)
class ShownCase:
    """A case of the report: its outcome, its line, and its details.

    Attributes:
        details: the HTML of the details, unpacked if a script builds them.
        needs_script: whether a script builds them.
    """

    anchor: str
    state: str
    opened: bool
    line: str
    details: str
    needs_script: bool


def shown_cases(path: str = "report.html") -> dict[str, ShownCase]:
    """The cases of a report by their names; of cases with one name, the last."""
    text = Path(path).read_text(encoding="utf-8")
    section = text[text.index('id="report-cases"') : text.index('<p class="run-count">')]
    found: dict[str, ShownCase] = {}
    starts = list(_START.finditer(section))
    ends = [start.start() for start in starts[1:]] + [section.index("<script>")]
    for start, end in zip(starts, ends, strict=True):
        content = section[start.end() : end]
        line, _, details = content.partition("</summary>")
        name = _NAME.match(content.lstrip())
        assert name is not None
        place = _PLACE.search(details)
        packed = _PACKED.search(section, start.end()) if place else None
        found[unescape(name[1])] = ShownCase(
            anchor=start[1],
            state=start[2],
            opened=bool(start[3]),
            line=line,
            details=unpack_html(packed[1]).split(BETWEEN)[int(place[1])]
            if packed and place
            else details,
            needs_script=packed is not None,
        )
    return found


def details(name: str, path: str = "report.html") -> str:
    """The HTML of the details of a case; "" for a case without any."""
    found = shown_cases(path)[name].details
    return found if 'class="attn-body"' in found else ""


def maps(content: str) -> list[str]:
    """The attention maps in the details of a case."""
    return re.findall(
        r'<figure class="attn-figure"><div class="attn-scroll attn-hover"><table.*?</figure>',
        content,
        re.DOTALL,
    )
