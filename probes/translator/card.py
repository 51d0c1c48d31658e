"""The model card of the translator: what it was trained on, how, and what it scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grammar import Sentence, vocabulary
from scoring import HeadScore, diagonal, exact_match, score_heads
from transformers import MarianMTModel, PreTrainedTokenizerFast

__all__ = ["Figures", "Trial", "measure", "write_card"]

CARD = """\
---
license: mit
language: [en, fr]
library_name: transformers
pipeline_tag: translation
---

# A small English-to-French translator, trained on a grammar

It exists to test attention: its sentences come from a grammar, so which English word a French
word translates is known, and whether a head of its cross-attention looks there can be counted.
It knows the {english} English and {french} French words of that grammar and no others.

```python
from transformers import AutoTokenizer, MarianMTModel

tokenizer = AutoTokenizer.from_pretrained("probes/translator/model")
network = MarianMTModel.from_pretrained("probes/translator/model")
text = tokenizer("{example}", return_tensors="pt")
print(tokenizer.decode(network.generate(**text)[0], skip_special_tokens=True))
# {translation}
```

## Data

`grammar.py` makes sentences of a determiner, adjectives before and after the French noun, verbs
with adverbs or a negation in two words, and prepositional phrases. {training} sentences are for
training and {held_out} others are held out; no source text is in both. Corpus seed {corpus_seed}.

## Training

`make translator` trains it again: Marian, 2 + 2 layers, 4 heads, width 128, feed-forward 256,
norm after the sum, {parameters} parameters in float32; one token a word. {steps} steps of {batch}
sentences, AdamW at {rate} (weight decay 0.01) with {warm_up} warm-up steps and then a linear
decay, dropout 0.1 (none on attention weights), seed {seed}, one thread. The loss is the
cross-entropy of the French words. Attention is never supervised: no alignment enters training.

## Scores on the held-out sentences

Greedy decoding. Shares from 0 to 1.

| figure | value |
|---|---|
| exact match | {exact:.4f} |
| rounded diagonal | {diagonal:.4f} |
| best head before training | {untrained:.4f} |

A head aligns a French word rightly where, of all source words, the one that it translates gets
the most weight; `</s>` is no candidate. Counted in the row that predicts the word (decoder
position t − 1) and in the word's own row (t), full stops left out; full stops by themselves in the
row that predicts them. Every French word has one sure link and there are no possible links, so the
alignment error rate is 1 − accuracy: {aer:.4f} for {best}. The rounded diagonal guesses the source
word by position alone.

| head | predicting row | own row | full stop |
|---|---|---|---|
{heads}

On {fresh_sentences} further sentences (corpus seed {fresh_seed}, none of them in either part), by
which nothing was chosen: exact match {fresh_exact:.4f}, and {best} aligns {fresh_best:.4f}.
{choice}"""

CHOICE = """
## Choice of the seed

These {count} seeds were trained, all else equal. Seed {seed} was chosen because its best head
aligns most words of the held-out sentences in the row that predicts. So {share} is the best
of {count} and slightly optimistic; the figures on further sentences are not.

| seed | exact match | best head | it aligns |
|---|---|---|---|
{trials}

Which head aligns depends on the seed. A table of the same figures for another seed:
`python probes/translator/train.py --seed 0 --out FOLDER`.
"""


@dataclass(frozen=True)
class Trial:
    """What a seed reached on the held-out sentences: shares, 0 to 1.

    Attributes:
        head: the head that aligns best in the row that predicts; `predicting` is its share.
    """

    seed: int
    exact: float
    head: str
    predicting: float


@dataclass(frozen=True)
class Figures:
    """What the card says of a network: shares of held-out sentences or words, 0 to 1.

    Attributes:
        fresh: how many sentences no choice was made by; `fresh_exact` and `fresh_heads` are of
            them.
    """

    exact: float
    diagonal: float
    untrained: float
    heads: Mapping[str, HeadScore]
    fresh: int
    fresh_exact: float
    fresh_heads: Mapping[str, HeadScore]

    @property
    def best(self) -> str:
        """The head that aligns best in the row that predicts."""
        return max(self.heads, key=lambda head: self.heads[head].predicting)


def measure(
    network: MarianMTModel,
    untrained: MarianMTModel,
    tokenizer: PreTrainedTokenizerFast,
    held_out: Sequence[Sentence],
    fresh: Sequence[Sentence],
) -> Figures:
    """Takes all figures of the card."""
    before = score_heads(untrained, tokenizer, held_out)
    return Figures(
        exact_match(network, tokenizer, held_out),
        diagonal(held_out),
        max(one.predicting for one in before.values()),
        score_heads(network, tokenizer, held_out),
        len(fresh),
        exact_match(network, tokenizer, fresh),
        score_heads(network, tokenizer, fresh),
    )


def write_card(
    folder: Path, figures: Figures, *, trials: Sequence[Trial] = (), **facts: object
) -> None:
    """Writes `README.md`; `facts` are the data and training settings that it names.

    Args:
        trials: the seeds that this network was chosen from.
    """
    english, french = vocabulary()
    rows = [
        f"| {head} | {one.predicting:.4f} | {one.own:.4f} | {one.stop:.4f} |"
        for head, one in figures.heads.items()
    ]
    text = CARD.format(
        english=len(english),
        french=len(french),
        exact=figures.exact,
        diagonal=figures.diagonal,
        untrained=figures.untrained,
        best=figures.best,
        aer=1 - figures.heads[figures.best].predicting,
        heads="\n".join(rows),
        fresh_sentences=f"{figures.fresh:,}",
        fresh_exact=figures.fresh_exact,
        fresh_best=figures.fresh_heads[figures.best].predicting,
        choice=_choice(figures, trials, facts["seed"]) if trials else "",
        **facts,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _choice(figures: Figures, trials: Sequence[Trial], seed: object) -> str:
    rows = [
        f"| {one.seed} | {one.exact:.4f} | {one.head} | {one.predicting:.4f} |" for one in trials
    ]
    return CHOICE.format(
        count=len(trials),
        seed=seed,
        share=f"{figures.heads[figures.best].predicting:.4f} for {figures.best}",
        trials="\n".join(rows),
    )
