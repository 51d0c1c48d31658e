"""What fails a run besides its attention checks: tests, fixtures, plugins."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from attnprobe.gate import Policy, Waiver
from attnprobe.results.records import read_results
from attnprobe.run.pytest_run import run_pytest
from tests.support.gate_runs import FAILING, LIKE_COV
from tests.support.inner_runs import LOADS_TINY
from tests.support.made_up_decisions import TODAY, case, decide, kinds, many
from tests.support.made_up_results import run


@pytest.mark.parametrize("severity", ["blocking", "advisory"])
@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("other_failures", "pytest failed for 1 test that is no attention check"),
        ("unread", "pytest failed for 1 file that could not be read"),
        ("complaints", "pytest failed for 1 reason of its own"),
    ],
)
def test_a_failed_check_hides_nothing_else_that_failed(
    severity: str, field: str, text: str
) -> None:
    found = run(*many(3), case("c9", "failed", severity=severity), **{field: ("tests/x.py",)})
    waived = Waiver(case="*::c9", reason="r", owner="o", expires=TODAY)
    for policy in (Policy(), Policy(waivers=(waived,))):
        decision = decide(found, policy)
        assert (decision.exit_code, kinds(decision)[0]) == (2, "pytest")
        assert decision.reasons[0].text == text
        assert decision.reasons[0].details == ("tests/x.py",)


def test_a_run_tells_what_else_failed_in_it(
    probe: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        test_one="def test_broken(): assert False\ndef test_fine(): pass",
        test_two="import nothing_of_this_name",
        test_three="""
        import pytest
        @pytest.fixture
        def breaks():
            yield
            raise OSError
        def test_late(breaks): pass
        @pytest.mark.xfail
        def test_gap(): assert False
        def test_probe(attn): assert False
        """,
    )
    probe("--attn-json=r.json", "--continue-on-collection-errors", "--attn-strict")
    found = read_results(pytester.path / "r.json")
    assert found.other_failures == ("test_one.py::test_broken", "test_three.py::test_late")
    assert found.unread == ("test_two.py",)
    assert found.complaints == ()
    assert found.given == ("tiny",)
    assert [item.outcome for item in found.items] == ["failed"]

    # With its own complaint: nothing was judged.
    probe("--attn-json=r.json", "--attn-strict", "test_one.py")
    (complaint,) = read_results(pytester.path / "r.json").complaints
    assert complaint.startswith("no probe was judged")


OUTSIDE = {
    "counted": (
        LIKE_COV,
        "pytest counts 1 failure more than it reported: a plugin failed the run*",
    ),
    "stopped": (
        "def pytest_runtest_teardown(item): item.session.shouldfail = 'too slow'",
        "a plugin stopped the run as failed: too slow",
    ),
    "status": (
        "def pytest_sessionfinish(session): session.exitstatus = 1",
        "a plugin set the exit code to 1 when the run was over",
    ),
    "status in pytest's own words": (
        "import pytest\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_sessionfinish(session):\n"
        "    yield\n"
        "    session.exitstatus = pytest.ExitCode.TESTS_FAILED",
        "a plugin set the exit code to 1 when the run was over",
    ),
    "exit": (
        "import pytest\ndef pytest_sessionfinish(): pytest.exit('no disk', returncode=1)",
        "the end of the run failed: Exit('no disk')",
    ),
}


@pytest.mark.parametrize("how", OUTSIDE)
def test_a_plugin_that_fails_the_run_is_told_beside_a_failed_check(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
    how: str,
) -> None:
    text, told = OUTSIDE[how]
    write_cases(FAILING)
    pytester.makeconftest(text)
    result = probe("--attn-json=r.json", *(["-k", "fails"] if how == "stopped" else []))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (complaint,) = read_results(pytester.path / "r.json").complaints
    assert fnmatch(complaint, told)
    result.stdout.fnmatch_lines([f"attnprobe: {told}"])
    assert len([line for line in result.outlines if complaint in line]) == 1


@pytest.mark.parametrize("error", ["OSError('no disk')", "SystemExit(1)"])
@pytest.mark.usefixtures("forks")
def test_a_plugin_that_fails_after_the_run_is_told(
    write_cases: Callable[..., Path], pytester: pytest.Pytester, error: str
) -> None:
    # To pytest that is exit code 1, as for a failed test.
    write_cases(FAILING)
    pytester.makeconftest(LOADS_TINY + f"def pytest_unconfigure(): raise {error}")
    done = run_pytest(("-p", "no:hypothesispytest", "--attn-model=tiny"))
    assert done.status == pytest.ExitCode.TESTS_FAILED
    assert done.results is not None
    (complaint,) = done.results.complaints
    assert complaint == f"the end of the run failed: {error}"


def test_what_fails_a_run_with_its_tests_is_no_plugin(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
) -> None:
    write_cases(FAILING)
    pytester.makeconftest(
        """
        def pytest_sessionfinish(session, exitstatus):
            assert exitstatus == session.exitstatus == 1
            if session.testsfailed == 0: session.exitstatus = 0
        """
    )
    pytester.makepyfile(
        test_one="""
        import pytest
        @pytest.fixture
        def breaks():
            yield
            raise OSError
        def test_twice(breaks): assert False
        @pytest.mark.xfail(strict=True)
        def test_gap(): pass
        @pytest.mark.xfail
        def test_known(): assert False
        def test_parts(subtests):
            for part in range(2):
                with subtests.test(part=part): assert False
        """,
        test_two="import nothing_of_this_name",
    )
    for options in (["--continue-on-collection-errors"], ["--maxfail=1", "x.attn.yaml"]):
        result = probe("--attn-json=r.json", *options)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert read_results(pytester.path / "r.json").complaints == ()


def test_a_test_that_passes_when_it_is_run_again_has_not_failed(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    pytester: pytest.Pytester,
) -> None:
    """As pytest-rerunfailures does it where a subtest failed: it takes the failure back."""
    write_cases(FAILING)
    pytester.makepyfile("def test_one(): pass")
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_call(item):
            if item.name != "test_one":
                return
            for outcome in ("failed", "rerun"):
                report = pytest.TestReport(item.nodeid, item.location, {}, outcome, "", "call")
                item.ihook.pytest_runtest_logreport(report=report)
            item.session.testsfailed -= 1
        """
        + textwrap.indent(LIKE_COV, " " * 8)
    )
    probe("--attn-json=r.json")
    found = read_results(pytester.path / "r.json")
    assert found.other_failures == ()
    (complaint,) = found.complaints
    assert complaint.startswith("pytest counts 1 failure more than it reported")
