"""Runs without pytest: the same verdicts, numbers and records as `pytest --attn-json`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe import run_cases
from attnprobe.core.errors import CaseError, CaseErrors, ModelError, ResultsError
from attnprobe.results.records import Results, read_results
from attnprobe.results.summary import in_words
from attnprobe.rules import RULES
from attnprobe.run.selection import name_test
from tests.support.demo_models import MINILM
from tests.support.plugin_cases import BOTH, NAMED, ROWS, SKIPPED, Run, Write

if TYPE_CHECKING:
    from attnprobe.models import Model
    from tests.support.inner_runs import TinyModels

CASES = Path(__file__).parents[2] / "cases"
UNSURE = """
- id: vacuous
  text: The big dog barks at the old men of the sea.
  expect:
    - attends: {from: barks, to: dog, min: 0.001}
- id: closed-gap
  text: The dog barks.
  xfail: known
  expect:
    - ignores: {from: barks, to: dog, max: 0.99}
- id: of-a-scan
  text: The dog barks.
  expect:
    - attends: {from: barks, to: dog, min: 0.001, heads: "@looks"}
- id: no-such-head
  text: The dog barks.
  expect:
    - attends: {from: barks, to: dog, min: 0.1, heads: L9H9}
"""

# Three arcs from one word to each of the three others: one of them is right, whatever the weights.
CORPUS = "".join(
    json.dumps(
        {
            "text": text,
            "arcs": [{"from": list(sang), "to": list(to), "relation": "any"} for to in others],
        }
    )
    + "\n"
    for text, sang, *others in (
        ("The dog barks.", (8, 13), (0, 3), (4, 7), (13, 14)),
        ("The seal sang.", (9, 13), (0, 3), (4, 8), (13, 14)),
        ("Old men saw her", (8, 11), (0, 3), (4, 7), (12, 15)),
        ("Some cats slept.", (10, 15), (0, 4), (5, 9), (15, 16)),
    )
)
RELATIONS = """
version: 1
suite: of-arcs
defaults: {heads: L0H1}
relations:
  - id: holds
    from_corpus: {jsonl: data/x.jsonl, relation: any}
    least: 12
    expect: {accuracy: 0.2}
  - id: fails
    from_corpus: {jsonl: data/x.jsonl, relation: any}
    least: 12
    expect: {accuracy: 0.2, above_best_offset: 0.1}
"""


def plain(results: Results) -> dict[str, Any]:
    """The content of the results file without its times."""
    data: dict[str, Any] = json.loads(json.dumps(results.to_json()))
    for record in (*data["cases"], *data["relations"]):
        del record["duration_s"]
    return data


@pytest.fixture
def suite(pytester: pytest.Pytester, write_cases: Write) -> None:
    """All that a run can meet, in several files, some of which it leaves out."""
    named = NAMED.replace("id: plain", "id: first").replace("model: other", "model: tiny", 1)
    write_cases(BOTH + ROWS + UNSURE, name="cases/a.attn.yaml", head="severity: advisory\n")
    write_cases(SKIPPED + NAMED, name="cases/deep/b.attn.yaml", head="marks: [slow]\n")
    write_cases(named, name="cases/deep/c.attn.yaml")
    write_cases(NAMED, name="cases/.hidden/d.attn.yaml")
    write_cases(NAMED, name="cases/e.attn.yml")
    heads = {"heads": ["L1H1"], "model": "m", "revision": None, "weights_sha256": "ab" * 32}
    lock = {"schema": "attnprobe/lock-1", "heads": {"looks": heads}}
    Path("attnprobe.lock.json").write_text(json.dumps(lock))
    Path("cases/data").mkdir()
    Path("cases/data/x.jsonl").write_text(CORPUS)
    Path("cases/relations.attn.yaml").write_text(RELATIONS)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["cases"], {}),
        (["cases", "--attn-strict", "--attn-chance-max=1"], {"strict": True, "chance_max": 1}),
        (["cases/a.attn.yaml", "--attn-nearest"], {"nearest": True}),
        (["cases", "-k", "fails or (gap and not slow)"], {"select": "fails or (GAP and not slow)"}),
        (["cases/deep", "-k", "named"], {"paths": "cases/deep", "select": "named"}),
        (["cases/deep", "-k", "later", "--attn-strict"], {"select": "later", "strict": True}),
        (["cases/deep/c.attn.yaml"], {"paths": Path("cases/deep/c.attn.yaml")}),
    ],
)
def test_the_records_are_those_of_pytest(
    suite: None, probe: Run, tiny: TinyModels, arguments: list[str], options: dict[str, Any]
) -> None:
    paths = options.pop("paths", arguments[0])
    found = run_cases(tiny.model, paths, **options)
    probe(*arguments, "--attn-json=theirs.json")
    assert plain(found) == plain(read_results(Path("theirs.json")))
    found.write("ours.json")
    assert plain(read_results(Path("ours.json"))) == plain(found)
    assert all(record.duration_s >= 0 for record in found.items)


def test_the_suite_has_all_that_a_run_can_meet(suite: None, tiny: TinyModels) -> None:
    found = run_cases(tiny.model, root=".")
    counts = found.summary()
    assert all(counts[key] for key in ("passed", "failed", "error", "skipped", "xfailed"))
    assert counts["vacuous"]
    assert {record.outcome for record in found.relations} == {"passed", "failed"}
    assert found.absent
    assert found.uncollected == ("cases/.hidden/d.attn.yaml", "cases/e.attn.yml")
    assert repr(found).startswith(f"<Results: {counts['collected']} collected, ")
    (closed,) = (record for record in found.cases if record.id == "closed-gap")
    assert closed.outcome == "failed"
    (scanned,) = (record for record in found.cases if record.id == "of-a-scan")
    assert [chosen.name for chosen in scanned.expectations[0].head_sets] == ["looks"]


@pytest.mark.parametrize("names", [("agreement", "possessives"), ("relations",)])
def test_so_they_are_on_the_shipped_suites(
    names: tuple[str, ...], minilm: Model, pytester: pytest.Pytester
) -> None:
    shutil.copytree(CASES / "data", "cases/data")
    for name in names:
        shutil.copy(CASES / f"{name}.attn.yaml", "cases")

    class Hands:
        def pytest_attn_load_model(self) -> Model:
            return minilm

    pytester.runpytest_inprocess(
        f"--attn-model={minilm.name}={MINILM}", "--attn-json=theirs.json", plugins=[Hands()]
    )
    theirs = plain(read_results(Path("theirs.json")))
    assert theirs["summary"]["passed"]
    assert plain(run_cases(minilm)) == theirs


def test_a_case_is_chosen_by_a_function(suite: None, tiny: TinyModels) -> None:
    found = run_cases(tiny.model, select=lambda case: case.row == "dog")
    assert [record.name for record in found.items] == ["rows[dog]"]
    assert in_words(found).startswith("1 attention check holds, ")


def test_several_paths_are_read_once_each(suite: None, tiny: TinyModels) -> None:
    found = run_cases(tiny.model, ["cases/deep/c.attn.yaml", Path("cases/deep")])
    assert sorted(record.nodeid for record in found.items) == [
        "cases/deep/b.attn.yaml::gap",
        "cases/deep/b.attn.yaml::later",
        "cases/deep/b.attn.yaml::plain",
        "cases/deep/c.attn.yaml::first",
        "cases/deep/c.attn.yaml::named",
    ]


def test_a_fault_of_a_rule_is_an_error_of_its_case_alone(
    suite: None, tiny: TinyModels, probe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*_: Any) -> Any:
        raise ZeroDivisionError("of a rule")

    monkeypatch.setattr(RULES["ignores"], "judge", judge)
    found = run_cases(tiny.model, "cases/deep")
    errors = {record.id: record.error for record in found.cases if record.error}
    assert errors == dict.fromkeys(("plain", "named", "first"), "ZeroDivisionError: of a rule")
    probe("cases/deep", "--attn-json=theirs.json")
    assert plain(found) == plain(read_results(Path("theirs.json")))


# What it refuses ----------------------------------------------------------------------------------


def test_an_error_in_a_case_file_has_its_place(
    pytester: pytest.Pytester, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(BOTH.replace("to: barks", "to: cat"))
    with pytest.raises(CaseErrors, match=r"x\.attn\.yaml:\d+:\d+: .*cat"):
        run_cases(tiny.model, "x.attn.yaml")
    with pytest.raises(CaseError, match=r"nothing\.attn\.yaml"):
        run_cases(tiny.model, "nothing.attn.yaml")


def test_what_is_no_model_is_refused(suite: None, tiny: TinyModels) -> None:
    given: Any = tiny.model.network
    with pytest.raises(ModelError, match=r"not a BertModel; .*attnprobe\.from_network make one$"):
        run_cases(given)


def test_a_lock_file_that_is_named_must_be_there(suite: None, tiny: TinyModels) -> None:
    with pytest.raises(ResultsError, match=r"there is no file other\.json"):
        run_cases(tiny.model, lock="other.json")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "it ends too early in ''"),
        ("a and", "it ends too early in 'a and'; write names with and, or"),
        ("a b", "'b' is unexpected"),
        ("(a", "ends too early"),
        ("a)", r"'\)' is unexpected"),
        ("a & b", "'&' is unexpected"),
        ("not", "ends too early"),
    ],
)
def test_a_wrong_expression_says_where(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        name_test(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "a",
        "A and b",
        "not a",
        "a or b and not c",
        "(a or b) and c",
        "not (a or x) or c",
        "not not b",
    ],
)
def test_an_expression_means_what_it_means_in_python(expression: str) -> None:
    test: Callable[[list[str]], bool] = name_test(expression)
    for place in range(8):
        names = [letter for digit, letter in enumerate("abc") if place >> digit & 1]
        known = {letter: letter in names for letter in "abcx"} | {"A": "a" in names}
        assert test(names) == bool(eval(expression, known)), names
