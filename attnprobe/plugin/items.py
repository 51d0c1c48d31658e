"""Case files as pytest collectors, cases as pytest items."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnprobe import cases, order
from attnprobe.cases import Case
from attnprobe.errors import AttnprobeError
from attnprobe.explain import ExpectationFailed, explain, harmless
from attnprobe.plugin.keys import Judged, judged_key, order_key
from attnprobe.plugin.session import session_of

__all__ = ["CaseFile", "CaseItem"]


class CaseFile(pytest.File):
    """One `*.attn.yaml` file."""

    def collect(self) -> Iterator[pytest.Item]:
        session = session_of(self.config)
        found = cases.load(self.path, _shown(self.path, self.config), head_sets=session.head_sets)
        for mark in sorted({mark for case in found for mark in case.marks}):
            # A mark that a case file names is declared by naming it.
            self.config.addinivalue_line("markers", f"{mark}: named in {self.path.name}")
        habits = self.config.stash.setdefault(order_key, [])
        habits += [vars(habit) | {"told": str(habit)} for habit in order.habits(found)]
        chosen = session.settings
        first = next(iter(chosen.models), "")
        for case in found:
            if case.model is None and chosen.all_models and len(chosen.models) > 1:
                for model in chosen.models:
                    name = f"{case.name}[{model}]"
                    yield CaseItem.from_parent(self, name=name, case=case, model=model)
            else:
                model = case.model or first
                yield CaseItem.from_parent(self, name=case.name, case=case, model=model)

    def repr_failure(  # type: ignore[override]  # pytest's own Collector leaves style out as well
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> Any:
        if isinstance(excinfo.value, AttnprobeError):
            return harmless(str(excinfo.value))
        return super().repr_failure(excinfo)


class CaseItem(pytest.Item):
    """One case, or one row of a template, on one model.

    Measuring is the item's setup: what cannot be measured is an error, to pytest as well, and an
    xfail covers failed expectations only.
    """

    def __init__(self, *, case: Case, model: str, **kwargs: Any) -> None:
        # As text, which pytest takes apart at the bracket: --lf reads it back in the same way.
        nodeid = f"{kwargs['parent'].nodeid}::{kwargs['name']}"
        super().__init__(nodeid=nodeid, **kwargs)
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
        try:
            judged = session_of(self.config).judge(self.case, self.model, self._planned)
        except AttnprobeError as error:
            raise pytest.fail.Exception(harmless(str(error)), pytrace=False) from None
        self.stash[judged_key] = judged
        if any(entry.finding.error for entry in judged):
            pytest.fail(self._explained(), pytrace=False)

    def runtest(self) -> None:
        judged: list[Judged] = self.stash[judged_key]
        if not all(map(self._holds, judged)):
            raise ExpectationFailed(self._explained())

    def _planned(self) -> list[Case]:
        return [
            item.case
            for item in self.session.items
            if isinstance(item, CaseItem) and item.model == self.model
        ]

    def _explained(self) -> str:
        """All expectations of the case in words, first those that fail it."""
        judged: list[Judged] = self.stash[judged_key]
        ordered = sorted(judged, key=self._holds)
        return "\n\n".join(explain(entry.case, entry.finding) for entry in ordered)

    def _holds(self, judged: Judged) -> bool:
        return not (judged.finding.error or session_of(self.config).fails(judged.finding))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ExpectationFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, self.case.mark.line - 1, self.name


def _shown(path: Path, config: pytest.Config) -> str:
    """The file as messages and results name it: relative to the root where it lies below it."""
    if path.is_relative_to(config.rootpath):
        return path.relative_to(config.rootpath).as_posix()
    return path.as_posix()
