"""Sentences of a file, block after block, with the memory of one block.

The suffix of a file gives its format: `.conllu` is a treebank (Universal Dependencies and its
variant SUD); `.jsonl`, `.tsv` and `.parquet` have pairs of character spans, for relations that no
treebank has. All but the last can be compressed with gzip (`.jsonl.gz`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from attnprobe.core.errors import CorpusError, Mark
from attnprobe.core.printing import visible
from attnprobe.relations.labelled_spans import labelled_sentence, read_jsonl, read_tsv
from attnprobe.relations.lines import GZIP, LONGEST_LINE, Line, Lines, unreadable
from attnprobe.relations.parquet import read_rows
from attnprobe.relations.sentences import CorpusFile, Sentence, made_id
from attnprobe.relations.treebank import read_treebank

LONGEST_LABEL = 200
# The rows of a sentence can stand anywhere in a .tsv file, so it is read whole.
LARGEST_TSV = 1 << 26
# The lines of a sentence; without a bound, a treebank without empty lines would be held whole.
MOST_LINES = 20_000
# So many sentences of a file are checked for ids that stand twice.
IDS_CHECKED = 100_000
TEXT_FORMATS = (".conllu", ".jsonl", ".tsv")
PARQUET = ".parquet"


class Position(NamedTuple):
    """Where a block starts.

    Attributes:
        block: its number in the file, from 0.
        sentence: how many sentences of the file come before it.
        line: its first line or row, from 1.
        offset: the first byte of that line, in what gzip unfolds; of a row, 0.
    """

    block: int
    sentence: int
    line: int
    offset: int


START = Position(0, 0, 1, 0)


@dataclass(frozen=True)
class Block:
    """Consecutive sentences of one file.

    Attributes:
        counts: what the notes on the file report, for these sentences.
    """

    position: Position
    sentences: tuple[Sentence, ...]
    counts: Mapping[str, int]


def every(number: int) -> bool:
    """Whether a block is wanted: each one is."""
    return True


def corpus_files(path: Path, name: str) -> list[tuple[Path, str]]:
    """The files of a corpus and their names: the file itself, or those of a folder, sorted.

    Raises:
        CorpusError: a file has another suffix, or a folder has no file that can be read.
    """
    known = (*TEXT_FORMATS, *(f"{suffix}{GZIP}" for suffix in TEXT_FORMATS), PARQUET)
    try:
        found = _files_below(path) if path.is_dir() else None
    except OSError as error:  # a name that is too long
        raise unreadable(name, error) from None
    if found is None:
        if not path.name.endswith(known):
            raise CorpusError(f"{name}: a corpus ends in {', '.join((*TEXT_FORMATS, PARQUET))}")
        return [(path, name)]
    files = [(path / file, f"{name}/{file}") for file in found if file.endswith(known)]
    if not files:
        raise CorpusError(f"{name}: no file in this folder ends in {', '.join(known)}")
    return files


def _files_below(folder: Path) -> list[str]:
    """The files in a folder and its folders, sorted."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file.relative_to(folder).as_posix() for file in files)


class CorpusStream:
    """A file of sentences.

    Attributes:
        name: in messages.
        total: number of sentences; 0 until a pass from the start has come to the end.
        sha256: hash of the bytes of the file; empty until then.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.total = 0
        self.sha256 = ""
        self._suffix = Path(path.name.removesuffix(GZIP)).suffix

    def digest(self) -> str:
        """The hash of the bytes of the file as it is now; empty where it is no longer there."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""

    def blocks(
        self, size: int, *, wanted: Callable[[int], bool] = every, start: Position = START
    ) -> Iterator[Block]:
        """The wanted blocks, in order; the sentences of others are counted and not parsed.

        Args:
            size: sentences of a block; the last one can have fewer.
            wanted: whether the block with this number is wanted.
            start: a position that was found with the same size.

        Raises:
            CorpusError: the file cannot be read, or has an error in a wanted block; the message
                names file and line.
        """
        reading = _Reading(self, size, wanted, start, check_ids=wanted is every and start == START)
        yield from reading.blocks()
        if start == START:
            self.total = reading.sentence
            self.sha256 = reading.sha256 or self.digest()


@dataclass
class _Reading:
    """One pass over a file.

    Attributes:
        sentence: the sentences so far.
        sha256: of the file, if the pass has seen all of its bytes.
    """

    stream: CorpusStream
    size: int
    wanted: Callable[[int], bool]
    start: Position
    check_ids: bool
    sha256: str = ""
    lines_of_ids: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sentence = self.start.sentence

    def blocks(self) -> Iterator[Block]:
        suffix = self.stream._suffix
        if suffix == PARQUET:
            yield from self._of_rows()
        elif suffix == ".tsv":
            yield from self._of_table()
        else:
            yield from self._of_text(_trees if suffix == ".conllu" else _lines)

    def _of_text(
        self, split: Callable[[Iterator[Line], str], Iterator[list[Line]]]
    ) -> Iterator[Block]:
        """Blocks of a text whose sentences are told apart without parsing them."""
        lines = Lines(self.stream.path, self.stream.name)
        parse = read_treebank if split is _trees else read_jsonl
        held: list[list[Line]] = []
        position = self.start
        read = lines.read(number=self.start.line, offset=self.start.offset)
        for sentence in split(read, self.stream.name):
            if self.sentence - position.sentence == self.size:
                yield from self._block(position, held, parse)
                held = []
                position = position._replace(block=position.block + 1, sentence=self.sentence)
            if self.sentence == position.sentence:
                position = position._replace(line=sentence[0].number, offset=sentence[0].offset)
            if self.wanted(position.block):
                held.append(sentence)
            self.sentence += 1
        yield from self._block(position, held, parse)
        self.sha256 = lines.sha256

    def _block(
        self,
        position: Position,
        held: Sequence[Sequence[Line]],
        parse: Callable[[CorpusFile], Iterator[Sentence]],
    ) -> Iterator[Block]:
        if held:
            lines = [(line.number, line.text) for sentence in held for line in sentence]
            file = CorpusFile(self.stream.name, lines)
            yield self._checked(position, tuple(parse(file)), file)

    def _of_rows(self) -> Iterator[Block]:
        """Blocks of rows, each of which is a sentence."""
        file = CorpusFile(self.stream.name, ())
        position = self.start
        found: list[Sentence] = []
        for row in read_rows(self.stream.path, self.stream.name, start=self.start.sentence):
            if self.sentence - position.sentence == self.size:
                if found:
                    yield self._checked(position, tuple(found), file)
                file, found = CorpusFile(self.stream.name, ()), []
                position = Position(position.block + 1, self.sentence, self.sentence + 1, 0)
            self.sentence += 1
            if self.wanted(position.block):
                found.append(labelled_sentence(row(), self.sentence, file))
        if found:
            yield self._checked(position, tuple(found), file)

    def _of_table(self) -> Iterator[Block]:
        """Blocks of a table, whose rows of one sentence may stand anywhere."""
        lines = Lines(self.stream.path, self.stream.name)
        rows: list[tuple[int, str]] = []
        for line in lines.read():
            if line.offset > LARGEST_TSV:
                raise CorpusError(
                    f"{self.stream.name}: a .tsv file has at most {LARGEST_TSV >> 20} MB, since it "
                    "is read whole; write the JSONL form"
                )
            rows.append((line.number, line.text))
        sentences = list(read_tsv(CorpusFile(self.stream.name, rows)))
        for first in range(self.start.sentence, len(sentences), self.size):
            found = tuple(sentences[first : first + self.size])
            self.sentence = first + len(found)
            position = Position(first // self.size, first, found[0].line, 0)
            if self.wanted(position.block):
                yield self._checked(position, found, CorpusFile(self.stream.name, ()))
        self.sha256 = lines.sha256

    def _checked(
        self, position: Position, sentences: tuple[Sentence, ...], file: CorpusFile
    ) -> Block:
        for sentence in sentences:
            file.counts["bare"] += not sentence.arcs
            if any(len(arc.relation) > LONGEST_LABEL for arc in sentence.arcs):
                raise file.wrong(
                    f"a relation of this sentence has more than {LONGEST_LABEL} characters",
                    sentence.line,
                )
            self._check_id(sentence, file)
        return Block(position, sentences, +file.counts)

    def _check_id(self, sentence: Sentence, file: CorpusFile) -> None:
        # A made id may repeat: equal texts share it by intention.
        if not self.check_ids or sentence.id == made_id(sentence.sample):
            return
        if len(self.lines_of_ids) >= IDS_CHECKED:
            return
        key = hashlib.blake2b(sentence.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        earlier = self.lines_of_ids.setdefault(int.from_bytes(key), sentence.line)
        if earlier != sentence.line:
            raise file.wrong(
                f"the id {visible(sentence.id)!r} stands in line {earlier} already; "
                "each sentence needs its own id",
                sentence.line,
            )


def _trees(lines: Iterator[Line], name: str) -> Iterator[list[Line]]:
    """The lines of each sentence of a treebank, which empty lines part.

    Raises:
        CorpusError: a sentence has no end.
    """
    block: list[Line] = []
    for line in lines:
        if line.text.strip():
            block.append(line)
            if len(block) > MOST_LINES or line.offset - block[0].offset > LONGEST_LINE:
                raise CorpusError(
                    f"a sentence of more than {MOST_LINES:,} lines or {LONGEST_LINE:,} bytes; an "
                    "empty line ends one",
                    Mark(name, block[0].number, 1),
                )
        elif block:
            if not all(one.text.startswith("#") for one in block):
                yield [*block, line]
            block = []
    if block and not all(one.text.startswith("#") for one in block):
        yield block


def _lines(lines: Iterator[Line], name: str) -> Iterator[list[Line]]:
    """Each line that is not empty."""
    return ([line] for line in lines if line.text.strip())
