"""Matches each head of an old model with a head of a new one.

Training with another seed, fine-tuning and pruning can move a head: the head that looks at the
subject may be another one now. Two heads are compared by what they attend to: their distance is the
Jensen-Shannon divergence of their rows over the same texts. The heads of two models are paired so
that the sum of the distances is least (the assignment problem; Kuhn 1955, solved by scipy).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attnprobe.core.errors import MeasureError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Rows
from attnprobe.core.reader import Reader
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.texts import Sample
from attnprobe.core.wording import format_decimals
from attnprobe.rules.frame import Doubles
from attnprobe.rules.statistics import entropy

Fate = Literal["stayed", "moved", "lost"]

# A head counts as moved if another place is nearer than its own by more than this, in nats. Two
# heads of one model are rarely so near: on 40 sentences the nearest two of MiniLM are 0.020 apart.
SAME = 0.01
# A head is lost if its match is farther than this quantile of the distances between old heads.
NEAR = 0.05
# The most numbers in memory in one step: weights of a group of texts, or mixtures of heads.
AT_ONCE = 8_000_000


@dataclass(frozen=True)
class Match:
    """A head of the old model and its match in the new model.

    Attributes:
        divergence: Jensen-Shannon divergence of the two, mean over the rows of all texts, 0 to
            ln 2 nats.
        stayed: the divergence of the old head and the head at the same place in the new model.
        bound: the divergence above which the old head is lost, the same for all matches: the
            `NEAR` quantile over all pairs of different old heads. A match beyond it is no nearer
            than unrelated heads. On 40 sentences it is 0.072 nats for MiniLM, 0.033 for SmolLM2.
    """

    old: Head
    new: Head
    divergence: float
    stayed: float
    bound: float

    @property
    def fate(self) -> Fate:
        """`lost` if the match is beyond the bound, else whether it is at the same place."""
        if self.divergence > self.bound:
            return "lost"
        return "stayed" if self.new == self.old else "moved"

    def __str__(self) -> str:
        fate = {
            "stayed": f"{self.old} stayed",
            "moved": f"{self.old} moved to {self.new}",
            "lost": f"{self.old} is lost, the nearest head left for it is {self.new}",
        }[self.fate]
        own_place = (
            ""
            if self.new == self.old
            else f"; {format_decimals(self.stayed)} to the head at its own place"
        )
        return (
            f"{fate} (divergence {format_decimals(self.divergence)} nats, lost above "
            f"{format_decimals(self.bound)}{own_place})"
        )


def match_heads(
    old: Reader,
    new: Reader,
    samples: Sequence[Sample],
    *,
    site: SiteName | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[Match, ...]:
    """The match of each head of the old model, in the order of the old heads.

    No two heads share a match. A match at another place must be nearer than the head at the same
    place by more than `SAME`; otherwise similar heads, such as those that attend to the first
    token, would count as moved.

    Args:
        samples: texts to compare the rows on; a few dozen sentences are enough.
        site: required only if the models have several sites.

    Raises:
        MeasureError: as `divergences`.
    """
    from scipy.optimize import linear_sum_assignment

    # Both models read the same answers, where some are generated: those of the old one.
    samples = [old.encode(sample).sample for sample in samples]
    heads, between, within = divergences(old, new, samples, site=site, batch_tokens=batch_tokens)
    pairs = within[np.triu_indices(len(heads), 1)]
    bound = max(SAME, float(np.quantile(pairs, NEAR))) if pairs.size else SAME
    matches = linear_sum_assignment(between - SAME * np.eye(len(heads)))[1]
    return tuple(
        Match(head, heads[match], float(between[index, match]), float(between[index, index]), bound)
        for index, (head, match) in enumerate(zip(heads, matches, strict=True))
    )


def divergences(
    old: Reader,
    new: Reader,
    samples: Sequence[Sample],
    *,
    site: SiteName | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[tuple[Head, ...], Doubles, Doubles]:
    """The divergences between old and new heads, and between old heads.

    The Jensen-Shannon divergence is that of `attnprobe.rules.diversity`, mean over the rows of all
    texts. The mass of a learned sink counts as one more source. Only the rows of one group of texts
    are in memory at a time.

    Returns:
        All heads, their divergences `[old, new]` and `[old, old]`, in nats.

    Raises:
        MeasureError: there is no text, the models differ in layers or heads, or they divide a text
            into different tokens.
    """
    if not samples:
        raise MeasureError("heads are matched by what they attend to; give at least one text")
    before, after = (model.encode(samples[0]).site(site) for model in (old, new))
    if dict(before.heads) != dict(after.heads):
        raise MeasureError(
            f"heads are matched between models of the same size: {old.name} has "
            f"{_size(before)}, {new.name} has {_size(after)}"
        )
    for sample in samples:
        _check_tokens(old, new, sample, before.name)
    heads = before.all_heads()
    between, within = np.zeros((2, len(heads), len(heads)))
    count = 0
    for group in _groups(old, dict.fromkeys(samples), before, len(heads)):
        for old_rows, new_rows in zip(
            old.collect(group, batch_tokens=batch_tokens),
            new.collect(group, batch_tokens=batch_tokens),
            strict=True,
        ):
            old_weights, new_weights = _stack(old_rows), _stack(new_rows)
            between += _summed_divergence(old_weights, new_weights)
            within += _summed_divergence(old_weights, old_weights)
            count += len(old_rows.positions)
    most = np.log(2)
    return heads, np.clip(between / count, 0, most), np.clip(within / count, 0, most)


def _size(site: Site) -> str:
    widths = " or ".join(str(width) for width in sorted(set(site.heads.values())))
    return f"{len(site.layers)} layers of {widths} heads"


def _check_tokens(old: Reader, new: Reader, sample: Sample, site: SiteName) -> None:
    old_encoding, new_encoding = (model.encode(sample) for model in (old, new))
    for before, after in (
        (old_encoding.queries(site), new_encoding.queries(site)),
        (old_encoding.keys(site), new_encoding.keys(site)),
    ):
        if before.pieces != after.pieces or before.spans != after.spans:
            raise MeasureError(
                f"{old.name} and {new.name} read {before.text!r} into other tokens "
                f"({len(before)} and {len(after)}), so their rows cannot be compared; "
                "heads are matched between models that share a tokenizer"
            )


def _groups(
    model: Reader, samples: dict[Sample, None], site: Site, heads: int
) -> Iterator[list[Need]]:
    """Requests for all rows of all layers, in groups of at most AT_ONCE weights if possible."""
    group: list[Need] = []
    size = 0
    for sample in samples:
        encoding = model.encode(sample)
        rows = len(encoding.queries(site.name))
        cells = heads * rows * len(encoding.keys(site.name))
        if group and size + cells > AT_ONCE:
            yield group
            group, size = [], 0
        group.append(Need(sample, site.name, site.layers, tuple(range(rows))))
        size += cells
    yield group


def _stack(rows: Rows) -> Doubles:
    """The rows of all heads, `[heads, target, source + 1]`; the last column is a learned sink."""
    layers = [rows.weights[layer] for layer in sorted(rows.weights)]
    weights = np.concatenate(layers).astype(np.float64)
    if not np.isfinite(weights).all():
        raise MeasureError("attention weights are not finite, so their heads cannot be matched")
    sink = np.clip(1 - weights.sum(axis=-1, keepdims=True), 0, None)
    return np.concatenate([weights, sink], axis=-1)


def _summed_divergence(old: Doubles, new: Doubles) -> Doubles:
    """The divergence of each old and new head, `[old, new]`, summed over the rows."""
    heads, targets, sources = old.shape
    found: Doubles = -(entropy(old).sum(axis=-1)[:, None] + entropy(new).sum(axis=-1)) / 2
    step = max(1, AT_ONCE // (len(new) * sources))
    for start in range(0, targets, step):
        part = slice(start, start + step)
        for head in range(heads):
            found[head] += entropy((old[head, part] + new[:, part]) / 2).sum(axis=-1)
    return found
