"""A cache of pictures: drawing is the slowest part of a report, and most pictures stay the same.

The name of a cached picture is a digest of all that it is drawn from and of the drawing code. So a
cached picture equals the one that would be drawn.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

import attnprobe.render

# The most pictures in the folder; the oldest are deleted first.
MOST = 4000


class Album:
    """A folder of SVG documents.

    Args:
        folder: the folder of the cache; None to cache nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def picture(self, draw: Callable[[], str], *facts: object) -> str:
        """The SVG document that `draw` makes, from the cache if it is there.

        Args:
            draw: makes the document from the facts.
            facts: all that the picture depends on: strings, numbers, arrays, and tuples and
                dataclasses of them.
        """
        if self._folder is None:
            return draw()
        digest = hashlib.sha256(drawing_code())
        for part in _parts(facts):
            digest.update(len(part).to_bytes(8, "big") + part)
        path = self._folder / f"{digest.hexdigest()}.svg"
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            svg = draw()
            self._store(path, svg)
            return svg

    def _store(self, path: Path, svg: str) -> None:
        # Workers of pytest-xdist share the folder, so a file gets its final name when it is whole.
        scratch = path.with_suffix(f".{os.getpid()}")
        try:
            scratch.write_text(svg, encoding="utf-8")
            scratch.replace(path)
        except OSError:
            scratch.unlink(missing_ok=True)

    def trim(self) -> None:
        """Deletes the oldest pictures beyond `MOST`."""
        if self._folder is None:
            return
        pictures = sorted(self._folder.glob("*.svg"), key=lambda path: path.stat().st_mtime)
        for path in pictures[:-MOST]:
            path.unlink(missing_ok=True)


def _parts(fact: object) -> Iterator[bytes]:
    """The types and values of a fact as bytes, in a fixed order."""
    yield type(fact).__name__.encode()
    if isinstance(fact, np.ndarray):
        yield f"{fact.dtype}{fact.shape}".encode()
        yield np.ascontiguousarray(fact).tobytes()
    elif dataclasses.is_dataclass(fact):
        for field in dataclasses.fields(fact):
            yield from _parts(getattr(fact, field.name))
    elif isinstance(fact, tuple):
        yield str(len(fact)).encode()
        for part in fact:
            yield from _parts(part)
    else:
        yield repr(fact).encode()


@functools.cache
def drawing_code() -> bytes:
    """A digest of the drawing code: the modules of `render` and the version of matplotlib."""
    digest = hashlib.sha256(metadata.version("matplotlib").encode())
    for folder in attnprobe.render.__path__:
        for file in sorted(Path(folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.digest()
