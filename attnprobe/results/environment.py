"""The environment of a run: versions, platform, commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata


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
