"""Several models in one run: items, selection, the report's column and its comparison."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from attnprobe.models import Model
from attnprobe.results.records import read_results
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.report_pages import Page

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

CASES = """
- id: rows
  template: The {animal} barks.
  rows: [{animal: dog}, {animal: seal}]
  expect:
    - ignores: {from: barks, to: "{animal}", heads: mean, max: 0.99}
- id: sharp
  text: The dog barks.
  expect:
    - entropy: {heads: L0H0, max: 2.3}
"""
TWO = ("--attn-model=old=a", "--attn-model=new=b")


class Two:
    """Hands over a network, and under the name new one whose first layer attends evenly."""

    def __init__(self) -> None:
        self._networks: dict[str, Any] = {name: tiny_network("bert") for name in ("old", "new")}
        first = self._networks["new"].encoder.layer[0].attention.self
        first.query.weight.data.zero_()
        first.query.bias.data.zero_()

    def pytest_attn_load_model(self, name: str) -> Model:
        return Model.of(self._networks[name], tiny_tokenizer(), name=name)


@pytest.fixture(scope="module")
def two() -> Two:
    return Two()


class Halves(Two):
    """The same, and one of the two in bfloat16; both say that they are some other model."""

    def __init__(self, half: str) -> None:
        super().__init__()
        self._networks[half].to(torch.bfloat16)

    def pytest_attn_load_model(self, name: str) -> Model:
        made = super().pytest_attn_load_model(name)
        made.ref = "runs/other"
        return made


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("m", "{here}/m"),
        ("./m/", "{here}/m"),
        ("link", "{here}/m"),
        ("other", "other"),
    ],
)
def test_a_folder_spelled_otherwise_is_the_one_that_was_given(
    probe: Run, write_cases: Write, pytester: pytest.Pytester, given: str, asked: str
) -> None:
    class Elsewhere(Two):
        def pytest_attn_load_model(self, name: str) -> Model:
            made = super().pytest_attn_load_model("old")
            made.ref = f"{pytester.path}/m"
            return made

    pytester.mkdir("m")
    (pytester.path / "link").symlink_to("m")
    write_cases(CASES)
    probe(f"--attn-model=a={given}", "--attn-json=r.json", model=None, plugin=Elsewhere())
    (model,) = read_results(Path("r.json")).models
    assert model.asked == asked.format(here=pytester.path)
    assert (model.asked == model.ref) == (given != "other")


@pytest.mark.parametrize("half", ["old", "new"])
def test_results_tell_for_each_model_what_was_asked_and_where_it_ran(
    probe: Run, write_cases: Write, half: str
) -> None:
    write_cases(CASES)
    probe(*TWO, "--attn-json=r.json", model=None, plugin=Halves(half))
    found = read_results(Path("r.json"))
    told = {
        model.name: (model.asked, model.ref, model.dtype, model.device) for model in found.models
    }
    types = {name: "bfloat16" if name == half else "float32" for name in ("old", "new")}
    assert told == {
        "old": ("a", "runs/other", types["old"], "cpu"),
        "new": ("b", "runs/other", types["new"], "cpu"),
    }
    assert found.environment["dtype"] == "bfloat16, float32"
    assert found.environment["device"] == "cpu"


def names(result: pytest.RunResult) -> list[str]:
    return [
        line.split(" ")[0].partition("::")[2]
        for line in result.outlines
        if re.search(r"::.* (PASS|FAIL)ED", line) and not line.startswith("FAILED")
    ]


def test_the_terminal_and_the_report_compare_the_two(
    probe: Run, write_cases: Write, two: Two, pytester: pytest.Pytester
) -> None:
    write_cases(CASES)
    pytester.makepyfile(test_plain="def test_plain(): pass")
    result = probe(
        *TWO,
        "--html=r.html",
        "--self-contained-html",
        "--attn-figures=none",
        model=None,
        plugin=two,
    )
    # Over 16 byte tokens an even row has an entropy of ln 16 = 2.77 nats.
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- attnprobe: model new compared with old -*",
            "1 broken, 2 weaker",
            "broken   x.attn.yaml: sharp on new: entropy: passed, entropy (nats) * → failed, *",
            "suite pronouns on new: 3 of 3 → 2 of 3 passed, change −0.333 (95 % *), p = 1, *",
        ]
    )
    page = Path("r.html").read_text(encoding="utf-8")
    assert "model new compared with old" in page
    assert '<th class="sortable" data-column-type="model">Model</th>' in page
    cells = {
        key: [cell for cell in rows[0]["resultsTableRow"] if "col-model" in cell]
        for key, rows in Page(page).tests.items()
    }
    assert cells == {
        "test_plain.py::test_plain": ['<td class="col-model"></td>'],
        **{
            f"x.attn.yaml::{name}[{model}]": [f'<td class="col-model">{model}</td>']
            for name in ("rows[dog]", "rows[seal]", "sharp")
            for model in ("old", "new")
        },
    }


def test_the_first_is_compared_with_each_of_the_others(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    result = probe("--attn-model=b=b", "--attn-model=c=c")
    result.stdout.fnmatch_lines(
        [
            "*- attnprobe: model b compared with tiny -*",
            "*- attnprobe: model c compared with tiny -*",
        ]
    )


def test_one_model_needs_neither_column_nor_comparison(probe: Run, write_cases: Write) -> None:
    write_cases(CASES)
    result = probe("--html=r.html", "--self-contained-html", "--attn-figures=none")
    assert "col-model" not in Path("r.html").read_text(encoding="utf-8")
    result.stdout.no_fnmatch_line("*compared with*")


def test_a_model_is_selected_by_its_suffix_and_last_failed_works(
    probe: Run, write_cases: Write, two: Two
) -> None:
    write_cases(CASES)

    def run(*arguments: str) -> list[str]:
        return names(probe(*TWO, "-v", *arguments, model=None, plugin=two))

    assert run("-k", "[old]") == ["rows[dog][old]", "rows[seal][old]", "sharp[old]"]
    assert run("-k", "[new] and sharp") == ["sharp[new]"]
    assert run("--lf") == ["sharp[new]"]
    assert run("x.attn.yaml::rows[dog][new]") == ["rows[dog][new]"]
