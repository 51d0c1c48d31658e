"""Two runs compared: which checks broke, which were fixed, and which numbers moved.

The input is results, the output changes; nothing is run. A `Key` identifies a case in both runs.

**Moved.** A number moved if it changed by more than `TOLERANCE_SHARE` of its old value and by more
than `TOLERANCE` in its own unit. A cast to bfloat16 stays within these tolerances. Stronger means
towards the side on which the bound holds: up for `>=` and `>`, down for `<=` and `<`. On another
text, no number counts as moved.

**The same expectation.** Two expectations are the same if they have the same rule and arguments,
except for the bounds that the rule declares: `min: 0.3` may become `min: 0.4`, but `offset: -1` may
not become `offset: 2`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal, NamedTuple, TypeGuard

from attnprobe.compare.run_differences import run_differences
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.core.stats import paired_difference, paired_p
from attnprobe.core.units import without_notes
from attnprobe.core.verdicts import Bound
from attnprobe.core.wording import format_stated, plural, shorten
from attnprobe.results.records import (
    CaseResult,
    ExpectationResult,
    RelationResult,
    Results,
)
from attnprobe.rules import RULES, Rule

Kind = Literal["kept", "fixed", "broken", "weaker", "stronger", "new", "gone"]
# In the order of reports: the kinds that readers need most come first.
KINDS: tuple[Kind, ...] = ("broken", "gone", "weaker", "fixed", "stronger", "new", "kept")

TOLERANCE = 0.01
TOLERANCE_SHARE = 0.05

# The rule name of a relation's bounds in results; the one argument of each is a bound.
RELATION = "relation"
_MOST_NAMED = 3  # cases that a message names
_DISTANCE = re.compile(r"distance [+-][0-9]+$")
# Prefixes of bounds that demand a least value. `top` is not among them, because `attends` and
# `ignores` demand opposite things with it.
_LEAST = ("min", "margin", "ratio", "accuracy", "above")


class Step(NamedTuple):
    """A bounded number before and now: weight 0.41, then 0.33. None if it was not measured."""

    old: Bound | None
    new: Bound | None

    @property
    def gain(self) -> float | None:
        """The change towards the side on which the bound holds, in the number's own unit.

        Different numbers of one unit, such as two weights, are compared by their distances from
        their bounds. None if one was not measured, or if the units differ (a rank and a weight).
        """
        old, new = self.old, self.new
        if old is None or new is None or not old.direction or not new.direction:
            return None
        if _number(old) == _number(new):
            return new.direction * (new.observed - old.observed)
        if old.unit == new.unit and old.slack is not None and new.slack is not None:
            # Another bound of the rule is the nearest now; only the slack can be compared.
            return new.slack - old.slack
        return None

    @property
    def by(self) -> float | None:
        """The gain as a share of the old value: -0.2 is a fifth weaker.

        None if the numbers are of two kinds, if one was not measured, or if the old one was 0.
        """
        old, new, gain = self.old, self.new, self.gain
        if gain is None or old is None or new is None or not old.observed:
            return None
        return gain / abs(old.observed) if _measure(old) == _measure(new) else None

    @property
    def moved(self) -> Literal[-1, 0, 1]:
        """-1 weaker, 1 stronger, 0 within the tolerances."""
        if self.gain is None or self.old is None:
            return 0
        beyond = abs(self.gain) > max(TOLERANCE, TOLERANCE_SHARE * abs(self.old.observed))
        return _sign(self.gain if beyond else 0)

    def falls_by(self, share: float) -> bool:
        """Whether the number fell by more than a share of its old value, as `Move.weaker_than`."""
        if self.old is None:
            return False
        if self.gain is None:
            return True
        return self.gain < -max(share * abs(self.old.observed), TOLERANCE)


@dataclass(frozen=True)
class Move:
    """One expectation before and now.

    Attributes:
        moved: -1 weaker, 1 stronger, 0 neither, by the outcome or, if it is the same, by the
            deciding number; on another text by the outcome alone.
    """

    old: ExpectationResult
    new: ExpectationResult
    moved: Literal[-1, 0, 1]

    @property
    def deciding(self) -> Step:
        """The deciding number before and the deciding number now."""
        return Step(self.old.deciding, self.new.deciding)

    @property
    def weights(self) -> tuple[Step, ...]:
        """Each weight that had a bound before, whether it decided or not.

        If the weight has no bound now, the step ends with the number that decides now.
        """
        now = {_number(bound): bound for bound in self.new.bounds if bound.unit == "weight"}
        return tuple(
            Step(bound, now.get(_number(bound), self.new.deciding))
            for bound in self.old.bounds
            if bound.unit == "weight"
        )

    @property
    def drifts(self) -> list[float]:
        """How far each weight that has a bound in both runs has moved, up or down."""
        return [
            abs(step.new.observed - step.old.observed)
            for step in self.weights
            if step.old and step.new and _number(step.old) == _number(step.new)
        ]

    def weaker_than(self, share: float) -> bool:
        """Whether a number fell, or may have fallen, by more than a share of its old value.

        The numbers are the deciding one and each bounded weight. A number may have fallen if it
        can no longer be measured, or if a number of another unit decides now. A fall of at most
        `TOLERANCE` never counts, nor does a number that was not measured before.

        Args:
            share: 0 or more: 0.2 is a fifth.
        """
        return any(step.falls_by(share) for step in (self.deciding, *self.weights))


@dataclass(frozen=True)
class Change:
    """One case, or relation, on one model in both runs.

    The kinds:

    - `broken`: held before and no longer holds (failed, xfailed or not measured), or is a known gap
      that can no longer be measured.
    - `fixed`: did not hold before and holds now.
    - `gone`: only in the old run, skipped in the new one, or no longer states an expectation.
    - `new`: only in the new run, or skipped in the old one.
    - `weaker`, `stronger`: holds, or does not hold, as before, but a number moved.
    - `kept`: everything else.

    Attributes:
        key: the key, with the model's name in the new run.
        by: the largest fall of a deciding number, or without a fall the largest rise, as in
            `Step.by`; None if no numbers can be compared or the text differs.
        moves: the expectations that both runs judged.
        lost: expectations of the old run that the new one does not state on the same words.
    """

    key: Key
    kind: Kind
    old: CaseResult | None
    new: CaseResult | None
    by: float | None
    moves: tuple[Move, ...] = ()
    lost: tuple[ExpectationResult, ...] = ()

    @property
    def is_retexted(self) -> bool:
        """Whether the text, or the answer to it, is known to differ from the old one."""
        old, new = self.old, self.new
        if old is None or new is None:
            return False
        return _retexted(old, new) or _answered_otherwise(old, new)

    @property
    def loosened(self) -> tuple[str, ...]:
        """The bounds that demand less than before: `min 0.3 → 0.2`."""
        return tuple(bound for move in self.moves for bound in _loosened(move.old, move.new))

    @property
    def name(self) -> str:
        """The id, with the row of a template: `it-animal[dog]`."""
        return self.key.name

    def weaker_than(self, share: float) -> bool:
        """Whether a number fell, or may have fallen, by more than a share of its old value.

        See `Move.weaker_than`. A lost expectation may have fallen.

        Args:
            share: 0 or more: 0.2 is a fifth.
        """
        return bool(self.lost) or any(move.weaker_than(share) for move in self.moves)


@dataclass(frozen=True)
class SuiteTest:
    """The cases of one suite that both runs executed, as pairs.

    Attributes:
        n: the number of pairs, without skipped cases.
        old_passed, new_passed: the number of cases that held in each run.
        p: exact McNemar test of broken against fixed cases, two-sided.
        low, high: 95 % interval of the change of the pass rate, new minus old (Newcombe 1998,
            paired, method 10).
        weights: the number of attention weights that have a bound in both runs, on the same text.
        mean_drift, largest_drift: how far they have moved, up or down; None without any.
    """

    suite: str
    model: str
    n: int
    old_passed: int
    new_passed: int
    p: float
    low: float
    high: float
    weights: int = 0
    mean_drift: float | None = None
    largest_drift: float | None = None

    @property
    def change(self) -> float:
        """The change of the pass rate, -1 to 1."""
        return (self.new_passed - self.old_passed) / self.n


@dataclass(frozen=True)
class Comparison:
    """The comparison of two runs.

    Attributes:
        changes: all cases of both runs, by key.
        suites: the suites with at least one pair, by name.
        warnings: other differences: versions, number type, weights, cases that cannot be compared.
    """

    changes: tuple[Change, ...]
    suites: tuple[SuiteTest, ...]
    warnings: tuple[str, ...]

    def of(self, *kinds: Kind) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind in kinds)

    def counts(self) -> dict[Kind, int]:
        """The number of changes of each kind, zeros included."""
        found = Counter(change.kind for change in self.changes)
        return {kind: found[kind] for kind in KINDS}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "counts": self.counts(),
            "changes": [_change_dict(change) for change in self.changes],
            "suites": [{**vars(suite), "change": suite.change} for suite in self.suites],
            "warnings": list(self.warnings),
        }


def compare_results(
    old: Results, new: Results, *, models: Mapping[str, str] | None = None
) -> Comparison:
    """Compares the cases and relations of two runs.

    Args:
        models: the new run's name of each model of the old run whose name differs.

    Raises:
        ResultsError: a run did not finish, has a case twice, or has no model of a name in
            `models`.
    """
    renamed = dict(models or {})
    _check_names(old, new, renamed)
    before = by_key("the old run", old, renamed)
    after = by_key("the new run", new, {})
    keys = sorted(before.keys() | after.keys(), key=lambda key: key.order)
    changes = tuple(_change(key, before.get(key), after.get(key)) for key in keys)
    return Comparison(
        changes, tuple(_suites(changes)), tuple(_warnings(old, new, renamed, changes))
    )


def check_baseline(run: Results) -> None:
    """Refuses results that cannot serve as a baseline.

    Raises:
        ResultsError: the run did not finish, has a case twice, could not measure a case, or had no
            model.
    """
    by_key("the old run", run, {})
    errors = [item for item in run.items if item.state == "error"]
    if errors:
        cases = plural(len(errors), "case")
        raise ResultsError(f"{cases} could not be measured: {_join_places(errors)}")
    if not run.models:
        raise ResultsError("no model was judged")


def _join_places(items: Sequence[CaseResult]) -> str:
    return "; ".join(shorten([item.key.place for item in items], _MOST_NAMED))


def compare_models(run: Results, old: str, new: str) -> Comparison:
    """Compares two models of one run on the cases that ran on both.

    Raises:
        ResultsError: the run has no model of one of the names, has a case twice, or did not
            finish.
    """
    _check_finished("the run", run)
    _check_names(run, run, {old: new})
    ran = [
        {item.key._replace(model=new) for item in run.items if item.model == name}
        for name in (old, new)
    ]
    shared = ran[0] & ran[1]
    return compare_results(
        _only(run, old, {key._replace(model=old) for key in shared}),
        _only(run, new, shared),
        models={old: new} if old != new else None,
    )


def pair_models(old: Results, new: Results) -> dict[str, str]:
    """The new run's name of each model of the old run.

    Models of the same name are a pair. If one model is left over in each run, these two are a pair
    as well; otherwise models that are left over are in no pair.
    """
    before, after = _model_names(old), _model_names(new)
    pairs = {name: name for name in before if name in after}
    rest_before = [name for name in before if name not in pairs]
    rest_after = [name for name in after if name not in pairs]
    if len(rest_before) == len(rest_after) == 1:
        pairs[rest_before[0]] = rest_after[0]
    return pairs


def _model_names(run: Results) -> list[str]:
    return sorted({item.model for item in run.items} | {model.name for model in run.models})


def _only(run: Results, model: str, keys: Collection[Key]) -> Results:
    """The part of a run on one model and some of its cases, as a run of its own."""
    wanted = [item for item in run.items if item.key in keys]
    return replace(
        run,
        models=tuple(entry for entry in run.models if entry.name == model),
        cases=tuple(item for item in wanted if not isinstance(item, RelationResult)),
        relations=tuple(item for item in wanted if isinstance(item, RelationResult)),
        collected=len(wanted),
    )


def _check_names(old: Results, new: Results, renamed: Mapping[str, str]) -> None:
    for name, run, which in [
        *((name, old, "old") for name in renamed),
        *((name, new, "new") for name in renamed.values()),
    ]:
        known = _model_names(run)
        if name not in known:
            raise ResultsError(f"the {which} run has no model {name!r}; it has: {', '.join(known)}")


def _check_finished(which: str, run: Results) -> None:
    missing = run.missing
    if missing:
        raise ResultsError(
            f"{which} did not finish: {missing} of {run.collected} cases left no result; "
            "run it again"
        )


def by_key(which: str, run: Results, renamed: Mapping[str, str]) -> dict[Key, CaseResult]:
    """The items of a run by key.

    Args:
        which: the run in messages: `the old run`.
        renamed: another name for each model of the run that gets one.

    Raises:
        ResultsError: the run did not finish, or has a case twice.
    """
    _check_finished(which, run)
    found: dict[Key, CaseResult] = {}
    for item in run.items:
        key = item.key._replace(model=renamed.get(item.model, item.model))
        if key in found:
            raise ResultsError(
                f"{which} has {key.place} twice: cases of one file need different ids"
            )
        found[key] = item
    return found


def _change(key: Key, old: CaseResult | None, new: CaseResult | None) -> Change:
    judged_before = old is not None and old.outcome != "skipped"
    judged_now = new is not None and new.outcome != "skipped"
    if old is None or new is None or judged_before != judged_now:
        # A skipped case counts as missing, because nothing was measured.
        kind: Kind = "new" if judged_now or old is None else "gone"
        return Change(key, kind, old, new, None)
    moves, lost = _moves(old, new)
    by = _largest([move.deciding.by for move in moves if move.deciding.by is not None])
    if _retexted(old, new) or _answered_otherwise(old, new):
        by = None
        moves = tuple(
            replace(move, moved=_sign(_rank(move.new) - _rank(move.old))) for move in moves
        )
    return Change(key, _kind(old, new, moves, lost), old, new, by, moves, lost)


def _retexted(old: CaseResult, new: CaseResult) -> bool:
    return len({old.text_sha256, new.text_sha256} - {None}) > 1


def _answered_otherwise(old: CaseResult, new: CaseResult) -> bool:
    """Whether the model generated another answer to the same text."""
    both = bool(old.generated and new.generated) and not _retexted(old, new)
    return both and old.generated != new.generated


def holds(item: CaseResult) -> bool:
    """Whether a check was measured and holds, also one that is marked as a known gap."""
    return item.outcome in ("passed", "xpassed") and item.state != "error"


def _kind(
    old: CaseResult, new: CaseResult, moves: Sequence[Move], lost: Sequence[ExpectationResult]
) -> Kind:
    held, now = holds(old), holds(new)
    if (held and not now) or (old.state == "gap" and new.state == "error"):
        return "broken"
    if lost and new.state != "error":
        # A case that states less holds more easily, so it does not replace the old one.
        return "gone"
    if now and not held:
        return "fixed"
    if (old.state == "error") != (new.state == "error"):
        return "weaker" if new.state == "error" else "stronger"
    moved = {move.moved for move in moves}
    if -1 in moved:
        return "weaker"
    return "stronger" if 1 in moved else "kept"


def _largest(changes: Sequence[float]) -> float | None:
    """The largest fall; without one, the largest rise."""
    if not changes:
        return None
    return min(changes) if min(changes) < 0 else max(changes)


def _moves(
    old: CaseResult, new: CaseResult
) -> tuple[tuple[Move, ...], tuple[ExpectationResult, ...]]:
    """Pairs the expectations that are the same except for their bounds.

    Returns:
        The pairs in the new order, and the old expectations without a pair.
    """
    before, now = _by_statement(old.expectations), _by_statement(new.expectations)
    moves = tuple(
        _move(before[statement], expectation)
        for statement, expectation in now.items()
        if statement in before
    )
    return moves, tuple(before[statement] for statement in before if statement not in now)


def _by_statement(
    expectations: Iterable[ExpectationResult],
) -> dict[tuple[str, str, int], ExpectationResult]:
    """Expectations by rule, arguments without bounds, and a counter of equal ones."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for expectation in expectations:
        bounds = _bounds(expectation)
        stated = {
            name: value for name, value in expectation.arguments.items() if name not in bounds
        }
        if expectation.rule == RELATION:
            stated = dict.fromkeys(expectation.arguments)
        statement = expectation.rule, json.dumps(stated, sort_keys=True, default=str)
        found[(*statement, seen[statement])] = expectation
        seen[statement] += 1
    return found


def _bounds(expectation: ExpectationResult) -> frozenset[str]:
    """The names of an expectation's arguments that are bounds."""
    rule = expectation.rule
    return RULES[rule].bounds if rule in RULES else Rule.bounds


def _loosened(old: ExpectationResult, new: ExpectationResult) -> Iterator[str]:
    """The bounds of an expectation that demand less than before, or that are gone."""
    for name in sorted(old.arguments if old.rule == RELATION else _bounds(old)):
        before, now = old.arguments.get(name), new.arguments.get(name)
        if _is_number(before) and now is None:
            yield f"{name} {format_stated(before)} → none"
        elif _is_number(before) and _is_number(now):
            is_least = _is_least_value(old, name, before)
            if is_least is not None and (now < before if is_least else now > before):
                yield f"{name} {format_stated(before)} → {format_stated(now)}"


def _is_least_value(expectation: ExpectationResult, name: str, demanded: float) -> bool | None:
    """Whether a bound demands a least value; None if neither its name nor a record says."""
    if expectation.rule == RELATION and name.endswith("_p"):
        return False
    if name.startswith((*_LEAST, "max")):
        return name.startswith(_LEAST)
    for bound in expectation.bounds:
        if bound.demanded == demanded and bound.direction:
            return bound.direction > 0
    return None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _move(old: ExpectationResult, new: ExpectationResult) -> Move:
    turned = _sign(_rank(new) - _rank(old))
    return Move(old, new, turned or Step(old.deciding, new.deciding).moved)


def _rank(expectation: ExpectationResult) -> int:
    """The rank of an outcome, higher is better; borderline and vacuous count as passed."""
    return {"error": 0, "failed": 1}.get(expectation.outcome, 2)


def _sign(number: float) -> Literal[-1, 0, 1]:
    if number == 0:
        return 0
    return 1 if number > 0 else -1


def _number(bound: Bound) -> tuple[str, int]:
    """The identity of a bounded number: its measure and the side on which its bound holds."""
    return _measure(bound), bound.direction


def _measure(bound: Bound) -> str:
    """The measure without notes such as `, 2 of 9 rows left out`.

    Leads over the best fixed distance have one measure, whatever the distance.
    """
    return _DISTANCE.sub("distance", without_notes(bound.measure))


def _suites(changes: Sequence[Change]) -> Iterator[SuiteTest]:
    pairs: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    drifts: dict[tuple[str, str], list[float]] = {}
    for change in changes:
        if change.old is None or change.new is None or change.kind in ("new", "gone"):
            continue
        if change.new.outcome != "skipped":
            held = holds(change.old), holds(change.new)
            suite_and_model = change.new.suite, change.key.model
            pairs.setdefault(suite_and_model, []).append(held)
            if not change.is_retexted:
                drifts.setdefault(suite_and_model, []).extend(
                    drift for move in change.moves for drift in move.drifts
                )
    for (suite, model), found in sorted(pairs.items()):
        counts = Counter(found)
        fixed, broken = counts[False, True], counts[True, False]
        both, neither = counts[True, True], counts[False, False]
        interval = paired_difference(both, fixed, broken, neither)
        moved = drifts.get((suite, model), [])
        yield SuiteTest(
            suite=suite,
            model=model,
            n=len(found),
            old_passed=both + broken,
            new_passed=both + fixed,
            p=paired_p(fixed, broken),
            low=interval.low,
            high=interval.high,
            weights=len(moved),
            mean_drift=fmean(moved) if moved else None,
            largest_drift=max(moved, default=None),
        )


def _warnings(
    old: Results, new: Results, renamed: Mapping[str, str], changes: Sequence[Change]
) -> Iterator[str]:
    yield from run_differences(old, new, renamed)
    for what, differ in (("the text of", _retexted), ("the answer to", _answered_otherwise)):
        pairs = [(change.old, change.new) for change in changes]
        items = [new for old, new in pairs if old and new and differ(old, new)]
        if items:
            cases = plural(len(items), "case")
            yield f"{what} {cases} is another than before: {_join_places(items)}"
    loosened = [f"{change.key.place}: {bound}" for change in changes for bound in change.loosened]
    if loosened:
        bounds = plural(len(loosened), "bound is", "bounds are")
        yield f"{bounds} looser than before: {'; '.join(shorten(loosened, _MOST_NAMED))}"
    uncompared = sum(
        move.deciding.gain is None
        for change in changes
        for move in change.moves
        if move.old.bounds and move.new.bounds
    )
    if uncompared:
        expectations = plural(uncompared, "expectation was", "expectations were")
        yield (
            f"{expectations} decided by another kind of number than before: "
            "compared by outcome alone"
        )


def _change_dict(change: Change) -> dict[str, Any]:
    return {
        **change.key._asdict(),
        "kind": change.kind,
        "by": change.by,
        "lost": [entry.as_dict() for entry in change.lost],
        "old": change.old and change.old.as_dict(),
        "new": change.new and change.new.as_dict(),
    }
