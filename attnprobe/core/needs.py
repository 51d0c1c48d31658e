"""Requests to a model, and its answers: attention rows, sums over whole maps, readouts."""

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
    """A request for attention rows of one sample: rows 3 and 4 of layers 0 to 5, say.

    Attributes:
        rows: target positions, ascending.
    """

    sample: Sample
    site: SiteName
    layers: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class MapView:
    """Coefficients of sums over the whole map of one sample, for layers with the same mask.

    Attributes:
        cells: `[sums, target, source]`, the coefficient of each weight in each sum.
        rows: `[masses, target]`, the coefficient of each row's sum in each mass.
        entropies: `[means, target]`, the coefficient of each row's entropy in each mean.
        visible: `[target, source]`, whether the row can see the column.
        stripe: `[source]`, the divisor of each column's sum in the search for the strongest column;
            0 excludes a column.
    """

    cells: Floats
    rows: Floats
    entropies: Floats
    visible: npt.NDArray[np.bool_]
    stripe: Floats


@dataclass(frozen=True, eq=False)
class MapNeed:
    """A request for sums over the whole maps of one sample, and for answers to questions.

    A question asks, for every head of a site, whether a word that looks gives the expected word
    more weight than any other: does dog look at barked, in "The dog barked"?

    Attributes:
        views: the sums of each layer.
        queries: `[queries, target]`, the mean over the tokens of each word that looks.
        words: `[source, words]`, 1 where a token belongs to a word.
        asked: for each question, the index of its query.
        expected: for each question, the index of the right word.
        others: `[questions, words]`, the other words that can be chosen, at least one each.
        kept: the questions whose word weights are requested as well.
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
    """The answers of one forward pass to several `MapNeed`s, for all heads of the site, by layer.

    Attributes:
        needs: indices of the needs.
        cells, rows, entropies: `[sums, heads]`, `[masses, heads]`, `[means, heads]`, summed over
            the samples; entropies in nats.
        stripes: `[2, heads]`, the mass on the strongest column of each sample and the mass of the
            rows that see it, summed over the samples.
        right: `[questions, heads]`, the questions of all samples one after the other: whether the
            expected word gets more weight than any other candidate.
        kept: for each need, the word weights `[heads, words]` of each of its `kept` questions.
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
    """Heads whose output is replaced before the output projection mixes the heads.

    Attributes:
        how: the replacement: zero, or the head's mean output over all tokens of the `reference`.
        reference: the texts of the mean; if empty, the text itself.
    """

    site: SiteName
    heads: tuple[Head, ...]
    how: Literal["zero", "mean"] = "zero"
    reference: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """The log probability of a word at its place, in nats.

    A decoder reads the text before the word, an encoder the text with the word masked, an
    encoder-decoder the source and the target before the word.

    Attributes:
        span: the word, in the target text if there is one; None for the whole target.
        instead: another word for the same place. The readout is then the difference of the two log
            probabilities; for words of one token that is the difference of their logits.
        ablation: None for the intact model.
    """

    sample: Sample
    span: Span | None
    instead: str | None = None
    ablation: Ablation | None = None


@dataclass(frozen=True)
class Similarity:
    """How much closer the embedding of a text is to one text than to another, from -2 to 2.

    The readout is the cosine of the embeddings of the text and `positive`, minus the cosine of the
    text and `negative`. An embedding pools the final hidden states of all tokens, special ones
    included (Reimers & Gurevych 2019, "Sentence-BERT").

    Attributes:
        negative: None for the cosine to `positive` alone.
        pool: the mean over the tokens, or the state of the first or the last token; None for the
            model's own, or the mean where it names none.
        ablation: the heads to ablate in all texts; None for the intact model.
    """

    sample: Sample
    positive: str
    negative: str | None = None
    pool: Pool | None = None
    ablation: Ablation | None = None


@dataclass(frozen=True)
class ClassScore:
    """The log probability that the model's own classifier gives to a class, in nats.

    A network with a single output has one class, whose readout is that output.

    Attributes:
        label: the class, by its name in the model's configuration (`id2label`).
        at: the word that is classified, by its first token; None for a class of the whole text.
        instead: another class. The readout is then the difference of the two log probabilities.
        ablation: None for the intact model.
    """

    sample: Sample
    label: str
    at: Span | None = None
    instead: str | None = None
    ablation: Ablation | None = None


@dataclass(frozen=True)
class AnswerScore:
    """The log probability of an answer, in nats: of its first token as start, its last as end.

    Both are over all tokens (Devlin et al. 2019, "BERT", section 4.2).

    Attributes:
        span: the answer, in the text or in its pair.
        ablation: None for the intact model.
    """

    sample: Sample
    span: Span
    ablation: Ablation | None = None


# A request for one number from the output of a model, intact or with heads ablated.
Readout = Prediction | Similarity | ClassScore | AnswerScore


@dataclass(frozen=True, eq=False)
class Rows:
    """Attention rows of one sample at one site; the arrays are read-only.

    Attributes:
        positions: target position of each row, ascending.
        weights: for each layer, float32 `[heads, rows, source]`; a row sums to 1 minus the mass of
            the layer's learned sink, if there is one.
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
        """Weights `[heads, len(positions), source]` of the rows at these target positions.

        Raises:
            MeasureError: a row or the layer was not requested.
        """
        try:
            picked = [self.positions.index(position) for position in positions]
            return self.weights[layer][:, picked]
        except (ValueError, KeyError):
            raise MeasureError(
                f"rows {list(positions)} of layer {layer} were not captured at {self.site}"
            ) from None
