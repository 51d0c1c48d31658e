"""Findings in words, for the terminal: the sentence, the numbers, the most attended words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import regex

from attnprobe.cases import Case
from attnprobe.core.errors import AttnprobeError, first_line
from attnprobe.core.printing import GRAPHEME, display_width, harmless, visible
from attnprobe.core.texts import Encoding, InputText, Sample, Span, input_texts
from attnprobe.core.verdicts import Doubt, Outcome, Verdict
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

# The most columns of a text in a line: with its indentation it fits into a terminal of 80.
_WIDEST = 72
# The most words that a line lists.
_MOST_WORDS = 8
_SPACED = regex.compile(r"\s*\S+\s*|\s+")
_CLOSE = f"within {BAND} of the bound, too near to call"
# Why an expectation that holds may say little.
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

    # Tracebacks and pytest's summary then omit the module, which leaves room for the number.
    __module__ = "builtins"


def headline(failing: Sequence[Finding], judged: int = 1) -> str:
    """One line about a failing case, such as

    `weight 0.121, demanded >= 0.3 (attends, L3H1); 2 of 3 expectations fail`

    The number comes first, because a terminal may cut the end off.

    Args:
        failing: the failing findings; the line describes the first.
        judged: the number of expectations of the case.
    """
    first = failing[0]
    kind = first.expectation.rule.kind
    line = _headline(first.verdict, first.error, kind)
    more = f"; {len(failing)} of {judged} expectations fail" if len(failing) > 1 else ""
    return harmless(line + more)


def relation_headline(finding: RelationFinding, failing: Sequence[Verdict]) -> str:
    """One line about a failing relation: `accuracy 0.31, demanded >= 0.5 (subject-of-verb, L4H7)`.

    Args:
        failing: the failing verdicts; empty if the relation could not be measured.
    """
    worst = min(failing, key=_severity, default=None)
    line = _headline(worst, finding.error, finding.relation.id)
    more = f"; {len(failing)} of {len(finding.verdicts)} bounds fail" if len(failing) > 1 else ""
    return harmless(line + more)


def _headline(verdict: Verdict | None, error: AttnprobeError | None, name: str) -> str:
    if verdict is None:
        return f"{first_line(error)} ({name})" if error else name
    if verdict.outcome != "vacuous":
        outcome = "" if verdict.outcome == "failed" else f"{verdict.outcome}: "
        bound = verdict.deciding
        demanded = f"demanded {bound.relation} {format_stated(bound.demanded)}"
        return f"{outcome}{bound.number}, {demanded} ({name}, {verdict.head})"
    why = DOUBTS["unbreakable"]
    if verdict.chance is not None and not verdict.unbreakable:
        why = f"holds for {verdict.chance.passed} of {verdict.chance.pairs} other word pairs"
    near = ", and borderline" if verdict.borderline else ""
    return f"vacuous{near}: {why} ({name}, {verdict.head})"


def _severity(verdict: Verdict) -> int:
    return _SEVEREST.index(verdict.outcome)


def explain(case: Case, finding: Finding) -> str:
    """A finding in several lines; the first has file, line and outcome."""
    rule, mark = finding.expectation.rule, finding.expectation.mark
    outcome = finding.verdict.outcome if finding.verdict else "error"
    lines: list[str] = []
    if finding.error is not None:
        message, *quote = str(finding.error).split("\n")
        lines = [message, *(f"│ {line.removeprefix('  ').removeprefix('│ ')}" for line in quote)]
    elif finding.verdict is not None:
        read = finding.encoding.sample if finding.encoding else case.sample
        lines = _sentence(read, rule) + _numbers(
            finding.verdict, _notes(read, rule, finding.encoding)
        )
    if finding.encoding is not None:
        lines += unknown_line(finding.encoding)
    if outcome != "passed":
        lines += map(chosen_elsewhere, finding.chosen_elsewhere)
    head = f"{mark.file}:{mark.line}: {outcome}: {rule.describe()}"
    return harmless("\n".join([head, *(f"  {line}" for line in lines)]))


def unknown_line(encoding: Encoding) -> list[str]:
    """One line with the words that the model does not know; no line if it knows all."""
    distinct = list(dict.fromkeys(encoding.unknown_words))
    if not distinct:
        return []
    count = len(encoding.unknown_words)
    length = len(encoding.source) + len(encoding.target or ())
    unknown = join_names(distinct, _MOST_WORDS)
    return [f"{count} of {length} tokens are unknown to the model: {unknown}"]


def explain_relation(finding: RelationFinding) -> str:
    """The finding of a relation in several lines; the first has file, line and worst outcome."""
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
    """The warning about heads that a scan of other weights chose."""
    return (
        f"heads {heads} were chosen on {heads.origin}; this model has other weights: scan it "
        "again, or see attnprobe compare for where the heads moved"
    )


def bound_lines(verdict: Verdict) -> list[str]:
    """One line for each bound; the first, about the deciding bound, has the doubts as well."""
    deciding = str(verdict.deciding)
    doubts = "; ".join(DOUBTS[doubt] for doubt in verdict.doubts)
    return [f"{deciding}: {doubts}" if doubts else deciding, *other_bounds(verdict)]


def other_bounds(verdict: Verdict) -> list[str]:
    """One line for each bound that did not decide: `rank 3, demanded <= 1: does not hold`."""
    return [f"{bound}: {_STATES.get(bound.outcome, bound.outcome)}" for bound in verdict.bounds[1:]]


def figures(found: Accuracy) -> list[str]:
    """The accuracy of a relation, its controls, and what was left out, in several lines."""
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
    lines.append(_describe_preference(found))
    if found.unknown:
        lines.append(
            f"unknown tokens: {format_percent(found.unknown)} of the tokens of these texts"
        )
    lines += [f"left out: {count} × {reason}" for reason, count in found.left_out.items()]
    return lines + [f"of the corpus: {note}" for note in found.notes]


def _describe_preference(found: Accuracy) -> str:
    control = found.preference
    if control is None:
        return "no arc has another word in its sentence that can look at the same word"
    arcs = "" if control.n == found.n else f" of {control.n} arcs that have one"
    true_word = "" if control.n == found.n else f", with the true word for {control.right}"
    return (
        f"with another word of the sentence looking, it is right for {control.other}{arcs} "
        f"({format_percent(control.share)}){true_word}; only the true word is right for "
        f"{control.right - control.both}, only the other for {control.other - control.both}, exact "
        f"McNemar p {format_p(control.p)}"
    )


def _mistake(mistake: Mistake) -> list[str]:
    """The sentence with carets under the word that looks, the right word and the chosen word."""
    sample, instead = mistake.sample, mistake.looked_at
    query, keys = [(mistake.query, "from")], [(mistake.key, "to")]
    # A special token stands for no character of the text.
    below = [f"instead: {instead}"] if isinstance(instead, str) else []
    if isinstance(instead, Span):
        keys.append((instead, "instead"))
    if sample.target is None:
        return _underlined(sample.joined, sorted(query + keys), sample.parts) + below
    looked_at = _underlined(sample.joined, sorted(keys), sample.parts)
    return _underlined(sample.target, query) + looked_at + below


def _sentence(sample: Sample, rule: Rule) -> list[str]:
    """Each text of the rule, with carets under the rule's words."""
    marked: dict[str, list[tuple[Span, str]]] = {}
    for place in rule.places():
        text = rule.text_of(sample, place.end)
        marked.setdefault(text, []).extend(
            (span, place.field) for span in rule.locate(place.selector, sample, place.end)
        )
    return [
        line
        for text, spans in marked.items()
        for line in _underlined(text, sorted(spans), sample.parts if text == sample.joined else ())
    ]


def _underlined(
    text: str, spans: Sequence[tuple[Span, str]], parts: tuple[InputText, ...] = ()
) -> list[str]:
    """The text with carets and labels under the spans, in several lines if it is long.

    Args:
        spans: spans of the text with their labels, ascending.
        parts: the input texts of `text`; each of them begins a line.
    """
    return [
        f"│ {line}" for part in input_texts(text, parts) for line in _part_underlined(part, spans)
    ]


def _part_underlined(part: InputText, spans: Sequence[tuple[Span, str]]) -> Iterator[str]:
    """The lines of an input text; the first one begins with the role of a message.

    Of the long text around a needle, only its length is told.
    """
    if part.which == "haystack":
        yield f"… {plural(len(words(part.text)), 'word')} of the haystack …"
        return
    label = visible(part.label)
    for piece in _pieces(part.text):
        for line in _piece_underlined(part.text, piece, _within(piece, _inside(part, spans))):
            yield f"{label}{line}"
            label = " " * display_width(label)


def _inside(part: InputText, spans: Sequence[tuple[Span, str]]) -> list[tuple[Span, str]]:
    """The spans that begin in an input text, counted from its start."""
    return [
        (Span(span.start - part.start, span.end - part.start), label)
        for span, label in spans
        if part.start <= span.start < part.end
    ]


def _within(piece: Span, spans: Sequence[tuple[Span, str]]) -> list[tuple[Span, str]]:
    """The parts of the spans in a piece of the text; only the first part keeps the label."""
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
    content = visible(text[piece.start : piece.end]).rstrip()
    return [content, *(line for line in (carets, *labels) if line.strip())]


def _pieces(text: str) -> list[Span]:
    """The text in pieces of at most `_WIDEST` columns, cut after spaces if possible."""
    pieces = [Span(0, 0)]
    for start, end in _parts(text):
        first = pieces[-1].start
        if display_width(visible(text[first:end].rstrip())) > _WIDEST and end > start > first:
            pieces.append(Span(start, end))
        else:
            pieces[-1] = Span(first, end)
    return pieces


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Words with the spaces after them; a word wider than a line is divided into graphemes."""
    for word in _SPACED.finditer(text):
        if display_width(visible(word[0].rstrip())) <= _WIDEST:
            yield word.span()
        else:
            yield from (part.span() for part in GRAPHEME.finditer(text, *word.span()))


def _notes(sample: Sample, rule: Rule, encoding: Encoding | None) -> dict[str, str]:
    """Notes for the words of the rule and for a sink in the chart, by word.

    The chart identifies words by their spelling, so a word that the text has twice gets no note.
    """
    notes: dict[str, str] = {}
    for place in rule.places():
        if place.end != "key":
            continue
        text = rule.text_of(sample, place.end)
        spellings = [text[slice(*word)] for word in words(text)]
        for span in rule.locate(place.selector, sample, place.end):
            for label, word in zip(spellings, words(text), strict=True):
                if word.start < span.end and span.start < word.end and spellings.count(label) == 1:
                    notes[label] = place.field
    sink = _unranked_sink(rule, encoding) if encoding else None
    return notes if sink is None else {sink: "a sink, not ranked", **notes}


def _unranked_sink(rule: Rule, encoding: Encoding) -> str | None:
    """The chart's label of the first word, if that word is a sink that the rule does not rank."""
    if getattr(rule, "top", None) is None or getattr(rule, "among", None) != "words":
        return None
    site = encoding.site(rule.site)
    first, *others = groups(encoding.keys(site.name))
    is_sink = site.causal and not first.special and len(first.positions) == 1
    return first.label if is_sink and first.label not in [word.label for word in others] else None


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
    if verdict.best_other is not None:
        lines.append(str(verdict.best_other))
    if verdict.top:
        lines.append("it attends most to:")
        lines += [f"  {line}" for line in bars(verdict.top, mark=notes)]
    return lines
