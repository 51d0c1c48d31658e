"""Fixtures that the scan's tests share."""

from __future__ import annotations

import pytest

from attnprobe.models import Model
from tests.support.scans import tiny


@pytest.fixture(scope="module")
def bert() -> Model:
    return tiny("bert")
