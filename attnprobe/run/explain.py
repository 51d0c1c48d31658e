"""A verdict in words, for the terminal: the sentence, the numbers, what the head looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import regex

from attnprobe.cases import Case
from attnprobe.core.errors import AttnprobeError, first_line
from attnprobe.core.printing import display_width, visible
from attnprobe.core.texts import PAIR_BREAK, Encoding, Span
from attnprobe.core.verdicts import Bound, Doubt, Outcome, Verdict
from attnprobe.core.wording import (
    format_interval,
    format_p,
    format_percent,
    format_stated,
    format_whole_percent,
    join_names,
    plural,
)
from attnprobe.relations.accuracy import Accuracy, Mistake, RelationFinding
from attnprobe.render.chart import bars
from attnprobe.rules import BAND, Rule
from attnprobe.run.runner import Finding
from attnprobe.words.heads import HeadSet
from attnprobe.words.positions import groups
from attnprobe.words.segmentation import words

_COMMAND = re.compile(r"^( *)::")
# Columns of a text in a line: with what stands before it, a terminal of 80 does not break it.
_WIDEST = 72
# Words that a line lists.
_MOST_WORDS = 8
_SPACED = regex.compile(r"\s*\S+\s*|\s+")
_GRAPHEME = regex.compile(r"\X")
_CLOSE = f"within {BAND} of the bound, too near to call"
# Why a verdict that holds may say little.
DOUBTS: Mapping[Doubt, str] = {
    "unbreakable": "holds whatever the model does",
    "vacuous": "holds, but it also holds for too many other word pairs to say much",
    "borderline": _CLOSE,
}
_STATES: Mapping[str, str] = {
    "passed": "holds",
    "borderline": _CLOSE,
    "failed": "does not hold",
    "vacuous": DOUBTS["unbreakable"],
}
_SEVEREST: Sequence[Outcome] = ("error", "failed", "vacuous", "borderline", "passed")


class ExpectationFailed(AssertionError):
    """An expectation was measured and does not hold."""

    # Tracebacks and pytest's summary then print its bare name, so there is room for the number.
    __module__ = "builtins"


def headline(failing: Sequence[Finding], judged: int = 1) -> str:
    """One line on a case that does not hold, the number first: a terminal cuts its end off.

    `weight 0.121, demanded >= 0.3 (attends, L3H1); 2 of 3 expectations fail`

    Args:
        failing: the findings that make it fail, the first of which is told.
        judged: how many expectations the case has.
    """
    first = failing[0]
    kind = first.expectation.rule.kind
    line = _headline(first.verdict, first.error, kind)
    more = f"; {len(failing)} of {judged} expectations fail" if len(failing) > 1 else ""
    return harmless(line + more)


def relation_headline(finding: RelationFinding, failing: Sequence[Verdict]) -> str:
    """The same on a relation: `accuracy 0.31, demanded >= 0.5 (subject-of-verb, L4H7)`.

    Args:
        failing: the verdicts that make it fail; without any it could not be measured.
    """
    worst = min(failing, key=_severity, default=None)
    line = _headline(worst, finding.error, finding.relation.id)
    more = f"; {len(failing)} of {len(finding.verdicts)} bounds fail" if len(failing) > 1 else ""
    return harmless(line + more)


def _headline(verdict: Verdict | None, error: AttnprobeError | None, name: str) -> str:
    if verdict is None:
        return f"{first_line(error)} ({name})" if error else name
    if verdict.outcome != "vacuous":
        return f"{_state(verdict.outcome)}{_against(verdict.deciding)} ({name}, {verdict.head})"
    why = DOUBTS["unbreakable"]
    if verdict.chance is not None and not verdict.unbreakable:
        why = f"holds for {verdict.chance.passed} of {verdict.chance.pairs} other word pairs"
    near = ", and borderline" if verdict.borderline else ""
    return f"vacuous{near}: {why} ({name}, {verdict.head})"


def _severity(verdict: Verdict) -> int:
    return _SEVEREST.index(verdict.outcome)


def _state(outcome: Outcome) -> str:
    """What a number cannot say: that it is too near to its bound, though it meets it."""
    return "" if outcome == "failed" else f"{outcome}: "


def _against(one: Bound) -> str:
    """A number against its bound, that as it was stated: `weight 0.121, demanded >= 0.3`."""
    return f"{one.number}, demanded {one.relation} {format_stated(one.demanded)}"


def explain(case: Case, finding: Finding) -> str:
    """The whole finding for a reader, several lines, the first with file and line."""
    rule, mark = finding.expectation.rule, finding.expectation.mark
    outcome = finding.verdict.outcome if finding.verdict else "error"
    lines: list[str] = []
    if finding.error is not None:
        message, *quoted = str(finding.error).split("\n")
        lines = [message, *(f"│ {line.removeprefix('  ').removeprefix('│ ')}" for line in quoted)]
    elif finding.verdict is not None:
        lines = _sentence(case, rule) + _numbers(
            finding.verdict, _notes(case, rule, finding.encoding)
        )
    if finding.encoding is not None:
        lines += unknown_line(finding.encoding)
    if outcome != "passed":
        lines += map(chosen_elsewhere, finding.chosen_elsewhere)
    head = f"{mark.file}:{mark.line}: {outcome}: {rule.describe()}"
    return harmless("\n".join([head, *(f"  {line}" for line in lines)]))


def unknown_line(encoding: Encoding) -> list[str]:
    """The words that the model cannot see, in one line; no line where it sees all."""
    distinct = list(dict.fromkeys(encoding.unknown_words))
    if not distinct:
        return []
    count = len(encoding.unknown_words)
    length = len(encoding.source) + len(encoding.target or ())
    unknown = join_names(distinct, _MOST_WORDS)
    return [f"{count} of {length} tokens are unknown to the model: {unknown}"]


def explain_relation(finding: RelationFinding) -> str:
    """The whole finding of a relation for a reader, several lines, the first with file and line."""
    relation, found = finding.relation, finding.accuracy
    ordered = sorted(finding.verdicts, key=_severity)
    worst = ordered[0].outcome if ordered else "error"
    head = f"{relation.mark.file}:{relation.mark.line}: {worst}: {relation.id}"
    lines = [f"{relation.describe()}, {relation.heads}"]
    if finding.error is not None:
        lines += str(finding.error).split("\n")
    if found is not None:
        lines += [line for verdict in ordered for line in bound_lines(verdict)]
        lines += figures(found)
    if worst != "passed":
        lines += map(chosen_elsewhere, finding.chosen_elsewhere)
    if found is not None and found.mistakes:
        lines.append(f"wrong, {len(found.mistakes)} of {found.n - found.right}:")
        lines += [f"  {line}" for mistake in found.mistakes for line in _mistake(mistake)]
    return harmless("\n".join([head, *(f"  {line}" for line in lines)]))


def chosen_elsewhere(heads: HeadSet) -> str:
    """What to know of heads that a scan of other weights chose."""
    return (
        f"heads {heads} were chosen on {heads.origin}; this model has other weights: scan it "
        "again, or see attnprobe compare for where the heads moved"
    )


def bound_lines(verdict: Verdict) -> list[str]:
    """Each bound against its number; of the first, which decided, also why it may say little."""
    deciding = str(verdict.deciding)
    doubts = "; ".join(DOUBTS[doubt] for doubt in verdict.doubts)
    return [f"{deciding}: {doubts}" if doubts else deciding, *other_bounds(verdict)]


def other_bounds(verdict: Verdict) -> list[str]:
    """The bounds beside the one that decided: `rank 3, demanded <= 1: does not hold`."""
    return [f"{bound}: {_STATES.get(bound.outcome, bound.outcome)}" for bound in verdict.bounds[1:]]


def figures(found: Accuracy) -> list[str]:
    """What was measured of a relation, and what it is to be held against."""
    chosen = f", chosen among {found.heads_tried} heads on {found.chosen_on} other arcs"
    distance = plural(abs(found.best_offset), "word")
    lines = [
        f"{found.head} is right for {found.right} of {found.n} arcs "
        f"({format_percent(found.share)}, 95 % interval {format_interval(found.interval)})"
        f"{chosen if found.chosen_on else ''}",
        f"the best fixed distance, {distance} to the {'left' if found.best_offset < 0 else 'right'}"
        f", is right for {found.offset_right} ({format_percent(found.offset_share)}); only the "
        f"head is right for {found.better}, only the distance for {found.worse}, exact McNemar p "
        f"{format_p(found.p)}",
    ]
    lines.append(_preference(found))
    if found.unknown:
        lines.append(
            f"unknown tokens: {format_percent(found.unknown)} of the tokens of these texts"
        )
    lines += [f"left out: {count} × {reason}" for reason, count in found.left_out.items()]
    return lines + [f"of the corpus: {note}" for note in found.notes]


def _preference(found: Accuracy) -> str:
    """How often the head is right when another word looks, whoever that is."""
    liking = found.preference
    if liking is None:
        return "no arc has another word in its sentence that can look at the same word"
    arcs = "" if liking.n == found.n else f" of {liking.n} arcs that have one"
    itself = "" if liking.n == found.n else f", with the true word for {liking.right}"
    return (
        f"with another word of the sentence looking, it is right for {liking.other}{arcs} "
        f"({format_percent(liking.share)}){itself}; only the true word is right for "
        f"{liking.right - liking.both}, only the other for {liking.other - liking.both}, exact "
        f"McNemar p {format_p(liking.p)}"
    )


def _mistake(mistake: Mistake) -> list[str]:
    """The sentence, with the word that looks, the one meant, and the one that got most."""
    sample, instead = mistake.sample, mistake.looked_at
    query, keys = [(mistake.query, "from")], [(mistake.key, "to")]
    # A special token stands for no character of the text.
    below = [f"instead: {instead}"] if isinstance(instead, str) else []
    if isinstance(instead, Span):
        keys.append((instead, "instead"))
    if sample.target is None:
        return _underlined(sample.joined, sorted(query + keys), sample.pair_start) + below
    looked_at = _underlined(sample.joined, sorted(keys), sample.pair_start)
    return _underlined(sample.target, query) + looked_at + below


def harmless(message: str) -> str:
    """A message as it may be printed, whatever texts and names it quotes.

    What a terminal would act on is made visible, and a bar stands before what would be a command
    to whoever reads the log (`::error`, also after spaces).
    """
    lines = (visible(line) for line in message.split("\n"))
    return "\n".join(_COMMAND.sub(r"\1│ ::", line) for line in lines)


def _sentence(case: Case, rule: Rule) -> list[str]:
    """Each text that the rule looks at, with carets under its words."""
    sample = case.sample
    marked: dict[str, list[tuple[Span, str]]] = {}
    for place in rule.places():
        text = rule.text_of(sample, place.end)
        marked.setdefault(text, []).extend(
            (span, place.field) for span in rule.locate(place.selector, sample, place.end)
        )
    return [
        line
        for text, spans in marked.items()
        for line in _underlined(
            text, sorted(spans), sample.pair_start if text == sample.joined else None
        )
    ]


def _underlined(
    text: str, spans: Sequence[tuple[Span, str]], pair_start: int | None = None
) -> list[str]:
    """The text, in several lines where it is long, with carets and names under the spans.

    Args:
        pair_start: where the second of two texts starts; each begins a line.
    """
    if pair_start is not None:
        second = [
            (Span(span.start - pair_start, span.end - pair_start), label)
            for span, label in spans
            if span.start >= pair_start
        ]
        first = [(span, label) for span, label in spans if span.start < pair_start]
        return [
            *_underlined(text[: pair_start - len(PAIR_BREAK)], first),
            *_underlined(text[pair_start:], second),
        ]
    return [
        f"│ {line}"
        for piece in _pieces(text)
        for line in _piece_underlined(text, piece, _within(piece, spans))
    ]


def _within(piece: Span, spans: Sequence[tuple[Span, str]]) -> list[tuple[Span, str]]:
    """What of the spans lies in a piece of the text; a name stands where its span starts."""
    return [
        (
            Span(max(span.start, piece.start), min(span.end, piece.end)),
            label if span.start >= piece.start else "",
        )
        for span, label in spans
        if span.start < piece.end and piece.start < span.end
    ]


def _piece_underlined(text: str, piece: Span, spans: Sequence[tuple[Span, str]]) -> list[str]:
    marked: set[int] = set()
    labels: list[str] = []
    for span, label in spans:
        column = display_width(visible(text[piece.start : span.start]))
        marked.update(
            range(column, max(display_width(visible(text[piece.start : span.end])), column + 1))
        )
        for index, line in enumerate(labels):
            if len(line) < column:
                labels[index] = line.ljust(column) + label
                break
        else:
            labels.append(" " * column + label)
    carets = "".join(
        "^" if column in marked else " " for column in range(max(marked, default=-1) + 1)
    )
    shown = visible(text[piece.start : piece.end]).rstrip()
    return [shown, *(line for line in (carets, *labels) if line.strip())]


def _pieces(text: str) -> list[Span]:
    """The text in pieces of at most `_WIDEST` columns, cut after spaces where it can be."""
    pieces = [Span(0, 0)]
    for start, end in _parts(text):
        first = pieces[-1].start
        if display_width(visible(text[first:end].rstrip())) > _WIDEST and end > start > first:
            pieces.append(Span(start, end))
        else:
            pieces[-1] = Span(first, end)
    return pieces


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Words with the spaces after them; of what has no space for a whole line, the graphemes."""
    for word in _SPACED.finditer(text):
        if display_width(visible(word[0].rstrip())) <= _WIDEST:
            yield word.span()
        else:
            yield from (part.span() for part in _GRAPHEME.finditer(text, *word.span()))


def _notes(case: Case, rule: Rule, encoding: Encoding | None) -> dict[str, str]:
    """What to write beside the words of the rule in the chart, and beside a sink.

    The chart tells words by their spelling, so a word that the text has twice gets no note.
    """
    notes: dict[str, str] = {}
    for place in rule.places():
        if place.end != "key":
            continue
        text = rule.text_of(case.sample, place.end)
        spelled = [text[slice(*word)] for word in words(text)]
        for span in rule.locate(place.selector, case.sample, place.end):
            for label, word in zip(spelled, words(text), strict=True):
                if word.start < span.end and span.start < word.end and spelled.count(label) == 1:
                    notes[label] = place.field
    sink = _unranked(rule, encoding) if encoding else None
    return notes if sink is None else {sink: "a sink, not ranked", **notes}


def _unranked(rule: Rule, encoding: Encoding) -> str | None:
    """The first word of a text where it competes for no rank, as the chart has it."""
    if getattr(rule, "top", None) is None or getattr(rule, "among", None) != "words":
        return None
    site = encoding.site(rule.site)
    first, *others = groups(encoding.keys(site.name))
    sunk = site.causal and not first.special and len(first.positions) == 1
    return first.label if sunk and first.label not in [word.label for word in others] else None


def _numbers(verdict: Verdict, notes: dict[str, str]) -> list[str]:
    lines = bound_lines(verdict)
    tried = "" if verdict.heads_tried == 1 else f", the nearest of {verdict.heads_tried} tried"
    if verdict.head.startswith("mean"):
        tried = ""
    lines += verdict.ablated
    sink = format_whole_percent(verdict.sink or 0)
    lines.append(f"by {verdict.head}{tried}; {sink} of its row is on special or first tokens")
    if verdict.chance is not None:
        lines.append(str(verdict.chance))
    if verdict.top:
        lines.append("it attends most to:")
        lines += [f"  {line}" for line in bars(verdict.top, mark=notes)]
    return lines
