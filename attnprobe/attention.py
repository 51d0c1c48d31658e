"""The attention on one text, for probes in Python and for notebooks.

The object requests rows from the model when a method first needs them, and then keeps them. It
judges by the same rules as a case file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import (
    Cells,
    Chart,
    Curves,
    HeadGrid,
    HeadMap,
    LayerPanel,
    Picture,
    heads_title,
    mean_rows,
)
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.maps import Mark, ModelMaps
from attnprobe.core.needs import Need
from attnprobe.core.reader import Reader, answers
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample, input_texts
from attnprobe.core.verdicts import Attended, Verdict
from attnprobe.rules.calls import called_rule
from attnprobe.rules.diversity import js_divergence, plane
from attnprobe.rules.flow import flow_graph, flow_layers, max_flow, mixing, rollout
from attnprobe.rules.frame import (
    Doubles,
    Frame,
    SinkKind,
    Unit,
    head_grid,
    row_mean,
    sink_columns,
)
from attnprobe.rules.head_patterns import Patterns, name_patterns
from attnprobe.rules.overview import describe_site, reached_sites, site_maps
from attnprobe.rules.pattern import (
    Form,
    PatternName,
    Shape,
    pattern_scores,
)
from attnprobe.rules.sink import sink_rows
from attnprobe.rules.statistics import check_one_sequence, distance, entropy
from attnprobe.words.heads import parse_heads
from attnprobe.words.positions import Group, groups, positions, word_matrix
from attnprobe.words.selectors import parse_selector

if TYPE_CHECKING:
    from os import PathLike

    from attnprobe.render.figures.style import Drawing


Measure = Literal["entropy", "distance", "sink"] | PatternName
_MEASURES = {"entropy": "entropy (nats)", "distance": "distance ({unit})", "sink": "sink mass"}
# Weights of a page that is made without being asked for by itself: some megabytes.
MOST_WEIGHTS = 10_000_000


class Attention:
    """The attention of a model on one text, at one site.

    Args:
        site: required only if the model has several sites.

    Raises:
        SelectorError: the model cannot take the text, or does not have the site.
    """

    def __init__(self, model: Reader, sample: Sample, site: SiteName | None = None) -> None:
        self._model = model
        self._encoding = model.encode(sample)
        self._site = self._encoding.site(site)
        self._layers: dict[int, Floats] = {}

    def __repr__(self) -> str:
        sample = self.sample
        texts = " and ".join(repr(part.text) for part in input_texts(sample.text, sample.parts))
        return f"<Attention of {self._model.name} at {self.site}: {texts}>"

    @property
    def sample(self) -> Sample:
        return self._encoding.sample

    @property
    def site(self) -> SiteName:
        return self._site.name

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens of the source positions (columns), special tokens included."""
        return self._encoding.keys(self.site).pieces

    @property
    def target_tokens(self) -> tuple[str, ...]:
        """The tokens of the target positions (rows); as `tokens`, except in cross attention."""
        return self._encoding.queries(self.site).pieces

    @property
    def words(self) -> tuple[str, ...]:
        """The columns of `words_matrix`: words and single special tokens."""
        return tuple(group.label for group in self._groups()[1])

    @property
    def target_words(self) -> tuple[str, ...]:
        """The rows of `words_matrix`."""
        return tuple(group.label for group in self._groups()[0])

    @property
    def weight_count(self) -> int:
        """The number of weights at this site, in all of its heads."""
        return len(self.tokens) * len(self.target_tokens) * len(self._site.all_heads())

    def weights(self, heads: str | Sequence[str]) -> Floats:
        """Attention weights `[target, source]` of one head, or the mean over several.

        Args:
            heads: heads as in a case file: `L3H1`, a layer, a list, or `mean` for all heads.
        """
        found = self._resolve(heads)
        layers = self._collect({head.layer for head in found})
        return mean_rows(layers, found)

    def words_matrix(self, heads: str | Sequence[str]) -> Floats:
        """Weights between words, `[target word, source word]`; rows sum to 1.

        The weight to a word of several tokens is the sum over these tokens, the weight from it the
        mean (Clark et al. 2019, section 4.1).
        """
        rows, columns = self._groups()
        return word_matrix(self.weights(heads), rows, columns)

    def strongest(
        self,
        heads: str | Sequence[str],
        *,
        count: int = 3,
        unit: Unit = "words",
        special: bool = True,
    ) -> tuple[tuple[str, tuple[Attended, ...]], ...]:
        """For each word, its label and the words that it attends to most, with their weights.

        Without special tokens, a row with less than 0.05 of its weight on words has no such words.

        Args:
            heads: as for `weights`.
            count: the number of attended words, strongest first.
            unit, special: as for `entropy`.
        """
        frame = self._frame(unit, special)
        (weights,) = self._view(self.weights(heads)[None], frame)
        return tuple(
            (
                group.label,
                tuple(
                    Attended(frame.columns[column].label, float(row[column]))
                    for column in np.argsort(-row, kind="stable")[:count]
                    if row[column] > 0
                ),
            )
            for group, row in zip(frame.rows, weights, strict=True)
        )

    def entropy(
        self, *, normalised: bool = False, unit: Unit = "tokens", special: bool = True
    ) -> Floats:
        """Mean entropy of each head's rows in nats, `[layer, head]`.

        Args:
            normalised: whether to divide by ln n for n visible keys, which gives 0 to 1.
            unit: whether rows and columns are tokens or words.
            special: whether to include special tokens; without them, rows are scaled to sum to 1.
        """
        frame = self._frame(unit, special)
        return self._each_layer(
            frame,
            lambda view, seen: row_mean(entropy(view, seen.visible if normalised else None)),
        )

    def distance(
        self, *, normalised: bool = False, unit: Unit = "tokens", special: bool = True
    ) -> Floats:
        """Mean distance of each head's attention in tokens or words, `[layer, head]`.

        Args:
            normalised: whether to divide by the largest possible distance of each row, which gives
                0 to 1.
            unit, special: as for `entropy`.

        Raises:
            SelectorError: the site is cross attention, which relates two sequences.
        """
        frame = self._frame(unit, special)
        check_one_sequence("distance", self._site)
        return self._each_layer(
            frame, lambda view, seen: row_mean(distance(view, seen, normalised=normalised))
        )

    def sink(self, into: SinkKind = "all") -> Floats:
        """Mean share of each head's rows on sinks, `[layer, head]`, 0 to 1.

        Args:
            into: `special` tokens, the `first` token, a `learned` sink, or `all` of these; in
                `all`, the first token counts at causal sites only.
        """
        frame = self._frame("tokens", True)
        return self._each_layer(frame, lambda view, seen: row_mean(sink_rows(view, seen, into)))

    def pattern(
        self,
        is_: PatternName,
        *,
        form: Form = "mass",
        window: int = 2,
        diagonal: bool = True,
        offset: int = 0,
        to: object = None,
        unit: Unit = "tokens",
        special: bool = True,
    ) -> Floats:
        """The score of each head in the rule `pattern`, `[layer, head]`.

        The score is NaN in a layer whose sliding window hides the pattern from every row.

        Args:
            is_: `diagonal`, `previous`, `next`, `offset`, `local`, `vertical`, `duplicate`,
                `induction`; `sparse` and `uniform` both give the normalised entropy.
            form: `mass`, the share of the weight on the pattern, or `match`.
            window, diagonal: arguments of `local`.
            offset: argument of `offset`.
            to: the word of `vertical`, as in a case file; by default the strongest column.
            unit, special: as for `entropy`.

        Raises:
            SelectorError: no row of this text can have the pattern.
        """
        frame = self._frame(unit, special)
        columns = positions(parse_selector(to), frame.keys) if to is not None else ()
        shape = Shape(is_, window=window, diagonal=diagonal, offset=offset, on=columns)
        shape.check(frame, self._site)
        seen = [frame.in_layer(self._site, layer) for layer in self._site.layers]
        if not any(map(shape.possible, seen)):
            shape.check(seen[0], self._site)
        return self._each_layer(frame, lambda view, seen: pattern_scores(view, seen, shape, form))

    def patterns(self, *, unit: Unit = "tokens", special: bool = True) -> Patterns:
        """The most informative pattern of every head on this text, with its score.

        Printed, the result is a short table; a notebook shows all of it. `by` sorts it, `named`
        keeps some patterns: `att.patterns().named("previous").by("score")`. `special=False` shows
        what heads do besides attending to special tokens.
        """
        frame = self._frame(unit, special)
        layers = self._collect(set(self._site.layers))
        return Patterns(
            pattern
            for layer in self._site.layers
            for pattern in name_patterns(
                self._view(layers[layer], frame),
                frame.in_layer(self._site, layer),
                self._site,
                layer,
            )
        )

    def divergence(
        self, heads: str | Sequence[str] | None = None, *, layer: int | None = None
    ) -> Doubles:
        """Jensen-Shannon divergence of each pair of heads, mean over rows, `[head, head]`, in nats.

        Args:
            heads: heads as in a case file, such as `L2-L4`; by default all heads.
            layer: the layer whose heads are taken instead.
        """
        found = self._chosen(heads, layer)
        layers = self._collect({head.layer for head in found})
        return js_divergence(np.stack([layers[head.layer][head.head] for head in found]))

    def rollout(self, *, unit: Unit = "tokens") -> Floats:
        """Attention rollout up to each layer, `[layer, target, source]`; rows sum to 1.

        The last entry is the rollout through the whole model. At a causal site, attention is first
        normalised by its receptive field (`attnprobe.rules.flow`).

        Raises:
            SelectorError: something other than this site's attention also mixes its positions.
        """
        return self._in_unit(rollout(self._mixing()), unit)

    def flow(self, *, unit: Unit = "tokens") -> Floats:
        """Max-flow from each position of the last layer to the input, `[target, source]`.

        Rows sum to 1. It takes seconds for a sentence and minutes for a page, because each cell is
        a separate flow problem.

        Raises:
            SelectorError: as `rollout`.
        """
        return self._in_unit(max_flow(self._mixing()), unit)

    def judge(self, kind: str, **arguments: Any) -> Verdict:
        """The verdict of a rule on this text.

        Args:
            kind: the name of the rule: `attends`.
            arguments: the rule's arguments as in a case file, with `from_` for `from`.

        Raises:
            AttnprobeError: the rule cannot be measured on this text.
            TypeError: an argument is missing, unknown or invalid.
        """
        stated = {key.rstrip("_"): value for key, value in arguments.items() if value is not None}
        rule = called_rule(kind, {"site": self.site, **stated})
        needs = rule.needs(self._encoding)
        found = answers(self._model, needs)
        return rule.judge([found[need] for need in needs])

    def heatmap(
        self,
        heads: str | Sequence[str],
        *,
        from_: str | None = None,
        to: str | None = None,
        over: str | None = None,
        unit: Unit = "tokens",
        special: bool = True,
    ) -> Drawing:
        """Draws `weights`: source tokens on x, target tokens on y. Jupyter shows the drawing.

        Args:
            heads: as for `weights`.
            from_, to, over: words whose cells are outlined.
            unit, special: as for `entropy`.
        """
        from attnprobe.render.figures.draw import draw_picture

        frame = self._frame(unit, special)
        rows, expected, contrast = self._marks(frame, from_, to, over)
        picture = Picture(self.site, self._resolve(heads), rows, expected, contrast)
        return draw_picture(
            self._seen(heads, frame), picture, *_labels(frame), model=self._model.name
        )

    def panel(
        self,
        layer: int,
        *,
        from_: str | None = None,
        to: str | None = None,
        over: str | None = None,
        unit: Unit = "tokens",
        special: bool = True,
    ) -> Drawing:
        """Draws all heads of a layer side by side, with one scale.

        Args:
            from_, to, over: words whose cells are outlined in each small map.
            unit, special: as for `entropy`.

        Raises:
            MeasureError: the layer has no attention at this site.
        """
        from attnprobe.render.figures.layer_panel import layer_panel

        if layer not in self._site.heads:
            known = ", ".join(map(str, self._site.layers))
            raise MeasureError(
                f"there is no attention in layer {layer} at {self.site}; in: {known}"
            )
        frame = self._frame(unit, special)
        rows, expected, contrast = self._marks(frame, from_, to, over)
        weights = self._view(self._collect({layer})[layer], frame).astype(np.float32)
        queries, keys = _labels(frame)
        return layer_panel(
            LayerPanel(self.site, layer, weights),
            queries=queries,
            keys=keys,
            title=f"{self._model.name} · layer {layer}",
            expected=Cells(rows, expected) if expected else None,
            contrast=Cells(rows, contrast) if contrast else None,
        )

    def compare(
        self,
        other: Attention,
        heads: str | Sequence[str],
        *,
        from_: str | None = None,
        to: str | None = None,
        over: str | None = None,
        unit: Unit = "tokens",
        special: bool = True,
    ) -> Drawing:
        """Draws `weights` here (A) and in another attention (B) on one scale, and B − A.

        Args:
            other: another model, or another site, on a text with the same tokens.
            heads: as for `weights`; the same of both.
            from_, to, over, unit, special: as for `heatmap`.

        Raises:
            SelectorError: the rows or columns of the two differ.
        """
        from attnprobe.render.figures.difference import triple
        from attnprobe.render.figures.style import Row

        frame, others = self._frame(unit, special), other._frame(unit, special)
        queries, keys = _labels(frame)
        if (queries, keys) != _labels(others):
            advice = '; words may be the same: unit="words"' if unit == "tokens" else ""
            raise SelectorError(f"the two have different {unit}, so no difference exists{advice}")
        rows, expected, contrast = self._marks(frame, from_, to, over)
        name = heads_title(self._resolve(heads))
        drawings = triple(
            self._seen(heads, frame),
            other._seen(heads, others),
            queries=queries,
            keys=keys,
            titles=(
                f"A: {self._model.name} · {name}",
                f"B: {other._model.name} · {name}",
                f"B − A: {name}",
            ),
            expected=Cells(rows, expected) if expected else None,
            contrast=Cells(rows, contrast) if contrast else None,
            rows=rows or None,
        )
        return Row(drawings)

    def grid(self, measure: Measure, **options: Any) -> Drawing:
        """Draws a number of every head as a grid: layers on y, heads on x.

        Args:
            measure: `entropy`, `distance`, `sink`, or a pattern such as `previous`.
            options: arguments of the method of this name, or of `pattern`.

        Raises:
            MeasureError: there is no such measure.
        """
        name, scores = self._scores(measure, options)
        return self._draw(HeadGrid(name, self._site.layers, scores), measure)

    def curves(self, measure: Measure, **options: Any) -> Drawing:
        """Draws the numbers of `grid` over the layers: each head, and their mean."""
        name, scores = self._scores(measure, options)
        return self._draw(Curves(name, self._site.layers, scores), measure)

    def head_map(
        self, heads: str | Sequence[str] | None = None, *, layer: int | None = None
    ) -> Drawing:
        """Draws heads as points, near ones attend alike, by `divergence`.

        Args:
            heads, layer: as for `divergence`; at least two heads.

        Raises:
            SelectorError: there is one head only.
        """
        found = self._chosen(heads, layer)
        if len(found) < 2:
            raise SelectorError(f"{found[0]} has no other head to differ from")
        points = plane(self.divergence(heads, layer=layer))
        return self._draw(
            HeadMap("Jensen-Shannon divergence (nats)", found, points), "divergence of heads"
        )

    def flow_graph(self, from_: str, *, to: str | None = None) -> Drawing:
        """Draws the flow of attention from a word at the top, through all layers, to the input.

        The shares are those of `rollout`, between words.

        Args:
            from_: the word where the flow starts.
            to: a word of the input; what ends there is red.

        Raises:
            SelectorError: as `rollout`, or the site is causal and `to` comes after `from_`.
        """
        keys = self._encoding.keys(self.site)
        layers = flow_layers(self._encoding, self._site)
        start = positions(parse_selector(from_), keys)
        end = positions(parse_selector(to), keys) if to else ()
        length = max(start) + 1 if self._site.causal else len(keys)
        if end and max(end) >= length:
            raise SelectorError(f"nothing of {to} reaches {from_}, which comes before it")
        words = [word for word in groups(keys) if word.positions[-1] < length]
        chart = flow_graph(self._mixing()[:, :length, :length], layers, words, start, end)
        return self._draw(chart, f"flow from {from_}")

    def _draw(self, chart: Chart, what: str) -> Drawing:
        from attnprobe.render.figures.draw import draw_chart

        title = f"{self._model.name} · {what}"
        return draw_chart(chart, encoding=self._encoding, title=title)

    def _scores(self, measure: Measure, options: Mapping[str, Any]) -> tuple[str, Floats]:
        """The name of a measure with its unit, and its numbers, `[layer, head]`."""
        known = (*_MEASURES, *get_args(PatternName))
        if measure not in known:
            raise MeasureError(f"no measure {measure!r}; {did_you_mean(measure, known)}")
        if measure in _MEASURES:
            scores: Floats = getattr(self, measure)(**options)
            plain = _MEASURES[measure].format(unit=options.get("unit", "tokens"))
            return f"normalised {measure}" if options.get("normalised") else plain, scores
        name = f"{measure} {options.get('form', 'mass')}"
        if measure in ("sparse", "uniform"):
            name = "normalised entropy"
        return name, self.pattern(cast(PatternName, measure), **options)

    def _marks(
        self, frame: Frame, from_: str | None, to: str | None, over: str | None
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The rows of `from_`, and the columns of `to` and of `over`, in a frame."""
        queries = self._encoding.queries(self.site)
        keys = self._encoding.keys(self.site)
        return (
            frame.rows_at(positions(parse_selector(from_), queries)) if from_ else (),
            frame.columns_at(positions(parse_selector(to), keys)) if to else (),
            frame.columns_at(positions(parse_selector(over), keys)) if over else (),
        )

    def _seen(self, heads: str | Sequence[str], frame: Frame) -> Floats:
        """`weights` in a frame, `[rows, columns]`."""
        seen: Floats = self._view(self.weights(heads)[None], frame)[0].astype(np.float32)
        return seen

    def _chosen(self, heads: str | Sequence[str] | None, layer: int | None) -> tuple[Head, ...]:
        return self._resolve(("all" if heads is None else heads) if layer is None else f"L{layer}")

    def page(
        self,
        path: str | PathLike[str] | None = None,
        *,
        heads: Sequence[str] = (),
        sites: Literal["own", "all"] = "all",
        marks: Sequence[Mark] = (),
        top_keys: int | None = None,
    ) -> str:
        """The explorer of this text: one HTML page with the maps of all heads, without network.

        Args:
            path: a file to write the page to.
            heads: the heads to keep at this site, as in a case file; all of them by default.
            sites: whether the page also has the other sites of the model that this sample reaches.
            marks: verdicts to show on the maps.
            top_keys: how many of the strongest keys of each row the page keeps, for a smaller
                file; all by default. The page says what it drops of each row.

        Raises:
            AttnprobeError: the file cannot be written.
            ValueError: `top_keys` is below 1.
        """
        from attnprobe.render.web.explorer import explorer_page
        from attnprobe.results.files import write_bytes

        if top_keys is not None and top_keys < 1:
            raise ValueError(f"top_keys is {top_keys}, but a row keeps at least 1 key")
        maps = self.maps(heads=heads, sites=sites)
        page = explorer_page(maps, marks=marks, top_keys=top_keys)
        if path is not None:
            write_bytes(Path(path), page.encode("utf-8", "backslashreplace"))
        return page

    def _repr_html_(self) -> str:
        """The page in a frame, and below it the weights between words as a table."""
        from attnprobe.render.web.maps import AttentionMap
        from attnprobe.render.web.notebook import framed

        rows, columns = self._groups()
        heads = len(self._site.all_heads())
        page = self.page(sites="own") if self.weight_count <= MOST_WEIGHTS else ""
        sinks = sink_columns(self._encoding.keys(self.site), causal=self._site.causal)
        shown = AttentionMap(
            tuple(row.label for row in rows),
            tuple(column.label for column in columns),
            self.words_matrix("mean"),
            sinks=tuple(at for at, word in enumerate(columns) if sinks[list(word.positions)].any()),
        )
        caption = f"{self.site} attention of {self._model.name}, mean of {heads} heads"
        return framed(page, f"attention of {self._model.name}", shown, caption)

    def maps(self, *, heads: Sequence[str] = (), sites: Literal["own", "all"] = "all") -> ModelMaps:
        """All maps of this text, as `page` shows them; arguments as there."""
        model, encoding = self._model, self._encoding
        others = [name for name in reached_sites(encoding) if name != self.site]
        found = []
        for name in (self.site, *(others if sites == "all" else ())):
            at_site = self if name == self.site else Attention(model, self.sample, name)
            kept = at_site._resolve(list(heads)) if heads and at_site is self else None
            found.append(
                site_maps(
                    encoding,
                    encoding.site(name),
                    at_site._collect_for_page,
                    kept=kept,
                    key_heads=getattr(model, "key_value_heads", None),
                )
            )
        parts = [getattr(model, name, None) for name in ("architecture", "dtype")]
        parts += [describe_site(encoding.site(site.name)) for site in found]
        about = " · ".join(part for part in parts if part)
        return ModelMaps(model.name, about, self.sample, found)

    def _resolve(self, heads: str | Sequence[str]) -> tuple[Head, ...]:
        return parse_heads(heads if isinstance(heads, str) else list(heads)).resolve(self._site)

    def _groups(self) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
        site = self.site
        return groups(self._encoding.queries(site)), groups(self._encoding.keys(site))

    def _frame(self, unit: Unit, special: bool) -> Frame:
        return Frame.of(self._encoding, self._site, unit=unit, special=special)

    def _view(self, weights: Floats, frame: Frame) -> Doubles:
        return frame.view(weights[:, list(frame.positions)])

    def _each_layer(self, frame: Frame, score: Callable[[Doubles, Frame], Doubles]) -> Floats:
        """A score of every head, `[layer, head]`; NaN for heads that a layer does not have.

        Args:
            score: computes `[heads]` from the layer's weights in the frame and from the frame in
                that layer, whose sliding window may hide cells.
        """
        layers = self._collect(set(self._site.layers))
        return head_grid(
            {
                layer: score(self._view(layers[layer], frame), frame.in_layer(self._site, layer))
                for layer in self._site.layers
            }
        )

    def _mixing(self) -> Floats:
        layers = flow_layers(self._encoding, self._site)
        found = self._collect(set(layers))
        return mixing({layer: found[layer] for layer in layers}, causal=self._site.causal)

    def _in_unit(self, matrices: Floats, unit: Unit) -> Floats:
        return matrices if unit == "tokens" else word_matrix(matrices, *self._groups())

    def _collect_for_page(self, layers: Collection[int], keep: bool) -> Mapping[int, Floats]:
        """The weights of some layers; they stay in memory only where asked."""
        source = self if keep else Attention(self._model, self.sample, self.site)
        found = source._collect(set(layers))
        return {layer: found[layer] for layer in layers}

    def _collect(self, layers: set[int]) -> dict[int, Floats]:
        missing = tuple(sorted(layers - self._layers.keys()))
        if missing:
            all_rows = tuple(range(len(self._encoding.queries(self.site))))
            need = Need(self.sample, self.site, missing, all_rows)
            (rows,) = self._model.collect([need])
            self._layers |= rows.weights
        return self._layers


def _labels(frame: Frame) -> tuple[list[str], list[str]]:
    """The labels of the rows and of the columns."""
    return [group.label for group in frame.rows], [group.label for group in frame.columns]
