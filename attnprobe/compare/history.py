"""Suites over many runs: when a relation appears, when it breaks, and by which heads it holds.

**Rose and fell.** Two runs are compared on the checks that state the same in both, by the exact
McNemar test: the first with the last, and each with the next. Fewer than six checks that changed
can reach no p value of 0.05, whatever they did, so such a pair is no test (independent filtering,
Bourgon, Gentleman & Huber 2010). The p values of the others are adjusted for their number
(Benjamini & Hochberg 1995), and a suite rose or fell where the adjusted one is at most 0.05.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from attnprobe.compare.changes import by_key, holds, pair_models
from attnprobe.compare.run_differences import describe_network
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.core.stats import adjusted_p, paired_p
from attnprobe.render.web.overview import SuiteCount
from attnprobe.results.records import CaseResult, RelationResult, Results, read_results
from attnprobe.results.summary import suite_counts

HISTORY_SCHEMA = "attnprobe/history-1"
ALPHA = 0.05
_STEP = re.compile(r"\Astep-0*([0-9]+)\Z")

Status = Literal["holds", "fails", "gap", "error"]
Word = Literal["appears", "breaks", "fails", "cannot be measured"]


class Event(NamedTuple):
    """A run at which a check changes: `appears` at `step 20`."""

    word: Word
    run: str


class Stretch(NamedTuple):
    """Runs in which a check passes by the same heads, from the first to the last of them."""

    heads: tuple[str, ...]
    first: str
    last: str


@dataclass(frozen=True)
class SuiteLine:
    """A suite on a model over the runs; None for a run that lacks it."""

    suite: str
    model: str
    counts: tuple[SuiteCount | None, ...]


@dataclass(frozen=True)
class CheckLine:
    """A check over the runs.

    Attributes:
        key: with the model's name in the last run.
        statuses: of each run, whether the check holds, fails, fails as a known gap, or could not be
            measured; None where it was not judged.
        events: the runs at which that changed. A run in which the check states something else than
            in the one before changes nothing.
        heads: the heads by which it passes, if they are not the same in all runs.
    """

    key: Key
    suite: str
    statuses: tuple[Status | None, ...]
    events: tuple[Event, ...]
    heads: tuple[Stretch, ...]


@dataclass(frozen=True)
class Shift:
    """Two runs between which a suite rose or fell beyond chance.

    Attributes:
        old, new: the places of the two runs, from 0.
        n: the number of checks that both judged and that state the same.
        old_held, new_held: how many of these hold in each run.
        p: the exact McNemar test of the checks that changed, two-sided.
        adjusted_p: p, adjusted for the number of tests.
    """

    suite: str
    model: str
    old: int
    new: int
    n: int
    old_held: int
    new_held: int
    p: float
    adjusted_p: float

    @property
    def rose(self) -> bool:
        return self.new_held > self.old_held


@dataclass(frozen=True)
class History:
    """Some runs in their order.

    Attributes:
        runs: their names.
        suites: each suite on each model, by name.
        shifts: where suites rose or fell beyond chance, by suite and run.
        checks: all checks, by key.
        restated: for each run the number of checks that state something else than before, such as
            another text or another bound.
    """

    runs: tuple[str, ...]
    suites: tuple[SuiteLine, ...]
    shifts: tuple[Shift, ...]
    checks: tuple[CheckLine, ...]
    restated: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema": HISTORY_SCHEMA,
            "runs": list(self.runs),
            "suites": [
                {
                    "suite": line.suite,
                    "model": line.model,
                    "counts": [
                        count and {**vars(count), "pass_rate": count.pass_rate}
                        for count in line.counts
                    ],
                }
                for line in self.suites
            ],
            "shifts": [vars(shift) for shift in self.shifts],
            "checks": [
                {
                    **check.key._asdict(),
                    "suite": check.suite,
                    "statuses": list(check.statuses),
                    "events": [event._asdict() for event in check.events],
                    "heads": [stretch._asdict() for stretch in check.heads],
                }
                for check in self.checks
            ],
            "restated": list(self.restated),
        }


def read_history(*paths: str | os.PathLike[str]) -> History:
    """The history of results files.

    Args:
        paths: files in the order of the history, or folders. Those of a folder, or of the folder
            `attnprobe` in it, are ordered by name, in which numbers count as numbers.

    Raises:
        ResultsError: a file is missing or corrupt, a folder has none, or `history_of` refuses.
    """
    files = [file for path in paths for file in _files(Path(path))]
    names = [_STEP.sub(r"step \1", file.stem) for file in files]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    return history_of(list(zip(names, map(read_results, files), strict=True)))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    for folder in (path / "attnprobe", path):
        if found := [file for file in folder.glob("*.json") if not file.name.startswith(".")]:
            return sorted(found, key=_natural)
    raise ResultsError(f"{path} has no results files")


def _natural(file: Path) -> list[str | int]:
    """The sort key of a name: `step-90` comes before `step-100`."""
    parts = re.split("([0-9]+)", file.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def history_of(runs: Sequence[tuple[str, Results]]) -> History:
    """The history of some runs, with their names.

    A model of another name than in the last run is the same one where it is the only one left over.

    Raises:
        ResultsError: there are fewer than two runs, a run did not finish or has a case twice, two
            runs have other networks, or a run has no check that the one before has.
    """
    if len(runs) < 2:
        raise ResultsError("a history needs two runs or more; name their results files or a folder")
    names, results = zip(*runs, strict=True)
    renamed = [pair_models(run, results[-1]) for run in results]
    _check_networks(runs, renamed)
    found = [by_key(name, run, models) for (name, run), models in zip(runs, renamed, strict=True)]
    for (old, before), (new, now) in pairwise(zip(names, found, strict=True)):
        if not before.keys() & now.keys():
            raise ResultsError(f"{new} has no check in common with {old}")
    keys = sorted({key for items in found for key in items}, key=lambda key: key.order)
    lines = {key: [items.get(key) for items in found] for key in keys}
    checks = tuple(_check_line(names, key, items) for key, items in lines.items())
    return History(
        runs=names,
        suites=_suite_lines(found),
        shifts=_shifts(checks, lines, len(runs)),
        checks=checks,
        restated=tuple(
            sum(_restates(*_last_two(items, at)) for items in lines.values())
            for at in range(len(runs))
        ),
    )


def _check_networks(
    runs: Sequence[tuple[str, Results]], renamed: Sequence[Mapping[str, str]]
) -> None:
    """Raises ResultsError where a model is not the same kind of network in all runs."""
    known: dict[str, tuple[str, str]] = {}
    for (name, run), models in zip(runs, renamed, strict=True):
        for model in run.models:
            network = describe_network(model)
            before, old = known.setdefault(models.get(model.name, model.name), (name, network))
            if network != old:
                raise ResultsError(
                    f"{name}: {model.name} is another network than in {before}: {network} "
                    f"instead of {old}, and L0H0 of one is not L0H0 of the other"
                )


def _suite_lines(found: Sequence[Mapping[Key, CaseResult]]) -> tuple[SuiteLine, ...]:
    counted = [
        {
            (count.suite, count.model): count
            for count in suite_counts(replace(item, model=key.model) for key, item in items.items())
        }
        for items in found
    ]
    names = sorted({name for counts in counted for name in counts})
    return tuple(
        SuiteLine(*name, counts=tuple(counts.get(name) for counts in counted)) for name in names
    )


def _check_line(names: Sequence[str], key: Key, items: Sequence[CaseResult | None]) -> CheckLine:
    statuses = _statuses(items)
    suite = next(item.suite for item in reversed(items) if item is not None)
    return CheckLine(
        key, suite, statuses, _events(names, items, statuses), _stretches(names, items, statuses)
    )


def _statuses(items: Sequence[CaseResult | None]) -> tuple[Status | None, ...]:
    gaps = any(item is not None and item.state == "gap" for item in items)
    return tuple(None if item is None else _status(item, was_gap=gaps) for item in items)


def _status(item: CaseResult, *, was_gap: bool) -> Status | None:
    if item.outcome == "skipped":
        return None
    if item.state == "error":
        return "error"
    # A strict known gap that holds is a failure of the run, and the relation is there.
    closed = item.outcome == "failed" and was_gap
    if holds(item) or (closed and {entry.outcome for entry in item.expectations} == {"passed"}):
        return "holds"
    return "gap" if item.state == "gap" else "fails"


def _events(
    names: Sequence[str],
    items: Sequence[CaseResult | None],
    statuses: Sequence[Status | None],
) -> tuple[Event, ...]:
    found = []
    judged = [at for at, status in enumerate(statuses) if status is not None]
    for old, new in pairwise(judged):
        word = _word(statuses[old], statuses[new])
        if word is not None and not _restates(items[old], items[new]):
            found.append(Event(word, names[new]))
    return tuple(found)


def _word(old: Status | None, new: Status | None) -> Word | None:
    if new == old or {old, new} == {"fails", "gap"}:
        return None
    if new == "error":
        return "cannot be measured"
    if new == "holds":
        return "appears"
    return "breaks" if old == "holds" else "fails"


def _last_two(
    items: Sequence[CaseResult | None], at: int
) -> tuple[CaseResult | None, CaseResult | None]:
    """The item of a run, and that of the last run before it that has one."""
    before = next((item for item in reversed(items[:at]) if item is not None), None)
    return before, items[at]


def _restates(old: CaseResult | None, new: CaseResult | None) -> bool:
    """Whether two items of one key are known to state different things."""
    if old is None or new is None:
        return False
    for name in ("text_sha256", "corpus_sha256"):
        if len({getattr(old, name, None), getattr(new, name, None)} - {None}) > 1:
            return True
    if not old.expectations or not new.expectations:
        return False  # not measured
    hashes = [[entry.check_sha256 for entry in item.expectations] for item in (old, new)]
    if None not in hashes[0] + hashes[1]:
        return hashes[0] != hashes[1]
    before, now = (
        [(entry.rule, entry.arguments, entry.head_sets) for entry in item.expectations]
        for item in (old, new)
    )
    return before != now


def _stretches(
    names: Sequence[str],
    items: Sequence[CaseResult | None],
    statuses: Sequence[Status | None],
) -> tuple[Stretch, ...]:
    """The heads by which a check passes, run by run; empty if they are always the same."""
    found: list[Stretch] = []
    for name, item, status in zip(names, items, statuses, strict=True):
        heads = _deciding_heads(item) if status == "holds" else ()
        if not heads:
            continue
        if found and found[-1].heads == heads:
            found[-1] = found[-1]._replace(last=name)
        else:
            found.append(Stretch(heads, name, name))
    return tuple(found) if len(found) > 1 else ()


def _deciding_heads(item: CaseResult | None) -> tuple[str, ...]:
    if item is None:
        return ()
    if isinstance(item, RelationResult):
        return (item.head,) if item.head else ()
    return tuple(sorted({entry.head for entry in item.expectations if entry.head is not None}))


def _shifts(
    checks: Sequence[CheckLine], lines: Mapping[Key, Sequence[CaseResult | None]], count: int
) -> tuple[Shift, ...]:
    """The pairs of runs between which suites rose or fell."""
    pairs = list(pairwise(range(count)))
    if count > 2:
        pairs.append((0, count - 1))
    tests = [test for old, new in pairs for test in _tests(checks, lines, old, new)]
    if not tests:
        return ()
    adjusted = adjusted_p([test.p for test in tests])
    shifts = [
        replace(test, adjusted_p=float(value))
        for test, value in zip(tests, adjusted, strict=True)
        if value <= ALPHA
    ]
    return tuple(sorted(shifts, key=lambda shift: (shift.suite, shift.model, shift.new, shift.old)))


def _tests(
    checks: Sequence[CheckLine],
    lines: Mapping[Key, Sequence[CaseResult | None]],
    old: int,
    new: int,
) -> Iterator[Shift]:
    """The test of each suite between two runs in which enough checks changed."""
    held: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {}
    for check in checks:
        before, now = check.statuses[old], check.statuses[new]
        items = lines[check.key]
        if before is None or now is None or _restates(items[old], items[new]):
            continue
        pair = before == "holds", now == "holds"
        held.setdefault((check.suite, check.key.model), Counter())[pair] += 1
    for (suite, model), counts in sorted(held.items()):
        rose, fell = counts[False, True], counts[True, False]
        if paired_p(rose + fell, 0) <= ALPHA:
            both = counts[True, True]
            yield Shift(
                suite,
                model,
                old,
                new,
                n=counts.total(),
                old_held=both + fell,
                new_held=both + rose,
                p=paired_p(rose, fell),
                adjusted_p=1.0,
            )
