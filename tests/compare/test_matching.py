"""Heads matched by what they attend to, against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from attnprobe.compare import matching
from attnprobe.compare.matching import SAME, Match, divergences, match_heads
from attnprobe.core.arrays import Floats
from attnprobe.core.errors import MeasureError
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding, Sample, Span, Tokens

SAMPLES = (Sample("ab c"), Sample("d"), Sample("efg hi"))


@dataclass
class MadeUp:
    """A model whose attention was written down: for each text `[layers, heads, target, source]`."""

    weights: Mapping[str, Floats]
    name: str = "made-up"
    spelled: str = "{}"
    asked: list[int] = field(default_factory=list)

    def encode(self, sample: Sample) -> Encoding:
        text = sample.text
        pieces = tuple(self.spelled.format(letter) for letter in text)
        spans = tuple(Span(place, place + 1) for place in range(len(text)))
        tokens = Tokens(text, tuple(map(ord, text)), pieces, spans, (None,) * len(text))
        layers, heads = next(iter(self.weights.values())).shape[:2]
        site = Site("encoder", dict.fromkeys(range(layers), heads), causal=False)
        return Encoding(sample, tokens, None, {"encoder": site})

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = 0) -> list[Rows]:
        self.asked.append(len(needs))
        return [
            Rows(
                self.encode(need.sample),
                need.site,
                need.rows,
                dict(enumerate(self.weights[need.sample.text])),
            )
            for need in needs
        ]

    def read_out(self, readouts: Sequence[Readout], *, batch_tokens: int = 0) -> list[float]:
        raise NotImplementedError


def made_up(seed: int, layers: int = 2, heads: int = 3, *, sink: float = 0.0) -> MadeUp:
    """Random rows that sum to 1, or to less by up to `sink`."""
    random = np.random.default_rng(seed)
    weights = {}
    for sample in SAMPLES:
        size = len(sample.text)
        rows = random.dirichlet(np.full(size, 0.3), (layers, heads, size))
        rows *= 1 - sink * random.random((layers, heads, size, 1))
        weights[sample.text] = rows.astype(np.float32)
    return MadeUp(weights)


def placed(model: MadeUp, order: Sequence[int]) -> MadeUp:
    """The model with its heads at other places, over all layers: place i holds head order[i]."""
    moved = {}
    for text, weights in model.weights.items():
        flat = weights.reshape(-1, *weights.shape[2:])
        moved[text] = flat[list(order)].reshape(weights.shape)
    return MadeUp(moved)


def by_hand(old: MadeUp, new: MadeUp) -> np.ndarray:
    """`[old, new]`: scipy's distance squared is the divergence, row by row."""
    count = np.prod(next(iter(old.weights.values())).shape[:2])
    found = np.zeros((count, count))
    for first, second in np.ndindex(*found.shape):
        values = []
        for text in old.weights:
            was = old.weights[text].reshape(count, len(text), len(text))[first].astype(float)
            now = new.weights[text].reshape(count, len(text), len(text))[second].astype(float)
            for one, other in zip(was, now, strict=True):
                p = [*one, max(0, 1 - one.sum())]
                q = [*other, max(0, 1 - other.sum())]
                values.append(jensenshannon(p, q) ** 2)
        found[first, second] = np.mean(values)
    return found


@pytest.mark.parametrize("sink", [0.0, 0.6])
def test_divergences_are_those_of_scipy_row_by_row(sink: float) -> None:
    old, new = made_up(0, sink=sink), made_up(1, sink=sink)
    heads, apart, among = divergences(old, new, SAMPLES)
    assert [str(head) for head in heads] == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    np.testing.assert_allclose(apart, by_hand(old, new), atol=1e-6)
    np.testing.assert_allclose(among, by_hand(old, old), atol=1e-6)


def test_small_steps_and_groups_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = made_up(0), made_up(1)
    whole = divergences(old, new, SAMPLES)[1]
    assert old.asked == [3]
    monkeypatch.setattr(matching, "AT_ONCE", 100)
    np.testing.assert_allclose(divergences(old, new, SAMPLES)[1], whole, atol=1e-12)
    assert old.asked == [3, 1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_match_is_the_best_of_all_assignments(seed: int) -> None:
    old, new = made_up(seed), made_up(seed + 100)
    found = match_heads(old, new, SAMPLES)
    apart = by_hand(old, new)
    cost = apart - SAME * np.eye(6)
    best = min(itertools.permutations(range(6)), key=lambda order: sum(cost[range(6), list(order)]))
    heads = [one.old for one in found]
    assert [heads.index(one.new) for one in found] == list(best)
    for row, (one, place) in enumerate(zip(found, best, strict=True)):
        assert one.divergence == pytest.approx(apart[row, place], abs=1e-6)
        assert one.stayed == pytest.approx(apart[row, row], abs=1e-6)


def test_heads_are_found_again_across_layers() -> None:
    old = made_up(0)
    order = [4, 1, 2, 0, 3, 5]  # place 0 now holds the head that was at place 4
    found = match_heads(old, placed(old, order), SAMPLES)
    fates = {str(one.old): (one.fate, str(one.new)) for one in found}
    assert fates == {
        "L0H0": ("moved", "L1H0"),
        "L0H1": ("stayed", "L0H1"),
        "L0H2": ("stayed", "L0H2"),
        "L1H0": ("moved", "L1H1"),
        "L1H1": ("moved", "L0H0"),
        "L1H2": ("stayed", "L1H2"),
    }
    assert all(one.divergence < 1e-6 for one in found)
    assert all((one.stayed > 0.05) == (one.fate == "moved") for one in found)


def test_a_head_that_no_other_is_like_is_lost() -> None:
    old = made_up(0)
    new = placed(old, range(6))
    for text, weights in made_up(7).weights.items():
        new.weights[text][1, 2] = weights[1, 2]
    found = match_heads(old, new, SAMPLES)
    assert [one.fate for one in found] == ["stayed"] * 5 + ["lost"]
    lost = found[-1]
    among = by_hand(old, old)[np.triu_indices(6, 1)]
    assert lost.bound == pytest.approx(np.quantile(among, 0.05), abs=1e-6)
    assert lost.divergence > lost.bound
    assert str(lost).startswith("L1H2 is lost, the nearest head left for it is L1H2 (divergence 0.")


def test_heads_that_attend_alike_have_not_moved() -> None:
    """Two twins whose rows differ by less than float noise would be swapped by a bare minimum."""
    old = made_up(0)
    for weights in old.weights.values():
        weights[0, 1] = weights[0, 0]
    new = placed(old, range(6))
    for weights in new.weights.values():
        weights[0, 0] = 0.99 * weights[0, 0] + 0.01 / weights.shape[-1]
    found = match_heads(old, new, SAMPLES)
    assert found[1].divergence < found[0].divergence < SAME
    assert {one.fate for one in found} == {"stayed"}


def test_what_a_match_says() -> None:
    moved = Match(Head(3, 1), Head(3, 7), 0.0, 0.25, 0.07)
    assert str(moved) == (
        "L3H1 moved to L3H7 (divergence 0.000 nats, lost above 0.070; 0.250 to the head at its "
        "own place)"
    )
    stayed = Match(Head(3, 1), Head(3, 1), 0.01, 0.01, 0.07)
    assert str(stayed) == "L3H1 stayed (divergence 0.010 nats, lost above 0.070)"


def test_a_model_without_other_heads_can_lose_its_head() -> None:
    old, new = made_up(0, 1, 1), made_up(1, 1, 1)
    assert [one.fate for one in match_heads(old, old, SAMPLES)] == ["stayed"]
    assert [one.fate for one in match_heads(old, new, SAMPLES)] == ["lost"]


def test_no_text_is_an_error() -> None:
    with pytest.raises(MeasureError, match="give at least one text"):
        match_heads(made_up(0), made_up(0), [])


def test_other_tokens_are_an_error() -> None:
    old, new = made_up(0), made_up(0)
    new.spelled = "_{}"
    with pytest.raises(MeasureError, match=r"read 'ab c' into other tokens \(4 and 4\)"):
        match_heads(old, new, SAMPLES)


def test_another_size_is_an_error() -> None:
    with pytest.raises(MeasureError, match="has 2 layers of 3 heads, made-up has 3 layers of 2"):
        match_heads(made_up(0, 2, 3), made_up(0, 3, 2), SAMPLES)


def test_weights_that_are_no_numbers_are_an_error() -> None:
    old, new = made_up(0), made_up(0)
    new.weights["d"][0, 0] = np.nan
    with pytest.raises(MeasureError, match="not finite"):
        match_heads(old, new, SAMPLES)
