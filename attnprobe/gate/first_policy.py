"""Writes the first policy of a project: a table that demands what one run judged."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path

from attnprobe.core.errors import PolicyError
from attnprobe.gate.check import Check, check_of
from attnprobe.gate.demands import models_of
from attnprobe.gate.lookup import HEADER
from attnprobe.gate.policy import TABLE, Policy, SuitePolicy
from attnprobe.gate.repeats import drop_repeats
from attnprobe.results.files import write_bytes
from attnprobe.results.records import Results


def first_policy(results: Results) -> Policy:
    """The policy that demands what a run judged.

    For each suite it demands as many blocking checks as were judged on the model with the fewest.
    It allows no more skipped checks, advisory checks and known gaps than the run has.
    """
    checks = [check_of(item, Policy(), None) for item in results.items]
    least = _least(checks, results)
    return Policy(
        suites=tuple(suite for suite, count in least.items() if count),
        skipped=0,
        advisory=sum(check.item.severity == "advisory" for check in checks),
        known_gaps=sum(check.state == "known gap" for check in checks),
        suite={suite: SuitePolicy(least=count) for suite, count in least.items() if count},
    )


def undemanded(results: Results) -> list[str]:
    """The suites that a first policy cannot demand: none of their blocking checks was judged."""
    checks = [check_of(item, Policy(), None) for item in results.items]
    return [suite for suite, count in _least(checks, results).items() if not count]


def _least(checks: list[Check], results: Results) -> dict[str, int]:
    """For each suite the number of blocking checks judged on the model with the fewest."""
    blocking = [check for check in checks if check.item.severity == "blocking"]
    judged = Counter(
        (check.item.suite, check.item.model)
        for check in drop_repeats(blocking, []).blocking
        if check.judged
    )
    return {
        suite: min(judged[suite, model] for model in models_of(suite, results))
        for suite in sorted({item.suite for item in results.items})
    }


def append_policy(file: Path, policy: Policy) -> None:
    """Appends the table of the gate to a pyproject.toml and keeps its content byte for byte.

    Raises:
        PolicyError: the file cannot be read, or no table can be appended to it.
        ResultsError: the file cannot be written.
    """
    try:
        before = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise PolicyError(f"{file}: cannot be read: {error.strerror}") from None
    ending = "\r\n" if b"\r\n" in before else "\n"
    text = ending.join(_lines(policy))
    start = b"" if not before or before.endswith(b"\n") else ending.encode()
    gap = ending.encode() if before else b""
    after = before + start + gap + text.encode()
    try:
        tomllib.loads(after.decode())
    except ValueError as error:
        raise PolicyError(
            f"{file}: a table cannot be added at its end ({error}); add it by hand:\n{text}"
        ) from None
    write_bytes(file, after)


def _lines(policy: Policy) -> list[str]:
    """The lines of the table; the last one is empty."""
    lines = [
        HEADER,
        "suites = [",
        *(f"    {_quoted(suite)}," for suite in policy.suites),
        "]",
        *(f"{key} = {getattr(policy, key)}" for key in ("skipped", "advisory", "known_gaps")),
        "",
        f"[{'.'.join(TABLE)}.suite]",
    ]
    lines += [
        f"{_key(suite)} = {{ least = {table.least} }}" for suite, table in policy.suite.items()
    ]
    return [*lines, ""]


def _key(name: str) -> str:
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else _quoted(name)


def _quoted(text: str) -> str:
    """A text as a basic string of TOML: that of JSON, with DEL escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
