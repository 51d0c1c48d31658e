"""A gate has a policy and a candidate, or it does not judge; `--init` writes the first policy."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from attnprobe import cli
from attnprobe.core.errors import PolicyError
from attnprobe.gate import (
    Policy,
    Waiver,
    append_policy,
    find_policy,
    first_policy,
    read_policy,
    undemanded,
)
from attnprobe.results.environment import environment
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, read_results
from tests.support.inner_runs import SLOW, TinyModels
from tests.support.made_up_decisions import TODAY, decide
from tests.support.made_up_results import MODEL, case, expectation, run

Gate = Callable[..., tuple[int, list[str]]]
TABLE = "[tool.attnprobe.gate]\n"
HOLDS = "ignores: {from: barks, to: dog, max: 0.99}"
FAILS = "attends: {from: barks, to: dog, min: 0.99}"


def suite_file(name: str, suite: str, *stated: str, more: str = "") -> Path:
    """A case file of one case for each expectation, each on a text of its own."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["version: 1", f"suite: {suite}", "defaults: {heads: mean}", "cases:"]
    for number, rule in enumerate(stated):
        lines += [f"  - id: c{number}", f"    text: {'The ' * number + 'dog barks.'}"]
        lines += [*([f"    {more}"] if more else []), "    expect:", f"      - {rule}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def gate(pytester: pytest.Pytester, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The gate in an empty folder; its run takes place in this process, on a tiny model."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def inner(command: list[str], **_: object) -> SimpleNamespace:
        arguments = [*SLOW, "-p", "no:cacheprovider", *command[3:]]
        done = pytester.runpytest_inprocess(*arguments, plugins=[tiny])
        return SimpleNamespace(returncode=int(done.ret))

    def invoke(*arguments: object) -> tuple[int, list[str]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("attnprobe.run.pytest_run.subprocess.run", inner)
            result = CliRunner().invoke(cli.app, ["gate", *map(str, arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout.splitlines()

    return invoke


def results(**changes: Any) -> None:
    """Writes r.json, of a run in which all held."""
    made = run(*(case(f"c{n}") for n in range(3)), environment=environment(), **changes)
    write_json(Path("r.json"), made.to_json())


# A policy, or exit 2


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (None, "", "there is no policy: no pyproject.toml here or above has [tool.attnprobe.gate]"),
        ("pyproject.toml", "", "there is no policy"),
        ("pyproject.toml", "[project]\nname = 'x'\n", "there is no policy"),
        ("pyproject.toml", TABLE, "demands nothing: it has neither suites nor least"),
        ("pyproject.toml", TABLE + "skipped = 0\nsuites = []\n", "demands nothing"),
        ("pyproject.toml", TABLE + "[tool.attnprobe.gate.suite.a]\npass_rate = 0.9\n", "demands n"),
        *(
            ("pyproject.toml", f"[{header}]\nleast = 1\n", "did you mean [tool.attnprobe.gate]?")
            for header in (
                "tool-attnprobe.gate",
                "tools.attnprobe.gate",
                "attnprobe.gate",
                "tool.attnprobe-gate",
                "tool.attn-probe.gate",
                "tool.attentionprobe.gate",
                "Tool.Attnprobe.Gate",
                "'tool.attnprobe.gate'",
                "tool.'attnprobe.gate'",
                "project.tool.attnprobe.gate",
                "attnprobe",
                "tool.gate",
                "gate",
                "tools.attnprobe.gate.suite.a",
            )
        ),
        ("pyproject.toml", "[tool.attnprobe.gates]\nleast = 1\n", "did you mean 'gate'?"),
        ("pyproject.toml", TABLE + "least = 1\n[tools.attnprobe.gate]\nskipped = 0\n", "did you m"),
        *(
            (file, f"[{header}]\nleast = 1\n", "is not read by the gate; write [tool.attnprobe.ga")
            for file in ("setup.cfg", "tox.ini", "pytest.ini")
            for header in ("tool.attnprobe.gate", "attnprobe.gate", "tool:attnprobe.gate")
        ),
    ],
)
def test_no_policy_is_not_judged_p57(gate: Gate, file: str | None, text: str, told: str) -> None:
    results()
    if file is not None:
        Path(file).write_text(text)
    code, lines = gate("--results", "r.json")
    assert code == 2
    assert told in lines[-1]
    if "there is no policy" in told:
        assert "attnprobe gate --init" in lines[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "skipped = 0\n",
        "[tools.attnprobe.gate]\nleast = 1\n",
        "[tool.attnprobe.gate]\nleast = 1",
    ],
)
def test_a_policy_file_of_its_own_is_one_too_p57(gate: Gate, text: str) -> None:
    results()
    Path("p.toml").write_text(text)
    assert gate("--results", "r.json", "--policy", "p.toml")[0] == 2
    Path("p.toml").write_text("least = 3\n")
    assert gate("--results", "r.json", "--policy", "p.toml")[0] == 0


def test_tables_of_other_tools_are_no_slips(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.poetry.dependencies]\nattnprobe = {path = '..'}\n[tool.uv.sources]\n"
        "attnprobe = {path = '..'}\n[tool.tox.env.attnprobe-gate]\ncommands = []\n"
        "[tool.hatch.envs.gate]\n[[tool.mypy.overrides]]\nmodule = 'attnprobe.*'\n"
        + TABLE
        + "least = 3\n"
    )
    (tmp_path / "tox.ini").write_text("[tox]\n[testenv:gate]\n[testenv:attnprobe]\n[pytest]\n")
    policy = find_policy(tmp_path).policy
    assert policy is not None
    assert policy.least == 3


@pytest.mark.parametrize("nearer", ["", "[project]\nname = 'x'\n", TABLE, TABLE + "skipped = 0\n"])
def test_a_nearer_file_hides_no_policy_p57(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, nearer: str
) -> None:
    Path("pyproject.toml").write_text(TABLE + "least = 9\n")
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    results()
    assert "note: policy: ../pyproject.toml" in gate("--results", "r.json")[1]
    Path("pyproject.toml").write_text(nearer)
    code, lines = gate("--results", "r.json")
    assert code == 2
    assert [line for line in lines if "the policy of ../pyproject.toml" in line], lines


# The first policy


def test_init_demands_what_was_judged_p57(gate: Gate) -> None:
    suite_file("cases/a.attn.yaml", "a", HOLDS, HOLDS, HOLDS)
    suite_file("cases/b.attn.yaml", "b.c", HOLDS.replace("0.99", "0.98"))
    suite_file("cases/gaps.attn.yaml", "a", FAILS, FAILS, more="xfail: not yet")
    suite_file("cases/hints.attn.yaml", "hints", HOLDS, more="severity: advisory")
    before = b"# ours\r\n[project]\r\nname = 'x'  # no newline"
    Path("pyproject.toml").write_bytes(before)
    code, lines = gate("--init", "cases", "--attn-model=tiny", "--keep=kept.json")
    # The network of these tests is built by a loader of their own, which wants leave.
    assert (code, lines[-1][:15]) == (1, "Release blocked"), lines[-20:]
    assert "own loader" in lines[-1]
    after = Path("pyproject.toml").read_bytes()
    assert after.startswith(before + b"\r\n\r\n[tool.attnprobe.gate]\r\n")
    assert after.replace(b"\r\n", b"").count(b"\n") == 0
    assert tomllib.loads(after.decode())["tool"]["attnprobe"]["gate"] == {
        "suites": ["a", "b.c"],
        "skipped": 0,
        "advisory": 1,
        "known_gaps": 2,
        "suite": {"a": {"least": 3}, "b.c": {"least": 1}},
    }
    assert [line for line in lines if "does not demand suite hints" in line]
    assert len(read_results(Path("kept.json")).cases) == 7
    # Where a policy stands it is refused.
    code, lines = gate("--init", "cases", "--attn-model=tiny")
    assert (code, Path("pyproject.toml").read_bytes()) == (2, after)
    assert lines[-1].endswith("--init writes a first policy, and pyproject.toml has one already.")


@pytest.mark.parametrize(
    "text", [TABLE + "least = 1\n", TABLE, "[tools.attnprobe.gate]\n", "x = {"]
)
def test_init_leaves_a_file_that_has_a_policy_or_is_broken(gate: Gate, text: str) -> None:
    suite_file("a.attn.yaml", "a", HOLDS)
    Path("pyproject.toml").write_text(text)
    code, _ = gate("--init", ".", "--attn-model=tiny")
    assert (code, Path("pyproject.toml").read_text()) == (2, text)
    assert not list(Path().glob(".pyproject*"))


def test_a_run_that_cannot_be_judged_makes_no_policy(gate: Gate) -> None:
    suite_file("a.attn.yaml", "a", HOLDS, "ignores: {from: barks, to: dog, heads: L77H1, max: 0.9}")
    code, lines = gate("--init", ".", "--attn-model=tiny")
    assert code == 2
    assert "note: no policy was written to pyproject.toml: this run could not be judged" in lines
    assert not Path("pyproject.toml").exists()
    for option in ("--results=r.json", "--policy=p.toml"):
        code, lines = gate("--init", option)
        assert (code, "so it takes no --" in lines[-1]) == (2, True)


@pytest.mark.parametrize("text", ["tool = {}\n", "[tool]\nattnprobe = {}\n"])
def test_a_file_that_no_table_can_be_added_to_stays(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(text)
    with pytest.raises(PolicyError, match=r"add it by hand:\n\[tool.attnprobe.gate\]"):
        append_policy(file, first_policy(run(case("a"))))
    assert file.read_text() == text


@pytest.mark.parametrize(
    "suite", ["a.b", 'say "hi"', "\u00e9\\\U0001f600", "tab\tdel\x7f", "a-b_1"]
)
def test_names_of_suites_are_quoted_where_they_must(tmp_path: Path, suite: str) -> None:
    file = tmp_path / "pyproject.toml"
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    append_policy(link, first_policy(run(case("a", suite=suite))))
    policy = read_policy(file)
    assert (policy.suites, policy.suite[suite].least) == ((suite,), 1)
    assert link.is_symlink()


def test_the_first_policy_counts_the_model_with_fewest() -> None:
    models = (MODEL, MODEL.__class__(**vars(MODEL) | {"name": "other"}))
    cases = [
        case(f"c{n}", model=name) for name, of in (("minilm", 5), ("other", 4)) for n in range(of)
    ]
    cases += [case("only", suite="s", model="minilm"), case("c9", "failed", model="other")]
    made = first_policy(run(*cases, models=models, given=("minilm", "other")))
    # A failed check was judged; a suite that one of the models never ran is not demanded.
    assert {name: own.least for name, own in made.suite.items()} == {"coreference": 5}


@pytest.mark.parametrize("key", ["skipped", "advisory", "known_gaps"])
def test_more_than_the_first_run_had_blocks_p57(gate: Gate, key: str) -> None:
    odd = {
        "skipped": case("x", "skipped"),
        "advisory": case("x", severity="advisory"),
        "known_gaps": case("x", "xfailed", expectation("failed", observed=0.1)),
    }[key]
    write_json(Path("r.json"), run(case("a"), odd, environment=environment()).to_json())
    for most, code in ((1, 0), (0, 1)):
        Path("p.toml").write_text(f"least = 1\n{key} = {most}\n")
        found, lines = gate("--results", "r.json", "--policy=p.toml")
        assert found == code, lines
    assert f"({0} may be)" in lines[-1]


# A candidate


def test_the_models_of_the_ini_file_are_no_candidate_p58(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite_file("a.attn.yaml", "a", HOLDS)
    Path("p.toml").write_text("least = 1\nown_loader = 'allow'\n")
    Path("pytest.ini").write_text("[pytest]\nattn_model = old=tiny\n")
    code, lines = gate(".", "--policy=p.toml")
    assert (code, "no candidate was given" in lines[-1]) == (2, True)
    assert gate(".", "--policy=p.toml", "--attn-model", "new=tiny")[0] == 0
    # Options of every run name no candidate of this one.
    monkeypatch.setenv("PYTEST_ADDOPTS", "--attn-model=old=tiny")
    assert gate(".", "--policy=p.toml")[0] == 2
    Path("p.toml").write_text('least = 1\nown_loader = "allow"\ncandidate = "ini"\n')
    assert gate(".", "--policy=p.toml")[0] == 0


@pytest.mark.parametrize("given", [(), ("minilm",)])
def test_results_record_whether_a_candidate_was_given_p58(
    gate: Gate, given: tuple[str, ...]
) -> None:
    results(given=given)
    Path("p.toml").write_text("least = 1\n")
    assert gate("--results", "r.json", "--policy=p.toml")[0] == (0 if given else 2)
    Path("p.toml").write_text('least = 1\ncandidate = "ini"\n')
    assert gate("--results", "r.json", "--policy=p.toml")[0] == 0


@pytest.mark.parametrize("outcome", ["passed", "failed", "error"])
def test_the_last_line_names_what_was_judged_p58(gate: Gate, outcome: str) -> None:
    other = MODEL.__class__(
        **vars(MODEL) | {"name": "b", "ref": "runs/b", "weights_sha256": "cd" * 32}
    )
    cases = [case("a"), case("a", model="b"), case("c", outcome), case("d", suite="s", model="b")]
    found = run(*cases, models=(other, MODEL), given=("b", "minilm"), environment=environment())
    write_json(Path("r.json"), found.to_json())
    Path("p.toml").write_text("least = 1\n")
    _, lines = gate("--results", "r.json", "--policy=p.toml")
    count = 3 if outcome == "error" else 4
    named = (
        f"{count} attention checks of 2 suites "
        f"{'hold ' if outcome == 'passed' else ''}on b (runs/b, sha256 cdcdcdcdcdcd) and minilm "
        "(runs/best, sha256 abababababab)"
    )
    assert named in lines[-1]


def test_a_suite_of_a_model_that_may_be_absent_is_not_missed(gate: Gate) -> None:
    suite_file("a.attn.yaml", "a", HOLDS)
    suite_file("b.attn.yaml", "b", HOLDS, more="model: other")
    policy = "suites = ['a', 'b']\nown_loader = 'allow'\n"
    for absent, code in (("['other']", 0), ("[]", 2)):
        Path("p.toml").write_text(f"{policy}absent_models = {absent}\n")
        found, lines = gate(".", "--attn-model=tiny", "--policy=p.toml")
        assert found == code, lines


# What was lost


POLICY = """
suites = ["a", "b"]
skipped = 0
advisory = 0
known_gaps = 0
own_loader = "allow"
chance_max = 0.5
[suite.a]
least = 2
[suite.b]
least = 2
"""
B = "cases/sub/b.attn.yaml"


def below_testpaths() -> None:
    Path("pytest.ini").write_text("[pytest]\ntestpaths = cases\n")
    Path("cases/dist").mkdir()
    Path(B).rename("cases/dist/b.attn.yaml")


@pytest.fixture
def lossy(gate: Gate) -> Gate:
    """The gate of a project with two suites, of which the second fails on the model."""
    suite_file("cases/a.attn.yaml", "a", HOLDS, HOLDS)
    suite_file(B, "b", FAILS, FAILS)
    table = POLICY.replace("[suite", "[tool.attnprobe.gate.suite")
    Path("pyproject.toml").write_text(f"{TABLE}{table}")

    def run_gate(*arguments: object) -> tuple[int, list[str]]:
        return gate(*arguments, "--attn-model=tiny")

    return run_gate


def test_without_an_accident_the_failure_is_seen(lossy: Gate) -> None:
    code, lines = lossy("cases")
    assert (code, "in suite b 2 of 2 attention checks" in lines[-1]) == (1, True)


def test_what_was_not_collected_is_named_and_may_be_let_go_p57(lossy: Gate) -> None:
    for name in ("cases/build/old.attn.yaml", "cases/.venv/x.attn.yaml", "cases/.git/y.attn.yaml"):
        suite_file(name, "old", HOLDS)
    Path("cases/.venv/pyvenv.cfg").write_text("")
    code, lines = lossy("cases")
    assert code == 2
    assert "  cases/build/old.attn.yaml" in lines
    assert not [line for line in lines if ".venv" in line or ".git/" in line]
    policy = Path("pyproject.toml")
    text = policy.read_text()
    for pattern, code in (("cases/build/*", 1), ("*/old.attn.yaml", 1), ("build/*", 2)):
        policy.write_text(text.replace(TABLE, f"{TABLE}uncollected = ['{pattern}']\n"))
        assert lossy("cases")[0] == code
    assert "note: not collected, as the policy allows: cases/build/old.attn.yaml" in (
        policy.write_text(policy.read_text().replace("'build/*'", "'cases/build/*'")),
        *lossy("cases")[1],
    )


@pytest.mark.parametrize("pattern", ["*", "**/*", "*.attn.yaml", "**"])
def test_a_pattern_that_lets_every_file_go_is_refused(tmp_path: Path, pattern: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(f"least = 1\nuncollected = ['{pattern}']\n")
    with pytest.raises(PolicyError, match="would let every case file go"):
        read_policy(file)


@pytest.mark.parametrize("pattern", [".", "./", "cas*", "**/cases", "{here}/cases", "{here}/c*"])
def test_testpaths_are_read_as_pytest_reads_them_p57(lossy: Gate, pattern: str) -> None:
    below_testpaths()
    suite_file("elsewhere/build/c.attn.yaml", "c", HOLDS)
    Path("pytest.ini").write_text(f"[pytest]\ntestpaths = {pattern.format(here=Path.cwd())}\n")
    code, lines = lossy()
    assert code == 2
    assert "  cases/dist/b.attn.yaml" in lines
    assert ("  elsewhere/build/c.attn.yaml" in lines) == pattern.startswith("."), lines


def test_results_tell_what_was_not_collected(lossy: Gate) -> None:
    suite_file("cases/build/old.attn.yaml", "old", HOLDS)
    Path("p.toml").write_text(
        "least = 1\nown_loader = 'allow'\nchance_max = 0.5\npass_rate = 0.5\n"
    )
    lossy("cases", "--keep=r.json", "--policy=p.toml")
    found = read_results(Path("r.json"))
    assert found.uncollected == ("cases/build/old.attn.yaml",)
    # A file of an older version does not tell.
    older = found.to_json()
    del older["uncollected"]
    write_json(Path("r.json"), older)
    assert read_results(Path("r.json")).uncollected is None
    code, lines = lossy_results()
    assert (code, "do not say which case files" in "".join(lines)) == (2, True)


def lossy_results() -> tuple[int, list[str]]:
    result = CliRunner().invoke(cli.app, ["gate", "--results=r.json", "--policy=p.toml"])
    return result.exit_code, result.stdout.splitlines()


def test_a_folder_that_cannot_be_read_is_told(lossy: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cases/build").mkdir()
    scan = os.scandir

    def refused(path: Any = ".") -> Any:
        if str(path).endswith("build"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    code, lines = lossy("cases")
    assert code == 2
    assert "  cases/build/: the folder cannot be read" in lines


# The same check twice


@pytest.mark.parametrize("name", ["loop", "zz"])
def test_a_file_reached_twice_through_links_is_judged_once_p59(lossy: Gate, name: str) -> None:
    Path("cases", name).symlink_to(".")
    Path("cases/again").symlink_to("sub")
    Path("cases/c.attn.yaml").symlink_to("a.attn.yaml")
    code, lines = lossy("cases", "--keep=r.json")
    assert code == 1, lines[-10:]
    files = [item.file for item in read_results(Path("r.json")).cases]
    assert sorted(files) == ["cases/a.attn.yaml"] * 2 + ["cases/again/b.attn.yaml"] * 2


SAME = {
    "a copy": HOLDS,
    "another spelling": "ignores: {max: 9.9e-1, to: {word: dog}, from: {word: barks, nth: 1}}",
    "characters": "ignores: {from: {chars: [4, 9]}, to: {chars: [0, 3]}, max: 0.99}",
    "all heads by their layers": "ignores: {from: barks, to: dog, max: 0.99, heads: "
    "{in: [L0, L1, L2], how: mean}}",
}
OTHER = {
    "another bound": "ignores: {from: barks, to: dog, max: 0.98}",
    "another word": "ignores: {from: dog, to: barks, max: 0.99}",
    "another head": "ignores: {from: barks, to: dog, max: 0.99, heads: L0H0}",
    "another rule": "attends: {from: barks, to: dog, max: 0.99}",
}


@pytest.mark.parametrize("stated", [*SAME, *OTHER])
def test_a_check_that_equals_another_counts_once_p59(gate: Gate, stated: str) -> None:
    is_same = stated in SAME
    rule = (SAME | OTHER)[stated]
    suite_file("a.attn.yaml", "a", HOLDS)
    Path("b.attn.yaml").write_text(
        "version: 1\nsuite: b\ndefaults: {heads: mean}\ncases:\n"
        f"  - id: other\n    text: dog barks.\n    expect:\n      - {rule}\n"
    )
    for least in (1, 2):
        Path("p.toml").write_text(f"least = {least}\nown_loader = 'allow'\nchance_max = 0.5\n")
        code, lines = gate(".", "--attn-model=tiny", "--policy=p.toml")
        assert code == (2 if is_same and least == 2 else 0), lines[-10:]
    note = "note: counted once: b.attn.yaml:5: other on tiny states what a.attn.yaml:5: c0 on tiny "
    assert (f"{note}states" in lines) == is_same
    count = "1 attention check of 1 suite" if is_same else "2 attention checks of 2 suites"
    assert count in lines[-1]


def stated(id: str, *digests: str | None, outcome: Any = "passed", **changes: Any) -> CaseResult:
    observed = 0.1 if outcome == "failed" else 0.68
    entries = tuple(
        expectation(outcome, check_sha256=digest, observed=observed) for digest in digests
    )
    return case(id, outcome, expectations=entries, **changes)


@pytest.mark.parametrize(
    ("cases", "count"),
    [
        ([stated("a", "x"), stated("b", "x")], 1),
        ([stated("a", "x", "y"), stated("b", "y", "x")], 1),
        ([stated("a", "x"), stated("b", "x", "y")], 1),  # the one with more counts
        ([stated("a", "x", "y"), stated("b", "y", "z")], 2),
        ([stated("a", "x", "y"), stated("b", "y", "z"), stated("c", "x", "z")], 2),
        ([stated("a", None), stated("b", None)], 2),  # of an older version
        ([stated("a", "x"), stated("b", "x", suite="s", file="z.attn.yaml")], 1),
        ([stated("a", "x"), stated("b", "x", severity="advisory")], 1),
    ],
)
def test_equal_checks_count_once_p59(cases: list[CaseResult], count: int) -> None:
    decision = decide(run(*cases))
    assert (decision.exit_code, decision.checks, decision.holding) == (0, count, count)
    assert decide(run(*cases), Policy(least=count)).exit_code == 0
    assert decide(run(*cases), Policy(least=count + 1)).exit_code == 2
    assert first_policy(run(*cases)).suite["coreference"].least == count


def test_equal_checks_on_two_models_are_two_p59() -> None:
    cases = [stated("a", "x"), stated("a", "x", model="b")]
    other = MODEL.__class__(**vars(MODEL) | {"name": "b"})
    found = run(*cases, models=(MODEL, other), given=("minilm", "b"))
    assert decide(found, Policy(least=1)).holding == 2


def test_no_copy_hides_a_failure_p59() -> None:
    cases = [stated("a", "x"), stated("b", "x", outcome="failed"), stated("c", "x")]
    decision = decide(run(*cases))
    assert decision.exit_code == 1
    assert "1 of 1 attention checks" in decision.sentence
    # A waiver of the copy excuses nothing of the check itself.
    waiver = Waiver(case="*::b", reason="r", owner="o", expires=TODAY)
    waived = decide(run(*cases[:2]), Policy(waivers=(waiver,)))
    assert (waived.exit_code, waived.holding) == (0, 1)
    assert decide(run(*cases[:2]), Policy(waivers=(waiver,), least=2)).exit_code == 2


def test_a_suite_of_copies_alone_is_missed_p59() -> None:
    copies = [stated(id, id, suite="smoke", file="s.attn.yaml") for id in ("a", "b")]
    found = run(stated("a", "a"), stated("b", "b"), *copies)
    decision = decide(found, Policy(suites=("coreference", "smoke")))
    assert (decision.exit_code, decision.reasons[0].kind) == (2, "missing suite")
    assert [note for note in decision.notes if "s.attn.yaml:7: a on minilm states what" in note]
    assert undemanded(found) == ["smoke"]
