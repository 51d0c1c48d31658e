"""Reads damaged files in forks, and notes each that ends in anything but a documented error.

A fork reads many files, one after the other, so that a file that kills, hangs or fills it costs one
fork and is known by its number. What is found is cut down to a small file with the same fault.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import resource
import signal
import struct
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import attnprobe
from attnprobe.core.errors import AttnprobeError
from tests.fuzz.targets import Read, Target
from tests.support.forks import fork

MOST_SECONDS = 2.0  # of the processor: other work on the machine does not count
MOST_WAITING = 600.0  # by the clock, for a file that waits: on a busy machine work takes long
MOST_MEMORY = 500_000_000  # bytes beyond what the fork had at its start
MOST_MESSAGE = 2048  # bytes
MOST_TRIES = 400  # of one find, while it is cut down
AGAIN = 75  # exit code of a fork that uses much memory, so that the next file needs another one
AT = ", at "
PACKAGE = str(Path(attnprobe.__file__).parent)


@dataclass(frozen=True)
class Find:
    """A file that is not read as promised.

    Attributes:
        fault: what happened and where; equal for files that fail alike.
        number: of the file, for `Target.make`.
    """

    target: str
    number: int
    fault: str


@dataclass(frozen=True)
class Chunk:
    """What one fork found.

    Attributes:
        accepted: how many files were read; the others were refused with a documented error.
        errors: the first words of these errors.
    """

    finds: tuple[Find, ...]
    accepted: int
    errors: frozenset[str]


def faults(target: Target, files: Sequence[bytes]) -> list[str | None]:
    """What is wrong with the reading of each file; None for one that is read as promised."""
    found: list[str | None] = [None] * len(files)
    for number, fault, _ in _read_all(target, range(len(files)), files.__getitem__):
        found[number] = fault
    return found


def try_files(target: Target, seed: int, numbers: range) -> Chunk:
    """Reads the files of these numbers."""
    finds, accepted, errors = [], 0, set()
    for number, fault, message in _read_all(target, numbers, lambda n: target.make(seed, n)):
        if fault is not None:
            finds.append(Find(target.name, number, fault))
        elif message:
            errors.add(" ".join(message.split()[1:5]))
        else:
            accepted += 1
    return Chunk(tuple(finds), accepted, frozenset(errors))


def cut_down(target: Target, data: bytes, fault: str) -> bytes:
    """A small file with the same fault."""
    tries, size = 0, max(len(data) // 2, 1)
    most = 30 if fault.startswith("time") else MOST_TRIES
    if fault.startswith("time: waited"):  # each try would take as long
        most = 0
    while size and tries < most:
        others = [data[:start] + data[start + size :] for start in range(0, len(data), size)]
        others = others[: most - tries]
        tries += len(others)
        same = [
            other
            for other, found in zip(others, faults(target, others), strict=True)
            if found is not None and kind(found) == kind(fault)
        ]
        if same:
            data = same[0]
        else:
            size //= 2
    return data


def kind(fault: str) -> str:
    """A fault without the line that a fork was at, which differs from time to time."""
    return fault.partition(AT)[0]


# In the forks ------------------------------------------------------------------------------------


def _read_all(
    target: Target, numbers: range, make: Callable[[int], bytes]
) -> Iterator[tuple[int, str | None, str]]:
    """Number, fault and message of each file; a fork that ends early is followed by another."""
    read = target.read
    while numbers:
        with (
            tempfile.TemporaryFile("w+") as report,
            tempfile.TemporaryFile("w+") as log,
            mmap.mmap(-1, 8) as place,  # the number of the file that is being read
        ):
            body = partial(_read_some, target, read, numbers, make, report, place)
            _, status = os.waitpid(fork(body, stdout=log.fileno(), stderr=log.fileno()), 0)
            (last,) = struct.unpack("q", place)
            report.seek(0)
            yield from map(json.loads, report)
            code = os.waitstatus_to_exitcode(status)
            log.seek(0)
            if code == 1:
                raise RuntimeError(f"the fuzzing itself failed:\n{log.read()}")
            if code not in (0, AGAIN):
                yield last, _describe_end(code, log.read()), ""
        numbers = numbers[numbers.index(last) + 1 :]


def _read_some(
    target: Target,
    read: Read,
    numbers: range,
    make: Callable[[int], bytes],
    report: IO[str],
    place: mmap.mmap,
) -> int:
    """Reads files until much memory is in use, and reports them; all that a fork does."""
    faulthandler.enable(all_threads=False)
    for end in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(end, signal.SIG_DFL)
        faulthandler.register(end, all_threads=False, chain=True)
    start = _most_memory()
    limit = _address_space() + 4 * MOST_MEMORY  # for the machine's sake
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        target.write_others(Path(folder))
        path = Path(folder, target.file)
        for number in numbers:
            place[:] = struct.pack("q", number)
            path.write_bytes(make(number))
            fault, message = _read_one(read, path)
            used = _most_memory() - start
            if fault is None and used > MOST_MEMORY:
                fault = f"memory: more than {MOST_MEMORY / 1e6:g} MB"
            print(json.dumps((number, fault, message)), file=report, flush=True)
            if used > MOST_MEMORY // 2:
                return AGAIN
    return 0


def _read_one(read: Read, path: Path) -> tuple[str | None, str]:
    """What is wrong with the reading of a file, and the message of its documented error."""
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, MOST_WAITING)
    try:
        read(path)
    except AttnprobeError as error:
        message = str(error)
        if len(message.encode("utf-8", "replace")) > MOST_MESSAGE:
            return f"message: longer than {MOST_MESSAGE} bytes, {_describe(error)}", ""
        return None, message or "(no message)"
    except BaseException as error:  # noqa: BLE001  anything else is what is looked for
        return _describe(error), ""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None, ""


def _describe(error: BaseException) -> str:
    """The type of an exception and where it was raised, the package's own line first."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    places = dict.fromkeys(f"{Path(f.filename).name}:{f.name}" for f in (*own[-1:], frames[-1]))
    return f"{type(error).__name__}: {', '.join(places)}"


def _describe_end(code: int, log: str) -> str:
    """Why a fork ended: the signal, and the innermost line of the package that it was at."""
    reasons = {
        -signal.SIGPROF: f"time: more than {MOST_SECONDS:g} s",
        -signal.SIGALRM: f"time: waited for {MOST_WAITING:g} s",
    }
    lines = [line.strip() for line in log.splitlines() if line.strip().startswith("File ")]
    own = [line for line in lines if PACKAGE in line]
    return f"{reasons.get(code, f'ended with {code}')}{AT}{(own or lines or ['?'])[0]}"


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
