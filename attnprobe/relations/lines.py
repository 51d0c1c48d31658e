"""The lines of a text file, one after the other, plain or compressed with gzip."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from attnprobe.core.errors import CorpusError, Mark
from attnprobe.core.printing import clip

# A longer line is no sentence; a file of a few kilobytes can unfold to gigabytes of it.
LONGEST_LINE = 1 << 22
# A compressed file unfolds to so many bytes, or to so many times its own, whichever is more.
UNFOLDED_FREE = 1 << 21
UNFOLDED_TIMES = 200
GZIP = ".gz"


class Line(NamedTuple):
    """One line without its end, which is a line feed alone.

    Attributes:
        number: from 1.
        offset: of its first byte in the file, or in what gzip unfolds.
    """

    number: int
    offset: int
    text: str


class _Hashed(io.RawIOBase):
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._file.read(len(view))
        self.hash.update(data)
        view[: len(data)] = data
        return len(data)


class Lines:
    """One pass over the lines of a file.

    Attributes:
        sha256: hash of the bytes of the file as it lies on the disk; empty until a pass from the
            start has come to the end.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.sha256 = ""

    def read(self, *, number: int = 1, offset: int = 0) -> Iterator[Line]:
        """The lines from one on.

        Args:
            number, offset: those of the first line.

        Raises:
            CorpusError: the file cannot be read, is no text in UTF-8, has too long a line, or
                unfolds to more than a corpus does.
        """
        try:
            with open_regular(self.path, self.name) as raw:
                yield from self._read(raw, number, offset)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CorpusError(f"{self.name}: damaged gzip: {error}") from None
        except OSError as error:
            raise unreadable(self.name, error) from None

    def _read(self, raw: BinaryIO, number: int, offset: int) -> Iterator[Line]:
        compressed = self.path.suffix == GZIP
        whole = offset == 0
        if not (whole or compressed):
            raw.seek(offset)
        hashed = _Hashed(raw)
        file = cast(BinaryIO, io.BufferedReader(hashed, 1 << 16))
        if compressed:
            file = cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
            file.seek(offset)
        size = os.fstat(raw.fileno()).st_size
        while data := file.readline(LONGEST_LINE + 1):
            if len(data) > LONGEST_LINE:
                raise CorpusError(
                    f"a line of more than {LONGEST_LINE:,} bytes", Mark(self.name, number, 1)
                )
            yield Line(number, offset, self._decoded(data, number, offset))
            number += 1
            offset += len(data)
            if compressed:
                check_unfolded(self.name, offset, size)
        if whole:
            self.sha256 = hashed.hash.hexdigest()

    def _decoded(self, data: bytes, number: int, offset: int) -> str:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            at = error.start
            raise CorpusError(
                f"not UTF-8: byte {offset + at} is 0x{data[at]:02X}; save it as UTF-8",
                Mark(self.name, number, 1),
            ) from None
        if offset == 0:
            text = text.removeprefix("\ufeff")
        if "\0" in text:
            raise CorpusError(
                f"a NUL character at {text.index(chr(0))}; is this a text file?",
                Mark(self.name, number, 1),
            )
        return text.removesuffix("\n").removesuffix("\r")


def check_unfolded(name: str, unfolded: int, size: int) -> None:
    """Refuses a small file that unfolds to a large one.

    Args:
        unfolded, size: bytes of what was compressed, and of the file.

    Raises:
        CorpusError: the file unfolds to far more than text does.
    """
    if unfolded > max(UNFOLDED_FREE, UNFOLDED_TIMES * size):
        raise CorpusError(
            f"{name}: a file of {size:,} bytes that unfolds to more than {UNFOLDED_TIMES} times "
            f"as many, and to more than {UNFOLDED_FREE >> 20} MB; write it without compression"
        )


def open_regular(path: Path, name: str) -> BinaryIO:
    """The file for reading; what is no regular file is refused.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        mode = path.stat().st_mode
        # A FIFO would be waited for, and a device may have no end.
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CorpusError(f"{name}: is no file")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from None


def unreadable(name: str, error: Exception) -> CorpusError:
    """The error for a file that the system refuses."""
    reason = getattr(error, "strerror", None) or error
    return CorpusError(f"{clip(name, 200)}: cannot be read: {reason}")
