"""What the plugin costs those who do not use it: next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "matplotlib", "numpy", "pydantic", "yaml")
CASE = """
version: 1
suite: s
defaults: {heads: L1H1}
cases:
  - id: a
    text: A b.
    expect:
      - attends: {from: b, to: A, min: 0.5}
"""
# Other plugins of this environment import what they like.
ALONE = ("-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:html", "-p", "no:cacheprovider")


def loaded(folder: Path, *arguments: str) -> tuple[int, set[str]]:
    """Exit code of a pytest run in a process of its own, and the heavy modules it imported."""
    code = (
        "import sys, pytest\n"
        "status = int(pytest.main(sys.argv[1:]))\n"
        f"print('\\nLOADED', status, *[name for name in {HEAVY!r} if name in sys.modules])\n"
        "assert 'attnprobe.plugin' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *ALONE, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    status, *found = done.stdout.splitlines()[-1].removeprefix("LOADED ").split()
    return int(status), set(found)


# A second of a machine's processor, at the speed that the bound is meant for: so many additions.
ADDITIONS = 16_000_000


def test_importing_the_plugin_takes_under_10_ms_p41(tmp_path: Path) -> None:
    # Compiled modules are kept, as they are where the package is installed.
    env = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    code = (
        "import sys, time, pytest\n"
        "start = time.process_time()\n"
        "import attnprobe.plugin\n"
        "imported = time.process_time()\n"
        f"for _ in range({ADDITIONS // 100}): imported += 0\n"
        "print(imported - start, time.process_time() - imported, *sys.modules)"
    )

    def milliseconds() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        seconds, hundredth, *modules = done.stdout.split()
        assert {"attnprobe", "attnprobe.plugin", "attnprobe.plugin.options"} <= {*modules}
        # A slow or busy machine is slow at all it does; a fast one gets no less than 10 ms.
        return float(seconds) * 1000 / max(1, float(hundredth) * 100)

    # The best of many: what else the machine does is no cost of ours.
    assert any(milliseconds() < 10 for _ in range(40))


@pytest.mark.parametrize("arguments", [("--collect-only",), ("--help",), ()])
def test_a_project_without_cases_loads_nothing_p41(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    assert loaded(tmp_path, *arguments) == (0, set())


def test_collecting_cases_loads_no_model_library_p41(tmp_path: Path) -> None:
    (tmp_path / "x.attn.yaml").write_text(CASE)
    (tmp_path / "test_it.py").write_text("def test_it(attn): pass\n")
    status, found = loaded(tmp_path, "--collect-only", "--attn-model=m", "--attn-strict")
    assert status == 0
    assert found.isdisjoint({"torch", "transformers", "matplotlib"})


def test_head_sets_of_a_scan_load_no_model_library_p41(tmp_path: Path) -> None:
    (tmp_path / "x.attn.yaml").write_text(CASE.replace("L1H1", '"@subject"'))
    (tmp_path / "attnprobe.lock.json").write_text(
        '{"schema": "attnprobe/lock-1", "heads": {"subject": {"heads": ["L1H1"], '
        f'"model": "minilm", "revision": null, "weights_sha256": "{"ab" * 32}"}}}}}}'
    )
    status, found = loaded(tmp_path, "--collect-only", "--attn-model=m")
    assert status == 0
    assert found.isdisjoint({"torch", "transformers", "matplotlib"})


def test_help_loads_nothing_beside_cases_p41(tmp_path: Path) -> None:
    (tmp_path / "x.attn.yaml").write_text(CASE)
    assert loaded(tmp_path, "--help") == (0, set())
