"""Panics of the tokenizers library, as errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raises RuntimeError in place of a panic of Rust, as a stranger's tokenizer can cause one.

    The class of a panic is no Exception, so `except Exception` lets it pass, and no module has it.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(f"the tokenizers library panicked: {error}") from error
