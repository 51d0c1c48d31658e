"""All HTML comes from one environment, all styles from one sheet, all colours from one palette."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from markupsafe import Markup

import attnprobe
from attnprobe.compare.changes import Kind
from attnprobe.core.verdicts import Outcome
from attnprobe.render.palette import BADGES
from attnprobe.render.web.html import chart_piece, fill, piece, report_piece, style_sheet

PACKAGE = Path(attnprobe.__file__).parent
TEMPLATES = PACKAGE / "render" / "web" / "templates"
ASSETS = PACKAGE / "render" / "web" / "assets"
_COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b")
_TAG = re.compile(r"</?(?:a|article|div|figure|h[1-6]|li|p|section|span|style|t[dhr]|table|ul)[ >]")


def test_colours_stand_in_the_palette_alone() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): _COLOUR.findall(path.read_text(encoding="utf-8"))
        for suffix in ("py", "css", "html")
        for path in PACKAGE.rglob(f"*.{suffix}")
    }
    with_colours = {path for path, colours in found.items() if colours}

    assert with_colours == {"render/palette.py"}


def test_tags_stand_in_templates_alone() -> None:
    # Maps are joined from strings, for speed. The plugin looks for cells of pytest-html.
    lines = {
        f"{path.relative_to(PACKAGE).as_posix()}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if _TAG.search(line) and path.name != "maps.py"
    }
    assert lines == {
        "plugin/__init__.py: if cell.startswith('<td class=\"col-testId\">'):",
        'plugin/__init__.py: cells[-1] = cells[-1].replace("</td>", f"{link}</td>")',
    }


def test_every_class_of_a_template_is_styled_and_every_style_is_used() -> None:
    styled = set(re.findall(r"\.(attn[a-z-]*)", style_sheet() + piece("explorer_styles")))
    used = {
        name
        for path in (*TEMPLATES.glob("*.html"), *ASSETS.glob("*.js"), ASSETS.parent / "maps.py")
        for name in re.findall(
            r"(?<!--)\battn(?!probe\.)[a-z-]*\b(?!-)", path.read_text(encoding="utf-8")
        )
    }
    assert styled == used | {f"attn-{kind}" for kind in BADGES}


def test_every_outcome_and_every_kind_of_change_has_a_badge() -> None:
    assert {*get_args(Outcome), *get_args(Kind), "unjudged"} == set(BADGES)
    for kind in BADGES:
        assert piece("badge", kind) == f'<span class="attn-badge attn-{kind}">{kind}</span>'


def test_a_text_of_spaces_can_be_seen_on_a_page() -> None:
    assert "␣␣" in piece("texts", ["  "])


HOSTILE = "<b onclick='x'>\u202e&\"\x1b</b>"
ESCAPED = "&lt;b onclick=&#39;x&#39;&gt;&lt;U+202E&gt;&amp;&#34;&lt;U+001B&gt;&lt;/b&gt;"


def test_texts_are_escaped_and_visible_and_pieces_go_in_unchanged_p31() -> None:
    shown = piece("texts", [HOSTILE, "  "])
    assert isinstance(shown, Markup)
    assert ESCAPED in shown
    assert HOSTILE[:3] not in shown
    assert "␣␣" in shown
    assert str(shown) in piece("texts", [shown])
    assert isinstance(style_sheet(), Markup)


def test_each_maker_fills_its_own_template_p31() -> None:
    assert fill("page.html", title=HOSTILE).count(f"<h1>{ESCAPED}</h1>") == 1
    assert chart_piece("grid", HOSTILE, 3) == (
        f'<div class="attn-scroll attn-hover">{ESCAPED}</div>\n<p class="attn-muted">colours: 3</p>'
    )
    assert report_piece("missing", "text", HOSTILE) == (
        f'<p class="attn-note">no text: {ESCAPED}</p>'
    )
    assert piece("badge", "passed", text=HOSTILE) == (
        f'<span class="attn-badge attn-passed">{ESCAPED}</span>'
    )
    assert style_sheet() == piece("styles")


def test_a_piece_that_is_not_there_is_an_error() -> None:
    for make in (piece, chart_piece, report_piece):
        with pytest.raises(AttributeError, match="no_such_piece"):
            make("no_such_piece")
