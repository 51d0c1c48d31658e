"""A whole scan: what it refuses, its untrained twin, and the suites that it writes."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from attnprobe import cases
from attnprobe.core.errors import AttnprobeError, CorpusError
from attnprobe.core.names import LOCK
from attnprobe.core.sites import Head
from attnprobe.models import Model
from attnprobe.models.twin import random_twin
from attnprobe.relations import accuracy
from attnprobe.relations.stream import CorpusStream
from attnprobe.results.lock import read_heads
from attnprobe.scan import files
from attnprobe.scan.corpora import Corpora, CorpusRef
from attnprobe.scan.output import Output
from attnprobe.scan.report import figures
from attnprobe.scan.session import Options, Scan, in_process
from attnprobe.scan.tally import ArcCounts, ArcGroup, GroupTally
from attnprobe.words.looks import OFFSETS
from tests.support.scans import (
    MadeUp,
    corpora,
    corpus,
    run,
    sentences,
    tiny,
    tiny_scan,
    write_jsonl,
)


def test_a_suite_tells_what_an_untrained_twin_does_as_well(bert: Model, tmp_path: Path) -> None:
    scan = tiny_scan(tmp_path / "scan", bert, relations=())
    run(scan)
    whole = json.loads((tmp_path / "scan" / files.RESULTS).read_text())
    model, twin = (
        {
            f"{one['relation']}-{one['direction']}".replace(":", "-"): one["accuracy"]
            for one in found
        }
        for found in (whole["relations"], whole["control"]["relations"])
    )
    as_good = [name for name in model if twin[name] >= model[name]]
    assert 0 < len(as_good) < len(model)
    comments = [
        line.removeprefix("# ")
        for line in (tmp_path / "scan" / files.SUITE).read_text().splitlines()
        if line.startswith("#")
    ]
    told = "No better than an untrained twin on the half that both are judged on"
    assert f"{told}: {', '.join(as_good)}." in " ".join(comments)


def test_a_scanned_suite_demands_a_lead_over_word_preference_p56(
    bert: Model, tmp_path: Path
) -> None:
    options = Options(output=Output(tmp_path / "scan", lock=tmp_path / LOCK))
    scan = Scan(bert, corpora(corpus(400)), options, in_process(bert))
    run(scan)
    text = (tmp_path / "scan" / files.SUITE).read_text()
    bounds = {
        one["id"]: one["expect"].get("above_preference")
        for one in yaml.safe_load(text)["relations"]
    }
    expected: dict[str, float | None] = {}
    for one in json.loads((tmp_path / "scan" / files.RESULTS).read_text())["relations"]:
        both = one["preference"], one["overall"]["preference"]
        half = math.floor(50 * min(found["above_preference"] for found in both)) / 100
        holds = half > 0 and all(found["p"] <= 0.05 for found in both)
        name = f"{one['relation']}-{one['direction']}".replace(":", "-")
        expected[name] = half if holds else None
    assert bounds == expected
    # No relation is in random words: what a head finds of one is a liking, as a rule.
    likings = [name for name, bound in bounds.items() if bound is None]
    assert len(likings) > len(bounds) / 2
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line[0] == "#")
    told = "No better than when another word looks, so a liking for some words passes"
    assert f"{told}: {', '.join(likings)}." in comments


@pytest.mark.parametrize(
    ("compared", "other", "demanded", "told"),
    [
        (48, False, 0.5, ""),
        (48, True, None, "No better than when another word looks, so a liking"),
        # A suite that demands a lead needs 30 arcs where another word can look.
        (20, False, None, "Too few arcs where another word can look"),
        (0, False, None, "Too few arcs where another word can look"),
    ],
)
@pytest.mark.parametrize("arcs", [24, 48])
def test_a_scanned_suite_says_why_it_demands_no_lead_over_word_preference_p56(
    arcs: int, compared: int, other: bool, demanded: float | None, told: str
) -> None:
    counts = ArcCounts.zeros(1, 1)
    can = np.arange(arcs) * 48 < compared * arcs
    half = np.arange(arcs) % 2 == 1
    hit = np.ones((arcs, 1), np.bool_)
    nowhere = np.zeros((arcs, len(OFFSETS)), np.bool_)
    counts.add(half.astype(int), hit, nowhere, can, can[:, None] & other)
    group = ArcGroup("nsubj", "dependent-to-head")
    found = figures(GroupTally(counts.of([0])), group, [Head(0, 0)], min_arcs=1)
    assert found is not None
    text = files.suite_text(
        [found],
        {group: "name"},
        suite="s",
        source="c.jsonl",
        model="m",
        site="encoder",
        among="words",
        seed=0,
    )
    (entry,) = yaml.safe_load(text)["relations"]
    assert entry["expect"].get("above_preference") == demanded
    assert entry.get("least", 30) == min(arcs, 30)
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line[0] == "#")
    assert (told in comments) if told else "liking" not in comments


def test_what_cannot_be_scanned_is_refused(bert: Model) -> None:
    def scan(model: Model, own: MadeUp, **options: Any) -> Scan:
        return Scan(model, corpora(own), Options(**options), in_process(model))

    with pytest.raises(CorpusError, match=r"no arc has the relation 'nsbj'; .*nsubj"):
        scan(bert, corpus(3), relations=("nsbj",))
    with pytest.raises(
        CorpusError, match=r"made_up\.tsv:1: at the encoder site a sentence has no target"
    ):
        scan(bert, corpus(3, target=True))
    with pytest.raises(AttnprobeError, match="tiny has several sites, name one with --site"):
        scan(tiny("bart"), corpus(3))
    with pytest.raises(AttnprobeError, match="tiny has no cross attention"):
        scan(bert, corpus(3), site="cross")


def test_a_scan_of_too_few_sentences_says_what_to_do(bert: Model, tmp_path: Path) -> None:
    scan = tiny_scan(tmp_path / "scan", bert, min_arcs=900)
    run(scan)
    first, second, *_ = scan.findings.remarks()
    assert first == "no relation was judged: lower --min-arcs, or add sentences"
    assert second == "fewer than 900 arcs in a half of the sentences: det 38+29"


def test_the_twin_is_untrained_and_repeatable(minilm: Model) -> None:
    first, again, other = (random_twin(minilm, seed=seed) for seed in (0, 0, 1))
    assert first.weights_sha256 == again.weights_sha256
    assert len({first.weights_sha256, other.weights_sha256, minilm.weights_sha256}) == 3
    assert first.sites.keys() == minilm.sites.keys()
    plain_entropy = first.attention("The keys are old").pattern("uniform")
    assert plain_entropy.min() > 0.95


def written(path: Path, count: int, *, seed: int, rare: int) -> Path:
    """A corpus file; its first `rare` sentences alone have the relation `obj`."""
    write_jsonl(
        path,
        (
            replace(
                one,
                id=f"{path.stem}-{one.id}",
                arcs=tuple(arc for arc in one.arcs if arc.relation != "obj" or number < rare),
            )
            for number, one in enumerate(sentences(count, seed=seed))
        ),
    )
    return path


def test_each_of_two_corpora_gets_a_suite_that_it_passes(bert: Model, tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "large.jsonl", 120, seed=1, rare=120),
        written(tmp_path / "small.jsonl", 24, seed=2, rare=3),
    ]
    refs = [CorpusRef(str(path), path, [CorpusStream(path, path.name)]) for path in paths]
    options = Options(output=Output(tmp_path / "scan", lock=tmp_path / LOCK), min_arcs=10)
    scan = Scan(bert, Corpora.inspect(refs), options, in_process(bert))
    run(scan)
    names = [
        yaml.safe_load((tmp_path / "scan" / f"{number}-{files.SUITE}").read_text())["suite"]
        for number in (1, 2)
    ]
    assert names == ["scan-tiny-large", "scan-tiny-small"]
    heads = read_heads(tmp_path / LOCK)
    judged: list[list[accuracy.RelationFinding]] = []
    for number in (1, 2):
        file = tmp_path / "scan" / f"{number}-{files.SUITE}"
        suite = cases.load_contents(file, file.name, head_sets=heads, root=tmp_path)
        judged.append([accuracy.judge(relation, bert) for relation in suite.relations])
    for finding in (finding for findings in judged for finding in findings):
        assert finding.error is None, finding.error
        assert finding.verdicts
        assert {one.outcome for one in finding.verdicts} <= {"passed", "borderline"}
        # The bound is what this corpus alone allows.
        assert finding.accuracy is not None
        bound = next(one for one in finding.relation.bounds if one.name == "accuracy")
        assert bound.demanded <= finding.accuracy.share
    large, small = ({finding.relation.id for finding in findings} for findings in judged)
    assert "obj-dependent-to-head" in large - small
    assert len(small) > 2
    text = " ".join((tmp_path / "scan" / f"2-{files.SUITE}").read_text().replace("#", "").split())
    assert re.search("too few of their arcs are of this corpus: [^.]*obj-dependent-to-head", text)
    # The figures that are told are of both together.
    told = {scan.findings.names[one.group]: one.overall.n for one in scan.findings.found}
    for name in large & small:
        parts = [
            finding.accuracy.n
            for findings in judged
            for finding in findings
            if finding.relation.id == name and finding.accuracy
        ]
        assert told[name] == sum(parts)


def test_suites_are_named_after_model_and_corpus() -> None:
    paths = [Path(name) for name in ("a/dev.tsv", "b/dev.conllu", "c/学.jsonl", "d/x y!.tsv")]
    assert files.suite_names("all MiniLM", paths) == [
        "scan-all-MiniLM-dev",
        "scan-all-MiniLM-dev-2",
        "scan-all-MiniLM",
        "scan-all-MiniLM-x-y",
    ]
