"""The grammars of files that hold compressed values: gzip, Parquet, numpy's archives, folders."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import struct
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from tests.fuzz.grammars import JSON, Grammar

# Compressed bytes are damaged more often than text, most of whose damages are of its values.
_GARBLES = (0, 0, 0, 0, 0, 1, 1, 2, 4)
# A file is unfolded to at most so many bytes while it is made.
_MOST_BYTES = 1 << 24


def _whole(value: Any, most: int) -> int:
    """A number from 0 to `most`."""
    return min(max(int(value), 0), most)


def cell(value: Any) -> bytes:
    """Bytes as they stand in a tree: a text of latin-1."""
    return str(value).encode("latin-1", "replace")


# Gzip --------------------------------------------------------------------------------------------

_HEAD = "\x1f\x8b\x08\0\0\0\0\0\0\x03"


def gzipped(inner: Grammar) -> Grammar:
    """The grammar of such files in gzip, of several members where the tree says so.

    A tree has the inner one, how often its text stands in the file, and for each member its number
    of bytes, None for all that are left, its head, and the checksum and length behind it, None for
    the right ones.
    """

    def parse(data: bytes) -> Any:
        members = [[None, _HEAD, None, None]]
        text = inner.parse(gzip.decompress(data))
        return {"text": text, "times": 1, "members": members, "rest": ""}

    def write(tree: Any, draw: random.Random) -> bytes:
        text = inner.write(tree["text"], draw)
        times = _whole(tree["times"], _MOST_BYTES // max(len(text), 1))
        text = text * (times if times < 1000 else draw.choice((times, 1000)))
        parts = []
        for wanted, head, checksum, length in tree["members"]:
            size = len(text) if wanted is None else _whole(wanted, len(text))
            own, text = text[:size], text[size:]
            packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
            right = (zlib.crc32(own), len(own))
            ends = [
                int(good if said is None else said) % 2**32
                for good, said in zip(right, (checksum, length), strict=True)
            ]
            parts += [cell(head), packer.compress(own), packer.flush(), struct.pack("<2I", *ends)]
        return b"".join((*parts, cell(tree["rest"])))

    return Grammar(parse, write, _GARBLES)


# Parquet -----------------------------------------------------------------------------------------

# Types that no column of a corpus has, or whose values are none, and a value of each.
_TYPES: tuple[tuple[Any, Any], ...] = (
    (pyarrow.binary(), b"\xff\xfe\0"),
    (pyarrow.string(), b"\xff\xfe\0"),
    (pyarrow.large_string(), b"\xed\xa0\x80"),
    (pyarrow.int8(), -1),
    (pyarrow.uint64(), 2**64 - 1),
    (pyarrow.float16(), np.float16("nan")),
    (pyarrow.float64(), float("inf")),
    (pyarrow.bool_(), True),
    (pyarrow.null(), None),
    (pyarrow.timestamp("ns"), 2**62 + 1),
    (pyarrow.timestamp("s"), 2**62),
    (pyarrow.timestamp("us", tz="Nowhere/None"), 1),
    (pyarrow.date32(), 2**30),
    (pyarrow.time64("ns"), 1),
    (pyarrow.duration("ns"), 2**62 + 1),
    (pyarrow.decimal128(38, 3), None),
    (pyarrow.map_(pyarrow.string(), pyarrow.int64()), [("a", 1), ("a", 2)]),
    (pyarrow.list_(pyarrow.int64(), 2), [1, 2]),
    (pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), "a"),
)
_CODECS = ("none", "snappy", "gzip", "zstd", "brotli", "lz4")
_WILD = 0.1  # of the columns have such a type
_TEXTS = {pyarrow.string(): pyarrow.binary(), pyarrow.large_string(): pyarrow.large_binary()}


def _parse_parquet(data: bytes) -> Any:
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    columns = [[name, table[name].to_pylist()] for name in table.column_names]
    return {"columns": columns, "group": 2, "codec": 1, "version": 2, "plain": False, "times": 1}


def _write_parquet(tree: Any, draw: random.Random) -> bytes:
    arrays = [_column(values, draw) for _, values in tree["columns"]]
    table = pyarrow.table(arrays, [str(name) for name, _ in tree["columns"]])
    times = _whole(tree["times"], 3000)
    if times != 1:
        table = pyarrow.concat_tables([table] * times)
    file = io.BytesIO()
    try:
        pyarrow.parquet.write_table(
            table,
            file,
            row_group_size=max(_whole(tree["group"], 10_000), 1),
            compression=_CODECS[int(tree["codec"]) % len(_CODECS)],
            data_page_version="2.0" if tree["version"] == 2 else "1.0",
            use_dictionary=not tree["plain"],
        )
    except (pyarrow.ArrowException, NotImplementedError, OSError) as error:
        raise ValueError("no such file") from error
    return file.getvalue()


def _column(values: Any, draw: random.Random) -> Any:
    """The values, or now and then as many of a wild type."""
    if draw.random() > _WILD:
        return pyarrow.array(values)
    kind, value = draw.choice(_TYPES)
    count = len(values)
    if draw.random() < 0.5:
        return _wild(kind, value, count)
    spans = pyarrow.ListArray.from_arrays(
        [2 * number for number in range(count + 1)], _wild(kind, value, 2 * count)
    )
    fields = [spans, spans, _wild(kind, value, count)]
    arcs = pyarrow.StructArray.from_arrays(fields, ["from", "to", draw.choice(("to", "relation"))])
    return pyarrow.ListArray.from_arrays(list(range(count + 1)), arcs)


def _wild(kind: Any, value: Any, count: int) -> Any:
    """An array of one value; bytes in place of text are such as arrow does not look at."""
    if kind in _TEXTS:
        return pyarrow.array([value] * count, _TEXTS[kind]).view(kind)
    return pyarrow.array([value] * count, kind)


PARQUET = Grammar(_parse_parquet, _write_parquet, (0, 0, 0, 1, 1, 2, 4))


# Numpy's archives --------------------------------------------------------------------------------


def _parse_npz(data: bytes) -> Any:
    """Name, type, shape and numbers of each array; an array of one text as the JSON in it."""
    found = []
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        for name in archive.files:
            array = archive[name]
            if array.dtype.kind == "U":
                found.append([name, None, json.loads(str(array))])
            else:
                of = [array.dtype.str, list(array.shape), array.flatten().tolist()]
                found.append([name, *of])
    return {"arrays": found, "method": 8, "order": False}


def _write_npz(tree: Any, draw: random.Random) -> bytes:
    method = zipfile.ZIP_DEFLATED if tree["method"] == 8 else draw.choice((0, 8, 12, 14))
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore", UserWarning)  # a name that stands twice
        for entry in tree["arrays"]:
            content = _npy(tree, entry)
            archive.writestr(f"{str(entry[0]).replace(chr(0), '')[:1000]}.npy", content)
    return file.getvalue()


def _npy(tree: Any, entry: Any) -> bytes:
    if len(entry) == 3:
        text = JSON.write(entry[2], random.Random(0)).decode("utf-8", "surrogatepass")
        data = text.encode("utf-32-le", "surrogatepass")
        kind, shape = entry[1] or f"<U{len(data) // 4}", "()"
    else:
        _, kind, shape, values = entry
        try:
            data = np.array(values, np.dtype(kind)).tobytes()
        except UNTYPED:
            data = np.array(values).tobytes()
        shape = str(tuple(shape)) if isinstance(shape, list) else str(shape)
    head = f"{{'descr': {kind!r}, 'fortran_order': {bool(tree['order'])}, 'shape': {shape}, }}\n"
    size = struct.pack("<H", len(head.encode()) % 2**16)
    return b"\x93NUMPY\x01\0" + size + head.encode("latin-1", "replace") + data


# What numpy says of a type that is none, or that the numbers do not have.
UNTYPED = (TypeError, ValueError, OverflowError, SyntaxError)
NPZ = Grammar(_parse_npz, _write_npz, _GARBLES)


# Folders -----------------------------------------------------------------------------------------


def furnish(folder: Path, tree: Any) -> None:
    """Makes a folder of such a tree: a text of bytes is a file, a list a pipe, a number a folder.

    Names that lead out of the folder, or that the system refuses, are left out.
    """
    folder.mkdir()
    for name, content in tree.items() if isinstance(tree, dict) else ():
        path = folder / name.lstrip("/")
        if ".." in path.parts:
            continue
        with suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            match content:
                case str():
                    path.write_bytes(cell(content))
                case {"link": str(target)}:
                    path.symlink_to(target)
                case [*_]:
                    os.mkfifo(path)
                case _:
                    path.mkdir()
