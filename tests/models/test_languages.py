"""Multilingual models: each text, and each target, is read in the language that is meant."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import processors
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
)

from attnprobe import cases
from attnprobe.cases import yamltext
from attnprobe.core.errors import AttnprobeError, CaseErrors, ModelError
from attnprobe.core.needs import Need, Prediction
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Sample, Span
from attnprobe.gate.reread import load_again
from attnprobe.models import LoadOptions, Model, load
from attnprobe.models.twin import random_twin
from attnprobe.mutants.damage import in_bfloat16
from attnprobe.relations.accuracy import judge
from attnprobe.results.records import Results, read_results, text_sha256
from tests.architectures.small import small_config
from tests.architectures.tiny import random_network, tiny_network, tiny_tokenizer
from tests.support.inner_runs import Run
from tests.support.made_up_results import MODEL

LETTERS = "▁abcdefghijklmnopqrstuvwxyz"
TEXT = "old keys"
TARGET = "vieilles clefs"
START = ("<s>", "<pad>", "</s>", "<unk>")
# Kind, the network that goes with it, and how it calls English, French and German.
KINDS = {
    "nllb": ("m2m_100", ("eng_Latn", "fra_Latn", "deu_Latn")),
    "nllb-legacy": ("m2m_100", ("eng_Latn", "fra_Latn", "deu_Latn")),
    "mbart50": ("mbart", ("en_XX", "fr_XX", "de_DE")),
    "mbart25": ("mbart", ("en_XX", "fr_XX", "de_DE")),
}


def build(kind: str, **languages: str) -> Any:
    """A tokenizer of transformers' own class, one token a letter."""
    if kind.startswith("nllb"):
        pieces = {piece: number for number, piece in enumerate([*START, *LETTERS])}
        return NllbTokenizer(pieces, [], legacy_behaviour=kind == "nllb-legacy", **languages)
    scored = [(piece, 0.0) for piece in START] + [(letter, -1.0) for letter in LETTERS]
    if kind == "mbart50":
        return MBart50Tokenizer(scored, **languages)
    codes = ["en_XX", "fr_XX", "de_DE", "ro_RO"]
    return MBartTokenizer([*scored, *((code, 0.0) for code in [*codes, "<mask>"])], **languages)


@functools.cache
def network(kind: str) -> Any:
    architecture, _ = KINDS[kind]
    config = small_config(
        architecture, vocab_size=len(build(kind)), pad_token_id=1, bos_token_id=0, eos_token_id=2
    )
    return random_network(config)


def read(kind: str, source: str, target: str) -> tuple[list[int], list[int]]:
    """Ids of the encoder and of the decoder, as transformers itself trains on them."""
    tokenizer = build(kind, src_lang=source, tgt_lang=target)
    encoded = tokenizer(TEXT, text_target=TARGET)
    architecture, _ = KINDS[kind]
    code = importlib.import_module(f"transformers.models.{architecture}.modeling_{architecture}")
    labels = torch.tensor([encoded["labels"]])
    shift = (1, 2) if architecture == "m2m_100" else (1,)
    return encoded["input_ids"], code.shift_tokens_right(labels, *shift)[0].tolist()


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str) -> Model:
    return Model.of(network(kind), build(kind), name=kind)


def sample(kind: str, source: int = 0, target: int = 1) -> Sample:
    codes = KINDS[kind][1]
    return Sample(TEXT, TARGET, source_language=codes[source], target_language=codes[target])


# What is read -------------------------------------------------------------------------------------


def test_a_target_is_read_behind_its_own_language_p48(kind: str, model: Model) -> None:
    codes = KINDS[kind][1]
    for source, target in [(0, 1), (0, 2), (1, 0), (2, 2), (0, 1)]:
        encoding = model.encode(sample(kind, source, target))
        ids, decoder = read(kind, codes[source], codes[target])
        assert encoding.target is not None
        assert list(encoding.source.ids) == ids
        assert list(encoding.target.ids) == decoder
        code = model.tokenizer.convert_tokens_to_ids(codes[target])
        if kind != "nllb-legacy":  # its labels end with the language
            assert code in encoding.target.ids[:2]
        assert encoding.target.special[0] == "bos"
        for tokens in (encoding.source, encoding.target):
            for token_id, span, name in zip(tokens.ids, tokens.spans, tokens.special, strict=True):
                known = model.tokenizer.convert_ids_to_tokens(token_id) in {*codes, *START}
                assert (span is None) == (name is not None) == known


@pytest.mark.parametrize("site", ["encoder", "decoder", "cross"])
def test_weights_are_those_of_the_target_language_p48(
    kind: str, model: Model, site: SiteName
) -> None:
    fresh = AutoModel.from_config(model.network.config, attn_implementation="eager")
    fresh.load_state_dict(model.network.state_dict())
    found: dict[int, Any] = {}
    needs = []
    for target in (1, 2):
        encoding = model.encode(sample(kind, 0, target))
        needs.append(Need(encoding.sample, site, (0, 1), tuple(range(len(encoding.queries(site))))))
    # Both languages go through the network together.
    for target, rows in zip((1, 2), model.collect(needs), strict=True):
        ids, decoder = read(kind, KINDS[kind][1][0], KINDS[kind][1][target])
        with torch.inference_mode():
            answer = fresh.eval()(
                input_ids=torch.tensor([ids]),
                decoder_input_ids=torch.tensor([decoder]),
                output_attentions=True,
            )
        eager = answer[{"cross": "cross_attentions"}.get(site, f"{site}_attentions")]
        for layer in (0, 1):
            np.testing.assert_allclose(rows.weights[layer], eager[layer][0], atol=5e-5)
        found[target] = rows.weights[1]
    if site != "encoder" and kind != "nllb-legacy":
        assert abs(found[1] - found[2]).max() > 0.01  # else the language would say nothing


@pytest.mark.parametrize("kind", ["nllb", "mbart50", "mbart25"])
def test_the_decoder_starts_as_generation_does_p48(kind: str) -> None:
    body = network(kind)
    whole = AutoModelForSeq2SeqLM.from_config(body.config).eval()
    tokenizer = build(kind)
    codes = KINDS[kind][1]
    code = tokenizer.convert_tokens_to_ids(codes[1])
    how = {"decoder_start_token_id": code} if kind == "mbart25" else {"forced_bos_token_id": code}
    ids, _ = read(kind, codes[0], codes[1])
    made = whole.generate(torch.tensor([ids]), max_new_tokens=2, do_sample=False, **how)[0]
    target = Model.of(body, tokenizer, name=kind).encode(sample(kind)).target
    assert target is not None
    shared = 1 if kind == "mbart25" else 2
    assert made[:shared].tolist() == list(target.ids[:shared])


def test_a_word_is_predicted_behind_its_own_language_p48(kind: str) -> None:
    body = network(kind)
    whole = AutoModelForSeq2SeqLM.from_config(body.config).eval()
    setattr(whole, whole.base_model_prefix, body)
    whole.tie_weights()
    codes = KINDS[kind][1]
    start = TARGET.index("clefs")
    asked = [Prediction(sample(kind, 0, target), Span(start, start + 5)) for target in (1, 2)]
    found = Model.of(whole, build(kind), name=kind).read_out(asked)
    expected = []
    for target in (1, 2):
        tokenizer = build(kind, src_lang=codes[0], tgt_lang=codes[target])
        encoded = tokenizer(TEXT, text_target=TARGET, return_tensors="pt")
        with torch.inference_mode():
            logs = whole(**encoded).logits[0].log_softmax(-1)
        labels = encoded["labels"][0].tolist()
        end = labels.index(tokenizer.eos_token_id)
        # The word is its five letters and the ▁ before them.
        expected.append(sum(logs[at, labels[at]].item() for at in range(end - 6, end)))
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_tokenizer_is_left_as_it_was_p48(kind: str) -> None:
    codes = KINDS[kind][1]
    model = Model.of(network(kind), build(kind, src_lang=codes[2]), name=kind)

    def state() -> tuple[object, ...]:
        tokenizer = model.tokenizer
        ids = tuple(tokenizer(TEXT)["input_ids"])
        return ids, tokenizer.src_lang, tokenizer.tgt_lang, tokenizer.backend_tokenizer.to_str()

    before = state()
    assert before[2] is None
    model.encode(sample(kind, 0, 1))
    with pytest.raises(ModelError):
        model.encode(Sample(TEXT, TARGET, source_language="xx"))
    assert state() == before


# Who names it -------------------------------------------------------------------------------------


def test_no_language_is_refused_p48(kind: str, model: Model) -> None:
    codes = KINDS[kind][1]
    with pytest.raises(ModelError, match="no source language is named; write source_language:"):
        model.encode(Sample(TEXT))
    with pytest.raises(ModelError, match=r"no target language is named.*--attn-target-language"):
        model.encode(Sample(TEXT, TARGET, source_language=codes[0]))
    assert (model.source_language, model.target_language) == (None, None)


def test_the_files_of_a_tokenizer_may_name_them_p48(kind: str, tmp_path: Path) -> None:
    codes = KINDS[kind][1]
    stated = build(kind, src_lang=codes[0], tgt_lang=codes[1])
    network(kind).save_pretrained(tmp_path)
    stated.save_pretrained(tmp_path)
    ids, decoder = read(kind, codes[0], codes[1])
    model = load(str(tmp_path))
    found = model.encode(Sample(TEXT, TARGET))
    assert found.target is not None
    assert (list(found.source.ids), list(found.target.ids)) == (ids, decoder)
    assert (model.source_language, model.target_language) == codes[:2]
    # A case knows better, and so does whoever loads it.
    other = model.encode(Sample(TEXT, TARGET, target_language=codes[2])).target
    assert other is not None
    assert list(other.ids) == read(kind, codes[0], codes[2])[1]
    loaded = load(str(tmp_path), source_language=codes[1], target_language=codes[0])
    found = loaded.encode(Sample(TEXT, TARGET))
    assert found.target is not None
    assert (list(found.source.ids), list(found.target.ids)) == read(kind, codes[1], codes[0])


def test_what_transformers_falls_back_to_is_no_language_p48(kind: str, tmp_path: Path) -> None:
    """A tokenizer reads English where nobody said so, and any target as the source."""
    used, saved = build(kind), build(kind)
    used(TEXT, text_target=TARGET)
    assert used.tgt_lang == used.src_lang == KINDS[kind][1][0]
    saved.save_pretrained(tmp_path)
    reloaded = type(saved).from_pretrained(tmp_path)
    assert reloaded.init_kwargs["src_lang"] == KINDS[kind][1][0]
    for tokenizer in (used, reloaded):
        model = Model.of(network(kind), tokenizer, name=kind)
        with pytest.raises(ModelError, match="no source language"):
            model.encode(Sample(TEXT))
        with pytest.raises(ModelError, match="no target language"):
            model.encode(Sample(TEXT, TARGET, source_language=KINDS[kind][1][0]))


def test_copies_of_a_model_read_in_its_languages_p48(kind: str) -> None:
    codes = KINDS[kind][1]
    model = Model.of(network(kind), build(kind), name=kind, source_language=codes[0])
    twin = random_twin(model, seed=0)
    for copy in (twin, in_bfloat16(model)):
        assert (copy.source_language, copy.target_language) == (codes[0], None)
        assert copy.encode(Sample(TEXT)).source == model.encode(Sample(TEXT)).source


def test_a_language_that_was_set_on_the_tokenizer_counts_p48(kind: str) -> None:
    codes = KINDS[kind][1]
    for source, target in [(codes[1], codes[2]), (codes[0], codes[1])]:
        tokenizer = build(kind)
        tokenizer.src_lang, tokenizer.tgt_lang = source, target
        found = Model.of(network(kind), tokenizer, name=kind).encode(Sample(TEXT, TARGET))
        assert found.target is not None
        assert (list(found.source.ids), list(found.target.ids)) == read(kind, source, target)


@pytest.mark.parametrize(
    ("kind", "code", "near"),
    [
        ("nllb", "fr", "near it: .*fra_Latn"),
        ("nllb", "fra", "near it: .*fra_Latn"),
        ("nllb", "</s>", "knows no target language"),
        ("nllb", "e", "knows no target language"),  # an ordinary token
        ("nllb", "<mask>", "knows no target language"),
        ("mbart50", "fr_FR", "near it: .*fr_XX"),
        ("mbart50", "fra_Latn", "knows no target language"),
        ("mbart25", "pl_PL", "knows no target language"),  # of mBART-50 alone
        ("mbart25", "@@", "it knows: ar_AR, cs_CZ, .* and 17 more"),
    ],
)
def test_an_unknown_language_is_refused_p48(kind: str, code: str, near: str) -> None:
    model = Model.of(network(kind), build(kind), name=kind)
    known = KINDS[kind][1][0]
    with pytest.raises(ModelError, match=near):
        model.encode(Sample(TEXT, TARGET, source_language=known, target_language=code))
    with pytest.raises(ModelError, match="knows no source language"):
        model.encode(Sample(TEXT, source_language=code))
    with pytest.raises(ModelError, match="knows no source language"):
        Model.of(model.network, build(kind), name=kind, source_language=code)


def test_a_language_means_nothing_to_other_tokenizers_p48() -> None:
    model = Model.of(tiny_network("bart"), tiny_tokenizer(), name="bart")
    with pytest.raises(ModelError, match=r"bart marks no language, so source_language 'en_XX'"):
        model.encode(Sample("keys", source_language="en_XX"))
    with pytest.raises(ModelError, match="target_language 'fr_XX' would change nothing"):
        model.encode(Sample("keys", "clefs", target_language="fr_XX"))
    assert model.encode(Sample("keys", "clefs")).target is not None


def test_a_tokenizer_with_one_language_for_all_reads_no_target_p48() -> None:
    """A `tokenizer.json` loaded without its class puts the source language before targets too."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.add_special_tokens(["eng_Latn"])
    number = tokenizer.convert_tokens_to_ids("eng_Latn")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="eng_Latn $A </s>", special_tokens=[("eng_Latn", number), ("</s>", 2)]
    )
    model = Model.of(tiny_network("bart", vocab_size=300), tokenizer, name="plain")
    assert model.encode(Sample("keys")).source.ids[0] == number
    with pytest.raises(ModelError, match="marks every text with eng_Latn, targets too"):
        model.encode(Sample("keys", "clefs"))


def test_a_spelled_language_is_read_once_p48() -> None:
    model = Model.of(network("nllb"), build("nllb"), name="nllb")
    both = Sample(
        "eng_Latn old keys",
        "fra_Latn vieilles clefs",
        allow_special_tokens=True,
        source_language="eng_Latn",
        target_language="fra_Latn",
    )
    found = model.encode(both)
    tokenizer = build("nllb")
    assert found.target is not None
    assert list(found.source.ids) == tokenizer(both.text, add_special_tokens=False)["input_ids"]
    assert list(found.target.ids) == [
        2,
        *tokenizer(both.target, add_special_tokens=False)["input_ids"],
    ]


def test_a_language_belongs_to_the_text() -> None:
    plain = Sample("keys", "clefs")
    french = Sample("keys", "clefs", target_language="fra_Latn")
    german = Sample("keys", "clefs", target_language="deu_Latn")
    swapped = Sample("keys", "clefs", source_language="fra_Latn")
    hashes = {text_sha256(one) for one in (plain, french, german, swapped)}
    assert len(hashes) == 4
    # As baselines of earlier versions have it.
    assert text_sha256(plain).startswith("b6cb4c2dca0bef9b")


# Case files ---------------------------------------------------------------------------------------


def parsed(text: str) -> cases.Contents:
    return cases.parse_contents(yamltext.loads(text.encode(), "x.attn.yaml"))


HEAD = """
version: 1
suite: languages
defaults: {heads: L0H0, site: cross, source_language: eng_Latn, target_language: fra_Latn}
"""
RULE = "expect: [attends: {from: clefs, to: keys, max: 0.99}]"


def test_a_case_takes_the_languages_of_its_file_p48() -> None:
    found = parsed(
        HEAD
        + f"""
cases:
  - {{id: by-default, text: old keys, target: vieilles clefs, {RULE}}}
  - {{id: its-own, text: old keys, target: vieilles clefs, target_language: oci_Latn, {RULE}}}
  - id: no-target
    text: old keys
    expect: [attends: {{site: encoder, from: keys, to: old, max: 0.99}}]
  - id: rows
    template: "old {{noun}}"
    target: vieilles clefs
    source_language: sco_Latn
    rows: [{{noun: keys}}]
    {RULE}
"""
    ).cases
    languages = [(one.sample.source_language, one.sample.target_language) for one in found]
    assert languages == [
        ("eng_Latn", "fra_Latn"),
        ("eng_Latn", "oci_Latn"),
        ("eng_Latn", None),
        ("sco_Latn", "fra_Latn"),
    ]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "cases: [{id: a, ids: [5, 6], source_language: eng_Latn, "
            "expect: [entropy: {heads: L0H0, max: 1}]}]",
            "ids: go without a source_language:",
        ),
        (
            "cases: [{id: a, text: old keys, target_language: fra_Latn, "
            "expect: [attends: {heads: L0H0, from: old, to: keys, min: 0.1}]}]",
            "target_language: goes with a target:",
        ),
        (
            "source_language: eng_Latn\n"
            "cases: [{id: a, text: old keys, "
            "expect: [attends: {heads: L0H0, from: old, to: keys, min: 0.1}]}]",
            "source_language: goes under defaults: or into a case",
        ),
        (
            "cases: [{id: a, text: old keys, source_language: no, "
            "expect: [attends: {heads: L0H0, from: old, to: keys, min: 0.1}]}]",
            'source_language: YAML reads no as a truth value; write "no"',
        ),
        (
            "cases: [{id: a, text: old keys, "
            "expect: [attends: {heads: L0H0, from: old, to: keys, min: 0.1}]}]\n"
            "relations: [{id: r, from_cases: all, heads: L0H0, source_language: eng_Latn, "
            "expect: {accuracy: 0.1}}]",
            "source_language: goes with from_corpus:",
        ),
    ],
)
def test_a_language_that_says_nothing_is_an_error_p48(written: str, message: str) -> None:
    with pytest.raises(CaseErrors, match=message):
        parsed(f"version: 1\nsuite: s\n{written}\n")


def test_relations_are_read_in_their_language_p48(tmp_path: Path) -> None:
    lines = [
        {
            "text": "old keys",
            "target": "vieilles clefs",
            "arcs": [{"from": [9, 14], "to": [4, 8], "relation": "word"}],
        },
        {
            "text": "red keys",
            "target": "clefs rouges",
            "arcs": [{"from": [0, 5], "to": [4, 8], "relation": "word"}],
        },
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = tmp_path / "x.attn.yaml"
    file.write_text(
        HEAD
        + """
relations:
  - id: words
    from_corpus: {jsonl: pairs.jsonl, relation: word}
    target_language: deu_Latn
    least: 1
    expect: {accuracy: 0.01}
  - id: spans
    site: encoder
    spans: [{text: old red keys, from: keys, to: old}]
    least: 1
    expect: {accuracy: 0.01}
"""
    )
    corpus, spans = cases.load_contents(file, "x").relations
    model = Model.of(network("nllb"), build("nllb"), name="nllb")
    asked: list[Sample] = []

    class Watched:
        name = "nllb"

        def encode(self, sample: Sample) -> Any:
            asked.append(sample)
            return model.encode(sample)

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

    watched: Any = Watched()
    for relation in (corpus, spans):
        assert judge(relation, watched).error is None
    languages = {(one.target is None, one.source_language, one.target_language) for one in asked}
    assert languages == {(False, "eng_Latn", "deu_Latn"), (True, "eng_Latn", None)}
    # Without one, nothing is judged and nothing left out in silence.
    file.write_text(file.read_text().replace(", source_language: eng_Latn", ""))
    for relation in cases.load_contents(file, "x").relations:
        assert "no source language is named" in str(judge(relation, model).error)


# Options ------------------------------------------------------------------------------------------


class Loader:
    """A project's own loader of an NLLB."""

    def pytest_attn_load_model(self) -> tuple[Any, Any]:
        return network("nllb"), build("nllb")


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Path:
    file = pytester.path / "x.attn.yaml"
    file.write_text(
        f"""
version: 1
suite: languages
defaults: {{heads: L0H0, site: cross}}
cases:
  - {{id: french, text: old keys, target: vieilles clefs, {RULE}}}
  - {{id: german, text: old keys, target: vieilles clefs, target_language: deu_Latn, {RULE}}}
"""
    )
    pytester.makepyfile(
        """
        def test_probe(attn):
            found = attn("old keys", target="clefs", site="cross", target_language="deu_Latn")
            assert found.target_tokens[:2] == ("</s>", "deu_Latn")
        """
    )
    return file


def test_a_run_names_the_languages_of_its_texts_p48(
    probe: Run, suite: Path, pytester: pytest.Pytester
) -> None:
    result = probe("-rA", plugin=Loader())
    result.assert_outcomes(failed=1, errors=2)
    assert "no source language is named; write source_language:" in result.stdout.str()

    options = ("--attn-source-language=eng_Latn", "--attn-target-language=tiny=fra_Latn")
    result = probe(*options, "--attn-json=r.json", plugin=Loader())
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        ["attnprobe: tiny, source language eng_Latn, target language fra_Latn, float32, *"]
    )
    results = read_results(Path("r.json"))
    (judged,) = results.models
    assert (judged.source_language, judged.target_language) == ("eng_Latn", "fra_Latn")
    hashes = {case.id: case.text_sha256 for case in results.cases}
    assert hashes["german"] == text_sha256(
        Sample("old keys", "vieilles clefs", target_language="deu_Latn")
    )

    pytester.makeini("[pytest]\nattn_source_language = eng_Latn\nattn_target_language = fra_Latn\n")
    probe(plugin=Loader()).assert_outcomes(passed=3)
    result = probe("--attn-source-language=xx", plugin=Loader())
    result.assert_outcomes(errors=3)
    assert "knows no source language 'xx'" in result.stdout.str()


def test_a_loaded_model_takes_no_other_language_p48(probe: Run, suite: Path) -> None:
    result = probe("--attn-source-language=eng_Latn")
    result.assert_outcomes(errors=3)
    assert "give source_language= and target_language= to attnprobe.load there" in (
        result.stdout.str()
    )


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("nllb")
    network("nllb").save_pretrained(found)
    build("nllb").save_pretrained(found)
    return found


def test_commands_take_languages_p48(attn: Callable[..., tuple[int, str]], folder: Path) -> None:
    shown = ("show", folder, "old keys", "--target", "clefs", "--site", "cross", "--heads", "L0H0")
    with pytest.raises(ModelError, match="or --source-language"):
        attn(*shown)
    languages = ("--source-language", "eng_Latn", "--target-language", "fra_Latn")
    code, printed = attn(*shown, *languages, "--unit", "tokens")
    assert code == 0
    assert "│ fra_Latn " in printed

    arc = {"from": [4, 7], "to": [0, 3], "relation": "of"}
    texts = [f"old {a}{b}{a} keys" for a in "abcdefgh" for b in "ijklmnop"]
    lines = [json.dumps({"text": text, "arcs": [arc]}) + "\n" for text in texts]
    Path("c.jsonl").write_text("".join(lines))
    scan = ("scan", folder, "--corpus", "c.jsonl", "--site", "encoder", "--min-arcs", "1")
    with pytest.raises(ModelError, match="no source language is named"):
        attn(*scan)
    code, _ = attn(*scan, "--source-language", "fra_Latn", "--output", "out")
    assert code == 0
    (written,) = Path("out").glob("*.attn.yaml")
    # The suite is read in the language that it was found in.
    assert yaml.safe_load(written.read_text())["defaults"] == {
        "site": "encoder",
        "source_language": "fra_Latn",
    }


def test_the_gate_loads_a_model_with_the_languages_of_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def load_model(_: str, options: LoadOptions) -> Any:
        asked.append((options.source_language, options.target_language))
        return judged

    monkeypatch.setattr("attnprobe.models.load_model", load_model)
    judged = dataclasses.replace(MODEL, source_language="eng_Latn", target_language="fra_Latn")
    load_again(judged, Results(environment={}, models=(judged,), cases=(), collected=0))
    assert asked == [("eng_Latn", "fra_Latn")]


def test_a_check_reads_texts_in_the_languages_that_are_given_p50(
    attn: Callable[..., tuple[int, str]], kind: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    AutoModelForSeq2SeqLM.from_config(network(kind).config).save_pretrained(tmp_path)
    build(kind).save_pretrained(tmp_path)
    _, french, german = KINDS[kind][1]
    given = ("--source-language", french, "--target-language", german)
    code, printed = attn("models", tmp_path, "--check", *given)
    assert code == 0
    lines = [line for line in printed.splitlines() if "ForConditionalGeneration" in line]
    # The second line of two texts: only the encoder reads them side by side.
    assert [" text pair " in line for line in lines] == [False, False, True]
    assert all(" equal " in line for line in lines)
    with pytest.raises(AttnprobeError, match=r"nothing was compared: refused: .* no source lang"):
        attn("models", tmp_path, "--check")
