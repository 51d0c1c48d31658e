"""Tokens, attention and a model made up by hand: no tokenizer, no network."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import MeasureError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.texts import PAIR_BREAK, Encoding, InputText, Sample, Span, Tokens


def tokens(marked: str, *, ends: bool = True) -> Tokens:
    """Tokens of a text whose pieces are parted by spaces and `|`: `The ani|mals slept .`

    Args:
        ends: whether `[CLS]` and `[SEP]` stand around them.
    """
    text = ""
    pieces: list[str] = []
    spans: list[Span | None] = []
    for word in marked.split(" "):
        text += " " if text else ""
        for number, piece in enumerate(word.split("|")):
            pieces.append(f"##{piece}" if number else piece)
            spans.append(Span(len(text), len(text) + len(piece)))
            text += piece
    special: list[str | None] = [None] * len(pieces)
    if ends:
        pieces, spans = ["[CLS]", *pieces, "[SEP]"], [None, *spans, None]
        special = ["cls", *special, "sep"]
    return Tokens(text, tuple(range(len(pieces))), tuple(pieces), tuple(spans), tuple(special))


def parts_of(text: str) -> tuple[InputText, ...]:
    """The input texts of a text with a PAIR_BREAK; of another one none."""
    first, *pair = text.split(PAIR_BREAK)
    return Sample(first, pair=pair[0] if pair else None).parts


def encoding(
    marked: str,
    target: str | None = None,
    *,
    heads: Mapping[int, int] | None = None,
    site: SiteName = "encoder",
    causal: bool = False,
    ends: bool = True,
) -> Encoding:
    """A text as a model of one site reads it; three layers of two heads unless said otherwise."""
    source = tokens(marked, ends=ends)
    decoded = None if target is None else tokens(target, ends=ends)
    sample = Sample(source.text, None if decoded is None else decoded.text)
    return Encoding(
        sample, source, decoded, {site: Site(site, heads or {0: 2, 1: 2, 2: 2}, causal)}
    )


def with_site(read: Encoding, **changes: Any) -> Encoding:
    """The same text for a site with other `windows` or `learned_sinks`."""
    ((name, site),) = read.sites.items()
    return replace(read, sites={name: replace(site, **changes)})


def distributions(read: Encoding, seed: int) -> dict[int, Floats]:
    """Random attention of each layer, `[heads, target, source]`; rows sum to 1."""
    (site,) = read.sites.values()
    random = np.random.default_rng(seed)
    shape = len(read.queries(site.name)), len(read.keys(site.name))
    found = {}
    for layer in site.layers:
        logits = 2 * random.standard_normal((site.heads[layer], *shape))
        if site.causal:
            logits += np.where(np.tri(*shape), 0, -np.inf)
        if layer in site.windows:
            apart = np.abs(np.subtract.outer(*map(np.arange, shape)))
            logits += np.where(apart < site.windows[layer], 0, -np.inf)
        weights = np.exp(logits)
        found[layer] = (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
    return found


def rows(read: Encoding, need: Need, weights: Mapping[int, Floats]) -> Rows:
    """What a model with these weights answers to a need."""
    wanted = {layer: weights[layer][:, list(need.rows)] for layer in need.layers}
    return Rows(read, need.site, need.rows, wanted)


class FakeReader:
    """Answers needs by random weights of its own for each text, and keeps count.

    Attributes:
        passes: the texts of each call of `collect`, each once.
        asked: every need that was handed over.
    """

    name = "fake"

    def __init__(self, bad: Collection[tuple[str, int]] = ()) -> None:
        self._bad = bad
        self.passes: list[tuple[str, ...]] = []
        self.asked: list[Need] = []

    def encode(self, sample: Sample) -> Encoding:
        return encoding(sample.text, sample.target)

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = BATCH_TOKENS) -> list[Rows]:
        """Raises MeasureError where one of the bad layers of a text is asked for."""
        self.passes.append(tuple(dict.fromkeys(need.sample.text for need in needs)))
        self.asked += needs
        for need in needs:
            for layer in need.layers:
                if (need.sample.text, layer) in self._bad:
                    raise MeasureError(f"{Head(layer, 0)} has weights that are no numbers")
        found = [(self.encode(need.sample), need) for need in needs]
        return [rows(read, need, self.weights(read)) for read, need in found]

    def weights(self, read: Encoding) -> dict[int, Floats]:
        return distributions(read, zlib.crc32(read.sample.text.encode()))


class Reading(FakeReader):
    """A fake that relations can be measured on."""

    def read_out(self, readouts: Sequence[Readout], *, batch_tokens: int = 0) -> list[float]:
        raise NotImplementedError
