"""`make mutation`: of small changes to the code, how many do the tests notice?

mutmut makes the changes and runs the tests that reach each (settings in pyproject.toml). This draws
a sample of the changes of each area, in rounds, because mutmut takes quick ones first: a run that
ends early has finished rounds, which are a fair sample.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from rich.table import Table

from attnprobe.cli.base import out, print_table
from attnprobe.core.stats import wilson
from tests.mutation.quick_first import PASSED

ROOT = Path(__file__).parents[2]
MUTANTS = ROOT / "mutants"
SURVIVORS = Path(__file__).with_name("survivors.toml")
ROUND = 50
# Every test passes; no test reaches the change; no test was there to run.
UNNOTICED = (0, 33, 5)
UNREACHED = 33


@dataclass(frozen=True)
class Area:
    """Part of the code.

    Attributes:
        patterns: names of its mutants, `*` for anything.
        aim: the share of them that tests should notice.
    """

    patterns: tuple[str, ...]
    aim: float

    def has(self, mutant: str) -> bool:
        return any(fnmatchcase(mutant, pattern) for pattern in self.patterns)


AREAS: Mapping[str, Area] = {
    "gate": Area(("attnprobe.gate.*",), 0.95),
    "results": Area(("attnprobe.results.*",), 0.95),
    "chance": Area(("attnprobe.rules.chance.*",), 0.95),
    "words": Area(("attnprobe.words.*",), 0.92),
    "rules on two words": Area(
        (
            "attnprobe.rules.attends.*",
            "attnprobe.rules.weight.*",
            "attnprobe.rules.word_weights.*",
        ),
        0.92,
    ),
    "escaping": Area(
        (
            "attnprobe.core.names.*",
            "attnprobe.core.printing.*",
            "attnprobe.render.web.html.*",
            "attnprobe.render.web.scripts.*",
            "attnprobe.*_escape_*",
        ),
        0.92,
    ),
    "row check": Area(("attnprobe.models.attention_function.x_check_rows_*",), 0.92),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sample and prints it; 1 where an area misses its aim."""
    parser = argparse.ArgumentParser(prog="make mutation", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)}")
    parser.add_argument("--sample", type=int, default=250, help="mutants of each area")
    parser.add_argument("--minutes", type=float, default=60, help="begin no round after these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="all mutants, however long it takes")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.areas if name not in AREAS]
    if unknown:
        parser.error(f"no area {unknown[0]!r}; there are {', '.join(AREAS)}")
    end = time.monotonic() + 60 * options.minutes
    made = make_mutants()
    drawn = {
        name: draw(
            made, AREAS[name], seed=options.seed, most=None if options.all else options.sample
        )
        for name in options.areas or AREAS
    }
    codes: dict[str, int] = {}
    # Tests that start a process of their own must meet the mutant there as well.
    environment = os.environ | {"PYTHONPATH": str(MUTANTS)}
    for names in rounds(drawn, size=len(made) if options.all else ROUND):
        if time.monotonic() > end and not options.all:
            out.print("out of time: the sample is smaller than asked for")
            break
        run_mutmut(*names, environment=environment)
        environment[PASSED] = "1"
        found = read_exit_codes()
        codes |= {name: code for name in names if (code := found[name]) is not None}
    return report(drawn, codes, seed=options.seed)


def make_mutants() -> list[str]:
    """Names of all mutants; mutmut makes them and finds the tests of each when a run starts."""
    run_mutmut("attnprobe.results.environment.x__installed__mutmut_1")
    return sorted(read_exit_codes())


def draw(made: Sequence[str], area: Area, *, seed: int, most: int | None) -> list[str]:
    """A random sample of the mutants of an area, in random order."""
    names = [name for name in made if area.has(name)]
    random.Random(seed).shuffle(names)
    return names[:most]


def rounds(drawn: Mapping[str, Sequence[str]], *, size: int) -> Iterator[list[str]]:
    """Up to `size` mutants of each area at a time."""
    for start in range(0, max(map(len, drawn.values())), size):
        yield sorted({name for names in drawn.values() for name in names[start : start + size]})


def run_mutmut(*names: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raises CalledProcessError where the tests fail without any change."""
    command = [Path(sys.executable).with_name("mutmut"), "run", *names]
    subprocess.run(command, cwd=ROOT, check=True, env=environment)


def read_exit_codes() -> dict[str, int | None]:
    """Of each mutant, how pytest ended; None where it has not run."""
    return {
        name: code
        for file in MUTANTS.rglob("*.meta")
        for name, code in json.loads(file.read_text())["exit_code_by_key"].items()
    }


def report(drawn: Mapping[str, Sequence[str]], codes: Mapping[str, int], *, seed: int) -> int:
    """Prints the share of each area and the changes that nothing noticed; 1 where one is missed."""
    table = Table(
        "area", "mutants", "noticed", "share", "95 % interval", "aim", title=f"seed {seed}"
    )
    missed = 0
    for area, names in drawn.items():
        ends = [codes[name] for name in names if name in codes]
        if not ends:
            table.add_row(area, "0", "", "not measured", "", f"{AREAS[area].aim:.0%}")
            missed = 1
            continue
        noticed = sum(code not in UNNOTICED for code in ends)
        interval = wilson(noticed, len(ends))
        share = noticed / len(ends)
        missed |= share < AREAS[area].aim
        table.add_row(
            area,
            str(len(ends)),
            str(noticed),
            f"{share:.1%}",
            f"{interval.low:.1%} to {interval.high:.1%}",
            f"{AREAS[area].aim:.0%}",
        )
    print_survivors({name: code for name, code in codes.items() if code in UNNOTICED})
    print_table(table)
    return missed


def print_survivors(codes: Mapping[str, int]) -> None:
    """Each change that no test noticed, with the reason that is written down for it, if any."""
    reasons: Mapping[str, str] = tomllib.loads(SURVIVORS.read_text("utf-8"))
    for name, code in codes.items():
        change = describe_change(name)
        reason = "no test reaches it" if code == UNREACHED else reasons.get(change, "")
        out.print(f"{change}\n    {reason}".rstrip(), markup=False, soft_wrap=True)


def describe_change(name: str) -> str:
    """`module.function: - old + new`, which stays the same while that line does."""
    command = [Path(sys.executable).with_name("mutmut"), "show", name]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    changed = [
        f"{line[0]} {line[1:].strip()}"
        for line in shown.splitlines()
        if line.startswith(("-", "+")) and not line.startswith(("---", "+++"))
    ]
    function = name.split("__mutmut_", maxsplit=1)[0].replace(".x_", ".").removeprefix("attnprobe.")
    return f"{function}: {' '.join(changed)}"


if __name__ == "__main__":
    sys.exit(main())
