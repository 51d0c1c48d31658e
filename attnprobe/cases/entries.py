"""What a case file holds: cases and relations, frozen, with their places in the file."""

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
    """One rule of a case, and where it stands."""

    rule: Rule
    arguments: Mapping[str, Any]
    mark: Mark


@dataclass(frozen=True, eq=False)
class Case:
    """One item of the suite: a sample and all that is expected of it.

    Attributes:
        row: the label of a template row, None for a plain case.
        mark: where the case, or its row, stands.
        model: short name of the model that the case is for; None for the run's first.
        reference: the texts of the file for the same model, which a mean ablation is over.
        related: every rule of the file for the same model, with its text: what a chance rate is
            over.
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
    """A word of a text and the word that it should look at, both by their characters.

    Attributes:
        candidates: the only words that compete with `key`; all words of the text where empty.
        group: arcs of one group are never split between choosing a head and judging it.
    """

    sample: Sample
    query: Span
    key: Span
    candidates: tuple[Span, ...]
    group: str


@dataclass(frozen=True)
class LabelledArcs:
    """Arcs that the case file itself holds.

    Attributes:
        left_out: how many of its expectations are no arcs, by reason.
    """

    arcs: tuple[LabelledArc, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class CorpusArcs:
    """Arcs of a corpus file, which is read when they are wanted.

    Attributes:
        shown: the file as messages call it.
        labels: names of the relation in the corpus; each with its place in the case file.
        backwards: the head attends to its dependent, not the dependent to its head.
        source_language, target_language: of all texts, and targets, of the file.
    """

    path: Path
    shown: str
    labels: tuple[tuple[str, Mark], ...]
    backwards: bool
    source_language: str | None = None
    target_language: str | None = None


class Threshold(NamedTuple):
    """One number that a relation must reach: `accuracy`, 0.5, and where it stands."""

    name: str
    demanded: float
    mark: Mark


@dataclass(frozen=True, eq=False)
class Relation:
    """One item of the suite: how often a head gets a relation right, over many sentences.

    Attributes:
        choose: the heads are candidates; the best on one half of the sentences is judged on the
            other. Otherwise they are one head, or several whose mean is judged.
        among: whether special tokens and, at a causal site, the first token compete with words.
        seed: of the split.
        least: with fewer judged arcs there is no verdict.
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
    """What a case file holds, each in its order."""

    cases: tuple[Case, ...]
    relations: tuple[Relation, ...]
