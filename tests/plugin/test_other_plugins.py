"""Beside plugins that run items by themselves, or that take case files for theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnprobe.results.records import read_results
from tests.support.plugin_cases import BOTH, FAILS, HOLDS, Run, Write

UNREADABLE = """
- id: unreadable
  xfail: the word is not there
  text: The dog barks.
  expect: [{attends: {from: barks, to: dog, heads: L99H0, min: 0.1}}]
"""


class RunsAgain:
    """Runs the test of an item again, as plugins for flaky tests do; the last outcome counts."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> object:
        try:
            return (yield)
        except (AssertionError, pytest.fail.Exception):
            item.runtest()
        return None


class NoSetup:
    """Runs the test of an item, and never its setup."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: object) -> bool:
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        call = pytest.CallInfo.from_call(item.runtest, "call")
        hook.pytest_runtest_logreport(report=hook.pytest_runtest_makereport(item=item, call=call))
        return True


class IgnoresSetup:
    """Runs the test of an item also where its setup failed."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> object:
        try:
            return (yield)
        except pytest.fail.Exception:
            return None


def outcomes(file: str = "r.json") -> dict[str, str]:
    return {item.id: item.outcome for item in read_results(Path(file)).items}


def run_beside(
    probe: Run, pytester: pytest.Pytester, plugin: object, *args: str
) -> pytest.RunResult:
    pytester.plugins.append(plugin)
    return probe("--attn-json=r.json", *args)


@pytest.mark.parametrize(
    "plugin", [RunsAgain(), NoSetup(), IgnoresSetup()], ids=lambda p: type(p).__name__
)
def test_a_case_that_another_plugin_runs_gets_no_other_verdict(
    probe: Run, write_cases: Write, pytester: pytest.Pytester, plugin: object
) -> None:
    write_cases(BOTH + UNREADABLE)
    result = run_beside(probe, pytester, plugin)
    found = outcomes()
    assert (found["holds"], found["fails"]) == ("passed", "failed")
    # Not measured: an error or a failure, never an expected failure or a pass.
    assert found["unreadable"] in ("error", "failed")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stdout.fnmatch_lines(["*layer 99*"])
    items = {item.id: item for item in read_results(Path("r.json")).items}
    assert [len(items[name].expectations) for name in ("holds", "fails")] == [1, 3]


def test_a_probe_that_is_called_again_reports_its_last_call(
    probe: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_call(item):
            try:
                return (yield)
            except AssertionError:
                item.runtest()
        """
    )
    pytester.makepyfile(
        """
        import pytest
        calls = []

        @pytest.fixture
        def checked(attn):
            attn("The dog barks.").ignores("barks", "dog", heads="mean", max=0.98)
            return attn

        def test_later(checked):
            calls.append(1)
            bound = 0.0001 if len(calls) == 1 else 0.99
            checked("The dog barks.").ignores("barks", "dog", heads="mean", max=bound)

        def test_never(attn):
            attn("The dog barks.").ignores("barks", "dog", heads="mean", max=0.0001)
        """
    )
    probe("--attn-json=r.json").assert_outcomes(passed=1, failed=1)
    items = {item.id: item for item in read_results(Path("r.json")).items}
    demanded = {
        name: [entry.bounds[0].demanded for entry in item.expectations]
        for name, item in items.items()
    }
    assert demanded == {"test_later": [0.98, 0.99], "test_never": [0.0001]}


def test_a_case_file_that_another_plugin_takes_is_said_to_be_ours(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    """As pytest-mypy-plugins, which takes every YAML file whose name begins with `test`."""
    pytester.makeconftest(
        """
        import pytest, yaml

        class YamlTests(pytest.File):
            def collect(self):
                tests = yaml.safe_load(self.path.read_text())
                if not isinstance(tests, list):
                    raise ValueError("a list of tests is wanted")
                return []

        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".yaml" and file_path.name.startswith("test"):
                return YamlTests.from_parent(parent, path=file_path)
        """
    )
    write_cases(
        f"- id: one\n  text: The dog barks.\n  expect: [{HOLDS[2:]}]\n", name="test_dogs.attn.yaml"
    )
    write_cases(
        f"- id: two\n  text: The dog barks.\n  expect: [{FAILS[2:]}]\n", name="cats.attn.yaml"
    )
    result = probe("--continue-on-collection-errors")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    told = (
        "test_dogs.attn.yaml is a case file of attnprobe, and YamlTests of conftest takes it for "
        "its own; give it another name, such as dogs.attn.yaml"
    )
    assert result.outlines.count(told) == 1
    result = probe("--continue-on-collection-errors", "cats.attn.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*is a case file of attnprobe*")
