"""Ablation of heads in the sequences of a batch: zeros or mean outputs take their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.core.needs import Ablation
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.models.attention_function import Edit
from attnprobe.models.edits import head_sums, replace_heads
from attnprobe.models.forward import batch_inputs
from attnprobe.models.layout import Layout
from attnprobe.models.plan import pack

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Pass:
    """One sequence that goes through the model; equal passes are made once.

    Attributes:
        source, target: token ids of the text, and of the decoder's input where it has a target.
        segments: of each source token; empty where the tokenizer numbers none.
    """

    source: Ids
    target: Ids | None
    ablation: Ablation | None
    segments: Ids = ()


def alike(passes: Mapping[Pass, Any]) -> list[list[Pass]]:
    """Groups of passes that can share a forward: the same vectors replace their heads."""
    groups: dict[object, list[Pass]] = {}
    for sequence in passes:
        ablation = sequence.ablation
        key = ablation.reference if ablation is not None and ablation.how == "mean" else None
        groups.setdefault(key, []).append(sequence)
    return list(groups.values())


class Ablator:
    """Makes the inputs of passes, and the edits that ablate their heads.

    Args:
        where: the layout of `network`.
        encode: reads a sample.
        start: id that opens a decoder's input; None for a network that is no encoder-decoder.
        shared: as in `pack`.
        on_forward: called for each forward pass.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        where: Layout,
        encode: Callable[[Sample], Encoding],
        *,
        start: int | None,
        pad_id: int,
        shared: int | None,
        name: str,
        on_forward: Callable[[], None],
    ) -> None:
        self.network = network
        self.where = where
        self.start = start
        self.shared = shared
        self.encode = encode
        self._pad_id = pad_id
        self._name = name
        self.on_forward = on_forward
        # Mean output of each head over the tokens of reference texts, `[heads, depth]`.
        self._means: dict[tuple[Sample, ...], dict[tuple[SiteName, int], Tensor]] = {}

    def forget(self) -> None:
        """Forgets the mean outputs, which are those of weights that may have changed since."""
        self._means.clear()

    def resolve(self, ablation: Ablation | None, sample: Sample) -> Ablation | None:
        """The ablation with its reference texts; a mean without any is over the sample itself.

        Raises:
            ModelError: the model has no such head, or its heads cannot be ablated.
        """
        if ablation is None:
            return None
        if self.where.served != "function":
            raise ModelError(
                f"heads of {self._name} cannot be ablated: {self.where.reason}, so its attention "
                "is read from its outputs; use a model whose transformers code dispatches attention"
            )
        site = self.where.sites.get(ablation.site)
        if site is None:
            raise ModelError(f"{self._name} has no {ablation.site} attention")
        for head in ablation.heads:
            if not 0 <= head.head < site.heads.get(head.layer, 0):
                raise ModelError(f"{self._name} has no {head} at {ablation.site}")
        if ablation.how == "mean" and not ablation.reference:
            return replace(ablation, reference=(sample,))
        return ablation

    def inputs(self, passes: Sequence[Pass]) -> dict[str, Tensor]:
        """Padded input tensors of a forward; a decoder without a target gets its start alone."""
        start = self.start
        return batch_inputs(
            self.network,
            [sequence.source for sequence in passes],
            None if start is None else [sequence.target or (start,) for sequence in passes],
            segments=[sequence.segments for sequence in passes],
            pad_id=self._pad_id,
        )

    def edits(
        self, passes: Sequence[Pass], *, batch_tokens: int
    ) -> dict[tuple[SiteName, int], Edit]:
        """The edit of each layer in which heads are ablated.

        Args:
            passes: of one group of `alike`.
        """
        rows: dict[tuple[SiteName, int], Tensor] = {}
        for row, sequence in enumerate(passes):
            if sequence.ablation is None:
                continue
            site = sequence.ablation.site
            for layer, head in sequence.ablation.heads:
                size = (len(passes), self.where.sites[site].heads[layer])
                chosen = rows.setdefault((site, layer), torch.zeros(size, dtype=torch.bool))
                chosen[row, head] = True
        shared = passes[0].ablation
        means: Mapping[tuple[SiteName, int], Tensor] = {}
        if shared is not None and shared.how == "mean":
            means = self._mean_outputs(shared.reference, list(rows), batch_tokens=batch_tokens)
        return {key: replace_heads(chosen, means.get(key)) for key, chosen in rows.items()}

    def _mean_outputs(
        self,
        reference: tuple[Sample, ...],
        layers: Sequence[tuple[SiteName, int]],
        *,
        batch_tokens: int,
    ) -> dict[tuple[SiteName, int], Tensor]:
        """Mean output of each head over all tokens of the reference texts, `[heads, depth]`."""
        means = self._means.setdefault(reference, {})
        missing = [key for key in layers if key not in means]
        if missing:
            passes = []
            for sample in reference:
                encoding = self.encode(sample)
                source, target = encoding.source, encoding.target
                ids = None if target is None else target.ids
                passes.append(Pass(source.ids, ids, None, source.segments))
            lengths = [(len(sequence.source), len(sequence.target or ())) for sequence in passes]
            sums: dict[tuple[SiteName, int], Tensor] = {}
            counts: dict[tuple[SiteName, int], int] = {}
            for batch in pack(lengths, batch_tokens, shared=self.shared):
                inputs = self.inputs([passes[index] for index in batch])
                self.on_forward()
                found = head_sums(self.network, self.where, inputs, missing)
                for key, (total, count) in found.items():
                    sums[key] = sums[key] + total if key in sums else total
                    counts[key] = counts.get(key, 0) + count
            means |= {key: total / counts[key] for key, total in sums.items()}
        return {key: means[key] for key in layers}
