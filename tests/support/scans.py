"""Scans of tiny models over made-up sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from attnprobe.core.names import LOCK
from attnprobe.core.parts import WHOLE, Part
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model
from attnprobe.models.twin import random_twin
from attnprobe.relations.sentences import Arc, Sentence
from attnprobe.relations.stream import Block, Position
from attnprobe.scan import files
from attnprobe.scan.corpora import BLOCK, Corpora, CorpusRef, ScanBlock
from attnprobe.scan.counting import Plan
from attnprobe.scan.output import Output
from attnprobe.scan.session import Options, Scan, in_process
from attnprobe.scan.tally import Tally
from tests.architectures.tiny import tiny_network, tiny_tokenizer

WORDS = ("the", "old", "key", "near", "a", "cabinet", "was", "lost", "in", "some", "house", "we")


def sentences(count: int, *, seed: int = 0, target: bool = False) -> tuple[Sentence, ...]:
    """Random sentences of two to nine words, with one arc a word."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        chosen = random.choice(WORDS, random.integers(2, 10)).tolist()
        text = " ".join(chosen)
        starts = [sum(len(word) + 1 for word in chosen[:at]) for at in range(len(chosen))]
        spans = [Span(start, start + len(word)) for start, word in zip(starts, chosen, strict=True)]
        arcs = []
        for at, span in enumerate(spans):
            other = int(random.choice([place for place in range(len(spans)) if place != at]))
            label = str(random.choice(["nsubj", "nsubj:pass", "obj", "det"]))
            arcs.append(Arc(span, spans[other], label))
        sample = Sample(text, text if target else None)
        found.append(Sentence(f"s{number}", sample, tuple(arcs), number + 1))
    return tuple(found)


@dataclass
class MadeUp:
    """A corpus in memory, which is read as a file is."""

    sentences: tuple[Sentence, ...]
    name: str = "made_up.tsv"
    path: Path = Path("made_up.tsv")
    sha256: str = ""

    @property
    def total(self) -> int:
        return len(self.sentences)

    def blocks(
        self,
        size: int,
        *,
        wanted: Callable[[int], bool] = lambda number: True,
        start: Position = Position(0, 0, 1, 0),  # noqa: B008  a constant
    ) -> Iterator[Block]:
        for number in range(start.block, -(-len(self.sentences) // size)):
            if wanted(number):
                first = number * size
                position = Position(number, first, self.sentences[first].line, first)
                yield Block(position, self.sentences[first : first + size], {})

    def digest(self) -> str:
        return self.sha256


def write_jsonl(path: Path, made_up: Iterable[Sentence]) -> None:
    """Writes sentences as labelled spans."""
    with path.open("w", encoding="utf-8") as file:
        for one in made_up:
            arcs = [
                {"from": [*arc.dependent], "to": [*arc.head], "relation": arc.relation}
                for arc in one.arcs
            ]
            entry = {"id": one.id, "text": one.sample.text, "arcs": arcs}
            file.write(json.dumps(entry) + "\n")


def corpus(count: int, **options: Any) -> MadeUp:
    return MadeUp(sentences(count, **options), sha256=f"{count:064x}")


def corpora(*made_up: MadeUp, part: Part = WHOLE, block: int = BLOCK) -> Corpora:
    refs = [CorpusRef(one.name, one.path, [one]) for one in made_up]
    return Corpora.inspect(refs, part, block=block)


def tiny(architecture: str, **overrides: Any) -> Model:
    return Model.of(tiny_network(architecture, **overrides), tiny_tokenizer(), name="tiny")


def scanned(model: Model, *made_up: MadeUp, **options: Any) -> Tally:
    """The counts of all sentences, as a scan without a folder makes them."""
    scan = Scan(model, corpora(*made_up), Options(**options), in_process(model))
    list(scan.go_on())
    return scan.counted.tallies[0]


def plan_of(**changes: Any) -> Plan:
    """A plan for one corpus at a self-attention site."""
    whole = Plan("encoder", (), "words", seed=0, set_arcs=128, batch_tokens=8192, corpora=1)
    return replace(whole, **changes)


def block_of(own: MadeUp) -> ScanBlock:
    """All sentences as one block."""
    return ScanBlock(0, 0, 0, 0, own.sentences, {})


def folder_of(path: Path) -> dict[str, bytes]:
    """Every file of a scan, without what differs between equal scans."""
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.suffix != ".lock":
            data = file.read_bytes()
            if file.name == files.RESULTS:
                whole = json.loads(data)
                del whole["duration_s"], whole["engine"]
                data = json.dumps(whole).encode()
            found[str(file.relative_to(path))] = data
    return found


def tiny_scan(
    folder: Path,
    model: Model,
    *,
    corpus_size: int = 40,
    block: int = BLOCK,
    part: Part = WHOLE,
    lock: Path | None = None,
    overwrite: bool = False,
    **changes: Any,
) -> Scan:
    output = Output(folder, None, lock or folder / LOCK, overwrite)
    options: dict[str, Any] = {"min_arcs": 5, "save_every_s": 0.0, "relations": ("det",)}
    made_up = replace(corpus(corpus_size), path=folder.parent / "made_up.tsv")
    own = corpora(made_up, part=part, block=block)
    engine = in_process(model, random_twin(model, seed=1))
    return Scan(model, own, Options(**(options | changes), output=output), engine, control=True)


def run(scan: Scan, *, resume: bool = False) -> list[Path]:
    """Scans from the beginning or from where a scan was stopped to the end."""
    scan.begin(resume=resume)
    list(scan.go_on())
    return scan.finish()
