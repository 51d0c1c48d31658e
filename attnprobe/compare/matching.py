"""Which head of a new model is which head of an old one.

Seeds, fine-tuning and pruning tools move heads about: the head that looked at the subject may now
be another one. Heads are told by what they attend to: two heads are as far apart as the
Jensen-Shannon divergence of their rows over the same texts, and the heads of two models are paired
so that the sum of the divergences is least (an assignment; Kuhn 1955, by scipy).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attnprobe.attention import Reader
from attnprobe.core.errors import MeasureError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Rows
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.texts import Sample
from attnprobe.core.wording import format_decimals
from attnprobe.rules.frame import Doubles
from attnprobe.rules.statistics import entropy

Fate = Literal["stayed", "moved", "lost"]

# Nats by which another place must be nearer than a head's own before it counts as moved. Heads of
# one model are rarely so near: on 40 shipped sentences the nearest two of MiniLM are 0.020 apart.
SAME = 0.01
# A head is lost where its match is farther than this share of the pairs of different old heads.
NEAR = 0.05
# Numbers that one step holds: weights of a group of texts, mixtures of one head with all others.
AT_ONCE = 8_000_000


@dataclass(frozen=True)
class Match:
    """An old head and the head of the new model that is paired with it.

    Attributes:
        divergence: Jensen-Shannon divergence of the two, mean over the rows of all texts, 0 to
            ln 2 nats.
        stayed: the same between the old head and the one at its own place in the new model.
        bound: the divergence above which the old head is lost, one number for all matches: the
            `NEAR` quantile over all pairs of different heads of the old model. A match beyond it
            is no nearer than heads that have nothing to do with each other: MiniLM 0.072,
            SmolLM2 0.033 nats on 40 shipped sentences.
    """

    old: Head
    new: Head
    divergence: float
    stayed: float
    bound: float

    @property
    def fate(self) -> Fate:
        """`lost` where not even the match attends alike, else whether it is at another place."""
        if self.divergence > self.bound:
            return "lost"
        return "stayed" if self.new == self.old else "moved"

    def __str__(self) -> str:
        told = {
            "stayed": f"{self.old} stayed",
            "moved": f"{self.old} moved to {self.new}",
            "lost": f"{self.old} is lost, the nearest head left for it is {self.new}",
        }[self.fate]
        own = (
            ""
            if self.new == self.old
            else f"; {format_decimals(self.stayed)} to the head at its own place"
        )
        return (
            f"{told} (divergence {format_decimals(self.divergence)} nats, lost above "
            f"{format_decimals(self.bound)}{own})"
        )


def match_heads(
    old: Reader,
    new: Reader,
    samples: Sequence[Sample],
    *,
    site: SiteName | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[Match, ...]:
    """Each head of the old model with its match in the new one, in the order of the old heads.

    No two heads share a match. Another place must be nearer than the head's own by more than
    `SAME`, so that heads which attend alike, such as those that rest on the first token, are not
    reported as moved.

    Args:
        samples: texts to compare the rows on; a few dozen sentences.
        site: needed only where the models have several.

    Raises:
        MeasureError: as `divergences`.
    """
    from scipy.optimize import linear_sum_assignment

    heads, apart, among = divergences(old, new, samples, site=site, batch_tokens=batch_tokens)
    pairs = among[np.triu_indices(len(heads), 1)]
    bound = max(SAME, float(np.quantile(pairs, NEAR))) if pairs.size else SAME
    places = linear_sum_assignment(apart - SAME * np.eye(len(heads)))[1]
    return tuple(
        Match(head, heads[place], float(apart[row, place]), float(apart[row, row]), bound)
        for row, (head, place) in enumerate(zip(heads, places, strict=True))
    )


def divergences(
    old: Reader,
    new: Reader,
    samples: Sequence[Sample],
    *,
    site: SiteName | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[tuple[Head, ...], Doubles, Doubles]:
    """How far each head of the old model is from each of the new, and from each of the old.

    The Jensen-Shannon divergence as `attnprobe.rules.diversity` has it, mean over the rows of all
    texts; what a learned sink takes of a row counts as one more source. Texts are read in groups,
    and rows are let go with their group.

    Returns:
        All heads, `[old, new]` and `[old, old]` in nats.

    Raises:
        MeasureError: no text; models of other layers and heads; a text that the two read into
            other tokens.
    """
    if not samples:
        raise MeasureError("heads are matched by what they attend to, which takes a text at least")
    before, after = (model.encode(samples[0]).site(site) for model in (old, new))
    if dict(before.heads) != dict(after.heads):
        raise MeasureError(
            f"heads are matched between models of the same size: {old.name} has "
            f"{_size(before)}, {new.name} has {_size(after)}"
        )
    for sample in samples:
        _check_tokens(old, new, sample, before.name)
    heads = before.all_heads()
    apart, among = np.zeros((2, len(heads), len(heads)))
    count = 0
    for group in _groups(old, dict.fromkeys(samples), before, len(heads)):
        for was, now in zip(
            old.collect(group, batch_tokens=batch_tokens),
            new.collect(group, batch_tokens=batch_tokens),
            strict=True,
        ):
            before_rows, after_rows = _stack(was), _stack(now)
            apart += _summed(before_rows, after_rows)
            among += _summed(before_rows, before_rows)
            count += len(was.positions)
    most = np.log(2)
    return heads, np.clip(apart / count, 0, most), np.clip(among / count, 0, most)


def _size(site: Site) -> str:
    widths = " or ".join(str(width) for width in sorted(set(site.heads.values())))
    return f"{len(site.layers)} layers of {widths} heads"


def _check_tokens(old: Reader, new: Reader, sample: Sample, site: SiteName) -> None:
    was, now = (model.encode(sample) for model in (old, new))
    for before, after in (
        (was.queries(site), now.queries(site)),
        (was.keys(site), now.keys(site)),
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
    """Needs for all rows of all layers, so many at a time as memory should hold."""
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
    """All heads' rows `[heads, target, source + 1]`, what a learned sink takes in the last."""
    weights = np.concatenate([rows.weights[layer] for layer in sorted(rows.weights)])
    given = weights.astype(np.float64)
    if not np.isfinite(given).all():
        raise MeasureError("attention weights are not finite, so their heads cannot be matched")
    rest = np.clip(1 - given.sum(axis=-1, keepdims=True), 0, None)
    return np.concatenate([given, rest], axis=-1)


def _summed(old: Doubles, new: Doubles) -> Doubles:
    """Divergence of each two heads, summed over the rows, `[old, new]`."""
    heads, targets, sources = old.shape
    found: Doubles = -(entropy(old).sum(axis=-1)[:, None] + entropy(new).sum(axis=-1)) / 2
    step = max(1, AT_ONCE // (len(new) * sources))
    for start in range(0, targets, step):
        part = slice(start, start + step)
        for head in range(heads):
            found[head] += entropy((old[head, part] + new[:, part]) / 2).sum(axis=-1)
    return found
