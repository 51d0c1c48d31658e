"""Corpora: what is written is what is read, and what cannot be meant is said with file and line."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnprobe.cli import main
from attnprobe.core.errors import CorpusError
from attnprobe.core.texts import Sample, Span
from attnprobe.relations.corpus import Corpus, halves, read_corpus
from attnprobe.relations.labels import matches, relation_names
from attnprobe.relations.sentences import Arc
from attnprobe.words.looks import LabelledPair

Write = Callable[[str, str], Path]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return written


TREE = """\
# sent_id = dogs
# text = The dogs don't bark, Anna.
1	The	the	DET	_	_	2	det	_	_
2	dogs	dog	NOUN	_	_	5	nsubj:pass	5:nsubj	_
3-4	don't	_	_	_	_	_	_	_	_
3	do	do	AUX	_	_	5	aux	_	_
4	n't	not	PART	_	_	3	advmod	_	_
4.1	will	_	_	_	_	_	_	5:x	_
5	bark	bark	VERB	_	_	0	root	_	SpaceAfter=No
6	,	,	PUNCT	_	_	7	punct	_	_
7	Anna	Anna	PROPN	_	_	5	vocative	_	SpaceAfter=No
8	.	.	PUNCT	_	_	5	punct	_	_
"""


def words(corpus: Corpus) -> list[tuple[str, str, str]]:
    """Each arc of the first sentence by its words."""
    (sentence, *_) = corpus.sentences
    text = sentence.sample.text
    return [
        (text[slice(*arc.dependent)], text[slice(*arc.head)], arc.relation) for arc in sentence.arcs
    ]


def test_a_tree_with_a_multiword_token_an_empty_node_and_a_subtype(write: Write) -> None:
    corpus = read_corpus(write("a.conllu", TREE), "a")
    assert words(corpus) == [
        ("The", "dogs", "det"),
        ("dogs", "bark", "nsubj:pass"),
        ("don't", "bark", "aux"),
        ("Anna", "bark", "vocative"),
    ]
    assert corpus.sentences[0].id == "dogs"
    assert corpus.sentences[0].line == 1
    assert corpus.notes == (
        "1 multiword token: the words of one stand for all of its characters",
        "1 arc inside of one multiword token left out",
        "1 empty node left out: no character stands for one",
        "1 sentence with enhanced dependencies: the basic tree is read",
        "2 arcs of punctuation left out",
        "1 root left out: nothing in the sentence is their head",
        "1 arc with a subtype: nsubj counts nsubj:pass as well",
    )


def test_without_a_text_the_forms_are_put_together(write: Write) -> None:
    bare = "\n".join(line for line in TREE.splitlines() if not line.startswith("#")) + "\n"
    corpus = read_corpus(write("a.conllu", bare))
    assert corpus.sentences[0].sample.text == "The dogs don't bark, Anna."
    assert len(words(corpus)) == 4


def test_a_treebank_tells_its_words(write: Write) -> None:
    (sentence,) = read_corpus(write("a.conllu", TREE)).sentences
    assert sentence.words is not None
    spelled = [sentence.sample.text[slice(*word)] for word in sentence.words]
    assert spelled == ["The", "dogs", "don't", "bark", ",", "Anna", "."]
    assert read_corpus(write("a.jsonl", entry())).sentences[0].words is None


@pytest.mark.parametrize(
    "stated",
    [
        "The dogs  don't bark, Anna.",
        "The   dogs don't bark,\u00a0 Anna.",
        "The dogs \u3000don't bark, Anna. ",
    ],
)
def test_more_than_one_space_parts_words(write: Write, stated: str) -> None:
    text = TREE.replace("# text = The dogs don't bark, Anna.", f"# text = {stated}")
    corpus = read_corpus(write("a.conllu", text))
    assert corpus.sentences[0].sample.text.rstrip() == stated.rstrip()
    assert [ends[:2] for ends in words(corpus)] == [
        ("The", "dogs"),
        ("dogs", "bark"),
        ("don't", "bark"),
        ("Anna", "bark"),
    ]


def test_sud_relations_and_their_subtypes(write: Write) -> None:
    text = "1\tshe\t_\t_\t_\t_\t2\tsubj\t_\t_\n2\tis\t_\t_\t_\t_\t0\troot\t_\t_\n"
    text += "3\tseen\t_\t_\t_\t_\t2\tcomp:aux@pass\t_\t_\n"
    corpus = read_corpus(write("sud.conllu", text))
    assert words(corpus) == [("she", "is", "subj"), ("seen", "is", "comp:aux@pass")]
    assert relation_names(["comp:aux@pass", "comp:obj", "comp:obj@x", "subj"]) == {
        "comp": 3,
        "comp:aux": 1,
        "comp:obj": 2,
        "comp:obj@x": 1,
        "subj": 1,
    }
    assert relation_names(["aux:pass", "nsubj", "nsubj:pass"]) == {
        "aux": 1,
        "nsubj": 2,
        "nsubj:pass": 1,
    }


@pytest.mark.parametrize(
    ("relation", "asked", "expected"),
    [
        ("nsubj", "nsubj", True),
        ("nsubj:pass", "nsubj", True),
        ("nsubj", "nsubj:pass", False),
        ("comp:obj@x", "comp:obj", True),
        ("nsubject", "nsubj", False),
    ],
)
def test_a_relation_matches_its_subtypes(relation: str, asked: str, expected: bool) -> None:
    assert matches(relation, asked) is expected


def changed(old: str, new: str) -> str:
    assert old in TREE
    return TREE.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (changed("1\tThe", "1 The"), 3, "10 columns between tabs, not 9"),
        (
            changed("# text = The dogs", "# text = The cats"),
            4,
            'goes on with "cats don\'t bark, Ann"',
        ),
        (changed("bark, Anna.\n", "bark , Anna.\n"), 10, "',' does not follow in # text"),
        (changed("SpaceAfter=No", "_"), 9, "no space follows 'bark'"),
        (changed("Anna.\n", "Anna. Yes\n"), 12, "goes on with ' Yes' where no token is left"),
        (changed("2\tdet", "9\tdet"), 3, "word 1 has the head 9"),
        (changed("2\tdet", "1\tdet"), 3, "word 1 has the head 1"),
        (changed("2\tdet", "_\tdet"), 3, "word 1 has no head"),
        (changed("2\tdet", "x\tdet"), 3, "not CoNLL-U"),
        (changed("\n2\tdogs", "\n3\tdogs"), 4, "word 2 is missing before word 3"),
        (changed("3-4", "4-5"), 5, "4-5 does not stand before its words"),
        (changed("\tDET\t", "\t\t"), 3, "a column is empty"),
        (TREE + "\n" + TREE, 14, "'dogs' stands in line 1 already"),
        ("\n", 1, "no relation between two words"),
        ("# only = comments\n\n", 1, "no relation between two words"),
    ],
)
def test_a_broken_treebank_is_refused_with_its_line(
    write: Write, text: str, line: int, message: str
) -> None:
    with pytest.raises(CorpusError) as caught:
        read_corpus(write("a.conllu", text), "my.conllu")
    assert str(caught.value).startswith(f"my.conllu:{line}:1: ")
    assert message in str(caught.value)


def entry(**changes: Any) -> str:
    whole = {
        "text": "It fell.",
        "arcs": [{"from": [0, 2], "to": [3, 7], "relation": "coref"}],
    }
    return json.dumps({key: value for key, value in (whole | changes).items() if value is not None})


def arc(**changes: Any) -> str:
    return entry(arcs=[{"from": [0, 2], "to": [3, 7], "relation": "coref"} | changes])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ('{"text": "a", "text": "b"}', "a key stands twice"),
        ("[1]", "expected an object with text, arcs"),
        (entry(arcs=None), "arcs is missing"),
        (entry(arcs={}), "arcs is a list"),
        (entry(txet="x"), "unknown key 'txet'"),
        (entry(text=" "), "text: is empty"),
        (entry(text=7), "text is text, not 7"),
        (
            "{'text': 'a'}",
            "not JSON: Expecting property name enclosed in double quotes; JSON needs double quotes",
        ),
        (entry(id=7), "id is text, not 7"),
        (entry(arcs=[{"from": [0, 2], "to": [3, 7]}]), "relation is missing"),
        (arc(relation=""), "relation is a name"),
        (arc(to=[3, 99]), "to: [3, 99] does not lie in the text of 8 characters"),
        (arc(to=[3, 3]), "to: [3, 3] does not lie in the text"),
        (arc(to=[-3, 3]), "to: [-3, 3] does not lie"),
        (arc(to=[2, 3]), "to: [2, 3] is only white space"),
        (arc(to=[True, 3]), "to takes [start, end]"),
        (arc(to="fell"), "to takes [start, end] in characters, such as [4, 10], not 'fell'"),
        (arc(to=[0, 2]), "from and to are the same characters"),
        (arc(candidates=[7, 8]), "candidates takes [start, end] in characters"),
        (arc(candidates=7), "candidates is a list of [start, end]"),
        (arc(candidates=[]), "candidates: name at least one other word than to:"),
        (arc(candidates=[[3, 7]]), "candidates: name at least one other word than to:"),
        (arc(candidates=[[6, 8]]), "candidates: share characters with one another, with from: or"),
        (arc(candidates=[[1, 2]]), "candidates: share characters with one another, with from: or"),
        (arc(candidates=[[7, 9]]), "candidates: [7, 9] does not lie in the text"),
    ],
)
def test_a_broken_line_of_json_is_refused_with_its_number(
    write: Write, line: str, message: str
) -> None:
    with pytest.raises(CorpusError) as caught:
        read_corpus(write("a.jsonl", f"{entry()}\n\n{line}\n"), "my.jsonl")
    assert str(caught.value).startswith("my.jsonl:3:")
    assert message in str(caught.value)


def test_an_arc_may_name_what_competes(write: Write) -> None:
    line = arc(candidates=[[7, 8], [3, 7], [7, 8]])
    (sentence,) = read_corpus(write("a.jsonl", line)).sentences
    (found,) = sentence.arcs
    assert found.candidates == (Span(7, 8),)
    assert found.pair(5) == LabelledPair(5, Span(0, 2), Span(3, 7), (Span(7, 8),))
    # They are no alternatives to the word that looks.
    assert found.pair(5, backwards=True) == LabelledPair(5, Span(3, 7), Span(0, 2))
    # In a sentence pair the candidates are of the text, and `from` is of the target.
    pair = arc(candidates=[[0, 2]]).replace('"It fell."', '"It fell.", "target": "Cela tomba"', 1)
    (sentence,) = read_corpus(write("b.jsonl", pair)).sentences
    assert sentence.arcs[0].candidates == (Span(0, 2),)


HEADER = "text\tfrom-start\tfrom-end\tto-start\tto-end\trelation\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "a header is missing"),
        (HEADER.replace("relation", "label"), 1, "unknown column 'label'"),
        (HEADER.replace("to-end\t", ""), 1, "column 'to-end' is missing"),
        (HEADER.replace("\n", "\trelation\n"), 1, "a column stands twice"),
        (HEADER + "It fell.\t0\t2\t3\t7\n", 2, "5 columns, but the header has 6"),
        (HEADER + "It fell.\t0\t2\t3\tx\tcoref\n", 2, "to-end is a number of characters"),
        (HEADER + "It fell.\t0\t2\t3\t٧\tcoref\n", 2, "to-end is a number of characters"),
        (HEADER + "It fell.\t0\t2\t3\t70\tcoref\n", 2, "to: [3, 70] does not lie"),
        (HEADER + " \t0\t2\t3\t7\tcoref\n", 2, "text is empty"),
        (HEADER + "It fell.\t0\t2\t3\t7\t \n", 2, "relation is a name"),
        (HEADER, 1, "no relation between two words"),
    ],
)
def test_a_broken_table_is_refused_with_its_line(
    write: Write, text: str, line: int, message: str
) -> None:
    with pytest.raises(CorpusError) as caught:
        read_corpus(write("a.tsv", text), "my.tsv")
    assert str(caught.value).startswith(f"my.tsv:{line}:")
    assert message in str(caught.value)


def test_lines_of_one_text_are_one_sentence(write: Write) -> None:
    lines = HEADER + "It fell.\t0\t2\t3\t7\tsubj\nHe ran.\t0\t2\t3\t6\tsubj\n"
    corpus = read_corpus(write("a.tsv", lines + "It fell.\t3\t7\t0\t2\tback\n"))
    assert [(one.sample.text, len(one.arcs), one.line) for one in corpus.sentences] == [
        ("It fell.", 2, 2),
        ("He ran.", 1, 3),
    ]


@pytest.mark.parametrize("name", ["a.conllu", "a.jsonl", "a.tsv"])
def test_a_corpus_that_is_not_utf8_text_is_refused_p2(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbffirst line\n\xff\n")
    with pytest.raises(CorpusError, match=r":2:1: not UTF-8: byte 14 is 0xFF"):
        read_corpus(path)
    path.write_bytes(b"first line\n\n a \0 b\n")
    with pytest.raises(CorpusError, match=r":3:1: a NUL character"):
        read_corpus(path)


def test_a_file_that_is_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read: No such file"):
        read_corpus(tmp_path / "a.tsv")
    with pytest.raises(CorpusError, match=r"a corpus ends in .conllu, .jsonl, .tsv"):
        read_corpus(tmp_path / "a.csv")


def make_bad_places(folder: Path) -> None:
    """What a path may lead to besides a file with a corpus."""
    os.mkfifo(folder / "fifo.tsv")
    (folder / "device.tsv").symlink_to("/dev/zero")
    (folder / "loop.tsv").symlink_to("loop.tsv")
    (folder / "folder.tsv").mkdir()
    (folder / "link.tsv").symlink_to("folder.tsv", target_is_directory=True)
    (folder / "empty.tsv").touch()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fifo.tsv", "fifo.tsv: is no file"),
        ("device.tsv", "device.tsv: is no file"),
        ("loop.tsv", "loop.tsv: cannot be read: Too many levels of symbolic links"),
        ("folder.tsv", "folder.tsv: no file in this folder ends in .conllu"),
        ("link.tsv", "link.tsv: no file in this folder ends in .conllu"),
        ("empty.tsv", "empty.tsv:1:1: a header is missing: "),
        ("a\0b.tsv", "a<U+0000>b.tsv: cannot be read: "),
        ("a" * 5000 + ".tsv", "a" * 200 + "…: cannot be read: File name too long"),
    ],
)
def test_a_path_that_leads_to_no_corpus(
    name: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_bad_places(tmp_path)
    with pytest.raises(CorpusError) as caught:
        read_corpus(Path(name))
    assert str(caught.value).startswith(message)
    if "\0" in name:  # no command line holds one
        return
    monkeypatch.setattr(sys, "argv", ["attnprobe", "scan", "model", "--corpus", name])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr() == ("", f"{caught.value}\n")


def test_a_corpus_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "a.tsv").touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CorpusError, match=r"a\.tsv: cannot be read: Permission denied$"):
        read_corpus(tmp_path / "a.tsv")


@given(st.lists(st.from_regex("[ab]{1,2}([:@][ab]?){0,4}", fullmatch=True), max_size=8))
def test_a_relation_counts_for_all_that_it_is_a_subtype_of(relations: list[str]) -> None:
    found = relation_names(relations)
    for name, count in found.items():
        assert count == sum(matches(relation, name) for relation in relations)
    # What is left out is told by a wider name with the same arcs.
    for relation in set(relations) - found.keys():
        assert any(
            matches(relation, name) and count == sum(matches(one, relation) for one in relations)
            for name, count in found.items()
        )


def test_a_label_has_a_greatest_length(write: Write) -> None:
    head = "text\tfrom-start\tfrom-end\tto-start\tto-end\trelation\na b\t0\t1\t2\t3\t"
    (sentence,) = read_corpus(write("a.tsv", head + ":" * 200)).sentences
    assert sentence.arcs[0].relation == ":" * 200
    with pytest.raises(CorpusError, match=r":2:1: a relation .* more than 200 characters"):
        read_corpus(write("b.tsv", head + ":" * 201))


# Round trips --------------------------------------------------------------------------------------

LETTERS = st.characters(categories=("L", "M", "N", "P", "S"), exclude_characters="#\t\n\r")
WORD = st.text(LETTERS, min_size=1, max_size=6).filter(lambda word: word.strip() == word)
NAME = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Sample, list[Arc]]:
    """A text of words with single spaces, and arcs between them."""
    parts = draw(st.lists(WORD, min_size=2, max_size=6))
    starts = [sum(len(part) + 1 for part in parts[:place]) for place in range(len(parts))]
    spans = [Span(start, start + len(part)) for start, part in zip(starts, parts, strict=True)]
    both = st.permutations(spans).map(lambda order: (order[0], order[1]))
    arcs = [Arc(*draw(both), relation) for relation in draw(st.lists(NAME, min_size=1, max_size=3))]
    return Sample(" ".join(parts)), arcs


SENTENCES = st.lists(labelled(), min_size=1, max_size=4, unique_by=lambda one: one[0].text)
LONG = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@LONG
@given(SENTENCES)
def test_json_lines_read_back(tmp_path: Path, sentences: list[tuple[Sample, list[Arc]]]) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        json.dumps(
            {
                "id": str(number),
                "text": sample.text,
                "arcs": [{"from": a.dependent, "to": a.head, "relation": a.relation} for a in arcs],
            },
            ensure_ascii=number % 2 == 0,
        )
        for number, (sample, arcs) in enumerate(sentences)
    ]
    path.write_bytes("\n".join(lines).encode())
    found = read_corpus(path).sentences
    assert [(one.sample, list(one.arcs)) for one in found] == sentences
    assert [one.line for one in found] == list(range(1, len(lines) + 1))


@LONG
@given(SENTENCES)
def test_tables_read_back(tmp_path: Path, sentences: list[tuple[Sample, list[Arc]]]) -> None:
    path = tmp_path / "a.tsv"
    rows = [
        "\t".join(map(str, (sample.text, *arc.dependent, *arc.head, arc.relation)))
        for sample, arcs in sentences
        for arc in arcs
    ]
    path.write_bytes((HEADER + "\r\n".join(rows)).encode())
    found = read_corpus(path).sentences
    assert [(one.sample, list(one.arcs)) for one in found] == sentences


@st.composite
def trees(draw: st.DrawFn) -> tuple[str, str, list[tuple[int, int, str]], list[Span]]:
    """A sentence of a treebank, and its text, arcs and spans made up independently."""
    forms = draw(st.lists(WORD, min_size=2, max_size=6))
    spaced = draw(st.lists(st.booleans(), min_size=len(forms), max_size=len(forms)))
    text, spans, lines = "", [], []
    root = draw(st.integers(1, len(forms)))
    arcs = []
    for number, (form, space) in enumerate(zip(forms, spaced, strict=True), start=1):
        spans.append(Span(len(text), len(text) + len(form)))
        text += form + (" " if space and number < len(forms) else "")
        others = [other for other in range(1, len(forms) + 1) if other != number]
        head = 0 if number == root else draw(st.sampled_from(others))
        relation = "root" if head == 0 else draw(st.sampled_from(["nsubj", "det:x", "obj"]))
        if head:
            arcs.append((number, head, relation))
        misc = "_" if space else "SpaceAfter=No"
        lines.append(f"{number}\t{form}\t_\t_\t_\t_\t{head}\t{relation}\t_\t{misc}")
    return text, "\n".join(lines), arcs, spans


@LONG
@given(st.lists(trees(), min_size=1, max_size=3), st.booleans())
def test_treebanks_read_back(
    tmp_path: Path,
    written: list[tuple[str, str, list[tuple[int, int, str]], list[Span]]],
    told: bool,
) -> None:
    path = tmp_path / "a.conllu"
    blocks = [
        f"# sent_id = {number}\n{f'# text = {text}' if told else '# x = y'}\n{lines}\n"
        for number, (text, lines, _, _) in enumerate(written)
    ]
    path.write_bytes("\n".join(blocks).encode())
    found = read_corpus(path).sentences
    assert [one.sample.text for one in found] == [text for text, *_ in written]
    for one, (_, _, arcs, spans) in zip(found, written, strict=True):
        assert list(one.arcs) == [
            Arc(spans[number - 1], spans[head - 1], relation) for number, head, relation in arcs
        ]


# Halves -------------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=5), max_size=40), st.integers(0, 9), st.randoms())
def test_halves_do_not_depend_on_the_order(ids: list[str], seed: int, random: Any) -> None:
    sides = dict(zip(ids, halves(ids, seed=seed).tolist(), strict=True))
    judged = sum(sides.values())
    assert judged == len(set(ids)) - len(set(ids)) // 2
    shuffled = list(ids)
    random.shuffle(shuffled)
    assert halves(shuffled, seed=seed).tolist() == [sides[one] for one in shuffled]


def test_another_seed_gives_other_halves() -> None:
    ids = [str(number) for number in range(1000)]
    first, second = halves(ids, seed=0), halves(ids, seed=1)
    assert 400 < np.count_nonzero(first == second) < 600


def test_equal_texts_share_a_half(write: Write) -> None:
    lines: Sequence[str] = [entry(), entry(text="He fell."), entry(), entry(text="She fell.")]
    ids = [one.id for one in read_corpus(write("a.jsonl", "\n".join(lines))).sentences]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3
    named = [entry(id="same"), entry(id="same", text="He fell.")]
    with pytest.raises(CorpusError, match="'same' stands in line 1 already"):
        read_corpus(write("b.jsonl", "\n".join(named)))
