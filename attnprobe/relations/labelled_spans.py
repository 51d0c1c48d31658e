"""Pairs of character spans with a label, as JSON Lines or tab-separated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from attnprobe.core.jsontext import refuse_duplicate_keys
from attnprobe.core.printing import visible
from attnprobe.core.registry import did_you_mean
from attnprobe.core.texts import Sample, Span
from attnprobe.relations.sentences import Arc, CorpusFile, Sentence, made_id
from attnprobe.words.looks import other_candidates

TSV_COLUMNS = ("text", "from-start", "from-end", "to-start", "to-end", "relation")
TSV_OPTIONAL = ("id", "target")


def read_jsonl(file: CorpusFile) -> Iterator[Sentence]:
    """Sentences of a JSON Lines file.

    A line is `{"text": "...", "arcs": [{"from": [0, 3], "to": [4, 10], "relation": "x"}]}`; it may
    also have id, target and text_pair. With a text_pair, `{"pair": [0, 3]}` are characters of the
    second text. An arc may also have `"candidates": [[4, 10], [15, 20]]`.
    """
    for number, line in file.lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=refuse_duplicate_keys)
        except json.JSONDecodeError as error:
            quotes = "; JSON needs double quotes" if line[error.pos :][:1] == "'" else ""
            raise file.wrong(f"not JSON: {error.msg}{quotes}", number, error.colno) from None
        except (ValueError, RecursionError) as error:
            raise file.wrong(f"not JSON: {error}", number) from None
        yield labelled_sentence(value, number, file)


def labelled_sentence(value: object, line: int, file: CorpusFile) -> Sentence:
    """The sentence of a JSON object, as it stands in a line of a JSON Lines file.

    Raises:
        CorpusError: a key is unknown, missing or of another type, or a span is not in its text.
    """
    texts = ("id", "text", "text_pair", "target")
    entry = _object(value, (*texts, "arcs"), ("text", "arcs"), line, file)
    for key in texts:
        if key in entry and not isinstance(entry[key], str):
            raise file.wrong(f"{key} is text, not {entry[key]!r}", line)
        if key in entry and not entry[key].strip():
            raise file.wrong(f"{key}: is empty", line)
    sample = Sample(entry["text"], entry.get("target"), pair=entry.get("text_pair"))
    if not isinstance(entry["arcs"], list):
        raise file.wrong("arcs is a list of objects with from, to and relation", line)
    arcs = []
    for one in entry["arcs"]:
        keys = ("from", "to", "relation")
        fields = _object(one, (*keys, "candidates"), keys, line, file)
        arc = _arc(sample, fields["from"], fields["to"], fields["relation"], line, file)
        if "candidates" in fields:
            arc = _with_candidates(sample, arc, fields["candidates"], line, file)
        arcs.append(arc)
    return Sentence(entry.get("id") or made_id(sample), sample, tuple(arcs), line)


def _object(
    value: object, known: Sequence[str], needed: Sequence[str], line: int, file: CorpusFile
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise file.wrong(f"expected an object with {', '.join(needed)}, not {value!r}", line)
    for key in value:
        if key not in known:
            raise file.wrong(f"unknown key {visible(key)!r}; {did_you_mean(key, known)}", line)
    for key in needed:
        if key not in value:
            raise file.wrong(f"{key} is missing", line)
    return value


def _arc(
    sample: Sample, dependent: object, head: object, relation: object, line: int, file: CorpusFile
) -> Arc:
    if not isinstance(relation, str) or not relation.strip():
        raise file.wrong(f"relation is a name, not {relation!r}", line)
    if sample.target is None:
        first = _source_span("from", dependent, sample, line, file)
    else:
        first = _span("from", dependent, sample.target, line, file)
    found = Arc(first, _source_span("to", head, sample, line, file), relation)
    if sample.target is None and found.dependent == found.head:
        raise file.wrong("from and to are the same characters", line)
    return found


def _source_span(key: str, value: object, sample: Sample, line: int, file: CorpusFile) -> Span:
    """The span in `Sample.joined` of characters of the text, or under `pair` of its pair."""
    match value:
        case {"text": inner, **beside} if not beside:
            return _span(key, inner, sample.text, line, file)
        case {"pair": inner, **beside} if not beside:
            pair = next((part for part in sample.parts if part.which == "pair"), None)
            if pair is None:
                raise file.wrong(f"{key}: {{pair: ...}} needs a text_pair", line)
            start, end = _span(key, inner, pair.text, line, file)
            return Span(pair.start + start, pair.start + end)
    return _span(key, value, sample.text, line, file)


def _with_candidates(
    sample: Sample, arc: Arc, candidates: object, line: int, file: CorpusFile
) -> Arc:
    if not isinstance(candidates, list):
        raise file.wrong("candidates is a list of [start, end]", line)
    named = [_source_span("candidates", span, sample, line, file) for span in candidates]
    query = arc.dependent if sample.target is None else None
    try:
        return arc._replace(candidates=other_candidates(named, query, arc.head))
    except ValueError as error:
        raise file.wrong(f"candidates: {error}", line) from None


def _span(key: str, value: object, text: str, line: int, file: CorpusFile) -> Span:
    if not isinstance(value, list) or [type(number) for number in value] != [int, int]:
        raise file.wrong(
            f"{key} takes [start, end] in characters, such as [4, 10], not {value!r}", line
        )
    start, end = map(int, value)
    if not 0 <= start < end <= len(text):
        raise file.wrong(
            f"{key}: [{start}, {end}] does not lie in the text of {len(text)} characters", line
        )
    if not text[start:end].strip():
        raise file.wrong(f"{key}: [{start}, {end}] is only white space", line)
    return Span(start, end)


def read_tsv(file: CorpusFile) -> Iterator[Sentence]:
    """Sentences of a TSV file: one arc a line below a header, in any order."""
    rows = [(number, line.split("\t")) for number, line in file.lines if line.strip()]
    if not rows:
        raise file.wrong(f"a header is missing: {'<tab>'.join(TSV_COLUMNS)}", 1)
    header_line, header = rows[0]
    for column in header:
        if column not in TSV_COLUMNS + TSV_OPTIONAL:
            near = did_you_mean(column, TSV_COLUMNS + TSV_OPTIONAL)
            raise file.wrong(f"unknown column {visible(column)!r}; {near}", header_line)
    missing = [column for column in TSV_COLUMNS if column not in header]
    if missing or len(set(header)) < len(header):
        what = f"column {missing[0]!r} is missing" if missing else "a column stands twice"
        raise file.wrong(f"{what} in the header", header_line)
    found: dict[tuple[str, Sample], tuple[int, list[Arc]]] = {}
    for number, cells in rows[1:]:
        if len(cells) != len(header):
            raise file.wrong(
                f"{len(cells)} columns, but the header has {len(header)}; a text that holds a tab "
                "needs the JSONL form",
                number,
            )
        entry = dict(zip(header, cells, strict=True))
        if not entry["text"].strip():
            raise file.wrong("text is empty", number)
        sample = Sample(entry["text"], entry.get("target") or None)
        ends = [_whole(entry[column], column, number, file) for column in TSV_COLUMNS[1:5]]
        arc = _arc(sample, ends[:2], ends[2:], entry["relation"], number, file)
        key = (entry.get("id") or made_id(sample), sample)
        found.setdefault(key, (number, []))[1].append(arc)
    for (sentence_id, sample), (number, arcs) in found.items():
        yield Sentence(sentence_id, sample, tuple(arcs), number)


def _whole(cell: str, column: str, line: int, file: CorpusFile) -> int:
    if not (cell.isascii() and cell.isdigit() and len(cell) < 10):
        raise file.wrong(f"{column} is a number of characters, not {visible(cell)!r}", line)
    return int(cell)
