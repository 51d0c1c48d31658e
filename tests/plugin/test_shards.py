"""Runs in parts: what is dealt, that the sum of the parts is the run, and what is refused."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from attnprobe.cli.base import app
from attnprobe.core.errors import ResultsError
from attnprobe.models import loading
from attnprobe.results.records import read_part, read_results
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.inner_runs import LOADS_TINY

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

# A wide case file: more texts than a block has, one in both orders, one that another file has too.
WORDS = ("dog", "key", "cat", "seal", "door", "house", "cabinet", "bird", "fish")
CASES = "\n".join(
    f"""
- id: c{number}
  text: The old {word} {number} barks.
  expect:
    - attends: {{from: barks, to: {word}, over: old, heads: [L0H0, L1H1]}}
    - ignores: {{from: barks, to: {word}, max: 0.99}}
"""
    for number in range(70)
    for word in (WORDS[number % len(WORDS)],)
)
FEW = """
version: 1
suite: few
defaults: {heads: mean}
cases:
  - id: shared
    text: The old dog 0 barks.
    expect:
      - attends: {from: barks, to: dog, min: 0.0001}
  - id: gap
    text: The dog barks.
    xfail: known
    expect:
      - attends: {from: barks, to: dog, min: 0.99}
  - id: later
    text: The dog barks.
    skip: waits
    expect:
      - attends: {from: barks, to: dog, min: 0.99}
  - id: unmeasured
    text: The dog barks.
    expect:
      - attends: {from: barks, to: dog, heads: L7H1, min: 0.99}
  - id: other
    model: another
    text: The dog barks.
    expect:
      - attends: {from: barks, to: dog, min: 0.99}
relations:
  - id: first
    heads: L0H0
    from_corpus: {tsv: c.tsv, relation: x}
    least: 1
    expect: {accuracy: 0.01}
  - id: second
    heads: {in: all, how: best, chosen_on: half}
    from_corpus: {tsv: c.tsv, relation: y}
    least: 1
    expect: {accuracy: 0.99}
"""
PROBES = """
import pytest

@pytest.mark.parametrize("word", ["dog", "The", "barks"])
def test_words(attn, word):
    attn("The dog barks.").ignores(".", word, heads="mean", max=0.99)

def test_plain():
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, write_cases: Write) -> None:
    write_cases(CASES, name="many.attn.yaml")
    Path("few.attn.yaml").write_text(FEW)
    write_cases("- {id: broken}", name="broken.attn.yaml")
    pytester.makepyfile(test_probes=PROBES)
    rows = [f"We see a dog {number}.\t3\t6\t9\t12\t{'xy'[number % 2]}\n" for number in range(12)]
    Path("c.tsv").write_text(
        "text\tfrom-start\tfrom-end\tto-start\tto-end\trelation\n" + "".join(rows)
    )


ALL = ("--continue-on-collection-errors",)


def timeless(path: str) -> dict[str, Any]:
    text = re.sub(r'"duration_s": [-+.\de]+', '"duration_s": 0', Path(path).read_text())
    found: dict[str, Any] = json.loads(text)
    return found


def merge(*names: str) -> Any:
    return CliRunner().invoke(app, ["merge", *names, "-o", "all.json"])


@pytest.mark.usefixtures("suite")
def test_any_number_of_parts_in_any_order_adds_up_to_the_run(probe: Run) -> None:
    """A set of parts that lacks one, or has one twice, adds up to nothing."""
    probe("--attn-json=whole.json", *ALL)
    whole = timeless("whole.json")
    assert len(whole["cases"]) > 70
    assert len(whole["relations"]) == 2
    assert {case["outcome"] for case in whole["cases"]} >= {
        *("passed", "failed", "xfailed", "skipped", "error")
    }
    assert any(entry["chance"] for case in whole["cases"] for entry in case["expectations"])

    @functools.cache
    def parts(count: int) -> list[str]:
        names = [f"{index}-of-{count}.json" for index in range(1, count + 1)]
        for index, name in enumerate(names, 1):
            probe(f"--attn-json={name}", f"--attn-shard={index}/{count}", *ALL)
        read = [read_part(Path(name)) for name in names]
        sizes = [len(part.items) for part in read]
        assert sum(sizes) == len(whole["cases"]) + 2
        assert max(sizes) < sum(sizes)
        # The two relations have one corpus, and go together.
        owners = [{"first", "second"} & {item.id for item in part.items} for part in read]
        assert sorted(map(len, owners)) == [0] * (count - 1) + [2]
        return names

    @settings(max_examples=12)
    @given(st.integers(2, 4), st.sampled_from(("none", "missing", "twice", "copied")), st.data())
    def add_up(count: int, fault: str, data: st.DataObject) -> None:
        names = data.draw(st.permutations(parts(count)))
        at = data.draw(st.integers(0, count - 1))
        place = data.draw(st.integers(0, count))
        Path("all.json").unlink(missing_ok=True)
        match fault:
            case "missing":
                name = names.pop(at)
                told = f"part {name[0]}/{count} of the run is missing: name the files of all parts"
            case "twice":
                names.insert(place, names[at])
                told = f"{names[place]}: part {names[place][0]} of {count}, which is there twice"
            case "copied":
                shutil.copy(names[at], "copy.json")
                told = f"part {names[at][0]} of {count}, which is there twice: "
                names.insert(place, "copy.json")
            case _:
                assert merge(*names).exit_code == 0
                assert timeless("all.json") == whole
                return
        assert told in str(merge(*names).exception)
        assert not Path("all.json").exists()

    add_up()


@pytest.mark.usefixtures("suite")
def test_workers_and_selections_have_parts_as_well(pytester: pytest.Pytester, probe: Run) -> None:
    chosen = ("-k", "not c1", *ALL)
    probe("--attn-json=whole.json", *chosen)
    pytester.makeconftest(LOADS_TINY)
    probe("--attn-json=1.json", "--attn-shard=1/2", "-n2", *chosen)
    probe("--attn-json=2.json", "--attn-shard=2/2", *chosen)
    assert merge("1.json", "2.json").exit_code == 0
    assert timeless("all.json") == timeless("whole.json")
    assert timeless("all.json")["deselected"] == 11
    probe("--attn-json=2.json", "--attn-shard=2/2", *ALL)
    other = merge("1.json", "2.json")
    assert "2.json: of another run than 1.json, for its checks differ" in str(other.exception)


@pytest.mark.usefixtures("suite")
def test_a_part_of_no_probe_is_no_error(probe: Run) -> None:
    args = ("few.attn.yaml", "-k", "gap")
    for index in (1, 2, 3):
        result = probe(
            f"--attn-json={index}.json", f"--attn-shard={index}/3", "--attn-strict", *args
        )
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(
            [f"attnprobe: part {index}/3 of the run; attnprobe merge puts *"]
        )
    assert merge("1.json", "2.json", "3.json").exit_code == 0
    probe("--attn-json=whole.json", "--attn-strict", *args)
    assert timeless("all.json") == timeless("whole.json")


def test_a_run_without_any_probe_is_none_in_parts_either(probe: Run, write_cases: Write) -> None:
    write_cases("- {id: c, text: The dog barks., expect: [{sink: {max: 0.9}}]}")
    assert probe("--attn-shard=1/2", "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    ("cases", "states"),
    [
        ("", []),
        ("- {id: a, skip: x, TEXT}\n- {id: b, skip: x, TEXT}", ["skipped", "skipped"]),
        # The others need no error of their own.
        ("- {id: a, TEXT}\n- {id: b, TEXT}\n- {id: c, skip: x, TEXT}", ["error"]),
        ("- {id: a, model: m, TEXT}", []),
    ],
)
@pytest.mark.parametrize("strict", [(), ("--attn-strict",)])
def test_runs_without_a_model_have_parts(
    probe: Run,
    pytester: pytest.Pytester,
    write_cases: Write,
    cases: str,
    states: list[str],
    strict: tuple[str, ...],
) -> None:
    pytester.makepyfile(test_plain="def test_good(): pass\n\ndef test_bad(): assert 0\n")
    if cases:
        text = "text: The dog barks., expect: [{sink: {max: 0.9}}]"
        write_cases(cases.replace("TEXT", text))
    probe("--attn-json=whole.json", *strict, model=None)
    whole = timeless("whole.json")
    assert sorted(case["outcome"] for case in whole["cases"]) == states
    assert whole["other_failures"] == ["test_plain.py::test_bad"]
    for index in (1, 2, 3):
        found = probe(f"--attn-json={index}.json", f"--attn-shard={index}/3", *strict, model=None)
        found.assert_outcomes(passed=1, failed=1, skipped=ANY, errors=ANY, deselected=ANY)
    done = merge("3.json", "2.json", "1.json")
    assert done.exit_code == 0, done.exception
    assert timeless("all.json") == whole
    assert ("no check" in done.output) == (not states)


@pytest.mark.usefixtures("suite")
def test_what_a_part_did_not_come_to_is_missing_in_the_whole(
    probe: Run, pytester: pytest.Pytester
) -> None:
    """A part that ends before its first check leaves a file that counts no check."""
    files = ("many.attn.yaml", "few.attn.yaml")
    probe("--attn-json=1.json", "--attn-shard=1/2", *files)
    pytester.makeconftest(
        "import pytest\n\ndef pytest_runtest_setup(item):\n    pytest.exit('the machine stops')\n"
    )
    probe("--attn-json=2.json", "--attn-shard=2/2", *files)
    done = len(read_part(Path("1.json")).items)
    assert done
    assert not read_part(Path("2.json")).items
    merge("1.json", "2.json")
    found = read_results(Path("all.json"))
    assert found.collected == 70 + 4 + 2
    assert found.missing == found.collected - done > 0


@pytest.mark.usefixtures("suite")
def test_parts_in_another_order_of_the_checks_are_refused(
    probe: Run, pytester: pytest.Pytester
) -> None:
    """The blocks depend on the order, which a plugin may draw anew for each part."""
    probe("--attn-json=1.json", "--attn-shard=1/2", "few.attn.yaml")
    pytester.makeconftest("def pytest_collection_modifyitems(items):\n    items.reverse()\n")
    probe("--attn-json=2.json", "--attn-shard=2/2", "few.attn.yaml")
    assert "for its checks differ" in str(merge("1.json", "2.json").exception)


@pytest.mark.usefixtures("suite")
def test_a_run_that_is_its_only_part_can_be_merged(probe: Run) -> None:
    """So a matrix whose size is a variable needs no case of its own for one."""
    probe("--attn-json=1.json", "--attn-shard=1/1", "few.attn.yaml")
    assert merge("1.json").exit_code == 0
    assert Path("all.json").read_bytes() == Path("1.json").read_bytes()


@pytest.mark.usefixtures("suite")
def test_reports_name_the_part(probe: Run) -> None:
    args = ("--junitxml=j.xml", "--html=r.html", "--self-contained-html", "few.attn.yaml")
    probe("--attn-shard=1/1", *args)
    assert "part 1 of" not in Path("j.xml").read_text() + Path("r.html").read_text()
    judged = 0
    for index in (1, 2):
        probe(f"--attn-shard={index}/2", *args)
        named = f'name="attnprobe.part" value="part {index} of 2"' in Path("j.xml").read_text()
        judged += named
        title = f"attnprobe, part {index} of 2: " in Path("r.html").read_text()
        assert (named, title) in ((True, True), (False, False))  # nothing was dealt to a part
    assert judged


def test_the_commands_of_the_documents_run(probe: Run, write_cases: Write) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    section = page.partition("## Suites in parts")[2].partition("\n## ")[0]
    write_cases(CASES, name="cases/many.attn.yaml")
    console = re.findall(r"^(pytest|attnprobe) (.*)", section, re.MULTILINE)
    matrix = re.findall(r"- run: (pytest) (.*)", section)
    assert len(matrix) == 1
    Path("pyproject.toml").write_text("[tool.attnprobe.gate]\nleast = 1\ncommit = 'any'\n")
    for name, line in console:
        if name == "pytest":
            assert probe(*line.split()).ret in (0, 1)
        else:
            done = CliRunner().invoke(app, line.split())
            assert done.exit_code in (0, 1), done.output
    assert read_results(Path("results.json")).missing == 0
    for index in "1234":
        (words,) = (line.replace("${{ matrix.part }}", index).split() for _, line in matrix)
        assert probe(*words).ret in (0, 1)
    assert merge(*(f"part-{index}.json" for index in "1234")).exit_code == 0
    assert timeless("all.json")["cases"] == timeless("results.json")["cases"]


@pytest.mark.usefixtures("suite")
def test_a_check_that_two_parts_have_is_refused(probe: Run) -> None:
    for index in (1, 2):
        probe(f"--attn-json={index}.json", f"--attn-shard={index}/2", "few.attn.yaml")
    one, two = (json.loads(Path(f"{index}.json").read_text()) for index in (1, 2))
    both = [*one["cases"], *two["cases"]]
    for found in (one, two):
        found["cases"] = [case for case in both if case["id"] == "later"]
        found["relations"] = []
        counts = dict.fromkeys(found["summary"], 0)
        found["summary"] = {**counts, "collected": found["summary"]["collected"], "skipped": 1}
    for index, found in enumerate((one, two), 1):
        Path(f"{index}.json").write_text(json.dumps(found))
    assert "2.json: has few.attn.yaml::later as 1.json has" in str(
        merge("1.json", "2.json").exception
    )


def test_a_new_case_moves_only_the_blocks_behind_it_in_its_file(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    def owners() -> dict[str, int]:
        found = {}
        for index in (1, 2, 3, 4):
            result = probe("--collect-only", "-q", f"--attn-shard={index}/4")
            for line in result.outlines:
                if "::" in line:
                    found[line.strip()] = index
        return found

    expect = "expect: [{ignores: {from: barks, to: dog, max: 0.99}}]"
    texts = [f"- {{id: c{n}, text: The dog {n} barks., {expect}}}" for n in range(200)]
    for name in "abc":
        moved = [line.replace("The dog", f"The {name} dog") for line in texts]
        write_cases("\n".join(moved), name=f"{name}.attn.yaml")
    before = owners()
    assert len(before) == 600
    assert len(set(before.values())) > 1
    new = [line.replace("The dog", "The b dog") for line in texts]
    new.insert(130, texts[0].replace("c0", "new").replace("The dog 0", "One more dog"))
    write_cases("\n".join(new), name="b.attn.yaml")
    after = owners()
    moved_ids = [name for name, owner in before.items() if after[name] != owner]
    # The new text is none that chance rates are counted on, so those before it stay as well.
    assert all(name.startswith("b.attn.yaml") for name in moved_ids)
    assert all(int(name.partition("::c")[2]) >= 130 for name in moved_ids)
    assert {name: owner for name, owner in after.items() if name[0] in "ac"} == {
        name: owner for name, owner in before.items() if name[0] in "ac"
    }


@pytest.mark.usefixtures("suite")
def test_a_part_alone_is_no_run(probe: Run, tmp_path: Path) -> None:
    probe("--attn-json=1.json", "--attn-shard=1/2", *ALL)
    probe("--attn-json=whole.json", *ALL)
    told = "1.json: part 1 of 2 of a run; put the parts together with attnprobe merge"
    with pytest.raises(ResultsError, match=re.escape(told)):
        read_results(Path("1.json"))
    Path("policy.toml").write_text("least = 1\n")
    for command in (
        ("summary", "1.json"),
        ("card", "1.json"),
        ("compare", "whole.json", "1.json"),
        ("compare", "1.json", "whole.json"),
        ("history", "whole.json", "1.json"),
        ("gate", "--results", "1.json", "--policy", "policy.toml"),
    ):
        done = CliRunner().invoke(app, command)
        assert told in f"{done.exception}{done.output}", command
        assert done.exit_code != 0
    for names, message in (
        (("1.json",), "part 2/2 of the run is missing: name the files of all parts"),
        (("1.json", "1.json"), "1.json: part 1 of 2, which is there twice: 1.json"),
        (("1.json", "whole.json"), "whole.json: a whole run, not a part of one"),
    ):
        assert message in str(merge(*names).exception)
        assert not Path("all.json").exists()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("attnprobe",), "9.9", "for its attnprobe differ: .* there, 9.9 here"),
        (("environment", "torch"), "9.9", "for its torch differ: "),
        (("environment", "git_commit"), "f" * 40, "for its git_commit differ: "),
        (("models", 0, "weights_sha256"), "f" * 64, "for its weights_sha256 of tiny differ: "),
        (("models", 0, "tokenizer_sha256"), "f" * 64, "for its tokenizer_sha256 of tiny differ: "),
        (("part", "options", "chance_max"), 0.5, "for its options differ"),
        (("part", "source_sha256"), "f" * 64, "for its source of attnprobe differ: .* f{64} here"),
        (("part", "count"), 3, "for its number of parts differ: 2 there, 3 here"),
        (("deselected",), 7, "for its cases that were left out differ"),
        (("left_out",), ["x.attn.yaml"], "for its files that were left out differ"),
    ],
)
@pytest.mark.usefixtures("suite")
def test_parts_of_different_runs_are_refused(
    probe: Run, place: tuple[Any, ...], value: object, message: str
) -> None:
    for index in (1, 2):
        probe(
            f"--attn-json={index}.json",
            f"--attn-shard={index}/2",
            "few.attn.yaml",
            "test_probes.py",
        )
    found = json.loads(Path("2.json").read_text())
    entry = found
    for key in place[:-1]:
        entry = entry[key]
    assert entry[place[-1]] != value
    entry[place[-1]] = value
    Path("2.json").write_text(json.dumps(found))
    assert re.search(
        f"2.json: of another run than 1.json, {message}", str(merge("1.json", "2.json").exception)
    )


@pytest.mark.usefixtures("suite")
def test_a_case_file_that_changed_between_two_parts_is_refused(probe: Run) -> None:
    probe("--attn-json=1.json", "--attn-shard=1/2", *ALL)
    few = Path("few.attn.yaml")
    few.write_text(few.read_text().replace("min: 0.0001", "min: 0.0002"))
    probe("--attn-json=2.json", "--attn-shard=2/2", *ALL)
    assert "for its content of few.attn.yaml differ" in str(merge("1.json", "2.json").exception)


def test_a_haystack_that_changed_between_two_parts_is_refused(
    probe: Run, write_cases: Write
) -> None:
    """Also beyond what the model reads of it: the file is another one."""
    write_cases(
        """
        - id: a
          text: The dog barks.
          needle: The key lies under the stone.
          haystack: ../texts/hay.txt
          tokens: 60
          expect: [{attends: {from: barks, to: {needle: key}, min: 0.0001}}]
        """,
        name="cases/x.attn.yaml",
    )
    hay = Path("texts/hay.txt")
    hay.parent.mkdir()
    hay.write_text("The rain went on for days. " * 1000)
    for index in (1, 2):
        probe(f"--attn-json={index}.json", f"--attn-shard={index}/2")
    assert merge("1.json", "2.json").exit_code == 0
    assert [case.outcome for case in read_results(Path("all.json")).cases] == ["passed"]
    hay.write_text(hay.read_text() + "It was cold.")
    probe("--attn-json=2.json", "--attn-shard=2/2")
    assert "for its content of texts/hay.txt differ" in str(merge("1.json", "2.json").exception)


@pytest.mark.usefixtures("suite")
def test_what_is_said_of_a_merged_file_is_what_is_said_of_a_run(probe: Run) -> None:
    probe("--attn-json=whole.json", *ALL)
    for index in (1, 2):
        probe(f"--attn-json={index}.json", f"--attn-shard={index}/2", *ALL)
    merge("1.json", "2.json")
    Path("policy.toml").write_text("least = 1\nchance_max = 0.5\ncommit = 'any'\n")
    said = []
    for name in ("whole.json", "all.json"):
        Path("same.json").write_text(json.dumps(timeless(name)))
        done = [
            CliRunner().invoke(app, command)
            for command in (
                ("summary", "same.json"),
                ("card", "same.json"),
                ("compare", "whole.json", "same.json"),
                ("gate", "--results", "same.json", "--policy", "policy.toml"),
            )
        ]
        said.append([f"{one.exit_code} {one.output} {one.exception}" for one in done])
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--attn-shard=0/3",), "--attn-shard 0/3: the first of n parts is 1/n"),
        (("--attn-shard=4/3",), "--attn-shard 4/3: the first of n parts is 1/n"),
        (("--attn-shard=1",), "--attn-shard is a part such as 2/3, the second of three"),
        (("--attn-shard=a/b",), "--attn-shard is a part such as 2/3"),
        (
            ("--attn-shard=1/2", "--attn-save=main"),
            "--attn-save takes a whole run, and --attn-shard",
        ),
        (("--attn-shard=1/2", "--attn-compare=m"), "--attn-compare takes a whole run, and --attn-"),
    ],
)
def test_what_is_no_part_is_refused(probe: Run, args: tuple[str, ...], message: str) -> None:
    result = probe(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


def test_each_worker_takes_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th worker asks for `auto:n`; with two devices, the third starts anew."""
    monkeypatch.setattr(loading.torch, "empty", lambda *_, device: SimpleNamespace(device=device))
    monkeypatch.setattr(loading.torch.cuda, "device_count", lambda: 2)
    devices = [str(loading.device_named(f"auto:{worker}")) for worker in range(4)]
    assert devices == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    # CUDA_VISIBLE_DEVICES leaves torch fewer devices, and counts them from 0.
    monkeypatch.setattr(loading.torch.cuda, "device_count", lambda: 1)
    assert {str(loading.device_named(f"auto:{worker}")) for worker in range(4)} == {"cuda:0"}


# Four GPUs, of which workers see those of CUDA_VISIBLE_DEVICES, counted from 0 as in torch. What is
# placed on one stays on the CPU; a line for each worker says where it should be.
FAKE_GPUS = """
import os
from pathlib import Path
from types import SimpleNamespace

def pytest_configure(config):
    worker = getattr(config, "workerinput", {}).get("workerid")
    if worker is None:
        return
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3").split(",")
    empty = torch.empty

    def fake_empty(*shape, device=None, **options):
        if not str(device).startswith("cuda"):
            return empty(*shape, device=device, **options)
        place = torch.device(device)
        if place.index is None or place.index >= len(visible):
            raise RuntimeError("CUDA error: invalid device ordinal")
        return SimpleNamespace(device=place)

    def fake_to(network, place):
        gpu = visible[place.index] if place.type == "cuda" else "none"
        with Path(config.rootpath, f"{worker}.txt").open("a") as file:
            file.write(f"{place} is GPU {gpu}")
        return network

    torch.cuda.device_count = lambda: len(visible)
    torch.empty = fake_empty
    torch.nn.Module.to = fake_to
"""


@pytest.mark.parametrize(
    ("visible", "options", "places"),
    [
        (None, (), ["cuda:0 is GPU 0", "cuda:1 is GPU 1", "cuda:2 is GPU 2"]),
        ("3,1", (), ["cuda:0 is GPU 3", "cuda:1 is GPU 1", "cuda:0 is GPU 3"]),
        ("3,1", ("--attn-device=cuda:1",), ["cuda:1 is GPU 1"] * 3),
    ],
)
def test_workers_load_their_models_on_devices_of_their_own(
    pytester: pytest.Pytester,
    probe: Run,
    write_cases: Write,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    options: tuple[str, ...],
    places: list[str],
) -> None:
    """From the number of the worker to the network; CUDA_VISIBLE_DEVICES comes from outside."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    tiny_network("bert").save_pretrained("network")
    tiny_tokenizer().save_pretrained("network")
    pytester.makeconftest(FAKE_GPUS)
    write_cases("- {id: c, text: The dog barks., expect: [{sink: {max: 0.99}}]}")
    done = probe("-n3", "--dist=each", *options, model="network")
    done.assert_outcomes(passed=3)
    assert [Path(f"gw{number}.txt").read_text() for number in range(3)] == places
