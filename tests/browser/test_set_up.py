"""The set-up of the browser: what it finds, fetches, installs, and what it says."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.house import ROOT
from tests.support import browser
from tests.support.browser import Candidate

DOWNLOADED = "Playwright's own Chromium"


class Machine:
    """A made-up machine: which browsers start on it, which commands succeed, what was said."""

    def __init__(self, bin: Path) -> None:
        self.bin = bin
        self.starting: set[str] = set()
        self.offers: dict[str, str] = {}
        self.commands: list[str] = []
        self.lines: list[str] = []

    def has(self, *names: str, starting: bool = True) -> None:
        for name in names:
            file = self.bin / name
            file.write_text("#!/bin/sh\n")
            file.chmod(file.stat().st_mode | stat.S_IXUSR)
            if starting:
                self.starting.add(str(file))

    def attempt(self, candidate: Candidate) -> str:
        if candidate.name not in self.starting:
            raise RuntimeError(f"{candidate.name} is broken\nand more")
        return "150.0"

    def run(self, command: Sequence[str]) -> bool:
        words = " ".join(map(str, command))
        self.commands.append(words)
        given = next((name for part, name in self.offers.items() if part in words), None)
        if given:
            self.starting.add(given)
        return given is not None

    def set_up(self) -> bool:
        return browser.set_up(attempt=self.attempt, run=self.run, say=self.lines.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in ("ATTNPROBE_BROWSER", "ATTNPROBE_NO_BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser, "APPLICATIONS", ())
    monkeypatch.setattr(browser, "is_root", lambda: True)
    return Machine(tmp_path)


@pytest.mark.parametrize("name", browser.NAMES)
def test_a_browser_that_is_there_is_used(machine: Machine, name: str) -> None:
    machine.has(name)
    assert machine.set_up()
    assert machine.lines == [f"browser: {machine.bin / name}, version 150.0"]
    assert machine.commands == []


def test_the_first_that_starts_is_used(machine: Machine) -> None:
    machine.has("chromium", starting=False)
    machine.has("google-chrome", "google-chrome-stable")
    assert machine.set_up()
    assert machine.lines == [f"browser: {machine.bin / 'google-chrome'}, version 150.0"]


def test_an_application_of_macos_is_found(machine: Machine, tmp_path: Path) -> None:
    here = tmp_path / "Google Chrome"
    here.touch()
    found = [candidate.path for candidate in browser.candidates([tmp_path / "none", here])]
    assert found == [str(here), None]


def test_a_browser_that_playwright_fetched_before_is_used(machine: Machine) -> None:
    machine.starting.add(DOWNLOADED)
    assert machine.set_up()
    assert machine.lines == [f"browser: {DOWNLOADED}, version 150.0"]
    assert machine.commands == []


def test_a_named_browser_is_the_only_one_tried(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.has("chromium", "mine", "apt-get")
    monkeypatch.setenv("ATTNPROBE_BROWSER", str(machine.bin / "mine"))
    assert machine.set_up()
    assert machine.lines == [f"browser: {machine.bin / 'mine'}, version 150.0"]
    monkeypatch.setenv("ATTNPROBE_BROWSER", "/none")
    assert not machine.set_up()
    assert "no Chromium or Chrome starts here; tried /none (/none is broken)." in machine.lines[1]
    assert machine.commands == []


def test_playwright_fetches_one_where_none_is(machine: Machine) -> None:
    machine.has("apt-get")
    machine.offers["playwright install"] = DOWNLOADED
    assert machine.set_up()
    assert machine.lines == [
        "browser: none starts here; Playwright downloads one (about 110 MB, once)",
        f"browser: {DOWNLOADED}, version 150.0",
    ]
    assert len(machine.commands) == 1


@pytest.mark.parametrize("fetched", [False, True], ids=["no download", "it does not start"])
def test_debian_installs_one_where_playwright_cannot(machine: Machine, fetched: bool) -> None:
    machine.has("apt-get")
    machine.has("chromium", starting=False)
    machine.offers = {" update": "lists", "install chromium": str(machine.bin / "chromium")}
    if fetched:
        machine.offers["playwright install"] = "something else"
    assert machine.set_up()
    assert machine.lines[1:] == [
        "browser: installing Debian's package chromium",
        f"browser: {machine.bin / 'chromium'}, version 150.0",
    ]
    assert [command.split("/")[-1] for command in machine.commands[1:]] == [
        "apt-get -q update",
        "apt-get -qy --no-install-recommends install chromium",
    ]


@pytest.mark.parametrize("why", ["no root", "no apt-get", "apt-get fails"])
def test_where_nothing_works_a_sentence_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    machine.has("chromium", starting=False)
    if why != "no apt-get":
        machine.has("apt-get")
    if why == "no root":
        monkeypatch.setattr(browser, "is_root", lambda: False)
    assert not machine.set_up()
    tried = f"{machine.bin / 'chromium'} ({machine.bin / 'chromium'} is broken)"
    own = f"{DOWNLOADED} ({DOWNLOADED} is broken)"
    assert machine.lines[-1] == (
        f"browser: no Chromium or Chrome starts here; tried {tried}, {own}. {browser.HELP}"
    )
    assert len([line for line in machine.lines if "tried" in line]) == 1
    assert len([run for run in machine.commands if "apt-get" in run]) == (why == "apt-get fails")


def test_who_wants_no_browser_gets_none(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.has("chromium")
    monkeypatch.setenv("ATTNPROBE_NO_BROWSER", "1")
    assert machine.set_up()
    assert machine.lines == [
        "browser: none wanted (ATTNPROBE_NO_BROWSER); the tests of pages are deselected"
    ]
    monkeypatch.setenv("ATTNPROBE_NO_BROWSER", "0")
    assert machine.set_up()
    assert "chromium" in machine.lines[1]


@pytest.mark.parametrize("root", [True, False])
def test_only_root_goes_without_the_sandbox(monkeypatch: pytest.MonkeyPatch, root: bool) -> None:
    monkeypatch.setattr(browser, "is_root", lambda: root)
    arguments = browser.launch_options(Candidate("/x"))["args"]
    assert ("--no-sandbox" in arguments) == root


def test_commands_that_fail_or_are_missing_are_no_errors() -> None:
    assert browser.run_command(["true"])
    assert not browser.run_command(["false"])
    assert not browser.run_command(["/none/at/all"])


def test_what_does_not_start_is_named_with_its_reason(tmp_path: Path) -> None:
    box = "BrowserType.launch: \n╔════╗\n║ Looks like Playwright was just installed ║\n╚════╝"
    assert browser.first_reason(box) == "Looks like Playwright was just installed"
    assert browser.first_reason("") == "no reason given"
    # In a process of its own, as make does it; another is fetched only where none is named.
    environment = {**os.environ, "ATTNPROBE_BROWSER": str(tmp_path / "gone")}
    command = [sys.executable, "-m", "tests.support.browser"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0
    assert done.stdout.startswith("browser: no Chromium or Chrome starts here; tried ")
    assert "/gone (Failed to launch" in done.stdout
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
