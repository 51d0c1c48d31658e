"""What is wanted of a model: attention rows, sums over whole maps, readouts; and its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import MeasureError
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Encoding, Sample, Span, Tokens

Pool = Literal["mean", "cls", "lasttoken"]


@dataclass(frozen=True)
class Need:
    """Attention rows that somebody wants of one sample.

    Attributes:
        rows: target positions, ascending.
    """

    sample: Sample
    site: SiteName
    layers: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class MapView:
    """What is summed over the whole map of one sample, in layers that see alike.

    Attributes:
        cells: `[sums, target, source]`, what each weight counts in each sum.
        rows: `[masses, target]`, what the sum of each row counts in each mass.
        entropies: `[means, target]`, what each row's entropy counts in each mean.
        visible: `[target, source]`, whether the row can see the column.
        stripe: `[source]`, what the sum of each column is divided by when the strongest column is
            sought; 0 for a column that is not to be chosen.
    """

    cells: Floats
    rows: Floats
    entropies: Floats
    visible: npt.NDArray[np.bool_]
    stripe: Floats


@dataclass(frozen=True, eq=False)
class MapNeed:
    """What somebody wants of the whole maps of one sample, of every head of a site.

    Attributes:
        views: what is summed, by layer.
        queries: `[queries, target]`, the mean over the tokens of each word that looks.
        words: `[source, words]`, 1 where a token is a piece of a word.
        asked: for each question the index of its query.
        expected: for each question the word that is the right answer.
        others: `[questions, words]`, what else can be chosen.
        kept: the questions whose word weights are wanted as well.
    """

    sample: Sample
    site: SiteName
    views: Mapping[int, MapView]
    queries: Floats
    words: Floats
    asked: npt.NDArray[np.int64]
    expected: npt.NDArray[np.int64]
    others: npt.NDArray[np.bool_]
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class MapSums:
    """What the samples of one forward gave; heads are all of the site's, layer by layer.

    Attributes:
        needs: indices of the needs that it answers.
        cells, rows, entropies: `[sums, heads]`, `[masses, heads]`, `[means, heads]`, summed over
            the samples; entropies in nats.
        stripes: `[2, heads]`: the mass on the strongest column of each sample, and the mass of
            the rows that see it.
        right: `[questions, heads]` of all samples, one after the other: whether the expected word
            gets more than any other candidate.
        kept: for each need, in the order of its `kept`, `[heads, words]`.
    """

    needs: tuple[int, ...]
    cells: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float64]
    entropies: npt.NDArray[np.float64]
    stripes: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    kept: tuple[tuple[Floats, ...], ...]


@dataclass(frozen=True)
class Ablation:
    """Heads whose output is replaced before the output projection mixes it with the others.

    Attributes:
        how: by zero, or by the head's mean output over all tokens of the `reference` texts.
        reference: what a mean is taken over; the text itself where there are none.
    """

    site: SiteName
    heads: tuple[Head, ...]
    how: Literal["zero", "mean"] = "zero"
    reference: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """How likely the model finds a word where it stands, in nats; further from 0 is less likely.

    A decoder is asked after the text before the word, an encoder with the word masked, an
    encoder-decoder after the source and the target before the word.

    Attributes:
        span: the word, in the target text where there is one; None for the whole target.
        instead: another word in its place. The readout is then the difference of the two log
            probabilities, which for words of one token is the difference of their logits.
        ablation: None for the intact model.
    """

    sample: Sample
    span: Span | None
    instead: str | None = None
    ablation: Ablation | None = None


@dataclass(frozen=True)
class Similarity:
    """How much closer a text is to one text than to another, by their embeddings: -2 to 2.

    The cosine of the embeddings of the text and of `positive`, less that of the text and of
    `negative`. An embedding is made of the final hidden states of all tokens, special ones
    included (Reimers & Gurevych 2019, "Sentence-BERT").

    Attributes:
        negative: None for the cosine to `positive` alone.
        pool: the mean over the tokens, or the state of the first or of the last one.
        ablation: None for the intact model; the heads are ablated in all texts.
    """

    sample: Sample
    positive: str
    negative: str | None = None
    pool: Pool = "mean"
    ablation: Ablation | None = None


# What a model says by itself, with heads ablated or not, as one number.
Readout = Prediction | Similarity


@dataclass(frozen=True, eq=False)
class Rows:
    """Attention rows of one sample at one site, read-only.

    Attributes:
        positions: target position of each row, ascending.
        weights: for each layer float32 `[heads, rows, source]`; a row sums to 1, or to 1 less
            the mass that the layer's learned sink takes.
    """

    encoding: Encoding
    site: SiteName
    positions: tuple[int, ...]
    weights: Mapping[int, Floats]

    @property
    def queries(self) -> Tokens:
        return self.encoding.queries(self.site)

    @property
    def keys(self) -> Tokens:
        return self.encoding.keys(self.site)

    def at(self, layer: int, positions: Sequence[int]) -> Floats:
        """Weights `[heads, len(positions), source]` of the rows at these target positions."""
        try:
            picked = [self.positions.index(position) for position in positions]
            return self.weights[layer][:, picked]
        except (ValueError, KeyError):
            raise MeasureError(
                f"rows {list(positions)} of layer {layer} were not captured at {self.site}"
            ) from None
