"""How alike a model finds texts, by their embeddings, with heads ablated or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import cosine_similarity

from attnprobe.core.errors import MeasureError, ModelError, SelectorError
from attnprobe.core.needs import Ablation, Pool, Similarity
from attnprobe.core.texts import Sample
from attnprobe.models.ablation import Ablator, Pass, alike
from attnprobe.models.edits import final_states
from attnprobe.models.plan import pack


class Embedder:
    """Answers similarities.

    Raises:
        ModelError: an encoder-decoder, whose decoder is no part of an embedding.
    """

    def __init__(self, ablator: Ablator, *, name: str) -> None:
        if ablator.start is not None:
            raise ModelError(
                f"{name} is an encoder-decoder, which embeds no text as one vector; ask it for a "
                "word: good:"
            )
        self._ablator = ablator
        self._name = name

    def answer(self, asked: Sequence[Similarity], *, batch_tokens: int) -> list[float]:
        """The number of each similarity, a difference of cosines."""
        terms = [self._texts(one) for one in asked]
        pools = dict.fromkeys(
            (text, one.pool) for one, texts in zip(asked, terms, strict=True) for text in texts
        )
        wanted: dict[Pass, list[Pool]] = {}
        for text, pool in pools:
            wanted.setdefault(text, []).append(pool)
        found: dict[tuple[Pass, Pool], Tensor] = {}
        for passes in alike(wanted):
            lengths = [(len(one.source), 0) for one in passes]
            for batch in pack(lengths, batch_tokens, shared=self._ablator.shared):
                chosen = [passes[index] for index in batch]
                states = self._states(chosen, batch_tokens=batch_tokens)
                for one, own in zip(chosen, states, strict=True):
                    found |= {(one, pool): pooled(own, pool) for pool in wanted[one]}

        def cosine(one: Similarity, text: Pass, other: Pass) -> float:
            value = cosine_similarity(found[text, one.pool], found[other, one.pool], dim=0, eps=0.0)
            if not bool(value.isfinite()):
                raise MeasureError(f"{self._name} gives texts an embedding that is no number")
            return float(value)

        return [
            cosine(one, text, positive) - sum(cosine(one, text, other) for other in negative)
            for one, (text, positive, *negative) in zip(asked, terms, strict=True)
        ]

    def _texts(self, asked: Similarity) -> list[Pass]:
        """The text, the positive one, and the negative one if there is one."""
        if asked.pool == "cls" and "decoder" in self._ablator.where.sites:
            raise SelectorError(
                f"the first token of {self._name} sees none of the others; write pool: mean or "
                "pool: lasttoken"
            )
        ablation = self._ablator.checked(asked.ablation, asked.sample)
        others = [asked.positive, *([] if asked.negative is None else [asked.negative])]
        alone = replace(asked.sample, ids=None, pair=None)
        samples = [asked.sample, *(replace(alone, text=text) for text in others)]
        return [self._pass(sample, ablation) for sample in samples]

    def _pass(self, sample: Sample, ablation: Ablation | None) -> Pass:
        tokens = self._ablator.encode(sample).source
        if not tokens.ids:
            raise SelectorError(f"{self._name} reads no token in the text {sample.text!r}")
        return Pass(tokens.ids, None, ablation, tokens.segments)

    def _states(self, passes: Sequence[Pass], *, batch_tokens: int) -> list[Tensor]:
        """Final hidden states `[tokens, width]` of each pass, without padding."""
        ablator = self._ablator
        states = final_states(
            ablator.network,
            ablator.where,
            ablator.inputs(passes),
            ablator.edits(passes, batch_tokens=batch_tokens),
        )
        ablator.on_forward()
        return [own[: len(one.source)] for own, one in zip(states.float(), passes, strict=True)]


def pooled(states: Tensor, pool: Pool) -> Tensor:
    """One vector for a text, from its final hidden states `[tokens, width]`."""
    match pool:
        case "mean":
            return states.mean(dim=0)
        case "cls":
            return states[0]
        case "lasttoken":
            return states[-1]
