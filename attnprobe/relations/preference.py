"""The preference control: whether a head likes a word whoever looks at it.

For each judged pair another word of the sentence looks at the same word. A head that finds the
relation is right where the true word looks, and seldom where the other does; a head that likes
certain words is right both times. With the true word replaced by a random one the two differ by
chance alone, so that an exact McNemar test of them keeps its level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnprobe.core.sites import Site
from attnprobe.core.stats import paired_p
from attnprobe.core.texts import Encoding, Tokens
from attnprobe.words.looks import Bools, LabelledPair, Look, Looks, Words
from attnprobe.words.positions import groups


@dataclass(frozen=True)
class Preference:
    """A head with the true word looking, and with another word of the sentence.

    Attributes:
        n: pairs where another word can look.
        right, other: for how many of these the head is right when the true word looks, and when
            the other word does.
        both: for how many it is right both times.
    """

    n: int
    right: int
    other: int
    both: int

    @property
    def share(self) -> float:
        """How often the head is right when the other word looks, 0 to 1."""
        return self.other / self.n

    @property
    def lead(self) -> float:
        """By how much the head is right more often when the true word looks, -1 to 1."""
        return (self.right - self.other) / self.n

    @property
    def p(self) -> float:
        """Exact McNemar test of the two, two-sided."""
        return paired_p(self.right - self.both, self.other - self.both)


def other_looks(
    encoding: Encoding,
    site: Site,
    pairs: Sequence[LabelledPair],
    found: Looks,
    layers: Sequence[int],
    *,
    words: Words,
    seed: int,
) -> tuple[Look | None, ...]:
    """For each look of a text the same look from another word; None where no word can.

    The other word is drawn, by a hash of the text, the pair and the seed, of those words that

    - hold a letter or a digit and no unknown token, as words of judged pairs do,
    - touch neither word of the pair, nor a named candidate,
    - see the expected word in every layer in which the true word does,
    - have another candidate to choose from.

    It chooses among the candidates of the true word, as far as it sees them and without itself. So
    it never has more to choose from, and the comparison leans towards the control.

    Args:
        pairs, found: as given to and returned by `find_looks`.
        words: of the text, as a treebank has them.
    """
    if not found.looks:
        return ()
    tokens, keys = encoding.queries(site.name), encoding.keys(site.name)
    one_text = site.name != "cross"
    drawable = [
        group.positions
        for group in groups(tokens, words if one_text else None)
        if _can_look(group.positions, tokens)
    ]
    pool = _membership(drawable, len(tokens))
    columns = _membership(found.words, len(keys))
    rows = _membership([look.rows for look in found.looks], len(tokens))
    candidates = np.array([look.candidates for look in found.looks])
    expected = np.array([look.expected for look in found.looks])
    # Which columns each word of the pool can choose, `[pool, columns]`.
    open_ = _seen(site, None, pool, columns)
    if one_text:
        open_ &= ~_touch(pool, columns)
    fit: Bools = open_[:, expected] & ~_touch(pool, rows)
    fit &= open_.astype(np.float32) @ candidates.T.astype(np.float32) > 1
    named = np.array([bool(pairs[number].candidates) for number in found.pairs])
    if one_text and named.any():
        fit &= ~(_touch(pool, columns).astype(np.float32) @ candidates.T > 0) | ~named
    for layer in {site.windows.get(layer): layer for layer in layers}.values():
        sees = _seen(site, layer, pool, columns)[:, expected]
        needed = np.diagonal(_seen(site, layer, rows, columns)[:, expected])
        fit &= sees | ~needed
    looks: list[Look | None] = []
    for number, (look, pair) in enumerate(zip(found.looks, found.pairs, strict=True)):
        choice = np.flatnonzero(fit[:, number])
        if not len(choice):
            looks.append(None)
            continue
        drawn = choice[_hash(encoding, pairs[pair], seed) % len(choice)]
        looks.append(Look(drawable[drawn], look.expected, look.candidates & open_[drawn]))
    return tuple(looks)


def _can_look(word: Sequence[int], tokens: Tokens) -> bool:
    """Whether a word is known to the model and more than a punctuation mark."""
    text = "".join(tokens.text[slice(*span)] for span in (tokens.spans[at] for at in word) if span)
    return any(map(str.isalnum, text)) and set(tokens.unknown).isdisjoint(word)


def _membership(words: Sequence[Sequence[int]], tokens: int) -> Bools:
    """Which tokens belong to each word, `[words, tokens]`."""
    found = np.zeros((len(words), tokens), np.bool_)
    for number, word in enumerate(words):
        found[number, list(word)] = True
    return found


def _touch(left: Bools, right: Bools) -> Bools:
    """Which words share a token, `[left, right]`, by their tokens."""
    shared: Bools = left.astype(np.float32) @ right.T.astype(np.float32) > 0
    return shared


def _seen(site: Site, layer: int | None, looking: Bools, columns: Bools) -> Bools:
    """Whether any token of a word sees any token of a column, `[looking, columns]`.

    Args:
        layer: None asks for causality alone, whatever the window.
    """
    window = None if layer is None else site.windows.get(layer)
    if not site.causal and window is None:
        return np.ones((len(looking), len(columns)), np.bool_)
    steps = np.arange(columns.shape[1]) - np.arange(looking.shape[1])[:, None]
    sees = np.ones(steps.shape, np.bool_)
    if site.causal:
        sees &= steps <= 0
    if window is not None:
        sees &= np.abs(steps) < window
    return _touch(_touch(looking, sees.T), columns)


def _hash(encoding: Encoding, pair: LabelledPair, seed: int) -> int:
    sample = encoding.sample
    text = f"{seed}\0{sample.joined}\0{sample.target or ''}\0{[*pair.query, *pair.key]}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest)
