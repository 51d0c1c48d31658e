"""Relations as pytest items: one verdict over many sentences."""

from __future__ import annotations

from typing import Any

import pytest

from attnprobe.cases import Relation
from attnprobe.errors import AttnprobeError
from attnprobe.explain import ExpectationFailed, explain_relation, harmless
from attnprobe.plugin.file_item import FileItem
from attnprobe.plugin.keys import relation_key
from attnprobe.plugin.session import session_of

__all__ = ["RelationItem"]


class RelationItem(FileItem):
    """One relation on one model."""

    case: Relation

    def __init__(self, *, case: Relation, model: str, **kwargs: Any) -> None:
        super().__init__(case=case, model=model, **kwargs)
        self.stash[relation_key] = None

    def setup(self) -> None:
        try:
            finding = session_of(self.config).judge_relation(self.case, self.model)
        except AttnprobeError as error:
            raise pytest.fail.Exception(harmless(str(error)), pytrace=False) from None
        self.stash[relation_key] = finding
        if finding.error is not None:
            pytest.fail(explain_relation(finding), pytrace=False)

    def runtest(self) -> None:
        finding = self.stash[relation_key]
        assert finding is not None  # set up, or the setup would have failed
        session = session_of(self.config)
        if any(session.fails_as(one.outcome) for one in finding.judgements):
            raise ExpectationFailed(explain_relation(finding))
