"""The sources of the site, without Sphinx: `make docs` builds it, and checks what comes out."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import typer

import attnprobe
from attnprobe.cli import app
from attnprobe.core import errors
from tests.support.site import complaints

DOCS = Path(__file__).parents[1] / "docs"
_TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)


def entries(page: str) -> list[str]:
    """The pages that the lists of a page name, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = (line for block in _TOCTREE.findall(text) for line in block.splitlines())
    return [re.sub(r".*<(.*)>", r"\1", line) for line in lines if line and line[0] != ":"]


def test_every_page_is_in_a_list_once() -> None:
    pages = {path for suffix in ("md", "ipynb") for path in DOCS.rglob(f"*.{suffix}")}
    names = {path.relative_to(DOCS).with_suffix("").as_posix() for path in pages}
    assert sorted([*entries("index.md"), *entries("rules.md"), "index"]) == sorted(names)


def test_every_public_name_is_in_the_reference() -> None:
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. [\w:]+:: attnprobe\.(\w+)$", page, re.MULTILINE))
    assert documented == set(attnprobe.__all__)
    (members,) = re.findall(r"attnprobe\.core\.errors\n   :members: (.*)", page)
    raised = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AttnprobeError)
    }
    assert raised <= set(members.split(", "))


def test_every_command_and_option_is_on_the_page_of_the_command_line() -> None:
    source = ["# Command line\n"]
    runpy.run_path(str(DOCS / "conf.py"))["add_commands"](None, "commands", source)
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    sections = dict(
        re.findall(r"^## `attnprobe ([^`]+)`\n(.*?)(?=^## |\Z)", source[0], re.M | re.S)
    )
    assert list(sections) == list(group.commands)
    for name, command in group.commands.items():
        flags = [flag for entry in command.params for flag in entry.opts if flag[0] == "-"]
        assert [flag for flag in flags if flag not in sections[name]] == []


@pytest.mark.parametrize(
    ("html", "complaint"),
    [
        ('<script src="https://elsewhere/x.js"></script>', "fetches https://elsewhere/x.js"),
        ('<link rel="stylesheet" href="//elsewhere/x.css">', "fetches //elsewhere/x.css"),
        ('<img src="HTTP://elsewhere/x.png">', "fetches HTTP://elsewhere/x.png"),
        ("<style>@import 'https://elsewhere/x.css'</style>", "fetches https://elsewhere/x.css"),
        ('<a href="gone.html">x</a>', "gone.html is not there"),
        ('<a href="#gone">x</a>', "#gone has no such anchor"),
        ('<a href="other.html#gone">x</a>', "other.html#gone has no such anchor"),
    ],
)
def test_a_page_that_fetches_or_leads_nowhere_is_found(
    html: str, complaint: str, tmp_path: Path
) -> None:
    good = '<a href="https://elsewhere/">x</a><a href="other.html#here">y</a><a href="#top">z</a>'
    page = tmp_path / "page.html"
    (tmp_path / "other.html").write_text('<p id="here">')
    page.write_text(f'<body id="top">{good}')
    assert list(complaints(tmp_path)) == []
    page.write_text(f'<body id="top">{good}{html}')
    assert list(complaints(tmp_path)) == [f"page.html: {complaint}"]


def test_a_style_that_fetches_a_font_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.css").write_text("a { src: url( 'https://elsewhere/font.woff2' ) }")
    assert list(complaints(tmp_path)) == ["x.css: fetches https://elsewhere/font.woff2"]
