"""Case files as pytest collectors, cases as pytest items."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnprobe import cases
from attnprobe.cases import Case
from attnprobe.errors import AttnprobeError, MeasureError
from attnprobe.explain import ExpectationFailed, explain
from attnprobe.plugin.keys import judged_key
from attnprobe.plugin.session import session_of

__all__ = ["CaseFile", "CaseItem"]


class CaseFile(pytest.File):
    """One `*.attn.yaml` file."""

    def collect(self) -> Iterator[pytest.Item]:
        session = session_of(self.config)
        found = cases.load(self.path, _shown(self.path, self.config), head_sets=session.head_sets)
        for mark in {mark for case in found for mark in case.marks}:
            # A mark that a case file names is declared by naming it.
            self.config.addinivalue_line("markers", f"{mark}: named in {self.path.name}")
        models = session.settings.models
        for case in found:
            for model in models or [""]:
                name = f"{case.name}[{model}]" if len(models) > 1 else case.name
                yield CaseItem.from_parent(self, name=name, case=case, model=model)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
        if isinstance(excinfo.value, AttnprobeError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class CaseItem(pytest.Item):
    """One case, or one row of a template, on one model.

    Measuring is the item's setup: what cannot be measured is an error, to pytest as well, and an
    xfail covers failed expectations only.
    """

    def __init__(self, *, case: Case, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case
        self.model = model
        self.stash[judged_key] = []
        for mark in case.marks:
            self.add_marker(mark)
        if case.skip is not None:
            self.add_marker(pytest.mark.skip(reason=case.skip))
        if case.xfail is not None:
            self.add_marker(
                pytest.mark.xfail(reason=case.xfail, strict=True, raises=ExpectationFailed)
            )

    def setup(self) -> None:
        session = session_of(self.config)
        self.stash[judged_key] += session.judge(self)
        if any(entry.finding.error for entry in self.stash[judged_key]):
            raise MeasureError(self._explained())

    def runtest(self) -> None:
        session = session_of(self.config)
        if any(session.fails(entry.finding) for entry in self.stash[judged_key]):
            raise ExpectationFailed(self._explained())

    def _explained(self) -> str:
        """All expectations of the case in words, those that hold as well."""
        return "\n\n".join(
            explain(entry.case, entry.finding) for entry in self.stash[judged_key]
        )

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None
    ) -> Any:
        if isinstance(excinfo.value, AttnprobeError | ExpectationFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, self.case.mark.line - 1, self.name


def _shown(path: Path, config: pytest.Config) -> str:
    """The file as messages and results name it: relative to the root where it lies below it."""
    if path.is_relative_to(config.rootpath):
        return path.relative_to(config.rootpath).as_posix()
    return path.as_posix()
