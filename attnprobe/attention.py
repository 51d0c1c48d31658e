"""One text's attention, for probes in Python and for notebooks.

The object asks the model for rows only when a method wants them, and judges by the same rules as
a case file does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from attnprobe.align import Group, groups, parse_selector, positions
from attnprobe.heads import parse_heads
from attnprobe.records import Encoding, Floats, Head, Need, Picture, Rows, Sample, SiteName, Verdict
from attnprobe.rules import parse_rule

if TYPE_CHECKING:
    from attnprobe.render.style import Drawing

__all__ = ["BATCH_TOKENS", "Attention", "Reader", "draw", "mean_rows", "word_matrix"]

BATCH_TOKENS = 8192


class Reader(Protocol):
    """What a model must offer here."""

    @property
    def name(self) -> str: ...

    def encode(self, sample: Sample) -> Encoding: ...

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = ...) -> list[Rows]: ...


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
        return f"<Attention of {self._model.name} at {self.site}: {self.sample.text!r}>"

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

    def judge(self, kind: str, **arguments: Any) -> Verdict:
        """The verdict of a rule, with the arguments of a case file (`from_` for `from`).

        Raises:
            AttnprobeError: what is asked cannot be measured on this text.
            pydantic.ValidationError: arguments that the rule does not take.
        """
        stated = {key.rstrip("_"): value for key, value in arguments.items() if value is not None}
        rule = parse_rule(kind, {"site": self.site, **stated})
        return rule.judge(self._model.collect(rule.needs(self._encoding)))

    def heatmap(
        self,
        heads: str | Sequence[str],
        *,
        from_: str | None = None,
        to: str | None = None,
        over: str | None = None,
    ) -> Drawing:
        """Draws `weights`: source tokens on x, target tokens on y. Shows itself in Jupyter.

        Args:
            from_, to, over: words whose cells are marked.
        """
        queries = self._encoding.queries(self.site)
        keys = self._encoding.keys(self.site)
        found = self._resolve(heads)
        picture = Picture(
            site=self.site,
            heads=found,
            rows=positions(parse_selector(from_), queries) if from_ else (),
            expected=positions(parse_selector(to), keys) if to else (),
            contrast=positions(parse_selector(over), keys) if over else (),
        )
        return draw(self.weights(heads), picture, self._encoding, self._model.name)

    def _resolve(self, heads: str | Sequence[str]) -> tuple[Head, ...]:
        return parse_heads(heads if isinstance(heads, str) else list(heads)).resolve(self._site)

    def _groups(self) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
        site = self.site
        return groups(self._encoding.queries(site)), groups(self._encoding.keys(site))

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


def word_matrix(weights: Floats, rows: Sequence[Group], columns: Sequence[Group]) -> Floats:
    """Token weights `[target, source]` to words: mean over row pieces, sum over column pieces."""
    summed = np.stack([weights[:, list(group.positions)].sum(axis=1) for group in columns], axis=1)
    means: Floats = np.stack([summed[list(group.positions)].mean(axis=0) for group in rows])
    return means


def draw(
    weights: Floats, picture: Picture, encoding: Encoding, model: str, case: str = ""
) -> Drawing:
    """The heatmap of a picture, titled with model, head and case.

    Args:
        weights: `[target, source]` of the picture's heads.
    """
    from attnprobe.render.heatmap import Cells, heatmap

    heads = picture.heads
    head = str(heads[0]) if len(heads) == 1 else f"mean of {len(heads)} heads"
    return heatmap(
        weights,
        queries=encoding.queries(picture.site).pieces,
        keys=encoding.keys(picture.site).pieces,
        title=" · ".join(part for part in (model, head, case) if part),
        expected=Cells(picture.rows, picture.expected) if picture.expected else None,
        contrast=Cells(picture.rows, picture.contrast) if picture.contrast else None,
        rows=picture.rows or None,
    )
