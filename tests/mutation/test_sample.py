"""The sample of `make mutation`: fair, repeatable, and red where an area misses its aim."""

from __future__ import annotations

import pytest

from tests.mutation import __main__ as mutation

MADE = [f"attnprobe.gate.judge.x_a__mutmut_{number}" for number in range(400)] + [
    "attnprobe.words.show.x_escape__mutmut_1"
]


def test_a_sample_is_of_its_area_and_the_same_for_a_seed() -> None:
    area = mutation.AREAS["gate"]
    drawn = mutation.draw(MADE, area, seed=3, most=250)
    assert drawn == mutation.draw(MADE, area, seed=3, most=250)
    assert drawn != mutation.draw(MADE, area, seed=4, most=250)
    assert len(set(drawn)) == 250
    assert all(name.startswith("attnprobe.gate.") for name in drawn)
    assert sorted(mutation.draw(MADE, area, seed=3, most=None)) == sorted(MADE[:-1])


def test_rounds_take_every_mutant_once() -> None:
    drawn = {"gate": MADE[:120], "words": MADE[-1:]}
    found = list(mutation.rounds(drawn, size=50))
    assert [len(names) for names in found] == [51, 50, 20]
    assert sorted(name for names in found for name in names) == sorted((*MADE[:120], MADE[-1]))


@pytest.mark.parametrize(("unnoticed", "status"), [(5, 0), (6, 1)])
def test_an_area_under_its_aim_ends_in_1(
    unnoticed: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutation, "describe_change", lambda name: f"change {name}")
    drawn = {"gate": MADE[:100]}
    # pytest ended in 0, or no test reached the change.
    codes = dict.fromkeys(drawn["gate"], 1) | dict.fromkeys(MADE[: unnoticed - 1], 0)
    codes[MADE[unnoticed - 1]] = 33
    assert mutation.report(drawn, codes, seed=0) == status
    said = capsys.readouterr().out
    assert said.count("change attnprobe.gate") == unnoticed
    assert said.count("no test reaches it") == 1
    # Wilson's interval of 95 and 94 of 100, by hand.
    assert ("88.8% to 97.8%" if status == 0 else "87.5% to 97.2%") in said


def test_an_area_that_was_not_measured_ends_in_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutation.report({"gate": MADE[:3]}, {}, seed=0) == 1
    assert "not measured" in capsys.readouterr().out
