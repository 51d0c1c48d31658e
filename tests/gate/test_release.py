"""The command `attnprobe gate`: it runs pytest or reads results, decides, and keeps files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from attnprobe import cli
from attnprobe.core.errors import ModelError
from attnprobe.models import LoadOptions
from attnprobe.results.environment import environment
from attnprobe.results.files import write_json
from tests.support.forked_commands import run_code
from tests.support.gate_runs import FAILING, LIKE_COV
from tests.support.inner_runs import LOADS_TINY
from tests.support.made_up_decisions import ON, case, expectation, many
from tests.support.made_up_results import MODEL, run

SENTENCE = f"Release may go: 5 attention checks of 1 suite hold on {ON}, none of them by chance."

Gate = Callable[..., tuple[int, list[str]]]

# What a policy needs to be one, and leave to judge whatever models the run has.
LEAST = 'least = 1\ncandidate = "ini"\n'

LAX = f"[tool.attnprobe.gate]\n{LEAST}"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forks: None) -> Gate:
    """Runs the command where a policy demands one check; exit code and the lines it printed."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(LAX)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def invoke(*arguments: object) -> tuple[int, list[str]]:
        result = CliRunner().invoke(cli.app, ["gate", *map(str, arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout.splitlines()

    return invoke


HUB = SimpleNamespace(
    revision="b" * 40,
    weights_sha256=MODEL.weights_sha256,
    tokenizer_sha256=MODEL.tokenizer_sha256,
)

UNDETERMINED = "note: whether heads of minilm moved could not be determined: "

NO_FILE = "no cases/coref.attn.yaml here; run the gate in the root of the project"


@pytest.mark.parametrize(
    ("policy", "cause"),
    [
        (
            "baseline_model = 'acme/base'",
            "baseline_model acme/base is given without its revision; set baseline_revision = "
            f'"{"b" * 40}" in the policy',
        ),
        (
            "baseline_model = 'acme/base'\nbaseline_revision = 'main'",
            "baseline_model acme/base is given by main, which another commit can take over; set "
            f'baseline_revision = "{"b" * 40}" in the policy',
        ),
        (f"baseline_model = 'acme/base'\nbaseline_revision = '{'b' * 40}'", NO_FILE),
        ("baseline_model = 'folder'", NO_FILE),
        (
            "baseline_model = 'folder'\nbaseline_revision = 'main'",
            "baseline_model folder is no hub model, so it has no baseline_revision",
        ),
        ("baseline = 'same.json'\nbaseline_model = 'folder'", NO_FILE),
        (
            "baseline = 'other.json'\nbaseline_model = 'folder'",
            "baseline_model folder has weights abababababab, but the baseline other.json is of "
            "runs/best with weights efefefefefef; name that model in the policy",
        ),
        (
            "baseline = 'words.json'\nbaseline_model = 'folder'",
            "baseline_model folder is read with another tokenizer than that of the baseline "
            "words.json; name a model with the same tokenizer in the policy",
        ),
        (
            "baseline = 'two.json'\nbaseline_model = 'folder'",
            "the baseline two.json has no such model",
        ),
    ],
)
def test_heads_are_sought_in_a_pinned_model_that_the_baseline_is_of(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, policy: str, cause: str
) -> None:
    revisions = []

    def load_model(ref: str, options: LoadOptions) -> Any:
        revisions.append(options.revision)
        return HUB if ref == "acme/base" else SimpleNamespace(**vars(HUB) | {"revision": None})

    monkeypatch.setattr("attnprobe.models.load_model", load_model)
    other = replace(MODEL, weights_sha256="ef" * 32)
    words = replace(MODEL, tokenizer_sha256="be" * 32)
    names = [replace(MODEL, name=name) for name in ("a", "b")]
    written = {"same": [MODEL], "other": [other], "words": [words], "two": names}
    for name, models in written.items():
        cases = [replace(c, model=models[0].name) for c in many(5)]
        write_json(Path(f"{name}.json"), run(*cases, models=tuple(models)).to_json())
    write_json(Path("r.json"), run(*many(5, 1), environment=environment()).to_json())
    Path("p.toml").write_text(f"least = 1\nmoved_heads = 'allow'\n{policy}\n")
    code, lines = gate("--results", "r.json", "--policy", "p.toml")
    assert code == 1
    assert [line for line in lines if line.startswith(UNDETERMINED)] == [UNDETERMINED + cause]
    pinned = policy.partition("baseline_revision = ")[2].strip("'") or None
    assert revisions[0] == pinned


def test_a_check_that_stands_twice_is_named_with_its_row_or_without(gate: Gate) -> None:
    cases = [case("a"), case("a", row="dog")]
    write_json(Path("r.json"), run(*cases, *cases, environment=environment()).to_json())
    code, lines = gate("--results", "r.json")
    assert code == 2
    start = lines.index("cannot judge: 2 attention checks stand twice in the run")
    assert lines[start + 1 : start + 3] == [
        "  cases/coref.attn.yaml: a on minilm",
        "  cases/coref.attn.yaml: a[dog] on minilm",
    ]


def test_a_results_file_is_judged(gate: Gate) -> None:
    here = environment()
    write_json(Path("r.json"), run(*many(5), environment=here).to_json())
    assert gate("--results", "r.json") == (
        0,
        [
            "note: policy: pyproject.toml",
            SENTENCE,
        ],
    )
    write_json(Path("r.json"), run(*many(5, 2), environment=here).to_json())
    code, lines = gate("--results", "r.json", "--json", "d.json")
    assert code == 1
    told = json.loads(Path("d.json").read_text())
    assert told["schema"] == "attnprobe/gate-1"
    assert (told["verdict"], told["exit_code"], told["sentence"]) == ("blocked", 1, lines[-1])
    assert told["reasons"][0]["kind"] == "failed"
    assert len(told["reasons"][0]["details"]) == 2


def test_a_decision_that_cannot_be_written_is_none(gate: Gate) -> None:
    write_json(Path("r.json"), run(*many(5, 2), environment=environment()).to_json())
    Path("file").touch()
    code, lines = gate("--results", "r.json", "--json", "file/d.json")
    assert code == 2
    assert lines[0].startswith("cannot judge: file/d.json: cannot be written")
    assert lines[1].startswith("note: blocked: in suite coreference 2 of 5 attention checks")
    assert lines[-2].startswith("note: Release blocked: in suite coreference 2 of 5")
    assert not any("note: note:" in line for line in lines)


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", '{"schema": "attnprobe/results-2"}', '{"schema": "other"}', "summary"],
)
@pytest.mark.parametrize("which", ["results", "baseline"])
def test_a_corrupt_or_foreign_file_is_not_judged_p36(
    gate: Gate, which: str, content: str | None
) -> None:
    good = run(*many(5), environment={}).to_json()
    write_json(Path("good.json"), good)
    if content == "summary":
        content = json.dumps(good | {"summary": good["summary"] | {"passed": 99}})
    if content is not None:
        Path("bad.json").write_text(content)
    judged = "bad.json" if which == "results" else "good.json"
    if which == "baseline":
        Path("p.toml").write_text(f'{LEAST}baseline = "bad.json"')
    else:
        Path("p.toml").write_text(LEAST)
    code, lines = gate("--results", judged, "--policy", "p.toml", "--json", "d.json")
    assert code == 2
    assert lines[-1].startswith("Cannot judge: bad.json: ")
    assert json.loads(Path("d.json").read_text())["exit_code"] == 2


def test_the_policy_that_was_used_is_told_always(gate: Gate) -> None:
    Path("pyproject.toml").write_text("[tool.attnprobe.gate]\nleast = 6\n")
    write_json(Path("r.json"), run(*many(5), environment=environment()).to_json())
    code, lines = gate("--results", "r.json")
    assert (code, lines[-2]) == (2, "note: policy: pyproject.toml")
    assert gate("--results", "no.json")[1][-2] == "note: policy: pyproject.toml"
    Path("below").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("below")
        code, lines = gate("--results", "../r.json")
    assert (code, lines[-2]) == (2, "note: policy: ../pyproject.toml")
    Path("p.toml").write_text(LEAST)
    assert gate("--results", "r.json", "--policy=p.toml") == (
        0,
        ["note: policy: p.toml", SENTENCE],
    )


def test_a_broken_policy_is_not_judged(gate: Gate) -> None:
    Path("pyproject.toml").write_text("[tool.attnprobe.gate]\nlaest = 3\nsuits = []\n")
    code, lines = gate("--results", "r.json")
    assert code == 2
    assert lines[-1].startswith("Cannot judge: pyproject.toml: tool.attnprobe.gate.laest: unknown")
    assert "tool.attnprobe.gate.suits: unknown key" in lines[1]


def test_what_the_gate_prints_does_nothing_p33_p62(gate: Gate) -> None:
    hostile = "::error file=x::\x1b[31m\u202e\n::warning::y\r%0A"
    odd = case("c", "failed", file=hostile, expectations=(expectation("failed", message=hostile),))
    named = replace(MODEL, name=hostile)
    odd = replace(odd, model=hostile, suite=hostile)
    found = run(odd, models=(named,), environment={}, given=(hostile,))
    write_json(Path("r.json"), found.to_json())
    code, lines = gate("--results", "r.json")
    assert code == 1
    assert not [line for line in lines if line.lstrip().startswith("::")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x1b\u202e]", "".join(lines))
    assert lines[-1].startswith("Release blocked: in suite ")


def test_arguments_that_would_be_dropped_are_refused(gate: Gate) -> None:
    write_json(Path("r.json"), run(*many(5), environment={}).to_json())
    for arguments in (("cases",), ("-k", "x"), ("--keep", "k.json")):
        code, lines = gate("--results", "r.json", *arguments)
        assert code == 2
        assert "runs nothing, so it takes no" in lines[-1]
    code, lines = gate("cases", "--attn-json=x.json")
    assert code == 2
    assert "write --keep FILE" in lines[-1]


@pytest.mark.parametrize(
    "arguments",
    [("--attn-allow-pickle",), ("-o", "attn_allow_pickle=true"), ("-oattn_allow_pickle=1",)],
)
@pytest.mark.parametrize("where", ["arguments", "addopts"])
def test_the_gate_does_not_run_with_pickle_allowed_p27(
    gate: Gate, arguments: tuple[str, ...], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("conftest.py").write_text("open('ran', 'w').close()")
    if where == "addopts":
        monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(arguments))
        arguments = ()
    code, lines = gate(".", *arguments)
    assert code == 2
    assert "pickled weights" in lines[-1]
    assert not Path("ran").exists()


def test_the_run_of_the_gate_refuses_pickle_in_an_ini_file_p27(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("conftest.py").write_text(
        "import os\nopen('seen', 'w').write(os.environ['ATTNPROBE_NO_PICKLE'])\nos._exit(0)"
    )
    Path("pytest.ini").write_text("[pytest]\nattn_allow_pickle = true\n")
    gate(".")
    assert Path("seen").read_text() == "1"

    # What load does in such a run.
    from attnprobe.models import load

    Path("model").mkdir()
    Path("model/pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    monkeypatch.setenv("ATTNPROBE_NO_PICKLE", "1")
    with pytest.raises(ModelError, match=r"convert them to safetensors$"):
        load("model", allow_pickle=True)
    assert not Path("opened").exists()


@pytest.mark.parametrize("code", [0, 1])
def test_a_blocked_run_does_not_replace_the_baseline(gate: Gate, code: int) -> None:
    # A conftest.py stands in for the run: what it finds lies in found.json.
    write_json(Path("baseline.json"), run(*many(5)).to_json())
    write_json(Path("found.json"), run(*many(5, failed=code, duration_s=0.2)).to_json())
    before = Path("baseline.json").read_bytes()
    Path("p.toml").write_text(f'{LEAST}baseline = "baseline.json"')
    Path("conftest.py").write_text(
        "import os, shutil, sys\n"
        "shutil.copyfile('found.json', sys.argv[sys.argv.index('--attn-json') + 1])\n"
        f"os._exit({code})"
    )
    assert gate(".", "--policy=p.toml", "--keep=kept.json")[0] == code
    assert Path("kept.json").read_bytes() == Path("found.json").read_bytes()
    assert Path("baseline.json").read_bytes() == before
    Path("link.json").symlink_to("baseline.json")
    for keep in ("link.json", "baseline.json"):
        found = gate(".", "--policy=p.toml", f"--keep={keep}")
        assert found[0] == code
        assert (Path("baseline.json").read_bytes() == before) == bool(code)
        refused = Path(keep).with_suffix(".refused.json")
        assert refused.exists() == bool(code)
        note = f"note: the baseline {keep} stays as it was; the results are in {refused}"
        assert (note in found[1]) == bool(code)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--json=baseline.json",), "the policy's baseline"),
        (("--json=./link.json",), "the policy's baseline"),
        (("--json=k.json", "--keep=./k.json"), "the file of --keep"),
        (("--json=r.json", "--results=r.json"), "the file of --results"),
        (("--json=p.toml",), "the policy"),
        (
            ("--json=k.refused.json", "--keep=k.json"),
            "where --keep leaves what is refused",
        ),
    ],
)
def test_the_decision_is_written_over_nothing_else(
    gate: Gate, arguments: tuple[str, ...], what: str
) -> None:
    for name in ("baseline.json", "r.json"):
        write_json(Path(name), run(*many(5)).to_json())
    Path("link.json").symlink_to("baseline.json")
    before = {file: file.read_bytes() for file in Path().glob("*.json")}
    Path("p.toml").write_text(f'{LEAST}baseline = "baseline.json"')
    Path("conftest.py").write_text("open('ran', 'w').close()")
    where = () if "--results=r.json" in arguments else (".",)
    code, lines = gate(*where, "--policy=p.toml", *arguments)
    named = Path(arguments[0].partition("=")[2])
    assert code == 2
    assert lines[-1] == (
        f"Cannot judge: --json {named} is {what}; write the decision to a file of its own."
    )
    assert {file: file.read_bytes() for file in Path().glob("*.json")} == before
    assert Path("p.toml").read_text() == f'{LEAST}baseline = "baseline.json"'
    assert not Path("ran").exists()


def test_a_gate_that_is_killed_before_it_decides_leaves_the_baseline(gate: Gate) -> None:
    write_json(Path("baseline.json"), run(*many(5)).to_json())
    write_json(Path("found.json"), run(*many(5, failed=1)).to_json())
    before = Path("baseline.json").read_bytes()
    Path("p.toml").write_text(f'{LEAST}baseline = "baseline.json"')
    Path("conftest.py").write_text(
        "import os, shutil, sys\n"
        "shutil.copyfile('found.json', sys.argv[sys.argv.index('--attn-json') + 1])\n"
        "os._exit(1)"
    )
    killed = (
        "import os, attnprobe.cli, attnprobe.gate.release as gate\n"
        "gate.judge = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        "attnprobe.cli.app(['gate', '.', '--policy=p.toml', '--keep=baseline.json'])"
    )
    assert run_code(killed) == -9
    assert Path("baseline.json").read_bytes() == before


def test_the_run_of_the_gate_may_not_save_over_the_baseline(
    probe: Callable[..., pytest.RunResult],
    write_cases: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    pytester: pytest.Pytester,
) -> None:
    baseline = pytester.path / ".attnprobe" / "main.json"
    write_json(baseline, run(*many(5)).to_json())
    before = baseline.read_bytes()
    monkeypatch.setenv("ATTNPROBE_PROTECTED", str(baseline))
    for argument in (
        "--attn-save=main",
        "--attn-save=./.attnprobe/main.json",
        "-oattn_save=main",
    ):
        result = probe(argument)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines("*would replace the baseline of the gate's policy*")
    assert baseline.read_bytes() == before


def test_a_run_without_a_model_is_told_so(gate: Gate, write_cases: Callable[..., Path]) -> None:
    write_cases(FAILING)
    code, lines = gate(".", "-p", "no:hypothesispytest")
    assert code == 2
    assert lines[:2] == [
        "cannot judge: no model to probe was given",
        "  give one with --attn-model=NAME=REF, or by attn_model in the ini file",
    ]
    assert lines[-1] == "Cannot judge: no model to probe was given."


UNREAD = (
    "Cannot judge: pytest was interrupted, or could not read its case files or a baseline; its "
    "output above says why."
)


def test_a_fault_or_ctrl_c_is_no_verdict(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (KeyboardInterrupt(), RuntimeError("x")):

        def broken(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("attnprobe.run.pytest_run.subprocess.run", broken)
        code, lines = gate("cases")
        assert (code, lines[-1].startswith("Cannot judge: ")) == (2, True)


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_waived_check_does_not_hide_a_plugin_that_fails_the_run(
    gate: Gate, write_cases: Callable[..., Path], workers: tuple[str, ...]
) -> None:
    write_cases(FAILING)
    Path("p.toml").write_text(
        'least = 1\nown_loader = "allow"\nchance_max = 0.5\n'
        "[[waivers]]\ncase = '*::fails'\nreason = 'r'\nowner = 'o'\n"
        f"expires = {datetime.now(UTC).date() + timedelta(days=99)}\n"
    )
    options = (".", "--policy=p.toml", "--attn-model=tiny", "-p", "no:hypothesispytest", *workers)
    if workers:
        Path("conftest.py").write_text(LOADS_TINY)
        code, lines = gate(*options)
        assert (code, lines[-1].partition(" on tiny (")[0]) == (
            0,
            "Release may go: 1 attention check of 1 suite holds (1 more fails and is waived)",
        )
    Path("conftest.py").write_text(LOADS_TINY + LIKE_COV)
    code, lines = gate(*options)
    assert code == 2
    assert lines[-1].startswith("Cannot judge: pytest failed for 1 reason of its own; judged: ")
    assert lines[1].startswith("  pytest counts 1 failure more than it reported: a plugin failed")


@pytest.mark.parametrize(
    ("conftest", "arguments", "sentence"),
    [
        ("", ("--no-such-option",), "Cannot judge: pytest was called in a way it does not under"),
        ("", (".",), "Cannot judge: no attention check ran: pytest collected nothing."),
        ("def pytest_collection(): raise OSError", (".",), "Cannot judge: pytest had an internal"),
        ("import os; os.kill(os.getpid(), 9)", (".",), "Cannot judge: pytest was killed by sig"),
        ("import os; os._exit(0)", (".",), "Cannot judge: pytest left no results"),
        ("import pytest\ndef pytest_sessionstart(): raise KeyboardInterrupt", (".",), "Cannot jud"),
        ("", (".", "--attn-compare=no.json"), UNREAD),
        ("open('x.attn.yaml', 'w').write('{')", (".",), UNREAD),
    ],
)
def test_pytest_that_leaves_nothing_to_judge(
    gate: Gate, conftest: str, arguments: tuple[str, ...], sentence: str
) -> None:
    Path("conftest.py").write_text(conftest)
    code, lines = gate(*arguments, "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    assert code == 2
    assert lines[-1].startswith(sentence)
