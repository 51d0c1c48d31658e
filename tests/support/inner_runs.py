"""Runs of pytest inside a test: the tiny model that they load, and how they are started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from attnprobe.models import Model

# A conftest.py for runs in another process, or on several workers.
LOADS_TINY = f"""
import sys
sys.path.append({str(Path(__file__).parents[2])!r})

def pytest_attn_load_model(name):
    from attnprobe.models import Model
    from tests.architectures.tiny import tiny_network, tiny_tokenizer

    return Model.of(tiny_network("bert"), tiny_tokenizer(), name=name)

"""

# Plugins of this environment that take seconds to start anew in each inner run.
SLOW = ("-p", "no:hypothesispytest", "-p", "no:anyio")

# The fixture `probe`: it starts pytest in this process.
Run = Callable[..., pytest.RunResult]


class TinyModels:
    """A plugin that hands over one tiny random model, whatever is asked for, and counts."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.loaded: list[tuple[str, str]] = []

    def pytest_attn_load_model(self, name: str, ref: str) -> Model:
        self.loaded.append((name, ref))
        return self.model
