"""Judges the cases and relations of a run on its models, each model by one runner."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from attnprobe.cases import Case, CorpusArcs, Relation
from attnprobe.core.verdicts import Outcome
from attnprobe.relations import accuracy
from attnprobe.relations.accuracy import RelationFinding
from attnprobe.relations.corpus import read_corpus
from attnprobe.run.runner import Finding, Runner
from attnprobe.words.heads import Heads, HeadSet

if TYPE_CHECKING:
    from attnprobe.models import Model


# The outcomes of a test that judged something.
EXECUTED = ("passed", "failed", "error", "xpassed")


class Judged(NamedTuple):
    """A judged expectation of a case, with the name of its model."""

    case: Case
    model: str
    finding: Finding


class Judge:
    """The runners and corpora that all cases and relations of a run share.

    Args:
        load: the model of a name; equal names give the same model.
        batch_tokens: the most tokens in one forward pass, padding included.
        chance_max: the chance rate, 0 to 1, above which a rule is vacuous.
        strict: whether borderline and vacuous verdicts fail.
        pictures: whether to capture the rows of the verdicts' pictures in the same passes.
        nearest: whether to look for the best other head of a failing word pair in all layers.
    """

    def __init__(
        self,
        load: Callable[[str], Model],
        *,
        batch_tokens: int,
        chance_max: float,
        strict: bool,
        pictures: bool = False,
        nearest: bool = False,
    ) -> None:
        self._load = load
        self._batch_tokens = batch_tokens
        self._chance_max = chance_max
        self._strict = strict
        self._pictures = pictures
        self._nearest = nearest
        self._runners: dict[str, Runner] = {}
        self._relations: dict[tuple[str, Relation], RelationFinding] = {}
        self.read = functools.cache(read_corpus)

    def case(self, case: Case, model: str, planned: Callable[[], list[Case]]) -> list[Judged]:
        """Judges all expectations of a case; the first case of a block measures the whole block.

        Args:
            case: the case.
            model: the name of its model.
            planned: returns all cases of the run on this model, in their order.

        Raises:
            AttnprobeError: the model cannot be loaded.
        """
        if model not in self._runners:
            self._runners[model] = self.runner(model, planned())
        return [
            Judged(
                case,
                model,
                replace(
                    finding,
                    chosen_elsewhere=self._chosen_elsewhere(finding.expectation.rule.heads, model),
                ),
            )
            for finding in self._runners[model].judge(case)
        ]

    def _chosen_elsewhere(self, heads: Heads, model: str) -> tuple[HeadSet, ...]:
        """The named head sets that were chosen on other weights than those of the model.

        Empty for a network that the project built, since its hash is not that of a file.
        """
        judged = self._load(model)
        return heads.chosen_elsewhere(judged.weights_sha256) if judged.weights_format else ()

    def runner(self, model: str, cases: Sequence[Case]) -> Runner:
        """A runner over these cases, without those that their file skips."""
        return Runner(
            self._load(model),
            [case for case in cases if case.skip is None],
            batch_tokens=self._batch_tokens,
            pictures=self._pictures,
            chance_max=self._chance_max,
            nearest=self._nearest,
        )

    def relation(
        self, relation: Relation, model: str, planned: Callable[[], list[Relation]]
    ) -> RelationFinding:
        """Judges a relation; the first one of a corpus measures all of that corpus.

        Args:
            planned: returns all relations of the run on this model, in their order.

        Raises:
            AttnprobeError: the model cannot be loaded.
        """
        if (model, relation) not in self._relations:
            shared = [other for other in planned() if _share_corpus(relation, other)]
            # A plugin may run a relation that the run left out.
            together = shared if relation in shared else [relation]
            found = accuracy.judge_all(
                together, self._load(model), read=self.read, batch_tokens=self._batch_tokens
            )
            self._relations |= {
                (model, judged): replace(
                    finding, chosen_elsewhere=self._chosen_elsewhere(judged.heads, model)
                )
                for judged, finding in zip(together, found, strict=True)
            }
        return self._relations[model, relation]

    def fails(self, finding: Finding) -> bool:
        """Whether a finding fails its case; an error is told apart, and fails a strict run."""
        return self.fails_as(finding.verdict.outcome if finding.verdict else "error")

    def fails_as(self, outcome: Outcome) -> bool:
        """Whether an outcome fails its case; in a strict run every outcome but `passed` does."""
        return outcome == "failed" or (self._strict and outcome != "passed")


def strict_complaints(judged: bool, absent: Mapping[str, int]) -> tuple[str, ...]:
    """What a strict run does not let pass: that it judged nothing, or left cases out.

    Args:
        absent: by model name, the number of cases that were left out for want of it.
    """
    complaints = []
    if not judged:
        complaints.append("no probe was judged, which a strict run does not let pass")
    if absent:
        complaints.append("a strict run lets no case go for want of its model")
    return tuple(complaints)


def _share_corpus(relation: Relation, other: Relation) -> bool:
    """Whether both are read from one corpus; a relation that its file skips is not read."""
    return (
        other.skip is None
        and isinstance(relation.source, CorpusArcs)
        and isinstance(other.source, CorpusArcs)
        and other.source.path == relation.source.path
    )
