"""How a scan grows with its corpus, and with workers: sentences per second and peak memory.

    .venv/bin/python benchmarks/scan_scale.py
    .venv/bin/python benchmarks/scan_scale.py --model tiny --sentences 1000000 --ways "one process"

Each line is one command in processes of its own, start and loading included. Sentences are made up,
of 8 to 30 words, with ids of their own. Memory is the largest resident size: of the process that
writes the results, and of the largest actor of Ray. `two parts` are two scans with --shard, side by
side, and `merge` puts them together. Ray is an extra: attnprobe[ray].
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scan_speed import MINILM, sentences

ATTNPROBE = str(Path(sys.executable).with_name("attnprobe"))
# So many sentences are made; a longer corpus repeats them with ids of their own.
MADE = 2000
WAYS = ("one process", "two parts", "merge", "Ray, 1 actor", "Ray, 2 actors")


class Measured(NamedTuple):
    """Seconds of a command, and the largest resident sizes in MB."""

    seconds: float
    driver: float
    workers: float


def write_corpus(path: Path, count: int) -> None:
    """Sentences as JSON Lines."""
    lines = []
    for one in sentences(MADE).sentences:
        arcs = [
            {"from": [*arc.dependent], "to": [*arc.head], "relation": arc.relation}
            for arc in one.arcs
        ]
        lines.append(f'"text": {json.dumps(one.sample.text)}, "arcs": {json.dumps(arcs)}}}\n')
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(f'{{"id": "s{number}", {lines[number % MADE]}')


def save_tiny(folder: Path) -> None:
    """A network of two layers of four heads, which costs next to nothing, with MiniLM's words."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from attnprobe.core.errors import ModelError
    from attnprobe.core.names import file_in_package

    source = file_in_package(MINILM, ModelError)
    tokenizer = AutoTokenizer.from_pretrained(source)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(*commands: Sequence[str]) -> Measured:
    """Runs commands side by side."""
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for command in commands
    ]
    workers: list[float] = [0.0]
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(workers, over))
    watch.start()
    peaks = []
    for process in running:
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            over.set()
            raise SystemExit(output.decode())
        peaks.append(usage.ru_maxrss / 1024)
    seconds = time.perf_counter() - start
    over.set()
    watch.join()
    return Measured(seconds, max(peaks), workers[0])


def _watch(largest: list[float], over: threading.Event) -> None:
    """Notes the largest resident size of an actor of Ray."""
    while not over.wait(0.5):
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if b"MapWorker" not in (folder / "cmdline").read_bytes():
                    continue
                pages = int((folder / "statm").read_text().split()[1])
            except (OSError, IndexError, ValueError):
                continue
            largest[0] = max(largest[0], pages * resource.getpagesize() / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MINILM, help="a model, or: tiny")
    parser.add_argument("--sentences", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--batch-tokens", default="8192")
    parser.add_argument("--ways", nargs="+", metavar="WAY", default=list(WAYS), choices=WAYS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        model = options.model
        if model == "tiny":
            model = "./tiny"
            save_tiny(folder / "tiny")
        for count in options.sentences:
            plan = ("--batch-tokens", options.batch_tokens, "--device", "cpu")
            _lines(model, folder / f"{count}", count, options.ways, plan)


def _lines(
    model: str, folder: Path, count: int, chosen: Sequence[str], plan: Sequence[str]
) -> None:
    folder.mkdir()
    corpus = folder / "corpus.jsonl"
    write_corpus(corpus, count)
    scan = (ATTNPROBE, "scan", model, "--corpus", str(corpus), *plan)

    def written(part: str) -> tuple[str, ...]:
        return ("--output", str(folder / part), "--lock", str(folder / f"{part}.json"))

    parts = [(*scan, "--shard", f"{at}/2", "--output", str(folder / f"p{at}")) for at in (1, 2)]
    merge = (ATTNPROBE, "scan", "merge", str(folder / "p1"), str(folder / "p2"))
    commands = {
        "one process": [(*scan, *written("one"))],
        "two parts": parts,
        "merge": [(*merge, *written("sum"))],
        **{
            way: [(*scan, "--engine", "ray", "--concurrency", way[5], *written(way))]
            for way in WAYS
            if way.startswith("Ray")
        },
    }
    for way in (way for way in WAYS if way in chosen):
        found = measure(*commands[way])
        rate = "" if way == "merge" else f"{count / found.seconds:7.0f}/s"
        workers = f"{found.workers:6.0f} MB an actor" if found.workers else ""
        print(
            f"{count:>9,} {way:14}{found.seconds:8.1f} s {rate:10}{found.driver:6.0f} MB {workers}",
            flush=True,
        )
    results = [
        path.read_text() for path in folder.glob("*/scan.json") if path.parent.name[0] != "p"
    ]
    figures = [{**json.loads(text), "duration_s": 0, "engine": 0} for text in results]
    assert all(one == figures[0] for one in figures), "the parts did not add up"


if __name__ == "__main__":
    main()
