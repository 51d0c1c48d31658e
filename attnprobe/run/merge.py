"""Puts the results of the parts of a run together: `attnprobe merge`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.core.parts import MOST_NAMED
from attnprobe.core.printing import visible
from attnprobe.core.wording import join_distinct, join_names
from attnprobe.results.records import (
    ModelResult,
    OrderResult,
    PartRecord,
    Results,
    read_part,
)
from attnprobe.run.judging import EXECUTED, strict_complaints
from attnprobe.run.order import StatedPair, habits

# What of the environment may differ between the machines of two parts.
_OF_MACHINE = ("platform", "device")
_EQUAL: Mapping[str, Callable[[Results, PartRecord], Any]] = {
    "checks": lambda _, part: part.planned_sha256,
    "options": lambda _, part: dict(part.options),
    "attnprobe": lambda found, _: found.attnprobe,
    "source of attnprobe": lambda _, part: part.source_sha256,
    "files that were left out": lambda found, _: (found.left_out, found.uncollected, found.unread),
    "cases that were left out": lambda found, _: (found.absent, found.deselected),
    "models of the command line": lambda found, _: sorted(found.given),
    "number of parts": lambda _, part: part.count,
}


def merge_results(paths: Sequence[Path]) -> Results:
    """The results of the whole run, as one run would have them but for its durations.

    Args:
        paths: of the parts, in any order.

    Raises:
        ResultsError: a file cannot be read, is no part, is of another run, or is there twice; or a
            part is missing.
    """
    found: dict[int, tuple[Path, Results, PartRecord]] = {}
    for path in paths:
        results = read_part(path)
        if results.part is None and len(paths) == 1:
            return results  # --attn-shard 1/1
        if results.part is None:
            raise ResultsError(f"{path}: a whole run, not a part of one; there is nothing to add")
        other = found.setdefault(results.part.index, (path, results, results.part))[0]
        if other != path or sum(same == path for same in paths) > 1:
            raise ResultsError(f"{path}: {results.part}, which is there twice: {other}")
    parts = [found[index] for index in sorted(found)]
    for part in parts[1:]:
        _check_same(parts[0], part)
    count = parts[0][2].count
    missing = [index for index in range(1, count + 1) if index not in found]
    if missing:
        names = join_names([f"{index}/{count}" for index in missing], MOST_NAMED)
        raise ResultsError(f"part {names} of the run is missing: name the files of all parts")
    _check_once(parts)
    return _sum([results for _, results, _ in parts], [part for _, _, part in parts])


def _check_same(
    one: tuple[Path, Results, PartRecord], other: tuple[Path, Results, PartRecord]
) -> None:
    """Raises ResultsError where two parts are not of one run."""
    path, results, part = other
    for what, value in _EQUAL.items():
        _check(what, value(*one[1:]), value(results, part), path, one[0])
    for name in one[1].environment:
        was, now = one[1].environment[name], results.environment.get(name)
        # A part that loaded no model has no number type.
        if name not in _OF_MACHINE and not (name == "dtype" and None in (was, now)):
            _check(name, was, now, path, one[0])
    files = one[2].files
    for file in sorted(files.keys() | part.files.keys()):
        _check(f"content of {file}", (files.get(file),), (part.files.get(file),), path, one[0])
    known = {model.name: _of_files(model) for model in one[1].models}
    for model in results.models:
        for field, value in _of_files(model).items():
            if model.name in known:
                _check(f"{field} of {model.name}", known[model.name][field], value, path, one[0])


def _check_once(parts: Sequence[tuple[Path, Results, PartRecord]]) -> None:
    """Raises ResultsError where two parts have a result of one check."""
    seen: dict[Key, Path] = {}
    for path, results, _ in parts:
        for item in results.items:
            other = seen.setdefault(item.key, path)
            if other != path:
                raise ResultsError(
                    f"{path}: has {item.address} as {other} has; parts have none twice"
                )


def _of_files(model: ModelResult) -> dict[str, Any]:
    """A model without the device that it ran on."""
    return {name: value for name, value in vars(model).items() if name != "device"}


def _check(what: str, was: object, now: object, path: Path, first: Path) -> None:
    if was != now:
        values = ""
        if not isinstance(was, dict | list | tuple) and what != "checks":
            values = f": {visible(str(was))[:80]} there, {visible(str(now))[:80]} here"
        raise ResultsError(
            f"{path}: of another run than {first}, for its {what} differ{values}; parts of one run "
            "have the same model, case files, selection, options and versions"
        )


def _sum(found: Sequence[Results], parts: Sequence[PartRecord]) -> Results:
    first, broken = found[0], parts[0].broken
    models: dict[str, list[ModelResult]] = {}
    for results in found:
        for model in results.models:
            models.setdefault(model.name, []).append(model)
    free = {suite for part in parts for suite in part.free}
    bound = {suite for part in parts for suite in part.bound}
    cases = tuple(case for results in found for case in results.cases)
    outcomes = {
        Key.of(vars(case)): [entry.outcome for entry in case.expectations] for case in cases
    }
    pairs = [StatedPair(**vars(pair)) for pair in parts[0].pairs]
    order = habits(pairs, outcomes, parts[0].default_models)
    return replace(
        first,
        environment={
            name: join_distinct(results.environment.get(name) for results in found)
            if name in (*_OF_MACHINE, "dtype")
            else value
            for name, value in first.environment.items()
        },
        models=tuple(
            replace(same[0], device=join_distinct(model.device for model in same))
            for same in models.values()
        ),
        cases=cases,
        relations=tuple(one for results in found for one in results.relations),
        # A part that ended before its first check has counted none.
        collected=parts[0].planned + broken,
        absent_suites=tuple(sorted({one for results in found for one in results.absent_suites})),
        order=tuple(OrderResult(**vars(habit)) for habit in order),
        bound=tuple(sorted(bound - free)),
        other_failures=tuple(sorted({one for results in found for one in results.other_failures})),
        complaints=tuple(dict.fromkeys(_complaints(found, parts))),
        part=None,
    )


def _complaints(found: Sequence[Results], parts: Sequence[PartRecord]) -> Iterator[str]:
    """The complaints of all parts, and those of a strict run, which no part can judge."""
    options = parts[0].options
    if options.get("strict"):
        items = [item for results in found for item in results.items]
        judged = any(item.outcome in EXECUTED for item in items)
        may_be_empty = not options.get("strict_given") and not items
        yield from strict_complaints(judged or may_be_empty, found[0].absent)
    for results in found:
        yield from results.complaints
