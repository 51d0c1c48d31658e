"""What an output path may lead to: a regular file, or nothing yet."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from attnprobe.core.errors import AttnprobeError, ResultsError
from attnprobe.gate.release import Request, decide
from attnprobe.results.files import write_bytes, write_json
from attnprobe.results.lock import update_heads
from tests.support.made_up_results import case, run

OWN = {"schema": "attnprobe/results-1"}
Attn = Callable[..., tuple[int, str]]


def _folder(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        # The path of a socket is short: at most 108 bytes on Linux.
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/null")


KINDS = {_folder: "a folder", _fifo: "a FIFO", _socket: "a socket", _device: "a device"}
each_kind = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__.strip("_"))


@each_kind
def test_what_is_no_file_is_not_replaced_p60(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "out"
    make(path)
    before = path.stat()
    for write in (lambda: write_json(path, OWN), lambda: write_bytes(path, b"new")):
        with pytest.raises(ResultsError, match=f"out is {KINDS[make]}, which is not replaced"):
            write()
    after = path.stat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_link_is_written_through_to_a_file_that_may_be_missing_p60(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    for name, write in (
        ("a.json", lambda path: write_json(path, OWN)),
        ("a.html", lambda path: write_bytes(path, b"new")),
    ):
        link = tmp_path / name
        link.symlink_to(folder / name)
        write(link)
        write(link)
        assert link.is_symlink()
        assert (folder / name).stat().st_size
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ResultsError, match="loop: cannot be written"):
        write_bytes(tmp_path / "loop", b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# Notes", "is not JSON"),
        (b"{half", "is not JSON"),
        (b"\x89PNG\r\n", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"name": "left-pad"}', "was not written by attnprobe"),
        (b'{"schema": "attnprobes/1"}', "was not written by attnprobe"),
    ],
)
def test_json_replaces_no_file_of_another_program_p60(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    for write in (
        lambda: write_json(path, OWN),
        lambda: update_heads(path, {"a": {"heads": ["L0H0"]}}, overwrite=True),
    ):
        with pytest.raises(ResultsError):
            write()
        assert path.read_bytes() == content
    with pytest.raises(ResultsError, match=said):
        write_json(path, OWN)


@pytest.mark.parametrize("content", [b"", b'{"schema": "attnprobe/results-0", "more": 1}'])
def test_json_replaces_its_own_and_empty_files_p60(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    write_json(path, OWN)
    assert json.loads(path.read_bytes()) == OWN


def test_the_lock_of_another_program_is_not_emptied_p60(tmp_path: Path) -> None:
    lock = tmp_path / "poetry.lock"
    lock.write_text("[[package]]")
    with pytest.raises(ResultsError, match=r"its lock .*poetry\.lock is a file of another use"):
        write_json(tmp_path / "poetry", OWN)
    assert lock.read_text() == "[[package]]"
    assert not (tmp_path / "poetry").exists()


@each_kind
def test_a_run_is_refused_before_it_begins_p60(
    pytester: pytest.Pytester,
    probe: Callable[..., pytest.RunResult],
    make: Callable[[Path], None],
) -> None:
    make(pytester.path / "out.json")
    for option in ("json", "save"):
        done = probe(f"--attn-{option}=./out.json")
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        done.stderr.fnmatch_lines(
            [f"ERROR: --attn-{option}: * is {KINDS[make]}, which is not replaced*"]
        )


@each_kind
@pytest.mark.parametrize(
    "arguments",
    [
        ("schema", "-o"),
        ("summary", "r.json", "-o"),
        ("card", "r.json", "--card"),
        ("compare", "r.json", "r.json", "--json"),
        ("compare", "r.json", "r.json", "--html"),
        ("show", "no-model", "text", "--heads=L0H0", "-o"),
        ("mutants", "--model=no-model", "--page"),
    ],
    ids=" ".join,
)
def test_a_command_is_refused_before_it_begins_p60(
    attn: Attn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(Path("r.json"), run(case("it")).to_json())
    make(tmp_path / "out.html")
    with pytest.raises(AttnprobeError, match=f"out.html is {KINDS[make]}"):
        attn(*arguments, "out.html")


@each_kind
@pytest.mark.parametrize("option", ["--json", "--keep"])
def test_the_gate_cannot_judge_into_what_is_no_file_p60(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "out")
    Path("p.toml").write_text("least = 1")
    Path("conftest.py").write_text("open('ran', 'w').close()")
    policy, out = Path("p.toml"), Path("out")
    outputs = {option.strip("-"): out}
    decision, results = decide(Request(["."], policy=policy, **outputs))
    assert decision.exit_code == 2
    assert f"out is {KINDS[make]}, which is not replaced" in decision.sentence
    assert results is None
    assert not Path("ran").exists()
