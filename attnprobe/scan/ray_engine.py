"""Counts the blocks of a scan on the actors of Ray Data. The only module that imports Ray."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnprobe.core.errors import AttnprobeError, MeasureError
from attnprobe.core.wording import plural
from attnprobe.scan.corpora import Corpora, FileBlocks
from attnprobe.scan.counting import Plan, Surveyor
from attnprobe.scan.pool import Pool
from attnprobe.scan.session import Engine, block_counters
from attnprobe.scan.tally import Tally

# Ray handles each task alone; with more blocks than this, a task has several.
MOST_TASKS = 10_000
# So often a block is given to another actor, if the one that counts it dies.
RETRIES = 3
# The model and its twin in an actor.
MakeModels = Callable[[], tuple[Surveyor, Surveyor | None]]


def on_ray(make: MakeModels, options: Pool) -> Engine:
    """The engine that counts on an actor pool of Ray Data.

    Each actor makes its models once and reads the blocks that it is given. What comes back are
    counts, in the order in which actors finish.

    Args:
        make: makes the models and says how many threads torch uses; it is sent to the actors.

    Raises:
        AttnprobeError: Ray is not installed.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError:
        raise AttnprobeError("--engine ray needs Ray: pip install 'attnprobe[ray]'") from None

    def count(
        plan: Plan, corpora: Corpora, wanted: Callable[[int], bool]
    ) -> Iterator[tuple[int, Sequence[Tally]]]:
        due = [part for blocks in corpora.due(wanted) for part in _divided(blocks)]
        if due:
            with _started(options):
                yield from _count(make, options, plan, due)

    return count


def _divided(blocks: FileBlocks) -> Iterator[FileBlocks]:
    """The blocks of a file in tasks, each of consecutive ones."""
    numbers = list(blocks.positions)
    size = -(-len(numbers) // MOST_TASKS)
    for at in range(0, len(numbers), size):
        chosen = numbers[at : at + size]
        yield replace(blocks, positions={number: blocks.positions[number] for number in chosen})


@contextmanager
def _started(options: Pool) -> Iterator[None]:
    """Ray, until the scan ends; a Ray that runs already is left running."""
    # Nothing about a scan leaves the machine without being asked for.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    mine = not ray.is_initialized()
    if mine:
        given: dict[str, Any] = {"address": options.address}
        if options.address is None:
            cpus = max(os.cpu_count() or 1, options.concurrency * options.threads)
            given = {"num_cpus": cpus, "include_dashboard": False}
        try:
            ray.init(**given, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise AttnprobeError(f"Ray cannot be started: {_first_line(error)}") from None
    try:
        _check_resources(ray.cluster_resources(), options)  # type: ignore[no-untyped-call]
        yield
    finally:
        if mine:
            ray.shutdown()


def _check_resources(found: Mapping[str, float], options: Pool) -> None:
    """Raises AttnprobeError where not one actor could ever start, for Ray would wait forever."""
    for name, each in (("CPU", options.threads), ("GPU", options.num_gpus)):
        if found.get(name, 0) < each:
            raise AttnprobeError(
                f"Ray has {found.get(name, 0):g} {name}s, and one actor needs {each:g}; lower "
                f"{'--threads' if name == 'CPU' else '--num-gpus'}"
            )


def _count(
    make: MakeModels, options: Pool, plan: Plan, due: Sequence[FileBlocks]
) -> Iterator[tuple[int, Sequence[Tally]]]:
    import pyarrow
    import ray.data
    import ray.exceptions

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    tasks = [pyarrow.table({"blocks": [pickle.dumps(blocks)]}) for blocks in due]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of arguments that no other replaces
        ray.data.DataContext.get_current().enable_progress_bars = False
        counted = ray.data.from_arrow(tasks).map_batches(
            _Actor,
            fn_constructor_args=(make, plan, Path.cwd()),
            batch_size=None,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=options.concurrency),
            num_cpus=options.threads,
            num_gpus=options.num_gpus,
            # Without a bound, a block that kills its actor would be tried forever.
            ray_remote_args_fn=lambda: {"max_restarts": RETRIES, "max_task_retries": RETRIES},
        )
    try:
        for row in counted.iter_rows():
            if row["error"]:
                raise MeasureError(row["error"])
            yield row["number"], pickle.loads(zlib.decompress(row["tallies"]))
    except ray.exceptions.RayError as error:
        raise AttnprobeError(
            f"Ray gave up: {_first_line(error)} A block was tried {plural(RETRIES + 1, 'time')}; "
            "memory may not suffice. Go on with --resume."
        ) from None


class _Actor:
    """Counts blocks in a process of its own."""

    def __init__(self, make: MakeModels, plan: Plan, folder: Path) -> None:
        if folder.is_dir():
            os.chdir(folder)  # paths of the command line count from there
        self._counters = block_counters(plan, *make())

    def __call__(
        self, batch: Mapping[str, npt.NDArray[Any]]
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        for blocks in batch["blocks"]:
            try:
                for block in pickle.loads(blocks).read():
                    tallies = [counter.count(block) for counter in self._counters]
                    yield _row(block.number, zlib.compress(pickle.dumps(tallies), 1), "")
            # As a result, since Ray would wrap it in a traceback.
            except AttnprobeError as error:
                yield _row(-1, b"", str(error))
            except Exception as error:  # noqa: BLE001  of a network, which can raise anything
                yield _row(-1, b"", f"a worker failed: {type(error).__name__}: {error}")


def _row(number: int, tallies: bytes, error: str) -> dict[str, npt.NDArray[Any]]:
    return {
        "number": np.array([number]),
        "tallies": np.array([tallies], dtype=object),
        "error": np.array([error]),
    }


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
