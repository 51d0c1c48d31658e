"""The actors of a scan on Ray, as values of the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """The actors of a scan.

    Attributes:
        address: of a cluster, as `ray.init` takes it; None starts Ray on this machine.
        concurrency: number of actors.
        threads: of each actor, and the number of its CPUs.
        num_gpus: GPUs of each actor; a part of one can be shared.
    """

    address: str | None = None
    concurrency: int = 1
    threads: int = 1
    num_gpus: float = 0
