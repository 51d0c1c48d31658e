"""The stored notebook says what its cells give today; no Jupyter is needed to see that."""

from __future__ import annotations

import ast
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from attnprobe.render.figures.style import Drawing, to_svg

CELLS = json.loads((Path(__file__).parents[1] / "docs" / "notebook.ipynb").read_text("utf-8"))[
    "cells"
]


def run(source: str, names: dict[str, Any]) -> tuple[str, object]:
    """What a cell prints, and the value of its last line where that is an expression."""
    tree = ast.parse(source)
    last = tree.body[-1]
    printed = io.StringIO()
    with redirect_stdout(printed):
        if not isinstance(last, ast.Expr):
            exec(compile(tree, "cell", "exec"), names)
            return printed.getvalue(), None
        exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return printed.getvalue(), value


def texts(svg: str) -> list[str]:
    """The words and numbers of a picture; where they stand depends on matplotlib's version."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is:DeprecationWarning")
def test_the_stored_outputs_are_those_of_the_cells() -> None:
    names: dict[str, Any] = {}
    pictures = 0
    for cell in (cell for cell in CELLS if cell["cell_type"] == "code"):
        printed, value = run("".join(cell["source"]), names)
        streams = [one for one in cell["outputs"] if one["output_type"] == "stream"]
        assert {one["name"] for one in streams} <= {"stdout"}
        assert "".join("".join(one["text"]) for one in streams) == printed
        drawn = [one["data"] for one in cell["outputs"] if "data" in one]
        assert len(drawn) == (value is not None)
        for data in drawn:
            assert isinstance(value, Drawing)
            stored = texts("".join(data["image/svg+xml"]))
            assert stored == texts(to_svg(value))
            assert "keys" in stored
            pictures += 1
    assert pictures == 2
