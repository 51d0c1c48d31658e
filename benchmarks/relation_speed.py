"""What relations of one corpus cost when they are judged together: beside one by one, and a scan.

    .venv/bin/python benchmarks/relation_speed.py

The three take turns. Printed are medians of processor seconds and of the ratios within a round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from scan_speed import MINILM, RELATIONS, blocks, counter, sentences

from attnprobe.cases import load_contents
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.models import load
from attnprobe.relations.accuracy import judge, judge_all
from attnprobe.relations.corpus import Corpus

HEADS = ("L3H1", "{in: all, how: best, chosen_on: half}")
DIRECTIONS = ("dependent-to-head", "head-to-dependent")


def suite() -> str:
    """Each relation in both directions, for a named head and for the best of all."""
    lines = ["version: 1", "suite: made-up", "defaults: {site: encoder}", "relations:"]
    for label in RELATIONS:
        for direction in DIRECTIONS:
            for heads in HEADS:
                lines += [
                    f"  - id: r{len(lines)}",
                    "    from_corpus: "
                    f"{{conllu: x.conllu, deprel: {label}, direction: {direction}}}",
                    f"    heads: {heads}",
                    "    least: 1",
                    "    expect: {accuracy: 0.01}",
                ]
    return "\n".join(lines)


def processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model, corpus = load(MINILM), sentences(options.sentences)
    with TemporaryDirectory() as folder:
        file = Path(folder, "x.attn.yaml")
        file.write_text(suite(), encoding="utf-8")
        file.with_name("x.conllu").touch()
        relations = load_contents(file, file.name, root=Path(folder)).relations

    def read(_path: Path, _shown: str) -> Corpus:
        return corpus

    def scan() -> None:
        own = counter(model, BATCH_TOKENS)
        sum(map(own.count, blocks(corpus)), start=own.empty())

    ways: dict[str, Callable[[], object]] = {
        "together": lambda: judge_all(relations, model, read=read),
        "one by one": lambda: [judge(relation, model, read=read) for relation in relations],
        "a scan": scan,
    }
    rounds = [
        {name: processor_seconds(way) for name, way in ways.items()} for _ in range(options.rounds)
    ]
    print(f"{model}: {len(relations)} relations, {options.sentences} sentences")
    for name in ways:
        ratio = statistics.median(found[name] / found["together"] for found in rounds)
        seconds = statistics.median(found[name] for found in rounds)
        print(f"{name:12}{seconds:8.1f} s{ratio:8.2f}")


if __name__ == "__main__":
    main()
