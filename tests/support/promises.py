"""Keeps docs/promises.md in step with the tests that hold each promise.

A test that holds promise 3 is called `test_..._p3`, one that holds two `test_..._p31_p33`. Run as a
program, this module writes the last column of the page anew: `make promises`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "promises.md"
_NUMBERS = re.compile(r"(?:_p[1-9]\d*)+$")
_ROW = re.compile(r"^\| (\d+) \| (.+) \|(?: (<details>.*</details>))? \|$", re.MULTILINE)

Holders = Mapping[int, Mapping[str, list[str]]]


def promise_numbers(name: str) -> list[int]:
    """The numbers that a test carries in its name."""
    end = _NUMBERS.search(name)
    return [int(number) for number in end[0].split("_p")[1:]] if end else []


def holders(tests: Path) -> Holders:
    """By number and file below `tests`: the tests that hold a promise, in file order."""
    found: dict[int, dict[str, list[str]]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for number in promise_numbers(node.name):
                    file = path.relative_to(tests).as_posix()
                    found.setdefault(number, {}).setdefault(file, []).append(node.name)
    return found


def with_links(page: str, found: Holders) -> str:
    """The page with the tests of each promise in the last column of its row."""

    def row(match: re.Match[str]) -> str:
        files = found.get(int(match[1]), {})
        count = sum(map(len, files.values()))
        if not count:
            return f"| {match[1]} | {match[2]} | |"
        links = "<br>".join(
            f"[{file}](../tests/{file}): {', '.join(f'`{name}`' for name in names)}"
            for file, names in files.items()
        )
        summary = f"{count} test{'s' * (count > 1)}"
        return (
            f"| {match[1]} | {match[2]} | <details><summary>{summary}</summary>{links}</details> |"
        )

    return _ROW.sub(row, page)


def complaints(page: str, found: Holders) -> list[str]:
    """What page and tests do not agree on; empty where they do."""
    numbers = [int(match[1]) for match in _ROW.finditer(page)]
    wrong = [f"promise {number}: no test holds it" for number in numbers if number not in found]
    wrong += [f"promise {number}: not on the page" for number in sorted(found.keys() - numbers)]
    wrong += [
        f"promise {number}: {numbers.count(number)} rows"
        for number in range(1, max(numbers, default=0) + 1)
        if numbers.count(number) != 1
    ]
    if with_links(page, found) != page:
        wrong.append("the links are not those of today's tests: run make promises")
    return wrong


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_links(text, holders(TESTS)), encoding="utf-8")
