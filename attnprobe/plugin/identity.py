"""The identity of an item: it stays the same from run to run and needs no measurement."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest

from attnprobe.core.names import Key
from attnprobe.plugin.keys import judged_key


def is_probe(item: pytest.Item) -> bool:
    """Whether an item probes attention: a case, or a test that uses the fixture `attn`."""
    return judged_key in item.stash or "attn" in getattr(item, "fixturenames", ())


def identity(item: pytest.Item, only_model: str) -> dict[str, Any]:
    """The fields of the results file that identify an item.

    A case gets them from its file, a Python probe from its function.

    Args:
        item: the item.
        only_model: the name of the model for an item that names none.
    """
    path, line, _ = item.location
    file = PurePath(path).as_posix()
    found = {"nodeid": item.nodeid, "file": file, "line": (line or 0) + 1}
    case = getattr(item, "case", None)
    if case is not None:
        from attnprobe import cases

        return found | cases.identity(case, getattr(item, "model", only_model))
    function = getattr(item, "originalname", item.name)
    group = getattr(item, "cls", None)
    call = getattr(item, "callspec", None)
    parameter = call.params.get("attn") if call else None
    # A project may have a fixture of this name with parameters of another type.
    model = parameter if isinstance(parameter, str) else ""
    # The model has a field of its own, so the row holds the test's own parameters only.
    row = call.id.removesuffix(model).removesuffix("-" if model else "") if call else ""
    return found | {
        "id": f"{group.__qualname__}.{function}" if group else function,
        "row": row or None,
        "suite": item.path.stem,
        "model": model or only_model,
        "severity": "blocking",
        "marks": sorted({mark.name for mark in item.iter_markers()} - {"parametrize"}),
    }


def key_of(item: pytest.Item, only_model: str) -> Key:
    """The key of an item's record; the arguments are those of `identity`."""
    return Key.of(identity(item, only_model))
