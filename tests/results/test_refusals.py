"""What is refused of results, lock files, cards and outputs, word for word."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from scipy.stats import binomtest

from attnprobe.core.errors import ResultsError
from attnprobe.results.card import card_yaml, eval_results, update_card
from attnprobe.results.files import check_output, is_same, read_json, write_bytes, write_json
from attnprobe.results.lock import check_heads, heads_here, read_heads, update_heads
from attnprobe.results.records import read_results
from tests.support.made_up_results import MODEL, case, run

LOCK = {"schema": "attnprobe/lock-1"}
OURS = {"a": {"heads": ["L3H1"], "model": "minilm", "weights_sha256": "e" * 64}}
WHOLE = run(case("c"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(act: Callable[[], object]) -> str:
    with pytest.raises(ResultsError) as caught:
        act()
    return str(caught.value)


def written(content: object, name: str = "f.json") -> Path:
    """A file with this text, or with this value as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x: 3", "f.json is not a decision: it is not JSON (line 1, column 1)"),
        ('\n {"a": }', "f.json: corrupt: Expecting value: line 2 column 8 (char 8)"),
        (" ", "f.json: corrupt: Expecting value: line 1 column 2 (char 1)"),
        ('{"a": NaN}', "f.json: corrupt: NaN is not a number"),
        ('{"a": -Infinity}', "f.json: corrupt: -Infinity is not a number"),
        (f'{{"a": {2**63}}}', "f.json: corrupt: a number of 19 digits counts nothing"),
        (f'{{"a": {-(2**63) - 1}}}', "f.json: corrupt: a number of 20 digits counts nothing"),
        ("3", "f.json: needs schema 's', has None"),
        ('{"schema": "t"}', "f.json: needs schema 's', has 't'"),
    ],
)
def test_what_is_no_file_of_attnprobe(content: str, message: str) -> None:
    assert said(lambda: read_json(written(content), "s", "decision")) == message


def test_a_file_of_attnprobe_is_read() -> None:
    data = {"schema": "s", "least": -(2**63), "most": 2**63 - 1, "text": "é"}
    assert read_json(written(data), "s", "decision") == data


def test_a_file_that_is_missing() -> None:
    message = "f.json: cannot be read: No such file or directory"
    assert said(lambda: read_json(Path("f.json"), "s", "decision")) == message


def test_results_that_contradict_themselves() -> None:
    data = WHOLE.to_json()
    message = "f.json: corrupt: the summary does not count its items"
    assert said(lambda: read_results(written(data | {"summary": {"collected": 1}}))) == message
    message = "f.json: corrupt: collected: Input should be a valid integer"
    assert said(lambda: read_results(written(data | {"summary": 3}))) == message
    models = [MODEL.as_dict() | {"layers": "six"}]
    message = "f.json: corrupt: models.0.layers: Input should be a valid integer"
    assert said(lambda: read_results(written(data | {"models": models}))) == message
    message = "f.json: needs schema 'attnprobe/results-1', has None"
    assert said(lambda: read_results(written({}))) == message
    message = "f.json is not a results file: it is not JSON (line 1, column 1)"
    assert said(lambda: read_results(written("x"))) == message


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([], "heads is not an object"),
        ({"a": 3}, "'a' names no heads"),
        ({"a": {"heads": "L3H1"}}, "'a' names no heads"),
        ({"a": {"heads": []}}, "'a' names no heads"),
        ({"a": {"heads": ["L3"]}}, "'a' needs distinct heads, each like L3H1"),
        ({"a": {"heads": [3]}}, "'a' needs distinct heads, each like L3H1"),
        ({"a": {"heads": ["L3H1", "L3H1"]}}, "'a' needs distinct heads, each like L3H1"),
        ({"a": {"heads": ["L3H1"], "model": 3}}, "model of 'a' is no text"),
        ({"a": {"heads": ["L3H1"], "revision": 3}}, "revision of 'a' is no text"),
        ({"a": {"heads": ["L3H1"], "weights_sha256": 3}}, "weights_sha256 of 'a' is no text"),
    ],
)
def test_a_lock_file_that_names_no_heads(heads: object, message: str) -> None:
    path = written(LOCK | {"heads": heads})
    assert said(lambda: read_heads(path)) == f"f.json: corrupt: {message}"
    assert said(lambda: update_heads(path, OURS)) == f"f.json: corrupt: {message}"
    assert said(lambda: check_heads(path, ["b"], weights_sha256="e")).endswith(message)


def test_a_lock_file_of_another_schema() -> None:
    message = "f.json is not a lock file: it is not JSON (line 1, column 1)"
    assert said(lambda: read_heads(written("x"))) == message
    message = "f.json: needs schema 'attnprobe/lock-1', has 's'"
    assert said(lambda: read_heads(written({"schema": "s"}))) == message
    Path("attnprobe.lock.json").write_text('{"schema": "s"}')
    message = "attnprobe.lock.json: needs schema 'attnprobe/lock-1', has 's'"
    assert said(heads_here) == message


def test_a_head_set_of_another_model_is_replaced_only_when_asked() -> None:
    path = Path("f.json")
    update_heads(path, OURS)
    check_heads(path, ["a", "b"], weights_sha256="e" * 64)
    theirs = {"a": {"heads": ["L1H1"], "weights_sha256": "f" * 64}, "b": {"heads": ["L2H2"]}}
    message = (
        "f.json: 'a' is a head set of minilm; give these another name with --prefix, or replace "
        "it with --overwrite"
    )
    assert said(lambda: update_heads(path, theirs)) == message
    assert said(lambda: check_heads(path, ["b", "a"], weights_sha256="f" * 64)) == message
    assert json.loads(path.read_text()) == LOCK | {"heads": OURS}
    update_heads(path, theirs, overwrite=True)
    update_heads(path, {"c": {"heads": ["L0H0"]}})
    assert json.loads(path.read_text()) == LOCK | {"heads": {**theirs, "c": {"heads": ["L0H0"]}}}
    message = message.replace("minilm", "another model")
    assert said(lambda: check_heads(path, ["a"], weights_sha256="e" * 64)) == message
    # The same model may be scanned again.
    update_heads(path, {"a": {"heads": ["L5H5"], "weights_sha256": "f" * 64}})
    assert [str(head) for head in read_heads(path)["a"].heads] == ["L5H5"]


def test_without_a_lock_file_there_are_no_head_sets() -> None:
    assert heads_here() == {}
    check_heads(Path("f.json"), ["a"], weights_sha256="e")
    update_heads(Path("attnprobe.lock.json"), OURS)
    assert list(heads_here()) == ["a"]


def test_a_place_that_is_no_file(here: Path) -> None:
    Path("folder").mkdir()
    message = "folder is a folder, which is not replaced; name a file"
    assert said(lambda: check_output(Path("folder"))) == message
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")
        message = "s is a socket, which is not replaced; name a file"
        assert said(lambda: check_output(Path("s"))) == message
    message = "/dev/null is a device, which is not replaced; name a file"
    assert said(lambda: check_output(Path("/dev/null"))) == message
    Path("loop").symlink_to("loop")
    for path in (Path("loop"), Path("a\0b")):
        assert said(partial(check_output, path)).startswith(f"{path}: cannot be written: ")
    check_output(Path("missing"))
    check_output(written("x") / "below")
    check_output(Path("f.json"))


def test_json_of_another_program() -> None:
    path = written("x")
    message = "f.json is not JSON, so it is not replaced; name another file"
    assert said(lambda: check_output(path, as_json=True)) == message
    message = "f.json was not written by attnprobe, so it is not replaced; name another file"
    for content in ({}, {"schema": None}, {"schema": "attnprobe"}, {"schema": "x/attnprobe/"}):
        written(content)
        assert said(lambda: check_output(path, as_json=True)) == message
    for own in ("", {"schema": "attnprobe/x"}, [1], 3):
        check_output(written(own), as_json=True)


def test_a_binary_file_is_told_by_its_first_bytes() -> None:
    """It may be a model of many gigabytes."""
    Path("f.json").write_bytes(b" " * 63 + b"\0")
    with Path("f.json").open("r+b") as file:
        file.truncate(2**40)  # a hole, which takes no room on the disk
    message = "f.json is not JSON, so it is not replaced; name another file"
    assert said(lambda: check_output(Path("f.json"), as_json=True)) == message


def test_a_value_that_is_no_json() -> None:
    message = "f.json: cannot be written as JSON: Out of range float values are not JSON compliant"
    assert said(lambda: write_json(Path("f.json"), float("nan"))).startswith(message)
    message = "f.json: cannot be written as JSON: Object of type set is not JSON serializable"
    assert said(lambda: write_json(Path("f.json"), set())) == message
    assert not Path("f.json").exists()


def test_a_folder_that_is_none() -> None:
    written("x", "file")
    path = Path("file/f")
    for write in (partial(write_json, path, 3), partial(write_bytes, path, b"")):
        assert "file/f: cannot be written: [Errno 17] File exists: " in said(write)


def test_a_folder_without_rights_is_told_before_any_work(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("closed").mkdir()
    asked: list[Path] = []

    def access(place: Path, *_: object, **__: object) -> bool:
        asked.append(place)
        return False

    monkeypatch.setattr(os, "access", access)
    message = f"closed/a/f: cannot be written: Permission denied: {here / 'closed'}"
    assert said(lambda: check_output(Path("closed/a/f"))) == message
    assert asked == [here / "closed"]


def test_json_is_sorted_and_readable() -> None:
    own = {"schema": "attnprobe/x", "b": ["é"], "a": 1}
    text = '{\n "a": 1,\n "b": [\n  "é"\n ],\n "schema": "attnprobe/x"\n}\n'
    write_json(Path("new/f.json"), own)
    assert Path("new/f.json").read_text("utf-8") == text
    seen: list[tuple[Path, bytes]] = []
    write_json(Path("new/f.json"), 3, check=lambda path: seen.append((path, path.read_bytes()[:5])))
    assert seen == [(Path("new/f.json"), b'{\n "a')]
    assert Path("new/f.json").read_bytes() == b"3\n"


def test_two_ways_to_one_file(here: Path) -> None:
    path = written("x")
    Path("link").symlink_to("f.json")
    Path("to-nothing").symlink_to("later")
    assert is_same(path, here / "f.json")
    assert is_same(path, Path("link"))
    assert is_same(Path("to-nothing"), Path("later"))
    assert not is_same(path, Path("later"))
    assert not is_same(Path("later"), path)
    written("x", "copy")
    assert not is_same(path, Path("copy"))


def test_a_card_needs_one_whole_model() -> None:
    two = (MODEL, replace(MODEL, name="new"))
    for made, model, message in (
        (
            run(case("c"), models=(replace(MODEL, ignored_code=("m.py",)),)),
            None,
            "minilm was measured without the code that comes with it, but a card describes the "
            "model as it is released",
        ),
        (
            run(case("c"), case("d", "error"), collected=3),
            None,
            "2 checks have no result, but a card needs a complete run",
        ),
        (
            run(case("c", "error")),
            None,
            "1 check has no result, but a card needs a complete run",
        ),
        (run(case("c", "skipped")), None, "no check ran on model minilm"),
        (
            run(case("c"), models=two),
            None,
            "a card is for one model; name one: --model minilm or new",
        ),
        (run(case("c"), models=two), "new", "no check ran on model new"),
        (run(case("c")), "mini", "the run has no model 'mini'; did you mean 'minilm'?"),
    ):
        path = written("# Card\n", "README.md")
        assert said(partial(eval_results, made, model=model)) == message
        assert said(partial(card_yaml, made, model=model)) == message
        assert said(partial(update_card, path, made, model=model)) == message


def test_a_card_of_another_model_with_ignored_code_is_written() -> None:
    away = replace(MODEL, name="new", ignored_code=("m.py",))
    both = run(case("c"), case("d", "error", model="new"), models=(MODEL, away))
    assert eval_results(both, model="minilm")[0] == "minilm"


CARD_YAML = """model-index:
- name: minilm
  results:
  - task:
      type: other
      name: Attention checks
    dataset:
      name: coreference
      type: attnprobe
      config: coreference
    metrics:
    - type: accuracy
      value: 0.5
      name: pass rate
      args:
        passed: 2
        n: 4
        known_gaps: 1
        wilson_low: {low}
        wilson_high: {high}
"""


def test_a_card_says_the_share_of_each_suite() -> None:
    made = run(
        case("a"), case("b"), case("c", "failed"), case("d", "xfailed"), case("e", "skipped")
    )
    interval = binomtest(2, 4).proportion_ci(method="wilson")
    printed = card_yaml(made)
    # The last digit of a number depends on the order of its sum.
    expected = CARD_YAML.format(low=f"{interval.low:.12f}", high=f"{interval.high:.12f}")
    assert re.sub(r"0\.\d{13,}", lambda number: f"{float(number[0]):.12f}", printed) == expected
    path = written("# Card\n", "README.md")
    assert update_card(path, made)
    assert path.read_text() == f"---\n{printed}---\n# Card\n"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("a: [", "README.md: is not a model card: while parsing a flow node"),
        (
            "model-index:\n- name: a\n  results: []\n- name: b\n  results: []",
            "README.md: its model-index names 2 models, and huggingface_hub would make one of them",
        ),
        (
            "model-index:\n- name: a\n  y: 2\n  x: 1\n  results: []",
            "README.md: huggingface_hub would drop from its model-index: x, y; write the block "
            "that attnprobe card prints into it by hand",
        ),
        (
            "{license: mit, model-index: []}",
            "README.md: its model-index cannot be replaced alone; write the block that attnprobe "
            "card prints into it by hand",
        ),
    ],
)
def test_a_card_that_would_lose_something(metadata: str, message: str) -> None:
    path = written(f"---\n{metadata}\n---\n", "README.md")
    assert said(lambda: update_card(path, WHOLE)).startswith(message)
    assert path.read_text() == f"---\n{metadata}\n---\n"


def test_a_card_that_cannot_be_read() -> None:
    message = "README.md: cannot be read: [Errno 2] No such file or directory: 'README.md'"
    assert said(lambda: update_card(Path("README.md"), WHOLE)) == message
