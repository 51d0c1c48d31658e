"""All commands that write files: what each is called with, and what it writes.

A command runs in a fork, in a folder of its own with a tiny model, results, cases and a corpus.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.main import get_command

from attnprobe.core.parts import Part
from attnprobe.relations.stream import CorpusStream
from attnprobe.results.files import write_json
from attnprobe.results.records import PartRecord
from attnprobe.scan.corpora import Corpora, CorpusRef
from attnprobe.scan.output import Output
from attnprobe.scan.session import Options, Scan, in_process
from attnprobe.scan.state import STATE
from tests.support.forks import fork, use_forks
from tests.support.made_up_decisions import case, expectation
from tests.support.made_up_results import run

OLD_JSON = b'{"schema": "attnprobe/old"}\n'
OLD_CARD = b"---\nlicense: mit\n---\n\n# \xe6\xa8\xa1\xe5\x9e\x8b\n"
TEXT = "\u94a5\u5319 the keys are old"
CASES = f"""version: 1
suite: pronouns
cases:
  - id: keys
    text: {TEXT}
    expect: [{{attends: {{from: keys, to: old, heads: L0H0, min: 0.0001}}}}]
"""
POLICY = "least = 1\nchance_max = 0.5\ncommit = 'any'\n"
CORPUS = "text\tfrom-start\tfrom-end\tto-start\tto-end\trelation\n" + "".join(
    f"{TEXT} {number}\t3\t6\t7\t11\tdet\n" for number in range(4)
)


@dataclass(frozen=True)
class Writer:
    """A command that writes.

    Attributes:
        arguments: of the command; `pytest` first is a run with the plugin.
        old: what lies there before, as an earlier run has left it.
        code: its exit code.
        variables: of its environment.
        parts: whether the command reads parts of a scan.
    """

    arguments: tuple[str, ...]
    old: Mapping[str, bytes] = field(default_factory=dict)
    code: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    parts: bool = False


class Done(NamedTuple):
    """An exit code and what was printed."""

    code: int
    stdout: str
    stderr: str


_PYTEST = ("pytest", "cases", "--attn-model=tiny=model", "-q")
_MODEL = ("model", "--device", "cpu")
# By the option, or the argument, that names what is written.
WRITERS: Mapping[str, Writer] = {
    "schema --output": Writer(("schema", "-o", "out.json"), {"out.json": b"old"}),
    "init folder": Writer(("init", "first")),
    "summary --output": Writer(("summary", "r.json", "-o", "out.md"), {"out.md": b"old"}),
    "summary --comment": Writer(
        ("summary", "r.json", "--comment", "x", "-o", "out.md"), {"out.md": b"old"}
    ),
    "summary GITHUB_STEP_SUMMARY": Writer(
        ("summary", "r.json"), variables={"GITHUB_STEP_SUMMARY": "out.md"}
    ),
    "card --card": Writer(("card", "r.json", "--card", "README.md"), {"README.md": OLD_CARD}),
    "compare --json": Writer(
        ("compare", "r.json", "b.json", "--json", "out.json"), {"out.json": OLD_JSON}
    ),
    "compare --html": Writer(
        ("compare", "r.json", "b.json", "--html", "out.html"), {"out.html": b"old"}
    ),
    "history --json": Writer(
        ("history", "r.json", "b.json", "--json", "out.json"), {"out.json": OLD_JSON}
    ),
    "history --html": Writer(
        ("history", "r.json", "b.json", "--html", "out.html"), {"out.html": b"old"}
    ),
    "show --output": Writer(
        ("show", *_MODEL, TEXT, "--heads", "L0H0", "-o", "out.html"), {"out.html": b"old"}
    ),
    "find --output": Writer(
        ("find", *_MODEL, "\u94a5\u5319 the [from keys] are [to old]", "-o", "out.attn.yaml"),
        {"out.attn.yaml": b"old"},
    ),
    "mutate --out": Writer(("mutate", "model", "--kind", "resave", "--out", "variant")),
    "mutants --page": Writer(
        ("mutants", "cases", "--model", "model", "--page", "out.md"), {"out.md": b"old"}, code=1
    ),
    "scan --output --lock": Writer(
        ("scan", *_MODEL, "--corpus", "c.tsv", "--min-arcs=1", "-o", "scan", "--lock", "l.json"),
        {"l.json": b'{"schema": "attnprobe/lock-1", "heads": {}}'},
    ),
    "scan merge --output --lock": Writer(
        ("scan", "merge", "part-1", "part-2", "-o", "scan", "--lock", "l.json"),
        {"l.json": b'{"schema": "attnprobe/lock-1", "heads": {}}'},
        parts=True,
    ),
    "merge --output": Writer(
        ("merge", "1.json", "2.json", "-o", "out.json"), {"out.json": OLD_JSON}
    ),
    "gate --json": Writer(
        ("gate", "--results", "r.json", "--policy", "p.toml", "--json", "out.json"),
        {"out.json": OLD_JSON},
    ),
    "gate --keep": Writer(
        ("gate", *_PYTEST[1:], "--policy", "p.toml", "--keep", "out.json"),
        {"out.json": OLD_JSON},
        code=1,
    ),
    "gate --init": Writer(
        ("gate", "--init", *_PYTEST[1:]), {"pyproject.toml": b"[tool.x]\n"}, code=1
    ),
    "pytest --attn-json --attn-save": Writer(
        (*_PYTEST, "--attn-json=out.json", "--attn-save=main"), {"out.json": OLD_JSON}
    ),
    "pytest --html": Writer(
        (*_PYTEST, "--html=report.html", "--attn-explorer=all", "--attn-figures=all")
    ),
}


def part(index: int) -> PartRecord:
    """One of two parts of a run."""
    return PartRecord(index, 2, 2, "0" * 64, {}, {}, 0, (), (), (), ())


@functools.cache
def parts_of_a_scan(model: Path) -> Mapping[str, bytes]:
    """The states of two parts of a scan of c.tsv, by their folders."""
    import attnprobe

    loaded = attnprobe.load(str(model), device="cpu")
    found = {}
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name, "c.tsv")
        corpus.write_text(CORPUS, encoding="utf-8")
        for index in (1, 2):
            refs = [CorpusRef("c.tsv", corpus, [CorpusStream(corpus, "c.tsv")])]
            own = Corpora.inspect(refs, Part(index, 2), block=2)
            options = Options(min_arcs=1, output=Output(Path(name, str(index))))
            scan = Scan(loaded, own, options, in_process(loaded))
            scan.begin(resume=False)
            list(scan.go_on())
            (state,) = scan.finish()
            found[f"part-{index}"] = state.read_bytes()
    return found


def furnish(folder: Path, model: Path, writer: Writer) -> None:
    """Puts what the commands read into a folder, and what an earlier run of the writer left."""
    folder.mkdir()
    (folder / "model").symlink_to(model)
    (folder / "cases").mkdir()
    (folder / "cases" / "\u94a5\u5319.attn.yaml").write_text(CASES, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "p.toml").write_text(POLICY, encoding="utf-8")
    (folder / "c.tsv").write_text(CORPUS, encoding="utf-8")
    if writer.parts:
        for name, state in parts_of_a_scan(model).items():
            (folder / name).mkdir()
            (folder / name / STATE).write_bytes(state)
    for index in (1, 2):
        found = replace(run(case("\u94a5\u5319", expectations=(expectation(),))), part=part(index))
        if index == 2:
            found = replace(found, cases=(), collected=0)
        write_json(folder / f"{index}.json", found.to_json())
    for name in ("r.json", "b.json"):
        write_json(
            folder / name, run(case("\u94a5\u5319", expectations=(expectation(),))).to_json()
        )
    for name, content in writer.old.items():
        (folder / name).write_bytes(content)


def run_writer(
    writer: Writer, folder: Path, *, before: Callable[[], object] = lambda: None
) -> Done:
    """Runs a command in a fork; `before` is called there first."""
    return start_writer(writer, folder, before=before)()


def start_writer(
    writer: Writer, folder: Path, *, before: Callable[[], object] = lambda: None
) -> Callable[[], Done]:
    """Starts a command in a fork; what is returned waits for its end."""
    _commands()
    (read_out, out), (read_err, err) = os.pipe(), os.pipe()
    child = fork(functools.partial(_body, writer, folder, before), stdout=out, stderr=err)
    os.close(out)
    os.close(err)

    def wait() -> Done:
        with os.fdopen(read_out, "rb") as stdout, os.fdopen(read_err, "rb") as stderr:
            printed, said = stdout.read(), stderr.read()
        _, status = os.waitpid(child, 0)
        texts = (text.decode("utf-8", "replace") for text in (printed, said))
        return Done(os.waitstatus_to_exitcode(status), *texts)

    return wait


@functools.cache
def _commands() -> object:
    """All commands with their options, which take a tenth of a second to make in each fork."""
    from attnprobe.cli import app

    return get_command(app)


def _body(writer: Writer, folder: Path, before: Callable[[], object]) -> int:
    from attnprobe.cli import main

    os.chdir(folder)
    os.environ.update(writer.variables)
    warnings.resetwarnings()  # they are errors in the test process
    command, *arguments = writer.arguments
    with pytest.MonkeyPatch.context() as patch:
        use_forks(patch)
        patch.setattr("typer.main.get_command", lambda _: _commands())
        before()
        if command == "pytest":
            return int(pytest.main(["-p", "no:hypothesispytest", "-p", "no:anyio", *arguments]))
        sys.argv = ["attnprobe", *writer.arguments]
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0
