"""Reasons against a run that is incomplete or whose records contradict each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attnprobe.core.names import SUFFIX
from attnprobe.core.wording import plural
from attnprobe.gate.check import place_of
from attnprobe.gate.policy import Policy
from attnprobe.gate.reasons import Reason, format_checks, format_left_out, unjudged
from attnprobe.gate.records import contradictions, other_contradictions
from attnprobe.results.records import CaseResult, CheckState, Results


def completeness(results: Results, policy: Policy, commit: str | None) -> Iterator[Reason]:
    """Reasons why a run cannot be judged: parts are missing, or its records contradict each other.

    Args:
        results: the run.
        policy: what it allows to be missing.
        commit: the commit that is checked out, for a results file that was read; None for a run
            that the gate started itself.
    """
    yield from _pytest(results)
    yield from _whole(results)
    yield from _contradictions(results)
    yield from _commit(results, policy, commit)
    yield from _candidate(results, policy)
    yield from _absent(results, policy)
    yield from _deselected(results, policy)
    yield from _uncollected(results, policy)


def _pytest(results: Results) -> Iterator[Reason]:
    """Failures of pytest other than attention checks; no verdict on the checks may hide them."""
    for found, singular, several in (
        (
            results.other_failures,
            "test that is no attention check",
            "tests that are no attention checks",
        ),
        (results.unread, "file that could not be read", "files that could not be read"),
        (results.complaints, "reason of its own", "reasons of its own"),
    ):
        if found:
            what = plural(len(found), singular, several)
            yield unjudged("pytest", f"pytest failed for {what}", found)


def _whole(results: Results) -> Iterator[Reason]:
    summary = results.summary()
    if not results.items:
        yield unjudged("nothing judged", "no attention check ran")
    elif not (states := results.states())["passed"] + states["failed"]:
        kinds: tuple[tuple[CheckState, str, str], ...] = (
            ("skipped", "skipped", "skipped"),
            ("gap", "known gap", "known gaps"),
            ("error", "error", "errors"),
        )
        counts = ", ".join(
            plural(states[name], singular, several)
            for name, singular, several in kinds
            if states[name]
        )
        causes = {item.error for item in results.items if item.outcome == "error"}
        cause = causes.pop() if len(causes) == 1 else None
        why = f" ({cause})" if cause else ""
        yield unjudged("nothing judged", f"no attention check was judged: {counts}{why}")
    expected = summary["collected"] - summary["skipped"]
    if expected != summary["executed"]:
        yield unjudged(
            "lost",
            f"{summary['executed']} of {expected} attention checks were executed; "
            "the others left no result",
        )
    keys = Counter(item.key for item in results.items)
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        details = [key.place for key in twice]
        yield unjudged(
            "inconsistent", f"{format_checks(len(twice))} stand twice in the run", details
        )
    odd = [
        place_of(item)
        for item in results.items
        if item.outcome == "passed" and item.file.endswith(SUFFIX) and not _may_pass(item)
    ]
    if odd:
        yield unjudged("inconsistent", f"{format_checks(len(odd))} passed without cause", odd)
    unnamed = sorted(
        {item.model for item in results.items if item.outcome not in ("skipped", "error")}
        - {model.name for model in results.models}
    )
    if unnamed:
        names = ", ".join(unnamed)
        yield unjudged("inconsistent", f"the results do not say which model {names} is")


def _contradictions(results: Results) -> Iterator[Reason]:
    found = [
        f"{place_of(item)}: {entry.rule} {why}"
        for item in results.items
        for entry in item.expectations
        for why in (
            *contradictions(entry),
            *other_contradictions(entry),
        )
    ]
    if found:
        text = plural(len(found), "record contradicts", "records contradict")
        yield unjudged("inconsistent", f"{text} the numbers beside it", found)


def _may_pass(item: CaseResult) -> bool:
    """Whether an item has expectations and none of them failed or could not be measured."""
    outcomes = {entry.outcome for entry in item.expectations}
    return bool(outcomes) and not outcomes & {"failed", "error"}


def _commit(results: Results, policy: Policy, commit: str | None) -> Iterator[Reason]:
    recorded = results.environment.get("git_commit")
    if policy.commit == "same" and commit and recorded != commit:
        whose = (
            f"are of commit {recorded[:12]}" if recorded else "do not say of which commit they are"
        )
        yield unjudged(
            "commit",
            f"the results {whose}, and {commit[:12]} is checked out",
            ['run again, or set commit = "any" in the policy'],
        )


def _candidate(results: Results, policy: Policy) -> Iterator[Reason]:
    if results.items and not results.given and policy.candidate == "command-line":
        yield unjudged(
            "no candidate",
            "no candidate was given on the command line: the run judged the models of its ini file",
            ['give --attn-model=NAME=REF, or set candidate = "ini" in the policy'],
        )


def _absent(results: Results, policy: Policy) -> Iterator[Reason]:
    missing = {
        name: count for name, count in results.absent.items() if name not in policy.absent_models
    }
    if missing:
        names = ", ".join(f"{name} ({missing[name]})" for name in sorted(missing))
        count = sum(missing.values())
        yield unjudged(
            "absent model",
            f"{format_checks(count)} {'is' if count == 1 else 'are'} for models that the run was "
            f"not given: {names}",
            [f"give --attn-model {name}=REF, or list it in absent_models" for name in missing],
        )


def _deselected(results: Results, policy: Policy) -> Iterator[Reason]:
    text = describe_deselected(results)
    if text and (results.deselected or 0) + len(results.left_out) > policy.deselected:
        yield unjudged(
            "deselected",
            f"{text} ({policy.deselected} may be; policy key deselected)",
            results.left_out,
        )


def _uncollected(results: Results, policy: Policy) -> Iterator[Reason]:
    if results.uncollected is None:
        yield unjudged(
            "uncollected",
            "the results, of an older version, do not say which case files the run passed over",
            ["run again"],
        )
        return
    files = [file for file in results.uncollected if not policy.allows_uncollected(file)]
    if files:
        what = plural(len(files), "case file was", "case files were")
        yield unjudged(
            "uncollected",
            f"{what} not collected, or only in part (policy key uncollected)",
            [f"{file}{_advice(file)}" for file in files],
        )


def _advice(file: str) -> str:
    if file.endswith("/"):
        return ": the folder cannot be read"
    return "" if file.endswith(SUFFIX) else f": its name must end in {SUFFIX}"


def describe_deselected(results: Results) -> str:
    """The checks and files that -k, -m or --lf left out, in words; empty for none."""
    parts = []
    if results.deselected:
        parts.append(
            plural(
                results.deselected,
                "attention check was deselected",
                "attention checks were deselected",
            )
        )
    if results.left_out:
        parts.append(format_left_out(len(results.left_out)))
    return ", and ".join(parts)
