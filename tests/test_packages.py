"""The trial of the built wheel fails where a step of it does; `make dist-test` runs it whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.packages import TrialError, check_bare, optional, try_out


def scripts(folder: Path, says: str, code: int) -> Path:
    """The interpreter of an environment whose commands all print and end the same."""
    folder.mkdir()
    for name in ("attnprobe", "pytest"):
        script = folder / name
        script.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
        script.chmod(0o755)
    return folder / "python"


@pytest.mark.parametrize(
    ("says", "code"),
    [("next: pytest", 1), ("nothing", 0), ("next: pytest passed Release may go", 0)],
)
def test_a_step_that_ends_otherwise_fails_the_trial(tmp_path: Path, says: str, code: int) -> None:
    """The last one lets the damaged model go, too."""
    with pytest.raises(TrialError, match=f"exit code {code} instead of"):
        try_out(scripts(tmp_path / "bin", says, code), tmp_path)


def test_an_environment_of_developers_is_not_bare() -> None:
    with pytest.raises(TrialError, match=r"is imported from|not a bare environment: accelerate"):
        check_bare(Path(sys.executable))


def test_extras_for_users_are_optional() -> None:
    assert {"gguf", "peft", "sentencepiece"} <= optional()
    assert "hypothesis" not in optional()
