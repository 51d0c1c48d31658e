"""What is worth knowing besides the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from attnprobe.core.names import Key
from attnprobe.gate.check import Check
from attnprobe.gate.policy import Policy
from attnprobe.gate.reasons import counted
from attnprobe.results.records import Results


def notes_on(
    checks: Sequence[Check],
    waived: Sequence[Check],
    kept: Sequence[Check],
    policy: Policy,
    demoted: Collection[Key],
) -> Iterator[str]:
    """What became of checks that do not count against the release.

    Args:
        checks: all of the run; `waived` and `kept` are its two parts.
        demoted: checks that are judged as the baseline had them.
    """
    for check in checks:
        if check.state == "moved":
            yield f"moved: {check.line}"
    for check in waived:
        state = "holds, the waiver is no longer needed" if check.state == "holds" else check.why
        yield f"waived: {check.item.address} on {check.item.model}: {state}"
    for check in kept:
        if check.key in demoted:
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
            yield f"{counted(count)} {one if count == 1 else several}"


def tokenizer_notes(results: Results) -> Iterator[str]:
    """Models that were read with a tokenizer from elsewhere, which an ini file may have named."""
    for model in sorted(results.models, key=lambda model: model.name):
        if model.tokenizer is not None:
            yield (
                f"the texts of model {model.name} were read with the tokenizer of "
                f"{model.tokenizer} (--attn-tokenizer or attn_tokenizer)"
            )


def head_set_notes(results: Results) -> Iterator[str]:
    """Head sets of the lock file that were chosen on other weights than were judged.

    That is no error, for a gate judges new weights; but the heads may have other places by now.
    """
    judged = {model.name: model for model in results.models}
    found: Counter[tuple[str, str, str]] = Counter()
    unknown: Counter[tuple[str, str]] = Counter()
    for item in results.items:
        model = judged.get(item.model)
        for own in {own for entry in item.expectations for own in entry.head_sets}:
            if own.weights_sha256 is None:
                unknown[own.name, item.model] += 1
            elif model and model.weights_format and own.weights_sha256 != model.weights_sha256:
                found[own.name, own.origin, item.model] += 1
    for (name, origin, ran), count in sorted(found.items()):
        yield (
            f"heads @{name} of {counted(count)} were chosen on {origin}; model {ran} has other "
            "weights: scan it again, or see attnprobe compare for where the heads moved"
        )
    for (name, ran), count in sorted(unknown.items()):
        yield (
            f"heads @{name} of {counted(count)} on model {ran}: the lock file does not say on "
            "which weights they were chosen"
        )
