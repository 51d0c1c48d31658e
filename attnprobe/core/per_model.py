"""Options of the form `[NAME=]VALUE`, which give one model of a run a value."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from attnprobe.core.errors import AttnprobeError

_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=(.+)")


def split_name(entry: str) -> tuple[str | None, str]:
    """The name and the value of `[NAME=]VALUE`; the name is None if the entry has none."""
    named = _NAMED.match(entry)
    return (named[1], named[2]) if named else (None, entry)


def values_by_model(
    entries: Iterable[str], models: Collection[str], *, option: str, other_models: bool = False
) -> dict[str, str]:
    """The value of each model that has one, by the model's name.

    A value without a name is for the only model of the run.

    Args:
        models: names of the models of the run.
        option: the option in messages: `--attn-tokenizer`.
        other_models: whether to ignore entries for models that the run does not have, as in an ini
            file.

    Raises:
        AttnprobeError: an empty value, a name that no model has, two values for one model, or a
            value without a name in a run of several models.
    """
    found: dict[str, str] = {}
    for entry in entries:
        if not entry.strip():
            raise AttnprobeError(f"{option} is empty; is a variable not set?")
        name, value = split_name(entry)
        if name is None and len(models) > 1:
            raise AttnprobeError(
                f"the run has {len(models)} models; say which one {option} is for: "
                f"{option} {next(iter(models))}={value}"
            )
        if name is not None and name not in models and other_models:
            continue
        if name is not None and name not in models:
            known = ", ".join(models) or "none"
            raise AttnprobeError(f"{option} {entry}: no model {name!r}; the run has: {known}")
        for model in models if name is None else (name,):
            if model in found:
                raise AttnprobeError(f"{option} is given twice for model {model}")
            found[model] = value
    return found
