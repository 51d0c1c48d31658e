"""What an item is known by, from run to run and before anything is measured."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest

from attnprobe.core.names import Key
from attnprobe.plugin.keys import judged_key


def is_probe(item: pytest.Item) -> bool:
    """Whether an item probes attention: a case, or a test that takes the fixture."""
    return judged_key in item.stash or "attn" in getattr(item, "fixturenames", ())


def identity(item: pytest.Item, only_model: str) -> dict[str, Any]:
    """How the results file names an item: a case by its file, a Python probe by its function.

    Args:
        only_model: the model's name where the run has one and the item does not tell.
    """
    path, line, _ = item.location
    file = PurePath(path).as_posix()
    found = {"nodeid": item.nodeid, "file": file, "line": (line or 0) + 1}
    case = getattr(item, "case", None)
    if case is not None:
        return found | {
            "id": case.id,
            "row": case.row,
            "suite": case.suite,
            "model": getattr(item, "model", only_model),
            "severity": case.severity,
            "marks": list(case.marks),
        }
    function = getattr(item, "originalname", item.name)
    group = getattr(item, "cls", None)
    call = getattr(item, "callspec", None)
    asked = call.params.get("attn") if call else None
    chosen = asked if isinstance(asked, str) else None  # another project's fixture takes anything
    # The model has a field of its own; what is left is the row of the test's own parameters.
    row = call.id.removesuffix(chosen or "").removesuffix("-" if chosen else "") if call else ""
    return found | {
        "id": f"{group.__qualname__}.{function}" if group else function,
        "row": row or None,
        "suite": item.path.stem,
        "model": chosen or only_model,
        "severity": "blocking",
        "marks": sorted({mark.name for mark in item.iter_markers()} - {"parametrize"}),
    }


def key_of(item: pytest.Item, only_model: str) -> Key:
    """The key of an item's record; arguments as of `identity`."""
    return Key.of(identity(item, only_model))
