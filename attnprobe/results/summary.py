"""Summaries of a run: a sentence, tables, GitHub's Markdown of them, annotations on case files.

Texts, names and paths may come from strangers. In Markdown they are escaped, so that none can end a
table cell, become a tag or a link, or act as a workflow command.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from statistics import fmean
from types import MappingProxyType

from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.core.printing import visible
from attnprobe.core.wording import format_percent, one_line, plural
from attnprobe.render.web.overview import SuiteCount
from attnprobe.results.records import CaseResult, ExpectationResult, ModelResult, Results

# GitHub's limits for the summary of a step, and for a comment (in characters).
MOST_BYTES = 2**20
MOST_OF_COMMENT = 2**16
MOST_ANNOTATIONS = 10
_LONGEST_CELL = 200
_LONGEST_SENTENCE = 1000
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_FAILING = ("failed", "error")
_DOUBTFUL = ("vacuous", "borderline")
_FINE = 3
_MOST_NOTES = 20
_MODEL = ("model", "from", "revision", "weights")
_SUITE = ("suite", "model", "hold", "pass rate", "95 % interval")
_CHECK = ("check", "at", "model", "outcome", "rule", "observed", "demanded", "head", "chance")
_NOTE_BYTES = 200  # for the note on rows that were left out


@dataclass(frozen=True)
class Table:
    """A table of a summary.

    Attributes:
        noun: what an item is: `check`.
        items: rows of cells; an item has one row or several, which stay together.
        codes: the columns whose texts may come from strangers.
        share: the part of a summary that may be full after this table, 0 to 1.
    """

    noun: str
    columns: tuple[str, ...]
    items: Sequence[Sequence[Sequence[str]]]
    codes: frozenset[str]
    share: float


@dataclass(frozen=True)
class Summary:
    """What a summary says.

    Attributes:
        results: the run; None where it left none.
        sentence: a sentence for the top, such as the decision of the gate.
        notes: sentences below it.
        compared: tables of a comparison with an older run.
    """

    results: Results | None
    sentence: str = ""
    notes: Sequence[str] = ()
    compared: Sequence[Table] = ()

    def tables(self, *, all_checks: bool = True) -> list[Table]:
        """The models, the comparison, the suites and the checks, worst checks first.

        Args:
            all_checks: whether checks that hold without doubt have rows, too.
        """
        if self.results is None:
            return []
        items = sorted(self.results.items, key=lambda item: (_badness(item), item.place))
        checks = [(*_check_rows(item),) for item in items if all_checks or _badness(item) < _FINE]
        models = [(_model_row(model),) for model in self.results.models]
        suites = [(_suite_row(suite),) for suite in suite_counts(self.results.items)]
        # Failing checks matter most to the reader, so half of the room is reserved for them.
        return [
            Table("model", _MODEL, models, frozenset(_MODEL), 1 / 8),
            *self.compared,
            Table("suite", _SUITE, suites, frozenset(_SUITE[:2]), 1 / 2),
            Table("check", _CHECK, checks, frozenset(_CHECK) - {"outcome", "chance"}, 1),
        ]


def markdown(results: Results, *, room: int = MOST_BYTES, sentence: str = "") -> str:
    """The run as GitHub-flavoured Markdown, worst checks first, in less than `room` bytes.

    Args:
        sentence: a sentence for the top, such as the decision of the gate.
    """
    return markdown_of(Summary(results, sentence), room=room)


def markdown_of(summary: Summary, *, room: int = MOST_BYTES, all_checks: bool = True) -> str:
    """A summary as GitHub-flavoured Markdown, in less than `room` bytes."""
    parts = ["## Attention checks\n"]
    escaped = _escape(summary.sentence, _LONGEST_SENTENCE).strip()
    if escaped:
        parts.append(f"**{escaped}**\n")
    if summary.results is not None:
        parts.append(f"{in_words(summary.results)}.\n")
    if summary.notes:
        parts.append(
            "".join(
                f"- {_escape(note, _LONGEST_SENTENCE)}\n" for note in summary.notes[:_MOST_NOTES]
            )
        )
    text = "\n".join(parts)
    for table in summary.tables(all_checks=all_checks):
        text += _table_within(table, int(room * table.share) - len(text.encode()))
    return text


def comment_on(summary: Summary, name: str) -> str:
    """A summary as a comment on a pull request, without checks that hold without doubt.

    Args:
        name: what its first line, which nobody sees, calls it. By it the comment is found again.

    Raises:
        ResultsError: the name has signs that could end the line.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*", name):
        raise ResultsError(f"the name of a comment has letters, digits, - _ and . alone: {name!r}")
    first = f"<!-- attnprobe: {name} -->\n"
    return first + markdown_of(summary, room=MOST_OF_COMMENT - len(first), all_checks=False)


def in_words(results: Results) -> str:
    """The outcomes in words: `2 of 9 attention checks do not hold, 1 is a known gap`."""
    counts, summary = results.states(), results.summary()
    failing = counts["failed"]
    judged = counts["passed"] + failing
    if not results.collected and not results.items:
        return "No attention check ran"
    if not judged:
        first = "No attention check was judged"
    elif failing:
        checks = plural(judged, "attention check")
        first = f"{failing} of {checks} {'does' if failing == 1 else 'do'} not hold"
    else:
        first = "1 attention check holds" if judged == 1 else f"All {judged} attention checks hold"
    parts = [first]
    unbreakable = sum(entry.unbreakable for item in results.items for entry in item.expectations)
    if summary["xpassed"]:
        closed = plural(
            summary["xpassed"], "is a known gap that holds now", "are known gaps that hold now"
        )
        parts.append(f"of these {closed}")
    for count, singular, plural_form in (
        (counts["error"] - results.missing, "could not be measured", "could not be measured"),
        (results.missing, "left no result", "left no result"),
        (counts["gap"], "is a known gap", "are known gaps"),
        (counts["skipped"], "was skipped", "were skipped"),
        (results.deselected, "was deselected", "were deselected"),
        (summary["vacuous"] - unbreakable, "holds by chance as well", "hold by chance as well"),
        (unbreakable, "holds whatever the model does", "hold whatever the model does"),
        (summary["borderline"], "is too near to call", "are too near to call"),
    ):
        if count:
            parts.append(plural(count, singular, plural_form))
    return ", ".join(parts)


def _table_within(table: Table, room: int) -> str:
    """A table with as many items as fit, and a note on the rest.

    Args:
        room: the size of the table in bytes.
    """
    lines = ["", _row(table.columns), _row(["---"] * len(table.columns))]
    size = sum(len(line.encode()) + 1 for line in lines) + 2
    for number, item in enumerate(table.items):
        rows = [
            _row(
                _code(cell) if column in table.codes else cell
                for column, cell in zip(table.columns, cells, strict=True)
            )
            for cells in item
        ]
        size += sum(len(row.encode()) + 1 for row in rows)
        if size > room - _NOTE_BYTES:
            left = len(table.items) - number
            note = plural(left, f"{table.noun} is left out", f"{table.noun}s are left out")
            return "\n".join([*(lines if number else []), f"\n{note}: no room.\n"])
        lines += rows
    return "\n" + "\n".join(lines) + "\n" if table.items else ""


def _model_row(model: ModelResult) -> list[str]:
    return [
        model.name,
        model.ref
        + (" without its own code" if model.ignored_code else "")
        + (f", {model.quantised}" if model.quantised else ""),
        model.revision or "",
        (model.weights_sha256 or "")[:12],
    ]


def suite_counts(items: Iterable[CaseResult]) -> list[SuiteCount]:
    """The counts of each suite; suites with failures come first, so that a cut spares them."""
    suites: dict[tuple[str, str], list[CaseResult]] = {}
    for item in items:
        suites.setdefault((item.suite, item.model), []).append(item)
    counts = [_count(*names, suite_items) for names, suite_items in suites.items()]
    return sorted(counts, key=lambda count: (count.held == count.judged, count.suite, count.model))


def _count(suite: str, model: str, items: Sequence[CaseResult]) -> SuiteCount:
    judged = [item for item in items if item.state in ("passed", *_FAILING)]
    entries = [entry for item in judged for entry in item.expectations]
    heads = Counter(entry.head for entry in entries if entry.head is not None)
    # Of one unit, since distances in another have another size.
    slacks = [
        entry.deciding.slack
        for entry in entries
        if entry.deciding is not None
        and entry.deciding.unit == "weight"
        and entry.deciding.slack is not None
    ]
    return SuiteCount(
        suite,
        model,
        held=sum(item.state == "passed" for item in judged),
        judged=len(judged),
        gaps=sum(item.state == "gap" for item in items),
        heads=tuple(sorted(heads, key=lambda name: (-heads[name], name))),
        vacuous=sum(entry.outcome == "vacuous" for entry in entries),
        mean_slack=fmean(slacks) if slacks else None,
    )


def _suite_row(count: SuiteCount) -> list[str]:
    rate = "" if count.pass_rate is None else format_percent(count.pass_rate)
    return [count.suite, count.model, count.hold, rate, count.interval]


def _check_rows(item: CaseResult) -> Iterator[list[str]]:
    start = [item.name, f"{item.file}:{item.line}", item.model]
    if not item.expectations:
        yield [*start, item.outcome, "", "", "", "", ""]
    failed = any(entry.outcome == "failed" for entry in item.expectations)
    for entry in item.expectations:
        # The outcome of an xfailed case, say, says more than that of its expectation.
        shows_own = item.outcome == "passed" or (failed and item.outcome == "failed")
        outcome = _outcome(entry) if shows_own else item.outcome
        yield [*start, outcome, entry.rule, *_numbers(entry)]
        for bound in entry.bounds[1:]:
            if shows_own and bound.outcome != "passed":
                numbers = (bound.number, bound.limit, entry.head or "", "")
                yield [*start, bound.outcome, entry.rule, *numbers]


def _outcome(entry: ExpectationResult) -> str:
    """The outcome of an expectation with its other doubts: `vacuous, borderline`."""
    return ", ".join([entry.outcome, *(doubt for doubt in entry.doubts if doubt != entry.outcome)])


def _numbers(entry: ExpectationResult) -> list[str]:
    if entry.deciding is None:
        return [one_line(entry.message), "", "", ""]
    bound = entry.deciding
    return [bound.number, bound.limit, entry.head or "", _by_chance(entry)]


def _by_chance(entry: ExpectationResult) -> str:
    """How often other word pairs do as well, or of an ablation how many draws of random heads."""
    if entry.ablation is not None and entry.chance is None:
        return f"{entry.ablation.as_much} of {plural(len(entry.ablation.draws), 'draw')}"
    if entry.chance is None or entry.chance.rate is None:
        return ""
    return format_percent(entry.chance.rate)


def _badness(item: CaseResult) -> int:
    """The sort key of a check: 0 fails a release, `_FINE` holds without doubt."""
    if item.state in _FAILING:
        return 0 if item.severity == "blocking" else 1
    if any(entry.outcome in _DOUBTFUL for entry in item.expectations):
        return 2
    return _FINE


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """A text from anywhere as the content of one table cell."""
    return f"<code>{_escape(text)}</code>" if text else ""


def _escape(text: str, longest: int = _LONGEST_CELL) -> str:
    text = visible(text)
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return _PUNCTUATION.sub(lambda mark: f"&#{ord(mark[0])};", text)


def workflow_commands(
    results: Results,
    *,
    folder: str = "",
    accepted: Mapping[Key, str] = MappingProxyType({}),
) -> list[str]:
    """At most ten workflow commands, worst first, each with the line of a failed expectation.

    Args:
        folder: the folder of the run, relative to the repository.
        accepted: the reason for each check that the gate lets fail; these become notices and come
            last.
    """
    items = [item for item in results.items if _badness(item) < _FINE]
    bad = sorted(
        ((item, accepted.get(item.key)) for item in items),
        key=lambda pair: (pair[1] is not None, _badness(pair[0]), pair[0].place),
    )
    return [_annotation(item, folder, reason) for item, reason in bad[:MOST_ANNOTATIONS]]


def _annotation(item: CaseResult, folder: str, reason: str | None) -> str:
    worst = [
        entry
        for entry in item.expectations
        if entry.outcome in ("failed", "error", *_DOUBTFUL) or item.outcome == "xpassed"
    ]
    line = worst[0].line if worst else item.line
    message = "\n".join(
        visible(one_line(f"{entry.rule} {entry.outcome}: {entry.message}")) for entry in worst
    )
    properties = {
        "file": str(PurePosixPath(folder) / item.file),
        "line": str(line),
        "title": f"{item.suite}: {item.name} on {item.model}: {item.outcome}"
        + (f", {reason}" if reason else ""),
    }
    settings = ",".join(f"{key}={_property(visible(text))}" for key, text in properties.items())
    command = "notice" if reason else "error" if _badness(item) == 0 else "warning"
    return f"::{command} {settings}::{_data(message or item.outcome)}"


def _data(text: str) -> str:
    """A message, escaped as GitHub's own toolkit does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
