"""The callback for transformers' Trainer, in real trainings of a small decoder.

Each word is to be followed by the word before it, so a head must learn to look one word back.
"""

from __future__ import annotations

import copy
import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from attnprobe.compare.history import read_history
from attnprobe.core.errors import CaseErrors, MeasureError, ModelError
from attnprobe.integrations import ProbeCallback
from attnprobe.models import Model, from_network
from attnprobe.results.records import read_results
from attnprobe.run.in_process import run_cases

WORDS = ("dog", "cat", "sun", "sea", "old", "red", "man", "boy", "map", "key", "bus", "toy")
STEPS = 24
SUITE = """
version: 1
suite: previous
defaults: {heads: L0H0}
cases:
  - id: looks-back
    template: dog cat sun sea old red
    rows:
      - {from: sun, to: cat}
      - {from: sea, to: sun}
      - {from: red, to: old}
    expect:
      - attends: {from: "{from}", to: "{to}", min: 0.5}
  - id: never
    xfail: no head looks two words back
    text: map key bus toy man
    expect:
      - attends: {from: man, to: bus, min: 0.9}
"""


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(("<pad>", "<unk>", *WORDS))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", model_max_length=16
    )


class Sentences(torch.utils.data.Dataset[dict[str, list[int]]]):
    def __init__(self, count: int) -> None:
        draw = random.Random(1)
        self.rows = [[draw.randrange(2, 2 + len(WORDS)) for _ in range(12)] for _ in range(count)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        row = self.rows[index]
        # The label of a position is compared with what the position before it predicts.
        return {"input_ids": row, "labels": [-100, -100, *row[:-2]]}


class Last(TrainerCallback):
    """A reporter of the Trainer's own: what it is given, and the loss that was logged."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        self.seen.append(dict(logs))


def trainer(
    *callbacks: TrainerCallback, steps: int = STEPS, adapter: Any = None, **options: Any
) -> Trainer:
    set_seed(3)
    config = GPT2Config(
        vocab_size=2 + len(WORDS),
        n_positions=16,
        n_embd=32,
        n_layer=1,
        n_head=1,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    values = {
        "output_dir": "out",
        "max_steps": steps,
        "per_device_train_batch_size": 64,
        "learning_rate": 2e-2,
        "logging_steps": 10,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 3,
        **options,
    }
    network = GPT2LMHeadModel(config)
    return Trainer(
        model=network if adapter is None else get_peft_model(network, adapter),
        args=TrainingArguments(**values),
        train_dataset=Sentences(2048),
        eval_dataset=Sentences(64),
        processing_class=tokenizer(),
        callbacks=list(callbacks),
    )


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cases").mkdir()
    Path("cases/previous.attn.yaml").write_text(SUITE)


def weight(network: Any, text: str, query: int, key: int) -> float:
    """The attention of the only head, as transformers' eager attention gives it."""
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        inputs = tokenizer()(text, return_tensors="pt")
        maps = network.eval()(**inputs, output_attentions=True).attentions
    return float(maps[0][0, 0, query, key])


def logged(history: list[dict[str, Any]], name: str) -> dict[int, float]:
    return {entry["step"]: entry[name] for entry in history if name in entry}


def test_the_step_at_which_a_relation_appears(capsys: pytest.CaptureFixture[str]) -> None:
    callback, reporter = ProbeCallback(every=4, name="mine"), Last()
    training = trainer(callback, reporter)
    training.train()
    history = training.state.log_history
    rates = logged(history, "attnprobe/previous/pass_rate")
    assert list(rates) == [*range(0, STEPS + 1, 4)]
    assert (rates[0], rates[STEPS]) == (0, 1)
    appears = min(step for step, rate in rates.items() if rate == 1)
    weights = training.model.num_parameters()
    with capsys.disabled():
        print(f"\n{weights} weights: the relation appears at step {appears}")  # noqa: T201
    assert 0 < appears < STEPS

    files = sorted(Path("out/attnprobe").glob("*.json"))
    assert [file.name for file in files] == [f"step-{step:06d}.json" for step in rates]
    found = [read_results(file) for file in files]
    held = [sum(case.outcome == "passed" for case in results.cases) / 3 for results in found]
    assert held == list(rates.values())
    (last,) = found[-1].models
    assert last.name == "mine"
    assert last.weights_sha256 == model(training).weights_sha256
    assert len({results.models[0].weights_sha256 for results in found}) == len(found)
    assert found[-1].to_json()["cases"][0]["expectations"] == plain(training)[0]["expectations"]

    slacks = logged(history, "attnprobe/previous/mean_slack")
    (line,) = read_history("out").suites
    assert [count and count.pass_rate for count in line.counts] == held
    assert [count and count.mean_slack for count in line.counts] == list(slacks.values())
    slack = slacks[STEPS]
    text = "dog cat sun sea old red"
    seen = [weight(training.model, text, *places) for places in ((2, 1), (3, 2), (5, 4))]
    assert slack == pytest.approx(sum(seen) / 3 - 0.5, abs=1e-5)
    assert logged(history, "attnprobe/previous/vacuous")[STEPS] == 0
    # A reporter is given what the history has, and the loss of the steps that were probed.
    assert [one.get("loss") for one in reporter.seen if "loss" in one] == [
        entry["loss"] for entry in history if "loss" in entry
    ]
    assert {10, 20} == set(logged(history, "loss"))
    assert [
        one["attnprobe/previous/pass_rate"] for one in reporter.seen if "attnprobe/seconds" in one
    ]
    seconds = logged(history, "attnprobe/seconds")
    assert sum(seconds.values()) == pytest.approx(callback.seconds)
    assert history[-1]["attnprobe/seconds_in_all"] == callback.seconds
    assert 0 < history[-1]["attnprobe/share_of_training"] < 1
    assert json.loads(json.dumps(history)) == history


def model(training: Trainer) -> Model:
    return from_network(training.model, tokenizer(), name="mine")


def plain(training: Trainer) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = run_cases(model(training)).to_json()["cases"]
    return cases


def test_the_training_is_the_same_without_it() -> None:
    options = {"eval_strategy": "steps", "eval_steps": 5, "steps": 12}
    with_it = trainer(ProbeCallback(), ProbeEverySecond(every=2), **options)
    without = trainer(**options)
    for training in (with_it, without):
        set_seed(5)
        training.train()
    left, right = with_it.model.state_dict(), without.model.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in right)
    for name in ("loss", "eval_loss", "grad_norm"):
        found = logged(with_it.state.log_history, name)
        assert found
        assert found == logged(without.state.log_history, name)
    probed = logged(with_it.state.log_history, "attnprobe/seconds")
    assert {0, 2, 4, 5, 6, 8, 10, 12} == set(probed)


class ProbeEverySecond(ProbeCallback):
    """Of another class, since a Trainer warns of two callbacks of one class."""


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # within peft
def test_the_training_of_a_lora_is_probed_with_its_adapter() -> None:
    adapter = LoraConfig(target_modules=["c_attn"], r=8, lora_alpha=64)
    training = trainer(ProbeCallback(every=2, name="mine"), steps=4, adapter=adapter)
    training.train()
    adapted = training.model
    assert adapted.training
    assert all(one.requires_grad == ("lora_" in name) for name, one in adapted.named_parameters())
    first, last = (read_results(Path(f"out/attnprobe/step-00000{step}.json")) for step in (0, 4))
    merged = copy.deepcopy(adapted).merge_and_unload()
    text = "dog cat sun sea old red"
    with adapted.disable_adapter():
        base = weight(copy.deepcopy(adapted.get_base_model()), text, 2, 1)
    found = [
        next(one for one in results.cases if one.row == "sun-cat").expectations[0].deciding.observed
        for results in (first, last)
    ]
    assert found == pytest.approx([base, weight(merged, text, 2, 1)], abs=1e-5)
    assert abs(found[1] - found[0]) > 1e-3


def test_it_probes_at_evaluations_by_default() -> None:
    callback = ProbeCallback(folder="kept")
    training = trainer(callback, steps=6, eval_strategy="steps", eval_steps=3)
    training.train()
    assert [file.name for file in sorted(Path("kept").glob("*.json"))] == [
        "step-000000.json",
        "step-000003.json",
        "step-000006.json",
    ]
    assert callback.results is not None
    assert callback.results.models[0].name == "out"


def test_an_evaluation_without_a_training_is_probed() -> None:
    callback = ProbeCallback()
    trainer(callback).evaluate()
    assert callback.results is not None
    assert Path("out/attnprobe/step-000000.json").exists()


# Stopping, and errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "stop_on", "steps"),
    [("blocking", "blocking", 2), ("advisory", "blocking", 6), ("blocking", None, 6)],
)
def test_it_stops_where_it_is_asked_to(
    severity: str, stop_on: Any, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    hard = SUITE.replace("min: 0.5", "min: 0.9999").replace(
        "suite:", f"severity: {severity}\nsuite:"
    )
    Path("cases/previous.attn.yaml").write_text(hard)
    training = trainer(ProbeCallback(every=2, stop_on=stop_on), steps=6)
    training.train()
    assert training.state.global_step == steps
    line = "training stops at step 2: cases/previous.attn.yaml::looks-back[sun-cat], "
    assert (line in caplog.text) == (steps == 2)


def test_a_known_gap_stops_nothing() -> None:
    text = SUITE.replace("    template:", "    xfail: not yet\n    template:")
    Path("cases/previous.attn.yaml").write_text(text.replace("min: 0.5", "min: 0.9999"))
    training = trainer(ProbeCallback(every=2, stop_on="blocking"), steps=6)
    training.train()
    assert training.state.global_step == 6


def failing(*_: Any, **__: Any) -> Any:
    raise MeasureError("no memory\nis left")


def test_an_error_while_probing_is_logged_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("attnprobe.integrations.run_suite", failing)
    callback = ProbeCallback(every=2)
    training = trainer(callback, steps=4)
    training.train()
    assert callback.failures == 3
    assert callback.results is None
    assert logged(training.state.log_history, "attnprobe/failures") == {0: 1, 2: 2, 4: 3}
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "attnprobe: nothing was judged at step 4: MeasureError: no memory" in warned


def test_an_error_while_probing_ends_the_training_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnprobe.integrations.run_suite", failing)
    with pytest.raises(MeasureError, match="no memory"):
        trainer(ProbeCallback(every=2, on_error="raise"), steps=4).train()


def test_what_is_wrong_is_said_before_the_first_step() -> None:
    Path("cases/previous.attn.yaml").write_text(SUITE.replace("min: 0.5", "min: 2"))
    with pytest.raises(CaseErrors, match=r"previous\.attn\.yaml:\d+:\d+: "):
        ProbeCallback()
    Path("cases/previous.attn.yaml").write_text(SUITE)
    training = trainer(ProbeCallback(), steps=4)
    training.callback_handler.processing_class = None
    with pytest.raises(ModelError, match="needs a tokenizer: give it tokenizer="):
        training.train()
    assert training.state.global_step == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is a number of steps from 1, not 0"),
        ({"stop_on": "all"}, "stop_on is 'blocking' or None, not 'all'"),
        ({"on_error": "ignore"}, "on_error is 'warn' or 'raise'"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeCallback(**options)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_training_of_an_adapter_is_probed_with_it() -> None:
    callback = ProbeCallback(every=2, name="mine")
    training = trainer(callback, steps=4)
    options = LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    training.model = training.model_wrapped = get_peft_model(training.model, options)
    training.callback_handler.model = training.model
    training.train()
    assert callback.results is not None
    bounds = [case.expectations[0].deciding for case in callback.results.cases]
    text = "dog cat sun sea old red"
    merged = training.model.merge_and_unload()
    seen = [weight(merged, text, *places) for places in ((2, 1), (3, 2), (5, 4))]
    found = [bound.observed for bound in bounds if bound is not None]
    assert found[:3] == pytest.approx(seen, abs=1e-5)


def test_another_process_probes_nothing() -> None:
    callback = ProbeCallback(every=2)
    training = trainer(callback, steps=2)
    training.state.is_world_process_zero = False
    callback.on_train_begin(training.args, training.state, training.control, model=training.model)
    training.state.global_step = 2
    callback.on_step_end(training.args, training.state, training.control)
    assert callback.results is None
    assert not Path("out/attnprobe").exists()


def test_without_a_trainer_the_history_has_the_numbers() -> None:
    callback = ProbeCallback(tokenizer=tokenizer())
    training = trainer(steps=2)
    callback.on_train_begin(training.args, training.state, training.control, model=training.model)
    assert logged(training.state.log_history, "attnprobe/previous/pass_rate") == {0: 0}


def test_a_network_in_parts_is_refused() -> None:
    network: Any = trainer().model
    network.lm_head.weight.ds_id = 1
    with pytest.raises(ModelError, match=r"is divided among processes .*hand over the gathered"):
        from_network(network, tokenizer(), name="mine")
