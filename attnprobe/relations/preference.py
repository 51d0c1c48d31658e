"""The preference control: whether a head prefers a word, whichever word looks at it.

For each judged pair, another word of the sentence looks at the same word. In "The dog barked at
cats" the pair is dog → barked, and cats looks at barked instead. A head that finds the relation is
right when dog looks and seldom when cats does; a head that prefers verbs is right both times. If
the true word were a random one, the two would differ by chance alone; so an exact McNemar test of
them keeps its level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnprobe.core.arrays import Bools, in_common, membership
from attnprobe.core.sites import Site
from attnprobe.core.stats import paired_p
from attnprobe.core.texts import Encoding, Tokens
from attnprobe.words.looks import LabelledPair, Look, Looks, Words
from attnprobe.words.positions import groups


@dataclass(frozen=True)
class Preference:
    """How often a head is right when the true word looks, and when another word does.

    Attributes:
        n: the number of pairs for which another word can look.
        right: the number of these for which the head is right when the true word looks.
        other: the same when the other word looks.
        both: the number of pairs for which the head is right both times.
    """

    n: int
    right: int
    other: int
    both: int

    @property
    def share(self) -> float:
        """The accuracy when the other word looks, 0 to 1."""
        return self.other / self.n

    @property
    def lead(self) -> float:
        """The accuracy with the true word minus the accuracy with the other word, -1 to 1."""
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
    """For each look of a text, the same look from another word; None if no other word can look.

    A hash of the text, the pair and the seed draws the other word from the words that

    - contain a letter or a digit and no unknown token, as words of judged pairs do,
    - overlap neither word of the pair, nor a named candidate,
    - see the expected word in every layer in which the true word does,
    - have another candidate to choose from.

    The other word chooses among the candidates of the true word that it sees, without itself. It
    never has more candidates, so the comparison favours the control.

    Args:
        pairs, found: the argument and the result of `find_looks`.
        words: the words of the text, as a treebank divides it.
        seed: seed of the draw.
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
    if not drawable:
        return (None,) * len(found.looks)
    pool = membership(drawable, len(tokens))
    columns = membership(found.words, len(keys))
    rows = membership([look.rows for look in found.looks], len(tokens))
    candidates = np.array([look.candidates for look in found.looks])
    expected = np.array([look.expected for look in found.looks])
    # Which columns each word of the pool can choose, `[pool, columns]`.
    choosable = _seen(site, None, pool, columns)
    if one_text:
        choosable &= ~_touch(pool, columns)
    fit: Bools = choosable[:, expected] & ~_touch(pool, rows)
    fit &= in_common(choosable, candidates) > 1
    named = np.array([bool(pairs[number].candidates) for number in found.pairs])
    if one_text and named.any():
        fit &= ~_touch(_touch(pool, columns), candidates) | ~named
    for layer in {site.windows.get(layer): layer for layer in layers}.values():
        sees = _seen(site, layer, pool, columns)[:, expected]
        needed = np.diagonal(_seen(site, layer, rows, columns)[:, expected])
        fit &= sees | ~needed
    drawn = _drawn(fit, encoding, [pairs[number] for number in found.pairs], seed)
    possible = candidates & choosable[drawn]
    return tuple(
        Look(drawable[word], look.expected, row) if any_fits else None
        for look, word, row, any_fits in zip(
            found.looks, drawn, possible, fit.sum(axis=0) > 0, strict=True
        )
    )


def _drawn(fit: Bools, encoding: Encoding, pairs: Sequence[LabelledPair], seed: int) -> list[int]:
    """For each pair, one of the words that fit; the first word where none does.

    Args:
        fit: `[words, pairs]`, whether a word fits a pair.
    """
    sample = encoding.sample
    text = f"{seed}\0{sample.joined}\0{sample.target or ''}\0"
    begun = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    words = np.nonzero(fit.T)[1].tolist()  # of one pair after the other
    found, start = [], 0
    for pair, count in zip(pairs, fit.sum(axis=0).tolist(), strict=True):
        digest = begun.copy()
        digest.update(str([*pair.query, *pair.key]).encode())
        found.append(words[start + int.from_bytes(digest.digest()) % count] if count else 0)
        start += count
    return found


def _can_look(word: Sequence[int], tokens: Tokens) -> bool:
    """Whether a word has a letter or a digit and no unknown token."""
    text = "".join(tokens.text[slice(*span)] for span in (tokens.spans[at] for at in word) if span)
    return any(map(str.isalnum, text)) and set(tokens.unknown).isdisjoint(word)


def _touch(left: Bools, right: Bools) -> Bools:
    """Which words share a token, `[left, right]`; both as in `in_common`."""
    return in_common(left, right) > 0


def _seen(site: Site, layer: int | None, looking: Bools, columns: Bools) -> Bools:
    """Whether any token of a word sees any token of a column, `[looking, columns]`.

    Args:
        layer: None ignores sliding windows.
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
