"""`attnprobe init` writes a suite that is right as it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attnprobe import cases
from attnprobe.cli import app
from attnprobe.core.errors import AttnprobeError
from attnprobe.models import Model
from attnprobe.run.order import habits, stated_pairs
from attnprobe.run.runner import Runner


def test_the_starter_passes_on_the_demo_model_but_for_its_known_gap(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, minilm: Model
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["init"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "next: pytest cases --attn-model" in result.output
    assert json.loads(Path("cases/case-v1.json").read_text()) == cases.schema()
    found = cases.load(Path("cases/first.attn.yaml"), "first.attn.yaml")
    runner = Runner(minilm, found)
    outcomes = {
        case.name: finding.verdict.outcome
        for case in found
        for finding in runner.judge(case)
        if finding.verdict
    }
    assert len(outcomes) == 6
    assert {name for name, outcome in outcomes.items() if outcome != "passed"} == {"it-street"}
    recorded = {
        (case.mark.file, case.id, case.row, "minilm"): [outcomes[case.name]] for case in found
    }
    assert habits(stated_pairs(found), recorded, ["minilm"]) == ()


def test_nothing_is_overwritten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("probes").mkdir()
    mine = Path("probes/first.attn.yaml")
    mine.write_text("mine")
    with pytest.raises(AttnprobeError, match="exists already"):
        CliRunner().invoke(app, ["init", "probes"], catch_exceptions=False)
    assert mine.read_text() == "mine"
    assert not Path("probes/case-v1.json").exists()
