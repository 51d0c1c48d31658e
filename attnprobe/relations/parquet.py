"""Rows of labelled spans in Parquet. The only module that imports pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnprobe.core.errors import CorpusError
from attnprobe.relations.lines import open_regular

# So many rows are unfolded at once.
_BATCH = 256


def read_rows(path: Path, name: str, *, start: int = 0) -> Iterator[Any]:
    """The rows from one on, each to be called for its value.

    A row that is not called for is not unfolded.

    Args:
        start: number of the first row, from 0.

    Yields:
        Functions that return a row as `json.loads` would return a line of the JSONL form.

    Raises:
        CorpusError: the file is no Parquet or damaged, or pyarrow is not installed.
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
            groups: list[int] = []
            before = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if groups or before + rows > start:
                    groups.append(group)
                else:
                    before += rows
            skipped = start - before
            for batch in file.iter_batches(batch_size=_BATCH, row_groups=groups):
                for at in range(min(skipped, len(batch)), len(batch)):
                    yield lambda batch=batch, at=at: _plain(batch.slice(at, 1).to_pylist()[0])
                skipped = max(0, skipped - len(batch))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise CorpusError(f"{name}: damaged Parquet: {reason}") from None


def _plain(value: Any) -> Any:
    """A value without what is null, which stands for a missing key."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
