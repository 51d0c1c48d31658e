"""The part of a model that measurements need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.texts import Encoding, Sample


class Reader(Protocol):
    """The part of a model that measurements need."""

    @property
    def name(self) -> str: ...

    def encode(self, sample: Sample) -> Encoding: ...

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = ...) -> list[Rows]: ...

    def read_out(self, readouts: Sequence[Readout], *, batch_tokens: int = ...) -> list[float]: ...


def answers(
    model: Reader, requests: Iterable[Need | Readout], *, batch_tokens: int = BATCH_TOKENS
) -> dict[Need | Readout, Rows | float]:
    """The model's answer to each request; equal requests are measured once."""
    distinct = dict.fromkeys(requests)
    needs = [request for request in distinct if isinstance(request, Need)]
    readouts = [request for request in distinct if isinstance(request, Readout)]
    found: dict[Need | Readout, Rows | float] = {}
    if needs:
        rows = model.collect(needs, batch_tokens=batch_tokens)
        found.update(zip(needs, rows, strict=True))
    if readouts:
        values = model.read_out(readouts, batch_tokens=batch_tokens)
        found.update(zip(readouts, values, strict=True))
    return found
