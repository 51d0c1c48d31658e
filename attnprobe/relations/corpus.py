"""Corpora: sentences with labelled relations between their words."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from attnprobe.core.errors import CorpusError, Mark
from attnprobe.core.names import PACKAGE, file_in_package
from attnprobe.relations.sentences import Sentence, corpus_notes
from attnprobe.relations.stream import CorpusStream, corpus_files

# Sentences that are parsed together; the corpus does not depend on it.
_BLOCK = 256


@dataclass(frozen=True)
class Corpus:
    """A file of sentences.

    Attributes:
        name: the file's name in messages and results.
        sha256: hash of the file's bytes.
        notes: remarks for the user: what of the file is left out, and how the rest is read.
    """

    name: str
    sentences: tuple[Sentence, ...]
    sha256: str
    notes: tuple[str, ...]


def locate_corpus(ref: str) -> Path:
    """The file of a path or of `pkg://package/path`, such as `pkg://attnprobe/data/english.conllu`.

    Raises:
        CorpusError: there is no such package, or no such file in it.
    """
    return file_in_package(ref, CorpusError) if ref.startswith(PACKAGE) else Path(ref)


def read_corpus(path: Path, name: str | None = None) -> Corpus:
    """Reads a corpus file as a whole.

    Args:
        name: the file's name in messages and results; by default the path.

    Raises:
        CorpusError: the file cannot be read or has an error; the message names file and line.
    """
    name = path.as_posix() if name is None else name
    ((path, name), *others) = corpus_files(path, name)
    if others:
        raise CorpusError(f"{name}: is a folder; name a file")
    stream = CorpusStream(path, name)
    sentences: list[Sentence] = []
    counts: Counter[str] = Counter()
    for block in stream.blocks(_BLOCK):
        sentences += block.sentences
        counts.update(block.counts)
    if not any(sentence.arcs for sentence in sentences):
        raise without_arcs(name)
    return Corpus(name, tuple(sentences), stream.sha256, corpus_notes(counts))


def without_arcs(name: str) -> CorpusError:
    """The error for a corpus in which nothing can be measured."""
    return CorpusError("this file has no relation between two words", Mark(name, 1, 1))


def halves(ids: Sequence[str], *, seed: int) -> npt.NDArray[np.bool_]:
    """Splits sentences in two halves by their ids.

    The halves depend on the ids and the seed, not on the order of the ids. Equal ids are in the
    same half. If the number of ids is odd, the half to judge on has one more.

    Returns:
        `[ids]`: True for a sentence to judge on, False for one to choose a head on.
    """

    def order(sentence_id: str) -> tuple[bytes, str]:
        key = f"{seed}\0{sentence_id}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(key).digest(), sentence_id

    ordered = sorted(set(ids), key=order)
    judged = set(ordered[len(ordered) // 2 :])
    return np.array([sentence_id in judged for sentence_id in ids], dtype=np.bool_)
