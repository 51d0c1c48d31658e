"""The browser that tests of pages run in: found, or installed once.

`python -m tests.support.browser` is a step of `make test`. It says in one line which browser the
tests will use, and before a download or an installation what it does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPLICATIONS = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
)
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No test reaches another machine, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
HELP = (
    "`make test` looks for one and installs one where it may; ATTNPROBE_BROWSER=PATH names one; "
    "ATTNPROBE_NO_BROWSER=1 deselects these tests"
)
DOWNLOAD = (sys.executable, "-m", "playwright", "install", "--only-shell", "chromium")
PATIENCE_S = 900


class NoBrowserError(Exception):
    """No browser starts; the message says what was tried and what helps."""


@dataclass(frozen=True)
class Candidate:
    """A browser that may be here; without a path, the one that Playwright downloads."""

    path: str | None

    @property
    def name(self) -> str:
        return self.path or "Playwright's own Chromium"


# Starts a candidate and ends it; the version, or an OSError or RuntimeError.
Try = Callable[[Candidate], str]
# Runs a command; whether it succeeded.
Command = Callable[[Sequence[str]], bool]


def is_unwanted() -> bool:
    """Whether the user asked for no browser."""
    return os.environ.get("ATTNPROBE_NO_BROWSER", "") not in ("", "0")


def candidates(applications: Sequence[Path] = APPLICATIONS) -> Iterator[Candidate]:
    """Browsers in the order in which they are tried: one that the user names is the only one."""
    named = os.environ.get("ATTNPROBE_BROWSER")
    if named:
        yield Candidate(named)
        return
    for name in NAMES:
        path = shutil.which(name)
        if path:
            yield Candidate(path)
    for application in applications:
        if application.exists():
            yield Candidate(str(application))
    yield Candidate(None)


def launch_options(candidate: Candidate) -> Mapping[str, Any]:
    """Arguments of Playwright's `chromium.launch`."""
    # Chromium refuses to run as root in its sandbox.
    alone = ("--no-sandbox",) if is_root() else ()
    return {"executable_path": candidate.path, "args": [*FLAGS, *alone], "timeout": 60_000}


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def start_first(start: Callable[[Candidate], Any]) -> tuple[Candidate, Any]:
    """The first candidate that starts, and what `start` returned for it.

    Raises `NoBrowserError` with the candidates that did not start.
    """
    tried = []
    for candidate in candidates():
        try:
            return candidate, start(candidate)
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            tried.append(f"{candidate.name} ({reason[0]})")
    raise NoBrowserError(f"no Chromium or Chrome starts here; tried {', '.join(tried)}. {HELP}")


def set_up(*, attempt: Try, run: Command, say: Callable[[str], None]) -> bool:
    """Finds a browser that starts, or installs one; whether there is one now."""
    if is_unwanted():
        say("browser: none wanted (ATTNPROBE_NO_BROWSER); the tests of pages are deselected")
        return True
    ways = [] if os.environ.get("ATTNPROBE_BROWSER") else list(installations())
    for announcement, commands in (("", ()), *ways):
        if announcement:
            say(f"browser: {announcement}")
        if not all(run(command) for command in commands):
            continue
        try:
            candidate, version = start_first(attempt)
        except NoBrowserError as error:
            failure = str(error)
        else:
            say(f"browser: {candidate.name}, version {version}")
            return True
    say(f"browser: {failure}")
    return False


def installations() -> Iterator[tuple[str, Sequence[Sequence[str]]]]:
    """What may be done where no browser starts: a sentence, and its commands in order."""
    yield "none starts here; Playwright downloads one (about 110 MB, once)", (DOWNLOAD,)
    apt = shutil.which("apt-get")
    if apt and is_root():
        yield (
            "installing Debian's package chromium",
            ((apt, "-q", "update"), (apt, "-qy", "--no-install-recommends", "install", "chromium")),
        )


def start_and_end(candidate: Candidate) -> str:
    """The version of a browser that starts."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(**launch_options(candidate))
        except Error as error:
            raise RuntimeError(first_reason(error.message)) from error
        version = browser.version
        browser.close()
    return version


def first_reason(message: str) -> str:
    """The line of Playwright's message that says why, without its frame and call."""
    lines = [line.removeprefix("BrowserType.launch:") for line in message.splitlines()]
    return next(filter(None, (line.strip(" ║╔╗╚╝═") for line in lines)), "no reason given")


def run_command(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main() -> None:
    # The tests of pages fail where no browser starts; the others are still worth running.
    set_up(
        attempt=start_and_end,
        run=run_command,
        say=lambda line: print(line, flush=True),  # noqa: T201
    )


if __name__ == "__main__":
    main()
