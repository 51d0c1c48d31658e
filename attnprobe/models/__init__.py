"""Models: loading, checking, and the rows of attention that a run asks for."""

from __future__ import annotations

from attnprobe.models.load import Model, load

__all__ = ["Model", "load"]
