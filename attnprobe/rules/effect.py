"""`effect`: what the model's own prediction loses without some heads.

The heads' outputs are replaced before the output projection, by zero or by their mean over the
suite (Michel et al. 2019, "Are Sixteen Heads Really Better than One?"; Wang et al. 2022,
"Interpretability in the Wild"). The verdict sets the change of the readout beside the changes by as
many random heads of the same layers: a change that any heads would cause says nothing about these.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    Field,
    model_validator,
)

from attnprobe.core.charts import WHOLE_PICTURE, Picture
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.needs import (
    Ablation,
    AnswerScore,
    ClassScore,
    Need,
    Pool,
    Prediction,
    Readout,
    Rows,
    Similarity,
)
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding, Sample, Span
from attnprobe.core.units import MeasureUnit
from attnprobe.core.verdicts import AblationControl, Verdict
from attnprobe.core.wording import format_stated
from attnprobe.rules.base import (
    BAND,
    RULES,
    Demand,
    End,
    Place,
    Rule,
    SelectorField,
    check_numbers,
    hardest,
    verdict_of,
)
from attnprobe.rules.frame import sink_shares, strongest_words
from attnprobe.words.positions import positions
from attnprobe.words.selectors import Selector

Change = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]


def random_sets(
    heads: Sequence[Head], per_layer: Mapping[int, int], *, draws: int, seed: int
) -> tuple[tuple[Head, ...], ...]:
    """Distinct random sets of as many heads in the same layers, none of them the given set.

    There are fewer than `draws` where the layers hold no more. A seed gives the same sets always.

    Args:
        per_layer: number of heads of each layer.
    """
    layers = sorted({head.layer for head in heads})
    counts = {layer: sum(head.layer == layer for head in heads) for layer in layers}
    possible = math.prod(math.comb(per_layer[layer], counts[layer]) for layer in layers) - 1
    given = tuple(sorted(heads))
    if possible <= draws:
        by_layer = [
            itertools.combinations([Head(layer, n) for n in range(per_layer[layer])], counts[layer])
            for layer in layers
        ]
        every = (tuple(itertools.chain(*parts)) for parts in itertools.product(*by_layer))
        return tuple(drawn for drawn in every if drawn != given)
    chance = random.Random(seed)
    found: dict[tuple[Head, ...], None] = {}
    while len(found) < draws:
        drawn = tuple(
            Head(layer, number)
            for layer in layers
            for number in sorted(chance.sample(range(per_layer[layer]), counts[layer]))
        )
        if drawn != given:
            found[drawn] = None
    return tuple(found)


class ReadoutArguments(BaseModel):
    """The arguments that say what is read out of the model, with and without heads."""

    good: SelectorField | None = Field(
        None,
        description="The word of the text (of the target, if there is one) that the model "
        "predicts; without it the whole target.",
    )
    bad: Text | None = Field(None, description="What would be wrong in its place.")
    positive: Text | None = Field(
        None, description="A text whose embedding should be near to that of the case's text."
    )
    negative: Text | None = Field(None, description="A text whose embedding should be less near.")
    class_: Text | None = Field(
        None, alias="class", description="The class that the model's own classifier gives."
    )
    instead: Text | None = Field(None, description="The class that would be wrong in its place.")
    at: SelectorField | None = Field(
        None, description="The word that has the class; without it the whole text has it."
    )
    answer: SelectorField | None = Field(
        None, description="The words of the text that answer the question."
    )
    pool: Pool | None = Field(
        None,
        description="What an embedding is made of: all tokens, the first or the last one; by "
        "default as the model itself makes it.",
    )
    how: Literal["zero", "mean"] = Field(
        "zero", description="What stands in for a head: zero, or its mean output over the suite."
    )
    seed: int = Field(0, description="Of the random heads.")

    @model_validator(mode="after")
    def _names_one_readout(self) -> Self:
        words = self.good is not None or self.bad is not None
        given = [
            name
            for name, is_given in (
                ("words, good: and bad:", words),
                ("texts, positive: and negative:", self.positive is not None),
                ("a class:", self.class_ is not None),
                ("an answer:", self.answer is not None),
            )
            if is_given
        ]
        if len(given) > 1:
            raise ValueError(f"give {given[0]}, or {given[1]}, not both")
        if self.positive is None and (self.negative is not None or self.pool is not None):
            raise ValueError("negative: and pool: need positive:, a text to compare with")
        if self.positive is not None and self.negative == self.positive:
            raise ValueError("positive: and negative: are the same text")
        if self.class_ is None and (self.instead is not None or self.at is not None):
            raise ValueError("instead: and at: need class:, the class that the model gives")
        if self.class_ is not None and self.instead == self.class_:
            raise ValueError("class: and instead: are the same class")
        return self

    @property
    def reads_word(self) -> bool:
        """Whether the readout is of a word, or of the whole target."""
        return self.positive is None and self.class_ is None and self.answer is None

    @property
    def readout(self) -> str:
        """The readout in words, with its unit."""
        return "the readout (nats)" if self.positive is None else "the similarity (cosine)"

    @property
    def readout_unit(self) -> MeasureUnit:
        """The unit of the readout."""
        return "nats" if self.positive is None else "cosine"


@RULES.register("effect")
class Effect(ReadoutArguments, Rule):
    """Without these heads, the model finds a word less likely, or a text less alike, or hardly so.

    The readout is the log probability of `good` where it stands, or its difference to that of
    `bad` in its place; for words of one token the latter is a difference of logits. Of a classifier
    it is the log probability of `class`, of the text or of the word `at`, or its difference to that
    of `instead`; of a model that answers questions, that of `answer`. Bounds and slack are in nats.
    Where the model makes embeddings, the readout is the cosine of the text's to that of `positive`,
    less the cosine to that of `negative`.
    """

    bounds = frozenset({"min", "max", "top"})
    kind = "effect"
    example = "{good: are, bad: is, min: 0.5}"
    positional = ("good", "bad")

    direction: Literal["lowers", "raises", "either"] = Field(
        "lowers", description="Which change of the readout counts when the heads are taken away."
    )
    min: Change | None = Field(None, description="Least change, in nats or of the cosine.")
    max: Change | None = Field(None, description="Largest change, in nats or of the cosine.")
    top: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Rank of the change among those by random heads; 1 is the largest.",
    )
    draws: Annotated[int, Field(ge=1, le=1000)] = Field(
        20, description="How many sets of random heads of the same layers to compare with."
    )

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        if self.min is None and self.max is None and self.top is None:
            raise ValueError("effect demands nothing; give min:, max: or top:")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError("min: must be below max:")
        most = self._most
        if most is not None and self.min is not None and self.min <= BAND:
            raise ValueError(
                f"min: must be above {format_stated(BAND)}, within which a number is borderline"
            )
        if most is not None and self.min is not None and self.min >= most:
            raise ValueError(f"min: must be below {most}, the largest change that cosines can make")
        if most is not None and self.max is not None and self.max >= most:
            raise ValueError(f"max: must be below {most}, the largest change that cosines can make")
        if self.heads.how is not None:
            raise ValueError(
                "effect ablates all of its heads together; name them, without any, all or mean"
            )
        if self.top is not None and self.top > self.draws:
            raise ValueError("top: must not be above draws:, else it cannot fail")
        return self

    @property
    def _most(self) -> int | None:
        """The largest possible change of a cosine, or of the difference of two; None in nats."""
        return None if self.positive is None else 2 if self.negative is None else 4

    def places(self) -> Iterator[Place]:
        for field in ("good", "at", "answer"):
            selector = getattr(self, field)
            if selector is not None:
                yield Place(field, selector, "query")

    def _in_target(self, sample: Sample, end: End) -> bool:
        return sample.target is not None

    def relation(self) -> str:
        if self.positive is not None:
            less = f" over {self.negative!r}" if self.negative else ""
            return f"on likeness to {self.positive!r}{less}"
        if self.class_ is not None:
            at = f" of {self.at}" if self.at else ""
            return f"on class {self.class_}{at}{f' over {self.instead}' if self.instead else ''}"
        if self.answer is not None:
            return f"on the answer {self.answer}"
        word = "the whole target" if self.good is None else str(self.good)
        return f"on {word}{f' over {self.bad}' if self.bad else ''}"

    def needs(self, encoding: Encoding) -> tuple[Need | Readout, ...]:
        site = encoding.site(self.site)
        layers = tuple(sorted({head.layer for head in self.heads.resolve(site)}))
        shown = Need(encoding.sample, site.name, layers, self._rows(encoding, site))
        return shown, *self.readouts(encoding)

    def readouts(self, encoding: Encoding) -> tuple[Readout, ...]:
        """The prediction of the intact model, without the heads, and without each random set.

        Raises:
            SelectorError: the text lacks the word, the model lacks the heads, or there are too few
                other heads to compare with.
        """
        if self.positive is not None and encoding.sample.joined in (self.positive, self.negative):
            raise SelectorError(
                "positive: and negative: are to be other texts than the case's own, which is like "
                "itself whatever heads are taken out"
            )
        site = encoding.site(self.site)
        heads = self.heads.resolve(site)
        draws = random_sets(heads, site.heads, draws=self.draws, seed=self.seed)
        if len(draws) < (self.top or 1):
            raise SelectorError(
                f"effect of {self.heads}: {len(draws)} other sets of as many heads of these layers "
                "to compare with; name fewer heads of a layer"
            )
        ablated = (Ablation(site.name, chosen, self.how) for chosen in (heads, *draws))
        return tuple(self._readout(encoding.sample, ablation) for ablation in (None, *ablated))

    def control(self, values: Sequence[float]) -> AblationControl:
        """What ablation changes, from the answers to `readouts`.

        Raises:
            MeasureError: a readout is no number.
        """
        intact, ablated, *by_random_heads = (float(value) for value in values)
        if not all(map(math.isfinite, (intact, ablated, *by_random_heads))):
            raise MeasureError("the model's own prediction is no number")
        return AblationControl(
            intact,
            ablated,
            self._change(intact, ablated),
            tuple(self._change(intact, value) for value in by_random_heads),
        )

    def judge(self, rows: Sequence[Any]) -> Verdict:
        found: Rows = rows[0]
        site = found.encoding.site(self.site)
        heads = self.heads.resolve(site)
        check_numbers(found)
        control = self.control(rows[1:])
        demands = hardest(self._demands(control))
        positions_seen = list(found.positions)
        # All rows are captured where none is special; those of a long text are not drawn.
        shown = len(positions_seen) <= WHOLE_PICTURE
        distribution = np.mean(
            [found.at(head.layer, positions_seen)[head.head].mean(axis=0) for head in heads], axis=0
        )
        return verdict_of(
            demands,
            head=str(heads[0]) if len(heads) == 1 else f"{len(heads)} heads together",
            heads_tried=1,
            unbreakable=demands[0].idle,
            sink=float(sink_shares(distribution, found.keys, causal=site.causal)),
            top=strongest_words(distribution, found.keys),
            picture=Picture(site.name, heads, found.positions, ()) if shown else None,
            control=control,
        )

    def _readout(self, sample: Sample, ablation: Ablation | None) -> Readout:
        if self.positive is not None:
            return Similarity(sample, self.positive, self.negative, self.pool, ablation)
        if self.class_ is not None:
            at = self._span(sample, "at", self.at)
            return ClassScore(sample, self.class_, at, self.instead, ablation)
        if self.answer is not None:
            span = self._span(sample, "answer", self.answer)
            assert span is not None
            return AnswerScore(sample, span, ablation)
        if self.good is None and sample.target is None:
            raise SelectorError(
                "effect needs what the model makes of the text: a word that it predicts, write "
                "good:, a class that it gives, write class:, an answer, write answer:, or a text "
                "that is alike, for models that make embeddings, write positive:"
            )
        return Prediction(sample, self._span(sample, "good", self.good), self.bad, ablation)

    def _span(self, sample: Sample, field: str, selector: Selector | None) -> Span | None:
        if selector is None:
            return None
        spans = self.locate(selector, sample, "query")
        if len(spans) != 1:
            raise SelectorError(f"{field}: {selector} is not one word of the text")
        return spans[0]

    def _rows(self, encoding: Encoding, site: Site) -> tuple[int, ...]:
        """The rows to show: those that predict the word, where this site has them."""
        tokens = encoding.queries(site.name)
        everything = tuple(range(len(tokens)))
        named = self.good or self.at or self.answer
        if named is None or tokens.text != self.text_of(encoding.sample, "query"):
            return everything
        found = positions(named, tokens)
        if named is not self.good:
            return found
        if not site.causal and site.name == "encoder":
            return found
        return (max(found[0] - 1, 0),)

    def _change(self, intact: float, ablated: float) -> float:
        drop = intact - ablated
        return {"lowers": drop, "raises": -drop, "either": abs(drop)}[self.direction]

    def _demands(self, control: AblationControl) -> Iterator[Demand]:
        verb = {"lowers": "fall", "raises": "rise", "either": "change"}[self.direction]
        change = control.change
        name, unit = f"{verb} of {self.readout}", self.readout_unit
        most = self._most or math.inf
        low = 0.0 if self.direction == "either" else -most
        if self.min is not None:
            yield Demand.of(name, unit, change, ">=", self.min, worst=low - self.min)
        if self.max is not None:
            yield Demand.of(name, unit, change, "<=", self.max, worst=self.max - most)
        if self.top is not None:
            rival = sorted(control.draws, reverse=True)[self.top - 1]
            rank = 1 + control.as_much
            yield Demand.of(
                f"rank of the {verb} among random heads",
                "rank",
                rank,
                "<=",
                self.top,
                slack=change - rival,
                strict=True,
            )
