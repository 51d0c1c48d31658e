"""Where the suites of a scan find its corpora: where they lie, or as copies beside the suites."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnprobe.core.errors import CorpusError, ResultsError
from attnprobe.relations.corpus import Corpus
from attnprobe.results.files import write_bytes


@dataclass(frozen=True)
class Sources:
    """The corpora of a scan, and the files that its suites name.

    A case file may name files of its project only, so a corpus that lies elsewhere is copied into
    the folder of the suites.

    Attributes:
        folder: of the suites; None where nothing is written.
        paths: the corpora.
        places: the file that stands for each; equal to its path where that lies in the project.
    """

    folder: Path | None
    paths: tuple[Path, ...]
    places: tuple[Path, ...]

    @classmethod
    def of(cls, paths: Sequence[Path], folder: Path | None, root: Path | None) -> Sources:
        """The files of these corpora.

        Args:
            root: the root of runs of the suites; None leaves every corpus where it lies.
        """
        if folder is None or root is None:
            return cls(folder, tuple(paths), tuple(paths))
        places: list[Path] = []
        for path in paths:
            place = path
            if not path.resolve().is_relative_to(root.resolve()):
                place = folder / path.name
                if place in places:
                    place = folder / f"{len(places) + 1}-{path.name}"
            places.append(place)
        return cls(folder, tuple(paths), tuple(places))

    @property
    def names(self) -> list[str]:
        """The files as the suites name them: paths from their folder, with forward slashes."""
        folder = (self.folder or Path()).resolve()
        return [Path(os.path.relpath(place.resolve(), folder)).as_posix() for place in self.places]

    def check(self, corpora: Sequence[Corpus]) -> None:
        """Raises ResultsError where another file lies in the place of a copy."""
        for path, place, corpus in self._copied(corpora):
            if place.exists() and _sha256(place) != corpus.sha256:
                raise ResultsError(
                    f"{place}: another file than {path}, which a suite would need there; name "
                    "another folder with --output"
                )

    def copy(self, corpora: Sequence[Corpus]) -> list[Path]:
        """Copies the corpora that lie outside of the project; the copies that were written.

        Raises:
            CorpusError: a corpus is another one than at the start of the scan.
        """
        written = []
        for path, place, corpus in self._copied(corpora):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != corpus.sha256:
                raise CorpusError(f"{path}: has changed while it was scanned")
            write_bytes(place, data)
            written.append(place)
        return written

    def _copied(self, corpora: Sequence[Corpus]) -> list[tuple[Path, Path, Corpus]]:
        entries = zip(self.paths, self.places, corpora, strict=True)
        return [entry for entry in entries if entry[0] != entry[1]]


def _sha256(path: Path) -> str | None:
    """The hash of a file; None for what is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
