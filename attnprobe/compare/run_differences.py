"""What differs between two runs besides their checks: versions, environment, models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attnprobe.results.records import ModelResult, Results


def run_differences(old: Results, new: Results, renamed: Mapping[str, str]) -> Iterator[str]:
    """One sentence a difference.

    Args:
        renamed: the new run's name of each model of the old run whose name differs.
    """
    if old.attnprobe != new.attnprobe:
        yield f"attnprobe {old.attnprobe} before, {new.attnprobe} now"
    # Runs of two commits are the purpose of a comparison, so the commit gives no warning.
    for name in sorted({*old.environment, *new.environment} - {"git_commit"}):
        before, after = old.environment.get(name), new.environment.get(name)
        if before != after:
            yield f"{name} {before or 'unknown'} before, {after or 'unknown'} now"
    models = {model.name: model for model in new.models}
    for model in sorted(old.models, key=lambda model: model.name):
        name = renamed.get(model.name, model.name)
        if name in models:
            yield from _model_differences(model, models[name])


def _model_differences(old: ModelResult, new: ModelResult) -> Iterator[str]:
    name = old.name if old.name == new.name else f"{old.name} → {new.name}"
    old_network, new_network = describe_network(old), describe_network(new)
    if old_network != new_network:
        yield (
            f"{name}: another network: {old_network} before, {new_network} now; L0H0 of one is not "
            "L0H0 of the other, so compare them only where a case names no head"
        )
    if old.ignored_code or new.ignored_code:
        yield f"{name}: measured without the code that came with the model"
    facts = {
        "revision": (old.revision, new.revision),
        "weights sha256": (old.weights_sha256, new.weights_sha256),
        "tokenizer sha256": (old.tokenizer_sha256, new.tokenizer_sha256),
        "source language": (old.source_language, new.source_language),
        "target language": (old.target_language, new.target_language),
    }
    if old.quantised != new.quantised:
        quantised = [model.quantised or "not quantised" for model in (old, new)]
        yield f"{name}: {quantised[0]} before, {quantised[1]} now"
    for fact, (before, now) in facts.items():
        if before != now:
            yield f"{name}: {fact} {_short(before)} before, {_short(now)} now"


def describe_network(model: ModelResult) -> str:
    """The architecture with the numbers of layers and heads, and the sites."""
    return (
        f"{model.architecture} with {model.layers} layers of {model.heads} heads "
        f"({', '.join(model.sites)})"
    )


def _short(value: str | None) -> str:
    return "unknown" if value is None else value if len(value) < 24 else f"{value[:12]}…"
