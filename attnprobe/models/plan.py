"""The plan of forwards: which samples share one, and which rows it must give.

Pure planning: no torch, no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.needs import Need
from attnprobe.core.printing import clip
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.words.show import quoted


@dataclass(frozen=True)
class Batch:
    """The samples of one forward.

    Attributes:
        wanted: for each site and layer, the wanted target positions of each sample, ascending.
    """

    samples: tuple[Sample, ...]
    wanted: Mapping[tuple[SiteName, int], tuple[tuple[int, ...], ...]]


def check_need(need: Need, encoding: Encoding) -> None:
    """Raises ModelError or SelectorError where the model or the sample has no such rows."""
    site = encoding.site(need.site)
    if encoding.target is None and "cross" in encoding.sites and need.site != "encoder":
        raise ModelError(f"{need.site} attention needs a target text; write target: beside text:")
    for layer in need.layers:
        if layer not in site.heads:
            raise ModelError(f"no {need.site} attention in layer {layer}; {_layers(site.layers)}")
    length = len(encoding.queries(need.site))
    for row in need.rows:
        if not 0 <= row < length:
            text = quoted(clip(encoding.sample.in_one_line[:200], 60))
            raise SelectorError(f"no token {row}; {text} has 0 to {length - 1}")
    if not need.layers or not need.rows:
        raise SelectorError("a need without layers or without rows reads nothing")


def _layers(layers: Sequence[int]) -> str:
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"layers go from {layers[0]} to {layers[-1]}"
    return f"layers with attention: {', '.join(map(str, layers))}"


def plan_batches(
    needs: Sequence[Need],
    encodings: Mapping[Sample, Encoding],
    batch_tokens: int,
    *,
    shared: int | None = None,
) -> list[Batch]:
    """Groups the needs by sample and the samples by length.

    Every sample is in one batch. A batch holds at most `batch_tokens` padded tokens, unless a
    single sample is longer, and is at most half padding. The order depends on the needs alone.

    Args:
        shared: as in `pack`.
    """
    rows: dict[Sample, dict[tuple[SiteName, int], set[int]]] = {}
    for need in needs:
        asked = rows.setdefault(need.sample, {})
        for layer in need.layers:
            asked.setdefault((need.site, layer), set()).update(need.rows)

    def lengths(sample: Sample) -> tuple[int, int]:
        encoding = encodings[sample]
        return len(encoding.source), len(encoding.target or ())

    samples = list(rows)
    batches = pack([lengths(sample) for sample in samples], batch_tokens, shared=shared)
    return [_batch([samples[index] for index in batch], rows) for batch in batches]


def pack(
    lengths: Sequence[tuple[int, int]], batch_tokens: int, *, shared: int | None = None
) -> list[list[int]]:
    """Batches of samples, as their indices.

    Args:
        lengths: tokens of each sample's source and target.
        shared: a longer source or target is never padded: it shares a batch only with those of its
            own length. None where a network computes the same beside any other text.
    """

    def fixed(index: int) -> tuple[int, ...]:
        """The lengths of a sample that its batch must not pad, and 0 for those that it may."""
        return tuple(n if shared is not None and n > shared else 0 for n in lengths[index])

    batches: list[list[int]] = []
    width = real = (0, 0)
    for index in sorted(
        range(len(lengths)), key=lambda index: (fixed(index), sum(lengths[index]), lengths[index])
    ):
        source, target = lengths[index]
        wider = (max(width[0], source), max(width[1], target))
        more = (real[0] + source, real[1] + target)
        padded = sum(wider) * (len(batches[-1]) + 1) if batches else 0
        apart = bool(batches) and fixed(index) != fixed(batches[-1][0])
        if not batches or apart or padded > batch_tokens or padded > 2 * sum(more):
            batches.append([])
            wider = more = (source, target)
        batches[-1].append(index)
        width, real = wider, more
    return batches


def _batch(
    samples: Sequence[Sample], rows: Mapping[Sample, Mapping[tuple[SiteName, int], set[int]]]
) -> Batch:
    keys = sorted({key for sample in samples for key in rows[sample]})
    return Batch(
        tuple(samples),
        {
            key: tuple(tuple(sorted(rows[sample].get(key, ()))) for sample in samples)
            for key in keys
        },
    )
