"""The corpora of a scan, as numbered blocks of sentences that are read when they are needed.

A block has a fixed number of consecutive sentences of one file. Whoever reads the corpora numbers
the blocks alike, so that processes can share them out. A first pass checks the files, counts their
sentences and finds where the blocks start; it keeps no sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from attnprobe.core.errors import CorpusError
from attnprobe.core.parts import WHOLE, Part
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import SiteName
from attnprobe.relations.corpus import without_arcs
from attnprobe.relations.labels import matches, relation_names
from attnprobe.relations.sentences import Sentence, corpus_notes
from attnprobe.relations.stream import Block, Position, every

# The sentences of a block. Batches are formed inside a block, so figures depend on it.
BLOCK = 256


class Stream(Protocol):
    """A file of sentences that is read from its start or from the start of a block.

    Attributes:
        total, sha256: number of sentences and hash of the bytes, after a pass from the start.
    """

    @property
    def name(self) -> str: ...

    @property
    def total(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    def blocks(
        self, size: int, *, wanted: Callable[[int], bool] = ..., start: Position = ...
    ) -> Iterator[Block]: ...

    def digest(self) -> str:
        """The hash of the bytes as the file lies now."""


class ScanBlock(NamedTuple):
    """One block.

    Attributes:
        number: among the blocks of all files.
        corpus, file: the numbers of its corpus, and of its file among all files.
        first: number of its first sentence in the file.
        notes: the counts of what the notes on the corpus report.
    """

    number: int
    corpus: int
    file: int
    first: int
    sentences: tuple[Sentence, ...]
    notes: Mapping[str, int]


class ScanFile(NamedTuple):
    """What the first pass finds of a file.

    Attributes:
        corpus: number of its corpus.
        first_block: number of its first block among all.
        blocks: number of its blocks.
    """

    name: str
    corpus: int
    sentences: int
    sha256: str
    first_block: int
    blocks: int


class CorpusRef(NamedTuple):
    """One corpus as it was named: a file, or the files of a folder."""

    name: str
    path: Path
    streams: Sequence[Stream]


@dataclass
class Corpora:
    """The corpora of a scan after the first pass.

    Attributes:
        part: the part of all blocks that is scanned; the sentences of other parts are counted, not
            parsed.
        block: the sentences of a block.
        labels: the number of arcs with each label, in this part.
        notes: for each corpus, the counts of what its notes report, in this part.
        positions: where each block of this part starts in its file.
        with_target, without_target: the first sentence of each kind, as `name:line`.
    """

    refs: tuple[CorpusRef, ...]
    part: Part
    block: int
    files: tuple[ScanFile, ...] = ()
    labels: Counter[str] = field(default_factory=Counter)
    notes: tuple[Counter[str], ...] = ()
    positions: dict[int, Position] = field(default_factory=dict)
    with_target: str | None = None
    without_target: str | None = None

    @classmethod
    def inspect(
        cls, refs: Sequence[CorpusRef], part: Part = WHOLE, *, block: int = BLOCK
    ) -> Corpora:
        """The first pass over all files.

        Raises:
            CorpusError: a file cannot be read, or has an error in a sentence of this part.
        """
        found = cls(tuple(refs), part, block, notes=tuple(Counter[str]() for _ in refs))
        first = 0
        for corpus, ref in enumerate(refs):
            arcs = found.labels.total()
            for stream in ref.streams:
                found._look_at(stream, corpus, first)
                count = -(-stream.total // block)
                file = ScanFile(stream.name, corpus, stream.total, stream.sha256, first, count)
                found.files = (*found.files, file)
                first += count
            if part.whole and found.labels.total() == arcs:
                raise without_arcs(ref.name)
        return found

    def _look_at(self, stream: Stream, corpus: int, first: int) -> None:
        def held(number: int) -> bool:
            return self.part.holds(first + number)

        for block in stream.blocks(self.block, wanted=every if self.part.whole else held):
            self.positions[first + block.position.block] = block.position
            self.notes[corpus].update(block.counts)
            for sentence in block.sentences:
                self.labels.update(arc.relation for arc in sentence.arcs)
                where = f"{stream.name}:{sentence.line}"
                if sentence.sample.target is None:
                    self.without_target = self.without_target or where
                else:
                    self.with_target = self.with_target or where

    @property
    def streams(self) -> Iterator[Stream]:
        """Every file, in order."""
        return (stream for ref in self.refs for stream in ref.streams)

    def due(self, wanted: Callable[[int], bool]) -> Iterator[FileBlocks]:
        """The wanted blocks of this part, file by file, in order."""
        for place, (file, stream) in enumerate(zip(self.files, self.streams, strict=True)):
            numbers = range(file.first_block, file.first_block + file.blocks)
            positions = {
                number: self.positions[number]
                for number in numbers
                if self.part.holds(number) and wanted(number)
            }
            if positions:
                yield FileBlocks(stream, file, place, self.block, positions)

    def check_unchanged(self) -> None:
        """Raises CorpusError where a file is another one than in the first pass."""
        for file, stream in zip(self.files, self.streams, strict=True):
            if stream.digest() != file.sha256:
                raise _changed(file.name)

    def check_relations(self, names: Sequence[str]) -> None:
        """Raises CorpusError for a relation that no arc has."""
        known = relation_names(self.labels)
        for name in names:
            if not any(matches(relation, name) for relation in known):
                raise CorpusError(f"no arc has the relation {name!r}; {did_you_mean(name, known)}")

    def check_fit(self, site: SiteName) -> None:
        """Raises CorpusError for a sentence with a target at a site of one text, or without one."""
        expected, found, where = "a target", "none", self.without_target
        if site != "cross":
            expected, found, where = "no target", "one", self.with_target
        if where is not None:
            raise CorpusError(
                f"{where}: at the {site} site a sentence has {expected}, and this one has {found}; "
                "name another --site or corpus"
            )

    def notes_on(self, corpus: int) -> tuple[str, ...]:
        """The remarks on how a corpus is read."""
        return corpus_notes(self.notes[corpus])


@dataclass(frozen=True)
class FileBlocks:
    """Some blocks of one file, which another process can read as well.

    Attributes:
        place: number of the file among all.
        size: the sentences of a block.
        positions: where each block starts, in order.
    """

    stream: Stream
    file: ScanFile
    place: int
    size: int
    positions: Mapping[int, Position]

    def read(self) -> Iterator[ScanBlock]:
        """The blocks, in order.

        Raises:
            CorpusError: the file has changed since the first pass.
        """
        first, left = self.file.first_block, len(self.positions)
        start = next(iter(self.positions.values()))
        for block in self.stream.blocks(
            self.size, wanted=lambda at: first + at in self.positions, start=start
        ):
            number = first + block.position.block
            if block.position != self.positions[number]:
                break
            yield ScanBlock(
                *(number, self.file.corpus, self.place, block.position.sentence),
                *(block.sentences, block.counts),
            )
            left -= 1
            if not left:
                return
        raise _changed(self.file.name)


def _changed(name: str) -> CorpusError:
    return CorpusError(f"{name}: has changed while it was scanned")
