"""Writes the results of a run into the `model-index` of a model card, with huggingface_hub.

All that is not its `model-index` stays the same, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from attnprobe.core.errors import ResultsError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.stats import wilson
from attnprobe.core.wording import plural
from attnprobe.results.files import write_bytes
from attnprobe.results.records import CaseResult, Results

# The dataset type that marks entries of earlier runs, which an update replaces.
_DATASET = "attnprobe"
_BOM = "\ufeff"
# The metadata of a card, as the newest huggingface_hub finds it; older ones want no blanks behind
# the closing marks.
_BLOCK = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")


def eval_results(results: Results, *, model: str | None = None) -> tuple[str, list[EvalResult]]:
    """The model's name, and one result for each suite: the share of its checks that hold.

    Known gaps count as checks that do not hold. Each result also has the counts and the 95 % Wilson
    interval.

    Args:
        model: the model's name in the run; required if the run has several models.

    Raises:
        ResultsError: the run did not finish, could not measure a check, has no such model, or
            measured it without the code that comes with it.
    """
    name = _model_name(results, model)
    if any(entry.ignored_code for entry in results.models if entry.name == name):
        raise ResultsError(
            f"{name} was measured without the code that comes with it, but a card describes the "
            "model as it is released"
        )
    items = [item for item in results.items if item.model == name and item.outcome != "skipped"]
    errors = sum(item.state == "error" for item in items)
    if errors or results.missing:
        what = plural(errors + results.missing, "check has no result", "checks have no result")
        raise ResultsError(f"{what}, but a card needs a complete run")
    suites = sorted({item.suite for item in items})
    if not suites:
        raise ResultsError(f"no check ran on model {name}")
    (quantised,) = {entry.quantised for entry in results.models if entry.name == name}
    return name, [
        _result(suite, [item for item in items if item.suite == suite], quantised)
        for suite in suites
    ]


def _model_name(results: Results, model: str | None) -> str:
    names = sorted({entry.name for entry in results.models})
    if model is None:
        if len(names) == 1:
            return names[0]
        raise ResultsError(f"a card is for one model; name one: --model {' or '.join(names)}")
    if model not in names:
        raise ResultsError(f"the run has no model {model!r}; {did_you_mean(model, names)}")
    return model


def _result(suite: str, items: list[CaseResult], quantised: str | None) -> EvalResult:
    held = sum(item.state == "passed" for item in items)
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
            "known_gaps": sum(item.state == "gap" for item in items),
            "wilson_low": interval.low,
            "wilson_high": interval.high,
            **({"quantised": quantised} if quantised else {}),
        },
    )


def card_yaml(results: Results, *, model: str | None = None) -> str:
    """The metadata of a card with nothing but the results, as YAML.

    Raises:
        ResultsError: as `eval_results`.
    """
    name, found = eval_results(results, model=model)
    return str(ModelCardData(model_name=name, eval_results=found).to_yaml()) + "\n"


def update_card(file: Path, results: Results, *, model: str | None = None) -> bool:
    """Writes the results into a card; they replace those of an earlier run, and others stay.

    Returns:
        Whether the card changed.

    Raises:
        ResultsError: as `eval_results`; or the card cannot be read or written, or huggingface_hub
            would drop part of its metadata.
    """
    name, found = eval_results(results, model=model)
    try:
        before = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{file}: cannot be read: {error}") from None
    bom = _BOM if before.startswith(_BOM) else ""
    card = _parse_card(before.removeprefix(_BOM), file)
    data = cast(ModelCardData, card.data)
    others = [entry for entry in data.eval_results or () if entry.dataset_type != _DATASET]
    index = ModelCardData(model_name=data.model_name or name, eval_results=[*others, *found])
    after = bom + _with_index(before.removeprefix(_BOM), str(index.to_yaml()), file)
    if after == before:
        return False
    write_bytes(file, after.encode("utf-8"))
    return True


def _with_index(text: str, index: str, file: Path) -> str:
    """The text of a card with this block for its `model-index`."""
    block = _BLOCK.search(text)
    if block is None:
        return f"---\n{index}\n---\n{text}"
    head, metadata = block[1], block[2]
    newline = "\r\n" if head.endswith("\r\n") else "\n"
    index = index.replace("\n", newline)
    start, end = _place_of_index(metadata)
    before, after = metadata[:start], metadata[end:]
    if start == len(metadata) and before:
        before += newline
    written = f"{before}{index}{after}"
    if _without_index(written) != _without_index(metadata):
        raise ResultsError(
            f"{file}: its model-index cannot be replaced alone; write the block that attnprobe "
            "card prints into it by hand"
        )
    return f"{text[: block.start(2)]}{written}{text[block.end(2) :]}"


def _place_of_index(metadata: str) -> tuple[int, int]:
    """The characters of `model-index` and its value; the end of the metadata where it has none."""
    root = yaml.compose(metadata, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if key.value == "model-index":
                start = key.start_mark.index
                # The mark of a block lies behind the blanks and comments that follow it.
                length = len(metadata[start : _end(value)].rstrip())
                return start, start + length
    return len(metadata), len(metadata)


def _end(node: yaml.Node) -> int:
    """The first character behind a value."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _without_index(metadata: str) -> object:
    """What metadata says besides its `model-index`."""
    # The line break before the closing `---` may end a block of text.
    try:
        found = yaml.safe_load(f"{metadata}\n") or {}
    except yaml.YAMLError as error:
        return str(error)
    return {key: value for key, value in found.items() if key != "model-index"}


def _parse_card(text: str, file: Path) -> ModelCard:
    block = _BLOCK.search(text)
    metadata = block[2] if block else ""
    try:
        card = ModelCard(f"---\n{metadata}\n---\n")
        index = (yaml.safe_load(metadata) or {}).get("model-index") or []
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ResultsError(f"{file}: is not a model card: {error}") from None
    names = [entry["name"] for entry in index]
    if len(names) > 1:
        raise ResultsError(
            f"{file}: its model-index names {len(names)} models, and huggingface_hub would make "
            "one of them"
        )
    rewritten = card.data.to_dict()  # type: ignore[no-untyped-call]
    survivors = set(_leaves(rewritten.get("model-index")))
    lost = sorted({path for path, value in set(_leaves(index)) - survivors})
    if lost:
        raise ResultsError(
            f"{file}: huggingface_hub would drop from its model-index: {', '.join(lost)}; write "
            "the block that attnprobe card prints into it by hand"
        )
    return card


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """The values in a piece of metadata, each after its path: `results.metrics.type`."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, path)
    elif value is not None:
        yield path, repr(value)
