"""Blocks of texts: each text in one, of its file alone, the same whatever the model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attnprobe.cases import Case
from attnprobe.core.errors import Mark
from attnprobe.core.texts import Sample
from attnprobe.run.blocks import Blocks

# Files of a few cases each, by the number of the text of each case.
files = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=5)


def cases(texts: list[list[int]]) -> list[Case]:
    return [
        Case(
            suite="s",
            id=f"c{number}-{place}",
            row=None,
            mark=Mark(f"{number}.attn.yaml", place + 1, 1),
            sample=Sample(f"text {text}"),
            expectations=(),
            marks=(),
            severity="blocking",
            xfail=None,
            skip=None,
        )
        for number, own in enumerate(texts)
        for place, text in enumerate(own)
    ]


@given(files, st.integers(1, 5), st.booleans())
def test_each_text_of_a_file_has_one_block_of_that_file(
    texts: list[list[int]], size: int, controls: bool
) -> None:
    every = cases(texts)
    found = Blocks(every, size=size, controls=controls)
    assert sorted(found.of, key=every.index) == every
    blocks: dict[tuple[str, Sample], int] = {}
    for case in every:
        number = found.of[case]
        assert blocks.setdefault((case.mark.file, case.sample), number) == number
        assert found.keys[number][0] == case.mark.file
        assert case in found.cases[number]
    assert all(len({case.sample for case in own}) <= size for own in found.cases)
    assert len(set(found.keys)) == len(found.keys)
    assert sum(map(len, found.cases)) == len(every)


@given(files, st.integers(1, 5), st.data())
def test_other_files_move_no_block(texts: list[list[int]], size: int, data: st.DataObject) -> None:
    """A text more at the end of a file moves nothing, whether or not other files have it."""
    own = texts
    at = data.draw(st.integers(0, len(own) - 1))
    more = data.draw(st.integers(0, 40))
    changed = [*own[:at], [*own[at], more], *own[at + 1 :]]
    before, after = (
        {
            case.id: found.keys[found.of[case]]
            for found in [Blocks(every, size=size, controls=False)]
            for case in every
        }
        for every in (cases(own), cases(changed))
    )
    assert {name: after[name] for name in before} == before
