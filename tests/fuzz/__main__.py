"""Many damaged files of each kind, in several processes: `make fuzz`.

What is found is cut down and written to `tests/fuzz/found/`, whose files `make test` reads.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.fuzz.harness import Chunk, Find, cut_down, kind, try_files
from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).parent / "found"
CHUNK = 500  # files that one process reads at a time
SHOWN_S = 10  # between two lines of progress


def main(arguments: Sequence[str]) -> int:
    """Reads the files and prints what was found; the exit code is 1 if anything was."""
    given = _options(arguments)
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    counts = _shares(given.kinds or list(TARGETS), given.inputs)
    total = sum(counts.values())
    _say(f"seed {seed}: {total:,} files of {', '.join(counts)}")
    for name in counts:
        _ = TARGETS[name].read  # what it imports is there in all processes then
    start = time.monotonic()
    found: dict[tuple[str, str], Find] = {}
    for chunk in _tried(counts, seed, given.processes):
        for find in chunk.finds:
            if found.setdefault((find.target, kind(find.fault)), find) is find:
                _say(f"  {find.target} {find.number}: {find.fault}")
    seconds = time.monotonic() - start
    for find in found.values():
        _keep(find, seed)
    faults = f"{len(found)} kinds of faults" if found else "no fault"
    _say(f"{total:,} files in {seconds:,.0f} s, {total / seconds:,.0f} a second: {faults}")
    return min(len(found), 1)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*TARGETS, []], help="kinds of files; all")
    parser.add_argument("--inputs", type=int, default=10**6, help="files in all; %(default)s")
    parser.add_argument("--seed", type=int, help="of an earlier run, whose files are made again")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(arguments)


def _shares(names: Sequence[str], inputs: int) -> Mapping[str, int]:
    """The number of files of each kind."""
    whole = sum(TARGETS[name].share for name in names)
    return {name: -(-inputs * TARGETS[name].share // whole) for name in names}


def _tried(counts: Mapping[str, int], seed: int, processes: int) -> Iterator[Chunk]:
    """What comes of each chunk of files, with lines of progress."""
    chunks = [
        (name, seed, range(first, min(first + CHUNK, count)))
        for name, count in counts.items()
        for first in range(0, count, CHUNK)
    ]
    total, done, start = sum(counts.values()), 0, time.monotonic()
    shown = start
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        pending = {pool.submit(_try, *chunk): len(chunk[2]) for chunk in chunks}
        for future in as_completed(pending):
            yield future.result()
            done += pending.pop(future)
            now = time.monotonic()
            if now - shown > SHOWN_S:
                shown = now
                _say(f"  {done:,} of {total:,}, {done / (now - start):,.0f} a second")


def _try(name: str, seed: int, numbers: range) -> Chunk:
    return try_files(TARGETS[name], seed, numbers)


def _keep(find: Find, seed: int) -> None:
    """Writes a small file with a fault to where `make test` reads it."""
    target = TARGETS[find.target]
    data = cut_down(target, target.make(seed, find.number), find.fault)
    path = FOUND / f"{find.target}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    _say(f"{path}: {find.fault}, seed {seed}, number {find.number}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
