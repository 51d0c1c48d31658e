"""Regression tests for what transformers attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnprobe._version import __version__

if TYPE_CHECKING:
    from attnprobe.models import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Importing the package must not import torch: pytest imports it in every run.
    if name == "load":
        from attnprobe.models import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
