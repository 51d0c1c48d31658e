"""The measures of every head, against plain Python and against the rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model
from attnprobe.models.forward import batch_inputs, eager
from attnprobe.relations.sentences import Arc, Sentence
from attnprobe.scan.counting import BlockCounter
from attnprobe.scan.measures import MEASURES
from attnprobe.scan.report import measure_rows
from tests.support.scans import MadeUp, block_of, corpus, plan_of, scanned, tiny


def plain(model: Model, samples: Sequence[Sample], site: SiteName) -> dict[str, list[float]]:
    """The measures of every head, from eager weights, row by row."""
    where = model.sites[site]
    sums: dict[str, list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]] = {}

    def add(name: str, heads: list[float], counts: list[float]) -> None:
        sums.setdefault(name, []).append((np.array(heads), np.array(counts)))

    for sample in samples:
        read = model.encode(sample)
        tokens = read.queries(site)
        inputs = batch_inputs(
            model.network, [read.source.ids], None if read.target is None else [read.target.ids]
        )
        layers = eager(model.network, inputs, alone=site)[site]
        size, ids = len(tokens), tokens.ids
        per_head: dict[str, tuple[list[float], list[float]]] = {}
        for layer, weights in zip(where.layers, layers, strict=True):
            for matrix in weights[0].double().numpy():
                for name, (value, count) in one_map(
                    matrix, ids, tokens.special, where.causal, where.windows.get(layer), size
                ).items():
                    values, counts = per_head.setdefault(name, ([], []))
                    values.append(value)
                    counts.append(count)
        for name, (values, counts) in per_head.items():
            add(name, values, counts)
    found = {}
    for name, parts in sums.items():
        value, count = (np.sum([part[place] for part in parts], axis=0) for place in (0, 1))
        found[name] = [v / c if c > 0 else math.nan for v, c in zip(value, count, strict=True)]
    return found


def one_map(
    a: npt.NDArray[Any],
    ids: Sequence[int],
    special: Sequence[str | None],
    causal: bool,
    window: int | None,
    n: int,
) -> dict[str, tuple[float, float]]:
    """What one head adds to each measure: a sum, and what it is divided by."""

    def sees(t: int, s: int) -> bool:
        return not (causal and s > t) and (window is None or abs(t - s) < window)

    targets: dict[str, Callable[[int, int], bool]] = {
        "diagonal": lambda t, s: s == t,
        "previous": lambda t, s: s == t - 1,
        "next": lambda t, s: s == t + 1,
        "offset -2": lambda t, s: s == t - 2,
        "offset +2": lambda t, s: s == t + 2,
        "local 2": lambda t, s: abs(s - t) <= 2,
        "duplicate": lambda t, s: s < t and ids[s] == ids[t],
        "induction": lambda t, s: 1 <= s <= t and ids[s - 1] == ids[t],
    }
    found: dict[str, tuple[float, float]] = {}
    for name, is_target in targets.items():
        mass = whole = 0.0
        for t in range(n):
            own = [s for s in range(n) if sees(t, s) and is_target(t, s)]
            if own:
                mass += sum(a[t, s] for s in own)
                whole += a[t].sum()
        found[name] = mass, whole
    seen_by = [[t for t in range(n) if sees(t, s)] for s in range(n)]
    most = max(map(len, seen_by))
    columns = {s: a[rows, s].sum() / len(rows) for s, rows in enumerate(seen_by)
               if len(rows) >= most / 2}  # fmt: skip
    top = max(columns, key=columns.__getitem__)
    found["vertical"] = a[seen_by[top], top].sum(), a[seen_by[top]].sum()
    nats = [-sum(x * math.log(x) for x in row if x > 0) for row in a]
    visible = [[s for s in range(n) if sees(t, s)] for t in range(n)]
    several = [t for t in range(n) if len(visible[t]) > 1]
    far = [t for t in range(n) if any(s != t for s in visible[t])]
    found["entropy"] = sum(nats), n
    found["normalised entropy"] = (
        sum(nats[t] / math.log(len(visible[t])) for t in several),
        len(several),
    )
    reach = [sum(a[t, s] * abs(t - s) for s in range(n)) for t in range(n)]
    found["distance"] = sum(reach), n
    found["normalised distance"] = (
        sum(reach[t] / max(abs(t - s) for s in visible[t]) for t in far),
        len(far),
    )
    ordinary = [s for s in range(n) if special[s] is None and not (causal and s == 0)]
    found["sink"] = sum(1 - a[t, ordinary].sum() for t in several), len(several)
    return found


@pytest.mark.parametrize(
    ("architecture", "site"),
    [
        ("bert", "encoder"),
        ("llama", "decoder"),
        ("gemma2", "decoder"),
        ("bart", "decoder"),
        ("deberta_v2", "encoder"),  # read from its own eager weights
    ],
)
def test_measures_are_those_of_plain_python(architecture: str, site: SiteName) -> None:
    model = tiny(architecture)
    own = corpus(4, target=architecture == "bart")
    # Without relations, the counter asks nothing, and measures all the same.
    counter = BlockCounter(model, plan_of(site=site, relations=("none",)))
    tally = counter.count(block_of(own))
    assert not tally.labels
    expected = plain(model, [one.sample for one in own.sentences], site)
    rows = measure_rows(tally)
    assert set(expected) == {measure.name for measure in MEASURES} == set(rows)
    for name, values in expected.items():
        np.testing.assert_allclose(rows[name], values, rtol=2e-4, atol=2e-5, err_msg=name)


def test_measures_are_those_of_the_rules(minilm: Model) -> None:
    text = "The old keys near the cabinet and the old door are lost"
    own = MadeUp((Sentence("a", Sample(text), (Arc(Span(0, 3), Span(4, 7), "x"),), 1),))
    tally = scanned(minilm, own)
    rows = measure_rows(tally)
    att = minilm.attention(text)
    for name, expected in {
        "previous": att.pattern("previous"),
        "local 2": att.pattern("local", window=2),
        "offset -2": att.pattern("offset", offset=-2),
        "duplicate": att.pattern("duplicate"),
        "induction": att.pattern("induction"),
        "vertical": att.pattern("vertical"),
        "entropy": att.entropy(),
        "normalised entropy": att.pattern("uniform"),
        "distance": att.distance(),
        "normalised distance": att.distance(normalised=True),
        "sink": att.sink(),
    }.items():
        np.testing.assert_allclose(rows[name], expected.ravel(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_learned_sink_counts() -> None:
    model = tiny("gpt_oss")
    text = "a b c d"
    own = MadeUp((Sentence("a", Sample(text), (Arc(Span(0, 1), Span(2, 3), "x"),), 1),))
    tally = scanned(model, own)
    expected = model.attention(text).sink()
    np.testing.assert_allclose(measure_rows(tally)["sink"], expected.ravel(), atol=1e-5)
