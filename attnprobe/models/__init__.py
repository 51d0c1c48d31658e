"""Models: loading, checking, and the rows of attention that a run asks for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from attnprobe.models.options import LoadOptions

if TYPE_CHECKING:
    from attnprobe.models.loading import from_network, load, load_model
    from attnprobe.models.model import Model

__all__ = ["LoadOptions", "Model", "from_network", "load", "load_model"]


def __getattr__(name: str) -> Any:
    # Options are read where torch must not be imported.
    if name in __all__:
        if sys.flags.optimize == 2:
            from attnprobe.core.errors import ModelError

            raise ModelError("python -OO drops docstrings, which transformers needs; leave it out")
        from attnprobe.models import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
