"""Where weights come from and what they ran on: what the policy must allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnprobe.gate import Policy
from attnprobe.gate.reread import load_again
from attnprobe.models import LoadOptions
from attnprobe.results.files import write_json
from attnprobe.results.records import read_results
from tests.support.made_up_decisions import decide, kinds, many
from tests.support.made_up_results import MODEL, run, said


def test_weights_that_are_not_known_are_not_judged() -> None:
    found = run(*many(3), models=(replace(MODEL, weights_sha256=None),))
    decision = decide(found)
    assert (decision.exit_code, kinds(decision)) == (2, ["unknown weights"])
    assert decide(found, Policy(own_loader="allow")).exit_code == 0


def test_pickled_weights_are_refused_p27() -> None:
    decision = decide(run(*many(3), models=(replace(MODEL, weights_format="pickle"),)))
    assert (decision.exit_code, kinds(decision)) == (1, ["pickle"])


def test_remote_code_is_refused_p28() -> None:
    decision = decide(run(*many(3), models=(replace(MODEL, remote_code=True),)))
    assert (decision.exit_code, kinds(decision)) == (1, ["remote code"])


@pytest.mark.parametrize("asked", [None, "main", "b" * 39])
def test_a_hub_model_without_its_commit_is_refused_p29(asked: str | None) -> None:
    hub = replace(MODEL, ref="org/model", revision="b" * 40, asked_revision=asked)
    decision = decide(run(*many(3), models=(hub,)))
    assert (decision.exit_code, kinds(decision)) == (1, ["unpinned"])
    assert decision.reasons[0].details == (f"give --attn-revision {'b' * 40}",)
    pinned = replace(hub, asked_revision="b" * 40)
    assert decide(run(*many(3), models=(pinned,))).exit_code == 0


def test_a_model_of_the_projects_own_loader_wants_leave() -> None:
    own = run(*many(3), models=(replace(MODEL, weights_format=None, remote_code=None),))
    assert kinds(decide(own)) == ["own loader"]
    assert decide(own, Policy(own_loader="allow")).exit_code == 0


def test_number_types_and_devices_that_are_not_allowed() -> None:
    policy = Policy(dtypes=("float32", "bfloat16"), devices=("cuda",))
    assert kinds(decide(run(*many(3)), policy)) == ["device"]
    cuda = {"device": "cuda:1", "dtype": "float16"}
    assert kinds(decide(run(*many(3), environment=cuda), policy)) == ["dtype"]
    assert decide(run(*many(3), environment=cuda | {"dtype": "bfloat16"}), policy).exit_code == 0
    assert decide(run(*many(3), environment={}), policy).exit_code == 2


def test_each_model_is_held_against_the_number_types_and_devices() -> None:
    old = replace(MODEL, name="old", dtype="bfloat16", device="cpu")
    new = replace(MODEL, name="new", dtype="float32", device="cuda:0, cpu")
    cases = [*many(3, model="old"), *many(3, model="new")]
    policy = Policy(dtypes=("float32",), devices=("cpu",))
    for models in ((old, new), (new, old)):
        for told in ({"dtype": "float32", "device": "cpu"}, {}):
            made = run(*cases, models=models, environment=told, given=("old", "new"))
            decision = decide(made, policy)
            assert [reason.text for reason in decision.reasons] == [
                "model old was judged in bfloat16, the policy allows float32",
                "model new was judged on cuda:0, the policy allows cpu",
            ]
    made = run(*cases, models=(old, new), given=("old", "new"))
    assert decide(made, Policy(devices=("cpu", "cuda"))).exit_code == 0
    unknown = decide(run(*many(3), environment={}), policy)
    assert [reason.text for reason in unknown.reasons] == [
        "the results do not record the dtype of model minilm",
        "the results do not record the device of model minilm",
    ]


def test_results_from_before_models_told_where_they_ran_are_read(tmp_path: Path) -> None:
    older = run(*many(3)).to_json()
    for field in ("asked", "dtype", "device"):
        del older["models"][0][field]
    write_json(tmp_path / "r.json", older)
    assert read_results(tmp_path / "r.json") == run(*many(3))


@pytest.mark.parametrize(
    ("own", "environment", "wanted"),
    [
        ("bfloat16", {"dtype": "bfloat16, float32"}, "bfloat16"),
        (None, {"dtype": "float16"}, "float16"),
        (None, {}, "float32"),
    ],
)
def test_a_model_is_loaded_again_in_its_own_number_type(
    monkeypatch: pytest.MonkeyPatch, own: str | None, environment: dict[str, str], wanted: str
) -> None:
    asked: list[str] = []

    def load_model(_: str, options: LoadOptions) -> Any:
        asked.append(options.dtype)
        return MODEL

    monkeypatch.setattr("attnprobe.models.load_model", load_model)
    load_again(replace(MODEL, dtype=own), run(*many(3), environment=environment))
    assert asked == [wanted]


def test_another_model_than_was_given_wants_leave() -> None:
    other = replace(MODEL, asked="../broken")
    decision = decide(run(*many(3), models=(other,)))
    assert (decision.exit_code, kinds(decision)) == (1, ["own loader"])
    assert said(decision) == (
        "Release blocked: model minilm was given as ../broken, but the project's own loader "
        "loaded runs/best."
    )
    assert decision.reasons[0].details == ('allow it with own_loader = "allow" in the policy',)
    assert decide(run(*many(3), models=(other,)), Policy(own_loader="allow")).exit_code == 0
    same = replace(MODEL, asked=MODEL.ref)
    assert decide(run(*many(3), models=(same,))).exit_code == 0
