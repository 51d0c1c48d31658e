"""A rule of another package, by the entry point group `attnprobe.rules`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULE = """
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from attnprobe.core.needs import Need
from attnprobe.core.sites import Head
from attnprobe.rules.base import RULES, Demand, Place, Rule, SelectorField, verdict_of
from attnprobe.rules.chance import Geometry, PairOutcomes, WordPair, WordPairChance
from attnprobe.words.positions import positions


def weight(rows, head, query, key):
    return float(rows.at(head.layer, query)[head.head][:, list(key)].sum(axis=-1).mean())


@RULES.register("points")
class Points(Rule):
    kind = "points"
    positional = ("from", "to")

    from_: SelectorField = Field(alias="from")
    to: SelectorField
    min: float

    def places(self):
        yield Place("from", self.from_, "query")
        yield Place("to", self.to, "key")

    def _find(self, encoding):
        site = encoding.site(self.site)
        (head,) = self.heads.resolve(site)
        query = positions(self.from_, encoding.queries(site.name))
        return site, head, query, positions(self.to, encoding.keys(site.name))

    def needs(self, encoding):
        site, head, query, _ = self._find(encoding)
        return (Need(encoding.sample, site.name, (head.layer,), query),)

    def judge(self, rows):
        _, head, query, key = self._find(rows[0].encoding)
        found = weight(rows[0], head, query, key)
        demands = [Demand.of("weight", "weight", found, ">=", self.min)]
        return verdict_of(demands, head=str(head), heads_tried=1, sink=0.0)

    def chance(self, encoding):
        site, head, query, key = self._find(encoding)
        geometry = Geometry.of(encoding, site, self.from_, self.to, None)
        if geometry is None:
            return None
        pair = WordPair(
            site.name, frozenset(query), frozenset(key), geometry, (head.layer,), True,
            (self.kind, head, self.min), wanted=True,
        )
        return PointsChance(pair, head, self.min)


@dataclass(frozen=True)
class PointsChance(WordPairChance):
    head: Head
    min: float

    def needs(self, encoding, pairs):
        rows = tuple(sorted({at for query in pairs.queries for at in query}))
        return (Need(encoding.sample, self.pair.site, self.pair.layers, rows),)

    def judge(self, rows, pairs):
        weights = [
            weight(rows[0], self.head, pairs.queries[query], pairs.keys[key])
            for query, key in zip(pairs.query, pairs.key)
        ]
        return PairOutcomes(np.array(weights) >= self.min, np.ones(len(pairs), bool))
"""
RUN = """
from attnprobe.cases import parse, yamltext
from attnprobe.run.runner import Runner
from tests.support.made_up import FakeReader

text = "version: 1\\nsuite: s\\ndefaults: {heads: L0H1}\\ncases:\\n"
for number, noun in enumerate(("keys", "dogs", "mice", "cows", "songs", "boats")):
    text += f"  - id: c{number}\\n    text: The {noun} near it are old\\n    expect:\\n"
    for kind in ("points", "attends"):
        text += f"      - {kind}: {{from: are, to: {noun}, min: 0.1}}\\n"
cases = parse(yamltext.loads(text.encode(), "a.attn.yaml"))
runner = Runner(FakeReader(), cases, chance_max=1)
for case in cases:
    points, attends = [finding.verdict for finding in runner.judge(case)]
    assert points.outcome == attends.outcome
    assert points.chance == attends.chance
print(points.chance.passed, "of", points.chance.pairs)
"""


def test_a_rule_of_another_package_is_tried_on_the_control_pairs_of_attends(tmp_path: Path) -> None:
    (tmp_path / "points_rule.py").write_text(RULE)
    info = tmp_path / "points_rule-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: points-rule\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[attnprobe.rules]\npoints = points_rule\n")
    path = os.pathsep.join(map(str, (tmp_path, ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    passed, _, pairs = done.stdout.split()
    assert 0 < int(passed) < int(pairs)
