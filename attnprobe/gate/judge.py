"""Judges a finished run under a policy.

Nothing is taken from the run on trust that its records can show: whether a check holds is decided
here, from its outcome and from each expectation, whatever options the run had.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from attnprobe.compare import (
    Change,
    Comparison,
    Key,
    check_baseline,
    compare_results,
    pair_models,
)
from attnprobe.errors import ResultsError
from attnprobe.gate.decision import Decision, Reason, Weight
from attnprobe.gate.policy import Policy, SuitePolicy, Waiver
from attnprobe.gate.records import chance_contradictions, contradictions
from attnprobe.names import SUFFIX
from attnprobe.registry import did_you_mean
from attnprobe.results import CaseResult, ExpectationResult, ModelResult, Results
from attnprobe.stats import wilson

__all__ = ["Moved", "broken_keys", "judge", "key_of"]

# No waiver may run longer than this.
_LONGEST = timedelta(days=366)

# What the reader must know first comes first; what is not listed comes last.
_ORDER = (
    # cannot judge
    "nothing judged",
    "lost",
    "pytest",
    "inconsistent",
    "commit",
    "absent model",
    "baseline",
    "missing suite",
    "too few",
    "not measured",
    "unknown environment",
    "unknown weights",
    "waiver",
    # blocked
    "pickle",
    "remote code",
    "unpinned",
    "own loader",
    "dtype",
    "device",
    "failed",
    "pass rate",
    "broken",
    "vacuous",
    "gone",
    "borderline",
    "weaker",
    "new",
    "waiver expired",
    "waiver unknown",
    "skipped",
)
_WEIGHTS: tuple[Weight, ...] = ("cannot judge", "blocked")


@dataclass(frozen=True)
class Moved:
    """A failed check that holds at the place that its heads moved to.

    Attributes:
        where: `L3H1 moved to L3H5`.
        chances: of each expectation there, how often it holds for other word pairs; None where
            that is not known.
    """

    where: str
    chances: tuple[float | None, ...]


@dataclass(frozen=True)
class _Check:
    """One item of the run as the gate sees it.

    Attributes:
        state: `holds`, `failed`, `error`, `vacuous`, `borderline`; `moved` where its head has
            another place now; `skipped`, `known gap` and `unstated`, a probe in Python that
            passed and states nothing by a rule, were not judged.
        why: for a reader, what became of it.
        chances: of each expectation, how often it holds for other word pairs; None where that is
            not known.
    """

    item: CaseResult
    state: str
    why: str
    chances: tuple[float | None, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether it could have failed, and was measured."""
        return self.state not in ("skipped", "known gap", "unstated", "error")

    @property
    def holding(self) -> bool:
        return self.state in ("holds", "moved")

    @property
    def line(self) -> str:
        item = self.item
        return f"{item.file}:{item.line}: {item.name} on {item.model}: {self.why}"


def key_of(item: CaseResult) -> Key:
    """What an item is known by from run to run."""
    return item.file, item.id, item.row, item.model


def judge(
    results: Results,
    policy: Policy,
    *,
    today: date,
    baseline: Results | None = None,
    commit: str | None = None,
    moved: Mapping[Key, Moved] | None = None,
    remarks: Sequence[str] = (),
) -> Decision:
    """Whether a release may go, by what a run found.

    Args:
        today: the day that waivers are held against.
        baseline: the results to compare with, where the policy names some.
        commit: the commit that is checked out, where a results file must be of it.
        moved: failed checks that hold at the new place of their heads, and where that is.
        remarks: what else a reader should know.
    """
    reasons: list[Reason] = []
    notes = list(remarks)
    notes += [
        f"a habit of position would pass suite {order.suite} as well: {order.habit}"
        for order in results.order
    ]
    places = moved or {}
    checks = [_check(item, policy, places.get(key_of(item))) for item in results.items]
    waived: list[_Check] = []
    kept: list[_Check] = []
    for check in checks:
        (waived if _waived(check, policy.waivers, today) else kept).append(check)
    compared: Comparison | None = None
    if baseline is not None:
        try:
            compared = _compared(baseline, results)
        except ResultsError as error:
            reasons.append(_unjudged("baseline", f"the baseline cannot be compared: {error}"))
    demoted = _demoted(compared, policy) if compared else frozenset()
    blocking = [
        check
        for check in kept
        if check.item.severity in policy.blocking or key_of(check.item) in demoted
    ]

    reasons += _pytest(results)
    reasons += _whole(results)
    reasons += _contradictions(results)
    reasons += _commit(results, policy, commit)
    reasons += _absent(results, policy)
    reasons += _models(results, policy)
    reasons += _waivers(results, policy, today)
    reasons += _amounts(blocking, results, policy)
    broken: Collection[Key] = ()
    if compared is not None:
        broken = {change.key for change in compared.of("broken")}
        reasons += _regressions(compared, policy, blocking)
        notes += _compared_notes(compared)
    reasons += _failures(blocking, policy, broken)
    reasons += _rates(blocking, policy)

    holding = [check for check in blocking if check.holding]
    failed = [check for check in blocking if check.state == "failed"]
    notes += [
        f"allowed to fail: {check.line}" for check in failed if _rated(policy, check.item.suite)
    ]
    notes += _notes(checks, waived, kept, policy, demoted)
    chances = [chance for check in holding for chance in check.chances]
    known = bool(chances) and None not in chances
    if holding and not known:
        without = chances.count(None)
        notes.append(
            f"{without} of {len(chances)} expectations have no chance rate: the rule has no word "
            "pairs, or the suite too few others"
        )
    reasons.sort(key=_importance)
    return Decision(
        tuple(reasons),
        tuple(notes),
        holding=len(holding),
        models=len({check.item.model for check in holding}),
        chance_known=known,
        failed=len(failed),
        may_fail=_may_fail(blocking, policy),
        moved=sum(check.state == "moved" for check in blocking),
    )


def broken_keys(results: Results, policy: Policy) -> tuple[Key, ...]:
    """The blocking checks that failed and that might hold at another place of their heads."""
    checks = (_check(item, policy, None) for item in results.items)
    return tuple(
        key_of(check.item)
        for check in checks
        if check.state == "failed" and check.item.severity in policy.blocking
    )


def _importance(reason: Reason) -> tuple[int, int]:
    place = _ORDER.index(reason.kind) if reason.kind in _ORDER else len(_ORDER)
    return _WEIGHTS.index(reason.weight), place


def _blocked(kind: str, text: str, details: Iterable[str] = ()) -> Reason:
    return Reason("blocked", kind, text, tuple(details))


def _unjudged(kind: str, text: str, details: Iterable[str] = ()) -> Reason:
    return Reason("cannot judge", kind, text, tuple(details))


def _checks(count: int) -> str:
    return "1 attention check" if count == 1 else f"{count} attention checks"


def _percent(share: float) -> str:
    """A share with as many digits as it takes to tell it from 100 %, rounded down."""
    return f"{math.floor(round(share * 1000, 6)) / 10:g} %"


# What became of one item


def _check(item: CaseResult, policy: Policy, moved: Moved | None) -> _Check:
    unmeasured = _told(item, "error")
    match item.outcome:
        case "skipped":
            return _Check(item, "skipped", "was skipped")
        case _ if item.outcome == "error" or unmeasured:
            # Whatever a probe in Python made of it: pytest.raises, or an xfail.
            return _Check(item, "error", unmeasured or "could not be measured")
        case "xfailed":
            return _Check(item, "known gap", "is a known gap")
        case "xpassed":
            return _Check(item, "failed", "is marked as a known gap but holds: remove the mark")
        case "failed" if moved is not None:
            return _Check(item, "moved", f"{moved.where}, and it holds there", moved.chances)
        case "failed":
            why = _told(item, "failed") or (
                "failed, though each expectation holds: a known gap that holds now, or an "
                "assertion of its own"
            )
            return _Check(item, "failed", why)
    if all(entry.outcome == "failed" for entry in item.expectations):
        # Only a probe in Python can pass like this, which expected them to fail.
        return _Check(item, "unstated", "states nothing by a rule that holds")
    for entry in item.expectations:
        if why := _vacuous(entry, policy.chance_max):
            return _Check(item, "vacuous", f"{entry.rule} {why}")
    near = _told(item, "borderline")
    if near and policy.borderline == "fail":
        return _Check(item, "borderline", f"{near}, too near to call")
    rates = tuple(entry.chance.rate if entry.chance else None for entry in item.expectations)
    return _Check(item, "holds", "holds", rates)


def _told(item: CaseResult, outcome: str) -> str:
    """The expectations of an item that came out like this, in words."""
    found = [entry for entry in item.expectations if entry.outcome == outcome]
    return "; ".join(
        f"{entry.rule} {entry.message}" + (f", by {entry.head}" if entry.head else "")
        for entry in found
    )


def _vacuous(entry: ExpectationResult, most: float) -> str:
    chance = entry.chance
    if chance is not None and chance.rate is not None:
        if chance.rate <= most:
            return ""
        return (
            f"holds for {chance.passed} of {chance.pairs} other word pairs as well "
            f"({_percent(chance.rate)}; at most {_percent(most)})"
        )
    return "holds for other word pairs as well" if entry.outcome == "vacuous" else ""


# Whether the records can be judged at all


def _pytest(results: Results) -> Iterator[Reason]:
    """What failed in the run besides attention checks; no other verdict may hide it."""
    for found, one, several in (
        (results.other_failures, "test that is no attention check", "tests that are none"),
        (results.unread, "file that could not be read", "files that could not be read"),
        (results.complaints, "reason of its own", "reasons of its own"),
    ):
        if found:
            what = f"1 {one}" if len(found) == 1 else f"{len(found)} {several}"
            yield _unjudged("pytest", f"pytest failed for {what}", found)


def _whole(results: Results) -> Iterator[Reason]:
    summary = results.summary()
    if not results.items:
        yield _unjudged("nothing judged", "no attention check ran")
    elif not summary["passed"] + summary["failed"] + summary["xpassed"]:
        counts = ", ".join(
            f"{summary[name]} {word}"
            for name, word in (
                ("skipped", "skipped"),
                ("xfailed", "known gaps"),
                ("error", "errors"),
            )
            if summary[name]
        )
        yield _unjudged("nothing judged", f"no attention check was judged: {counts}")
    expected = summary["collected"] - summary["skipped"]
    if expected != summary["executed"]:
        yield _unjudged(
            "lost",
            f"{summary['executed']} of {expected} attention checks were executed; "
            "the others left no result",
        )
    keys = Counter(map(key_of, results.items))
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        details = [f"{file}: {case}[{row}] on {model}" for file, case, row, model in twice]
        yield _unjudged("inconsistent", f"{_checks(len(twice))} stand twice in the run", details)
    odd = [
        f"{item.file}:{item.line}: {item.name} on {item.model}"
        for item in results.items
        if item.outcome == "passed" and item.file.endswith(SUFFIX) and not _may_pass(item)
    ]
    if odd:
        yield _unjudged("inconsistent", f"{_checks(len(odd))} passed without cause", odd)
    unnamed = sorted(
        {item.model for item in results.items if item.outcome not in ("skipped", "error")}
        - {model.name for model in results.models}
    )
    if unnamed:
        names = ", ".join(unnamed)
        yield _unjudged("inconsistent", f"the results do not say which model {names} is")


def _contradictions(results: Results) -> Iterator[Reason]:
    found = [
        f"{item.file}:{item.line}: {item.name} on {item.model}: {entry.rule} {why}"
        for item in results.items
        for entry in item.expectations
        for why in (*contradictions(entry), *chance_contradictions(entry))
    ]
    if found:
        text = "1 record contradicts" if len(found) == 1 else f"{len(found)} records contradict"
        yield _unjudged("inconsistent", f"{text} the numbers beside it", found)


def _may_pass(item: CaseResult) -> bool:
    """Whether a case states something and none of it failed."""
    outcomes = {entry.outcome for entry in item.expectations}
    return bool(outcomes) and not outcomes & {"failed", "error"}


def _commit(results: Results, policy: Policy, commit: str | None) -> Iterator[Reason]:
    theirs = results.environment.get("git_commit")
    if policy.commit == "same" and commit and theirs != commit:
        whose = f"are of commit {theirs[:12]}" if theirs else "do not say of which commit they are"
        yield _unjudged(
            "commit",
            f"the results {whose}, and {commit[:12]} is checked out",
            ['run again, or set commit = "any" in the policy'],
        )


def _absent(results: Results, policy: Policy) -> Iterator[Reason]:
    missing = {
        name: count for name, count in results.absent.items() if name not in policy.absent_models
    }
    if missing:
        named = ", ".join(f"{name} ({missing[name]})" for name in sorted(missing))
        yield _unjudged(
            "absent model",
            f"{_checks(sum(missing.values()))} are for models that the run was not given: {named}",
            [f"give --attn-model {name}=REF, or list it in absent_models" for name in missing],
        )


def _models(results: Results, policy: Policy) -> Iterator[Reason]:
    for model in sorted(results.models, key=lambda model: model.name):
        yield from _model(model, policy)
    for kind, allowed in (("dtype", policy.dtypes), ("device", policy.devices)):
        if allowed is None:
            continue
        found = results.environment.get(kind)
        listed = ", ".join(allowed)
        if found is None:
            yield _unjudged("unknown environment", f"the results do not tell their {kind}")
        elif found not in allowed and found.partition(":")[0] not in allowed:
            yield _blocked(kind, f"it was judged in {found}, the policy allows {listed}")


def _model(model: ModelResult, policy: Policy) -> Iterator[Reason]:
    if model.weights_format == "pickle":
        yield _blocked(
            "pickle",
            f"model {model.name} comes from pickled weights, which can run code",
            ["convert them to safetensors"],
        )
    if model.remote_code:
        yield _blocked("remote code", f"model {model.name} runs code that came with its weights")
    # Models from the hub alone have a revision.
    if model.revision is not None and model.asked_revision is None:
        yield _blocked(
            "unpinned",
            f"model {model.name} ({model.ref}) was given without its revision",
            [f"give --attn-revision {model.revision}"],
        )
    elif model.revision != model.asked_revision:
        yield _blocked(
            "unpinned",
            f"model {model.name} was given by {model.asked_revision}, which another commit can "
            "take over",
            [f"give --attn-revision {model.revision}"],
        )
    if model.weights_sha256 is None and policy.own_loader == "refuse":
        yield _unjudged(
            "unknown weights", f"the results do not say by a hash which weights {model.name} had"
        )
    if model.weights_format is None and policy.own_loader == "refuse":
        yield _blocked(
            "own loader",
            f"model {model.name} was built by the project's own loader, so it is not known where "
            "its weights lay",
            ['allow it with own_loader = "allow" in the policy'],
        )


# Waivers


def _waived(check: _Check, waivers: Sequence[Waiver], today: date) -> bool:
    """Whether a check may fail for now; what was not measured has not failed."""
    item = check.item
    return check.state in ("holds", "failed", "vacuous", "borderline") and any(
        waiver.expires >= today and waiver.covers(f"{item.file}::{item.name}", item.model)
        for waiver in waivers
    )


def _waivers(results: Results, policy: Policy, today: date) -> Iterator[Reason]:
    known = sorted({f"{item.file}::{item.name}" for item in results.items})
    unknown = [
        f"{waiver.case} ({waiver.owner}): {did_you_mean(waiver.case, known)}"
        for waiver in policy.waivers
        if not any(waiver.covers(f"{item.file}::{item.name}", item.model) for item in results.items)
    ]
    if unknown:
        text = "1 waiver is" if len(unknown) == 1 else f"{len(unknown)} waivers are"
        yield _blocked("waiver unknown", f"{text} for no check of this run", unknown)
    endless = [
        f"{waiver.case} ({waiver.owner}): until {waiver.expires}"
        for waiver in policy.waivers
        if waiver.expires > today + _LONGEST
    ]
    if endless:
        text = "1 waiver runs" if len(endless) == 1 else f"{len(endless)} waivers run"
        yield _unjudged("waiver", f"{text} longer than {_LONGEST.days} days from today", endless)
    expired = [
        f"{waiver.case}: expired on {waiver.expires}, {waiver.owner}: {waiver.reason}"
        for waiver in policy.waivers
        if waiver.expires < today
    ]
    if expired:
        text = "1 waiver has" if len(expired) == 1 else f"{len(expired)} waivers have"
        yield _blocked("waiver expired", f"{text} expired", expired)


# How much was judged


def _amounts(blocking: Sequence[_Check], results: Results, policy: Policy) -> Iterator[Reason]:
    judged = [check for check in blocking if check.judged]
    given = _given(results)
    counts = Counter(check.item.model for check in judged)
    if results.items and not judged and _any_judged(results):
        yield _unjudged(
            "nothing judged", "no attention check that could block the release was judged"
        )
    for model in given:
        if judged and not counts[model]:
            yield _unjudged(
                "nothing judged",
                f"model {model} was given, and no attention check that could block the release "
                "was judged on it",
            )
    if not results.given and len(judged) < policy.least:
        yield _unjudged(
            "too few", f"{_checks(len(judged))} judged, the policy demands {policy.least}"
        )
    for model in sorted(results.given):
        if counts[model] < policy.least:
            yield _unjudged(
                "too few",
                f"{_checks(counts[model])} of model {model} judged, the policy demands "
                f"{policy.least}",
            )
    for suite in sorted({*policy.suites, *policy.suite}):
        own = Counter(check.item.model for check in judged if check.item.suite == suite)
        demanded = policy.suite.get(suite, SuitePolicy()).least
        if not own:
            suites = {item.suite for item in results.items}
            hint = [] if suite in suites else [did_you_mean(suite, suites)]
            yield _unjudged(
                "missing suite", f"suite {suite}, which the policy demands, was not judged", hint
            )
            continue
        for model in _models_of(suite, results):
            if own[model] < demanded:
                yield _unjudged(
                    "too few",
                    f"in suite {suite} {_checks(own[model])} of model {model} judged, the policy "
                    f"demands {demanded}",
                )
    skipped = [check.line for check in blocking if check.state == "skipped"]
    if policy.skipped is not None and len(skipped) > policy.skipped:
        yield _blocked(
            "skipped", f"{_checks(len(skipped))} skipped ({policy.skipped} may be)", skipped
        )
    errors = [check.line for check in blocking if check.state == "error"]
    if errors:
        yield _unjudged("not measured", f"{_checks(len(errors))} could not be measured", errors)


def _given(results: Results) -> list[str]:
    """The models that a release is about: of the command line, and those that a case ran on."""
    return sorted({*results.given, *(item.model for item in results.items)} - {""})


def _models_of(suite: str, results: Results) -> list[str]:
    """The models that a suite has to be judged on: where it can run, those given."""
    ran = {item.model for item in results.items if item.suite == suite}
    return sorted(ran if suite in results.bound else ran.union(results.given))


def _any_judged(results: Results) -> bool:
    return any(item.outcome in ("passed", "failed", "xpassed") for item in results.items)


# What does not hold


def _failures(
    blocking: Sequence[_Check], policy: Policy, broken: Collection[Key]
) -> Iterator[Reason]:
    """Failed checks of each suite on each model, where no pass rate lets some of them fail.

    Args:
        broken: those that held in the baseline.
    """
    found = []
    for (suite, model), own in _groups(blocking).items():
        failed = [check for check in own if check.state == "failed"]
        if failed and not _rated(policy, suite):
            count, of = len(failed), sum(check.judged for check in own)
            held = all(key_of(check.item) in broken for check in failed)
            text = (
                f"in suite {suite} {count} of {of} attention checks of model {model} "
                f"{'no longer' if held else 'do not'} hold (allowed to fail: 0)"
            )
            lines = [check.line for check in failed]
            found.append((-count / of, -count, _blocked("failed", text, lines)))
    yield from (reason for *_, reason in sorted(found, key=lambda entry: entry[:2]))
    for kind, words in (
        ("vacuous", "hold by chance: they hold for other word pairs as well"),
        ("borderline", "are too near to their bounds to call"),
    ):
        lines = [check.line for check in blocking if check.state == kind]
        if lines:
            yield _blocked(kind, f"{_checks(len(lines))} {_singular(words, len(lines))}", lines)


def _singular(words: str, count: int) -> str:
    if count != 1:
        return words
    return (
        words.replace("hold by", "holds by")
        .replace("they hold", "it holds")
        .replace("are too near to their bounds", "is too near to its bound")
    )


def _groups(checks: Iterable[_Check]) -> dict[tuple[str, str], list[_Check]]:
    groups: dict[tuple[str, str], list[_Check]] = {}
    for check in checks:
        groups.setdefault((check.item.suite, check.item.model), []).append(check)
    return dict(sorted(groups.items()))


def _suite_rate(policy: Policy, suite: str) -> float | None:
    return policy.suite.get(suite, SuitePolicy()).pass_rate


def _rated(policy: Policy, suite: str) -> bool:
    """Whether a pass rate lets some checks of a suite fail."""
    return policy.pass_rate is not None or _suite_rate(policy, suite) is not None


def _rates(blocking: Sequence[_Check], policy: Policy) -> Iterator[Reason]:
    """Pass rates that the policy demands, by the lower end of their intervals."""
    judged = [check for check in blocking if check.judged]
    for (suite, model), own in _groups(judged).items():
        rate = _suite_rate(policy, suite)
        if rate is not None:
            yield from _rate(f"in suite {suite} ", f"of model {model} ", own, rate)
        elif policy.pass_rate is not None and suite in {*policy.suites, *policy.suite}:
            failed = [check.line for check in own if check.state == "failed"]
            if failed and not any(check.holding for check in own):
                text = f"in suite {suite} no attention check of model {model} holds"
                yield _blocked("failed", text, failed)
    if policy.pass_rate is not None:
        for model in sorted({check.item.model for check in judged}):
            own = [check for check in judged if check.item.model == model]
            yield from _rate("", f"of model {model} ", own, policy.pass_rate)


def _rate(where: str, whose: str, own: Sequence[_Check], rate: float) -> Iterator[Reason]:
    count = len(own)
    failed = [check for check in own if check.state == "failed"]
    allowed = _allowed(count, rate)
    if allowed is None:
        most = wilson(count, count).low
        yield _unjudged(
            "too few",
            f"{where}{_checks(count)} {whose}cannot show a pass rate of {_percent(rate)}: if all "
            f"of them held, the interval would still begin at {_percent(most)}",
        )
    elif len(failed) > allowed:
        low = wilson(count - len(failed), count).low
        text = (
            f"{where}{len(failed)} of {count} attention checks {whose}do not hold (allowed to "
            f"fail: {allowed})"
        )
        why = (
            f"pass rate {_percent((count - len(failed)) / count)}, 95 % interval from "
            f"{_percent(low)}; demanded from {_percent(rate)}"
        )
        yield _blocked("pass rate", text, [why, *(check.line for check in failed)])


def _allowed(count: int, rate: float) -> int | None:
    """How many of so many checks may fail for the interval to begin at the rate; None: not one."""
    fitting = [failed for failed in range(count + 1) if wilson(count - failed, count).low >= rate]
    return max(fitting, default=None)


def _may_fail(blocking: Sequence[_Check], policy: Policy) -> int:
    """How many of the judged checks the policy lets fail."""
    judged = [check for check in blocking if check.judged]
    total: Counter[str] = Counter()
    for (suite, model), own in _groups(judged).items():
        rate = _suite_rate(policy, suite)
        if rate is not None:
            total[model] += _allowed(len(own), rate) or 0
        elif policy.pass_rate is not None:
            total[model] += len(own)
    if policy.pass_rate is not None:
        counts = Counter(check.item.model for check in judged)
        for model, count in counts.items():
            total[model] = min(total[model], _allowed(count, policy.pass_rate) or 0)
    return total.total()


# Against the baseline


def _compared(baseline: Results, results: Results) -> Comparison:
    check_baseline(baseline)
    pairs = {old: new for old, new in pair_models(baseline, results).items() if old != new}
    return compare_results(baseline, results, models=pairs)


def _compared_notes(compared: Comparison) -> list[str]:
    counts = ", ".join(f"{count} {kind}" for kind, count in compared.counts().items() if count)
    warnings = [f"baseline: {warning}" for warning in compared.warnings]
    return [f"against the baseline: {counts or 'nothing in common'}", *warnings]


def _demoted(compared: Comparison, policy: Policy) -> frozenset[Key]:
    """Checks that could block in the baseline and no longer may: they are judged as they were."""
    return frozenset(
        change.key
        for change in compared.changes
        if change.old is not None
        and change.new is not None
        and change.old.severity in policy.blocking
        and change.new.severity not in policy.blocking
    )


def _regressions(
    compared: Comparison, policy: Policy, blocking: Sequence[_Check]
) -> Iterator[Reason]:
    """What is worse than in the baseline by more than the policy allows."""
    allowed = policy.regressions
    states = {key_of(check.item): check.state for check in blocking}
    broken = [
        change for change in compared.of("broken") if states.get(change.key, "moved") != "moved"
    ]
    if len(broken) > allowed.broken:
        # Those that failed where none may are told with their suite.
        more = [
            change
            for change in broken
            if states[change.key] != "failed"
            or (change.new is not None and _rated(policy, change.new.suite))
        ]
        if more:
            words = "held in the baseline and no longer hold"
            yield _worse("broken", broken, allowed.broken, words)
    gone = [
        change
        for change in compared.of("gone")
        if change.old is not None and change.old.severity in policy.blocking
    ]
    if len(gone) > allowed.gone:
        yield _worse("gone", gone, allowed.gone, "of the baseline were not judged")
    new = [
        change for change in compared.of("new") if states.get(change.key, "skipped") != "skipped"
    ]
    if len(new) > allowed.new:
        yield _worse("new", new, allowed.new, "are missing from the baseline; save it anew")
    if allowed.weaker is not None:
        fell = [
            change
            for change in compared.changes
            if states.get(change.key) == "holds" and change.weaker_than(allowed.weaker)
        ]
        if fell:
            words = f"fell by more than {_percent(allowed.weaker)} against the baseline"
            yield _worse("weaker", fell, 0, words)


def _worse(kind: str, changes: Sequence[Change], most: int, words: str) -> Reason:
    text = f"{_checks(len(changes))} {words} (allowed: {most})"
    return _blocked(kind, text, map(_change_line, changes))


def _change_line(change: Change) -> str:
    item = change.new or change.old
    if item is None:
        return str(change.key)
    by = "" if change.by is None else f", number {change.by:+.0%}"
    was = change.old.outcome if change.old else "missing"
    now = change.new.outcome if change.new else "missing"
    return f"{item.file}:{item.line}: {item.name} on {item.model}: {was}, now {now}{by}"


# What is worth knowing besides


def _notes(
    checks: Sequence[_Check],
    waived: Sequence[_Check],
    kept: Sequence[_Check],
    policy: Policy,
    demoted: Collection[Key],
) -> Iterator[str]:
    for check in checks:
        if check.state == "moved":
            yield f"moved: {check.line}"
    for check in waived:
        state = "holds, the waiver is no longer needed" if check.state == "holds" else check.why
        yield f"waived: {check.item.file}::{check.item.name} on {check.item.model}: {state}"
    for check in kept:
        if key_of(check.item) in demoted:
            yield f"judged as blocking, as in the baseline: {check.line}"
        elif check.item.severity not in policy.blocking and check.state in (
            "failed",
            "error",
            "vacuous",
            "borderline",
        ):
            yield f"advisory: {check.line}"
    for state, one, several in (
        ("skipped", "was skipped", "were skipped"),
        ("known gap", "is a known gap", "are known gaps"),
        ("unstated", "states nothing by a rule that holds", "state nothing by a rule that holds"),
    ):
        count = sum(check.state == state for check in kept)
        if count:
            yield f"{_checks(count)} {one if count == 1 else several}"
