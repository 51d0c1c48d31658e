"""Scans in parts from the command line: --shard, scan merge, torchrun, and Ray."""

from __future__ import annotations

import functools
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from attnprobe.cli.base import app, out
from attnprobe.core.errors import AttnprobeError
from attnprobe.scan import files
from attnprobe.scan.corpora import Corpora
from attnprobe.scan.state import STATE
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.scans import folder_of, sentences, write_jsonl

BASE = ("--corpus", "made_up.jsonl", "--min-arcs", "5", "--device", "cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "merge"
    tiny_network("bert").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def project(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model that is named as the command is, and a corpus."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(out, "_width", 200)
    (tmp_path / "merge").symlink_to(saved)
    write_jsonl(tmp_path / "made_up.jsonl", sentences(60))
    return tmp_path


@pytest.fixture
def scan(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command, in blocks of eight sentences."""
    monkeypatch.setattr(Corpora, "inspect", functools.partial(Corpora.inspect, block=8))
    return lambda *args: CliRunner().invoke(app, ["scan", *args])


def test_three_parts_and_their_sum_leave_what_one_process_leaves(
    scan: Callable[..., Any], project: Path
) -> None:
    one = scan("./merge", *BASE, "-o", "one", "--lock", "one/l.json")
    assert one.exit_code == 0, one.output
    for index in (1, 2, 3):
        part = scan("./merge", *BASE, "--shard", f"{index}/3", "-o", f"p{index}")
        assert part.exit_code == 0, part.output
        assert f"wrote p{index}/{STATE}: part {index}/3, " in part.output
        written = {path.name for path in Path(f"p{index}").iterdir() if path.suffix != ".lock"}
        assert written == {STATE, files.RESULTS}
        assert json.loads(Path(f"p{index}", files.RESULTS).read_text())["complete"] is False
    merged = scan("merge", "p3", "p1", "p2", "-o", "sum", "--lock", "sum/l.json")
    assert merged.exit_code == 0, merged.output
    assert folder_of(project / "sum") == folder_of(project / "one")
    # What is printed differs in the paths alone.
    shown = [text.partition("┏")[2].replace("sum/", "one/") for text in (one.output, merged.output)]
    assert shown[0].replace("pytest one", "pytest sum") == shown[1]
    engine = json.loads((project / "sum" / files.RESULTS).read_text())["engine"]
    assert engine == {"name": "merged", "parts": 3}


def test_a_part_can_be_stopped_and_is_not_a_whole(scan: Callable[..., Any], project: Path) -> None:
    again = scan("./merge", *BASE, "--shard", "2/2", "-o", "p2", "--resume")
    assert "nothing to go on with" in again.output
    same = scan("./merge", *BASE, "--shard", "2/2", "-o", "p2")
    assert "an unfinished scan lies there" in str(same.exception)
    same = scan("./merge", *BASE, "--shard", "1/2", "-o", "p2", "--resume")
    assert "part was 2/2 and is 1/2" in str(same.exception)
    alone = scan("merge", "p2", "-o", "sum")
    assert "part 1/2 of the scan is missing" in str(alone.exception)
    assert not (project / "sum").exists()
    twice = scan("merge", "p2", "p2", "-o", "sum")
    assert "part 2/2 has sentences that p2/scan-state.npz, part 2/2, has" in str(twice.exception)
    nothing = scan("merge", "nowhere", "-o", "sum")
    assert "nowhere/scan-state.npz: cannot be read: No such file" in str(nothing.exception)
    # Another corpus in between.
    with (project / "made_up.jsonl").open("a") as file:
        file.write('{"text": "one more", "arcs": []}\n')
    assert scan("./merge", *BASE, "--shard", "1/2", "-o", "p1").exit_code == 0
    changed = scan("merge", "p1", "p2", "-o", "sum")
    assert (
        "p2/scan-state.npz: another scan than p1/scan-state.npz: corpus made_up.jsonl was"
        in str(changed.exception)
    )


def test_the_suite_of_a_compressed_corpus_runs(
    pytester: pytest.Pytester,
    scan: Callable[..., Any],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(project)
    packed = gzip.compress((project / "made_up.jsonl").read_bytes())
    (project / "made_up.jsonl.gz").write_bytes(packed)
    args = ("--corpus", "made_up.jsonl.gz", *BASE[2:])
    done = scan("./merge", *args, "-o", "scan")
    assert done.exit_code == 0, done.output
    suite = (project / "scan" / files.SUITE).read_text()
    assert "jsonl: ../made_up.jsonl.gz" in suite
    result = pytester.runpytest_inprocess("scan", "--attn-model=./merge")
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed"}
    assert outcomes["passed"] == suite.count("- id: ")


def test_a_folder_of_files_is_a_corpus_without_a_suite(
    scan: Callable[..., Any], project: Path
) -> None:
    lines = (project / "made_up.jsonl").read_bytes().splitlines(keepends=True)
    (project / "own").mkdir()
    (project / "own" / "a.jsonl").write_bytes(b"".join(lines[:24]))
    (project / "own" / "b.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[24:])))
    one = scan("./merge", *BASE, "-o", "one", "--lock", "one/l.json")
    assert one.exit_code == 0, one.output
    args = ("--corpus", "own", *BASE[2:])
    for index in (1, 2):
        part = scan("./merge", *args, "--shard", f"{index}/2", "-o", f"p{index}")
        assert part.exit_code == 0, part.output
    for command in (
        ("./merge", *args, "-o", "two", "--lock", "two/l.json"),
        ("merge", "p1", "p2", "-o", "sum", "--lock", "sum/l.json"),
    ):
        done = scan(*command)
        assert done.exit_code == 0, done.output
        assert "no suite for own: a case file names one file" in done.output
    found = [json.loads(Path(name, files.RESULTS).read_text()) for name in ("one", "two", "sum")]
    # The same sentences in the same blocks, since both files begin with one.
    for key in ("relations", "measures", "too_few"):
        assert found[0][key] == found[1][key] == found[2][key]
    assert found[1]["corpora"][0]["sentences"] == 60
    assert not list(project.glob("two/*.attn.yaml"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--shard", "0/3", "-o", "x"), "--shard 0/3: the first of n parts is 1/n"),
        (("--shard", "x", "-o", "x"), "--shard is a part such as 2/3"),
        (("--shard", "1/2"), "a part of a scan is written into a folder; name it with --output"),
        (("--concurrency", "2"), "are for --engine ray"),
        (("--num-gpus", "1"), "are for --engine ray"),
        (("--address", "auto"), "are for --engine ray"),
        (("--relation", "nsbj"), "no arc has the relation 'nsbj'; did you mean 'nsubj'?"),
    ],
)
def test_what_does_not_go_together_is_refused(
    scan: Callable[..., Any], project: Path, args: tuple[str, ...], message: str
) -> None:
    result = scan("./merge", *BASE, *args)
    assert isinstance(result.exception, AttnprobeError)
    assert message in str(result.exception)
    assert not (project / "x").exists()


def run(*command: str, **variables: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


SCAN = (str(Path(sys.executable).with_name("attnprobe")), "scan")


def test_ranks_of_torchrun_and_actors_of_ray_leave_the_same(project: Path) -> None:
    """Each by its real program; the corpus has three blocks of the real size."""
    with (project / "made_up.jsonl").open() as file:
        lines = [json.loads(line) for line in file]
    with (project / "made_up.jsonl").open("w") as file:
        for number in range(600):
            entry = {**lines[number % 60], "id": f"s{number}"}
            file.write(json.dumps(entry) + "\n")
    run(*SCAN, "./merge", *BASE, "-o", "one", "--lock", "one/l.json")
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    run(*launch, "--no-python", *SCAN, "./merge", *BASE, "-o", "ranks")
    folders = [f"ranks/part-{rank}-of-2" for rank in (1, 2)]
    run(*SCAN, "merge", *folders, "-o", "sum", "--lock", "sum/l.json")
    ray = ("--engine", "ray", "--concurrency", "2")
    run(*SCAN, "./merge", *BASE, *ray, "-o", "ray", "--lock", "ray/l.json")
    expected = folder_of(project / "one")
    assert folder_of(project / "sum") == expected
    assert folder_of(project / "ray") == expected
    engine = json.loads((project / "ray" / files.RESULTS).read_text())["engine"]
    assert engine == {"name": "ray", "workers": 2, "num_gpus": 0}
