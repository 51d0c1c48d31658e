"""Relations as pytest items: one verdict over many sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from attnprobe.cases import Relation
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.printing import harmless
from attnprobe.core.verdicts import Verdict
from attnprobe.plugin.file_item import FileItem
from attnprobe.plugin.keys import planned_items, relation_key
from attnprobe.plugin.session import session_of
from attnprobe.relations.accuracy import RelationFinding
from attnprobe.run.explain import ExpectationFailed, explain_relation, relation_headline


class RelationItem(FileItem):
    """One relation on one model."""

    case: Relation

    def __init__(self, *, case: Relation, model: str, **kwargs: Any) -> None:
        super().__init__(case=case, model=model, **kwargs)
        self.stash[relation_key] = None

    def setup(self) -> None:
        try:
            finding = session_of(self.config).judge.relation(self.case, self.model, self._planned)
        except AttnprobeError as error:
            raise pytest.fail.Exception(harmless(str(error)), pytrace=False) from None
        self.stash[relation_key] = finding
        if finding.error is not None:
            pytest.fail(_describe_finding(finding, ()), pytrace=False)

    @property
    def is_measured(self) -> bool:
        finding = self.stash[relation_key]
        return finding is not None and finding.error is None

    def judge(self) -> None:
        finding = self.stash[relation_key]
        assert finding is not None  # the setup fails without a finding
        judge = session_of(self.config).judge
        failing = [verdict for verdict in finding.verdicts if judge.fails_as(verdict.outcome)]
        if failing:
            raise ExpectationFailed(_describe_finding(finding, failing))

    def _planned(self) -> list[Relation]:
        return [
            item.case
            for item in planned_items(self.session)
            if isinstance(item, RelationItem) and item.model == self.model
        ]


def _describe_finding(finding: RelationFinding, failing: Sequence[Verdict]) -> str:
    """A line for pytest's summary, then the finding in words."""
    return f"{relation_headline(finding, failing)}\n{explain_relation(finding)}"
