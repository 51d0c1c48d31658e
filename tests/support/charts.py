"""Made-up charts, one of each type, and their text."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Chart, Curves, FlowGraph, HeadGrid, HeadMap, LayerPanel
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding, Sample, Tokens
from attnprobe.render.figures.draw import draw_chart
from attnprobe.render.figures.style import Drawing

WORDS = ("the", "animal", "crossed", "it")
FRENCH = ("<s>", "la", "maison", "rouge", "est")
ENGLISH = ("the", "red", "house", "</s>")
LAYERS = (0, 2, 5)  # of a hybrid stack: some layers have no attention


def tokens(*pieces: str) -> Tokens:
    nothing = (None,) * len(pieces)
    return Tokens(" ".join(pieces), tuple(range(len(pieces))), pieces, nothing, nothing)


def encoding(source: tuple[str, ...] = WORDS, target: tuple[str, ...] | None = None) -> Encoding:
    name: Any = "cross" if target else "encoder"
    return Encoding(
        Sample("a", "b" if target else None),
        tokens(*source),
        tokens(*target) if target else None,
        {name: Site(name, dict.fromkeys(LAYERS, 4), causal=False)},
    )


def rows(*shape: int, seed: int = 0) -> Floats:
    """Random rows that sum to 1."""
    weights = np.random.default_rng(seed).dirichlet(np.ones(shape[-1]) / 2, size=shape[:-1])
    return np.asarray(weights, np.float32)


def grid(*decided: Head) -> HeadGrid:
    scores = np.random.default_rng(1).random((3, 4)).astype(np.float32)
    scores[1, 3] = np.nan
    return HeadGrid("previous-token score", LAYERS, scores, decided)


def panel(*decided: Head, size: int = 4, heads: int = 6) -> LayerPanel:
    return LayerPanel("encoder", 2, rows(heads, size, size), decided)


def flow(start: tuple[int, ...] = (3,), end: tuple[int, ...] = (1,)) -> FlowGraph:
    edges = (rows(3, 4, 4) + np.eye(4, dtype=np.float32)) / 2
    return FlowGraph(WORDS, LAYERS, edges, start, end)


def curve(*decided: Head) -> Curves:
    values = np.random.default_rng(3).random((3, 4)).astype(np.float32) * 2.4
    values[1, 3] = np.nan
    return Curves("entropy (nats)", LAYERS, values, decided)


def head_map(*decided: Head, count: int = 12) -> HeadMap:
    heads = tuple(Head(number // 4, number % 4) for number in range(count))
    points = np.random.default_rng(4).normal(size=(count, 2)).astype(np.float32)
    return HeadMap("Jensen-Shannon divergence (nats)", heads, points, decided)


EVERY = (grid(Head(2, 1)), panel(Head(2, 1)), flow(), curve(Head(2, 1)), head_map(Head(2, 1)))


def drawn(chart: Chart, title: str = "tiny · case") -> Drawing:
    return draw_chart(chart, encoding=encoding(), title=title)
