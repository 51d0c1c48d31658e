"""Treebanks in CoNLL-U: Universal Dependencies and its variant SUD."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from conllu.exceptions import ParseException
from conllu.models import Token
from conllu.parser import parse_comment_line, parse_token_and_metadata

from attnprobe.core.printing import visible
from attnprobe.core.texts import Sample, Span
from attnprobe.relations.labels import matches
from attnprobe.relations.sentences import Arc, CorpusFile, Sentence, made_id

CONLLU_COLUMNS = 10
# Arcs of punctuation are left out: no head is expected to find the full stop of a sentence.
PUNCTUATION = "punct"


def read_treebank(file: CorpusFile) -> Iterator[Sentence]:
    """Sentences of a treebank (https://universaldependencies.org/format.html)."""
    block: list[tuple[int, str]] = []
    for number, line in [*file.lines, (0, "")]:
        if line.strip():
            block.append((number, line))
        elif block:
            if any(not content.startswith("#") for _, content in block):
                yield _tree(block, file)
            block = []


def _tree(block: Sequence[tuple[int, str]], file: CorpusFile) -> Sentence:
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
        metadata.get("sent_id") or made_id(sample),
        sample,
        tuple(_arcs(tokens, lines, spans, file)),
        start,
        tuple(sorted(set(spans.values()))),
    )


def _surface(
    tokens: Sequence[Token], lines: Sequence[int], stated: str | None, file: CorpusFile
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
    surface: Sequence[tuple[int, Token, range]], stated: str | None, file: CorpusFile
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
    tokens: Sequence[Token], lines: Sequence[int], spans: Mapping[int, Span], file: CorpusFile
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
