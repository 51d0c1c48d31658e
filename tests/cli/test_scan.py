"""The command `attnprobe scan`."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from attnprobe import cases
from attnprobe.cli.base import app, out
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import LOCK
from attnprobe.core.needs import MapSums
from attnprobe.core.sites import Head
from attnprobe.models import Model
from attnprobe.relations import accuracy
from attnprobe.relations.arcs import Trial, measure
from attnprobe.relations.corpus import read_corpus
from attnprobe.results.lock import read_heads
from attnprobe.scan import files
from attnprobe.scan.corpora import Corpora
from attnprobe.words.heads import parse_heads
from attnprobe.words.looks import LabelledPair
from tests.support.demo_models import MINILM
from tests.support.scans import folder_of, plan_of

CORPUS = Path(__file__).parents[2] / "cases" / "data" / "english.conllu"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(out, "_width", 200)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "english.conllu").write_bytes(CORPUS.read_bytes())

    def call(*args: str) -> Any:
        return CliRunner().invoke(
            app, ["scan", MINILM, "--corpus", "data/english.conllu", "--min-arcs", "20", *args]
        )

    return call


def test_the_command_leaves_a_suite_that_passes(
    command: Callable[..., Any], minilm: Model, tmp_path: Path
) -> None:
    result = command("--output", "scan", "--control", "random-init")
    assert result.exit_code == 0, result.output
    assert "L3H1" in result.output
    assert "90 arcs of punctuation left out" in result.output
    whole = json.loads((tmp_path / "scan" / files.RESULTS).read_text())
    assert whole["complete"] is True
    assert whole["sentences_done"] == whole["sentences"] == 74
    det = next(
        one
        for one in whole["relations"]
        if (one["relation"], one["direction"]) == ("det", "dependent-to-head")
    )
    # By the slower way of the rule that judges relations.
    own = read_corpus(CORPUS)
    judged = [plan_of().judged(one.sample) for one in own.sentences]
    samples = [one.sample for one in own.sentences]
    pairs = [
        LabelledPair(number, arc.dependent, arc.head)
        for number, one in enumerate(own.sentences)
        for arc in one.arcs
        if arc.relation == "det" and judged[number]
    ]
    spelled = [one.words for one in own.sentences]
    hits = measure(minilm, Trial(samples, pairs, site=None, sets=[(Head(3, 1),)], words=spelled))
    assert det["head"] == "L3H1"
    assert det["judged_on"] == len(hits.right)
    assert det["accuracy"] == hits.right.mean()
    assert det["offset_accuracy"] == hits.offsets.mean(axis=0).max()
    assert det["heads_tried"] == 72
    untrained = whole["control"]["relations"]
    assert max(one["accuracy"] for one in untrained) < det["accuracy"]
    heads = read_heads(tmp_path / LOCK)
    assert heads["det-dependent-to-head"].heads == (Head(3, 1),)
    named = parse_heads("@det-dependent-to-head", heads)
    assert named.sets[0].origin == f"{minilm.name}, weights {minilm.weights_sha256[:12]}"
    assert named.chosen_elsewhere(minilm.weights_sha256) == ()
    entry = json.loads((tmp_path / LOCK).read_text())["heads"]["det-dependent-to-head"]
    assert entry["weights_sha256"] == minilm.weights_sha256
    assert entry["corpora_sha256"] == [own.sha256]
    suite = cases.load_contents(
        tmp_path / "scan" / files.SUITE, "scan.attn.yaml", head_sets=heads, root=tmp_path
    )
    assert len(suite.relations) == len(whole["relations"]) > 3
    for relation in suite.relations:
        finding = accuracy.judge(relation, minilm)
        assert finding.error is None
        assert {one.outcome for one in finding.verdicts} <= {"passed", "borderline"}
        assert finding.verdicts
    page = (tmp_path / "scan" / files.PAGE).read_text(encoding="utf-8")
    drawn = {}
    for figure in re.findall(r"<figure.*?(?=</figcaption>)", page, re.DOTALL):
        cells = re.findall(r"<td class=[^>]*>([^<]*)", figure)
        drawn[unescape(figure.partition("<figcaption>")[2])] = list(map(float, cells))
    for caption, numbers in (
        ("det, dependent → head", det["accuracies"]["judged"]),
        ("previous (share)", whole["measures"]["previous"]["heads"]),
    ):
        of_heads = [numbers[f"L{at // 12}H{at % 12}"] for at in range(72)]
        assert np.allclose(drawn[caption], of_heads, atol=0.0006)
    assert len(drawn) == len(whole["relations"]) + len(whole["measures"])
    assert f"next: pytest scan --attn-model={MINILM}" in result.output
    assert not (tmp_path / "scan" / "english.conllu").exists()  # it lies in the project
    assert not any(path.name.endswith(".tmp") for path in tmp_path.rglob("*"))


def test_the_documented_command_leaves_suites_that_run_from_an_empty_folder(
    minilm: Model,
    pytester: pytest.Pytester,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The treebank comes with the package, so it lies outside of the project and is copied."""
    page = (Path(__file__).parents[2] / "docs" / "scan.md").read_text(encoding="utf-8")
    command, run = (
        shlex.split(line)
        for line in page.splitlines()
        if line.startswith(("attnprobe scan pkg://", "pytest scan "))
    )
    assert list(Path.cwd().iterdir()) == []
    monkeypatch.setattr(out, "_width", 4000)
    monkeypatch.setattr("attnprobe.cli.scan.load", lambda *_: minilm)
    result = CliRunner().invoke(app, [*command[1:], "--relation", "det", "--relation", "obj"])
    assert result.exit_code == 0, result.output
    assert shlex.join(run) in result.output
    assert Path("scan/english.conllu").read_bytes() == CORPUS.read_bytes()
    assert "nearly judged, with at least half of the 25 arcs" in result.output
    assert "obj 22+30; --min-arcs 22 judges it as well" in result.output

    class Loaded:
        def pytest_attn_load_model(self) -> Model:
            return minilm

    suite = pytester.runpytest_inprocess(*run[1:], plugins=[Loaded()])
    suite.assert_outcomes(passed=2)


def test_ctrl_c_leaves_a_scan_that_can_go_on(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = Corpora.inspect
    monkeypatch.setattr(Corpora, "inspect", functools.partial(inspect, block=20))
    assert command("--output", "whole", "--lock", "whole.json", "--relation", "det").exit_code == 0
    survey, calls = Model.survey, iter(range(99))

    def interrupted(self: Model, *args: Any, **options: Any) -> Iterator[MapSums]:
        yield from survey(self, *args, **options)
        if next(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Model, "survey", interrupted)
    options = ("--output", "scan", "--lock", "scan.json", "--relation", "det")
    stopped = command(*options, "--resume")  # one command for the first start and each later one
    assert stopped.exit_code == 130
    assert "nothing to go on with, so the scan starts with the first sentence" in stopped.output
    assert "stopped after 20 of 74 sentences; go on with --resume" in stopped.output
    partial = json.loads((tmp_path / "scan" / files.RESULTS).read_text())
    assert (partial["complete"], partial["sentences_done"]) == (False, 20)
    resumed = command(*options, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "nothing to go on with" not in resumed.output
    assert folder_of(tmp_path / "scan") == folder_of(tmp_path / "whole")
    assert (tmp_path / "scan.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_the_command_refuses_before_it_loads_a_model(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    for args, message in (
        (("--resume",), "--resume goes on from a folder"),
        (("--lock", "x.json"), "--lock is written by a scan with --output; name a folder with it"),
        (("--site", "middle"), "unknown site 'middle'"),
        (("--corpus", "none.conllu"), "none.conllu: cannot be read"),
        (("--corpus", "pkg://attnprobe/data/no.conllu"), "package attnprobe has no data/no.conllu"),
        (("--corpus", "pkg://no_such_one/x.conllu"), "package no_such_one is not installed"),
    ):
        result = command(*args)
        assert isinstance(result.exception, AttnprobeError)
        assert message in str(result.exception)


def test_the_table_in_the_documents_is_the_real_one(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "_width", 220)
    page = (Path(__file__).parents[2] / "docs" / "scan.md").read_text(encoding="utf-8")
    (table,) = [block for block in page.split("```") if block.startswith("text\n┏")]
    result = command("--min-arcs", "25", "--control", "random-init")
    assert table.removeprefix("text\n") in result.output
    assert not Path("scan").exists()
