"""Notes of a decision: facts that change nothing in the verdict but that a reader should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from attnprobe.core.names import Key
from attnprobe.gate.check import Check
from attnprobe.gate.policy import Policy
from attnprobe.gate.reasons import format_checks
from attnprobe.results.records import Results


def check_notes(
    checks: Sequence[Check],
    waived: Sequence[Check],
    not_waived: Sequence[Check],
    policy: Policy,
    demoted: Collection[Key],
) -> Iterator[str]:
    """Notes on moved, waived, advisory and unjudged checks.

    Args:
        checks: all checks of the run; `waived` and `not_waived` are its two parts.
        policy: the severities that block.
        demoted: the keys of checks that could block in the baseline and are advisory now.
    """
    for check in checks:
        if check.state == "moved":
            yield f"moved: {check.line}"
    for check in waived:
        state = "holds, the waiver is no longer needed" if check.state == "holds" else check.why
        yield f"waived: {check.item.address} on {check.item.model}: {state}"
    for check in not_waived:
        if check.key in demoted:
            yield f"judged as blocking, as in the baseline: {check.line}"
        elif check.item.severity not in policy.blocking and check.state in (
            "failed",
            "error",
            "vacuous",
            "borderline",
        ):
            yield f"advisory: {check.line}"
    for state, singular, several in (
        ("skipped", "was skipped", "were skipped"),
        ("known gap", "is a known gap", "are known gaps"),
        ("unstated", "states nothing by a rule that holds", "state nothing by a rule that holds"),
    ):
        count = sum(check.state == state for check in not_waived)
        if count:
            yield f"{format_checks(count)} {singular if count == 1 else several}"


def tokenizer_notes(results: Results) -> Iterator[str]:
    """Notes on models whose texts were read with a tokenizer from another place.

    An ini file may name that tokenizer, so the command line need not show it.
    """
    for model in sorted(results.models, key=lambda model: model.name):
        if model.tokenizer is not None:
            yield (
                f"the texts of model {model.name} were read with the tokenizer of "
                f"{model.tokenizer} (--attn-tokenizer or attn_tokenizer)"
            )


def head_set_notes(results: Results) -> Iterator[str]:
    """Notes on head sets of the lock file that were chosen on other weights than the judged ones.

    That is no error, since a gate judges new weights; but heads may have moved in them.
    """
    judged = {model.name: model for model in results.models}
    found: Counter[tuple[str, str, str]] = Counter()
    unknown: Counter[tuple[str, str]] = Counter()
    for item in results.items:
        model = judged.get(item.model)
        for heads in {heads for entry in item.expectations for heads in entry.head_sets}:
            if heads.weights_sha256 is None:
                unknown[heads.name, item.model] += 1
            elif model and model.weights_format and heads.weights_sha256 != model.weights_sha256:
                found[heads.name, heads.origin, item.model] += 1
    for (name, origin, judged_on), count in sorted(found.items()):
        yield (
            f"heads @{name} of {format_checks(count)} were chosen on {origin}; model {judged_on} "
            "has other weights: scan it again, or see attnprobe compare for where the heads moved"
        )
    for (name, judged_on), count in sorted(unknown.items()):
        yield (
            f"heads @{name} of {format_checks(count)} on model {judged_on}: the lock file does not "
            "say on which weights they were chosen"
        )
