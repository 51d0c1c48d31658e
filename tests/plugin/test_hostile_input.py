"""Hostile ids, texts and files: nothing in a report acts, nothing is written elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from attnprobe.core.errors import ModelError

if TYPE_CHECKING:
    pass
from tests.support.plugin_cases import FAILS, ROWS, Run, Write, lines


def test_results_name_files_with_forward_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnprobe.plugin import identity

    class Item:
        nodeid = "deep/test_x.py::test_it"
        location = ("deep\\test_x.py", 3, "test_it")
        name = "test_it"
        path = Path("deep/test_x.py")

        def iter_markers(self) -> list[pytest.Mark]:
            return []

    monkeypatch.setattr(identity, "PurePath", PureWindowsPath, raising=False)
    item: Any = Item()
    assert identity.identity(item, "")["file"] == "deep/test_x.py"


@pytest.mark.parametrize("name", ["<img src=x>", "a b", "é", "../up", "a::b", "x\n", "[x]"])
def test_hostile_ids_are_refused_p31(probe: Run, write_cases: Write, name: str) -> None:
    write_cases(f"- {{id: {json.dumps(name)}, text: A b., expect: [{{ignores: {{from: b, to: A, "
                "max: 0.9}}]}")  # fmt: skip
    result = probe()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["x.attn.yaml:5:*: id: *"])


def test_junit_stays_parseable_p31(probe: Run, write_cases: Write) -> None:
    name = "<img src=x onerror=alert(1)>.attn.yaml"
    write_cases(
        """
        - id: hostile
          text: '<script>alert(1)</script> & "dog" ]]> barks'
          expect:
            - attends: {from: barks, to: dog, min: 0.99}
            - attends: {from: barks, to: <script>alert(1)</script>, min: 0.99}
        """,
        name=name,
    )
    probe("--junitxml=j.xml").assert_outcomes(failed=1)
    case = ElementTree.parse("j.xml").getroot()[0][0]
    assert case.tag == "testcase"
    assert '<script>alert(1)</script> & "dog" ]]> barks' in str(case.findtext("failure"))
    assert [child.tag for child in case] == ["properties", "failure"]


def test_text_is_no_command_to_terminal_or_ci_p33_p62(probe: Run, write_cases: Write) -> None:
    write_cases(
        r"""
        - id: hostile
          text: "::error file=x::barks \e[31mred \u202e dog"
          expect:
            - attends: {from: barks, to: dog, min: 0.99}
            - attends: {from: "::error", to: dog, min: 0.99}
        """
    )
    write_cases(
        """
        - id: lost
          text: "::error file=x::barks x x"
          expect:
            - attends: {from: barkss, to: x, min: 0.99}
        """,
        name="lost.attn.yaml",
    )
    result = probe("--continue-on-collection-errors", "--junitxml=j.xml")
    result.assert_outcomes(failed=1, errors=1)
    shown = str(result.stdout)
    assert "::error file=x::barks" in shown
    assert not [line for line in lines(result) if line.lstrip(" E").startswith("::")]
    assert not re.search(r"[\x1b\u202e]", shown)
    ElementTree.parse("j.xml")


@pytest.mark.parametrize("command", ["##[error]x", "##vso[task.setvariable]x", "##teamcity[x]"])
def test_what_ci_reads_anywhere_in_a_line_is_broken_p62(
    probe: Run, pytester: pytest.Pytester, write_cases: Write, command: str
) -> None:
    write_cases(
        f"""
        - id: hostile
          text: "The {command} dog barks"
          expect:
            - attends: {{from: barks, to: dog, min: 0.99}}
        - id: gap
          text: The dog barks
          xfail: "reason {command}"
          expect:
            - attends: {{from: barks, to: dog, min: 0.99}}
        """
    )
    write_cases(
        f"""
        - id: lost
          text: "The {command} dog"
          expect:
            - attends: {{from: "{command} not there", to: dog, min: 0.99}}
        """,
        name="lost.attn.yaml",
    )
    call = f"attn('The dog').attends('{command}', 'dog', heads='mean', min=0.5)"
    pytester.makepyfile(f"def test_it(attn):\n    {call}\n")
    options = ("-v", "-rA", "--tb=line", "--continue-on-collection-errors", "--attn-json=r.json")
    result = probe(*options, f"--attn-model={command}=tiny", model=None)
    result.assert_outcomes(errors=1, failed=2, xfailed=1)
    shown = str(result.stdout) + str(result.stderr)
    assert command.replace("##", "##│") in shown
    assert command not in shown


HOSTILE = r"::error file=x::barks \x1b[31mred \u202e dog"


@pytest.mark.parametrize(
    "call",
    [
        f"attn('{HOSTILE}').attends('cat', 'dog', heads='mean', min=0.5)",
        f"attn('{HOSTILE}' * 99)",
        f"attn('The dog barks.').attends('dog', 'barks', heads='{HOSTILE}', min=0.5)",
        f"attn('The dog barks.', site='{HOSTILE}')",
    ],
)
def test_errors_of_python_probes_are_safe_to_print_p33(
    probe: Run, pytester: pytest.Pytester, call: str
) -> None:
    pytester.makepyfile(f"def test_it(attn):\n    {call}\n")
    result = probe("-p", "no:cacheprovider", "--tb=line")
    result.assert_outcomes(failed=1)
    assert "Error: " in str(result.stdout)
    assert "error file=x::barks" in str(result.stdout)
    assert not re.search(r"[\x1b\u202e]", str(result.stdout))


@pytest.mark.parametrize("kind", ["case", "python"])
def test_errors_in_loading_are_safe_to_print_p33(
    probe: Run, pytester: pytest.Pytester, write_cases: Write, kind: str
) -> None:
    class Loader:
        def pytest_attn_load_model(self) -> None:
            raise ModelError("bad\n::error::x \x1b[31mred")

    if kind == "case":
        write_cases(ROWS)
    else:
        pytester.makepyfile("def test_it(attn): pass")
    result = probe(plugin=Loader())
    assert "bad" in lines(result)
    assert "│ ::error::x <U+001B>[31mred" in lines(result)
    assert "::error::x" not in [line[:10] for line in lines(result)]
    assert "\x1b" not in str(result.stdout)


def test_nothing_is_written_elsewhere_p32(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(
        f"""
        - id: ..
          text: The dog barks.
          expect:
            {FAILS}
        - id: CON.
          text: The dog barks.
          expect:
            {FAILS}
        """,
        name="../up.attn.yaml",
    )
    before = set(pytester.path.parent.rglob("*"))
    probe("../up.attn.yaml", "--attn-json=report/r.json", "-p", "no:cacheprovider").assert_outcomes(
        failed=2
    )
    written = set(pytester.path.parent.rglob("*")) - before
    assert {path.relative_to(pytester.path).parts[0] for path in written} == {"report"}
