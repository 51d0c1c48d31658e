"""The similarity of texts by their embeddings, with heads ablated or not."""

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
from attnprobe.models.pooling import POOLS


class Embedder:
    """Computes similarities.

    Args:
        pool: how the model makes its embeddings, as `pool_of_folder` says.

    Raises:
        ModelError: the model is an encoder-decoder, which embeds no text as one vector.
    """

    def __init__(self, ablator: Ablator, *, pool: str | None, name: str) -> None:
        if ablator.start is not None:
            raise ModelError(
                f"{name} is an encoder-decoder, which embeds no text as one vector; compare "
                "words with good:"
            )
        self._ablator = ablator
        self._name = name
        self._own = pool or "mean"

    def answer(self, asked: Sequence[Similarity], *, batch_tokens: int) -> list[float]:
        """Of each similarity the cosine with the positive text, less that with the negative one."""
        self._ablator.forget()
        chosen_pools = [similarity.pool or self._own_pool() for similarity in asked]
        terms = [
            self._texts(similarity, pool)
            for similarity, pool in zip(asked, chosen_pools, strict=True)
        ]
        pools = dict.fromkeys(
            (text, pool) for pool, texts in zip(chosen_pools, terms, strict=True) for text in texts
        )
        wanted: dict[Pass, list[Pool]] = {}
        for text, pool in pools:
            wanted.setdefault(text, []).append(pool)
        found: dict[tuple[Pass, Pool], Tensor] = {}
        for passes in alike(wanted):
            lengths = [(len(text.source), 0) for text in passes]
            for batch in pack(lengths, batch_tokens, shared=self._ablator.shared):
                chosen = [passes[index] for index in batch]
                states = self._states(chosen, batch_tokens=batch_tokens)
                for text, of_text in zip(chosen, states, strict=True):
                    found |= {(text, pool): pooled(of_text, pool) for pool in wanted[text]}

        def cosine(pool: Pool, text: Pass, second: Pass) -> float:
            value = cosine_similarity(found[text, pool], found[second, pool], dim=0, eps=0.0)
            if not bool(value.isfinite()):
                raise MeasureError(f"{self._name} gives texts an embedding that is no number")
            return float(value)

        return [
            cosine(pool, text, positive) - sum(cosine(pool, text, second) for second in negative)
            for pool, (text, positive, *negative) in zip(chosen_pools, terms, strict=True)
        ]

    def _own_pool(self) -> Pool:
        for pool in POOLS:
            if self._own == pool:
                return pool
        raise SelectorError(
            f"{self._name} makes its embeddings by {self._own}, which effect does not; write pool: "
            f"{' or '.join(POOLS)} to look at another embedding than its own"
        )

    def _texts(self, asked: Similarity, pool: Pool) -> list[Pass]:
        """The text, the positive text, and the negative text if there is one."""
        if pool == "cls" and "decoder" in self._ablator.where.sites:
            raise SelectorError(
                f"the first token of {self._name} sees none of the others; write pool: mean or "
                "pool: lasttoken"
            )
        ablation = self._ablator.resolve(asked.ablation, asked.sample)
        compared = [asked.positive, *([] if asked.negative is None else [asked.negative])]
        alone = replace(asked.sample, ids=None, pair=None)
        samples = [asked.sample, *(replace(alone, text=text) for text in compared)]
        return [self._pass(sample, ablation) for sample in samples]

    def _pass(self, sample: Sample, ablation: Ablation | None) -> Pass:
        tokens = self._ablator.encode(sample).source
        if not tokens.ids:
            raise SelectorError(f"{self._name} reads no token in the text {sample.in_one_line!r}")
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
        texts = zip(states.float(), passes, strict=True)
        return [padded[: len(text.source)] for padded, text in texts]


def pooled(states: Tensor, pool: Pool) -> Tensor:
    """One vector for a text, from its final hidden states `[tokens, width]`."""
    match pool:
        case "mean":
            return states.mean(dim=0)
        case "cls":
            return states[0]
        case "lasttoken":
            return states[-1]
