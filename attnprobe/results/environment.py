"""The environment of a run: versions, platform, commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path


def environment(*, device: str | None = None, dtype: str | None = None) -> dict[str, str | None]:
    """Versions, platform, device and number type of a run.

    Versions come from package metadata, so that no package is imported. `git_commit` is the commit
    of the working directory; it is None outside of a repository.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": _installed("torch"),
        "transformers": _installed("transformers"),
        "numpy": _installed("numpy"),
        "device": device,
        "dtype": dtype,
        "git_commit": _git_commit(),
    }


def cpu_name() -> str | None:
    """The type of the processor; None where the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or None


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
