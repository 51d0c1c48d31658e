"""Named arrays as the bytes of an `.npz` file, and back."""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

# A file of counts unfolds to so many bytes, or to so many times its own, whichever is more.
UNFOLDED_FREE = 1 << 28
UNFOLDED_TIMES = 200
# What zipfile, zlib and numpy say of damaged files.
_DAMAGE = (
    *(ValueError, KeyError, TypeError, OverflowError, EOFError, OSError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, struct.error),
)


def pack(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Named arrays as the bytes of a compressed `.npz` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def unpack(data: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The named arrays of an `.npz` file; pickled objects are refused.

    Raises:
        ValueError: the file is damaged, or a small one that unfolds to a large one.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > max(
                UNFOLDED_FREE, UNFOLDED_TIMES * len(data)
            ):
                raise ValueError("it unfolds to more than counts do")
            for member in members:
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{member.filename[:80]!r} is compressed in another way")
                yield member.filename.removesuffix(".npy"), _array(archive.read(member))
    except _DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _array(data: bytes) -> npt.NDArray[Any]:
    """The array in the bytes of an `.npy` file."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another version")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    size = len(data) - file.tell()
    # Compared before anything is made of that size.
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != size or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {str(shape)[:80]} has {size} bytes")
    if not size:
        return np.zeros(shape, dtype)
    found = np.frombuffer(data, dtype, offset=file.tell())
    return found.reshape(shape, order="F" if by_columns else "C")
