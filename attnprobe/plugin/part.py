"""The record of a part of a run, by which `attnprobe merge` puts parts together."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from attnprobe.plugin.keys import selection_of
from attnprobe.plugin.options import settings
from attnprobe.results.environment import source_sha256
from attnprobe.results.records import PairRecord, PartRecord

# The options that a verdict depends on; the models are recorded in full.
_OPTIONS = (
    *("batch_tokens", "max_unfolded", "chance_max", "all_models", "strict", "nearest"),
    *("compare_fail",),
)


def part_record(
    config: pytest.Config, *, broken: int, free: Sequence[str], bound: Sequence[str]
) -> PartRecord:
    """The record of this part.

    Args:
        broken: the number of case files that could not be read.
        free, bound: as in `PartRecord`.
    """
    chosen, selection = settings(config), selection_of(config)
    options = {name: getattr(chosen, name) for name in _OPTIONS}
    options["strict_given"] = "strict" in chosen.given
    return PartRecord(
        index=chosen.part.index,
        count=chosen.part.count,
        planned=selection.planned,
        planned_sha256=selection.planned_sha256,
        files=selection.files,
        options=json.loads(json.dumps(options)),
        broken=broken,
        free=tuple(free),
        bound=tuple(bound),
        pairs=tuple(PairRecord(**pair) for pair in selection.pairs),
        default_models=chosen.default_models,
        source_sha256=source_sha256(),
    )
