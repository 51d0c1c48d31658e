"""Work in parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.errors import AttnprobeError
from attnprobe.core.parts import Part


@given(st.integers(1, 50), st.integers(0, 10_000))
def test_each_piece_belongs_to_one_part(count: int, number: int) -> None:
    parts = [Part.parse(f"{index}/{count}", "--shard") for index in range(1, count + 1)]
    assert [part.holds(number) for part in parts].count(True) == 1
    assert str(parts[0]) == f"1/{count}"


@pytest.mark.parametrize(
    "text", ["", "1", "a/b", "1/", "/3", "1/2/3", "-1/3", "1.0/3", "١/٣", "1 /3"]
)
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(AttnprobeError, match="--shard is a part such as 2/3, the second of three"):
        Part.parse(text, "--shard")


@pytest.mark.parametrize("text", ["0/3", "4/3", "0/0", "1/0", "1/1000001", "999999999/999999999"])
def test_a_part_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(AttnprobeError, match=f"--shard {text}: the first of n parts is 1/n"):
        Part.parse(text, "--shard")
