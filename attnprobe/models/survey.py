"""Sums over the whole maps of many samples, on the model's device, a batch at a time.

Matrix products sum each layer's maps while the forward runs, and no map is kept: memory does not
depend on the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnprobe.core.needs import MapNeed, MapSums, MapView
from attnprobe.core.sites import Site
from attnprobe.models.capture import See


class _Views:
    """The views of a batch, as padded tensors `[batch, ...]`."""

    def __init__(self, views: Sequence[MapView], queries: int, keys: int, device: str) -> None:
        def pad(parts: Sequence[npt.NDArray[np.generic]], *shape: int) -> Tensor:
            table = np.zeros((len(parts), *shape), np.float32)
            for row, part in zip(table, parts, strict=True):
                row[tuple(slice(length) for length in part.shape)] = part
            return torch.from_numpy(table).to(device)

        cells = len(views[0].cells)
        self.cells = pad([view.cells for view in views], cells, queries, keys)
        self.rows = pad([view.rows for view in views], len(views[0].rows), queries)
        self.entropies = pad([view.entropies for view in views], len(views[0].entropies), queries)
        self.visible = pad([view.visible for view in views], queries, keys)
        self.stripe = pad([view.stripe for view in views], keys)
        # Rows without a meaning, such as those of padding, see no column.
        self.real = self.visible.amax(dim=-1)


class _Questions:
    """The questions of a batch, as padded tensors."""

    def __init__(self, needs: Sequence[MapNeed], queries: int, keys: int, device: str) -> None:
        looking = max([1, *(len(need.queries) for need in needs)])
        words = max([1, *(need.words.shape[1] for need in needs)])
        rows = np.zeros((len(needs), looking, queries), np.float32)
        columns = np.zeros((len(needs), keys, words), np.float32)
        count = sum(len(need.asked) for need in needs)
        others = np.zeros((count, words), np.bool_)
        asked, expected = [], []
        at = 0
        for number, need in enumerate(needs):
            rows[number, : len(need.queries), : need.queries.shape[1]] = need.queries
            columns[number, : need.words.shape[0], : need.words.shape[1]] = need.words
            until = at + len(need.asked)
            others[at:until, : need.words.shape[1]] = need.others
            asked += (number * looking + need.asked).tolist()
            expected += need.expected.tolist()
            at = until
        self.rows = torch.from_numpy(rows).to(device)
        self.columns = torch.from_numpy(columns).to(device)
        self.others = torch.from_numpy(others).to(device)[:, None]
        self.asked = torch.tensor(asked, dtype=torch.long, device=device)
        self.expected = torch.tensor(expected, dtype=torch.long, device=device)[:, None, None]
        starts = np.cumsum([0, *(len(need.asked) for need in needs)])
        kept = [
            int(start) + question
            for start, need in zip(starts, needs, strict=False)
            for question in need.kept
        ]
        self.kept = torch.tensor(kept, dtype=torch.long, device=device)


def survey_batch(
    needs: Sequence[MapNeed],
    indices: tuple[int, ...],
    site: Site,
    shape: tuple[int, int],
    run: Callable[[See], None],
    *,
    device: str,
) -> MapSums:
    """The sums of one forward.

    Args:
        needs: of the forward's samples, whose tokens are padded on the right.
        indices: of these needs, for the result.
        shape: padded number of queries and keys.
        run: makes the forward and hands over each layer's maps.
    """
    queries, keys = shape
    kinds: dict[tuple[int, ...], _Views] = {}
    views: dict[int, _Views] = {}
    for layer in site.layers:
        of_layer = [need.views[layer] for need in needs]
        kind = tuple(map(id, of_layer))
        if kind not in kinds:
            kinds[kind] = _Views(of_layer, queries, keys, device)
        views[layer] = kinds[kind]
    questions = _Questions(needs, queries, keys, device)
    found: dict[int, tuple[Tensor, ...]] = {}

    def see(layer: int, weights: Tensor) -> None:
        found[layer] = (*_sums(weights, views[layer]), *_answers(weights, questions))

    run(see)
    cells, rows, entropies, stripes, right, kept = (
        [found[layer][part].cpu().numpy() for layer in site.layers] for part in range(6)
    )
    chosen = np.concatenate(kept, axis=1)
    words = iter(chosen)
    return MapSums(
        indices,
        np.concatenate(cells, axis=1),
        np.concatenate(rows, axis=1),
        np.concatenate(entropies, axis=1),
        np.concatenate(stripes, axis=1),
        np.concatenate(right, axis=1),
        tuple(tuple(next(words)[:, : need.words.shape[1]] for _ in need.kept) for need in needs),
    )


def _sums(weights: Tensor, views: _Views) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Float64 `[sums, heads]`, `[masses, heads]`, `[means, heads]` and `[2, heads]` of a layer."""
    batch, heads, queries, keys = weights.shape
    flat = weights.reshape(batch, heads, queries * keys)
    cells = flat @ views.cells.reshape(batch, -1, queries * keys).mT
    whole = weights.sum(dim=-1)
    rows = whole @ views.rows.mT
    logs = weights.clamp_min(torch.finfo(torch.float32).tiny).log_().mul_(weights).sum(dim=-1)
    entropies = -logs @ views.entropies.mT
    columns = (views.real[:, None, None] @ weights)[:, :, 0]
    mean = torch.where(
        (views.stripe > 0)[:, None], columns / views.stripe.clamp_min(1)[:, None], -1.0
    )
    on = mean.argmax(dim=-1, keepdim=True)
    hit = columns.gather(2, on)
    seeing = (whole @ views.visible).gather(2, on)
    stripes = torch.cat([hit, seeing], dim=-1)
    first, second, third, fourth = (
        part.double().sum(dim=0).T for part in (cells, rows, entropies, stripes)
    )
    return first, second, third, fourth


def _answers(weights: Tensor, questions: _Questions) -> tuple[Tensor, Tensor]:
    """Whether each head is right `[questions, heads]`, and kept weights `[kept, heads, words]`."""
    batch, heads, queries, keys = weights.shape
    words = weights.reshape(batch, heads * queries, keys) @ questions.columns
    of_row = words.reshape(batch, heads, queries, -1).transpose(1, 2).reshape(batch, queries, -1)
    of_query = (questions.rows @ of_row).flatten(end_dim=1)
    asked = of_query.index_select(0, questions.asked).reshape(-1, heads, words.shape[-1])
    there = asked.gather(2, questions.expected.expand(-1, heads, -1))[..., 0]
    kept = asked[questions.kept]
    # Weights are not negative, so 0 is below any other word that can be chosen, or ties with it.
    elsewhere = asked.mul_(questions.others).amax(dim=-1)
    return there > elsewhere, kept
