"""Memory that does not suffice: recognised on every device, tried again with less, named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from attnprobe.core.errors import MeasureError, ModelError
from attnprobe.core.printing import clip
from attnprobe.core.texts import Sample
from attnprobe.words.show import quoted

T = TypeVar("T")
MEMORY_FAILURES = (RuntimeError, MemoryError)
# On a CPU, torch raises a plain RuntimeError: its text alone tells it from others.
_REFUSED = re.compile(r"out of memory|can't allocate memory|not enough memory|_ALLOC_FAILED", re.I)
_SIZE = re.compile(r"allocate (?P<number>[\d.]+) ?(?P<unit>bytes|[KMGTP]iB)")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, on whatever device."""
    named = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return named or (isinstance(error, RuntimeError) and bool(_REFUSED.search(str(error))))


def missing_size(error: BaseException) -> str:
    """The size that could not be allocated, in parentheses; empty where the error names none."""
    found = _SIZE.search(str(error))
    if found is None:
        return ""
    size = f"{found['number']} {found['unit']}"
    if found["unit"] == "bytes":
        size = f"{float(found['number']) / 2**30:.3g} GiB"
    return f" ({size} at once)"


def retry_smaller(work: Callable[[int], T], batch_tokens: int, samples: Sequence[Sample]) -> T:
    """Does work at a batch size, and once more at half of it if memory does not suffice.

    Raises:
        MeasureError: memory does not suffice for that either; it names the longest of the samples.
    """
    try:
        return work(batch_tokens)
    except MEMORY_FAILURES as error:
        check_memory(error)
    half = max(1, batch_tokens // 2)
    try:
        return work(half)
    except MEMORY_FAILURES as error:
        check_memory(error)
        size = missing_size(error)
    raise MeasureError(
        f"out of memory, also with {half} tokens in a batch{size}; shorten the longest text, "
        f"{longest(samples)}, or take fewer: --attn-batch-tokens"
    )


def longest(samples: Sequence[Sample]) -> str:
    """The start of the longest of some samples, in quotes; for ids, their number."""

    def length(sample: Sample) -> int:
        return len(sample.ids or ()) + sum(map(len, sample.texts))

    sample = max(samples, key=length)
    if sample.ids is not None:
        return f"{len(sample.ids)} ids"
    return quoted(clip(sample.in_one_line[:200], 60))


@contextmanager
def enough_memory(what: str, device: torch.device) -> Iterator[None]:
    """Raises ModelError where memory does not suffice for what the block builds."""
    try:
        yield
    except MEMORY_FAILURES as error:
        check_memory(error)
        raise ModelError(
            f"out of memory{missing_size(error)}: {what} does not fit into the memory of {device}; "
            "take another device or half precision: --attn-device and --attn-dtype (pytest), "
            "--device and --dtype (attnprobe)"
        ) from None


def check_memory(error: BaseException) -> None:
    """Raises an error again that says nothing of memory, else frees what a GPU keeps in reserve."""
    if not is_out_of_memory(error):
        raise error
    torch.cuda.empty_cache()
