"""The entries of a case file: cases and relations with their places, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from attnprobe.core.errors import Mark
from attnprobe.core.names import check_name
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Sample, Span
from attnprobe.rules import Rule
from attnprobe.words.heads import Heads
from attnprobe.words.looks import Among

Severity = Literal["blocking", "advisory"]


@dataclass(frozen=True, eq=False)
class Expectation:
    """One rule of a case, the arguments that the file gives it, and its place."""

    rule: Rule
    arguments: Mapping[str, Any]
    mark: Mark


@dataclass(frozen=True, eq=False)
class Case:
    """One item of the suite: a sample and the expectations about it.

    Attributes:
        row: the label of a template row; None for a case without a template.
        mark: the place of the case, or of its row.
        model: short name of the model that the case is for; None for the first model of the run.
        reference: the file's texts for the same model; a mean ablation averages over them.
        related: the file's rules for the same model, each with its text; the chance rate counts
            word pairs of these.
    """

    suite: str
    id: str
    row: str | None
    mark: Mark
    sample: Sample
    expectations: tuple[Expectation, ...]
    marks: tuple[str, ...]
    severity: Severity
    xfail: str | None
    skip: str | None
    model: str | None = None
    reference: tuple[Sample, ...] = ()
    related: tuple[tuple[Sample, Rule], ...] = ()

    @property
    def name(self) -> str:
        """The id, with the row of a template: `it-animal[dog]`."""
        return check_name(self.id, self.row)


class LabelledArc(NamedTuple):
    """A word of a text and the word that it should look at, by their characters.

    Attributes:
        candidates: the only words that compete with `key`; if empty, all words of the text.
        group: the arcs of one group are all used to choose a head, or all to judge it.
    """

    sample: Sample
    query: Span
    key: Span
    candidates: tuple[Span, ...]
    group: str


@dataclass(frozen=True)
class LabelledArcs:
    """Arcs from the case file itself.

    Attributes:
        left_out: how many expectations are not arcs, by reason.
    """

    arcs: tuple[LabelledArc, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class CorpusArcs:
    """Arcs of a corpus file, which is read when the relation is measured.

    Attributes:
        shown: the file's name in messages.
        labels: names of the relation in the corpus, each with its place in the case file.
        backwards: whether the head attends to its dependent, instead of the reverse.
        source_language, target_language: of all texts, and of all targets, in the file.
    """

    path: Path
    shown: str
    labels: tuple[tuple[str, Mark], ...]
    backwards: bool
    source_language: str | None = None
    target_language: str | None = None


class Threshold(NamedTuple):
    """One number that a relation must reach, and its place in the file: `accuracy`, 0.5."""

    name: str
    demanded: float
    mark: Mark


@dataclass(frozen=True, eq=False)
class Relation:
    """One item of the suite: how often a head gets a relation right, over many sentences.

    Attributes:
        choose: whether the best of the heads on one half of the sentences is judged on the other;
            otherwise their mean is judged.
        among: whether special tokens and, at a causal site, the first token compete with words.
        seed: seed of the split into halves.
        least: the fewest judged arcs that give a verdict.
        row: None; cases have rows, relations do not.
    """

    suite: str
    id: str
    mark: Mark
    source: CorpusArcs | LabelledArcs
    heads: Heads
    choose: bool
    site: SiteName | None
    among: Among
    seed: int
    least: int
    bounds: tuple[Threshold, ...]
    marks: tuple[str, ...]
    severity: Severity
    xfail: str | None
    skip: str | None
    model: str | None = None
    row: None = None

    @property
    def name(self) -> str:
        return self.id

    def describe(self) -> str:
        """The relation in words, without the heads: `nsubj, dependent → head`."""
        if isinstance(self.source, LabelledArcs):
            return "labelled pairs"
        names = " or ".join(label for label, _ in self.source.labels)
        ends = "head → dependent" if self.source.backwards else "dependent → head"
        return f"{names}, {ends}"


class Contents(NamedTuple):
    """The cases and the relations of a file, both in file order.

    Attributes:
        texts: the text files that its haystacks are read from, links resolved.
    """

    cases: tuple[Case, ...]
    relations: tuple[Relation, ...]
    texts: tuple[Path, ...] = ()


def identity(entry: Case | Relation, model: str) -> dict[str, Any]:
    """The fields of the results file that an entry's record has from its case file.

    Args:
        model: the name of the model that it runs on.
    """
    return {
        "id": entry.id,
        "row": entry.row,
        "suite": entry.suite,
        "model": model,
        "severity": entry.severity,
        "marks": list(entry.marks),
    }
