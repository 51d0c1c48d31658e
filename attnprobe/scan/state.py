"""The blocks that are counted so far, the file that keeps them, and parts put together."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnprobe.core.arrays import Bools
from attnprobe.core.errors import ResultsError
from attnprobe.core.parts import MOST_NAMED
from attnprobe.core.wording import join_names, plural
from attnprobe.results.files import write_bytes
from attnprobe.scan.archive import pack, unpack
from attnprobe.scan.facts import ScanFacts
from attnprobe.scan.tally import Tally

STATE = "scan-state.npz"
# The errors of reading a damaged file.
_DAMAGE = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, eq=False)
class Counted:
    """Blocks of a scan and their counts.

    Attributes:
        done: `[blocks]`, whether a block is counted.
        tallies: of the model and, if there is one, of its untrained twin.
    """

    done: Bools
    tallies: tuple[Tally, ...]

    @classmethod
    def nothing(cls, facts: ScanFacts) -> Counted:
        """No block of a scan."""
        most = (facts.set_arcs, 0) if facts.control else (facts.set_arcs,)
        heads, corpora = len(facts.heads), len(facts.corpora)
        empty = tuple(Tally.empty(heads, corpora, most=count) for count in most)
        return cls(np.zeros(facts.blocks, np.bool_), empty)

    def with_block(self, number: int, tallies: Sequence[Tally]) -> Counted:
        """The same and one block more; a block that is counted already is not counted twice."""
        if self.done[number]:
            return self
        done = self.done.copy()
        done[number] = True
        return Counted(done, tuple(map(add, self.tallies, tallies)))


@dataclass(frozen=True)
class State:
    """A file of counted blocks: an unfinished scan, or a part of one."""

    path: Path
    facts: ScanFacts
    counted: Counted

    def write(self) -> None:
        """Writes the file, whole or not at all."""
        arrays: dict[str, npt.NDArray[Any]] = {
            f"{number}_{name}": array
            for number, tally in enumerate(self.counted.tallies)
            for name, array in tally.arrays().items()
        }
        arrays["facts"] = np.array(self.facts.as_json())
        arrays["done"] = self.counted.done
        write_bytes(self.path, pack(arrays))

    @classmethod
    def read(cls, path: Path) -> State:
        """The state in a file.

        Raises:
            ResultsError: the file is missing or corrupt.
        """
        try:
            arrays = dict(unpack(path.read_bytes()))
            facts = ScanFacts.of_json(str(arrays["facts"]))
            done = arrays["done"]
            if done.dtype != np.bool_ or done.shape != (facts.blocks,):
                raise ValueError(f"{done.dtype} of shape {done.shape} are no blocks of such a scan")
            nothing = Counted.nothing(facts)
            tallies = tuple(
                Tally.of_arrays(_with_prefix(arrays, f"{number}_"), empty)
                for number, empty in enumerate(nothing.tallies)
            )
        except OSError as error:
            raise ResultsError(f"{path}: cannot be read: {error.strerror}") from None
        except _DAMAGE as error:
            missing = "no " if isinstance(error, KeyError) else ""
            raise ResultsError(
                f"{path}: corrupt: {missing}{error}; scan anew with --overwrite"
            ) from None
        return cls(path, facts, Counted(done, tallies))


def _with_prefix(
    arrays: Mapping[str, npt.NDArray[Any]], prefix: str
) -> dict[str, npt.NDArray[Any]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def merged(states: Sequence[State]) -> tuple[ScanFacts, Counted]:
    """The whole scan of its parts, in any order.

    Raises:
        ResultsError: a part is of another scan, is there twice, is unfinished, or is missing.
    """
    first, *others = states
    for state in others:
        difference = state.facts.difference(first.facts, whole=True)
        if difference is not None:
            raise ResultsError(
                f"{state.path}: another scan than {first.path}: {difference}; parts of one scan "
                "have the same model, corpora, options and versions"
            )
    _check_once(states)
    done = np.logical_or.reduce([state.counted.done for state in states])
    if not done.all():
        raise ResultsError(_missing(states, done))
    tallies = zip(*(state.counted.tallies for state in states), strict=True)
    return first.facts, Counted(done, tuple(functools.reduce(add, parts) for parts in tallies))


def _check_once(states: Sequence[State]) -> None:
    by_block: dict[int, State] = {}
    for state in states:
        for number in np.flatnonzero(state.counted.done).tolist():
            other = by_block.setdefault(number, state)
            if other is not state:
                raise ResultsError(
                    f"{state.path}: part {state.facts.part} has sentences that {other.path}, part "
                    f"{other.facts.part}, has as well; each sentence is counted once"
                )


def _missing(states: Sequence[State], done: Bools) -> str:
    """What a sum of these parts lacks."""
    lost = np.flatnonzero(~done).tolist()
    for state in states:
        mine = [number for number in lost if state.facts.part.holds(number)]
        if mine:
            own = sum(map(state.facts.part.holds, range(state.facts.blocks)))
            return (
                f"{state.path}: part {state.facts.part} is unfinished, {len(mine)} of "
                f"{plural(own, 'block')} are missing; scan it again with --resume"
            )
    count = states[0].facts.part.count
    absent = sorted({number % count + 1 for number in lost})
    names = join_names([f"{index}/{count}" for index in absent], MOST_NAMED)
    return f"part {names} of the scan is missing: name the folders of all parts"
