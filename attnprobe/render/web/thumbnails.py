"""Small pictures of heads: indexed PNG images, which need no script and no style sheet."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from attnprobe.core.arrays import Floats
from attnprobe.render.palette import SEQUENTIAL, ramp

# Two pixels share a byte, so a pixel is one of 16 colours.
LEVELS = 16
# Sinks are drawn paler than the words, as in a map.
_MUTED = 0.4


def thumbnail(weights: Floats, scale: float, *, sinks: Sequence[int] = ()) -> str:
    """A data URL with the picture of a map, a pixel a cell.

    Args:
        weights: `[target, source]`; a cell that is NaN is transparent, as is 0.
        scale: the weight of the strongest colour.
        sinks: source positions that are drawn muted.
    """
    shares = np.clip(np.nan_to_num(weights) / scale, 0, 1)
    shares[:, list(sinks)] *= _MUTED
    levels = np.rint(shares * (LEVELS - 1)).astype(np.uint8)
    return f"data:image/png;base64,{base64.b64encode(_png(levels)).decode()}"


def _png(levels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """An indexed PNG of 4 bits a pixel (ISO/IEC 15948)."""
    height, width = levels.shape
    if width % 2:
        levels = np.pad(levels, ((0, 0), (0, 1)))
    rows = (levels[:, ::2] << 4) | levels[:, 1::2]
    lines = np.pad(rows, ((0, 0), (1, 0)))  # each line begins with its filter: none
    size = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", size),
            _palette(),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@cache
def _palette() -> bytes:
    """The light steps of a map; the first is transparent. A dark page inverts the picture."""
    colours = ramp(SEQUENTIAL["light"], LEVELS)
    channels = b"".join(bytes.fromhex(colour.removeprefix("#")) for colour in colours)
    return _chunk(b"PLTE", channels) + _chunk(b"tRNS", b"\0")
