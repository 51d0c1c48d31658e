"""The rules of the house, read from the code: its floors, its arrows, its figures.

`make figures` writes the figures into `docs/architecture.md`.
"""

from __future__ import annotations

import ast
import graphlib
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "attnprobe"
PAGE = ROOT / "docs" / "architecture.md"
_FIGURES = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)

# A room is a folder or a file. Its modules may import each other as long as no circle closes.
FLOORS = {
    "_version": 0,
    "core": 1,
    "words": 2,
    "render": 2,
    "rules": 3,
    "results": 3,
    "cases": 4,
    "attention": 4,
    "find": 5,
    "models": 6,
    "relations": 5,
    "run": 7,
    "scan": 6,
    "compare": 8,
    "integrations": 8,
    "gate": 9,
    "mutants": 9,
    "plugin": 9,
    "start": 10,
    "cli": 11,
    "__init__": 11,
}

# Who alone may import a library that is slow to import or that ties the house to one face.
CONFINED = {
    "torch": {"models", "mutants"},
    "transformers": {"integrations", "models", "mutants"},
    "gguf": {"models"},
    "peft": {"models"},
    "huggingface_hub": {"models", "results"},
    "safetensors": {"models", "mutants"},
    "tokenizers": {"models"},
    "matplotlib": {"render"},
    "pytest": {"plugin"},
    "pytest_html": {"plugin"},
    "_pytest": set(),
}

DRAWERS = {"common", "helpers", "misc", "util", "utils"}


def sources(root: Path = PACKAGE) -> dict[str, str]:
    """Dotted module names below the package, `render` for `render/__init__.py`, to their text."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def room_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a module imports; a leading dot marks a relative import.

    `from a import b` yields `a.b`: whether `b` is a module is for the caller to say.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                start = "." * level + (module or "")
                yield from ((node.lineno, f"{start}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def resolve(name: str, modules: Mapping[str, str]) -> str | None:
    """The module of the package that a dotted name leads to; None for another library."""
    if room_of(name) != "attnprobe":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts) or "__init__"


def violations(modules: Mapping[str, str], floors: Mapping[str, int]) -> list[str]:
    """All that breaks the rules of the house, one line each; empty if nothing does."""
    wrong = []
    circles: dict[str, set[str]] = {name: set() for name in modules}
    for module, source in modules.items():
        room = room_of(module)
        if room not in floors:
            wrong.append(f"{module}: has no floor; add it to FLOORS")
            continue
        if DRAWERS & set(module.split(".")):
            wrong.append(f"{module}: name it after what it does")
        for line, name in imports(source):
            where, library = f"{module}:{line}", room_of(name)
            if name.startswith("."):
                wrong.append(f"{where}: relative import; write the full name")
            if room not in CONFINED.get(library, {room}):
                wrong.append(f"{where}: {library} may not be imported here")
            target = resolve(name, modules)
            if target is None:
                continue
            below = room_of(target)
            if below == room:
                circles[module].add(target)
            elif below in floors and floors[below] >= floors[room]:
                wrong.append(
                    f"{where}: {room} (floor {floors[room]}) imports "
                    f"{below} (floor {floors[below]})"
                )
    try:
        graphlib.TopologicalSorter(circles).prepare()
    except graphlib.CycleError as error:
        wrong.append(f"import circle: {' -> '.join(reversed(error.args[1]))}")
    return wrong


def arrows(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """The rooms that each room imports, itself left out."""
    found: dict[str, set[str]] = {room_of(module): set() for module in modules}
    for module, source in modules.items():
        targets = (resolve(name, modules) for _, name in imports(source))
        found[room_of(module)] |= {room_of(target) for target in targets if target}
    return {room: targets - {room} for room, targets in found.items()}


def code_lines(source: str) -> int:
    """Lines that hold code: neither blank nor only a comment or a docstring."""
    prose: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in empty | {tokenize.ENDMARKER}:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - prose)


def figures(modules: Mapping[str, str], floors: Mapping[str, int]) -> str:
    """What the architecture page says of the code; lines of code to the nearest hundred."""
    names = {path.name: path.is_dir() for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    imported = arrows(modules)
    lines: dict[str, int] = dict.fromkeys(floors, 0)
    for module, source in modules.items():
        lines[room_of(module)] += code_lines(source)
    count = sum(map(len, imported.values()))
    table = [
        f"| {floor} | `{room}` | {round(lines[room], -2):,} | {', '.join(sorted(targets))} |\n"
        for room, floor in floors.items()
        for targets in [imported[room]]
    ]
    return (
        f"At the door {sum(names.values())} folders and {len(names) - sum(names.values())} files; "
        f"{len(floors)} rooms on {len(set(floors.values()))} floors, {count} arrows between them, "
        f"{round(sum(lines.values()), -2):,} lines of code without comments and docstrings.\n\n"
        "| floor | room | lines of code | imports |\n|---|---|---|---|\n" + "".join(table) + "\n"
    )


def figures_on_page() -> str:
    """What the architecture page says now."""
    found = _FIGURES.search(PAGE.read_text(encoding="utf-8"))
    return found[0] if found else ""


def main() -> None:
    written = figures(sources(), FLOORS)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_FIGURES.sub(lambda _: written, page), encoding="utf-8")


if __name__ == "__main__":
    main()
