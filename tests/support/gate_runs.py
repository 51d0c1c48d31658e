"""Case files and a conftest.py for runs that the gate judges."""

from __future__ import annotations

HOLDS = """
- id: holds
  text: The dog barks.
  expect:
    - ignores: {from: barks, to: dog, max: 0.99}
"""


FAILING = f"""{HOLDS}
- id: fails
  text: The dog barks.
  expect:
    - attends: {{from: barks, to: dog, min: 0.99}}
"""

LIKE_COV = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    result = yield
    if not hasattr(session.config, "workerinput"):
        session.testsfailed += 1
    return result
"""
