"""A run as the `model-index` of a model card, through huggingface_hub's own classes.

The body of a card stays as it is, byte for byte; its metadata is written as huggingface_hub writes
it, which drops comments.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, metadata_load

from attnprobe.core.errors import ResultsError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.stats import wilson
from attnprobe.results.files import write_bytes
from attnprobe.results.records import CaseResult, Results

# By this the results of an earlier run are known again.
_DATASET = "attnprobe"
_BOM = "\ufeff"


def eval_results(results: Results, *, model: str | None = None) -> tuple[str, list[EvalResult]]:
    """The name of the model, and one result a suite: which share of its checks hold.

    Known gaps count as checks that do not hold. Beside the share stand how many checks that is of
    and the 95 % Wilson interval.

    Args:
        model: the model's name in the run; needed where it has several.

    Raises:
        ResultsError: the run did not finish or could not measure a check, or it has no such model,
            or measured it without the code that comes with it.
    """
    name = _model(results, model)
    if any(entry.ignored_code for entry in results.models if entry.name == name):
        raise ResultsError(
            f"{name} was measured without the code that comes with it, and a card tells of the "
            "model as it is released"
        )
    items = [item for item in results.items if item.model == name and item.outcome != "skipped"]
    errors = sum(item.outcome == "error" for item in items)
    if errors or results.missing:
        raise ResultsError(
            f"{errors + results.missing} checks have no result, and a card tells of whole runs"
        )
    suites = sorted({item.suite for item in items})
    if not suites:
        raise ResultsError(f"no check ran on model {name}")
    return name, [
        _result(suite, [item for item in items if item.suite == suite]) for suite in suites
    ]


def _model(results: Results, model: str | None) -> str:
    names = sorted({entry.name for entry in results.models})
    if model is None:
        if len(names) == 1:
            return names[0]
        raise ResultsError(f"a card is for one model; name one: --model {' or '.join(names)}")
    if model not in names:
        raise ResultsError(f"the run has no model {model!r}; {did_you_mean(model, names)}")
    return model


def _result(suite: str, items: list[CaseResult]) -> EvalResult:
    held = sum(item.outcome == "passed" for item in items)
    interval = wilson(held, len(items))
    return EvalResult(
        task_type="other",
        task_name="Attention checks",
        dataset_type=_DATASET,
        dataset_name=suite,
        dataset_config=suite,
        metric_type="accuracy",
        metric_name="pass rate",
        metric_value=held / len(items),
        metric_args={
            "passed": held,
            "n": len(items),
            "known_gaps": sum(item.outcome == "xfailed" for item in items),
            "wilson_low": interval.low,
            "wilson_high": interval.high,
        },
    )


def card_yaml(results: Results, *, model: str | None = None) -> str:
    """The metadata of a card that says nothing else, as YAML.

    Raises:
        ResultsError: as `eval_results`.
    """
    name, found = eval_results(results, model=model)
    return str(ModelCardData(model_name=name, eval_results=found).to_yaml()) + "\n"


def update_card(file: Path, results: Results, *, model: str | None = None) -> bool:
    """Puts the results into a card, in place of those of an earlier run; others stay.

    Returns:
        Whether the card has changed.

    Raises:
        ResultsError: as `eval_results`, or the card cannot be read or written, or has what
            huggingface_hub would drop.
    """
    name, found = eval_results(results, model=model)
    try:
        before = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{file}: cannot be read: {error}") from None
    bom = _BOM if before.startswith(_BOM) else ""
    card = _parsed(before.removeprefix(_BOM), file)
    data = cast(ModelCardData, card.data)
    others = [entry for entry in data.eval_results or () if entry.dataset_type != _DATASET]
    data.eval_results = [*others, *found]
    data.model_name = data.model_name or name
    after = bom + card.content
    if after == before:
        return False
    write_bytes(file, after.encode("utf-8"))
    return True


def _parsed(text: str, file: Path) -> ModelCard:
    try:
        card = ModelCard(text)
        index = (metadata_load(file) or {}).get("model-index") or []
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ResultsError(f"{file}: is no model card: {error}") from None
    names = [entry["name"] for entry in index]
    if len(names) > 1:
        raise ResultsError(
            f"{file}: its model-index names {len(names)} models, and huggingface_hub would make "
            "one of them"
        )
    own = card.data.to_dict()  # type: ignore[no-untyped-call]
    kept = set(_leaves(own.get("model-index")))
    lost = sorted({path for path, value in set(_leaves(index)) - kept})
    if lost:
        raise ResultsError(
            f"{file}: huggingface_hub would drop from its model-index: {', '.join(lost)}; write "
            "the block that attnprobe card prints into it by hand"
        )
    return card


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """What stands in a piece of metadata, with the keys that lead there: `results.metrics.type`."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, path)
    elif value is not None:
        yield path, repr(value)
