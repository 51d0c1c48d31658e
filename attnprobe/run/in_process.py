"""Runs case files on a model without pytest, with the verdicts and records that pytest gives."""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe import cases
from attnprobe.cases import Case, Relation
from attnprobe.core.errors import AttnprobeError, ModelError, ResultsError, first_line
from attnprobe.core.names import CHANCE_MAX, LOCK
from attnprobe.core.printing import harmless, no_command
from attnprobe.relations.accuracy import RelationFinding
from attnprobe.results.environment import environment
from attnprobe.results.lock import read_heads
from attnprobe.results.records import (
    CaseOutcome,
    CaseResult,
    OrderResult,
    RelationResult,
    Results,
)
from attnprobe.run.folders import left_behind, shown_path
from attnprobe.run.judging import Judge, Judged, strict_complaints
from attnprobe.run.order import habits, stated_pairs
from attnprobe.run.records import measured, model_record
from attnprobe.run.selection import name_test
from attnprobe.words.heads import HeadSet

if TYPE_CHECKING:
    from attnprobe.models import Model

Select = str | Callable[[Case | Relation], bool]
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
# What becomes of the outcome of a known gap, which is strict: one that holds is a failure.
_MARKED: Mapping[CaseOutcome, CaseOutcome] = {"failed": "xfailed", "passed": "failed"}


@dataclass(frozen=True)
class Item:
    """An entry of a case file, with the file's name in results."""

    entry: Case | Relation
    file: str

    @property
    def nodeid(self) -> str:
        return f"{self.file}::{no_command(self.entry.name)}"

    @property
    def names(self) -> list[str]:
        """The names that -k of pytest compares."""
        stated = {"skip": self.entry.skip, "xfail": self.entry.xfail}
        marks = [*self.entry.marks, *(mark for mark, why in stated.items() if why is not None)]
        return [*Path(self.file).parts, no_command(self.entry.name), *marks]


@dataclass(frozen=True)
class Suite:
    """The entries of some case files, read and not yet judged.

    Attributes:
        uncollected: case files beside those that were read, as results list them.
    """

    items: tuple[Item, ...]
    uncollected: tuple[str, ...]


def run_cases(
    model: Model,
    paths: Paths = "cases",
    *,
    select: Select | None = None,
    root: str | os.PathLike[str] | None = None,
    lock: str | os.PathLike[str] | None = None,
    strict: bool = False,
    chance_max: float = CHANCE_MAX,
    max_unfolded: int = 1,
    batch_tokens: int | None = None,
    nearest: bool = False,
) -> Results:
    """Judges the cases and relations of `*.attn.yaml` files on one model.

    The verdicts, numbers and records are those of `pytest --attn-json` on the same files; tests
    written in Python are not run. No pytest takes part, so it works in a notebook, in a training
    run and inside a test.

    Args:
        model: from `attnprobe.load` or `attnprobe.from_network`. Cases for a model of another name
            are left out, and counted in the results.
        paths: a file, a folder, or several.
        select: which cases to judge: an expression like that of pytest's `-k`, such as
            `"agreement and not it"`, over the names of the case, of its file and folders, and of
            its marks; or a function of a `Case` or `Relation` that says whether to judge it.
        root: the folder that file names in the results start from, and that has to contain every
            corpus, as the root of a pytest run; the working directory by default.
        lock: the file of named head sets; by default `attnprobe.lock.json` in the root, if there.
        strict: whether borderline and vacuous verdicts fail.
        chance_max: a rule that passes for more of the other word pairs than this share is vacuous.
        max_unfolded: how many times the usual bounds a case file may hold and unfold to.
        batch_tokens: the most tokens in one forward pass, padding included; the model's own by
            default.
        nearest: whether to look for the best other head of a failing word pair in all layers,
            which takes another pass over its text, instead of in the captured ones.

    Returns:
        The record of the run; `results.write(path)` writes the file that the commands read.

    Raises:
        CaseError, CaseErrors: what is wrong in a case file, as `file:line:column: message`.
        ResultsError: the lock file is corrupt or missing.
        ModelError: `model` is none.
        ValueError: `select` is no expression.
    """
    suite = read_suite(paths, root=root, lock=lock, max_unfolded=max_unfolded)
    return run_suite(
        model,
        suite,
        select=select,
        strict=strict,
        chance_max=chance_max,
        batch_tokens=batch_tokens,
        nearest=nearest,
    )


def read_suite(
    paths: Paths,
    *,
    root: str | os.PathLike[str] | None = None,
    lock: str | os.PathLike[str] | None = None,
    max_unfolded: int = 1,
) -> Suite:
    """The entries of case files, in pytest's order; the arguments are those of `run_cases`."""
    top = Path(root or "").absolute()
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    places = [Path(os.path.normpath(Path(path).absolute())) for path in given]
    files: dict[str, Path] = {}
    for file in cases.case_files(places):
        files.setdefault(os.path.realpath(file), file)
    head_sets = _head_sets(lock, top)
    items: list[Item] = []
    for file in files.values():
        shown = shown_path(file, top)
        contents = cases.load_contents(
            file, shown, head_sets=head_sets, root=top, max_unfolded=max_unfolded
        )
        items += [Item(case, shown) for case in contents.cases]
        items += [Item(relation, shown) for relation in contents.relations]
    roots = [place if place.is_dir() else place.parent for place in places]
    return Suite(tuple(items), left_behind(roots, files, top))


def _head_sets(lock: str | os.PathLike[str] | None, top: Path) -> Mapping[str, HeadSet]:
    file = Path(lock) if lock is not None else top / LOCK
    if file.exists():
        return read_heads(file)
    if lock is not None:
        raise ResultsError(f"lock: there is no file {file}")
    return {}


def run_suite(
    model: Model,
    suite: Suite,
    *,
    select: Select | None = None,
    strict: bool = False,
    chance_max: float = CHANCE_MAX,
    batch_tokens: int | None = None,
    nearest: bool = False,
) -> Results:
    """Judges entries that were read before; the arguments are those of `run_cases`."""
    if not hasattr(model, "collect"):
        raise ModelError(
            f"run_cases takes a model, not a {type(model).__name__}; attnprobe.load and "
            "attnprobe.from_network make one"
        )
    test = _test(select)
    chosen = [item for item in suite.items if test(item)]
    runs = [item for item in chosen if item.entry.model in (None, model.name)]
    recorded = model_record(model, model.name, asked=model.ref)
    judge = Judge(
        lambda _: model,
        batch_tokens=batch_tokens or model.batch_tokens,
        chance_max=chance_max,
        strict=strict,
        nearest=nearest,
    )
    records = _records(runs, judge, model.name)
    judged = any(record.outcome not in ("skipped", "xfailed") for record in records)
    models = (recorded,) if any(record.outcome != "skipped" for record in records) else ()
    by_model = _by_model(suite, chosen, model.name)
    return Results(
        environment=environment(
            device=", ".join(str(used.device) for used in models) or None,
            dtype=", ".join(str(used.dtype) for used in models) or None,
        ),
        models=models,
        cases=tuple(one for one in records if not isinstance(one, RelationResult)),
        relations=tuple(one for one in records if isinstance(one, RelationResult)),
        collected=len(runs),
        deselected=len(suite.items) - len(chosen),
        order=_order(suite, records, model.name),
        given=(model.name,),
        uncollected=suite.uncollected,
        complaints=strict_complaints(judged, by_model["absent"]) if strict else (),
        **by_model,
    )


def _test(select: Select | None) -> Callable[[Item], bool]:
    if select is None:
        return lambda _: True
    if isinstance(select, str):
        holds = name_test(select)
        return lambda item: holds(item.names)
    return lambda item: bool(select(item.entry))


def _by_model(suite: Suite, chosen: Sequence[Item], model: str) -> dict[str, Any]:
    """The fields of the results on models that cases name."""
    absent = [item for item in chosen if item.entry.model not in (None, model)]
    lost = {item.entry.suite for item in absent}
    runnable = {item.entry.suite for item in suite.items if item not in absent}
    runs = [item.entry for item in chosen if item.entry.model in (None, model)]
    bound = {entry.suite for entry in runs if entry.model is not None}
    return {
        "absent": Counter(str(item.entry.model) for item in absent),
        "absent_suites": tuple(lost - runnable),
        "bound": tuple(bound - {entry.suite for entry in runs if entry.model is None}),
    }


def _order(suite: Suite, records: Sequence[CaseResult], model: str) -> tuple[OrderResult, ...]:
    stated = stated_pairs(item.entry for item in suite.items if isinstance(item.entry, Case))
    outcomes = {one.key: [entry.outcome for entry in one.expectations] for one in records}
    return tuple(OrderResult(**vars(habit)) for habit in habits(stated, outcomes, [model]))


def _records(items: Sequence[Item], judge: Judge, model: str) -> list[CaseResult]:
    """The record of each entry, in their order."""
    planned = [item.entry for item in items]
    judging = _Judging(
        judge,
        model,
        [entry for entry in planned if isinstance(entry, Case)],
        [entry for entry in planned if isinstance(entry, Relation)],
    )
    return [judging.record(item) for item in items]


@dataclass(frozen=True)
class _Judging:
    """Judges the entries of a run as the items of pytest do.

    Attributes:
        cases, relations: all entries of the run, in their order.
    """

    judge: Judge
    model: str
    cases: list[Case]
    relations: list[Relation]

    def record(self, item: Item) -> CaseResult:
        start = time.perf_counter()
        judged: list[Judged] = []
        related: RelationFinding | None = None
        error: str | None = None
        entry = item.entry
        outcome: CaseOutcome = "skipped"
        if entry.skip is None:
            try:
                if isinstance(entry, Relation):
                    related = self.judge.relation(entry, self.model, lambda: self.relations)
                    outcome = self._of_relation(related)
                else:
                    judged = self.judge.case(entry, self.model, lambda: self.cases)
                    outcome = self._of_case(judged)
            except Exception as fault:  # noqa: BLE001  of a rule of another package, say
                outcome, error = "error", _first_line(fault)
        if entry.xfail is not None and outcome in _MARKED:
            outcome = _MARKED[outcome]
        kind = RelationResult if isinstance(entry, Relation) else CaseResult
        return kind.from_dict(
            {"nodeid": item.nodeid, "file": item.file, "line": entry.mark.line}
            | cases.identity(entry, self.model)
            | measured(entry, judged, related)
            | {"outcome": outcome, "error": error, "duration_s": time.perf_counter() - start}
        )

    def _of_case(self, judged: Sequence[Judged]) -> CaseOutcome:
        findings = [entry.finding for entry in judged]
        if any(finding.error for finding in findings):
            return "error"
        return "failed" if any(map(self.judge.fails, findings)) else "passed"

    def _of_relation(self, found: RelationFinding) -> CaseOutcome:
        if found.error is not None:
            return "error"
        outcomes = [verdict.outcome for verdict in found.verdicts]
        return "failed" if any(map(self.judge.fails_as, outcomes)) else "passed"


def _first_line(fault: Exception) -> str:
    """The line with which Python ends the traceback of an error, as pytest's summary has it."""
    if isinstance(fault, AttnprobeError):
        return harmless(first_line(fault))
    return "".join(traceback.format_exception_only(fault)).strip().splitlines()[0]
