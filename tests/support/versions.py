"""Runs the tests with the oldest or the newest versions that pyproject.toml allows.

`python -m tests.support.versions oldest [ARGUMENTS OF PYTEST]`. The packages are installed into
`.venvs/oldest`, once; the interpreter is that of the calling environment, whose packages stand
behind: torch stays the pinned one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Not installed anew: torch takes 200 MB or more, and its CPU builds lie in an index of its own.
KEPT = {"torch"}
EXTRAS = ("gguf", "peft", "sentencepiece")
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
    subprocess.run([*pip, "--upgrade", *requirements(kind)], check=True)
    subprocess.run([*pip, "--no-deps", "-e", ROOT], check=True)
    made.write_text(wanted, "utf-8")
    return python


def main(kind: str, *arguments: str) -> int:
    """Runs the tests; deprecations in the packages themselves are not ours to mend."""
    command = [environment(kind), "-m", "pytest", "-n", "2", "-W", "ignore::DeprecationWarning"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *arguments], cwd=ROOT, env=variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
