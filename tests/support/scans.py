"""Scans of tiny models over made-up sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from attnprobe.core.names import LOCK
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model
from attnprobe.models.twin import random_twin
from attnprobe.relations.corpus import Corpus
from attnprobe.relations.sentences import Arc, Sentence
from attnprobe.scan import files, streaming
from attnprobe.scan.session import Options, Scan
from attnprobe.scan.streaming import make_plan, scan_chunks
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


def corpus(count: int, **options: Any) -> Corpus:
    return Corpus("made up", sentences(count, **options), f"{count:064x}", ())


def tiny(architecture: str, **overrides: Any) -> Model:
    return Model.of(tiny_network(architecture, **overrides), tiny_tokenizer(), name="tiny")


def scanned(model: Model, one: Corpus, **options: Any) -> tuple[streaming.Plan, Tally]:
    plan = make_plan(model, [one], **options)
    heads = len(model.sites[plan.site].all_heads())
    tally = Tally.empty(len(plan.groups), heads)
    return plan, last(model, plan, tally)


def last(model: Model, plan: streaming.Plan, tally: Tally) -> Tally:
    """The tally of all sentences."""
    *_, (_, whole) = scan_chunks(model, plan, tally)
    return whole


def folder_of(path: Path) -> dict[str, bytes]:
    """Every file of a scan, without what differs between equal scans."""
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.suffix != ".lock":
            data = file.read_bytes()
            if file.name == files.RESULTS:
                whole = json.loads(data)
                del whole["duration_s"]
                data = json.dumps(whole).encode()
            found[str(file.relative_to(path))] = data
    return found


def tiny_scan(folder: Path, model: Model, *, corpus_size: int = 40, **changes: Any) -> Scan:
    path = folder.parent / "made_up.tsv"
    own = corpus(corpus_size)
    options: dict[str, Any] = {
        "output": folder,
        "lock": folder / LOCK,
        "min_arcs": 5,
        "save_every_s": 0.0,
        "relations": ("det",),
    }
    twin = random_twin(model, seed=1)
    return Scan(model, twin, [own], [path], Options(**(options | changes)))
