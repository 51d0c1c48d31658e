"""The environment of a run: versions, platform, commit."""

from __future__ import annotations

import hashlib
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


def source_sha256(package: Path = Path(__file__).parents[1]) -> str:
    """The hash of the Python files of attnprobe, names included; 64 hex digits.

    It tells two checkouts apart that have one version.
    """
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        found.update(f"{path.relative_to(package).as_posix()}\n".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


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
