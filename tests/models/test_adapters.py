"""Adapters: what is measured of base and adapter, what the hash covers, and what is refused."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
)

from attnprobe.core.errors import ModelError
from attnprobe.core.names import short_name
from attnprobe.core.needs import Prediction
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model, load
from attnprobe.mutants.damage import write_mutant
from attnprobe.mutants.kinds import Mutation
from attnprobe.run.records import model_record
from tests.architectures.tiny import tiny_network, tiny_tokenizer

TEXT = "The keys near the cabinet are old."
CONFIG = "adapter_config.json"
ADAPTER = "adapter_model.safetensors"
WEIGHTS = "model.safetensors"
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 16, "init_lora_weights": False}


def adapted(kind: Any, base: Path, folder: Path, config: Any, *, seed: int = 0) -> Any:
    """Writes an adapter with random weights for a base; the network that peft makes of both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        made = get_peft_model(kind.from_pretrained(base, attn_implementation="eager"), config)
        with torch.no_grad():
            for name, weight in made.named_parameters():
                if weight.requires_grad:
                    weight.normal_(1 if "ia3" in name else 0, 0.1)
        made.save_pretrained(folder)
    return made.eval()


def save_base(kind: Any, architecture: str, folder: Path, *, wide: float = 10) -> Path:
    torch.manual_seed(3)
    config = tiny_network(architecture).config
    network = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and "embed" not in name:
                weight.mul_(wide)  # drawn wide, so that attention is far from uniform
    network.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with its head in `base`, and a LoRA for it in `adapter`."""
    folder = tmp_path_factory.mktemp("lora")
    save_base(AutoModelForCausalLM, "llama", folder / "base")
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "k_proj"], **LORA)
    adapted(AutoModelForCausalLM, folder / "base", folder / "adapter", config)
    return folder


@pytest.fixture
def lora(made: Path, tmp_path: Path) -> Path:
    """A copy whose adapter names its base by a path beside it."""
    copy = Path(shutil.copytree(made, tmp_path / "lora"))
    update(copy / "adapter", base_model_name_or_path="../base")
    return copy


def update(adapter: Path, **values: Any) -> None:
    options = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(options | values))


def both(lora: Path) -> Path:
    """One folder with base and adapter."""
    folder = Path(shutil.copytree(lora / "base", lora / "both"))
    for name in (CONFIG, ADAPTER):
        shutil.copy(lora / "adapter" / name, folder)
    return folder


def largest_difference(model: Model, network: Any, *, of: str = "attentions") -> float:
    """Between all weights of a model and the eager attentions of a network of transformers."""
    ids = torch.tensor([model.tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        eager = network(ids, output_attentions=True)[of]
    attention = model.attention(TEXT)
    (site,) = model.sites.values()
    return max(
        float(np.abs(attention.weights(f"L{layer}H{head}") - eager[layer][0, head].numpy()).max())
        for layer in site.layers
        for head in range(site.heads[layer])
    )


# What is measured --------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [False, True])
def test_base_and_adapter_are_measured_as_their_merged_weights_p49(
    beside: bool, lora: Path
) -> None:
    """The merged weights are computed here: W + alpha / r * B A."""
    model = load(str(both(lora) if beside else lora / "adapter"))
    assert model.architecture == "LlamaModel"
    weights, change = load_file(lora / "base" / WEIGHTS), load_file(lora / "adapter" / ADAPTER)
    pairs = {name.removesuffix(".lora_A.weight") for name in change if ".lora_A." in name}
    assert len(pairs) == 6
    for name in pairs:
        down, up = (change[f"{name}.lora_{part}.weight"].numpy() for part in "AB")
        target = f"{name.removeprefix('base_model.model.')}.weight"
        weights[target] = weights[target] + torch.from_numpy(4.0 * up @ down)
    network = AutoModelForCausalLM.from_pretrained(lora / "base", attn_implementation="eager")
    assert largest_difference(model, network) > 0.1
    network.load_state_dict(weights, strict=False)
    assert largest_difference(model, network) < 1e-5


def test_predictions_have_the_adapter_as_well_p49(made: Path) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["v_proj", "lm_head"], **LORA)
    network = adapted(AutoModelForCausalLM, made / "base", made / "with-head", config)
    model = load(str(made / "with-head"))
    ids = torch.tensor([model.tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        ours, exact = model.whole(ids).logits, network(ids).logits
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "kind", "config", "of"),
    [
        (
            "bert",
            AutoModelForSequenceClassification,
            LoraConfig(task_type="SEQ_CLS", target_modules=["query", "key"], **LORA),
            "attentions",
        ),
        ("bert", AutoModel, LoraConfig(target_modules=["query"], **LORA), "attentions"),
        ("bert", BertForMaskedLM, LoraConfig(target_modules=["query"], **LORA), "attentions"),
        (
            "bert",
            AutoModel,
            LoraConfig(task_type="FEATURE_EXTRACTION", use_dora=True, target_modules="all-linear"),
            "attentions",
        ),
        (
            "llama",
            AutoModelForCausalLM,
            LoraConfig(
                task_type="CAUSAL_LM",
                target_modules=r"model\.layers\.[01]\.self_attn\.k_proj",
                alpha_pattern={"layers.1.self_attn.k_proj": 2},
                modules_to_save=["embed_tokens"],
                **LORA,
            ),
            "attentions",
        ),
        (
            "llama",
            AutoModelForCausalLM,
            IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[]),
            "attentions",
        ),
    ],
    ids=["classifier", "base", "masked", "dora", "pattern", "ia3"],
)
def test_adapters_of_many_kinds_are_measured_as_peft_applies_them_p49(
    architecture: str, kind: Any, config: Any, of: str, tmp_path: Path
) -> None:
    base = save_base(kind, architecture, tmp_path / "base")
    network = adapted(kind, base, tmp_path / "adapter", config)
    model = load(str(tmp_path / "adapter"))
    plain = kind.from_pretrained(base, attn_implementation="eager")
    assert largest_difference(model, plain, of=of) > 0.01
    assert largest_difference(model, network, of=of) < 1e-5


def test_an_adapter_on_an_encoder_decoder_is_measured_p49(tmp_path: Path) -> None:
    base = save_base(AutoModelForSeq2SeqLM, "t5", tmp_path / "base", wide=1)
    config = LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q", "v"], **LORA)
    network = adapted(AutoModelForSeq2SeqLM, base, tmp_path / "adapter", config)
    model = load(str(tmp_path / "adapter"))
    assert model.architecture == "T5Model"
    source, target = (torch.tensor([model.tokenizer(text)["input_ids"]]) for text in (TEXT, "so"))
    with torch.no_grad():
        eager = network.base_model.model.encoder(source, output_attentions=True).attentions
    assert target.numel()
    found = model.attention(TEXT, target="so", site="encoder").weights("L1H2")
    np.testing.assert_allclose(found, eager[1][0, 2].numpy(), atol=1e-5)


def test_rounding_comes_after_the_merge_and_spares_the_positions_p49(lora: Path) -> None:
    exact, rounded = load(str(lora / "adapter")), load(str(lora / "adapter"), dtype="bfloat16")
    buffers = dict(rounded.network.named_buffers())
    assert {buffers[name].dtype for name in buffers if "inv_freq" in name} == {torch.float32}
    ours, theirs = rounded.network.state_dict(), exact.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name].bfloat16()) for name in theirs)


def test_the_tokenizer_is_that_of_the_adapter_or_else_of_the_base_p49(lora: Path) -> None:
    base, before = load(str(lora / "base")), load(str(lora / "adapter"))
    assert before.tokenizer_sha256 == base.tokenizer_sha256
    tiny_tokenizer(end=False).save_pretrained(lora / "adapter")
    own = load(str(lora / "adapter"))
    assert own.tokenizer_sha256 != base.tokenizer_sha256
    assert len(own.tokenizer(TEXT)["input_ids"]) == len(base.tokenizer(TEXT)["input_ids"]) - 1


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(target_modules=["query", "word_embeddings"], lora_dropout=0.5, **LORA),
        LoraConfig(target_modules="all-linear", use_dora=True, **LORA),
        IA3Config(target_modules=["key"], feedforward_modules=[], init_ia3_weights=False),
        AdaLoraConfig(
            target_modules=["query"], lora_alpha=64, init_lora_weights=False, total_step=9
        ),
        LoHaConfig(target_modules=["query"], r=4, alpha=64, init_weights=False),
        LoKrConfig(target_modules=["query"], r=4, init_weights=False),
        OFTConfig(target_modules=["query"], init_weights=False),
        VeraConfig(target_modules=["query"], r=4, init_weights=False),
    ],
    ids=["lora", "dora", "ia3", "adalora", "loha", "lokr", "oft", "vera"],
)
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
def test_an_adapter_in_memory_is_measured_as_its_merged_weights_p49(
    config: Any, tmp_path: Path
) -> None:
    base = save_base(AutoModel, "bert", tmp_path / "base", wide=10)
    given = adapted(AutoModel, base, tmp_path / "adapter", config).train()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    merged = copy.deepcopy(given).merge_and_unload().eval()
    plain = AutoModel.from_pretrained(base, attn_implementation="eager")
    model = Model.of(given, tiny_tokenizer(), name="mine")
    assert largest_difference(model, plain) > 1e-3  # a hundred times the bound below
    assert largest_difference(model, merged) < 1e-5
    digest = model.weights_sha256
    with given.disable_adapter():
        assert largest_difference(model, plain) < 1e-6
        assert model.weights_sha256 != digest
    assert model.weights_sha256 == digest
    assert given.training
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
            r"adapter 'default' of the PeftModelForCausalLM puts trained tokens .*PROMPT_TUNING",
        ),
        (
            PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
            "puts trained tokens beside each text .PREFIX_TUNING",
        ),
        (
            LoraConfig(
                task_type="CAUSAL_LM",
                target_modules=["q_proj"],
                alora_invocation_tokens=[5],
            ),
            "a kind that is not measured .alora_invocation_tokens",
        ),
        (
            BOFTConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], boft_block_size=4),
            "a kind that is not measured .BOFT.* merge_and_unload",
        ),
    ],
    ids=["prompt", "prefix", "alora", "boft"],
)
def test_an_adapter_in_memory_that_acts_otherwise_is_refused_p49(config: Any, message: str) -> None:
    given = get_peft_model(AutoModelForCausalLM.from_config(tiny_network("llama").config), config)
    with pytest.raises(ModelError, match=message):
        Model.of(given, tiny_tokenizer(end=False), name="mine")


# What the hash covers ----------------------------------------------------------------------------


def expected_hash(lora: Path) -> str:
    options = json.loads((lora / "adapter" / CONFIG).read_text())
    for name in ("base_model_name_or_path", "inference_mode", "peft_version", "revision"):
        options.pop(name, None)
    digests = [
        (hashlib.sha256((lora / "base" / WEIGHTS).read_bytes()).hexdigest(), "base"),
        (hashlib.sha256((lora / "adapter" / ADAPTER).read_bytes()).hexdigest(), ADAPTER),
        (hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest(), CONFIG),
    ]
    lines = "".join(f"{digest}  {name}\n" for digest, name in digests)
    return hashlib.sha256(lines.encode()).hexdigest()


def test_base_and_adapter_are_hashed_together_p49(lora: Path) -> None:
    found = [load(str(lora / name), check=False).weights_sha256 for name in ("adapter", "base")]
    assert found[0] == expected_hash(lora)
    assert load(str(both(lora)), check=False).weights_sha256 == found[0]
    update(lora / "adapter", lora_alpha=17)
    found.append(load(str(lora / "adapter"), check=False).weights_sha256)
    for path in (lora / "adapter" / ADAPTER, lora / "base" / WEIGHTS):
        changed = {name: weight * 1.01 for name, weight in load_file(path).items()}
        save_file(changed, path, metadata={"format": "pt"})
        found.append(load(str(lora / "adapter"), check=False).weights_sha256)
    assert len(set(found)) == 5


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [False, True])
def test_without_peft_an_adapter_is_refused_p49(
    beside: bool, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = both(lora) if beside else lora / "adapter"
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"holds an adapter, .*pip install \"attnprobe\[peft\]\""):
        load(str(folder))


def test_a_peft_that_does_not_fit_is_refused(lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("peft.get_peft_model")
    with pytest.raises(ModelError, match=r"cannot be applied: ImportError: cannot import name"):
        load(str(lora / "adapter"))


@pytest.mark.parametrize("name", ["adapter_model.bin", ADAPTER])
def test_a_pickled_adapter_is_refused_unless_allowed_p51(name: str, lora: Path) -> None:
    exact = load(str(lora / "adapter"), check=False)
    weights = load_file(lora / "adapter" / ADAPTER)
    (lora / "adapter" / ADAPTER).unlink()
    torch.save(weights, lora / "adapter" / name)
    with pytest.raises(ModelError, match=rf"{name} (holds pickled weights|is named as safet)"):
        load(str(lora / "adapter"))
    if name == ADAPTER:
        return
    allowed = load(str(lora / "adapter"), check=False, allow_pickle=True)
    assert allowed.weights_format == "pickle"
    ours, theirs = allowed.network.state_dict(), exact.network.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_pickled_base_is_refused_p51(lora: Path) -> None:
    torch.save(load_file(lora / "base" / WEIGHTS), lora / "base" / "pytorch_model.bin")
    (lora / "base" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"base/pytorch_model\.bin holds pickled weights"):
        load(str(lora / "adapter"))


def test_a_base_with_code_of_its_own_is_refused_p49(lora: Path) -> None:
    config = json.loads((lora / "base" / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_x.XModel"}
    (lora / "base" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="base comes with code of its own"):
        load(str(lora / "adapter"))
    model = load(str(lora / "adapter"), ignore_remote_code=True, check=False)
    assert model.ignored_code == ("config.json",)


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("./nowhere", "no model at ./nowhere"),
        ("pkg://no_such_package/x", "no_such_package is not installed"),
        ("someone/nowhere", "no such hub model in the cache"),
        ("", "names no base"),
        (None, "names no base"),
        (["x"], "names no base"),
        ("../adapter", "holds an adapter itself"),
    ],
)
def test_the_base_of_an_adapter_is_a_reference_of_its_own_p49(
    base: Any, message: str, online: bool, lora: Path
) -> None:
    update(lora / "adapter", base_model_name_or_path=base)
    with pytest.raises(ModelError, match=message) as refused:
        load(str(lora / "adapter"), online=online)
    way = "a base of the hub is fetched by its commit alone: `revision` in its configuration"
    assert (way in str(refused.value)) == (online and base == "someone/nowhere")


def test_an_adapter_of_tied_embeddings_is_refused_p49(tmp_path: Path) -> None:
    """Merged, it would change the embeddings and the head, and peft changes one of them."""
    kind = AutoModelForCausalLM
    torch.manual_seed(0)
    tied = kind.from_config(tiny_network("llama", tie_word_embeddings=True).config)
    tied.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    for target in ("lm_head", "embed_tokens"):
        config = LoraConfig(task_type="CAUSAL_LM", target_modules=[target], **LORA)
        adapted(kind, tmp_path / "base", tmp_path / target, config)
        with pytest.raises(ModelError, match=f"changes .*{target}, which .* shares its weights"):
            load(str(tmp_path / target))
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], **LORA)
    network = adapted(kind, tmp_path / "base", tmp_path / "plain", config)
    assert largest_difference(load(str(tmp_path / "plain")), network) < 1e-5


def test_what_does_not_fit_its_base_is_refused_p49(lora: Path) -> None:
    path = lora / "adapter" / ADAPTER
    weights = load_file(path)
    name = sorted(weights)[0]
    for changed in (
        {key: weight for key, weight in weights.items() if key != name},
        weights
        | {"base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight": weights[name] + 1},
        weights | {name: torch.zeros(4, 16)},
    ):
        save_file(changed, path)
        with pytest.raises(ModelError, match="does not fit its base: 1 weights have no"):
            load(str(lora / "adapter"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "XLORA"}, "adapters of type XLORA are not read, only LORA and IA3"),
        ({"peft_type": None}, "adapters of type None are not read"),
        ({"task_type": "SOMETHING"}, "adapters for the task SOMETHING are not read"),
        ({"new_option": 0.5}, "options that the installed peft does not know: new_option"),
        ({"target_modules": ["nowhere"]}, r"cannot be applied: \w+: Target modules"),
        (
            {"task_type": None, "auto_mapping": {"base_model_class": "Own"}},
            "is for Own, which is no model of transformers",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused_p49(
    values: dict[str, Any], message: str, lora: Path
) -> None:
    update(lora / "adapter", **values)
    with pytest.raises(ModelError, match=message):
        load(str(lora / "adapter"))


def test_an_adapter_that_repeats_layers_is_refused_p49(lora: Path) -> None:
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules=["q_proj"], layer_replication=[(0, 2), (1, 3)]
    )
    adapted(AutoModelForCausalLM, lora / "base", lora / "longer", config)
    with pytest.raises(ModelError, match=r"layer_replication makes a network with more layers"):
        load(str(lora / "longer"))


def test_a_learned_prompt_is_refused_p49(made: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    adapted(AutoModelForCausalLM, made / "base", made / "prompt", config)
    with pytest.raises(ModelError, match="adapters of type PROMPT_TUNING are not read"):
        load(str(made / "prompt"))


def test_a_mutant_of_an_adapter_is_refused_p49(lora: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds an adapter, so its weights lie in no file"):
        write_mutant(str(lora / "adapter"), Mutation("resave"), tmp_path / "mutant")


def test_weights_of_an_adapter_s_name_alone_are_no_adapter(lora: Path) -> None:
    shutil.copy(lora / "adapter" / ADAPTER, lora / "base")
    model = load(str(lora / "base"), check=False)
    digest = hashlib.sha256((lora / "base" / WEIGHTS).read_bytes()).hexdigest()
    assert model.weights_sha256 == digest


# An adapter on a base of one's choice ------------------------------------------------------------


def test_a_base_of_choice_takes_the_place_of_the_adapter_s_own_p49(made: Path, lora: Path) -> None:
    """peft merges and saves; that folder is then loaded as any other."""
    other = save_base(AutoModelForCausalLM, "llama", lora / "other", wide=7)
    update(lora / "adapter", base_model_name_or_path="./nowhere", revision=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = AutoModelForCausalLM.from_pretrained(other)
        merged = PeftModel.from_pretrained(base, made / "adapter").merge_and_unload()
    merged.save_pretrained(lora / "merged")
    tiny_tokenizer().save_pretrained(lora / "merged")
    found, expected = load(f"{other}+{lora / 'adapter'}"), load(str(lora / "merged"))
    network = AutoModelForCausalLM.from_pretrained(lora / "merged", attn_implementation="eager")
    assert largest_difference(found, network) < 1e-5
    word = Span(TEXT.index("are"), TEXT.index("are") + 3)
    ours, theirs = (
        model.read_out(
            [Prediction(Sample(TEXT), word), Prediction(Sample(TEXT), word, instead="near")]
        )
        for model in (found, expected)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert found.name == "other_adapter"
    assert found.ref == f"{other}+{lora / 'adapter'}"


def test_results_have_the_hashes_of_base_and_adapter_p49(lora: Path) -> None:
    base, alone = (load(str(lora / name), check=False) for name in ("base", "adapter"))
    chosen = load(f"{lora / 'base'}+{lora / 'adapter'}", check=False)
    records = [model_record(model, "m", asked=model.ref) for model in (alone, chosen, base)]
    assert records[0].weights_sha256 == records[1].weights_sha256 == expected_hash(lora)
    whole = (lora / "base" / WEIGHTS).read_bytes()
    assert [record.base_sha256 for record in records] == [
        *(hashlib.sha256(whole).hexdigest(),) * 2,
        None,
    ]
    changed = records[0].adapter_sha256
    assert changed == records[1].adapter_sha256 != records[2].adapter_sha256
    update(lora / "adapter", lora_alpha=17)
    assert load(chosen.ref, check=False).adapter_sha256 != changed


@pytest.mark.parametrize("package", [False, True])
def test_a_path_that_has_a_plus_is_a_path_p49(
    package: bool, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(lora)
    (lora / "own_models").mkdir()
    for old, new in (("base", "x+y"), ("base", "lr+"), ("adapter", "a+b")):
        shutil.copytree(lora / old, lora / "own_models" / new)
    start = "pkg://own_models" if package else str(lora / "own_models")
    assert load(f"{start}/x+y", check=False).adapter_sha256 is None
    both = load(f"{start}/lr++{start}/a+b", check=False)
    assert both.weights_sha256 == expected_hash(lora)
    assert short_name(f"{start}/x+y") == ("own_models" if package else "x_y")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("base+nowhere", r"^there is no path base\+nowhere, and no adapter at nowhere; after the"),
        ("base+base", "no adapter at base; after the .* with an adapter_config.json$"),
        ("adapter+adapter", "base of the adapter adapter is adapter, which holds an adapter itse"),
        ("nowhere+adapter", "no folder nowhere, and no such hub model"),
        ("base+pkg://no_such_package/x", "no_such_package is not installed"),
        ("small+adapter", "does not fit its base: .* have no counterpart, such as base_model"),
        ("base+", r"no model at base\+; give"),
        ("+adapter", r"no model at \+adapter; give"),
    ],
)
def test_a_base_of_choice_is_refused_in_one_sentence_p49(
    ref: str, message: str, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lora)
    if ref.startswith("small"):
        config = tiny_network("llama").config
        config.num_attention_heads = config.num_key_value_heads = 2
        config.head_dim = 4
        AutoModelForCausalLM.from_config(config).save_pretrained("small")
        tiny_tokenizer().save_pretrained("small")
    with pytest.raises(ModelError, match=message):
        load(ref)


def test_without_peft_a_base_of_choice_is_refused_p49(
    lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"pip install \"attnprobe\[peft\]\""):
        load(f"{lora / 'base'}+{lora / 'adapter'}")
