"""Corpora as streams: blocks, positions, formats, and files that are damaged."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tracemalloc
from collections import Counter
from datetime import datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnprobe.core.errors import CorpusError
from attnprobe.relations import lines, stream
from attnprobe.relations.corpus import read_corpus
from attnprobe.relations.sentences import corpus_notes
from attnprobe.relations.stream import START, CorpusStream, corpus_files

# The same folder serves all examples, whose files replace each other.
REUSED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def tree(number: int, comment: str = "") -> str:
    """A sentence of two to four words, some with what a note counts."""
    words = ["the", "old", "key", "fell"][: 2 + number % 3]
    rows = [
        f"{at}\t{word}{number}\t_\t_\t_\t_\t{at - 1}\t{'root' if at == 1 else 'x:y'}\t_\t_"
        for at, word in enumerate(words, start=1)
    ]
    return "\n".join([f"# sent_id = s{number}", *([comment] if comment else []), *rows])


def spans(number: int) -> dict[str, object]:
    text = f"the key {number} fell"
    arcs = [{"from": [0, 3], "to": [4, 7], "relation": "det"}] if number % 4 else []
    return {"id": f"s{number}", "text": text, "arcs": arcs}


texts = st.builds(
    lambda count, gaps, end, bom, carriage: (
        ("\ufeff" if bom else "")
        + "".join(
            tree(number) + "\n" + "\n" * gaps[number % len(gaps)] for number in range(count)
        ).rstrip("\n")
        + end
    ).replace("\n", "\r\n" if carriage else "\n"),
    st.integers(1, 23),
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.sampled_from(["", "\n", "\n\n", "\n\n# a comment alone\n"]),
    st.booleans(),
    st.booleans(),
)


@REUSED
@given(texts, st.integers(1, 9), st.booleans(), st.data())
def test_blocks_are_the_corpus(
    tmp_path: Path, text: str, size: int, packed: bool, data: st.DataObject
) -> None:
    path = tmp_path / ("a.conllu.gz" if packed else "a.conllu")
    raw = text.encode()
    path.write_bytes(gzip.compress(raw, 1) if packed else raw)
    whole = read_corpus(path)
    assert whole.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    reading = CorpusStream(path, "a")
    blocks = list(reading.blocks(size))
    assert (reading.total, reading.sha256) == (len(whole.sentences), whole.sha256)
    assert [one for block in blocks for one in block.sentences] == list(whole.sentences)
    assert all(len(block.sentences) == size for block in blocks[:-1])
    counts: Counter[str] = Counter()
    for block in blocks:
        counts.update(block.counts)
    assert corpus_notes(counts) == whole.notes
    # Where a block starts, its first byte lies; a block is found again from any earlier one.
    for block in blocks:
        rest = raw[block.position.offset :]
        first = whole.sentences[block.position.sentence]
        assert b"# sent_id" in rest[:20]
        assert raw[: block.position.offset].count(b"\n") + 1 == block.position.line == first.line
    chosen = data.draw(st.sets(st.sampled_from(range(len(blocks)))))
    start = data.draw(st.sampled_from(blocks)).position
    found = list(reading.blocks(size, wanted=chosen.__contains__, start=start))
    assert found == [
        block for block in blocks if block.position.block in chosen and block.position >= start
    ]


@REUSED
@given(st.integers(0, 30), st.integers(1, 9), st.integers(1, 7), st.data())
def test_rows_of_parquet_are_lines_of_json(
    tmp_path: Path, count: int, size: int, group: int, data: st.DataObject
) -> None:
    entries = [spans(number) for number in range(count)]
    plain = tmp_path / "a.jsonl"
    plain.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    rows = tmp_path / "a.parquet"
    span = pyarrow.list_(pyarrow.int64())
    arc = pyarrow.struct({"from": span, "to": span, "relation": pyarrow.string()})
    names = {"id": pyarrow.string(), "text": pyarrow.string(), "arcs": pyarrow.list_(arc)}
    table = pyarrow.Table.from_pylist(entries, pyarrow.schema(names))
    pyarrow.parquet.write_table(table, rows, row_group_size=group)
    expected = list(CorpusStream(plain, "a").blocks(size))
    reading = CorpusStream(rows, "a")
    found = list(reading.blocks(size))
    assert [block.sentences for block in found] == [block.sentences for block in expected]
    assert [block.counts for block in found] == [block.counts for block in expected]
    assert reading.total == count
    assert reading.sha256 == reading.digest() == hashlib.sha256(rows.read_bytes()).hexdigest()
    if found:
        start = data.draw(st.sampled_from(found)).position
        assert list(reading.blocks(size, start=start)) == found[start.block :]


def test_a_table_is_read_in_blocks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tsv"
    header = "text\tfrom-start\tfrom-end\tto-start\tto-end\trelation\n"
    rows = [f"a word {number % 7}\t0\t1\t2\t6\tx" for number in range(20)]
    path.write_text(header + "\n".join(rows))
    reading = CorpusStream(path, "a")
    blocks = list(reading.blocks(3))
    assert [len(block.sentences) for block in blocks] == [3, 3, 1]
    assert reading.total == 7
    assert list(reading.blocks(3, start=blocks[1].position)) == blocks[1:]
    assert list(reading.blocks(3, wanted=lambda number: number == 2)) == blocks[2:]
    monkeypatch.setattr(stream, "LARGEST_TSV", 100)
    with pytest.raises(CorpusError, match=r"a \.tsv file has at most .* write the JSONL form"):
        list(CorpusStream(path, "a.tsv").blocks(3))


def test_the_files_of_a_folder_are_one_corpus(tmp_path: Path) -> None:
    for name in ("b.conllu", "a/z.jsonl.gz", "a/y.parquet", "notes.txt", "c.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert corpus_files(tmp_path, "own") == [
        (tmp_path / name, f"own/{name}")
        for name in ("a/y.parquet", "a/z.jsonl.gz", "b.conllu", "c.tsv")
    ]
    with pytest.raises(CorpusError, match=r"a\.csv: a corpus ends in \.conllu, \.jsonl, "):
        corpus_files(tmp_path / "a.csv", "a.csv")
    (tmp_path / "none").mkdir()
    with pytest.raises(CorpusError, match="none: no file in this folder ends in"):
        corpus_files(tmp_path / "none", "none")
    with pytest.raises(CorpusError, match="is a folder; name a file"):
        read_corpus(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl.gz", b"no gzip", "a: damaged gzip: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 99, mtime=0)[:-9], "a: damaged gzip: "),
        ("a.jsonl.gz", gzip.compress(b"\n" * 99, mtime=0) + b"trailing", "a: damaged gzip: "),
        ("a.parquet", b"PAR1 and no more", "a: damaged Parquet: "),
        ("a.parquet", b"", "a: damaged Parquet: "),
        ("a.jsonl", b"\n" + b"x" * 5000, "a:2:1: a line of more than 4,096 bytes"),
        (
            "a.jsonl.gz",
            gzip.compress(b"x" * 10**7, mtime=0),
            "a:1:1: a line of more than 4,096 bytes",
        ),
    ],
)
def test_damaged_files_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, message: str
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 4096)
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(CorpusError) as error:
        list(CorpusStream(path, "a").blocks(5))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def packed(unit: bytes, count: int) -> bytes:
    return gzip.compress(unit * count, mtime=0)


def rows_of(entries: pyarrow.Table, **options: object) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(entries, file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.conllu.gz", packed(b"\n", 40_000)),
        ("a.jsonl.gz", packed(b'{"text": "a b", "arcs": []}\n', 4000)),
        ("a.jsonl.gz", packed(b"\n", 20_000) * 2),
        ("a.tsv.gz", packed(b"text\n", 8000)),
        ("a.parquet", rows_of(pyarrow.table({"text": ["a"] * 10_000}))),
        ("a.parquet", rows_of(pyarrow.table({"text": ["a" * 10**6] * 2}), compression="zstd")),
    ],
    ids=["lines", "sentences", "members", "table", "rows", "texts"],
)
def test_a_small_file_that_unfolds_to_a_large_one_is_refused_p61(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)

    def read() -> None:
        list(CorpusStream(tmp_path / name, "a").blocks(5, wanted=lambda number: False))

    monkeypatch.setattr(lines, "UNFOLDED_FREE", 1 << 15)
    monkeypatch.setattr(lines, "UNFOLDED_TIMES", 10)
    with pytest.raises(CorpusError, match=r"^a: a file of [\d,]+ bytes that unfolds to "):
        read()


def test_a_text_that_stands_once_in_the_file_is_unfolded_row_by_row(tmp_path: Path) -> None:
    arcs = [[{"from": [0, 1], "to": [2, 3], "relation": "r" * 100_000}] * 50]
    data = rows_of(pyarrow.table({"text": ["a b"] * 100, "arcs": arcs * 100}))
    assert len(data) < 100_000
    (tmp_path / "a.parquet").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(CorpusError, match=r"^a:1:1: a row of more than 4,194,304 bytes$"):
            list(CorpusStream(tmp_path / "a.parquet", "a").blocks(5))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [b"a"]}, "a: the column 'text' has the type binary; columns have texts, numbers"),
        ({"arcs": [[{"from": b"a"}]]}, "a: the column 'arcs' has the type list<element: struct<"),
        ({"text": [datetime(2026, 1, 1)]}, "a: the column 'text' has the type timestamp"),
        (
            {"text": pyarrow.array([b"\xff"]).view(pyarrow.string())},
            "a:1:1: damaged Parquet: 'utf-8' codec can't decode byte 0xff",
        ),
    ],
)
def test_columns_of_other_types_are_refused(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    (tmp_path / "a.parquet").write_bytes(rows_of(pyarrow.table(columns)))
    with pytest.raises(CorpusError) as error:
        list(CorpusStream(tmp_path / "a.parquet", "a").blocks(5))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"txt": "a b"}], "a:1:1: unknown key 'txt'; did you mean 'text'?"),
        ([{"text": "a b"}], "a:1:1: arcs is missing"),
        ([{"text": 7, "arcs": []}], "a:1:1: text is text, not 7"),
        (
            [{"text": "a b", "arcs": [{"from": [0, 1], "to": [2, 9], "relation": "x"}]}],
            "a:1:1: to: [2, 9] does not lie in the text of 3 characters",
        ),
    ],
)
def test_rows_of_parquet_are_checked_as_lines_are(
    tmp_path: Path, rows: list[dict[str, object]], message: str
) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(CorpusError) as error:
        list(CorpusStream(path, "a").blocks(5))
    assert str(error.value) == message


def test_without_pyarrow_a_file_of_parquet_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    told = r"a: a \.parquet file needs pyarrow: pip install 'attnprobe\[parquet\]'"
    with pytest.raises(CorpusError, match=told):
        list(CorpusStream(tmp_path / "a.parquet", "a").blocks(5))


def test_an_error_in_a_later_block_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = [json.dumps(spans(number)) for number in range(9)]
    path.write_text("\n".join([*good, "{", *good]))
    reading = CorpusStream(path, "a")
    blocks = reading.blocks(3)
    start = [next(blocks), next(blocks), next(blocks)][2].position
    with pytest.raises(CorpusError, match="a:10:"):
        next(blocks)
    with pytest.raises(CorpusError, match="a:10:"):
        list(reading.blocks(3, start=start))
    # Who does not want the block does not see its error; its sentences count.
    assert len(list(reading.blocks(3, wanted=lambda number: number < 3))) == 3
    assert reading.total == 19


def test_an_id_that_stands_twice_in_two_blocks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(spans(number % 8)) for number in range(9)))
    reading = CorpusStream(path, "a")
    with pytest.raises(CorpusError, match=r"a:9:1: the id 's0' stands in line 1 already"):
        list(reading.blocks(3))
    monkeypatch.setattr(stream, "IDS_CHECKED", 8)
    assert len(list(reading.blocks(3))) == 3


@pytest.mark.parametrize("line", ["# a", "# " + "long" * 2000])
def test_a_sentence_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "a.conllu.gz"
    count = 12_000_000 // len(line)
    path.write_bytes(gzip.compress(f"{tree(0)}\n\n".encode() + f"{line}\n".encode() * count, 1))
    tracemalloc.start()
    try:
        with pytest.raises(CorpusError) as error:
            list(CorpusStream(path, "a").blocks(10, wanted=lambda number: False))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(error.value) == (
        "a:5:1: a sentence of more than 20,000 lines or 4,194,304 bytes; an empty line ends one"
    )
    assert peak < 12_000_000


def test_memory_is_that_of_one_block(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    text = "".join(f"{tree(number)}\n\n" for number in range(1000))
    with path.open("w") as file:
        for _ in range(100):
            file.write(text)
    assert path.stat().st_size > 9_000_000
    reading = CorpusStream(path, "a")
    tracemalloc.start()
    try:
        (block,) = reading.blocks(256, wanted=lambda number: number == 200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000
    assert reading.total == 100_000
    assert block.position.sentence == 200 * 256
    assert block.position > START
