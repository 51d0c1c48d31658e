"""What every command that writes does where writing fails, is cut short or is disturbed."""

from __future__ import annotations

import ctypes
import functools
import importlib
import inspect
import io
import itertools
import json
import locale
import os
import pkgutil
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import pytest
from typer.models import OptionInfo

from attnprobe.cli import app
from attnprobe.cli.base import out
from attnprobe.results.files import write_bytes
from tests.support.writers import WRITERS, Done, Writer, furnish, run_writer, start_writer

# Paths that commands read. Every other path of a command must be one that a writer writes.
READ = {
    *("card results", "compare --cases", "gate --policy", "gate --results", "history runs"),
    *("lint paths", "find --file", "mutants paths", "summary --baseline", "summary --decision"),
    *("merge results", "scan merge parts", "summary results"),
}
# What pytest and its plugins write for themselves, and locks, which stay.
BESIDE = re.compile(r".*\.json\.lock|\.?pytest.cache.*|assets/.*|report\.html")
SCRATCH = re.compile(r"(^|/)\.[^/]*\.tmp(/|\.lock$|$)")
# Saved from time to time, so that neither the old file nor the last one is there in between.
SAVED = {
    "scan/scan.json": json.loads,
    "scan/scan-state.npz": lambda content: np.load(io.BytesIO(content)).files,
}
# GitHub lets a step append to its summary, which nobody can do whole.
APPENDING = "summary GITHUB_STEP_SUMMARY"
NEEDED = (
    *("anyio.pytest_plugin", "hypothesis", "pytest_html.plugin", "pytest_metadata.plugin"),
    *("rich.status", "scipy.stats", "typer._adapters", "xdist.plugin"),
)
WRITING = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate")
Files = Mapping[str, bytes]
MAIN = "from attnprobe.cli import main; main()"
each_writer = pytest.mark.parametrize("name", WRITERS)
REPLACING = [name for name in WRITERS if name != APPENDING]
each_replacing = pytest.mark.parametrize("name", REPLACING)
# Those that take a second each are disturbed in every way by `make gate-trial` alone.
SLOW = ("mutants", "scan", "gate --keep", "gate --init", "pytest")
ALL = "ATTNPROBE_ALL_WAYS" in os.environ
QUICK = [name for name in REPLACING if ALL or not name.startswith(SLOW)]
each_quick = pytest.mark.parametrize("name", QUICK)


def paths_of_commands() -> Iterator[str]:
    """Command and option, or argument, of every path that a command takes."""
    for command in app.registered_commands:
        assert command.callback is not None
        hints = get_type_hints(command.callback, include_extras=True)
        for parameter in inspect.signature(command.callback).parameters:
            kind, *more = get_args(hints[parameter]) or (None,)
            if "Path" in str(kind):
                (info,) = more
                # Typer takes the first name of an option as its default.
                names = [str(info.default), *(info.param_decls or ())]
                own = f"--{parameter}" if isinstance(info, OptionInfo) else parameter
                name = next((name for name in names if name.startswith("--")), own)
                yield f"{command.name or command.callback.__name__} {name}"


def test_every_path_of_a_command_is_tried_here() -> None:
    found = set(paths_of_commands())
    written = {
        f"{command} {option}"
        for command, *options in (
            name.replace("scan merge", "scan_merge").split() for name in WRITERS
        )
        for option in options
        if command != "pytest" and option.islower()
    } - {"gate --init", "summary --comment"}  # which take no path
    written = {name.replace("scan_merge", "scan merge") for name in written}
    assert found == READ | written
    assert not READ & written


# The folder of a command -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in a folder; it is loaded once here, so that forks find all imported."""
    import attnprobe
    from tests.architectures.tiny import tiny_network, tiny_tokenizer

    folder = tmp_path_factory.mktemp("tiny") / "model"
    network = tiny_network("bert", num_hidden_layers=1, num_attention_heads=2)
    network.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    attnprobe.load(str(folder))
    own = (module.name for module in pkgutil.walk_packages(attnprobe.__path__, "attnprobe."))
    for module in (*own, *NEEDED):
        importlib.import_module(module)
    return folder


@pytest.fixture
def work(tmp_path: Path, model: Path) -> Callable[[str], Path]:
    """Makes a furnished folder for a writer."""

    def make(name: str) -> Path:
        folder = tmp_path / "work"
        furnish(folder, model, WRITERS[name])
        return folder

    return make


class Alone(NamedTuple):
    """A command that nothing disturbs.

    Attributes:
        before, after: the files of the folder.
        steps: copies of the folder, one before each change.
        opened: the files that were opened for writing; those are half written for a while.
    """

    before: Files
    after: Files
    steps: list[Path]
    opened: list[str]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Callable[[str], Alone]:
    return functools.cache(lambda name: run_alone(name, tmp_path_factory.mktemp("alone"), model))


def run_alone(name: str, folder: Path, model: Path) -> Alone:
    work, steps = folder / "work", folder / "steps"
    furnish(work, model, WRITERS[name])
    steps.mkdir()
    before = files_of(work)
    done = run_writer(WRITERS[name], work, before=partial(_copy_at_each_step, work, steps))
    assert done.code == WRITERS[name].code, done
    assert_no_traceback(done)
    opened = (folder / "opened").read_text().splitlines()
    return Alone(before, files_of(work), sorted(steps.iterdir()), opened)


def _copy_at_each_step(folder: Path, steps: Path) -> None:
    """Copies the folder before each change of it: what a kill at that moment leaves behind."""
    busy = False

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        opens = event == "open" and (arguments[2] or 0) & WRITING
        if busy or not (opens or event in CHANGES):
            return
        if not isinstance(arguments[0], str | os.PathLike):
            return
        busy = True
        try:
            path = Path(arguments[0]).absolute()
            if folder in path.parents:
                # A file without a name in a folder (O_TMPFILE) is no file that a kill leaves.
                if opens and not path.is_dir():
                    with folder.with_name("opened").open("a") as opened:
                        opened.write(f"{path.relative_to(folder).as_posix()}\n")
                copy = steps / f"{len(list(steps.iterdir())):03}"
                shutil.copytree(folder, copy, symlinks=True, ignore=_ignored)
        finally:
            busy = False

    sys.addaudithook(note)


def _ignored(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == ".pytest_cache"]  # which changes at the same time


def files_of(folder: Path) -> Files:
    """Every file in a folder that is the command's own, by its path."""
    found = {}
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if file.is_file() and not BESIDE.fullmatch(path):
            found[path] = file.read_bytes()
    return found


def same_but_times(files: Files) -> Files:
    """Files without what differs between two equal runs."""
    return {
        path: re.sub(rb"[0-9]+\.[0-9]+|[0-9]+ ms|[0-9:]{8}", b"", files[path]) for path in files
    }


def assert_no_traceback(done: Done) -> None:
    for text in (done.stdout, done.stderr):
        assert "Traceback" not in text, text
        assert "Exception ignored" not in text, text


# Cut short ---------------------------------------------------------------------------------------


@each_replacing
def test_a_kill_at_any_step_leaves_whole_files_p35(
    name: str, alone: Callable[[str], Alone]
) -> None:
    assert_whole(alone(name))


def assert_whole(run: Alone) -> None:
    before, after, steps, opened = run
    assert len(steps) >= 2
    for path in opened:
        assert SCRATCH.search(path) or BESIDE.fullmatch(path), path
    for step in steps:
        for path, content in files_of(step).items():
            if not SCRATCH.search(path) and content not in (before.get(path), after.get(path)):
                assert SAVED[path](content)
        assert before.keys() <= files_of(step).keys()


def _remove_first(path: Path, data: bytes) -> None:
    path.unlink()
    write_bytes(path, data)


@pytest.mark.parametrize("careless", [Path.write_bytes, _remove_first])
def test_a_careless_writer_is_noticed(
    careless: Callable[[Path, bytes], object],
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("attnprobe.results.files.write_bytes", careless)
    run = run_alone("schema --output", tmp_path, model)
    with pytest.raises(AssertionError):
        assert_whole(run)


@each_quick
def test_a_run_after_a_kill_leaves_what_an_undisturbed_one_does_p63(
    name: str, alone: Callable[[str], Alone]
) -> None:
    _, after, steps, _ = alone(name)
    fullest = max(steps, key=lambda step: sum(map(bool, map(SCRATCH.search, files_of(step)))))
    done = run_writer(WRITERS[name], fullest)
    assert_no_traceback(done)
    if done.code != WRITERS[name].code:
        assert name == "init folder"
        assert "exists already" in done.stderr
        return
    assert same_but_times(files_of(fullest)) == same_but_times(after)


# Writing fails -----------------------------------------------------------------------------------


def full_disk() -> None:
    """No file can have more than 100 bytes: what is written in one go is written in part."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def no_rights() -> None:
    """What root may do beyond others is given up; without it a folder can be read-only for root."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call, this process
    if os.geteuid() == 0 and libc.capset(head, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


@pytest.mark.parametrize("trouble", [full_disk, no_rights], ids=lambda trouble: trouble.__name__)
@pytest.mark.parametrize("name", [name for name in REPLACING if name != "pytest --html"])
def test_where_writing_fails_a_sentence_says_so_and_all_stays(
    name: str, trouble: Callable[[], None], work: Callable[[str], Path]
) -> None:
    folder = work(name)
    before = files_of(folder)
    if trouble is no_rights:
        folder.chmod(0o555)
    try:
        done = run_writer(WRITERS[name], folder, before=trouble)
    finally:
        folder.chmod(0o755)
    assert_no_traceback(done)
    assert done.code not in (0, WRITERS[name].code)
    assert re.search(
        "cannot be written|Permission denied|File too large", done.stderr + done.stdout
    )
    assert files_of(folder) == before


# Disturbed ---------------------------------------------------------------------------------------


@each_quick
def test_two_writers_at_once_leave_what_one_does_p42(
    name: str, work: Callable[[str], Path], alone: Callable[[str], Alone]
) -> None:
    folder = work(name)
    both = [start_writer(WRITERS[name], folder) for _ in range(2)]
    codes = []
    for wait in both:
        done = wait()
        assert_no_traceback(done)
        codes.append(done.code)
    assert WRITERS[name].code in codes
    assert set(codes) <= {WRITERS[name].code, 2}
    assert same_but_times(files_of(folder)) == same_but_times(alone(name).after)


def closed_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


@pytest.mark.parametrize("name", [*QUICK, APPENDING])
def test_a_reader_that_goes_away_causes_no_traceback(
    name: str, work: Callable[[str], Path]
) -> None:
    done = run_writer(WRITERS[name], work(name), before=closed_pipe)
    assert_no_traceback(done)


@pytest.mark.parametrize(
    "arguments",
    [
        "schema",
        "card r.json",
        "summary r.json",
        "lint cases",
        "gate --results r.json --policy p.toml",
        "--help",
    ],
)
def test_what_is_printed_for_nobody_causes_no_word(
    arguments: str, work: Callable[[str], Path]
) -> None:
    done = run_writer(Writer(tuple(arguments.split())), work("schema --output"), before=closed_pipe)
    assert (done.code, done.stderr) == (1, "")


def odd_surroundings() -> None:
    """A C locale, a terminal of 20 columns, and a clock that goes back by an hour at each look."""
    locale.setlocale(locale.LC_ALL, "C")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii", errors="surrogateescape")
    os.environ["COLUMNS"] = "20"
    out._width = 20
    out._force_terminal = True
    times = itertools.count(2**31, -3600)
    time.time = lambda: float(next(times))


@each_writer
def test_locale_terminal_and_clock_change_no_file(
    name: str, work: Callable[[str], Path], alone: Callable[[str], Alone]
) -> None:
    folder = work(name)
    done = run_writer(WRITERS[name], folder, before=odd_surroundings)
    assert_no_traceback(done)
    assert done.code == WRITERS[name].code
    assert same_but_times(files_of(folder)) == same_but_times(alone(name).after)
    for content in files_of(folder).values():
        assert b'"duration_s": -' not in content


def test_a_c_locale_of_the_whole_process_changes_nothing(work: Callable[[str], Path]) -> None:
    folder = work("schema --output")
    surroundings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    name = "\u94a5\u5319.md"
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "summary", "r.json", "-o", name],
        cwd=folder,
        env={**os.environ, **surroundings},
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert "1 attention check holds" in (folder / name).read_text(encoding="utf-8")
