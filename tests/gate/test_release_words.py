"""What `attnprobe gate` says beside its verdict, word for word; the run is made up by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnprobe.core.errors import ResultsError
from attnprobe.gate.decision import read_decision
from attnprobe.gate.release import Judgement, Request, decide
from attnprobe.results.environment import environment
from attnprobe.results.files import write_json
from attnprobe.results.records import Results, read_results
from attnprobe.run.pytest_run import PytestRun
from tests.support.made_up_decisions import ON, case, many
from tests.support.made_up_results import MODEL, run

GIVEN = ("--attn-model=minilm=runs/best",)
OVER = "; write the decision to a file of its own."


class Pytest:
    """Stands in for the run of pytest, and notes how it was called."""

    def __init__(self) -> None:
        self.results: Results | None = run(*many(3))
        self.status = 0
        self.calls: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def __call__(self, arguments: Sequence[str], *, variables: Mapping[str, str]) -> PytestRun:
        self.calls.append((arguments, dict(variables)))
        return PytestRun(self.status, self.results)


@pytest.fixture
def pytest_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pytest:
    made = Pytest()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setattr("attnprobe.gate.release.run_pytest", made)
    (tmp_path / ".git").mkdir()  # the search for a policy ends here
    Path("p.toml").write_text("least = 1\n")
    return made


def request(*arguments: str, **options: Any) -> Request:
    paths = {name: Path(value) for name, value in options.items() if name != "init"}
    given = {} if "init" in options or "results" in options else {"policy": Path("p.toml")}
    init = {"init": True} if options.get("init") else {}
    return Request(arguments, **{**given, **paths, **init})


def lines(done: Judgement) -> list[str]:
    return [line.replace(ON, "MINILM") for line in done.decision.lines()]


def test_a_run_that_may_go(pytest_run: Pytest) -> None:
    done = decide(request("cases", *GIVEN))
    assert lines(done) == [
        "note: policy: p.toml",
        "Release may go: 3 attention checks of 1 suite hold on MINILM, none of them by chance.",
    ]
    assert done.results is pytest_run.results
    assert pytest_run.calls == [(("cases", *GIVEN), {"ATTNPROBE_NO_PICKLE": "1"})]


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (GIVEN, {"json": "p.toml"}, "--json p.toml is the policy" + OVER),
        (GIVEN, {"json": "k", "keep": "k"}, "--json k is the file of --keep" + OVER),
        (
            GIVEN,
            {"json": "k.refused.json", "keep": "k.json"},
            "--json k.refused.json is where --keep leaves what is refused" + OVER,
        ),
        ((), {"json": "r", "results": "r"}, "--json r is the file of --results" + OVER),
        (GIVEN, {"init": 1, "json": "k", "keep": "k"}, "--json k is the file of --keep" + OVER),
        (
            GIVEN,
            {"init": 1, "json": "pyproject.toml"},
            "--json pyproject.toml is the policy" + OVER,
        ),
        (GIVEN, {"json": "."}, ". is a folder, which is not replaced; name a file."),
        (
            ("cases",),
            {"results": "r.json", "policy": "p.toml"},
            "--results judges a file and runs nothing, so it takes no cases.",
        ),
        (
            ("cases", "-x"),
            {"results": "r.json", "policy": "p.toml", "keep": "k.json"},
            "--results judges a file and runs nothing, so it takes no cases -x --keep.",
        ),
        (
            (),
            {"init": 1, "results": "r.json"},
            "--init runs the suite and writes pyproject.toml, so it takes no --results.",
        ),
        (
            (),
            {"init": 1, "policy": "p.toml"},
            "--init runs the suite and writes pyproject.toml, so it takes no --policy.",
        ),
        (
            (),
            {"init": 1},
            "no candidate was given, so the run would judge the models of the ini file.",
        ),
        (
            (*GIVEN, "--attn-json=r.json"),
            {},
            "the gate has a results file of its own; write --keep FILE.",
        ),
        (
            (*GIVEN, "-oattn_allow_pickle=1"),
            {},
            "the gate opens no pickled weights, which can run code, so it takes no "
            "-oattn_allow_pickle=1; convert them to safetensors.",
        ),
        (
            (*GIVEN, "--attn-ignore-remote-code"),
            {},
            "the gate judges a model without the code that came with it only where its policy "
            'says remote_code = "ignore"; leave out --attn-ignore-remote-code.',
        ),
        (
            ("cases", "--attn-models"),
            {},
            "no candidate was given, so the run would judge the models of the ini file.",
        ),
    ],
)
def test_a_request_that_is_refused(
    pytest_run: Pytest, arguments: tuple[str, ...], options: dict[str, Any], said: str
) -> None:
    done = decide(request(*arguments, **options))
    assert (lines(done)[-1], done.results) == (f"Cannot judge: {said}", None)
    assert done.decision.reasons[0].kind == "error"
    assert pytest_run.calls == []
    assert not Path("k").exists()


def test_what_the_policy_or_init_allows_is_not_refused(
    pytest_run: Pytest, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p.toml").write_text('least = 1\nremote_code = "ignore"\ncandidate = "ini"\n')
    code = "--attn-ignore-remote-code"
    assert decide(request(code)).decision.exit_code == 0
    assert decide(request(code, *GIVEN, init=True)).decision.exit_code == 0
    Path("p.toml").write_text("least = 1\n")
    assert decide(request("--attn-model", "minilm=x")).decision.exit_code == 0
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-q {code}")
    said = f"leave out {code}."
    assert decide(request(*GIVEN)).decision.sentence.endswith(said)


def test_there_is_no_policy(pytest_run: Pytest) -> None:
    missing = [
        "cannot judge: there is no policy: no pyproject.toml here or above has "
        "[tool.attnprobe.gate], so nothing says what must be judged",
        "  write one: attnprobe gate --init, followed by the arguments of this run",
    ]
    assert lines(decide(Request(GIVEN)))[:-1] == missing
    Path("sub").mkdir()
    Path("sub/pyproject.toml").write_text("[tool.attnprobe.gate]\nleast = 1\n")
    Path("sub/below/.git").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("sub/below")
        hidden = (
            "  the policy of ../pyproject.toml is hidden by a nearer pyproject.toml or "
            "repository: run the gate there, or give --policy ../pyproject.toml"
        )
        assert lines(decide(Request(GIVEN)))[:-1] == [*missing, hidden]
        Path("pyproject.toml").write_text("[tool.attnprobe.gate]\n")
        assert lines(decide(Request(GIVEN)))[1] == "  it hides the policy of ../pyproject.toml"
    assert pytest_run.calls == []


def test_pytest_that_found_nothing_or_failed(pytest_run: Pytest) -> None:
    pytest_run.status = 1
    done = decide(request(*GIVEN))
    assert lines(done) == [
        "cannot judge: pytest failed, but for no attention check; its output above says why",
        "note: policy: p.toml",
        "Cannot judge: pytest failed, but for no attention check; its output above says why; "
        "judged: 3 attention checks of 1 suite on MINILM.",
    ]
    assert done.decision.reasons[0].kind == "pytest"
    # Blamed on a check, or judged already.
    pytest_run.results = run(*many(3, 1))
    assert [reason.kind for reason in decide(request(*GIVEN)).decision.reasons] == ["failed"]
    pytest_run.results = run(*many(3), case("e", "error"))
    assert [reason.kind for reason in decide(request(*GIVEN)).decision.reasons] == ["not measured"]
    pytest_run.results = run(*many(3), collected=4)
    assert [reason.kind for reason in decide(request(*GIVEN)).decision.reasons] == ["lost"]
    pytest_run.status, pytest_run.results = 5, None
    done = decide(request(*GIVEN))
    assert done.decision.reasons[0].kind == "pytest"
    assert lines(done)[-1] == ("Cannot judge: no attention check ran: pytest collected nothing.")


def test_a_run_without_a_model(pytest_run: Pytest) -> None:
    pytest_run.results = run(*many(2), case("e", "error", model=""), case("f", "skipped", model=""))
    assert lines(decide(request(*GIVEN))) == [
        "cannot judge: no model to probe was given",
        "  give one with --attn-model=NAME=REF, or by attn_model in the ini file",
        "note: policy: p.toml",
        "Cannot judge: no model to probe was given.",
    ]
    pytest_run.results = run(*many(2), case("f", "skipped", model=""))
    assert decide(request(*GIVEN)).decision.exit_code == 0


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (KeyboardInterrupt(), "interrupted", "the gate was interrupted"),
        (RuntimeError("no disk"), "fault", "RuntimeError: no disk"),
        (ResultsError("no file.\nmore"), "error", "no file"),
    ],
)
def test_a_gate_that_does_not_come_to_its_end(
    pytest_run: Pytest, monkeypatch: pytest.MonkeyPatch, error: BaseException, kind: str, said: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("attnprobe.gate.release.run_pytest", broken)
    done = decide(request(*GIVEN, json="d.json"))
    (reason,) = done.decision.reasons
    assert (reason.kind, reason.text, done.results) == (kind, said, None)
    assert read_decision(Path("d.json")) == (f"Cannot judge: {said}.", [])
    assert reason.details == (("more",) if kind == "error" else ())


def test_a_decision_that_cannot_be_written(
    pytest_run: Pytest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> None:
        raise ResultsError(f"{path}: cannot be written: disk full")

    pytest_run.results = run(*many(3, 1))
    monkeypatch.setattr("attnprobe.gate.release.write_json", full)
    done = decide(request(*GIVEN, json="d.json"))
    text = (
        "in suite coreference 1 of 3 attention checks of model minilm do not hold (allowed to "
        "fail: 0)"
    )
    assert lines(done) == [
        "cannot judge: d.json: cannot be written: disk full",
        f"note: blocked: {text}",
        "note:   cases/coref.attn.yaml:7: c0 on minilm: attends weight 0.680, demanded >= 0.300, "
        "by L3H1",
        "note: policy: p.toml",
        f"note: Release blocked: {text}; judged: 3 attention checks of 1 suite on MINILM.",
        "Cannot judge: d.json: cannot be written: disk full.",
    ]
    assert done.decision.reasons[0].kind == "error"
    assert done.results is pytest_run.results


def test_the_results_of_a_run_are_kept(pytest_run: Pytest) -> None:
    write_json(Path("b.json"), run(*many(3)).to_json())
    Path("p.toml").write_text('least = 1\nbaseline = "b.json"\n')
    before = Path("b.json").read_bytes()
    for failed, keep, kept in ((0, "k.json", "k.json"), (1, "k.json", "k.json"), (0, "b.json", "")):
        pytest_run.results = run(*many(3, failed, duration_s=0.5))
        done = decide(request(*GIVEN, keep=keep))
        assert done.decision.exit_code == failed
        assert [note for note in lines(done) if "stays as it was" in note] == []
        assert read_results(Path(keep)).to_json() == pytest_run.results.to_json()
        assert (Path("b.json").read_bytes() == before) == bool(kept)
    assert pytest_run.calls[0][1] == {
        "ATTNPROBE_NO_PICKLE": "1",
        "ATTNPROBE_PROTECTED": str(Path("b.json").resolve()),
    }
    before = Path("b.json").read_bytes()
    pytest_run.results = run(*many(3, 2))
    done = decide(request(*GIVEN, keep="b.json"))
    assert lines(done)[-3:-1] == [
        "note: the baseline b.json stays as it was; the results are in b.refused.json",
        "note: policy: p.toml",
    ]
    assert Path("b.json").read_bytes() == before
    assert read_results(Path("b.refused.json")).to_json() == pytest_run.results.to_json()


def test_results_are_judged_by_the_commit_that_is_checked_out(
    pytest_run: Pytest, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = {"git_commit": "a" * 40}
    monkeypatch.setattr("attnprobe.gate.release.environment", lambda: commit)
    write_json(Path("r.json"), run(*many(3)).to_json())
    done = decide(request(results="r.json", policy="p.toml"))
    assert lines(done)[-1].startswith("Release may go: 3 attention checks")
    assert done.results == run(*many(3))
    commit["git_commit"] = "b" * 40
    assert decide(request(results="r.json", policy="p.toml")).decision.reasons[0].kind == "commit"
    # A baseline that cannot be read is told before the run.
    Path("p.toml").write_text('least = 1\nbaseline = "no.json"\n')
    assert lines(decide(request(*GIVEN)))[-2:] == [
        "note: policy: p.toml",
        "Cannot judge: no.json: cannot be read: No such file or directory.",
    ]
    assert pytest_run.calls == []
    assert "git_commit" in environment()


POLICY = """\
[tool.attnprobe.gate]
suites = [
    "a.b",
    "coreference",
]
skipped = 0
advisory = 1
known_gaps = 1

[tool.attnprobe.gate.suite]
"a.b" = { least = 1 }
coreference = { least = 3 }
"""


def first_run() -> Results:
    hint = case("hint", severity="advisory", suite="hints")
    return run(*many(3), case("x", suite="a.b"), case("gap", "xfailed", suite="a.b"), hint)


@pytest.mark.parametrize("before", ["", "[project]\nname = 'x'\n", "[project]\nname = 'x'"])
def test_a_first_policy_is_written(pytest_run: Pytest, before: str) -> None:
    pytest_run.results = first_run()
    if before:
        Path("pyproject.toml").write_text(before)
    done = decide(request(*GIVEN, init=True, keep="k.json"))
    assert lines(done) == [
        "note: 1 attention check is a known gap",
        "note: the policy was written to pyproject.toml; the last line judges this run by it",
        "note: the policy does not demand suite hints: no check that could block was judged",
        "Release may go: 4 attention checks of 2 suites hold on MINILM, none of them by chance.",
    ]
    start = f"{before.rstrip()}\n\n" if before else ""
    assert Path("pyproject.toml").read_text() == start + POLICY
    assert read_results(Path("k.json")).to_json() == first_run().to_json()
    again = decide(request(*GIVEN, init=True))
    assert lines(again)[-1] == (
        "Cannot judge: --init writes a first policy, and pyproject.toml has one already."
    )
    assert len(pytest_run.calls) == 1


@pytest.mark.parametrize(
    ("made", "is_written"),
    [
        (run(*many(3), given=()), False),
        (run(*many(3), models=(replace(MODEL, ignored_code=("m.py",)),)), False),
        (run(*many(3, 2)), True),
        (run(*many(3), collected=4), False),
        (run(*many(3), case("e", "error")), False),
        (run(*many(3, severity="advisory")), False),
        (run(*many(3), given=(), collected=4), False),
    ],
)
def test_only_a_run_that_can_be_judged_makes_a_policy(
    pytest_run: Pytest, made: Results, is_written: bool
) -> None:
    pytest_run.results = made
    done = decide(request(*GIVEN, init=True))
    note = "note: no policy was written to pyproject.toml: this run could not be judged"
    assert (note in lines(done)) != is_written
    assert Path("pyproject.toml").exists() == is_written
