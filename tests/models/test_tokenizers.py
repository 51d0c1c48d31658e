"""The tokenizer of a model: refused where it is not the network's own, and named by option."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from attnprobe.core.errors import AttnprobeError, ModelError, SelectorError
from attnprobe.core.needs import Need, Prediction
from attnprobe.core.per_model import values_by_model
from attnprobe.core.texts import Sample, Span
from attnprobe.models import Model, load
from attnprobe.mutants.damage import write_mutant
from attnprobe.mutants.kinds import Mutation
from attnprobe.results.records import read_results
from tests.architectures.tiny import tiny_network, tiny_tokenizer

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

ADVICE = "--attn-tokenizer REF (pytest), --tokenizer REF (attnprobe), load(..., tokenizer=REF)"
CASE = """
- id: one
  text: abc def
  expect: [{ignores: {from: abc, to: def, max: 0.99}}]
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer alone."""
    path = tmp_path_factory.mktemp("words") / "tokenizer"
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network alone, as `network.save_pretrained` leaves it."""
    path = tmp_path_factory.mktemp("networks") / "bare"
    tiny_network("bert").save_pretrained(path)
    return path


def backend_tokenizer(model: Any, **declared: Any) -> PreTrainedTokenizerFast:
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **declared)


def word_level(count: int, **declared: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of `<unk>` and so many words: `w1`, `w2`, …"""
    vocabulary = {"<unk>": 0} | {f"w{number}": number for number in range(1, count + 1)}
    return backend_tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"), **declared)


# Refused at load ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    [{}, {"README.md": "A model."}, {"modules.json": "[]"}],
)
def test_a_folder_without_tokenizer_files_is_refused_p43(
    bare: Path, tmp_path: Path, files: dict[str, str]
) -> None:
    folder = tmp_path / "saved"
    shutil.copytree(bare, folder)
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(ModelError, match=r"no tokenizer in .*saved") as refused:
        load(str(folder))
    assert ADVICE in str(refused.value)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "roberta", "t5", "gemma", "deberta_v2"])
@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_the_vocabulary_that_transformers_makes_up_is_refused_p43(
    tmp_path: Path, architecture: str, name: str
) -> None:
    tiny_network(architecture).save_pretrained(tmp_path)
    (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match="is not that of this network; name the tokenizer"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("size", "rows", "refused"),
    [
        (10, 261, True),
        (129, 261, True),
        (131, 261, False),
        (261, 261, False),
        (277, 261, False),  # some added tokens
        (300, 261, True),  # those of a larger model
    ],
)
def test_a_vocabulary_larger_than_the_embedding_is_refused_p43(
    size: int, rows: int, refused: bool
) -> None:
    network, tokenizer = tiny_network("bert", vocab_size=rows), word_level(size - 1)
    assert len(tokenizer) == size
    if not refused:
        text = " ".join(f"w{number}" for number in range(1, 100, 9))
        assert Model.of(network, tokenizer, name="tiny").encode(Sample(text))
        return
    with pytest.raises(ModelError, match=f"tiny: the tokenizer has {size} entries for {rows} "):
        Model.of(network, tokenizer, name="tiny")


@pytest.mark.parametrize(
    "tokenizer",
    [
        # Special tokens alone.
        word_level(0, pad_token="<pad>", additional_special_tokens=[f"<{n}>" for n in range(260)]),
        # Byte pairs without their merges, as where merges.txt is empty.
        backend_tokenizer(models.BPE({"ab": 0, "cd": 1, "ef": 2, "gh": 3, "abc": 4, "cde": 5}, [])),
        # Words that the normaliser never leaves as they are.
        backend_tokenizer(
            models.WordLevel(
                {"<unk>": 0, **{f"w {number}": number for number in range(1, 261)}},
                unk_token="<unk>",
            )
        ),
    ],
    ids=["special", "merges", "spaces"],
)
def test_a_tokenizer_that_reads_nothing_is_refused_p43(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    network = tiny_network("bert", vocab_size=len(tokenizer))
    with pytest.raises(ModelError, match=r"come out when they are read .*; name the tokenizer"):
        Model.of(network, tokenizer, name="tiny")


def test_bytes_without_merges_are_refused_in_a_large_vocabulary_p43() -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(first + second for first in alphabet[:20] for second in alphabet[:20])]
    backend = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    # An ordinary sentence comes out byte by byte, and no token of it is unknown.
    assert len(tokenizer("keys")["input_ids"]) == 4
    with pytest.raises(ModelError, match=r"of .* entries of the tokenizer 0 come out"):
        Model.of(tiny_network("bert", vocab_size=len(pieces)), tokenizer, name="tiny")


def test_small_and_foreign_vocabularies_are_no_fault_p43(minilm: Model) -> None:
    assert Model.of(tiny_network("gpt2", vocab_size=4), word_level(3), name="tiny")
    # No word of an English sentence is known to it.
    foreign = {char: n for n, char in enumerate(["<unk>", *map(chr, range(0x4E00, 0x4F00))])}
    tokenizer = backend_tokenizer(models.WordLevel(foreign, unk_token="<unk>"))
    assert Model.of(tiny_network("bert"), tokenizer, name="tiny")
    # Rows that are filled up to a multiple of 64.
    assert Model.of(tiny_network("bert", vocab_size=320), tiny_tokenizer(), name="tiny")
    assert len(minilm.tokenizer) == 30522


def test_an_encoder_decoder_checks_both_vocabularies_p43() -> None:
    with pytest.raises(ModelError, match="261 entries for 900 embedding rows of the target"):
        Model.of(
            tiny_network("marian", decoder_vocab_size=900, share_encoder_decoder_embeddings=False),
            tiny_tokenizer(start=False),
            name="marian",
        )
    apart = tiny_network("marian", decoder_vocab_size=261, share_encoder_decoder_embeddings=False)
    assert Model.of(apart, tiny_tokenizer(start=False), name="marian")


def test_every_command_refuses_a_model_without_tokenizer_p43(
    bare: Path, attn: Callable[..., tuple[int, str]], words: Path
) -> None:
    for command in (
        ["models", bare],
        ["models", bare, "--check"],
        ["show", bare, "abc", "--patterns"],
    ):
        with pytest.raises(ModelError, match="no tokenizer in"):
            attn(*command)
        code, printed = attn(*command, "--tokenizer", words)
        assert (code, "BertModel" in printed or "pattern" in printed) == (0, True)
    with pytest.raises(AttnprobeError, match="name a model"):
        attn("models", "--tokenizer", words)


@pytest.mark.parametrize("missing", ["sentencepiece", "google.protobuf", "google"])
@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"])
def test_a_sentencepiece_folder_names_the_packages_p43(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, missing: str
) -> None:
    folder = Path(shutil.copytree(bare, tmp_path / "pieces"))
    (folder / name).write_bytes(b"\x0a\x0d\x0a\x05<unk>")
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "google":  # another test may have imported what it holds
        monkeypatch.delitem(sys.modules, "google.protobuf", raising=False)
    with pytest.raises(ModelError) as refused:
        load(str(folder))
    package = "sentencepiece" if missing == "sentencepiece" else "protobuf"
    start, _, rest = str(refused.value).partition(" is of SentencePiece, which needs ")
    assert start == f"no tokenizer can be loaded from {folder}: {name}"
    named, _, install = rest.partition(": ")
    assert package in named.split(" and ")
    assert install == 'pip install "attnprobe[sentencepiece]"'


# Tokens beyond the embedding rows -----------------------------------------------------------------


def with_added(*added: str) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(piece, special=False) for piece in added])
    return tokenizer


def test_a_token_beyond_the_rows_is_an_error_of_its_text_p43() -> None:
    model = Model.of(tiny_network("bert"), with_added("<doc>"), name="tiny")
    assert model.encode(Sample("abc def"))
    message = "the token <doc> has the id 261, and tiny has only 261 embedding rows"
    with pytest.raises(SelectorError, match=message):
        model.encode(Sample("abc <doc> def"))
    with pytest.raises(SelectorError, match=message):
        model.encode(Sample("", ids=(1, 261, 2)))
    bart = Model.of(tiny_network("bart"), with_added("<doc>"), name="tiny")
    with pytest.raises(SelectorError, match=message):
        bart.encode(Sample("abc", target="def <doc>"))


def test_readouts_with_such_a_token_are_errors_p43() -> None:
    network = tiny_network("llama")

    def load_head(kind: Any) -> Any:
        return kind.from_config(network.config).eval()

    tokenizer = with_added("doc")
    model = Model.of(network, tokenizer, name="tiny", load_head=load_head)
    assert model.read_out([Prediction(Sample("a b c"), Span(2, 3), instead="d")])
    with pytest.raises(SelectorError, match="the token doc has the id 261"):
        model.read_out([Prediction(Sample("a b c"), Span(2, 3), instead="doc")])


def test_other_texts_of_the_block_are_judged_p43(
    probe: Run, write_cases: Write, tmp_path: Path
) -> None:
    write_cases(
        CASE
        + """
- id: two
  text: abc <doc> def
  expect: [{ignores: {from: abc, to: def, max: 0.99}}]
- id: three
  text: ghi jkl
  expect: [{ignores: {from: ghi, to: jkl, max: 0.99}}]
- id: four
  ids: [1, 261, 2]
  expect: [{sink: {max: 0.99}}]
"""
    )

    class Loads:
        def pytest_attn_load_model(self, name: str) -> Model:
            return Model.of(tiny_network("bert"), with_added("<doc>"), name=name)

    result = probe("--attn-json=r.json", "-rA", plugin=Loads())
    found = {item.id: item for item in read_results(Path("r.json")).cases}
    assert {name: item.outcome for name, item in found.items()} == {
        "one": "passed",
        "two": "error",
        "three": "passed",
        "four": "error",
    }
    assert "has the id 261" in found["two"].expectations[0].message
    result.stdout.fnmatch_lines(["*the token <doc> has the id 261*"])


# Another tokenizer is named -----------------------------------------------------------------------


def sha256_of(folder: Path, *names: str) -> str:
    """As `sha256sum`: of several files over their names and digests."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_named_tokenizer_is_used_p43(bare: Path, words: Path) -> None:
    model = load(str(bare), tokenizer=str(words))
    assert model.tokenizer_ref == str(words)
    names = sorted(path.name for path in words.iterdir())
    assert names == ["tokenizer.json", "tokenizer_config.json"]
    assert model.tokenizer_sha256 == sha256_of(words, *names)
    sample = Sample("The keys")
    ids = AutoTokenizer.from_pretrained(words)(sample.text)["input_ids"]
    assert list(model.encode(sample).source.ids) == ids
    network = AutoModel.from_pretrained(bare, attn_implementation="eager")
    with torch.inference_mode():
        expected = network(torch.tensor([ids]), output_attentions=True).attentions[1][0]
    (rows,) = model.collect([Need(sample, "encoder", (1,), tuple(range(len(ids))))])
    np.testing.assert_allclose(rows.weights[1], expected, atol=5e-5)


def test_a_wrong_tokenizer_reference_is_refused_p43(
    bare: Path, words: Path, tmp_path: Path
) -> None:
    for ref, message in (
        (str(tmp_path), "no tokenizer in"),
        (str(words / "tokenizer.json"), "is a file; name the folder"),
        ("nobody/has-this", "no tokenizer at nobody/has-this; give .*org/name@COMMIT"),
        ("nobody/has-this@main", "no tokenizer at nobody/has-this@main; give"),
        (f"nobody/has-this@{'a' * 40}", "no folder nobody/has-this.*in the cache"),
        ("./not-there", "no model at ./not-there"),
        ("pkg://not_installed/x", "package not_installed is not installed"),
    ):
        with pytest.raises(ModelError, match=message):
            load(str(bare), tokenizer=ref)


def test_code_beside_a_tokenizer_is_never_run_p43(bare: Path, words: Path, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    shutil.copytree(words, folder)
    (folder / "own.py").write_text("raise SystemExit('remote code ran')")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": [None, "own.Own"]}
    config["tokenizer_class"] = "Own"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="comes with code of its own"):
        load(str(bare), tokenizer=str(folder))


def test_the_option_names_a_tokenizer_and_results_say_which_p43(
    probe: Run, write_cases: Write, bare: Path, words: Path
) -> None:
    write_cases(CASE)
    result = probe("--attn-json=r.json", model=str(bare), plugin=object())
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no tokenizer in *"])
    result = probe(
        "--attn-json=r.json", f"--attn-tokenizer={words}", model=str(bare), plugin=object()
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"attnprobe: {bare}, tokenizer {words}, float32, device auto"])
    (model,) = read_results(Path("r.json")).models
    assert (model.tokenizer, model.ref) == (str(words), str(bare))
    assert model.tokenizer_sha256 == load(str(bare), tokenizer=str(words)).tokenizer_sha256


def test_the_ini_file_names_a_tokenizer_for_each_model_p43(
    probe: Run, write_cases: Write, bare: Path, words: Path, pytester: pytest.Pytester
) -> None:
    write_cases(CASE)
    pytester.makeini(
        f"[pytest]\nattn_model =\n  a={bare}\nattn_tokenizer =\n  a={words}\n  other={words}\n"
    )
    probe(model=None, plugin=object()).assert_outcomes(passed=1)
    # The command line replaces what the ini file says.
    empty = pytester.mkdir("empty")
    result = probe(f"--attn-tokenizer=a={empty}", model=None, plugin=object())
    result.assert_outcomes(errors=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attn-tokenizer="], "--attn-tokenizer is empty; is a variable not set?"),
        (["--attn-tokenizer=b=x"], "--attn-tokenizer b=x: no model 'b'; the run has: tiny"),
        (["--attn-tokenizer=x", "--attn-tokenizer=tiny=y"], "is given twice for model tiny"),
        (
            ["--attn-model=m2=x", "--attn-tokenizer=x"],
            "the run has 2 models; say which one --attn-tokenizer is for: --attn-tokenizer tiny=x",
        ),
    ],
)
def test_a_tokenizer_for_no_model_is_a_usage_error_p43(
    probe: Run, options: list[str], message: str
) -> None:
    result = probe(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{message.replace('[', '[[]')}*"])


def test_values_by_model() -> None:
    two = ("a", "b")
    assert values_by_model(["x"], ["a"], option="--o") == {"a": "x"}
    assert values_by_model(["b=x=1", "a=./y"], two, option="--o") == {"a": "./y", "b": "x=1"}
    assert values_by_model(["c=x", "a=y"], two, option="--o", other_models=True) == {"a": "y"}
    assert values_by_model([], two, option="--o") == {}


def test_a_loader_of_the_projects_own_brings_its_tokenizer_p43(
    probe: Run, write_cases: Write, words: Path
) -> None:
    write_cases(CASE)
    result = probe(f"--attn-tokenizer={words}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*tiny is built by the project's own loader*"])


def test_a_scan_records_its_tokenizer_p43(
    attn: Callable[..., tuple[int, str]], bare: Path, words: Path
) -> None:
    arc = {"from": [0, 1], "to": [2, 3], "relation": "next"}
    entry = {"text": "a b c", "arcs": [arc]}
    Path("c.jsonl").write_text("\n".join([json.dumps(entry)] * 4))
    code, printed = attn(
        "scan", bare, "--tokenizer", words, "--corpus", "c.jsonl", "--output", "out"
    )
    assert code == 0, printed
    told = json.loads(Path("out/scan.json").read_text())["model"]
    assert (told["tokenizer"], told["ref"]) == (str(words), str(bare))


def test_a_damaged_variant_gets_the_named_tokenizer_p43(
    bare: Path, words: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "variant"
    write_mutant(str(bare), Mutation("resave"), folder, tokenizer=str(words))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (words / name).read_bytes()
    assert load(str(folder)).tokenizer_ref is None
