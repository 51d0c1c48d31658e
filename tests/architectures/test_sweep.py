"""A sample of the sweep over transformers' architectures; `make breadth` runs all of it."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.needs import Need
from attnprobe.core.texts import Encoding, Sample
from attnprobe.models import Model, attention_function, layout
from attnprobe.rules import parse_rule
from tests.architectures import sweep
from tests.architectures.__main__ import main
from tests.architectures.small import small_config
from tests.architectures.sweep import BAR, OUTCOMES, Family, examine
from tests.architectures.tiny import random_network, tiny_network, tiny_tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"

# One of each kind of attention, of each way of being served, and of each reason to refuse.
SAMPLE = {
    "bert": (),
    "bart": ("encoder-decoder",),
    "t5": ("encoder-decoder", "relative positions"),
    "t5gemma": ("encoder-decoder", "grouped queries", "sliding window", "soft cap"),
    "llama": ("grouped queries",),
    "mistral": ("grouped queries", "sliding window"),
    "gemma2": ("grouped queries", "sliding window", "soft cap"),
    "gemma3_text": ("grouped queries", "sliding window"),
    "modernbert": ("sliding window",),
    "phimoe": ("grouped queries", "sliding window"),
    "gpt_oss": ("grouped queries", "sliding window", "sinks"),
    "inkling_text": ("grouped queries", "sliding window"),
    "deepseek_v2": ("latent attention",),
    "deepseek_v3": ("latent attention",),
    "deepseek_v32": ("latent attention", "sparse attention"),
    "qwen3_next": ("hybrid stack", "grouped queries"),
    "jamba": ("hybrid stack", "grouped queries"),
    "bamba": ("hybrid stack", "grouped queries"),
    "granitemoehybrid": ("hybrid stack", "grouped queries"),
    "lfm2": ("hybrid stack", "grouped queries"),
    "recurrent_gemma": ("hybrid stack", "grouped queries", "sliding window"),
    "falcon_h1": ("grouped queries",),
    "mpnet": ("relative positions",),
    "deberta-v2": ("relative positions",),
    "bloom": (),
    "gpt_neo": ("sliding window",),
    "convbert": (),
    "granite_swa": ("grouped queries", "sliding window", "sinks"),
    "diffllama": (),
    "mamba": (),
}

examined: Callable[[str], Family | None] = cache(examine)


def sections() -> dict[str, tuple[int, list[list[str]]]]:
    """Of each heading of the page the number it tells, and the cells of its rows."""
    text = PAGE.read_text(encoding="utf-8")
    found = {}
    section = re.compile(r"^## ([^\n]+): (\d+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    for title, count, body in section.findall(text):
        rows = [line for line in body.splitlines() if line.startswith("| `")]
        found[title] = int(count), [[cell.strip() for cell in row.split("|")[1:]] for row in rows]
    return found


def served_on_the_page() -> dict[str, str]:
    return {
        row[0].strip("`"): title.lower() for title, (_, rows) in sections().items() for row in rows
    }


@pytest.mark.parametrize("name", SAMPLE)
def test_a_family_comes_out_as_its_page_says(name: str) -> None:
    family = examined(name)
    assert family is not None
    assert OUTCOMES[family.outcome] == served_on_the_page()[name]
    if family.outcome in ("function", "eager"):
        assert family.difference is not None
        assert family.difference <= BAR
        assert family.batch is not None
        assert family.batch <= BAR
        assert sorted(family.features) == sorted(SAMPLE[name])
        assert all(family.sites.values())
    else:
        assert family.reason


def test_the_page_agrees_with_its_own_rows() -> None:
    found = sections()
    assert list(found) == [title.capitalize() for title in OUTCOMES.values()]
    for count, rows in found.values():
        assert count == len(rows)
    names = [row[0] for _, rows in found.values() for row in rows]
    assert [name for name, times in Counter(names).items() if times > 1] == []
    told = f"{len(names)} families: " + ", ".join(
        f"{count} {title[0].lower()}{title[1:]}" for title, (count, _) in found.items()
    )
    assert f"{told}.\n" in PAGE.read_text(encoding="utf-8")


def test_at_least_150_families_are_served_and_equal_to_eager() -> None:
    found = sections()
    function = found["Served by the attention function"][1]
    eager = found["Served by the eager fallback"][1]
    assert len(function) >= 150
    assert all(float(row[1]) <= BAR and float(row[2]) <= BAR for row in function)
    assert all(float(row[1]) <= BAR for row in eager)


def test_the_page_lists_what_transformers_knows() -> None:
    known = set(sweep.names())
    assert set(served_on_the_page()) <= known
    assert "llava" not in known  # takes pictures
    assert "gemma3_text" in known  # a text part with a type of its own


@pytest.mark.parametrize("name", ["llama", "gpt_oss", "t5", "qwen3_next"])
def test_a_wrong_scale_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = attention_function.attention_weights

    def wrong(query: Any, *args: Any, **kwargs: Any) -> Any:
        return right(query * 1.01, *args, **kwargs)

    monkeypatch.setattr(attention_function, "attention_weights", wrong)
    family = examine(name)
    assert family is not None
    assert family.outcome == "refused"
    assert "differs from the model's own eager attention by" in family.reason


def test_weights_too_even_to_show_a_wrong_scale_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def even(config: Any) -> Any:
        network = random_network(config)
        for path, parameter in network.named_parameters():
            if "q_proj" in path:
                parameter.data.zero_()
        return network

    monkeypatch.setattr(sweep, "random_network", even)
    family = examine("llama")
    assert family is not None
    assert family.outcome == "refused"
    assert family.reason == "decoder layer 0 weighs all positions alike, which shows nothing"


def test_an_unknown_window_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "window_of", lambda *_: None)
    family = examine("mistral")
    assert family is not None
    assert family.outcome == "refused"
    assert "sees 6 positions on a side, and its window is not known" in family.reason


def test_what_cannot_be_built_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(_: str) -> None:
        raise ValueError("hidden_size must be\n  larger")

    monkeypatch.setattr(sweep, "small_config", small)
    expected = Family("llama", "LlamaModel", "not built", reason="hidden_size must be larger")
    assert examine("llama") == expected


def test_a_family_that_takes_too_long_ends_alone() -> None:
    (family,) = sweep.sweep(["llama"], limit=0.0)
    assert family == Family("llama", "", "not built", reason="took longer than 0 s")


def crash(connection: Connection, _: list[str]) -> None:
    connection.send(Family("bert", "BertModel", "function"))
    os._exit(3)


def test_a_crash_ends_one_family_and_the_next_gets_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep, "serve", crash)
    found = list(sweep.sweep(["bert", "llama", "bert"]))
    assert [(one.architecture, one.outcome) for one in found] == [
        ("bert", "function"),
        ("llama", "not built"),
        ("bert", "function"),
    ]
    assert found[1].reason == "its process crashed"


def test_the_command_prints_and_writes_the_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [
        Family("aa", "AaModel", "function", 1.25e-7, 2e-7, {"decoder": (1, 3)}, ("sinks",)),
        Family("bb", "BbModel", "refused", reason="a | b"),
    ]
    monkeypatch.setattr(sweep, "sweep", lambda: iter(made))
    files = [tmp_path / "found.json", tmp_path / "page.md"]
    main(["--json", str(files[0]), "--page", str(files[1])])
    assert "2 families: 1 served by the attention function, 0 served by the eager" in (
        capsys.readouterr().out
    )
    written = json.loads(files[0].read_text())
    assert written["bar"] == BAR
    assert written["summary"] == {"function": 1, "eager": 0, "refused": 1, "not built": 0}
    assert written["families"][0]["difference"] == 1.25e-7
    page = files[1].read_text()
    assert "| `aa` | 1e-07 | 2e-07 | sinks |" in page
    assert "| `bb` | a \\| b |" in page


def model_of(name: str, **sizes: Any) -> Model:
    network = random_network(small_config(name, **sizes))
    return Model.of(network, tiny_tokenizer(end=False), name=name)


def read(model: Model, text: str = "a bc def ghij") -> Encoding:
    return model.encode(Sample(text))


def needs(encoding: Encoding, kind: str, **fields: Any) -> tuple[Need, ...]:
    return parse_rule(kind, fields).needs(encoding)


@pytest.mark.parametrize(
    ("kind", "bound"),
    [("attends", {"min": 0.1}), ("ignores", {"max": 0.1}), ("attends", {"max": 0.1})],
)
def test_a_word_outside_of_the_window_is_an_error_p21(kind: str, bound: dict[str, float]) -> None:
    encoding = read(Model.of(tiny_network("mistral"), tiny_tokenizer(end=False), name="mistral"))
    asked = {"heads": "L1H0", **bound}
    with pytest.raises(SelectorError, match="outside of the sliding window of 6 tokens"):
        needs(encoding, kind, **{"from": "ghij", "to": "a"}, **asked)
    (need,) = needs(encoding, kind, **{"from": "def", "to": "bc"}, **asked)
    assert need.layers == (1,)


def test_the_window_is_exact_to_the_token_p21() -> None:
    model = Model.of(tiny_network("mistral"), tiny_tokenizer(end=False), name="mistral")
    site = model.sites["decoder"]
    assert site.windows == {0: 6, 1: 6, 2: 6}
    text = "abcdefghijkl"
    last = len(read(model, text).source) - 1
    weights = model.collect([Need(Sample(text), "decoder", (0,), (last,))])[0].weights[0][:, 0]
    assert [bool((weights[:, key] > 0).any()) for key in range(last + 1)] == [
        site.sees(0, last, key) for key in range(last + 1)
    ]


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text"])
def test_alternating_layers_are_told_apart_p21(name: str) -> None:
    model = model_of(name)
    encoding = read(model)
    (local,) = model.sites["decoder"].windows
    (wide,) = {0, 1} - {local}
    far = {"from": "ghij", "to": "a"}
    assert needs(encoding, "attends", **far, heads=f"L{wide}", min=0.1)
    # One layer that can see is enough to attend, and too few to be sure of ignoring.
    assert needs(encoding, "attends", **far, heads="any", min=0.1)
    with pytest.raises(SelectorError, match=f"in layer {local}: .*without a window: {wide}"):
        needs(encoding, "ignores", **far, heads="all", max=0.1)
    with pytest.raises(SelectorError, match=f"cannot attend to a in layer {local}"):
        needs(encoding, "attends", **{"from": "ghij", "to": "def", "over": "a"}, heads="any")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("jamba", {"num_hidden_layers": 5}),
        (
            "qwen3_next",
            {"layer_types": ["linear_attention", "full_attention"] * 2, "num_hidden_layers": 4},
        ),
    ],
)
def test_a_layer_without_attention_is_an_error_p23(name: str, sizes: dict[str, Any]) -> None:
    model = model_of(name, **sizes)
    assert model.sites["decoder"].layers == (1, 3)
    encoding = read(model)
    with pytest.raises(SelectorError, match=r"layer 0 has no attention .*with attention: 1, 3"):
        needs(encoding, "attends", **{"from": "def", "to": "bc"}, heads="L0H0", min=0.1)
    with pytest.raises(ModelError, match=r"layer 2; layers with attention: 1, 3"):
        model.collect([Need(encoding.sample, "decoder", (2,), (3,))])
    (need,) = needs(encoding, "attends", **{"from": "def", "to": "bc"}, heads="L3", min=0.1)
    assert set(model.collect([need])[0].weights) == {3}


def test_what_a_learned_sink_takes_is_reported_p20() -> None:
    network = tiny_network("gpt_oss")
    for path, parameter in network.named_parameters():
        if path.endswith("sinks"):
            parameter.data.fill_(3.0)
    model = Model.of(network, tiny_tokenizer(end=False), name="gpt_oss")
    rule = parse_rule(
        "attends", {"from": {"chars": [3, 4]}, "to": {"chars": [2, 3]}, "heads": "L1H1", "min": 0.9}
    )
    encoding = read(model, "abcdef")
    rows = model.collect(rule.needs(encoding))
    row = rows[0].weights[1][1, 0]
    assert row.sum() < 0.995
    # The first token of a causal site counts as a sink as well.
    assert rule.judge(rows).sink == pytest.approx(1 - row[1:].sum(), abs=1e-6)
