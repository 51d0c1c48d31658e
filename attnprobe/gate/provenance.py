"""Reasons against models of unknown or refused origin, number type or device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnprobe.gate.check import Check
from attnprobe.gate.decision import JudgedModel
from attnprobe.gate.policy import Policy
from attnprobe.gate.reasons import Reason, blocked, unjudged
from attnprobe.results.records import ModelResult, Results

_LEAVE = 'allow it with own_loader = "allow" in the policy'


def judged_models(results: Results, judged: Sequence[Check]) -> tuple[JudgedModel, ...]:
    """The models that these checks were judged on, sorted by name."""
    names = {check.item.model for check in judged}
    return tuple(
        JudgedModel(model.name, model.ref, model.weights_sha256, model.quantised)
        for model in sorted(results.models, key=lambda model: model.name)
        if model.name in names
    )


def provenance(results: Results, policy: Policy) -> Iterator[Reason]:
    """Reasons for models, number types and devices that are unknown or that the policy refuses."""
    run = results.environment
    for model in sorted(results.models, key=lambda model: model.name):
        yield from _model(model, policy)
        yield from _allowed(model, "dtype", model.dtype or run.get("dtype"), policy.dtypes)
        yield from _allowed(model, "device", model.device or run.get("device"), policy.devices)


def _allowed(
    model: ModelResult, kind: str, found: str | None, allowed: Sequence[str] | None
) -> Iterator[Reason]:
    """The reason for a number type or a device that the policy does not allow.

    Args:
        model: the judged model.
        kind: `dtype` or `device`.
        found: the recorded value, or several separated by commas; None where it is unknown.
        allowed: the allowed values; None allows any.
    """
    if allowed is None:
        return
    if found is None:
        yield unjudged(
            "unknown environment", f"the results do not record the {kind} of model {model.name}"
        )
        return
    refused = [
        value
        for value in found.split(", ")
        if value not in allowed and value.partition(":")[0] not in allowed
    ]
    if refused:
        where = "in" if kind == "dtype" else "on"
        yield blocked(
            kind,
            f"model {model.name} was judged {where} {', '.join(refused)}, the policy allows "
            f"{', '.join(allowed)}",
        )


def _model(model: ModelResult, policy: Policy) -> Iterator[Reason]:
    if model.weights_format == "pickle":
        yield blocked(
            "pickle",
            f"model {model.name} comes from pickled weights, which can run code",
            ["convert them to safetensors"],
        )
    if model.remote_code:
        yield blocked("remote code", f"model {model.name} runs code that came with its weights")
    if model.ignored_code and policy.remote_code == "refuse":
        yield unjudged(
            "ignored code",
            f"model {model.name} comes with code of its own, and without it another model was "
            "measured",
            ['accept that with remote_code = "ignore" in the policy'],
        )
    # Only models from the hub have a revision.
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
            [_LEAVE],
        )
    elif model.asked not in (None, model.ref) and policy.own_loader == "refuse":
        yield blocked(
            "own loader",
            f"model {model.name} was given as {model.asked}, but the project's own loader loaded "
            f"{model.ref}",
            [_LEAVE],
        )
