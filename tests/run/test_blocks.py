"""Blocks of texts: each text in one, of its file alone, the same whatever the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from attnprobe.cases import Case
from attnprobe.core.errors import Mark
from attnprobe.core.texts import Sample
from attnprobe.run.blocks import CONTROLS, Blocks, Suite

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


def large_file(texts: list[str]) -> list[Case]:
    """A case on each text, of one file; the rules do not matter here."""
    (own,) = [cases([list(range(len(texts)))])]
    related = tuple((Sample(text), cast("Any", None)) for text in texts)
    return [
        replace(case, sample=sample, related=related)
        for case, (sample, _) in zip(own, related, strict=True)
    ]


def controls(texts: list[str]) -> list[str]:
    return [str(text.text) for text in Suite.of(large_file(texts)[0]).controls]


@settings(max_examples=40)
@given(st.integers(1, 150), st.integers(0, 150), st.integers(0, 1000), st.randoms())
@example(CONTROLS, 10, 3, None)
def test_a_new_text_replaces_one_control_at_most(
    count: int, at: int, seed: int, random: Any
) -> None:
    """And no block before it changes."""
    texts = [f"text {number} of {seed}" for number in range(count)]
    more = [*texts[:at], "a new text", *texts[at:]]
    was, now = controls(texts), controls(more)
    assert len(now) == min(count + 1, CONTROLS)
    assert set(now) - set(was) <= {"a new text"}
    assert len(set(was) - set(now)) <= 1
    assert now == [text for text in more if text in now]  # in the order of the file
    if count <= CONTROLS:
        assert was == texts
    if random is not None:
        mixed = random.sample(texts, count)
        assert set(controls(mixed)) == set(was)
    before, after = (
        {str(case.sample.text): found.keys[found.of[case]][1] for case in every}
        for every in map(large_file, (texts, more))
        for found in [Blocks(every, controls=True)]
    )
    moved = {text for text, block in before.items() if after[text] != block}
    assert moved <= set(texts[at:])


def test_the_controls_are_a_fair_sample_of_the_texts() -> None:
    """Neither place nor length nor wording of a text makes it more likely to be drawn."""
    files = [[f"{'long ' * (number % 3)}text {number} of {seed}" for number in range(160)]
             for seed in range(60)]  # fmt: skip
    drawn = [set(controls(texts)) for texts in files]
    for name, holds in {
        "first half": lambda place, _: place < 80,
        "every second": lambda place, _: place % 2 == 0,
        "short": lambda _, text: not text.startswith("long"),
        "one digit": lambda place, _: place < 10,
    }.items():
        marked = [
            {text for place, text in enumerate(texts) if holds(place, text)} for texts in files
        ]
        found = sum(len(own & chosen) for own, chosen in zip(marked, drawn, strict=True))
        of_file = [hypergeom(160, len(own), CONTROLS) for own in marked]
        mean = sum(one.mean() for one in of_file)
        spread = sum(one.var() for one in of_file) ** 0.5
        assert abs(found - mean) < 3.5 * spread, name
    # No two files draw the same places.
    places = {tuple(place for place, text in enumerate(texts) if text in chosen)
              for texts, chosen in zip(files, drawn, strict=True)}  # fmt: skip
    assert len(places) == len(files)
