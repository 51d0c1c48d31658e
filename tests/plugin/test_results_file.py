"""The results file that a run writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
import torch

from attnprobe.results.records import read_results
from attnprobe.results.summary import markdown

if TYPE_CHECKING:
    from tests.support.inner_runs import TinyModels
from tests.support.plugin_cases import BOTH, FAILS, ROWS, SKIPPED, Run, Write, weight


def test_results_hold_what_eager_attention_gives(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(
        BOTH + ROWS,
        head="severity: advisory\nmarks: [coref]\n",
        name="sub/x.attn.yaml",
    )
    probe("--attn-json=out/r.json").assert_outcomes(passed=3, failed=1)
    results = read_results(Path("out/r.json"))
    assert results.summary() == {
        "collected": 4,
        "executed": 4,
        "passed": 3,
        "failed": 1,
        "error": 0,
        "skipped": 0,
        "xfailed": 0,
        "xpassed": 0,
        "borderline": 0,
        "vacuous": 0,
    }
    assert results.environment["device"] == "cpu"
    assert results.environment["dtype"] == "float32"
    (model,) = results.models
    assert (model.name, model.architecture, model.layers, model.heads) == (
        "tiny",
        "BertModel",
        3,
        4,
    )
    assert model.weights_sha256 == tiny.model.weights_sha256
    assert [(case.id, case.row, case.line) for case in results.cases] == [
        ("holds", None, 7),
        ("fails", None, 11),
        ("rows", "dog", 21),
        ("rows", "big_seal", 22),
    ]
    for case in results.cases:
        assert (case.file, case.suite, case.model) == ("sub/x.attn.yaml", "pronouns", "tiny")
        assert (case.severity, case.marks) == ("advisory", ("coref",))
        assert case.nodeid == f"sub/x.attn.yaml::{case.id}" + (f"[{case.row}]" if case.row else "")
    fails = results.cases[1]
    assert [entry.outcome for entry in fails.expectations] == ["passed", "failed", "failed"]
    assert [entry.line for entry in fails.expectations] == [14, 15, 16]
    for entry, (query, key) in zip(
        fails.expectations, [("barks", "dog")] * 2 + [("dog", "barks")], strict=True
    ):
        expected = weight(tiny, "The dog barks.", query, key)
        assert entry.bounds[0].observed == pytest.approx(expected, abs=5e-5)
        assert entry.bounds[0].measure == "weight"
        assert (entry.heads_tried, entry.head) == (12, "mean of 12 heads")
    assert fails.expectations[1].arguments == {
        "heads": "mean",
        "from": "barks",
        "to": "dog",
        "min": 0.99,
    }
    (bound,) = fails.expectations[1].bounds
    assert (bound.relation, bound.demanded) == (">=", 0.99)
    # A phrase is its words; the space between them is a token of its own here.
    expected = sum(weight(tiny, "The big seal barks.", "barks", word) for word in ("big", "seal"))
    assert results.cases[3].expectations[0].bounds[0].observed == pytest.approx(expected, abs=5e-5)


def test_what_could_not_be_measured_stands_in_the_summary_line(
    probe: Run, write_cases: Write
) -> None:
    write_cases(
        f"""
        - id: both
          text: The dog barks.
          expect:
            {FAILS}
            - attends: {{from: barks, to: dog, heads: L77H1, min: 0.99}}
        """
    )
    result = probe()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["layer 77 has no attention * (attends); 2 of 2 expectations fail"])
    result.stdout.fnmatch_lines(["ERROR x.attn.yaml::both - Failed: layer 77 *"])


def test_results_hold_every_bound(probe: Run, write_cases: Write, tiny: TinyModels) -> None:
    write_cases(
        """
        - id: several
          text: The big seal barks.
          expect:
            - attends: {from: barks, to: seal, over: big, min: 0.9, max: 0.95, margin: 0.8}
        """
    )
    result = probe("--attn-json=r.json")
    result.assert_outcomes(failed=1)
    (entry,) = read_results(Path("r.json")).cases[0].expectations
    to, over = (weight(tiny, "The big seal barks.", "barks", word) for word in ("seal", "big"))
    numbers = [
        ("weight", ">=", to, 0.9, "failed", to - 0.9),
        ("margin over big", ">=", to - over, 0.8, "failed", to - over - 0.8),
        ("weight", "<=", to, 0.95, "passed", 0.95 - to),
    ]
    hardest, *others = sorted(numbers, key=lambda one: one[-1])
    first, *rest = entry.bounds
    assert (first.measure, first.relation, first.demanded) == (hardest[0], ">=", hardest[3])
    told = [(one.measure, one.relation, one.demanded, one.outcome) for one in rest]
    assert told == [(one[0], one[1], one[3], one[4]) for one in others]
    for bound, one in zip(rest, others, strict=True):
        assert bound.observed == pytest.approx(one[2], abs=5e-5)
        assert f"{bound.measure} {bound.observed:.3f}, demanded {bound.relation}" in entry.message
    result.stdout.fnmatch_lines(["  weight *, demanded <= 0.950: holds"])


def test_results_hold_what_ablation_changes(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    text, alike = "The dog barks.", "A seal swims."
    effect = f"effect: {{positive: {alike}, heads: L1H0, direction: either, max: 1.9}}"
    write_cases(f"- id: one\n  text: {text}\n  expect: [{{{effect}}}]\n")
    probe("--attn-json=r.json", "--junitxml=j.xml").assert_outcomes(passed=1)
    (entry,) = read_results(Path("r.json")).cases[0].expectations
    found = entry.ablation
    assert found is not None
    network, tokenizer = tiny.model.network, tiny.model.tokenizer
    with torch.inference_mode():
        first, second = (
            network(**tokenizer(each, return_tensors="pt")).last_hidden_state[0].mean(0)
            for each in (text, alike)
        )
    assert found.intact == pytest.approx(float(torch.cosine_similarity(first, second, 0)), abs=1e-5)
    assert found.change == pytest.approx(abs(found.intact - found.ablated))
    assert entry.deciding is not None
    assert entry.deciding.observed == found.change
    assert f"{found.as_much} of {len(found.draws)} draws as much" in entry.message
    properties = {
        one.get("name"): one.get("value") for one in ElementTree.parse("j.xml").iter("property")
    }
    for name in ("intact", "ablated", "change", "mean", "spread", "as_much"):
        assert properties[f"attnprobe.ablation_{name}"] == str(getattr(found, name))
    assert f"| {found.as_much} of {len(found.draws)} draws |" in markdown(
        read_results(Path("r.json"))
    ).replace("  ", " ")


def without_time(path: str) -> str:
    return re.sub(r'"duration_s": [-+.\de]+', '"duration_s": 0', Path(path).read_text())


def test_two_runs_give_the_same_bytes_p39(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(BOTH + ROWS, name="b.attn.yaml", head="marks: [z, a]\n")
    write_cases(SKIPPED, name="a.attn.yaml")
    probe("--attn-json=1.json")
    probe("--attn-json=2.json", "b.attn.yaml", "a.attn.yaml")
    assert without_time("1.json") == without_time("2.json")
    assert '"duration_s": 0' in without_time("1.json")


def test_a_file_with_errors_leaves_a_gap_between_collected_and_executed(
    probe: Run, write_cases: Write
) -> None:
    write_cases(ROWS)
    write_cases("- {id: broken}", name="broken.attn.yaml")
    result = probe("--continue-on-collection-errors", "--attn-json=r.json")
    result.assert_outcomes(passed=2, errors=1)
    summary = read_results(Path("r.json")).summary()
    assert (summary["collected"], summary["executed"]) == (3, 2)


def test_results_of_skipped_and_stopped_runs(probe: Run, write_cases: Write) -> None:
    write_cases(SKIPPED + BOTH + ROWS)
    probe("-x", "--attn-json=r.json").assert_outcomes(skipped=1, xfailed=1, passed=1, failed=1)
    results = read_results(Path("r.json"))
    assert [case.outcome for case in results.cases] == ["skipped", "xfailed", "passed", "failed"]
    assert results.summary()["collected"] == 6


def test_results_that_cannot_be_written_fail_the_run(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(ROWS)
    pytester.makefile("", folder="a file")
    result = probe("--attn-json=folder/r.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnprobe: *folder/r.json: cannot be written: *"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
