"""Beside each of the plugins that people have installed, the outcomes are the same.

`make neighbours` installs the plugins and runs this file, whose name no other run collects.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attnprobe.results.records import read_results
from tests.support.inner_runs import LOADS_TINY
from tests.support.plugin_cases import BOTH, ROWS, SKIPPED

# What is loaded of each plugin, and the options with which it has something to do.
NEIGHBOURS = {
    "allure": ["allure_pytest.plugin", "--alluredir=allure"],
    "asyncio": ["pytest_asyncio.plugin", "--asyncio-mode=auto"],
    "check": ["pytest_check.plugin"],
    "cov": ["pytest_cov.plugin", "--cov=attnprobe.gate", "--cov-report=xml"],
    "instafail": ["pytest_instafail", "--instafail"],
    "json-report": ["pytest_jsonreport.plugin", "--json-report"],
    "mock": ["pytest_mock"],
    "mypy-plugins": ["pytest_mypy_plugins.collect"],
    "order": ["pytest_order.plugin", "--indulgent-ordering"],
    "randomly": ["pytest_randomly", "--randomly-seed=7"],
    "repeat": ["pytest_repeat", "--count=1"],
    "rerunfailures": ["pytest_rerunfailures", "--reruns=1"],
    "split": ["pytest_split.plugin", "--splits=1", "--group=1"],
    "sugar": ["pytest_sugar", "--force-sugar"],
    "tavern": ["tavern._core.pytest"],
    "timeout": ["pytest_timeout", "--timeout=300"],
    "timeout by thread": ["pytest_timeout", "--timeout=300", "--timeout-method=thread"],
}
OURS = ["attnprobe.plugin", "pytest_html.plugin", "pytest_html.fixtures", "pytest_metadata.plugin"]
UNMEASURED = """
- id: unmeasured
  text: The dog barks.
  expect: [{attends: {from: barks, to: dog, heads: L99H0, min: 0.1}}]
"""
START = "version: 1\nsuite: dogs\ndefaults: {heads: mean}\ncases:\n"
PROBES = """
import pytest

@pytest.mark.parametrize("bound", [0.99, 0.0001])
def test_probe(attn, bound):
    attn("The dog barks.").ignores("barks", "dog", heads="mean", max=bound)

class TestOthers:
    def test_plain(self):
        pass
"""
OUTCOMES = {
    "holds": "passed",
    "fails": "failed",
    "unmeasured": "error",
    "rows[dog]": "passed",
    "rows[big_seal]": "passed",
    "later": "skipped",
    "gap": "xfailed",
    "test_probe[0.99]": "passed",
    "test_probe[0.0001]": "failed",
}
# What an editor asks of each item, to draw a tree and to run one of its leaves.
TREE = """
import json
from pathlib import Path

def pytest_collection_finish(session):
    found = [
        {
            "run": str(item.path) + "::" + item.nodeid.partition("::")[2],
            "line": item.location[1] + 1,
            "parents": [type(node).__name__ for node in item.listchain()],
            "fixtures": [*getattr(item, "fixturenames", ())],
        }
        for item in session.items
    ]
    Path("tree.json").write_text(json.dumps(found))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a case or a probe of each outcome."""
    (tmp_path / "conftest.py").write_text(LOADS_TINY)
    (tmp_path / "dogs.attn.yaml").write_text(START + BOTH + UNMEASURED + ROWS + SKIPPED)
    (tmp_path / "test_probes.py").write_text(PROBES)
    (tmp_path / "tree_of_items.py").write_text(TREE)
    return tmp_path


def run(
    project: Path, *options: str, plugins: list[str] | None
) -> subprocess.CompletedProcess[str]:
    """pytest with these plugins and ours alone; None loads all that are installed."""
    command = [sys.executable, "-m", "pytest", "--attn-model=tiny"]
    variables = {**os.environ, "PYTHONPATH": str(project)}
    if plugins is None:
        del variables["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
    else:
        command += [part for plugin in [*OURS, *plugins] for part in ("-p", plugin)]
    return subprocess.run(
        [*command, *options],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def check_outcomes(project: Path, *options: str, plugins: list[str] | None) -> None:
    found = run(project, *options, "--attn-json=r.json", "--html=report.html", plugins=plugins)
    assert "INTERNALERROR" not in found.stdout + found.stderr
    assert found.returncode == pytest.ExitCode.TESTS_FAILED, found.stdout + found.stderr
    results = read_results(project / "r.json")
    assert {item.nodeid.rpartition("::")[2]: item.outcome for item in results.items} == OUTCOMES
    assert results.complaints == ()
    assert (project / "report.html").read_text("utf-8").count("The dog barks.") > 1


@pytest.mark.parametrize("neighbour", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_the_outcomes_are_the_same(project: Path, neighbour: list[str]) -> None:
    plugin, *options = neighbour
    check_outcomes(project, *options, plugins=[plugin])


def test_all_of_them_together_on_workers(project: Path) -> None:
    options = dict.fromkeys(option for _, *own in NEIGHBOURS.values() for option in own)
    check_outcomes(project, "-n2", *options, plugins=None)


def test_a_damaged_check_is_not_lost_when_it_is_run_again(project: Path) -> None:
    """An item that fails is run again, and fails again, by the numbers of its first run."""
    found = run(project, "--reruns=2", "--attn-json=r.json", plugins=["pytest_rerunfailures"])
    assert found.returncode == pytest.ExitCode.TESTS_FAILED
    item = next(item for item in read_results(project / "r.json").items if item.id == "fails")
    assert (item.outcome, len(item.expectations)) == ("failed", 3)


def test_an_editor_draws_a_tree_and_runs_its_leaves(project: Path) -> None:
    """As the plugin of VS Code does, which is part of the editor and of no package."""
    assert run(project, "--collect-only", plugins=["tree_of_items"]).returncode == 0
    tree = json.loads((project / "tree.json").read_text())
    assert len({leaf["run"] for leaf in tree}) == len(tree) == len(OUTCOMES) + 1
    lines = (project / "dogs.attn.yaml").read_text().splitlines()
    for leaf in tree:
        path, _, name = leaf["run"].partition("::")
        if path.endswith("dogs.attn.yaml"):
            _, _, row = name.rstrip("]").partition("[")  # of a template, the line of its row
            assert (row.replace("_", " ") or name) in lines[leaf["line"] - 1]
    leaf = next(leaf["run"] for leaf in tree if leaf["run"].endswith("rows[big_seal]"))
    assert "1 passed" in run(project, leaf, plugins=["tree_of_items"]).stdout


def test_a_case_file_that_mypy_plugins_takes_is_said_to_be_ours(project: Path) -> None:
    (project / "dogs.attn.yaml").rename(project / "test_dogs.attn.yaml")
    found = run(project, plugins=["pytest_mypy_plugins.collect"])
    assert found.returncode != 0
    assert "give it another name, such as dogs.attn.yaml" in found.stdout
