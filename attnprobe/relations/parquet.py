"""Rows of labelled spans in Parquet. The only module that imports pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from attnprobe.core.errors import CorpusError, Mark
from attnprobe.core.printing import visible
from attnprobe.relations.lines import LONGEST_LINE, check_unfolded, open_regular

# So many rows are unfolded at once.
_BATCH = 256
# A row of equal values may take no byte of the file; as text, it would have at least so many.
_ROW_BYTES = 32
# Lists and structs in each other; the arcs of a row have four.
_DEEPEST = 8


def read_rows(path: Path, name: str, *, start: int = 0) -> Iterator[Any]:
    """The rows from one on, each to be called for its value.

    A row that is not called for is not unfolded.

    Args:
        start: number of the first row, from 0.

    Yields:
        Functions that return a row as `json.loads` would return a line of the JSONL form; they
        raise CorpusError for a row that is damaged or too long.

    Raises:
        CorpusError: the file is no Parquet or damaged, has columns of other types or unfolds to
            more than a corpus does, or pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise CorpusError(
            f"{name}: a .parquet file needs pyarrow: pip install 'attnprobe[parquet]'"
        ) from None
    open_regular(path, name).close()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_columns(file, name)
            _check_size(file.metadata, path.stat().st_size, name)
            texts = _texts(file)
        # Texts are unfolded row by row: one that stands once in the file may stand in each row.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            yield from _rows(file, name, start)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(name, error) from None


def _rows(file: Any, name: str, start: int) -> Iterator[Callable[[], Any]]:
    first = 0  # of a group
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        first += rows
        if first <= start:
            continue
        # One group after the other: arrow puts no nested texts of two groups into one batch.
        at = first - rows
        for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group]):
            value = _value if _is_short(batch) else _value_of_long
            for inside in range(max(start - at, 0), len(batch)):
                yield partial(value, batch, inside, Mark(name, at + inside + 1, 1))
            at += len(batch)


def _value(batch: Any, at: int, place: Mark) -> Any:
    """The value of one row of a batch."""
    try:
        return _plain(batch.slice(at, 1).to_pylist()[0])
    except ValueError as error:  # text that is no UTF-8, for one
        raise CorpusError(f"damaged Parquet: {_first_line(error)}", place) from None


def _value_of_long(batch: Any, at: int, place: Mark) -> Any:
    """The value of one row of a batch that may hold too long a row."""
    if not _is_short(batch.slice(at, 1)):
        raise CorpusError(f"a row of more than {LONGEST_LINE:,} bytes", place)
    return _value(batch, at, place)


def _is_short(rows: Any) -> bool:
    """Whether rows are together no longer than one may be."""
    return sum(map(_most_bytes, rows.columns)) <= LONGEST_LINE


def _most_bytes(column: Any) -> int:
    """The bytes of the values of a column, at most; a text counts as the longest of its column."""
    import pyarrow.compute

    kinds = pyarrow.types
    if kinds.is_dictionary(column.type):
        longest = pyarrow.compute.max(pyarrow.compute.binary_length(column.dictionary)).as_py()
        return len(column) * (longest or 0)
    if kinds.is_struct(column.type):
        return sum(map(_most_bytes, column.flatten()))
    if kinds.is_nested(column.type):
        return _most_bytes(column.flatten())
    return int(column.nbytes)


def _texts(file: Any) -> list[str]:
    """The paths of the columns of text."""
    columns = map(file.schema.column, range(len(file.schema)))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _check_columns(file: Any, name: str) -> None:
    """Raises CorpusError for a column of a type that no value of the JSONL form has."""
    names = file.schema_arrow.names
    for field in file.schema_arrow:
        if names.count(field.name) > 1:
            raise CorpusError(f"{name}: the column {visible(field.name)!r} stands twice")
        if not _is_known(field.type, _DEEPEST):
            raise CorpusError(
                f"{name}: the column {visible(field.name)!r} has the type "
                f"{visible(str(field.type))}; columns have texts, numbers, and lists and structs "
                "of them"
            )


def _is_known(kind: Any, depth: int) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return depth > 0 and _is_known(kind.value_type, depth - 1)
    if types.is_struct(kind):
        names = [field.name for field in kind]
        return (
            depth > 0
            and len(set(names)) == len(names)
            and all(_is_known(field.type, depth - 1) for field in kind)
        )
    scalars = (types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    texts = (types.is_string, types.is_large_string)
    return any(fits(kind) for fits in (*scalars, *texts))


def _check_size(metadata: Any, size: int, name: str) -> None:
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    unfolded = sum(group.total_byte_size for group in groups)
    check_unfolded(name, max(unfolded, _ROW_BYTES * metadata.num_rows), size)


def _damaged(name: str, error: Exception) -> CorpusError:
    return CorpusError(f"{name}: damaged Parquet: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _plain(value: Any) -> Any:
    """A value without what is null, which stands for a missing key."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
