"""Small pictures of heads: indexed PNG images, which need no script and no style sheet."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

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


class Sheet(NamedTuple):
    """A PNG of several pictures side by side, in base64 without its palette.

    The picture in a theme's colours is `head`, the palette of `theme_palette`, and `tail`.
    """

    head: str
    tail: str


def sheet(pictures: Sequence[Floats], columns: int) -> Sheet:
    """Pictures of one size, filled in row by row.

    Args:
        pictures: `[height, width]` each, shares of the strongest colour from 0 to 1.
    """
    height, width = pictures[0].shape
    rows = -(-len(pictures) // columns)
    shares = np.zeros((rows * columns, height, width), np.float32)
    shares[: len(pictures)] = pictures
    side_by_side = shares.reshape(rows, columns, height, width).swapaxes(1, 2)
    levels = np.rint(side_by_side * (LEVELS - 1)).astype(np.uint8)
    head, tail = _png_parts(levels.reshape(rows * height, columns * width))
    # The head and a palette fill whole groups of base64, so texts can be joined.
    return Sheet(base64.b64encode(head).decode(), base64.b64encode(tail).decode())


def theme_palette(theme: str) -> str:
    """The palette of a sheet in base64, as a part of a PNG."""
    colours = ramp(SEQUENTIAL[theme], LEVELS)
    return base64.b64encode(_colour_chunk(colours)).decode()


def _png(levels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    head, tail = _png_parts(levels)
    return head + _palette() + tail


def _png_parts(levels: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[bytes, bytes]:
    """What stands before and after the palette of a PNG with 4 bits a pixel (ISO/IEC 15948)."""
    height, width = levels.shape
    if width % 2:
        levels = np.pad(levels, ((0, 0), (0, 1)))
    rows = (levels[:, ::2] << 4) | levels[:, 1::2]
    lines = np.pad(rows, ((0, 0), (1, 0)))  # each line begins with its filter: none
    size = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    data = _chunk(b"IDAT", zlib.compress(lines.tobytes(), 6))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", size), data + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@cache
def _palette() -> bytes:
    """The light steps of a map; the first is transparent. A dark page inverts the picture."""
    return _colour_chunk(ramp(SEQUENTIAL["light"], LEVELS)) + _chunk(b"tRNS", b"\0")


def _colour_chunk(colours: Sequence[str]) -> bytes:
    channels = b"".join(bytes.fromhex(colour.removeprefix("#")) for colour in colours)
    return _chunk(b"PLTE", channels)
