"""One text's attention, for probes in Python and for notebooks.

The object asks the model for rows only when a method wants them, and judges by the same rules as
a case file does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

import numpy as np

from attnprobe.core.arrays import Floats
from attnprobe.core.charts import LayerPanel, Picture
from attnprobe.core.errors import MeasureError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Attended, Verdict
from attnprobe.rules import parse_rule
from attnprobe.rules.diversity import js_divergence
from attnprobe.rules.flow import flow_layers, max_flow, mixing, rollout
from attnprobe.rules.frame import Doubles, Frame, SinkKind, Unit, head_grid, row_mean
from attnprobe.rules.pattern import (
    Form,
    PatternName,
    Patterns,
    Shape,
    name_patterns,
    pattern_scores,
)
from attnprobe.rules.sink import sink_rows
from attnprobe.rules.statistics import check_one_sequence, distance, entropy
from attnprobe.words.heads import parse_heads
from attnprobe.words.positions import Group, groups, positions, word_matrix
from attnprobe.words.selectors import parse_selector

if TYPE_CHECKING:
    from attnprobe.render.style import Drawing


class TextOptions(TypedDict, total=False):
    """How a text is read, in Python; each is left out where it does not apply.

    Attributes:
        pair: a second text, read behind the first as `tokenizer(text, pair)` puts them.
        target: the target text, for an encoder-decoder.
        source_language, target_language: codes of a multilingual tokenizer, such as `fra_Latn`; by
            default those that the model was loaded with.
        allow_special_tokens: whether the text may spell special tokens, as the text of a chat
            template does.
        one_segment: the text may spell out separators, which start no second segment.
    """

    pair: str | None
    target: str | None
    source_language: str | None
    target_language: str | None
    allow_special_tokens: bool
    one_segment: bool


def text_sample(text: str, **options: Unpack[TextOptions]) -> Sample:
    """A text as a sample.

    Raises:
        TypeError: an option that `TextOptions` does not have.
    """
    __tracebackhide__ = True
    known = TextOptions.__annotations__
    for option in options:
        if option not in known:
            raise TypeError(f"unknown argument {option!r}; {did_you_mean(option, known)}")
    return Sample(text, **options)


class Reader(Protocol):
    """What a model must offer here."""

    @property
    def name(self) -> str: ...

    def encode(self, sample: Sample) -> Encoding: ...

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = ...) -> list[Rows]: ...

    def read_out(self, readouts: Sequence[Readout], *, batch_tokens: int = ...) -> list[float]: ...


def answers(
    model: Reader, asked: Iterable[Need | Readout], *, batch_tokens: int = BATCH_TOKENS
) -> dict[Need | Readout, Rows | float]:
    """What a model answers to all that is asked of it, each once."""
    each = dict.fromkeys(asked)
    needs = [one for one in each if isinstance(one, Need)]
    readouts = [one for one in each if isinstance(one, Readout)]
    found: dict[Need | Readout, Rows | float] = {}
    if needs:
        rows = model.collect(needs, batch_tokens=batch_tokens)
        found.update(zip(needs, rows, strict=True))
    if readouts:
        values = model.read_out(readouts, batch_tokens=batch_tokens)
        found.update(zip(readouts, values, strict=True))
    return found


class Attention:
    """The attention of a model on one text, at one site.

    Args:
        site: needed only where the model has several.

    Raises:
        SelectorError: the text cannot be read by this model.
    """

    def __init__(self, model: Reader, sample: Sample, site: SiteName | None = None) -> None:
        self._model = model
        self._encoding = model.encode(sample)
        self._site = self._encoding.site(site)
        self._layers: dict[int, Floats] = {}

    def __repr__(self) -> str:
        pair = "" if self.sample.pair is None else f" and {self.sample.pair!r}"
        return f"<Attention of {self._model.name} at {self.site}: {self.sample.text!r}{pair}>"

    @property
    def sample(self) -> Sample:
        return self._encoding.sample

    @property
    def site(self) -> SiteName:
        return self._site.name

    @property
    def tokens(self) -> tuple[str, ...]:
        """The source positions (columns), special tokens included."""
        return self._encoding.keys(self.site).pieces

    @property
    def target_tokens(self) -> tuple[str, ...]:
        """The target positions (rows); the same as `tokens` but for cross attention."""
        return self._encoding.queries(self.site).pieces

    @property
    def words(self) -> tuple[str, ...]:
        """The columns of `words_matrix`: words, and special tokens each on its own."""
        return tuple(group.label for group in self._groups()[1])

    @property
    def target_words(self) -> tuple[str, ...]:
        """The rows of `words_matrix`."""
        return tuple(group.label for group in self._groups()[0])

    def weights(self, heads: str | Sequence[str]) -> Floats:
        """Attention weights `[target, source]` of one head, or the mean of several.

        Args:
            heads: `L3H1`, or a layer, a list, `mean` for all heads, as in a case file.
        """
        found = self._resolve(heads)
        layers = self._collect({head.layer for head in found})
        return mean_rows(layers, found)

    def words_matrix(self, heads: str | Sequence[str]) -> Floats:
        """Word-level weights `[target word, source word]`; rows sum to 1.

        Attention to a split word is the sum over its pieces, from it the mean (Clark et al.
        2019, section 4.1).
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
        """What each word looks at most: its label, and the words it attends to most, with weights.

        A row that puts less than 0.05 on words has none where special tokens are left out.

        Args:
            heads: as for `weights`.
            count: how many words, strongest first.
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
            normalised: divided by ln n for n visible keys, 0 to 1.
            unit: rows and columns are tokens, or whole words.
            special: False leaves special tokens out and scales the rows to sum to 1.
        """
        frame = self._frame(unit, special)
        return self._each_layer(
            frame,
            lambda view, seen: row_mean(entropy(view, seen.visible if normalised else None)),
        )

    def distance(
        self, *, normalised: bool = False, unit: Unit = "tokens", special: bool = True
    ) -> Floats:
        """Mean distance that each head looks, in tokens or words, `[layer, head]`.

        Args:
            normalised: divided by the largest possible distance of each row, 0 to 1.
            unit, special: as for `entropy`.

        Raises:
            SelectorError: cross attention, which relates two sequences.
        """
        frame = self._frame(unit, special)
        check_one_sequence("distance", self._site)
        return self._each_layer(
            frame, lambda view, seen: row_mean(distance(view, seen, normalised=normalised))
        )

    def sink(self, into: SinkKind = "all") -> Floats:
        """Mean share of each head's rows on tokens that are no words, `[layer, head]`.

        Args:
            into: `special` tokens, the `first` token, a `learned` sink, or `all` of these (the
                first token then counts at causal sites only).
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
        """How far each head has a pattern, `[layer, head]`; the score of the rule `pattern`.

        NaN in a layer whose sliding window hides the pattern from every row.

        Args:
            is_: `diagonal`, `previous`, `next`, `offset`, `local`, `vertical`, `duplicate`,
                `induction`; `sparse` and `uniform` both give the normalised entropy.
            form: `mass`, the share of the weight on the pattern, or `match`.
            window, diagonal: of `local`.
            offset: of `offset`.
            to: word of `vertical`, as in a case file; the strongest column without it.
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
        """What every head does on this text: the pattern that says most, with its score.

        Print it for a table. `special=False` tells what heads do besides resting on special
        tokens.
        """
        frame = self._frame(unit, special)
        layers = self._collect(set(self._site.layers))
        return Patterns(
            one
            for layer in self._site.layers
            for one in name_patterns(
                self._view(layers[layer], frame),
                frame.in_layer(self._site, layer),
                self._site,
                layer,
            )
        )

    def divergence(
        self, heads: str | Sequence[str] | None = None, *, layer: int | None = None
    ) -> Doubles:
        """Jensen-Shannon divergence of each two heads, mean over rows, `[head, head]` in nats.

        Args:
            heads: as a case file names them, such as `L2-L4`; all heads unless given.
            layer: the heads of this layer, instead.
        """
        found = self._resolve(("all" if heads is None else heads) if layer is None else f"L{layer}")
        layers = self._collect({head.layer for head in found})
        return js_divergence(np.stack([layers[head.layer][head.head] for head in found]))

    def rollout(self, *, unit: Unit = "tokens") -> Floats:
        """Attention rollout up to each layer, `[layer, target, source]`; rows sum to 1.

        The last entry is the rollout through the whole model. In a causal site attention is first
        normalised by its receptive field (`attnprobe.rules.flow`).

        Raises:
            SelectorError: the attention weights of this site are not all that mixes its positions.
        """
        return self._in_unit(rollout(self._mixing()), unit)

    def flow(self, *, unit: Unit = "tokens") -> Floats:
        """Max-flow from each position of the last layer to the input, `[target, source]`.

        Rows sum to 1. Takes seconds for a sentence and minutes for a page: each cell is a problem
        of its own.

        Raises:
            SelectorError: as `rollout`.
        """
        return self._in_unit(max_flow(self._mixing()), unit)

    def judge(self, kind: str, **arguments: Any) -> Verdict:
        """The verdict of a rule, with the arguments of a case file (`from_` for `from`).

        Raises:
            AttnprobeError: what is asked cannot be measured on this text.
            pydantic.ValidationError: arguments that the rule does not take.
        """
        stated = {key.rstrip("_"): value for key, value in arguments.items() if value is not None}
        rule = parse_rule(kind, {"site": self.site, **stated})
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
        """Draws `weights`: source tokens on x, target tokens on y. Shows itself in Jupyter.

        Args:
            from_, to, over: words whose cells are marked.
            unit, special: as for `entropy`.
        """
        queries = self._encoding.queries(self.site)
        keys = self._encoding.keys(self.site)
        frame = self._frame(unit, special)
        picture = Picture(
            site=self.site,
            heads=self._resolve(heads),
            rows=frame.rows_at(positions(parse_selector(from_), queries)) if from_ else (),
            expected=frame.columns_at(positions(parse_selector(to), keys)) if to else (),
            contrast=frame.columns_at(positions(parse_selector(over), keys)) if over else (),
        )
        (weights,) = self._view(self.weights(heads)[None], frame)
        return _drawn(
            weights.astype(np.float32),
            picture,
            [group.label for group in frame.rows],
            [group.label for group in frame.columns],
            self._model.name,
        )

    def panel(self, layer: int) -> Drawing:
        """Draws all heads of a layer side by side. Shows itself in Jupyter.

        Raises:
            MeasureError: the layer has no attention at this site.
        """
        from attnprobe.render.draw import draw_chart

        if layer not in self._site.heads:
            known = ", ".join(map(str, self._site.layers))
            raise MeasureError(
                f"there is no attention in layer {layer} at {self.site}; in: {known}"
            )
        chart = LayerPanel(self.site, layer, self._collect({layer})[layer])
        title = f"{self._model.name} · layer {layer}"
        return draw_chart(chart, encoding=self._encoding, title=title)

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
        """A score of every head, `[layer, head]`; NaN where a layer has fewer heads.

        Args:
            score: of a layer's weights in the frame, and the frame as the layer sees it.
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

    def _collect(self, layers: set[int]) -> dict[int, Floats]:
        missing = tuple(sorted(layers - self._layers.keys()))
        if missing:
            everything = tuple(range(len(self._encoding.queries(self.site))))
            need = Need(self.sample, self.site, missing, everything)
            (rows,) = self._model.collect([need])
            self._layers |= rows.weights
        return self._layers


def mean_rows(layers: Mapping[int, Floats], heads: Sequence[Head]) -> Floats:
    """Mean over heads, `[target, source]`; of one head, its own weights."""
    mean: Floats = np.mean([layers[head.layer][head.head] for head in heads], axis=0)
    mean.flags.writeable = False
    return mean


def draw(
    weights: Floats, picture: Picture, encoding: Encoding, model: str, case: str = ""
) -> Drawing:
    """The heatmap of a picture, titled with model, head and case.

    Args:
        weights: `[target, source]` of the picture's heads.
    """
    queries, keys = encoding.queries(picture.site), encoding.keys(picture.site)
    return _drawn(weights, picture, queries.pieces, keys.pieces, model, case)


def heads_title(heads: Sequence[Head]) -> str:
    """What a picture of these heads is of: `L3H1`, `L3, mean of 12 heads`, `mean of 72 heads`."""
    if len(heads) == 1:
        return str(heads[0])
    layers = {head.layer for head in heads}
    layer = f"L{layers.pop()}, " if len(layers) == 1 else ""
    return f"{layer}mean of {len(heads)} heads"


def _drawn(
    weights: Floats,
    picture: Picture,
    rows: Sequence[str],
    columns: Sequence[str],
    model: str,
    case: str = "",
) -> Drawing:
    """The heatmap of a picture whose positions count in these rows and columns."""
    from attnprobe.render.heatmap import Cells, heatmap

    return heatmap(
        weights,
        queries=rows,
        keys=columns,
        title=" · ".join(part for part in (model, heads_title(picture.heads), case) if part),
        expected=Cells(picture.rows, picture.expected) if picture.expected else None,
        contrast=Cells(picture.rows, picture.contrast) if picture.contrast else None,
        rows=picture.rows or None,
    )
