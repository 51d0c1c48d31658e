"""Corpora: sentences with labelled relations between their words.

The suffix of a file gives its format: `.conllu` is a treebank (Universal Dependencies and its
variant SUD); `.jsonl` and `.tsv` have pairs of character spans, for relations that no treebank has.
The whole file is read at once, because its text is small compared with the attention on it.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from attnprobe.core.errors import CorpusError, Mark
from attnprobe.core.names import PACKAGE, file_in_package
from attnprobe.core.printing import clip, visible
from attnprobe.relations.labelled_spans import read_jsonl, read_tsv
from attnprobe.relations.sentences import CorpusFile, Sentence, made_id
from attnprobe.relations.treebank import read_treebank

LONGEST_LABEL = 200


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
    """Reads a corpus file.

    Args:
        name: the file's name in messages and results; by default the path.

    Raises:
        CorpusError: the file cannot be read or has an error; the message names file and line.
    """
    name = path.as_posix() if name is None else name
    readers: dict[str, Callable[[CorpusFile], Iterator[Sentence]]] = {
        ".conllu": read_treebank,
        ".jsonl": read_jsonl,
        ".tsv": read_tsv,
    }
    if path.suffix not in readers:
        raise CorpusError(f"{name}: a corpus ends in {', '.join(readers)}")
    data = _read(path, name)
    file = CorpusFile(name, _decoded(data, name))
    sentences = tuple(readers[path.suffix](file))
    _check_ids(sentences, file)
    _check_labels(sentences, file)
    if not any(sentence.arcs for sentence in sentences):
        raise CorpusError("this file has no relation between two words", Mark(name, 1, 1))
    return Corpus(name, sentences, hashlib.sha256(data).hexdigest(), file.notes())


def _read(path: Path, name: str) -> bytes:
    try:
        mode = path.stat().st_mode
        # A FIFO would be waited for, and a device may have no end.
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CorpusError(f"{name}: is no file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{clip(name, 200)}: cannot be read: {reason}") from None


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


def _decoded(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: byte {error.start} is 0x{data[error.start]:02X}; save it as UTF-8"
        raise CorpusError(message, Mark(name, line, 1)) from None
    if "\0" in text:
        at = text.index("\0")
        raise CorpusError(
            f"a NUL character at {at}; is this a text file?",
            Mark(name, text.count("\n", 0, at) + 1, 1),
        )
    return text


def _check_ids(sentences: Sequence[Sentence], file: CorpusFile) -> None:
    first: dict[str, Sentence] = {}
    for sentence in sentences:
        if not sentence.arcs:
            file.counts["bare"] += 1
        earlier = first.setdefault(sentence.id, sentence)
        # A made id may repeat: equal texts share it by intention.
        if earlier is not sentence and sentence.id != made_id(sentence.sample):
            raise file.wrong(
                f"the id {visible(sentence.id)!r} stands in line {earlier.line} already; "
                "each sentence needs its own id",
                sentence.line,
            )


def _check_labels(sentences: Sequence[Sentence], file: CorpusFile) -> None:
    for sentence in sentences:
        if any(len(arc.relation) > LONGEST_LABEL for arc in sentence.arcs):
            raise file.wrong(
                f"a relation of this sentence has more than {LONGEST_LABEL} characters",
                sentence.line,
            )
