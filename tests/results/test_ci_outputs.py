"""What a run leaves for CI: a job summary, annotations, JUnit properties, a model card."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from scipy.stats import binomtest
from typer.testing import CliRunner

from attnprobe import cli
from attnprobe.cli import base
from attnprobe.core.errors import AttnprobeError, ResultsError
from attnprobe.core.verdicts import Bound
from attnprobe.results.card import card_yaml, update_card
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, read_results
from attnprobe.results.summary import (
    MOST_ANNOTATIONS,
    MOST_BYTES,
    MOST_OF_COMMENT,
    markdown,
    workflow_commands,
)
from tests.support import made_up_results
from tests.support.made_up_results import MODEL, run

HOSTILE = (
    "::error::x | <script>alert(1)</script> `[a](http://b)` \x1b[31m\u202e\r\n# **x** &amp; %0A,"
)

POLICY = "[tool.attnprobe.gate]\nleast = 1\n"


def case(id: str, outcome: Any = "passed", inner: Any = None, **changes: Any) -> CaseResult:
    inner = inner or ("passed" if outcome in ("passed", "xpassed") else "failed")
    stated = made_up_results.expectation(
        inner,
        message="weight 0.100, demanded >= 0.300",
        observed=0.68 if inner == "passed" else 0.1,
    )
    place = {"file": "cases/x.attn.yaml", "nodeid": f"cases/x.attn.yaml::{id}", "suite": "coref"}
    return made_up_results.case(id, outcome, stated, **{**place, **changes})


class Page(HTMLParser):
    """The tags of a page, and the texts of its table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._inside = False
        # As GitHub does: HTML in Markdown is let through.
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not attrs
        if tag == "td":
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


TAGS = {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}


def test_the_summary_tells_what_was_judged() -> None:
    page = Page(markdown(run(*(case(f"c{n}") for n in range(8)), case("bad", "failed"))))
    assert page.tags == TAGS
    interval = binomtest(8, 9).proportion_ci(method="wilson")
    start = page.cells.index("coref")
    assert page.cells[start : start + 5] == [
        "coref",
        "minilm",
        "8 of 9",
        "88.9%",
        f"{interval.low:.1%} to {interval.high:.1%}",
    ]
    checks = page.cells[start + 5 :]
    assert checks[:9] == [
        "bad",
        "cases/x.attn.yaml:7",
        "minilm",
        "failed",
        "attends",
        "weight 0.100",
        ">= 0.300",
        "L3H1",
        "",
    ]
    assert [checks[n] for n in range(9, len(checks), 9)] == [f"c{n}" for n in range(8)]


@pytest.mark.parametrize(
    ("outcomes", "lost", "told"),
    [
        ([], 0, "No attention check ran."),
        (["passed"], 0, "1 attention check holds."),
        (["passed"] * 3, 0, "All 3 attention checks hold."),
        (["passed", "failed"], 0, "1 of 2 attention checks does not hold."),
        (
            ["passed", "failed", "xpassed", "error", "xfailed", "skipped", "xfailed"],
            2,
            "2 of 3 attention checks do not hold, of these 1 is a known gap that holds now, 1 "
            "could not be measured, 2 left no result, 2 are known gaps, 1 was skipped.",
        ),
        (["error"] * 2, 0, "No attention check was judged, 2 could not be measured."),
    ],
)
def test_the_summary_begins_with_a_sentence(outcomes: list[Any], lost: int, told: str) -> None:
    found = run(*(case(f"c{n}", outcome) for n, outcome in enumerate(outcomes)))
    text = markdown(replace(found, collected=len(outcomes) + lost))
    assert text.split("\n")[2] == told


def test_the_sentence_counts_what_was_deselected() -> None:
    text = markdown(run(case("c"), deselected=2))
    assert text.split("\n")[2] == "1 attention check holds, 2 were deselected."


def test_the_sentence_tells_what_says_little() -> None:
    text = markdown(run(case("a", "passed", "vacuous"), case("b", "passed", "borderline")))
    assert text.split("\n")[2] == (
        "All 2 attention checks hold, 1 holds by chance as well, 1 is too near to call."
    )


def test_every_bound_that_does_not_hold_has_a_row() -> None:
    others = (
        Bound("rank", "rank", 3.0, "<=", 1.0, "failed"),
        Bound("weight", "weight", 0.1, "<=", 0.9, "passed"),
    )
    entry = made_up_results.expectation("failed", others=others)
    item = replace(case("bad", "failed"), expectations=(entry,))
    cells = Page(markdown(run(item))).cells[9:]
    assert [cells[n + 3 : n + 7] for n in (0, 9)] == [
        ["failed", "attends", "weight 0.680", ">= 0.300"],
        ["failed", "attends", "rank 3", "<= 1"],
    ]
    assert len(cells) == 18


def test_an_error_of_several_lines_is_one_in_its_cell() -> None:
    entry = made_up_results.expectation(
        "error", message="no such word\n  The animal", observed=None
    )
    item = replace(case("bad", "error"), expectations=(entry,))
    assert "no such word The animal" in Page(markdown(run(item))).cells


@given(st.text(max_size=60))
@example(" ")
@settings(deadline=None)
def test_hostile_texts_stay_in_their_table_cells_p31(text: str) -> None:
    for hostile in (text, HOSTILE):
        odd = case(f"x{hostile}", "failed", file=f"y{hostile}", suite=f"z{hostile}")
        page = Page(markdown(run(odd, models=(replace(MODEL, ref=f"r{hostile}"),)), sentence=text))
        assert page.tags <= TAGS | {"strong"}
        assert len(page.cells) == 4 + 5 + 9
        assert [cell[:1] for cell in page.cells if cell and cell[0] in "xyzr"] == [
            "r",
            "z",
            "x",
            "y",
        ]
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", "".join(page.cells))


def test_the_summary_is_cut_between_two_rows() -> None:
    found = run(
        *(case(f"case-{n}", suite="s") for n in range(9_000)), case("last", "failed", suite="s")
    )
    whole = markdown(found)
    assert MOST_BYTES - 2_000 < len(whole.encode()) < MOST_BYTES
    page = Page(whole)
    shown = (len(page.cells) - 4 - 5) // 9
    assert (len(page.cells) - 4 - 5) % 9 == 0
    assert page.cells[9] == "last"
    left = re.search(r"\n(\d+) checks are left out: no room\.\n$", whole)
    assert left is not None
    assert shown + int(left[1]) == 9_001
    for room in (600, 1_000, 5_000):
        assert len(markdown(found, room=room).encode()) < max(room, 900)


def test_many_suites_and_models_are_cut_too() -> None:
    name = "<" * 190
    many = run(
        *(case(f"c{n}", suite=f"{n:04}{name}", model=f"{n:04}{name}") for n in range(1_500)),
        case("last", "failed", suite="zz"),
        models=tuple(replace(MODEL, name=f"{n}{name}", ref=name) for n in range(1_500)),
    )
    whole = markdown(many)
    assert MOST_BYTES // 2 < len(whole.encode()) < MOST_BYTES
    # What fails is told, whatever is cut.
    assert [cell for cell in Page(whole).cells if cell in ("zz", "last")] == ["zz", "last"]
    for noun in ("model", "suite", "check"):
        assert re.search(rf"\n\d+ {noun}s are left out: no room\.\n", whole)
    for room in (3_000, 50_000):
        assert len(markdown(many, room=room).encode()) < room


def properties(command: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as GitHub's runner reads it."""
    kind, told, data = re.fullmatch(r"::(\w+) (.*?)::(.*)", command, re.DOTALL).groups()  # type: ignore[union-attr]  # it must match
    pairs = dict(pair.split("=", 1) for pair in told.split(","))

    def plain(text: str) -> str:
        for code, sign in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            text = text.replace(code, sign)
        return text

    return kind, {key: plain(value) for key, value in pairs.items()}, plain(data)


def test_annotations_mark_the_line_that_failed() -> None:
    found = run(
        case("fine"),
        case("hint", "failed", severity="advisory"),
        case("bad", "failed", row="a,b:c%"),
        case("near", inner="borderline"),
    )
    commands = [properties(command) for command in workflow_commands(found, folder="sub")]
    assert [kind for kind, *_ in commands] == ["error", "warning", "warning"]
    assert commands[0][1] == {
        "file": "sub/cases/x.attn.yaml",
        "line": "9",
        "title": "coref: bad[a,b:c%] on minilm: failed",
    }
    assert commands[0][2] == "attends failed: weight 0.100, demanded >= 0.300"


def test_at_most_ten_annotations_the_worst_first() -> None:
    cases = [case(f"w{n}", inner="borderline") for n in range(20)]
    cases += [case(f"e{n}", "failed", line=n + 1) for n in range(4)]
    commands = workflow_commands(run(*cases))
    assert len(commands) == MOST_ANNOTATIONS == 10
    assert [properties(command)[0] for command in commands] == ["error"] * 4 + ["warning"] * 6


def test_what_the_gate_accepts_is_a_notice_after_all_else() -> None:
    moved = case("a", "failed", row="r")
    found = run(moved, case("b", "failed"), case("c", inner="borderline"), case("d", "failed"))
    accepted = {
        ("cases/x.attn.yaml", "a", "r", "minilm"): "L3H1 moved to L3H5, and it holds there",
        ("cases/x.attn.yaml", "d", None, "minilm"): "waived",
    }
    commands = [properties(command) for command in workflow_commands(found, accepted=accepted)]
    assert [(kind, told["title"]) for kind, told, _ in commands] == [
        ("error", "coref: b on minilm: failed"),
        ("warning", "coref: c on minilm: passed"),
        ("notice", "coref: d on minilm: failed, waived"),
        (
            "notice",
            "coref: a[r] on minilm: failed, L3H1 moved to L3H5, and it holds there",
        ),
    ]


@given(st.text(max_size=40))
def test_a_text_adds_no_workflow_command_p62(text: str) -> None:
    for hostile in (text, HOSTILE):
        odd = case("c", "failed", file=f"f{hostile}", suite=f"s{hostile}")
        worst = replace(odd.expectations[0], message=f"m{hostile}")
        (command,) = workflow_commands(run(replace(odd, expectations=(worst, worst))))
        assert len(command.splitlines()) == 1
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", command)
        kind, told, data = properties(command)
        assert (kind, set(told), told["line"]) == ("error", {"file", "line", "title"}, "9")
        assert told["file"].startswith("f")
        assert len(data.splitlines()) >= 2


# The commands

Attn = Callable[..., tuple[int, str]]


@pytest.fixture
def attn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Attn:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, list(map(str, arguments)))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    return invoke


def test_summary_is_printed_or_written(attn: Attn) -> None:
    found = run(case("a"), case("b", "failed"))
    write_json(Path("r.json"), found.to_json())
    expected = markdown(read_results(Path("r.json")))
    assert attn("summary", "r.json") == (0, expected)
    assert attn("summary", "r.json", "-o", "s.md") == (0, "")
    assert Path("s.md").read_text() == expected


def test_a_terminal_gets_text_and_no_markdown(attn: Attn, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(case("a"), case("b|*x*", "failed", row="[r]"), case("c", inner="borderline"))
    write_json(Path("r.json"), found.to_json())
    monkeypatch.setattr(base.out, "_width", 200)
    code, asked = attn("summary", "r.json", "--format", "text")
    monkeypatch.setattr(base.out, "_force_terminal", True)
    monkeypatch.setattr(base.out, "no_color", True)
    assert attn("summary", "r.json") == (code, asked)
    lines = asked.splitlines()
    assert lines[-1] == "1 of 3 attention checks does not hold, 1 is too near to call."
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in lines if line[0] == "│"
    ]
    interval = binomtest(2, 3).proportion_ci(method="wilson")
    pair = ["coref", "minilm", "2 of 3", "66.7%", f"{interval.low:.1%} to {interval.high:.1%}"]
    assert rows[1] == pair
    # Those that hold without doubt have no row.
    assert [row[0] for row in rows[2:]] == ["b|*x*[[r]]", "c"]
    assert not re.search("&#|<code>|---", asked)
    # Where it is asked for, written or piped, it stays Markdown.
    expected = markdown(read_results(Path("r.json")))
    assert attn("summary", "r.json", "--format", "markdown") == (0, expected)
    assert attn("summary", "r.json", "-o", "s.md") == (0, "")
    assert Path("s.md").read_text() == expected
    for more in (("-o", "s.md"), ("--comment", "x")):
        with pytest.raises(AttnprobeError, match="text is printed; a file and a comment are"):
            attn("summary", "r.json", "--format", "text", *more)
    with pytest.raises(AttnprobeError, match="name a results file, or a decision of the gate"):
        attn("summary")


HEADS = ["moved: x: L3H1 moved to L3H5, and it holds there", "lost: y: no head attends as L1H1 did"]


def test_a_summary_compares_with_a_baseline_and_names_heads_that_moved(attn: Attn) -> None:
    write_json(Path("old.json"), run(*counted(6, 3)).to_json())
    found = run(*counted(2, 7))
    write_json(Path("r.json"), found.to_json())
    notes = ["other", *HEADS]
    decision = {"schema": "attnprobe/gate-1", "sentence": "Release blocked: x.", "notes": notes}
    write_json(Path("d.json"), decision)
    given = ("r.json", "--decision", "d.json", "--baseline", "old.json")
    code, printed = attn("summary", *given, "--format", "text")
    assert code == 0
    said = "against the baseline: 4 of 6 checks that held before no longer hold."
    assert printed.splitlines()[-1] == "Release blocked: x."
    assert [line for line in printed.splitlines() if line.startswith("note: ")] == [
        f"note: {note}" for note in (said, *HEADS)
    ]
    p = binomtest(0, 4).pvalue
    page = Page(attn("summary", *given)[1])
    start = page.cells.index("coref")
    cells = page.cells[start : start + 7]
    assert cells[:5] == ["coref", "minilm", "6 of 9", "2 of 9", "−0.444"]
    assert cells[6] == f"{p:.2g}"
    broken = [page.cells[at + 1] for at, cell in enumerate(page.cells) if cell == "broken"]
    assert broken == [f"c{n}" for n in range(2, 6)]
    text = attn("summary", *given)[1]
    assert [line[2:] for line in html.unescape(text).splitlines() if line.startswith("- ")] == [
        said,
        *HEADS,
    ]
    # What left no results is told by the decision alone.
    code, printed = attn("summary", "--decision", "d.json")
    assert printed.startswith("## Attention checks\n\n**Release blocked&#58; x&#46;**\n")
    write_json(Path("d.json"), decision | {"notes": 3})
    with pytest.raises(ResultsError, match="its notes are no list"):
        attn("summary", "--decision", "d.json")


def test_a_comment_is_found_again_by_its_first_line(
    attn: Attn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "step.md")
    many = (case(f"bad{n}", "failed", file="x" * 150) for n in range(500))
    write_json(Path("r.json"), run(*many, *(case(f"c{n}") for n in range(9))).to_json())
    assert attn("summary", "r.json", "--comment", "gate-1.x", "-o", "c.md") == (0, "")
    text = Path("c.md").read_text()
    assert text.startswith("<!-- attnprobe: gate-1.x -->\n## Attention checks\n\n500 of 509 ")
    assert MOST_OF_COMMENT - 2_000 < len(text.encode()) < MOST_OF_COMMENT
    assert re.search(r"\n\d+ checks are left out: no room\.\n$", text)
    assert "c1<" not in text  # it holds
    assert not Path("step.md").exists()
    for name in ("", "a b", "a--", "--", "a-->", "-a", "ä"):
        with pytest.raises(ResultsError, match="the name of a comment has letters, digits"):
            attn("summary", "r.json", "--comment", name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "d.json: cannot be read: "),
        ("schema: 3", "d.json is not a decision of the gate: it is not JSON"),
        ('{"schema": "attnprobe/results-1"}', "d.json: needs schema 'attnprobe/gate-1', has "),
        ('{"schema": "attnprobe/gate-1", "sentence": 3}', "d.json: corrupt: it has no sentence"),
    ],
)
def test_a_summary_begins_with_the_decision_of_the_gate(
    attn: Attn, text: str | None, message: str
) -> None:
    write_json(Path("r.json"), run(*counted(3, 1)).to_json())
    Path("pyproject.toml").write_text(POLICY)
    assert attn("gate", "--results", "r.json", "--json", "gate.json")[0] == 1
    code, printed = attn("summary", "r.json", "--decision", "gate.json")
    assert code == 0
    first = printed.split("\n")[2]
    assert first.startswith("**Release blocked&#58; ")
    assert first.endswith("**")
    if text is not None:
        Path("d.json").write_text(text)
    with pytest.raises(ResultsError, match=re.escape(message)):
        attn("summary", "r.json", "--decision", "d.json")


def test_summary_on_github(attn: Attn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "checkout" / "sub"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    write_json(Path("r.json"), run(case("a"), case("b", "failed")).to_json())
    step = tmp_path / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "checkout"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    code, printed = attn("summary", "r.json")
    assert code == 0
    assert printed.startswith("::error file=sub/cases/x.attn.yaml,line=9,title=coref%3A b on")
    assert step.read_text().startswith("before\n## Attention checks\n")
    step.write_text("x" * (MOST_BYTES - 3_000))
    many = run(*(case(f"c{n}") for n in range(100)))
    write_json(Path("r.json"), many.to_json())
    attn("summary", "r.json")
    assert MOST_BYTES - 1_500 < step.stat().st_size < MOST_BYTES
    assert "are left out" in step.read_text()


def test_gate_prints_annotations_on_github_before_its_reasons(
    attn: Attn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    write_json(Path("r.json"), run(case("a"), case("b", "failed")).to_json())
    Path("pyproject.toml").write_text(POLICY)
    code, printed = attn("gate", "--results", "r.json")
    lines = printed.splitlines()
    assert code == 1
    assert lines[0].startswith("::error file=cases/x.attn.yaml,line=9,")
    assert lines[-1].startswith("Release blocked: ")


def test_a_release_that_may_go_has_no_error_marks(
    attn: Attn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    found = run(*(case(f"c{n:02}", "failed" if n < 2 else "passed") for n in range(60)))
    write_json(Path("r.json"), found.to_json())
    Path("p.toml").write_text(
        "least = 1\npass_rate = 0.8\n[[waivers]]\ncase = '*::c00'\nreason = 'r'\nowner = 'o'\n"
        f"expires = {datetime.now(UTC).date() + timedelta(days=9)}\n"
    )
    code, printed = attn("gate", "--results", "r.json", "--policy", "p.toml")
    lines = printed.splitlines()
    assert (code, lines[-1].startswith("Release may go: ")) == (0, True)
    marks = [properties(line) for line in lines if line.startswith("::")]
    assert [(kind, told["title"]) for kind, told, _ in marks] == [
        ("notice", "coref: c00 on minilm: failed, waived"),
        ("notice", "coref: c01 on minilm: failed, within the pass rate"),
    ]
    # Of a release that is blocked the rate excuses nothing.
    (Path("p.toml")).write_text("pass_rate = 0.8\nsuites = ['other']\n")
    code, printed = attn("gate", "--results", "r.json", "--policy", "p.toml")
    marks = [properties(line) for line in printed.splitlines() if line.startswith("::")]
    assert (code, [kind for kind, *_ in marks]) == (2, ["error", "error"])


# JUnit


def test_junit_properties(probe: Callable[..., Any], write_cases: Callable[..., Path]) -> None:
    write_cases(
        """
        - id: one
          text: The dog barks.
          expect:
            - attends: {from: barks, to: dog, min: 0.001}
            - ignores: {from: barks, to: dog, max: 0.999}
        - id: lost
          text: The dog barks.
          expect:
            - attends: {from: barks, to: dog, heads: L7H1, min: 0.5}
        """
    )
    probe("--junitxml=j.xml", "--attn-json=r.json").assert_outcomes(passed=1, errors=1)
    (model,) = read_results(Path("r.json")).models
    told = {item.id: item.expectations for item in read_results(Path("r.json")).cases}
    found = {
        node.get("name"): {
            entry.get("name"): entry.get("value") for entry in node.iterfind("properties/property")
        }
        for node in ElementTree.parse("j.xml").iter("testcase")
    }
    first, second = told["one"]
    own = found["one"]
    assert own["attnprobe.model"] == "tiny"
    assert own["attnprobe.revision"] == f"sha256:{model.weights_sha256}"
    assert float(own["attnprobe.observed"] or "") == first.bounds[0].observed
    assert own["attnprobe.demanded"] == ">= 0.001"
    assert own["attnprobe.head"] == first.head
    assert own["attnprobe.outcome"] == first.outcome
    assert own["attnprobe.rule.2"] == "ignores"
    assert float(own["attnprobe.observed.2"] or "") == second.bounds[0].observed
    assert "attnprobe.observed.3" not in own
    for place, entry in (("", first), (".2", second)):
        rate = entry.chance and entry.chance.rate
        assert own.get(f"attnprobe.chance{place}") == (None if rate is None else str(rate))
    assert found["lost"]["attnprobe.outcome"] == "error"
    assert "attnprobe.observed" not in found["lost"]


# Model cards

CARD = """---
license: apache-2.0
language:
- en
model-index:
- name: my-model
  results:
  - task:
      type: text-classification
    dataset:
      name: SST-2
      type: sst2
    metrics:
    - type: accuracy
      value: 0.91
tags:
- x
---
# My model\r
  Text that stays, trailing spaces too.  \n\n```yaml\n---\na: 1\n---\n```\n"""


# Metadata of a card: keys, comments and blanks as people write them.
METADATA = [
    "license: apache-2.0   # of the weights",
    "# a remark on its own",
    "tags:\n- x\n-   y  ",
    "language: [en,   fr]",
    'title: "a:  b"',
    "",
    "note: |\n  two\n  lines",
]


def counted(passed: int, failed: int, gaps: int = 0, **changes: Any) -> list[CaseResult]:
    outcomes = ["passed"] * passed + ["failed"] * failed + ["xfailed"] * gaps
    return [case(f"c{n}", outcome, **changes) for n, outcome in enumerate(outcomes)]


def test_a_card_has_one_result_a_suite() -> None:
    found = run(*counted(38, 1, 1), *counted(5, 0, suite="agreement"), case("s", "skipped"))
    index = yaml.safe_load(card_yaml(found))["model-index"]
    assert [entry["name"] for entry in index] == ["minilm"]
    first, second = index[0]["results"]
    assert first["dataset"]["name"] == "agreement"
    (metric,) = second["metrics"]
    interval = binomtest(38, 40).proportion_ci(method="wilson")
    assert metric["value"] == 38 / 40
    assert metric["args"] == {
        "passed": 38,
        "n": 40,
        "known_gaps": 1,
        "wilson_low": pytest.approx(interval.low),
        "wilson_high": pytest.approx(interval.high),
    }


def test_a_card_is_updated_and_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_bytes(CARD.encode())
    assert update_card(file, run(*counted(38, 2)))
    card = ModelCard.load(file)
    assert card.text == ModelCard(CARD).text
    assert file.read_bytes().decode().endswith(CARD.split("tags:\n- x\n---\n")[1])
    assert (card.data.license, card.data.language, card.data.tags) == ("apache-2.0", ["en"], ["x"])
    assert [entry.dataset_type for entry in card.data.eval_results] == ["sst2", "attnprobe"]
    assert card.data.eval_results[1].metric_value == 0.95
    assert card.data.model_name == "my-model"
    # Loaded and saved by huggingface_hub, it says the same.
    before = file.read_bytes()
    card.save(file)
    assert metadata_load(file) == card.data.to_dict()
    file.write_bytes(before)
    assert metadata_load(file) == card.data.to_dict()
    # The same run changes nothing, another takes the place of the first.
    assert not update_card(file, run(*counted(38, 2)))
    assert update_card(file, run(*counted(3, 0, suite="agreement")))
    names = [entry.dataset_name for entry in ModelCard.load(file).data.eval_results]
    assert names == ["SST-2", "agreement"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md"]


@pytest.mark.parametrize("text", ["# Only text\n", "---\nlicense: mit\n---\n# Text\n"])
def test_a_card_without_results_gets_some(tmp_path: Path, text: str) -> None:
    file = tmp_path / "README.md"
    file.write_text(text)
    assert update_card(file, run(*counted(3, 0)))
    card = ModelCard.load(file)
    assert card.data.model_name == "minilm"
    assert card.text.endswith(text.rsplit("---\n", maxsplit=1)[-1])
    assert not update_card(file, run(*counted(3, 0)))


OLD_INDEX = """model-index:
- name: my-model
  results:
  - task: {type: other}
    dataset: {name: agreement, type: attnprobe}
    metrics: [{type: accuracy, value: 0.5}]"""
INDEX = re.compile(r"model-index:\s(?:(?:- | ).*\n)*")


@settings(max_examples=25)
@given(
    opening=st.sampled_from(["", "\ufeff"]),
    above=st.lists(st.sampled_from(METADATA), max_size=3, unique=True),
    below=st.lists(st.sampled_from(METADATA), max_size=2, unique=True),
    index=st.sampled_from(["", OLD_INDEX]),
    closing=st.sampled_from(["---", "--- ", "---\t "]),
    body=st.sampled_from(["", "\n# Card  \n", "  no newline at the end ", "\n---\na: 1\n---\n"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_all_of_a_card_but_its_results_stays_byte_for_byte(
    opening: str,
    above: list[str],
    below: list[str],
    index: str,
    closing: str,
    body: str,
    newline: str,
) -> None:
    metadata = [*above, *([index] if index else []), *(line for line in below if line not in above)]
    lines = ["---", *(metadata if any(metadata) else ["license: mit"]), closing]
    text = opening + "\n".join(lines) + ("\n" + body if body else "")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "README.md"
        file.write_bytes(text.replace("\n", newline).encode())
        assert update_card(file, run(*counted(3, 0)))
        written = file.read_bytes().decode()
        said = yaml.safe_load(re.split(r"^---[ \t]*\r?$", written.lstrip("\ufeff"), flags=re.M)[1])
        names = [entry["dataset"]["name"] for entry in said["model-index"][0]["results"]]
        assert names == [run(*counted(3, 0)).items[0].suite]
        assert not update_card(file, run(*counted(3, 0)))
    assert written.count("\n") == written.count(newline)

    def less_index(card: str) -> str:
        return INDEX.sub("", card.replace("\r\n", "\n"), count=1)

    assert less_index(written) == less_index(text)


def test_a_card_whose_metadata_would_change_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    for metadata in (
        "model-index: &a\n- name: m\n  results: []\nbase: *a",
        "{license: mit, model-index: []}",
        "  license: mit",
    ):
        text = f"---\n{metadata}\n---\n# Card\n"
        file.write_text(text)
        with pytest.raises(ResultsError, match=r"README\.md: .*by hand|is not a model card"):
            update_card(file, run(*counted(3, 0)))
        assert file.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"\xff\xfe",
        b"---\n[1]\n---\n",
        b"---\na: [\n---\n",
        b"---\nmodel-index: 3\n---\n",
        b"---\nmodel-index:\n- name: a\n  results: []\n- name: b\n  results: []\n---\n",
    ],
)
def test_a_card_that_cannot_be_kept_is_left_alone(tmp_path: Path, text: bytes | None) -> None:
    file = tmp_path / "README.md"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(ResultsError, match=r"README\.md: "):
        update_card(file, run(*counted(3, 0)))
    assert text is None or file.read_bytes() == text


@pytest.mark.parametrize(
    ("written", "lost"),
    [
        ("      value: 0.91\n      foo: 3\n", "results.metrics.foo"),
        ("      value: 0.91\n    custom: {a: 1}\n", "results.custom.a"),
        ("      value: 0.91\n      verified: true\n      args: {n: 3}\n", None),
    ],
)
def test_what_a_card_would_lose_of_others_is_told_before(
    tmp_path: Path, written: str, lost: str | None
) -> None:
    file = tmp_path / "README.md"
    text = CARD.replace("      value: 0.91\n", written).encode()
    file.write_bytes(text)
    if lost is None:
        assert update_card(file, run(*counted(3, 0)))
        assert yaml.safe_load(ModelCard.load(file).data.to_yaml())["model-index"][0]["results"][0][
            "metrics"
        ] == [{"type": "accuracy", "value": 0.91, "verified": True, "args": {"n": 3}}]
        return
    with pytest.raises(ResultsError, match=f"would drop from its model-index: {lost}; write"):
        update_card(file, run(*counted(3, 0)))
    assert file.read_bytes() == text


def test_a_card_tells_of_whole_runs_of_one_model() -> None:
    two = (MODEL, replace(MODEL, name="new"))
    other = [replace(entry, model="new") for entry in counted(2, 2)]
    both = run(*counted(4, 0), *other, models=two)
    with pytest.raises(ResultsError, match="--model minilm or new"):
        card_yaml(both)
    with pytest.raises(ResultsError, match="did you mean 'new'"):
        card_yaml(both, model="neww")
    assert "value: 0.5\n" in card_yaml(both, model="new")
    for broken in (run(*counted(3, 0), collected=4), run(*counted(3, 0), case("e", "error"))):
        with pytest.raises(ResultsError, match="1 check has no result"):
            card_yaml(broken)


def test_the_card_command(attn: Attn) -> None:
    write_json(Path("r.json"), run(*counted(3, 1)).to_json())
    code, printed = attn("card", "r.json")
    assert (code, yaml.safe_load(printed)["model-index"][0]["name"]) == (0, "minilm")
    Path("README.md").write_text(CARD)
    assert attn("card", "r.json", "--card", "README.md") == (0, "README.md: updated\n")
    assert attn("card", "r.json", "--card", "README.md") == (0, "README.md: is up to date\n")
    assert json.loads(Path("r.json").read_text())["schema"] == "attnprobe/results-1"


def test_judging_a_file_imports_no_model_library(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    write_json(file, run(*counted(3, 1)).to_json())
    (tmp_path / "pyproject.toml").write_text(POLICY)
    code = (
        "import sys; from attnprobe.cli import app\n"
        f"for command in (['gate', '--results'], ['summary'], ['card']):\n"
        f"    app([*command, {str(file)!r}], standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "Release blocked: " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
