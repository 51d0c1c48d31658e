"""The plugin under pytest-xdist: the same outcomes, the same results file, one writer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from attnprobe.results.records import read_results
from tests.support.inner_runs import LOADS_TINY
from tests.support.report_pages import details, maps, shown_cases

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

CASES = """
- id: rows
  template: The {animal} barks.
  rows: [{animal: dog}, {animal: big seal}, {animal: cat}]
  expect:
    - ignores: {from: barks, to: "{animal}", max: 0.99}
- id: fails
  text: The dog barks.
  expect:
    - attends: {from: barks, to: dog, min: 0.99}
- id: gap
  text: The dog barks.
  xfail: known
  expect:
    - attends: {from: barks, to: dog, min: 0.99}
- id: later
  text: The dog barks.
  skip: waits
  expect:
    - attends: {from: barks, to: dog, min: 0.99}
- id: unmeasured
  text: The dog barks.
  expect:
    - attends: {from: barks, to: dog, heads: L7H1, min: 0.99}
"""
PROBES = """
import pytest

@pytest.mark.parametrize("word", ["dog", "The"])
def test_words(attn, word):
    attn("The dog barks.").ignores("barks", word, heads="mean", max=0.99)
"""


def timeless(path: str) -> str:
    """A results file without durations."""
    return re.sub(r'"duration_s": [-+.\de]+', '"duration_s": 0', Path(path).read_text())


def test_two_workers_give_what_one_process_gives_p39(
    pytester: pytest.Pytester, probe: Run, write_cases: Write
) -> None:
    pytester.makepyfile(test_probes=PROBES)
    write_cases(CASES)
    write_cases("- {id: broken}", name="broken.attn.yaml")
    counts = {"passed": 5, "failed": 1, "xfailed": 1, "skipped": 1, "errors": 2}
    rest = ("--continue-on-collection-errors", "--self-contained-html", "--attn-nearest")
    probe("--attn-json=1.json", "--html=1.html", *rest).assert_outcomes(**counts)
    pytester.makeconftest(LOADS_TINY)
    result = probe("--attn-json=2.json", "--html=2.html", "-n2", *rest)
    result.assert_outcomes(**counts)
    result.stdout.fnmatch_lines(
        [
            "attnprobe: tiny, float32, device auto",
            "FAILED x.attn.yaml::fails - weight 0.*, demanded >= 0.99*",
            "ERROR x.attn.yaml::unmeasured - Failed: layer 7 *",
        ]
    )
    assert timeless("1.json") == timeless("2.json")
    summary = read_results(Path("2.json")).summary()
    assert (summary["collected"], summary["executed"]) == (10, 8)
    assert read_results(Path("2.json")).complaints == ()
    named = [
        entry.best_other
        for case in read_results(Path("2.json")).cases
        if case.id in ("fails", "gap")
        for entry in case.expectations
    ]
    assert [best and (best.heads, best.layers) for best in named] == [(12, (0, 1, 2))] * 2
    assert shown_cases("1.html") == shown_cases("2.html")
    assert len(maps(details("fails", "2.html"))) == 1


def test_a_crashed_worker_leaves_a_gap_and_no_baseline_p38(
    pytester: pytest.Pytester, probe: Run, write_cases: Write
) -> None:
    pytester.makeconftest(LOADS_TINY)
    pytester.makepyfile(
        "import os\ndef test_crash(attn):\n"
        "    attn('The dog barks.').ignores('barks', 'dog', heads='mean', max=0.99)\n"
        "    os._exit(1)\n"
    )
    write_cases(CASES, name="before.attn.yaml")
    result = probe("--attn-json=r.json", "--attn-save=main", "-n1", "-k", "crash or rows")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnprobe: no baseline was saved: 1 of 4 cases left no result"])
    assert not Path(".attnprobe").exists()
    summary = read_results(Path("r.json")).summary()
    assert (summary["collected"], summary["executed"], summary["passed"]) == (4, 3, 3)


def test_a_strict_run_that_judged_nothing_fails_under_xdist_too_p10(
    pytester: pytest.Pytester, probe: Run, write_cases: Write
) -> None:
    write_cases(CASES)
    result = probe("--attn-strict", "-n1", "-k", "later")
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_strict_run_misses_a_model_under_xdist_too_p10(
    pytester: pytest.Pytester, probe: Run, write_cases: Write
) -> None:
    pytester.makeconftest(LOADS_TINY)
    write_cases(CASES.replace("- id: later\n", "- id: later\n  model: other\n"))
    assert probe("-n1", "-k", "rows or later").ret == pytest.ExitCode.OK
    result = probe("--attn-strict", "-n1", "-k", "rows or later")
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnprobe: 1 case deselected: for model other, *"])


def test_the_number_types_of_all_workers_are_told(
    pytester: pytest.Pytester, probe: Run, write_cases: Write
) -> None:
    write_cases(CASES)
    pytester.makeconftest(
        LOADS_TINY.replace("(name)", "(config, name)")
        .replace(
            'tiny_network("bert")',
            'tiny_network("bert").to(dtype={"gw0": torch.bfloat16, "gw1": torch.float32}'
            '[config.workerinput["workerid"]])',
        )
        .replace("    from", "    import torch\n    from", 1)
    )
    probe("--attn-json=r.json", "-n2", "--dist=each")
    found = read_results(Path("r.json"))
    (model,) = found.models
    assert (model.dtype, model.device) == ("bfloat16, float32", "cpu")
    assert found.environment["dtype"] == "bfloat16, float32"
