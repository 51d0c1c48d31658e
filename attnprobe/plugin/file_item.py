"""The common base of the items of a case file: cases and relations."""

from __future__ import annotations

import os
from typing import Any

import pytest

from attnprobe.cases import Case, Relation
from attnprobe.core.printing import harmless
from attnprobe.plugin.keys import judged_key
from attnprobe.run.explain import ExpectationFailed


class FileItem(pytest.Item):
    """An entry of a case file on one model.

    The setup of an item measures, and its call judges. So an entry that cannot be measured is an
    ERROR in pytest, and an xfail covers failed expectations only.
    """

    def __init__(self, *, case: Case | Relation, model: str, **kwargs: Any) -> None:
        # Text, because pytest splits it at the bracket, and --lf splits its stored ids likewise.
        nodeid = f"{kwargs['parent'].nodeid}::{kwargs['name']}"
        super().__init__(nodeid=nodeid, **kwargs)
        self.case = case
        self.model = model
        self.stash[judged_key] = []
        for mark in case.marks:
            self.add_marker(mark)
        if case.skip is not None:
            self.add_marker(pytest.mark.skip(reason=harmless(case.skip)))
        if case.xfail is not None:
            self.add_marker(
                pytest.mark.xfail(
                    reason=harmless(case.xfail), strict=True, raises=ExpectationFailed
                )
            )

    @property
    def is_measured(self) -> bool:
        """Whether a setup has measured the entry without an error."""
        raise NotImplementedError

    def runtest(self) -> None:
        # A plugin may call this without a setup, or after one that failed.
        if not self.is_measured:
            self.setup()
        self.judge()

    def judge(self) -> None:
        """Raises ExpectationFailed where the measured entry does not hold."""
        raise NotImplementedError

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ExpectationFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, self.case.mark.line - 1, self.name
