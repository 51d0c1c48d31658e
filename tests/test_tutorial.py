"""The tutorial, from its first line to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnprobe.results.records import read_results
from tests.support.played_pages import play

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_each_step_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    done = play(PAGE, tmp_path)
    assert len(done) == 6
    assert (tmp_path / "report.html").stat().st_size > 10_000
    counts = {
        name: (results.summary()["passed"], results.summary()["failed"])
        for name in ("baseline", "candidate")
        for results in [read_results(tmp_path / f"{name}.json")]
    }
    assert counts == {"baseline": (10, 0), "candidate": (0, 10)}


SAYS = "```sh\nattnprobe --version\n```\n\n```text\n0.…\n```\n"


@pytest.mark.parametrize(
    ("old", "new"), [("--version\n", "--version  # exit 1\n"), ("\n0.…", "\n7.…")]
)
def test_a_page_that_says_otherwise_fails(old: str, new: str, tmp_path: Path) -> None:
    assert list(play(SAYS, tmp_path)) == ["attnprobe --version"]
    with pytest.raises(AssertionError):
        play(SAYS.replace(old, new), tmp_path)
