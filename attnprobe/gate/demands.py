"""The demands of the policy: how many checks must be judged, and how many of them must hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from attnprobe.core.names import Key
from attnprobe.core.registry import did_you_mean
from attnprobe.core.stats import wilson
from attnprobe.core.wording import format_floor_percent
from attnprobe.gate.check import Check, grouped
from attnprobe.gate.policy import Policy, SuitePolicy
from attnprobe.gate.reasons import Reason, blocked, format_checks, unjudged
from attnprobe.results.records import Results


def amounts(
    blocking: Sequence[Check], waived: Sequence[Check], results: Results, policy: Policy
) -> Iterator[Reason]:
    """Reasons for models and suites with too few judged checks, and for unmeasured checks.

    Args:
        blocking: the checks that can block.
        waived: checks that could block but are waived. They were judged, so they count for
            `least`; but a release needs at least one judged check that is not waived.
        results: the run.
        policy: what it demands.
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
            "too few", f"{format_checks(len(everything))} judged, the policy demands {policy.least}"
        )
    for model in sorted(results.given):
        if totals[model] < policy.least:
            yield unjudged(
                "too few",
                f"{format_checks(totals[model])} of model {model} judged, the policy demands "
                f"{policy.least}",
            )
    for suite in sorted({*policy.suites, *policy.suite}):
        by_model = Counter(check.item.model for check in everything if check.item.suite == suite)
        demanded = policy.suite.get(suite, SuitePolicy()).least
        if not by_model and suite in results.absent_suites:
            continue
        if not by_model:
            suites = {item.suite for item in results.items}
            hint = [] if suite in suites else [did_you_mean(suite, suites)]
            yield unjudged(
                "missing suite", f"suite {suite}, which the policy demands, was not judged", hint
            )
            continue
        for model in models_of(suite, results):
            if by_model[model] < demanded:
                yield unjudged(
                    "too few",
                    f"in suite {suite} {format_checks(by_model[model])} of model {model} judged, "
                    f"the policy demands {demanded}",
                )
    errors = [check for check in blocking if check.state == "error"]
    if errors:
        causes = {check.item.error for check in errors} - {None}
        why = f": {causes.pop()}" if len(causes) == 1 else ""
        text = f"{format_checks(len(errors))} could not be measured{why}"
        yield unjudged("not measured", text, [check.line for check in errors])


def allowances(
    checks: Sequence[Check], blocking: Sequence[Check], policy: Policy
) -> Iterator[Reason]:
    """Reasons for more skipped checks, advisory checks or known gaps than the policy allows.

    Args:
        checks: all checks of the run, whatever their severity.
        blocking: the checks that can block.
        policy: how many of each it allows.
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
            yield blocked(kind, f"{format_checks(len(found))} {words} ({most} may be)", places)


def _given(results: Results) -> list[str]:
    """The models of the command line and all that a case ran on, sorted."""
    return sorted({*results.given, *(item.model for item in results.items)} - {""})


def models_of(suite: str, results: Results) -> list[str]:
    """The models that a suite of the run must be judged on, sorted.

    These are the models that it ran on. A suite with a case that names no model must also be
    judged on every model of the command line.
    """
    ran = {item.model for item in results.items if item.suite == suite}
    return sorted(ran if suite in results.bound else ran.union(results.given))


def _any_judged(results: Results) -> bool:
    return any(item.outcome in ("passed", "failed", "xpassed") for item in results.items)


def failures(
    blocking: Sequence[Check], policy: Policy, broken: Collection[Key]
) -> Iterator[Reason]:
    """Reasons for failed checks of suites without a pass rate, and for checks in doubt.

    Args:
        blocking: the checks that can block.
        policy: its pass rates.
        broken: the keys of checks that held in the baseline and no longer do.
    """
    found = []
    for (suite, model), checks in grouped(blocking).items():
        failed = [check for check in checks if check.state == "failed"]
        if failed and not is_rated(policy, suite):
            count, of = len(failed), sum(check.judged for check in checks)
            held_before = all(check.key in broken for check in failed)
            text = (
                f"in suite {suite} {count} of {of} attention checks of model {model} "
                f"{'no longer' if held_before else 'do not'} hold (allowed to fail: 0)"
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
            yield blocked(
                reason, f"{format_checks(len(lines))} {_singular(words, len(lines))}", lines
            )


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
    """Reasons for missed pass rates; the lower end of the 95 % interval must reach the rate."""
    judged = [check for check in blocking if check.judged]
    for (suite, model), checks in grouped(judged).items():
        rate = _suite_rate(policy, suite)
        if rate is not None:
            yield from _rate(f"in suite {suite} ", f"of model {model} ", checks, rate)
        elif policy.pass_rate is not None and suite in {*policy.suites, *policy.suite}:
            failed = [check.line for check in checks if check.state == "failed"]
            if failed and not any(check.holding for check in checks):
                text = f"in suite {suite} no attention check of model {model} holds"
                yield blocked("failed", text, failed)
    if policy.pass_rate is not None:
        for model in sorted({check.item.model for check in judged}):
            checks = [check for check in judged if check.item.model == model]
            yield from _rate("", f"of model {model} ", checks, policy.pass_rate)


def _rate(where: str, whose: str, checks: Sequence[Check], rate: float) -> Iterator[Reason]:
    count = len(checks)
    failed = [check for check in checks if check.state == "failed"]
    allowed = _allowed(count, rate)
    if allowed is None:
        most = wilson(count, count).low
        yield unjudged(
            "too few",
            f"{where}{format_checks(count)} {whose}cannot show a pass rate of "
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
    """How many of `count` checks may fail so that the interval still reaches the rate.

    None means that the interval falls short even if none fails.
    """
    fitting = [failed for failed in range(count + 1) if wilson(count - failed, count).low >= rate]
    return max(fitting, default=None)


def may_fail(blocking: Sequence[Check], policy: Policy) -> int:
    """The number of judged checks that the pass rates of the policy let fail."""
    judged = [check for check in blocking if check.judged]
    total: Counter[str] = Counter()
    for (suite, model), checks in grouped(judged).items():
        rate = _suite_rate(policy, suite)
        if rate is not None:
            total[model] += _allowed(len(checks), rate) or 0
        elif policy.pass_rate is not None:
            total[model] += len(checks)
    if policy.pass_rate is not None:
        counts = Counter(check.item.model for check in judged)
        for model, count in counts.items():
            total[model] = min(total[model], _allowed(count, policy.pass_rate) or 0)
    return total.total()
