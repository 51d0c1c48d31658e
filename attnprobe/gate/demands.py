"""What the policy demands of the checks: how many were judged, and how many of them hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from attnprobe.core.names import Key
from attnprobe.core.registry import did_you_mean
from attnprobe.core.stats import wilson
from attnprobe.core.wording import format_floor_percent
from attnprobe.gate.check import Check, grouped
from attnprobe.gate.policy import Policy, SuitePolicy
from attnprobe.gate.reasons import Reason, blocked, counted, unjudged
from attnprobe.results.records import Results


def amounts(
    blocking: Sequence[Check], waived: Sequence[Check], results: Results, policy: Policy
) -> Iterator[Reason]:
    """Models and suites of which too little was judged; checks skipped or not measured.

    Args:
        waived: checks that could block and may fail for now: they were judged, so they count for
            what must have been, but the release needs others that say something of it.
    """
    judged = [check for check in blocking if check.judged]
    given = _given(results)
    counts = Counter(check.item.model for check in judged)
    everything = [*judged, *waived]
    totals = Counter(check.item.model for check in everything)
    if results.items and not judged and _any_judged(results):
        yield unjudged(
            "nothing judged", "no attention check that could block the release was judged"
        )
    for model in given:
        if judged and not counts[model]:
            yield unjudged(
                "nothing judged",
                f"model {model} was given, and no attention check that could block the release "
                "was judged on it",
            )
    if not results.given and len(everything) < policy.least:
        yield unjudged(
            "too few", f"{counted(len(everything))} judged, the policy demands {policy.least}"
        )
    for model in sorted(results.given):
        if totals[model] < policy.least:
            yield unjudged(
                "too few",
                f"{counted(totals[model])} of model {model} judged, the policy demands "
                f"{policy.least}",
            )
    for suite in sorted({*policy.suites, *policy.suite}):
        own = Counter(check.item.model for check in everything if check.item.suite == suite)
        demanded = policy.suite.get(suite, SuitePolicy()).least
        if not own and suite in results.absent_suites:
            continue
        if not own:
            suites = {item.suite for item in results.items}
            hint = [] if suite in suites else [did_you_mean(suite, suites)]
            yield unjudged(
                "missing suite", f"suite {suite}, which the policy demands, was not judged", hint
            )
            continue
        for model in models_of(suite, results):
            if own[model] < demanded:
                yield unjudged(
                    "too few",
                    f"in suite {suite} {counted(own[model])} of model {model} judged, the policy "
                    f"demands {demanded}",
                )
    errors = [check for check in blocking if check.state == "error"]
    if errors:
        causes = {check.item.error for check in errors} - {None}
        why = f": {causes.pop()}" if len(causes) == 1 else ""
        text = f"{counted(len(errors))} could not be measured{why}"
        yield unjudged("not measured", text, [check.line for check in errors])


def allowances(
    checks: Sequence[Check], blocking: Sequence[Check], policy: Policy
) -> Iterator[Reason]:
    """Checks that were skipped, only advise or are known gaps, where the policy allows fewer.

    Args:
        checks: all of the run, whatever their severity.
    """
    advisory = [check for check in checks if check.item.severity not in policy.blocking]
    for kind, most, found, words in (
        ("skipped", policy.skipped, [c for c in blocking if c.state == "skipped"], "skipped"),
        ("advisory", policy.advisory, advisory, "of a severity that does not block"),
        (
            "known gaps",
            policy.known_gaps,
            [c for c in checks if c.state == "known gap"],
            "marked as known gaps",
        ),
    ):
        if most is not None and len(found) > most:
            places = [check.place for check in found]
            yield blocked(kind, f"{counted(len(found))} {words} ({most} may be)", places)


def _given(results: Results) -> list[str]:
    """The models that a release is about: of the command line, and those that a case ran on."""
    return sorted({*results.given, *(item.model for item in results.items)} - {""})


def models_of(suite: str, results: Results) -> list[str]:
    """The models that a suite of the run has to be judged on: where it can run, those given."""
    ran = {item.model for item in results.items if item.suite == suite}
    return sorted(ran if suite in results.bound else ran.union(results.given))


def _any_judged(results: Results) -> bool:
    return any(item.outcome in ("passed", "failed", "xpassed") for item in results.items)


def failures(
    blocking: Sequence[Check], policy: Policy, broken: Collection[Key]
) -> Iterator[Reason]:
    """Failed checks of each suite on each model, where no pass rate lets some of them fail.

    Args:
        broken: those that held in the baseline.
    """
    found = []
    for (suite, model), own in grouped(blocking).items():
        failed = [check for check in own if check.state == "failed"]
        if failed and not is_rated(policy, suite):
            count, of = len(failed), sum(check.judged for check in own)
            held = all(check.key in broken for check in failed)
            text = (
                f"in suite {suite} {count} of {of} attention checks of model {model} "
                f"{'no longer' if held else 'do not'} hold (allowed to fail: 0)"
            )
            lines = [check.line for check in failed]
            found.append((-count / of, -count, blocked("failed", text, lines)))
    yield from (reason for *_, reason in sorted(found, key=lambda entry: entry[:2]))
    for kind, words in (
        ("vacuous", "hold by chance: they hold for other word pairs as well"),
        ("unbreakable", "hold whatever the model does: nothing can break their bounds"),
        ("borderline", "are too near to their bounds to call"),
    ):
        lines = [check.line for check in blocking if kind in check.doubts]
        if lines:
            reason = "vacuous" if kind == "unbreakable" else kind
            yield blocked(reason, f"{counted(len(lines))} {_singular(words, len(lines))}", lines)


def _singular(words: str, count: int) -> str:
    if count != 1:
        return words
    return (
        words.replace("hold by", "holds by")
        .replace("hold whatever", "holds whatever")
        .replace("they hold", "it holds")
        .replace("are too near to their bounds", "is too near to its bound")
        .replace("their bounds", "its bounds")
    )


def _suite_rate(policy: Policy, suite: str) -> float | None:
    return policy.suite.get(suite, SuitePolicy()).pass_rate


def is_rated(policy: Policy, suite: str) -> bool:
    """Whether a pass rate lets some checks of a suite fail."""
    return policy.pass_rate is not None or _suite_rate(policy, suite) is not None


def rates(blocking: Sequence[Check], policy: Policy) -> Iterator[Reason]:
    """Pass rates that the policy demands, by the lower end of their intervals."""
    judged = [check for check in blocking if check.judged]
    for (suite, model), own in grouped(judged).items():
        rate = _suite_rate(policy, suite)
        if rate is not None:
            yield from _rate(f"in suite {suite} ", f"of model {model} ", own, rate)
        elif policy.pass_rate is not None and suite in {*policy.suites, *policy.suite}:
            failed = [check.line for check in own if check.state == "failed"]
            if failed and not any(check.holding for check in own):
                text = f"in suite {suite} no attention check of model {model} holds"
                yield blocked("failed", text, failed)
    if policy.pass_rate is not None:
        for model in sorted({check.item.model for check in judged}):
            own = [check for check in judged if check.item.model == model]
            yield from _rate("", f"of model {model} ", own, policy.pass_rate)


def _rate(where: str, whose: str, own: Sequence[Check], rate: float) -> Iterator[Reason]:
    count = len(own)
    failed = [check for check in own if check.state == "failed"]
    allowed = _allowed(count, rate)
    if allowed is None:
        most = wilson(count, count).low
        yield unjudged(
            "too few",
            f"{where}{counted(count)} {whose}cannot show a pass rate of "
            f"{format_floor_percent(rate)}: if all of them held, the interval would still begin "
            f"at {format_floor_percent(most)}",
        )
    elif len(failed) > allowed:
        low = wilson(count - len(failed), count).low
        text = (
            f"{where}{len(failed)} of {count} attention checks {whose}do not hold (allowed to "
            f"fail: {allowed})"
        )
        why = (
            f"pass rate {format_floor_percent((count - len(failed)) / count)}, 95 % interval from "
            f"{format_floor_percent(low)}; demanded from {format_floor_percent(rate)}"
        )
        yield blocked("pass rate", text, [why, *(check.line for check in failed)])


def _allowed(count: int, rate: float) -> int | None:
    """How many of so many checks may fail for the interval to begin at the rate; None: not one."""
    fitting = [failed for failed in range(count + 1) if wilson(count - failed, count).low >= rate]
    return max(fitting, default=None)


def may_fail(blocking: Sequence[Check], policy: Policy) -> int:
    """How many of the judged checks the policy lets fail."""
    judged = [check for check in blocking if check.judged]
    total: Counter[str] = Counter()
    for (suite, model), own in grouped(judged).items():
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
