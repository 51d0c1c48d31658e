"""Where the weights of a run came from, and on what they were judged."""

from __future__ import annotations

from collections.abc import Iterator

from attnprobe.gate.policy import Policy
from attnprobe.gate.reasons import Reason, blocked, unjudged
from attnprobe.results import ModelResult, Results

__all__ = ["provenance"]


def provenance(results: Results, policy: Policy) -> Iterator[Reason]:
    """Models, number types and devices that the policy does not allow, or that are not told."""
    for model in sorted(results.models, key=lambda model: model.name):
        yield from _model(model, policy)
    for kind, allowed in (("dtype", policy.dtypes), ("device", policy.devices)):
        if allowed is None:
            continue
        found = results.environment.get(kind)
        listed = ", ".join(allowed)
        if found is None:
            yield unjudged("unknown environment", f"the results do not tell their {kind}")
        elif found not in allowed and found.partition(":")[0] not in allowed:
            yield blocked(kind, f"it was judged in {found}, the policy allows {listed}")


def _model(model: ModelResult, policy: Policy) -> Iterator[Reason]:
    if model.weights_format == "pickle":
        yield blocked(
            "pickle",
            f"model {model.name} comes from pickled weights, which can run code",
            ["convert them to safetensors"],
        )
    if model.remote_code:
        yield blocked("remote code", f"model {model.name} runs code that came with its weights")
    # Models from the hub alone have a revision.
    if model.revision is not None and model.asked_revision is None:
        yield blocked(
            "unpinned",
            f"model {model.name} ({model.ref}) was given without its revision",
            [f"give --attn-revision {model.revision}"],
        )
    elif model.revision != model.asked_revision:
        yield blocked(
            "unpinned",
            f"model {model.name} was given by {model.asked_revision}, which another commit can "
            "take over",
            [f"give --attn-revision {model.revision}"],
        )
    if model.weights_sha256 is None and policy.own_loader == "refuse":
        yield unjudged(
            "unknown weights", f"the results do not say by a hash which weights {model.name} had"
        )
    if model.weights_format is None and policy.own_loader == "refuse":
        yield blocked(
            "own loader",
            f"model {model.name} was built by the project's own loader, so it is not known where "
            "its weights lay",
            ['allow it with own_loader = "allow" in the policy'],
        )
