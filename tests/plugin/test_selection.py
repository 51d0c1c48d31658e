"""What a run collected and left out, and how workers of pytest-xdist send it."""

from __future__ import annotations

from dataclasses import replace

import execnet
import pytest

from attnprobe.core.names import Key
from attnprobe.plugin.keys import Selection


def test_what_a_worker_sends_is_plain_data() -> None:
    sent = Selection(
        absent={"m": 1},
        deselected=[Key("x.attn.yaml", "a", None, "m")],
        left_out=["/x"],
        pairs=[{"suite": "s"}],
    )
    received = Selection(collected=["/y"])
    received.take(execnet.loads(execnet.dumps(sent.as_message())))
    assert received == replace(sent, collected=["/y"])
    assert received.deselected[0].model == "m"


def test_a_conftest_may_set_options_before_they_are_read(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "def pytest_configure(config): config.option.attn_model = ['a=some/model']"
    )
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines("attnprobe: some/model, float32, device auto")
