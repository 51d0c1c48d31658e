"""Where the suites of a scan find its corpora: where they lie, or as copies beside the suites."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnprobe.core.errors import CorpusError, ResultsError
from attnprobe.results.files import write_bytes
from attnprobe.scan.facts import CorpusFacts

# The files that a case file can name, also with `.gz`.
_IN_SUITES = (".conllu", ".jsonl", ".tsv")
# A larger corpus is not copied.
LARGEST_COPY = 1 << 26


@dataclass(frozen=True)
class Sources:
    """The corpora of a scan, and the files that its suites name.

    A case file may name files of its project only, so a corpus that lies elsewhere is copied into
    the folder of the suites.

    Attributes:
        folder: of the suites; None where nothing is written.
        paths: the corpora.
        places: the file that stands for each, equal to its path where that lies in the project;
            None for a corpus that no suite can name.
    """

    folder: Path | None
    paths: tuple[Path, ...]
    places: tuple[Path | None, ...]

    @classmethod
    def of(cls, paths: Sequence[Path], folder: Path | None, root: Path | None) -> Sources:
        """The files of these corpora.

        Args:
            root: the root of runs of the suites; None leaves every corpus where it lies.
        """
        places: list[Path | None] = []
        for path in paths:
            place: Path | None = path
            elsewhere = root and not path.resolve().is_relative_to(root.resolve())
            if Path(path.name.removesuffix(".gz")).suffix not in _IN_SUITES or path.is_dir():
                place = None
            elif folder is not None and elsewhere:
                place = folder / path.name
                if place in places:
                    place = folder / f"{len(places) + 1}-{path.name}"
                if path.is_file() and path.stat().st_size > LARGEST_COPY:
                    place = None
            places.append(place)
        return cls(folder, tuple(paths), tuple(places))

    @property
    def names(self) -> list[str | None]:
        """The files as the suites name them: paths from their folder, with forward slashes."""
        folder = (self.folder or Path()).resolve()
        return [
            None if place is None else Path(os.path.relpath(place.resolve(), folder)).as_posix()
            for place in self.places
        ]

    def check(self, corpora: Sequence[CorpusFacts]) -> None:
        """Raises ResultsError where another file lies in the place of a copy."""
        for path, place, corpus in self._copied(corpora):
            if place.exists() and _sha256(place) != corpus.sha256:
                raise ResultsError(
                    f"{place}: another file than {path}, which a suite would need there; name "
                    "another folder with --output"
                )

    def copy(self, corpora: Sequence[CorpusFacts]) -> list[Path]:
        """Copies the corpora that lie outside of the project; the copies that were written.

        Raises:
            CorpusError: a corpus is another one than the one that was scanned.
        """
        written = []
        for path, place, corpus in self._copied(corpora):
            try:
                data = path.read_bytes()
            except OSError as error:
                raise CorpusError(f"{path}: cannot be copied: {error.strerror}") from None
            if hashlib.sha256(data).hexdigest() != corpus.sha256:
                raise CorpusError(f"{path}: has changed while it was scanned")
            write_bytes(place, data)
            written.append(place)
        return written

    def remarks(self) -> Iterator[str]:
        """Sentences about the corpora that get no suite."""
        for path, place in zip(self.paths, self.places, strict=True):
            if place is None:
                yield (
                    f"no suite for {path.as_posix()}: a case file names one file, .conllu, .jsonl "
                    "or .tsv, of its project; larger ones than 64 MB are not copied into it"
                )

    def _copied(self, corpora: Sequence[CorpusFacts]) -> Iterator[tuple[Path, Path, CorpusFacts]]:
        for path, place, corpus in zip(self.paths, self.places, corpora, strict=True):
            if place is not None and place != path:
                yield path, place, corpus


def _sha256(path: Path) -> str | None:
    """The hash of a file; None for what is no file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
