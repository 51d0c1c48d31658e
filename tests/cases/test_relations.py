"""Relations as files state them: what is read, and what is refused by line."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from attnprobe import cases, cli
from attnprobe.cases import CorpusArcs, LabelledArcs, Relation, yamltext
from attnprobe.core.errors import CaseError, CaseErrors, CorpusError
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample, Span
from attnprobe.relations.accuracy import judge
from attnprobe.relations.gather import gather
from attnprobe.words.heads import HeadSet
from tests.support.made_up import FakeReader
from tests.support.written_relations import DATA, ROOT, START, one, read

SCHEMA = cases.schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)

SPANS = "spans: [{text: The dog barks., from: barks, to: [4, 7]}]"
PLAIN = f"{SPANS}, heads: L0H1, expect: {{accuracy: 0.5}}"
CASES = """\
cases:
  - id: chase
    template: "The {who} chased a cat because it was {how}."
    rows: [{who: dog, how: angry}, {who: seal, how: bored}]
    expect:
      - attends: {from: it, to: "{who}", over: cat, heads: L0H0, top: 1}
      - attends: {from: "{how}", to: it, heads: L0H0, min: 0.1}
      - attends: {from: "{how}", to: chased, heads: L0H0, max: 0.1}
      - ignores: {from: it, to: cat, heads: L0H0, max: 0.1}
  - id: gap
    text: The bird sang until it slept.
    xfail: it looks elsewhere
    expect:
      - attends: {from: it, to: bird, heads: L0H0, top: 1}
      - attends: {from: it, to: [bird, sang], heads: L0H0, min: 0.1}
      - attends: {from: it, to: {special: cls}, heads: L0H0, min: 0.1}
      - attends: {from: it, to: sang, heads: L0H0, min: 0.1, site: decoder}
  - id: later
    text: The cat slept.
    skip: waits
    expect:
      - attends: {from: slept, to: cat, heads: L0H0, top: 1}
"""


def errors(body: str, **options: Any) -> list[str]:
    with pytest.raises((CaseError, CaseErrors)) as caught:
        one(body, **options)
    return str(caught.value).split("\n")


# How a relation is written ----------------------------------------------------------------------


def test_a_relation_in_full() -> None:
    text = (
        "version: 1\nsuite: s\nmarks: [x]\nseverity: advisory\nmodel: mini\n"
        "defaults: {heads: L9H9, site: encoder}\n"
        "relations:\n"
        "  - id: subjects\n"
        "    from_corpus: {conllu: data/english.conllu, deprel: [nsubj, csubj], "
        "direction: head-to-dependent}\n"
        "    heads: {in: [L2, L3H1], how: best, chosen_on: half}\n"
        "    site: cross\n    seed: 7\n    least: 3\n    severity: blocking\n    model: other\n"
        "    marks: [y]\n    xfail: known\n    skip: today\n"
        "    expect:\n      accuracy: 0.5\n      above_best_offset: 0\n      above_offset_p: 0.05\n"
    )
    contents = read(text, folder=ROOT / "cases")
    assert contents.cases == ()
    (relation,) = contents.relations
    assert (relation.suite, relation.id, relation.name) == ("s", "subjects", "subjects")
    assert (relation.mark.line, relation.mark.column) == (8, 5)
    assert isinstance(relation.source, CorpusArcs)
    assert relation.source.path == DATA / "english.conllu"
    assert relation.source.shown == "data/english.conllu"
    assert [(label, mark.column) for label, mark in relation.source.labels] == [
        ("nsubj", 57),
        ("csubj", 64),
    ]
    assert relation.source.backwards
    assert (relation.choose, str(relation.heads)) == (True, "best of [L2, L3H1]")
    assert (relation.site, relation.seed, relation.least) == ("cross", 7, 3)
    assert [(bound.name, bound.demanded, bound.mark.line) for bound in relation.bounds] == [
        ("accuracy", 0.5, 20),
        ("above_best_offset", 0, 21),
        ("above_offset_p", 0.05, 22),
    ]
    assert (relation.marks, relation.severity, relation.model) == (("x", "y"), "blocking", "other")
    assert (relation.xfail, relation.skip) == ("known", "today")
    assert relation.describe() == "nsubj or csubj, head → dependent"
    VALIDATOR.validate(yamltext.loads(text.encode(), "a").value)


def test_what_a_relation_need_not_say() -> None:
    relation = one(
        f"{SPANS}, expect: {{accuracy: 0.5}}", "defaults: {heads: L3H1, site: encoder}\n"
    )
    assert (relation.heads.members, relation.site) == ((Head(3, 1),), "encoder")
    assert (relation.choose, relation.among) == (False, "words")
    assert (relation.seed, relation.least) == (0, 30)
    assert (relation.marks, relation.severity, relation.model) == ((), "blocking", None)


@pytest.mark.parametrize(
    ("heads", "how", "choose"),
    [
        ("L0H1", None, False),
        ("[L0H1]", None, False),
        ("mean", "mean", False),
        ("{in: L2-L4, how: mean}", "mean", False),
        ("{in: all, how: best, chosen_on: half}", "best", True),
        ("{in: all, how: best}", "best", True),
        ('"@one"', None, False),
        ('"@two"', "mean", False),  # a named set is what its scan measured: the mean of its heads
        ('{in: "@two", how: best}', "best", True),
    ],
)
def test_heads_of_a_relation(heads: str, how: str | None, choose: bool) -> None:
    sets = {
        "one": HeadSet("one", (Head(0, 1),)),
        "two": HeadSet("two", (Head(0, 1), Head(1, 0))),
    }
    body = f"{SPANS}, heads: {heads}, expect: {{accuracy: 0.5}}"
    relation = one(body, head_sets=sets)
    assert (relation.heads.how, relation.choose) == (how, choose)
    text = f"{START}relations:\n  - {{id: a, {body}}}\n"
    VALIDATOR.validate(yamltext.loads(text.encode(), "a").value)


@pytest.mark.parametrize(
    "heads",
    [
        "any",
        "all",
        "[L0H1, L1H0]",
        "L3",
        "L2-L4",
        "{in: all, how: any}",
        "{in: [L0H1, L1H1], how: all}",
        "{in: L3, how: {at_least: 2}}",
        "{in: L3}",
    ],
)
def test_several_heads_are_refused_with_what_to_write(heads: str) -> None:
    body = f"{SPANS}, heads: {heads}, expect: {{accuracy: 0.5}}"
    (found,) = errors(body)
    assert found.startswith("a.attn.yaml:4:")
    assert "{in: ..., how: best, chosen_on: half}" in found
    assert "{in: ..., how: mean}" in found
    text = f"{START}relations:\n  - {{id: a, {body}}}\n"
    assert not VALIDATOR.is_valid(yamltext.loads(text.encode(), "a").value)


def test_several_heads_by_default_are_refused_at_the_relation() -> None:
    (found,) = errors(f"{SPANS}, expect: {{accuracy: 0.5}}", before="defaults: {heads: any}\n")
    assert found.startswith("a.attn.yaml:5:5: heads: any of defaults: is several heads, and")


CORPUS = "heads: L0H1, expect: {accuracy: 0.5}, from_corpus: "


@pytest.mark.parametrize(
    ("body", "told"),
    [
        # The shape of the entry.
        (PLAIN.replace("spans", "span"), "4:13: unknown key 'span'; did you mean 'spans'?"),
        (f"{PLAIN}, from_cases: all", "4:5: a relation has exactly one of from_corpus:, "),
        ("heads: L0H1, expect: {accuracy: 0.5}", "4:5: a relation has exactly one of "),
        (f"{SPANS}, heads: L0H1", "4:5: expect: is missing"),
        (f"{SPANS}, expect: {{accuracy: 0.5}}", "4:5: heads: is missing; name one"),
        (PLAIN.replace("L0H1", "L0K1"), "heads: 'L0K1' is no head"),
        (f"{PLAIN}, seed: -1", "seed: -1 is out of range; it must be at least 0"),
        (f"{PLAIN}, least: 0", "least: 0 is out of range; it must be at least 1"),
        (f"{PLAIN}, least: many", "least: 'many' is text; it takes a whole number"),
        (f"{PLAIN}, site: encodr", "site: 'encodr' is not known; did you mean 'encoder'?"),
        (f"{PLAIN}, marks: [xfail]", "'xfail' means something to pytest itself"),
        (f"{PLAIN}, xfail: ~", "nothing is written here"),
        # What is demanded.
        (PLAIN.replace("accuracy: 0.5", ""), "expect: demands nothing; give at least one of acc"),
        (PLAIN.replace("accuracy", "acuracy"), "unknown key 'acuracy'; did you mean 'accuracy'?"),
        (PLAIN.replace("0.5", "0"), "accuracy: 0 is out of range; it must be above 0"),
        (PLAIN.replace("0.5", "50"), "accuracy: 50 is out of range; it must be at most 1"),
        (
            PLAIN.replace("accuracy: 0.5", "above_best_offset: 1"),
            "above_best_offset: 1 is out of range; it must be below 1",
        ),
        (
            PLAIN.replace("accuracy: 0.5", "above_offset_p: 1"),
            "above_offset_p: 1 is out of range; it must be below 1",
        ),
        (PLAIN.replace("accuracy: 0.5", "above_offset_p: 1e-3"), "YAML reads 1e-3 as text"),
        (
            PLAIN.replace("accuracy: 0.5", "above_preference: 1"),
            "above_preference: 1 is out of range; it must be below 1",
        ),
        (
            PLAIN.replace("accuracy: 0.5", "above_preference_p: 0"),
            "above_preference_p: 0 is out of range; it must be above 0",
        ),
        # Which head.
        (
            PLAIN.replace("L0H1", "{in: all, how: best, chosen_on: all}"),
            "chosen_on: takes half: the head is chosen on one half",
        ),
        (
            PLAIN.replace("L0H1", "{in: all, how: mean, chosen_on: half}"),
            "chosen_on: goes with how: best",
        ),
        # Labelled words.
        (PLAIN.replace("barks, to", "bark, to"), "from: 'bark' stands in the text only as a part"),
        (PLAIN.replace("[4, 7]", "[4, 70]"), "to: chars: [4, 70] lies outside the text of 14"),
        (PLAIN.replace("[4, 7]", "[9, 10]"), "from: and to: share characters"),
        (PLAIN.replace("[4, 7]", "[7, 4]"), "to: chars takes [start, end]"),
        (PLAIN.replace("[4, 7]", "[dog, barks]"), "one word of the text"),
        (PLAIN.replace("[4, 7]", "{special: cls}"), "one word of the text"),
        (PLAIN.replace("from: barks", "form: barks"), "unknown key 'form'; did you mean 'from'?"),
        (PLAIN.replace("[4, 7]", "dog, candidates: []"), "candidates: is empty"),
        (PLAIN.replace("[4, 7]", "dog, candidates: [dog]"), "candidates: name at least one other"),
        (PLAIN.replace("[4, 7]", "dog, candidates: [cat]"), "candidates: 'cat' does not stand in"),
        (PLAIN.replace("[4, 7]", "dog, candidates: [barks]"), "candidates: share characters with"),
        (f"{PLAIN}, among: sinks", "among: 'sinks' is not known; it takes 'words' or 'all'"),
        # A corpus.
        (f"{CORPUS}{{conllu: x.conllu}}", "deprel: is missing; name the relation"),
        (f"{CORPUS}{{jsonl: x.jsonl, deprel: y}}", "deprel: does not go with jsonl:"),
        (f"{CORPUS}{{conllu: x.conllu, relation: y}}", "relation: does not go with conllu:"),
        (f"{CORPUS}{{deprel: y}}", "from_corpus: names one file: conllu:, jsonl: or tsv:"),
        (f"{CORPUS}{{conllu: a.conllu, tsv: b.tsv, deprel: y}}", "from_corpus: names one file"),
        (f"{CORPUS}{{conlu: x.conllu, deprel: y}}", "unknown key 'conlu'; did you mean 'conllu'?"),
        (f"{CORPUS}{{conllu: x.conllu, deprel: no}}", 'YAML reads no as a truth value; write "no"'),
        (
            f"{CORPUS}{{conllu: x.conllu, deprel: y, direction: up}}",
            "direction: 'up' is not known; it takes 'dependent-to-head' or 'head-to-dependent'",
        ),
        (
            f"{CORPUS}{{conllu: data/englsh.conllu, deprel: y}}",
            "'data/englsh.conllu' is not there; did you mean 'english.conllu'?",
        ),
        (f"{CORPUS}{{conllu: nowhere/x.conllu, deprel: y}}", "is not there; none is known"),
        (f"{CORPUS}{{conllu: data/pronouns.jsonl, deprel: y}}", "is no .conllu file"),
        (f"{CORPUS}{{conllu: data, deprel: y}}", "is no .conllu file"),
    ],
)
def test_what_cannot_be_meant_is_told_by_line(body: str, told: str) -> None:
    found = errors(body, folder=ROOT / "cases")
    assert told in "\n".join(found)
    assert all(line.startswith("a.attn.yaml:4:") for line in found if not line.startswith("  "))


@pytest.mark.parametrize(
    "path", ["../../out.conllu", "../secret.conllu", "{tmp}/secret.conllu", "link.conllu"]
)
def test_a_corpus_lies_in_the_project_p32(path: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "cases").mkdir(parents=True)
    secret = tmp_path / "secret.conllu"
    secret.write_text("1\ta\t_\t_\t_\t_\t0\troot\t_\t_\n\n")
    (project / "cases" / "link.conllu").symlink_to(secret)
    written = json.dumps(path.format(tmp=tmp_path).replace("../secret", "../../secret"))
    (found,) = errors(
        f"{CORPUS}{{conllu: {written}, deprel: y}}", folder=project / "cases", root=project
    )
    assert "lies outside of the project" in found


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("a\\0b.conllu", "is no path: .*embedded null"),
        ("a" * 5000 + ".conllu", "is no path: File name too long"),
        ("loop.conllu", "is no path: Symlink loop|is not there"),
        ("fifo.conllu", "is no file$"),
        ("device.conllu", "lies outside of the project"),
        ("folder.conllu", "is no file$"),
        ("empty.conllu", ""),
    ],
)
def test_a_path_that_leads_to_no_corpus(path: str, told: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.conllu")
    (tmp_path / "device.conllu").symlink_to("/dev/zero")
    (tmp_path / "loop.conllu").symlink_to("loop.conllu")
    (tmp_path / "folder.conllu").mkdir()
    (tmp_path / "empty.conllu").touch()
    body = f'{CORPUS}{{conllu: "{path}", deprel: y}}'
    if not told:  # whether it has the relation is found when it is read
        assert isinstance(one(body, folder=tmp_path).source, CorpusArcs)
        return
    (found,) = errors(body, folder=tmp_path)
    assert re.search(told, found)
    assert len(found) < 200


def test_a_corpus_may_lie_beside_the_cases_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.conllu").write_text("")
    body = f"{CORPUS}{{conllu: ../data/x.conllu, deprel: y}}"
    relation = one(body, folder=tmp_path / "cases", root=tmp_path)
    assert isinstance(relation.source, CorpusArcs)
    assert relation.source.shown == "data/x.conllu"
    # Without a root, or outside of it, the file's own folder is all that may be read.
    for root in (None, tmp_path / "elsewhere"):
        (found,) = errors(body, folder=tmp_path / "cases", root=root)
        assert "lies outside of the project" in found


def test_a_duplicate_relation_id_is_refused_p4() -> None:
    text = f"{START}relations:\n  - {{id: gap, {PLAIN}}}\n  - {{id: b, {PLAIN}}}\n"
    with pytest.raises(CaseErrors) as caught:
        read(text + f"  - {{id: b, {PLAIN}}}\n" + CASES)
    assert str(caught.value) == (
        "a.attn.yaml:4:10: duplicate relation id 'gap', first used in line 16\n"
        "a.attn.yaml:6:10: duplicate relation id 'b', first used in line 5"
    )


def test_a_file_without_cases_and_relations_is_refused_p9() -> None:
    with pytest.raises(CaseErrors, match="cases: is missing; a file holds cases:, relations: or"):
        read(START)
    with pytest.raises(CaseErrors, match="relations: is empty"):
        read(f"{START}relations: []\n")
    for text in (START, f"{START}relations: []\n", f"{START}relations:\n  - {{id: a}}\n"):
        assert not VALIDATOR.is_valid(yamltext.loads(text.encode(), "a").value)


def test_chosen_on_is_for_relations_alone() -> None:
    text = (
        f"{START}cases:\n  - id: a\n    text: The dog barks.\n    expect:\n"
        "      - attends: {from: dog, to: The, top: 1, "
        "heads: {in: all, how: best, chosen_on: half}}\n"
    )
    with pytest.raises(CaseErrors, match="chosen_on: goes with the heads of a relation"):
        read(text)
    assert not VALIDATOR.is_valid(yamltext.loads(text.encode(), "a").value)


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.replace("accuracy", "acuracy"),
        PLAIN.replace("accuracy: 0.5", ""),
        f"{PLAIN}, from_cases: all",
        f"{CORPUS}{{conllu: x.conllu}}",
        f"{CORPUS}{{jsonl: x.jsonl, deprel: y}}",
        f"{CORPUS}{{conllu: x.conllu, tsv: y.tsv, deprel: y}}",
        "from_cases: some, heads: L0H1, expect: {accuracy: 0.5}",
        PLAIN.replace("L0H1", "{in: all, how: mean, chosen_on: all}"),
    ],
)
def test_the_schema_rejects_what_is_refused(body: str) -> None:
    errors(body)
    text = f"{START}relations:\n  - {{id: a, {body}}}\n"
    assert not VALIDATOR.is_valid(yamltext.loads(text.encode(), "a").value)


def test_the_schema_describes_every_key() -> None:
    for name in ("relation", "corpusArcs", "labelledSpans", "bounds"):
        fields = SCHEMA["definitions"][name]["properties"]
        named = [key for key, field in fields.items() if not field.get("description")]
        assert set(named) <= {"id", "heads", "marks"}


# Arcs -------------------------------------------------------------------------------------------


def test_arcs_from_the_cases_of_the_file() -> None:
    body = "from_cases: all, heads: L0H1, site: encoder, expect: {accuracy: 0.5}"
    relation = one(body, CASES)
    assert isinstance(relation.source, LabelledArcs)
    assert [
        (arc.sample.text[slice(*arc.query)], arc.sample.text[slice(*arc.key)], arc.group)
        for arc in relation.source.arcs
    ] == [
        ("it", "dog", "chase"),
        ("angry", "it", "chase"),
        ("it", "seal", "chase"),
        ("bored", "it", "chase"),
        ("it", "bird", "gap"),  # xfail or not, the label is right
    ]
    assert relation.source.left_out == {
        "several words": 1,
        "special tokens and predicted words": 1,
        "at another site": 1,
        "skipped": 1,
    }
    arcs = gather(relation)
    assert (len(arcs.samples), arcs.groups) == (3, ("chase", "chase", "gap"))
    assert [pair.sample for pair in arcs.pairs] == [0, 0, 1, 1, 2]


def test_arcs_from_some_cases_of_the_file() -> None:
    body = "from_cases: [gap], heads: L0H1, site: encoder, expect: {accuracy: 0.5}"
    source = one(body, CASES).source
    assert isinstance(source, LabelledArcs)
    assert {arc.group for arc in source.arcs} == {"gap"}
    found = errors(body.replace("gap", "gapp"), before=CASES)
    assert found[0].endswith("no case 'gapp' for this model; did you mean 'gap'?")
    found = errors(body.replace("gap", "later"), before=CASES)
    assert "from_cases: finds no attends with min:, top: or over:" in found[0]
    found = errors(f"{body}, model: other", before=CASES)
    assert "no case 'gap' for this model; none is known" in found[0]


def test_a_broken_case_is_not_reported_twice() -> None:
    body = "from_cases: [gap], heads: L0H1, expect: {accuracy: 0.5}"
    (found,) = errors(body, before=CASES.replace("text: The bird", "txt: The bird"))
    assert "unknown key 'txt'" in found


def test_lint_reads_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jsonl").write_text(TWICE)
    body = f"{CORPUS}{{jsonl: x.jsonl, relation: RELATION}}"
    file = tmp_path / "a.attn.yaml"
    for name, told, status in (
        ("rest", "1 file, 0 cases, 1 relation, 0 files with errors", 0),
        ("resd", "no relation 'resd' in x.jsonl; did you mean 'rest'?", 1),
    ):
        text = body.replace("RELATION", name)
        file.write_text(f"{START}relations:\n  - {{id: a, {text}}}\n")
        result = CliRunner().invoke(cli.app, ["lint", "a.attn.yaml"])
        assert told in result.stdout.replace("\n", " ")
        assert result.exit_code == status


def test_a_subtype_may_be_asked_for_alone(tmp_path: Path) -> None:
    relation = corpus(tmp_path, TWICE.replace('"r"', '"r:x"'), relation='"r:x"')
    assert len(gather(relation).pairs) == 2


def corpus(tmp_path: Path, text: str, relation: str = "r", **more: Any) -> Relation:
    """A relation of a JSONL file."""
    (tmp_path / "x.jsonl").write_text(text)
    written = "".join(f", {key}: {value}" for key, value in more.items())
    return one(
        f"from_corpus: {{jsonl: x.jsonl, relation: {relation}{written}}}, heads: L0H1, "
        "least: 1, expect: {accuracy: 0.5}",
        folder=tmp_path,
    )


TWICE = (
    '{"id": "1", "text": "a dog", "arcs": [{"from": [0, 1], "to": [2, 5], "relation": "r"}]}\n'
    '{"id": "2", "text": "a dog", "arcs": [{"from": [2, 5], "to": [0, 1], "relation": "r:x"}]}\n'
    '{"id": "3", "text": "a cat", "arcs": [{"from": [0, 1], "to": [2, 5], "relation": "rest"}]}\n'
)


def test_arcs_of_a_corpus(tmp_path: Path) -> None:
    relation = corpus(tmp_path, TWICE)
    arcs = gather(relation)
    # The same text is one sample, hence never on both sides of a split; subtypes are in.
    assert (arcs.samples, arcs.groups) == ((Sample("a dog"),), ("1",))
    assert [(pair.query, pair.key) for pair in arcs.pairs] == [
        (Span(0, 1), Span(2, 5)),
        (Span(2, 5), Span(0, 1)),
    ]
    assert arcs.sha256 == hashlib.sha256(TWICE.encode()).hexdigest()
    backwards = gather(corpus(tmp_path, TWICE, direction="head-to-dependent"))
    assert [(pair.query, pair.key) for pair in backwards.pairs] == [
        (pair.key, pair.query) for pair in arcs.pairs
    ]
    both = gather(corpus(tmp_path, TWICE, relation="[r, rest]"))
    assert len(both.pairs) == 3


def test_a_relation_that_the_corpus_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(CaseError) as caught:
        gather(corpus(tmp_path, TWICE, relation="[r, resd]"))
    assert str(caught.value) == (
        "a.attn.yaml:4:57: no relation 'resd' in x.jsonl; did you mean 'rest'?"
    )


def test_a_broken_corpus_is_an_error_by_its_line(tmp_path: Path) -> None:
    relation = corpus(tmp_path, TWICE + "{\n")
    with pytest.raises(CorpusError, match=r"^x.jsonl:4:\d+: not JSON"):
        gather(relation)
    finding = judge(relation, FakeReader())
    assert isinstance(finding.error, CorpusError)
    assert (finding.accuracy, finding.verdicts) == (None, ())


def test_a_corpus_of_two_texts_needs_cross_attention(tmp_path: Path) -> None:
    text = (
        '{"text": "a dog", "target": "un chien", '
        '"arcs": [{"from": [3, 8], "to": [2, 5], "relation": "r"}]}\n'
    )
    relation = corpus(tmp_path, text)
    with pytest.raises(CaseError, match="write site: cross"):
        gather(relation)
    (pair,) = gather(replace(relation, site="cross")).pairs
    assert (pair.query, pair.key) == (Span(3, 8), Span(2, 5))
    backwards = corpus(tmp_path, text, direction="head-to-dependent")
    with pytest.raises(CaseError, match="direction: dependent-to-head"):
        gather(replace(backwards, site="cross"))


# Statistics, by simulation -----------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 40)
    | st.sampled_from(["all", "half", "best", "mean", "L0H1", "x.conllu", "The dog barks.", "dog"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["in", "how", "text", "from", "conllu"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "spans", "from_cases", "from_corpus", "heads", "expect", "least", "seed", "x"]
        ),
        VALUES,
    )
)
def test_any_relation_is_read_or_refused(written: dict[str, Any]) -> None:
    good = {"id": "a", "spans": [{"text": "The dog barks.", "from": "dog", "to": "The"}]}
    good |= {"heads": "L0H1", "expect": {"accuracy": 0.5}}
    text = yaml.safe_dump({"version": 1, "suite": "s", "relations": [good | written]})
    with suppress(CaseError, CaseErrors):
        (relation,) = read(text).relations
        assert relation.bounds
        VALIDATOR.validate(yaml.safe_load(text))
