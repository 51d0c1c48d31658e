"""`flow`: how much of one word reaches another through all layers.

Each layer hands on the mean of its heads and, by the residual connection, the position itself:
`Â = rownorm(mean over heads + I)`. Rollout multiplies the layers, max-flow sends as much as fits
through them (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers"). In a causal site
early tokens are seen by more rows and gather flow for that alone; as the paper asks, attention is
first normalised by its receptive field.

Sliding windows change nothing in these formulas, but a word that their sum keeps away cannot flow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PlainValidator, WithJsonSchema, field_validator

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import WHOLE_PICTURE, FlowGraph
from attnprobe.core.errors import SelectorError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import Verdict
from attnprobe.rules.base import RULES, check_numbers
from attnprobe.rules.chance import PairTokens, WordPairChance
from attnprobe.rules.ranges import Range, flow_range, visible_columns
from attnprobe.rules.weight import Attending, Weight
from attnprobe.rules.word_weights import WordView
from attnprobe.words.heads import Heads, parse_heads
from attnprobe.words.positions import Group, groups, word_matrix

# Capacities are whole numbers to scipy; this many stand for 1, so that a flow fits into 32 bits.
UNIT = 2**30
# A max-flow solves one problem for each token of the text: seconds at this length.
MOST_TOKENS = 128


def mixing(weights: Mapping[int, Floats], *, causal: bool) -> Floats:
    """What each layer hands on, `Â`, `[layers, target, source]`; rows sum to 1.

    Args:
        weights: for each layer `[heads, target, source]`.
        causal: whether a row sees no later position; a weight is then divided by the number of
            rows up to its own that see its source (t − s + 1), and the row scaled back to its sum.
            A sliding window changes nothing: where row t sees s, so do the rows between.
    """
    mean = np.stack([weights[layer].mean(axis=0, dtype=np.float64) for layer in sorted(weights)])
    length = mean.shape[-1]
    if causal:
        places = np.arange(length)
        reach = np.maximum(places[:, None] - places + 1, 1)
        shared = mean / reach
        before, after = mean.sum(-1, keepdims=True), shared.sum(-1, keepdims=True)
        mean = shared * np.divide(before, after, out=np.zeros_like(before), where=after > 0)
    mixed = mean + np.eye(length)
    mixed /= mixed.sum(axis=-1, keepdims=True)
    return mixed.astype(np.float32)


def rollout(edges: Floats) -> Floats:
    """Attention rollout up to each layer, `[layers, target, source]`; rows sum to 1.

    `R₀ = Â₀`, `R_l = Â_l R_{l−1}`.

    Args:
        edges: `[layers, target, source]` as from `mixing`, the lowest layer first.
    """
    rolled = [edges[0].astype(np.float64)]
    for layer in edges[1:]:
        rolled.append(layer @ rolled[-1])
    return np.stack(rolled).astype(np.float32)


def max_flow(edges: Floats, outputs: Sequence[int] | None = None) -> Floats:
    """Largest flow from positions of the top to each input, `[outputs, source]`.

    The edge from (l, t) to (l−1, s) carries at most `Â_l[t, s]`; each output and input is a
    problem of its own, and an output's flows are divided by their sum, so rows sum to 1.

    Args:
        edges: `[layers, target, source]` as from `mixing`, the lowest layer first.
        outputs: positions at the top; all of them unless given.
    """
    # These take a second to import, and few runs need a max-flow.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    layers, length, _ = edges.shape
    capacity = np.rint(edges.astype(np.float64) * UNIT).astype(np.int32)
    layer, target, source = np.nonzero(capacity)
    nodes = (layers + 1) * length
    graph = csr_array(
        (capacity[layer, target, source], ((layer + 1) * length + target, layer * length + source)),
        shape=(nodes, nodes),
    )
    chosen = range(length) if outputs is None else outputs
    flows = np.array(
        [
            [maximum_flow(graph, layers * length + top, low).flow_value for low in range(length)]
            for top in chosen
        ],
        dtype=np.float64,
    )
    flows /= flows.sum(axis=1, keepdims=True)
    return flows.astype(np.float32)


def flow_layers(encoding: Encoding, site: Site, upper: int | None = None) -> tuple[int, ...]:
    """The layers that a flow passes, from the input to `upper`, or to the last.

    Raises:
        SelectorError: there is no such layer, or more than the attention weights of this site
            mixes its positions.
    """
    if site.name == "cross" or (site.name == "decoder" and "cross" in encoding.sites):
        raise SelectorError(
            f"{site.name} attention of an encoder-decoder is no flow through one sequence; take "
            "site: encoder, or rules on single layers such as attends"
        )
    last = site.layers[-1] if upper is None else upper
    layers = tuple(layer for layer in site.layers if layer <= last)
    if last > site.layers[-1]:
        raise SelectorError(f"no layer {last}; the last with attention is {site.layers[-1]}")
    if layers != tuple(range(last + 1)):
        missing = sorted(set(range(last + 1)) - set(layers))
        raise SelectorError(
            f"layer {missing[0]} mixes positions without attention weights, so no flow can be "
            "followed through it"
        )
    return layers


def through(site: Site, layers: Sequence[int]) -> Site:
    """The site with, for each of these layers, the window of a flow through all of them.

    A layer of window w carries a position at most w − 1 places; a layer without one carries it
    anywhere. So the window of all is 1 + Σ(w − 1), or none.
    """
    windows = [site.windows[layer] for layer in layers if layer in site.windows]
    if len(windows) < len(layers):
        return replace(site, windows={})
    return replace(site, windows=dict.fromkeys(layers, 1 + sum(window - 1 for window in windows)))


def _mean(value: object) -> Heads:
    if value != "mean" and not (isinstance(value, Heads) and str(value) == "mean"):
        raise ValueError(
            "flow takes the mean over all heads of each layer; write heads: mean in the rule, or "
            "leave heads out"
        )
    return parse_heads("mean")


@RULES.register("flow")
class Flow(Attending):
    """Enough of what reaches a word at the top comes from another word of the input.

    Bounds are on the share of the flow, 0 to 1, and so is the slack.
    """

    kind = "flow"
    example = "{from: it, to: animal, over: street}"

    heads: Annotated[Heads, PlainValidator(_mean), WithJsonSchema({"const": "mean"})] = Field(
        default_factory=lambda: parse_heads("mean"),
        description="The mean over all heads of each layer; nothing else is possible.",
    )
    site: Annotated[SiteName | None, WithJsonSchema({"enum": ["encoder", "decoder"]})] = Field(
        None, description="Which attention; never cross."
    )
    min: Weight | None = Field(None, description="Least share of the flow.")
    max: Weight | None = Field(None, description="Largest share of the flow.")
    method: Literal["rollout", "maxflow"] = Field(
        "rollout", description="Rollout multiplies the layers, maxflow asks what fits through them."
    )
    layers: Annotated[str, Field(pattern=r"^L0(-L[0-9]{1,6})?$")] | None = Field(
        None, description="From the input up to a layer: L0-L3; all layers unless given."
    )

    @field_validator("site")
    @classmethod
    def _one_sequence(cls, site: SiteName | None) -> SiteName | None:
        if site == "cross":
            raise ValueError("flow follows one sequence; write encoder, or decoder, not cross")
        return site

    def describe(self) -> str:
        layers = "all layers" if self.layers is None else self.layers
        return f"flow {self.relation()}, {self.method} through {layers}"

    def needs(self, encoding: Encoding) -> tuple[Need, ...]:
        view = self._view(encoding)
        query = self._find_words(view).query
        self._check_reach(view)
        site = view.site
        length = max(query) + 1 if site.causal else len(encoding.queries(site.name))
        if self.method == "maxflow" and length > MOST_TOKENS:
            raise SelectorError(
                f"maxflow takes minutes on {length} tokens; write method: rollout, or a text of "
                f"at most {MOST_TOKENS}"
            )
        return (Need(encoding.sample, site.name, view.layers, tuple(range(length))),)

    def chance(self, encoding: Encoding) -> WordPairChance | None:
        # A max-flow of every control pair would take longer than the suite.
        return None if self.method == "maxflow" else super().chance(encoding)

    def _view(self, encoding: Encoding) -> WordView:
        site = encoding.site(self.site)
        upper = None if self.layers is None else int(self.layers.rpartition("L")[2])
        layers = flow_layers(encoding, site, upper)
        reached = through(site, layers)
        return WordView(encoding, reached, layers, self.among, self.renormalise is not None)

    def _need(self, view: WordView, rows: tuple[int, ...]) -> Need:
        length = len(view.encoding.queries(view.site.name))
        return super()._need(view, tuple(range(length)))

    def _check_reach(self, view: WordView) -> None:
        """Refuses a word that no path reaches, where a share of 0 would say nothing."""
        last = view.layers[-1]
        for from_, selector, _ in self._hidden(view, last):
            raise SelectorError(
                f"nothing of {selector} reaches {from_}: the sliding windows of layers 0 to {last} "
                f"carry it {view.site.windows[last] - 1} tokens at most; choose nearer words or "
                "more layers"
            )

    def judge(self, rows: Sequence[Any]) -> Verdict:
        found: Rows = rows[0]
        verdict = replace(super().judge(rows), picture=None)
        length = len(found.positions)
        words = [word for word in groups(found.keys) if word.positions[-1] < length]
        if len(words) > WHOLE_PICTURE:
            return verdict
        related = self._find_words(self._view(found.encoding))
        layers = tuple(sorted(found.weights))
        chart = flow_graph(self._edges(found), layers, words, related.query, related.key)
        return replace(verdict, charts=(chart,))

    def _heads(self, found: Rows) -> tuple[Head, ...]:
        heads = found.encoding.site(self.site).all_heads()
        return tuple(head for head in heads if head.layer in found.weights)

    def _rows(self, found: Rows, wanted: Sequence[int]) -> Floats:
        """What each word at the top has of each word of the input, `[1, wanted, source]`."""
        edges, rows = self._edges(found), list(wanted)
        shares = max_flow(edges, rows) if self.method == "maxflow" else rollout(edges)[-1][rows]
        padded = np.zeros((1, len(rows), len(found.keys)), np.float32)
        padded[0, :, : shares.shape[1]] = shares
        return padded

    def _edges(self, found: Rows) -> Floats:
        check_numbers(found)
        # Nothing later reaches the rows of a causal site.
        length = len(found.positions)
        return mixing(
            {layer: weights[..., :length] for layer, weights in found.weights.items()},
            causal=found.encoding.site(self.site).causal,
        )

    def _ranges(self, view: WordView, words: PairTokens, heads: Sequence[Head]) -> list[Range]:
        length = len(view.encoding.keys(view.site.name))
        through_all = flow_range(
            visible_columns(replace(view.site, windows={}), view.layers[-1], words.query, length),
            words.query,
            words.key,
            words=view.word_columns(words.columns) if view.renormalised else None,
            layers=len(view.layers),
            maxflow=self.method == "maxflow",
        )
        return [through_all]

    @property
    def _weight(self) -> str:
        return super()._weight.replace("weight", "share of the flow")


def flow_graph(
    edges: Floats,
    layers: tuple[int, ...],
    words: Sequence[Group],
    start: Sequence[int],
    end: Sequence[int] = (),
) -> FlowGraph:
    """The flow between words.

    Args:
        edges: `[layers, target, source]` as from `mixing`.
        words: the words to draw.
        start, end: token positions where the flow starts, and those to mark in the input.
    """
    return FlowGraph(
        labels=tuple(word.label for word in words),
        layers=layers,
        edges=word_matrix(edges, words, words),
        start=_touched(words, start),
        end=_touched(words, end),
    )


def _touched(words: Sequence[Group], positions: Sequence[int]) -> tuple[int, ...]:
    """Indices of the words that hold one of these token positions."""
    return tuple(
        index for index, word in enumerate(words) if not set(positions).isdisjoint(word.positions)
    )
