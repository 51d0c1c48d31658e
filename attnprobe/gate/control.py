"""The untrained twin as a control: what it passes is passed without any training."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from attnprobe.core.names import SUFFIX, Key
from attnprobe.core.stats import paired_p
from attnprobe.core.wording import format_p, format_stated
from attnprobe.gate.check import Check, grouped
from attnprobe.gate.reasons import Reason, blocked, counted, unjudged
from attnprobe.results.records import Results

# By how much a model must be better than its twin, as the p of a one-sided exact McNemar test.
SIGNIFICANT = 0.05
# The least number of checks that can be so: with 4, all of them for the model alone, p is 0.0625.
LEAST = 5
# Checks that hold on a twin and are listed, of each model.
_LISTED = 10


@dataclass(frozen=True)
class TwinRun:
    """What the checks of one model came to on its untrained twin.

    Attributes:
        seed: of the twin's weights; one seed is one draw.
        held: of each check that was measured, whether its bounds are met.
        unmeasured: why others could not be.
        fault: why there is no twin, or none of them could be judged; None where they were.
    """

    model: str
    seed: int
    held: Mapping[Key, bool] = field(default_factory=dict)
    unmeasured: Mapping[Key, str] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Control:
    """The checks of one suite that were judged on a model and on its twin.

    Attributes:
        checks: how many.
        holding, twin: how many hold on the model, and how many on the twin.
        better, worse: how many hold on the model alone, and how many on the twin alone.
        p: exact McNemar test of whether the model is the better one, one-sided.
        untrained: those that hold on the twin, each with its place.
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

        Too few are checks of which the test could not have told anything: fewer than it takes, or
        such of which the twin holds in no more than half, and the model alone in fewer than that.
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
            f"model {self.model} holds in {self.holding} of {counted(self.checks)}, its untrained "
            f"twin in {self.twin} of {self.checks}"
        )

    @property
    def test(self) -> str:
        return f"exact McNemar test, one-sided: p {format_p(self.p)}"


def wanted_on_twin(results: Results, *, blocking: Collection[str]) -> dict[str, list[Key]]:
    """The checks to be judged on a twin, by model: those of case files that could fail and block.

    Args:
        blocking: the severities that block.
    """
    found: dict[str, list[Key]] = {}
    for item in results.items:
        judged = item.outcome in ("passed", "failed", "xpassed")
        if judged and item.severity in blocking and item.file.endswith(SUFFIX):
            found.setdefault(item.model, []).append(item.key)
    return found


def controls(blocking: Sequence[Check], twins: Sequence[TwinRun]) -> list[Control]:
    """Each suite on each model beside the twin, by the checks that were judged on both."""
    runs = {run.model: run for run in twins}
    pairs = [
        (check, runs[check.item.model].held[check.key])
        for check in _of_files(blocking)
        if check.item.model in runs and check.key in runs[check.item.model].held
    ]
    held = {check.key: twin for check, twin in pairs}
    return [
        _control(suite, runs[model], own, held)
        for (suite, model), own in grouped(check for check, _ in pairs).items()
    ]


def _control(suite: str, run: TwinRun, own: Sequence[Check], held: Mapping[Key, bool]) -> Control:
    both = [(check.holding, held[check.key]) for check in own]
    better, worse = both.count((True, False)), both.count((False, True))
    return Control(
        suite=suite,
        model=run.model,
        seed=run.seed,
        checks=len(own),
        holding=sum(holds for holds, _ in both),
        twin=sum(twin for _, twin in both),
        better=better,
        worse=worse,
        p=paired_p(better, worse, one_sided=True),
        untrained=tuple(check.place for check in own if held[check.key]),
    )


def _of_files(blocking: Sequence[Check]) -> list[Check]:
    """The judged checks that stand in case files; what a probe in Python does is its own."""
    return [check for check in blocking if check.judged and check.item.file.endswith(SUFFIX)]


def control_reasons(
    blocking: Sequence[Check], twins: Sequence[TwinRun], found: Sequence[Control]
) -> Iterator[Reason]:
    """Twins that could not be judged, and suites that hold no better than on a twin.

    The suites of a model that are too small by themselves are held against it together. A control
    that is too small even so could not have blocked anything.
    """
    yield from _lost(blocking, twins)
    there = {run.model for run in twins if run.fault is None}
    lost = {check.item.model for check in _of_files(blocking)} - there
    for model in sorted({check.item.model for check in blocking if check.judged} - lost):
        own = [one for one in found if one.model == model]
        small = [one for one in own if one.verdict == "too few"]
        together = _together(small) if small else None
        if together is not None and together.verdict == "not above":
            yield _no_better(together)
        elif len(small) == len(own) and (together is None or together.verdict == "too few"):
            yield unjudged(
                "no control",
                f"model {model} has too few checks in case files to be held against its untrained "
                "twin",
                [f"suite {one.suite}: {one.counts}" for one in own],
            )
    for one in found:
        if one.verdict == "not above":
            yield _no_better(one)


def _no_better(one: Control) -> Reason:
    idle = one.holding == one.checks == one.twin
    words = "would pass" if idle else "holds hardly better than"
    return blocked(
        "control",
        f"suite {one.suite} {words} without any training: {one.counts}",
        [f"{one.test}; at most {format_stated(SIGNIFICANT)}", *one.untrained],
    )


def _together(suites: Sequence[Control]) -> Control:
    """Several suites of a model as one."""
    better, worse = (sum(getattr(one, name) for one in suites) for name in ("better", "worse"))
    return replace(
        suites[0],
        suite=" + ".join(one.suite for one in suites),
        checks=sum(one.checks for one in suites),
        holding=sum(one.holding for one in suites),
        twin=sum(one.twin for one in suites),
        better=better,
        worse=worse,
        p=paired_p(better, worse, one_sided=True),
        untrained=tuple(place for one in suites for place in one.untrained),
    )


def _lost(blocking: Sequence[Check], twins: Sequence[TwinRun]) -> Iterator[Reason]:
    """Twins, and checks on them, of which there is no verdict."""
    runs = {run.model: run for run in twins}
    wanted: dict[str, list[Check]] = {}
    for check in _of_files(blocking):
        wanted.setdefault(check.item.model, []).append(check)
    for model, own in sorted(wanted.items()):
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
            for check in own
            if check.key not in run.held
        ]
        if lines:
            yield unjudged(
                "no control",
                f"{counted(len(lines))} could not be measured on the untrained twin of model "
                f"{model}",
                lines,
            )


def control_notes(
    blocking: Sequence[Check], twins: Sequence[TwinRun], found: Sequence[Control]
) -> Iterator[str]:
    """How each suite does beside the twin, and which checks hold on it."""
    for one in found:
        if one.verdict == "too few":
            yield (
                f"control: suite {one.suite} is too small to be held against the untrained twin "
                f"by itself: {one.counts} ({one.test})"
            )
        else:
            yield f"control: suite {one.suite}: {one.counts} ({one.test})"
    for run in twins:
        own = [one for one in found if one.model == run.model]
        if not own:
            continue
        untrained = [place for one in own for place in one.untrained]
        yield (
            f"control: in all, {len(untrained)} of {counted(sum(one.checks for one in own))} of "
            f"model {run.model} hold on its untrained twin (one draw of random weights, seed "
            f"{run.seed})"
        )
        yield from (f"holds untrained: {place}" for place in untrained[:_LISTED])
        if len(untrained) > _LISTED:
            yield f"holds untrained: {len(untrained) - _LISTED} more; --json FILE has all of them"
    probes = sum(check.judged and not check.item.file.endswith(SUFFIX) for check in blocking)
    if probes:
        yield f"{counted(probes)} of Python probes cannot be judged on the untrained twin"
