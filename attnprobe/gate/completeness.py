"""Whether a run is whole, and its records can be judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attnprobe.core.names import SUFFIX
from attnprobe.core.wording import plural
from attnprobe.gate.check import place_of
from attnprobe.gate.policy import Policy
from attnprobe.gate.reasons import Reason, counted, left_out, unjudged
from attnprobe.gate.records import contradictions, other_contradictions
from attnprobe.results.records import CaseResult, Results


def completeness(results: Results, policy: Policy, commit: str | None) -> Iterator[Reason]:
    """What is missing from a run, or cannot be as its records say.

    Args:
        commit: the commit that is checked out, where a results file must be of it.
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
    """What failed in the run besides attention checks; no other verdict may hide it."""
    for found, one, several in (
        (results.other_failures, "test that is no attention check", "tests that are none"),
        (results.unread, "file that could not be read", "files that could not be read"),
        (results.complaints, "reason of its own", "reasons of its own"),
    ):
        if found:
            what = plural(len(found), one, several)
            yield unjudged("pytest", f"pytest failed for {what}", found)


def _whole(results: Results) -> Iterator[Reason]:
    summary = results.summary()
    if not results.items:
        yield unjudged("nothing judged", "no attention check ran")
    elif not summary["passed"] + summary["failed"] + summary["xpassed"]:
        counts = ", ".join(
            plural(summary[name], one, several)
            for name, one, several in (
                ("skipped", "skipped", "skipped"),
                ("xfailed", "known gap", "known gaps"),
                ("error", "error", "errors"),
            )
            if summary[name]
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
        yield unjudged("inconsistent", f"{counted(len(twice))} stand twice in the run", details)
    odd = [
        place_of(item)
        for item in results.items
        if item.outcome == "passed" and item.file.endswith(SUFFIX) and not _may_pass(item)
    ]
    if odd:
        yield unjudged("inconsistent", f"{counted(len(odd))} passed without cause", odd)
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
    """Whether a case states something and none of it failed."""
    outcomes = {entry.outcome for entry in item.expectations}
    return bool(outcomes) and not outcomes & {"failed", "error"}


def _commit(results: Results, policy: Policy, commit: str | None) -> Iterator[Reason]:
    theirs = results.environment.get("git_commit")
    if policy.commit == "same" and commit and theirs != commit:
        whose = f"are of commit {theirs[:12]}" if theirs else "do not say of which commit they are"
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
        named = ", ".join(f"{name} ({missing[name]})" for name in sorted(missing))
        count = sum(missing.values())
        yield unjudged(
            "absent model",
            f"{counted(count)} {'is' if count == 1 else 'are'} for models that the run was not "
            f"given: {named}",
            [f"give --attn-model {name}=REF, or list it in absent_models" for name in missing],
        )


def _deselected(results: Results, policy: Policy) -> Iterator[Reason]:
    told = deselected(results)
    if told and (results.deselected or 0) + len(results.left_out) > policy.deselected:
        yield unjudged(
            "deselected",
            f"{told} ({policy.deselected} may be; policy key deselected)",
            results.left_out,
        )


def _uncollected(results: Results, policy: Policy) -> Iterator[Reason]:
    if results.uncollected is None:
        yield unjudged(
            "uncollected",
            "the results, of an older version, do not tell which case files the run passed over",
            ["run again"],
        )
        return
    files = [file for file in results.uncollected if not policy.lets_go(file)]
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


def deselected(results: Results) -> str:
    """What -k, -m, --lf and the like left out, in words; empty for nothing."""
    told = []
    if results.deselected:
        told.append(
            plural(
                results.deselected,
                "attention check was deselected",
                "attention checks were deselected",
            )
        )
    if results.left_out:
        told.append(left_out(len(results.left_out)))
    return ", and ".join(told)
