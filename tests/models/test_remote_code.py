"""Models that come with code of their own: refused, or measured without it and said so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen2Config

from attnprobe.core.errors import ModelError, ResultsError
from attnprobe.gate import Policy
from attnprobe.models import load
from attnprobe.mutants.damage import write_mutant
from attnprobe.mutants.kinds import Mutation
from attnprobe.results.card import card_yaml
from attnprobe.results.records import read_results
from attnprobe.results.summary import markdown
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up_decisions import decide, kinds, many
from tests.support.made_up_results import MODEL, run

OWN = {"AutoModel": "modeling_two_way.TwoWayModel"}
IGNORED = replace(MODEL, ignored_code=("config.json",))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 in a folder, which names no code of its own."""
    folder = tmp_path_factory.mktemp("models") / "qwen"
    tiny_network("qwen2").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def two_way(qwen: Path, tmp_path: Path) -> Path:
    """The same, released as a model that looks both ways by code of its own."""
    folder = Path(shutil.copytree(qwen, tmp_path / "two-way"))
    (folder / "modeling_two_way.py").write_text("raise SystemExit('this code ran')")
    update(folder / "config.json", auto_map=OWN)
    return folder


def update(path: Path, **values: Any) -> None:
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(found | values))


# At load -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [False, True])
def test_code_of_its_own_is_refused_though_the_type_is_known_p45(
    check: bool, two_way: Path
) -> None:
    with pytest.raises(
        ModelError,
        match=r"two-way comes with code of its own \(auto_map of config\.json: modeling_two_way\."
        r"TwoWayModel\).*--attn-ignore-remote-code \(pytest\) or --ignore-remote-code",
    ):
        load(str(two_way), check=check)


def test_ignored_code_is_reported_and_the_stock_class_is_loaded_p45(
    two_way: Path, qwen: Path
) -> None:
    model, plain = load(str(two_way), ignore_remote_code=True), load(str(qwen))
    assert (model.architecture, model.ignored_code) == ("Qwen2Model", ("config.json",))
    assert not model.remote_code
    assert plain.ignored_code == ()
    # A model without code of its own is not said to have lost any.
    assert load(str(qwen), ignore_remote_code=True, check=False).ignored_code == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "configuration_x.XConfig"}}),
        ("config.json", {"auto_map": {"AutoModel": "someone/other--modeling_x.XModel"}}),
        ("config.json", {"extra": [{"text_config": {"auto_map": OWN}}]}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, "tok.Tokenizer"]}}),
        ("tokenizer_config.json", {"auto_map": ["tok.Tokenizer", None]}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "processing_x.Processor"}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "image_x.Processor"}}),
        ("video_preprocessor_config.json", {"auto_map": {"AutoVideoProcessor": "video.V"}}),
    ],
)
def test_code_is_found_in_whichever_file_names_it_p45(
    name: str, value: dict[str, Any], qwen: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "own"))
    update(folder / name, **value)
    with pytest.raises(ModelError, match=rf"own comes with code of its own \(auto_map of {name}"):
        load(str(folder))
    assert load(str(folder), ignore_remote_code=True, check=False).ignored_code == (name,)


def test_a_configuration_for_newer_versions_counts_p45(qwen: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "own"))
    newer = shutil.copy(folder / "config.json", folder / "config.4.0.0.json")
    update(Path(newer), auto_map=OWN)
    # transformers reads it only where config.json names it.
    assert load(str(folder), check=False).ignored_code == ()
    update(folder / "config.json", configuration_files=["config.4.0.0.json"])
    with pytest.raises(ModelError, match=r"auto_map of config\.4\.0\.0\.json: modeling_two_way"):
        load(str(folder))


def test_code_of_a_tokenizer_counts_where_that_tokenizer_is_used_p45(
    qwen: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(qwen, tmp_path / "own"))
    update(own / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "tok.Tokenizer"]})
    assert load(str(own), tokenizer=str(qwen), check=False).ignored_code == ()
    with pytest.raises(ModelError, match=r"own comes with code .*auto_map of tokenizer_config"):
        load(str(qwen), tokenizer=str(own))


@pytest.mark.parametrize("value", [{}, []])
def test_an_empty_auto_map_names_no_code(value: Any, qwen: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "plain"))
    update(folder / "config.json", auto_map=value)
    assert load(str(folder), check=False).ignored_code == ()


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("kind", ["two_way", None, ["qwen2"]])
def test_a_type_that_transformers_lacks_stays_refused_p45(
    ignore: bool, kind: Any, two_way: Path
) -> None:
    update(two_way / "config.json", model_type=kind)
    with pytest.raises(ModelError, match=r"no class for its model type .* so it cannot be"):
        load(str(two_way), ignore_remote_code=ignore)


def test_an_unknown_type_without_code_is_one_sentence_p45(qwen: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "unknown"))
    update(folder / "config.json", model_type="two_way")
    with pytest.raises(ModelError, match=r"cannot be loaded: .*model type `two_way`") as refused:
        load(str(folder))
    assert "\n" not in str(refused.value)


def test_a_mutant_is_made_only_of_a_model_that_can_be_measured_p45(
    qwen: Path, two_way: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="comes with code of its own"):
        write_mutant(str(two_way), Mutation("resave"), tmp_path / "mutant")
    write_mutant(str(two_way), Mutation("resave"), tmp_path / "mutant", ignore_remote_code=True)
    assert Qwen2Config.from_pretrained(tmp_path / "mutant").auto_map == OWN


# In a run ----------------------------------------------------------------------------------------

CASES = """
    version: 1
    suite: s
    cases:
      - id: a
        text: the cat
        expect: [entropy: {from: cat, heads: L0H0, max: 3, min: 0.0001}]
"""


@pytest.mark.parametrize("by", ["option", "ini"])
def test_a_run_and_its_results_report_ignored_code_p45(
    by: str, two_way: Path, pytester: pytest.Pytester
) -> None:
    pytester.makefile(".attn.yaml", x=CASES)
    given = ["--attn-ignore-remote-code"] if by == "option" else []
    if by == "ini":
        pytester.makeini("[pytest]\nattn_ignore_remote_code = true")
    done = pytester.runpytest_inprocess(
        "-p", "no:hypothesispytest", f"--attn-model=m={two_way}", "--attn-json=r.json", *given
    )
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(
        [
            "attnprobe: warning: code that comes with a model is ignored*",
            "attnprobe: m comes with code of its own, which was ignored: measured is "
            "transformers' Qwen2Model, which may attend differently",
        ]
    )
    found = read_results(pytester.path / "r.json")
    assert found.models[0].ignored_code == ("config.json",)
    assert "without its own code" in markdown(found)


def test_code_of_a_model_is_an_error_of_its_cases_p45(
    two_way: Path, pytester: pytest.Pytester
) -> None:
    pytester.makefile(".attn.yaml", x=CASES)
    done = pytester.runpytest_inprocess("-p", "no:hypothesispytest", f"--attn-model=m={two_way}")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*two-way comes with code of its own*"])


def test_the_commands_take_the_option_to_ignore_code_p45(
    two_way: Path, attn: Callable[..., tuple[int, str]]
) -> None:
    with pytest.raises(ModelError, match="comes with code of its own"):
        attn("models", two_way)
    code, printed = attn("models", two_way, "--ignore-remote-code")
    assert code == 0
    assert "Qwen2Model" in printed


# In the gate -------------------------------------------------------------------------------------


def test_the_gate_needs_its_policy_to_allow_ignored_code_p45() -> None:
    found = run(*many(3), models=(IGNORED,))
    decision = decide(found)
    assert (decision.exit_code, kinds(decision)) == (2, ["ignored code"])
    allowed = decide(found, Policy(remote_code="ignore"))
    assert allowed.exit_code == 0
    assert f"the code that came with {MODEL.name} was not run" in allowed.sentence
    plain = decide(run(*many(3)), Policy(remote_code="ignore"))
    assert "the code that came" not in plain.sentence


def test_the_gate_does_not_ignore_code_by_option_alone_p45(
    attn: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("conftest.py").write_text("open('ran', 'w').close()")
    Path("pyproject.toml").write_text("[tool.attnprobe.gate]\nleast = 1\n")
    code, printed = attn("gate", ".", "--attn-model=x", "--attn-ignore-remote-code")
    assert code == 2
    assert 'its policy says remote_code = "ignore"' in printed
    monkeypatch.setenv("PYTEST_ADDOPTS", "-o attn_ignore_remote_code=1")
    code, printed = attn("gate", ".", "--attn-model=x")
    assert code == 2
    assert 'its policy says remote_code = "ignore"' in printed
    assert not Path("ran").exists()


def test_no_card_is_written_of_another_model_p45() -> None:
    with pytest.raises(ResultsError, match="measured without the code that comes with it"):
        card_yaml(run(*many(3), models=(IGNORED,)))
