"""Corpora: sentences with labelled relations between their words.

The suffix of a file gives its format: `.conllu` is a treebank (Universal Dependencies and its
variant SUD); `.jsonl` and `.tsv` have pairs of character spans, for relations that no treebank has.
The whole file is read at once, because its text is small compared with the attention on it.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from conllu.exceptions import ParseException
from conllu.models import Token
from conllu.parser import parse_comment_line, parse_token_and_metadata

from attnprobe.core.errors import CorpusError, Mark
from attnprobe.core.jsontext import refuse_duplicate_keys
from attnprobe.core.names import PACKAGE, file_in_package
from attnprobe.core.printing import clip, visible
from attnprobe.core.registry import did_you_mean
from attnprobe.core.texts import Sample, Span
from attnprobe.core.wording import plural
from attnprobe.words.looks import LabelledPair, Words, other_candidates

CONLLU_COLUMNS = 10
# Arcs of punctuation are left out: no head is expected to find the full stop of a sentence.
PUNCTUATION = "punct"
LONGEST_LABEL = 200
TSV_COLUMNS = ("text", "from-start", "from-end", "to-start", "to-end", "relation")
TSV_OPTIONAL = ("id", "target")


class Arc(NamedTuple):
    """A relation between two words, such as nsubj from dog to barked in "The dog barked".

    Attributes:
        dependent, head: the characters of the words in `Sample.joined`; if the sentence has a
            target text, `dependent` counts in the target.
        relation: the label, such as `nsubj:pass`.
        candidates: the only words that compete with `head`; if empty, all words of the text.
    """

    dependent: Span
    head: Span
    relation: str
    candidates: tuple[Span, ...] = ()

    def pair(self, sample: int, *, backwards: bool = False) -> LabelledPair:
        """The pair of words in which the dependent looks; `backwards`, the head looks.

        Args:
            sample: index of the sample.
        """
        if backwards:
            return LabelledPair(sample, self.head, self.dependent)
        return LabelledPair(sample, self.dependent, self.head, self.candidates)


@dataclass(frozen=True)
class Sentence:
    """One sentence and its arcs.

    Attributes:
        id: the id in the file; without one, an id made from the text, which equal texts share.
        line: the line of the file in which the sentence starts, from 1.
        words: the words of a treebank, multiword tokens whole; None for labelled spans.
    """

    id: str
    sample: Sample
    arcs: tuple[Arc, ...]
    line: int
    words: Words = None


@dataclass(frozen=True)
class Corpus:
    """A file of sentences.

    Attributes:
        name: the file's name in messages and results.
        sha256: hash of the file's bytes.
        notes: remarks for the user: what of the file is left out, and how the rest is read.
    """

    name: str
    sentences: tuple[Sentence, ...]
    sha256: str
    notes: tuple[str, ...]


def locate_corpus(ref: str) -> Path:
    """The file of a path or of `pkg://package/path`, such as `pkg://attnprobe/data/english.conllu`.

    Raises:
        CorpusError: there is no such package, or no such file in it.
    """
    return file_in_package(ref, CorpusError) if ref.startswith(PACKAGE) else Path(ref)


def read_corpus(path: Path, name: str | None = None) -> Corpus:
    """Reads a corpus file.

    Args:
        name: the file's name in messages and results; by default the path.

    Raises:
        CorpusError: the file cannot be read or has an error; the message names file and line.
    """
    name = path.as_posix() if name is None else name
    readers: dict[str, Callable[[_File], Iterator[Sentence]]] = {
        ".conllu": _conllu,
        ".jsonl": _jsonl,
        ".tsv": _tsv,
    }
    if path.suffix not in readers:
        raise CorpusError(f"{name}: a corpus ends in {', '.join(readers)}")
    data = _read(path, name)
    file = _File(name, _decoded(data, name))
    sentences = tuple(readers[path.suffix](file))
    _check_ids(sentences, file)
    _check_labels(sentences, file)
    if not any(sentence.arcs for sentence in sentences):
        raise CorpusError("this file has no relation between two words", Mark(name, 1, 1))
    return Corpus(name, sentences, hashlib.sha256(data).hexdigest(), file.notes())


def _read(path: Path, name: str) -> bytes:
    try:
        mode = path.stat().st_mode
        # A FIFO would be waited for, and a device may have no end.
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CorpusError(f"{name}: is no file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{clip(name, 200)}: cannot be read: {reason}") from None


def halves(ids: Sequence[str], *, seed: int) -> npt.NDArray[np.bool_]:
    """Splits sentences in two halves by their ids.

    The halves depend on the ids and the seed, not on the order of the ids. Equal ids are in the
    same half. If the number of ids is odd, the half to judge on has one more.

    Returns:
        `[ids]`: True for a sentence to judge on, False for one to choose a head on.
    """

    def order(sentence_id: str) -> tuple[bytes, str]:
        key = f"{seed}\0{sentence_id}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(key).digest(), sentence_id

    ordered = sorted(set(ids), key=order)
    judged = set(ordered[len(ordered) // 2 :])
    return np.array([sentence_id in judged for sentence_id in ids], dtype=np.bool_)


def matches(relation: str, label: str) -> bool:
    """Whether a relation has this label or is a subtype of it.

    The label `nsubj` matches `nsubj:pass`, and `comp` matches `comp:obj@x` of SUD. The label
    `nsubj:pass` matches only itself and its own subtypes.
    """
    return relation == label or relation.startswith((f"{label}:", f"{label}@"))


def relation_names(relations: Iterable[str]) -> Mapping[str, int]:
    """The number of arcs of each relation and subtype, by name.

    A subtype is omitted if all arcs of the wider relation belong to it.

    Args:
        relations: the relation of each arc.
    """
    totals: Counter[str] = Counter()
    for relation, count in Counter(relations).items():
        totals.update(dict.fromkeys(_prefixes(relation), count))
    return {
        name: totals[name]
        for name in sorted(totals)
        if all(totals[wider] != totals[name] for wider in _prefixes(name)[:-1])
    }


def _prefixes(relation: str) -> list[str]:
    """A relation after the relations that it is a subtype of: comp, comp:obj, comp:obj@x."""
    cuts = [at for at, char in enumerate(relation) if char in ":@" and at]
    return [*(relation[:at] for at in cuts), relation]


@dataclass
class _File:
    """A file's text by lines, and the counts of what its notes report."""

    name: str
    text: str
    counts: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and content of each line; only line feeds end one."""
        for number, line in enumerate(self.text.split("\n"), start=1):
            yield number, line.removesuffix("\r")

    def wrong(self, message: str, line: int, column: int = 1) -> CorpusError:
        return CorpusError(message, Mark(self.name, line, column))

    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"{plural(self.counts[key], noun)}{rest}"
            for key, (noun, rest) in _NOTES.items()
            if self.counts[key]
        )


# The notes on the counts: after the number, a noun in the singular and the rest of the note.
_NOTES = {
    "multiword": ("multiword token", ": the words of one stand for all of its characters"),
    "inside": ("arc", " inside of one multiword token left out"),
    "empty": ("empty node", " left out: no character stands for one"),
    "enhanced": ("sentence", " with enhanced dependencies: the basic tree is read"),
    "punct": ("arc", " of punctuation left out"),
    "root": ("root", " left out: nothing in the sentence is their head"),
    "subtypes": ("arc", " with a subtype: nsubj counts nsubj:pass as well"),
    "bare": ("sentence", " without an arc that is used"),
}


def _decoded(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: byte {error.start} is 0x{data[error.start]:02X}; save it as UTF-8"
        raise CorpusError(message, Mark(name, line, 1)) from None
    if "\0" in text:
        at = text.index("\0")
        raise CorpusError(
            f"a NUL character at {at}; is this a text file?",
            Mark(name, text.count("\n", 0, at) + 1, 1),
        )
    return text


def _check_ids(sentences: Sequence[Sentence], file: _File) -> None:
    first: dict[str, Sentence] = {}
    for sentence in sentences:
        if not sentence.arcs:
            file.counts["bare"] += 1
        earlier = first.setdefault(sentence.id, sentence)
        # A made id may repeat: equal texts share it by intention.
        if earlier is not sentence and sentence.id != _made_id(sentence.sample):
            raise file.wrong(
                f"the id {visible(sentence.id)!r} stands in line {earlier.line} already; "
                "each sentence needs its own id",
                sentence.line,
            )


def _check_labels(sentences: Sequence[Sentence], file: _File) -> None:
    for sentence in sentences:
        if any(len(arc.relation) > LONGEST_LABEL for arc in sentence.arcs):
            raise file.wrong(
                f"a relation of this sentence has more than {LONGEST_LABEL} characters",
                sentence.line,
            )


def _made_id(sample: Sample) -> str:
    both = f"{sample.joined}\0{sample.target or ''}".encode("utf-8", "surrogatepass")
    return f"text-{hashlib.sha256(both).hexdigest()[:16]}"


# CoNLL-U ----------------------------------------------------------------------------------------


def _conllu(file: _File) -> Iterator[Sentence]:
    """Sentences of a treebank (https://universaldependencies.org/format.html)."""
    block: list[tuple[int, str]] = []
    for number, line in [*file.lines(), (0, "")]:
        if line.strip():
            block.append((number, line))
        elif block:
            if any(not content.startswith("#") for _, content in block):
                yield _tree(block, file)
            block = []


def _tree(block: Sequence[tuple[int, str]], file: _File) -> Sentence:
    start = block[0][0]
    lines = [number for number, line in block if not line.startswith("#")]
    for number, line in block:
        columns = line.split("\t")
        if line.startswith("#"):
            continue
        if len(columns) != CONLLU_COLUMNS:
            raise file.wrong(
                f"a line of CoNLL-U has {CONLLU_COLUMNS} columns between tabs, not {len(columns)}",
                number,
            )
        # conllu also ends a column at several spaces.
        if any(not column.strip() or "  " in column for column in columns):
            raise file.wrong("a column is empty or holds two spaces; write _ for nothing", number)
    tokens: list[Token] = []
    metadata: dict[str, str | None] = {}
    for number, line in block:
        try:
            if line.startswith("#"):
                metadata.update(parse_comment_line(line))
            else:
                tokens += parse_token_and_metadata(line)
        except ParseException as error:
            raise file.wrong(f"not CoNLL-U: {error}", number) from None
    text, spans = _surface(tokens, lines, metadata.get("text"), file)
    sample = Sample(text)
    return Sentence(
        metadata.get("sent_id") or _made_id(sample),
        sample,
        tuple(_arcs(tokens, lines, spans, file)),
        start,
        tuple(sorted(set(spans.values()))),
    )


def _surface(
    tokens: Sequence[Token], lines: Sequence[int], stated: str | None, file: _File
) -> tuple[str, dict[int, Span]]:
    """The text and the span of each word; the words of a multiword token share its whole span.

    Args:
        stated: the text in the sentence's comment `# text`, if it has one.
    """
    surface: list[tuple[int, Token, range]] = []
    expected, covered = 1, 0
    for token, line in zip(tokens, lines, strict=True):
        match token["id"]:
            case int(number):
                if number != expected:
                    raise file.wrong(f"word {expected} is missing before word {number}", line)
                expected += 1
                if number > covered:
                    surface.append((line, token, range(number, number + 1)))
            case (int(first), "-", int(last)):
                if first != expected or first <= covered:
                    raise file.wrong(
                        f"the multiword token {first}-{last} does not stand before its words", line
                    )
                covered = last
                file.counts["multiword"] += 1
                surface.append((line, token, range(first, last + 1)))
            case (_, ".", _):
                file.counts["empty"] += 1
            case unknown:
                raise file.wrong(f"{unknown!r} is not the id of a word", line)
    if not surface:
        raise file.wrong("this sentence has no word, only empty nodes", lines[0])
    if covered >= expected:
        raise file.wrong(f"word {expected} of a multiword token is missing", lines[-1])
    spelled, spans = _spelled(surface, stated, file)
    return (spelled if stated is None else stated), spans


def _spelled(
    surface: Sequence[tuple[int, Token, range]], stated: str | None, file: _File
) -> tuple[str, dict[int, Span]]:
    """The text that the tokens spell and the span of each word.

    Raises:
        CorpusError: the tokens do not spell the stated text.
    """
    text, spans = _blank(stated or "", 0), {}
    for index, (line, token, words) in enumerate(surface):
        form = str(token["form"])
        if stated is not None and not stated.startswith(form, len(text)):
            raise file.wrong(
                f"token {visible(form)!r} does not follow in # text, which goes on with "
                f"{visible(stated[len(text) :][:20])!r}; correct the form, # text or SpaceAfter",
                line,
            )
        span = Span(len(text), len(text) + len(form))
        spans.update(dict.fromkeys(words, span))
        text += form
        spaced = (token["misc"] or {}).get("SpaceAfter") != "No"
        if spaced and index + 1 < len(surface):
            blank = " " if stated is None else _blank(stated, len(text))
            if not blank:
                raise file.wrong(
                    f"no space follows {visible(form)!r} in # text; correct it, or write "
                    "SpaceAfter=No",
                    line,
                )
            text += blank
    if stated is not None and stated[len(text) :].strip():
        raise file.wrong(
            f"# text goes on with {visible(stated[len(text) :][:20])!r} where no token is left",
            surface[-1][0],
        )
    return text, spans


def _blank(text: str, start: int) -> str:
    """The white space of a text from `start` on."""
    rest = text[start:]
    return rest[: len(rest) - len(rest.lstrip())]


def _arcs(
    tokens: Sequence[Token], lines: Sequence[int], spans: Mapping[int, Span], file: _File
) -> Iterator[Arc]:
    for token, line in zip(tokens, lines, strict=True):
        number, head, relation = token["id"], token["head"], token["deprel"]
        if not isinstance(number, int):
            continue
        if head is None or relation in ("_", ""):
            raise file.wrong(f"word {number} has no head or no relation; a full tree is read", line)
        if head == 0:
            file.counts["root"] += 1
        elif head not in spans or head == number:
            raise file.wrong(f"word {number} has the head {head}, which is no other word", line)
        elif matches(relation, PUNCTUATION):
            file.counts["punct"] += 1
        elif spans[head] == spans[number]:
            file.counts["inside"] += 1
        else:
            file.counts["subtypes"] += ":" in relation or "@" in relation
            yield Arc(spans[number], spans[head], relation)
    if any(token["deps"] not in (None, "_") for token in tokens):
        file.counts["enhanced"] += 1


# Labelled spans ---------------------------------------------------------------------------------


def _jsonl(file: _File) -> Iterator[Sentence]:
    """Sentences of a JSON Lines file.

    A line is `{"text": "...", "arcs": [{"from": [0, 3], "to": [4, 10], "relation": "x"}]}`; it may
    also have id, target and text_pair. With a text_pair, `{"pair": [0, 3]}` are characters of the
    second text. An arc may also have `"candidates": [[4, 10], [15, 20]]`.
    """
    for number, line in file.lines():
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=refuse_duplicate_keys)
        except json.JSONDecodeError as error:
            quotes = "; JSON needs double quotes" if line[error.pos :][:1] == "'" else ""
            raise file.wrong(f"not JSON: {error.msg}{quotes}", number, error.colno) from None
        except (ValueError, RecursionError) as error:
            raise file.wrong(f"not JSON: {error}", number) from None
        texts = ("id", "text", "text_pair", "target")
        entry = _object(value, (*texts, "arcs"), ("text", "arcs"), number, file)
        for key in texts:
            if key in entry and not isinstance(entry[key], str):
                raise file.wrong(f"{key} is text, not {entry[key]!r}", number)
            if key in entry and not entry[key].strip():
                raise file.wrong(f"{key}: is empty", number)
        sample = Sample(entry["text"], entry.get("target"), pair=entry.get("text_pair"))
        if not isinstance(entry["arcs"], list):
            raise file.wrong("arcs is a list of objects with from, to and relation", number)
        arcs = []
        for value in entry["arcs"]:
            keys = ("from", "to", "relation")
            fields = _object(value, (*keys, "candidates"), keys, number, file)
            arc = _arc(sample, fields["from"], fields["to"], fields["relation"], number, file)
            if "candidates" in fields:
                arc = _with_candidates(sample, arc, fields["candidates"], number, file)
            arcs.append(arc)
        yield Sentence(entry.get("id") or _made_id(sample), sample, tuple(arcs), number)


def _object(
    value: object, known: Sequence[str], needed: Sequence[str], line: int, file: _File
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
    sample: Sample, dependent: object, head: object, relation: object, line: int, file: _File
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


def _source_span(key: str, value: object, sample: Sample, line: int, file: _File) -> Span:
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


def _with_candidates(sample: Sample, arc: Arc, candidates: object, line: int, file: _File) -> Arc:
    if not isinstance(candidates, list):
        raise file.wrong("candidates is a list of [start, end]", line)
    named = [_source_span("candidates", span, sample, line, file) for span in candidates]
    query = arc.dependent if sample.target is None else None
    try:
        return arc._replace(candidates=other_candidates(named, query, arc.head))
    except ValueError as error:
        raise file.wrong(f"candidates: {error}", line) from None


def _span(key: str, value: object, text: str, line: int, file: _File) -> Span:
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


def _tsv(file: _File) -> Iterator[Sentence]:
    """Sentences of a TSV file: one arc a line below a header, in any order."""
    rows = [(number, line.split("\t")) for number, line in file.lines() if line.strip()]
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
        key = (entry.get("id") or _made_id(sample), sample)
        found.setdefault(key, (number, []))[1].append(arc)
    for (sentence_id, sample), (number, arcs) in found.items():
        yield Sentence(sentence_id, sample, tuple(arcs), number)


def _whole(cell: str, column: str, line: int, file: _File) -> int:
    if not (cell.isascii() and cell.isdigit() and len(cell) < 10):
        raise file.wrong(f"{column} is a number of characters, not {visible(cell)!r}", line)
    return int(cell)
