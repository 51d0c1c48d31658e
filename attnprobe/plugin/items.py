"""Makes case files pytest collectors, and their cases and relations pytest items."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnprobe import cases
from attnprobe.cases import Case, Relation
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.printing import harmless, no_command
from attnprobe.plugin.file_item import FileItem
from attnprobe.plugin.keys import cases_key, judged_key, made_key, planned_items, texts_key
from attnprobe.plugin.relation_items import RelationItem
from attnprobe.plugin.session import session_of
from attnprobe.run.explain import ExpectationFailed, explain, headline
from attnprobe.run.folders import shown_path
from attnprobe.run.judging import Judged


class CaseFile(pytest.File):
    """One `*.attn.yaml` file."""

    def collect(self) -> Iterator[pytest.Item]:
        session = session_of(self.config)
        made = self.config.stash.setdefault(made_key, {})
        if _is_reached_otherwise(self.path, self.session):
            return
        path, names = made.setdefault(os.path.realpath(self.path), (str(self.path), []))
        if path != str(self.path):
            return  # another path has led to this file already
        contents = cases.load_contents(
            self.path,
            shown_path(self.path, self.config.rootpath),
            head_sets=session.head_sets,
            root=self.config.rootpath,
            max_unfolded=session.settings.max_unfolded,
        )
        found: list[tuple[Case | Relation, type[FileItem]]] = [
            *((case, CaseItem) for case in contents.cases),
            *((relation, RelationItem) for relation in contents.relations),
        ]
        for mark in sorted({mark for case, _ in found for mark in case.marks}):
            # Naming a mark in a case file declares it, also under --strict-markers.
            self.config.addinivalue_line("markers", f"{mark}: named in {self.path.name}")
        self.config.stash.setdefault(cases_key, []).extend(contents.cases)
        self.config.stash.setdefault(texts_key, set()).update(contents.texts)
        chosen = session.settings
        first = next(iter(chosen.models), "")
        for case, item in found:
            if case.model is None and chosen.all_models and len(chosen.models) > 1:
                runs = [(f"{case.name}[{model}]", model) for model in chosen.models]
            else:
                runs = [(case.name, case.model or first)]
            for name, model in runs:
                made_item = item.from_parent(self, name=no_command(name), case=case, model=model)
                names.append(made_item.nodeid)
                yield made_item

    def repr_failure(  # type: ignore[override]  # pytest's own Collector leaves style out as well
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> Any:
        if isinstance(excinfo.value, AttnprobeError):
            return harmless(str(excinfo.value))
        return super().repr_failure(excinfo)


class CaseItem(FileItem):
    """One case, or one row of a template, on one model."""

    case: Case

    def setup(self) -> None:
        try:
            judged = session_of(self.config).judge.case(self.case, self.model, self._planned)
        except AttnprobeError as error:
            raise pytest.fail.Exception(harmless(str(error)), pytrace=False) from None
        self.stash[judged_key] = judged
        if any(entry.finding.error for entry in judged):
            pytest.fail(self._explained(), pytrace=False)

    @property
    def is_measured(self) -> bool:
        judged: list[Judged] = self.stash[judged_key]
        return bool(judged) and not any(entry.finding.error for entry in judged)

    def judge(self) -> None:
        judged: list[Judged] = self.stash[judged_key]
        if not all(map(self._holds, judged)):
            raise ExpectationFailed(self._explained())

    def _planned(self) -> list[Case]:
        return [
            item.case
            for item in planned_items(self.session)
            if isinstance(item, CaseItem) and item.model == self.model
        ]

    def _explained(self) -> str:
        """A line for pytest's summary, then all expectations in words; failing ones come first."""
        judged: list[Judged] = self.stash[judged_key]
        ordered = sorted(judged, key=self._holds)
        failing = [entry.finding for entry in ordered if not self._holds(entry)]
        failing.sort(key=lambda finding: finding.error is None)
        explanations = "\n\n".join(explain(entry.case, entry.finding) for entry in ordered)
        return f"{headline(failing, len(judged))}\n{explanations}"

    def _holds(self, judged: Judged) -> bool:
        return not (judged.finding.error or session_of(self.config).judge.fails(judged.finding))


def _is_reached_otherwise(path: Path, session: pytest.Session) -> bool:
    """Whether a path runs through a loop of links while a shorter path leads to the same file."""
    seen: dict[str, Path] = {}
    for folder in reversed(path.parents):
        outer = seen.setdefault(os.path.realpath(folder), folder)
        if outer != folder and any(map(session.isinitpath, (outer, *outer.parents))):
            return True
    return False
