"""Hooks that a project's conftest.py may implement."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookspec(firstresult=True)
def pytest_attn_load_model(config: pytest.Config, name: str, ref: str) -> Any:
    """Loads a model in the project's own way.

    Args:
        config: the configuration of the run.
        name: the name of the model in items and results.
        ref: the reference that follows `--attn-model`.

    Returns:
        A `(network, tokenizer)` pair of transformers, an `attnprobe.models.Model`, or None to let
        attnprobe load the reference.
    """
