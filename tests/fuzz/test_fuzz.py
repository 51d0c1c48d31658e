"""Some damaged files of each kind, and all that were ever found to be read in another way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attnprobe.core.errors import AttnprobeError, ResultsError
from attnprobe.words.heads import HeadSet
from tests.fuzz import harness
from tests.fuzz.__main__ import FOUND
from tests.fuzz.harness import MOST_MESSAGE, cut_down, faults, try_files
from tests.fuzz.targets import TARGETS, Read, Target

# Those of models are slow to read.
COUNTS = {"gguf": 12, "tokenizers": 100, "tokenizer-configs": 100}
COUNT = 300
# In how many ways they are refused, at least; those of libraries begin alike.
WAYS = {"gguf": 1, "tokenizers": 2, "tokenizer-configs": 2}
SEED = 15


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_end_in_documented_errors(name: str) -> None:
    count = COUNTS.get(name, COUNT)
    done = try_files(TARGETS[name], SEED, range(count))
    assert done.finds == ()
    # Were all of them refused, and for one reason, little of the reader would have been tried.
    assert 0.02 * count < done.accepted < 0.9 * count
    assert len(done.errors) >= WAYS.get(name, 15)


@pytest.mark.parametrize("name", TARGETS)
def test_the_files_to_start_from_are_sound(name: str) -> None:
    files = TARGETS[name].sound()
    target = replace(TARGETS[name], reader=lambda: _refusing(TARGETS[name].read))
    assert faults(target, files) == [None] * len(files)


def _refusing(read: Read) -> Read:
    """A reader whose refusals are faults."""

    def strict(path: Path) -> None:
        try:
            read(path)
        except AttnprobeError as error:
            raise AssertionError from error

    return strict


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    name = path.name.rpartition("-")[0]
    assert faults(TARGETS[name], [path.read_bytes()]) == [None]


# The harness itself ------------------------------------------------------------------------------


def _raise() -> None:
    raise KeyError("planted")


def _long_message() -> None:
    class Long(AttnprobeError):
        def __str__(self) -> str:
            return "x" * (MOST_MESSAGE + 1)

    raise Long


def _panic() -> None:
    raise type("PanicException", (BaseException,), {})("planted")


def _burn() -> None:
    while True:
        pass


def _fill() -> None:
    bytearray(b"x" * 60_000_000)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


PLANTED = {
    _raise: "KeyError: test_fuzz.py:_raise",
    _long_message: "message: longer than 2048 bytes",
    _panic: "PanicException: ",
    _burn: "time: more than 0.2 s, at ",
    _fill: "memory: more than 50 MB",
    _die: "ended with -11, at ",
}


def planted(fault: Callable[[], None]) -> Target:
    """A kind of file in which the letter x is a fault."""

    def read(path: Path) -> None:
        if b"x" in path.read_bytes():
            fault()
        raise ResultsError("no x")

    return replace(TARGETS["tables"], seeds=lambda: [[["a"]]], reader=lambda: read)


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.__name__.strip("_"))
def test_a_planted_fault_is_found_and_the_rest_is_read(
    fault: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault is _burn:  # the others may take longer on a busy machine
        monkeypatch.setattr(harness, "MOST_SECONDS", 0.2)
    monkeypatch.setattr(harness, "MOST_MEMORY", 50_000_000)
    found = faults(planted(fault), [b"a", b"axa", b"b", b"x", b"c"])
    assert [number for number, said in enumerate(found) if said] == [1, 3]
    assert all(said is None or said.startswith(PLANTED[fault]) for said in found)


def test_a_find_is_cut_down_to_what_matters() -> None:
    target = planted(_raise)
    (fault,) = faults(target, [b"x"])
    assert fault is not None
    assert cut_down(target, b"abc" * 50 + b"x" + b"de\n" * 70, fault) == b"x"


def test_a_fault_of_a_reader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(name: str, heads: tuple[object, ...], **origin: object) -> HeadSet:
        raise IndexError(name)

    monkeypatch.setattr("attnprobe.results.lock.HeadSet", lenient)
    done = try_files(TARGETS["locks"], SEED, range(40))
    assert {find.fault for find in done.finds} == {
        "IndexError: lock.py:_head_set, test_fuzz.py:lenient"
    }
