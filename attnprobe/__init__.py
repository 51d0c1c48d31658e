"""Regression tests for what transformers attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnprobe._version import __version__

if TYPE_CHECKING:
    from attnprobe.compare.history import read_history
    from attnprobe.models import from_network, load
    from attnprobe.run.in_process import run_cases

__all__ = ["__version__", "from_network", "load", "read_history", "run_cases"]


def __getattr__(name: str) -> Any:
    # Importing the package must not import torch: pytest imports it in every run.
    if name in ("from_network", "load"):
        from attnprobe import models

        return getattr(models, name)
    if name == "run_cases":
        from attnprobe.run.in_process import run_cases

        return run_cases
    if name == "read_history":
        from attnprobe.compare.history import read_history

        return read_history
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
