"""Pictures kept from run to run: drawing is the slowest part of a report, mostly the same again.

A picture is known by all that it is drawn from, so a kept one is the one that would be drawn.
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

MOST = 4000  # pictures; the oldest go first


class Album:
    """Keeps SVG documents in a folder.

    Args:
        folder: None to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def picture(self, draw: Callable[[], str], *facts: object) -> str:
        """What `draw` draws from these facts: strings, numbers, arrays, and records of them."""
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
            self._keep(path, svg)
            return svg

    def _keep(self, path: Path, svg: str) -> None:
        # Under its final name only when whole: workers of pytest-xdist share the folder.
        scratch = path.with_suffix(f".{os.getpid()}")
        try:
            scratch.write_text(svg, encoding="utf-8")
            scratch.replace(path)
        except OSError:
            scratch.unlink(missing_ok=True)

    def trim(self) -> None:
        """Lets the oldest pictures go where there are too many."""
        if self._folder is None:
            return
        kept = sorted(self._folder.glob("*.svg"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-MOST]:
            path.unlink(missing_ok=True)


def _parts(fact: object) -> Iterator[bytes]:
    """All that a fact holds, in a fixed order, types included."""
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
    """A digest of what draws: our own modules and the version of matplotlib."""
    digest = hashlib.sha256(metadata.version("matplotlib").encode())
    for folder in attnprobe.render.__path__:
        for file in sorted(Path(folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.digest()
