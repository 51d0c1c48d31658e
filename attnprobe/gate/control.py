"""The control: compares each suite on a model with the same suite on an untrained twin.

The twin has the architecture and the tokenizer of the model, and random weights. A suite that the
twin passes as well says nothing about training.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from attnprobe.core.names import SUFFIX, Key
from attnprobe.core.stats import paired_p
from attnprobe.core.wording import format_p, format_stated
from attnprobe.gate.check import Check, grouped
from attnprobe.gate.reasons import Reason, blocked, format_checks, unjudged
from attnprobe.results.records import Results

# The largest p of a one-sided exact McNemar test by which a model counts as better than its twin.
SIGNIFICANT = 0.05
# The fewest checks that can reach it: if 4 of 4 hold on the model alone, p is 0.0625.
LEAST = 5
# The most checks of a model that the notes list as holding on its twin.
_MOST_LISTED = 10


@dataclass(frozen=True)
class TwinRun:
    """The outcomes of a model's checks on its untrained twin.

    Attributes:
        model: the name of the model.
        seed: the seed of the twin's weights; one seed is one draw.
        met: for each measured check, whether the twin meets its bounds.
        unmeasured: for each check that could not be measured on the twin, why.
        fault: why the twin could not be built or none of the checks judged; None if they were.
    """

    model: str
    seed: int
    met: Mapping[Key, bool] = field(default_factory=dict)
    unmeasured: Mapping[Key, str] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class TwinControl:
    """One suite on a model beside the same suite on the model's twin.

    All numbers count checks that were judged on both.

    Attributes:
        suite, model: the names of both.
        seed: the seed of the twin's weights.
        checks: the number of checks.
        holding, twin: how many hold on the model, and how many on the twin.
        better, worse: how many hold on the model alone, and how many on the twin alone.
        p: the p of a one-sided exact McNemar test of whether the model is better.
        untrained: the places of the checks that hold on the twin.
    """

    suite: str
    model: str
    seed: int
    checks: int
    holding: int
    twin: int
    better: int
    worse: int
    p: float
    untrained: tuple[str, ...]

    @property
    def verdict(self) -> Literal["above", "not above", "too few"]:
        """Whether the model is better than its twin.

        `too few` means that the test could not have shown it. Either the suite has fewer than
        `LEAST` checks, or the twin holds in at most half of them and fewer than `LEAST` hold on
        the model alone.
        """
        if self.p <= SIGNIFICANT:
            return "above"
        rarely = 2 * self.twin <= self.checks and self.better > self.worse
        if self.checks < LEAST or (rarely and self.better < LEAST):
            return "too few"
        return "not above"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return vars(self) | {"untrained": list(self.untrained), "verdict": self.verdict}

    @property
    def counts(self) -> str:
        return (
            f"model {self.model} holds in {self.holding} of {format_checks(self.checks)}, its "
            f"untrained twin in {self.twin} of {self.checks}"
        )

    @property
    def test(self) -> str:
        return f"exact McNemar test, one-sided: p {format_p(self.p)}"


def wanted_on_twin(results: Results, *, blocking: Collection[str]) -> dict[str, list[Key]]:
    """The keys of the checks to judge on a twin, by model name.

    These are the checks of case files that were judged and can block.

    Args:
        results: the run.
        blocking: the severities that block.
    """
    found: dict[str, list[Key]] = {}
    for item in results.items:
        judged = item.outcome in ("passed", "failed", "xpassed")
        if judged and item.severity in blocking and item.file.endswith(SUFFIX):
            found.setdefault(item.model, []).append(item.key)
    return found


def controls(blocking: Sequence[Check], twins: Sequence[TwinRun]) -> list[TwinControl]:
    """One control for each suite on each model that was judged on a twin as well."""
    runs = {run.model: run for run in twins}
    on_both = [
        check
        for check in _judged_cases(blocking)
        if check.item.model in runs and check.key in runs[check.item.model].met
    ]
    return [
        _control(suite, runs[model], checks) for (suite, model), checks in grouped(on_both).items()
    ]


def _control(suite: str, run: TwinRun, checks: Sequence[Check]) -> TwinControl:
    both = [(check.holding, run.met[check.key]) for check in checks]
    better, worse = both.count((True, False)), both.count((False, True))
    return TwinControl(
        suite=suite,
        model=run.model,
        seed=run.seed,
        checks=len(checks),
        holding=sum(holds for holds, _ in both),
        twin=sum(twin for _, twin in both),
        better=better,
        worse=worse,
        p=paired_p(better, worse, one_sided=True),
        untrained=tuple(check.place for check in checks if run.met[check.key]),
    )


def _judged_cases(blocking: Sequence[Check]) -> list[Check]:
    """The judged checks of case files; a Python probe cannot be judged again outside of pytest."""
    return [check for check in blocking if check.judged and check.item.file.endswith(SUFFIX)]


def control_reasons(
    blocking: Sequence[Check], twins: Sequence[TwinRun], found: Sequence[TwinControl]
) -> Iterator[Reason]:
    """Reasons of the control: unjudged twins, and suites that are no better than on their twin.

    Suites of a model that are too small by themselves are tested together. If they are too small
    even then, the control could not have blocked anything, and the release stays unjudged.
    """
    yield from _missing_verdicts(blocking, twins)
    judged_twins = {run.model for run in twins if run.fault is None}
    without_twin = {check.item.model for check in _judged_cases(blocking)} - judged_twins
    for model in sorted({check.item.model for check in blocking if check.judged} - without_twin):
        suites = [control for control in found if control.model == model]
        small = [control for control in suites if control.verdict == "too few"]
        together = _together(small) if small else None
        if together is not None and together.verdict == "not above":
            yield _no_better(together)
        elif len(small) == len(suites) and (together is None or together.verdict == "too few"):
            yield unjudged(
                "no control",
                f"model {model} has too few checks in case files to be compared with its "
                "untrained twin",
                [f"suite {control.suite}: {control.counts}" for control in suites],
            )
    for control in found:
        if control.verdict == "not above":
            yield _no_better(control)


def _no_better(control: TwinControl) -> Reason:
    is_idle = control.holding == control.checks == control.twin
    words = "would pass" if is_idle else "holds hardly better than"
    return blocked(
        "control",
        f"suite {control.suite} {words} without any training: {control.counts}",
        [f"{control.test}; at most {format_stated(SIGNIFICANT)}", *control.untrained],
    )


def _together(suites: Sequence[TwinControl]) -> TwinControl:
    """Several suites of a model as one."""
    better = sum(suite.better for suite in suites)
    worse = sum(suite.worse for suite in suites)
    return replace(
        suites[0],
        suite=" + ".join(suite.suite for suite in suites),
        checks=sum(suite.checks for suite in suites),
        holding=sum(suite.holding for suite in suites),
        twin=sum(suite.twin for suite in suites),
        better=better,
        worse=worse,
        p=paired_p(better, worse, one_sided=True),
        untrained=tuple(place for suite in suites for place in suite.untrained),
    )


def _missing_verdicts(blocking: Sequence[Check], twins: Sequence[TwinRun]) -> Iterator[Reason]:
    """Reasons for twins without a verdict, and for checks without one on their twin."""
    runs = {run.model: run for run in twins}
    wanted: dict[str, list[Check]] = {}
    for check in _judged_cases(blocking):
        wanted.setdefault(check.item.model, []).append(check)
    for model, checks in sorted(wanted.items()):
        run = runs.get(model)
        if run is None or run.fault is not None:
            why = (run.fault if run else None) or "it was not judged"
            first, _, more = why.partition("\n")
            yield unjudged(
                "no control",
                f"there is no verdict on the untrained twin of model {model}: {first.rstrip('.')}",
                more.splitlines(),
            )
            continue
        lines = [
            f"{check.place}: {run.unmeasured.get(check.key, 'was not judged there')}"
            for check in checks
            if check.key not in run.met
        ]
        if lines:
            yield unjudged(
                "no control",
                f"{format_checks(len(lines))} could not be measured on the untrained twin of model "
                f"{model}",
                lines,
            )


def control_notes(
    blocking: Sequence[Check], twins: Sequence[TwinRun], found: Sequence[TwinControl]
) -> Iterator[str]:
    """Notes on how each suite compares with its twin, and on the checks that hold on a twin."""
    for control in found:
        if control.verdict == "too few":
            yield (
                f"control: suite {control.suite} is too small to be compared with the untrained "
                f"twin by itself: {control.counts} ({control.test})"
            )
        else:
            yield f"control: suite {control.suite}: {control.counts} ({control.test})"
    for run in twins:
        suites = [control for control in found if control.model == run.model]
        if not suites:
            continue
        untrained = [place for control in suites for place in control.untrained]
        checks = format_checks(sum(control.checks for control in suites))
        yield (
            f"control: in all, {len(untrained)} of {checks} of model {run.model} hold on its "
            f"untrained twin (one draw of random weights, seed {run.seed})"
        )
        yield from (f"holds untrained: {place}" for place in untrained[:_MOST_LISTED])
        more = len(untrained) - _MOST_LISTED
        if more > 0:
            yield f"holds untrained: {more} more; --json FILE has all of them"
    probes = sum(check.judged and not check.item.file.endswith(SUFFIX) for check in blocking)
    if probes:
        yield f"{format_checks(probes)} of Python probes cannot be judged on the untrained twin"
