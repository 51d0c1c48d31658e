"""How well a translator of this grammar translates, and what its cross-attention aligns.

Weights are the eager ones of transformers, not those of attnprobe, so that each checks the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from grammar import Sentence, words
from torch import Tensor
from transformers import MarianMTModel, PreTrainedTokenizerFast

__all__ = ["HeadScore", "cross_attention", "diagonal", "exact_match", "score_heads", "translate"]

BATCH = 100


@dataclass(frozen=True)
class HeadScore:
    """How often a head of the cross-attention puts most weight on the right source word.

    Shares of all target words, 0 to 1. The candidates are the source words, the full stop among
    them, without `</s>`.

    Attributes:
        predicting: in the row that predicts the word; the full stop is left out.
        own: in the row of the word itself; the full stop is left out.
        stop: of the full stops alone, in the row that predicts them.
    """

    predicting: float
    own: float
    stop: float


def translate(
    network: MarianMTModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> list[str]:
    """Greedy translations."""
    found: list[str] = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(list(texts[start : start + BATCH]), padding=True, return_tensors="pt")
        ids = network.generate(
            batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=False,
            num_beams=1,
            max_length=network.config.max_position_embeddings,
        )
        found += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return found


def exact_match(
    network: MarianMTModel, tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sentence]
) -> float:
    """Share of sentences whose greedy translation is the reference, letter by letter."""
    found = translate(network, tokenizer, [one.source for one in sentences])
    return sum(a == b.target for a, b in zip(found, sentences, strict=True)) / len(sentences)


def cross_attention(
    network: MarianMTModel, tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sentence]
) -> Iterator[Tensor]:
    """For each sentence, eager weights `[layers, heads, target words + 1, source words + 1]`.

    Row `t` predicts word `t` and stands on word `t - 1`; row 0 stands on the start token. The last
    column is `</s>`.
    """
    network.set_attn_implementation("eager")
    start = network.config.decoder_start_token_id
    for one in sentences:
        source, target = (tokenizer(text)["input_ids"] for text in (one.source, one.target))
        with torch.inference_mode():
            layers = network.model(
                input_ids=torch.tensor([source]),
                decoder_input_ids=torch.tensor([[start, *target[:-1]]]),
                output_attentions=True,
            ).cross_attentions
        yield torch.cat(layers)


def score_heads(
    network: MarianMTModel, tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sentence]
) -> dict[str, HeadScore]:
    """The scores of every head of the cross-attention, by name: L1H2."""
    # [3 scores, layers, heads]
    hits: Tensor | int = 0
    weights = cross_attention(network, tokenizer, sentences)
    for one, matrix in zip(sentences, weights, strict=True):
        best = matrix[..., :-1].argmax(dim=-1)
        right = torch.tensor([source for source, _ in one.alignment])
        predicting, own = best[..., :-1] == right, best[..., 1:] == right
        hits += torch.stack(
            [predicting[..., :-1].sum(-1), own[..., :-1].sum(-1), predicting[..., -1]]
        )
    count = _count(sentences)
    shares = hits / torch.tensor([count, count, len(sentences)])[:, None, None]
    return {
        f"L{layer}H{head}": HeadScore(*shares[:, layer, head].tolist())
        for layer in range(shares.shape[1])
        for head in range(shares.shape[2])
    }


def diagonal(sentences: Sequence[Sentence]) -> float:
    """The share that is right by position alone: word t·(n−1)/(m−1), rounded, without full stops.

    n and m are the numbers of source and target words.
    """
    hits = 0
    for one in sentences:
        last = len(words(one.source)) - 2
        target = len(one.alignment) - 2
        hits += sum(round(t * last / target) == s for s, t in one.alignment[:-1])
    return hits / _count(sentences)


def _count(sentences: Sequence[Sentence]) -> int:
    """Target words without full stops."""
    return sum(len(one.alignment) - 1 for one in sentences)
