"""Finds the policy of a project and refuses tables that only look like one."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from attnprobe.core.errors import PolicyError
from attnprobe.core.registry import did_you_mean
from attnprobe.gate.policy import PYPROJECT, TABLE, Policy, parse_policy

# Reading so many takes a second; no pyproject.toml is as long.
MOST_CHARACTERS = 1_000_000
HEADER = f"[{'.'.join(TABLE)}]"
_DATE = re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}\b")
# Files that configure pytest and other tools, but never the gate.
_OTHER_FILES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg")
_INI_HEADER = re.compile(r"^[ \t]*\[+([^\[\]\n]+)\]", re.MULTILINE)
# From this likeness on, 0 to 1, one table name may be a misspelling of another.
_NEAR = 0.8
# A table below [tool] that is less like `attnprobe` than this belongs to another tool.
_FAR = 0.5


class FoundPolicy(NamedTuple):
    """A policy and its file.

    Attributes:
        policy, file: both None if the project has no policy.
        hidden: a file farther up that has a policy but that the search does not reach; else None.
    """

    policy: Policy | None
    file: Path | None
    hidden: Path | None = None


def find_policy(folder: Path) -> FoundPolicy:
    """The policy in the pyproject.toml of a folder, or in the nearest one above that has a policy.

    The search ends at the root of the git repository. Outside of a repository it ends at the first
    folder with a pyproject.toml.

    Raises:
        PolicyError: the file cannot be read, the policy demands nothing, or another table looks
            like a misspelt policy.
    """
    depth = len(folder.resolve().parents)
    places = [folder.joinpath(*[".."] * steps) for steps in range(depth + 1)]
    in_git = any((place / ".git").exists() for place in places)
    for steps, place in enumerate(places):
        _check_other_files(place)
        file = place / PYPROJECT
        is_last = (place / ".git").exists()
        if file.is_file():
            table = _gate_table(load_toml(file), file)
            if table is not None:
                policy = parse_policy(table, file, ".".join(TABLE))
                _check_demands(policy, file, _farther(places[steps + 1 :]))
                return FoundPolicy(policy, file)
            is_last = is_last or not in_git
        if is_last:
            return FoundPolicy(None, None, _farther(places[steps + 1 :]))
    return FoundPolicy(None, None)


def missing_policy(hidden: Path | None) -> PolicyError:
    """The error for a project without a policy.

    Args:
        hidden: a policy that the search does not reach, as in `FoundPolicy`.
    """
    lines = [
        f"there is no policy: no {PYPROJECT} here or above has {HEADER}, so nothing says what "
        "must be judged",
        "write one: attnprobe gate --init, followed by the arguments of this run",
    ]
    if hidden is not None:
        lines.append(
            f"the policy of {hidden} is hidden by a nearer {PYPROJECT} or repository: run the "
            f"gate there, or give --policy {hidden}"
        )
    return PolicyError("\n".join(lines))


def read_policy(file: Path) -> Policy:
    """The policy in a file: the gate's table in a pyproject.toml, all keys of another TOML file.

    Raises:
        PolicyError: the file is missing or cannot be read, a key is unknown, a value is invalid,
            or the policy demands nothing.
    """
    data = load_toml(file)
    if file.name != PYPROJECT:
        policy = parse_policy(data, file, "")
    else:
        table = _gate_table(data, file)
        if table is None:
            raise PolicyError(f"{file}: has no {HEADER}")
        policy = parse_policy(table, file, ".".join(TABLE))
    _check_demands(policy, file, None)
    return policy


def _check_demands(policy: Policy, file: Path, hidden: Path | None) -> None:
    """Raises PolicyError for a policy that any run with one check would satisfy."""
    if policy.demands:
        return
    text = (
        f"{file}: demands nothing: it has neither suites nor least, so it is no policy; add them, "
        "as attnprobe gate --init writes them"
    )
    if hidden is not None:
        text += f"\nit hides the policy of {hidden}"
    raise PolicyError(text)


def _farther(places: list[Path]) -> Path | None:
    """The pyproject.toml of the first of these folders that has a policy; skips broken files."""
    for place in places:
        try:
            if _gate_table(load_toml(place / PYPROJECT), place / PYPROJECT) is not None:
                return place / PYPROJECT
        except PolicyError:
            continue
    return None


def load_toml(file: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        PolicyError: the file cannot be read, is not TOML or has more than MOST_CHARACTERS.
    """
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        if len(text) > MOST_CHARACTERS:
            raise PolicyError(f"{file}: has more than {MOST_CHARACTERS:,} characters")
        return tomllib.loads(text)
    except OSError as error:
        raise PolicyError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise PolicyError(
            f"{file}: is not TOML: {error}{_explain_date(text, str(error))}"
        ) from None


def _explain_date(text: str, problem: str) -> str:
    """Names an impossible date, such as 2027-02-30, on the line of the problem; empty for none."""
    line = re.search(r"at line (\d+)", problem)
    if line is None:
        return ""
    for written in _DATE.findall(text.split("\n")[int(line[1]) - 1]):
        try:
            date.fromisoformat(written)
        except ValueError:
            return f"; {written} is no date"
    return ""


def _gate_table(data: dict[str, Any], file: Path) -> Any:
    """The table of the gate; None if there is none.

    Raises:
        PolicyError: another table looks like a misspelt one of the gate.
    """
    near = [
        path
        for path, keys in _tables(data)
        if path[:2] != TABLE[:2] and _looks_like_gate(path, keys)
    ]
    if near:
        meant = max(near, key=lambda path: (len(path) <= len(TABLE), len(path)))
        header = ".".join(part if re.fullmatch(r"[\w-]+", part) else repr(part) for part in meant)
        raise PolicyError(f"{file}: [{header}] is not read by the gate; did you mean {HEADER}?")
    tool, package, gate = TABLE
    tools = data.get(tool)
    tables = tools.get(package) if isinstance(tools, dict) else None
    if tables is None:
        return None
    if not isinstance(tables, dict):
        raise PolicyError(f"{file}: {tool}.{package}: needs the table {HEADER}")
    if unknown := sorted(set(tables) - {gate}):
        raise PolicyError(
            f"{file}: {tool}.{package}.{unknown[0]}: unknown key; "
            f"{did_you_mean(unknown[0], [gate])}"
        )
    return tables.get(gate)


def _tables(
    data: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
    """Yields the path and the keys of each table of a TOML file."""
    for name, value in data.items():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict):
                yield (*path, name), frozenset(entry)
                yield from _tables(entry, (*path, name))


def _looks_like_gate(path: tuple[str, ...], keys: frozenset[str] = frozenset()) -> bool:
    """Whether a table may be meant as that of the gate, by its name or by its keys."""
    letters = re.sub("[^a-z]", "", "".join(path).lower())
    # Another tool may have an environment called attnprobe-gate.
    is_of_other = path[0] == TABLE[0] and len(path) > 2 and _likeness(path[1], TABLE[1]) < _FAR
    names = ("".join(TABLE), "".join(TABLE[1:]))
    if not is_of_other and any(_likeness(letters, name) >= _NEAR for name in names):
        return True
    is_policy = keys & {"suites", "least"} and keys <= Policy.model_fields.keys()
    return bool(is_policy) and ("gate" in path[-1].lower() or "attn" in letters)


def _likeness(written: str, meant: str) -> float:
    return difflib.SequenceMatcher(None, written.lower(), meant).ratio()


def _check_other_files(place: Path) -> None:
    """Raises PolicyError for a table of the gate in a file that the gate never reads."""
    for name in _OTHER_FILES:
        try:
            text = (place / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for header in _INI_HEADER.findall(text):
            if _looks_like_gate((header,)):
                raise PolicyError(
                    f"{place / name}: [{header.strip()}] is not read by the gate; write {HEADER} "
                    f"into {PYPROJECT}"
                )
